//! Views, conversions and broadcasts.

use anyhow::Result;
use kiln_ir::ops::pointwise::{Binary, Cast, Compare};
use kiln_ir::ops::shape::{Broadcast, Pad, Slice, Transpose};
use kiln_ir::{DType, Dim, Value};

use super::pattern::*;
use super::rules;

rules! {
    over x, y, z, c, d;

    // The engine lets a value replace only one of its own type, so these fire for conversions to what is there already.
    cast_same exact: cast(x) => x;
    reshape_same exact: reshape(x) => x;
    broadcast_same exact: broadcast(x) => x;
    transpose_identity exact: transpose(x) => x, if is_identity();
    pad_nothing exact: pad(x, y) => x, if pads_nothing();
    slice_all exact: slice(x) => x, if slices_all();

    // Chains.
    cast_cast exact: cast(cast(x)) => cast(x), if first_cast_keeps_values(x);
    reshape_reshape exact: reshape(reshape(x)) => reshape(x);
    broadcast_broadcast exact: broadcast(broadcast(x)) => broadcast(x);
    transpose_transpose exact: transpose(transpose(x)) => Build(compose_transposes);
    reshape_transpose exact: reshape(transpose(x)) => reshape(x), if moves_only_units();
    transpose_as_reshape exact: transpose(x) => reshape(x), if moves_only_units_here();
    pad_pad exact: pad(pad(x, y), y) => Build(compose_pads);

    transpose_broadcast_scalar exact: transpose(broadcast(x)) => broadcast(x), if is_scalar(x);
    reshape_broadcast_scalar exact: reshape(broadcast(x)) => broadcast(x), if is_scalar(x);
}

fn is_scalar(x: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    is(x, |t| t.rank() == 0)
}

fn is_identity() -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    |s| s.op.is::<Transpose>().is_some_and(|t| t.perm.iter().enumerate().all(|(i, &p)| i == p))
}

fn pads_nothing() -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    |s| s.op.is::<Pad>().is_some_and(|p| p.low.iter().chain(&p.high).all(|d| d.is(0)))
}

fn slices_all() -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    |s| s.op.is::<Slice>().is_some_and(|p| p.start.iter().all(|d| d.is(0)) && p.step.iter().all(|&n| n == 1))
}

/// Whether every value of one type is a value of another.
fn widens(from: DType, to: DType) -> bool {
    // Bits of magnitude that integers need and that floats' significands hold.
    let significand = |d| match d {
        DType::F16 => 11,
        DType::BF16 => 8,
        DType::F32 => 24,
        DType::F64 => 53,
        _ => 0,
    };
    let bits = |d: DType| 8 * d.size() - usize::from(d.is_signed());
    match (from, to) {
        _ if from == to => true,
        (DType::Bool, _) => to.is_int() || to.is_float(),
        (DType::F16 | DType::BF16, DType::F32 | DType::F64) | (DType::F32, DType::F64) => true,
        _ if from.is_int() && to.is_int() => (to.is_signed() || !from.is_signed()) && bits(from) <= bits(to),
        _ if from.is_int() && to.is_float() => bits(from) <= significand(to),
        _ => false,
    }
}

/// Casting to the type in the middle loses nothing.
fn first_cast_keeps_values(x: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    let x = x.clone();
    move |s| {
        let (from, middle) = (s.var_ty(&x).map(|t| t.dtype), s.inner::<Cast>().map(|c| c.to));
        // Integers wrap on the way to integers, floats saturate.
        let saturates = |f: DType, m: DType| f.is_int() && m.is_float() && s.ty.dtype.is_int();
        matches!((from, middle), (Some(f), Some(m)) if widens(f, m) && !saturates(f, m))
    }
}

/// Whether a permutation keeps the order of the axes that are longer than 1.
fn keeps_order(perm: &[usize], result: &[Dim]) -> bool {
    let long: Vec<usize> = perm.iter().zip(result).filter(|(_, d)| !d.is(1)).map(|(&p, _)| p).collect();
    long.is_sorted()
}

fn moves_only_units() -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    |s| s.inner::<Transpose>().is_some_and(|t| keeps_order(&t.perm, &s.b.ty(s.inputs[0]).shape))
}

fn moves_only_units_here() -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    |s| s.op.is::<Transpose>().is_some_and(|t| keeps_order(&t.perm, &s.ty.shape))
}

fn compose_transposes(s: &mut Site<'_>) -> Result<Option<Value>> {
    let (Some(outer), Some(inner)) = (s.op.is::<Transpose>(), s.inner::<Transpose>()) else { return Ok(None) };
    let perm: Option<Vec<usize>> = outer.perm.iter().map(|&p| inner.perm.get(p).copied()).collect();
    let (Some(perm), Some(x)) = (perm, s.vars[0]) else { return Ok(None) };
    s.b.transpose(x, &perm).map(Some)
}

fn compose_pads(s: &mut Site<'_>) -> Result<Option<Value>> {
    let (Some(outer), Some(inner)) = (s.op.is::<Pad>(), s.inner::<Pad>()) else { return Ok(None) };
    let sum = |a: &[Dim], b: &[Dim]| a.iter().zip(b).map(|(a, b)| a.clone() + b.clone()).collect();
    let pad = Pad { low: sum(&outer.low, &inner.low), high: sum(&outer.high, &inner.high) };
    let (Some(x), Some(y)) = (s.vars[0], s.vars[1]) else { return Ok(None) };
    s.b.push(pad, &[x, y]).map(Some)
}

/// Drops broadcasts before the operands of an elementwise op where the others give the result its shape anyway.
///
/// # Errors
/// Never for a valid node.
pub fn drop_broadcasts(s: &mut Site<'_>) -> Result<Option<Value>> {
    let mut inputs = s.inputs.to_vec();
    for i in 0..inputs.len() {
        let inner = s.b.func.def_node(inputs[i]).filter(|n| n.op.is::<Broadcast>().is_some()).map(|n| n.inputs[0]);
        let full = |(j, &v): (usize, &Value)| j != i && s.b.ty(v).shape == s.ty.shape;
        if let Some(x) = inner
            && inputs.iter().enumerate().any(full)
        {
            inputs[i] = x;
        }
    }
    if inputs == s.inputs {
        return Ok(None);
    }
    if let Some(b) = s.op.is::<Binary>() {
        return s.b.binary(b.op, inputs[0], inputs[1]).map(Some);
    }
    match s.op.is::<Compare>() {
        Some(c) => s.b.compare(c.op, inputs[0], inputs[1]).map(Some),
        None => s.b.select(inputs[0], inputs[1], inputs[2]).map(Some),
    }
}
