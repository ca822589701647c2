//! `kiln.h` in strict C99 and C++17, alone and with model headers around it, and a C program that
//! uses every function of it, linked with `libkiln_rt.a`.

use kiln_rt::{WeightsWriter, abi, status};
use std::path::{Path, PathBuf};
use std::process::Command;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs a command that must succeed; its output is the failure's message.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn compiler(variable: &str, default: &str) -> Command {
    Command::new(std::env::var(variable).unwrap_or_else(|_| default.to_owned()))
}

const C_FLAGS: [&str; 5] = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"];
const CXX_FLAGS: [&str; 6] = ["-x", "c++", "-std=c++17", "-Wall", "-Wextra", "-Werror"];

#[test]
fn the_header_compiles_in_any_order_with_model_headers() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = format!("{}{}", status::c_status_block(), abi::C_PARALLEL_BLOCK);
    for model in ["a", "b"] {
        let text =
            format!("#ifndef {model}_H\n#define {model}_H\n#include <stddef.h>\n#include <stdint.h>\n{blocks}#endif\n");
        std::fs::write(dir.path().join(format!("model_{model}.h")), text).unwrap();
    }
    let (include, file) = (source("include"), source("tests/c/headers.c"));
    for order in ["-DKILN_FIRST", "-DMODEL_FIRST"] {
        let common = |command: &mut Command| {
            command.arg(order).arg("-I").arg(&include).arg("-I").arg(dir.path()).arg("-fsyntax-only").arg(&file);
        };
        let mut cc = compiler("CC", "cc");
        common(cc.args(C_FLAGS));
        run(&mut cc);
        let mut cxx = compiler("CXX", "c++");
        if cxx.arg("--version").output().is_err() {
            println!("skipped the C++ half: no C++ compiler");
            continue;
        }
        let mut cxx = compiler("CXX", "c++");
        common(cxx.args(CXX_FLAGS));
        run(&mut cxx);
    }
}

/// The static library of this build: cargo puts it beside the test's executable.
#[cfg(unix)]
fn static_library() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let deps = executable.parent().unwrap();
    let newest = std::fs::read_dir(deps)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libkiln_rt") && name.ends_with(".a")
        })
        .max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok());
    newest.unwrap_or_else(|| panic!("no libkiln_rt*.a in {}", deps.display()))
}

#[cfg(unix)]
#[test]
fn a_c_program_uses_the_library() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    let mut writer = WeightsWriter::create(&good, 77).unwrap();
    writer.write(b"kiln").unwrap();
    writer.finish().unwrap();
    std::fs::write(&bad, [1; 200]).unwrap();

    let program = dir.path().join("program");
    let mut cc = compiler("CC", "cc");
    cc.args(C_FLAGS).arg("-I").arg(source("include")).arg(source("tests/c/runtime.c")).arg(static_library());
    run(cc.args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&program));
    run(Command::new(&program).arg(&good).arg(&bad));
}

/// The Rust structures are what the C header says.
#[test]
fn layouts_match() {
    assert_eq!(size_of::<status::Status>(), 4);
    assert_eq!(size_of::<abi::Parallel>(), 2 * size_of::<usize>());
    assert_eq!(std::mem::offset_of!(abi::Parallel, parallel_for), size_of::<usize>());
}
