//! UniformQuantizedConvolution and its hybrid form, which quantizes its first operand itself.
//!
//! Without their zero points numbers are convolved as i32; padding then is zeros.

use anyhow::{Context, Result, bail};

use super::uniform::{Scale, by_rows, centred, clamp, ratio, scale, scaled};
use crate::graph::Value;
use crate::ops::host::tf_ops;
use crate::ops::strings::raw::{Wire, fields, read_varint};
use crate::ops::window::{Conv, Padding, spread};
use crate::scalar::BinaryOp::{Add, Mul};
use crate::tf::{TfAttr, TfBinding, TfCx};
use crate::{Builder, DType};

/// Where an operand's axes are: batch (or output features of a filter), features, space.
#[derive(Debug)]
struct Axes {
    first: usize,
    features: usize,
    space: Vec<usize>,
}

impl Axes {
    /// First, features, space.
    fn first_features_space(rank: usize) -> Axes {
        Axes { first: 0, features: 1, space: (2..rank).collect() }
    }

    fn check(&self, rank: usize) -> Result<()> {
        let mut all = [&[self.first, self.features], &self.space[..]].concat();
        all.sort_unstable();
        if all != (0..rank).collect::<Vec<_>>() {
            bail!("{self:?} are not the {rank} axes");
        }
        Ok(())
    }

    /// The places of batch, space, features.
    fn channels_last(&self) -> Vec<usize> {
        [&[self.first], &self.space[..], &[self.features]].concat()
    }
}

/// The axes of the operand, the filter and the result, from a message of dimension numbers; without one batch (output
/// features) and features come first.
fn axes(cx: &TfCx<'_>, rank: usize) -> Result<[Axes; 3]> {
    let Some(TfAttr::Str(message)) = cx.node.attrs.get("dimension_numbers") else { bail!("no dimension numbers") };
    if message.is_empty() {
        return Ok([0; 3].map(|_| Axes::first_features_space(rank)));
    }
    let mut numbers = [0; 10];
    let mut spaces = [vec![], vec![], vec![]];
    let broken = || "the dimension numbers are no UniformQuantizedConvolutionDimensionNumbersAttr".to_string();
    for (field, value) in fields(message).with_context(broken)? {
        let field = usize::try_from(field)?;
        match (field, value) {
            (1 | 2 | 4 | 5 | 7 | 8, Wire::Number(n)) => numbers[field] = usize::try_from(n)?,
            (3 | 6 | 9, Wire::Number(n)) => spaces[field / 3 - 1].push(usize::try_from(n)?),
            (3 | 6 | 9, Wire::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    spaces[field / 3 - 1].push(usize::try_from(read_varint(&mut packed).with_context(broken)?)?);
                }
            }
            _ => bail!(broken()),
        }
    }
    let [input, kernel, output] = spaces;
    let all = [
        Axes { first: numbers[1], features: numbers[2], space: input },
        Axes { first: numbers[5], features: numbers[4], space: kernel },
        Axes { first: numbers[7], features: numbers[8], space: output },
    ];
    all.iter().try_for_each(|a| a.check(rank))?;
    Ok(all)
}

/// A list with an entry for each spatial axis, all 1 where it is empty.
fn spatial(cx: &TfCx<'_>, name: &str, n: usize) -> Result<Vec<i64>> {
    let list = cx.ints(name)?;
    match list.len() {
        0 => Ok(vec![1; n]),
        len if len == n && list.iter().all(|&v| (1..=1 << 30).contains(&v)) => Ok(list),
        _ => bail!("`{name}` {list:?} is not {n} positive numbers"),
    }
}

/// The convolution of i32 with channels last: `[N, space.., C]` by `[space.., C / groups, O]`.
fn convolve(cx: &mut TfCx<'_>, x: Value, w: Value) -> Result<Value> {
    let (xt, wt) = (cx.b.ty(x).clone(), cx.b.ty(w).clone());
    let n = xt.rank() - 2;
    if cx.int("batch_group_count")? != 1 {
        bail!("{} groups of the batch; only groups of features are supported", cx.int("batch_group_count")?);
    }
    let (strides, base) = (spatial(cx, "window_strides", n)?, spatial(cx, "lhs_dilation", n)?);
    let dilations = spatial(cx, "rhs_dilation", n)?;
    let padding = match &cx.str("padding")?[..] {
        "VALID" => Padding::Valid,
        "SAME" => Padding::Same,
        "EXPLICIT" => {
            let pads = cx.ints("explicit_padding")?;
            if pads.len() != 2 * n || pads.iter().any(|p| !(0..=1 << 30).contains(p)) {
                bail!("`explicit_padding` {pads:?} is not {n} pairs");
            }
            Padding::Explicit(pads.chunks_exact(2).map(|p| (p[0], p[1])).collect())
        }
        other => bail!("the padding {other} is not supported"),
    };
    let mut dims = vec![];
    for i in 0..n {
        let size =
            wt.shape[i].as_const().filter(|&s| s > 0).with_context(|| format!("the window of the filter {wt}"))?;
        let extent = spread(&xt.shape[i + 1], base[i]);
        let mut window = padding.window(i, size, strides[i], dilations[i], &extent);
        window.base_dilation = base[i];
        dims.push(window);
    }
    cx.b.push(Conv { groups: cx.int("feature_group_count")?, dims }, &[x, w])
}

/// The operand and the filter with channels last, and the axes.
fn operands(cx: &mut TfCx<'_>) -> Result<(Value, Value, [Axes; 3])> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let rank = cx.ty(0)?.rank();
    if rank < 3 || cx.ty(1)?.rank() != rank {
        bail!("a convolution of {} by {}", cx.ty(0)?, cx.ty(1)?);
    }
    let axes = axes(cx, rank)?;
    let x = cx.b.transpose(x, &axes[0].channels_last())?;
    let w = cx.b.transpose(w, &filter_last(&axes[1]))?;
    Ok((x, w, axes))
}

/// Space, input features, output features.
fn filter_last(a: &Axes) -> Vec<usize> {
    [&a.space[..], &[a.features, a.first]].concat()
}

/// The result in the axes that the node says.
fn leave(b: &mut Builder, y: Value, a: &Axes) -> Result<Value> {
    let from = a.channels_last();
    let perm: Vec<usize> = (0..from.len()).map(|axis| from.iter().position(|&f| f == axis).unwrap_or(axis)).collect();
    b.transpose(y, &perm)
}

/// A scale moved with the axes of its tensor, and as it broadcasts over a result with channels last.
fn moved(b: &mut Builder, s: Scale, perm: &[usize]) -> Result<Scale> {
    let mut one = |v: Value| if b.ty(v).rank() == 0 { Ok(v) } else { b.transpose(v, perm) };
    Ok(Scale { scale: one(s.scale)?, zero: one(s.zero)? })
}

/// A scale along the filter's output features as one along the result's last axis, which it broadcasts over as it is.
fn trailing(b: &mut Builder, v: Value) -> Result<Value> {
    let shape = b.ty(v).shape.clone();
    match shape.last() {
        Some(n) => b.reshape(v, std::slice::from_ref(n)),
        None => Ok(v),
    }
}

/// Operands: lhs, rhs, and scale and zero point of both and of the result.
fn convolution(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, w, axes) = operands(cx)?;
    let (rank, dtype) = (cx.ty(0)?.rank(), cx.dtype("Tout")?);
    let xs = scale(cx, 2, "lhs_quantization_axis", rank)?;
    let ws = scale(cx, 4, "rhs_quantization_axis", rank)?;
    let to = scale(cx, 6, "output_quantization_axis", rank)?;
    let ws = moved(cx.b, ws, &filter_last(&axes[1]))?;
    let to = moved(cx.b, to, &axes[2].channels_last())?;
    let (x, w) = (centred(cx.b, x, xs.zero)?, centred(cx.b, w, ws.zero)?);
    let sum = convolve(cx, x, w)?;
    let b = &mut *cx.b;
    let by = trailing(b, ws.scale)?;
    let by = ratio(b, &[xs.scale, by], to.scale)?;
    let y = scaled(b, sum, by)?;
    let y = b.binary(Add, y, to.zero)?;
    let y = leave(b, y, &axes[2])?;
    Ok(vec![clamp(cx, y, "output_", dtype)?])
}

/// Operands: lhs of f32, rhs, its scale and zero point.
fn hybrid(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, w, axes) = operands(cx)?;
    let rank = cx.ty(0)?.rank();
    let ws = scale(cx, 2, "rhs_quantization_axis", rank)?;
    let ws = moved(cx.b, ws, &filter_last(&axes[1]))?;
    let (step, x) = by_rows(cx.b, x)?;
    let w = centred(cx.b, w, ws.zero)?;
    let sum = convolve(cx, x, w)?;
    let b = &mut *cx.b;
    let sum = b.cast(DType::F32, sum)?;
    let y = b.binary(Mul, sum, step)?;
    let by = trailing(b, ws.scale)?;
    let y = b.binary(Mul, y, by)?;
    Ok(vec![leave(b, y, &axes[2])?])
}

/// Import rules of the convolutions.
pub const TF: &[TfBinding] = tf_ops! {
    "UniformQuantizedConvolution" => convolution, "UniformQuantizedConvolutionHybrid" => hybrid,
};
