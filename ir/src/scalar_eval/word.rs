//! Operations on elements held as 64-bit words, one element a word: the loop interpreter's registers.
//!
//! A word holds the element's bits, zero-extended. Complex numbers do not fit and never reach the loop IR.

use half::{bf16, f16};

use super::Fault;
use super::num::{Num, UnaryResult, unary_result};
use crate::DType;
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};

/// A unary operation on a word of one element type.
pub type UnaryWord = fn(UnaryOp, u64) -> Result<u64, Fault>;
/// A binary operation on words of one element type.
pub type BinaryWord = fn(BinaryOp, u64, u64) -> Result<u64, Fault>;
/// A comparison of words of one element type.
pub type CompareWord = fn(CompareOp, u64, u64) -> Result<bool, Fault>;
/// Fused multiply-add of words of one element type.
pub type FmaWord = fn(u64, u64, u64) -> Result<u64, Fault>;
/// Conversion of a word from one element type to another.
pub type CastWord = fn(u64) -> u64;

trait Word: Num {
    const DTYPE: DType;
    fn from_word(w: u64) -> Self;
    fn to_word(self) -> u64;
}

macro_rules! words {
    (ints: $($i:ident $id:ident $u:ident),*; floats: $($f:ident $fd:ident $b:ident),*) => {
        $(impl Word for $i {
            const DTYPE: DType = DType::$id;
            #[inline]
            fn from_word(w: u64) -> $i { w as $i }
            #[inline]
            fn to_word(self) -> u64 { self as $u as u64 }
        })*
        $(impl Word for $f {
            const DTYPE: DType = DType::$fd;
            #[inline]
            fn from_word(w: u64) -> $f { $f::from_bits(w as $b) }
            #[inline]
            fn to_word(self) -> u64 { self.to_bits() as u64 }
        })*
    };
}
words!(ints: i8 I8 u8, i16 I16 u16, i32 I32 u32, i64 I64 u64, u8 U8 u8, u16 U16 u16, u32 U32 u32, u64 U64 u64;
       floats: f16 F16 u16, bf16 BF16 u16, f32 F32 u32, f64 F64 u64);

impl Word for bool {
    const DTYPE: DType = DType::Bool;
    fn from_word(w: u64) -> bool {
        w != 0
    }
    fn to_word(self) -> u64 {
        u64::from(self)
    }
}

macro_rules! with_word {
    (@arms $dtype:expr, $T:ident, $body:expr, $($variant:ident: $t:ty),*) => {
        match $dtype {
            $(DType::$variant => { type $T = $t; Some($body) })*
            _ => None,
        }
    };
    ($dtype:expr, $T:ident => $body:expr) => {
        with_word!(@arms $dtype, $T, $body,
            Bool: bool, I8: i8, I16: i16, I32: i32, I64: i64, U8: u8, U16: u16, U32: u32, U64: u64,
            F16: f16, BF16: bf16, F32: f32, F64: f64)
    };
}

fn unary_of<T: Word>(op: UnaryOp, x: u64) -> Result<u64, Fault> {
    let x = T::from_word(x);
    match unary_result(op, T::DTYPE) {
        UnaryResult::Same => T::unary(op, x).map(T::to_word),
        UnaryResult::Test => T::test(op, x).map(u64::from),
        UnaryResult::Count => T::popcount(x).map(u64::from),
        UnaryResult::Part => Err(Fault::Unsupported),
    }
}

/// The unary operations on this element type; `None` for complex numbers and types without elements.
pub fn unary(dtype: DType) -> Option<UnaryWord> {
    with_word!(dtype, T => unary_of::<T> as UnaryWord)
}

/// The binary operations on this element type.
pub fn binary(dtype: DType) -> Option<BinaryWord> {
    fn of<T: Word>(op: BinaryOp, x: u64, y: u64) -> Result<u64, Fault> {
        T::binary(op, T::from_word(x), T::from_word(y)).map(T::to_word)
    }
    with_word!(dtype, T => of::<T> as BinaryWord)
}

/// The comparisons of this element type.
pub fn compare(dtype: DType) -> Option<CompareWord> {
    fn of<T: Word>(op: CompareOp, x: u64, y: u64) -> Result<bool, Fault> {
        T::compare(op, T::from_word(x), T::from_word(y))
    }
    with_word!(dtype, T => of::<T> as CompareWord)
}

/// `a * b + c` of this element type.
pub fn fma(dtype: DType) -> Option<FmaWord> {
    fn of<T: Word>(a: u64, b: u64, c: u64) -> Result<u64, Fault> {
        T::fma(T::from_word(a), T::from_word(b), T::from_word(c)).map(T::to_word)
    }
    with_word!(dtype, T => of::<T> as FmaWord)
}

/// The conversion between two element types.
pub fn cast(from: DType, to: DType) -> Option<CastWord> {
    fn of<F: Word, T: Word>(x: u64) -> u64 {
        T::from_mid(F::from_word(x).mid()).to_word()
    }
    fn to_any<F: Word>(to: DType) -> Option<CastWord> {
        with_word!(to, T => of::<F, T> as CastWord)
    }
    with_word!(from, F => to_any::<F>(to))?
}

/// The word of a float constant in a floating element type.
pub fn from_f64(dtype: DType, x: f64) -> Option<u64> {
    cast(DType::F64, dtype).map(|f| f(x.to_bits()))
}

/// The word of an integer constant in an integer element type (wrapped to its width) or bool (not 0).
pub fn from_i64(dtype: DType, x: i64) -> Option<u64> {
    cast(DType::I64, dtype).map(|f| f(x as u64))
}

/// The word of a real floating element type as f64.
pub fn to_f64(dtype: DType, w: u64) -> Option<f64> {
    cast(dtype, DType::F64).map(|f| f64::from_bits(f(w)))
}
