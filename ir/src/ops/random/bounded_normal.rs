//! `random_bounded_normal`: normal samples between bounds, by rejection (Robert, 1995, "Simulation of truncated normal
//! variables"), as TensorFlow's CPU kernels for ParameterizedTruncatedNormal draw them in one thread.
//!
//! Constraints: C1 operands mean, deviation, lower bound, upper bound, key, counter; C2 one floating type, key and
//! counter; C3 the parameters are scalars or vectors.
//! Evaluation: E1 the deviation is not positive, no number lies between the bounds, or both are infinite; E3 parameters
//! that do not fit the number of batches.

use super::philox::{Philox, normal_f32, normal_f64, unit_bf16, unit_f16, unit_f32, unit_f64};
use super::{check_key, generator};
use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{ANY, extents, host_op, real_tensor, reals, require, typed};
use crate::{DType, Dim};

const NAME: &str = "random_bounded_normal";

/// Tries until a sampler gives up.
const MAX_TRIES: usize = 1000;

/// The size of batches whose parameters are all the same.
const EVEN_BATCH: usize = 100;

host_op! {
    /// `random_bounded_normal mean, deviation, low, high, key, counter`: samples in batches, each with parameters of its
    /// own, or all with the same.
    BoundedNormal = "random_bounded_normal" {
        /// The result's shape.
        shape: Vec<Dim>,
        /// The number of batches is the product of the last axes, so many of them; otherwise the extent of the first
        /// axis, and batches that share all parameters have 100 samples.
        last_axes: i64,
        /// Whether batches lie along the last axes.
        batch_last: bool,
    }
    infer |op, given| {
        let [mean, dev, low, high, key, counter] = typed(NAME, given, [ANY; 6])?;
        check_key(NAME, key, counter)?;
        for p in [mean, dev, low, high] {
            require(NAME, "C2", p.dtype == mean.dtype && p.dtype.is_float(), || format!("a parameter is {p}"))?;
            require(NAME, "C3", p.rank() <= 1, || format!("a parameter is {p}, no scalar or vector"))?;
        }
        let fits = op.batch_last || !op.shape.is_empty();
        require(NAME, "C3", fits, || "the shape has no axis".into())?;
        crate::ops::shape::check_sizes(NAME, "C3", &op.shape)?;
        Ok(vec![TensorType::new(mean.dtype, op.shape.clone())])
    },
    eval |op, x| {
        let shape = extents(NAME, &op.shape)?;
        let mut rng = generator(NAME, x[4], x[5])?;
        let n: usize = shape.iter().product();
        let scalar = |i: usize| x[i].shape().is_empty();
        let one = |i: usize| x[i].len() == 1;
        let batches: usize = if op.batch_last {
            shape[shape.len().saturating_sub(op.last_axes.max(0) as usize)..].iter().product()
        } else if one(0) && one(1) && scalar(2) && scalar(3) {
            n.div_ceil(EVEN_BATCH)
        } else {
            shape[0]
        };
        let each = match batches {
            0 => 0,
            _ if op.batch_last || batches == shape[0] => n / batches,
            _ => EVEN_BATCH,
        };
        let even = !op.batch_last && one(0) && one(1) && scalar(2) && scalar(3);
        let each = if even { EVEN_BATCH } else { each };
        let parameters: Vec<Vec<f64>> = x[..4].iter().map(|t| reals(t)).collect();
        let fits = parameters.iter().all(|p| p.len() == 1 || p.len() == batches);
        require(NAME, "E3", fits || n == 0, || format!("parameters of other lengths than 1 and {batches}"))?;
        let mut out = vec![0.0; n];
        let mut draw = Draw { rng: &mut rng, dtype: x[0].dtype() };
        for batch in 0..if n == 0 { 0 } else { batches } {
            let of = |i: usize| parameters[i][if parameters[i].len() == 1 { 0 } else { batch }];
            let size = if op.batch_last { each } else { each.min(n - batch * each) };
            let samples = draw.batch(size, [of(0), of(1), of(2), of(3)])?;
            for (i, v) in samples.into_iter().enumerate() {
                out[if op.batch_last { i * batches + batch } else { batch * each + i }] = v;
            }
        }
        Ok(vec![real_tensor(NAME, x[0].dtype(), &shape, out)?])
    },
}

/// A generator of the samples of a type; computations are rounded to the type operation by operation.
struct Draw<'a> {
    rng: &'a mut Philox,
    dtype: DType,
}

impl Draw<'_> {
    fn round(&self, x: f64) -> f64 {
        match self.dtype {
            DType::F64 => x,
            DType::F16 => half::f16::from_f32(x as f32).to_f64(),
            DType::BF16 => half::bf16::from_f32(x as f32).to_f64(),
            _ => f64::from(x as f32),
        }
    }

    fn uniform(&mut self) -> Vec<f64> {
        let w = self.rng.step();
        match self.dtype {
            DType::F64 => vec![unit_f64(w[0], w[1]), unit_f64(w[2], w[3])],
            DType::F16 => w.map(|x| unit_f16(x).to_f64()).to_vec(),
            DType::BF16 => w.map(|x| unit_bf16(x).to_f64()).to_vec(),
            _ => w.map(|x| f64::from(unit_f32(x))).to_vec(),
        }
    }

    fn normal(&mut self) -> Vec<f64> {
        let w = self.rng.step();
        if self.dtype == DType::F64 {
            return normal_f64(w).to_vec();
        }
        [normal_f32(w[0], w[1]), normal_f32(w[2], w[3])].concat().into_iter().map(|x| self.round(x.into())).collect()
    }

    /// `n` samples for mean, deviation and bounds.
    fn batch(&mut self, n: usize, [mean, mut dev, mut low, mut high]: [f64; 4]) -> Result<Vec<f64>, OpError> {
        let valid = dev > 0.0 && low < high && (low.is_finite() || high.is_finite());
        require(NAME, "E1", valid, || format!("deviation {dev}, bounds {low} and {high}"))?;
        // An only bound is made the lower one; bounds on one side of the mean are made positive.
        if low == f64::NEG_INFINITY || high < mean {
            (low, high, dev) = (high, low, -dev);
        }
        let dtype = self.dtype;
        let this = Draw { rng: &mut self.rng.clone(), dtype };
        let r = |x: f64| this.round(x);
        let (low, high) = (r(r(low - mean) / dev), r(r(high - mean) / dev));
        let root = r(r(r(low * low) + 4.0).sqrt());
        let exponent = r(0.5 + r(r(low * r(low - root)) / 4.0));
        let cutoff = r(r(2.0 * r(exponent.exp())) / r(low + root));
        let width = r(high - low);
        let most = r(1.3);
        let mut out = Vec::with_capacity(n);
        let mut tries = 0;
        let mut accept = |out: &mut Vec<f64>, z: f64, yes: bool| {
            tries = if yes { 0 } else { tries + 1 };
            if yes {
                out.push(r(r(z * dev) + mean));
            }
            require(NAME, "E1", tries < MAX_TRIES, || "no sample between the bounds was found".into())
        };
        if (low < -most && high >= 0.0) || (high > most && low <= 0.0) {
            // Most of the distribution is inside.
            while out.len() < n {
                for z in self.normal() {
                    if out.len() < n {
                        accept(&mut out, z, z >= low && z <= high)?;
                    }
                }
            }
        } else if width < cutoff {
            // Uniform proposals.
            let plus = if low < 0.0 { 0.0 } else { r(low * low) };
            while out.len() < n {
                let z: Vec<f64> = self.uniform().into_iter().map(|u| r(r(u * width) + low)).collect();
                for (z, u) in z.into_iter().zip(self.uniform()) {
                    if out.len() < n {
                        let g = r(r(plus - r(z * z)) / 2.0);
                        accept(&mut out, z, u <= r(g.exp()))?;
                    }
                }
            }
        } else {
            // Exponential proposals from the lower bound on.
            let alpha = r(r(low + root) / 2.0);
            while out.len() < n {
                for pair in self.uniform().chunks(2) {
                    if out.len() < n {
                        let z = r(r(-r(pair[0].ln()) / alpha) + low);
                        let x = if low < alpha { r(alpha - z) } else { r(low - alpha) };
                        let g = r(r(r(-x * x) / 2.0).exp());
                        accept(&mut out, z, pair[1] <= g && z < high)?;
                    }
                }
            }
        }
        Ok(out)
    }
}
