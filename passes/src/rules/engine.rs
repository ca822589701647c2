//! Matches rules against a node and builds what replaces it.

use std::collections::HashMap;

use anyhow::Result;
use kiln_ir::ops::pointwise::{Binary, Cast, Compare, Select, Unary};
use kiln_ir::ops::shape::Broadcast;
use kiln_ir::scalar_eval::{Scalar, cast_tensor};
use kiln_ir::{Builder, DType, Op, Tensor, TensorType, Value};

use super::pattern::{Head, Pat, Rhs, Rule, Site, Tag, VARS};
use crate::manager::{Cx, Math};
use crate::rewrite::constant;

/// Rules by the op at their root.
pub struct Rules {
    by_head: HashMap<Head, Vec<Rule>>,
}

impl Rules {
    /// Every rule that a mode allows.
    pub fn new(math: Math) -> Rules {
        let all = [super::arith::rules(), super::shape::rules(), super::logic::rules()];
        Rules::of(all.into_iter().flatten().filter(|r| r.tag != Tag::fast || math == Math::Fast))
    }

    /// These rules; the first that applies wins.
    pub fn of(rules: impl IntoIterator<Item = Rule>) -> Rules {
        let mut by_head: HashMap<Head, Vec<Rule>> = HashMap::new();
        for r in rules {
            if let Pat::Op(head, _) = r.lhs {
                by_head.entry(head).or_default().push(r);
            }
        }
        Rules { by_head }
    }
}

/// How often the result of a rule is simplified again.
const MAX_STEPS: usize = 8;

/// The value that replaces a node, if a rule applies. The result of a rule is simplified again, a few times.
///
/// # Errors
/// If a rule builds ops with operands that they do not take: a wrong rule.
pub fn simplify_node(
    rules: &Rules,
    b: &mut Builder,
    op: &dyn Op,
    inputs: &[Value],
    ty: &TensorType,
    cx: &mut Cx,
) -> Result<Option<Value>> {
    let Some(mut v) = apply(rules, b, op, inputs, ty, cx)? else { return Ok(None) };
    for _ in 1..MAX_STEPS {
        let Some(node) = b.func.def_node(v).filter(|n| n.outputs.len() == 1).cloned() else { break };
        match apply(rules, b, &*node.op, &node.inputs, ty, cx)? {
            Some(next) => v = next,
            None => break,
        }
    }
    Ok(Some(v))
}

fn apply(
    rules: &Rules,
    b: &mut Builder,
    op: &dyn Op,
    inputs: &[Value],
    ty: &TensorType,
    cx: &mut Cx,
) -> Result<Option<Value>> {
    let Some(head) = Head::of(op) else { return Ok(None) };
    for rule in rules.by_head.get(&head).into_iter().flatten() {
        let Pat::Op(_, args) = &rule.lhs else { continue };
        let mut site = Site { b, op, inputs, ty, vars: [None; VARS] };
        if !match_args(&mut site, head, args, inputs, &mut |s| rule.cond.as_ref().is_none_or(|c| c(s))) {
            continue;
        }
        let new = match &rule.rhs {
            Rhs::Build(build) => build(&mut site)?,
            Rhs::Ops(p) => build_pattern(&mut site, p)?,
        };
        if let Some(new) = new.filter(|&v| b.ty(v) == ty)
            && cx.allow()
        {
            return Ok(Some(new));
        }
    }
    if !matches!(head, Head::Binary(_) | Head::Compare(_) | Head::Select) {
        return Ok(None);
    }
    let new = super::shape::drop_broadcasts(&mut Site { b, op, inputs, ty, vars: [None; VARS] })?;
    Ok(new.filter(|&v| b.ty(v) == ty && cx.allow()))
}

/// Matches operands in order and, for commutative heads, exchanged. `then` decides whether a match counts, so that the
/// other order is tried where it does not.
fn match_args(
    s: &mut Site<'_>,
    head: Head,
    pats: &[Pat],
    values: &[Value],
    then: &mut dyn FnMut(&mut Site<'_>) -> bool,
) -> bool {
    let saved = s.vars;
    match (pats, values) {
        ([p, q], [x, y]) => {
            for (x, y) in [(*x, *y), (*y, *x)].into_iter().take(if head.commutes() { 2 } else { 1 }) {
                if match_one(s, p, x, &mut |s| match_one(s, q, y, then)) {
                    return true;
                }
                s.vars = saved;
            }
            false
        }
        ([p], [x]) => match_one(s, p, *x, then),
        ([p, q, r], [x, y, z]) => match_one(s, p, *x, &mut |s| match_one(s, q, *y, &mut |s| match_one(s, r, *z, then))),
        _ => false,
    }
}

fn match_one(s: &mut Site<'_>, p: &Pat, v: Value, then: &mut dyn FnMut(&mut Site<'_>) -> bool) -> bool {
    match p {
        Pat::Var(i) | Pat::Const(i) => {
            if matches!(p, Pat::Const(_)) && constant(&s.b.func, v).is_none() {
                return false;
            }
            let before = s.vars[*i];
            if before.is_some_and(|x| x != v) {
                return false;
            }
            s.vars[*i] = Some(v);
            let ok = then(s);
            if !ok {
                s.vars[*i] = before;
            }
            ok
        }
        Pat::Number(x) => splat(s.b, v).is_some_and(|e| is_number(e, *x)) && then(s),
        Pat::Op(head, args) => {
            let Some(n) = s.b.func.def_node(v).filter(|n| Head::of(&*n.op) == Some(*head)) else { return false };
            let inputs = n.inputs.clone();
            match_args(s, *head, args, &inputs, then)
        }
    }
}

/// The element that every element of a constant, or of a broadcast of one, equals bit for bit.
pub fn splat(b: &Builder, mut v: Value) -> Option<Scalar> {
    if let Some(n) = b.func.def_node(v).filter(|n| n.op.is::<Broadcast>().is_some()) {
        v = *n.inputs.first()?;
    }
    let t = constant(&b.func, v)?;
    let (bytes, size) = (t.bytes(), t.dtype().size());
    let same = size > 0 && bytes.len() >= size && bytes[..bytes.len() - size] == bytes[size..];
    if same { Scalar::load(t.dtype(), bytes) } else { None }
}

/// Whether an element is a number, the sign of zero included. Complex elements are none: their products mix both parts.
fn is_number(e: Scalar, x: f64) -> bool {
    let dtype = e.dtype();
    if dtype == DType::Bool || dtype.is_int() {
        return match e.cast(DType::I64) {
            Ok(Scalar::I64(n)) => n as f64 == x && x.to_bits() != (-0.0f64).to_bits() && dtype != DType::U64,
            _ => false,
        };
    }
    dtype.is_float() && matches!(e.cast(DType::F64), Ok(Scalar::F64(y)) if y.to_bits() == x.to_bits())
}

/// Builds a replacement. Types follow the root's: numbers are of its element type.
fn build_pattern(s: &mut Site<'_>, p: &Pat) -> Result<Option<Value>> {
    if let Pat::Number(x) = p {
        let v = number(s, *x)?;
        return s.b.broadcast(v, &s.ty.shape).map(Some);
    }
    build(s, p)
}

fn number(s: &mut Site<'_>, x: f64) -> Result<Value> {
    let t = cast_tensor(s.ty.dtype, &Tensor::scalar(x)).map_err(anyhow::Error::msg)?;
    s.b.constant(t)
}

fn build(s: &mut Site<'_>, p: &Pat) -> Result<Option<Value>> {
    let (head, args) = match p {
        Pat::Var(i) | Pat::Const(i) => return Ok(s.vars[*i]),
        Pat::Number(x) => return number(s, *x).map(Some),
        Pat::Op(head, args) => (*head, args),
    };
    let mut inputs = Vec::with_capacity(args.len());
    for a in args {
        let Some(v) = build(s, a)? else { return Ok(None) };
        inputs.push(v);
    }
    let b = &mut *s.b;
    let v = match (head, &inputs[..]) {
        (Head::Unary(op), _) => push_folded(b, Unary { op }, &inputs)?,
        (Head::Binary(op), _) => push_folded(b, Binary { op }, &inputs)?,
        (Head::Compare(op), _) => push_folded(b, Compare { op }, &inputs)?,
        (Head::Select, _) => push_folded(b, Select, &inputs)?,
        (Head::Cast, [_]) => push_folded(b, Cast { to: s.ty.dtype }, &inputs)?,
        (Head::Reshape, [x]) => b.reshape(*x, &s.ty.shape)?,
        (Head::Broadcast, [x]) => b.broadcast(*x, &s.ty.shape)?,
        _ => return Ok(None),
    };
    Ok(Some(v))
}

/// Constants of at most this many elements are combined at once, so that the next rule sees a constant.
const FOLDED_ELEMENTS: usize = 4096;

/// The op's result: a constant where its operands are small constants and it can be evaluated.
fn push_folded(b: &mut Builder, op: impl Op, inputs: &[Value]) -> Result<Value> {
    let small = |v: &Value| constant(&b.func, *v).filter(|t| t.len() <= FOLDED_ELEMENTS);
    let operands: Option<Vec<&Tensor>> = inputs.iter().map(small).collect();
    let folded = operands.and_then(|operands| op.eval(&operands).ok()).and_then(|mut t| t.pop());
    match folded {
        Some(t) => b.constant(t),
        None => b.push(op, inputs),
    }
}
