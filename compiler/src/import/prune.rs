//! Keeping what some tensors and nodes need: a walk against the edges, linear and without recursion.

use super::graph::{Body, Edge, NodeId};

/// What must be computed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Roots<'a> {
    /// Tensors.
    pub fetches: &'a [Edge],
    /// Nodes that must run.
    pub targets: &'a [NodeId],
}

/// A body of the nodes that are needed, in their old order.
#[derive(Debug)]
pub struct Pruned {
    /// The nodes.
    pub body: Body,
    new_ids: Vec<u32>,
}

/// The new id of a node that was dropped.
const DROPPED: u32 = u32::MAX;

impl Pruned {
    /// The new id of a node; `None` if it was dropped.
    pub fn node(&self, old: NodeId) -> Option<NodeId> {
        self.new_ids.get(old.index()).copied().filter(|&id| id != DROPPED).map(NodeId)
    }

    /// The new form of an edge.
    pub fn edge(&self, old: Edge) -> Option<Edge> {
        Some(Edge { node: self.node(old.node)?, output: old.output })
    }
}

/// Which nodes a root needs, over data and control edges.
pub fn reached(body: &Body, roots: &Roots) -> Vec<bool> {
    let nodes = body.nodes();
    let mut keep = vec![false; nodes.len()];
    let mut queue: Vec<NodeId> = Vec::new();
    let mut reach = |id: NodeId, queue: &mut Vec<NodeId>| {
        if let Some(kept) = keep.get_mut(id.index())
            && !std::mem::replace(kept, true)
        {
            queue.push(id);
        }
    };
    for id in roots.fetches.iter().map(|e| e.node).chain(roots.targets.iter().copied()) {
        reach(id, &mut queue);
    }
    while let Some(id) = queue.pop() {
        let Some(node) = nodes.get(id.index()) else {
            continue;
        };
        for input in node.inputs.iter().map(|e| e.node).chain(node.control.iter().copied()) {
            reach(input, &mut queue);
        }
    }
    keep
}

/// Keeps the nodes from which a root can be reached over data and control edges (loops of TensorFlow 1 included).
pub fn prune(body: Body, roots: &Roots) -> Pruned {
    let keep = reached(&body, roots);
    let mut nodes = body.into_nodes();
    let mut new_ids = Vec::with_capacity(nodes.len());
    let mut next = 0;
    for kept in &keep {
        new_ids.push(if *kept { next } else { DROPPED });
        next += u32::from(*kept);
    }
    let mut keep = keep.into_iter();
    nodes.retain(|_| keep.next().unwrap_or(false));
    let renumber = |id: &mut NodeId| {
        if let Some(new) = new_ids.get(id.index()) {
            id.0 = *new;
        }
    };
    for node in &mut nodes {
        node.inputs.iter_mut().for_each(|e| renumber(&mut e.node));
        node.control.iter_mut().for_each(renumber);
    }
    Pruned { body: Body::new(nodes), new_ids }
}
