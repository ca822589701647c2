//! A thin layer over the kernel builder in which expansions read like formulas.

use anyhow::Result;
use kiln_ir::DType;
use kiln_ir::loops::{Inst, KernelBuilder, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp, UnaryOp};

use super::Caps;

/// Layout of a float format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// Stored mantissa bits.
    pub mantissa: i64,
    /// Exponent bias.
    pub bias: i64,
    /// 1.5 * 2^mantissa: adding it rounds to an integer, which the low bits of the sum then hold.
    pub magic: f64,
}

/// Emits operations on one float type, f32 or f64.
pub(super) struct Emit<'a> {
    pub b: &'a mut KernelBuilder,
    elem: DType,
    caps: Caps,
    /// The type whose accuracy is wanted: f32 also where the computation runs in f64.
    goal: DType,
}

impl<'a> Emit<'a> {
    pub fn new(b: &'a mut KernelBuilder, elem: DType, caps: Caps) -> Emit<'a> {
        Emit { b, elem, caps, goal: elem }
    }

    /// The type computed in.
    pub fn elem(&self) -> DType {
        self.elem
    }

    /// Whether f32's accuracy is enough.
    pub fn short(&self) -> bool {
        self.goal == DType::F32
    }

    pub fn format(&self) -> Format {
        match self.elem {
            DType::F32 => Format { mantissa: 23, bias: 127, magic: 12_582_912.0 },
            _ => Format { mantissa: 52, bias: 1023, magic: 6_755_399_441_055_744.0 },
        }
    }

    /// Runs an f32 expansion in f64 and rounds its result.
    pub fn in_double(&mut self, f: impl FnOnce(&mut Emit) -> Result<V>) -> Result<V> {
        let mut wide = Emit { b: self.b, elem: DType::F64, caps: self.caps, goal: self.goal };
        let r = f(&mut wide)?;
        Ok(self.b.cast(self.elem, r))
    }

    /// An operand in the type computed in.
    pub fn enter(&mut self, x: V) -> V {
        self.b.cast(self.elem, x)
    }

    // ---- constants: scalars, in the outermost block, so that they are computed once ----

    pub fn c(&mut self, x: f64) -> V {
        self.b.push_hoisted(Ty::scalar(self.elem), Inst::ConstFloat(x))
    }

    fn int_elem(&self) -> DType {
        if self.elem == DType::F32 { DType::I32 } else { DType::I64 }
    }

    /// An integer as wide as the float type.
    pub fn i(&mut self, n: i64) -> V {
        let t = Ty::scalar(self.int_elem());
        self.b.push_hoisted(t, Inst::ConstInt(n))
    }

    // ---- arithmetic ----

    pub fn bin(&mut self, op: BinaryOp, x: V, y: V) -> V {
        self.b.binary(op, x, y)
    }
    pub fn add(&mut self, x: V, y: V) -> V {
        self.b.add(x, y)
    }
    pub fn sub(&mut self, x: V, y: V) -> V {
        self.b.sub(x, y)
    }
    pub fn mul(&mut self, x: V, y: V) -> V {
        self.b.mul(x, y)
    }
    pub fn div(&mut self, x: V, y: V) -> V {
        self.bin(BinaryOp::Div, x, y)
    }
    pub fn neg(&mut self, x: V) -> V {
        self.b.unary(UnaryOp::Neg, x)
    }
    pub fn abs(&mut self, x: V) -> V {
        self.b.unary(UnaryOp::Abs, x)
    }
    pub fn sqrt(&mut self, x: V) -> V {
        self.b.unary(UnaryOp::Sqrt, x)
    }

    /// The smaller of x and a constant; NaN stays NaN.
    pub fn min_c(&mut self, x: V, c: f64) -> V {
        let c = self.c(c);
        self.bin(BinaryOp::Min, x, c)
    }

    /// The larger of x and a constant; NaN stays NaN.
    pub fn max_c(&mut self, x: V, c: f64) -> V {
        let c = self.c(c);
        self.bin(BinaryOp::Max, x, c)
    }

    pub fn add_c(&mut self, x: V, c: f64) -> V {
        let c = self.c(c);
        self.add(x, c)
    }

    pub fn mul_c(&mut self, x: V, c: f64) -> V {
        let c = self.c(c);
        self.mul(x, c)
    }

    /// a b + c, with one rounding where the target has it.
    pub fn fma(&mut self, a: V, b: V, c: V) -> V {
        if self.caps.fma {
            return self.b.fma(a, b, c);
        }
        let p = self.mul(a, b);
        self.add(p, c)
    }

    /// a k + c for a constant k.
    pub fn fma_c(&mut self, a: V, k: f64, c: V) -> V {
        let k = self.c(k);
        self.fma(a, k, c)
    }

    /// The polynomial with these coefficients, lowest power first.
    pub fn poly(&mut self, coefficients: &[f64], x: V) -> V {
        let mut rest = coefficients.iter().rev();
        let top = rest.next().copied().unwrap_or(0.0);
        let mut r = self.c(top);
        for &k in rest {
            let k = self.c(k);
            r = self.fma(r, x, k);
        }
        r
    }

    // ---- comparison and selection ----

    pub fn lt(&mut self, x: V, y: V) -> V {
        self.b.compare(CompareOp::Lt, x, y)
    }
    pub fn eq(&mut self, x: V, y: V) -> V {
        self.b.compare(CompareOp::Eq, x, y)
    }
    pub fn lt_c(&mut self, x: V, c: f64) -> V {
        let c = self.c(c);
        self.lt(x, c)
    }
    pub fn gt_c(&mut self, x: V, c: f64) -> V {
        let c = self.c(c);
        self.lt(c, x)
    }
    pub fn eq_c(&mut self, x: V, c: f64) -> V {
        let c = self.c(c);
        self.eq(x, c)
    }
    pub fn sel(&mut self, c: V, x: V, y: V) -> V {
        self.b.select(c, x, y)
    }
    /// A constant where the condition holds.
    pub fn sel_c(&mut self, c: V, x: f64, y: V) -> V {
        let x = self.c(x);
        self.sel(c, x, y)
    }
    pub fn and(&mut self, x: V, y: V) -> V {
        self.bin(BinaryOp::And, x, y)
    }
    pub fn or(&mut self, x: V, y: V) -> V {
        self.bin(BinaryOp::Or, x, y)
    }
    pub fn not(&mut self, x: V) -> V {
        self.b.unary(UnaryOp::Not, x)
    }

    // ---- bits ----

    pub fn bits(&mut self, x: V) -> V {
        let t = self.int_elem();
        self.b.bitcast(t, x)
    }
    pub fn float(&mut self, bits: V) -> V {
        self.b.bitcast(self.elem, bits)
    }
    pub fn shl(&mut self, bits: V, n: i64) -> V {
        let n = self.i(n);
        self.bin(BinaryOp::Shl, bits, n)
    }

    /// |x| with the sign of `sign`.
    pub fn copy_sign(&mut self, x: V, sign: V) -> V {
        let (m, s) = (self.bits(x), self.sign_bit(sign));
        let top = self.i(self.top());
        let low = self.b.unary(UnaryOp::BitNot, top);
        let m = self.bin(BinaryOp::BitAnd, m, low);
        let r = self.bin(BinaryOp::BitOr, m, s);
        self.float(r)
    }

    /// x, which is not negative, with the sign of `sign`: one operation less.
    pub fn with_sign(&mut self, x: V, sign: V) -> V {
        let (m, s) = (self.bits(x), self.sign_bit(sign));
        let r = self.bin(BinaryOp::BitOr, m, s);
        self.float(r)
    }

    /// The bits of x without all but the sign.
    pub fn sign_bit(&mut self, x: V) -> V {
        let bits = self.bits(x);
        let top = self.i(self.top());
        self.bin(BinaryOp::BitAnd, bits, top)
    }

    fn top(&self) -> i64 {
        if self.elem == DType::F32 { i64::from(i32::MIN) } else { i64::MIN }
    }

    /// 2^n from a sum `magic + bias + n`: its low bits move into the exponent.
    pub fn pow2(&mut self, biased: V) -> V {
        let bits = self.bits(biased);
        let n = self.format().mantissa;
        let r = self.shl(bits, n);
        self.float(r)
    }

    // ---- pairs of floats whose unevaluated sum is the value (double-double) ----

    /// The product, exactly.
    pub fn two_prod(&mut self, x: V, y: V) -> (V, V) {
        let p = self.mul(x, y);
        if self.caps.fma {
            let n = self.neg(p);
            return (p, self.b.fma(x, y, n));
        }
        // Dekker: the halves' products are exact.
        let (xh, xl) = self.split(x);
        let (yh, yl) = self.split(y);
        let hh = self.mul(xh, yh);
        let e = self.sub(hh, p);
        let hl = self.mul(xh, yl);
        let e = self.add(e, hl);
        let lh = self.mul(xl, yh);
        let e = self.add(e, lh);
        let ll = self.mul(xl, yl);
        (p, self.add(e, ll))
    }

    /// x rounded to half of its mantissa, and the rest, which has a bit less than the other half (its sign counts): all
    /// products of such parts are exact. Rounded by the bits, so that no intermediate product overflows.
    pub fn split(&mut self, x: V) -> (V, V) {
        let bits = self.bits(x);
        let low = if self.elem == DType::F32 { 12 } else { 27 };
        let (half, mask) = (self.i(1 << (low - 1)), self.i(!((1i64 << low) - 1)));
        let h = self.add(bits, half);
        let h = self.bin(BinaryOp::BitAnd, h, mask);
        let h = self.float(h);
        (h, self.sub(x, h))
    }

    /// The sum, exactly, where |x| >= |y| (Dekker).
    pub fn fast_two_sum(&mut self, x: V, y: V) -> (V, V) {
        let s = self.add(x, y);
        let t = self.sub(s, x);
        (s, self.sub(y, t))
    }
}
