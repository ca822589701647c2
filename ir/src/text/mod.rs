//! The text form of modules: what dumps show, what tests hold, what `kiln opt` reads.
//!
//! ```text
//! symbol b: 1..64
//! entry @serve
//!
//! func @serve(input "x" %0: f32[b, 3], var "w" %1: f32[3]) {
//!   %2 = const value=dense<f32[]: 1.0> : f32[]
//!   %3 = binary op=add %0, %2 : f32[b, 3] loc("dense/add", "AddV2")
//!   return output "y" %3, var "w" %1
//! }
//! ```
//!
//! One node a line: results, mnemonic, attributes, operands, result types, origin. `//` starts a comment. Values are
//! numbered in the order of their definitions, parameters first; the parser takes any names. Floats read back bit for
//! bit; a NaN other than the usual one is written by its bits, `nan(0x7fc00001)`. Types stand in the text so that the
//! verifier can compare them with what the ops infer.
//!
//! Invariant: `print(parse(print(m))) == print(m)`. Printing and parsing take time linear in the text. The parser never
//! panics, and neither recurses nor allocates beyond the text's size, but for `splat` tensors, which are bounded.

pub mod dense;
pub mod lex;
pub mod parse;
pub mod print;

pub use lex::TextError;
pub use parse::{SourceMap, parse, parse_with_lines};
pub use print::{Dump, print};

#[cfg(test)]
mod tests;
