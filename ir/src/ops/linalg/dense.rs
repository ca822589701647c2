//! Dense matrices of complex numbers and their factorizations: small, direct algorithms.
//!
//! Real matrices are computed as complex ones with imaginary parts of zero, which these algorithms keep: one code serves
//! all element types, and the f32 and c64 results are rounded once from f64.

use num_complex::Complex;

/// An element.
pub type C = Complex<f64>;

/// A matrix, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements.
    pub data: Vec<C>,
}

impl std::ops::Index<(usize, usize)> for Matrix {
    type Output = C;
    fn index(&self, (i, j): (usize, usize)) -> &C {
        &self.data[i * self.cols + j]
    }
}

impl std::ops::IndexMut<(usize, usize)> for Matrix {
    fn index_mut(&mut self, (i, j): (usize, usize)) -> &mut C {
        &mut self.data[i * self.cols + j]
    }
}

impl Matrix {
    /// A matrix from a function of row and column.
    pub fn from_fn(rows: usize, cols: usize, mut f: impl FnMut(usize, usize) -> C) -> Matrix {
        let data = (0..rows * cols).map(|k| f(k / cols, k % cols)).collect();
        Matrix { rows, cols, data }
    }

    /// The identity, or its first columns.
    pub fn eye(rows: usize, cols: usize) -> Matrix {
        Matrix::from_fn(rows, cols, |i, j| C::from(if i == j { 1.0 } else { 0.0 }))
    }

    /// The conjugate transpose.
    pub fn adjoint(&self) -> Matrix {
        Matrix::from_fn(self.cols, self.rows, |i, j| self[(j, i)].conj())
    }

    /// The matrix product.
    pub fn times(&self, o: &Matrix) -> Matrix {
        let mut out = Matrix::from_fn(self.rows, o.cols, |_, _| C::default());
        for i in 0..self.rows {
            for k in 0..self.cols {
                let x = self[(i, k)];
                for j in 0..o.cols {
                    out[(i, j)] += x * o[(k, j)];
                }
            }
        }
        out
    }

    /// `self + f * o`.
    pub fn plus(&self, o: &Matrix, f: f64) -> Matrix {
        Matrix { data: self.data.iter().zip(&o.data).map(|(a, b)| a + b * f).collect(), ..*self }
    }

    /// The elements times a number.
    pub fn scaled(&self, f: f64) -> Matrix {
        Matrix { data: self.data.iter().map(|a| a * f).collect(), ..*self }
    }

    /// The largest sum of magnitudes of a column.
    pub fn norm1(&self) -> f64 {
        let column = |j| (0..self.rows).map(|i| self[(i, j)].norm()).sum();
        (0..self.cols).map(column).fold(0.0, f64::max)
    }

    /// The leading columns.
    pub fn columns(&self, n: usize) -> Matrix {
        Matrix::from_fn(self.rows, n, |i, j| self[(i, j)])
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        if a != b {
            (0..self.cols).for_each(|j| self.data.swap(a * self.cols + j, b * self.cols + j));
        }
    }
}

/// L and U in one square matrix, with `rows`: row `i` of L U is row `rows[i]` of the original.
pub struct Lu {
    /// U, and below the diagonal L, whose diagonal is 1.
    pub lu: Matrix,
    /// The original row of each row.
    pub rows: Vec<usize>,
    /// Whether an odd number of rows changed places.
    pub odd: bool,
}

/// Gaussian elimination with partial pivoting. A singular matrix has a zero on the diagonal of U.
pub fn lu(a: &Matrix) -> Lu {
    let (mut lu, n, mut odd) = (a.clone(), a.rows, false);
    let mut rows: Vec<usize> = (0..n).collect();
    for k in 0..n {
        // The first of the largest, as TensorFlow's kernel picks it.
        let pivot = (k..n).fold(k, |best, i| if lu[(i, k)].norm() > lu[(best, k)].norm() { i } else { best });
        lu.swap_rows(k, pivot);
        rows.swap(k, pivot);
        odd ^= pivot != k;
        let d = lu[(k, k)];
        if d == C::default() {
            continue;
        }
        for i in k + 1..n {
            let f = lu[(i, k)] / d;
            lu[(i, k)] = f;
            for j in k + 1..n {
                let u = lu[(k, j)];
                lu[(i, j)] -= f * u;
            }
        }
    }
    Lu { lu, rows, odd }
}

impl Lu {
    /// The solution of A X = B; `None` for a singular A.
    pub fn solve(&self, b: &Matrix) -> Option<Matrix> {
        let n = self.lu.rows;
        if (0..n).any(|i| self.lu[(i, i)] == C::default()) {
            return None;
        }
        let permuted = Matrix::from_fn(n, b.cols, |i, j| b[(self.rows[i], j)]);
        let y = substitute(&self.lu, &permuted, true, true);
        Some(substitute(&self.lu, &y, false, false))
    }

    /// The determinant's sign (a number of magnitude 1, or 0) and the logarithm of its magnitude.
    pub fn log_det(&self) -> (C, f64) {
        let (mut sign, mut log) = (C::from(if self.odd { -1.0 } else { 1.0 }), 0.0);
        for i in 0..self.lu.rows {
            let d = self.lu[(i, i)];
            if d == C::default() {
                return (C::default(), f64::NEG_INFINITY);
            }
            sign *= d / d.norm();
            log += d.norm().ln();
        }
        (sign, log)
    }
}

/// The solution of T X = B for the lower or upper triangle T of a matrix, whose diagonal may be taken as ones.
pub fn substitute(t: &Matrix, b: &Matrix, lower: bool, unit: bool) -> Matrix {
    let (mut x, n) = (b.clone(), t.rows);
    for step in 0..n {
        let i = if lower { step } else { n - 1 - step };
        let done = if lower { 0..i } else { i + 1..n };
        for j in 0..x.cols {
            let sum: C = done.clone().map(|k| t[(i, k)] * x[(k, j)]).sum();
            let rest = x[(i, j)] - sum;
            x[(i, j)] = if unit { rest } else { rest / t[(i, i)] };
        }
    }
    x
}

/// The lower triangular L with L L^H = A, of which the lower triangle is read; `None` if A is not positive definite.
pub fn cholesky(a: &Matrix) -> Option<Matrix> {
    let n = a.rows;
    let mut l = Matrix::from_fn(n, n, |_, _| C::default());
    for j in 0..n {
        let d = a[(j, j)].re - (0..j).map(|k| l[(j, k)].norm_sqr()).sum::<f64>();
        if d <= 0.0 || d.is_nan() {
            return None;
        }
        l[(j, j)] = C::from(d.sqrt());
        for i in j + 1..n {
            let sum: C = (0..j).map(|k| l[(i, k)] * l[(j, k)].conj()).sum();
            l[(i, j)] = (a[(i, j)] - sum) / d.sqrt();
        }
    }
    Some(l)
}

/// Q (square) and R of Householder's factorization; the sign of R's diagonal is opposite to what it replaces.
pub fn qr(a: &Matrix) -> (Matrix, Matrix) {
    let (m, n) = (a.rows, a.cols);
    let (mut q, mut r) = (Matrix::eye(m, m), a.clone());
    for k in 0..m.min(n) {
        let tail: f64 = (k + 1..m).map(|i| r[(i, k)].norm_sqr()).sum();
        let c = r[(k, k)];
        if tail <= f64::MIN_POSITIVE && c.im == 0.0 {
            continue;
        }
        let norm = (c.norm_sqr() + tail).sqrt();
        let beta = if c.re >= 0.0 { -norm } else { norm };
        // H = I - tau v v^H with v_k = 1 takes the column to beta.
        let mut v: Vec<C> = (k..m).map(|i| r[(i, k)] / (c - beta)).collect();
        v[0] = C::from(1.0);
        let tau = ((C::from(beta) - c) / beta).conj();
        for j in k..n {
            let dot: C = v.iter().enumerate().map(|(i, x)| x.conj() * r[(k + i, j)]).sum();
            v.iter().enumerate().for_each(|(i, x)| r[(k + i, j)] -= tau * x * dot);
        }
        for row in 0..m {
            let dot: C = v.iter().enumerate().map(|(i, x)| q[(row, k + i)] * x).sum();
            v.iter().enumerate().for_each(|(i, x)| q[(row, k + i)] -= dot * tau.conj() * x.conj());
        }
        (k + 1..m).for_each(|i| r[(i, k)] = C::default());
    }
    (q, r)
}

/// Eigenvalues in ascending order and eigenvectors (columns) of the Hermitian matrix whose lower triangle is given, by
/// Jacobi's rotations.
pub fn eigh(a: &Matrix) -> (Vec<f64>, Matrix) {
    let n = a.rows;
    let mut a = Matrix::from_fn(n, n, |i, j| match i.cmp(&j) {
        std::cmp::Ordering::Less => a[(j, i)].conj(),
        std::cmp::Ordering::Equal => C::from(a[(i, i)].re),
        std::cmp::Ordering::Greater => a[(i, j)],
    });
    let mut v = Matrix::eye(n, n);
    let scale = a.data.iter().map(|z| z.norm_sqr()).sum::<f64>();
    for _ in 0..60 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|at| a[at].norm_sqr()).sum();
        if off <= scale * 1e-34 || off.is_nan() {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let Some((c, s)) = rotation(a[(p, p)].re, a[(q, q)].re, a[(p, q)]) else { continue };
                rotate_columns(&mut a, p, q, c, s);
                for j in 0..n {
                    let (x, y) = (a[(p, j)], a[(q, j)]);
                    a[(p, j)] = x * c - y * s;
                    a[(q, j)] = x * s.conj() + y * c;
                }
                rotate_columns(&mut v, p, q, c, s);
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[(i, i)].re.total_cmp(&a[(j, j)].re));
    let values = order.iter().map(|&i| a[(i, i)].re).collect();
    (values, Matrix::from_fn(n, n, |i, j| v[(i, order[j])]))
}

/// The rotation that makes the Hermitian matrix [[x, z], [z*, y]] diagonal; `None` if it is.
fn rotation(x: f64, y: f64, z: C) -> Option<(f64, C)> {
    let r = z.norm();
    if r == 0.0 || r <= 1e-300 {
        return None;
    }
    let theta = (y - x) / (2.0 * r);
    let t = 1.0 / (theta.abs() + theta.hypot(1.0)) * if theta < 0.0 { -1.0 } else { 1.0 };
    let c = 1.0 / t.hypot(1.0);
    Some((c, z / r * (t * c)))
}

/// Columns p and q become c p - s* q and s p + c q.
fn rotate_columns(a: &mut Matrix, p: usize, q: usize, c: f64, s: C) {
    for i in 0..a.rows {
        let (x, y) = (a[(i, p)], a[(i, q)]);
        a[(i, p)] = x * c - y * s.conj();
        a[(i, q)] = x * s + y * c;
    }
}

/// Singular values in descending order with the singular vectors as columns: U of `a.rows` columns if `full`, V likewise.
pub fn svd(a: &Matrix, full: bool) -> (Matrix, Vec<f64>, Matrix) {
    if a.rows < a.cols {
        let (v, s, u) = svd(&a.adjoint(), full);
        return (u, s, v);
    }
    // Rotations from the right make the columns orthogonal.
    let (mut w, n) = (a.clone(), a.cols);
    let mut v = Matrix::eye(n, n);
    for _ in 0..60 {
        let mut turned = false;
        for p in 0..n {
            for q in p + 1..n {
                let column = |j: usize| (0..w.rows).map(|i| w[(i, j)].norm_sqr()).sum::<f64>();
                let (x, y) = (column(p), column(q));
                let z: C = (0..w.rows).map(|i| w[(i, p)].conj() * w[(i, q)]).sum();
                if z.norm() <= 1e-16 * (x * y).sqrt() || z.is_nan() {
                    continue;
                }
                if let Some((c, s)) = rotation(x, y, z) {
                    rotate_columns(&mut w, p, q, c, s);
                    rotate_columns(&mut v, p, q, c, s);
                    turned = true;
                }
            }
        }
        if !turned {
            break;
        }
    }
    let norm = |j: usize| (0..w.rows).map(|i| w[(i, j)].norm_sqr()).sum::<f64>().sqrt();
    let norms: Vec<f64> = (0..n).map(norm).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    let s: Vec<f64> = order.iter().map(|&j| norms[j]).collect();
    let tiny = s.first().copied().unwrap_or(0.0) * 1e-300;
    let found: Vec<Vec<C>> = order
        .iter()
        .map(|&j| if norms[j] > tiny { (0..w.rows).map(|i| w[(i, j)] / norms[j]).collect() } else { vec![] })
        .collect();
    let u = completed(found, w.rows, if full { w.rows } else { n });
    (u, s, Matrix::from_fn(n, n, |i, j| v[(i, order[j])]))
}

/// Orthonormal columns with those that are missing (empty) chosen freely.
fn completed(mut columns: Vec<Vec<C>>, rows: usize, count: usize) -> Matrix {
    columns.resize(count, vec![]);
    let mut candidate = 0;
    for j in 0..count {
        while columns[j].is_empty() && candidate < rows {
            let mut x: Vec<C> = (0..rows).map(|i| C::from(if i == candidate { 1.0 } else { 0.0 })).collect();
            candidate += 1;
            // Twice is enough for orthogonality to working precision.
            for _ in 0..2 {
                for other in columns.iter().filter(|c| !c.is_empty()) {
                    let dot: C = other.iter().zip(&x).map(|(a, b)| a.conj() * b).sum();
                    x.iter_mut().zip(other).for_each(|(x, o)| *x -= dot * o);
                }
            }
            let norm = x.iter().map(|z| z.norm_sqr()).sum::<f64>().sqrt();
            if norm > 1e-8 {
                columns[j] = x.iter().map(|z| z / norm).collect();
            }
        }
    }
    Matrix::from_fn(rows, count, |i, j| columns[j].get(i).copied().unwrap_or_default())
}

/// The principal square root, by Denman and Beavers' iteration in its product form; `None` if it does not converge.
pub fn sqrt(a: &Matrix) -> Option<Matrix> {
    let n = a.rows;
    let (mut m, mut x) = (a.clone(), a.clone());
    for step in 0..60 {
        let inverse = lu(&m).solve(&Matrix::eye(n, n))?;
        // Scaling by the determinant speeds up the first steps.
        let f = if step < 8 { (-lu(&m).log_det().1 / (2.0 * n as f64)).exp() } else { 1.0 };
        let (f2, i) = (f * f, Matrix::eye(n, n));
        let next = i.plus(&m.scaled(f2).plus(&inverse, 1.0 / f2), 0.5).scaled(0.5);
        x = x.times(&i.plus(&inverse, 1.0 / f2)).scaled(0.5 * f);
        m = next;
        let error = m.plus(&i, -1.0).norm1();
        if error < 1e-15 * n as f64 {
            return Some(x);
        }
        if !error.is_finite() {
            return None;
        }
    }
    (m.plus(&Matrix::eye(n, n), -1.0).norm1() < 1e-9).then_some(x)
}

/// The matrix exponential: a Taylor series of the scaled matrix, squared.
pub fn exp(a: &Matrix) -> Matrix {
    let squarings = (a.norm1().max(1e-300) / 0.25).log2().ceil().clamp(0.0, 1100.0) as i32;
    let x = a.scaled((-squarings as f64).exp2());
    let mut term = Matrix::eye(a.rows, a.rows);
    let mut sum = term.clone();
    for k in 1..=16 {
        term = term.times(&x).scaled(1.0 / f64::from(k));
        sum = sum.plus(&term, 1.0);
    }
    (0..squarings).for_each(|_| sum = sum.times(&sum));
    sum
}

/// The principal logarithm: square roots until the matrix is near the identity, then log(1 + x) as the integral of
/// x / (1 + t x) over t in [0, 1], by Gauss' and Legendre's rule of 8 points.
pub fn log(a: &Matrix) -> Option<Matrix> {
    const NODES: [(f64, f64); 4] = [
        (0.183_434_642_495_649_8, 0.362_683_783_378_362),
        (0.525_532_409_916_329, 0.313_706_645_877_887_3),
        (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
        (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
    ];
    let (mut a, i, mut halvings) = (a.clone(), Matrix::eye(a.rows, a.rows), 0);
    while a.plus(&i, -1.0).norm1() > 0.2 {
        a = sqrt(&a)?;
        halvings += 1;
        if halvings > 1100 {
            return None;
        }
    }
    let x = a.plus(&i, -1.0);
    let mut sum = x.scaled(0.0);
    for (node, weight) in NODES.iter().flat_map(|&(x, w)| [(x, w), (-x, w)]) {
        sum = sum.plus(&lu(&i.plus(&x, 0.5 + 0.5 * node)).solve(&x)?, 0.5 * weight);
    }
    Some(sum.scaled(f64::from(halvings).exp2()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(m: usize, n: usize) -> Matrix {
        Matrix::from_fn(m, n, |i, j| C::new(((i * 7 + j * 3) % 5) as f64 - 1.7, ((i * 2 + j * 5) % 7) as f64 - 3.1))
    }

    fn near(a: &Matrix, b: &Matrix) {
        assert!(a.plus(b, -1.0).norm1() < 1e-9 * (1.0 + b.norm1()), "{a:?} is not {b:?}");
    }

    fn diagonal(s: &[f64], rows: usize, cols: usize) -> Matrix {
        Matrix::from_fn(rows, cols, |i, j| C::from(if i == j { s[i] } else { 0.0 }))
    }

    #[test]
    fn factors_multiply_to_the_matrix() {
        for (m, n) in [(1, 1), (4, 4), (5, 3), (3, 5), (2, 0)] {
            let a = sample(m, n);
            let (q, r) = qr(&a);
            near(&q.times(&r), &a);
            near(&q.adjoint().times(&q), &Matrix::eye(m, m));
            for full in [false, true] {
                let (u, s, v) = svd(&a, full);
                near(&u.times(&diagonal(&s, u.cols, v.cols)).times(&v.adjoint()), &a);
                near(&u.adjoint().times(&u), &Matrix::eye(u.cols, u.cols));
            }
        }
        let h = sample(4, 4).times(&sample(4, 4).adjoint());
        let (e, v) = eigh(&h);
        near(&v.times(&diagonal(&e, 4, 4)).times(&v.adjoint()), &h);
        let g = h.plus(&Matrix::eye(4, 4), 1.0);
        let l = cholesky(&g).unwrap();
        near(&l.times(&l.adjoint()), &g);
    }

    #[test]
    fn singular_vectors_of_rank_deficient_matrices_are_orthonormal() {
        let a = Matrix::from_fn(4, 3, |i, j| C::from(((i + 1) * (j + 1)) as f64));
        let (u, s, v) = svd(&a, true);
        near(&u.adjoint().times(&u), &Matrix::eye(4, 4));
        near(&v.adjoint().times(&v), &Matrix::eye(3, 3));
        assert!(s[1] < 1e-12 && s[2] < 1e-12);
    }

    #[test]
    fn functions_of_matrices_invert_each_other() {
        let a = sample(4, 4).times(&sample(4, 4).adjoint()).plus(&Matrix::eye(4, 4), 2.0);
        let root = sqrt(&a).unwrap();
        near(&root.times(&root), &a);
        near(&exp(&log(&a).unwrap()), &a);
        let x = lu(&a).solve(&sample(4, 2)).unwrap();
        near(&a.times(&x), &sample(4, 2));
    }
}
