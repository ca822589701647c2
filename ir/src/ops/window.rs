//! Windows that slide over one to three spatial axes: `conv`, `pool`, `avg_pool`.
//!
//! Values are `[N, spatial.., C]`; filters are `[spatial.., C / groups, O]`. Result position `o` of a spatial axis sees,
//! for tap `t`, position `o * stride + t * dilation - pad_low` of the operand, spread out with `base_dilation - 1` holes
//! between elements. Holes and padding count as zero in `conv`, as the neutral element in `pool`, and not at all in
//! `avg_pool`. Paddings may be negative: then elements at the border are not seen.
//!
//! Constraints: C1 number of operands; C2 one dtype, accepted; C3 ranks are the number of window dims plus 2; C4 sizes,
//! strides and dilations are at least 1; C5 the filter has the window's sizes; C6 groups divide the channels, and the
//! filter has C / groups of them; C7 the window fits: no result axis is negative.

use std::any::Any;
use std::sync::Arc;

use super::shape::{arity, cotangent, may_equal};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::{Lower, WindowDim, WindowKind};
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::scalar::ReduceOp;
use crate::tensor::Tensor;
use crate::{Builder, Dim};

mod eval;
pub mod fractional;
mod gradients;
mod second;
mod tf;

pub(crate) use tf::{Layout, Padding};

/// `conv x, filter`: sums of products over windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// Feature groups: each O / groups outputs see their own C / groups channels. Depthwise: C.
    pub groups: i64,
    /// The spatial axes in order.
    pub dims: Vec<WindowDim>,
}

/// `pool.OP x`: the elements of each window combined.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// The combiner.
    pub op: ReduceOp,
    /// The spatial axes in order.
    pub dims: Vec<WindowDim>,
}

/// `avg_pool x`: the mean of each window's elements that lie inside the operand.
#[derive(Debug, Clone, PartialEq)]
pub struct AvgPool {
    /// The spatial axes in order.
    pub dims: Vec<WindowDim>,
}

/// A window axis of consecutive taps without padding.
pub fn window_dim(size: i64, stride: i64) -> WindowDim {
    WindowDim { size, stride, dilation: 1, base_dilation: 1, pad_low: Dim::from(0), pad_high: Dim::from(0) }
}

/// (n - 1) * by + 1: the extent of `n` things at a distance of `by`.
pub(crate) fn spread(n: &Dim, by: i64) -> Dim {
    if by == 1 { n.clone() } else { (n.clone() - Dim::from(1)) * Dim::from(by) + Dim::from(1) }
}

/// The result's extent for an operand's.
pub(crate) fn window_extent(d: &WindowDim, extent: &Dim) -> Dim {
    let padded = spread(extent, d.base_dilation) + d.pad_low.clone() + d.pad_high.clone();
    (padded - spread(&Dim::from(d.size), d.dilation)).floor_div(&Dim::from(d.stride)) + Dim::from(1)
}

fn window_attrs(first: Attrs, dims: &[WindowDim]) -> Attrs {
    let ints = |f: fn(&WindowDim) -> i64| Attr::Ints(dims.iter().map(f).collect());
    let pads = |f: fn(&WindowDim) -> &Dim| Attr::Dims(dims.iter().map(|d| f(d).clone()).collect());
    first
        .with("size", ints(|d| d.size))
        .with("stride", ints(|d| d.stride))
        .with("dilation", ints(|d| d.dilation))
        .with("base_dilation", ints(|d| d.base_dilation))
        .with("pad_low", pads(|d| &d.pad_low))
        .with("pad_high", pads(|d| &d.pad_high))
}

fn window_dims(a: &Attrs) -> Result<Vec<WindowDim>, String> {
    let size = a.ints("size")?;
    let n = size.len();
    let ints = |name: &str| a.ints(name).and_then(|v| same_length(v, n, name));
    let pads = |name: &str| a.dims(name).and_then(|v| same_length(v, n, name));
    let (stride, dilation, base) = (ints("stride")?, ints("dilation")?, ints("base_dilation")?);
    let (low, high) = (pads("pad_low")?, pads("pad_high")?);
    Ok((0..n)
        .map(|i| WindowDim {
            size: size[i],
            stride: stride[i],
            dilation: dilation[i],
            base_dilation: base[i],
            pad_low: low[i].clone(),
            pad_high: high[i].clone(),
        })
        .collect())
}

fn same_length<T>(v: Vec<T>, n: usize, name: &str) -> Result<Vec<T>, String> {
    if v.len() == n { Ok(v) } else { Err(format!("`{name}` holds {} numbers for {n} window dims", v.len())) }
}

/// Sizes within reason: products of two of them, and sums of such, stay far inside i64.
pub(crate) const LARGEST: i64 = 1 << 30;

/// The spatial extents of the result; the operand's type satisfies C2.
fn infer_spatial(op: &'static str, x: &TensorType, dims: &[WindowDim]) -> Result<Vec<Dim>, OpError> {
    if x.rank() != dims.len() + 2 {
        return Err(OpError::new(op, "C3", format!("{} window dims over {x}", dims.len())));
    }
    let sane = |n: i64| (1..=LARGEST).contains(&n);
    if !dims.iter().all(|d| sane(d.size) && sane(d.stride) && sane(d.dilation) && sane(d.base_dilation)) {
        return Err(OpError::new(op, "C4", format!("window dims {dims:?}")));
    }
    let extents = dims.iter().zip(&x.shape[1..]).map(|(d, n)| (d, window_extent(d, n)));
    extents
        .map(|(d, n)| match n.as_const() {
            Some(e) if e < 0 => Err(OpError::new(op, "C7", format!("the window {d:?} does not fit {x}"))),
            _ => Ok(n),
        })
        .collect()
}

/// The shape `[N, spatial.., last]`.
fn with_spatial(x: &TensorType, spatial: Vec<Dim>, last: Dim) -> Vec<Dim> {
    let mut shape = vec![x.shape[0].clone()];
    shape.extend(spatial);
    shape.push(last);
    shape
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }
    fn attrs(&self) -> Attrs {
        window_attrs(Attrs::none().with("groups", Attr::Int(self.groups)), &self.dims)
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let fail = |code, message| Err(OpError::new("conv", code, message));
        let [x, w] = arity("conv", given)?;
        if x.dtype != w.dtype || !(x.dtype.is_float() || x.dtype.is_int()) {
            return fail("C2", format!("operands have types {x} and {w}"));
        }
        let spatial = infer_spatial("conv", x, &self.dims)?;
        if w.rank() != x.rank() {
            return fail("C3", format!("operands have types {x} and {w}"));
        }
        if !self.dims.iter().zip(&w.shape).all(|(d, n)| may_equal(&Dim::from(d.size), n)) {
            return fail(
                "C5",
                format!("the filter is {w} for windows of {:?}", self.dims.iter().map(|d| d.size).collect::<Vec<_>>()),
            );
        }
        let (channels, seen, outputs) = (&x.shape[x.rank() - 1], &w.shape[w.rank() - 2], &w.shape[w.rank() - 1]);
        let whole = |n: &Dim| n.as_const().is_none_or(|n| n % self.groups == 0);
        let in_range = (1..=LARGEST).contains(&self.groups);
        if !in_range || !may_equal(channels, &(seen.clone() * Dim::from(self.groups))) || !whole(outputs) {
            return fail("C6", format!("{} groups of {x} with the filter {w}", self.groups));
        }
        Ok(vec![TensorType::new(x.dtype, with_spatial(x, spatial, outputs.clone()))])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![eval::conv(self, x[0], x[1])?])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let (x, w) = (args.inputs[0], args.inputs[1]);
        if !b.ty(x).dtype.is_float() {
            return Err(NoGradient::NotDifferentiable);
        }
        let Some(g) = cotangent(&args) else { return Ok(vec![None, None]) };
        let shape = b.ty(x).shape.clone();
        let dx = gradients::conv_input(b, self, g, w, &shape)?;
        let dw = gradients::conv_filter(b, self, g, x)?;
        Ok(vec![Some(dx), Some(dw)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Window { kind: WindowKind::Conv { groups: self.groups }, dims: self.dims.clone() }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Op for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }
    fn attrs(&self) -> Attrs {
        window_attrs(Attrs::none().with("op", Attr::Word(self.op.name().into())), &self.dims)
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("pool", given)?;
        if !self.op.accepts(x.dtype) || x.dtype.is_complex() {
            return Err(OpError::new("pool", "C2", format!("{} does not take {}", self.op, x.dtype)));
        }
        let spatial = infer_spatial("pool", x, &self.dims)?;
        Ok(vec![TensorType::new(x.dtype, with_spatial(x, spatial, x.shape[x.rank() - 1].clone()))])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![eval::pool(self, x[0])?])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        gradients::pool(self, b, args)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Window { kind: WindowKind::Pool(self.op), dims: self.dims.clone() }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Op for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool"
    }
    fn attrs(&self) -> Attrs {
        window_attrs(Attrs::none(), &self.dims)
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("avg_pool", given)?;
        if !x.dtype.is_float() {
            return Err(OpError::new("avg_pool", "C2", format!("does not take {}", x.dtype)));
        }
        let spatial = infer_spatial("avg_pool", x, &self.dims)?;
        Ok(vec![TensorType::new(x.dtype, with_spatial(x, spatial, x.shape[x.rank() - 1].clone()))])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![eval::avg_pool(self, x[0])?])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
        let ty = b.ty(args.inputs[0]).clone();
        Ok(vec![Some(gradients::avg_pool_input(b, &self.dims, g, &ty)?)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Window { kind: WindowKind::AvgPool, dims: self.dims.clone() }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The ops of this family.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "conv",
        parse: |a| Ok(Arc::new(Conv { groups: a.int("groups")?, dims: window_dims(a)? })),
        tf: tf::CONV,
    },
    OpDef {
        name: "pool",
        parse: |a| {
            let w = a.word("op")?;
            let op = ReduceOp::from_name(&w).ok_or_else(|| format!("unknown combiner `{w}`"))?;
            Ok(Arc::new(Pool { op, dims: window_dims(a)? }))
        },
        tf: tf::POOL,
    },
    OpDef { name: "avg_pool", parse: |a| Ok(Arc::new(AvgPool { dims: window_dims(a)? })), tf: tf::AVG_POOL },
];
