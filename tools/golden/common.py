"""What the builders share: inputs that compress well, deterministic files, lists of operations.

A builder takes (folder, rng), writes its model into the folder and returns a spec:
`model` (path in the folder), `inputs` and `outputs` (name -> dtype, shape with -1 for a free size,
and for frozen graphs the tensor's name), `signature` and `tags` for a SavedModel, `cases`
(name -> feeds), and optionally `kind`, `needs`, `notes`.
"""
import collections
import pathlib

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2, saved_model_pb2


def quiet_session_config():
    """One thread and no graph optimizer: the kernels that run are those the graph names."""
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    config.graph_options.rewrite_options.constant_folding = rewriter_config_pb2.RewriterConfig.OFF
    return config


def eighths(rng, shape, dtype="float32"):
    """Values in -2..2 on a grid of 1/8: exact in every float width, and small when deflated."""
    return (rng.integers(-16, 17, shape) / 8).astype(dtype)


def shape_list(shape):
    return [-1 if d is None else d for d in tf.TensorShape(shape).as_list()]


def tidy_saved_model(path, keep_restore, keep_shapes):
    """Write a SavedModel's proto again in a fixed order, without what only training and saving need.

    Dropped: the random fingerprint, the functions that save and restore all variables, and main-graph
    nodes that no signature reaches (initialisers, reads). That is two thirds of a small model's bytes;
    signatures, functions, variables, object graph and checkpoint stay as TensorFlow wrote them, and
    `tf.saved_model.load` still takes the folder. TF1 models (`keep_restore`) keep their restore nodes,
    by which alone TensorFlow can load them. `_output_shapes`, an advisory copy of what shape inference
    finds, goes unless `keep_shapes`.
    """
    path = pathlib.Path(path)
    (path / "fingerprint.pb").unlink(missing_ok=True)
    assets = path / "assets"
    if assets.is_dir() and not any(assets.iterdir()):
        assets.rmdir()
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((path / "saved_model.pb").read_bytes())
    for meta in proto.meta_graphs:
        roots = [t.name for s in meta.signature_def.values() for t in [*s.inputs.values(), *s.outputs.values()]]
        if keep_restore:
            roots += [meta.saver_def.restore_op_name, meta.saver_def.filename_tensor_name]
            meta.saver_def.save_tensor_name = meta.saver_def.filename_tensor_name
        else:
            meta.ClearField("saver_def")
        keep_nodes(meta, roots)
        for function in list(meta.graph_def.library.function):
            if "traced_save" in function.signature.name or "traced_restore" in function.signature.name:
                meta.graph_def.library.function.remove(function)
        if not keep_shapes:
            functions = meta.graph_def.library.function
            for owner in [*meta.graph_def.node, *(n for f in functions for n in f.node_def)]:
                owner.attr.pop("_output_shapes", None)
            for function in functions:
                for argument in function.arg_attr.values():
                    argument.attr.pop("_output_shapes", None)
    (path / "saved_model.pb").write_bytes(proto.SerializeToString(deterministic=True))


def reached(nodes, roots):
    """The nodes of a main graph that tensors or nodes named in `roots` depend on, in graph order."""
    by_name, seen, todo = {n.name: n for n in nodes}, set(), list(roots)
    while todo:
        name = todo.pop().lstrip("^").split(":")[0]
        if name and name not in seen:
            seen.add(name)
            todo += by_name[name].input
    return [n for n in nodes if n.name in seen]


def keep_nodes(meta, roots):
    """Prune the main graph to `roots`; variables that the object graph lists stay too."""
    variables = [n.name for n in meta.graph_def.node if n.op == "VarHandleOp"]
    kept = reached(meta.graph_def.node, roots + variables)
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(kept)
    # Collections of TF1 graphs name initialisers, reads and savers; the loader resolves each entry.
    for key in list(meta.collection_def):
        if key not in ("saved_model_main_op", "saved_model_assets"):
            del meta.collection_def[key]


def count(nodes, functions):
    """Op -> count over `nodes` and, once each, the bodies of all functions that they reach."""
    counts, seen, queue = collections.Counter(), set(), [nodes]
    while queue:
        for node in queue.pop():
            counts[node.op] += 1
            called = [node.op] if node.op in functions else []
            for attr in node.attr.values():
                called += [f.name for f in [attr.func, *attr.list.func] if f.name]
            for name in called:
                if name not in seen:
                    seen.add(name)
                    queue.append(functions[name].node_def)
    for name in seen & set(counts):
        del counts[name]
    return dict(sorted(counts.items()))


def signature_ops(path, spec):
    """Ops that the signature's outputs reach (initialisers, savers and restorers are left out)."""
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((path / "saved_model.pb").read_bytes())
    (meta,) = [m for m in proto.meta_graphs if set(m.meta_info_def.tags) == set(spec["tags"])]
    roots = [t.name for t in meta.signature_def[spec["signature"]].outputs.values()]
    nodes = reached(meta.graph_def.node, roots)
    return count(nodes, {f.signature.name: f for f in meta.graph_def.library.function})


def graph_ops(path):
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    return count(graph_def.node, {f.signature.name: f for f in graph_def.library.function})
