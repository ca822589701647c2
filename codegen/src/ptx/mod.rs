//! PTX: machine-level kernels printed as text for NVIDIA GPUs, and (feature `cuda`) loaded and launched.
//!
//! Invariants:
//! * The printer decides nothing that changes a result: every arithmetic instruction carries its rounding (`.rn`), so
//!   that the driver's assembler never contracts a product and a sum; minimum and maximum are the NaN-propagating forms.
//! * One entry for each kernel, named by [`entry_name`]. Parameters: one `.u64` for each global buffer in slot order, one
//!   `.s64` for each symbol, then the `.u64` address of an `i32` status cell that [`kiln_ir::loops::Inst::Check`] raises.
//! * A task is a block (`%ctaid.x`); `Kernel::threads` threads run it (`.reqntid`).
//! * What has no machine form (a transcendental that was not expanded, a symbolic `Dim`) is an error that names the
//!   kernel and the value, never a wrong or slow substitute.
//!
//! Numeric forms follow the strict table of the semantics document. f16 and bf16 live in 16-bit registers; sums,
//! products, quotients and square roots are computed in f32 and rounded once more, which gives the correctly rounded
//! result (24 >= 2 * 11 + 2 significant bits); a fused multiply-add uses the 16-bit instruction itself, because there the
//! detour would round twice. The operands of a TF32 product are f32 values: the printer rounds them to TF32 (nearest,
//! ties away from zero, `cvt.rna.tf32.f32`) at the [`kiln_ir::loops::Inst::Mma`] that reads them, so the rounding is part
//! of the intrinsic's meaning and no other instruction sees a TF32 value.

mod arith;
mod control;
mod convert;
mod known;
mod matrix;
mod memory;
mod print;
mod regs;

#[cfg(feature = "cuda")]
pub mod cuda;

pub use print::{entry_name, print_module};
