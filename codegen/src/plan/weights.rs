//! The weights of a program: which constants it reads, where each lies, and in which layout.
//!
//! The plan only notes places; the bytes are written once, straight to where they are used, and each constant is let go
//! as soon as it is written. So a large model's weights are held little more than once.

use std::collections::HashMap;

use anyhow::{Result, bail};
use kiln_ir::loops::Layout;
use kiln_ir::{Symbol, Tensor};

use super::Buffer;

/// Alignment of each constant, in bytes: a cache line, and the widest vector.
const ALIGN: usize = 64;

/// Constants with their places.
#[derive(Default)]
pub struct Image {
    parts: Vec<Part>,
    /// Bytes up to the end of the last constant.
    used: usize,
    placed: HashMap<(Buffer, Option<Layout>), u64>,
}

struct Part {
    at: usize,
    tensor: Tensor,
    packed: Option<Packed>,
}

/// A layout in numbers.
struct Packed {
    start: i64,
    /// Axis, divisor, modulus (0: none), stride in elements.
    axes: Vec<(usize, i64, i64, i64)>,
    /// Elements.
    size: usize,
}

impl Image {
    /// The place of a constant, laid out as its kernel wants it; row-major without a layout.
    ///
    /// # Errors
    /// A layout that is not fixed.
    pub(super) fn place(&mut self, of: Buffer, t: &Tensor, layout: Option<&Layout>) -> Result<u64> {
        let key = (of, layout.cloned());
        if let Some(&at) = self.placed.get(&key) {
            return Ok(at);
        }
        let packed = layout.map(|l| Packed::new(t, l)).transpose()?;
        let at = self.len();
        self.used = at + packed.as_ref().map_or(t.bytes().len(), |p| p.size * t.dtype().size());
        self.parts.push(Part { at, tensor: t.clone(), packed });
        self.placed.insert(key, at as u64);
        Ok(at as u64)
    }

    /// Bytes of the constants, without the padding after the last one.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Bytes of the weights, a multiple of 64.
    pub fn len(&self) -> usize {
        self.used.next_multiple_of(ALIGN)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Writes the weights to zeroed memory of their length, letting go of each constant.
    ///
    /// # Errors
    /// Memory that is too short.
    pub fn write(self, to: &mut [u8]) -> Result<()> {
        if to.len() < self.used {
            bail!("{} bytes cannot hold {} bytes of weights", to.len(), self.used);
        }
        for part in self.parts {
            let bytes = part.tensor.bytes();
            let to = &mut to[part.at..];
            match &part.packed {
                None => to[..bytes.len()].copy_from_slice(bytes),
                Some(p) => p.write(&part.tensor, to),
            }
        }
        Ok(())
    }

    /// The weights in memory of their own.
    ///
    /// # Errors
    /// None in practice, see [`Image::write`].
    pub fn bytes(self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.len()];
        self.write(&mut bytes)?;
        Ok(bytes)
    }
}

impl Packed {
    fn new(t: &Tensor, layout: &Layout) -> Result<Packed> {
        let fixed = |d: &kiln_ir::Dim| d.eval(&|_: &Symbol| None);
        let axes = layout.axes.iter().map(|a| Some((a.axis, a.div, a.modulo, fixed(&a.stride)?)));
        let (Some(start), Some(axes), Some(size)) =
            (fixed(&layout.start), axes.collect::<Option<Vec<_>>>(), fixed(&layout.size))
        else {
            bail!("a packed constant's layout is symbolic");
        };
        let Some(size) = usize::try_from(size).ok().filter(|n| n.checked_mul(t.dtype().size()).is_some()) else {
            bail!("a packed constant of {size} elements");
        };
        if t.shape().is_empty() || axes.iter().any(|a| a.0 >= t.shape().len()) {
            bail!("a packed constant lacks an axis of its layout");
        }
        Ok(Packed { start, axes, size })
    }

    /// The element offset of an index.
    fn offset(&self, index: &[i64]) -> usize {
        let along = self.axes.iter().map(|&(axis, div, modulo, stride)| {
            let i = if div == 1 { index[axis] } else { index[axis] / div };
            stride * if modulo == 0 { i } else { i % modulo }
        });
        (self.start + along.sum::<i64>()) as usize
    }

    fn write(&self, t: &Tensor, to: &mut [u8]) {
        match t.dtype().size() {
            1 => self.write_elements::<1>(t, to),
            2 => self.write_elements::<2>(t, to),
            4 => self.write_elements::<4>(t, to),
            8 => self.write_elements::<8>(t, to),
            _ => self.write_elements::<16>(t, to),
        }
    }

    /// Elements of `S` bytes, by runs along the last axis that are contiguous in both places.
    fn write_elements<const S: usize>(&self, t: &Tensor, to: &mut [u8]) {
        let (from, _) = t.bytes().as_chunks::<S>();
        let (to, _) = to.as_chunks_mut::<S>();
        let shape = t.shape();
        let last = shape.len() - 1;
        let mut index = vec![0i64; shape.len()];
        let origin = self.offset(&index);
        // Runs of a row: first element, its distance from the row's first in the layout, length.
        let mut runs: Vec<(usize, usize, usize)> = vec![];
        for i in 0..shape[last] {
            index[last] = i as i64;
            let o = self.offset(&index) - origin;
            match runs.last_mut() {
                Some((_, first, n)) if *first + *n == o => *n += 1,
                _ => runs.push((i, o, 1)),
            }
        }
        index[last] = 0;
        for row in from.chunks_exact(shape[last].max(1)) {
            let at = self.offset(&index);
            for &(i, o, n) in &runs {
                if n == 1 {
                    to[at + o] = row[i];
                } else {
                    to[at + o..at + o + n].copy_from_slice(&row[i..i + n]);
                }
            }
            for axis in (0..last).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] as i64 {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_ir::Dim;

    #[test]
    fn constants_are_written_where_their_layouts_say() {
        let d = Dim::from;
        // 2 x 3 x 5, packed along the last axis, along the middle one, and as it is.
        let t = Tensor::of(&[2, 3, 5], &(0..30).map(|i| i as f32).collect::<Vec<_>>());
        let last = Layout::packed(&[(2, 4, 0, d(2)), (0, 1, 0, d(2)), (1, 1, 0, d(3)), (2, 1, 4, d(4))]);
        let middle = Layout::packed(&[(1, 2, 0, d(2)), (0, 1, 0, d(2)), (2, 1, 0, d(5)), (1, 1, 2, d(2))]);
        let mut image = Image::default();
        let places: Vec<u64> = [Some(&last), Some(&middle), None, Some(&last)]
            .map(|l| image.place((0, kiln_ir::Value(0)), &t, l).unwrap_or(u64::MAX))
            .to_vec();
        assert_eq!(places, [0, 192, 192 + 192, 0]);
        let bytes = image.bytes().unwrap_or_default();
        assert_eq!(bytes.len(), 512);
        let at = |place: u64, o: i64| {
            let at = place as usize + o as usize * 4;
            f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut sums = [0.0; 2];
        for i in 0..30i64 {
            let index = [i / 15, i / 5 % 3, i % 5];
            for (place, l) in [(0, &last), (192, &middle)] {
                let o = l.offset(&index, &|_| None).unwrap_or(-1);
                assert_eq!(at(place, o), i as f32, "{index:?}");
            }
            assert_eq!(at(384, i), i as f32);
        }
        // What the layouts add is zero.
        for (sum, (place, n)) in sums.iter_mut().zip([(0, 48), (192, 40)]) {
            *sum = (0..n).map(|o| at(place, o)).sum();
        }
        assert_eq!(sums, [435.0, 435.0]);
    }
}
