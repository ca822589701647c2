//! Inference-mode batch norm, and any other per-channel multiplication, folded into the weights of the convolution or
//! contraction before it.
//!
//! Keras exports batch norm as elementwise ops on constants: after folding, `x * scale + shift` or `(x - mean) * scale +
//! offset` with one number a channel. With `P` a convolution or contraction by a constant `w`:
//!
//! ```text
//! P(w) * s        =>  P(w * s)
//! (P(w) + c) * s  =>  P(w * s) + c * s
//! (P(w) + c) + d  =>  P(w) + (c + d)
//! P(w) / s        =>  P(w / s)
//! ```
//!
//! What remains is one addition a channel, which fusion puts into the store of the tile.
//!
//! Tag `rounding`: the result is the same real number. Each weight is rounded once more, an error of half an ULP of each
//! product, well inside the contract for contractions, 2 eps (log2 n + 8) sum |x_i w_i|; so it holds in strict mode.
//! Nothing is folded where a weight would overflow, or where the products' size is lost to underflow.

use std::collections::HashSet;

use anyhow::Result;
use kiln_ir::ops::contract::Contract;
use kiln_ir::ops::pointwise::{Binary, Unary};
use kiln_ir::ops::window::Conv;
use kiln_ir::scalar::{BinaryOp, UnaryOp};
use kiln_ir::{Function, Module, Op, Tensor, Value};

use crate::manager::{Cx, Pass, each_function};
use crate::rewrite::{Rewriter, constant, rebuild};

/// Folding of per-channel arithmetic into weights.
pub struct BatchNorm;

impl Pass for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }
    fn doc(&self) -> &'static str {
        "folds per-channel multiplications and additions into constant weights"
    }
    fn run(&self, m: &mut Module, cx: &mut Cx) -> Result<bool> {
        each_function(m, |f| {
            let uses = f.use_counts();
            // Values of the new function that have one use: folding into others would compute the product twice.
            let mut single = HashSet::new();
            rebuild(f, |r, _, node, inputs| {
                let new = match node.op.is::<Binary>() {
                    Some(b) => fold(r, &mut single, b.op, inputs, node.outputs[0], cx)?,
                    None => None,
                };
                if let [v] = node.outputs[..]
                    && uses[v.0 as usize] == 1
                {
                    // A copied node's result is the next value.
                    single.insert(new.unwrap_or(Value(r.b.func.value_count() as u32)));
                }
                Ok(new.map(|v| vec![v]))
            })
        })
    }
}

/// A product by constant weights, `P(w)`.
#[derive(Clone, Copy)]
struct Product {
    value: Value,
    /// Which operand holds the weights.
    operand: usize,
}

/// The product that defines a value, if it may be changed: its only use is the one at hand.
fn product(f: &Function, single: &HashSet<Value>, value: Value) -> Option<Product> {
    let n = f.def_node(value).filter(|_| single.contains(&value))?;
    let is = n.op.is::<Conv>().is_some() || n.op.is::<Contract>().is_some();
    let weights = |i: usize| constant(f, *n.inputs.get(i)?).filter(|t| t.dtype().is_float()).map(|_| i);
    let operand = if n.op.is::<Contract>().is_some() { weights(1).or(weights(0)) } else { weights(1) };
    operand.filter(|_| is).map(|operand| Product { value, operand })
}

/// `P` or `P + c`.
fn affine(f: &Function, single: &HashSet<Value>, v: Value) -> Option<(Product, Option<Value>)> {
    if let Some(p) = product(f, single, v) {
        return Some((p, None));
    }
    let n = f.def_node(v).filter(|_| single.contains(&v))?;
    let b = n.op.is::<Binary>().filter(|b| b.op == BinaryOp::Add)?;
    let (p, c) = operands(f, b.op, &n.inputs)?;
    Some((product(f, single, p)?, Some(c)))
}

/// The operand that is computed and the one that is constant.
fn operands(f: &Function, op: BinaryOp, inputs: &[Value]) -> Option<(Value, Value)> {
    let [x, y] = inputs else { return None };
    match (constant(f, *x), constant(f, *y)) {
        (None, Some(_)) => Some((*x, *y)),
        (Some(_), None) if op.is_commutative() => Some((*y, *x)),
        _ => None,
    }
}

fn fold(
    r: &mut Rewriter<'_>,
    single: &mut HashSet<Value>,
    op: BinaryOp,
    inputs: &[Value],
    result: Value,
    cx: &mut Cx,
) -> Result<Option<Value>> {
    use BinaryOp::{Add, Div, Mul, Sub};
    let f = &r.b.func;
    let Some((x, c)) = operands(f, op, inputs) else { return Ok(None) };
    let Some((p, shift)) = affine(f, single, x) else { return Ok(None) };
    // The constant may broadcast the product; then the result is no longer one product.
    if f.ty(p.value) != r.old.ty(result) {
        return Ok(None);
    }
    let eval = |op, x: &Tensor, y: &Tensor| (Binary { op }).eval(&[x, y]).ok().and_then(|mut t| t.pop());
    let Some(c) = constant(f, c) else { return Ok(None) };
    match op {
        Mul | Div => {
            let Some(weights) = scaled(f, p, op, c) else { return Ok(None) };
            let shift = match shift.and_then(|s| constant(f, s)) {
                Some(s) => match eval(op, s, c).filter(finite) {
                    Some(s) => Some(s),
                    None => return Ok(None),
                },
                None => None,
            };
            if !cx.allow() {
                return Ok(None);
            }
            let Some(node) = r.b.func.def_node(p.value).cloned() else { return Ok(None) };
            let mut inputs = node.inputs;
            inputs[p.operand] = r.b.constant(weights)?;
            r.b.loc = node.loc;
            let mut v = r.b.push_arc(node.op, &inputs)?[0];
            if let Some(s) = shift {
                single.insert(v);
                let s = r.b.constant(s)?;
                v = r.b.binary(Add, v, s)?;
            }
            Ok(Some(v))
        }
        Add | Sub => {
            let shift = shift.and_then(|s| constant(f, s));
            // A lone P + c is already the form to reach; P - c becomes it.
            let sum = match (op, shift) {
                (Sub, None) => (Unary { op: UnaryOp::Neg }).eval(&[c]).ok().and_then(|mut t| t.pop()),
                (_, Some(s)) => eval(op, s, c),
                _ => return Ok(None),
            };
            let Some(sum) = sum.filter(finite) else { return Ok(None) };
            if !cx.allow() {
                return Ok(None);
            }
            let sum = r.b.constant(sum)?;
            Ok(Some(r.b.binary(Add, p.value, sum)?))
        }
        _ => Ok(None),
    }
}

fn finite(t: &Tensor) -> bool {
    largest(t).is_some()
}

/// The largest magnitude of a tensor of finite floats; `None` if an element is not finite.
fn largest(t: &Tensor) -> Option<f64> {
    let most = match t.as_slice::<f32>() {
        // Magnitudes of floats are ordered as their bits are; NaN and infinity come last. Whole weights are read here.
        Some(x) => f64::from(f32::from_bits(x.iter().fold(0, |m, x| m.max(x.to_bits() & 0x7fff_ffff)))),
        // `f64::max` passes NaN over.
        None => t.to_f64s()?.iter().fold(0f64, |m, x| if x.is_nan() { f64::INFINITY } else { m.max(x.abs()) }),
    };
    most.is_finite().then_some(most)
}

/// The weights times (or divided by) a constant that holds one number, or one for each index of an axis of the product's
/// result along which the weights vary.
fn scaled(f: &Function, p: Product, op: BinaryOp, scale: &Tensor) -> Option<Tensor> {
    let n = f.def_node(p.value)?;
    let weights = constant(f, n.inputs[p.operand])?;
    let rank = f.ty(p.value).rank();
    let shape = scale.shape();
    let long: Vec<usize> = (0..shape.len()).filter(|&i| shape[i] != 1).collect();
    let mut aligned = vec![1; weights.shape().len()];
    if let [i] = long[..] {
        let axis = weight_axis(&*n.op, p.operand, rank.checked_sub(shape.len())? + i, rank)?;
        if weights.shape()[axis] != shape[i] {
            return None;
        }
        aligned[axis] = shape[i];
    } else if !long.is_empty() {
        return None;
    }
    let scale = scale.reshaped(&aligned).ok()?;
    let new = (Binary { op }).eval(&[weights, &scale]).ok()?.pop()?;
    representable(weights, &scale, &new).then_some(new)
}

/// The axis of the weights that an axis of the product's result runs along.
fn weight_axis(op: &dyn Op, operand: usize, axis: usize, rank: usize) -> Option<usize> {
    if op.is::<Conv>().is_some() {
        // The filter is [spatial.., C / groups, O], the result [N, spatial.., O].
        return (axis + 1 == rank).then_some(rank - 1);
    }
    let c = op.is::<Contract>()?;
    let labels = if operand == 0 { &c.lhs } else { &c.rhs };
    let label = c.out.get(axis)?;
    labels.iter().position(|l| l == label)
}

/// Whether the new weights say what the old ones and the scale say: all finite, and not lost to underflow.
fn representable(weights: &Tensor, scale: &Tensor, new: &Tensor) -> bool {
    // Weights that are not finite stay so under any finite scale, so they need no check of their own.
    let (Some(scale), Some(most)) = (largest(scale), largest(new)) else { return false };
    // The smallest normal number of the type, with room for the products below the largest that matter.
    let floor = match new.dtype() {
        kiln_ir::DType::F16 => 2f64.powi(-4),
        kiln_ir::DType::F64 => 2f64.powi(-900),
        _ => 2f64.powi(-96),
    };
    most >= floor || scale == 0.0 || largest(weights) == Some(0.0)
}
