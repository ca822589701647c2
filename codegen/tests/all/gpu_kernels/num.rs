//! Scalars of every plain type on the CPU, as an oracle for the arithmetic that kernels do: integers in i128, floats in
//! f64 with one explicit rounding to the element type. Independent of the compiler.

use kiln_ir::scalar::{BinaryOp, CompareOp, UnaryOp};
use kiln_ir::{Class, DType};

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Num {
    /// Integer or bool.
    I(i128),
    /// Float, exactly representable in its element type.
    F(f64),
}

/// Types that kernels compute with.
pub const TYPES: [DType; 12] = [
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::F16,
    DType::BF16,
    DType::F32,
    DType::F64,
];

/// Significant bits after the first, smallest normal exponent, largest exponent.
fn format(elem: DType) -> (i32, i32, i32) {
    match elem {
        DType::F16 => (10, -14, 15),
        DType::BF16 => (7, -126, 127),
        DType::F32 => (23, -126, 127),
        _ => (52, -1022, 1023),
    }
}

/// Rounds to nearest, ties to even, in an element type.
pub fn round_to(elem: DType, x: f64) -> f64 {
    let (mantissa, min, max) = format(elem);
    if elem == DType::F64 || x == 0.0 || !x.is_finite() {
        return x;
    }
    // The exponent by which the result's last bit is chosen.
    let exponent = ((x.to_bits() >> 52 & 0x7FF) as i32 - 1023).max(min);
    let quantum = 2f64.powi(exponent - mantissa);
    let r = (x / quantum).round_ties_even() * quantum;
    let limit = 2f64.powi(max) * (2.0 - 2f64.powi(-mantissa));
    if r.abs() > limit { f64::INFINITY.copysign(x) } else { r }
}

/// a * b + c rounded once to an element type. Products of 16-bit floats are exact in f64; where their sum is not, it is
/// rounded to odd, after which rounding to fewer bits is right.
pub fn fma(elem: DType, a: f64, b: f64, c: f64) -> f64 {
    match elem {
        DType::F64 => a.mul_add(b, c),
        DType::F32 => f64::from((a as f32).mul_add(b as f32, c as f32)),
        _ => {
            let p = a * b;
            let s = p + c;
            if !s.is_finite() {
                return round_to(elem, s);
            }
            let t = s - p;
            let error = (p - (s - t)) + (c - t);
            let odd = match (error == 0.0, s.to_bits() & 1) {
                (false, 0) if error > 0.0 => s.next_up(),
                (false, 0) => s.next_down(),
                _ => s,
            };
            round_to(elem, odd)
        }
    }
}

/// f32 to TF32: 10 bits after the first, to nearest, ties away from zero.
pub fn round_tf32(x: f32) -> f32 {
    if x.is_nan() || x.is_infinite() { x } else { f32::from_bits(x.to_bits().wrapping_add(0x1000) & !0x1FFF) }
}

fn range(elem: DType) -> (i128, i128) {
    let bits = 8 * elem.size() as u32;
    if elem.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// Two's complement wrap.
fn wrap(elem: DType, x: i128) -> i128 {
    let (lo, hi) = range(elem);
    (x - lo).rem_euclid(hi - lo + 1) + lo
}

/// An integer as a float of an element type, rounded once.
fn int_to_float(elem: DType, n: i128) -> f64 {
    match elem {
        DType::F64 => n as f64,
        DType::F32 => f64::from(n as f32),
        // Low bits folded into one sticky bit: f64 then rounds nothing that matters.
        _ if n.unsigned_abs() >> 52 != 0 => {
            let sticky = i128::from(n.unsigned_abs() & 0xFFFF != 0);
            round_to(elem, ((n.abs() >> 16 | sticky) * n.signum()) as f64 * 65536.0)
        }
        _ => round_to(elem, n as f64),
    }
}

/// Values worth trying in a type.
pub fn samples(elem: DType) -> Vec<Num> {
    match elem.class() {
        Class::Bool => vec![Num::I(0), Num::I(1)],
        Class::Float => {
            let (mantissa, min, max) = format(elem);
            let p = |e: i32| 2f64.powi(e);
            let top = p(max) * (2.0 - p(-mantissa));
            let tiny = if min - mantissa < -1000 { f64::from_bits(1) } else { p(min - mantissa) };
            let mut v =
                vec![0.0, 0.5, 1.0, 1.5, 2.5, 3.0, 7.0, 0.1, 1.0 / 3.0, 127.5, 128.0, 255.5, 256.0, 300.0, 32768.0];
            v.extend([
                65504.0,
                2147483648.0,
                4294967296.0,
                9.3e18,
                1.9e19,
                1e-5,
                p(min),
                tiny,
                3.0 * tiny,
                top,
                f64::INFINITY,
                2049.0,
                0.75,
            ]);
            let both = v.iter().flat_map(|x| [*x, -*x]).chain([f64::NAN]);
            both.map(|x| Num::F(round_to(elem, x))).collect()
        }
        _ => {
            let (lo, hi) = range(elem);
            let v = [
                0,
                1,
                2,
                3,
                5,
                7,
                8,
                15,
                31,
                33,
                63,
                100,
                127,
                128,
                255,
                256,
                1000,
                16777217,
                33554435,
                (1 << 53) + 1,
                (1 << 61) + (1 << 36) + 1,
            ];
            let mut all: Vec<i128> = v
                .iter()
                .flat_map(|x| [*x, -*x])
                .chain([lo, lo + 1, hi - 1, hi])
                .filter(|x| (lo..=hi).contains(x))
                .collect();
            all.sort_unstable();
            all.dedup();
            all.into_iter().map(Num::I).collect()
        }
    }
}

/// Bytes in memory, little-endian.
pub fn encode(elem: DType, x: Num) -> Vec<u8> {
    match (x, elem) {
        (Num::I(n), _) => n.to_le_bytes()[..elem.size()].to_vec(),
        (Num::F(x), DType::F16) => half::f16::from_f64(x).to_le_bytes().to_vec(),
        (Num::F(x), DType::BF16) => half::bf16::from_f64(x).to_le_bytes().to_vec(),
        (Num::F(x), DType::F32) => (x as f32).to_le_bytes().to_vec(),
        (Num::F(x), _) => x.to_le_bytes().to_vec(),
    }
}

/// The reverse of [`encode`].
pub fn decode(elem: DType, bytes: &[u8]) -> Num {
    let mut raw = [0u8; 16];
    raw[..elem.size()].copy_from_slice(&bytes[..elem.size()]);
    let n = u128::from_le_bytes(raw);
    match elem {
        DType::F16 => Num::F(half::f16::from_bits(n as u16).to_f64()),
        DType::BF16 => Num::F(half::bf16::from_bits(n as u16).to_f64()),
        DType::F32 => Num::F(f64::from(f32::from_bits(n as u32))),
        DType::F64 => Num::F(f64::from_bits(n as u64)),
        DType::Bool => Num::I(n as i128),
        _ => Num::I(wrap(elem, n as i128)),
    }
}

/// Equal values: NaN equals NaN, zeros differ by their sign.
pub fn same(a: Num, b: Num) -> bool {
    match (a, b) {
        (Num::F(x), Num::F(y)) => x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()),
        _ => a == b,
    }
}

/// Whether two floats of an element type are at most one unit in the last place apart, or are the same.
pub fn within_one_ulp(elem: DType, a: Num, b: Num) -> bool {
    let (Num::F(x), Num::F(y)) = (a, b) else { return false };
    let (mantissa, min, _) = format(elem);
    let exponent = ((x.to_bits() >> 52 & 0x7FF) as i32 - 1023).max(min);
    same(a, b) || (x - y).abs() <= 2f64.powi(exponent - mantissa)
}

/// The strict Cast.
pub fn cast(from: DType, to: DType, x: Num) -> Num {
    match (x, to.class()) {
        (Num::I(n), Class::Bool) => Num::I(i128::from(n != 0)),
        (Num::F(v), Class::Bool) => Num::I(i128::from(v != 0.0)),
        (Num::I(n), Class::Float) => Num::F(int_to_float(to, n)),
        (Num::F(v), Class::Float) => Num::F(round_to(to, v)),
        (Num::I(n), _) => Num::I(wrap(to, n)),
        (Num::F(v), _) => {
            let (lo, hi) = range(to);
            assert!(from.is_float());
            Num::I(if v.is_nan() { 0 } else { (v as i128).clamp(lo, hi) })
        }
    }
}

/// A unary operation; `None` where the oracle has none.
pub fn unary(op: UnaryOp, elem: DType, x: Num) -> Option<Num> {
    use UnaryOp::*;
    let bits = 8 * elem.size() as u32;
    Some(match x {
        Num::I(n) if elem == DType::Bool => Num::I(match op {
            Not => 1 - n,
            _ => return None,
        }),
        Num::I(n) => Num::I(match op {
            Neg => wrap(elem, -n),
            Abs => wrap(elem, n.abs()),
            Sign => n.signum(),
            BitNot => wrap(elem, !n),
            PopCount => i128::from((n & ((1i128 << bits) - 1)).count_ones()),
            Square => wrap(elem, n.wrapping_mul(n) & ((1 << 64) - 1)),
            _ => return None,
        }),
        Num::F(v) => {
            let bool = |b: bool| Num::I(i128::from(b));
            let r = match op {
                Neg => -v,
                Abs => v.abs(),
                Sign if v == 0.0 => 0.0,
                Sign if v.is_nan() => v,
                Sign => v.signum(),
                Floor => v.floor(),
                Ceil => v.ceil(),
                Rint => v.round_ties_even(),
                Trunc => v.trunc(),
                Sqrt => v.sqrt(),
                Reciprocal => 1.0 / v,
                Rsqrt => 1.0 / v.sqrt(),
                Square => v * v,
                IsNan => return Some(bool(v.is_nan())),
                IsInf => return Some(bool(v.is_infinite())),
                IsFinite => return Some(bool(v.is_finite())),
                _ => return None,
            };
            Num::F(round_to(elem, r))
        }
    })
}

/// A binary operation; `None` where the oracle has none (integer division by zero among them).
pub fn binary(op: BinaryOp, elem: DType, x: Num, y: Num) -> Option<Num> {
    use BinaryOp::*;
    let bits = 8 * elem.size() as i128;
    Some(match (x, y) {
        (Num::I(a), Num::I(b)) if elem == DType::Bool => Num::I(match op {
            And => a & b,
            Or => a | b,
            Xor => a ^ b,
            _ => return None,
        }),
        (Num::I(_), Num::I(0)) if matches!(op, Div | FloorDiv | FloorMod | TruncMod) => return None,
        (Num::I(a), Num::I(b)) => {
            let amount = b.clamp(0, bits - 1);
            let floor = match b.signum() {
                1 => a.div_euclid(b),
                -1 => (-a).div_euclid(-b),
                _ => 0,
            };
            Num::I(wrap(
                elem,
                match op {
                    Add => a + b,
                    Sub => a - b,
                    // The product of two u64 may pass i128: wrap it there already.
                    Mul => a.wrapping_mul(b) & ((1 << 64) - 1),
                    Div => a / b,
                    FloorDiv => floor,
                    FloorMod => a - floor * b,
                    TruncMod => a % b,
                    Max => a.max(b),
                    Min => a.min(b),
                    SquaredDifference => {
                        let d = wrap(elem, a - b);
                        d.wrapping_mul(d) & ((1 << 64) - 1)
                    }
                    BitAnd => a & b,
                    BitOr => a | b,
                    BitXor => a ^ b,
                    Shl => (a & ((1 << 64) - 1)) << amount & ((1 << 64) - 1),
                    Shr => a >> amount,
                    _ => return None,
                },
            ))
        }
        (Num::F(a), Num::F(b)) => {
            let nan = a.is_nan() || b.is_nan();
            let rounded = |x: f64| round_to(elem, x);
            Num::F(match op {
                Add => rounded(a + b),
                Sub => rounded(a - b),
                Mul => rounded(a * b),
                Div => rounded(a / b),
                FloorDiv => rounded(a / b).floor(),
                DivNoNan if b == 0.0 => 0.0,
                DivNoNan => rounded(a / b),
                MulNoNan if b == 0.0 => 0.0,
                MulNoNan => rounded(a * b),
                Xdivy if a == 0.0 => 0.0,
                Xdivy => rounded(a / b),
                SquaredDifference => {
                    let d = rounded(a - b);
                    rounded(d * d)
                }
                Max | Min if nan => f64::NAN,
                // +0 is the larger zero.
                Max if a == b => {
                    if a.is_sign_positive() {
                        a
                    } else {
                        b
                    }
                }
                Min if a == b => {
                    if a.is_sign_negative() {
                        a
                    } else {
                        b
                    }
                }
                Max => a.max(b),
                Min => a.min(b),
                _ => return None,
            })
        }
        _ => return None,
    })
}

/// A comparison; `None` where it is not defined.
pub fn compare(op: CompareOp, x: Num, y: Num) -> Num {
    let order = match (x, y) {
        (Num::I(a), Num::I(b)) => Some(a.cmp(&b)),
        (Num::F(a), Num::F(b)) => a.partial_cmp(&b),
        _ => None,
    };
    let holds = match op {
        CompareOp::Eq => order.is_some_and(|o| o.is_eq()),
        CompareOp::Ne => order.is_none_or(|o| o.is_ne()),
        CompareOp::Lt => order.is_some_and(|o| o.is_lt()),
        CompareOp::Le => order.is_some_and(|o| o.is_le()),
        CompareOp::Gt => order.is_some_and(|o| o.is_gt()),
        CompareOp::Ge => order.is_some_and(|o| o.is_ge()),
    };
    Num::I(i128::from(holds))
}
