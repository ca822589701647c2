//! `random_gamma` and `random_poisson`: samples by rejection, whose operand gives a parameter for each column.
//!
//! Constraints: C1 operands parameter, key, counter; C2 their types; C4 the shape ends with the parameter's.
//!
//! The result's shape is `shape`, whose last axes are the parameter's. Each sample starts 256 steps after the last, in
//! the order in which one parameter's samples precede the next one's, as TensorFlow's kernels number them.

use super::philox::{Philox, normal_f64, unit_f64};
use super::{check_key, generator};
use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{ANY, extents, host_op, int_tensor, real_tensor, reals, require, typed};
use crate::ops::shape::{cotangent, unbroadcast};
use crate::ops::special::special;
use crate::scalar::BinaryOp;
use crate::tensor::Tensor;
use crate::{DType, Dim};

/// What a parameter may be.
const NUMBERS: &[DType] = &[DType::F16, DType::BF16, DType::F32, DType::F64, DType::I32, DType::I64];

host_op! {
    /// `random_gamma alpha, key, counter`: samples of the gamma distribution of shape `alpha` and scale 1.
    Gamma = "random_gamma" {
        /// The result's shape.
        shape: Vec<Dim>,
    }
    infer |op, given| {
        let [alpha, key, counter] = typed("random_gamma", given, [&NUMBERS[..4], ANY, ANY])?;
        check_key("random_gamma", key, counter)?;
        ends_with("random_gamma", &op.shape, alpha)?;
        Ok(vec![TensorType::new(alpha.dtype, op.shape.clone())])
    },
    eval |op, x| {
        let v = columns("random_gamma", &op.shape, &reals(x[0]), generator("random_gamma", x[1], x[2])?, gamma)?;
        Ok(vec![real_tensor("random_gamma", x[0].dtype(), &v.1, v.0)?])
    },
    vjp |_, b, args| {
        // A sample moves with alpha, while its place in the distribution stays.
        let Some(g) = cotangent(&args) else { return Ok(vec![None; 3]) };
        let alpha = args.inputs[0];
        let d = special(b, "random_gamma_grad", &[alpha, args.outputs[0]])?;
        let (d, shape) = (b.binary(BinaryOp::Mul, g, d)?, b.ty(alpha).shape.clone());
        Ok(vec![Some(unbroadcast(b, d, &shape)?), None, None])
    },
}

host_op! {
    /// `random_poisson rate, key, counter`: samples of the Poisson distribution of mean `rate`.
    Poisson = "random_poisson" {
        /// The result's shape.
        shape: Vec<Dim>,
        /// The result's type.
        dtype: DType,
    }
    infer |op, given| {
        let [rate, key, counter] = typed("random_poisson", given, [NUMBERS, ANY, ANY])?;
        check_key("random_poisson", key, counter)?;
        ends_with("random_poisson", &op.shape, rate)?;
        require("random_poisson", "C4", NUMBERS.contains(&op.dtype), || format!("samples of {}", op.dtype))?;
        Ok(vec![TensorType::new(op.dtype, op.shape.clone())])
    },
    eval |op, x| {
        let rates = numbers(x[0]);
        let rng = generator("random_poisson", x[1], x[2])?;
        let (v, shape) = columns("random_poisson", &op.shape, &rates, rng, poisson)?;
        Ok(vec![if op.dtype.is_float() {
            real_tensor("random_poisson", op.dtype, &shape, v)?
        } else {
            int_tensor("random_poisson", op.dtype, &shape, &v.iter().map(|&x| x as i64).collect::<Vec<_>>())?
        }])
    },
}

pub(super) fn numbers(t: &Tensor) -> Vec<f64> {
    t.to_f64s().or_else(|| Some(t.to_i64s()?.iter().map(|&x| x as f64).collect())).unwrap_or_default()
}

fn ends_with(op: &'static str, shape: &[Dim], parameter: &TensorType) -> Result<(), OpError> {
    crate::ops::shape::check_sizes(op, "C4", shape)?;
    let outer = shape.len().checked_sub(parameter.rank());
    let fits =
        outer.is_some_and(|o| shape[o..].iter().zip(&parameter.shape).all(|(a, b)| crate::ops::shape::may_equal(a, b)));
    require(op, "C4", fits, || format!("the shape {shape:?} does not end with that of {parameter}"))
}

/// The samples with their shape: sample `s` of parameter `p` has number `p * samples + s` and stands in row `s`.
fn columns(
    op: &'static str,
    shape: &[Dim],
    parameters: &[f64],
    rng: Philox,
    draw: fn(f64, &mut Draw) -> f64,
) -> Result<(Vec<f64>, Vec<usize>), OpError> {
    let shape = extents(op, shape)?;
    let n: usize = shape.iter().product();
    let samples = n / parameters.len().max(1);
    let mut out = vec![0.0; n];
    for (p, &parameter) in parameters.iter().enumerate() {
        for s in 0..samples {
            let mut from = Draw::new(rng.skipped(256 * (p * samples + s) as u128));
            out[s * parameters.len() + p] = draw(parameter, &mut from);
        }
    }
    Ok((out, shape))
}

/// Uniform and normal samples from one generator, of which each step gives two, taken last first.
pub(super) struct Draw {
    rng: Philox,
    uniforms: Vec<f64>,
    normals: Vec<f64>,
}

impl Draw {
    pub(super) fn new(rng: Philox) -> Draw {
        Draw { rng, uniforms: vec![], normals: vec![] }
    }

    pub(super) fn uniform(&mut self) -> f64 {
        loop {
            if let Some(u) = self.uniforms.pop() {
                return u;
            }
            let w = self.rng.step();
            self.uniforms.extend([unit_f64(w[0], w[1]), unit_f64(w[2], w[3])]);
        }
    }

    fn normal(&mut self) -> f64 {
        loop {
            if let Some(x) = self.normals.pop() {
                return x;
            }
            let w = self.rng.step();
            self.normals.extend(normal_f64(w));
        }
    }
}

/// Marsaglia and Tsang, 2000; below 1 by way of alpha + 1.
fn gamma(alpha: f64, from: &mut Draw) -> f64 {
    if alpha == 1.0 {
        return -(1.0 - from.uniform()).ln();
    }
    if alpha <= 0.0 || alpha.is_nan() {
        return f64::NAN;
    }
    let d = alpha + if alpha < 1.0 { 2.0 / 3.0 } else { -1.0 / 3.0 };
    let c = 1.0 / 3.0 / d.sqrt();
    loop {
        let x = from.normal();
        let v = 1.0 + c * x;
        if v <= 0.0 {
            continue;
        }
        let v = v * v * v;
        let u = from.uniform();
        if u < 1.0 - 0.0331 * (x * x) * (x * x) || u.ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
            let scale = if alpha < 1.0 { from.uniform().powf(1.0 / alpha) } else { 1.0 };
            return d * v * scale;
        }
    }
}

/// Knuth's products below rate 10, Hormann's transformed rejection (1993) above.
fn poisson(rate: f64, from: &mut Draw) -> f64 {
    if rate < 0.0 || rate.is_nan() {
        return f64::NAN;
    }
    if rate.is_infinite() {
        return rate;
    }
    if rate < 10.0 {
        let (limit, mut product, mut x) = ((-rate).exp(), 1.0, 0.0);
        loop {
            product *= from.uniform();
            if product <= limit {
                return x;
            }
            x += 1.0;
        }
    }
    let log_rate = rate.ln();
    let b = 0.931 + 2.53 * rate.sqrt();
    let a = -0.059 + 0.02483 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    loop {
        let u = from.uniform() - 0.5;
        let v = from.uniform();
        let shifted = 0.5 - u.abs();
        let k = ((2.0 * a / shifted + b) * u + rate + 0.43).floor();
        if shifted >= 0.07 && v <= 0.9277 - 3.6224 / (b - 2.0) {
            return k;
        }
        if k < 0.0 || (shifted < 0.013 && v > shifted) {
            continue;
        }
        let s = (v * inverse_alpha / (a / (shifted * shifted) + b)).ln();
        if s <= -rate + k * log_rate - libm::lgamma(k + 1.0) {
            return k;
        }
    }
}
