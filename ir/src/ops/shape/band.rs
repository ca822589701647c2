//! TensorFlow's diagonals and bands of matrices: compositions of index ramps, comparisons and selects.

use anyhow::{Context, Result, bail};

use super::slice::{slice, zero_pad};
use super::{Pad, Slice, always_negative, at_least_zero, splat};
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

/// The diagonals that a V2 or V3 op names, lowest and highest, and at which end the shorter of them are filled up.
struct Band {
    lower: i64,
    upper: i64,
    /// Whether diagonals above the main one stand at the end of their rows.
    right_above: bool,
    /// Whether diagonals below the main one do.
    right_below: bool,
}

impl Band {
    /// Operand `i`: one number or two.
    fn read(cx: &TfCx<'_>, i: usize) -> Result<Band> {
        // TensorFlow counts diagonals in i32; a larger number names none.
        let near = |k: i64| i32::try_from(k).is_ok_and(|k| k > i32::MIN);
        let (lower, upper) = match cx.const_ints(i)?[..] {
            [k] if near(k) => (k, k),
            [lower, upper] if lower <= upper && near(lower) && near(upper) => (lower, upper),
            ref band => bail!("operand {i} names the diagonals {band:?}: one number or two that ascend are needed"),
        };
        if upper - lower > 1 << 16 {
            bail!("a band of {} diagonals", upper - lower + 1);
        }
        let align = match cx.node.attrs.contains_key("align") {
            true => cx.str("align")?,
            false => "LEFT_LEFT".into(),
        };
        let (above, below) = align.split_once('_').with_context(|| format!("the alignment `{align}`"))?;
        if ![above, below].iter().all(|side| matches!(*side, "LEFT" | "RIGHT")) {
            bail!("the alignment `{align}` is not supported");
        }
        Ok(Band { lower, upper, right_above: above == "RIGHT", right_below: below == "RIGHT" })
    }

    fn is_one(&self) -> bool {
        self.lower == self.upper
    }

    /// The diagonals in the order of their rows: from the upper right down.
    fn diagonals(&self) -> impl Iterator<Item = i64> {
        (self.lower..=self.upper).rev()
    }

    /// The length of the longest diagonal in a matrix.
    fn longest(&self, rows: &Dim, columns: &Dim) -> Dim {
        let rows = rows.clone() + Dim::from(self.upper.min(0));
        let columns = columns.clone() - Dim::from(self.lower.max(0));
        rows.smaller(&columns)
    }

    /// The first element of diagonal `k`, of length `length`, in a row of the longest one's length.
    fn offset(&self, k: i64, length: &Dim, longest: &Dim) -> Dim {
        let right = if k > 0 { self.right_above } else { self.right_below && k < 0 };
        if right { longest.clone() - length.clone() } else { Dim::from(0) }
    }
}

/// The length of diagonal `k` of a matrix.
fn diagonal_length(rows: &Dim, columns: &Dim, k: i64) -> Dim {
    (rows.clone() - Dim::from((-k).max(0))).smaller(&(columns.clone() - Dim::from(k.max(0))))
}

/// `rest` with the diagonals of a band replaced by the rows of `diagonals`.
fn with_band(b: &mut Builder, diagonals: Value, rest: Value, band: &Band) -> Result<Value> {
    if band.is_one() {
        // A band of one diagonal may still have the axis of diagonals.
        let mut shape = b.ty(diagonals).shape.clone();
        let diagonal = match shape.len() == b.ty(rest).rank() && shape[shape.len() - 2].is(1) {
            true => {
                shape.remove(shape.len() - 2);
                b.reshape(diagonals, &shape)?
            }
            false => diagonals,
        };
        return with_diagonal(b, diagonal, rest, band.lower);
    }
    let (_, rows, columns) = matrix(b, rest)?;
    let shape = b.ty(diagonals).shape.clone();
    let (longest, count) = (band.longest(&rows, &columns), Dim::from(band.upper - band.lower + 1));
    let [.., given, length] = &shape[..] else { bail!("{} are no diagonals", b.ty(diagonals)) };
    if !super::may_equal(given, &count) || !super::may_equal(length, &longest) {
        bail!("{} are no {count} diagonals of up to {longest} elements", b.ty(diagonals));
    }
    let axis = shape.len() - 1;
    let mut y = rest;
    for (i, k) in band.diagonals().enumerate() {
        let length = diagonal_length(&rows, &columns, k);
        let mut op = Slice::along(&shape, axis, band.offset(k, &length, &longest), length.clone());
        (op.start[axis - 1], op.size[axis - 1]) = (Dim::from(i), Dim::from(1));
        let one = slice(b, diagonals, op)?;
        let flat = [&shape[..axis - 1], &[length]].concat();
        let one = b.reshape(one, &flat)?;
        y = with_diagonal(b, one, y, k)?;
    }
    Ok(y)
}

/// MatrixDiag (only a diagonal) and MatrixDiagV2, V3 (diagonals, k, rows, columns, padding).
fn matrix_diag(cx: &mut TfCx<'_>, full: bool) -> Result<Vec<Value>> {
    let (diagonal, ty) = (cx.input(0)?, cx.ty(0)?);
    let Some((length, mut batch)) = ty.shape.split_last() else { bail!("a diagonal is a vector, not a scalar") };
    let band = match full {
        true => Band::read(cx, 1)?,
        false => Band { lower: 0, upper: 0, right_above: false, right_below: false },
    };
    if !band.is_one() {
        batch = batch.split_last().map(|b| b.1).with_context(|| format!("{ty} holds no diagonals"))?;
    }
    let (rows, columns, padding) = if full {
        let mut given = |i: usize| Ok::<_, anyhow::Error>(cx.dims_input(i)?.first().filter(|d| !d.is(-1)).cloned());
        // Left out, both: a square; one: the least that holds the diagonals.
        let down = length.clone() + Dim::from((-band.upper).max(0));
        let right = length.clone() + Dim::from(band.lower.max(0));
        match (given(2)?, given(3)?) {
            (None, None) => {
                let side = down.larger(&right);
                (side.clone(), side, cx.input(4)?)
            }
            (rows, columns) => (rows.unwrap_or(down), columns.unwrap_or(right), cx.input(4)?),
        }
    } else {
        (length.clone(), length.clone(), cx.b.scalar(ty.dtype, 0.0)?)
    };
    let rest = cx.b.broadcast(padding, &[batch, &[rows, columns]].concat())?;
    Ok(vec![with_band(cx.b, diagonal, rest, &band)?])
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

fn part(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![diagonal_of(cx.b, x, 0)?])
}

/// Operands: matrices, k, the number that fills up shorter diagonals.
fn band_part(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, padding, band) = (cx.input(0)?, cx.input(2)?, Band::read(cx, 1)?);
    let b = &mut *cx.b;
    if band.is_one() {
        return Ok(vec![diagonal_of(b, x, band.lower)?]);
    }
    let (batch, rows, columns) = matrix(b, x)?;
    let longest = band.longest(&rows, &columns);
    let mut all = vec![];
    for k in band.diagonals() {
        let one = diagonal_of(b, x, k)?;
        let length = diagonal_length(&rows, &columns, k);
        let low = band.offset(k, &length, &longest);
        let high = longest.clone() - length - low.clone();
        let mut pads = [vec![Dim::from(0); batch.len() + 1], vec![Dim::from(0); batch.len() + 1]];
        (pads[0][batch.len()], pads[1][batch.len()]) = (low, high);
        let [low, high] = pads;
        let one =
            if low.iter().chain(&high).all(|d| d.is(0)) { one } else { b.push(Pad { low, high }, &[one, padding])? };
        all.push(b.reshape(one, &[&batch[..], &[Dim::from(1), longest.clone()]].concat())?);
    }
    Ok(vec![super::join::concat(b, &all, batch.len())?])
}

fn set(cx: &mut TfCx<'_>, band: &Band) -> Result<Vec<Value>> {
    let (x, diagonal) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![with_band(cx.b, diagonal, x, band)?])
}

fn set_main(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    set(cx, &Band { lower: 0, upper: 0, right_above: false, right_below: false })
}

fn set_band(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let band = Band::read(cx, 2)?;
    set(cx, &band)
}

/// The TensorFlow ops of this file.
pub const TF: &[TfBinding] = &[
    TfBinding { op: "MatrixBandPart", read: tf_matrix_band_part },
    TfBinding { op: "Diag", read: tf_diag },
    TfBinding { op: "DiagPart", read: tf_diag_part },
    TfBinding { op: "MatrixDiag", read: |cx| matrix_diag(cx, false) },
    TfBinding { op: "MatrixDiagV2", read: |cx| matrix_diag(cx, true) },
    TfBinding { op: "MatrixDiagV3", read: |cx| matrix_diag(cx, true) },
    TfBinding { op: "MatrixDiagPart", read: part },
    TfBinding { op: "MatrixDiagPartV2", read: band_part },
    TfBinding { op: "MatrixDiagPartV3", read: band_part },
    TfBinding { op: "MatrixSetDiag", read: set_main },
    TfBinding { op: "MatrixSetDiagV2", read: set_band },
    TfBinding { op: "MatrixSetDiagV3", read: set_band },
];
