//! From fused clusters to native code: lowering to the loop IR, schedules, and the printers.

#[cfg(feature = "cranelift")]
pub mod cranelift;
#[cfg(feature = "llvm")]
pub mod llvm;
pub mod program;
pub mod ptx;
pub mod target;
