//! Counting, ranking and placing numbers: Bincount, LowerBound, Bucketize, InTopK, UnravelIndex, CumulativeLogsumexp.

use anyhow::{Result, bail};

use crate::graph::{TensorType, Value};
use crate::op::{OpDef, OpError};
use crate::ops::constant::Iota;
use crate::ops::host::{ANY, INDEX, extents, host_op, int_tensor, ints, require, typed};
use crate::ops::reduce::Reduce;
use crate::ops::shape::{Pad, Reverse, Slice};
use crate::ops::wide::{Wide, zeroed};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, DType, Dim};

host_op! {
    /// `bincount x, weights`: for each number below `size` how often it occurs in each row of `x`, or the sum of the weights
    /// where it does. Without elements the weights are all 1.
    Bincount = "bincount" {
        /// One more than the largest number counted.
        size: Dim,
        /// Element type of the result, which the weights have too.
        dtype: DType,
        /// Whether only occurrence is noted.
        binary: bool,
        /// Whether rows of a matrix are counted apart; otherwise everything together.
        by_rows: bool,
    }
    infer |op, given| {
        let [x, weights] = typed("bincount", given, [INDEX, ANY])?;
        let kind = weights.dtype == op.dtype && (op.dtype.is_int() || op.dtype.is_float());
        require("bincount", "C2", kind, || format!("weights {weights} for a result of {}", op.dtype))?;
        let mut shape = vec![op.size.clone()];
        if op.by_rows && x.rank() == 2 {
            shape.insert(0, x.shape[0].clone());
        }
        require("bincount", "C3", !op.by_rows || (1..=2).contains(&x.rank()), || format!("counts vectors and matrices, not {x}"))?;
        Ok(vec![TensorType::new(op.dtype, shape)])
    },
    eval |op, x| {
        let size = extents("bincount", std::slice::from_ref(&op.size))?[0];
        let apart = op.by_rows && x[0].shape().len() == 2;
        let rows = if apart { x[0].shape()[0] } else { 1 };
        let shape = if apart { vec![rows, size] } else { vec![size] };
        let numbers = ints(x[0]);
        let weighted = !x[1].is_empty();
        require("bincount", "E1", !weighted || x[1].len() == numbers.len(), || {
            format!("{} weights for {} numbers", x[1].len(), numbers.len())
        })?;
        let per_row = numbers.len() / rows.max(1);
        if let Some(i) = numbers.iter().position(|&n| n < 0) {
            return Err(OpError::new("bincount", "E1", format!("element {i} is {}: numbers are counted from 0", numbers[i])));
        }
        let counted = numbers.iter().enumerate().filter(|n| (*n.1 as u64) < size as u64);
        let slot = |i: usize, n: i64| if apart { i / per_row.max(1) * size + n as usize } else { n as usize };
        let y = match Wide::of("bincount", x[1])? {
            Wide::Real(w) => {
                let mut out = zeroed::<f64>("bincount", &shape)?;
                for (i, &n) in counted {
                    let to = &mut out[slot(i, n)];
                    *to = if op.binary { 1.0 } else { *to + if weighted { w[i] } else { 1.0 } };
                }
                Wide::Real(out)
            }
            Wide::Int(w) => {
                let mut out = zeroed::<i64>("bincount", &shape)?;
                for (i, &n) in counted {
                    let to = &mut out[slot(i, n)];
                    *to = if op.binary { 1 } else { to.wrapping_add(if weighted { w[i] } else { 1 }) };
                }
                Wide::Int(out)
            }
            Wide::Complex(_) => return Err(OpError::new("bincount", "C2", "complex weights")),
        };
        Ok(vec![y.into_tensor("bincount", op.dtype, &shape)?])
    }
}

/// Operands: numbers, size, weights.
fn bincount(cx: &mut TfCx<'_>, dense: bool) -> Result<Vec<Value>> {
    let (x, weights, dtype) = (cx.input(0)?, cx.input(2)?, cx.ty(2)?.dtype);
    let size = match &cx.dims_input(1)?[..] {
        [n] if n.as_const().is_none_or(|n| n >= 0) => n.clone(),
        other => bail!("the size is one number that is not negative, not {other:?}"),
    };
    let binary = dense && cx.bool("binary_output")?;
    Ok(vec![cx.b.push(Bincount { size, dtype, binary, by_rows: dense }, &[x, weights])?])
}

host_op! {
    /// `unravel_index i, dims`: the places along axes of extents `dims` of row-major element numbers; a column an element.
    UnravelIndex = "unravel_index" {}
    infer |_, given| {
        let [x, dims] = typed("unravel_index", given, [INDEX, INDEX])?;
        let fits = x.dtype == dims.dtype && x.rank() <= 1 && dims.rank() == 1;
        require("unravel_index", "C3", fits, || format!("takes a scalar or vector and a vector, not {x} and {dims}"))?;
        Ok(vec![TensorType::new(x.dtype, [dims.shape.clone(), x.shape.clone()].concat())])
    },
    eval |_, x| {
        let (numbers, dims) = (ints(x[0]), ints(x[1]));
        let fail = |what: String| OpError::new("unravel_index", "E1", what);
        if dims.contains(&0) {
            return Err(fail(format!("the extents {dims:?} hold 0")));
        }
        let n = dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d)).ok_or_else(|| fail(format!("extents {dims:?}")))?;
        if let Some(i) = numbers.iter().find(|i| **i < 0 || **i >= n) {
            return Err(fail(format!("element {i} of extents {dims:?} is out of bounds")));
        }
        let mut out = zeroed::<i64>("unravel_index", &[dims.len(), numbers.len()])?;
        for (j, &i) in numbers.iter().enumerate() {
            let mut left = i;
            for (axis, &d) in dims.iter().enumerate().rev() {
                out[axis * numbers.len() + j] = left % d;
                left /= d;
            }
        }
        let shape = [x[1].shape(), x[0].shape()].concat();
        Ok(vec![int_tensor("unravel_index", x[0].dtype(), &shape, &out)?])
    }
}

/// How many of the last axis hold: bools `[.., n]` to i32 `[..]`.
fn how_many(b: &mut Builder, hit: Value) -> Result<Value> {
    let axis = b.ty(hit).rank() - 1;
    let ones = b.cast(DType::I32, hit)?;
    b.push(Reduce { op: ReduceOp::Sum, axes: vec![axis], keep_dims: false }, &[ones])
}

/// A value with a last axis of 1.
fn column(b: &mut Builder, x: Value) -> Result<Value> {
    let shape = [&b.ty(x).shape[..], &[Dim::from(1)]].concat();
    b.reshape(x, &shape)
}

/// Operands: rows in ascending order, values for each row. The place before (`Lt`) or after (`Le`) equal elements.
fn bound(cx: &mut TfCx<'_>, below: CompareOp) -> Result<Vec<Value>> {
    let (sorted, x, want) = (cx.input(0)?, cx.input(1)?, cx.dtype("out_type")?);
    let ([rows, n], [_, _]) = (&cx.ty(0)?.shape[..], &cx.ty(1)?.shape[..]) else {
        bail!("{} and {} are no matrices", cx.ty(0)?, cx.ty(1)?)
    };
    let sorted = cx.b.reshape(sorted, &[rows.clone(), Dim::from(1), n.clone()])?;
    let x = column(cx.b, x)?;
    let before = cx.b.compare(below, sorted, x)?;
    let place = how_many(cx.b, before)?;
    Ok(vec![cx.b.cast(want, place)?])
}

/// The number of boundaries at or below each element.
fn bucketize(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    let bounds = match cx.node.attrs.get("boundaries") {
        Some(crate::tf::TfAttr::List(l)) => l
            .iter()
            .map(|a| match a {
                crate::tf::TfAttr::Float(f) => Ok(*f),
                crate::tf::TfAttr::Int(i) => Ok(*i as f32),
                _ => bail!("attribute `boundaries` is not a list of floats"),
            })
            .collect::<Result<Vec<f32>>>()?,
        _ => bail!("attribute `boundaries` is not a list of floats"),
    };
    if !bounds.is_sorted() {
        bail!("the boundaries {bounds:?} do not ascend");
    }
    // Compared in f64, which holds every f32 and i32.
    let wide = if cx.ty(0)?.dtype.is_int() { DType::F64 } else { cx.ty(0)?.dtype };
    let x = cx.b.cast(wide, x)?;
    let bounds: Vec<f64> = bounds.into_iter().map(f64::from).collect();
    let bounds = cx.b.constant(Tensor::of(&[bounds.len()], &bounds))?;
    let bounds = cx.b.cast(wide, bounds)?;
    let x = column(cx.b, x)?;
    // A NaN is in the last bucket: it is below no boundary.
    let below = cx.b.compare(CompareOp::Lt, x, bounds)?;
    let not_below = cx.b.unary(UnaryOp::Not, below)?;
    Ok(vec![how_many(cx.b, not_below)?])
}

/// Operands: predictions `[rows, classes]`, a class for each row, k. Whether fewer than k classes have a larger prediction;
/// not where a prediction is not finite or the class is none.
fn in_top_k(cx: &mut TfCx<'_>, k: Option<i64>) -> Result<Vec<Value>> {
    let (x, target, xt, tt) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?, cx.ty(1)?);
    let ([rows, classes], [_]) = (&xt.shape[..], &tt.shape[..]) else {
        bail!("predictions {xt} and classes {tt} are no matrix and vector")
    };
    let k = match k {
        Some(k) => cx.b.scalar(DType::I64, k as f64)?,
        None => {
            let k = cx.input(2)?;
            cx.b.cast(DType::I64, k)?
        }
    };
    let b = &mut *cx.b;
    let target = b.reshape(target, &[rows.clone(), Dim::from(1)])?;
    let numbers = b.push(Iota { shape: vec![Dim::from(1), classes.clone()], axis: 1, dtype: tt.dtype }, &[])?;
    let hit = b.compare(CompareOp::Eq, target, numbers)?;
    let zero = b.scalar(xt.dtype, 0.0)?;
    let own = b.select(hit, x, zero)?;
    let own = b.push(Reduce { op: ReduceOp::Sum, axes: vec![1], keep_dims: true }, &[own])?;
    let more = b.compare(CompareOp::Gt, x, own)?;
    let more = how_many(b, more)?;
    let more = b.cast(DType::I64, more)?;
    let among = b.compare(CompareOp::Lt, more, k)?;
    let finite = b.unary(UnaryOp::IsFinite, x)?;
    let finite = b.push(Reduce { op: ReduceOp::All, axes: vec![1], keep_dims: false }, &[finite])?;
    let known = b.push(Reduce { op: ReduceOp::Any, axes: vec![1], keep_dims: false }, &[hit])?;
    let sane = b.binary(BinaryOp::And, finite, known)?;
    Ok(vec![b.binary(BinaryOp::And, among, sane)?])
}

/// log(e^x + e^y), of two -inf too.
fn log_add(b: &mut Builder, x: Value, y: Value) -> Result<Value> {
    let dtype = b.ty(x).dtype;
    let top = b.binary(BinaryOp::Max, x, y)?;
    let finite = b.unary(UnaryOp::IsFinite, top)?;
    let zero = b.scalar(dtype, 0.0)?;
    let safe = b.select(finite, top, zero)?;
    let (dx, dy) = (b.binary(BinaryOp::Sub, x, safe)?, b.binary(BinaryOp::Sub, y, safe)?);
    let (ex, ey) = (b.unary(UnaryOp::Exp, dx)?, b.unary(UnaryOp::Exp, dy)?);
    let sum = b.binary(BinaryOp::Add, ex, ey)?;
    let log = b.unary(UnaryOp::Log, sum)?;
    b.binary(BinaryOp::Add, log, safe)
}

/// Running log(sum(exp)): combinations at distances 1, 2, 4, ..
fn cumulative_logsumexp(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let (exclusive, reverse) = (cx.bool("exclusive")?, cx.bool("reverse")?);
    let axis = match cx.const_ints(1)?[..] {
        [axis] => normalize_axis(axis, ty.rank())?,
        ref axes => bail!("takes one axis, not {axes:?}"),
    };
    let Some(n) = ty.shape[axis].as_const() else { bail!("axis {axis} of {ty} has no fixed extent") };
    let b = &mut *cx.b;
    let mut sums = if reverse { b.push(Reverse { axes: vec![axis] }, &[x])? } else { x };
    // TensorFlow's neutral element is the lowest finite number.
    let lowest = match ty.dtype {
        DType::F16 => half::f16::MIN.to_f64(),
        DType::BF16 => half::bf16::MIN.to_f64(),
        DType::F32 => f64::from(f32::MIN),
        _ => f64::MIN,
    };
    let fill = b.scalar(ty.dtype, lowest)?;
    let moved = |b: &mut Builder, v: Value, by: i64, fill: Value| -> Result<Value> {
        let left = b.push(Slice::along(&ty.shape, axis, Dim::from(0), Dim::from(n - by)), &[v])?;
        let (mut low, high) = (vec![Dim::from(0); ty.rank()], vec![Dim::from(0); ty.rank()]);
        low[axis] = Dim::from(by);
        b.push(Pad { low, high }, &[left, fill])
    };
    if exclusive && n > 0 {
        sums = moved(b, sums, 1, fill)?;
    }
    let nothing = b.scalar(ty.dtype, f64::NEG_INFINITY)?;
    let mut distance = 1;
    while distance < n {
        let shifted = moved(b, sums, distance, nothing)?;
        sums = log_add(b, shifted, sums)?;
        distance *= 2;
    }
    Ok(vec![if reverse { b.push(Reverse { axes: vec![axis] }, &[sums])? } else { sums }])
}

/// The `k` largest (or smallest) along an axis with their places; exact, which satisfies any recall.
fn approx_top_k(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, k) = (cx.input(0)?, cx.ty(0)?, cx.int("k")?);
    let axis = normalize_axis(cx.int("reduction_dimension")?, ty.rank())?;
    let largest = cx.bool("is_max_k")?;
    let last = ty.rank() - 1;
    let mut perm: Vec<usize> = (0..ty.rank()).collect();
    perm.swap(axis, last);
    let b = &mut *cx.b;
    let mut x = b.transpose(x, &perm)?;
    if !largest {
        x = b.unary(UnaryOp::Neg, x)?;
    }
    let found = b.push_all(crate::ops::reduce::TopK { k: Dim::from(k) }, &[x])?;
    let mut values = b.transpose(found[0], &perm)?;
    if !largest {
        values = b.unary(UnaryOp::Neg, values)?;
    }
    Ok(vec![values, b.transpose(found[1], &perm)?])
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    Bincount::def(&[
        TfBinding { op: "Bincount", read: |cx| bincount(cx, false) },
        TfBinding { op: "DenseBincount", read: |cx| bincount(cx, true) },
    ]),
    UnravelIndex::def(&[TfBinding { op: "UnravelIndex", read: |cx| crate::ops::host::import(cx, UnravelIndex {}) }]),
];

/// The compositions of this file.
pub const TF: &[TfBinding] = &[
    TfBinding { op: "LowerBound", read: |cx| bound(cx, CompareOp::Lt) },
    TfBinding { op: "UpperBound", read: |cx| bound(cx, CompareOp::Le) },
    TfBinding { op: "Bucketize", read: bucketize },
    TfBinding {
        op: "InTopK",
        read: |cx| {
            let k = cx.int("k")?;
            in_top_k(cx, Some(k))
        },
    },
    TfBinding { op: "InTopKV2", read: |cx| in_top_k(cx, None) },
    TfBinding { op: "CumulativeLogsumexp", read: cumulative_logsumexp },
    TfBinding { op: "ApproxTopK", read: approx_top_k },
];
