//! TensorFlow's linear algebra.

use anyhow::{Result, bail};

use super::gradients::{cholesky_cotangent, inverse, shifted};
use super::*;
use crate::graph::Value;
use crate::ops::contract::Contract;
use crate::ops::host::{import, tf_ops};
use crate::scalar::BinaryOp;
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};

fn invert(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (a, adjoint) = (cx.input(0)?, cx.bool("adjoint")?);
    if cx.ty(0)?.rank() < 2 {
        bail!("{} is no matrix", cx.ty(0)?);
    }
    Ok(vec![inverse(cx.b, a, adjoint)?])
}

/// Batch axes broadcast, as MatrixTriangularSolve's do.
fn triangular(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (a, x, ta, tx) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?, cx.ty(1)?);
    if ta.rank() < 2 || tx.rank() < 2 {
        bail!("{ta} and {tx} are not both matrices");
    }
    let (ba, bx) = (&ta.shape[..ta.rank() - 2], &tx.shape[..tx.rank() - 2]);
    let Some(batch) = crate::ops::pointwise::broadcast_shapes(ba, bx) else {
        bail!("the batches {ba:?} and {bx:?} do not broadcast");
    };
    let whole = |t: &TensorType| [&batch[..], &t.shape[t.rank() - 2..]].concat();
    let (a, x) = (cx.b.broadcast(a, &whole(&ta))?, cx.b.broadcast(x, &whole(&tx))?);
    let op = TriangularSolve { lower: cx.bool("lower")?, adjoint: cx.bool("adjoint")? };
    Ok(vec![cx.b.push(op, &[a, x])?])
}

/// Without vectors, TensorFlow's kernels give a scalar in their place.
fn none(cx: &mut TfCx<'_>) -> Result<Value> {
    let dtype = cx.ty(0)?.dtype;
    cx.b.constant(Tensor::zeros(dtype, &[]))
}

fn eigh(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let mut out = import(cx, Eigh {})?;
    if !cx.bool("compute_v")? {
        out[1] = none(cx)?;
    }
    Ok(out)
}

fn svd(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let full = cx.bool("full_matrices")?;
    let mut out = import(cx, Svd { full })?;
    if !cx.bool("compute_uv")? {
        (out[1], out[2]) = (none(cx)?, none(cx)?);
    }
    Ok(out)
}

fn function(cx: &mut TfCx<'_>, name: &str) -> Result<Vec<Value>> {
    import(cx, MatrixFunction { function: name.into() })
}

/// Operands: the diagonals above, on and below the main one, each a matrix of one row, and the right side.
fn tridiagonal_mat_mul(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let x = cx.input(3)?;
    let rank = cx.ty(3)?.rank();
    let mut sum = None;
    for (i, step) in [(0, -1), (1, 0), (2, 1)] {
        let d = cx.input(i)?;
        if rank < 2 || cx.ty(i)?.rank() != rank {
            bail!("{} does not meet {}", cx.ty(i)?, cx.ty(3)?);
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        let column = cx.b.transpose(d, &perm)?;
        let moved = shifted(cx.b, x, rank - 2, step)?;
        let product = cx.b.binary(BinaryOp::Mul, column, moved)?;
        sum = Some(match sum {
            Some(s) => cx.b.binary(BinaryOp::Add, s, product)?,
            None => product,
        });
    }
    Ok(sum.into_iter().collect())
}

/// MatMul whose operands may be bf16; its result is f32.
fn sparse_mat_mul(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y) = (cx.input(0)?, cx.input(1)?);
    let (x, y) = (cx.b.cast(DType::F32, x)?, cx.b.cast(DType::F32, y)?);
    let lhs = if cx.bool("transpose_a")? { "km" } else { "mk" };
    let rhs = if cx.bool("transpose_b")? { "nk" } else { "kn" };
    Ok(vec![cx.b.push(Contract::new(lhs, rhs, "mn"), &[x, y])?])
}

fn tridiagonal_solve(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let pivoting = cx.bool("partial_pivoting")?;
    import(cx, TridiagonalSolve { pivoting })
}

fn determinant(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    import(cx, Determinant {})
}

fn solve(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let adjoint = cx.bool("adjoint")?;
    import(cx, MatrixSolve { adjoint })
}

fn cholesky_grad(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (l, g) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![cholesky_cotangent(cx.b, l, g)?])
}

fn banded_solve(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    // The bands put in their places, it is a triangular solution: row i of the operand is the diagonal i below (or, of
    // an upper triangle, rows - 1 - i above) the main one.
    let (bands, x, ty) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?);
    let lower = cx.bool("lower")?;
    let [.., rows, _] = &ty.shape[..] else { bail!("{ty} is no matrix") };
    let Some(rows) = rows.as_const() else { bail!("the number of bands of {ty} is not known") };
    let side = ty.shape[ty.rank() - 1].clone();
    let mut square = None;
    for i in 0..rows {
        let row = crate::ops::shape::Slice::along(&ty.shape, ty.rank() - 2, Dim::from(i), Dim::from(1));
        let row = crate::ops::shape::slice::slice(cx.b, bands, row)?;
        // Row r of the matrix holds the band's element r, at column r - i or r + (rows - 1 - i).
        let column = transposed(cx, row)?;
        let distance = if lower { -i } else { rows - 1 - i };
        let mask =
            cx.b.push(crate::ops::constant::Iota { shape: vec![side.clone()], axis: 0, dtype: DType::I64 }, &[])?;
        let other = cx.b.reshape(mask, &[side.clone(), Dim::from(1)])?;
        let gap = cx.b.binary(BinaryOp::Sub, mask, other)?;
        let at = cx.b.scalar(DType::I64, distance as f64)?;
        let on = cx.b.compare(crate::scalar::CompareOp::Eq, gap, at)?;
        let zero = cx.b.scalar(ty.dtype, 0.0)?;
        let placed = cx.b.select(on, column, zero)?;
        square = Some(match square {
            Some(s) => cx.b.binary(BinaryOp::Add, s, placed)?,
            None => placed,
        });
    }
    let Some(a) = square else { bail!("{ty} holds no band") };
    Ok(vec![cx.b.push(TriangularSolve { lower, adjoint: cx.bool("adjoint")? }, &[a, x])?])
}

fn transposed(cx: &mut TfCx<'_>, row: Value) -> Result<Value> {
    let rank = cx.b.ty(row).rank();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 1, rank - 2);
    cx.b.transpose(row, &perm)
}

/// Import rules of TensorFlow's linear algebra.
pub const TF: &[TfBinding] = tf_ops! {
    "Cholesky" => |cx| import(cx, Cholesky {}), "BatchCholesky" => |cx| import(cx, Cholesky {}),
    "CholeskyGrad" => cholesky_grad, "MatrixInverse" => invert, "BatchMatrixInverse" => invert,
    "MatrixDeterminant" => determinant, "BatchMatrixDeterminant" => determinant,
    "LogMatrixDeterminant" => |cx| import(cx, LogDet {}), "MatrixSolve" => solve, "BatchMatrixSolve" => solve,
    "MatrixTriangularSolve" => triangular, "BatchMatrixTriangularSolve" => triangular,
    "BandedTriangularSolve" => banded_solve,
    "MatrixSolveLs" => |cx| { let fast = cx.bool("fast")?; import(cx, LeastSquares { fast }) },
    "Lu" => |cx| { let index = cx.dtype("output_idx_type")?; import(cx, LuFactors { index }) },
    "Qr" => |cx| { let full = cx.bool("full_matrices")?; import(cx, Qr { full }) },
    "SelfAdjointEigV2" => eigh, "BatchSelfAdjointEigV2" => eigh, "Svd" => svd, "BatchSvd" => svd,
    "MatrixSquareRoot" => |cx| function(cx, "sqrt"), "MatrixLogarithm" => |cx| function(cx, "log"),
    "MatrixExponential" => |cx| function(cx, "exp"), "TridiagonalSolve" => tridiagonal_solve,
    "TridiagonalMatMul" => tridiagonal_mat_mul, "SparseMatMul" => sparse_mat_mul,
};
