//! Elements picked by what they hold: Where, Unique, ListDiff, DynamicPartition. The results' sizes depend on data, so they
//! are symbols; the host runs these ops.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail};

use crate::graph::{TensorType, Value};
use crate::op::{NoGradient, OpDef, OpError, VjpArgs};
use crate::ops::gather::{Scatter, ScatterMode};
use crate::ops::host::{ANY, INDEX, host_op, int_tensor, ints, require, take_rows, typed};
use crate::ops::shape::{arity, assemble, may_equal, splat, strides};
use crate::ops::wide::Wide;
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx, normalize_axis};
use crate::{Builder, DType, Dim};

host_op! {
    /// `where x`: the places of the elements that are not zero, in row-major order (i64).
    Where = "where" {
        /// How many there are.
        count: Dim,
    }
    infer |op, given| {
        let [x] = arity("where", given)?;
        require("where", "C2", x.dtype.is_plain(), || format!("{x} holds no numbers"))?;
        Ok(vec![TensorType::new(DType::I64, vec![op.count.clone(), Dim::from(x.rank())])])
    },
    eval |_, x| {
        let hit: Vec<bool> = match Wide::of("where", x[0])? {
            Wide::Int(v) => v.iter().map(|&v| v != 0).collect(),
            Wide::Real(v) => v.iter().map(|&v| v != 0.0).collect(),
            Wide::Complex(v) => v.iter().map(|v| v.re != 0.0 || v.im != 0.0).collect(),
        };
        let (shape, stride) = (x[0].shape(), strides(x[0].shape()));
        let places: Vec<usize> = (0..hit.len()).filter(|&i| hit[i]).collect();
        let index = |i: usize, axis: usize| (i / stride[axis] % shape[axis]) as i64;
        let all: Vec<i64> = places.iter().flat_map(|&i| (0..shape.len()).map(move |a| index(i, a))).collect();
        Ok(vec![Tensor::of(&[places.len(), shape.len()], &all)])
    }
}

fn tf_where(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let count = cx.b.fresh_dim("found");
    crate::ops::host::import(cx, Where { count })
}

/// What makes the slices of a tensor along an axis equal: their elements' bits, with one zero; a NaN equals nothing.
fn slice_keys(t: &Tensor, axis: usize) -> Vec<Vec<u8>> {
    let shape = t.shape();
    let n = shape.get(axis).copied().unwrap_or(1);
    let inner: usize = shape.iter().skip(axis + 1).product();
    let outer: usize = shape.iter().take(axis).product();
    let floats = t.to_f64s();
    (0..n)
        .map(|j| {
            let mut key = vec![];
            for o in 0..outer {
                for i in 0..inner {
                    let at = (o * n + j) * inner + i;
                    match (t.strings(), &floats) {
                        (Some(s), _) => {
                            key.extend((s[at].len() as u64).to_ne_bytes());
                            key.extend(&s[at]);
                        }
                        (_, Some(f)) if f[at].is_nan() => key.extend((j as u128 + 1).to_ne_bytes()),
                        (_, Some(f)) => key.extend((f[at] + 0.0).to_ne_bytes()),
                        _ => {
                            let size = t.dtype().size();
                            key.extend(&t.bytes()[at * size..(at + 1) * size]);
                        }
                    }
                }
            }
            key
        })
        .collect()
}

host_op! {
    /// `unique x`: the distinct slices along an axis in the order of their first occurrence, for each slice of the operand
    /// its place among them, and how often each occurs.
    Unique = "unique" {
        /// The axis.
        axis: i64,
        /// How many are distinct.
        count: Dim,
        /// Element type of places and counts.
        index: DType,
    }
    infer |op, given| {
        let [x] = typed("unique", given, [ANY])?;
        let axis = usize::try_from(op.axis).ok().filter(|&a| a < x.rank());
        let Some(axis) = axis else { return Err(OpError::new("unique", "C4", format!("axis {} of {x}", op.axis))) };
        require("unique", "C4", INDEX.contains(&op.index), || format!("places of type {}", op.index))?;
        let mut shape = x.shape.clone();
        let n = std::mem::replace(&mut shape[axis], op.count.clone());
        let list = |n: Dim| TensorType::new(op.index, vec![n]);
        Ok(vec![TensorType::new(x.dtype, shape), list(n), list(op.count.clone())])
    },
    eval |op, x| {
        let axis = op.axis as usize;
        let (mut place, mut first, mut places, mut counts) = (HashMap::new(), vec![], vec![], vec![]);
        for (j, key) in slice_keys(x[0], axis).into_iter().enumerate() {
            let at = *place.entry(key).or_insert_with(|| {
                first.push(j);
                counts.push(0i64);
                first.len() - 1
            });
            counts[at] += 1;
            places.push(at as i64);
        }
        let mut shape = x[0].shape().to_vec();
        let n = std::mem::replace(&mut shape[axis], first.len());
        let inner: usize = shape[axis + 1..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        let y = assemble("unique", &shape, &[x[0]], |emit| {
            for o in 0..outer {
                first.iter().for_each(|j| emit(0, (o * n + j) * inner, inner));
            }
        })?;
        let places = int_tensor("unique", op.index, &[places.len()], &places)?;
        Ok(vec![y, places, int_tensor("unique", op.index, &[counts.len()], &counts)?])
    }
}

fn tf_unique(cx: &mut TfCx<'_>, with_axis: bool, results: usize) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let axis = match with_axis.then(|| cx.const_ints(1)).transpose()?.as_deref() {
        None | Some([]) if ty.rank() != 1 => bail!("takes a vector, not {ty}"),
        None | Some([]) => 0,
        Some(&[axis]) => normalize_axis(axis, ty.rank())?,
        Some(axes) => bail!("takes one axis, not {axes:?}"),
    };
    let count = cx.b.fresh_dim("unique");
    let mut all = cx.b.push_all(Unique { axis: axis as i64, count, index: cx.dtype("out_idx")? }, &[x])?;
    all.truncate(results);
    Ok(all)
}

host_op! {
    /// `list_diff x, y`: the elements of vector `x` that vector `y` has not, and their places in `x`.
    ListDiff = "list_diff" {
        /// How many they are.
        count: Dim,
        /// Element type of the places.
        index: DType,
    }
    infer |op, given| {
        let [x, y] = typed("list_diff", given, [ANY, ANY])?;
        let fits = x.rank() == 1 && y.rank() == 1 && x.dtype == y.dtype;
        require("list_diff", "C3", fits, || format!("takes two vectors of one type, not {x} and {y}"))?;
        require("list_diff", "C4", INDEX.contains(&op.index), || format!("places of type {}", op.index))?;
        let list = |dtype| TensorType::new(dtype, vec![op.count.clone()]);
        Ok(vec![list(x.dtype), list(op.index)])
    },
    eval |op, x| {
        let mut gone: HashSet<Vec<u8>> = slice_keys(x[1], 0).into_iter().collect();
        // A NaN of one list is no NaN of the other.
        if let Some(v) = x[1].to_f64s() && v.iter().any(|v| v.is_nan()) {
            gone.retain(|k| k.len() == 8);
        }
        let left: Vec<usize> =
            slice_keys(x[0], 0).iter().enumerate().filter(|k| !gone.contains(k.1)).map(|k| k.0).collect();
        let y = take_rows("list_diff", x[0], 1, &left, &[left.len()])?;
        let places: Vec<i64> = left.iter().map(|&i| i as i64).collect();
        Ok(vec![y, int_tensor("list_diff", op.index, &[left.len()], &places)?])
    }
}

fn tf_list_diff(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let count = cx.b.fresh_dim("left");
    let index = cx.dtype("out_idx")?;
    crate::ops::host::import(cx, ListDiff { count, index })
}

host_op! {
    /// `dynamic_partition data, parts`: the rows of each part, in order; a row is what stands under one element of `parts`.
    DynamicPartition = "dynamic_partition" {
        /// How many rows each part has.
        counts: Vec<Dim>,
    }
    infer |op, given| {
        let [data, parts] = typed("dynamic_partition", given, [ANY, &[DType::I32]])?;
        let leads = parts.rank() <= data.rank() && parts.shape.iter().zip(&data.shape).all(|(a, b)| may_equal(a, b));
        require("dynamic_partition", "C3", leads, || format!("the shape of {parts} does not lead that of {data}"))?;
        let rest = &data.shape[parts.rank()..];
        Ok(op.counts.iter().map(|n| TensorType::new(data.dtype, [std::slice::from_ref(n), rest].concat())).collect())
    },
    eval |op, x| {
        let mut rows = vec![vec![]; op.counts.len()];
        for (i, p) in ints(x[1]).into_iter().enumerate() {
            let n = rows.len();
            let Some(list) = usize::try_from(p).ok().and_then(|p| rows.get_mut(p)) else {
                return Err(OpError::new("dynamic_partition", "E1", format!("parts[{i}] = {p} is not in [0, {n})")));
            };
            list.push(i);
        }
        let rest = &x[0].shape()[x[1].shape().len()..];
        let row = rest.iter().product();
        let part = |list: &Vec<usize>| {
            take_rows("dynamic_partition", x[0], row, list, &[&[list.len()], rest].concat())
        };
        rows.iter().map(part).collect()
    },
    vjp |op, b, args| partition_gradient(op, b, &args)
}

/// Each part's cotangent goes back to where its rows came from: the same partition of the rows' numbers.
fn partition_gradient(
    op: &DynamicPartition,
    b: &mut Builder,
    args: &VjpArgs<'_>,
) -> Result<Vec<Option<Value>>, NoGradient> {
    let (data, parts) = (b.ty(args.inputs[0]).clone(), b.ty(args.inputs[1]).clone());
    if !(data.dtype.is_float() || data.dtype.is_complex()) {
        return Err(NoGradient::NotDifferentiable);
    }
    let n = parts.elements();
    let numbers = b.push(crate::ops::constant::Iota { shape: vec![n.clone()], axis: 0, dtype: DType::I64 }, &[])?;
    let numbers = b.reshape(numbers, &parts.shape)?;
    let numbers = b.push_all(op.clone(), &[numbers, args.inputs[1]])?;
    let mut dx = splat(b, data.dtype, 0.0, &[&[n], &data.shape[parts.rank()..]].concat())?;
    for (g, rows) in args.cotangents.iter().zip(numbers) {
        let Some(g) = *g else { continue };
        let column = [b.ty(rows).shape.clone(), vec![Dim::from(1)]].concat();
        let rows = b.reshape(rows, &column)?;
        dx = b.push(Scatter { mode: ScatterMode::ADD }, &[dx, rows, g])?;
    }
    Ok(vec![Some(b.reshape(dx, &data.shape)?), None])
}

fn tf_dynamic_partition(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let n = cx.int("num_partitions")?;
    if !(1..=1 << 20).contains(&n) {
        bail!("{n} partitions");
    }
    let counts = (0..n).map(|_| cx.b.fresh_dim("rows")).collect();
    crate::ops::host::import(cx, DynamicPartition { counts })
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    Where::def(&[TfBinding { op: "Where", read: tf_where }]),
    Unique::def(&[
        TfBinding { op: "Unique", read: |cx| tf_unique(cx, false, 2) },
        TfBinding { op: "UniqueV2", read: |cx| tf_unique(cx, true, 2) },
        TfBinding { op: "UniqueWithCounts", read: |cx| tf_unique(cx, false, 3) },
        TfBinding { op: "UniqueWithCountsV2", read: |cx| tf_unique(cx, true, 3) },
    ]),
    ListDiff::def(&[TfBinding { op: "ListDiff", read: tf_list_diff }]),
    DynamicPartition::def(&[TfBinding { op: "DynamicPartition", read: tf_dynamic_partition }]),
];
