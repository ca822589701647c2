//! Ops that C functions compute, in memory and in an object: `--custom-op`, `--custom-shape`, `--custom-library`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln::npz;
use kiln_ir::Tensor;

const OP: &str = "RepeatScaled=repeat_scaled";
const SHAPE: &str = "RepeatScaled=[i0_0, 2*i0_1]";
const WANT: [f32; 12] = [-1., -3., -5., -1., -3., -5., -7., -9., -11., -7., -9., -11.];

fn program(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/programs").join(name);
    path.to_str().unwrap().to_string()
}

fn kiln(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln")).args(args).output().expect("kiln starts")
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn cc(folder: &Path, args: &[&str]) {
    let out =
        Command::new("cc").args(["-std=gnu99", "-Wall", "-Werror"]).args(args).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
}

fn backends() -> Vec<&'static str> {
    let both = [("cranelift", cfg!(feature = "cranelift")), ("llvm", cfg!(feature = "llvm"))];
    both.iter().filter(|b| b.1).map(|b| b.0).collect()
}

#[test]
fn a_function_of_a_shared_library_runs_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    cc(folder.path(), &["-shared", "-fPIC", &program("repeat_scaled.c"), "-o", "lib.so"]);
    let x: Vec<f32> = (0..6u8).map(f32::from).collect();
    npz::write(Path::new(&at("in.npz")), &[("in:x".into(), Tensor::of(&[2, 3], &x))]).unwrap();
    let model = program("custom.pbtxt");
    for backend in backends() {
        let (input, output, lib) = (at("in.npz"), at("out.npz"), at("lib.so"));
        let mut args = vec!["run", &model, "--inputs", &input, "--outputs", &output, "--backend", backend];
        args.extend(["--custom-op", OP, "--custom-shape", SHAPE]);
        let out = kiln(&args);
        assert!(said(&out).contains("no library defines the custom op's function `repeat_scaled`"), "{}", said(&out));
        args.extend(["--custom-library", &lib, "--json"]);
        let out = kiln(&args);
        assert!(out.status.success(), "{}", said(&out));
        let facts: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(facts["host"].as_array().map(Vec::len), Some(0), "the call is a part of the compiled code: {facts}");
        let arrays = npz::read(Path::new(&output)).unwrap();
        assert_eq!((arrays[0].1.shape(), arrays[0].1.as_slice::<f32>()), (&[2usize, 6][..], Some(&WANT[..])));
    }
}

#[test]
fn an_object_calls_the_function_of_the_program_that_links_it() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let m = folder.path().join("m");
        let model = program("custom.pbtxt");
        let args = ["compile", &model, "-o", m.to_str().unwrap(), "--backend", backend, "--batch", "1..8"];
        let out = kiln(&[&args[..], &["--custom-op", OP, "--custom-shape", SHAPE]].concat());
        assert!(out.status.success(), "{}", said(&out));
        let (main, op) = (program("use_custom.c"), program("repeat_scaled.c"));
        cc(folder.path(), &["-I.", "-include", "m.h", &main, &op, "m.o", "-o", "use"]);
        let out = Command::new(folder.path().join("use")).output().unwrap();
        let want: String = WANT.iter().map(|v| format!("{v} ")).collect();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(text.trim_end(), format!("{want}17 a custom op's function returned an error"), "{backend}");
    }
}

#[test]
fn flags_that_do_not_fit_are_refused_by_name() {
    let model = program("custom.pbtxt");
    let inspect = |flags: &[&str]| kiln(&[&["inspect", &model][..], flags].concat());
    let out = inspect(&[]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("RepeatScaled (1x): twice"));
    let out = inspect(&["--custom-op", OP]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("every op is supported"));
    for (flags, problem) in [
        (&["--custom-op", "RepeatScaled"][..], "write OP=FUNCTION"),
        (&["--custom-op", "RepeatScaled=a-b"], "`a-b` is not the name of a C function"),
        (&["--custom-op", OP, "--custom-op", OP], "is given twice"),
        (&["--custom-shape", SHAPE], "is not given by --custom-op"),
    ] {
        let out = inspect(flags);
        assert_eq!(out.status.code(), Some(1));
        assert!(said(&out).contains(problem), "{flags:?}: {}", said(&out));
    }
    let opt = |shape: &str| said(&kiln(&["opt", &model, "--custom-op", OP, "--custom-shape", shape]));
    assert!(opt("RepeatScaled=[i0_5]").contains("operand 0 has no axis 5"), "{}", opt("RepeatScaled=[i0_5]"));
    let inputs = program("../../../../testdata/digits/ref.npz");
    let out = kiln(&["run", &model, "--inputs", &inputs, "--custom-library", "/nowhere/lib.so"]);
    assert!(said(&out).contains("loading the library /nowhere/lib.so of custom ops"), "{}", said(&out));
}
