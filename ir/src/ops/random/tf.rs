//! TensorFlow's random ops.

use anyhow::{Result, bail};

use super::RandomKey;
use super::binomial::Binomial;
use super::bounded_normal::BoundedNormal;
use super::candidates::{AccidentalHits, CandidateSampler};
use super::gamma::{Gamma, Poisson};
use super::index_shuffle::IndexShuffle;
use super::multinomial::Multinomial;
use super::sample::RandomSample;
use super::shuffle::Shuffle;
use super::stream::RandomStream;
use super::unigram::UnigramSampler;
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

/// Operands: value, key, counter, algorithm.
fn stateless_shuffle(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, key) = (cx.input(0)?, keyed(cx, 1)?);
    Ok(vec![cx.b.push(Shuffle {}, &[x, key[0], key[1]])?])
}

/// Operands: shape, means, deviations, lower and upper bounds. The first axis of the result is that of the parameters.
fn bounded_normal(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (shape, mut operands) = (cx.dims_input(0)?, cx.inputs[1..].to_vec());
    let [batches, each @ ..] = &shape[..] else { bail!("the shape of the samples has no axis") };
    let same = |i: usize| Ok::<_, anyhow::Error>(cx.ty(i)?.elements().is(1) && (i < 3 || cx.ty(i)?.rank() == 0));
    let even = same(1)? && same(2)? && same(3)? && same(4)?;
    // So many words are set aside for 1,000 tries of each sample.
    let blocks = if even {
        Dim::product(&shape).ceil_div(100) * Dim::from(2 * 1000 * 103 / 4)
    } else {
        (batches.clone() * Dim::from(2000) * (Dim::product(each) + Dim::from(3))).floor_div(&Dim::from(4))
    };
    operands.extend(streamed(cx, blocks)?);
    Ok(vec![cx.b.push(BoundedNormal { shape, last_axes: 0, batch_last: false }, &operands)?])
}

/// Parameters from operand `first` on as vectors, broadcast to the last axes of the samples' shape, which must be those to
/// which they broadcast among themselves; and the number of these axes.
///
/// # Errors
/// If they do not broadcast to the last axes.
pub fn parameters(cx: &mut TfCx<'_>, shape: &[Dim], first: usize, count: usize) -> Result<(Vec<Value>, usize)> {
    let types = (first..first + count).map(|i| cx.ty(i)).collect::<Result<Vec<_>>>()?;
    let rank = types.iter().map(|t| t.rank()).max().unwrap_or(0);
    let Some(outer) = shape.len().checked_sub(rank) else { bail!("parameters {types:?} for samples of {shape:?}") };
    let last = shape[outer..].to_vec();
    for (axis, d) in last.iter().enumerate() {
        let of = |t: &crate::TensorType| (axis + t.rank()).checked_sub(rank).map(|i| t.shape[i].clone());
        if !d.is(1) && types.iter().filter_map(of).all(|e| e.is(1)) {
            bail!("the shape {shape:?} does not end with that of the parameters, {types:?}");
        }
    }
    let mut flat = vec![];
    for i in first..first + count {
        let v = cx.input(i)?;
        let v = cx.b.broadcast(v, &last)?;
        flat.push(cx.b.reshape(v, &[Dim::product(&last)])?);
    }
    Ok((flat, rank))
}

/// Operands: shape, seed, means, deviations, lower and upper bounds.
fn stateless_bounded_normal(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let shape = cx.dims_input(0)?;
    let (mut operands, rank) = parameters(cx, &shape, 2, 4)?;
    operands.extend(seeded(cx, 1)?);
    Ok(vec![cx.b.push(BoundedNormal { shape, last_axes: rank as i64, batch_last: true }, &operands)?])
}

/// Operands: shape, seed, counts, probabilities.
fn stateless_binomial(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (shape, dtype) = (cx.dims_input(0)?, cx.dtype("dtype")?);
    let (mut operands, _) = parameters(cx, &shape, 2, 2)?;
    operands.extend(seeded(cx, 1)?);
    Ok(vec![cx.b.push(Binomial { shape, dtype }, &operands)?])
}

/// The true classes, and key and counter of a sampler's stream, which uses up 2,048 words for each sample.
fn sampler_operands(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let classes = cx.input(0)?;
    let (columns, want) = (cx.ty(0)?.shape.get(1).and_then(Dim::as_const), cx.int("num_true")?);
    if columns.is_some_and(|n| n != want) {
        bail!("the true classes {} have not `num_true` = {want} columns", cx.ty(0)?);
    }
    let blocks = Dim::from(cx.int("num_sampled")?.saturating_mul(512));
    Ok([vec![classes], streamed(cx, blocks)?].concat())
}

fn candidates(cx: &mut TfCx<'_>, distribution: &str, weights: &[f32]) -> Result<Vec<Value>> {
    let samples = cx.int("num_sampled")?;
    let range = if distribution == "all" { samples } else { cx.int("range_max")? };
    let operands = sampler_operands(cx)?;
    let weights = Tensor::of(&[weights.len()], weights);
    let op =
        CandidateSampler { distribution: distribution.into(), samples, unique: cx.bool("unique")?, range, weights };
    cx.b.push_all(op, &operands)
}

/// Counts of classes, raised to a power, of which a shard holds each n-th; reserved classes are never drawn.
fn fixed_unigram(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    if !cx.str("vocab_file")?.is_empty() {
        bail!("counts from a file are not supported: give them as the attribute `unigrams`");
    }
    let (power, shards, shard) = (cx.float("distortion")?, cx.int("num_shards")?, cx.int("shard")?);
    if shards < 1 {
        bail!("attribute `num_shards` is {shards}");
    }
    let reserved = usize::try_from(cx.int("num_reserved_ids")?).unwrap_or(0).min(1 << 30);
    let mine = |&(i, _): &(usize, f32)| i as i64 % shards == shard;
    let mut weights: Vec<f32> = (0..reserved).map(|i| (i, 0.0)).filter(mine).map(|w| w.1).collect();
    let counts = cx.floats("unigrams")?.into_iter().enumerate().map(|(i, w)| (i + weights.len(), w));
    let counts: Vec<f32> = counts.filter(mine).map(|(_, w)| w.powf(power)).collect();
    weights.extend(counts);
    candidates(cx, "weights", &weights)
}

fn learned_unigram(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let operands = sampler_operands(cx)?;
    let op = UnigramSampler::new(cx.int("num_sampled")?, cx.bool("unique")?, cx.int("range_max")?);
    cx.b.push_all(op, &operands)
}

fn accidental_hits(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let hits = cx.b.fresh_dim("hits");
    crate::ops::host::import(cx, AccidentalHits { hits })
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
    "StatelessShuffle" => stateless_shuffle,
    "ParameterizedTruncatedNormal" => bounded_normal,
    "StatelessParameterizedTruncatedNormal" => stateless_bounded_normal,
    "UniformCandidateSampler" => |cx| candidates(cx, "uniform", &[]),
    "LogUniformCandidateSampler" => |cx| candidates(cx, "log_uniform", &[]),
    "AllCandidateSampler" => |cx| candidates(cx, "all", &[]),
    "FixedUnigramCandidateSampler" => fixed_unigram,
    "LearnedUnigramCandidateSampler" => learned_unigram,
    "ThreadUnsafeUnigramCandidateSampler" => learned_unigram,
    "ComputeAccidentalHits" => accidental_hits,
    // The form of graphs before version 25.
    "RandomPoisson" => poisson,
    "StatelessRandomBinomial" => stateless_binomial,
    "RandomIndexShuffle" => |cx| {
        let rounds = cx.int("rounds")?;
        crate::ops::host::import(cx, IndexShuffle { rounds })
    },
    "RandomGamma" => gamma,
    "StatelessRandomGammaV2" => |cx| stateless_gamma(cx, 1),
    "StatelessRandomGammaV3" => |cx| stateless_gamma(cx, 2),
    "RandomPoissonV2" => poisson,
    "StatelessRandomPoisson" => stateless_poisson,
};
