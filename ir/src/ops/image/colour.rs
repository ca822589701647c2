//! Colours: RGB and HSV, contrast, hue, saturation. Elementwise compositions over the last axis, which holds three channels.

use anyhow::{Result, bail};

use crate::graph::Value;
use crate::ops::reduce::Reduce;
use crate::ops::shape::Slice;
use crate::ops::shape::join::concat;
use crate::ops::shape::slice::slice;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim};

/// The three channels of a value, each with a last axis of 1.
fn channels(b: &mut Builder, x: Value) -> Result<[Value; 3]> {
    let shape = b.ty(x).shape.clone();
    if !shape.last().is_some_and(|d| crate::ops::shape::may_equal(d, &Dim::from(3))) {
        bail!("{} has no last axis of three channels", b.ty(x));
    }
    let axis = shape.len() - 1;
    let mut one = |i: i64| slice(b, x, Slice::along(&shape, axis, Dim::from(i), Dim::from(1)));
    Ok([one(0)?, one(1)?, one(2)?])
}

fn joined(b: &mut Builder, parts: [Value; 3]) -> Result<Value> {
    let axis = b.ty(parts[0]).rank() - 1;
    concat(b, &parts, axis)
}

/// Hue (in turns), saturation and value.
fn to_hsv(b: &mut Builder, rgb: [Value; 3]) -> Result<[Value; 3]> {
    let [r, g, bl] = rgb;
    let dtype = b.ty(r).dtype;
    let zero = b.scalar(dtype, 0.0)?;
    let high = b.binary(BinaryOp::Max, r, g)?;
    let value = b.binary(BinaryOp::Max, high, bl)?;
    let low = b.binary(BinaryOp::Min, r, g)?;
    let low = b.binary(BinaryOp::Min, low, bl)?;
    let range = b.binary(BinaryOp::Sub, value, low)?;
    let quotient = b.binary(BinaryOp::Div, range, value)?;
    let lit = b.compare(CompareOp::Gt, value, zero)?;
    let saturation = b.select(lit, quotient, zero)?;
    // A sixth of a turn for each step between primaries.
    let one = b.scalar(dtype, 1.0)?;
    let sixth = b.binary_scalar(BinaryOp::Mul, range, 6.0)?;
    let norm = b.binary(BinaryOp::Div, one, sixth)?;
    let between = |b: &mut Builder, from: Value, to: Value, start: f64| -> Result<Value> {
        let d = b.binary(BinaryOp::Sub, from, to)?;
        let d = b.binary(BinaryOp::Mul, norm, d)?;
        if start == 0.0 { Ok(d) } else { b.binary_scalar(BinaryOp::Add, d, start) }
    };
    let (from_r, from_g, from_b) =
        (between(b, g, bl, 0.0)?, between(b, bl, r, 2.0 / 6.0)?, between(b, r, g, 4.0 / 6.0)?);
    let (is_r, is_g) = (b.compare(CompareOp::Eq, r, value)?, b.compare(CompareOp::Eq, g, value)?);
    let hue = b.select(is_g, from_g, from_b)?;
    let hue = b.select(is_r, from_r, hue)?;
    let coloured = b.compare(CompareOp::Gt, range, zero)?;
    let hue = b.select(coloured, hue, zero)?;
    let negative = b.compare(CompareOp::Lt, hue, zero)?;
    let turned = b.binary_scalar(BinaryOp::Add, hue, 1.0)?;
    Ok([b.select(negative, turned, hue)?, saturation, value])
}

/// value * (1 - saturation + saturation * ramp(hue)) for each channel.
fn to_rgb(b: &mut Builder, hsv: [Value; 3]) -> Result<[Value; 3]> {
    let [h, s, v] = hsv;
    let dtype = b.ty(h).dtype;
    let (zero, one) = (b.scalar(dtype, 0.0)?, b.scalar(dtype, 1.0)?);
    let h6 = b.binary_scalar(BinaryOp::Mul, h, 6.0)?;
    let rest = b.binary(BinaryOp::Sub, one, s)?;
    let mut channel = |centre: f64, sign: f64, shift: f64| -> Result<Value> {
        let d = b.binary_scalar(BinaryOp::Sub, h6, centre)?;
        let d = b.unary(UnaryOp::Abs, d)?;
        let d = b.binary_scalar(BinaryOp::Mul, d, sign)?;
        let d = b.binary_scalar(BinaryOp::Add, d, shift)?;
        let d = b.binary(BinaryOp::Max, d, zero)?;
        let d = b.binary(BinaryOp::Min, d, one)?;
        let d = b.binary(BinaryOp::Mul, s, d)?;
        let d = b.binary(BinaryOp::Add, rest, d)?;
        b.binary(BinaryOp::Mul, d, v)
    };
    Ok([channel(3.0, 1.0, -1.0)?, channel(2.0, -1.0, 2.0)?, channel(4.0, -1.0, 2.0)?])
}

fn convert(cx: &mut TfCx<'_>, with: fn(&mut Builder, [Value; 3]) -> Result<[Value; 3]>) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    let parts = channels(cx.b, x)?;
    let parts = with(cx.b, parts)?;
    Ok(vec![joined(cx.b, parts)?])
}

/// Operands: RGB images, one number. Narrow floats are computed in f32.
fn adjust(cx: &mut TfCx<'_>, change: fn(&mut Builder, [Value; 3], Value) -> Result<[Value; 3]>) -> Result<Vec<Value>> {
    let (x, by, ty) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?);
    let b = &mut *cx.b;
    let x = b.cast(DType::F32, x)?;
    let rgb = channels(b, x)?;
    let hsv = to_hsv(b, rgb)?;
    let hsv = change(b, hsv, by)?;
    let rgb = to_rgb(b, hsv)?;
    let y = joined(b, rgb)?;
    Ok(vec![b.cast(ty.dtype, y)?])
}

/// The hue moved by a number of turns.
fn hue(b: &mut Builder, [h, s, v]: [Value; 3], by: Value) -> Result<[Value; 3]> {
    let h = b.binary(BinaryOp::Add, h, by)?;
    let whole = b.unary(UnaryOp::Floor, h)?;
    Ok([b.binary(BinaryOp::Sub, h, whole)?, s, v])
}

/// The saturation scaled, at most 1.
fn saturation(b: &mut Builder, [h, s, v]: [Value; 3], by: Value) -> Result<[Value; 3]> {
    let (zero, one) = (b.scalar(DType::F32, 0.0)?, b.scalar(DType::F32, 1.0)?);
    let s = b.binary(BinaryOp::Mul, s, by)?;
    let s = b.binary(BinaryOp::Max, s, zero)?;
    Ok([h, b.binary(BinaryOp::Min, s, one)?, v])
}

/// Operands: images, a factor: each channel's distance from its mean over the image is scaled.
fn contrast(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, factor, ty) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?);
    let Some(rows) = ty.rank().checked_sub(3) else { bail!("{ty} is no image of three axes") };
    let b = &mut *cx.b;
    let x = b.cast(DType::F32, x)?;
    let sum = b.push(Reduce { op: ReduceOp::Sum, axes: vec![rows, rows + 1], keep_dims: true }, &[x])?;
    let count = crate::ops::shape::dim_value(b, &(ty.shape[rows].clone() * ty.shape[rows + 1].clone()), DType::I64)?;
    let count = b.cast(DType::F32, count)?;
    let mean = b.binary(BinaryOp::Div, sum, count)?;
    let distance = b.binary(BinaryOp::Sub, x, mean)?;
    let scaled = b.binary(BinaryOp::Mul, distance, factor)?;
    let y = b.binary(BinaryOp::Add, scaled, mean)?;
    Ok(vec![b.cast(ty.dtype, y)?])
}

/// The TensorFlow ops of this file.
pub const TF: &[TfBinding] = &[
    TfBinding { op: "RGBToHSV", read: |cx| convert(cx, to_hsv) },
    TfBinding { op: "HSVToRGB", read: |cx| convert(cx, to_rgb) },
    TfBinding { op: "AdjustHue", read: |cx| adjust(cx, hue) },
    TfBinding { op: "AdjustSaturation", read: |cx| adjust(cx, saturation) },
    TfBinding { op: "AdjustContrastv2", read: contrast },
];
