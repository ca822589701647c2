//! Arithmetic of the machine level: unary, binary, comparisons, selection, lane reductions.
//!
//! Semantics are TensorFlow's CPU semantics (strict mode):
//! - maximum and minimum are IEEE 754-2019 `maximum` and `minimum`: NaN wins, -0 < +0;
//! - integer division never traps: `INT_MIN / -1` wraps, and a zero divisor (which a `Check` has refused before)
//!   divides by 1;
//! - shift amounts are clamped to `0..width-1`;
//! - f16 and bf16 are computed in f32 and rounded once. For + - * / and sqrt that is the correctly rounded result,
//!   because 24 bits are at least 2 p + 2 for p = 11 and p = 8;
//! - `Fma` without a fused instruction is a product and a sum, each rounded: Cranelift itself would call libm for each
//!   lane. Plans for such a target contain no `Fma` ([`crate::target::Target::fma`] is false).

use anyhow::{Result, bail, ensure};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use kiln_ir::DType;
use kiln_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};

use super::value::{Emit, Val, int_register, scalar_type};

/// What is known of an operand before run time; lets constant divisors, shift amounts and clamps print well.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    /// An integer in every lane.
    Int(i64),
    /// A float in every lane.
    Float(f64),
    /// One scalar in every lane.
    Splat(Value),
}

/// f16 and bf16, which are held as bits.
pub(super) fn is_half(elem: DType) -> bool {
    matches!(elem, DType::F16 | DType::BF16)
}

fn unexpanded(name: &str, elem: DType) -> anyhow::Error {
    anyhow::anyhow!("`{name}` on {elem} is not a machine operation: it must be expanded before the machine level")
}

impl Emit<'_> {
    // ---- one operand ----

    /// A unary operation.
    pub fn unary(&mut self, op: UnaryOp, x: &Val) -> Result<Val> {
        ensure!(op.accepts(x.elem) || matches!(op, UnaryOp::Conj | UnaryOp::Real), "`{op}` does not take {}", x.elem);
        match x.elem {
            DType::Bool => self.unary_bool(op, x),
            DType::F16 | DType::BF16 => self.unary_half(op, x),
            DType::F32 | DType::F64 => self.unary_float(op, x),
            _ => self.unary_int(op, x),
        }
    }

    fn unary_bool(&mut self, op: UnaryOp, x: &Val) -> Result<Val> {
        match op {
            UnaryOp::Not => self.map(x, |e, v| Ok(e.not(v))),
            UnaryOp::Conj | UnaryOp::Real => Ok(x.clone()),
            _ => Err(unexpanded(op.name(), x.elem)),
        }
    }

    /// Negation of a 0/1 scalar or of a mask.
    fn not(&mut self, v: Value) -> Value {
        if self.ty(v).is_vector() {
            return self.ins().bnot(v);
        }
        let one = self.int(types::I8, 1);
        self.ins().bxor(v, one)
    }

    fn unary_half(&mut self, op: UnaryOp, x: &Val) -> Result<Val> {
        // The sign is a bit; everything else is done in f32.
        match op {
            UnaryOp::Neg => self.map(x, |e, v| {
                let sign = e.int(e.ty(v), 0x8000);
                Ok(e.ins().bxor(v, sign))
            }),
            UnaryOp::Abs => self.map(x, |e, v| {
                let magnitude = e.int(e.ty(v), 0x7fff);
                Ok(e.ins().band(v, magnitude))
            }),
            UnaryOp::Conj | UnaryOp::Real => Ok(x.clone()),
            _ => {
                let wide = self.cast(x, DType::F32)?;
                let r = self.unary_float(op, &wide)?;
                if r.elem == DType::Bool { Ok(r) } else { self.cast(&r, x.elem) }
            }
        }
    }

    fn unary_float(&mut self, op: UnaryOp, x: &Val) -> Result<Val> {
        use UnaryOp::*;
        let test = |x: &Val, r: Result<Val>| r.map(|r| Val { elem: DType::Bool, width: x.mask_lane(), ..r });
        match op {
            Neg => self.map(x, |e, v| Ok(e.ins().fneg(v))),
            Abs => self.map(x, |e, v| Ok(e.ins().fabs(v))),
            Sign => self.map(x, |e, v| Ok(e.sign_float(v))),
            Floor => self.map(x, |e, v| Ok(e.ins().floor(v))),
            Ceil => self.map(x, |e, v| Ok(e.ins().ceil(v))),
            Rint => self.map(x, |e, v| Ok(e.ins().nearest(v))),
            Trunc => self.map(x, |e, v| Ok(e.ins().trunc(v))),
            Sqrt => self.map(x, |e, v| Ok(e.ins().sqrt(v))),
            Rsqrt => self.map(x, |e, v| {
                let root = e.ins().sqrt(v);
                Ok(e.inverse(root))
            }),
            Reciprocal => self.map(x, |e, v| Ok(e.inverse(v))),
            Square => self.map(x, |e, v| Ok(e.ins().fmul(v, v))),
            IsNan => test(x, self.map(x, |e, v| Ok(e.fcmp(FloatCC::Unordered, v, v)))),
            IsInf => test(x, self.map(x, |e, v| Ok(e.against_infinity(FloatCC::Equal, v)))),
            IsFinite => test(x, self.map(x, |e, v| Ok(e.against_infinity(FloatCC::LessThan, v)))),
            Real | Conj => Ok(x.clone()),
            Imag => self.map(x, |e, v| Ok(e.float(e.ty(v), 0.0))),
            _ => Err(unexpanded(op.name(), x.elem)),
        }
    }

    fn inverse(&mut self, v: Value) -> Value {
        let one = self.float(self.ty(v), 1.0);
        self.ins().fdiv(one, v)
    }

    fn against_infinity(&mut self, cc: FloatCC, v: Value) -> Value {
        let (magnitude, infinity) = (self.ins().fabs(v), self.float(self.ty(v), f64::INFINITY));
        self.fcmp(cc, magnitude, infinity)
    }

    /// -1, 0 (for both zeros), 1 or NaN.
    fn sign_float(&mut self, v: Value) -> Value {
        let ty = self.ty(v);
        let (zero, one, minus) = (self.float(ty, 0.0), self.float(ty, 1.0), self.float(ty, -1.0));
        let (above, below) = (self.fcmp(FloatCC::GreaterThan, v, zero), self.fcmp(FloatCC::LessThan, v, zero));
        let nan = self.fcmp(FloatCC::Unordered, v, v);
        let r = self.pick(nan, v, zero);
        let r = self.pick(below, minus, r);
        self.pick(above, one, r)
    }

    fn unary_int(&mut self, op: UnaryOp, x: &Val) -> Result<Val> {
        use UnaryOp::*;
        let signed = x.elem.is_signed();
        match op {
            Neg => self.map(x, |e, v| Ok(e.ins().ineg(v))),
            Abs if signed => self.map(x, |e, v| Ok(e.ins().iabs(v))),
            Abs | Real | Conj => Ok(x.clone()),
            BitNot => self.map(x, |e, v| Ok(e.ins().bnot(v))),
            Square => self.multiply_int(x, x),
            Sign => self.map(x, |e, v| {
                let ty = e.ty(v);
                let (zero, one, minus) = (e.int(ty, 0), e.int(ty, 1), e.int(ty, -1));
                let some = e.icmp(IntCC::NotEqual, v, zero);
                let r = e.pick(some, one, zero);
                if !signed {
                    return Ok(r);
                }
                let below = e.icmp(IntCC::SignedLessThan, v, zero);
                Ok(e.pick(below, minus, r))
            }),
            PopCount if x.lanes == 1 || x.width == 1 => {
                let r = self.map(x, |e, v| {
                    let n = e.ins().popcnt(v);
                    Ok(if e.ty(n).bits() > 8 && !e.ty(n).is_vector() { e.ins().ireduce(types::I8, n) } else { n })
                })?;
                Ok(Val { elem: DType::U8, width: 1, ..r })
            }
            PopCount => self.lanewise(&[x], DType::U8, |e, v| {
                let n = e.ins().popcnt(v[0]);
                Ok(e.ins().ireduce(types::I8, n))
            }),
            _ => Err(unexpanded(op.name(), x.elem)),
        }
    }

    // ---- two operands ----

    /// A binary operation on operands of one type.
    pub fn binary(&mut self, op: BinaryOp, x: &Val, y: &Val, known: [Option<Known>; 2]) -> Result<Val> {
        ensure!(x.elem == y.elem && x.lanes == y.lanes, "`{op}` on {}x{} and {}x{}", x.elem, x.lanes, y.elem, y.lanes);
        ensure!(op.accepts(x.elem), "`{op}` does not take {}", x.elem);
        match x.elem {
            DType::Bool => self.binary_bool(op, x, y),
            DType::F16 | DType::BF16 => {
                let (a, b) = (self.cast(x, DType::F32)?, self.cast(y, DType::F32)?);
                let r = self.binary_float(op, &a, &b, known)?;
                self.cast(&r, x.elem)
            }
            DType::F32 | DType::F64 => self.binary_float(op, x, y, known),
            _ => self.binary_int(op, x, y, known),
        }
    }

    fn binary_bool(&mut self, op: BinaryOp, x: &Val, y: &Val) -> Result<Val> {
        let (x, y) = self.same_mask_width(x, y);
        match op {
            BinaryOp::And => self.zip(&x, &y, |e, a, b| Ok(e.ins().band(a, b))),
            BinaryOp::Or => self.zip(&x, &y, |e, a, b| Ok(e.ins().bor(a, b))),
            BinaryOp::Xor => self.zip(&x, &y, |e, a, b| Ok(e.ins().bxor(a, b))),
            _ => Err(unexpanded(op.name(), x.elem)),
        }
    }

    fn same_mask_width(&mut self, x: &Val, y: &Val) -> (Val, Val) {
        if !x.is_mask() {
            return (x.clone(), y.clone());
        }
        let width = x.width.min(y.width);
        (self.mask_width(x, width), self.mask_width(y, width))
    }

    fn binary_float(&mut self, op: BinaryOp, x: &Val, y: &Val, known: [Option<Known>; 2]) -> Result<Val> {
        use BinaryOp::*;
        match op {
            Add => self.zip(x, y, |e, a, b| Ok(e.ins().fadd(a, b))),
            Sub => self.zip(x, y, |e, a, b| Ok(e.ins().fsub(a, b))),
            Mul => self.zip(x, y, |e, a, b| Ok(e.ins().fmul(a, b))),
            Div => self.zip(x, y, |e, a, b| Ok(e.ins().fdiv(a, b))),
            FloorDiv => self.zip(x, y, |e, a, b| {
                let q = e.ins().fdiv(a, b);
                Ok(e.ins().floor(q))
            }),
            TruncMod => self.fmod(x, y),
            FloorMod => {
                let m = self.fmod(x, y)?;
                self.zip(&m, y, |e, m, d| {
                    // The remainder has the dividend's sign; where that is not the divisor's, one divisor is added.
                    let zero = e.float(e.ty(m), 0.0);
                    let some = e.fcmp(FloatCC::NotEqual, m, zero);
                    let (a, b) = (e.fcmp(FloatCC::LessThan, m, zero), e.fcmp(FloatCC::LessThan, d, zero));
                    let differ = e.ins().bxor(a, b);
                    let fix = e.ins().band(some, differ);
                    let sum = e.ins().fadd(m, d);
                    Ok(e.pick(fix, sum, m))
                })
            }
            DivNoNan => self.zip(x, y, |e, a, b| {
                let q = e.ins().fdiv(a, b);
                Ok(e.zero_where_zero(b, q))
            }),
            MulNoNan => self.zip(x, y, |e, a, b| {
                let p = e.ins().fmul(a, b);
                Ok(e.zero_where_zero(b, p))
            }),
            Xdivy => self.zip(x, y, |e, a, b| {
                let q = e.ins().fdiv(a, b);
                Ok(e.zero_where_zero(a, q))
            }),
            SquaredDifference => self.zip(x, y, |e, a, b| {
                let d = e.ins().fsub(a, b);
                Ok(e.ins().fmul(d, d))
            }),
            Max | Min => match known {
                [_, Some(Known::Float(c))] => self.zip(x, y, |e, a, b| Ok(e.extreme_constant(op, a, b, c))),
                [Some(Known::Float(c)), _] => self.zip(x, y, |e, a, b| Ok(e.extreme_constant(op, b, a, c))),
                _ => self.zip(x, y, |e, a, b| Ok(e.extreme(op, a, b))),
            },
            _ => Err(unexpanded(op.name(), x.elem)),
        }
    }

    /// 0 where `test` is a zero, else `value`.
    fn zero_where_zero(&mut self, test: Value, value: Value) -> Value {
        let zero = self.float(self.ty(test), 0.0);
        let is_zero = self.fcmp(FloatCC::Equal, test, zero);
        self.pick(is_zero, zero, value)
    }

    fn extreme(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        if op == BinaryOp::Max { self.ins().fmax(a, b) } else { self.ins().fmin(a, b) }
    }

    /// Maximum or minimum with the constant `c`, whose register is `b`: one MAXPS or MINPS instead of six instructions.
    ///
    /// `c > x ? c : x` is x where x is NaN. It differs from `maximum` only where x and c are zeros of different sign:
    /// for max with +0, x = -0 must give +0, which adding +0 does (x + 0 = x for every other x, NaN included). For min
    /// with -0 there is no such addition.
    fn extreme_constant(&mut self, op: BinaryOp, x: Value, b: Value, c: f64) -> Value {
        let max = op == BinaryOp::Max;
        if c.is_nan() || (!max && c == 0.0 && c.is_sign_negative()) {
            return self.extreme(op, x, b);
        }
        // Both printed as `<`, the form that Cranelift recognizes.
        let wins = if max { self.fcmp(FloatCC::LessThan, x, b) } else { self.fcmp(FloatCC::LessThan, b, x) };
        let r = self.pick(wins, b, x);
        if max && c == 0.0 && c.is_sign_positive() { self.ins().fadd(r, b) } else { r }
    }

    /// C's fmod, a call of libm for each lane.
    fn fmod(&mut self, x: &Val, y: &Val) -> Result<Val> {
        let ty = scalar_type(x.elem)?;
        let name = if x.elem == DType::F32 { "fmodf" } else { "fmod" };
        let f = self.external(name, &[ty, ty], Some(ty));
        self.lanewise(&[x, y], x.elem, |e, v| {
            let call = e.ins().call(f, v);
            match e.b.inst_results(call) {
                [r] => Ok(*r),
                _ => bail!("{name} has one result"),
            }
        })
    }

    fn binary_int(&mut self, op: BinaryOp, x: &Val, y: &Val, known: [Option<Known>; 2]) -> Result<Val> {
        use BinaryOp::*;
        match op {
            Add => self.zip(x, y, |e, a, b| Ok(e.ins().iadd(a, b))),
            Sub => self.zip(x, y, |e, a, b| Ok(e.ins().isub(a, b))),
            Mul => self.multiply_int(x, y),
            SquaredDifference => {
                let d = self.zip(x, y, |e, a, b| Ok(e.ins().isub(a, b)))?;
                self.multiply_int(&d, &d)
            }
            Max | Min => {
                let cc = match (op == Max, x.elem.is_signed()) {
                    (true, true) => IntCC::SignedGreaterThan,
                    (true, false) => IntCC::UnsignedGreaterThan,
                    (false, true) => IntCC::SignedLessThan,
                    (false, false) => IntCC::UnsignedLessThan,
                };
                self.zip(x, y, |e, a, b| Ok(e.extreme_int(cc, a, b)))
            }
            BitAnd => self.zip(x, y, |e, a, b| Ok(e.ins().band(a, b))),
            BitOr => self.zip(x, y, |e, a, b| Ok(e.ins().bor(a, b))),
            BitXor => self.zip(x, y, |e, a, b| Ok(e.ins().bxor(a, b))),
            Shl | Shr => self.shift(op, x, y, known[1]),
            Div | FloorDiv | FloorMod | TruncMod => self.divide(op, x, y, known[1]),
            _ => Err(unexpanded(op.name(), x.elem)),
        }
    }

    /// The operand that compares so against the other.
    fn extreme_int(&mut self, cc: IntCC, a: Value, b: Value) -> Value {
        if self.ty(a) == types::I64X2 {
            let wins = self.icmp(cc, a, b);
            return self.pick(wins, a, b);
        }
        match cc {
            IntCC::SignedGreaterThan => self.ins().smax(a, b),
            IntCC::UnsignedGreaterThan => self.ins().umax(a, b),
            IntCC::SignedLessThan => self.ins().smin(a, b),
            _ => self.ins().umin(a, b),
        }
    }

    fn multiply_int(&mut self, x: &Val, y: &Val) -> Result<Val> {
        if x.lanes > 1 && x.width == 1 {
            // No product of bytes: the low byte of the 16-bit one is the same.
            let (a, b) = (self.widen(x, false), self.widen(y, false));
            let p = self.zip(&a, &b, |e, a, b| Ok(e.ins().imul(a, b)))?;
            return Ok(self.truncate(&p));
        }
        self.zip(x, y, |e, a, b| Ok(e.ins().imul(a, b)))
    }

    fn shift(&mut self, op: BinaryOp, x: &Val, y: &Val, amount: Option<Known>) -> Result<Val> {
        let (elem, last) = (x.elem, 8 * x.elem.size() as i64 - 1);
        let print = move |e: &mut Self, v: Value, by: Value| match (op, elem.is_signed()) {
            (BinaryOp::Shl, _) => e.ins().ishl(v, by),
            (_, true) => e.ins().sshr(v, by),
            (_, false) => e.ins().ushr(v, by),
        };
        let clamp = move |e: &mut Self, by: Value| {
            let ty = e.ty(by);
            let (zero, last) = (e.int(ty, 0), e.int(ty, last));
            if elem.is_signed() {
                let by = e.ins().smax(by, zero);
                e.ins().smin(by, last)
            } else {
                e.ins().umin(by, last)
            }
        };
        match amount {
            Some(Known::Int(n)) => {
                let n = if elem.is_signed() || n >= 0 { n.clamp(0, last) } else { last };
                let by = self.int(types::I32, n);
                self.map(x, |e, v| Ok(print(e, v, by)))
            }
            Some(Known::Splat(s)) if x.lanes > 1 => {
                let by = clamp(self, s);
                self.map(x, |e, v| Ok(print(e, v, by)))
            }
            // Shifts of each lane by its own amount exist only as scalars.
            _ => self.lanewise(&[x, y], elem, |e, v| {
                let by = clamp(e, v[1]);
                Ok(print(e, v[0], by))
            }),
        }
    }

    fn divide(&mut self, op: BinaryOp, x: &Val, y: &Val, divisor: Option<Known>) -> Result<Val> {
        let elem = x.elem;
        let constant = match divisor {
            Some(Known::Int(n)) if n != 0 && n != -1 => Some(n),
            _ => None,
        };
        // Floor division by a power of two is a shift, whatever the sign; for the unsigned types so is truncation.
        if let Some(n) = constant.filter(|&n| n > 0 && (n & (n - 1)) == 0)
            && (!elem.is_signed() || matches!(op, BinaryOp::FloorDiv | BinaryOp::FloorMod))
        {
            if matches!(op, BinaryOp::FloorMod | BinaryOp::TruncMod) {
                return self.map(x, |e, v| {
                    let mask = e.int(e.ty(v), n - 1);
                    Ok(e.ins().band(v, mask))
                });
            }
            return self.shift(BinaryOp::Shr, x, y, Some(Known::Int(i64::from(n.trailing_zeros()))));
        }
        let wide = elem.size() < 4;
        self.lanewise(&[x, y], elem, |e, v| {
            let narrow = e.ty(v[0]);
            let extend = |e: &mut Self, v: Value| match (wide, elem.is_signed()) {
                (false, _) => v,
                (true, true) => e.ins().sextend(types::I32, v),
                (true, false) => e.ins().uextend(types::I32, v),
            };
            let (a, d) = (extend(e, v[0]), extend(e, v[1]));
            let r = if elem.is_signed() {
                e.divide_signed(op, a, d, constant)
            } else {
                e.divide_unsigned(op, a, d, constant)
            };
            Ok(if wide { e.ins().ireduce(narrow, r) } else { r })
        })
    }

    fn divide_unsigned(&mut self, op: BinaryOp, a: Value, d: Value, constant: Option<i64>) -> Value {
        let ty = self.ty(a);
        let d = match constant {
            Some(_) => d,
            None => {
                let (zero, one) = (self.int(ty, 0), self.int(ty, 1));
                let is_zero = self.icmp(IntCC::Equal, d, zero);
                self.pick(is_zero, one, d)
            }
        };
        match op {
            BinaryOp::Div | BinaryOp::FloorDiv => self.ins().udiv(a, d),
            _ => self.ins().urem(a, d),
        }
    }

    fn divide_signed(&mut self, op: BinaryOp, a: Value, d: Value, constant: Option<i64>) -> Value {
        let ty = self.ty(a);
        let (zero, one) = (self.int(ty, 0), self.int(ty, 1));
        // Divisors 0 and -1 are replaced by 1; x / -1 is -x (wrapping) and leaves no remainder, as 1 does.
        let (safe, minus) = match constant {
            Some(n) => (self.int(ty, n), None),
            None => {
                let all = self.int(ty, -1);
                let minus = self.icmp(IntCC::Equal, d, all);
                let is_zero = self.icmp(IntCC::Equal, d, zero);
                let bad = self.ins().bor(minus, is_zero);
                (self.pick(bad, one, d), Some(minus))
            }
        };
        let q = self.ins().sdiv(a, safe);
        let p = self.ins().imul(q, safe);
        let r = self.ins().isub(a, p);
        let negate = |e: &mut Self, q: Value| match minus {
            Some(minus) => {
                let n = e.ins().ineg(a);
                e.pick(minus, n, q)
            }
            None => q,
        };
        match op {
            BinaryOp::Div => negate(self, q),
            BinaryOp::TruncMod => r,
            _ => {
                // Truncation and floor differ where a remainder is left whose sign is not the divisor's.
                let some = self.icmp(IntCC::NotEqual, r, zero);
                let signs = self.ins().bxor(r, safe);
                let differ = self.icmp(IntCC::SignedLessThan, signs, zero);
                let fix = self.ins().band(some, differ);
                if op == BinaryOp::FloorDiv {
                    let below = self.ins().isub(q, one);
                    let q = self.pick(fix, below, q);
                    negate(self, q)
                } else {
                    let above = self.ins().iadd(r, safe);
                    self.pick(fix, above, r)
                }
            }
        }
    }

    // ---- comparison and selection ----

    /// A comparison: 0/1 or a mask.
    pub fn compare(&mut self, op: CompareOp, x: &Val, y: &Val) -> Result<Val> {
        ensure!(x.elem == y.elem && x.lanes == y.lanes, "`{op}` on {}x{} and {}x{}", x.elem, x.lanes, y.elem, y.lanes);
        ensure!(op.accepts(x.elem), "`{op}` does not take {}", x.elem);
        if x.elem == DType::Bool {
            let (x, y) = self.same_mask_width(x, y);
            return self.zip(&x, &y, |e, a, b| {
                let differ = e.ins().bxor(a, b);
                Ok(if op == CompareOp::Ne { differ } else { e.not(differ) })
            });
        }
        if is_half(x.elem) {
            let (a, b) = (self.cast(x, DType::F32)?, self.cast(y, DType::F32)?);
            return self.compare(op, &a, &b);
        }
        let r = if x.elem.is_float() {
            let cc = match op {
                CompareOp::Eq => FloatCC::Equal,
                CompareOp::Ne => FloatCC::NotEqual,
                CompareOp::Lt => FloatCC::LessThan,
                CompareOp::Le => FloatCC::LessThanOrEqual,
                CompareOp::Gt => FloatCC::GreaterThan,
                CompareOp::Ge => FloatCC::GreaterThanOrEqual,
            };
            self.zip(x, y, |e, a, b| Ok(e.fcmp(cc, a, b)))?
        } else {
            let cc = match (op, x.elem.is_signed()) {
                (CompareOp::Eq, _) => IntCC::Equal,
                (CompareOp::Ne, _) => IntCC::NotEqual,
                (CompareOp::Lt, true) => IntCC::SignedLessThan,
                (CompareOp::Le, true) => IntCC::SignedLessThanOrEqual,
                (CompareOp::Gt, true) => IntCC::SignedGreaterThan,
                (CompareOp::Ge, true) => IntCC::SignedGreaterThanOrEqual,
                (CompareOp::Lt, false) => IntCC::UnsignedLessThan,
                (CompareOp::Le, false) => IntCC::UnsignedLessThanOrEqual,
                (CompareOp::Gt, false) => IntCC::UnsignedGreaterThan,
                (CompareOp::Ge, false) => IntCC::UnsignedGreaterThanOrEqual,
            };
            self.zip(x, y, |e, a, b| Ok(e.icmp(cc, a, b)))?
        };
        Ok(Val { elem: DType::Bool, width: x.mask_lane(), ..r })
    }

    /// `c ? t : f` lane by lane; a scalar condition chooses whole vectors.
    pub fn select(&mut self, c: &Val, t: &Val, f: &Val) -> Result<Val> {
        ensure!(c.elem == DType::Bool, "a condition of type {}", c.elem);
        ensure!(t.elem == f.elem && t.lanes == f.lanes, "select of {}x{} and {}x{}", t.elem, t.lanes, f.elem, f.lanes);
        ensure!(c.lanes == 1 || c.lanes == t.lanes, "a condition of {} lanes for {}", c.lanes, t.lanes);
        let (t, f) = if t.is_mask() { self.same_mask_width(t, f) } else { (t.clone(), f.clone()) };
        if c.lanes == 1 {
            return self.zip(&t, &f, |e, a, b| Ok(e.ins().select(c.regs[0], a, b)));
        }
        let mask = self.mask_width(c, t.width);
        let regs = mask.regs.iter().zip(t.regs.iter().zip(&f.regs)).map(|(&m, (&a, &b))| self.pick(m, a, b)).collect();
        Ok(t.with_regs(regs))
    }

    /// `a * b + c`: fused where the machine can, else rounded twice (see the module).
    pub fn fma(&mut self, a: &Val, b: &Val, c: &Val) -> Result<Val> {
        ensure!(
            [b, c].iter().all(|v| v.elem == a.elem && v.lanes == a.lanes) && (a.elem.is_float() || a.elem.is_int()),
            "fma on {}x{}, {}x{}, {}x{}",
            a.elem,
            a.lanes,
            b.elem,
            b.lanes,
            c.elem,
            c.lanes
        );
        if is_half(a.elem) {
            let (x, y, z) = (self.cast(a, DType::F32)?, self.cast(b, DType::F32)?, self.cast(c, DType::F32)?);
            let r = self.fma(&x, &y, &z)?;
            return self.cast(&r, a.elem);
        }
        if !a.elem.is_float() || !self.facts.fma {
            let p = self.binary(BinaryOp::Mul, a, b, [None, None])?;
            return self.binary(BinaryOp::Add, &p, c, [None, None]);
        }
        let regs =
            a.regs.iter().zip(b.regs.iter().zip(&c.regs)).map(|(&a, (&b, &c))| self.ins().fma(a, b, c)).collect();
        Ok(a.with_regs(regs))
    }

    /// All lanes combined by a balanced tree: lower half with upper half until one lane is left.
    pub fn reduce_lanes(&mut self, op: ReduceOp, x: &Val) -> Result<Val> {
        ensure!(op.accepts(x.elem), "reduction `{op}` does not take {}", x.elem);
        let mut x = x.clone();
        while x.lanes > 1 {
            let half = x.lanes / 2;
            let (low, high) = (self.slice(&x, 0, half)?, self.slice(&x, half, half)?);
            x = self.binary(op.combiner(), &low, &high, [None, None])?;
        }
        Ok(x)
    }

    /// 0, 1, 2, .. along the lanes.
    pub fn iota(&mut self, elem: DType, lanes: usize) -> Result<Val> {
        ensure!(elem.is_int(), "lane numbers of type {elem}");
        if lanes == 1 {
            let zero = self.int(scalar_type(elem)?, 0);
            return Ok(Val::scalar(elem, zero));
        }
        let width = elem.size();
        let numbers: Vec<u8> = (0..lanes as u64).flat_map(|n| n.to_le_bytes()[..width].to_vec()).collect();
        let regs =
            numbers.chunks(super::value::REGISTER).map(|bytes| self.constant(int_register(width), bytes)).collect();
        Ok(Val { elem, lanes, width, regs })
    }
}

impl Val {
    /// The lane width of a comparison's result: a scalar's is a byte.
    fn mask_lane(&self) -> usize {
        if self.lanes == 1 { 1 } else { self.width }
    }
}
