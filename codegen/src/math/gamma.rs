//! The logarithm of the gamma function and its derivative: Stirling's series after a shift, a polynomial around the
//! zeros at 1 and 2, reflection for negative arguments (Abramowitz and Stegun 6.1.17, 6.1.41, 6.3.7, 6.3.18).

use kiln_ir::loops::V;
use kiln_ir::scalar::{BinaryOp, UnaryOp};

use super::emit::Emit;
use super::log::log;
use super::tables::{DIGAMMA_ROOT_64, LGAMMA_64};
use super::trig::sin_cos_pi;

/// B_2k / (2k (2k - 1)), k from 1 on.
const STIRLING: [f64; 8] = [
    1.0 / 12.0,
    -1.0 / 360.0,
    1.0 / 1260.0,
    -1.0 / 1680.0,
    1.0 / 1188.0,
    -691.0 / 360_360.0,
    1.0 / 156.0,
    -3617.0 / 122_400.0,
];

/// B_2k / 2k, k from 1 on.
const DIGAMMA: [f64; 8] =
    [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32_760.0, 1.0 / 12.0, -3617.0 / 8160.0];

/// Arguments below are shifted up before an asymptotic series is used.
const SHIFT: usize = 8;

/// log |gamma(x)|: infinite at 0, the negative integers and the infinities.
pub(super) fn lgamma(e: &mut Emit, x: V) -> V {
    let (zero, one) = (e.c(0.0), e.c(1.0));
    let reflected = e.lt_c(x, 0.5);
    let other = e.sub(one, x);
    let z = e.sel(reflected, other, x);
    // [1/2, 7/2): (y - 1) (y - 2) P(y), with y = z + 1 below 3/2.
    let near = e.lt_c(z, 3.5);
    let below = e.lt_c(z, 1.5);
    let next = e.add(z, one);
    let y = e.sel(below, next, z);
    let u = e.add_c(y, -2.5);
    // f64's also for f32: beside the zeros at negative numbers the terms cancel.
    let p = e.poly(&LGAMMA_64, u);
    let (a, b) = (e.add_c(y, -1.0), e.add_c(y, -2.0));
    // y - 2 = z - 1 without the rounding of z + 1.
    let exact = e.add_c(z, -1.0);
    let b = e.sel(below, exact, b);
    let ab = e.mul(a, b);
    let around = e.mul(ab, p);
    // The product z (z + 1) .. that the shift divides by; below 3/2 just z.
    let shifted = e.lt_c(z, SHIFT as f64);
    let mut product = z;
    for k in 1..SHIFT {
        let factor = e.add_c(z, k as f64);
        product = e.mul(product, factor);
    }
    let top = e.add_c(z, SHIFT as f64);
    let w = e.sel(shifted, top, z);
    let d = e.sel(shifted, product, one);
    let near_divisor = e.sel(below, z, one);
    let d = e.sel(near, near_divisor, d);
    let log_d = log(e, d);
    // (w - 1/2) log w - w + log(2 pi) / 2 + series, as w (log w - 1) - log w / 2 + ..: finite while the result is.
    let l = log(e, w);
    let inverse = e.div(one, w);
    let square = e.mul(inverse, inverse);
    let s = e.poly(&STIRLING, square);
    let half_log_2pi = e.c(0.918_938_533_204_672_8);
    let s = e.fma(s, inverse, half_log_2pi);
    let half = e.c(-0.5);
    let s = e.fma(l, half, s);
    let lm = e.add_c(l, -1.0);
    let far = e.fma(w, lm, s);
    let r = e.sel(near, around, far);
    let r = e.sub(r, log_d);
    // Reflection: log(pi / |sin(pi x)|) - lgamma(1 - x).
    let (sin, _) = sin_cos_pi(e, x);
    let sin = e.abs(sin);
    let pi = e.c(std::f64::consts::PI);
    let sin = e.div(sin, pi);
    let log_sin = log(e, sin);
    let sum = e.add(r, log_sin);
    let back = e.neg(sum);
    let r = e.sel(reflected, back, r);
    let a = e.abs(x);
    // Subnormal arguments: pi x / pi would lose bits, -log |x| does not.
    let tiny = e.lt_c(a, 1e-290);
    let log_a = log(e, a);
    let minus = e.neg(log_a);
    let r = e.sel(tiny, minus, r);
    let whole = e.b.unary(UnaryOp::Floor, x);
    let is_int = e.eq(whole, x);
    let positive = e.lt(zero, x);
    let not_positive = e.not(positive);
    let pole = e.and(is_int, not_positive);
    let infinite = e.eq_c(a, f64::INFINITY);
    let pole = e.or(pole, infinite);
    e.sel_c(pole, f64::INFINITY, r)
}

/// The positive zero of digamma as a pair.
const ROOT: (f64, f64) = (1.461_632_144_968_362_2, 9.549_995_429_965_697e-17);

/// The derivative of lgamma: NaN at 0 and the negative integers, as TensorFlow's kernel returns it.
pub(super) fn digamma(e: &mut Emit, x: V) -> V {
    let (zero, one) = (e.c(0.0), e.c(1.0));
    let reflected = e.lt(x, zero);
    let other = e.sub(one, x);
    let z = e.sel(reflected, other, x);
    // The sum of 1 / (z + k), k < SHIFT, as one fraction.
    let (mut num, mut den) = (one, z);
    for k in 1..SHIFT {
        let factor = e.add_c(z, k as f64);
        num = e.fma(num, factor, den);
        den = e.mul(den, factor);
    }
    let shifted = e.lt_c(z, SHIFT as f64);
    let top = e.add_c(z, SHIFT as f64);
    let w = e.sel(shifted, top, z);
    let sum = e.div(num, den);
    let sum = e.sel(shifted, sum, zero);
    let l = log(e, w);
    let inverse = e.div(one, w);
    let square = e.mul(inverse, inverse);
    let s = e.poly(&DIGAMMA, square);
    let half = e.mul_c(inverse, 0.5);
    let s = e.fma(s, square, half);
    let s = e.add(s, sum);
    let r = e.sub(l, s);
    // psi(1 - x) - pi / tan(pi x).
    let (sin, cos) = sin_cos_pi(e, x);
    let cot = e.div(cos, sin);
    let pi_cot = e.mul_c(cot, std::f64::consts::PI);
    let back = e.sub(r, pi_cot);
    let r = e.sel(reflected, back, r);
    let r = if e.short() {
        r
    } else {
        // Around the zero: (x - root) P, the difference without cancellation.
        let u = e.add_c(x, -ROOT.0);
        let p = e.poly(&DIGAMMA_ROOT_64, u);
        let d = e.add_c(u, -ROOT.1);
        let p = e.mul(d, p);
        let a = e.abs(u);
        let near = e.lt_c(a, 0.25);
        e.sel(near, p, r)
    };
    let whole = e.b.unary(UnaryOp::Floor, x);
    let is_int = e.eq(whole, x);
    let positive = e.lt(zero, x);
    let not_positive = e.not(positive);
    let pole = e.bin(BinaryOp::And, is_int, not_positive);
    e.sel_c(pole, f64::NAN, r)
}
