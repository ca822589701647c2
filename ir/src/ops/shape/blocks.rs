//! TensorFlow ops that trade spatial extent for batch or depth: reshapes around one transposition.

use anyhow::{Result, bail};

use super::pad::tf_paddings;
use super::slice::{slice, zero_pad};
use super::{Slice, always_negative};
use crate::graph::Value;
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, Dim};

/// Reshapes to `split`, transposes, reshapes to `joined`.
fn shuffle(b: &mut Builder, x: Value, split: &[Dim], perm: &[usize], joined: &[Dim]) -> Result<Value> {
    let x = b.reshape(x, split)?;
    let x = b.transpose(x, perm)?;
    b.reshape(x, joined)
}

/// extent / block, where that has no remainder.
fn divide(extent: &Dim, block: i64) -> Result<Dim> {
    let block = Dim::from(block);
    if extent.floor_mod(&block).as_const().is_some_and(|rest| rest != 0) {
        bail!("an extent of {extent} is not a multiple of {block}");
    }
    Ok(extent.floor_div(&block))
}

fn block_product(blocks: &[i64]) -> Result<Dim> {
    if let Some(bad) = blocks.iter().find(|&&n| n < 1) {
        bail!("a block of {bad} elements");
    }
    Ok(blocks.iter().fold(Dim::from(1), |p, &n| p * Dim::from(n)))
}

/// `[n, m1, .., rest]` to `[b1 .. n, m1 / b1, .., rest]` after padding the axes `m`.
fn space_to_batch(cx: &mut TfCx<'_>, blocks: &[i64], paddings: usize) -> Result<Vec<Value>> {
    let (x, ty, m) = (cx.input(0)?, cx.ty(0)?, blocks.len());
    if ty.rank() <= m {
        bail!("{ty} has no {m} spatial axes after the batch");
    }
    let count = block_product(blocks)?;
    let (low, high) = tf_paddings(cx, paddings, m)?;
    let around = |d: &[Dim]| {
        let mut all = vec![Dim::from(0); ty.rank()];
        all[1..=m].clone_from_slice(d);
        all
    };
    let x = zero_pad(cx.b, x, around(&low), around(&high))?;
    let shape = cx.b.ty(x).shape.clone();
    let (mut split, mut joined) = (vec![shape[0].clone()], vec![shape[0].clone() * count]);
    for (d, &n) in shape[1..=m].iter().zip(blocks) {
        let outer = divide(d, n)?;
        split.extend([outer.clone(), Dim::from(n)]);
        joined.push(outer);
    }
    split.extend_from_slice(&shape[m + 1..]);
    joined.extend_from_slice(&shape[m + 1..]);
    // Blocks first, then the batch, then what is left of the spatial axes, then the rest.
    let perm: Vec<usize> =
        (0..m).map(|i| 2 + 2 * i).chain([0]).chain((0..m).map(|i| 1 + 2 * i)).chain(2 * m + 1..split.len()).collect();
    Ok(vec![shuffle(cx.b, x, &split, &perm, &joined)?])
}

/// The inverse of [`space_to_batch`], with crops in place of paddings.
fn batch_to_space(cx: &mut TfCx<'_>, blocks: &[i64], crops: usize) -> Result<Vec<Value>> {
    let (x, ty, m) = (cx.input(0)?, cx.ty(0)?, blocks.len());
    if ty.rank() <= m {
        bail!("{ty} has no {m} spatial axes after the batch");
    }
    let count = block_product(blocks)?;
    let Some(count) = count.as_const() else { bail!("blocks of {blocks:?}") };
    let batch = divide(&ty.shape[0], count)?;
    let (low, high) = tf_paddings(cx, crops, m)?;
    let mut split: Vec<Dim> = blocks.iter().map(|&n| Dim::from(n)).collect();
    split.push(batch.clone());
    split.extend_from_slice(&ty.shape[1..]);
    let mut joined = vec![batch];
    joined.extend(ty.shape[1..=m].iter().zip(blocks).map(|(d, &n)| d.clone() * Dim::from(n)));
    joined.extend_from_slice(&ty.shape[m + 1..]);
    let perm: Vec<usize> =
        [m].into_iter().chain((0..m).flat_map(|i| [m + 1 + i, i])).chain(2 * m + 1..split.len()).collect();
    let x = shuffle(cx.b, x, &split, &perm, &joined)?;
    let (mut start, mut size) = (vec![Dim::from(0); joined.len()], joined.clone());
    for i in 0..m {
        start[i + 1] = low[i].clone();
        size[i + 1] = joined[i + 1].clone() - low[i].clone() - high[i].clone();
        if always_negative(&size[i + 1]) {
            bail!("crops {low:?} and {high:?} leave nothing of {joined:?}");
        }
    }
    Ok(vec![slice(cx.b, x, Slice::dense(start, size))?])
}

/// Axis of the channels and the two spatial axes of a data format.
fn axes_of_format(cx: &TfCx<'_>) -> Result<(usize, [usize; 2])> {
    match cx.str("data_format")?.as_str() {
        "NHWC" => Ok((3, [1, 2])),
        "NCHW" => Ok((1, [2, 3])),
        other => bail!("data format {other} is not supported: NHWC and NCHW are"),
    }
}

/// Blocks of `n x n` pixels become channels, the block's row and column above the old channel.
fn tf_space_to_depth(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, n) = (cx.input(0)?, cx.ty(0)?, cx.int("block_size")?);
    let (channel, [h, w]) = axes_of_format(cx)?;
    if ty.rank() != 4 || n < 2 {
        bail!("blocks of {n} x {n} of {ty}: takes rank 4 and a block of at least 2");
    }
    let d = &ty.shape;
    let (height, width, depth) =
        (divide(&d[h], n)?, divide(&d[w], n)?, d[channel].clone() * Dim::from(n) * Dim::from(n));
    let (n, c) = (Dim::from(n), d[channel].clone());
    let (split, perm, joined) = if channel == 3 {
        let split = [d[0].clone(), height.clone(), n.clone(), width.clone(), n, c];
        (split, [0, 1, 3, 2, 4, 5], [d[0].clone(), height, width, depth])
    } else {
        let split = [d[0].clone(), c, height.clone(), n.clone(), width.clone(), n];
        (split, [0, 3, 5, 1, 2, 4], [d[0].clone(), depth, height, width])
    };
    Ok(vec![shuffle(cx.b, x, &split, &perm, &joined)?])
}

/// The inverse of SpaceToDepth.
fn tf_depth_to_space(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, n) = (cx.input(0)?, cx.ty(0)?, cx.int("block_size")?);
    let (channel, [h, w]) = axes_of_format(cx)?;
    if ty.rank() != 4 || n < 2 {
        bail!("blocks of {n} x {n} of {ty}: takes rank 4 and a block of at least 2");
    }
    let d = &ty.shape;
    let c = divide(&d[channel], n.saturating_mul(n))?;
    let n = Dim::from(n);
    let (height, width) = (d[h].clone() * n.clone(), d[w].clone() * n.clone());
    let (split, perm, joined) = if channel == 3 {
        let split = [d[0].clone(), d[1].clone(), d[2].clone(), n.clone(), n, c.clone()];
        (split, [0, 1, 3, 2, 4, 5], [d[0].clone(), height, width, c])
    } else {
        let split = [d[0].clone(), n.clone(), n, c.clone(), d[2].clone(), d[3].clone()];
        (split, [0, 3, 4, 1, 5, 2], [d[0].clone(), c, height, width])
    };
    Ok(vec![shuffle(cx.b, x, &split, &perm, &joined)?])
}

/// The TensorFlow ops of this file.
pub const TF: &[TfBinding] = &[
    TfBinding {
        op: "SpaceToBatchND",
        read: |cx| {
            let blocks = cx.const_ints(1)?;
            space_to_batch(cx, &blocks, 2)
        },
    },
    TfBinding {
        op: "BatchToSpaceND",
        read: |cx| {
            let blocks = cx.const_ints(1)?;
            batch_to_space(cx, &blocks, 2)
        },
    },
    TfBinding {
        op: "SpaceToBatch",
        read: |cx| {
            let n = cx.int("block_size")?;
            space_to_batch(cx, &[n, n], 1)
        },
    },
    TfBinding {
        op: "BatchToSpace",
        read: |cx| {
            let n = cx.int("block_size")?;
            batch_to_space(cx, &[n, n], 1)
        },
    },
    TfBinding { op: "SpaceToDepth", read: tf_space_to_depth },
    TfBinding { op: "DepthToSpace", read: tf_depth_to_space },
];
