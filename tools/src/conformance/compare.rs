//! When an output is TensorFlow's: the same type and shape, floats and complex numbers within the case's tolerances, the
//! rest equal.

use half::{bf16, f16};
use kiln_ir::{Class, DType, Tensor};
use num_complex::Complex;

/// The first difference, in words; `None` where there is none.
///
/// Floating and complex elements may differ by `atol + rtol * |want|`; NaN is NaN, and infinities must be equal.
pub fn difference(got: &Tensor, want: &Tensor, rtol: f64, atol: f64) -> Option<String> {
    if (got.dtype(), got.shape()) != (want.dtype(), want.shape()) {
        return Some(format!("is {} {:?}, not {} {:?}", got.dtype(), got.shape(), want.dtype(), want.shape()));
    }
    match want.dtype().class() {
        Class::Float | Class::Complex => {
            let (g, w) = (numbers(got), numbers(want));
            // The tolerance of an infinity is infinite, so only finite numbers are compared by distance.
            let near = |g: Complex<f64>, w: Complex<f64>| {
                let finite = g.is_finite() && w.is_finite();
                g == w || (g.is_nan() && w.is_nan()) || (finite && (g - w).norm() <= atol + rtol * w.norm())
            };
            let wrong: Vec<usize> = (0..w.len()).filter(|&i| !near(g[i], w[i])).collect();
            wrong.first().map(|&i| {
                let show = |z: Complex<f64>| if want.dtype().is_complex() { z.to_string() } else { z.re.to_string() };
                format!("element {i} is {}, not {}{}", show(g[i]), show(w[i]), among(&wrong, w.len()))
            })
        }
        Class::Other => {
            let (g, w) = (got.strings().unwrap_or_default(), want.strings().unwrap_or_default());
            let wrong: Vec<usize> = (0..w.len()).filter(|&i| g[i] != w[i]).collect();
            let text = |s: &[u8]| String::from_utf8_lossy(s).into_owned();
            wrong
                .first()
                .map(|&i| format!("element {i} is {:?}, not {:?}{}", text(&g[i]), text(&w[i]), among(&wrong, w.len())))
        }
        _ => {
            let (g, w) = (got.to_i64s().unwrap_or_default(), want.to_i64s().unwrap_or_default());
            let wrong: Vec<usize> = (0..w.len()).filter(|&i| g[i] != w[i]).collect();
            wrong.first().map(|&i| format!("element {i} is {}, not {}{}", g[i], w[i], among(&wrong, w.len())))
        }
    }
}

fn among(wrong: &[usize], all: usize) -> String {
    if wrong.len() > 1 { format!(" ({} of {all} differ)", wrong.len()) } else { String::new() }
}

/// The elements of a floating or complex tensor, exactly.
fn numbers(t: &Tensor) -> Vec<Complex<f64>> {
    fn real<T: kiln_ir::tensor::Element>(t: &Tensor, wide: impl Fn(T) -> f64) -> Vec<Complex<f64>> {
        t.as_slice::<T>().unwrap_or_default().iter().map(|&x| Complex::new(wide(x), 0.0)).collect()
    }
    match t.dtype() {
        DType::F16 => real(t, f16::to_f64),
        DType::BF16 => real(t, bf16::to_f64),
        DType::F32 => real(t, |x: f32| f64::from(x)),
        DType::F64 => real(t, |x: f64| x),
        DType::C64 => {
            let wide = |z: &Complex<f32>| Complex::new(f64::from(z.re), f64::from(z.im));
            t.as_slice().unwrap_or_default().iter().map(wide).collect()
        }
        _ => t.as_slice::<Complex<f64>>().unwrap_or_default().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f(x: &[f64]) -> Tensor {
        Tensor::of(&[x.len()], x)
    }

    #[test]
    fn floats_compare_within_both_tolerances() {
        assert_eq!(difference(&f(&[1.0, 100.09]), &f(&[1.0, 100.0]), 1e-3, 0.0), None);
        assert!(difference(&f(&[100.2]), &f(&[100.0]), 1e-3, 0.0).is_some_and(|d| d.contains("100.2")));
        assert_eq!(difference(&f(&[0.05]), &f(&[0.0]), 0.0, 0.1), None);
        assert!(difference(&f(&[0.05]), &f(&[0.0]), 1.0, 0.0).is_some());
    }

    #[test]
    fn nan_is_nan_and_infinities_have_signs() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert_eq!(difference(&f(&[nan, inf, -inf]), &f(&[nan, inf, -inf]), 0.0, 0.0), None);
        for (g, w) in [(nan, 1.0), (1.0, nan), (inf, -inf), (1e300, inf), (inf, 1.0)] {
            assert!(difference(&f(&[g]), &f(&[w]), 1e-3, 1e-3).is_some(), "{g} for {w}");
        }
    }

    #[test]
    fn types_and_shapes_must_be_the_same() {
        assert!(difference(&Tensor::of(&[1], &[1f32]), &f(&[1.0]), 1.0, 1.0).is_some());
        assert!(difference(&Tensor::of(&[1, 1], &[1f64]), &f(&[1.0]), 1.0, 1.0).is_some());
    }

    #[test]
    fn integers_strings_and_bools_must_be_equal() {
        let ints = |x: &[i64]| Tensor::of(&[x.len()], x);
        assert_eq!(difference(&ints(&[7]), &ints(&[7]), 0.0, 0.0), None);
        let d = difference(&ints(&[7, 8, 9]), &ints(&[7, 9, 8]), 9.0, 9.0).expect("a difference");
        assert!(d.contains("element 1 is 8, not 9 (2 of 3 differ)"), "{d}");
        let text = |s: &str| Tensor::of_strings(&[1], vec![s.into()]);
        assert_eq!(difference(&text("a"), &text("a"), 0.0, 0.0), None);
        assert!(difference(&text("a"), &text("b"), 9.0, 9.0).is_some());
        assert!(difference(&Tensor::of_bools(&[1], &[true]), &Tensor::of_bools(&[1], &[false]), 9.0, 9.0).is_some());
    }

    #[test]
    fn complex_numbers_compare_by_distance() {
        let c = |re: f64, im: f64| Tensor::of(&[1], &[Complex::new(re, im)]);
        assert_eq!(difference(&c(3.0, 4.01), &c(3.0, 4.0), 1e-2, 0.0), None);
        assert!(difference(&c(3.0, 4.1), &c(3.0, 4.0), 1e-2, 0.0).is_some());
    }
}
