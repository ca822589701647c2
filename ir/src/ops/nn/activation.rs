//! Activation functions and the bias, as compositions of pointwise ops.
//!
//! They are written so that their gradients at ties and at the ends of the range are TensorFlow's: the branch of a
//! `select` that is not taken stays finite, since its cotangent is 0 times its derivative.

use anyhow::{Result, bail};

use crate::graph::Value;
use crate::ops::window::Layout;
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tf::TfCx;
use crate::{Builder, DType, Dim};

/// Scale of SELU (Klambauer et al. 2017, appendix A.1).
pub(super) const SELU_SCALE: f64 = 1.0507009873554804934193349852946;
/// Scale times alpha of SELU.
pub(super) const SELU_SCALE_ALPHA: f64 = 1.7580993408473768599402175208123;

/// A composition of one operand.
pub(super) fn unary(cx: &mut TfCx<'_>, build: fn(&mut Builder, Value) -> Result<Value>) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![build(cx.b, x)?])
}

/// A constant of the type of `x`.
pub(super) fn number(b: &mut Builder, x: Value, n: f64) -> Result<Value> {
    let dtype = b.ty(x).dtype;
    b.scalar(dtype, n)
}

/// max(0, x). Zero stands first: at a tie a maximum hands the cotangent to its first operand, and the derivative of
/// relu at 0 is 0.
pub fn relu(b: &mut Builder, x: Value) -> Result<Value> {
    let zero = number(b, x, 0.0)?;
    b.binary(BinaryOp::Max, zero, x)
}

/// min(6, max(0, x)), with derivative 0 at both ends.
pub fn relu6(b: &mut Builder, x: Value) -> Result<Value> {
    let (six, x) = (number(b, x, 6.0)?, relu(b, x)?);
    b.binary(BinaryOp::Min, six, x)
}

/// exp(x) - 1 for x below 0; its argument is bounded, so that it is finite everywhere.
fn negative_expm1(b: &mut Builder, x: Value) -> Result<(Value, Value)> {
    let zero = number(b, x, 0.0)?;
    let negative = b.compare(CompareOp::Lt, x, zero)?;
    let bounded = b.binary(BinaryOp::Min, x, zero)?;
    Ok((negative, b.unary(UnaryOp::Expm1, bounded)?))
}

/// x, or exp(x) - 1 below 0.
pub fn elu(b: &mut Builder, x: Value) -> Result<Value> {
    let (negative, e) = negative_expm1(b, x)?;
    b.select(negative, e, x)
}

/// scale * x, or scale * alpha * (exp(x) - 1) below 0.
pub fn selu(b: &mut Builder, x: Value) -> Result<Value> {
    let (negative, e) = negative_expm1(b, x)?;
    let below = b.binary_scalar(BinaryOp::Mul, e, SELU_SCALE_ALPHA)?;
    let above = b.binary_scalar(BinaryOp::Mul, x, SELU_SCALE)?;
    b.select(negative, below, above)
}

/// log(exp(x) + 1) with TensorFlow's thresholds: x where exp(-x) is below the type's precision, exp(x) where exp(x) is.
pub fn softplus(b: &mut Builder, x: Value) -> Result<Value> {
    let epsilon = match b.ty(x).dtype {
        DType::F16 => (-10f64).exp2(),
        DType::BF16 => (-7f64).exp2(),
        DType::F32 => f64::from(f32::EPSILON),
        DType::F64 => f64::EPSILON,
        other => bail!("softplus does not take {other}"),
    };
    let threshold = epsilon.ln() + 2.0;
    let (low, high) = (number(b, x, threshold)?, number(b, x, -threshold)?);
    let large = b.compare(CompareOp::Gt, x, high)?;
    let small = b.compare(CompareOp::Lt, x, low)?;
    let bounded = b.binary(BinaryOp::Min, x, high)?;
    let e = b.unary(UnaryOp::Exp, bounded)?;
    let log = b.unary(UnaryOp::Log1p, e)?;
    let rest = b.select(small, e, log)?;
    b.select(large, x, rest)
}

/// x / (1 + |x|).
pub fn softsign(b: &mut Builder, x: Value) -> Result<Value> {
    let (one, magnitude) = (number(b, x, 1.0)?, b.unary(UnaryOp::Abs, x)?);
    let below = b.binary(BinaryOp::Add, one, magnitude)?;
    b.binary(BinaryOp::Div, x, below)
}

/// x where it is positive, else alpha * x.
pub(super) fn leaky_relu(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, alpha) = (cx.input(0)?, f64::from(cx.float("alpha")?));
    let zero = number(cx.b, x, 0.0)?;
    let positive = cx.b.compare(CompareOp::Gt, x, zero)?;
    let scaled = cx.b.binary_scalar(BinaryOp::Mul, x, alpha)?;
    Ok(vec![cx.b.select(positive, x, scaled)?])
}

/// max(min(x, high), low).
pub(super) fn clip_by_value(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, low, high) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let below = cx.b.binary(BinaryOp::Min, x, high)?;
    Ok(vec![cx.b.binary(BinaryOp::Max, below, low)?])
}

/// The vector `v` so that it broadcasts along the channels of `rank` axes.
pub(super) fn per_channel(b: &mut Builder, v: Value, rank: usize, layout: Layout) -> Result<Value> {
    let [channels] = &b.ty(v).shape[..] else { bail!("{} is no vector of channels", b.ty(v)) };
    if layout == Layout::Last {
        return Ok(v);
    }
    let shape: Vec<Dim> = [channels.clone()].into_iter().chain(vec![Dim::from(1); rank.saturating_sub(2)]).collect();
    b.reshape(v, &shape)
}

fn add_bias(cx: &mut TfCx<'_>, layout: Layout) -> Result<Vec<Value>> {
    let (x, bias, rank) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?.rank());
    if rank < 2 {
        bail!("a bias is added to a value of two axes or more, not {}", cx.ty(0)?);
    }
    let bias = per_channel(cx.b, bias, rank, layout)?;
    Ok(vec![cx.b.binary(BinaryOp::Add, x, bias)?])
}

pub(super) fn bias_add(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let layout = Layout::of(cx)?;
    add_bias(cx, layout)
}

pub(super) fn bias_add_v1(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    add_bias(cx, Layout::Last)
}
