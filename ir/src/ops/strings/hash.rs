//! Hashes of strings and of bytes.

use std::hash::Hasher;

use crate::graph::TensorType;
use crate::ops::host::{ANY, STRING, host_op, int_tensor, require, strings, typed};
use crate::tensor::Tensor;
use crate::{DType, Dim};

host_op! {
    /// `hash_bucket x`: each string's hash, modulo the number of buckets.
    HashBucket = "hash_bucket" {
        /// How many.
        buckets: i64,
        /// Two words that key SipHash-2-4; one that seeds MurmurHash64A; none for FarmHash's fingerprint.
        key: Vec<i64>,
    }
    infer |op, given| {
        let [x] = typed("hash_bucket", given, [STRING])?;
        require("hash_bucket", "C4", op.buckets > 0, || format!("{} buckets", op.buckets))?;
        require("hash_bucket", "C4", op.key.len() <= 2, || format!("a key of {} words", op.key.len()))?;
        Ok(vec![TensorType::new(DType::I64, x.shape.clone())])
    },
    eval |op, x| {
        let hash = |s: &Vec<u8>| match op.key[..] {
            [a, b] => siphash([a as u64, b as u64], s),
            [seed] => murmur(seed as u64, s),
            _ => farmhash::fingerprint64(s),
        };
        let out: Vec<i64> = strings(x[0]).iter().map(|s| (hash(s) % op.buckets as u64) as i64).collect();
        Ok(vec![int_tensor("hash_bucket", DType::I64, x[0].shape(), &out)?])
    },
}

/// MurmurHash64A (Appleby), reading words of eight bytes from the least significant byte on.
fn murmur(seed: u64, s: &[u8]) -> u64 {
    let mut h = seed ^ (s.len() as u64).wrapping_mul(MIX);
    let words = s.chunks_exact(8);
    let tail = words.remainder();
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |w, &b| w << 8 | u64::from(b));
    for w in words {
        let k = shift_mix(word(w).wrapping_mul(MIX)).wrapping_mul(MIX);
        h = (h ^ k).wrapping_mul(MIX);
    }
    if !tail.is_empty() {
        h = (h ^ word(tail)).wrapping_mul(MIX);
    }
    shift_mix(shift_mix(h).wrapping_mul(MIX))
}

/// MurmurHash64A's multiplier, which TensorFlow also joins fingerprints with.
const MIX: u64 = 0xc6a4_a793_5bd1_e995;

fn shift_mix(x: u64) -> u64 {
    x ^ (x >> 47)
}

/// FarmHash's fingerprint of bytes.
pub(crate) fn fingerprint(s: &[u8]) -> u64 {
    farmhash::fingerprint64(s)
}

/// One fingerprint of two, as TensorFlow's FingerprintCat64 joins them.
pub(crate) fn fingerprint_pair(a: u64, b: u64) -> u64 {
    let joined = (a ^ MIX) ^ shift_mix(b.wrapping_mul(MIX)).wrapping_mul(MIX);
    let mixed = shift_mix(joined.wrapping_mul(MIX)).wrapping_mul(MIX);
    shift_mix(mixed)
}

/// SipHash-2-4.
pub(crate) fn siphash(key: [u64; 2], s: &[u8]) -> u64 {
    let mut h = siphasher::sip::SipHasher24::new_with_keys(key[0], key[1]);
    h.write(s);
    h.finish()
}

host_op! {
    /// `fingerprint x`: FarmHash's fingerprint of the bytes of each row, least significant byte first.
    Fingerprint = "fingerprint" {}
    infer |_, given| {
        let [x] = typed("fingerprint", given, [ANY])?;
        require("fingerprint", "C3", x.rank() >= 1, || format!("{x} has no rows"))?;
        Ok(vec![TensorType::new(DType::U8, vec![x.shape[0].clone(), Dim::from(8)])])
    },
    eval |_, x| {
        let n = x[0].shape()[0];
        let row = |i: usize| -> u64 {
            match x[0].strings() {
                // The fingerprints of a row's strings are fingerprinted, unless it is a single one.
                Some(all) => {
                    let width = all.len() / n;
                    let each: Vec<u64> = all[i * width..(i + 1) * width].iter().map(|s| farmhash::fingerprint64(s)).collect();
                    match each[..] {
                        [one] => one,
                        _ => farmhash::fingerprint64(bytemuck::cast_slice(&each)),
                    }
                }
                None => {
                    let width = x[0].bytes().len() / n;
                    farmhash::fingerprint64(&x[0].bytes()[i * width..(i + 1) * width])
                }
            }
        };
        let out: Vec<u8> = (0..n).flat_map(|i| row(i).to_le_bytes()).collect();
        Ok(vec![Tensor::of(&[n, 8], &out)])
    },
}
