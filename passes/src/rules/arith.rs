//! Arithmetic.

use kiln_ir::scalar_eval::Scalar;
use kiln_ir::{DType, Tensor};

use super::pattern::*;
use super::rules;
use crate::rewrite::constant;

rules! {
    over x, y, z, c, d;

    // Signs.
    neg_neg exact: neg(neg(x)) => x;
    neg_sub_int exact: neg(sub(x, y)) => sub(y, x), if int(x);
    sub_neg exact: sub(x, neg(y)) => add(x, y);
    add_neg exact: add(x, neg(y)) => sub(x, y);
    mul_neg_neg exact: mul(neg(x), neg(y)) => mul(x, y), if not_complex(x);
    div_neg_neg exact: div(neg(x), neg(y)) => div(x, y), if float(x);
    mul_minus_one exact: mul(x, -1) => neg(x), if not_complex(x);
    abs_neg exact: abs(neg(x)) => abs(x), if has_sign(x);
    abs_abs exact: abs(abs(x)) => abs(x), if not_complex(x);
    abs_square exact: abs(square(x)) => square(x), if float(x);
    square_neg exact: square(neg(x)) => square(x), if not_complex(x);
    square_abs exact: square(abs(x)) => square(x), if not_complex(x);
    sign_sign exact: sign(sign(x)) => sign(x), if not_complex(x);
    conj_conj exact: conj(conj(x)) => x;
    conj_real exact: conj(x) => x, if not_complex(x);
    real_real exact: real(x) => x, if not_complex(x);

    // Neutral elements. -0 is the neutral element of float addition: -0 + 0 is 0.
    add_zero_int exact: add(x, 0) => x, if int(x);
    add_minus_zero exact: add(x, -0.0) => x;
    add_zero_float fast: add(x, 0) => x;
    sub_zero exact: sub(x, 0) => x;
    mul_one exact: mul(x, 1) => x;
    div_one exact: div(x, 1) => x;
    floor_div_one exact: floor_div(x, 1) => x, if int(x);
    pow_one exact: pow(x, 1) => x;
    bit_or_zero exact: bit_or(x, 0) => x;
    bit_xor_zero exact: bit_xor(x, 0) => x;

    // Absorbing elements and equal operands; with floats NaN and infinities forbid most.
    mul_zero_int exact: mul(x, 0) => 0, if int(x);
    sub_self_int exact: sub(x, x) => 0, if int(x);
    bit_and_zero exact: bit_and(x, 0) => 0;
    bit_xor_self exact: bit_xor(x, x) => 0;
    bit_and_self exact: bit_and(x, x) => x;
    bit_or_self exact: bit_or(x, x) => x;
    max_self exact: max(x, x) => x;
    min_self exact: min(x, x) => x;
    max_max exact: max(max(x, y), y) => max(x, y);
    min_min exact: min(min(x, y), y) => min(x, y);
    bit_not_bit_not exact: bit_not(bit_not(x)) => x;

    // Powers.
    mul_self exact: mul(x, x) => square(x), if not_complex(x);
    squared_difference_zero exact: squared_difference(x, 0) => square(x), if not_complex(x);
    pow_two rounding: pow(x, 2) => square(x), if float(x);
    pow_minus_one rounding: pow(x, -1) => reciprocal(x), if float(x);
    pow_zero exact: pow(x, 0) => 1, if not_complex(x);
    one_over exact: div(1, x) => reciprocal(x), if float(x);
    reciprocal_sqrt rounding: reciprocal(sqrt(x)) => rsqrt(x), if float(x);

    // Rounding to integers is idempotent.
    floor_floor exact: floor(floor(x)) => floor(x);
    ceil_ceil exact: ceil(ceil(x)) => ceil(x);
    rint_rint exact: rint(rint(x)) => rint(x);
    trunc_trunc exact: trunc(trunc(x)) => trunc(x);
    ceil_floor exact: ceil(floor(x)) => floor(x);
    floor_ceil exact: floor(ceil(x)) => ceil(x);

    // Division by a power of two is multiplication by its reciprocal, bit for bit.
    div_power_of_two exact: div(x, c) => mul(x, reciprocal(c)), if has_exact_reciprocals(c);

    // Chains of constants: integers wrap, so they associate; max and min always do.
    add_add_const_int exact: add(add(x, c), d) => add(x, add(c, d)), if int(x);
    mul_mul_const_int exact: mul(mul(x, c), d) => mul(x, mul(c, d)), if int(x);
    sub_const_int exact: sub(x, c) => add(x, neg(c)), if int(x);
    max_max_const exact: max(max(x, c), d) => max(x, max(c, d));
    min_min_const exact: min(min(x, c), d) => min(x, min(c, d));
    add_add_const fast: add(add(x, c), d) => add(x, add(c, d)), if moderate(c, d);
    mul_mul_const fast: mul(mul(x, c), d) => mul(x, mul(c, d)), if finite_product(c, d);
    div_const fast: div(x, c) => mul(x, reciprocal(c)), if has_finite_reciprocals(c);
}

/// Negative numbers exist: abs(-x) of an unsigned x is -x.
fn has_sign(x: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    is(x, |t| !t.dtype.is_int() || t.dtype.is_signed())
}

/// The elements of a constant of real floats.
fn elements(s: &Site<'_>, c: &Pat) -> Option<(DType, Vec<f64>)> {
    let t: &Tensor = constant(&s.b.func, s.var(c)?)?;
    Some((t.dtype(), t.to_f64s()?))
}

/// Every element is a power of two, or its negative, whose reciprocal the type holds.
fn has_exact_reciprocals(c: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    let c = c.clone();
    move |s| {
        let Some((dtype, e)) = elements(s, &c) else { return false };
        let exact = |&x: &f64| {
            let r = 1.0 / x;
            let power = x.is_normal() && x.to_bits() << 12 == 0;
            power && Scalar::F64(r).cast(dtype).and_then(|y| y.cast(DType::F64)) == Ok(Scalar::F64(r))
        };
        e.iter().all(exact)
    }
}

/// Every element's reciprocal is a normal number: no division becomes an infinity or loses its size.
fn has_finite_reciprocals(c: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    let c = c.clone();
    move |s| elements(s, &c).is_some_and(|(dtype, e)| e.iter().all(|x| is_moderate(dtype, 1.0 / x)))
}

/// The product of two constants is made of normal numbers, so that the chain neither overflows nor vanishes early.
fn finite_product(c: &Pat, d: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    let (c, d) = (c.clone(), d.clone());
    move |s| {
        let (Some((dtype, c)), Some((_, d))) = (elements(s, &c), elements(s, &d)) else { return false };
        let ends = |e: &[f64]| {
            let m = e.iter().map(|x| x.abs());
            (m.clone().fold(f64::INFINITY, f64::min), m.fold(0.0, f64::max))
        };
        let ((c0, c1), (d0, d1)) = (ends(&c), ends(&d));
        is_moderate(dtype, c0 * d0) && is_moderate(dtype, c1 * d1)
    }
}

/// Two constants far from the end of their type's range: their sum is no infinity.
fn moderate(c: &Pat, d: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    let (c, d) = (c.clone(), d.clone());
    move |s| {
        [&c, &d].iter().all(|p| elements(s, p).is_some_and(|(t, e)| e.iter().all(|&x| x == 0.0 || is_moderate(t, x))))
    }
}

/// A finite number far from the ends of its type's range.
fn is_moderate(dtype: DType, x: f64) -> bool {
    let (low, high) = match dtype {
        DType::F16 => (2f64.powi(-10), 2f64.powi(10)),
        DType::F64 => (2f64.powi(-500), 2f64.powi(500)),
        _ => (2f64.powi(-60), 2f64.powi(60)),
    };
    (low..high).contains(&x.abs())
}
