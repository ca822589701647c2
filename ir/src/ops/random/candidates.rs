//! `candidate_sampler`: classes drawn from a range, with the numbers of times that they and the true classes are
//! expected among those drawn (TensorFlow's `range_sampler.cc`).
//!
//! Constraints: C1 operands true classes, key, counter; C2 the classes are i64, key and counter; C3 the classes are a
//! matrix; C4 the number of samples is not negative and, where they are unique, not above the range; a table of weights
//! has one for each class.
//! Evaluation: E1 a true class is outside the range, or fewer classes than are wanted have a weight.

use std::collections::HashSet;

use super::philox::{Philox, Words, unit_f32};
use super::{check_key, generator};
use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{ANY, host_op, ints, require, typed};
use crate::tensor::Tensor;
use crate::{DType, Dim};

host_op! {
    /// `candidate_sampler true_classes, key, counter`: sampled classes, then the expected counts of the true classes and
    /// of the sampled ones.
    CandidateSampler = "candidate_sampler" {
        /// `uniform`, `log_uniform` (rare towards the end of the range), `all` or `weights`.
        distribution: String,
        /// How many classes are drawn.
        samples: i64,
        /// Whether no class is drawn twice.
        unique: bool,
        /// The number of classes.
        range: i64,
        /// Each class's weight, for `weights`; otherwise empty.
        weights: Tensor,
    }
    infer |op, given| {
        let name = "candidate_sampler";
        let [classes, key, counter] = typed(name, given, [&[DType::I64], ANY, ANY])?;
        check_key(name, key, counter)?;
        let types = sampled_types(name, classes, op.samples)?;
        let weighted = op.distribution == "weights";
        let known = weighted || matches!(op.distribution.as_str(), "uniform" | "log_uniform" | "all");
        require(name, "C4", known, || format!("there is no distribution `{}`", op.distribution))?;
        let fits = op.range > 0 && (!op.unique || op.samples <= op.range);
        require(name, "C4", fits, || format!("{} samples of {} classes", op.samples, op.range))?;
        let weights = op.weights.as_slice::<f32>().map(<[f32]>::len);
        let fits = !weighted || weights == usize::try_from(op.range).ok();
        require(name, "C4", fits, || format!("{} classes with weights {:?}", op.range, op.weights))?;
        Ok(types)
    },
    eval |op, x| {
        let rng = generator("candidate_sampler", x[1], x[2])?;
        check_classes("candidate_sampler", x[0], op.range)?;
        let range = op.range as u64;
        let (drawn, expected) = match op.distribution.as_str() {
            "all" => {
                let drawn = (0..op.samples).collect();
                return result("candidate_sampler", x[0], drawn, &|_| 1.0);
            }
            "uniform" => {
                let p = (1.0 / range as f64) as f32;
                let drawn = draw(rng, op.samples, op.unique, |w| below_u64(w, range) as i64)?;
                (drawn, Box::new(move |_| p) as Box<dyn Fn(i64) -> f32>)
            }
            "log_uniform" => {
                let width = (range as f64).ln_1p();
                let drawn = draw(rng, op.samples, op.unique, |w| ((w.unit() * width).exp() as i64 - 1) % op.range)?;
                let p = move |c: i64| (((c as f64 + 2.0) / (c as f64 + 1.0)).ln() / width) as f32;
                (drawn, Box::new(p) as Box<dyn Fn(i64) -> f32>)
            }
            _ => {
                let weights = op.weights.as_slice::<f32>().unwrap_or(&[]);
                let table = Alias::new(weights);
                let drawn = draw(rng, op.samples, op.unique, |w| table.pick(w))?;
                let total: f32 = weights.iter().sum();
                let p = move |c: i64| usize::try_from(c).ok().and_then(|c| weights.get(c)).map_or(0.0, |w| w / total);
                (drawn, Box::new(p) as Box<dyn Fn(i64) -> f32>)
            }
        };
        let (drawn, tries) = drawn;
        let count = drawn.len();
        result("candidate_sampler", x[0], drawn, &|c| expected_count(expected(c), count, tries))
    },
}

/// The types of a sampler's results.
pub(super) fn sampled_types(op: &'static str, classes: &TensorType, samples: i64) -> Result<Vec<TensorType>, OpError> {
    require(op, "C3", classes.rank() == 2, || format!("the true classes are {classes}, no matrix"))?;
    require(op, "C4", samples >= 0, || format!("{samples} samples"))?;
    let drawn = |dtype| TensorType::new(dtype, vec![Dim::from(samples)]);
    Ok(vec![drawn(DType::I64), TensorType::new(DType::F32, classes.shape.clone()), drawn(DType::F32)])
}

/// Refuses true classes that are none.
pub(super) fn check_classes(op: &'static str, classes: &Tensor, range: i64) -> Result<(), OpError> {
    let outside = ints(classes).into_iter().find(|c| !(0..range).contains(c));
    require(op, "E1", outside.is_none(), || format!("true class {} is not in [0, {range})", outside.unwrap_or(0)))
}

/// The three results of a sampler, by a class's expected count.
pub(super) fn result(
    op: &'static str,
    classes: &Tensor,
    drawn: Vec<i64>,
    expected: &dyn Fn(i64) -> f32,
) -> Result<Vec<Tensor>, OpError> {
    let counts = |of: &[i64], shape: &[usize]| {
        let v: Vec<f32> = of.iter().map(|&c| expected(c)).collect();
        require(op, "E2", v.len() == shape.iter().product::<usize>(), || format!("{shape:?}"))?;
        Ok::<_, OpError>(Tensor::of(shape, &v))
    };
    let n = [drawn.len()];
    let (of_true, of_drawn) = (counts(&ints(classes), classes.shape())?, counts(&drawn, &n)?);
    Ok(vec![Tensor::of(&n, &drawn), of_true, of_drawn])
}

/// How often a class is expected among `count` drawn ones in `tries` tries, which is close to the truth only.
pub(super) fn expected_count(p: f32, count: usize, tries: usize) -> f32 {
    if tries == count { p * count as f32 } else { -(f64::from(tries as f32) * f64::from((-p).ln_1p())).exp_m1() as f32 }
}

/// The classes drawn, and how many tries it took.
pub(super) fn draw(
    rng: Philox,
    samples: i64,
    unique: bool,
    mut pick: impl FnMut(&mut Words) -> i64,
) -> Result<(Vec<i64>, usize), OpError> {
    let (mut words, mut seen, mut drawn, mut tries) = (Words::new(rng), HashSet::new(), vec![], 0usize);
    while (drawn.len() as i64) < samples {
        tries += 1;
        // Weights of zero can leave fewer classes than are asked for.
        require("candidate_sampler", "E1", tries < i32::MAX as usize, || {
            format!("{} distinct classes were found, {samples} are wanted", drawn.len())
        })?;
        let class = pick(&mut words);
        if !unique || seen.insert(class) {
            drawn.push(class);
        }
    }
    Ok((drawn, tries))
}

/// A number below `n` of one word, each equally likely: words that would favour small numbers are drawn again.
pub(super) fn below_u32(words: &mut Words, n: u32) -> u32 {
    if n.is_power_of_two() {
        return words.word() & (n - 1);
    }
    let unfair = u32::MAX % n.max(1) + 1;
    loop {
        let x = words.word();
        if x >= unfair {
            return x % n.max(1);
        }
    }
}

/// As [`below_u32`], of two words.
fn below_u64(words: &mut Words, n: u64) -> u64 {
    let mut next = || u64::from(words.word()) | u64::from(words.word()) << 32;
    if n.is_power_of_two() {
        return next() & (n - 1);
    }
    let unfair = u64::MAX % n.max(1) + 1;
    loop {
        let x = next();
        if x >= unfair {
            return x % n.max(1);
        }
    }
}

/// A table that draws from weights in constant time (Walker's method of aliases): each place holds a class with a
/// probability, and another one.
struct Alias {
    places: Vec<(f32, i64)>,
}

impl Alias {
    fn new(weights: &[f32]) -> Alias {
        let n = weights.len();
        let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        // TensorFlow multiplies the weight by the number of classes as floats.
        let mut share: Vec<f64> = weights.iter().map(|&w| f64::from(w * n as f32) / sum).collect();
        let mut other = vec![-1i64; n];
        let (mut low, mut high): (Vec<usize>, Vec<usize>) = (0..n).partition(|&i| share[i] < 1.0);
        while let (Some(&l), Some(&h)) = (low.last(), high.last()) {
            low.pop();
            high.pop();
            other[l] = h as i64;
            share[h] -= 1.0 - share[l];
            if share[h] < 1.0 { low.push(h) } else { high.push(h) }
        }
        // What is left has a share of 1, but for rounding.
        for i in low.into_iter().chain(high) {
            share[i] = 1.0;
            other[i] = i as i64;
        }
        Alias { places: share.into_iter().zip(other).map(|(p, other)| (p as f32, other)).collect() }
    }

    fn pick(&self, words: &mut Words) -> i64 {
        let r = unit_f32(words.word());
        let at = below_u32(words, self.places.len() as u32) as usize;
        let (p, other) = self.places[at];
        if r < p { at as i64 } else { other }
    }
}

host_op! {
    /// `accidental_hits true_classes, sampled`: where a sampled class is a true one: the row of the true class, the place
    /// among the samples, and the lowest f32, which keeps the sample out of a softmax.
    AccidentalHits = "accidental_hits" {
        /// How many there are.
        hits: Dim,
    }
    infer |op, given| {
        let [classes, sampled] = typed("accidental_hits", given, [&[DType::I64], &[DType::I64]])?;
        let fits = classes.rank() == 2 && sampled.rank() == 1;
        require("accidental_hits", "C3", fits, || format!("{classes} and {sampled} are no matrix and vector"))?;
        Ok([DType::I32, DType::I64, DType::F32].map(|t| TensorType::new(t, vec![op.hits.clone()])).to_vec())
    },
    eval |_, x| {
        let columns = x[0].shape()[1].max(1);
        // Of samples that occur again the last place counts.
        let places: std::collections::HashMap<i64, i64> = ints(x[1]).into_iter().zip(0..).collect();
        let hit = |(i, class): (usize, i64)| places.get(&class).map(|&at| ((i / columns) as i32, at));
        let (rows, at): (Vec<i32>, Vec<i64>) = ints(x[0]).into_iter().enumerate().filter_map(hit).unzip();
        let n = [rows.len()];
        Ok(vec![Tensor::of(&n, &rows), Tensor::of(&n, &at), Tensor::of(&n, &vec![f32::MIN; rows.len()])])
    },
}
