//! Sparse tensors whose rows are added, moved, chosen or sorted.

use super::{check, row_tensor, rows_of, sparse, vector};
use crate::graph::TensorType;
use crate::op::NoGradient;
use crate::ops::gather::{Gather, Scatter, ScatterMode};
use crate::ops::host::{host_op, ints, real_tensor, reals, require, take_rows};
use crate::ops::shape::{arity, assemble};
use crate::tensor::Tensor;
use crate::{DType, Dim};

host_op! {
    /// `fill_empty_rows indices, values, shape, default`: rows of the first axis that hold nothing get the default in
    /// their first column. Results: indices, values, which rows were empty, and where each value went.
    FillEmptyRows = "fill_empty_rows" {
        /// The number of values of the result.
        count: Dim,
        /// The extent of the first axis.
        rows: Dim,
    }
    infer |op, given| {
        let [at, values, shape, default] = arity("fill_empty_rows", given)?;
        check("fill_empty_rows", at, values, shape)?;
        let scalar = default.rank() == 0 && default.dtype == values.dtype;
        require("fill_empty_rows", "C2", scalar, || format!("the default {default} is no element of {values}"))?;
        let mut types = sparse(&op.count, &at.shape[1], values.dtype);
        types[2] = TensorType::new(DType::Bool, vec![op.rows.clone()]);
        types.push(TensorType::new(DType::I64, vec![at.shape[0].clone()]));
        Ok(types)
    },
    eval |_, x| {
        let rows = rows_of("fill_empty_rows", x[0], x[2])?;
        let n = ints(x[2]).first().copied().unwrap_or(0) as usize;
        let rank = x[0].shape()[1];
        let mut members: Vec<Vec<usize>> = vec![vec![]; n];
        rows.iter().enumerate().for_each(|(i, row)| members[row[0] as usize].push(i));
        let empty: Vec<bool> = members.iter().map(Vec::is_empty).collect();
        let (mut out, mut from, mut went) = (vec![], vec![], vec![0; rows.len()]);
        for (row, members) in members.iter().enumerate() {
            if members.is_empty() {
                let mut first = vec![0; rank];
                first[0] = row as i64;
                out.push(first);
                from.push((1, 0));
            }
            for &i in members {
                went[i] = out.len() as i64;
                out.push(rows[i].clone());
                from.push((0, i));
            }
        }
        let values = assemble("fill_empty_rows", &[out.len()], &[x[1], x[3]], |emit| {
            from.iter().for_each(|&(k, i)| emit(k, i, 1));
        })?;
        let at = row_tensor("fill_empty_rows", &out, rank)?;
        Ok(vec![at, values, Tensor::of_bools(&[n], &empty), vector("fill_empty_rows", &went)?])
    },
    vjp |_, b, args| {
        // Each value goes to one place; what else there is came from the default.
        let Some(g) = args.cotangents[1] else { return Ok(vec![None; 4]) };
        let went = args.outputs[3];
        let own = b.push(Gather { axis: 0, batch_dims: 0 }, &[g, went])?;
        let (ty, n) = (b.ty(g).clone(), b.ty(went).shape[0].clone());
        let zeros = crate::ops::shape::splat(b, ty.dtype, 0.0, std::slice::from_ref(&n))?;
        let places = b.reshape(went, &[n, Dim::from(1)])?;
        let rest = b.push(Scatter { mode: ScatterMode(None) }, &[g, places, zeros])?;
        let op = crate::ops::reduce::Reduce { op: crate::scalar::ReduceOp::Sum, axes: vec![0], keep_dims: false };
        Ok(vec![None, Some(own), None, Some(b.push(op, &[rest])?)])
    },
}

host_op! {
    /// `sparse_reshape indices, shape, new`: the indices under another shape, of which one size may be -1; and that shape.
    SparseReshape = "sparse_reshape" {}
    infer |_, given| {
        let [at, shape, new] = arity("sparse_reshape", given)?;
        for t in given {
            require("sparse_reshape", "C2", t.dtype == DType::I64, || format!("{t} is not i64"))?;
        }
        let fits = at.rank() == 2 && shape.rank() == 1 && new.rank() == 1;
        require("sparse_reshape", "C3", fits, || format!("{at}, {shape} and {new} are no sparse tensor and shape"))?;
        let rank = new.shape[0].clone();
        Ok(vec![TensorType::new(DType::I64, vec![at.shape[0].clone(), rank.clone()]), TensorType::new(DType::I64, vec![rank])])
    },
    eval |_, x| {
        let (rows, shape, mut new) = (rows_of("sparse_reshape", x[0], x[1])?, ints(x[1]), ints(x[2]));
        let total: i64 = shape.iter().product();
        let known: i64 = new.iter().filter(|&&d| d != -1).product();
        let free = new.iter().filter(|&&d| d == -1).count();
        let fits = free <= 1 && new.iter().all(|&d| d >= -1) && if free == 1 { known > 0 && total % known == 0 } else { known == total };
        require("sparse_reshape", "E1", fits, || format!("a tensor of shape {shape:?} cannot have shape {new:?}"))?;
        new.iter_mut().filter(|d| **d == -1).for_each(|d| *d = total / known);
        let moved = |row: &Vec<i64>| {
            let mut flat = row.iter().zip(&shape).fold(0, |at, (i, n)| at * n + i);
            let mut out = vec![0; new.len()];
            for (o, n) in out.iter_mut().zip(&new).rev() {
                (*o, flat) = (flat % n, flat / n);
            }
            out
        };
        let rows: Vec<Vec<i64>> = rows.iter().map(moved).collect();
        Ok(vec![row_tensor("sparse_reshape", &rows, new.len())?, vector("sparse_reshape", &new)?])
    },
}

host_op! {
    /// `sparse_concat indices.., values.., shapes..`: sparse tensors joined along an axis.
    SparseConcat = "sparse_concat" {
        /// The axis.
        axis: i64,
    }
    infer |op, given| {
        let n = given.len() / 3;
        require("sparse_concat", "C1", n > 0 && given.len() == 3 * n, || format!("{} operands", given.len()))?;
        let mut count = Dim::from(0);
        for i in 0..n {
            let rank = check("sparse_concat", given[i], given[n + i], given[2 * n + i])?;
            let same = given[n + i].dtype == given[n].dtype;
            require("sparse_concat", "C2", same, || format!("{} and {} differ", given[n], given[n + i]))?;
            let axis = rank.is_none_or(|r| (0..r as i64).contains(&op.axis));
            require("sparse_concat", "C4", axis, || format!("axis {} of {}", op.axis, given[i]))?;
            count = count + given[i].shape[0].clone();
        }
        Ok(sparse(&count, &given[0].shape[1], given[n].dtype))
    },
    eval |op, x| {
        let (n, axis) = (x.len() / 3, op.axis as usize);
        // Each row with the operand and the place that its value has there.
        let mut all: Vec<(Vec<i64>, usize, usize)> = vec![];
        let mut shape = ints(x[2 * n]);
        shape[axis] = 0;
        for i in 0..n {
            let own = ints(x[2 * n + i]);
            let alike = own.len() == shape.len() && (0..own.len()).all(|a| a == axis || own[a] == shape[a]);
            require("sparse_concat", "E1", alike, || format!("shapes {shape:?} and {own:?} differ"))?;
            for (k, mut row) in rows_of("sparse_concat", x[i], x[2 * n + i])?.into_iter().enumerate() {
                row[axis] += shape[axis];
                all.push((row, i, k));
            }
            shape[axis] += own[axis];
        }
        // Stable: equal rows stay in the operands' order.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let values = assemble("sparse_concat", &[all.len()], &x[n..2 * n], |emit| {
            all.iter().for_each(|&(_, i, k)| emit(i, k, 1));
        })?;
        let rows: Vec<Vec<i64>> = all.into_iter().map(|r| r.0).collect();
        Ok(vec![row_tensor("sparse_concat", &rows, shape.len())?, values, vector("sparse_concat", &shape)?])
    },
}

host_op! {
    /// `sparse_slice indices, values, shape, start, size`: the box from `start` on, cut to the shape.
    SparseSlice = "sparse_slice" {
        /// The number of values of the result.
        count: Dim,
    }
    infer |op, given| {
        let [at, values, shape, start, size] = arity("sparse_slice", given)?;
        check("sparse_slice", at, values, shape)?;
        let fits = start == shape && size == shape || start.dtype == DType::I64 && size.dtype == DType::I64;
        require("sparse_slice", "C3", fits, || format!("{start} and {size} are no box in {shape}"))?;
        Ok(sparse(&op.count, &at.shape[1], values.dtype))
    },
    eval |_, x| {
        let (rows, shape, start, size) = (rows_of("sparse_slice", x[0], x[2])?, ints(x[2]), ints(x[3]), ints(x[4]));
        let fits = start.len() == shape.len() && size.len() == shape.len() && start.iter().chain(&size).all(|&n| n >= 0);
        require("sparse_slice", "E1", fits, || format!("no box starts at {start:?} with sizes {size:?}"))?;
        let cut: Vec<i64> = (0..shape.len()).map(|a| size[a].min(shape[a] - start[a]).max(0)).collect();
        let inside = |row: &[i64]| row.iter().enumerate().all(|(a, &i)| (start[a]..start[a] + cut[a]).contains(&i));
        let kept: Vec<usize> = (0..rows.len()).filter(|&i| inside(&rows[i])).collect();
        let moved: Vec<Vec<i64>> = kept.iter().map(|&i| rows[i].iter().zip(&start).map(|(i, s)| i - s).collect()).collect();
        let values = take_rows("sparse_slice", x[1], 1, &kept, &[kept.len()])?;
        Ok(vec![row_tensor("sparse_slice", &moved, shape.len())?, values, vector("sparse_slice", &cut)?])
    },
    vjp |_, _, _| Err(NoGradient::Failed(anyhow::anyhow!("sparse_slice has no gradient rule yet"))),
}

host_op! {
    /// `sparse_reorder indices, values, shape`: the rows in the order of their indices.
    SparseReorder = "sparse_reorder" {}
    infer |_, given| {
        let [at, values, shape] = arity("sparse_reorder", given)?;
        check("sparse_reorder", at, values, shape)?;
        Ok(vec![at.clone(), values.clone()])
    },
    eval |_, x| {
        let rows = rows_of("sparse_reorder", x[0], x[2])?;
        let order = sorted(&rows);
        let values = take_rows("sparse_reorder", x[1], 1, &order, &[order.len()])?;
        let rows: Vec<Vec<i64>> = order.iter().map(|&i| rows[i].clone()).collect();
        Ok(vec![row_tensor("sparse_reorder", &rows, x[0].shape()[1])?, values])
    },
    vjp |_, _, _| Err(NoGradient::Failed(anyhow::anyhow!("sparse_reorder has no gradient rule yet"))),
}

fn sorted(rows: &[Vec<i64>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| rows[a].cmp(&rows[b]));
    order
}

host_op! {
    /// `sparse_softmax indices, values, shape`: softmax over the values of each row of the last axis, which must stand
    /// in order.
    SparseSoftmax = "sparse_softmax" {}
    infer |_, given| {
        let [at, values, shape] = arity("sparse_softmax", given)?;
        let rank = check("sparse_softmax", at, values, shape)?;
        require("sparse_softmax", "C2", values.dtype.is_float(), || format!("does not take {values}"))?;
        require("sparse_softmax", "C3", rank.is_none_or(|r| r >= 2), || format!("{shape} has no rows"))?;
        Ok(vec![values.clone()])
    },
    eval |_, x| {
        let rows = rows_of("sparse_softmax", x[0], x[2])?;
        let mut v = reals(x[1]);
        let mut start = 0;
        while start < v.len() {
            let row = &rows[start][..rows[start].len() - 1];
            let end = (start..v.len()).find(|&i| &rows[i][..row.len()] != row).unwrap_or(v.len());
            let max = v[start..end].iter().copied().fold(f64::NEG_INFINITY, f64::max);
            v[start..end].iter_mut().for_each(|x| *x = (*x - max).exp());
            let sum: f64 = v[start..end].iter().sum();
            v[start..end].iter_mut().for_each(|x| *x /= sum);
            start = end;
        }
        Ok(vec![real_tensor("sparse_softmax", x[1].dtype(), x[1].shape(), v)?])
    },
    vjp |_, _, _| Err(NoGradient::Failed(anyhow::anyhow!("sparse_softmax has no gradient rule yet"))),
}
