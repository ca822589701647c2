//! What the lowering and the schedules know of a target machine.

use kiln_ir::DType;

/// Instruction-set family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Arch {
    X86_64,
    Aarch64,
    Ptx,
}

/// A target machine as data. Schedules are chosen from these numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Family.
    pub arch: Arch,
    /// LLVM triple.
    pub triple: String,
    /// LLVM CPU name.
    pub cpu: String,
    /// LLVM feature string, as `+avx2,+fma`; empty: the CPU's own.
    pub features: String,
    /// Widest vector in bytes: 16 (SSE, NEON, Cranelift), 32 (AVX2), 64 (AVX-512); 16 on a GPU (per thread).
    pub vector_bytes: u32,
    /// Whether vectors shorter than the widest do not exist (Cranelift): kernels use full ones and scalars.
    pub full_vectors_only: bool,
    /// Vector registers.
    pub vector_registers: u32,
    /// Fused multiply-add in hardware.
    pub fma: bool,
    /// Data caches of a core in bytes: L1, L2.
    pub l1: u64,
    /// See `l1`.
    pub l2: u64,
    /// Rows and lanes of the runtime's f32 micro-kernels that contractions may call: for a JIT whose vectors are narrower
    /// than the machine's. Empty for code that stands alone.
    pub tiles: Vec<(u16, u16)>,
}

impl Target {
    /// Lanes of the widest vector of an element type; masks and indices follow the elements that they serve.
    pub fn lanes(&self, elem: DType) -> u16 {
        (self.vector_bytes / elem.size().max(1) as u32).max(1) as u16
    }
}
