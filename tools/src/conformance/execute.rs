//! Compiles a graph for the values given, calls it, and returns what was fetched.

use std::path::Path;

use anyhow::{Context, Error, Result, bail};
use kiln::executor::Executor;
use kiln::import::OpenOptions;
use kiln::import::convert::Settings;
use kiln::jit::Backend;
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

/// The feed of an input.
fn feed(feeds: &[(String, Tensor)], input: &str) -> Option<Tensor> {
    feeds.iter().find(|f| bare(&f.0) == bare(input)).map(|f| f.1.clone())
}

fn compile(graph: &Path, feeds: &[(String, Tensor)], fetches: &[String], backend: Backend) -> Result<Executor> {
    let open = OpenOptions {
        feeds: feeds.iter().map(|f| f.0.clone()).collect(),
        fetches: fetches.to_vec(),
        ..OpenOptions::default()
    };
    let module = pipeline::import_for_call(graph, &open, &Settings::default(), &|key| feed(feeds, key))?;
    pipeline::build(module, backend, &kiln_passes::manager::Options::default(), 1, &mut Times::default())
}

fn call(executor: &mut Executor, feeds: &[(String, Tensor)], fetches: &[String]) -> Result<Vec<Tensor>> {
    let given: Vec<Tensor> = executor
        .input_names()
        .iter()
        .map(|p| feed(feeds, p).with_context(|| format!("the model has an input `{p}` that is not fed")))
        .collect::<Result<_>>()?;
    let (names, outputs) = (executor.output_names(), executor.run(&given)?);
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
    let mut executor = compile(graph, feeds, fetches, backend).map_err(Failure::Refused)?;
    call(&mut executor, feeds, fetches).map_err(Failure::Failed)
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
