//! `kiln run`: a model compiled in memory and called with arrays of a file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kiln_ir::Tensor;

use super::model::{CodeArgs, ModelArgs, inputs};
use crate::executor::{self, Executor};
use crate::jit::Backend;
use crate::npz::{self, Arrays};
use crate::pipeline::{self, Times};

/// Arguments of `kiln run`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    code: CodeArgs,
    /// Input arrays (.npz, members named as the inputs, or `in:NAME`)
    #[arg(long)]
    inputs: PathBuf,
    /// Where to write the outputs (.npz)
    #[arg(long)]
    outputs: Option<PathBuf>,
    /// Time the model: a number of runs, or a time such as 2.5s
    #[arg(long, value_name = "RUNS|TIME")]
    bench: Option<String>,
    /// Threads that run the model
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Facts {
    backend: Backend,
    threads: usize,
    compile_s: f64,
    times: Times,
    #[serde(flatten)]
    program: executor::Facts,
    peak_rss_mb: Option<f64>,
    #[serde(flatten)]
    bench: Option<Bench>,
}

/// Times of a number of runs.
#[derive(serde::Serialize)]
pub(super) struct Bench {
    pub min_ms: f64,
    pub median_ms: f64,
    pub max_ms: f64,
    pub runs: usize,
}

/// Imports a model for the shapes of the arrays given; also the inputs, in its order.
///
/// # Errors
/// As the importer; or an input has no array.
pub fn import_for(model: &ModelArgs, arrays: &Arrays) -> Result<(kiln_ir::Module, Vec<Tensor>)> {
    model.load_libraries()?;
    let (settings, open) = (model.settings()?, model.open_options()?);
    let array = |key: &str| super::model::pick(arrays, "in", key);
    let module = pipeline::import_for_call(model.path()?, &open, &settings, &array)?;
    let entry = *module.entries.first().context("the module has no entry")?;
    let f = &module.funcs[entry];
    let given = inputs(arrays, f.params.iter().map(|p| (p.name.as_str(), f.ty(p.value).dtype)))?;
    Ok((module, given))
}

/// Compiles a model for the shapes of the arrays given.
///
/// # Errors
/// As the stages of the pipeline.
pub fn compile_for(
    model: &ModelArgs,
    code: &CodeArgs,
    arrays: &Arrays,
    threads: usize,
    times: &mut Times,
) -> Result<(Executor, Vec<Tensor>)> {
    let start = Instant::now();
    let (module, given) = import_for(model, arrays)?;
    times.import = start.elapsed();
    let executor = pipeline::build(module, code.backend()?, &code.passes(), threads, times)?;
    Ok((executor, given))
}

pub fn main(args: &Args) -> Result<()> {
    if args.threads == 0 {
        bail!("--threads takes at least 1");
    }
    let arrays = npz::read(&args.inputs)?;
    let mut times = Times::default();
    let (mut executor, given) = compile_for(&args.model, &args.code, &arrays, args.threads, &mut times)?;
    let names = executor.output_names();
    let outputs = executor.run(&given)?;
    let bench = match &args.bench {
        Some(spec) => Some(executor.repeat(&given, |once| bench(spec, once))?),
        None => None,
    };
    if let Some(path) = &args.outputs {
        let arrays: Arrays = names.iter().cloned().zip(outputs.iter().cloned()).collect();
        npz::write(path, &arrays)?;
    }
    let facts = Facts {
        backend: args.code.backend()?,
        threads: args.threads,
        compile_s: times.total().as_secs_f64(),
        times,
        program: executor.facts(),
        peak_rss_mb: kiln_rt::cpu::peak_rss_bytes().map(|b| b as f64 / 1e6),
        bench,
    };
    if args.json {
        println!("{}", serde_json::to_string(&facts).context("printing the facts")?);
        return Ok(());
    }
    for (name, t) in names.iter().zip(&outputs) {
        println!("{name}: {} {:?}", t.dtype(), t.shape());
    }
    let t = &facts.times;
    println!(
        "compiled in {:.3} s ({:?}: import {:.3}, passes {:.3}, plan {:.3}, code {:.3})",
        facts.compile_s,
        facts.backend,
        t.import.as_secs_f64(),
        t.passes.as_secs_f64(),
        t.plan.as_secs_f64(),
        t.code.as_secs_f64()
    );
    let megabytes = |n: Option<u64>| n.map_or("unknown".into(), |n| format!("{:.2} MB", n as f64 / 1e6));
    println!(
        "workspace {} (lower bound {}, without sharing {}), {} of {} calls in place",
        megabytes(Some(facts.program.workspace_bytes as u64)),
        megabytes(facts.program.workspace_bound_bytes),
        megabytes(facts.program.workspace_naive_bytes),
        facts.program.in_place,
        facts.program.kernels
    );
    println!(
        "{} kernels, {} KiB code, {:.1} MB weights, peak memory {} MB",
        facts.program.kernels,
        facts.program.code_bytes / 1024,
        facts.program.weight_bytes as f64 / 1e6,
        facts.peak_rss_mb.map_or("unknown".into(), |m| format!("{m:.0}"))
    );
    if !facts.program.host.is_empty() {
        let mut ops: std::collections::BTreeMap<&str, usize> = Default::default();
        facts.program.host.iter().for_each(|h| *ops.entry(&h.op).or_default() += 1);
        let list: Vec<String> = ops.into_iter().map(|(op, n)| format!("{n} {op}")).collect();
        let segments = facts.program.segments;
        println!(
            "{segments} compiled segments; on the host: {} (--json names the nodes and says why)",
            list.join(", ")
        );
    }
    if let Some(b) = &facts.bench {
        println!(
            "{:.3} ms median of {} runs ({:.3} to {:.3}), {} thread(s)",
            b.median_ms, b.runs, b.min_ms, b.max_ms, args.threads
        );
    }
    Ok(())
}

/// Times a function: `spec` is a number of runs, or a time (`2.5s`, `300ms`) to fill with 5 to 300 runs.
pub(super) fn bench(spec: &str, run: &mut dyn FnMut() -> Result<()>) -> Result<Bench> {
    let budget = spec
        .strip_suffix("ms")
        .map(|n| n.parse::<f64>().map(|n| n / 1e3))
        .or_else(|| spec.strip_suffix('s').map(str::parse::<f64>));
    let start = Instant::now();
    run()?;
    run()?;
    let one = start.elapsed() / 2;
    let runs = match budget {
        Some(s) => {
            let s = s
                .ok()
                .filter(|s| *s > 0.0)
                .with_context(|| format!("`--bench {spec}`: write a number of runs or a time such as 2.5s"))?;
            (s / one.as_secs_f64().max(1e-7)).clamp(5.0, 300.0) as usize
        }
        None => {
            spec.parse().with_context(|| format!("`--bench {spec}`: write a number of runs or a time such as 2.5s"))?
        }
    };
    let mut times: Vec<Duration> = vec![];
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    Ok(Bench {
        min_ms: ms(times[0]),
        median_ms: ms(times[times.len() / 2]),
        max_ms: ms(times[times.len() - 1]),
        runs: times.len(),
    })
}
