//! The optimizing CPU backend: programs through LLVM 22 to objects and to code in memory.
//!
//! [`compile_object`] and [`jit`] print a program as LLVM assembly (`kernel`, `ops` and `convert` for kernels, `host`
//! for the host program, `data` for tables), and `machine` turns the text into an object. A JIT links the same objects
//! (`jit`). Nothing here chooses: tiles, vectors, unrolling and order are the machine level's.
//!
//! An object has no undefined symbol but the memory functions of libc and libm's, defines no global symbol but
//! `PREFIX_*`, is position-independent, and is the same, byte for byte, for the same input.

mod convert;
mod data;
mod elf;
mod host;
mod host_target;
mod jit;
mod kernel;
mod machine;
mod ops;
mod text;

pub use host_target::host_target;

use std::alloc::Layout;

use anyhow::{Context as _, Result, anyhow, ensure};

use self::convert::Halves;
use self::host::WeightsBase;
use self::ops::Ops;
use self::text::ModuleText;
use crate::program::{JitCode, Program, RunFn, Weights};
use crate::target::{Arch, Target};

/// What [`compile_object`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Emit {
    /// A relocatable object.
    #[default]
    Obj,
    /// Assembly text. Embedded weights are shown as 64 zero bytes.
    Asm,
    /// LLVM assembly after the passes. Embedded weights are shown as 64 zero bytes.
    Ir,
}

/// Addresses of the runtime's micro-kernels in this process.
pub trait TileSymbols: Sync {
    /// The kernel that computes tiles of these extents, a function of one pointer to the runtime's `GemmTile`.
    fn address(&self, rows: u16, lanes: u16) -> Option<usize>;
}

/// How to compile.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// 0: fastest compilation, .. 3: fastest code.
    pub opt_level: u8,
    /// Contraction and approximate reciprocals are allowed.
    pub math_fast: bool,
    /// What to return.
    pub emit: Emit,
    /// Threads that compile; the code does not depend on it.
    pub threads: usize,
    /// Whether other objects see `PREFIX_weights`.
    pub export_weights: bool,
    /// Micro-kernels for `CallTile`; only a JIT may have them.
    pub tiles: Option<&'a dyn TileSymbols>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { opt_level: 3, math_fast: false, emit: Emit::Obj, threads: 1, export_weights: false, tiles: None }
    }
}

/// What the printers know of the target and the options.
struct Env<'a> {
    target: &'a Target,
    ops: Ops,
    /// Gathers of 4- and 8-byte elements use the hardware's instruction.
    gather: bool,
    math_fast: bool,
    tiles: Option<&'a dyn TileSymbols>,
    elf: bool,
}

impl<'a> Env<'a> {
    fn new(target: &'a Target, options: &Options<'a>) -> Env<'a> {
        let wide = target.vector_bytes >= 32; // AVX or more
        let arm = target.arch == Arch::Aarch64;
        Env {
            target,
            ops: Ops {
                halves: Halves { f16: arm || has_f16c(target) },
                roundeven: arm || wide,
                ieee_max: arm,
                fast: options.math_fast,
            },
            // With 512-bit registers a gather is faster than 16 inserts; before that it is not.
            gather: target.vector_bytes >= 64,
            math_fast: options.math_fast,
            tiles: options.tiles,
            elf: !["darwin", "macos", "windows", "ios"].iter().any(|os| target.triple.contains(os)),
        }
    }

    fn fp_flags(&self) -> &'static str {
        if self.math_fast { "contract arcp " } else { "" }
    }

    fn attributes(&self) -> String {
        let bits = 8 * self.target.vector_bytes;
        format!(
            "nounwind norecurse \"frame-pointer\"=\"none\" \"prefer-vector-width\"=\"{bits}\" \"min-legal-vector-width\"=\"{bits}\""
        )
    }

    /// A section of its own for each function, so that linkers can drop what is not used.
    fn section(&self, function: &str) -> String {
        if self.elf { format!(" section \".text.{function}\"") } else { String::new() }
    }
}

/// Whether the target converts f16 in hardware: said by a feature, or implied by a CPU that has AVX2.
fn has_f16c(target: &Target) -> bool {
    let said = |f: &str| target.features.split(',').any(|x| x == f);
    let generic = ["", "generic", "x86-64", "x86-64-v2"].contains(&target.cpu.as_str());
    target.arch == Arch::X86_64 && !said("-f16c") && (said("+f16c") || (!generic && target.vector_bytes >= 32))
}

/// LLVM's version.
pub fn version() -> String {
    let (major, minor, patch) = inkwell::support::get_llvm_version();
    format!("{major}.{minor}.{patch}")
}

/// Compiles a program into one object (or its text).
///
/// # Errors
/// A kernel that is not at the machine level or holds an instruction that CPUs do not have, an inconsistent program, an
/// unknown target; the message names the kernel.
pub fn compile_object(program: &Program, target: &Target, options: &Options<'_>) -> Result<Vec<u8>> {
    ensure!(options.tiles.is_none(), "addresses of micro-kernels are of use to a JIT only");
    let env = Env::new(target, options);
    let prefix = &program.prefix;
    ensure!(kernel::is_identifier(prefix), "the prefix `{prefix}` is not a C identifier");
    let machine = machine::target_machine(target, options)?;
    let mut module = ModuleText::new();
    let base = match &program.weights {
        Weights::Embedded(_) => {
            ensure!(
                env.elf,
                "embedded weights need an ELF target, which `{}` is not: keep the weights in a file",
                target.triple
            );
            data::print_weights_placeholder(&mut module, prefix, options.export_weights);
            WeightsBase::Constant(format!("ptrtoint (ptr @{prefix}_weights to i64)"))
        }
        Weights::Argument => WeightsBase::Argument,
    };
    data::print_data(&mut module, program)?;
    for k in &program.kernels {
        kernel::print_kernel(&mut module, k, &env, "internal")?;
    }
    host::print_host(&mut module, program, &env, &base)?;
    let text = module.finish(&target.triple, &machine::data_layout(&machine));
    let output = machine::emit(&text, &machine, options, options.emit)?;
    if options.emit != Emit::Obj || !env.elf {
        return Ok(output);
    }
    elf::check_imports(&output, &program.externals())?;
    match &program.weights {
        Weights::Embedded(w) => elf::fill_section(output, &format!("{prefix}_weights"), w),
        Weights::Argument => Ok(output),
    }
}

/// Compiles a program into this process. Kernels are shared out to `threads` threads.
///
/// # Errors
/// As [`compile_object`], and when the code cannot be linked.
pub fn jit(program: &Program, target: &Target, options: &Options<'_>) -> Result<Box<dyn JitCode>> {
    let env = Env::new(target, options);
    let prefix = &program.prefix;
    ensure!(kernel::is_identifier(prefix), "the prefix `{prefix}` is not a C identifier");
    let machine = machine::target_machine(target, options)?;
    let layout = machine::data_layout(&machine);
    let weights = match &program.weights {
        Weights::Embedded(w) => Some(Aligned::copy(w)?),
        Weights::Argument => None,
    };
    let base = match &weights {
        Some(w) => WeightsBase::Constant((w.pointer as i64).to_string()),
        None => WeightsBase::Argument,
    };

    let chunks = chunk(program, options.threads.max(1));
    let mut texts = Vec::with_capacity(chunks.len());
    for (i, kernels) in chunks.iter().enumerate() {
        let mut module = ModuleText::new();
        for &k in kernels {
            let linkage = if chunks.len() == 1 { "internal" } else { "hidden" };
            kernel::print_kernel(&mut module, &program.kernels[k], &env, linkage)?;
        }
        if i == 0 {
            for k in chunks[1..].iter().flatten() {
                module.out += &format!("declare hidden void @{}(ptr, i64)\n", program.kernels[*k].name);
            }
            host::print_host(&mut module, program, &env, &base)?;
        }
        texts.push(module.finish(&target.triple, &layout));
    }
    drop(machine); // each thread has its own
    let objects = compile_parallel(&texts, target, options)?;
    let code_bytes = objects.iter().map(|o| elf::code_bytes(o)).sum::<Result<usize>>().unwrap_or(0);
    let linked = jit::Linked::new(&objects)?;
    let address = linked.lookup(&format!("{prefix}_run"))?;
    // SAFETY: the symbol is the host function that was just printed with `RunFn`'s signature.
    let run = unsafe { std::mem::transmute::<usize, RunFn>(address) };
    Ok(Box::new(Code { run, code_bytes, _linked: linked, _weights: weights }))
}

/// Kernels of each chunk; the first also gets the host program. Chunks are even by printed statements, which follows the
/// time that LLVM takes well enough.
fn chunk(program: &Program, threads: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<(usize, usize)> = program.kernels.iter().enumerate().map(|(i, k)| (weigh(&k.body), i)).collect();
    order.sort_by(|a, b| b.cmp(a));
    let n = threads.min(order.len()).max(1);
    let mut chunks = vec![(0usize, Vec::new()); n];
    for (weight, i) in order {
        if let Some(lightest) = chunks.iter_mut().min_by_key(|c| c.0) {
            lightest.0 += weight;
            lightest.1.push(i);
        }
    }
    chunks
        .into_iter()
        .map(|mut c| {
            c.1.sort_unstable();
            c.1
        })
        .collect()
}

/// Statements as printed, unrolled copies included.
fn weigh(block: &kiln_ir::loops::Block) -> usize {
    use kiln_ir::loops::Inst;
    block
        .stmts
        .iter()
        .map(|s| match &s.inst {
            Inst::For(f) => weigh(&f.body).saturating_mul(f.unroll.into()) + 4,
            Inst::If(_, a, b) => weigh(a) + weigh(b) + 3,
            _ => 1,
        })
        .sum()
}

fn compile_parallel(texts: &[String], target: &Target, options: &Options<'_>) -> Result<Vec<Vec<u8>>> {
    let compile = |text: &String| -> Result<Vec<u8>> {
        let machine = machine::target_machine(target, options)?;
        machine::emit(text, &machine, options, Emit::Obj)
    };
    let [first, rest @ ..] = texts else { return Ok(Vec::new()) };
    std::thread::scope(|scope| {
        let workers: Vec<_> = rest.iter().map(|text| scope.spawn(move || compile(text))).collect();
        let mut objects = vec![compile(first)?];
        for w in workers {
            objects.push(w.join().map_err(|_| anyhow!("a compiling thread panicked"))??);
        }
        Ok(objects)
    })
}

/// Bytes at an address that is a multiple of 64.
struct Aligned {
    pointer: *mut u8,
    layout: Layout,
}

impl Aligned {
    fn copy(bytes: &[u8]) -> Result<Aligned> {
        let layout = Layout::from_size_align(bytes.len().max(64), 64).context("the weights are too large")?;
        // SAFETY: the layout's size is not zero.
        let pointer = unsafe { std::alloc::alloc(layout) };
        ensure!(!pointer.is_null(), "not enough memory for {} bytes of weights", bytes.len());
        // SAFETY: the new block has room for the bytes and overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer, bytes.len()) };
        Ok(Aligned { pointer, layout })
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated by `copy` with this layout.
        unsafe { std::alloc::dealloc(self.pointer, self.layout) };
    }
}

// SAFETY: the bytes are written once, by `copy`, and only read by the code afterwards.
unsafe impl Send for Aligned {}
// SAFETY: as above.
unsafe impl Sync for Aligned {}

struct Code {
    run: RunFn,
    code_bytes: usize,
    _linked: jit::Linked,
    _weights: Option<Aligned>,
}

impl JitCode for Code {
    fn run_fn(&self) -> RunFn {
        self.run
    }

    fn code_bytes(&self) -> usize {
        self.code_bytes
    }
}
