//! XlaRngBitGenerator: the bits of Philox4x32-10 and of ThreeFry2x32-20 (Salmon et al., 2011) in XLA's order.

use anyhow::{Context, Result, bail};

use crate::graph::{TensorType, Value};
use crate::op::OpError;
use crate::ops::host::{extents, host_op, int_tensor, ints, require, tf_ops, typed};
use crate::ops::random::philox::{Philox, Words};
use crate::ops::shape::{advance, strides};
use crate::tf::{TfBinding, TfCx};
use crate::{DType, Dim};

/// TensorFlow's numbers of the algorithms (`rng_alg.h`); 3 leaves the choice, which is Philox on a CPU.
const PHILOX: i64 = 1;
const THREE_FRY: i64 = 2;
const AUTO: i64 = 3;

/// Two words of a counter under a key: five times four rounds, the key added after each four.
fn three_fry(key: u64, counter: u64) -> [u32; 2] {
    const TURNS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let key = [key as u32, (key >> 32) as u32];
    let keys = [key[0], key[1], key[0] ^ key[1] ^ 0x1BD1_1BDA];
    let mut x = [(counter as u32).wrapping_add(keys[0]), ((counter >> 32) as u32).wrapping_add(keys[1])];
    for group in 0..5 {
        for turn in TURNS[group % 2] {
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(turn) ^ x[0];
        }
        x[0] = x[0].wrapping_add(keys[(group + 1) % 3]);
        x[1] = x[1].wrapping_add(keys[(group + 2) % 3]).wrapping_add(group as u32 + 1);
    }
    x
}

/// The axis whose halves ThreeFry's two words fill: the first of even size, else the first of the longest.
fn halved_axis(shape: &[usize]) -> Option<usize> {
    let longest = (0..shape.len()).rev().max_by_key(|&i| shape[i]);
    shape.iter().position(|n| n % 2 == 0).or(longest)
}

/// ThreeFry's words in row-major order, and how many counters they take.
fn three_fry_words(key: u64, first: u64, shape: &[usize]) -> (Vec<u32>, u64) {
    let Some(axis) = halved_axis(shape) else { return (vec![three_fry(key, first)[0]], 1) };
    let mut half = shape.to_vec();
    half[axis] = shape[axis].div_ceil(2);
    let stride = strides(&half);
    let (counters, count) = (half.iter().product::<usize>() as u64, shape.iter().product::<usize>());
    let (mut words, mut index) = (Vec::with_capacity(count), vec![0usize; shape.len()]);
    // Along the axis, two neighbours are the words of one counter.
    while words.len() < count {
        let at = |i: usize| if i == axis { index[i] / 2 } else { index[i] };
        let place: usize = (0..shape.len()).map(|i| at(i) * stride[i]).sum();
        words.push(three_fry(key, first.wrapping_add(place as u64))[index[axis] % 2]);
        advance(&mut index, |i| shape[i]);
    }
    (words, counters)
}

host_op! {
    /// `rng_bits state`: the state behind the bits, and random bits. A state is a key and a counter, u64 each, with the
    /// upper half of a 128-bit counter behind it for Philox, which is the key where the state lacks it. Types narrower than a word hold its lowest bits.
    RngBits = "rng_bits" {
        /// 1 for Philox, 2 for ThreeFry.
        algorithm: i64,
        /// The type of the bits: an integer type of 8, 32 or 64 bits.
        dtype: DType,
        /// Their shape.
        shape: Vec<Dim>,
    }
    infer |op, given| {
        let [state] = typed("rng_bits", given, [&[DType::U64]])?;
        let longest = if op.algorithm == PHILOX { 3 } else { 2 };
        let length = state.shape.first().and_then(Dim::as_const);
        require("rng_bits", "C3", state.rank() == 1 && length.is_some_and(|n| n == 2 || n == longest), || {
            format!("the state is {state}, not a vector of 2 or {longest}")
        })?;
        let known = op.algorithm == PHILOX || op.algorithm == THREE_FRY;
        require("rng_bits", "C4", known, || format!("algorithm {} is neither Philox nor ThreeFry", op.algorithm))?;
        let takes = op.dtype.is_int() && op.dtype.size() != 2;
        require("rng_bits", "C4", takes, || format!("bits of {} are not defined", op.dtype))?;
        Ok(vec![state.clone(), TensorType::new(op.dtype, op.shape.clone())])
    },
    eval |op, x| {
        let shape = extents("rng_bits", &op.shape)?;
        let (n, wide) = (shape.iter().product::<usize>(), op.dtype.size() == 8);
        let state: Vec<u64> = ints(x[0]).into_iter().map(|v| v as u64).collect();
        let (&[key, low], rest) = state.split_first_chunk::<2>().ok_or_else(|| {
            OpError::new("rng_bits", "C3", "the state is too short")
        })?;
        let (bits, next): (Vec<i64>, Vec<u64>) = if op.algorithm == PHILOX {
            let from = Philox::new(key, low, rest.first().copied().unwrap_or(key));
            let mut words = Words::new(from);
            let mut value = || match wide {
                true => { let low = u64::from(words.word()); (low | u64::from(words.word()) << 32) as i64 }
                false => i64::from(words.word()),
            };
            let bits = (0..n).map(|_| value()).collect();
            let blocks = if wide { n.div_ceil(2) } else { n.div_ceil(4) };
            (bits, from.skipped(blocks as u128).parts().1.to_vec())
        } else if wide {
            let word = |i: u64| { let [a, b] = three_fry(key, low.wrapping_add(i)); u64::from(a) | u64::from(b) << 32 };
            ((0..n as u64).map(|i| word(i) as i64).collect(), vec![low.wrapping_add(n as u64)])
        } else {
            let (words, counters) = three_fry_words(key, low, &shape);
            (words.into_iter().map(i64::from).collect(), vec![low.wrapping_add(counters)])
        };
        let next: Vec<i64> = [key].iter().chain(&next).take(state.len()).map(|&v| v as i64).collect();
        Ok(vec![int_tensor("rng_bits", DType::U64, x[0].shape(), &next)?, int_tensor("rng_bits", op.dtype, &shape, &bits)?])
    },
}

fn bits(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let algorithm = match cx.const_ints(0)?.first().context("the algorithm is not given")? {
        &(PHILOX | AUTO) => PHILOX,
        &THREE_FRY => THREE_FRY,
        other => bail!("algorithm {other} is none of 1 (Philox), 2 (ThreeFry), 3 (automatic)"),
    };
    let (state, shape) = (cx.input(1)?, cx.dims_input(2)?);
    let dtype = cx.dtype("dtype")?;
    cx.b.push_all(RngBits { algorithm, dtype, shape }, &[state])
}

/// The import rule of this file.
pub const TF: &[TfBinding] = tf_ops! { "XlaRngBitGenerator" => bits };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_come_out() {
        // Known answers of the generator's authors (Random123).
        assert_eq!(three_fry(0, 0), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(three_fry(u64::MAX, u64::MAX), [0x1cb9_96fc, 0xbb00_2be7]);
    }
}
