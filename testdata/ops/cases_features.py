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
