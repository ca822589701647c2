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
