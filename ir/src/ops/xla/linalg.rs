//! XlaSelfAdjointEig and XlaSvd. XLA iterates to an accuracy that the node names; here it is that of the type.

use anyhow::{Result, bail};

use crate::DType;
use crate::graph::Value;
use crate::ops::constant::Iota;
use crate::ops::host::{import, tf_ops};
use crate::ops::linalg::{Eigh, Svd};
use crate::scalar::{CompareOp, UnaryOp};
use crate::tf::{TfBinding, TfCx};

/// Only one triangle of the matrix is read.
fn eigh(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (a, ty, lower) = (cx.input(0)?, cx.ty(0)?, cx.bool("lower")?);
    let Some(rows) = ty.rank().checked_sub(2) else { bail!("{ty} is no matrix") };
    let b = &mut *cx.b;
    let mut perm: Vec<usize> = (0..ty.rank()).collect();
    perm.swap(rows, rows + 1);
    let mut mirrored = b.transpose(a, &perm)?;
    if ty.dtype.is_complex() {
        mirrored = b.unary(UnaryOp::Conj, mirrored)?;
    }
    let matrix = ty.shape[rows..].to_vec();
    let row = b.push(Iota { shape: matrix.clone(), axis: 0, dtype: DType::I32 }, &[])?;
    let column = b.push(Iota { shape: matrix, axis: 1, dtype: DType::I32 }, &[])?;
    let read = b.compare(if lower { CompareOp::Ge } else { CompareOp::Le }, row, column)?;
    let whole = b.select(read, a, mirrored)?;
    b.push_all(Eigh {}, &[whole])
}

/// The import rules of this file.
pub const TF: &[TfBinding] = tf_ops! {
    "XlaSelfAdjointEig" => eigh, "XlaSvd" => |cx| import(cx, Svd { full: true }),
};
