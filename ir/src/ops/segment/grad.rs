//! The gradients of sums over chosen rows by segments, as ops of TensorFlow: SparseSegment*Grad.

use anyhow::{Result, bail};

use crate::graph::{TensorType, Value};
use crate::ops::gather::{Gather, Scatter, ScatterMode};
use crate::ops::host::{INDEX, host_op, int_tensor, ints, require, tf_ops, typed};
use crate::ops::shape::splat;
use crate::scalar::{BinaryOp, UnaryOp};
use crate::tf::{TfBinding, TfCx};
use crate::{DType, Dim};

host_op! {
    /// `sorted_unique x`: the different numbers of a vector, ascending, and the place of each element among them as i64.
    SortedUnique = "sorted_unique" {
        /// How many differ.
        count: Dim,
    }
    infer |op, given| {
        let [x] = typed("sorted_unique", given, [INDEX])?;
        require("sorted_unique", "C3", x.rank() == 1, || format!("{x} is no vector"))?;
        Ok(vec![TensorType::new(x.dtype, vec![op.count.clone()]), TensorType::new(DType::I64, x.shape.clone())])
    },
    eval |_, x| {
        let all = ints(x[0]);
        let mut unique = all.clone();
        unique.sort_unstable();
        unique.dedup();
        let places: Vec<i64> = all.iter().map(|v| unique.partition_point(|u| u < v) as i64).collect();
        Ok(vec![
            int_tensor("sorted_unique", x[0].dtype(), &[unique.len()], &unique)?,
            int_tensor("sorted_unique", DType::I64, &[places.len()], &places)?,
        ])
    },
}

/// Operands: the cotangent of each segment, the rows that were taken, their segments, and how many rows there were. With
/// `unique` the results are the rows that were taken, once each, and which they are.
fn gradient(cx: &mut TfCx<'_>, combine: &str, unique: bool) -> Result<Vec<Value>> {
    let (g, at, ids) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let rows = match &cx.dims_input(3)?[..] {
        [rows] => rows.clone(),
        other => bail!("operand 3 is one number, not {other:?}"),
    };
    let (ty, taken) = (cx.ty(0)?, cx.ty(1)?);
    let [n] = &taken.shape[..] else { bail!("the rows taken are a vector, not {taken}") };
    if ty.rank() == 0 {
        bail!("{ty} has no segments");
    }
    let b = &mut *cx.b;
    let mut share = b.push(Gather { axis: 0, batch_dims: 0 }, &[g, ids])?;
    if combine != "sum" {
        let ones = splat(b, ty.dtype, 1.0, std::slice::from_ref(n))?;
        let mut count = super::scattered_sum(b, ones, ids, &ty.shape[0])?;
        if combine == "sqrt_n" {
            count = b.unary(UnaryOp::Sqrt, count)?;
        }
        let count = b.push(Gather { axis: 0, batch_dims: 0 }, &[count, ids])?;
        let count = b.reshape(count, &[std::slice::from_ref(n), &vec![Dim::from(1); ty.rank() - 1][..]].concat())?;
        share = b.binary(BinaryOp::Div, share, count)?;
    }
    let (rows, places, taken) = match unique {
        false => (rows, at, None),
        true => {
            let count = b.fresh_dim("rows");
            let parts = b.push_all(SortedUnique { count: count.clone() }, &[at])?;
            (count, parts[1], Some(parts[0]))
        }
    };
    let zeros = splat(b, ty.dtype, 0.0, &[&[rows], &ty.shape[1..]].concat())?;
    let places = b.reshape(places, &[n.clone(), Dim::from(1)])?;
    let sum = b.push(Scatter { mode: ScatterMode::ADD }, &[zeros, places, share])?;
    Ok([sum].into_iter().chain(taken).collect())
}

/// Import rules of the gradients.
pub const TF: &[TfBinding] = tf_ops! {
    "SparseSegmentSumGrad" => |cx| gradient(cx, "sum", false),
    "SparseSegmentMeanGrad" => |cx| gradient(cx, "mean", false),
    "SparseSegmentSqrtNGrad" => |cx| gradient(cx, "sqrt_n", false),
    "SparseSegmentSumGradV2" => |cx| gradient(cx, "sum", true),
    "SparseSegmentMeanGradV2" => |cx| gradient(cx, "mean", true),
    "SparseSegmentSqrtNGradV2" => |cx| gradient(cx, "sqrt_n", true),
};
