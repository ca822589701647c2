//! `roll`: elements moved along axes, those that leave on one side entering on the other.
//!
//! Constraints: C2 as many shifts as axes; C3 the axes are within the rank, each once.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::join::concat;
use super::slice::slice;
use super::{Emit, Movement, Slice, arity, cotangent, dims_moved, emit_separable, eval_moved, pure_op, strides};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, Dim};

/// `roll x`: result index `i` is operand index `(i - shift) mod extent` along each of the axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Roll {
    /// How far towards higher indices, one an axis; negative for lower.
    pub shifts: Vec<i64>,
    /// The axes, each once.
    pub axes: Vec<usize>,
}

impl Op for Roll {
    pure_op!("roll");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("shifts", Attr::Ints(self.shifts.clone())).with("axes", Attr::axes(&self.axes))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("roll", given)?;
        if self.shifts.len() != self.axes.len() {
            return Err(OpError::new("roll", "C2", format!("shifts {:?} for axes {:?}", self.shifts, self.axes)));
        }
        let twice = |i: usize| self.axes[..i].contains(&self.axes[i]);
        if self.axes.iter().any(|&a| a >= x.rank()) || (0..self.axes.len()).any(twice) {
            return Err(OpError::new("roll", "C3", format!("axes {:?} of {x}", self.axes)));
        }
        Ok(vec![x.clone()])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        eval_moved(self, x)
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        dims_moved(self, x)
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        // The transpose of a permutation is its inverse: the same way back.
        let shifts = self.shifts.iter().map(|s| s.saturating_neg()).collect();
        Ok(vec![Some(b.push(Roll { shifts, axes: self.axes.clone() }, &[g])?)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Expand(expand)
    }
}

impl Movement for Roll {
    fn runs(&self, x: &[&[usize]], result: &[usize], emit: Emit<'_>) {
        let stride = strides(x[0]);
        let table = |axis: usize| {
            let n = result[axis] as i64;
            let shift = self.axes.iter().position(|&a| a == axis).map_or(0, |i| self.shifts[i]);
            let from = |i: i64| (i - shift.rem_euclid(n)).rem_euclid(n) as usize;
            (0..n).map(|i| Some(from(i) * stride[axis])).collect()
        };
        emit_separable(&(0..result.len()).map(table).collect::<Vec<_>>(), emit);
    }
}

/// Each axis is cut in two, and the parts change places.
fn expand(b: &mut Builder, op: &dyn Op, x: &[Value]) -> Result<Vec<Value>> {
    let (roll, mut x) = (op.is::<Roll>().context("expands roll")?, x[0]);
    let shape = b.ty(x).shape.clone();
    for (&axis, &shift) in roll.axes.iter().zip(&roll.shifts) {
        let n = &shape[axis];
        if shift == 0 || n.is(0) {
            continue;
        }
        let moved = Dim::from(shift).floor_mod(n);
        let kept = n.clone() - moved.clone();
        let tail = slice(b, x, Slice::along(&shape, axis, kept.clone(), moved))?;
        let head = slice(b, x, Slice::along(&shape, axis, Dim::from(0), kept))?;
        let joined = concat(b, &[tail, head], axis)?;
        x = b.reshape(joined, &shape)?;
    }
    Ok(vec![x])
}

/// Operands: x, shift, axis; the shifts of an axis that occurs twice add up.
fn tf_roll(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, rank, given, at) = (cx.input(0)?, cx.ty(0)?.rank(), cx.const_ints(1)?, cx.const_ints(2)?);
    if given.len() != at.len() {
        bail!("{} shifts for {} axes", given.len(), at.len());
    }
    let (mut shifts, mut axes) = (Vec::<i64>::new(), Vec::new());
    for (shift, axis) in given.into_iter().zip(at) {
        let axis = normalize_axis(axis, rank)?;
        match axes.iter().position(|&a| a == axis) {
            Some(i) => shifts[i] = shifts[i].saturating_add(shift),
            None => {
                axes.push(axis);
                shifts.push(shift);
            }
        }
    }
    Ok(vec![cx.b.push(Roll { shifts, axes }, &[x])?])
}

/// The op of this file.
pub const OPS: &[OpDef] = &[OpDef {
    name: "roll",
    parse: |a| Ok(Arc::new(Roll { shifts: a.ints("shifts")?, axes: a.axes("axes")? })),
    tf: &[TfBinding { op: "Roll", read: tf_roll }],
}];
