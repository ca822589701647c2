//! An explicit padding before a window becomes the window's own: zeros before a convolution, the combiner's neutral element
//! before a pooling. Windows skip their padding, so the padded copy never exists.
//!
//! Exact but for one case, which the numeric contract allows: a convolution by weights that hold NaN or Inf multiplies
//! them with the explicit zeros, and does not with its own padding.

use anyhow::Result;
use kiln_ir::lower::WindowDim;
use kiln_ir::ops::shape::Pad;
use kiln_ir::ops::window::{Conv, Pool};
use kiln_ir::scalar::ReduceOp;
use kiln_ir::scalar_eval::Scalar;
use kiln_ir::{Function, Module, Tensor, Value};

use crate::manager::{Cx, Pass, each_function};
use crate::rewrite::{constant, rebuild};

/// Merging of paddings into windows.
pub struct CanonicalizePad;

impl Pass for CanonicalizePad {
    fn name(&self) -> &'static str {
        "canonicalize-pad"
    }
    fn doc(&self) -> &'static str {
        "merges explicit paddings into the convolutions and poolings that read them"
    }
    fn run(&self, m: &mut Module, cx: &mut Cx) -> Result<bool> {
        each_function(m, |f| {
            rebuild(f, |r, _, node, inputs| {
                let (conv, pool) = (node.op.is::<Conv>(), node.op.is::<Pool>());
                let (dims, combiner) = match (conv, pool) {
                    (Some(c), _) => (&c.dims, ReduceOp::Sum),
                    (_, Some(p)) => (&p.dims, p.op),
                    _ => return Ok(None),
                };
                let Some((x, dims)) = merged(&r.b.func, inputs[0], dims, combiner) else { return Ok(None) };
                if !cx.allow() {
                    return Ok(None);
                }
                Ok(Some(match (conv, pool) {
                    (Some(c), _) => r.b.push_all(Conv { groups: c.groups, dims }, &[x, inputs[1]])?,
                    (_, Some(p)) => r.b.push_all(Pool { op: p.op, dims }, &[x])?,
                    _ => return Ok(None),
                }))
            })
        })
    }
}

/// The operand before its padding, and the window dims with the padding added.
fn merged(f: &Function, x: Value, dims: &[WindowDim], combiner: ReduceOp) -> Option<(Value, Vec<WindowDim>)> {
    let n = f.def_node(x)?;
    let pad = n.op.is::<Pad>()?;
    if !is_neutral(constant(f, *n.inputs.get(1)?)?, combiner) {
        return None;
    }
    // Only spatial axes have windows: [N, spatial.., C].
    let last = pad.low.len().checked_sub(1)?;
    if [0, last].iter().any(|&i| !(pad.low[i].is(0) && pad.high[i].is(0))) {
        return None;
    }
    let mut dims = dims.to_vec();
    for (i, d) in dims.iter_mut().enumerate() {
        let (low, high) = (pad.low.get(i + 1)?.clone(), pad.high.get(i + 1)?.clone());
        // Holes stand between elements and padding elements alike; padding of the window itself has none.
        if d.base_dilation != 1 && !(low.is(0) && high.is(0)) {
            return None;
        }
        // A negative padding of the window cuts elements off; cutting padding is not adding it.
        let cuts = |p: &kiln_ir::Dim| p.as_const().is_none_or(|n| n < 0);
        if cuts(&d.pad_low) || cuts(&d.pad_high) {
            return None;
        }
        d.pad_low = d.pad_low.clone() + low;
        d.pad_high = d.pad_high.clone() + high;
    }
    Some((*n.inputs.first()?, dims))
}

fn is_neutral(t: &Tensor, op: ReduceOp) -> bool {
    let Some(neutral) = Scalar::neutral(op, t.dtype()) else { return false };
    Scalar::load(t.dtype(), t.bytes()).is_some_and(|x| x == neutral)
}
