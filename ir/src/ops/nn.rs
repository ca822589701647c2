//! Ops of neural networks: `softmax` and `log_softmax` as ops of the IR, the others as compositions built at import.
//!
//! Constraints of both: C1 one operand; C2 the axis is within the rank; C3 a float type.
//!
//! A row that holds +Inf or NaN gives NaN, as the shifted exponentials of TensorFlow's kernel do.

use std::any::Any;
use std::sync::Arc;

use anyhow::{Result, bail};

use super::reduce::Reduce;
use super::shape::{arity, cotangent};
use super::wide::Wide;
use crate::Builder;
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::scalar::{BinaryOp, ReduceOp, UnaryOp};
use crate::tensor::Tensor;

pub mod activation;
mod backprop;
pub mod layout;
mod loss;
pub mod norm;
pub mod tf;

/// `softmax x`: exp(x) over its sum along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    /// The axis.
    pub axis: usize,
}

/// `log_softmax x`: x minus the logarithm of the sum of exp(x) along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSoftmax {
    /// The axis.
    pub axis: usize,
}

fn infer(op: &'static str, axis: usize, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
    let [x] = arity(op, given)?;
    if axis >= x.rank() {
        return Err(OpError::new(op, "C2", format!("axis {axis} of {x}")));
    }
    if !x.dtype.is_float() {
        return Err(OpError::new(op, "C3", format!("does not take {}", x.dtype)));
    }
    Ok(vec![x.clone()])
}

/// Replaces each row along an axis by `f(element - largest, sum of exp(element - largest))`.
fn eval(op: &'static str, axis: usize, x: &Tensor, f: fn(f64, f64) -> f64) -> Result<Vec<Tensor>, OpError> {
    let Wide::Real(mut v) = Wide::of(op, x)? else {
        return Err(OpError::new(op, "C3", format!("does not take {}", x.dtype())));
    };
    let n = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let max = super::reduce::combine_real(ReduceOp::Max);
    for block in v.chunks_exact_mut((n * inner).max(1)) {
        for j in 0..inner {
            let row = (0..n).map(|i| i * inner + j);
            let top = row.clone().fold(f64::NEG_INFINITY, |m, at| max(m, block[at]));
            let sum: f64 = row.clone().map(|at| (block[at] - top).exp()).sum();
            row.for_each(|at| block[at] = f(block[at] - top, sum));
        }
    }
    Ok(vec![Wide::Real(v).into_tensor(op, x.dtype(), x.shape())?])
}

/// The sum or maximum along an axis, kept with extent 1.
fn along(b: &mut Builder, op: ReduceOp, axis: usize, x: Value) -> Result<Value> {
    b.push(Reduce { op, axes: vec![axis], keep_dims: true }, &[x])
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none().with("axis", Attr::Int(self.axis as i64))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        infer("softmax", self.axis, given)
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        eval("softmax", self.axis, x[0], |shifted, sum| shifted.exp() / sum)
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let y = args.outputs[0];
        let gy = b.binary(BinaryOp::Mul, g, y)?;
        let sum = along(b, ReduceOp::Sum, self.axis, gy)?;
        let centred = b.binary(BinaryOp::Sub, g, sum)?;
        Ok(vec![Some(b.binary(BinaryOp::Mul, centred, y)?)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Expand(|b, op, operands| {
            let (Some(op), &[x]) = (op.is::<Softmax>(), operands) else { bail!("`softmax` takes one operand") };
            let shifted = shift(b, x, op.axis)?;
            let e = b.unary(UnaryOp::Exp, shifted)?;
            let sum = along(b, ReduceOp::Sum, op.axis, e)?;
            Ok(vec![b.binary(BinaryOp::Div, e, sum)?])
        })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// x minus its largest element along an axis.
fn shift(b: &mut Builder, x: Value, axis: usize) -> Result<Value> {
    let top = along(b, ReduceOp::Max, axis, x)?;
    b.binary(BinaryOp::Sub, x, top)
}

impl Op for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none().with("axis", Attr::Int(self.axis as i64))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        infer("log_softmax", self.axis, given)
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        eval("log_softmax", self.axis, x[0], |shifted, sum| shifted - sum.ln())
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let p = b.unary(UnaryOp::Exp, args.outputs[0])?;
        let sum = along(b, ReduceOp::Sum, self.axis, g)?;
        let share = b.binary(BinaryOp::Mul, p, sum)?;
        Ok(vec![Some(b.binary(BinaryOp::Sub, g, share)?)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Expand(|b, op, operands| {
            let (Some(op), &[x]) = (op.is::<LogSoftmax>(), operands) else { bail!("`log_softmax` takes one operand") };
            let shifted = shift(b, x, op.axis)?;
            let e = b.unary(UnaryOp::Exp, shifted)?;
            let sum = along(b, ReduceOp::Sum, op.axis, e)?;
            let log = b.unary(UnaryOp::Log, sum)?;
            Ok(vec![b.binary(BinaryOp::Sub, shifted, log)?])
        })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn axis_attr(a: &Attrs) -> Result<usize, String> {
    usize::try_from(a.int("axis")?).map_err(|_| "the axis is negative".to_string())
}

/// The ops of this file; TensorFlow's ops, softmax among them, are read by [`tf::TF`].
pub const OPS: &[OpDef] = &[
    OpDef { name: "softmax", parse: |a| Ok(Arc::new(Softmax { axis: axis_attr(a)? })), tf: &[] },
    OpDef { name: "log_softmax", parse: |a| Ok(Arc::new(LogSoftmax { axis: axis_attr(a)? })), tf: &[] },
];
