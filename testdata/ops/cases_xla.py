"""Ops of XLA that take no functions, as `tf.function(jit_compile=True)` computes them on a CPU; `tf.raw_ops` has few of them.

A vector's sign is any in what an eigenvalue or singular value comes with: matrices here are such that signs agree."""
import re
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.compiler.xla import xla_data_pb2 as xla

nan, inf = float("nan"), float("inf")
plain_call, plain_case = call, case


def raw(op):
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", op).lower()
    return getattr(tf.raw_ops, op, None) or getattr(gen_xla_ops, name)


def compiled(op, args, attrs, constant):
    """The op's results; `constant` tells which operands the compiler must know."""
    def run(*data):
        data, kw, i = iter(data), dict(attrs), 0
        every = [tf.constant(a.numpy()) if k else next(data) for a, k in zip(args, constant)]
        for a in op_def_registry.get(op).input_arg:
            n = attrs.get(a.number_attr) or (len(attrs.get(a.type_list_attr, every)) if a.type_list_attr else None)
            kw[a.name] = every[i] if n is None else every[i:i + n]
            i += n or 1
        r = raw(op)(**{k: v for k, v in kw.items() if k not in ("T", "N") or op == "XlaSplitND"})
        return list(r) if isinstance(r, (list, tuple)) else [r]
    return tf.function(run, jit_compile=True)(*[tf.constant(a.numpy()) for a, k in zip(args, constant) if not k])  # no tape sees it


def case(name, op, inputs, symbolic=(), **attrs):
    """As the other tables' `case`, compiled; none of these ops has a gradient in TensorFlow."""
    global call
    constant = [kind == "const" for kind, _ in inputs]

    def call(op, args, attrs):
        if tf.executing_eagerly():
            return compiled(op, args, attrs, constant)
        kw, i = dict(attrs), 0
        for a in op_def_registry.get(op).input_arg:
            n = attrs.get(a.number_attr) or (len(args) if a.type_list_attr else None)
            kw[a.name] = args[i] if n is None else args[i:i + n]
            i += n or 1
        r = raw(op)(**{k: v for k, v in kw.items() if k not in ("T", "N") or op == "XlaSplitND"})
        return list(r) if isinstance(r, (list, tuple)) else [r]


    plain_case(name, op, inputs, symbolic, grad=False, **attrs)
    call = plain_call


def message(kind, **fields):
    m = kind()
    for k, v in fields.items():
        getattr(m, k).extend(v) if isinstance(v, (list, tuple)) else setattr(m, k, v)
    return m.SerializeToString()


def dot(name, a, b, contract, batch=((), ()), symbolic=(), **attrs):
    numbers = message(xla.DotDimensionNumbers, lhs_contracting_dimensions=contract[0], rhs_contracting_dimensions=contract[1],
                      lhs_batch_dimensions=batch[0], rhs_batch_dimensions=batch[1])
    op = "XlaDotV2" if attrs else "XlaDot"
    case(name, op, [a, b], symbolic, tol=1e-6, dimension_numbers=numbers, precision_config=b"", **attrs)


dot("dot_matrix", x(3, 4), x(4, 2), ([1], [0]), symbolic=[(0, 0), (1, 1)])
dot("dot_batch", x(2, 3, 4), x(5, 4, 2), ([2], [1]), ([0], [2]), symbolic=[(0, 1)])
dot("dot_two", x(2, 3, 4, dtype="float64"), x(4, 5, 3, dtype="float64"), ([1, 2], [2, 0]))
dot("dot_outer", x(3), x(2), ([], []))
dot("dot_complex", d([[1 + 2j, 3], [0, 1j]], "complex64"), d([[1j, 2], [1, 1]], "complex64"), ([0], [1]))
dot("dot_i32", d([[1, 2], [3, 4]], "int32"), d([[5, 6], [7, 8]], "int32"), ([1], [0]))
dot("dot_empty", d(np.zeros((2, 0)), "float32"), d(np.zeros((0, 3)), "float32"), ([1], [0]))
dot("dot_v2_i8", d([[100, -128], [3, 4]], "int8"), d([[127, 6], [-128, 8]], "int8"), ([1], [0]), preferred_element_type=tf.int32)
dot("dot_v2_u8_i8", d([[200, 255], [3, 4]], "uint8"), d([[127, 6], [-128, 8]], "int8"), ([1], [0]), preferred_element_type=tf.int32)
dot("dot_v2_f16", x(3, 4, dtype="float16"), x(4, 2, dtype="float16"), ([1], [0]), preferred_element_type=tf.float32)
case("xla_einsum", "XlaEinsum", [x(2, 3), x(3, 4)], [(0, 0)], equation="ab,bc->ac", tol=1e-6)
case("xla_einsum_dots", "XlaEinsum", [x(2, 2, 3), x(2, 4, 3)], [(0, 0), (1, 0)], equation="...ab,...cb->...ac", tol=1e-6)


def conv(name, a, w, io, strides, pads, base=None, dilation=None, groups=1, symbolic=(), batch_groups=1, result=None):
    """io: axes of the operand, the filter and the result as letters: n, c, i, o and digits for the spatial axes."""
    lhs, rhs, out = io
    spatial = len(strides)
    at = lambda s: [s.index(str(i)) for i in range(spatial)]
    numbers = message(
        xla.ConvolutionDimensionNumbers, input_batch_dimension=lhs.index("n"), input_feature_dimension=lhs.index("c"),
        input_spatial_dimensions=at(lhs), kernel_input_feature_dimension=rhs.index("i"), kernel_output_feature_dimension=rhs.index("o"),
        kernel_spatial_dimensions=at(rhs), output_batch_dimension=out.index("n"), output_feature_dimension=out.index("c"),
        output_spatial_dimensions=at(out))
    ones = [1] * spatial
    pads = np.array(pads).reshape(spatial, 2)
    v2 = dict(preferred_element_type=result or tf.as_dtype(a[1].dtype), batch_group_count=batch_groups) if result or batch_groups > 1 else {}
    case(name, "XlaConvV2" if v2 else "XlaConv", [a, w, c(strides), c(pads), c(base or ones), c(dilation or ones), c(groups)], symbolic,
         tol=2e-6, dimension_numbers=numbers, precision_config=b"", **v2)


conv("conv_2d", x(2, 5, 6, 3), x(3, 2, 3, 4), ("n01c", "01io", "n01c"), [1, 2], [[1, 1], [0, 1]], symbolic=[(0, 0)])
conv("conv_first", x(2, 3, 7), x(4, 3, 3), ("nc0", "oi0", "nc0"), [1], [[2, 0]], symbolic=[(0, 0), (0, 2)])
conv("conv_turned", x(3, 5, 2, 4, dtype="float64"), x(2, 4, 3, 3, dtype="float64"), ("c1n0", "1oi0", "0cn1"), [1, 1], [[1, 0], [1, 0]])
conv("conv_transposed", x(1, 4, 2), x(3, 2, 2), ("n0c", "0io", "n0c"), [1], [[2, 2]], base=[2])
conv("conv_dilated", x(1, 9, 2), x(3, 2, 2), ("n0c", "0io", "n0c"), [2], [[1, 1]], dilation=[3])
conv("conv_negative", x(1, 9, 2), x(3, 2, 2), ("n0c", "0io", "n0c"), [1], [[-2, -1]])
conv("conv_negative_base", x(1, 5, 2), x(2, 2, 2), ("n0c", "0io", "n0c"), [1], [[-3, 2]], base=[3])
conv("conv_groups", x(2, 5, 4), x(3, 2, 6), ("n0c", "0io", "n0c"), [1], [[0, 0]], groups=2, symbolic=[(0, 0)])
conv("conv_depthwise", x(2, 5, 4), x(3, 1, 8), ("n0c", "0io", "n0c"), [1], [[1, 1]], groups=4)
conv("conv_batch_groups", x(4, 5, 3), x(3, 3, 6), ("n0c", "0io", "n0c"), [1], [[0, 0]], batch_groups=2)
conv("conv_3d", x(1, 3, 4, 3, 2), x(2, 2, 2, 2, 3), ("n012c", "012io", "n012c"), [1, 1, 2], [[0, 1], [0, 0], [1, 0]])
conv("conv_i8", d(np.arange(20).reshape(1, 5, 4) * 6 - 60, "int8"), d(np.arange(24).reshape(3, 4, 2) * 5 - 60, "int8"), ("n0c", "0io", "n0c"), [1],
     [[0, 1]], result=tf.int32)


def pad(name, a, low, high, interior, symbolic=()):
    case("pad_" + name, "XlaPad", [a, d(9, a[1].dtype), c(low), c(high), c(interior)], symbolic)


pad("plain", x(2, 3), [1, 0], [0, 2], [0, 0], [(0, 0)])
pad("interior", x(3, 5), [1, 2], [0, 1], [1, 2], [(0, 0), (0, 1)])
pad("negative", x(3, 5), [-1, 2], [1, -3], [1, 2], [(0, 0), (0, 1)])
pad("negative_only", x(6, 5), [-1, -2], [-2, -1], [0, 0], [(0, 0)])
pad("to_nothing", x(3, 5), [-2, -9], [-2, 4], [1, 0])
pad("empty", d(np.zeros((0, 2)), "int32"), [1, 0], [1, 1], [1, 2])
pad("one", x(1, 1), [0, 1], [0, 0], [3, 3])
pad("scalar", x(), np.zeros(0), np.zeros(0), np.zeros(0))
case("pad_bool", "XlaPad", [("data", np.array([True, False])), ("data", np.array(True)), c([1]), c([0]), c([1])])

for at in [[1, 2], [9, -3]]:
    case(f"dynamic_slice_{at[0]}", "XlaDynamicSlice", [x(3, 5), d(at, "int32"), c([2, 2])], [(0, 0)])
    case(f"dynamic_update_{at[0]}", "XlaDynamicUpdateSlice", [x(3, 5), x(2, 2, start=50.0), d(at, "int64")], [(0, 0)])
case("dynamic_slice_scalar", "XlaDynamicSlice", [x(), d([], "int32"), c([])])
case("dynamic_slice_whole", "XlaDynamicSlice", [d([3, 4], "int64"), d([1], "int64"), c([2], "int64")])


def gather(name, a, at, sizes, symbolic=(), **numbers):
    case("gather_" + name, "XlaGather", [a, at, c(sizes, at[1].dtype)], symbolic, dimension_numbers=message(xla.GatherDimensionNumbers, **numbers),
         indices_are_sorted=False)


I = lambda v, dtype="int32": d(v, dtype)
gather("rows", x(5, 3), I([[4], [0], [2], [7], [-1]]), [1, 3], [(0, 1), (1, 0)], offset_dims=[1], collapsed_slice_dims=[0], start_index_map=[0], index_vector_dim=1)
gather("vector_implicit", x(5, 3), I([4, 0], "int64"), [1, 3], [(0, 1)], offset_dims=[0], collapsed_slice_dims=[0], start_index_map=[0], index_vector_dim=1)
gather("windows", x(4, 5), I([[1, 2], [3, 9], [-2, 0]]), [2, 3], [(1, 0)], offset_dims=[1, 2], start_index_map=[0, 1], index_vector_dim=1)
gather("turned", x(4, 5, 2), I([[1, 3], [2, 4]]), [2, 1, 2], offset_dims=[0, 2], collapsed_slice_dims=[1], start_index_map=[1, 0], index_vector_dim=0)
gather("elements", x(4, 5), I([[[0, 1], [3, 4]]]), [1, 1], collapsed_slice_dims=[0, 1], start_index_map=[0, 1], index_vector_dim=2)
gather("columns", x(4, 5), I([[1], [3]]), [4, 2], [(0, 0)], offset_dims=[0, 2], start_index_map=[1], index_vector_dim=1)
gather("batched", x(3, 5, 2), I([[[1], [4]], [[0], [9]], [[2], [2]]]), [1, 2, 2], offset_dims=[2, 3], start_index_map=[1], index_vector_dim=2,
       operand_batching_dims=[0], start_indices_batching_dims=[0])
gather("unmapped", x(4, 5), I([[1], [3]]), [2, 1], offset_dims=[1, 2], start_index_map=[1], index_vector_dim=1)
gather("all", x(2, 3), I(np.zeros((3, 0))), [2, 3], offset_dims=[1, 2], start_index_map=[], index_vector_dim=1)
gather("empty", x(5, 3), I(np.zeros((0, 1))), [1, 3], offset_dims=[1], collapsed_slice_dims=[0], start_index_map=[0], index_vector_dim=1)
case("gather_bool", "XlaGather", [("data", np.array([True, False, True])), I([[2], [1]]), c([1])], indices_are_sorted=True,
     dimension_numbers=message(xla.GatherDimensionNumbers, collapsed_slice_dims=[0], start_index_map=[0], index_vector_dim=1))

case("sort_floats", "XlaSort", [d([[3, nan, -0.0, 0.0, -inf, 1], [0.0, -0.0, 2, 5, 4, inf]], "float32")], [(0, 0)])
case("sort_vector", "XlaSort", [x(7, step=-1.5)], [(0, 0)])
case("sort_u64", "XlaSort", [d([3, 2**64 - 1, 0], "uint64")])
case("sort_i8", "XlaSort", [d([3, -128, 0, 127], "int8")])
case("sort_bool", "XlaSort", [("data", np.array([True, False, True]))])
case("sort_f16", "XlaSort", [d([1, -2, 0.5], "float16")])
case("sort_cube", "XlaSort", [d(np.arange(12).reshape(2, 2, 3) * 7 % 5, "int32")])
case("sort_empty", "XlaSort", [d(np.zeros((2, 0)), "float32")])
case("key_value_sort", "XlaKeyValueSort", [d([3, 1, 2, 1, 3], "int32"), x(5)], [(0, 0), (1, 0)])
case("key_value_sort_rows", "XlaKeyValueSort", [d([[3, 1], [2, 4]], "float32"), d([[1, 2], [3, 4]], "int64")])

for alg, states in [(1, [[7, 1, 2], [7, 2**64 - 1, 2], [7, 1]]), (2, [[7, 1], [2**40 + 7, 2**64 - 1]]), (3, [[7, 1, 2]])]:
    for s, state in enumerate(states):
        for dtype, n in [(tf.uint32, 9), (tf.uint64, 5), (tf.uint8, 6)]:
            case(f"rng_bits_{alg}_{s}_{dtype.name}", "XlaRngBitGenerator", [c(alg), d(state, "uint64"), c([n])], dtype=dtype)
for i, shape in enumerate([[3, 3], [2, 3], [3, 4], [3, 5, 5], [1], [0, 2], [1, 1]]):
    case(f"rng_bits_shape_{i}", "XlaRngBitGenerator", [c(2), d([7, 1], "uint64"), c(shape)], dtype=tf.uint32)
    case(f"rng_bits_philox_shape_{i}", "XlaRngBitGenerator", [c(1), d([7, 1, 9], "uint64"), c(shape, "int64")], dtype=tf.uint64)
for alg in [1, 2]:
    case(f"rng_bits_scalar_{alg}", "XlaRngBitGenerator", [c(alg), d([7, 1], "uint64"), c([])], dtype=tf.uint32)

numbers = [0, -0.0, 1.0, 1.0009765, 1.5, 3.14159, 65504, 65519, 65520, 1e30, -1e30, 1e-5, -1e-5, 6e-8, 2e-8, inf, -inf, nan, 3.4e38]
for e, m in [(5, 10), (8, 7), (4, 3), (5, 2), (8, 23), (3, 0), (1, 2), (20, 40)]:
    case(f"reduce_precision_{e}_{m}", "XlaReducePrecision", [d(numbers, "float32")], [(0, 0)], exponent_bits=e, mantissa_bits=m)
case("reduce_precision_f16", "XlaReducePrecision", [d([1.06, 300, 1e-3, 0.3, nan], "float16")], exponent_bits=4, mantissa_bits=3)
case("reduce_precision_bf16", "XlaReducePrecision", [d([1.1, 1e9, 3.3, 1e-9], tf.bfloat16.as_numpy_dtype)], exponent_bits=5, mantissa_bits=3)
case("reduce_precision_f64", "XlaReducePrecision", [d([1.0000000001, 1e300, 1e-40, 0.3, 1 + 2**-24, 1 + 3 * 2**-24], "float64")], exponent_bits=8, mantissa_bits=23)

words = d([[0x01020384, 0xff008010], [0x7f818001, 0x00010203]], "uint32")
for low, high in [(0.0, 255.0), (-1.0, 3.0)]:
    for turned in [False, True]:
        case(f"dequantize_{high:.0f}_{turned}", "XlaDequantize", [words], [(0, 0)], min_range=low, max_range=high, mode="MIN_COMBINED", transpose_output=turned)

for i, (a, b, at) in enumerate([((2, 3), (3,), [1]), ((3,), (2, 3), [1]), ((2,), (2, 3), [0]), ((2, 3), (2, 3), []), ((2, 3), (), []), ((2, 2, 3), (2, 3), [0, 2])]):
    case(f"broadcast_helper_{i}", "XlaBroadcastHelper", [x(*a), x(*b), c(at)])

case("split_nd", "XlaSplitND", [x(3, 5)], [], N=4, num_splits=[2, 2], paddings=[1, 1])
case("split_nd_plain", "XlaSplitND", [x(4, 6)], N=6, num_splits=[2, 3], paddings=[])
case("split_nd_beyond", "XlaSplitND", [x(3, 5)], N=4, num_splits=[2, 2], paddings=[5, 7])
case("concat_nd", "XlaConcatND", [x(2, 3), x(2, 3, start=20.0)], num_concats=[1, 2], paddings=[1, 3], N=2)
case("concat_nd_plain", "XlaConcatND", [x(2, 2, start=4.0 * i) for i in range(4)], num_concats=[2, 2], paddings=[], N=4)

case("set_size", "XlaSetDynamicDimensionSize", [x(2, 3), c(1), d(2, "int32")])
case("remove_size", "XlaRemoveDynamicDimensionSize", [x(2, 3), c(1)])
case("set_bound", "XlaSetBound", [d(2, "int32"), c(3)])
case("sharding", "XlaSharding", [x(2, 3)], [(0, 0)], sharding=b"", unspecified_dims=[])
case("all_reduce", "XlaAllReduce", [x(2, 3), c([[0]])], [(0, 0)], reduce_op="Add", mode="CrossReplica")
case("eigh_lower", "XlaSelfAdjointEig", [d([[3, 9], [0, 1]], "float32")], lower=True, max_iter=100, epsilon=1e-6, tol=1e-5)
case("eigh_upper", "XlaSelfAdjointEig", [d([[1, 0], [9, 3]], "float64")], lower=False, max_iter=100, epsilon=1e-6, tol=1e-5)
case = plain_case
