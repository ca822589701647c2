//! Elements in the widest type of their class: how reference evaluation accumulates.
//!
//! Floats are held as f64 and rounded once at the end; integers and bools as i64, whose wrapping sums and products hold
//! the right low bits for every width, signed or not; complex numbers as pairs of f64.

use half::f16;
use num_complex::Complex;

use crate::op::OpError;
use crate::tensor::element_count;
use crate::{Class, DType, Tensor};

/// The elements of a tensor, widened.
#[derive(Clone, Debug)]
pub(crate) enum Wide {
    /// Integers of any width (u64 as the same bits) and bools as 0 or 1.
    Int(Vec<i64>),
    /// Floats, exactly.
    Real(Vec<f64>),
    /// Complex numbers, exactly.
    Complex(Vec<Complex<f64>>),
}

/// A number that accumulates products.
pub(crate) trait Num: Copy + Default + Send + Sync + 'static {
    /// `self + a * b`.
    fn add_mul(self, a: Self, b: Self) -> Self;
    /// `self + a`.
    fn plus(self, a: Self) -> Self;
}

impl Num for f64 {
    #[inline(always)]
    fn add_mul(self, a: f64, b: f64) -> f64 {
        self + a * b
    }
    #[inline(always)]
    fn plus(self, a: f64) -> f64 {
        self + a
    }
}

impl Num for i64 {
    #[inline(always)]
    fn add_mul(self, a: i64, b: i64) -> i64 {
        self.wrapping_add(a.wrapping_mul(b))
    }
    #[inline(always)]
    fn plus(self, a: i64) -> i64 {
        self.wrapping_add(a)
    }
}

impl Num for Complex<f64> {
    #[inline(always)]
    fn add_mul(self, a: Self, b: Self) -> Self {
        self + a * b
    }
    #[inline(always)]
    fn plus(self, a: Self) -> Self {
        self + a
    }
}

/// f64 to f16, rounded once: through an f32 rounded to odd, which keeps what decides the second rounding.
fn f16_of(x: f64) -> f16 {
    let near = x as f32;
    let exact = f64::from(near);
    let odd = if exact == x || !x.is_finite() || !near.is_finite() || near.to_bits() & 1 == 1 {
        near
    } else if (exact < x) == (x > 0.0) {
        f32::from_bits(near.to_bits() + 1)
    } else {
        f32::from_bits(near.to_bits() - 1)
    };
    f16::from_f32(odd)
}

impl Wide {
    /// The elements of a plain tensor.
    pub(crate) fn of(op: &'static str, t: &Tensor) -> Result<Wide, OpError> {
        let wide = match t.dtype().class() {
            Class::Float => t.to_f64s().map(Wide::Real),
            Class::Complex => t
                .as_slice::<Complex<f32>>()
                .map(|s| s.iter().map(|z| Complex::new(f64::from(z.re), f64::from(z.im))).collect())
                .or_else(|| t.as_slice::<Complex<f64>>().map(<[_]>::to_vec))
                .map(Wide::Complex),
            _ => t.to_i64s().map(Wide::Int),
        };
        wide.ok_or_else(|| OpError::new(op, "E1", format!("elements of type {} are no numbers", t.dtype())))
    }

    /// The elements rounded (integers: wrapped) to a type of the same class.
    pub(crate) fn into_tensor(self, op: &'static str, dtype: DType, shape: &[usize]) -> Result<Tensor, OpError> {
        let fail = |what: String| OpError::new(op, "E2", what);
        let n = match &self {
            Wide::Int(v) => v.len(),
            Wide::Real(v) => v.len(),
            Wide::Complex(v) => v.len(),
        };
        if element_count(shape) != Some(n) {
            return Err(fail(format!("{n} elements cannot have shape {shape:?}")));
        }
        let narrow = match self {
            Wide::Int(v) => Tensor::from_i64s(dtype, shape, &v),
            Wide::Real(v) => match dtype {
                DType::F64 => Some(Tensor::of(shape, &v)),
                DType::F32 => Some(Tensor::of(shape, &v.iter().map(|&x| x as f32).collect::<Vec<_>>())),
                DType::F16 => Some(Tensor::of(shape, &v.iter().map(|&x| f16_of(x)).collect::<Vec<_>>())),
                DType::BF16 => Some(Tensor::of(shape, &v.iter().map(|&x| half::bf16::from_f64(x)).collect::<Vec<_>>())),
                _ => None,
            },
            Wide::Complex(v) => match dtype {
                DType::C128 => Some(Tensor::of(shape, &v)),
                DType::C64 => {
                    let narrow: Vec<_> = v.iter().map(|z| Complex::new(z.re as f32, z.im as f32)).collect();
                    Some(Tensor::of(shape, &narrow))
                }
                _ => None,
            },
        };
        narrow.ok_or_else(|| fail(format!("the result cannot be {dtype}")))
    }
}

/// Zeroed memory for a result, unless its size leaves the address space.
pub(crate) fn zeroed<T: Default + Clone>(op: &'static str, shape: &[usize]) -> Result<Vec<T>, OpError> {
    let n = element_count(shape).filter(|n| n.checked_mul(size_of::<T>()).is_some_and(|b| b <= isize::MAX as usize));
    Ok(vec![
        T::default();
        n.ok_or_else(|| OpError::new(op, "E2", format!("a result of shape {shape:?} is too large")))?
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_rounds_once() {
        // 1 + 2^-11 lies halfway between two f16; a bit of 2^-40 above decides upward, which f32 alone would lose.
        let x = 1.0 + (-11f64).exp2() + (-40f64).exp2();
        assert_eq!(f16_of(x).to_bits(), f16::from_f32(1.0).to_bits() + 1);
        assert_eq!(f16_of(-x).to_bits(), f16::from_f32(-1.0).to_bits() + 1);
        let below = 1.0 + (-11f64).exp2() - (-40f64).exp2();
        assert_eq!(f16_of(below).to_f64(), 1.0);
        assert!(f16_of(f64::NAN).is_nan() && f16_of(1e300).is_infinite());
        assert_eq!(f16_of(65504.0).to_f64(), 65504.0);
    }
}
