//! The messages of XLA's `xla_data.proto` that nodes carry as serialized attributes, and how their lists of axes are read.
#![allow(missing_docs, reason = "fields are XLA's own, documented in its .proto file")]

use anyhow::{Context, Result, bail};

use crate::tf::TfCx;

/// Which axes of a product are batches, and which are summed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DotDimensionNumbers {
    #[prost(int64, repeated, tag = "1")]
    pub lhs_contracting: Vec<i64>,
    #[prost(int64, repeated, tag = "2")]
    pub rhs_contracting: Vec<i64>,
    #[prost(int64, repeated, tag = "3")]
    pub lhs_batch: Vec<i64>,
    #[prost(int64, repeated, tag = "4")]
    pub rhs_batch: Vec<i64>,
}

/// Where batch, channels and spatial axes stand in the operands and the result of a convolution.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConvolutionDimensionNumbers {
    #[prost(int64, tag = "7")]
    pub input_batch: i64,
    #[prost(int64, tag = "8")]
    pub input_feature: i64,
    #[prost(int64, repeated, tag = "11")]
    pub input_spatial: Vec<i64>,
    #[prost(int64, tag = "3")]
    pub kernel_input_feature: i64,
    #[prost(int64, tag = "4")]
    pub kernel_output_feature: i64,
    #[prost(int64, repeated, tag = "6")]
    pub kernel_spatial: Vec<i64>,
    #[prost(int64, tag = "9")]
    pub output_batch: i64,
    #[prost(int64, tag = "10")]
    pub output_feature: i64,
    #[prost(int64, repeated, tag = "12")]
    pub output_spatial: Vec<i64>,
}

/// How a gather's windows lie in its operand and its result.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GatherDimensionNumbers {
    #[prost(int64, repeated, tag = "1")]
    pub offset_dims: Vec<i64>,
    #[prost(int64, repeated, tag = "2")]
    pub collapsed_slice_dims: Vec<i64>,
    #[prost(int64, repeated, tag = "3")]
    pub start_index_map: Vec<i64>,
    #[prost(int64, tag = "4")]
    pub index_vector_dim: i64,
    #[prost(int64, repeated, tag = "5")]
    pub operand_batching_dims: Vec<i64>,
    #[prost(int64, repeated, tag = "6")]
    pub start_indices_batching_dims: Vec<i64>,
}

/// How a scatter's windows lie in its updates and its operand.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ScatterDimensionNumbers {
    #[prost(int64, repeated, tag = "1")]
    pub update_window_dims: Vec<i64>,
    #[prost(int64, repeated, tag = "2")]
    pub inserted_window_dims: Vec<i64>,
    #[prost(int64, repeated, tag = "3")]
    pub scatter_dims_to_operand_dims: Vec<i64>,
    #[prost(int64, tag = "4")]
    pub index_vector_dim: i64,
    #[prost(int64, repeated, tag = "5")]
    pub input_batching_dims: Vec<i64>,
    #[prost(int64, repeated, tag = "6")]
    pub scatter_indices_batching_dims: Vec<i64>,
}

/// The message in an attribute of the node.
pub fn message<M: prost::Message + Default>(cx: &TfCx<'_>, attr: &str) -> Result<M> {
    M::decode(&cx.bytes(attr)?[..]).with_context(|| format!("attribute `{attr}` is no such message"))
}

/// Axes of a rank, each named once.
pub fn axes(list: &[i64], rank: usize, what: &str) -> Result<Vec<usize>> {
    let mut found = vec![];
    for &a in list {
        match usize::try_from(a).ok().filter(|a| *a < rank && !found.contains(a)) {
            Some(a) => found.push(a),
            None => bail!("{what} {list:?} are not axes of {rank}, each named once"),
        }
    }
    Ok(found)
}

/// The axes of a rank that are not among those given.
pub fn others(rank: usize, given: &[usize]) -> Vec<usize> {
    (0..rank).filter(|a| !given.contains(a)).collect()
}

/// The inverse of a permutation.
pub fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, &p)| back[p] = i);
    back
}
