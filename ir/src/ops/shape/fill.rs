//! TensorFlow ops that make tensors from a few numbers, and arithmetic on shapes: compositions; only a range whose operands
//! are computed at run time is an op of its own.

use anyhow::{Context, Result, bail};

use super::{arity, at_least_zero, dim_value, dims_value, splat};
use crate::graph::{TensorType, Value};
use crate::op::{OpDef, OpError};
use crate::ops::constant::Iota;
use crate::ops::host::{host_op, require};
use crate::ops::pointwise::broadcast_shapes;
use crate::ops::wide::{Wide, zeroed};
use crate::scalar::{BinaryOp, CompareOp};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, DType, Dim};

/// Operands: shape, value.
fn tf_fill(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (shape, value) = (cx.dims_input(0)?, cx.input(1)?);
    if cx.ty(1)?.rank() != 0 {
        bail!("operand 1 must be a scalar, not {}", cx.ty(1)?);
    }
    Ok(vec![cx.b.broadcast(value, &shape)?])
}

fn tf_like(cx: &mut TfCx<'_>, x: f64) -> Result<Vec<Value>> {
    let ty = cx.ty(0)?;
    if ty.dtype == DType::String && x == 0.0 {
        let empty = cx.b.constant(Tensor::zeros(DType::String, &[]))?;
        return Ok(vec![cx.b.broadcast(empty, &ty.shape)?]);
    }
    Ok(vec![splat(cx.b, ty.dtype, x, &ty.shape)?])
}

/// The one known element of a scalar operand.
fn scalar_dim(cx: &mut TfCx<'_>, i: usize) -> Result<Dim> {
    let d = cx.dims_input(i).with_context(|| format!("operand {i} decides the result's size"))?;
    match &d[..] {
        [one] => Ok(one.clone()),
        _ => bail!("operand {i} must be a scalar, not {}", cx.ty(i)?),
    }
}

/// Whether the builder knows a value's elements, as numbers or as sizes.
fn is_known(b: &Builder, v: Value) -> bool {
    b.as_const(v).is_some() || b.as_dims(v).is_some()
}

host_op! {
    /// `range_from_data start, limit, delta`: start + delta * index up to the limit, which it does not reach.
    RangeFromData = "range_from_data" {
        /// How many elements there are.
        count: Dim,
    }
    infer |op, given| {
        let [start, limit, delta] = arity("range_from_data", given)?;
        let alike = [limit, delta].iter().all(|t| t.dtype == start.dtype) && given.iter().all(|t| t.rank() == 0);
        let numbers = start.dtype.is_int() || start.dtype.is_float();
        require("range_from_data", "C2", alike && numbers, || format!("a range from {start} to {limit} by {delta}"))?;
        Ok(vec![TensorType::new(start.dtype, vec![op.count.clone()])])
    },
    eval |_, x| range_elements(x)
}

fn range_elements(x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
    let name = "range_from_data";
    let fail = |what: String| OpError::new(name, "E1", what);
    let wide: Vec<Wide> = x.iter().map(|t| Wide::of(name, t)).collect::<Result<_, _>>()?;
    let (values, n) = match (&wide[0], &wide[1], &wide[2]) {
        (Wide::Int(start), Wide::Int(limit), Wide::Int(delta)) => {
            let (start, limit, delta) = (start[0], limit[0], delta[0]);
            let span =
                if delta > 0 { i128::from(limit) - i128::from(start) } else { i128::from(start) - i128::from(limit) };
            if delta == 0 || span < 0 {
                return Err(fail(format!("a range from {start} to {limit} cannot have step {delta}")));
            }
            let n = usize::try_from((span as u128).div_ceil(u128::from(delta.unsigned_abs())))
                .map_err(|_| fail(format!("{span} elements")))?;
            let mut v = zeroed::<i64>(name, &[n])?;
            v.iter_mut().enumerate().for_each(|(i, v)| *v = start.wrapping_add(delta.wrapping_mul(i as i64)));
            (Wide::Int(v), n)
        }
        (Wide::Real(start), Wide::Real(limit), Wide::Real(delta)) => {
            let (start, limit, delta) = (start[0], limit[0], delta[0]);
            let ahead = (limit - start) * delta;
            if delta == 0.0 || !delta.is_finite() || ahead < 0.0 || ahead.is_nan() {
                return Err(fail(format!("a range from {start} to {limit} cannot have step {delta}")));
            }
            // TensorFlow divides in the element type, which may round up to a further element.
            let narrow = x[0].dtype() != DType::F64;
            let round = |x: f64| if narrow { f64::from(x as f32) } else { x };
            let n = round(round(limit - start) / delta).abs().ceil();
            if !(0.0..9.0e15).contains(&n) {
                return Err(fail(format!("a range from {start} to {limit} with step {delta} has no finite length")));
            }
            let mut v = zeroed::<f64>(name, &[n as usize])?;
            v.iter_mut().enumerate().for_each(|(i, v)| *v = round(start + round(delta * i as f64)));
            (Wide::Real(v), n as usize)
        }
        _ => return Err(fail("no numbers".into())),
    };
    Ok(vec![values.into_tensor(name, x[0].dtype(), &[n])?])
}

/// start + delta * index, where the length follows from start, limit and delta as TensorFlow computes it.
fn tf_range(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let dtype = cx.ty(0)?.dtype;
    if cx.b.sizes_from_data && !(0..3).all(|i| cx.inputs.get(i).is_some_and(|&v| is_known(cx.b, v))) {
        let count = cx.b.fresh_dim("range");
        return crate::ops::host::import(cx, RangeFromData { count });
    }
    let index = |b: &mut Builder, n: Dim, dtype| b.push(Iota { shape: vec![n], axis: 0, dtype }, &[]);
    let y = if dtype.is_int() {
        let (start, limit, delta) = (scalar_dim(cx, 0)?, scalar_dim(cx, 1)?, scalar_dim(cx, 2)?);
        let step = delta.as_const().context("the step of a range depends on a run-time size")?;
        if step == 0 {
            bail!("the step of a range is 0");
        }
        let span = if step > 0 { limit - start.clone() } else { start.clone() - limit };
        if super::always_negative(&span) {
            bail!("a range from {start} with step {step} never reaches its limit");
        }
        let i = index(cx.b, at_least_zero(&span.ceil_div(step.saturating_abs())), dtype)?;
        let by = dim_value(cx.b, &delta, dtype)?;
        let scaled = if step == 1 { i } else { cx.b.binary(BinaryOp::Mul, i, by)? };
        if start.is(0) {
            scaled
        } else {
            let start = dim_value(cx.b, &start, dtype)?;
            cx.b.binary(BinaryOp::Add, scaled, start)?
        }
    } else {
        let number = |i: usize| {
            let t = cx.const_input(i).with_context(|| format!("operand {i} decides the result's size"))?;
            t.to_f64s().and_then(|v| v.first().copied()).with_context(|| format!("operand {i} is {}", t.dtype()))
        };
        let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
        if delta == 0.0 || !delta.is_finite() || (limit - start) * delta < 0.0 {
            bail!("a range from {start} to {limit} cannot have step {delta}");
        }
        // TensorFlow divides in the element type, which may round up to a further element.
        let round = |x: f64| if dtype == DType::F64 { x } else { f64::from(x as f32) };
        let n = round(round(limit - start) / delta).abs().ceil();
        if !(0.0..9.0e15).contains(&n) {
            bail!("a range from {start} to {limit} with step {delta} has no finite length");
        }
        let i = index(cx.b, Dim::from(n as i64), DType::I64)?;
        let i = cx.b.cast(dtype, i)?;
        let (start, delta) = (cx.input(0)?, cx.input(2)?);
        let scaled = cx.b.binary(BinaryOp::Mul, i, delta)?;
        cx.b.binary(BinaryOp::Add, start, scaled)?
    };
    Ok(vec![y])
}

/// Operands: start, stop, num. The last element is stop itself.
fn tf_lin_space(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (start, stop, n) = (cx.input(0)?, cx.input(1)?, scalar_dim(cx, 2)?);
    let dtype = cx.ty(0)?.dtype;
    if super::always_negative(&(n.clone() - Dim::from(1))) {
        bail!("a LinSpace has at least one element, not {n}");
    }
    if n.is(1) {
        return Ok(vec![cx.b.reshape(start, &[Dim::from(1)])?]);
    }
    let b = &mut *cx.b;
    let span = b.binary(BinaryOp::Sub, stop, start)?;
    let end = dim_value(b, &(n.clone() - Dim::from(1)), DType::I64)?;
    let steps = b.cast(dtype, end)?;
    // A length of 1 that shows at run time has the step 0, and its only element is the start.
    let step = b.binary(if n.as_const().is_some() { BinaryOp::Div } else { BinaryOp::DivNoNan }, span, steps)?;
    let i = b.push(Iota { shape: vec![n], axis: 0, dtype: DType::I64 }, &[])?;
    let at_end = b.compare(CompareOp::Eq, i, end)?;
    let zero = b.scalar(DType::I64, 0.0)?;
    let moved = b.compare(CompareOp::Gt, i, zero)?;
    let last = b.binary(BinaryOp::And, at_end, moved)?;
    let x = b.cast(dtype, i)?;
    let x = b.binary(BinaryOp::Mul, step, x)?;
    let x = b.binary(BinaryOp::Add, start, x)?;
    Ok(vec![b.select(last, stop, x)?])
}

/// Operands: indices, depth, on, off: the comparison of an index ramp with the indices selects.
fn tf_one_hot(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (indices, ty, depth, on, off) = (cx.input(0)?, cx.ty(0)?, scalar_dim(cx, 1)?, cx.input(2)?, cx.input(3)?);
    if super::always_negative(&depth) {
        bail!("the depth {depth} is negative");
    }
    let axis = match cx.int("axis")? {
        -1 => ty.rank(),
        axis => normalize_axis(axis, ty.rank() + 1)?,
    };
    let mut shape = ty.shape.clone();
    shape.insert(axis, Dim::from(1));
    let indices = cx.b.reshape(indices, &shape)?;
    let mut ramp = vec![Dim::from(1); shape.len()];
    ramp[axis] = depth;
    // A depth above 256 does not fit u8 indices: compare in a type that holds both.
    let wide = if ty.dtype == DType::I64 { DType::I64 } else { DType::I32 };
    let indices = cx.b.cast(wide, indices)?;
    let ramp = cx.b.push(Iota { shape: ramp, axis, dtype: wide }, &[])?;
    let hit = cx.b.compare(CompareOp::Eq, indices, ramp)?;
    Ok(vec![cx.b.select(hit, on, off)?])
}

fn tf_broadcast_args(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y, dtype) = (cx.dims_input(0)?, cx.dims_input(1)?, cx.ty(0)?.dtype);
    let shape = broadcast_shapes(&x, &y).with_context(|| format!("shapes {x:?} and {y:?} do not broadcast"))?;
    Ok(vec![dims_value(cx.b, &shape, dtype)?])
}

/// For two shapes that broadcast, the axes over which the gradient of each is summed. An axis where both have extent 1
/// is in both lists, unless the shapes are alike; so says TensorFlow's kernel.
fn tf_broadcast_gradient_args(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y, dtype) = (cx.dims_input(0)?, cx.dims_input(1)?, cx.ty(0)?.dtype);
    let rank = broadcast_shapes(&x, &y).with_context(|| format!("shapes {x:?} and {y:?} do not broadcast"))?.len();
    let padded = |s: &[Dim]| [vec![Dim::from(1); rank - s.len()], s.to_vec()].concat();
    let (px, py) = (padded(&x), padded(&y));
    let ones = |s: &[Dim], other: &[Dim]| -> Vec<i64> {
        let summed = |&i: &usize| x != y && s[i].is(1) && (other[i].is(1) || s[i] != other[i]);
        (0..rank).filter(summed).map(|i| i as i64).collect()
    };
    [ones(&px, &py), ones(&py, &px)]
        .into_iter()
        .map(|axes| {
            let t = Tensor::from_i64s(dtype, &[axes.len()], &axes).context("the operands hold no integers")?;
            cx.b.constant(t)
        })
        .collect()
}

/// Bits as another type; between widths elements are split or joined along the last axis.
fn tf_bitcast(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, to) = (cx.input(0)?, cx.ty(0)?, cx.dtype("type")?);
    if ty.dtype.size() != to.size() {
        return Ok(vec![cx.b.push(crate::ops::numbers::BitcastWidth { to }, &[x])?]);
    }
    Ok(vec![cx.b.push(crate::ops::pointwise::Bitcast { to }, &[x])?])
}

/// Memory of a shape; ours holds zeros, or empty strings.
fn tf_empty(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (shape, dtype) = (cx.dims_input(0)?, cx.dtype("dtype")?);
    let zero = cx.b.constant(Tensor::zeros(dtype, &[]))?;
    Ok(vec![cx.b.broadcast(zero, &shape)?])
}

/// The op of this file; TensorFlow's Range becomes it where its operands are computed.
pub const OPS: &[OpDef] = &[RangeFromData::def(&[])];

/// The TensorFlow ops of this file.
pub const TF: &[TfBinding] = &[
    TfBinding { op: "Fill", read: tf_fill },
    TfBinding { op: "ZerosLike", read: |cx| tf_like(cx, 0.0) },
    TfBinding { op: "OnesLike", read: |cx| tf_like(cx, 1.0) },
    TfBinding { op: "Range", read: tf_range },
    TfBinding { op: "LinSpace", read: tf_lin_space },
    TfBinding { op: "OneHot", read: tf_one_hot },
    TfBinding { op: "BroadcastArgs", read: tf_broadcast_args },
    TfBinding { op: "BroadcastGradientArgs", read: tf_broadcast_gradient_args },
    TfBinding { op: "Bitcast", read: tf_bitcast },
    TfBinding { op: "Empty", read: tf_empty },
];
