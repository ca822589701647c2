//! `concat`, and the TensorFlow ops that join tensors or take them apart along an axis.
//!
//! Constraints of `concat`: C1 at least one operand; C2 one dtype; C3 the axis is within the rank; C4 the ranks and the
//! sizes along other axes agree.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::slice::slice;
use super::{
    Emit, Movement, Slice, always_negative, cotangent, dims_moved, dims_value, eval_moved, known, may_equal, pure_op,
};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::{Lower, View};
use crate::op::{DimTensor, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, Dim};

/// `concat x, y, ..`: the operands one after the other along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
}

impl Op for Concat {
    pure_op!("concat");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("axis", Attr::Int(self.axis as i64))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let Some((&first, others)) = given.split_first() else {
            return Err(OpError::new("concat", "C1", "takes at least one operand"));
        };
        if self.axis >= first.rank() {
            return Err(OpError::new("concat", "C3", format!("axis {} of {first}", self.axis)));
        }
        let mut shape = first.shape.clone();
        for &x in others {
            if x.dtype != first.dtype {
                return Err(OpError::new("concat", "C2", format!("operands have types {first} and {x}")));
            }
            let fits = |i: usize| i == self.axis || may_equal(&x.shape[i], &shape[i]);
            if x.rank() != shape.len() || !(0..shape.len()).all(fits) {
                let message = format!("{first} and {x} differ outside axis {}", self.axis);
                return Err(OpError::new("concat", "C4", message));
            }
            for (i, d) in shape.iter_mut().enumerate() {
                *d = if i == self.axis { d.clone() + x.shape[i].clone() } else { known(d, &x.shape[i]) };
            }
        }
        Ok(vec![TensorType::new(first.dtype, shape)])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        eval_moved(self, x)
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        dims_moved(self, x)
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None; args.inputs.len()]) };
        let mut start = Dim::from(0);
        let mut parts = Vec::with_capacity(args.inputs.len());
        for &x in args.inputs {
            let shape = b.ty(x).shape.clone();
            parts.push(Some(slice(b, g, Slice::along(&shape, self.axis, start.clone(), shape[self.axis].clone()))?));
            start = start + shape[self.axis].clone();
        }
        Ok(parts)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::View(View::Concat { axis: self.axis })
    }
}

impl Movement for Concat {
    fn runs(&self, x: &[&[usize]], result: &[usize], emit: Emit<'_>) {
        let outer: usize = result[..self.axis].iter().product();
        for o in 0..outer {
            for (k, shape) in x.iter().enumerate() {
                let row: usize = shape[self.axis..].iter().product();
                emit(k, o * row, row);
            }
        }
    }
}

/// The concatenation; the value itself where there is one operand.
pub(crate) fn concat(b: &mut Builder, parts: &[Value], axis: usize) -> Result<Value> {
    match parts {
        &[one] => Ok(one),
        _ => b.push(Concat { axis }, parts),
    }
}

/// A number of parts from an attribute: no more than a node can have outputs.
fn part_count(num: i64) -> Result<usize> {
    match usize::try_from(num) {
        Ok(n) if n <= 1 << 20 => Ok(n),
        _ => bail!("{num} parts"),
    }
}

/// The values of `x` between neighbouring `sizes` along an axis.
fn split(cx: &mut TfCx<'_>, x: Value, axis: usize, sizes: &[Dim]) -> Result<Vec<Value>> {
    let shape = cx.b.ty(x).shape.clone();
    let mut start = Dim::from(0);
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        parts.push(slice(cx.b, x, Slice::along(&shape, axis, start.clone(), size.clone()))?);
        start = start + size.clone();
    }
    Ok(parts)
}

fn one_axis(cx: &TfCx<'_>, operand: usize, rank: usize) -> Result<usize> {
    let axes = cx.const_ints(operand)?;
    let [axis] = axes[..] else { bail!("operand {operand} holds {axes:?}, not one axis") };
    normalize_axis(axis, rank)
}

/// Concat (axis first) and ConcatV2 (axis last).
fn tf_concat(cx: &mut TfCx<'_>, axis: usize, parts: &[Value]) -> Result<Vec<Value>> {
    let first = *parts.first().context("takes at least one operand")?;
    let axis = one_axis(cx, axis, cx.b.ty(first).rank())?;
    Ok(vec![concat(cx.b, parts, axis)?])
}

fn tf_pack(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let rank = cx.ty(0)?.rank();
    let axis = normalize_axis(cx.int("axis")?, rank + 1)?;
    let parts = cx.inputs.to_vec();
    let mut rows = Vec::with_capacity(parts.len());
    for x in parts {
        let mut shape = cx.b.ty(x).shape.clone();
        if shape.len() != rank {
            bail!("operands have ranks {rank} and {}", shape.len());
        }
        shape.insert(axis, Dim::from(1));
        rows.push(cx.b.reshape(x, &shape)?);
    }
    Ok(vec![concat(cx.b, &rows, axis)?])
}

fn tf_unpack(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, num) = (cx.input(0)?, cx.ty(0)?, part_count(cx.int("num")?)?);
    let axis = normalize_axis(cx.int("axis")?, ty.rank())?;
    if !may_equal(&ty.shape[axis], &Dim::from(num)) {
        bail!("axis {axis} of {ty} does not hold {num} parts");
    }
    let parts = split(cx, x, axis, &vec![Dim::from(1); num])?;
    let mut shape = ty.shape;
    shape.remove(axis);
    parts.into_iter().map(|p| cx.b.reshape(p, &shape)).collect()
}

fn tf_split(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, num) = (cx.input(1)?, cx.ty(1)?, part_count(cx.int("num_split")?)?);
    let axis = one_axis(cx, 0, ty.rank())?;
    let extent = &ty.shape[axis];
    if num == 0 || extent.floor_mod(&Dim::from(num)).as_const().is_some_and(|rest| rest != 0) {
        bail!("axis {axis} of {ty} does not split into {num} equal parts");
    }
    let size = extent.floor_div(&Dim::from(num));
    split(cx, x, axis, &vec![size; num])
}

fn tf_split_v(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, mut sizes) = (cx.input(0)?, cx.ty(0)?, cx.dims_input(1)?);
    let axis = one_axis(cx, 2, ty.rank())?;
    let free: Vec<usize> = (0..sizes.len()).filter(|&i| sizes[i].is(-1)).collect();
    if let [i] = free[..] {
        sizes[i] = Dim::from(0);
        sizes[i] = ty.shape[axis].clone() - sizes.iter().fold(Dim::from(0), |sum, d| sum + d.clone());
    }
    let sum = sizes.iter().fold(Dim::from(0), |sum, d| sum + d.clone());
    if free.len() > 1 || sizes.iter().any(always_negative) || !may_equal(&sum, &ty.shape[axis]) {
        bail!("axis {axis} of {ty} does not split into {sizes:?}");
    }
    split(cx, x, axis, &sizes)
}

/// Operands: axis, then the shapes of what will be joined. Results: where each starts.
fn tf_concat_offset(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let ty = cx.ty(1)?;
    let rank = ty.static_shape().map_or(0, |s| s.iter().product());
    let axis = one_axis(cx, 0, rank)?;
    let mut start = Dim::from(0);
    let mut offsets = Vec::new();
    for i in 1..cx.inputs.len() {
        let shape = cx.dims_input(i)?;
        let Some(size) = shape.get(axis) else {
            bail!("operand {i} holds a shape of rank {}, not {rank}", shape.len())
        };
        let mut offset = vec![Dim::from(0); rank];
        offset[axis] = start.clone();
        start = start + size.clone();
        offsets.push(dims_value(cx.b, &offset, ty.dtype)?);
    }
    Ok(offsets)
}

/// The op of this file.
pub const OPS: &[OpDef] = &[OpDef {
    name: "concat",
    parse: |a| {
        let axis = usize::try_from(a.int("axis")?).map_err(|_| "the axis is negative".to_string())?;
        Ok(Arc::new(Concat { axis }))
    },
    tf: &[
        TfBinding {
            op: "Concat",
            read: |cx| {
                let parts = cx.inputs.get(1..).unwrap_or(&[]);
                tf_concat(cx, 0, parts)
            },
        },
        TfBinding {
            op: "ConcatV2",
            read: |cx| {
                let (_, parts) = cx.inputs.split_last().context("takes operands and an axis")?;
                tf_concat(cx, parts.len(), parts)
            },
        },
        TfBinding { op: "ConcatOffset", read: tf_concat_offset },
        TfBinding { op: "Pack", read: tf_pack },
        TfBinding { op: "Unpack", read: tf_unpack },
        TfBinding { op: "Split", read: tf_split },
        TfBinding { op: "SplitV", read: tf_split_v },
    ],
}];
