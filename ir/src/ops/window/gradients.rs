//! Gradients of windows, and TensorFlow's ops that compute them.
//!
//! The cotangent of a window's operand is again a window: over the result's cotangent spread by the stride, with the
//! taps in reverse ([`transposed`]). The cotangent of a filter is a convolution whose filter is the result's cotangent.

use anyhow::{Result, anyhow, bail};

use super::{Conv, Pool, spread, window_extent};
use crate::graph::{TensorType, Value};
use crate::lower::WindowDim;
use crate::op::{NoGradient, VjpArgs};
use crate::ops::contract::Contract;
use crate::ops::reduce::Reduce;
use crate::ops::shape::{Concat, Pad, Reverse, Slice, cotangent, splat};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tensor::Tensor;
use crate::{Builder, DType, Dim};

/// Taps that a gradient may be written out for, one subgraph each.
const MOST_TAPS: i64 = 1024;

/// The window over the result's cotangent that gives the cotangent of an operand of the extent.
fn transposed(d: &WindowDim, extent: &Dim) -> WindowDim {
    let reach = Dim::from((d.size - 1) * d.dilation);
    let strided = spread(&window_extent(d, extent), d.stride);
    WindowDim {
        size: d.size,
        stride: d.base_dilation,
        dilation: d.dilation,
        base_dilation: d.stride,
        pad_low: reach - d.pad_low.clone(),
        pad_high: spread(extent, d.base_dilation) - strided + d.pad_low.clone(),
    }
}

fn transposed_dims(dims: &[WindowDim], shape: &[Dim]) -> Vec<WindowDim> {
    dims.iter().zip(&shape[1..]).map(|(d, n)| transposed(d, n)).collect()
}

/// The cotangent of the operand of shape `shape`, from the result's cotangent and the filter.
pub(super) fn conv_input(b: &mut Builder, op: &Conv, g: Value, w: Value, shape: &[Dim]) -> Result<Value> {
    let n = op.dims.len();
    let reversed: Vec<usize> = (0..n).filter(|&i| op.dims[i].size > 1).collect();
    let w = if reversed.is_empty() { w } else { b.push(Reverse { axes: reversed }, &[w])? };
    // [spatial.., C / G, O] to [spatial.., O / G, C], each group by itself.
    let from = b.ty(w).shape.clone();
    let groups = Dim::from(op.groups);
    let (seen, made) = (from[n].clone(), from[n + 1].floor_div(&groups));
    let with = |last: &[Dim]| from[..n].iter().chain(last).cloned().collect::<Vec<_>>();
    let w = b.reshape(w, &with(&[seen.clone(), groups.clone(), made.clone()]))?;
    let perm: Vec<usize> = (0..n).chain([n + 2, n + 1, n]).collect();
    let w = b.transpose(w, &perm)?;
    let w = b.reshape(w, &with(&[made, groups * seen]))?;
    b.push(Conv { groups: op.groups, dims: transposed_dims(&op.dims, shape) }, &[g, w])
}

/// The cotangent of the filter, from the result's cotangent and the operand.
pub(super) fn conv_filter(b: &mut Builder, op: &Conv, g: Value, x: Value) -> Result<Value> {
    let outs: Option<Vec<i64>> = (0..op.dims.len()).map(|i| b.ty(g).shape[i + 1].as_const()).collect();
    match outs {
        Some(outs) if outs.iter().all(|&n| n > 0) => conv_filter_window(b, op, g, x, &outs),
        _ => conv_filter_taps(b, op, g, x),
    }
}

/// As one convolution: channels and batch change places, the cotangent is the filter.
fn conv_filter_window(b: &mut Builder, op: &Conv, g: Value, x: Value, outs: &[i64]) -> Result<Value> {
    let n = op.dims.len();
    let (xs, gs) = (b.ty(x).shape.clone(), b.ty(g).shape.clone());
    let groups = Dim::from(op.groups);
    let seen = xs[n + 1].floor_div(&groups);
    // [N, spatial.., G, C / G] to [C / G, spatial.., G * N].
    let split: Vec<Dim> = xs[..=n].iter().cloned().chain([groups.clone(), seen.clone()]).collect();
    let x = b.reshape(x, &split)?;
    let perm: Vec<usize> = [n + 2].into_iter().chain(1..=n + 1).chain([0]).collect();
    let x = b.transpose(x, &perm)?;
    let joined: Vec<Dim> =
        [seen].into_iter().chain(xs[1..=n].iter().cloned()).chain([groups * xs[0].clone()]).collect();
    let x = b.reshape(x, &joined)?;
    // [N, spatial.., O] to [spatial.., N, O].
    let perm: Vec<usize> = (1..=n).chain([0, n + 1]).collect();
    let g = b.transpose(g, &perm)?;
    let dims = op.dims.iter().enumerate().map(|(i, d)| {
        let reach = Dim::from((d.size - 1) * d.dilation);
        let strided = spread(&gs[i + 1], d.stride);
        WindowDim {
            size: outs[i],
            stride: d.dilation,
            dilation: d.stride,
            base_dilation: d.base_dilation,
            pad_low: d.pad_low.clone(),
            pad_high: reach + strided - spread(&xs[i + 1], d.base_dilation) - d.pad_low.clone(),
        }
    });
    let dw = b.push(Conv { groups: op.groups, dims: dims.collect() }, &[x, g])?;
    let perm: Vec<usize> = (1..=n).chain([0, n + 1]).collect();
    b.transpose(dw, &perm)
}

/// What tap `t` sees: the operand's elements at the positions of the result, padding filled with the scalar `fill`.
struct Taps {
    padded: Value,
    start: Vec<Dim>,
    dims: Vec<WindowDim>,
    size: Vec<Dim>,
}

impl Taps {
    fn new(b: &mut Builder, dims: &[WindowDim], x: Value, result: &[Dim], fill: f64) -> Result<Taps> {
        if dims.iter().any(|d| d.base_dilation != 1) {
            bail!("the gradient of this window over a spread operand (base dilation above 1) is not known");
        }
        let taps = dims.iter().try_fold(1i64, |n, d| n.checked_mul(d.size)).filter(|&n| n <= MOST_TAPS);
        taps.ok_or_else(|| anyhow!("the gradient of windows of more than {MOST_TAPS} taps is not known"))?;
        let ty = b.ty(x).clone();
        let nonnegative = |d: &Dim| if d.as_const().is_some_and(|n| n < 0) { Dim::from(0) } else { d.clone() };
        let around = |f: fn(&WindowDim) -> &Dim| -> Vec<Dim> {
            [Dim::from(0)].into_iter().chain(dims.iter().map(|d| nonnegative(f(d)))).chain([Dim::from(0)]).collect()
        };
        let (low, high) = (around(|d| &d.pad_low), around(|d| &d.pad_high));
        let start = dims.iter().zip(&low[1..]).map(|(d, low)| low.clone() - d.pad_low.clone()).collect();
        let padded = if low.iter().chain(&high).all(|d| d.is(0)) {
            x
        } else {
            let fill = b.scalar(ty.dtype, fill)?;
            b.push(Pad { low, high }, &[x, fill])?
        };
        let last = ty.shape[ty.rank() - 1].clone();
        let size = result[..=dims.len()].iter().cloned().chain([last]).collect();
        Ok(Taps { padded, start, dims: dims.to_vec(), size })
    }

    /// The taps' indices along each axis, in order.
    fn indices(&self) -> Vec<Vec<i64>> {
        let mut all = vec![vec![]];
        for d in &self.dims {
            all = all.iter().flat_map(|t| (0..d.size).map(move |i| [&t[..], &[i]].concat())).collect();
        }
        all
    }

    fn seen(&self, b: &mut Builder, tap: &[i64]) -> Result<Value> {
        let zero = || [Dim::from(0)].into_iter();
        let moved = self.start.iter().zip(&self.dims).zip(tap).map(|((s, d), t)| s.clone() + Dim::from(t * d.dilation));
        let start = zero().chain(moved).chain(zero()).collect();
        let step = [1].into_iter().chain(self.dims.iter().map(|d| d.stride)).chain([1]).collect();
        b.push(Slice { start, size: self.size.clone(), step }, &[self.padded])
    }
}

/// Tap by tap, where the extents are symbolic and so cannot be a window's size.
fn conv_filter_taps(b: &mut Builder, op: &Conv, g: Value, x: Value) -> Result<Value> {
    let n = op.dims.len();
    let gs = b.ty(g).shape.clone();
    let taps = Taps::new(b, &op.dims, x, &gs, 0.0)?;
    let groups = Dim::from(op.groups);
    let grouped = |b: &mut Builder, v: Value| {
        let shape = b.ty(v).shape.clone();
        let split = [groups.clone(), shape[n + 1].floor_div(&groups)];
        b.reshape(v, &shape[..=n].iter().cloned().chain(split).collect::<Vec<_>>())
    };
    let g = grouped(b, g)?;
    let places = &"npqr"[..=n];
    let product = Contract::new(&format!("{places}gc"), &format!("{places}go"), "cgo");
    let mut parts = vec![];
    for tap in taps.indices() {
        let seen = taps.seen(b, &tap)?;
        let seen = grouped(b, seen)?;
        parts.push(b.push(product.clone(), &[seen, g])?);
    }
    let one = b.ty(parts[0]).shape.clone();
    let joined = if let [part] = parts[..] { part } else { b.push(Concat { axis: 0 }, &parts)? };
    let sizes = op.dims.iter().map(|d| Dim::from(d.size));
    let shape: Vec<Dim> = sizes.chain([one[0].clone(), gs[n + 1].clone()]).collect();
    b.reshape(joined, &shape)
}

/// The cotangent of a sum pool's operand.
fn sum_pool_input(b: &mut Builder, dims: &[WindowDim], g: Value, shape: &[Dim]) -> Result<Value> {
    b.push(Pool { op: ReduceOp::Sum, dims: transposed_dims(dims, shape) }, &[g])
}

/// The cotangent of an average pool's operand of the type: each window's share, divided by its number of elements.
pub(super) fn avg_pool_input(b: &mut Builder, dims: &[WindowDim], g: Value, ty: &TensorType) -> Result<Value> {
    let mut one_image = ty.shape.clone();
    let last = one_image.len() - 1;
    (one_image[0], one_image[last]) = (Dim::from(1), Dim::from(1));
    let ones = splat(b, ty.dtype, 1.0, &one_image)?;
    let counts = b.push(Pool { op: ReduceOp::Sum, dims: dims.to_vec() }, &[ones])?;
    let share = b.binary(BinaryOp::Div, g, counts)?;
    sum_pool_input(b, dims, share, &ty.shape)
}

pub(super) fn pool(op: &Pool, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
    let (x, y) = (args.inputs[0], args.outputs[0]);
    let ty = b.ty(x).clone();
    if !ty.dtype.is_float() {
        return Err(NoGradient::NotDifferentiable);
    }
    let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
    let dx = match op.op {
        ReduceOp::Sum => sum_pool_input(b, &op.dims, g, &ty.shape)?,
        ReduceOp::Max | ReduceOp::Min => extreme_pool_input(b, op, x, y, g)?,
        other => {
            return Err(NoGradient::Failed(anyhow!("the gradient of a pool that combines by {other} is not known")));
        }
    };
    Ok(vec![Some(dx)])
}

/// The cotangent of a max or min pool's operand. As in TensorFlow, the first of equal elements takes it all.
pub(super) fn extreme_pool_input(b: &mut Builder, op: &Pool, x: Value, y: Value, g: Value) -> Result<Value> {
    let ty = b.ty(x).clone();
    let result = b.ty(y).shape.clone();
    let tiled = |(i, d): (usize, &WindowDim)| {
        let exact = result[i + 1].clone() * Dim::from(d.size) == ty.shape[i + 1];
        let unpadded = d.pad_low.is(0) && d.pad_high.is(0);
        d.size == d.stride && d.dilation == 1 && d.base_dilation == 1 && unpadded && exact
    };
    if op.dims.iter().enumerate().all(tiled) {
        return tiled_pool_input(b, op, x, y, g);
    }
    let outside = if op.op == ReduceOp::Max { f64::NEG_INFINITY } else { f64::INFINITY };
    let taps = Taps::new(b, &op.dims, x, &result, outside)?;
    let zero = b.scalar(ty.dtype, 0.0)?;
    let (mut free, mut sum): (Option<Value>, Option<Value>) = (None, None);
    for tap in taps.indices() {
        let seen = taps.seen(b, &tap)?;
        let mut hit = b.compare(CompareOp::Eq, seen, y)?;
        if let Some(free) = free {
            hit = b.binary(BinaryOp::And, hit, free)?;
        }
        let missed = b.unary(UnaryOp::Not, hit)?;
        free = Some(match free {
            Some(free) => b.binary(BinaryOp::And, free, missed)?,
            None => missed,
        });
        let taken = b.select(hit, g, zero)?;
        // Each cotangent back to where the tap saw it: position o * stride + tap * dilation - pad_low.
        let dims = op.dims.iter().zip(&tap).enumerate().map(|(i, (d, t))| {
            let low = Dim::from(t * d.dilation) - d.pad_low.clone();
            let high = ty.shape[i + 1].clone() - spread(&result[i + 1], d.stride) - low.clone();
            WindowDim { size: 1, stride: 1, dilation: 1, base_dilation: d.stride, pad_low: low, pad_high: high }
        });
        let placed = b.push(Pool { op: ReduceOp::Sum, dims: dims.collect() }, &[taken])?;
        sum = Some(match sum {
            Some(sum) => b.binary(BinaryOp::Add, sum, placed)?,
            None => placed,
        });
    }
    sum.ok_or_else(|| anyhow!("the window has no tap"))
}

/// Windows that tile the operand: a comparison under a view, without padding or overlap.
fn tiled_pool_input(b: &mut Builder, op: &Pool, x: Value, y: Value, g: Value) -> Result<Value> {
    let ty = b.ty(x).clone();
    let result = b.ty(y).shape.clone();
    let n = op.dims.len();
    // [N, H / k, k, .., C], and [N, H / k, 1, .., C] for the result.
    let interleaved = |size: &dyn Fn(usize) -> i64| -> Vec<Dim> {
        let pairs = (0..n).flat_map(|i| [result[i + 1].clone(), Dim::from(size(i))]);
        [result[0].clone()].into_iter().chain(pairs).chain([result[n + 1].clone()]).collect()
    };
    let (fine, coarse) = (interleaved(&|i| op.dims[i].size), interleaved(&|_| 1));
    let x = b.reshape(x, &fine)?;
    let (y, g) = (b.reshape(y, &coarse)?, b.reshape(g, &coarse)?);
    let hit = b.compare(CompareOp::Eq, x, y)?;
    // The number of each tap: the first that hits takes the cotangent.
    let taps = op.dims.iter().try_fold(1i64, |n, d| n.checked_mul(d.size)).filter(|&n| n <= MOST_TAPS);
    let taps = taps.ok_or_else(|| anyhow!("the gradient of windows of more than {MOST_TAPS} taps is not known"))?;
    let shape: Vec<usize> = op.dims.iter().flat_map(|d| [d.size as usize, 1]).collect();
    let numbers = b.constant(Tensor::of(&shape, &(0..taps as i32).collect::<Vec<_>>()))?;
    let none = b.scalar(DType::I32, taps as f64)?;
    let order = b.select(hit, numbers, none)?;
    let axes = (0..n).map(|i| 2 * i + 2).collect();
    let first = b.push(Reduce { op: ReduceOp::Min, axes, keep_dims: true }, &[order])?;
    let chosen = b.compare(CompareOp::Eq, order, first)?;
    let chosen = b.binary(BinaryOp::And, chosen, hit)?;
    let zero = b.scalar(ty.dtype, 0.0)?;
    let dx = b.select(chosen, g, zero)?;
    b.reshape(dx, &ty.shape)
}
