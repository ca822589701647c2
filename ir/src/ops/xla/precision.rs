//! Numbers by their bits: XlaReducePrecision, XlaDequantize; and XlaBroadcastHelper.

use anyhow::{Context, Result, bail};

use super::dimensions::axes;
use crate::graph::Value;
use crate::ops::host::tf_ops;
use crate::ops::pointwise::Bitcast;
use crate::ops::shape::join::concat;
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim};

/// An unsigned type's constant with these bits.
fn word(b: &mut Builder, dtype: DType, bits: u64) -> Result<Value> {
    let t = Tensor::from_i64s(dtype, &[], &[bits as i64]).with_context(|| format!("{dtype} holds no bits"))?;
    b.constant(t)
}

/// The bits' type, and the numbers of exponent and mantissa bits.
fn layout(dtype: DType) -> Option<(DType, u32, u32)> {
    match dtype {
        DType::F16 => Some((DType::U16, 5, 10)),
        DType::BF16 => Some((DType::U16, 8, 7)),
        DType::F32 => Some((DType::U32, 8, 23)),
        DType::F64 => Some((DType::U64, 11, 52)),
        _ => None,
    }
}

/// Rounds to a mantissa of fewer bits, half to even; exponents that fewer bits do not hold become infinity or zero.
fn reduce_precision(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, dtype) = (cx.input(0)?, cx.ty(0)?.dtype);
    let (exponent, mantissa) = (cx.int("exponent_bits")?, cx.int("mantissa_bits")?);
    let Some((bits, full_exponent, full_mantissa)) = layout(dtype) else { bail!("{dtype} is no floating type") };
    if exponent < 1 || mantissa < 0 {
        bail!("{exponent} exponent bits and {mantissa} mantissa bits make no floating type");
    }
    let b = &mut *cx.b;
    let mut y = b.push(Bitcast { to: bits }, &[x])?;
    if mantissa < i64::from(full_mantissa) {
        let dropped = u64::from(full_mantissa) - mantissa as u64;
        // Half of the last kept bit, less one, plus the last kept bit: halves round to even.
        let (shift, one) = (word(b, bits, dropped)?, word(b, bits, 1)?);
        let last = b.binary(BinaryOp::Shr, y, shift)?;
        let last = b.binary(BinaryOp::BitAnd, last, one)?;
        let half = word(b, bits, (1 << (dropped - 1)) - 1)?;
        let up = b.binary(BinaryOp::Add, last, half)?;
        y = b.binary(BinaryOp::Add, y, up)?;
        let keep = word(b, bits, !((1u64 << dropped) - 1))?;
        y = b.binary(BinaryOp::BitAnd, y, keep)?;
    }
    if exponent < i64::from(full_exponent) {
        let (bias, small) = ((1u64 << (full_exponent - 1)) - 1, (1u64 << (exponent - 1)) - 1);
        let infinity = ((1u64 << full_exponent) - 1) << full_mantissa;
        let infinity = word(b, bits, infinity)?;
        let sign = word(b, bits, 1 << (full_exponent + full_mantissa))?;
        let (magnitude, sign) = (b.binary(BinaryOp::BitAnd, y, infinity)?, b.binary(BinaryOp::BitAnd, y, sign)?);
        let (largest, least) =
            (word(b, bits, (bias + small) << full_mantissa)?, word(b, bits, (bias - small) << full_mantissa)?);
        let above = b.compare(CompareOp::Gt, magnitude, largest)?;
        let below = b.compare(CompareOp::Le, magnitude, least)?;
        let infinity = b.binary(BinaryOp::BitOr, sign, infinity)?;
        y = b.select(above, infinity, y)?;
        y = b.select(below, sign, y)?;
    }
    let y = b.push(Bitcast { to: dtype }, &[y])?;
    let nan = b.unary(UnaryOp::IsNan, x)?;
    Ok(vec![b.select(nan, x, y)?])
}

/// Four bytes a word, the highest first, as bf16 in a range; every step is rounded to bf16.
fn dequantize(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let (low, high, mode) = (cx.float("min_range")?, cx.float("max_range")?, cx.str("mode")?);
    if mode != "MIN_COMBINED" || ty.dtype != DType::U32 || ty.rank() == 0 {
        bail!("mode {mode} of {ty} is not supported: XLA takes MIN_COMBINED of u32 with at least one axis");
    }
    let transposed = cx.bool("transpose_output")?;
    let b = &mut *cx.b;
    let last = ty.rank() - 1;
    let column = [&ty.shape[..], &[Dim::from(1)]].concat();
    let mut bytes = vec![];
    for shift in [24, 16, 8, 0] {
        let (shift, mask) = (word(b, DType::U32, shift)?, word(b, DType::U32, 255)?);
        let byte = b.binary(BinaryOp::Shr, x, shift)?;
        let byte = b.binary(BinaryOp::BitAnd, byte, mask)?;
        bytes.push(b.reshape(byte, &column)?);
    }
    let y = concat(b, &bytes, ty.rank())?;
    let mut shape = ty.shape.clone();
    shape[last] = shape[last].clone() * Dim::from(4);
    let y = b.reshape(y, &shape)?;
    let y = b.cast(DType::BF16, y)?;
    let (scale, low) =
        (b.scalar(DType::BF16, f64::from((high - low) / 255.0))?, b.scalar(DType::BF16, f64::from(low))?);
    let y = b.binary(BinaryOp::Mul, y, scale)?;
    let y = b.binary(BinaryOp::Add, y, low)?;
    let perm: Vec<usize> = if transposed { (0..=last).rev().collect() } else { (0..=last).collect() };
    Ok(vec![b.transpose(y, &perm)?])
}

/// The operand of lower rank gets axes of 1, so that its own stand where operand 2 says.
fn broadcast_helper(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y, places) = (cx.input(0)?, cx.input(1)?, cx.const_ints(2)?);
    let (rx, ry) = (cx.ty(0)?.rank(), cx.ty(1)?.rank());
    let (small, rank) = if rx < ry { (x, ry) } else { (y, rx) };
    let shape = cx.b.ty(small).shape.clone();
    if rx == ry || shape.is_empty() {
        return Ok(vec![x, y]);
    }
    let places = axes(&places, rank, "the broadcast axes")?;
    if places.len() != shape.len() || !places.is_sorted() {
        bail!("broadcast axes {places:?} of an operand of shape {shape:?} are not one for each of its axes, ascending");
    }
    let mut wide = vec![Dim::from(1); rank];
    places.into_iter().zip(shape).for_each(|(at, d)| wide[at] = d);
    let grown = cx.b.reshape(small, &wide)?;
    Ok(if rx < ry { vec![grown, y] } else { vec![x, grown] })
}

/// The import rules of this file.
pub const TF: &[TfBinding] = tf_ops! {
    "XlaReducePrecision" => reduce_precision, "XlaDequantize" => dequantize, "XlaBroadcastHelper" => broadcast_helper,
};
