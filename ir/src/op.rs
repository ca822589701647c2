//! The op contract: everything that Kiln knows of an operation, in one trait without default bodies.
//!
//! An op is a struct whose fields are its attributes. Its file under `ops/` holds the struct, this trait's
//! implementation, the TensorFlow names with their attribute readers, and one line in [`crate::ops::ALL`] registers it.
//! Forgetting a part is a compile error. `docs/add-an-op.md` walks through one.

use std::any::Any;
use std::fmt::Debug;

use crate::attr::Attrs;
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::tensor::Tensor;
use crate::{Builder, Dim};

/// Whether a node may be dropped, merged or moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The results depend on the operands only; the node may be dropped, merged with an equal one, or moved.
    Pure,
    /// The node does something besides computing results (prints, asserts, reads a file): kept, in order.
    Effect,
}

/// A violated constraint of an op, with its number, as `C2: operands have one dtype`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {code}: {message}")]
pub struct OpError {
    /// The op's mnemonic.
    pub op: &'static str,
    /// The constraint's number within the op, such as `C2`; it stands in the op's docs and in test names.
    pub code: &'static str,
    /// What is wrong, with the types or values at hand.
    pub message: String,
}

impl OpError {
    /// A violated constraint.
    pub fn new(op: &'static str, code: &'static str, message: impl Into<String>) -> OpError {
        OpError { op, code, message: message.into() }
    }
}

/// A small integer tensor whose elements are known as symbolic integers: how shape arithmetic stays symbolic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DimTensor {
    /// Shape of the tensor that holds the dims; rank 0 or 1 in practice.
    pub shape: Vec<usize>,
    /// Row-major elements.
    pub elems: Vec<Dim>,
}

/// Why an op has no gradient with respect to its operands.
#[derive(Debug, thiserror::Error)]
pub enum NoGradient {
    /// The function is piecewise constant or not defined on reals (comparisons, integer ops): cotangents are zero.
    #[error("the gradient is zero or undefined everywhere")]
    NotDifferentiable,
    /// Building the gradient failed.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// What [`Op::vjp`] is given.
pub struct VjpArgs<'a> {
    /// The node's operands.
    pub inputs: &'a [Value],
    /// The node's results.
    pub outputs: &'a [Value],
    /// The cotangent of each result; `None` where nothing depends on it.
    pub cotangents: &'a [Option<Value>],
}

/// An operation of the graph IR. See the module's documentation.
pub trait Op: Any + Debug + Send + Sync {
    /// The mnemonic in the text form: lower case with underscores.
    fn name(&self) -> &'static str;

    /// The attributes in the order in which they are printed; [`OpDef::parse`] reads them back.
    fn attrs(&self) -> Attrs;

    /// Whether the node may be dropped, merged or moved.
    fn effect(&self) -> Effect;

    /// The types of the results, or the numbered constraint that the operands violate.
    fn infer(&self, operands: &[&TensorType]) -> Result<Vec<TensorType>, OpError>;

    /// Reference semantics on operands that satisfy `infer`: the oracle of every test, and the constant folder.
    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, OpError>;

    /// The results' elements as symbolic integers, where they follow from the operands' types and the elements that are
    /// known; `None` for a result that they do not determine.
    fn eval_dims(&self, operands: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>>;

    /// The vector-Jacobian product: for each operand the cotangent, built into `b`; `None` where it is zero.
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient>;

    /// Which family of kernels computes the op, with the facts that its lowering needs.
    fn lower(&self, operands: &[&TensorType]) -> Lower;

    /// For downcasts in passes: `op.as_any().downcast_ref::<Conv>()`.
    fn as_any(&self) -> &dyn Any;
}

impl dyn Op {
    /// The op as its concrete type.
    pub fn is<T: Op>(&self) -> Option<&T> {
        self.as_any().downcast_ref::<T>()
    }
}

/// An op's entry in the list: how to read it from the text form and from TensorFlow.
pub struct OpDef {
    /// The mnemonic.
    pub name: &'static str,
    /// Reads the attributes of the text form.
    pub parse: fn(&Attrs) -> Result<std::sync::Arc<dyn Op>, String>,
    /// The TensorFlow ops that this file imports.
    pub tf: &'static [crate::tf::TfBinding],
}
