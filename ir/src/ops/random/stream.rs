//! `random_stream`: the place of a stream of random numbers, which moves on with each execution.
//!
//! Constraints: C1 no operand.
//!
//! The state of a stream lives in this process, not in the module: it is shared by all copies of an op that have the
//! same `stream` number, since executors copy ops when they bind sizes. A model that is loaded again starts anew.

use std::any::Any;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::philox::Philox;
use super::{key_tensors, key_types};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::ops::host::extents;
use crate::ops::shape::arity;
use crate::tensor::Tensor;
use crate::{Builder, Dim};

type State = Mutex<Philox>;

static STREAMS: Mutex<BTreeMap<i64, Weak<State>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicI64 = AtomicI64::new(0);

/// `random_stream`: the key and counter of the stream's place, which then moves on by `blocks` blocks of four words.
#[derive(Debug, Clone)]
pub struct RandomStream {
    seeds: [i64; 2],
    blocks: Dim,
    stream: i64,
    state: Arc<State>,
}

impl RandomStream {
    /// A new stream; both seeds 0 ask for one that is unlike any other.
    pub fn new(seeds: [i64; 2], blocks: Dim) -> RandomStream {
        RandomStream::numbered(seeds, blocks, NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn numbered(seeds: [i64; 2], blocks: Dim, stream: i64) -> RandomStream {
        // No code panics while it holds the lock.
        let mut streams = STREAMS.lock().unwrap_or_else(PoisonError::into_inner);
        NEXT.fetch_max(stream.saturating_add(1), Ordering::Relaxed);
        streams.retain(|_, s| s.strong_count() > 0);
        let state = streams.get(&stream).and_then(Weak::upgrade).unwrap_or_else(|| {
            // The hasher's keys are the standard library's only source of entropy.
            let entropy = || std::hash::RandomState::new().build_hasher().finish();
            let [key, high] = if seeds == [0, 0] { [entropy(), entropy()] } else { seeds.map(|s| s as u64) };
            Arc::new(Mutex::new(Philox::new(key, 0, high)))
        });
        streams.insert(stream, Arc::downgrade(&state));
        RandomStream { seeds, blocks, stream, state }
    }

    fn parse(a: &Attrs) -> Result<Arc<dyn Op>, String> {
        let seeds = a.ints("seeds")?.try_into().map_err(|s| format!("the seeds {s:?} are not two"))?;
        let blocks = a.dims("blocks")?.pop().ok_or("attribute `blocks` is empty")?;
        Ok(Arc::new(RandomStream::numbered(seeds, blocks, a.int("stream")?)))
    }
}

impl Op for RandomStream {
    fn name(&self) -> &'static str {
        "random_stream"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("seeds", Attr::Ints(self.seeds.to_vec()))
            .with("blocks", Attr::Dims(vec![self.blocks.clone()]))
            .with("stream", Attr::Int(self.stream))
    }
    fn effect(&self) -> Effect {
        Effect::Effect
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        arity::<0>("random_stream", given)?;
        Ok(key_types().to_vec())
    }
    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let blocks = extents("random_stream", std::slice::from_ref(&self.blocks))?[0];
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let here = *state;
        *state = here.skipped(blocks as u128);
        Ok(key_tensors(here))
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None, None]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Err(NoGradient::NotDifferentiable)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Host
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The op of this file.
pub const DEF: OpDef = OpDef { name: "random_stream", parse: RandomStream::parse, tf: &[] };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_their_place_and_new_streams_start_anew() {
        let op = RandomStream::new([3, 4], Dim::from(5));
        let copy = RandomStream::parse(&op.attrs()).unwrap();
        let counter = |op: &dyn Op| op.eval(&[]).unwrap()[1].to_i64s().unwrap();
        assert_eq!(counter(&op), [0, 4]);
        assert_eq!(counter(&*copy), [5, 4]);
        assert_eq!(counter(&op), [10, 4]);
        assert_eq!(counter(&RandomStream::new([3, 4], Dim::from(5))), [0, 4]);
    }
}
