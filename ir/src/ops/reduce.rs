//! Ops that combine elements along axes: `reduce`, `arg_reduce`, `cumulative`, `top_k`; this file holds `reduce`.
//!
//! Constraints of `reduce`: C1 one operand; C2 axes are ascending and within the rank; C3 the combiner takes the dtype.
//!
//! Reference evaluation accumulates floats in f64 and rounds once; integers wrap. Over no element a reduction gives the
//! combiner's neutral element.

use std::any::Any;
use std::sync::Arc;

use super::shape::{arity, cotangent};
use super::wide::{Wide, zeroed};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tensor::{Tensor, row_major_strides};
use crate::{Builder, Class, DType, Dim};
use num_complex::Complex;

pub mod arg;
pub mod cumulative;
mod tf;
pub mod top_k;

pub use arg::ArgReduce;
pub use cumulative::Cumulative;
pub use top_k::TopK;

/// `reduce.OP x`: elements combined over axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduce {
    /// The combiner.
    pub op: ReduceOp,
    /// The axes, ascending.
    pub axes: Vec<usize>,
    /// Whether reduced axes stay with extent 1; otherwise they are dropped.
    pub keep_dims: bool,
}

impl Reduce {
    /// The result's shape for an operand's.
    fn shape<D: Clone + From<i64>>(&self, x: &[D]) -> Vec<D> {
        let keep = |(i, d): (usize, &D)| match (self.axes.contains(&i), self.keep_dims) {
            (false, _) => Some(d.clone()),
            (true, true) => Some(D::from(1)),
            (true, false) => None,
        };
        x.iter().enumerate().filter_map(keep).collect()
    }
}

/// The shape with extent 1 at the axes: what broadcasts against the operand.
fn kept(shape: &[Dim], axes: &[usize]) -> Vec<Dim> {
    shape.iter().enumerate().map(|(i, d)| if axes.contains(&i) { Dim::from(1) } else { d.clone() }).collect()
}

/// The neutral element among integers of a type, widened; bools are 0 and 1.
pub(crate) fn start_int(op: ReduceOp, dtype: DType) -> i64 {
    let bits = 8 * dtype.size() as u32;
    let (low, high) = match dtype.class() {
        Class::Unsigned if bits < 64 => (0, (1i64 << bits) - 1),
        // All bits of u64's largest number.
        Class::Unsigned => (0, -1),
        _ if bits < 64 => (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1),
        _ => (i64::MIN, i64::MAX),
    };
    match op {
        ReduceOp::Sum | ReduceOp::Any => 0,
        ReduceOp::Prod | ReduceOp::All => 1,
        ReduceOp::Max => low,
        ReduceOp::Min => high,
    }
}

/// The neutral element among floats.
pub(crate) fn start_real(op: ReduceOp) -> f64 {
    match op {
        ReduceOp::Prod | ReduceOp::All => 1.0,
        ReduceOp::Max => f64::NEG_INFINITY,
        ReduceOp::Min => f64::INFINITY,
        ReduceOp::Sum | ReduceOp::Any => 0.0,
    }
}

/// Combination of widened integers of a type.
pub(crate) fn combine_int(op: ReduceOp, dtype: DType) -> fn(i64, i64) -> i64 {
    match (op, dtype) {
        (ReduceOp::Sum, _) => i64::wrapping_add,
        (ReduceOp::Prod, _) => i64::wrapping_mul,
        (ReduceOp::Max, DType::U64) => |a, b| (a as u64).max(b as u64) as i64,
        (ReduceOp::Min, DType::U64) => |a, b| (a as u64).min(b as u64) as i64,
        (ReduceOp::Max, _) => i64::max,
        (ReduceOp::Min, _) => i64::min,
        (ReduceOp::All, _) => |a, b| a & b,
        (ReduceOp::Any, _) => |a, b| a | b,
    }
}

/// Combination of floats; a NaN wins over every number.
pub(crate) fn combine_real(op: ReduceOp) -> fn(f64, f64) -> f64 {
    match op {
        ReduceOp::Sum => |a, b| a + b,
        ReduceOp::Prod => |a, b| a * b,
        ReduceOp::Max => |a, b| if a > b || a.is_nan() { a } else { b },
        ReduceOp::Min => |a, b| if a < b || a.is_nan() { a } else { b },
        // Floats are not logical values; `infer` refuses them.
        ReduceOp::All | ReduceOp::Any => |a, _| a,
    }
}

/// Combines `x` row by row into `out`, whose element for an operand index is the sum of `index * stride`.
fn fold<T: Copy>(x: &[T], shape: &[usize], strides: &[usize], out: &mut [T], f: impl Fn(T, T) -> T) {
    if x.is_empty() {
        return;
    }
    let Some((&row, outer)) = shape.split_last() else {
        out[0] = f(out[0], x[0]);
        return;
    };
    let mut index = vec![0usize; outer.len()];
    for row in x.chunks_exact(row) {
        let base: usize = index.iter().zip(strides).map(|(i, s)| i * s).sum();
        match strides[outer.len()] {
            0 => out[base] = row.iter().fold(out[base], |acc, &v| f(acc, v)),
            _ => out[base..base + row.len()].iter_mut().zip(row).for_each(|(acc, &v)| *acc = f(*acc, v)),
        }
        super::shape::advance(&mut index, |axis| outer[axis]);
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("op", Attr::Word(self.op.name().into()))
            .with("axes", Attr::axes(&self.axes))
            .with("keep_dims", Attr::Bool(self.keep_dims))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("reduce", given)?;
        if !self.axes.is_sorted_by(|a, b| a < b) || self.axes.last().is_some_and(|&a| a >= x.rank()) {
            return Err(OpError::new("reduce", "C2", format!("axes {:?} of {x}", self.axes)));
        }
        if !self.op.accepts(x.dtype) {
            return Err(OpError::new("reduce", "C3", format!("{} does not take {}", self.op, x.dtype)));
        }
        Ok(vec![TensorType::new(x.dtype, self.shape(&x.shape))])
    }
    fn eval(&self, given: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let x = given[0];
        let dtype = x.dtype();
        let signed: Vec<i64> = x.shape().iter().map(|&d| d as i64).collect();
        let shape: Vec<usize> = self.shape(&signed).iter().map(|&d| d as usize).collect();
        let kept: Vec<usize> =
            (0..x.shape().len()).map(|i| if self.axes.contains(&i) { 1 } else { x.shape()[i] }).collect();
        let mut strides = row_major_strides(&kept);
        self.axes.iter().for_each(|&a| strides[a] = 0);
        let result = match Wide::of("reduce", x)? {
            Wide::Int(v) => {
                let mut out = zeroed("reduce", &shape)?;
                out.fill(start_int(self.op, dtype));
                fold(&v, x.shape(), &strides, &mut out, combine_int(self.op, dtype));
                Wide::Int(out)
            }
            Wide::Real(v) => {
                let mut out = zeroed("reduce", &shape)?;
                out.fill(start_real(self.op));
                fold(&v, x.shape(), &strides, &mut out, combine_real(self.op));
                Wide::Real(out)
            }
            Wide::Complex(v) => {
                let mut out = zeroed("reduce", &shape)?;
                out.fill(Complex::new(start_real(self.op), 0.0));
                let product = self.op == ReduceOp::Prod;
                fold(&v, x.shape(), &strides, &mut out, |a, b| if product { a * b } else { a + b });
                Wide::Complex(out)
            }
        };
        Ok(vec![result.into_tensor("reduce", dtype, &shape)?])
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![x[0].1.and_then(|d| self.dims(d))]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let (x, y) = (args.inputs[0], args.outputs[0]);
        let ty = b.ty(x).clone();
        if !(ty.dtype.is_float() || ty.dtype.is_complex()) {
            return Err(NoGradient::NotDifferentiable);
        }
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let shape = kept(&ty.shape, &self.axes);
        let g = b.reshape(g, &shape)?;
        let dx = match self.op {
            ReduceOp::Sum => b.broadcast(g, &ty.shape)?,
            // As TensorFlow: elements that tie share the cotangent equally.
            ReduceOp::Max | ReduceOp::Min => {
                let y = b.reshape(y, &shape)?;
                let hit = b.compare(CompareOp::Eq, x, y)?;
                let hit = b.cast(ty.dtype, hit)?;
                let ties = b.push(Reduce { op: ReduceOp::Sum, axes: self.axes.clone(), keep_dims: true }, &[hit])?;
                let share = b.binary(BinaryOp::Div, hit, ties)?;
                b.binary(BinaryOp::Mul, share, g)?
            }
            ReduceOp::Prod => {
                let others = product_of_others(b, x, &self.axes)?;
                let others = if ty.dtype.is_complex() { b.unary(UnaryOp::Conj, others)? } else { others };
                b.binary(BinaryOp::Mul, others, g)?
            }
            ReduceOp::All | ReduceOp::Any => return Err(NoGradient::NotDifferentiable),
        };
        Ok(vec![Some(dx)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Reduce { op: self.op, axes: self.axes.clone(), keep_dims: self.keep_dims }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Reduce {
    /// Shape arithmetic: the product of a shape, the sum of sizes.
    fn dims(&self, x: &DimTensor) -> Option<DimTensor> {
        if self.axes.is_empty() {
            return Some(x.clone());
        }
        let first = x.elems.first().cloned();
        let rest = x.elems.iter().skip(1);
        let elem = match (self.op, first) {
            (ReduceOp::Sum, _) => x.elems.iter().fold(Dim::from(0), |s, d| s + d.clone()),
            (ReduceOp::Prod, _) => Dim::product(&x.elems),
            (ReduceOp::Max, Some(first)) => rest.fold(first, |m, d| m.larger(d)),
            (ReduceOp::Min, Some(first)) => rest.fold(first, |m, d| m.smaller(d)),
            _ => return None,
        };
        let shape = if self.keep_dims { vec![1] } else { vec![] };
        (x.shape.len() == 1).then(|| DimTensor { shape, elems: vec![elem] })
    }
}

/// For each element the product of the others along the axes, right where elements are zero: the products before and
/// after it.
fn product_of_others(b: &mut Builder, x: Value, axes: &[usize]) -> anyhow::Result<Value> {
    let shape = b.ty(x).shape.clone();
    let perm: Vec<usize> = (0..shape.len()).filter(|i| !axes.contains(i)).chain(axes.iter().copied()).collect();
    let moved = b.transpose(x, &perm)?;
    let moved_shape = b.ty(moved).shape.clone();
    let outer = Dim::product(&moved_shape[..shape.len() - axes.len()]);
    let inner = Dim::product(&moved_shape[shape.len() - axes.len()..]);
    let rows = b.reshape(moved, &[outer, inner])?;
    let products = |reverse| Cumulative { op: ReduceOp::Prod, axis: 1, exclusive: true, reverse };
    let (before, after) = (b.push(products(false), &[rows])?, b.push(products(true), &[rows])?);
    let others = b.binary(BinaryOp::Mul, before, after)?;
    let others = b.reshape(others, &moved_shape)?;
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(j, &axis)| back[axis] = j);
    b.transpose(others, &back)
}

/// Reads the attribute `op`.
fn reduce_op(a: &Attrs) -> Result<ReduceOp, String> {
    let w = a.word("op")?;
    ReduceOp::from_name(&w).ok_or_else(|| format!("unknown combiner `{w}`"))
}

/// Reads the attribute `axis`.
fn axis_attr(a: &Attrs) -> Result<usize, String> {
    usize::try_from(a.int("axis")?).map_err(|_| "the axis is negative".to_string())
}

/// The ops of this family.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "reduce",
        parse: |a| Ok(Arc::new(Reduce { op: reduce_op(a)?, axes: a.axes("axes")?, keep_dims: a.bool("keep_dims")? })),
        tf: tf::REDUCE,
    },
    OpDef {
        name: "arg_reduce",
        parse: |a| Ok(Arc::new(ArgReduce { op: reduce_op(a)?, axis: axis_attr(a)?, dtype: a.dtype("dtype")? })),
        tf: tf::ARG,
    },
    OpDef {
        name: "cumulative",
        parse: |a| {
            let (op, axis) = (reduce_op(a)?, axis_attr(a)?);
            Ok(Arc::new(Cumulative { op, axis, exclusive: a.bool("exclusive")?, reverse: a.bool("reverse")? }))
        },
        tf: tf::CUMULATIVE,
    },
    OpDef {
        name: "top_k",
        parse: |a| {
            let k = a.dims("k")?;
            match &k[..] {
                [k] => Ok(Arc::new(TopK { k: k.clone() })),
                _ => Err("`k` holds one number".into()),
            }
        },
        tf: tf::TOP_K,
    },
];
