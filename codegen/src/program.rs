//! A compiled model before a backend prints it: machine-level kernels and the host program that calls them in order.
//!
//! The host program is printed as native code too, so an artifact needs no interpreter. Its machine ABI:
//!
//! ```c
//! int32_t PREFIX_run(const uint64_t *args, void *workspace, const kiln_parallel *par);
//! ```
//!
//! `args` is the generated `PREFIX_args` struct, whose members are all 8 bytes wide: the symbols as `int64_t` in the
//! order of [`Program::symbols`], the pointers of [`Program::inputs`], of [`Program::outputs`], and, with
//! [`Weights::Argument`], the pointer to the weights. The result is 0 or a status of the runtime's table.
//! `par` is null (run tasks here, in order) or points to `{ void *self; void (*parallel_for)(void *self, size_t n,
//! void (*body)(void *arg, size_t i), void *arg); }`.
//!
//! A kernel is `void kernel(const uint64_t *slots, size_t task)`: it is the body of `parallel_for` as it stands. Slots:
//! the pointers of its global buffers, its symbols as `int64_t`, then a pointer to an `int32_t` status cell, which
//! [`kiln_ir::loops::Inst::Check`] sets.

use std::collections::BTreeSet;

use kiln_ir::loops::Kernel;
use kiln_ir::{DType, Dim, Symbol, SymbolBounds};

/// A tensor that the caller passes.
#[derive(Clone, Debug)]
pub struct Port {
    /// Name as the signature has it.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents over the program's symbols.
    pub shape: Vec<Dim>,
}

impl Port {
    /// Size in bytes.
    pub fn bytes(&self) -> Dim {
        Dim::product(&self.shape) * Dim::from(self.dtype.size())
    }
}

/// Where a kernel's buffer is.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// The input with this index.
    Input(usize),
    /// The output with this index.
    Output(usize),
    /// This many bytes into the workspace.
    Workspace(Dim),
    /// This many bytes into the weights.
    Weights(u64),
}

/// A step of the host program.
#[derive(Clone, Debug)]
pub enum Step {
    /// Runs every task of a kernel; the next step starts when all are done.
    Launch {
        /// Index into [`Program::kernels`].
        kernel: usize,
        /// The place of each global buffer of the kernel.
        buffers: Vec<Place>,
        /// The value of each symbol of the kernel over the program's symbols.
        symbols: Vec<Dim>,
        /// Number of tasks over the program's symbols.
        tasks: Dim,
    },
    /// Runs the steps of one branch.
    Case {
        /// Where the selector lies: a bool (0 or 1 in a byte) or an i32; one out of range takes the last branch.
        selector: Place,
        /// `Bool` or `I32`.
        dtype: DType,
        /// The branches' steps.
        branches: Vec<Vec<Step>>,
    },
    /// Runs `test`; as long as that leaves a byte other than 0 at `goes_on`, runs `body` and `test` again.
    Loop {
        /// The steps that compute the condition.
        test: Vec<Step>,
        /// Where the condition lies: a bool.
        goes_on: Place,
        /// The steps of an iteration.
        body: Vec<Step>,
    },
    /// Calls a C function of the user's; `docs/custom-ops.md` is its ABI. A result other than 0 ends the run with
    /// [`kiln_rt::Status::CustomOp`].
    Extern {
        /// The function.
        function: External,
        /// What it reads.
        inputs: Vec<Placed>,
        /// What it writes.
        outputs: Vec<Placed>,
        /// A JSON object that ends in a zero byte.
        attributes: Place,
    },
}

/// A C function outside the program.
#[derive(Clone, Debug, PartialEq)]
pub enum External {
    /// A symbol that the linker finds.
    Symbol(String),
    /// An address in this process.
    Address(u64),
}

/// A tensor in memory, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Where it is.
    pub place: Place,
    /// Element type.
    pub dtype: DType,
    /// Extents over the program's symbols.
    pub shape: Vec<Dim>,
}

impl Placed {
    /// The second half of its `kiln_tensor`: rank in the low 32 bits, TensorFlow's number of the element type above.
    pub fn rank_and_dtype(&self) -> i64 {
        self.shape.len() as i64 | i64::from(self.dtype.tf_number()) << 32
    }
}

impl Step {
    /// Calls `f` with every launch and every call of a C function, those in branches and loops included, in order.
    pub fn for_each_leaf<'a>(steps: &'a [Step], f: &mut dyn FnMut(&'a Step)) {
        for s in steps {
            match s {
                Step::Launch { .. } | Step::Extern { .. } => f(s),
                Step::Case { branches, .. } => branches.iter().for_each(|b| Step::for_each_leaf(b, f)),
                Step::Loop { test, body, .. } => {
                    Step::for_each_leaf(test, f);
                    Step::for_each_leaf(body, f);
                }
            }
        }
    }
}

/// How the program finds its weights.
#[derive(Clone, Debug)]
pub enum Weights {
    /// In the object's read-only data, 64-byte aligned, under the symbol `PREFIX_weights`.
    Embedded(std::sync::Arc<Vec<u8>>),
    /// Through the last slot of `args`; 64-byte aligned.
    Argument,
}

/// Read-only data that goes into an object: metadata tables.
#[derive(Clone, Debug)]
pub struct DataSymbol {
    /// Symbol name.
    pub name: String,
    /// Contents; pointers are zero here and come from `pointers`.
    pub bytes: Vec<u8>,
    /// Alignment in bytes.
    pub align: u64,
    /// At this offset the address of another data symbol (by name), plus an addend.
    pub pointers: Vec<(u64, String, i64)>,
    /// Whether other objects see it.
    pub exported: bool,
}

/// A model ready for a backend.
#[derive(Clone, Debug)]
pub struct Program {
    /// Prefix of every exported symbol: a C identifier.
    pub prefix: String,
    /// Kernels at the machine level, each once: equal ones are shared. Their names are unique; they are not exported.
    pub kernels: Vec<Kernel>,
    /// Symbols in the order of the `args` slots, with their bounds: `run` refuses values outside.
    pub symbols: Vec<(Symbol, SymbolBounds)>,
    /// Inputs in order.
    pub inputs: Vec<Port>,
    /// Outputs in order.
    pub outputs: Vec<Port>,
    /// Bytes of workspace, a multiple of 64, over the symbols. The workspace must be 64-byte aligned.
    pub workspace: Dim,
    /// Weights.
    pub weights: Weights,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Data symbols for objects; a JIT ignores them.
    pub data: Vec<DataSymbol>,
}

impl Program {
    /// The C functions that the linker has to find: those of custom ops.
    pub fn externals(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        Step::for_each_leaf(&self.steps, &mut |s| {
            if let Step::Extern { function: External::Symbol(name), .. } = s {
                names.insert(name.as_str());
            }
        });
        names
    }
}

/// The host entry point of compiled code; see the module's documentation.
pub type RunFn = unsafe extern "C" fn(args: *const u64, workspace: *mut u8, par: *const std::ffi::c_void) -> i32;

/// Code in memory, ready to be called; dropping it frees the code.
pub trait JitCode: Send + Sync {
    /// The entry. Valid while `self` lives.
    fn run_fn(&self) -> RunFn;
    /// Bytes of machine code, as far as the backend knows.
    fn code_bytes(&self) -> usize;
}
