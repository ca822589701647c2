//! Conversions between element types, and the half-precision types' way to f32 and back.
//!
//! f16 and bf16 are 16 bits in registers. Arithmetic on them widens to f32, computes, and rounds once: for sum,
//! difference, product, quotient and square root the result equals the correctly rounded one, because f32 has more
//! than twice their precision plus two bits (Figueroa, "When is double rounding innocuous?", 1995).
//!
//! No conversion here may become a call of the compiler's support library (`__truncsfbf2` and its kin): an object
//! needs nothing but libc and libm. bf16 is done with integer instructions on every target; f16 with the hardware's
//! instructions where the target has them, otherwise with integer instructions too.

use anyhow::{Result, bail};
use kiln_ir::{Class, DType};

use super::text::{Body, Elem, LTy, Op, float, int};

/// What conversions need to know of the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halves {
    /// Hardware converts f16 to f32 and back.
    pub f16: bool,
}

/// Whether this is f16 or bf16.
pub(super) fn is_half(d: DType) -> bool {
    matches!(d, DType::F16 | DType::BF16)
}

/// The bits of a constant of f16 or bf16, rounded once (to odd in f32 on the way).
pub(super) fn half_bits(d: DType, x: f64) -> u16 {
    let near = x as f32;
    let mut bits = near.to_bits();
    if f64::from(near) != x && !x.is_nan() && bits & 1 == 0 {
        bits = if f64::from(near).abs() > x.abs() { bits - 1 } else { bits + 1 };
    }
    let odd = f32::from_bits(bits);
    if d == DType::F16 { half::f16::from_f32(odd).to_bits() } else { half::bf16::from_f32(odd).to_bits() }
}

impl Halves {
    /// f16 or bf16 bits to f32; exact.
    pub fn widen(self, b: &mut Body, from: DType, x: &Op) -> Op {
        let (f32s, i32s) = (x.ty.with(Elem::F32), x.ty.with(Elem::I(32)));
        if from == DType::BF16 {
            let bits = b.convert("zext", x, i32s);
            let bits = b.bin("shl", &bits, &int(i32s, 16));
            return b.convert("bitcast", &bits, f32s);
        }
        if self.f16 {
            let half = half_type(x.ty);
            let h = b.name();
            b.line(format_args!("{h} = bitcast {x} to {half}"));
            return b.inst(f32s, format_args!("fpext {half} {h} to {f32s}"));
        }
        // Exponent and fraction move to their places; a product with 2^112 corrects the exponent's bias and makes
        // subnormals normal. Infinities and NaNs get the full exponent afterwards.
        let bits = b.convert("zext", x, i32s);
        let magnitude = b.bin("and", &bits, &int(i32s, 0x7fff));
        let sign = b.bin("and", &bits, &int(i32s, 0x8000));
        let sign = b.bin("shl", &sign, &int(i32s, 16));
        let moved = b.bin("shl", &magnitude, &int(i32s, 13));
        let moved = b.convert("bitcast", &moved, f32s);
        let scaled = b.inst(f32s, format_args!("fmul {moved}, {}", float(f32s, 112f64.exp2()).text));
        let scaled = b.convert("bitcast", &scaled, i32s);
        let special = b.icmp("uge", &magnitude, &int(i32s, 0x7c00));
        let exponent = b.select(&special, &int(i32s, 0x7f80_0000), &int(i32s, 0));
        let r = b.bin("or", &scaled, &exponent);
        let r = b.bin("or", &r, &sign);
        b.convert("bitcast", &r, f32s)
    }

    /// f32 to f16 or bf16 bits, to nearest, ties to even; NaN becomes a quiet NaN.
    pub fn narrow(self, b: &mut Body, to: DType, x: &Op) -> Op {
        let (i32s, i16s) = (x.ty.with(Elem::I(32)), x.ty.with(Elem::I(16)));
        if to == DType::F16 && self.f16 {
            let half = half_type(x.ty);
            let h = b.name();
            b.line(format_args!("{h} = fptrunc {x} to {half}"));
            return b.inst(i16s, format_args!("bitcast {half} {h} to {i16s}"));
        }
        let bits = b.convert("bitcast", x, i32s);
        let nan = b.fcmp("uno", x, x);
        if to == DType::BF16 {
            let high = b.bin("lshr", &bits, &int(i32s, 16));
            let odd = b.bin("and", &high, &int(i32s, 1));
            let bias = b.bin("add", &odd, &int(i32s, 0x7fff));
            let rounded = b.bin("add", &bits, &bias);
            let rounded = b.bin("lshr", &rounded, &int(i32s, 16));
            let quiet = b.bin("or", &high, &int(i32s, 0x40));
            let r = b.select(&nan, &quiet, &rounded);
            return b.convert("trunc", &r, i16s);
        }
        let magnitude = b.bin("and", &bits, &int(i32s, 0x7fff_ffff));
        let sign = b.bin("lshr", &bits, &int(i32s, 16));
        let sign = b.bin("and", &sign, &int(i32s, 0x8000));
        // Normal results: rebias the exponent by 112 and round by addition; the carry may reach infinity.
        let odd = b.bin("lshr", &magnitude, &int(i32s, 13));
        let odd = b.bin("and", &odd, &int(i32s, 1));
        let normal = b.bin("add", &magnitude, &int(i32s, 0xfff - (112 << 23)));
        let normal = b.bin("add", &normal, &odd);
        let normal = b.bin("lshr", &normal, &int(i32s, 13));
        // Subnormal results: 0.5 has 2^-24 as its last place, so the addition rounds at the right bit.
        let f32s = x.ty;
        let m = b.convert("bitcast", &magnitude, f32s);
        let m = b.inst(f32s, format_args!("fadd {m}, {}", float(f32s, 0.5).text));
        let m = b.convert("bitcast", &m, i32s);
        let subnormal = b.bin("sub", &m, &int(i32s, i64::from(0.5f32.to_bits())));
        let is_sub = b.icmp("ult", &magnitude, &int(i32s, 113 << 23));
        let r = b.select(&is_sub, &subnormal, &normal);
        let is_big = b.icmp("uge", &magnitude, &int(i32s, (127 + 16) << 23));
        let r = b.select(&is_big, &int(i32s, 0x7c00), &r);
        let payload = b.bin("lshr", &magnitude, &int(i32s, 13));
        let payload = b.bin("and", &payload, &int(i32s, 0x3ff));
        let quiet = b.bin("or", &payload, &int(i32s, 0x7e00));
        let r = b.select(&nan, &quiet, &r);
        let r = b.bin("or", &r, &sign);
        b.convert("trunc", &r, i16s)
    }

    /// f64 to f16 or bf16 with one rounding: through f32 rounded to odd, from which the second step rounds as from f64.
    pub fn narrow_f64(self, b: &mut Body, to: DType, x: &Op) -> Op {
        let (f32s, i32s) = (x.ty.with(Elem::F32), x.ty.with(Elem::I(32)));
        let near = b.convert("fptrunc", x, f32s);
        let back = b.convert("fpext", &near, x.ty);
        let bits = b.convert("bitcast", &near, i32s);
        let inexact = b.fcmp("one", &back, x); // false for NaN
        let odd = b.bin("and", &bits, &int(i32s, 1));
        let even = b.icmp("eq", &odd, &int(i32s, 0));
        let fix = b.bin("and", &inexact, &even);
        // The neighbour on the other side of x: one step in magnitude, toward zero if `near` is beyond x.
        let (near_abs, x_abs) = (b.intrinsic("fabs", &[&back]), b.intrinsic("fabs", &[x]));
        let beyond = b.fcmp("ogt", &near_abs, &x_abs);
        let step = b.select(&beyond, &int(i32s, -1), &int(i32s, 1));
        let moved = b.bin("add", &bits, &step);
        let bits = b.select(&fix, &moved, &bits);
        let odd = b.convert("bitcast", &bits, f32s);
        self.narrow(b, to, &odd)
    }

    /// TensorFlow's Cast between plain types: floats to integers truncate and saturate (NaN gives 0), integers wrap,
    /// to bool is "not zero", to a float rounds to nearest even once.
    pub fn cast(self, b: &mut Body, from: DType, to: DType, x: &Op) -> Result<Op> {
        let lanes = x.ty.lanes;
        let reg = LTy::register(to, lanes);
        Ok(match (from.class(), to.class()) {
            _ if from == to => x.clone(),
            (Class::Bool, Class::Signed | Class::Unsigned) => b.convert("zext", x, reg),
            (Class::Bool, Class::Float) if is_half(to) => {
                let one = if to == DType::F16 { 0x3c00 } else { 0x3f80 };
                b.select(x, &int(reg, one), &int(reg, 0))
            }
            (Class::Bool, Class::Float) => b.convert("uitofp", x, reg),
            (Class::Signed | Class::Unsigned, Class::Bool) => b.icmp("ne", x, &int(x.ty, 0)),
            (Class::Float, Class::Bool) if is_half(from) => {
                let magnitude = b.bin("and", x, &int(x.ty, 0x7fff));
                b.icmp("ne", &magnitude, &int(x.ty, 0))
            }
            (Class::Float, Class::Bool) => b.fcmp("une", x, &float(x.ty, 0.0)),
            (Class::Signed | Class::Unsigned, Class::Signed | Class::Unsigned) => match from.size().cmp(&to.size()) {
                std::cmp::Ordering::Equal => x.clone(),
                std::cmp::Ordering::Greater => b.convert("trunc", x, reg),
                std::cmp::Ordering::Less => b.convert(if from.is_signed() { "sext" } else { "zext" }, x, reg),
            },
            (Class::Signed | Class::Unsigned, Class::Float) => self.int_to_float(b, from, to, x),
            (Class::Float, Class::Signed | Class::Unsigned) => {
                let wide = if is_half(from) { self.widen(b, from, x) } else { x.clone() };
                float_to_int(b, to, &wide)
            }
            (Class::Float, Class::Float) => match (is_half(from), is_half(to)) {
                (true, _) => {
                    let wide = self.widen(b, from, x);
                    match to {
                        DType::F32 => wide,
                        DType::F64 => b.convert("fpext", &wide, reg),
                        _ => self.narrow(b, to, &wide),
                    }
                }
                (false, true) if from == DType::F64 => self.narrow_f64(b, to, x),
                (false, true) => self.narrow(b, to, x),
                (false, false) if to == DType::F64 => b.convert("fpext", x, reg),
                (false, false) => b.convert("fptrunc", x, reg),
            },
            _ => bail!("no conversion from {from} to {to} at the machine level"),
        })
    }

    fn int_to_float(self, b: &mut Body, from: DType, to: DType, x: &Op) -> Op {
        let op = if from.is_signed() { "sitofp" } else { "uitofp" };
        let reg = LTy::register(to, x.ty.lanes);
        if !is_half(to) {
            return b.convert(op, x, reg);
        }
        match from.size() {
            1 | 2 => {
                let wide = b.convert(op, x, x.ty.with(Elem::F32)); // exact
                self.narrow(b, to, &wide)
            }
            4 => {
                let wide = b.convert(op, x, x.ty.with(Elem::F64)); // exact
                self.narrow_f64(b, to, &wide)
            }
            _ => {
                // Beyond 2^40 the low 16 bits are folded into a sticky bit: the rest is exact in f64.
                let magnitude = if from.is_signed() {
                    let name = b.name();
                    b.line(format_args!("{name} = call {} @llvm.abs.{}({x}, i1 false)", x.ty, x.ty.suffix()));
                    Op { ty: x.ty, text: name }
                } else {
                    x.clone()
                };
                let f64s = x.ty.with(Elem::F64);
                let big = b.icmp("uge", &magnitude, &int(x.ty, 1 << 40));
                let low = b.bin("and", x, &int(x.ty, 0xffff));
                let sticky = b.icmp("ne", &low, &int(x.ty, 0));
                let sticky = b.convert("zext", &sticky, x.ty);
                let high = b.bin(if from.is_signed() { "ashr" } else { "lshr" }, x, &int(x.ty, 16));
                let high = b.bin("or", &high, &sticky);
                let high = b.convert(op, &high, f64s);
                let high = b.inst(f64s, format_args!("fmul {high}, {}", float(f64s, 65536.0).text));
                let small = b.convert(op, x, f64s);
                let wide = b.select(&big, &high, &small);
                self.narrow_f64(b, to, &wide)
            }
        }
    }
}

fn float_to_int(b: &mut Body, to: DType, x: &Op) -> Op {
    let reg = LTy::register(to, x.ty.lanes);
    let sat = |b: &mut Body, signed: bool, ty: LTy| {
        let name = if signed { "fptosi" } else { "fptoui" };
        b.inst(ty, format_args!("call {ty} @llvm.{name}.sat.{}.{}({x})", ty.suffix(), x.ty.suffix()))
    };
    if to.size() >= 4 {
        return sat(b, to.is_signed(), reg);
    }
    // Through i32: vector units convert to 32 bits, and clamping there gives the same result.
    let i32s = x.ty.with(Elem::I(32));
    let wide = sat(b, true, i32s);
    let bits = 8 * to.size() as u32;
    let (lo, hi) =
        if to.is_signed() { (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1) } else { (0, (1i64 << bits) - 1) };
    let clamped = b.intrinsic("smax", &[&wide, &int(i32s, lo)]);
    let clamped = b.intrinsic("smin", &[&clamped, &int(i32s, hi)]);
    b.convert("trunc", &clamped, reg)
}

/// LLVM's own type of f16 with the lanes of `ty`.
fn half_type(ty: LTy) -> String {
    if ty.lanes == 1 { "half".into() } else { format!("<{} x half>", ty.lanes) }
}
