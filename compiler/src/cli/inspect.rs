//! `kiln inspect`: what a model holds, and what of it Kiln cannot take.

use anyhow::{Context, Result};

use super::model::ModelArgs;
use crate::import::convert::{Unsupported, unsupported};
use crate::import::{ModelPort, TfModel};

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
    let facts = Facts {
        tensorflow_version: model.tensorflow_version.clone(),
        tags: model.tag_sets.clone(),
        signatures: model.signatures.iter().map(|s| s.key.clone()).collect(),
        signature: model.signature.clone(),
        inputs: model.inputs.iter().map(PortFacts::of).collect(),
        outputs: model.outputs.iter().map(PortFacts::of).collect(),
        variables: model.variables.variables().len(),
        ops: model.graph.op_counts().into_iter().map(|(k, n)| (k.to_string(), n)).collect(),
        unsupported: unsupported(&model, &args.model.settings()?.custom),
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
            println!(
                "  {} ({}x): {}{}",
                u.op,
                u.count,
                u.nodes.join(", "),
                if u.count > u.nodes.len() { ", .." } else { "" }
            );
        }
    }
    Ok(())
}
