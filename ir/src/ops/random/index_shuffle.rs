//! `random_index_shuffle`: the place of an index in a random permutation, without the permutation: a Simon cipher of so
//! few rounds that it is no secret, applied until the result is in range (Black and Rogaway, 2002; TensorFlow's
//! `random_index_shuffle.cc`).
//!
//! Constraints: C1 operands index, seed, largest index; C2 integers of 32 or 64 bits; C3 index and largest index are
//! scalars or vectors, the seed is three integers or a row of three for each index; C4 the rounds are even, at least 4.
//! Evaluation: E1 an index is negative or above the largest one.

use crate::graph::TensorType;
use crate::ops::host::{host_op, int_tensor, ints, require, typed};
use crate::{DType, Dim};

const NAME: &str = "random_index_shuffle";
const WORDS: &[DType] = &[DType::I32, DType::U32, DType::I64, DType::U64];

host_op! {
    /// `random_index_shuffle index, seed, max_index`: where each index comes to stand.
    IndexShuffle = "random_index_shuffle" {
        /// How often the cipher mixes.
        rounds: i64,
    }
    infer |op, given| {
        let [index, seed, last] = typed(NAME, given, [WORDS, WORDS, WORDS])?;
        let fits = index.rank() <= 1 && last.rank() <= 1 && matches!(seed.rank(), 1 | 2);
        require(NAME, "C3", fits, || format!("index {index}, seed {seed}, largest index {last}"))?;
        require(NAME, "C4", op.rounds >= 4 && op.rounds % 2 == 0, || format!("{} rounds", op.rounds))?;
        let many: Vec<&Dim> =
            [(index, 1), (seed, 2), (last, 1)].iter().filter(|(t, r)| t.rank() == *r).map(|(t, _)| &t.shape[0]).collect();
        let shape = many.first().map(|&d| vec![d.clone()]).unwrap_or_default();
        Ok(vec![TensorType::new(index.dtype, shape)])
    },
    eval |op, x| {
        let (index, seed, last) = (ints(x[0]), ints(x[1]), ints(x[2]));
        let lengths = [(x[0], 1, index.len()), (x[1], 2, seed.len() / 3), (x[2], 1, last.len())];
        let many: Vec<usize> = lengths.iter().filter(|l| l.0.shape().len() == l.1).map(|l| l.2).collect();
        let fits = many.windows(2).all(|w| w[0] == w[1]) && x[1].shape().last() == Some(&3);
        require(NAME, "C3", fits, || format!("lengths {many:?}, seed {:?}", x[1].shape()))?;
        let n = many.first().copied().unwrap_or(1);
        let at = |v: &[i64], i: usize| v[if v.len() == 1 { 0 } else { i }];
        let mut out = vec![];
        for i in 0..n {
            let row = if seed.len() == 3 { 0 } else { 3 * i };
            let (from, to) = (at(&index, i) as u64, at(&last, i) as u64);
            require(NAME, "E1", from <= to, || format!("index {from} is above the largest one, {to}"))?;
            out.push(place(from, [seed[row] as u32, seed[row + 1] as u32, seed[row + 2] as u32], to, op.rounds) as i64);
        }
        let shape: Vec<usize> = many.first().copied().into_iter().collect();
        Ok(vec![int_tensor(NAME, x[0].dtype(), &shape, &out)?])
    },
}

/// Words of `bits` bits.
struct Cipher {
    bits: u32,
    mask: u64,
}

impl Cipher {
    fn left(&self, x: u64, by: u32) -> u64 {
        (x << by | x >> (self.bits - by)) & self.mask
    }

    fn right(&self, x: u64, by: u32) -> u64 {
        self.left(x, self.bits - by)
    }

    fn mix(&self, x: u64) -> u64 {
        self.left(x, 1) & self.left(x, 8) ^ self.left(x, 2)
    }
}

fn place(index: u64, key: [u32; 3], last: u64, rounds: i64) -> u64 {
    if last == 0 {
        return 0;
    }
    // Blocks are as small as they may be, of an even number of bits.
    let block = (last as f64).log2().ceil() as u32;
    let block = (block + block % 2).clamp(16, 64);
    let c = Cipher { bits: block / 2, mask: (1u64 << (block / 2)) - 1 };
    let mut keys: Vec<u64> = key.iter().map(|&k| u64::from(k) & c.mask).collect();
    let mut z = 0x7369_f885_192c_0ef5u64 & c.mask;
    for i in 3..rounds.max(0) as usize {
        let next = 0xffff_fffc & c.mask ^ z & 1 ^ keys[i - 3] ^ c.right(keys[i - 1], 3) ^ c.right(keys[i - 1], 4);
        keys.push(next);
        z >>= 1;
    }
    let mut at = index;
    loop {
        let (mut left, mut right) = (at >> c.bits & c.mask, at & c.mask);
        for pair in keys.chunks_exact(2) {
            left ^= c.mix(right) ^ pair[0];
            right ^= c.mix(left) ^ pair[1];
        }
        at = left << c.bits | right;
        if at <= last {
            return at;
        }
    }
}
