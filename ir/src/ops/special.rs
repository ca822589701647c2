//! `special`: functions of several numbers that no kernel computes: the incomplete beta function and derivatives of the
//! incomplete gamma function by its order. Computed in f64 and rounded once.
//!
//! Constraints: C1 as many operands as the function has; C2 one floating type; C3 one shape; C4 a known function.

use anyhow::Result;

use crate::Builder;
use crate::graph::{TensorType, Value};
use crate::op::{NoGradient, OpDef};
use crate::ops::host::{host_op, real_tensor, reals, require, tf_ops};
use crate::ops::pointwise::broadcast_shapes;
use crate::ops::shape::{cotangent, may_equal};
use crate::scalar::{BinaryOp, UnaryOp};
use crate::scalar_eval::special::{GammaSeries, betainc, gamma_series};
use crate::tf::TfCx;

host_op! {
    /// `special x..`: a function of the elements of its operands.
    Special = "special" {
        /// `betainc` (a, b, x): the regularized incomplete beta function. `igamma_grad_a` (a, x): the derivative by a of
        /// the regularized lower incomplete gamma function. `random_gamma_grad` (alpha, sample): the derivative of a
        /// sample of the gamma distribution by alpha.
        function: String,
    }
    infer |op, given| {
        let Some((_, count, _)) = function(&op.function) else {
            return Err(crate::op::OpError::new("special", "C4", format!("no function `{}`", op.function)));
        };
        require("special", "C1", given.len() == count, || format!("takes {count} operands, not {}", given.len()))?;
        let first = given[0];
        for x in given {
            let fits = x.dtype == first.dtype && x.dtype.is_float();
            require("special", "C2", fits, || format!("takes floats of one type, not {first} and {x}"))?;
            let alike = x.rank() == first.rank() && x.shape.iter().zip(&first.shape).all(|(a, b)| may_equal(a, b));
            require("special", "C3", alike, || format!("takes operands of one shape, not {first} and {x}"))?;
        }
        Ok(vec![first.clone()])
    },
    eval |op, x| {
        let f = function(&op.function).map_or(nothing as fn(&[f64]) -> f64, |f| f.2);
        let columns: Vec<Vec<f64>> = x.iter().map(|t| reals(t)).collect();
        let fits = columns.iter().all(|c| c.len() == columns[0].len());
        require("special", "C3", fits, || "the operands differ in shape".into())?;
        let v = (0..columns[0].len()).map(|i| f(&columns.iter().map(|c| c[i]).collect::<Vec<_>>())).collect();
        Ok(vec![real_tensor("special", x[0].dtype(), x[0].shape(), v)?])
    },
    vjp |op, b, args| {
        let Some(g) = cotangent(&args) else { return Ok(vec![None; args.inputs.len()]) };
        match (op.function.as_str(), args.inputs) {
            ("betainc", &[a, c, x]) => {
                let d = beta_density(b, a, c, x)?;
                // TensorFlow has no derivatives by the parameters either, and takes them as zero.
                Ok(vec![None, None, Some(b.binary(BinaryOp::Mul, g, d)?)])
            }
            (name, _) => Err(NoGradient::Failed(anyhow::anyhow!("TensorFlow has no gradient of `{name}`"))),
        }
    },
}

fn nothing(_: &[f64]) -> f64 {
    f64::NAN
}

type Function = (&'static str, usize, fn(&[f64]) -> f64);

const FUNCTIONS: &[Function] = &[
    ("betainc", 3, |x| betainc(x[0], x[1], x[2])),
    ("igamma_grad_a", 2, |x| igamma_grad_a(x[0], x[1])),
    ("random_gamma_grad", 2, |x| random_gamma_grad(x[0], x[1])),
];

fn function(name: &str) -> Option<Function> {
    FUNCTIONS.iter().find(|f| f.0 == name).copied()
}

/// d P(a, x) / da.
fn igamma_grad_a(a: f64, x: f64) -> f64 {
    if a > 0.0 && (x == 0.0 || x == f64::INFINITY) {
        return 0.0;
    }
    match gamma_series(a, x) {
        Some(GammaSeries { prefix, by_order, .. }) => prefix * by_order,
        None => f64::NAN,
    }
}

/// - dP/da / (dP/dx): how a sample moves with alpha while the probability below it stays.
fn random_gamma_grad(alpha: f64, sample: f64) -> f64 {
    if sample == 0.0 && alpha > 0.0 {
        return 0.0;
    }
    // The density is prefix * a / x.
    gamma_series(alpha, sample).map_or(f64::NAN, |s| -sample / alpha * s.by_order)
}

/// d I / dx = x^(a-1) (1-x)^(b-1) / B(a, b), by logarithms.
fn beta_density(b: &mut Builder, p: Value, q: Value, x: Value) -> Result<Value> {
    let both = b.binary(BinaryOp::Add, p, q)?;
    let [lp, lq, lboth] = [p, q, both].map(|v| b.unary(UnaryOp::Lgamma, v));
    let beta = b.binary(BinaryOp::Add, lp?, lq?)?;
    let beta = b.binary(BinaryOp::Sub, beta, lboth?)?;
    let minus = b.unary(UnaryOp::Neg, x)?;
    let rest = b.unary(UnaryOp::Log1p, minus)?;
    let log = b.unary(UnaryOp::Log, x)?;
    let (p1, q1) = (b.binary_scalar(BinaryOp::Sub, p, 1.0)?, b.binary_scalar(BinaryOp::Sub, q, 1.0)?);
    let (left, right) = (b.binary(BinaryOp::Mul, q1, rest)?, b.binary(BinaryOp::Mul, p1, log)?);
    let sum = b.binary(BinaryOp::Add, left, right)?;
    let sum = b.binary(BinaryOp::Sub, sum, beta)?;
    b.unary(UnaryOp::Exp, sum)
}

/// A function of operands that are broadcast to one shape.
pub(crate) fn special(b: &mut Builder, function: &str, operands: &[Value]) -> Result<Value> {
    let mut shape = vec![];
    for &v in operands {
        let ty: TensorType = b.ty(v).clone();
        shape = broadcast_shapes(&shape, &ty.shape)
            .ok_or_else(|| anyhow::anyhow!("{ty} does not broadcast to {shape:?}"))?;
    }
    let operands = operands.iter().map(|&v| b.broadcast(v, &shape)).collect::<Result<Vec<_>>>()?;
    b.push(Special { function: function.into() }, &operands)
}

fn import(cx: &mut TfCx<'_>, function: &str) -> Result<Vec<Value>> {
    Ok(vec![special(cx.b, function, cx.inputs)?])
}

/// The op of this file.
pub const OPS: &[OpDef] = &[Special::def(tf_ops! {
    "Betainc" => |cx| import(cx, "betainc"),
    "IgammaGradA" => |cx| import(cx, "igamma_grad_a"),
    "RandomGammaGrad" => |cx| import(cx, "random_gamma_grad"),
})];
