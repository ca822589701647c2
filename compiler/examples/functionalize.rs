//! A developer's tool: imports a model and writes its graph back as a GraphDef, so that what the importer made of it
//! (functional control flow) can be run by TensorFlow.
//!
//!     cargo run --example functionalize -- IN.pb OUT.pb [--feed TENSOR]... [--fetch TENSOR]...
//!
//! Prints the inputs' and outputs' names in the written graph as JSON. A directory as IN is a SavedModel; its
//! variables are not written.

use kiln::import::op_defs::{Arg, ArgTypes};
use kiln::import::proto::{
    AttrValue, FunctionDef, FunctionDefLibrary, GraphDef, NodeDef, OpDef, VersionDef, attr_value::Value, op_def::ArgDef,
};
use kiln::import::{Body, Edge, Function, Node, NodeId, OpenOptions, graph::ARG_OP, open};
use prost::Message;
use std::path::Path;

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = OpenOptions::default();
    let mut files = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--feed" => options.feeds.extend(args.next()),
            "--fetch" => options.fetches.extend(args.next()),
            _ => files.push(arg),
        }
    }
    let [from, to] = files.as_slice() else {
        return Err("usage: functionalize IN.pb OUT.pb [--feed TENSOR]... [--fetch TENSOR]...".into());
    };
    let model = open(Path::new(from), &options)?;
    let graph = GraphDef {
        node: model.graph.main.nodes().iter().map(|n| node_def(n, &model.graph.main, false)).collect(),
        library: Some(FunctionDefLibrary {
            function: model.graph.functions().iter().map(function_def).collect(),
            ..Default::default()
        }),
        versions: Some(VersionDef { producer: model.graph.producer, ..Default::default() }),
        ..Default::default()
    };
    std::fs::write(to, graph.encode_to_vec())?;
    let names = |ports: &[kiln::import::ModelPort]| -> Vec<String> {
        ports.iter().map(|p| tensor(&model.graph.main, p.edge, false)).collect()
    };
    println!("{}", serde_json::json!({ "inputs": names(&model.inputs), "outputs": names(&model.outputs) }));
    Ok(())
}

/// A node's name; those that the importer makes of tensors' names (`x:0`) are none in TensorFlow.
fn plain(name: &str) -> String {
    name.replace(':', "_")
}

fn node_name(body: &Body, id: NodeId) -> String {
    body.node(id).map(|n| plain(&n.name)).unwrap_or_default()
}

/// A tensor's name: `node:0` in a graph, `node:argument:0` in a function.
fn tensor(body: &Body, edge: Edge, in_function: bool) -> String {
    let name = node_name(body, edge.node);
    let Some(node) = body.node(edge.node).filter(|_| in_function) else {
        return format!("{name}:{}", edge.output);
    };
    if &*node.op == ARG_OP {
        return name;
    }
    let mut index = edge.output as usize;
    for arg in node.interface.iter().flat_map(|i| &i.outputs) {
        let count = count(arg, node);
        if index < count {
            return format!("{name}:{}:{index}", arg.name);
        }
        index -= count;
    }
    format!("{name}:output:{index}")
}

fn count(arg: &Arg, node: &Node) -> usize {
    match &arg.types {
        ArgTypes::One(_) => 1,
        ArgTypes::Number(attr, _) => node.int(attr).and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
        ArgTypes::List(attr) => node.list(attr).map_or(0, |l| l.r#type.len()),
    }
}

fn node_def(node: &Node, body: &Body, in_function: bool) -> NodeDef {
    let data = node.inputs.iter().map(|e| tensor(body, *e, in_function));
    let control = node.control.iter().map(|id| format!("^{}", node_name(body, *id)));
    // Wishes to be where another node is, which may be in another function now.
    let attr = node.attrs.iter().filter(|(k, _)| *k != "_class").map(|(k, v)| (k.clone(), v.clone())).collect();
    NodeDef {
        name: plain(&node.name),
        op: node.op.to_string(),
        input: data.chain(control).collect(),
        device: node.device.clone(),
        attr,
    }
}

fn function_def(function: &Function) -> FunctionDef {
    let body = &function.body;
    let arg = |name: &str, dtype: Option<kiln::import::TfDType>| ArgDef {
        name: name.into(),
        r#type: dtype.map_or(0, |t| t.number()),
        ..Default::default()
    };
    let control: Vec<String> = function.control_rets.iter().map(|id| node_name(body, *id)).collect();
    let stateful = body.nodes().iter().any(|n| &*n.op != ARG_OP && n.interface.as_ref().is_none_or(|i| i.stateful));
    let signature = OpDef {
        name: function.name.to_string(),
        input_arg: function.args.iter().map(|a| arg(&a.name, a.dtype)).collect(),
        output_arg: function.rets.iter().map(|r| arg(&r.name, r.dtype)).collect(),
        is_stateful: stateful,
        control_output: control.clone(),
        ..Default::default()
    };
    let mut attr = function.attrs.clone();
    attr.entry("_noinline".into()).or_insert(AttrValue { value: Some(Value::B(true)) });
    FunctionDef {
        signature: Some(signature),
        node_def: body.nodes().iter().filter(|n| &*n.op != ARG_OP).map(|n| node_def(n, body, true)).collect(),
        ret: function.rets.iter().map(|r| (r.name.clone(), tensor(body, r.edge, true))).collect(),
        control_ret: control.into_iter().map(|n| (n.clone(), n)).collect(),
        attr,
        ..Default::default()
    }
}
