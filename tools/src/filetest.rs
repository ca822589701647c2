//! Tests as files: graph IR in, expected text or errors in comments of the same file.
//!
//! A file begins with directives; its text follows, and the expectation stands in comments after it:
//!
//! ```text
//! // pass: fold,dce
//!
//! func @f(..) { .. }
//!
//! // expect:
//! // func @f(..) { .. }
//! ```
//!
//! | directive | the test |
//! |---|---|
//! | `// pass: a,b` | the passes, by name (`pipeline` stands for all of them), give the text after `// expect:` |
//! | `// math: fast` | with `pass`: the mode; strict without it |
//! | `// verify` | every line with `// error: G07 text` has a violation of that code whose message holds the text, and no other line has one |
//! | `// parse` | the text is refused on the line with `// error: text`, with that message |
//! | `// run: seed=1 tol=1e-5` | on random inputs, every level and backend agrees with the reference interpreter; see [`run`] |
//!
//! `KILN_BLESS=1` rewrites expectations in place. A pass test also prints and parses its result again: the round trip is
//! part of every one.

pub mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kiln_ir::text::{self, Dump, SourceMap};
use kiln_ir::verify::{self, Violation};
use kiln_ir::{Module, NodeId};
use kiln_passes::manager::{self, Math, Options, Pass};
use kiln_passes::pipeline;
pub use run::Run;

/// What a file tests.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Passes by name.
    Passes {
        /// In order.
        names: Vec<String>,
        /// The mode of arithmetic.
        math: Math,
    },
    /// The verifier's errors.
    Verify,
    /// The parser's error.
    Parse,
    /// Every level and backend against the reference interpreter.
    Run(Run),
}

/// A test file, taken apart.
#[derive(Clone, Debug)]
pub struct FileTest {
    /// What it tests.
    pub mode: Mode,
    /// The file without its expectation: what is parsed. Lines keep their numbers.
    pub source: String,
    /// The text after `// expect:`, without the comment signs.
    pub expected: String,
}

/// The line that separates source and expectation.
const EXPECT: &str = "// expect:";

impl FileTest {
    /// Takes a file apart.
    ///
    /// # Errors
    /// If its directives are missing, unknown or contradict each other.
    pub fn parse(file: &str) -> Result<FileTest> {
        let (mut mode, mut math) = (None, Math::Strict);
        for line in file.lines().map_while(|l| l.strip_prefix("//")) {
            // Errors of the module as a whole are annotated on the first line.
            let line = line.split("// error:").next().unwrap_or_default().trim();
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            let new = match (key, value.trim()) {
                ("pass", names) => {
                    let names = names.split(',').map(|n| n.trim().to_string()).collect();
                    Mode::Passes { names, math: Math::Strict }
                }
                ("verify", "") => Mode::Verify,
                ("parse", "") => Mode::Parse,
                ("run", words) => Mode::Run(Run::parse(words)?),
                ("dims", words) if let Some(Mode::Run(run)) = &mut mode => {
                    run.dims(words)?;
                    continue;
                }
                ("inputs", words) if let Some(Mode::Run(run)) = &mut mode => {
                    run.inputs(words)?;
                    continue;
                }
                ("math", "fast") => {
                    math = Math::Fast;
                    continue;
                }
                ("math", "strict") | ("", "") => continue,
                // Prose after the directives says what the test is about.
                _ if mode.is_some() => continue,
                _ => bail!(
                    "`// {line}` is no directive: a test begins with `// pass: ..`, `// verify`, `// parse` or `// run: ..`"
                ),
            };
            if mode.replace(new).is_some() {
                bail!("a test has one of `pass`, `verify`, `parse`, `run`");
            }
        }
        let mut mode =
            mode.context("the file begins with no directive: `// pass`, `// verify`, `// parse` or `// run`")?;
        if let Mode::Passes { math: m, .. } = &mut mode {
            *m = math;
        }
        let mut lines = file.lines();
        let source: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != EXPECT).collect();
        let strip = |l: &str| l.strip_prefix("// ").or(l.strip_prefix("//")).unwrap_or(l).to_string();
        let expected: Vec<String> = lines.map(strip).collect();
        Ok(FileTest { mode, source: source.join("\n") + "\n", expected: expected.join("\n") })
    }

    /// Runs the test; returns the text that belongs after `// expect:`, empty for tests without one.
    ///
    /// # Errors
    /// If errors differ from those annotated, or a pass test cannot be run.
    pub fn run(&self) -> Result<String> {
        match &self.mode {
            Mode::Passes { names, math } => run_passes(&self.source, names, *math),
            Mode::Verify => check_violations(&self.source).map(|()| String::new()),
            Mode::Parse => check_parse_error(&self.source).map(|()| String::new()),
            Mode::Run(run) => run.check(&self.source).map(|()| String::new()),
        }
    }
}

fn run_passes(source: &str, names: &[String], math: Math) -> Result<String> {
    let mut m = text::parse(source)?;
    let mut passes: Vec<Box<dyn Pass>> = vec![];
    for name in names {
        if name == "pipeline" {
            passes.extend(pipeline::passes());
        } else {
            passes.push(pipeline::by_name(name).with_context(|| format!("there is no pass `{name}`"))?);
        }
    }
    manager::run(&passes, &mut m, &Options { math, ..Options::default() }, &mut |_, _, _| {})?;
    let printed = text::print(&m, Dump::Full);
    let again = text::parse(&printed).context("the result does not parse")?;
    if text::print(&again, Dump::Full) != printed {
        bail!("the result does not round-trip through text:\n{printed}");
    }
    Ok(printed)
}

/// The `// error:` annotations by line, from 1.
fn annotations(source: &str) -> BTreeMap<usize, Vec<String>> {
    let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (i, line) in source.lines().enumerate() {
        for wanted in line.split("// error:").skip(1) {
            found.entry(i + 1).or_default().push(wanted.trim().to_string());
        }
    }
    found
}

/// The line of a violation: its node's, its function's, or the first.
fn line_of(lines: &SourceMap, v: &Violation) -> usize {
    let Some((f, _)) = v.func else { return 1 };
    let node = |n: NodeId| lines.nodes.get(f).and_then(|l| l.get(n.0 as usize));
    v.node.and_then(node).or(lines.funcs.get(f)).copied().unwrap_or(1)
}

fn check_violations(source: &str) -> Result<()> {
    let (m, lines): (Module, SourceMap) = text::parse_with_lines(source)?;
    let violations = verify::verify(&m).map_or_else(|v| v.list, |()| vec![]);
    let mut wanted = annotations(source);
    for v in &violations {
        let line = line_of(&lines, v);
        let said = format!("{}: {}", v.code, v.message);
        let on_line = wanted.entry(line).or_default();
        let matches = |w: &String| {
            let (code, text) = w.split_once(' ').unwrap_or((w, ""));
            code == v.code && v.message.contains(text.trim())
        };
        match on_line.iter().position(matches) {
            Some(i) => drop(on_line.remove(i)),
            None => bail!("line {line} has no annotation for `{said}`"),
        }
    }
    match wanted.iter().find(|(_, w)| !w.is_empty()) {
        Some((line, w)) => bail!("line {line} should have the error `{}`", w[0]),
        None => Ok(()),
    }
}

fn check_parse_error(source: &str) -> Result<()> {
    let wanted = annotations(source);
    let Some((&line, want)) = wanted.iter().next() else { bail!("no line has an `// error:` annotation") };
    match text::parse(source) {
        Ok(_) => bail!("the text parses, but line {line} should have the error `{}`", want[0]),
        Err(e) if e.line == line && e.message.contains(&want[0]) => Ok(()),
        Err(e) => bail!("line {line} should have the error `{}`, but the parser says\n{e}", want[0]),
    }
}

/// Runs a file's test, or with `bless` rewrites its expectation.
///
/// # Errors
/// If the file cannot be read or written, or the test fails.
pub fn run_file(path: &Path, bless: bool) -> Result<()> {
    let at = || path.display().to_string();
    let file = std::fs::read_to_string(path).with_context(at)?;
    let test = FileTest::parse(&file).with_context(at)?;
    let got = test.run().with_context(at)?;
    if got.trim_end() == test.expected.trim_end() {
        return Ok(());
    }
    if !bless {
        bail!("{}: (KILN_BLESS=1 accepts the new text)\n{}", at(), difference(&test.expected, &got));
    }
    let comment = |l: &str| if l.is_empty() { "//".to_string() } else { format!("// {l}") };
    let expected: Vec<String> = got.trim_end().lines().map(comment).collect();
    let new = format!("{}\n\n{EXPECT}\n{}\n", test.source.trim_end(), expected.join("\n"));
    std::fs::write(path, new).with_context(at)
}

/// The lines from the first to the last that differ, `-` expected and `+` got.
fn difference(expected: &str, got: &str) -> String {
    let (e, g): (Vec<&str>, Vec<&str>) = (expected.trim_end().lines().collect(), got.trim_end().lines().collect());
    let head = e.iter().zip(&g).take_while(|(a, b)| a == b).count();
    let tail = e[head..].iter().rev().zip(g[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mark = |sign: char, lines: &[&str]| lines.iter().map(|l| format!("{sign} {l}\n")).collect::<String>();
    format!("after {head} equal lines\n{}{}", mark('-', &e[head..e.len() - tail]), mark('+', &g[head..g.len() - tail]))
}

/// The `.kiln` files under a directory, sorted.
///
/// # Errors
/// If a directory cannot be read.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut dirs, mut found) = (vec![root.to_path_buf()], vec![]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "kiln") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_and_expectations_are_taken_apart() {
        let t =
            FileTest::parse("// pass: a, b\n// math: fast\n// prose: free\n\nfunc\n\n// expect:\n// x\n//\n//   y\n")
                .unwrap();
        assert_eq!(t.mode, Mode::Passes { names: vec!["a".into(), "b".into()], math: Math::Fast });
        assert_eq!(t.source.lines().last(), Some(""));
        assert_eq!(t.expected, "x\n\n  y");
        assert!(FileTest::parse("func").is_err());
        assert!(FileTest::parse("// nonsense\n").is_err());
        assert!(FileTest::parse("// verify\n// parse\n").is_err());
    }

    #[test]
    fn unmet_expectations_fail() {
        let run = |t: &str| FileTest::parse(t).and_then(|t| t.run()).map_err(|e| format!("{e:#}"));
        let bad = "func @f(input \"x\" %x: f32[]) {\n%y = unary op=neg %x : f32[2]";
        assert!(run(&format!("// verify\n{bad} // error: G02 infers f32[]\nreturn }}")).is_ok());
        assert!(run(&format!("// verify\n{bad}\nreturn }}")).unwrap_err().contains("line 3 has no annotation"));
        assert!(run("// verify\nfunc @f() { // error: G01 x\nreturn }").unwrap_err().contains("should have the error"));
        assert!(run("// parse\nfunc @f() { // error: x\nreturn }").unwrap_err().contains("the text parses"));
        assert!(run("// pass: nothing\nfunc @f() { return }").unwrap_err().contains("no pass `nothing`"));
        assert_eq!(difference("a\nb\nc", "a\nx\nc"), "after 1 equal lines\n- b\n+ x\n");
    }
}
