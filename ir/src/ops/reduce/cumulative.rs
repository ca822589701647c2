//! `cumulative`: running sums and products along an axis.
//!
//! Constraints: C1 one operand; C2 the axis is within the rank; C3 the combiner is sum or prod and takes the dtype.

use std::any::Any;

use anyhow::{Result, bail};
use num_complex::Complex;

use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpError, VjpArgs};
use crate::ops::shape::{Pad, Slice, arity, cotangent};
use crate::ops::wide::Wide;
use crate::scalar::{BinaryOp, ReduceOp, UnaryOp};
use crate::tensor::Tensor;
use crate::{Builder, Dim};

/// `cumulative.OP x`: element `i` combines the elements up to `i` along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Cumulative {
    /// Sum or Prod.
    pub op: ReduceOp,
    /// The axis.
    pub axis: usize,
    /// Whether element `i` leaves itself out; the first is then neutral.
    pub exclusive: bool,
    /// Whether the elements from `i` to the end are combined instead.
    pub reverse: bool,
}

impl Cumulative {
    /// Scans the middle axis of `[outer, n, inner]` in place.
    fn scan<T: Copy>(&self, x: &mut [T], n: usize, inner: usize, start: T, f: impl Fn(T, T) -> T) {
        for block in x.chunks_exact_mut((n * inner).max(1)) {
            for j in 0..inner {
                let mut acc = start;
                for i in 0..n {
                    let at = (if self.reverse { n - 1 - i } else { i }) * inner + j;
                    let next = f(acc, block[at]);
                    block[at] = if self.exclusive { acc } else { next };
                    acc = next;
                }
            }
        }
    }
}

impl Op for Cumulative {
    fn name(&self) -> &'static str {
        "cumulative"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("op", Attr::Word(self.op.name().into()))
            .with("axis", Attr::Int(self.axis as i64))
            .with("exclusive", Attr::Bool(self.exclusive))
            .with("reverse", Attr::Bool(self.reverse))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("cumulative", given)?;
        if self.axis >= x.rank() {
            return Err(OpError::new("cumulative", "C2", format!("axis {} of {x}", self.axis)));
        }
        if !matches!(self.op, ReduceOp::Sum | ReduceOp::Prod) || !self.op.accepts(x.dtype) {
            return Err(OpError::new("cumulative", "C3", format!("{} of {}", self.op, x.dtype)));
        }
        Ok(vec![x.clone()])
    }
    fn eval(&self, given: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let x = given[0];
        let n = x.shape()[self.axis];
        let inner: usize = x.shape()[self.axis + 1..].iter().product();
        let mut wide = Wide::of("cumulative", x)?;
        match (&mut wide, self.op) {
            (Wide::Int(v), ReduceOp::Prod) => self.scan(v, n, inner, 1, i64::wrapping_mul),
            (Wide::Int(v), _) => self.scan(v, n, inner, 0, i64::wrapping_add),
            (Wide::Real(v), ReduceOp::Prod) => self.scan(v, n, inner, 1.0, |a, b| a * b),
            (Wide::Real(v), _) => self.scan(v, n, inner, 0.0, |a, b| a + b),
            (Wide::Complex(v), ReduceOp::Prod) => self.scan(v, n, inner, Complex::new(1.0, 0.0), |a, b| a * b),
            (Wide::Complex(v), _) => self.scan(v, n, inner, Complex::new(0.0, 0.0), |a, b| a + b),
        }
        Ok(vec![wide.into_tensor("cumulative", x.dtype(), x.shape())?])
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        let scanned = x[0].1.filter(|d| d.shape.len() == 1).map(|d| {
            let mut elems = d.elems.clone();
            let mut acc = Dim::from(i64::from(self.op == ReduceOp::Prod));
            for i in 0..elems.len() {
                let at = if self.reverse { elems.len() - 1 - i } else { i };
                let elem = elems[at].clone();
                let next = if self.op == ReduceOp::Prod { acc.clone() * elem } else { acc.clone() + elem };
                elems[at] = if self.exclusive { acc } else { next.clone() };
                acc = next;
            }
            DimTensor { shape: d.shape.clone(), elems }
        });
        vec![scanned]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let (x, y) = (args.inputs[0], args.outputs[0]);
        let dtype = b.ty(x).dtype;
        if !(dtype.is_float() || dtype.is_complex()) {
            return Err(NoGradient::NotDifferentiable);
        }
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let back = Cumulative { op: ReduceOp::Sum, reverse: !self.reverse, ..self.clone() };
        if self.op == ReduceOp::Sum {
            return Ok(vec![Some(b.push(back, &[g])?)]);
        }
        // As TensorFlow: sums of y * g over x, and 0 where x is 0.
        let conj = |b: &mut Builder, v| if dtype.is_complex() { b.unary(UnaryOp::Conj, v) } else { Ok(v) };
        let (x, y) = (conj(b, x)?, conj(b, y)?);
        let yg = b.binary(BinaryOp::Mul, y, g)?;
        let sums = b.push(back, &[yg])?;
        Ok(vec![Some(b.binary(BinaryOp::DivNoNan, sums, x)?)])
    }
    /// A known extent expands to combinations at distances 1, 2, 4, ..; any other is scanned by the runtime.
    fn lower(&self, given: &[&TensorType]) -> Lower {
        match given.first().and_then(|x| x.shape.get(self.axis)).and_then(Dim::as_const) {
            Some(_) => Lower::Expand(expand),
            None => Lower::Host,
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn expand(b: &mut Builder, op: &dyn Op, operands: &[Value]) -> Result<Vec<Value>> {
    let (Some(op), &[x]) = (op.is::<Cumulative>(), operands) else { bail!("`cumulative` takes one operand") };
    let ty = b.ty(x).clone();
    let Some(n) = ty.shape.get(op.axis).and_then(Dim::as_const) else {
        bail!("cannot expand a scan along axis {} of {ty}, whose extent is not a number", op.axis)
    };
    let fill = b.scalar(ty.dtype, if op.op == ReduceOp::Prod { 1.0 } else { 0.0 })?;
    // The elements moved by a distance toward the end of the scan; neutral elements follow from its start.
    let moved = |b: &mut Builder, v: Value, by: i64| -> Result<Value> {
        let start = if op.reverse { Dim::from(by) } else { Dim::from(0) };
        let left = b.push(Slice::along(&ty.shape, op.axis, start, Dim::from(n - by)), &[v])?;
        let (mut low, mut high) = (vec![Dim::from(0); ty.rank()], vec![Dim::from(0); ty.rank()]);
        (if op.reverse { &mut high } else { &mut low })[op.axis] = Dim::from(by);
        b.push(Pad { low, high }, &[left, fill])
    };
    let mut sums = if op.exclusive && n > 0 { moved(b, x, 1)? } else { x };
    let mut distance = 1;
    while distance < n {
        let shifted = moved(b, sums, distance)?;
        sums = b.binary(op.op.combiner(), shifted, sums)?;
        distance *= 2;
    }
    Ok(vec![sums])
}
