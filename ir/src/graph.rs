//! The graph IR: modules of functions in SSA form, typed, with state as values.
//!
//! Invariants (the verifier in [`crate::verify`] checks them): every value has one definition, which stands before its
//! uses in the function's order; every node's result types are what its op infers; results and parameters are typed.
//! Variables are parameters of kind [`ParamKind::Variable`]; a function that writes one returns its new value under the
//! same name, so passes have no aliasing to think about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::op::Op;
use crate::{DType, Dim, Symbol};

/// The type of a value: element type and shape. The rank is always known.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// One dimension an axis; empty for a scalar.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A type.
    pub fn new(dtype: DType, shape: Vec<Dim>) -> TensorType {
        TensorType { dtype, shape }
    }

    /// A type whose dimensions are all numbers.
    pub fn fixed(dtype: DType, shape: &[usize]) -> TensorType {
        TensorType { dtype, shape: shape.iter().map(|&d| Dim::from(d)).collect() }
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The shape where every dimension is a non-negative number.
    pub fn static_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(|d| d.as_const().and_then(|n| usize::try_from(n).ok())).collect()
    }

    /// The number of elements.
    pub fn elements(&self) -> Dim {
        Dim::product(&self.shape)
    }
}

impl fmt::Display for TensorType {
    /// `f32[b, 28, 28, 1]`; a scalar is `f32[]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A value of a function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

/// A node of a function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeId(pub u32);

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// Where a node came from: shown by every diagnostic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loc {
    /// The node's name in the imported graph; empty for nodes that a test or a builder made.
    pub node: Arc<str>,
    /// Its TensorFlow op.
    pub tf_op: Arc<str>,
}

impl Loc {
    /// A location.
    pub fn new(node: &str, tf_op: &str) -> Loc {
        Loc { node: node.into(), tf_op: tf_op.into() }
    }
}

/// An operation applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it computes.
    pub op: Arc<dyn Op>,
    /// Operands, in the op's order.
    pub inputs: Vec<Value>,
    /// Results, in the op's order.
    pub outputs: Vec<Value>,
    /// Origin.
    pub loc: Loc,
}

/// What defines a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Def {
    /// The parameter with this index.
    Param(u32),
    /// The result with this index of a node.
    Node(NodeId, u32),
}

#[derive(Clone, Debug)]
struct ValueData {
    ty: TensorType,
    def: Def,
}

/// What a parameter is to the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ParamKind {
    /// Fed at each call.
    Input,
    /// State that lives between calls.
    Variable,
}

/// A parameter of a function.
#[derive(Clone, Debug)]
pub struct Param {
    /// The name by which callers feed it; unique within the function.
    pub name: String,
    /// Input or variable.
    pub kind: ParamKind,
    /// Its value in the body.
    pub value: Value,
}

/// A result of a function.
#[derive(Clone, Debug)]
pub struct FuncResult {
    /// The name by which callers fetch it; for a variable's new value, the variable's name.
    pub name: String,
    /// Whether it is an output or the new value of a variable.
    pub kind: ParamKind,
    /// The value returned.
    pub value: Value,
}

/// A function in SSA form.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// Its name, unique within the module.
    pub name: String,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Results in order.
    pub results: Vec<FuncResult>,
    nodes: Vec<Node>,
    values: Vec<ValueData>,
}

impl Function {
    /// An empty function.
    pub fn new(name: &str) -> Function {
        Function { name: name.into(), ..Function::default() }
    }

    /// Adds a parameter.
    pub fn add_param(&mut self, name: &str, kind: ParamKind, ty: TensorType) -> Value {
        let value = Value(self.values.len() as u32);
        self.values.push(ValueData { ty, def: Def::Param(self.params.len() as u32) });
        self.params.push(Param { name: name.into(), kind, value });
        value
    }

    /// Adds a result.
    pub fn add_result(&mut self, name: &str, kind: ParamKind, value: Value) {
        self.results.push(FuncResult { name: name.into(), kind, value });
    }

    /// Appends a node whose result types are already inferred (see [`crate::Builder`], which infers them).
    pub fn push(&mut self, op: Arc<dyn Op>, inputs: Vec<Value>, types: Vec<TensorType>, loc: Loc) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let mut outputs = Vec::with_capacity(types.len());
        for (i, ty) in types.into_iter().enumerate() {
            outputs.push(Value(self.values.len() as u32));
            self.values.push(ValueData { ty, def: Def::Node(id, i as u32) });
        }
        self.nodes.push(Node { op, inputs, outputs, loc });
        id
    }

    /// The nodes in order: definitions stand before uses.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i as u32), n))
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The symbols that its types and its nodes' attributes mention.
    pub fn symbols(&self) -> BTreeSet<Symbol> {
        let mut found = BTreeSet::new();
        let mut note = |d: &Dim| {
            d.for_each_symbol(&mut |s| {
                found.insert(s.clone());
            });
        };
        self.values.iter().flat_map(|v| &v.ty.shape).for_each(&mut note);
        self.nodes.iter().flat_map(|n| n.op.attrs().0).for_each(|(_, a)| a.for_each_dim(&mut note));
        found
    }

    /// Replaces the constants that `unread` holds of by empty ones, to free their memory: for a function that was
    /// compiled and whose types alone are still of interest. It is not valid afterwards.
    pub fn forget_constants(&mut self, unread: &dyn Fn(Value) -> bool) {
        for n in &mut self.nodes {
            if let Some(c) = n.op.is::<crate::ops::constant::Const>()
                && n.outputs.iter().all(|&v| unread(v))
            {
                n.op = Arc::new(crate::ops::constant::Const { value: crate::Tensor::zeros(c.value.dtype(), &[0]) });
            }
        }
    }

    /// The number of values: ids are below it.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// The number of nodes: ids are below it.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The type of a value.
    pub fn ty(&self, v: Value) -> &TensorType {
        &self.values[v.0 as usize].ty
    }

    /// What defines a value.
    pub fn def(&self, v: Value) -> Def {
        self.values[v.0 as usize].def
    }

    /// The node that defines a value, if a node does.
    pub fn def_node(&self, v: Value) -> Option<&Node> {
        match self.def(v) {
            Def::Node(n, _) => Some(self.node(n)),
            Def::Param(_) => None,
        }
    }

    /// For every value, how often it is used by nodes and results.
    pub fn use_counts(&self) -> Vec<u32> {
        let mut counts = vec![0u32; self.values.len()];
        for v in self.nodes.iter().flat_map(|n| &n.inputs).chain(self.results.iter().map(|r| &r.value)) {
            counts[v.0 as usize] += 1;
        }
        counts
    }
}

/// Bounds of a symbol, inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SymbolBounds {
    /// Smallest value; 0 unless known better.
    pub min: i64,
    /// Largest value, where planning may count on one.
    pub max: Option<i64>,
}

/// A set of functions with the symbols that their types mention.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Functions; calls name them by index.
    pub funcs: Vec<Function>,
    /// The functions that callers see (signatures), by index into `funcs`.
    pub entries: Vec<usize>,
    /// Symbols with their bounds.
    pub symbols: BTreeMap<Symbol, SymbolBounds>,
}
