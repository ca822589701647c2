//! Compiles a graph for the values given, calls it, and returns what was fetched.

use std::path::Path;

use anyhow::{Context, Error, Result, bail};
use kiln::import::OpenOptions;
use kiln::import::convert::Shapes;
use kiln::jit::{Backend, Executable};
use kiln::pipeline::{self, Times};
use kiln_ir::Tensor;

use super::compare::difference;
use super::index::{Case, Index};
use super::{Outcome, Record};

/// Why there are no outputs.
pub enum Failure {
    /// Import or compilation refused the graph.
    Refused(Error),
    /// The compiled model failed.
    Failed(Error),
}

/// A tensor's name with `:0` left out.
fn bare(name: &str) -> &str {
    name.strip_suffix(":0").unwrap_or(name)
}

fn compile(graph: &Path, feeds: &[(String, Tensor)], fetches: &[String], backend: Backend) -> Result<Executable> {
    let open = OpenOptions {
        feeds: feeds.iter().map(|f| f.0.clone()).collect(),
        fetches: fetches.to_vec(),
        ..OpenOptions::default()
    };
    // Shapes of the values, so that every size is known.
    let opened = kiln::import::open(graph, &open)?;
    let mut shapes = Shapes::default();
    for p in &opened.inputs {
        if let Some((_, t)) = feeds.iter().find(|f| bare(&f.0) == bare(&p.key)) {
            shapes.inputs.insert(p.key.clone(), t.shape().to_vec());
        }
    }
    let module = pipeline::import(graph, &open, &shapes)?.module;
    pipeline::build(module, backend, &kiln_passes::manager::Options::default(), 1, &mut Times::default())
}

fn call(executable: &mut Executable, feeds: &[(String, Tensor)], fetches: &[String]) -> Result<Vec<Tensor>> {
    let given: Vec<Tensor> = executable
        .inputs()
        .iter()
        .map(|p| {
            let feed = feeds.iter().find(|f| bare(&f.0) == bare(&p.name));
            feed.map(|f| f.1.clone()).with_context(|| format!("the model has an input `{}` that is not fed", p.name))
        })
        .collect::<Result<_>>()?;
    let names: Vec<String> = executable.outputs().iter().map(|p| p.name.clone()).collect();
    let mut call = executable.call(&given)?;
    call.run()?;
    let outputs = call.outputs();
    fetches
        .iter()
        .map(|f| {
            let at = names.iter().position(|n| bare(n) == bare(f));
            at.map(|i| outputs[i].clone()).with_context(|| format!("the model has no output `{f}`"))
        })
        .collect()
}

/// The fetched tensors.
///
/// # Errors
/// The stage that failed, with its error.
pub fn execute(
    graph: &Path,
    feeds: &[(String, Tensor)],
    fetches: &[String],
    backend: Backend,
) -> Result<Vec<Tensor>, Failure> {
    let mut executable = compile(graph, feeds, fetches, backend).map_err(Failure::Refused)?;
    call(&mut executable, feeds, fetches).map_err(Failure::Failed)
}

/// Runs a case and compares its outputs.
pub fn run_case(index: &Index, case: &Case, backend: Backend) -> Record {
    let (outcome, error) = match judge(index, case, backend) {
        Ok(()) => (Outcome::Pass, String::new()),
        Err((outcome, e)) => (outcome, format!("{e:#}")),
    };
    Record { backend: backend_name(backend).into(), id: case.id.clone(), outcome, error }
}

fn judge(index: &Index, case: &Case, backend: Backend) -> Result<(), (Outcome, Error)> {
    let (inputs, wants) = index.tensors(case).map_err(|e| (Outcome::Wrong, e.context("reading the case")))?;
    let feeds: Vec<(String, Tensor)> = case.inputs.iter().map(|p| p.name.clone()).zip(inputs).collect();
    let fetches: Vec<String> = case.outputs.iter().map(|p| p.name.clone()).collect();
    let got = execute(&index.graph(case), &feeds, &fetches, backend).map_err(|f| match f {
        Failure::Refused(e) => (Outcome::Unsupported, e),
        Failure::Failed(e) if format!("{e:#}").contains("not supported") => (Outcome::Unsupported, e),
        Failure::Failed(e) => (Outcome::Wrong, e.context("running")),
    })?;
    let compared = || -> Result<()> {
        for ((p, g), w) in case.outputs.iter().zip(&got).zip(&wants) {
            if let Some(d) = difference(g, w, case.rtol, case.atol) {
                bail!("`{}` {d}", p.name);
            }
        }
        Ok(())
    };
    compared().map_err(|e| (Outcome::Wrong, e))
}

/// The backend's name on the command line.
pub fn backend_name(backend: Backend) -> &'static str {
    match backend {
        Backend::Llvm => "llvm",
        Backend::Cranelift => "cranelift",
    }
}
