//! Ragged tensors: values in rows of unlike lengths, cut by splits, one vector for each ragged axis.

use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{INDEX, host_op, int_tensor, ints, real_tensor, require, take_rows};
use crate::ops::shape::{arity, assemble, check_index};
use crate::tensor::Tensor;
use crate::{DType, Dim};

/// Refuses splits that do not cut `n` rows: from 0 to `n`, never falling.
pub(super) fn check_splits(op: &'static str, splits: &[i64], n: usize) -> Result<(), OpError> {
    let cuts =
        splits.first() == Some(&0) && splits.last() == Some(&(n as i64)) && splits.windows(2).all(|p| p[0] <= p[1]);
    require(op, "E1", cuts, || format!("the splits {splits:?} do not cut {n} rows"))
}

host_op! {
    /// `ragged_range starts, limits, deltas`: a range for each row; scalars go with every row. Results: splits, values.
    RaggedRange = "ragged_range" {
        /// The number of values.
        count: Dim,
        /// The splits' type.
        splits: DType,
    }
    infer |op, given| {
        let all = arity::<3>("ragged_range", given)?;
        let dtype = all[0].dtype;
        let takes = all.iter().all(|t| t.dtype == dtype && t.rank() <= 1) && (dtype.is_int() || dtype.is_float());
        require("ragged_range", "C2", takes, || format!("ranges over {}, {} and {}", all[0], all[1], all[2]))?;
        require("ragged_range", "C4", INDEX.contains(&op.splits), || format!("splits of type {}", op.splits))?;
        let rows = all.iter().find(|t| t.rank() == 1).map_or(Dim::from(1), |t| t.shape[0].clone());
        Ok(vec![TensorType::new(op.splits, vec![rows + Dim::from(1)]), TensorType::new(dtype, vec![op.count.clone()])])
    },
    eval |op, x| {
        let rows = x.iter().find(|t| t.shape().len() == 1).map_or(1, |t| t.len());
        let dtype = x[0].dtype();
        let mut splits = vec![0i64];
        let zero = |row: usize| OpError::new("ragged_range", "E1", format!("the step of row {row} is 0"));
        let at = |t: &Tensor, i: usize| if t.shape().is_empty() { 0 } else { i };
        let values = if dtype.is_float() {
            let [a, b, c] = [0, 1, 2].map(|k| crate::ops::host::reals(x[k]));
            let mut out = vec![];
            for i in 0..rows {
                let (start, limit, step) = (a[at(x[0], i)], b[at(x[1], i)], c[at(x[2], i)]);
                if step == 0.0 {
                    return Err(zero(i));
                }
                let n = ((limit - start) / step).abs().ceil();
                let n = if (step > 0.0) == (start < limit) && start != limit { n as usize } else { 0 };
                // Each value is the last one plus the step, rounded to the type.
                let mut v = start;
                for _ in 0..n {
                    out.push(v);
                    v = if dtype == DType::F32 { f64::from(v as f32 + step as f32) } else { v + step };
                }
                splits.push(out.len() as i64);
            }
            let n = out.len();
            real_tensor("ragged_range", dtype, &[n], out)?
        } else {
            let [a, b, c] = [0, 1, 2].map(|k| ints(x[k]));
            let mut out = vec![];
            for i in 0..rows {
                let (mut v, limit, step) = (a[at(x[0], i)], b[at(x[1], i)], c[at(x[2], i)]);
                if step == 0 {
                    return Err(zero(i));
                }
                while if step > 0 { v < limit } else { v > limit } {
                    out.push(v);
                    let Some(next) = v.checked_add(step) else { break };
                    v = next;
                }
                splits.push(out.len() as i64);
            }
            int_tensor("ragged_range", dtype, &[out.len()], &out)?
        };
        Ok(vec![int_tensor("ragged_range", op.splits, &[splits.len()], &splits)?, values])
    },
}

host_op! {
    /// `ragged_gather splits.., values, indices`: rows of a ragged tensor by a vector of their numbers. Results: the new
    /// splits and values.
    RaggedGather = "ragged_gather" {
        /// The lengths of the results but the first: of inner splits less 1, and of the values.
        counts: Vec<Dim>,
    }
    infer |op, given| {
        let rank = op.counts.len();
        let n = rank + 2;
        require("ragged_gather", "C1", rank > 0 && given.len() == n, || format!("takes {n} operands, not {}", given.len()))?;
        let (values, at) = (given[rank], given[rank + 1]);
        check_index("ragged_gather", "C2", at)?;
        given[..rank].iter().try_for_each(|t| check_index("ragged_gather", "C2", t))?;
        let fits = at.rank() == 1 && values.rank() >= 1 && given[..rank].iter().all(|t| t.rank() == 1);
        require("ragged_gather", "C3", fits, || format!("{values} by {at}"))?;
        let one = Dim::from(1);
        let splits = |i: usize| if i == 0 { at.shape[0].clone() } else { op.counts[i - 1].clone() } + one.clone();
        let mut out: Vec<_> = (0..rank).map(|i| TensorType::new(given[i].dtype, vec![splits(i)])).collect();
        let shape = [&op.counts[rank - 1]].into_iter().chain(&values.shape[1..]).cloned().collect();
        out.push(TensorType::new(values.dtype, shape));
        Ok(out)
    },
    eval |op, x| {
        let rank = op.counts.len();
        let values = x[rank];
        let mut rows: Vec<usize> = vec![];
        let n = x[0].len().saturating_sub(1);
        for (i, at) in ints(x[rank + 1]).into_iter().enumerate() {
            require("ragged_gather", "E1", (0..n as i64).contains(&at), || format!("indices[{i}] = {at} is not in [0, {n})"))?;
            rows.push(at as usize);
        }
        let mut out = vec![];
        for level in 0..rank {
            let splits = ints(x[level]);
            let below = if level + 1 < rank { x[level + 1].len().saturating_sub(1) } else { values.shape()[0] };
            check_splits("ragged_gather", &splits, below)?;
            let (mut ends, mut inner) = (vec![0i64], vec![]);
            for &r in &rows {
                inner.extend(splits[r] as usize..splits[r + 1] as usize);
                ends.push(inner.len() as i64);
            }
            out.push(int_tensor("ragged_gather", x[level].dtype(), &[ends.len()], &ends)?);
            rows = inner;
        }
        let shape: Vec<usize> = [rows.len()].iter().chain(&values.shape()[1..]).copied().collect();
        out.push(take_rows("ragged_gather", values, values.shape()[1..].iter().product(), &rows, &shape)?);
        Ok(out)
    },
}

host_op! {
    /// `ragged_to_sparse splits.., values`: indices, values and shape.
    RaggedToSparse = "ragged_to_sparse" {
        /// The number of values.
        count: Dim,
    }
    infer |op, given| {
        let n = given.len();
        require("ragged_to_sparse", "C1", n >= 2, || format!("{n} operands"))?;
        given[..n - 1].iter().try_for_each(|t| check_index("ragged_to_sparse", "C2", t))?;
        let values = given[n - 1];
        require("ragged_to_sparse", "C3", values.rank() >= 1, || format!("{values} has no rows"))?;
        let rank = Dim::from(n - 1 + values.rank());
        Ok(super::sparse(&op.count, &rank, values.dtype))
    },
    eval |_, x| {
        let (values, levels) = (x[x.len() - 1], &x[..x.len() - 1]);
        let mut rows: Vec<Vec<i64>> = (0..levels[0].len().saturating_sub(1) as i64).map(|i| vec![i]).collect();
        let mut shape = vec![rows.len() as i64];
        for (level, splits) in levels.iter().enumerate() {
            let splits = ints(splits);
            let below = levels.get(level + 1).map_or(values.shape()[0], |s| s.len().saturating_sub(1));
            check_splits("ragged_to_sparse", &splits, below)?;
            shape.push(splits.windows(2).map(|p| p[1] - p[0]).max().unwrap_or(0));
            let inner = |(row, p): (&Vec<i64>, &[i64])| {
                (0..p[1] - p[0]).map(|i| row.iter().copied().chain([i]).collect::<Vec<_>>()).collect::<Vec<_>>()
            };
            rows = rows.iter().zip(splits.windows(2)).flat_map(inner).collect();
        }
        for &n in &values.shape()[1..] {
            shape.push(n as i64);
            rows = rows.iter().flat_map(|r| (0..n as i64).map(|i| r.iter().copied().chain([i]).collect())).collect();
        }
        let flat = values.reshaped(&[values.len()]).map_err(|e| OpError::new("ragged_to_sparse", "E2", e))?;
        Ok(vec![super::row_tensor("ragged_to_sparse", &rows, shape.len())?, flat, super::vector("ragged_to_sparse", &shape)?])
    },
}

host_op! {
    /// `ragged_to_dense values, default, partitions..`: rows padded with the default and cut to the shape.
    RaggedToDense = "ragged_to_dense" {
        /// The result's shape.
        shape: Vec<Dim>,
        /// For each partition `S` (splits), `I` (the row of each value) or `F` (the number of rows, only first).
        kinds: String,
    }
    infer |op, given| {
        let n = op.kinds.len() + 2;
        require("ragged_to_dense", "C1", given.len() == n, || format!("takes {n} operands, not {}", given.len()))?;
        given[2..].iter().try_for_each(|t| check_index("ragged_to_dense", "C2", t))?;
        let (values, default) = (given[0], given[1]);
        require("ragged_to_dense", "C2", values.dtype == default.dtype, || format!("{default} among {values}"))?;
        let ragged = op.kinds.bytes().filter(|k| *k != b'F').count();
        let fits = values.rank() >= 1 && op.shape.len() == ragged + values.rank() && default.rank() < values.rank();
        require("ragged_to_dense", "C3", fits, || format!("{values} in rows of rank {} as {:?}", ragged, op.shape))?;
        Ok(vec![TensorType::new(values.dtype, op.shape.clone())])
    },
    eval |op, x| {
        let levels = lengths(&op.kinds, &x[2..], x[0].shape()[0])?;
        // A size that is still a symbol is what the data need.
        let needed = |i: usize| match i {
            0 => levels.first().map_or(0, Vec::len),
            i => levels.get(i - 1).and_then(|l| l.iter().max()).copied().unwrap_or(0),
        };
        let size = |(i, d): (usize, &Dim)| if d.as_const().is_some() { d.clone() } else { Dim::from(needed(i)) };
        let sizes: Vec<Dim> = op.shape.iter().enumerate().map(size).collect();
        let shape = crate::ops::host::extents("ragged_to_dense", &sizes)?;
        let inner = &x[0].shape()[1..];
        let row: usize = inner.iter().product();
        // The place of each value's row in the result, or none where it is cut off.
        let outer = &shape[..levels.len() + 1];
        let mut places: Vec<Option<usize>> = (0..levels.first().map_or(0, Vec::len)).map(|i| (i < shape[0]).then_some(i)).collect();
        for (level, rows) in levels.iter().enumerate() {
            let width = outer[level + 1];
            let inside = |(p, &n): (&Option<usize>, &usize)| (0..n).map(|i| p.filter(|_| i < width).map(|p| p * width + i)).collect::<Vec<_>>();
            places = places.iter().zip(rows).flat_map(inside).collect();
        }
        let mut from = vec![None; outer.iter().product()];
        places.iter().enumerate().filter_map(|(i, p)| Some((i, (*p)?))).for_each(|(i, p)| from[p] = Some(i));
        // The default fills whole rows, repeated along axes that it lacks.
        let filler = x[1].len().max(1);
        let t = assemble("ragged_to_dense", &shape, &[x[0], x[1]], |emit| {
            for f in from {
                match f {
                    Some(i) => emit(0, i * row, row),
                    None => (0..row).for_each(|k| emit(1, k % filler, 1)),
                }
            }
        })?;
        Ok(vec![t])
    },
}

/// The lengths of the rows of each ragged axis.
pub(crate) fn lengths(kinds: &str, partitions: &[&Tensor], values: usize) -> Result<Vec<Vec<usize>>, OpError> {
    let (mut out, mut rows): (Vec<Vec<usize>>, Option<usize>) = (vec![], None);
    let bad = |what: String| OpError::new("ragged_to_dense", "E1", what);
    for (i, (kind, t)) in kinds.bytes().zip(partitions).enumerate() {
        let v = ints(t);
        match kind {
            b'F' => rows = v.first().and_then(|&n| usize::try_from(n).ok()),
            b'S' => {
                let below = v.last().and_then(|&n| usize::try_from(n).ok()).unwrap_or(0);
                check_splits("ragged_to_dense", &v, below)?;
                out.push(v.windows(2).map(|p| (p[1] - p[0]) as usize).collect());
                rows = Some(below);
            }
            _ => {
                let n = rows.ok_or_else(|| bad("the number of rows is not known".into()))?;
                let mut counts = vec![0usize; n];
                for &r in &v {
                    *usize::try_from(r)
                        .ok()
                        .and_then(|r| counts.get_mut(r))
                        .ok_or_else(|| bad(format!("row {r} of {n}")))? += 1;
                }
                if v.windows(2).any(|p| p[0] > p[1]) {
                    return Err(bad(format!("the rows of partition {i} are not in order")));
                }
                out.push(counts);
                rows = Some(v.len());
            }
        }
    }
    match rows == Some(values) {
        true => Ok(out),
        false => Err(bad(format!("the partitions are of {rows:?} values, not {values}"))),
    }
}
