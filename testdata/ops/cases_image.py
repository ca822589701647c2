"""Images: resizing, sampling, patches, colours, boxes."""
rng = np.random.RandomState(7)


def img(*shape, dtype="float32", low=0.0, high=1.0):
    return ("data", rng.uniform(low, high, size=shape).astype(dtype).round(3 if dtype in ("float32", "float64", "float16") else 0))


for mode, attrs in [("legacy", {}), ("corners", dict(align_corners=True)), ("half", dict(half_pixel_centers=True))]:
    for h, w in [(2, 7), (5, 3), (8, 10), (1, 1)]:
        for name in ["NearestNeighbor", "Bilinear", "Bicubic"]:
            case(f"resize_{name.lower()}_{mode}_{h}_{w}", "Resize" + name, [img(2, 4, 5, 3), c([h, w])], [(0, 0), (0, 1), (0, 3)],
                 tol=2e-6, **attrs)
    case(f"resize_bilinear_grad_{mode}", "ResizeBilinearGrad", [img(1, 7, 3, 2), img(1, 4, 5, 2)], [(0, 1)], grad=False, tol=1e-5, **attrs)
    case(f"resize_bicubic_grad_{mode}", "ResizeBicubicGrad", [img(1, 7, 3, 2), img(1, 4, 5, 2)], grad=False, tol=1e-5, **attrs)
    case(f"resize_nearest_grad_{mode}", "ResizeNearestNeighborGrad", [img(1, 7, 3, 2), c([4, 5])], [(0, 0)], grad=False, tol=1e-6, **attrs)
for h, w in [(2, 7), (3, 2), (1, 1)]:
    case(f"resize_area_{h}_{w}", "ResizeArea", [img(2, 4, 5, 3), c([h, w])], [(0, 0), (0, 2)], grad=False, tol=2e-6)
case("resize_area_corners", "ResizeArea", [img(2, 4, 5, 3), c([7, 3])], grad=False, tol=2e-6, align_corners=True)
case("resize_bilinear_u8", "ResizeBilinear", [("data", np.arange(24, dtype="uint8").reshape(1, 4, 6, 1)), c([3, 4])], tol=1e-6)
case("resize_nearest_i32", "ResizeNearestNeighbor", [("data", np.arange(24, dtype="int32").reshape(1, 4, 6, 1)), c([3, 8])])
case("resize_nearest_f64", "ResizeNearestNeighbor", [img(1, 3, 3, 1, dtype="float64"), c([5, 2])], tol=1e-12)
case("resize_to_nothing", "ResizeBilinear", [img(1, 3, 3, 1), c([0, 2])], error="positive")

boxes = d([[0.1, 0.2, 0.8, 0.9], [-0.5, 0.0, 1.0, 1.5], [0.9, 0.7, 0.2, 0.1]], "float32")
for method in ["bilinear", "nearest"]:
    for size in [[3, 4], [1, 1], [2, 1]]:
        case(f"crop_{method}_{size[0]}_{size[1]}", "CropAndResize", [img(2, 5, 6, 2), boxes, d([0, 1, 0], "int32"), c(size)], [(0, 0), (0, 3)],
             grad=False, tol=1e-6, method=method, extrapolation_value=-2.0)
case("crop_u8", "CropAndResize", [("data", np.arange(30, dtype="uint8").reshape(1, 5, 6, 1)), boxes, d([0, 0, 0], "int32"), c([2, 2])],
     tol=1e-6, method="bilinear", extrapolation_value=0.0)
case("crop_outside", "CropAndResize", [img(1, 5, 6, 1), boxes, d([0, 1, 0], "int32"), c([2, 2])], error="outside", grad=False,
     method="bilinear", extrapolation_value=0.0)

turn = d([[0.9, 0.3, -0.5, -0.2, 1.1, 0.7, 0.01, -0.02], [1, 0, 1.5, 0, 1, -0.5, 0, 0]], "float32")
for mode in ["CONSTANT", "REFLECT", "WRAP", "NEAREST"]:
    for interpolation in ["NEAREST", "BILINEAR"]:
        case(f"transform_{mode.lower()}_{interpolation.lower()}", "ImageProjectiveTransformV3",
             [img(2, 5, 6, 2), turn, c([6, 7]), d(0.5, "float32")], [(0, 0)], grad=False, tol=2e-5, interpolation=interpolation, fill_mode=mode)
far = d([[1, 0, -20.0, 0, 1, 33.0, 0, 0]], "float32")
for mode in ["REFLECT", "WRAP", "NEAREST"]:
    case(f"transform_far_{mode.lower()}", "ImageProjectiveTransformV2", [img(2, 5, 6, 1), far, c([5, 6])], grad=False, tol=1e-5,
         interpolation="BILINEAR", fill_mode=mode)
case("transform_u8", "ImageProjectiveTransformV2", [("data", np.arange(30, dtype="uint8").reshape(1, 5, 6, 1)), far, c([5, 6])], grad=False,
     interpolation="NEAREST", fill_mode="WRAP")

for pad in ["SAME", "VALID"]:
    case(f"patches_{pad.lower()}", "ExtractImagePatches", [img(2, 7, 6, 2)], [(0, 0), (0, 1), (0, 3)], tol=1e-6, ksizes=[1, 3, 2, 1],
         strides=[1, 2, 3, 1], rates=[1, 2, 1, 1], padding=pad)
    case(f"volume_patches_{pad.lower()}", "ExtractVolumePatches", [img(1, 4, 5, 3, 2)], [(0, 0)], grad=False, ksizes=[1, 2, 3, 2, 1],
         strides=[1, 1, 2, 1, 1], padding=pad)
    case(f"dilation_{pad.lower()}", "Dilation2D", [img(2, 6, 5, 2), img(2, 3, 2)], [(0, 0)], tol=1e-6, strides=[1, 2, 1, 1], rates=[1, 1, 2, 1],
         padding=pad)
    for batch in [False, True]:
        case(f"max_pool_with_argmax_{pad.lower()}_{batch}", "MaxPoolWithArgmax", [img(2, 6, 5, 3)], [(0, 0)], grad=False, ksize=[1, 3, 2, 1],
             strides=[1, 2, 1, 1], padding=pad, include_batch_in_index=batch)
case("max_pool_with_argmax_ties", "MaxPoolWithArgmax", [d(np.ones((1, 4, 4, 1)), "float32")], grad=False, ksize=[1, 2, 2, 1],
     strides=[1, 2, 2, 1], padding="VALID", Targmax=tf.int32)
case("patches_i32", "ExtractImagePatches", [("data", np.arange(16, dtype="int32").reshape(1, 4, 4, 1))], ksizes=[1, 2, 2, 1],
     strides=[1, 1, 1, 1], rates=[1, 1, 1, 1], padding="SAME")

grey = d([[[0.5, 0.5, 0.5], [0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 0], [0.2, 0.9, 0.9], [0.3, 0.1, 0.2]]], "float32")
for x3, kind in [(grey, "edges"), (img(2, 3, 3), "random"), (img(4, 3, dtype="float64"), "f64")]:
    t = 1e-6 if kind != "f64" else 1e-12
    case("rgb_to_hsv_" + kind, "RGBToHSV", [x3], [(0, 0)], grad=False, tol=t)
    case("hsv_to_rgb_" + kind, "HSVToRGB", [x3], [(0, 0)], grad=False, tol=t)
case("hsv_to_rgb_wide", "HSVToRGB", [img(5, 3, low=-1, high=2)], grad=False, tol=2e-6)
case("adjust_hue", "AdjustHue", [img(2, 3, 4, 3), d(0.3, "float32")], [(0, 0)], grad=False, tol=2e-6)
case("adjust_hue_back", "AdjustHue", [grey, d(-0.7, "float32")], grad=False, tol=2e-6)
case("adjust_saturation", "AdjustSaturation", [img(2, 3, 4, 3), d(1.7, "float32")], [(0, 1)], grad=False, tol=2e-6)
case("adjust_saturation_down", "AdjustSaturation", [grey, d(0.25, "float32")], grad=False, tol=2e-6)
case("adjust_contrast", "AdjustContrastv2", [img(2, 3, 4, 3), d(1.5, "float32")], [(0, 0), (0, 1)], grad=False, tol=2e-6)

some = img(12, 4)
scores = img(12)
S, T = d(0.4, "float32"), d(0.2, "float32")
case("nms", "NonMaxSuppression", [some, scores, d(5, "int32")], [(0, 0), (1, 0)], iou_threshold=0.3, grad=False)
case("nms_v2", "NonMaxSuppressionV2", [some, scores, d(20, "int32"), S], grad=False)
case("nms_v3", "NonMaxSuppressionV3", [some, scores, d(20, "int32"), S, T], [(0, 0), (1, 0)], grad=False)
case("nms_v3_none", "NonMaxSuppressionV3", [some, scores, d(0, "int32"), S, T], grad=False)
case("nms_v4", "NonMaxSuppressionV4", [some, scores, d(20, "int32"), S, T], grad=False, pad_to_max_output_size=False)
case("nms_v4_pad", "NonMaxSuppressionV4", [some, scores, c(20), S, T], grad=False, pad_to_max_output_size=True)
case("nms_v5", "NonMaxSuppressionV5", [some, scores, d(20, "int32"), S, T, d(0.0, "float32")], grad=False, tol=1e-6)
case("nms_v5_soft", "NonMaxSuppressionV5", [some, scores, d(9, "int32"), d(0.9, "float32"), T, d(0.5, "float32")], grad=False, tol=1e-6)
case("nms_v5_pad", "NonMaxSuppressionV5", [some, scores, c(15), S, T, d(0.5, "float32")], grad=False, tol=1e-6, pad_to_max_output_size=True)
case("nms_ties", "NonMaxSuppressionV3", [some, d([0.5] * 12, "float32"), d(4, "int32"), S, T], grad=False)
case("nms_empty", "NonMaxSuppressionV3", [d(np.zeros((0, 4)), "float32"), d(np.zeros(0), "float32"), d(4, "int32"), S, T], grad=False)
case("nms_bad", "NonMaxSuppressionV3", [some, scores, d(4, "int32"), d(1.5, "float32"), T], grad=False, error="iou_threshold")
case("nms_overlaps", "NonMaxSuppressionWithOverlaps", [img(5, 5), img(5), d(5, "int32"), S, T], grad=False)
for pad, clip in [(False, True), (True, False)]:
    case(f"combined_nms_{pad}", "CombinedNonMaxSuppression", [img(2, 6, 1, 4, low=-0.2, high=1.2), img(2, 6, 3), c(2), c(9), S, T], grad=False, tol=1e-6,
         pad_per_class=pad, clip_boxes=clip)
case("combined_nms_classes", "CombinedNonMaxSuppression", [img(2, 6, 3, 4), img(2, 6, 3), c(4), c(5), S, T], grad=False, tol=1e-6)
case("draw", "DrawBoundingBoxes", [img(2, 6, 7, 3), d([[[0.1, 0.2, 0.7, 0.9], [-0.2, 0.3, 1.3, 0.6]]] * 2, "float32")], grad=False)
case("draw_colours", "DrawBoundingBoxesV2", [img(1, 6, 7, 4), d([[[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.6, 0.6]]], "float32"),
     d([[0.25, 0.5, 0.75, 1.0]], "float32")], grad=False)
case("draw_grey", "DrawBoundingBoxesV2", [img(1, 6, 7, 1), d([[[0.2, 0.2, 0.8, 0.8]]], "float32"), d(np.zeros((0, 1)), "float32")], grad=False)

# SAME with strides above the window: TensorFlow's averages of volumes skip elements before the first window.
for size, strides in [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [3, 3, 3]), ([2, 1, 1], [5, 4, 4])]:
    for op in ["AvgPool3D", "MaxPool3D"]:
        case(f"{op.lower()}_far_{strides[0]}_{size[1]}", op, [img(1, 3, 4, 6, 2)], [(0, 0)], grad=False, tol=1e-6, ksize=[1] + size + [1],
             strides=[1] + strides + [1], padding="SAME")
