//! The second derivative of the maximum over windows: MaxPoolGradGrad, MaxPoolGradGradV2, MaxPool3DGradGrad.

use anyhow::{Result, bail};

use crate::graph::Value;
use crate::lower::WindowDim;
use crate::ops::shape::slice::slice;
use crate::ops::shape::{Slice, advance, splat};
use crate::ops::xla::pad::{Edge, pad};
use crate::scalar::{BinaryOp, CompareOp};
use crate::{Builder, DType, Dim};

/// Elements of a window that are compared one by one; more would make graphs that take minutes to compile.
const MAX_TAPS: i64 = 1024;

/// For each window, the element of `g` at the first place, in row-major order, where the operand `x` is the maximum `y`; 0
/// where it is nowhere. `x` and `g` are `[N, spatial.., C]`, `y` is the pool's result.
pub(super) fn at_maximum(b: &mut Builder, dims: &[WindowDim], x: Value, y: Value, g: Value) -> Result<Value> {
    let (tx, tg, out) = (b.ty(x).clone(), b.ty(g).clone(), b.ty(y).clone());
    if tx.shape != tg.shape || out.rank() != tx.rank() {
        bail!("operand {tx}, maximum {out} and gradient {tg} do not belong together");
    }
    let taps = dims.iter().map(|d| d.size).fold(1, i64::saturating_mul);
    if taps > MAX_TAPS {
        bail!("windows of {taps} elements are more than {MAX_TAPS}");
    }
    let mut edges = vec![Edge::none(); tx.rank()];
    for (e, d) in edges[1..].iter_mut().zip(dims) {
        (e.low, e.high) = (d.pad_low.clone(), d.pad_high.clone());
    }
    let (zero, no) = (b.scalar(tx.dtype, 0.0)?, b.scalar(DType::Bool, 0.0)?);
    let everywhere = splat(b, DType::Bool, 1.0, &tx.shape)?;
    let (x, g, inside) = (pad(b, x, zero, &edges)?, pad(b, g, zero, &edges)?, pad(b, everywhere, no, &edges)?);
    let sizes: Vec<usize> = dims.iter().map(|d| d.size as usize).collect();
    let (mut places, mut at) = (vec![], vec![0usize; dims.len()]);
    loop {
        places.push(at.clone());
        if !advance(&mut at, |axis| sizes[axis]) {
            break;
        }
    }
    let mut found = splat(b, tx.dtype, 0.0, &out.shape)?;
    // From the last to the first, so that the first one stays.
    for at in places.iter().rev() {
        let mut tap = Slice::dense(vec![Dim::from(0); tx.rank()], out.shape.clone());
        for (i, d) in dims.iter().enumerate() {
            tap.start[i + 1] = Dim::from(at[i] as i64 * d.dilation);
            tap.step[i + 1] = d.stride;
        }
        let (x, g, inside) = (slice(b, x, tap.clone())?, slice(b, g, tap.clone())?, slice(b, inside, tap)?);
        let hit = b.compare(CompareOp::Eq, x, y)?;
        let hit = b.binary(BinaryOp::And, hit, inside)?;
        found = b.select(hit, g, found)?;
    }
    Ok(found)
}
