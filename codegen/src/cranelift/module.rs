//! Compiles printed functions, on all cores, and puts them into an object file or into memory.
//!
//! Functions are numbered before anything is printed: `PREFIX_run`, `PREFIX_workspace_size`, the local function that
//! runs tasks, then the kernels. Threads take functions from a counter; results are kept by number and defined in order,
//! so the bytes do not depend on the number of threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, anyhow, ensure};
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Signature;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_frontend::FunctionBuilderContext;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{
    DataDescription, DataId, FuncId, Linkage, Module, ModuleReloc, ModuleRelocTarget, default_libcall_names,
};
use cranelift_object::{ObjectBuilder, ObjectModule};

use super::host::{self, Numbers, WeightsAt};
use super::kernel::{self, Printed};
use super::value::{EXTERNAL_NAMESPACE, External, Facts};
use super::{OptLevel, Options, TileSymbol, isa, tile};
use crate::program::{JitCode, Program, RunFn, Weights};
use crate::target::Target;

/// Alignment of weights in bytes.
const WEIGHTS_ALIGN: usize = 64;

/// A compiled function, not yet placed.
struct Compiled {
    code: Vec<u8>,
    align: u64,
    relocs: Vec<ModuleReloc>,
    externals: Vec<External>,
}

const RUN: u32 = 0;
const WORKSPACE_SIZE: u32 = 1;
const PARALLEL: u32 = 2;
const FIRST_KERNEL: u32 = 3;

fn numbers(near: bool) -> Numbers {
    Numbers { first_kernel: FIRST_KERNEL, parallel: PARALLEL, run: RUN, workspace_size: WORKSPACE_SIZE, near }
}

/// The instruction set at the two levels of optimization that [`OptLevel`] chooses from.
struct Isas {
    plain: OwnedTargetIsa,
    optimizing: OwnedTargetIsa,
    level: OptLevel,
    /// Vector registers for values.
    registers: usize,
}

impl Isas {
    fn new(target: &Target, level: OptLevel, pic: bool) -> Result<Isas> {
        let plain = isa::instruction_set(target, OptLevel::None, pic)?;
        let optimizing = isa::instruction_set(target, OptLevel::Speed, pic)?;
        Ok(Isas { plain, optimizing, level, registers: target.vector_registers as usize })
    }

    fn of(&self, program: &Program, number: u32) -> &OwnedTargetIsa {
        let kernel = number.checked_sub(FIRST_KERNEL).and_then(|k| program.kernels.get(k as usize));
        match (self.level, kernel) {
            (OptLevel::Speed, _) => &self.optimizing,
            (OptLevel::Auto, Some(k)) if !tile::is_register_tile(k, self.registers) => &self.optimizing,
            _ => &self.plain,
        }
    }
}

/// What every function of a program is compiled with.
struct Job<'a> {
    program: &'a Program,
    isas: &'a Isas,
    facts: Facts,
    tiles: &'a [TileSymbol],
    weights: WeightsAt,
    near: bool,
}

impl Job<'_> {
    fn print(&self, number: u32, scratch: &mut FunctionBuilderContext) -> Result<Printed> {
        let (program, facts, numbers) = (self.program, self.facts, numbers(self.near));
        match number {
            RUN => host::print_run(program, self.weights, numbers, facts, scratch).context("the host program"),
            WORKSPACE_SIZE => host::print_workspace_size(program, numbers, facts, scratch),
            PARALLEL => host::print_parallel(numbers, facts, scratch),
            kernel => {
                kernel::print(&program.kernels[(kernel - FIRST_KERNEL) as usize], kernel, facts, self.tiles, scratch)
            }
        }
    }

    fn compile(&self, number: u32, scratch: &mut FunctionBuilderContext, context: &mut Context) -> Result<Compiled> {
        let printed = self.print(number, scratch)?;
        context.clear();
        context.func = printed.function;
        let code = context
            .compile(&**self.isas.of(self.program, number), &mut ControlPlane::default())
            .map(|_| ())
            .map_err(|e| anyhow!("{:?}", e.inner));
        code.with_context(|| format!("Cranelift refuses `{}`", function_name(self.program, number)))?;
        let code = context.compiled_code().context("no code")?;
        let align = u64::from(code.buffer.alignment);
        let relocs = code
            .buffer
            .relocs()
            .iter()
            .map(|r| ModuleReloc::from_mach_reloc(r, &context.func, FuncId::from_u32(number)));
        Ok(Compiled {
            code: code.code_buffer().to_vec(),
            align,
            relocs: relocs.collect(),
            externals: printed.externals,
        })
    }

    /// All functions by number.
    fn compile_all(&self, threads: usize) -> Result<Vec<Compiled>> {
        let count = FIRST_KERNEL as usize + self.program.kernels.len();
        let results: Vec<Mutex<Option<Result<Compiled>>>> = (0..count).map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let (mut scratch, mut context) = (FunctionBuilderContext::new(), Context::new());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(slot) = results.get(number) else { break };
                let result = self.compile(number as u32, &mut scratch, &mut context);
                let failed = result.is_err();
                if let Ok(mut slot) = slot.lock() {
                    *slot = Some(result);
                }
                if failed {
                    // A builder that was left in the middle keeps its state; the others may stop early.
                    scratch = FunctionBuilderContext::new();
                    next.fetch_max(count, Ordering::Relaxed);
                }
            }
        };
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { available } else { threads }.min(count);
        std::thread::scope(|s| {
            for _ in 1..threads {
                s.spawn(work);
            }
            work();
        });
        let done = results
            .into_iter()
            .map(|r| r.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
            .collect::<Vec<_>>();
        // The first failure in order; functions after a failure may be missing.
        let mut compiled = Vec::with_capacity(count);
        let mut missing = false;
        for result in done {
            match result {
                Some(result) => compiled.push(result?),
                None => missing = true,
            }
        }
        ensure!(!missing, "a compilation thread ended early");
        Ok(compiled)
    }
}

/// The symbol of a function.
fn function_name(program: &Program, number: u32) -> String {
    let prefix = &program.prefix;
    match number {
        RUN => format!("{prefix}_run"),
        WORKSPACE_SIZE => format!("{prefix}_workspace_size"),
        PARALLEL => format!("{prefix}_parallel"),
        kernel => program.kernels.get((kernel - FIRST_KERNEL) as usize).map_or_else(String::new, |k| k.name.clone()),
    }
}

/// Declares the functions under their numbers.
fn declare(module: &mut dyn Module, program: &Program, facts: Facts) -> Result<()> {
    let count = FIRST_KERNEL + u32::try_from(program.kernels.len()).context("number of kernels")?;
    for number in 0..count {
        let (linkage, signature): (_, Signature) = match number {
            RUN => (Linkage::Export, host::run_signature(facts)),
            WORKSPACE_SIZE => (Linkage::Export, host::size_signature(facts)),
            PARALLEL => (Linkage::Local, host::parallel_signature(facts)),
            _ => (Linkage::Local, kernel::signature(facts)),
        };
        let name = function_name(program, number);
        let id = module.declare_function(&name, linkage, &signature).with_context(|| format!("function `{name}`"))?;
        ensure!(id.as_u32() == number, "two functions are called `{name}`");
    }
    Ok(())
}

/// Defines the compiled functions, with the functions outside that they call.
fn define(module: &mut dyn Module, compiled: &mut [Compiled]) -> Result<()> {
    let mut outside: BTreeMap<String, FuncId> = BTreeMap::new();
    for c in compiled.iter() {
        for e in &c.externals {
            if !outside.contains_key(&e.name) {
                let id = module
                    .declare_function(&e.name, Linkage::Import, &e.signature)
                    .with_context(|| format!("function `{}`", e.name))?;
                outside.insert(e.name.clone(), id);
            }
        }
    }
    for (number, c) in compiled.iter_mut().enumerate() {
        for r in &mut c.relocs {
            if let ModuleRelocTarget::User { namespace: EXTERNAL_NAMESPACE, index } = r.name {
                let e = c.externals.get(index as usize).context("a function outside the module")?;
                let id = outside.get(&e.name).context("a function outside the module")?;
                r.name = ModuleRelocTarget::user(0, id.as_u32());
            }
        }
        module.define_function_bytes(FuncId::from_u32(number as u32), c.align, &c.code, &c.relocs)?;
    }
    Ok(())
}

/// A relocatable object: `PREFIX_run`, `PREFIX_workspace_size` and the program's exported data, a section each; position
/// independent; equal bytes for equal input.
///
/// # Errors
/// If the program is not at the machine level or not for this target, if it calls micro-kernels (an object stands
/// alone), or if Cranelift does not know the target.
pub fn compile_object(program: &Program, target: &Target, options: &Options) -> Result<Vec<u8>> {
    let isas = Isas::new(target, options.opt, true)?;
    let isa = &isas.plain;
    let facts = isa::facts(isa, target);
    let mut builder = ObjectBuilder::new(isa.clone(), format!("{}.kiln", program.prefix), default_libcall_names())?;
    builder.per_function_section(true).per_data_object_section(true);
    let mut module = ObjectModule::new(builder);
    declare(&mut module, program, facts)?;

    let weights = match &program.weights {
        Weights::Argument => WeightsAt::Argument,
        Weights::Embedded(bytes) => {
            let id = module.declare_data(&format!("{}_weights", program.prefix), Linkage::Local, false, false)?;
            let mut data = DataDescription::new();
            data.define(bytes.as_slice().into());
            data.set_align(WEIGHTS_ALIGN as u64);
            module.define_data(id, &data)?;
            WeightsAt::Data(id.as_u32())
        }
    };
    let job = Job { program, isas: &isas, facts, tiles: &[], weights, near: true };
    let mut compiled = job.compile_all(options.threads)?;
    define(&mut module, &mut compiled)?;
    define_data(&mut module, program)?;
    module.finish().emit().context("writing the object")
}

/// The program's metadata tables.
fn define_data(module: &mut ObjectModule, program: &Program) -> Result<()> {
    let mut ids: BTreeMap<&str, DataId> = BTreeMap::new();
    for d in &program.data {
        let linkage = if d.exported { Linkage::Export } else { Linkage::Local };
        let id = module.declare_data(&d.name, linkage, false, false).with_context(|| format!("data `{}`", d.name))?;
        ensure!(ids.insert(&d.name, id).is_none(), "two data symbols are called `{}`", d.name);
    }
    for d in &program.data {
        let mut data = DataDescription::new();
        ensure!(d.align.is_power_of_two(), "data `{}` has alignment {}", d.name, d.align);
        data.define(d.bytes.as_slice().into());
        data.set_align(d.align);
        for (offset, name, addend) in &d.pointers {
            let to = *ids
                .get(name.as_str())
                .with_context(|| format!("data `{}` points to `{name}`, which does not exist", d.name))?;
            let end = offset.checked_add(8).filter(|&e| e <= d.bytes.len() as u64);
            ensure!(end.is_some(), "data `{}`: a pointer at {offset} of {} bytes", d.name, d.bytes.len());
            let to = module.declare_data_in_data(to, &mut data);
            data.write_data_addr(u32::try_from(*offset).context("offset of a pointer")?, to, *addend);
        }
        module.define_data(ids[d.name.as_str()], &data).with_context(|| format!("data `{}`", d.name))?;
    }
    Ok(())
}

/// Code in this process: pages are writable while code is placed, then executable and no longer writable.
///
/// Embedded weights are copied once, to 64-byte aligned memory that lives as long as the code; [`Weights::Argument`]
/// avoids the copy.
///
/// # Errors
/// As for [`compile_object`]; a micro-kernel that `options.tiles` lacks; a target that is not this machine.
pub fn jit(program: &Program, target: &Target, options: &Options) -> Result<Box<dyn JitCode>> {
    let isas = Isas::new(target, options.opt, false)?;
    let isa = &isas.plain;
    ensure!(
        isa.triple().architecture == target_lexicon::Triple::host().architecture,
        "code for `{}` cannot run on this machine",
        target.triple
    );
    let facts = isa::facts(isa, target);
    let mut stored = Vec::new();
    let weights = match &program.weights {
        Weights::Argument => WeightsAt::Argument,
        Weights::Embedded(bytes) => {
            stored = aligned(bytes);
            WeightsAt::Address(stored.as_ptr().addr() as i64)
        }
    };
    let job = Job { program, isas: &isas, facts, tiles: &options.tiles, weights, near: false };
    let mut compiled = job.compile_all(options.threads)?;

    let mut builder = JITBuilder::with_isa(isa.clone(), default_libcall_names());
    builder.symbol("fmod", fmod as *const u8);
    builder.symbol("fmodf", fmodf as *const u8);
    for t in &options.tiles {
        builder.symbol(t.name.clone(), std::ptr::with_exposed_provenance(t.address));
    }
    let mut module = JITModule::new(builder);
    declare(&mut module, program, facts)?;
    define(&mut module, &mut compiled)?;
    module.finalize_definitions().context("making code executable")?;
    let run = module.get_finalized_function(FuncId::from_u32(RUN));
    // SAFETY: the function was printed with this signature and C's calling convention, and its pages are executable and
    // live as long as `Code`, which alone hands the pointer out.
    let run = unsafe { std::mem::transmute::<*const u8, RunFn>(run) };
    let bytes = compiled.iter().map(|c| c.code.len()).sum();
    Ok(Box::new(Code { run, bytes, module: Mutex::new(Some(module)), _weights: stored }))
}

extern "C" fn fmod(x: f64, y: f64) -> f64 {
    x % y
}

extern "C" fn fmodf(x: f32, y: f32) -> f32 {
    x % y
}

/// A cache line of weights.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(#[allow(dead_code)] [u8; WEIGHTS_ALIGN]); // read by printed code only

/// The bytes in memory of the weights' alignment.
fn aligned(bytes: &[u8]) -> Vec<Line> {
    let line = |chunk: &[u8]| {
        let mut line = Line([0; WEIGHTS_ALIGN]);
        line.0[..chunk.len()].copy_from_slice(chunk);
        line
    };
    bytes.chunks(WEIGHTS_ALIGN).map(line).collect()
}

/// Code in memory and what it refers to.
struct Code {
    run: RunFn,
    bytes: usize,
    /// Only ever taken on drop; the lock is there because the module may move between threads but not be shared.
    module: Mutex<Option<JITModule>>,
    _weights: Vec<Line>,
}

impl JitCode for Code {
    fn run_fn(&self) -> RunFn {
        self.run
    }

    fn code_bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        let module = self.module.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(module) = module.take() {
            // SAFETY: the entry is valid only while `self` lives, so no call is under way and none follows.
            unsafe { module.free_memory() }
        }
    }
}
