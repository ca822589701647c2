//! Kiln's passes over the graph IR.
//!
//! [`pipeline`] is the page that explains the compiler; [`manager`] runs it; [`rewrite`] is what most passes are made of.
#![forbid(unsafe_code)]

pub mod batch_norm;
pub mod canonicalize_pad;
pub mod cse;
pub mod dce;
pub mod expand;
pub mod fold;
pub mod fusion;
pub mod manager;
pub mod materialize_pad;
pub mod memplan;
pub mod pipeline;
pub mod rewrite;
pub mod rules;
pub mod simplify;
pub mod transpose_into_contract;

pub use manager::{Cx, Math, Options, Pass, PassRun, Report};
