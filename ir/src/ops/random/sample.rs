//! `random_sample`: tensors of independent samples.
//!
//! Constraints: C1 operands key, counter, for bounded integers also low and high; C2 their types; C4 the distribution
//! has samples of the element type.
//! Evaluation: E1 low is not below high.
//!
//! A group of samples is what one step of the generator gives: four, or two of 64 bits. Truncated normals, which reject
//! samples, start each group at a place of its own, so that results do not depend on how work is divided.

use half::{bf16, f16};

use super::philox::{Philox, Words, normal_f32, normal_f64, unit_bf16, unit_f16, unit_f32, unit_f64};
use super::{check_key, generator};
use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{extents, host_op, int_tensor, ints, require};
use crate::tensor::Tensor;
use crate::{DType, Dim};

host_op! {
    /// `random_sample key, counter`: samples of a distribution.
    RandomSample = "random_sample" {
        /// `uniform`, `normal`, `truncated_normal`, `bits` (all integers of the type) or `int` (from low up to but not
        /// including high, which are operands).
        distribution: String,
        /// The samples' type.
        dtype: DType,
        /// The result's shape.
        shape: Vec<Dim>,
    }
    infer |op, given| {
        let bounded = op.distribution == "int";
        let count = if bounded { 4 } else { 2 };
        require("random_sample", "C1", given.len() == count, || format!("takes {count} operands, not {}", given.len()))?;
        check_key("random_sample", given[0], given[1])?;
        for bound in &given[2..] {
            let fits = bound.dtype == op.dtype && bound.rank() == 0;
            require("random_sample", "C2", fits, || format!("the bound is {bound}, no scalar of {}", op.dtype))?;
        }
        let fits = match op.distribution.as_str() {
            "uniform" | "normal" | "truncated_normal" => op.dtype.is_float(),
            "int" => matches!(op.dtype, DType::I32 | DType::I64 | DType::U32 | DType::U64),
            "bits" => matches!(op.dtype, DType::I32 | DType::I64 | DType::U32 | DType::U64),
            _ => false,
        };
        require("random_sample", "C4", fits, || format!("`{}` has no samples of {}", op.distribution, op.dtype))?;
        crate::ops::shape::check_sizes("random_sample", "C4", &op.shape)?;
        Ok(vec![TensorType::new(op.dtype, op.shape.clone())])
    },
    eval |op, x| {
        let shape = extents("random_sample", &op.shape)?;
        let (rng, n) = (generator("random_sample", x[0], x[1])?, shape.iter().product());
        let t = match op.distribution.as_str() {
            "uniform" => uniform(rng, op.dtype, &shape, n),
            "normal" => normal(rng, op.dtype, &shape, n),
            "truncated_normal" => truncated_normal(rng, op.dtype, &shape, n),
            "int" => bounded(rng, op.dtype, &shape, n, ints(x[2])[0], ints(x[3])[0])?,
            _ => int_tensor("random_sample", op.dtype, &shape, &bits(rng, op.dtype, n))?,
        };
        Ok(vec![t])
    },
}

/// `n` samples, of which each step of the generator gives `G`.
fn groups<T: Copy, const G: usize>(mut rng: Philox, n: usize, of: impl Fn([u32; 4]) -> [T; G]) -> Vec<T> {
    let mut out = Vec::with_capacity(n + G);
    while out.len() < n {
        out.extend_from_slice(&of(rng.step()));
    }
    out.truncate(n);
    out
}

fn uniform(rng: Philox, dtype: DType, shape: &[usize], n: usize) -> Tensor {
    match dtype {
        DType::F64 => Tensor::of(shape, &groups(rng, n, |w| [unit_f64(w[0], w[1]), unit_f64(w[2], w[3])])),
        DType::F16 => Tensor::of(shape, &groups(rng, n, |w| w.map(unit_f16))),
        DType::BF16 => Tensor::of(shape, &groups(rng, n, |w| w.map(unit_bf16))),
        _ => Tensor::of(shape, &groups(rng, n, |w| w.map(unit_f32))),
    }
}

fn normal(rng: Philox, dtype: DType, shape: &[usize], n: usize) -> Tensor {
    if dtype == DType::F64 {
        return Tensor::of(shape, &groups(rng, n, normal_f64));
    }
    let v = groups(rng, n, |w| {
        let ([a, b], [c, d]) = (normal_f32(w[0], w[1]), normal_f32(w[2], w[3]));
        [a, b, c, d]
    });
    narrow(dtype, shape, &v)
}

fn narrow(dtype: DType, shape: &[usize], v: &[f32]) -> Tensor {
    match dtype {
        DType::F16 => Tensor::of(shape, &v.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>()),
        DType::BF16 => Tensor::of(shape, &v.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>()),
        _ => Tensor::of(shape, v),
    }
}

/// Normal samples of magnitude below 2. TensorFlow sets 256 words aside for each sample.
fn truncated_normal(rng: Philox, dtype: DType, shape: &[usize], n: usize) -> Tensor {
    if dtype == DType::F64 {
        return Tensor::of(shape, &accepted(rng, n, 2, |w| normal_f64([w.word(), w.word(), w.word(), w.word()])));
    }
    narrow(dtype, shape, &accepted(rng, n, 4, |w| normal_f32(w.word(), w.word())))
}

fn accepted<T: Copy + Into<f64>>(
    rng: Philox,
    n: usize,
    group: usize,
    mut pair: impl FnMut(&mut Words) -> [T; 2],
) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(n + group);
    while out.len() < n {
        let start = out.len();
        let mut words = Words::new(rng.skipped((start / group * group * 256 / 4) as u128));
        while out.len() < start + group {
            let drawn = pair(&mut words);
            let kept = drawn.into_iter().filter(|&x| x.into().abs() < 2.0);
            out.extend(kept.take(start + group - out.len()));
        }
    }
    out.truncate(n);
    out
}

/// Integers of all bits, as the same bits of i64.
fn bits(rng: Philox, dtype: DType, n: usize) -> Vec<i64> {
    if dtype.size() == 8 {
        return groups(rng, n, |w| [pair(w[0], w[1]) as i64, pair(w[2], w[3]) as i64]);
    }
    groups(rng, n, |w| w.map(i64::from))
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn bounded(rng: Philox, dtype: DType, shape: &[usize], n: usize, low: i64, high: i64) -> Result<Tensor, OpError> {
    let ordered = if dtype == DType::U64 { (low as u64) < high as u64 } else { low < high };
    require("random_sample", "E1", ordered || n == 0, || format!("the range from {low} to {high} is empty"))?;
    // The widths of ranges fit the unsigned type of the same width.
    let range = (high.wrapping_sub(low) as u64).max(1);
    let v = bits(rng, dtype, n).into_iter().map(|b| low.wrapping_add((b as u64 % range) as i64)).collect::<Vec<_>>();
    int_tensor("random_sample", dtype, shape, &v)
}
