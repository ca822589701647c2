//! TensorFlow's UniformQuantized ops: a number `q` stands for `(q - zero point) * scale`, for a whole tensor or slice by
//! slice along an axis.

use anyhow::{Context, Result, bail};

use super::FixedPoint;
use crate::graph::Value;
use crate::ops::contract::Contract;
use crate::ops::host::tf_ops;
use crate::ops::quantize::along;
use crate::ops::reduce::Reduce;
use crate::scalar::BinaryOp::{Add, Div, Max, Min, Mul, Sub};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, DType};

/// A scale (f32) and a zero point (i32), as they broadcast over a tensor.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub scale: Value,
    pub zero: Value,
}

/// The scale in operand `i` and the zero point in the next, for a tensor of `rank` axes; the attribute `axis` says along
/// which of them.
pub(super) fn scale(cx: &mut TfCx<'_>, i: usize, axis: &str, rank: usize) -> Result<Scale> {
    let axis = match cx.int(axis)? {
        -1 => None,
        axis => Some(normalize_axis(axis, rank)?),
    };
    let (scale, zero) = (cx.input(i)?, cx.input(i + 1)?);
    let wanted = usize::from(axis.is_some());
    for v in [scale, zero] {
        if cx.b.ty(v).rank() != wanted {
            bail!("{} is no scale or zero point for a tensor, or for slices along axis {axis:?}", cx.b.ty(v));
        }
    }
    Ok(Scale { scale: along(cx.b, scale, axis, rank)?, zero: along(cx.b, zero, axis, rank)? })
}

/// i32 (or a type below) between the node's limits, in a type.
pub(super) fn clamp(cx: &mut TfCx<'_>, x: Value, limits: &str, to: DType) -> Result<Value> {
    let at = |end: &str| cx.int(&format!("{limits}quantization_{end}_val"));
    let (low, high) = (at("min")? as f64, at("max")? as f64);
    let b = &mut *cx.b;
    let x = b.binary_scalar(Min, x, high)?;
    let x = b.binary_scalar(Max, x, low)?;
    b.cast(to, x)
}

/// Numbers of f32, rounded half up, before they are clamped: i32.
fn placed(b: &mut Builder, x: Value, s: Scale) -> Result<Value> {
    let one = b.scalar(DType::F32, 1.0)?;
    let inverse = b.binary(Div, one, s.scale)?;
    let scaled = b.binary(Mul, x, inverse)?;
    let half = b.binary_scalar(Add, scaled, 0.5)?;
    let whole = b.unary(UnaryOp::Floor, half)?;
    let whole = b.cast(DType::I32, whole)?;
    b.binary(Add, whole, s.zero)
}

/// Numbers without their zero point: i32.
pub(super) fn centred(b: &mut Builder, x: Value, zero: Value) -> Result<Value> {
    let wide = b.cast(DType::I32, x)?;
    b.binary(Sub, wide, zero)
}

/// i32 times a scale (f64) in fixed point, rounded half up; i32.
pub(super) fn scaled(b: &mut Builder, x: Value, by: Value) -> Result<Value> {
    let parts = b.push_all(FixedPoint {}, &[by])?;
    let [factor, shift] = parts[..] else { bail!("a fixed-point number has two parts") };
    let wide = b.cast(DType::I64, x)?;
    let product = b.binary(Mul, wide, factor)?;
    let one = b.scalar(DType::I64, 1.0)?;
    let below = b.binary(Sub, shift, one)?;
    let half = b.binary(BinaryOp::Shl, one, below)?;
    let rounded = b.binary(Add, product, half)?;
    let y = b.binary(BinaryOp::Shr, rounded, shift)?;
    let y = b.binary_scalar(Max, y, f64::from(i32::MIN))?;
    let y = b.binary_scalar(Min, y, f64::from(i32::MAX))?;
    b.cast(DType::I32, y)
}

/// The product of scales by another, in f64.
pub(super) fn ratio(b: &mut Builder, of: &[Value], by: Value) -> Result<Value> {
    let mut product = b.cast(DType::F64, *of.first().context("no scale")?)?;
    for &v in &of[1..] {
        let v = b.cast(DType::F64, v)?;
        product = b.binary(Mul, product, v)?;
    }
    let by = b.cast(DType::F64, by)?;
    b.binary(Div, product, by)
}

/// Operands: x, scale, zero point.
fn quantize(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, rank, to) = (cx.input(0)?, cx.ty(0)?.rank(), cx.dtype("Tout")?);
    let s = scale(cx, 1, "quantization_axis", rank)?;
    let y = placed(cx.b, x, s)?;
    Ok(vec![clamp(cx, y, "", to)?])
}

/// Operands: x, scale, zero point.
fn dequantize(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, rank, to) = (cx.input(0)?, cx.ty(0)?.rank(), cx.dtype("Tout")?);
    let s = scale(cx, 1, "quantization_axis", rank)?;
    let b = &mut *cx.b;
    let q = centred(b, x, s.zero)?;
    let q = b.cast(DType::F32, q)?;
    let y = b.binary(Mul, q, s.scale)?;
    Ok(vec![b.cast(to, y)?])
}

/// Numbers of one scale as i32 ones of another, with its zero point.
fn moved(b: &mut Builder, x: Value, from: Scale, to: Scale) -> Result<Value> {
    let q = centred(b, x, from.zero)?;
    let by = ratio(b, &[from.scale], to.scale)?;
    let y = scaled(b, q, by)?;
    b.binary(Add, y, to.zero)
}

/// Operands: x, and scale and zero point of the operand and of the result.
fn requantize(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, rank, dtype) = (cx.input(0)?, cx.ty(0)?.rank(), cx.dtype("Tout")?);
    let from = scale(cx, 1, "input_quantization_axis", rank)?;
    let to = scale(cx, 3, "output_quantization_axis", rank)?;
    let y = moved(cx.b, x, from, to)?;
    Ok(vec![clamp(cx, y, "output_", dtype)?])
}

/// Operands: lhs, rhs, and scale and zero point of both and of the result.
fn add(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y, dtype) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?.dtype);
    let ranks = [cx.ty(0)?.rank(), cx.ty(1)?.rank()];
    let rank = ranks[0].max(ranks[1]);
    // An axis counts in the operand's own shape, which broadcasts at the end.
    let (a, c) = (scale(cx, 2, "lhs_quantization_axis", ranks[0])?, scale(cx, 4, "rhs_quantization_axis", ranks[1])?);
    let to = scale(cx, 6, "output_quantization_axis", rank)?;
    let b = &mut *cx.b;
    // Each is brought to the result's scale and zero point; one of the two zero points is taken off.
    let (x, y) = (moved(b, x, a, to)?, moved(b, y, c, to)?);
    let sum = b.binary(Add, x, y)?;
    let sum = b.binary(Sub, sum, to.zero)?;
    Ok(vec![clamp(cx, sum, "output_", dtype)?])
}

/// Operands: x, min, max, which are numbers too, scale and zero point, which do not matter.
fn clip(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let rank = cx.ty(0)?.rank();
    let axis = match cx.int("quantization_axis")? {
        -1 => None,
        axis => Some(normalize_axis(axis, rank)?),
    };
    let (x, ends) = (cx.input(0)?, [cx.input(1)?, cx.input(2)?]);
    let [low, high] = ends.map(|v| along(cx.b, v, axis, rank));
    let y = cx.b.binary(Max, x, low?)?;
    Ok(vec![cx.b.binary(Min, y, high?)?])
}

/// A product of matrices of i32.
fn dot_of(b: &mut Builder, x: Value, y: Value) -> Result<Value> {
    b.push(Contract::new("mk", "kn", "mn"), &[x, y])
}

/// Operands: lhs, rhs, and scale and zero point of both and of the result.
fn dot(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y, dtype) = (cx.input(0)?, cx.input(1)?, cx.dtype("Tout")?);
    let (a, c) = (scale(cx, 2, "lhs_quantization_axis", 2)?, scale(cx, 4, "rhs_quantization_axis", 2)?);
    let to = scale(cx, 6, "output_quantization_axis", 2)?;
    let b = &mut *cx.b;
    let (x, y) = (centred(b, x, a.zero)?, centred(b, y, c.zero)?);
    let sum = dot_of(b, x, y)?;
    let by = ratio(b, &[a.scale, c.scale], to.scale)?;
    let z = scaled(b, sum, by)?;
    let z = b.binary(Add, z, to.zero)?;
    Ok(vec![clamp(cx, z, "output_", dtype)?])
}

/// The scale and zero point by which f32 rows fill i8, each on its own, and the numbers without their zero points, i32.
///
/// The range holds zero, which is a number of its own: of the two ends the one that places it more exactly decides.
pub(super) fn by_rows(b: &mut Builder, x: Value) -> Result<(Value, Value)> {
    let axes: Vec<usize> = (1..b.ty(x).rank()).collect();
    let mut end = |op: ReduceOp, bound: BinaryOp| {
        let v = b.push(Reduce { op, axes: axes.clone(), keep_dims: true }, &[x])?;
        let v = b.binary_scalar(bound, v, 0.0)?;
        b.cast(DType::F64, v)
    };
    let (low, high) = (end(ReduceOp::Min, Min)?, end(ReduceOp::Max, Max)?);
    let (first, last) = (-128.0, 127.0);
    let span = b.binary(Sub, high, low)?;
    let step = b.binary_scalar(Div, span, last - first)?;
    let from = |b: &mut Builder, at: f64, end: Value| {
        let steps = b.binary(Div, end, step)?;
        let size = b.unary(UnaryOp::Abs, steps)?;
        let error = b.binary_scalar(Add, size, at.abs())?;
        let at = b.scalar(DType::F64, at)?;
        Ok::<_, anyhow::Error>((b.binary(Sub, at, steps)?, error))
    };
    let ((by_low, low_error), (by_high, high_error)) = (from(b, first, low)?, from(b, last, high)?);
    let better = b.compare(CompareOp::Lt, low_error, high_error)?;
    let place = b.select(better, by_low, by_high)?;
    let place = crate::ops::quantize::round_away(b, place)?;
    let place = b.binary_scalar(Max, place, first)?;
    let place = b.binary_scalar(Min, place, last)?;
    // A row of zeros has scale 1 and zero point 0.
    let nothing = b.scalar(DType::F64, 0.0)?;
    let flat = b.compare(CompareOp::Eq, span, nothing)?;
    let one = b.scalar(DType::F64, 1.0)?;
    let (place, step) = (b.select(flat, nothing, place)?, b.select(flat, one, step)?);
    let (zero, scale) = (b.cast(DType::I32, place)?, b.cast(DType::F32, step)?);
    let q = placed(b, x, Scale { scale, zero })?;
    let q = b.binary_scalar(Min, q, last)?;
    let q = b.binary_scalar(Max, q, first)?;
    Ok((scale, b.binary(Sub, q, zero)?))
}

/// Operands: lhs of f32, rhs, its scale and zero point.
fn dot_hybrid(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y) = (cx.input(0)?, cx.input(1)?);
    if cx.ty(0)?.rank() != 2 {
        bail!("{} is no matrix", cx.ty(0)?);
    }
    let c = scale(cx, 2, "rhs_quantization_axis", 2)?;
    let b = &mut *cx.b;
    let (step, x) = by_rows(b, x)?;
    let y = centred(b, y, c.zero)?;
    let sum = dot_of(b, x, y)?;
    let sum = b.cast(DType::F32, sum)?;
    let z = b.binary(Mul, sum, step)?;
    Ok(vec![b.binary(Mul, z, c.scale)?])
}

/// Import rules of the uniform ops.
pub const TF: &[TfBinding] = tf_ops! {
    "UniformQuantize" => quantize, "UniformDequantize" => dequantize, "UniformRequantize" => requantize,
    "UniformQuantizedAdd" => add, "UniformQuantizedClipByValue" => clip, "UniformQuantizedDot" => dot,
    "UniformQuantizedDotHybrid" => dot_hybrid,
};
