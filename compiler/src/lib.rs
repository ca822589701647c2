//! Kiln: TensorFlow graphs to native code, ahead of time and just in time.
//!
//! Read [`pipeline`] first. [`import`] reads TensorFlow's files, [`aot`] writes objects and headers, [`jit`] runs
//! compiled programs, [`npz`] moves arrays in and
//! out, [`cli`] is the command line.

pub mod aot;
pub mod cli;
pub mod executor;
pub mod import;
pub mod jit;
pub mod npz;
pub mod pipeline;
