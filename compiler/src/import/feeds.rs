//! Feeding: tensors of a graph that the caller gives are cut off from what computes them.

use super::dtype::TfDType;
use super::error::{ImportError, Result};
use super::graph::{Body, Edge, Node, NodeId, TensorName};
use super::op_defs::builtin;
use super::proto::{AttrValue, TensorShapeProto, attr_value::Value, tensor_shape_proto::Dim};
use std::collections::{BTreeMap, HashMap};

/// A shape in which sizes may be unknown; `None` if even the rank is.
pub type PartialShape = Option<Vec<Option<i64>>>;

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPort {
    /// The name by which a caller knows it.
    pub key: String,
    /// The tensor as the model's file names it.
    pub tensor: TensorName,
    /// The same tensor in the imported graph. An input's node is always a `Placeholder`.
    pub edge: Edge,
    /// Its type.
    pub dtype: TfDType,
    /// Its shape, as far as the file knows it.
    pub shape: PartialShape,
}

/// A tensor that is asked for: by a signature, a configuration, the command line, or found by default.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub key: String,
    pub tensor: TensorName,
    pub dtype: Option<TfDType>,
    /// `Some` if whoever asks knows the shape.
    pub shape: Option<PartialShape>,
}

impl Request {
    /// A request by a tensor's name alone.
    pub fn named(text: &str) -> Result<Self> {
        let tensor = TensorName::parse(text).ok_or_else(|| {
            ImportError::malformed(format!("`{text}`"), "not a tensor's name; write `node` or `node:output`")
        })?;
        Ok(Self { key: text.into(), tensor, dtype: None, shape: None })
    }
}

/// A shape of a file.
pub fn partial_shape(shape: &TensorShapeProto) -> PartialShape {
    if shape.unknown_rank { None } else { Some(shape.dim.iter().map(|d| Some(d.size).filter(|&n| n >= 0)).collect()) }
}

fn shape_proto(shape: &PartialShape) -> TensorShapeProto {
    let dim = |d: &Option<i64>| Dim { size: d.unwrap_or(-1), name: String::new() };
    TensorShapeProto { dim: shape.iter().flatten().map(dim).collect(), unknown_rank: shape.is_none() }
}

/// Finds the tensor of a request, its type and its shape.
pub(crate) fn locate(body: &Body, request: &Request) -> Result<ModelPort> {
    let Request { key, tensor, .. } = request;
    let node_id = body.find(&tensor.node).ok_or_else(|| {
        // The nodes with the same last part of their name are the likely ones.
        let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let similar = body.nodes().iter().filter(|n| last(&n.name) == last(&tensor.node));
        ImportError::missing("node", &tensor.node, similar.map(|n| n.name.to_string()).collect())
    })?;
    let edge = Edge { node: node_id, output: tensor.output };
    let node = body.node(node_id).ok_or_else(|| ImportError::missing("node", &tensor.node, Vec::new()))?;
    let fail = |what: String| ImportError::node(&*node.name, &*node.op, what);
    if let Some(count) = super::build::outputs(node)
        && edge.output as usize >= count
    {
        return Err(fail(format!("output {} is asked for, the node has {count}", edge.output)));
    }
    let own = body.dtype(edge);
    let dtype = match (own, request.dtype) {
        (Some(own), Some(asked)) if own != asked => {
            return Err(fail(format!("`{key}` is of type {asked}, the node's output of type {own}")));
        }
        (own, asked) => {
            own.or(asked).ok_or_else(|| fail(format!("the type of its output {} is unknown", edge.output)))?
        }
    };
    let shape = request.shape.clone().unwrap_or_else(|| noted_shape(node, edge.output as usize));
    Ok(ModelPort { key: key.clone(), tensor: tensor.clone(), edge, dtype, shape })
}

/// The shape that a node's attributes tell of an output.
fn noted_shape(node: &Node, output: usize) -> PartialShape {
    if let Some(shape) = node.list("_output_shapes").and_then(|l| l.shape.get(output)) {
        return partial_shape(shape);
    }
    match (&*node.op, node.shape("shape")) {
        ("Placeholder" | "PlaceholderV2" | "PlaceholderWithDefault", Some(shape)) => partial_shape(shape),
        ("Const", _) => node.tensor("value").and_then(|t| t.tensor_shape.as_ref()).and_then(partial_shape),
        _ => None,
    }
}

/// Puts a `Placeholder` in the place of each fed tensor that is not one already. Its name is the tensor's (`node:0`),
/// which no node of a file can have. The ports' edges, inputs and outputs alike, are moved to them.
pub(crate) fn cut(body: Body, inputs: &mut [ModelPort], outputs: &mut [ModelPort]) -> Result<Body> {
    let mut nodes = body.into_nodes();
    let mut moved: HashMap<Edge, Edge> = HashMap::new();
    for port in inputs.iter_mut() {
        let op = nodes.get(port.edge.node.index()).map_or("", |n| &*n.op);
        let to = if matches!(op, "Placeholder" | "PlaceholderV2") {
            port.edge
        } else {
            let id = u32::try_from(nodes.len()).map_err(|_| ImportError::malformed("graph", "too many nodes"))?;
            let attr = |value| AttrValue { value: Some(value) };
            let attrs = [
                ("dtype".to_string(), attr(Value::Type(port.dtype.number()))),
                ("shape".to_string(), attr(Value::Shape(Box::new(shape_proto(&port.shape))))),
            ];
            nodes.push(Node {
                name: port.tensor.to_string().into(),
                op: "Placeholder".into(),
                device: String::new(),
                inputs: Vec::new(),
                control: Vec::new(),
                attrs: BTreeMap::from(attrs),
                interface: builtin("Placeholder").cloned(),
            });
            Edge { node: NodeId(id), output: 0 }
        };
        if moved.insert(port.edge, to).is_some() {
            return Err(ImportError::malformed(
                format!("input `{}`", port.key),
                format!("the tensor {} is fed twice", port.tensor),
            ));
        }
    }
    let follow = |edge: &mut Edge| {
        if let Some(to) = moved.get(edge) {
            *edge = *to;
        }
    };
    for node in &mut nodes {
        node.inputs.iter_mut().for_each(follow);
    }
    inputs.iter_mut().chain(outputs.iter_mut()).for_each(|port| follow(&mut port.edge));
    Ok(Body::new(nodes))
}
