//! TensorFlow's sparse ops.

use anyhow::{Result, bail};

use super::edit::EditDistance;
use super::rows::{FillEmptyRows, SparseConcat, SparseReorder, SparseReshape, SparseSlice, SparseSoftmax};
use super::sets::{SetOperation, SetSize};
use crate::graph::Value;
use crate::ops::gather::{Gather, Scatter, ScatterMode};
use crate::ops::host::{import, tf_ops};
use crate::ops::reduce::Reduce;
use crate::ops::shape::join::concat;
use crate::ops::shape::slice::slice;
use crate::ops::shape::{Slice, splat};
use crate::scalar::{BinaryOp, ReduceOp, UnaryOp};
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, Dim};

/// Operands: indices, shape, values, default. Indices may be a matrix, a vector or a scalar; values a scalar.
fn to_dense(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (at, ty, shape, values) = (cx.input(0)?, cx.ty(0)?, cx.dims_input(1)?, cx.input(2)?);
    let n = ty.shape.first().cloned().unwrap_or(Dim::from(1));
    let at = match ty.rank() {
        0 | 1 if shape.len() == 1 => cx.b.reshape(at, &[n.clone(), Dim::from(1)])?,
        2 => at,
        rank => bail!("indices of rank {rank} for a tensor of rank {}", shape.len()),
    };
    let values = cx.b.broadcast(values, std::slice::from_ref(&n))?;
    let default = cx.input(3)?;
    let base = cx.b.broadcast(default, &shape)?;
    Ok(vec![cx.b.push(Scatter { mode: ScatterMode(None) }, &[base, at, values])?])
}

fn fill_empty_rows(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let Some(rows) = cx.dims_input(2)?.into_iter().next() else { bail!("the shape is empty") };
    let op = FillEmptyRows { count: cx.b.fresh_dim("values"), rows };
    import(cx, op)
}

fn sparse_concat(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let Some(rank) = cx.ty(0)?.shape.get(1).and_then(Dim::as_const) else {
        bail!("the rank of {} is not known", cx.ty(0)?)
    };
    let axis = normalize_axis(cx.int("concat_dim")?, rank as usize)? as i64;
    import(cx, SparseConcat { axis })
}

/// Column `i` of a matrix of indices, as a matrix of one column.
fn column(b: &mut Builder, at: Value, i: usize) -> Result<Value> {
    let shape = b.ty(at).shape.clone();
    slice(b, at, Slice::along(&shape, 1, Dim::from(i), Dim::from(1)))
}

/// Operands: indices, values, shape, dense matrix. Each value times a row of the matrix, summed into a row.
fn mat_mul(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (at, mut values, shape, mut dense) = (cx.input(0)?, cx.input(1)?, cx.dims_input(2)?, cx.input(3)?);
    let (adjoint_a, adjoint_b) = (cx.bool("adjoint_a")?, cx.bool("adjoint_b")?);
    let complex = cx.ty(1)?.dtype.is_complex();
    let b = &mut *cx.b;
    if shape.len() != 2 || b.ty(at).rank() != 2 || b.ty(dense).rank() != 2 {
        bail!("a product of shape {shape:?} and {}", b.ty(dense));
    }
    if adjoint_a && complex {
        values = b.unary(UnaryOp::Conj, values)?;
    }
    if adjoint_b {
        dense = b.transpose(dense, &[1, 0])?;
        dense = if complex { b.unary(UnaryOp::Conj, dense)? } else { dense };
    }
    let (to, from) = if adjoint_a { (1, 0) } else { (0, 1) };
    let (rows, columns) = (shape[to].clone(), b.ty(dense).shape[1].clone());
    if !crate::ops::shape::may_equal(&shape[from], &b.ty(dense).shape[0]) {
        bail!("a product of shape {shape:?} and {}", b.ty(dense));
    }
    let n = b.ty(values).shape[0].clone();
    let source = column(b, at, from)?;
    let source = b.reshape(source, std::slice::from_ref(&n))?;
    let picked = b.push(Gather { axis: 0, batch_dims: 0 }, &[dense, source])?;
    let factor = b.reshape(values, &[n, Dim::from(1)])?;
    let products = b.binary(BinaryOp::Mul, picked, factor)?;
    let target = column(b, at, to)?;
    let zeros = splat(b, b.ty(products).dtype, 0.0, &[rows, columns])?;
    Ok(vec![b.push(Scatter { mode: ScatterMode::ADD }, &[zeros, target, products])?])
}

/// Operands: indices, values, shape, axes; the result is dense.
fn reduce_sum(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (at, values, shape) = (cx.input(0)?, cx.input(1)?, cx.dims_input(2)?);
    let mut axes = cx.const_ints(3)?.iter().map(|&a| normalize_axis(a, shape.len())).collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    axes.dedup();
    if axes.is_empty() {
        axes = (0..shape.len()).collect();
    }
    let keep = cx.bool("keep_dims")?;
    let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
    let b = &mut *cx.b;
    let sum = if kept.is_empty() {
        b.push(Reduce { op: ReduceOp::Sum, axes: vec![0], keep_dims: false }, &[values])?
    } else {
        let columns = kept.iter().map(|&a| column(b, at, a)).collect::<Result<Vec<_>>>()?;
        let places = concat(b, &columns, 1)?;
        let outer: Vec<Dim> = kept.iter().map(|&a| shape[a].clone()).collect();
        let zeros = splat(b, b.ty(values).dtype, 0.0, &outer)?;
        b.push(Scatter { mode: ScatterMode::ADD }, &[zeros, places, values])?
    };
    let one = |a: usize| if axes.contains(&a) { Dim::from(1) } else { shape[a].clone() };
    Ok(vec![if keep { b.reshape(sum, &(0..shape.len()).map(one).collect::<Vec<_>>())? } else { sum }])
}

fn set_operation(cx: &mut TfCx<'_>, first_sparse: bool, second_sparse: bool) -> Result<Vec<Value>> {
    let operation = cx.str("set_operation")?;
    let op = SetOperation { operation, first_sparse, second_sparse, count: cx.b.fresh_dim("members") };
    import(cx, op)
}

/// All but the last of the sizes that operand `i` holds.
fn outer(cx: &mut TfCx<'_>, i: usize) -> Result<Vec<Dim>> {
    let mut shape = cx.dims_input(i)?;
    shape.pop();
    Ok(shape)
}

fn edit_distance(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (a, b) = (outer(cx, 2)?, outer(cx, 5)?);
    let outer = a.iter().zip(&b).map(|(a, b)| a.larger(b)).collect();
    let op = EditDistance { normalize: cx.bool("normalize")?, outer };
    import(cx, op)
}

fn set_size(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let outer = outer(cx, 2)?;
    import(cx, SetSize { outer })
}

/// Import rules of TensorFlow's sparse ops.
pub const TF: &[TfBinding] = tf_ops! {
    "SparseToDense" => to_dense, "SparseFillEmptyRows" => fill_empty_rows,
    "SparseReshape" => |cx| import(cx, SparseReshape {}), "SparseConcat" => sparse_concat,
    "SparseSlice" => |cx| { let count = cx.b.fresh_dim("values"); import(cx, SparseSlice { count }) },
    "SparseReorder" => |cx| import(cx, SparseReorder {}), "SparseSoftmax" => |cx| import(cx, SparseSoftmax {}),
    "SparseTensorDenseMatMul" => mat_mul, "SparseReduceSum" => reduce_sum,
    "DenseToDenseSetOperation" => |cx| set_operation(cx, false, false),
    "DenseToSparseSetOperation" => |cx| set_operation(cx, false, true),
    "SparseToSparseSetOperation" => |cx| set_operation(cx, true, true),
    "SetSize" => set_size, "EditDistance" => edit_distance,
};
