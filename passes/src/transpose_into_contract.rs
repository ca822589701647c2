//! Transpositions and unit axes before and after a contraction become its labels.
//!
//! A contraction names its operands' axes by labels, so a permuted operand is the unpermuted one with permuted labels,
//! and a reshape that only adds or drops axes of extent 1 is one with labels added or dropped. A transposition of the
//! result, if nothing else uses the product, permutes the result's labels. Exact: the same products are summed.

use anyhow::Result;
use kiln_ir::ops::contract::Contract;
use kiln_ir::ops::shape::{Reshape, Transpose};
use kiln_ir::{Builder, Dim, Module, Value};

use crate::manager::{Cx, Pass, each_function};
use crate::rewrite::rebuild;

/// Absorption of transpositions into contractions.
pub struct TransposeIntoContract;

impl Pass for TransposeIntoContract {
    fn name(&self) -> &'static str {
        "transpose-into-contract"
    }
    fn doc(&self) -> &'static str {
        "turns transpositions and unit axes around contractions into labels"
    }
    fn run(&self, m: &mut Module, cx: &mut Cx) -> Result<bool> {
        each_function(m, |f| {
            let uses = f.use_counts();
            rebuild(f, |r, _, node, inputs| {
                if let Some(c) = node.op.is::<Contract>() {
                    return absorb_operands(&mut r.b, c, inputs, cx);
                }
                let used_here_only = node.inputs.first().is_some_and(|v| uses[v.0 as usize] == 1);
                match node.op.is::<Transpose>() {
                    Some(t) if used_here_only => absorb_into_result(&mut r.b, t, inputs[0], cx),
                    _ => Ok(None),
                }
            })
        })
    }
}

fn absorb_operands(b: &mut Builder, c: &Contract, inputs: &[Value], cx: &mut Cx) -> Result<Option<Vec<Value>>> {
    let (mut c, mut inputs) = (c.clone(), inputs.to_vec());
    let mut changed = false;
    for (i, input) in inputs.iter_mut().enumerate() {
        // Chains of views are short: each step goes one definition back.
        while let Some((x, labels)) = through(b, &c, i, *input) {
            if !cx.allow() {
                break;
            }
            *input = x;
            *(if i == 0 { &mut c.lhs } else { &mut c.rhs }) = labels;
            changed = true;
        }
    }
    if changed { b.push_all(c, &inputs).map(Some) } else { Ok(None) }
}

/// The value before the view that defines an operand, and the labels of its axes.
fn through(b: &Builder, c: &Contract, operand: usize, v: Value) -> Option<(Value, Vec<u8>)> {
    let n = b.func.def_node(v)?;
    let x = *n.inputs.first()?;
    let (labels, other) = if operand == 0 { (&c.lhs, &c.rhs) } else { (&c.rhs, &c.lhs) };
    if let Some(t) = n.op.is::<Transpose>() {
        let mut before = labels.clone();
        for (j, &p) in t.perm.iter().enumerate() {
            *before.get_mut(p)? = *labels.get(j)?;
        }
        return Some((x, before));
    }
    n.op.is::<Reshape>()?;
    let (from, to) = (&b.ty(x).shape, &b.ty(v).shape);
    let long = |s: &[Dim]| s.iter().filter(|d| !d.is(1)).cloned().collect::<Vec<_>>();
    if long(from) != long(to) {
        return None;
    }
    let mut kept = to.iter().zip(labels).filter(|(d, _)| !d.is(1)).map(|(_, &l)| l);
    // A dropped unit axis that the result has must still be there in the other operand.
    let mut dropped = to.iter().zip(labels).filter(|(d, _)| d.is(1)).map(|(_, l)| *l);
    if dropped.any(|l| c.out.contains(&l) && !other.contains(&l)) {
        return None;
    }
    let mut fresh =
        (b'a'..=b'z').chain(b'A'..=b'Z').filter(|l| !labels.contains(l) && !other.contains(l) && !c.out.contains(l));
    let before = from.iter().map(|d| if d.is(1) { fresh.next() } else { kept.next() }).collect::<Option<Vec<u8>>>()?;
    Some((x, before))
}

fn absorb_into_result(b: &mut Builder, t: &Transpose, v: Value, cx: &mut Cx) -> Result<Option<Vec<Value>>> {
    let Some(n) = b.func.def_node(v) else { return Ok(None) };
    let (Some(c), inputs) = (n.op.is::<Contract>(), n.inputs.clone()) else { return Ok(None) };
    let out: Option<Vec<u8>> = t.perm.iter().map(|&p| c.out.get(p).copied()).collect();
    let Some(out) = out else { return Ok(None) };
    let c = Contract { out, ..c.clone() };
    if !cx.allow() {
        return Ok(None);
    }
    b.push_all(c, &inputs).map(Some)
}
