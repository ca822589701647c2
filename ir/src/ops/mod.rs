//! The ops, one file a family. [`ALL`] lists every op once: the text form, the importer, `kiln ops` and the docs read it.

pub mod audio;
pub mod bessel;
pub mod constant;
pub mod contract;
pub mod control;
pub mod count;
pub mod custom;
pub mod effect;
pub mod example;
pub mod fft;
pub mod gather;
pub mod host;
pub mod image;
pub mod internal;
pub mod linalg;
pub mod nn;
pub mod nth;
pub mod numbers;
pub mod pointwise;
pub mod quantize;
pub mod quantized;
pub mod random;
pub mod reduce;
pub mod segment;
pub mod select;
pub mod shape;
pub mod sparse;
pub mod special;
pub mod strings;
pub mod surface;
pub mod table;
mod wide;
pub mod window;
pub mod xla;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::op::OpDef;
use crate::tf::TfBinding;

/// Every op, by family.
pub const ALL: &[&[OpDef]] = &[
    constant::OPS,
    control::OPS,
    custom::OPS,
    effect::OPS,
    pointwise::OPS,
    shape::view::OPS,
    shape::slice::OPS,
    shape::dynamic::OPS,
    shape::from_data::OPS,
    shape::fill::OPS,
    shape::pad::OPS,
    shape::join::OPS,
    shape::repeat::OPS,
    shape::roll::OPS,
    gather::OPS,
    reduce::OPS,
    contract::OPS,
    window::OPS,
    &[window::fractional::FractionalPool::def(&[]), image::distort::DistortedBox::def(&[])],
    nn::OPS,
    image::resize::OPS,
    image::boxes::OPS,
    image::codec::OPS,
    select::OPS,
    segment::OPS,
    count::OPS,
    numbers::OPS,
    quantize::OPS,
    quantized::OPS,
    fft::OPS,
    random::OPS,
    linalg::OPS,
    strings::OPS,
    sparse::OPS,
    example::OPS,
    audio::OPS,
    table::OPS,
    bessel::OPS,
    special::OPS,
    xla::OPS,
];

/// Import rules of TensorFlow ops that are compositions of several ops here, and so belong to none of them.
pub const COMPOSED: &[&[TfBinding]] = &[
    shape::fill::TF,
    shape::blocks::TF,
    shape::band::TF,
    nn::tf::TF,
    pointwise::TF,
    image::sample::TF,
    image::patches::TF,
    image::colour::TF,
    image::codec::TF,
    image::distort::TF,
    window::fractional::TF,
    count::TF,
    numbers::TF,
    random::TF,
    linalg::TF,
    strings::TF,
    segment::TF,
    sparse::TF,
    quantized::TF,
    quantized::UNIFORM_TF,
    quantized::CONVOLUTION_TF,
    sparse::RAGGED_TF,
    sparse::CROSS_TF,
    example::TF,
    audio::TF,
    nth::TF,
    internal::TF,
    xla::blocks::TF,
    xla::conv::TF,
    xla::dot::TF,
    xla::index::TF,
    xla::linalg::TF,
    xla::one_device::TF,
    xla::pad::TF,
    xla::precision::TF,
];

/// Every import rule.
pub fn tf_bindings() -> impl Iterator<Item = &'static TfBinding> {
    let of_ops = ALL.iter().copied().flatten().flat_map(|d| d.tf);
    of_ops.chain(COMPOSED.iter().copied().flatten())
}

static BY_NAME: LazyLock<HashMap<&'static str, &'static OpDef>> =
    LazyLock::new(|| ALL.iter().copied().flatten().map(|d| (d.name, d)).collect());

static BY_TF: LazyLock<HashMap<&'static str, &'static TfBinding>> =
    LazyLock::new(|| tf_bindings().map(|b| (b.op, b)).collect());

/// The op with a mnemonic.
pub fn by_name(name: &str) -> Option<&'static OpDef> {
    BY_NAME.get(name).copied()
}

/// The import rule of a TensorFlow op.
pub fn by_tf(op: &str) -> Option<&'static TfBinding> {
    BY_TF.get(op).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let mut names = HashSet::new();
        let mut tf = HashSet::new();
        for d in ALL.iter().copied().flatten() {
            assert!(names.insert(d.name), "op `{}` is listed twice", d.name);
        }
        for b in tf_bindings() {
            assert!(tf.insert(b.op), "TensorFlow op `{}` is bound twice", b.op);
        }
    }
}
