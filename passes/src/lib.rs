//! Kiln's passes over the graph IR.
#![forbid(unsafe_code)]

pub mod fusion;
pub mod memplan;
