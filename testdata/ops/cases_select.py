"""Elements picked by what they hold, segments, counting."""
nan, inf = float("nan"), float("inf")
text = lambda *s: ("data", np.array(s, object))

case("where", "Where", [d([[1, 0, 2], [0, 0, 3]], "int32")], [(0, 0)])
case("where_bool", "Where", [("data", np.array([True, False, True]))])
case("where_float", "Where", [d([[0.0, nan], [-0.0, 1.0]], "float32")], grad=False)
case("where_complex", "Where", [d([0, 1j, 2], "complex64")], grad=False)
case("where_empty", "Where", [d(np.zeros((0, 3)), "float32")], grad=False)
for name, op in [("unique", "Unique"), ("unique_counts", "UniqueWithCounts")]:
    case(name, op, [d([3, 1, 3, 2, 1], "int32")], [(0, 0)], out_idx=tf.int32)
    case(name + "_i64", op, [d([3.5, 1.0, 3.5], "float32")], grad=False, out_idx=tf.int64)
    case(name + "_text", op, [text(b"b", b"a", b"b", b"")], out_idx=tf.int32)
    case(name + "_empty", op, [d([], "int64")], out_idx=tf.int32)
case("unique_v2", "UniqueV2", [d([3, 1, 3], "int32"), c([], "int64")], out_idx=tf.int32)
case("unique_v2_rows", "UniqueV2", [d([[1, 2], [3, 4], [1, 2]], "int32"), c([0], "int64")], out_idx=tf.int32)
case("unique_v2_columns", "UniqueV2", [d([[1, 2, 1], [3, 4, 3]], "float32"), c([1], "int64")], grad=False, out_idx=tf.int64)
case("unique_counts_v2", "UniqueWithCountsV2", [d([[1, 2, 1], [3, 4, 3]], "int64"), c([-1], "int64")], out_idx=tf.int32)
case("unique_matrix", "Unique", [d([[1, 2], [3, 4]], "int32")], error="1D")
case("list_diff", "ListDiff", [d([1, 2, 3, 4, 2, 5], "int32"), d([2, 4], "int32")], [(0, 0)], out_idx=tf.int32)
case("list_diff_text", "ListDiff", [text(b"a", b"b"), text(b"b")], out_idx=tf.int64)
case("list_diff_floats", "ListDiff", [d([1.0, 0.0, 2.0], "float32"), d([-0.0], "float32")], grad=False, out_idx=tf.int32)
case("dynamic_partition", "DynamicPartition", [x(5, 2), d([1, 0, 2, 1, 1], "int32")], num_partitions=4)
case("dynamic_partition_scalars", "DynamicPartition", [x(2, 3), d([[0, 1, 0], [1, 1, 0]], "int32")], num_partitions=2)
case("dynamic_partition_text", "DynamicPartition", [text(b"a", b"b", b"c"), d([1, 0, 1], "int32")], num_partitions=2)
case("dynamic_partition_outside", "DynamicPartition", [x(3), d([0, 2, 0], "int32")], num_partitions=2, error="partitions")

ids = d([0, 0, 2, 2, 2], "int32")
for op in ["Sum", "Prod", "Max", "Min", "Mean"]:
    case("segment_" + op.lower(), "Segment" + op, [x(5, 2), ids], [(0, 1)], tol=1e-6, grad=op != "Prod")
    case("segment_i64_" + op.lower(), "Segment" + op, [d([5, -7, 3, 1, 9], "int64"), d([0, 0, 3, 3, 3], "int64")])
case("segment_unsorted", "SegmentSum", [x(3), d([1, 0, 2], "int32")], error="increasing")
case("segment_empty", "SegmentSum", [d(np.zeros((0, 2)), "float32"), d([], "int32")], grad=False)
for op in ["Sum", "Prod", "Max", "Min"]:
    case("unsorted_segment_" + op.lower(), "UnsortedSegment" + op, [x(5, 2), d([2, 0, -1, 2, 0], "int32"), c(4)], [(0, 1)], tol=1e-6, grad=op != "Prod")
    case("unsorted_segment_i32_" + op.lower(), "UnsortedSegment" + op, [d([[5, -7], [3, 1]], "int32"), d([[1, 1], [0, 1]], "int64"), c(3, "int64")])
    case("unsorted_segment_outside_" + op.lower(), "UnsortedSegment" + op, [x(3), d([0, 4, 1], "int32"), c(4)], error="out of range")
    case("unsorted_segment_next_" + op.lower(), "UnsortedSegment" + op, [x(3), d([0, 5, 1], "int32"), c(4)], error="out of range")
case("unsorted_segment_complex", "UnsortedSegmentSum", [d([1 + 2j, 3, 4j], "complex64"), d([1, 1, 0], "int32"), c(2)], grad=False)
for op in ["Sum", "Mean", "SqrtN"]:
    case("sparse_segment_" + op.lower(), "SparseSegment" + op, [x(4, 3), d([3, 0, 1, 1], "int32"), d([0, 0, 2, 2], "int32")], tol=1e-6)
    case("sparse_segment_counted_" + op.lower(), f"SparseSegment{op}WithNumSegments", [x(4, 3), d([3, 0, 1], "int32"), d([0, 0, 2], "int32"), c(5)], tol=1e-6)
    case("sparse_segment_outside_" + op.lower(), "SparseSegment" + op, [x(4, 3), d([3, 0, 4], "int32"), d([0, 0, 2], "int32")], error="out of range")

case("bincount", "Bincount", [d([1, 3, 1, 7], "int32"), c(5), d([], "int32")])
case("bincount_weights", "Bincount", [d([[1, 3], [1, 7]], "int32"), c(5), d([[0.5, 1.5], [2.0, 3.0]], "float32")], grad=False)
case("bincount_negative", "Bincount", [d([1, -1], "int32"), c(5), d([], "int32")], error="negative")
case("dense_bincount", "DenseBincount", [d([[1, 3, 1], [0, 0, 9]], "int64"), c(4, "int64"), d([], "int64")])
case("dense_bincount_vector", "DenseBincount", [d([1, 3, 1], "int32"), c(4), d([2.0, 1.0, 0.5], "float64")], grad=False)
case("dense_bincount_binary", "DenseBincount", [d([[1, 3, 1], [0, 0, 9]], "int32"), c(4), d([], "float32")], grad=False, binary_output=True)
rows = d([[1.0, 3.0, 3.0, 7.0], [0.0, 0.0, 1.0, 2.0]], "float32")
for op in ["LowerBound", "UpperBound"]:
    case(op.lower(), op, [rows, d([[0.0, 3.0, 8.0], [0.0, 0.5, 2.0]], "float32")], [(0, 0), (1, 0)], grad=False, out_type=tf.int32)
    case(op.lower() + "_i64", op, [d([[1, 3, 3]], "int32"), d([[3, 4]], "int32")], out_type=tf.int64)
case("bucketize", "Bucketize", [d([[-5.0, 0.0, 3.0], [10.0, 150.0, 2.5]], "float32")], [(0, 0)], grad=False, boundaries=[0.0, 2.5, 100.0])
case("bucketize_i32", "Bucketize", [d([-5, 0, 3, 100], "int32")], boundaries=[0.0, 2.5, 100.0])
top = d([[0.1, 0.5, 0.3, 0.5], [0.2, inf, 0.4, 0.1], [0.4, 0.3, 0.2, 0.1]], "float32")
for k in [1, 2, 3]:
    case(f"in_top_k_{k}", "InTopK", [top, d([3, 2, 9], "int32")], grad=False, k=k)
    case(f"in_top_k_v2_{k}", "InTopKV2", [top, d([2, 1, 2], "int64"), d(k, "int64")], grad=False)
case("unravel_index", "UnravelIndex", [d([22, 41, 37], "int32"), d([7, 6], "int32")], [(0, 0)])
case("unravel_index_scalar", "UnravelIndex", [d(22, "int64"), d([2, 3, 4], "int64")])
case("unravel_index_outside", "UnravelIndex", [d([42], "int32"), d([7, 6], "int32")], error="out of")
for exclusive in [False, True]:
    for reverse in [False, True]:
        case(f"cumulative_logsumexp_{exclusive}_{reverse}", "CumulativeLogsumexp", [x(3, 5, dtype="float64"), c(1)], [(0, 0)], tol=1e-12, grad=not exclusive,
             exclusive=exclusive, reverse=reverse)
case("cumulative_logsumexp_inf", "CumulativeLogsumexp", [d([-inf, -inf, 1.0, 2.0], "float32"), c(0)], grad=False, tol=1e-6)
