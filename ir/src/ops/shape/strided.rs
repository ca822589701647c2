//! TensorFlow's Slice, StridedSlice, StridedSliceGrad and TensorStridedSliceUpdate.
//!
//! A StridedSlice is read in two steps: the sparse specification (one entry an index that the user wrote) becomes one
//! `Axis` for each axis of the operand, with the result's axes beside it; then bounds become dims. Bounds may be
//! symbolic. A symbolic bound whose sign depends on the symbols counts from the front, and is then clamped to the
//! extent, so that `x[:n-1]` is empty for n = 0. Single indices may be computed at run time.

use anyhow::{Context, Result, bail};

use super::slice::{place, slice};
use super::{Slice, always_negative, at_least_zero, dim_value, never_negative};
use crate::graph::Value;
use crate::ops::constant::Iota;
use crate::ops::gather::{Gather, Scatter, ScatterMode};
use crate::ops::shape::{Concat, DynamicSlice, Reshape};
use crate::scalar::{BinaryOp, CompareOp};
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim};

/// One bound of the specification.
#[derive(Clone, Debug)]
enum Bound {
    /// Left out: the whole axis on that side.
    Open,
    /// Known up to symbols.
    Known(Dim),
    /// Computed at run time.
    Data,
}

/// What is taken along one axis of the operand.
#[derive(Clone, Debug)]
enum Axis {
    /// A range.
    Range { begin: Bound, end: Bound, step: i64, spec: usize },
    /// One index, whose axis goes; `spec` is its place in the begin operand.
    Index { at: Bound, spec: usize },
}

/// One axis of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Out {
    /// Comes from an axis of the operand.
    Kept(usize),
    /// New, of extent 1.
    New,
}

/// The five masks, bit `i` for entry `i` of the specification.
struct Masks {
    begin: i64,
    end: i64,
    ellipsis: i64,
    new_axis: i64,
    shrink: i64,
}

fn bit(mask: i64, i: usize) -> bool {
    i < 63 && mask >> i & 1 == 1
}

/// The elements of an integer vector, `None` where they are computed at run time: a vector packed from known and
/// unknown scalars is looked through.
fn elements(b: &Builder, v: Value) -> Result<Vec<Option<Dim>>> {
    elements_within(b, v, 4)
}

/// [`elements`] through at most `depth` nodes: a Pack is two.
fn elements_within(b: &Builder, v: Value, depth: usize) -> Result<Vec<Option<Dim>>> {
    if let Some(d) = b.as_dims(v) {
        return Ok(d.elems.iter().cloned().map(Some).collect());
    }
    if let Some(ints) = b.as_const(v).and_then(crate::Tensor::to_i64s) {
        return Ok(ints.into_iter().map(|n| Some(Dim::from(n))).collect());
    }
    let ty = b.ty(v);
    if let Some(node) = b.func.def_node(v)
        && (node.op.is::<Concat>().is_some() || node.op.is::<Reshape>().is_some())
        && ty.rank() == 1
        && depth > 0
    {
        let parts: Result<Vec<_>> = node.inputs.iter().map(|&part| elements_within(b, part, depth - 1)).collect();
        return Ok(parts?.concat());
    }
    let n = ty.static_shape().map(|s| s.iter().product()).with_context(|| format!("an index vector of type {ty}"))?;
    Ok(vec![None; n])
}

/// Reads the specification over an operand of `rank` axes.
fn read_spec(
    begin: &[Option<Dim>],
    end: &[Option<Dim>],
    steps: &[i64],
    masks: &Masks,
    rank: usize,
) -> Result<(Vec<Axis>, Vec<Out>)> {
    let n = steps.len();
    if begin.len() != n || end.len() != n || n > 63 {
        bail!("begin, end and strides hold {}, {} and {n} entries", begin.len(), end.len());
    }
    let ellipsis: Vec<usize> = (0..n).filter(|&i| bit(masks.ellipsis, i)).collect();
    if ellipsis.len() > 1 {
        bail!("more than one ellipsis");
    }
    let used = (0..n).filter(|&i| !bit(masks.ellipsis, i) && !bit(masks.new_axis, i)).count();
    let rest = rank.checked_sub(used).with_context(|| format!("{used} indices into rank {rank}"))?;
    let (mut axes, mut outs) = (Vec::with_capacity(rank), Vec::new());
    let whole = |axes: &mut Vec<Axis>, outs: &mut Vec<Out>| {
        for _ in 0..rest {
            outs.push(Out::Kept(axes.len()));
            axes.push(Axis::Range { begin: Bound::Open, end: Bound::Open, step: 1, spec: n });
        }
    };
    let bound = |d: &Option<Dim>, open: bool| match d {
        _ if open => Bound::Open,
        Some(d) => Bound::Known(d.clone()),
        None => Bound::Data,
    };
    for i in 0..n {
        if bit(masks.ellipsis, i) {
            whole(&mut axes, &mut outs);
        } else if bit(masks.new_axis, i) {
            outs.push(Out::New);
        } else if bit(masks.shrink, i) {
            if steps[i] <= 0 {
                bail!("entry {i}: a single index takes a positive stride, not {}", steps[i]);
            }
            axes.push(Axis::Index { at: bound(&begin[i], false), spec: i });
        } else {
            if steps[i] == 0 {
                bail!("entry {i}: the stride is 0");
            }
            outs.push(Out::Kept(axes.len()));
            let (begin, end) = (bound(&begin[i], bit(masks.begin, i)), bound(&end[i], bit(masks.end, i)));
            axes.push(Axis::Range { begin, end, step: steps[i], spec: i });
        }
    }
    if ellipsis.is_empty() {
        whole(&mut axes, &mut outs);
    }
    Ok((axes, outs))
}

/// An index that may count from the end, from the front.
fn from_front(at: &Dim, extent: &Dim) -> Dim {
    if always_negative(at) { extent.clone() + at.clone() } else { at.clone() }
}

/// min(max(at, low), high) with the bounds that are not needed left out; `low <= high` holds.
fn clamp(at: &Dim, low: i64, high: &Dim) -> Dim {
    let above = |d: &Dim| never_negative(&(d.clone() - Dim::from(low)));
    let at = if above(at) { at.clone() } else { at.larger(&Dim::from(low)) };
    if never_negative(&(high.clone() - at.clone())) {
        at
    } else if never_negative(&(at.clone() - high.clone())) {
        high.clone()
    } else {
        at.smaller(high)
    }
}

/// Start and size of a range over an axis.
fn range(begin: &Bound, end: &Bound, step: i64, extent: &Dim) -> Result<(Dim, Dim)> {
    let forward = step > 0;
    // The places between which a bound may lie: 0 to d forward, -1 to d-1 backward.
    let (low, high) = if forward { (0, extent.clone()) } else { (-1, extent.clone() - Dim::from(1)) };
    let resolve = |bound: &Bound, open: Dim| match bound {
        Bound::Open => Ok(open),
        Bound::Known(at) => Ok(clamp(&from_front(at, extent), low, &high)),
        Bound::Data => bail!("the bound of a range depends on data, so the result's size would"),
    };
    let (first, last) = if forward { (Dim::from(0), high.clone()) } else { (high.clone(), Dim::from(-1)) };
    let (begin, end) = (resolve(begin, first)?, resolve(end, last)?);
    let span = if forward { end - begin.clone() } else { begin.clone() - end };
    Ok((begin, at_least_zero(&span.ceil_div(step.saturating_abs()))))
}

fn masks(cx: &TfCx<'_>) -> Result<Masks> {
    Ok(Masks {
        begin: cx.int("begin_mask")?,
        end: cx.int("end_mask")?,
        ellipsis: cx.int("ellipsis_mask")?,
        new_axis: cx.int("new_axis_mask")?,
        shrink: cx.int("shrink_axis_mask")?,
    })
}

/// The indices of a range of which a bound is computed at run time, as an i64 vector whose length is a new size.
fn runtime_range(cx: &mut TfCx<'_>, axis: &Axis, extent: &Dim) -> Result<Value> {
    let Axis::Range { begin, end, step, spec } = axis else { bail!("a single index is no range") };
    let (low, high) =
        if *step > 0 { (Dim::from(0), extent.clone()) } else { (Dim::from(-1), extent.clone() - Dim::from(1)) };
    let bound = |cx: &mut TfCx<'_>, bound: &Bound, operand: usize, open: &Dim| -> Result<Value> {
        let at = match bound {
            Bound::Open => return dim_value(cx.b, open, DType::I64),
            Bound::Known(at) => {
                let at = from_front(at, extent);
                dim_value(cx.b, &at, DType::I64)?
            }
            Bound::Data => {
                let all = cx.input(operand)?;
                let at = runtime_index(cx, all, *spec, extent)?;
                cx.b.cast(DType::I64, at)?
            }
        };
        let (low, high) = (dim_value(cx.b, &low, DType::I64)?, dim_value(cx.b, &high, DType::I64)?);
        let at = cx.b.binary(BinaryOp::Max, at, low)?;
        cx.b.binary(BinaryOp::Min, at, high)
    };
    let first = if *step > 0 { Dim::from(0) } else { high.clone() };
    let last = if *step > 0 { high.clone() } else { Dim::from(-1) };
    let (from, to) = (bound(cx, begin, 1, &first)?, bound(cx, end, 2, &last)?);
    let span = if *step > 0 { cx.b.binary(BinaryOp::Sub, to, from)? } else { cx.b.binary(BinaryOp::Sub, from, to)? };
    let by = step.saturating_abs();
    let span = cx.b.binary_scalar(BinaryOp::Add, span, (by - 1) as f64)?;
    let n = cx.b.binary_scalar(BinaryOp::FloorDiv, span, by as f64)?;
    let n = cx.b.binary_scalar(BinaryOp::Max, n, 0.0)?;
    let operand = if matches!(end, Bound::Data) { 2 } else { 1 };
    let n = cx.computed_size(operand, n).context("the bound of a range decides the result's size")?;
    let places = cx.b.push(Iota { shape: vec![n], axis: 0, dtype: DType::I64 }, &[])?;
    let places = cx.b.binary_scalar(BinaryOp::Mul, places, *step as f64)?;
    cx.b.binary(BinaryOp::Add, places, from)
}

/// Element `i` of the begin or end operand as a scalar index that counts from the front.
fn runtime_index(cx: &mut TfCx<'_>, all: Value, i: usize, extent: &Dim) -> Result<Value> {
    let one = slice(cx.b, all, Slice::dense(vec![Dim::from(i)], vec![Dim::from(1)]))?;
    let mut at = cx.b.reshape(one, &[])?;
    if !matches!(cx.b.ty(at).dtype, DType::I32 | DType::I64) {
        at = cx.b.cast(DType::I32, at)?;
    }
    let dtype = cx.b.ty(at).dtype;
    let (zero, extent) = (cx.b.scalar(dtype, 0.0)?, dim_value(cx.b, extent, dtype)?);
    let negative = cx.b.compare(CompareOp::Lt, at, zero)?;
    let wrapped = cx.b.binary(BinaryOp::Add, at, extent)?;
    cx.b.select(negative, wrapped, at)
}

/// What the node's specification (operands 1 to 3) takes of a value of operand 0's shape.
fn take(cx: &mut TfCx<'_>, mut x: Value) -> Result<Value> {
    let (ty, begin) = (cx.b.ty(x).clone(), cx.input(1)?);
    let (begins, ends) = (elements(cx.b, begin)?, elements(cx.b, cx.input(2)?)?);
    let (axes, outs) = read_spec(&begins, &ends, &cx.const_ints(3)?, &masks(cx)?, ty.rank())?;
    let mut op = Slice::dense(vec![Dim::from(0); ty.rank()], ty.shape.clone());
    let (mut runtime, mut ranges) = (Vec::new(), Vec::new());
    for (i, (axis, extent)) in axes.iter().zip(&ty.shape).enumerate() {
        match axis {
            Axis::Range { begin: Bound::Data, .. } | Axis::Range { end: Bound::Data, .. } => ranges.push(i),
            Axis::Range { begin, end, step, .. } => {
                (op.start[i], op.size[i]) = range(begin, end, *step, extent).with_context(|| format!("axis {i}"))?;
                op.step[i] = *step;
            }
            Axis::Index { at: Bound::Known(at), .. } => {
                let at = from_front(at, extent);
                if always_negative(&at) || always_negative(&(extent.clone() - at.clone() - Dim::from(1))) {
                    bail!("slice index {at} of axis {i} of {ty} is out of bounds");
                }
                (op.start[i], op.size[i]) = (at, Dim::from(1));
            }
            Axis::Index { spec, .. } => runtime.push((i, *spec)),
        }
    }
    x = slice(cx.b, x, op)?;
    for i in ranges {
        let indices = runtime_range(cx, &axes[i], &ty.shape[i]).with_context(|| format!("axis {i}"))?;
        x = cx.b.push(Gather { axis: i, batch_dims: 0 }, &[x, indices])?;
    }
    let mut gone: Vec<usize> = Vec::new();
    // Later axes first, so that the places of earlier ones stay.
    for &(axis, spec) in runtime.iter().rev() {
        let at = runtime_index(cx, begin, spec, &ty.shape[axis])?;
        x = cx.b.push(Gather { axis, batch_dims: 0 }, &[x, at])?;
        gone.push(axis);
    }
    let sliced = cx.b.ty(x).shape.clone();
    let shape: Vec<Dim> = outs
        .iter()
        .map(|out| match *out {
            Out::Kept(axis) => sliced[axis - gone.iter().filter(|&&g| g < axis).count()].clone(),
            Out::New => Dim::from(1),
        })
        .collect();
    cx.b.reshape(x, &shape)
}

fn tf_strided_slice(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![take(cx, x)?])
}

/// Operands: x, begin, end, strides, value. Result: x with the value, broadcast, in the places that the slice takes:
/// these are what the slice takes of the elements' own numbers.
fn tf_strided_slice_update(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, value) = (cx.input(0)?, cx.ty(0)?, cx.input(4)?);
    let flat = [Dim::product(&ty.shape)];
    let numbers = cx.b.push(Iota { shape: flat.to_vec(), axis: 0, dtype: DType::I64 }, &[])?;
    let numbers = cx.b.reshape(numbers, &ty.shape)?;
    let places = take(cx, numbers)?;
    let shape = cx.b.ty(places).shape.clone();
    // Leading axes of extent 1 may be more than the slice has.
    let vt = cx.b.ty(value).clone();
    let more = vt.rank().saturating_sub(shape.len());
    if vt.shape[..more].iter().any(|d| !d.is(1)) {
        bail!("a value {vt} does not fit a slice of shape {shape:?}");
    }
    let value = cx.b.reshape(value, &vt.shape[more..])?;
    let value = cx.b.broadcast(value, &shape)?;
    let count = Dim::product(&shape);
    let (places, value) = (cx.b.reshape(places, &[count.clone(), Dim::from(1)])?, cx.b.reshape(value, &[count])?);
    let x = cx.b.reshape(x, &flat)?;
    let y = cx.b.push(Scatter { mode: ScatterMode::UPDATE }, &[x, places, value])?;
    Ok(vec![cx.b.reshape(y, &ty.shape)?])
}

/// Operands: shape, begin, end, strides, dy. Result: dy at the places that the slice takes.
fn tf_strided_slice_grad(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let shape = cx.dims_input(0)?;
    let known = |d: Vec<Dim>| d.into_iter().map(Some).collect::<Vec<_>>();
    let (begins, ends) = (known(cx.dims_input(1)?), known(cx.dims_input(2)?));
    let (axes, _) = read_spec(&begins, &ends, &cx.const_ints(3)?, &masks(cx)?, shape.len())?;
    let (mut start, mut size, mut steps) = (vec![], vec![], vec![]);
    for (axis, extent) in axes.iter().zip(&shape) {
        let (at, n, step) = match axis {
            Axis::Range { begin, end, step, .. } => {
                let (at, n) = range(begin, end, *step, extent)?;
                (at, n, *step)
            }
            Axis::Index { at: Bound::Known(at), .. } => (from_front(at, extent), Dim::from(1), 1),
            Axis::Index { .. } => bail!("the gradient of an index that depends on data is not known by its bounds"),
        };
        start.push(at);
        size.push(n);
        steps.push(step);
    }
    let dy = cx.b.reshape(cx.input(4)?, &size)?;
    Ok(vec![place(cx.b, dy, &shape, &start, &steps)?])
}

/// Operands: x, begin, size; a size of -1 reaches to the end.
fn tf_slice(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, begin) = (cx.input(0)?, cx.ty(0)?, cx.input(1)?);
    let (begins, mut sizes) = (elements(cx.b, begin)?, cx.dims_input(2)?);
    if begins.len() != ty.rank() || sizes.len() != ty.rank() {
        bail!("begin and size hold {} and {} entries for {ty}", begins.len(), sizes.len());
    }
    for (i, n) in sizes.iter_mut().enumerate().filter(|n| n.1.is(-1)) {
        *n = match &begins[i] {
            Some(at) => ty.shape[i].clone() - at.clone(),
            None => {
                let at = slice(cx.b, begin, Slice::dense(vec![Dim::from(i)], vec![Dim::from(1)]))?;
                let at = cx.b.cast(DType::I64, at)?;
                let extent = dim_value(cx.b, &ty.shape[i], DType::I64)?;
                let rest = cx.b.binary(BinaryOp::Sub, extent, at)?;
                cx.computed_size(1, rest).with_context(|| format!("axis {i}: the size is what follows its begin"))?
            }
        };
    }
    let size = sizes;
    match begins.iter().cloned().collect::<Option<Vec<Dim>>>() {
        Some(start) => Ok(vec![slice(cx.b, x, Slice::dense(start, size))?]),
        None => Ok(vec![cx.b.push(DynamicSlice { size }, &[x, begin])?]),
    }
}

/// The TensorFlow ops of this file.
pub(super) const TF: &[TfBinding] = &[
    TfBinding { op: "Slice", read: tf_slice },
    TfBinding { op: "StridedSlice", read: tf_strided_slice },
    TfBinding { op: "TensorStridedSliceUpdate", read: tf_strided_slice_update },
    TfBinding { op: "StridedSliceGrad", read: tf_strided_slice_grad },
];
