//! TensorFlow's matrix products.

use anyhow::{Result, bail};

use super::Contract;
use crate::graph::Value;
use crate::ops::constant::Iota;
use crate::ops::reduce::Reduce;
use crate::scalar::{CompareOp, ReduceOp, UnaryOp};
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim};

/// The value without the axes that are 1 here and longer in the other operand: broadcasting needs no copy, since a
/// contraction broadcasts over the labels that an operand lacks.
fn drop_broadcast(
    b: &mut Builder,
    x: Value,
    labels: &mut Vec<u8>,
    other: &[Dim],
    other_labels: &[u8],
    of: &[u8],
) -> Result<Value> {
    let shape = b.ty(x).shape.clone();
    let stretched = |i: usize| {
        let there = other_labels.iter().position(|l| *l == labels[i]).map(|j| &other[j]);
        of.contains(&labels[i]) && shape[i].is(1) && there.is_some_and(|d| !d.is(1))
    };
    let keep: Vec<usize> = (0..shape.len()).filter(|&i| !stretched(i)).collect();
    let left: Vec<Dim> = keep.iter().map(|&i| shape[i].clone()).collect();
    *labels = keep.iter().map(|&i| labels[i]).collect();
    b.reshape(x, &left)
}

/// The contraction of two values with broadcasting over the labels in `broadcast`.
fn contract(
    b: &mut Builder,
    x: (Value, Vec<u8>),
    y: (Value, Vec<u8>),
    out: Vec<u8>,
    broadcast: &[u8],
) -> Result<Value> {
    let (xs, ys) = (b.ty(x.0).shape.clone(), b.ty(y.0).shape.clone());
    let (mut lhs, mut rhs) = (x.1.clone(), y.1.clone());
    let left = drop_broadcast(b, x.0, &mut lhs, &ys, &y.1, broadcast)?;
    let right = drop_broadcast(b, y.0, &mut rhs, &xs, &x.1, broadcast)?;
    b.push(Contract { lhs, rhs, out }, &[left, right])
}

fn mat_mul(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, y) = (cx.input(0)?, cx.input(1)?);
    let lhs = if cx.bool("transpose_a")? { "km" } else { "mk" };
    let rhs = if cx.bool("transpose_b")? { "nk" } else { "kn" };
    Ok(vec![cx.b.push(Contract::new(lhs, rhs, "mn"), &[x, y])?])
}

/// Labels of `n` batch axes: `a`, `b`, .. without those of a matrix product.
fn batch_labels(n: usize) -> Result<Vec<u8>> {
    let all: Vec<u8> = (b'a'..=b'z').chain(b'A'..=b'Z').filter(|l| !b"kmn".contains(l)).collect();
    if n > all.len() { bail!("{n} batch axes are more than {}", all.len()) } else { Ok(all[..n].to_vec()) }
}

fn batch_mat_mul(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (adj_x, adj_y) = (cx.bool("adj_x")?, cx.bool("adj_y")?);
    let (mut x, mut y) = (cx.input(0)?, cx.input(1)?);
    if cx.node.attrs.contains_key("Tout") {
        let out = cx.dtype("Tout")?;
        (x, y) = (cx.b.cast(out, x)?, cx.b.cast(out, y)?);
    }
    let adjoint = |b: &mut Builder, v: Value, adj: bool| {
        if adj && b.ty(v).dtype.is_complex() { b.unary(UnaryOp::Conj, v) } else { Ok(v) }
    };
    (x, y) = (adjoint(cx.b, x, adj_x)?, adjoint(cx.b, y, adj_y)?);
    let (Some(bx), Some(by)) = (cx.b.ty(x).rank().checked_sub(2), cx.b.ty(y).rank().checked_sub(2)) else {
        bail!("operands of types {} and {} are no matrices", cx.b.ty(x), cx.b.ty(y));
    };
    let batch = batch_labels(bx.max(by))?;
    let labels = |rank: usize, matrix: &[u8]| [&batch[batch.len() - rank..], matrix].concat();
    let lhs = labels(bx, if adj_x { b"km" } else { b"mk" });
    let rhs = labels(by, if adj_y { b"nk" } else { b"kn" });
    let out = labels(batch.len(), b"mn");
    Ok(vec![contract(cx.b, (x, lhs), (y, rhs), out, &batch)?])
}

/// An einsum equation with the ellipses written out as labels of their own.
struct Equation {
    operands: Vec<Vec<u8>>,
    out: Vec<u8>,
    ellipsis: Vec<u8>,
}

fn parse_equation(equation: &str, ranks: &[usize]) -> Result<Equation> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((l, r)) => (l.to_string(), Some(r.to_string())),
        None => (text, None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != ranks.len() {
        bail!("the equation `{equation}` is for {} operands, the node has {}", terms.len(), ranks.len());
    }
    if let Some(c) = equation.chars().find(|c| !c.is_ascii_alphabetic() && !" ,.->".contains(*c)) {
        bail!("the equation `{equation}` holds `{c}`");
    }
    let named = |t: &str| t.bytes().filter(u8::is_ascii_alphabetic).count();
    let mut longest = 0;
    for (t, &rank) in terms.iter().zip(ranks) {
        let extra = rank.checked_sub(named(t)).filter(|&e| t.contains("...") || e == 0);
        let Some(extra) = extra else { bail!("`{t}` in `{equation}` does not label an operand of rank {rank}") };
        longest = longest.max(extra);
    }
    let free: Vec<u8> = (b'a'..=b'z').chain(b'A'..=b'Z').filter(|&l| !equation.as_bytes().contains(&l)).collect();
    if free.len() < longest {
        bail!("the equation `{equation}` has too many labels");
    }
    let ellipsis = free[..longest].to_vec();
    let expand = |t: &str, extra: usize| -> Result<Vec<u8>> {
        let dots = &ellipsis[longest - extra..];
        match t.split_once("...") {
            Some((before, after)) if !before.contains('.') && !after.contains('.') => {
                Ok([before.as_bytes(), dots, after.as_bytes()].concat())
            }
            None if !t.contains('.') => Ok(t.as_bytes().to_vec()),
            _ => bail!("`{t}` in `{equation}` has misplaced dots"),
        }
    };
    let operands: Vec<Vec<u8>> =
        terms.iter().zip(ranks).map(|(t, &r)| expand(t, r - named(t))).collect::<Result<_>>()?;
    let out = match right {
        Some(r) => expand(&r, longest)?,
        // Without an arrow: the ellipsis, then the labels that occur once, sorted.
        None => {
            let all = operands.concat();
            let mut once: Vec<u8> = all
                .iter()
                .copied()
                .filter(|l| !ellipsis.contains(l) && all.iter().filter(|m| *m == l).count() == 1)
                .collect();
            once.sort_unstable();
            [&ellipsis[..], &once].concat()
        }
    };
    // Labels of the ellipsis that the result does not keep would be summed; TensorFlow refuses that too.
    if !ellipsis.iter().all(|l| out.contains(l)) {
        bail!("the equation `{equation}` drops the axes of its ellipsis");
    }
    if let Some(l) = out.iter().find(|l| !operands.iter().any(|o| o.contains(l))) {
        bail!("the label `{}` of the result of `{equation}` is not in an operand", *l as char);
    }
    Ok(Equation { operands, out, ellipsis })
}

/// Where the indices along two axes of a shape are equal, as a bool tensor that broadcasts against it.
fn diagonal_mask(b: &mut Builder, shape: &[Dim], i: usize, j: usize) -> Result<Value> {
    let mut ramp = |axis: usize| {
        let mut ones = vec![Dim::from(1); shape.len()];
        ones[axis] = shape[axis].clone();
        b.push(Iota { shape: ones, axis, dtype: DType::I32 }, &[])
    };
    let (rows, cols) = (ramp(i)?, ramp(j)?);
    b.compare(CompareOp::Eq, rows, cols)
}

/// The value with one axis for each label: repeated labels become their diagonal, labels that `keep` refuses are summed.
fn prepare(b: &mut Builder, mut x: Value, mut labels: Vec<u8>, keep: impl Fn(u8) -> bool) -> Result<(Value, Vec<u8>)> {
    while let Some((i, j)) =
        (0..labels.len()).find_map(|j| labels[..j].iter().position(|l| *l == labels[j]).map(|i| (i, j)))
    {
        let ty = b.ty(x).clone();
        let mask = diagonal_mask(b, &ty.shape, i, j)?;
        let zero = b.scalar(ty.dtype, 0.0)?;
        let masked = b.select(mask, x, zero)?;
        x = b.push(Reduce { op: ReduceOp::Sum, axes: vec![j], keep_dims: false }, &[masked])?;
        labels.remove(j);
    }
    let axes: Vec<usize> = (0..labels.len()).filter(|&i| !keep(labels[i])).collect();
    if !axes.is_empty() {
        labels.retain(|&l| keep(l));
        x = b.push(Reduce { op: ReduceOp::Sum, axes, keep_dims: false }, &[x])?;
    }
    Ok((x, labels))
}

/// The value with its axes in the order of `out`; a label that occurs twice there spreads along the diagonal.
fn finish(b: &mut Builder, x: Value, labels: &[u8], out: &[u8]) -> Result<Value> {
    let mut once: Vec<u8> = vec![];
    out.iter().for_each(|l| {
        if !once.contains(l) {
            once.push(*l)
        }
    });
    let perm: Vec<usize> = once.iter().filter_map(|l| labels.iter().position(|m| m == l)).collect();
    let mut x = b.transpose(x, &perm)?;
    for j in 0..out.len() {
        let Some(i) = out[..j].iter().position(|l| *l == out[j]) else { continue };
        let mut shape = b.ty(x).shape.clone();
        shape.insert(j, Dim::from(1));
        let column = b.reshape(x, &shape)?;
        shape[j] = shape[i].clone();
        let mask = diagonal_mask(b, &shape, i, j)?;
        let zero = b.scalar(b.ty(x).dtype, 0.0)?;
        x = b.select(mask, column, zero)?;
    }
    Ok(x)
}

pub(crate) fn einsum(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let equation = cx.str("equation")?;
    let ranks: Vec<usize> = cx.inputs.iter().map(|&v| cx.b.ty(v).rank()).collect();
    let e = parse_equation(&equation, &ranks)?;
    match (cx.inputs, &e.operands[..]) {
        (&[x], [labels]) => {
            let (x, labels) = prepare(cx.b, x, labels.clone(), |l| e.out.contains(&l))?;
            Ok(vec![finish(cx.b, x, &labels, &e.out)?])
        }
        (&[x, y], [lhs, rhs]) => {
            let x = prepare(cx.b, x, lhs.clone(), |l| e.out.contains(&l) || rhs.contains(&l))?;
            let y = prepare(cx.b, y, rhs.clone(), |l| e.out.contains(&l) || lhs.contains(&l))?;
            let mut once: Vec<u8> = vec![];
            e.out.iter().for_each(|l| {
                if !once.contains(l) {
                    once.push(*l)
                }
            });
            let product = contract(cx.b, x, y, once.clone(), &e.ellipsis)?;
            Ok(vec![finish(cx.b, product, &once, &e.out)?])
        }
        _ => bail!("takes one or two operands, not {}", cx.inputs.len()),
    }
}

/// Bindings of `contract`.
pub(super) const CONTRACT: &[TfBinding] = &[
    TfBinding { op: "MatMul", read: mat_mul },
    TfBinding { op: "BatchMatMul", read: batch_mat_mul },
    TfBinding { op: "BatchMatMulV2", read: batch_mat_mul },
    TfBinding { op: "BatchMatMulV3", read: batch_mat_mul },
    TfBinding { op: "Einsum", read: einsum },
];
