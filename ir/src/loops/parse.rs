//! Reads the text form of kernels that [`crate::loops::print`] writes.
//!
//! Any input gives a kernel or an error with its line and column: no panic, and nesting deeper than [`MAX_DEPTH`] is an
//! error, so that a hostile file cannot exhaust the stack. Reading checks names and scopes; types and levels are the
//! verifier's job ([`crate::loops::verify`]).

mod cursor;
mod inst;
mod kernel;
mod lexer;

pub use kernel::{Parsed, parse, parse_all, parse_with_lines};

/// The deepest nesting of blocks.
pub const MAX_DEPTH: usize = 64;

/// Text that is not a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was expected and what stands there.
    pub message: String,
}
