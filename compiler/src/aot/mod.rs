//! Ahead-of-time artifacts: from a planned program to an object and the files that go with it.
//!
//! [`build`] makes every file in memory (`header`, `cpp`, `rust`, `link`, `selftest`, the backend's object);
//! [`files::write`] puts them into place, all or none. Invariants:
//! - what the C, C++ and Rust files say of slots, names and sizes comes from one [`Interface`];
//! - only `PREFIX_*` symbols are exported;
//! - the same input gives the same bytes: no time, no path, no map order reaches a file.

mod archive;
mod cpp;
mod dims;
pub mod files;
mod header;
mod link;
mod metadata;
mod names;
mod rust;
mod selftest;
pub mod target;
mod types;

use anyhow::{Context, Result, bail};
use kiln_codegen::plan::{self, Planned, Report};
use kiln_codegen::program::{Place, Program, Step};
use kiln_codegen::target::Target;
use kiln_ir::Module;

use crate::jit::Backend;
use crate::npz::Arrays;
use files::{Body, File};
pub use names::{Class, Interface, prefix_of};

/// A kind of file that [`build`] can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Emit {
    /// PREFIX.o
    Obj,
    /// libPREFIX.a
    Staticlib,
    /// PREFIX.h (C99)
    Header,
    /// PREFIX.hpp (C++17)
    Cpp,
    /// PREFIX.rs
    Rust,
    /// PREFIX.cmake
    Cmake,
    /// PREFIX.pc
    Pkgconfig,
    /// PREFIX_selftest.c, with inputs and expected outputs
    Test,
    /// PREFIX.ll
    Ir,
    /// PREFIX.s
    Asm,
}

/// Where the weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightsMode {
    /// In the object
    Embed,
    /// In PREFIX.weights, to be mapped (libkiln_rt's kiln_weights_map) and passed
    File,
    /// In PREFIX.weights.bin, raw bytes that the caller passes from wherever it keeps them
    Caller,
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// File name without extension that all files share.
    pub file: String,
    /// Prefix of every symbol: a C identifier, see [`prefix_of`].
    pub prefix: String,
    /// The C++ class.
    pub class: Class,
    /// The files.
    pub emit: Vec<Emit>,
    /// Where the weights are.
    pub weights: WeightsMode,
    /// The code generator.
    pub backend: Backend,
    /// The machine; see [`target::resolve`].
    pub target: Target,
    /// 0: fastest compilation, .. 3: fastest code.
    pub opt: u8,
    /// Reassociation and approximations are allowed.
    pub math_fast: bool,
}

/// The files of a model, not yet written, and what is known of them.
pub struct Artifact {
    /// The files in the order of [`Options::emit`], weights last.
    pub files: Vec<File>,
    /// What was planned.
    pub report: Report,
    /// Kernels in the object: fewer than calls where calls share one.
    pub kernels: usize,
}

/// Plans an optimized module's entry and builds its files. `reference` (`in:NAME`, `out:NAME`) is for [`Emit::Test`].
///
/// # Errors
/// What the plan or the backend refuse; names that are equal as identifiers; arrays that do not fit the model.
pub fn build(module: &Module, options: &Options, reference: Option<&Arrays>) -> Result<Artifact> {
    let embed = options.weights == WeightsMode::Embed;
    let plan_options = plan::Options { prefix: options.prefix.clone(), embed_weights: embed, ..Default::default() };
    let planned = crate::pipeline::plan(module, &options.target, &plan_options)?;
    assemble(planned, options, reference)
}

/// As [`build`], from the plan on.
///
/// # Errors
/// As [`build`].
pub fn assemble(planned: Planned, options: &Options, reference: Option<&Arrays>) -> Result<Artifact> {
    let Planned { mut program, weights, report, .. } = planned;
    program.data = metadata::tables(&program)?;
    let layout_id = layout_id(&program);
    if options.weights != WeightsMode::Embed {
        program.data.push(metadata::layout_id(&program.prefix, layout_id));
    }
    let interface = Interface::new(&program, options, &report, layout_id)?;
    let wanted = |e| options.emit.contains(&e);
    let object =
        if wanted(Emit::Obj) || wanted(Emit::Staticlib) { Some(code(&program, options, Emit::Obj)?) } else { None };
    let need_object = || object.clone().context("no object was compiled");

    let mut files = vec![];
    for (i, &emit) in options.emit.iter().enumerate() {
        if options.emit[..i].contains(&emit) {
            continue;
        }
        let (name, bytes) = match emit {
            Emit::Obj => ("%.o", need_object()?),
            Emit::Staticlib => {
                if let Some(os) = ["darwin", "macos", "windows"].iter().find(|os| options.target.triple.contains(**os))
                {
                    bail!(
                        "--emit staticlib writes archives for ELF systems, not for {os}: emit `obj` and use its own archiver"
                    );
                }
                ("lib%.a", archive::single(&options.file, &need_object()?, &interface.exports())?)
            }
            Emit::Header => ("%.h", header::print(&interface).into_bytes()),
            Emit::Cpp => ("%.hpp", cpp::print(&interface).into_bytes()),
            Emit::Rust => ("%.rs", rust::print(&interface).into_bytes()),
            Emit::Cmake => ("%.cmake", link::cmake(&interface).into_bytes()),
            Emit::Pkgconfig => ("%.pc", link::pkg_config(&interface).into_bytes()),
            Emit::Test => {
                let arrays = reference.context(
                    "--emit test needs the arrays `in:NAME` and `out:NAME`: give them with --inputs FILE.npz",
                )?;
                ("%_selftest.c", selftest::print(&interface, &program, arrays)?.into_bytes())
            }
            Emit::Ir => ("%.ll", code(&program, options, Emit::Ir)?),
            Emit::Asm => ("%.s", code(&program, options, Emit::Asm)?),
        };
        files.push(File { name: name.replace('%', &options.file), body: Body::Bytes(bytes) });
    }
    match options.weights {
        WeightsMode::Embed => {}
        WeightsMode::File => {
            let body = Body::Weights { bytes: weights.bytes()?, layout_id };
            files.push(File { name: format!("{}.weights", options.file), body });
        }
        WeightsMode::Caller => {
            files.push(File { name: format!("{}.weights.bin", options.file), body: Body::Bytes(weights.bytes()?) });
        }
    }
    Ok(Artifact { kernels: program.kernels.len(), files, report })
}

/// What the backend prints.
fn code(program: &Program, options: &Options, emit: Emit) -> Result<Vec<u8>> {
    match options.backend {
        #[cfg(feature = "llvm")]
        Backend::Llvm => {
            use kiln_codegen::llvm;
            let emit = match emit {
                Emit::Ir => llvm::Emit::Ir,
                Emit::Asm => llvm::Emit::Asm,
                _ => llvm::Emit::Obj,
            };
            let llvm_options =
                llvm::Options { opt_level: options.opt, math_fast: options.math_fast, emit, ..Default::default() };
            llvm::compile_object(program, &options.target, &llvm_options)
        }
        #[cfg(feature = "cranelift")]
        Backend::Cranelift => {
            use kiln_codegen::cranelift::{self, OptLevel};
            if emit != Emit::Obj {
                bail!("the Cranelift backend prints objects only: for assembly and IR use `--backend llvm`");
            }
            let opt = if options.opt == 0 { OptLevel::None } else { OptLevel::Speed };
            cranelift::compile_object(program, &options.target, &cranelift::Options { opt, ..Default::default() })
        }
        #[allow(unreachable_patterns)] // with both features there is no other
        other => {
            let _ = (program, emit); // used by no arm of a build without code generators
            bail!("this build of Kiln lacks the {other:?} backend: build it with that feature")
        }
    }
}

/// What a weights file must agree with: the kernels, and where each finds its weights. Weights of another training fit
/// as long as the code is the same.
fn layout_id(program: &Program) -> u64 {
    let mut hash = kiln_rt::hash::Xxh64::new(0);
    for k in &program.kernels {
        hash.update(kiln_ir::loops::print::print(k).text.as_bytes());
    }
    Step::for_each_leaf(&program.steps, &mut |step| {
        let Step::Launch { kernel, buffers, .. } = step else { return };
        hash.update(&(*kernel as u64).to_le_bytes());
        for (slot, place) in buffers.iter().enumerate() {
            if let Place::Weights(at) = place {
                hash.update(&(slot as u64).to_le_bytes());
                hash.update(&at.to_le_bytes());
            }
        }
    });
    hash.digest()
}
