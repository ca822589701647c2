//! Strings of bytes.
//!
//! Units other than bytes are the characters of UTF-8, where each byte that does not continue one starts one.

pub mod csv;
pub mod hash;
pub mod join;
pub mod number;
pub mod raw;
pub mod regex;
pub mod script;
pub mod split;
mod tf;
pub mod unicode;

pub use tf::TF;

use crate::graph::TensorType;
use crate::op::{OpDef, OpError};
use crate::ops::host::{INDEX, STRING, host_op, int_tensor, ints, require, string_tensor, strings, typed};
use crate::{DType, Dim};

/// The ops of these files.
pub const OPS: &[OpDef] = &[
    StringMap::def(&[]),
    StringLength::def(&[]),
    Substr::def(&[]),
    join::StringJoin::def(&[]),
    join::ReduceJoin::def(&[]),
    join::SegmentJoin::def(&[]),
    join::StringFormat::def(&[]),
    number::StringToNumber::def(&[]),
    number::AsString::def(&[]),
    regex::RegexReplace::def(&[]),
    regex::RegexFullMatch::def(&[]),
    hash::HashBucket::def(&[]),
    hash::Fingerprint::def(&[]),
    split::StringSplit::def(&[]),
    split::StringNGrams::def(&[]),
    raw::DecodeRaw::def(&[]),
    raw::SerializeTensor::def(&[]),
    raw::ParseTensor::def(&[]),
    unicode::UnicodeDecode::def(&[]),
    unicode::UnicodeEncode::def(&[]),
    unicode::UnicodeTranscode::def(&[]),
    script::UnicodeScript::def(&[]),
    csv::DecodeCsv::def(&[]),
];

host_op! {
    /// `string_map x`: a function of each string.
    StringMap = "string_map" {
        /// `lower`, `upper` (of ASCII letters), `lower_utf8`, `upper_utf8`, `strip`, `base64`, `base64_padded` or
        /// `unbase64`.
        function: String,
    }
    infer |op, given| {
        let [x] = typed("string_map", given, [STRING])?;
        let known = ["lower", "upper", "lower_utf8", "upper_utf8", "strip", "base64", "base64_padded", "unbase64"];
        require("string_map", "C4", known.contains(&op.function.as_str()), || format!("no function `{}`", op.function))?;
        Ok(vec![x.clone()])
    },
    eval |op, x| {
        let text = |s: &[u8]| String::from_utf8_lossy(s).into_owned();
        let apply = |s: &Vec<u8>| Ok(match op.function.as_str() {
            "lower" => s.to_ascii_lowercase(),
            "upper" => s.to_ascii_uppercase(),
            "lower_utf8" => text(s).to_lowercase().into_bytes(),
            "upper_utf8" => text(s).to_uppercase().into_bytes(),
            "strip" => strip(s).to_vec(),
            "unbase64" => raw::unbase64(s)?,
            padded => raw::base64(s, padded == "base64_padded"),
        });
        let out = strings(x[0]).iter().map(apply).collect::<Result<_, OpError>>()?;
        Ok(vec![string_tensor("string_map", x[0].shape(), out)?])
    },
}

/// C's isspace.
pub(crate) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | 9..=13)
}

/// Without the white space at both ends.
pub(crate) fn strip(s: &[u8]) -> &[u8] {
    let start = s.iter().position(|&b| !is_space(b)).unwrap_or(s.len());
    let end = s.iter().rposition(|&b| !is_space(b)).map_or(start, |e| e + 1);
    &s[start..end]
}

host_op! {
    /// `string_length x`: the number of units of each string, i32.
    StringLength = "string_length" {
        /// Characters of UTF-8 in place of bytes.
        characters: bool,
    }
    infer |_, given| {
        let [x] = typed("string_length", given, [STRING])?;
        Ok(vec![TensorType::new(DType::I32, x.shape.clone())])
    },
    eval |op, x| {
        let count = |s: &Vec<u8>| if op.characters { starts(s).count() } else { s.len() } as i64;
        let n: Vec<i64> = strings(x[0]).iter().map(count).collect();
        Ok(vec![int_tensor("string_length", DType::I32, x[0].shape(), &n)?])
    },
}

/// Where characters start.
pub(crate) fn starts(s: &[u8]) -> impl Iterator<Item = usize> + '_ {
    s.iter().enumerate().filter(|(_, b)| **b & 0xC0 != 0x80).map(|(i, _)| i)
}

host_op! {
    /// `substr x, pos, len`: at most `len` units from `pos` on, which counts from the end where it is negative; with
    /// broadcasting. E1 where `pos` is outside of the string.
    Substr = "substr" {
        /// Characters of UTF-8 in place of bytes.
        characters: bool,
    }
    infer |_, given| {
        let [x, pos, len] = typed("substr", given, [STRING, INDEX, INDEX])?;
        let same = pos.dtype == len.dtype && pos.rank() == len.rank();
        require("substr", "C3", same, || format!("{pos} and {len} are not alike"))?;
        let shape = crate::ops::pointwise::broadcast_shapes(&x.shape, &pos.shape);
        let shape = shape.ok_or_else(|| OpError::new("substr", "C3", format!("{x} and {pos} do not broadcast")))?;
        Ok(vec![TensorType::new(DType::String, shape)])
    },
    eval |op, x| {
        let shape = broadcast(x[0].shape(), x[1].shape());
        let (pos, len) = (ints(x[1]), ints(x[2]));
        let mut out = vec![];
        each_broadcast(&shape, &[x[0].shape(), x[1].shape()], |at| {
            let (s, pos, len) = (&strings(x[0])[at[0]], pos[at[1]], len[at[1]]);
            // The place of each unit, and the end.
            let units: Vec<usize> = if op.characters { starts(s).collect() } else { (0..s.len()).collect() };
            let n = units.len() as i64;
            let from = if pos < 0 { pos + n } else { pos };
            require("substr", "E1", (0..=n).contains(&from), || format!("position {pos} of a string of {n}"))?;
            let to = if len < 0 { n } else { from.saturating_add(len).min(n) };
            let place = |unit: i64| units.get(unit as usize).copied().unwrap_or(s.len());
            out.push(s[place(from)..place(to)].to_vec());
            Ok(())
        })?;
        Ok(vec![string_tensor("substr", &shape, out)?])
    },
}

/// The shape to which two shapes that broadcast do.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
    (0..rank).map(|i| if at(a, i) == 1 { at(b, i) } else { at(a, i) }).collect()
}

/// Calls `f` for each element of a shape with the place, in each operand, of the element that broadcasts there.
pub(crate) fn each_broadcast(
    shape: &[usize],
    operands: &[&[usize]],
    mut f: impl FnMut(&[usize]) -> Result<(), OpError>,
) -> Result<(), OpError> {
    if shape.contains(&0) {
        return Ok(());
    }
    let mut index = vec![0usize; shape.len()];
    let place = |s: &[usize], index: &[usize]| {
        let lead = shape.len() - s.len();
        let stride = crate::ops::shape::strides(s);
        (0..s.len()).map(|i| if s[i] == 1 { 0 } else { index[lead + i] * stride[i] }).sum()
    };
    loop {
        let at: Vec<usize> = operands.iter().map(|s| place(s, &index)).collect();
        f(&at)?;
        if !crate::ops::shape::advance(&mut index, |axis| shape[axis]) {
            return Ok(());
        }
    }
}

/// A matrix type of `n` rows of two indices, the values of `n` elements, and a shape of rank 2: a sparse matrix.
fn sparse_matrix(n: &Dim) -> Vec<TensorType> {
    vec![
        TensorType::new(DType::I64, vec![n.clone(), Dim::from(2)]),
        TensorType::new(DType::String, vec![n.clone()]),
        TensorType::fixed(DType::I64, &[2]),
    ]
}
