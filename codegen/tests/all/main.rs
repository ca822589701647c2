//! The printers, the planner and the lowering, backend by backend. One program: each would link Cranelift and LLVM once more.

mod call_tiles;
#[cfg(feature = "cranelift")]
mod cranelift_control;
#[cfg(feature = "cranelift")]
mod cranelift_host;
#[cfg(feature = "cranelift")]
mod cranelift_ops;
#[cfg(feature = "cranelift")]
mod cranelift_support;
#[cfg(feature = "cuda")]
mod gpu;
mod gpu_kernels;
mod in_place;
#[cfg(feature = "llvm")]
mod llvm_common;
#[cfg(feature = "llvm")]
mod llvm_control;
#[cfg(feature = "llvm")]
mod llvm_gemm;
#[cfg(feature = "llvm")]
mod llvm_host;
#[cfg(feature = "llvm")]
mod llvm_ops;
mod lower;
#[cfg(feature = "cranelift")]
mod math;
mod ptx;

use kiln_ir::DType;

/// The element types that kernels compute with.
#[allow(dead_code)] // a build without a CPU backend runs no ops
pub const ELEMS: [DType; 13] = [
    DType::Bool,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::F16,
    DType::BF16,
    DType::F32,
    DType::F64,
];
