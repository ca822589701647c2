"""Fourier transforms."""
def z(*shape, dtype="complex128"):
    n = int(np.prod(shape))
    return ("data", (np.arange(n) % 7 - 2.5 + 1j * (np.arange(n) * 3 % 5 - 1.25)).astype(dtype).reshape(shape))


for n in [1, 2, 7, 12]:
    case(f"fft_{n}", "FFT", [z(2, n)], [(0, 0), (0, 1)], tol=1e-13)
    case(f"ifft_{n}", "IFFT", [z(2, n)], [(0, 0)], tol=1e-13)
    r = ("data", np.cos(np.arange(2 * n) * 1.3).reshape(2, n))
    case(f"rfft_{n}", "RFFT", [r, c([n])], [(0, 0)], tol=1e-13, Tcomplex=tf.complex128)
    case(f"irfft_{n}", "IRFFT", [z(2, n // 2 + 1), c([n])], [(0, 0)], tol=1e-13, Treal=tf.float64)
case("fft_c64", "FFT", [z(3, 5, dtype="complex64")], tol=1e-6)
case("fft2d", "FFT2D", [z(2, 3, 4)], [(0, 0)], tol=1e-13)
case("ifft2d", "IFFT2D", [z(2, 3, 4)], tol=1e-13)
case("fft3d", "FFT3D", [z(2, 3, 4, 2)], tol=1e-13)
case("ifft3d", "IFFT3D", [z(2, 3, 4)], tol=1e-13)
case("fft_empty", "FFT", [z(2, 0)], grad=False)
case("rfft_crop", "RFFT", [x(2, 9), c([6])], [(0, 0)], tol=1e-6)
case("rfft_f64", "RFFT", [x(2, 8, dtype="float64"), c([8])], tol=1e-13, Tcomplex=tf.complex128)
case("rfft_short", "RFFT", [x(2, 3), c([4])], error="at least")
case("rfft2d", "RFFT2D", [x(2, 4, 5, dtype="float64"), c([3, 4])], grad=False, tol=1e-13, Tcomplex=tf.complex128)
case("rfft3d", "RFFT3D", [x(2, 3, 4, dtype="float64"), c([2, 3, 4])], grad=False, tol=1e-13, Tcomplex=tf.complex128)
case("irfft_crop", "IRFFT", [z(2, 6), c([7])], grad=False, tol=1e-13, Treal=tf.float64)
case("irfft2d", "IRFFT2D", [z(2, 3, 4), c([3, 6])], tol=1e-13, Treal=tf.float64)
case("irfft3d", "IRFFT3D", [z(2, 3, 3), c([2, 3, 4])], grad=False, tol=1e-13, Treal=tf.float64)
case("irfft_c64", "IRFFT", [z(2, 3, dtype="complex64"), c([5])], tol=1e-6)
