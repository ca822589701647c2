//! Algebraic simplification: applies the rules of [`crate::rules`] at every node, operands first.

use anyhow::Result;
use kiln_ir::{Effect, Module};

use crate::manager::{Cx, Pass, each_function};
use crate::rewrite::rebuild;
use crate::rules::{Rules, simplify_node};

/// Sweeps over a function: one simplifies operands before users; later ones see what became constant or equal.
const MAX_SWEEPS: usize = 4;

/// Simplification by rules.
pub struct Simplify;

impl Pass for Simplify {
    fn name(&self) -> &'static str {
        "simplify"
    }
    fn doc(&self) -> &'static str {
        "applies algebraic rewrite rules"
    }
    fn run(&self, m: &mut Module, cx: &mut Cx) -> Result<bool> {
        let rules = Rules::new(cx.math);
        each_function(m, |f| {
            let mut changed = false;
            for _ in 0..MAX_SWEEPS {
                let swept = rebuild(f, |r, _, node, inputs| {
                    let [result] = node.outputs[..] else { return Ok(None) };
                    if node.op.effect() != Effect::Pure {
                        return Ok(None);
                    }
                    let ty = r.old.ty(result);
                    Ok(simplify_node(&rules, &mut r.b, &*node.op, inputs, ty, cx)?.map(|v| vec![v]))
                })?;
                if !swept {
                    break;
                }
                changed = true;
            }
            Ok(changed)
        })
    }
}
