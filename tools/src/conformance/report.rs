//! The file of outcomes, which lets a run resume, and the counts.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::index::Case;
use super::{Outcome, Record};

/// Outcomes by backend and case, kept in a file of JSON lines; a later line replaces an earlier one.
pub struct Results {
    path: PathBuf,
    records: BTreeMap<(String, String), Record>,
}

impl Results {
    /// The outcomes of a file; none if it does not exist. A line that a stopped run left half-written is dropped.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn open(path: &Path) -> Result<Results> {
        let text = if path.exists() {
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?
        } else {
            String::new()
        };
        let records = text.lines().filter_map(|l| serde_json::from_str::<Record>(l).ok());
        let records = records.map(|r| ((r.backend.clone(), r.id.clone()), r)).collect();
        Ok(Results { path: path.to_path_buf(), records })
    }

    /// Keeps an outcome.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, record: Record) -> Result<()> {
        let writing = || format!("writing {}", self.path.display());
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path).with_context(writing)?;
        writeln!(file, "{}", serde_json::to_string(&record)?).with_context(writing)?;
        self.records.insert((record.backend.clone(), record.id.clone()), record);
        Ok(())
    }

    /// The outcome of a case on a backend.
    pub fn get(&self, backend: &str, id: &str) -> Option<&Record> {
        self.records.get(&(backend.to_string(), id.to_string()))
    }
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pass: usize,
    wrong: usize,
    unsupported: usize,
    crashed: usize,
}

impl Counts {
    /// The counts of outcomes.
    pub fn of(outcomes: impl Iterator<Item = Outcome>) -> Counts {
        let mut c = Counts::default();
        for o in outcomes {
            *match o {
                Outcome::Pass => &mut c.pass,
                Outcome::Wrong => &mut c.wrong,
                Outcome::Unsupported => &mut c.unsupported,
                Outcome::Crashed => &mut c.crashed,
            } += 1;
        }
        c
    }

    /// Whether no case is wrong or crashed.
    pub fn is_clean(&self) -> bool {
        self.wrong == 0 && self.crashed == 0
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { pass, wrong, unsupported, crashed } = self;
        let all = pass + wrong + unsupported + crashed;
        write!(f, "{pass} of {all} pass, {wrong} wrong, {unsupported} unsupported, {crashed} crashed")
    }
}

/// How many cases each op keeps from being supported, most first: the ops of the graph that the errors name.
pub fn blocking_ops<'a>(failed: impl Iterator<Item = (&'a Case, &'a str)>) -> Vec<(String, usize)> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (case, error) in failed {
        let words: Vec<&str> = error.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        let mut named: Vec<&String> = case.ops.iter().filter(|op| words.contains(&op.as_str())).collect();
        named.dedup();
        if named.is_empty() {
            *counts.entry("(no op named)".into()).or_default() += 1;
        }
        for op in named {
            *counts.entry(op.clone()).or_default() += 1;
        }
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    counts
}

/// The first line of an error, not too long.
pub fn first_line(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    if line.chars().count() <= 400 { line.into() } else { line.chars().take(400).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, outcome: Outcome) -> Record {
        Record { backend: "llvm".into(), id: id.into(), outcome, error: String::new() }
    }

    #[test]
    fn results_survive_a_half_written_line() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("results.jsonl");
        let mut r = Results::open(&path).expect("opened");
        r.add(record("a", Outcome::Wrong)).expect("kept");
        r.add(record("a", Outcome::Pass)).expect("kept");
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut f| f.write_all(b"{\"backend\": \"ll"))
            .expect("written");
        let r = Results::open(&path).expect("opened again");
        assert_eq!(r.get("llvm", "a").map(|r| r.outcome), Some(Outcome::Pass));
        assert!(r.get("cranelift", "a").is_none());
    }

    #[test]
    fn counts_add_up() {
        use Outcome::*;
        let c = Counts::of([Pass, Pass, Wrong, Unsupported, Crashed].into_iter());
        assert_eq!(c.to_string(), "2 of 5 pass, 1 wrong, 1 unsupported, 1 crashed");
        assert!(!c.is_clean() && Counts::of([Pass, Unsupported].into_iter()).is_clean());
    }
}
