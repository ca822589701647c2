//! TensorFlow's ops that compute gradients of pointwise ops, as training graphs hold them.

use anyhow::Result;

use super::activation::{SELU_SCALE, SELU_SCALE_ALPHA, number};
use crate::Builder;
use crate::graph::Value;
use crate::ops::reduce::Reduce;
use crate::ops::window::Layout;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tf::TfCx;

/// The sum over all axes but the channels.
pub(super) fn bias_add(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (g, rank, layout) = (cx.input(0)?, cx.ty(0)?.rank(), Layout::of(cx)?);
    let channel = if layout == Layout::Last { rank.saturating_sub(1) } else { 1 };
    let axes = (0..rank).filter(|&a| a != channel).collect();
    Ok(vec![cx.b.push(Reduce { op: ReduceOp::Sum, axes, keep_dims: false }, &[g])?])
}

/// Whether the operand compares so with a number.
fn test(b: &mut Builder, op: CompareOp, x: Value, n: f64) -> Result<Value> {
    let n = number(b, x, n)?;
    b.compare(op, x, n)
}

/// Operands: cotangent, then the op's operand or result.
fn pair(cx: &TfCx<'_>) -> Result<(Value, Value)> {
    Ok((cx.input(0)?, cx.input(1)?))
}

/// g where x > 0.
pub(super) fn relu(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (g, x) = pair(cx)?;
    let positive = test(cx.b, CompareOp::Gt, x, 0.0)?;
    let zero = number(cx.b, g, 0.0)?;
    Ok(vec![cx.b.select(positive, g, zero)?])
}

/// g where 0 < x < 6.
pub(super) fn relu6(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (g, x) = pair(cx)?;
    let (low, high) = (test(cx.b, CompareOp::Gt, x, 0.0)?, test(cx.b, CompareOp::Lt, x, 6.0)?);
    let inside = cx.b.binary(BinaryOp::And, low, high)?;
    let zero = number(cx.b, g, 0.0)?;
    Ok(vec![cx.b.select(inside, g, zero)?])
}

/// g where x > 0, else alpha * g.
pub(super) fn leaky_relu(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let ((g, x), alpha) = (pair(cx)?, f64::from(cx.float("alpha")?));
    let positive = test(cx.b, CompareOp::Gt, x, 0.0)?;
    let scaled = cx.b.binary_scalar(BinaryOp::Mul, g, alpha)?;
    Ok(vec![cx.b.select(positive, g, scaled)?])
}

/// g * (y + 1) where the result y < 0, else g.
pub(super) fn elu(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (g, y) = pair(cx)?;
    let negative = test(cx.b, CompareOp::Lt, y, 0.0)?;
    let slope = cx.b.binary_scalar(BinaryOp::Add, y, 1.0)?;
    let scaled = cx.b.binary(BinaryOp::Mul, g, slope)?;
    Ok(vec![cx.b.select(negative, scaled, g)?])
}

/// g * (y + scale * alpha) where the result y < 0, else g * scale.
pub(super) fn selu(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (g, y) = pair(cx)?;
    let negative = test(cx.b, CompareOp::Lt, y, 0.0)?;
    let slope = cx.b.binary_scalar(BinaryOp::Add, y, SELU_SCALE_ALPHA)?;
    let below = cx.b.binary(BinaryOp::Mul, g, slope)?;
    let above = cx.b.binary_scalar(BinaryOp::Mul, g, SELU_SCALE)?;
    Ok(vec![cx.b.select(negative, below, above)?])
}

/// g * sigmoid(x).
pub(super) fn softplus(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (g, x) = pair(cx)?;
    let slope = cx.b.unary(UnaryOp::Sigmoid, x)?;
    Ok(vec![cx.b.binary(BinaryOp::Mul, g, slope)?])
}

/// g / (1 + |x|)^2.
pub(super) fn softsign(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (g, x) = pair(cx)?;
    let magnitude = cx.b.unary(UnaryOp::Abs, x)?;
    let root = cx.b.binary_scalar(BinaryOp::Add, magnitude, 1.0)?;
    let square = cx.b.unary(UnaryOp::Square, root)?;
    Ok(vec![cx.b.binary(BinaryOp::Div, g, square)?])
}

/// Operands of the gradients that take the result first: the result (complex ones conjugated), then the cotangent.
fn result_first(cx: &mut TfCx<'_>) -> Result<(Value, Value)> {
    let (y, g) = pair(cx)?;
    let y = if cx.b.ty(y).dtype.is_complex() { cx.b.unary(UnaryOp::Conj, y)? } else { y };
    Ok((y, g))
}

/// g * (1 - y^2).
pub(super) fn tanh(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (y, g) = result_first(cx)?;
    let (square, one) = (cx.b.unary(UnaryOp::Square, y)?, number(cx.b, y, 1.0)?);
    let slope = cx.b.binary(BinaryOp::Sub, one, square)?;
    Ok(vec![cx.b.binary(BinaryOp::Mul, g, slope)?])
}

/// g * y * (1 - y).
pub(super) fn sigmoid(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (y, g) = result_first(cx)?;
    let one = number(cx.b, y, 1.0)?;
    let rest = cx.b.binary(BinaryOp::Sub, one, y)?;
    let gy = cx.b.binary(BinaryOp::Mul, g, y)?;
    Ok(vec![cx.b.binary(BinaryOp::Mul, gy, rest)?])
}

/// g / (2 y).
pub(super) fn sqrt(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (y, g) = result_first(cx)?;
    let half = cx.b.binary_scalar(BinaryOp::Mul, g, 0.5)?;
    Ok(vec![cx.b.binary(BinaryOp::Div, half, y)?])
}

/// -g * y^3 / 2.
pub(super) fn rsqrt(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (y, g) = result_first(cx)?;
    let square = cx.b.unary(UnaryOp::Square, y)?;
    let cube = cx.b.binary(BinaryOp::Mul, square, y)?;
    let product = cx.b.binary(BinaryOp::Mul, g, cube)?;
    Ok(vec![cx.b.binary_scalar(BinaryOp::Mul, product, -0.5)?])
}

/// -g * y^2.
pub(super) fn reciprocal(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (y, g) = result_first(cx)?;
    let square = cx.b.unary(UnaryOp::Square, y)?;
    let product = cx.b.binary(BinaryOp::Mul, g, square)?;
    Ok(vec![cx.b.unary(UnaryOp::Neg, product)?])
}
