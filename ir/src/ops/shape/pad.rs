//! `pad` and `mirror_pad`: a border of one value, or of the operand's own elements.
//!
//! Constraints of both: C2 low and high have one entry an axis; C3 they are not negative.
//! Of `pad`: C4 operand 1 is a scalar of operand 0's dtype.
//! Of `mirror_pad`: C5 an axis is long enough to be mirrored: border <= extent - offset.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::slice::{slice, zero_pad};
use super::{Emit, Movement, always_negative, arity, check_sizes, cotangent, dims_moved, emit_separable, eval_moved};
use super::{pure_op, splat, strides};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::{Lower, View};
use crate::op::{DimTensor, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::ops::reduce::Reduce;
use crate::ops::shape::{Reverse, Slice};
use crate::scalar::{BinaryOp, ReduceOp};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim};

/// `pad x, value`: the scalar `value` around `x`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    /// Elements added before each axis.
    pub low: Vec<Dim>,
    /// Elements added after each axis.
    pub high: Vec<Dim>,
}

/// `mirror_pad x`: the operand reflected at its borders.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorPad {
    /// Elements added before each axis.
    pub low: Vec<Dim>,
    /// Elements added after each axis.
    pub high: Vec<Dim>,
    /// Whether the border element itself is left out of the reflection (REFLECT) or not (SYMMETRIC).
    pub reflect: bool,
}

fn padded(op: &'static str, x: &TensorType, low: &[Dim], high: &[Dim]) -> Result<TensorType, OpError> {
    if low.len() != x.rank() || high.len() != x.rank() {
        return Err(OpError::new(op, "C2", format!("{x} is padded by {low:?} and {high:?}")));
    }
    check_sizes(op, "C3", low)?;
    check_sizes(op, "C3", high)?;
    let shape = (0..x.rank()).map(|i| low[i].clone() + x.shape[i].clone() + high[i].clone());
    Ok(TensorType::new(x.dtype, shape.collect()))
}

/// The paddings as numbers: an evaluation needs them bound.
fn fixed(op: &'static str, dims: &[Dim]) -> Result<Vec<usize>, OpError> {
    let n: Option<Vec<usize>> = dims.iter().map(|d| d.as_const().and_then(|n| usize::try_from(n).ok())).collect();
    n.ok_or_else(|| OpError::new(op, "E1", format!("the padding {dims:?} holds unbound symbols")))
}

impl Op for Pad {
    pure_op!("pad");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("low", Attr::Dims(self.low.clone())).with("high", Attr::Dims(self.high.clone()))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, value] = arity("pad", given)?;
        if value.rank() != 0 || value.dtype != x.dtype {
            return Err(OpError::new("pad", "C4", format!("the border of {x} cannot be {value}")));
        }
        Ok(vec![padded("pad", x, &self.low, &self.high)?])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        fixed("pad", &self.low)?;
        eval_moved(self, x)
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        if fixed("pad", &self.low).is_err() { vec![None] } else { dims_moved(self, x) }
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None, None]) };
        let ty = b.ty(args.inputs[0]).clone();
        let inner = slice(b, g, Slice::dense(self.low.clone(), ty.shape.clone()))?;
        // The border's cotangent: the sum over what is not inside.
        let (no, yes) = (splat(b, DType::Bool, 0.0, &ty.shape)?, b.scalar(DType::Bool, 1.0)?);
        let border = b.push(self.clone(), &[no, yes])?;
        let zero = b.scalar(ty.dtype, 0.0)?;
        let outer = b.select(border, g, zero)?;
        let axes = (0..ty.rank()).collect();
        let sum = b.push(Reduce { op: ReduceOp::Sum, axes, keep_dims: false }, &[outer])?;
        Ok(vec![Some(inner), Some(sum)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::View(View::Pad { low: self.low.clone(), high: self.high.clone() })
    }
}

impl Movement for Pad {
    fn runs(&self, x: &[&[usize]], result: &[usize], emit: Emit<'_>) {
        let stride = strides(x[0]);
        let table = |axis: usize| {
            let low = self.low[axis].as_const().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            let inside = |i: usize| i.checked_sub(low).filter(|&at| at < x[0][axis]);
            (0..result[axis]).map(|i| inside(i).map(|at| at * stride[axis])).collect()
        };
        emit_separable(&(0..result.len()).map(table).collect::<Vec<_>>(), emit);
    }
}

impl MirrorPad {
    fn offset(&self) -> i64 {
        i64::from(self.reflect)
    }
}

impl Op for MirrorPad {
    pure_op!("mirror_pad");
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("low", Attr::Dims(self.low.clone()))
            .with("high", Attr::Dims(self.high.clone()))
            .with("mode", Attr::Word(if self.reflect { "reflect" } else { "symmetric" }.into()))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("mirror_pad", given)?;
        let ty = padded("mirror_pad", x, &self.low, &self.high)?;
        for axis in 0..x.rank() {
            for border in [&self.low[axis], &self.high[axis]] {
                if !border.is(0)
                    && always_negative(&(x.shape[axis].clone() - Dim::from(self.offset()) - border.clone()))
                {
                    let message = format!("axis {axis} of {x} is too short to mirror {border} elements");
                    return Err(OpError::new("mirror_pad", "C5", message));
                }
            }
        }
        Ok(vec![ty])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        fixed("mirror_pad", &self.low)?;
        eval_moved(self, x)
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(mut g) = cotangent(&args) else { return Ok(vec![None]) };
        let shape = b.ty(args.inputs[0]).shape.clone();
        for (axis, extent) in shape.iter().enumerate() {
            g = self.fold(b, g, axis, extent)?;
        }
        Ok(vec![Some(g)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::View(View::MirrorPad { low: self.low.clone(), offset: self.offset() })
    }
}

impl MirrorPad {
    /// The transpose along one axis: the borders of `g` reversed and added to where they were copied from.
    fn fold(&self, b: &mut Builder, g: Value, axis: usize, extent: &Dim) -> Result<Value> {
        let (low, high) = (&self.low[axis], &self.high[axis]);
        let shape = b.ty(g).shape.clone();
        let mut sum = slice(b, g, Slice::along(&shape, axis, low.clone(), extent.clone()))?;
        let offset = Dim::from(self.offset());
        let rest = |border: &Dim| extent.clone() - offset.clone() - border.clone();
        let borders = [
            (Dim::from(0), low, offset.clone(), rest(low)),
            (low.clone() + extent.clone(), high, rest(high), offset.clone()),
        ];
        for (start, size, before, after) in borders {
            if size.is(0) {
                continue;
            }
            let border = slice(b, g, Slice::along(&shape, axis, start, size.clone()))?;
            let border = b.push(Reverse { axes: vec![axis] }, &[border])?;
            let at = |d: Dim| (0..shape.len()).map(|i| if i == axis { d.clone() } else { Dim::from(0) }).collect();
            let border = zero_pad(b, border, at(before), at(after))?;
            sum = b.binary(BinaryOp::Add, sum, border)?;
        }
        Ok(sum)
    }
}

impl Movement for MirrorPad {
    fn runs(&self, x: &[&[usize]], result: &[usize], emit: Emit<'_>) {
        let stride = strides(x[0]);
        let table = |axis: usize| {
            let (low, extent) = (self.low[axis].as_const().unwrap_or(0), x[0][axis] as i64);
            let at = |i: usize| match i as i64 - low {
                before if before < 0 => -before - 1 + self.offset(),
                after if after >= extent => 2 * extent - 1 - after - self.offset(),
                inside => inside,
            };
            (0..result[axis]).map(|i| Some(at(i) as usize * stride[axis])).collect()
        };
        emit_separable(&(0..result.len()).map(table).collect::<Vec<_>>(), emit);
    }
}

/// Columns 0 and 1 of a `[rank, 2]` paddings operand.
pub(super) fn tf_paddings(cx: &mut TfCx<'_>, i: usize, rank: usize) -> Result<(Vec<Dim>, Vec<Dim>)> {
    let flat = cx.dims_input(i)?;
    if flat.len() != 2 * rank {
        bail!("operand {i} holds {} paddings, not two for each of {rank} axes", flat.len());
    }
    let column = |c: usize| flat.iter().skip(c).step_by(2).cloned().collect();
    Ok((column(0), column(1)))
}

fn tf_mirror(cx: &mut TfCx<'_>, rank: usize) -> Result<MirrorPad> {
    let (low, high) = tf_paddings(cx, 1, rank)?;
    let reflect = match cx.str("mode")?.as_str() {
        "REFLECT" => true,
        "SYMMETRIC" => false,
        mode => bail!("attribute `mode` is `{mode}`, not REFLECT or SYMMETRIC"),
    };
    Ok(MirrorPad { low, high, reflect })
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "pad",
        parse: |a| Ok(Arc::new(Pad { low: a.dims("low")?, high: a.dims("high")? })),
        tf: &[
            TfBinding {
                op: "Pad",
                read: |cx| {
                    let (x, (low, high)) = (cx.input(0)?, tf_paddings(cx, 1, cx.ty(0)?.rank())?);
                    Ok(vec![zero_pad(cx.b, x, low, high)?])
                },
            },
            TfBinding {
                op: "PadV2",
                read: |cx| {
                    let (x, value, (low, high)) = (cx.input(0)?, cx.input(2)?, tf_paddings(cx, 1, cx.ty(0)?.rank())?);
                    Ok(vec![cx.b.push(Pad { low, high }, &[x, value])?])
                },
            },
        ],
    },
    OpDef {
        name: "mirror_pad",
        parse: |a| {
            let reflect = match a.word("mode")?.as_str() {
                "reflect" => true,
                "symmetric" => false,
                mode => return Err(format!("unknown mode `{mode}`")),
            };
            Ok(Arc::new(MirrorPad { low: a.dims("low")?, high: a.dims("high")?, reflect }))
        },
        tf: &[
            TfBinding {
                op: "MirrorPad",
                read: |cx| {
                    let (x, op) = (cx.input(0)?, tf_mirror(cx, cx.ty(0)?.rank())?);
                    Ok(vec![cx.b.push(op, &[x])?])
                },
            },
            TfBinding {
                op: "MirrorPadGrad",
                read: |cx| {
                    let (mut g, ty) = (cx.input(0)?, cx.ty(0)?);
                    let op = tf_mirror(cx, ty.rank())?;
                    for axis in 0..ty.rank() {
                        let extent = ty.shape[axis].clone() - op.low[axis].clone() - op.high[axis].clone();
                        g = op.fold(cx.b, g, axis, &extent)?;
                    }
                    Ok(vec![g])
                },
            },
        ],
    },
];
