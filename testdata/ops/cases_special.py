"""Special functions."""
P = d([1e-3, 0.5, 1.0, 3.25, 9.0, 29.5, 31.0, 200.0], "float64")
for f in ["I0", "I0e", "I1", "I1e", "J0", "J1", "K0", "K0e", "K1", "K1e", "Y0", "Y1"]:
    case(f"bessel_{f}", f"Bessel{f}", [P if f not in ("I0", "I1") else d([1e-3, 0.5, 3.25, 9.0], "float64")], [(0, 0)], tol=1e-12)
    case(f"bessel_{f}_zero", f"Bessel{f}", [d([0.0], "float64")], grad=False)
    if f[0] in "IJ":
        case(f"bessel_{f}_negative", f"Bessel{f}", [d([-0.5, -3.0], "float64")], tol=1e-12)
    case(f"bessel_{f}_f32", f"Bessel{f}", [d([0.5, 3.0], "float32")], grad=False, tol=1e-6)
for rev in [False, True]:
    case(f"nth_element_{rev}", "NthElement", [d([[3.0, 1.0, 2.0, 1.5], [0.0, -1.0, 7.0, 7.0]], "float64"), c(1)], [(0, 0)], reverse=rev, grad=False)
case("nth_element_int", "NthElement", [d([5, -2**31, 7], "int32"), c(0)], reverse=False)
case("nth_element_outside", "NthElement", [d([5, 7], "int32"), c(2)], reverse=False, error=" ")
a3 = d([0.5, 2.0, 7.5, 40.0, 1.0, 3.0, 250.0, 0.02], "float64")
b3 = d([1.5, 0.75, 3.0, 60.0, 1.0, 2.0, 300.0, 4.0], "float64")
x3 = d([0.25, 0.9, 0.7, 0.4, 0.3, 0.999, 0.45, 1e-3], "float64")
case("betainc", "Betainc", [a3, b3, x3], [(0, 0), (1, 0), (2, 0)], tol=1e-10)
case("betainc_scalar", "Betainc", [d(2.5, "float64"), d(0.5, "float64"), x3], tol=1e-11)
case("betainc_edges", "Betainc", [d([1, 1, 0, -1, 2, 2, np.nan, 2], "float64"), d([1, 1, 2, 2, 0, 3, 1, 3], "float64"), d([0, 1, 0.5, 0.5, 0.5, -0.5, 0.5, 1.5], "float64")], grad=False)
case("betainc_f32", "Betainc", [d([0.5, 2.0, 9.0], "float32"), d([1.5, 0.75, 30.0], "float32"), d([0.25, 0.9, 0.2], "float32")], grad=False, tol=3e-5)
case("betainc_empty", "Betainc", [x(0, dtype="float64"), x(0, dtype="float64"), x(0, dtype="float64")], grad=False)
ga, gx = d([0.05, 0.5, 1.0, 2.5, 7.0, 30.0, 30.0, 200.0], "float64"), d([0.01, 2.0, 1.0, 0.3, 12.0, 29.0, 45.0, 190.0], "float64")
for op in ("IgammaGradA", "RandomGammaGrad"):
    case(op, op, [ga, gx], [(0, 0), (1, 0)], grad=False, tol=1e-10)
    case(f"{op}_broadcast", op, [d([[0.5], [2.0]], "float64"), d([0.1, 1.0, 4.0], "float64")], grad=False, tol=1e-11)
    case(f"{op}_edges", op, [d([1, 0, -1, 2, np.nan], "float64"), d([0, 1, 1, -1, 1], "float64")], grad=False)
    case(f"{op}_f32", op, [d([0.5, 2.0, 9.0], "float32"), d([1.5, 0.75, 30.0], "float32")], grad=False, tol=1e-4)
case("igamma_by_order", "Igamma", [ga, gx], tol=1e-10)
case("igammac_by_order", "Igammac", [d([[0.5], [2.0]], "float64"), d([0.1, 1.0, 4.0], "float64")], tol=1e-10)
