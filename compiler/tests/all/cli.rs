//! Subcommands from the outside that have no test file of their own: `verify`, `bench`, `run`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln::npz;

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(path)
}

fn kiln(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln")).args(args).output().expect("kiln starts")
}

#[test]
fn verify_names_the_golden_values_that_are_missing_before_it_runs_anything() {
    let folder = tempfile::tempdir().unwrap();
    let golden = folder.path().join("golden.npz");
    let mut arrays = npz::read(&testdata("digits/ref.npz")).unwrap();
    arrays.iter_mut().filter(|a| a.0.starts_with("out:")).for_each(|a| a.0 = "out:other".into());
    npz::write(&golden, &arrays).unwrap();
    let model = testdata("digits/saved_model");
    let out = kiln(&["verify", model.to_str().unwrap(), "--inputs", golden.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1));
    assert!(said.contains("no golden value `out:probs`: the file holds"), "{said}");
    assert!(said.contains("`out:other`") && said.contains("golden.npz"), "{said}");
    assert!(out.stdout.is_empty(), "nothing was run: {}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn bench_reports_rates_as_shares_of_the_peak() {
    for (what, sizes) in [("gemm", &["33", "20", "17"][..]), ("conv", &["1", "8", "8", "3", "3", "1", "16"])] {
        for b in ["constant", "runtime"] {
            let out = kiln(&[&["bench", what], sizes, &["--b", b, "--runs", "5", "--json"]].concat());
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            let rows: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            let row = &rows[0];
            assert_eq!((row["what"].as_str(), row["runs"].as_u64()), (Some(what), Some(5)));
            assert_eq!(row["packed"].as_bool(), Some(b == "constant"));
            let (rate, peak) = (row["gflops"].as_f64().unwrap(), row["peak_gflops"].as_f64().unwrap());
            assert!(rate > 0.0 && peak > 0.0);
            assert!((row["share"].as_f64().unwrap() - rate / peak).abs() < 1e-9);
            assert!(!row["schedule"].as_str().unwrap().is_empty());
        }
    }
    let out = kiln(&["bench", "gemm", "3", "4"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("2 numbers are no list of M N K"));
}

#[test]
fn run_reports_the_workspace_between_its_bound_and_the_sum_of_all_buffers() {
    let (model, inputs) = (testdata("digits/saved_model"), testdata("digits/ref.npz"));
    let out = kiln(&["run", model.to_str().unwrap(), "--inputs", inputs.to_str().unwrap(), "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let facts: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let bytes = |key: &str| facts[key].as_u64().unwrap();
    assert!(bytes("workspace_bound_bytes") > 0);
    assert!(bytes("workspace_bound_bytes") <= bytes("workspace_bytes"));
    assert!(bytes("workspace_bytes") <= bytes("workspace_naive_bytes"));
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["ops", "--markdown"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("kiln starts");
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
}

#[test]
fn inspect_says_what_of_the_optimized_graph_is_compiled() {
    let model = testdata("digits/saved_model");
    let out = kiln(&["inspect", model.to_str().unwrap(), "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let facts: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let boundary = &facts["boundary"];
    assert!(boundary["nodes"].as_u64().unwrap() > 5, "{boundary}");
    assert_eq!((boundary["parts"].as_u64(), boundary["host"].as_array().map(Vec::len)), (Some(1), Some(0)));
    assert_eq!(facts["unsupported"].as_array().map(Vec::len), Some(0));
}

#[test]
fn ops_are_found_by_a_part_of_their_names() {
    let out = kiln(&["ops", "conv2d", "--json"]);
    let rows: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let names: Vec<&str> = rows.as_array().unwrap().iter().filter_map(|r| r["op"].as_str()).collect();
    assert!(names.contains(&"Conv2D") && names.contains(&"Conv2DBackpropInput"), "{names:?}");
    let out = kiln(&["ops", "NoSuchOp"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no supported op's name contains `NoSuchOp`"));
}
