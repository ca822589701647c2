//! Kiln's test runner for text files, its conformance runner, and its benchmarks.
#![forbid(unsafe_code)]

pub mod conformance;
pub mod filetest;
