//! `multinomial`: classes drawn with the probabilities that rows of logits give.
//!
//! Constraints: C1 operands logits, key, counter; C2 floats, key and counter; C3 a matrix; C4 i32 or i64 samples.
//! Evaluation: E1 a row holds no class.

use super::philox::Words;
use super::{check_key, generator};
use crate::graph::TensorType;
use crate::ops::host::{ANY, extents, host_op, int_tensor, reals, require, typed};
use crate::{DType, Dim};

host_op! {
    /// `multinomial logits, key, counter`: for each row, `samples` classes.
    Multinomial = "multinomial" {
        /// How many samples a row.
        samples: Dim,
        /// The type of the classes.
        dtype: DType,
    }
    infer |op, given| {
        let floats = &[DType::F16, DType::BF16, DType::F32, DType::F64];
        let [logits, key, counter] = typed("multinomial", given, [floats, ANY, ANY])?;
        check_key("multinomial", key, counter)?;
        require("multinomial", "C3", logits.rank() == 2, || format!("{logits} is no matrix"))?;
        let index = matches!(op.dtype, DType::I32 | DType::I64);
        require("multinomial", "C4", index, || format!("classes of type {}", op.dtype))?;
        crate::ops::shape::check_sizes("multinomial", "C4", std::slice::from_ref(&op.samples))?;
        Ok(vec![TensorType::new(op.dtype, vec![logits.shape[0].clone(), op.samples.clone()])])
    },
    eval |op, x| {
        let samples = extents("multinomial", std::slice::from_ref(&op.samples))?[0];
        let (rows, classes) = (x[0].shape()[0], x[0].shape()[1]);
        require("multinomial", "E1", classes > 0 || rows * samples == 0, || "there is no class".into())?;
        let mut words = Words::new(generator("multinomial", x[1], x[2])?);
        let mut out = Vec::with_capacity(rows * samples);
        for row in reals(x[0]).chunks_exact(classes.max(1)) {
            let max = row.iter().copied().filter(|l| l.is_finite()).fold(f64::MIN, f64::max);
            // Unnormalized; classes whose logit is not finite have no share.
            let mut total = 0.0;
            let share = |l: &f64| if l.is_finite() { (l - max).exp() } else { 0.0 };
            let sums: Vec<f64> = row.iter().map(|l| { total += share(l); total }).collect();
            for _ in 0..samples {
                let at = words.unit() * total;
                out.push(sums.partition_point(|&s| s <= at) as i64);
            }
        }
        Ok(vec![int_tensor("multinomial", op.dtype, &[rows, samples], &out)?])
    },
}
