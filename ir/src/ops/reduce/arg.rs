//! `arg_reduce`: the index of the largest or smallest element along an axis.
//!
//! Constraints: C1 one operand; C2 the axis is within the rank; C3 the combiner is max or min and takes the dtype;
//! C4 the result is i32 or i64; C5 the axis holds at least one element.
//!
//! Ties give the lowest index. NaN compares with nothing, so it is passed over; if every element is NaN the index is 0,
//! as TensorFlow's kernel returns it.

use std::any::Any;

use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpError, VjpArgs};
use crate::ops::shape::arity;
use crate::ops::wide::{Wide, zeroed};
use crate::scalar::ReduceOp;
use crate::tensor::Tensor;
use crate::{Builder, DType};

/// `arg_reduce.OP x`: the index of the largest or smallest element along an axis, which is dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgReduce {
    /// Max or Min.
    pub op: ReduceOp,
    /// The axis.
    pub axis: usize,
    /// The result's element type: i32 or i64.
    pub dtype: DType,
}

/// The best index along the middle axis of `[outer, n, inner]`.
fn best<T: Copy>(x: &[T], n: usize, inner: usize, out: &mut [i64], start: T, beats: impl Fn(T, T) -> bool) {
    for (o, block) in out.chunks_exact_mut(inner.max(1)).zip(x.chunks_exact((n * inner).max(1))) {
        for (j, slot) in o.iter_mut().enumerate() {
            let mut top = start;
            for i in 0..n {
                let v = block[i * inner + j];
                if beats(v, top) {
                    (top, *slot) = (v, i as i64);
                }
            }
        }
    }
}

impl Op for ArgReduce {
    fn name(&self) -> &'static str {
        "arg_reduce"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("op", Attr::Word(self.op.name().into()))
            .with("axis", Attr::Int(self.axis as i64))
            .with("dtype", Attr::DType(self.dtype))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let fail = |code, message| Err(OpError::new("arg_reduce", code, message));
        let [x] = arity("arg_reduce", given)?;
        if self.axis >= x.rank() {
            return fail("C2", format!("axis {} of {x}", self.axis));
        }
        let accepted = x.dtype.is_int() || x.dtype.is_float() || x.dtype == DType::Bool;
        if !matches!(self.op, ReduceOp::Max | ReduceOp::Min) || !accepted {
            return fail("C3", format!("{} of {}", self.op, x.dtype));
        }
        if !matches!(self.dtype, DType::I32 | DType::I64) {
            return fail("C4", format!("the result cannot be {}", self.dtype));
        }
        if x.shape[self.axis].is(0) {
            return fail("C5", format!("axis {} of {x} is empty", self.axis));
        }
        let mut shape = x.shape.clone();
        shape.remove(self.axis);
        Ok(vec![TensorType::new(self.dtype, shape)])
    }
    fn eval(&self, given: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let x = given[0];
        let mut shape = x.shape().to_vec();
        let n = shape.remove(self.axis);
        let inner: usize = shape[self.axis..].iter().product();
        if n == 0 {
            return Err(OpError::new("arg_reduce", "C5", format!("axis {} of {:?} is empty", self.axis, x.shape())));
        }
        let mut out = zeroed::<i64>("arg_reduce", &shape)?;
        let max = self.op == ReduceOp::Max;
        match Wide::of("arg_reduce", x)? {
            Wide::Real(v) if max => best(&v, n, inner, &mut out, f64::NEG_INFINITY, |a, b| a > b),
            Wide::Real(v) => best(&v, n, inner, &mut out, f64::INFINITY, |a, b| a < b),
            Wide::Int(v) => {
                // u64 is ordered as i64 with the top bit flipped.
                let flip = if x.dtype() == DType::U64 { i64::MIN } else { 0 };
                if max {
                    best(&v, n, inner, &mut out, i64::MIN ^ flip, |a, b| a ^ flip > b ^ flip)
                } else {
                    best(&v, n, inner, &mut out, i64::MAX ^ flip, |a, b| (a ^ flip) < b ^ flip)
                }
            }
            Wide::Complex(_) => return Err(OpError::new("arg_reduce", "C3", "complex numbers have no order")),
        }
        Ok(vec![Wide::Int(out).into_tensor("arg_reduce", self.dtype, &shape)?])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Err(NoGradient::NotDifferentiable)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::ArgReduce { op: self.op, axis: self.axis }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
