//! SavedModel: meta graphs, signatures, assets, the saver, and the graph of saved objects.
#![allow(missing_docs, reason = "fields and variants are TensorFlow's own, documented in its .proto files")]

use super::{GraphDef, OpList, TensorProto, TensorShapeProto, VersionDef};
use prost::bytes::Bytes;
use std::collections::BTreeMap;

/// The file `saved_model.pb`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedModel {
    #[prost(int64, tag = "1")]
    pub saved_model_schema_version: i64,
    #[prost(message, repeated, tag = "2")]
    pub meta_graphs: Vec<MetaGraphDef>,
}

/// A graph with what is needed to run it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetaGraphDef {
    #[prost(message, optional, tag = "1")]
    pub meta_info_def: Option<MetaInfoDef>,
    #[prost(message, optional, tag = "2")]
    pub graph_def: Option<GraphDef>,
    #[prost(message, optional, tag = "3")]
    pub saver_def: Option<SaverDef>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub collection_def: BTreeMap<String, CollectionDef>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub signature_def: BTreeMap<String, SignatureDef>,
    #[prost(message, repeated, tag = "6")]
    pub asset_file_def: Vec<AssetFileDef>,
    #[prost(message, optional, tag = "7")]
    pub object_graph_def: Option<SavedObjectGraph>,
}

/// Tags, versions and op definitions of a meta graph.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetaInfoDef {
    #[prost(string, tag = "1")]
    pub meta_graph_version: String,
    #[prost(message, optional, tag = "2")]
    pub stripped_op_list: Option<OpList>,
    #[prost(message, optional, tag = "3")]
    pub any_info: Option<Any>,
    #[prost(string, repeated, tag = "4")]
    pub tags: Vec<String>,
    #[prost(string, tag = "5")]
    pub tensorflow_version: String,
    #[prost(string, tag = "6")]
    pub tensorflow_git_version: String,
    #[prost(bool, tag = "7")]
    pub stripped_default_attrs: bool,
    #[prost(btree_map = "string, string", tag = "8")]
    pub function_aliases: BTreeMap<String, String>,
}

/// A serialized message with its type's name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// A named collection of TensorFlow 1.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectionDef {
    #[prost(oneof = "collection_def::Kind", tags = "1, 2, 3, 4, 5")]
    pub kind: Option<collection_def::Kind>,
}

/// The kinds of [`CollectionDef`].
pub mod collection_def {
    use super::*;

    /// One of the kinds of list that a collection may be.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        NodeList(NodeList),
        #[prost(message, tag = "2")]
        BytesList(BytesList),
        #[prost(message, tag = "3")]
        Int64List(Int64List),
        #[prost(message, tag = "4")]
        FloatList(FloatList),
        #[prost(message, tag = "5")]
        AnyList(AnyList),
    }

    /// Names of nodes or tensors.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct NodeList {
        #[prost(string, repeated, tag = "1")]
        pub value: Vec<String>,
    }

    /// Serialized messages.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct BytesList {
        #[prost(bytes = "bytes", repeated, tag = "1")]
        pub value: Vec<Bytes>,
    }

    /// Integers.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Int64List {
        #[prost(int64, repeated, tag = "1")]
        pub value: Vec<i64>,
    }

    /// Floating-point numbers.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct FloatList {
        #[prost(float, repeated, tag = "1")]
        pub value: Vec<f32>,
    }

    /// Messages with their types.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct AnyList {
        #[prost(message, repeated, tag = "1")]
        pub value: Vec<Any>,
    }
}

/// An entry point: named inputs and outputs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SignatureDef {
    #[prost(btree_map = "string, message", tag = "1")]
    pub inputs: BTreeMap<String, TensorInfo>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub outputs: BTreeMap<String, TensorInfo>,
    #[prost(string, tag = "3")]
    pub method_name: String,
    /// Values of inputs that a caller may leave out.
    #[prost(btree_map = "string, message", tag = "4")]
    pub defaults: BTreeMap<String, TensorProto>,
}

/// A tensor of a graph, or several that stand for one value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorInfo {
    #[prost(int32, tag = "2")]
    pub dtype: i32,
    #[prost(message, optional, tag = "3")]
    pub tensor_shape: Option<TensorShapeProto>,
    #[prost(oneof = "tensor_info::Encoding", tags = "1, 4, 5")]
    pub encoding: Option<tensor_info::Encoding>,
}

/// The encodings of [`TensorInfo`].
pub mod tensor_info {
    use super::TensorInfo;

    /// How the value is spread over tensors.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Encoding {
        #[prost(string, tag = "1")]
        Name(String),
        #[prost(message, tag = "4")]
        CooSparse(CooSparse),
        #[prost(message, tag = "5")]
        CompositeTensor(CompositeTensor),
    }

    /// A sparse tensor in coordinate form.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CooSparse {
        #[prost(string, tag = "1")]
        pub values_tensor_name: String,
        #[prost(string, tag = "2")]
        pub indices_tensor_name: String,
        #[prost(string, tag = "3")]
        pub dense_shape_tensor_name: String,
    }

    /// A composite, in the order of its components.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CompositeTensor {
        #[prost(message, repeated, tag = "2")]
        pub components: Vec<TensorInfo>,
    }
}

/// A file in the folder `assets`, and the tensor that carries its path.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AssetFileDef {
    #[prost(message, optional, tag = "1")]
    pub tensor_info: Option<TensorInfo>,
    #[prost(string, tag = "2")]
    pub filename: String,
}

/// Which tensors and ops save and restore the variables.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SaverDef {
    #[prost(string, tag = "1")]
    pub filename_tensor_name: String,
    #[prost(string, tag = "2")]
    pub save_tensor_name: String,
    #[prost(string, tag = "3")]
    pub restore_op_name: String,
    #[prost(int32, tag = "4")]
    pub max_to_keep: i32,
    #[prost(bool, tag = "5")]
    pub sharded: bool,
    #[prost(float, tag = "6")]
    pub keep_checkpoint_every_n_hours: f32,
    #[prost(int32, tag = "7")]
    pub version: i32,
}

/// The Python objects of a TensorFlow 2 SavedModel; object 0 is the root.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedObjectGraph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<SavedObject>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub concrete_functions: BTreeMap<String, SavedConcreteFunction>,
}

/// One object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedObject {
    #[prost(message, repeated, tag = "1")]
    pub children: Vec<ObjectReference>,
    #[prost(message, repeated, tag = "3")]
    pub slot_variables: Vec<SlotVariableReference>,
    #[prost(oneof = "saved_object::Kind", tags = "4, 5, 6, 7, 8, 9, 10, 12")]
    pub kind: Option<saved_object::Kind>,
    #[prost(string, tag = "13")]
    pub registered_name: String,
    #[prost(message, repeated, tag = "15")]
    pub dependencies: Vec<ObjectReference>,
    #[prost(string, tag = "16")]
    pub registered_saver: String,
}

/// Kinds of saved objects.
pub mod saved_object {
    use super::*;

    /// What an object is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "4")]
        UserObject(SavedUserObject),
        #[prost(message, tag = "5")]
        Asset(SavedAsset),
        #[prost(message, tag = "6")]
        Function(SavedFunction),
        #[prost(message, boxed, tag = "7")]
        Variable(Box<SavedVariable>),
        #[prost(message, tag = "8")]
        BareConcreteFunction(SavedBareConcreteFunction),
        #[prost(message, tag = "9")]
        Constant(SavedConstant),
        #[prost(message, tag = "10")]
        Resource(SavedResource),
        #[prost(message, tag = "12")]
        CapturedTensor(CapturedTensor),
    }
}

/// A child of an object under a name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ObjectReference {
    #[prost(int32, tag = "1")]
    pub node_id: i32,
    #[prost(string, tag = "2")]
    pub local_name: String,
}

/// A variable that an optimizer keeps for another variable.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SlotVariableReference {
    #[prost(int32, tag = "1")]
    pub original_variable_node_id: i32,
    #[prost(string, tag = "2")]
    pub slot_name: String,
    #[prost(int32, tag = "3")]
    pub slot_variable_node_id: i32,
}

/// An object with no meaning to TensorFlow itself.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedUserObject {
    #[prost(string, tag = "1")]
    pub identifier: String,
    #[prost(message, optional, tag = "2")]
    pub version: Option<VersionDef>,
    #[prost(string, tag = "3")]
    pub metadata: String,
}

/// An asset, by its place in the meta graph's list.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedAsset {
    #[prost(int32, tag = "1")]
    pub asset_file_def_index: i32,
}

/// A function with all its traced forms.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedFunction {
    #[prost(string, repeated, tag = "1")]
    pub concrete_functions: Vec<String>,
}

/// A tensor captured by a function.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CapturedTensor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub concrete_function: String,
}

/// A traced function: the objects bound to its last arguments.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedConcreteFunction {
    #[prost(int32, repeated, tag = "2")]
    pub bound_inputs: Vec<i32>,
}

/// A traced function that is an object by itself (a signature).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedBareConcreteFunction {
    #[prost(string, tag = "1")]
    pub concrete_function_name: String,
    #[prost(string, repeated, tag = "2")]
    pub argument_keywords: Vec<String>,
    #[prost(int64, tag = "3")]
    pub allowed_positional_arguments: i64,
}

/// A constant, by the node that holds it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedConstant {
    #[prost(string, tag = "1")]
    pub operation: String,
}

/// A variable.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedVariable {
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
    #[prost(bool, tag = "3")]
    pub trainable: bool,
    #[prost(int32, tag = "4")]
    pub synchronization: i32,
    #[prost(int32, tag = "5")]
    pub aggregation: i32,
    #[prost(string, tag = "6")]
    pub name: String,
    #[prost(string, tag = "7")]
    pub device: String,
    #[prost(message, repeated, tag = "8")]
    pub experimental_distributed_variable_components: Vec<SavedVariable>,
}

/// A resource other than a variable (a table).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedResource {
    #[prost(string, tag = "1")]
    pub device: String,
}
