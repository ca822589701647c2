//! The messages of this module as tables: field numbers, names and kinds.
//!
//! The text parser and the check of sizes are driven by them. They list more fields than the structs:
//! those of kind [`Kind::Ignored`] may stand in a text file and mean nothing to the importer.

/// A message type.
#[derive(Debug)]
pub struct Message {
    /// TensorFlow's name of the type.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// The number by which the binary form knows the field.
    pub number: u32,
    /// The name by which the text form knows it.
    pub name: &'static str,
    /// Whether it may occur more than once.
    pub repeated: bool,
    /// What it holds.
    pub kind: Kind,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// int32, int64 (signed varint).
    Int {
        /// Width in bits, for the check of range.
        bits: u32,
    },
    /// uint32, uint64 (varint).
    Uint {
        /// Width in bits, for the check of range.
        bits: u32,
    },
    /// A boolean.
    Bool,
    /// A 32-bit floating-point number.
    Float,
    /// A 64-bit floating-point number.
    Double,
    /// An unsigned 32-bit number in four bytes.
    Fixed32,
    /// UTF-8 text.
    String,
    /// Bytes.
    Bytes,
    /// An enumeration.
    Enum(&'static [(&'static str, i32)]),
    /// A message.
    Message(&'static Message),
    /// A field that the importer does not read, of any kind.
    Ignored,
}

impl Message {
    /// The field of a number.
    pub fn field(&self, number: u32) -> Option<(usize, &'static Field)> {
        self.fields.iter().enumerate().find(|(_, f)| f.number == number)
    }

    /// The field of a name.
    pub fn field_named(&self, name: &str) -> Option<(usize, &'static Field)> {
        self.fields.iter().enumerate().find(|(_, f)| f.name == name)
    }
}

const INT32: Kind = Kind::Int { bits: 32 };
const INT64: Kind = Kind::Int { bits: 64 };
const UINT32: Kind = Kind::Uint { bits: 32 };
const UINT64: Kind = Kind::Uint { bits: 64 };
const BOOL: Kind = Kind::Bool;
const FLOAT: Kind = Kind::Float;
const DOUBLE: Kind = Kind::Double;
const STRING: Kind = Kind::String;
const BYTES: Kind = Kind::Bytes;
const IGNORED: Kind = Kind::Ignored;
const DTYPE: Kind = Kind::Enum(DATA_TYPES);

const fn m(message: &'static Message) -> Kind {
    Kind::Message(message)
}

/// `CONST "Name" { number name: kind, number name: [repeated kind] }`
macro_rules! messages {
    ($($(#[$doc:meta])* $id:ident $name:literal { $($number:literal $field:ident: $kind:tt),* $(,)? })*) => {
        $($(#[$doc])* pub static $id: Message = Message {
            name: $name,
            fields: &[$(messages!(@ $number $field $kind)),*],
        };)*
    };
    (@ $number:literal $field:ident [$kind:ident]) => {
        Field { number: $number, name: field_name(stringify!($field)), repeated: true, kind: messages!(= $kind) }
    };
    (@ $number:literal $field:ident $kind:ident) => {
        Field { number: $number, name: field_name(stringify!($field)), repeated: false, kind: messages!(= $kind) }
    };
    (@ $number:literal $field:ident ($message:ident)) => {
        Field { number: $number, name: field_name(stringify!($field)), repeated: false, kind: m(&$message) }
    };
    (@ $number:literal $field:ident [($message:ident)]) => {
        Field { number: $number, name: field_name(stringify!($field)), repeated: true, kind: m(&$message) }
    };
    (= $kind:ident) => { $kind };
}

/// The text form's name of a field whose name is a keyword of Rust.
const fn field_name(name: &'static str) -> &'static str {
    match name.as_bytes() {
        b"r#type" => "type",
        _ => name,
    }
}

messages! {
    /// A graph.
    GRAPH_DEF "GraphDef" {
        1 node: [(NODE_DEF)], 2 library: (FUNCTION_LIBRARY), 3 version: INT32, 4 versions: (VERSION_DEF), 5 debug_info: IGNORED,
    }
    /// A function library.
    FUNCTION_LIBRARY "FunctionDefLibrary" {
        1 function: [(FUNCTION_DEF)], 2 gradient: [(GRADIENT_DEF)], 3 registered_gradients: [(REGISTERED_GRADIENT)],
    }
    /// A function.
    FUNCTION_DEF "FunctionDef" {
        1 signature: (OP_DEF), 3 node_def: [(NODE_DEF)], 4 ret: [(STRING_ENTRY)], 5 attr: [(ATTR_ENTRY)],
        6 control_ret: [(STRING_ENTRY)], 7 arg_attr: [(ARG_ATTR_ENTRY)], 8 resource_arg_unique_id: [(ARG_ID_ENTRY)],
    }
    /// `map<string, string>`.
    STRING_ENTRY "map<string, string>" { 1 key: STRING, 2 value: STRING }
    /// `map<string, AttrValue>`.
    ATTR_ENTRY "map<string, AttrValue>" { 1 key: STRING, 2 value: (ATTR_VALUE) }
    /// `map<uint32, ArgAttrs>`.
    ARG_ATTR_ENTRY "map<uint32, ArgAttrs>" { 1 key: UINT32, 2 value: (ARG_ATTRS) }
    /// `map<uint32, uint32>`.
    ARG_ID_ENTRY "map<uint32, uint32>" { 1 key: UINT32, 2 value: UINT32 }
    /// Attributes of an argument.
    ARG_ATTRS "FunctionDef.ArgAttrs" { 1 attr: [(ATTR_ENTRY)] }
    /// A gradient of a function.
    GRADIENT_DEF "GradientDef" { 1 function_name: STRING, 2 gradient_func: STRING }
    /// A gradient of an op.
    REGISTERED_GRADIENT "RegisteredGradient" { 1 gradient_func: STRING, 2 registered_op_type: STRING }
    /// Versions.
    VERSION_DEF "VersionDef" { 1 producer: INT32, 2 min_consumer: INT32, 3 bad_consumers: [INT32] }
    /// A node.
    NODE_DEF "NodeDef" {
        1 name: STRING, 2 op: STRING, 3 input: [STRING], 4 device: STRING, 5 attr: [(ATTR_ENTRY)],
        6 experimental_debug_info: IGNORED, 7 experimental_type: IGNORED,
    }
    /// An attribute's value.
    ATTR_VALUE "AttrValue" {
        1 list: (ATTR_LIST), 2 s: BYTES, 3 i: INT64, 4 f: FLOAT, 5 b: BOOL, 6 r#type: DTYPE, 7 shape: (TENSOR_SHAPE),
        8 tensor: (TENSOR_PROTO), 9 placeholder: STRING, 10 func: (NAME_ATTR_LIST),
    }
    /// A list as an attribute.
    ATTR_LIST "AttrValue.ListValue" {
        2 s: [BYTES], 3 i: [INT64], 4 f: [FLOAT], 5 b: [BOOL], 6 r#type: [DTYPE], 7 shape: [(TENSOR_SHAPE)],
        8 tensor: [(TENSOR_PROTO)], 9 func: [(NAME_ATTR_LIST)],
    }
    /// A function as an attribute.
    NAME_ATTR_LIST "NameAttrList" { 1 name: STRING, 2 attr: [(ATTR_ENTRY)] }
    /// A shape.
    TENSOR_SHAPE "TensorShapeProto" { 2 dim: [(SHAPE_DIM)], 3 unknown_rank: BOOL }
    /// A dimension.
    SHAPE_DIM "TensorShapeProto.Dim" { 1 size: INT64, 2 name: STRING }
    /// A tensor's value.
    TENSOR_PROTO "TensorProto" {
        1 dtype: DTYPE, 2 tensor_shape: (TENSOR_SHAPE), 3 version_number: INT32, 4 tensor_content: BYTES, 5 float_val: [FLOAT],
        6 double_val: [DOUBLE], 7 int_val: [INT32], 8 string_val: [BYTES], 9 scomplex_val: [FLOAT], 10 int64_val: [INT64],
        11 bool_val: [BOOL], 12 dcomplex_val: [DOUBLE], 13 half_val: [INT32], 14 resource_handle_val: [(RESOURCE_HANDLE)],
        15 variant_val: [(VARIANT_DATA)], 16 uint32_val: [UINT32], 17 uint64_val: [UINT64], 18 float8_val: BYTES,
    }
    /// A resource as a constant.
    RESOURCE_HANDLE "ResourceHandleProto" {
        1 device: STRING, 2 container: STRING, 3 name: STRING, 4 hash_code: UINT64, 5 maybe_type_name: STRING,
        6 dtypes_and_shapes: [(DTYPE_AND_SHAPE)],
    }
    /// The value behind a resource.
    DTYPE_AND_SHAPE "ResourceHandleProto.DtypeAndShape" { 1 dtype: DTYPE, 2 shape: (TENSOR_SHAPE) }
    /// A variant.
    VARIANT_DATA "VariantTensorDataProto" { 1 type_name: STRING, 2 metadata: BYTES, 3 tensors: [(TENSOR_PROTO)] }
    /// An op or a signature.
    OP_DEF "OpDef" {
        1 name: STRING, 2 input_arg: [(ARG_DEF)], 3 output_arg: [(ARG_DEF)], 4 attr: [(ATTR_DEF)], 5 summary: IGNORED,
        6 description: IGNORED, 8 deprecation: IGNORED, 16 is_aggregate: IGNORED, 17 is_stateful: BOOL, 18 is_commutative: IGNORED,
        19 allows_uninitialized_input: IGNORED, 20 control_output: [STRING], 21 is_distributed_communication: IGNORED,
    }
    /// An argument.
    ARG_DEF "OpDef.ArgDef" {
        1 name: STRING, 2 description: IGNORED, 3 r#type: DTYPE, 4 type_attr: STRING, 5 number_attr: STRING,
        6 type_list_attr: STRING, 7 handle_data: IGNORED, 16 is_ref: BOOL, 17 experimental_full_type: IGNORED,
    }
    /// An attribute of an op.
    ATTR_DEF "OpDef.AttrDef" {
        1 name: STRING, 2 r#type: STRING, 3 default_value: (ATTR_VALUE), 4 description: IGNORED, 5 has_minimum: BOOL,
        6 minimum: INT64, 7 allowed_values: (ATTR_VALUE),
    }
    /// Op definitions.
    OP_LIST "OpList" { 1 op: [(OP_DEF)] }

    /// `saved_model.pb`.
    SAVED_MODEL "SavedModel" { 1 saved_model_schema_version: INT64, 2 meta_graphs: [(META_GRAPH)] }
    /// A meta graph.
    META_GRAPH "MetaGraphDef" {
        1 meta_info_def: (META_INFO), 2 graph_def: (GRAPH_DEF), 3 saver_def: (SAVER_DEF), 4 collection_def: [(COLLECTION_ENTRY)],
        5 signature_def: [(SIGNATURE_ENTRY)], 6 asset_file_def: [(ASSET_FILE)], 7 object_graph_def: (OBJECT_GRAPH),
    }
    /// Tags and versions.
    META_INFO "MetaGraphDef.MetaInfoDef" {
        1 meta_graph_version: STRING, 2 stripped_op_list: (OP_LIST), 3 any_info: (ANY), 4 tags: [STRING],
        5 tensorflow_version: STRING, 6 tensorflow_git_version: STRING, 7 stripped_default_attrs: BOOL,
        8 function_aliases: [(STRING_ENTRY)],
    }
    /// Any message.
    ANY "google.protobuf.Any" { 1 type_url: STRING, 2 value: BYTES }
    /// `map<string, CollectionDef>`.
    COLLECTION_ENTRY "map<string, CollectionDef>" { 1 key: STRING, 2 value: (COLLECTION) }
    /// A collection.
    COLLECTION "CollectionDef" {
        1 node_list: (NODE_LIST), 2 bytes_list: (BYTES_LIST), 3 int64_list: (INT64_LIST), 4 float_list: (FLOAT_LIST),
        5 any_list: (ANY_LIST),
    }
    /// Names.
    NODE_LIST "CollectionDef.NodeList" { 1 value: [STRING] }
    /// Byte strings.
    BYTES_LIST "CollectionDef.BytesList" { 1 value: [BYTES] }
    /// Integers.
    INT64_LIST "CollectionDef.Int64List" { 1 value: [INT64] }
    /// Floating-point numbers.
    FLOAT_LIST "CollectionDef.FloatList" { 1 value: [FLOAT] }
    /// Messages.
    ANY_LIST "CollectionDef.AnyList" { 1 value: [(ANY)] }
    /// `map<string, SignatureDef>`.
    SIGNATURE_ENTRY "map<string, SignatureDef>" { 1 key: STRING, 2 value: (SIGNATURE) }
    /// A signature.
    SIGNATURE "SignatureDef" {
        1 inputs: [(TENSOR_INFO_ENTRY)], 2 outputs: [(TENSOR_INFO_ENTRY)], 3 method_name: STRING, 4 defaults: [(TENSOR_ENTRY)],
    }
    /// `map<string, TensorInfo>`.
    TENSOR_INFO_ENTRY "map<string, TensorInfo>" { 1 key: STRING, 2 value: (TENSOR_INFO) }
    /// `map<string, TensorProto>`.
    TENSOR_ENTRY "map<string, TensorProto>" { 1 key: STRING, 2 value: (TENSOR_PROTO) }
    /// A tensor of a signature.
    TENSOR_INFO "TensorInfo" {
        1 name: STRING, 2 dtype: DTYPE, 3 tensor_shape: (TENSOR_SHAPE), 4 coo_sparse: (COO_SPARSE), 5 composite_tensor: (COMPOSITE),
    }
    /// A sparse tensor.
    COO_SPARSE "TensorInfo.CooSparse" {
        1 values_tensor_name: STRING, 2 indices_tensor_name: STRING, 3 dense_shape_tensor_name: STRING,
    }
    /// A composite.
    COMPOSITE "TensorInfo.CompositeTensor" { 1 type_spec: IGNORED, 2 components: [(TENSOR_INFO)] }
    /// An asset.
    ASSET_FILE "AssetFileDef" { 1 tensor_info: (TENSOR_INFO), 2 filename: STRING }
    /// A saver.
    SAVER_DEF "SaverDef" {
        1 filename_tensor_name: STRING, 2 save_tensor_name: STRING, 3 restore_op_name: STRING, 4 max_to_keep: INT32,
        5 sharded: BOOL, 6 keep_checkpoint_every_n_hours: FLOAT, 7 version: SAVER_VERSION,
    }
    /// Saved objects.
    OBJECT_GRAPH "SavedObjectGraph" { 1 nodes: [(SAVED_OBJECT)], 2 concrete_functions: [(CONCRETE_FUNCTION_ENTRY)] }
    /// `map<string, SavedConcreteFunction>`.
    CONCRETE_FUNCTION_ENTRY "map<string, SavedConcreteFunction>" { 1 key: STRING, 2 value: (CONCRETE_FUNCTION) }
    /// A saved object.
    SAVED_OBJECT "SavedObject" {
        1 children: [(OBJECT_REFERENCE)], 3 slot_variables: [(SLOT_REFERENCE)], 4 user_object: (USER_OBJECT), 5 asset: (SAVED_ASSET),
        6 function: (SAVED_FUNCTION), 7 variable: (SAVED_VARIABLE), 8 bare_concrete_function: (BARE_FUNCTION),
        9 constant: (SAVED_CONSTANT), 10 resource: (SAVED_RESOURCE), 11 saveable_objects: IGNORED, 12 captured_tensor: (CAPTURED),
        13 registered_name: STRING, 14 serialized_user_proto: IGNORED, 15 dependencies: [(OBJECT_REFERENCE)], 16 registered_saver: STRING,
    }
    /// A child.
    OBJECT_REFERENCE "ObjectReference" { 1 node_id: INT32, 2 local_name: STRING }
    /// A slot.
    SLOT_REFERENCE "SlotVariableReference" { 1 original_variable_node_id: INT32, 2 slot_name: STRING, 3 slot_variable_node_id: INT32 }
    /// A user object.
    USER_OBJECT "SavedUserObject" { 1 identifier: STRING, 2 version: (VERSION_DEF), 3 metadata: STRING }
    /// A saved asset.
    SAVED_ASSET "SavedAsset" { 1 asset_file_def_index: INT32 }
    /// A saved function.
    SAVED_FUNCTION "SavedFunction" { 1 concrete_functions: [STRING], 2 function_spec: IGNORED }
    /// A captured tensor.
    CAPTURED "CapturedTensor" { 1 name: STRING, 2 concrete_function: STRING }
    /// A concrete function.
    CONCRETE_FUNCTION "SavedConcreteFunction" {
        2 bound_inputs: [INT32], 3 canonicalized_input_signature: IGNORED, 4 output_signature: IGNORED,
    }
    /// A bare concrete function.
    BARE_FUNCTION "SavedBareConcreteFunction" {
        1 concrete_function_name: STRING, 2 argument_keywords: [STRING], 3 allowed_positional_arguments: INT64, 4 function_spec: IGNORED,
    }
    /// A saved constant.
    SAVED_CONSTANT "SavedConstant" { 1 operation: STRING }
    /// A saved variable.
    SAVED_VARIABLE "SavedVariable" {
        1 dtype: DTYPE, 2 shape: (TENSOR_SHAPE), 3 trainable: BOOL, 4 synchronization: VARIABLE_SYNC, 5 aggregation: VARIABLE_AGGR,
        6 name: STRING, 7 device: STRING, 8 experimental_distributed_variable_components: [(SAVED_VARIABLE)],
    }
    /// A saved resource.
    SAVED_RESOURCE "SavedResource" { 1 device: STRING }
    /// A TensorFlow 1 variable.
    VARIABLE_DEF "VariableDef" {
        1 variable_name: STRING, 2 initializer_name: STRING, 3 snapshot_name: STRING, 4 save_slice_info_def: (SAVE_SLICE),
        5 is_resource: BOOL, 6 initial_value_name: STRING, 7 trainable: BOOL, 8 synchronization: VARIABLE_SYNC, 9 aggregation: VARIABLE_AGGR,
    }
    /// A part of a variable.
    SAVE_SLICE "SaveSliceInfoDef" { 1 full_name: STRING, 2 full_shape: [INT64], 3 var_offset: [INT64], 4 var_shape: [INT64] }

    /// An index's header.
    BUNDLE_HEADER "BundleHeaderProto" { 1 num_shards: INT32, 2 endianness: ENDIANNESS, 3 version: (VERSION_DEF) }
    /// An index's entry.
    BUNDLE_ENTRY "BundleEntryProto" {
        1 dtype: DTYPE, 2 shape: (TENSOR_SHAPE), 3 shard_id: INT32, 4 offset: INT64, 5 size: INT64, 6 crc32c: FIXED32, 7 slices: [(SLICE)],
    }
    /// A slice.
    SLICE "TensorSliceProto" { 1 extent: [(EXTENT)] }
    /// A slice's range of a dimension.
    EXTENT "TensorSliceProto.Extent" { 1 start: INT64, 2 length: INT64 }
    /// A checkpoint's objects.
    TRACKABLE_GRAPH "TrackableObjectGraph" { 1 nodes: [(TRACKABLE)] }
    /// A checkpoint's object.
    TRACKABLE "TrackableObjectGraph.TrackableObject" {
        1 children: [(OBJECT_REFERENCE)], 2 attributes: [(SERIALIZED_TENSOR)], 3 slot_variables: [(SLOT_REFERENCE)],
        4 registered_saver: IGNORED, 5 has_checkpoint_values: IGNORED,
    }
    /// A value of an object.
    SERIALIZED_TENSOR "TrackableObjectGraph.TrackableObject.SerializedTensor" { 1 name: STRING, 2 full_name: STRING, 3 checkpoint_key: STRING }
    /// The file `checkpoint`.
    CHECKPOINT_STATE "CheckpointState" {
        1 model_checkpoint_path: STRING, 2 all_model_checkpoint_paths: [STRING], 3 all_model_checkpoint_timestamps: [DOUBLE],
        4 last_preserved_timestamp: DOUBLE,
    }

    /// tfcompile's configuration.
    XLA_CONFIG "tf2xla.Config" {
        1 feed: [(XLA_FEED)], 2 fetch: [(XLA_FETCH)], 3 variable: [(XLA_VARIABLE)], 4 conversion_options: (XLA_CONVERSION),
    }
    /// A feed.
    XLA_FEED "tf2xla.Feed" { 1 id: (XLA_TENSOR_ID), 2 shape: (TENSOR_SHAPE), 3 name: STRING, 4 r#type: DTYPE }
    /// A fetch.
    XLA_FETCH "tf2xla.Fetch" { 1 id: (XLA_TENSOR_ID), 2 name: STRING, 3 shape: (TENSOR_SHAPE), 4 r#type: DTYPE }
    /// A variable.
    XLA_VARIABLE "tf2xla.Variable" { 1 node_name: STRING, 2 name: STRING, 3 shape: (TENSOR_SHAPE), 4 r#type: DTYPE, 5 readonly: BOOL }
    /// A tensor.
    XLA_TENSOR_ID "tf2xla.TensorId" { 1 node_name: STRING, 2 output_index: INT64 }
    /// Switches.
    XLA_CONVERSION "tf2xla.ConversionOptions" { 1 custom_fake_quant_op_calls: BOOL }
}

const FIXED32: Kind = Kind::Fixed32;
const SAVER_VERSION: Kind = Kind::Enum(&[("LEGACY", 0), ("V1", 1), ("V2", 2)]);
const ENDIANNESS: Kind = Kind::Enum(&[("LITTLE", 0), ("BIG", 1)]);
const VARIABLE_SYNC: Kind = Kind::Enum(&[
    ("VARIABLE_SYNCHRONIZATION_AUTO", 0),
    ("VARIABLE_SYNCHRONIZATION_NONE", 1),
    ("VARIABLE_SYNCHRONIZATION_ON_WRITE", 2),
    ("VARIABLE_SYNCHRONIZATION_ON_READ", 3),
]);
const VARIABLE_AGGR: Kind = Kind::Enum(&[
    ("VARIABLE_AGGREGATION_NONE", 0),
    ("VARIABLE_AGGREGATION_SUM", 1),
    ("VARIABLE_AGGREGATION_MEAN", 2),
    ("VARIABLE_AGGREGATION_ONLY_FIRST_REPLICA", 3),
]);

/// TensorFlow's DataType; a reference type is the value plus 100.
const DATA_TYPES: &[(&str, i32)] = &[
    ("DT_INVALID", 0),
    ("DT_FLOAT", 1),
    ("DT_DOUBLE", 2),
    ("DT_INT32", 3),
    ("DT_UINT8", 4),
    ("DT_INT16", 5),
    ("DT_INT8", 6),
    ("DT_STRING", 7),
    ("DT_COMPLEX64", 8),
    ("DT_INT64", 9),
    ("DT_BOOL", 10),
    ("DT_QINT8", 11),
    ("DT_QUINT8", 12),
    ("DT_QINT32", 13),
    ("DT_BFLOAT16", 14),
    ("DT_QINT16", 15),
    ("DT_QUINT16", 16),
    ("DT_UINT16", 17),
    ("DT_COMPLEX128", 18),
    ("DT_HALF", 19),
    ("DT_RESOURCE", 20),
    ("DT_VARIANT", 21),
    ("DT_UINT32", 22),
    ("DT_UINT64", 23),
    ("DT_FLOAT8_E5M2", 24),
    ("DT_FLOAT8_E4M3FN", 25),
    ("DT_FLOAT8_E4M3FNUZ", 26),
    ("DT_FLOAT8_E4M3B11FNUZ", 27),
    ("DT_FLOAT8_E5M2FNUZ", 28),
    ("DT_INT4", 29),
    ("DT_UINT4", 30),
    ("DT_INT2", 31),
    ("DT_UINT2", 32),
    ("DT_FLOAT4_E2M1FN", 33),
    ("DT_FLOAT_REF", 101),
    ("DT_DOUBLE_REF", 102),
    ("DT_INT32_REF", 103),
    ("DT_UINT8_REF", 104),
    ("DT_INT16_REF", 105),
    ("DT_INT8_REF", 106),
    ("DT_STRING_REF", 107),
    ("DT_COMPLEX64_REF", 108),
    ("DT_INT64_REF", 109),
    ("DT_BOOL_REF", 110),
    ("DT_QINT8_REF", 111),
    ("DT_QUINT8_REF", 112),
    ("DT_QINT32_REF", 113),
    ("DT_BFLOAT16_REF", 114),
    ("DT_QINT16_REF", 115),
    ("DT_QUINT16_REF", 116),
    ("DT_UINT16_REF", 117),
    ("DT_COMPLEX128_REF", 118),
    ("DT_HALF_REF", 119),
    ("DT_RESOURCE_REF", 120),
    ("DT_VARIANT_REF", 121),
    ("DT_UINT32_REF", 122),
    ("DT_UINT64_REF", 123),
    ("DT_FLOAT8_E5M2_REF", 124),
    ("DT_FLOAT8_E4M3FN_REF", 125),
    ("DT_FLOAT8_E4M3FNUZ_REF", 126),
    ("DT_FLOAT8_E4M3B11FNUZ_REF", 127),
    ("DT_FLOAT8_E5M2FNUZ_REF", 128),
    ("DT_INT4_REF", 129),
    ("DT_UINT4_REF", 130),
    ("DT_INT2_REF", 131),
    ("DT_UINT2_REF", 132),
    ("DT_FLOAT4_E2M1FN_REF", 133),
];
