//! Kiln's runtime: what compiled models and JIT sessions share at run time, and nothing else.
//!
//! It depends on no other Kiln crate. A compiled single-threaded model does not need it at all; a
//! program links `libkiln_rt.a` (header `include/kiln.h`) for a thread pool, for mapped weights, or
//! for an aligned workspace. The Rust side of the same things is this crate's public API.
//!
//! Invariants kept here:
//! - what runs between two kernels ([`pool`], [`ukernel`]) does not allocate, print, panic or abort,
//!   and takes no lock beyond the pool's own hand-over;
//! - results never depend on the number of threads: the partition is static, a task index always
//!   means the same work, and worker threads use the caller's floating-point control state;
//! - no panic crosses the C ABI ([`capi`]): each entry returns a [`status::Status`].

pub mod abi;
pub mod arena;
pub mod capi;
pub mod cpu;
pub mod custom;
mod fpenv;
pub mod hash;
pub mod peak;
pub mod pool;
pub mod status;
pub mod ukernel;
pub mod weights;

pub use abi::Parallel;
pub use arena::Arena;
pub use pool::Pool;
pub use status::Status;
pub use weights::{Weights, WeightsWriter};

/// The public C header, for `kiln compile` and installers to write out.
pub const KILN_H: &str = include_str!("../include/kiln.h");
