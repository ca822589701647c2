//! Kernels for AArch64: 32 registers of 4 floats or 2 doubles, fused multiply-add in the baseline.

use super::kernel::{gemm_kernel, peak_loop};
use super::vector::vector;
use super::{Isa, Ukernels};
use std::arch::aarch64::*;

// The instruction adds to its first operand: `vfma(c, a, b)` is `c + a * b`.
vector!(float32x4_t, f32, 4, zero: vdupq_n_f32(0.0), load: vld1q_f32, store: vst1q_f32,
    splat: vdupq_n_f32, mul_add: (a, b, c) => vfmaq_f32(c, a, b), add: vaddq_f32);
vector!(float64x2_t, f64, 2, zero: vdupq_n_f64(0.0), load: vld1q_f64, store: vst1q_f64,
    splat: vdupq_n_f64, mul_add: (a, b, c) => vfmaq_f64(c, a, b), add: vaddq_f64);

gemm_kernel!(F32_8X12, kiln_gemm_f32_neon_8x12, "neon_8x12", float32x4_t, 8 x 3, rows: [1 2 3 4 5 6 7 8], "neon");
gemm_kernel!(F32_12X8, kiln_gemm_f32_neon_12x8, "neon_12x8", float32x4_t, 12 x 2, rows: [1 2 3 4 5 6 7 8 9 10 11 12], "neon");
gemm_kernel!(F64_8X6, kiln_gemm_f64_neon_8x6, "neon_8x6", float64x2_t, 8 x 3, rows: [1 2 3 4 5 6 7 8], "neon");
gemm_kernel!(F64_12X4, kiln_gemm_f64_neon_12x4, "neon_12x4", float64x2_t, 12 x 2, rows: [1 2 3 4 5 6 7 8 9 10 11 12], "neon");

pub(super) static NEON: Ukernels =
    Ukernels { isa: Isa::Neon, gemm_f32: &[F32_8X12, F32_12X8], gemm_f64: &[F64_8X6, F64_12X4] };

peak_loop!(neon_peak_f32, float32x4_t, 24, "neon");
peak_loop!(neon_peak_f64, float64x2_t, 24, "neon");
