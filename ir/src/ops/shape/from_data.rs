//! `dims_from_data`: sizes that are computed at run time, bound to symbols.
//!
//! The result is an empty tensor whose shape holds the sizes behind a first axis of extent 0: the type of a value binds
//! symbols wherever it is computed, so no other mechanism is needed. Nothing reads the result.
//!
//! Constraints: C1 one operand; C2 it is a scalar or vector of i32 or i64 with as many elements as there are sizes.
//! Evaluation: E1 a size is negative.

use std::sync::Arc;

use super::{arity, check_index, may_equal, pure_op};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::tensor::Tensor;
use crate::{Builder, DType, Dim};

/// `dims_from_data x`: binds the symbols `dims` to the elements of `x`.
#[derive(Debug, Clone, PartialEq)]
pub struct DimsFromData {
    /// A symbol for each element.
    pub dims: Vec<Dim>,
}

impl Op for DimsFromData {
    pure_op!("dims_from_data");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("dims", Attr::Dims(self.dims.clone()))
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = arity("dims_from_data", given)?;
        check_index("dims_from_data", "C2", x)?;
        if x.rank() > 1 || !may_equal(&x.elements(), &Dim::from(self.dims.len())) {
            return Err(OpError::new("dims_from_data", "C2", format!("{} sizes from {x}", self.dims.len())));
        }
        let shape = [Dim::from(0)].into_iter().chain(self.dims.iter().cloned()).collect();
        Ok(vec![TensorType::new(DType::I8, shape)])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let sizes = x[0].to_i64s().unwrap_or_default();
        let shape: Result<Vec<usize>, _> = [0].iter().chain(&sizes).map(|&n| usize::try_from(n)).collect();
        let shape = shape
            .map_err(|_| OpError::new("dims_from_data", "E1", format!("sizes {sizes:?}, of which one is negative")))?;
        Ok(vec![Tensor::zeros(DType::I8, &shape)])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Err(NoGradient::NotDifferentiable)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Host
    }
}

/// The op of this file.
pub const OPS: &[OpDef] =
    &[OpDef { name: "dims_from_data", parse: |a| Ok(Arc::new(DimsFromData { dims: a.dims("dims")? })), tf: &[] }];
