//! Constant folding: pure nodes whose operands are constants become constants, whatever their size, by `Op::eval`.
//!
//! Folding must not grow the program: broadcasts, index ramps, tiles and other results much larger than their operands
//! stay computed. Contractions and convolutions of large constants stay too, since the reference evaluation is slow.
//! A node whose evaluation fails (an integer division by zero) stays, so that the error comes when, and only if, it runs.

use anyhow::Result;
use kiln_ir::lower::{Lower, View};
use kiln_ir::ops::constant::Const;
use kiln_ir::{Effect, Module, Tensor, TensorType};

use crate::manager::{Cx, Pass, each_function};
use crate::rewrite::{constant, rebuild};

/// A result may be this many bytes larger than its operands together: one page.
const GROWTH: usize = 4096;

/// Elements up to which contractions and windows are evaluated.
const SMALL: usize = 1 << 14;

/// Constant folding.
pub struct Fold;

impl Pass for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }
    fn doc(&self) -> &'static str {
        "evaluates nodes whose operands are constants, unless the result is much larger"
    }
    fn run(&self, m: &mut Module, cx: &mut Cx) -> Result<bool> {
        each_function(m, |f| {
            rebuild(f, |r, _, node, inputs| {
                if node.op.effect() != Effect::Pure || node.op.is::<Const>().is_some() {
                    return Ok(None);
                }
                let operands: Option<Vec<&Tensor>> = inputs.iter().map(|&v| constant(&r.b.func, v)).collect();
                let Some(operands) = operands else { return Ok(None) };
                let results: Vec<&TensorType> = node.outputs.iter().map(|&v| r.old.ty(v)).collect();
                if !worthwhile(&*node.op, &operands, &results) {
                    return Ok(None);
                }
                let Ok(values) = node.op.eval(&operands) else { return Ok(None) };
                // What eval computes must be what infer promised; anything else is left for a run to report.
                let agrees = |(t, ty): (&Tensor, &&TensorType)| TensorType::fixed(t.dtype(), t.shape()) == **ty;
                if values.len() != results.len() || !values.iter().zip(&results).all(agrees) || !cx.allow() {
                    return Ok(None);
                }
                let constants = values.into_iter().map(|t| r.b.constant(t));
                Ok(Some(constants.collect::<Result<_>>()?))
            })
        })
    }
}

fn worthwhile(op: &dyn kiln_ir::Op, operands: &[&Tensor], results: &[&TensorType]) -> bool {
    let bytes = |t: &TensorType| {
        let shape = t.static_shape()?;
        kiln_ir::tensor::element_count(&shape)?.checked_mul(t.dtype.size().max(1))
    };
    let types: Vec<TensorType> = operands.iter().map(|t| TensorType::fixed(t.dtype(), t.shape())).collect();
    let types: Vec<&TensorType> = types.iter().collect();
    let given: usize = types.iter().filter_map(|t| bytes(t)).sum();
    let Some(made) = results.iter().map(|t| bytes(t)).sum::<Option<usize>>() else { return false };
    let heavy = || operands.iter().any(|t| t.len() > SMALL);
    match op.lower(&types) {
        Lower::Control | Lower::Host => false,
        Lower::Iota { .. } | Lower::View(View::Broadcast(_) | View::Tile) => made <= given.max(64),
        Lower::Contract(_) | Lower::Window { .. } if heavy() => false,
        _ => made <= given.saturating_add(GROWTH),
    }
}
