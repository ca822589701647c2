#!/usr/bin/env python3
"""Writes array.json: what TensorFlow's CPU kernels give for the array ops, on small inputs; and for each cases_NAME.py,
which continues this script, NAME.json.

Each case holds the node's attributes as a graph stores them, its inputs (`const`: the importer sees the value, as it
must for axes and shapes), the outputs, for differentiable cases the gradients of sum(w * output) with w as in `weights`,
and `symbolic`: the [input, axis] pairs whose extent the test also imports as a symbol.

    python3 testdata/ops/make.py [NAME]...       # needs tensorflow 2.21; all tables, or those named
"""
import json, os, pathlib, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

NAMES = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "bool": "bool", "uint8": "u8",
         "int16": "i16", "string": "string", "complex64": "c64", "complex128": "c128", "uint32": "u32",
         "int8": "i8", "uint16": "u16", "uint64": "u64", "float16": "f16", "half": "f16", "bfloat16": "bf16", "variant": "variant",
         "resource": "resource"}
FLOATS = (tf.float32, tf.float64, tf.complex128)
cases = []


def weights(n):
    return ((np.arange(n) * 5) % 11 - 5) / 4


def x(*shape, dtype="float32", start=-3.0, step=0.5):
    n = int(np.prod(shape)) if shape else 1
    return ("data", (np.arange(n) * step + start).astype(dtype).reshape(shape))


def c(value, dtype="int32"):
    return ("const", np.array(value, dtype))


def d(value, dtype):
    """A run-time operand with these values."""
    return ("data", np.array(value, dtype))


def tensor(a):
    a = np.array(a, object) if type(a) is bytes else np.asarray(a)
    if a.dtype == object:
        strings = [s if type(s) is bytes else s.encode() for s in a.reshape(-1)]
        try:
            return {"dtype": "string", "shape": list(a.shape), "data": [s.decode() for s in strings]}
        except UnicodeDecodeError:  # a character for each byte
            return {"dtype": "bytes", "shape": list(a.shape), "data": [s.decode("latin-1") for s in strings]}
    data = a.reshape(-1)
    if a.dtype.name in ("float16", "bfloat16"):
        data = data.astype("float32")
    if a.dtype.kind == "c":
        data = np.stack([data.real, data.imag], -1).reshape(-1)
    # JSON has no NaN and no infinities.
    plain = [e if type(e) is not float or np.isfinite(e) else str(e) for e in data.tolist()]
    return {"dtype": NAMES[a.dtype.name], "shape": list(a.shape), "data": plain}


def attr(v):
    kind = v.WhichOneof("value")
    if kind == "type":
        return {"type": NAMES[tf.dtypes.as_dtype(v.type).name]}
    if kind == "s":
        return {"s": v.s.decode()}
    if kind == "shape":
        return {"shape": None if v.shape.unknown_rank else [e.size for e in v.shape.dim]}
    if kind == "list":
        l = v.list
        if l.type:
            return {"list": [{"type": NAMES[tf.dtypes.as_dtype(t).name]} for t in l.type]}
        if l.shape:
            return {"list": [{"shape": None if s.unknown_rank else [e.size for e in s.dim]} for s in l.shape]}
        if l.s:
            return {"list": [{"s": s.decode()} for s in l.s]}
        if l.f:
            return {"list": [{"f": f} for f in l.f]}
        return {"list": list(l.i)}
    return {kind: getattr(v, kind)}


# Inputs that TensorFlow's Python wrappers name otherwise than the op's definition does.
RENAMED = {("ExpandDims", "dim"): "axis", ("ReverseV2", "axis"): "axis", ("Concat", "concat_dim"): "concat_dim",
           ("Where", "input"): "condition", ("Split", "split_dim"): "axis", ("SplitV", "split_dim"): "axis"}


def call(op, args, attrs):
    kw, i = dict(attrs), 0
    for a in op_def_registry.get(op).input_arg:
        if a.number_attr or a.type_list_attr:
            lists = sum(bool(b.number_attr or b.type_list_attr) for b in op_def_registry.get(op).input_arg)
            n = (len(args) - (len(op_def_registry.get(op).input_arg) - lists)) // lists
            kw[RENAMED.get((op, a.name), a.name)] = args[i:i + n]
            i += n
        else:
            kw[RENAMED.get((op, a.name), a.name)] = args[i]
            i += 1
    r = getattr(tf.raw_ops, op)(**kw)
    return list(r) if isinstance(r, (list, tuple)) else [r]


def case(name, op, inputs, symbolic=(), grad=True, error=None, tol=None, **attrs):
    with tf.Graph().as_default() as g:
        nodes = [tf.constant(v) if kind == "const" else tf.compat.v1.placeholder(tf.as_dtype(v.dtype) if v.dtype != object else tf.string, v.shape)
                 for kind, v in inputs]
        try:
            call(op, nodes, attrs)
        except ValueError:
            assert error, name
        node = [n for n in g.get_operations() if n.type == op]
        stored = {k: attr(node[-1].node_def.attr[k]) for k in node[-1].node_def.attr} if node else {
            k: {"i": v} if type(v) is int else {"type": NAMES[v.name]} if type(v) is tf.DType else {"list": v} for k, v in attrs.items()}
    out = {"name": name, "op": op, "attrs": {k: v for k, v in stored.items() if not k.startswith("_")},
           "inputs": [dict(tensor(v), const=kind == "const") for kind, v in inputs], "symbolic": [list(s) for s in symbolic]}
    if tol is not None:
        out["tol"] = tol
    values = [tf.constant(v) for _, v in inputs]
    try:
        with tf.GradientTape() as tape:
            floats = [v for (kind, _), v in zip(inputs, values) if kind == "data" and v.dtype in FLOATS]
            for v in floats:
                tape.watch(v)
            ys = call(op, values, attrs)
            diff = grad and floats and all(y.dtype in FLOATS for y in ys)
            loss = sum(tf.reduce_sum(tf.math.real(tf.reshape(y, [-1]) * tf.constant(weights(int(tf.size(y))), y.dtype))) for y in ys) if diff else None
    except (tf.errors.OpError, ValueError) as e:
        assert error and error in str(e), (name, str(e))
        out["error"] = error
        cases.append(out)
        return
    assert error is None, name
    out["outputs"] = [tensor(y.numpy()) for y in ys]
    if diff:
        try:
            gs = iter(tape.gradient(loss, floats))
            out["grads"] = [None if not (k == "data" and v.dtype in FLOATS) else
                            (lambda q: None if q is None else tensor(tf.convert_to_tensor(q).numpy()))(next(gs)) for (k, _), v in zip(inputs, values)]
        except LookupError:
            pass
    cases.append(out)


S, T = "StridedSlice", "Transpose"
M = dict(begin_mask=0, end_mask=0, ellipsis_mask=0, new_axis_mask=0, shrink_axis_mask=0)


def ss(name, inp, begin, end, strides, symbolic=((0, 0),), error=None, **masks):
    case("strided_slice_" + name, S, [inp, c(begin), c(end), c(strides)], symbolic, error=error, **dict(M, **masks))


case("reshape_free", "Reshape", [x(4, 6), c([-1, 8])], [(0, 0)])
case("reshape_flat", "Reshape", [x(2, 3, 4), c([-1])], [(0, 0), (0, 1)])
case("reshape_string", "Reshape", [("data", np.array([b"a", b"bc", b"", b"d"], object)), c([2, 2])])
case("reshape_scalar", "Reshape", [x(1, 1), c([])])
case("reshape_bad", "Reshape", [x(4, 6), c([5, -1])], error="multiple")
case("squeeze_all", "Squeeze", [x(1, 3, 1)], [(0, 1)], axis=[])
case("squeeze_some", "Squeeze", [x(1, 3, 1)], [(0, 1)], axis=[-1])
case("expand_dims", "ExpandDims", [x(2, 3), c(-1)], [(0, 0)])
case("expand_dims_mid", "ExpandDims", [x(2, 3), c(1)], [(0, 1)])
case("ensure_shape", "EnsureShape", [x(2, 3)], [(0, 0)], shape=[None, 3])
case("transpose", T, [x(2, 3, 4), c([2, 0, 1])], [(0, 0), (0, 2)])
case("transpose_string", T, [("data", np.array([[b"a", b"b"], [b"c", b"d"], [b"e", b"f"]], object)), c([1, 0])])
case("conjugate_transpose", "ConjugateTranspose", [("data", np.array([[1 + 2j, 3], [4j, -5 - 1j]], np.complex64)), c([1, 0])])
case("invert_permutation", "InvertPermutation", [c([2, 0, 3, 1])])
case("broadcast_to", "BroadcastTo", [x(3, 1), c([2, 3, 4])])
case("broadcast_scalar", "BroadcastTo", [x(), c([2, 2])])
case("broadcast_args", "BroadcastArgs", [c([2, 1, 4]), c([3, 1])])
for i, (a, b) in enumerate([([2, 3], [2, 3]), ([1, 3], [2, 3]), ([1, 3], [1, 1]), ([3], [2, 3]), ([1], [2, 1]), ([2, 1, 4], [1, 3, 1]),
                            ([0, 3], [1, 3]), ([1], [1, 1]), ([1, 1], [1, 1])]):
    case(f"broadcast_gradient_args_{i}", "BroadcastGradientArgs", [c(a), c(b)])

case("slice", "Slice", [x(4, 5), c([1, 2]), c([2, -1])], [(0, 1)])
case("slice_run_time", "Slice", [x(4, 5), d([1, 2], "int32"), c([2, 3])], [(0, 0)])
case("slice_outside", "Slice", [x(4, 5), d([3, 2], "int32"), c([2, 3])], error="Expected")
ss("plain", x(5, 4), [1, 0], [4, 3], [1, 1], [(0, 0)])
ss("steps", x(7, 8), [1, 7], [7, 0], [2, -3], [(0, 0), (0, 1)])
ss("back_all", x(5, 4), [0, 0], [0, 0], [-1, 2], begin_mask=3, end_mask=3)
ss("negative", x(6, 4), [-3, -9], [-1, 9], [1, 1])
ss("shrink", x(3, 4, 5), [1, -1], [2, 0], [1, 1], [(0, 2)], shrink_axis_mask=3)
ss("ellipsis", x(2, 3, 4, 5), [0, 0, 1], [0, 0, 3], [1, 1, 1], [(0, 0), (0, 1)], ellipsis_mask=2, begin_mask=1, end_mask=1)
ss("ellipsis_empty", x(2, 3), [0, 0, 1], [1, 0, 3], [1, 1, 1], ellipsis_mask=2)
ss("new_axis", x(4, 3), [0, 0, 0], [0, 2, 0], [1, 1, 1], new_axis_mask=5)
ss("everything", x(3, 4, 5), [0, 1, 0, -2], [0, 3, 0, -1], [1, 1, 1, 1], [(0, 1)], new_axis_mask=1, ellipsis_mask=4, shrink_axis_mask=8)
ss("empty", x(3, 4), [2, 0], [1, 4], [1, 1], [(0, 1)])
ss("clamped", x(3, 4), [-100, 2], [100, 100], [1, 1])
ss("shrink_outside", x(3, 4), [3], [4], [1], error="out of bounds", shrink_axis_mask=1)
ss("big_step", x(5, 9), [4, 8], [-9, -9], [-9, -4], [(0, 1)])
case("strided_slice_run_time", S, [x(3, 4, 5), d([1, 2], "int32"), d([2, 3], "int32"), c([1, 1])], [(0, 2)], **dict(M, shrink_axis_mask=3))
case("strided_slice_run_time_negative", S, [x(3, 4), d([0, -1], "int32"), d([0, 0], "int32"), c([1, 1])], [(0, 0)],
     **dict(M, begin_mask=1, end_mask=1, shrink_axis_mask=2))
case("strided_slice_int", S, [x(6, dtype="int64", step=1), c([1]), c([5]), c([2])], **M)
case("strided_slice_grad", "StridedSliceGrad", [c([5, 6]), c([4, 1]), c([0, 6]), c([-2, 3]), x(2, 2)], **M)
case("strided_slice_grad_shrink", "StridedSliceGrad", [c([3, 4]), c([1, 0]), c([2, 4]), c([1, 1]), x(4)], **dict(M, shrink_axis_mask=1))

case("concat", "ConcatV2", [x(2, 3), x(2, 2, start=1.0), x(2, 1), c(-1)], [(0, 0), (1, 0), (2, 0)])
case("concat_rows", "ConcatV2", [x(2, 3), x(1, 3, start=1.0), c(0)], [(0, 0)])
case("concat_v1", "Concat", [c(0), x(2, 3), x(1, 3)])
case("concat_string", "ConcatV2", [("data", np.array([b"a", b"b"], object)), ("data", np.array([b"c"], object)), c(0)])
case("concat_offset", "ConcatOffset", [c(1), c([2, 3]), c([2, 5]), c([2, 1])])
case("pack", "Pack", [x(2, 3), x(2, 3, start=9.0)], [(0, 0), (1, 0)], axis=1)
case("pack_scalars", "Pack", [x(), x(start=2.0), x(start=4.0)], axis=0)
case("unpack", "Unpack", [x(3, 2)], [(0, 1)], num=3, axis=0)
case("unpack_last", "Unpack", [x(3, 2)], [(0, 0)], num=2, axis=-1)
case("split", "Split", [c(1), x(3, 6)], [(1, 0)], num_split=3)
case("split_v", "SplitV", [x(3, 6), c([2, -1, 1]), c(1)], [(0, 0)], num_split=3)

case("pad", "Pad", [x(2, 3), c([[1, 0], [2, 1]])], [(0, 0), (0, 1)])
case("pad_v2", "PadV2", [x(2, 3), c([[0, 1], [2, 1]]), c(7.5, "float32")], [(0, 0)])
case("mirror_reflect", "MirrorPad", [x(3, 4), c([[1, 2], [3, 0]])], [(0, 0)], mode="REFLECT")
case("mirror_symmetric", "MirrorPad", [x(3, 4), c([[3, 2], [0, 4]])], [(0, 1)], mode="SYMMETRIC")
case("mirror_pad_grad", "MirrorPadGrad", [x(5, 6), c([[1, 1], [2, 1]])], mode="REFLECT")
case("tile", "Tile", [x(2, 3), c([2, 3])], [(0, 0), (0, 1)])
case("tile_none", "Tile", [x(2, 3), c([0, 1])])
case("reverse", "ReverseV2", [x(2, 3, 2), c([0, -1])], [(0, 0)])
case("reverse_v1", "Reverse", [x(2, 3), ("const", np.array([False, True]))], [(0, 1)])
case("reverse_sequence", "ReverseSequence", [x(3, 4, 2), d([2, 4, 0], "int64")], [(0, 0), (1, 0)], seq_dim=1, batch_dim=0)
case("reverse_sequence_swapped", "ReverseSequence", [x(4, 2, 3), d([3, 1, 4], "int32")], [], seq_dim=0, batch_dim=2)
case("roll", "Roll", [x(4, 5), c([1, -7]), c([0, 1])], [(0, 0), (0, 1)])
case("roll_twice", "Roll", [x(5), c([1, 3]), c([0, 0])])

case("gather", "GatherV2", [x(4, 3), d([[3, 0], [1, 3]], "int32"), c(0)], [(0, 1), (1, 0)], batch_dims=0)
case("gather_axis", "GatherV2", [x(2, 4, 3), d([3, 0], "int64"), c(1)], [(0, 0), (0, 2)], batch_dims=0)
case("gather_scalar", "GatherV2", [x(4, 3), d(2, "int32"), c(-2)], [(0, 1)], batch_dims=0)
case("gather_batch", "GatherV2", [x(2, 4, 3), d([[3, 0, 0], [1, 2, 1]], "int32"), c(1)], [(0, 2)], batch_dims=1)
case("gather_batch_later", "GatherV2", [x(2, 3, 4, 2), d([[3, 0], [1, 2]], "int32"), c(2)], [(0, 3)], batch_dims=1)
case("gather_string", "GatherV2", [("data", np.array([b"a", b"bc", b"d"], object)), d([2, 0], "int32"), c(0)], batch_dims=0)
case("gather_outside", "GatherV2", [x(4, 3), d([[0, 4]], "int32"), c(0)], error="= 4 is not in [0, 4)", batch_dims=0)
case("gather_v1", "Gather", [x(4, 3), d([3, 0], "int32")])
case("gather_nd", "GatherNd", [x(3, 4, 2), d([[2, 1], [0, 3], [2, 1]], "int32")], [(0, 2), (1, 0)])
case("gather_nd_full", "GatherNd", [x(3, 4), d([[[2, 1]], [[0, 3]]], "int64")])
case("gather_nd_none", "GatherNd", [x(2, 3), ("data", np.zeros([2, 0], "int32"))], grad=False)
case("gather_nd_outside", "GatherNd", [x(3, 4), d([[2, 4]], "int32")], error="indices[0] = [2, 4]")
case("scatter_nd", "ScatterNd", [d([[1], [3], [1]], "int32"), x(3, 2), c([5, 2])])
case("scatter_nd_outside", "ScatterNd", [d([[5]], "int32"), x(1, 2), c([5, 2])], error="indices[0] = [5]")
for mode in ["Update", "Add", "Sub", "Max", "Min"]:
    # Unique places for Update: TensorFlow does not order updates of one place.
    at = [[1, 0], [3, 2], [0, 1]] if mode == "Update" else [[1, 0], [3, 2], [1, 0]]
    case("tensor_scatter_" + mode.lower(), "TensorScatter" + mode, [x(4, 3), d(at, "int32"), d([4.0, -9.0, 0.25], "float32")], [])
case("tensor_scatter_max_ties", "TensorScatterMax", [x(3), d([[1], [1], [2]], "int32"), d([-2.5, -2.5, 4.0], "float32")], [])

case("fill", "Fill", [c([2, 3]), x(start=1.5)])
case("zeros_like", "ZerosLike", [x(2, 3)], [(0, 0)], grad=False)
case("ones_like", "OnesLike", [x(2, 3, dtype="int32")], [(0, 0)])
case("range_int", "Range", [c(3), c(18), c(4)])
case("range_down", "Range", [c(9, "int64"), c(0, "int64"), c(-2, "int64")])
case("range_float", "Range", [c(0.25, "float32"), c(3.1, "float32"), c(0.1, "float32")])
case("range_double", "Range", [c(5.0, "float64"), c(-1.0, "float64"), c(-0.3, "float64")])
case("lin_space", "LinSpace", [c(0.1, "float32"), c(1.7, "float32"), c(7)])
case("lin_space_one", "LinSpace", [c(0.1, "float32"), c(1.7, "float32"), c(1)])
case("one_hot", "OneHot", [d([1, 0, -1, 3], "int32"), c(3), c(5.0, "float32"), c(-1.0, "float32")], [(0, 0)], axis=-1)
case("one_hot_first", "OneHot", [d([[1, 0], [2, 7]], "int64"), c(4), c(1.0, "float32"), c(0.0, "float32")], [(0, 0)], axis=0)
case("one_hot_bytes", "OneHot", [d([1, 255], "uint8"), c(300), c(True, "bool"), c(False, "bool")], axis=-1)
case("bitcast", "Bitcast", [x(2, 2)], type=tf.int32)

case("space_to_batch_nd", "SpaceToBatchND", [x(2, 3, 5, 2), c([2, 3]), c([[0, 1], [1, 0]])], [(0, 0), (0, 3)])
case("space_to_batch_nd_one", "SpaceToBatchND", [x(2, 4, 2), c([2]), c([[1, 1]])], [(0, 1)])
case("batch_to_space_nd", "BatchToSpaceND", [x(12, 2, 2, 1), c([2, 3]), c([[0, 1], [1, 0]])], [(0, 1)])
case("space_to_batch", "SpaceToBatch", [x(1, 3, 4, 2), c([[0, 1], [1, 1]])], [(0, 0)], block_size=2)
case("batch_to_space", "BatchToSpace", [x(8, 2, 3, 1), c([[0, 1], [1, 1]])], [(0, 0)], block_size=2)
case("space_to_depth", "SpaceToDepth", [x(2, 4, 6, 3)], [(0, 0), (0, 1)], block_size=2, data_format="NHWC")
case("depth_to_space", "DepthToSpace", [x(2, 2, 3, 8)], [(0, 0), (0, 1)], block_size=2, data_format="NHWC")

case("diag", "Diag", [x(3)], [(0, 0)])
case("diag_matrix", "Diag", [x(2, 3)])
case("diag_part", "DiagPart", [x(2, 3, 2, 3)])
case("matrix_diag", "MatrixDiag", [x(2, 3)], [(0, 0), (0, 1)])
case("matrix_diag_v3", "MatrixDiagV3", [x(2, 3), c(1), c(-1), c(-1), c(0.0, "float32")], [(0, 0)])
case("matrix_diag_v3_wide", "MatrixDiagV3", [x(3), c(-1), c(4), c(6), c(9.0, "float32")])
case("matrix_diag_part", "MatrixDiagPart", [x(2, 3, 4)], [(0, 0)])
case("matrix_diag_part_v3", "MatrixDiagPartV3", [x(2, 4, 5), c(-2), c(0.0, "float32")], [(0, 0)])
case("matrix_diag_part_v3_up", "MatrixDiagPartV3", [x(4, 3), c(1), c(0.0, "float32")])
case("matrix_set_diag", "MatrixSetDiag", [x(2, 3, 4), x(2, 3, start=50.0)], [(0, 0), (1, 0)])
case("matrix_set_diag_v3", "MatrixSetDiagV3", [x(3, 4), x(3, start=50.0), c(1)])
case("matrix_band_part", "MatrixBandPart", [x(2, 4, 5), c(1, "int64"), c(0, "int64")], [(0, 1)])
case("matrix_band_part_upper", "MatrixBandPart", [x(4, 3), d(0, "int64"), d(-1, "int64")], grad=False)

# Elementwise gradients against TensorFlow, with broadcasting and at the points where formulas branch.
P = [0.25, 0.5, 0.75]
for op in ["Neg", "Abs", "Square", "Sqrt", "Rsqrt", "Reciprocal", "Exp", "Expm1", "Log", "Log1p", "Sigmoid", "Tanh", "Sin", "Cos", "Tan",
           "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Atanh", "Erf", "Erfc", "Erfinv", "Ndtri", "Lgamma", "Digamma"]:
    case("grad_" + op.lower(), op, [d(P, "float64")])
case("grad_acosh", "Acosh", [d([1.25, 3.0], "float64")])
case("grad_abs_zero", "Abs", [d([-1.0, 0.0, 2.0], "float32")])
for op in ["AddV2", "Sub", "Mul", "RealDiv", "DivNoNan", "MulNoNan", "FloorMod", "Maximum", "Minimum", "Pow", "Atan2", "SquaredDifference",
           "Xlogy", "Xlog1py", "Xdivy"]:
    case("grad_" + op.lower(), op, [d([[1.5, 2.0, 0.5], [3.25, 2.0, 4.0]], "float64"), d([[1.25], [2.0]], "float64")], [(0, 0), (1, 0)])
    case("grad_" + op.lower() + "_vector", op, [d([0.75], "float64"), d([[1.25, 0.5]], "float64")])
case("grad_divnonan_zero", "DivNoNan", [d([1.0, 0.0], "float64"), d([0.0, 0.0], "float64")])
case("grad_pow_zero", "Pow", [d([0.0, 0.0, -2.0], "float64"), d([2.0, 1.0, 3.0], "float64")])
case("grad_xlogy_zero", "Xlogy", [d([0.0, 2.0], "float64"), d([0.0, 0.5], "float64")])
case("grad_xdivy_zero", "Xdivy", [d([0.0, 2.0], "float64"), d([0.0, 0.5], "float64")])
for op in ["Igamma", "Igammac", "Zeta", "Polygamma"]:
    case("grad_" + op.lower(), op, [c([2.0, 3.0], "float64"), d([1.5, 0.75], "float64")])
case("grad_select", "SelectV2", [("data", np.array([[True], [False]])), x(2, 3), x(3, start=7.0)], [(0, 0), (1, 0)])
case("grad_cast", "Cast", [x(3)], DstT=tf.float64)

Z, W = d([0.5 + 0.25j, -1.5 + 2j], "complex128"), d([[2 - 1j], [0.75 + 0.5j]], "complex128")
for op in ["Neg", "Square", "Sqrt", "Rsqrt", "Reciprocal", "Exp", "Expm1", "Log", "Log1p", "Sigmoid", "Tanh", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan",
           "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Conj"]:
    case("grad_complex_" + op.lower(), op, [Z])
case("grad_complex_abs", "ComplexAbs", [Z], Tout=tf.float64)
for op in ["Real", "Imag", "Angle"]:
    case("grad_complex_" + op.lower(), op, [Z], Tout=tf.float64)
for op in ["AddV2", "Sub", "Mul", "RealDiv", "DivNoNan", "MulNoNan", "Pow", "SquaredDifference", "Xlogy", "Xlog1py", "Xdivy"]:
    case("grad_complex_" + op.lower(), op, [Z, W])

case("dynamic_stitch", "DynamicStitch", [c(4), c([[2, 0], [1, 3]]), x(2), x(2, 2, 2, start=20.0)], [])
# A row that is named twice is the last one's; TensorFlow's gradient does not take that into account, ours does.
case("dynamic_stitch_twice", "DynamicStitch", [c(1), c([[2, 0], [1, 3]]), x(2), x(2, 2, 2, start=20.0)], [], grad=False)
case("dynamic_stitch_dims", "DynamicStitch", [c([0, 2]), c([1]), c([7, 8]), c([9])])


def write(name):
    text = ",\n".join(json.dumps(k, separators=(",", ":")) for k in cases)
    (pathlib.Path(__file__).parent / (name + ".json")).write_text("[\n" + text + "\n]\n")
    print(name, len(cases), "cases")
    cases.clear()


if len(sys.argv) == 1 or "array" in sys.argv:
    write("array")
cases.clear()
for part in sorted(pathlib.Path(__file__).parent.glob("cases_*.py")):
    if len(sys.argv) == 1 or part.stem[6:] in sys.argv:
        exec(compile(part.read_text(), str(part), "exec"))
        write(part.stem[6:])
