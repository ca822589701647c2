//! Images sampled at computed places: CropAndResize and ImageProjectiveTransform.
//!
//! Each result pixel has a place in the operand, in f32; what lies outside gives a fill value. The operand is read by
//! `gather_nd`, so gradients with respect to images follow.

use anyhow::{Result, bail};

use super::{lerp, ramp};
use crate::graph::Value;
use crate::ops::gather::GatherNd;
use crate::ops::shape::join::concat;
use crate::ops::shape::slice::slice;
use crate::ops::shape::{Slice, dim_value};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim};

/// Column `i` of a matrix, as `[rows, 1, 1]`.
fn column(b: &mut Builder, x: Value, i: i64) -> Result<Value> {
    let shape = b.ty(x).shape.clone();
    let part = slice(b, x, Slice::along(&shape, 1, Dim::from(i), Dim::from(1)))?;
    b.reshape(part, &[shape[0].clone(), Dim::from(1), Dim::from(1)])
}

/// An extent as f32.
fn float(b: &mut Builder, d: &Dim) -> Result<Value> {
    match d.as_const() {
        Some(n) => b.scalar(DType::F32, n as f64),
        None => {
            let n = dim_value(b, d, DType::I64)?;
            b.cast(DType::F32, n)
        }
    }
}

/// The larger of 0 and the smaller of x and `last`; NaN, which no comparison places, becomes 0.
fn clamp(b: &mut Builder, x: Value, last: Value) -> Result<Value> {
    let zero = b.scalar(DType::F32, 0.0)?;
    let x = b.binary(BinaryOp::Min, x, last)?;
    let above = b.compare(CompareOp::Gt, x, zero)?;
    b.select(above, x, zero)
}

/// Pixels `[n, h, w, c]` at the places: `image` `[n, 1, 1]` i32 and `y`, `x` f32 whole numbers that broadcast to `grid`.
fn pixels(b: &mut Builder, images: Value, image: Value, y: Value, x: Value, grid: &[Dim]) -> Result<Value> {
    let shape = b.ty(images).shape.clone();
    let mut parts = vec![];
    for (v, extent) in [(image, None), (y, Some(&shape[1])), (x, Some(&shape[2]))] {
        let v = match extent {
            None => v,
            Some(d) => {
                let last = float(b, &(d.clone() - Dim::from(1)))?;
                let v = clamp(b, v, last)?;
                b.cast(DType::I32, v)?
            }
        };
        let v = b.broadcast(v, grid)?;
        parts.push(b.reshape(v, &[grid, &[Dim::from(1)]].concat())?);
    }
    let places = concat(b, &parts, grid.len())?;
    b.push(GatherNd, &[images, places])
}

/// A value over a grid, as it broadcasts against the pixels of that grid.
fn over_channels(b: &mut Builder, v: Value) -> Result<Value> {
    let shape = [&b.ty(v).shape[..], &[Dim::from(1)]].concat();
    b.reshape(v, &shape)
}

/// x rounded half away from zero.
fn round(b: &mut Builder, x: Value) -> Result<Value> {
    let whole = b.unary(UnaryOp::Trunc, x)?;
    let rest = b.binary(BinaryOp::Sub, x, whole)?;
    let far = b.unary(UnaryOp::Abs, rest)?;
    let half = b.scalar(DType::F32, 0.5)?;
    let up = b.compare(CompareOp::Ge, far, half)?;
    let sign = b.unary(UnaryOp::Sign, x)?;
    let next = b.binary(BinaryOp::Add, whole, sign)?;
    b.select(up, next, whole)
}

/// Places along an axis of crops: `[n, crop, 1]` for rows, `[n, 1, crop]` for columns.
fn crop_places(b: &mut Builder, from: Value, to: Value, extent: &Dim, crop: &Dim, axis: usize) -> Result<Value> {
    let last = float(b, &(extent.clone() - Dim::from(1)))?;
    if crop.is(1) {
        let sum = b.binary(BinaryOp::Add, from, to)?;
        let half = b.binary_scalar(BinaryOp::Mul, sum, 0.5)?;
        return b.binary(BinaryOp::Mul, half, last);
    }
    let span = b.binary(BinaryOp::Sub, to, from)?;
    let span = b.binary(BinaryOp::Mul, span, last)?;
    let steps = float(b, &(crop.clone() - Dim::from(1)))?;
    let scale = b.binary(BinaryOp::Div, span, steps)?;
    let i = ramp(b, crop, axis, 3, DType::I32)?;
    let i = b.cast(DType::F32, i)?;
    let offset = b.binary(BinaryOp::Mul, i, scale)?;
    let start = b.binary(BinaryOp::Mul, from, last)?;
    b.binary(BinaryOp::Add, start, offset)
}

/// Operands: images, boxes `[n, 4]` (y1, x1, y2, x2 in units of the image), the image of each box, the crops' extents.
fn crop_and_resize(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (images, boxes, image) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (ty, bt) = (cx.ty(0)?, cx.ty(1)?);
    let sizes = cx.dims_input(3)?;
    let ([_, height, width, _], [n, four], [crop_height, crop_width]) = (&ty.shape[..], &bt.shape[..], &sizes[..])
    else {
        bail!("{ty} with boxes {bt} cannot be cropped to {sizes:?}")
    };
    if !crate::ops::shape::may_equal(four, &Dim::from(4)) || cx.ty(2)?.rank() != 1 {
        bail!("boxes {bt} of images {} are no boxes", cx.ty(2)?);
    }
    let method = cx.str("method")?;
    let outside = f64::from(cx.float("extrapolation_value")?);
    let b = &mut *cx.b;
    let images = b.cast(DType::F32, images)?;
    let image = b.reshape(image, &[n.clone(), Dim::from(1), Dim::from(1)])?;
    let (y1, x1, y2, x2) = (column(b, boxes, 0)?, column(b, boxes, 1)?, column(b, boxes, 2)?, column(b, boxes, 3)?);
    let y = crop_places(b, y1, y2, height, crop_height, 1)?;
    let x = crop_places(b, x1, x2, width, crop_width, 2)?;
    let grid = [n.clone(), crop_height.clone(), crop_width.clone()];
    let mut inside = None;
    for (v, extent) in [(y, height), (x, width)] {
        let (zero, last) = (b.scalar(DType::F32, 0.0)?, float(b, &(extent.clone() - Dim::from(1)))?);
        // A NaN is not outside by TensorFlow's comparisons, which then read pixel 0 with a weight of NaN.
        let low = b.compare(CompareOp::Lt, v, zero)?;
        let high = b.compare(CompareOp::Gt, v, last)?;
        let out = b.binary(BinaryOp::Or, low, high)?;
        inside = Some(match inside {
            None => out,
            Some(other) => b.binary(BinaryOp::Or, other, out)?,
        });
    }
    let read = match &method[..] {
        "bilinear" => bilinear(b, images, image, y, x, &grid)?,
        "nearest" => {
            let (y, x) = (round(b, y)?, round(b, x)?);
            pixels(b, images, image, y, x, &grid)?
        }
        other => bail!("the method `{other}` is not supported"),
    };
    let Some(out) = inside else { bail!("no axis") };
    let out = b.broadcast(out, &grid)?;
    let out = over_channels(b, out)?;
    let fill = b.scalar(DType::F32, outside)?;
    Ok(vec![b.select(out, fill, read)?])
}

/// Between the four pixels around each place.
fn bilinear(b: &mut Builder, images: Value, image: Value, y: Value, x: Value, grid: &[Dim]) -> Result<Value> {
    let (top, bottom) = (b.unary(UnaryOp::Floor, y)?, b.unary(UnaryOp::Ceil, y)?);
    let (left, right) = (b.unary(UnaryOp::Floor, x)?, b.unary(UnaryOp::Ceil, x)?);
    let (down, across) = (b.binary(BinaryOp::Sub, y, top)?, b.binary(BinaryOp::Sub, x, left)?);
    let (down, across) = (over_channels(b, down)?, over_channels(b, across)?);
    let mut rows = vec![];
    for row in [top, bottom] {
        let a = pixels(b, images, image, row, left, grid)?;
        let c = pixels(b, images, image, row, right, grid)?;
        rows.push(lerp(b, a, c, across)?);
    }
    lerp(b, rows[0], rows[1], down)
}

/// A coordinate folded back into `0..extent` as the mode says, in f32.
fn fold(b: &mut Builder, mode: &str, v: Value, extent: &Dim) -> Result<Value> {
    let n = float(b, extent)?;
    let last = float(b, &(extent.clone() - Dim::from(1)))?;
    let zero = b.scalar(DType::F32, 0.0)?;
    let low = b.compare(CompareOp::Lt, v, zero)?;
    let high = b.compare(CompareOp::Gt, v, last)?;
    let minus = b.unary(UnaryOp::Neg, v)?;
    Ok(match mode {
        "CONSTANT" => v,
        "NEAREST" => {
            let v = b.binary(BinaryOp::Max, v, zero)?;
            b.binary(BinaryOp::Min, v, last)?
        }
        // d c b a | a b c d | d c b a: the period is two images.
        "REFLECT" if extent.is(1) => b.binary_scalar(BinaryOp::Mul, v, 0.0)?,
        "REFLECT" => {
            let two = b.binary_scalar(BinaryOp::Mul, n, 2.0)?;
            let quotient = |b: &mut Builder, v| {
                let q = b.binary(BinaryOp::Div, v, two)?;
                b.unary(UnaryOp::Trunc, q)
            };
            // Below 0: moved up by whole periods, then mirrored if it is still outside.
            let q = quotient(b, minus)?;
            let by = b.binary(BinaryOp::Mul, two, q)?;
            let moved = b.binary(BinaryOp::Add, by, v)?;
            let below_two = b.compare(CompareOp::Lt, v, two)?;
            let moved = b.select(below_two, moved, v)?;
            let minus_n = b.unary(UnaryOp::Neg, n)?;
            let far = b.compare(CompareOp::Lt, moved, minus_n)?;
            let shifted = b.binary(BinaryOp::Add, moved, two)?;
            let mirrored = b.unary(UnaryOp::Neg, moved)?;
            let mirrored = b.binary_scalar(BinaryOp::Sub, mirrored, 1.0)?;
            let negative = b.select(far, shifted, mirrored)?;
            // Above: moved down by whole periods, then mirrored.
            let q = quotient(b, v)?;
            let by = b.binary(BinaryOp::Mul, two, q)?;
            let moved = b.binary(BinaryOp::Sub, v, by)?;
            let beyond = b.compare(CompareOp::Ge, moved, n)?;
            let back = b.binary(BinaryOp::Sub, two, moved)?;
            let back = b.binary_scalar(BinaryOp::Sub, back, 1.0)?;
            let positive = b.select(beyond, back, moved)?;
            let v = b.select(high, positive, v)?;
            let v = b.select(low, negative, v)?;
            let v = b.binary(BinaryOp::Max, v, zero)?;
            b.binary(BinaryOp::Min, v, last)?
        }
        "WRAP" if extent.is(1) => b.binary_scalar(BinaryOp::Mul, v, 0.0)?,
        "WRAP" => {
            let quotient = |b: &mut Builder, v| {
                let q = b.binary(BinaryOp::Div, v, last)?;
                b.unary(UnaryOp::Trunc, q)
            };
            let q = quotient(b, minus)?;
            let q = b.binary_scalar(BinaryOp::Add, q, 1.0)?;
            let by = b.binary(BinaryOp::Mul, n, q)?;
            let negative = b.binary(BinaryOp::Add, v, by)?;
            let q = quotient(b, v)?;
            let by = b.binary(BinaryOp::Mul, n, q)?;
            let positive = b.binary(BinaryOp::Sub, v, by)?;
            let v = b.select(high, positive, v)?;
            let v = b.select(low, negative, v)?;
            let v = b.binary(BinaryOp::Max, v, zero)?;
            b.binary(BinaryOp::Min, v, last)?
        }
        other => bail!("the fill mode `{other}` is not supported"),
    })
}

/// Operands: images, transforms `[n or 1, 8]`, the result's extents (V3: and the fill value). A result pixel (x, y) takes
/// the value at ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k) with k = c0 x + c1 y + 1.
fn projective(cx: &mut TfCx<'_>, fill: bool) -> Result<Vec<Value>> {
    let (images, transforms) = (cx.input(0)?, cx.input(1)?);
    let (ty, tt) = (cx.ty(0)?, cx.ty(1)?);
    let sizes = cx.dims_input(2)?;
    let ([n, height, width, _], [_, eight], [rows, columns]) = (&ty.shape[..], &tt.shape[..], &sizes[..]) else {
        bail!("{ty} cannot be transformed by {tt} to {sizes:?}")
    };
    if !crate::ops::shape::may_equal(eight, &Dim::from(8)) {
        bail!("transforms have 8 numbers, not {tt}");
    }
    let mode = cx.str("fill_mode")?;
    let interpolation = cx.str("interpolation")?;
    let fill = match fill {
        true => cx.input(3)?,
        false => cx.b.scalar(DType::F32, 0.0)?,
    };
    let b = &mut *cx.b;
    let mut p = vec![];
    for i in 0..8 {
        p.push(column(b, transforms, i)?);
    }
    let y = ramp(b, rows, 1, 3, DType::I32)?;
    let x = ramp(b, columns, 2, 3, DType::I32)?;
    let (y, x) = (b.cast(DType::F32, y)?, b.cast(DType::F32, x)?);
    let along = |b: &mut Builder, i: usize, rest: Option<Value>| -> Result<Value> {
        let (u, v) = (b.binary(BinaryOp::Mul, p[i], x)?, b.binary(BinaryOp::Mul, p[i + 1], y)?);
        let sum = b.binary(BinaryOp::Add, u, v)?;
        match rest {
            Some(r) => b.binary(BinaryOp::Add, sum, r),
            None => b.binary_scalar(BinaryOp::Add, sum, 1.0),
        }
    };
    let k = along(b, 6, None)?;
    let (across, down) = (along(b, 0, Some(p[2]))?, along(b, 3, Some(p[5]))?);
    let (across, down) = (b.binary(BinaryOp::Div, across, k)?, b.binary(BinaryOp::Div, down, k)?);
    let across = fold(b, &mode, across, width)?;
    let down = fold(b, &mode, down, height)?;
    let grid = [n.clone(), rows.clone(), columns.clone()];
    let fill = b.cast(ty.dtype, fill)?;
    let image = ramp(b, n, 0, 3, DType::I32)?;
    let read = |b: &mut Builder, y: Value, x: Value| -> Result<Value> {
        let pixel = pixels(b, images, image, y, x, &grid)?;
        let inside_y = within(b, y, height)?;
        let inside_x = within(b, x, width)?;
        let inside = b.binary(BinaryOp::And, inside_y, inside_x)?;
        let inside = b.broadcast(inside, &grid)?;
        let inside = over_channels(b, inside)?;
        b.select(inside, pixel, fill)
    };
    let y = match &interpolation[..] {
        "NEAREST" => {
            let (y, x) = (round(b, down)?, round(b, across)?);
            read(b, y, x)?
        }
        "BILINEAR" => {
            let (top, left) = (b.unary(UnaryOp::Floor, down)?, b.unary(UnaryOp::Floor, across)?);
            let (bottom, right) =
                (b.binary_scalar(BinaryOp::Add, top, 1.0)?, b.binary_scalar(BinaryOp::Add, left, 1.0)?);
            // Weights: (right - x) and (x - left), so that a place on a pixel takes nothing of the next.
            let weight = |b: &mut Builder, to: Value, from: Value| -> Result<Value> {
                let w = b.binary(BinaryOp::Sub, to, from)?;
                let w = b.cast(ty.dtype, w)?;
                over_channels(b, w)
            };
            let (near_x, far_x) = (weight(b, right, across)?, weight(b, across, left)?);
            let (near_y, far_y) = (weight(b, bottom, down)?, weight(b, down, top)?);
            let row = |b: &mut Builder, y: Value| -> Result<Value> {
                let (l, r) = (read(b, y, left)?, read(b, y, right)?);
                let (l, r) = (b.binary(BinaryOp::Mul, near_x, l)?, b.binary(BinaryOp::Mul, far_x, r)?);
                b.binary(BinaryOp::Add, l, r)
            };
            let (upper, lower) = (row(b, top)?, row(b, bottom)?);
            let (upper, lower) = (b.binary(BinaryOp::Mul, near_y, upper)?, b.binary(BinaryOp::Mul, far_y, lower)?);
            b.binary(BinaryOp::Add, upper, lower)?
        }
        other => bail!("the interpolation `{other}` is not supported"),
    };
    Ok(vec![y])
}

/// Whether a whole number is an index of an axis.
fn within(b: &mut Builder, v: Value, extent: &Dim) -> Result<Value> {
    let (zero, n) = (b.scalar(DType::F32, 0.0)?, float(b, extent)?);
    let low = b.compare(CompareOp::Ge, v, zero)?;
    let high = b.compare(CompareOp::Lt, v, n)?;
    b.binary(BinaryOp::And, low, high)
}

/// The TensorFlow ops of this file.
pub const TF: &[TfBinding] = &[
    TfBinding { op: "CropAndResize", read: crop_and_resize },
    TfBinding { op: "ImageProjectiveTransformV2", read: |cx| projective(cx, false) },
    TfBinding { op: "ImageProjectiveTransformV3", read: |cx| projective(cx, true) },
];
