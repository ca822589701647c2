#!/usr/bin/env python3
"""Writes testdata/import/control_flow: graphs with the control flow of TensorFlow 1, and TensorFlow's outputs.

Every graph is small and made of scalars and short vectors. cases.json gives for each graph its inputs, its outputs and
runs: values to feed and what TensorFlow returned. With a program that imports and writes back a graph as argument
(`cargo build --example functionalize`), its result is run in TensorFlow too and compared:

    tools/gen_control_flow_cases.py [target/debug/examples/functionalize]
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import function
from tensorflow.python.ops import control_flow_ops

v1 = tf.compat.v1
v1.disable_control_flow_v2()
OUT = Path(__file__).resolve().parent.parent / "testdata/import/control_flow"
OLD = {"Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond", "_SwitchN", "ControlTrigger"}
CASES = {}


def case(*runs):
    """A graph: the function makes it and returns its outputs; runs are values of its placeholders."""
    def register(make):
        CASES[make.__name__] = (make, runs)
        return make
    return register


def f32(name, shape=()):
    return v1.placeholder(tf.float32, shape, name=name)


def flag(name):
    return v1.placeholder(tf.bool, (), name=name)


BOTH = [dict(p=True, x=3.0), dict(p=False, x=3.0)]


@case(*BOTH)
def cond_simple():
    p, x = flag("p"), f32("x")
    return [v1.cond(p, lambda: x * 2.0 + 1.0, lambda: x - 5.0)]


@case(*BOTH)
def cond_passthrough():
    """One branch is the Switch's own output."""
    p, x = flag("p"), f32("x")
    return [v1.cond(p, lambda: x, lambda: tf.constant(7.0))]


@case(*BOTH)
def cond_many_outputs():
    """Branches that share what they compute; one If."""
    p, x = flag("p"), f32("x")

    def then():
        y = tf.exp(x)
        return y, y * 2.0, x

    return list(v1.cond(p, then, lambda: (x, x + 1.0, tf.constant(4.0))))


@case(*BOTH)
def cond_same_predicate():
    """Two conditionals on one predicate, neither of which needs the other: one If."""
    p, x = flag("p"), f32("x")
    a = v1.cond(p, lambda: x + 1.0, lambda: x + 2.0)
    b = v1.cond(p, lambda: x * 3.0, lambda: x * 4.0)
    return [a * b]


@case(*BOTH)
def cond_chain():
    """Conditionals on one predicate in a row, as batch normalisation's: one If each."""
    p, x = flag("p"), f32("x")
    for i in range(3):
        x = v1.cond(p, lambda: x + float(i), lambda: x * (i + 2.0))
        x = tf.tanh(x)
    return [x]


QUAD = [dict(p=p, q=q, x=3.0) for p in (True, False) for q in (True, False)]


@case(*QUAD)
def cond_nested():
    """The inner predicate comes from outside."""
    p, q, x = flag("p"), flag("q"), f32("x")
    inner = lambda: v1.cond(q, lambda: x + 10.0, lambda: x + 20.0)
    return [v1.cond(p, lambda: inner() * 2.0, lambda: v1.cond(q, lambda: x, lambda: -x))]


@case(*BOTH)
def cond_nested_same():
    """A conditional inside of a branch on its own predicate: one side is dead."""
    p, x = flag("p"), f32("x")
    inner = lambda: v1.cond(p, lambda: x + 10.0, lambda: x + 20.0)
    return [v1.cond(p, lambda: inner() * 2.0, lambda: inner() * 3.0)]


@case(*QUAD)
def cond_crossed():
    """Conditionals on two predicates that need one another's results in turn."""
    p, q, x = flag("p"), flag("q"), f32("x")
    a = v1.cond(p, lambda: x + 1.0, lambda: x + 2.0)
    b = v1.cond(q, lambda: a * 2.0, lambda: a * 3.0)
    c = v1.cond(p, lambda: b - 1.0, lambda: a - 2.0)
    return [a, b, c]


@case(*[dict(i=float(i), x=2.0) for i in range(5)])
def case_of_many():
    i, x = f32("i"), f32("x")
    pairs = [(i < k + 0.5, lambda k=k: x * float(k) + 1.0) for k in range(4)]
    return [v1.case(pairs, default=lambda: -x)]


@case(*BOTH)
def cond_assert():
    p, x = flag("p"), f32("x")

    def then():
        with tf.control_dependencies([v1.Assert(x > 0.0, [x])]):
            return x * 2.0

    with tf.control_dependencies([v1.assert_greater(x, -5.0)]):
        return [v1.cond(p, then, lambda: x)]


@case(*BOTH)
def both_outputs_merged():
    p, x = flag("p"), f32("x")
    no, yes = control_flow_ops.switch(x, p)
    value, index = control_flow_ops.merge([no, yes])
    return [value, index]


@case(*BOTH)
def merge_index():
    p, x = flag("p"), f32("x")
    no, yes = control_flow_ops.switch(x, p)
    value, index = control_flow_ops.merge([yes * 2.0, no])
    return [value + tf.cast(index, tf.float32), index]


@case(*QUAD)
def merge_of_three():
    """A Merge of three branches of two decisions."""
    p, q, x = flag("p"), flag("q"), f32("x")
    no, yes = control_flow_ops.switch(x, p)
    no_no, no_yes = control_flow_ops.switch(no, q)
    value, index = control_flow_ops.merge([no_yes + 1.0, yes + 2.0, no_no + 3.0])
    return [value, index]


@case(*[dict(i=i, x=2.0) for i in (-3, 0, 1, 2, 3, 4, 9)])
def switch_n():
    i, x = v1.placeholder(tf.int32, (), name="i"), f32("x")
    graph = v1.get_default_graph()
    switch = graph.create_op("_SwitchN", [x, i], [tf.float32] * 5, name="switch",
                             attrs={"num_outs": tf.compat.v1.AttrValue(i=5), "T": tf.compat.v1.AttrValue(type=1)})
    branches = [out * (k + 1.0) for k, out in enumerate(switch.outputs)]
    value, index = control_flow_ops.merge(branches)
    return [value, index]


COUNTS = [dict(n=float(n), x=1.5) for n in (0, 1, 4)]


@case(*COUNTS)
def while_simple():
    n, x = f32("n"), f32("x")
    i, y = v1.while_loop(lambda i, y: i < n, lambda i, y: (i + 1.0, y * 2.0), [0.0, x])
    return [i, y]


@case(*COUNTS)
def while_invariants():
    """What does not change: a constant, an input, a computed tensor; and a variable that nothing needs."""
    n, x = f32("n"), f32("x")
    scale, weights = tf.tanh(x), tf.constant([1.0, 2.0, 3.0])
    read = tf.identity(weights)
    body = lambda i, y, unused: (i + 1.0, y * scale + tf.reduce_sum(read) + x, unused + y)
    return [v1.while_loop(lambda i, y, u: i < n, body, [0.0, x, x])[1]]


@case(*COUNTS)
def while_nested():
    """A loop in a loop that uses the outer one's variable and values from outside of both."""
    n, x = f32("n"), f32("x")

    def body(i, y):
        inner = v1.while_loop(lambda j, z: j <= i, lambda j, z: (j + 1.0, z + y * x + i), [0.0, y])
        return i + 1.0, inner[1]

    return [v1.while_loop(lambda i, y: i < n, body, [0.0, x])[1]]


@case(*COUNTS)
def while_deep():
    n, x = f32("n"), f32("x")

    def loop(depth, y):
        if depth == 0:
            return y * 0.5 + x
        return v1.while_loop(lambda i, z: i < n - 2.0, lambda i, z: (i + 1.0, loop(depth - 1, z) + i), [0.0, y])[1]

    return [loop(3, x)]


@case(*COUNTS)
def cond_in_while():
    n, x = f32("n"), f32("x")

    def body(i, y):
        return i + 1.0, v1.cond(i < 2.0, lambda: y + x, lambda: v1.cond(y > 3.0, lambda: y * i, lambda: y - i))

    return [v1.while_loop(lambda i, y: i < n, body, [0.0, x])[1]]


@case(*COUNTS)
def cond_in_condition():
    n, x = f32("n"), f32("x")
    cond = lambda i, y: v1.cond(i < 2.0, lambda: y < 100.0, lambda: i < n)
    return list(v1.while_loop(cond, lambda i, y: (i + 1.0, y + x), [0.0, x]))


@case(*[dict(p=p, n=3.0, x=1.5) for p in (True, False)])
def while_in_cond():
    p, n, x = flag("p"), f32("n"), f32("x")
    loop = lambda y: v1.while_loop(lambda i, y: i < n, lambda i, y: (i + 1.0, y * x + 1.0), [0.0, y])[1]
    return [v1.cond(p, lambda: loop(x + 1.0), lambda: loop(tf.constant(2.0)) - loop(x))]


@case(*[dict(p=p, n=3.0, x=1.5) for p in (True, False)])
def while_in_cond_in_while():
    p, n, x = flag("p"), f32("n"), f32("x")
    loop = lambda y, last: v1.while_loop(lambda i, y: i < last, lambda i, y: (i + 1.0, y * x + 1.0), [0.0, y])[1]
    body = lambda i, y: (i + 1.0, v1.cond(tf.logical_and(p, i > 0.0), lambda: loop(y, i), lambda: y + i))
    return [v1.while_loop(lambda i, y: i < n, body, [0.0, x])[1]]


@case(*COUNTS)
def while_two():
    """Two loops, the second of which needs the first."""
    n, x = f32("n"), f32("x")
    loop = lambda y: v1.while_loop(lambda i, y: i < n, lambda i, y: (i + 1.0, y * x + 1.0), [0.0, y])[1]
    return [loop(loop(x)), n]


@case(dict(v=[1.0, 2.0, 3.0], x=0.5), dict(v=[4.0], x=0.5))
def tensor_array():
    v, x = f32("v", (None,)), f32("x")
    return [v1.map_fn(lambda e: e * x + 1.0, v), v1.scan(lambda a, e: a * x + e, v)]


@case(*COUNTS)
def while_assert():
    n, x = f32("n"), f32("x")

    def body(i, y):
        with tf.control_dependencies([v1.Assert(y < 1000.0, [y]), v1.assert_less(i, n)]):
            return i + 1.0, y + x

    return [v1.while_loop(lambda i, y: i < n, body, [0.0, x])[1]]


@case(*COUNTS)
def while_without_pivots():
    """Constants of the loop's body that are outside of it, as some converters leave them."""
    n, x = f32("n"), f32("x")
    return [v1.while_loop(lambda i, y: i < n, lambda i, y: (i + 1.0, y * 2.0), [0.0, x])[1]]


@case(*[dict(p=p, n=2.0, x=1.5) for p in (True, False)])
def functions():
    """Control flow in functions of the library."""
    p, n, x = flag("p"), f32("n"), f32("x")

    @function.Defun(tf.bool, tf.float32, tf.float32, func_name="branch_and_loop")
    def branch_and_loop(p, n, x):
        loop = lambda: v1.while_loop(lambda i, y: i < n, lambda i, y: (i + 1.0, y * x), [0.0, x])[1]
        guard = v1.Assert(n < 100.0, [n])
        with tf.control_dependencies([guard]):
            return v1.cond(p, loop, lambda: x + 1.0)

    return [branch_and_loop(p, n, x) + branch_and_loop(p, x, n)]


@case(*COUNTS)
def gradient():
    """The gradient of a loop runs a second one, which takes what the first has put onto stacks."""
    n, x = f32("n"), f32("x")
    y = v1.while_loop(lambda i, y: i < n, lambda i, y: (i + 1.0, y * y * x), [0.0, x])[1]
    return [v1.gradients(y, x)[0]]


def without_pivots(graph_def):
    for node in graph_def.node:
        if node.op == "Const":
            del node.input[:]


def build(name):
    make, runs = CASES[name]
    with tf.Graph().as_default() as graph:
        outputs = make()
        graph_def = graph.as_graph_def()
    outputs = [o.name for o in outputs]
    used = v1.graph_util.extract_sub_graph(graph_def, [o.split(":")[0] for o in outputs])
    # Inputs are asked for by name: they stay although nothing needs them.
    kept = {n.name for n in used.node}
    names = [n.name for n in graph_def.node if n.op == "Placeholder"]
    if missing := [n for n in names if n not in kept]:
        raise SystemExit(f"{name}: {missing} reach no output")
    used.library.CopyFrom(graph_def.library)
    used.versions.Clear()
    used.versions.producer = graph_def.versions.producer
    return used, names, outputs, runs


def run(graph_def, inputs, outputs, runs, names):
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        options = v1.ConfigProto(graph_options=v1.GraphOptions(
            optimizer_options=v1.OptimizerOptions(opt_level=v1.OptimizerOptions.L0)))
        with v1.Session(graph=graph, config=options) as session:
            feeds = lambda values: {tensor: values[name] for tensor, name in zip(inputs, names)}
            return [session.run(outputs, feeds(values)) for values in runs]


def rewritten(program, file, inputs, outputs):
    """What the importer makes of a graph, with its own names of inputs and outputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.pb"
        feeds = [a for n in inputs for a in ("--feed", n)]
        fetches = [a for n in outputs for a in ("--fetch", n)]
        done = subprocess.run([program, file, path, *feeds, *fetches], capture_output=True, text=True)
        if done.returncode:
            return None, done.stderr.strip()
        graph_def = v1.GraphDef.FromString(path.read_bytes())
        return graph_def, json.loads(done.stdout)


def ops(graph_def):
    return [n.op for n in graph_def.node] + [n.op for f in graph_def.library.function for n in f.node_def]


def same(a, b):
    return all(x.dtype == y.dtype and np.array_equal(x, y) for a, b in zip(a, b) for x, y in zip(a, b))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    program = sys.argv[1] if len(sys.argv) > 1 else None
    described, failed = {}, 0
    for name in CASES:
        graph_def, inputs, outputs, runs = build(name)
        expected = run(graph_def, [f"{n}:0" for n in inputs], outputs, runs, inputs)
        if name == "while_without_pivots":
            without_pivots(graph_def)  # TensorFlow itself does not run the result.
        file = OUT / f"{name}.pb"
        file.write_bytes(graph_def.SerializeToString(deterministic=True))
        listed = lambda values: [{"dtype": str(v.dtype), "value": v.tolist()} for v in values]
        described[name] = {
            "inputs": inputs,
            "outputs": outputs,
            "runs": [{"feed": values, "fetch": listed(out)} for values, out in zip(runs, expected)],
        }
        if program:
            new, names = rewritten(program, file, inputs, outputs)
            if new is None:
                verdict = names
            elif left := OLD & set(ops(new)):
                verdict = f"still has {left}"
            else:
                try:
                    got = run(new, names["inputs"], names["outputs"], runs, inputs)
                    verdict = "" if same(got, expected) else f"{got} instead of {expected}"
                except Exception as error:
                    verdict = str(error)[:600]
            count = {op: ops(new).count(op) for op in ("If", "StatelessIf", "While", "StatelessWhile")} if new else {}
            print(f"{name}: {verdict or 'ok'} {({k: n for k, n in count.items() if n})}")
            failed += bool(verdict)
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in described.items()]
    (OUT / "cases.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    if failed:
        raise SystemExit(f"{failed} of {len(CASES)} differ")


if __name__ == "__main__":
    main()
