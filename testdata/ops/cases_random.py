"""Random numbers: the bits of the first execution."""
FLOAT = [tf.float16, tf.bfloat16, tf.float32, tf.float64]
INT = [tf.int32, tf.int64]
alg = c(1)
key, counter = d([0x123456789abcdef], "uint64"), d([2**64 - 2, 5], "uint64")
seed = d([7, -3], "int64")
# sin, cos and log of the C library are good to less than 1 ULP, not exact; TensorFlow's are those of its build.
E = {tf.float32: 3e-7, tf.float64: 1e-15, tf.float16: 1e-3, tf.bfloat16: 8e-3}
for t in FLOAT:
    n = t.name
    case(f"uniform_{n}", "RandomUniform", [c([3, 3])], dtype=t, seed=7, seed2=9)
    case(f"normal_{n}", "RandomStandardNormal", [c([3, 3])], dtype=t, seed=7, seed2=9, tol=E[t])
    case(f"truncated_normal_{n}", "TruncatedNormal", [c([3, 7])], dtype=t, seed=7, seed2=9, tol=E[t])
    case(f"stateless_uniform_{n}", "StatelessRandomUniform", [c([7]), seed], dtype=t)
    case(f"stateless_normal_v2_{n}", "StatelessRandomNormalV2", [c([7], "int64"), key, counter, alg], dtype=t, tol=E[t])
    case(f"stateless_truncated_normal_{n}", "StatelessTruncatedNormal", [c([7]), d([1, 2], "int32")], dtype=t, tol=E[t])
    case(f"stateless_uniform_v2_{n}", "StatelessRandomUniformV2", [c([7]), key, counter, alg], dtype=t)
    case(f"stateless_truncated_normal_v2_{n}", "StatelessTruncatedNormalV2", [c([9]), key, counter, alg], dtype=t, tol=E[t])
    case(f"stateless_normal_{n}", "StatelessRandomNormal", [c([7]), seed], dtype=t, tol=E[t])
for t in INT:
    n = t.name
    case(f"uniform_int_{n}", "RandomUniformInt", [c([3, 3]), c(-5, n), c(1000, n)], seed=3, seed2=4)
    case(f"stateless_uniform_int_{n}", "StatelessRandomUniformInt", [c([5]), seed, d(-2**31, n), d(2**31 - 1, n)])
    case(f"stateless_uniform_int_v2_{n}", "StatelessRandomUniformIntV2", [c([5]), key, counter, alg, d(-9, n), d(77, n)])
case("stateless_uniform_int_empty_range", "StatelessRandomUniformInt", [c([5]), seed, d(3, "int32"), d(3, "int32")], error="minval < maxval")
for t in [tf.int32, tf.int64, tf.uint32, tf.uint64]:
    case(f"full_int_{t.name}", "StatelessRandomUniformFullInt", [c([5]), d([3, 4], "int32")], dtype=t)
    case(f"full_int_v2_{t.name}", "StatelessRandomUniformFullIntV2", [c([5]), key, counter, alg], dtype=t)
case("key_counter", "StatelessRandomGetKeyCounter", [seed])
case("key_counter_alg", "StatelessRandomGetKeyCounterAlg", [seed])
case("get_alg", "StatelessRandomGetAlg", [])
case("uniform_empty", "RandomUniform", [c([0, 3])], dtype=tf.float32, seed=7, seed2=9)
logits = ("data", np.array([[0.0, 1.0, -1.0, 0.5], [2.0, -np.inf, 0.25, 0.0]], "float32"))
case("multinomial", "Multinomial", [logits, c(6)], seed=5, seed2=6, output_dtype=tf.int64)
case("stateless_multinomial", "StatelessMultinomial", [logits, c(5), seed], output_dtype=tf.int32)
case("shuffle", "RandomShuffle", [x(9)], seed=5, seed2=7, grad=False)
case("shuffle_rows", "RandomShuffle", [x(5, 2)], [(0, 0)], seed=5, seed2=8, grad=False)
case("gamma", "RandomGamma", [c([5]), d([0.5, 1.0, 3.5], "float64")], seed=5, seed2=9, grad=False, tol=1e-13)
case("gamma_f32", "RandomGamma", [c([2, 2]), d(2.5, "float32")], seed=5, seed2=9, grad=False, tol=3e-7)
case("poisson", "RandomPoissonV2", [c([5]), d([0.5, 9.0, 35.0, 1000.0], "float64")], seed=5, seed2=9, dtype=tf.int64, grad=False)
case("poisson_f32", "RandomPoissonV2", [c([5]), d([4.0], "float32")], seed=5, seed2=9, dtype=tf.float32, grad=False)
case("stateless_gamma_v2", "StatelessRandomGammaV2", [c([4, 3]), seed, d([0.5, 1.0, 3.5], "float64")], grad=False, tol=1e-13)
case("stateless_gamma_v3", "StatelessRandomGammaV3", [c([4, 3]), key, counter, alg, d([0.5, 1.0, 3.5], "float64")], grad=False, tol=1e-13)
case("stateless_poisson", "StatelessRandomPoisson", [c([4, 3]), seed, d([0.5, 1.0, 13.5], "float64")], dtype=tf.int32, grad=False)
case("stateless_shuffle", "StatelessShuffle", [x(9, 2), key, counter, alg], [(0, 0)], grad=False)
case("stateless_shuffle_one", "StatelessShuffle", [x(1), key, counter, alg], grad=False)
case("gamma_gradient", "StatelessRandomGammaV3", [c([4, 3]), key, counter, alg, d([0.5, 1.0, 3.5], "float64")], tol=1e-9)
# Truncated normals by each of the three samplers, one-sided and two-sided, for one and for many parameters.
inf = float("inf")
# A stateful op of the same attributes is the same op to TensorFlow, and goes on where it was.
fresh = iter(range(100, 999)).__next__
BOUNDS = {"wide": (0, 1, -2, 2), "left": (0, 1, -inf, -0.5), "right": (1, 2, 4, inf), "narrow": (0, 1, 0.5, 0.75), "tail": (0, 1, 5, 9), "below": (3, 0.5, -1, 1)}
for t in ("float32", "float64", "float16"):
    tol = {"float32": 1e-6, "float64": 1e-13, "float16": 4e-3}[t]
    for name, p in BOUNDS.items():
        if t != "float16" or name in ("wide", "narrow"):
            case(f"bounded_normal_{name}_{t}", "ParameterizedTruncatedNormal", [c([2, 5])] + [d(v, t) for v in p], seed=3, seed2=fresh(), grad=False, tol=tol)
columns = [d([v[i] for v in BOUNDS.values()], "float32") for i in range(4)]
case("bounded_normal_batches", "ParameterizedTruncatedNormal", [c([6, 3])] + columns, seed=3, seed2=fresh(), grad=False, tol=1e-6)
case("bounded_normal_mixed", "ParameterizedTruncatedNormal", [c([3, 2]), d([0.0, 1.0, 2.0], "float32"), d([1.0], "float32"), d(-3.0, "float32"), d(5.0, "float32")], seed=3, seed2=fresh(), grad=False, tol=1e-6)
case("bounded_normal_many", "ParameterizedTruncatedNormal", [c([5, 50])] + [d(v, "float32") for v in BOUNDS["wide"]], seed=3, seed2=fresh(), grad=False, tol=1e-6)
case("bounded_normal_bad", "ParameterizedTruncatedNormal", [c([2])] + [d(v, "float32") for v in (0, 1, 2, 1)], seed=3, seed2=fresh(), error="Invalid parameters")
case("stateless_bounded_normal", "StatelessParameterizedTruncatedNormal", [c([4, 6]), seed] + columns, grad=False, tol=1e-6)
case("stateless_bounded_normal_scalar", "StatelessParameterizedTruncatedNormal", [c([7]), seed] + [d(v, "float64") for v in BOUNDS["tail"]], grad=False, tol=1e-13)
case("stateless_bounded_normal_broadcast", "StatelessParameterizedTruncatedNormal", [c([2, 2, 3]), d([1, 2], "int32"), d([[0.0], [1.0]], "float32"), d([1.0, 2.0, 3.0], "float32"), d(-4.0, "float32"), d(5.0, "float32")], grad=False, tol=1e-6)
true = d([[1, 3], [0, 7], [9, 2]], "int64")
for unique in (True, False):
    kw = dict(num_true=2, num_sampled=6, unique=unique, seed=5, seed2=9)
    for r in (10, 16, 1000):
        case(f"uniform_candidates_{unique}_{r}", "UniformCandidateSampler", [true], range_max=r, tol=1e-6, **kw)
        case(f"log_uniform_candidates_{unique}_{r}", "LogUniformCandidateSampler", [true], [(0, 0)], range_max=r, tol=1e-6, **kw)
        case(f"learned_candidates_{unique}_{r}", "LearnedUnigramCandidateSampler", [true], range_max=r, tol=1e-6, **kw)
    case(f"unsafe_candidates_{unique}", "ThreadUnsafeUnigramCandidateSampler", [true], range_max=12, tol=1e-6, **kw)
    counts = [1.0, 5.0, 0.5, 7.0, 3.0, 2.0, 9.0, 1.5, 4.0, 6.0]
    case(f"fixed_candidates_{unique}", "FixedUnigramCandidateSampler", [true], range_max=10, unigrams=counts, tol=1e-6, **kw)
    case(f"fixed_candidates_power_{unique}", "FixedUnigramCandidateSampler", [true], range_max=12, unigrams=counts, distortion=0.75, num_reserved_ids=2, tol=1e-6, **kw)
    case(f"fixed_candidates_shard_{unique}", "FixedUnigramCandidateSampler", [d([[1, 3], [0, 4]], "int64")], range_max=5, unigrams=counts, num_reserved_ids=1, num_shards=2, shard=1, tol=1e-6, **dict(kw, num_sampled=4))
    case(f"all_candidates_{unique}", "AllCandidateSampler", [true], **dict(kw, num_sampled=10))
case("too_many_candidates", "UniformCandidateSampler", [true], range_max=4, num_true=2, num_sampled=6, unique=True, seed=5, seed2=9, error="Sampler's range")
case("accidental_hits", "ComputeAccidentalHits", [true, d([3, 5, 9, 3, 0], "int64")], num_true=2)
case("accidental_hits_none", "ComputeAccidentalHits", [true, d([5, 6], "int64")], num_true=2)
case("candidates_outside", "UniformCandidateSampler", [true], range_max=9, num_true=2, num_sampled=6, unique=True, seed=5, seed2=9, error="out of range")
# Both samplers of binomials, and what needs none.
counts, probs = [5.0, 100.0, 40.0, 1000.0, 7.0, 0.0, 9.0], [0.3, 0.4, 0.9, 0.01, 1.0, 0.5, 0.0]
for t in ("float64", "float32", "float16"):
    case(f"binomial_{t}", "StatelessRandomBinomial", [c([4, 7]), seed, d(counts, t), d(probs, t)], dtype=tf.int32, grad=False)
case("binomial_scalar", "StatelessRandomBinomial", [c([9]), d([1, 2], "int32"), d(60.0, "float64"), d(0.5, "float64")], dtype=tf.float64, grad=False)
case("binomial_broadcast", "StatelessRandomBinomial", [c([2, 2, 3]), seed, d([[20.0], [300.0]], "float64"), d([0.2, 0.6, np.nan], "float64")], dtype=tf.float32, grad=False)
for t, last in (("int32", 9), ("int64", 2**40), ("uint32", 2**17), ("uint64", 70000)):
    case(f"index_shuffle_{t}", "RandomIndexShuffle", [d([0, 1, 5, 9], t), d([1, 2, 3], t), d(last, t)])
case("index_shuffle_rows", "RandomIndexShuffle", [d([0, 1], "int64"), d([[1, 2, 3], [7, 8, 9]], "int64"), d([5, 300], "int64")], rounds=8)
case("index_shuffle_one", "RandomIndexShuffle", [d(3, "int64"), d([1, 2, 3], "int64"), d(20, "int64")])
