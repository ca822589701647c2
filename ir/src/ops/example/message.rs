//! The messages Example and SequenceExample (tensorflow/core/example/example.proto), read field by field.

use std::collections::HashMap;

use crate::DType;
use crate::ops::strings::raw::{Wire, fields, read_varint};

/// The numbers or strings of a feature; `Nothing` where it says of no kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Feature {
    /// A list of no kind.
    Nothing,
    /// BytesList.
    Bytes(Vec<Vec<u8>>),
    /// FloatList.
    Floats(Vec<f32>),
    /// Int64List.
    Ints(Vec<i64>),
}

impl Feature {
    /// The element type, if there is one.
    pub fn dtype(&self) -> Option<DType> {
        match self {
            Feature::Nothing => None,
            Feature::Bytes(_) => Some(DType::String),
            Feature::Floats(_) => Some(DType::F32),
            Feature::Ints(_) => Some(DType::I64),
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Feature::Nothing => 0,
            Feature::Bytes(v) => v.len(),
            Feature::Floats(v) => v.len(),
            Feature::Ints(v) => v.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A message by key: of equal keys the last counts.
pub type ByKey<'a> = HashMap<&'a [u8], &'a [u8]>;

/// The features and the feature lists of an Example or SequenceExample; `None` for bytes that are neither.
pub fn example(m: &[u8]) -> Option<(ByKey<'_>, ByKey<'_>)> {
    let (mut features, mut lists) = (ByKey::new(), ByKey::new());
    for (number, value) in fields(m)? {
        let Wire::Bytes(part) = value else { continue };
        let into = match number {
            1 => &mut features,
            2 => &mut lists,
            _ => continue,
        };
        // Features and FeatureLists are maps: an entry has a key and a value.
        for (number, entry) in fields(part)? {
            let (1, Wire::Bytes(entry)) = (number, entry) else { continue };
            let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
            for field in fields(entry)? {
                match field {
                    (1, Wire::Bytes(k)) => key = k,
                    (2, Wire::Bytes(v)) => value = v,
                    _ => {}
                }
            }
            into.insert(key, value);
        }
    }
    Some((features, lists))
}

/// The features of a FeatureList.
pub fn feature_list(m: &[u8]) -> Option<Vec<Feature>> {
    let mut out = vec![];
    for field in fields(m)? {
        if let (1, Wire::Bytes(f)) = field {
            out.push(feature(f)?);
        }
    }
    Some(out)
}

/// A Feature: the last of its lists.
pub fn feature(m: &[u8]) -> Option<Feature> {
    let mut out = Feature::Nothing;
    for (number, value) in fields(m)? {
        let Wire::Bytes(list) = value else { continue };
        out = match number {
            1 => Feature::Bytes(bytes(list)?),
            2 => Feature::Floats(floats(list)?),
            3 => Feature::Ints(ints(list)?),
            _ => out,
        };
    }
    Some(out)
}

fn bytes(m: &[u8]) -> Option<Vec<Vec<u8>>> {
    let of = |f| match f {
        (1, Wire::Bytes(s)) => Some(s.to_vec()),
        _ => None,
    };
    Some(fields(m)?.into_iter().filter_map(of).collect())
}

/// Numbers may be packed or stand alone.
fn floats(m: &[u8]) -> Option<Vec<f32>> {
    let mut out = vec![];
    for field in fields(m)? {
        match field {
            (1, Wire::Number(n)) => out.push(f32::from_bits(u32::try_from(n).ok()?)),
            (1, Wire::Bytes(packed)) => {
                let (words, []) = packed.as_chunks::<4>() else { return None };
                out.extend(words.iter().map(|w| f32::from_le_bytes(*w)));
            }
            _ => {}
        }
    }
    Some(out)
}

fn ints(m: &[u8]) -> Option<Vec<i64>> {
    let mut out = vec![];
    for field in fields(m)? {
        match field {
            (1, Wire::Number(n)) => out.push(n as i64),
            (1, Wire::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    out.push(read_varint(&mut packed)? as i64);
                }
            }
            _ => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_refused_and_the_rest_read() {
        // features { feature { key: "a" value { int64_list { value: [3, 300] } } } }, packed.
        let m = [10, 14, 10, 12, 10, 1, b'a', 18, 7, 26, 5, 10, 3, 3, 172, 2];
        let (features, lists) = example(&m).unwrap();
        assert!(lists.is_empty());
        assert_eq!(feature(features[&b"a"[..]]), Some(Feature::Ints(vec![3, 300])));
        for n in 1..m.len() {
            let whole = example(&m[..n]).is_some_and(|(f, _)| f.values().all(|f| feature(f).is_some()));
            assert!(!whole || n == m.len(), "cut after {n}");
        }
        assert_eq!(feature(&[]), Some(Feature::Nothing));
        assert_eq!(feature(&[18, 5, 10, 3, 0, 0, 0]), None);
    }
}
