//! Reductions by any function: XlaReduce, XlaVariadicReduce, XlaVariadicReduceV2.
//!
//! A function that is a sum, product, maximum, minimum, and, or is the IR's reduction. Any other is applied to neighbours,
//! then to the results' neighbours, and so on: the order is kept, and since XLA leaves open how elements are grouped, a
//! function that is meant to be reduced by is associative.

use anyhow::{Result, bail};

use super::Scalars;
use super::dimensions::{axes, others};
use crate::graph::Value;
use crate::ops::reduce::{Reduce, start_int, start_real};
use crate::ops::shape::Slice;
use crate::ops::shape::join::concat;
use crate::ops::shape::slice::slice;
use crate::scalar::ReduceOp;
use crate::{Builder, Dim};

/// Whether a value is known to be what the IR's reduction starts from, so that combining with it changes nothing.
pub(super) fn is_neutral(b: &Builder, v: Value, op: ReduceOp) -> bool {
    let Some(t) = b.as_const(v) else { return false };
    let dtype = t.dtype();
    if dtype.is_float() {
        t.to_f64s().is_some_and(|x| x.iter().all(|&x| x == start_real(op)))
    } else if dtype.is_complex() {
        false
    } else {
        t.to_i64s().is_some_and(|x| x.iter().all(|&x| x == start_int(op, dtype)))
    }
}

/// `xs` reduced together over axes, from `inits`.
///
/// # Errors
/// If the function does not take two of each operand, or is none of the IR's reductions and an axis is of unknown size.
pub fn reduce(b: &mut Builder, xs: &[Value], inits: &[Value], over: &[i64], f: &Scalars) -> Result<Vec<Value>> {
    let n = xs.len();
    let Some(&first) = xs.first() else { bail!("nothing is reduced") };
    let shape = b.ty(first).shape.clone();
    if inits.len() != n || f.arity() != (2 * n, n) {
        let (takes, gives) = f.arity();
        bail!("function `{}` takes {takes} values and gives {gives}; {n} operands are reduced", f.name());
    }
    if let Some(&v) = xs.iter().find(|&&v| b.ty(v).shape != shape) {
        bail!("operands of the shapes {shape:?} and {:?} cannot be reduced together", b.ty(v).shape);
    }
    let mut over = axes(over, shape.len(), "the reduced axes")?;
    over.sort_unstable();
    if let ([x], [init], Some(op)) = (xs, inits, f.reduction())
        && op.accepts(b.ty(*x).dtype)
    {
        let y = b.push(Reduce { op, axes: over, keep_dims: false }, &[*x])?;
        return if is_neutral(b, *init, op) { Ok(vec![y]) } else { f.apply(b, &[*init, y]) };
    }
    let kept = others(shape.len(), &over);
    let rest: Vec<Dim> = kept.iter().map(|&a| shape[a].clone()).collect();
    let count = Dim::product(over.iter().map(|&a| &shape[a]));
    let Some(count) = count.as_const() else {
        bail!(
            "function `{}` is not one of add, multiply, max, min, and, or, so the reduced axes {over:?} of {} must be of \
             known size: fix the shape of the inputs",
            f.name(),
            b.ty(first)
        )
    };
    if count == 0 {
        return inits.iter().map(|&v| b.broadcast(v, &rest)).collect();
    }
    let perm: Vec<usize> = over.iter().chain(&kept).copied().collect();
    let rows = [&[Dim::from(count)], &rest[..]].concat();
    let mut rows_of = |&x: &Value| {
        let x = b.transpose(x, &perm)?;
        b.reshape(x, &rows)
    };
    let xs = xs.iter().map(&mut rows_of).collect::<Result<Vec<_>>>()?;
    let mut values = inits.to_vec();
    let total = pairs(b, xs, f)?;
    for &v in &total {
        values.push(b.reshape(v, &rest)?);
    }
    f.apply(b, &values)
}

/// Each value's rows combined into one.
pub(super) fn pairs(b: &mut Builder, mut xs: Vec<Value>, f: &Scalars) -> Result<Vec<Value>> {
    let rows = |b: &Builder, xs: &[Value]| b.ty(xs[0]).shape[0].as_const().unwrap_or(1);
    let mut n = rows(b, &xs);
    while n > 1 {
        let every_other = |b: &mut Builder, x: Value, start: i64| {
            let shape = b.ty(x).shape.clone();
            let mut op = Slice::along(&shape, 0, Dim::from(start), Dim::from(n / 2));
            op.step[0] = 2;
            slice(b, x, op)
        };
        let mut args = vec![];
        for start in [0, 1] {
            for &x in &xs {
                args.push(every_other(b, x, start)?);
            }
        }
        let mut joined = f.apply(b, &args)?;
        if n % 2 == 1 {
            for (y, &x) in joined.iter_mut().zip(&xs) {
                let last = Slice::along(&b.ty(x).shape.clone(), 0, Dim::from(n - 1), Dim::from(1));
                let last = slice(b, x, last)?;
                *y = concat(b, &[*y, last], 0)?;
            }
        }
        xs = joined;
        n = rows(b, &xs);
    }
    Ok(xs)
}
