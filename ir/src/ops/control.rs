//! Control flow: `case` and `while` over functions of the module. Functions are named by index; their parameters are the
//! operands' types, so a value from outside is an operand, and state is threaded like any other value.
//!
//! The types of the results are attributes, since an op does not see the module; the verifier compares them with the
//! functions' (G15). A dimension that differs between the branches, or changes from one iteration to the next, is a symbol
//! of its own: bound by each iteration's parameters, and by the node's result.
//!
//! Constraints: C1 `case` has a selector, which is a bool or i32 scalar; C2 `case` has a branch, and two for a bool;
//! C3 `while` carries as many values as it has results, of the same dtypes and ranks.

use std::any::Any;
use std::sync::Arc;

use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::tensor::Tensor;
use crate::{Builder, DType};

/// `case s, args..`: the results of one of the branches on the arguments. A bool selects branch 0 where it is false and 1
/// where it is true; an i32 out of range selects the last branch, as in TensorFlow.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The branches, by index of the module's functions.
    pub branches: Vec<usize>,
    /// The types of the results.
    pub results: Vec<TensorType>,
    /// Whether a branch does something besides computing its results.
    pub effect: bool,
}

/// `while carried..`: as long as `cond` gives true on the carried values, they become what `body` gives on them.
#[derive(Debug, Clone, PartialEq)]
pub struct While {
    /// The condition: a bool scalar.
    pub cond: usize,
    /// The body.
    pub body: usize,
    /// The types of the results.
    pub results: Vec<TensorType>,
    /// Whether condition or body does something besides computing its results.
    pub effect: bool,
}

impl Case {
    /// Which branch a selector takes.
    ///
    /// # Errors
    /// E1: the tensor is no selector.
    pub fn select(&self, selector: &Tensor) -> Result<usize, OpError> {
        let last = self.branches.len().saturating_sub(1);
        let at = match selector.dtype() {
            DType::Bool => selector.bytes().first().map(|&b| usize::from(b != 0)),
            _ => selector.to_i64s().and_then(|v| v.first().copied()).map(|i| usize::try_from(i).unwrap_or(last)),
        };
        at.map(|i| i.min(last)).ok_or_else(|| OpError::new("case", "E1", "the selector is no bool or integer scalar"))
    }
}

fn effect(effect: bool) -> Effect {
    if effect { Effect::Effect } else { Effect::Pure }
}

/// Ops of this file are run by whoever holds the module.
fn no_eval(op: &'static str) -> Result<Vec<Tensor>, OpError> {
    Err(OpError::new(op, "E2", "needs the module's functions: run the whole function"))
}

impl Op for Case {
    fn name(&self) -> &'static str {
        "case"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("branches", Attr::Funcs(self.branches.clone()))
            .with("results", Attr::Types(self.results.clone()))
            .with("effect", Attr::Bool(self.effect))
    }
    fn effect(&self) -> Effect {
        effect(self.effect)
    }
    fn infer(&self, operands: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        match operands.first() {
            Some(s) if s.rank() == 0 && s.dtype == DType::Bool && self.branches.len() == 2 => {}
            Some(s) if s.rank() == 0 && s.dtype == DType::I32 && !self.branches.is_empty() => {}
            Some(s) if s.rank() == 0 && matches!(s.dtype, DType::Bool | DType::I32) => {
                return Err(OpError::new("case", "C2", format!("{} branches for a selector {s}", self.branches.len())));
            }
            s => return Err(OpError::new("case", "C1", format!("the selector is {s:?}, no bool or i32 scalar"))),
        }
        Ok(self.results.clone())
    }
    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        no_eval("case")
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None; self.results.len()]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Err(NoGradient::Failed(anyhow::anyhow!("gradients through conditionals are not built yet")))
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Control
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Op for While {
    fn name(&self) -> &'static str {
        "while"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("cond", Attr::Func(self.cond))
            .with("body", Attr::Func(self.body))
            .with("results", Attr::Types(self.results.clone()))
            .with("effect", Attr::Bool(self.effect))
    }
    fn effect(&self) -> Effect {
        effect(self.effect)
    }
    fn infer(&self, operands: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let alike = |a: &TensorType, b: &TensorType| a.dtype == b.dtype && a.rank() == b.rank();
        if operands.len() != self.results.len() || !operands.iter().zip(&self.results).all(|(a, b)| alike(a, b)) {
            return Err(OpError::new("while", "C3", format!("carries {operands:?} and results in {:?}", self.results)));
        }
        Ok(self.results.clone())
    }
    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        no_eval("while")
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None; self.results.len()]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Err(NoGradient::Failed(anyhow::anyhow!("gradients through loops are not built yet")))
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Control
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The functions that an op calls, each with its arguments' first operand: 1 for `case`, whose selector is not passed on.
pub fn callees(op: &dyn Op) -> (Vec<usize>, usize) {
    if let Some(c) = op.is::<Case>() {
        (c.branches.clone(), 1)
    } else if let Some(w) = op.is::<While>() {
        (vec![w.cond, w.body], 0)
    } else {
        (vec![], 0)
    }
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "case",
        parse: |a| {
            let (branches, results, effect) = (a.funcs("branches")?, a.types("results")?, a.bool("effect")?);
            Ok(Arc::new(Case { branches, results, effect }))
        },
        tf: &[],
    },
    OpDef {
        name: "while",
        parse: |a| {
            let (cond, body) = (a.func("cond")?, a.func("body")?);
            Ok(Arc::new(While { cond, body, results: a.types("results")?, effect: a.bool("effect")? }))
        },
        tf: &[],
    },
];
