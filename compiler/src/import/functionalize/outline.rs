//! Chosen nodes of a body as a body of their own: a function, or what is left of the whole.

use super::super::dtype::TfDType;
use super::super::error::Result;
use super::super::graph::{ARG_OP, Body, Edge, Function, FunctionArg, FunctionRet, Node, NodeId};
use super::super::proto::attr_value::Value;
use super::flow::{Flow, Kind, attr, is_stateful, op};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Where a node of the new body takes a tensor from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// An argument of the function.
    Arg(usize),
    /// A node of the old body that is among the chosen ones.
    Node(Edge),
}

/// What a chosen node takes in the new body: tensors, and nodes to run after (those not chosen are left out).
pub(super) type Wires = (Vec<Source>, Vec<NodeId>);

/// The nodes of a new body.
#[derive(Debug)]
pub(super) struct Outline {
    /// The nodes: arguments first, then in the old order.
    pub nodes: Vec<Node>,
    /// The types of the arguments.
    args: Vec<i32>,
    /// The new id of each chosen node.
    new: HashMap<NodeId, NodeId>,
}

impl Outline {
    /// Puts the chosen nodes together. `first` come before the others.
    pub fn new(
        flow: &Flow,
        args: Vec<i32>,
        first: &[NodeId],
        mut chosen: Vec<NodeId>,
        mut wires: impl FnMut(NodeId) -> Result<Wires>,
    ) -> Result<Self> {
        let leads: HashSet<NodeId> = first.iter().copied().collect();
        chosen.retain(|id| !leads.contains(id));
        chosen.sort_unstable_by_key(|id| (flow.position[id.index()], id.0));
        chosen.splice(0..0, first.iter().copied());
        let names: HashSet<&str> = chosen.iter().map(|&id| &*flow.node(id).name).collect();
        let mut nodes: Vec<Node> = Vec::with_capacity(args.len() + chosen.len());
        for (i, &dtype) in args.iter().enumerate() {
            let mut name = format!("arg_{i}");
            while names.contains(name.as_str()) {
                name.push('_');
            }
            let attrs = [("T", attr(Value::Type(dtype))), ("index", attr(Value::I(i as i64)))];
            nodes.push(op(name.into(), ARG_OP, Vec::new(), attrs));
        }
        let new = chosen.iter().enumerate().map(|(i, &id)| (id, NodeId((args.len() + i) as u32))).collect();
        let mut out = Self { nodes, args, new };
        for id in chosen {
            let (inputs, controls) = wires(id)?;
            let mut node = flow.node(id).clone();
            node.inputs = inputs
                .into_iter()
                .map(|source| {
                    out.edge(source).ok_or_else(|| flow.fail(id, "it takes a tensor that is not in its branch or loop"))
                })
                .collect::<Result<_>>()?;
            node.control = out.controls(&controls);
            out.nodes.push(node);
        }
        Ok(out)
    }

    /// A tensor in the new body.
    pub fn edge(&self, source: Source) -> Option<Edge> {
        Some(match source {
            Source::Arg(i) => Edge { node: NodeId(i as u32), output: 0 },
            Source::Node(edge) => Edge { node: *self.new.get(&edge.node)?, output: edge.output },
        })
    }

    /// Nodes in the new body, each once; those that were not chosen are left out.
    pub fn controls(&self, old: &[NodeId]) -> Vec<NodeId> {
        let mut out: Vec<NodeId> = old.iter().filter_map(|id| self.new.get(id).copied()).collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Whether a node of the body has state.
    pub fn is_stateful(&self) -> bool {
        self.nodes.iter().any(is_stateful)
    }

    /// The body as a function with these results.
    pub fn into_function(
        self,
        flow: &Flow,
        name: Arc<str>,
        rets: &[(Source, i32)],
        controls: &[NodeId],
    ) -> Result<Function> {
        let dtype = TfDType::from_number;
        let arg = |(i, node): (usize, &Node)| FunctionArg {
            name: node.name.to_string(),
            dtype: dtype(self.args[i]),
            attrs: BTreeMap::new(),
            node: NodeId(i as u32),
        };
        let args = self.nodes.iter().take(self.args.len()).enumerate().map(arg).collect();
        let ret = |(i, &(source, number)): (usize, &(Source, i32))| {
            let edge = self.edge(source).ok_or_else(|| match source {
                Source::Node(edge) => flow.fail(edge.node, "it is not in the branch or loop that returns it"),
                Source::Arg(_) => {
                    super::super::ImportError::malformed(format!("function `{name}`"), "no such argument")
                }
            })?;
            Ok(FunctionRet { name: format!("ret_{i}"), dtype: dtype(number), edge })
        };
        let rets = rets.iter().enumerate().map(ret).collect::<Result<Vec<_>>>()?;
        let control_rets = self.controls(controls);
        Ok(Function { name, args, rets, control_rets, attrs: BTreeMap::new(), body: Body::new(self.nodes) })
    }
}

/// The functions that are made, and the names that are in use.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The functions.
    pub functions: Vec<Function>,
    /// The names in use, with how many were derived from each.
    taken: HashMap<Arc<str>, u32>,
}

impl Made {
    /// With the names that are in use already.
    pub fn new(names: impl Iterator<Item = Arc<str>>) -> Self {
        Self { functions: Vec::new(), taken: names.map(|n| (n, 0)).collect() }
    }

    /// A function's name that is not in use: letters, digits and `_` of `base`, and a number if need be.
    pub fn name(&mut self, base: &str) -> Arc<str> {
        let plain: String = base.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mut name: Arc<str> = plain.as_str().into();
        while let Some(count) = self.taken.get_mut(&name) {
            *count += 1;
            name = format!("{plain}_{count}").into();
            if !self.taken.contains_key(&name) {
                break;
            }
            // The derived name is a function's own: count on from the first.
            name = plain.as_str().into();
        }
        self.taken.insert(name.clone(), 0);
        name
    }
}

/// The most values of a constant that are copied when a branch or loop takes it.
const MAX_COPIED_VALUES: usize = 1024;

/// Identities and constant Enters between a constant and what takes it, at most.
const MAX_PASSES: usize = 80;

/// The constant that a tensor is, if a function may hold a copy of it: one whose values are shared, or few.
pub(super) fn constant(flow: &Flow, edge: Edge) -> Option<Edge> {
    let mut edge = edge;
    for _ in 0..MAX_PASSES {
        let node = flow.node(edge.node);
        let passes = match flow.kind(edge.node) {
            Kind::Enter => node.bool("is_constant") == Some(true),
            _ => &*node.op == "Identity",
        };
        if !passes || !node.control.is_empty() {
            break;
        }
        edge = *node.inputs.first()?;
    }
    is_copied(flow, edge).then_some(edge)
}

fn is_copied(flow: &Flow, edge: Edge) -> bool {
    let node = flow.node(edge.node);
    if &*node.op != "Const" || edge.output != 0 || flow.kind(edge.node) != Kind::Plain {
        return false;
    }
    node.tensor("value").is_some_and(|t| {
        let values = [
            t.float_val.len(),
            t.double_val.len() * 2,
            t.int_val.len(),
            t.string_val.len() * 8,
            t.int64_val.len() * 2,
            t.bool_val.len(),
            t.half_val.len(),
            t.scomplex_val.len(),
            t.dcomplex_val.len() * 2,
            t.uint32_val.len(),
            t.uint64_val.len() * 2,
        ];
        values.iter().sum::<usize>() <= MAX_COPIED_VALUES
            && t.resource_handle_val.is_empty()
            && t.variant_val.is_empty()
    })
}
