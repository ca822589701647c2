//! The exponential and what is computed from it: exp, expm1, sigmoid, tanh, sinh, cosh.
//!
//! x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite, "Software Manual for the Elementary Functions", 1980): n comes
//! from adding 1.5 * 2^mantissa, whose low bits then hold it, and moves into an exponent by one shift.

use kiln_ir::DType;
use kiln_ir::loops::V;

use super::emit::Emit;
use super::tables::{EXP_32, EXP_64};

/// A reduced argument.
pub(super) struct Reduced {
    /// The rest, |r| <= ln 2 / 2.
    pub r: V,
    /// The multiple of ln 2.
    pub n: V,
    /// magic + offset + n.
    biased: V,
}

/// ln 2 in two parts; the first has so many trailing zeros that its product with n is exact.
pub(super) fn ln2(e: &Emit) -> (f64, f64) {
    if e.elem() == DType::F32 {
        (0.693_359_375, -2.121_944_4e-4)
    } else {
        (f64::from_bits(0x3fe6_2e42_fee0_0000), f64::from_bits(0x3dea_39ef_3579_3c76))
    }
}

/// The multiple n of ln 2 nearest to x: magic + offset + n, and n.
fn multiple(e: &mut Emit, x: V, offset: i64) -> (V, V) {
    let magic = e.format().magic + offset as f64;
    let magic = e.c(magic);
    let biased = e.fma_c(x, std::f64::consts::LOG2_E, magic);
    (biased, e.sub(biased, magic))
}

/// `offset` goes into the biased sum.
fn reduce(e: &mut Emit, x: V, offset: i64) -> Reduced {
    let (biased, n) = multiple(e, x, offset);
    let (hi, lo) = ln2(e);
    let r = e.fma_c(n, -hi, x);
    let r = e.fma_c(n, -lo, r);
    Reduced { r, n, biased }
}

fn table(e: &Emit) -> &'static [f64] {
    if e.short() { &EXP_32 } else { &EXP_64 }
}

/// e^r for a reduced argument.
fn exp_reduced(e: &mut Emit, r: V) -> V {
    let q = e.poly(table(e), r);
    let one = e.c(1.0);
    let q = e.fma(q, r, one);
    e.fma(q, r, one)
}

/// (e^x - 1) 2^-k for x where 2^(n - k) is finite, as 2^(n - k) (e^r - 1) + (2^(n - k) - 2^-k). The rest r is kept as
/// x - n hi, which is exact, and n lo: rounding their sum, or e^r - 1, would each cost up to an ULP where the two terms
/// nearly cancel.
fn scaled_expm1(e: &mut Emit, x: V, k: i64) -> V {
    let (biased, n) = multiple(e, x, e.format().bias - k);
    let (hi, lo) = ln2(e);
    let t = e.fma_c(n, -hi, x);
    let c = e.mul_c(n, -lo);
    let r = e.add(t, c);
    let q = e.poly(table(e), r);
    let z = e.mul(r, r);
    let rest = e.fma(z, q, c);
    let s = e.pow2(biased);
    let whole = e.add_c(s, -(2f64.powi(-k as i32)));
    let first = e.fma(s, t, whole);
    e.fma(s, rest, first)
}

/// e^x for x below the overflow threshold's neighbourhood: the scale is applied in two halves, so that only the last
/// product rounds to a subnormal or to infinity. `low` is added to the reduced argument.
fn exp_clamped(e: &mut Emit, x: V, low: Option<V>) -> V {
    let f = e.format();
    let Reduced { r, n, biased } = reduce(e, x, 2 * f.bias);
    let r = match low {
        Some(l) => e.add(r, l),
        None => r,
    };
    let p = exp_reduced(e, r);
    let magic = e.c(f.magic + f.bias as f64);
    let half = e.fma_c(n, 0.5, magic);
    let s1 = e.pow2(half);
    // The difference of the bits is n - round(n / 2) + bias; what is above is shifted out.
    let (all, half) = (e.bits(biased), e.bits(half));
    let rest = e.sub(all, half);
    let s2 = e.shl(rest, f.mantissa);
    let s2 = e.float(s2);
    let p = e.mul(p, s1);
    e.mul(p, s2)
}

/// Where e^x is certainly 0, and where certainly infinite.
fn range(e: &Emit) -> (f64, f64) {
    if e.elem() == DType::F32 { (-104.0, 89.0) } else { (-746.0, 710.0) }
}

/// e^x.
pub(super) fn exp(e: &mut Emit, x: V) -> V {
    let (low, high) = range(e);
    let x = e.max_c(x, low);
    let x = e.min_c(x, high);
    exp_clamped(e, x, None)
}

/// e^(x + low) for |low| much smaller than 1; `low` is used where x is in range.
pub(super) fn exp_pair(e: &mut Emit, x: V, low: V) -> V {
    let (below, above) = range(e);
    let t = e.max_c(x, below);
    let t = e.min_c(t, above);
    let same = e.eq(t, x);
    let zero = e.c(0.0);
    let low = e.sel(same, low, zero);
    exp_clamped(e, t, Some(low))
}

/// (e^x - 1) / 4, x <= 710.6: finite wherever sinh x is.
pub(super) fn quarter_expm1(e: &mut Emit, x: V) -> V {
    scaled_expm1(e, x, 2)
}

/// e^x / 4, 0 <= x <= 710.6.
pub(super) fn quarter_exp(e: &mut Emit, x: V) -> V {
    let f = e.format();
    let Reduced { r, biased, .. } = reduce(e, x, f.bias - 2);
    let p = exp_reduced(e, r);
    let s = e.pow2(biased);
    e.mul(p, s)
}

/// e^x - 1.
pub(super) fn expm1(e: &mut Emit, x: V) -> V {
    let (below, above, tiny) =
        if e.elem() == DType::F32 { (-18.0, 89.0, 2f64.powi(-25)) } else { (-38.0, 710.0, 2f64.powi(-54)) };
    let t = e.max_c(x, below);
    let t = e.min_c(t, above);
    let h = scaled_expm1(e, t, 1);
    let r = e.add(h, h);
    // Halving a subnormal would round, and the sum with 0 would lose the sign of -0.
    let a = e.abs(x);
    let small = e.lt_c(a, tiny);
    e.sel(small, x, r)
}

/// 1 / (1 + e^-x), from z = e^-|x|: 1 / (1 + z) or z / (1 + z).
pub(super) fn sigmoid(e: &mut Emit, x: V) -> V {
    let (below, _) = range(e);
    let a = e.abs(x);
    let a = e.neg(a);
    let a = e.max_c(a, below);
    let z = exp_clamped(e, a, None);
    let one = e.c(1.0);
    let negative = e.lt_c(x, 0.0);
    let num = e.sel(negative, z, one);
    let den = e.add(z, one);
    e.div(num, den)
}

/// With E = e^(2|x|) - 1: E / (E + 2). Beyond the clamp the quotient rounds to 1.
pub(super) fn tanh(e: &mut Emit, x: V) -> V {
    let a = e.abs(x);
    let a = e.add(a, a);
    let a = e.min_c(a, if e.elem() == DType::F32 { 18.2 } else { 39.0 });
    let em1 = scaled_expm1(e, a, 0);
    let den = e.add_c(em1, 2.0);
    let t = e.div(em1, den);
    // h / (1 + h) = h - h (h / (1 + h)) with h = E / 2: the roundings of the sum and the quotient shrink with h.
    let h = e.mul_c(em1, 0.5);
    let minus = e.neg(t);
    let near = e.fma(h, minus, h);
    let small = e.lt_c(em1, 1.0);
    let t = e.sel(small, near, t);
    e.with_sign(t, x)
}
