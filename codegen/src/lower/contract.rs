//! Contractions and windows: sums of products over labelled axes or window taps.

use anyhow::{Result, bail};
use kiln_ir::loops::V;
use kiln_ir::lower::{ContractSpec, WindowDim, WindowKind};
use kiln_ir::scalar::{BinaryOp, ReduceOp};
use kiln_ir::{DType, Dim, NodeId, Value};

use super::reduce::accumulator;
use super::{Emit, neutral};

impl Emit<'_> {
    /// acc + a * b: one rounding for floats, as TensorFlow's kernels do on machines with FMA.
    fn multiply_add(&mut self, acc_type: DType, a: V, b: V, acc: V) -> V {
        let (a, b) = (self.b.cast(acc_type, a), self.b.cast(acc_type, b));
        if acc_type.is_float() {
            self.b.fma(a, b, acc)
        } else {
            let p = self.b.mul(a, b);
            self.b.add(acc, p)
        }
    }

    /// `out[labels] = sum over the labels that `out` lacks of lhs[..] * rhs[..]`.
    pub(super) fn contract(
        &mut self,
        n: NodeId,
        spec: &ContractSpec,
        inputs: &[Value],
        v: Value,
        at: &[V],
    ) -> Result<V> {
        let (lhs, rhs) = (inputs[0], inputs[1]);
        let mut summed: Vec<(u8, Dim)> = vec![];
        for (labels, x) in [(&spec.lhs, lhs), (&spec.rhs, rhs)] {
            for (&l, d) in labels.iter().zip(&self.f.ty(x).shape) {
                if !spec.out.contains(&l) && !summed.iter().any(|s| s.0 == l) {
                    summed.push((l, d.clone()));
                }
            }
        }
        let dtype = self.f.ty(v).dtype;
        let acc_type = accumulator(dtype);
        let shape: Vec<Dim> = summed.iter().map(|s| s.1.clone()).collect();
        let groups: Vec<_> = (0..shape.len()).map(|i| i..i + 1).collect();
        let init = neutral(&mut self.b, ReduceOp::Sum, acc_type);
        let sum = self.reduce_loops(
            n,
            ReduceOp::Sum,
            &groups,
            &shape,
            &mut vec![None; shape.len()],
            init,
            &mut |e, k, acc| {
                let pick = |l: &u8| match spec.out.iter().position(|o| o == l) {
                    Some(p) => Some(at[p]),
                    None => summed.iter().position(|s| s.0 == *l).map(|p| k[p]),
                };
                let li: Option<Vec<V>> = spec.lhs.iter().map(pick).collect();
                let ri: Option<Vec<V>> = spec.rhs.iter().map(pick).collect();
                let (Some(li), Some(ri)) = (li, ri) else { bail!("a label stands nowhere") };
                let (a, b) = (e.eval(lhs, &li)?, e.eval(rhs, &ri)?);
                Ok(e.multiply_add(acc_type, a, b, acc))
            },
        )?;
        Ok(self.b.cast(dtype, sum))
    }

    /// Convolution and pooling. Result index `[n, o.., c]`; operand index along a spatial axis: o * stride + k * dilation
    /// - pad_low, divided by the base dilation where it divides.
    pub(super) fn window(
        &mut self,
        n: NodeId,
        kind: &WindowKind,
        dims: &[WindowDim],
        inputs: &[Value],
        v: Value,
        at: &[V],
    ) -> Result<V> {
        let x = inputs[0];
        let dtype = self.f.ty(v).dtype;
        let acc_type = accumulator(dtype);
        let rank = dims.len();
        let (op, depth) = match kind {
            WindowKind::Conv { .. } => (ReduceOp::Sum, Some(self.f.ty(inputs[1]).shape[rank].clone())),
            WindowKind::Pool(op) => (*op, None),
            WindowKind::AvgPool => (ReduceOp::Sum, None),
        };
        let mut shape: Vec<Dim> = dims.iter().map(|d| Dim::from(d.size)).collect();
        shape.extend(depth.clone());
        let groups: Vec<_> = (0..shape.len()).map(|i| i..i + 1).collect();
        let init = neutral(&mut self.b, op, acc_type);
        let out_channel = at[rank + 1];
        // The group of the output channel; with one group, and depthwise with one filter a channel, no division is left.
        let group_base = match kind {
            WindowKind::Conv { groups } if *groups > 1 => {
                let out = self.f.ty(v).shape[rank + 1].floor_div(&Dim::from(*groups));
                let per_group = self.b.dim(&out);
                let g = if out.is(1) { out_channel } else { self.b.binary(BinaryOp::Div, out_channel, per_group) };
                let d = depth.clone().unwrap_or(Dim::from(1));
                let by = self.b.dim(&d);
                Some(if d.is(1) { g } else { self.b.mul(g, by) })
            }
            _ => None,
        };
        let mut index = vec![None; shape.len()];
        let extents: Vec<Dim> = self.f.ty(x).shape.clone();
        let sum = self.reduce_loops(n, op, &groups, &shape, &mut index, init, &mut |e, k, acc| {
            let mut i = vec![at[0]];
            let mut on_grid = vec![];
            for (s, d) in dims.iter().enumerate() {
                let (o, t) = (e.scale(at[s + 1], d.stride), e.scale(k[s], d.dilation));
                let sum = if d.size == 1 { o } else { e.b.add(o, t) };
                let mut pos = e.offset(sum, &(Dim::from(0) - d.pad_low.clone()));
                if d.base_dilation != 1 {
                    let by = e.b.index(d.base_dilation);
                    let rem = e.b.binary(BinaryOp::FloorMod, pos, by);
                    let zero = e.zero();
                    on_grid.push(e.b.compare(kiln_ir::scalar::CompareOp::Eq, rem, zero));
                    pos = e.b.binary(BinaryOp::FloorDiv, pos, by);
                }
                i.push(pos);
            }
            let channel = match (kind, group_base) {
                (WindowKind::Conv { .. }, Some(base)) if depth.as_ref().is_some_and(|d| d.is(1)) => base,
                (WindowKind::Conv { .. }, Some(base)) => e.b.add(base, k[rank]),
                (WindowKind::Conv { .. }, None) => k[rank],
                _ => out_channel,
            };
            i.push(channel);
            let fill = neutral(&mut e.b, op, e.f.ty(x).dtype);
            let inside =
                |a: usize| a == 0 || a == rank + 1 || stays_inside(&dims[a - 1], &extents[a], &e.f.ty(v).shape[a]);
            let inside: Vec<bool> = (0..rank + 2).map(inside).collect();
            let mut a = e.guarded(x, &i, &extents, |a| inside[a], fill)?;
            for g in on_grid {
                a = e.b.select(g, a, fill);
            }
            match kind {
                WindowKind::Conv { .. } => {
                    let mut w: Vec<V> = k.to_vec();
                    w.push(out_channel);
                    let w = e.eval(inputs[1], &w)?;
                    Ok(e.multiply_add(acc_type, a, w, acc))
                }
                _ => {
                    let a = e.b.cast(acc_type, a);
                    Ok(e.b.binary(op.combiner(), acc, a))
                }
            }
        })?;
        let result =
            if *kind == WindowKind::AvgPool { self.divide_by_count(sum, acc_type, dims, &extents, at)? } else { sum };
        Ok(self.b.cast(dtype, result))
    }

    /// The sum over a window divided by the number of its taps that lie inside the operand.
    fn divide_by_count(&mut self, sum: V, acc_type: DType, dims: &[WindowDim], extents: &[Dim], at: &[V]) -> Result<V> {
        let mut count = None;
        for (s, d) in dims.iter().enumerate() {
            if d.dilation != 1 || d.base_dilation != 1 {
                bail!("average pooling takes no dilation");
            }
            let start = self.scale(at[s + 1], d.stride);
            let start = self.offset(start, &(Dim::from(0) - d.pad_low.clone()));
            let end = self.offset(start, &Dim::from(d.size));
            let (zero, n) = (self.zero(), self.b.dim(&extents[s + 1]));
            let first = self.b.binary(BinaryOp::Max, start, zero);
            let last = self.b.binary(BinaryOp::Min, end, n);
            let padded = !(d.pad_low.is(0) && d.pad_high.is(0));
            let taps = if padded { self.b.sub(last, first) } else { self.b.index(d.size) };
            count = Some(match count {
                Some(c) => self.b.mul(c, taps),
                None => taps,
            });
        }
        let Some(count) = count else { return Ok(sum) };
        let count = self.b.cast(acc_type, count);
        Ok(self.b.binary(BinaryOp::Div, sum, count))
    }
}

/// Whether no tap of a window axis leaves the operand: no padding, or padding that no result element reaches.
fn stays_inside(d: &WindowDim, extent: &Dim, out: &Dim) -> bool {
    if !d.pad_low.is(0) || d.base_dilation != 1 {
        return false;
    }
    if d.pad_high.is(0) {
        return true;
    }
    let last = (out.clone() - Dim::from(1)) * Dim::from(d.stride) + Dim::from((d.size - 1) * d.dilation);
    (extent.clone() - last).as_const().is_some_and(|room| room > 0)
}
