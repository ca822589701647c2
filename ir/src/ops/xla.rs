//! The ops by which TensorFlow graphs name XLA's operations (`XlaDot`, `XlaGather`, ..), as one device computes them.
//!
//! They are compositions of the IR's ops: what is XLA's own is the meaning of their attributes, which for products,
//! convolutions, gathers and scatters are serialized messages (`dimensions`). Ops that take functions are built by the
//! functions of [`fold`], [`window`], [`sort`] and [`index`], which whoever holds the graph's library calls with
//! [`Scalars`].

pub mod blocks;
pub mod conv;
mod dimensions;
pub mod dot;
pub mod fold;
pub mod index;
pub mod linalg;
pub mod one_device;
pub mod pad;
pub mod precision;
mod random;
mod scalars;
pub mod sort;
pub mod window;

pub use scalars::Scalars;

use crate::op::OpDef;

/// The ops of this family; the rest of it is compositions.
pub const OPS: &[OpDef] = &[random::RngBits::def(random::TF), sort::ArgSort::def(sort::TF)];
