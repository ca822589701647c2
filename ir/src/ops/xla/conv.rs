//! Convolutions with axes in any order: XlaConv, XlaConvV2.

use anyhow::{Context, Result, bail};

use super::dimensions::{ConvolutionDimensionNumbers, axes, inverse, message};
use super::dot::operands;
use crate::graph::Value;
use crate::lower::WindowDim;
use crate::ops::host::tf_ops;
use crate::ops::window::Conv;
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, Dim};

/// `[batch, spatial.., feature]` as axes of a tensor.
fn order(batch: i64, spatial: &[i64], feature: i64, rank: usize, what: &str) -> Result<Vec<usize>> {
    let all = [&[batch], spatial, &[feature]].concat();
    if all.len() != rank {
        bail!("{what} has {rank} axes for the dimension numbers {all:?}");
    }
    axes(&all, rank, what)
}

/// `count` parts of the batch become channels: the group of outputs `g` sees the part `g` of the batch only.
fn batch_to_channels(b: &mut Builder, x: Value, count: i64) -> Result<Value> {
    let shape = b.ty(x).shape.clone();
    let (last, groups) = (shape.len() - 1, Dim::from(count));
    let split = [&[groups.clone(), shape[0].floor_div(&groups)], &shape[1..]].concat();
    let x = b.reshape(x, &split)?;
    // [G, N / G, spatial.., C] to [N / G, spatial.., G, C].
    let perm: Vec<usize> = (1..=last).chain([0, last + 1]).collect();
    let x = b.transpose(x, &perm)?;
    let joined = [&split[1..=last], &[shape[last].clone() * groups]].concat();
    b.reshape(x, &joined)
}

fn conv(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let numbers: ConvolutionDimensionNumbers = message(cx, "dimension_numbers")?;
    let (tx, tw) = (cx.ty(0)?, cx.ty(1)?);
    let spatial = numbers.input_spatial.len();
    if !(1..=3).contains(&spatial) || numbers.kernel_spatial.len() != spatial || numbers.output_spatial.len() != spatial
    {
        bail!(
            "a convolution over {spatial} spatial axes ({numbers:?}) is not supported: rewrite it as ones over 1 to 3"
        );
    }
    let n = &numbers;
    let input = order(n.input_batch, &n.input_spatial, n.input_feature, tx.rank(), "the operand")?;
    let output = order(n.output_batch, &n.output_spatial, n.output_feature, tx.rank(), "the result")?;
    let kernel = [&n.kernel_spatial[..], &[n.kernel_input_feature, n.kernel_output_feature]].concat();
    if kernel.len() != tw.rank() {
        bail!("the filter {tw} does not have the axes {kernel:?}");
    }
    let kernel = axes(&kernel, tw.rank(), "the filter")?;
    let list = |cx: &TfCx<'_>, operand: usize, len: usize, what: &str| -> Result<Vec<i64>> {
        let v = cx.const_ints(operand)?;
        if v.len() == len { Ok(v) } else { bail!("{what} {v:?} are for {spatial} spatial axes") }
    };
    let (strides, padding) = (list(cx, 2, spatial, "strides")?, list(cx, 3, 2 * spatial, "paddings")?);
    let (base, dilation) = (list(cx, 4, spatial, "dilations")?, list(cx, 5, spatial, "dilations")?);
    let groups = *cx.const_ints(6)?.first().context("the number of groups is not given")?;
    let batch_groups = if cx.node.attrs.contains_key("batch_group_count") { cx.int("batch_group_count")? } else { 1 };
    if batch_groups < 1 || groups < 1 || (batch_groups > 1 && groups > 1) {
        bail!("{groups} feature groups with {batch_groups} batch groups");
    }

    let (x, w, result) = operands(cx)?;
    let b = &mut *cx.b;
    let (mut x, w) = (b.transpose(x, &input)?, b.transpose(w, &kernel)?);
    if b.ty(x).shape[0].as_const().is_some_and(|n| n % batch_groups != 0) {
        bail!("{batch_groups} batch groups do not divide the batch of {tx}");
    }
    if batch_groups > 1 {
        x = batch_to_channels(b, x, batch_groups)?;
    }
    let mut dims = vec![];
    for i in 0..spatial {
        let size =
            b.ty(w).shape[i].as_const().with_context(|| format!("the sizes of the filter {tw} must be known"))?;
        let (pad_low, pad_high) = (Dim::from(padding[2 * i]), Dim::from(padding[2 * i + 1]));
        dims.push(WindowDim {
            size,
            stride: strides[i],
            dilation: dilation[i],
            base_dilation: base[i],
            pad_low,
            pad_high,
        });
    }
    let op = Conv { groups: groups * batch_groups, dims };
    let y = b.push(op, &[x, w])?;
    let y = b.transpose(y, &inverse(&output))?;
    Ok(vec![b.cast(result, y)?])
}

/// The import rules of this file.
pub const TF: &[TfBinding] = tf_ops! { "XlaConv" => conv, "XlaConvV2" => conv };
