//! Quantized numbers: integers that stand for reals of a range, or of a scale and a zero point. TensorFlow's types
//! qint8 to qint32 are the integers of their width.
//!
//! The ops are compositions, with scalars in the precision that TensorFlow's kernels have, so that results are equal bit
//! for bit. `linear` holds the grid of a range, `ranged` the ops on it (QuantizedConv2D and others), `uniform` those of
//! scales and zero points.

mod convolution;
mod linear;
mod ranged;
mod uniform;

pub use convolution::TF as CONVOLUTION_TF;
pub use ranged::TF;
pub use uniform::TF as UNIFORM_TF;

use crate::graph::TensorType;
use crate::op::OpDef;
use crate::ops::host::{host_op, int_tensor, reals, require, typed};
use crate::{DType, Dim};

/// The op of this file.
pub const OPS: &[OpDef] = &[FixedPoint::def(&[])];

host_op! {
    /// `fixed_point scale`: of each positive f64 the integer `m` below 2^31 and the shift `s` with `m / 2^s` near it, both
    /// i64 (TensorFlow Lite's QuantizeMultiplier). E1 for numbers that are not positive and finite.
    FixedPoint = "fixed_point" {}
    infer |_, given| {
        let [x] = typed("fixed_point", given, [&[DType::F64]])?;
        Ok(vec![TensorType::new(DType::I64, x.shape.clone()); 2])
    },
    eval |_, x| {
        let (mut factors, mut shifts) = (vec![], vec![]);
        for scale in reals(x[0]) {
            require("fixed_point", "E1", scale > 0.0 && scale.is_finite(), || format!("the scale {scale} is not positive"))?;
            let (part, exponent) = libm::frexp(scale);
            let mut m = (part * 2f64.powi(31)).round() as i64;
            let mut e = i64::from(exponent);
            if m == 1 << 31 {
                m /= 2;
                e += 1;
            }
            if e < -31 {
                (m, e) = (0, 0);
            }
            if e > 30 {
                (m, e) = (i64::from(i32::MAX), 30);
            }
            factors.push(m);
            shifts.push(31 - e);
        }
        let shape = x[0].shape();
        Ok(vec![
            int_tensor("fixed_point", DType::I64, shape, &factors)?,
            int_tensor("fixed_point", DType::I64, shape, &shifts)?,
        ])
    },
}

/// Refuses element types that hold no quantized numbers of at most 32 bits.
fn grid(dtype: DType) -> anyhow::Result<linear::Grid> {
    let (bits, signed) = (dtype.size() as i64 * 8, dtype.is_signed());
    if !dtype.is_int() || bits > 32 {
        anyhow::bail!("{dtype} holds no quantized numbers");
    }
    let lowest = if signed { -(1i64 << (bits - 1)) } else { 0 };
    Ok(linear::Grid { dtype, lowest, highest: lowest + (1i64 << bits) - 1 })
}

/// Whether a value has exactly one element.
fn is_one(shape: &[Dim]) -> bool {
    Dim::product(shape).is(1)
}
