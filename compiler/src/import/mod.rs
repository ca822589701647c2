//! Import of TensorFlow models: files into a [`TfModel`], whose graph is ready for conversion to Kiln's IR.
//!
//! [`open`] takes a SavedModel's folder, a GraphDef (`.pb`, `.pbtxt`) or a TensorFlow 1 MetaGraphDef (`.meta`). The
//! path of a file through the modules:
//!
//! ```text
//! wire, pbtxt -> proto      bytes or text into messages, after a check of sizes and nesting
//! saved_model, config       which tensors are inputs and outputs
//! build                     names into edges, functions, the ops' interfaces and defaults (op_defs)
//! feeds, prune              inputs cut off, what is not needed dropped
//! functionalize             the control flow of TensorFlow 1 into If and While
//! restore, variables        which checkpoint key is which variable
//! checkpoint (sstable, slice), tensor      values
//! ```
//!
//! No input makes this module panic, recurse without bound, or allocate more than its files warrant.

pub mod build;
pub mod checkpoint;
pub mod config;
pub mod convert;
pub mod dtype;
pub mod error;
pub mod feeds;
mod files;
pub mod functionalize;
pub mod graph;
pub mod limits;
pub mod op_defs;
pub mod pbtxt;
mod pbtxt_lexer;
pub mod proto;
pub mod prune;
pub mod restore;
pub mod saved_model;
pub mod slice;
pub mod sstable;
pub mod tables;
pub mod tensor;
pub mod variables;
pub mod wire;

#[cfg(test)]
mod tests;

pub use checkpoint::Checkpoint;
pub use config::{Config, ConfigVariable};
pub use dtype::TfDType;
pub use error::{ImportError, Result};
pub use feeds::{ModelPort, PartialShape};
pub use graph::{Body, Edge, Function, Node, NodeId, TensorName, TfGraph};
pub use saved_model::{PortInfo, SignatureInfo};
pub use tensor::{HostTensor, TensorData};
pub use variables::{Variable, VariableSource};

use feeds::Request;
use functionalize::Asked;
use proto::{GraphDef, MetaGraphDef, OpDef, SavedObjectGraph, schema};
use prune::{Roots, prune};
use restore::{makes_table, makes_variable};
use std::path::{Path, PathBuf};
use variables::Finder;

/// What to take from a model's files.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Tags of the SavedModel's graph; empty: the only one, or `serve`.
    pub tags: Vec<String>,
    /// Signature; `None`: `serving_default`, or the only one.
    pub signature: Option<String>,
    /// Tensors to feed (`node`, `node:output`) instead of the signature's inputs.
    pub feeds: Vec<String>,
    /// Tensors to fetch instead of the signature's outputs.
    pub fetches: Vec<String>,
    /// tfcompile's configuration; its feeds and fetches come before the ones above.
    pub config: Option<Config>,
    /// The checkpoint to take values from instead of the SavedModel's own.
    pub checkpoint_path: Option<PathBuf>,
}

/// A model as its files hold it, cut down to what its outputs need.
#[derive(Debug)]
pub struct TfModel {
    /// The file or folder.
    pub path: PathBuf,
    /// The graph.
    pub graph: TfGraph,
    /// Inputs. Each is a `Placeholder` of the graph, also if no output needs it.
    pub inputs: Vec<ModelPort>,
    /// Outputs.
    pub outputs: Vec<ModelPort>,
    /// Variables; values are read on demand.
    pub variables: VariableSource,
    /// The variables that a configuration names.
    pub config_variables: Vec<ConfigVariable>,
    /// Files that the graph may read.
    pub assets: Vec<Asset>,
    /// Nodes that have to run once, before the first call: they fill tables and set variables that no checkpoint
    /// holds. Empty if the outputs need none.
    pub init_ops: Vec<NodeId>,
    /// The signature that was taken; `None` if feeds and fetches were given or the file has no signatures.
    pub signature: Option<String>,
    /// All signatures.
    pub signatures: Vec<SignatureInfo>,
    /// The tags of all graphs of a SavedModel.
    pub tag_sets: Vec<Vec<String>>,
    /// The TensorFlow that wrote a SavedModel; empty if the file does not say.
    pub tensorflow_version: String,
}

/// A file that the graph reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Asset {
    /// The tensor that stands for its path, if the graph still has it.
    pub edge: Option<Edge>,
    /// The tensor's name.
    pub tensor: TensorName,
    /// The file.
    pub path: PathBuf,
}

/// Opens a model.
///
/// Errors: files that are missing, damaged or too large; tags, a signature, a feed or a fetch that the model does not
/// have (with those that it has); a graph that contradicts itself.
pub fn open(path: &Path, options: &OpenOptions) -> Result<TfModel> {
    let named_model = path.is_file() && path.file_stem().is_some_and(|s| s == "saved_model");
    let dir = if named_model { path.parent() } else { Some(path).filter(|p| p.is_dir()) };
    if let Some(dir) = dir {
        let file = saved_model::model_file(dir)?
            .ok_or_else(|| ImportError::missing("file", "saved_model.pb", Vec::new()).in_file(dir))?;
        let model = saved_model::read(&file)?;
        let tag_sets = saved_model::tag_sets(&model);
        let meta = saved_model::select_meta_graph(model, &options.tags).map_err(|e| e.in_file(&file))?;
        let prefix = dir.join("variables/variables");
        let own = Some(prefix).filter(|_| dir.join("variables/variables.index").is_file());
        let source = Source { path, dir, tag_sets, checkpoint: own };
        return open_meta(source, meta, options).map_err(|e| e.in_file(&file));
    }
    let source = |checkpoint| Source { path, dir: path.parent().unwrap_or(path), tag_sets: Vec::new(), checkpoint };
    if path.extension().is_some_and(|e| e == "meta") {
        let meta = saved_model::read_message(path, &schema::META_GRAPH)?;
        let own = Some(path.with_extension("")).filter(|_| path.with_extension("index").is_file());
        return open_meta(source(own), meta, options).map_err(|e| e.in_file(path));
    }
    let graph: GraphDef = saved_model::read_message(path, &schema::GRAPH_DEF)?;
    assemble(source(None), Parts { graph, ..Parts::default() }, options).map_err(|e| e.in_file(path))
}

/// Where a model came from.
struct Source<'a> {
    path: &'a Path,
    dir: &'a Path,
    tag_sets: Vec<Vec<String>>,
    checkpoint: Option<PathBuf>,
}

/// What a file told beside its graph.
#[derive(Default)]
struct Parts {
    graph: GraphDef,
    own_ops: Vec<OpDef>,
    signatures: Vec<SignatureInfo>,
    restore_op: String,
    init_ops: Vec<String>,
    assets: Vec<saved_model::AssetFile>,
    objects: Option<SavedObjectGraph>,
    tensorflow_version: String,
}

fn open_meta(source: Source, meta: MetaGraphDef, options: &OpenOptions) -> Result<TfModel> {
    let parts = Parts {
        signatures: saved_model::signatures(&meta)?,
        init_ops: saved_model::init_ops(&meta),
        assets: saved_model::assets(&meta, source.dir)?,
        restore_op: meta.saver_def.map(|s| s.restore_op_name).unwrap_or_default(),
        objects: meta.object_graph_def,
        tensorflow_version: meta.meta_info_def.as_ref().map(|i| i.tensorflow_version.clone()).unwrap_or_default(),
        own_ops: meta.meta_info_def.and_then(|i| i.stripped_op_list).map(|l| l.op).unwrap_or_default(),
        graph: meta.graph_def.unwrap_or_default(),
    };
    assemble(source, parts, options)
}

/// The tensors to feed and to fetch.
struct Requests {
    feeds: Vec<Request>,
    fetches: Vec<Request>,
    signature: Option<String>,
}

/// Configuration before command line before signature before what the graph suggests.
fn requests(body: &Body, parts: &Parts, options: &OpenOptions) -> Result<Requests> {
    let named = |names: &[String]| names.iter().map(|n| Request::named(n)).collect::<Result<Vec<_>>>();
    let config = options.config.clone().unwrap_or_default();
    let mut feeds: Vec<Request> = config.feeds.iter().map(Request::from).collect();
    let mut fetches: Vec<Request> = config.fetches.iter().map(Request::from).collect();
    feeds.extend(named(&options.feeds)?);
    fetches.extend(named(&options.fetches)?);
    if !feeds.is_empty() && !fetches.is_empty() {
        return Ok(Requests { feeds, fetches, signature: None });
    }
    let mut signature = None;
    if !parts.signatures.is_empty() || options.signature.is_some() {
        let chosen = saved_model::select_signature(&parts.signatures, options.signature.as_deref())?;
        let ports = |ports: &[PortInfo]| ports.iter().map(PortInfo::request).collect::<Result<Vec<_>>>();
        signature = Some(chosen.key.clone());
        if feeds.is_empty() {
            feeds = ports(&chosen.inputs)?;
        }
        if fetches.is_empty() {
            fetches = ports(&chosen.outputs)?;
        }
    } else {
        if feeds.is_empty() {
            feeds = default_inputs(body);
        }
        if fetches.is_empty() {
            fetches = default_outputs(body);
        }
    }
    if fetches.is_empty() {
        return Err(ImportError::malformed("graph", "it has no output that is a tensor; name the tensors to fetch"));
    }
    Ok(Requests { feeds, fetches, signature })
}

fn request(node: &Node, output: u32) -> Request {
    let tensor = TensorName { node: node.name.to_string(), output };
    Request { key: config::default_key(&tensor), tensor, dtype: None, shape: None }
}

/// All placeholders, in the file's order.
fn default_inputs(body: &Body) -> Vec<Request> {
    let inputs = body.nodes().iter().filter(|n| matches!(&*n.op, "Placeholder" | "PlaceholderV2"));
    inputs.map(|n| request(n, 0)).collect()
}

/// All outputs of the nodes that no other node needs, in the file's order.
fn default_outputs(body: &Body) -> Vec<Request> {
    let mut used = vec![false; body.nodes().len()];
    for node in body.nodes() {
        for input in node.inputs.iter().map(|e| e.node).chain(node.control.iter().copied()) {
            if let Some(used) = used.get_mut(input.index()) {
                *used = true;
            }
        }
    }
    let ends = body
        .nodes()
        .iter()
        .zip(used)
        .filter(|(n, used)| !used && !matches!(&*n.op, "Const" | "Placeholder" | "PlaceholderV2"));
    let outputs = |n: &Node| u32::try_from(build::outputs(n).unwrap_or(1)).unwrap_or(0);
    ends.flat_map(|(n, _)| (0..outputs(n)).map(|i| request(n, i)).collect::<Vec<_>>()).collect()
}

fn assemble(source: Source, mut parts: Parts, options: &OpenOptions) -> Result<TfModel> {
    let (body, library) = build::build(std::mem::take(&mut parts.graph), &parts.own_ops)?;
    let Requests { feeds, fetches, signature } = requests(&body, &parts, options)?;
    let mut inputs = feeds.iter().map(|r| feeds::locate(&body, r)).collect::<Result<Vec<_>>>()?;
    let mut outputs = fetches.iter().map(|r| feeds::locate(&body, r)).collect::<Result<Vec<_>>>()?;
    let checkpoint = match options.checkpoint_path.as_ref().or(source.checkpoint.as_ref()) {
        Some(path) => Some(Checkpoint::open(path)?),
        None => None,
    };
    let restores = restore::trace(&body, &library, &parts.restore_op)?;
    let finder = Finder::new(&body, checkpoint, restores, parts.objects.as_ref())?;
    let body = feeds::cut(body, &mut inputs, &mut outputs)?;

    let fetches: Vec<Edge> = outputs.iter().map(|p| p.edge).collect();
    let fed: Vec<NodeId> = inputs.iter().map(|p| p.edge.node).collect();
    let init = initializers(&body, &parts.init_ops, &Roots { fetches: &fetches, targets: &[] }, &finder);
    let pruned = prune(body, &Roots { fetches: &fetches, targets: &[fed, init.clone()].concat() });
    for port in inputs.iter_mut().chain(outputs.iter_mut()) {
        port.edge = pruned.edge(port.edge).unwrap_or(port.edge);
    }
    let targets = init.into_iter().filter_map(|id| pruned.node(id)).collect();
    let mut graph = library.finish(pruned.body)?;
    let ports = |ports: &[ModelPort]| ports.iter().map(|p| p.edge).collect::<Vec<_>>();
    let nodes = ports(&inputs).iter().map(|e| e.node).collect();
    let mut asked = Asked { inputs: nodes, fetches: ports(&outputs), targets };
    functionalize::functionalize(&mut graph, &mut asked)?;
    for (port, node) in inputs.iter_mut().zip(asked.inputs) {
        port.edge.node = node;
    }
    for (port, edge) in outputs.iter_mut().zip(asked.fetches) {
        port.edge = edge;
    }
    let assets = parts.assets.into_iter().map(|asset| {
        let node = graph.main.find(&asset.tensor.node);
        let edge = node.map(|node| Edge { node, output: asset.tensor.output });
        Asset { edge, tensor: asset.tensor, path: asset.path }
    });
    let assets = assets.collect();
    let variables = VariableSource::new(&graph, finder);
    Ok(TfModel {
        path: source.path.to_path_buf(),
        graph,
        inputs,
        outputs,
        variables,
        config_variables: options.config.clone().unwrap_or_default().variables,
        assets,
        init_ops: asked.targets,
        signature,
        signatures: parts.signatures,
        tag_sets: source.tag_sets,
        tensorflow_version: parts.tensorflow_version,
    })
}

/// The initializers that the outputs need: the model's own if a table or a variable without a stored value is reached;
/// in a graph that names none, the ops that fill the reached tables.
fn initializers(body: &Body, named: &[String], roots: &Roots, finder: &Finder) -> Vec<NodeId> {
    let reached = prune::reached(body, roots);
    let is_reached = |id: NodeId| reached.get(id.index()).copied().unwrap_or(false);
    let needs =
        |node: &Node| makes_table(&node.op) || makes_variable(&node.op) && finder.find(&node.name, node).is_none();
    if !body.iter().any(|(id, node)| is_reached(id) && needs(node)) {
        return Vec::new();
    }
    if !named.is_empty() {
        return named.iter().filter_map(|name| body.find(name)).collect();
    }
    let fills = |node: &Node| node.op.starts_with("InitializeTable") || node.op.starts_with("LookupTableImport");
    let of_reached = |node: &Node| node.inputs.first().is_some_and(|table| is_reached(table.node));
    body.iter().filter(|(_, node)| fills(node) && of_reached(node)).map(|(id, _)| id).collect()
}
