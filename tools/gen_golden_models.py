"""Write the golden models of testdata/models: small models with TensorFlow's own outputs.

Usage: gen_golden_models.py OUT_DIR [NAME...]        (OUT_DIR is testdata/models in this repository)

Needs tensorflow-cpu 2.21 (which brings Keras 3) and nothing else. The models themselves are in
golden/: keras_nets.py (Keras 3, `model.export`), tf1_graphs.py (TF1 graphs, ref variables, sharded
checkpoints), op_graphs.py (graphs that are about operations) and xla_graphs.py (XLA's own). Each NAME/ holds

    the model       a SavedModel folder, or a frozen GraphDef (.pb, and .pbtxt where meta names one)
    ref_CASE.npz    `in:NAME` and `out:NAME`, deflated; CASE is b1, b3 ... for a batch of that size
    meta.json       what to load, signature, inputs, outputs, refs, TF ops with counts

Invariants: references come from TensorFlow's plain CPU kernels (oneDNN off, graph optimizer off, one
thread) and are computed twice from the written files with equal bits; no output of a network is
constant, saturated or non-finite; no output holds a subnormal, which TensorFlow's CPU session may
flush; a rerun gives equal bytes, except for Keras's SavedModels, whose objects come in a random order
(their weights and references are equal too). golden/common.py says what a SavedModel here lacks.
"""
import json
import os
import pathlib
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

from golden import keras_nets, op_graphs, tf1_graphs, xla_graphs
from golden.common import quiet_session_config, signature_ops, graph_ops

MAX_MODEL_BYTES = 150_000
MAX_TOTAL_BYTES = 1_800_000  # a third of that in a packed repository


def run_saved_model(path, spec, feeds):
    """The signature's outputs for `feeds`, from a fresh load."""
    loaded = tf.saved_model.load(path, spec["tags"])
    outputs = loaded.signatures[spec["signature"]](**{k: tf.constant(v) for k, v in feeds.items()})
    return {k: v.numpy() for k, v in outputs.items()}


def run_frozen(path, spec, feeds):
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(pathlib.Path(path).read_bytes())
    if spec.get("compiler") == "xla":
        return run_compiled(graph_def, spec, feeds)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(config=quiet_session_config()) as session:
        tf.import_graph_def(graph_def, name="")
        fetches = {name: graph.get_tensor_by_name(info["tensor"]) for name, info in spec["outputs"].items()}
        return session.run(fetches, {spec["inputs"][k]["tensor"]: v for k, v in feeds.items()})


def run_compiled(graph_def, spec, feeds):
    """As XLA compiles the graph for the CPU: of its own ops TensorFlow has no kernels."""
    for node in graph_def.node:
        if node.op == "XlaIf":  # its kernel asks for an attribute that the op does not have
            node.op = "StatelessIf"
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    tensor = whole.graph.get_tensor_by_name
    cut = whole.prune([tensor(spec["inputs"][k]["tensor"]) for k in feeds], {k: tensor(i["tensor"]) for k, i in spec["outputs"].items()})
    outputs = tf.function(cut, jit_compile=True)(*[tf.constant(v) for v in feeds.values()])
    return {k: v.numpy() for k, v in outputs.items()}


def check(name, case, spec, outputs, again):
    """The promises of the file's head about one reference."""
    for key, value in outputs.items():
        where = f"{name} {case} {key}"
        assert value.tobytes() == again[key].tobytes(), f"{where}: two runs differ"
        if value.dtype.kind == "f":
            finite = np.abs(value[np.isfinite(value)])
            assert not np.any((finite > 0) & (finite < np.finfo(value.dtype).tiny)), f"{where}: holds subnormals"
            if spec["kind"] == "network":
                assert np.isfinite(value).all(), f"{where}: not finite"
                assert value.size < 2 or value.std() > 1e-3, f"{where}: constant, {value.ravel()[:5]}"
                assert len(value) < 2 or np.abs(value[0] - value[1]).max() > 1e-3, f"{where}: ignores its input"


def write(out, name, build):
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    keras.backend.clear_session()
    keras.utils.set_random_seed(7)
    spec = build(folder, np.random.default_rng(7))
    spec.setdefault("kind", "network")
    model = folder / spec["model"]
    saved_model = model.is_dir()
    run = run_saved_model if saved_model else run_frozen
    refs = {}
    for case, feeds in spec.pop("cases").items():
        assert set(feeds) == set(spec["inputs"]), (name, case)
        outputs = run(str(model), spec, feeds)
        check(name, case, spec, outputs, run(str(model), spec, feeds))
        arrays = {f"in:{k}": v for k, v in sorted(feeds.items())} | {f"out:{k}": v for k, v in sorted(outputs.items())}
        np.savez_compressed(folder / f"ref_{case}.npz", **arrays)
        refs[case] = {"file": f"ref_{case}.npz", "outputs": {k: list(v.shape) for k, v in sorted(outputs.items())}}
    spec["refs"] = refs
    spec["ops"] = signature_ops(model, spec) if saved_model else graph_ops(model)
    spec["tensorflow"] = tf.__version__
    text = json.dumps(spec, indent=1, sort_keys=True)
    (folder / "meta.json").write_text(text + "\n", encoding="utf-8")
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert size < MAX_MODEL_BYTES, f"{name}: {size} bytes"
    print(f"{name:24} {size:7} bytes  {sum(spec['ops'].values()):4} nodes  {len(spec['ops']):3} ops  {' '.join(refs)}", flush=True)
    return size


def main(out, only):
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    models = keras_nets.MODELS | tf1_graphs.MODELS | op_graphs.MODELS | xla_graphs.MODELS
    unknown = [n for n in only if n not in models]
    if unknown:
        sys.exit(f"no such model: {', '.join(unknown)}; known: {', '.join(models)}")
    total = sum(write(pathlib.Path(out), name, models[name]) for name in only or models)
    print(f"{total} bytes in total")
    assert total < MAX_TOTAL_BYTES, "testdata/models has grown too large"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
