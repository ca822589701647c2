//! `kiln compile`: a model as an object file with the files that C, C++ and Rust programs need.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::model::{CodeArgs, MathArg, ModelArgs};
use crate::aot::{self, Class, Emit, Options, WeightsMode, files, prefix_of, target};
use crate::jit::Backend;
use crate::pipeline::{self, Times};

/// Arguments of `kiln compile`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    code: CodeArgs,
    /// Path and name of the files, without extension: PREFIX.o, PREFIX.h, ..
    #[arg(short, long, value_name = "PREFIX")]
    output: PathBuf,
    /// The files to write, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "obj,header,cpp,rust")]
    emit: Vec<Emit>,
    /// Where the weights are
    #[arg(long, value_enum, default_value = "embed")]
    weights: WeightsMode,
    /// Arrays `in:NAME` and `out:NAME` (.npz) for `--emit test`
    #[arg(long)]
    inputs: Option<PathBuf>,
    /// Prefix of the exported symbols; by default the name of the files
    #[arg(long)]
    entry_point: Option<String>,
    /// The C++ class, as ns::Name; by default kiln:: and the prefix in camel case
    #[arg(long)]
    cpp_class: Option<String>,
    /// The machine, as LLVM writes it; by default this one
    #[arg(long)]
    target_triple: Option<String>,
    /// The CPU, by LLVM's name; by default this machine's
    #[arg(long)]
    target_cpu: Option<String>,
    /// Features to add or take away: +avx2,-fma
    #[arg(long, allow_hyphen_values = true)]
    target_features: Option<String>,
    /// 0: fastest compilation, .. 3: fastest code
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    opt: u8,
    /// The most bytes of workspace that the model may need, at the largest sizes
    #[arg(long, value_name = "BYTES")]
    max_workspace: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Facts {
    files: Vec<FileFacts>,
    backend: Backend,
    target: String,
    cpu: String,
    kernels: usize,
    calls: usize,
    weight_bytes: u64,
    /// Bytes, or a formula over the sizes.
    workspace: String,
    /// The same if no buffers shared memory.
    workspace_naive: String,
    /// The same of the largest set of buffers that are alive together.
    workspace_bound: String,
    /// Calls that write over an operand.
    in_place: usize,
    times: Times,
    compile_s: f64,
    peak_rss_mb: Option<f64>,
}

#[derive(serde::Serialize)]
struct FileFacts {
    path: PathBuf,
    bytes: usize,
}

pub fn main(args: &Args) -> Result<()> {
    let (folder, options) = options(args)?;
    // Before the work: what cannot end well.
    ensure!(folder.is_dir(), "the folder {} does not exist", folder.display());
    let wants_test = options.emit.contains(&Emit::Test);
    ensure!(
        !wants_test || args.inputs.is_some(),
        "--emit test needs the arrays `in:NAME` and `out:NAME`: give them with --inputs FILE.npz"
    );
    ensure!(wants_test || args.inputs.is_none(), "--inputs is for the self-test: add `test` to --emit");
    let reference = args.inputs.as_deref().map(crate::npz::read).transpose()?;

    let progress = progress();
    let mut times = Times::default();
    let mut lap = Instant::now();
    let mut stage = |name: &'static str| {
        progress.set_message(name);
        std::mem::replace(&mut lap, Instant::now()).elapsed()
    };
    stage("reading the model");
    let mut imported = pipeline::import(args.model.path()?, &args.model.open_options()?, &args.model.settings()?)?;
    imported.model = None; // a second copy of the weights
    times.import = stage("optimizing the graph");
    let mut module = imported.module;
    pipeline::optimize(&mut module, &args.code.passes())?;
    times.passes = stage("generating code");
    let artifact = aot::build(&module, &options, reference.as_ref())?;
    times.code = stage("writing files");
    if let Some(limit) = args.max_workspace {
        check_workspace(&module, &artifact, limit)?;
    }
    let paths = files::write(&folder, &artifact.files)?;
    progress.finish_and_clear();

    let sizes = artifact.files.iter().map(files::File::len);
    let facts = Facts {
        files: paths.into_iter().zip(sizes).map(|(path, bytes)| FileFacts { path, bytes }).collect(),
        backend: options.backend,
        target: options.target.triple,
        cpu: options.target.cpu,
        kernels: artifact.kernels,
        calls: artifact.report.calls.len(),
        weight_bytes: artifact.report.weights,
        workspace: artifact.report.workspace.to_string(),
        workspace_naive: artifact.report.naive.to_string(),
        workspace_bound: artifact.report.bound.to_string(),
        in_place: artifact.report.in_place,
        compile_s: times.total().as_secs_f64(),
        times,
        peak_rss_mb: kiln_rt::cpu::peak_rss_bytes().map(|b| b as f64 / 1e6),
    };
    if args.json {
        println!("{}", serde_json::to_string(&facts).context("printing the facts")?);
        return Ok(());
    }
    for f in &facts.files {
        println!("{} ({} bytes)", f.path.display(), f.bytes);
    }
    println!(
        "{:.2} s, {:?}, {} for {}: {} kernels, {} calls, {:.1} MB weights",
        facts.compile_s,
        facts.backend,
        facts.target,
        facts.cpu,
        facts.kernels,
        facts.calls,
        facts.weight_bytes as f64 / 1e6
    );
    println!(
        "workspace {} bytes (lower bound {}, without sharing {}), {} of {} calls in place",
        facts.workspace, facts.workspace_bound, facts.workspace_naive, facts.in_place, facts.calls
    );
    Ok(())
}

/// The folder and the options that the arguments mean.
fn options(args: &Args) -> Result<(PathBuf, Options)> {
    let file = args.output.file_name().and_then(|f| f.to_str()).filter(|f| !f.is_empty());
    let Some(file) = file else { bail!("-o {}: name the files, as in -o out/model", args.output.display()) };
    // It stands in quotes in generated files of four languages.
    if let Some(c) = file.chars().find(|c| !(c.is_alphanumeric() || "-_.+".contains(*c))) {
        bail!("-o {}: the file name holds `{c}`; use letters, digits, - _ . +", args.output.display());
    }
    let folder =
        args.output.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let prefix = match &args.entry_point {
        Some(p) => {
            let prefix = prefix_of(p)?;
            ensure!(prefix == *p, "--entry-point `{p}` is no C identifier");
            prefix
        }
        None => prefix_of(file)?,
    };
    let class = match &args.cpp_class {
        Some(text) => Class::parse(text).context("--cpp-class")?,
        None => Class::of_prefix(&prefix),
    };
    let backend = args.code.backend()?;
    let words = target::Words {
        triple: args.target_triple.clone(),
        cpu: args.target_cpu.clone(),
        features: args.target_features.clone(),
    };
    let options = Options {
        file: file.to_string(),
        prefix,
        class,
        emit: args.emit.clone(),
        weights: args.weights,
        backend,
        target: target::resolve(backend, &words)?,
        opt: args.opt,
        math_fast: args.code.math == MathArg::Fast,
    };
    Ok((folder, options))
}

/// Holds the workspace at the largest sizes against a limit.
fn check_workspace(module: &kiln_ir::Module, artifact: &aot::Artifact, limit: u64) -> Result<()> {
    let largest = |s: &kiln_ir::Symbol| module.symbols.get(s).and_then(|b| b.max);
    match artifact.report.workspace.eval(&largest) {
        Some(n) if u64::try_from(n).is_ok_and(|n| n <= limit) => Ok(()),
        Some(n) => bail!("the model needs {n} bytes of workspace, more than --max-workspace {limit}: lower --batch"),
        None => bail!(
            "the workspace ({} bytes) has no upper limit: bound the sizes, as in --batch 1..8",
            artifact.report.workspace
        ),
    }
}

/// A spinner that appears after a second where a terminal shows it.
fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}
