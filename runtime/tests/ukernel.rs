//! Micro-kernels against an oracle in f64, for every table that this CPU runs: products and
//! convolutions, all row counts, strides, taps and accumulation, and the numeric contract.

use kiln_rt::ukernel::{self, CHAIN, GemmKernel, GemmTile};
use proptest::prelude::*;

/// The two element types, as far as the tests need them.
trait Real: Copy + PartialEq + std::fmt::Debug + 'static {
    const EPSILON: f64;
    fn of(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn kernels(table: &ukernel::Ukernels) -> &'static [GemmKernel<Self>];
}

impl Real for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;
    fn of(value: f64) -> f32 {
        value as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn kernels(table: &ukernel::Ukernels) -> &'static [GemmKernel<f32>] {
        table.gemm_f32()
    }
}

impl Real for f64 {
    const EPSILON: f64 = f64::EPSILON;
    fn of(value: f64) -> f64 {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn kernels(table: &ukernel::Ukernels) -> &'static [GemmKernel<f64>] {
        table.gemm_f64()
    }
}

/// A reproducible stream of values in -1..1 (a 64-bit congruential generator's high bits).
struct Values(u64);

impl Values {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 23) - 1.0
    }

    fn fill<T: Real>(&mut self, n: usize) -> Vec<T> {
        (0..n).map(|_| T::of(self.next())).collect()
    }
}

/// A kernel call's data with sizes, and what must come out.
struct Problem<T> {
    a: Vec<T>,
    /// Index in `a` that offsets count from.
    a_base: usize,
    row_off: Vec<i64>,
    tap_off: Option<Vec<i64>>,
    b: Vec<T>,
    k: usize,
    taps: usize,
    rows: usize,
    row_off_tap_stride: usize,
    a_k_stride: i64,
    b_k_stride: usize,
    b_tap_stride: usize,
    c_row_stride: usize,
    accumulate: bool,
}

/// What is beyond the tile in C must stay.
const SENTINEL: f64 = 12345.0;

impl<T: Real> Problem<T> {
    /// A plain product of packed operands.
    fn product(a: Vec<T>, b: Vec<T>, rows: usize, k: usize, nr: usize) -> Problem<T> {
        Problem {
            a,
            a_base: 0,
            row_off: (0..rows).map(|r| (r * k) as i64).collect(),
            tap_off: None,
            b,
            k,
            taps: 1,
            rows,
            row_off_tap_stride: 0,
            a_k_stride: 1,
            b_k_stride: nr,
            b_tap_stride: 0,
            c_row_stride: nr,
            accumulate: false,
        }
    }

    /// Runs a kernel on a C that starts as `start`; all of C comes back.
    fn run(&self, kernel: &GemmKernel<T>, start: &[T]) -> Vec<T> {
        let mut c = start.to_vec();
        let tile = GemmTile {
            a: self.a[self.a_base..].as_ptr(),
            row_off: self.row_off.as_ptr(),
            tap_off: self.tap_off.as_ref().map_or(std::ptr::null(), |t| t.as_ptr()),
            b: self.b.as_ptr(),
            c: c.as_mut_ptr(),
            k: self.k,
            taps: self.taps,
            rows: self.rows,
            row_off_tap_stride: self.row_off_tap_stride,
            a_k_stride: self.a_k_stride,
            b_k_stride: self.b_k_stride,
            b_tap_stride: self.b_tap_stride,
            c_row_stride: self.c_row_stride,
            accumulate: u64::from(self.accumulate),
        };
        // SAFETY: `terms` reads every element of A and B with checked indexing before; C holds all
        // rows, see `start`; the kernel's table is one of `available`.
        unsafe { (kernel.run)(&tile) };
        c
    }

    /// The factors of C[r][j], in order.
    fn terms(&self, r: usize, j: usize) -> Vec<(f64, f64)> {
        let mut terms = Vec::new();
        for t in 0..self.taps {
            let tap_off = self.tap_off.as_ref().map_or(0, |offsets| offsets[t]);
            let row = self.a_base as i64 + self.row_off[t * self.row_off_tap_stride + r] + tap_off;
            for p in 0..self.k {
                let a = self.a[usize::try_from(row + p as i64 * self.a_k_stride).unwrap()];
                terms.push((a.to_f64(), self.b[t * self.b_tap_stride + p * self.b_k_stride + j].to_f64()));
            }
        }
        terms
    }

    fn start(&self, nr: usize) -> Vec<T> {
        let mut c = vec![T::of(SENTINEL); self.rows * self.c_row_stride + nr + 7];
        for r in 0..self.rows {
            for j in 0..nr {
                c[r * self.c_row_stride + j] = T::of((r * nr + j) as f64 * 0.01 - 0.3);
            }
        }
        c
    }

    /// Every element within the contract's bound, nothing else touched.
    fn check(&self, kernel: &GemmKernel<T>) {
        let nr = kernel.shape.nr;
        // Before the call: indexes every element of A and B with bounds checks.
        let terms: Vec<Vec<_>> = (0..self.rows * nr).map(|i| self.terms(i / nr, i % nr)).collect();
        let start = self.start(nr);
        let c = self.run(kernel, &start);
        for (at, value) in c.iter().enumerate() {
            let (r, j) = (at / self.c_row_stride, at % self.c_row_stride);
            if r >= self.rows || j >= nr {
                assert_eq!(
                    value.to_f64(),
                    SENTINEL,
                    "{} wrote outside its tile at row {r}, column {j}",
                    kernel.shape.name
                );
                continue;
            }
            let terms = &terms[r * nr + j];
            let before = if self.accumulate { start[at].to_f64() } else { 0.0 };
            let exact = before + terms.iter().map(|(a, b)| a * b).sum::<f64>();
            let magnitude = before.abs() + terms.iter().map(|(a, b)| (a * b).abs()).sum::<f64>();
            let n = (terms.len().max(1)) as f64;
            let bound = 2.0 * T::EPSILON * (n.log2() + 8.0) * magnitude;
            let error = (value.to_f64() - exact).abs();
            assert!(
                error <= bound,
                "{}: row {r}, column {j}: {value:?} for {exact}, error {error:e} above {bound:e}",
                kernel.shape.name
            );
        }
    }
}

/// Runs `test` on every kernel of a type that this CPU has.
fn for_each<T: Real>(mut test: impl FnMut(&GemmKernel<T>)) {
    for table in ukernel::available() {
        assert!(!T::kernels(table).is_empty());
        T::kernels(table).iter().for_each(&mut test);
    }
}

fn products<T: Real>() {
    for_each::<T>(|kernel| {
        let mut values = Values(1);
        for rows in 1..=kernel.shape.mr {
            for k in [0, 1, 2, 3, 4, 5, 7, 16, 33, 255, 256, 257, 511, 1030] {
                let (a, b) = (values.fill(rows * k), values.fill(k * kernel.shape.nr));
                let mut problem = Problem::product(a, b, rows, k, kernel.shape.nr);
                problem.check(kernel);
                problem.accumulate = true;
                problem.check(kernel);
            }
        }
    });
}

#[test]
fn f32_products_of_all_row_counts() {
    products::<f32>();
}

#[test]
fn f64_products_of_all_row_counts() {
    products::<f64>();
}

#[test]
fn rows_are_cut_to_the_tile() {
    for_each::<f32>(|kernel| {
        let (mr, nr, k) = (kernel.shape.mr, kernel.shape.nr, 5);
        let mut values = Values(2);
        let mut problem = Problem::product(values.fill::<f32>(mr * k), values.fill(k * nr), mr, k, nr);
        let start = problem.start(nr);
        let full = problem.run(kernel, &start);
        problem.rows = mr + 1;
        assert_eq!(problem.run(kernel, &start), full);
        problem.rows = 0;
        assert_eq!(problem.run(kernel, &start), start);
    });
}

/// A 3x3 convolution with padding over NHWC, its edge taps led to a buffer of zeros.
#[test]
fn convolution_with_an_indirection_table() {
    const H: i64 = 7;
    const W: i64 = 9;
    for channels in [1, 3, 16, 40] {
        for_each::<f32>(|kernel| {
            let (mr, nr) = (kernel.shape.mr, kernel.shape.nr);
            let mut values = Values(3);
            let image: Vec<f32> = values.fill((H * W) as usize * channels);
            let b: Vec<f32> = values.fill(9 * channels * nr);
            // Another allocation than the image: offsets may lead anywhere.
            let zeros = vec![0f32; channels];
            let to_zeros = (zeros.as_ptr().addr().wrapping_sub(image.as_ptr().addr()) as i64) / 4;
            zeros.as_ptr().expose_provenance();
            let pixels: Vec<(i64, i64)> = (0..mr as i64).map(|i| ((i * 5) % H, (i * 8) % W)).collect();
            let at = |y: i64, x: i64| {
                let inside = (0..H).contains(&y) && (0..W).contains(&x);
                if inside { Some((y * W + x) * channels as i64) } else { None }
            };
            let taps: Vec<(i64, i64)> = (0..9).map(|t| (t / 3 - 1, t % 3 - 1)).collect();
            let table: Vec<i64> = taps
                .iter()
                .flat_map(|(dy, dx)| pixels.iter().map(move |(y, x)| at(y + dy, x + dx).unwrap_or(to_zeros)))
                .collect();
            let mut c = vec![f32::NAN; mr * nr];
            let tile = GemmTile {
                a: image.as_ptr(),
                row_off: table.as_ptr(),
                tap_off: std::ptr::null(),
                b: b.as_ptr(),
                c: c.as_mut_ptr(),
                k: channels,
                taps: 9,
                rows: mr,
                row_off_tap_stride: mr,
                a_k_stride: 1,
                b_k_stride: nr,
                b_tap_stride: channels * nr,
                c_row_stride: nr,
                accumulate: 0,
            };
            // SAFETY: every offset leads to `channels` floats of the image or of `zeros`.
            unsafe { (kernel.run)(&tile) };
            for (r, (y, x)) in pixels.iter().enumerate() {
                for j in 0..nr {
                    let mut exact = 0.0;
                    let mut magnitude = 0.0;
                    for (t, (dy, dx)) in taps.iter().enumerate() {
                        let Some(pixel) = at(y + dy, x + dx) else {
                            continue;
                        };
                        for ch in 0..channels {
                            let product =
                                f64::from(image[pixel as usize + ch]) * f64::from(b[(t * channels + ch) * nr + j]);
                            exact += product;
                            magnitude += product.abs();
                        }
                    }
                    let error = (f64::from(c[r * nr + j]) - exact).abs();
                    let n = (9 * channels) as f64;
                    assert!(
                        error <= 2.0 * f64::from(f32::EPSILON) * (n.log2() + 8.0) * magnitude,
                        "{}",
                        kernel.shape.name
                    );
                }
            }
        });
    }
}

#[test]
fn bits_do_not_depend_on_rows_shape_or_instruction_set() {
    let (k, columns) = (1000, 96);
    let mut values = Values(4);
    let (a, matrix): (Vec<f32>, Vec<f32>) = (values.fill(k), values.fill(k * columns));
    // Row 0 of the product by every kernel with fused multiply-add, at every place in the tile.
    let mut first: Option<Vec<u32>> = None;
    for table in ukernel::available().into_iter().filter(|t| t.isa != ukernel::Isa::Portable) {
        for kernel in table.gemm_f32() {
            for rows in 1..=kernel.shape.mr {
                let mut bits = Vec::new();
                for panel in 0..columns / kernel.shape.nr {
                    let b = matrix[panel * kernel.shape.nr..].to_vec();
                    let mut problem = Problem::product(a.clone(), b, rows, k, kernel.shape.nr);
                    problem.row_off = vec![0; rows];
                    problem.b_k_stride = columns;
                    let c = problem.run(kernel, &problem.start(kernel.shape.nr));
                    let last = (rows - 1) * kernel.shape.nr;
                    bits.extend(c[last..last + kernel.shape.nr].iter().map(|v| v.to_bits()));
                }
                assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "{} with {rows} rows", kernel.shape.name);
            }
        }
    }
}

/// Products that all round the same way are the worst case of a long sum.
#[test]
fn long_sums_keep_the_contract() {
    for_each::<f32>(|kernel| {
        for (k, value) in [(25_088, 0.1), (25_088, 1.0 / 3.0), (4_608, 0.7), (100_000, 0.1)] {
            let nr = kernel.shape.nr;
            Problem::product(vec![value as f32; k], vec![value as f32; k * nr], 1, k, nr).check(kernel);
        }
    });
}

#[test]
fn nan_infinity_and_overwriting() {
    for_each::<f32>(|kernel| {
        let nr = kernel.shape.nr;
        // 0 * inf is NaN, 1 * inf is inf: nothing is skipped for a zero factor.
        let problem = Problem::product(vec![0.0, 1.0], vec![f32::INFINITY; nr], 2, 1, nr);
        // Overwriting must not read C: a NaN there would stay.
        let c = problem.run(kernel, &vec![f32::NAN; 2 * nr]);
        assert!(c[..nr].iter().all(|v| v.is_nan()) && c[nr..].iter().all(|v| *v == f32::INFINITY));
        // No products at all: zero, or C as it was, sign of zero included.
        let mut empty = Problem::product(vec![], vec![], 1, 0, nr);
        assert!(empty.run(kernel, &vec![f32::NAN; nr]).iter().all(|v| v.to_bits() == 0));
        empty.accumulate = true;
        assert!(empty.run(kernel, &vec![-0.0; nr]).iter().all(|v| v.to_bits() == (-0f32).to_bits()));
    });
}

#[test]
fn tables_are_consistent() {
    let mut names = std::collections::HashSet::new();
    for table in ukernel::available() {
        assert_eq!(ukernel::for_isa(table.isa).map(|t| t.isa), Some(table.isa));
        for shape in table
            .gemm_f32()
            .iter()
            .map(|k| (k.shape, k.symbol, "f32"))
            .chain(table.gemm_f64().iter().map(|k| (k.shape, k.symbol, "f64")))
        {
            let (shape, symbol, elem) = shape;
            assert!(names.insert(symbol));
            assert_eq!(shape.name, format!("{}_{}x{}", table.isa.name(), shape.mr, shape.nr));
            assert_eq!(symbol, format!("kiln_gemm_{elem}_{}", shape.name));
        }
        for n in 1..200usize {
            let padded = |nr: usize| n.div_ceil(nr) * nr;
            let chosen = padded(table.gemm_f32_for(n).unwrap().shape.nr);
            assert!(table.gemm_f32().iter().all(|k| padded(k.shape.nr) >= chosen));
        }
    }
    assert_eq!(ukernel::select().isa, ukernel::available().iter().map(|t| t.isa).max().unwrap());
    assert_eq!(size_of::<GemmTile<f32>>(), 14 * 8);
    assert_eq!(CHAIN % 4, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Any combination of strides and taps, f32 and f64, on every kernel.
    #[test]
    fn any_strides(
        seed: u64, rows in 1usize..13, k in 0usize..70, taps in 0usize..6, a_k_stride in -3i64..6,
        b_gap in 0usize..5, c_gap in 0usize..5, table: bool, has_tap_off: bool, accumulate: bool,
    ) {
        fn run<T: Real>(s: &(u64, usize, usize, usize, i64, usize, usize, bool, bool, bool)) {
            let &(seed, rows, k, taps, a_k_stride, b_gap, c_gap, table, has_tap_off, accumulate) = s;
            for_each::<T>(|kernel| {
                let nr = kernel.shape.nr;
                let rows = rows.min(kernel.shape.mr);
                let mut values = Values(seed);
                // Offsets within 0..100, and room for the walk along k on both sides.
                let mut offset = |n: usize| -> Vec<i64> { (0..n).map(|_| ((values.next() + 1.0) * 50.0) as i64).collect() };
                let row_off = offset(if table { rows * taps } else { rows });
                let tap_off = has_tap_off.then(|| offset(taps));
                let (b_k_stride, walk) = (nr + b_gap, k * a_k_stride.unsigned_abs() as usize);
                Problem {
                    a: values.fill::<T>(2 * walk + 201),
                    a_base: walk,
                    row_off,
                    tap_off,
                    b: values.fill(taps * (k * b_k_stride + 3) + nr),
                    k,
                    taps,
                    rows,
                    row_off_tap_stride: if table { rows } else { 0 },
                    a_k_stride,
                    b_k_stride,
                    b_tap_stride: k * b_k_stride + 3,
                    c_row_stride: nr + c_gap,
                    accumulate,
                }
                .check(kernel);
            });
        }
        let s = (seed, rows, k, taps, a_k_stride, b_gap, c_gap, table, has_tap_off, accumulate);
        run::<f32>(&s);
        run::<f64>(&s);
    }
}
