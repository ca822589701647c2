//! `top_k`: the largest elements of each row, in descending order, with their indices.
//!
//! Constraints: C1 one operand; C2 it has at least one axis; C3 integers or floats; C4 k is between 0 and the extent.
//!
//! Equal elements stand in the order of their indices. NaN stands after every number, which is a total order; TensorFlow's kernel
//! places NaN by the path its heap takes.

use std::any::Any;
use std::cmp::Ordering;

use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpError, VjpArgs};
use crate::ops::constant::Iota;
use crate::ops::reduce::Reduce;
use crate::ops::shape::{arity, cotangent};
use crate::ops::wide::Wide;
use crate::scalar::{CompareOp, ReduceOp};
use crate::tensor::Tensor;
use crate::{Builder, DType, Dim};

/// `top_k x`: the `k` largest elements along the last axis and their indices (i32).
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    /// How many.
    pub k: Dim,
}

/// The indices of the `k` first elements of each row under an order; equal elements stay in order.
fn select<T: Copy>(x: &[T], n: usize, k: usize, order: impl Fn(T, T) -> Ordering) -> Vec<usize> {
    let mut picked = Vec::new();
    for row in x.chunks_exact(n.max(1)) {
        let mut index: Vec<usize> = (0..n).collect();
        let by = |a: &usize, b: &usize| order(row[*a], row[*b]).then(a.cmp(b));
        if 0 < k && k < n {
            index.select_nth_unstable_by(k - 1, by);
        }
        index.truncate(k);
        index.sort_unstable_by(by);
        picked.extend(index);
    }
    picked
}

impl Op for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none().with("k", Attr::Dims(vec![self.k.clone()]))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("top_k", given)?;
        let Some((last, outer)) = x.shape.split_last() else {
            return Err(OpError::new("top_k", "C2", "a scalar has no row"));
        };
        if !(x.dtype.is_int() || x.dtype.is_float()) {
            return Err(OpError::new("top_k", "C3", format!("does not take {}", x.dtype)));
        }
        let below = |d: Dim| d.as_const().is_some_and(|n| n < 0);
        if below(self.k.clone()) || below(last.clone() - self.k.clone()) {
            return Err(OpError::new("top_k", "C4", format!("{} elements of rows of {x}", self.k)));
        }
        let shape: Vec<Dim> = outer.iter().chain([&self.k]).cloned().collect();
        Ok(vec![TensorType::new(x.dtype, shape.clone()), TensorType::new(DType::I32, shape)])
    }
    fn eval(&self, given: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let x = given[0];
        let fail = |what: String| OpError::new("top_k", "E1", what);
        let (&n, outer) = x.shape().split_last().ok_or_else(|| fail("a scalar has no row".into()))?;
        let k = self.k.as_const().and_then(|k| usize::try_from(k).ok()).filter(|&k| k <= n);
        let k = k.ok_or_else(|| fail(format!("cannot take {} of {n} elements", self.k)))?;
        let size = x.dtype().size();
        let picked = match Wide::of("top_k", x)? {
            // Descending; NaN last.
            Wide::Real(v) => select(&v, n, k, |a, b| b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))),
            Wide::Int(v) if x.dtype() == DType::U64 => select(&v, n, k, |a, b| (b as u64).cmp(&(a as u64))),
            Wide::Int(v) => select(&v, n, k, |a, b| b.cmp(&a)),
            Wide::Complex(_) => return Err(OpError::new("top_k", "C3", "complex numbers have no order")),
        };
        let shape: Vec<usize> = outer.iter().copied().chain([k]).collect();
        let mut values = Tensor::zeros(x.dtype(), &shape);
        for (slot, (at, to)) in picked.iter().zip(values.bytes_mut().chunks_exact_mut(size)).enumerate() {
            let from = (slot / k.max(1) * n + at) * size;
            to.copy_from_slice(&x.bytes()[from..from + size]);
        }
        let indices: Vec<i32> = picked.iter().map(|&i| i as i32).collect();
        Ok(vec![values, Tensor::of(&shape, &indices)])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None, None]
    }
    /// Each cotangent goes to the element that was picked: a sum over the picks with a one-hot mask.
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let ty = b.ty(args.inputs[0]).clone();
        if !ty.dtype.is_float() {
            return Err(NoGradient::NotDifferentiable);
        }
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let picks = b.ty(args.outputs[1]).shape.clone();
        let column: Vec<Dim> = picks.iter().cloned().chain([Dim::from(1)]).collect();
        let (g, index) = (b.reshape(g, &column)?, b.reshape(args.outputs[1], &column)?);
        let n = ty.shape[ty.rank() - 1].clone();
        let places = b.push(Iota { shape: vec![n], axis: 0, dtype: DType::I32 }, &[])?;
        let hit = b.compare(CompareOp::Eq, index, places)?;
        let zero = b.scalar(ty.dtype, 0.0)?;
        let spread = b.select(hit, g, zero)?;
        let dx = b.push(Reduce { op: ReduceOp::Sum, axes: vec![ty.rank() - 1], keep_dims: false }, &[spread])?;
        Ok(vec![Some(dx)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Host
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
