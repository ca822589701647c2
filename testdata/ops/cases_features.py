"""Features at a model's edge: crosses, hashes, and messages that are parsed."""
from collections import OrderedDict
QUANTIZED = {"qint8": "i8", "quint8": "u8", "qint16": "i16", "quint16": "u16", "qint32": "i32"}


def s(v):
    return ("data", np.array(v, object))
def cs(v):
    return ("const", np.array(v, object))
def i64(v):
    return ("data", np.array(v, "int64"))


def listed(name, op, args, symbolic=(), error=None, tol=None, **attrs):
    """A case whose operands are named; each is one operand or a list."""
    flat = [v for a in args.values() for v in (a if type(a) is list else [a])]
    def values(make):
        return {k: [make(*v) for v in a] if type(a) is list else make(*a) for k, a in args.items()}
    with tf.Graph().as_default() as g:
        try:
            getattr(tf.raw_ops, op)(**values(lambda _, v: tf.constant(v, tf.string if v.dtype == object else None)), **attrs)
        except (ValueError, TypeError):
            assert error, name
        nodes = [n for n in g.get_operations() if n.type == op]
        # A node that graph construction refuses has no attributes to store: such cases are left to other tests.
        assert nodes, name
        stored = {k: attr(nodes[-1].node_def.attr[k]) for k in nodes[-1].node_def.attr if not k.startswith("_")}
    out = {"name": name, "op": op, "attrs": stored, "inputs": [dict(tensor(v), const=kind == "const") for kind, v in flat], "symbolic": [list(q) for q in symbolic]}
    if tol is not None:
        out["tol"] = tol
    try:
        r = getattr(tf.raw_ops, op)(**values(lambda _, v: tf.constant(v, tf.string if v.dtype == object else None)), **attrs)
        assert error is None, name
        ys = [y for part in (r if isinstance(r, (list, tuple)) else [r]) for y in (part if isinstance(part, (list, tuple)) else [part])]
        out["outputs"] = [tensor(y.numpy()) for y in ys]
    except (tf.errors.OpError, ValueError) as e:
        assert error and error in str(e), (name, str(e))
        out["error"] = error
    cases.append(out)


def sparse(rows, kind="int64"):
    at = [[r, k] for r, row in enumerate(rows) for k in range(len(row))]
    vals = [v for row in rows for v in row]
    return i64(np.array(at).reshape(-1, 2)), ("data", np.array(vals, object if kind == "string" else kind)), i64([len(rows), max(map(len, rows))])


def crosses(name, columns, dense, op="SparseCross", error=None, extra={}, symbolic=(), **attrs):
    cols = [sparse(c, "string" if any(type(v) is bytes for r in c for v in r) else "int64") for c in columns]
    listed(name, op, dict(indices=[q[0] for q in cols], values=[q[1] for q in cols], shapes=[q[2] for q in cols], dense_inputs=dense, **extra),
           error=error, symbolic=symbolic, **attrs)


words, numbers = [[b"a", b"b"], [], [b"long feature name", b"", b"\xff"]], [[1, -2, 3], [4], [5]]
long_words = [[b"x" * 40], [b"y" * 70, b"z" * 17], [b"q" * 9]]
dw, dn = s([[b"d"], [b"e"], [b"f"]]), i64([[7, 2**40 + 1], [8, -9], [0, 10]])
V1 = dict(hashed_output=False, num_buckets=0, hash_key=0xDECAFCAFFE, out_type=tf.string, internal_type=tf.string)
crosses("cross_strings", [words, long_words], [dw], **V1)
crosses("cross_numbers", [words, numbers], [dn], **dict(V1, internal_type=tf.int64))
H = dict(V1, hashed_output=True, out_type=tf.int64, internal_type=tf.int64)
crosses("cross_hashed", [words, numbers], [dn, dw], **H)
crosses("cross_hashed_buckets", [words, long_words], [dw], **dict(H, num_buckets=1000, hash_key=-17))
crosses("cross_hashed_one", [numbers], [], **H)
crosses("cross_hashed_dense", [], [dn, dw], **H)
crosses("cross_empty", [[[], [], []], words], [], **H)
crosses("cross_no_rows", [], [("data", np.zeros([0, 2], "int64"))], **H)
crosses("cross_unlike_rows", [words, numbers[:2]], [], error="batch size", **H)
crosses("cross_v2", [words, numbers], [dn, dw], op="SparseCrossV2", extra=dict(sep=s(b"|")))
crosses("cross_v2_empty_separator", [words], [dw], op="SparseCrossV2", extra=dict(sep=cs(b"")))
for strong in [False, True]:
    # TensorFlow's kernel reads outside of dense numbers that are to be hashed strongly.
    numeric = [] if strong else [dn]
    for buckets in [0, 100]:
        crosses(f"cross_salted_{strong}_{buckets}", [words, numbers], numeric + [dw], op="SparseCrossHashed",
                extra=dict(num_buckets=d(buckets, "int64"), strong_hash=("data", np.array(strong)), salt=i64([137, -5])))
        crosses(f"cross_salted_dense_{strong}_{buckets}", [], numeric + [s([[b"1"], [b"2"], [b"3"]])], op="SparseCrossHashed",
                extra=dict(num_buckets=c(buckets, "int64"), strong_hash=("const", np.array(strong)), salt=c([133, 137], "int64")))
for splits in ["int32", "int64"]:
    sp = sparse(words, "string")
    args = dict(ragged_values=[i64([1, 2, 3, 4]), s([b"r", b"s", b"t"])], ragged_row_splits=[d([0, 2, 2, 4], splits), d([0, 1, 2, 3], splits)],
                sparse_indices=[sp[0]], sparse_values=[sp[1]], sparse_shape=[sp[2]], dense_inputs=[dn])
    R = dict(input_order="RSDR", out_row_splits_type=tf.as_dtype(splits), num_buckets=0, hash_key=5)
    listed(f"ragged_cross_{splits}", "RaggedCross", args, hashed_output=False, out_values_type=tf.string, **R)
    listed(f"ragged_cross_hashed_{splits}", "RaggedCross", args, hashed_output=True, out_values_type=tf.int64, **dict(R, num_buckets=97))
    listed(f"ragged_cross_wide_{splits}", "RaggedCross", args, hashed_output=True, out_values_type=tf.int64, **R)
hashes = [b"", b"a", b"abc", b"abcdefg", b"abcdefgh", b"0123456789abcdef", b"0123456789abcdefX", b"\xff" * 200]
for n in [1, 10, 1000003, 2**62]:
    listed(f"hash_bucket_{n}", "StringToHashBucket", dict(string_tensor=s(hashes)), num_buckets=n)
F = tf.train.Feature


def feature(v):
    if not len(v):
        return F()
    if type(v[0]) is bytes:
        return F(bytes_list=tf.train.BytesList(value=v))
    return F(float_list=tf.train.FloatList(value=v)) if type(v[0]) is float else F(int64_list=tf.train.Int64List(value=v))


def features(d_):
    return tf.train.Features(feature={k: feature(v) for k, v in sorted(d_.items())})


def ex(**k):
    return tf.train.Example(features=features(k)).SerializeToString(deterministic=True)


def seq(context, lists):
    lists = tf.train.FeatureLists(feature_list={k: tf.train.FeatureList(feature=[feature(q) for q in v]) for k, v in sorted(lists.items())})
    return tf.train.SequenceExample(context=features(context), feature_lists=lists).SerializeToString(deterministic=True)


def keys(l):
    return ("const", np.array([k[0] for k in l], object))


def default(v):
    a = np.array(v)
    return ("data", a.astype(object) if a.dtype.kind == "S" else a)


def example(name, messages, dense=[], sp=[], ragged=[], names=[], error=None, only=(1, 2), symbolic=()):
    """Columns: (key, default, shape), (key, type), (key, type, splits)."""
    common = dict(serialized=s(messages), names=s(names))
    attrs = dict(sparse_types=[q[1] for q in sp], dense_shapes=[q[2] for q in dense])
    defaults = [default(q[1]) for q in dense]
    if 2 in only:
        listed(f"example_v2_{name}", "ParseExampleV2", dict(common, sparse_keys=keys(sp), dense_keys=keys(dense), ragged_keys=keys(ragged), dense_defaults=defaults),
               error=error, symbolic=symbolic, num_sparse=len(sp), ragged_value_types=[q[1] for q in ragged], ragged_split_types=[q[2] for q in ragged], **attrs)
    if 1 in only:
        listed(f"example_{name}", "ParseExample", dict(common, sparse_keys=[cs(q[0]) for q in sp], dense_keys=[cs(q[0]) for q in dense], dense_defaults=defaults),
               error=error, symbolic=symbolic, **attrs)


f32 = lambda *v: np.array(v, "float32")
e1, e2, e3 = ex(a=[1.0, 2.0], b=[3, 4, -5], t=[b"x", b"\xff"]), ex(a=[], b=[2**62], t=[b""]), ex(a=[5.0, 6.0, 7.0, 8.0])
A, B, T = ("a", f32(0.5, -1), [2]), ("b", tf.int64), ("t", tf.string)
one = [("a", np.float32(9.5), [None, 2])]
example("dense", [e1, e2], [A, ("q", np.array([7], "int64"), [1]), ("u", np.array(b"d"), [])], symbolic=[[0, 0]])
example("required", [e1], [("a", f32(), [2])])
example("required_missing", [e1, e2], [("a", f32(), [2])], error="is required but could not be found", names=["first", "second"])
example("sparse", [e1, e2, e3], [], [B, T, ("none", tf.float32)], symbolic=[[0, 0]])
example("ragged", [e1, e2, e3], [], [], [("b", tf.int64, tf.int32), ("t", tf.string, tf.int64), ("none", tf.float32, tf.int32)], only=[2], symbolic=[[0, 0]])
example("mixed", [e1, e2], [A, ("m", np.ones([2, 1], "float32"), [2, 1])], [T], [("b", tf.int64, tf.int32)], only=[2])
example("mixed_v1", [e1, e2], [A, ("m", np.ones([2, 1], "float32"), [2, 1])], [T, B], only=[1], names=["n", "m"])
example("varying", [e1, e2, e3], one + [("b", np.int64(-1), [None]), ("t", np.array(b"-"), [None])])
example("varying_bad", [ex(a=[1.0, 2.0, 3.0])], one, error="stride")
example("wrong_type", [e1], [("a", np.array([1, 2], "int64"), [2])], error="Data types don't match")
example("wrong_type_sparse", [e1], [], [("b", tf.float32)], error="Data types don't match")
example("wrong_size", [e1], [("a", f32(1, 2, 3), [3])], error="!= expected")
example("wrong_default", [e1], [("a", f32(1), [2])], error="not compatible")
example("no_batch", np.zeros([0], object), one + [A], [B], [("t", tf.string, tf.int32)], only=[2])
example("single", e1, [A], [B, ("none", tf.string)], [("t", tf.string, tf.int32)], only=[2])
example("single_varying", e3, one + [("none", np.int64(3), [None])], only=[2])
example("duplicates", [ex(c=[2.0]) + ex(c=[3.0])], [("c", np.float32(1), [])])
example("garbage", [b"\x0a\x05\x01"], [A], error=" ")
unpacked = bytes([10, 13, 10, 11, 10, 1, 98, 18, 6, 26, 4, 8, 3, 8, 5])
example("unpacked", [unpacked], [], [B])
listed("single_example", "ParseSingleExample", dict(serialized=s(e1), dense_defaults=[("data", f32(0, 0))]), num_sparse=2, sparse_keys=["b", "t"], dense_keys=["a"],
       sparse_types=[tf.int64, tf.string], dense_shapes=[[2]])


def sequence(name, messages, cd=[], csp=[], cr=[], fd=[], fs=[], fr=[], missing=None, error=None, names=[]):
    missing = [False] * len(fd) if missing is None else missing
    shared = dict(Ncontext_sparse=len(csp), context_sparse_types=[q[1] for q in csp], context_dense_shapes=[q[2] for q in cd], Nfeature_list_sparse=len(fs),
                  Nfeature_list_dense=len(fd), feature_list_dense_types=[q[1] for q in fd], feature_list_sparse_types=[q[1] for q in fs], feature_list_dense_shapes=[q[2] for q in fd])
    defaults = [default(q[1]) for q in cd]
    listed(f"sequence_v2_{name}", "ParseSequenceExampleV2",
           dict(serialized=s(messages), debug_name=s(names), context_sparse_keys=keys(csp), context_dense_keys=keys(cd), context_ragged_keys=keys(cr), feature_list_sparse_keys=keys(fs),
                feature_list_dense_keys=keys(fd), feature_list_ragged_keys=keys(fr), feature_list_dense_missing_assumed_empty=("const", np.array(missing, bool)), context_dense_defaults=defaults),
           error=error, context_ragged_value_types=[q[1] for q in cr], context_ragged_split_types=[q[2] for q in cr], feature_list_ragged_value_types=[q[1] for q in fr],
           feature_list_ragged_split_types=[q[2] for q in fr], **shared)
    empty = [q[0] for q, m in zip(fd, missing) if m]
    if cr or fr:
        return
    k = lambda l: [q[0] for q in l]
    if type(messages) is list:
        listed(f"sequence_{name}", "ParseSequenceExample", dict(serialized=s(messages), debug_name=s(names), context_dense_defaults=defaults), error=error, Ncontext_dense=len(cd),
               feature_list_dense_missing_assumed_empty=empty, context_sparse_keys=k(csp), context_dense_keys=k(cd), feature_list_sparse_keys=k(fs), feature_list_dense_keys=k(fd), **shared)
    else:
        shared.pop("Ncontext_sparse"), shared.pop("Nfeature_list_sparse"), shared.pop("Nfeature_list_dense")
        listed(f"sequence_single_{name}", "ParseSingleSequenceExample", dict(serialized=s(messages), feature_list_dense_missing_assumed_empty=cs(empty), context_sparse_keys=[cs(q) for q in k(csp)],
               context_dense_keys=[cs(q) for q in k(cd)], feature_list_sparse_keys=[cs(q) for q in k(fs)], feature_list_dense_keys=[cs(q) for q in k(fd)], context_dense_defaults=defaults,
               debug_name=s(b"")), error=error, **shared)


s1 = seq({"c": [1.0, 2.0], "s": [3, 4]}, {"x": [[1.0], [2.0]], "t": [[1, 2], [], [3]], "w": [[b"a"], [b"bc", b""]]})
s2 = seq({"c": [5.0, 6.0]}, {"x": [[7.0]], "t": [[9]]})
C, X, TT = ("c", f32(), [2]), ("x", tf.float32, [1]), ("t", tf.int64)
sequence("all", [s1, s2], [C, ("q", np.array([b"z"], object), [1])], [("s", tf.int64)], [], [X, ("x", tf.float32, [])], [TT, ("w", tf.string)])
sequence("ragged", [s1, s2], [], [], [("s", tf.int64, tf.int32), ("none", tf.float32, tf.int64)], [], [], [("t", tf.int64, tf.int64), ("w", tf.string, tf.int32), ("none", tf.float32, tf.int32)])
sequence("single", s1, [C], [("s", tf.int64)], [], [X], [TT, ("w", tf.string)])
sequence("missing", [s2], fd=[("w", tf.string, [1])], error="is required but could not be found", names=["n"])
sequence("assumed_empty", [s1, s2], fd=[("none", tf.string, [1]), X], missing=[True, False])
sequence("single_assumed_empty", s1, fd=[("none", tf.string, [1]), X], missing=[True, False])
sequence("wrong_size", [s1, s2], fd=[("t", tf.int64, [1])], error="!= expected")
sequence("wrong_type", [s1, s2], fs=[("t", tf.float32)], error="Data types don't match")
sequence("sparse_missing", [s2, s1], [], [("s", tf.int64)], fs=[("w", tf.string)])

CSV = dict(field_delim=",", use_quote_delim=True, na_value="", select_cols=[])
defaults = [("data", np.array([7], "int32")), ("data", np.array([0.5], "float32")), s([b"none"]), ("data", np.zeros([0], "int64")), ("data", np.array([1.5]))]
def csv(name, records, error=None, use=defaults, **k):
    listed("csv_" + name, "DecodeCSV", dict(records=s(records), record_defaults=use), error=error, **dict(CSV, **k))
csv("plain", [b"1,2.5,x,4,1e3", b",,,-9,", b"-3,inf,\"q,\"\"z\"\"\",5,\"7\""])
csv("scalar", b"1,2.5,x,4,5")
csv("matrix", [[b"\r\n1,2,3,4,\"5\""], [b"\n1,2,,4,5"]])
csv("none", np.zeros([0], object))
csv("tabs", [b"1\t2\tx y\t4\t5"], field_delim="\t")
csv("na", [b"NA,NA,NA,4,NA"], na_value="NA")
csv("no_quotes", [b"1,2,\"x\"y,4,5"], use_quote_delim=False)
csv("select", [b"a,1,b,2.5,c,3,4,5.5", b"\"x,y\",,q,,r,9,9,"], select_cols=[1, 3, 4, 6, 7])
csv("select_rest", [b"a,1,b,\"wrong\"x"], select_cols=[1], use=defaults[:1])
for i, bad in enumerate([b"1,2,3,4", b"1,2,3,4,5,6", b"x,2,3,4,5", b"1,2,3,,5", b"1,2,a\"b,4,5", b"1,2,\"a,4,5", b"1,2,\"a\"b,4,5", b"1,2,x\ny,4,5", b"1.5,2,3,4,5"]):
    csv(f"bad_{i}", [bad], error=" ")
listed("unicode_script", "UnicodeScript", dict(input=d([[-1, 0, 65, 0x3b1, 0x4e16], [0x1f600, 0xd800, 0x10ffff, 0x110000, 0x661]], "int32")))
