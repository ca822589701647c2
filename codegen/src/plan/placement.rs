//! Values that live inside a larger one: operands of concatenations and paddings, and reshapes.
//!
//! Where the operand of a `concat` or a `pad` is computed by a kernel, that kernel writes straight into its part of the
//! result's buffer, and the copy is gone. Every other reader of the operand reads it there.

use std::collections::HashMap;

use kiln_ir::graph::Def;
use kiln_ir::loops::Layout;
use kiln_ir::lower::{Lower, View};
use kiln_ir::ops::constant::Const;
use kiln_ir::{Dim, Function, NodeId, Value};
use kiln_passes::fusion::{Cluster, family};

/// Where values live that have no buffer of their own.
#[derive(Debug, Default)]
pub struct Placement {
    /// The value in whose buffer another one lives.
    pub parent: HashMap<Value, Value>,
    /// The layouts of values that are not row-major over their own buffer.
    pub layouts: HashMap<Value, Layout>,
    /// Clusters that need no kernel: reshapes of what lies in memory, concatenations whose operands all are in place.
    pub done: Vec<bool>,
    /// Paddings whose operand is in place: only their border is written.
    pub border_only: Vec<bool>,
}

/// The single node of a cluster that is a view, with the view.
fn lone_view(f: &Function, c: &Cluster) -> Option<(NodeId, View)> {
    let [n] = c.nodes[..] else { return None };
    match family(f, n) {
        Lower::View(v) => Some((n, v)),
        _ => None,
    }
}

/// Decides placements. `fetched`: values that are outputs of the function.
pub fn place(f: &Function, clusters: &[Cluster], fetched: &dyn Fn(Value) -> bool) -> Placement {
    let mut p = Placement {
        done: vec![false; clusters.len()],
        border_only: vec![false; clusters.len()],
        ..Placement::default()
    };
    let produced: HashMap<Value, usize> = clusters.iter().enumerate().map(|(i, c)| (c.output, i)).collect();
    // A value that a reshape shares memory with must stay row-major.
    let mut pinned: Vec<Value> = vec![];
    for (i, c) in clusters.iter().enumerate() {
        if let Some((n, View::Reshape(_))) = lone_view(f, c)
            && !fetched(c.output)
        {
            let x = f.node(n).inputs[0];
            let in_memory =
                matches!(f.def(x), Def::Node(..)) && f.def_node(x).is_some_and(|d| d.op.is::<Const>().is_none());
            if in_memory {
                p.parent.insert(c.output, x);
                p.done[i] = true;
                pinned.extend([x, c.output]);
            }
        }
    }
    pinned.sort();
    // Last clusters first: a part of a part lies in the outermost buffer.
    for (i, c) in clusters.iter().enumerate().rev() {
        let Some((n, view)) = lone_view(f, c) else { continue };
        let movable = |p: &Placement, v: Value| {
            produced.contains_key(&v) && !fetched(v) && !p.parent.contains_key(&v) && pinned.binary_search(&v).is_err()
        };
        let whole = p.layouts.get(&c.output).cloned().unwrap_or_else(|| Layout::row_major(&f.ty(c.output).shape));
        match view {
            View::Concat { axis } => {
                let operands = &f.node(n).inputs;
                let unique = |v: Value| operands.iter().filter(|&&o| o == v).count() == 1;
                if !operands.iter().all(|&v| movable(&p, v) && unique(v)) {
                    continue;
                }
                let mut at = Dim::from(0);
                for &v in operands {
                    let mut start = vec![Dim::from(0); f.ty(v).rank()];
                    start[axis] = at.clone();
                    at = at + f.ty(v).shape[axis].clone();
                    if let Some(l) = part(&whole, &start) {
                        p.layouts.insert(v, l);
                        p.parent.insert(v, c.output);
                    }
                }
                p.done[i] = true;
            }
            View::Pad { low, .. } => {
                let (v, fill) = (f.node(n).inputs[0], f.node(n).inputs[1]);
                let known = f.def_node(fill).is_some_and(|d| d.op.is::<Const>().is_some());
                if known
                    && movable(&p, v)
                    && let Some(l) = part(&whole, &low)
                {
                    p.layouts.insert(v, l);
                    p.parent.insert(v, c.output);
                    p.border_only[i] = true;
                }
            }
            _ => {}
        }
    }
    p
}

/// The layout of a box of a strided value that begins at `start`.
fn part(whole: &Layout, start: &[Dim]) -> Option<Layout> {
    let strides = whole.strides(start.len())?;
    let offset = start.iter().zip(&strides).fold(whole.start.clone(), |sum, (s, d)| sum + s.clone() * d.clone());
    Some(Layout::strided(offset, &strides, whole.size.clone()))
}
