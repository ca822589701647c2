"""Frozen graphs that are about operations: special values, every float width, dynamic shapes.

Each graph is a dict of inputs and a function that yields named outputs. Feeds that would make a
subnormal result in some output are left out where an input is a plain list of values (`lanes`):
TensorFlow's CPU session may flush those, so its output is no reference for them. bfloat16 does not
exist in .npz files: those graphs take f32, cast, compute in bfloat16 and cast back.
"""
import numpy as np
import tensorflow as tf

from .common import eighths, quiet_session_config
from .tf1_graphs import frozen_spec, weight

v1 = tf.compat.v1
raw = tf.raw_ops


def graph_model(inputs, body, cases, **extra):
    """inputs: name -> (dtype, shape or None for an unknown rank); body(**tensors) -> name -> tensor."""

    def write(folder, rng):
        with tf.Graph().as_default() as graph:
            placeholders = {n: v1.placeholder(d, s, name=n) for n, (d, s) in inputs.items()}
            with tf.name_scope("body"):  # node names ignore case: the outputs' names must stay free
                outputs = body(**placeholders)
            for name, tensor in outputs.items():
                tf.identity(tensor, name=name)
            graph_def = graph.as_graph_def()
        (folder / "graph.pb").write_bytes(graph_def.SerializeToString(deterministic=True))
        spec = frozen_spec(graph, "graph.pb", list(inputs), list(outputs), cases(rng), kind="operations", **extra)
        if extra.get("lanes"):
            spec["cases"] = {k: without_subnormals(graph, spec, feeds) for k, feeds in spec["cases"].items()}
        return spec

    return write


def without_subnormals(graph, spec, feeds):
    """Drop the lanes of 1-D feeds in which any output is subnormal."""
    with v1.Session(graph=graph, config=quiet_session_config()) as session:
        names = list(spec["outputs"])
        values = session.run([f"{n}:0" for n in names], {f"{k}:0": v for k, v in feeds.items()})
    keep = np.ones(len(next(iter(feeds.values()))), bool)
    for value in values:
        if value.dtype.kind == "f":
            a = np.abs(value.astype(np.float64))
            keep &= ~((a > 0) & (a < 1.02 * np.finfo(value.dtype).tiny))
    return {k: v[keep] for k, v in feeds.items()}


# --- pointwise -----------------------------------------------------------------------------------

UNARY = ["Abs", "Neg", "Sign", "Sqrt", "Rsqrt", "Square", "Reciprocal", "Exp", "Expm1", "Log", "Log1p", "Tanh", "Sigmoid",
         "Sin", "Cos", "Erf", "Floor", "Ceil", "Rint", "Round"]
FEATURES = ["Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign", "LeakyRelu"]
BINARY = ["AddV2", "Sub", "Mul", "RealDiv", "DivNoNan", "Maximum", "Minimum", "SquaredDifference", "FloorDiv", "FloorMod"]
# What TensorFlow's CPU has no kernel for.
NO_KERNEL = {"float16": {"Rint"}, "bfloat16": {"Rint"}}
COMPARE = ["Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"]


def pointwise_body(compute, io):
    def body(x, y):
        x, y = (t if compute == io else tf.cast(t, compute) for t in (x, y))
        missing = NO_KERNEL.get(compute, set())
        out = {n.lower(): getattr(raw, n)(x=x) for n in UNARY if n not in missing}
        out |= {n.lower(): getattr(raw, n)(features=x) for n in FEATURES if n not in missing}
        out |= {n.lower(): getattr(raw, n)(x=x, y=y) for n in BINARY if n not in missing}
        out |= {n.lower(): getattr(raw, n)(x=x, y=y) for n in COMPARE}
        out |= {n.lower(): getattr(raw, n)(x=x) for n in ("IsNan", "IsInf", "IsFinite")}
        out["pow"] = raw.Pow(x=raw.Abs(x=x), y=y)
        out["select"] = raw.SelectV2(condition=raw.Less(x=x, y=y), t=x, e=raw.Neg(x=y))
        out["clip"] = raw.ClipByValue(t=x, clip_value_min=tf.constant(-1.5, compute), clip_value_max=tf.constant(2.0, compute))
        out["chain"] = raw.Mul(x=raw.Tanh(x=raw.AddV2(x=x, y=y)), y=tf.constant(0.5, compute))
        return out if compute == io else {k: v if v.dtype == tf.bool else tf.cast(v, io) for k, v in out.items()}

    return body


def pairs(dtype, top, big, with_empty):
    """All pairs of values with every kind of special one; `top` bounds exp's argument, `big` nears the dtype's range."""
    values = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.25, -3.0, 0.125, -7.0, 6.0, top, -top, big, -big, np.inf, -np.inf, np.nan]
    x, y = np.meshgrid(np.array(values, dtype), np.array(values, dtype), indexing="ij")
    cases = {"all_pairs": {"x": x.ravel(), "y": y.ravel()}}
    return cases | ({"empty": {"x": np.zeros(0, dtype), "y": np.zeros(0, dtype)}} if with_empty else {})


def pointwise(compute, top, big, io=None):
    io = io or compute
    return graph_model({"x": (io, [None]), "y": (io, [None])}, pointwise_body(compute, io), lambda rng: pairs(io, top, big, compute == "float32"), lanes=True,
                       notes="special values; results that would be subnormal are left out")


def integers_body(**t):
    out = {}
    for d in ("int8", "int16", "int32", "int64", "uint8"):
        x, y = tf.cast(t["x"], d), tf.cast(t["y"], d)
        shift = raw.Mod(x=y, y=tf.constant(7, d)) if d in ("int32", "int64") else tf.cast(raw.FloorMod(x=t["y"], y=5), d)
        shift = raw.Maximum(x=shift, y=tf.constant(0, d))
        ops = {"add": raw.AddV2(x=x, y=y), "sub": raw.Sub(x=x, y=y), "mul": raw.Mul(x=x, y=y), "floordiv": raw.FloorDiv(x=x, y=y),
               "and": raw.BitwiseAnd(x=x, y=y), "or": raw.BitwiseOr(x=x, y=y), "xor": raw.BitwiseXor(x=x, y=y), "not": raw.Invert(x=x),
               "shl": raw.LeftShift(x=x, y=shift), "shr": raw.RightShift(x=x, y=shift), "max": raw.Maximum(x=x, y=y),
               "min": raw.Minimum(x=x, y=y), "less": raw.Less(x=x, y=y), "eq": raw.Equal(x=x, y=y), "to_f32": tf.cast(x, "float32")}
        if d in ("int32", "int64"):
            ops |= {"floormod": raw.FloorMod(x=x, y=y), "truncmod": raw.TruncateMod(x=x, y=y), "truncdiv": raw.TruncateDiv(x=x, y=y),
                    "abs": raw.Abs(x=x), "neg": raw.Neg(x=x), "sign": raw.Sign(x=x), "square": raw.Square(x=x)}
        out |= {f"{d}_{k}": v for k, v in ops.items()}
    return out


def integer_pairs(rng):
    """Divisors are non-zero in every width. Sums and products wrap."""
    values = np.array([0, 1, -1, 2, -3, 7, -7, 100, 127, -128, 32767, -32767, 65535, 2**31 - 1, -(2**31) + 1], "int64")
    x, y = (g.ravel() for g in np.meshgrid(values, values, indexing="ij"))
    keep = np.all([y.astype(d) != 0 for d in ("int8", "int16", "int32", "uint8")], 0)
    # The lowest integer divided by -1 has no portable result in TensorFlow's kernels.
    keep &= np.all([~((x.astype(d) == np.iinfo(d).min) & (y.astype(d) == -1)) for d in ("int8", "int16", "int32")], 0)
    return {"pairs": {"x": x[keep], "y": y[keep]}}


WIDTHS = ("float16", "bfloat16", "float32", "float64")


def casts_body(x, i):
    """Every float width to every other (bfloat16 passes through f32 at the graph's edge), to and from integers and bool."""
    visible = lambda t: tf.cast(t, "float32") if t.dtype == tf.bfloat16 else t
    out = {f"{a}_to_{b}": visible(tf.cast(tf.cast(x, a), b)) for a in WIDTHS for b in WIDTHS if a != b}
    small = raw.ClipByValue(t=x, clip_value_min=tf.constant(0.0, "float64"), clip_value_max=tf.constant(100.0, "float64"))
    small = raw.SelectV2(condition=raw.IsNan(x=x), t=tf.constant(3.75, "float64"), e=small)
    for a in WIDTHS:
        out |= {f"{a}_to_{b}": tf.cast(tf.cast(small, a), b) for b in ("int8", "uint8", "int16", "int32", "int64")}
        out[f"{a}_to_bool"] = tf.cast(tf.cast(x, a), "bool")
        out[f"int32_to_{a}"] = visible(tf.cast(i, a))
    out |= {f"int32_to_{b}": tf.cast(i, b) for b in ("int8", "uint8", "int16", "int64", "bool")}
    return out


def cast_cases(rng):
    x = np.array([0.0, -0.0, 1.0, -1.0, 0.1, -0.3, 1 / 3, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-24, 1 + 3 * 2**-24, 99.5, 2.5,
                  3.5, 65504.0, 65519.0, 65520.0, 1e5, 1e10, 3.3e38, 3.39e38, 3.5e38, 1e300, 2.0**-14, 1e-4, np.inf, -np.inf, np.nan], "float64")
    i = rng.integers(-(2**31), 2**31, len(x)).astype("int32")
    i[:6] = [0, -1, 127, 128, 2**24 + 1, 2**31 - 1]
    return {"values": {"x": x, "i": i}}


# --- reductions ----------------------------------------------------------------------------------


def reductions_body(compute, io):
    def body(x):
        x = x if compute == io else tf.cast(x, compute)
        out = {}
        for name, op in {"sum": raw.Sum, "mean": raw.Mean, "max": raw.Max, "min": raw.Min, "prod": raw.Prod}.items():
            for tag, axis, keep in [("last", [-1], False), ("first_keep", [0], True), ("inner_two", [1, 2], False), ("all", [0, 1, 2], False), ("none", [], False)]:
                out[f"{name}_{tag}"] = op(input=x, axis=tf.constant(axis, "int32"), keep_dims=keep)
        out["softmax"], out["log_softmax"] = raw.Softmax(logits=x), raw.LogSoftmax(logits=x)
        out["cumsum"] = raw.Cumsum(x=x, axis=tf.constant(1), exclusive=True, reverse=True)
        out["sumsq"] = raw.L2Loss(t=x)
        out["logsumexp"] = tf.reduce_logsumexp(x, axis=-1)
        mean, variance = tf.nn.moments(x, axes=[1, 2], keepdims=True)
        out["normalised"] = (x - mean) * tf.math.rsqrt(variance + tf.constant(1e-3, compute))
        if compute == io:
            return out | {"argmax": raw.ArgMax(input=x, dimension=tf.constant(-1)), "argmin": raw.ArgMin(input=x, dimension=tf.constant(1), output_type=tf.int32),
                          "any": raw.Any(input=raw.Greater(x=x, y=tf.constant(1.5, compute)), axis=tf.constant([1])),
                          "every": raw.All(input=raw.Greater(x=x, y=tf.constant(-1.5, compute)), axis=tf.constant([0, 2]))}
        return {k: tf.cast(v, io) for k, v in out.items()}

    return body


def reduction_cases(dtype, all_batches):
    def cases(rng):
        x = eighths(rng, (3, 4, 5), dtype)
        y = x.copy()
        y[0, 1, 2], y[1, 0, 0], y[2, 3, 4] = np.inf, -np.inf, np.nan
        return {"b3": {"x": x}, "specials": {"x": y}} | ({"b1": {"x": x[:1]}} if all_batches else {})

    return cases


def reductions(compute, io=None):
    return graph_model({"x": (io or compute, [None, 4, 5])}, reductions_body(compute, io or compute), reduction_cases(io or compute, compute == "float32"))


def empty_body(x):
    """Reductions over an axis of length 0: the neutral element, NaN for a mean; and reductions that keep an empty axis."""
    ops = {"sum": raw.Sum, "mean": raw.Mean, "max": raw.Max, "min": raw.Min, "prod": raw.Prod}
    out = {f"{n}_{a}": op(input=x, axis=tf.constant([a])) for n, op in ops.items() for a in (0, 1)}
    return out | {"matmul": raw.MatMul(a=x, b=x, transpose_a=True), "concat": tf.concat([x, x[:, :1]], 1), "relu": raw.Relu(features=x), "softmax": raw.Softmax(logits=x)}


# --- shapes --------------------------------------------------------------------------------------


def shapes_body(x, n):
    """Shape arithmetic at run time: Shape, StridedSlice, Pack, Prod, Range, Fill and the operations that take their results."""
    shape = tf.shape(x)
    b, h, w, c = (shape[k] for k in range(4))
    out = {
        "flat": tf.reshape(x, tf.stack([b, -1])),
        "merged": tf.reshape(x, [b * h, w, c]),
        "tail": tf.reshape(x, tf.concat([[-1], shape[2:]], 0)),
        "heads": tf.transpose(tf.reshape(x, [b, h * w, 2, c // 2]), [0, 2, 1, 3]),
        "tiled": tf.tile(x[:, :1, :1, :], tf.stack([1, h, 2, 1])),
        "broadcast": tf.broadcast_to(x[:, :, :1, :1], shape),
        "filled": tf.fill(tf.stack([b, n]), 2.5),
        "range": tf.range(n, n + b * 3, 2),
        "added": x + tf.cast(tf.reshape(tf.range(c), [c]), x.dtype),
        "crop": tf.slice(x, tf.stack([0, 1, 0, 0]), tf.stack([-1, h - 2, w - 1, c])),
        "strided": x[:, 1:-1:2, ::-1, tf.newaxis, ..., 0],
        "ellipsis": x[..., 1:3],
        "last_row": x[:, -1],
        "pad": tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]], constant_values=-1.5),
        "mirror": tf.pad(x, [[0, 0], [1, 1], [2, 2], [0, 0]], "REFLECT"),
        "symmetric": tf.pad(x, [[0, 0], [1, 1], [0, 2], [0, 0]], "SYMMETRIC"),
        "reverse": tf.reverse(x, [1, -1]),
        "expand": tf.expand_dims(tf.squeeze(x[:, :1], [1]), -2),
        "gather": tf.gather(x, tf.stack([n % h, 0]), axis=1),
        "gather_nd": tf.gather_nd(x, tf.stack([tf.range(b), tf.zeros_like(tf.range(b)), tf.fill([b], n % w)], 1)),
        "one_hot": tf.one_hot(tf.range(b) % 3, n, on_value=2.0, off_value=-1.0),
        "depth_space": tf.nn.space_to_depth(x[:, :4, :4], 2),
        "rank": tf.rank(x) + n,
        "size": tf.size(x),
        "shape64": tf.shape(x, out_type=tf.int64),
        "zeros": tf.zeros_like(x),
        "ones": tf.ones_like(x),
    }
    parts = tf.split(x, [1, 2, -1], axis=3)
    out |= {f"part{k}": p for k, p in enumerate(parts)} | {f"row{k}": r for k, r in enumerate(tf.unstack(x[:, :2], 2, axis=1))}
    out["halves"] = tf.concat(tf.split(x, 2, axis=2)[::-1], 2)
    return out


def unknown_rank_body(x):
    """An input of unknown rank: flattened by its own size, rows by the first dimension, elementwise."""
    return {"flat": tf.reshape(x, [-1]), "rows": tf.reshape(x, [tf.shape(x)[0], -1]), "doubled": x * 2.0 + 0.5, "shape": tf.shape(x)}


# --- contractions and windows --------------------------------------------------------------------


def matmuls_body(compute, io):
    def body(a, b, s):
        a, b, s = (t if compute == io else tf.cast(t, compute) for t in (a, b, s))
        w = tf.constant(weight(np.random.default_rng(3), 5, 6), compute)
        out = {"plain": raw.MatMul(a=a[0], b=w), "ta": raw.MatMul(a=tf.transpose(a[0]), b=w, transpose_a=True),
               "tb": raw.MatMul(a=a[0], b=tf.transpose(w), transpose_b=True), "bias": tf.nn.bias_add(raw.MatMul(a=a[0], b=w), tf.constant([0.5, -1, 2, 0, 1, 3], compute)),
               "batch": raw.BatchMatMulV2(x=a, y=b), "batch_adj": raw.BatchMatMulV2(x=b, y=a, adj_x=True, adj_y=True),
               "broadcast": raw.BatchMatMulV2(x=s, y=a), "einsum_heads": tf.einsum("bij,bjk->bki", a, b), "einsum_outer": tf.einsum("bi,bj->bij", a[:, 0], b[:, 0]),
               "einsum_reduce": tf.einsum("bij->i", a), "einsum_diag": tf.einsum("bij,bij->b", a, a)}
        return out if compute == io else {k: tf.cast(v, io) for k, v in out.items()}

    return body


def matmuls(compute, io=None):
    io = io or compute
    feeds = lambda rng, n: {"a": eighths(rng, (n, 4, 5), io), "b": eighths(rng, (n, 5, 3), io), "s": eighths(rng, (2, 1, 3, 4), io)}
    return graph_model({"a": (io, [None, 4, 5]), "b": (io, [None, 5, 3]), "s": (io, [2, 1, 3, 4])}, matmuls_body(compute, io),
                       lambda rng: {f"b{n}": feeds(rng, n) for n in (1, 3)})


def windows_body(x):
    rng = np.random.default_rng(5)
    k3, k22, dw = weight(rng, 3, 3, 4, 6), weight(rng, 2, 2, 4, 6), weight(rng, 3, 3, 4, 2)
    nhwc = dict(data_format="NHWC")
    out = {
        "same": tf.nn.conv2d(x, k3, 1, "SAME"), "same_s2": tf.nn.conv2d(x, k3, 2, "SAME"), "valid_s23": tf.nn.conv2d(x, k3, [1, 2, 3, 1], "VALID"),
        "even_same": tf.nn.conv2d(x, k22, 1, "SAME"), "dilated": tf.nn.conv2d(x, k3, 1, "SAME", dilations=2),
        "explicit": tf.nn.conv2d(x, k3, 2, [[0, 0], [2, 1], [0, 3], [0, 0]]), "grouped": tf.nn.conv2d(x, k3[:, :, :2], 1, "VALID"),
        "depthwise": raw.DepthwiseConv2dNative(input=x, filter=dw, strides=[1, 1, 1, 1], padding="SAME"),
        "depthwise_s2": raw.DepthwiseConv2dNative(input=x, filter=dw, strides=[1, 2, 2, 1], padding="VALID"),
        "transposed": tf.nn.conv2d_transpose(x, k3.transpose(0, 1, 3, 2), tf.stack([tf.shape(x)[0], 2 * tf.shape(x)[1], 2 * tf.shape(x)[2], 6]), 2, "SAME"),
        "max_same": tf.nn.max_pool2d(x, 3, 2, "SAME"), "max_valid": tf.nn.max_pool2d(x, 2, 2, "VALID"), "avg_same": tf.nn.avg_pool2d(x, 3, 2, "SAME"),
        "avg_valid": tf.nn.avg_pool2d(x, [2, 3], 1, "VALID"), "lrn": tf.nn.lrn(x, 2, 1.0, 0.5, 0.75),
        "nearest": raw.ResizeNearestNeighbor(images=x, size=tf.shape(x)[1:3] * 2, half_pixel_centers=True),
        "bilinear": raw.ResizeBilinear(images=x, size=tf.constant([10, 5]), half_pixel_centers=True),
        "bilinear_corners": raw.ResizeBilinear(images=x, size=tf.constant([9, 11]), align_corners=True),
        "conv1d": tf.nn.conv1d(x[:, 0], k3[0], 1, "SAME"), "conv3d": tf.nn.conv3d(x[..., tf.newaxis], weight(rng, 2, 3, 2, 1, 2), [1] * 5, "SAME"),
    }
    scale, offset, mean = (weight(rng, 4, 1)[:, 0] for _ in range(3))
    out["batch_norm"] = raw.FusedBatchNormV3(x=x, scale=scale, offset=offset, mean=mean, variance=np.square(scale) + 0.5, epsilon=1e-3, is_training=False, **nhwc).y
    out["batch_norm_training"] = raw.FusedBatchNormV3(x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=1e-3, is_training=True, **nhwc).y
    out["fused_like"] = tf.nn.relu6(tf.nn.bias_add(tf.nn.conv2d(x, k3, 1, "SAME"), tf.constant([0.5, -1, 2, 0, 1, 3.0])))
    return out


def window_cases(rng):
    """Free height and width too: odd, even, and 1 more than the window."""
    return {f"b{b}_{h}x{w}": {"x": eighths(rng, (b, h, w, 4))} for b, h, w in [(1, 7, 7), (2, 5, 6)]}


MODELS = {
    "pointwise_f32": pointwise("float32", 80, 1e30),
    "pointwise_f64": pointwise("float64", 700, 1e300),
    "pointwise_f16": pointwise("float16", 9, 1.2e4),
    "pointwise_bf16": pointwise("bfloat16", 80, 1e30, io="float32"),
    "integers": graph_model({"x": ("int64", [None]), "y": ("int64", [None])}, integers_body, integer_pairs),
    "casts": graph_model({"x": ("float64", [None]), "i": ("int32", [None])}, casts_body, cast_cases),
    "reductions_f32": reductions("float32"),
    "reductions_f64": reductions("float64"),
    "reductions_f16": reductions("float16"),
    "reductions_bf16": reductions("bfloat16", io="float32"),
    "reductions_empty": graph_model({"x": ("float32", [None, 3])}, empty_body, lambda rng: {"b0": {"x": np.zeros((0, 3), "float32")}, "b2": {"x": eighths(rng, (2, 3))}}),
    "shapes_dynamic": graph_model({"x": ("float32", [None, None, None, 4]), "n": ("int32", [])}, shapes_body,
                                  lambda rng: {f"b{b}_{h}x{w}": {"x": eighths(rng, (b, h, w, 4)), "n": np.int32(n)} for b, h, w, n in [(1, 4, 6, 2), (3, 5, 4, 5)]}),
    "shapes_unknown_rank": graph_model({"x": ("float32", None)}, unknown_rank_body,
                                       lambda rng: {f"rank{len(s)}": {"x": eighths(rng, s)} for s in [(6,), (2, 3), (2, 1, 3, 2)]}),
    "matmuls_f32": matmuls("float32"),
    "matmuls_f64": matmuls("float64"),
    "matmuls_f16": matmuls("float16"),
    "matmuls_bf16": matmuls("bfloat16", io="float32"),
    "windows_f32": graph_model({"x": ("float32", [None, None, None, 4])}, windows_body, window_cases),
}
