//! Rows combined by segments: Segment*, UnsortedSegment*, SparseSegment*.
//!
//! Sums over segments in any order are a scatter, which compiled code does; the rest runs on the host as `segment`.
//!
//! Evaluation of `segment`: E1 an id is outside of the segments, or ids that must ascend do not.

mod grad;

pub use grad::TF;

use anyhow::{Result, bail};

use crate::graph::{TensorType, Value};
use crate::op::{NoGradient, OpDef, OpError, VjpArgs};
use crate::ops::gather::{Gather, Scatter, ScatterMode};
use crate::ops::host::{ANY, INDEX, extents, host_op, ints, require, typed};
use crate::ops::reduce::{combine_int, combine_real, start_int};
use crate::ops::shape::slice::slice;
use crate::ops::shape::{Slice, cotangent, dim_value, may_equal, splat};
use crate::ops::wide::{Wide, zeroed};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, Class, DType, Dim};

host_op! {
    /// `segment x, ids`: result row `i` combines the rows of `x` with id `i`. A row is what stands under one id.
    ///
    /// A segment without rows is 0 for sums and means and 1 for products; for maximum and minimum it is 0 where ids ascend and
    /// the type's lowest or highest number otherwise.
    Segment = "segment" {
        /// `sum`, `prod`, `max`, `min`, `mean`, or `sqrt_n`: the sum by the root of the number of rows.
        combine: String,
        /// How many segments there are.
        rows: Dim,
        /// Whether ids must ascend and be at least 0; otherwise rows with negative ids are dropped.
        sorted: bool,
        /// Whether `rows` follows from the last id.
        counted: bool,
    }
    infer |op, given| {
        let [x, ids] = typed("segment", given, [ANY, INDEX])?;
        let leads = ids.rank() <= x.rank() && ids.shape.iter().zip(&x.shape).all(|(a, b)| may_equal(a, b));
        require("segment", "C3", leads, || format!("the shape of {ids} does not lead that of {x}"))?;
        let Some(how) = combiner(&op.combine) else {
            return Err(OpError::new("segment", "C4", format!("the combination `{}`", op.combine)));
        };
        require("segment", "C2", how.accepts(x.dtype), || format!("{} of {x}", op.combine))?;
        Ok(vec![TensorType::new(x.dtype, [std::slice::from_ref(&op.rows), &x.shape[ids.rank()..]].concat())])
    },
    eval |op, x| eval_segment(op, x),
    vjp |op, b, args| segment_gradient(op, b, &args)
}

fn combiner(name: &str) -> Option<ReduceOp> {
    Some(match name {
        "sum" | "mean" | "sqrt_n" => ReduceOp::Sum,
        "prod" => ReduceOp::Prod,
        "max" => ReduceOp::Max,
        "min" => ReduceOp::Min,
        _ => return None,
    })
}

/// Combines rows in order; also how many rows each segment has.
fn fold<T: Copy + Default>(
    x: &[T],
    row: usize,
    ids: &[i64],
    start: T,
    out: &mut [T],
    counts: &mut [usize],
    f: impl Fn(T, T) -> T,
) {
    out.fill(start);
    for (k, &id) in ids.iter().enumerate().filter(|i| *i.1 >= 0) {
        counts[id as usize] += 1;
        let to = &mut out[id as usize * row..][..row];
        to.iter_mut().zip(&x[k * row..][..row]).for_each(|(acc, &v)| *acc = f(*acc, v));
    }
}

fn eval_segment(op: &Segment, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
    let (data, ids) = (x[0], ints(x[1]));
    let rest = &data.shape()[x[1].shape().len()..];
    let row: usize = rest.iter().product();
    let rows = match op.counted {
        true => ids.last().map_or(0, |&last| usize::try_from(last.saturating_add(1)).unwrap_or(0)),
        false => extents("segment", std::slice::from_ref(&op.rows))?[0],
    };
    for (k, &id) in ids.iter().enumerate() {
        let fail = |what: &str| Err(OpError::new("segment", "E1", format!("segment_ids[{k}] = {id} {what}")));
        if op.sorted && (id < 0 || (k > 0 && ids[k - 1] > id)) {
            return fail("does not ascend from 0");
        }
        if id >= 0 && id as u64 >= rows as u64 {
            return fail(&format!("is not in [0, {rows})"));
        }
    }
    let shape = [&[rows], rest].concat();
    let how = combiner(&op.combine).unwrap_or(ReduceOp::Sum);
    let dtype = data.dtype();
    let mut counts = zeroed::<usize>("segment", &[rows])?;
    let divisor = |n: usize| match &op.combine[..] {
        "mean" => n as f64,
        "sqrt_n" => (n as f64).sqrt(),
        _ => 1.0,
    };
    let extreme = matches!(how, ReduceOp::Max | ReduceOp::Min);
    let y = match Wide::of("segment", data)? {
        Wide::Int(v) => {
            let mut out = zeroed::<i64>("segment", &shape)?;
            fold(&v, row, &ids, start_int(how, dtype), &mut out, &mut counts, combine_int(how, dtype));
            for (i, &n) in counts.iter().enumerate() {
                let to = &mut out[i * row..(i + 1) * row];
                if n == 0 && extreme && op.sorted {
                    to.fill(0);
                }
                if n > 1 && op.combine == "mean" {
                    to.iter_mut().for_each(|v| *v = divide(*v, n as i64, dtype));
                }
            }
            Wide::Int(out)
        }
        Wide::Real(v) => {
            let mut out = zeroed::<f64>("segment", &shape)?;
            let start = match how {
                ReduceOp::Prod => 1.0,
                ReduceOp::Max => f64::NEG_INFINITY,
                ReduceOp::Min => f64::INFINITY,
                _ => 0.0,
            };
            fold(&v, row, &ids, start, &mut out, &mut counts, combine_real(how));
            for (i, &n) in counts.iter().enumerate() {
                let to = &mut out[i * row..(i + 1) * row];
                match n {
                    0 if extreme && op.sorted => to.fill(0.0),
                    0 if extreme => to.fill(if how == ReduceOp::Max { -largest(dtype) } else { largest(dtype) }),
                    0 => {}
                    n => to.iter_mut().for_each(|v| *v /= divisor(n)),
                }
            }
            Wide::Real(out)
        }
        Wide::Complex(v) => {
            let mut out = zeroed("segment", &shape)?;
            let one = num_complex::Complex::new(if how == ReduceOp::Prod { 1.0 } else { 0.0 }, 0.0);
            let product = how == ReduceOp::Prod;
            fold(&v, row, &ids, one, &mut out, &mut counts, |a, b| if product { a * b } else { a + b });
            for (i, &n) in counts.iter().enumerate().filter(|c| *c.1 > 0) {
                out[i * row..(i + 1) * row].iter_mut().for_each(|v| *v /= divisor(n));
            }
            Wide::Complex(out)
        }
    };
    Ok(vec![y.into_tensor("segment", dtype, &shape)?])
}

/// A sum of integers of a type by a count.
fn divide(sum: i64, n: i64, dtype: DType) -> i64 {
    if dtype.class() == Class::Unsigned { ((sum as u64) / n as u64) as i64 } else { sum / n }
}

/// The largest finite number of a floating type.
fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => half::f16::MAX.to_f64(),
        DType::BF16 => half::bf16::MAX.to_f64(),
        DType::F32 => f64::from(f32::MAX),
        _ => f64::MAX,
    }
}

/// For each row of the operand the row of `v` that its id names, 0 where the id is negative; `[n] ++ rest`.
fn spread(b: &mut Builder, v: Value, ids: Value) -> Result<Value> {
    let (vt, it) = (b.ty(v).clone(), b.ty(ids).clone());
    let zero = b.scalar(it.dtype, 0.0)?;
    let at = b.binary(BinaryOp::Max, ids, zero)?;
    let read = b.push(Gather { axis: 0, batch_dims: 0 }, &[v, at])?;
    let known = b.compare(CompareOp::Ge, ids, zero)?;
    let known = b.reshape(known, &[it.shape, vec![Dim::from(1); vt.rank() - 1]].concat())?;
    let zero = b.scalar(vt.dtype, 0.0)?;
    b.select(known, read, zero)
}

fn segment_gradient(op: &Segment, b: &mut Builder, args: &VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
    let (x, ids) = (args.inputs[0], args.inputs[1]);
    let ty = b.ty(x).clone();
    if !(ty.dtype.is_float() || ty.dtype.is_complex()) {
        return Err(NoGradient::NotDifferentiable);
    }
    let Some(mut g) = cotangent(args) else { return Ok(vec![None, None]) };
    let sums = |b: &mut Builder, x: Value| b.push(Segment { combine: "sum".into(), ..op.clone() }, &[x, ids]);
    match &op.combine[..] {
        "sum" => {}
        "mean" | "sqrt_n" => {
            let ones = splat(b, ty.dtype, 1.0, &ty.shape)?;
            let mut count = sums(b, ones)?;
            if op.combine == "sqrt_n" {
                count = b.unary(crate::scalar::UnaryOp::Sqrt, count)?;
            }
            g = b.binary(BinaryOp::DivNoNan, g, count)?;
        }
        "max" | "min" => {
            // As TensorFlow: rows that tie share the cotangent equally.
            let attained = spread(b, args.outputs[0], ids)?;
            let hit = b.compare(CompareOp::Eq, x, attained)?;
            let hit = b.cast(ty.dtype, hit)?;
            let ties = sums(b, hit)?;
            let share = b.binary(BinaryOp::DivNoNan, g, ties)?;
            let share = spread(b, share, ids)?;
            return Ok(vec![Some(b.binary(BinaryOp::Mul, share, hit)?), None]);
        }
        _ => return Err(NoGradient::Failed(anyhow::anyhow!("the gradient of products by segments is not supported"))),
    }
    Ok(vec![Some(spread(b, g, ids)?), None])
}

fn segment(cx: &mut TfCx<'_>, combine: &str) -> Result<Vec<Value>> {
    let (x, ids) = (cx.input(0)?, cx.input(1)?);
    if cx.ty(1)?.rank() != 1 {
        bail!("segment ids are a vector, not {}", cx.ty(1)?);
    }
    let rows = cx.b.fresh_dim("segments");
    let op = Segment { combine: combine.into(), rows, sorted: true, counted: true };
    Ok(vec![cx.b.push(op, &[x, ids])?])
}

/// The one number of operand `i`.
fn count(cx: &mut TfCx<'_>, i: usize) -> Result<Dim> {
    match &cx.dims_input(i)?[..] {
        [n] => Ok(n.clone()),
        other => bail!("operand {i} is one number, not {other:?}"),
    }
}

/// Operands: x, ids, the number of segments.
fn unsorted(cx: &mut TfCx<'_>, combine: &str) -> Result<Vec<Value>> {
    let (x, ids, rows) = (cx.input(0)?, cx.input(1)?, count(cx, 2)?);
    if combine == "sum" {
        return Ok(vec![scattered_sum(cx.b, x, ids, &rows)?]);
    }
    let op = Segment { combine: combine.into(), rows, sorted: false, counted: false };
    Ok(vec![cx.b.push(op, &[x, ids])?])
}

/// Sums by segments in any order. Negative ids go to a further row, which is cut off; ids above stay outside of it.
fn scattered_sum(b: &mut Builder, x: Value, ids: Value, rows: &Dim) -> Result<Value> {
    let (xt, it) = (b.ty(x).clone(), b.ty(ids).clone());
    if it.rank() > xt.rank() {
        bail!("ids {it} have more axes than {xt}");
    }
    let rest = &xt.shape[it.rank()..];
    let n = it.elements();
    let ids = b.reshape(ids, &[n.clone(), Dim::from(1)])?;
    let ids = b.cast(DType::I64, ids)?;
    let x = b.reshape(x, &[&[n], rest].concat())?;
    let zero = b.scalar(DType::I64, 0.0)?;
    let end = dim_value(b, rows, DType::I64)?;
    let beyond = b.binary_scalar(BinaryOp::Add, ids, 1.0)?;
    let above = b.compare(CompareOp::Ge, ids, end)?;
    let moved = b.select(above, beyond, ids)?;
    let dropped = b.compare(CompareOp::Lt, ids, zero)?;
    let at = b.select(dropped, end, moved)?;
    let shape = [&[rows.clone() + Dim::from(1)], rest].concat();
    let zeros = splat(b, xt.dtype, 0.0, &shape)?;
    let sums = b.push(Scatter { mode: ScatterMode::ADD }, &[zeros, at, x])?;
    slice(b, sums, Slice::along(&shape, 0, Dim::from(0), rows.clone()))
}

/// Operands: data, the rows taken, their segments, and with `counted` the number of segments.
fn sparse(cx: &mut TfCx<'_>, combine: &str, counted: bool) -> Result<Vec<Value>> {
    let (x, at, ids) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let rows = if counted { count(cx, 3)? } else { cx.b.fresh_dim("segments") };
    let taken = cx.b.push(Gather { axis: 0, batch_dims: 0 }, &[x, at])?;
    let op = Segment { combine: combine.into(), rows, sorted: true, counted: !counted };
    Ok(vec![cx.b.push(op, &[taken, ids])?])
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    Segment::def(&[
        TfBinding { op: "SegmentSum", read: |cx| segment(cx, "sum") },
        TfBinding { op: "SegmentProd", read: |cx| segment(cx, "prod") },
        TfBinding { op: "SegmentMax", read: |cx| segment(cx, "max") },
        TfBinding { op: "SegmentMin", read: |cx| segment(cx, "min") },
        TfBinding { op: "SegmentMean", read: |cx| segment(cx, "mean") },
        TfBinding { op: "SegmentSumV2", read: |cx| unsorted(cx, "sum") },
        TfBinding { op: "SegmentProdV2", read: |cx| unsorted(cx, "prod") },
        TfBinding { op: "SegmentMaxV2", read: |cx| unsorted(cx, "max") },
        TfBinding { op: "SegmentMinV2", read: |cx| unsorted(cx, "min") },
        TfBinding { op: "UnsortedSegmentSum", read: |cx| unsorted(cx, "sum") },
        TfBinding { op: "UnsortedSegmentProd", read: |cx| unsorted(cx, "prod") },
        TfBinding { op: "UnsortedSegmentMax", read: |cx| unsorted(cx, "max") },
        TfBinding { op: "UnsortedSegmentMin", read: |cx| unsorted(cx, "min") },
        TfBinding { op: "SparseSegmentSum", read: |cx| sparse(cx, "sum", false) },
        TfBinding { op: "SparseSegmentMean", read: |cx| sparse(cx, "mean", false) },
        TfBinding { op: "SparseSegmentSqrtN", read: |cx| sparse(cx, "sqrt_n", false) },
        TfBinding { op: "SparseSegmentSumWithNumSegments", read: |cx| sparse(cx, "sum", true) },
        TfBinding { op: "SparseSegmentMeanWithNumSegments", read: |cx| sparse(cx, "mean", true) },
        TfBinding { op: "SparseSegmentSqrtNWithNumSegments", read: |cx| sparse(cx, "sqrt_n", true) },
    ]),
    grad::SortedUnique::def(&[]),
];
