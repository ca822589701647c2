//! The importer's error: which file, which place in it, which node, and what is wrong.
//!
//! Every message is whole: it includes the errors behind it, which are therefore no `source`.
//! `ImportError::in_file` adds the file's name where a part that does not know it (a tensor, a graph) has failed.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of the importer.
pub type Result<T, E = ImportError> = std::result::Result<T, E>;

/// What went wrong while a model's files were read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file or folder could not be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// A file has an error, given by the inner error.
    #[error("{}: {cause}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        cause: Box<ImportError>,
    },
    /// A text file has an error at a place (both counted from 1; columns are bytes).
    #[error("line {line}, column {column}: {what}")]
    Text {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
        /// What is wrong.
        what: String,
    },
    /// Data that break their format.
    #[error("{place}: {what}")]
    Malformed {
        /// A field's path, a key, a block: where in the data.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// Data larger or deeper than Kiln accepts.
    #[error("{place}: {what}; Kiln's limit is {limit}")]
    Limit {
        /// Where in the data.
        place: String,
        /// What was found.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// Something asked for by name is not there.
    #[error("no {kind} `{name}`{}", Available(available))]
    Missing {
        /// The kind of thing: signature, tag set, node, checkpoint key.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The names that there are.
        available: Vec<String>,
    },
    /// A node that contradicts its op, or an edge that leads nowhere.
    #[error("node `{node}` ({op}): {what}")]
    Node {
        /// The node; in a function's body, `function/node`.
        node: String,
        /// Its TensorFlow op.
        op: String,
        /// What is wrong.
        what: String,
    },
    /// A correct file that asks for something that cannot be read.
    #[error("{place}: {what}")]
    Unsupported {
        /// Where.
        place: String,
        /// What is not supported, and what to do instead.
        what: String,
    },
}

/// At most this many of the available names are printed.
const SHOWN_NAMES: usize = 20;

struct Available<'a>(&'a [String]);

impl fmt::Display for Available<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0;
        if names.is_empty() {
            return write!(f, ": there are none");
        }
        write!(f, "; there are: ")?;
        for (i, name) in names.iter().take(SHOWN_NAMES).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}`{name}`")?;
        }
        match names.len().checked_sub(SHOWN_NAMES) {
            Some(more) if more > 0 => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}

impl ImportError {
    /// An error of the system, for a file.
    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), error }
    }

    /// Data that break their format.
    pub(crate) fn malformed(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Malformed { place: place.into(), what: what.into() }
    }

    /// Something that cannot be read.
    pub(crate) fn unsupported(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Unsupported { place: place.into(), what: what.into() }
    }

    /// A node's error.
    pub(crate) fn node(node: impl Into<String>, op: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Node { node: node.into(), op: op.into(), what: what.into() }
    }

    /// Something asked for by name; `available` may be in any order.
    pub(crate) fn missing(kind: &'static str, name: impl Into<String>, available: Vec<String>) -> Self {
        Self::Missing { kind, name: name.into(), available }
    }

    /// The same error, with the file's name before it (once).
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Io { .. } | Self::InFile { .. } => self,
            other => Self::InFile { path: path.to_path_buf(), cause: Box::new(other) },
        }
    }
}
