//! Kernels in plain Rust, for CPUs without the others' instructions and as a check on them.
//!
//! The lanes are arrays that LLVM turns into the baseline's 128-bit vectors. Products are rounded
//! before they are added: without an FMA instruction a fused product is a call into libm, 50 times
//! slower. 4 x 8 floats are the 8 accumulators, 2 columns and 1 broadcast that 16 registers hold.

use super::kernel::{gemm_kernel, peak_loop};
use super::{Isa, Ukernels, Vector};

/// `N` lanes of `T`.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<T, const N: usize>([T; N]);

macro_rules! lanes {
    ($elem:ty, $lanes:literal) => {
        impl Vector for Lanes<$elem, $lanes> {
            type Elem = $elem;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn zero() -> Self {
                Lanes([0.0; $lanes])
            }

            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: the caller's elements are readable; arrays have their element's alignment.
                Lanes(unsafe { *from.cast::<[$elem; $lanes]>() })
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: the caller's elements are writable.
                unsafe { *to.cast::<[$elem; $lanes]>() = self.0 }
            }

            #[inline(always)]
            unsafe fn splat(from: *const $elem) -> Self {
                // SAFETY: the caller's element is readable.
                Lanes([unsafe { *from }; $lanes])
            }

            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                let mut sum = c;
                for i in 0..$lanes {
                    sum.0[i] += self.0[i] * b.0[i];
                }
                sum
            }

            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                let mut sum = self;
                for i in 0..$lanes {
                    sum.0[i] += b.0[i];
                }
                sum
            }
        }
    };
}
lanes!(f32, 4);
lanes!(f64, 2);

type F32x4 = Lanes<f32, 4>;
type F64x2 = Lanes<f64, 2>;

gemm_kernel!(F32_4X8, kiln_gemm_f32_portable_4x8, "portable_4x8", F32x4, 4 x 2, rows: [1 2 3 4]);
gemm_kernel!(F64_4X4, kiln_gemm_f64_portable_4x4, "portable_4x4", F64x2, 4 x 2, rows: [1 2 3 4]);

pub(super) static PORTABLE: Ukernels = Ukernels { isa: Isa::Portable, gemm_f32: &[F32_4X8], gemm_f64: &[F64_4X4] };

peak_loop!(portable_peak_f32, F32x4, 12);
peak_loop!(portable_peak_f64, F64x2, 12);
