//! Softmax at import and the cross entropies.

use anyhow::{Result, bail};

use super::{LogSoftmax, Softmax};
use crate::graph::Value;
use crate::ops::constant::Iota;
use crate::ops::pointwise::broadcast_shapes;
use crate::ops::reduce::Reduce;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tf::TfCx;
use crate::{Builder, Dim};

fn last_axis(cx: &TfCx<'_>) -> Result<usize> {
    match cx.ty(0)?.rank().checked_sub(1) {
        Some(axis) => Ok(axis),
        None => bail!("a scalar has no row"),
    }
}

pub(super) fn softmax(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, axis) = (cx.input(0)?, last_axis(cx)?);
    Ok(vec![cx.b.push(Softmax { axis }, &[x])?])
}

pub(super) fn log_softmax(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, axis) = (cx.input(0)?, last_axis(cx)?);
    Ok(vec![cx.b.push(LogSoftmax { axis }, &[x])?])
}

/// -sum of `terms` over axis 1.
fn minus_row_sums(b: &mut Builder, terms: Value) -> Result<Value> {
    let sums = b.push(Reduce { op: ReduceOp::Sum, axes: vec![1], keep_dims: false }, &[terms])?;
    b.unary(UnaryOp::Neg, sums)
}

/// Operands: logits and labels `[N, C]`, which broadcast. Results: the loss of each row, and its gradient by the logits.
pub(super) fn dense_cross_entropy(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (logits, labels) = (cx.input(0)?, cx.input(1)?);
    let (lt, rt) = (cx.ty(0)?, cx.ty(1)?);
    let Some(shape) = broadcast_shapes(&lt.shape, &rt.shape).filter(|s| s.len() == 2) else {
        bail!("logits {lt} and labels {rt} are no matrices that broadcast");
    };
    let b = &mut *cx.b;
    let (logits, labels) = (b.broadcast(logits, &shape)?, b.broadcast(labels, &shape)?);
    let log = b.push(LogSoftmax { axis: 1 }, &[logits])?;
    let terms = b.binary(BinaryOp::Mul, labels, log)?;
    let loss = minus_row_sums(b, terms)?;
    let p = b.unary(UnaryOp::Exp, log)?;
    Ok(vec![loss, b.binary(BinaryOp::Sub, p, labels)?])
}

/// Operands: logits `[N, C]` and class numbers `[N]`. A class outside `0..C` gives NaN, as TensorFlow does on devices
/// that cannot raise an error.
pub(super) fn sparse_cross_entropy(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (logits, labels, lt, rt) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?, cx.ty(1)?);
    let ([_, classes], [rows]) = (&lt.shape[..], &rt.shape[..]) else {
        bail!("logits {lt} and labels {rt} are no matrix and vector");
    };
    let b = &mut *cx.b;
    let column = b.reshape(labels, &[rows.clone(), Dim::from(1)])?;
    let numbers = b.push(Iota { shape: vec![classes.clone()], axis: 0, dtype: rt.dtype }, &[])?;
    let hit = b.compare(CompareOp::Eq, column, numbers)?;
    let known = b.push(Reduce { op: ReduceOp::Any, axes: vec![1], keep_dims: true }, &[hit])?;
    let log = b.push(LogSoftmax { axis: 1 }, &[logits])?;
    let (zero, nan) = (b.scalar(lt.dtype, 0.0)?, b.scalar(lt.dtype, f64::NAN)?);
    let picked = b.select(hit, log, zero)?;
    let log_p = b.select(known, picked, nan)?;
    let loss = minus_row_sums(b, log_p)?;
    let p = b.unary(UnaryOp::Exp, log)?;
    let one_hot = b.cast(lt.dtype, hit)?;
    let gradient = b.binary(BinaryOp::Sub, p, one_hot)?;
    Ok(vec![loss, b.select(known, gradient, nan)?])
}
