//! `bessel`: Bessel functions of order 0 and 1, elementwise.
//!
//! Constraints: C1 one operand; C2 floats; C4 a known function.
//!
//! I is summed as its power series, whose terms are all positive, and as its asymptotic series for large arguments; K is
//! the integral of exp(-x cosh t) cosh(n t), for which the trapezoidal rule converges faster than any power.

use anyhow::Result;

use crate::Builder;
use crate::graph::Value;
use crate::op::{NoGradient, OpDef};
use crate::ops::host::{host_op, real_tensor, reals, require, tf_ops};
use crate::ops::shape::{arity, cotangent};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tf::TfCx;

host_op! {
    /// `bessel x`: a Bessel function of each element.
    Bessel = "bessel" {
        /// `i0`, `i1`, `j0`, `j1`, `k0`, `k1`, `y0`, `y1`; with an `e` behind, I times e^-|x| or K times e^x.
        function: String,
    }
    infer |op, given| {
        let [x] = arity("bessel", given)?;
        require("bessel", "C2", x.dtype.is_float(), || format!("does not take {x}"))?;
        require("bessel", "C4", function(&op.function).is_some(), || format!("no function `{}`", op.function))?;
        Ok(vec![x.clone()])
    },
    eval |op, x| {
        let f = function(&op.function).unwrap_or(libm::j0);
        Ok(vec![real_tensor("bessel", x[0].dtype(), x[0].shape(), reals(x[0]).into_iter().map(f).collect())?])
    },
    vjp |op, b, args| {
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let d = derivative(b, &op.function, args.inputs[0], args.outputs[0])?;
        Ok(vec![Some(b.binary(BinaryOp::Mul, g, d)?)])
    },
}

fn function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "i0" => |x| i_scaled(0, x) * x.abs().exp(),
        "i0e" => |x| i_scaled(0, x),
        "i1" => |x| i_scaled(1, x) * x.abs().exp(),
        "i1e" => |x| i_scaled(1, x),
        "j0" => libm::j0,
        "j1" => libm::j1,
        "y0" => libm::y0,
        "y1" => libm::y1,
        "k0" => |x| k_scaled(0, x) * (-x).exp(),
        "k0e" => |x| k_scaled(0, x),
        "k1" => |x| k_scaled(1, x) * (-x).exp(),
        "k1e" => |x| k_scaled(1, x),
        _ => return None,
    })
}

/// I of order 0 or 1, times e^-|x|.
fn i_scaled(order: i32, x: f64) -> f64 {
    let a = x.abs();
    let sign = if order == 1 && x < 0.0 { -1.0 } else { 1.0 };
    if a <= 30.0 {
        let q = a * a / 4.0;
        let mut term = if order == 0 { 1.0 } else { a / 2.0 };
        let (mut sum, mut k) = (term, 1.0);
        while term > sum * 1e-17 {
            term *= q / (k * (k + f64::from(order)));
            sum += term;
            k += 1.0;
        }
        return sign * sum * (-a).exp();
    }
    if a.is_infinite() {
        return 0.0;
    }
    let mu = 4.0 * f64::from(order * order);
    let (mut term, mut sum, mut k) = (1.0f64, 1.0f64, 1.0);
    while term.abs() > 1e-17 * sum.abs() && k < 60.0 {
        term *= -(mu - (2.0 * k - 1.0) * (2.0 * k - 1.0)) / (k * 8.0 * a);
        sum += term;
        k += 1.0;
    }
    // NaN comes through the sum.
    sign * sum / (2.0 * std::f64::consts::PI * a).sqrt()
}

/// K of order 0 or 1, times e^x.
fn k_scaled(order: i32, x: f64) -> f64 {
    if x == 0.0 {
        return f64::INFINITY;
    }
    if x < 0.0 || x.is_nan() {
        return f64::NAN;
    }
    if x.is_infinite() {
        return 0.0;
    }
    // The peak narrows with the root of x, so does the step.
    let step = 0.0625 / (1.0 + x).sqrt().clamp(1.0, 1e6);
    let f = |t: f64| {
        // cosh t - 1 without cancellation.
        let s = (t / 2.0).sinh();
        (-2.0 * x * s * s).exp() * if order == 0 { 1.0 } else { t.cosh() }
    };
    let (mut sum, mut t) = (0.5 * f(0.0), step);
    loop {
        let y = f(t);
        sum += y;
        // Of order 1 with a small argument the terms rise before they fall.
        if y <= sum * 1e-18 && x * t.cosh() > 40.0 || t > 800.0 {
            return sum * step;
        }
        t += step;
    }
}

/// The derivative at x, where the function has the value y.
fn derivative(b: &mut Builder, name: &str, x: Value, y: Value) -> Result<Value, NoGradient> {
    let other = |b: &mut Builder, name: &str| b.push(Bessel { function: name.into() }, &[x]);
    // y / x, and its limit where x is 0.
    let ratio = |b: &mut Builder, limit: f64| {
        let zero = b.scalar(b.ty(x).dtype, 0.0)?;
        let at_zero = b.compare(CompareOp::Eq, x, zero)?;
        let (q, limit) = (b.binary(BinaryOp::Div, y, x)?, b.scalar(b.ty(x).dtype, limit)?);
        b.select(at_zero, limit, q)
    };
    Ok(match name {
        "i0" => other(b, "i1")?,
        "j0" | "y0" | "k0" => {
            let d = other(b, &name.replace('0', "1"))?;
            b.unary(UnaryOp::Neg, d)?
        }
        "i0e" => {
            let (i1, sign) = (other(b, "i1e")?, b.unary(UnaryOp::Sign, x)?);
            let drift = b.binary(BinaryOp::Mul, sign, y)?;
            b.binary(BinaryOp::Sub, i1, drift)?
        }
        "i1" | "j1" | "y1" => {
            let (zeroth, q) = (other(b, &name.replace('1', "0"))?, ratio(b, 0.5)?);
            b.binary(BinaryOp::Sub, zeroth, q)?
        }
        "i1e" => {
            let (zeroth, q, sign) = (other(b, "i0e")?, ratio(b, 0.5)?, b.unary(UnaryOp::Sign, x)?);
            let drift = b.binary(BinaryOp::Mul, sign, y)?;
            let loss = b.binary(BinaryOp::Add, q, drift)?;
            b.binary(BinaryOp::Sub, zeroth, loss)?
        }
        "k0e" => {
            let first = other(b, "k1e")?;
            b.binary(BinaryOp::Sub, y, first)?
        }
        _ => {
            let (zeroth, q) = (other(b, &name.replace('1', "0"))?, b.binary(BinaryOp::Div, y, x)?);
            let sum = b.binary(BinaryOp::Add, zeroth, q)?;
            let own = if name == "k1e" { y } else { b.scalar(b.ty(x).dtype, 0.0)? };
            b.binary(BinaryOp::Sub, own, sum)?
        }
    })
}

fn tf(cx: &mut TfCx<'_>, name: &str) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![cx.b.push(Bessel { function: name.into() }, &[x])?])
}

/// The op of this file.
pub const OPS: &[OpDef] = &[Bessel::def(tf_ops! {
    "BesselI0" => |cx| tf(cx, "i0"), "BesselI0e" => |cx| tf(cx, "i0e"), "BesselI1" => |cx| tf(cx, "i1"),
    "BesselI1e" => |cx| tf(cx, "i1e"), "BesselJ0" => |cx| tf(cx, "j0"), "BesselJ1" => |cx| tf(cx, "j1"),
    "BesselK0" => |cx| tf(cx, "k0"), "BesselK0e" => |cx| tf(cx, "k0e"), "BesselK1" => |cx| tf(cx, "k1"),
    "BesselK1e" => |cx| tf(cx, "k1e"), "BesselY0" => |cx| tf(cx, "y0"), "BesselY1" => |cx| tf(cx, "y1"),
})];
