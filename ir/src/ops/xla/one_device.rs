//! What spreads a program over devices, as one device runs it; and what only XLA itself can run, refused with the reason.

use anyhow::{Result, bail};

use crate::Dim;
use crate::graph::Value;
use crate::ops::host::tf_ops;
use crate::ops::shape::slice::slice;
use crate::ops::shape::{Slice, may_equal};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx, normalize_axis};

/// Notes on how values lie on devices, and bounds of sizes: the value itself.
fn same(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    Ok(vec![cx.input(0)?])
}

fn shard_to_full(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let full = cx.shape("full_shape")?.unwrap_or_default();
    let fits = full.len() == ty.rank()
        && full.iter().zip(&ty.shape).all(|(n, d)| n.is_none_or(|n| may_equal(&Dim::from(n), d)));
    if !fits {
        bail!(
            "a shard {ty} of a value of shape {full:?} is of one of several devices: export the model for one device"
        );
    }
    Ok(vec![x])
}

/// A reduction over replicas is the value itself where each group has one replica.
fn across_replicas(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let groups = cx.ty(1)?;
    match groups.shape.get(1) {
        Some(d) if d.is(1) => Ok(vec![cx.input(0)?]),
        _ => bail!(
            "it combines values of several devices (groups {groups}), and the model runs on one: export it without a \
             distribution strategy"
        ),
    }
}

fn replica(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    Ok(vec![cx.b.constant(Tensor::scalar(0i32))?])
}

/// The first elements along an axis.
fn set_size(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let axis = cx.const_ints(1)?;
    let (&[axis], [size]) = (&axis[..], &cx.dims_input(2)?[..]) else { bail!("axis {axis:?} is not one number") };
    let axis = normalize_axis(axis, ty.rank())?;
    Ok(vec![slice(cx.b, x, Slice::along(&ty.shape, axis, Dim::from(0), size.clone()))?])
}

/// What `set_size` had cut.
fn remove_size(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    if let Some(node) = cx.b.func.def_node(x)
        && &*node.loc.tf_op == "XlaSetDynamicDimensionSize"
        && node.op.is::<Slice>().is_some()
    {
        return Ok(vec![node.inputs[0]]);
    }
    if ty.static_shape().is_none() {
        bail!("the bound of {ty} is not known: it must be the result of XlaSetDynamicDimensionSize");
    }
    Ok(vec![x])
}

fn call_module(_: &mut TfCx<'_>) -> Result<Vec<Value>> {
    bail!(
        "it holds a program for XLA (serialized StableHLO, as jax2tf writes it with native serialization), which Kiln does \
         not read: convert with `jax2tf.convert(.., native_serialization=False)`, which writes TensorFlow ops"
    )
}

fn custom_call(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let attr = if cx.node.attrs.contains_key("target_name") { "target_name" } else { "call_target_name" };
    bail!(
        "it calls `{}`, a function that is registered with XLA at run time and not part of the model: export the model \
         without custom calls",
        cx.str(attr)?
    )
}

fn transfer(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    bail!(
        "it passes tensor `{}` between an XLA program and its host, and there is one program here: cut the model there, \
         and feed or fetch the tensor",
        cx.str("tensor_name")?
    )
}

/// The import rules of this file.
pub const TF: &[TfBinding] = tf_ops! {
    "XlaSharding" => same, "XlaSpmdFullToShardShape" => same, "XlaSpmdShardToFullShape" => shard_to_full,
    "XlaSetBound" => same, "XlaOptimizationBarrier" => |cx| Ok(cx.inputs.to_vec()), "XlaReplicaId" => replica,
    "XlaAllReduce" => across_replicas, "XlaReduceScatter" => across_replicas,
    "XlaSetDynamicDimensionSize" => set_size, "XlaRemoveDynamicDimensionSize" => remove_size,
    "XlaCallModule" => call_module, "XlaCustomCall" => custom_call, "XlaCustomCallV2" => custom_call,
    "XlaSend" => transfer, "XlaRecv" => transfer,
};
