//! The likeliest label sequences of connectionist temporal classification, by prefix search in a beam (Graves, 2012,
//! section 7.5).
//!
//! A prefix has the probability of ending in its last label and of ending in a blank; both follow from those of the step
//! before and, for the label, from the prefix without it. Probabilities are logarithms.

use std::collections::HashMap;

use super::ctc::sizes;
use crate::graph::TensorType;
use crate::ops::host::{F32_F64, host_op, int_tensor, real_tensor, reals, require, typed};
use crate::{DType, Dim};

const OP: &str = "ctc_beam_search";

host_op! {
    /// `ctc_beam_search logits, lengths`: the likeliest sequences of each batch entry. Results: the indices of each path,
    /// the values of each path, the shape of each path, and the logarithms of the probabilities, batch by path. The last
    /// class is the blank. E1 where fewer prefixes are left than paths are asked for.
    BeamSearch = "ctc_beam_search" {
        /// How many prefixes are kept.
        width: i64,
        /// Labels that follow themselves count once.
        merge_repeated: bool,
        /// The number of labels of each path, over the batch.
        counts: Vec<Dim>,
    }
    infer |op, given| {
        let [x, lengths] = typed(OP, given, [F32_F64, &[DType::I32]])?;
        require(OP, "C3", x.rank() == 3 && lengths.rank() == 1, || format!("{x} and {lengths} are no sequences"))?;
        let paths = op.counts.len() as i64;
        require(OP, "C4", (1..=op.width).contains(&paths), || format!("{paths} paths of a beam of {}", op.width))?;
        let indices = op.counts.iter().map(|n| TensorType::new(DType::I64, vec![n.clone(), Dim::from(2)]));
        let values = op.counts.iter().map(|n| TensorType::new(DType::I64, vec![n.clone()]));
        let shapes = op.counts.iter().map(|_| TensorType::fixed(DType::I64, &[2]));
        let scores = TensorType::new(x.dtype, vec![x.shape[1].clone(), Dim::from(op.counts.len())]);
        Ok(indices.chain(values).chain(shapes).chain([scores]).collect())
    },
    eval |op, x| {
        let ([_, batch, classes], lengths) = sizes(OP, x[0], x[1])?;
        require(OP, "E1", classes >= 1, || "there is no class".into())?;
        require(OP, "E1", lengths.len() == batch, || format!("{} lengths for {batch} sequences", lengths.len()))?;
        let (logits, paths) = (reals(x[0]), op.counts.len());
        let mut scores = Vec::with_capacity(batch * paths);
        let mut found: Vec<Vec<Vec<i64>>> = vec![vec![]; paths];
        for (b, &n) in lengths.iter().enumerate() {
            let mut beam = Beam::new(op.width as usize, classes - 1);
            (0..n).for_each(|t| beam.step(&logits[(t * batch + b) * classes..][..classes]));
            require(OP, "E1", beam.leaves.len() >= paths, || {
                format!("sequence {b} has {} prefixes for {paths} paths", beam.leaves.len())
            })?;
            for (path, &leaf) in found.iter_mut().zip(&beam.leaves) {
                path.push(beam.labels(leaf, op.merge_repeated));
                scores.push(beam.entries[leaf].new.total);
            }
        }
        let (mut indices, mut values, mut shapes) = (vec![], vec![], vec![]);
        for rows in &found {
            let at = rows.iter().enumerate().flat_map(|(b, r)| (0..r.len()).flat_map(move |k| [b as i64, k as i64]));
            let n = rows.iter().map(Vec::len).sum();
            let widest = rows.iter().map(Vec::len).max().unwrap_or(0);
            indices.push(int_tensor(OP, DType::I64, &[n, 2], &at.collect::<Vec<_>>())?);
            values.push(int_tensor(OP, DType::I64, &[n], &rows.concat())?);
            shapes.push(int_tensor(OP, DType::I64, &[2], &[batch as i64, widest as i64])?);
        }
        let scores = real_tensor(OP, x[0].dtype(), &[batch, paths], scores)?;
        Ok(indices.into_iter().chain(values).chain(shapes).chain([scores]).collect())
    },
}

/// Logarithms of the probabilities that a prefix is read: ending in a blank, ending in its label, and either.
#[derive(Clone, Copy)]
struct Probability {
    total: f64,
    blank: f64,
    label: f64,
}

const NEVER: Probability = Probability { total: f64::NEG_INFINITY, blank: f64::NEG_INFINITY, label: f64::NEG_INFINITY };

/// A prefix: its last label after another prefix. The first entry is the empty one.
struct Entry {
    parent: Option<usize>,
    label: usize,
    children: HashMap<usize, usize>,
    old: Probability,
    new: Probability,
}

struct Beam {
    width: usize,
    blank: usize,
    entries: Vec<Entry>,
    /// The prefixes kept, the likeliest first.
    leaves: Vec<usize>,
}

impl Beam {
    fn new(width: usize, blank: usize) -> Beam {
        let new = Probability { total: 0.0, blank: 0.0, ..NEVER };
        let root = Entry { parent: None, label: usize::MAX, children: HashMap::new(), old: NEVER, new };
        Beam { width, blank, entries: vec![root], leaves: vec![0] }
    }

    /// Reads one more row of logits.
    fn step(&mut self, row: &[f64]) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let norm = largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
        let branches = std::mem::take(&mut self.leaves);
        branches.iter().for_each(|&b| self.entries[b].old = self.entries[b].new);
        for &b in &branches {
            let (label, old) = (self.entries[b].label, self.entries[b].old);
            let mut new = self.entries[b].new;
            if let Some(p) = self.entries[b].parent.map(|p| &self.entries[p]) {
                if p.new.total > f64::NEG_INFINITY {
                    new.label = log_add(new.label, if label == p.label { p.old.blank } else { p.old.total });
                }
                new.label += row[label] - norm;
            }
            new.blank = old.total + row[self.blank] - norm;
            new.total = log_add(new.blank, new.label);
            self.entries[b].new = new;
            self.keep(b);
        }
        for &b in &branches {
            let old = self.entries[b].old;
            if !self.is_candidate(old.total) {
                continue;
            }
            for (label, logit) in row[..self.blank].iter().enumerate() {
                let child = self.child(b, label);
                if self.entries[child].new.total > f64::NEG_INFINITY {
                    continue;
                }
                let before = if label == self.entries[b].label { old.blank } else { old.total };
                let total = logit - norm + before;
                if self.is_candidate(total) {
                    self.entries[child].new = Probability { total, label: total, ..NEVER };
                    self.keep(child);
                } else {
                    (self.entries[child].old, self.entries[child].new) = (NEVER, NEVER);
                }
            }
        }
    }

    /// Whether a prefix of this probability belongs into the beam.
    fn is_candidate(&self, total: f64) -> bool {
        let last = self.leaves.last().filter(|_| self.leaves.len() >= self.width);
        total > f64::NEG_INFINITY && last.is_none_or(|&l| total > self.entries[l].new.total)
    }

    /// Puts a prefix into the beam; the least likely one leaves a full one.
    fn keep(&mut self, entry: usize) {
        if self.leaves.len() == self.width
            && let Some(last) = self.leaves.pop()
        {
            self.entries[last].new = NEVER;
        }
        let total = self.entries[entry].new.total;
        let at = self.leaves.partition_point(|&l| self.entries[l].new.total >= total);
        self.leaves.insert(at, entry);
    }

    /// The prefix with one more label.
    fn child(&mut self, of: usize, label: usize) -> usize {
        let next = self.entries.len();
        let child = *self.entries[of].children.entry(label).or_insert(next);
        if child == next {
            let (parent, children) = (Some(of), HashMap::new());
            self.entries.push(Entry { parent, label, children, old: NEVER, new: NEVER });
        }
        child
    }

    fn labels(&self, leaf: usize, merge: bool) -> Vec<i64> {
        let (mut out, mut last, mut at) = (vec![], None, &self.entries[leaf]);
        while let Some(parent) = at.parent {
            if !(merge && last == Some(at.label)) {
                out.push(at.label as i64);
            }
            last = Some(at.label);
            at = &self.entries[parent];
        }
        out.reverse();
        out
    }
}

/// log(e^a + e^b)
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}
