//! `kiln compile` from the outside: files are compiled with cc, c++ and rustc, linked, and run against TensorFlow's
//! outputs. The programs are in `tests/all/programs/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln::npz;

const DIGITS: &str = "digits/saved_model";

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(path)
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/programs").join(name)
}

fn backends() -> Vec<&'static str> {
    let both = [("cranelift", cfg!(feature = "cranelift")), ("llvm", cfg!(feature = "llvm"))];
    both.iter().filter(|b| b.1).map(|b| b.0).collect()
}

fn kiln(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln")).args(args).output().expect("kiln starts")
}

/// Compiles a model into `folder/name` and expects success.
fn compile(model: &str, folder: &Path, name: &str, flags: &[&str]) {
    let (model, output) = (testdata(model), folder.join(name));
    let mut args = vec!["compile", model.to_str().unwrap(), "-o", output.to_str().unwrap()];
    args.extend(flags);
    let out = kiln(&args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Runs a tool in a folder and expects success; returns what it printed.
fn tool(folder: &Path, name: &str, args: &[&str]) -> String {
    let out = Command::new(name).args(args).current_dir(folder).output().unwrap_or_else(|e| panic!("{name}: {e}"));
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{name} {args:?}: {}\n{text}", out.status);
    text
}

const STRICT: [&str; 4] = ["-std=c99", "-Wall", "-Wextra", "-Werror"];

fn cc(folder: &Path, args: &[&str]) -> String {
    tool(folder, "cc", &[&STRICT[..], &["-pedantic", "-Wno-overlength-strings", "-I."], args].concat())
}

/// Names of a folder's files, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

/// The reference images and probabilities as raw f32.
fn reference(folder: &Path) -> (PathBuf, Vec<f32>) {
    let arrays = npz::read(&testdata("digits/ref.npz")).unwrap();
    let find = |name: &str| &arrays.iter().find(|a| a.0 == name).unwrap().1;
    let images = folder.join("images.bin");
    std::fs::write(&images, find("in:image").bytes()).unwrap();
    (images, find("out:probs").as_slice::<f32>().unwrap().to_vec())
}

fn assert_close(folder: &Path, file: &str, want: &[f32]) {
    let bytes = std::fs::read(folder.join(file)).unwrap();
    assert_eq!(bytes.len(), 4 * want.len());
    let got = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    let worst = got.zip(want).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(worst <= 1e-5, "largest difference {worst}");
}

#[test]
fn the_self_test_passes_with_every_backend_and_place_of_weights() {
    let reference = testdata("digits/ref.npz");
    for backend in backends() {
        for weights in ["embed", "file", "caller"] {
            let t = tempfile::tempdir().unwrap();
            let flags = [
                "--emit",
                "obj,header,test",
                "--inputs",
                reference.to_str().unwrap(),
                "--backend",
                backend,
                "--weights",
                weights,
            ];
            compile(DIGITS, t.path(), "m", &flags);
            cc(t.path(), &["-O1", "m_selftest.c", "m.o", "-lm", "-o", "t"]);
            let said = tool(t.path(), "./t", &[]);
            assert!(said.contains("PASS probs: largest relative error") && said.contains("PASS m:"), "{said}");
            let weights_file = names(t.path()).into_iter().find(|n| n.contains(".weights"));
            assert_eq!(
                weights_file.as_deref(),
                [None, Some("m.weights"), Some("m.weights.bin")]
                    [["embed", "file", "caller"].iter().position(|w| *w == weights).unwrap()]
            );
            if weights == "file" {
                kiln_rt::Weights::map(&t.path().join("m.weights")).unwrap().verify().unwrap();
            }
            let object = std::fs::metadata(t.path().join("m.o")).unwrap().len();
            let parameters = 4 * 114_314;
            assert!(object <= parameters * 102 / 100 + 150_000, "{backend} {weights}: object of {object} bytes");
            if weights != "embed" {
                assert!(object < 150_000, "{backend} {weights}: the weights are in the object of {object} bytes");
            }
        }
    }
}

#[test]
fn a_wrong_expectation_fails_the_self_test() {
    let t = tempfile::tempdir().unwrap();
    let mut arrays = npz::read(&testdata("digits/ref.npz")).unwrap();
    for (name, tensor) in &mut arrays {
        if name == "out:probs" {
            tensor.as_mut_slice::<f32>().unwrap()[17] += 1e-3;
        }
    }
    let wrong = t.path().join("wrong.npz");
    npz::write(&wrong, &arrays).unwrap();
    compile(DIGITS, t.path(), "m", &["--emit", "obj,header,test", "--inputs", wrong.to_str().unwrap()]);
    cc(t.path(), &["m_selftest.c", "m.o", "-lm", "-o", "t"]);
    let out = Command::new(t.path().join("t")).current_dir(t.path()).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stdout).contains("FAIL probs"));
}

#[test]
fn every_output_type_reaches_c() {
    let reference = testdata("models/integers/ref_pairs.npz");
    for backend in backends() {
        let t = tempfile::tempdir().unwrap();
        compile(
            "models/integers/graph.pb",
            t.path(),
            "ints",
            &["--emit", "obj,header,cpp,test", "--inputs", reference.to_str().unwrap(), "--backend", backend],
        );
        cc(t.path(), &["ints_selftest.c", "ints.o", "-lm", "-o", "t"]);
        let said = tool(t.path(), "./t", &[]);
        assert!(said.lines().filter(|l| l.starts_with("PASS")).count() > 80 && !said.contains("FAIL"), "{said}");
    }
}

#[test]
fn several_models_and_the_runtime_share_one_program() {
    let t = tempfile::tempdir().unwrap();
    std::fs::write(t.path().join("kiln.h"), kiln_rt::KILN_H).unwrap();
    compile(DIGITS, t.path(), "digits", &["--emit", "staticlib,header"]);
    compile("models/integers/graph.pb", t.path(), "integers", &["--emit", "obj,header"]);
    let source = program("two_models.c");
    cc(t.path(), &[source.to_str().unwrap(), "integers.o", "libdigits.a", "-lm", "-o", "two"]);
    assert_eq!(tool(t.path(), "./two", &[]).trim(), kiln_rt::Status::BadDim.text());
}

#[test]
fn the_headers_are_strict_c99_and_cpp17() {
    let t = tempfile::tempdir().unwrap();
    for (weights, class) in [("embed", "a::b::Net"), ("file", "Net"), ("caller", "kiln::Net")] {
        compile(DIGITS, t.path(), "m", &["--weights", weights, "--cpp-class", class, "--batch", "2"]);
        std::fs::write(
            t.path().join("h.c"),
            "#include \"m.h\"\nint main(void) { return (int)M_IMAGE_ELEMS == 2 * 784 ? 0 : 1; }\n",
        )
        .unwrap();
        cc(t.path(), &["h.c", "m.o", "-lm", "-o", "h"]);
        tool(t.path(), "./h", &[]);
        std::fs::write(
            t.path().join("h.cpp"),
            format!("#include \"m.hpp\"\nusing Model = {class};\nint main() {{ return sizeof(Model) > 0 ? 0 : 1; }}\n"),
        )
        .unwrap();
        let flags = [
            "-std=c++17",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-fno-exceptions",
            "-I.",
            "h.cpp",
            "m.o",
            "-o",
            "hpp",
        ];
        tool(t.path(), "c++", &flags);
        let lines = cc(t.path(), &["-E", "h.c"]).lines().filter(|l| !l.starts_with('#')).count();
        assert!(lines < 400, "{lines} preprocessed lines");
    }
}

#[test]
fn the_cpp_and_rust_wrappers_give_tensorflows_outputs() {
    for backend in backends() {
        let t = tempfile::tempdir().unwrap();
        let (images, want) = reference(t.path());
        let images = images.to_str().unwrap();
        compile(DIGITS, t.path(), "digits", &["--backend", backend, "--cpp_class", "app::Digits"]);
        let source = program("use.cpp");
        let flags = [
            "-std=c++17",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-I.",
            source.to_str().unwrap(),
            "digits.o",
            "-lm",
            "-o",
            "cpp",
        ];
        tool(t.path(), "c++", &flags);
        tool(t.path(), "./cpp", &[images, "cpp.bin"]);
        assert_close(t.path(), "cpp.bin", &want);

        // Beside the wrapper, because `include!` is relative to the file.
        std::fs::copy(program("use.rs"), t.path().join("use.rs")).unwrap();
        tool(t.path(), "rustc", &["--edition", "2024", "use.rs", "-C", "link-arg=digits.o", "-o", "rust"]);
        tool(t.path(), "./rust", &[images, "rust.bin"]);
        assert_close(t.path(), "rust.bin", &want);
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let reference = testdata("digits/ref.npz");
    for backend in backends() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for t in [&a, &b] {
            let flags = [
                "--emit",
                "obj,staticlib,header,cpp,rust,cmake,pkgconfig,test",
                "--inputs",
                reference.to_str().unwrap(),
                "--weights",
                "file",
                "--backend",
                backend,
            ];
            compile(DIGITS, t.path(), "m", &flags);
        }
        let files = names(a.path());
        assert_eq!(files, names(b.path()));
        assert_eq!(files.len(), 9, "{files:?}");
        for f in files {
            assert!(
                std::fs::read(a.path().join(&f)).unwrap() == std::fs::read(b.path().join(&f)).unwrap(),
                "{backend}: {f} differs"
            );
        }
    }
}

#[test]
fn objects_export_the_prefix_only_and_import_libm_at_most() {
    for backend in backends() {
        let t = tempfile::tempdir().unwrap();
        compile(DIGITS, t.path(), "net-2", &["--emit", "obj", "--backend", backend]);
        let symbols = tool(t.path(), "nm", &["-g", "net-2.o"]);
        let mut defined = vec![];
        for line in symbols.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["U", name] => assert!(
                    ["memcpy", "memset", "memmove", "fmod", "fmodf", "floorf", "_GLOBAL_OFFSET_TABLE_"].contains(&name),
                    "{name}"
                ),
                [_, _, name] => defined.push(name),
                _ => {}
            }
        }
        defined.sort_unstable();
        assert_eq!(defined, ["net_2_inputs", "net_2_outputs", "net_2_run", "net_2_workspace_size"]);
    }
}

#[test]
fn errors_are_clear_and_leave_nothing_behind() {
    let t = tempfile::tempdir().unwrap();
    let (digits, ints) = (testdata(DIGITS), testdata("models/integers/graph.pb"));
    let (digits, ints) = (digits.to_str().unwrap(), ints.to_str().unwrap());
    let (good, other) = (testdata("digits/ref.npz"), testdata("models/integers/ref_pairs.npz"));
    let (good, other) = (good.to_str().unwrap(), other.to_str().unwrap());
    let (output, missing) = (t.path().join("m"), t.path().join("no/m"));
    let (output, missing) = (output.to_str().unwrap(), missing.to_str().unwrap());
    let reserved = t.path().join("kiln");
    let cases: [(&[&str], i32, &str); 12] = [
        (&["/nothing/here", "-o", output], 1, "/nothing/here"),
        (&[digits, "-o", missing], 1, "does not exist"),
        (&[digits, "-o", reserved.to_str().unwrap()], 1, "belongs to Kiln's runtime"),
        (&[digits, "-o", output, "--emit", "obj,test"], 1, "--inputs"),
        (&[digits, "-o", output, "--emit", "obj,test", "--inputs", other], 1, "image"),
        (&[digits, "-o", output, "--emit", "obj,header,test", "--batch", "3", "--inputs", good], 1, "shape"),
        (&[ints, "-o", output, "--feed", "x,y", "--fetch", "x,int8_add", "--batch", "2"], 1, "both be called `x`"),
        (&[digits, "-o", output, "--cpp-class", "a::class"], 1, "a::class"),
        (&[digits, "-o", output, "--target-triple", "riscv64-unknown-linux-gnu"], 1, "riscv64"),
        (&[digits, "-o", output, "--max-workspace", "1000"], 1, "no upper limit"),
        (&[digits, "-o", output, "--batch", "1..64", "--max-workspace", "1000"], 1, "--max-workspace 1000"),
        (&[digits, "-o", output, "--emit", "nonsense"], 2, "nonsense"),
    ];
    for (args, code, part) in cases {
        let out = kiln(&[&["compile"], args].concat());
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
        assert_eq!(names(t.path()), [""; 0], "{args:?}");
    }
}

#[test]
fn facts_are_json() {
    let t = tempfile::tempdir().unwrap();
    let (model, output) = (testdata(DIGITS), t.path().join("m"));
    let out = kiln(&["compile", model.to_str().unwrap(), "-o", output.to_str().unwrap(), "--emit", "obj", "--json"]);
    let facts: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(facts["files"].as_array().unwrap().len(), 1);
    assert!(facts["workspace"].as_str().unwrap().contains("batch"));
    let doctor: serde_json::Value = serde_json::from_slice(&kiln(&["doctor", "--json"]).stdout).unwrap();
    assert_eq!(doctor["cpu"]["arch"], std::env::consts::ARCH);
    assert_eq!(doctor["backends"][0]["built_in"], cfg!(feature = "llvm"));
}
