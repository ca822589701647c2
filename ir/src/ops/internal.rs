//! Ops that TensorFlow's runtime and graph optimizers write into graphs: fused products and convolutions, compositions of
//! activations, and the small ones around calls. Each is what it was made from.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};

use super::shape::{dim_value, dims_value, splat};
use crate::graph::Value;
use crate::ops::host::tf_ops;
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tensor::Tensor;
use crate::tf::{TfAttr, TfBinding, TfCx, TfNode};
use crate::{DType, Dim};

/// The strings of a list attribute.
fn words(cx: &TfCx<'_>, name: &str) -> Result<Vec<String>> {
    let Some(TfAttr::List(list)) = cx.node.attrs.get(name) else { bail!("attribute `{name}` is not a list") };
    let word = |a: &TfAttr| match a {
        TfAttr::Str(s) => String::from_utf8(s.clone()).ok(),
        _ => None,
    };
    list.iter().map(word).collect::<Option<_>>().ok_or_else(|| anyhow!("attribute `{name}` is not a list of strings"))
}

/// The results of another op's import rule, in place of the node.
fn rule(cx: &mut TfCx<'_>, op: &str, attrs: BTreeMap<String, TfAttr>, inputs: &[Value]) -> Result<Vec<Value>> {
    let binding = super::by_tf(op).ok_or_else(|| anyhow!("`{op}` is not supported"))?;
    let node = TfNode { name: cx.node.name.clone(), op: op.into(), attrs };
    (binding.read)(&mut TfCx { b: cx.b, node: &node, inputs })
}

fn one(values: Vec<Value>) -> Result<Value> {
    values.first().copied().ok_or_else(|| anyhow!("the op has no result"))
}

/// x Phi(x), or its approximation by a hyperbolic tangent (Hendrycks and Gimpel, 2016).
fn gelu(cx: &mut TfCx<'_>, x: Value, exact: bool) -> Result<Value> {
    let b = &mut *cx.b;
    let phi = if exact {
        let scaled = b.binary_scalar(BinaryOp::Mul, x, std::f64::consts::FRAC_1_SQRT_2)?;
        b.unary(UnaryOp::Erf, scaled)?
    } else {
        let square = b.binary(BinaryOp::Mul, x, x)?;
        let cube = b.binary(BinaryOp::Mul, square, x)?;
        let cube = b.binary_scalar(BinaryOp::Mul, cube, 0.044715)?;
        let sum = b.binary(BinaryOp::Add, x, cube)?;
        let scaled = b.binary_scalar(BinaryOp::Mul, sum, (2.0 / std::f64::consts::PI).sqrt())?;
        b.unary(UnaryOp::Tanh, scaled)?
    };
    let one = b.binary_scalar(BinaryOp::Add, phi, 1.0)?;
    let half = b.binary_scalar(BinaryOp::Mul, x, 0.5)?;
    b.binary(BinaryOp::Mul, half, one)
}

/// What a fused op does with its product, in order; the operands behind the first two are the steps' own.
fn steps(cx: &mut TfCx<'_>, mut y: Value) -> Result<Value> {
    let mut args = cx.inputs.iter().skip(2).copied();
    let mut format = BTreeMap::new();
    let layout = cx.node.attrs.get("data_format").cloned().unwrap_or(TfAttr::Str(b"NHWC".to_vec()));
    format.insert("data_format".to_string(), layout);
    for step in words(cx, "fused_ops")? {
        let mut arg = || args.next().ok_or_else(|| anyhow!("step `{step}` lacks its operand"));
        y = match &step[..] {
            "BiasAdd" => {
                let bias = arg()?;
                one(rule(cx, "BiasAdd", format.clone(), &[y, bias])?)?
            }
            "Add" => {
                let other = arg()?;
                cx.b.binary(BinaryOp::Add, y, other)?
            }
            "FusedBatchNorm" => {
                let inputs = [y, arg()?, arg()?, arg()?, arg()?];
                let mut attrs = format.clone();
                attrs.insert("epsilon".into(), TfAttr::Float(cx.float("epsilon")?));
                attrs.insert("exponential_avg_factor".into(), TfAttr::Float(1.0));
                attrs.insert("is_training".into(), TfAttr::Bool(false));
                one(rule(cx, "FusedBatchNormV3", attrs, &inputs)?)?
            }
            "LeakyRelu" => {
                let alpha = TfAttr::Float(cx.float("leakyrelu_alpha")?);
                one(rule(cx, "LeakyRelu", BTreeMap::from([("alpha".into(), alpha)]), &[y])?)?
            }
            "GeluExact" | "GeluApproximate" => gelu(cx, y, step == "GeluExact")?,
            "Relu" | "Relu6" | "Elu" | "Tanh" | "Sigmoid" => one(rule(cx, &step, BTreeMap::new(), &[y])?)?,
            _ => bail!("the fused step `{step}` is not supported"),
        };
    }
    match args.next() {
        None => Ok(y),
        Some(_) => bail!("it has {} operands, more than its steps take", cx.inputs.len()),
    }
}

fn fused_conv(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    if cx.int("num_host_args")? != 0 || cx.str("filter_format")? != "HWIO" {
        bail!("quantized fused convolutions and filters other than HWIO are only for GPUs");
    }
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let y = one(rule(cx, "Conv2D", cx.node.attrs.clone(), &[x, w])?)?;
    Ok(vec![steps(cx, y)?])
}

fn fused_mat_mul(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y) = (cx.input(0)?, cx.input(1)?);
    let z = one(rule(cx, "MatMul", cx.node.attrs.clone(), &[x, y])?)?;
    Ok(vec![steps(cx, z)?])
}

/// Operands: those of FusedBatchNormV3, and perhaps a value that is added before the activation.
fn fused_batch_norm(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (side, mode) = (cx.int("num_side_inputs")?, cx.str("activation_mode")?);
    let Some((inputs, sides)) = cx.inputs.split_at_checked(5).filter(|s| s.1.len() as i64 == side && side <= 1) else {
        bail!("{} operands with {side} side inputs", cx.inputs.len())
    };
    let (inputs, sides) = (inputs.to_vec(), sides.to_vec());
    let mut out = rule(cx, "FusedBatchNormV3", cx.node.attrs.clone(), &inputs)?;
    let y = out.first_mut().context("the op has no result")?;
    for s in sides {
        *y = cx.b.binary(BinaryOp::Add, *y, s)?;
    }
    *y = match &mode[..] {
        "Identity" => *y,
        "Relu" => one(rule(cx, "Relu", BTreeMap::new(), &[*y])?)?,
        _ => bail!("the activation `{mode}` is not supported"),
    };
    Ok(out)
}

fn unary_composition(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let mut y = cx.input(0)?;
    for op in words(cx, "op_names")? {
        y = one(rule(cx, &op, BTreeMap::new(), &[y])?)?;
    }
    Ok(vec![y])
}

/// Scalars are true where they are not 0 (not empty, for strings); other tensors, where they have elements.
fn to_bool(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let b = &mut *cx.b;
    if ty.rank() > 0 {
        let count = dim_value(b, &Dim::product(&ty.shape), DType::I64)?;
        let zero = b.scalar(DType::I64, 0.0)?;
        return Ok(vec![b.compare(CompareOp::Ne, count, zero)?]);
    }
    let zero = match ty.dtype {
        DType::Bool => return Ok(vec![x]),
        DType::String => b.constant(Tensor::of_strings(&[], vec![vec![]]))?,
        d => b.scalar(d, 0.0)?,
    };
    Ok(vec![b.compare(CompareOp::Ne, x, zero)?])
}

/// The place of the CPU among the devices' names; behind them if it is not there.
fn device_index(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let names = words(cx, "device_names")?;
    let index = names.iter().position(|n| n == "CPU").unwrap_or(names.len());
    Ok(vec![cx.b.constant(Tensor::scalar(index as i32))?])
}

/// A value that nothing reads, of a branch whose sibling has one. Sizes that are not known are 0.
fn fake_param(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (dtype, shape) = (cx.dtype("dtype")?, cx.shape("shape")?);
    let shape = shape.context("a value of unknown rank stands for nothing: export the model with known ranks")?;
    let shape: Vec<Dim> = shape.into_iter().map(|n| Dim::from(n.unwrap_or(0))).collect();
    if !dtype.is_plain() {
        bail!("a placeholder of {dtype} is not supported");
    }
    Ok(vec![splat(cx.b, dtype, 0.0, &shape)?])
}

/// Rounds down or up at random, up with the probability of the fraction, away from 0 for negative numbers. Which numbers go
/// up differs between TensorFlow's builds, whose kernels draw once for each vector of the processor.
fn stochastic_cast(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, to) = (cx.input(0)?, cx.ty(0)?, cx.dtype("Tout")?);
    let shape = dims_value(cx.b, &ty.shape, DType::I64)?;
    let attrs = BTreeMap::from([("dtype".into(), TfAttr::Type(ty.dtype)), ("Tshape".into(), TfAttr::Type(DType::I64))]);
    let inputs = [shape, cx.input(1)?, cx.input(2)?, cx.input(3)?];
    let random = one(rule(cx, "StatelessRandomUniformV2", attrs, &inputs)?)?;
    let b = &mut *cx.b;
    let zero = b.scalar(ty.dtype, 0.0)?;
    let (floor, negative) = (b.unary(UnaryOp::Floor, x)?, b.compare(CompareOp::Lt, x, zero)?);
    let (fraction, whole) = (b.binary(BinaryOp::Sub, x, floor)?, b.compare(CompareOp::Eq, x, floor)?);
    // floor(x + r) where x is negative, floor(x + 1 - r) elsewhere, without rounding the sums.
    let one_more = b.binary_scalar(BinaryOp::Add, floor, 1.0)?;
    let sum = b.binary(BinaryOp::Add, fraction, random)?;
    let one_value = b.scalar(ty.dtype, 1.0)?;
    let (over, under) = (b.compare(CompareOp::Ge, sum, one_value)?, b.compare(CompareOp::Ge, fraction, random)?);
    let up = b.select(negative, over, under)?;
    let rounded = b.select(up, one_more, floor)?;
    let y = b.select(whole, x, rounded)?;
    Ok(vec![b.cast(to, y)?])
}

fn symbolic_gradient(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    bail!(
        "it asks for the gradient of function `{}` at run time, which Kiln does not derive from a graph: export the model with \
         the gradient written out (tf.gradients or a GradientTape inside the exported function)",
        cx.func("f")?
    )
}

/// The import rules of this file.
pub const TF: &[TfBinding] = tf_ops! {
    "_FusedConv2D" => fused_conv, "_FusedMatMul" => fused_mat_mul, "_FusedBatchNormEx" => fused_batch_norm,
    "_UnaryOpsComposition" => unary_composition, "_ArrayToList" => |cx| Ok(cx.inputs.to_vec()),
    "_ListToArray" => |cx| Ok(cx.inputs.to_vec()), "_EagerConst" => |cx| Ok(vec![cx.input(0)?]),
    "_Retval" => |_| Ok(vec![]), "ToBool" => to_bool, "DeviceIndex" => device_index, "FakeParam" => fake_param,
    "StochasticCastToInt" => stochastic_cast, "SymbolicGradient" => symbolic_gradient,
};
