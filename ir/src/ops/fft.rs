//! `fft`, `rfft`, `irfft`: discrete Fourier transforms over the last one to three axes.
//!
//! Constraints: C1 one operand; C2 its type is complex (`rfft`: f32 or f64); C3 it has the transformed axes, none of them
//! shorter than the transform; C4 one to three axes.
//!
//! All are computed in f64 and rounded once. Lengths may be any number; a transform of length 0 is empty.

use anyhow::Result;
use num_complex::Complex;
use rustfft::FftPlanner;

use super::host::{complex_tensor, complexes, extents, host_op, require, tf_ops};
use super::shape::{Pad, arity, cotangent, dim_value};
use crate::graph::{TensorType, Value};
use crate::op::{NoGradient, OpDef, OpError};
use crate::ops::constant::Iota;
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tensor::element_count;
use crate::tf::TfCx;
use crate::{Builder, DType, Dim};

host_op! {
    /// `fft x`: the transform over the last `rank` axes of complex numbers.
    Fft = "fft" {
        /// How many axes.
        rank: i64,
        /// With the exponent's sign positive.
        inverse: bool,
        /// Divided by the number of elements transformed.
        scaled: bool,
    }
    infer |op, given| {
        let [x] = arity("fft", given)?;
        require("fft", "C2", x.dtype.is_complex(), || format!("does not take {x}"))?;
        require("fft", "C4", (1..=3).contains(&op.rank), || format!("{} axes", op.rank))?;
        require("fft", "C3", x.rank() >= op.rank as usize, || format!("{} axes of {x}", op.rank))?;
        Ok(vec![x.clone()])
    },
    eval |op, x| {
        let (shape, mut data) = (x[0].shape(), complexes(x[0]));
        for axis in shape.len().saturating_sub(op.rank as usize)..shape.len() {
            transform(&mut data, shape, axis, op.inverse, op.scaled);
        }
        Ok(vec![complex_tensor("fft", x[0].dtype(), shape, data)?])
    },
    vjp |op, b, args| {
        // The adjoint of sum(x * w) is sum(g * conj(w)), with the same factor.
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        Ok(vec![Some(b.push(Fft { inverse: !op.inverse, ..op.clone() }, &[g])?)])
    },
}

host_op! {
    /// `rfft x`: the first half of the transform of real numbers; the other half mirrors it. Elements past a length are
    /// not read.
    Rfft = "rfft" {
        /// The length of the transform along each of the last axes.
        lengths: Vec<Dim>,
    }
    infer |op, given| {
        let [x] = arity("rfft", given)?;
        require("rfft", "C2", matches!(x.dtype, DType::F32 | DType::F64), || format!("does not take {x}"))?;
        let shape = check("rfft", x, &op.lengths, &op.lengths, &half(&op.lengths))?;
        Ok(vec![TensorType::new(if x.dtype == DType::F32 { DType::C64 } else { DType::C128 }, shape)])
    },
    eval |op, x| {
        let lengths = extents("rfft", &op.lengths)?;
        let outer = x[0].shape().len() - lengths.len();
        let (data, mut shape) = crop(complexes(x[0]), x[0].shape(), &lengths);
        let mut data = data;
        for axis in outer..shape.len() {
            transform(&mut data, &shape, axis, false, false);
        }
        let n = halved(lengths[lengths.len() - 1]);
        let keep: Vec<usize> = lengths[..lengths.len() - 1].iter().copied().chain([n]).collect();
        (data, shape) = crop(data, &shape, &keep);
        let dtype = if x[0].dtype() == DType::F32 { DType::C64 } else { DType::C128 };
        Ok(vec![complex_tensor("rfft", dtype, &shape, data)?])
    },
    vjp |op, b, args| {
        // The transpose of dropping the second half is appending zeros; that of taking reals as complex numbers is
        // taking the real part.
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let shape = b.ty(args.inputs[0]).shape.clone();
        let full: Vec<Dim> = shape[..shape.len() - op.lengths.len()].iter().chain(&op.lengths).cloned().collect();
        let g = pad_to(b, g, &full)?;
        let back = b.push(Fft { rank: op.lengths.len() as i64, inverse: true, scaled: false }, &[g])?;
        let real = b.unary(UnaryOp::Real, back)?;
        Ok(vec![Some(pad_to(b, real, &shape)?)])
    },
}

host_op! {
    /// `irfft x`: the real numbers whose `rfft` is `x`. The imaginary parts of the elements that mirror themselves are
    /// not read.
    Irfft = "irfft" {
        /// The length of the result along each of the last axes.
        lengths: Vec<Dim>,
    }
    infer |op, given| {
        let [x] = arity("irfft", given)?;
        require("irfft", "C2", x.dtype.is_complex(), || format!("does not take {x}"))?;
        let shape = check("irfft", x, &op.lengths, &half(&op.lengths), &op.lengths)?;
        Ok(vec![TensorType::new(if x.dtype == DType::C64 { DType::F32 } else { DType::F64 }, shape)])
    },
    eval |op, x| {
        let lengths = extents("irfft", &op.lengths)?;
        let outer = x[0].shape().len() - lengths.len();
        let n = lengths[lengths.len() - 1];
        let read: Vec<usize> = lengths[..lengths.len() - 1].iter().copied().chain([halved(n)]).collect();
        let (mut data, mut shape) = crop(complexes(x[0]), x[0].shape(), &read);
        for axis in outer..shape.len() - 1 {
            transform(&mut data, &shape, axis, true, true);
        }
        data = mirrored(&data, halved(n), n);
        *shape.last_mut().ok_or_else(|| OpError::new("irfft", "C3", "a scalar"))? = n;
        transform(&mut data, &shape, lengths.len() + outer - 1, true, true);
        let dtype = if x[0].dtype() == DType::C64 { DType::F32 } else { DType::F64 };
        Ok(vec![complex_tensor("irfft", dtype, &shape, data)?])
    },
    vjp |op, b, args| {
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        Ok(vec![Some(irfft_vjp(&op.lengths, b, args.inputs[0], g)?)])
    },
}

/// The adjoint of `irfft`: `rfft` over the number of elements, twice where an element stands for its mirror as well.
fn irfft_vjp(lengths: &[Dim], b: &mut Builder, x: Value, g: Value) -> Result<Value, NoGradient> {
    let shape = b.ty(x).shape.clone();
    let complex = b.ty(x).dtype;
    let n = lengths[lengths.len() - 1].clone();
    let spectrum = b.push(Rfft { lengths: lengths.to_vec() }, &[g])?;
    let index = b.push(Iota { shape: vec![halved_dim(&n)], axis: 0, dtype: DType::I64 }, &[])?;
    let (zero, n) = (b.scalar(DType::I64, 0.0)?, dim_value(b, &n, DType::I64)?);
    let twice = b.binary(BinaryOp::Add, index, index)?;
    let (first, middle) = (b.compare(CompareOp::Eq, index, zero)?, b.compare(CompareOp::Eq, twice, n)?);
    let alone = b.binary(BinaryOp::Or, first, middle)?;
    let (one, two) = (b.scalar(complex, 1.0)?, b.scalar(complex, 2.0)?);
    let factor = b.select(alone, one, two)?;
    let count = dim_value(b, &Dim::product(lengths), DType::I64)?;
    let count = b.cast(complex, count)?;
    let factor = b.binary(BinaryOp::Div, factor, count)?;
    let spectrum = b.binary(BinaryOp::Mul, spectrum, factor)?;
    Ok(pad_to(b, spectrum, &shape)?)
}

/// Zeros appended to each axis up to a shape.
fn pad_to(b: &mut Builder, x: Value, shape: &[Dim]) -> Result<Value> {
    let from = b.ty(x).shape.clone();
    if from == shape {
        return Ok(x);
    }
    let zero = b.scalar(b.ty(x).dtype, 0.0)?;
    let high = shape.iter().zip(&from).map(|(to, from)| to.clone() - from.clone()).collect();
    b.push(Pad { low: vec![Dim::from(0); shape.len()], high }, &[x, zero])
}

/// The number of elements of a spectrum of real numbers that do not mirror others; none of an empty one.
fn halved(n: usize) -> usize {
    if n == 0 { 0 } else { n / 2 + 1 }
}

fn halved_dim(n: &Dim) -> Dim {
    if n.is(0) { Dim::from(0) } else { n.floor_div(&Dim::from(2)) + Dim::from(1) }
}

/// Lengths with the last one halved.
fn half(lengths: &[Dim]) -> Vec<Dim> {
    let mut half = lengths.to_vec();
    if let Some(last) = half.last_mut() {
        *last = halved_dim(last);
    }
    half
}

/// The result's shape: the operand's with the last axes replaced, if they hold what is read.
fn check(op: &'static str, x: &TensorType, lengths: &[Dim], read: &[Dim], result: &[Dim]) -> Result<Vec<Dim>, OpError> {
    require(op, "C4", (1..=3).contains(&lengths.len()), || format!("{} axes", lengths.len()))?;
    super::shape::check_sizes(op, "C4", lengths)?;
    let outer = x.rank().checked_sub(lengths.len());
    let outer = outer.ok_or_else(|| OpError::new(op, "C3", format!("{} axes of {x}", lengths.len())))?;
    for (have, need) in x.shape[outer..].iter().zip(read) {
        // Without elements there is nothing to be too short.
        let short = super::shape::always_negative(&(have.clone() - need.clone())) && !x.elements().is(0);
        require(op, "C3", !short, || format!("an axis of {x} is shorter than {need}"))?;
    }
    Ok(x.shape[..outer].iter().chain(result).cloned().collect())
}

/// The leading box of the last axes; missing elements are zeros.
fn crop(data: Vec<Complex<f64>>, shape: &[usize], keep: &[usize]) -> (Vec<Complex<f64>>, Vec<usize>) {
    let outer = shape.len() - keep.len();
    let to: Vec<usize> = shape[..outer].iter().chain(keep).copied().collect();
    if to == shape {
        return (data, to);
    }
    let stride = super::shape::strides(shape);
    let mut out = Vec::with_capacity(element_count(&to).unwrap_or(0));
    let mut index = vec![0usize; to.len()];
    if !to.contains(&0) {
        loop {
            let inside = index.iter().zip(shape).all(|(i, n)| i < n);
            let at: usize = index.iter().zip(&stride).map(|(i, s)| i * s).sum();
            out.push(if inside { data[at] } else { Complex::default() });
            if !super::shape::advance(&mut index, |axis| to[axis]) {
                break;
            }
        }
    }
    (out, to)
}

/// Rows of `m` elements completed to `n` by their mirror images.
fn mirrored(data: &[Complex<f64>], m: usize, n: usize) -> Vec<Complex<f64>> {
    let mut out = Vec::with_capacity(data.len() / m.max(1) * n);
    for row in data.chunks_exact(m.max(1)) {
        let real = |i: usize| i == 0 || 2 * i == n;
        out.extend((0..m).map(|i| if real(i) { Complex::new(row[i].re, 0.0) } else { row[i] }));
        out.extend((m..n).map(|i| row[n - i].conj()));
    }
    out
}

/// The transform along one axis, in place.
fn transform(data: &mut [Complex<f64>], shape: &[usize], axis: usize, inverse: bool, scaled: bool) {
    let (n, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    if n == 0 || data.is_empty() {
        return;
    }
    let mut planner = FftPlanner::new();
    let plan = if inverse { planner.plan_fft_inverse(n) } else { planner.plan_fft_forward(n) };
    let mut scratch = vec![Complex::default(); plan.get_inplace_scratch_len()];
    let mut line = vec![Complex::default(); n];
    let factor = if scaled { 1.0 / n as f64 } else { 1.0 };
    for block in data.chunks_exact_mut(n * inner) {
        for i in 0..inner {
            line.iter_mut().enumerate().for_each(|(k, z)| *z = block[k * inner + i]);
            plan.process_with_scratch(&mut line, &mut scratch);
            line.iter().enumerate().for_each(|(k, z)| block[k * inner + i] = z * factor);
        }
    }
}

fn tf_fft(cx: &mut TfCx<'_>, rank: i64, inverse: bool) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![cx.b.push(Fft { rank, inverse, scaled: inverse }, &[x])?])
}

/// Operands: x, fft_length.
fn tf_real(cx: &mut TfCx<'_>, inverse: bool) -> Result<Vec<Value>> {
    let (x, lengths) = (cx.input(0)?, cx.dims_input(1)?);
    Ok(vec![if inverse { cx.b.push(Irfft { lengths }, &[x])? } else { cx.b.push(Rfft { lengths }, &[x])? }])
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    Fft::def(tf_ops! {
        "FFT" => |cx| tf_fft(cx, 1, false), "FFT2D" => |cx| tf_fft(cx, 2, false), "FFT3D" => |cx| tf_fft(cx, 3, false),
        "IFFT" => |cx| tf_fft(cx, 1, true), "IFFT2D" => |cx| tf_fft(cx, 2, true), "IFFT3D" => |cx| tf_fft(cx, 3, true),
    }),
    Rfft::def(tf_ops! {
        "RFFT" => |cx| tf_real(cx, false), "RFFT2D" => |cx| tf_real(cx, false), "RFFT3D" => |cx| tf_real(cx, false),
    }),
    Irfft::def(tf_ops! {
        "IRFFT" => |cx| tf_real(cx, true), "IRFFT2D" => |cx| tf_real(cx, true), "IRFFT3D" => |cx| tf_real(cx, true),
    }),
];
