//! Code points from strings and strings from code points.
//!
//! Encodings: UTF-8, UTF-16-BE, UTF-32-BE, US-ASCII. E1 for text that is malformed where `errors` is `strict`.

use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{INDEX, STRING, host_op, int_tensor, ints, require, string_tensor, strings, typed};
use crate::{DType, Dim};

/// How text is read.
struct Reading<'a> {
    encoding: &'a str,
    errors: &'a str,
    replacement: i64,
    control: bool,
}

/// Accepts what the files' ops take as attributes.
fn check(op: &'static str, encodings: &[&str], errors: &str, replacement: i64) -> Result<(), OpError> {
    for e in encodings {
        let known = matches!(*e, "UTF-8" | "UTF-16-BE" | "UTF-32-BE" | "US-ASCII");
        require(op, "C4", known, || format!("the encoding `{e}` is not supported"))?;
    }
    let known = matches!(errors, "replace" | "ignore" | "strict");
    require(op, "C4", known, || format!("no way to treat errors is called `{errors}`"))?;
    let point = u32::try_from(replacement).ok().and_then(char::from_u32).is_some();
    require(op, "C4", point, || format!("{replacement} is no code point"))
}

impl Reading<'_> {
    /// The code points with the place where each starts.
    fn decode(&self, op: &'static str, s: &[u8]) -> Result<Vec<(i64, i64)>, OpError> {
        let mut out = vec![];
        for (point, at) in points(self.encoding, s) {
            match point {
                Some(c) if self.control && c < 0x20 => out.push((self.replacement, at as i64)),
                Some(c) => out.push((i64::from(c), at as i64)),
                None if self.errors == "strict" => {
                    return Err(OpError::new(op, "E1", format!("malformed text at byte {at}")));
                }
                None if self.errors == "ignore" => {}
                None => out.push((self.replacement, at as i64)),
            }
        }
        Ok(out)
    }
}

/// Code points with their places; `None` for each malformed stretch.
fn points(encoding: &str, s: &[u8]) -> Vec<(Option<u32>, usize)> {
    let mut out = vec![];
    let units = |width: usize| {
        let unit = move |c: &[u8]| {
            if c.len() < width { None } else { Some(c.iter().fold(0u32, |x, &b| x << 8 | u32::from(b))) }
        };
        s.chunks(width).map(unit).enumerate().map(move |(i, u)| (i * width, u))
    };
    match encoding {
        "UTF-8" => {
            let mut at = 0;
            for chunk in s.utf8_chunks() {
                out.extend(chunk.valid().char_indices().map(|(i, c)| (Some(c as u32), at + i)));
                at += chunk.valid().len();
                if !chunk.invalid().is_empty() {
                    out.push((None, at));
                    at += chunk.invalid().len();
                }
            }
        }
        "UTF-16-BE" => {
            let mut units = units(2).peekable();
            while let Some((at, unit)) = units.next() {
                let low = units.peek().and_then(|u| u.1).filter(|l| (0xDC00..0xE000).contains(l));
                match (unit, low) {
                    (Some(h), Some(l)) if (0xD800..0xDC00).contains(&h) => {
                        units.next();
                        out.push((Some(0x10000 + ((h - 0xD800) << 10) + (l - 0xDC00)), at));
                    }
                    (u, _) => out.push((u.filter(|&u| char::from_u32(u).is_some()), at)),
                }
            }
        }
        "UTF-32-BE" => out.extend(units(4).map(|(at, u)| (u.filter(|&u| char::from_u32(u).is_some()), at))),
        _ => out.extend(s.iter().enumerate().map(|(at, &b)| (Some(u32::from(b)).filter(|_| b < 128), at))),
    }
    out
}

/// Appends a code point.
fn encode(out: &mut Vec<u8>, encoding: &str, c: char) {
    match encoding {
        "UTF-16-BE" => c.encode_utf16(&mut [0; 2]).iter().for_each(|u| out.extend(u.to_be_bytes())),
        "UTF-32-BE" => out.extend((c as u32).to_be_bytes()),
        _ => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
    }
}

host_op! {
    /// `unicode_decode x`: the code points of a vector of strings as rows: splits, values, and each value's first byte.
    UnicodeDecode = "unicode_decode" {
        /// The number of code points of all strings.
        count: Dim,
        /// How the text is encoded.
        encoding: String,
        /// `replace`, `ignore` or `strict`.
        errors: String,
        /// The code point for malformed text.
        replacement: i64,
        /// Whether control characters are replaced as well.
        control: bool,
        /// The splits' type.
        splits: DType,
    }
    infer |op, given| {
        let [x] = typed("unicode_decode", given, [STRING])?;
        check("unicode_decode", &[&op.encoding], &op.errors, op.replacement)?;
        require("unicode_decode", "C4", INDEX.contains(&op.splits), || format!("splits of type {}", op.splits))?;
        let ends = x.elements() + Dim::from(1);
        let vector = |dtype| TensorType::new(dtype, vec![op.count.clone()]);
        Ok(vec![TensorType::new(op.splits, vec![ends]), vector(DType::I32), vector(DType::I64)])
    },
    eval |op, x| {
        let how = Reading { encoding: &op.encoding, errors: &op.errors, replacement: op.replacement, control: op.control };
        let (mut ends, mut values, mut places) = (vec![0], vec![], vec![]);
        for s in strings(x[0]) {
            for (c, at) in how.decode("unicode_decode", s)? {
                values.push(c);
                places.push(at);
            }
            ends.push(values.len() as i64);
        }
        let n = values.len();
        Ok(vec![
            int_tensor("unicode_decode", op.splits, &[ends.len()], &ends)?,
            int_tensor("unicode_decode", DType::I32, &[n], &values)?,
            int_tensor("unicode_decode", DType::I64, &[n], &places)?,
        ])
    },
}

host_op! {
    /// `unicode_encode values, splits`: a string for each row of code points.
    UnicodeEncode = "unicode_encode" {
        /// How the text is encoded.
        encoding: String,
        /// `replace`, `ignore` or `strict`.
        errors: String,
        /// What stands for numbers that are no code points.
        replacement: i64,
    }
    infer |op, given| {
        let [values, splits] = typed("unicode_encode", given, [&[DType::I32], INDEX])?;
        check("unicode_encode", &[&op.encoding], &op.errors, op.replacement)?;
        require("unicode_encode", "C3", values.rank() == 1 && splits.rank() == 1, || format!("{values} and {splits}"))?;
        Ok(vec![TensorType::new(DType::String, vec![splits.shape[0].clone() - Dim::from(1)])])
    },
    eval |op, x| {
        let (values, splits) = (ints(x[0]), ints(x[1]));
        let mut out = vec![];
        for pair in splits.windows(2) {
            let inside = 0 <= pair[0] && pair[0] <= pair[1] && pair[1] as usize <= values.len();
            require("unicode_encode", "E1", inside, || format!("the splits {splits:?} do not cut {} values", values.len()))?;
            let mut s = vec![];
            for &v in &values[pair[0] as usize..pair[1] as usize] {
                let point = |v: i64| u32::try_from(v).ok().and_then(char::from_u32);
                match (point(v), op.errors.as_str()) {
                    (Some(c), _) => encode(&mut s, &op.encoding, c),
                    (None, "strict") => return Err(OpError::new("unicode_encode", "E1", format!("{v} is no code point"))),
                    (None, "ignore") => {}
                    (None, _) => encode(&mut s, &op.encoding, point(op.replacement).unwrap_or('\u{fffd}')),
                }
            }
            out.push(s);
        }
        Ok(vec![string_tensor("unicode_encode", &[out.len()], out)?])
    },
}

host_op! {
    /// `unicode_transcode x`: text in another encoding.
    UnicodeTranscode = "unicode_transcode" {
        /// How the text is encoded.
        from: String,
        /// How it will be.
        to: String,
        /// `replace`, `ignore` or `strict`.
        errors: String,
        /// The code point for malformed text.
        replacement: i64,
        /// Whether control characters are replaced as well.
        control: bool,
    }
    infer |op, given| {
        let [x] = typed("unicode_transcode", given, [STRING])?;
        check("unicode_transcode", &[&op.from, &op.to], &op.errors, op.replacement)?;
        Ok(vec![x.clone()])
    },
    eval |op, x| {
        let how = Reading { encoding: &op.from, errors: &op.errors, replacement: op.replacement, control: op.control };
        let each = |s: &Vec<u8>| {
            let mut out = vec![];
            for (c, _) in how.decode("unicode_transcode", s)? {
                encode(&mut out, &op.to, u32::try_from(c).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'));
            }
            Ok(out)
        };
        let out = strings(x[0]).iter().map(each).collect::<Result<_, OpError>>()?;
        Ok(vec![string_tensor("unicode_transcode", x[0].shape(), out)?])
    },
}
