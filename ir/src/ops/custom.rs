//! `custom`: a call of a C function that the user gives, for TensorFlow ops of the user's own.
//!
//! What the function computes is not known here: it is not folded, has no gradient, and must depend on its operands only,
//! because equal calls are merged and calls whose results nothing uses are dropped. `docs/custom-ops.md` is its ABI.
//!
//! Constraints: C1 operands and results have element types that kernels can hold; C2 the symbol is a C identifier.

use std::any::Any;
use std::sync::Arc;

use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::tensor::Tensor;
use crate::{Builder, Dim, Symbol};

/// `custom x..`: what the function `symbol` writes into results of the given types.
#[derive(Debug, Clone, PartialEq)]
pub struct Custom {
    /// The C function.
    pub symbol: String,
    /// The TensorFlow node's attributes as a JSON object, which the function is given.
    pub attributes: String,
    /// The types of the results.
    pub results: Vec<TensorType>,
}

impl Op for Custom {
    fn name(&self) -> &'static str {
        "custom"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("symbol", Attr::Str(self.symbol.clone()))
            .with("attributes", Attr::Str(self.attributes.clone()))
            .with("results", Attr::Types(self.results.clone()))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, operands: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        if let Some(t) =
            operands.iter().copied().chain(&self.results).find(|t| !t.dtype.is_plain() || t.dtype.is_complex())
        {
            return Err(OpError::new("custom", "C1", format!("a C function takes no {t}")));
        }
        if !is_c_identifier(&self.symbol) {
            return Err(OpError::new("custom", "C2", format!("`{}` is not a C identifier", self.symbol)));
        }
        Ok(self.results.clone())
    }
    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Err(OpError::new("custom", "E1", format!("`{}` runs in compiled code only", self.symbol)))
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None; self.results.len()]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Err(NoGradient::Failed(anyhow::anyhow!("the C function `{}` has no gradient", self.symbol)))
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Control
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Whether C takes the text for a name.
pub fn is_c_identifier(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The shape of a result by the shapes of the operands.
///
/// The text is `iN` for that of operand N, or a list such as `[i0_0, 2*i1_1 + 1, 4]`: sizes over those of the operands, `iN_A` is
/// axis A of operand N.
///
/// # Errors
/// What is wrong with the text.
pub fn result_shape(text: &str, operands: &[&TensorType]) -> Result<Vec<Dim>, String> {
    let text = text.trim();
    let operand = |n: &str| {
        let n: usize = n.parse().map_err(|_| format!("`{n}` is no operand's number"))?;
        operands.get(n).ok_or_else(|| format!("there is no operand {n}, only {}", operands.len()))
    };
    if let Some(n) = text.strip_prefix('i') {
        return Ok(operand(n)?.shape.clone());
    }
    let list = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let list = list.ok_or_else(|| format!("`{text}` is neither iN nor a list in brackets"))?;
    let mut shape = vec![];
    for size in list.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        let over: Dim = Dim::parse(size)?;
        let mut problem = None;
        let resolve = |s: &Symbol| {
            let axis = s.0.strip_prefix('i').and_then(|r| r.split_once('_'));
            let (n, a) = axis.ok_or_else(|| format!("`{s}` is not of the form iN_A"))?;
            let (t, a) = (operand(n)?, a.parse::<usize>().map_err(|_| format!("`{a}` is no axis"))?);
            t.shape.get(a).cloned().ok_or_else(|| format!("operand {n} has no axis {a}: it is {t}"))
        };
        over.for_each_symbol(&mut |s| problem = problem.take().or(resolve(s).err()));
        if let Some(p) = problem {
            return Err(p);
        }
        shape.push(over.substitute(&|s| resolve(s).ok()));
    }
    Ok(shape)
}

/// The op of this file.
pub const OPS: &[OpDef] = &[OpDef {
    name: "custom",
    parse: |a| {
        let (symbol, attributes, results) = (a.str("symbol")?, a.str("attributes")?, a.types("results")?);
        Ok(Arc::new(Custom { symbol, attributes, results }))
    },
    tf: &[],
}];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn shapes_follow_the_operands() {
        let a = TensorType { dtype: DType::F32, shape: vec![Dim::sym("batch"), Dim::from(3)] };
        let b = TensorType::fixed(DType::F32, &[5]);
        let shape = |text: &str| result_shape(text, &[&a, &b]);
        assert_eq!(shape("i0").unwrap(), a.shape);
        assert_eq!(shape("[]").unwrap(), vec![]);
        assert_eq!(shape("[i0_0, 2*i1_0 + i0_1, 4]").unwrap(), vec![Dim::sym("batch"), Dim::from(13), Dim::from(4)]);
        for (text, problem) in [("i2", "no operand 2"), ("[i0_2]", "no axis 2"), ("[n]", "iN_A"), ("4", "brackets")] {
            assert!(shape(text).unwrap_err().contains(problem), "{text}");
        }
    }

    #[test]
    fn identifiers_are_those_of_c() {
        assert!(is_c_identifier("my_op2") && is_c_identifier("_x"));
        assert!(!is_c_identifier("") && !is_c_identifier("2x") && !is_c_identifier("a-b") && !is_c_identifier("ä"));
    }
}
