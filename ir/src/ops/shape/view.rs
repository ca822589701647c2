//! `reshape`, `transpose`, `broadcast`, `stop_gradient`, and the TensorFlow ops that are one of them.
//!
//! Constraints of `reshape`: C2 the numbers of elements agree; C3 sizes are not negative.
//! Of `transpose`: C2 `perm` is a permutation of the axes.
//! Of `broadcast`: C2 each axis of the operand, counted from the last, is 1 or the result's; C3 as `reshape`.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::{Emit, Movement, arity, check_sizes, cotangent, dims_moved, emit_separable, eval_moved, known, may_equal};
use super::{pure_op, result_shape, strides, unbroadcast};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::{Lower, View};
use crate::op::{DimTensor, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::scalar::UnaryOp;
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, Dim};

/// `reshape x`: the same elements in row-major order under another shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Reshape {
    /// The result's shape.
    pub shape: Vec<Dim>,
}

/// `transpose x`: result axis `j` is operand axis `perm[j]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Transpose {
    /// The operand's axis at each place of the result.
    pub perm: Vec<usize>,
}

/// `broadcast x`: NumPy broadcasting to a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Broadcast {
    /// The result's shape.
    pub shape: Vec<Dim>,
}

/// `stop_gradient x`: the operand, through which no gradient flows.
#[derive(Debug, Clone, PartialEq)]
pub struct StopGradient {
    /// Asking for a gradient is an error instead of zero (TensorFlow's PreventGradient).
    pub forbid: bool,
}

impl Op for Reshape {
    pure_op!("reshape");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("shape", Attr::Dims(self.shape.clone()))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("reshape", given)?;
        check_sizes("reshape", "C3", &self.shape)?;
        let (from, to) = (x.elements(), Dim::product(&self.shape));
        // A number cannot equal a multiple of what does not divide it.
        let divides =
            |n: &Dim, of: &Dim| n.as_const().is_none_or(|n| of.known_multiple() == 0 || n % of.known_multiple() == 0);
        if !may_equal(&from, &to) || !divides(&from, &to) || !divides(&to, &from) {
            let message = format!("{x} has {from} elements, shape {:?} has {to}", self.shape);
            return Err(OpError::new("reshape", "C2", message));
        }
        Ok(vec![TensorType::new(x.dtype, self.shape.clone())])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let shape = result_shape(self, x)?;
        Ok(vec![x[0].reshaped(&shape).map_err(|e| OpError::new("reshape", "C2", e))?])
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        dims_moved(self, x)
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let shape = b.ty(args.inputs[0]).shape.clone();
        Ok(vec![Some(b.reshape(g, &shape)?)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::View(View::Reshape(self.shape.clone()))
    }
}

impl Movement for Reshape {
    fn runs(&self, _: &[&[usize]], result: &[usize], emit: Emit<'_>) {
        emit(0, 0, result.iter().product());
    }
}

/// Whether `perm` holds each axis of a rank once.
fn is_permutation(perm: &[usize], rank: usize) -> bool {
    perm.len() == rank && (0..rank).all(|axis| perm.contains(&axis))
}

fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inv = vec![0; perm.len()];
    for (j, &axis) in perm.iter().enumerate() {
        inv[axis] = j;
    }
    inv
}

impl Op for Transpose {
    pure_op!("transpose");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("perm", Attr::axes(&self.perm))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("transpose", given)?;
        if !is_permutation(&self.perm, x.rank()) {
            return Err(OpError::new(
                "transpose",
                "C2",
                format!("{:?} is no permutation of the axes of {x}", self.perm),
            ));
        }
        Ok(vec![TensorType::new(x.dtype, self.perm.iter().map(|&axis| x.shape[axis].clone()).collect())])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        eval_moved(self, x)
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        dims_moved(self, x)
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        Ok(vec![Some(b.transpose(g, &inverse(&self.perm))?)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::View(View::Transpose(self.perm.clone()))
    }
}

impl Movement for Transpose {
    fn runs(&self, x: &[&[usize]], _: &[usize], emit: Emit<'_>) {
        let stride = strides(x[0]);
        let table = |&axis: &usize| (0..x[0][axis]).map(|i| Some(i * stride[axis])).collect();
        emit_separable(&self.perm.iter().map(table).collect::<Vec<_>>(), emit);
    }
}

impl Op for Broadcast {
    pure_op!("broadcast");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("shape", Attr::Dims(self.shape.clone()))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("broadcast", given)?;
        check_sizes("broadcast", "C3", &self.shape)?;
        let fits = |(from, to): (&Dim, &Dim)| from.is(1) || may_equal(from, to);
        if x.rank() > self.shape.len() || !x.shape.iter().rev().zip(self.shape.iter().rev()).all(fits) {
            return Err(OpError::new("broadcast", "C2", format!("{x} does not broadcast to {:?}", self.shape)));
        }
        Ok(vec![TensorType::new(x.dtype, self.shape.clone())])
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
        Ok(vec![Some(unbroadcast(b, g, &shape)?)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::View(View::Broadcast(self.shape.clone()))
    }
}

impl Movement for Broadcast {
    fn runs(&self, x: &[&[usize]], result: &[usize], emit: Emit<'_>) {
        let (stride, added) = (strides(x[0]), result.len() - x[0].len());
        let table = |(j, &extent): (usize, &usize)| {
            let step = j.checked_sub(added).map_or(0, |axis| if x[0][axis] == 1 { 0 } else { stride[axis] });
            (0..extent).map(|i| Some(i * step)).collect()
        };
        emit_separable(&result.iter().enumerate().map(table).collect::<Vec<_>>(), emit);
    }
}

impl Op for StopGradient {
    pure_op!("stop_gradient");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("forbid", Attr::Bool(self.forbid))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("stop_gradient", given)?;
        Ok(vec![x.clone()])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![x[0].clone()])
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![x[0].1.cloned()]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        if self.forbid {
            return Err(anyhow::anyhow!("the graph forbids a gradient through this value (PreventGradient)").into());
        }
        Ok(vec![None])
    }
    fn lower(&self, given: &[&TensorType]) -> Lower {
        Lower::View(View::Reshape(given[0].shape.clone()))
    }
}

/// TensorFlow's Reshape: one size may be -1 and takes what is left.
fn tf_reshape(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let mut shape = cx.dims_input(1)?;
    let free: Vec<usize> = (0..shape.len()).filter(|&i| shape[i].is(-1)).collect();
    match free[..] {
        [] => {}
        [i] => {
            shape[i] = Dim::from(1);
            let (all, others) = (ty.elements(), Dim::product(&shape));
            if others.is(0) {
                bail!("the size -1 cannot be found: the other sizes {shape:?} hold no element");
            }
            if all.floor_mod(&others).as_const().is_some_and(|rest| rest != 0) {
                bail!("{ty} has {all} elements, which {others} does not divide");
            }
            shape[i] = all.floor_div(&others);
        }
        _ => bail!("only one size may be -1, not {}", free.len()),
    }
    Ok(vec![cx.b.reshape(x, &shape)?])
}

fn tf_squeeze(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let axes = cx.ints("squeeze_dims")?;
    let axes = if axes.is_empty() {
        (0..ty.rank()).filter(|&i| ty.shape[i].is(1)).collect()
    } else {
        cx.normalize_axes(&axes, ty.rank())?
    };
    if let Some(&axis) = axes.iter().find(|&&axis| !may_equal(&ty.shape[axis], &Dim::from(1))) {
        bail!("axis {axis} of {ty} does not have extent 1");
    }
    let shape: Vec<Dim> = (0..ty.rank()).filter(|i| !axes.contains(i)).map(|i| ty.shape[i].clone()).collect();
    Ok(vec![cx.b.reshape(x, &shape)?])
}

fn tf_expand_dims(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, mut shape, axis) = (cx.input(0)?, cx.ty(0)?.shape, cx.const_ints(1)?);
    let [axis] = axis[..] else { bail!("takes one axis, not {axis:?}") };
    shape.insert(normalize_axis(axis, shape.len() + 1)?, Dim::from(1));
    Ok(vec![cx.b.reshape(x, &shape)?])
}

fn tf_ensure_shape(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let Some(want) = cx.shape("shape")? else { return Ok(vec![x]) };
    let fits = |(have, want): (&Dim, &Option<i64>)| want.is_none_or(|n| may_equal(have, &Dim::from(n)));
    if want.len() != ty.rank() || !ty.shape.iter().zip(&want).all(fits) {
        bail!("{ty} is not of the shape {want:?} that the graph asserts");
    }
    let refined = |(have, want): (&Dim, &Option<i64>)| want.map_or(have.clone(), |n| known(have, &Dim::from(n)));
    let shape: Vec<Dim> = ty.shape.iter().zip(&want).map(refined).collect();
    Ok(vec![cx.b.reshape(x, &shape)?])
}

/// The permutation in operand 1 of Transpose.
fn tf_transpose(cx: &mut TfCx<'_>) -> Result<Value> {
    let (x, rank) = (cx.input(0)?, cx.ty(0)?.rank());
    let perm = cx.normalize_axes(&cx.const_ints(1)?, rank)?;
    cx.b.transpose(x, &perm)
}

fn tf_invert_permutation(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let perm: Vec<usize> = cx.const_ints(0)?.iter().filter_map(|&p| usize::try_from(p).ok()).collect();
    let ty = cx.ty(0)?;
    if ty.rank() != 1 || !is_permutation(&perm, ty.static_shape().map_or(0, |s| s[0])) {
        bail!("operand 0 holds no permutation");
    }
    let inv: Vec<i64> = inverse(&perm).into_iter().map(|i| i as i64).collect();
    match Tensor::from_i64s(ty.dtype, &[inv.len()], &inv) {
        Some(t) => Ok(vec![cx.b.constant(t)?]),
        None => bail!("a permutation cannot be of type {ty}"),
    }
}

fn forward(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    Ok(vec![cx.input(0)?])
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "reshape",
        parse: |a| Ok(Arc::new(Reshape { shape: a.dims("shape")? })),
        tf: &[
            TfBinding { op: "Reshape", read: tf_reshape },
            TfBinding { op: "Squeeze", read: tf_squeeze },
            TfBinding { op: "ExpandDims", read: tf_expand_dims },
            TfBinding { op: "EnsureShape", read: tf_ensure_shape },
            // Ops that hand on their operand need no node.
            TfBinding { op: "Identity", read: forward },
            TfBinding { op: "Snapshot", read: forward },
            TfBinding { op: "IdentityN", read: |cx| Ok(cx.inputs.to_vec()) },
        ],
    },
    OpDef {
        name: "transpose",
        parse: |a| Ok(Arc::new(Transpose { perm: a.axes("perm")? })),
        tf: &[
            TfBinding { op: "Transpose", read: |cx| Ok(vec![tf_transpose(cx)?]) },
            TfBinding {
                op: "ConjugateTranspose",
                read: |cx| {
                    let x = tf_transpose(cx)?;
                    Ok(vec![if cx.b.ty(x).dtype.is_complex() { cx.b.unary(UnaryOp::Conj, x)? } else { x }])
                },
            },
            TfBinding { op: "InvertPermutation", read: tf_invert_permutation },
        ],
    },
    OpDef {
        name: "broadcast",
        parse: |a| Ok(Arc::new(Broadcast { shape: a.dims("shape")? })),
        tf: &[TfBinding {
            op: "BroadcastTo",
            read: |cx| {
                let (x, shape) = (cx.input(0)?, cx.dims_input(1)?);
                Ok(vec![cx.b.broadcast(x, &shape)?])
            },
        }],
    },
    OpDef {
        name: "stop_gradient",
        parse: |a| Ok(Arc::new(StopGradient { forbid: a.bool("forbid")? })),
        tf: &[
            TfBinding {
                op: "StopGradient",
                read: |cx| {
                    let x = cx.input(0)?;
                    Ok(vec![cx.b.push(StopGradient { forbid: false }, &[x])?])
                },
            },
            TfBinding {
                op: "PreventGradient",
                read: |cx| {
                    let x = cx.input(0)?;
                    Ok(vec![cx.b.push(StopGradient { forbid: true }, &[x])?])
                },
            },
        ],
    },
];
