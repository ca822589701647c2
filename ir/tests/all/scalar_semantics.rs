//! The scalar vocabulary against what TensorFlow 2.21's CPU kernels return (recorded with `tf.raw_ops`, oneDNN off),
//! and against properties that hold for all numbers. Where the numeric contract departs from TensorFlow, the test says so.

use half::{bf16, f16};
use kiln_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use kiln_ir::scalar_eval::{
    Fault, Scalar, binary_tensor, bitcast_tensor, broadcast_shape, cast_tensor, compare_tensor, fma_tensor,
    reduce_tensor, select_tensor, unary_tensor, word,
};
use kiln_ir::{DType, Tensor};
use num_complex::Complex;
use proptest::prelude::*;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// Equal as results: NaN equals NaN, zeros of different sign differ.
#[track_caller]
fn same(got: Scalar, want: f32) {
    let Scalar::F32(x) = got else { panic!("{got:?} is not f32") };
    assert!(x.to_bits() == want.to_bits() || (x.is_nan() && want.is_nan()), "{x:?} instead of {want:?}");
}

#[test]
fn unary_edge_cases_are_tensorflow_s() {
    use UnaryOp::*;
    for (op, cases) in [
        (Sign, &[(-0.0, 0.0), (0.0, 0.0), (NAN, NAN), (-3.0, -1.0), (INF, 1.0)][..]),
        (Rint, &[(0.5, 0.0), (1.5, 2.0), (-0.5, -0.0), (2.5, 2.0), (-2.5, -2.0)]),
        (Rsqrt, &[(-0.0, -INF), (0.0, INF), (INF, 0.0), (-1.0, NAN)]),
        (Lgamma, &[(0.0, INF), (-1.0, INF), (INF, INF), (-INF, INF), (NAN, NAN)]),
        (Digamma, &[(0.0, NAN), (-1.0, NAN), (INF, INF), (-INF, NAN)]),
        (Erfinv, &[(1.0, INF), (-1.0, -INF), (2.0, NAN), (0.0, 0.0)]),
        (Ndtri, &[(0.0, -INF), (1.0, INF), (2.0, NAN), (0.5, 0.0)]),
        (Sigmoid, &[(-INF, 0.0), (INF, 1.0), (0.0, 0.5), (-100.0, f32::from_bits(27))]),
        (Expm1, &[(-0.0, -0.0), (1e-10, 1e-10), (-INF, -1.0)]),
        (Log1p, &[(-1.0, -INF), (1e-10, 1e-10), (-2.0, NAN)]),
    ] {
        for &(x, want) in cases {
            same(Scalar::unary(op, Scalar::F32(x)).unwrap(), want);
        }
    }
    assert_eq!(Scalar::unary(Abs, Scalar::I32(i32::MIN)), Ok(Scalar::I32(i32::MIN)));
    assert_eq!(Scalar::unary(PopCount, Scalar::I8(-1)), Ok(Scalar::U8(8)));
    assert_eq!(Scalar::unary(IsNan, Scalar::F16(f16::NAN)), Ok(Scalar::Bool(true)));
    assert_eq!(Scalar::unary(Exp, Scalar::I32(1)), Err(Fault::Unsupported));
}

#[test]
fn binary_edge_cases_are_tensorflow_s() {
    use BinaryOp::*;
    for (op, cases) in [
        (FloorDiv, &[(1.0, 0.0, INF), (-1.0, 0.0, -INF), (0.0, 0.0, NAN), (5.0, INF, 0.0), (1.0, 0.1, 10.0)][..]),
        (FloorMod, &[(5.0, INF, 5.0), (-5.0, INF, INF), (-6.0, 3.0, -0.0), (6.0, -3.0, 0.0), (-7.0, 3.0, 2.0)]),
        (TruncMod, &[(5.5, -2.0, 1.5), (-0.0, 3.0, -0.0), (-5.0, INF, -5.0), (1.0, 0.0, NAN)]),
        (
            Pow,
            &[
                (0.0, 0.0, 1.0),
                (NAN, 0.0, 1.0),
                (1.0, NAN, 1.0),
                (-8.0, 1.0 / 3.0, NAN),
                (-0.0, -3.0, -INF),
                (-INF, 3.0, -INF),
            ],
        ),
        (DivNoNan, &[(NAN, 0.0, 0.0), (1.0, -0.0, 0.0), (INF, 2.0, INF)]),
        (MulNoNan, &[(NAN, 0.0, 0.0), (INF, -0.0, 0.0), (2.0, 3.0, 6.0)]),
        (Xlogy, &[(0.0, NAN, 0.0), (0.0, 0.0, 0.0), (-0.0, -1.0, 0.0), (1.0, 0.0, -INF)]),
        (Xdivy, &[(0.0, NAN, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, INF)]),
        (
            NextAfter,
            &[
                (0.0, -1.0, -1e-45),
                (1.0, 2.0, 1.0000001),
                (1.0, 0.0, 0.99999994),
                (-0.0, 0.0, 0.0),
                (NAN, 1.0, NAN),
                (INF, 0.0, f32::MAX),
            ],
        ),
        (Max, &[(NAN, 1.0, NAN), (1.0, NAN, NAN), (-INF, 2.0, 2.0)]),
        (Min, &[(NAN, 1.0, NAN), (1.0, NAN, NAN), (-INF, 2.0, -INF)]),
        // TensorFlow returns the first of two zeros; Kiln orders them, so that operands may change places.
        (Max, &[(0.0, -0.0, 0.0), (-0.0, 0.0, 0.0)]),
        (Min, &[(0.0, -0.0, -0.0), (-0.0, 0.0, -0.0)]),
    ] {
        for &(x, y, want) in cases {
            same(Scalar::binary(op, Scalar::F32(x), Scalar::F32(y)).unwrap(), want);
        }
    }
}

#[test]
fn integer_edge_cases_are_tensorflow_s() {
    use BinaryOp::*;
    for (op, cases) in [
        (FloorDiv, &[(-7, 3, -3), (7, -3, -3), (i32::MIN, -1, i32::MIN)][..]),
        (FloorMod, &[(-7, 3, 2), (7, -3, -2), (i32::MIN, -1, 0)]),
        (TruncMod, &[(-7, 3, -1), (7, -3, 1), (i32::MIN, -1, 0)]),
        (Div, &[(-7, 3, -2), (i32::MIN, -1, i32::MIN)]),
        (Pow, &[(2, 31, i32::MIN), (3, 40, 689956897), (-2, 3, -8), (0, 0, 1)]),
        (Shl, &[(1, -3, 1), (1, 32, i32::MIN), (1, 31, i32::MIN), (-1, 4, -16)]),
        (Shr, &[(-8, -3, -8), (-8, 32, -1), (-8, 1, -4), (8, 2, 2)]),
        (Add, &[(i32::MAX, 1, i32::MIN)]),
    ] {
        for &(x, y, want) in cases {
            assert_eq!(Scalar::binary(op, Scalar::I32(x), Scalar::I32(y)), Ok(Scalar::I32(want)), "{op} {x} {y}");
        }
    }
    for op in [Div, FloorDiv, FloorMod, TruncMod] {
        assert_eq!(Scalar::binary(op, Scalar::U8(1), Scalar::U8(0)), Err(Fault::DivisionByZero));
    }
    assert_eq!(Scalar::binary(Pow, Scalar::I64(2), Scalar::I64(-1)), Err(Fault::NegativeExponent));
}

#[test]
fn casts_follow_the_contract() {
    let cast = |x: Scalar, to| x.cast(to).unwrap();
    // TensorFlow leaves NaN and overflow to the machine; the contract fixes them.
    assert_eq!(cast(Scalar::F32(NAN), DType::I32), Scalar::I32(0));
    assert_eq!(cast(Scalar::F32(1e20), DType::I32), Scalar::I32(i32::MAX));
    assert_eq!(cast(Scalar::F32(-1e20), DType::U8), Scalar::U8(0));
    assert_eq!(cast(Scalar::F32(-1.9), DType::I32), Scalar::I32(-1));
    assert_eq!(cast(Scalar::F32(NAN), DType::Bool), Scalar::Bool(true));
    assert_eq!(cast(Scalar::F32(-0.0), DType::Bool), Scalar::Bool(false));
    assert_eq!(cast(Scalar::I32(257), DType::U8), Scalar::U8(1));
    assert_eq!(cast(Scalar::I32(-1), DType::U64), Scalar::U64(u64::MAX));
    assert_eq!(cast(Scalar::C64(Complex::new(1.5, 2.0)), DType::F64), Scalar::F64(1.5));
    assert_eq!(cast(Scalar::Bool(true), DType::C128), Scalar::C128(Complex::new(1.0, 0.0)));
    assert_eq!(cast(Scalar::U64(u64::MAX), DType::F32), Scalar::F32(18446744073709551615.0));
    assert!(Scalar::F32(1.0).cast(DType::String).is_err());
}

#[test]
fn complex_functions_are_tensorflow_s() {
    use UnaryOp::*;
    let z = Complex::new(0.3, -0.7);
    for (op, re, im) in [
        (Sqrt, 0.7285524382590421, -0.4804046786753803),
        (Rsqrt, 0.9566362181904808, 0.6308022468598541),
        (Exp, 1.0324289629116616, -0.8696029191140402),
        (Expm1, 0.032428962911661585, -0.8696029191140402),
        (Log, -0.2723635877208361, -1.1659045405098132),
        (Log1p, 0.38966243840049886, -0.4939413689195812),
        (Sigmoid, 0.5841132305767539, -0.17794292214437493),
        (Tanh, 0.46970516596755807, -0.7270371862435201),
        (Tan, 0.18971709151908692, -0.63983593026318),
        (Asin, 0.24573200610107973, -0.6703367429877897),
        (Acos, 1.3250643206938169, 0.6703367429877897),
        (Atan, 0.480035181202844, -0.7016804321523099),
        (Asinh, 0.38559098731817487, -0.7089034409655052),
        (Acosh, 0.6703367429877897, -1.3250643206938169),
        (Atanh, 0.19988189602962927, -0.6396697661585148),
        (Square, -0.3999999999999999, -0.42),
        (Reciprocal, 0.517241379310345, 1.2068965517241381),
    ] {
        let Ok(Scalar::C128(got)) = Scalar::unary(op, Scalar::C128(z)) else { panic!("{op}") };
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-14 * (1.0 + b.abs());
        assert!(near(got.re, re) && near(got.im, im), "{op}: {got} instead of {re} {im}");
    }
    let large = Scalar::unary(Tanh, Scalar::C128(Complex::new(800.0, 1.0))).unwrap();
    assert_eq!(large, Scalar::C128(Complex::new(1.0, 0.0)));
    assert_eq!(Scalar::unary(Abs, Scalar::C64(Complex::new(3.0, 4.0))), Ok(Scalar::F32(5.0)));
    assert_eq!(Scalar::unary(Sign, Scalar::C64(Complex::new(3.0, 4.0))), Ok(Scalar::C64(Complex::new(0.6, 0.8))));
}

#[test]
fn every_operation_that_is_accepted_has_a_result() {
    for dtype in DType::ALL {
        let Ok(x) = Scalar::F64(0.75).cast(dtype) else { continue };
        let x = if dtype.is_int() { Scalar::I64(3).cast(dtype).unwrap() } else { x };
        for &op in UnaryOp::ALL {
            let r = Scalar::unary(op, x);
            assert_eq!(r.is_ok(), op.accepts(dtype), "{op} of {dtype}");
            if let Ok(r) = r {
                assert_eq!(r.dtype(), op.result(dtype), "{op} of {dtype}");
            }
        }
        for &op in BinaryOp::ALL {
            assert_eq!(Scalar::binary(op, x, x).is_ok(), op.accepts(dtype), "{op} of {dtype}");
        }
        for &op in CompareOp::ALL {
            assert_eq!(Scalar::compare(op, x, x).is_ok(), op.accepts(dtype), "{op} of {dtype}");
        }
        for &op in ReduceOp::ALL {
            let neutral = Scalar::neutral(op, dtype);
            assert_eq!(neutral.is_some(), op.accepts(dtype), "{op} of {dtype}");
            if let Some(n) = neutral {
                assert_eq!(Scalar::binary(op.combiner(), n, x), Ok(x), "{op} of {dtype} is neutral");
            }
        }
    }
}

#[test]
fn halves_are_rounded_once() {
    let (a, b) = (f16::from_f32(1.0), f16::from_f32(2f32.powi(-11)));
    let sum = Scalar::binary(BinaryOp::Add, Scalar::F16(a), Scalar::F16(b)).unwrap();
    assert_eq!(sum, Scalar::F16(a), "a tie goes to even");
    // a * b + c with a product that f32 could not add without rounding.
    let (a, b, c) = (f16::from_f32(1.0 + 2f32.powi(-10)), f16::from_f32(2f32.powi(-11)), f16::from_f32(1.0));
    let fma = Scalar::fma(Scalar::F16(a), Scalar::F16(b), Scalar::F16(c)).unwrap();
    assert_eq!(fma, Scalar::F16(f16::from_f32(1.0 + 2f32.powi(-10))));
    // Every bf16: the exponential is within half a unit of the f64 one.
    for bits in 0..=u16::MAX {
        let x = bf16::from_bits(bits);
        let Scalar::BF16(y) = Scalar::unary(UnaryOp::Exp, Scalar::BF16(x)).unwrap() else { panic!() };
        let exact = x.to_f64().exp();
        if y.is_finite() && exact > 1e-37 {
            let ulp = 2f64.powi(exact.log2().floor() as i32 - 7);
            assert!((y.to_f64() - exact).abs() <= 0.5 * ulp * (1.0 + 1e-9), "exp({x}) = {y}");
        }
    }
}

#[test]
fn tensors_broadcast_and_reduce() {
    assert_eq!(broadcast_shape(&[4, 1], &[3]), Some(vec![4, 3]));
    assert_eq!(broadcast_shape(&[0], &[1]), Some(vec![0]));
    assert_eq!(broadcast_shape(&[2], &[3]), None);
    let column = Tensor::of(&[2, 1], &[10i32, 20]);
    let row = Tensor::of(&[3], &[1i32, 2, 3]);
    let sum = binary_tensor(BinaryOp::Add, &column, &row).unwrap();
    assert!(sum.same_bits(&Tensor::of(&[2, 3], &[11i32, 12, 13, 21, 22, 23])));
    let less = compare_tensor(CompareOp::Lt, &sum, &Tensor::scalar(13i32)).unwrap();
    assert!(less.same_bits(&Tensor::of_bools(&[2, 3], &[true, true, false, false, false, false])));
    let chosen = select_tensor(&less, &sum, &Tensor::scalar(0i32)).unwrap();
    assert!(chosen.same_bits(&Tensor::of(&[2, 3], &[11i32, 12, 0, 0, 0, 0])));
    assert!(reduce_tensor(ReduceOp::Sum, &sum, &[0]).unwrap().same_bits(&Tensor::of(&[3], &[32i32, 34, 36])));
    assert!(reduce_tensor(ReduceOp::Max, &sum, &[1]).unwrap().same_bits(&Tensor::of(&[2], &[13i32, 23])));
    assert!(reduce_tensor(ReduceOp::Prod, &sum, &[1, 0]).unwrap().same_bits(&Tensor::scalar(18234216i32)));
    let empty = Tensor::zeros(DType::F32, &[2, 0]);
    assert!(reduce_tensor(ReduceOp::Max, &empty, &[1]).unwrap().same_bits(&Tensor::of(&[2], &[-INF, -INF])));
    // Sums are accumulated in f64: the small terms survive.
    let x = Tensor::of(&[4], &[1e8f32, 1.0, -1e8, 1.0]);
    assert!(reduce_tensor(ReduceOp::Sum, &x, &[0]).unwrap().same_bits(&Tensor::scalar(2f32)));
    let strings = Tensor::of_strings(&[2], vec![b"a".to_vec(), b"b".to_vec()]);
    let equal = compare_tensor(CompareOp::Eq, &strings, &Tensor::of_strings(&[], vec![b"b".to_vec()])).unwrap();
    assert!(equal.same_bits(&Tensor::of_bools(&[2], &[false, true])));
    assert!(
        cast_tensor(DType::U8, &Tensor::of(&[2], &[-1.5f32, 300.0])).unwrap().same_bits(&Tensor::of(&[2], &[0u8, 255]))
    );
    assert!(bitcast_tensor(DType::I32, &Tensor::scalar(1f32)).unwrap().same_bits(&Tensor::scalar(0x3f80_0000i32)));
    let fma = fma_tensor(&Tensor::scalar(2f32), &Tensor::of(&[2], &[3f32, 4.0]), &Tensor::scalar(1f32)).unwrap();
    assert!(fma.same_bits(&Tensor::of(&[2], &[7f32, 9.0])));
    assert!(
        unary_tensor(UnaryOp::Abs, &Tensor::scalar(Complex::new(3f32, 4.0))).unwrap().same_bits(&Tensor::scalar(5f32))
    );

    let zero = binary_tensor(BinaryOp::Div, &row, &Tensor::scalar(0i32)).unwrap_err();
    assert_eq!(zero, "div of i32: integer division by zero");
    assert!(binary_tensor(BinaryOp::Add, &row, &Tensor::scalar(0f32)).is_err());
    assert!(binary_tensor(BinaryOp::Add, &row, &Tensor::of(&[2], &[1i32, 2])).is_err());
    assert!(reduce_tensor(ReduceOp::Sum, &row, &[1]).is_err());
}

proptest! {
    #[test]
    fn words_and_scalars_agree(a in any::<u64>(), b in any::<u64>(), which in 0usize..13) {
        let dtype = DType::ALL[which];
        // A word as memory would hold it.
        let word_of = |x: u64| match dtype.size() { 8 => x, n => x & ((1 << (8 * n)) - 1) };
        let word_of = |x: u64| if dtype == DType::Bool { x & 1 } else { word_of(x) };
        let (a, b) = (word_of(a), word_of(b));
        let load = |w: u64| Scalar::load(dtype, &w.to_le_bytes()).unwrap();
        let store = |s: Scalar| { let mut w = [0; 8]; assert!(s.store(&mut w)); u64::from_le_bytes(w) };
        for &op in BinaryOp::ALL {
            // Gamma functions of arbitrary bits take long and are tested elsewhere.
            if op.accepts(dtype) && !matches!(op, BinaryOp::Igamma | BinaryOp::Igammac | BinaryOp::Zeta | BinaryOp::Polygamma) {
                let by_word = word::binary(dtype).unwrap()(op, a, b);
                prop_assert_eq!(by_word, Scalar::binary(op, load(a), load(b)).map(store), "{} of {}", op, dtype);
                if op.is_commutative() {
                    let nan = |w: Result<u64, Fault>| w.ok().and_then(|w| word::to_f64(dtype, w)).is_some_and(f64::is_nan);
                    let swapped = word::binary(dtype).unwrap()(op, b, a);
                    prop_assert!(by_word == swapped || (nan(by_word) && nan(swapped)), "{} of {}", op, dtype);
                }
            }
        }
        for &to in &DType::ALL[..13] {
            let by_word = word::cast(dtype, to).unwrap()(a);
            prop_assert_eq!(by_word, store(load(a).cast(to).unwrap()), "{} to {}", dtype, to);
        }
    }

    #[test]
    fn floor_division_and_modulus_fit_together(x in any::<i16>(), y in any::<i16>()) {
        prop_assume!(y != 0);
        let eval = |op| match Scalar::binary(op, Scalar::I16(x), Scalar::I16(y)) { Ok(Scalar::I16(r)) => r, other => panic!("{other:?}") };
        let (q, r) = (eval(BinaryOp::FloorDiv), eval(BinaryOp::FloorMod));
        prop_assert_eq!(q.wrapping_mul(y).wrapping_add(r), x);
        prop_assert!(r == 0 || (r < 0) == (y < 0));
        prop_assert!(r.unsigned_abs() < y.unsigned_abs());
    }
}
