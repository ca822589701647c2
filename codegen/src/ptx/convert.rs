//! Conversions: TensorFlow's Cast under the strict rules (NaN to 0, saturation, one rounding) and bit casts.

use anyhow::{Result, bail};
use kiln_ir::DType;

use super::print::Printer;
use super::regs::{Reg, RegClass, bits, float_literal, is_half, is_narrow_int, repr};

impl Printer<'_> {
    /// One lane of a cast.
    pub(super) fn cast(&mut self, from: DType, to: DType, x: Reg) -> Result<Reg> {
        if from == to {
            return Ok(x);
        }
        let (rf, rt) = (repr(from)?, repr(to)?);
        if to == DType::Bool {
            if is_half(from) {
                let wide = self.widen(from, x);
                return self.cast(DType::F32, to, wide);
            }
            // NaN is not zero: true.
            let (cond, zero) = if from.is_float() { ("neu", float_literal(from, 0.0)) } else { ("ne", "0".into()) };
            return Ok(self.op(RegClass::Pred, &format!("setp.{cond}.{}", rf.arith), &[&x, &zero]));
        }
        if from == DType::Bool {
            let (one, zero) =
                if to.is_float() { (float_literal(to, 1.0), float_literal(to, 0.0)) } else { ("1".into(), "0".into()) };
            return Ok(match rt.class {
                // selp has no literals of 16 bits for floats; the bit patterns are integers.
                RegClass::B16 => self.op(RegClass::B16, "selp.b16", &[&one, &zero, &x]),
                class => self.op(class, &format!("selp.{}", class.ptx()), &[&one, &zero, &x]),
            });
        }
        match (from.is_float(), to.is_float()) {
            (true, true) => self.float_to_float(from, to, x),
            (true, false) => self.float_to_int(from, to, x),
            (false, true) => {
                // Registers hold narrow integers extended to 32 bits. One rounding for every pair.
                let source = if rf.class == RegClass::B64 { rf.cvt } else { rf.arith };
                Ok(self.op(rt.class, &format!("cvt.rn.{}.{source}", rt.cvt), &[&x]))
            }
            (false, false) => Ok(match (rf.class, rt.class) {
                (RegClass::B64, RegClass::B32) => {
                    let low = self.op(RegClass::B32, "cvt.u32.u64", &[&x]);
                    self.wrap(to, low)
                }
                (RegClass::B32, RegClass::B64) if from.is_signed() => self.op(RegClass::B64, "cvt.s64.s32", &[&x]),
                (RegClass::B32, RegClass::B64) => self.op(RegClass::B64, "cvt.u64.u32", &[&x]),
                _ => self.wrap(to, x),
            }),
        }
    }

    fn float_to_float(&mut self, from: DType, to: DType, x: Reg) -> Result<Reg> {
        if is_half(from) {
            // Exact in f32, then at most one rounding.
            let wide = self.widen(from, x);
            return self.cast(DType::F32, to, wide);
        }
        let round = if bits(to) < bits(from) { ".rn" } else { "" };
        let (rf, rt) = (repr(from)?, repr(to)?);
        Ok(self.op(rt.class, &format!("cvt{round}.{}.{}", rt.cvt, rf.cvt), &[&x]))
    }

    /// Toward zero, saturated, NaN to 0.
    fn float_to_int(&mut self, from: DType, to: DType, x: Reg) -> Result<Reg> {
        if is_half(from) {
            let wide = self.widen(from, x);
            return self.float_to_int(DType::F32, to, wide);
        }
        let (rf, rt) = (repr(from)?, repr(to)?);
        // The conversion saturates to the register's 32 or 64 bits.
        let mut r = self.op(rt.class, &format!("cvt.rzi.{}.{}", rt.arith, rf.cvt), &[&x]);
        if is_narrow_int(to) {
            let w = bits(to);
            let (lo, hi) =
                if to.is_signed() { (-(1i64 << (w - 1)), (1i64 << (w - 1)) - 1) } else { (0, (1i64 << w) - 1) };
            if to.is_signed() {
                r = self.op(rt.class, "max.s32", &[&r, &lo]);
            }
            r = self.op(rt.class, &format!("min.{}", rt.arith), &[&r, &hi]);
        }
        // The ISA gives 0 for NaN only where neither side has 64 bits.
        if bits(from) == 64 || bits(to) == 64 {
            let p = self.op(RegClass::Pred, &format!("setp.nan.{}", rf.cvt), &[&x, &x]);
            r = self.op(rt.class, &format!("selp.{}", rt.class.ptx()), &[&"0", &r, &p]);
        }
        Ok(r)
    }

    /// All lanes of a bit cast: same lanes, or two 16- or 32-bit lanes for one twice as wide.
    pub(super) fn bitcast(&mut self, from: DType, to: DType, lanes: &[Reg]) -> Result<Vec<Reg>> {
        let (bf, bt) = (bits(from), bits(to));
        if from == DType::Bool || to == DType::Bool {
            bail!("a bool has no bits to reinterpret on a GPU: cast it");
        }
        if bf == bt {
            return lanes.iter().map(|&x| self.bitcast_lane(from, to, x)).collect();
        }
        let mut out = vec![];
        if bt == 2 * bf && bf >= 16 && lanes.len().is_multiple_of(2) {
            for pair in lanes.chunks_exact(2) {
                let half = |p: &mut Self, x| p.raw_half(from, x);
                let (lo, hi) = (half(self, pair[0]), half(self, pair[1]));
                let d = self.fresh(repr(to)?.class);
                self.line(format!("mov.b{bt} {d}, {{{lo}, {hi}}};"));
                out.push(d);
            }
        } else if bf == 2 * bt && bt >= 16 {
            for &x in lanes {
                let class = if bt == 16 { RegClass::B16 } else { repr(to)?.class };
                let (lo, hi) = (self.fresh(class), self.fresh(class));
                self.line(format!("mov.b{bf} {{{lo}, {hi}}}, {x};"));
                for h in [lo, hi] {
                    out.push(if bt == 16 && !is_half(to) { self.extend_half(to, h) } else { h });
                }
            }
        } else {
            bail!("no bit cast from {from}x{} to {to} on a GPU", lanes.len());
        }
        Ok(out)
    }

    /// A 16- or 32-bit element as a register of exactly its width.
    fn raw_half(&mut self, elem: DType, x: Reg) -> Reg {
        match bits(elem) {
            16 if !is_half(elem) => self.op(RegClass::B16, "cvt.u16.u32", &[&x]),
            _ => x,
        }
    }

    /// A 16-bit integer register extended to the 32 bits in which such elements live.
    fn extend_half(&mut self, elem: DType, x: Reg) -> Reg {
        let t = if elem.is_signed() { "s" } else { "u" };
        self.op(RegClass::B32, &format!("cvt.{t}32.{t}16"), &[&x])
    }

    fn bitcast_lane(&mut self, from: DType, to: DType, x: Reg) -> Result<Reg> {
        let (cf, ct) = (repr(from)?.class, repr(to)?.class);
        Ok(match (cf, ct) {
            (a, b) if a == b => self.wrap(to, x),
            (RegClass::B16, RegClass::B32) => self.extend_half(to, x),
            (RegClass::B32, RegClass::B16) => self.op(RegClass::B16, "cvt.u16.u32", &[&x]),
            _ => self.op(ct, &format!("mov.b{}", bits(to)), &[&x]),
        })
    }
}
