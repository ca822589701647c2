//! Tensors cut into blocks of one shape and put together again: XlaSplitND, XlaConcatND.

use anyhow::{Result, bail};

use super::pad::{Edge, pad};
use crate::graph::Value;
use crate::ops::host::tf_ops;
use crate::ops::shape::join::concat;
use crate::ops::shape::slice::slice;
use crate::ops::shape::{Slice, advance};
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, Dim};

/// How an axis is cut.
#[derive(Clone, Debug)]
struct Cut {
    parts: usize,
    padding: Dim,
}

/// The cuts of `rank` axes; no paddings at all stand for none.
fn cuts(rank: usize, parts: &[i64], paddings: &[i64]) -> Result<Vec<Cut>> {
    let sane = parts.len() == rank && parts.iter().all(|n| (1..=1 << 20).contains(n));
    if !sane || !(paddings.is_empty() || paddings.len() == rank) || paddings.iter().any(|&p| p < 0) {
        bail!("blocks of {parts:?} parts with paddings {paddings:?} for {rank} axes");
    }
    let padding = |i: usize| Dim::from(paddings.get(i).copied().unwrap_or(0));
    Ok((0..rank).map(|i| Cut { parts: parts[i] as usize, padding: padding(i) }).collect())
}

/// `x`, padded with zeros at the end of its axes, in `count` blocks, the last axis first.
///
/// # Errors
/// If the parts do not divide the padded axes, or are not `count`.
pub fn split(b: &mut Builder, x: Value, count: i64, parts: &[i64], paddings: &[i64]) -> Result<Vec<Value>> {
    let ty = b.ty(x).clone();
    let cuts = cuts(ty.rank(), parts, paddings)?;
    if parts.iter().fold(1, |n: i64, &p| n.saturating_mul(p)) != count {
        bail!("{parts:?} parts are not {count} blocks");
    }
    let zero = b.scalar(ty.dtype, 0.0)?;
    let edges: Vec<Edge> = cuts.iter().map(|c| Edge { high: c.padding.clone(), ..Edge::none() }).collect();
    let x = pad(b, x, zero, &edges)?;
    let mut size = vec![];
    for (axis, (c, d)) in cuts.iter().zip(&b.ty(x).shape).enumerate() {
        if d.as_const().is_some_and(|d| d % c.parts as i64 != 0) {
            bail!("axis {axis} of {ty} with padding {} is not divisible by {}", c.padding, c.parts);
        }
        size.push(d.floor_div(&Dim::from(c.parts)));
    }
    let (mut blocks, mut at) = (vec![], vec![0usize; cuts.len()]);
    loop {
        let start = at.iter().zip(&size).map(|(&i, n)| Dim::from(i) * n.clone()).collect();
        blocks.push(slice(b, x, Slice::dense(start, size.clone()))?);
        if !advance(&mut at, |axis| cuts[axis].parts) {
            return Ok(blocks);
        }
    }
}

/// Blocks of one shape put together, the last axis first, without the paddings at the end of the axes.
///
/// # Errors
/// If the blocks are not as many as the parts, or are no longer than the paddings.
pub fn join(b: &mut Builder, blocks: &[Value], parts: &[i64], paddings: &[i64]) -> Result<Value> {
    let Some(&first) = blocks.first() else { bail!("there are no blocks") };
    let ty = b.ty(first).clone();
    let cuts = cuts(ty.rank(), parts, paddings)?;
    if cuts.iter().fold(1usize, |n, c| n.saturating_mul(c.parts)) != blocks.len() {
        bail!("{parts:?} parts are not {} blocks", blocks.len());
    }
    if let Some(&v) = blocks.iter().find(|&&v| b.ty(v) != &ty) {
        bail!("blocks of types {ty} and {}", b.ty(v));
    }
    let mut left = blocks.to_vec();
    for (axis, c) in cuts.iter().enumerate().rev() {
        left = left.chunks(c.parts).map(|row| concat(b, row, axis)).collect::<Result<_>>()?;
    }
    let zero = b.scalar(ty.dtype, 0.0)?;
    let edges: Vec<Edge> =
        cuts.iter().map(|c| Edge { high: Dim::from(0) - c.padding.clone(), ..Edge::none() }).collect();
    pad(b, left[0], zero, &edges)
}

fn split_nd(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, count, parts, paddings) = (cx.input(0)?, cx.int("N")?, cx.ints("num_splits")?, cx.ints("paddings")?);
    split(cx.b, x, count, &parts, &paddings)
}

fn concat_nd(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (parts, paddings) = (cx.ints("num_concats")?, cx.ints("paddings")?);
    let inputs = cx.inputs;
    Ok(vec![join(cx.b, inputs, &parts, &paddings)?])
}

/// The import rules of this file.
pub const TF: &[TfBinding] = tf_ops! { "XlaSplitND" => split_nd, "XlaConcatND" => concat_nd };
