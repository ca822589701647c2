//! The subset of TensorFlow's protocol buffer messages that the importer reads, as prost structs.
//!
//! Field numbers and names are TensorFlow's, so that a file means here what it means there; fields that
//! the importer has no use for are left out and skipped by the decoder. Enumerations are kept as `i32`:
//! a value that this version does not know must not fail the decoding of a whole file.
//! Byte payloads are [`prost::bytes::Bytes`]: decoding from a `Bytes` shares them with the file's buffer.
//! `schema` describes the same messages as tables, for the text parser and for the check of sizes.

mod bundle;
mod graph;
mod saved_model;
pub mod schema;
mod xla_config;

pub use bundle::*;
pub use graph::*;
pub use saved_model::*;
pub use xla_config::*;
