"""Sparse and ragged tensors, sets."""
def s(v):
    return ("data", np.array(v, object))
def i64(v):
    return ("data", np.array(v, "int64"))
at, val, shp = i64([[0, 1], [0, 3], [2, 0], [3, 2]]), d([1.5, -2.0, 3.0, 4.5], "float64"), c([5, 4], "int64")
case("to_dense", "SparseToDense", [at, shp, val, d(0.5, "float64")], [(0, 0), (2, 0)], validate_indices=True)
case("to_dense_vector", "SparseToDense", [d([1, 3], "int32"), c([5]), d(7, "int32"), d(-1, "int32")], validate_indices=True)
case("to_dense_scalar", "SparseToDense", [d(2, "int32"), c([4]), d(7.0, "float32"), d(0.0, "float32")], validate_indices=True, grad=False)
case("to_dense_outside", "SparseToDense", [d([5], "int32"), c([5]), d([7], "int32"), d(-1, "int32")], error=" ", validate_indices=True)
case("fill_empty_rows", "SparseFillEmptyRows", [at, val, shp, d(9.0, "float64")], [(0, 0), (1, 0)], grad=False)
case("fill_empty_rows_strings", "SparseFillEmptyRows", [at, s([b"a", b"b", b"c", b"d"]), shp, s(b"-")])
case("fill_empty_rows_none", "SparseFillEmptyRows", [("data", np.zeros([0, 2], "int64")), ("data", np.zeros([0])), c([2, 3], "int64"), d(9.0, "float64")], grad=False)
case("sparse_reshape", "SparseReshape", [at, d([5, 4], "int64"), d([2, -1, 2], "int64")], [(0, 0)])
case("sparse_reshape_bad", "SparseReshape", [at, d([5, 4], "int64"), d([3, -1], "int64")], error=" ")
for axis in [0, 1, -1]:
    case(f"sparse_concat_{axis}", "SparseConcat", [at, at, val, val, d([5, 4], "int64"), d([5, 4], "int64")], concat_dim=axis, grad=False)
case("sparse_slice", "SparseSlice", [at, val, d([5, 4], "int64"), i64([0, 1]), i64([3, 9])], grad=False)
case("sparse_reorder", "SparseReorder", [i64([[2, 1], [0, 3], [2, 0]]), d([1.0, 2.0, 3.0], "float64"), d([5, 4], "int64")], grad=False)
case("sparse_softmax", "SparseSoftmax", [i64([[0, 1], [0, 3], [2, 0], [2, 1]]), val, d([5, 4], "int64")], grad=False, tol=1e-14)
for adj_a in [False, True]:
    for adj_b in [False, True]:
        case(f"sparse_matmul_{adj_a}_{adj_b}", "SparseTensorDenseMatMul", [at, val, shp, x(*([3, 5] if adj_a else [3, 4])[::1 if adj_b else -1], dtype="float64")],
             adjoint_a=adj_a, adjoint_b=adj_b, tol=1e-13)
for axes in [[0], [1], [0, 1], [-1]]:
    for keep in [False, True]:
        case(f"sparse_sum_{axes}_{keep}", "SparseReduceSum", [at, val, shp, c(axes)], keep_dims=keep)
a, b = i64([[1, 2, 2, 5], [7, 7, 7, 7]]), i64([[2, 5, 9], [1, 7, 0]])
for op in ["a-b", "b-a", "intersection", "union"]:
    case(f"set_{op}", "DenseToDenseSetOperation", [a, b], [(0, 0), (1, 0)], set_operation=op, validate_indices=True)
    case(f"set_sparse_{op}", "SparseToSparseSetOperation", [i64([[0, 0], [0, 1], [2, 0]]), i64([3, 4, 5]), i64([3, 2]), i64([[0, 0], [1, 0], [2, 0]]), i64([4, 1, 5]), i64([3, 1])],
         set_operation=op, validate_indices=True)
case("set_strings", "DenseToDenseSetOperation", [s([[b"a", b"b"]]), s([[b"b", b"c"]])], set_operation="union", validate_indices=True)
case("set_dense_sparse", "DenseToSparseSetOperation", [a, i64([[0, 0], [1, 0]]), i64([2, 8]), i64([2, 3])], set_operation="union", validate_indices=True)
case("set_size", "SetSize", [i64([[0, 0], [0, 1], [2, 0]]), i64([3, 3, 5]), c([3, 2], "int64")], validate_indices=True)
for norm in [False, True]:
    case(f"edit_distance_{norm}", "EditDistance", [i64([[0, 0], [0, 1], [0, 2], [1, 0]]), s([b"a", b"b", b"c", b"x"]), c([3, 3], "int64"),
                                                  i64([[0, 0], [0, 1], [2, 0]]), s([b"b", b"d", b"y"]), c([3, 2], "int64")], normalize=norm)
case("ragged_range", "RaggedRange", [d([0, 5, 8], "int32"), d([3, 5, 2], "int32"), d([1, 1, -2], "int32")], Tsplits=tf.int64)
case("ragged_range_scalar", "RaggedRange", [d(0, "int64"), d([3, 0, 2], "int64"), d(1, "int64")], [(1, 0)], Tsplits=tf.int32)
case("ragged_range_float", "RaggedRange", [d([0.1], "float32"), d([1.0], "float32"), d([0.3], "float32")], Tsplits=tf.int64, grad=False)
case("ragged_range_zero", "RaggedRange", [d(0, "int64"), d([3], "int64"), d(0, "int64")], error=" ", Tsplits=tf.int32)


def gather(name, splits, values, indices, **kw):
    """RaggedGather lists its splits."""
    def call_it():
        return tf.raw_ops.RaggedGather(params_nested_splits=[tf.constant(s[1]) for s in splits], params_dense_values=values[1], indices=indices[1],
                                       OUTPUT_RAGGED_RANK=len(splits) + indices[1].ndim - 1)
    r = call_it()
    inputs = splits + [values, indices]
    cases.append({"name": name, "op": "RaggedGather", "attrs": {"PARAMS_RAGGED_RANK": {"i": len(splits)}, "OUTPUT_RAGGED_RANK": {"i": len(splits) + indices[1].ndim - 1}},
                  "inputs": [dict(tensor(v), const=False) for _, v in inputs], "symbolic": [], "outputs": [tensor(y.numpy()) for y in list(r[0]) + [r[1]]]})


gather("ragged_gather", [i64([0, 2, 2, 5])], x(5), d([2, 0, 1, 2], "int32"))
gather("ragged_gather_deep", [i64([0, 2, 3]), i64([0, 1, 1, 4])], x(4, 2), i64([1, 0]))
gather("ragged_gather_matrix", [i64([0, 2, 2, 5])], x(5), d([[2, 0], [1, 2]], "int32"))


def partitioned(name, shape, values, default, kinds, parts):
    r = tf.raw_ops.RaggedTensorToTensor(shape=shape[1], values=values[1], default_value=default[1], row_partition_tensors=[p[1] for p in parts], row_partition_types=kinds)
    cases.append({"name": name, "op": "RaggedTensorToTensor", "attrs": {"row_partition_types": {"list": [{"s": k} for k in kinds]}},
                  "inputs": [dict(tensor(v), const=kind == "const") for kind, v in [shape, values, default] + parts], "symbolic": [], "outputs": [tensor(r.numpy())]})


F, V, S_ = "FIRST_DIM_SIZE", "VALUE_ROWIDS", "ROW_SPLITS"
zero = d(0.5, "float32")
partitioned("ragged_to_tensor", c([-1, -1], "int64"), x(5), zero, [S_], [i64([0, 2, 2, 5])])
partitioned("ragged_to_tensor_any", c(-1, "int64"), x(5), zero, [S_], [i64([0, 2, 2, 5])])
partitioned("ragged_to_tensor_cut", c([2, 2], "int64"), x(5), zero, [S_], [i64([0, 3, 3, 5])])
partitioned("ragged_to_tensor_grow", c([4, 4], "int64"), x(5), zero, [F, V], [i64(3), i64([0, 0, 2, 2, 2])])
partitioned("ragged_to_tensor_deep", c([-1, -1, -1], "int64"), x(4), zero, [S_, S_], [i64([0, 2, 3]), i64([0, 1, 1, 4])])
partitioned("ragged_to_tensor_inner", c([-1, -1, 2], "int64"), x(4, 2), d([7.0, 8.0], "float32"), [F, V], [i64(3), i64([0, 0, 2, 2])])
partitioned("ragged_to_tensor_string", c([-1, -1], "int64"), s([b"a", b"b", b"c"]), s(b"-"), [S_], [i64([0, 2, 3])])
r = tf.raw_ops.RaggedTensorToSparse(rt_nested_splits=[[0, 2, 2, 5]], rt_dense_values=x(5)[1])
cases.append({"name": "ragged_to_sparse", "op": "RaggedTensorToSparse", "attrs": {}, "inputs": [dict(tensor(v), const=False) for _, v in [i64([0, 2, 2, 5]), x(5)]],
              "symbolic": [], "outputs": [tensor(y.numpy()) for y in r]})
r = tf.raw_ops.RaggedTensorToSparse(rt_nested_splits=[[0, 1, 3], [0, 2, 2, 3]], rt_dense_values=x(3, 2)[1])
cases.append({"name": "ragged_to_sparse_deep", "op": "RaggedTensorToSparse", "attrs": {}, "inputs": [dict(tensor(v), const=False) for _, v in [i64([0, 1, 3]), i64([0, 2, 2, 3]), x(3, 2)]],
              "symbolic": [], "outputs": [tensor(y.numpy()) for y in r]})
