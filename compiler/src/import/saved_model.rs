//! SavedModels: the folder, the meta graph of some tags, its signatures, assets and initializers.

use super::dtype::TfDType;
use super::error::{ImportError, Result};
use super::feeds::{PartialShape, Request, partial_shape};
use super::graph::TensorName;
use super::proto::{
    AssetFileDef, CollectionDef, MetaGraphDef, SavedModel, SignatureDef, TensorInfo, collection_def::Kind, schema,
    tensor_info::Encoding,
};
use super::{files, limits, pbtxt, wire};
use std::path::{Component, Path, PathBuf};

/// The signature that is taken if none is asked for.
pub const DEFAULT_SIGNATURE: &str = "serving_default";
/// The tag of a graph for serving.
pub const SERVE_TAG: &str = "serve";
/// The signatures by which a SavedModel names its initializer and training op.
const INIT_SIGNATURE: &str = "__saved_model_init_op";
const INTERNAL_SIGNATURES: &[&str] = &[INIT_SIGNATURE, "__saved_model_train_op"];
/// The collections in which TensorFlow 1 names the initializer.
const INIT_COLLECTIONS: &[&str] = &["saved_model_main_op", "legacy_init_op"];
/// The collection in which TensorFlow 1 lists assets.
const ASSET_COLLECTION: &str = "saved_model_assets";

/// A signature, as `inspect` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct SignatureInfo {
    /// Its key.
    pub key: String,
    /// What kind of function it is, in words of TensorFlow's.
    pub method_name: String,
    /// Inputs by key.
    pub inputs: Vec<PortInfo>,
    /// Outputs by key.
    pub outputs: Vec<PortInfo>,
}

/// An input or output of a signature, as the file gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct PortInfo {
    /// Its key; the parts of a sparse tensor are `KEY/values`, `KEY/indices`, `KEY/dense_shape`.
    pub key: String,
    /// The tensor's name.
    pub tensor: String,
    /// Its type; `None` if the file has one that Kiln does not know, or none.
    pub dtype: Option<TfDType>,
    /// Its shape; `None`: the file does not give one.
    pub shape: Option<PartialShape>,
}

/// A file that a graph reads: the vocabulary of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetFile {
    /// The tensor of the graph that stands for the path.
    pub tensor: TensorName,
    /// The name in the folder `assets`.
    pub filename: String,
    /// The file.
    pub path: PathBuf,
}

/// The file of a SavedModel's folder; `None` if the folder is not a SavedModel.
///
/// Errors: a model in the split format for more than 2 GiB.
pub fn model_file(dir: &Path) -> Result<Option<PathBuf>> {
    for name in ["saved_model.pb", "saved_model.pbtxt"] {
        let path = dir.join(name);
        if path.is_file() {
            return Ok(Some(path));
        }
    }
    if dir.join("saved_model.cpb").is_file() {
        let what =
            "a SavedModel in TensorFlow's split format (saved_model.cpb); save it without the option for large graphs";
        return Err(ImportError::unsupported(dir.display().to_string(), what));
    }
    Ok(None)
}

/// Reads `saved_model.pb` or `saved_model.pbtxt`.
pub fn read(path: &Path) -> Result<SavedModel> {
    read_message(path, &schema::SAVED_MODEL)
}

/// Reads a message from a file, text or binary by the file's extension.
pub(crate) fn read_message<M: prost::Message + Default>(path: &Path, schema: &'static schema::Message) -> Result<M> {
    let data = files::read(path, limits::MAX_GRAPH_BYTES)?;
    let text = path
        .extension()
        .is_some_and(|e| ["pbtxt", "prototxt", "textproto", "txt"].iter().any(|t| e.eq_ignore_ascii_case(t)));
    let message = if text { pbtxt::decode(schema, &data) } else { wire::decode(schema, data) };
    message.map_err(|e| e.in_file(path))
}

/// The tags of each meta graph.
pub fn tag_sets(model: &SavedModel) -> Vec<Vec<String>> {
    model.meta_graphs.iter().map(|m| m.meta_info_def.as_ref().map(|i| i.tags.clone()).unwrap_or_default()).collect()
}

/// Takes the meta graph with exactly these tags; with none given: the only one, or the one for serving.
pub fn select_meta_graph(model: SavedModel, tags: &[String]) -> Result<MetaGraphDef> {
    let sets = tag_sets(&model);
    let same = |a: &[String], b: &[String]| a.len() == b.len() && a.iter().all(|t| b.contains(t));
    let serve = [SERVE_TAG.to_string()];
    let wanted = if tags.is_empty() { &serve[..] } else { tags };
    let found =
        if tags.is_empty() && sets.len() == 1 { Some(0) } else { sets.iter().position(|set| same(set, wanted)) };
    let taken = found.and_then(|i| model.meta_graphs.into_iter().nth(i));
    taken.ok_or_else(|| {
        ImportError::missing("graph with the tags", wanted.join(","), sets.iter().map(|s| s.join(",")).collect())
    })
}

/// All signatures, without those that TensorFlow keeps for itself.
pub fn signatures(meta: &MetaGraphDef) -> Result<Vec<SignatureInfo>> {
    let own = meta.signature_def.iter().filter(|(key, _)| !INTERNAL_SIGNATURES.contains(&key.as_str()));
    own.map(|(key, signature)| info(key, signature)).collect()
}

/// Takes the signature of a key; with none given: the default one, or the only one.
pub fn select_signature<'a>(signatures: &'a [SignatureInfo], key: Option<&str>) -> Result<&'a SignatureInfo> {
    let find = |key: &str| signatures.iter().find(|s| s.key == key);
    let found = match (key, signatures) {
        (Some(key), _) => find(key),
        (None, [only]) => Some(only),
        (None, _) => find(DEFAULT_SIGNATURE),
    };
    found.ok_or_else(|| {
        let keys = signatures.iter().map(|s| s.key.clone()).collect();
        ImportError::missing("signature", key.unwrap_or(DEFAULT_SIGNATURE), keys)
    })
}

fn info(key: &str, signature: &SignatureDef) -> Result<SignatureInfo> {
    let ports = |infos: &std::collections::BTreeMap<String, TensorInfo>| {
        let mut out = Vec::new();
        for (port, info) in infos {
            add_ports(&mut out, port, info)
                .map_err(|what| ImportError::malformed(format!("signature `{key}`, `{port}`"), what))?;
        }
        Ok::<_, ImportError>(out)
    };
    Ok(SignatureInfo {
        key: key.into(),
        method_name: signature.method_name.clone(),
        inputs: ports(&signature.inputs)?,
        outputs: ports(&signature.outputs)?,
    })
}

/// Adds a tensor, or the parts of a composite one. Composites nest at most as deep as the file may.
fn add_ports(out: &mut Vec<PortInfo>, key: &str, info: &TensorInfo) -> Result<(), &'static str> {
    let dtype = TfDType::from_number(info.dtype);
    let whole = info.tensor_shape.as_ref().map(partial_shape);
    let mut port = |key: String, tensor: &str, dtype, shape| {
        out.push(PortInfo { key, tensor: tensor.into(), dtype, shape });
    };
    match &info.encoding {
        None => return Err("it names no tensor"),
        Some(Encoding::Name(name)) => port(key.into(), name, dtype, whole),
        Some(Encoding::CooSparse(sparse)) => {
            let rank = whole.clone().flatten().map(|s| s.len() as i64);
            port(format!("{key}/values"), &sparse.values_tensor_name, dtype, Some(Some(vec![None])));
            port(
                format!("{key}/indices"),
                &sparse.indices_tensor_name,
                Some(TfDType::Int64),
                Some(Some(vec![None, rank])),
            );
            port(
                format!("{key}/dense_shape"),
                &sparse.dense_shape_tensor_name,
                Some(TfDType::Int64),
                Some(Some(vec![rank])),
            );
        }
        Some(Encoding::CompositeTensor(composite)) => {
            for (i, component) in composite.components.iter().enumerate() {
                add_ports(out, &format!("{key}/{i}"), component)?;
            }
        }
    }
    Ok(())
}

impl PortInfo {
    /// The request for this tensor.
    pub(crate) fn request(&self) -> Result<Request> {
        let mut request = Request::named(&self.tensor)?;
        request.key = self.key.clone();
        request.dtype = self.dtype;
        request.shape = self.shape.clone();
        Ok(request)
    }
}

/// The names of the nodes that initialize tables and what else no checkpoint holds.
pub fn init_ops(meta: &MetaGraphDef) -> Vec<String> {
    let node = |text: &str| TensorName::parse(text).map_or_else(|| text.to_string(), |t| t.node);
    let mut out = Vec::new();
    if let Some(info) = meta.signature_def.get(INIT_SIGNATURE).and_then(|s| s.outputs.get(INIT_SIGNATURE))
        && let Some(Encoding::Name(name)) = &info.encoding
    {
        out.push(node(name));
    }
    for collection in INIT_COLLECTIONS {
        if let Some(CollectionDef { kind: Some(Kind::NodeList(list)) }) = meta.collection_def.get(*collection) {
            out.extend(list.value.iter().map(|name| node(name)));
        }
    }
    out.sort();
    out.dedup();
    out
}

/// The assets of a meta graph, with their files under `dir`.
///
/// Errors: an asset without a tensor, a name that leads out of the folder.
pub fn assets(meta: &MetaGraphDef, dir: &Path) -> Result<Vec<AssetFile>> {
    let mut defs = meta.asset_file_def.clone();
    if let Some(CollectionDef { kind: Some(Kind::AnyList(list)) }) = meta.collection_def.get(ASSET_COLLECTION)
        && defs.is_empty()
    {
        for any in &list.value {
            defs.push(wire::decode::<AssetFileDef>(&schema::ASSET_FILE, any.value.clone())?);
        }
    }
    let mut out = Vec::new();
    for def in defs {
        let place = format!("asset `{}`", def.filename);
        let name = match def.tensor_info.and_then(|i| i.encoding) {
            Some(Encoding::Name(name)) => TensorName::parse(&name),
            _ => None,
        };
        let tensor = name.ok_or_else(|| ImportError::malformed(&*place, "it names no tensor"))?;
        let inside =
            Path::new(&def.filename).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside || def.filename.is_empty() {
            return Err(ImportError::malformed(place, "its name leads out of the model's folder"));
        }
        out.push(AssetFile { tensor, path: dir.join("assets").join(&def.filename), filename: def.filename });
    }
    Ok(out)
}
