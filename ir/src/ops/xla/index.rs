//! Elements found by run-time indices: XlaGather, XlaScatter, XlaDynamicSlice, XlaDynamicUpdateSlice.
//!
//! The axes of a gather's or scatter's operand are of two kinds. Along `whole` ones a window covers the operand; the others
//! are numbered through, and each element of a window is a row of this number.

use anyhow::{Context, Result, bail};

use super::Scalars;
use super::dimensions::{GatherDimensionNumbers, ScatterDimensionNumbers, axes, inverse, message, others};
use crate::graph::{TensorType, Value};
use crate::ops::constant::Iota;
use crate::ops::gather::{Gather, Scatter, ScatterMode};
use crate::ops::host::tf_ops;
use crate::ops::shape::join::concat;
use crate::ops::shape::slice::slice;
use crate::ops::shape::{DynamicSlice, DynamicUpdateSlice, Slice, always_negative, dim_value, may_equal, splat};
use crate::scalar::{BinaryOp, CompareOp};
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim};

/// The starts of a box, moved so that the box lies inside the operand.
fn clamped_start(b: &mut Builder, start: Value, shape: &[Dim], size: &[Dim]) -> Result<Value> {
    let dtype = b.ty(start).dtype;
    let last: Vec<Dim> = shape.iter().zip(size).map(|(d, n)| d.clone() - n.clone()).collect();
    if last.len() != shape.len() || shape.len() != size.len() || last.iter().any(always_negative) {
        bail!("a box of {size:?} does not fit into {shape:?}");
    }
    if last.is_empty() {
        return Ok(start);
    }
    let last = crate::ops::shape::dims_value(b, &last, dtype)?;
    let start = b.binary(BinaryOp::Min, start, last)?;
    let zero = b.scalar(dtype, 0.0)?;
    b.binary(BinaryOp::Max, start, zero)
}

fn dynamic_slice(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, start, size) = (cx.input(0)?, cx.input(1)?, cx.dims_input(2)?);
    let shape = cx.b.ty(x).shape.clone();
    let start = clamped_start(cx.b, start, &shape, &size)?;
    Ok(vec![cx.b.push(DynamicSlice { size }, &[x, start])?])
}

fn dynamic_update_slice(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, update, start) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (shape, size) = (cx.b.ty(x).shape.clone(), cx.b.ty(update).shape.clone());
    let start = clamped_start(cx.b, start, &shape, &size)?;
    Ok(vec![cx.b.push(DynamicUpdateSlice, &[x, update, start])?])
}

/// Windows at run-time places of an operand.
struct Windows {
    /// The operand's type.
    ty: TensorType,
    /// The size of a window along each axis of the operand.
    size: Vec<Dim>,
    /// The operand's axes that a window has as axes, in order.
    window_axes: Vec<usize>,
    /// The indices as `[places.., axes]` of i64.
    indices: Value,
    /// The operand's axes that the last axis of the indices is about.
    indexed: Vec<usize>,
    /// Axes of the operand with the axes of the places whose number is their index.
    batching: Vec<(usize, usize)>,
    /// Axes that are numbered through, then those along which a window covers the operand.
    numbered: Vec<usize>,
    whole: Vec<usize>,
}

impl Windows {
    #[allow(clippy::too_many_arguments)] // the parts of XLA's dimension numbers
    fn new(
        b: &mut Builder,
        ty: TensorType,
        indices: Value,
        index_vector_dim: i64,
        indexed: &[i64],
        dropped: &[i64],
        batching: (&[i64], &[i64]),
        size: impl FnOnce(&[usize]) -> Result<Vec<Dim>>,
    ) -> Result<Windows> {
        let it = b.ty(indices).clone();
        let vector = usize::try_from(index_vector_dim).ok().filter(|&d| d <= it.rank());
        let vector = vector.with_context(|| format!("axis {index_vector_dim} of {it} cannot hold the indices"))?;
        let indices = if vector == it.rank() {
            b.reshape(indices, &[&it.shape[..], &[Dim::from(1)]].concat())?
        } else {
            let perm: Vec<usize> = others(it.rank(), &[vector]).into_iter().chain([vector]).collect();
            b.transpose(indices, &perm)?
        };
        let indices = b.cast(DType::I64, indices)?;
        let places = b.ty(indices).rank() - 1;
        let rank = ty.rank();
        let indexed = axes(indexed, rank, "the indexed axes")?;
        let dropped = axes(dropped, rank, "the axes that windows lack")?;
        let operand_batch = axes(batching.0, rank, "the batch axes")?;
        let places_batch: Vec<usize> = batching
            .1
            .iter()
            .map(|&d| usize::try_from(d).ok().map(|d| if d > vector { d - 1 } else { d }).filter(|&d| d < places))
            .collect::<Option<_>>()
            .with_context(|| format!("the batch axes {:?} of {it}", batching.1))?;
        if !may_equal(&b.ty(indices).shape[places], &Dim::from(indexed.len()))
            || operand_batch.len() != places_batch.len()
        {
            bail!("the indices {it} do not hold one for each of the axes {indexed:?}, or have other batch axes");
        }
        let window_axes = others(rank, &[&dropped[..], &operand_batch].concat());
        let size = size(&window_axes)?;
        if size.len() != rank || size.iter().zip(&ty.shape).any(|(n, d)| always_negative(&(d.clone() - n.clone()))) {
            bail!("windows of {size:?} do not fit {ty}");
        }
        if dropped.iter().chain(&operand_batch).any(|&a| !may_equal(&size[a], &Dim::from(1))) {
            bail!("windows of {size:?} are longer than 1 along axes that they lack");
        }
        let batching = operand_batch.into_iter().zip(places_batch).collect();
        let mut w = Windows { size, window_axes, indices, indexed, batching, numbered: vec![], whole: vec![], ty };
        let covers = |a: &usize| w.window_axes.contains(a) && w.size[*a] == w.ty.shape[*a];
        (w.whole, w.numbered) = (0..rank).partition(covers);
        Ok(w)
    }

    /// The shape of the places.
    fn places(&self, b: &Builder) -> Vec<Dim> {
        let shape = &b.ty(self.indices).shape;
        shape[..shape.len() - 1].to_vec()
    }

    /// The window axes among the numbered ones.
    fn inner(&self) -> Vec<usize> {
        self.numbered.iter().copied().filter(|a| self.window_axes.contains(a)).collect()
    }

    /// The index of the windows' start along an axis, as large as the places; `None` where it is 0.
    fn start(&self, b: &mut Builder, axis: usize) -> Result<Option<Value>> {
        let places = self.places(b);
        if let Some(&(_, at)) = self.batching.iter().find(|p| p.0 == axis) {
            return Ok(Some(b.push(Iota { shape: places, axis: at, dtype: DType::I64 }, &[])?));
        }
        let Some(at) = self.indexed.iter().position(|&a| a == axis) else { return Ok(None) };
        let shape = b.ty(self.indices).shape.clone();
        let i = slice(b, self.indices, Slice::along(&shape, places.len(), Dim::from(at), Dim::from(1)))?;
        Ok(Some(b.reshape(i, &places)?))
    }

    /// The number of the row of each element of each window, `[places.., inner..]`. `start` may change the start along
    /// an axis.
    fn rows(
        &self,
        b: &mut Builder,
        mut start: impl FnMut(&mut Builder, usize, Value) -> Result<Value>,
    ) -> Result<Value> {
        let (places, inner) = (self.places(b), self.inner());
        let mut row = b.scalar(DType::I64, 0.0)?;
        for &axis in &self.numbered {
            let extent = dim_value(b, &self.ty.shape[axis], DType::I64)?;
            row = b.binary(BinaryOp::Mul, row, extent)?;
            if let Some(at) = self.start(b, axis)? {
                let at = start(b, axis, at)?;
                let wide = [&places[..], &vec![Dim::from(1); inner.len()]].concat();
                let at = b.reshape(at, &wide)?;
                row = b.binary(BinaryOp::Add, row, at)?;
            }
            if let Some(i) = inner.iter().position(|&a| a == axis) {
                let mut shape = vec![Dim::from(1); places.len() + inner.len()];
                shape[places.len() + i] = self.size[axis].clone();
                let within = b.push(Iota { shape, axis: places.len() + i, dtype: DType::I64 }, &[])?;
                row = b.binary(BinaryOp::Add, row, within)?;
            }
        }
        let shape = self.row_shape(b);
        b.broadcast(row, &shape)
    }

    fn row_shape(&self, b: &Builder) -> Vec<Dim> {
        let inner = self.inner();
        self.places(b).into_iter().chain(inner.iter().map(|&a| self.size[a].clone())).collect()
    }

    /// The operand as rows: `[numbered axes in one, whole axes..]`.
    fn flat(&self, b: &mut Builder, x: Value) -> Result<Value> {
        let perm = [&self.numbered[..], &self.whole].concat();
        let x = b.transpose(x, &perm)?;
        let shape: Vec<Dim> =
            [self.row_count()].into_iter().chain(self.whole.iter().map(|&a| self.ty.shape[a].clone())).collect();
        b.reshape(x, &shape)
    }

    fn row_count(&self) -> Dim {
        Dim::product(self.numbered.iter().map(|&a| &self.ty.shape[a]))
    }

    /// Rows as the operand again.
    fn unflat(&self, b: &mut Builder, x: Value) -> Result<Value> {
        let perm = [&self.numbered[..], &self.whole].concat();
        let shape: Vec<Dim> = perm.iter().map(|&a| self.ty.shape[a].clone()).collect();
        let x = b.reshape(x, &shape)?;
        b.transpose(x, &inverse(&perm))
    }

    /// Where the axes `[places.., inner.., whole..]` stand in a tensor whose axes `window_at` are the windows' in order.
    fn perm(&self, places: usize, window_at: &[usize]) -> Vec<usize> {
        let (inner, rank) = (self.inner(), places + self.window_axes.len());
        let mut window = self.window_axes.iter();
        let mut place = 0..places;
        let source = |a: usize| {
            let i = inner.iter().position(|&b| b == a).unwrap_or(inner.len());
            let w = self.whole.iter().position(|&b| b == a).unwrap_or(0);
            places + if i < inner.len() { i } else { i + w }
        };
        let of = |axis: usize| match window_at.contains(&axis) {
            true => window.next().map(|&a| source(a)),
            false => place.next(),
        };
        (0..rank).filter_map(of).collect()
    }
}

/// Starts are moved so that every window lies inside.
fn gather(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let n: GatherDimensionNumbers = message(cx, "dimension_numbers")?;
    let (x, indices, sizes) = (cx.input(0)?, cx.input(1)?, cx.dims_input(2)?);
    let b = &mut *cx.b;
    let batching = (&n.operand_batching_dims[..], &n.start_indices_batching_dims[..]);
    let ty = b.ty(x).clone();
    let w = Windows::new(
        b,
        ty,
        indices,
        n.index_vector_dim,
        &n.start_index_map,
        &n.collapsed_slice_dims,
        batching,
        |_| Ok(sizes),
    )?;
    let places = w.places(b).len();
    let mut offsets = axes(&n.offset_dims, places + w.window_axes.len(), "the offset axes")?;
    offsets.sort_unstable();
    if offsets.len() != w.window_axes.len() {
        bail!("{} offset axes for windows with {} axes", offsets.len(), w.window_axes.len());
    }
    let rows = w.rows(b, |b, axis, at| {
        let last = dim_value(b, &(w.ty.shape[axis].clone() - w.size[axis].clone()), DType::I64)?;
        let at = b.binary(BinaryOp::Min, at, last)?;
        let zero = b.scalar(DType::I64, 0.0)?;
        b.binary(BinaryOp::Max, at, zero)
    })?;
    let flat = w.flat(b, x)?;
    let y = b.push(Gather { axis: 0, batch_dims: 0 }, &[flat, rows])?;
    Ok(vec![b.transpose(y, &w.perm(places, &offsets))?])
}

/// XlaScatter: operands x, indices and updates; a window that is not wholly inside is left out.
///
/// # Errors
/// If the operands do not fit the dimension numbers, or `f` is none of: the update, sum, difference, maximum, minimum.
pub fn scatter(cx: &mut TfCx<'_>, f: &Scalars) -> Result<Value> {
    let n: ScatterDimensionNumbers = message(cx, "dimension_numbers")?;
    let (x, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let mode = match (f.returns(), f.binary()) {
        (Some(1), _) => ScatterMode::UPDATE,
        (_, Some(op @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Max | BinaryOp::Min))) => ScatterMode(Some(op)),
        _ => bail!("function `{}` is none of: the update, add, subtract, max, min", f.name()),
    };
    let b = &mut *cx.b;
    let (ty, ut) = (b.ty(x).clone(), b.ty(updates).clone());
    let mut window_at = axes(&n.update_window_dims, ut.rank(), "the window axes of the updates")?;
    window_at.sort_unstable();
    let batching = (&n.input_batching_dims[..], &n.scatter_indices_batching_dims[..]);
    let size = |window_axes: &[usize]| {
        if window_axes.len() != window_at.len() {
            bail!("updates {ut} have {} window axes for windows with {}", window_at.len(), window_axes.len());
        }
        let mut size = vec![Dim::from(1); ty.rank()];
        window_axes.iter().zip(&window_at).for_each(|(&a, &at)| size[a] = ut.shape[at].clone());
        Ok(size)
    };
    let indexed = &n.scatter_dims_to_operand_dims;
    let mut w =
        Windows::new(b, ty.clone(), indices, n.index_vector_dim, indexed, &n.inserted_window_dims, batching, size)?;
    // A start other than 0 makes a window that covers an axis reach outside, so such axes are numbered.
    let (whole, moved): (Vec<usize>, Vec<usize>) = w.whole.iter().copied().partition(|a| !w.indexed.contains(a));
    w.numbered.extend(moved);
    w.whole = whole;
    let places = w.places(b).len();
    if ut.rank() != places + window_at.len() {
        bail!("updates {ut} for {places} axes of places and {} of windows", window_at.len());
    }
    // A window outside goes to a row behind the others, which is dropped.
    let mut inside = None;
    for &axis in &w.indexed {
        let Some(at) = w.start(b, axis)? else { continue };
        let (zero, last) = (b.scalar(DType::I64, 0.0)?, ty.shape[axis].clone() - w.size[axis].clone());
        let last = dim_value(b, &last, DType::I64)?;
        let (low, high) = (b.compare(CompareOp::Ge, at, zero)?, b.compare(CompareOp::Le, at, last)?);
        let fits = b.binary(BinaryOp::And, low, high)?;
        inside = Some(match inside {
            Some(all) => b.binary(BinaryOp::And, all, fits)?,
            None => fits,
        });
    }
    let mut rows = w.rows(b, |_, _, at| Ok(at))?;
    if let Some(inside) = inside {
        let wide: Vec<Dim> = w.places(b).into_iter().chain(w.inner().iter().map(|_| Dim::from(1))).collect();
        let inside = b.reshape(inside, &wide)?;
        let none = dim_value(b, &w.row_count(), DType::I64)?;
        rows = b.select(inside, rows, none)?;
    }
    let column = [&b.ty(rows).shape[..], &[Dim::from(1)]].concat();
    let rows = b.reshape(rows, &column)?;
    let updates = b.transpose(updates, &inverse(&w.perm(places, &window_at)))?;
    let flat = w.flat(b, x)?;
    let mut one = b.ty(flat).shape.clone();
    one[0] = Dim::from(1);
    let spare = splat(b, ty.dtype, 0.0, &one)?;
    let flat = concat(b, &[flat, spare], 0)?;
    let y = b.push(Scatter { mode }, &[flat, rows, updates])?;
    let shape = b.ty(y).shape.clone();
    let y = slice(b, y, Slice::along(&shape, 0, Dim::from(0), w.row_count()))?;
    w.unflat(b, y)
}

/// The import rules of this file.
pub const TF: &[TfBinding] = tf_ops! {
    "XlaDynamicSlice" => dynamic_slice, "XlaDynamicUpdateSlice" => dynamic_update_slice, "XlaGather" => gather,
};
