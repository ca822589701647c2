//! The reference interpreter: runs a function node by node through [`Op::eval`]. The oracle of every other way to run.
//!
//! Symbols are bound from the inputs' shapes and, where an op's result size depends on data, from its result. Values are
//! dropped after their last use. Every result is checked against its type, so that a wrong `infer` or `eval` is found at
//! the node where it happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};

use crate::attr::Attrs;
use crate::graph::{Function, Module, Node, NodeId, TensorType, Value};
use crate::lower::Lower;
use crate::op::Op;
use crate::ops::control::{Case, While};
use crate::tensor::Tensor;
use crate::{Atom, Dim, Symbol, ops};

/// Called with each node and its results, in order.
pub type Observe<'a> = &'a mut dyn FnMut(NodeId, &[Tensor]);

/// Runs a function of a module on tensors for its parameters, in order; returns its results, in order.
///
/// # Errors
/// If an input does not have its parameter's type, a symbol is outside of its bounds, or an op fails; the message names
/// the node and its TensorFlow op.
pub fn eval_function(module: &Module, func: usize, inputs: &[Tensor], observe: Observe<'_>) -> Result<Vec<Tensor>> {
    call(module, func, inputs, &BTreeMap::new(), observe)
}

/// Runs a function whose types may mention symbols that its caller has bound.
fn call(
    module: &Module,
    func: usize,
    inputs: &[Tensor],
    outer: &BTreeMap<Symbol, i64>,
    observe: Observe<'_>,
) -> Result<Vec<Tensor>> {
    let f = module.funcs.get(func).ok_or_else(|| anyhow!("the module has no function {func}"))?;
    let mut bound = outer.clone();
    bind_params(module, f, inputs, &mut bound).with_context(|| format!("inputs of @{}", f.name))?;
    let mut values: Vec<Option<Tensor>> = vec![None; f.value_count()];
    for (p, t) in f.params.iter().zip(inputs) {
        set(&mut values, p.value, t.clone())?;
    }
    let mut left = f.use_counts();
    for (id, n) in f.nodes() {
        let results = eval_node(module, f, n, &values, &mut bound).with_context(|| origin(f, id, n))?;
        observe(id, &results);
        for (&v, t) in n.outputs.iter().zip(results) {
            if left.get(v.0 as usize).is_some_and(|&uses| uses > 0) {
                set(&mut values, v, t)?;
            }
        }
        for &v in &n.inputs {
            let uses = &mut left[v.0 as usize];
            *uses -= 1;
            if *uses == 0 {
                values[v.0 as usize] = None;
            }
        }
    }
    f.results
        .iter()
        .map(|r| get(&values, r.value).cloned().with_context(|| format!("result `{}` of @{}", r.name, f.name)))
        .collect()
}

/// The place of a node for messages.
pub fn origin(f: &Function, id: NodeId, n: &Node) -> String {
    let from = if n.loc.node.is_empty() { String::new() } else { format!(", from `{}` ({})", n.loc.node, n.loc.tf_op) };
    format!("node {} ({}) of @{}{from}", id.0, n.op.name(), f.name)
}

fn set(values: &mut [Option<Tensor>], v: Value, t: Tensor) -> Result<()> {
    *values.get_mut(v.0 as usize).ok_or_else(|| anyhow!("{v} is not a value of the function"))? = Some(t);
    Ok(())
}

fn get(values: &[Option<Tensor>], v: Value) -> Result<&Tensor> {
    values.get(v.0 as usize).and_then(Option::as_ref).ok_or_else(|| anyhow!("{v} is used before it is computed"))
}

fn eval_node(
    module: &Module,
    f: &Function,
    n: &Node,
    values: &[Option<Tensor>],
    bound: &mut BTreeMap<Symbol, i64>,
) -> Result<Vec<Tensor>> {
    let operands: Vec<&Tensor> = n.inputs.iter().map(|&v| get(values, v)).collect::<Result<_>>()?;
    eval_op(module, f, n, &operands, bound, &mut |op, operands, bound| control(module, op, operands, bound))
}

/// Runs a conditional or a loop on its operands, under the symbols bound so far.
pub type Control<'a> = &'a mut dyn FnMut(&dyn Op, &[&Tensor], &BTreeMap<Symbol, i64>) -> Result<Vec<Tensor>>;

/// The results of a node on its operands; binds the symbols that they determine.
///
/// # Errors
/// If the operands' types are not accepted, the op fails, or a result does not have its type.
pub fn eval_op(
    module: &Module,
    f: &Function,
    n: &Node,
    operands: &[&Tensor],
    bound: &mut BTreeMap<Symbol, i64>,
    control: Control<'_>,
) -> Result<Vec<Tensor>> {
    let op = with_dims(&n.op, &|s| bound.get(s).map(|&x| Dim::from(x)))?;
    let types: Vec<TensorType> = operands.iter().map(|t| TensorType::fixed(t.dtype(), t.shape())).collect();
    let types: Vec<&TensorType> = types.iter().collect();
    // Kernels trust what `infer` has accepted; a run may bring sizes that symbolic inference could not refuse.
    op.infer(&types)?;
    let results = match op.lower(&types) {
        Lower::Control => control(&*op, operands, bound)?,
        _ => op.eval(operands)?,
    };
    if results.len() != n.outputs.len() {
        bail!("the op computed {} results for a node of {}", results.len(), n.outputs.len());
    }
    for (i, (t, &v)) in results.iter().zip(&n.outputs).enumerate() {
        bind_type(module, f.ty(v), t, bound).with_context(|| format!("result {i}"))?;
    }
    Ok(results)
}

/// The results of a conditional or a loop.
fn control(module: &Module, op: &dyn Op, operands: &[&Tensor], bound: &BTreeMap<Symbol, i64>) -> Result<Vec<Tensor>> {
    let owned = |ts: &[&Tensor]| ts.iter().map(|&t| t.clone()).collect::<Vec<_>>();
    if let Some(case) = op.is::<Case>() {
        let [selector, args @ ..] = operands else { bail!("a `case` without a selector") };
        return call(module, case.branches[case.select(selector)?], &owned(args), bound, &mut |_, _| {});
    }
    let Some(w) = op.is::<While>() else { bail!("control op `{}` is unknown to the interpreter", op.name()) };
    let mut carried = owned(operands);
    while goes_on(&call(module, w.cond, &carried, bound, &mut |_, _| {})?)? {
        carried = call(module, w.body, &carried, bound, &mut |_, _| {})?;
    }
    Ok(carried)
}

/// What the condition of a loop says.
///
/// # Errors
/// If its result is not one bool.
pub fn goes_on(results: &[Tensor]) -> Result<bool> {
    match results {
        [t] if t.dtype() == crate::DType::Bool && t.len() == 1 => Ok(t.bytes()[0] != 0),
        _ => bail!("the condition of a loop gives one bool"),
    }
}

/// The sizes of a function's symbols, from its inputs' shapes.
///
/// # Errors
/// As [`eval_function`] for its inputs.
pub fn bind_inputs(module: &Module, f: &Function, inputs: &[Tensor]) -> Result<BTreeMap<Symbol, i64>> {
    let mut bound = BTreeMap::new();
    bind_params(module, f, inputs, &mut bound)?;
    Ok(bound)
}

/// Checks a function's inputs and adds the symbols that their shapes bind to those bound already.
///
/// # Errors
/// As [`eval_function`] for its inputs.
pub fn bind_params(module: &Module, f: &Function, inputs: &[Tensor], bound: &mut BTreeMap<Symbol, i64>) -> Result<()> {
    if inputs.len() != f.params.len() {
        bail!("{} tensors are given for {} parameters", inputs.len(), f.params.len());
    }
    // Shapes such as [2*b] need no order: what one input leaves open another may bind, so there are two rounds.
    for last in [false, true] {
        for (p, t) in f.params.iter().zip(inputs) {
            match bind_type(module, f.ty(p.value), t, bound) {
                Err(e) if last => return Err(e.context(format!("input `{}`", p.name))),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Checks that a tensor has a type, and binds the symbols of the type that are not bound yet.
///
/// # Errors
/// If the tensor does not have the type, or a symbol's value is outside of its bounds.
pub fn bind_type(module: &Module, ty: &TensorType, t: &Tensor, bound: &mut BTreeMap<Symbol, i64>) -> Result<()> {
    if ty.dtype != t.dtype() || ty.rank() != t.shape().len() {
        bail!("a tensor of {}{:?} is not a {ty}", t.dtype(), t.shape());
    }
    for (d, &n) in ty.shape.iter().zip(t.shape()) {
        let n = i64::try_from(n)?;
        let known = d.substitute(&|s| bound.get(s).map(|&x| Dim::from(x)));
        match known.as_const() {
            Some(k) if k == n => {}
            Some(k) => bail!("a tensor of shape {:?} is not a {ty}: `{d}` is {k}", t.shape()),
            None => {
                let (s, value) =
                    solve(&known, n).ok_or_else(|| anyhow!("`{known}` = {n} does not determine its symbols"))?;
                check_bounds(module, &s, value)?;
                bound.insert(s, value);
            }
        }
    }
    Ok(())
}

/// The symbol and its value for which a dim of the form `a*s + c` is `n`.
fn solve(d: &Dim, n: i64) -> Option<(Symbol, i64)> {
    let (mut found, mut rest) = (None, n);
    for (atoms, c) in d.terms() {
        match &atoms[..] {
            [] => rest = rest.checked_sub(c)?,
            [Atom::Sym(s)] if found.is_none() => found = Some((s.clone(), c)),
            _ => return None,
        }
    }
    let (s, c) = found?;
    (rest.checked_rem(c)? == 0).then_some((s, rest / c))
}

fn check_bounds(module: &Module, s: &Symbol, n: i64) -> Result<()> {
    let Some(b) = module.symbols.get(s) else { return Ok(()) };
    if n < b.min || b.max.is_some_and(|max| n > max) {
        let max = b.max.map_or(String::new(), |m| m.to_string());
        bail!("the size {n} of `{s}` is outside of {}..{max}", b.min);
    }
    Ok(())
}

/// The op with symbols of its attributes replaced; the same op where it mentions none.
///
/// # Errors
/// If the op does not accept the replaced attributes.
pub fn with_dims(op: &Arc<dyn Op>, with: &dyn Fn(&Symbol) -> Option<Dim>) -> Result<Arc<dyn Op>> {
    let mut attrs = op.attrs();
    let mut changed = false;
    for (_, a) in &mut attrs.0 {
        let mut symbolic = false;
        a.for_each_dim(&mut |d| symbolic |= d.as_const().is_none());
        if symbolic {
            changed = true;
            a.map_dims(&|d| d.substitute(with));
        }
    }
    if changed { with_attrs(op, &attrs) } else { Ok(op.clone()) }
}

/// The op of the same kind with other attributes.
///
/// # Errors
/// If the op does not accept them.
pub fn with_attrs(op: &Arc<dyn Op>, attrs: &Attrs) -> Result<Arc<dyn Op>> {
    let def = ops::by_name(op.name()).ok_or_else(|| anyhow!("op `{}` is not in the list of ops", op.name()))?;
    (def.parse)(attrs).map_err(|e| anyhow!("{}: {e}", op.name()))
}

/// A function with symbols replaced, in types and attributes, and types inferred anew: compiling for one batch size is
/// compiling the function specialized to it. Value ids stay the same.
///
/// # Errors
/// If an op refuses the sizes, naming the node.
pub fn specialize(f: &Function, with: &dyn Fn(&Symbol) -> Option<Dim>) -> Result<Function> {
    let mut out = Function::new(&f.name);
    let mut map: Vec<Option<Value>> = vec![None; f.value_count()];
    for p in &f.params {
        let ty = f.ty(p.value);
        let shape = ty.shape.iter().map(|d| d.substitute(with)).collect();
        map[p.value.0 as usize] = Some(out.add_param(&p.name, p.kind.clone(), TensorType::new(ty.dtype, shape)));
    }
    let mapped = |map: &[Option<Value>], v: Value| {
        map.get(v.0 as usize).copied().flatten().ok_or_else(|| anyhow!("{v} is used before it is defined"))
    };
    for (id, n) in f.nodes() {
        let mut one = || {
            let inputs = n.inputs.iter().map(|&v| mapped(&map, v)).collect::<Result<Vec<_>>>()?;
            let op = with_dims(&n.op, with)?;
            let types = op.infer(&inputs.iter().map(|&v| out.ty(v)).collect::<Vec<_>>())?;
            if types.len() != n.outputs.len() {
                bail!("the op infers {} results for a node of {}", types.len(), n.outputs.len());
            }
            Ok(out.push(op, inputs, types, n.loc.clone()))
        };
        let new = one().with_context(|| origin(f, id, n))?;
        for (&old, &v) in n.outputs.iter().zip(&out.node(new).outputs) {
            map[old.0 as usize] = Some(v);
        }
    }
    for r in &f.results {
        let v = mapped(&map, r.value).with_context(|| format!("result `{}`", r.name))?;
        out.add_result(&r.name, r.kind.clone(), v);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
