//! Conversions between element types, with TensorFlow's Cast rules made deterministic: NaN becomes 0 and values out of
//! range saturate where a float becomes an integer; integers wrap; everything to bool is `!= 0`; floats round to nearest
//! even.
//!
//! x86-64's Cranelift backend has no f16 or bf16 instructions, so those conversions are integer sequences, the same for
//! a scalar and for four lanes. f64 and the integers reach f16 and bf16 through an f32 that is rounded to odd, so that
//! the second rounding sees what the first one dropped and the result is correctly rounded.

use anyhow::{Result, ensure};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use kiln_ir::DType;

use super::arith::is_half;
use super::value::{Emit, REGISTER, Val, int_register, register_count, register_type, scalar_type};

impl Emit<'_> {
    /// The value converted to another element type.
    pub fn cast(&mut self, x: &Val, to: DType) -> Result<Val> {
        let from = x.elem;
        if from == to {
            return Ok(x.clone());
        }
        scalar_type(to)?;
        match (from, to) {
            (DType::Bool, _) => self.bool_as(x, to),
            (_, DType::Bool) => self.nonzero(x),
            (DType::F16 | DType::BF16, DType::F32) => self.half_to_float(x),
            (DType::F32, DType::F16 | DType::BF16) => self.float_to_half(x, to),
            // Widening is exact, so what comes after rounds once.
            (DType::F16 | DType::BF16, _) => {
                let wide = self.half_to_float(x)?;
                self.cast(&wide, to)
            }
            (_, DType::F16 | DType::BF16) => self.wide_to_half(x, to),
            (DType::F32, DType::F64) => self.float_to_double(x),
            (DType::F64, DType::F32) => self.double_to_float(x),
            _ => match (from.is_float(), to.is_float()) {
                (true, _) => self.float_to_int(x, to),
                (false, true) => self.int_to_float(x, to),
                (false, false) => Ok(self.resize(x, to)),
            },
        }
    }

    // ---- bool ----

    fn nonzero(&mut self, x: &Val) -> Result<Val> {
        let width = if x.lanes == 1 { 1 } else { x.width };
        let r = self.map(x, |e, v| {
            let ty = e.ty(v);
            if x.elem == DType::F32 || x.elem == DType::F64 {
                let zero = e.float(ty, 0.0);
                return Ok(e.fcmp(FloatCC::NotEqual, v, zero));
            }
            // Both zeros of a half are false: only the bits below the sign count.
            let v = if is_half(x.elem) {
                let magnitude = e.int(ty, 0x7fff);
                e.ins().band(v, magnitude)
            } else {
                v
            };
            let zero = e.int(ty, 0);
            Ok(e.icmp(IntCC::NotEqual, v, zero))
        })?;
        Ok(Val { elem: DType::Bool, width, ..r })
    }

    fn bool_as(&mut self, x: &Val, to: DType) -> Result<Val> {
        let one: i64 = match to {
            DType::F16 => 0x3c00,
            DType::BF16 => 0x3f80,
            DType::F32 => i64::from(1f32.to_bits()),
            DType::F64 => 1f64.to_bits() as i64,
            _ => 1,
        };
        if x.lanes == 1 {
            let ty = scalar_type(to)?;
            let (t, f) = if ty.is_float() {
                (self.float(ty, 1.0), self.float(ty, 0.0))
            } else {
                (self.int(ty, one), self.int(ty, 0))
            };
            let r = self.pick(x.regs[0], t, f);
            return Ok(Val::scalar(to, r));
        }
        let mask = self.mask_width(x, to.size());
        let ones = self.int(int_register(to.size()), one);
        let regs = mask.regs.iter().map(|&m| {
            let r = self.ins().band(m, ones);
            self.bits(register_type(to, to.size()), r)
        });
        let regs = regs.collect();
        Ok(Val { elem: to, lanes: x.lanes, width: to.size(), regs })
    }

    // ---- integers ----

    /// Integers of another width: extended by their own sign, or cut.
    fn resize(&mut self, x: &Val, to: DType) -> Val {
        let (signed, width) = (x.elem.is_signed(), to.size());
        if x.lanes == 1 {
            let ty = int_register(width).lane_type();
            let v = x.regs[0];
            let v = match (width.cmp(&x.width), signed) {
                (std::cmp::Ordering::Equal, _) => v,
                (std::cmp::Ordering::Less, _) => self.ins().ireduce(ty, v),
                (_, true) => self.ins().sextend(ty, v),
                (_, false) => self.ins().uextend(ty, v),
            };
            return Val::scalar(to, v);
        }
        let mut x = x.clone();
        while x.width < width {
            x = self.widen(&x, signed);
        }
        while x.width > width {
            x = self.truncate(&x);
        }
        Val { elem: to, ..x }
    }

    fn int_to_float(&mut self, x: &Val, to: DType) -> Result<Val> {
        let small = x.elem.size() < 4;
        if small {
            // Every 8- and 16-bit integer is an i32.
            let wide = self.resize(x, DType::I32);
            return self.int_to_float(&wide, to);
        }
        let (ty, signed) = (scalar_type(to)?, x.elem.is_signed());
        let scalar = move |e: &mut Self, v: Value| match signed {
            true => e.ins().fcvt_from_sint(ty, v),
            false => e.ins().fcvt_from_uint(ty, v),
        };
        match (x.lanes, x.elem.size(), to) {
            (1, ..) => {
                let r = scalar(self, x.regs[0]);
                Ok(Val::scalar(to, r))
            }
            (_, 4, DType::F32) => {
                let r = self.map(x, |e, v| {
                    Ok(if signed {
                        e.ins().fcvt_from_sint(types::F32X4, v)
                    } else {
                        e.ins().fcvt_from_uint(types::F32X4, v)
                    })
                })?;
                Ok(Val { elem: to, ..r })
            }
            (_, 4, _) => {
                let regs = (0..register_count(x.lanes, 8)).map(|i| {
                    // Each conversion takes the two lower lanes.
                    let v = self.lower_pair(x, i);
                    match signed {
                        true => {
                            let wide = self.ins().swiden_low(v);
                            self.ins().fcvt_from_sint(types::F64X2, wide)
                        }
                        false => {
                            let wide = self.ins().uwiden_low(v);
                            self.ins().fcvt_from_uint(types::F64X2, wide)
                        }
                    }
                });
                let regs = regs.collect();
                Ok(Val { elem: to, lanes: x.lanes, width: 8, regs })
            }
            // No conversion of 64-bit lanes before AVX-512.
            _ => self.lanewise(&[x], to, |e, v| Ok(scalar(e, v[0]))),
        }
    }

    /// 32-bit lanes `2 i` and `2 i + 1` in the lower half of a register.
    fn lower_pair(&mut self, x: &Val, i: usize) -> Value {
        let v = x.regs[i / 2];
        if i.is_multiple_of(2) {
            return v;
        }
        self.shuffle(self.ty(v), v, v, std::array::from_fn(|b| ((b + REGISTER / 2) % REGISTER) as u8))
    }

    fn float_to_int(&mut self, x: &Val, to: DType) -> Result<Val> {
        let signed = to.is_signed();
        if to.size() < 4 {
            // To i32, saturating; then into the narrow range; then cut.
            let wide = self.float_to_int(x, DType::I32)?;
            let bits = 8 * to.size() as u32;
            let (low, high) =
                if signed { (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1) } else { (0, (1i64 << bits) - 1) };
            let clamped = self.map(&wide, |e, v| {
                let ty = e.ty(v);
                let (low, high) = (e.int(ty, low), e.int(ty, high));
                let v = e.ins().smax(v, low);
                Ok(e.ins().smin(v, high))
            })?;
            return Ok(self.resize(&clamped, to));
        }
        if x.lanes > 1 && x.elem == DType::F32 && to.size() == 4 {
            let r = self.map(x, |e, v| {
                Ok(if signed {
                    e.ins().fcvt_to_sint_sat(types::I32X4, v)
                } else {
                    e.ins().fcvt_to_uint_sat(types::I32X4, v)
                })
            })?;
            return Ok(Val { elem: to, ..r });
        }
        let ty = scalar_type(to)?;
        self.lanewise(&[x], to, |e, v| {
            Ok(if signed { e.ins().fcvt_to_sint_sat(ty, v[0]) } else { e.ins().fcvt_to_uint_sat(ty, v[0]) })
        })
    }

    // ---- floats ----

    fn float_to_double(&mut self, x: &Val) -> Result<Val> {
        if x.lanes == 1 {
            let r = self.ins().fpromote(types::F64, x.regs[0]);
            return Ok(Val::scalar(DType::F64, r));
        }
        let regs = (0..register_count(x.lanes, 8)).map(|i| {
            let v = self.lower_pair(x, i);
            self.ins().fvpromote_low(v)
        });
        let regs = regs.collect();
        Ok(Val { elem: DType::F64, lanes: x.lanes, width: 8, regs })
    }

    fn double_to_float(&mut self, x: &Val) -> Result<Val> {
        if x.lanes == 1 {
            let r = self.ins().fdemote(types::F32, x.regs[0]);
            return Ok(Val::scalar(DType::F32, r));
        }
        let mut regs = Vec::new();
        for pair in x.regs.chunks(2) {
            let low = self.ins().fvdemote(pair[0]);
            regs.push(match pair.get(1) {
                None => low,
                Some(&high) => {
                    let high = self.ins().fvdemote(high);
                    self.shuffle(
                        types::F32X4,
                        low,
                        high,
                        std::array::from_fn(|b| if b < 8 { b as u8 } else { (b + 8) as u8 }),
                    )
                }
            });
        }
        Ok(Val { elem: DType::F32, lanes: x.lanes, width: 4, regs })
    }

    /// f16 or bf16 to f32, exact; a signalling NaN of f16 becomes quiet, as the hardware conversion makes it.
    fn half_to_float(&mut self, x: &Val) -> Result<Val> {
        let bits = self.resize(&Val { elem: DType::U16, ..x.clone() }, DType::U32);
        let r = self.map(&bits, |e, h| {
            let ty = e.ty(h);
            let r = if x.elem == DType::BF16 { e.shl(h, 16) } else { e.f16_to_f32_bits(h) };
            Ok(e.bits(float_of(ty), r))
        })?;
        Ok(Val { elem: DType::F32, ..r })
    }

    /// f32 to f16 or bf16, to nearest even.
    fn float_to_half(&mut self, x: &Val, to: DType) -> Result<Val> {
        let bits = self.map(x, |e, v| {
            let v = e.bits(int_of(e.ty(v)), v);
            Ok(if to == DType::BF16 { e.f32_to_bf16_bits(v) } else { e.f32_to_f16_bits(v) })
        })?;
        let r = self.resize(&Val { elem: DType::U32, ..bits }, DType::U16);
        Ok(Val { elem: to, ..r })
    }

    /// f64 or an integer to f16 or bf16, correctly rounded. Integers of up to 32 bits are exact in f64, and so are 64-bit
    /// ones after the bits that cannot matter have been folded into one.
    fn wide_to_half(&mut self, x: &Val, to: DType) -> Result<Val> {
        let single = self.lanewise(&[x], DType::F32, |e, v| {
            let v = v[0];
            let double = match (x.elem, x.elem.is_signed()) {
                (DType::F64, _) => v,
                (DType::I64 | DType::U64, signed) => {
                    let v = e.fold_low_bits(v, signed);
                    if signed { e.ins().fcvt_from_sint(types::F64, v) } else { e.ins().fcvt_from_uint(types::F64, v) }
                }
                _ => {
                    let wide = e.resize(&Val::scalar(x.elem, v), DType::I64);
                    e.ins().fcvt_from_sint(types::F64, wide.regs[0])
                }
            };
            Ok(e.demote_to_odd(double))
        })?;
        self.float_to_half(&single, to)
    }

    /// Where a 64-bit integer has more than 52 bits: its low 12 bits become bit 12, set if any of them is (round to odd).
    fn fold_low_bits(&mut self, v: Value, signed: bool) -> Value {
        let (zero, low_mask, keep) =
            (self.int(types::I64, 0), self.int(types::I64, 0xfff), self.int(types::I64, !0xfff));
        let low = self.ins().band(v, low_mask);
        let some = self.icmp(IntCC::NotEqual, low, zero);
        let some = self.ins().uextend(types::I64, some);
        let sticky = self.shl(some, 12);
        let high = self.ins().band(v, keep);
        let folded = self.ins().bor(high, sticky);
        // Signed: outside [-2^52, 2^52). Unsigned: at least 2^52.
        let (shifted, bound) = if signed {
            let offset = self.int(types::I64, 1 << 52);
            (self.ins().iadd(v, offset), 1i64 << 53)
        } else {
            (v, 1i64 << 52)
        };
        let bound = self.int(types::I64, bound);
        let large = self.icmp(IntCC::UnsignedGreaterThanOrEqual, shifted, bound);
        self.pick(large, folded, v)
    }

    /// f64 to f32, rounded to odd: an inexact result is the neighbour with the odd significand.
    fn demote_to_odd(&mut self, x: Value) -> Value {
        let near = self.ins().fdemote(types::F32, x);
        let back = self.ins().fpromote(types::F64, near);
        let bits = self.bits(types::I32, near);
        let (magnitude, rounded) = (self.ins().fabs(x), self.ins().fabs(back));
        // Rounded away from zero: step back. (An infinity from a finite value steps back to the largest number.)
        let away = self.fcmp(FloatCC::GreaterThan, rounded, magnitude);
        let step = self.ins().uextend(types::I32, away);
        let toward_zero = self.ins().isub(bits, step);
        let one = self.int(types::I32, 1);
        let odd = self.ins().bor(toward_zero, one);
        // Exact values and NaN stay as they are.
        let inexact = self.fcmp(FloatCC::OrderedNotEqual, back, x);
        let bits = self.pick(inexact, odd, bits);
        self.bits(types::F32, bits)
    }

    // ---- bit sequences, on I32 or I32X4 ----

    fn shl(&mut self, v: Value, n: i64) -> Value {
        let n = self.int(types::I32, n);
        self.ins().ishl(v, n)
    }

    fn shr(&mut self, v: Value, n: i64) -> Value {
        let n = self.int(types::I32, n);
        self.ins().ushr(v, n)
    }

    /// The bits of an f16 (upper half zero) as the bits of the same f32.
    fn f16_to_f32_bits(&mut self, h: Value) -> Value {
        let ty = self.ty(h);
        let (low, sign_bit) = (self.int(ty, 0x7fff), self.int(ty, 0x8000));
        let magnitude = self.ins().band(h, low);
        let m = self.shl(magnitude, 13);
        // Normal: the exponent's bias grows from 15 to 127.
        let rebias = self.int(ty, (127 - 15) << 23);
        let normal = self.ins().iadd(m, rebias);
        // Subnormal: m as the fraction of a number in [2^-14, 2^-13), less 2^-14: exact, and free of subnormal operands.
        let base = self.int(ty, (127 - 14) << 23);
        let with_one = self.ins().iadd(m, base);
        let (a, b) = (self.bits(float_of(ty), with_one), self.bits(float_of(ty), base));
        let difference = self.ins().fsub(a, b);
        let subnormal = self.bits(ty, difference);
        // Infinity and NaN: all exponent bits; a NaN's quiet bit.
        let (exponent, quiet) = (self.int(ty, 0x7f80_0000), self.int(ty, 0x0040_0000));
        let infinite = self.ins().bor(m, exponent);
        let nan = self.ins().bor(infinite, quiet);
        let (first_normal, f16_infinity) = (self.int(ty, 1 << 23), self.int(ty, 0x0f80_0000));
        let is_subnormal = self.icmp(IntCC::SignedLessThan, m, first_normal);
        let is_special = self.icmp(IntCC::SignedGreaterThanOrEqual, m, f16_infinity);
        let is_nan = self.icmp(IntCC::SignedGreaterThan, m, f16_infinity);
        let r = self.pick(is_subnormal, subnormal, normal);
        let r = self.pick(is_special, infinite, r);
        let r = self.pick(is_nan, nan, r);
        let sign = self.ins().band(h, sign_bit);
        let sign = self.shl(sign, 16);
        self.ins().bor(r, sign)
    }

    /// The bits of an f32 as those of the nearest f16, ties to even, in the lower half.
    fn f32_to_f16_bits(&mut self, f: Value) -> Value {
        let ty = self.ty(f);
        let low = self.int(ty, 0x7fff_ffff);
        let a = self.ins().band(f, low);
        let sign = self.ins().bxor(f, a);
        let sign = self.shr(sign, 16);
        // Normal: rebias, round by adding half an ulp less one, plus the lowest kept bit.
        let rounding = self.int(ty, (i64::from(15 - 127) << 23) + 0xfff);
        let one = self.int(ty, 1);
        let kept = self.shr(a, 13);
        let odd = self.ins().band(kept, one);
        let r = self.ins().iadd(a, rounding);
        let r = self.ins().iadd(r, odd);
        let normal = self.shr(r, 13);
        // Subnormal: adding 0.5 leaves the fraction, rounded by the hardware, at the bottom of the sum.
        let half = self.int(ty, 126 << 23);
        let (x, y) = (self.bits(float_of(ty), a), self.bits(float_of(ty), half));
        let sum = self.ins().fadd(x, y);
        let sum = self.bits(ty, sum);
        let subnormal = self.ins().isub(sum, half);
        // NaN keeps the top of its payload and becomes quiet.
        let (payload, quiet, infinity) = (self.int(ty, 0x3ff), self.int(ty, 0x7e00), self.int(ty, 0x7c00));
        let nan = self.ins().band(kept, payload);
        let nan = self.ins().bor(nan, quiet);
        let (first_normal, overflow, f32_infinity) =
            (self.int(ty, (127 - 14) << 23), self.int(ty, (127 + 16) << 23), self.int(ty, 0x7f80_0000));
        let is_subnormal = self.icmp(IntCC::SignedLessThan, a, first_normal);
        let is_large = self.icmp(IntCC::SignedGreaterThanOrEqual, a, overflow);
        let is_nan = self.icmp(IntCC::SignedGreaterThan, a, f32_infinity);
        let r = self.pick(is_subnormal, subnormal, normal);
        let r = self.pick(is_large, infinity, r);
        let r = self.pick(is_nan, nan, r);
        self.ins().bor(r, sign)
    }

    /// The bits of an f32 as those of the nearest bf16, ties to even, in the lower half.
    fn f32_to_bf16_bits(&mut self, f: Value) -> Value {
        let ty = self.ty(f);
        let (low, one, below_half, quiet) =
            (self.int(ty, 0x7fff_ffff), self.int(ty, 1), self.int(ty, 0x7fff), self.int(ty, 0x40));
        let top = self.shr(f, 16);
        let odd = self.ins().band(top, one);
        let r = self.ins().iadd(f, below_half);
        let r = self.ins().iadd(r, odd);
        let rounded = self.shr(r, 16);
        let nan = self.ins().bor(top, quiet);
        let a = self.ins().band(f, low);
        let f32_infinity = self.int(ty, 0x7f80_0000);
        let is_nan = self.icmp(IntCC::SignedGreaterThan, a, f32_infinity);
        self.pick(is_nan, nan, rounded)
    }

    // ---- same bits ----

    /// The bits as another element type of the same width.
    pub fn bitcast(&mut self, x: &Val, to: DType) -> Result<Val> {
        ensure!(
            x.elem.size() == to.size() && (x.elem == DType::Bool) == (to == DType::Bool),
            "bitcast of {} to {to}: widths differ, or one is bool",
            x.elem
        );
        let ty = if x.lanes == 1 { scalar_type(to)? } else { register_type(to, to.size()) };
        let regs = x.regs.iter().map(|&v| self.bits(ty, v)).collect();
        Ok(Val { elem: to, regs, ..*x })
    }
}

/// F32 or F32X4 for I32 or I32X4.
fn float_of(ty: Type) -> Type {
    if ty.is_vector() { types::F32X4 } else { types::F32 }
}

/// I32 or I32X4 for F32 or F32X4.
fn int_of(ty: Type) -> Type {
    if ty.is_vector() { types::I32X4 } else { types::I32 }
}
