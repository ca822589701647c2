#!/usr/bin/env python3
"""Write testdata/import: small TensorFlow files, and what TensorFlow itself reads from them (JSON, values as hex).

    python tools/gen_import_cases.py        needs tensorflow 2.21

The files hold no trained weights and nothing random without a seed.
"""
import json
import os
import pathlib
import random
import re
import shutil

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import ml_dtypes
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from tensorflow.core.framework import graph_pb2, variable_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2, tensor_bundle_pb2, trackable_object_graph_pb2
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph
from tensorflow.python.training import checkpoint_state_pb2

v1 = tf.compat.v1
OUT = pathlib.Path(__file__).resolve().parent.parent / "testdata/import"


def name_of(dtype):
    dtype = tf.dtypes.as_dtype(dtype)
    return {"float32": "float", "float64": "double", "float16": "half"}.get(dtype.name, dtype.name)


def value(array, dtype=None):
    """A tensor as JSON."""
    array = np.asarray(array)
    if array.dtype == object or array.dtype.kind in "SU":
        flat = [x if isinstance(x, bytes) else x.encode() for x in array.reshape(-1).tolist()]
        return {"dtype": "string", "shape": list(array.shape), "strings": [x.hex() for x in flat]}
    return {"dtype": name_of(dtype or array.dtype), "shape": list(array.shape), "hex": array.tobytes().hex()}


def dump(path, data):
    (OUT / path).write_text(json.dumps(data, sort_keys=True, separators=(",", ":")) + "\n")


# Checkpoints

NUMERIC = [tf.float32, tf.float64, tf.int32, tf.uint8, tf.int16, tf.int8, tf.complex64, tf.int64, tf.bool, tf.bfloat16, tf.uint16]
NUMERIC += [tf.complex128, tf.float16, tf.uint32, tf.uint64, tf.qint8, tf.quint8, tf.qint32, tf.qint16, tf.quint16]
NUMERIC += [tf.dtypes.experimental.float8_e5m2, tf.dtypes.experimental.float8_e4m3fn, tf.dtypes.experimental.int4, tf.dtypes.experimental.uint4]


def sample(dtype, shape, seed):
    rng = np.random.default_rng(seed)
    kind = dtype.as_numpy_dtype
    if dtype == tf.bool:
        return rng.integers(0, 2, shape).astype(bool)
    numbers = rng.integers(0, 8, shape) if dtype.name in ("int4", "uint4") else rng.integers(0, 100, shape)
    if dtype.is_complex:
        return (numbers + 1j * rng.standard_normal(shape)).astype(kind)
    if dtype.is_quantized:
        return numbers.astype({"qint8": "int8", "quint8": "uint8", "qint32": "int32", "qint16": "int16", "quint16": "uint16"}[dtype.name])
    if dtype.is_floating:
        return (rng.standard_normal(shape) * 3).astype(kind)
    return numbers.astype(kind)


def save(prefix, entries):
    """entries: name -> (slice specification, tensor). Values enter as bytes, so that any type can be saved."""
    with tf.Graph().as_default(), v1.Session() as session:
        names, slices = list(entries), [entries[n][0] for n in entries]
        tensors = [entries[n][1]() for n in entries]
        names = [n.split("@")[0] for n in names]
        session.run(tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=slices, tensors=tensors))


def constant(array, dtype=None):
    def make():
        if dtype is not None and dtype.is_quantized:
            return tf.bitcast(tf.constant(array), dtype)
        return tf.constant(array, dtype)

    return make


def checkpoints():
    expected, entries = {}, {}
    for i, dtype in enumerate(NUMERIC):
        for label, shape in [("scalar", ()), ("matrix", (3, 5)), ("empty", (2, 0))]:
            array = sample(dtype, shape, i)
            key = f"{dtype.name}/{label}"
            try:
                save(OUT / "probe", {key: ("", constant(array, dtype))})
            except Exception as error:  # a type that this TensorFlow cannot save
                print("not saved:", key, str(error)[:80])
                continue
            entries[key] = ("", constant(array, dtype))
            expected[key] = value(array, dtype)
    strings = {
        "string/scalar": np.array(b"one", object),
        "string/matrix": np.array([[b"", b"a\0b"], [bytes(range(256)), b"x" * 300]], object),
        "string/empty": np.zeros((0, 3), object),
    }
    for key, array in strings.items():
        entries[key] = ("", (lambda a: lambda: tf.constant(a, tf.string, shape=a.shape))(array))
        expected[key] = value(array)
    for probe in OUT.glob("probe*"):
        probe.unlink()
    save(OUT / "dtypes", entries)

    # Partitioned tensors: by rows, by columns, in a grid, of strings.
    rows, grid = sample(tf.float32, (10, 4), 1), sample(tf.int64, (5, 6), 2)
    words = np.array([b"w%d" % i for i in range(7)], object)
    cut = {
        "rows": [("10 4 0,6:-", rows[:6]), ("10 4 6,4:-", rows[6:])],
        "grid": [("5 6 0,2:0,6", grid[:2]), ("5 6 2,3:0,4", grid[2:, :4]), ("5 6 2,3:4,2", grid[2:, 4:])],
        "words": [("7 0,3", words[:3]), ("7 3,4", words[3:])],
        "large": [(f"1 9000 -:{a},{n}", np.full((1, n), a % 7, np.int8)) for a, n in [(0, 64), (64, 8136), (8200, 800)]],
    }
    entries = {}
    for key, parts in cut.items():
        for i, (spec, array) in enumerate(parts):
            entries[f"{key}@{i}"] = (spec, (lambda a: lambda: tf.constant(a))(array))
    entries["whole"] = ("", constant(np.arange(3.0)))
    save(OUT / "sliced", entries)
    expected_sliced = {
        "rows": value(rows),
        "grid": value(grid),
        "words": value(words),
        "large|1 9000 -:8190,20": value(np.concatenate([p[1] for p in cut["large"]], 1)[:, 8190:8210]),
        "whole": value(np.arange(3.0)),
        "rows|10 4 4,3:1,2": value(rows[4:7, 1:3]),
        "rows|10 4 6,4:-": value(rows[6:]),
        "grid|5 6 1,3:3,2": value(grid[1:4, 3:5]),
        "words|7 2,2": value(words[2:4]),
        "whole|3 1,2": value(np.arange(3.0)[1:]),
    }
    # Two shards, merged; many keys, so that the index has several blocks.
    many = {f"layer_{i:03}/kernel_of_a_name_that_is_long/part": np.float32([i, -i]) for i in range(150)}
    items = list(many.items())
    for shard in range(2):
        save(OUT / f"part{shard}", {k: ("", constant(a)) for k, a in items[shard::2]})
    with tf.Graph().as_default(), v1.Session() as session:
        prefixes = [str(OUT / f"part{i}") for i in range(2)]
        session.run(tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=prefixes, destination_prefix=str(OUT / "shards"), delete_old_dirs=False))
    for part in OUT.glob("part*"):
        part.unlink()
    state = checkpoint_state_pb2.CheckpointState(model_checkpoint_path="shards", all_model_checkpoint_paths=["older", "shards"])
    state.last_preserved_timestamp = 1.5e9
    (OUT / "checkpoint").write_text(text_format.MessageToString(state))

    # Independent of what went in: what TensorFlow reads back.
    reader = tf.train.load_checkpoint(str(OUT / "dtypes"))
    for key, want in expected.items():
        if not any(q in key for q in ("qint", "quint")) and "string" not in key:
            assert reader.get_tensor(key).tobytes().hex() == want["hex"], key
    reader = tf.train.load_checkpoint(str(OUT / "sliced"))
    assert reader.get_tensor("rows").tobytes() == rows.tobytes() and reader.get_tensor("grid").tobytes() == grid.tobytes()
    dump("checkpoints.json", {"dtypes": expected, "sliced": expected_sliced, "shards": {k: value(a) for k, a in many.items()}})


# Models


def describe(path, tags=("serve",)):
    """What TensorFlow's own loader makes of a SavedModel: variables, functions' edges, ports."""
    with tf.Graph().as_default() as graph, v1.Session() as session:
        meta = v1.saved_model.load(session, list(tags), str(path))
        variables = {}
        for node in graph.get_operations():
            if node.type == "VarHandleOp":
                read = tf.raw_ops.ReadVariableOp(resource=node.outputs[0], dtype=node.get_attr("dtype"))
            elif node.type in ("VariableV2", "Variable"):
                read = tf.identity(node.outputs[0])
            else:
                continue
            try:
                if read.dtype != tf.string:  # the path of an asset
                    variables[node.name] = value(session.run(read), read.dtype)
            except tf.errors.FailedPreconditionError:
                pass
        edges = {}
        for function in meta.graph_def.library.function:
            body = function_def_to_graph(function)
            edges[function.signature.name] = {
                op.name: [t.name for t in op.inputs] for op in body.get_operations() if op.type not in ("Placeholder", "_Arg")
            }
        signatures = {}
        for key, signature in meta.signature_def.items():
            if key.startswith("__"):
                continue
            ports = {"inputs": signature.inputs, "outputs": signature.outputs}
            signatures[key] = {
                side: {k: [i.name, name_of(i.dtype), [d.size for d in i.tensor_shape.dim]] for k, i in infos.items()}
                for side, infos in ports.items()
            }
    return {"variables": variables, "edges": edges, "signatures": signatures}


def shrink(path):
    """Drops what nothing reads and takes most of the space: the text of stack traces, the fingerprint."""
    file = path / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta in model.meta_graphs:
        meta.graph_def.ClearField("debug_info")
        meta.meta_info_def.ClearField("stripped_op_list")
    file.write_bytes(model.SerializeToString(deterministic=True))
    for extra in list(path.glob("debug/*")) + [path / "fingerprint.pb"]:
        extra.unlink(missing_ok=True)
    if (path / "debug").exists():
        (path / "debug").rmdir()


def keras_model(path):
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 3), name="steps")
    x = keras.layers.SimpleRNN(4, name="rnn")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    model = keras.Model(inputs, {"a": keras.layers.Dense(2, name="dense")(x), "b": keras.layers.Activation("relu")(x)})
    model.export(str(path), verbose=False)


class Module(tf.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.w = tf.Variable(np.arange(6, dtype=np.float32).reshape(2, 3), name="same_name")
        self.layers = [tf.Variable(np.float32([10, 20]), name="same_name"), tf.Variable(np.int64(7), name="count")]
        self.half = tf.Variable(np.array([1.5, -2], ml_dtypes.bfloat16), name="half")
        self.unused = tf.Variable(np.zeros(3, np.float32), name="unused")
        start = tf.lookup.TextFileInitializer(vocabulary, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        self.table = tf.lookup.StaticHashTable(start, -1)

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, "x")])
    def forward(self, x):
        parts = tf.split(x @ tf.transpose(self.w), 2, axis=1)
        top, index = tf.math.top_k(parts[1] + self.layers[0], 1)
        for _ in tf.range(3):
            top = top + parts[0]
        return {"top": top, "index": index, "half": tf.cast(self.half, tf.float32) * 2}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "words")])
    def lookup(self, words):
        self.layers[1].assign_add(1)
        return {"ids": self.table.lookup(words), "count": self.layers[1].read_value()}


def module_model(path):
    vocabulary = pathlib.Path("vocabulary.txt")  # relative: the path becomes part of names in the file
    vocabulary.write_text("red\ngreen\nblue\n")
    module = Module(str(vocabulary))
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.forward, "lookup": module.lookup})
    vocabulary.unlink()


def v1_model(path):
    vocabulary = pathlib.Path("words.txt")
    vocabulary.write_text("yes\nno\n")
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        x = v1.placeholder(tf.float32, [None, 4], "x")
        words = v1.placeholder(tf.string, [None], "words")
        with v1.variable_scope("net", use_resource=False):
            w = v1.get_variable("w", [4, 3], initializer=v1.glorot_uniform_initializer(seed=1))
            parts = v1.get_variable("parts", [5, 3], partitioner=v1.fixed_size_partitioner(2), initializer=v1.glorot_uniform_initializer(seed=2))
            step = v1.get_variable("step", [], tf.int32, initializer=v1.constant_initializer(41))
        with v1.variable_scope("res", use_resource=True):
            b = v1.get_variable("b", [3], initializer=v1.constant_initializer([1, 2, 3]))
        asset = tf.constant(str(vocabulary))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
        start = tf.lookup.TextFileInitializer(asset, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        table = tf.lookup.StaticHashTable(start, -1)
        ids = table.lookup(words)
        with tf.control_dependencies([v1.assert_greater(step, 0)]):
            hidden = tf.matmul(x, w) + b
        y = tf.identity(tf.matmul(hidden, tf.convert_to_tensor(parts), transpose_b=True), "y")
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        info = v1.saved_model.utils.build_tensor_info
        build = v1.saved_model.signature_def_utils.build_signature_def
        builder = v1.saved_model.Builder(str(path))
        signatures = {
            "scores": build({"x": info(x)}, {"y": info(y)}, "predict"),
            "ids": build({"words": info(words)}, {"ids": info(ids)}, "predict"),
        }
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        init = v1.tables_initializer()
        builder.add_meta_graph_and_variables(session, ["serve"], signatures, assets, main_op=init, strip_default_attrs=True)
        builder.save()
    vocabulary.unlink()
    # A second graph of other tags: the same without its op definitions, which take most of the space.
    file = path / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    other = model.meta_graphs.add()
    other.CopyFrom(model.meta_graphs[0])
    other.meta_info_def.ClearField("stripped_op_list")
    other.meta_info_def.tags.append("gpu")
    file.write_bytes(model.SerializeToString(deterministic=True))


def models():
    expected = {}
    for name, make in [("keras", keras_model), ("module", module_model), ("v1", v1_model)]:
        make(OUT / name)
        shrink(OUT / name)
        expected[name] = describe(OUT / name)
    dump("models.json", expected)


# Graphs


def tensors():
    """Constants in every encoding; the values are TensorFlow's."""
    graph = graph_pb2.GraphDef()
    expected = {}

    def add(label, proto):
        node = graph.node.add(name=label, op="Const")
        node.attr["dtype"].type = proto.dtype
        node.attr["value"].tensor.CopyFrom(proto)
        array = tf.make_ndarray(proto)
        expected[label] = value(array, proto.dtype)

    for i, dtype in enumerate(NUMERIC):
        array = sample(dtype, (2, 3), 50 + i)
        content = tf.make_tensor_proto(sample(tf.int8, (1,), 0))
        content.dtype = dtype.as_datatype_enum
        content.tensor_shape.CopyFrom(tf.TensorShape((2, 3)).as_proto())
        content.tensor_content = array.tobytes()
        add(f"{dtype.name}_content", content)
        listed = tf.make_tensor_proto(array.reshape(-1)[:1], dtype)
        if listed.tensor_content:
            continue
        listed.tensor_shape.CopyFrom(tf.TensorShape((2, 3)).as_proto())
        add(f"{dtype.name}_filled", listed)
        empty = tf.make_tensor_proto(np.zeros((0,), array.dtype), dtype)
        empty.ClearField("tensor_content")
        add(f"{dtype.name}_empty", empty)
    for label, data in [("string_list", [[b"a", b""], [b"\xff\0", b"d"]]), ("string_scalar", b"s")]:
        add(label, tf.make_tensor_proto(data, tf.string))
    (OUT / "tensors.pb").write_bytes(graph.SerializeToString(deterministic=True))
    dump("tensors.json", expected)


def defaults():
    """A graph without its default attributes, and the one that TensorFlow makes of it."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [1, 8, 8, 4], "x")
        y = tf.nn.leaky_relu(tf.nn.conv2d(x, tf.ones((3, 3, 4, 4)), 1, "SAME"))
        y = tf.nn.lrn(tf.nn.max_pool2d(y, 2, 2, "VALID"))
        y, _, _ = v1.nn.fused_batch_norm(y, tf.ones(4), tf.ones(4), tf.ones(4), tf.ones(4), is_training=False)
        array = tf.TensorArray(tf.float32, 3, element_shape=[4]).unstack(tf.ones((3, 4)))
        y = tf.cumsum(tf.squeeze(y[0, :, ::2, 1:2])) + tf.reduce_sum(array.stack())
        tf.strings.split(["a b"], sep=" ")
        tf.image.resize(x, (4, 4))
        v1.summary.image("image", x)
    full = graph.as_graph_def()
    stripped = graph_pb2.GraphDef()
    stripped.CopyFrom(full)
    for node in stripped.node:
        for attr in tf.raw_ops.__dict__ and op_def(node.op).attr:
            if attr.HasField("default_value") and node.attr[attr.name] == attr.default_value:
                del node.attr[attr.name]
    (OUT / "defaults.pb").write_bytes(stripped.SerializeToString(deterministic=True))
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(stripped, name="")
        full = graph.as_graph_def()
    attrs = {n.name: {k: a.SerializeToString(deterministic=True).hex() for k, a in n.attr.items() if k[0] != "_"} for n in full.node}
    dump("defaults.json", attrs)


def op_def(name):
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(name)


# Text


def fill(message, rng, depth):
    """Sets every field: what the text and binary forms say must be the same."""
    F = FieldDescriptor
    taken = {oneof.name: rng.choice(oneof.fields).name for oneof in message.DESCRIPTOR.oneofs}
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof and taken[field.containing_oneof.name] != field.name:
            continue

        def scalar(f):
            if f.type in (F.TYPE_STRING,):
                return rng.choice(["", "name", 'quote " back \\', "tab\tnew\nline", "snow\u2603", "'"])
            if f.type == F.TYPE_BYTES:
                return rng.choice([b"", b"\0\x01\xff7", b"text", b"\\x41"])
            if f.type == F.TYPE_ENUM:
                return rng.choice(f.enum_type.values).number
            if f.type == F.TYPE_BOOL:
                return rng.choice([True, False])
            if f.type in (F.TYPE_FLOAT, F.TYPE_DOUBLE):
                return rng.choice([0.0, -1.5, 1e-30, float("inf"), float("-inf"), 0.1])
            if f.type in (F.TYPE_UINT32, F.TYPE_UINT64, F.TYPE_FIXED32, F.TYPE_FIXED64):
                return rng.choice([0, 1, 2**31 - 1])
            return rng.choice([0, 1, -1, 2**31 - 1, -(2**31)])

        if field.message_type is None:
            if field.is_repeated:
                getattr(message, field.name).extend(scalar(field) for _ in range(rng.randint(0, 3)))
            else:
                setattr(message, field.name, scalar(field))
        elif depth > 0 and field.message_type.full_name != "google.protobuf.Any":
            entry = field.message_type.GetOptions().map_entry
            if entry:
                key, inner = field.message_type.fields
                for _ in range(rng.randint(1, 2)):
                    at = scalar(key)
                    if inner.message_type:
                        fill(getattr(message, field.name)[at], rng, depth - 1)
                    else:
                        getattr(message, field.name)[at] = scalar(inner)
            elif field.is_repeated:
                for _ in range(rng.randint(1, 2)):
                    fill(getattr(message, field.name).add(), rng, depth - 1)
            else:
                child = getattr(message, field.name)
                child.SetInParent()
                fill(child, rng, depth - 1)


TRICKY = r"""# comment with "quotes" and { braces
node {
  name: 'it\'s' op: "Co" "n" # adjacent strings
    'st'
  attr { key: "value" value { tensor < dtype: DT_FLOAT tensor_shape { dim { size: 0x2 } dim { size: 03 } }
    float_val: [1, -inf, nan, 1.5e+1f, .5, 2.] > } };
  attr: { key: "text", value: { s: "\001\x41\n\t\\\"\'\303\251\u00e9\U0001F600\7z" } }
  attr { key: "list" value { list { i: [-1, 0xff, 010] i: 9223372036854775807 i: -9223372036854775808 type: [DT_HALF, 3] b: [true, f, 1] } } }
  experimental_debug_info { original_node_names: "ignored" nested < some: [1, -2.5e3, x] more [{a: 2}, <b: 'c' "d">] [ext.name/Type] { x: -inf } > }
}
node { name: "b" op: "NoOp" input: ["^it's", "^it's"] }
versions { producer: 2147483647 }
"""


def texts():
    rng = random.Random(7)
    kinds = {
        "meta_graph": (meta_graph_pb2.MetaGraphDef, 7),
        "graph": (graph_pb2.GraphDef, 6),
        "trackable": (trackable_object_graph_pb2.TrackableObjectGraph, 3),
        "bundle_entry": (tensor_bundle_pb2.BundleEntryProto, 3),
        "variable": (variable_pb2.VariableDef, 2),
    }
    for name, (kind, depth) in kinds.items():
        message = kind()
        fill(message, rng, depth)
        for limit in range(depth - 1, 0, -1):
            if message.ByteSize() <= 3_500:
                break
            message = kind()
            fill(message, rng, limit)
        (OUT / f"text_{name}.pb").write_bytes(message.SerializeToString(deterministic=True))
        (OUT / f"text_{name}.pbtxt").write_text(text_format.MessageToString(message))
    graph = text_format.Parse(re.sub("nested <.*>", "", TRICKY), graph_pb2.GraphDef())  # TensorFlow does not skip the unknown
    (OUT / "tricky.pbtxt").write_text(TRICKY)
    (OUT / "tricky.pb").write_bytes(graph.SerializeToString(deterministic=True))


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    os.chdir(OUT)
    for part in (checkpoints, tensors, defaults, texts, models):
        part()
    print(sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main()
