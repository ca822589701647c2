//! TensorFlow's NthElement, by way of `top_k`.

use anyhow::{Result, bail};

use crate::Dim;
use crate::graph::Value;
use crate::ops::host::tf_ops;
use crate::ops::reduce::TopK;
use crate::ops::shape::slice::slice;
use crate::ops::shape::{Slice, always_negative};
use crate::tf::{TfBinding, TfCx};

/// Operands: x, n. The element of each row that stands at place n, from 0, of the row in order; `reverse` means in
/// descending order.
fn nth_element(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty, n) = (cx.input(0)?, cx.ty(0)?, cx.dims_input(1)?);
    let [n] = &n[..] else { bail!("the place is {n:?}") };
    let Some((length, outer)) = ty.shape.split_last() else { bail!("a scalar has no rows") };
    // The place from the other end is that of the smallest elements.
    let place = if cx.bool("reverse")? { n.clone() } else { length.clone() - Dim::from(1) - n.clone() };
    if always_negative(&place) || always_negative(&(length.clone() - Dim::from(1) - place.clone())) {
        bail!("place {n} in rows of {length}");
    }
    let first = cx.b.push(TopK { k: place.clone() + Dim::from(1) }, &[x])?;
    let shape = cx.b.ty(first).shape.clone();
    let y = slice(cx.b, first, Slice::along(&shape, outer.len(), place, Dim::from(1)))?;
    Ok(vec![cx.b.reshape(y, outer)?])
}

/// The import rule of this file.
pub const TF: &[TfBinding] = tf_ops! { "NthElement" => nth_element };
