#!/usr/bin/env python3
"""Writes testdata/import/state: graphs with variables, optimizers, stacks and generators, and TensorFlow's results.

A group is one GraphDef (NAME.pb) in which each case has nodes of its own, and NAME.json, which tells for each case what
to feed, what to fetch and what TensorFlow 2.21 gives; `tol` is the relative error that is allowed, 0 for equal bits.
Cases with `error` must be refused, when they are compiled or when they run.

    python3 tools/gen_state_cases.py [NAME]...       # needs tensorflow 2.21; all groups, or those named
"""
import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

v1, raw = tf.compat.v1, tf.raw_ops
v1.disable_v2_behavior()
OUT = Path(__file__).resolve().parent.parent / "testdata/import/state"
NAMES = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "bool": "bool", "uint8": "u8", "int8": "i8",
         "int16": "i16", "uint16": "u16", "uint32": "u32", "uint64": "u64", "float16": "f16", "bfloat16": "bf16",
         "complex64": "c64", "complex128": "c128"}
GROUPS = {}


def group(f):
    GROUPS[f.__name__] = f
    return f


def tensor(a):
    a = np.asarray(a)
    data = a.reshape(-1)
    if a.dtype.kind == "c":
        data = np.stack([data.real, data.imag], -1).reshape(-1)
    if a.dtype.name in ("float16", "bfloat16"):
        data = data.astype("float32")
    plain = [e if type(e) is not float or np.isfinite(e) else str(e) for e in data.tolist()]
    if a.dtype == np.float32:
        plain = [e if type(e) is str else float(str(np.float32(e))) for e in plain]
    return {"dtype": NAMES[a.dtype.name], "shape": list(a.shape), "data": plain}


class Case:
    """One case: its placeholders and what is fetched, all under one short scope."""
    def __init__(self, scope):
        self.scope, self.feeds, self.count = scope, {}, 0

    def data(self, value, dtype=None):
        """A value that is known at run time only."""
        value = np.asarray(value, dtype)
        # What is fed waits for nothing, so a control edge must not come to a node by way of it.
        with tf.control_dependencies(None):
            p = v1.placeholder(tf.as_dtype(value.dtype), value.shape, "p")
        self.feeds[p] = value
        return p

    def const(self, value, dtype=None):
        with tf.control_dependencies(None):
            return tf.constant(np.asarray(value, dtype))

    def variable(self, value, dtype=None):
        """A resource variable that holds a fed value; also its assignment."""
        value = np.asarray(value, dtype)
        self.count += 1
        t = tf.as_dtype(value.dtype)
        handle = raw.VarHandleOp(dtype=t, shape=value.shape, shared_name=f"{self.scope}{self.count}", name="v")
        return handle, raw.AssignVariableOp(resource=handle, value=self.data(value), name="a")

    def ref(self, value, dtype=None):
        """As `variable`, for a reference variable."""
        value = np.asarray(value, dtype)
        self.count += 1
        t = tf.as_dtype(value.dtype)
        ref = raw.VariableV2(dtype=t, shape=value.shape, shared_name=f"{self.scope}{self.count}", name="v")
        return ref, raw.Assign(ref=ref, value=self.data(value), name="a").op


class Group:
    def __init__(self):
        self.graph, self.cases, self.made = tf.Graph(), {}, []

    def program(self, name, build, tol=0.0, error=None):
        """`build(case)` makes the nodes and returns what to fetch."""
        scope = f"c{len(self.made)}"
        with self.graph.as_default(), tf.name_scope(scope):
            case = Case(scope)
            fetches = build(case)
        self.made.append((name, case, fetches, tol, error))

    def op(self, name, op, operands, tol=0.0, error=None, **attrs):
        """One op with state: `operands` are ("var" | "data" | "const", value). Its results, then its variables."""
        definition = op_def_registry.get(op)

        def build(case):
            args, before, variables = {}, [], []
            for arg, (kind, value) in zip(definition.input_arg, operands):
                if kind == "var":
                    handle, assigned = (case.ref if arg.is_ref else case.variable)(value)
                    before.append(assigned)
                    variables.append((arg, np.asarray(value).dtype, handle))
                    args[arg.name] = handle
                else:
                    args[arg.name] = getattr(case, kind)(value)
            assert len(args) == len(definition.input_arg), name
            with tf.control_dependencies(before):
                done = getattr(raw, op)(**args, **attrs, name="o")
            if isinstance(done, tf.Operation):
                results, done = [], [done]
            else:
                results = done = list(done) if isinstance(done, (list, tuple)) else [done]
            if definition.output_arg and definition.output_arg[0].is_ref:
                results = []
            with tf.control_dependencies(done):
                for arg, dtype, handle in variables:
                    read = raw.Identity(input=handle, name="r") if arg.is_ref else raw.ReadVariableOp(resource=handle, dtype=dtype, name="r")
                    results.append(read)
            return results

        self.program(name, build, tol, error)

    def write(self, name):
        graph_def = self.graph.as_graph_def()
        for node in graph_def.node:
            defaults = {a.name: a.default_value for a in op_def_registry.get(node.op).attr if a.HasField("default_value")}
            for key in [k for k, v in node.attr.items() if k in defaults and v == defaults[k]]:
                del node.attr[key]
        graph_def.versions.Clear()
        graph_def.versions.producer = tf.version.GRAPH_DEF_VERSION
        out = {}
        for case, made, fetches, tol, error in self.made:
            # One session each: variables and generators start anew.
            config = v1.ConfigProto(graph_options=v1.GraphOptions(
                optimizer_options=v1.OptimizerOptions(opt_level=v1.OptimizerOptions.L0)))
            about = {"feed": {p.op.name: tensor(v) for p, v in made.feeds.items()}, "fetch": [t.name for t in fetches]}
            with v1.Session(graph=self.graph, config=config) as session:
                try:
                    values = session.run(fetches, made.feeds)
                except tf.errors.OpError as e:
                    if error is None or error not in str(e):
                        raise
                    out[case] = dict(about, error=error)
                    continue
            if error is not None:
                raise SystemExit(f"{case} must fail, TensorFlow gives {values}")
            out[case] = dict(about, values=[tensor(v) for v in values], tol=tol)
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / f"{name}.pb").write_bytes(graph_def.SerializeToString(deterministic=True))
        lines = [f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'), allow_nan=False)}" for k, v in out.items()]
        (OUT / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
        print(f"{name}: {len(out)} cases, {(OUT / f'{name}.pb').stat().st_size} + {(OUT / f'{name}.json').stat().st_size} bytes")


def some(*shape, dtype="float32", start=-1.3, step=0.37):
    """Numbers of both signs, none of them 0."""
    n = int(np.prod(shape))
    return (((np.arange(n) * 7) % 11) * step + start).astype(dtype).reshape(shape)


# Scalars of the optimizers by their operands' names.
SCALARS = dict(lr=0.1, alpha=0.2, rho=0.9, epsilon=0.01, momentum=0.8, beta1_power=0.81, beta2_power=0.9, beta1=0.9,
               beta2=0.95, beta=0.7, sign_decay=0.6, logbase=1.1, l1=0.05, l2=0.3, l2_shrinkage=0.04, lr_power=-0.5)
SIGNED = {"var", "m", "mom", "mg", "linear", "gradient_accumulator"}
OPTIMIZERS = ["GradientDescent", "Momentum", "KerasMomentum", "Adagrad", "AdagradV2", "AdagradDA", "Adadelta", "Adam",
              "AdamWithAmsgrad", "AdaMax", "AddSign", "PowerSign", "RMSProp", "CenteredRMSProp", "Ftrl", "FtrlV2",
              "ProximalAdagrad", "ProximalGradientDescent"]
FLAGS = {"use_nesterov": True, "update_slots": False, "multiply_linear_by_lr": True}
TOL = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 3e-6, "float64": 1e-13}


def optimizer(g, name, op, shape=(2, 3), dtype="float32", indices=None, scalars={}, known=False, grad=None, tol=None, **attrs):
    definition = op_def_registry.get(op)
    operands = []
    for arg in definition.input_arg:
        if arg.is_ref or arg.type == tf.resource.as_datatype_enum:
            x = some(*shape, dtype=dtype) if arg.name in SIGNED else np.abs(some(*shape, dtype=dtype)) * 0.5 + 0.3
            if arg.name == "ms":  # The variance that CenteredRMSProp takes the root of must be positive.
                x = x + 3
            operands.append(("var", x.astype(dtype)))
        elif arg.name in ("grad", "delta"):
            rows = shape if indices is None else (len(indices), *shape[1:])
            operands.append(("data", some(*rows, dtype=dtype, start=-0.9, step=0.21) if grad is None else np.full(rows, grad, dtype)))
        elif arg.name == "indices":
            operands.append(("const" if known else "data", np.array(indices, attrs.pop("index", "int32"))))
        elif arg.name == "global_step":
            operands.append(("data", np.int64(3)))
        else:
            operands.append(("const" if known else "data", np.array({**SCALARS, **scalars}[arg.name], dtype)))
    g.op(name, op, operands, TOL[dtype] if tol is None else tol, **attrs)


@group
def optimizers(g):
    for base in OPTIMIZERS:
        forms = [f for f in ("ResourceApply", "Apply", "ResourceSparseApply", "SparseApply") if op_def_registry.get(f + base)]
        for form in forms:
            op = form + base
            sparse = "Sparse" in form
            kw = dict(shape=(4, 2), indices=[2, 0]) if sparse else {}
            optimizer(g, op, op, **kw)
            if not form.startswith("Resource"):
                continue
            for a in op_def_registry.get(op).attr:
                if a.name in FLAGS:
                    optimizer(g, f"{op}_{a.name}", op, **kw, **{a.name: FLAGS[a.name]})
            names = {a.name for a in op_def_registry.get(op).input_arg}
            if "l1" in names:
                optimizer(g, f"{op}_no_l1", op, scalars=dict(l1=0.0), **kw)
                optimizer(g, f"{op}_known", op, known=True, **kw)
                optimizer(g, f"{op}_large_l1", op, scalars=dict(l1=0.9), **kw)
            if "lr_power" in names:
                optimizer(g, f"{op}_power", op, scalars=dict(lr_power=-0.7), **kw)
                optimizer(g, f"{op}_power_by_lr", op, scalars=dict(lr_power=-0.7), multiply_linear_by_lr=True, **kw)
            if not sparse:
                optimizer(g, f"{op}_f64", op, dtype="float64", shape=(2,))
            if sparse:
                optimizer(g, f"{op}_again", op, shape=(4, 2), indices=[1, 3, 1, 1, 0, 3])
    for t in ("float16", "bfloat16"):
        for base in ("GradientDescent", "Momentum", "Adam", "Adagrad"):
            optimizer(g, f"{base}_{t}", f"ResourceApply{base}", dtype=t)
    for base in ("GradientDescent", "Adam", "Adagrad", "RMSProp"):
        for value in (np.nan, np.inf):
            optimizer(g, f"{base}_{value}", f"ResourceApply{base}", grad=value, shape=(3,))
    for base in ("Adagrad", "FtrlV2"):
        optimizer(g, f"{base}_again_vector", f"ResourceSparseApply{base}", shape=(4,), indices=[1, 3, 1], index="int64")
        optimizer(g, f"{base}_no_rows", f"ResourceSparseApply{base}", shape=(4, 2), indices=[])
        optimizer(g, f"{base}_empty", f"ResourceApply{base}", shape=(0, 2))
    optimizer(g, "scalar", "ResourceApplyAdam", shape=())
    g.op("complex", "ResourceApplyGradientDescent",
         [("var", np.array([1 + 2j, 3 - 1j], "complex64")), ("data", np.array(0.5 + 0.25j, "complex64")), ("data", np.array([2 - 1j, 1j], "complex64"))], 1e-6)
    g.op("known_again", "ResourceSparseApplyMomentum", [("var", some(4, 2)), ("var", some(4, 2)), ("data", np.float32(0.1)),
         ("data", some(3, 2)), ("const", np.array([1, 3, 1], "int32")), ("data", np.float32(0.8))], 1e-6)
    g.op("outside", "ResourceSparseApplyAdagrad", [("var", some(4, 2)), ("var", some(4, 2)), ("data", np.float32(0.1)),
         ("data", some(2, 2)), ("data", np.array([1, 4], "int32"))], error="out of range")
    g.op("other_shape", "ResourceApplyMomentum", [("var", some(4, 2)), ("var", some(4, 2)), ("data", np.float32(0.1)),
         ("data", some(2)), ("data", np.float32(0.8))], error="same shape")

    def twice(case):
        """Two steps on one variable, in the order of control edges."""
        (var, a), (accum, b) = case.variable(some(3)), case.variable(some(3))
        step = lambda x: raw.ResourceApplyMomentum(var=var, accum=accum, lr=case.data(np.float32(0.1)), grad=x, momentum=case.data(np.float32(0.5)))
        with tf.control_dependencies([a, b]):
            first = step(case.data(some(3)))
        with tf.control_dependencies([first]):
            grad = raw.ReadVariableOp(resource=var, dtype=tf.float32) * 2.0
            second = step(grad)
        with tf.control_dependencies([second]):
            return [raw.ReadVariableOp(resource=var, dtype=tf.float32) + 0.0]
    g.program("twice", twice, 1e-6)


def main():
    for name in sys.argv[1:] or GROUPS:
        g = Group()
        GROUPS[name](g)
        g.write(name)


if __name__ == "__main__":
    main()
