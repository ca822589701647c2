#!/usr/bin/env python3
"""Writes a tiny folder of conformance cases, as the runner's test needs it: one that passes, one whose output is made
wrong, one that cannot be compiled, and one of strings, which are read as base64.

    python3 testdata/conformance/make.py        # needs tensorflow 2.21
"""
import base64, json, os, pathlib
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

here = pathlib.Path(__file__).parent
index = []


def case(id, build, x, change=lambda y: y):
    with tf.Graph().as_default() as g:
        p = tf.compat.v1.placeholder(tf.as_dtype(x.dtype) if x.dtype != object else tf.string, x.shape, name="x")
        y = build(p)
        with tf.compat.v1.Session() as s:
            want = change(s.run(y, {p: x}))
    (here / f"{id}.pb").write_bytes(g.as_graph_def().SerializeToString(deterministic=True))
    arrays = {}

    def port(name, key, v):
        v = np.asarray(v)
        out = {"name": name, "dtype": v.dtype.name if v.dtype != object else "string", "shape": list(v.shape)}
        if v.dtype == object:
            return dict(out, strings=[base64.b64encode(e).decode() for e in v.reshape(-1)])
        arrays[key] = v
        return dict(out, key=key)

    entry = {"id": id, "graph": f"{id}.pb", "inputs": [port("x:0", "in0", x)], "outputs": [port(y.name, "out0", want)],
             "rtol": 1e-5, "atol": 1e-6, "ops": sorted({n.op for n in g.as_graph_def().node})}
    entry["values"] = f"{id}.npz" if arrays else None
    if arrays:
        np.savez(here / f"{id}.npz", **arrays)
    index.append(entry)


x = np.array([1.5, -2.0, 0.25], np.float32)
case("passes", lambda p: tf.exp(p), x)
case("differs", lambda p: tf.exp(p), x, change=lambda y: y * 2)
# Reading a file is an effect that a compiled model does not have.
case("refused", lambda p: tf.strings.length(tf.io.read_file(str(pathlib.Path(os.devnull)))), x)
case("strings", lambda p: tf.identity(p), np.array([b"a", b"\xff\x00", b""], object))
(here / "index.json").write_text("[\n" + ",\n".join(json.dumps(e) for e in index) + "\n]\n")
