//! Batch normalization and local response normalization, as compositions.

use anyhow::{Result, bail};

use super::activation::{number, per_channel};
use crate::graph::Value;
use crate::ops::reduce::Reduce;
use crate::ops::shape::dim_value;
use crate::ops::window::{Layout, Padding, Pool};
use crate::scalar::{BinaryOp, ReduceOp, UnaryOp};
use crate::tf::TfCx;
use crate::{Builder, DType, Dim};

/// What the norm's attributes and operands say.
struct Norm {
    layout: Layout,
    rank: usize,
    epsilon: f64,
    /// All axes but the channels.
    axes: Vec<usize>,
    /// Elements of one channel.
    count: Dim,
}

impl Norm {
    fn read(cx: &TfCx<'_>, x: usize) -> Result<Norm> {
        let (layout, ty) = (Layout::of(cx)?, cx.ty(x)?);
        let rank = ty.rank();
        if !(4..=5).contains(&rank) {
            bail!("batch normalization is over four or five axes, not {ty}");
        }
        let channel = if layout == Layout::Last { rank - 1 } else { 1 };
        let axes: Vec<usize> = (0..rank).filter(|&a| a != channel).collect();
        let count = Dim::product(axes.iter().map(|&a| &ty.shape[a]));
        Ok(Norm { layout, rank, epsilon: f64::from(cx.float("epsilon")?), axes, count })
    }

    /// A vector of channels as it broadcasts against the value.
    fn wide(&self, b: &mut Builder, v: Value) -> Result<Value> {
        per_channel(b, v, self.rank, self.layout)
    }

    fn sum(&self, b: &mut Builder, x: Value) -> Result<Value> {
        b.push(Reduce { op: ReduceOp::Sum, axes: self.axes.clone(), keep_dims: false }, &[x])
    }

    /// The mean of each channel.
    fn mean(&self, b: &mut Builder, x: Value) -> Result<Value> {
        let (sum, count) = (self.sum(b, x)?, float_of(b, &self.count, b.ty(x).dtype)?);
        b.binary(BinaryOp::Div, sum, count)
    }

    /// x minus a channel's value.
    fn centred(&self, b: &mut Builder, x: Value, mean: Value) -> Result<Value> {
        let mean = self.wide(b, mean)?;
        b.binary(BinaryOp::Sub, x, mean)
    }

    /// x times a channel's value.
    fn scaled(&self, b: &mut Builder, x: Value, by: Value) -> Result<Value> {
        let by = self.wide(b, by)?;
        b.binary(BinaryOp::Mul, x, by)
    }

    /// 1 / sqrt(variance + epsilon).
    fn rstd(&self, b: &mut Builder, variance: Value) -> Result<Value> {
        let v = b.binary_scalar(BinaryOp::Add, variance, self.epsilon)?;
        b.unary(UnaryOp::Rsqrt, v)
    }
}

/// A dim as a float.
fn float_of(b: &mut Builder, d: &Dim, dtype: DType) -> Result<Value> {
    match d.as_const() {
        Some(n) => b.scalar(dtype, n as f64),
        None => {
            let n = dim_value(b, d, DType::I64)?;
            b.cast(dtype, n)
        }
    }
}

/// Operands: x, scale, offset, mean, variance. Results: y, mean and variance of the batch (running ones with
/// `exponential_avg_factor`), mean and variance saved for the gradient, and with six results a reserved scalar.
pub(super) fn fused_batch_norm(cx: &mut TfCx<'_>, results: usize) -> Result<Vec<Value>> {
    let norm = Norm::read(cx, 0)?;
    let training = cx.bool("is_training")?;
    let factor = match cx.node.attrs.contains_key("exponential_avg_factor") {
        true => f64::from(cx.float("exponential_avg_factor")?),
        false => 1.0,
    };
    let (scale, offset) = (cx.input(1)?, cx.input(2)?);
    let (old_mean, old_variance) = (cx.input(3)?, cx.input(4)?);
    let (narrow, wide) = (cx.ty(0)?.dtype, cx.ty(1)?.dtype);
    let x = cx.input(0)?;
    let b = &mut *cx.b;
    // Statistics and arithmetic are in the type of the scale, which is f32 for a narrow x.
    let x = b.cast(wide, x)?;
    let (mean, variance) = if training {
        let mean = norm.mean(b, x)?;
        let centred = norm.centred(b, x, mean)?;
        let squares = b.unary(UnaryOp::Square, centred)?;
        (mean, norm.mean(b, squares)?)
    } else {
        (old_mean, old_variance)
    };
    let rstd = norm.rstd(b, variance)?;
    let gain = b.binary(BinaryOp::Mul, rstd, scale)?;
    let centred = norm.centred(b, x, mean)?;
    let scaled = norm.scaled(b, centred, gain)?;
    let offset = norm.wide(b, offset)?;
    let y = b.binary(BinaryOp::Add, scaled, offset)?;
    let y = b.cast(narrow, y)?;

    let (new_mean, new_variance) = if training {
        // The variance reported is unbiased: n / (n - 1), the divisor at least 1.
        let n = float_of(b, &norm.count, wide)?;
        let less = b.binary_scalar(BinaryOp::Sub, n, 1.0)?;
        let one = b.scalar(wide, 1.0)?;
        let less = b.binary(BinaryOp::Max, less, one)?;
        let correction = b.binary(BinaryOp::Div, n, less)?;
        let unbiased = b.binary(BinaryOp::Mul, variance, correction)?;
        (running(b, old_mean, mean, factor)?, running(b, old_variance, unbiased, factor)?)
    } else {
        (mean, variance)
    };
    let mut all = vec![y, new_mean, new_variance, mean, variance];
    if results == 6 {
        all.push(b.scalar(wide, 0.0)?);
    }
    Ok(all)
}

/// (1 - factor) * old + factor * new; the new value for factor 1, where the old one may be empty.
fn running(b: &mut Builder, old: Value, new: Value, factor: f64) -> Result<Value> {
    if factor == 1.0 {
        return Ok(new);
    }
    let old = b.binary_scalar(BinaryOp::Mul, old, 1.0 - factor)?;
    let new = b.binary_scalar(BinaryOp::Mul, new, factor)?;
    b.binary(BinaryOp::Add, old, new)
}

/// Operands: cotangent of y, x, scale, saved mean, saved variance (and a reserved value). Results: cotangents of x, scale and
/// offset, and two empty values.
pub(super) fn fused_batch_norm_grad(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let norm = Norm::read(cx, 1)?;
    let training = cx.bool("is_training")?;
    let (g, x, scale, mean, variance) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?, cx.input(4)?);
    let (narrow, wide) = (cx.ty(1)?.dtype, cx.ty(2)?.dtype);
    let b = &mut *cx.b;
    let (g, x) = (b.cast(wide, g)?, b.cast(wide, x)?);
    let rstd = norm.rstd(b, variance)?;
    let centred = norm.centred(b, x, mean)?;
    let normal = norm.scaled(b, centred, rstd)?;
    let d_offset = norm.sum(b, g)?;
    let weighted = b.binary(BinaryOp::Mul, g, normal)?;
    let d_scale = norm.sum(b, weighted)?;
    let gain = b.binary(BinaryOp::Mul, rstd, scale)?;
    let inner = if training {
        // Mean and variance depend on x: g - mean(g) - normal * mean(g * normal).
        let n = float_of(b, &norm.count, wide)?;
        let (mean_g, mean_gn) = (b.binary(BinaryOp::Div, d_offset, n)?, b.binary(BinaryOp::Div, d_scale, n)?);
        let centred_g = norm.centred(b, g, mean_g)?;
        let share = norm.scaled(b, normal, mean_gn)?;
        b.binary(BinaryOp::Sub, centred_g, share)?
    } else {
        g
    };
    let dx = norm.scaled(b, inner, gain)?;
    let dx = b.cast(narrow, dx)?;
    let empty = b.constant(crate::Tensor::zeros(wide, &[0]))?;
    Ok(vec![dx, d_scale, d_offset, empty, empty])
}

/// Sums over the channels at most `depth_radius` away.
struct Neighbours {
    radius: i64,
    bias: f64,
    alpha: f64,
    beta: f64,
}

impl Neighbours {
    fn read(cx: &TfCx<'_>) -> Result<Neighbours> {
        let radius = cx.int("depth_radius")?;
        if !(0..1 << 20).contains(&radius) {
            bail!("the radius {radius} is out of range");
        }
        let float = |name| Ok::<_, anyhow::Error>(f64::from(cx.float(name)?));
        Ok(Neighbours { radius, bias: float("bias")?, alpha: float("alpha")?, beta: float("beta")? })
    }

    fn sum(&self, b: &mut Builder, x: Value) -> Result<Value> {
        let shape = b.ty(x).shape.clone();
        let Some((channels, pixels)) = shape.split_last() else { bail!("a scalar has no channels") };
        // The channels as the only spatial axis of a sum pool.
        let rows = b.reshape(x, &[Dim::product(pixels), channels.clone(), Dim::from(1)])?;
        let pads = Padding::Explicit(vec![(self.radius, self.radius)]);
        let window = pads.window(0, 2 * self.radius + 1, 1, 1, channels);
        let sums = b.push(Pool { op: ReduceOp::Sum, dims: vec![window] }, &[rows])?;
        b.reshape(sums, &shape)
    }

    /// bias + alpha * sum of squares.
    fn base(&self, b: &mut Builder, x: Value) -> Result<Value> {
        let squares = b.unary(UnaryOp::Square, x)?;
        let sums = self.sum(b, squares)?;
        let scaled = b.binary_scalar(BinaryOp::Mul, sums, self.alpha)?;
        b.binary_scalar(BinaryOp::Add, scaled, self.bias)
    }
}

/// x / (bias + alpha * sum of squares of the channels at most `depth_radius` away)^beta.
pub(super) fn lrn(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, near) = (cx.input(0)?, Neighbours::read(cx)?);
    let b = &mut *cx.b;
    let base = near.base(b, x)?;
    let exponent = number(b, x, -near.beta)?;
    let power = b.binary(BinaryOp::Pow, base, exponent)?;
    Ok(vec![b.binary(BinaryOp::Mul, x, power)?])
}

/// Operands: cotangent, x, result. g base^-beta - 2 alpha beta x sum(g y / base) over the neighbours.
pub(super) fn lrn_grad(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (g, x, y, near) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, Neighbours::read(cx)?);
    let b = &mut *cx.b;
    let base = near.base(b, x)?;
    let exponent = number(b, x, -near.beta)?;
    let power = b.binary(BinaryOp::Pow, base, exponent)?;
    let direct = b.binary(BinaryOp::Mul, g, power)?;
    let products = b.binary(BinaryOp::Mul, g, y)?;
    let shares = b.binary(BinaryOp::Div, products, base)?;
    let sums = near.sum(b, shares)?;
    let through = b.binary(BinaryOp::Mul, x, sums)?;
    let through = b.binary_scalar(BinaryOp::Mul, through, 2.0 * near.alpha * near.beta)?;
    Ok(vec![b.binary(BinaryOp::Sub, direct, through)?])
}
