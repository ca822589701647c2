//! TensorFlow's ops on quantized numbers whose ranges are operands.

use anyhow::{Context, Result, bail};

use super::linear::Range;
use super::{grid, is_one};
use crate::graph::Value;
use crate::ops::host::tf_ops;
use crate::ops::quantize::{along, round_away};
use crate::ops::reduce::Reduce;
use crate::scalar::BinaryOp::{Add, Div, Max, Min, Mul, Sub};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tf::{TfAttr, TfBinding, TfCx, TfNode, normalize_axis};
use crate::{Builder, DType};

/// The range of operand `of`, whose ends are the operands `ends` and the one after it.
fn range(cx: &TfCx<'_>, of: usize, ends: usize) -> Result<Range> {
    for i in [ends, ends + 1] {
        let ty = cx.ty(i)?;
        if ty.dtype != DType::F32 || !is_one(&ty.shape) {
            bail!("operand {i} ends a range, which is one f32, not {ty}");
        }
    }
    Ok(Range { grid: grid(cx.ty(of)?.dtype)?, low: cx.input(ends)?, high: cx.input(ends + 1)? })
}

/// Imports another TensorFlow op on these values, with attributes of this node and further ones.
fn as_op(cx: &mut TfCx<'_>, op: &str, inputs: &[Value], attrs: &[(&str, TfAttr)]) -> Result<Value> {
    let mut node = TfNode { op: op.into(), ..cx.node.clone() };
    node.attrs.extend(attrs.iter().map(|(k, v)| (k.to_string(), v.clone())));
    let binding = crate::ops::by_tf(op).with_context(|| format!("`{op}` has no import rule"))?;
    let out = (binding.read)(&mut TfCx { b: cx.b, node: &node, inputs })?;
    out.first().copied().with_context(|| format!("`{op}` has no result"))
}

fn text(s: &str) -> TfAttr {
    TfAttr::Str(s.as_bytes().to_vec())
}

/// Numbers as i32 without the place of zero, so that products need no correction.
fn centred(b: &mut Builder, r: Range, x: Value) -> Result<Value> {
    let (wide, zero) = (b.cast(DType::I32, x)?, r.zero(b)?);
    b.binary(Sub, wide, zero)
}

/// Only sums of 32 bits are kernels of TensorFlow.
fn check_sum(cx: &TfCx<'_>, name: &str) -> Result<()> {
    match cx.dtype(name)? {
        DType::I32 => Ok(()),
        other => bail!("sums of type {other}, where TensorFlow has kernels for qint32 only"),
    }
}

/// The result of a product with the ends of its range.
fn product(b: &mut Builder, y: Value, x: Range, w: Range) -> Result<Vec<Value>> {
    let (from, by) = (x.level(b)?, w.level(b)?);
    let level = b.binary(Mul, from, by)?;
    let (low, high) = (b.binary_scalar(Mul, level, -2f64.powi(31))?, b.binary_scalar(Mul, level, 2f64.powi(31))?);
    Ok(vec![y, low, high])
}

/// Operands: x, y, and the ends of their ranges.
fn mul(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    check_sum(cx, "Toutput")?;
    let (x, y) = (range(cx, 0, 2)?, range(cx, 1, 4)?);
    let (xv, yv) = (cx.input(0)?, cx.input(1)?);
    let (xv, yv) = (centred(cx.b, x, xv)?, centred(cx.b, y, yv)?);
    let z = cx.b.binary(Mul, xv, yv)?;
    product(cx.b, z, x, y)
}

/// Operands: a, b, and the ends of their ranges.
fn mat_mul(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    check_sum(cx, "Toutput")?;
    let (x, y) = (range(cx, 0, 2)?, range(cx, 1, 4)?);
    let (xv, yv) = (cx.input(0)?, cx.input(1)?);
    let (xv, yv) = (centred(cx.b, x, xv)?, centred(cx.b, y, yv)?);
    let z = as_op(cx, "MatMul", &[xv, yv], &[])?;
    product(cx.b, z, x, y)
}

/// Operands: image, filter, and the ends of their ranges.
fn conv(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    check_sum(cx, "out_type")?;
    let (x, w) = (range(cx, 0, 2)?, range(cx, 1, 4)?);
    let (xv, wv) = (cx.input(0)?, cx.input(1)?);
    let (xv, wv) = (centred(cx.b, x, xv)?, centred(cx.b, w, wv)?);
    let extra = [("data_format", text("NHWC")), ("explicit_paddings", TfAttr::List(vec![]))];
    let y = as_op(cx, "Conv2D", &[xv, wv], &extra)?;
    product(cx.b, y, x, w)
}

/// Adds at most so many numbers of the operands' ranges without leaving the result's.
fn sum_range(b: &mut Builder, x: Range, y: Range, headroom: f64) -> Result<Range> {
    let mut largest = b.binary(Max, x.high, y.high)?;
    for low in [x.low, y.low] {
        let other = b.unary(UnaryOp::Neg, low)?;
        largest = b.binary(Max, largest, other)?;
    }
    let high = b.binary_scalar(Mul, largest, headroom)?;
    let low = b.unary(UnaryOp::Neg, high)?;
    Ok(Range { grid: grid(DType::I32)?, low, high })
}

/// Numbers of 8 bits in a range of 32: the place of 0, and a whole number of steps for each 1.
fn widened(b: &mut Builder, x: Range, to: Range, v: Value) -> Result<Value> {
    let mut place = |n: i64| {
        let n = b.scalar(x.grid.dtype, n as f64)?;
        let real = x.real(b, n)?;
        to.place(b, real)
    };
    let (zero, one) = (place(0)?, place(1)?);
    let step = b.binary(Sub, one, zero)?;
    let v = b.cast(DType::F64, v)?;
    let above = b.binary(Mul, v, step)?;
    let at = b.binary(Add, zero, above)?;
    to.grid.clamp(b, at)
}

/// Operands: x, y, and the ends of their ranges.
fn add(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    check_sum(cx, "Toutput")?;
    let (x, y) = (range(cx, 0, 2)?, range(cx, 1, 4)?);
    if x.grid.dtype != DType::U8 || y.grid.dtype != DType::U8 {
        bail!("a sum of {} and {}, where TensorFlow has kernels for quint8 only", x.grid.dtype, y.grid.dtype);
    }
    let (xv, yv) = (cx.input(0)?, cx.input(1)?);
    let b = &mut *cx.b;
    let to = sum_range(b, x, y, 16384.0)?;
    let mut parts = vec![];
    for (r, v) in [(x, xv), (y, yv)] {
        // A single number is placed by itself; of two single ones the first.
        let lone = is_one(&b.ty(v).shape) && (parts.is_empty() || !is_one(&b.ty(xv).shape));
        parts.push(if lone {
            let real = r.real(b, v)?;
            to.number(b, real)?
        } else {
            widened(b, r, to, v)?
        });
    }
    let z = b.binary(Add, parts[0], parts[1])?;
    Ok(vec![z, to.low, to.high])
}

/// Operands: x, bias, and the ends of their ranges.
fn bias_add(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    check_sum(cx, "out_type")?;
    let (x, bias) = (range(cx, 0, 2)?, range(cx, 1, 4)?);
    let (xv, bv) = (cx.input(0)?, cx.input(1)?);
    let b = &mut *cx.b;
    let to = sum_range(b, x, bias, 131072.0)?;
    let mut placed = |r: Range, v: Value| {
        let reals = r.reals(b, v)?;
        to.numbers(b, reals)
    };
    let (xv, bv) = (placed(x, xv)?, placed(bias, bv)?);
    let sum = b.binary(Add, xv, bv)?;
    // Both places count from the lowest; the place of zero takes one of them off.
    let zero = b.scalar(DType::F32, 0.0)?;
    let zero = to.number(b, zero)?;
    Ok(vec![b.binary(Add, sum, zero)?, to.low, to.high])
}

/// Operands: x and the ends of its range. No less than the number of zero, and with `most` no more than that of a real.
fn relu(cx: &mut TfCx<'_>, most: Option<f64>) -> Result<Vec<Value>> {
    let (x, r) = (cx.input(0)?, range(cx, 0, 1)?);
    if cx.dtype("out_type")? != r.grid.dtype {
        bail!("the result has another type than {}", r.grid.dtype);
    }
    let b = &mut *cx.b;
    let mut at = |real: f64| {
        let real = b.scalar(DType::F32, real)?;
        r.number(b, real)
    };
    let (zero, most) = (at(0.0)?, most.map(&mut at).transpose()?);
    let mut y = b.binary(Max, x, zero)?;
    if let Some(most) = most {
        y = b.binary(Min, y, most)?;
    }
    Ok(vec![y, r.low, r.high])
}

fn max_pool(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, r) = (cx.input(0)?, range(cx, 0, 1)?);
    let extra = [("data_format", text("NHWC")), ("explicit_paddings", TfAttr::List(vec![]))];
    let y = as_op(cx, "MaxPool", &[x], &extra)?;
    Ok(vec![y, r.low, r.high])
}

/// Means are cut to whole numbers.
fn avg_pool(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, r) = (cx.input(0)?, range(cx, 0, 1)?);
    let wide = cx.b.cast(DType::F64, x)?;
    let mean = as_op(cx, "AvgPool", &[wide], &[("data_format", text("NHWC"))])?;
    // A mean that is whole may come out slightly less; others are further below than this.
    let mean = cx.b.binary_scalar(Add, mean, 2f64.powi(-24))?;
    let mean = cx.b.unary(UnaryOp::Floor, mean)?;
    Ok(vec![cx.b.cast(r.grid.dtype, mean)?, r.low, r.high])
}

/// Operands: x, shape, and the ends of the range.
fn reshape(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (low, high) = (cx.input(2)?, cx.input(3)?);
    let inputs = [cx.input(0)?, cx.input(1)?];
    Ok(vec![as_op(cx, "Reshape", &inputs, &[])?, low, high])
}

/// Operands: axis, values.., low ends.., high ends...
fn concat(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let n = usize::try_from(cx.int("N")?)?;
    let axis = *cx.const_ints(0)?.first().context("the axis is empty")?;
    let axis = normalize_axis(axis, cx.ty(1)?.rank())?;
    let g = grid(cx.ty(1)?.dtype)?;
    let ends =
        |i: usize| Ok::<_, anyhow::Error>(Range { grid: g, low: cx.input(1 + n + i)?, high: cx.input(1 + 2 * n + i)? });
    let ranges = (0..n).map(ends).collect::<Result<Vec<_>>>()?;
    let values = cx.inputs[1..=n].to_vec();
    let b = &mut *cx.b;
    let (mut low, mut high) = (b.scalar(DType::F32, 0.0)?, ranges.first().context("nothing to join")?.high);
    for r in &ranges {
        low = b.binary(Min, low, r.low)?;
        high = b.binary(Max, high, r.high)?;
    }
    if g.dtype.is_signed() {
        // As many numbers on both sides of zero.
        let below = b.unary(UnaryOp::Neg, low)?;
        high = b.binary(Max, high, below)?;
        low = b.unary(UnaryOp::Neg, high)?;
    }
    let to = Range { grid: g, low, high };
    let mut parts = vec![];
    for (r, v) in ranges.iter().zip(values) {
        let reals = r.reals(b, v)?;
        let moved = to.numbers(b, reals)?;
        let (l, h) = (b.compare(CompareOp::Eq, r.low, low)?, b.compare(CompareOp::Eq, r.high, high)?);
        let same = b.binary(BinaryOp::And, l, h)?;
        parts.push(b.select(same, v, moved)?);
    }
    Ok(vec![crate::ops::shape::join::concat(b, &parts, axis)?, low, high])
}

/// The reals of the smallest (or zero) and of the largest of the numbers.
fn used(cx: &mut TfCx<'_>) -> Result<(Range, Value, Value)> {
    let (x, r) = (cx.input(0)?, range(cx, 0, 1)?);
    if r.grid.dtype != DType::I32 {
        bail!("numbers of type {}, where TensorFlow has kernels for qint32 only", r.grid.dtype);
    }
    let axes: Vec<usize> = (0..cx.ty(0)?.rank()).collect();
    let b = &mut *cx.b;
    let mut end = |op: ReduceOp| {
        let n = b.push(Reduce { op, axes: axes.clone(), keep_dims: false }, &[x])?;
        r.real(b, n)
    };
    let (low, high) = (end(ReduceOp::Min)?, end(ReduceOp::Max)?);
    Ok((r, b.binary_scalar(Min, low, 0.0)?, high))
}

/// i32 numbers of a range as u8 ones of another, in fixed point as TensorFlow computes it.
fn narrowed(cx: &mut TfCx<'_>, from: Range, low: Value, high: Value) -> Result<Vec<Value>> {
    let out = cx.dtype("out_type")?;
    if (from.grid.dtype, out) != (DType::I32, DType::U8) {
        bail!("{} to {out}, where TensorFlow has a kernel for qint32 to quint8 only", from.grid.dtype);
    }
    let x = cx.input(0)?;
    let b = &mut *cx.b;
    let to = Range { grid: grid(out)?, low, high };
    let (span, new) = (from.span(b)?, to.span(b)?);
    let (span64, new64) = (b.cast(DType::F64, span)?, b.cast(DType::F64, new)?);
    let zero = b.scalar(DType::F32, 0.0)?;
    let empty = b.compare(CompareOp::Eq, new, zero)?;
    let unless_empty = |b: &mut Builder, v: Value| {
        let zero = b.scalar(b.ty(v).dtype, 0.0)?;
        b.select(empty, zero, v)
    };
    let scale = b.binary_scalar(Mul, span64, 255.0 * 65536.0)?;
    let scale = b.binary(Div, scale, new64)?;
    let scale = unless_empty(b, scale)?;
    let scale = b.cast(DType::I64, scale)?;
    let all = b.scalar(DType::F64, 255.0)?;
    let per_unit = b.binary(Div, all, new64)?;
    let per_unit = b.cast(DType::F32, per_unit)?;
    let per_unit = unless_empty(b, per_unit)?;
    let middle = b.binary(Add, from.low, from.high)?;
    let middle = b.binary_scalar(Div, middle, 2.0)?;
    let offset = b.binary(Mul, middle, per_unit)?;
    let offset = b.binary_scalar(Mul, offset, 65536.0)?;
    let offset = b.cast(DType::I64, offset)?;
    let low64 = b.cast(DType::F64, low)?;
    let first = b.binary_scalar(Mul, low64, 255.0)?;
    let first = b.binary_scalar(Mul, first, 65536.0)?;
    let first = b.binary(Div, first, new64)?;
    let first = unless_empty(b, first)?;
    let first = b.cast(DType::I64, first)?;
    let wide = b.cast(DType::I64, x)?;
    let scaled = b.binary(Mul, wide, scale)?;
    let scaled = b.binary_scalar(BinaryOp::Shr, scaled, 32.0)?;
    let moved = b.binary(Sub, offset, first)?;
    let moved = b.binary_scalar(Add, moved, 32768.0)?;
    let y = b.binary(Add, scaled, moved)?;
    let y = b.binary_scalar(BinaryOp::Shr, y, 16.0)?;
    Ok(vec![to.grid.clamp(b, y)?, low, high])
}

/// Operands: x, the ends of its range, the ends of the new one.
fn requantize(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let from = range(cx, 0, 1)?;
    let (low, high) = (cx.input(3)?, cx.input(4)?);
    narrowed(cx, from, low, high)
}

fn shrink(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (from, low, high) = used(cx)?;
    narrowed(cx, from, low, high)
}

/// The ends of a range, of one or, along the attribute's axis, of several slices.
fn ends(cx: &mut TfCx<'_>) -> Result<[Value; 2]> {
    let rank = cx.ty(0)?.rank();
    let axis = match cx.int("axis")? {
        -1 => None,
        axis => Some(normalize_axis(axis, rank)?),
    };
    let ends = [cx.input(1)?, cx.input(2)?];
    let [low, high] = ends.map(|v| along(cx.b, v, axis, rank));
    Ok([low?, high?])
}

/// Operands: x and the ends of the range.
fn quantize(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, g) = (cx.input(0)?, grid(cx.dtype("T")?)?);
    let (mode, even) = (cx.str("mode")?, cx.str("round_mode")? == "HALF_TO_EVEN");
    if even && mode != "SCALED" {
        bail!("the round mode HALF_TO_EVEN goes with the mode SCALED only");
    }
    let narrow = cx.bool("narrow_range")?;
    let least = f64::from(cx.float("ensure_minimum_range")?);
    let shapes = [cx.ty(1)?.shape, cx.ty(2)?.shape];
    let [from, to] = ends(cx)?;
    let b = &mut *cx.b;
    // The range holds zero and is not too small.
    let low = b.binary_scalar(Min, from, 0.0)?;
    let (a, c) = (b.unary(UnaryOp::Abs, from)?, b.unary(UnaryOp::Abs, to)?);
    let largest = b.binary(Max, a, c)?;
    let largest = b.binary_scalar(Max, largest, 1.0)?;
    let epsilon = b.binary_scalar(Mul, largest, least)?;
    let high = b.binary(Add, low, epsilon)?;
    let high = b.binary(Max, to, high)?;
    let high = b.binary_scalar(Max, high, 0.0)?;
    let r = Range { grid: g, low, high };
    let (y, low, high) = match &mode[..] {
        "MIN_COMBINED" => {
            let span = r.span(b)?;
            let all = b.scalar(DType::F32, g.last_step())?;
            let scale = b.binary(Div, all, span)?;
            let v = b.binary(Min, x, high)?;
            let v = b.binary(Max, v, low)?;
            let v = b.binary(Sub, v, low)?;
            let v = b.binary(Mul, v, scale)?;
            let v = match g.dtype.is_signed() {
                true => {
                    let v = b.binary_scalar(Sub, v, -g.lowest as f64)?;
                    round_away(b, v)?
                }
                false => b.binary_scalar(Add, v, 0.5)?,
            };
            (b.cast(g.dtype, v)?, low, high)
        }
        "MIN_FIRST" => (r.numbers(b, x)?, low, high),
        "SCALED" => {
            let (first, last) = ((g.lowest + i64::from(narrow)) as f64, g.highest as f64);
            let most = b.scalar(DType::F32, f64::from(f32::MAX))?;
            let zero = b.scalar(DType::F32, 0.0)?;
            let side = |b: &mut Builder, end: f64, at: Value| {
                let product = b.binary_scalar(Mul, at, end)?;
                let same = b.compare(CompareOp::Gt, product, zero)?;
                let end = b.scalar(DType::F32, end)?;
                let scale = b.binary(Div, end, at)?;
                b.select(same, scale, most)
            };
            let (by_low, by_high) = (side(b, first, low)?, side(b, last, high)?);
            let scale = b.binary(Min, by_low, by_high)?;
            let (first, last) = (b.scalar(DType::F32, first)?, b.scalar(DType::F32, last)?);
            let (low, high) = (b.binary(Div, first, scale)?, b.binary(Div, last, scale)?);
            let v = b.binary(Min, x, high)?;
            let v = b.binary(Max, v, low)?;
            let v = b.binary(Mul, v, scale)?;
            let v = if even { b.unary(UnaryOp::Rint, v)? } else { round_away(b, v)? };
            (b.cast(g.dtype, v)?, low, high)
        }
        other => bail!("no mode `{other}`"),
    };
    let mut flat = |v: Value, shape: &[crate::Dim]| b.reshape(v, shape);
    Ok(vec![y, flat(low, &shapes[0])?, flat(high, &shapes[1])?])
}

/// Operands: x and the ends of the range.
fn dequantize(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, g) = (cx.input(0)?, grid(cx.ty(0)?.dtype)?);
    let narrow = cx.bool("narrow_range")?;
    let (mode, out) = (cx.str("mode")?, cx.dtype("dtype")?);
    let [low, high] = ends(cx)?;
    let b = &mut *cx.b;
    let r = Range { grid: g, low, high };
    let y = match &mode[..] {
        "MIN_COMBINED" => {
            let step = r.level(b)?;
            let v = b.cast(DType::F32, x)?;
            let v = b.binary_scalar(Add, v, if g.dtype.is_signed() { (g.last_step() + 1.0) / 2.0 } else { 0.0 })?;
            let v = b.binary(Mul, v, step)?;
            b.binary(Add, v, low)?
        }
        "MIN_FIRST" => r.reals(b, x)?,
        "SCALED" => {
            let by_high = b.binary_scalar(Div, high, g.highest as f64)?;
            let step = match g.dtype.is_signed() {
                true => {
                    let by_low = b.binary_scalar(Div, low, (g.lowest + i64::from(narrow)) as f64)?;
                    b.binary(Max, by_low, by_high)?
                }
                false => by_high,
            };
            let v = b.cast(DType::F32, x)?;
            b.binary(Mul, v, step)?
        }
        other => bail!("no mode `{other}`"),
    };
    Ok(vec![b.cast(out, y)?])
}

/// Import rules of the ops on ranges.
pub const TF: &[TfBinding] = tf_ops! {
    "QuantizeV2" => quantize, "Dequantize" => dequantize, "QuantizedMul" => mul, "QuantizedMatMul" => mat_mul,
    "QuantizedConv2D" => conv, "QuantizedAdd" => add, "QuantizedBiasAdd" => bias_add,
    "QuantizedRelu" => |cx| relu(cx, None), "QuantizedRelu6" => |cx| relu(cx, Some(6.0)),
    "QuantizedMaxPool" => max_pool, "QuantizedAvgPool" => avg_pool, "QuantizedReshape" => reshape,
    "QuantizedConcat" => concat, "Requantize" => requantize, "QuantizeDownAndShrinkRange" => shrink,
    "RequantizationRange" => |cx| { let (_, low, high) = used(cx)?; Ok(vec![low, high]) },
};
