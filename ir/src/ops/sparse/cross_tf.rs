//! TensorFlow's crosses of features.

use anyhow::{Result, bail};

use super::cross::FeatureCross;
use crate::graph::Value;
use crate::ops::host::tf_ops;
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};
use crate::{DType, Dim};

/// The operands of a list of `n` from operand `at` on.
fn operands(cx: &TfCx<'_>, at: usize, n: usize) -> Result<Vec<Value>> {
    (at..at + n).map(|i| cx.input(i)).collect()
}

/// The columns of a node whose operands are the lists indices, values, shapes and dense.
fn columns(cx: &TfCx<'_>, sparse: usize, dense: usize) -> Result<(String, Vec<Value>)> {
    let mut values = vec![];
    for i in 0..sparse {
        values.extend((0..3).map(|part| cx.input(part * sparse + i)).collect::<Result<Vec<_>>>()?);
    }
    values.extend(operands(cx, 3 * sparse, dense)?);
    Ok(("s".repeat(sparse) + &"d".repeat(dense), values))
}

fn push(cx: &mut TfCx<'_>, columns: String, how: &str, inputs: &[Value]) -> Result<Vec<Value>> {
    let count = cx.b.fresh_dim("crosses");
    cx.b.push_all(FeatureCross { columns, how: how.into(), count, splits: vec![], rows: Dim::from(0) }, inputs)
}

/// The operands that join strings, or that say how to hash: from attributes, as the first version has them.
fn how(cx: &mut TfCx<'_>) -> Result<(&'static str, Vec<Value>)> {
    if !cx.bool("hashed_output")? {
        return Ok(("join", vec![cx.b.constant(Tensor::of_strings(&[], vec![b"_X_".to_vec()]))?]));
    }
    let (buckets, key) = (Tensor::scalar(cx.int("num_buckets")?), Tensor::scalar(cx.int("hash_key")?));
    Ok(("hash", vec![cx.b.constant(buckets)?, cx.b.constant(key)?]))
}

fn first(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (sparse, dense) = (usize::try_from(cx.int("N")?)?, cx.dtypes("dense_types")?);
    let internal = cx.dtype("internal_type")?;
    let strings_only = internal == DType::String;
    if strings_only && cx.bool("hashed_output")? {
        bail!("hashed crosses of the internal type string, which TensorFlow has no kernel for");
    }
    if strings_only && cx.dtypes("sparse_types")?.iter().chain(&dense).any(|d| *d != DType::String) {
        bail!("features must have the internal type string");
    }
    let (letters, mut inputs) = columns(cx, sparse, dense.len())?;
    let (how, rest) = how(cx)?;
    inputs.extend(rest);
    push(cx, letters, how, &inputs)
}

/// Operands after the columns: the separator; or the number of buckets, whether the hash is strong, the salt.
fn second(cx: &mut TfCx<'_>, how: &str, after: usize) -> Result<Vec<Value>> {
    let (sparse, dense) = (usize::try_from(cx.int("N")?)?, cx.dtypes("dense_types")?.len());
    let (letters, mut inputs) = columns(cx, sparse, dense)?;
    inputs.extend(operands(cx, 3 * sparse + dense, after)?);
    push(cx, letters, how, &inputs)
}

/// Operands: values and splits of ragged columns, then as the others; `input_order` says how they are mixed.
fn ragged(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let ragged = cx.dtypes("ragged_values_types")?.len();
    let (sparse, dense) = (cx.dtypes("sparse_values_types")?.len(), cx.dtypes("dense_types")?.len());
    let mut next = [('R', 0), ('S', 0), ('D', 0)];
    let (mut letters, mut inputs) = (String::new(), vec![]);
    let order = cx.str("input_order")?;
    if order.len() != ragged + sparse + dense {
        bail!("the order `{order}` of {ragged} ragged, {sparse} sparse and {dense} dense columns");
    }
    let mut rows = None;
    for kind in order.chars() {
        let Some(slot) = next.iter_mut().find(|n| n.0 == kind) else { bail!("the order `{order}`") };
        let i = slot.1;
        slot.1 += 1;
        let base = 2 * ragged;
        let at: Vec<usize> = match kind {
            'R' => vec![i, ragged + i],
            'S' => (0..3).map(|part| base + part * sparse + i).collect(),
            _ => vec![base + 3 * sparse + i],
        };
        let own = at.iter().map(|&i| cx.input(i)).collect::<Result<Vec<_>>>()?;
        let extent = |v: Value| cx.b.ty(v).shape.first().cloned();
        match kind {
            'R' => rows = extent(own[1]).map(|n| n - Dim::from(1)),
            'D' if rows.is_none() => rows = extent(own[0]),
            _ => {}
        }
        letters.push(kind.to_ascii_lowercase());
        inputs.extend(own);
    }
    let rows = rows.unwrap_or_else(|| cx.b.fresh_dim("rows"));
    let splits = vec![cx.dtype("out_row_splits_type")?];
    let (how, rest) = how(cx)?;
    inputs.extend(rest);
    let count = cx.b.fresh_dim("crosses");
    cx.b.push_all(FeatureCross { columns: letters, how: how.into(), count, splits, rows }, &inputs)
}

/// Import rules of TensorFlow's crosses.
pub const TF: &[TfBinding] = tf_ops! {
    "SparseCross" => first, "SparseCrossV2" => |cx| second(cx, "join", 1),
    "SparseCrossHashed" => |cx| second(cx, "salted", 3), "RaggedCross" => ragged,
};
