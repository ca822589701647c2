//! A TensorFlow graph with its edges resolved: the importer's result, before conversion to Kiln's IR.
//!
//! Invariants:
//! - every edge leads to an existing node of the same body and to an output that this node has;
//! - a node has as many data inputs as its op takes, if the op is known;
//! - attributes that a node does not give and its op has a default for are filled in;
//! - the arguments of a function are nodes of op `_Arg`, first in its body;
//! - only what the fetches reach is kept, in the order of the file;
//! - control flow is functional ([`super::functionalize`]).

use super::dtype::TfDType;
use super::op_defs::OpInterface;
use super::proto::{AttrValue, NameAttrList, TensorProto, TensorShapeProto, attr_value::Value};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// A node of a [`Body`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The position in [`Body::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A function of a [`TfGraph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId(pub u32);

/// A tensor: an output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// The node.
    pub node: NodeId,
    /// Which of its outputs, all output arguments counted through.
    pub output: u32,
}

/// A node: one call of an op or function.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name, unique in its body.
    pub name: Arc<str>,
    /// The op's name, or a function's.
    pub op: Arc<str>,
    /// The device asked for; often empty.
    pub device: String,
    /// The tensors that it takes, in the op's order.
    pub inputs: Vec<Edge>,
    /// The nodes that must run before it.
    pub control: Vec<NodeId>,
    /// Attributes, defaults included. Names that begin with `_` are notes of TensorFlow's.
    pub attrs: BTreeMap<String, AttrValue>,
    /// The op's interface; `None` for an op that neither Kiln's table nor the model knows.
    pub interface: Option<Arc<OpInterface>>,
}

/// Nodes with an index by name: the main graph, or a function's body.
#[derive(Debug, Clone, Default)]
pub struct Body {
    nodes: Vec<Node>,
    index: HashMap<Arc<str>, NodeId>,
}

/// A function that can be called by name.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: Arc<str>,
    /// Its arguments.
    pub args: Vec<FunctionArg>,
    /// Its results.
    pub rets: Vec<FunctionRet>,
    /// Nodes of the body that run even if no result needs them.
    pub control_rets: Vec<NodeId>,
    /// Attributes of the function itself.
    pub attrs: BTreeMap<String, AttrValue>,
    /// The nodes.
    pub body: Body,
}

/// An argument of a function.
#[derive(Debug, Clone)]
pub struct FunctionArg {
    /// Its name.
    pub name: String,
    /// Its type; `None` if a caller's attribute gives it.
    pub dtype: Option<TfDType>,
    /// Notes on the argument, such as `_output_shapes`.
    pub attrs: BTreeMap<String, AttrValue>,
    /// Its node, of op `_Arg`.
    pub node: NodeId,
}

/// A result of a function.
#[derive(Debug, Clone)]
pub struct FunctionRet {
    /// Its name.
    pub name: String,
    /// Its type; `None` if a caller's attribute gives it.
    pub dtype: Option<TfDType>,
    /// The tensor of the body that is returned.
    pub edge: Edge,
}

/// The main graph with the functions that it reaches.
#[derive(Debug, Clone, Default)]
pub struct TfGraph {
    /// The main graph.
    pub main: Body,
    functions: Vec<Function>,
    function_index: HashMap<Arc<str>, FunctionId>,
    /// Gradient functions by the function that they are the gradient of.
    pub gradients: BTreeMap<String, String>,
    /// Version of the program that wrote the graph; 0 if it does not say.
    pub producer: i32,
    /// Oldest consumer that may read it.
    pub min_consumer: i32,
}

impl Body {
    /// Puts nodes together; the caller has made their edges for this order. Of equal names the first counts; a
    /// builder refuses them before.
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        let mut index = HashMap::with_capacity(nodes.len());
        for (i, node) in nodes.iter().enumerate() {
            index.entry(node.name.clone()).or_insert(NodeId(i as u32));
        }
        Self { nodes, index }
    }

    /// All nodes; a [`NodeId`] is a position.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All nodes with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, node)| (NodeId(i as u32), node))
    }

    /// The node of an id; `None` for an id of another body.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index())
    }

    /// The node of a name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.index.get(name).copied()
    }

    /// The type of a tensor, where the op's interface tells it.
    pub fn dtype(&self, edge: Edge) -> Option<TfDType> {
        let node = self.node(edge.node)?;
        let interface = node.interface.as_ref()?;
        // Files may leave defaults out.
        let attr = |name: &str| super::build::attr_or_default(node, interface, name);
        interface.output_dtype(edge.output as usize, &attr)
    }

    pub(crate) fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }
}

impl TfGraph {
    pub(crate) fn new(main: Body, functions: Vec<Function>) -> Self {
        let function_index =
            functions.iter().enumerate().map(|(i, f)| (f.name.clone(), FunctionId(i as u32))).collect();
        Self { main, functions, function_index, ..Self::default() }
    }

    /// Takes the main graph and the functions out, for a rewrite; [`Self::put_parts`] brings them back.
    pub(crate) fn take_parts(&mut self) -> (Body, Vec<Function>) {
        self.function_index.clear();
        (std::mem::take(&mut self.main), std::mem::take(&mut self.functions))
    }

    /// Puts in a main graph and functions.
    pub(crate) fn put_parts(&mut self, main: Body, functions: Vec<Function>) {
        let Self { main, functions, function_index, .. } = Self::new(main, functions);
        (self.main, self.functions, self.function_index) = (main, functions, function_index);
    }

    /// All functions; a [`FunctionId`] is a position.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The function of an id.
    pub fn function(&self, id: FunctionId) -> Option<&Function> {
        self.functions.get(id.0 as usize)
    }

    /// The function of a name.
    pub fn find_function(&self, name: &str) -> Option<FunctionId> {
        self.function_index.get(name).copied()
    }

    /// How often each op occurs, functions' bodies included and their arguments not.
    pub fn op_counts(&self) -> BTreeMap<Arc<str>, usize> {
        let mut counts = BTreeMap::new();
        for node in self.functions.iter().map(|f| &f.body).chain([&self.main]).flat_map(Body::nodes) {
            if &*node.op != ARG_OP {
                *counts.entry(node.op.clone()).or_insert(0) += 1;
            }
        }
        counts
    }
}

/// The op of a function's argument.
pub const ARG_OP: &str = "_Arg";

/// Getters of attributes by kind; `None` if the attribute is not there or of another kind.
impl Node {
    fn value(&self, name: &str) -> Option<&Value> {
        self.attrs.get(name)?.value.as_ref()
    }

    /// An integer.
    pub fn int(&self, name: &str) -> Option<i64> {
        if let Value::I(v) = self.value(name)? { Some(*v) } else { None }
    }

    /// A number.
    pub fn float(&self, name: &str) -> Option<f32> {
        if let Value::F(v) = self.value(name)? { Some(*v) } else { None }
    }

    /// A flag.
    pub fn bool(&self, name: &str) -> Option<bool> {
        if let Value::B(v) = self.value(name)? { Some(*v) } else { None }
    }

    /// Bytes.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        if let Value::S(v) = self.value(name)? { Some(v) } else { None }
    }

    /// Bytes that are UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(name)?).ok()
    }

    /// A type.
    pub fn dtype(&self, name: &str) -> Option<TfDType> {
        if let Value::Type(v) = self.value(name)? { TfDType::from_number(*v) } else { None }
    }

    /// A shape.
    pub fn shape(&self, name: &str) -> Option<&TensorShapeProto> {
        if let Value::Shape(v) = self.value(name)? { Some(v) } else { None }
    }

    /// A tensor's value; [`super::tensor::HostTensor::from_proto`] reads it.
    pub fn tensor(&self, name: &str) -> Option<&TensorProto> {
        if let Value::Tensor(v) = self.value(name)? { Some(v) } else { None }
    }

    /// A function.
    pub fn func(&self, name: &str) -> Option<&NameAttrList> {
        if let Value::Func(v) = self.value(name)? { Some(v) } else { None }
    }

    /// A list; the member of its kind is filled.
    pub fn list(&self, name: &str) -> Option<&super::proto::attr_value::ListValue> {
        if let Value::List(v) = self.value(name)? { Some(v) } else { None }
    }
}

/// A tensor's name: a node and the number of an output.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorName {
    /// The node.
    pub node: String,
    /// The output.
    pub output: u32,
}

impl TensorName {
    /// Parses `node` or `node:output`; `None` for `^node`, an empty name, and an output that is no number.
    pub fn parse(text: &str) -> Option<Self> {
        let (node, output) = match text.rsplit_once(':') {
            Some((node, output)) if !output.is_empty() && output.bytes().all(|b| b.is_ascii_digit()) => {
                (node, output.parse().ok()?)
            }
            Some(_) => return None,
            None => (text, 0),
        };
        if node.is_empty() || node.starts_with('^') || node.contains(':') {
            None
        } else {
            Some(Self { node: node.into(), output })
        }
    }
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.output)
    }
}
