//! Random numbers with TensorFlow's bits.
//!
//! Samplers are pure ops of a generator's key and counter (`u64[1]` and `u64[2]`), as TensorFlow's stateless ops of
//! version 2 are. `random_key` makes these from a seed; `random_stream` draws them from a stream that goes on from one
//! execution to the next, which is all of the state that the stateful ops have.

pub mod binomial;
pub mod bounded_normal;
pub mod candidates;
pub mod gamma;
pub mod index_shuffle;
pub mod multinomial;
pub mod philox;
pub mod sample;
pub mod shuffle;
pub mod stream;
mod tf;
pub mod unigram;

use crate::graph::TensorType;
use crate::op::{OpDef, OpError};
use crate::ops::host::{host_op, ints, require, typed};
use crate::tensor::Tensor;
use crate::{DType, Dim};
use philox::Philox;

host_op! {
    /// `random_key seed`: the key and the counter of a stateless op's seed, which is two integers.
    RandomKey = "random_key" {}
    infer |_, given| {
        let [seed] = typed("random_key", given, [&[DType::I32, DType::I64]])?;
        let pair = seed.rank() == 1 && crate::ops::shape::may_equal(&seed.shape[0], &Dim::from(2));
        require("random_key", "C3", pair, || format!("a seed is two integers, not {seed}"))?;
        Ok(key_types().to_vec())
    },
    eval |_, x| {
        let seed: [i64; 2] = ints(x[0]).try_into().map_err(|s| OpError::new("random_key", "C3", format!("{s:?}")))?;
        Ok(key_tensors(Philox::of_seed(seed)))
    },
}

/// The types of a key and a counter.
pub(crate) fn key_types() -> [TensorType; 2] {
    [TensorType::fixed(DType::U64, &[1]), TensorType::fixed(DType::U64, &[2])]
}

pub(crate) fn key_tensors(p: Philox) -> Vec<Tensor> {
    let (key, counter) = p.parts();
    vec![Tensor::of(&[1], &[key]), Tensor::of(&[2], &counter)]
}

/// Refuses operands that are no key and counter.
pub(crate) fn check_key(op: &'static str, key: &TensorType, counter: &TensorType) -> Result<(), OpError> {
    let [k, c] = key_types();
    let fits = |x: &TensorType, want: &TensorType| {
        x.dtype == want.dtype
            && x.rank() == 1
            && !crate::ops::shape::always_negative(&(x.shape[0].clone() - want.shape[0].clone()))
    };
    require(op, "C2", fits(key, &k) && fits(counter, &c), || format!("{key} and {counter} are no key and counter"))
}

/// The generator that a key and a counter stand for.
pub(crate) fn generator(op: &'static str, key: &Tensor, counter: &Tensor) -> Result<Philox, OpError> {
    match (key.as_slice::<u64>(), counter.as_slice::<u64>()) {
        (Some([key, ..]), Some([low, high, ..])) => Ok(Philox::new(*key, *low, *high)),
        _ => Err(OpError::new(op, "C2", format!("{key:?} and {counter:?} are no key and counter"))),
    }
}

/// The ops of these files.
pub const OPS: &[OpDef] = &[
    RandomKey::def(&[]),
    stream::DEF,
    sample::RandomSample::def(&[]),
    multinomial::Multinomial::def(&[]),
    shuffle::Shuffle::def(&[]),
    gamma::Gamma::def(&[]),
    gamma::Poisson::def(&[]),
    bounded_normal::BoundedNormal::def(&[]),
    binomial::Binomial::def(&[]),
    index_shuffle::IndexShuffle::def(&[]),
    candidates::CandidateSampler::def(&[]),
    candidates::AccidentalHits::def(&[]),
    unigram::DEF,
];

pub use tf::{TF, parameters};
