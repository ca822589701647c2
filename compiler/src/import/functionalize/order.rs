//! Dependency order of a body in which only NextIteration closes cycles.

use super::super::error::Result;
use super::super::graph::NodeId;
use super::flow::{Flow, Kind, Successors};

/// Calls `add` for each node that a node depends on in the same turn of its loop.
fn dependencies(flow: &Flow, id: NodeId, add: &mut dyn FnMut(NodeId)) {
    let node = flow.node(id);
    let merge = flow.kind(id) == Kind::Merge;
    for from in node.inputs.iter().map(|e| e.node) {
        if !(merge && flow.kind(from) == Kind::NextIteration) {
            add(from);
        }
    }
    node.control.iter().copied().for_each(add);
}

/// All nodes, each after those that it depends on, but for the way from a NextIteration to its Merge.
///
/// Errors: a cycle that no NextIteration closes; a node on it is named.
pub(super) fn order(flow: &Flow) -> Result<Vec<NodeId>> {
    let successors = Successors::with(flow.nodes.len(), |id, add| dependencies(flow, id, add));
    let mut missing = vec![0u32; flow.nodes.len()];
    let mut out = Vec::with_capacity(flow.nodes.len());
    for id in flow.ids() {
        dependencies(flow, id, &mut |_| missing[id.index()] += 1);
        if missing[id.index()] == 0 {
            out.push(id);
        }
    }
    let mut next = 0;
    while let Some(&id) = out.get(next) {
        next += 1;
        for &to in successors.of(id) {
            missing[to.index()] -= 1;
            if missing[to.index()] == 0 {
                out.push(to);
            }
        }
    }
    match flow.ids().find(|id| missing[id.index()] > 0) {
        Some(start) => {
            Err(flow.fail(on_cycle(flow, &missing, start), "it is on a cycle of the graph that is not a loop's"))
        }
        None => Ok(out),
    }
}

/// A node on a cycle, from a node that waits for one: what is missing is followed until something comes twice.
fn on_cycle(flow: &Flow, missing: &[u32], start: NodeId) -> NodeId {
    let mut seen = vec![false; missing.len()];
    let mut at = start;
    while !std::mem::replace(&mut seen[at.index()], true) {
        let mut next = at;
        dependencies(flow, at, &mut |from| {
            if missing[from.index()] > 0 {
                next = from;
            }
        });
        at = next;
    }
    at
}
