//! XlaPad: a border of one value that may be negative, and the value between neighbours.

use anyhow::{Result, bail};

use crate::graph::Value;
use crate::ops::host::tf_ops;
use crate::ops::shape::slice::slice;
use crate::ops::shape::{Pad, Slice, always_negative, at_least_zero};
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, Dim};

/// How one axis is padded; a negative border takes elements away.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edge {
    /// Before the first element.
    pub low: Dim,
    /// After the last element.
    pub high: Dim,
    /// Between neighbours.
    pub interior: i64,
}

impl Edge {
    /// An axis that stays as it is.
    pub fn none() -> Edge {
        Edge { low: Dim::from(0), high: Dim::from(0), interior: 0 }
    }
}

/// `x` with the scalar `value` around and between its elements; one edge an axis.
pub(crate) fn pad(b: &mut Builder, mut x: Value, value: Value, edges: &[Edge]) -> Result<Value> {
    let ty = b.ty(x).clone();
    if edges.len() != ty.rank() || edges.iter().any(|e| !(0..=1 << 30).contains(&e.interior)) {
        bail!("{ty} cannot be padded by {edges:?}");
    }
    for (axis, e) in edges.iter().enumerate() {
        if e.interior > 0 && !matches!(ty.shape[axis].as_const(), Some(0 | 1)) {
            x = spread(b, x, value, axis, e.interior)?;
        }
    }
    let negative = |d: &Dim| d.as_const().is_some_and(|n| n < 0);
    let grown = |d: &Dim| if negative(d) { Dim::from(0) } else { d.clone() };
    let low: Vec<Dim> = edges.iter().map(|e| grown(&e.low)).collect();
    let high: Vec<Dim> = edges.iter().map(|e| grown(&e.high)).collect();
    if low.iter().chain(&high).any(|d| !d.is(0)) {
        x = b.push(Pad { low, high }, &[x, value])?;
    }
    let mut cut = Slice::dense(vec![Dim::from(0); edges.len()], b.ty(x).shape.clone());
    for (axis, e) in edges.iter().enumerate() {
        for (edge, first) in [(&e.low, true), (&e.high, false)] {
            if negative(edge) {
                cut.size[axis] = cut.size[axis].clone() + edge.clone();
                if first {
                    cut.start[axis] = Dim::from(0) - edge.clone();
                }
            }
        }
        if always_negative(&cut.size[axis]) {
            bail!("axis {axis} of {ty} is padded to the size {}, which is negative", cut.size[axis]);
        }
    }
    slice(b, x, cut)
}

/// `gap` values between neighbours along an axis.
fn spread(b: &mut Builder, x: Value, value: Value, axis: usize, gap: i64) -> Result<Value> {
    let shape = b.ty(x).shape.clone();
    let mut split = shape.clone();
    split.insert(axis + 1, Dim::from(1));
    let x = b.reshape(x, &split)?;
    let (low, mut high) = (vec![Dim::from(0); split.len()], vec![Dim::from(0); split.len()]);
    high[axis + 1] = Dim::from(gap);
    let x = b.push(Pad { low, high }, &[x, value])?;
    let mut joined = shape.clone();
    joined[axis] = shape[axis].clone() * Dim::from(gap + 1);
    let x = b.reshape(x, &joined)?;
    let length = at_least_zero(&(joined[axis].clone() - Dim::from(gap)));
    slice(b, x, Slice::along(&joined, axis, Dim::from(0), length))
}

fn xla_pad(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, value) = (cx.input(0)?, cx.input(1)?);
    let (low, high, interior) = (cx.const_ints(2)?, cx.const_ints(3)?, cx.const_ints(4)?);
    if low.len() != high.len() || low.len() != interior.len() {
        bail!("the paddings {low:?}, {high:?} and {interior:?} are of different lengths");
    }
    let edge = |i: usize| Edge { low: Dim::from(low[i]), high: Dim::from(high[i]), interior: interior[i] };
    let edges: Vec<Edge> = (0..low.len()).map(edge).collect();
    Ok(vec![pad(cx.b, x, value, &edges)?])
}

/// The import rule of this file.
pub const TF: &[TfBinding] = tf_ops! { "XlaPad" => xla_pad };
