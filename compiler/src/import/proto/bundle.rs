//! Checkpoints: the entries of a tensor bundle's index, the graph of objects in it, the state file.
#![allow(missing_docs, reason = "fields are TensorFlow's own, documented in its .proto files")]

use super::{ObjectReference, SlotVariableReference, TensorShapeProto, VersionDef};

/// The value of the empty key of a bundle's index.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BundleHeaderProto {
    #[prost(int32, tag = "1")]
    pub num_shards: i32,
    /// 0: little, 1: big.
    #[prost(int32, tag = "2")]
    pub endianness: i32,
    #[prost(message, optional, tag = "3")]
    pub version: Option<VersionDef>,
}

/// Where a tensor, or one slice of it, lies.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BundleEntryProto {
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
    #[prost(int32, tag = "3")]
    pub shard_id: i32,
    #[prost(int64, tag = "4")]
    pub offset: i64,
    #[prost(int64, tag = "5")]
    pub size: i64,
    /// Masked checksum of the stored bytes.
    #[prost(fixed32, tag = "6")]
    pub crc32c: u32,
    /// If there are any, the tensor is stored as these slices, each under a key of its own.
    #[prost(message, repeated, tag = "7")]
    pub slices: Vec<TensorSliceProto>,
}

/// A box in a tensor's index space.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorSliceProto {
    #[prost(message, repeated, tag = "1")]
    pub extent: Vec<tensor_slice_proto::Extent>,
}

/// Parts of [`TensorSliceProto`].
pub mod tensor_slice_proto {
    /// A range of one dimension; no length means all of it.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Extent {
        #[prost(int64, tag = "1")]
        pub start: i64,
        #[prost(int64, optional, tag = "2")]
        pub length: Option<i64>,
    }
}

/// The objects of a TensorFlow 2 checkpoint; object 0 is the root.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrackableObjectGraph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<TrackableObject>,
}

/// One object of a checkpoint.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrackableObject {
    #[prost(message, repeated, tag = "1")]
    pub children: Vec<ObjectReference>,
    #[prost(message, repeated, tag = "2")]
    pub attributes: Vec<SerializedTensor>,
    #[prost(message, repeated, tag = "3")]
    pub slot_variables: Vec<SlotVariableReference>,
}

/// A value of an object, the key it has in the checkpoint, and the name it had in a graph.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SerializedTensor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub full_name: String,
    #[prost(string, tag = "3")]
    pub checkpoint_key: String,
}

/// The text file `checkpoint`: which of a folder's checkpoints is the latest.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointState {
    #[prost(string, tag = "1")]
    pub model_checkpoint_path: String,
    #[prost(string, repeated, tag = "2")]
    pub all_model_checkpoint_paths: Vec<String>,
    #[prost(double, repeated, tag = "3")]
    pub all_model_checkpoint_timestamps: Vec<f64>,
    #[prost(double, tag = "4")]
    pub last_preserved_timestamp: f64,
}
