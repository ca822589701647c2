"""Quantized numbers. Tables hold them as the integers of their width."""
PLAIN = {"qint8": "int8", "quint8": "uint8", "qint16": "int16", "quint16": "uint16", "qint32": "int32"}
NAMES.update({"qint8": "i8", "quint8": "u8", "qint16": "i16", "quint16": "u16", "qint32": "i32"})


def qt(values, kind):
    """An operand of a quantized type: (integers, type)."""
    return ("data", np.array(values, PLAIN[kind]), tf.as_dtype(kind))


def f32(v):
    return ("data", np.array(v, "float32"), None)


def plain(y):
    kind = PLAIN.get(y.dtype.name)
    return (tf.bitcast(y, kind) if kind else y).numpy()


def quantized(name, op, args, error=None, tol=None, symbolic=(), **attrs):
    """Operands are named; each is one operand or a list."""
    flat = [v for a in args.values() for v in (a if type(a) is list else [a])]

    def make(v):
        t = tf.constant(v[1])
        return tf.bitcast(t, v[2]) if v[2] else t
    values = lambda: {k: [make(v) for v in a] if type(a) is list else make(a) for k, a in args.items()}
    with tf.Graph().as_default() as g:
        try:
            getattr(tf.raw_ops, op)(**values(), **attrs)
        except (ValueError, TypeError):
            assert error, name
        node = [n for n in g.get_operations() if n.type == op][-1].node_def
        stored = {k: attr(node.attr[k]) for k in node.attr if not k.startswith("_")}
    out = {"name": name, "op": op, "attrs": stored, "inputs": [dict(tensor(v[1]), const=v[0] == "const") for v in flat], "symbolic": [list(q) for q in symbolic]}
    if tol is not None:
        out["tol"] = tol
    try:
        r = getattr(tf.raw_ops, op)(**values(), **attrs)
        assert error is None, name
        out["outputs"] = [tensor(plain(y)) for y in (list(r) if isinstance(r, (list, tuple)) else [r])]
    except tf.errors.OpError as e:
        assert error and error in str(e), (name, str(e))
        out["error"] = error
    cases.append(out)


rng = np.random.default_rng(5)
values = np.concatenate([[-1.5, -1, -0.3, 0, 0.2, 0.5, 1, 2.0, 0.25, -0.0, np.inf, -np.inf], rng.normal(size=20)]).astype("float32")
ranges = [(-1.0, 1.3), (0.5, 3.0), (-2.0, -0.5), (0.0, 0.0), (-1e-3, 1e-3)]
Q = dict(narrow_range=False, axis=-1)
for t in ["qint8", "quint8", "qint16", "quint16"]:
    for i, (lo, hi) in enumerate(ranges):
        ends = dict(min_range=f32(lo), max_range=f32(hi))
        for mode, rm in [("MIN_COMBINED", "HALF_AWAY_FROM_ZERO"), ("MIN_FIRST", "HALF_AWAY_FROM_ZERO"), ("SCALED", "HALF_AWAY_FROM_ZERO"), ("SCALED", "HALF_TO_EVEN")]:
            for narrow in [False, True] if mode == "SCALED" and i < 2 else [False]:
                quantized(f"quantize_{t}_{i}_{mode}_{rm}_{narrow}", "QuantizeV2", dict(input=f32(values), **ends), T=tf.as_dtype(t), mode=mode, round_mode=rm,
                          narrow_range=narrow, axis=-1, ensure_minimum_range=0.01, symbolic=[[0, 0]])
    numbers = np.unique(np.concatenate([np.array([np.iinfo(PLAIN[t]).min, np.iinfo(PLAIN[t]).max, 0, 1, 5, 100]), rng.integers(np.iinfo(PLAIN[t]).min, np.iinfo(PLAIN[t]).max, 10)]))
    for mode in ["MIN_COMBINED", "MIN_FIRST", "SCALED"]:
        for i, (lo, hi) in enumerate([(-1.0, 1.3), (0.5, 3.0), (-2.0, -0.5)]):
            quantized(f"dequantize_{t}_{mode}_{i}", "Dequantize", dict(input=qt(numbers, t), min_range=f32(lo), max_range=f32(hi)), mode=mode, dtype=tf.float32, **Q)
quantized("quantize_qint32", "QuantizeV2", dict(input=f32([-1, -0.3, 0, 0.5]), min_range=f32(-1.0), max_range=f32(1.3)), T=tf.qint32, mode="MIN_FIRST", round_mode="HALF_AWAY_FROM_ZERO", ensure_minimum_range=0.01, **Q)
quantized("quantize_range_kept", "QuantizeV2", dict(input=f32(values), min_range=f32(-1e-3), max_range=f32(1e-3)), T=tf.qint8, mode="SCALED", round_mode="HALF_TO_EVEN", ensure_minimum_range=0.0, **Q)
quantized("dequantize_bf16", "Dequantize", dict(input=qt([0, 5, 255], "quint8"), min_range=f32(-1), max_range=f32(2)), mode="MIN_COMBINED", dtype=tf.bfloat16, **Q)
for t in ["qint8", "quint8"]:
    ends = dict(min_range=f32([-1, -2, 0.0]), max_range=f32([1, 0.5, 3.0]))
    sliced = rng.normal(size=(2, 3, 2)).astype("float32")
    for mode in ["SCALED"]:
        quantized(f"quantize_axis_{t}_{mode}", "QuantizeV2", dict(input=f32(sliced), **ends), T=tf.as_dtype(t), mode=mode, round_mode="HALF_TO_EVEN", narrow_range=False, axis=1, ensure_minimum_range=0.01)
        quantized(f"dequantize_axis_{t}_{mode}", "Dequantize", dict(input=qt(rng.integers(0, 127, (2, 3, 2)), t), **ends), mode=mode, narrow_range=False, axis=1, dtype=tf.float32)

u8 = lambda *shape: qt(rng.integers(0, 256, shape), "quint8")
E2 = lambda a, b, lo1=-1.0, hi1=2.0, lo2=0.0, hi2=3.0: {f"min_{a}": f32(lo1), f"max_{a}": f32(hi1), f"min_{b}": f32(lo2), f"max_{b}": f32(hi2)}
for i, r in enumerate([(-1.0, 2.0, 0.0, 3.0), (-0.37, 1.1, -2.3, -0.1), (0.1, 0.9, 0.2, 7.7)]):
    quantized(f"mul_{i}", "QuantizedMul", dict(x=u8(3, 4), y=u8(3, 4), **E2("x", "y", *r)), Toutput=tf.qint32, symbolic=[[0, 0], [1, 0]])
    quantized(f"add_{i}", "QuantizedAdd", dict(x=u8(3, 4), y=u8(3, 4), **E2("x", "y", *r)), Toutput=tf.qint32, symbolic=[[0, 0], [1, 0]])
    quantized(f"bias_add_{i}", "QuantizedBiasAdd", dict(input=u8(3, 4), bias=u8(4), min_input=f32(r[0]), max_input=f32(r[1]), min_bias=f32(r[2]), max_bias=f32(r[3])), out_type=tf.qint32, symbolic=[[0, 0]])
    for ta in [False, True]:
        for tb in [False, True]:
            quantized(f"mat_mul_{i}_{ta}_{tb}", "QuantizedMatMul", dict(a=u8(*((4, 3) if ta else (3, 4))), b=u8(*((5, 4) if tb else (4, 5))), **E2("a", "b", *r)), transpose_a=ta, transpose_b=tb,
                      Toutput=tf.qint32, symbolic=[[0, 1 if ta else 0]])
    for pad in ["SAME", "VALID"]:
        for s_ in [1, 2]:
            quantized(f"conv_{i}_{pad}_{s_}", "QuantizedConv2D", dict(input=u8(2, 5, 4, 3), filter=u8(2, 3, 3, 2), **E2("input", "filter", *r)), strides=[1, s_, s_, 1], padding=pad, symbolic=[[0, 0], [0, 1]])
quantized("mul_scalar", "QuantizedMul", dict(x=u8(), y=u8(5), **E2("x", "y")), Toutput=tf.qint32)
quantized("mul_rows", "QuantizedMul", dict(x=u8(3, 4), y=u8(4), **E2("x", "y")), Toutput=tf.qint32)
quantized("add_scalar", "QuantizedAdd", dict(x=u8(6), y=u8(), **E2("x", "y", -0.3, 1.7)), Toutput=tf.qint32)
quantized("add_scalar_first", "QuantizedAdd", dict(x=u8(), y=u8(6), **E2("x", "y", -0.3, 1.7)), Toutput=tf.qint32)
quantized("add_rows", "QuantizedAdd", dict(x=u8(3, 4), y=u8(4), **E2("x", "y", -0.3, 1.7)), Toutput=tf.qint32)
every = qt(np.arange(0, 256, 5), "quint8")
for lo, hi in [(-1.0, 2.0), (-5.0, 12.0), (0.5, 9.0), (-3.0, -1.0)]:
    ends = dict(min_features=f32(lo), max_features=f32(hi))
    quantized(f"relu_{lo}", "QuantizedRelu", dict(features=every, **ends), out_type=tf.quint8, symbolic=[[0, 0]])
    quantized(f"relu6_{lo}", "QuantizedRelu6", dict(features=every, **ends), out_type=tf.quint8)
    quantized(f"relu_sums_{lo}", "QuantizedRelu", dict(features=qt([-2**31, -7, 0, 99, 2**30], "qint32"), **ends), out_type=tf.qint32)
W = dict(ksize=[1, 2, 3, 1], padding="SAME")
for s_ in [1, 2]:
    for pad in ["SAME", "VALID"]:
        a = dict(input=u8(2, 5, 4, 3), min_input=f32(-1.0), max_input=f32(2.0))
        k = dict(ksize=[1, 2, 3, 1], strides=[1, s_, s_, 1], padding=pad, symbolic=[[0, 0]])
        quantized(f"avg_pool_{s_}_{pad}", "QuantizedAvgPool", a, **k)
        quantized(f"max_pool_{s_}_{pad}", "QuantizedMaxPool", a, **k)
quantized("reshape", "QuantizedReshape", dict(tensor=u8(3, 4), shape=("const", np.array([2, -1], "int32"), None), input_min=f32(-1), input_max=f32(2)))
for t in ["quint8", "qint32"]:
    v = [qt(rng.integers(0, 99, (2, n)), t) for n in (1, 2, 3)]
    quantized(f"concat_{t}", "QuantizedConcat", dict(concat_dim=("const", np.array(1, "int32"), None), values=v, input_mins=[f32(-1), f32(0), f32(-1)], input_maxes=[f32(1), f32(2), f32(2)]))
quantized("concat_one_range", "QuantizedConcat", dict(concat_dim=("const", np.array(0, "int32"), None), values=[u8(2, 2), u8(1, 2)], input_mins=[f32(-1), f32(-1)], input_maxes=[f32(2), f32(2)]))
sums = [qt([-2**31, -5000, 0, 123456, 2**31 - 1, 77777777], "qint32"), qt(rng.integers(-10**7, 10**8, 12), "qint32"), qt([5, 900, 123456789], "qint32")]
for i, v in enumerate(sums):
    for j, (lo, hi) in enumerate([(-10.0, 10.0), (-1000.0, 1000.0), (-3.0, 11.0)]):
        r = dict(input=v, input_min=f32(lo), input_max=f32(hi))
        quantized(f"requantization_range_{i}_{j}", "RequantizationRange", r, symbolic=[[0, 0]])
        quantized(f"shrink_{i}_{j}", "QuantizeDownAndShrinkRange", r, out_type=tf.quint8)
        quantized(f"requantize_{i}_{j}", "Requantize", dict(r, requested_output_min=f32(-3.0), requested_output_max=f32(4.0)), out_type=tf.quint8, symbolic=[[0, 0]])

B = dict(quantization_min_val=-128, quantization_max_val=127)
L32 = dict(quantization_min_val=-2**31, quantization_max_val=2**31 - 1)
i32 = lambda v: ("data", np.array(v, "int32"), None)
piece = lambda name, d_, axis=-1: {**{f"{name}_{k}": v for k, v in d_.items()}, f"{name}_quantization_axis": axis}
finite = values[np.isfinite(values)]
for t in ["qint8", "qint32"]:
    quantized(f"uniform_quantize_{t}", "UniformQuantize", dict(input=f32(finite), scales=f32(0.3), zero_points=i32(3)), Tout=tf.as_dtype(t), quantization_axis=-1, **B)
    quantized(f"uniform_quantize_axis_{t}", "UniformQuantize", dict(input=f32(rng.normal(size=(2, 3))), scales=f32([0.1, 0.02, 0.3]), zero_points=i32([3, -4, 0])), Tout=tf.as_dtype(t), quantization_axis=1, **B)
    quantized(f"uniform_dequantize_{t}", "UniformDequantize", dict(input=qt([-128, -1, 0, 5, 127], t), scales=f32(0.3), zero_points=i32(3)), Tout=tf.float32, quantization_axis=-1, **B)
    quantized(f"uniform_dequantize_axis_{t}", "UniformDequantize", dict(input=qt([[-128, 3], [0, 127]], t), scales=f32([0.3, 0.7]), zero_points=i32([3, 1])), Tout=tf.float32, quantization_axis=0, **B)
for t, to in [("qint8", "qint8"), ("qint32", "qint8")]:
    lim = lambda k: B if k == "qint8" else L32
    v = qt(rng.integers(-128, 128, (4, 3)) * (1 if t == "qint8" else 1001), t)
    for i, (s1, s2) in enumerate([(0.3, 0.7), (0.7, 0.003), (1e-3, 1.0)]):
        quantized(f"uniform_requantize_{t}_{to}_{i}", "UniformRequantize", dict(input=v, input_scales=f32(s1), input_zero_points=i32(3), output_scales=f32(s2), output_zero_points=i32(-2)), Tout=tf.as_dtype(to),
                  symbolic=[[0, 0]], **piece("input", lim(t)), **piece("output", lim(to)))
    quantized(f"uniform_requantize_axis_{t}_{to}", "UniformRequantize", dict(input=v, input_scales=f32([0.3, 0.1, 0.5]), input_zero_points=i32([1, 2, 3]), output_scales=f32(0.4), output_zero_points=i32(-2)),
              Tout=tf.as_dtype(to), **piece("input", lim(t), 1), **piece("output", lim(to)))
n32 = lambda *shape: qt(rng.integers(-9999, 9999, shape), "qint32")
SC = lambda name, s_, z: {f"{name}_scales": f32(s_), f"{name}_zero_points": i32(z)}
for i, (a, b) in enumerate([((2, 3), (2, 3)), ((2, 3), (3,)), ((3,), (2, 3))]):
    quantized(f"uniform_add_{i}", "UniformQuantizedAdd", dict(lhs=n32(*a), rhs=n32(*b), **SC("lhs", 0.3, 4), **SC("rhs", 0.07, -9), **SC("output", 0.2, 7)), **piece("lhs", L32), **piece("rhs", L32), **piece("output", L32))
quantized("uniform_clip", "UniformQuantizedClipByValue", dict(operand=n32(2, 5), min=qt(-3000, "qint32"), max=qt(2000, "qint32"), scales=f32(0.3), zero_points=i32(4)), quantization_axis=-1, **L32)
quantized("uniform_clip_axis", "UniformQuantizedClipByValue", dict(operand=n32(2, 5), min=qt([-3000, 10], "qint32"), max=qt([2000, 20], "qint32"), scales=f32([0.3, 0.4]), zero_points=i32([4, 5])), quantization_axis=0, **L32)
n8 = lambda *shape: qt(rng.integers(-128, 128, shape), "qint8")
quantized("uniform_dot", "UniformQuantizedDot", dict(lhs=n8(3, 4), rhs=n8(4, 5), **SC("lhs", 0.3, 4), **SC("rhs", 0.07, 0), **SC("output", 0.002, 7)), Tout=tf.qint32, symbolic=[[0, 0]], **piece("lhs", B), **piece("rhs", B), **piece("output", L32))
quantized("uniform_dot_axis", "UniformQuantizedDot", dict(lhs=n8(3, 4), rhs=n8(4, 2), **SC("lhs", 0.3, 4), **SC("rhs", [0.07, 0.2], [0, 0]), **SC("output", [0.002, 1.0], [7, 0])), Tout=tf.qint32,
          **piece("lhs", B), **piece("rhs", B, 1), **piece("output", L32, 1))
for i, x_ in enumerate([rng.normal(size=(3, 4)), rng.uniform(1, 2, (3, 4)), -rng.uniform(1, 2, (3, 4)), np.zeros((2, 4))]):
    quantized(f"uniform_dot_hybrid_{i}", "UniformQuantizedDotHybrid", dict(lhs=f32(x_), rhs=n8(4, 5), rhs_scales=f32(0.07), rhs_zero_points=i32(3)), Tout=tf.float32, **piece("rhs", B))
quantized("uniform_dot_hybrid_axis", "UniformQuantizedDotHybrid", dict(lhs=f32(rng.normal(size=(3, 4))), rhs=n8(4, 2), rhs_scales=f32([0.07, 2.0]), rhs_zero_points=i32([0, 0])), Tout=tf.float32, **piece("rhs", B, 1))
CV = dict(window_strides=[1, 2], padding="SAME", explicit_padding=[], lhs_dilation=[], rhs_dilation=[], batch_group_count=1, feature_group_count=1, dimension_numbers="")
# Batch 0, features 3, space 1 and 2 of both sides; output features 3, input features 2, space 0 and 1 of the filter.
LAST = b"\x10\x03\x1a\x02\x01\x02 \x02(\x032\x02\x00\x01@\x03J\x02\x01\x02"
for name, a, groups in [("base", {}, 1), ("valid", dict(padding="VALID"), 1), ("explicit", dict(padding="EXPLICIT", explicit_padding=[1, 0, 2, 1], window_strides=[]), 1),
                        ("dilated", dict(rhs_dilation=[2, 1]), 1), ("base_dilated", dict(lhs_dilation=[2, 3]), 1), ("groups", dict(feature_group_count=3), 3)]:
    wide = [n8(2, 3, 5, 4), n8(6, 3 // groups, 2, 3)]
    quantized(
        f"uniform_conv_{name}", "UniformQuantizedConvolution", dict(lhs=wide[0], rhs=wide[1], **SC("lhs", 0.3, 4), **SC("rhs", 0.07, 0), **SC("output", 0.002, 7)), Tout=tf.qint32,
        symbolic=[[0, 0]], **piece("lhs", B), **piece("rhs", B), **piece("output", L32), **dict(CV, **a))
    quantized(f"uniform_conv_hybrid_{name}", "UniformQuantizedConvolutionHybrid", dict(lhs=f32(rng.normal(size=(2, 3, 5, 4))), rhs=wide[1], rhs_scales=f32(0.07), rhs_zero_points=i32(3)),
              Tout=tf.float32, symbolic=[[0, 0]], **piece("rhs", B), **dict(CV, **a))
per = dict(**SC("lhs", 0.3, 4), **SC("rhs", [0.07, 0.1, 0.2, 0.3, 0.4, 0.5], [0] * 6))
quantized("uniform_conv_axis", "UniformQuantizedConvolution", dict(lhs=n8(2, 3, 5, 4), rhs=n8(6, 3, 2, 3), **per, **SC("output", 0.002, 7)), Tout=tf.qint32,
          **piece("lhs", B), **piece("rhs", B, 0), **piece("output", L32), **CV)
quantized("uniform_conv_axes", "UniformQuantizedConvolution", dict(lhs=n8(2, 3, 5, 4), rhs=n8(6, 3, 2, 3), **per, **SC("output", [0.002, 0.01, 0.02, 0.03, 1.0, 2.0], [7, 6, 5, 4, 3, 2])), Tout=tf.qint32,
          **piece("lhs", B), **piece("rhs", B, 0), **piece("output", L32, 1), **CV)
quantized("uniform_conv_last", "UniformQuantizedConvolution", dict(lhs=n8(2, 5, 4, 3), rhs=n8(2, 3, 3, 6), **per, **SC("output", 0.002, 7)), Tout=tf.qint32,
          **piece("lhs", B), **piece("rhs", B, 3), **piece("output", L32), **dict(CV, dimension_numbers=LAST))
quantized("uniform_conv_hybrid_last", "UniformQuantizedConvolutionHybrid", dict(lhs=f32(rng.normal(size=(2, 5, 4, 3))), rhs=n8(2, 3, 3, 6), rhs_scales=f32([0.07, 0.1, 0.2, 0.3, 0.4, 0.5]), rhs_zero_points=i32([0] * 6)),
          Tout=tf.float32, **piece("rhs", B, 3), **dict(CV, dimension_numbers=LAST))
