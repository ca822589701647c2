//! `tools/conformance DIR`: runs a folder of conformance cases on the backends of this build. See [`kiln_tools::conformance`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use kiln::jit::Backend;
use kiln_tools::conformance::execute::backend_name;
use kiln_tools::conformance::index::{Case, Index};
use kiln_tools::conformance::report::{Counts, Results, blocking_ops, first_line};
use kiln_tools::conformance::{Outcome, workers};

/// Runs conformance cases and counts those that give TensorFlow's outputs.
#[derive(Parser)]
#[command(name = "conformance", max_term_width = 120)]
struct Args {
    /// Folder of cases, with an index.json
    folder: PathBuf,
    /// Backends; all of this build by default
    #[arg(long, value_enum, value_delimiter = ',')]
    backend: Vec<Backend>,
    /// Only cases whose id contains this
    #[arg(long, default_value = "")]
    filter: String,
    /// Forget earlier outcomes
    #[arg(long)]
    fresh: bool,
    /// Run again the cases that did not pass
    #[arg(long)]
    retry: bool,
    /// Where outcomes are kept
    #[arg(long, default_value = "conformance-results.jsonl")]
    results: PathBuf,
    /// List the cases that ended so, each with the first line of its error
    #[arg(long, value_enum, value_delimiter = ',')]
    list: Vec<Outcome>,
    /// Worker processes
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Seconds that a case may take
    #[arg(long, default_value_t = 60.0)]
    timeout: f64,
    /// MiB of memory that a worker may use
    #[arg(long, default_value_t = 6144)]
    memory: u64,
    #[arg(long, hide = true)]
    worker: bool,
}

impl Args {
    fn backends(&self) -> Vec<Backend> {
        if !self.backend.is_empty() {
            return self.backend.clone();
        }
        let built = [(cfg!(feature = "llvm"), Backend::Llvm), (cfg!(feature = "cranelift"), Backend::Cranelift)];
        built.into_iter().filter(|b| b.0).map(|b| b.1).collect()
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let backends = args.backends();
    if args.worker {
        let backend = *backends.first().context("this build has no backend")?;
        workers::serve(&args.folder, backend)?;
        return Ok(ExitCode::SUCCESS);
    }
    let index = Index::read(&args.folder)?;
    let cases: Vec<&Case> = index.cases.iter().filter(|c| c.id.contains(&args.filter)).collect();
    if args.fresh && args.results.exists() {
        std::fs::remove_file(&args.results).with_context(|| format!("removing {}", args.results.display()))?;
    }
    let mut results = Results::open(&args.results)?;
    for &backend in &backends {
        run(&args, backend_name(backend), &cases, &mut results)?;
    }
    for &backend in &backends {
        list(&args, backend_name(backend), &cases, &results);
    }
    let outcomes = |backend: Backend| {
        let records = cases.iter().filter_map(|c| results.get(backend_name(backend), &c.id));
        records.map(|r| r.outcome).collect::<Vec<_>>()
    };
    for &backend in &backends {
        println!("{}: {}", backend_name(backend), Counts::of(outcomes(backend).into_iter()));
    }
    let all = Counts::of(backends.iter().flat_map(|&b| outcomes(b)));
    println!("conformance: {all}");
    Ok(if all.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs what has no outcome yet.
fn run(args: &Args, backend: &str, cases: &[&Case], results: &mut Results) -> Result<()> {
    let wanted = |c: &&&Case| match results.get(backend, &c.id) {
        Some(r) => args.retry && r.outcome != Outcome::Pass,
        None => true,
    };
    let ids: Vec<String> = cases.iter().filter(wanted).map(|c| c.id.clone()).collect();
    // Drawn on a terminal only.
    let bar = ProgressBar::new(ids.len() as u64);
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} {eta}").context("the progress bar")?;
    bar.set_style(style);
    bar.set_message(backend.to_string());
    let spawn = workers::Spawn {
        program: std::env::current_exe().context("finding this program")?,
        folder: args.folder.clone(),
        timeout: Duration::try_from_secs_f64(args.timeout).context("--timeout")?,
        memory: args.memory,
    };
    workers::run(&spawn, backend, ids, args.jobs, &mut |record| {
        bar.inc(1);
        results.add(record)
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// The cases asked for, and what keeps cases unsupported.
fn list(args: &Args, backend: &str, cases: &[&Case], results: &Results) {
    let records: Vec<_> = cases.iter().filter_map(|c| Some((*c, results.get(backend, &c.id)?))).collect();
    for (case, r) in records.iter().filter(|r| args.list.contains(&r.1.outcome)) {
        println!("{backend} {}: {}", case.id, first_line(&r.error));
    }
    let unsupported = records.iter().filter(|r| r.1.outcome == Outcome::Unsupported);
    let ops = blocking_ops(unsupported.map(|r| (r.0, r.1.error.as_str())));
    if !ops.is_empty() {
        let ops: Vec<String> = ops.iter().map(|(op, n)| format!("{op} {n}")).collect();
        println!("{backend} unsupported by op: {}", ops.join(", "));
    }
}
