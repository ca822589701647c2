#!/usr/bin/env python3
"""Writes testdata/ops/nn_cases.json: what TensorFlow's CPU kernels give for reductions, contractions, windows and
neural-network ops, on small inputs.

Each case holds the node's attributes as a graph stores them, its inputs (`const`: the importer sees the value), the
outputs, the gradients of sum(w * output 0) with w as in `weights` where TensorFlow has them, and `symbolic`: the
[input, axis] pairs whose extent the test also imports as a symbol. f64 numbers are rounded to 13 digits.

    python3 tools/gen_op_cases.py        # needs tensorflow 2.21
"""
import inspect, json, os, pathlib, zlib
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

NAMES = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "bool": "bool", "uint8": "u8",
         "int8": "i8", "int16": "i16", "uint16": "u16", "uint64": "u64", "complex64": "c64"}
FLOATS = (tf.float32, tf.float64)
cases = []


def weights(n):
    return ((np.arange(n) * 5) % 11 - 5) / 4


class Data:
    """Inputs of one case, reproducible from its name."""
    def __init__(self, name):
        self.rng = np.random.RandomState(zlib.crc32(name.encode()))

    def normal(self, *shape, dtype="float64"):
        return ("data", np.round(self.rng.normal(size=shape), 2).astype(dtype))

    def distinct(self, *shape, dtype="float64"):
        """No two elements are equal or close."""
        n = int(np.prod(shape))
        return ("data", ((self.rng.permutation(n) - n / 2 + 0.25) / 4).astype(dtype).reshape(shape))

    def positive(self, *shape, dtype="float64"):
        return ("data", np.round(self.rng.uniform(0.5, 2.0, size=shape), 2).astype(dtype))

    def ints(self, low, high, *shape, dtype="int32"):
        return ("data", self.rng.randint(low, high, size=shape).astype(dtype))


def c(value, dtype="int32"):
    return ("const", np.array(value, dtype))


def number(x, dtype):
    return float(str(np.float32(x))) if dtype in (np.float32, np.complex64) else float(f"{x:.13g}")


def tensor(a):
    a = np.asarray(a)
    data = a.reshape(-1)
    if a.dtype == np.complex64:
        data = np.stack([data.real, data.imag], -1).reshape(-1)
    if data.dtype.kind == "f":
        assert np.isfinite(data).all()
        data = [number(x, a.dtype.type) for x in data]
        data = [int(x) if x == int(x) and not (x == 0 and np.signbit(x)) else x for x in data]
    else:
        data = data.tolist()
    return {"dtype": NAMES[a.dtype.name], "shape": list(a.shape), "data": data}


def attr(v):
    kind = v.WhichOneof("value")
    if kind == "type":
        return {"type": NAMES[tf.dtypes.as_dtype(v.type).name]}
    if kind == "s":
        return {"s": v.s.decode()}
    if kind == "list":
        return {"list": list(v.list.i)}
    return {kind: getattr(v, kind)}


def call(op, args, attrs):
    definition = op_def_registry.get(op)
    if any(a.number_attr for a in definition.input_arg):
        return [getattr(tf.raw_ops, op)(**{definition.input_arg[0].name: args}, **attrs)]
    # The Python wrappers name some inputs otherwise than the definition does: take what is no attribute, in order.
    f = getattr(tf.raw_ops, op)
    known = {a.name for a in definition.attr} | {"name"}
    names = [p for p in inspect.signature(f).parameters if p not in known]
    assert len(names) == len(definition.input_arg), (op, names)
    r = f(**dict(zip(names, args)), **attrs)
    return list(r) if isinstance(r, (list, tuple)) else [r]


def stored(op, inputs, attrs):
    with tf.Graph().as_default() as g:
        nodes = [tf.constant(v) if kind == "const" else tf.compat.v1.placeholder(v.dtype, v.shape) for kind, v in inputs]
        call(op, nodes, attrs)
        node = [n for n in g.get_operations() if n.type == op][-1].node_def
    return {k: attr(node.attr[k]) for k in node.attr if not k.startswith("_")}


def case(name, op, inputs, symbolic=(), grad=True, outputs=None, **attrs):
    out = {"name": name, "op": op, "attrs": stored(op, inputs, attrs),
           "inputs": [dict(tensor(v), const=kind == "const") for kind, v in inputs], "symbolic": [list(s) for s in symbolic]}
    values = [tf.constant(v) for _, v in inputs]
    wanted = [kind == "data" and v.dtype in FLOATS for (kind, _), v in zip(inputs, values)]
    with tf.GradientTape() as tape:
        for v, w in zip(values, wanted):
            if w:
                tape.watch(v)
        ys = call(op, values, attrs)
        diff = grad and any(wanted) and ys[0].dtype in FLOATS
        if diff:
            loss = tf.reduce_sum(tf.reshape(ys[0], [-1]) * tf.constant(weights(int(tf.size(ys[0]))), ys[0].dtype))
    out["outputs"] = [tensor(y.numpy()) for y in ys[:outputs]]
    if diff:
        try:
            gs = tape.gradient(loss, [v for v, w in zip(values, wanted) if w])
            gs = iter(gs)
            out["grads"] = [(lambda q: None if q is None else tensor(tf.convert_to_tensor(q).numpy()))(next(gs)) if w else None
                            for w in wanted]
        except (LookupError, tf.errors.OpError) as e:
            print(f"{name}: no gradient: {str(e)[:80]}")
    cases.append(out)


def first(t):
    """A tensor of a table with the channels moved to axis 1."""
    a = np.array(t["data"]).reshape(t["shape"])
    a = np.moveaxis(a, -1, 1)
    data = [int(x) if float(x).is_integer() else float(x) for x in a.reshape(-1)]
    return dict(t, shape=list(a.shape), data=data)


def channels_first(name, of, images):
    """The case `of` in NCHW, which TensorFlow's CPU kernels lack: the same numbers with axes moved. `images`: inputs to move."""
    src = next(k for k in cases if k["name"] == of)
    lists = {k: v for k, v in src["attrs"].items() if "list" in v and k in ("strides", "dilations", "ksize")}
    attrs = dict(src["attrs"], data_format={"s": "NCHW"})
    for k, v in lists.items():
        n, *spatial, ch = v["list"]
        attrs[k] = {"list": [n, ch, *spatial]}
    pads = attrs.get("explicit_paddings", {}).get("list")
    if pads:
        attrs["explicit_paddings"] = {"list": pads[:2] + pads[6:] + pads[2:6]}
    move = lambda ts: [t if t is None or i not in images else first(t) for i, t in enumerate(ts)]
    out = dict(src, name=name, attrs=attrs, inputs=move(src["inputs"]), symbolic=[[i, a] for i, a in src["symbolic"] if a == 0],
               outputs=[first(t) if len(t["shape"]) == 4 else t for t in src["outputs"]])
    # The gradients' weights count elements in row-major order, so they are others.
    out.pop("grads", None)
    cases.append(out)


def reductions():
    for op in ("Sum", "Prod", "Max", "Min", "Mean"):
        for k, (axes, keep) in enumerate([([1], False), ([0, 2], True), ([-1], False), ([0, 1, 2], False), ([], False)]):
            d = Data(f"{op}{k}")
            x = d.distinct(2, 3, 4) if op in ("Max", "Min") else d.normal(2, 3, 4)
            case(f"{op}_{k}", op, [x, c(np.array(axes, np.int32))], symbolic=[[0, 0], [0, 1]], keep_dims=keep)
    case("Sum_f32", "Sum", [Data("a").normal(3, 17, dtype="float32"), c(1)], keep_dims=False)
    case("Sum_wraps", "Sum", [("data", np.array([[100, 100], [-100, -100]], np.int8)), c(1)], keep_dims=False)
    case("Prod_i64", "Prod", [Data("b").ints(-4, 5, 3, 4, dtype="int64"), c([1])], keep_dims=False)
    case("Max_u64", "Max", [("data", np.array([1, 2**63 + 5, 7], np.uint64) % np.uint64(2**63)), c([0])], keep_dims=False)
    case("Min_u8", "Min", [Data("d").ints(0, 256, 3, 5, dtype="uint8"), c([0])], keep_dims=True)
    case("Mean_i32", "Mean", [("data", np.array([[-7, 2, 0], [7, 1, 0]], np.int32)), c([1])], keep_dims=False)
    case("Mean_u8", "Mean", [Data("e").ints(200, 256, 3, 5, dtype="uint8"), c([0, 1])], keep_dims=False)
    case("Sum_empty", "Sum", [("data", np.zeros((2, 0, 3), np.float32)), c([1])], keep_dims=False, grad=False)
    case("Prod_empty", "Prod", [("data", np.zeros((2, 0), np.float32)), c([1])], keep_dims=False, grad=False)
    case("Max_ties", "Max", [("data", np.array([[1., 3, 3], [2, 2, 2]])), c([1])], keep_dims=False)
    case("Min_ties", "Min", [("data", np.array([[1., 1, 3], [2, 2, 2]])), c([1])], keep_dims=True)
    case("Prod_zeros", "Prod", [("data", np.array([[1., 0, 3], [0, 2, 0]])), c([1])], keep_dims=False)
    case("Prod_zeros_outer", "Prod", [("data", np.array([[1., 0, 3], [0, 2, 0.5]])), c([0])], keep_dims=True)
    for op in ("All", "Any"):
        case(op, op, [Data(op).ints(0, 2, 4, 3, dtype="bool"), c([0])], keep_dims=False, symbolic=[[0, 0]])
    case("EuclideanNorm", "EuclideanNorm", [Data("f").normal(2, 5), c([1])], keep_dims=True, grad=False)
    case("L2Loss", "L2Loss", [Data("g").normal(2, 5)], symbolic=[[0, 0]])
    case("AddN", "AddN", [Data(k).normal(2, 3) for k in "xyz"], symbolic=[[0, 0], [1, 0], [2, 0]])
    for op in ("ArgMax", "ArgMin"):
        for out in ("int32", "int64"):
            case(f"{op}_{out}", op, [Data(op).ints(0, 4, 3, 5, 2), c(1)], output_type=out, symbolic=[[0, 0], [0, 1]])
        case(f"{op}_f32", op, [Data(op).distinct(4, 3, dtype="float32"), c(-1)], output_type="int64")
    for op in ("Cumsum", "Cumprod"):
        for ex in (False, True):
            for rev in (False, True):
                x = Data(op).positive(2, 5, 2)
                case(f"{op}_{ex}_{rev}", op, [x, c(1)], exclusive=ex, reverse=rev, symbolic=[[0, 0]])
    case("Cumsum_i32", "Cumsum", [Data("h").ints(-9, 9, 7), c(0)], exclusive=False, reverse=False)
    case("Cumsum_one", "Cumsum", [Data("h").normal(3, 1), c(1)], exclusive=True, reverse=False)
    for k in (0, 1, 3, 6):
        case(f"TopKV2_{k}", "TopKV2", [Data("i").distinct(3, 6), c(k)], sorted=True, symbolic=[[0, 0]], grad=k > 0)
    case("TopKV2_ties", "TopKV2", [Data("j").ints(0, 3, 2, 9), c(4)], sorted=True)


def contractions():
    for ta in (False, True):
        for tb in (False, True):
            d = Data(f"mm{ta}{tb}")
            x, y = d.normal(*((4, 3) if ta else (3, 4))), d.normal(*((5, 4) if tb else (4, 5)))
            case(f"MatMul_{ta}_{tb}", "MatMul", [x, y], transpose_a=ta, transpose_b=tb, symbolic=[[0, 1 if ta else 0]])
    case("MatMul_f32", "MatMul", [Data("k").normal(9, 33, dtype="float32"), Data("l").normal(33, 7, dtype="float32")],
         transpose_a=False, transpose_b=False, symbolic=[[0, 0]])
    case("MatMul_i32", "MatMul", [Data("k").ints(-9, 9, 3, 4), Data("l").ints(-9, 9, 4, 2)], transpose_a=False, transpose_b=False)
    case("MatMul_empty", "MatMul", [("data", np.zeros((2, 0), np.float32)), ("data", np.zeros((0, 3), np.float32))],
         transpose_a=False, transpose_b=False, grad=False)
    shapes = [((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 2)), ((3, 4), (2, 4, 2)), ((1, 3, 4), (1, 4, 2))]
    for k, (a, b) in enumerate(shapes):
        case(f"BatchMatMulV2_{k}", "BatchMatMulV2", [Data(f"m{k}").normal(*a), Data(f"n{k}").normal(*b)], adj_x=False, adj_y=False,
             symbolic=[[0, 0], [1, 0]] if k == 0 else [[0, len(a) - 2]])
    case("BatchMatMul_adj", "BatchMatMul", [Data("o").normal(2, 4, 3), Data("p").normal(2, 5, 4)], adj_x=True, adj_y=True)
    z = lambda n, *s: ("data", (np.round(Data(n).rng.normal(size=s), 1) + 1j * np.round(Data(n + "i").rng.normal(size=s), 1)).astype("complex64"))
    case("BatchMatMulV2_c64_adj", "BatchMatMulV2", [z("q", 2, 4, 3), z("r", 2, 4, 2)], adj_x=True, adj_y=False)
    case("BatchMatMulV3_i32", "BatchMatMulV3", [Data("s").ints(-99, 99, 2, 3, 4, dtype="int8"), Data("t").ints(-99, 99, 2, 4, 2, dtype="int8")],
         Tout="int32", adj_x=False, adj_y=False)
    one = [("ij->ji", (2, 3)), ("ii->i", (3, 3)), ("ii->", (3, 3)), ("ijk->k", (2, 3, 4)), ("...ij->...ji", (2, 3, 4)), ("i->ii", (3,)),
           ("iij->ji", (2, 2, 3)), ("ab...->b...a", (2, 3, 4))]
    for e, s in one:
        case(f"Einsum {e}", "Einsum", [Data(e).normal(*s)], equation=e, symbolic=[[0, len(s) - 1]] if "ii" not in e else [])
    two = [("ij,jk->ik", (2, 3), (3, 4)), ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("abc,cd->abd", (2, 3, 4), (4, 2)),
           ("aecd,abcd->acbe", (1, 3, 2, 2), (1, 4, 2, 2)), ("...ij,...jk->...ik", (2, 1, 3, 4), (3, 4, 2)), ("i,j->ij", (3,), (4,)),
           ("ijk,j->i", (2, 3, 4), (3,)), ("ii,ij->j", (3, 3), (3, 2)), ("ij,ij->", (2, 3), (2, 3)), ("i...,j...->ij...", (2, 3), (4, 1)),
           ("ij,j->iij", (2, 3), (3,))]
    for e, a, b in two:
        case(f"Einsum {e}", "Einsum", [Data(e).normal(*a), Data(e + "2").normal(*b)], equation=e,
             symbolic=[[0, 0]] if e[0] not in ".i" or e.startswith("ij,jk") else [])


def conv(name, x, w, strides=(1, 1), padding="VALID", dilations=(1, 1), pads=(), op="Conv2D", symbolic=((0, 0), (0, 1), (0, 2)), **kw):
    case(name, op, [x, w], strides=[1, *strides, 1], padding=padding, dilations=[1, *dilations, 1],
         explicit_paddings=list(pads), data_format="NHWC", symbolic=symbolic, **kw)


def windows():
    k = 0
    for size in (1, 2, 3):
        for strides in ((1, 1), (2, 2), (1, 3)):
            for padding in ("SAME", "VALID"):
                d, k = Data(f"conv{k}"), k + 1
                conv(f"Conv2D_k{size}_s{strides}_{padding}", d.normal(1, 5, 6, 2), d.normal(size, size, 2, 2), strides, padding)
    d = Data("conv")
    conv("Conv2D_wide", d.normal(2, 4, 4, 5), d.normal(3, 2, 5, 6), padding="SAME")
    conv("Conv2D_dilated", d.normal(1, 7, 6, 2), d.normal(2, 3, 2, 2), dilations=(2, 1), padding="SAME")
    conv("Conv2D_dilated_valid", d.normal(1, 7, 6, 2), d.normal(2, 2, 2, 2), dilations=(3, 2))
    conv("Conv2D_explicit", d.normal(1, 5, 4, 2), d.normal(3, 3, 2, 2), strides=(2, 1), padding="EXPLICIT", pads=[0, 0, 1, 2, 0, 1, 0, 0])
    conv("Conv2D_groups", d.normal(1, 4, 4, 4), d.normal(3, 3, 2, 6), padding="SAME", strides=(2, 2), grad=False)
    conv("Conv2D_f32", d.normal(1, 6, 6, 8, dtype="float32"), d.normal(3, 3, 8, 5, dtype="float32"), padding="SAME")
    conv("Conv2D_no_images", ("data", np.zeros((0, 4, 4, 2))), d.normal(2, 2, 2, 3), grad=False)
    for m, s, p in ((1, 1, "SAME"), (2, 2, "VALID"), (2, 1, "SAME")):
        conv(f"Depthwise_m{m}_s{s}_{p}", d.normal(2, 5, 5, 3), d.normal(3, 2, 3, m), (s, s), p, op="DepthwiseConv2dNative")
    case("Conv3D", "Conv3D", [d.normal(1, 3, 4, 3, 2), d.normal(2, 2, 2, 2, 3)], strides=[1, 1, 2, 1, 1], padding="SAME",
         data_format="NDHWC", dilations=[1] * 5, symbolic=[[0, 0], [0, 2]])
    for s, p, shape in ((2, "SAME", (2, 6, 5, 2)), (2, "VALID", (2, 7, 6, 2)), (1, "SAME", (2, 3, 3, 2)), (3, "VALID", (2, 8, 6, 2))):
        out = tf.nn.conv2d(tf.zeros(shape), tf.zeros((3, 2, 2, 3)), s, p).shape
        case(f"Conv2DBackpropInput_s{s}_{p}", "Conv2DBackpropInput", [c(shape), d.normal(3, 2, 2, 3), d.normal(*out)],
             strides=[1, s, s, 1], padding=p, explicit_paddings=[], data_format="NHWC", dilations=[1] * 4)
    case("Conv2DBackpropFilter", "Conv2DBackpropFilter", [d.normal(2, 5, 5, 2), c([2, 3, 2, 3]), d.normal(2, 3, 3, 3)],
         strides=[1, 2, 2, 1], padding="SAME", explicit_paddings=[], data_format="NHWC", dilations=[1] * 4, symbolic=[[0, 0], [2, 0]])
    case("DepthwiseBackpropInput", "DepthwiseConv2dNativeBackpropInput", [c([2, 5, 5, 2]), d.normal(2, 3, 2, 2), d.normal(2, 3, 3, 4)],
         strides=[1, 2, 2, 1], padding="SAME", explicit_paddings=[], data_format="NHWC", dilations=[1] * 4)
    case("DepthwiseBackpropFilter", "DepthwiseConv2dNativeBackpropFilter", [d.normal(2, 5, 5, 2), c([2, 3, 2, 2]), d.normal(2, 3, 3, 4)],
         strides=[1, 2, 2, 1], padding="SAME", explicit_paddings=[], data_format="NHWC", dilations=[1] * 4)
    spatial = [[0, 0], [0, 1], [0, 2]]
    for op in ("MaxPool", "AvgPool"):
        for size, s, p in ((2, 2, "VALID"), (2, 2, "SAME"), (3, 2, "SAME"), (3, 1, "VALID"), (1, 2, "SAME"), (3, 3, "VALID"), (2, 3, "SAME")):
            kw = {"explicit_paddings": []} if op == "MaxPool" else {}
            case(f"{op}_k{size}_s{s}_{p}", op, [Data(op).distinct(1, 6, 5, 2)], ksize=[1, size, size, 1], strides=[1, s, s, 1],
                 padding=p, data_format="NHWC", symbolic=spatial, **kw)
        case(f"{op}_tiled", op, [Data(op).distinct(2, 4, 6, 2)], ksize=[1, 2, 3, 1], strides=[1, 2, 3, 1], padding="VALID",
             data_format="NHWC", symbolic=[[0, 0]], **kw)
        case(f"{op}3D", f"{op}3D", [Data(op).distinct(1, 4, 4, 3, 2, dtype="float32")], ksize=[1, 2, 2, 2, 1], strides=[1, 2, 1, 2, 1], padding="SAME",
             data_format="NDHWC", symbolic=[[0, 0], [0, 1]])
    ties = ("data", np.array([1., 1, 2, 2, 1, 1, 2, 0, 3, 3, 3, 3, 3, 3, 3, 3]).reshape(1, 4, 4, 1))
    for size, s in ((2, 2), (3, 1), (2, 1)):
        case(f"MaxPool_ties_k{size}_s{s}", "MaxPool", [ties], ksize=[1, size, size, 1], strides=[1, s, s, 1], padding="VALID",
             explicit_paddings=[], data_format="NHWC", symbolic=spatial)
    case("MaxPoolV2", "MaxPoolV2", [Data("v2").distinct(1, 5, 5, 2), c([1, 2, 2, 1]), c([1, 2, 2, 1])], padding="SAME", data_format="NHWC")
    case("MaxPool_channels", "MaxPool", [Data("ch").distinct(1, 2, 2, 6)], ksize=[1, 1, 1, 3], strides=[1, 1, 1, 3], padding="VALID",
         explicit_paddings=[], data_format="NHWC", grad=False)
    case("AvgPoolGrad", "AvgPoolGrad", [c([1, 5, 5, 2]), d.normal(1, 3, 3, 2)], ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME",
         data_format="NHWC")
    x = Data("mpg").distinct(1, 5, 5, 2)
    y = tf.nn.max_pool2d(tf.constant(x[1]), 3, 2, "SAME").numpy()
    case("MaxPoolGrad", "MaxPoolGrad", [x, ("data", y), d.normal(*y.shape)], ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME",
         explicit_paddings=[], data_format="NHWC", grad=False)
    channels_first("Conv2D_NCHW", "Conv2D_explicit", [0])
    channels_first("Conv2D_NCHW_same", "Conv2D_wide", [0])
    channels_first("Depthwise_NCHW", "Depthwise_m2_s2_VALID", [0])
    channels_first("MaxPool_NCHW", "MaxPool_k3_s2_SAME", [0])
    channels_first("AvgPool_NCHW", "AvgPool_k3_s2_SAME", [0])


def networks():
    d = Data("nn")
    x = d.normal(3, 5)
    edge = ("data", np.array([-30., -6.5, -1, -0.0, 0, 1e-3, 0.5, 3, 6, 6.5, 15, 30]))
    for op in ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign"):
        case(op, op, [edge], symbolic=[[0, 0]])
        case(f"{op}_f32", op, [(edge[0], edge[1].astype("float32"))])
    case("LeakyRelu", "LeakyRelu", [edge], alpha=0.25)
    case("ClipByValue", "ClipByValue", [x, ("data", np.float64(-0.5)), ("data", np.float64(0.75))], grad=False)
    case("BiasAdd", "BiasAdd", [d.normal(2, 2, 3, 4), d.normal(4)], data_format="NHWC", symbolic=[[0, 0], [0, 1]])
    case("BiasAdd_NCHW", "BiasAdd", [d.normal(2, 4, 2, 3), d.normal(4)], data_format="NCHW", symbolic=[[0, 0]])
    case("BiasAddV1", "BiasAddV1", [d.normal(2, 4), d.normal(4)], grad=False)
    case("BiasAddGrad", "BiasAddGrad", [d.normal(2, 2, 3, 4)], data_format="NHWC", symbolic=[[0, 0]])
    case("BiasAddGrad_NCHW", "BiasAddGrad", [d.normal(2, 4, 3, 2)], data_format="NCHW")
    for op in ("Softmax", "LogSoftmax"):
        case(op, op, [x], symbolic=[[0, 0], [0, 1]])
        case(f"{op}_large", op, [("data", np.array([[1000., 999, -1000], [0, 0, 0]], np.float32))])
    p = d.positive(3, 5)[1]
    case("CrossEntropy", "SoftmaxCrossEntropyWithLogits", [x, ("data", p / p.sum(-1, keepdims=True))], symbolic=[[0, 0], [1, 0]])
    case("SparseCrossEntropy", "SparseSoftmaxCrossEntropyWithLogits", [x, ("data", np.array([4, 0, 2], np.int32))], symbolic=[[0, 0], [1, 0]])
    image = d.normal(2, 3, 2, 3, dtype="float32")
    vectors = [d.positive(3, dtype="float32"), d.normal(3, dtype="float32"), d.normal(3, dtype="float32"), d.positive(3, dtype="float32")]
    for op in ("FusedBatchNorm", "FusedBatchNormV3"):
        kw = {"exponential_avg_factor": 1.0} if op.endswith("V3") else {}
        case(f"{op}_inference", op, [image, *vectors], epsilon=0.001, data_format="NHWC", is_training=False, outputs=3, symbolic=[[0, 0]], grad=False, **kw)
        case(f"{op}_training", op, [image, *vectors], epsilon=0.001, data_format="NHWC", is_training=True, outputs=5, symbolic=[[0, 0]], **kw)
    case("FusedBatchNormV3_running", "FusedBatchNormV3", [image, *vectors], epsilon=0.001, data_format="NHWC", is_training=True,
         exponential_avg_factor=0.25, outputs=5, grad=False)
    mean, var = image[1].mean((0, 1, 2)), image[1].var((0, 1, 2))
    for training in (True, False):
        case(f"FusedBatchNormGradV3_{training}", "FusedBatchNormGradV3",
             [d.normal(2, 3, 2, 3, dtype="float32"), image, vectors[0], ("data", mean), ("data", var), ("data", np.zeros(0, "float32"))],
             epsilon=0.001, data_format="NHWC", is_training=training, outputs=3, grad=False, symbolic=[[0, 0], [1, 0]])
    channels_first("FusedBatchNormV3_NCHW", "FusedBatchNormV3_training", [0])
    for r in (1, 2):
        case(f"LRN_{r}", "LRN", [d.normal(2, 2, 2, 5, dtype="float32")], depth_radius=r, bias=1.5, alpha=0.3, beta=0.6, symbolic=[[0, 0], [0, 1]])
    g, y = d.normal(12), edge
    for op in ("ReluGrad", "Relu6Grad", "EluGrad", "SeluGrad", "SoftplusGrad", "SoftsignGrad"):
        case(op, op, [g, y], grad=False)
    case("LeakyReluGrad", "LeakyReluGrad", [g, y], alpha=0.25, grad=False)
    for op in ("TanhGrad", "SigmoidGrad", "SqrtGrad", "RsqrtGrad", "InvGrad", "ReciprocalGrad"):
        case(op, op, [d.positive(12), g], grad=False)


def main():
    reductions(); contractions(); windows(); networks()
    path = pathlib.Path(__file__).resolve().parent.parent / "testdata/ops/nn_cases.json"
    path.parent.mkdir(exist_ok=True)
    text = "[\n" + ",\n".join(json.dumps(k, separators=(",", ":"), allow_nan=False) for k in cases) + "\n]\n"
    path.write_text(text)
    print(f"{len(cases)} cases, {len(text)} bytes")


main()
