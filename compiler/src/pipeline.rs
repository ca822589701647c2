//! The compiler on one page: import, passes, plan, code.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kiln_codegen::plan::{self, Planned};
use kiln_codegen::target::Target;
use kiln_ir::tf::NeedsConstant;
use kiln_ir::{DType, Module, Tensor};
use kiln_passes::manager;

use crate::executor::Executor;
use crate::import::convert::{Settings, convert};
use crate::import::{OpenOptions, TfModel};
use crate::jit::Backend;
use crate::npz::as_dtype;

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
pub fn import(path: &Path, open: &OpenOptions, settings: &Settings) -> Result<Imported> {
    if path.extension().is_some_and(|e| e == "kiln") {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let module = kiln_ir::text::parse(&text).with_context(|| format!("parsing {}", path.display()))?;
        return Ok(Imported { model: None, module });
    }
    let model = crate::import::open(path, open)?;
    let module = convert(&model, settings).with_context(|| format!("importing {}", path.display()))?;
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

/// Imports a model for the inputs of one call: sizes are those of the arrays, and where an op needs the value of an
/// operand that is computed from inputs, theirs are taken. Results may have sizes that depend on data.
///
/// # Errors
/// As [`import`].
pub fn import_for_call(
    path: &Path,
    open: &OpenOptions,
    settings: &Settings,
    array: &dyn Fn(&str) -> Option<Tensor>,
) -> Result<Module> {
    let mut settings = Settings { checks: true, ..settings.clone() };
    if path.extension().is_some_and(|e| e == "kiln") {
        return Ok(import(path, open, &settings)?.module);
    }
    let model = crate::import::open(path, open)?;
    for p in &model.inputs {
        if let Some(t) = array(&p.key) {
            settings.shapes.inputs.insert(p.key.clone(), t.shape().to_vec());
        }
    }
    loop {
        let error = match convert(&model, &settings) {
            Ok(module) => return Ok(module),
            Err(e) => e,
        };
        // The values that are wanted and not given yet; a size that is no function of inputs is computed at run time.
        let Some(needs) = error.downcast_ref::<NeedsConstant>() else {
            return Err(error.context(format!("importing {}", path.display())));
        };
        let wanted = needs.params.iter().filter(|p| !settings.values.contains_key(*p));
        let mut found = vec![];
        for (p, t) in wanted.filter_map(|p| Some((p, array(p)?))) {
            let port = model.inputs.iter().find(|i| i.key == *p).and_then(|i| DType::from_tf(i.dtype.number()));
            found.push((p.clone(), as_dtype(t, port.context("an input without a type")?)?));
        }
        if found.is_empty() && std::mem::replace(&mut settings.sizes_from_data, true) {
            return Err(error.context(format!("importing {}", path.display())));
        }
        settings.values.extend(found);
    }
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
) -> Result<Executor> {
    let start = Instant::now();
    optimize(&mut module, passes)?;
    times.passes = start.elapsed();
    Executor::new(module, backend, threads, times)
}
