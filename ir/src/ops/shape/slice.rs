//! `slice`: a strided box of the operand, with bounds known up to symbols.
//!
//! Constraints: C2 start, size and step have one entry an axis; C3 no step is 0; C4 sizes are not negative and every
//! element taken lies in the operand, where that does not depend on symbols.

use std::sync::Arc;

use super::{
    Emit, Movement, always_negative, arity, at_least_zero, check_sizes, cotangent, dims_moved, emit_separable,
};
use super::{eval_moved, pure_op, splat, strides};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::{Lower, View};
use crate::op::{DimTensor, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::ops::shape::{Pad, Reverse};
use crate::tensor::Tensor;
use crate::{Builder, Dim};

/// `slice x`: result index `i` is operand index `start + step * i` along each axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Index of the first element taken, per axis.
    pub start: Vec<Dim>,
    /// The result's shape.
    pub size: Vec<Dim>,
    /// Distance of the elements taken, per axis; negative to walk backwards.
    pub step: Vec<i64>,
}

impl Slice {
    /// A slice of neighbouring elements.
    pub fn dense(start: Vec<Dim>, size: Vec<Dim>) -> Slice {
        let step = vec![1; start.len()];
        Slice { start, size, step }
    }

    /// Elements `start .. start + size` along one axis of a value of shape `shape`.
    pub fn along(shape: &[Dim], axis: usize, start: Dim, size: Dim) -> Slice {
        let (mut starts, mut sizes) = (vec![Dim::from(0); shape.len()], shape.to_vec());
        starts[axis] = start;
        sizes[axis] = size;
        Slice::dense(starts, sizes)
    }

    /// Whether a slice of an operand of this shape takes everything in order.
    pub fn is_whole(&self, shape: &[Dim]) -> bool {
        self.size == shape && self.start.iter().all(|d| d.is(0)) && self.step.iter().all(|&s| s == 1)
    }
}

/// A slice; the value itself where the slice takes everything.
pub(crate) fn slice(b: &mut Builder, x: Value, op: Slice) -> anyhow::Result<Value> {
    if op.is_whole(&b.ty(x).shape) { Ok(x) } else { b.push(op, &[x]) }
}

impl Op for Slice {
    pure_op!("slice");
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("start", Attr::Dims(self.start.clone()))
            .with("size", Attr::Dims(self.size.clone()))
            .with("step", Attr::Ints(self.step.clone()))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("slice", given)?;
        if [self.start.len(), self.size.len(), self.step.len()] != [x.rank(); 3] {
            let message =
                format!("{x} is sliced by start {:?}, size {:?}, step {:?}", self.start, self.size, self.step);
            return Err(OpError::new("slice", "C2", message));
        }
        if self.step.contains(&0) {
            return Err(OpError::new("slice", "C3", format!("step {:?} holds 0", self.step)));
        }
        check_sizes("slice", "C4", &self.size)?;
        for axis in 0..x.rank() {
            let (start, size) = (&self.start[axis], &self.size[axis]);
            if size.is(0) {
                continue;
            }
            let last = start.clone() + Dim::from(self.step[axis]) * (size.clone() - Dim::from(1));
            // A symbolic size may be 0 at run time, and then nothing is taken.
            let certain = size.as_const().is_some();
            let outside =
                |at: &Dim| always_negative(at) || always_negative(&(x.shape[axis].clone() - at.clone() - Dim::from(1)));
            if certain && (outside(start) || outside(&last)) {
                let message = format!("elements {start} to {last} of axis {axis} are not all in {x}");
                return Err(OpError::new("slice", "C4", message));
            }
            if always_negative(&(x.shape[axis].clone() - size.clone())) {
                return Err(OpError::new("slice", "C4", format!("axis {axis} of {x} has no {size} elements")));
            }
        }
        Ok(vec![TensorType::new(x.dtype, self.size.clone())])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        if self.start.iter().any(|d| d.as_const().is_none()) {
            return Err(OpError::new("slice", "E1", format!("the start {:?} holds unbound symbols", self.start)));
        }
        eval_moved(self, x)
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        if self.start.iter().any(|d| d.as_const().is_none()) { vec![None] } else { dims_moved(self, x) }
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let shape = b.ty(args.inputs[0]).shape.clone();
        Ok(vec![Some(place(b, g, &shape, &self.start, &self.step)?)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::View(View::Slice { start: self.start.clone(), step: self.step.clone() })
    }
}

impl Movement for Slice {
    fn runs(&self, x: &[&[usize]], result: &[usize], emit: Emit<'_>) {
        let stride = strides(x[0]);
        // `infer` has placed every index inside the operand, so none of these leaves usize.
        let table = |axis: usize| {
            let start = self.start[axis].as_const().unwrap_or(0);
            let at = |i: usize| Some((start + self.step[axis] * i as i64) as usize * stride[axis]);
            (0..result[axis]).map(at).collect()
        };
        emit_separable(&(0..result.len()).map(table).collect::<Vec<_>>(), emit);
    }
}

/// The transpose of a slice: `g` at the places that the slice takes, in zeros of `shape`.
pub(crate) fn place(b: &mut Builder, g: Value, shape: &[Dim], start: &[Dim], step: &[i64]) -> anyhow::Result<Value> {
    let dtype = b.ty(g).dtype;
    let mut size = b.ty(g).shape.clone();
    if size.iter().any(|d| d.is(0)) {
        return splat(b, dtype, 0.0, shape);
    }
    let backwards: Vec<usize> = (0..step.len()).filter(|&axis| step[axis] < 0).collect();
    let mut low = start.to_vec();
    for &axis in &backwards {
        low[axis] = low[axis].clone() + Dim::from(step[axis]) * (size[axis].clone() - Dim::from(1));
    }
    let mut g = if backwards.is_empty() { g } else { b.push(Reverse { axes: backwards }, &[g])? };
    for axis in 0..step.len() {
        let gap = step[axis].saturating_abs();
        if gap > 1 && !size[axis].is(1) {
            g = spread(b, g, axis, gap)?;
            size[axis] = b.ty(g).shape[axis].clone();
        }
    }
    let high: Vec<Dim> = (0..step.len()).map(|i| shape[i].clone() - low[i].clone() - size[i].clone()).collect();
    zero_pad(b, g, low, high)
}

/// `gap - 1` zeros between neighbours along an axis.
fn spread(b: &mut Builder, g: Value, axis: usize, gap: i64) -> anyhow::Result<Value> {
    let shape = b.ty(g).shape.clone();
    let mut split = shape.clone();
    split.insert(axis + 1, Dim::from(1));
    let g = b.reshape(g, &split)?;
    let mut high = vec![Dim::from(0); split.len()];
    high[axis + 1] = Dim::from(gap - 1);
    let g = zero_pad(b, g, vec![Dim::from(0); split.len()], high)?;
    let mut joined = shape.clone();
    joined[axis] = shape[axis].clone() * Dim::from(gap);
    let g = b.reshape(g, &joined)?;
    let length = at_least_zero(&(joined[axis].clone() - Dim::from(gap - 1)));
    slice(b, g, Slice::along(&joined, axis, Dim::from(0), length))
}

/// Zeros around a value; the value itself where there are none.
pub(crate) fn zero_pad(b: &mut Builder, x: Value, low: Vec<Dim>, high: Vec<Dim>) -> anyhow::Result<Value> {
    if low.iter().chain(&high).all(|d| d.is(0)) {
        return Ok(x);
    }
    let zero = b.scalar(b.ty(x).dtype, 0.0)?;
    b.push(Pad { low, high }, &[x, zero])
}

/// The op of this file; its TensorFlow names are in `strided`.
pub const OPS: &[OpDef] = &[OpDef {
    name: "slice",
    parse: |a| Ok(Arc::new(Slice { start: a.dims("start")?, size: a.dims("size")?, step: a.ints("step")? })),
    tf: super::strided::TF,
}];
