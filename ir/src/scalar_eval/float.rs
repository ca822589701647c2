//! Floating point. f32 does arithmetic in its own precision and everything transcendental in f64; f16 and bf16 do
//! arithmetic in f32 (whose 24 bits make the second rounding of + - * / and sqrt harmless) and the rest in f64, and are
//! then rounded once.

use half::{bf16, f16};

use super::num::{Mid, Num, Scalar};
use super::{Fault, special};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};

/// Unary functions that every width computes in f64.
fn transcendental(op: UnaryOp, x: f64) -> Result<f64, Fault> {
    use UnaryOp::*;
    Ok(match op {
        Rsqrt => 1.0 / x.sqrt(),
        Exp => x.exp(),
        Expm1 => x.exp_m1(),
        Log => x.ln(),
        Log1p => x.ln_1p(),
        // The exponential of a negative number cannot overflow, and the quotient keeps relative precision.
        Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
        Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Tanh => x.tanh(),
        Sin => x.sin(),
        Cos => x.cos(),
        Tan => x.tan(),
        Asin => x.asin(),
        Acos => x.acos(),
        Atan => x.atan(),
        Sinh => x.sinh(),
        Cosh => x.cosh(),
        // The standard library's own formulas lose digits near 0 and overflow early.
        Asinh => libm::asinh(x),
        // libm's acosh returns numbers for some arguments below its domain.
        Acosh if x < 1.0 => f64::NAN,
        Acosh => libm::acosh(x),
        Atanh => libm::atanh(x),
        Erf => libm::erf(x),
        Erfc => libm::erfc(x),
        Erfinv => special::erfinv(x),
        Ndtri => special::ndtri(x),
        Lgamma => special::lgamma(x),
        Digamma => special::digamma(x),
        _ => return Err(Fault::Unsupported),
    })
}

/// Binary functions that every width computes in f64.
fn transcendental2(op: BinaryOp, x: f64, y: f64) -> Result<f64, Fault> {
    use BinaryOp::*;
    Ok(match op {
        Pow => x.powf(y),
        Atan2 => x.atan2(y),
        Xlogy if x == 0.0 => 0.0,
        Xlogy => x * y.ln(),
        Xlog1py if x == 0.0 => 0.0,
        Xlog1py => x * y.ln_1p(),
        Igamma => special::igamma(x, y),
        Igammac => special::igammac(x, y),
        Polygamma => special::polygamma(x, y),
        Zeta => special::zeta(x, y),
        _ => return Err(Fault::Unsupported),
    })
}

/// A double rounded to f32 such that a second rounding to 22 bits or fewer is as if it were the only one: inexact
/// results are truncated and their last bit set ("round to odd").
fn to_f32_odd(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) == x || x.is_nan() {
        return near;
    }
    // The neighbour toward zero; the largest finite number for an overflow.
    let truncated = if f64::from(near).abs() > x.abs() { near.to_bits() - 1 } else { near.to_bits() };
    f32::from_bits(truncated | 1)
}

/// An integer as f64, rounded to odd where it has more than 53 bits, for the same reason.
fn wide_to_f64_odd(magnitude: u64) -> f64 {
    let excess = 64u32.saturating_sub(magnitude.leading_zeros() + 53);
    let lost = magnitude & ((1u64 << excess) - 1) != 0;
    ((magnitude >> excess | u64::from(lost)) << excess) as f64
}

macro_rules! wide_floats {
    ($($t:ident $variant:ident),*) => { $(
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

            #[inline]
            fn unary(op: UnaryOp, x: $t) -> Result<$t, Fault> {
                use UnaryOp::*;
                Ok(match op {
                    Neg => -x,
                    Abs => x.abs(),
                    Sign if x > 0.0 => 1.0,
                    Sign if x < 0.0 => -1.0,
                    Sign if x == 0.0 => 0.0,
                    Sign => x,
                    Floor => x.floor(),
                    Ceil => x.ceil(),
                    Rint => x.round_ties_even(),
                    Trunc => x.trunc(),
                    Sqrt => x.sqrt(),
                    Reciprocal => 1.0 / x,
                    Square => x * x,
                    Real | Conj => x,
                    Imag => 0.0,
                    Angle if x < 0.0 => std::$t::consts::PI,
                    Angle if x >= 0.0 => 0.0,
                    Angle => x,
                    // The real part of the same name: f32 widens without loss and is rounded here once.
                    #[allow(clippy::unnecessary_cast)]
                    _ => transcendental(op, x as f64)? as $t,
                })
            }

            fn test(op: UnaryOp, x: $t) -> Result<bool, Fault> {
                Ok(match op {
                    UnaryOp::IsNan => x.is_nan(),
                    UnaryOp::IsInf => x.is_infinite(),
                    UnaryOp::IsFinite => x.is_finite(),
                    _ => return Err(Fault::Unsupported),
                })
            }

            #[inline]
            fn binary(op: BinaryOp, x: $t, y: $t) -> Result<$t, Fault> {
                use BinaryOp::*;
                Ok(match op {
                    Add => x + y,
                    Sub => x - y,
                    Mul => x * y,
                    Div => x / y,
                    FloorDiv => (x / y).floor(),
                    FloorMod => {
                        let r = x % y;
                        if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
                    }
                    TruncMod => x % y,
                    DivNoNan => if y == 0.0 { 0.0 } else { x / y },
                    MulNoNan => if y == 0.0 { 0.0 } else { x * y },
                    Xdivy => if x == 0.0 { 0.0 } else { x / y },
                    Max | Min if x.is_nan() || y.is_nan() => $t::NAN,
                    // Equal operands are the same number or two zeros: +0 is the larger, so that the order of the
                    // operands does not matter.
                    Max if x == y => $t::from_bits(x.to_bits() & y.to_bits()),
                    Min if x == y => $t::from_bits(x.to_bits() | y.to_bits()),
                    Max => if x > y { x } else { y },
                    Min => if x < y { x } else { y },
                    SquaredDifference => (x - y) * (x - y),
                    NextAfter if x.is_nan() || y.is_nan() => $t::NAN,
                    NextAfter if x == y => y,
                    NextAfter if x == 0.0 => $t::from_bits(1).copysign(y),
                    NextAfter if (y > x) == (x > 0.0) => $t::from_bits(x.to_bits() + 1),
                    NextAfter => $t::from_bits(x.to_bits() - 1),
                    #[allow(clippy::unnecessary_cast)]
                    _ => transcendental2(op, x as f64, y as f64)? as $t,
                })
            }

            #[inline]
            fn compare(op: CompareOp, x: $t, y: $t) -> Result<bool, Fault> {
                Ok(match op {
                    CompareOp::Eq => x == y,
                    CompareOp::Ne => x != y,
                    CompareOp::Lt => x < y,
                    CompareOp::Le => x <= y,
                    CompareOp::Gt => x > y,
                    CompareOp::Ge => x >= y,
                })
            }

            #[inline]
            fn fma(a: $t, b: $t, c: $t) -> Result<$t, Fault> {
                Ok(a.mul_add(b, c))
            }

            #[allow(clippy::unnecessary_cast)]
            fn mid(self) -> Mid {
                Mid::Float(self as f64)
            }
            fn from_mid(m: Mid) -> $t {
                match m {
                    Mid::Signed(i) => i as $t,
                    Mid::Unsigned(u) => u as $t,
                    Mid::Float(f) | Mid::Complex(f, _) => f as $t,
                }
            }
        }
    )* };
}

wide_floats!(f32 F32, f64 F64);

macro_rules! narrow_floats {
    ($($t:ident $variant:ident),*) => { $(
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

            fn unary(op: UnaryOp, x: $t) -> Result<$t, Fault> {
                match transcendental(op, x.to_f64()) {
                    Ok(y) => Ok($t::from_mid(Mid::Float(y))),
                    Err(_) => Ok($t::from_f32(f32::unary(op, x.to_f32())?)),
                }
            }

            fn test(op: UnaryOp, x: $t) -> Result<bool, Fault> {
                f32::test(op, x.to_f32())
            }

            fn binary(op: BinaryOp, x: $t, y: $t) -> Result<$t, Fault> {
                if op == BinaryOp::NextAfter {
                    // The neighbour in this width, not in f32; both are ordered by their bits like sign and magnitude.
                    return Ok(if x.is_nan() || y.is_nan() {
                        $t::NAN
                    } else if x == y {
                        y
                    } else if x.to_bits() & 0x7fff == 0 {
                        $t::from_bits(1 | y.to_bits() & 0x8000)
                    } else if (y > x) == (x.to_bits() & 0x8000 == 0) {
                        $t::from_bits(x.to_bits() + 1)
                    } else {
                        $t::from_bits(x.to_bits() - 1)
                    });
                }
                match transcendental2(op, x.to_f64(), y.to_f64()) {
                    Ok(z) => Ok($t::from_mid(Mid::Float(z))),
                    Err(_) => Ok($t::from_f32(f32::binary(op, x.to_f32(), y.to_f32())?)),
                }
            }

            fn compare(op: CompareOp, x: $t, y: $t) -> Result<bool, Fault> {
                f32::compare(op, x.to_f32(), y.to_f32())
            }

            fn fma(a: $t, b: $t, c: $t) -> Result<$t, Fault> {
                // The product is exact in f64. The sum's rounding error (Knuth's two-sum) decides whether it is to be
                // rounded to odd, so that the narrow rounding is the only one.
                let (p, c) = (a.to_f64() * b.to_f64(), c.to_f64());
                let s = p + c;
                let t = s - p;
                let error = (p - (s - t)) + (c - t);
                let odd = if s.is_finite() && error != 0.0 && s.to_bits() & 1 == 0 {
                    f64::from_bits(if (error > 0.0) == (s > 0.0) { s.to_bits() + 1 } else { s.to_bits() - 1 })
                } else {
                    s
                };
                Ok($t::from_mid(Mid::Float(odd)))
            }

            fn mid(self) -> Mid {
                Mid::Float(self.to_f64())
            }
            fn from_mid(m: Mid) -> $t {
                $t::from_f32(to_f32_odd(match m {
                    Mid::Signed(i) if i < 0 => -wide_to_f64_odd(i.unsigned_abs()),
                    Mid::Signed(i) => wide_to_f64_odd(i as u64),
                    Mid::Unsigned(u) => wide_to_f64_odd(u),
                    Mid::Float(f) | Mid::Complex(f, _) => f,
                }))
            }
        }
    )* };
}

narrow_floats!(f16 F16, bf16 BF16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_rounded_to_half_once() {
        // Just above the midpoint of 1 and 1 + 2^-10: rounding through f32 first would land on the tie and go to even.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(f16::from_mid(Mid::Float(x)).to_f64(), 1.0 + 2f64.powi(-10));
        let x = 1.0 + 2f64.powi(-8) + 2f64.powi(-50);
        assert_eq!(bf16::from_mid(Mid::Float(x)).to_f64(), 1.0 + 2f64.powi(-7));
        assert_eq!(f16::from_mid(Mid::Float(1e300)), f16::INFINITY);
        assert_eq!(f16::from_mid(Mid::Float(-1e-300)).to_bits(), 0x8000);
        assert!(f16::from_mid(Mid::Float(f64::NAN)).is_nan());
    }

    #[test]
    fn long_integers_are_rounded_to_bf16_once() {
        let tie = (1i64 << 62) + (1i64 << 54);
        assert_eq!(bf16::from_mid(Mid::Signed(tie)).to_f64(), (1i64 << 62) as f64);
        assert_eq!(bf16::from_mid(Mid::Signed(tie + 1)).to_f64(), (1i64 << 62) as f64 * (1.0 + 2f64.powi(-7)));
    }

    #[test]
    fn every_half_survives_a_trip_through_f64() {
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits);
            assert!(x.is_nan() || f16::from_mid(x.mid()).to_bits() == bits);
            let x = bf16::from_bits(bits);
            assert!(x.is_nan() || bf16::from_mid(x.mid()).to_bits() == bits);
        }
    }
}
