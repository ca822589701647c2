//! Pools over windows of random sizes that shrink an image by a fraction (Graham, 2014): FractionalMaxPool and
//! FractionalAvgPool.

use anyhow::{Result, bail};

use crate::graph::{TensorType, Value};
use crate::op::{NoGradient, OpError};
use crate::ops::host::{extents, host_op, int_tensor, require, tf_ops, typed};
use crate::ops::random::philox::{Philox, Words};
use crate::ops::random::stream::RandomStream;
use crate::ops::random::{check_key, generator, key_tensors};
use crate::ops::wide::Wide;
use crate::tf::{TfAttr, TfBinding, TfCx};
use crate::{DType, Dim};

const OP: &str = "fractional_pool";

host_op! {
    /// `fractional_pool key, counter, x`: the largest number or the mean of each window of `[N, rows, columns, C]`.
    /// Results: the pool, and where the windows of rows and of columns begin (i64), the end included.
    FractionalPool = "fractional_pool" {
        /// Means in place of maxima.
        mean: bool,
        /// How many rows and columns become one.
        ratio: Vec<f64>,
        /// How many rows and columns come out.
        size: Vec<Dim>,
        /// Windows evenly spread, from a random place on; otherwise in random order.
        even: bool,
        /// Windows hold the first row and column of the next.
        overlapping: bool,
    }
    infer |op, given| {
        let types: &[DType] = &[DType::F32, DType::F64, DType::I32, DType::I64];
        let [key, counter, x] = typed(OP, given, [&[DType::U64], &[DType::U64], types])?;
        check_key(OP, key, counter)?;
        require(OP, "C3", x.rank() == 4, || format!("{x} is not batch by rows by columns by channels"))?;
        let sane = op.ratio.len() == 2 && op.size.len() == 2 && op.ratio.iter().all(|&r| r >= 1.0);
        require(OP, "C4", sane, || format!("ratios {:?} for sizes {:?}", op.ratio, op.size))?;
        let shape = vec![x.shape[0].clone(), op.size[0].clone(), op.size[1].clone(), x.shape[3].clone()];
        let starts = |n: &Dim| TensorType::new(DType::I64, vec![n.clone() + Dim::from(1)]);
        Ok(vec![TensorType::new(x.dtype, shape), starts(&op.size[0]), starts(&op.size[1])])
    },
    eval |op, x| {
        let [batch, rows, columns, channels] = *x[2].shape() else {
            return Err(OpError::new(OP, "C3", "the operand has not four axes"));
        };
        let mut from = generator(OP, x[0], x[1])?;
        let mut windows = |n: usize, ratio: f64| {
            let out = (n as f64 / ratio).floor() as usize;
            require(OP, "E1", out >= 1, || format!("{n} rows or columns by {ratio} leave none"))?;
            Ok::<_, OpError>(starts(&mut from, n, out, op.even))
        };
        let (row, column) = (windows(rows, op.ratio[0])?, windows(columns, op.ratio[1])?);
        let reach = |s: &[usize], i: usize, n: usize| s[i]..(s[i + 1] + usize::from(op.overlapping)).min(n);
        let (height, width) = (row.len() - 1, column.len() - 1);
        let mut places = Vec::with_capacity(height * width);
        for i in 0..height {
            for j in 0..width {
                let inside = reach(&row, i, rows)
                    .flat_map(|r| reach(&column, j, columns).map(move |c| r * columns + c));
                places.push(inside.collect::<Vec<usize>>());
            }
        }
        let shape = [batch, height, width, channels];
        extents(OP, &shape.map(Dim::from))?;
        let at = |k: usize| {
            let (b, rest) = (k / (height * width * channels), k % (height * width * channels));
            (b * rows * columns, &places[rest / channels], rest % channels)
        };
        let n = shape.iter().product();
        let pooled = match Wide::of(OP, x[2])? {
            Wide::Int(v) => Wide::Int((0..n).map(|k| {
                let (base, window, c) = at(k);
                let all = window.iter().map(|p| v[(base + p) * channels + c]);
                if op.mean { all.fold(0i64, i64::wrapping_add) / window.len() as i64 } else { all.max().unwrap_or(0) }
            }).collect()),
            Wide::Real(v) => Wide::Real((0..n).map(|k| {
                let (base, window, c) = at(k);
                let all = window.iter().map(|p| v[(base + p) * channels + c]);
                if op.mean { all.sum::<f64>() / window.len() as f64 } else { all.fold(f64::NEG_INFINITY, f64::max) }
            }).collect()),
            Wide::Complex(_) => return Err(OpError::new(OP, "C2", "complex numbers have no order")),
        };
        let vector = |s: &[usize]| int_tensor(OP, DType::I64, &[s.len()], &s.iter().map(|&n| n as i64).collect::<Vec<_>>());
        Ok(vec![pooled.into_tensor(OP, x[2].dtype(), &shape)?, vector(&row)?, vector(&column)?])
    },
    vjp |_, _, _| Err(NoGradient::Failed(anyhow::anyhow!("the gradient of fractional pools is not supported")))
}

/// Where each of `out` windows over `n` begins, and the end. The generator moves on past what TensorFlow sets aside.
fn starts(from: &mut Philox, n: usize, out: usize, even: bool) -> Vec<usize> {
    let mut words = Words::new(*from);
    let k = n / out;
    if even {
        *from = from.skipped(1);
        // Each window is of k or k + 1; the first and the last one bound where the first may end.
        let alpha = n as f64 / out as f64;
        let first = (k + 2) as f64 / alpha - 1.0;
        let last = (n + 1 - k) as f64 / alpha - (out - 1) as f64;
        let u = words.unit() * first.min(last);
        let inner = (1..out).map(|i| (alpha * (i as f64 + u)).ceil() as usize - 1);
        return std::iter::once(0).chain(inner).chain([n]).collect();
    }
    *from = from.skipped(out.div_ceil(4) as u128);
    let mut sizes: Vec<usize> = (0..out).map(|i| k + usize::from(i < n % out)).collect();
    for i in 0..out.saturating_sub(1) {
        let j = i + words.word() as usize % (out - i);
        sizes.swap(i, j);
    }
    let ends = sizes.iter().scan(0, |end, &s| {
        *end += s;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

fn pool(cx: &mut TfCx<'_>, mean: bool) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let float = |a: &TfAttr| match a {
        TfAttr::Float(v) => Ok(f64::from(*v)),
        other => bail!("`pooling_ratio` holds {other:?}"),
    };
    let ratio = match cx.node.attrs.get("pooling_ratio") {
        Some(TfAttr::List(l)) => l.iter().map(float).collect::<Result<Vec<_>>>()?,
        _ => bail!("`pooling_ratio` is not a list"),
    };
    let [batch, rows, columns, channels] = ratio[..] else { bail!("`pooling_ratio` {ratio:?} is not four numbers") };
    if (batch, channels) != (1.0, 1.0) || ty.rank() != 4 {
        bail!("a pool of {ty} by {ratio:?}; batch and channels are not pooled");
    }
    let mut size = |axis: usize, ratio: f64| match ty.shape[axis].as_const() {
        Some(n) => Dim::from((n as f64 / ratio).floor() as i64),
        None => cx.b.fresh_dim("pooled"),
    };
    let size = vec![size(1, rows), size(2, columns)];
    let seeds = [cx.int("seed")?, cx.int("seed2")?];
    // Given seeds make every run the same; without any, a run is like no other unless it is to be.
    let mut inputs = if seeds != [0, 0] || cx.bool("deterministic")? {
        let constant = key_tensors(Philox::new(seeds[0] as u64, 0, seeds[1] as u64));
        constant.into_iter().map(|t| cx.b.constant(t)).collect::<Result<Vec<_>>>()?
    } else {
        cx.b.push_all(RandomStream::new(seeds, Dim::from(1 << 20)), &[])?
    };
    inputs.push(x);
    let (even, overlapping) = (cx.bool("pseudo_random")?, cx.bool("overlapping")?);
    cx.b.push_all(FractionalPool { mean, ratio: vec![rows, columns], size, even, overlapping }, &inputs)
}

/// Import rules of TensorFlow's fractional pools.
pub const TF: &[TfBinding] = tf_ops! {
    "FractionalMaxPool" => |cx| pool(cx, false), "FractionalAvgPool" => |cx| pool(cx, true),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_everything_in_two_sizes() {
        for n in 1..40 {
            for out in 1..=n {
                let s = starts(&mut Philox::new(1, 0, 2), n, out, false);
                let fits = |w: &[usize]| (n / out..=n / out + 1).contains(&(w[1] - w[0]));
                assert!(s.len() == out + 1 && s[out] == n && s.windows(2).all(fits), "{n} to {out}: {s:?}");
            }
        }
    }
}
