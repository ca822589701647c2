//! Reductions, contractions, windows and neural-network ops against TensorFlow's results (`testdata/ops/nn_cases.json`), with
//! fixed and with symbolic shapes; their gradients against TensorFlow's and against central differences; their expansions.

use crate::common::{Case, Imported, assert_close, expand, gradient, run, table, weights};
use kiln_ir::{DType, ParamKind, Tensor, TensorType, Value};

const TABLE: &str = "nn_cases.json";

/// f32 kernels of TensorFlow accumulate in f32, so they differ from the rounded f64 sum by a few units in the last place.
fn tolerance(t: &Tensor) -> f64 {
    match t.dtype() {
        DType::F32 | DType::C64 => 4e-6,
        _ => 1e-11,
    }
}

fn assert_like(what: &str, got: &Tensor, want: &Tensor) {
    if got.dtype() == DType::C64 {
        let floats = |t: &Tensor| Tensor::of(&[t.len() * 2], parts(t).as_slice());
        assert_eq!(got.shape(), want.shape(), "{what}");
        return assert_close(what, &floats(got), &floats(want), tolerance(got));
    }
    assert_close(what, got, want, tolerance(got));
}

/// The parts of complex numbers.
fn parts(t: &Tensor) -> Vec<f32> {
    t.bytes().chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn import(case: &Case, symbolic: bool) -> (String, Imported) {
    let name = format!("{}{}", case.name, if symbolic { " (symbolic)" } else { "" });
    let i = case.import(symbolic).unwrap_or_else(|e| panic!("{name}: {e:#}"));
    (name, i)
}

#[test]
fn results_are_tensorflows() {
    let cases = table(TABLE);
    assert!(cases.len() > 200, "only {} cases", cases.len());
    for case in cases {
        for symbolic in [false, true] {
            let (name, i) = import(&case, symbolic);
            let values = run(&i.b, &i.params, &i.sizes).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            assert!(i.outputs.len() >= case.outputs.len(), "{name}");
            for (v, want) in i.outputs.iter().zip(&case.outputs) {
                assert_like(&name, &values[v], want);
            }
        }
    }
}

#[test]
fn expansions_compute_the_same() {
    let mut expanded = 0;
    for case in table(TABLE) {
        let (name, i) = import(&case, false);
        let (b, map) = expand(&i.b).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        expanded += usize::from(b.func.node_count() > i.b.func.node_count());
        let values = run(&b, &i.params, &i.sizes).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        for (v, want) in i.outputs.iter().zip(&case.outputs) {
            assert_like(&name, &values[&map[v]], want);
        }
    }
    assert!(expanded > 10, "only {expanded} cases hold an op that expands");
}

/// Appends the gradient of sum(w * output 0) by the inputs, w as in the table.
fn with_gradient(case: &Case, i: &mut Imported) -> Vec<Option<Value>> {
    let v = i.outputs[0];
    let w = i.b.param("w", ParamKind::Input, i.b.ty(v).clone());
    i.params.push(weights(case.outputs[0].dtype(), case.outputs[0].shape()));
    let inputs = i.inputs.clone();
    gradient(&mut i.b, &[(v, w)], &inputs).unwrap_or_else(|e| panic!("gradient of {}: {e:#}", case.name))
}

#[test]
fn gradients_are_tensorflows() {
    let mut tested = 0;
    for case in table(TABLE) {
        let Some(grads) = &case.grads else { continue };
        for symbolic in [false, true] {
            let (name, mut i) = import(&case, symbolic);
            let got = with_gradient(&case, &mut i);
            let values = run(&i.b, &i.params, &i.sizes).unwrap_or_else(|e| panic!("gradient of {name}: {e:#}"));
            for (g, want) in got.iter().zip(grads) {
                match (g, want) {
                    (Some(g), Some(want)) => {
                        // A gradient adds more f32 terms than a result.
                        let tol = 5.0 * tolerance(want);
                        assert_close(&format!("gradient of {name}"), &values[g], want, tol);
                        tested += 1;
                    }
                    (None, Some(want)) => {
                        assert!(want.to_f64s().iter().flatten().all(|&x| x == 0.0), "{name} has no gradient");
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(tested > 250, "only {tested} gradients were compared");
}

/// Cases whose function has a kink or tie at its input, where a difference quotient is no derivative.
const KINKS: &[&str] = &[
    "Relu",
    "Relu6",
    "Elu",
    "Selu",
    "Softplus",
    "Softsign",
    "LeakyRelu",
    "Max_ties",
    "Min_ties",
    "MaxPool_ties",
    "ClipByValue",
];

/// Cases whose gradient TensorFlow defines otherwise than as the derivative: a pool's gradient op reads its result.
const NOT_DERIVATIVES: &[&str] = &["MaxPoolGrad", "ReluGrad", "Relu6Grad", "LeakyReluGrad", "EluGrad", "SeluGrad"];

#[test]
fn gradients_are_difference_quotients() {
    let mut tested = 0;
    for case in table(TABLE) {
        let skip = |names: &[&str]| names.iter().any(|k| case.name.starts_with(k));
        if case.outputs[0].dtype() != DType::F64 || skip(KINKS) || skip(NOT_DERIVATIVES) || case.outputs[0].is_empty() {
            continue;
        }
        let (name, mut i) = import(&case, false);
        let output = i.outputs[0];
        let got = with_gradient(&case, &mut i);
        let values = run(&i.b, &i.params, &i.sizes).unwrap_or_else(|e| panic!("gradient of {name}: {e:#}"));
        let w = weights(DType::F64, case.outputs[0].shape()).to_f64s().expect("floats");
        let loss = |params: &[Tensor]| -> f64 {
            let values = run(&i.b, params, &i.sizes).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            values[&output].to_f64s().expect("floats").iter().zip(&w).map(|(y, w)| y * w).sum()
        };
        let params: Vec<Value> = i.b.func.params.iter().map(|p| p.value).collect();
        for (x, g) in i.inputs.iter().zip(&got) {
            let Some(at) = params.iter().position(|p| p == x) else { continue };
            if i.params[at].dtype() != DType::F64 {
                continue;
            }
            let g = g.map(|g| values[&g].to_f64s().expect("floats"));
            let n = i.params[at].len();
            for e in (0..n).step_by(n.div_ceil(12).max(1)) {
                let h = 1e-4;
                let moved = |by: f64| {
                    let mut params = i.params.clone();
                    params[at].as_mut_slice::<f64>().expect("floats")[e] += by;
                    loss(&params)
                };
                // Fourth order: the error of (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h is of the order of h^4.
                let quotient = (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
                let ours = g.as_ref().map_or(0.0, |g| g[e]);
                let near = (ours - quotient).abs() <= 1e-6 * quotient.abs().max(1e-2);
                assert!(near, "{name}: derivative by element {e} is {ours}, the difference quotient {quotient}");
                tested += 1;
            }
        }
    }
    assert!(tested > 1000, "only {tested} derivatives were compared");
}

#[test]
fn symbolic_batches_stay_symbolic() {
    let cases = table(TABLE);
    let mut seen = 0;
    for case in cases.iter().filter(|c| c.node.op.contains("Pool") || c.node.op.contains("Conv2D")) {
        if case.symbolic.contains(&(0, 0)) && !case.name.contains("Filter") && !case.outputs[0].is_empty() {
            let (name, i) = import(case, true);
            let ty: &TensorType = i.b.ty(i.outputs[0]);
            let n = if case.inputs[0].0.shape()[0] == 2 { "n2" } else { "n1" };
            assert_eq!(ty.shape[0], kiln_ir::Dim::sym(n), "{name}: {ty}");
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} cases");
}
