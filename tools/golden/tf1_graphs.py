"""TF1-style networks: a frozen LeNet, and SavedModels with variables of the old kinds.

Weights are drawn here with numpy, not by TensorFlow's initialisers, so that they are the same on
every machine.
"""
import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from .common import eighths, shape_list, tidy_saved_model

v1 = tf.compat.v1


def weight(rng, *shape):
    fan_in = int(np.prod(shape[:-1]))
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype("float32")


def bias(rng, n):
    return (rng.standard_normal(n) * 0.2).astype("float32")


def frozen_spec(graph, file, inputs, outputs, cases, **extra):
    """Describe tensors by node name, as frozen graphs are fed and fetched."""
    describe = lambda names: {
        n: {"tensor": f"{n}:0", "dtype": (t := graph.get_tensor_by_name(f"{n}:0")).dtype.name, "shape": shape_list(t.shape) if t.shape.rank is not None else None}
        for n in names
    }
    return {"model": file, "inputs": describe(inputs), "outputs": describe(outputs), "cases": cases, **extra}


def lenet(folder, rng):
    """The classical frozen graph: weights as Const behind Identity, Reshape with -1, BiasAdd, NHWC."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 784], name="x")
        keep = lambda name, value: tf.identity(tf.constant(value, name=name), name=f"{name}/read")
        h = tf.reshape(x, [-1, 28, 28, 1], name="image")
        for i, (size, cin, cout, padding) in enumerate([(5, 1, 4, "SAME"), (5, 4, 6, "VALID")], 1):
            with tf.name_scope(f"conv{i}"):
                h = v1.nn.conv2d(h, keep("weights", weight(rng, size, size, cin, cout)), strides=[1, 1, 1, 1], padding=padding, name="conv")
                h = tf.nn.relu(tf.nn.bias_add(h, keep("biases", bias(rng, cout))))
                h = v1.nn.max_pool(h, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
        h = tf.reshape(h, [-1, 5 * 5 * 6], name="flat")
        for name, cin, cout in [("fc1", 150, 12), ("fc2", 12, 10)]:
            with tf.name_scope(name):
                h = tf.add(tf.matmul(h, keep("weights", weight(rng, cin, cout))), keep("biases", bias(rng, cout)), name="logits")
                if name == "fc1":
                    h = tf.nn.relu(h)
        logits = tf.identity(h, name="logits")
        tf.nn.softmax(logits, name="probs")
        graph_def = graph.as_graph_def(add_shapes=False)
    (folder / "lenet.pb").write_bytes(graph_def.SerializeToString(deterministic=True))
    (folder / "lenet.pbtxt").write_text(text_format.MessageToString(graph_def), encoding="utf-8")
    cases = {f"b{b}": {"x": eighths(rng, (b, 784))} for b in (1, 3)}
    return frozen_spec(graph, "lenet.pb", ["x"], ["logits", "probs"], cases, text_model="lenet.pbtxt")


def session_model(folder, rng, use_resource, devices, save, export_spec, cases):
    """Build, set variables and export one graph with a convolution, a batch norm and two dense layers.

    `dense1/kernel` is partitioned in two: the checkpoint holds one tensor stored as slices.
    `devices` are the devices of the variables up to the first dense layer and of the rest; savers of
    TF1 SavedModels are sharded, one shard a device.
    """
    first, second = devices
    path = str(folder / "saved_model")
    with tf.Graph().as_default(), v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as session:
        def variable(name, value, device=first, parts=1):
            def part(shape, dtype=None, partition_info=None):
                start = partition_info.var_offset if partition_info else [0] * value.ndim
                return tf.constant(value[tuple(slice(o, o + n) for o, n in zip(start, shape))])

            with tf.device(device):
                return v1.get_variable(name, value.shape, tf.float32, part, use_resource=use_resource,
                                       partitioner=v1.fixed_size_partitioner(parts) if parts > 1 else None)

        x = v1.placeholder(tf.float32, [None, 12, 12, 2], name="x")
        y = v1.nn.conv2d(x, variable("conv/kernel", weight(rng, 3, 3, 2, 6)), strides=[1, 2, 2, 1], padding="SAME")
        y = tf.nn.bias_add(y, variable("conv/bias", bias(rng, 6)))
        scale = rng.uniform(0.5, 1.5, (2, 6)).astype("float32")
        y, _, _ = v1.nn.fused_batch_norm(y, variable("bn/gamma", scale[0]), variable("bn/beta", bias(rng, 6)), variable("bn/mean", bias(rng, 6)),
                                         variable("bn/variance", scale[1]), epsilon=1e-3, is_training=False)
        y = tf.reshape(tf.nn.relu(y), [tf.shape(y)[0], 6 * 6 * 6])
        kernel = variable("dense1/kernel", weight(rng, 216, 16), parts=2)
        y = tf.nn.elu(tf.matmul(y, tf.convert_to_tensor(kernel)) + variable("dense1/bias", bias(rng, 16)))
        y = tf.matmul(y, variable("dense2/kernel", weight(rng, 16, 4), second)) + variable("dense2/bias", bias(rng, 4), second)
        # A variable that no signature reaches, and a counter of another dtype: neither may be needed to load.
        variable("unused", weight(rng, 8, 8), second)
        v1.train.get_or_create_global_step()
        probs = tf.nn.softmax(y, name="probs")
        session.run(v1.global_variables_initializer())
        save(session, path, x, y, probs)
    tidy_saved_model(path, keep_restore=True, keep_shapes=True)
    return {"model": "saved_model", "cases": cases, **export_spec}


X = {"x": {"dtype": "float32", "shape": [-1, 12, 12, 2]}}
FOUR = {"dtype": "float32", "shape": [-1, 4]}


def ref_variables(folder, rng):
    """`simple_save`: VariableV2, Assign, Identity reads, one checkpoint shard, a sliced tensor."""
    save = lambda session, path, x, y, probs: v1.saved_model.simple_save(session, path, {"x": x}, {"probs": probs})
    spec = {"signature": "serving_default", "tags": ["serve"], "inputs": X, "outputs": {"probs": FOUR},
            "notes": "ref variables; dense1/kernel is stored as two slices"}
    return session_model(folder, rng, False, (None, None), save, spec, {f"b{b}": {"x": eighths(rng, (b, 12, 12, 2))} for b in (1, 3)})


def sharded(folder, rng):
    """Two meta graphs with different tags and signatures over one checkpoint of three shards (one for the unplaced counter)."""

    def save(session, path, x, y, probs):
        info, make = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
        sign = lambda **outs: make({"x": info(x)}, {k: info(v) for k, v in outs.items()}, "tensorflow/serving/predict")
        builder = v1.saved_model.Builder(path)
        builder.add_meta_graph_and_variables(session, ["serve"], {"logits_only": sign(logits=y), "both": sign(logits=y, probs=probs)},
                                             saver=v1.train.Saver(sharded=True))
        builder.add_meta_graph(["serve", "debug"], {"debug": sign(probs=probs)}, saver=v1.train.Saver(sharded=True))
        builder.save()

    spec = {"signature": "both", "tags": ["serve"], "inputs": X, "outputs": {"logits": FOUR, "probs": FOUR},
            "other_signatures": {"serve": ["logits_only"], "serve,debug": ["debug"]},
            "notes": "resource variables in three checkpoint shards, two meta graphs, no serving_default"}
    return session_model(folder, rng, True, ("/cpu:0", "/cpu:1"), save, spec, {"b2": {"x": eighths(rng, (2, 12, 12, 2))}})


MODELS = {"lenet_tf1": lenet, "tf1_ref_variables": ref_variables, "tf1_sharded": sharded}
