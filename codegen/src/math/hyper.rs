//! Hyperbolic functions but tanh, and their inverses.

use kiln_ir::loops::V;

use super::emit::Emit;
use super::exp::{quarter_exp, quarter_expm1};
use super::log::log1p;

/// With E = (e^|x| - 1) / 4: sinh |x| = 2 (E + E / (4 E + 1)), which overflows only where the result does.
pub(super) fn sinh(e: &mut Emit, x: V) -> V {
    let a = e.abs(x);
    let t = e.min_c(a, 710.6);
    let h = quarter_expm1(e, t);
    let (four, one) = (e.c(4.0), e.c(1.0));
    let d = e.fma(h, four, one);
    let q = e.div(h, d);
    let r = e.add(h, q);
    let r = e.add(r, r);
    // Below, x^3 / 6 is less than half a unit; quarters of subnormals would round.
    let small = e.lt_c(a, 2f64.powi(-28));
    let r = e.sel(small, a, r);
    e.with_sign(r, x)
}

/// With E = e^|x| / 4: cosh x = 2 (E + 1 / (16 E)).
pub(super) fn cosh(e: &mut Emit, x: V) -> V {
    let a = e.abs(x);
    let t = e.min_c(a, 710.6);
    let h = quarter_exp(e, t);
    let sixteenth = e.c(0.0625);
    let q = e.div(sixteenth, h);
    let r = e.add(h, q);
    e.add(r, r)
}

/// Above this, 1 does not count beside x.
const BIG: f64 = (1u64 << 60) as f64;

/// log1p(t), plus ln 2 where `big`.
fn log1p_doubled(e: &mut Emit, t: V, big: V) -> V {
    let l = log1p(e, t);
    let zero = e.c(0.0);
    let more = e.sel_c(big, std::f64::consts::LN_2, zero);
    e.add(l, more)
}

/// asinh a = log1p(a + a^2 / (1 + sqrt(1 + a^2))).
pub(super) fn asinh(e: &mut Emit, x: V) -> V {
    let a = e.abs(x);
    let one = e.c(1.0);
    let z = e.fma(a, a, one);
    let root = e.sqrt(z);
    let den = e.add(root, one);
    let square = e.mul(a, a);
    let t = e.div(square, den);
    let t = e.add(a, t);
    let big = e.gt_c(a, BIG);
    let t = e.sel(big, a, t);
    let r = log1p_doubled(e, t, big);
    e.copy_sign(r, x)
}

/// With t = x - 1: log1p(t + sqrt(2 t + t^2)); NaN below 1.
pub(super) fn acosh(e: &mut Emit, x: V) -> V {
    let t = e.add_c(x, -1.0);
    let two = e.c(2.0);
    let s = e.add(t, two);
    let s = e.mul(t, s);
    let root = e.sqrt(s);
    let u = e.add(t, root);
    let big = e.gt_c(x, BIG);
    let u = e.sel(big, x, u);
    let r = log1p_doubled(e, u, big);
    let outside = e.lt_c(x, 1.0);
    e.sel_c(outside, f64::NAN, r)
}

/// log1p(2 a / (1 - a)) / 2.
pub(super) fn atanh(e: &mut Emit, x: V) -> V {
    let a = e.abs(x);
    let one = e.c(1.0);
    let (n, d) = (e.add(a, a), e.sub(one, a));
    let t = e.div(n, d);
    let l = log1p(e, t);
    let r = e.mul_c(l, 0.5);
    // Halving a doubled subnormal is exact, so only the sign is to be restored.
    e.copy_sign(r, x)
}
