//! Scatter: updates joined into a buffer that already holds the operand, in their order, so that sums have one order.

use anyhow::{Result, bail};
use kiln_ir::loops::{Access, LoopKind, OpenLoop, V};
use kiln_ir::scalar::BinaryOp;
use kiln_ir::{Dim, Function, NodeId};
use kiln_passes::fusion::{Cluster, is_immediate};

use super::{Emit, Layouts, LoopRole, Nest, NestLoop};

/// The kernel that joins the updates of the scatter `n` into its last buffer. An index outside the operand ends the run with an
/// error. The loops over the updates run in order, those along a row are parallel.
///
/// # Errors
/// If the operand has no element that an index could point at.
pub fn scatter(f: &Function, n: NodeId, combine: Option<BinaryOp>, layouts: &Layouts, name: &str) -> Result<Nest> {
    let node = f.node(n);
    let &[_, indices, updates] = &node.inputs[..] else { bail!("a scatter has three operands") };
    let out = node.outputs[0];
    let cluster = Cluster { nodes: vec![n], output: out, inputs: vec![] };
    let mut e = Emit::new(f, &cluster, layouts, name);
    for v in [indices, updates] {
        if !is_immediate(f, v) && !e.inputs.contains(&v) {
            e.input_buffer(v);
        }
    }
    let to = e.buffer_for(out, "out".into(), Access::ReadWrite);
    let shape = f.ty(out).shape.clone();
    let Some((depth, places)) = f.ty(indices).shape.split_last() else { bail!("the indices are a scalar") };
    let depth = depth.as_const().and_then(|d| usize::try_from(d).ok()).filter(|&d| d <= shape.len());
    let Some(depth) = depth else { bail!("the indices' last axis is not known") };
    let (found, row) = shape.split_at(depth);
    if found.iter().any(|d| d.is(0)) {
        bail!("the operand is empty");
    }
    let mut open = vec![];
    let place: Vec<V> = places.iter().map(|d| e.enter(&mut open, LoopKind::Serial, d, LoopRole::Reduce(n))).collect();
    let mut at = vec![];
    for (axis, extent) in found.iter().enumerate() {
        let mut i = place.clone();
        i.push(e.b.index(axis as i64));
        let raw = e.eval(indices, &i)?;
        let i = e.checked_index(raw, extent);
        at.push(e.clamp_index(i, extent));
    }
    // Where the operand may be empty, its rows are left alone after the failed check.
    let empty: Vec<&Dim> = found.iter().filter(|d| d.as_const().is_none()).collect();
    if !empty.is_empty() {
        let trips = Dim::product(empty).smaller(&Dim::from(1));
        e.enter(&mut open, LoopKind::Serial, &trips, LoopRole::Guard);
    }
    let mut from = place;
    for (a, extent) in row.iter().enumerate() {
        let i = e.enter(&mut open, LoopKind::Parallel, extent, LoopRole::Side(n, depth + a));
        at.push(i);
        from.push(i);
    }
    let new = e.eval(updates, &from)?;
    let joined = match combine {
        None => new,
        Some(op) => {
            let old = e.b.load(to, at.clone());
            e.b.binary(op, old, new)
        }
    };
    e.b.store(to, at, joined);
    while let Some(l) = open.pop() {
        e.memo.pop();
        e.b.close_loop(l);
    }
    Ok(Nest { kernel: e.b.finish(), inputs: e.inputs, loops: e.loops })
}

impl Emit<'_> {
    /// Opens a loop from 0, to be closed in the order of `open`, and gives its index.
    fn enter(&mut self, open: &mut Vec<OpenLoop>, kind: LoopKind, extent: &Dim, role: LoopRole) -> V {
        let (lo, hi) = (self.b.index(0), self.b.dim(extent));
        let l = self.b.open_loop(kind, lo, hi, 1, 1, &[]);
        self.loops.push(NestLoop { iv: l.iv, extent: extent.clone(), role });
        self.memo.push(Default::default());
        let iv = l.iv;
        open.push(l);
        iv
    }
}
