//! Runs passes in order: verifies after each, dumps, times, disables by name, and bisects.
//!
//! Every rewrite of every pass asks [`Cx::allow`] first. With a limit of N only the first N rewrites of the whole run
//! happen, so a wrong result is pinned to one rewrite by bisecting N; the report says in which pass it fell.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kiln_ir::{Function, Module, verify};

/// What arithmetic may be changed. The order is that of permissiveness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Math {
    /// TensorFlow's results, within the bounds of the numeric contract.
    #[default]
    Strict,
    /// Reassociation and approximations too; NaN and infinities are still honoured.
    Fast,
}

/// How a pipeline is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What arithmetic may be changed.
    pub math: Math,
    /// Whether the module is verified before the first pass and after each.
    pub verify: bool,
    /// Names of passes that are skipped.
    pub disabled: BTreeSet<String>,
    /// Names of passes after which the module is dumped; `all` stands for every pass.
    pub dump_after: BTreeSet<String>,
    /// The pass after which the run ends (its last occurrence in the pipeline).
    pub stop_after: Option<String>,
    /// How many rewrites may happen in the whole run.
    pub bisect_limit: Option<u64>,
}

impl Default for Options {
    /// Strict, verified, nothing disabled or dumped, no limit.
    fn default() -> Options {
        Options {
            math: Math::Strict,
            verify: true,
            disabled: BTreeSet::new(),
            dump_after: BTreeSet::new(),
            stop_after: None,
            bisect_limit: None,
        }
    }
}

/// What a pass is given besides the module.
#[derive(Debug, Default)]
pub struct Cx {
    /// What arithmetic may be changed.
    pub math: Math,
    limit: Option<u64>,
    done: u64,
}

impl Cx {
    /// A context without a limit.
    pub fn new(math: Math) -> Cx {
        Cx { math, limit: None, done: 0 }
    }

    /// Whether one more rewrite may happen; counts it. Ask right before doing it, once it is certain otherwise.
    pub fn allow(&mut self) -> bool {
        let ok = self.limit.is_none_or(|limit| self.done < limit);
        self.done += u64::from(ok);
        ok
    }

    /// The rewrites that have happened so far.
    pub fn rewrites(&self) -> u64 {
        self.done
    }
}

/// A step over a module.
pub trait Pass: Send + Sync {
    /// The name by which it is listed, disabled and tested: lower case with dashes.
    fn name(&self) -> &'static str;

    /// What it does, in one line.
    fn doc(&self) -> &'static str;

    /// Changes the module; tells whether it did.
    ///
    /// # Errors
    /// If the module cannot be transformed; the message names the node.
    fn run(&self, m: &mut Module, cx: &mut Cx) -> Result<bool>;
}

/// Applies a change to every function of a module; tells whether one changed.
///
/// # Errors
/// The first function's that fails, naming it.
pub fn each_function(m: &mut Module, mut change: impl FnMut(&mut Function) -> Result<bool>) -> Result<bool> {
    let mut changed = false;
    for f in &mut m.funcs {
        let name = f.name.clone();
        changed |= change(f).with_context(|| format!("in @{name}"))?;
    }
    Ok(changed)
}

/// How one pass went.
#[derive(Clone, Debug)]
pub struct PassRun {
    /// The pass.
    pub name: &'static str,
    /// Time of the pass alone.
    pub time: Duration,
    /// Time of the verification after it.
    pub verify_time: Duration,
    /// Whether it says that it changed the module.
    pub changed: bool,
    /// Numbers of the first rewrite it made and of the one after its last: the range for bisecting.
    pub rewrites: std::ops::Range<u64>,
    /// Nodes of the module before and after.
    pub nodes: (usize, usize),
}

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The passes that ran, in order.
    pub passes: Vec<PassRun>,
}

impl std::fmt::Display for Report {
    /// A table, one line a pass.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:24} {:>10} {:>10} {:>15} {:>17}", "pass", "ms", "verify ms", "nodes", "rewrites")?;
        for p in &self.passes {
            let (ms, verify) = (p.time.as_secs_f64() * 1e3, p.verify_time.as_secs_f64() * 1e3);
            let nodes = format!("{} -> {}", p.nodes.0, p.nodes.1);
            let rewrites = format!("{}..{}", p.rewrites.start, p.rewrites.end);
            writeln!(f, "{:24} {ms:>10.3} {verify:>10.3} {nodes:>15} {rewrites:>17}", p.name)?;
        }
        Ok(())
    }
}

/// Receives dumps: the pass's place in the pipeline, its name and the module after it.
pub type DumpSink<'a> = &'a mut dyn FnMut(usize, &str, &Module);

/// Runs passes over a module.
///
/// # Errors
/// If an option names no pass of the list, a pass fails, or the module is not valid before or after a pass; the message
/// names the pass, and violations their nodes.
pub fn run(passes: &[Box<dyn Pass>], m: &mut Module, options: &Options, dump: DumpSink<'_>) -> Result<Report> {
    check_names(passes, options)?;
    if options.verify {
        verify::verify(m)?;
    }
    let last = match &options.stop_after {
        Some(stop) => passes.iter().rposition(|p| p.name() == stop).map_or(0, |i| i + 1),
        None => passes.len(),
    };
    let mut cx = Cx { math: options.math, limit: options.bisect_limit, done: 0 };
    let mut report = Report::default();
    for (i, pass) in passes.iter().enumerate().take(last) {
        if options.disabled.contains(pass.name()) {
            continue;
        }
        let (before, first, start) = (node_count(m), cx.done, Instant::now());
        let changed = pass.run(m, &mut cx).with_context(|| format!("in pass `{}`", pass.name()))?;
        let time = start.elapsed();
        if options.dump_after.contains(pass.name()) || options.dump_after.contains("all") {
            dump(i, pass.name(), m);
        }
        let start = Instant::now();
        if options.verify && changed {
            verify::verify(m).map_err(|v| v.after(pass.name()))?;
        }
        report.passes.push(PassRun {
            name: pass.name(),
            time,
            verify_time: start.elapsed(),
            changed,
            rewrites: first..cx.done,
            nodes: (before, node_count(m)),
        });
    }
    Ok(report)
}

fn node_count(m: &Module) -> usize {
    m.funcs.iter().map(Function::node_count).sum()
}

fn check_names(passes: &[Box<dyn Pass>], options: &Options) -> Result<()> {
    let known: BTreeSet<&str> = passes.iter().map(|p| p.name()).collect();
    let named = options.disabled.iter().chain(&options.dump_after).chain(&options.stop_after);
    for name in named {
        if name != "all" && !known.contains(&name[..]) {
            let list: Vec<&str> = known.into_iter().collect();
            bail!("there is no pass `{name}` in the pipeline; it has {}", list.join(", "));
        }
    }
    Ok(())
}
