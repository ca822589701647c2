//! Conditionals and loops as native steps, and the lifetimes of buffers across them.
//!
//! Functions that a node calls are planned in place: their kernels join those of the program, their buffers the one
//! arena. A branch reads the node's operands where they lie and writes the node's results. A loop's carried values live
//! in the buffers of the node's results: they are filled in front of it, condition and body read them, and the body's
//! results are written beside them and moved when all of them are there, since each may depend on all carried values.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use kiln_ir::graph::Def;
use kiln_ir::ops::constant::Const;
use kiln_ir::ops::control::{Case, While};
use kiln_ir::ops::custom::Custom;
use kiln_ir::{DType, Dim, Effect, Function, Node, NodeId, Tensor, TensorType, Value};
use kiln_passes::fusion::{self, Cluster};
use kiln_passes::memplan::Request;

use super::{Argument, Buffer, Call, Operand, Placement, Planner, Planning, Scope};
use crate::program::{External, Place, Placed, Step};

impl<'a> Scope<'a> {
    pub(super) fn new(id: u32, f: &'a Function, params: Vec<Operand>, results: Vec<Option<Operand>>) -> Scope<'a> {
        let mut fetched = HashMap::new();
        for (i, r) in f.results.iter().enumerate() {
            if matches!(f.def(r.value), Def::Node(..)) {
                fetched.entry(r.value).or_insert(i);
            }
        }
        let (placement, last_use) = (Placement::default(), HashMap::new());
        Scope { id, f, placement, last_use, fetched, params, results, steps: vec![] }
    }
}

fn bytes(ty: &TensorType) -> Dim {
    ty.elements() * Dim::from(ty.dtype.size())
}

impl Planner<'_> {
    /// The steps of a conditional or a loop.
    pub(super) fn control(&mut self, id: NodeId) -> Result<()> {
        let f = self.scope.f;
        let node = f.node(id);
        if node.op.effect() == Effect::Effect {
            bail!("it has effects that need a host");
        }
        if let Some(t) = node.inputs.iter().chain(&node.outputs).map(|&v| f.ty(v)).find(|t| !t.dtype.is_plain()) {
            bail!("kernels hold no {}", t.dtype);
        }
        let outs: Vec<Operand> = node.outputs.iter().map(|&v| self.destination(v)).collect();
        if let Some(custom) = node.op.is::<Custom>() {
            return self.custom(custom, node, outs);
        }
        if let Some(case) = node.op.is::<Case>() {
            let [selector, args @ ..] = &node.inputs[..] else { bail!("a `case` without a selector") };
            let (selector, dtype) = (self.read(*selector)?, f.ty(*selector).dtype);
            let args = args.iter().map(|&v| self.read(v)).collect::<Result<Vec<_>>>()?;
            let mut branches = vec![];
            for &b in &case.branches {
                branches.push(self.callee(b, args.clone(), outs.iter().cloned().map(Some).collect())?);
            }
            self.scope.steps.push(Planning::Case { selector, dtype, branches });
            return Ok(());
        }
        let Some(w) = node.op.is::<While>() else { bail!("op `{}` is no conditional or loop", node.op.name()) };
        for (&v, state) in node.inputs.iter().zip(&outs) {
            self.copy(v, state.clone())?;
        }
        let goes_on = self.buffer(Dim::from(DType::Bool.size()));
        let test = self.callee(w.cond, outs.clone(), vec![Some(goes_on.clone())])?;
        let body = self.module.funcs.get(w.body).context("the loop's body is not in the module")?;
        let mut next = vec![];
        for (r, p) in body.results.iter().zip(&body.params) {
            next.push((r.value != p.value).then(|| self.buffer(bytes(body.ty(r.value)))));
        }
        let steps = self.callee(w.body, outs.clone(), next.clone())?;
        // The moves are steps of this scope; they belong at the end of the body.
        let before = std::mem::replace(&mut self.scope.steps, steps);
        for ((&v, state), next) in node.outputs.iter().zip(&outs).zip(next) {
            if let Some(from) = next {
                self.transfer(v, from, state.clone())?;
            }
        }
        let body = std::mem::replace(&mut self.scope.steps, before);
        self.scope.steps.push(Planning::Loop { test, goes_on, body });
        Ok(())
    }

    /// The call of a custom op's function.
    fn custom(&mut self, op: &Custom, node: &Node, outs: Vec<Operand>) -> Result<()> {
        let f = self.scope.f;
        let mut inputs = vec![];
        for &v in &node.inputs {
            inputs.push((self.read(v)?, f.ty(v).clone()));
        }
        let outputs = outs.into_iter().zip(&node.outputs).map(|(o, &v)| (o, f.ty(v).clone())).collect();
        let function = match self.options.resolve {
            None => External::Symbol(op.symbol.clone()),
            Some(resolve) => External::Address(resolve(&op.symbol).with_context(|| {
                format!("no library defines the custom op's function `{}`: name it with --custom-library", op.symbol)
            })?),
        };
        let mut text = op.attributes.clone().into_bytes();
        text.push(0);
        let key = (self.scopes, Value(0));
        self.scopes += 1;
        let attributes = Operand::Weights(self.weights.place(key, &Tensor::of(&[text.len()], &text), None)?);
        self.scope.steps.push(Planning::Extern { function, inputs, outputs, attributes });
        Ok(())
    }

    /// A buffer of the workspace that belongs to no value.
    fn buffer(&mut self, size: Dim) -> Operand {
        let b = (self.scopes, Value(0));
        self.scopes += 1;
        self.sizes.insert(b, size);
        Operand::Buffer(b)
    }

    /// Where a value of the function in scope is read.
    pub(super) fn read(&mut self, v: Value) -> Result<Operand> {
        Ok(match self.scope.f.def_node(v).and_then(|n| n.op.is::<Const>()) {
            Some(c) => Operand::Weights(self.weights.place((self.scope.id, v), &c.value, None)?),
            None => Operand::Buffer((self.scope.id, v)),
        })
    }

    /// The steps of a function of the module on operands of this scope.
    fn callee(&mut self, func: usize, params: Vec<Operand>, results: Vec<Option<Operand>>) -> Result<Vec<Planning>> {
        let g = self.module.funcs.get(func).context("a function that is called is not in the module")?;
        if let Some(s) = g.symbols().into_iter().find(|s| !self.symbols.iter().any(|k| k.0 == *s)) {
            bail!("the size `{s}` changes while the program runs");
        }
        // Operands of the caller mean the same inside.
        let params = params.into_iter().map(|o| self.resolve(o)).collect();
        let results = results.into_iter().map(|o| o.map(|o| self.resolve(o))).collect();
        let id = self.scopes;
        self.scopes += 1;
        let outer = std::mem::replace(&mut self.scope, Scope::new(id, g, params, results));
        let planned = self.function().with_context(|| format!("in @{}", g.name));
        let inner = std::mem::replace(&mut self.scope, outer);
        planned.map(|()| inner.steps)
    }

    /// An operand without detours: a value that lives in another one's buffer, a parameter, a result.
    pub(super) fn resolve(&mut self, o: Operand) -> Operand {
        let Operand::Buffer((id, v)) = o else { return o };
        if id != self.scope.id {
            return o;
        }
        let f = self.scope.f;
        let v = self.root(v);
        if let Def::Param(p) = f.def(v) {
            return self.scope.params[p as usize].clone();
        }
        if let Some(to) = self.scope.fetched.get(&v).and_then(|&i| self.scope.results[i].clone()) {
            return to;
        }
        self.sizes.insert((id, v), bytes(f.ty(v)));
        Operand::Buffer((id, v))
    }

    /// Copies a value to where it is wanted.
    pub(super) fn copy(&mut self, v: Value, to: Operand) -> Result<()> {
        let inputs = if fusion::is_immediate(self.scope.f, v) { vec![] } else { vec![v] };
        self.call(None, &Cluster { nodes: vec![], output: v, inputs }, to)
    }

    /// Copies from one buffer to another, both of the type of `v`.
    fn transfer(&mut self, v: Value, from: Operand, to: Operand) -> Result<()> {
        self.call(None, &Cluster { nodes: vec![], output: v, inputs: vec![v] }, to)?;
        let Some(Planning::Call(c)) = self.scope.steps.last_mut() else { bail!("a copy is a call") };
        c.buffers[0] = from;
        Ok(())
    }
}

impl Planning {
    /// Replaces every operand.
    pub(super) fn map_operands(&mut self, f: &mut dyn FnMut(Operand) -> Operand) {
        let mut one = |o: &mut Operand| *o = f(o.clone());
        match self {
            Planning::Call(c) => c.buffers.iter_mut().for_each(one),
            Planning::Case { selector, branches, .. } => {
                one(selector);
                branches.iter_mut().flatten().for_each(|s| s.map_operands(f));
            }
            Planning::Loop { test, goes_on, body } => {
                one(goes_on);
                test.iter_mut().chain(body).for_each(|s| s.map_operands(f));
            }
            Planning::Extern { inputs, outputs, .. } => inputs.iter_mut().chain(outputs).for_each(|a| one(&mut a.0)),
        }
    }
}

/// The lifetime of each buffer in the order of steps, and which request is a buffer's. A buffer that is filled in front
/// of a loop and used inside it lives until the loop is left.
pub(super) fn lifetimes(
    steps: &[Planning],
    sizes: &HashMap<Buffer, Dim>,
) -> Result<(Vec<Request>, HashMap<Buffer, usize>)> {
    let mut l = Lifetimes { sizes, requests: vec![], index: HashMap::new(), now: 0 };
    l.steps(steps)?;
    Ok((l.requests, l.index))
}

struct Lifetimes<'a> {
    sizes: &'a HashMap<Buffer, Dim>,
    requests: Vec<Request>,
    index: HashMap<Buffer, usize>,
    now: usize,
}

impl Lifetimes<'_> {
    fn touch(&mut self, o: &Operand) -> Result<()> {
        let Operand::Buffer(b) = o else { return Ok(()) };
        let i = match self.index.get(b) {
            Some(&i) => i,
            None => {
                let size = self.sizes.get(b).cloned().context("a buffer without a size")?;
                self.requests.push(Request { size, first: self.now, last: self.now });
                self.index.insert(*b, self.requests.len() - 1);
                self.requests.len() - 1
            }
        };
        self.requests[i].last = self.now;
        Ok(())
    }

    fn steps(&mut self, steps: &[Planning]) -> Result<()> {
        for s in steps {
            match s {
                Planning::Call(c) => {
                    c.buffers.iter().try_for_each(|o| self.touch(o))?;
                    self.now += 1;
                }
                Planning::Extern { inputs, outputs, .. } => {
                    inputs.iter().chain(outputs).try_for_each(|a| self.touch(&a.0))?;
                    self.now += 1;
                }
                Planning::Case { selector, branches, .. } => {
                    self.touch(selector)?;
                    self.now += 1;
                    branches.iter().try_for_each(|b| self.steps(b))?;
                }
                Planning::Loop { test, goes_on, body } => {
                    let start = self.now;
                    self.steps(test)?;
                    self.touch(goes_on)?;
                    self.now += 1;
                    self.steps(body)?;
                    // The next iteration needs what this one found.
                    let end = self.now;
                    self.now += 1;
                    for r in self.requests.iter_mut().filter(|r| r.first < start && r.last >= start) {
                        r.last = end;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The steps with their operands in place.
pub(super) fn steps(planned: Vec<Planning>, place: &dyn Fn(&Operand) -> Place) -> Vec<Step> {
    let one = |s: Planning| match s {
        Planning::Call(Call { kernel, buffers, symbols, tasks }) => {
            Step::Launch { kernel, buffers: buffers.iter().map(place).collect(), symbols, tasks }
        }
        Planning::Case { selector, dtype, branches } => Step::Case {
            selector: place(&selector),
            dtype,
            branches: branches.into_iter().map(|b| steps(b, place)).collect(),
        },
        Planning::Loop { test, goes_on, body } => {
            Step::Loop { test: steps(test, place), goes_on: place(&goes_on), body: steps(body, place) }
        }
        Planning::Extern { function, inputs, outputs, attributes } => {
            let placed = |(o, t): &Argument| Placed { place: place(o), dtype: t.dtype, shape: t.shape.clone() };
            Step::Extern {
                function,
                inputs: inputs.iter().map(placed).collect(),
                outputs: outputs.iter().map(placed).collect(),
                attributes: place(&attributes),
            }
        }
    };
    planned.into_iter().map(one).collect()
}
