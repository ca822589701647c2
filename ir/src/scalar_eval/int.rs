//! Integers and bool. Arithmetic wraps in two's complement.

use super::Fault;
use super::num::{Mid, Num, Scalar};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};

fn ordered<T: PartialOrd>(op: CompareOp, x: &T, y: &T) -> bool {
    match op {
        CompareOp::Eq => x == y,
        CompareOp::Ne => x != y,
        CompareOp::Lt => x < y,
        CompareOp::Le => x <= y,
        CompareOp::Gt => x > y,
        CompareOp::Ge => x >= y,
    }
}

macro_rules! integers {
    ($($t:ident $variant:ident $mid:ident $wide:ty);* $(;)?) => { $(
        impl Num for $t {
            type Store = $t;
            type Part = $t;

            fn load(s: $t) -> $t {
                s
            }
            fn store(self) -> $t {
                self
            }
            fn scalar(self) -> Scalar {
                Scalar::$variant(self)
            }

            #[allow(unused_comparisons)] // `x < 0` for unsigned types
            #[inline]
            fn unary(op: UnaryOp, x: $t) -> Result<$t, Fault> {
                Ok(match op {
                    UnaryOp::Neg => x.wrapping_neg(),
                    UnaryOp::Abs => if x < 0 { x.wrapping_neg() } else { x },
                    UnaryOp::Sign => if x < 0 { (0 as $t).wrapping_sub(1) } else { $t::from(x > 0) },
                    UnaryOp::BitNot => !x,
                    UnaryOp::Square => x.wrapping_mul(x),
                    _ => return Err(Fault::Unsupported),
                })
            }

            fn popcount(x: $t) -> Result<u8, Fault> {
                Ok(x.count_ones() as u8)
            }

            #[allow(unused_comparisons)]
            #[inline]
            fn binary(op: BinaryOp, x: $t, y: $t) -> Result<$t, Fault> {
                use BinaryOp::*;
                if y == 0 && matches!(op, Div | FloorDiv | FloorMod | TruncMod) {
                    return Err(Fault::DivisionByZero);
                }
                let shift = || y.clamp(0, ($t::BITS - 1) as $t) as u32;
                Ok(match op {
                    Add => x.wrapping_add(y),
                    Sub => x.wrapping_sub(y),
                    Mul => x.wrapping_mul(y),
                    Div => x.wrapping_div(y),
                    FloorDiv => {
                        let (q, r) = (x.wrapping_div(y), x.wrapping_rem(y));
                        if r != 0 && (r < 0) != (y < 0) { q.wrapping_sub(1) } else { q }
                    }
                    FloorMod => {
                        let r = x.wrapping_rem(y);
                        if r != 0 && (r < 0) != (y < 0) { r.wrapping_add(y) } else { r }
                    }
                    TruncMod => x.wrapping_rem(y),
                    Max => x.max(y),
                    Min => x.min(y),
                    Pow => {
                        if y < 0 {
                            return Err(Fault::NegativeExponent);
                        }
                        // Square and multiply; every product wraps.
                        let (mut base, mut exponent, mut power) = (x, y, 1 as $t);
                        while exponent != 0 {
                            if exponent & 1 == 1 {
                                power = power.wrapping_mul(base);
                            }
                            base = base.wrapping_mul(base);
                            exponent >>= 1;
                        }
                        power
                    }
                    SquaredDifference => x.wrapping_sub(y).wrapping_mul(x.wrapping_sub(y)),
                    BitAnd => x & y,
                    BitOr => x | y,
                    BitXor => x ^ y,
                    Shl => x << shift(),
                    Shr => x >> shift(),
                    _ => return Err(Fault::Unsupported),
                })
            }

            #[inline]
            fn compare(op: CompareOp, x: $t, y: $t) -> Result<bool, Fault> {
                Ok(ordered(op, &x, &y))
            }

            fn mid(self) -> Mid {
                Mid::$mid(self as $wide)
            }
            fn from_mid(m: Mid) -> $t {
                // `as` wraps between integers and saturates from floats, with NaN to 0.
                match m {
                    Mid::Signed(i) => i as $t,
                    Mid::Unsigned(u) => u as $t,
                    Mid::Float(f) | Mid::Complex(f, _) => f as $t,
                }
            }
        }
    )* };
}

integers! {
    i8 I8 Signed i64;
    i16 I16 Signed i64;
    i32 I32 Signed i64;
    i64 I64 Signed i64;
    u8 U8 Unsigned u64;
    u16 U16 Unsigned u64;
    u32 U32 Unsigned u64;
    u64 U64 Unsigned u64;
}

impl Num for bool {
    type Store = u8;
    type Part = bool;

    fn load(s: u8) -> bool {
        s != 0
    }
    fn store(self) -> u8 {
        u8::from(self)
    }
    fn scalar(self) -> Scalar {
        Scalar::Bool(self)
    }

    fn unary(op: UnaryOp, x: bool) -> Result<bool, Fault> {
        match op {
            UnaryOp::Not => Ok(!x),
            _ => Err(Fault::Unsupported),
        }
    }

    fn binary(op: BinaryOp, x: bool, y: bool) -> Result<bool, Fault> {
        match op {
            BinaryOp::And => Ok(x && y),
            BinaryOp::Or => Ok(x || y),
            BinaryOp::Xor => Ok(x != y),
            _ => Err(Fault::Unsupported),
        }
    }

    fn compare(op: CompareOp, x: bool, y: bool) -> Result<bool, Fault> {
        if op.accepts(crate::DType::Bool) { Ok(ordered(op, &x, &y)) } else { Err(Fault::Unsupported) }
    }

    fn mid(self) -> Mid {
        Mid::Unsigned(u64::from(self))
    }
    fn from_mid(m: Mid) -> bool {
        match m {
            Mid::Signed(i) => i != 0,
            Mid::Unsigned(u) => u != 0,
            Mid::Float(f) => f != 0.0,
            Mid::Complex(re, im) => re != 0.0 || im != 0.0,
        }
    }
}
