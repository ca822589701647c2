//! The padding of convolutions and depthwise convolutions becomes an explicit `pad` again, right before lowering for a
//! CPU: a kernel without bounds to check is worth a border of zeros, and the memory plan lets the producer write into the
//! middle of the padded buffer, so the copy is rarely made.

use anyhow::Result;
use kiln_ir::lower::WindowDim;
use kiln_ir::ops::shape::Pad;
use kiln_ir::ops::window::{Conv, Pool};
use kiln_ir::scalar::ReduceOp;
use kiln_ir::{Dim, Module, Tensor};

use crate::manager::{Cx, Pass, each_function};
use crate::rewrite::rebuild;

/// Padding of windows as explicit `pad`s.
pub struct MaterializePad;

impl Pass for MaterializePad {
    fn name(&self) -> &'static str {
        "materialize-pad"
    }
    fn doc(&self) -> &'static str {
        "turns the padding of convolutions and max poolings into explicit pads, for kernels without bounds checks"
    }
    fn run(&self, m: &mut Module, cx: &mut Cx) -> Result<bool> {
        each_function(m, |f| {
            rebuild(f, |r, _, node, inputs| {
                let (dims, fill) = match (node.op.is::<Conv>(), node.op.is::<Pool>()) {
                    (Some(c), _) => (&c.dims, 0.0),
                    (_, Some(p)) if p.op == ReduceOp::Max && r.b.ty(inputs[0]).dtype.is_float() => {
                        (&p.dims, f64::NEG_INFINITY)
                    }
                    _ => return Ok(None),
                };
                // Rows beyond a base-dilated operand's elements are skipped taps, not padding.
                let padded = dims.iter().any(|d| !(d.pad_low.is(0) && d.pad_high.is(0)));
                let never_negative = |d: &Dim| d.terms().iter().all(|t| t.1 >= 0);
                let plain = dims
                    .iter()
                    .all(|d| d.base_dilation == 1 && never_negative(&d.pad_low) && never_negative(&d.pad_high));
                if !padded || !plain || !cx.allow() {
                    return Ok(None);
                }
                let border = |side: fn(&WindowDim) -> &Dim| {
                    let inner = dims.iter().map(|d| side(d).clone());
                    [Dim::from(0)].into_iter().chain(inner).chain([Dim::from(0)]).collect::<Vec<_>>()
                };
                let pad = Pad { low: border(|d| &d.pad_low), high: border(|d| &d.pad_high) };
                let value = kiln_ir::scalar_eval::cast_tensor(r.b.ty(inputs[0]).dtype, &Tensor::scalar(fill))
                    .map_err(anyhow::Error::msg)?;
                let value = r.b.constant(value)?;
                let x = r.b.push(pad, &[inputs[0], value])?;
                let zero = |d: &WindowDim| WindowDim { pad_low: Dim::from(0), pad_high: Dim::from(0), ..d.clone() };
                let dims = dims.iter().map(zero).collect();
                Ok(Some(match (node.op.is::<Conv>(), node.op.is::<Pool>()) {
                    (Some(c), _) => r.b.push_all(Conv { groups: c.groups, dims }, &[x, inputs[1]])?,
                    (_, Some(p)) => r.b.push_all(Pool { op: p.op, dims }, &[x])?,
                    _ => return Ok(None),
                }))
            })
        })
    }
}
