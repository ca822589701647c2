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
            for key in [k for k, v in node.attr.items() if k.startswith("_") or k in defaults and v == defaults[k]]:
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
    g.op("stretched", "ResourceApplyMomentum", [("var", some(4, 2)), ("var", some(4, 2)), ("data", np.float32(0.1)),
         ("data", some(1, 2)), ("data", np.float32(0.8))], error="same shape")
    g.op("fewer_rows", "ResourceSparseApplyAdagrad", [("var", some(4, 2)), ("var", some(4, 2)), ("data", np.float32(0.1)),
         ("data", some(1, 2)), ("data", np.array([1, 3], "int32"))], error="same size")
    g.op("other_shape", "ResourceApplyMomentum", [("var", some(4, 2)), ("var", some(4, 2)), ("data", np.float32(0.1)),
         ("data", some(2)), ("data", np.float32(0.8))], error="same shape")

    def ref_operand(case):
        """The step size is a reference variable too."""
        (var, a), (alpha, b) = case.ref(some(3)), case.ref(np.float32(0.25))
        with tf.control_dependencies([a, b]):
            return [raw.Identity(input=raw.ApplyGradientDescent(var=var, alpha=alpha, delta=case.data(some(3))))]
    g.program("ref_operand", ref_operand, 1e-6)

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


@group
def variables(g):
    """Updates of parts of variables, counters, references."""
    rows, at = some(3, 2), np.array([2, 0, 2], "int32")
    for how in ("Update", "Add", "Sub", "Mul", "Div", "Max", "Min"):
        for prefix in ("ResourceScatter", "Scatter"):
            op = prefix + how
            g.op(op, op, [("var", some(4, 2)), ("data", at), ("data", rows)], 1e-6)
            g.op(f"{op}_scalar", op, [("var", some(4, 2)), ("data", np.array([[2], [0]], "int64")), ("data", np.float32(0.5))], 1e-6)
            if prefix == "ResourceScatter":
                g.op(f"{op}_int", op, [("var", np.array([7, -9, 4], "int32")), ("data", at), ("data", np.array([2, 3, -2], "int32"))])
                g.op(f"{op}_none", op, [("var", some(4, 2)), ("data", np.zeros(0, "int32")), ("data", some(0, 2))])
                g.op(f"{op}_outside", op, [("var", some(2, 2)), ("data", at), ("data", rows)], error="indices")
    for how in ("Update", "Add", "Sub", "Max", "Min"):
        for prefix in ("ResourceScatterNd", "ScatterNd"):
            op = prefix + how
            g.op(op, op, [("var", some(3, 2, 2)), ("data", np.array([[2, 0], [0, 1], [2, 0]], "int32")), ("data", some(3, 2))], 1e-6)
        g.op(f"{op}_elements", op, [("var", np.array([[1, 2], [3, 4]], "int64")), ("data", np.array([[1, 1], [0, 1]], "int64")), ("data", np.array([9, -9], "int64"))])
    g.op("nonaliasing_add", "ScatterNdNonAliasingAdd", [("data", some(4)), ("data", np.array([[3], [3]], "int32")), ("data", some(2))], 1e-6)
    g.op("gather_nd", "ResourceGatherNd", [("var", some(3, 2)), ("data", np.array([[2, 1], [0, 0]], "int32"))], dtype=tf.float32)
    spec = lambda begin, end, strides: [("const", np.array(v, "int32")) for v in (begin, end, strides)]
    for op, kind in (("ResourceStridedSliceAssign", "var"), ("StridedSliceAssign", "var"), ("TensorStridedSliceUpdate", "data")):
        g.op(f"{op}_dense", op, [(kind, some(4, 3)), *spec([1, 0], [3, 2], [1, 1]), ("data", some(2, 2))])
        g.op(f"{op}_masks", op, [(kind, some(4, 3)), *spec([1, 0, 2], [3, 2, 3], [1, 1, 1]), ("data", some(4, 1, 1))], ellipsis_mask=1, new_axis_mask=2, shrink_axis_mask=0)
        g.op(f"{op}_strides", op, [(kind, some(5, 3)), *spec([4, 0], [0, 3], [-2, 2]), ("data", some(2, 2))], begin_mask=1)
        g.op(f"{op}_shrink", op, [(kind, some(4, 3)), *spec([-1, 0], [0, 2], [1, 1]), ("data", some(2))], shrink_axis_mask=1)
        g.op(f"{op}_broadcast", op, [(kind, some(4, 3)), *spec([1, 0], [3, 2], [1, 1]), ("data", np.float32(7))])
        g.op(f"{op}_empty", op, [(kind, some(4, 3)), *spec([3, 0], [1, 2], [1, 1]), ("data", some(0, 2))])
        g.op(f"{op}_index", op, [(kind, some(4, 3)), ("data", np.array([2], "int32")), ("data", np.array([3], "int32")), ("const", np.array([1], "int32")), ("data", some(3))], shrink_axis_mask=1)
    for t in ("int32", "int64"):
        g.op(f"count_{t}", "ResourceCountUpTo", [("var", np.array(3, t))], limit=5, T=tf.as_dtype(t))
        g.op(f"count_ref_{t}", "CountUpTo", [("var", np.array(3, t))], limit=5)
        g.op(f"count_end_{t}", "ResourceCountUpTo", [("var", np.array(5, t))], limit=5, T=tf.as_dtype(t), error="Reached limit")

    def initialized(case):
        var = raw.VarHandleOp(dtype=tf.float32, shape=[], shared_name=case.scope, name="v")
        value = case.data(np.float32(2))
        before = raw.VarIsInitializedOp(resource=var)
        with tf.control_dependencies([before]):
            assigned = raw.AssignVariableOp(resource=var, value=value)
        with tf.control_dependencies([assigned]):
            return [before, raw.VarIsInitializedOp(resource=var), raw.ReadVariableOp(resource=var, dtype=tf.float32)]
    g.program("initialized", initialized)

    def initialize_if_needed(case):
        ref = raw.VariableV2(dtype=tf.float32, shape=[], shared_name=case.scope, name="v")
        has_value = raw.IsVariableInitialized(ref=ref)
        x = case.data(np.float32(2))
        value = v1.cond(has_value, lambda: x, lambda: x + 1.0)
        with tf.control_dependencies([value]):
            assigned = raw.Assign(ref=ref, value=value)
        return [has_value, raw.Identity(input=assigned)]
    g.program("initialize_if_needed", initialize_if_needed)

    def temporary(case):
        ref = raw.TemporaryVariable(shape=[2], dtype=tf.float32, var_name=case.scope)
        first = raw.Assign(ref=ref, value=case.data(some(2)))
        second = raw.AssignAdd(ref=first, value=case.data(some(2)))
        return [raw.DestroyTemporaryVariable(ref=second, var_name=case.scope) * 2.0]
    g.program("temporary", temporary, 1e-6)

    def references(case):
        (a, x), (b, y) = case.ref(some(2)), case.ref(some(2, start=0.5))
        with tf.control_dependencies([x, y]):
            chosen = raw.RefSelect(index=case.const(1, "int32"), inputs=[a, b])
            added = raw.AssignAdd(ref=raw.RefIdentity(input=chosen), value=case.data(some(2)))
            read = raw.RefSelect(index=case.data(0, "int32"), inputs=[a, b])
        with tf.control_dependencies([added]):
            return [raw.Identity(input=b), raw.Identity(input=read)]
    g.program("references", references, 1e-6)

    def switched(case, p):
        """A reference through RefSwitch."""
        ref, assigned = case.ref(some(2))
        with tf.control_dependencies([assigned]):
            no, yes = raw.RefSwitch(data=ref, pred=case.data(p))
        merged, index = raw.Merge(inputs=[raw.Identity(input=no) * 2.0, raw.Identity(input=yes) + 1.0])
        return [merged, index]
    for p in (True, False):
        g.program(f"switched_{p}", lambda case, p=p: switched(case, p), 1e-6)

    def counted(case):
        """A variable that a loop's body changes."""
        var, assigned = case.variable(np.zeros(4, "float32"))
        x, n = case.data(some(2)), case.data(3, "int32")

        def body(i):
            with tf.control_dependencies([raw.ResourceScatterAdd(resource=var, indices=tf.stack([i, 0]), updates=x)]):
                return i + 1
        with tf.control_dependencies([assigned]):
            i = tf.identity(0)
        last = v1.while_loop(lambda i: i < n, body, [i])
        with tf.control_dependencies([last]):
            return [raw.ReadVariableOp(resource=var, dtype=tf.float32), last]
    g.program("counted", counted, 1e-6)


@group
def stacks(g):
    """Stacks with and without bounds, outside of loops and inside."""
    def make(case, bound, dtype=tf.float32):
        return raw.StackV2(max_size=case.const(bound, "int32"), elem_type=dtype)

    def straight(case, bound):
        stack = make(case, bound)
        a = raw.StackPushV2(handle=stack, elem=case.data(some(2)))
        with tf.control_dependencies([a]):
            b = raw.StackPushV2(handle=stack, elem=a * 2.0, swap_memory=True)
        with tf.control_dependencies([b]):
            x = raw.StackPopV2(handle=stack, elem_type=tf.float32)
        with tf.control_dependencies([x]):
            y = raw.StackPopV2(handle=stack, elem_type=tf.float32)
        with tf.control_dependencies([y]):
            closed = raw.StackCloseV2(handle=stack)
        with tf.control_dependencies([closed]):
            return [tf.identity(x), tf.identity(y), tf.identity(b)]

    def reference(case):
        stack = raw.Stack(elem_type=tf.int32)
        a = raw.StackPush(handle=stack, elem=case.data(5, "int32"))
        with tf.control_dependencies([a]):
            x = raw.StackPop(handle=stack, elem_type=tf.int32)
        with tf.control_dependencies([x]):
            closed = raw.StackClose(handle=stack)
        with tf.control_dependencies([closed]):
            return [tf.identity(x)]

    def looped(case, bound, n):
        """One loop pushes, another one pops."""
        stack, x, n = make(case, bound), case.data(some(2)), case.data(n, "int32")

        def push(i):
            with tf.control_dependencies([raw.StackPushV2(handle=stack, elem=x * tf.cast(i, tf.float32))]):
                return i + 1
        pushed = v1.while_loop(lambda i: i < n, push, [0])

        def pop(i, sum):
            return i - 1, sum * 0.5 + tf.ensure_shape(raw.StackPopV2(handle=stack, elem_type=tf.float32), [2])
        return [pushed, *v1.while_loop(lambda i, s: i > 0, pop, [pushed, tf.zeros_like(x)])]

    def branched(case, p):
        stack, x = make(case, 4), case.data(some(2))
        first = raw.StackPushV2(handle=stack, elem=x)

        def more():
            return raw.StackPushV2(handle=stack, elem=x + 1.0)
        with tf.control_dependencies([first]):
            x = tf.identity(x)
            done = v1.cond(case.data(p), more, lambda: x)
        with tf.control_dependencies([done]):
            return [raw.StackPopV2(handle=stack, elem_type=tf.float32)]

    def overflow(case, bound):
        stack = make(case, bound)
        a = raw.StackPushV2(handle=stack, elem=case.data(some(2)))
        with tf.control_dependencies([a]):
            b = raw.StackPushV2(handle=stack, elem=a)
        with tf.control_dependencies([b]):
            return [raw.StackPopV2(handle=stack, elem_type=tf.float32)]

    def underflow(case, bound):
        stack = make(case, bound)
        a = raw.StackPushV2(handle=stack, elem=case.data(some(2)))
        with tf.control_dependencies([a]):
            b = raw.StackPopV2(handle=stack, elem_type=tf.float32)
        with tf.control_dependencies([b]):
            return [raw.StackPopV2(handle=stack, elem_type=tf.float32)]

    for bound in (2, -1, 10**6):
        g.program(f"straight_{bound}", lambda case, bound=bound: straight(case, bound), 1e-6)
    g.program("reference", reference)
    for bound in (8, -1):
        for n in (0, 1, 5):
            g.program(f"looped_{bound}_{n}", lambda case, bound=bound, n=n: looped(case, bound, n), 1e-6)
        g.program(f"underflow_{bound}", lambda case, bound=bound: underflow(case, bound), error="is empty")
    for p in (True, False):
        g.program(f"branched_{p}", lambda case, p=p: branched(case, p), 1e-6)
    for bound in (0, 1):
        g.program(f"overflow_{bound}", lambda case, bound=bound: overflow(case, bound), error="overflowed")
    g.program("loop_overflow", lambda case: looped(case, 2, 5), error="overflowed")

    def gradient(case, n, iterations):
        """The gradient of a loop, which keeps what it needs on stacks."""
        x, n = case.data(some(2)), case.data(n, "int32")
        y = v1.while_loop(lambda i, y: i < n, lambda i, y: [i + 1, tf.tanh(y * y * x)], [0, x], maximum_iterations=iterations)[1]
        return [y, v1.gradients(y, x)[0]]
    for n in (0, 1, 4):
        g.program(f"gradient_{n}", lambda case, n=n: gradient(case, n, None), 1e-5)
    g.program("gradient_bounded", lambda case: gradient(case, 3, 5), 1e-5)


@group
def generators(g):
    """Generators whose state is a variable."""
    state = np.array([-2, 5, 0x123456789abcdef], "int64")  # The counter's low half is about to overflow.
    shape = lambda *s: ("const", np.array(s, "int64"))
    alg = ("const", np.array(1, "int64"))
    for t in ("float16", "bfloat16", "float32", "float64"):
        for op in ("StatefulUniform", "StatefulStandardNormalV2", "StatefulTruncatedNormal"):
            tol = 0.0 if op == "StatefulUniform" else {"float16": 1e-3, "bfloat16": 8e-3, "float32": 3e-7, "float64": 1e-15}[t]
            g.op(f"{op}_{t}", op, [("var", state), alg, shape(3, 3)], tol, dtype=tf.as_dtype(t))
    for t in ("int32", "int64", "uint32", "uint64"):
        g.op(f"full_{t}", "StatefulUniformFullInt", [("var", state), alg, shape(5)], dtype=tf.as_dtype(t))
        if t.startswith("int"):
            g.op(f"int_{t}", "StatefulUniformInt", [("var", state), alg, shape(2, 3), ("data", np.array(3, t)), ("data", np.array(1000, t))])
    g.op("empty", "StatefulUniform", [("var", state), alg, shape(0, 3)], dtype=tf.float32)
    g.op("long_state", "StatefulUniform", [("var", np.array([*state, 9, 9], "int64")), alg, shape(3)], dtype=tf.float32)
    g.op("skip", "RngSkip", [("var", state), alg, ("data", np.array(7, "int64"))])
    g.op("read_and_skip", "RngReadAndSkip", [("var", state), ("const", np.array(1, "int32")), ("data", np.array(2**40, "uint64"))])
    g.op("read_and_skip_auto", "RngReadAndSkip", [("var", state), ("const", np.array(3, "int32")), ("data", np.array(9, "uint64"))])
    g.op("threefry", "StatefulUniform", [("var", state), ("const", np.array(2, "int64")), shape(3)], dtype=tf.float32, error="lgorithm")
    g.op("short_state", "StatefulUniform", [("var", state[:2]), alg, shape(3)], dtype=tf.float32, error="state")
    g.op("empty_range", "StatefulUniformInt", [("var", state), alg, shape(3), ("data", np.array(3, "int32")), ("data", np.array(3, "int32"))], error="minval < maxval")

    def binomial(case):
        """TensorFlow's kernel leaves a state alone whose buffer is shared, as with a value just assigned: it is added to."""
        var, assigned = case.variable(state)
        with tf.control_dependencies([assigned]):
            own = raw.AssignAddVariableOp(resource=var, value=case.data(np.array([1, 1, 1], "int64")))
        with tf.control_dependencies([own]):
            drawn = raw.StatefulRandomBinomial(resource=var, algorithm=case.const(1, "int64"), shape=case.const([7, 3], "int32"),
                                               counts=case.data([10.0, 200.0, 30.0]), probs=case.data(0.5), dtype=tf.int64)
        with tf.control_dependencies([drawn]):
            return [drawn, raw.ReadVariableOp(resource=var, dtype=tf.int64)]
    g.program("binomial", binomial)

    def twice(case):
        var, assigned = case.variable(state)
        draw = lambda: raw.StatefulUniform(resource=var, algorithm=case.const(1, "int64"), shape=case.const([3], "int64"), dtype=tf.float32)
        with tf.control_dependencies([assigned]):
            first = draw()
        with tf.control_dependencies([first]):
            return [first, draw()]
    g.program("twice", twice)

    def looped(case):
        """A generator in a loop's body."""
        var, assigned = case.variable(state)
        with tf.control_dependencies([assigned]):
            start = tf.identity(0)

        def body(i, sum):
            sample = raw.StatefulUniform(resource=var, algorithm=np.int64(1), shape=np.array([2], "int64"), dtype=tf.float32)
            return i + 1, sum * 0.5 + tf.ensure_shape(sample, [2])
        return [v1.while_loop(lambda i, s: i < 4, body, [start, tf.zeros([2])], parallel_iterations=1)[1]]
    g.program("looped", looped, 1e-6)


@group
def arrays(g):
    """Gradients through TensorArrays, outside of loops and inside."""
    def straight(case):
        x = case.data(some(3, 2))
        a = tf.TensorArray(tf.float32, 3).unstack(x)
        y = a.read(0) * a.read(1) + a.read(2)
        b = tf.TensorArray(tf.float32, 2, element_shape=[2]).write(0, y).write(1, tf.sin(y))
        return [v1.gradients(b.stack(), [x])[0]]

    def gathered(case):
        """Some elements of the array are not read."""
        x = case.data(some(4, 2))
        a = tf.TensorArray(tf.float32, 4).unstack(x)
        return [v1.gradients(tf.exp(a.gather([2, 0])), [x])[0]]

    def mapped(case):
        x, w = case.data(some(3, 2)), case.data(some(2))
        y = v1.map_fn(lambda e: tf.tanh(e * w), x)
        return [y, *v1.gradients(y, [x, w])]

    def scanned(case):
        x, w = case.data(some(4, 2)), case.data(some(2))
        y = v1.scan(lambda a, e: tf.tanh(a * w + e), x)
        return [y, *v1.gradients(y, [x, w])]
    for f in (straight, gathered, mapped, scanned):
        g.program(f.__name__, f, 1e-5)


def main():
    for name in sys.argv[1:] or GROUPS:
        g = Group()
        GROUPS[name](g)
        g.write(name)


if __name__ == "__main__":
    main()
