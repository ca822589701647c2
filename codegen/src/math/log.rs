//! Logarithms: x = m 2^e with m in [sqrt(1/2), sqrt(2)), log x = e ln 2 + log(1 + f), f = m - 1.

use kiln_ir::DType;
use kiln_ir::loops::V;
use kiln_ir::scalar::BinaryOp;

use super::emit::Emit;
use super::exp::ln2;
use super::tables::{LOG_32, LOG_64};

/// A positive normal number taken apart.
pub(super) struct Parts {
    /// Mantissa, in [sqrt(1/2), sqrt(2)).
    pub m: V,
    /// Exponent as a float.
    pub e: V,
    /// Exponent, shifted to the exponent field of the float's bits.
    pub field: V,
}

/// Takes a positive normal number apart; others give some finite parts.
pub(super) fn parts(e: &mut Emit, x: V) -> Parts {
    let f = e.format();
    let bits = e.bits(x);
    let root = if e.elem() == DType::F32 {
        i64::from(std::f32::consts::FRAC_1_SQRT_2.to_bits())
    } else {
        std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64
    };
    // Subtracting sqrt(1/2)'s bits moves the step of the exponent field from 1 to sqrt(1/2).
    let field_mask = e.i(!((1i64 << f.mantissa) - 1));
    let offset = e.i(root);
    let moved = e.sub(bits, offset);
    let field = e.bin(BinaryOp::BitAnd, moved, field_mask);
    let m = e.sub(bits, field);
    let m = e.float(m);
    if e.elem() == DType::F32 {
        let shift = e.i(f.mantissa);
        let n = e.bin(BinaryOp::Shr, field, shift);
        return Parts { m, e: e.b.cast(DType::F32, n), field };
    }
    // Many machines convert no vectors of i64: the exponent is placed below the hidden bit of 2^mantissa instead.
    let lift = e.i(f.bias << f.mantissa);
    let positive = e.add(field, lift);
    let shift = e.i(f.mantissa);
    let n = e.bin(BinaryOp::Shr, positive, shift);
    let two = e.i((f.bias + f.mantissa) << f.mantissa);
    let n = e.bin(BinaryOp::BitOr, n, two);
    let n = e.float(n);
    let exponent = e.add_c(n, -((1i64 << f.mantissa) as f64) - f.bias as f64);
    Parts { m, e: exponent, field }
}

/// x as a normal number and what is to be added to its exponent.
pub(super) fn normalize(e: &mut Emit, x: V) -> (V, V) {
    let f = e.format();
    let min_normal = 2f64.powi(1 - f.bias as i32);
    let small = e.lt_c(x, min_normal);
    let scaled = e.mul_c(x, 2f64.powi(f.mantissa as i32 + 1));
    let x = e.sel(small, scaled, x);
    let (zero, shift) = (e.c(0.0), e.c(-(f.mantissa as f64) - 1.0));
    (x, e.sel(small, shift, zero))
}

/// n ln 2 + log(1 + f).
fn combine(e: &mut Emit, f: V, n: V) -> V {
    let (hi, lo) = ln2(e);
    let z = e.mul(f, f);
    if e.elem() == DType::F32 {
        let p = e.poly(&LOG_32, f);
        let fz = e.mul(f, z);
        let p = e.mul(p, fz);
        let p = e.fma_c(n, lo, p);
        let p = e.fma_c(z, -0.5, p);
        let r = e.add(f, p);
        return e.fma_c(n, hi, r);
    }
    // log(1 + f) = f - (f^2/2 - s (f^2/2 + R)), s = f / (2 + f), s R = 2 atanh(s) - 2 s (as FreeBSD's msun arranges it).
    let den = e.add_c(f, 2.0);
    let s = e.div(f, den);
    let w = e.mul(s, s);
    let p = e.poly(&LOG_64, w);
    let r = e.mul(w, p);
    let half = e.mul_c(z, 0.5);
    let t = e.add(half, r);
    let low = e.mul_c(n, lo);
    let t = e.fma(s, t, low);
    let t = e.sub(half, t);
    let t = e.sub(f, t);
    e.fma_c(n, hi, t)
}

/// log x.
pub(super) fn log(e: &mut Emit, x: V) -> V {
    let (t, shift) = normalize(e, x);
    let Parts { m, e: n, .. } = parts(e, t);
    let n = e.add(n, shift);
    let f = e.add_c(m, -1.0);
    let r = combine(e, f, n);
    specials(e, x, x, r)
}

/// The result at the ends of the domain of log `u`: NaN below 0, -inf at 0, +inf and NaN as `x` has them.
fn specials(e: &mut Emit, x: V, u: V, r: V) -> V {
    let positive = e.gt_c(u, 0.0);
    let zero = e.eq_c(u, 0.0);
    let (pole, nan) = (e.c(f64::NEG_INFINITY), e.c(f64::NAN));
    let outside = e.sel(zero, pole, nan);
    let r = e.sel(positive, r, outside);
    let infinite = e.eq_c(x, f64::INFINITY);
    e.sel(infinite, x, r)
}

/// log(1 + x): u = 1 + x rounded, c the exact rest of that sum; f is corrected by c / 2^e.
pub(super) fn log1p(e: &mut Emit, x: V) -> V {
    let one = e.c(1.0);
    let u = e.add(x, one);
    let back = e.sub(u, one);
    let c1 = e.sub(x, back);
    let c2 = e.sub(u, back);
    let c2 = e.sub(one, c2);
    let c = e.add(c1, c2);
    let Parts { m, e: n, field } = parts(e, u);
    // 2^-e; garbage for the largest exponents, where c does not matter any more.
    let f = e.format();
    let unit = e.i(f.bias << f.mantissa);
    let scale = e.sub(unit, field);
    let scale = e.float(scale);
    let c = e.mul(c, scale);
    let near = e.lt_c(x, 2f64.powi(f.mantissa as i32 + 10));
    let zero = e.c(0.0);
    let c = e.sel(near, c, zero);
    let f = e.sub(m, one);
    let f = e.add(f, c);
    let r = combine(e, f, n);
    let r = specials(e, x, u, r);
    // -0 + 1 forgets the sign.
    let none = e.eq(x, zero);
    e.sel(none, x, r)
}
