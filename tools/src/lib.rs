//! Kiln's test runner for text files, and its benchmarks.
#![forbid(unsafe_code)]

pub mod filetest;
