//! Boxes in the index space of a tensor: the slices in which a bundle may store a partitioned variable.
//!
//! Also the key under which a slice is stored (an order-preserving code of name and extents), the text in
//! which a graph asks for a slice, and the copy of the common part of two boxes.

use super::error::{ImportError, Result};
use super::proto::TensorSliceProto;

/// A range of one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First index.
    pub start: i64,
    /// Number of indices; `None` for the whole dimension (then `start` is 0).
    pub length: Option<i64>,
}

/// A box: one extent for each dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSlice(pub Vec<Extent>);

impl TensorSlice {
    /// A slice as the index stores it.
    pub fn from_proto(proto: &TensorSliceProto) -> Self {
        Self(
            proto
                .extent
                .iter()
                .map(|e| Extent { start: if e.length.is_some() { e.start } else { 0 }, length: e.length })
                .collect(),
        )
    }

    /// Parses what RestoreV2 is given in `shape_and_slices`: empty (the whole tensor: `None`), or the full
    /// shape and the slice, `8 4 0,5:-`: for each dimension `start,length` or `-` for all of it.
    pub fn parse_spec(spec: &str) -> Result<Option<(Vec<i64>, Self)>> {
        if spec.is_empty() {
            return Ok(None);
        }
        let bad = || ImportError::malformed("shape_and_slices", format!("`{spec}` is not a shape and a slice"));
        let (dims, slice) = spec.rsplit_once(' ').ok_or_else(bad)?;
        let shape = dims.split(' ').map(|d| d.parse().map_err(|_| bad())).collect::<Result<Vec<i64>>>()?;
        let extent = |text: &str| -> Option<Extent> {
            if text == "-" {
                return Some(Extent { start: 0, length: None });
            }
            let (start, length) = text.split_once(',')?;
            Some(Extent { start: start.parse().ok()?, length: Some(length.parse().ok()?) })
        };
        let extents = slice.split(':').map(|e| extent(e).ok_or_else(bad)).collect::<Result<Vec<_>>>()?;
        if extents.len() == shape.len() { Ok(Some((shape, Self(extents)))) } else { Err(bad()) }
    }

    /// Start and size in each dimension of a tensor of `shape`; an error if the box leaves it.
    pub fn region(&self, shape: &[i64], place: &str) -> Result<Region> {
        let bad = || ImportError::malformed(place, format!("a slice {:?} does not fit the shape {shape:?}", self.0));
        if self.0.len() != shape.len() {
            return Err(bad());
        }
        let mut region = Region { start: Vec::new(), size: Vec::new() };
        for (extent, &dim) in self.0.iter().zip(shape) {
            let length = extent.length.unwrap_or(dim);
            if extent.start < 0 || length < 0 || extent.start.checked_add(length).is_none_or(|end| end > dim) {
                return Err(bad());
            }
            region.start.push(extent.start);
            region.size.push(length);
        }
        Ok(region)
    }

    /// The key of this slice of the tensor `name` in the index.
    pub fn key(&self, name: &str) -> Vec<u8> {
        let mut key = Vec::new();
        put_unsigned(&mut key, 0);
        put_string(&mut key, name.as_bytes());
        put_unsigned(&mut key, self.0.len() as u64);
        for extent in &self.0 {
            put_signed(&mut key, extent.start);
            put_signed(&mut key, extent.length.unwrap_or(-1));
        }
        key
    }
}

/// A string in the ordered code: 0 and 255 escaped, ended by 0, 1.
fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    for &b in text {
        out.push(b);
        match b {
            0 => out.push(255),
            255 => out.push(0),
            _ => {}
        }
    }
    out.extend([0, 1]);
}

/// An unsigned number in the ordered code: its length, then its bytes, largest first.
fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let skip = (value.leading_zeros() / 8) as usize;
    out.push((8 - skip) as u8);
    out.extend_from_slice(&bytes[skip..]);
}

/// A signed number in the ordered code: n bytes hold 7n - 1 bits of magnitude; the n leading bits are set (for a
/// negative number: all bits inverted), so that longer numbers sort outside of shorter ones.
fn put_signed(out: &mut Vec<u8>, value: i64) {
    let magnitude = if value < 0 { !value } else { value };
    let bits = 64 - magnitude.leading_zeros() as usize;
    let length = if bits > 62 { 10 } else { bits / 7 + 1 };
    let sign = if value < 0 { 0xff } else { 0 };
    let mut bytes = [sign; 10];
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    let header = !(0xffffu16.checked_shr(length as u32).unwrap_or(0));
    let [high, low] = header.to_be_bytes();
    let used = &mut bytes[10 - length..];
    used[0] ^= high;
    if let Some(second) = used.get_mut(1) {
        *second ^= low;
    }
    out.extend_from_slice(used);
}

/// A box with known sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// First index in each dimension.
    pub start: Vec<i64>,
    /// Size of each dimension.
    pub size: Vec<i64>,
}

impl Region {
    /// All of a tensor.
    pub fn whole(shape: &[i64]) -> Self {
        Self { start: vec![0; shape.len()], size: shape.to_vec() }
    }

    /// The common part of two boxes; `None` if it is empty.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let mut out = Self { start: Vec::new(), size: Vec::new() };
        for (((&a, &n), &b), &m) in self.start.iter().zip(&self.size).zip(&other.start).zip(&other.size) {
            let start = a.max(b);
            let end = (a + n).min(b + m);
            if end <= start {
                return None;
            }
            out.start.push(start);
            out.size.push(end - start);
        }
        Some(out)
    }

    /// Elements of the box; sizes were checked when it was made from a shape that fits memory.
    pub fn elements(&self) -> usize {
        self.size.iter().fold(1usize, |n, &d| n.saturating_mul(usize::try_from(d).unwrap_or(0)))
    }
}

/// Calls `copy(from, to, elements)` for each contiguous run of `common`, with offsets in elements into the
/// row-major buffers of the two boxes that both hold `common`.
pub fn for_each_run(common: &Region, from: &Region, to: &Region, mut copy: impl FnMut(usize, usize, usize)) {
    let rank = common.size.len();
    let offset = |inside: &Region, index: &[i64]| -> usize {
        let flat = index
            .iter()
            .zip(&inside.start)
            .zip(&inside.size)
            .fold(0i64, |flat, ((i, start), size)| flat * size + (i - start));
        flat.max(0) as usize
    };
    let Some(last) = rank.checked_sub(1) else {
        return copy(0, 0, 1);
    };
    if common.size.contains(&0) {
        return;
    }
    let run = common.size[last] as usize;
    let mut index = common.start.clone();
    loop {
        copy(offset(from, &index), offset(to, &index), run);
        // The next row: count up from the last dimension but one.
        let mut dim = last;
        loop {
            let Some(next) = dim.checked_sub(1) else {
                return;
            };
            dim = next;
            index[dim] += 1;
            if index[dim] < common.start[dim] + common.size[dim] {
                break;
            }
            index[dim] = common.start[dim];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signed(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_signed(&mut out, value);
        out
    }

    #[test]
    fn signed_codes_have_the_documented_lengths() {
        assert_eq!(signed(0), [0x80]);
        assert_eq!(signed(-1), [0x7f]);
        assert_eq!(signed(63), [0xbf]);
        assert_eq!(signed(64), [0xc0, 0x40]);
        assert_eq!(signed(-65), [0x3f, 0xbf]);
        assert_eq!(signed(i64::MAX).len(), 10);
    }

    proptest! {
        #[test]
        fn signed_codes_keep_the_order(a: i64, b: i64, shift in 0u32..63) {
            let (a, b) = (a >> shift, b >> shift);
            prop_assert_eq!(a.cmp(&b), signed(a).cmp(&signed(b)));
        }

        #[test]
        fn unsigned_codes_keep_the_order(a: u64, b: u64, shift in 0u32..63) {
            let code = |v| { let mut out = Vec::new(); put_unsigned(&mut out, v); out };
            prop_assert_eq!((a >> shift).cmp(&(b >> shift)), code(a >> shift).cmp(&code(b >> shift)));
        }
    }

    #[test]
    fn specs_are_parsed() {
        let (shape, slice) = TensorSlice::parse_spec("8 4 2,5:-").unwrap().unwrap();
        assert_eq!(shape, [8, 4]);
        let region = slice.region(&shape, "v").unwrap();
        assert_eq!((region.start, region.size), (vec![2, 0], vec![5, 4]));
        assert_eq!(TensorSlice::parse_spec("").unwrap(), None);
        for bad in ["8", "8 4", "8 4 -", "8 4 1:2", "8 4 -:-:-", "x -"] {
            assert!(TensorSlice::parse_spec(bad).is_err(), "{bad}");
        }
        assert!(slice.region(&[6, 4], "v").is_err());
    }
}
