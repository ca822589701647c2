//! Micro-kernels: the inner tile of matrix products and convolutions, for code that cannot hold wide
//! vectors itself (Cranelift's stop at 128 bits) and as a yardstick for code that can.
//!
//! One kernel serves both: it computes an `rows x NR` tile
//!
//! `C[r][j] (+)= sum over t < taps, p < k of A[row_off(t, r) + tap_off[t] + p * a_k_stride] * B[t][p][j]`
//!
//! - a matrix product has one tap; `row_off[r]` is row `r`'s start;
//! - a convolution over NHWC has a tap for each window position and `k` input channels; `row_off[r]` is
//!   the first input element of output pixel `r`'s window, `tap_off[t]` the tap's distance from it;
//! - at an image's edge the rows differ by tap: `row_off_tap_stride` makes `row_off` a table with a row
//!   for each tap, whose entries may lead to a buffer of zeros.
//!
//! The tile goes to a small scratch buffer from which the caller's epilogue (bias, activation, residual)
//! reads it while it is in L1, or right to its place in a row-major matrix.
//!
//! Numeric contract, the same for all kernels with fused multiply-add: each element is summed in order
//! of `(t, p)` in chains of [`CHAIN`] products; a finished chain is added to C. So bits do not depend on
//! the number of rows, on the tile shape or on the instruction set (the portable kernel rounds products
//! too and differs in the last bits), and a long sum's error grows with `CHAIN + n / CHAIN` and not with
//! `n`.
//!
//! Proof of CPU support is a type: a kernel table is reachable only through a token ([`Avx2Fma`], ...)
//! that only a successful detection can make.

mod kernel;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::{neon_peak_f32, neon_peak_f64};
pub(crate) use portable::{portable_peak_f32, portable_peak_f64};
pub(crate) use vector::Vector;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{avx2_peak_f32, avx2_peak_f64, avx512_peak_f32, avx512_peak_f64};

use std::sync::OnceLock;

/// Products summed in one chain before the chain is added to C.
///
/// 256 keeps the cost of the additions under 1 % and the error of a sum of 25,088 products (the longest
/// contraction of the usual image networks) within `2 eps (log2 n + 8) sum |a b|`.
pub const CHAIN: usize = 256;

/// The arguments of a kernel. All fields are 8 bytes, in this order, so that generated code can store
/// them at `8 * position`. Offsets and strides are in elements, not bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GemmTile<T> {
    /// Where A's offsets count from.
    pub a: *const T,
    /// Offset of row `r` for tap `t` at `row_off[t * row_off_tap_stride + r]`.
    pub row_off: *const i64,
    /// Offset of each tap, `taps` values; NULL means all zero.
    pub tap_off: *const i64,
    /// Packed B: `nr` values for each `(t, p)`, at `t * b_tap_stride + p * b_k_stride`. Columns beyond
    /// the matrix are present (zero by convention). No alignment is needed; 64 bytes is fastest.
    pub b: *const T,
    /// The tile, `rows` rows of `nr` values each.
    pub c: *mut T,
    /// Products for each tap. 0 is allowed: the tile becomes zero, or stays if accumulating.
    pub k: usize,
    /// Number of taps, 1 for a matrix product; 0 is allowed.
    pub taps: usize,
    /// Rows of the tile, at most the kernel's `mr`; larger values are cut to it.
    pub rows: usize,
    /// Distance between taps in `row_off`: 0 if the rows are the same for all taps.
    pub row_off_tap_stride: usize,
    /// Distance in A from one `p` to the next; 1 is fastest. May be negative.
    pub a_k_stride: i64,
    /// Distance in B from one `p` to the next: `nr` if packed, the row length for a row-major matrix
    /// that is used as it is.
    pub b_k_stride: usize,
    /// Distance in B from one tap to the next: `k * nr` if packed.
    pub b_tap_stride: usize,
    /// Distance in C from one row to the next: `nr` for a scratch tile.
    pub c_row_stride: usize,
    /// 0: C is overwritten; otherwise the sum is added to it.
    pub accumulate: u64,
}

/// A kernel's entry point.
///
/// # Safety
/// For a call: `tile` points to a valid [`GemmTile`]; all elements that its fields describe are
/// readable (A, B, offsets) and writable (C), C overlaps none of the others, and the CPU has the
/// features of the kernel's table.
pub type GemmFn<T> = unsafe extern "C" fn(tile: *const GemmTile<T>);

/// The size of a kernel's tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileShape {
    /// Most rows of a tile.
    pub mr: usize,
    /// Columns of a tile: the width of B's packed panels.
    pub nr: usize,
    /// For people: instruction set and size, such as `avx2_6x16`.
    pub name: &'static str,
}

/// A kernel: its shape and where it is.
#[derive(Clone, Copy, Debug)]
pub struct GemmKernel<T: 'static> {
    /// The tile's size.
    pub shape: TileShape,
    /// The C symbol of `run` in `libkiln_rt.a`, for objects that are linked later.
    pub symbol: &'static str,
    /// The entry point, for code in this process.
    pub run: GemmFn<T>,
}

/// Instruction sets with kernels of their own, from narrow to wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust; no fused multiply-add is assumed.
    Portable,
    /// AArch64 Advanced SIMD.
    Neon,
    /// AVX2 and FMA3.
    Avx2,
    /// AVX-512F.
    Avx512,
}

impl Isa {
    /// Lower-case name: `portable`, `neon`, `avx2`, `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

/// The kernels of one instruction set. Each list goes from the widest tile to the narrowest and is
/// never empty.
#[derive(Debug)]
pub struct Ukernels {
    /// The instruction set.
    pub isa: Isa,
    gemm_f32: &'static [GemmKernel<f32>],
    gemm_f64: &'static [GemmKernel<f64>],
}

impl Ukernels {
    /// All f32 kernels, widest first.
    pub fn gemm_f32(&self) -> &'static [GemmKernel<f32>] {
        self.gemm_f32
    }

    /// All f64 kernels, widest first.
    pub fn gemm_f64(&self) -> &'static [GemmKernel<f64>] {
        self.gemm_f64
    }

    /// The f32 kernel for a product with `n` columns: the one that computes the fewest padding columns,
    /// the wider one if they are equal.
    pub fn gemm_f32_for(&self, n: usize) -> Option<&'static GemmKernel<f32>> {
        fewest_columns(self.gemm_f32, n)
    }

    /// The f64 kernel for a product with `n` columns, as [`Ukernels::gemm_f32_for`].
    pub fn gemm_f64_for(&self, n: usize) -> Option<&'static GemmKernel<f64>> {
        fewest_columns(self.gemm_f64, n)
    }
}

/// `None` only for an empty list.
fn fewest_columns<T>(kernels: &'static [GemmKernel<T>], n: usize) -> Option<&'static GemmKernel<T>> {
    // `min_by_key` keeps the first of equals, and the list starts with the widest.
    kernels.iter().min_by_key(|kernel| n.div_ceil(kernel.shape.nr).saturating_mul(kernel.shape.nr))
}

/// Proof that this CPU has AVX2 and FMA, and that the system saves their registers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Avx2Fma(());

/// Proof that this CPU has AVX-512F, and that the system saves its registers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

/// Proof that this CPU has Advanced SIMD.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

macro_rules! token {
    ($token:ident, $arch:literal, [$($detected:expr),+], $table:expr) => {
        #[cfg(target_arch = $arch)]
        impl $token {
            /// The token, if this CPU has the features.
            pub fn detect() -> Option<$token> {
                ($($detected)&&+).then_some($token(()))
            }

            /// The kernels that need them.
            pub fn ukernels(self) -> &'static Ukernels {
                &$table
            }
        }
    };
}

token!(Avx2Fma, "x86_64", [is_x86_feature_detected!("avx2"), is_x86_feature_detected!("fma")], x86::AVX2);
token!(Avx512, "x86_64", [is_x86_feature_detected!("avx512f")], x86::AVX512);
token!(Neon, "aarch64", [std::arch::is_aarch64_feature_detected!("neon")], neon::NEON);

/// The kernels of plain Rust, which every CPU runs.
pub fn portable() -> &'static Ukernels {
    &portable::PORTABLE
}

/// All tables that this CPU can run, narrow to wide.
pub fn available() -> Vec<&'static Ukernels> {
    let mut tables = vec![portable()];
    #[cfg(target_arch = "aarch64")]
    tables.extend(Neon::detect().map(Neon::ukernels));
    #[cfg(target_arch = "x86_64")]
    {
        tables.extend(Avx2Fma::detect().map(Avx2Fma::ukernels));
        tables.extend(Avx512::detect().map(Avx512::ukernels));
    }
    tables
}

/// The widest table that this CPU can run. Detection happens once.
pub fn select() -> &'static Ukernels {
    static WIDEST: OnceLock<&'static Ukernels> = OnceLock::new();
    WIDEST.get_or_init(|| available().into_iter().max_by_key(|table| table.isa).unwrap_or(portable()))
}

/// The table of one instruction set, if this CPU can run it.
pub fn for_isa(isa: Isa) -> Option<&'static Ukernels> {
    available().into_iter().find(|table| table.isa == isa)
}
