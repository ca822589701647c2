//! Sparse tensors: matrices of indices, a row for each value, with a shape; sets; and ragged tensors.
//!
//! What needs no order of rows is composed of gathers and scatters (`tf`); the ops here run on the host. How many rows
//! a result has depends on data: a symbol in the op's attributes.

pub mod cross;
mod cross_tf;
pub mod edit;
pub mod ragged;
mod ragged_tf;
pub mod rows;
pub mod sets;
mod tf;

pub use cross_tf::TF as CROSS_TF;
pub use ragged_tf::TF as RAGGED_TF;
pub use tf::TF;

use crate::graph::TensorType;
use crate::op::{OpDef, OpError};
use crate::ops::host::{ints, require};
use crate::ops::shape::may_equal;
use crate::tensor::Tensor;
use crate::{DType, Dim};

/// The ops of these files.
pub const OPS: &[OpDef] = &[
    rows::FillEmptyRows::def(&[]),
    rows::SparseReshape::def(&[]),
    rows::SparseConcat::def(&[]),
    rows::SparseSlice::def(&[]),
    rows::SparseReorder::def(&[]),
    rows::SparseSoftmax::def(&[]),
    sets::SetOperation::def(&[]),
    sets::SetSize::def(&[]),
    edit::EditDistance::def(&[]),
    cross::FeatureCross::def(&[]),
    ragged::RaggedRange::def(&[]),
    ragged::RaggedGather::def(&[]),
    ragged::RaggedToDense::def(&[]),
    ragged::RaggedToSparse::def(&[]),
];

/// Refuses operands that are no sparse tensor; gives its rank where that is known.
fn check(op: &'static str, at: &TensorType, values: &TensorType, shape: &TensorType) -> Result<Option<usize>, OpError> {
    let integers = at.dtype == DType::I64 && shape.dtype == DType::I64;
    require(op, "C2", integers, || format!("indices {at} and shape {shape} are not i64"))?;
    let fits = at.rank() == 2
        && values.rank() == 1
        && shape.rank() == 1
        && may_equal(&at.shape[0], &values.shape[0])
        && may_equal(&at.shape[1], &shape.shape[0]);
    require(op, "C3", fits, || format!("{at}, {values} and {shape} are no sparse tensor"))?;
    let rank = at.shape[1].as_const().or(shape.shape[0].as_const());
    Ok(rank.and_then(|r| usize::try_from(r).ok()))
}

/// The types of a sparse tensor.
fn sparse(n: &Dim, rank: &Dim, dtype: DType) -> Vec<TensorType> {
    vec![
        TensorType::new(DType::I64, vec![n.clone(), rank.clone()]),
        TensorType::new(dtype, vec![n.clone()]),
        TensorType::new(DType::I64, vec![rank.clone()]),
    ]
}

/// The rows of indices, each inside of the shape.
fn rows_of(op: &'static str, at: &Tensor, shape: &Tensor) -> Result<Vec<Vec<i64>>, OpError> {
    let (shape, rank) = (ints(shape), at.shape().get(1).copied().unwrap_or(0));
    require(op, "E1", shape.iter().all(|&d| d >= 0), || format!("the shape {shape:?} has a negative size"))?;
    let all = ints(at);
    let n = at.shape().first().copied().unwrap_or(0);
    let rows: Vec<Vec<i64>> = (0..n).map(|i| all[i * rank..(i + 1) * rank].to_vec()).collect();
    for (i, row) in rows.iter().enumerate() {
        let inside = row.iter().zip(&shape).all(|(i, n)| (0..*n).contains(i));
        require(op, "E1", inside, || format!("indices[{i}] = {row:?} is not in the shape {shape:?}"))?;
    }
    Ok(rows)
}

/// Rows of indices as a matrix.
fn row_tensor(op: &'static str, rows: &[Vec<i64>], rank: usize) -> Result<Tensor, OpError> {
    crate::ops::host::int_tensor(op, DType::I64, &[rows.len(), rank], &rows.concat())
}

/// Integers as a vector of i64.
fn vector(op: &'static str, v: &[i64]) -> Result<Tensor, OpError> {
    crate::ops::host::int_tensor(op, DType::I64, &[v.len()], v)
}
