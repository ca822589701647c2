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
