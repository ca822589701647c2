//! `gather`, `gather_nd` and `scatter`: elements found by run-time indices.
//!
//! Constraints of `gather`: C2 indices are i32 or i64; C3 batch_dims <= axis < rank, batch_dims <= rank of the indices;
//! C4 the batch axes agree. Of `gather_nd`: C2; C3 the last axis of the indices is a number of at most the rank.
//! Of `scatter`: C2, C3 as `gather_nd`; C4 the updates have the shape that `gather_nd` gives; C5 one dtype, which the
//! combiner takes.
//! Evaluation: E3 an index is outside the operand; negative indices do not count from the end, as in TensorFlow.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::shape::join::concat;
use super::shape::slice::slice;
use super::shape::{
    Slice, arity, assemble, check_index, cotangent, dim_value, known, may_equal, pure_op, result_shape, splat,
};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::ops::constant::Iota;
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, DType, Dim, scalar_eval};

/// `gather x, indices`: slices of `x` along an axis (TF GatherV2). The result's shape is
/// `x[..axis] ++ indices[batch_dims..] ++ x[axis + 1..]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    /// The axis of the operand that the indices point into.
    pub axis: usize,
    /// Leading axes common to operand and indices.
    pub batch_dims: usize,
}

/// `gather_nd x, indices`: the last axis of the indices holds a place along the first axes of `x` (TF GatherNd).
#[derive(Debug, Clone, PartialEq)]
pub struct GatherNd;

/// How `scatter` joins an update with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScatterMode(
    /// The combiner: add, sub, mul, div, max or min; `None` replaces, and the last update of a place wins.
    pub Option<BinaryOp>,
);

/// `scatter x, indices, updates`: `x` with the updates joined at the places that `gather_nd` would read, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter {
    /// How updates are joined.
    pub mode: ScatterMode,
}

impl ScatterMode {
    /// Replace.
    pub const UPDATE: ScatterMode = ScatterMode(None);
    /// Sum.
    pub const ADD: ScatterMode = ScatterMode(Some(BinaryOp::Add));

    fn name(self) -> &'static str {
        self.0.map_or("update", BinaryOp::name)
    }

    fn from_name(name: &str) -> Option<ScatterMode> {
        use BinaryOp::{Add, Div, Max, Min, Mul, Sub};
        let all = [None, Some(Add), Some(Sub), Some(Mul), Some(Div), Some(Max), Some(Min)];
        all.into_iter().map(ScatterMode).find(|m| m.name() == name)
    }
}

/// `indices[0, 1] = 5 is not in [0, 3)`, for the flat place of an index.
fn outside(op: &'static str, shape: &[usize], at: usize, value: &dyn Debug, limit: &dyn Display) -> OpError {
    let mut place = Vec::new();
    let mut rest = at;
    for &d in shape.iter().rev() {
        place.insert(0, rest % d.max(1));
        rest /= d.max(1);
    }
    OpError::new(op, "E3", format!("indices{place:?} = {value:?} is not in {limit}"))
}

impl Op for Gather {
    pure_op!("gather");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("axis", Attr::Int(self.axis as i64)).with("batch_dims", Attr::Int(self.batch_dims as i64))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, indices] = arity("gather", given)?;
        check_index("gather", "C2", indices)?;
        if self.axis >= x.rank() || self.batch_dims > self.axis || self.batch_dims > indices.rank() {
            let message = format!("axis {} with {} batch axes of {x} and {indices}", self.axis, self.batch_dims);
            return Err(OpError::new("gather", "C3", message));
        }
        if !(0..self.batch_dims).all(|i| may_equal(&x.shape[i], &indices.shape[i])) {
            return Err(OpError::new("gather", "C4", format!("the batch axes of {x} and {indices} differ")));
        }
        let batch = (0..self.batch_dims).map(|i| known(&x.shape[i], &indices.shape[i]));
        let shape = batch
            .chain(x.shape[self.batch_dims..self.axis].iter().cloned())
            .chain(indices.shape[self.batch_dims..].iter().cloned())
            .chain(x.shape[self.axis + 1..].iter().cloned())
            .collect();
        Ok(vec![TensorType::new(x.dtype, shape)])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let shape = result_shape(self, x)?;
        let limit = x[0].shape()[self.axis];
        let at = x[1].to_i64s().unwrap_or_default();
        for (i, &n) in at.iter().enumerate() {
            if n < 0 || n as u64 >= limit as u64 {
                return Err(outside("gather", x[1].shape(), i, &n, &format!("[0, {limit})")));
            }
        }
        let runs = |emit: super::shape::Emit<'_>| self.runs(x[0].shape(), x[1].shape(), &at, emit);
        Ok(vec![assemble("gather", &shape, &x[..1], runs)?])
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![self.eval_dims_one(x)]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None, None]) };
        Ok(vec![Some(self.scatter_back(b, args.inputs[0], args.inputs[1], g)?), None])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Gather { axis: self.axis, batch_dims: self.batch_dims }
    }
}

impl Gather {
    /// Emits the gathered runs; the indices lie inside.
    fn runs(&self, x: &[usize], indices: &[usize], at: &[i64], emit: super::shape::Emit<'_>) {
        let product = |s: &[usize]| s.iter().product::<usize>();
        let (batch, pre) = (product(&x[..self.batch_dims]), product(&x[self.batch_dims..self.axis]));
        let (extent, inner, each) = (x[self.axis], product(&x[self.axis + 1..]), product(&indices[self.batch_dims..]));
        for n in 0..batch {
            for p in 0..pre {
                for &i in &at[n * each..(n + 1) * each] {
                    emit(0, ((n * pre + p) * extent + i as usize) * inner, inner);
                }
            }
        }
    }

    fn eval_dims_one(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Option<DimTensor> {
        let (values, indices) = (x[0].1?, x[1].1?);
        let at: Vec<i64> = indices.elems.iter().map(Dim::as_const).collect::<Option<_>>()?;
        let limit = *values.shape.get(self.axis)? as i64;
        let shape = self.infer(&[x[0].0, x[1].0]).ok()?.first()?.static_shape()?;
        if at.iter().any(|i| !(0..limit).contains(i)) {
            return None;
        }
        let mut elems = Vec::new();
        self.runs(&values.shape, &indices.shape, &at, &mut |_, from, n| {
            elems.extend_from_slice(&values.elems[from..from + n])
        });
        Some(DimTensor { shape, elems })
    }

    /// The cotangent of the operand: slices of `g` added up where they came from.
    fn scatter_back(&self, b: &mut Builder, x: Value, indices: Value, g: Value) -> Result<Value> {
        let (batch, axis) = (self.batch_dims, self.axis);
        let (xt, it) = (b.ty(x).clone(), b.ty(indices).clone());
        let (pre, each) = (axis - batch, it.rank() - batch);
        // g is [batch, pre, indices, post]; updates are [batch, indices, pre, post], places [batch, indices, 1 + batch].
        let rank = b.ty(g).rank();
        let perm: Vec<usize> =
            (0..batch).chain(axis..axis + each).chain(batch..axis).chain(axis + each..rank).collect();
        let updates = b.transpose(g, &perm)?;
        let mut column = it.shape.clone();
        column.push(Dim::from(1));
        let mut places = Vec::with_capacity(batch + 1);
        for i in 0..batch {
            places.push(b.push(Iota { shape: column.clone(), axis: i, dtype: it.dtype }, &[])?);
        }
        places.push(b.reshape(indices, &column)?);
        let places = concat(b, &places, it.rank())?;
        // The operand with the indexed axis before the axes `pre`, and the way back.
        let order: Vec<usize> = (0..batch).chain([axis]).chain(batch..axis).chain(axis + 1..xt.rank()).collect();
        let shape: Vec<Dim> = order.iter().map(|&i| xt.shape[i].clone()).collect();
        let zeros = splat(b, xt.dtype, 0.0, &shape)?;
        let sum = b.push(Scatter { mode: ScatterMode::ADD }, &[zeros, places, updates])?;
        let back: Vec<usize> =
            (0..batch).chain(batch + 1..batch + 1 + pre).chain([batch]).chain(axis + 1..xt.rank()).collect();
        b.transpose(sum, &back)
    }
}

/// The shape of what `gather_nd` reads, and the number of axes that one index covers.
fn nd_shape(op: &'static str, x: &TensorType, indices: &TensorType) -> Result<(Vec<Dim>, usize), OpError> {
    check_index(op, "C2", indices)?;
    let depth = indices.shape.last().and_then(Dim::as_const).and_then(|n| usize::try_from(n).ok());
    match depth.filter(|&k| k <= x.rank()) {
        Some(k) => Ok(([&indices.shape[..indices.rank() - 1], &x.shape[k..]].concat(), k)),
        None => Err(OpError::new(op, "C3", format!("{indices} cannot hold places in {x}"))),
    }
}

/// The first element of each place, in order.
fn nd_places(op: &'static str, shape: &[usize], indices: &Tensor) -> Result<Vec<usize>, OpError> {
    let k = indices.shape().last().copied().unwrap_or(0);
    let stride = super::shape::strides(shape);
    if k == 0 {
        return Ok(vec![0; indices.shape()[..indices.shape().len() - 1].iter().product()]);
    }
    let at = indices.to_i64s().unwrap_or_default();
    at.chunks(k)
        .enumerate()
        .map(|(row, place)| {
            let inside = |(&i, &d): (&i64, &usize)| i >= 0 && (i as u64) < d as u64;
            if !place.iter().zip(shape).all(inside) {
                let rows = &indices.shape()[..indices.shape().len() - 1];
                return Err(outside(op, rows, row, &place, &format!("the shape {shape:?}")));
            }
            Ok(place.iter().zip(&stride).map(|(&i, s)| i as usize * s).sum())
        })
        .collect()
}

impl Op for GatherNd {
    pure_op!("gather_nd");
    fn attrs(&self) -> Attrs {
        Attrs::none()
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, indices] = arity("gather_nd", given)?;
        Ok(vec![TensorType::new(x.dtype, nd_shape("gather_nd", x, indices)?.0)])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let shape = result_shape(self, x)?;
        let places = nd_places("gather_nd", x[0].shape(), x[1])?;
        let k = x[1].shape().last().copied().unwrap_or(0);
        let inner: usize = x[0].shape()[k..].iter().product();
        let runs = |emit: super::shape::Emit<'_>| places.iter().for_each(|&at| emit(0, at, inner));
        Ok(vec![assemble("gather_nd", &shape, &x[..1], runs)?])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None, None]) };
        let ty = b.ty(args.inputs[0]).clone();
        let zeros = splat(b, ty.dtype, 0.0, &ty.shape)?;
        Ok(vec![Some(b.push(Scatter { mode: ScatterMode::ADD }, &[zeros, args.inputs[1], g])?), None])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Expand(expand_gather_nd)
    }
}

/// One linear index for each place, then a gather. A place outside along any axis becomes -1, which gather reports.
fn expand_gather_nd(b: &mut Builder, _: &dyn Op, operands: &[Value]) -> Result<Vec<Value>> {
    let &[x, indices] = operands else { bail!("gather_nd takes two operands") };
    let (xt, it) = (b.ty(x).clone(), b.ty(indices).clone());
    let (shape, k) = nd_shape("gather_nd", &xt, &it)?;
    if k == 0 {
        return Ok(vec![b.broadcast(x, &shape)?]);
    }
    let (last, rows) = (it.rank() - 1, &it.shape[..it.rank() - 1]);
    let indices = b.cast(DType::I64, indices)?;
    let zero = b.scalar(DType::I64, 0.0)?;
    let (mut linear, mut inside) = (zero, b.scalar(DType::Bool, 1.0)?);
    for (axis, extent) in xt.shape[..k].iter().enumerate() {
        let i = slice(b, indices, Slice::along(&it.shape, last, Dim::from(axis), Dim::from(1)))?;
        let i = b.reshape(i, rows)?;
        let extent = dim_value(b, extent, DType::I64)?;
        let above = b.compare(CompareOp::Ge, i, zero)?;
        let below = b.compare(CompareOp::Lt, i, extent)?;
        let within = b.binary(BinaryOp::And, above, below)?;
        inside = b.binary(BinaryOp::And, inside, within)?;
        let scaled = b.binary(BinaryOp::Mul, linear, extent)?;
        linear = b.binary(BinaryOp::Add, scaled, i)?;
    }
    let never = b.scalar(DType::I64, -1.0)?;
    let place = b.select(inside, linear, never)?;
    let flat = [&[Dim::product(&xt.shape[..k])], &xt.shape[k..]].concat();
    let x = b.reshape(x, &flat)?;
    Ok(vec![b.push(Gather { axis: 0, batch_dims: 0 }, &[x, place])?])
}

impl Op for Scatter {
    pure_op!("scatter");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("mode", Attr::Word(self.mode.name().into()))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, indices, updates] = arity("scatter", given)?;
        let (want, _) = nd_shape("scatter", x, indices)?;
        if want.len() != updates.rank() || !want.iter().zip(&updates.shape).all(|(a, b)| may_equal(a, b)) {
            let message = format!("updates {updates} at {indices} of {x} must have shape {want:?}");
            return Err(OpError::new("scatter", "C4", message));
        }
        let takes = self.mode.0.is_none_or(|op| op.accepts(x.dtype));
        if x.dtype != updates.dtype || !x.dtype.is_plain() || !takes {
            return Err(OpError::new("scatter", "C5", format!("{} of {updates} into {x}", self.mode.name())));
        }
        Ok(vec![x.clone()])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        result_shape(self, x)?;
        let places = nd_places("scatter", x[0].shape(), x[1])?;
        let k = x[1].shape().last().copied().unwrap_or(0);
        let inner = &x[0].shape()[k..];
        let row = inner.iter().product::<usize>() * x[0].dtype().size();
        let mut y = x[0].clone();
        let error = |e: String| OpError::new("scatter", "E2", e);
        let part = |t: &Tensor, at: usize| {
            Tensor::from_bytes(t.dtype(), inner, crate::tensor::Bytes::copy_of(&t.bytes()[at..at + row])).map_err(error)
        };
        for (i, first) in places.into_iter().enumerate() {
            let at = first * x[0].dtype().size();
            let mut new = part(x[2], i * row)?;
            if let Some(op) = self.mode.0 {
                new = scalar_eval::binary_tensor(op, &part(&y, at)?, &new).map_err(error)?;
            }
            y.bytes_mut()[at..at + row].copy_from_slice(new.bytes());
        }
        Ok(vec![y])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None; 3]) };
        let &[x, indices, updates] = args.inputs else { return Ok(vec![None; args.inputs.len()]) };
        let read = b.push(GatherNd, &[g, indices])?;
        let (dx, du) = match self.mode.0 {
            Some(BinaryOp::Add) => (g, read),
            Some(BinaryOp::Sub) => (g, b.unary(UnaryOp::Neg, read)?),
            Some(BinaryOp::Max | BinaryOp::Min) => share_among_equals(b, x, indices, updates, args.outputs[0], g)?,
            Some(op) => {
                let message = format!("TensorFlow has no gradient of a scatter by {}", op.name());
                return Err(NoGradient::Failed(anyhow::anyhow!(message)));
            }
            None => {
                let ty = b.ty(updates).clone();
                let zeros = splat(b, ty.dtype, 0.0, &ty.shape)?;
                (b.push(Scatter { mode: ScatterMode::UPDATE }, &[g, indices, zeros])?, read)
            }
        };
        Ok(vec![Some(dx), None, Some(du)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Scatter { combine: self.mode.0 }
    }
}

/// Maximum and minimum: the cotangent of an element is shared equally by all that attain it.
fn share_among_equals(
    b: &mut Builder,
    x: Value,
    indices: Value,
    updates: Value,
    y: Value,
    g: Value,
) -> Result<(Value, Value)> {
    let dtype = b.ty(g).dtype;
    let indicator = |b: &mut Builder, a, c| {
        let equal = b.compare(CompareOp::Eq, a, c)?;
        b.cast(dtype, equal)
    };
    let from_x = indicator(b, x, y)?;
    let attained = b.push(GatherNd, &[y, indices])?;
    let from_updates = indicator(b, updates, attained)?;
    let count = b.push(Scatter { mode: ScatterMode::ADD }, &[from_x, indices, from_updates])?;
    let share = b.binary(BinaryOp::Div, g, count)?;
    let dx = b.binary(BinaryOp::Mul, share, from_x)?;
    let share = b.push(GatherNd, &[share, indices])?;
    Ok((dx, b.binary(BinaryOp::Mul, share, from_updates)?))
}

/// An index operand in i32 or i64: TensorFlow's kernels also take i16.
fn indices(cx: &mut TfCx<'_>, i: usize) -> Result<Value> {
    let v = cx.input(i)?;
    if cx.b.ty(v).dtype == DType::I16 { cx.b.cast(DType::I32, v) } else { Ok(v) }
}

fn gather(cx: &mut TfCx<'_>, axis: usize, batch_dims: usize) -> Result<Vec<Value>> {
    let (x, at) = (cx.input(0)?, indices(cx, 1)?);
    Ok(vec![cx.b.push(Gather { axis, batch_dims }, &[x, at])?])
}

/// Operands: params, indices, axis. A negative `batch_dims` counts from the indices' rank.
fn tf_gather_v2(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let batch = match cx.int("batch_dims")? {
        n if n < 0 => n + cx.ty(1)?.rank() as i64,
        n => n,
    };
    let batch = usize::try_from(batch).ok().context("attribute `batch_dims` is below minus the indices' rank")?;
    let axes = cx.const_ints(2)?;
    let [axis] = axes[..] else { bail!("operand 2 holds {axes:?}, not one axis") };
    let axis = normalize_axis(axis, cx.ty(0)?.rank())?;
    gather(cx, axis, batch)
}

/// Operands: lists of indices, as many of data. Row `r` of the result is the data row whose index is `r`, the last one if
/// there are several. The indices are constants here, so this is a concatenation and one gather.
fn tf_dynamic_stitch(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let n = cx.inputs.len() / 2;
    let (mut rows, mut from, mut at) = (Vec::new(), Vec::<Option<i64>>::new(), 0i64);
    for k in 0..n {
        let (lead, data, ty) = (cx.ty(k)?.rank(), cx.input(n + k)?, cx.ty(n + k)?);
        let Some(inner) = ty.shape.get(lead..) else { bail!("data {k} is {ty} under indices of rank {lead}") };
        for index in cx.const_ints(k).context("the places of a stitch must be known")? {
            let index =
                usize::try_from(index).ok().filter(|&i| i < 1 << 24).with_context(|| format!("index {index}"))?;
            if from.len() <= index {
                from.resize(index + 1, None);
            }
            from[index] = Some(at);
            at += 1;
        }
        let flat = [&[Dim::product(&ty.shape[..lead])], inner].concat();
        rows.push(cx.b.reshape(data, &flat)?);
    }
    let Some(from) = from.iter().copied().collect::<Option<Vec<i64>>>() else { bail!("no index names some rows") };
    let all = concat(cx.b, &rows, 0)?;
    let from = cx.b.constant(Tensor::of(&[from.len()], &from))?;
    Ok(vec![cx.b.push(Gather { axis: 0, batch_dims: 0 }, &[all, from])?])
}

/// Operands: indices, updates, shape.
fn tf_scatter_nd(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (at, updates, shape) = (indices(cx, 0)?, cx.input(1)?, cx.dims_input(2)?);
    let dtype = cx.ty(1)?.dtype;
    let zeros = splat(cx.b, dtype, 0.0, &shape)?;
    // Booleans have no sum: TensorFlow's kernel joins them by `or`, which is the maximum of 0 and 1.
    if dtype == DType::Bool {
        let (zeros, updates) = (cx.b.cast(DType::U8, zeros)?, cx.b.cast(DType::U8, updates)?);
        let y = cx.b.push(Scatter { mode: ScatterMode(Some(BinaryOp::Max)) }, &[zeros, at, updates])?;
        return Ok(vec![cx.b.cast(DType::Bool, y)?]);
    }
    Ok(vec![cx.b.push(Scatter { mode: ScatterMode::ADD }, &[zeros, at, updates])?])
}

/// Operands: tensor, indices, updates.
fn tensor_scatter(cx: &mut TfCx<'_>, combine: Option<BinaryOp>) -> Result<Vec<Value>> {
    let (x, at, updates) = (cx.input(0)?, indices(cx, 1)?, cx.input(2)?);
    Ok(vec![cx.b.push(Scatter { mode: ScatterMode(combine) }, &[x, at, updates])?])
}

fn axis_attr(a: &Attrs, name: &str) -> Result<usize, String> {
    usize::try_from(a.int(name)?).map_err(|_| format!("attribute `{name}` is negative"))
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "gather",
        parse: |a| Ok(Arc::new(Gather { axis: axis_attr(a, "axis")?, batch_dims: axis_attr(a, "batch_dims")? })),
        tf: &[
            TfBinding { op: "Gather", read: |cx| gather(cx, 0, 0) },
            TfBinding { op: "GatherV2", read: tf_gather_v2 },
            TfBinding { op: "DynamicStitch", read: tf_dynamic_stitch },
            TfBinding { op: "ParallelDynamicStitch", read: tf_dynamic_stitch },
            // Operand 0 is the variable's value by now.
            TfBinding {
                op: "ResourceGather",
                read: |cx| {
                    let batch = usize::try_from(cx.int("batch_dims")?).context("attribute `batch_dims` is negative")?;
                    gather(cx, batch, batch)
                },
            },
        ],
    },
    OpDef {
        name: "gather_nd",
        parse: |_| Ok(Arc::new(GatherNd)),
        tf: &[TfBinding {
            op: "GatherNd",
            read: |cx| {
                let (x, at) = (cx.input(0)?, indices(cx, 1)?);
                Ok(vec![cx.b.push(GatherNd, &[x, at])?])
            },
        }],
    },
    OpDef {
        name: "scatter",
        parse: |a| {
            let word = a.word("mode")?;
            let mode = ScatterMode::from_name(&word).ok_or_else(|| format!("unknown mode `{word}`"))?;
            Ok(Arc::new(Scatter { mode }))
        },
        tf: &[
            TfBinding { op: "ScatterNd", read: tf_scatter_nd },
            TfBinding { op: "TensorScatterUpdate", read: |cx| tensor_scatter(cx, None) },
            TfBinding { op: "TensorScatterAdd", read: |cx| tensor_scatter(cx, Some(BinaryOp::Add)) },
            TfBinding { op: "TensorScatterSub", read: |cx| tensor_scatter(cx, Some(BinaryOp::Sub)) },
            TfBinding { op: "TensorScatterMax", read: |cx| tensor_scatter(cx, Some(BinaryOp::Max)) },
            TfBinding { op: "ScatterNdNonAliasingAdd", read: |cx| tensor_scatter(cx, Some(BinaryOp::Add)) },
            TfBinding { op: "TensorScatterMin", read: |cx| tensor_scatter(cx, Some(BinaryOp::Min)) },
        ],
    },
];
