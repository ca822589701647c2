//! `edit_distance`: Levenshtein's distance between the rows of two sparse tensors.

use std::collections::BTreeMap;

use super::{check, rows_of};
use crate::graph::TensorType;
use crate::ops::host::{host_op, ints, require};
use crate::ops::shape::arity;
use crate::tensor::Tensor;
use crate::{DType, Dim};

host_op! {
    /// `edit_distance hypothesis (indices, values, shape), truth (..)`: f32, for each row.
    EditDistance = "edit_distance" {
        /// Divided by the truth's length.
        normalize: bool,
        /// The result's shape.
        outer: Vec<Dim>,
    }
    infer |op, given| {
        let [ha, hv, hs, ta, tv, ts] = arity("edit_distance", given)?;
        check("edit_distance", ha, hv, hs)?;
        check("edit_distance", ta, tv, ts)?;
        require("edit_distance", "C2", hv.dtype == tv.dtype, || format!("{hv} and {tv} differ"))?;
        Ok(vec![TensorType::new(DType::F32, op.outer.clone())])
    },
    eval |op, x| {
        // Elements are compared only: their bytes stand for them.
        let size = x[1].dtype().size();
        let element = |t: &Tensor, i: usize| match t.strings() {
            Some(s) => s[i].clone(),
            None => t.bytes()[i * size..(i + 1) * size].to_vec(),
        };
        let group = |t: &[&Tensor]| {
            let mut rows: BTreeMap<Vec<i64>, Vec<Vec<u8>>> = BTreeMap::new();
            for (i, mut row) in rows_of("edit_distance", t[0], t[2])?.into_iter().enumerate() {
                row.pop();
                rows.entry(row).or_default().push(element(t[1], i));
            }
            Ok::<_, crate::op::OpError>(rows)
        };
        let (hypotheses, truths) = (group(&x[..3])?, group(&x[3..])?);
        let (hs, ts) = (ints(x[2]), ints(x[5]));
        let outer = hs.len().saturating_sub(1);
        require("edit_distance", "E1", hs.len() == ts.len(), || format!("shapes {hs:?} and {ts:?} differ in rank"))?;
        let shape: Vec<usize> = (0..outer).map(|a| hs[a].max(ts[a]) as usize).collect();
        let (mut out, mut index) = (Vec::with_capacity(shape.iter().product()), vec![0usize; outer]);
        while !shape.contains(&0) {
            let place: Vec<i64> = index.iter().map(|&i| i as i64).collect();
            let row = |g: &BTreeMap<Vec<i64>, Vec<Vec<u8>>>| g.get(&place).cloned().unwrap_or_default();
            let (h, t) = (row(&hypotheses), row(&truths));
            let d = distance(&h, &t) as f32;
            out.push(match (op.normalize, t.len()) {
                (false, _) => d,
                (true, 0) if h.is_empty() => 0.0,
                (true, 0) => f32::INFINITY,
                (true, n) => d / n as f32,
            });
            if !crate::ops::shape::advance(&mut index, |axis| shape[axis]) {
                break;
            }
        }
        Ok(vec![Tensor::of(&shape, &out)])
    },
}

fn distance(a: &[Vec<u8>], b: &[Vec<u8>]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
