//! Scalar operations as LLVM instructions: the machine operations of the vocabulary on every plain element type.
//!
//! The semantics are those of `docs/semantics.md` in strict mode. Operations that no machine has (`exp`, `pow`, ...)
//! are expanded before the machine level; one that arrives here is an error.

use anyhow::{Result, bail};
use kiln_ir::scalar::{BinaryOp, CompareOp, UnaryOp};
use kiln_ir::{Class, DType};

use super::convert::{Halves, is_half};
use super::text::{Body, Elem, Op, float, int};

/// What operations need to know of the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ops {
    pub halves: Halves,
    /// The instruction set rounds to even whatever the current rounding mode (SSE4.1, NEON). Without it the libm
    /// function is called, and only `rint` is in every C99 libm.
    pub roundeven: bool,
    /// One instruction computes IEEE 754-2019's maximum (NEON).
    pub ieee_max: bool,
    /// `--math fast`.
    pub fast: bool,
}

impl Ops {
    /// A unary operation on elements of type `d`.
    pub fn unary(self, b: &mut Body, op: UnaryOp, d: DType, x: &Op) -> Result<Op> {
        use UnaryOp::*;
        Ok(match (op, d.class()) {
            (Not, Class::Bool) => b.bin("xor", x, &int(x.ty, 1)),
            (_, Class::Signed | Class::Unsigned) => return int_unary(b, op, d, x),
            // Sign and class tests of the half types need only their bits.
            (Neg, Class::Float) if is_half(d) => b.bin("xor", x, &int(x.ty, 0x8000)),
            (Abs, Class::Float) if is_half(d) => b.bin("and", x, &int(x.ty, 0x7fff)),
            (Real | Conj, Class::Float) => x.clone(),
            (_, Class::Float) if is_half(d) => {
                let wide = self.halves.widen(b, d, x);
                let r = self.float_unary(b, op, &wide)?;
                if r.ty.is_float() { self.halves.narrow(b, d, &r) } else { r }
            }
            (_, Class::Float) => return self.float_unary(b, op, x),
            _ => bail!("`{op}` on {d} is not a machine operation"),
        })
    }

    fn float_unary(self, b: &mut Body, op: UnaryOp, x: &Op) -> Result<Op> {
        use UnaryOp::*;
        let one = float(x.ty, 1.0);
        let zero = float(x.ty, 0.0);
        Ok(match op {
            Neg => b.inst(x.ty, format_args!("fneg {x}")),
            Abs => b.intrinsic("fabs", &[x]),
            Floor => b.intrinsic("floor", &[x]),
            Ceil => b.intrinsic("ceil", &[x]),
            Rint => b.intrinsic(if self.roundeven { "roundeven" } else { "rint" }, &[x]),
            Trunc => b.intrinsic("trunc", &[x]),
            Sqrt => b.intrinsic("sqrt", &[x]),
            Rsqrt => {
                let root = b.intrinsic("sqrt", &[x]);
                b.fbin("fdiv", &one, &root)
            }
            Reciprocal => b.fbin("fdiv", &one, x),
            Square => b.fbin("fmul", x, x),
            Sign => {
                let nan = b.fcmp("uno", x, x);
                let r = b.select(&nan, x, &zero);
                let negative = b.fcmp("olt", x, &zero);
                let r = b.select(&negative, &float(x.ty, -1.0), &r);
                let positive = b.fcmp("ogt", x, &zero);
                b.select(&positive, &one, &r)
            }
            IsNan => b.fcmp("uno", x, x),
            IsInf | IsFinite => {
                let magnitude = b.intrinsic("fabs", &[x]);
                b.fcmp(if op == IsInf { "oeq" } else { "olt" }, &magnitude, &float(x.ty, f64::INFINITY))
            }
            Imag => zero,
            _ => bail!("`{op}` is not a machine operation: it must be expanded before the machine level"),
        })
    }

    /// A binary operation on elements of type `d`.
    pub fn binary(self, b: &mut Body, op: BinaryOp, d: DType, x: &Op, y: &Op) -> Result<Op> {
        match d.class() {
            Class::Bool => {
                let inst = match op {
                    BinaryOp::And => "and",
                    BinaryOp::Or => "or",
                    BinaryOp::Xor => "xor",
                    _ => bail!("`{op}` on bool is not a machine operation"),
                };
                Ok(b.bin(inst, x, y))
            }
            Class::Signed | Class::Unsigned => int_binary(b, op, d, x, y),
            Class::Float if op == BinaryOp::NextAfter => next_after(self, b, d, x, y),
            Class::Float if is_half(d) => {
                let (wx, wy) = (self.halves.widen(b, d, x), self.halves.widen(b, d, y));
                let r = float_binary(self, b, op, &wx, &wy)?;
                Ok(self.halves.narrow(b, d, &r))
            }
            Class::Float => float_binary(self, b, op, x, y),
            _ => bail!("`{op}` on {d} is not a machine operation"),
        }
    }

    /// A comparison of elements of type `d`.
    pub fn compare(self, b: &mut Body, op: CompareOp, d: DType, x: &Op, y: &Op) -> Result<Op> {
        let name = op.name();
        Ok(match (d.class(), op) {
            (Class::Float, _) => {
                let pred = if op == CompareOp::Ne { "une".into() } else { format!("o{name}") };
                if is_half(d) {
                    let (wx, wy) = (self.halves.widen(b, d, x), self.halves.widen(b, d, y));
                    b.fcmp(&pred, &wx, &wy)
                } else {
                    b.fcmp(&pred, x, y)
                }
            }
            (Class::Signed | Class::Unsigned | Class::Bool, CompareOp::Eq | CompareOp::Ne) => b.icmp(name, x, y),
            (Class::Signed, _) => b.icmp(&format!("s{name}"), x, y),
            (Class::Unsigned, _) => b.icmp(&format!("u{name}"), x, y),
            _ => bail!("`{op}` does not order {d}"),
        })
    }

    /// a * b + c with one rounding.
    pub fn fma(self, b: &mut Body, d: DType, x: &Op, y: &Op, z: &Op) -> Result<Op> {
        match d {
            DType::F32 | DType::F64 => Ok(b.intrinsic("fma", &[x, y, z])),
            DType::F16 | DType::BF16 => {
                // In f64 the product is exact, and so is the sum wherever its rounding could matter to f16; for bf16
                // a difference needs a tie of the product and an addend 2^-45 times smaller.
                let f64s = x.ty.with(Elem::F64);
                let mut wide = Vec::with_capacity(3);
                for v in [x, y, z] {
                    let f = self.halves.widen(b, d, v);
                    wide.push(b.convert("fpext", &f, f64s));
                }
                let product = b.inst(f64s, format_args!("fmul {}, {}", wide[0], wide[1].text));
                let sum = b.inst(f64s, format_args!("fadd {product}, {}", wide[2].text));
                Ok(self.halves.narrow_f64(b, d, &sum))
            }
            _ => bail!("`fma` takes floats, not {d}"),
        }
    }
}

fn int_unary(b: &mut Body, op: UnaryOp, d: DType, x: &Op) -> Result<Op> {
    use UnaryOp::*;
    let zero = int(x.ty, 0);
    Ok(match op {
        Neg => b.bin("sub", &zero, x),
        Abs if d.is_signed() => b.inst(x.ty, format_args!("call {} @llvm.abs.{}({x}, i1 false)", x.ty, x.ty.suffix())),
        Abs | Real | Conj => x.clone(),
        Sign if d.is_signed() => {
            let r = b.intrinsic("smax", &[x, &int(x.ty, -1)]);
            b.intrinsic("smin", &[&r, &int(x.ty, 1)])
        }
        Sign => b.intrinsic("umin", &[x, &int(x.ty, 1)]),
        BitNot => b.bin("xor", x, &int(x.ty, -1)),
        PopCount => {
            let count = b.intrinsic("ctpop", &[x]);
            if d.size() == 1 { count } else { b.convert("trunc", &count, x.ty.with(Elem::I(8))) }
        }
        Square => b.bin("mul", x, x),
        _ => bail!("`{op}` on {d} is not a machine operation: it must be expanded before the machine level"),
    })
}

fn int_binary(b: &mut Body, op: BinaryOp, d: DType, x: &Op, y: &Op) -> Result<Op> {
    use BinaryOp::*;
    let signed = d.is_signed();
    let pick = |s: &'static str, u: &'static str| if signed { s } else { u };
    Ok(match op {
        Add => b.bin("add", x, y),
        Sub => b.bin("sub", x, y),
        Mul => b.bin("mul", x, y),
        Max => b.intrinsic(pick("smax", "umax"), &[x, y]),
        Min => b.intrinsic(pick("smin", "umin"), &[x, y]),
        SquaredDifference => {
            let diff = b.bin("sub", x, y);
            b.bin("mul", &diff, &diff)
        }
        BitAnd => b.bin("and", x, y),
        BitOr => b.bin("or", x, y),
        BitXor => b.bin("xor", x, y),
        Shl | Shr => {
            let last = int(x.ty, i64::from(x.ty.bits()) - 1);
            let y = if signed { b.intrinsic("smax", &[y, &int(x.ty, 0)]) } else { y.clone() };
            let amount = b.intrinsic("umin", &[&y, &last]);
            b.bin(if op == Shl { "shl" } else { pick("ashr", "lshr") }, x, &amount)
        }
        Div | FloorDiv | FloorMod | TruncMod => int_division(b, op, signed, x, y),
        _ => bail!("`{op}` on {d} is not a machine operation: it must be expanded before the machine level"),
    })
}

/// Division by zero ends the run in an `Inst::Check` before this; but the padding lanes of a vector's tail may hold a
/// zero, and INT_MIN / -1 traps on x86 although its wrapped value is defined: both divide by 1 instead.
fn int_division(b: &mut Body, op: BinaryOp, signed: bool, x: &Op, y: &Op) -> Op {
    let (zero, one) = (int(x.ty, 0), int(x.ty, 1));
    let bad = b.icmp("eq", y, &zero);
    if !signed {
        let divisor = b.select(&bad, &one, y);
        return b.bin(if matches!(op, BinaryOp::Div | BinaryOp::FloorDiv) { "udiv" } else { "urem" }, x, &divisor);
    }
    let minus_one = b.icmp("eq", y, &int(x.ty, -1));
    let unsafe_divisor = b.bin("or", &bad, &minus_one);
    let divisor = b.select(&unsafe_divisor, &one, y);
    let wants_quotient = matches!(op, BinaryOp::Div | BinaryOp::FloorDiv);
    // The remainder by -1 is 0, as by 1.
    let remainder = if op == BinaryOp::Div { None } else { Some(b.bin("srem", x, &divisor)) };
    let quotient = wants_quotient.then(|| {
        let q = b.bin("sdiv", x, &divisor);
        let negated = b.bin("sub", &zero, x);
        b.select(&minus_one, &negated, &q)
    });
    // Floor: where the remainder is not zero and its sign differs from the divisor's.
    let needs_fix = |b: &mut Body, r: &Op| {
        let nonzero = b.icmp("ne", r, &zero);
        let signs = b.bin("xor", r, &divisor);
        let differ = b.icmp("slt", &signs, &zero);
        b.bin("and", &nonzero, &differ)
    };
    match (op, quotient, remainder) {
        (BinaryOp::FloorDiv, Some(q), Some(r)) => {
            let fix = needs_fix(b, &r);
            let lower = b.bin("sub", &q, &one);
            b.select(&fix, &lower, &q)
        }
        (BinaryOp::FloorMod, _, Some(r)) => {
            let fix = needs_fix(b, &r);
            let moved = b.bin("add", &r, &divisor);
            b.select(&fix, &moved, &r)
        }
        (_, Some(q), None) => q,
        (_, _, Some(r)) => r,
        (_, None, None) => zero,
    }
}

fn float_binary(ops: Ops, b: &mut Body, op: BinaryOp, x: &Op, y: &Op) -> Result<Op> {
    use BinaryOp::*;
    let zero = float(x.ty, 0.0);
    Ok(match op {
        Add => b.fbin("fadd", x, y),
        Sub => b.fbin("fsub", x, y),
        Mul => b.fbin("fmul", x, y),
        Div => b.fbin("fdiv", x, y),
        Max | Min => extremum(ops, b, op == Max, x, y),
        SquaredDifference => {
            let diff = b.fbin("fsub", x, y);
            b.fbin("fmul", &diff, &diff)
        }
        FloorDiv => {
            let q = b.fbin("fdiv", x, y);
            b.intrinsic("floor", &[&q])
        }
        TruncMod => b.inst(x.ty, format_args!("frem {x}, {}", y.text)),
        FloorMod => {
            let r = b.inst(x.ty, format_args!("frem {x}, {}", y.text));
            let nonzero = b.fcmp("one", &r, &zero);
            let (r_negative, y_negative) = (b.fcmp("olt", &r, &zero), b.fcmp("olt", y, &zero));
            let differ = b.bin("xor", &r_negative, &y_negative);
            let fix = b.bin("and", &nonzero, &differ);
            let moved = b.inst(x.ty, format_args!("fadd {r}, {}", y.text));
            b.select(&fix, &moved, &r)
        }
        DivNoNan | MulNoNan => {
            let r = b.fbin(if op == DivNoNan { "fdiv" } else { "fmul" }, x, y);
            let is_zero = b.fcmp("oeq", y, &zero);
            b.select(&is_zero, &zero, &r)
        }
        Xdivy => {
            let r = b.fbin("fdiv", x, y);
            let is_zero = b.fcmp("oeq", x, &zero);
            b.select(&is_zero, &zero, &r)
        }
        _ => bail!("`{op}` is not a machine operation: it must be expanded before the machine level"),
    })
}

/// Maximum or minimum: NaN if either is NaN, and +0 above -0, so that the order of the operands does not matter.
///
/// `p > q ? p : q` is one x86 instruction; it gives q where either is NaN or both are zeros. `llvm.maximum` there becomes
/// five instructions, three of them blends of two steps each; the forms below are shorter, above all for a constant.
fn extremum(ops: Ops, b: &mut Body, max: bool, x: &Op, y: &Op) -> Op {
    if ops.ieee_max {
        return b.intrinsic(if max { "maximum" } else { "minimum" }, &[x, y]);
    }
    let (x, y) = if x.as_float().is_some() { (y, x) } else { (x, y) };
    let pick = |b: &mut Body, p: &Op, q: &Op| {
        let c = b.fcmp(if max { "ogt" } else { "olt" }, p, q);
        b.select(&c, p, q)
    };
    let constant = y.as_float().filter(|c| !c.is_nan());
    let zero_matters = constant.is_none_or(|c| c == 0.0 && c.is_sign_positive() == max);
    if constant.is_some() && (ops.fast || !zero_matters) {
        return pick(b, y, x);
    }
    if constant.is_some() && max {
        // max(x, +0): what is -0 yet becomes +0, nothing else changes.
        let r = pick(b, y, x);
        return b.inst(x.ty, format_args!("fadd {r}, {}", float(x.ty, 0.0).text));
    }
    if ops.fast {
        // The freeze keeps LLVM from joining the two selections into one that is no maximum any more.
        let r = pick(b, y, x);
        let r = b.inst(x.ty, format_args!("freeze {r}"));
        let nan = b.fcmp("uno", y, y);
        return b.select(&nan, y, &r);
    }
    // Both orders, which differ at zeros and NaNs only: there the signs are joined (or: -0 wins, and: +0 wins), and a
    // NaN stays one under `or`, whereas after `and` it is put back.
    let bits = x.ty.with(Elem::I(x.ty.bits()));
    let (p, q) = (pick(b, x, y), pick(b, y, x));
    let (p, q) = (b.convert("bitcast", &p, bits), b.convert("bitcast", &q, bits));
    let mut r = b.bin(if max { "and" } else { "or" }, &p, &q);
    if max {
        let nan = b.fcmp("uno", x, y);
        let nan = b.convert("sext", &nan, bits);
        r = b.bin("or", &r, &nan);
    }
    b.convert("bitcast", &r, x.ty)
}

/// The neighbour of x toward y: one step of the bits, whose order is that of the magnitudes.
fn next_after(ops: Ops, b: &mut Body, d: DType, x: &Op, y: &Op) -> Result<Op> {
    let bits_ty = x.ty.with(Elem::I(8 * d.size() as u32));
    let (fx, fy, bits) = if is_half(d) {
        (ops.halves.widen(b, d, x), ops.halves.widen(b, d, y), x.clone())
    } else {
        (x.clone(), y.clone(), b.convert("bitcast", x, bits_ty))
    };
    let (zero, one) = (float(fx.ty, 0.0), int(bits_ty, 1));
    // Away from zero where y lies beyond x on x's side.
    let up = b.fcmp("ogt", &fy, &fx);
    let positive = b.fcmp("ogt", &fx, &zero);
    let same = b.bin("xor", &up, &positive);
    let step = b.select(&same, &int(bits_ty, -1), &one);
    let stepped = b.bin("add", &bits, &step);
    // From zero: the smallest subnormal with y's sign.
    let sign_bit = int(bits_ty, 1i64 << (bits_ty.bits() - 1));
    let negative = b.bin("or", &sign_bit, &one);
    let smallest = b.select(&up, &one, &negative);
    let is_zero = b.fcmp("oeq", &fx, &zero);
    let stepped = b.select(&is_zero, &smallest, &stepped);
    let result = if is_half(d) { stepped } else { b.convert("bitcast", &stepped, x.ty) };
    let equal = b.fcmp("oeq", &fx, &fy);
    let result = b.select(&equal, y, &result);
    let x_nan = b.fcmp("uno", &fx, &fx);
    let y_nan = b.fcmp("uno", &fy, &fy);
    let result = b.select(&y_nan, y, &result);
    Ok(b.select(&x_nan, x, &result))
}
