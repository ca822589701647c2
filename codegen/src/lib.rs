//! From fused clusters to native code: lowering to the loop IR, schedules, and the printers.

#[cfg(feature = "cranelift")]
pub mod cranelift;
#[cfg(feature = "llvm")]
pub mod llvm;
pub mod lower;
pub mod machine;
pub mod math;
pub mod plan;
pub mod program;
pub mod ptx;
pub mod schedule;
pub mod simulate;
pub mod target;
