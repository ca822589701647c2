//! `kiln verify`: a model's outputs against golden ones.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use kiln_ir::{NodeId, ParamKind, Tensor};

use super::model::{CodeArgs, ModelArgs, pick};
use super::run::import_for;
use crate::executor::Executor;
use crate::jit::Backend;
use crate::npz;
use crate::pipeline::{self, Times};

/// Arguments of `kiln verify`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    code: CodeArgs,
    /// Arrays `in:NAME` and `out:NAME` (.npz)
    #[arg(long)]
    inputs: PathBuf,
    /// Largest relative error of a floating output: max |a - b| / max(1e-30, max |b|); at least one step of f16 and bf16
    #[arg(long, default_value_t = 1e-5)]
    tol: f64,
    /// Thread counts whose results must have equal bits, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct OutputFacts {
    name: String,
    /// max |a - b| / max |b|; 0 or 1 for types without a distance.
    relative_error: f64,
    /// Largest distance in units in the last place, f32 and f64 only.
    ulp: Option<f64>,
    ok: bool,
    problem: Option<String>,
}

#[derive(serde::Serialize)]
struct Facts {
    backend: Backend,
    outputs: Vec<OutputFacts>,
    threads: Vec<usize>,
    equal_bits: bool,
    ok: bool,
}

pub fn main(args: &Args) -> Result<()> {
    let arrays = npz::read(&args.inputs)?;
    if args.threads.is_empty() || args.threads.contains(&0) {
        bail!("--threads takes numbers from 1");
    }
    let (module, given) = import_for(&args.model, &arrays)?;
    let [entry] = module.entries[..] else { bail!("the module has {} entries", module.entries.len()) };
    let names: Vec<String> = module.funcs[entry].results.iter().map(|r| r.name.clone()).collect();
    let golden = golden(&arrays, &names).with_context(|| args.inputs.display().to_string())?;
    let mut results: Vec<Vec<Tensor>> = vec![];
    for &threads in &args.threads {
        let (code, passes) = (args.code.backend()?, args.code.passes());
        let mut executor = pipeline::build(module.clone(), code, &passes, threads, &mut Times::default())?;
        results.push(executor.run(&given)?);
    }
    let equal_bits = results.windows(2).all(|w| w[0].iter().zip(&w[1]).all(|(a, b)| a.same_bits(b)));
    let compared = names.iter().zip(&results[0]).zip(&golden);
    let outputs: Vec<OutputFacts> = compared.map(|((name, got), want)| compare(name, got, want, args.tol)).collect();
    let ok = equal_bits && outputs.iter().all(|o| o.ok);
    let facts = Facts { backend: args.code.backend()?, outputs, threads: args.threads.clone(), equal_bits, ok };
    if args.json {
        println!("{}", serde_json::to_string(&facts).context("printing the facts")?);
    } else {
        for o in &facts.outputs {
            let ulp = o.ulp.map_or(String::new(), |u| format!(", {u:.0} ULP"));
            let verdict = if o.ok { "ok" } else { "WRONG" };
            println!(
                "{}: {verdict}, relative error {:.2e}{ulp}{}",
                o.name,
                o.relative_error,
                o.problem.as_ref().map_or(String::new(), |p| format!(": {p}"))
            );
        }
        println!(
            "{:?}, threads {:?}: {} bits",
            facts.backend,
            facts.threads,
            if equal_bits { "equal" } else { "DIFFERENT" }
        );
    }
    if !ok {
        bail!("the outputs differ from the golden ones; {}", blame(args, &arrays)?);
    }
    Ok(())
}

/// The golden value of each output.
///
/// # Errors
/// Outputs without one: all of them, and what the file holds instead.
fn golden(arrays: &npz::Arrays, outputs: &[String]) -> Result<Vec<Tensor>> {
    let found: Vec<Option<Tensor>> = outputs.iter().map(|name| pick(arrays, "out", name)).collect();
    let quote = |s: &str| format!("`{s}`");
    let missing: Vec<String> =
        outputs.iter().zip(&found).filter(|p| p.1.is_none()).map(|p| quote(&format!("out:{}", p.0))).collect();
    if !missing.is_empty() {
        let has: Vec<String> = arrays.iter().map(|a| quote(&a.0)).collect();
        bail!("no golden value {}: the file holds {}", missing.join(", "), has.join(", "));
    }
    Ok(found.into_iter().flatten().collect())
}

/// Nodes whose compiled values may differ this much from the reference interpreter's before one is blamed: far above
/// rounding, far below a wrong kernel.
const BLAME: f64 = 1e-3;

/// Finds the first node whose compiled value differs from the reference interpreter's: every node of the optimized graph
/// is made an output, compiled, and compared in order.
fn blame(args: &Args, arrays: &npz::Arrays) -> Result<String> {
    let (mut module, given) = import_for(&args.model, arrays)?;
    pipeline::optimize(&mut module, &args.code.passes())?;
    let [entry] = module.entries[..] else { bail!("the module has {} entries", module.entries.len()) };
    let mut reference: HashMap<NodeId, Tensor> = HashMap::new();
    kiln_ir::interp::eval_function(&module, entry, &given, &mut |n, results| {
        if let [t] = results {
            reference.insert(n, t.clone());
        }
    })?;
    let f = &mut module.funcs[entry];
    let wanted: Vec<NodeId> = f
        .nodes()
        .filter(|(id, n)| !n.inputs.is_empty() && reference.get(id).is_some_and(|t| t.dtype().is_plain()))
        .map(|(id, _)| id)
        .collect();
    f.results.clear();
    for &id in &wanted {
        let v = f.node(id).outputs[0];
        f.add_result(&id.0.to_string(), ParamKind::Input, v);
    }
    let nodes: Vec<_> = wanted.iter().map(|&id| f.node(id).clone()).collect();
    let mut executor = Executor::new(module, args.code.backend()?, 1, &mut Times::default())?;
    for ((&id, n), got) in wanted.iter().zip(nodes).zip(executor.run(&given)?) {
        let c = compare("", &got, &reference[&id], BLAME);
        if !c.ok {
            let what = c.problem.unwrap_or_else(|| format!("relative error {:.1e}", c.relative_error));
            let place = if n.loc.node.is_empty() { format!("node {}", id.0) } else { format!("node `{}`", n.loc.node) };
            return Ok(format!(
                "the first that differs from the reference interpreter is {place} ({}, op `{}`): {what}",
                n.loc.tf_op,
                n.op.name()
            ));
        }
    }
    Ok("compiled alone, every node agrees with the reference interpreter: look at the fused kernels, or at the import"
        .into())
}

/// Compares an output with its golden value.
fn compare(name: &str, got: &Tensor, want: &Tensor, tol: f64) -> OutputFacts {
    let fact =
        |relative_error: f64, ulp, ok, problem| OutputFacts { name: name.into(), relative_error, ulp, ok, problem };
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        let what = format!("{} {:?} instead of {} {:?}", got.dtype(), got.shape(), want.dtype(), want.shape());
        return fact(1.0, None, false, Some(what));
    }
    let (Some(a), Some(b)) = (got.to_f64s(), want.to_f64s()) else {
        let same = got.same_bits(want);
        return fact(f64::from(u8::from(!same)), None, same, (!same).then(|| "elements differ".into()));
    };
    let (mut worst, mut scale, mut ulp) = (0f64, 0f64, 0f64);
    let bits = match got.dtype() {
        kiln_ir::DType::F32 => Some(f64::from(f32::EPSILON)),
        kiln_ir::DType::F64 => Some(f64::EPSILON),
        _ => None,
    };
    for (i, (&x, &y)) in a.iter().zip(&b).enumerate() {
        if x == y || (x.is_nan() && y.is_nan()) {
            scale = if y.is_finite() { scale.max(y.abs()) } else { scale };
            continue;
        }
        if !x.is_finite() || !y.is_finite() {
            return fact(f64::INFINITY, None, false, Some(format!("element {i} is {x} instead of {y}")));
        }
        worst = worst.max((x - y).abs());
        scale = scale.max(y.abs());
        if let Some(eps) = bits {
            // The spacing of numbers near y: eps times its power of two.
            let spacing = eps * 2f64.powi(y.abs().max(f64::MIN_POSITIVE).log2().floor() as i32);
            ulp = ulp.max((x - y).abs() / spacing);
        }
    }
    let relative = worst / scale.max(1e-30);
    // Halves are rounded once by everyone, but not after the same steps: neighbours are equal.
    let spacing = match got.dtype() {
        kiln_ir::DType::F16 => 2f64.powi(-10),
        kiln_ir::DType::BF16 => 2f64.powi(-7),
        _ => 0.0,
    };
    fact(relative, bits.map(|_| ulp), relative <= tol.max(spacing), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_golden_file_without_an_output_is_refused_with_both_lists_of_names() {
        let t = Tensor::scalar(1f32);
        let arrays = vec![("in:x".to_string(), t.clone()), ("out:y".to_string(), t)];
        assert_eq!(golden(&arrays, &["y".into()]).unwrap().len(), 1);
        let said = golden(&arrays, &["output_0".into(), "y".into(), "output_1".into()]).unwrap_err().to_string();
        assert_eq!(said, "no golden value `out:output_0`, `out:output_1`: the file holds `in:x`, `out:y`");
    }
}
