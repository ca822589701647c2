//! Small ops on numbers that are no scalar operation of one type: Complex, Cross, CheckNumerics, ApproximateEqual, and
//! Bitcast between widths.

use anyhow::{Result, bail};

use crate::graph::{TensorType, Value};
use crate::op::{OpDef, OpError};
use crate::ops::host::{F32_F64, host_op, reals, require, typed};
use crate::ops::pointwise::broadcast_shapes;
use crate::ops::shape::join::concat;
use crate::ops::shape::slice::slice;
use crate::ops::shape::{Slice, arity, cotangent, may_equal};
use crate::ops::wide::Wide;
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tensor::{Bytes, Tensor};
use crate::tf::{TfBinding, TfCx};
use crate::{DType, Dim};

host_op! {
    /// `complex re, im`: complex numbers of their parts, which have one shape.
    Complex = "complex" {}
    infer |_, given| {
        let [re, im] = typed("complex", given, [F32_F64, F32_F64])?;
        let alike = re.dtype == im.dtype && re.rank() == im.rank() && re.shape.iter().zip(&im.shape).all(|(a, b)| may_equal(a, b));
        require("complex", "C3", alike, || format!("the parts are {re} and {im}"))?;
        let dtype = if re.dtype == DType::F32 { DType::C64 } else { DType::C128 };
        Ok(vec![TensorType::new(dtype, re.shape.clone())])
    },
    eval |_, x| {
        let parts = reals(x[0]).into_iter().zip(reals(x[1]));
        let all = parts.map(|(re, im)| num_complex::Complex::new(re, im)).collect();
        let dtype = if x[0].dtype() == DType::F32 { DType::C64 } else { DType::C128 };
        Ok(vec![Wide::Complex(all).into_tensor("complex", dtype, x[0].shape())?])
    },
    vjp |_, b, args| {
        let Some(g) = cotangent(&args) else { return Ok(vec![None, None]) };
        Ok(vec![Some(b.unary(UnaryOp::Real, g)?), Some(b.unary(UnaryOp::Imag, g)?)])
    }
}

fn tf_complex(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (re, im) = (cx.input(0)?, cx.input(1)?);
    let (rt, it) = (cx.ty(0)?, cx.ty(1)?);
    let Some(shape) = broadcast_shapes(&rt.shape, &it.shape) else { bail!("{rt} and {it} do not broadcast") };
    let (re, im) = (cx.b.broadcast(re, &shape)?, cx.b.broadcast(im, &shape)?);
    Ok(vec![cx.b.push(Complex {}, &[re, im])?])
}

host_op! {
    /// `check_numerics x`: `x`, unless it holds a NaN or an infinity.
    CheckNumerics = "check_numerics" {
        /// What the error begins with.
        message: String,
    }
    infer |_, given| {
        let [x] = arity("check_numerics", given)?;
        require("check_numerics", "C2", x.dtype.is_float(), || format!("takes floats, not {x}"))?;
        Ok(vec![x.clone()])
    },
    eval |op, x| {
        let v = reals(x[0]);
        let found = match (v.iter().any(|v| v.is_nan()), v.iter().any(|v| v.is_infinite())) {
            (false, false) => return Ok(vec![x[0].clone()]),
            (true, true) => "Inf and NaN",
            (true, false) => "NaN",
            (false, true) => "Inf",
        };
        Err(OpError::new("check_numerics", "E1", format!("{} : Tensor had {found} values", op.message)))
    },
    vjp |_, _, args| Ok(vec![cotangent(&args)])
}

host_op! {
    /// `bitcast_width x`: the same bytes as another type of another width: a new last axis where it is narrower, the last axis
    /// joined where it is wider.
    BitcastWidth = "bitcast_width" {
        /// The result's element type.
        to: DType,
    }
    infer |op, given| {
        let [x] = arity("bitcast_width", given)?;
        let (from, to) = (x.dtype.size(), op.to.size());
        require("bitcast_width", "C2", from > 0 && to > 0, || format!("{x} as {}", op.to))?;
        let mut shape = x.shape.clone();
        if from >= to {
            require("bitcast_width", "C2", from % to == 0, || format!("{x} as {}", op.to))?;
            shape.push(Dim::from(from / to));
        } else {
            let last = shape.pop().is_some_and(|d| may_equal(&d, &Dim::from(to / from)));
            require("bitcast_width", "C3", last && to % from == 0, || {
                format!("the last axis of {x} does not hold one {}", op.to)
            })?;
        }
        Ok(vec![TensorType::new(op.to, shape)])
    },
    eval |op, x| {
        let shape = crate::ops::shape::result_shape(op, x)?;
        let bytes = Bytes::copy_of(x[0].bytes());
        Ok(vec![Tensor::from_bytes(op.to, &shape, bytes).map_err(|e| OpError::new("bitcast_width", "E2", e))?])
    }
}

/// Operands: vectors of three along the last axis.
fn cross(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y, ty) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?);
    let three = |d: &Dim| may_equal(d, &Dim::from(3));
    if !ty.shape.last().is_some_and(three) || !cx.ty(1)?.shape.last().is_some_and(three) {
        bail!("{ty} and {} hold no vectors of three", cx.ty(1)?);
    }
    let b = &mut *cx.b;
    let axis = ty.rank() - 1;
    let mut of = |v: Value, i: i64| {
        let shape = b.ty(v).shape.clone();
        slice(b, v, Slice::along(&shape, axis, Dim::from(i), Dim::from(1)))
    };
    let u = [of(x, 0)?, of(x, 1)?, of(x, 2)?];
    let v = [of(y, 0)?, of(y, 1)?, of(y, 2)?];
    let mut parts = vec![];
    for i in 0..3 {
        let (j, k) = ((i + 1) % 3, (i + 2) % 3);
        let (p, q) = (b.binary(BinaryOp::Mul, u[j], v[k])?, b.binary(BinaryOp::Mul, u[k], v[j])?);
        parts.push(b.binary(BinaryOp::Sub, p, q)?);
    }
    Ok(vec![concat(b, &parts, axis)?])
}

/// Whether the distance is below the tolerance, which TensorFlow rounds to the elements' type.
fn approximate_equal(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y, tolerance) = (cx.input(0)?, cx.input(1)?, f64::from(cx.float("tolerance")?));
    let dtype = cx.ty(0)?.dtype;
    let distance = cx.b.binary(BinaryOp::Sub, x, y)?;
    let distance = cx.b.unary(UnaryOp::Abs, distance)?;
    let real = cx.b.ty(distance).dtype;
    let tolerance = cx.b.scalar(if dtype.is_complex() { real } else { dtype }, tolerance)?;
    Ok(vec![cx.b.compare(CompareOp::Lt, distance, tolerance)?])
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    Complex::def(&[TfBinding { op: "Complex", read: tf_complex }]),
    CheckNumerics::def(&[
        TfBinding { op: "CheckNumerics", read: check_numerics },
        TfBinding { op: "CheckNumericsV2", read: check_numerics },
    ]),
    BitcastWidth::def(&[]),
];

fn check_numerics(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let message = cx.str("message")?;
    crate::ops::host::import(cx, CheckNumerics { message })
}

/// The compositions of this file.
pub const TF: &[TfBinding] =
    &[TfBinding { op: "Cross", read: cross }, TfBinding { op: "ApproximateEqual", read: approximate_equal }];
