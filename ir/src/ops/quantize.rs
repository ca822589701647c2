//! Numbers rounded to a grid of few bits and back: FakeQuantWithMinMax*, QuantizeAndDequantize*.
//!
//! The derivative of rounding is zero, so TensorFlow gives these ops that of the clamp before it. `straight_through` says so:
//! its value is operand 0, its gradient goes to operand 1.

use std::sync::Arc;

use anyhow::{Result, bail};

use crate::attr::Attrs;
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::ops::reduce::Reduce;
use crate::ops::shape::{StopGradient, arity, cotangent, pure_op, splat, unbroadcast};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, DType, Dim};

/// `straight_through value, like`: the value, differentiated as if it were `like`.
#[derive(Debug, Clone, PartialEq)]
pub struct StraightThrough;

impl Op for StraightThrough {
    pure_op!("straight_through");
    fn attrs(&self) -> Attrs {
        Attrs::none()
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [value, like] = arity("straight_through", given)?;
        if value.dtype != like.dtype || value.rank() != like.rank() {
            return Err(OpError::new("straight_through", "C2", format!("{value} stands for {like}")));
        }
        Ok(vec![value.clone()])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![x[0].clone()])
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![x[0].1.cloned()]
    }
    fn vjp(&self, _: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Ok(vec![None, cotangent(&args)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Expand(|_, _, operands| match operands {
            &[value, _] => Ok(vec![value]),
            _ => bail!("straight_through takes two operands"),
        })
    }
}

/// x rounded half away from zero.
pub(super) fn round_away(b: &mut Builder, x: Value) -> Result<Value> {
    let whole = b.unary(UnaryOp::Trunc, x)?;
    let rest = b.binary(BinaryOp::Sub, x, whole)?;
    let far = b.unary(UnaryOp::Abs, rest)?;
    let half = b.scalar(b.ty(x).dtype, 0.5)?;
    let up = b.compare(CompareOp::Ge, far, half)?;
    let sign = b.unary(UnaryOp::Sign, x)?;
    let next = b.binary(BinaryOp::Add, whole, sign)?;
    b.select(up, next, whole)
}

/// The range moved so that zero is a point of the grid: low end, high end, step.
fn nudge(b: &mut Builder, low: Value, high: Value, first: f64, last: f64) -> Result<[Value; 3]> {
    let dtype = b.ty(low).dtype;
    let (first, last) = (b.scalar(dtype, first)?, b.scalar(dtype, last)?);
    let span = b.binary(BinaryOp::Sub, high, low)?;
    let points = b.binary(BinaryOp::Sub, last, first)?;
    let step = b.binary(BinaryOp::Div, span, points)?;
    let offset = b.binary(BinaryOp::Div, low, step)?;
    let zero = b.binary(BinaryOp::Sub, first, offset)?;
    let rounded = round_away(b, zero)?;
    let below = b.compare(CompareOp::Lt, zero, first)?;
    let above = b.compare(CompareOp::Gt, zero, last)?;
    let zero = b.select(above, last, rounded)?;
    let zero = b.select(below, first, zero)?;
    let mut end = |to: Value| {
        let d = b.binary(BinaryOp::Sub, to, zero)?;
        b.binary(BinaryOp::Mul, d, step)
    };
    Ok([end(first)?, end(last)?, step])
}

/// The first and last point of a fake-quantized grid.
fn grid(cx: &TfCx<'_>) -> Result<(f64, f64)> {
    let bits = cx.int("num_bits")?;
    if !(2..=16).contains(&bits) {
        bail!("{bits} bits are not between 2 and 16");
    }
    Ok((if cx.bool("narrow_range")? { 1.0 } else { 0.0 }, ((1i64 << bits) - 1) as f64))
}

/// x clamped, as it is differentiated: with respect to the ends too.
fn clamp_like(b: &mut Builder, x: Value, ends: [Value; 2], nudged: [Value; 2]) -> Result<Value> {
    let below = b.compare(CompareOp::Lt, x, nudged[0])?;
    let above = b.compare(CompareOp::Gt, x, nudged[1])?;
    let y = b.select(above, ends[1], x)?;
    b.select(below, ends[0], y)
}

/// The ends of the range: attributes or operands `i` and `i + 1`.
fn ends(cx: &mut TfCx<'_>, operand: Option<usize>) -> Result<[Value; 2]> {
    match operand {
        Some(i) => Ok([cx.input(i)?, cx.input(i + 1)?]),
        None => {
            let (low, high) = (cx.float("min")?, cx.float("max")?);
            if low >= high {
                bail!("the range from {low} to {high} is empty");
            }
            Ok([cx.b.scalar(DType::F32, f64::from(low))?, cx.b.scalar(DType::F32, f64::from(high))?])
        }
    }
}

fn fake_quant(cx: &mut TfCx<'_>, operand: Option<usize>) -> Result<Vec<Value>> {
    let (first, last) = grid(cx)?;
    let x = cx.input(0)?;
    let [low, high] = ends(cx, operand)?;
    let b = &mut *cx.b;
    let [from, to, step] = nudge(b, low, high, first, last)?;
    let one = b.scalar(DType::F32, 1.0)?;
    let inverse = b.binary(BinaryOp::Div, one, step)?;
    let clamped = b.binary(BinaryOp::Min, x, to)?;
    let clamped = b.binary(BinaryOp::Max, clamped, from)?;
    let shifted = b.binary(BinaryOp::Sub, clamped, from)?;
    let scaled = b.binary(BinaryOp::Mul, shifted, inverse)?;
    let half = b.binary_scalar(BinaryOp::Add, scaled, 0.5)?;
    let whole = b.unary(UnaryOp::Floor, half)?;
    let back = b.binary(BinaryOp::Mul, whole, step)?;
    let mut y = b.binary(BinaryOp::Add, back, from)?;
    if operand.is_some() {
        // Variables that were never set hold an empty range.
        let zero = b.scalar(DType::F32, 0.0)?;
        let (l, h) = (b.compare(CompareOp::Eq, low, zero)?, b.compare(CompareOp::Eq, high, zero)?);
        let unset = b.binary(BinaryOp::And, l, h)?;
        y = b.select(unset, zero, y)?;
    }
    let like = clamp_like(b, x, [low, high], [from, to])?;
    Ok(vec![b.push(StraightThrough, &[y, like])?])
}

/// Operands: cotangent, x and (`operand`) the ends. Results: the cotangents of x and of the ends.
fn fake_quant_gradient(cx: &mut TfCx<'_>, operand: Option<usize>) -> Result<Vec<Value>> {
    let (first, last) = grid(cx)?;
    let (g, x) = (cx.input(0)?, cx.input(1)?);
    let [low, high] = ends(cx, operand)?;
    let b = &mut *cx.b;
    let [from, to, _] = nudge(b, low, high, first, last)?;
    let ends = operand.map(|_| b.ty(low).shape.clone());
    gradient_of_clamp(b, g, x, [from, to], ends)
}

/// The cotangents of x and, summed to the shape of the ends, of what stands below and above of the range.
fn gradient_of_clamp(
    b: &mut Builder,
    g: Value,
    x: Value,
    range: [Value; 2],
    ends: Option<Vec<Dim>>,
) -> Result<Vec<Value>> {
    let zero = b.scalar(b.ty(g).dtype, 0.0)?;
    let below = b.compare(CompareOp::Lt, x, range[0])?;
    let above = b.compare(CompareOp::Gt, x, range[1])?;
    let outside = b.binary(BinaryOp::Or, below, above)?;
    let mut all = vec![b.select(outside, zero, g)?];
    if let Some(shape) = ends {
        for side in [below, above] {
            let part = b.select(side, g, zero)?;
            all.push(unbroadcast_to(b, part, &shape)?);
        }
    }
    Ok(all)
}

/// The sum over all axes but those of a shape that broadcasts.
fn unbroadcast_to(b: &mut Builder, x: Value, shape: &[Dim]) -> Result<Value> {
    if shape.is_empty() {
        let axes = (0..b.ty(x).rank()).collect();
        return b.push(Reduce { op: ReduceOp::Sum, axes, keep_dims: false }, &[x]);
    }
    unbroadcast(b, x, shape)
}

/// A vector as it broadcasts along axis `axis` of `rank`.
pub(super) fn along(b: &mut Builder, v: Value, axis: Option<usize>, rank: usize) -> Result<Value> {
    let Some(axis) = axis else { return Ok(v) };
    let [n] = &b.ty(v).shape[..] else { bail!("{} is no vector of ranges", b.ty(v)) };
    let mut shape = vec![Dim::from(1); rank];
    shape[axis] = n.clone();
    b.reshape(v, &shape)
}

fn axis_of(cx: &TfCx<'_>, rank: usize) -> Result<Option<usize>> {
    match cx.node.attrs.contains_key("axis") {
        false => Ok(None),
        true => match cx.int("axis")? {
            -1 => Ok(None),
            axis => Ok(Some(normalize_axis(axis, rank)?)),
        },
    }
}

/// Operands: x, the range's ends, and with `bits` the number of bits.
fn quantize_and_dequantize(cx: &mut TfCx<'_>, bits: bool, clamped: bool) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let axis = axis_of(cx, ty.rank())?;
    let bits = match bits {
        true => match cx.const_ints(3)?[..] {
            [n] => n,
            ref other => bail!("one number of bits is taken, not {other:?}"),
        },
        false => cx.int("num_bits")?,
    };
    let signed = cx.bool("signed_input")?;
    if !(i64::from(signed) + 1..=62).contains(&bits) {
        bail!("{bits} bits are out of range");
    }
    let narrow = cx.bool("narrow_range")?;
    let given = cx.bool("range_given")?;
    let half_up = cx.node.attrs.contains_key("round_mode") && cx.str("round_mode")? == "HALF_UP";
    let (first, last) = match signed {
        true => (-(1i64 << (bits - 1)) + i64::from(narrow), (1i64 << (bits - 1)) - 1),
        false => (0, (1i64 << bits) - 1),
    };
    let ends = [cx.input(1)?, cx.input(2)?];
    let b = &mut *cx.b;
    let [low, high] = match given {
        true => [along(b, ends[0], axis, ty.rank())?, along(b, ends[1], axis, ty.rank())?],
        false => {
            let axes: Vec<usize> = (0..ty.rank()).filter(|&a| Some(a) != axis).collect();
            let mut extreme = |op| b.push(Reduce { op, axes: axes.clone(), keep_dims: axis.is_some() }, &[x]);
            [extreme(ReduceOp::Min)?, extreme(ReduceOp::Max)?]
        }
    };
    // Of the two sides the one that needs the coarser grid decides.
    let largest = match ty.dtype {
        DType::F16 => half::f16::MAX.to_f64(),
        DType::BF16 => half::bf16::MAX.to_f64(),
        DType::F32 => f64::from(f32::MAX),
        _ => f64::MAX,
    };
    let (zero, most) = (b.scalar(ty.dtype, 0.0)?, b.scalar(ty.dtype, largest)?);
    let (first, last) = (b.scalar(ty.dtype, first as f64)?, b.scalar(ty.dtype, last as f64)?);
    let mut side = |points: Value, end: Value| -> Result<Value> {
        let product = b.binary(BinaryOp::Mul, points, end)?;
        let same = b.compare(CompareOp::Gt, product, zero)?;
        let scale = b.binary(BinaryOp::Div, points, end)?;
        b.select(same, scale, most)
    };
    let (from_low, from_high) = (side(first, low)?, side(last, high)?);
    let by_low = b.compare(CompareOp::Lt, from_low, from_high)?;
    let scale = b.select(by_low, from_low, from_high)?;
    let (low_step, high_step) = (b.binary(BinaryOp::Div, low, first)?, b.binary(BinaryOp::Div, high, last)?);
    let step = b.select(by_low, low_step, high_step)?;
    let (grid_low, grid_high) = (b.binary(BinaryOp::Mul, first, step)?, b.binary(BinaryOp::Mul, last, step)?);
    let mut v = x;
    if given {
        let range_low = b.select(by_low, low, grid_low)?;
        let range_high = b.select(by_low, grid_high, high)?;
        v = b.binary(BinaryOp::Min, v, range_high)?;
        v = b.binary(BinaryOp::Max, v, range_low)?;
    }
    let scaled = b.binary(BinaryOp::Mul, v, scale)?;
    let whole = match half_up {
        true => {
            let half = b.binary_scalar(BinaryOp::Add, scaled, 0.5)?;
            b.unary(UnaryOp::Floor, half)?
        }
        false => b.unary(UnaryOp::Rint, scaled)?,
    };
    let y = b.binary(BinaryOp::Mul, whole, step)?;
    let like = match clamped {
        true => {
            // TensorFlow gives the ends no gradient.
            let mut end = |v| -> Result<Value> {
                let v = along(b, v, axis, ty.rank())?;
                b.push(StopGradient { forbid: false }, &[v])
            };
            let ends = [end(ends[0])?, end(ends[1])?];
            clamp_like(b, x, ends, ends)?
        }
        false => x,
    };
    Ok(vec![b.push(StraightThrough, &[y, like])?])
}

/// Operands: cotangent, x, the range's ends, whose cotangents are 0 as in TensorFlow.
fn quantize_gradient(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (g, x, low, high) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    let rank = cx.ty(1)?.rank();
    let axis = axis_of(cx, rank)?;
    let b = &mut *cx.b;
    let range = [along(b, low, axis, rank)?, along(b, high, axis, rank)?];
    let mut all = gradient_of_clamp(b, g, x, range, None)?;
    for end in [low, high] {
        let ty = b.ty(end).clone();
        all.push(splat(b, ty.dtype, 0.0, &ty.shape)?);
    }
    Ok(all)
}

/// The op of this file.
pub const OPS: &[OpDef] = &[OpDef {
    name: "straight_through",
    parse: |_| Ok(Arc::new(StraightThrough)),
    tf: &[
        TfBinding { op: "FakeQuantWithMinMaxArgs", read: |cx| fake_quant(cx, None) },
        TfBinding { op: "FakeQuantWithMinMaxVars", read: |cx| fake_quant(cx, Some(1)) },
        TfBinding { op: "FakeQuantWithMinMaxVarsPerChannel", read: |cx| fake_quant(cx, Some(1)) },
        TfBinding { op: "FakeQuantWithMinMaxArgsGradient", read: |cx| fake_quant_gradient(cx, None) },
        TfBinding { op: "FakeQuantWithMinMaxVarsGradient", read: |cx| fake_quant_gradient(cx, Some(2)) },
        TfBinding { op: "FakeQuantWithMinMaxVarsPerChannelGradient", read: |cx| fake_quant_gradient(cx, Some(2)) },
        TfBinding { op: "QuantizeAndDequantizeV2", read: |cx| quantize_and_dequantize(cx, false, false) },
        TfBinding { op: "QuantizeAndDequantizeV3", read: |cx| quantize_and_dequantize(cx, true, false) },
        TfBinding { op: "QuantizeAndDequantizeV4", read: |cx| quantize_and_dequantize(cx, false, true) },
        TfBinding { op: "QuantizeAndDequantizeV4Grad", read: quantize_gradient },
    ],
}];
