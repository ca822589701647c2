"""Frozen graphs of XLA's own operations; the references are XLA's, compiled for the CPU.

`functions` holds the ops that take functions: reducers that are one operation, and others (a product with a sign, the
place of a maximum). `values` holds the others, as a check of what they become against compiled code.
"""
import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops as ops
from tensorflow.compiler.xla import xla_data_pb2 as xla

from .common import eighths
from .op_graphs import graph_model

F, I = tf.float32, tf.int32


def scalars(f, *types):
    """A function of scalars in the library of the present graph."""
    made = tf.function(f).get_concrete_function(*[tf.TensorSpec([], t) for t in types])
    made.add_to_graph(tf.compat.v1.get_default_graph())
    return made


def message(kind, **fields):
    m = kind()
    for k, v in fields.items():
        getattr(m, k).extend(v) if isinstance(v, list) else setattr(m, k, v)
    return m.SerializeToString()


def reductions(x, out):
    reducers = {"add": (tf.add, 0.0), "add_from": (tf.add, 2.5), "mul": (tf.multiply, 1.0), "max": (tf.maximum, -np.inf), "max_from": (tf.maximum, 0.5),
                "min": (tf.minimum, np.inf)}
    for name, (f, init) in reducers.items():
        out["reduce_" + name] = ops.xla_reduce(x, np.float32(init), [1, 2], reducer=scalars(f, F, F))
    # (1 + a) (1 + b) - 1 is associative, and no single op.
    joined = scalars(lambda a, b: a + b + a * b, F, F)
    out["reduce_any_order"] = ops.xla_reduce(x / 4, np.float32(0), [2], reducer=joined)
    out["reduce_two_axes"] = ops.xla_reduce(x / 8, np.float32(0.5), [2, 1], reducer=joined)
    flag = tf.greater(x, 0)
    out["reduce_and"] = ops.xla_reduce(flag, True, [1], reducer=scalars(tf.logical_and, tf.bool, tf.bool))
    out["reduce_or"] = ops.xla_reduce(flag, False, [2], reducer=scalars(tf.logical_or, tf.bool, tf.bool))
    first = lambda a, i, b, j: (tf.maximum(a, b), tf.where(tf.logical_or(a > b, tf.logical_and(tf.equal(a, b), i < j)), i, j))
    place = tf.broadcast_to(tf.range(4), tf.shape(x))
    arg = ops.xla_variadic_reduce_v2([x, place], [np.float32(-np.inf), np.int32(99)], [2], reducer=scalars(first, F, I, F, I))
    out["arg_max"], out["arg_max_place"] = arg
    both = ops.xla_variadic_reduce([x, -x], [np.float32(0), np.float32(1)], [1], reducer=scalars(lambda a, b, c, d: (a + c, tf.minimum(b, d)), F, F, F, F))
    out["sum_and_min_0"], out["sum_and_min_1"] = both


def windows(x, out):
    def window(f, init, size, strides, base, dilation, padding):
        return ops.xla_reduce_window(x, np.float32(init), size, strides, base, dilation, padding, computation=scalars(f, F, F))
    none = [1, 1, 1]
    out["window_add"] = window(tf.add, 0, [1, 2, 3], [1, 1, 2], none, none, [[0, 0], [1, 0], [1, 1]])
    out["window_add_from"] = window(tf.add, 1.5, [1, 2, 3], [1, 1, 2], none, none, [[0, 0], [1, 0], [1, 1]])
    out["window_max_spread"] = window(tf.maximum, -np.inf, [1, 2, 2], [1, 2, 1], [1, 2, 2], [1, 1, 2], [[0, 0], [0, 1], [-1, 1]])
    out["window_any"] = window(lambda a, b: a + b + a * b, 0, [1, 2, 3], [1, 1, 1], none, [1, 2, 1], [[0, 0], [0, 0], [1, -1]])
    out["window_any_padded"] = window(lambda a, b: a + b + a * b, 0.5, [1, 2, 2], [1, 1, 1], [1, 2, 1], none, [[0, 0], [1, 2], [2, 0]])
    select = scalars(tf.greater_equal, F, F)
    for name, init, how in [("add", 0.0, tf.add), ("max", -9.0, tf.maximum)]:
        scatter = scalars(how, F, F)
        size, strides, pads = [1, 2, 2], [1, 1, 2], [[0, 0], [1, 0], [0, 0]]
        source = tf.constant(np.arange(1, 13).reshape(2, 3, 2) / 4, F)
        out["select_and_scatter_" + name] = ops.xla_select_and_scatter(x, size, strides, pads, source, np.float32(init), select=select, scatter=scatter)


def scatters(x, at, out):
    rows = message(xla.ScatterDimensionNumbers, update_window_dims=[1, 2], inserted_window_dims=[0], scatter_dims_to_operand_dims=[0], index_vector_dim=1)
    for name, f in [("add", tf.add), ("update", lambda a, b: b), ("max", tf.maximum), ("min", tf.minimum), ("sub", tf.subtract)]:
        places = at if name != "update" else tf.constant([[1], [0], [7]])
        out["scatter_" + name] = ops.xla_scatter(x, places, tf.ones([3, 3, 4]) * [0.5, -1, 2, 0.25], update_computation=scalars(f, F, F),
                                                 dimension_numbers=rows, indices_are_sorted=False)
    boxes = message(xla.ScatterDimensionNumbers, update_window_dims=[0, 2], inserted_window_dims=[1], scatter_dims_to_operand_dims=[2, 1], index_vector_dim=1)
    out["scatter_boxes"] = ops.xla_scatter(x[:1], tf.concat([at, at], 1), tf.ones([1, 3, 2]), update_computation=scalars(tf.add, F, F),
                                           dimension_numbers=boxes, indices_are_sorted=False)


def sorts(x, out):
    def sort(inputs, axis, f, *types):
        return ops.xla_variadic_sort(inputs, tf.constant(axis), comparator=scalars(f, *types), is_stable=True)
    place = tf.broadcast_to(tf.range(4), tf.shape(x))
    out["sort_up"], out["sort_up_place"] = sort([x, place], 2, lambda a, b, i, j: a < b, F, F, I, I)
    out["sort_down"], = sort([x], 1, tf.greater, F, F)
    coarse = tf.cast(x, I)
    two = sort([coarse, x], -1, lambda a, b, c, d: tf.logical_or(a > b, tf.logical_and(tf.equal(a, b), c < d)), I, I, F, F)
    out["sort_two_keys_0"], out["sort_two_keys_1"] = two


def functions_body(x, at, n):
    out = {}
    reductions(x, out)
    windows(x, out)
    scatters(x, at, out)
    sorts(x, out)
    library = tf.compat.v1.get_default_graph()
    def traced(f, *specs):
        made = tf.function(f).get_concrete_function(*specs)
        made.add_to_graph(library)
        return made
    spec, count = tf.TensorSpec([3, 4], F), tf.TensorSpec([], I)
    state = ops.xla_while([n, x[0]], cond=traced(lambda i, v: i > 0, count, spec), body=traced(lambda i, v: (i - 1, v * 0.5 + 1), count, spec))
    out["while"] = state[1]
    branch = ops.xla_if(n > 3, [x[0]], traced(lambda v: v * 2, spec), traced(lambda v: v - 1, spec), Tout=[F])
    out["if"] = branch[0]
    return out


def values_body(x, at):
    out = {}
    out["dot"] = ops.xla_dot(x, x, message(xla.DotDimensionNumbers, lhs_contracting_dimensions=[2], rhs_contracting_dimensions=[2], lhs_batch_dimensions=[0],
                                           rhs_batch_dimensions=[0]), b"")
    axes = message(xla.ConvolutionDimensionNumbers, input_batch_dimension=0, input_feature_dimension=1, input_spatial_dimensions=[2], kernel_output_feature_dimension=0,
                   kernel_input_feature_dimension=1, kernel_spatial_dimensions=[2], output_batch_dimension=0, output_feature_dimension=2, output_spatial_dimensions=[1])
    w = tf.constant((np.arange(18).reshape(2, 3, 3) % 5 - 2) / 4, F)
    out["conv"] = ops.xla_conv(x, w, [2], [[2, -1]], [2], [1], 1, axes, b"")
    out["pad"] = ops.xla_pad(x, 9.0, [0, -1, 2], [1, 2, -1], [1, 0, 2])
    out["dynamic_slice"] = ops.xla_dynamic_slice(x, tf.concat([at[:, 0] - 5], 0), [1, 2, 2])
    out["dynamic_update"] = ops.xla_dynamic_update_slice(x, tf.ones([1, 2, 2]), at[:, 0])
    rows = message(xla.GatherDimensionNumbers, offset_dims=[0, 2], collapsed_slice_dims=[1], start_index_map=[1], index_vector_dim=1)
    out["gather"] = ops.xla_gather(x[:1], at, [1, 1, 4], rows, indices_are_sorted=False)
    boxes = message(xla.GatherDimensionNumbers, offset_dims=[1, 2], collapsed_slice_dims=[0], start_index_map=[1, 2], index_vector_dim=1)
    out["gather_boxes"] = ops.xla_gather(x[:1], tf.concat([at, at - 1], 1), [1, 2, 3], boxes, indices_are_sorted=False)
    out["reduce_precision"] = ops.xla_reduce_precision(x / 3, 5, 4)
    out["sorted"] = ops.xla_sort(x)
    keys = ops.xla_key_value_sort(tf.cast(x, I), x)
    out["key_sorted"], out["value_sorted"] = keys
    out["blocks"] = tf.raw_ops.XlaConcatND(inputs=tf.raw_ops.XlaSplitND(input=x[0], N=4, num_splits=[2, 2], paddings=[1, 0]), num_concats=[2, 2], paddings=[0, 0])
    eigen = ops.xla_self_adjoint_eig(tf.matmul(x[0], x[0], transpose_b=True), lower=True, max_iter=100, epsilon=1e-6)
    out["eigenvalues"] = eigen[0]
    singular = ops.xla_svd(x[0], max_iter=100, epsilon=1e-6, precision_config=b"")
    out["singular_values"], out["singular_product"] = singular[0], tf.matmul(singular[1] * singular[0], singular[2][:, :3], transpose_b=True)
    out["barrier"] = ops.xla_optimization_barrier([x])[0]
    return out


def inputs_of(rng, n):
    return {"x": eighths(rng, (n, 3, 4)), "at": rng.integers(-1, 4, (3, 1)).astype("int32")}


MODELS = {
    "xla_functions": graph_model({"x": ("float32", [2, 3, 4]), "at": ("int32", [3, 1]), "n": ("int32", [])}, functions_body,
                                 lambda rng: {f"n{n}": {**inputs_of(rng, 2), "n": np.int32(n)} for n in (0, 5)}, compiler="xla"),
    "xla_values": graph_model({"x": ("float32", [2, 3, 4]), "at": ("int32", [3, 1])}, values_body, lambda rng: {"b2": inputs_of(rng, 2)}, compiler="xla"),
}
