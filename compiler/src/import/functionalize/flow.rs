//! The working form of a body while its control flow is rewritten: nodes that may be added to, and what kind each is.

use super::super::error::{ImportError, Result};
use super::super::graph::{ARG_OP, Edge, Node, NodeId};
use super::super::op_defs::builtin;
use super::super::proto::attr_value::{ListValue, Value};
use super::super::proto::{AttrValue, NameAttrList, TensorProto, TensorShapeProto};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a node does to control flow. The `Ref` forms are as the plain ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Passes its data to one of two outputs.
    Switch,
    /// Passes its data to one of many outputs.
    SwitchN,
    /// Passes on the one input that is there.
    Merge,
    /// Into a loop.
    Enter,
    /// Out of a loop.
    Exit,
    /// Into the next turn of a loop.
    NextIteration,
    /// Decides whether a loop goes on.
    LoopCond,
    /// Runs also if what it waits for does not.
    Trigger,
    /// Any other op.
    Plain,
}

impl Kind {
    /// The kind of an op.
    pub fn of(op: &str) -> Self {
        match op.strip_prefix("Ref").unwrap_or(op) {
            "Switch" => Self::Switch,
            "_SwitchN" => Self::SwitchN,
            "Merge" => Self::Merge,
            "Enter" => Self::Enter,
            "Exit" => Self::Exit,
            "NextIteration" => Self::NextIteration,
            "LoopCond" => Self::LoopCond,
            "ControlTrigger" => Self::Trigger,
            _ => Self::Plain,
        }
    }
}

/// A body in work, with the tensors and nodes that are asked of it.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The function's name; empty for the main graph.
    pub function: Arc<str>,
    /// The nodes; added ones are at the end.
    pub nodes: Vec<Node>,
    /// Where each node stands in the order of the result; an added node takes the place of the one that it replaces.
    pub position: Vec<u32>,
    /// The kind of each node.
    pub kinds: Vec<Kind>,
    /// Nodes that stay, in this order, before all others: arguments and inputs.
    pub args: Vec<NodeId>,
    /// Tensors that are asked for.
    pub fetches: Vec<Edge>,
    /// Nodes that must run.
    pub controls: Vec<NodeId>,
    /// Nodes that must run if control flow comes to them.
    pub effects: Vec<NodeId>,
}

impl Flow {
    /// A body's nodes, before anything is asked of it. Makers of state have no inputs and are shared by whatever comes
    /// after: they are freed from the branch or loop that they were written in.
    pub fn new(function: Arc<str>, mut nodes: Vec<Node>) -> Self {
        for node in nodes.iter_mut().filter(|n| makes_state(&n.op)) {
            node.control.clear();
        }
        let kinds = nodes.iter().map(|n| Kind::of(&n.op)).collect();
        let position = (0..nodes.len() as u32).collect();
        Self { function, nodes, position, kinds, ..Self::default() }
    }

    /// All ids.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// A node. Ids come from this body's own edges, which the importer has checked.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// A node's kind.
    pub fn kind(&self, id: NodeId) -> Kind {
        self.kinds[id.index()]
    }

    /// Adds a node in the place of `near`.
    pub fn push(&mut self, node: Node, near: NodeId) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.kinds.push(Kind::of(&node.op));
        self.position.push(self.position[near.index()]);
        self.nodes.push(node);
        id
    }

    /// An error of a node.
    pub fn fail(&self, id: NodeId, what: impl Into<String>) -> ImportError {
        let node = self.node(id);
        let name = match &*self.function {
            "" => node.name.to_string(),
            function => format!("{function}/{}", node.name),
        };
        ImportError::node(name, &*node.op, what)
    }

    /// Input number `i` of a node.
    pub fn input(&self, id: NodeId, i: usize) -> Result<Edge> {
        self.node(id).inputs.get(i).copied().ok_or_else(|| self.fail(id, format!("it has no input {i}")))
    }

    /// The number of a tensor's type.
    pub fn dtype(&self, edge: Edge) -> Result<i32> {
        let node = self.node(edge.node);
        let known = node.interface.as_ref().and_then(|i| i.output_dtype(edge.output as usize, &|n| node.attrs.get(n)));
        known.map(|t| t.number()).ok_or_else(|| {
            self.fail(
                edge.node,
                format!("the type of output {} is unknown, and a branch or loop takes it", edge.output),
            )
        })
    }

    /// Of each node, whether `start` holds for it or for something that it depends on, over all edges.
    pub fn downstream(&self, start: impl Fn(NodeId) -> bool) -> Vec<bool> {
        let successors = Successors::new(self);
        let mut found = vec![false; self.nodes.len()];
        let mut queue: Vec<NodeId> = self.ids().filter(|&id| start(id)).collect();
        queue.iter().for_each(|id| found[id.index()] = true);
        while let Some(id) = queue.pop() {
            for &next in successors.of(id) {
                if !std::mem::replace(&mut found[next.index()], true) {
                    queue.push(next);
                }
            }
        }
        found
    }

    /// Of each node, whether it has an effect or depends on one. Only then do control edges from it order anything:
    /// the others say to which branch or turn of a loop a node belongs.
    pub fn effects(&self) -> Vec<bool> {
        self.downstream(|id| has_effect(self.node(id)))
    }
}

/// The nodes that depend on each node, over data and control edges, one entry for each edge.
pub(super) struct Successors {
    start: Vec<u32>,
    to: Vec<NodeId>,
}

impl Successors {
    pub fn new(flow: &Flow) -> Self {
        Self::with(flow.nodes.len(), |id, add| {
            let node = flow.node(id);
            node.inputs.iter().map(|e| e.node).chain(node.control.iter().copied()).for_each(add);
        })
    }

    /// `each` calls its argument with all nodes that a node depends on; it must do the same each time.
    pub fn with(count: usize, each: impl Fn(NodeId, &mut dyn FnMut(NodeId))) -> Self {
        let ids = || (0..count as u32).map(NodeId);
        let mut start = vec![0u32; count + 1];
        ids().for_each(|id| each(id, &mut |from| start[from.index() + 1] += 1));
        for i in 0..count {
            start[i + 1] += start[i];
        }
        let mut next = start.clone();
        let mut to = vec![NodeId(0); start[count] as usize];
        ids().for_each(|id| {
            each(id, &mut |from| {
                let at = &mut next[from.index()];
                to[*at as usize] = id;
                *at += 1;
            });
        });
        Self { start, to }
    }

    pub fn of(&self, id: NodeId) -> &[NodeId] {
        &self.to[self.start[id.index()] as usize..self.start[id.index() + 1] as usize]
    }
}

/// Whether an op makes a handle or reference from nothing, which all that come to it share.
fn makes_state(op: &str) -> bool {
    matches!(
        op,
        "VarHandleOp"
            | "VariableV2"
            | "Variable"
            | "TemporaryVariable"
            | "HashTableV2"
            | "HashTable"
            | "MutableHashTableV2"
    )
}

/// Whether a node has state: of two equal ones, both must stay.
pub(super) fn is_stateful(node: &Node) -> bool {
    match &*node.op {
        ARG_OP | "Placeholder" | "PlaceholderV2" | "NoOp" => false,
        _ => node.interface.as_ref().is_none_or(|i| i.stateful),
    }
}

/// Whether a node does something that its outputs do not show: it must run if another is made to wait for it.
fn has_effect(node: &Node) -> bool {
    let shown = matches!(&*node.op, "ReadVariableOp" | "ResourceGather" | "ResourceGatherNd" | "VariableShape")
        || makes_state(&node.op)
        || ["TensorArray", "Random", "TruncatedNormal", "Multinomial"].iter().any(|p| node.op.starts_with(p));
    // Ops on references of TensorFlow 1 count as stateless there, whatever they do to what is referred to. These do nothing.
    let looks = ["Ref", "LookupTableFind", "LookupTableSize", "LookupTableExport", "IsVariableInitialized", "Identity"];
    let looks = looks.iter().any(|p| node.op.starts_with(p));
    let referred = node.interface.as_ref().is_some_and(|i| i.inputs.iter().any(|a| a.is_ref)) && !looks;
    !shown && (is_stateful(node) || referred)
}

/// An attribute.
pub(super) fn attr(value: Value) -> AttrValue {
    AttrValue { value: Some(value) }
}

/// A list of types as an attribute.
pub(super) fn types(list: &[i32]) -> AttrValue {
    attr(Value::List(Box::new(ListValue { r#type: list.to_vec(), ..Default::default() })))
}

/// A function as an attribute.
pub(super) fn function(name: &str) -> AttrValue {
    attr(Value::Func(Box::new(NameAttrList { name: name.into(), attr: BTreeMap::new() })))
}

/// A node of an op of TensorFlow's own, with the op's defaults for the attributes that are not given.
pub(super) fn op<const N: usize>(name: Arc<str>, op: &str, inputs: Vec<Edge>, attrs: [(&str, AttrValue); N]) -> Node {
    let interface = builtin(op).cloned();
    let defaults = interface.iter().flat_map(|i| &i.attrs).filter_map(|a| Some((a.name.clone(), a.default.clone()?)));
    let mut all: BTreeMap<String, AttrValue> = defaults.collect();
    all.extend(attrs.map(|(name, value)| (name.to_string(), value)));
    Node { name, op: op.into(), device: String::new(), inputs, control: Vec::new(), attrs: all, interface }
}

/// A number as a constant.
pub(super) fn int_const(name: Arc<str>, value: i32) -> Node {
    let tensor = TensorProto {
        dtype: INT32,
        tensor_shape: Some(TensorShapeProto::default()),
        int_val: vec![value],
        ..Default::default()
    };
    op(
        name,
        "Const",
        Vec::new(),
        [("dtype", attr(Value::Type(INT32))), ("value", attr(Value::Tensor(Box::new(tensor))))],
    )
}

/// TensorFlow's number of the type int32.
pub(super) const INT32: i32 = 3;
