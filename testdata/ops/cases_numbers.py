"""Numbers: complex parts, cross products, checks, quantization, diagonals in bands, layouts."""
nan, inf = float("nan"), float("inf")
rng = np.random.RandomState(3)

case("complex", "Complex", [x(2, 3), x(2, 3, start=1.0)], [(0, 0), (1, 0)], Tout=tf.complex64)
case("complex_broadcast", "Complex", [x(2, 3, dtype="float64"), x(3, start=1.0, dtype="float64")], [(0, 0)], Tout=tf.complex128)
case("cross", "Cross", [x(2, 3), x(2, 3, start=1.0, step=0.75)], [(0, 0), (1, 0)])
case("cross_i32", "Cross", [d([1, -2, 3], "int32"), d([4, 5, 6], "int32")])
case("check_numerics", "CheckNumerics", [x(3)], [(0, 0)], message="here")
case("check_numerics_nan", "CheckNumerics", [d([1.0, nan], "float32")], message="here", error="NaN")
case("check_numerics_inf", "CheckNumericsV2", [d([1.0, inf], "float64")], message="here", error="Inf")
case("approximate_equal", "ApproximateEqual", [d([1.0, 2.0, nan], "float32"), d([1.0000001, 2.1, nan], "float32")], grad=False, tolerance=1e-5)
case("empty", "Empty", [c([2, 3])], dtype=tf.float32, init=True)
case("bitcast_narrow", "Bitcast", [d([1, 256], "int32")], [(0, 0)], type=tf.uint8)
case("bitcast_wide", "Bitcast", [d([[1, 2, 3, 4], [5, 6, 7, 8]], "uint8")], [(0, 0)], type=tf.int32)
case("bitcast_complex", "Bitcast", [d([[1.0, 2.0]], "float32")], grad=False, type=tf.complex64)
case("bitcast_bad", "Bitcast", [d([1, 2, 3], "uint8")], type=tf.int32, error="bitcast")

q = d(rng.uniform(-8, 8, size=(2, 3, 4)).round(2), "float32")
for bits, narrow in [(8, False), (4, True), (16, False)]:
    case(f"fake_quant_args_{bits}", "FakeQuantWithMinMaxArgs", [q], [(0, 0)], tol=1e-6, min=-5.5, max=4.25, num_bits=bits, narrow_range=narrow)
    ends = [d(-5.5, "float32"), d(4.25, "float32")]
    case(f"fake_quant_vars_{bits}", "FakeQuantWithMinMaxVars", [q] + ends, [(0, 0)], tol=1e-6, num_bits=bits, narrow_range=narrow)
    channels = [d([-5.0, -1.0, 0.0, -7.0], "float32"), d([4.0, 1.5, 6.0, 0.0], "float32")]
    case(f"fake_quant_channels_{bits}", "FakeQuantWithMinMaxVarsPerChannel", [q] + channels, [(0, 0)], tol=1e-6, num_bits=bits, narrow_range=narrow)
    g = d(rng.uniform(-1, 1, size=(2, 3, 4)).round(2), "float32")
    case(f"fake_quant_args_grad_{bits}", "FakeQuantWithMinMaxArgsGradient", [g, q], grad=False, min=-5.5, max=4.25, num_bits=bits, narrow_range=narrow)
    case(f"fake_quant_vars_grad_{bits}", "FakeQuantWithMinMaxVarsGradient", [g, q] + ends, grad=False, tol=1e-6, num_bits=bits, narrow_range=narrow)
    case(f"fake_quant_channels_grad_{bits}", "FakeQuantWithMinMaxVarsPerChannelGradient", [g, q] + channels, grad=False, tol=1e-6, num_bits=bits,
         narrow_range=narrow)
case("fake_quant_positive", "FakeQuantWithMinMaxArgs", [q], tol=1e-6, min=1.0, max=4.0)
case("fake_quant_unset", "FakeQuantWithMinMaxVars", [q, d(0.0, "float32"), d(0.0, "float32")], grad=False)
for signed in [False, True]:
    for given in [False, True]:
        for mode in ["HALF_TO_EVEN", "HALF_UP"]:
            ends = [d(-3.0, "float32"), d(5.0, "float32")]
            common = dict(signed_input=signed, range_given=given)
            tag = f"{signed}_{given}_{mode}".lower()
            case("quant_dequant_v2_" + tag, "QuantizeAndDequantizeV2", [q] + ends, [(0, 0)], tol=1e-6, round_mode=mode, num_bits=5, **common)
            case("quant_dequant_v4_" + tag, "QuantizeAndDequantizeV4", [q] + ends, tol=1e-6, round_mode=mode, num_bits=8, grad=given, **common)
    case(f"quant_dequant_v3_{signed}", "QuantizeAndDequantizeV3", [q] + ends + [c(6)], tol=1e-6, signed_input=signed, range_given=False)
ends = [d([-3.0, -1.0, 0.0], "float32"), d([5.0, 0.5, 3.0], "float32")]
case("quant_dequant_axis", "QuantizeAndDequantizeV2", [q] + ends, tol=1e-6, range_given=False, axis=1, narrow_range=True)
case("quant_dequant_grad", "QuantizeAndDequantizeV4Grad", [g, q, d(-3.0, "float32"), d(5.0, "float32")], grad=False, tol=1e-6)

f0 = c(0.0, "float32")
for align in ["LEFT_LEFT", "RIGHT_RIGHT", "LEFT_RIGHT", "RIGHT_LEFT"]:
    tag = align.lower()
    case("matrix_diag_band_" + tag, "MatrixDiagV3", [x(2, 3, 3), c([-1, 1]), c(-1), c(-1), f0], [(0, 0)], align=align)
    case("matrix_diag_part_band_" + tag, "MatrixDiagPartV3", [x(2, 4, 5), c([-2, 1]), c(9.0, "float32")], [(0, 0)], align=align)
    case("matrix_diag_part_up_" + tag, "MatrixDiagPartV3", [x(4, 3), c([1, 2]), c(9.0, "float32")], align=align)
    case("matrix_set_diag_band_" + tag, "MatrixSetDiagV3", [x(2, 4, 5), x(2, 3, 4, start=50.0), c([-1, 1])], [(0, 0), (1, 0)], align=align)
case("matrix_diag_band_sized", "MatrixDiagV3", [x(2, 3), c([-2, -1]), c(4), c(6), c(7.0, "float32")])
# TensorFlow differentiates version 2 with the alignment of version 3, which moves elements; ours does not.
case("matrix_diag_v2_band", "MatrixDiagV2", [x(2, 3), c([0, 1]), c(-1), c(-1), f0], grad=False)
case("matrix_diag_part_v2_band", "MatrixDiagPartV2", [x(4, 3), c([-1, 1]), f0], grad=False)
case("matrix_set_diag_v2_band", "MatrixSetDiagV2", [x(4, 3), x(2, 3, start=50.0), c([0, 1])], grad=False)

case("format_dim_map", "DataFormatDimMap", [d([[0, 1, -1], [3, -4, 2]], "int32")], src_format="NHWC", dst_format="NCHW")
case("format_dim_map_back", "DataFormatDimMap", [d([1, 2], "int64")], src_format="NCHW", dst_format="NHWC")
case("format_vec_permute", "DataFormatVecPermute", [d([7, 8, 9, 10], "int32")], src_format="NHWC", dst_format="NCHW")
case("format_vec_permute_pads", "DataFormatVecPermute", [d([[1, 2], [3, 4], [5, 6], [7, 8]], "int64")], src_format="NCHW", dst_format="NHWC")
case("format_vec_permute_spatial", "DataFormatVecPermute", [d([3, 4], "int32")], src_format="NHWC", dst_format="NCHW")
big = d(rng.uniform(-2, 2, size=(1, 2, 2, 6)).round(2), "float32")
case("lrn_grad", "LRNGrad", [d(rng.uniform(-1, 1, size=(1, 2, 2, 6)).round(2), "float32"), big, d(np.zeros((1, 2, 2, 6)), "float32")], grad=False, tol=1e-5,
     depth_radius=2, bias=1.5, alpha=0.3, beta=0.7)
conv = [d(rng.uniform(-1, 1, size=(2, 5, 6, 4)).round(2), "float32"), d(rng.uniform(-1, 1, size=(3, 2, 4, 3)).round(2), "float32")]
case("conv", "Conv", conv, [(0, 0)], tol=1e-5, grad=False, strides=[1, 2, 1, 1], padding="SAME", dilations=[1, 1, 2, 1])
case("conv_valid", "Conv", [d(rng.uniform(-1, 1, size=(2, 3, 5, 6, 4)).round(2), "float32"), conv[1]], tol=1e-5, grad=False, strides=[1, 1, 1, 1],
     padding="VALID", batch_dims=2)

for name, values, dtype in [("up", (-3, 8, 2), "int32"), ("down", (5, -4, -3), "int64"), ("nothing", (2, 2, 1), "int32"), ("floats", (0.5, 2.0, 0.25), "float32"),
                            ("doubles", (1.0, 0.0, -0.3), "float64")]:
    case("range_" + name, "Range", [d(v, dtype) for v in values], grad=False)
case("range_backwards", "Range", [d(v, "int32") for v in (2, 5, -1)], error="equires start")
for n in [1, 2, 5]:
    case(f"lin_space_{n}", "LinSpace", [d(-1.5, "float32"), d(2.0, "float32"), d(n, "int32")], grad=False, tol=1e-6)
