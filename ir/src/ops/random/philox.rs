//! Philox4x32-10 (Salmon et al., 2011) and the conversions of its bits to samples, bit for bit as TensorFlow's CPU
//! kernels do them.

use half::{bf16, f16};

/// The generator: a key and a 128-bit counter; each step gives four words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
    counter: u128,
}

impl Philox {
    /// A generator at a counter, given as its low and high half.
    pub fn new(key: u64, low: u64, high: u64) -> Philox {
        Philox { key: [key as u32, (key >> 32) as u32], counter: u128::from(low) | u128::from(high) << 64 }
    }

    /// The key, and the counter's low and high half.
    pub fn parts(&self) -> (u64, [u64; 2]) {
        (u64::from(self.key[0]) | u64::from(self.key[1]) << 32, [self.counter as u64, (self.counter >> 64) as u64])
    }

    /// The generator of a stateless op's seed: the seed is scrambled, so that any seed is a good one.
    pub fn of_seed(seed: [i64; 2]) -> Philox {
        let mix = Philox::new(0x0246_1e29_3ec8_f720, seed[0] as u64, seed[1] as u64).block();
        let pair = |i: usize| u64::from(mix[i]) | u64::from(mix[i + 1]) << 32;
        Philox::new(pair(0), 0, pair(2))
    }

    /// The generator `blocks` steps further.
    pub fn skipped(mut self, blocks: u128) -> Philox {
        self.counter = self.counter.wrapping_add(blocks);
        self
    }

    fn block(&self) -> [u32; 4] {
        let c = self.counter;
        let (mut x, mut key) = ([c as u32, (c >> 32) as u32, (c >> 64) as u32, (c >> 96) as u32], self.key);
        for _ in 0..10 {
            let (a, b) = (u64::from(x[0]) * 0xD251_1F53, u64::from(x[2]) * 0xCD9E_8D57);
            x = [(b >> 32) as u32 ^ x[1] ^ key[0], b as u32, (a >> 32) as u32 ^ x[3] ^ key[1], a as u32];
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        x
    }

    /// The next four words.
    pub fn step(&mut self) -> [u32; 4] {
        let block = self.block();
        *self = self.skipped(1);
        block
    }
}

/// The words of a generator one at a time.
pub struct Words {
    from: Philox,
    block: [u32; 4],
    used: usize,
}

impl Words {
    /// The words from a generator's place on.
    pub fn new(from: Philox) -> Words {
        Words { from, block: [0; 4], used: 4 }
    }

    /// The next word.
    pub fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.block = self.from.step();
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// The next number in [0, 1), of two words.
    pub fn unit(&mut self) -> f64 {
        let low = self.word();
        unit_f64(low, self.word())
    }
}

/// Words to a number in [0, 1): the mantissa of a number in [1, 2), less 1.
pub fn unit_f32(x: u32) -> f32 {
    f32::from_bits(127 << 23 | x & 0x7f_ffff) - 1.0
}

/// As [`unit_f32`].
pub fn unit_f64(x: u32, y: u32) -> f64 {
    f64::from_bits(1023 << 52 | u64::from(x & 0xf_ffff) << 32 | u64::from(y)) - 1.0
}

/// As [`unit_f32`].
pub fn unit_f16(x: u32) -> f16 {
    f16::from_f32(f16::from_bits(15 << 10 | (x & 0x3ff) as u16).to_f32() - 1.0)
}

/// As [`unit_f32`].
pub fn unit_bf16(x: u32) -> bf16 {
    bf16::from_f32(bf16::from_bits(127 << 7 | (x & 0x7f) as u16).to_f32() - 1.0)
}

/// Two normal samples of two words (Box and Muller).
pub fn normal_f32(x: u32, y: u32) -> [f32; 2] {
    let u = unit_f32(x).max(1.0e-7);
    let angle = (2.0 * std::f64::consts::PI * f64::from(unit_f32(y))) as f32;
    let radius = (-2.0 * u.ln()).sqrt();
    [angle.sin() * radius, angle.cos() * radius]
}

/// Two normal samples of four words.
pub fn normal_f64(x: [u32; 4]) -> [f64; 2] {
    let u = unit_f64(x[0], x[1]).max(1.0e-7);
    let angle = 2.0 * std::f64::consts::PI * unit_f64(x[2], x[3]);
    let radius = (-2.0 * u.ln()).sqrt();
    [angle.sin() * radius, angle.cos() * radius]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_come_out() {
        // Known answers of the generator's authors (Random123).
        assert_eq!(Philox::new(0, 0, 0).block(), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(Philox::new(u64::MAX, u64::MAX, u64::MAX).block(), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    }

    #[test]
    fn skipping_is_stepping() {
        let mut p = Philox::new(7, u64::MAX - 1, 3);
        let far = p.skipped(5);
        (0..5).for_each(|_| _ = p.step());
        assert_eq!(p, far);
    }
}
