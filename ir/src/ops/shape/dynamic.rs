//! `dynamic_slice` and `dynamic_update_slice`: boxes whose place is a run-time operand and whose size is not.
//!
//! Constraints of both: C2 the start holds one i32 or i64 for each axis; C3 the box has the operand's rank and fits;
//! of `dynamic_update_slice` also C4: operand and update have one dtype.
//! Evaluation: E3 the box is not inside the operand; nothing is clamped, as in TensorFlow's Slice. An importer that
//! wants clamping clamps the start.

use std::sync::Arc;

use super::{advance, always_negative, arity, assemble, check_index, check_sizes, cotangent, pure_op, splat, strides};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::tensor::Tensor;
use crate::{Builder, Dim};

/// `dynamic_slice x, start`: the box of `size` whose first element is at `start`.
#[derive(Debug, Clone, PartialEq)]
pub struct DynamicSlice {
    /// The result's shape.
    pub size: Vec<Dim>,
}

/// `dynamic_update_slice x, update, start`: `x` with the box at `start` replaced by `update`.
#[derive(Debug, Clone, PartialEq)]
pub struct DynamicUpdateSlice;

fn check_box(op: &'static str, x: &TensorType, size: &[Dim], start: &TensorType) -> Result<(), OpError> {
    check_index(op, "C2", start)?;
    if start.rank() != 1 || !super::may_equal(&start.shape[0], &Dim::from(x.rank())) {
        return Err(OpError::new(op, "C2", format!("the start {start} does not hold one index for each axis of {x}")));
    }
    check_sizes(op, "C3", size)?;
    let fits = |(size, extent): (&Dim, &Dim)| !always_negative(&(extent.clone() - size.clone()));
    if size.len() != x.rank() || !size.iter().zip(&x.shape).all(fits) {
        return Err(OpError::new(op, "C3", format!("a box of {size:?} does not fit into {x}")));
    }
    Ok(())
}

/// The start as numbers, if the box lies inside the operand.
fn box_start(op: &'static str, start: &Tensor, size: &[usize], extent: &[usize]) -> Result<Vec<usize>, OpError> {
    let at = start.to_i64s().unwrap_or_default();
    for (axis, ((&at, &n), &d)) in at.iter().zip(size).zip(extent).enumerate() {
        if at < 0 || at as u64 > (d - n) as u64 {
            let message = format!("start {at} of axis {axis} is not in [0, {}]: {n} of {d} elements", d - n);
            return Err(OpError::new(op, "E3", message));
        }
    }
    Ok(at.into_iter().map(|a| a as usize).collect())
}

/// Calls `f` with the first element, in the whole, of each row of a box.
fn each_row(size: &[usize], start: &[usize], extent: &[usize], mut f: impl FnMut(usize)) {
    if size.contains(&0) {
        return;
    }
    let stride = strides(extent);
    let outer = size.len().saturating_sub(1);
    let mut index = vec![0usize; outer];
    loop {
        let at = |axis: usize| start[axis] + index.get(axis).copied().unwrap_or(0);
        f((0..size.len()).map(|axis| at(axis) * stride[axis]).sum());
        if !advance(&mut index, |axis| size[axis]) {
            return;
        }
    }
}

impl Op for DynamicSlice {
    pure_op!("dynamic_slice");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("size", Attr::Dims(self.size.clone()))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, start] = arity("dynamic_slice", given)?;
        check_box("dynamic_slice", x, &self.size, start)?;
        Ok(vec![TensorType::new(x.dtype, self.size.clone())])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let size = super::result_shape(self, x)?;
        let start = box_start("dynamic_slice", x[1], &size, x[0].shape())?;
        let row = size.last().copied().unwrap_or(1);
        let rows = |emit: super::Emit<'_>| each_row(&size, &start, x[0].shape(), |at| emit(0, at, row));
        Ok(vec![assemble("dynamic_slice", &size, &x[..1], rows)?])
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        let start = x[1].1.and_then(|d| d.elems.iter().map(Dim::as_const).collect::<Option<Vec<i64>>>());
        let slice =
            |start: Vec<i64>| super::Slice::dense(start.into_iter().map(Dim::from).collect(), self.size.clone());
        start.map_or(vec![None], |s| super::dims_moved(&slice(s), &x[..1]))
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None, None]) };
        let ty = b.ty(args.inputs[0]).clone();
        let zeros = splat(b, ty.dtype, 0.0, &ty.shape)?;
        Ok(vec![Some(b.push(DynamicUpdateSlice, &[zeros, g, args.inputs[1]])?), None])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::DynamicSlice
    }
}

impl Op for DynamicUpdateSlice {
    pure_op!("dynamic_update_slice");
    fn attrs(&self) -> Attrs {
        Attrs::none()
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, update, start] = arity("dynamic_update_slice", given)?;
        check_box("dynamic_update_slice", x, &update.shape, start)?;
        if x.dtype != update.dtype {
            return Err(OpError::new("dynamic_update_slice", "C4", format!("{update} cannot replace a box of {x}")));
        }
        Ok(vec![x.clone()])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let shape = super::result_shape(self, x)?;
        let start = box_start("dynamic_update_slice", x[2], x[1].shape(), &shape)?;
        let row = x[1].shape().last().copied().unwrap_or(1);
        let runs = |emit: super::Emit<'_>| {
            let (mut done, mut taken) = (0, 0);
            each_row(x[1].shape(), &start, &shape, |at| {
                emit(0, done, at - done);
                emit(1, taken, row);
                (done, taken) = (at + row, taken + row);
            });
            emit(0, done, x[0].len() - done);
        };
        Ok(vec![assemble("dynamic_update_slice", &shape, &x[..2], runs)?])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None; 3]) };
        let (update, start) = (b.ty(args.inputs[1]).clone(), args.inputs[2]);
        let zeros = splat(b, update.dtype, 0.0, &update.shape)?;
        let rest = b.push(DynamicUpdateSlice, &[g, zeros, start])?;
        Ok(vec![Some(rest), Some(b.push(DynamicSlice { size: update.shape }, &[g, start])?), None])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::DynamicUpdateSlice
    }
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    OpDef { name: "dynamic_slice", parse: |a| Ok(Arc::new(DynamicSlice { size: a.dims("size")? })), tf: &[] },
    OpDef { name: "dynamic_update_slice", parse: |_| Ok(Arc::new(DynamicUpdateSlice)), tf: &[] },
];
