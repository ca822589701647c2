//! Bytes as numbers, and tensors as bytes.

use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{ANY, STRING, host_op, require, strings, typed};
use crate::tensor::{Bytes, Tensor, element_count};
use crate::{DType, Dim};

/// RFC 4648's alphabet for names.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 for names and URLs.
pub(crate) fn base64(s: &[u8], padded: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(s.len().div_ceil(3) * 4);
    for chunk in s.chunks(3) {
        let word = (0..3).fold(0u32, |w, i| w << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        let digits = (0..4).map(|i| ALPHABET[(word >> (18 - 6 * i) & 63) as usize]);
        out.extend(digits.take(chunk.len() + 1));
        if padded {
            out.extend(std::iter::repeat_n(b'=', 3 - chunk.len()));
        }
    }
    out
}

/// The bytes that base64 stands for; padding may be missing.
pub(crate) fn unbase64(s: &[u8]) -> Result<Vec<u8>, OpError> {
    let fail = || OpError::new("string_map", "E1", format!("`{}` is not base64", String::from_utf8_lossy(s)));
    let digits = match s {
        [d @ .., b'=', b'='] if s.len().is_multiple_of(4) => d,
        [d @ .., b'='] if s.len().is_multiple_of(4) => d,
        d => d,
    };
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut word = 0u32;
        for i in 0..4 {
            let value = match chunk.get(i) {
                Some(c) => ALPHABET.iter().position(|a| a == c).ok_or_else(fail)? as u32,
                None => 0,
            };
            word = word << 6 | value;
        }
        // One digit alone is no byte.
        let bytes = chunk.len().checked_sub(1).filter(|&n| n > 0).ok_or_else(fail)?;
        out.extend(&word.to_be_bytes()[1..=bytes]);
    }
    Ok(out)
}

host_op! {
    /// `decode_raw x`: the bytes of each string as numbers along a new last axis. E1 for strings of unlike lengths.
    DecodeRaw = "decode_raw" {
        /// The numbers' type.
        dtype: DType,
        /// The order of a number's bytes.
        little_endian: bool,
        /// How many numbers a string.
        width: Dim,
        /// Longer strings are cut, shorter ones end in zeros; without it all have one length.
        padded: bool,
    }
    infer |op, given| {
        let [x] = typed("decode_raw", given, [STRING])?;
        require("decode_raw", "C4", op.dtype.is_plain(), || format!("bytes are no {}", op.dtype))?;
        Ok(vec![TensorType::new(op.dtype, x.shape.iter().chain([&op.width]).cloned().collect())])
    },
    eval |op, x| {
        let (all, size) = (strings(x[0]), op.dtype.size());
        let width = match op.padded {
            true => crate::ops::host::extents("decode_raw", std::slice::from_ref(&op.width))?[0],
            false => all.first().map_or(0, Vec::len) / size,
        };
        let mut bytes = Vec::with_capacity(all.len() * width * size);
        for s in all {
            let fits = op.padded || (s.len() == all[0].len() && s.len() % size == 0);
            require("decode_raw", "E1", fits, || format!("a string of {} bytes is not {width} of {}", s.len(), op.dtype))?;
            let start = bytes.len();
            bytes.extend(s.iter().take(width * size));
            bytes.resize(start + width * size, 0);
        }
        // Both parts of a complex number are numbers of their own.
        let part = if op.dtype.is_complex() { size / 2 } else { size };
        if op.little_endian != cfg!(target_endian = "little") {
            bytes.chunks_exact_mut(part).for_each(<[u8]>::reverse);
        }
        let shape: Vec<usize> = x[0].shape().iter().copied().chain([width]).collect();
        let t = Tensor::from_bytes(op.dtype, &shape, Bytes::copy_of(&bytes));
        Ok(vec![t.map_err(|e| OpError::new("decode_raw", "E2", e))?])
    },
}

fn varint(out: &mut Vec<u8>, mut x: u64) {
    while x >= 128 {
        out.push(x as u8 | 128);
        x >>= 7;
    }
    out.push(x as u8);
}

fn field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

host_op! {
    /// `serialize_tensor x`: a TensorProto.
    SerializeTensor = "serialize_tensor" {}
    infer |_, given| {
        typed("serialize_tensor", given, [ANY])?;
        Ok(vec![TensorType::fixed(DType::String, &[])])
    },
    eval |_, x| {
        let (mut out, mut shape) = (vec![8], vec![]);
        varint(&mut out, x[0].dtype().tf_number() as u64);
        for &n in x[0].shape() {
            let mut dim = vec![];
            // Proto leaves out what is zero.
            if n > 0 {
                dim.push(8);
                varint(&mut dim, n as u64);
            }
            field(&mut shape, 2, &dim);
        }
        field(&mut out, 2, &shape);
        match x[0].strings() {
            Some(all) => all.iter().for_each(|s| field(&mut out, 8, s)),
            None if x[0].is_empty() => {}
            None => field(&mut out, 4, x[0].bytes()),
        }
        Ok(vec![Tensor::of_strings(&[], vec![out])])
    },
}

host_op! {
    /// `parse_tensor x`: the tensor of a TensorProto. E1 for bytes that are none of the type.
    ParseTensor = "parse_tensor" {
        /// The element type.
        dtype: DType,
        /// The shape.
        shape: Vec<Dim>,
    }
    infer |op, given| {
        let [x] = typed("parse_tensor", given, [STRING])?;
        require("parse_tensor", "C3", x.rank() == 0, || format!("{x} is no scalar"))?;
        Ok(vec![TensorType::new(op.dtype, op.shape.clone())])
    },
    eval |op, x| {
        let t = parse(&strings(x[0])[0]).filter(|t| t.dtype() == op.dtype);
        Ok(vec![t.ok_or_else(|| OpError::new("parse_tensor", "E1", format!("the string is no tensor of {}", op.dtype)))?])
    },
}

/// A field of a message: its number, and its bytes or its number's value.
pub(crate) enum Wire<'a> {
    /// A varint or a fixed number.
    Number(u64),
    /// A string, a message or packed numbers.
    Bytes(&'a [u8]),
}

/// The fields of a message in order; `None` where it is broken.
pub(crate) fn fields(mut m: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut out = vec![];
    while !m.is_empty() {
        let key = read_varint(&mut m)?;
        let value = match key & 7 {
            0 => Wire::Number(read_varint(&mut m)?),
            1 => Wire::Number(u64::from_le_bytes(take(&mut m, 8)?.try_into().ok()?)),
            2 => {
                let n = usize::try_from(read_varint(&mut m)?).ok()?;
                Wire::Bytes(take(&mut m, n)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(take(&mut m, 4)?.try_into().ok()?))),
            _ => return None,
        };
        out.push((key >> 3, value));
    }
    Some(out)
}

fn take<'a>(m: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = m.split_at_checked(n)?;
    *m = tail;
    Some(head)
}

pub(crate) fn read_varint(m: &mut &[u8]) -> Option<u64> {
    let mut x = 0u64;
    for shift in (0..64).step_by(7) {
        let b = take(m, 1)?[0];
        x |= u64::from(b & 127) << shift;
        if b < 128 {
            return Some(x);
        }
    }
    None
}

/// A TensorProto whose elements are its content or, as strings and few numbers are, a field of their own.
fn parse(m: &[u8]) -> Option<Tensor> {
    let (mut dtype, mut shape, mut content, mut texts, mut numbers) = (None, vec![], None, vec![], vec![]);
    for (number, value) in fields(m)? {
        match (number, value) {
            (1, Wire::Number(n)) => dtype = DType::from_tf(i32::try_from(n).ok()?),
            (2, Wire::Bytes(s)) => {
                for (number, dim) in fields(s)? {
                    if let (2, Wire::Bytes(d)) = (number, dim) {
                        let size = fields(d)?.iter().find_map(|f| match f {
                            (1, Wire::Number(n)) => Some(*n),
                            _ => None,
                        });
                        shape.push(usize::try_from(size.unwrap_or(0)).ok()?);
                    }
                }
            }
            (4, Wire::Bytes(c)) => content = Some(c),
            (8, Wire::Bytes(s)) => texts.push(s.to_vec()),
            // float, double, int, half, int64, bool, uint32, uint64
            (5 | 6 | 7 | 10 | 11 | 13 | 16 | 17, value) => numbers.push((number, value)),
            _ => {}
        }
    }
    let (dtype, n) = (dtype?, element_count(&shape)?);
    if dtype == DType::String {
        texts.resize(if texts.len() > n { return None } else { n }, texts.last().cloned().unwrap_or_default());
        return Some(Tensor::of_strings(&shape, texts));
    }
    if let Some(c) = content {
        return Tensor::from_bytes(dtype, &shape, Bytes::copy_of(c)).ok();
    }
    let size = dtype.size();
    let mut bytes: Vec<u8> = vec![];
    for (number, value) in numbers {
        // floats and doubles are stored as such, all others as varints whose low bytes are the number.
        let width = match number {
            5 => 4,
            6 => 8,
            _ => 0,
        };
        let mut push = |x: u64| bytes.extend(&x.to_le_bytes()[..if width > 0 { width } else { size.min(8) }]);
        match value {
            Wire::Number(x) => push(x),
            Wire::Bytes(mut packed) => {
                while !packed.is_empty() {
                    let fixed =
                        |m: &mut &[u8]| take(m, width).map(|b| b.iter().rev().fold(0, |x, &b| x << 8 | u64::from(b)));
                    push(if width > 0 { fixed(&mut packed)? } else { read_varint(&mut packed)? });
                }
            }
        }
    }
    // The last number stands for all that follow; without any, all are zero.
    let last = bytes.len().checked_sub(size).map_or(vec![0; size], |at| bytes[at..].to_vec());
    while bytes.len() < n.checked_mul(size)? {
        bytes.extend_from_slice(&last);
    }
    Tensor::from_bytes(dtype, &shape, Bytes::copy_of(&bytes)).ok()
}
