//! `_SwitchN` as a tree of Switches that halves the range of its index, so that one kind of branch is left.

use super::super::error::Result;
use super::super::graph::{Edge, NodeId};
use super::super::proto::attr_value::Value;
use super::flow::{Flow, INT32, Kind, attr, int_const, op};
use std::collections::HashMap;

/// Replaces every `_SwitchN`. `origin` gives the tensor of which an index is a copy: those of one origin share their
/// predicates.
pub(super) fn expand(flow: &mut Flow, origin: impl Fn(Edge) -> Edge) -> Result<()> {
    // As many outputs as there are edges can be used; some more are let pass.
    let mut budget = flow.nodes.iter().map(|n| 4 * (n.inputs.len() + n.control.len() + 1)).sum::<usize>() + 64;
    let count = flow.nodes.len();
    let all: Vec<NodeId> = flow.ids().filter(|&id| flow.kind(id) == Kind::SwitchN).collect();
    // New tensors for the outputs of each one that is replaced.
    let mut replaced: HashMap<NodeId, Vec<Edge>> = HashMap::new();
    let mut indices: HashMap<(Edge, usize), Index> = HashMap::new();
    for id in all {
        let outputs = flow.node(id).int("num_outs").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        if outputs == 0 || outputs > budget {
            return Err(flow.fail(id, format!("its number of outputs is {outputs}")));
        }
        budget -= outputs;
        let index = origin(flow.input(id, 1)?);
        let mut known = match indices.remove(&(index, outputs)) {
            Some(known) => known,
            None => Index::new(flow, index, outputs, id),
        };
        replaced.insert(id, known.switches(flow, id, outputs)?);
        indices.insert((index, outputs), known);
    }
    let follow = |edge: &mut Edge| {
        if let Some(new) = replaced.get(&edge.node).and_then(|outputs| outputs.get(edge.output as usize)) {
            *edge = *new;
        }
    };
    // The added nodes take one another's outputs, under numbers that a replaced node had too.
    for node in &mut flow.nodes[..count] {
        node.inputs.iter_mut().for_each(follow);
    }
    flow.fetches.iter_mut().for_each(follow);
    Ok(())
}

/// An index with the predicates that compare it.
struct Index {
    /// The index, one out of range moved to the last.
    clamped: Edge,
    /// Whether it is less than a number.
    less: HashMap<usize, Edge>,
}

impl Index {
    fn new(flow: &mut Flow, index: Edge, outputs: usize, near: NodeId) -> Self {
        let base = format!("{}/index", flow.node(near).name);
        let number = || ("T", attr(Value::Type(INT32)));
        let mut add = |node| Edge { node: flow.push(node, near), output: 0 };
        let zero = add(int_const(format!("{base}/zero").into(), 0));
        let last = add(int_const(format!("{base}/last").into(), outputs as i32 - 1));
        let valid = add(op(format!("{base}/valid").into(), "GreaterEqual", vec![index, zero], [number()]));
        let clamped = add(op(format!("{base}/clamped").into(), "SelectV2", vec![valid, index, last], [number()]));
        Self { clamped, less: HashMap::new() }
    }

    fn less(&mut self, flow: &mut Flow, than: usize, near: NodeId) -> Edge {
        *self.less.entry(than).or_insert_with(|| {
            let base = format!("{}/less_{than}", flow.node(near).name);
            let mut add = |node| Edge { node: flow.push(node, near), output: 0 };
            let limit = add(int_const(format!("{base}/limit").into(), than as i32));
            add(op(base.into(), "Less", vec![self.clamped, limit], [("T", attr(Value::Type(INT32)))]))
        })
    }

    /// Adds the Switches of one `_SwitchN`, the first in its own place; gives its outputs.
    fn switches(&mut self, flow: &mut Flow, id: NodeId, outputs: usize) -> Result<Vec<Edge>> {
        let data = flow.input(id, 0)?;
        let dtype = flow.dtype(Edge { node: id, output: 0 })?;
        let mut out = vec![data; outputs];
        let mut first = Some(id);
        let mut queue = vec![(data, 0..outputs)];
        while let Some((data, range)) = queue.pop() {
            // One output: also if the whole has but one, which is then no branch at all.
            if range.len() == 1 && first.is_none() {
                out[range.start] = data;
                continue;
            }
            let middle = range.start + range.len().div_ceil(2);
            let pred = self.less(flow, middle, id);
            let name = flow.node(id).name.clone();
            let attrs = [("T", attr(Value::Type(dtype)))];
            let at = match first.take() {
                Some(id) => {
                    let control = std::mem::take(&mut flow.nodes[id.index()].control);
                    flow.nodes[id.index()] = op(name, "Switch", vec![data, pred], attrs);
                    flow.nodes[id.index()].control = control;
                    flow.kinds[id.index()] = Kind::Switch;
                    id
                }
                None => {
                    let name = format!("{name}/from_{}_to_{}", range.start, range.end - 1).into();
                    flow.push(op(name, "Switch", vec![data, pred], attrs), id)
                }
            };
            for (output, half) in [(1, range.start..middle), (0, middle..range.end)] {
                if !half.is_empty() {
                    queue.push((Edge { node: at, output }, half));
                }
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_tree_has_a_switch_less_than_outputs() {
        let placeholder = |name: &str| op(name.into(), "Placeholder", vec![], [("dtype", attr(Value::Type(INT32)))]);
        let edge = |id| Edge { node: NodeId(id), output: 0 };
        for outputs in 2..9usize {
            let attrs = [("T", attr(Value::Type(INT32))), ("num_outs", attr(Value::I(outputs as i64)))];
            let switch = |name: &str| op(name.into(), "_SwitchN", vec![edge(0), edge(1)], attrs.clone());
            let nodes = vec![placeholder("x"), placeholder("i"), switch("a"), switch("b")];
            let mut flow = Flow::new(Arc::from(""), nodes);
            flow.fetches = (0..outputs as u32).map(|output| Edge { node: NodeId(2), output }).collect();
            expand(&mut flow, |e| e).unwrap();
            let count = |op: &str| flow.nodes.iter().filter(|n| &*n.op == op).count();
            assert_eq!((count("_SwitchN"), count("Switch"), count("Less")), (0, 2 * (outputs - 1), outputs - 1));
            let ends: std::collections::HashSet<Edge> = flow.fetches.iter().copied().collect();
            assert_eq!(ends.len(), outputs);
        }
    }
}
