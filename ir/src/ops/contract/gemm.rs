//! The matrix product that reference evaluation of contractions and convolutions shares.

use crate::ops::wide::Num;

/// Columns of a packed panel, rows computed at once: four by four accumulators stay in registers.
const NR: usize = 4;
const MR: usize = 4;

/// A matrix of `k` rows, packed in panels of columns so that the product reads it in order.
pub(crate) struct Packed<T> {
    panels: Vec<[T; NR]>,
    k: usize,
    n: usize,
}

impl<T: Num> Packed<T> {
    /// Packs the `k` by `n` matrix whose element (i, j) is `at(i, j)`.
    pub(crate) fn new(k: usize, n: usize, at: impl Fn(usize, usize) -> T) -> Packed<T> {
        let mut panels = Vec::with_capacity(n.div_ceil(NR) * k);
        for j0 in (0..n).step_by(NR) {
            for i in 0..k {
                let mut row = [T::default(); NR];
                for (j, slot) in row.iter_mut().enumerate().take(n - j0) {
                    *slot = at(i, j0 + j);
                }
                panels.push(row);
            }
        }
        Packed { panels, k, n }
    }

    /// `emit(i, j, sum over p of a[i][p] * self[p][j])` for `a` of `m` rows in row-major order. Terms are added in order.
    pub(crate) fn product(&self, a: &[T], m: usize, mut emit: impl FnMut(usize, usize, T)) {
        let (k, n) = (self.k, self.n);
        for i0 in (0..m).step_by(MR) {
            let rows = MR.min(m - i0);
            // Missing rows repeat the last one; their results are not emitted.
            let row = |r: usize| &a[(i0 + r.min(rows - 1)) * k..][..k];
            let (a0, a1, a2, a3) = (row(0), row(1), row(2), row(3));
            for j0 in (0..n).step_by(NR) {
                let panel = &self.panels[j0 / NR * k..][..k];
                let mut acc = [[T::default(); NR]; MR];
                for ((((b, &x0), &x1), &x2), &x3) in panel.iter().zip(a0).zip(a1).zip(a2).zip(a3) {
                    for j in 0..NR {
                        acc[0][j] = acc[0][j].add_mul(x0, b[j]);
                        acc[1][j] = acc[1][j].add_mul(x1, b[j]);
                        acc[2][j] = acc[2][j].add_mul(x2, b[j]);
                        acc[3][j] = acc[3][j].add_mul(x3, b[j]);
                    }
                }
                for (r, sums) in acc.iter().enumerate().take(rows) {
                    for (j, &sum) in sums.iter().enumerate().take(n - j0) {
                        emit(i0 + r, j0 + j, sum);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_every_edge_agree_with_the_definition() {
        for (m, k, n) in [(1, 1, 1), (5, 3, 7), (4, 4, 4), (2, 0, 3), (9, 2, 1), (0, 3, 2)] {
            let a: Vec<i64> = (0..m * k).map(|i| i as i64 * 7 % 11 - 5).collect();
            let b = |i: usize, j: usize| (i * 5 + j * 3) as i64 % 7 - 3;
            let mut got = vec![i64::MIN; m * n];
            Packed::new(k, n, b).product(&a, m, |i, j, v| got[i * n + j] = v);
            let want = |i: usize, j: usize| (0..k).map(|p| a[i * k + p] * b(p, j)).sum::<i64>();
            let want: Vec<i64> = (0..m * n).map(|at| want(at / n, at % n)).collect();
            assert_eq!(got, want, "{m} x {k} x {n}");
        }
    }
}
