//! From a module's text to an object, assembly or optimized text. Each call has a context of its own, so that calls
//! may run on several threads.

use std::sync::Once;

use anyhow::{Result, anyhow};
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::memory_buffer::MemoryBuffer;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{
    CodeModel, FileType, InitializationConfig, RelocMode, Target as LlvmTarget, TargetMachine, TargetTriple,
};

use super::{Emit, Options};
use crate::target::{Arch, Target};

/// The passes over a module. Kernels arrive vectorized, unrolled and scheduled, so that no vectorizer and no unroller
/// runs; what is left is the arithmetic of addresses, common subexpressions, and moving loads and address parts out of
/// loops. Code generation alone would reach the same speed in matrix products, but takes longer on what is not
/// simplified; a second round changes nothing (docs/performance.md has the times).
const PIPELINE: &str = "function(instcombine<no-verify-fixpoint>,early-cse<memssa>,loop-mssa(licm),simplifycfg)";

/// Registers the backends, once for the process.
pub(super) fn initialize() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let config = InitializationConfig::default();
        LlvmTarget::initialize_x86(&config);
        LlvmTarget::initialize_aarch64(&config);
    });
}

/// The target machine for a target and an optimization level.
pub(super) fn target_machine(target: &Target, options: &Options<'_>) -> Result<TargetMachine> {
    initialize();
    if target.arch == Arch::Ptx {
        return Err(anyhow!("the LLVM backend compiles for CPUs; PTX has a printer of its own"));
    }
    let triple = TargetTriple::create(&target.triple);
    let llvm = LlvmTarget::from_triple(&triple)
        .map_err(|e| anyhow!("LLVM does not know the target `{}`: {}", target.triple, e.to_string()))?;
    let level = match options.opt_level {
        0 => OptimizationLevel::None,
        1 => OptimizationLevel::Less,
        2 => OptimizationLevel::Default,
        _ => OptimizationLevel::Aggressive,
    };
    llvm.create_target_machine(&triple, &target.cpu, &target.features, level, RelocMode::PIC, CodeModel::Small)
        .ok_or_else(|| anyhow!("LLVM has no machine for `{}`, cpu `{}`", target.triple, target.cpu))
}

/// The data layout in LLVM's notation.
pub(super) fn data_layout(machine: &TargetMachine) -> String {
    machine.get_target_data().get_data_layout().as_str().to_string_lossy().into_owned()
}

/// Parses, optimizes and prints a module.
pub(super) fn emit(text: &str, machine: &TargetMachine, options: &Options<'_>, emit: Emit) -> Result<Vec<u8>> {
    let context = Context::create();
    // LLVM's lexer stops at a NUL behind the text. The buffer object borrows it: inkwell forgets the object, and a copy
    // would be lost with it.
    let text = format!("{text}\0");
    let buffer = MemoryBuffer::create_from_memory_range(&text.as_bytes()[..text.len() - 1], "kiln");
    let module = context.create_module_from_ir(buffer).map_err(|e| {
        anyhow!("LLVM refuses the printed module, which is a bug of the code generator: {}", e.to_string())
    })?;
    if options.opt_level > 0 {
        module
            .run_passes(PIPELINE, machine, PassBuilderOptions::create())
            .map_err(|e| anyhow!("LLVM's passes failed: {}", e.to_string()))?;
    }
    let file = match emit {
        Emit::Ir => return Ok(module.print_to_string().to_bytes().to_vec()),
        Emit::Asm => FileType::Assembly,
        Emit::Obj => FileType::Object,
    };
    let buffer = machine
        .write_to_memory_buffer(&module, file)
        .map_err(|e| anyhow!("LLVM could not print machine code: {}", e.to_string()))?;
    Ok(buffer.as_slice().to_vec())
}
