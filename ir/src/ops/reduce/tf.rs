//! TensorFlow's reductions.

use anyhow::{Result, bail};

use super::{ArgReduce, Cumulative, Reduce, TopK};
use crate::graph::Value;
use crate::ops::shape::dim_value;
use crate::scalar::{BinaryOp, ReduceOp, UnaryOp};
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, DType, Dim};

/// A reduction over the axes in operand 1 with the attribute `keep_dims`.
fn attributes(cx: &TfCx<'_>, op: ReduceOp) -> Result<Reduce> {
    let mut axes = cx.normalize_axes(&cx.const_ints(1)?, cx.ty(0)?.rank())?;
    axes.sort_unstable();
    Ok(Reduce { op, axes, keep_dims: cx.bool("keep_dims")? })
}

fn reduce(cx: &mut TfCx<'_>, op: ReduceOp) -> Result<Vec<Value>> {
    let (x, reduce) = (cx.input(0)?, attributes(cx, op)?);
    // Without axes nothing is combined.
    if reduce.axes.is_empty() { Ok(vec![x]) } else { Ok(vec![cx.b.push(reduce, &[x])?]) }
}

/// The mean over axes. Narrow floats are averaged in f32, so that the sum keeps its range and precision; integers, as in
/// TensorFlow's kernel, in 64 bits, where the quotient truncates.
pub(crate) fn mean(b: &mut Builder, x: Value, axes: &[usize], keep_dims: bool) -> Result<Value> {
    let ty = b.ty(x).clone();
    let wide = match ty.dtype {
        DType::F16 | DType::BF16 => DType::F32,
        d if d.is_int() => {
            if d.is_signed() {
                DType::I64
            } else {
                DType::U64
            }
        }
        d => d,
    };
    let x = b.cast(wide, x)?;
    let sum = b.push(Reduce { op: ReduceOp::Sum, axes: axes.to_vec(), keep_dims }, &[x])?;
    let count = Dim::product(axes.iter().map(|&a| &ty.shape[a]));
    let count = match count.as_const() {
        Some(n) if !wide.is_int() => b.scalar(wide, n as f64)?,
        _ => {
            let count = dim_value(b, &count, DType::I64)?;
            b.cast(wide, count)?
        }
    };
    let mean = b.binary(BinaryOp::Div, sum, count)?;
    b.cast(ty.dtype, mean)
}

fn tf_mean(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, r) = (cx.input(0)?, attributes(cx, ReduceOp::Sum)?);
    if r.axes.is_empty() { Ok(vec![x]) } else { Ok(vec![mean(cx.b, x, &r.axes, r.keep_dims)?]) }
}

/// sum(x * conj(x)) over axes.
fn sum_of_squares(b: &mut Builder, x: Value, reduce: Reduce) -> Result<Value> {
    let squares = if b.ty(x).dtype.is_complex() {
        let conj = b.unary(UnaryOp::Conj, x)?;
        b.binary(BinaryOp::Mul, x, conj)?
    } else {
        b.unary(UnaryOp::Square, x)?
    };
    b.push(reduce, &[squares])
}

fn tf_euclidean_norm(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, reduce) = (cx.input(0)?, attributes(cx, ReduceOp::Sum)?);
    let dtype = cx.b.ty(x).dtype;
    // The kernel takes the root of an integer sum in f64 and truncates it.
    let wide = if dtype.is_int() { DType::F64 } else { dtype };
    let sum = sum_of_squares(cx.b, x, reduce)?;
    let sum = cx.b.cast(wide, sum)?;
    let norm = cx.b.unary(UnaryOp::Sqrt, sum)?;
    Ok(vec![cx.b.cast(dtype, norm)?])
}

fn tf_l2_loss(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, axes) = (cx.input(0)?, (0..cx.ty(0)?.rank()).collect());
    let sum = sum_of_squares(cx.b, x, Reduce { op: ReduceOp::Sum, axes, keep_dims: false })?;
    Ok(vec![cx.b.binary_scalar(BinaryOp::Mul, sum, 0.5)?])
}

fn tf_add_n(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let mut sum = cx.input(0)?;
    for &x in &cx.inputs[1..] {
        sum = cx.b.binary(BinaryOp::Add, sum, x)?;
    }
    Ok(vec![sum])
}

/// The axis in operand 1.
fn axis_input(cx: &TfCx<'_>) -> Result<usize> {
    match cx.const_ints(1)?[..] {
        [axis] => normalize_axis(axis, cx.ty(0)?.rank()),
        ref axes => bail!("takes one axis, not {axes:?}"),
    }
}

fn arg_reduce(cx: &mut TfCx<'_>, op: ReduceOp) -> Result<Vec<Value>> {
    let (x, axis, want) = (cx.input(0)?, axis_input(cx)?, cx.dtype("output_type")?);
    // Narrow index types are converted from i32.
    let dtype = if want == DType::I64 { DType::I64 } else { DType::I32 };
    let index = cx.b.push(ArgReduce { op, axis, dtype }, &[x])?;
    Ok(vec![cx.b.cast(want, index)?])
}

fn cumulative(cx: &mut TfCx<'_>, op: ReduceOp) -> Result<Vec<Value>> {
    let (x, axis) = (cx.input(0)?, axis_input(cx)?);
    let op = Cumulative { op, axis, exclusive: cx.bool("exclusive")?, reverse: cx.bool("reverse")? };
    Ok(vec![cx.b.push(op, &[x])?])
}

/// Sorted order satisfies a caller that takes any (attribute `sorted` false).
fn top_k(cx: &mut TfCx<'_>, k: Dim) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    let mut results = cx.b.push_all(TopK { k }, &[x])?;
    if cx.node.attrs.contains_key("index_type") {
        results[1] = cx.b.cast(cx.dtype("index_type")?, results[1])?;
    }
    Ok(results)
}

fn tf_top_k_v2(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    match &cx.dims_input(1)?[..] {
        [k] => top_k(cx, k.clone()),
        other => bail!("k is one number, not {other:?}"),
    }
}

/// Bindings of `reduce`.
pub(super) const REDUCE: &[TfBinding] = &[
    TfBinding { op: "Sum", read: |cx| reduce(cx, ReduceOp::Sum) },
    TfBinding { op: "Prod", read: |cx| reduce(cx, ReduceOp::Prod) },
    TfBinding { op: "Max", read: |cx| reduce(cx, ReduceOp::Max) },
    TfBinding { op: "Min", read: |cx| reduce(cx, ReduceOp::Min) },
    TfBinding { op: "All", read: |cx| reduce(cx, ReduceOp::All) },
    TfBinding { op: "Any", read: |cx| reduce(cx, ReduceOp::Any) },
    TfBinding { op: "Mean", read: tf_mean },
    TfBinding { op: "EuclideanNorm", read: tf_euclidean_norm },
    TfBinding { op: "L2Loss", read: tf_l2_loss },
    TfBinding { op: "AddN", read: tf_add_n },
];

/// Bindings of `arg_reduce`.
pub(super) const ARG: &[TfBinding] = &[
    TfBinding { op: "ArgMax", read: |cx| arg_reduce(cx, ReduceOp::Max) },
    TfBinding { op: "ArgMin", read: |cx| arg_reduce(cx, ReduceOp::Min) },
];

/// Bindings of `cumulative`.
pub(super) const CUMULATIVE: &[TfBinding] = &[
    TfBinding { op: "Cumsum", read: |cx| cumulative(cx, ReduceOp::Sum) },
    TfBinding { op: "Cumprod", read: |cx| cumulative(cx, ReduceOp::Prod) },
];

/// Bindings of `top_k`.
pub(super) const TOP_K: &[TfBinding] = &[
    TfBinding { op: "TopKV2", read: tf_top_k_v2 },
    TfBinding {
        op: "TopK",
        read: |cx| {
            let k = cx.int("k")?;
            top_k(cx, Dim::from(k))
        },
    },
];
