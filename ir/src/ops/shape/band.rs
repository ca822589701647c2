//! TensorFlow's diagonals and bands of matrices: compositions of index ramps, comparisons and selects.

use anyhow::{Context, Result, bail};

use super::slice::{slice, zero_pad};
use super::{Slice, always_negative, at_least_zero, splat};
use crate::graph::Value;
use crate::ops::constant::Iota;
use crate::scalar::{BinaryOp, CompareOp};
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim};

/// column - row for each element of a matrix, of an integer type.
fn column_minus_row(b: &mut Builder, rows: &Dim, columns: &Dim, dtype: DType) -> Result<Value> {
    let row = b.push(Iota { shape: vec![rows.clone(), Dim::from(1)], axis: 0, dtype }, &[])?;
    let column = b.push(Iota { shape: vec![Dim::from(1), columns.clone()], axis: 1, dtype }, &[])?;
    b.binary(BinaryOp::Sub, column, row)
}

/// The last two axes of a value.
fn matrix(b: &Builder, x: Value) -> Result<(Vec<Dim>, Dim, Dim)> {
    match &b.ty(x).shape[..] {
        [batch @ .., rows, columns] => Ok((batch.to_vec(), rows.clone(), columns.clone())),
        _ => bail!("{} is no matrix", b.ty(x)),
    }
}

/// Operands: x, the number of diagonals kept below the main one, and above; negative keeps all.
fn tf_matrix_band_part(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, lower, upper) = (cx.input(0)?, cx.ty(0)?, cx.input(1)?, cx.input(2)?);
    let b = &mut *cx.b;
    let (_, rows, columns) = matrix(b, x)?;
    let lower = b.cast(DType::I64, lower)?;
    let upper = b.cast(DType::I64, upper)?;
    let above = column_minus_row(b, &rows, &columns, DType::I64)?;
    let below = b.unary(crate::scalar::UnaryOp::Neg, above)?;
    let mut keep = Vec::new();
    for (bound, distance) in [(lower, below), (upper, above)] {
        let zero = b.scalar(DType::I64, 0.0)?;
        let all = b.compare(CompareOp::Lt, bound, zero)?;
        let near = b.compare(CompareOp::Le, distance, bound)?;
        keep.push(b.binary(BinaryOp::Or, all, near)?);
    }
    let inside = b.binary(BinaryOp::And, keep[0], keep[1])?;
    let zero = b.scalar(ty.dtype, 0.0)?;
    Ok(vec![b.select(inside, x, zero)?])
}

/// `rest` with its diagonal `k` (column - row) replaced by the vectors `diagonal`.
fn with_diagonal(b: &mut Builder, diagonal: Value, rest: Value, k: i64) -> Result<Value> {
    let (batch, rows, columns) = matrix(b, rest)?;
    let mut shape = b.ty(diagonal).shape.clone();
    let Some(length) = shape.last().cloned() else { bail!("a diagonal is a vector, not a scalar") };
    let low = Dim::from(k.max(0));
    let fits = (rows.clone() - Dim::from((-k).max(0))).smaller(&(columns.clone() - low.clone()));
    if always_negative(&(fits.clone() - Dim::from(1))) || !super::may_equal(&fits, &length) {
        bail!("diagonal {k} of a {rows} x {columns} matrix has {fits} elements, not {length}");
    }
    // Element n of the diagonal stands in column n + max(k, 0): along columns, every row alike, then masked.
    let high = at_least_zero(&(columns.clone() - length - low.clone()));
    let around = |d: Dim| {
        let mut all = vec![Dim::from(0); shape.len()];
        all[shape.len() - 1] = d;
        all
    };
    let row = zero_pad(b, diagonal, around(low), around(high))?;
    let last = shape.len() - 1;
    shape[last] = columns.clone();
    shape.insert(last, Dim::from(1));
    if shape.len() != batch.len() + 2 {
        bail!("{} cannot be the diagonals of {}", b.ty(diagonal), b.ty(rest));
    }
    let row = b.reshape(row, &shape)?;
    let distance = column_minus_row(b, &rows, &columns, DType::I64)?;
    let k = b.scalar(DType::I64, k as f64)?;
    let on = b.compare(CompareOp::Eq, distance, k)?;
    b.select(on, row, rest)
}

/// Diagonal `k` of matrices: every `columns + 1`-th element of the flattened matrix.
fn diagonal_of(b: &mut Builder, x: Value, k: i64) -> Result<Value> {
    let (batch, rows, columns) = matrix(b, x)?;
    let stride = columns.as_const().with_context(|| format!("the rows of {} have no fixed length", b.ty(x)))?;
    let (down, right) = ((-k).max(0), k.max(0));
    let length = (rows.clone() - Dim::from(down)).smaller(&(columns.clone() - Dim::from(right)));
    if always_negative(&(length.clone() - Dim::from(1))) && !length.is(0) {
        bail!("a {rows} x {columns} matrix has no diagonal {k}");
    }
    let mut flat = batch.clone();
    flat.push(rows * columns);
    let x = b.reshape(x, &flat)?;
    let first = down.saturating_mul(stride).saturating_add(right);
    let mut op = Slice::along(&flat, batch.len(), Dim::from(first), at_least_zero(&length));
    op.step[batch.len()] = stride + 1;
    slice(b, x, op)
}

/// The diagonal that a V2 or V3 op names: operand `i`, one number.
fn one_diagonal(cx: &TfCx<'_>, i: usize) -> Result<i64> {
    // TensorFlow counts diagonals in i32; a larger number names none.
    let near = |k: i64| i32::try_from(k).is_ok_and(|k| k > i32::MIN);
    match cx.const_ints(i)?[..] {
        [k] if near(k) => Ok(k),
        [lower, upper] if lower == upper && near(lower) => Ok(lower),
        ref band => bail!("operand {i} names the diagonals {band:?}: only a single diagonal is supported"),
    }
}

/// MatrixDiag (only a diagonal) and MatrixDiagV2, V3 (diagonal, k, rows, columns, padding).
fn matrix_diag(cx: &mut TfCx<'_>, full: bool) -> Result<Vec<Value>> {
    let (diagonal, ty) = (cx.input(0)?, cx.ty(0)?);
    let Some((length, batch)) = ty.shape.split_last() else { bail!("a diagonal is a vector, not a scalar") };
    let k = if full { one_diagonal(cx, 1)? } else { 0 };
    let (rows, columns, padding) = if full {
        let mut given = |i: usize| Ok::<_, anyhow::Error>(cx.dims_input(i)?.first().filter(|d| !d.is(-1)).cloned());
        // Left out, both: a square; one: the least that holds the diagonal.
        let (down, right) = (length.clone() + Dim::from((-k).max(0)), length.clone() + Dim::from(k.max(0)));
        match (given(2)?, given(3)?) {
            (None, None) => {
                let side = length.clone() + Dim::from(k.saturating_abs());
                (side.clone(), side, cx.input(4)?)
            }
            (rows, columns) => (rows.unwrap_or(down), columns.unwrap_or(right), cx.input(4)?),
        }
    } else {
        (length.clone(), length.clone(), cx.b.scalar(ty.dtype, 0.0)?)
    };
    let rest = cx.b.broadcast(padding, &[batch, &[rows, columns]].concat())?;
    Ok(vec![with_diagonal(cx.b, diagonal, rest, k)?])
}

/// Diag: the operand, flattened, on the diagonal of a matrix, under the operand's shape twice.
fn tf_diag(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let n = ty.elements();
    let flat = cx.b.reshape(x, std::slice::from_ref(&n))?;
    let zeros = splat(cx.b, ty.dtype, 0.0, &[n.clone(), n])?;
    let y = with_diagonal(cx.b, flat, zeros, 0)?;
    Ok(vec![cx.b.reshape(y, &[ty.shape.clone(), ty.shape].concat())?])
}

/// DiagPart: the inverse of Diag.
fn tf_diag_part(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let (first, second) = ty.shape.split_at(ty.rank() / 2);
    if first.len() != second.len() || !first.iter().zip(second).all(|(a, b)| super::may_equal(a, b)) {
        bail!("{ty} does not have one shape twice");
    }
    let n = Dim::product(first);
    let square = cx.b.reshape(x, &[n.clone(), n])?;
    let y = diagonal_of(cx.b, square, 0)?;
    Ok(vec![cx.b.reshape(y, first)?])
}

fn part(cx: &mut TfCx<'_>, k: i64) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![diagonal_of(cx.b, x, k)?])
}

fn set(cx: &mut TfCx<'_>, k: i64) -> Result<Vec<Value>> {
    let (x, diagonal) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![with_diagonal(cx.b, diagonal, x, k)?])
}

/// The TensorFlow ops of this file.
pub const TF: &[TfBinding] = &[
    TfBinding { op: "MatrixBandPart", read: tf_matrix_band_part },
    TfBinding { op: "Diag", read: tf_diag },
    TfBinding { op: "DiagPart", read: tf_diag_part },
    TfBinding { op: "MatrixDiag", read: |cx| matrix_diag(cx, false) },
    TfBinding { op: "MatrixDiagV2", read: |cx| matrix_diag(cx, true) },
    TfBinding { op: "MatrixDiagV3", read: |cx| matrix_diag(cx, true) },
    TfBinding { op: "MatrixDiagPart", read: |cx| part(cx, 0) },
    TfBinding { op: "MatrixDiagPartV2", read: |cx| part(cx, one_diagonal(cx, 1)?) },
    TfBinding { op: "MatrixDiagPartV3", read: |cx| part(cx, one_diagonal(cx, 1)?) },
    TfBinding { op: "MatrixSetDiag", read: |cx| set(cx, 0) },
    TfBinding { op: "MatrixSetDiagV2", read: |cx| set(cx, one_diagonal(cx, 2)?) },
    TfBinding { op: "MatrixSetDiagV3", read: |cx| set(cx, one_diagonal(cx, 2)?) },
];
