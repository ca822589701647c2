//! Ops on images `[batch, height, width, channels]`: resizing, sampling, patches, colours, boxes.
//!
//! Most are compositions of gathers and elementwise operations; boxes, whose algorithms are sequential, run on the host.

pub mod boxes;
pub mod codec;
pub mod colour;
pub mod distort;
pub mod patches;
pub mod resize;
pub mod sample;

use anyhow::Result;

use crate::graph::Value;
use crate::scalar::BinaryOp;
use crate::{Builder, DType, Dim};

/// a + (b - a) * t.
fn lerp(b: &mut Builder, from: Value, to: Value, t: Value) -> Result<Value> {
    let span = b.binary(BinaryOp::Sub, to, from)?;
    let part = b.binary(BinaryOp::Mul, span, t)?;
    b.binary(BinaryOp::Add, from, part)
}

/// The numbers 0, 1, .. along one axis of a shape of `rank` axes, the others 1: they broadcast. A constant where the extent
/// is a number.
fn ramp(b: &mut Builder, n: &Dim, axis: usize, rank: usize, dtype: DType) -> Result<Value> {
    let mut shape = vec![Dim::from(1); rank];
    shape[axis] = n.clone();
    let op = crate::ops::constant::Iota { shape, axis, dtype };
    match n.as_const() {
        Some(n) if n <= 4096 => {
            use crate::op::Op;
            let value = op.eval(&[])?.remove(0);
            b.constant(value)
        }
        _ => b.push(op, &[]),
    }
}
