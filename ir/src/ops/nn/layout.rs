//! Axes and per-axis lists carried from one data format to another: DataFormatDimMap, DataFormatVecPermute.

use anyhow::{Result, bail};

use crate::graph::Value;
use crate::ops::gather::Gather;
use crate::scalar::{BinaryOp, CompareOp};
use crate::tensor::Tensor;
use crate::tf::TfCx;
use crate::{DType, Dim};

/// For each axis of the attribute `to` its place in the attribute `from`.
fn places(cx: &TfCx<'_>, from: &str, to: &str) -> Result<Vec<i32>> {
    let (from, to) = (cx.str(from)?, cx.str(to)?);
    let find = |c: char| from.chars().position(|d| d == c).map(|i| i as i32);
    let found: Option<Vec<i32>> = to.chars().map(find).collect();
    match found {
        Some(p) if from.len() == to.len() && (4..=5).contains(&p.len()) => Ok(p),
        _ => bail!("the formats {from} and {to} do not have the same axes"),
    }
}

/// Axes of the source format, negative ones from the end, as axes of the destination.
pub(super) fn dim_map(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let table = places(cx, "dst_format", "src_format")?;
    let n = table.len();
    let b = &mut *cx.b;
    let table = b.constant(Tensor::of(&[n], &table))?;
    let table = b.cast(ty.dtype, table)?;
    let zero = b.scalar(ty.dtype, 0.0)?;
    let negative = b.compare(CompareOp::Lt, x, zero)?;
    let moved = b.binary_scalar(BinaryOp::Add, x, n as f64)?;
    let axis = b.select(negative, moved, x)?;
    Ok(vec![b.push(Gather { axis: 0, batch_dims: 0 }, &[table, axis])?])
}

/// A list with one entry an axis, or an axis but batch and channels, in the order of the destination.
pub(super) fn vec_permute(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let mut order = places(cx, "src_format", "dst_format")?;
    let Some(entries) = ty.shape.first().and_then(Dim::as_const) else { bail!("{ty} has no fixed number of axes") };
    if entries as usize + 2 == order.len() {
        // Only the spatial axes are given: renumbered among themselves.
        let source = cx.str("src_format")?;
        let spatial: Vec<i32> = (0..).zip(source.chars()).filter(|c| !matches!(c.1, 'N' | 'C')).map(|c| c.0).collect();
        let rank = |p: i32| spatial.iter().position(|&s| s == p).map(|i| i as i32);
        order = order.into_iter().filter_map(rank).collect();
    }
    if order.len() as i64 != entries {
        bail!("{ty} has no entry for each of {} axes", order.len());
    }
    let order = cx.b.constant(Tensor::of(&[order.len()], &order))?;
    let order = cx.b.cast(DType::I32, order)?;
    Ok(vec![cx.b.push(Gather { axis: 0, batch_dims: 0 }, &[x, order])?])
}
