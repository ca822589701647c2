//! The loop IR: one kernel per fused cluster, at three levels of one closed instruction set.
//!
//! **L1 nest.** Logical loops over scalars. Buffers are indexed per axis; layouts do not show. A reduction is a loop
//! that carries accumulators with a declared combiner. A contraction or a convolution is such a nest.
//!
//! **L2 scheduled.** Loops are split, ordered and mapped. A loop mapped to *rows* or *lanes* has become a tile
//! dimension: values are 2-D tiles `rows x lanes` (a scalar is 1x1, a row of a packed panel 1xL, a column of row
//! addresses Rx1, an accumulator RxL), and operations broadcast extents of 1. Register tiles, packed operands, matrix
//! intrinsics, asynchronous copies and barriers appear here.
//!
//! **L3 machine.** Rows are gone: straight-line SSA over scalars and vectors whose lane counts the target has, one
//! explicit element offset for each access, explicit splats. A printer decides nothing.
//!
//! One interpreter executes all levels ([`interp`]), with bounds and race checks. `docs/loop-ir.md` has the text form.

mod builder;
pub mod inst;
pub mod interp;
pub mod layout;
pub mod parse;
pub mod print;
pub mod verify;

pub use builder::{KernelBuilder, OpenIf, OpenLoop};
pub use inst::{Block, Carried, For, Inst, IntrinsicId, LoopKind, Stmt, ThreadAxis, Ty, V};
pub use layout::Layout;

use crate::{DType, Dim, Symbol};

/// How far a kernel is lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Logical loops over scalars.
    Nest,
    /// Tiles, mapped loops, layouts.
    Scheduled,
    /// Machine vectors, explicit addresses.
    Machine,
}

/// Where a buffer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Memory of the device: passed to the kernel as a pointer.
    Global,
    /// Private to one task (CPU: the stack; GPU: registers or local memory); allocated by the kernel.
    Private,
    /// Shared by the threads of one GPU block; allocated by the kernel.
    Shared,
}

/// What a kernel may do with a global buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only read; never aliases a written buffer.
    Read,
    /// Only written, each element at most once per task; elements read back are the task's own.
    Write,
    /// Read and written (in-place update).
    ReadWrite,
}

/// A buffer that a kernel touches. Global ones are parameters in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Name in the text form.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Logical extents.
    pub shape: Vec<Dim>,
    /// Map from logical indices to element offsets.
    pub layout: Layout,
    /// Memory space.
    pub space: Space,
    /// Allowed accesses.
    pub access: Access,
    /// Guaranteed alignment of the first element, in bytes.
    pub align: u32,
}

/// Index of a buffer within its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufId(pub u32);

/// A kernel: a function of its global buffers, its symbols and a task number.
///
/// Machine ABI: `void kernel(const uint64_t *slots, size_t task)`; the slots hold the pointers of the global buffers in
/// order, then the symbols as i64 in order. Tasks are independent of each other: the host runs `tasks` of them in any
/// order, on any number of threads. On a GPU a task is a block, and `threads` of them run it together.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Name; a C identifier.
    pub name: String,
    /// Level.
    pub level: Level,
    /// Buffers; global ones first.
    pub buffers: Vec<Buffer>,
    /// Symbols that shapes and bounds mention, in slot order.
    pub symbols: Vec<Symbol>,
    /// Number of tasks.
    pub tasks: Dim,
    /// Threads of a GPU block; 1 on a CPU.
    pub threads: u32,
    /// Body.
    pub body: Block,
    /// Type of each value; ids index it.
    pub types: Vec<Ty>,
}

impl Kernel {
    /// The type of a value.
    pub fn ty(&self, v: V) -> Ty {
        self.types[v.0 as usize]
    }

    /// A buffer.
    pub fn buffer(&self, b: BufId) -> &Buffer {
        &self.buffers[b.0 as usize]
    }

    /// The global buffers: the pointer parameters, in slot order.
    pub fn params(&self) -> impl Iterator<Item = (BufId, &Buffer)> {
        self.buffers.iter().enumerate().filter(|b| b.1.space == Space::Global).map(|(i, b)| (BufId(i as u32), b))
    }
}
