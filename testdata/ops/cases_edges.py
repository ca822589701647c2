"""Beam search, and gradients of sparse segments."""
rng = np.random.default_rng(3)


def listed_outputs(name, op, inputs, tol=None, error=None, symbolic=(), **attrs):
    """A case whose results are lists."""
    with tf.Graph().as_default() as g:
        call(op, [tf.constant(v) if kind == "const" else tf.compat.v1.placeholder(v.dtype, v.shape) for kind, v in inputs], attrs)
        node = [n for n in g.get_operations() if n.type == op][-1].node_def
        stored = {k: attr(node.attr[k]) for k in node.attr if not k.startswith("_")}
    out = {"name": name, "op": op, "attrs": stored, "inputs": [dict(tensor(v), const=kind == "const") for kind, v in inputs], "symbolic": [list(s) for s in symbolic]}
    if tol is not None:
        out["tol"] = tol
    try:
        r = call(op, [tf.constant(v) for _, v in inputs], attrs)
        assert error is None, name
        out["outputs"] = [tensor(y.numpy()) for part in r for y in (part if isinstance(part, (list, tuple)) else [part])]
    except tf.errors.OpError as e:
        assert error and error in str(e), (name, str(e))
        out["error"] = error
    cases.append(out)


for t in ["float32", "float64"]:
    for merge in [False, True]:
        for width, paths in [(1, 1), (4, 2), (20, 3), (100, 5)]:
            logits = ("data", (rng.normal(size=(7, 3, 5)) * 2).astype(t))
            listed_outputs(f"beam_{t}_{merge}_{width}", "CTCBeamSearchDecoder", [logits, d([7, 4, 6], "int32")], tol=2e-5, symbolic=[[0, 0], [0, 1]], beam_width=width, top_paths=paths,
                           merge_repeated=merge)
peaked = np.full((6, 1, 3), -5.0, "float32")
for i, k in enumerate([0, 0, 2, 0, 1, 1]):
    peaked[i, 0, k] = 5.0
for merge in [False, True]:
    listed_outputs(f"beam_repeats_{merge}", "CTCBeamSearchDecoder", [("data", peaked), d([6], "int32")], tol=2e-5, beam_width=10, top_paths=1, merge_repeated=merge)
listed_outputs("beam_empty", "CTCBeamSearchDecoder", [("data", np.zeros((2, 2, 3), "float32")), d([0, 0], "int32")], tol=2e-5, beam_width=3, top_paths=1, merge_repeated=True)
listed_outputs("beam_few", "CTCBeamSearchDecoder", [("data", np.zeros((2, 1, 3), "float32")), d([0], "int32")], error="Less leaves", beam_width=3, top_paths=2, merge_repeated=True)
listed_outputs("beam_long", "CTCBeamSearchDecoder", [("data", np.zeros((2, 1, 3), "float32")), d([3], "int32")], error=" ", beam_width=3, top_paths=1, merge_repeated=True)
for op in ["Sum", "Mean", "SqrtN"]:
    for t in ["int32", "int64"]:
        args = [x(3, 2, dtype="float64"), d([0, 2, 2, 1, 2], t), d([0, 0, 1, 2, 2], "int32")]
        case(f"segment_{op}_grad_{t}", f"SparseSegment{op}Grad", args + [c(4)], [(0, 1), (1, 0)], grad=False, tol=1e-15)
        listed_outputs(f"segment_{op}_grad_v2_{t}", f"SparseSegment{op}GradV2", args + [c(4)], tol=1e-15, symbolic=[(0, 1)])
    case(f"segment_{op}_grad_f32", f"SparseSegment{op}Grad", [x(2, 3), d([5, 0, 5], "int32"), d([0, 1, 1], "int64"), c(6)], grad=False, tol=1e-6)
    case(f"segment_{op}_grad_outside", f"SparseSegment{op}Grad", [x(2, 3), d([6, 0], "int32"), d([0, 1], "int32"), c(6)], error=" ")
box = lambda v: ("data", np.array(v, "float32"))
boxes = box([[[0.1, 0.2, 0.7, 0.8], [0.0, 0.0, 0.3, 0.4]]])
D = dict(aspect_ratio_range=[0.75, 1.33], area_range=[0.05, 1.0], max_attempts=100, use_image_if_no_bounding_boxes=False)
for i, (seed, size, share, a) in enumerate([([3, 4], [100, 80, 3], 0.1, {}), ([5, -6], [37, 200, 3], 0.5, {}), ([7, 8], [300, 17, 1], 0.9, dict(max_attempts=5)), ([1, 1], [64, 64, 3], 0.0, dict(area_range=[0.5, 0.6])),
                                            ([2, 9], [9, 11, 3], 1.0, dict(max_attempts=2)), ([2, 3], [480, 640, 3], 0.1, dict(aspect_ratio_range=[0.2, 5.0]))]):
    for t in ["int32", "int64"] if i == 0 else ["int32"]:
        case(f"distorted_box_{i}_{t}", "StatelessSampleDistortedBoundingBox", [d(size, t), boxes, box(share), d(seed, "int32")], grad=False, **dict(D, **a))
    case(f"distorted_box_stream_{i}", "SampleDistortedBoundingBoxV2", [d(size, "int32"), boxes, box(share)], grad=False, seed=11 + i, seed2=12, **dict(D, **a))
case("distorted_box_v1", "SampleDistortedBoundingBox", [d([50, 60, 3], "int32"), boxes], grad=False, seed=5, seed2=6, min_object_covered=0.2, **D)
case("distorted_box_whole", "StatelessSampleDistortedBoundingBox", [d([50, 60, 3], "int32"), ("data", np.zeros([1, 0, 4], "float32")), box(0.1), d([1, 2], "int64")], grad=False,
     **dict(D, use_image_if_no_bounding_boxes=True))
case("distorted_box_none", "StatelessSampleDistortedBoundingBox", [d([50, 60, 3], "int32"), ("data", np.zeros([1, 0, 4], "float32")), box(0.1), d([1, 2], "int64")], error="No bounding boxes", **D)
case("distorted_box_outside", "StatelessSampleDistortedBoundingBox", [d([50, 60, 3], "int32"), box([[[0, 0, 1.5, 1]]]), box(0.1), d([1, 2], "int64")], error="coordinates", **D)
for op in ["Max", "Avg"]:
    for i, (ratio, size) in enumerate([((1.44, 1.73), (7, 9)), ((1.0, 2.5), (5, 10)), ((2.0, 1.5), (8, 9))]):
        for even in [False, True]:
            for over in [False, True]:
                case(f"fractional_{op}_{i}_{even}_{over}", f"Fractional{op}Pool", [("data", rng.normal(size=(2, *size, 3)).astype("float32"))], grad=False, tol=1e-6, pooling_ratio=[1.0, *ratio, 1.0],
                     pseudo_random=even, overlapping=over, deterministic=True, seed=3 + i, seed2=4)
    case(f"fractional_{op}_int", f"Fractional{op}Pool", [("data", rng.integers(-99, 99, (1, 6, 6, 1)).astype("int64"))], grad=False, pooling_ratio=[1.0, 1.4, 1.4, 1.0], pseudo_random=False, overlapping=False,
         deterministic=True, seed=3, seed2=4)
