//! Strings cut into parts: the results' sizes are known only then.

use crate::graph::TensorType;
use crate::ops::host::{INDEX, STRING, host_op, int_tensor, ints, require, string_tensor, strings, typed};
use crate::{DType, Dim};

host_op! {
    /// `string_split x, separator`: the parts of each string as a sparse matrix: indices, values, shape.
    StringSplit = "string_split" {
        /// The number of parts of all strings.
        parts: Dim,
        /// At most so many cuts; 0 and less for any number.
        maxsplit: i64,
        /// Each byte of the separator separates, and none means between any two bytes; otherwise the separator is one,
        /// and none means white space.
        any_byte: bool,
        /// Whether empty parts are left out.
        skip_empty: bool,
    }
    infer |op, given| {
        let [x, separator] = typed("string_split", given, [STRING, STRING])?;
        require("string_split", "C3", x.rank() == 1, || format!("{x} is no vector"))?;
        require("string_split", "C3", separator.rank() == 0, || format!("the separator is {separator}"))?;
        Ok(super::sparse_matrix(&op.parts))
    },
    eval |op, x| {
        let separator = &strings(x[1])[0];
        let (mut at, mut values, mut width) = (vec![], vec![], 0);
        for (row, s) in strings(x[0]).iter().enumerate() {
            let mut parts = if op.any_byte { by_bytes(s, separator) } else { by_text(s, separator, op.maxsplit) };
            if op.skip_empty {
                parts.retain(|p| !p.is_empty());
            }
            width = width.max(parts.len());
            for (column, part) in parts.into_iter().enumerate() {
                at.extend([row as i64, column as i64]);
                values.push(part.to_vec());
            }
        }
        let n = values.len();
        Ok(vec![
            int_tensor("string_split", DType::I64, &[n, 2], &at)?,
            string_tensor("string_split", &[n], values)?,
            int_tensor("string_split", DType::I64, &[2], &[x[0].len() as i64, width as i64])?,
        ])
    },
}

fn by_bytes<'a>(s: &'a [u8], separators: &[u8]) -> Vec<&'a [u8]> {
    match separators {
        _ if s.is_empty() => vec![],
        [] => s.chunks(1).collect(),
        _ => s.split(|b| separators.contains(b)).collect(),
    }
}

fn by_text<'a>(mut s: &'a [u8], separator: &[u8], maxsplit: i64) -> Vec<&'a [u8]> {
    let mut parts = vec![];
    let enough = |parts: &[&[u8]]| maxsplit > 0 && parts.len() as i64 == maxsplit;
    let skip = |s: &'a [u8]| &s[s.iter().position(|&b| !super::is_space(b)).unwrap_or(s.len())..];
    if separator.is_empty() {
        s = skip(s);
        while !s.is_empty() {
            let end = s.iter().position(|&b| super::is_space(b)).unwrap_or(s.len());
            parts.push(&s[..end]);
            s = skip(&s[end..]);
            if enough(&parts) {
                parts.push(s);
                break;
            }
        }
        return parts;
    }
    while !enough(&parts) {
        let Some(at) = s.windows(separator.len()).position(|w| w == separator) else { break };
        parts.push(&s[..at]);
        s = &s[at + separator.len()..];
    }
    parts.push(s);
    parts
}

host_op! {
    /// `string_ngrams x, splits`: runs of neighbouring strings of each row, joined: the n-grams and their splits.
    StringNGrams = "string_ngrams" {
        /// The number of n-grams of all rows.
        count: Dim,
        /// Between the strings.
        separator: String,
        /// Lengths of runs.
        widths: Vec<i64>,
        /// What pads a row on its left.
        left_pad: String,
        /// What pads a row on its right.
        right_pad: String,
        /// At most so many pads a side; -1 for one less than the run's length.
        pad_width: i64,
        /// Whether a row too short for any run is a run itself.
        preserve_short: bool,
    }
    infer |op, given| {
        let [x, splits] = typed("string_ngrams", given, [STRING, INDEX])?;
        require("string_ngrams", "C3", x.rank() == 1 && splits.rank() == 1, || format!("{x} and {splits} are no rows"))?;
        require("string_ngrams", "C4", op.widths.iter().all(|&w| w > 0), || format!("runs of {:?}", op.widths))?;
        Ok(vec![TensorType::new(DType::String, vec![op.count.clone()]), splits.clone()])
    },
    eval |op, x| {
        let (splits, all) = (ints(x[1]), strings(x[0]));
        let (mut out, mut ends) = (vec![], Vec::with_capacity(splits.len()));
        ends.extend(splits.first().map(|_| 0));
        for pair in splits.windows(2) {
            let inside = 0 <= pair[0] && pair[0] <= pair[1] && pair[1] as usize <= all.len();
            require("string_ngrams", "E1", inside, || format!("the splits {splits:?} do not cut {} strings", all.len()))?;
            let row = &all[pair[0] as usize..pair[1] as usize];
            let before = out.len();
            op.widths.iter().for_each(|&w| op.runs(row, w, &mut out));
            if op.preserve_short && before == out.len() && !row.is_empty() {
                // The run that is the row with all its pads.
                let pads = if op.pad_width >= 0 { op.pad_width } else { 0 };
                op.runs(row, row.len() as i64 + 2 * pads, &mut out);
            }
            ends.push(out.len() as i64);
        }
        let n = out.len();
        Ok(vec![string_tensor("string_ngrams", &[n], out)?, int_tensor("string_ngrams", x[1].dtype(), x[1].shape(), &ends)?])
    },
}

impl StringNGrams {
    fn runs(&self, row: &[Vec<u8>], width: i64, out: &mut Vec<Vec<u8>>) {
        let pads = if self.pad_width < 0 { width - 1 } else { self.pad_width.min(width - 1) };
        let pad = |p: &String| vec![p.clone().into_bytes(); pads as usize];
        let padded = [&pad(&self.left_pad)[..], row, &pad(&self.right_pad)].concat();
        out.extend(padded.windows(width as usize).map(|run| run.join(self.separator.as_bytes())));
    }
}
