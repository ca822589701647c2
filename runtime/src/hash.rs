//! XXH64, the checksum of weights files.
//!
//! Why this one: a weights file is up to gigabytes, checked on a core that reads about 10 GB/s from
//! memory. XXH64 runs at memory speed without special instructions, on every target; 64 bits leave no
//! realistic chance of an unnoticed change, where a 32-bit CRC of many large files does. It detects
//! damage, not an attacker. Specification: Yann Collet, "xxHash fast digest algorithm", v0.1.1.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// Bytes of one stripe: four lanes of eight.
const STRIPE: usize = 32;

/// XXH64 over a stream of byte slices; the split into slices does not matter.
#[derive(Clone, Debug)]
pub struct Xxh64 {
    lanes: [u64; 4],
    seed: u64,
    total: u64,
    pending: [u8; STRIPE],
    pending_len: usize,
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

fn stripe(lanes: &mut [u64; 4], bytes: &[u8; STRIPE]) {
    let (words, _) = bytes.as_chunks::<8>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        *lane = round(*lane, u64::from_le_bytes(*word));
    }
}

impl Xxh64 {
    /// An empty stream.
    pub fn new(seed: u64) -> Xxh64 {
        let lanes = [seed.wrapping_add(P1).wrapping_add(P2), seed.wrapping_add(P2), seed, seed.wrapping_sub(P1)];
        Xxh64 { lanes, seed, total: 0, pending: [0; STRIPE], pending_len: 0 }
    }

    /// Appends bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.total = self.total.wrapping_add(bytes.len() as u64);
        if self.pending_len > 0 {
            let take = bytes.len().min(STRIPE - self.pending_len);
            let (head, rest) = bytes.split_at(take);
            self.pending[self.pending_len..self.pending_len + take].copy_from_slice(head);
            self.pending_len += take;
            bytes = rest;
            if self.pending_len < STRIPE {
                return;
            }
            stripe(&mut self.lanes, &self.pending);
            self.pending_len = 0;
        }
        let (stripes, rest) = bytes.as_chunks::<STRIPE>();
        let mut lanes = self.lanes;
        for bytes in stripes {
            stripe(&mut lanes, bytes);
        }
        self.lanes = lanes;
        self.pending[..rest.len()].copy_from_slice(rest);
        self.pending_len = rest.len();
    }

    /// The digest of all bytes so far.
    pub fn digest(&self) -> u64 {
        let mut hash = if self.total >= STRIPE as u64 {
            let [a, b, c, d] = self.lanes;
            let mut hash = a
                .rotate_left(1)
                .wrapping_add(b.rotate_left(7))
                .wrapping_add(c.rotate_left(12))
                .wrapping_add(d.rotate_left(18));
            for lane in self.lanes {
                hash = (hash ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4);
            }
            hash
        } else {
            self.seed.wrapping_add(P5)
        };
        hash = hash.wrapping_add(self.total);

        let (words, rest) = self.pending[..self.pending_len].as_chunks::<8>();
        for word in words {
            hash = (hash ^ round(0, u64::from_le_bytes(*word))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        }
        let (halves, rest) = rest.as_chunks::<4>();
        for half in halves {
            let half = u64::from(u32::from_le_bytes(*half));
            hash = (hash ^ half.wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        }
        for byte in rest {
            hash = (hash ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
        hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
        hash ^ (hash >> 32)
    }
}

/// XXH64 of one slice.
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    let mut stream = Xxh64::new(seed);
    stream.update(bytes);
    stream.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_vectors() {
        assert_eq!(xxh64(b"", 0), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a", 0), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc", 0), 0x44BC_2CF5_AD77_0999);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition", 0), 0xFBCE_A83C_8A37_8BF1);
    }

    proptest! {
        #[test]
        fn splitting_does_not_matter(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..300, seed: u64) {
            let cut = cut.min(bytes.len());
            let mut stream = Xxh64::new(seed);
            stream.update(&bytes[..cut]);
            stream.update(&bytes[cut..]);
            prop_assert_eq!(stream.digest(), xxh64(&bytes, seed));
        }
    }
}
