//! Linear algebra on batches of matrices: the last two axes are the matrix.
//!
//! Constraints: C1 number of operands; C2 one floating (f16 too for triangular solves) or complex type; C3 matrices,
//! square where that is meant, with batch axes alike; C4 attributes.
//! Evaluation: E1 a matrix that is singular, or not positive definite.

pub mod dense;
mod gradients;
mod tf;

pub use tf::TF;

use dense::{C, Matrix};

use crate::graph::TensorType;
use crate::op::{OpDef, OpError};
use crate::ops::host::{complex_tensor, complexes, host_op, int_tensor, require};
use crate::ops::shape::may_equal;
use crate::tensor::Tensor;
use crate::{DType, Dim};

/// The operands, if there are so many, of one type, each a batch of matrices, with one batch shape.
fn matrices<'a, const N: usize>(op: &'static str, given: &[&'a TensorType]) -> Result<[&'a TensorType; N], OpError> {
    let all = crate::ops::shape::arity::<N>(op, given)?;
    for t in all {
        require(op, "C2", t.dtype.is_float() || t.dtype.is_complex(), || format!("does not take {t}"))?;
        require(op, "C2", t.dtype == all[0].dtype, || format!("operands have types {} and {t}", all[0]))?;
        require(op, "C3", t.rank() >= 2, || format!("{t} is no matrix"))?;
        let alike = t.rank() == all[0].rank()
            && t.shape[..t.rank() - 2].iter().zip(&all[0].shape).all(|(a, b)| may_equal(a, b));
        require(op, "C3", alike, || format!("{} and {t} are not batches of one shape", all[0]))?;
    }
    Ok(all)
}

/// Rows and columns.
fn size(t: &TensorType) -> (&Dim, &Dim) {
    (&t.shape[t.rank() - 2], &t.shape[t.rank() - 1])
}

fn square(op: &'static str, t: &TensorType) -> Result<(), OpError> {
    let (m, n) = size(t);
    require(op, "C3", may_equal(m, n), || format!("{t} is not square"))
}

/// The type with other last axes in place of the matrix.
fn with_last(t: &TensorType, dtype: DType, last: &[&Dim]) -> TensorType {
    let batch = t.shape[..t.rank() - 2].iter().cloned();
    TensorType::new(dtype, batch.chain(last.iter().map(|&d| d.clone())).collect())
}

/// The matrices of a batch.
fn split(t: &Tensor) -> Vec<Matrix> {
    let [.., rows, cols] = *t.shape() else { return vec![] };
    let batch: usize = t.shape()[..t.shape().len() - 2].iter().product();
    let data = complexes(t);
    (0..batch).map(|i| Matrix { rows, cols, data: data[i * rows * cols..(i + 1) * rows * cols].to_vec() }).collect()
}

/// A batch put together: the batch axes of `like`, then `last`.
fn join(op: &'static str, like: &Tensor, last: &[usize], parts: Vec<Vec<C>>) -> Result<Tensor, OpError> {
    let shape: Vec<usize> = like.shape()[..like.shape().len() - 2].iter().chain(last).copied().collect();
    complex_tensor(op, like.dtype(), &shape, parts.concat())
}

fn singular(op: &'static str) -> OpError {
    OpError::new(op, "E1", "the matrix is not invertible")
}

host_op! {
    /// `cholesky a`: the lower triangular L with L L^H = a.
    Cholesky = "cholesky" {}
    infer |_, given| {
        let [a] = matrices("cholesky", given)?;
        square("cholesky", a)?;
        Ok(vec![a.clone()])
    },
    eval |_, x| {
        let fail = || OpError::new("cholesky", "E1", "the matrix is not positive definite");
        let parts = split(x[0]).into_iter().map(|a| dense::cholesky(&a).map(|l| l.data).ok_or_else(fail));
        let parts = parts.collect::<Result<_, _>>()?;
        Ok(vec![join("cholesky", x[0], &x[0].shape()[x[0].shape().len() - 2..], parts)?])
    },
    vjp |_, b, args| gradients::cholesky(b, args),
}

host_op! {
    /// `matrix_solve a, b`: the X with a X = b, or a^H X = b.
    MatrixSolve = "matrix_solve" {
        /// Whether a^H stands in the equation.
        adjoint: bool,
    }
    infer |_, given| {
        let [a, b] = matrices("matrix_solve", given)?;
        square("matrix_solve", a)?;
        require("matrix_solve", "C3", may_equal(size(a).0, size(b).0), || format!("{a} does not meet {b}"))?;
        Ok(vec![b.clone()])
    },
    eval |op, x| {
        let solve = |(a, b): (Matrix, Matrix)| {
            let a = if op.adjoint { a.adjoint() } else { a };
            dense::lu(&a).solve(&b).map(|x| x.data).ok_or_else(|| singular("matrix_solve"))
        };
        let parts = split(x[0]).into_iter().zip(split(x[1])).map(solve).collect::<Result<_, _>>()?;
        Ok(vec![join("matrix_solve", x[1], &x[1].shape()[x[1].shape().len() - 2..], parts)?])
    },
    vjp |op, b, args| gradients::solve(b, args, op.adjoint, None),
}

host_op! {
    /// `triangular_solve a, b`: as `matrix_solve`, where only one triangle of `a` is read.
    TriangularSolve = "triangular_solve" {
        /// Which triangle.
        lower: bool,
        /// Whether a^H stands in the equation.
        adjoint: bool,
    }
    infer |_, given| {
        let [a, b] = matrices("triangular_solve", given)?;
        square("triangular_solve", a)?;
        require("triangular_solve", "C3", may_equal(size(a).0, size(b).0), || format!("{a} does not meet {b}"))?;
        Ok(vec![b.clone()])
    },
    eval |op, x| {
        let solve = |(a, b): (Matrix, Matrix)| {
            require("triangular_solve", "E1", (0..a.rows).all(|i| a[(i, i)] != C::default()), || {
                "the matrix is not invertible".into()
            })?;
            let a = if op.adjoint { a.adjoint() } else { a };
            Ok(dense::substitute(&a, &b, op.lower != op.adjoint, false).data)
        };
        let parts = split(x[0]).into_iter().zip(split(x[1])).map(solve).collect::<Result<_, OpError>>()?;
        Ok(vec![join("triangular_solve", x[1], &x[1].shape()[x[1].shape().len() - 2..], parts)?])
    },
    vjp |op, b, args| gradients::solve(b, args, op.adjoint, Some(op.lower)),
}

host_op! {
    /// `log_det a`: the determinant's sign (of magnitude 1, or 0) and the logarithm of its magnitude.
    LogDet = "log_det" {}
    infer |_, given| {
        let [a] = matrices("log_det", given)?;
        square("log_det", a)?;
        Ok(vec![with_last(a, a.dtype, &[]); 2])
    },
    eval |_, x| {
        let (signs, logs) = split(x[0]).iter().map(|a| dense::lu(a).log_det()).map(|(s, l)| (vec![s], vec![C::from(l)])).unzip();
        Ok(vec![join("log_det", x[0], &[], signs)?, join("log_det", x[0], &[], logs)?])
    },
    vjp |_, b, args| gradients::log_det(b, args),
}

host_op! {
    /// `determinant a`.
    Determinant = "determinant" {}
    infer |_, given| {
        let [a] = matrices("determinant", given)?;
        square("determinant", a)?;
        Ok(vec![with_last(a, a.dtype, &[])])
    },
    eval |_, x| {
        let det = |a: &Matrix| {
            let f = dense::lu(a);
            vec![(0..a.rows).fold(C::from(if f.odd { -1.0 } else { 1.0 }), |p, i| p * f.lu[(i, i)])]
        };
        Ok(vec![join("determinant", x[0], &[], split(x[0]).iter().map(det).collect())?])
    },
    vjp |_, b, args| gradients::determinant(b, args),
}

host_op! {
    /// `lu a`: L and U in one matrix, and the row of `a` that each row comes from.
    LuFactors = "lu" {
        /// The type of the rows' numbers.
        index: DType,
    }
    infer |op, given| {
        let [a] = matrices("lu", given)?;
        square("lu", a)?;
        let index = matches!(op.index, DType::I32 | DType::I64);
        require("lu", "C4", index, || format!("row numbers of type {}", op.index))?;
        Ok(vec![a.clone(), with_last(a, op.index, &[size(a).0])])
    },
    eval |op, x| {
        let factors: Vec<dense::Lu> = split(x[0]).iter().map(dense::lu).collect();
        for f in &factors {
            require("lu", "E1", (0..f.lu.rows).all(|i| f.lu[(i, i)] != C::default()), || {
                "the matrix is not invertible".into()
            })?;
        }
        let rows: Vec<i64> = factors.iter().flat_map(|f| f.rows.iter().map(|&r| r as i64)).collect();
        let shape = x[0].shape();
        let lu = join("lu", x[0], &shape[shape.len() - 2..], factors.into_iter().map(|f| f.lu.data).collect())?;
        Ok(vec![lu, int_tensor("lu", op.index, &shape[..shape.len() - 1], &rows)?])
    },
}

host_op! {
    /// `qr a`: an orthonormal Q and an upper triangular R with Q R = a.
    Qr = "qr" {
        /// Whether Q is square.
        full: bool,
    }
    infer |op, given| {
        let [a] = matrices("qr", given)?;
        let (m, n) = size(a);
        let k = if op.full { m.clone() } else { m.smaller(n) };
        Ok(vec![with_last(a, a.dtype, &[m, &k]), with_last(a, a.dtype, &[&k, n])])
    },
    eval |op, x| {
        let [.., m, n] = *x[0].shape() else { return Err(OpError::new("qr", "C3", "no matrix")) };
        let k = if op.full { m } else { m.min(n) };
        let (q, r) = split(x[0]).iter().map(|a| {
            let (q, r) = dense::qr(a);
            (q.columns(k).data, r.data[..k * n].to_vec())
        }).unzip();
        Ok(vec![join("qr", x[0], &[m, k], q)?, join("qr", x[0], &[k, n], r)?])
    },
    vjp |_, b, args| gradients::qr(b, args),
}

host_op! {
    /// `eigh a`: eigenvalues, ascending, and eigenvectors of the Hermitian matrix whose lower triangle is given. The
    /// sign (or phase) of an eigenvector is any.
    Eigh = "eigh" {}
    infer |_, given| {
        let [a] = matrices("eigh", given)?;
        square("eigh", a)?;
        Ok(vec![with_last(a, a.dtype, &[size(a).0]), a.clone()])
    },
    eval |_, x| {
        let [.., n, _] = *x[0].shape() else { return Err(OpError::new("eigh", "C3", "no matrix")) };
        let (e, v) = split(x[0]).iter().map(dense::eigh).map(|(e, v)| {
            (e.into_iter().map(C::from).collect(), v.data)
        }).unzip();
        Ok(vec![join("eigh", x[0], &[n], e)?, join("eigh", x[0], &[n, n], v)?])
    },
    vjp |_, b, args| gradients::eigh(b, args),
}

host_op! {
    /// `svd a`: singular values, descending, and the singular vectors U and V. The sign (or phase) of a pair of vectors
    /// is any.
    Svd = "svd" {
        /// Whether U and V are square.
        full: bool,
    }
    infer |op, given| {
        let [a] = matrices("svd", given)?;
        let (m, n) = size(a);
        let k = m.smaller(n);
        let (ku, kv) = if op.full { (m, n) } else { (&k, &k) };
        Ok(vec![with_last(a, a.dtype, &[&k]), with_last(a, a.dtype, &[m, ku]), with_last(a, a.dtype, &[n, kv])])
    },
    eval |op, x| {
        let [.., m, n] = *x[0].shape() else { return Err(OpError::new("svd", "C3", "no matrix")) };
        let (k, mut out) = (m.min(n), (vec![], vec![], vec![]));
        for a in split(x[0]) {
            let (u, s, v) = dense::svd(&a, op.full);
            out.0.push(s.into_iter().map(C::from).collect());
            // The shorter side's vectors are square already.
            out.1.push(if op.full && u.cols < m { dense::qr(&u).0.data } else { u.data });
            out.2.push(v.data);
        }
        let (ku, kv) = if op.full { (m, n) } else { (k, k) };
        let (s, u) = (join("svd", x[0], &[k], out.0)?, join("svd", x[0], &[m, ku], out.1)?);
        Ok(vec![s, u, join("svd", x[0], &[n, kv], out.2)?])
    },
    vjp |_, _, _| Err(anyhow::anyhow!("singular values have no gradient rule yet").into()),
}

host_op! {
    /// `matrix_function a`: `exp`, `log` or `sqrt` of matrices.
    MatrixFunction = "matrix_function" {
        /// Which function.
        function: String,
    }
    infer |op, given| {
        let [a] = matrices("matrix_function", given)?;
        square("matrix_function", a)?;
        let known = matches!(op.function.as_str(), "exp" | "log" | "sqrt");
        require("matrix_function", "C4", known, || format!("no function is named `{}`", op.function))?;
        Ok(vec![a.clone()])
    },
    eval |op, x| {
        let compute = |a: &Matrix| match op.function.as_str() {
            "exp" => Some(dense::exp(a)),
            "log" => dense::log(a),
            _ => dense::sqrt(a),
        };
        let fail = || OpError::new("matrix_function", "E1", format!("the matrix has no principal {}", op.function));
        let parts = split(x[0]).iter().map(|a| Ok(compute(a).ok_or_else(fail)?.data)).collect::<Result<_, OpError>>()?;
        Ok(vec![join("matrix_function", x[0], &x[0].shape()[x[0].shape().len() - 2..], parts)?])
    },
    vjp |_, _, _| Err(anyhow::anyhow!("functions of matrices have no gradient rule yet").into()),
}

host_op! {
    /// `least_squares a, b, l2`: the X that makes |a X - b|^2 + l2 |X|^2 least; without regularization the smallest such.
    LeastSquares = "least_squares" {
        /// By the normal equations.
        fast: bool,
    }
    infer |_, given| {
        require("least_squares", "C1", given.len() == 3, || format!("takes 3 operands, not {}", given.len()))?;
        let [a, b] = matrices("least_squares", &given[..2])?;
        let l2 = given[2];
        require("least_squares", "C3", may_equal(size(a).0, size(b).0), || format!("{a} does not meet {b}"))?;
        require("least_squares", "C2", l2.rank() == 0 && l2.dtype == DType::F64, || format!("{l2} is no factor"))?;
        Ok(vec![with_last(a, a.dtype, &[size(a).1, size(b).1])])
    },
    eval |op, x| {
        let l2 = crate::ops::host::reals(x[2])[0];
        let solve = |(a, b): (Matrix, Matrix)| {
            if !op.fast {
                // By the pseudo-inverse; singular values below the precision of the type count as zeros.
                let (u, s, v) = dense::svd(&a, false);
                let y = u.adjoint().times(&b);
                let eps = if matches!(x[0].dtype(), DType::F64 | DType::C128) { f64::EPSILON } else { f64::from(f32::EPSILON) };
                let least = s.first().copied().unwrap_or(0.0) * eps * a.rows.max(a.cols) as f64;
                let y = Matrix::from_fn(y.rows, y.cols, |i, j| if s[i] > least { y[(i, j)] / s[i] } else { C::default() });
                return Ok(v.times(&y).data);
            }
            let (adjoint, tall) = (a.adjoint(), a.rows >= a.cols);
            let gram = if tall { adjoint.times(&a) } else { a.times(&adjoint) };
            let gram = gram.plus(&Matrix::eye(gram.rows, gram.rows), l2);
            let right = if tall { adjoint.times(&b) } else { b };
            let y = dense::lu(&gram).solve(&right).ok_or_else(|| singular("least_squares"))?;
            Ok(if tall { y.data } else { adjoint.times(&y).data })
        };
        let parts = split(x[0]).into_iter().zip(split(x[1])).map(solve).collect::<Result<_, OpError>>()?;
        let last = [x[0].shape()[x[0].shape().len() - 1], x[1].shape()[x[1].shape().len() - 1]];
        Ok(vec![join("least_squares", x[0], &last, parts)?])
    },
    vjp |_, _, _| Err(anyhow::anyhow!("least squares have no gradient rule yet").into()),
}

host_op! {
    /// `tridiagonal_solve d, b`: the X with T X = b, where the rows of `d` are the diagonals of T above, on and below the
    /// main one; the last element of the first and the first of the last are not read.
    TridiagonalSolve = "tridiagonal_solve" {
        /// Whether rows change places for the sake of accuracy.
        pivoting: bool,
    }
    infer |_, given| {
        let [d, b] = matrices("tridiagonal_solve", given)?;
        let fits = may_equal(size(d).0, &Dim::from(3)) && may_equal(size(d).1, size(b).0);
        require("tridiagonal_solve", "C3", fits, || format!("{d} does not meet {b}"))?;
        Ok(vec![b.clone()])
    },
    eval |op, x| {
        let solve = |(d, b): (Matrix, Matrix)| tridiagonal(&d, b, op.pivoting).ok_or_else(|| singular("tridiagonal_solve"));
        let parts = split(x[0]).into_iter().zip(split(x[1])).map(solve).collect::<Result<_, _>>()?;
        Ok(vec![join("tridiagonal_solve", x[1], &x[1].shape()[x[1].shape().len() - 2..], parts)?])
    },
    vjp |op, b, args| gradients::tridiagonal(b, args, op.pivoting),
}

/// Elimination of the diagonal below, which fills a second one above where rows change places.
fn tridiagonal(d: &Matrix, mut x: Matrix, pivoting: bool) -> Option<Vec<C>> {
    let n = d.cols;
    // Row i holds its elements of columns i, i + 1 and i + 2.
    let at = |diagonal: usize, i: usize| if i < n { d[(diagonal, i)] } else { C::default() };
    let mut rows: Vec<[C; 3]> =
        (0..n).map(|i| [at(1, i), if i + 1 < n { at(0, i) } else { C::default() }, C::default()]).collect();
    for i in 0..n.saturating_sub(1) {
        let mut below = [at(2, i + 1), rows[i + 1][0], rows[i + 1][1]];
        if pivoting && below[0].norm() > rows[i][0].norm() {
            std::mem::swap(&mut below, &mut rows[i]);
            x.swap_pair(i);
        }
        if rows[i][0] == C::default() {
            return None;
        }
        let f = below[0] / rows[i][0];
        rows[i + 1] = [below[1] - f * rows[i][1], below[2] - f * rows[i][2], C::default()];
        for j in 0..x.cols {
            let upper = x[(i, j)];
            x[(i + 1, j)] -= f * upper;
        }
    }
    for i in (0..n).rev() {
        if rows[i][0] == C::default() {
            return None;
        }
        for j in 0..x.cols {
            let sum: C = (1..3).filter(|k| i + k < n).map(|k| rows[i][k] * x[(i + k, j)]).sum();
            x[(i, j)] = (x[(i, j)] - sum) / rows[i][0];
        }
    }
    Some(x.data)
}

impl Matrix {
    /// Rows `i` and `i + 1` change places.
    fn swap_pair(&mut self, i: usize) {
        let (above, below) = self.data[i * self.cols..(i + 2) * self.cols].split_at_mut(self.cols);
        above.swap_with_slice(below);
    }
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    Cholesky::def(&[]),
    MatrixSolve::def(&[]),
    TriangularSolve::def(&[]),
    LogDet::def(&[]),
    Determinant::def(&[]),
    LuFactors::def(&[]),
    Qr::def(&[]),
    Eigh::def(&[]),
    Svd::def(&[]),
    MatrixFunction::def(&[]),
    LeastSquares::def(&[]),
    TridiagonalSolve::def(&[]),
];
