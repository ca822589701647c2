//! Conformance cases: graphs with TensorFlow's own outputs, run on Kiln's backends and compared.
//!
//! A folder of cases is described by its `index.json` ([`index`]). Each case runs in a worker process ([`workers`]), so that
//! a crash or an endless loop ends one case and not the run; the worker compiles and calls it ([`execute`]) and
//! compares the outputs ([`compare`]). [`report`] keeps the outcomes in a file and counts them.

pub mod compare;
pub mod execute;
pub mod index;
pub mod report;
pub mod workers;

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every output is TensorFlow's.
    Pass,
    /// An output differs, or the run failed.
    Wrong,
    /// Import or compilation refused the graph.
    Unsupported,
    /// The worker died or ran out of time.
    Crashed,
}

/// A case's outcome on a backend, with the reason where it did not pass.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// The backend's name.
    pub backend: String,
    /// The case.
    pub id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not pass; empty where it did.
    #[serde(default)]
    pub error: String,
}
