//! The inverse error function and the normal distribution's quantile: x g(w) with w = -log(1 - x^2), a variable in which
//! the logarithmic singularities at -1 and 1 are gone (as in Giles, "Approximating the erfinv function", 2012; the
//! polynomials and their intervals are our own).

use kiln_ir::loops::V;

use super::emit::Emit;
use super::log::log;
use super::tables::{ERFINV_32, ERFINV_64, ERFINV_FAR_64, ERFINV_TAIL_32, ERFINV_TAIL_64, ERFINV_TAIL2_64};

/// The middles of the intervals of 1 / s in the tables.
const FAR_32: f64 = (1.0 / 10.4 + 1.0 / 2.5) / 2.0;
const FAR_64: f64 = (1.0 / 27.5 + 1.0 / 6.0) / 2.0;

/// erfinv(x) / x for w = -log(1 - x^2): pieces in w, in s = sqrt(w), and for the ends of f64's range in 1 / s.
fn ratio(e: &mut Emit, w: V) -> V {
    let u = e.add_c(w, -3.125);
    let near = e.poly(if e.short() { &ERFINV_32 } else { &ERFINV_64 }, u);
    let s = e.sqrt(w);
    let one = e.c(1.0);
    let t = e.div(one, s);
    let tail = if e.short() {
        let t = e.add_c(t, -FAR_32);
        let p = e.poly(&ERFINV_TAIL_32, t);
        e.mul(p, s)
    } else {
        let (t1, t2, t3) = (e.add_c(s, -3.25), e.add_c(s, -5.0), e.add_c(t, -FAR_64));
        let (p1, p2, p3) = (e.poly(&ERFINV_TAIL_64, t1), e.poly(&ERFINV_TAIL2_64, t2), e.poly(&ERFINV_FAR_64, t3));
        let p3 = e.mul(p3, s);
        let (second, third) = (e.gt_c(s, 4.0), e.gt_c(s, 6.0));
        let p = e.sel(second, p2, p1);
        e.sel(third, p3, p)
    };
    let is_near = e.lt_c(w, 6.25);
    e.sel(is_near, near, tail)
}

/// -log(u), never negative.
fn minus_log(e: &mut Emit, u: V) -> V {
    let l = log(e, u);
    let w = e.neg(l);
    e.max_c(w, 0.0)
}

/// Inverse of erf: infinite at -1 and 1, NaN beyond.
pub(super) fn erfinv(e: &mut Emit, x: V) -> V {
    let one = e.c(1.0);
    let a = e.abs(x);
    let (p, m) = (e.add(one, a), e.sub(one, a));
    let u = e.mul(p, m);
    let w = minus_log(e, u);
    let g = ratio(e, w);
    let r = e.mul(x, g);
    let end = e.eq(a, one);
    let infinite = e.c(f64::INFINITY);
    let infinite = e.with_sign(infinite, x);
    e.sel(end, infinite, r)
}

/// Quantile of the normal distribution: sqrt(2) erfinv(2 p - 1), with 1 - (2 p - 1)^2 = 4 p (1 - p).
pub(super) fn ndtri(e: &mut Emit, p: V) -> V {
    let one = e.c(1.0);
    let m = e.sub(one, p);
    let q = e.mul_c(m, 4.0);
    let u = e.mul(p, q);
    let w = minus_log(e, u);
    let g = ratio(e, w);
    // Exact from 1/4 on, unlike p - (1 - p).
    let x = e.add_c(p, -0.5);
    let x = e.mul_c(x, 2.0 * std::f64::consts::SQRT_2);
    let r = e.mul(x, g);
    let low = e.eq_c(p, 0.0);
    let r = e.sel_c(low, f64::NEG_INFINITY, r);
    let high = e.eq(p, one);
    e.sel_c(high, f64::INFINITY, r)
}
