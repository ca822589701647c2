//! Composite ops are replaced by the subgraphs of simpler ops that their own files define.
//!
//! It runs after the gradients and the first simplification, which know composite ops as a whole, and before everything
//! that matches on elementwise ops and contractions.

use anyhow::{Result, bail};
use kiln_ir::lower::Lower;
use kiln_ir::{Function, Module, TensorType};

use crate::manager::{Cx, Pass, each_function};
use crate::rewrite::{origin, rebuild};

/// An expansion may hold composite ops again, to this depth.
const MAX_DEPTH: usize = 8;

/// Expansion of composite ops.
pub struct Expand;

impl Pass for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }
    fn doc(&self) -> &'static str {
        "replaces composite ops by their definitions in simpler ops"
    }
    fn run(&self, m: &mut Module, cx: &mut Cx) -> Result<bool> {
        each_function(m, |f| {
            let mut changed = false;
            for _ in 0..MAX_DEPTH {
                if !expand_once(f, cx)? {
                    return Ok(changed);
                }
                changed = true;
            }
            match f.nodes().find(|(id, _)| expansion(f, *id).is_some()) {
                Some((id, _)) => bail!("{}: its expansion holds composite ops without end", origin(f, id)),
                None => Ok(changed),
            }
        })
    }
}

type Expansion = fn(&mut kiln_ir::Builder, &dyn kiln_ir::Op, &[kiln_ir::Value]) -> Result<Vec<kiln_ir::Value>>;

fn expansion(f: &Function, id: kiln_ir::NodeId) -> Option<Expansion> {
    let n = f.node(id);
    let operands: Vec<&TensorType> = n.inputs.iter().map(|&v| f.ty(v)).collect();
    match n.op.lower(&operands) {
        Lower::Expand(by) => Some(by),
        _ => None,
    }
}

/// Expansion is not optional, so the rewrite limit does not apply: the counter only numbers it.
fn expand_once(f: &mut Function, cx: &mut Cx) -> Result<bool> {
    rebuild(f, |r, id, node, inputs| {
        let Some(by) = expansion(r.old, id) else { return Ok(None) };
        cx.allow();
        Ok(Some(by(&mut r.b, &*node.op, inputs)?))
    })
}
