//! Reference semantics of the scalar vocabulary ([`crate::scalar`]) on every element type that an operation accepts.
//!
//! This is the one place that says what an operation computes; the graph interpreter uses it over tensors
//! ([`unary_tensor`], [`binary_tensor`], ..), the loop interpreter over machine words ([`word`]), and backends are tested against it.
//! Edge cases follow the strict table of the numeric contract: integer division by zero and a negative integer
//! exponent are faults, shifts clamp, float to integer saturates with NaN to 0, maximum and minimum propagate NaN.
//!
//! Accuracy: f16, bf16 and f32 results are computed in a wider type and rounded once, so the transcendental ones are
//! within a hair of correctly rounded; f64 ones are as good as the system's libm and [`special`].

mod complex;
mod float;
mod int;
mod num;
pub mod special;
mod tensors;
pub mod word;

pub use num::Scalar;
pub use tensors::{
    binary_tensor, bitcast_tensor, broadcast_shape, cast_tensor, compare_tensor, fma_tensor, reduce_tensor,
    select_tensor, unary_tensor,
};

use crate::DType;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use num::{Mid, Num, with_num};

/// Why an operation on elements has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The operation does not take this element type.
    #[error("the operation does not take this element type")]
    Unsupported,
    /// Integer quotient or remainder with divisor 0.
    #[error("integer division by zero")]
    DivisionByZero,
    /// Integer power with an exponent below 0.
    #[error("integer power with a negative exponent")]
    NegativeExponent,
}

impl Scalar {
    /// A unary operation.
    pub fn unary(op: UnaryOp, x: Scalar) -> Result<Scalar, Fault> {
        if !op.accepts(x.dtype()) {
            return Err(Fault::Unsupported);
        }
        with_num!(x.dtype(), T => num::unary_scalar::<T>(op, x.get::<T>()?), else Err(Fault::Unsupported))
    }

    /// A binary operation on operands of one type.
    pub fn binary(op: BinaryOp, x: Scalar, y: Scalar) -> Result<Scalar, Fault> {
        if !op.accepts(x.dtype()) {
            return Err(Fault::Unsupported);
        }
        with_num!(x.dtype(), T => Ok(T::binary(op, x.get::<T>()?, y.get::<T>()?)?.scalar()), else Err(Fault::Unsupported))
    }

    /// A comparison of operands of one type.
    pub fn compare(op: CompareOp, x: Scalar, y: Scalar) -> Result<bool, Fault> {
        if !op.accepts(x.dtype()) {
            return Err(Fault::Unsupported);
        }
        with_num!(x.dtype(), T => T::compare(op, x.get::<T>()?, y.get::<T>()?), else Err(Fault::Unsupported))
    }

    /// `a * b + c` rounded once; floats only.
    pub fn fma(a: Scalar, b: Scalar, c: Scalar) -> Result<Scalar, Fault> {
        with_num!(a.dtype(), T => Ok(T::fma(a.get::<T>()?, b.get::<T>()?, c.get::<T>()?)?.scalar()), else Err(Fault::Unsupported))
    }

    /// Conversion with TensorFlow's Cast rules: integers wrap, float to integer saturates with NaN to 0, anything to
    /// bool is `x != 0`, complex to real drops the imaginary part.
    pub fn cast(self, to: DType) -> Result<Scalar, Fault> {
        let mid: Mid = with_num!(self.dtype(), T => self.get::<T>()?.mid(), else return Err(Fault::Unsupported));
        with_num!(to, T => Ok(T::from_mid(mid).scalar()), else Err(Fault::Unsupported))
    }

    /// The neutral element of a reduction: what an empty reduction gives.
    pub fn neutral(op: ReduceOp, dtype: DType) -> Option<Scalar> {
        if !op.accepts(dtype) {
            return None;
        }
        let int = |n: i64| Scalar::I64(n).cast(dtype).ok();
        match op {
            ReduceOp::Sum => int(0),
            ReduceOp::Prod => int(1),
            ReduceOp::All => Some(Scalar::Bool(true)),
            ReduceOp::Any => Some(Scalar::Bool(false)),
            // A cast from a float saturates at an integer type's ends.
            ReduceOp::Max => Scalar::F64(f64::NEG_INFINITY).cast(dtype).ok(),
            ReduceOp::Min => Scalar::F64(f64::INFINITY).cast(dtype).ok(),
        }
    }
}
