//! The error function and its complement.

use kiln_ir::DType;
use kiln_ir::loops::V;

use super::emit::Emit;
use super::exp::exp_pair;
use super::tables::{ERF_32, ERF_64, ERF_TAIL_32, ERFC_32, ERFC_64};

/// erf x: x + x Q(x^2) up to 1; beyond, a polynomial (f32) or 1 - erfc |x|.
pub(super) fn erf(e: &mut Emit, x: V) -> V {
    let a = e.abs(x);
    let z = e.mul(x, x);
    let tail = if e.elem() == DType::F32 {
        let t = e.min_c(a, 3.95);
        let t = e.add_c(t, -2.5);
        let p = e.poly(&ERF_TAIL_32, t);
        e.min_c(p, 1.0)
    } else {
        let c = erfc_positive(e, a);
        let one = e.c(1.0);
        e.sub(one, c)
    };
    let near = e.poly(if e.elem() == DType::F32 { &ERF_32 } else { &ERF_64 }, z);
    let near = e.fma(near, x, x);
    let tail = e.with_sign(tail, x);
    let small = e.lt_c(a, 1.0);
    e.sel(small, near, tail)
}

/// erfc a for a >= 0: exp(-a^2) / (1 + 2 a) P((a - 4) / (a + 4)), after Shepherd and Laframboise, "Chebyshev
/// approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf", 1981. The square is exact: a pair.
fn erfc_positive(e: &mut Emit, a: V) -> V {
    let top = if e.short() { 10.1 } else { 28.0 };
    let a = e.min_c(a, top);
    let (n, d) = (e.add_c(a, -4.0), e.add_c(a, 4.0));
    let t = e.div(n, d);
    let p = e.poly(if e.short() { &ERFC_32 } else { &ERFC_64 }, t);
    let two = e.c(2.0);
    let one = e.c(1.0);
    let w = e.fma(a, two, one);
    let p = e.div(p, w);
    let (s, low) = e.two_prod(a, a);
    let (s, low) = (e.neg(s), e.neg(low));
    let g = exp_pair(e, s, low);
    e.mul(g, p)
}

/// erfc x = 2 - erfc(-x); 1 - erf x near 0.
pub(super) fn erfc(e: &mut Emit, x: V) -> V {
    let a = e.abs(x);
    let c = erfc_positive(e, a);
    let two = e.c(2.0);
    let other = e.sub(two, c);
    let negative = e.lt_c(x, 0.0);
    let r = e.sel(negative, other, c);
    if e.short() {
        return r;
    }
    let z = e.mul(x, x);
    let p = e.poly(&ERF_64, z);
    let p = e.fma(p, x, x);
    let one = e.c(1.0);
    let near = e.sub(one, p);
    let small = e.lt_c(a, 0.5);
    e.sel(small, near, r)
}
