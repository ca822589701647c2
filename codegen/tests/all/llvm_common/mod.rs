//! Helpers of the LLVM tests: programs of one kernel, memory aligned to 64 bytes.
#![allow(dead_code)] // each test file uses its part

use kiln_codegen::llvm::{Options, host_target, jit};
use kiln_codegen::program::{JitCode, Place, Port, Program, Step, Weights};
use kiln_codegen::target::Target;
use kiln_ir::loops::{Access, Buffer, Kernel, KernelBuilder, Layout, Level, Space};
use kiln_ir::{DType, Dim, Symbol, SymbolBounds};

/// A constant extent.
pub fn dim(n: i64) -> Dim {
    Dim::from(n)
}

/// A row-major global buffer of one axis.
pub fn global(name: &str, dtype: DType, elements: Dim, access: Access, align: u32) -> Buffer {
    let shape = vec![elements];
    let layout = Layout::row_major(&shape);
    Buffer { name: name.into(), dtype, shape, layout, space: Space::Global, access, align }
}

/// A private buffer.
pub fn private(name: &str, dtype: DType, elements: i64) -> Buffer {
    let b = global(name, dtype, dim(elements), Access::ReadWrite, 64);
    Buffer { space: Space::Private, ..b }
}

/// An empty machine-level kernel.
pub fn kernel(name: &str) -> KernelBuilder {
    KernelBuilder::new(Kernel {
        name: name.into(),
        level: Level::Machine,
        buffers: vec![],
        symbols: vec![],
        tasks: dim(1),
        threads: 1,
        body: Default::default(),
        types: vec![],
    })
}

/// A program that runs one kernel: its read buffers are the inputs, the others the outputs, in order; its symbols are
/// the program's.
pub fn single(kernel: Kernel) -> Program {
    let (mut inputs, mut outputs, mut buffers) = (vec![], vec![], vec![]);
    for (_, b) in kernel.params() {
        let port = Port { name: b.name.clone(), dtype: b.dtype, shape: b.shape.clone() };
        if b.access == Access::Read {
            buffers.push(Place::Input(inputs.len()));
            inputs.push(port);
        } else {
            buffers.push(Place::Output(outputs.len()));
            outputs.push(port);
        }
    }
    let symbols: Vec<(Symbol, SymbolBounds)> =
        kernel.symbols.iter().map(|s| (s.clone(), SymbolBounds { min: 0, max: None })).collect();
    let values = symbols.iter().map(|(s, _)| Dim::sym(&s.0)).collect();
    let tasks = kernel.tasks.clone();
    Program {
        prefix: "t".into(),
        steps: vec![Step::Launch { kernel: 0, buffers, symbols: values, tasks }],
        kernels: vec![kernel],
        symbols,
        inputs,
        outputs,
        workspace: dim(0),
        weights: Weights::Argument,
        data: vec![],
    }
}

/// Weights for programs that have none.
#[repr(align(64))]
pub struct NoWeights(pub [u8; 64]);

/// A place for programs' unused weights.
pub static NO_WEIGHTS: NoWeights = NoWeights([0; 64]);

/// Runs code compiled from [`single`]: symbols, then the pointers of inputs and outputs.
pub fn run(code: &dyn JitCode, args: &[u64]) -> i32 {
    let mut args = args.to_vec();
    args.push(&raw const NO_WEIGHTS as u64);
    // SAFETY: the callers pass pointers to live buffers of the sizes that the kernel accesses.
    unsafe { code.run_fn()(args.as_ptr(), std::ptr::null_mut(), std::ptr::null()) }
}

/// Compiles for the running machine.
pub fn compile(program: &Program) -> Box<dyn JitCode> {
    compile_for(program, &host_target())
}

/// Compiles for a target that the running machine can stand in for.
pub fn compile_for(program: &Program, target: &Target) -> Box<dyn JitCode> {
    match jit(program, target, &Options::default()) {
        Ok(code) => code,
        Err(e) => panic!("{e:#}"),
    }
}

/// The oldest x86-64 (no SSE4.1, no F16C, no FMA): every fallback is taken.
pub fn baseline_target() -> Target {
    Target {
        cpu: "x86-64".into(),
        features: String::new(),
        vector_bytes: 16,
        vector_registers: 16,
        fma: false,
        ..host_target()
    }
}

/// The targets on which operations are tested.
pub fn targets() -> Vec<Target> {
    if cfg!(target_arch = "x86_64") { vec![host_target(), baseline_target()] } else { vec![host_target()] }
}

/// Memory aligned to 64 bytes.
pub struct Memory {
    words: Vec<[u64; 8]>,
    start: usize,
    bytes: usize,
}

impl Memory {
    /// Zeroed memory.
    pub fn new(bytes: usize) -> Memory {
        let words = vec![[0u64; 8]; bytes / 64 + 2];
        let start = (words.as_ptr() as usize).next_multiple_of(64) - words.as_ptr() as usize;
        Memory { words, start, bytes }
    }

    /// Memory with contents.
    pub fn of(contents: &[u8]) -> Memory {
        let mut m = Memory::new(contents.len());
        m.bytes_mut().copy_from_slice(contents);
        m
    }

    /// Memory of f32 values.
    pub fn of_f32(values: &[f32]) -> Memory {
        Memory::of(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    /// The address, as it goes into an argument slot.
    pub fn address(&self) -> u64 {
        (self.words.as_ptr() as usize + self.start) as u64
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start + bytes` lies within the words, and code under test has finished when this is read.
        unsafe { std::slice::from_raw_parts(self.address() as *const u8, self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut((self.words.as_mut_ptr() as usize + self.start) as *mut u8, self.bytes)
        }
    }

    /// The contents as f32.
    pub fn f32s(&self) -> Vec<f32> {
        self.bytes().chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
    }
}

/// Numbers from a multiplicative generator, in [-1, 1).
pub fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut x = seed.wrapping_mul(2).wrapping_add(1);
    (0..n)
        .map(|_| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((x >> 40) as f32) / (1 << 23) as f32 - 1.0
        })
        .collect()
}
