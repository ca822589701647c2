//! Powers of floats and of integers.

use anyhow::Result;
use kiln_ir::loops::{Inst, KernelBuilder, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp, UnaryOp};

use super::emit::Emit;
use super::exp::{exp_pair, ln2};
use super::log::{Parts, normalize, parts};
use super::tables::{LOG_64, LOG_POW_64};

/// log a as a pair, for a positive a; f64.
fn log_pair(e: &mut Emit, a: V) -> (V, V) {
    let (t, shift) = normalize(e, a);
    let Parts { m, e: n, .. } = parts(e, t);
    let n = e.add(n, shift);
    let f = e.add_c(m, -1.0);
    let (hi, lo) = ln2(e);
    let two = e.c(2.0);
    let g = e.add(f, two);
    let s = e.div(f, g);
    if e.short() {
        // 2 s + s R, plenty for f32.
        let z = e.mul(s, s);
        let p = e.poly(&LOG_64, z);
        let r = e.mul(z, p);
        let r = e.add(r, two);
        let r = e.mul(r, s);
        let r = e.fma_c(n, lo, r);
        let r = e.fma_c(n, hi, r);
        return (r, e.c(0.0));
    }
    // s = f / (2 + f) as a pair: the quotient's exact rest over the divisor.
    let g_low = e.sub(g, two);
    let g_low = e.sub(f, g_low);
    let (p, p_low) = e.two_prod(s, g);
    let rest = e.sub(f, p);
    let rest = e.sub(rest, p_low);
    let t = e.mul(s, g_low);
    let rest = e.sub(rest, t);
    let s_low = e.div(rest, g);
    // z = s^2 as a pair; t = 2/3 z + z^2 R(z) as a pair.
    let (z, z_low) = e.two_prod(s, s);
    let t = e.mul(s, s_low);
    let t = e.add(t, t);
    let z_low = e.add(z_low, t);
    let third = e.c(2.0 / 3.0);
    let (t, t_low) = e.two_prod(z, third);
    let t_low = e.fma(z_low, third, t_low);
    // 2/3 minus its double: 2/3 * 2^-54 (the double is below by a third of its last bit).
    let t_low = e.fma_c(z, 3.700_743_415_417_188e-17, t_low);
    let r = e.poly(&LOG_POW_64, z);
    let zz = e.mul(z, z);
    let r = e.mul(zz, r);
    let (t, rest) = e.fast_two_sum(t, r);
    let t_low = e.add(t_low, rest);
    // 2 s + s t.
    let (q, q_low) = e.two_prod(s, t);
    let q_low = e.fma(s, t_low, q_low);
    let q_low = e.fma(s_low, t, q_low);
    let s2 = e.add(s, s);
    let (l, rest) = e.fast_two_sum(s2, q);
    let l_low = e.add(q_low, rest);
    let l_low = e.fma(s_low, two, l_low);
    // n ln 2: the first product is exact; ln 2's second part as a pair.
    let big = e.mul_c(n, hi);
    let (c, c_low) = {
        let k = e.c(lo);
        e.two_prod(n, k)
    };
    // Where n is not 0 its term is the larger.
    let (h, rest) = e.fast_two_sum(big, l);
    let low = e.add(l_low, rest);
    let (h, rest) = e.fast_two_sum(h, c);
    let low = e.add(low, rest);
    let low = e.add(low, c_low);
    e.fast_two_sum(h, low)
}

/// x^y with C's special cases, in f64.
pub(super) fn pow(e: &mut Emit, x: V, y: V) -> V {
    let a = e.abs(x);
    let (l, l_low) = log_pair(e, a);
    let (zero, infinity) = (e.c(0.0), e.c(f64::INFINITY));
    let is_zero = e.eq(a, zero);
    let l = e.sel_c(is_zero, f64::NEG_INFINITY, l);
    let is_inf = e.eq(a, infinity);
    let l = e.sel(is_inf, infinity, l);
    let nan = e.b.compare(CompareOp::Ne, x, x);
    let l = e.sel(nan, x, l);
    let r = if e.short() {
        let p = e.mul(y, l);
        super::exp::exp(e, p)
    } else {
        // Where y is huge the product is out of range whatever its last bits; there Dekker's halves would overflow.
        let (p, low) = e.two_prod(y, l);
        let low = e.fma(y, l_low, low);
        exp_pair(e, p, low)
    };
    // |x| = 1 has logarithm 0, which an infinite y would make NaN.
    let unit = e.eq_c(a, 1.0);
    let ordered = e.eq(y, y);
    let unit = e.and(unit, ordered);
    let r = e.sel_c(unit, 1.0, r);
    // A negative base: the sign of an odd exponent; NaN for a fraction.
    let whole = e.b.unary(UnaryOp::Trunc, y);
    let is_int = e.eq(whole, y);
    let half = e.mul_c(y, 0.5);
    let half_whole = e.b.unary(UnaryOp::Trunc, half);
    let even = e.eq(half, half_whole);
    let odd = e.not(even);
    let odd = e.and(odd, is_int);
    let sign = e.sign_bit(x);
    let bits = e.bits(r);
    let bits = e.bin(BinaryOp::BitOr, bits, sign);
    let signed = e.float(bits);
    let r = e.sel(odd, signed, r);
    let negative = e.lt(x, zero);
    let finite = e.lt(a, infinity);
    let fraction = e.not(is_int);
    let bad = e.and(negative, finite);
    let bad = e.and(bad, fraction);
    let r = e.sel_c(bad, f64::NAN, r);
    let r = e.select_nan(y, r);
    let one = e.eq_c(x, 1.0);
    let none = e.eq(y, zero);
    let trivial = e.or(one, none);
    e.sel_c(trivial, 1.0, r)
}

impl Emit<'_> {
    /// NaN where `test` is NaN, else `r`.
    fn select_nan(&mut self, test: V, r: V) -> V {
        let nan = self.b.compare(CompareOp::Ne, test, test);
        self.sel(nan, test, r)
    }
}

/// x^y of integers by squaring, with wrapping: one step for each bit that an exponent may have. Negative exponents are
/// to be refused before; here they count as 0.
pub(super) fn integer(b: &mut KernelBuilder, x: V, y: V) -> Result<V> {
    let d = b.ty(x).elem;
    let bits = 8 * d.size() - usize::from(d.is_signed());
    let (zero, one) =
        (b.push_hoisted(Ty::scalar(d), Inst::ConstInt(0)), b.push_hoisted(Ty::scalar(d), Inst::ConstInt(1)));
    let (mut base, mut rest, mut r) = (x, b.binary(BinaryOp::Max, y, zero), one);
    for step in 0..bits {
        let bit = b.binary(BinaryOp::BitAnd, rest, one);
        let set = b.compare(CompareOp::Ne, bit, zero);
        let factor = b.select(set, base, one);
        r = b.mul(r, factor);
        if step + 1 < bits {
            base = b.mul(base, base);
            rest = b.binary(BinaryOp::Shr, rest, one);
        }
    }
    Ok(r)
}
