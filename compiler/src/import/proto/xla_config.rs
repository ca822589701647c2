//! `tf2xla.Config`: the feeds, fetches and variables by which tfcompile is told what to compile.
#![allow(missing_docs, reason = "fields are TensorFlow's own, documented in its .proto files")]

use super::TensorShapeProto;

/// The configuration of a compilation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct XlaConfig {
    #[prost(message, repeated, tag = "1")]
    pub feed: Vec<XlaFeed>,
    #[prost(message, repeated, tag = "2")]
    pub fetch: Vec<XlaFetch>,
    #[prost(message, repeated, tag = "3")]
    pub variable: Vec<XlaVariable>,
    #[prost(message, optional, tag = "4")]
    pub conversion_options: Option<XlaConversionOptions>,
}

/// A tensor: a node and the index of one of its outputs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct XlaTensorId {
    #[prost(string, tag = "1")]
    pub node_name: String,
    #[prost(int64, tag = "2")]
    pub output_index: i64,
}

/// An input.
#[derive(Clone, PartialEq, prost::Message)]
pub struct XlaFeed {
    #[prost(message, optional, tag = "1")]
    pub id: Option<XlaTensorId>,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(int32, tag = "4")]
    pub r#type: i32,
}

/// An output.
#[derive(Clone, PartialEq, prost::Message)]
pub struct XlaFetch {
    #[prost(message, optional, tag = "1")]
    pub id: Option<XlaTensorId>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, optional, tag = "3")]
    pub shape: Option<TensorShapeProto>,
    #[prost(int32, tag = "4")]
    pub r#type: i32,
}

/// A variable that stays a variable of the compiled program.
#[derive(Clone, PartialEq, prost::Message)]
pub struct XlaVariable {
    #[prost(string, tag = "1")]
    pub node_name: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, optional, tag = "3")]
    pub shape: Option<TensorShapeProto>,
    #[prost(int32, tag = "4")]
    pub r#type: i32,
    #[prost(bool, tag = "5")]
    pub readonly: bool,
}

/// Switches of the conversion.
#[derive(Clone, PartialEq, prost::Message)]
pub struct XlaConversionOptions {
    #[prost(bool, tag = "1")]
    pub custom_fake_quant_op_calls: bool,
}
