//! Gradients of factorizations and solutions, as TensorFlow defines them.

use anyhow::{Result, bail};

use super::{MatrixSolve, TriangularSolve, TridiagonalSolve};
use crate::graph::Value;
use crate::op::{NoGradient, VjpArgs};
use crate::ops::constant::Iota;
use crate::ops::contract::Contract;
use crate::ops::reduce::Reduce;
use crate::ops::shape::cotangent;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::{Builder, DType, Dim};

type Cotangents = Result<Vec<Option<Value>>, NoGradient>;

/// The product of batches of matrices, each adjoint or not.
pub fn matmul(b: &mut Builder, x: (Value, bool), y: (Value, bool)) -> Result<Value> {
    let batch: Vec<u8> = (b'A'..=b'Z').take(b.ty(x.0).rank().saturating_sub(2)).collect();
    let mut side = |(v, adjoint): (Value, bool), labels: [u8; 2]| {
        let v = if adjoint && b.ty(v).dtype.is_complex() { b.unary(UnaryOp::Conj, v)? } else { v };
        let [p, q] = if adjoint { [labels[1], labels[0]] } else { labels };
        Ok::<_, anyhow::Error>((v, [&batch[..], &[p, q]].concat()))
    };
    let ((x, lhs), (y, rhs)) = (side(x, *b"mk")?, side(y, *b"kn")?);
    b.push(Contract { lhs, rhs, out: [&batch[..], b"mn"].concat() }, &[x, y])
}

/// The conjugate transpose.
pub fn adjoint(b: &mut Builder, x: Value) -> Result<Value> {
    let rank = b.ty(x).rank();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 1, rank - 2);
    let x = b.transpose(x, &perm)?;
    if b.ty(x).dtype.is_complex() { b.unary(UnaryOp::Conj, x) } else { Ok(x) }
}

/// For each place of a matrix, how far it lies above the diagonal.
fn above(b: &mut Builder, x: Value) -> Result<Value> {
    let [.., rows, columns] = &b.ty(x).shape[..] else { bail!("{} is no matrix", b.ty(x)) };
    let (rows, columns) = (rows.clone(), columns.clone());
    let row = b.push(Iota { shape: vec![rows, Dim::from(1)], axis: 0, dtype: DType::I64 }, &[])?;
    let column = b.push(Iota { shape: vec![Dim::from(1), columns], axis: 1, dtype: DType::I64 }, &[])?;
    b.binary(BinaryOp::Sub, column, row)
}

/// The elements whose distance above the diagonal compares so with 0; the rest are zeros.
fn band(b: &mut Builder, x: Value, keep: CompareOp) -> Result<Value> {
    let (distance, none) = (above(b, x)?, b.scalar(DType::I64, 0.0)?);
    let inside = b.compare(keep, distance, none)?;
    let zero = b.scalar(b.ty(x).dtype, 0.0)?;
    b.select(inside, x, zero)
}

/// The diagonal halved.
fn half_diagonal(b: &mut Builder, x: Value) -> Result<Value> {
    let (distance, none) = (above(b, x)?, b.scalar(DType::I64, 0.0)?);
    let on = b.compare(CompareOp::Eq, distance, none)?;
    let half = b.binary_scalar(BinaryOp::Mul, x, 0.5)?;
    b.select(on, half, x)
}

/// Identities of the shape of `like`, which is square.
fn eye(b: &mut Builder, like: Value) -> Result<Value> {
    let ty = b.ty(like).clone();
    let (distance, none) = (above(b, like)?, b.scalar(DType::I64, 0.0)?);
    let on = b.compare(CompareOp::Eq, distance, none)?;
    let (one, zero) = (b.scalar(ty.dtype, 1.0)?, b.scalar(ty.dtype, 0.0)?);
    let one = b.select(on, one, zero)?;
    b.broadcast(one, &ty.shape)
}

/// The inverse, or that of the adjoint.
pub fn inverse(b: &mut Builder, a: Value, adjoint: bool) -> Result<Value> {
    let one = eye(b, a)?;
    b.push(MatrixSolve { adjoint }, &[a, one])
}

/// A vector of numbers as the diagonal of a matrix, or one number for every element.
fn stretched(b: &mut Builder, x: Value, axes: usize) -> Result<Value> {
    let shape: Vec<Dim> = b.ty(x).shape.iter().cloned().chain(vec![Dim::from(1); axes]).collect();
    b.reshape(x, &shape)
}

/// The cotangent of A for L L^H = A.
pub fn cholesky_cotangent(b: &mut Builder, l: Value, g: Value) -> Result<Value> {
    let one = eye(b, l)?;
    let back = b.push(TriangularSolve { lower: true, adjoint: false }, &[l, one])?;
    let middle = matmul(b, (l, true), (g, false))?;
    let middle = half_diagonal(b, middle)?;
    let middle = band(b, middle, CompareOp::Le)?;
    let left = matmul(b, (back, true), (middle, false))?;
    let a = matmul(b, (left, false), (back, false))?;
    let mirrored = adjoint(b, a)?;
    let sum = b.binary(BinaryOp::Add, a, mirrored)?;
    b.binary_scalar(BinaryOp::Mul, sum, 0.5)
}

pub fn cholesky(b: &mut Builder, args: VjpArgs<'_>) -> Cotangents {
    let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
    Ok(vec![Some(cholesky_cotangent(b, args.outputs[0], g)?)])
}

/// For a X = b: the cotangent of b solves the adjoint equation; that of a is minus its product with X. A triangular `a`
/// has none outside of its triangle.
pub fn solve(b: &mut Builder, args: VjpArgs<'_>, adjoint: bool, lower: Option<bool>) -> Cotangents {
    let Some(g) = cotangent(&args) else { return Ok(vec![None; 2]) };
    let (a, x) = (args.inputs[0], args.outputs[0]);
    let gb = match lower {
        None => b.push(MatrixSolve { adjoint: !adjoint }, &[a, g])?,
        Some(lower) => b.push(TriangularSolve { lower, adjoint: !adjoint }, &[a, g])?,
    };
    let ga = if adjoint { matmul(b, (x, false), (gb, true))? } else { matmul(b, (gb, false), (x, true))? };
    let mut ga = b.unary(UnaryOp::Neg, ga)?;
    if let Some(lower) = lower {
        ga = band(b, ga, if lower { CompareOp::Le } else { CompareOp::Ge })?;
    }
    Ok(vec![Some(ga), Some(gb)])
}

pub fn determinant(b: &mut Builder, args: VjpArgs<'_>) -> Cotangents {
    let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
    let back = inverse(b, args.inputs[0], true)?;
    // TensorFlow does not conjugate the determinant here.
    let factor = b.binary(BinaryOp::Mul, g, args.outputs[0])?;
    let factor = stretched(b, factor, 2)?;
    Ok(vec![Some(b.binary(BinaryOp::Mul, factor, back)?)])
}

/// The sign is piecewise constant.
pub fn log_det(b: &mut Builder, args: VjpArgs<'_>) -> Cotangents {
    let Some(g) = args.cotangents.get(1).copied().flatten() else { return Ok(vec![None]) };
    let back = inverse(b, args.inputs[0], true)?;
    let factor = stretched(b, g, 2)?;
    Ok(vec![Some(b.binary(BinaryOp::Mul, factor, back)?)])
}

pub fn qr(b: &mut Builder, args: VjpArgs<'_>) -> Cotangents {
    let (q, r) = (args.outputs[0], args.outputs[1]);
    if args.cotangents.iter().all(Option::is_none) {
        return Ok(vec![None]);
    }
    let [.., k, n] = &b.ty(r).shape[..] else { return Err(anyhow::anyhow!("R is no matrix").into()) };
    if k != n {
        return Err(anyhow::anyhow!("the gradient needs a square R, not {k} x {n}").into());
    }
    let zeros = |b: &mut Builder, like: Value| {
        let ty = b.ty(like).clone();
        crate::ops::shape::splat(b, ty.dtype, 0.0, &ty.shape)
    };
    let dq = match args.cotangents[0] {
        Some(g) => g,
        None => zeros(b, q)?,
    };
    let dr = match args.cotangents[1] {
        Some(g) => g,
        None => zeros(b, r)?,
    };
    let qdq = matmul(b, (q, true), (dq, false))?;
    let rdr = matmul(b, (r, false), (dr, true))?;
    let skew = |b: &mut Builder, x: Value| {
        let y = adjoint(b, x)?;
        b.binary(BinaryOp::Sub, x, y)
    };
    let (s, t) = (skew(b, qdq)?, skew(b, rdr)?);
    let sum = b.binary(BinaryOp::Add, s, t)?;
    let lower = band(b, sum, CompareOp::Le)?;
    // x R^-H
    let right_solve = |b: &mut Builder, x: Value| {
        let x = adjoint(b, x)?;
        let y = b.push(TriangularSolve { lower: false, adjoint: false }, &[r, x])?;
        adjoint(b, y)
    };
    let first = right_solve(b, lower)?;
    let first = b.binary(BinaryOp::Add, dr, first)?;
    let first = matmul(b, (q, false), (first, false))?;
    let inside = matmul(b, (q, false), (qdq, false))?;
    let outside = b.binary(BinaryOp::Sub, dq, inside)?;
    let second = right_solve(b, outside)?;
    Ok(vec![Some(b.binary(BinaryOp::Add, first, second)?)])
}

/// v (diag(ge) + f * (v^H gv)) v^H with f = 1 / (e_j - e_i), of which the lower triangle is read by the op.
pub fn eigh(b: &mut Builder, args: VjpArgs<'_>) -> Cotangents {
    let (e, v) = (args.outputs[0], args.outputs[1]);
    let mut middle = None;
    if let Some(g) = args.cotangents[0] {
        let row = eye(b, v)?;
        let column = stretched(b, g, 1)?;
        middle = Some(b.binary(BinaryOp::Mul, row, column)?);
    }
    if let Some(g) = args.cotangents[1] {
        let column = stretched(b, e, 1)?;
        let mut shape = b.ty(e).shape.clone();
        shape.insert(shape.len() - 1, Dim::from(1));
        let row = b.reshape(e, &shape)?;
        let gap = b.binary(BinaryOp::Sub, row, column)?;
        let one = b.scalar(b.ty(e).dtype, 1.0)?;
        let f = b.binary(BinaryOp::DivNoNan, one, gap)?;
        let vg = matmul(b, (v, true), (g, false))?;
        let mixed = b.binary(BinaryOp::Mul, f, vg)?;
        middle = Some(match middle {
            Some(m) => b.binary(BinaryOp::Add, m, mixed)?,
            None => mixed,
        });
    }
    let Some(middle) = middle else { return Ok(vec![None]) };
    let left = matmul(b, (v, false), (middle, false))?;
    let a = matmul(b, (left, false), (v, true))?;
    let mirrored = adjoint(b, a)?;
    let sum = b.binary(BinaryOp::Add, a, mirrored)?;
    let lower = band(b, sum, CompareOp::Le)?;
    Ok(vec![Some(half_diagonal(b, lower)?)])
}

/// The adjoint equation has the diagonals above and below exchanged, shifted by one.
pub fn tridiagonal(b: &mut Builder, args: VjpArgs<'_>, pivoting: bool) -> Cotangents {
    let Some(g) = cotangent(&args) else { return Ok(vec![None; 2]) };
    let (d, x) = (args.inputs[0], args.outputs[0]);
    let rank = b.ty(d).rank();
    let conj = |b: &mut Builder, v: Value| {
        if b.ty(v).dtype.is_complex() { b.unary(UnaryOp::Conj, v) } else { Ok(v) }
    };
    let shape = b.ty(d).shape.clone();
    let row = |b: &mut Builder, i: i64| {
        crate::ops::shape::slice::slice(
            b,
            d,
            crate::ops::shape::Slice::along(&shape, rank - 2, Dim::from(i), Dim::from(1)),
        )
    };
    let (over, on, under) = (row(b, 0)?, row(b, 1)?, row(b, 2)?);
    let (new_over, new_under) = (shifted(b, under, rank - 1, -1)?, shifted(b, over, rank - 1, 1)?);
    let transposed = crate::ops::shape::join::concat(b, &[new_over, on, new_under], rank - 2)?;
    let transposed = conj(b, transposed)?;
    let gb = b.push(TridiagonalSolve { pivoting }, &[transposed, g])?;
    let mut parts = vec![];
    for step in [-1, 0, 1] {
        let xs = shifted(b, x, rank - 2, step)?;
        let xs = conj(b, xs)?;
        let product = b.binary(BinaryOp::Mul, gb, xs)?;
        let sum = b.push(Reduce { op: ReduceOp::Sum, axes: vec![rank - 1], keep_dims: false }, &[product])?;
        let sum = b.unary(UnaryOp::Neg, sum)?;
        let mut shape = b.ty(sum).shape.clone();
        shape.insert(rank - 2, Dim::from(1));
        parts.push(b.reshape(sum, &shape)?);
    }
    Ok(vec![Some(crate::ops::shape::join::concat(b, &parts, rank - 2)?), Some(gb)])
}

/// Elements moved along an axis by `step` places, zeros entering: result `i` is element `i - step`.
pub fn shifted(b: &mut Builder, x: Value, axis: usize, step: i64) -> Result<Value> {
    if step == 0 {
        return Ok(x);
    }
    let shape = b.ty(x).shape.clone();
    let (start, kept) = (Dim::from(i64::from(step < 0)), shape[axis].clone() - Dim::from(1));
    let x = crate::ops::shape::slice::slice(b, x, crate::ops::shape::Slice::along(&shape, axis, start, kept))?;
    let mut around = [vec![Dim::from(0); shape.len()], vec![Dim::from(0); shape.len()]];
    around[usize::from(step < 0)][axis] = Dim::from(1);
    let [low, high] = around;
    crate::ops::shape::slice::zero_pad(b, x, low, high)
}
