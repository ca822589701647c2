//! Kernels for x86-64: AVX2 with FMA (16 registers of 8 floats) and AVX-512F (32 of 16).
//!
//! Shapes: accumulators + B vectors + one broadcast fit the registers, and the row pointers the 15
//! general ones (12 x 8 on AVX2 does not: spills cost it a third of its speed). The wide shape is best for
//! its ratio of multiply-adds to loads; the narrow ones save padding for products with few columns.

use super::kernel::{gemm_kernel, peak_loop};
use super::vector::vector;
use super::{Isa, Ukernels};
use std::arch::x86_64::*;

vector!(__m256, f32, 8, zero: _mm256_setzero_ps(), load: _mm256_loadu_ps, store: _mm256_storeu_ps,
    splat: _mm256_set1_ps, mul_add: (a, b, c) => _mm256_fmadd_ps(a, b, c), add: _mm256_add_ps);
vector!(__m256d, f64, 4, zero: _mm256_setzero_pd(), load: _mm256_loadu_pd, store: _mm256_storeu_pd,
    splat: _mm256_set1_pd, mul_add: (a, b, c) => _mm256_fmadd_pd(a, b, c), add: _mm256_add_pd);
vector!(__m512, f32, 16, zero: _mm512_setzero_ps(), load: _mm512_loadu_ps, store: _mm512_storeu_ps,
    splat: _mm512_set1_ps, mul_add: (a, b, c) => _mm512_fmadd_ps(a, b, c), add: _mm512_add_ps);
vector!(__m512d, f64, 8, zero: _mm512_setzero_pd(), load: _mm512_loadu_pd, store: _mm512_storeu_pd,
    splat: _mm512_set1_pd, mul_add: (a, b, c) => _mm512_fmadd_pd(a, b, c), add: _mm512_add_pd);

gemm_kernel!(F32_6X16, kiln_gemm_f32_avx2_6x16, "avx2_6x16", __m256, 6 x 2, rows: [1 2 3 4 5 6], "avx2,fma");
gemm_kernel!(F32_8X8, kiln_gemm_f32_avx2_8x8, "avx2_8x8", __m256, 8 x 1, rows: [1 2 3 4 5 6 7 8], "avx2,fma");
gemm_kernel!(F64_6X8, kiln_gemm_f64_avx2_6x8, "avx2_6x8", __m256d, 6 x 2, rows: [1 2 3 4 5 6], "avx2,fma");
gemm_kernel!(F64_8X4, kiln_gemm_f64_avx2_8x4, "avx2_8x4", __m256d, 8 x 1, rows: [1 2 3 4 5 6 7 8], "avx2,fma");

gemm_kernel!(F32_8X48, kiln_gemm_f32_avx512_8x48, "avx512_8x48", __m512, 8 x 3, rows: [1 2 3 4 5 6 7 8], "avx512f");
gemm_kernel!(F32_12X32, kiln_gemm_f32_avx512_12x32, "avx512_12x32", __m512, 12 x 2, rows: [1 2 3 4 5 6 7 8 9 10 11 12], "avx512f");
gemm_kernel!(F32_12X16, kiln_gemm_f32_avx512_12x16, "avx512_12x16", __m512, 12 x 1, rows: [1 2 3 4 5 6 7 8 9 10 11 12], "avx512f");
gemm_kernel!(F64_8X24, kiln_gemm_f64_avx512_8x24, "avx512_8x24", __m512d, 8 x 3, rows: [1 2 3 4 5 6 7 8], "avx512f");
gemm_kernel!(F64_12X16, kiln_gemm_f64_avx512_12x16, "avx512_12x16", __m512d, 12 x 2, rows: [1 2 3 4 5 6 7 8 9 10 11 12], "avx512f");
gemm_kernel!(F64_12X8, kiln_gemm_f64_avx512_12x8, "avx512_12x8", __m512d, 12 x 1, rows: [1 2 3 4 5 6 7 8 9 10 11 12], "avx512f");

pub(super) static AVX2: Ukernels =
    Ukernels { isa: Isa::Avx2, gemm_f32: &[F32_6X16, F32_8X8], gemm_f64: &[F64_6X8, F64_8X4] };

pub(super) static AVX512: Ukernels = Ukernels {
    isa: Isa::Avx512,
    gemm_f32: &[F32_8X48, F32_12X32, F32_12X16],
    gemm_f64: &[F64_8X24, F64_12X16, F64_12X8],
};

peak_loop!(avx2_peak_f32, __m256, 12, "avx2,fma");
peak_loop!(avx2_peak_f64, __m256d, 12, "avx2,fma");
peak_loop!(avx512_peak_f32, __m512, 24, "avx512f");
peak_loop!(avx512_peak_f64, __m512d, 24, "avx512f");
