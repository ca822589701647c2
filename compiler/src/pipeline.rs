//! The compiler on one page: import, passes, plan, code.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kiln_codegen::plan::{self, Planned};
use kiln_codegen::target::Target;
use kiln_ir::Module;
use kiln_passes::manager;

use crate::import::convert::{Shapes, convert};
use crate::import::{OpenOptions, TfModel};
use crate::jit::{Backend, Executable, PREFIX};

/// A model's graph before it is optimized.
pub struct Imported {
    /// The model as its files hold it; absent for a text IR file.
    pub model: Option<TfModel>,
    /// Its graph, one entry.
    pub module: Module,
}

/// How long each stage took.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Times {
    /// Reading files and building the graph.
    pub import: Duration,
    /// Passes over the graph.
    pub passes: Duration,
    /// Lowering, schedules, memory plan, weight layouts.
    pub plan: Duration,
    /// The backend.
    pub code: Duration,
}

impl Times {
    /// The sum.
    pub fn total(&self) -> Duration {
        self.import + self.passes + self.plan + self.code
    }
}

/// Opens a model: a SavedModel folder, a frozen GraphDef (`.pb`, `.pbtxt`), or a text IR file (`.kiln`).
///
/// # Errors
/// If the files cannot be read, or the graph holds what Kiln does not support.
pub fn import(path: &Path, open: &OpenOptions, shapes: &Shapes) -> Result<Imported> {
    if path.extension().is_some_and(|e| e == "kiln") {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let module = kiln_ir::text::parse(&text).with_context(|| format!("parsing {}", path.display()))?;
        return Ok(Imported { model: None, module });
    }
    let model = crate::import::open(path, open)?;
    let module = convert(&model, shapes).with_context(|| format!("importing {}", path.display()))?;
    Ok(Imported { model: Some(model), module })
}

/// Runs the passes over a module.
///
/// # Errors
/// If a pass fails or breaks the module; the message names pass and node.
pub fn optimize(module: &mut Module, options: &manager::Options) -> Result<manager::Report> {
    kiln_passes::pipeline::run(module, options, &mut |_, _, _| {})
}

/// Plans a module's only entry for a target.
///
/// # Errors
/// If the module has not exactly one entry, or a node cannot be lowered.
pub fn plan(module: &Module, target: &Target, options: &plan::Options) -> Result<Planned> {
    let [entry] = module.entries[..] else {
        bail!("the module has {} entries; compile one signature at a time", module.entries.len())
    };
    plan::plan(module, &module.funcs[entry], target, options)
}

/// From an imported model to code in memory.
///
/// # Errors
/// As the stages.
pub fn build(
    mut module: Module,
    backend: Backend,
    passes: &manager::Options,
    threads: usize,
    times: &mut Times,
) -> Result<Executable> {
    let start = Instant::now();
    optimize(&mut module, passes)?;
    times.passes = start.elapsed();
    let start = Instant::now();
    let target = backend.host_target()?;
    let options = plan::Options { prefix: PREFIX.into(), ..Default::default() };
    let planned = plan(&module, &target, &options)?;
    drop(module);
    times.plan = start.elapsed();
    let start = Instant::now();
    let code = backend.jit(&planned.program, &target, std::thread::available_parallelism().map_or(1, usize::from))?;
    times.code = start.elapsed();
    Executable::new(planned, code, threads)
}
