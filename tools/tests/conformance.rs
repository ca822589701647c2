//! The conformance runner on a tiny folder of cases: the index is read, outcomes are told apart, kept and resumed.

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_ir::DType;
use kiln_tools::conformance::index::Index;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/conformance")
}

#[test]
fn the_index_is_read_with_arrays_and_strings() {
    let index = Index::read(&folder()).expect("the index");
    let case = |id: &str| index.cases.iter().find(|c| c.id == id).unwrap_or_else(|| panic!("{id}"));
    let (inputs, outputs) = index.tensors(case("passes")).expect("arrays");
    assert_eq!(inputs[0].as_slice::<f32>(), Some(&[1.5, -2.0, 0.25][..]));
    assert_eq!((outputs[0].dtype(), outputs[0].shape()), (DType::F32, &[3][..]));
    let (inputs, _) = index.tensors(case("strings")).expect("strings");
    assert_eq!(inputs[0].strings(), Some(&[b"a".to_vec(), b"\xff\0".to_vec(), vec![]][..]));
}

#[test]
fn a_damaged_index_is_an_error() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert!(Index::read(dir.path()).is_err());
    std::fs::write(dir.path().join("index.json"), "[{\"id\": 1}]").expect("written");
    assert!(Index::read(dir.path()).is_err());
}

#[test]
fn outcomes_are_told_apart_and_kept() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let results = dir.path().join("results.jsonl");
    let run = |more: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_conformance"))
            .arg(folder())
            .args(["--backend", "cranelift", "--jobs", "1", "--list", "wrong,unsupported,crashed", "--results"])
            .arg(&results)
            .args(more)
            .output()
            .expect("the runner");
        (out.status.success(), String::from_utf8(out.stdout).expect("text"))
    };
    let (clean, text) = run(&["--filter", "passes"]);
    assert!(clean, "{text}");
    assert!(text.ends_with("conformance: 1 of 1 pass, 0 wrong, 0 unsupported, 0 crashed\n"), "{text}");
    let (clean, text) = run(&["--filter", "s"]);
    assert!(!clean, "{text}");
    assert!(text.contains("cranelift differs: `Exp:0` element 0 is 4.48"), "{text}");
    // Four cases contain the letter; one of them was kept from the first run.
    assert_eq!(std::fs::read_to_string(&results).expect("results").lines().count(), 4, "{text}");
    let (_, text) = run(&["--filter", "refused"]);
    assert!(text.contains("cranelift unsupported by op: ReadFile 1"), "{text}");
    assert!(text.contains("0 of 1 pass, 0 wrong, 1 unsupported, 0 crashed"), "{text}");
    run(&["--fresh", "--filter", "passes"]);
    assert_eq!(std::fs::read_to_string(&results).expect("results").lines().count(), 1);
}
