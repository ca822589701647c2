//! Variables, optimizers, stacks and generators (`testdata/import/state`, made by `tools/gen_state_cases.py`) against
//! TensorFlow's results: by the reference interpreter, and compiled.

use std::path::{Path, PathBuf};

use kiln::import::OpenOptions;
use kiln::import::convert::Settings;
use kiln::jit::Backend;
use kiln::pipeline;
use kiln_ir::{DType, Tensor, interp};
use serde_json::Value as Json;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/import/state")
}

fn backend() -> Backend {
    if cfg!(feature = "cranelift") { Backend::Cranelift } else { Backend::Llvm }
}

fn strings(json: &Json) -> Vec<String> {
    json.as_array().expect("a list").iter().map(|s| s.as_str().expect("a string").to_owned()).collect()
}

fn tensor(json: &Json) -> Tensor {
    let dtype: DType = json["dtype"].as_str().expect("a type").parse().expect("a type");
    let shape: Vec<usize> =
        json["shape"].as_array().expect("a shape").iter().map(|d| d.as_u64().expect("an extent") as usize).collect();
    let data = json["data"].as_array().expect("elements");
    let float = |e: &Json| e.as_f64().or_else(|| e.as_str()?.parse().ok()).expect("a number");
    if dtype == DType::U64 {
        return Tensor::of(&shape, &data.iter().map(|e| e.as_u64().expect("a u64")).collect::<Vec<_>>());
    }
    if dtype.is_int() || dtype == DType::Bool {
        let int = |e: &Json| e.as_i64().or(e.as_bool().map(i64::from)).expect("an integer");
        return Tensor::from_i64s(dtype, &shape, &data.iter().map(int).collect::<Vec<_>>()).expect("integers");
    }
    let floats: Vec<f64> = data.iter().map(float).collect();
    if dtype == DType::C64 {
        let pairs = floats.chunks(2).map(|p| num_complex::Complex::new(p[0] as f32, p[1] as f32));
        return Tensor::of(&shape, &pairs.collect::<Vec<_>>());
    }
    kiln_ir::scalar_eval::cast_tensor(dtype, &Tensor::of(&shape, &floats)).expect("floats")
}

/// How two tensors differ, if they do by more than `tol` relative to the larger of 1 and the number.
fn difference(got: &Tensor, want: &Tensor, tol: f64) -> Option<String> {
    if (got.dtype(), got.shape()) != (want.dtype(), want.shape()) {
        return Some(format!("{got:?} instead of {want:?}"));
    }
    if got.same_bits(want) {
        return None;
    }
    let wide = |t: &Tensor| {
        let parts = t.as_slice::<num_complex::Complex<f32>>();
        parts.map(|v| v.iter().flat_map(|z| [f64::from(z.re), f64::from(z.im)]).collect()).or_else(|| t.to_f64s())
    };
    let (Some(a), Some(b)) = (wide(got), wide(want)) else { return Some(format!("{got:?} instead of {want:?}")) };
    let near = |(x, y): (&f64, &f64)| x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tol * y.abs().max(1.0);
    (!a.iter().zip(&b).all(near)).then(|| format!("{a:?} instead of {b:?}"))
}

/// One case, by the interpreter and compiled.
fn run(model: &Path, case: &Json) -> anyhow::Result<[Vec<Tensor>; 2]> {
    let feed = case["feed"].as_object().expect("feeds");
    let open = OpenOptions {
        feeds: feed.keys().cloned().collect(),
        fetches: strings(&case["fetch"]),
        ..OpenOptions::default()
    };
    let array = |key: &str| feed.get(key).map(tensor);
    let module = pipeline::import_for_call(model, &open, &Settings::default(), &array)?;
    let entry = module.entries[0];
    let inputs: Vec<Tensor> = module.funcs[entry].params.iter().filter_map(|p| array(&p.name)).collect();
    let reference = interp::eval_function(&module, entry, &inputs, &mut |_, _| {})?;
    let mut executor = pipeline::build(module, backend(), &Default::default(), 1, &mut Default::default())?;
    Ok([reference, executor.run(&inputs)?])
}

fn check(group: &str) {
    let model = folder().join(format!("{group}.pb"));
    let text = std::fs::read(folder().join(format!("{group}.json"))).expect("the cases");
    let cases: serde_json::Map<String, Json> = serde_json::from_slice(&text).expect("JSON");
    let mut wrong = vec![];
    let only = std::env::var("KILN_CASE").ok();
    for (name, case) in cases.iter().filter(|c| only.as_ref().is_none_or(|o| o == c.0)) {
        let results = match (run(&model, case), case.get("error")) {
            (Ok(r), None) => r,
            (Err(_), Some(_)) => continue,
            (Ok(_), Some(e)) => {
                wrong.push(format!("{name} must fail: {e}"));
                continue;
            }
            (Err(e), None) => {
                wrong.push(format!("{name}: {e:#}"));
                continue;
            }
        };
        let wanted: Vec<Tensor> = case["values"].as_array().expect("values").iter().map(tensor).collect();
        let tol = case["tol"].as_f64().expect("a tolerance");
        for (how, got) in ["interpreted", "compiled"].iter().zip(results) {
            assert_eq!(got.len(), wanted.len(), "{name}");
            for (k, (g, w)) in got.iter().zip(&wanted).enumerate() {
                wrong.extend(difference(g, w, tol).map(|d| format!("{name}, result {k}, {how}: {d}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

macro_rules! groups {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            check(stringify!($name));
        }
    )* };
}
groups!(optimizers variables stacks generators arrays);
