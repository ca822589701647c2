//! `parse_example`: tensors from Examples and SequenceExamples, the messages that TensorFlow stores data sets as.
//!
//! A column is a key and how its values become tensors. `E1` for bytes that are no message, and for values that do not
//! fit their column; the message names the example, the key and what to do.

pub mod message;
mod tf;

pub use tf::TF;

use crate::graph::TensorType;
use crate::op::{OpDef, OpError};
use crate::ops::host::{host_op, int_tensor, require, string_tensor, strings};
use crate::tensor::{Tensor, element_count};
use crate::{DType, Dim};
use message::{ByKey, Feature};

const OP: &str = "parse_example";

/// The op of this file.
pub const OPS: &[OpDef] = &[ParseExample::def(&[])];

host_op! {
    /// `parse_example messages, names, defaults..`: the columns of a vector of messages, or of a single one. `names` is
    /// empty or names each message in errors; defaults go with the dense columns of `kinds` `d` and `v`.
    ///
    /// Results, column by column, with the batch as first axis unless the message is a single one: `s` indices, values,
    /// shape; `d` and `v` values; `r` values, splits; `S` indices, values, shape; `D` and `E` values, lengths; `R`
    /// values, outer and inner splits. A single message has no splits of the batch: they are empty.
    ParseExample = "parse_example" {
        /// The key of each column.
        keys: Tensor,
        /// A letter for each column. Of features: `s`parse, `d`ense, dense of `v`ariable length, `r`agged. Of lists of
        /// features: `S`parse, `D`ense, dense where a missing list is `E`mpty, `R`agged.
        kinds: String,
        /// The element type and, for dense columns, the shape of each column; the first extent of a `v` varies.
        types: Vec<TensorType>,
        /// The type of splits of each ragged column.
        splits: Vec<DType>,
        /// The sizes that depend on data: of `s`, `v`, `r`, `S`, `D` and `E` the number of values or the longest
        /// length, of `R` the number of values and of inner rows.
        counts: Vec<Dim>,
    }
    infer |op, given| infer(op, given),
    eval |op, x| eval(op, x),
}

impl ParseExample {
    /// Key, kind and type of each column.
    fn columns(&self) -> impl Iterator<Item = (&[u8], char, &TensorType)> {
        strings(&self.keys).iter().zip(self.kinds.chars()).zip(&self.types).map(|((k, c), t)| (&k[..], c, t))
    }
}

fn vector(dtype: DType, n: &Dim) -> TensorType {
    TensorType::new(dtype, vec![n.clone()])
}

fn infer(op: &ParseExample, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
    let n = op.kinds.chars().count();
    let listed = op.keys.strings().map(<[_]>::len) == Some(n) && op.types.len() == n;
    require(OP, "C4", listed, || format!("kinds `{}` of keys {:?} and {} types", op.kinds, op.keys, op.types.len()))?;
    let defaults = op.columns().filter(|c| matches!(c.1, 'd' | 'v')).count();
    require(OP, "C1", given.len() == 2 + defaults, || format!("{} operands for `{}`", given.len(), op.kinds))?;
    let (messages, names) = (given[0], given[1]);
    let text = messages.dtype == DType::String && names.dtype == DType::String;
    require(OP, "C2", text, || format!("messages {messages} and names {names}"))?;
    require(OP, "C3", messages.rank() <= 1 && names.rank() <= 1, || format!("messages {messages}, names {names}"))?;
    let batch = &messages.shape[..];
    let mut counts = op.counts.iter();
    let mut count = || counts.next().ok_or_else(|| OpError::new(OP, "C4", format!("{} sizes", op.counts.len())));
    let (mut splits, mut defaults) = (op.splits.iter(), given[2..].iter());
    let mut split =
        || splits.next().ok_or_else(|| OpError::new(OP, "C4", format!("{} types of splits", op.splits.len())));
    let outer = |dtype: DType| {
        let n = messages.shape.first().map_or(Dim::from(0), |n| n.clone() + Dim::from(1));
        vector(dtype, &n)
    };
    let mut out = vec![];
    for (key, kind, ty) in op.columns() {
        let key = || String::from_utf8_lossy(key).into_owned();
        let known = matches!(ty.dtype, DType::String | DType::F32 | DType::I64);
        require(OP, "C4", known, || format!("features hold f32, i64 or strings; `{}` is {ty}", key()))?;
        if matches!(kind, 'd' | 'v')
            && let Some(default) = defaults.next()
        {
            let same = default.dtype == ty.dtype;
            require(OP, "C2", same, || format!("the default of `{}` is {default}, not {}", key(), ty.dtype))?;
        }
        match kind {
            's' | 'S' => {
                let (n, rank) = (count()?, batch.len() + if kind == 's' { 1 } else { 2 });
                out.push(TensorType::new(DType::I64, vec![n.clone(), Dim::from(rank)]));
                out.push(vector(ty.dtype, n));
                out.push(TensorType::fixed(DType::I64, &[rank]));
            }
            'd' => out.push(TensorType::new(ty.dtype, [batch, &ty.shape[..]].concat())),
            'v' => {
                require(OP, "C4", ty.rank() >= 1, || format!("`{}` has no extent that varies", key()))?;
                out.push(TensorType::new(ty.dtype, [batch, &[count()?.clone()], &ty.shape[1..]].concat()));
            }
            'D' | 'E' => {
                out.push(TensorType::new(ty.dtype, [batch, &[count()?.clone()], &ty.shape[..]].concat()));
                out.push(TensorType::new(DType::I64, batch.to_vec()));
            }
            'r' => {
                out.push(vector(ty.dtype, count()?));
                out.push(outer(*split()?));
            }
            'R' => {
                out.push(vector(ty.dtype, count()?));
                let dtype = *split()?;
                out.push(outer(dtype));
                out.push(vector(dtype, &(count()?.clone() + Dim::from(1))));
            }
            other => return Err(OpError::new(OP, "C4", format!("no kind `{other}` of columns"))),
        }
    }
    Ok(out)
}

/// Values of one type, growing.
struct Values {
    dtype: DType,
    texts: Vec<Vec<u8>>,
    floats: Vec<f32>,
    ints: Vec<i64>,
}

impl Values {
    fn new(dtype: DType) -> Values {
        Values { dtype, texts: vec![], floats: vec![], ints: vec![] }
    }

    fn len(&self) -> usize {
        self.texts.len() + self.floats.len() + self.ints.len()
    }

    fn push(&mut self, f: Feature) {
        match f {
            Feature::Nothing => {}
            Feature::Bytes(v) => self.texts.extend(v),
            Feature::Floats(v) => self.floats.extend(v),
            Feature::Ints(v) => self.ints.extend(v),
        }
    }

    /// All elements of a default, repeated; zeros and empty strings without one.
    fn pad(&mut self, default: Option<&Tensor>, times: usize) {
        let zero = Tensor::zeros(self.dtype, &[1]);
        let t = default.unwrap_or(&zero);
        for _ in 0..times {
            self.texts.extend_from_slice(strings(t));
            self.floats.extend_from_slice(t.as_slice().unwrap_or(&[]));
            self.ints.extend_from_slice(t.as_slice().unwrap_or(&[]));
        }
    }

    fn tensor(self, shape: &[usize]) -> Result<Tensor, OpError> {
        let n = self.len();
        require(OP, "E2", element_count(shape) == Some(n), || format!("{n} values cannot have shape {shape:?}"))?;
        match self.dtype {
            DType::String => string_tensor(OP, shape, self.texts),
            DType::I64 => int_tensor(OP, DType::I64, shape, &self.ints),
            _ => Ok(Tensor::of(shape, &self.floats)),
        }
    }
}

/// A message with what errors call it.
struct Message<'a> {
    name: String,
    features: ByKey<'a>,
    lists: ByKey<'a>,
}

fn fail(name: &str, key: &[u8], what: impl std::fmt::Display) -> OpError {
    OpError::new(OP, "E1", format!("example {name}, key `{}`: {what}", String::from_utf8_lossy(key)))
}

impl Message<'_> {
    /// The feature of a key, `Nothing` where there is none.
    fn feature(&self, key: &[u8], dtype: DType) -> Result<Feature, OpError> {
        let Some(m) = self.features.get(key) else { return Ok(Feature::Nothing) };
        let f = message::feature(m).ok_or_else(|| fail(&self.name, key, "the bytes are no feature"))?;
        self.check(key, dtype, &f)?;
        Ok(f)
    }

    /// The list of features of a key.
    fn list(&self, key: &[u8], dtype: DType) -> Result<Option<Vec<Feature>>, OpError> {
        let Some(m) = self.lists.get(key) else { return Ok(None) };
        let list =
            message::feature_list(m).ok_or_else(|| fail(&self.name, key, "the bytes are no list of features"))?;
        list.iter().try_for_each(|f| self.check(key, dtype, f))?;
        Ok(Some(list))
    }

    fn check(&self, key: &[u8], dtype: DType, f: &Feature) -> Result<(), OpError> {
        match f.dtype() {
            Some(found) if found != dtype => Err(fail(&self.name, key, format!("the values are {found}, not {dtype}"))),
            _ => Ok(()),
        }
    }
}

fn eval(op: &ParseExample, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
    let (all, names) = (strings(x[0]), strings(x[1]));
    let single = x[0].shape().is_empty();
    let mut messages = Vec::with_capacity(all.len());
    for (i, m) in all.iter().enumerate() {
        let name = names.get(i).map_or(i.to_string(), |n| format!("`{}`", String::from_utf8_lossy(n)));
        let Some((features, lists)) = message::example(m) else {
            return Err(OpError::new(OP, "E1", format!("example {name} is no Example message")));
        };
        messages.push(Message { name, features, lists });
    }
    let (mut defaults, mut splits) = (x[2..].iter(), op.splits.iter().copied());
    let mut out = vec![];
    for (key, kind, ty) in op.columns() {
        let column = Column { key, dtype: ty.dtype, messages: &messages, single };
        match kind {
            's' => column.sparse(&mut out)?,
            'S' => column.sparse_lists(&mut out)?,
            'd' | 'v' => {
                let default = defaults.next().copied();
                if kind == 'd' {
                    column.dense(ty, default, &mut out)?
                } else {
                    column.varying(ty, default, &mut out)?
                }
            }
            'D' | 'E' => column.dense_lists(ty, kind == 'E', &mut out)?,
            _ => {
                let dtype = splits.next().unwrap_or(DType::I64);
                if kind == 'r' { column.ragged(dtype, &mut out)? } else { column.ragged_lists(dtype, &mut out)? }
            }
        }
    }
    Ok(out)
}

struct Column<'a> {
    key: &'a [u8],
    dtype: DType,
    messages: &'a [Message<'a>],
    single: bool,
}

impl Column<'_> {
    /// The shape with the batch in front of it.
    fn batched(&self, shape: &[usize]) -> Vec<usize> {
        if self.single { shape.to_vec() } else { [&[self.messages.len()], shape].concat() }
    }

    /// Fixed extents of a dense column from axis `from` on.
    fn extents(&self, ty: &TensorType, from: usize) -> Result<Vec<usize>, OpError> {
        crate::ops::host::extents(OP, ty.shape.get(from..).unwrap_or(&[]))
    }

    /// Pushes indices, values and the shape; a row of indices begins with the example.
    fn push_sparse(
        &self,
        at: &[Vec<i64>],
        values: Values,
        shape: &[usize],
        out: &mut Vec<Tensor>,
    ) -> Result<(), OpError> {
        let skip = usize::from(self.single);
        let flat: Vec<i64> = at.iter().flat_map(|row| row[skip..].iter().copied()).collect();
        let shape: Vec<i64> = shape[skip..].iter().map(|&n| n as i64).collect();
        let n = values.len();
        out.push(int_tensor(OP, DType::I64, &[at.len(), shape.len()], &flat)?);
        out.push(values.tensor(&[n])?);
        out.push(int_tensor(OP, DType::I64, &[shape.len()], &shape)?);
        Ok(())
    }

    fn sparse(&self, out: &mut Vec<Tensor>) -> Result<(), OpError> {
        let (mut at, mut values, mut widest) = (vec![], Values::new(self.dtype), 0);
        for (i, m) in self.messages.iter().enumerate() {
            let f = m.feature(self.key, self.dtype)?;
            widest = widest.max(f.len());
            at.extend((0..f.len()).map(|k| vec![i as i64, k as i64]));
            values.push(f);
        }
        self.push_sparse(&at, values, &[self.messages.len(), widest], out)
    }

    fn sparse_lists(&self, out: &mut Vec<Tensor>) -> Result<(), OpError> {
        let (mut at, mut values, mut longest, mut widest) = (vec![], Values::new(self.dtype), 0, 0);
        for (i, m) in self.messages.iter().enumerate() {
            let list = m.list(self.key, self.dtype)?.unwrap_or_default();
            longest = longest.max(list.len());
            for (t, f) in list.into_iter().enumerate() {
                widest = widest.max(f.len());
                at.extend((0..f.len()).map(|k| vec![i as i64, t as i64, k as i64]));
                values.push(f);
            }
        }
        self.push_sparse(&at, values, &[self.messages.len(), longest, widest], out)
    }

    fn dense(&self, ty: &TensorType, default: Option<&Tensor>, out: &mut Vec<Tensor>) -> Result<(), OpError> {
        let shape = self.extents(ty, 0)?;
        let n: usize = shape.iter().product();
        // TensorFlow takes no default but of the shape itself.
        let fits = default.filter(|d| !d.is_empty() || n == 0);
        if let Some(d) = fits {
            require(OP, "E1", d.shape() == shape, || {
                format!(
                    "key `{}`: the default has shape {:?}, not {shape:?}",
                    String::from_utf8_lossy(self.key),
                    d.shape()
                )
            })?;
        }
        let mut values = Values::new(self.dtype);
        for m in self.messages {
            match (m.feature(self.key, self.dtype)?, fits) {
                (Feature::Nothing, Some(d)) => values.pad(Some(d), 1),
                (Feature::Nothing, None) => {
                    let what = "it is required, as there is no default, but could not be found";
                    return Err(fail(&m.name, self.key, what));
                }
                (f, _) if f.len() == n => values.push(f),
                (f, _) => return Err(fail(&m.name, self.key, format!("{} values for the shape {shape:?}", f.len()))),
            }
        }
        out.push(values.tensor(&self.batched(&shape))?);
        Ok(())
    }

    fn varying(&self, ty: &TensorType, default: Option<&Tensor>, out: &mut Vec<Tensor>) -> Result<(), OpError> {
        let rest = self.extents(ty, 1)?;
        let row: usize = rest.iter().product();
        let fits = default.filter(|d| d.len() == 1);
        let padding = fits.ok_or_else(|| fail("-", self.key, "the default, which pads, must be one value"))?;
        let each = self.messages.iter().map(|m| {
            let f = m.feature(self.key, self.dtype)?;
            let whole = if row == 0 { f.is_empty() } else { f.len() % row == 0 };
            if whole { Ok(f) } else { Err(fail(&m.name, self.key, format!("{} values in rows of {rest:?}", f.len()))) }
        });
        let each = each.collect::<Result<Vec<_>, _>>()?;
        let longest = each.iter().map(|f| f.len() / row.max(1)).max().unwrap_or(0);
        let mut values = Values::new(self.dtype);
        for f in each {
            let missing = longest * row - f.len();
            values.push(f);
            values.pad(Some(padding), missing);
        }
        out.push(values.tensor(&self.batched(&[&[longest], &rest[..]].concat()))?);
        Ok(())
    }

    fn dense_lists(&self, ty: &TensorType, may_miss: bool, out: &mut Vec<Tensor>) -> Result<(), OpError> {
        let shape = self.extents(ty, 0)?;
        let row: usize = shape.iter().product();
        let mut lists = vec![];
        for m in self.messages {
            let list = m.list(self.key, self.dtype)?;
            if list.is_none() && !may_miss {
                let what = "the list of features is required but could not be found; name it in \
                            feature_list_dense_missing_assumed_empty to take it for empty";
                return Err(fail(&m.name, self.key, what));
            }
            let list = list.unwrap_or_default();
            if let Some(f) = list.iter().find(|f| f.len() != row) {
                return Err(fail(&m.name, self.key, format!("{} values for the shape {shape:?}", f.len())));
            }
            lists.push(list);
        }
        let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
        let lengths: Vec<i64> = lists.iter().map(|l| l.len() as i64).collect();
        let mut values = Values::new(self.dtype);
        for list in lists {
            let missing = (longest - list.len()) * row;
            list.into_iter().for_each(|f| values.push(f));
            values.pad(None, missing);
        }
        out.push(values.tensor(&self.batched(&[&[longest], &shape[..]].concat()))?);
        out.push(int_tensor(OP, DType::I64, &self.batched(&[]), &lengths)?);
        Ok(())
    }

    /// Splits of the batch: the running sum of lengths.
    fn push_splits(&self, dtype: DType, lengths: &[usize], out: &mut Vec<Tensor>) -> Result<(), OpError> {
        let splits = if self.single { vec![] } else { running(lengths) };
        out.push(int_tensor(OP, dtype, &[splits.len()], &splits)?);
        Ok(())
    }

    fn ragged(&self, splits: DType, out: &mut Vec<Tensor>) -> Result<(), OpError> {
        let (mut values, mut lengths) = (Values::new(self.dtype), vec![]);
        for m in self.messages {
            let f = m.feature(self.key, self.dtype)?;
            lengths.push(f.len());
            values.push(f);
        }
        let n = values.len();
        out.push(values.tensor(&[n])?);
        self.push_splits(splits, &lengths, out)
    }

    fn ragged_lists(&self, splits: DType, out: &mut Vec<Tensor>) -> Result<(), OpError> {
        let (mut values, mut outer, mut inner) = (Values::new(self.dtype), vec![], vec![]);
        for m in self.messages {
            let list = m.list(self.key, self.dtype)?.unwrap_or_default();
            outer.push(list.len());
            for f in list {
                inner.push(f.len());
                values.push(f);
            }
        }
        let n = values.len();
        out.push(values.tensor(&[n])?);
        self.push_splits(splits, &outer, out)?;
        out.push(int_tensor(OP, splits, &[inner.len() + 1], &running(&inner))?);
        Ok(())
    }
}

/// 0 and the sums of ever more lengths.
fn running(lengths: &[usize]) -> Vec<i64> {
    let sums = lengths.iter().scan(0i64, |sum, &n| {
        *sum += n as i64;
        Some(*sum)
    });
    std::iter::once(0).chain(sums).collect()
}
