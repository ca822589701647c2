//! Products: XlaDot, XlaDotV2, XlaEinsum.

use anyhow::{Result, bail};

use super::dimensions::{DotDimensionNumbers, axes, message, others};
use crate::graph::Value;
use crate::ops::contract::Contract;
use crate::ops::host::tf_ops;
use crate::ops::shape::may_equal;
use crate::tf::{TfBinding, TfCx};
use crate::{Class, DType};

/// The type that products of two types are computed in where the result is to be `result`: the widest of the three, so
/// that nothing is rounded before it is summed.
pub(super) fn compute_type(lhs: DType, rhs: DType, result: DType) -> DType {
    let rank = |d: DType| {
        let class = match d.class() {
            Class::Bool | Class::Other => 0,
            Class::Unsigned => 1,
            Class::Signed => 2,
            Class::Float => 3,
            Class::Complex => 4,
        };
        (class, d.size())
    };
    let wider = |a: DType, b: DType| if rank(b) > rank(a) { b } else { a };
    wider(wider(lhs, rhs), result)
}

/// Both operands in the type to compute in, and the type of the result.
pub(super) fn operands(cx: &mut TfCx<'_>) -> Result<(Value, Value, DType)> {
    let (lhs, rhs) = (cx.ty(0)?.dtype, cx.ty(1)?.dtype);
    let preferred = cx.node.attrs.contains_key("preferred_element_type");
    let result = if preferred { cx.dtype("preferred_element_type")? } else { lhs };
    let compute = compute_type(lhs, rhs, result);
    let (x, y) = (cx.input(0)?, cx.input(1)?);
    Ok((cx.b.cast(compute, x)?, cx.b.cast(compute, y)?, result))
}

/// The result's axes: the batches, then what is left of the left operand, then of the right one.
fn dot(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let numbers: DotDimensionNumbers = message(cx, "dimension_numbers")?;
    let (tx, ty) = (cx.ty(0)?, cx.ty(1)?);
    let batch =
        (axes(&numbers.lhs_batch, tx.rank(), "batch axes")?, axes(&numbers.rhs_batch, ty.rank(), "batch axes")?);
    let sum = (
        axes(&numbers.lhs_contracting, tx.rank(), "contracting axes")?,
        axes(&numbers.rhs_contracting, ty.rank(), "contracting axes")?,
    );
    if batch.0.len() != batch.1.len() || sum.0.len() != sum.1.len() {
        bail!("the operands have different numbers of batch or contracting axes: {numbers:?}");
    }
    let pairs: Vec<(usize, usize)> =
        batch.0.iter().chain(&sum.0).copied().zip(batch.1.iter().chain(&sum.1).copied()).collect();
    if let Some(&(i, j)) = pairs.iter().find(|&&(i, j)| !may_equal(&tx.shape[i], &ty.shape[j])) {
        bail!("axis {i} of {tx} does not fit axis {j} of {ty}");
    }
    let mut free = (b'a'..=b'z').chain(b'A'..=b'Z');
    let mut label = || free.next();
    let (mut lhs, mut rhs) = (vec![None; tx.rank()], vec![None; ty.rank()]);
    for &(i, j) in &pairs {
        let l = label();
        if lhs[i].is_some() || rhs[j].is_some() {
            bail!("an axis is both a batch and contracted: {numbers:?}");
        }
        (lhs[i], rhs[j]) = (l, l);
    }
    lhs.iter_mut().chain(&mut rhs).filter(|l| l.is_none()).for_each(|l| *l = label());
    let (Some(lhs), Some(rhs)) =
        (lhs.into_iter().collect::<Option<Vec<u8>>>(), rhs.into_iter().collect::<Option<Vec<u8>>>())
    else {
        bail!("a product of {tx} and {ty} has more than 52 axes")
    };
    let named: (Vec<usize>, Vec<usize>) = ([&batch.0[..], &sum.0].concat(), [&batch.1[..], &sum.1].concat());
    let out = (batch.0.iter().map(|&i| lhs[i]))
        .chain(others(tx.rank(), &named.0).into_iter().map(|i| lhs[i]))
        .chain(others(ty.rank(), &named.1).into_iter().map(|j| rhs[j]))
        .collect();
    let (x, y, result) = operands(cx)?;
    let z = cx.b.push(Contract { lhs, rhs, out }, &[x, y])?;
    Ok(vec![cx.b.cast(result, z)?])
}

/// The import rules of this file.
pub const TF: &[TfBinding] =
    tf_ops! { "XlaDot" => dot, "XlaDotV2" => dot, "XlaEinsum" => crate::ops::contract::einsum };
