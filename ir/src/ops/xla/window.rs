//! Windows by any function: XlaReduceWindow, XlaSelectAndScatter.
//!
//! A window's tap is a strided slice of the operand, as large as the result; so what a function does with a window is a
//! chain of functions of whole tensors.

use anyhow::{Context, Result, bail};

use super::Scalars;
use super::fold::is_neutral;
use super::pad::{Edge, pad};
use crate::graph::Value;
use crate::lower::WindowDim;
use crate::ops::shape::slice::slice;
use crate::ops::shape::{Slice, advance, splat};
use crate::ops::window::{LARGEST, Pool, window_extent};
use crate::scalar::{BinaryOp, ReduceOp, UnaryOp};
use crate::tf::TfCx;
use crate::{Builder, DType, Dim};

/// Taps of a window that is spelled out; more would make graphs that take minutes to compile.
const MAX_TAPS: i64 = 1024;

/// One window axis for each axis of an operand.
///
/// # Errors
/// If the lists are not one entry an axis, or hold sizes, strides and dilations that are not positive.
pub fn dims(
    size: &[i64],
    stride: &[i64],
    base_dilation: &[i64],
    dilation: &[i64],
    padding: &[i64],
) -> Result<Vec<WindowDim>> {
    let n = size.len();
    let lists = [size, stride, base_dilation, dilation];
    let sane = lists.iter().all(|l| l.len() == n && l.iter().all(|v| (1..=LARGEST).contains(v)));
    if !sane || padding.len() != 2 * n {
        bail!(
            "windows of {size:?} with strides {stride:?}, base dilations {base_dilation:?}, dilations {dilation:?} and paddings \
             {padding:?}"
        );
    }
    let of = |i: usize| WindowDim {
        size: size[i],
        stride: stride[i],
        dilation: dilation[i],
        base_dilation: base_dilation[i],
        pad_low: Dim::from(padding[2 * i]),
        pad_high: Dim::from(padding[2 * i + 1]),
    };
    Ok((0..n).map(of).collect())
}

/// The windows of an XlaReduceWindow, from its operands 2 to 6.
///
/// # Errors
/// If one is not constant, or as [`dims`].
pub fn reduce_window_dims(cx: &TfCx<'_>) -> Result<Vec<WindowDim>> {
    dims(&cx.const_ints(2)?, &cx.const_ints(3)?, &cx.const_ints(4)?, &cx.const_ints(5)?, &cx.const_ints(6)?)
}

fn check(b: &Builder, x: Value, dims: &[WindowDim]) -> Result<Vec<Dim>> {
    let ty = b.ty(x);
    if ty.rank() != dims.len() {
        bail!("{} window axes for an operand {ty}", dims.len());
    }
    let extents: Vec<Dim> = dims.iter().zip(&ty.shape).map(|(d, n)| window_extent(d, n)).collect();
    if extents.iter().any(|n| n.as_const().is_some_and(|n| n < 0)) {
        bail!("windows {dims:?} do not fit {ty}");
    }
    Ok(extents)
}

fn edges(dims: &[WindowDim]) -> Vec<Edge> {
    let edge = |d: &WindowDim| Edge { low: d.pad_low.clone(), high: d.pad_high.clone(), interior: d.base_dilation - 1 };
    dims.iter().map(edge).collect()
}

/// The windows after padding and base dilation have been made part of the operand.
fn inside(dims: &[WindowDim]) -> Vec<WindowDim> {
    let zero = Dim::from(0);
    let plain =
        |d: &WindowDim| WindowDim { base_dilation: 1, pad_low: zero.clone(), pad_high: zero.clone(), ..d.clone() };
    dims.iter().map(plain).collect()
}

/// `x`'s windows reduced by `f` from `init`; padding and holes take no part, as in XLA's code for CPUs.
///
/// # Errors
/// If `f` does not combine two of x's elements, or the windows are not one axis for each of x's, or do not fit.
pub fn reduce_window(b: &mut Builder, x: Value, init: Value, dims: &[WindowDim], f: &Scalars) -> Result<Value> {
    let extents = check(b, x, dims)?;
    if f.arity() != (2, 1) {
        bail!("function `{}` does not combine two values into one", f.name());
    }
    let dtype = b.ty(x).dtype;
    if let Some(op) = f.reduction().filter(|op| op.accepts(dtype) && !dtype.is_complex()) {
        let total = pool(b, x, dims, op)?;
        return if is_neutral(b, init, op) { Ok(total) } else { single(f.apply(b, &[init, total])?) };
    }
    let edges = edges(dims);
    let shape = b.ty(x).shape.clone();
    let (mut x, mut valid) = (x, None);
    if edges.iter().any(|e| *e != Edge::none()) {
        let everywhere = splat(b, DType::Bool, 1.0, &shape)?;
        let no = b.scalar(DType::Bool, 0.0)?;
        valid = Some(pad(b, everywhere, no, &edges)?);
        let zero = b.scalar(dtype, 0.0)?;
        x = pad(b, x, zero, &edges)?;
    }
    let (total, valid) = along_axes(b, x, valid, &inside(dims), f)?;
    let y = single(f.apply(b, &[init, total])?)?;
    match valid {
        Some(v) => {
            let init = b.broadcast(init, &extents)?;
            b.select(v, y, init)
        }
        None => Ok(y),
    }
}

fn single(values: Vec<Value>) -> Result<Value> {
    values.first().copied().context("the function has no result")
}

/// Pools, each over at most three axes: the others are batches.
fn pool(b: &mut Builder, mut x: Value, dims: &[WindowDim], op: ReduceOp) -> Result<Value> {
    let trivial =
        |d: &WindowDim| d.size == 1 && d.stride == 1 && d.base_dilation == 1 && d.pad_low.is(0) && d.pad_high.is(0);
    let windowed: Vec<usize> = (0..dims.len()).filter(|&i| !trivial(&dims[i])).collect();
    for axes in windowed.chunks(3) {
        let shape = b.ty(x).shape.clone();
        let batch: Vec<usize> = (0..dims.len()).filter(|i| !axes.contains(i)).collect();
        let perm = [&batch[..], axes].concat();
        let y = b.transpose(x, &perm)?;
        let flat = Dim::product(batch.iter().map(|&i| &shape[i]));
        let with_channel: Vec<Dim> =
            [flat].into_iter().chain(axes.iter().map(|&i| shape[i].clone())).chain([Dim::from(1)]).collect();
        let y = b.reshape(y, &with_channel)?;
        let y = b.push(Pool { op, dims: axes.iter().map(|&i| dims[i].clone()).collect() }, &[y])?;
        let pooled = b.ty(y).shape.clone();
        let split: Vec<Dim> =
            batch.iter().map(|&i| shape[i].clone()).chain(pooled[1..=axes.len()].iter().cloned()).collect();
        let y = b.reshape(y, &split)?;
        x = b.transpose(y, &super::dimensions::inverse(&perm))?;
    }
    Ok(x)
}

/// The taps of an axis, as slices of an operand without padding: the element `t` of every window.
fn tap(b: &mut Builder, x: Value, taps: &[i64], dims: &[WindowDim], size: &[Dim]) -> Result<Value> {
    let start = taps.iter().zip(dims).map(|(t, d)| Dim::from(t * d.dilation)).collect();
    let step = dims.iter().map(|d| d.stride).collect();
    slice(b, x, Slice { start, size: size.to_vec(), step })
}

/// Two parts of windows combined, where each has an element at all.
fn combine(
    b: &mut Builder,
    left: (Value, Option<Value>),
    right: (Value, Option<Value>),
    f: &Scalars,
) -> Result<(Value, Option<Value>)> {
    let both = single(f.apply(b, &[left.0, right.0])?)?;
    let (Some(there), Some(here)) = (left.1, right.1) else { return Ok((both, None)) };
    let kept = b.select(here, both, left.0)?;
    let value = b.select(there, kept, right.0)?;
    Ok((value, Some(b.binary(BinaryOp::Or, there, here)?)))
}

/// Windows without padding reduced axis by axis, so that taps next to each other are combined first; elements that are
/// not `valid` take no part.
fn along_axes(
    b: &mut Builder,
    x: Value,
    valid: Option<Value>,
    dims: &[WindowDim],
    f: &Scalars,
) -> Result<(Value, Option<Value>)> {
    let taps: i64 = dims.iter().map(|d| d.size).fold(0, i64::saturating_add);
    if taps > MAX_TAPS {
        bail!(
            "function `{}` is not one of add, multiply, max, min, and, or, and windows with axes of {taps} elements together \
             are more than {MAX_TAPS}",
            f.name()
        );
    }
    let mut sum = (x, valid);
    for axis in (0..dims.len()).rev() {
        let mut one = vec![crate::ops::window::window_dim(1, 1); dims.len()];
        one[axis] = dims[axis].clone();
        let size = check(b, sum.0, &one)?;
        let mut total = None;
        for t in 0..dims[axis].size {
            let mut at = vec![0; dims.len()];
            at[axis] = t;
            let value = tap(b, sum.0, &at, &one, &size)?;
            let real = sum.1.map(|v| tap(b, v, &at, &one, &size)).transpose()?;
            total = Some(match total {
                Some(before) => combine(b, before, (value, real), f)?,
                None => (value, real),
            });
        }
        sum = total.unwrap_or(sum);
    }
    Ok(sum)
}

/// The operands of an XlaSelectAndScatter.
#[derive(Debug, Clone, Copy)]
pub struct SelectAndScatter<'a> {
    /// What elements are selected from.
    pub operand: Value,
    /// A value for each window.
    pub source: Value,
    /// What each element of the result starts from.
    pub init: Value,
    /// Whether the element selected so far (parameter 0) stays, given the next one (parameter 1).
    pub select: &'a Scalars,
    /// Combines what is there with a source.
    pub scatter: &'a Scalars,
}

/// Each window selects one element of the operand, in row-major order, and the window's source is joined there into a
/// result of the operand's shape. Padding is never selected.
///
/// # Errors
/// If functions, windows and operands do not fit together, or a window has more than 1,024 elements.
pub fn select_and_scatter(b: &mut Builder, s: &SelectAndScatter<'_>, dims: &[WindowDim]) -> Result<Value> {
    let size = check(b, s.operand, dims)?;
    let (shape, source) = (b.ty(s.operand).shape.clone(), b.ty(s.source).clone());
    let fits =
        source.rank() == size.len() && source.shape.iter().zip(&size).all(|(a, n)| crate::ops::shape::may_equal(a, n));
    if !fits || s.select.arity() != (2, 1) || s.scatter.arity() != (2, 1) {
        bail!(
            "sources {source} for windows {dims:?} of {}, by `{}` and `{}`",
            b.ty(s.operand),
            s.select.name(),
            s.scatter.name()
        );
    }
    let taps = dims.iter().map(|d| d.size).fold(1, i64::saturating_mul);
    if taps > MAX_TAPS {
        bail!("windows of {taps} elements are more than {MAX_TAPS}");
    }
    let zero = b.scalar(b.ty(s.operand).dtype, 0.0)?;
    let x = pad(b, s.operand, zero, &edges(dims))?;
    let padded = b.ty(x).shape.clone();
    let everywhere = splat(b, DType::Bool, 1.0, &shape)?;
    let no = b.scalar(DType::Bool, 0.0)?;
    let valid = pad(b, everywhere, no, &edges(dims))?;
    let plain = inside(dims);

    // The window's element so far, and the number of its tap; -1 while there is none.
    let sizes: Vec<usize> = dims.iter().map(|d| d.size as usize).collect();
    let places: Vec<Vec<i64>> = {
        let (mut all, mut at) = (vec![], vec![0usize; dims.len()]);
        loop {
            all.push(at.iter().map(|&i| i as i64).collect());
            if !advance(&mut at, |axis| sizes[axis]) {
                break all;
            }
        }
    };
    let mut best = splat(b, b.ty(x).dtype, 0.0, &size)?;
    let mut chosen = splat(b, DType::I32, -1.0, &size)?;
    for (number, at) in places.iter().enumerate() {
        let next = tap(b, x, at, &plain, &size)?;
        let real = tap(b, valid, at, &plain, &size)?;
        let none = b.scalar(DType::I32, -1.0)?;
        let first = b.compare(crate::scalar::CompareOp::Eq, chosen, none)?;
        let stays = s.select.apply(b, &[best, next])?[0];
        let loses = b.unary(UnaryOp::Not, stays)?;
        let wins = b.binary(BinaryOp::Or, first, loses)?;
        let wins = b.binary(BinaryOp::And, wins, real)?;
        best = b.select(wins, next, best)?;
        let number = b.scalar(DType::I32, number as f64)?;
        chosen = b.select(wins, number, chosen)?;
    }
    // Each tap's sources, spread to where the tap lies in the padded operand.
    let mut y = b.broadcast(s.init, &padded)?;
    for (number, at) in places.iter().enumerate() {
        let number = b.scalar(DType::I32, number as f64)?;
        let hit = b.compare(crate::scalar::CompareOp::Eq, chosen, number)?;
        let spread: Vec<Edge> = (0..dims.len())
            .map(|i| {
                let low = Dim::from(at[i] * dims[i].dilation);
                let length = crate::ops::window::spread(&size[i], dims[i].stride);
                Edge { high: padded[i].clone() - low.clone() - length, low, interior: dims[i].stride - 1 }
            })
            .collect();
        let hit = pad(b, hit, no, &spread)?;
        let source = pad(b, s.source, zero, &spread)?;
        let joined = s.scatter.apply(b, &[y, source])?[0];
        y = b.select(hit, joined, y)?;
    }
    let back: Vec<Edge> = dims
        .iter()
        .map(|d| Edge { low: Dim::from(0) - d.pad_low.clone(), high: Dim::from(0) - d.pad_high.clone(), interior: 0 })
        .collect();
    pad(b, y, s.init, &back)
}
