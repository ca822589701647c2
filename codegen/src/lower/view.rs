//! Views and gathers: index arithmetic, and selects where an index may leave an operand.

use anyhow::{Result, bail};
use kiln_ir::loops::{Inst, LoopKind, V};
use kiln_ir::lower::View;
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::{DType, Dim, Value};
use kiln_rt::Status;

use super::{Emit, LoopRole, index};

impl Emit<'_> {
    pub(super) fn view(&mut self, view: &View, inputs: &[Value], v: Value, at: &[V]) -> Result<V> {
        let x = inputs[0];
        let shape = |e: &Self, v: Value| e.f.ty(v).shape.clone();
        match view {
            View::Transpose(perm) => {
                let mut from = at.to_vec();
                perm.iter().enumerate().for_each(|(j, &p)| from[p] = at[j]);
                self.eval(x, &from)
            }
            View::Reshape(_) => {
                let (to, from) = (shape(self, v), shape(self, x));
                let i = index::reshape(&mut self.b, at, &to, &from);
                self.eval(x, &i)
            }
            View::Broadcast(_) => {
                let i = self.broadcast_index(x, v, at);
                self.eval(x, &i)
            }
            View::Slice { start, step } => {
                let mut i = Vec::with_capacity(at.len());
                for ((&a, s), &step) in at.iter().zip(start).zip(step) {
                    let scaled = self.scale(a, step);
                    i.push(self.offset(scaled, s));
                }
                self.eval(x, &i)
            }
            View::Pad { low, .. } => {
                let extents = shape(self, x);
                let i: Vec<V> = at.iter().zip(low).map(|(&a, l)| self.offset(a, &(Dim::from(0) - l.clone()))).collect();
                let fill = self.eval(inputs[1], &[])?;
                let to = shape(self, v);
                self.guarded(x, &i, &extents, |d| to[d] == extents[d], fill)
            }
            View::Concat { axis } => self.concat(inputs, *axis, at),
            View::Reverse(axes) => {
                let from = shape(self, x);
                let mut i = at.to_vec();
                for &a in axes {
                    let last = self.b.dim(&(from[a].clone() - Dim::from(1)));
                    i[a] = self.b.sub(last, at[a]);
                }
                self.eval(x, &i)
            }
            View::Tile => {
                let (from, to) = (shape(self, x), shape(self, v));
                let mut i = at.to_vec();
                for a in 0..from.len() {
                    if from[a] != to[a] {
                        let n = self.b.dim(&from[a]);
                        i[a] = if from[a].is(1) { self.zero() } else { self.b.binary(BinaryOp::TruncMod, at[a], n) };
                    }
                }
                self.eval(x, &i)
            }
            View::MirrorPad { low, offset } => {
                let from = shape(self, x);
                let mut i = vec![];
                for (a, &at) in at.iter().enumerate() {
                    i.push(self.mirrored(at, &low[a], &from[a], *offset));
                }
                self.eval(x, &i)
            }
        }
    }

    /// |j| below, 2n - j beyond: the mirror of `j = at - low` at the ends of `[0, n)`; `offset` 1 leaves the border
    /// element out of the mirror image.
    fn mirrored(&mut self, at: V, low: &Dim, n: &Dim, offset: i64) -> V {
        let j = self.offset(at, &(Dim::from(0) - low.clone()));
        let zero = self.zero();
        let negative = self.b.compare(CompareOp::Lt, j, zero);
        let minus_one = self.b.index(-1);
        let mirrored = self.b.mul(j, minus_one);
        let mirrored = self.offset(mirrored, &Dim::from(offset - 1));
        let j = self.b.select(negative, mirrored, j);
        let end = self.b.dim(n);
        let beyond = self.b.compare(CompareOp::Ge, j, end);
        let twice = self.b.dim(&(n.clone() * Dim::from(2) - Dim::from(1 + offset)));
        let back = self.b.sub(twice, j);
        self.b.select(beyond, back, j)
    }

    /// The operand whose part of the axis holds the index: a chain of selects over guarded loads.
    fn concat(&mut self, inputs: &[Value], axis: usize, at: &[V]) -> Result<V> {
        let Some((&first, rest)) = inputs.split_first() else { bail!("a concatenation of nothing") };
        let mut start = self.f.ty(first).shape[axis].clone();
        let mut element = self.clamped(first, at, axis)?;
        for &x in rest {
            let extent = self.f.ty(x).shape[axis].clone();
            let begin = self.b.dim(&start);
            let here = self.b.compare(CompareOp::Ge, at[axis], begin);
            let mut i = at.to_vec();
            i[axis] = self.b.sub(at[axis], begin);
            let value = self.clamped(x, &i, axis)?;
            element = self.b.select(here, value, element);
            start = start + extent;
        }
        Ok(element)
    }

    /// The element at an index whose part along `axis` is clamped into the operand; an empty operand gives nothing to
    /// load, and is never selected.
    fn clamped(&mut self, x: Value, at: &[V], axis: usize) -> Result<V> {
        let extent = self.f.ty(x).shape[axis].clone();
        if extent.is(0) {
            return super::immediate(&mut self.b, &kiln_ir::Tensor::zeros(self.f.ty(x).dtype, &[]));
        }
        let none = super::immediate(&mut self.b, &kiln_ir::Tensor::zeros(self.f.ty(x).dtype, &[]))?;
        self.unless_empty(std::slice::from_ref(&extent), none, |e| {
            let mut i = at.to_vec();
            i[axis] = e.clamp_index(at[axis], &extent);
            e.eval(x, &i)
        })
    }

    /// The element that `load` gives, or `none` if a size is 0 at run time: clamping an index needs an element to clamp it
    /// to. A loop of one iteration or none, since the sizes are those of the whole kernel.
    fn unless_empty(&mut self, sizes: &[Dim], none: V, load: impl FnOnce(&mut Self) -> Result<V>) -> Result<V> {
        let open: Vec<&Dim> = sizes.iter().filter(|d| d.as_const().is_none()).collect();
        if open.is_empty() {
            return load(self);
        }
        let trips = Dim::product(open).smaller(&Dim::from(1));
        let (lo, hi) = (self.zero(), self.b.dim(&trips));
        let out = self.for_loop(LoopKind::Serial, lo, hi, LoopRole::Guard, trips, &[(none, None)], |e, _, _| {
            Ok(vec![load(e)?])
        })?;
        Ok(out[0])
    }

    pub(super) fn clamp_index(&mut self, i: V, extent: &Dim) -> V {
        let (zero, last) = (self.zero(), self.b.dim(&(extent.clone() - Dim::from(1))));
        let i = self.b.binary(BinaryOp::Max, i, zero);
        self.b.binary(BinaryOp::Min, i, last)
    }

    /// The element at an index that may leave the operand, `fill` where it does. `inside(axis)` tells which axes cannot
    /// leave it.
    pub(super) fn guarded(
        &mut self,
        x: Value,
        i: &[V],
        extents: &[Dim],
        inside: impl Fn(usize) -> bool,
        fill: V,
    ) -> Result<V> {
        let mut ok = None;
        let mut safe = i.to_vec();
        for (a, extent) in extents.iter().enumerate() {
            if inside(a) {
                continue;
            }
            let (zero, end) = (self.zero(), self.b.dim(extent));
            let low = self.b.compare(CompareOp::Ge, i[a], zero);
            let high = self.b.compare(CompareOp::Lt, i[a], end);
            let both = self.b.binary(BinaryOp::And, low, high);
            ok = Some(match ok {
                Some(ok) => self.b.binary(BinaryOp::And, ok, both),
                None => both,
            });
        }
        // An empty operand has no element to load.
        if extents.iter().any(|e| e.is(0)) {
            return Ok(fill);
        }
        let clamped: Vec<Dim> = (0..extents.len()).filter(|&a| !inside(a)).map(|a| extents[a].clone()).collect();
        let element = self.unless_empty(&clamped, fill, |e| {
            for (a, extent) in extents.iter().enumerate().filter(|p| !inside(p.0)) {
                safe[a] = e.clamp_index(i[a], extent);
            }
            e.eval(x, &safe)
        })?;
        Ok(match ok {
            Some(ok) => self.b.select(ok, element, fill),
            None => element,
        })
    }

    /// `result[batch.., outer.., indices.., inner..] = operand[batch.., outer.., indices[..], inner..]`; an index outside
    /// the axis ends the run with an error.
    pub(super) fn gather(&mut self, axis: usize, batch_dims: usize, inputs: &[Value], at: &[V]) -> Result<V> {
        let (x, indices) = (inputs[0], inputs[1]);
        let index_rank = self.f.ty(indices).rank();
        let taken = index_rank - batch_dims;
        let mut j: Vec<V> = at[..batch_dims].to_vec();
        j.extend(&at[axis..axis + taken]);
        let raw = self.eval(indices, &j)?;
        let extent = self.f.ty(x).shape[axis].clone();
        let i = self.checked_index(raw, &extent);
        let none = super::immediate(&mut self.b, &kiln_ir::Tensor::zeros(self.f.ty(x).dtype, &[]))?;
        self.unless_empty(std::slice::from_ref(&extent), none, |e| {
            let mut from: Vec<V> = at[..axis].to_vec();
            from.push(e.clamp_index(i, &extent));
            from.extend(&at[axis + taken..]);
            e.eval(x, &from)
        })
    }

    /// The box of `x` at a start that is known at run time.
    pub(super) fn dynamic_slice(&mut self, inputs: &[Value], v: Value, at: &[V]) -> Result<V> {
        let x = inputs[0];
        let (from, size) = (self.f.ty(x).shape.clone(), self.f.ty(v).shape.clone());
        let mut starts = vec![];
        for (axis, n) in from.iter().enumerate() {
            starts.push(self.start(inputs[1], axis, n, &size[axis])?);
        }
        let none = super::immediate(&mut self.b, &kiln_ir::Tensor::zeros(self.f.ty(x).dtype, &[]))?;
        let places: Vec<Dim> = starts.iter().map(|s| s.1.larger(&Dim::from(0))).collect();
        self.unless_empty(&places, none, |e| {
            let mut i = vec![];
            for (&a, (s, places)) in at.iter().zip(&starts) {
                let s = e.clamp_index(*s, places);
                i.push(e.b.add(s, a));
            }
            e.eval(x, &i)
        })
    }

    /// `x` with the box at a start replaced by `update`.
    pub(super) fn dynamic_update_slice(&mut self, inputs: &[Value], at: &[V]) -> Result<V> {
        let (x, update) = (inputs[0], inputs[1]);
        let (from, size) = (self.f.ty(x).shape.clone(), self.f.ty(update).shape.clone());
        let mut i = vec![];
        for (axis, (&a, n)) in at.iter().zip(&from).enumerate() {
            let (s, places) = self.start(inputs[2], axis, n, &size[axis])?;
            let s = self.clamp_index(s, &places);
            i.push(self.b.sub(a, s));
        }
        let old = self.eval(x, at)?;
        self.guarded(update, &i, &size, |axis| from[axis] == size[axis], old)
    }

    /// The first index along an axis of a box of `size` in `extent`, with the number of places that it can have; a box that
    /// leaves the extent ends the run with an error.
    fn start(&mut self, starts: Value, axis: usize, extent: &Dim, size: &Dim) -> Result<(V, Dim)> {
        let axis = self.b.index(axis as i64);
        let raw = self.eval(starts, &[axis])?;
        let places = extent.clone() - size.clone() + Dim::from(1);
        Ok((self.checked_index(raw, &places), places))
    }

    /// An index as i64, checked to be in `[0, extent)`. What follows still runs when it is not.
    pub(super) fn checked_index(&mut self, raw: V, extent: &Dim) -> V {
        let i = self.b.cast(DType::I64, raw);
        let (zero, end) = (self.zero(), self.b.dim(extent));
        let low = self.b.compare(CompareOp::Ge, i, zero);
        let high = self.b.compare(CompareOp::Lt, i, end);
        let ok = self.b.binary(BinaryOp::And, low, high);
        self.b.push_effect(Inst::Check { ok, status: Status::IndexOutOfRange.code() });
        i
    }

    /// The index 0.
    pub(super) fn zero(&mut self) -> V {
        self.zero
    }

    /// i * step.
    pub(super) fn scale(&mut self, i: V, step: i64) -> V {
        if step == 1 {
            return i;
        }
        let s = self.b.index(step);
        self.b.mul(i, s)
    }

    /// i + d.
    pub(super) fn offset(&mut self, i: V, d: &Dim) -> V {
        if d.is(0) {
            return i;
        }
        let d = self.b.dim(d);
        self.b.add(i, d)
    }
}
