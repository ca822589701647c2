//! Crosses of features: every combination of a row's features, one of each column, as a string or as a hash.
//!
//! Columns are sparse matrices (indices, values, shape), ragged rows (values, splits) or dense matrices. The last column
//! varies fastest. `E1` for columns that do not fit each other.

use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{extents, host_op, int_tensor, ints, require, string_tensor, strings};
use crate::ops::strings::hash::{fingerprint, fingerprint_pair, siphash};
use crate::tensor::Tensor;
use crate::{DType, Dim};

const OP: &str = "feature_cross";

host_op! {
    /// `feature_cross columns.., how..`: for strings `how` is the separator; for `hash` the number of buckets and the
    /// hash that all start from; for `salted` the number of buckets, whether the hash is SipHash, and its two words.
    /// Results: a sparse matrix, or with `splits` ragged rows.
    FeatureCross = "feature_cross" {
        /// A letter for each column: `s`parse, `r`agged, `d`ense.
        columns: String,
        /// `join`, `hash` or `salted`.
        how: String,
        /// The number of crosses.
        count: Dim,
        /// The splits' type of ragged results; none makes the result sparse.
        splits: Vec<DType>,
        /// The number of rows.
        rows: Dim,
    }
    infer |op, given| infer(op, given),
    eval |op, x| eval(op, x),
}

/// How many operands a column takes.
fn width(kind: char) -> usize {
    match kind {
        's' => 3,
        'r' => 2,
        _ => 1,
    }
}

fn infer(op: &FeatureCross, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
    let own: usize = op.columns.chars().map(width).sum();
    let how: &[DType] = match op.how.as_str() {
        "join" => &[DType::String],
        "hash" => &[DType::I64, DType::I64],
        "salted" => &[DType::I64, DType::Bool, DType::I64],
        other => return Err(OpError::new(OP, "C4", format!("no way `{other}` to cross"))),
    };
    require(OP, "C1", given.len() == own + how.len(), || format!("{} operands for `{}`", given.len(), op.columns))?;
    let mut rest = given;
    for kind in op.columns.chars() {
        let (column, after) = rest.split_at(width(kind));
        rest = after;
        let values = if kind == 's' { column[1] } else { column[0] };
        let known = matches!(values.dtype, DType::String | DType::I64);
        require(OP, "C2", known, || format!("features of type {}, which are neither strings nor i64", values.dtype))?;
        let whole = |t: &TensorType| matches!(t.dtype, DType::I32 | DType::I64);
        let fits = match kind {
            's' => {
                super::check(OP, column[0], values, column[2])? == Some(2)
                    || (column[0].shape[1].as_const().is_none() && column[2].shape[0].as_const().is_none())
            }
            'r' => values.rank() == 1 && column[1].rank() == 1 && whole(column[1]),
            _ => values.rank() == 2,
        };
        require(OP, "C3", fits, || format!("a column of {column:?} has no rows of features"))?;
    }
    for (t, dtype) in rest.iter().zip(how) {
        require(OP, "C2", t.dtype == *dtype && t.rank() <= 1, || format!("{t} in place of {dtype}"))?;
    }
    let values = TensorType::new(if op.how == "join" { DType::String } else { DType::I64 }, vec![op.count.clone()]);
    Ok(match op.splits[..] {
        [splits] => vec![values, TensorType::new(splits, vec![op.rows.clone() + Dim::from(1)])],
        _ => vec![
            TensorType::new(DType::I64, vec![op.count.clone(), Dim::from(2)]),
            values,
            TensorType::fixed(DType::I64, &[2]),
        ],
    })
}

/// The features of a column, and where each row's begin.
struct Column<'a> {
    values: &'a Tensor,
    numbers: Vec<i64>,
    starts: Vec<usize>,
    dense: bool,
}

impl Column<'_> {
    fn read<'a>(kind: char, x: &[&'a Tensor]) -> Result<Column<'a>, OpError> {
        let values = if kind == 's' { x[1] } else { x[0] };
        let starts = match kind {
            's' => {
                let rows = super::rows_of(OP, x[0], x[2])?;
                let ascending = rows.windows(2).all(|w| w[0][0] <= w[1][0]);
                require(OP, "E1", ascending, || "the rows of a sparse column are not in order".into())?;
                let n = ints(x[2])[0] as usize;
                require(OP, "E2", n < isize::MAX as usize / 16, || format!("{n} rows"))?;
                (0..=n).map(|r| rows.partition_point(|i| i[0] < r as i64)).collect()
            }
            'r' => {
                let splits = ints(x[1]);
                super::ragged::check_splits(OP, &splits, values.len())?;
                splits.iter().map(|&s| s as usize).collect()
            }
            _ => (0..=values.shape()[0]).map(|r| r * values.shape()[1]).collect(),
        };
        Ok(Column { values, numbers: ints(values), starts, dense: kind == 'd' })
    }

    fn rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    fn count(&self, row: usize) -> usize {
        self.starts[row + 1] - self.starts[row]
    }

    fn text(&self, i: usize) -> Vec<u8> {
        match self.values.strings() {
            Some(s) => s[i].clone(),
            None => self.numbers[i].to_string().into_bytes(),
        }
    }

    fn hash(&self, i: usize) -> u64 {
        match self.values.strings() {
            Some(s) => fingerprint(&s[i]),
            None => self.numbers[i] as u64,
        }
    }

    /// As SparseCrossHashed hashes. Of a number only the four low bytes count, and with FarmHash a number of a dense
    /// column stands for itself: TensorFlow takes the size of its type enum for that of the number.
    fn salted(&self, i: usize, key: Option<[u64; 2]>) -> u64 {
        let low = self.numbers.get(i).map(|n| (*n as u32).to_le_bytes());
        let bytes = match (self.values.strings(), &low) {
            (Some(s), _) => &s[i][..],
            (None, Some(low)) => &low[..],
            (None, None) => &[],
        };
        match key {
            Some(key) => siphash(key, bytes),
            None if low.is_some() && self.dense => self.numbers[i] as u64,
            None => fingerprint(bytes),
        }
    }
}

fn eval(op: &FeatureCross, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
    let (mut columns, mut rest) = (vec![], x);
    for kind in op.columns.chars() {
        let (own, after) = rest.split_at(width(kind));
        columns.push(Column::read(kind, own)?);
        rest = after;
    }
    let rows = match columns.first() {
        Some(c) => c.rows(),
        None => 0,
    };
    let same = columns.iter().all(|c| c.rows() == rows);
    require(OP, "E1", same, || "the columns have unlike numbers of rows".into())?;
    if !op.splits.is_empty()
        && let Ok(n) = extents(OP, std::slice::from_ref(&op.rows))
    {
        require(OP, "E1", n[0] == rows, || format!("{rows} rows in place of {}", n[0]))?;
    }
    // A row's crosses, each as a feature of each column.
    let mut total = 0usize;
    let mut counts = Vec::with_capacity(rows);
    for row in 0..rows {
        let n = columns.iter().try_fold(1usize, |n, c| n.checked_mul(c.count(row)));
        let sum = n.and_then(|n| total.checked_add(n)).filter(|&n| n < isize::MAX as usize / 64);
        total = sum.ok_or_else(|| OpError::new(OP, "E2", format!("row {row} has too many crosses")))?;
        counts.push(n.unwrap_or(0));
    }
    let picks = (0..rows).flat_map(|row| {
        let columns = &columns;
        (0..counts[row]).map(move |mut k| {
            let mut pick = vec![0; columns.len()];
            for (i, c) in columns.iter().enumerate().rev() {
                pick[i] = c.starts[row] + k % c.count(row);
                k /= c.count(row);
            }
            pick
        })
    });
    let values = match op.how.as_str() {
        "join" => {
            let separator = &strings(rest[0])[0];
            let join = |pick: Vec<usize>| {
                let texts: Vec<_> = columns.iter().zip(pick).map(|(c, i)| c.text(i)).collect();
                texts.join(&separator[..])
            };
            string_tensor(OP, &[total], picks.map(join).collect())?
        }
        how => {
            let first = |t: &Tensor| ints(t).first().copied().unwrap_or(0);
            let buckets = first(rest[0]);
            // Without buckets all non-negative numbers but the last.
            let modulus = if buckets > 0 { buckets as u64 } else { i64::MAX as u64 };
            let hash: Box<dyn Fn(Vec<usize>) -> u64> = if how == "hash" {
                let start = first(rest[1]) as u64;
                let columns = &columns;
                Box::new(move |pick| columns.iter().zip(pick).fold(start, |h, (c, i)| fingerprint_pair(h, c.hash(i))))
            } else {
                let salt = ints(rest[2]);
                let [a, b] = salt[..] else {
                    return Err(OpError::new(OP, "E1", format!("the salt {salt:?} is not two words")));
                };
                let key = (first(rest[1]) != 0).then_some([a as u64, b as u64]);
                let columns = &columns;
                Box::new(move |pick| {
                    let each = columns.iter().zip(pick).map(|(c, i)| c.salted(i, key));
                    each.reduce(fingerprint_pair).unwrap_or(0)
                })
            };
            int_tensor(OP, DType::I64, &[total], &picks.map(|p| (hash(p) % modulus) as i64).collect::<Vec<_>>())?
        }
    };
    if let [dtype] = op.splits[..] {
        let mut splits = vec![0];
        splits.extend(counts.iter().scan(0, |sum, &n| {
            *sum += n as i64;
            Some(*sum)
        }));
        return Ok(vec![values, int_tensor(OP, dtype, &[rows + 1], &splits)?]);
    }
    let at: Vec<i64> = (0..rows).flat_map(|r| (0..counts[r]).flat_map(move |k| [r as i64, k as i64])).collect();
    let widest = counts.iter().copied().max().unwrap_or(0);
    let shape = int_tensor(OP, DType::I64, &[2], &[rows as i64, widest as i64])?;
    Ok(vec![int_tensor(OP, DType::I64, &[total, 2], &at)?, values, shape])
}
