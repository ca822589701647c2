//! Runs the kernels under `testdata/loops`: `run/` with expected results, `fail/` with the interpreter's error,
//! `verify/` with the verifier's errors on their lines. `docs/loop-ir.md` describes the directives.

use std::path::{Path, PathBuf};

use kiln_ir::loops::interp::{BufferData, RunOptions, run_kernel};
use kiln_ir::loops::parse::{self, Parsed};
use kiln_ir::loops::verify::{CONSTRAINTS, MachineLimits, Place, verify};
use kiln_ir::loops::{Access, Kernel, print};
use kiln_ir::scalar_eval::Scalar;
use kiln_ir::{DType, Dim};

fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/loops").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has kernels", folder.display());
    files.into_iter().map(|f| (f.clone(), std::fs::read_to_string(f).unwrap())).collect()
}

/// The arguments of the directives with a name.
fn directives<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let strip = |l: &'t str| l.strip_prefix("// ")?.strip_prefix(name)?.strip_prefix(' ');
    text.lines().filter_map(strip).collect()
}

fn directive<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    directives(text, name).first().copied()
}

/// `name = value` directives of a buffer.
fn data<'t>(text: &'t str, directive: &str, buffer: &str) -> Option<&'t str> {
    directives(text, directive).into_iter().find_map(|d| d.strip_prefix(buffer)?.strip_prefix(" = "))
}

fn number(dtype: DType, text: &str) -> Scalar {
    let n = match text.parse::<i64>() {
        Ok(n) => Scalar::I64(n),
        Err(_) => Scalar::F64(text.parse().unwrap_or_else(|_| panic!("`{text}` is a number"))),
    };
    n.cast(dtype).unwrap()
}

/// Elements from numbers, or from `ramp(mul, mod, sub, scale)`: element i is ((i * mul) % mod - sub) * scale.
fn elements(dtype: DType, n: usize, text: &str) -> Vec<Scalar> {
    let elements: Vec<Scalar> = match text.strip_prefix("ramp(") {
        Some(r) => {
            let r: Vec<f64> = r.trim_end_matches(')').split(", ").map(|x| x.parse().unwrap()).collect();
            let value = |i: usize| ((i as f64 * r[0]) % r[1] - r[2]) * r[3];
            (0..n).map(|i| Scalar::F64(value(i)).cast(dtype).unwrap()).collect()
        }
        None => text.split(' ').map(|x| number(dtype, x)).collect(),
    };
    assert_eq!(elements.len(), n, "elements in `{text}`");
    elements
}

fn bytes(elements: &[Scalar]) -> Vec<u8> {
    let mut bytes = vec![];
    for e in elements {
        let mut b = [0; 16];
        assert!(e.store(&mut b));
        bytes.extend_from_slice(&b[..e.dtype().size()]);
    }
    bytes
}

struct Case {
    kernel: Kernel,
    symbols: Vec<i64>,
    buffers: Vec<BufferData>,
}

fn size_of(kernel: &Kernel, symbols: &[i64], d: &Dim) -> usize {
    let bind = |s: &kiln_ir::Symbol| Some(symbols[kernel.symbols.iter().position(|k| k == s)?]);
    d.eval(&bind).unwrap() as usize
}

fn case(text: &str) -> Case {
    let kernel = parse::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let values: Vec<(&str, i64)> = directive(text, "symbols")
        .into_iter()
        .flat_map(|s| s.split(' '))
        .map(|s| s.split_once('=').map(|(n, v)| (n, v.parse().unwrap())).unwrap())
        .collect();
    let symbols: Vec<i64> = kernel.symbols.iter().map(|s| values.iter().find(|v| v.0 == &*s.0).unwrap().1).collect();
    let buffers = kernel.params().map(|(_, b)| {
        let n = size_of(&kernel, &symbols, &b.layout.size);
        match data(text, "in", &b.name) {
            Some(d) => BufferData::from_bytes(bytes(&elements(b.dtype, n, d))),
            None => {
                assert_eq!(b.access, Access::Write, "@{} has data", b.name);
                BufferData::uninitialized(b.dtype, n)
            }
        }
    });
    let buffers = buffers.collect();
    Case { kernel, symbols, buffers }
}

#[test]
fn kernels_give_their_results() {
    for (file, text) in files("run") {
        let file = file.display();
        let mut c = case(&text);
        if let Err(e) = verify(&c.kernel, limits(&text).as_ref()) {
            panic!("{file}: {e}");
        }
        let options = RunOptions { write_once: true, ..RunOptions::default() };
        let status = run_kernel(&c.kernel, &mut c.buffers, &c.symbols, &options);
        let status = status.unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(status, directive(&text, "status").map_or(0, |s| s.parse().unwrap()), "{file}: status");
        let mut compared = 0;
        for ((_, b), got) in c.kernel.params().zip(&c.buffers) {
            let Some(want) = data(&text, "out", &b.name) else { continue };
            let width = b.dtype.size();
            assert_eq!(want.split(' ').count(), got.bytes().len() / width, "{file}: elements of @{}", b.name);
            for (i, want) in want.split(' ').enumerate() {
                assert_eq!(got.is_written(i), want != "_", "{file}: @{}[{i}] is written", b.name);
                if want != "_" {
                    let got = Scalar::load(b.dtype, &got.bytes()[i * width..]).unwrap();
                    let want = number(b.dtype, want);
                    assert_eq!(format!("{got:?}"), format!("{want:?}"), "{file}: @{}[{i}]", b.name);
                }
            }
            compared += 1;
        }
        assert_eq!(compared, directives(&text, "out").len(), "{file}: every out names a buffer");
        assert!(compared > 0, "{file} compares something");
    }
}

#[test]
fn undefined_behaviour_is_an_error() {
    for (file, text) in files("fail") {
        let file = file.display();
        let mut c = case(&text);
        let error = run_kernel(&c.kernel, &mut c.buffers, &c.symbols, &RunOptions::default()).unwrap_err();
        assert_eq!(error.kind.to_string(), directive(&text, "fails").unwrap(), "{file}");
        if let Some(at) = directive(&text, "at") {
            assert_eq!(error.statement, at, "{file}");
        }
        assert!(!error.statement.is_empty(), "{file} names the statement");
    }
}

#[test]
fn printed_kernels_read_back() {
    for (file, text) in ["run", "fail"].into_iter().flat_map(files) {
        let k = parse::parse(&text).unwrap();
        let printed = k.to_string();
        let again = parse::parse(&printed).unwrap_or_else(|e| panic!("{}: {e}\n{printed}", file.display()));
        assert_eq!(again, print::renumber(&k), "{}", file.display());
        assert_eq!(again.to_string(), printed, "{}", file.display());
    }
}

/// Lanes of a file's machine: the `lanes` directive, for every element type.
fn limits(text: &str) -> Option<MachineLimits> {
    Some(match directive(text, "lanes")? {
        "4" => MachineLimits { lanes: |_| &[4] },
        "8" => MachineLimits { lanes: |_| &[8] },
        "2 4" => MachineLimits { lanes: |_| &[2, 4] },
        other => panic!("no table for lanes {other}"),
    })
}

/// The codes that a file pins, with their lines: `// error: K13 K15` at the end of the line at fault.
fn pinned(text: &str) -> Vec<(usize, String)> {
    let mut pins = vec![];
    for (i, l) in text.lines().enumerate() {
        if let Some((_, codes)) = l.split_once("// error: ") {
            pins.extend(codes.split(' ').map(|c| (i + 1, c.to_string())));
        }
    }
    pins
}

fn line_of(p: &Parsed, place: Place) -> usize {
    match place {
        Place::Kernel => p.line,
        Place::Buffer(i) => p.buffer_lines[i],
        Place::Stmt(i) => p.stmt_lines[i],
    }
}

#[test]
fn violations_are_found_on_their_lines() {
    let mut seen = vec![];
    for (file, text) in files("verify") {
        let kernels = parse::parse_all(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let (mut found, mut messages) = (vec![], vec![]);
        for p in &kernels {
            let errors = match verify(&p.kernel, limits(&text).as_ref()) {
                Ok(()) => vec![],
                Err(e) => e.errors,
            };
            for e in errors {
                let line = line_of(p, e.place);
                let shown = text.lines().nth(line - 1).unwrap().split("//").next().unwrap().trim();
                // The error shows the statement: same opcode, values renumbered.
                let word = |s: &str| {
                    s.split(" = ").last().unwrap_or_default().split([' ', ':', '[']).next().map(str::to_string)
                };
                assert!(!e.text.is_empty() && word(&e.text).is_some(), "{}:{line} shows `{}`", file.display(), e.text);
                if matches!(e.place, Place::Stmt(_)) && !shown.starts_with("for") && !e.text.contains("for ") {
                    assert_eq!(word(&e.text), word(shown), "{}:{line}: {}", file.display(), e.message);
                }
                found.push((line, e.code.to_string()));
                messages.push(format!("{line}: {}: {}", e.code, e.message));
            }
        }
        found.sort();
        assert_eq!(found, pinned(&text), "{}: errors found and pinned:\n{}", file.display(), messages.join("\n"));
        seen.extend(found.into_iter().map(|f| f.1));
    }
    // These cannot be written down: the parser refuses undefined and repeated values and buffers, and counts
    // results where types are stated. `loops_verify.rs` builds such kernels.
    let built = ["K09", "K10", "K18", "K34"];
    for (code, rule) in CONSTRAINTS {
        assert!(built.contains(code) || seen.iter().any(|s| s == code), "{code} ({rule}) is pinned by a file");
    }
}

#[test]
fn constraints_are_documented_word_for_word() {
    let doc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/loop-ir.md");
    let doc = std::fs::read_to_string(doc).unwrap();
    for (code, rule) in CONSTRAINTS {
        assert!(doc.contains(&format!("| {code} | {rule} |")), "docs/loop-ir.md lists `{code}` as `{rule}`");
    }
}
