//! One trait for all element types, and the enum that holds an element of any of them.

use half::{bf16, f16};
use num_complex::Complex;

use super::Fault;
use crate::DType;
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};

/// A number on its way between two element types: each source converts to one form without loss.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mid {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Complex(f64, f64),
}

/// An element type with its operations. Operations that it does not have give [`Fault::Unsupported`].
pub(super) trait Num: Copy + 'static {
    /// What lies in memory: the type itself, a byte for bool.
    type Store: bytemuck::Pod;
    /// The real part's type for complex numbers, else the type itself.
    type Part: Num;

    fn load(s: Self::Store) -> Self;
    fn store(self) -> Self::Store;
    fn scalar(self) -> Scalar;

    /// Operations whose result has the operand's type.
    fn unary(op: UnaryOp, x: Self) -> Result<Self, Fault>;
    /// Operations on complex numbers whose result is real.
    fn part(_op: UnaryOp, _x: Self) -> Result<Self::Part, Fault> {
        Err(Fault::Unsupported)
    }
    /// Classification of floats.
    fn test(_op: UnaryOp, _x: Self) -> Result<bool, Fault> {
        Err(Fault::Unsupported)
    }
    /// Number of one bits.
    fn popcount(_x: Self) -> Result<u8, Fault> {
        Err(Fault::Unsupported)
    }
    fn binary(op: BinaryOp, x: Self, y: Self) -> Result<Self, Fault>;
    fn compare(op: CompareOp, x: Self, y: Self) -> Result<bool, Fault>;
    fn fma(_a: Self, _b: Self, _c: Self) -> Result<Self, Fault> {
        Err(Fault::Unsupported)
    }

    fn mid(self) -> Mid;
    fn from_mid(m: Mid) -> Self;
}

/// What kind of result a unary operation has on an element type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UnaryResult {
    Same,
    Part,
    Test,
    Count,
}

pub(super) fn unary_result(op: UnaryOp, dtype: DType) -> UnaryResult {
    match op {
        UnaryOp::IsNan | UnaryOp::IsInf | UnaryOp::IsFinite => UnaryResult::Test,
        UnaryOp::PopCount => UnaryResult::Count,
        UnaryOp::Abs | UnaryOp::Real | UnaryOp::Imag | UnaryOp::Angle if dtype.is_complex() => UnaryResult::Part,
        _ => UnaryResult::Same,
    }
}

pub(super) fn unary_scalar<T: Num>(op: UnaryOp, x: T) -> Result<Scalar, Fault> {
    Ok(match unary_result(op, x.scalar().dtype()) {
        UnaryResult::Same => T::unary(op, x)?.scalar(),
        UnaryResult::Part => T::part(op, x)?.scalar(),
        UnaryResult::Test => Scalar::Bool(T::test(op, x)?),
        UnaryResult::Count => Scalar::U8(T::popcount(x)?),
    })
}

macro_rules! scalars {
    ($($variant:ident($t:ty)),* $(,)?) => {
        /// An element of any plain type.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[allow(missing_docs)] // the variants are the dtypes
        pub enum Scalar { $($variant($t)),* }

        impl Scalar {
            /// The element's type.
            pub fn dtype(self) -> DType {
                match self { $(Scalar::$variant(_) => DType::$variant),* }
            }

            /// The element at the start of `bytes` (native endian); `None` where they are too few or the type is not
            /// plain.
            pub fn load(dtype: DType, bytes: &[u8]) -> Option<Scalar> {
                let bytes = bytes.get(..dtype.size())?;
                match dtype {
                    $(DType::$variant => Some(<$t as Num>::load(bytemuck::pod_read_unaligned(bytes)).scalar()),)*
                    _ => None,
                }
            }

            /// Writes the element to the start of `bytes`; false where they are too few.
            pub fn store(self, bytes: &mut [u8]) -> bool {
                let Some(to) = bytes.get_mut(..self.dtype().size()) else { return false };
                match self { $(Scalar::$variant(x) => to.copy_from_slice(bytemuck::bytes_of(&x.store()))),* }
                true
            }

            /// The element as type `T`; a fault if it has another type.
            pub(super) fn get<T: Num>(self) -> Result<T, Fault> {
                let mut out = None;
                let slot: &mut dyn std::any::Any = &mut out;
                match self {
                    $(Scalar::$variant(x) => if let Some(o) = slot.downcast_mut::<Option<$t>>() { *o = Some(x) }),*
                }
                out.ok_or(Fault::Unsupported)
            }
        }
    };
}

scalars! {
    Bool(bool), I8(i8), I16(i16), I32(i32), I64(i64), U8(u8), U16(u16), U32(u32), U64(u64),
    F16(f16), BF16(bf16), F32(f32), F64(f64), C64(Complex<f32>), C128(Complex<f64>),
}

/// Runs an expression with `$T` bound to the Rust type of a dtype; `$other` for types without plain elements.
macro_rules! with_num {
    (@arms $dtype:expr, $T:ident, $body:expr, $other:expr, $($variant:ident: $t:ty),*) => {
        match $dtype {
            $($crate::DType::$variant => { type $T = $t; $body })*
            _ => $other,
        }
    };
    ($dtype:expr, $T:ident => $body:expr, else $other:expr) => {
        with_num!(@arms $dtype, $T, $body, $other,
            Bool: bool, I8: i8, I16: i16, I32: i32, I64: i64, U8: u8, U16: u16, U32: u32, U64: u64,
            F16: half::f16, BF16: half::bf16, F32: f32, F64: f64,
            C64: num_complex::Complex<f32>, C128: num_complex::Complex<f64>)
    };
}
pub(super) use with_num;
