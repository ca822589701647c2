//! `unigram_sampler`: classes drawn in proportion to how often they were true classes so far, counted from 1.
//!
//! Constraints: as of `candidate_sampler`. The counts live in this process, as a `random_stream` does: executions go on
//! from one another, and a model that is loaded again starts anew.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::candidates::{below_u32, check_classes, draw, expected_count, result, sampled_types};
use super::{check_key, generator};
use crate::Builder;
use crate::DType;
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::ops::host::{ANY, ints, require, typed};
use crate::tensor::Tensor;

type Counts = Mutex<Vec<u32>>;

static SAMPLERS: Mutex<BTreeMap<i64, Weak<Counts>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicI64 = AtomicI64::new(0);

/// Larger ranges would take more than a gigabyte of counts.
const MAX_RANGE: i64 = 1 << 28;

/// `unigram_sampler true_classes, key, counter`: the results of `candidate_sampler`; the true classes are counted then.
#[derive(Debug, Clone)]
pub struct UnigramSampler {
    samples: i64,
    unique: bool,
    range: i64,
    sampler: i64,
    counts: Arc<Counts>,
}

impl UnigramSampler {
    /// A new sampler of so many classes out of a range.
    pub fn new(samples: i64, unique: bool, range: i64) -> UnigramSampler {
        UnigramSampler::numbered(samples, unique, range, NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn numbered(samples: i64, unique: bool, range: i64, sampler: i64) -> UnigramSampler {
        // No code panics while it holds the lock.
        let mut all = SAMPLERS.lock().unwrap_or_else(PoisonError::into_inner);
        NEXT.fetch_max(sampler.saturating_add(1), Ordering::Relaxed);
        all.retain(|_, s| s.strong_count() > 0);
        let counts = all.get(&sampler).and_then(Weak::upgrade).unwrap_or_default();
        all.insert(sampler, Arc::downgrade(&counts));
        UnigramSampler { samples, unique, range, sampler, counts }
    }

    fn parse(a: &Attrs) -> Result<Arc<dyn Op>, String> {
        Ok(Arc::new(UnigramSampler::numbered(a.int("samples")?, a.bool("unique")?, a.int("range")?, a.int("sampler")?)))
    }
}

/// The class into whose share of the sum of counts a number falls.
fn class_of(sums: &[u64], x: u32) -> i64 {
    sums.partition_point(|&s| s <= u64::from(x)) as i64
}

impl Op for UnigramSampler {
    fn name(&self) -> &'static str {
        "unigram_sampler"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("samples", Attr::Int(self.samples))
            .with("unique", Attr::Bool(self.unique))
            .with("range", Attr::Int(self.range))
            .with("sampler", Attr::Int(self.sampler))
    }
    fn effect(&self) -> Effect {
        Effect::Effect
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [classes, key, counter] = typed("unigram_sampler", given, [&[DType::I64], ANY, ANY])?;
        check_key("unigram_sampler", key, counter)?;
        let types = sampled_types("unigram_sampler", classes, self.samples)?;
        let fits = (1..=MAX_RANGE).contains(&self.range) && (!self.unique || self.samples <= self.range);
        require("unigram_sampler", "C4", fits, || format!("{} samples of {} classes", self.samples, self.range))?;
        Ok(types)
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let rng = generator("unigram_sampler", x[1], x[2])?;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.resize(self.range as usize, 1);
        let classes = ints(x[0]);
        check_classes("unigram_sampler", x[0], self.range)?;
        let mut total = 0u64;
        let sums: Vec<u64> = counts
            .iter()
            .map(|&c| {
                total += u64::from(c);
                total
            })
            .collect();
        let limit = u32::try_from(total).map_err(|_| OpError::new("unigram_sampler", "E2", "too many classes"))?;
        let pick = |w: &mut super::philox::Words| class_of(&sums, below_u32(w, limit));
        let (drawn, tries) = draw(rng, self.samples, self.unique, pick)?;
        let n = drawn.len();
        let p = |c: i64| counts[c as usize] as f32 / total as f32;
        let results = result("unigram_sampler", x[0], drawn, &|c| expected_count(p(c), n, tries))?;
        // Counts stop where their sum would leave 31 bits.
        let room = (i64::from(i32::MAX) - total as i64).max(0) as usize;
        for c in classes.into_iter().take(room) {
            counts[c as usize] += 1;
        }
        Ok(results)
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None; 3]
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
pub const DEF: OpDef = OpDef { name: "unigram_sampler", parse: UnigramSampler::parse, tf: &[] };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_classes_are_drawn_more_often() {
        let op = UnigramSampler::new(400, false, 4);
        let classes = Tensor::of(&[1, 96], &[2i64; 96]);
        let run = |counter: u64| {
            let (key, counter) = (Tensor::of(&[1], &[7u64]), Tensor::of(&[2], &[counter, 0]));
            op.eval(&[&classes, &key, &counter]).unwrap()
        };
        assert_eq!(run(0)[1].to_f64s().unwrap()[0], 100.0);
        let again = run(1000);
        assert_eq!(again[1].to_f64s().unwrap()[0], f64::from(97f32 / 100f32 * 400f32));
        assert!(again[0].to_i64s().unwrap().iter().filter(|&&c| c == 2).count() > 350);
    }
}
