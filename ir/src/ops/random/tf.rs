//! TensorFlow's random ops.

use anyhow::{Result, bail};

use super::RandomKey;
use super::gamma::{Gamma, Poisson};
use super::multinomial::Multinomial;
use super::sample::RandomSample;
use super::shuffle::Shuffle;
use super::stream::RandomStream;
use crate::Dim;
use crate::graph::Value;
use crate::ops::host::tf_ops;
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};

/// The key and counter from the seed that is operand `i`.
fn seeded(cx: &mut TfCx<'_>, i: usize) -> Result<Vec<Value>> {
    let seed = cx.input(i)?;
    cx.b.push_all(RandomKey {}, &[seed])
}

/// The key and counter that are operands `i` and `i + 1`; operand `i + 2` names the algorithm.
fn keyed(cx: &mut TfCx<'_>, i: usize) -> Result<Vec<Value>> {
    match cx.const_ints(i + 2)?[..] {
        // Philox, or the device's choice, which is Philox on CPUs.
        [1] | [3] => Ok(vec![cx.input(i)?, cx.input(i + 1)?]),
        _ => bail!("TensorFlow's CPU kernels have no random algorithm but Philox"),
    }
}

/// The key and counter of the stream of a stateful op, which uses up so many blocks of words.
fn streamed(cx: &mut TfCx<'_>, blocks: Dim) -> Result<Vec<Value>> {
    let seeds = [cx.int("seed")?, cx.int("seed2")?];
    cx.b.push_all(RandomStream::new(seeds, blocks), &[])
}

/// The number of blocks that TensorFlow sets aside for samples.
fn reserved(shape: &[Dim]) -> Dim {
    Dim::product(shape) * Dim::from(256)
}

/// A version of a stateless op: 1 has a seed as operand 1, 2 has a key, a counter and an algorithm from operand 1 on,
/// and 0 is the stateful op.
fn source(cx: &mut TfCx<'_>, version: usize, blocks: Dim) -> Result<Vec<Value>> {
    match version {
        0 => streamed(cx, blocks),
        1 => seeded(cx, 1),
        _ => keyed(cx, 1),
    }
}

/// Operands: shape, then what [`source`] takes.
fn sample(cx: &mut TfCx<'_>, version: usize, distribution: &str) -> Result<Vec<Value>> {
    let (shape, dtype) = (cx.dims_input(0)?, cx.dtype("dtype")?);
    let source = source(cx, version, reserved(&shape))?;
    Ok(vec![cx.b.push(RandomSample { distribution: distribution.into(), dtype, shape }, &source)?])
}

/// As [`sample`], then low and high.
fn integers(cx: &mut TfCx<'_>, version: usize) -> Result<Vec<Value>> {
    let shape = cx.dims_input(0)?;
    let mut operands = source(cx, version, reserved(&shape))?;
    let at = [1, 2, 4][version.min(2)];
    operands.extend([cx.input(at)?, cx.input(at + 1)?]);
    let dtype = cx.ty(at)?.dtype;
    Ok(vec![cx.b.push(RandomSample { distribution: "int".into(), dtype, shape }, &operands)?])
}

/// Operands: logits, number of samples, and the seed of the stateless op.
fn multinomial(cx: &mut TfCx<'_>, stateful: bool) -> Result<Vec<Value>> {
    let (logits, samples) = (cx.input(0)?, cx.dims_input(1)?);
    let [samples] = &samples[..] else { bail!("the number of samples is {samples:?}") };
    let rounded = (samples.clone() + Dim::from(3)).floor_div(&Dim::from(4)) * Dim::from(4);
    let rows = cx.ty(0)?.shape.first().cloned().unwrap_or(Dim::from(0));
    let key = if stateful { streamed(cx, reserved(&[rows, rounded]))? } else { seeded(cx, 2)? };
    let op = Multinomial { samples: samples.clone(), dtype: cx.dtype("output_dtype")? };
    Ok(vec![cx.b.push(op, &[logits, key[0], key[1]])?])
}

fn shuffle(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, rows) = (cx.input(0)?, cx.ty(0)?.shape.first().cloned().unwrap_or(Dim::from(0)));
    let key = streamed(cx, rows.ceil_div(4))?;
    Ok(vec![cx.b.push(Shuffle {}, &[x, key[0], key[1]])?])
}

/// The shape of a stateful sampler with a parameter: the operand's, then that of the parameter.
fn appended(cx: &mut TfCx<'_>) -> Result<Vec<Dim>> {
    let mut shape = cx.dims_input(0)?;
    shape.extend(cx.ty(1)?.shape);
    Ok(shape)
}

fn gamma(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (shape, alpha) = (appended(cx)?, cx.input(1)?);
    let key = streamed(cx, reserved(&shape))?;
    Ok(vec![cx.b.push(Gamma { shape }, &[alpha, key[0], key[1]])?])
}

fn poisson(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (shape, rate) = (appended(cx)?, cx.input(1)?);
    let dtype = cx.dtype("dtype")?;
    let key = streamed(cx, reserved(&shape))?;
    Ok(vec![cx.b.push(Poisson { shape, dtype }, &[rate, key[0], key[1]])?])
}

/// Operands: shape, seed (or key, counter, algorithm), parameter.
fn stateless_gamma(cx: &mut TfCx<'_>, version: usize) -> Result<Vec<Value>> {
    let shape = cx.dims_input(0)?;
    let (key, alpha) = (source(cx, version, Dim::from(0))?, cx.input([0, 2, 4][version])?);
    Ok(vec![cx.b.push(Gamma { shape }, &[alpha, key[0], key[1]])?])
}

fn stateless_poisson(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (shape, dtype, rate) = (cx.dims_input(0)?, cx.dtype("dtype")?, cx.input(2)?);
    let key = seeded(cx, 1)?;
    Ok(vec![cx.b.push(Poisson { shape, dtype }, &[rate, key[0], key[1]])?])
}

/// The number of Philox among TensorFlow's algorithms, which is what a CPU uses.
fn algorithm(cx: &mut TfCx<'_>) -> Result<Value> {
    cx.b.constant(Tensor::scalar(1i32))
}

fn key_counter(cx: &mut TfCx<'_>, with_algorithm: bool) -> Result<Vec<Value>> {
    let mut v = seeded(cx, 0)?;
    if with_algorithm {
        v.push(algorithm(cx)?);
    }
    Ok(v)
}

/// Import rules of TensorFlow's random ops.
pub const TF: &[TfBinding] = tf_ops! {
    "RandomUniform" => |cx| sample(cx, 0, "uniform"),
    "RandomStandardNormal" => |cx| sample(cx, 0, "normal"),
    "TruncatedNormal" => |cx| sample(cx, 0, "truncated_normal"),
    "RandomUniformInt" => |cx| integers(cx, 0),
    "StatelessRandomUniform" => |cx| sample(cx, 1, "uniform"),
    "StatelessRandomNormal" => |cx| sample(cx, 1, "normal"),
    "StatelessTruncatedNormal" => |cx| sample(cx, 1, "truncated_normal"),
    "StatelessRandomUniformInt" => |cx| integers(cx, 1),
    "StatelessRandomUniformFullInt" => |cx| sample(cx, 1, "bits"),
    "StatelessRandomUniformV2" => |cx| sample(cx, 2, "uniform"),
    "StatelessRandomNormalV2" => |cx| sample(cx, 2, "normal"),
    "StatelessTruncatedNormalV2" => |cx| sample(cx, 2, "truncated_normal"),
    "StatelessRandomUniformIntV2" => |cx| integers(cx, 2),
    "StatelessRandomUniformFullIntV2" => |cx| sample(cx, 2, "bits"),
    "StatelessRandomGetKeyCounter" => |cx| key_counter(cx, false),
    "StatelessRandomGetKeyCounterAlg" => |cx| key_counter(cx, true),
    "StatelessRandomGetAlg" => |cx| Ok(vec![algorithm(cx)?]),
    "Multinomial" => |cx| multinomial(cx, true),
    "StatelessMultinomial" => |cx| multinomial(cx, false),
    "RandomShuffle" => shuffle,
    "RandomGamma" => gamma,
    "StatelessRandomGammaV2" => |cx| stateless_gamma(cx, 1),
    "StatelessRandomGammaV3" => |cx| stateless_gamma(cx, 2),
    "RandomPoissonV2" => poisson,
    "StatelessRandomPoisson" => stateless_poisson,
};
