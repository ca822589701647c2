//! The Cranelift backend: the instant JIT tier, the second oracle, and objects on machines without LLVM.
//!
//! It prints machine-level kernels (`kernel`) and the host program (`host`) as Cranelift functions and compiles
//! them in parallel (`module`). Vectors have at most 128 bits: [`legal_lanes`] says how many lanes fill one. Hot
//! contractions therefore call the runtime's micro-kernels ([`TileSymbol`]), in a JIT only.
//!
//! The same program gives the same bytes, whatever the number of threads.

mod arith;
mod cast;
mod host;
mod isa;
mod kernel;
mod memory;
mod module;
mod tile;
mod value;

pub use isa::host_target;
pub use module::{compile_object, jit};

use kiln_ir::DType;

/// How hard Cranelift works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OptLevel {
    /// Code in the order in which it is printed, with good register allocation.
    None,
    /// Common subexpressions, loop-invariant code and constant divisions too.
    Speed,
    /// The better of the two for each kernel: [`OptLevel::None`] for register tiles, whose order is chosen already, and
    /// for the host program; [`OptLevel::Speed`] for the others.
    ///
    /// Cranelift's optimizer keeps loads where they are and moves arithmetic down to its first use. In a loop that sums
    /// into many registers all loads come first then, and registers are spilled: on a 2021 server core (EPYC 7003) a 4 x 8
    /// tile with its loop unrolled twice reaches 39 GFLOP/s as printed and 24 optimized, while a polynomial of degree 10
    /// takes 3.1 ns for four elements as printed and 1.9 optimized.
    #[default]
    Auto,
}

/// How to compile.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Optimization.
    pub opt: OptLevel,
    /// Threads that compile; 0: as many as the machine runs.
    pub threads: usize,
    /// Micro-kernels that `CallTile` may call; for a JIT only.
    pub tiles: Vec<TileSymbol>,
}

/// A micro-kernel of this process for [`kiln_ir::loops::Inst::CallTile`]: the f32 tile of exactly these extents.
///
/// Its type is `kiln_rt::ukernel::GemmFn<f32>`: `void f(const GemmTile *)`, the structure of 14 fields of 8 bytes.
#[derive(Clone, Debug)]
pub struct TileSymbol {
    /// Most rows of a tile; `CallTile` passes how many are valid.
    pub rows: u16,
    /// Columns of a tile: the width of the packed right operand.
    pub lanes: u16,
    /// Symbol.
    pub name: String,
    /// Address of the function.
    pub address: usize,
}

/// The micro-kernels of the widest instruction set that this machine has.
pub fn host_tiles() -> Vec<TileSymbol> {
    let symbol = |k: &kiln_rt::ukernel::GemmKernel<f32>| {
        let (rows, lanes) = (u16::try_from(k.shape.mr).ok()?, u16::try_from(k.shape.nr).ok()?);
        Some(TileSymbol { rows, lanes, name: k.symbol.to_owned(), address: (k.run as *const ()).expose_provenance() })
    };
    kiln_rt::ukernel::select().gemm_f32().iter().filter_map(symbol).collect()
}

/// Lanes of the vector of an element type that fills a register; bool has the masks of all of them.
///
/// Other powers of two print as several registers or part of one (an i64x4 index vector for f32x4, the i8x4 that an
/// i32x4 comes from). `None` for types that kernels do not touch.
pub fn legal_lanes(elem: DType) -> Option<u16> {
    (elem.is_plain() && !elem.is_complex()).then(|| (value::REGISTER / elem.size()) as u16)
}
