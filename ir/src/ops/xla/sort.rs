//! Sorting: XlaSort, XlaKeyValueSort, and XlaVariadicSort by any comparator.
//!
//! A comparator that compares one operand's elements sorts by the op `arg_sort`; any other counts, for each element, those
//! that come before it, in n^2 comparisons. Either way equal elements stay in order.

use std::cmp::Ordering;

use anyhow::{Result, bail};

use super::Scalars;
use crate::graph::{TensorType, Value};
use crate::op::OpError;
use crate::ops::constant::Iota;
use crate::ops::gather::Gather;
use crate::ops::host::{host_op, int_tensor, require, tf_ops, typed};
use crate::ops::reduce::Reduce;
use crate::ops::wide::Wide;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, Class, DType, Dim};

/// The order of each row's elements; equal ones stay as they are.
fn order<T: Copy>(v: &[T], n: usize, descending: bool, compare: impl Fn(T, T) -> Ordering) -> Vec<i64> {
    let mut all = Vec::with_capacity(v.len());
    for row in v.chunks_exact(n.max(1)) {
        let mut index: Vec<usize> = (0..n).collect();
        index.sort_by(|&i, &j| if descending { compare(row[j], row[i]) } else { compare(row[i], row[j]) });
        all.extend(index.into_iter().map(|i| i as i64));
    }
    all
}

/// Numbers in order; NaN is above all of them.
fn numbers(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

host_op! {
    /// `arg_sort x`: the indices (i32) along the last axis at which each row's elements stand in order. Equal elements
    /// stay in order. NaN counts as the largest number.
    ArgSort = "arg_sort" {
        /// Whether the largest comes first.
        descending: bool,
        /// Whether floats have their total order: -0 before 0, and NaN of negative sign before all numbers.
        total: bool,
    }
    infer |_, given| {
        let [x] = typed("arg_sort", given, [&[]])?;
        let sortable = matches!(x.dtype.class(), Class::Bool | Class::Signed | Class::Unsigned | Class::Float);
        require("arg_sort", "C2", sortable, || format!("{x} has no order"))?;
        require("arg_sort", "C3", x.rank() > 0, || "a scalar has no rows".into())?;
        Ok(vec![TensorType::new(DType::I32, x.shape.clone())])
    },
    eval |op, x| {
        let n = x[0].shape().last().copied().unwrap_or(1);
        let index = match Wide::of("arg_sort", x[0])? {
            Wide::Real(v) if op.total => order(&v, n, op.descending, |a, b| a.total_cmp(&b)),
            Wide::Real(v) => order(&v, n, op.descending, numbers),
            Wide::Int(v) if x[0].dtype() == DType::U64 => order(&v, n, op.descending, |a, b| (a as u64).cmp(&(b as u64))),
            Wide::Int(v) => order(&v, n, op.descending, |a, b| a.cmp(&b)),
            Wide::Complex(_) => return Err(OpError::new("arg_sort", "C2", "complex numbers have no order")),
        };
        Ok(vec![int_tensor("arg_sort", DType::I32, x[0].shape(), &index)?])
    },
}

/// Each row's elements at the indices of the same row.
fn take(b: &mut Builder, x: Value, index: Value) -> Result<Value> {
    let axis = b.ty(x).rank() - 1;
    b.push(Gather { axis, batch_dims: axis }, &[x, index])
}

/// Operands sorted along the last axis by the first one, ascending in the total order of floats.
fn by_first(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let key = cx.input(0)?;
    let shape = cx.ty(0)?.shape;
    let index = cx.b.push(ArgSort { descending: false, total: true }, &[key])?;
    let mut sorted = vec![];
    for &v in cx.inputs {
        if cx.b.ty(v).shape != shape {
            bail!("keys of shape {shape:?} for values {}", cx.b.ty(v));
        }
        sorted.push(take(cx.b, v, index)?);
    }
    Ok(sorted)
}

/// `xs` sorted together along an axis; `f` says of the elements at two places (parameters 2i and 2i + 1 are those of
/// operand i) whether the first comes before the second.
///
/// # Errors
/// If the operands' shapes differ, the axis is outside, or `f` does not take two of each operand.
pub fn sort(b: &mut Builder, xs: &[Value], axis: i64, f: &Scalars) -> Result<Vec<Value>> {
    let Some(&first) = xs.first() else { return Ok(vec![]) };
    let ty = b.ty(first).clone();
    if f.arity() != (2 * xs.len(), 1) || xs.iter().any(|&x| b.ty(x).shape != ty.shape) {
        bail!(
            "function `{}` of {} values cannot sort {} operands of shape {:?}",
            f.name(),
            f.arity().0,
            xs.len(),
            ty.shape
        );
    }
    let axis = crate::tf::normalize_axis(axis, ty.rank())?;
    let last = ty.rank() - 1;
    let mut perm: Vec<usize> = (0..ty.rank()).collect();
    perm.swap(axis, last);
    let rows = xs.iter().map(|&x| b.transpose(x, &perm)).collect::<Result<Vec<_>>>()?;
    let index = match f.comparison() {
        Some((op, i, j)) if i / 2 == j / 2 && i != j && !matches!(op, CompareOp::Eq | CompareOp::Ne) => {
            let op = if i > j { op.swapped() } else { op };
            let descending = matches!(op, CompareOp::Gt | CompareOp::Ge);
            b.push(ArgSort { descending, total: false }, &[rows[i / 2]])?
        }
        _ => counted(b, &rows, f)?,
    };
    rows.into_iter()
        .map(|x| {
            let sorted = take(b, x, index)?;
            b.transpose(sorted, &perm)
        })
        .collect()
}

/// The indices of the rows' elements in the order of `f`, by counting.
fn counted(b: &mut Builder, rows: &[Value], f: &Scalars) -> Result<Value> {
    let shape = b.ty(rows[0]).shape.clone();
    let last = shape.len() - 1;
    let n = shape[last].clone();
    // Element i along the axis `last`, element j along the one behind it.
    let at = |b: &mut Builder, place: usize| -> Result<Vec<Value>> {
        let mut wide = shape.clone();
        wide.insert(if place == 0 { last + 1 } else { last }, Dim::from(1));
        rows.iter().map(|&x| b.reshape(x, &wide)).collect()
    };
    let (i, j) = (at(b, 0)?, at(b, 1)?);
    let both = |x: &[Value], y: &[Value]| x.iter().zip(y).flat_map(|(&x, &y)| [x, y]).collect::<Vec<_>>();
    let before = f.apply(b, &both(&j, &i))?[0];
    let after = f.apply(b, &both(&i, &j))?[0];
    let ramp = |b: &mut Builder, axis: usize| {
        let mut ones = vec![Dim::from(1); last + 2];
        ones[axis] = n.clone();
        b.push(Iota { shape: ones, axis, dtype: DType::I32 }, &[])
    };
    let (place_i, place_j) = (ramp(b, last)?, ramp(b, last + 1)?);
    let earlier = b.compare(CompareOp::Lt, place_j, place_i)?;
    let not_after = b.unary(UnaryOp::Not, after)?;
    let tie = b.binary(BinaryOp::And, not_after, earlier)?;
    let counts = b.binary(BinaryOp::Or, before, tie)?;
    let counts = b.cast(DType::I32, counts)?;
    let rank = b.push(Reduce { op: ReduceOp::Sum, axes: vec![last + 1], keep_dims: true }, &[counts])?;
    // The element of rank j stands at place j.
    let here = b.compare(CompareOp::Eq, rank, place_j)?;
    let here = b.cast(DType::I32, here)?;
    let index = b.binary(BinaryOp::Mul, here, place_i)?;
    b.push(Reduce { op: ReduceOp::Sum, axes: vec![last], keep_dims: false }, &[index])
}

/// The import rules of this file.
pub const TF: &[TfBinding] = tf_ops! { "XlaSort" => by_first, "XlaKeyValueSort" => by_first };
