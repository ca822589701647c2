//! Connectionist temporal classification (Graves et al., 2006): decoding and the loss.
//!
//! Operand 0 holds logits by time, batch and class. Evaluation: E1 for lengths or labels that do not fit.

use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{ANY, F32_F64, host_op, int_tensor, ints, real_tensor, reals, require, typed};
use crate::scalar::BinaryOp;
use crate::tensor::Tensor;
use crate::{DType, Dim};

/// Time, batch, classes, and each sequence's length.
pub(super) fn sizes(op: &'static str, logits: &Tensor, lengths: &Tensor) -> Result<([usize; 3], Vec<usize>), OpError> {
    let [time, batch, classes] = *logits.shape() else { return Err(OpError::new(op, "C3", "no sequences")) };
    let lengths = ints(lengths).into_iter().map(|n| {
        let fits = usize::try_from(n).ok().filter(|&n| n <= time);
        fits.ok_or_else(|| OpError::new(op, "E1", format!("a sequence of length {n} in {time} steps")))
    });
    Ok(([time, batch, classes], lengths.collect::<Result<_, _>>()?))
}

host_op! {
    /// `ctc_greedy logits, lengths`: the likeliest class at each step, without blanks: indices, values, shape, and for
    /// each sequence minus the sum of the logits taken.
    GreedyDecoder = "ctc_greedy" {
        /// Whether a class that follows itself counts once.
        merge_repeated: bool,
        /// The class that stands for nothing; a negative number counts from the end.
        blank: i64,
        /// The number of classes decoded.
        count: Dim,
    }
    infer |op, given| {
        let [x, lengths] = typed("ctc_greedy", given, [F32_F64, &[DType::I32]])?;
        require("ctc_greedy", "C3", x.rank() == 3 && lengths.rank() == 1, || format!("{x} and {lengths} are no sequences"))?;
        let vector = |d: &Dim| TensorType::new(DType::I64, vec![d.clone()]);
        Ok(vec![
            TensorType::new(DType::I64, vec![op.count.clone(), Dim::from(2)]),
            vector(&op.count),
            vector(&Dim::from(2)),
            TensorType::new(x.dtype, vec![x.shape[1].clone(), Dim::from(1)]),
        ])
    },
    eval |op, x| {
        let ([_, batch, classes], lengths) = sizes("ctc_greedy", x[0], x[1])?;
        let blank = if op.blank < 0 { op.blank + classes as i64 } else { op.blank };
        require("ctc_greedy", "E1", (0..classes as i64).contains(&blank), || format!("blank {} of {classes} classes", op.blank))?;
        let logits = reals(x[0]);
        let (mut at, mut values, mut widest, mut sums) = (vec![], vec![], 0, vec![]);
        for (b, &n) in lengths.iter().enumerate() {
            let (mut last, mut sum, mut width) = (None, 0.0, 0);
            for t in 0..n {
                let row = &logits[(t * batch + b) * classes..][..classes];
                let best = (1..classes).fold(0, |best, c| if row[c] > row[best] { c } else { best });
                sum -= row[best];
                if best as i64 != blank && !(op.merge_repeated && last == Some(best)) {
                    at.extend([b as i64, width]);
                    values.push(best as i64);
                    width += 1;
                }
                last = Some(best);
            }
            widest = widest.max(width);
            sums.push(sum);
        }
        let n = values.len();
        Ok(vec![
            int_tensor("ctc_greedy", DType::I64, &[n, 2], &at)?,
            int_tensor("ctc_greedy", DType::I64, &[n], &values)?,
            int_tensor("ctc_greedy", DType::I64, &[2], &[batch as i64, widest])?,
            real_tensor("ctc_greedy", x[0].dtype(), &[batch, 1], sums)?,
        ])
    },
}

host_op! {
    /// `ctc_loss logits, label_indices, label_values, lengths`: minus the logarithm of each label's probability, and its
    /// gradient in the logits.
    CtcLoss = "ctc_loss" {
        /// Equal labels in a row count once.
        collapse_labels: bool,
        /// Equal classes in a row stand for one label.
        merge_repeated: bool,
        /// A label longer than its sequence has loss 0 rather than being an error.
        ignore_longer: bool,
        /// The blank is the first class, not the last.
        blank_first: bool,
    }
    infer |_, given| {
        let [x, at, labels, lengths] = typed("ctc_loss", given, [F32_F64, &[DType::I64], ANY, &[DType::I32]])?;
        let fits = x.rank() == 3 && at.rank() == 2 && labels.rank() == 1 && lengths.rank() == 1 && labels.dtype == DType::I32;
        require("ctc_loss", "C3", fits, || format!("{x}, {at}, {labels} and {lengths} are no labelled sequences"))?;
        Ok(vec![TensorType::new(x.dtype, vec![x.shape[1].clone()]), x.clone()])
    },
    eval |op, x| {
        let ([_, batch, classes], lengths) = sizes("ctc_loss", x[0], x[3])?;
        let (logits, at, values) = (reals(x[0]), ints(x[1]), ints(x[2]));
        let mut labels: Vec<Vec<usize>> = vec![vec![]; batch];
        let blank = if op.blank_first { 0 } else { classes.saturating_sub(1) };
        for (row, &v) in at.chunks_exact(2).zip(&values) {
            let label = usize::try_from(v).ok().filter(|&v| v < classes && v != blank);
            let slot = usize::try_from(row[0]).ok().and_then(|b| labels.get_mut(b));
            match (slot, label) {
                (Some(slot), Some(label)) if !(op.collapse_labels && slot.last() == Some(&label)) => slot.push(label),
                (Some(_), Some(_)) => {}
                _ => return Err(OpError::new("ctc_loss", "E1", format!("label {v} at {row:?}"))),
            }
        }
        let (mut losses, mut grads) = (vec![], vec![0.0; logits.len()]);
        for (b, (&n, label)) in lengths.iter().zip(&labels).enumerate() {
            let repeats = label.windows(2).filter(|p| op.merge_repeated && p[0] == p[1]).count();
            if label.len() + repeats > n {
                let message = || format!("a label of {} needs more steps than {n}", label.len());
                require("ctc_loss", "E1", op.ignore_longer, message)?;
                losses.push(0.0);
                continue;
            }
            let rows: Vec<Vec<f64>> = (0..n).map(|t| log_softmax(&logits[(t * batch + b) * classes..][..classes])).collect();
            let (loss, grad) = one(&rows, label, blank, op.merge_repeated);
            losses.push(loss);
            for (t, row) in grad.into_iter().enumerate() {
                grads[(t * batch + b) * classes..][..classes].copy_from_slice(&row);
            }
        }
        let dtype = x[0].dtype();
        Ok(vec![real_tensor("ctc_loss", dtype, &[batch], losses)?, real_tensor("ctc_loss", dtype, x[0].shape(), grads)?])
    },
    vjp |_, b, args| {
        let Some(g) = args.cotangents[0] else { return Ok(vec![None; 4]) };
        let shape = vec![Dim::from(1), b.ty(g).shape[0].clone(), Dim::from(1)];
        let g = b.reshape(g, &shape)?;
        Ok(vec![Some(b.binary(BinaryOp::Mul, args.outputs[1], g)?), None, None, None])
    },
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = row.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    row.iter().map(|x| x - max - sum).collect()
}

fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = (a.min(b), a.max(b));
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// Loss and gradient of one sequence, by the forward and backward variables over the label with blanks between.
fn one(rows: &[Vec<f64>], label: &[usize], blank: usize, merge: bool) -> (f64, Vec<Vec<f64>>) {
    let states: Vec<usize> = label.iter().flat_map(|&l| [blank, l]).chain([blank]).collect();
    let (n, m) = (rows.len(), states.len());
    // Whether state `s` may follow the state two before: a blank between equal classes keeps them apart.
    let skips = |s: usize| s >= 2 && states[s] != blank && (states[s] != states[s - 2] || !merge);
    let stays = |s: usize| merge || states[s] == blank;
    let none = f64::NEG_INFINITY;
    let mut forward = vec![vec![none; m]; n];
    let mut backward = forward.clone();
    for t in 0..n {
        for s in 0..m {
            let before = if t == 0 {
                if s < 2 { 0.0 } else { none }
            } else {
                let own = if stays(s) { forward[t - 1][s] } else { none };
                let one = if s >= 1 { forward[t - 1][s - 1] } else { none };
                log_add(log_add(own, one), if skips(s) { forward[t - 1][s - 2] } else { none })
            };
            forward[t][s] = before + rows[t][states[s]];
        }
    }
    for t in (0..n).rev() {
        for s in 0..m {
            backward[t][s] = if t + 1 == n {
                if s + 2 >= m { 0.0 } else { none }
            } else {
                let next = |k: usize| if k < m { backward[t + 1][k] + rows[t + 1][states[k]] } else { none };
                let own = if stays(s) { next(s) } else { none };
                log_add(log_add(own, next(s + 1)), if s + 2 < m && skips(s + 2) { next(s + 2) } else { none })
            };
        }
    }
    let total = match n {
        0 => {
            if label.is_empty() {
                0.0
            } else {
                none
            }
        }
        _ => (m.saturating_sub(2)..m).fold(none, |sum, s| log_add(sum, forward[n - 1][s])),
    };
    let gradient = |t: usize| {
        let mut row: Vec<f64> = rows[t].iter().map(|l| l.exp()).collect();
        if total > none {
            (0..m).for_each(|s| row[states[s]] -= (forward[t][s] + backward[t][s] - total).exp());
        }
        row
    };
    (-total, (0..n).map(gradient).collect())
}
