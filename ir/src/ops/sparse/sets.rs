//! Sets along the last axis: the rows of two tensors, dense or sparse, combined.

use std::collections::BTreeSet;

use super::{check, row_tensor, rows_of, sparse, vector};
use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{host_op, int_tensor, ints, require, string_tensor, strings};
use crate::tensor::Tensor;
use crate::{DType, Dim};

host_op! {
    /// `set_operation a, b`: the sorted sets of the rows, as a sparse tensor. A sparse operand is indices, values and
    /// shape.
    SetOperation = "set_operation" {
        /// `a-b`, `b-a`, `intersection` or `union`.
        operation: String,
        /// Whether the first operand is sparse.
        first_sparse: bool,
        /// Whether the second is.
        second_sparse: bool,
        /// The number of elements of all sets.
        count: Dim,
    }
    infer |op, given| {
        let first = if op.first_sparse { 3 } else { 1 };
        let n = first + if op.second_sparse { 3 } else { 1 };
        require("set_operation", "C1", given.len() == n, || format!("takes {n} operands, not {}", given.len()))?;
        let known = ["a-b", "b-a", "intersection", "union"].contains(&op.operation.as_str());
        require("set_operation", "C4", known, || format!("no operation `{}`", op.operation))?;
        let (dtype, rank) = side(&given[..first])?;
        let (other, _) = side(&given[first..])?;
        let takes = dtype == other && (dtype.is_int() || dtype == DType::String);
        require("set_operation", "C2", takes, || format!("sets of {dtype} and {other}"))?;
        Ok(sparse(&op.count, &rank, dtype))
    },
    eval |op, x| {
        let first = if op.first_sparse { 3 } else { 1 };
        let text = x[first - 1 - usize::from(op.first_sparse)].dtype() == DType::String;
        if text {
            let get = |t: &Tensor| strings(t).to_vec();
            combine(op, x, first, get, |n, v| string_tensor("set_operation", &[n], v))
        } else {
            let dtype = x[if op.first_sparse { 1 } else { 0 }].dtype();
            combine(op, x, first, ints, |n, v| int_tensor("set_operation", dtype, &[n], &v))
        }
    },
}

/// The element type and the rank of an operand.
fn side(given: &[&TensorType]) -> Result<(DType, Dim), OpError> {
    if let [at, values, shape] = given {
        check("set_operation", at, values, shape)?;
        return Ok((values.dtype, at.shape[1].clone()));
    }
    require("set_operation", "C3", given[0].rank() >= 2, || format!("{} has no rows", given[0]))?;
    Ok((given[0].dtype, Dim::from(given[0].rank())))
}

/// The sets of an operand by their place, and its shape.
type Sets<T> = (std::collections::BTreeMap<Vec<i64>, BTreeSet<T>>, Vec<i64>);

fn sets<T: Ord + Clone>(x: &[&Tensor], get: impl Fn(&Tensor) -> Vec<T>) -> Result<Sets<T>, OpError> {
    let mut out: Sets<T> = Default::default();
    if let [at, values, shape] = x {
        out.1 = ints(shape);
        let all = get(values);
        for (row, v) in rows_of("set_operation", at, shape)?.into_iter().zip(all) {
            out.0.entry(row[..row.len() - 1].to_vec()).or_default().insert(v);
        }
        return Ok(out);
    }
    let shape = x[0].shape();
    out.1 = shape.iter().map(|&n| n as i64).collect();
    let width = shape[shape.len() - 1];
    let mut index = vec![0usize; shape.len() - 1];
    for row in get(x[0]).chunks(width.max(1)) {
        let place = index.iter().map(|&i| i as i64).collect();
        out.0.insert(place, row.iter().cloned().collect());
        crate::ops::shape::advance(&mut index, |axis| shape[axis]);
    }
    Ok(out)
}

fn combine<T: Ord + Clone>(
    op: &SetOperation,
    x: &[&Tensor],
    first: usize,
    get: impl Fn(&Tensor) -> Vec<T> + Copy,
    make: impl Fn(usize, Vec<T>) -> Result<Tensor, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let ((a, mut shape), (b, other)) = (sets(&x[..first], get)?, sets(&x[first..], get)?);
    let outer = shape.len().saturating_sub(1);
    let alike = other.len() == shape.len() && shape[..outer] == other[..outer];
    require("set_operation", "E1", alike, || format!("shapes {shape:?} and {other:?} differ before the last axis"))?;
    let (mut rows, mut values, mut widest) = (vec![], vec![], 0);
    let none = BTreeSet::new();
    let places: BTreeSet<&Vec<i64>> = a.keys().chain(b.keys()).collect();
    for place in places {
        let (a, b) = (a.get(place).unwrap_or(&none), b.get(place).unwrap_or(&none));
        let set: Vec<T> = match op.operation.as_str() {
            "a-b" => a.difference(b).cloned().collect(),
            "b-a" => b.difference(a).cloned().collect(),
            "union" => a.union(b).cloned().collect(),
            _ => a.intersection(b).cloned().collect(),
        };
        widest = widest.max(set.len());
        for (i, v) in set.into_iter().enumerate() {
            rows.push(place.iter().copied().chain([i as i64]).collect::<Vec<_>>());
            values.push(v);
        }
    }
    shape[outer] = widest as i64;
    let at = row_tensor("set_operation", &rows, shape.len())?;
    Ok(vec![at, make(rows.len(), values)?, vector("set_operation", &shape)?])
}

host_op! {
    /// `set_size indices, values, shape`: how many different values each row of a sparse tensor holds, i32.
    SetSize = "set_size" {
        /// The result's shape.
        outer: Vec<Dim>,
    }
    infer |op, given| {
        let [at, values, shape] = crate::ops::shape::arity("set_size", given)?;
        check("set_size", at, values, shape)?;
        Ok(vec![TensorType::new(DType::I32, op.outer.clone())])
    },
    eval |_, x| {
        let (text, outer) = (x[1].dtype() == DType::String, x[0].shape()[1].saturating_sub(1));
        let shape: Vec<usize> = ints(x[2])[..outer].iter().map(|&n| n as usize).collect();
        let mut out = vec![0i64; shape.iter().product()];
        let stride = crate::ops::shape::strides(&shape);
        let mut put = |place: &[i64], n: usize| {
            out[place.iter().zip(&stride).map(|(i, s)| *i as usize * s).sum::<usize>()] = n as i64;
        };
        if text {
            sets(x, |t| strings(t).to_vec())?.0.iter().for_each(|(p, s)| put(p, s.len()));
        } else {
            sets(x, ints)?.0.iter().for_each(|(p, s)| put(p, s.len()));
        }
        Ok(vec![int_tensor("set_size", DType::I32, &shape, &out)?])
    },
}
