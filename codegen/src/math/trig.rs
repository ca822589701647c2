//! Sine, cosine, tangent over the whole range, and the inverse functions.
//!
//! The argument is multiplied by 2/pi with as many bits of that as its exponent asks for (Payne and Hanek, "Radian
//! reduction for trigonometric functions", 1983): the words of 2/pi that only contribute multiples of 4 are skipped by
//! selection, the next ones give the quadrant and its fraction. f32 runs this in f64 with exact products of words of 28
//! bits; f64 uses words of 53 bits and exact products as pairs.

use kiln_ir::DType;
use kiln_ir::loops::V;
use kiln_ir::scalar::{BinaryOp, CompareOp, UnaryOp};

use super::emit::Emit;
use super::tables::{
    ASIN_32, ASIN_64, ATAN_32, ATAN_64, COS_32, COS_64, SIN_32, SIN_64, TWO_OVER_PI_28, TWO_OVER_PI_53,
};

/// pi/2 as a pair.
const HALF_PI: (f64, f64) = (std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17);

/// An angle modulo pi/2.
struct Angle {
    /// The rest, |r| <= pi/4, as a pair.
    r: V,
    low: V,
    /// The low bits of an integer: the multiple of pi/2.
    quadrant: V,
}

/// `v` minus the nearest multiple of 4.
fn modulo4(e: &mut Emit, v: V) -> V {
    let q = e.mul_c(v, 0.25);
    let q = e.b.unary(UnaryOp::Rint, q);
    let q = e.mul_c(q, 4.0);
    e.sub(v, q)
}

/// The bits of an integral float below 2^51: the integer's own in two's complement.
fn integer_bits(e: &mut Emit, n: V) -> V {
    let magic = e.format().magic;
    let n = e.add_c(n, magic);
    e.bits(n)
}

fn reduce(e: &mut Emit, x: V) -> Angle {
    let a = e.abs(x);
    let (n, f, f_low) = if e.short() { turns_short(e, x, a) } else { turns_long(e, x, a) };
    // Times pi/2.
    let (hi, lo) = (e.c(HALF_PI.0), e.c(HALF_PI.1));
    let (r, low) = if e.short() {
        (e.mul(f, hi), e.c(0.0))
    } else {
        let (r, low) = e.two_prod(f, hi);
        let low = e.fma(f, lo, low);
        let low = e.fma(f_low, hi, low);
        e.fast_two_sum(r, low)
    };
    let quadrant = integer_bits(e, n);
    // Small angles are their own rest: exact, with the sign of zero.
    let small = e.lt_c(a, std::f64::consts::FRAC_PI_4);
    let zero = e.c(0.0);
    let none = e.i(0);
    let (r, low) = (e.sel(small, x, r), e.sel(small, zero, low));
    Angle { r, low, quadrant: e.sel(small, none, quadrant) }
}

/// x 2/pi modulo 4 as an integer and a fraction, for an f32 in f64: the word j of 28 bits is skipped while
/// ulp(x) 2^(-28 (j + 1)) >= 4, that is for exponents from 53, 81, 109 on.
fn turns_short(e: &mut Emit, x: V, a: V) -> (V, V, V) {
    let thresholds = [53, 81, 109];
    let skips: Vec<V> = thresholds
        .iter()
        .map(|&t| {
            let least = e.c(2f64.powi(t));
            e.b.compare(CompareOp::Ge, a, least)
        })
        .collect();
    let pick = |e: &mut Emit, value: &dyn Fn(usize) -> f64| {
        let mut r = e.c(value(0));
        for (i, &c) in skips.iter().enumerate() {
            r = e.sel_c(c, value(i + 1), r);
        }
        r
    };
    let mut terms = vec![];
    for i in 0..5 {
        let w = pick(e, &|skip| TWO_OVER_PI_28[skip + i] * 2f64.powi(-28 * (skip + i + 1) as i32));
        terms.push(e.mul(x, w));
    }
    let t0 = modulo4(e, terms[0]);
    let t1 = modulo4(e, terms[1]);
    let y = e.add(t0, t1);
    let y = e.add(y, terms[2]);
    let n = e.b.unary(UnaryOp::Rint, y);
    let f = e.sub(t0, n);
    let f = e.add(f, t1);
    let rest = e.add(terms[3], terms[4]);
    let rest = e.add(terms[2], rest);
    let f = e.add(f, rest);
    let zero = e.c(0.0);
    (n, f, zero)
}

/// The same for f64 with words of 53 bits: word j is skipped while the exponent is at least 53 (j + 1) + 54. The
/// fraction is a pair with an absolute error below 2^-104.
fn turns_long(e: &mut Emit, x: V, a: V) -> (V, V, V) {
    const USED: usize = 5;
    // The number of skipped words from the exponent.
    let f = e.format();
    let bits = e.bits(a);
    let shift = e.i(f.mantissa);
    let exponent = e.bin(BinaryOp::Shr, bits, shift);
    let hidden = e.i((f.bias + f.mantissa) << f.mantissa);
    let exponent = e.bin(BinaryOp::BitOr, exponent, hidden);
    let exponent = e.float(exponent);
    let exponent = e.add_c(exponent, -(2f64.powi(52)) - 1023.0);
    // (E - 54) / 53, moved by half a unit so that the quotient's rounding does not matter.
    let skip = e.add_c(exponent, -53.5);
    let skip = e.mul_c(skip, 1.0 / 53.0);
    let skip = e.b.unary(UnaryOp::Floor, skip);
    let skip = e.max_c(skip, 0.0);
    let skip = e.min_c(skip, 18.0);
    // A barrel shifter over the table: by 16, 8, 4, 2, 1.
    let mut window: Vec<V> = TWO_OVER_PI_53.iter().map(|&w| e.c(w)).collect();
    let mut rest = skip;
    for step in [16usize, 8, 4, 2, 1] {
        let threshold = e.c(step as f64);
        let taken = e.b.compare(CompareOp::Ge, rest, threshold);
        let less = e.sub(rest, threshold);
        rest = e.sel(taken, less, rest);
        // What later stages can reach.
        let keep = (USED + step - 1).min(window.len());
        window = (0..keep)
            .map(|i| match window.get(i + step) {
                Some(&w) => e.sel(taken, w, window[i]),
                None => window[i],
            })
            .collect();
    }
    // x 2^(-53 (skip + 1)), then one 2^-53 for each further word.
    let unit = e.c(f.magic + f.bias as f64 - 53.0);
    let scale = e.fma_c(skip, -53.0, unit);
    let scale = e.pow2(scale);
    let xs = e.mul(x, scale);
    let mut terms = vec![];
    for (i, &w) in window.iter().take(USED).enumerate() {
        let w = if i == 0 { w } else { e.mul_c(w, 2f64.powi(-53 * i as i32)) };
        terms.push(e.two_prod(xs, w));
    }
    let (h0, l0) = (modulo4(e, terms[0].0), modulo4(e, terms[0].1));
    let h1 = modulo4(e, terms[1].0);
    let (l1, h2, l2) = (terms[1].1, terms[2].0, terms[2].1);
    // Exact where words are skipped (multiples of 2^-51 up to 4), else a pair.
    let (first, e0) = two_sum(e, h0, l0);
    let first = modulo4(e, first);
    let y = e.add(first, h1);
    let z = e.add(l1, h2);
    let y = e.add(y, z);
    let n = e.b.unary(UnaryOp::Rint, y);
    let v = e.sub(first, n);
    let (v, e1) = two_sum(e, v, h1);
    let (v, e2) = two_sum(e, v, l1);
    let (v, e3) = two_sum(e, v, h2);
    let low = e.add(e0, e1);
    let low = e.add(low, e2);
    let low = e.add(low, e3);
    let low = e.add(low, l2);
    let low = e.add(low, terms[3].0);
    let tail = e.add(terms[3].1, terms[4].0);
    let low = e.add(low, tail);
    let (v, low) = two_sum(e, v, low);
    (n, v, low)
}

/// The sum and its rounding error (Knuth).
fn two_sum(e: &mut Emit, x: V, y: V) -> (V, V) {
    let s = e.add(x, y);
    let t = e.sub(s, x);
    let u = e.sub(s, t);
    let u = e.sub(x, u);
    let t = e.sub(y, t);
    (s, e.add(u, t))
}

/// sin and cos of a reduced angle.
fn kernels(e: &mut Emit, a: &Angle) -> (V, V) {
    let z = e.mul(a.r, a.r);
    let s = e.poly(if e.short() { &SIN_32 } else { &SIN_64 }, z);
    let c = e.poly(if e.short() { &COS_32 } else { &COS_64 }, z);
    let rz = e.mul(a.r, z);
    // sin(r + l) = r + (r^3 S + l (1 - z / 2)); cos(r + l) = 1 - z/2 + (z^2 C - r l), the rounding of 1 - z/2 put back.
    let one = e.c(1.0);
    let half = e.mul_c(z, 0.5);
    let w = e.sub(one, half);
    let zz = e.mul(z, z);
    if e.short() {
        return (e.fma(rz, s, a.r), e.fma(zz, c, w));
    }
    let t = e.mul(rz, s);
    let t = e.fma(a.low, w, t);
    let sin = e.add(a.r, t);
    let lost = e.sub(one, w);
    let lost = e.sub(lost, half);
    let rl = e.mul(a.r, a.low);
    let t = e.sub(lost, rl);
    let t = e.fma(zz, c, t);
    (sin, e.add(w, t))
}

/// `v` with its sign flipped where `quadrant` has this bit (given as its value). f64 only, as all of this file is.
fn flip(e: &mut Emit, v: V, quadrant: V, bit: i64) -> V {
    let at = e.i(bit);
    let top = e.i(63 - bit.trailing_zeros() as i64);
    let b = e.bin(BinaryOp::BitAnd, quadrant, at);
    let b = e.bin(BinaryOp::Shl, b, top);
    let v = e.bits(v);
    let v = e.bin(BinaryOp::BitXor, v, b);
    e.float(v)
}

fn odd(e: &mut Emit, quadrant: V) -> V {
    let (one, zero) = (e.i(1), e.i(0));
    let b = e.bin(BinaryOp::BitAnd, quadrant, one);
    e.b.compare(CompareOp::Ne, b, zero)
}

/// sin x.
pub(super) fn sin(e: &mut Emit, x: V) -> V {
    let a = reduce(e, x);
    let (s, c) = kernels(e, &a);
    let swap = odd(e, a.quadrant);
    let r = e.sel(swap, c, s);
    let r = flip(e, r, a.quadrant, 2);
    keep_zero(e, x, r)
}

/// The polynomial's sum forgets the sign of -0.
fn keep_zero(e: &mut Emit, x: V, r: V) -> V {
    let none = e.eq_c(x, 0.0);
    e.sel(none, x, r)
}

/// cos x: sin of the next quadrant.
pub(super) fn cos(e: &mut Emit, x: V) -> V {
    let a = reduce(e, x);
    let (s, c) = kernels(e, &a);
    let swap = odd(e, a.quadrant);
    let r = e.sel(swap, s, c);
    let one = e.i(1);
    let next = e.add(a.quadrant, one);
    flip(e, r, next, 2)
}

/// tan x: sin / cos, or -cos / sin in odd quadrants.
pub(super) fn tan(e: &mut Emit, x: V) -> V {
    let a = reduce(e, x);
    let (s, c) = kernels(e, &a);
    let swap = odd(e, a.quadrant);
    let (num, den) = (e.sel(swap, c, s), e.sel(swap, s, c));
    let r = e.div(num, den);
    let r = flip(e, r, a.quadrant, 1);
    keep_zero(e, x, r)
}

/// (sin(pi x), cos(pi x)) / the sign of the whole part: for reflection formulas, up to a common sign.
pub(super) fn sin_cos_pi(e: &mut Emit, x: V) -> (V, V) {
    let n = e.b.unary(UnaryOp::Rint, x);
    let f = e.sub(x, n);
    // To a quarter: |f| <= 1/4, or 1/2 - |f|.
    let a = e.abs(f);
    let half = e.c(0.5);
    let other = e.sub(half, a);
    let far = e.gt_c(a, 0.25);
    let t = e.sel(far, other, a);
    let r = e.mul_c(t, std::f64::consts::PI);
    let (low, quadrant) = (e.c(0.0), e.i(0));
    let (s, c) = kernels(e, &Angle { r, low, quadrant });
    let (sin, cos) = (e.sel(far, c, s), e.sel(far, s, c));
    let back = e.neg(sin);
    let negative = e.lt_c(f, 0.0);
    (e.sel(negative, back, sin), cos)
}

/// u + u^3 A(u^2).
fn atan_kernel(e: &mut Emit, u: V) -> V {
    let z = e.mul(u, u);
    let p = e.poly(if e.short() { &ATAN_32 } else { &ATAN_64 }, z);
    let uz = e.mul(u, z);
    e.fma(uz, p, u)
}

/// tan(pi/8), above which arguments are turned by pi/4.
const TAN_PI_8: f64 = std::f64::consts::SQRT_2 - 1.0;

/// atan x = atan |x| with x's sign; |x| itself, pi/4 + atan((a - 1) / (a + 1)), or pi/2 - atan(1 / a).
pub(super) fn atan(e: &mut Emit, x: V) -> V {
    let a = e.abs(x);
    let (middle, high) = (e.gt_c(a, TAN_PI_8), e.gt_c(a, 1.0 / TAN_PI_8));
    let (below, above) = (e.add_c(a, -1.0), e.add_c(a, 1.0));
    let one = e.c(1.0);
    let num = e.sel(middle, below, a);
    let num = e.sel_c(high, -1.0, num);
    let den = e.sel(middle, above, one);
    let den = e.sel(high, a, den);
    let u = e.div(num, den);
    let p = atan_kernel(e, u);
    let zero = e.c(0.0);
    let hi = e.sel_c(middle, HALF_PI.0 / 2.0, zero);
    let hi = e.sel_c(high, HALF_PI.0, hi);
    let lo = e.sel_c(middle, HALF_PI.1 / 2.0, zero);
    let lo = e.sel_c(high, HALF_PI.1, lo);
    let p = e.add(p, lo);
    let r = e.add(hi, p);
    e.with_sign(r, x)
}

/// The angle of (x, y): q pi/4 + or - atan u, |u| <= tan(pi/8).
pub(super) fn atan2(e: &mut Emit, y: V, x: V) -> V {
    let (ay, ax) = (e.abs(y), e.abs(x));
    let (large, small) = (e.bin(BinaryOp::Max, ay, ax), e.bin(BinaryOp::Min, ay, ax));
    // Scaled, so that the sum below does not overflow nor the quotient lose bits of subnormal operands.
    let (one, zero) = (e.c(1.0), e.c(0.0));
    let wide = e.elem() == DType::F64 && !e.short();
    let (large, small) = if wide {
        let (huge, tiny) = (e.gt_c(large, 2f64.powi(1000)), e.lt_c(large, 2f64.powi(-900)));
        let scale = e.sel_c(huge, 2f64.powi(-60), one);
        let scale = e.sel_c(tiny, 2f64.powi(120), scale);
        (e.mul(large, scale), e.mul(small, scale))
    } else {
        (large, small)
    };
    let limit = e.mul_c(large, TAN_PI_8);
    let turned = e.lt(limit, small);
    let (below, sum) = (e.sub(small, large), e.add(small, large));
    let num = e.sel(turned, below, small);
    let den = e.sel(turned, sum, large);
    // Two infinities are 45 degrees; two zeros are 0.
    let equal = e.eq(small, large);
    let num = e.sel(equal, zero, num);
    let den = e.sel(equal, one, den);
    let p = e.div(num, den);
    let p = atan_kernel(e, p);
    let q = e.sel(turned, one, zero);
    let both = e.eq_c(small, f64::INFINITY);
    let q = e.sel(both, one, q);
    let swap = e.lt(ax, ay);
    let (p2, q2) = (e.neg(p), e.c(2.0));
    let q2 = e.sub(q2, q);
    let (p, q) = (e.sel(swap, p2, p), e.sel(swap, q2, q));
    let (bits, none) = (e.bits(x), e.i(0));
    let left = e.b.compare(CompareOp::Lt, bits, none);
    let (p2, q2) = (e.neg(p), e.c(4.0));
    let q2 = e.sub(q2, q);
    let (p, q) = (e.sel(left, p2, p), e.sel(left, q2, q));
    let p = e.fma_c(q, HALF_PI.1 / 2.0, p);
    let r = e.fma_c(q, HALF_PI.0 / 2.0, p);
    let r = e.copy_sign(r, y);
    // NaN in either operand.
    let bad = e.add(x, y);
    let nan_x = e.b.compare(CompareOp::Ne, x, x);
    let nan_y = e.b.compare(CompareOp::Ne, y, y);
    let nan = e.or(nan_x, nan_y);
    e.sel(nan, bad, r)
}

/// p and whether |x| > 1/2: asin |x| = p, or pi/2 - 2 p with p = asin(sqrt((1 - |x|) / 2)).
fn asin_half(e: &mut Emit, a: V) -> (V, V) {
    let far = e.gt_c(a, 0.5);
    let one = e.c(1.0);
    let rest = e.sub(one, a);
    let rest = e.mul_c(rest, 0.5);
    let square = e.mul(a, a);
    let z = e.sel(far, rest, square);
    let root = e.sqrt(rest);
    let s = e.sel(far, root, a);
    let p = e.poly(if e.short() { &ASIN_32 } else { &ASIN_64 }, z);
    let sz = e.mul(s, z);
    (e.fma(sz, p, s), far)
}

/// asin x.
pub(super) fn asin(e: &mut Emit, x: V) -> V {
    let a = e.abs(x);
    let (p, far) = asin_half(e, a);
    let twice = e.add(p, p);
    let t = e.add_c(twice, -HALF_PI.1);
    let hi = e.c(HALF_PI.0);
    let t = e.sub(hi, t);
    let r = e.sel(far, t, p);
    e.copy_sign(r, x)
}

/// acos x: 2 p, pi - 2 p, or pi/2 - asin x.
pub(super) fn acos(e: &mut Emit, x: V) -> V {
    let a = e.abs(x);
    let (p, far) = asin_half(e, a);
    let twice = e.add(p, p);
    let negative = e.lt_c(x, 0.0);
    let t = e.add_c(twice, -2.0 * HALF_PI.1);
    let pi = e.c(2.0 * HALF_PI.0);
    let t = e.sub(pi, t);
    let outer = e.sel(negative, t, twice);
    let minus = e.neg(p);
    let signed = e.sel(negative, minus, p);
    let t = e.add_c(signed, -HALF_PI.1);
    let hi = e.c(HALF_PI.0);
    let inner = e.sub(hi, t);
    e.sel(far, outer, inner)
}
