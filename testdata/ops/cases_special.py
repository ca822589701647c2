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
