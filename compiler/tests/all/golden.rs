//! Every golden model under `testdata/models`, and the digits, against TensorFlow's own outputs, on each backend of this
//! build, with one and with two threads.

use std::path::{Path, PathBuf};

use kiln::import::OpenOptions;
use kiln::import::convert::Settings;
use kiln::jit::Backend;
use kiln::{npz, pipeline};
use kiln_ir::Tensor;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

fn backends() -> Vec<Backend> {
    let mut all = vec![];
    if cfg!(feature = "llvm") {
        all.push(Backend::Llvm);
    }
    if cfg!(feature = "cranelift") {
        all.push(Backend::Cranelift);
    }
    all
}

fn pick(arrays: &npz::Arrays, prefix: &str, port: &str) -> Option<Tensor> {
    let name = format!("{prefix}:{}", port.strip_suffix(":0").unwrap_or(port));
    arrays.iter().find(|a| a.0 == name).map(|a| a.1.clone())
}

/// Runs a model on the inputs of a file; the outputs with their names.
fn run(
    model: &Path,
    open: &OpenOptions,
    arrays: &npz::Arrays,
    backend: Backend,
    threads: usize,
) -> anyhow::Result<Vec<(String, Tensor)>> {
    let module = pipeline::import_for_call(model, open, &Settings::default(), &|key| pick(arrays, "in", key))?;
    let names: Vec<String> = module.funcs[module.entries[0]].params.iter().map(|p| p.name.clone()).collect();
    let inputs: Vec<Tensor> = names.iter().filter_map(|n| pick(arrays, "in", n)).collect();
    let mut executor = pipeline::build(module, backend, &Default::default(), threads, &mut Default::default())?;
    let outputs = executor.run(&inputs)?;
    Ok(executor.output_names().into_iter().zip(outputs).collect())
}

/// max |a - b| / max |b| over the finite elements; infinite if a NaN or an infinity does not match.
fn error(got: &Tensor, want: &Tensor) -> f64 {
    let (Some(a), Some(b)) = (got.to_f64s(), want.to_f64s()) else {
        return if got.same_bits(want) { 0.0 } else { f64::INFINITY };
    };
    let (mut worst, mut scale) = (0f64, 1e-30f64);
    for (x, y) in a.into_iter().zip(b) {
        if x == y || (x.is_nan() && y.is_nan()) {
            scale = if y.is_finite() { scale.max(y.abs()) } else { scale };
        } else if !x.is_finite() || !y.is_finite() {
            return f64::INFINITY;
        } else {
            worst = worst.max((x - y).abs());
            scale = scale.max(y.abs());
        }
    }
    worst / scale
}

fn check(name: &str, model: &Path, open: &OpenOptions, arrays: &npz::Arrays, tol: f64) {
    for backend in backends() {
        let one = run(model, open, arrays, backend, 1).unwrap_or_else(|e| panic!("{name}, {backend:?}: {e:#}"));
        let two = run(model, open, arrays, backend, 2).unwrap_or_else(|e| panic!("{name}, {backend:?}: {e:#}"));
        assert!(!one.is_empty(), "{name} has no outputs");
        for ((key, got), (_, other)) in one.iter().zip(&two) {
            assert!(got.same_bits(other), "{name}, {backend:?}: `{key}` depends on the number of threads");
            let want = pick(arrays, "out", key).unwrap_or_else(|| panic!("{name}: no golden value for `{key}`"));
            assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()), "{name}, {backend:?}: `{key}`");
            // TensorFlow's f64 kernel squares its operand and gives NaN at 1e300, where erf is 1.
            if name.starts_with("pointwise_f64") && key == "erf" {
                let (a, b) = (got.to_f64s().unwrap_or_default(), want.to_f64s().unwrap_or_default());
                let same =
                    |(x, y): (&f64, &f64)| (x - y).abs() <= tol || (y.is_nan() && (x.is_nan() || x.abs() == 1.0));
                assert!(a.iter().zip(&b).all(same), "{name}, {backend:?}: `{key}`");
                continue;
            }
            let e = error(got, &want);
            assert!(e <= tol, "{name}, {backend:?}: `{key}` has a relative error of {e:.2e}");
        }
    }
}

#[test]
fn digits_match_tensorflow() {
    let dir = testdata().join("digits");
    let arrays = npz::read(&dir.join("ref.npz")).expect("the golden values");
    check("digits", &dir.join("saved_model"), &OpenOptions::default(), &arrays, 1e-5);
}

#[test]
fn golden_models_match_tensorflow() {
    let mut cases = 0;
    let mut folders: Vec<PathBuf> = std::fs::read_dir(testdata().join("models"))
        .expect("testdata/models")
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.join("meta.json").is_file())
        .collect();
    folders.sort();
    for dir in folders {
        let name = dir.file_name().expect("a folder's name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(dir.join("meta.json")).expect("meta.json");
        let meta: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let text = |key: &str| meta[key].as_str().map(str::to_owned);
        let tags =
            meta["tags"].as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect();
        let open = OpenOptions { tags, signature: text("signature"), ..OpenOptions::default() };
        let model = dir.join(text("model").expect("a model"));
        // Halves are rounded by everyone, but not after the same steps.
        let tol = if name.ends_with("bf16") {
            2f64.powi(-7)
        } else if name.ends_with("_f16") {
            2f64.powi(-10)
        } else {
            1e-5
        };
        for case in meta["refs"].as_object().expect("cases").values() {
            let file = case["file"].as_str().expect("a file");
            let arrays = npz::read(&dir.join(file)).expect("the golden values");
            check(&format!("{name}, {file}"), &model, &open, &arrays, tol);
            cases += 1;
        }
    }
    assert!(cases > 40, "only {cases} cases ran");
}
