//! Records of separated values (RFC 4180) as columns.

use crate::DType;
use crate::graph::TensorType;
use crate::op::{Op, OpError};
use crate::ops::host::{host_op, require, strings};
use crate::ops::strings::number::StringToNumber;
use crate::tensor::Tensor;

const OP: &str = "decode_csv";

host_op! {
    /// `decode_csv records, defaults..`: a result for each default, of the records' shape. A default is one element, or
    /// none where the field must be there. E1 for records that do not fit.
    DecodeCsv = "decode_csv" {
        /// One byte between fields.
        delimiter: String,
        /// Whether double quotes hold fields together.
        quotes: bool,
        /// What stands for a missing field, besides nothing.
        missing: String,
        /// The numbers of the fields taken, ascending; none takes all.
        select: Vec<i64>,
    }
    infer |op, given| {
        let [records, defaults @ ..] = given else { return Err(OpError::new(OP, "C1", "no records")) };
        require(OP, "C2", records.dtype == DType::String, || format!("records {records}"))?;
        require(OP, "C4", op.delimiter.len() == 1, || format!("the delimiter `{}` is not one byte", op.delimiter))?;
        let ascending = op.select.windows(2).all(|w| w[0] < w[1]) && op.select.iter().all(|&c| c >= 0);
        let all = op.select.is_empty() || op.select.len() == defaults.len();
        require(OP, "C4", ascending && all, || format!("columns {:?} for {} results", op.select, defaults.len()))?;
        for d in defaults {
            let known = matches!(d.dtype, DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::String);
            require(OP, "C2", known, || format!("fields of type {}", d.dtype))?;
            let one = d.rank() == 0 || (d.rank() == 1 && d.shape[0].as_const().is_none_or(|n| n <= 1));
            require(OP, "C3", one, || format!("the default {d} is more than one element"))?;
        }
        Ok(defaults.iter().map(|d| TensorType::new(d.dtype, records.shape.clone())).collect())
    },
    eval |op, x| {
        let (records, defaults) = (strings(x[0]), &x[1..]);
        let mut columns: Vec<Vec<Vec<u8>>> = vec![Vec::with_capacity(records.len()); defaults.len()];
        let mut missing: Vec<Vec<usize>> = vec![vec![]; defaults.len()];
        for (r, record) in records.iter().enumerate() {
            let fields = op.fields(record).map_err(|e| OpError::new(OP, "E1", format!("record {r}: {e}")))?;
            require(OP, "E1", fields.len() == defaults.len(), || {
                format!("record {r} has {} fields, not {}", fields.len(), defaults.len())
            })?;
            for (c, field) in fields.into_iter().enumerate() {
                if field.is_empty() || field == op.missing.as_bytes() {
                    require(OP, "E1", !defaults[c].is_empty(), || format!("record {r}: field {c} is required but missing"))?;
                    missing[c].push(r);
                }
                columns[c].push(field);
            }
        }
        let shape = x[0].shape();
        let column = |(c, mut fields): (usize, Vec<Vec<u8>>)| column(c, &mut fields, &missing[c], defaults[c], shape);
        columns.into_iter().enumerate().map(column).collect()
    },
}

/// The fields of a column as a tensor, with the default where they are missing.
fn column(
    c: usize,
    fields: &mut Vec<Vec<u8>>,
    missing: &[usize],
    default: &Tensor,
    shape: &[usize],
) -> Result<Tensor, OpError> {
    let dtype = default.dtype();
    if let Some(d) = default.strings() {
        missing.iter().for_each(|&r| fields[r] = d[0].clone());
        return crate::ops::host::string_tensor(OP, shape, std::mem::take(fields));
    }
    missing.iter().for_each(|&r| fields[r] = b"0".to_vec());
    let text = crate::ops::host::string_tensor(OP, shape, std::mem::take(fields))?;
    let parsed = StringToNumber { dtype }.eval(&[&text]);
    let parsed = parsed.map_err(|e| OpError::new(OP, "E1", format!("field {c}: {}", e.message)))?;
    let mut t = parsed.into_iter().next().ok_or_else(|| OpError::new(OP, "C4", "no column"))?;
    let (size, own) = (dtype.size(), default.bytes());
    missing.iter().for_each(|&r| t.bytes_mut()[r * size..(r + 1) * size].copy_from_slice(&own[..size]));
    Ok(t)
}

impl DecodeCsv {
    /// The fields taken of a record; a quoted field ends with a quote before a delimiter or the end.
    fn fields(&self, record: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
        let delimiter = self.delimiter.as_bytes().first().copied().unwrap_or(b',');
        let taken = |n: usize| self.select.is_empty() || self.select.contains(&(n as i64));
        let (mut out, mut number, mut at) = (vec![], 0, 0);
        let mut take = |number: &mut usize, field: Vec<u8>| {
            if taken(*number) {
                out.push(field);
            }
            *number += 1;
        };
        while at < record.len() {
            match record[at] {
                b'\n' | b'\r' => at += 1,
                b'"' if self.quotes => {
                    let (field, end) = quoted(record, at + 1, delimiter)?;
                    take(&mut number, field);
                    at = end + 1;
                }
                _ => {
                    let end = record[at..].iter().position(|&b| b == delimiter).map_or(record.len(), |n| at + n);
                    let field = &record[at..end];
                    if field.iter().any(|&b| matches!(b, b'\n' | b'\r') || (self.quotes && b == b'"')) {
                        return Err("a field that is not quoted has quotes or line ends inside");
                    }
                    take(&mut number, field.to_vec());
                    at = end + 1;
                }
            }
            // What is behind the last column that is taken may be anything.
            if self.select.last().is_some_and(|&last| number as i64 > last) {
                return Ok(out);
            }
        }
        if record.last() == Some(&delimiter) {
            take(&mut number, vec![]);
        }
        Ok(out)
    }
}

/// The quoted field that begins at `at`, and where the delimiter behind it stands.
fn quoted(record: &[u8], mut at: usize, delimiter: u8) -> Result<(Vec<u8>, usize), &'static str> {
    let mut field = vec![];
    loop {
        match (record.get(at), record.get(at + 1)) {
            (Some(b'"'), None) => return Ok((field, at + 1)),
            (Some(b'"'), Some(&next)) if next == delimiter => return Ok((field, at + 1)),
            (Some(b'"'), Some(b'"')) => {
                field.push(b'"');
                at += 2;
            }
            (Some(b'"'), Some(_)) => return Err("a quote inside of a quoted field has to be doubled"),
            (Some(&b), Some(_)) => {
                field.push(b);
                at += 1;
            }
            (_, None) => return Err("a quoted field has to end with a quote"),
            (None, Some(_)) => return Err("a quoted field has to end"),
        }
    }
}
