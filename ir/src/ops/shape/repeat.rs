//! `tile` and `reverse`, and ReverseSequence, which gathers.
//!
//! Constraints of `tile`: C2 one multiple an axis; C3 multiples are not negative.
//! Of `reverse`: C2 the axes are within the rank, each once.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::{Emit, Movement, arity, check_sizes, cotangent, dims_moved, emit_separable, eval_moved, pure_op, strides};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::{Lower, View};
use crate::op::{DimTensor, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::ops::constant::Iota;
use crate::ops::gather::Gather;
use crate::ops::reduce::Reduce;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, Dim};

/// `tile x`: the operand repeated along each axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tile {
    /// How often, per axis.
    pub multiples: Vec<Dim>,
}

/// `reverse x`: the order of the elements reversed along axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Reverse {
    /// The axes, each once.
    pub axes: Vec<usize>,
}

impl Op for Tile {
    pure_op!("tile");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("multiples", Attr::Dims(self.multiples.clone()))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("tile", given)?;
        if self.multiples.len() != x.rank() {
            return Err(OpError::new("tile", "C2", format!("{x} is tiled by {:?}", self.multiples)));
        }
        check_sizes("tile", "C3", &self.multiples)?;
        let shape = x.shape.iter().zip(&self.multiples).map(|(d, m)| d.clone() * m.clone()).collect();
        Ok(vec![TensorType::new(x.dtype, shape)])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        eval_moved(self, x)
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        dims_moved(self, x)
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let shape = b.ty(args.inputs[0]).shape.clone();
        // [m0, d0, m1, d1, ..] summed over the multiples.
        let split: Vec<Dim> = self.multiples.iter().zip(&shape).flat_map(|(m, d)| [m.clone(), d.clone()]).collect();
        let g = b.reshape(g, &split)?;
        let axes = (0..shape.len()).map(|i| 2 * i).collect();
        Ok(vec![Some(b.push(Reduce { op: ReduceOp::Sum, axes, keep_dims: false }, &[g])?)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::View(View::Tile)
    }
}

impl Movement for Tile {
    fn runs(&self, x: &[&[usize]], result: &[usize], emit: Emit<'_>) {
        let stride = strides(x[0]);
        let table = |axis: usize| (0..result[axis]).map(|i| Some(i % x[0][axis].max(1) * stride[axis])).collect();
        emit_separable(&(0..result.len()).map(table).collect::<Vec<_>>(), emit);
    }
}

impl Op for Reverse {
    pure_op!("reverse");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("axes", Attr::axes(&self.axes))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("reverse", given)?;
        let twice = |i: usize| self.axes[..i].contains(&self.axes[i]);
        if self.axes.iter().any(|&a| a >= x.rank()) || (0..self.axes.len()).any(twice) {
            return Err(OpError::new("reverse", "C2", format!("axes {:?} of {x}", self.axes)));
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
        Ok(vec![Some(b.push(self.clone(), &[g])?)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::View(View::Reverse(self.axes.clone()))
    }
}

impl Movement for Reverse {
    fn runs(&self, x: &[&[usize]], result: &[usize], emit: Emit<'_>) {
        let stride = strides(x[0]);
        let table = |axis: usize| {
            let n = result[axis];
            let at = |i: usize| if self.axes.contains(&axis) { n - 1 - i } else { i };
            (0..n).map(|i| Some(at(i) * stride[axis])).collect()
        };
        emit_separable(&(0..result.len()).map(table).collect::<Vec<_>>(), emit);
    }
}

fn reverse(cx: &mut TfCx<'_>, axes: Vec<usize>) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    Ok(vec![if axes.is_empty() { x } else { cx.b.push(Reverse { axes }, &[x])? }])
}

/// The first `lengths[b]` elements of each sequence reversed: a gather along the sequence with one row an entry.
fn tf_reverse_sequence(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, lengths, ty, lengths_ty) = (cx.input(0)?, cx.input(1)?, cx.ty(0)?, cx.ty(1)?);
    let (seq, batch) =
        (normalize_axis(cx.int("seq_dim")?, ty.rank())?, normalize_axis(cx.int("batch_dim")?, ty.rank())?);
    if seq == batch || lengths_ty.rank() != 1 {
        bail!("axes {seq} and {batch} of {ty} with lengths {lengths_ty}");
    }
    let b = &mut *cx.b;
    let rows = vec![ty.shape[batch].clone(), ty.shape[seq].clone()];
    let at = b.push(Iota { shape: rows.clone(), axis: 1, dtype: lengths_ty.dtype }, &[])?;
    let lengths = b.reshape(lengths, &[ty.shape[batch].clone(), Dim::from(1)])?;
    let inside = b.compare(CompareOp::Lt, at, lengths)?;
    let last = b.binary_scalar(BinaryOp::Sub, lengths, 1.0)?;
    let mirrored = b.binary(BinaryOp::Sub, last, at)?;
    // A length beyond the sequence gives an index outside, which the gather reports.
    let from = b.select(inside, mirrored, at)?;
    let mut order = vec![batch, seq];
    order.extend((0..ty.rank()).filter(|&i| i != batch && i != seq));
    let x = b.transpose(x, &order)?;
    let y = b.push(Gather { axis: 1, batch_dims: 1 }, &[x, from])?;
    let back: Vec<usize> = (0..ty.rank()).filter_map(|i| order.iter().position(|&o| o == i)).collect();
    Ok(vec![b.transpose(y, &back)?])
}

/// Reverse (v1): a boolean for each axis.
fn tf_reverse_mask(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let mask = cx.const_ints(1)?;
    let rank = cx.ty(0)?.rank();
    if mask.len() != rank {
        bail!("operand 1 holds {} booleans, not one for each of {rank} axes", mask.len());
    }
    reverse(cx, (0..rank).filter(|&i| mask[i] != 0).collect())
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "tile",
        parse: |a| Ok(Arc::new(Tile { multiples: a.dims("multiples")? })),
        tf: &[TfBinding {
            op: "Tile",
            read: |cx| {
                let (x, multiples) = (cx.input(0)?, cx.dims_input(1)?);
                let whole = multiples.iter().all(|m| m.is(1)) && multiples.len() == cx.ty(0)?.rank();
                Ok(vec![if whole { x } else { cx.b.push(Tile { multiples }, &[x])? }])
            },
        }],
    },
    OpDef {
        name: "reverse",
        parse: |a| Ok(Arc::new(Reverse { axes: a.axes("axes")? })),
        tf: &[
            TfBinding {
                op: "ReverseV2",
                read: |cx| {
                    let axes = cx.normalize_axes(&cx.const_ints(1)?, cx.ty(0)?.rank())?;
                    reverse(cx, axes)
                },
            },
            TfBinding { op: "Reverse", read: tf_reverse_mask },
            TfBinding { op: "ReverseSequence", read: tf_reverse_sequence },
        ],
    },
];
