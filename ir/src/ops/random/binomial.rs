//! `random_binomial`: the number of successes among so many tries, by inversion where few are expected and else by
//! Hörmann's transformed rejection (1993, "The generation of binomial random variates"), as TensorFlow draws it.
//!
//! Constraints: C1 operands counts, probabilities, key, counter; C2 one type, key and counter; C3 counts and
//! probabilities are vectors of one length; C4 the result's type and shape.

use super::gamma::Draw;
use super::{check_key, generator};
use crate::graph::TensorType;
use crate::ops::host::{ANY, extents, host_op, int_tensor, real_tensor, require, typed};
use crate::{DType, Dim};

const NAME: &str = "random_binomial";
const NUMBERS: &[DType] = &[DType::F16, DType::F32, DType::F64, DType::I32, DType::I64];

host_op! {
    /// `random_binomial counts, probabilities, key, counter`: samples whose parameters lie along the last axes.
    Binomial = "random_binomial" {
        /// The result's shape.
        shape: Vec<Dim>,
        /// The result's type.
        dtype: DType,
    }
    infer |op, given| {
        let [counts, probs, key, counter] = typed(NAME, given, [NUMBERS, NUMBERS, ANY, ANY])?;
        check_key(NAME, key, counter)?;
        let alike = counts.dtype == probs.dtype && counts.rank() == 1 && probs.rank() == 1;
        require(NAME, "C3", alike, || format!("{counts} and {probs} are no vectors of one type"))?;
        require(NAME, "C4", NUMBERS.contains(&op.dtype), || format!("samples of {}", op.dtype))?;
        crate::ops::shape::check_sizes(NAME, "C4", &op.shape)?;
        Ok(vec![TensorType::new(op.dtype, op.shape.clone())])
    },
    eval |op, x| {
        let shape = extents(NAME, &op.shape)?;
        let rng = generator(NAME, x[2], x[3])?;
        let (counts, probs) = (super::gamma::numbers(x[0]), super::gamma::numbers(x[1]));
        let (n, batches) = (shape.iter().product::<usize>(), counts.len());
        let fits = probs.len() == batches && (batches == 0 || n % batches == 0);
        require(NAME, "C3", fits, || format!("{batches} counts, {} probabilities, {n} samples", probs.len()))?;
        let samples = n / batches.max(1);
        // Products decide between two samplers in the parameters' own type.
        let round = |v: f64| match x[0].dtype() {
            DType::F32 => f64::from(v as f32),
            DType::F16 => half::f16::from_f64(v).to_f64(),
            _ => v,
        };
        let mut out = vec![0.0; n];
        for (batch, (&count, &prob)) in counts.iter().zip(&probs).enumerate() {
            for sample in 0..samples {
                let number = (batch * samples + sample) as u128;
                let draw = |p: f64| {
                    if round(count * p) >= 10.0 {
                        rejection(count, p, &mut Draw::new(rng.skipped(256 * number)))
                    } else {
                        inversion(count, p, &mut Draw::new(rng.skipped(42 * number)))
                    }
                };
                out[sample * batches + batch] = if count <= 0.0 || prob <= 0.0 {
                    0.0
                } else if prob >= 1.0 {
                    count
                } else if prob <= 0.5 {
                    draw(prob)
                } else if prob > 0.5 {
                    count - draw(round(1.0 - prob))
                } else {
                    f64::NAN
                };
            }
        }
        Ok(vec![if op.dtype.is_float() {
            real_tensor(NAME, op.dtype, &shape, out)?
        } else {
            int_tensor(NAME, op.dtype, &shape, &out.iter().map(|&v| v as i64).collect::<Vec<_>>())?
        }])
    },
}

/// How many waiting times, each geometric, fit into the tries.
fn inversion(count: f64, prob: f64, from: &mut Draw) -> f64 {
    let (mut tries, mut successes) = (0.0, 0.0);
    loop {
        tries += (from.uniform().ln() / (-prob).ln_1p()).ceil();
        if tries.is_nan() || tries > count {
            return successes;
        }
        successes += 1.0;
    }
}

/// What Stirling's formula leaves of log k!.
fn stirling_rest(k: f64) -> f64 {
    const SMALL: [f64; 10] = [
        0.0810614667953272,
        0.0413406959554092,
        0.0276779256849983,
        0.02079067210376509,
        0.0166446911898211,
        0.0138761288230707,
        0.0118967099458917,
        0.0104112652619720,
        0.00925546218271273,
        0.00833056343336287,
    ];
    if k <= 9.0 {
        return SMALL[k.max(0.0) as usize];
    }
    let square = (k + 1.0) * (k + 1.0);
    (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / square) / square) / (k + 1.0)
}

fn rejection(count: f64, prob: f64, from: &mut Draw) -> f64 {
    let dev = (count * prob * (1.0 - prob)).sqrt();
    let b = 1.15 + 2.53 * dev;
    let a = -0.0873 + 0.0248 * b + 0.01 * prob;
    let c = count * prob + 0.5;
    let tight = 0.92 - 4.2 / b;
    let odds = prob / (1.0 - prob);
    let alpha = (2.83 + 5.1 / b) * dev;
    let mode = ((count + 1.0) * prob).floor();
    loop {
        let (u, v) = (from.uniform() - 0.5, from.uniform());
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + c).floor();
        if us >= 0.07 && v <= tight {
            return k;
        }
        if !(0.0..=count).contains(&k) {
            continue;
        }
        let v = (v * alpha / (a / (us * us) + b)).ln();
        let limit = (mode + 0.5) * ((mode + 1.0) / (odds * (count - mode + 1.0))).ln()
            + (count + 1.0) * ((count - mode + 1.0) / (count - k + 1.0)).ln()
            + (k + 0.5) * (odds * (count - k + 1.0) / (k + 1.0)).ln()
            + stirling_rest(mode)
            + stirling_rest(count - mode)
            - stirling_rest(k)
            - stirling_rest(count - k);
        if v <= limit {
            return k;
        }
    }
}
