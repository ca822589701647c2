//! TensorFlow's ragged ops.

use anyhow::{Context, Result, bail};

use super::ragged::{RaggedGather, RaggedRange, RaggedToDense, RaggedToSparse};
use crate::Dim;
use crate::graph::Value;
use crate::ops::host::{import, tf_ops};
use crate::tf::{TfAttr, TfBinding, TfCx};

fn range(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let op = RaggedRange { count: cx.b.fresh_dim("values"), splits: cx.dtype("Tsplits")? };
    import(cx, op)
}

/// Operands: splits, values, indices. Indices of rank 0 and above 1 change the number of ragged axes.
fn gather(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let rank = usize::try_from(cx.int("PARAMS_RAGGED_RANK")?)?;
    let (at, ty) = (cx.input(rank + 1)?, cx.ty(rank + 1)?);
    if ty.rank() == 0 || cx.int("OUTPUT_RAGGED_RANK")? != (rank + ty.rank() - 1) as i64 {
        bail!("indices {ty} of {} results", cx.int("OUTPUT_RAGGED_RANK")?);
    }
    let counts = (0..rank).map(|_| cx.b.fresh_dim("rows")).collect();
    let mut inputs = cx.inputs.to_vec();
    inputs[rank + 1] = cx.b.reshape(at, &[ty.elements()])?;
    let mut out = cx.b.push_all(RaggedGather { counts }, &inputs)?;
    // The axes of the indices are regular: their splits are multiples of the extents below.
    let dtype = cx.ty(0)?.dtype;
    for axis in (0..ty.rank() - 1).rev() {
        let rows = Dim::product(&ty.shape[..axis + 1]);
        let op = crate::ops::constant::Iota { shape: vec![rows + Dim::from(1)], axis: 0, dtype };
        let index = cx.b.push(op, &[])?;
        let width = crate::ops::shape::dim_value(cx.b, &ty.shape[axis + 1], dtype)?;
        out.insert(0, cx.b.binary(crate::scalar::BinaryOp::Mul, index, width)?);
    }
    Ok(out)
}

fn to_sparse(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let count = cx.ty(cx.inputs.len() - 1)?.elements();
    import(cx, RaggedToSparse { count })
}

/// Operands: shape (-1 where it follows from the rows), values, default, partitions.
fn to_dense(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let Some(TfAttr::List(types)) = cx.node.attrs.get("row_partition_types") else { bail!("no partition types") };
    let kind = |t: &TfAttr| match t {
        TfAttr::Str(s) if s == b"FIRST_DIM_SIZE" => Ok('F'),
        TfAttr::Str(s) if s == b"VALUE_ROWIDS" => Ok('I'),
        TfAttr::Str(s) if s == b"ROW_SPLITS" => Ok('S'),
        other => bail!("partitions of type {other:?}"),
    };
    let kinds: String = types.iter().map(kind).collect::<Result<_>>()?;
    let values = cx.ty(1)?;
    let rank = kinds.chars().filter(|k| *k != 'F').count() + values.rank();
    let given = cx.dims_input(0)?;
    // A shape of unknown rank is the scalar -1.
    let given = if cx.ty(0)?.rank() == 0 { vec![Dim::from(-1); rank] } else { given };
    if given.len() != rank {
        bail!("a shape of {} sizes for rank {rank}", given.len());
    }
    let mut shape = given;
    let outer = rank - (values.rank() - 1);
    for (i, d) in shape.iter_mut().enumerate().filter(|(_, d)| d.is(-1)) {
        *d = if i >= outer {
            values.shape[i - outer + 1].clone()
        } else if i == 0 && kinds.starts_with('S') {
            cx.ty(3)?.shape.first().context("splits are a vector")?.clone() - Dim::from(1)
        } else {
            cx.b.fresh_dim("row")
        };
    }
    let inputs = cx.inputs[1..].to_vec();
    Ok(vec![cx.b.push(RaggedToDense { shape, kinds }, &inputs)?])
}

/// Import rules of TensorFlow's ragged ops.
pub const TF: &[TfBinding] = tf_ops! {
    "RaggedRange" => range, "RaggedGather" => gather, "RaggedTensorToSparse" => to_sparse,
    "RaggedTensorToTensor" => to_dense,
};
