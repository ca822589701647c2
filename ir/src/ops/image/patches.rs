//! Windows laid out as an axis: ExtractImagePatches, ExtractVolumePatches, and what TensorFlow computes on windows that is no
//! pool: Dilation2D, MaxPoolWithArgmax.

use anyhow::{Result, bail};

use super::ramp;
use crate::graph::Value;
use crate::lower::WindowDim;
use crate::ops::gather::Gather;
use crate::ops::reduce::{ArgReduce, Reduce};
use crate::ops::shape::{Pad, dim_value};
use crate::ops::window::{Padding, window_extent};
use crate::scalar::{BinaryOp, ReduceOp};
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim};

/// The windows of an operand `[N, spatial.., C]` as `[N, out.., size.., C]`; `fill` stands outside of the operand.
fn windows(b: &mut Builder, x: Value, dims: &[WindowDim], fill: Value) -> Result<Value> {
    let shape = b.ty(x).shape.clone();
    let n = dims.len();
    let pads = |f: fn(&WindowDim) -> &Dim| {
        let mut all = vec![Dim::from(0); n + 2];
        dims.iter().enumerate().for_each(|(i, d)| all[i + 1] = f(d).clone());
        all
    };
    let (low, high) = (pads(|d| &d.pad_low), pads(|d| &d.pad_high));
    let mut y = if low.iter().chain(&high).all(|d| d.is(0)) { x } else { b.push(Pad { low, high }, &[x, fill])? };
    // Each spatial axis becomes two: the window's place and the tap.
    for (i, d) in dims.iter().enumerate() {
        let out = window_extent(d, &shape[i + 1]);
        let place = ramp(b, &out, 0, 2, DType::I32)?;
        let place = b.binary_scalar(BinaryOp::Mul, place, d.stride as f64)?;
        let tap = ramp(b, &Dim::from(d.size), 1, 2, DType::I32)?;
        let tap = b.binary_scalar(BinaryOp::Mul, tap, d.dilation as f64)?;
        let at = b.binary(BinaryOp::Add, place, tap)?;
        y = b.push(Gather { axis: 1 + 2 * i, batch_dims: 0 }, &[y, at])?;
    }
    let perm: Vec<usize> =
        [0].into_iter().chain((0..n).map(|i| 1 + 2 * i)).chain((0..n).map(|i| 2 + 2 * i)).chain([2 * n + 1]).collect();
    b.transpose(y, &perm)
}

/// The spatial entries of a list with one entry an axis; those of batch and channels must be 1.
fn spatial(list: &[i64], n: usize, what: &str) -> Result<Vec<i64>> {
    if list.len() != n + 2 || list[0] != 1 || list[n + 1] != 1 || list.iter().any(|&v| !(1..=1 << 20).contains(&v)) {
        bail!("{what} {list:?} must be {} positive numbers, 1 for batch and channels", n + 2);
    }
    Ok(list[1..=n].to_vec())
}

fn padding(cx: &TfCx<'_>) -> Result<Padding> {
    match &cx.str("padding")?[..] {
        "VALID" => Ok(Padding::Valid),
        "SAME" => Ok(Padding::Same),
        other => bail!("the padding {other} is not supported"),
    }
}

/// The window axes over operand 0.
fn window_dims(cx: &TfCx<'_>, size: &[i64], strides: &[i64], rates: &[i64]) -> Result<Vec<WindowDim>> {
    let (ty, padding) = (cx.ty(0)?, padding(cx)?);
    if ty.rank() != size.len() + 2 {
        bail!("windows over {} axes of {ty}", size.len());
    }
    let dims: Vec<WindowDim> =
        (0..size.len()).map(|i| padding.window(i, size[i], strides[i], rates[i], &ty.shape[i + 1])).collect();
    if let Some(i) =
        (0..dims.len()).find(|&i| window_extent(&dims[i], &ty.shape[i + 1]).as_const().is_some_and(|n| n < 0))
    {
        bail!("the window {:?} does not fit {ty}", dims[i]);
    }
    Ok(dims)
}

fn patches(cx: &mut TfCx<'_>, n: usize) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let size = spatial(&cx.ints("ksizes")?, n, "sizes")?;
    let strides = spatial(&cx.ints("strides")?, n, "strides")?;
    let rates = match cx.node.attrs.contains_key("rates") {
        true => spatial(&cx.ints("rates")?, n, "rates")?,
        false => vec![1; n],
    };
    let dims = window_dims(cx, &size, &strides, &rates)?;
    let zero = cx.b.scalar(ty.dtype, 0.0)?;
    let y = windows(cx.b, x, &dims, zero)?;
    let shape = cx.b.ty(y).shape.clone();
    let flat = [&shape[..=n], &[Dim::product(&shape[n + 1..])]].concat();
    Ok(vec![cx.b.reshape(y, &flat)?])
}

/// Operands: x, filter `[h, w, C]`. The largest sum of an element of the window and its tap of the filter.
fn dilation(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, filter, ty, ft) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?, cx.ty(1)?);
    let size = match ft.shape.iter().map(Dim::as_const).collect::<Option<Vec<_>>>().as_deref() {
        Some(&[h, w, _]) => vec![h, w],
        _ => bail!("a filter of fixed extents [h, w, channels] is needed, not {ft}"),
    };
    let strides = spatial(&cx.ints("strides")?, 2, "strides")?;
    let rates = spatial(&cx.ints("rates")?, 2, "rates")?;
    let dims = window_dims(cx, &size, &strides, &rates)?;
    let b = &mut *cx.b;
    let lowest = lowest(b, ty.dtype)?;
    let seen = windows(b, x, &dims, lowest)?;
    let sums = b.binary(BinaryOp::Add, seen, filter)?;
    let y = b.push(Reduce { op: ReduceOp::Max, axes: vec![3, 4], keep_dims: false }, &[sums])?;
    Ok(vec![y])
}

/// The neutral element of the maximum.
fn lowest(b: &mut Builder, dtype: DType) -> Result<Value> {
    if dtype.is_float() {
        return b.scalar(dtype, f64::NEG_INFINITY);
    }
    let low = crate::ops::reduce::start_int(ReduceOp::Max, dtype);
    let t = crate::Tensor::from_i64s(dtype, &[], &[low]).ok_or_else(|| anyhow::anyhow!("{dtype} has no order"))?;
    b.constant(t)
}

/// The largest element of each window and its place in the flattened operand: `(y * width + x) * channels + channel`, with
/// the batch in front if the attribute says so.
fn max_pool_with_argmax(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let size = spatial(&cx.ints("ksize")?, 2, "sizes")?;
    let strides = spatial(&cx.ints("strides")?, 2, "strides")?;
    let dims = window_dims(cx, &size, &strides, &[1, 1])?;
    let with_batch = cx.bool("include_batch_in_index")?;
    let want = cx.dtype("Targmax")?;
    let b = &mut *cx.b;
    let lowest = lowest(b, ty.dtype)?;
    let seen = windows(b, x, &dims, lowest)?;
    let mut shape = b.ty(seen).shape.clone();
    shape.splice(3..5, [Dim::from(size[0] * size[1])]);
    let seen = b.reshape(seen, &shape)?;
    let y = b.push(Reduce { op: ReduceOp::Max, axes: vec![3], keep_dims: false }, &[seen])?;
    let tap = b.push(ArgReduce { op: ReduceOp::Max, axis: 3, dtype: DType::I64 }, &[seen])?;
    let scaled = |b: &mut Builder, v: Value, by: &Dim| -> Result<Value> {
        let by = dim_value(b, by, DType::I64)?;
        b.binary(BinaryOp::Mul, v, by)
    };
    let columns = Dim::from(size[1]);
    let columns = dim_value(b, &columns, DType::I64)?;
    let places = [b.binary(BinaryOp::FloorDiv, tap, columns)?, b.binary(BinaryOp::FloorMod, tap, columns)?];
    let mut index = None;
    for (i, d) in dims.iter().enumerate() {
        let at = ramp(b, &shape[i + 1], i + 1, 4, DType::I64)?;
        let start = b.binary_scalar(BinaryOp::Mul, at, d.stride as f64)?;
        let at = b.binary(BinaryOp::Add, start, places[i])?;
        let low = dim_value(b, &d.pad_low, DType::I64)?;
        let at = b.binary(BinaryOp::Sub, at, low)?;
        index = Some(match index {
            None => at,
            Some(y) => {
                let rows = scaled(b, y, &ty.shape[2])?;
                b.binary(BinaryOp::Add, rows, at)?
            }
        });
    }
    let Some(mut index) = index else { bail!("no spatial axis") };
    index = scaled(b, index, &ty.shape[3])?;
    let channel = ramp(b, &ty.shape[3], 3, 4, DType::I64)?;
    index = b.binary(BinaryOp::Add, index, channel)?;
    if with_batch {
        let image = ramp(b, &ty.shape[0], 0, 4, DType::I64)?;
        let offset = scaled(b, image, &Dim::product(&ty.shape[1..]))?;
        index = b.binary(BinaryOp::Add, index, offset)?;
    }
    let index = b.cast(want, index)?;
    Ok(vec![y, index])
}

/// The TensorFlow ops of this file.
pub const TF: &[TfBinding] = &[
    TfBinding { op: "ExtractImagePatches", read: |cx| patches(cx, 2) },
    TfBinding { op: "ExtractVolumePatches", read: |cx| patches(cx, 3) },
    TfBinding { op: "Dilation2D", read: dilation },
    TfBinding { op: "MaxPoolWithArgmax", read: max_pool_with_argmax },
];
