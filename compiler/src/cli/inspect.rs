//! `kiln inspect`: what a model holds, and what of it Kiln cannot take.

use anyhow::{Context, Result};

use kiln_ir::NodeId;
use kiln_ir::ops::constant::Const;

use super::model::ModelArgs;
use crate::executor::HostNode;
use crate::executor::partition::{host_reason, partition};
use crate::import::convert::{Settings, Unsupported, convert, unsupported};
use crate::import::{ModelPort, TfModel};
use crate::pipeline;

/// Arguments of `kiln inspect`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Facts {
    tensorflow_version: String,
    tags: Vec<Vec<String>>,
    signatures: Vec<String>,
    signature: Option<String>,
    inputs: Vec<PortFacts>,
    outputs: Vec<PortFacts>,
    variables: usize,
    ops: std::collections::BTreeMap<String, usize>,
    unsupported: Vec<Unsupported>,
    /// Where the optimized graph would run; `null` if it could not be built.
    boundary: Option<Boundary>,
    /// Why it could not.
    no_boundary: Option<String>,
}

/// How a graph is shared between compiled code and the host.
#[derive(serde::Serialize)]
struct Boundary {
    /// Nodes, constants left out.
    nodes: usize,
    /// Compiled parts and host nodes, in the order in which they run.
    parts: usize,
    /// The nodes that the host runs.
    host: Vec<HostNode>,
}

/// Converts and optimizes the model as a run would, and cuts it.
fn boundary(model: &TfModel, settings: &Settings) -> Result<Boundary> {
    let settings = Settings { sizes_from_data: true, checks: true, ..settings.clone() };
    let mut module = convert(model, &settings)?;
    pipeline::optimize(&mut module, &Default::default())?;
    let (mut nodes, mut parts, mut host) = (0, 0, vec![]);
    for f in &module.funcs {
        let reason = |id: NodeId| host_reason(&module, f, f.node(id));
        parts += partition(f, &|id| reason(id).is_some()).len();
        for (id, n) in f.nodes().filter(|(_, n)| n.op.is::<Const>().is_none()) {
            nodes += 1;
            if let Some(why) = reason(id) {
                let node = if n.loc.node.is_empty() { id.0.to_string() } else { n.loc.node.to_string() };
                host.push(HostNode { node, op: n.op.name().into(), why });
            }
        }
    }
    Ok(Boundary { nodes, parts, host })
}

#[derive(serde::Serialize)]
struct PortFacts {
    name: String,
    tensor: String,
    dtype: String,
    /// `null` for an unknown rank; unknown sizes are -1.
    shape: Option<Vec<i64>>,
}

impl PortFacts {
    fn of(p: &ModelPort) -> PortFacts {
        let shape = p.shape.as_ref().map(|s| s.iter().map(|d| d.unwrap_or(-1)).collect());
        PortFacts { name: p.key.clone(), tensor: p.tensor.to_string(), dtype: p.dtype.to_string(), shape }
    }
}

pub fn main(args: &Args) -> Result<()> {
    let model: TfModel = crate::import::open(args.model.path()?, &args.model.open_options()?)?;
    let settings = args.model.settings()?;
    let unsupported = unsupported(&model, &settings.custom);
    let cut = if unsupported.is_empty() { Some(boundary(&model, &settings)) } else { None };
    let (boundary, no_boundary) = match cut {
        Some(Ok(b)) => (Some(b), None),
        Some(Err(e)) => (None, Some(format!("{e:#}"))),
        None => (None, None),
    };
    let facts = Facts {
        tensorflow_version: model.tensorflow_version.clone(),
        tags: model.tag_sets.clone(),
        signatures: model.signatures.iter().map(|s| s.key.clone()).collect(),
        signature: model.signature.clone(),
        inputs: model.inputs.iter().map(PortFacts::of).collect(),
        outputs: model.outputs.iter().map(PortFacts::of).collect(),
        variables: model.variables.variables().len(),
        ops: model.graph.op_counts().into_iter().map(|(k, n)| (k.to_string(), n)).collect(),
        unsupported,
        boundary,
        no_boundary,
    };
    if args.json {
        println!("{}", serde_json::to_string(&facts).context("printing the facts")?);
        return Ok(());
    }
    if !facts.tensorflow_version.is_empty() {
        println!("written by TensorFlow {}", facts.tensorflow_version);
    }
    for t in &facts.tags {
        println!("tags: {}", t.join(","));
    }
    if !facts.signatures.is_empty() {
        println!(
            "signatures: {} (taken: {})",
            facts.signatures.join(", "),
            facts.signature.as_deref().unwrap_or("none")
        );
    }
    for (what, ports) in [("input", &facts.inputs), ("output", &facts.outputs)] {
        for p in ports {
            let shape = p.shape.as_ref().map_or("unknown rank".into(), |s| {
                let dims: Vec<String> = s.iter().map(|d| if *d < 0 { "?".into() } else { d.to_string() }).collect();
                format!("[{}]", dims.join(", "))
            });
            println!("{what} {}: {} {shape} ({})", p.name, p.dtype, p.tensor);
        }
    }
    println!("{} variables", facts.variables);
    let total: usize = facts.ops.values().sum();
    let ops: Vec<String> = facts.ops.iter().map(|(k, n)| format!("{k} {n}")).collect();
    println!("{total} nodes: {}", ops.join(", "));
    if facts.unsupported.is_empty() {
        println!("every op is supported");
    } else {
        println!("unsupported:");
        for u in &facts.unsupported {
            println!("  {u}");
        }
    }
    match &facts.boundary {
        Some(Boundary { nodes, host, .. }) if host.is_empty() => {
            println!("all {nodes} nodes of the optimized graph are compiled")
        }
        Some(b) => {
            println!(
                "{} of {} nodes of the optimized graph run on the host, in {} parts:",
                b.host.len(),
                b.nodes,
                b.parts
            );
            for h in &b.host {
                println!("  {} ({}): {}", h.node, h.op, h.why);
            }
        }
        None => {}
    }
    if let Some(why) = &facts.no_boundary {
        println!("where it would run is not known: {why}");
    }
    Ok(())
}
