//! `random_shuffle`: rows in random order (Fisher and Yates).
//!
//! Constraints: C1 operands x, key, counter; C2 key and counter.

use super::philox::Words;
use super::{check_key, generator};
use crate::ops::host::{ANY, host_op, take_rows, typed};

host_op! {
    /// `random_shuffle x, key, counter`: the rows of `x` in another order.
    Shuffle = "random_shuffle" {}
    infer |_, given| {
        let [x, key, counter] = typed("random_shuffle", given, [ANY, ANY, ANY])?;
        check_key("random_shuffle", key, counter)?;
        Ok(vec![x.clone()])
    },
    eval |_, x| {
        let mut words = Words::new(generator("random_shuffle", x[1], x[2])?);
        let shape = x[0].shape();
        let n = shape.first().copied().unwrap_or(1);
        if n <= 1 || x[0].len() <= 1 {
            return Ok(vec![x[0].clone()]);
        }
        let mut rows: Vec<usize> = (0..n).collect();
        for i in 0..n - 1 {
            rows.swap(i, i + words.word() as usize % (n - i));
        }
        Ok(vec![take_rows("random_shuffle", x[0], shape[1..].iter().product(), &rows, shape)?])
    },
}
