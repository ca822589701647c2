//! Runs a module of which as much as possible is compiled.
//!
//! Each function is cut into compiled segments and host nodes (`partition`). Host nodes run through their ops' reference
//! semantics: strings, tables, ops whose result sizes depend on data, and whatever no kernel computes yet; the executor
//! says which they are. Conditionals and loops that hold such nodes run their functions here. A model without any is one
//! segment, and a call of it is a call of compiled code.

pub mod partition;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use kiln_codegen::plan::{self, CannotCompile};
use kiln_codegen::target::Target;
use kiln_ir::graph::Def;
use kiln_ir::interp;
use kiln_ir::ops::constant::Const;
use kiln_ir::ops::control::{Case, While, callees};
use kiln_ir::ops::custom::Custom;
use kiln_ir::{Function, Module, NodeId, Op, Symbol, Tensor, Value};
use kiln_rt::Pool;

use self::partition::{Part, cut, host_reason, partition};
use crate::jit::{Backend, Call, Executable, PREFIX};
use crate::pipeline::Times;

/// A node that runs on the host.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct HostNode {
    /// Its name in the model, or its number.
    pub node: String,
    /// Kiln's op.
    pub op: String,
    /// Why it is not compiled.
    pub why: String,
}

/// What was made of a module.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Facts {
    /// Compiled segments.
    pub segments: usize,
    /// Kernel calls in them.
    pub kernels: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Bytes of workspace, as far as used.
    pub workspace_bytes: usize,
    /// The same if no buffers shared memory; unknown before a segment has run.
    pub workspace_naive_bytes: Option<u64>,
    /// The same of the largest sets of buffers that are alive together.
    pub workspace_bound_bytes: Option<u64>,
    /// Kernel calls that write over an operand.
    pub in_place: usize,
    /// Nodes that run on the host.
    pub host: Vec<HostNode>,
}

/// A module ready to run.
pub struct Executor {
    module: Module,
    entry: usize,
    /// One for each function; taken out while it runs.
    bodies: Vec<Option<Body>>,
    host: Vec<HostNode>,
}

/// A function ready to run.
#[derive(Default)]
struct Body {
    steps: Vec<Step>,
    /// Values that nothing uses behind a step.
    dead: Vec<Vec<Value>>,
}

enum Step {
    Compiled { code: Box<Executable>, inputs: Vec<Value>, outputs: Vec<Value> },
    Host(NodeId),
}

/// How segments are compiled.
struct Compiler<'a> {
    module: &'a Module,
    backend: Backend,
    target: Target,
    threads: usize,
    pool: Option<Arc<Pool>>,
    /// Time spent so far on plans, and on code.
    spent: std::cell::Cell<(Duration, Duration)>,
}

impl Executor {
    /// Compiles an optimized module with one entry.
    ///
    /// # Errors
    /// If the module has not exactly one entry, or the backend fails.
    pub fn new(module: Module, backend: Backend, threads: usize, times: &mut Times) -> Result<Executor> {
        let [entry] = module.entries[..] else {
            bail!("the module has {} entries; run one signature at a time", module.entries.len())
        };
        let compiler = Compiler {
            module: &module,
            backend,
            target: backend.host_target()?,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            pool: crate::jit::pool(threads)?,
            spent: Default::default(),
        };
        // Functions that compiled code calls are part of it; those that host nodes call have bodies of their own.
        let mut bodies: Vec<Option<Body>> = module.funcs.iter().map(|_| None).collect();
        let (mut host, mut wanted) = (vec![], vec![entry]);
        while let Some(i) = wanted.pop() {
            let Some(f) = module.funcs.get(i).filter(|_| bodies[i].is_none()) else { continue };
            let body = compiler.body(f, &mut host).with_context(|| format!("compiling @{}", f.name))?;
            for step in &body.steps {
                if let Step::Host(n) = step {
                    wanted.extend(callees(&*f.node(*n).op).0);
                }
            }
            bodies[i] = Some(body);
        }
        (times.plan, times.code) = compiler.spent.get();
        // What is compiled lies in the segments' weights: the graph keeps only what host nodes and results read.
        let module = without_compiled_constants(module, &bodies);
        Ok(Executor { module, entry, bodies, host })
    }

    fn function(&self) -> &Function {
        &self.module.funcs[self.entry]
    }

    /// The names of the inputs.
    pub fn input_names(&self) -> Vec<String> {
        self.function().params.iter().map(|p| p.name.clone()).collect()
    }

    /// The names of the outputs.
    pub fn output_names(&self) -> Vec<String> {
        self.function().results.iter().map(|r| r.name.clone()).collect()
    }

    /// What was made of the module.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts {
            host: self.host.clone(),
            workspace_naive_bytes: Some(0),
            workspace_bound_bytes: Some(0),
            ..Facts::default()
        };
        let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
        for step in self.bodies.iter().flatten().flat_map(|b| &b.steps) {
            if let Step::Compiled { code, .. } = step {
                facts.segments += 1;
                facts.kernels += code.report().calls.len();
                facts.code_bytes += code.code_bytes();
                facts.weight_bytes += code.report().weights;
                facts.workspace_bytes += code.workspace_bytes();
                let report = code.report();
                facts.workspace_naive_bytes = sum(facts.workspace_naive_bytes, code.size(&report.naive));
                facts.workspace_bound_bytes = sum(facts.workspace_bound_bytes, code.size(&report.bound));
                facts.in_place += report.in_place;
            }
        }
        facts
    }

    /// The compiled program, where it is all of the module.
    pub fn whole(&self) -> Option<&Executable> {
        match &self.bodies[self.entry].as_ref()?.steps[..] {
            [Step::Compiled { code, .. }] => Some(code),
            _ => None,
        }
    }

    /// Runs the module.
    ///
    /// # Errors
    /// Inputs of another number, type or shape than the module's; a node that fails, by name; a status of compiled code.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut bodies = std::mem::take(&mut self.bodies);
        let result = Run { module: &self.module, bodies: &mut bodies }.call(self.entry, inputs, &BTreeMap::new());
        self.bodies = bodies;
        result
    }

    /// Calls `f` with a function that runs the module once more on the same inputs, as fast as it can be called: memory is
    /// bound once where the whole module is one segment.
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub fn repeat<T>(
        &mut self,
        inputs: &[Tensor],
        f: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<T>,
    ) -> Result<T> {
        let function = &self.module.funcs[self.entry];
        if self.whole().is_none() {
            return f(&mut || self.run(inputs).map(drop));
        }
        let bound = interp::bind_inputs(&self.module, function, inputs)?;
        let Some([Step::Compiled { code, inputs: wanted, .. }]) =
            self.bodies[self.entry].as_mut().map(|b| &mut b.steps[..])
        else {
            bail!("the module is not one segment")
        };
        let position = |v: &Value| function.params.iter().position(|p| p.value == *v);
        let given: Option<Vec<Tensor>> = wanted.iter().map(|v| position(v).map(|i| inputs[i].clone())).collect();
        let given = given.context("a segment that is the whole module takes its parameters")?;
        let mut call: Call<'_> = code.call_within(&given, &|s| bound.get(s).copied())?;
        f(&mut || call.run())
    }
}

/// The module with constants that nothing reads any more made empty: they are held once, in the compiled code.
fn without_compiled_constants(mut module: Module, bodies: &[Option<Body>]) -> Module {
    for (f, body) in module.funcs.iter_mut().zip(bodies) {
        let mut read: HashSet<Value> = f.results.iter().map(|r| r.value).collect();
        for step in body.iter().flat_map(|b| &b.steps) {
            if let Step::Host(n) = step {
                read.extend(&f.node(*n).inputs);
            }
        }
        f.forget_constants(&|v| !read.contains(&v));
    }
    module
}

impl Compiler<'_> {
    fn body(&self, f: &Function, host: &mut Vec<HostNode>) -> Result<Body> {
        let mut reasons: BTreeMap<NodeId, String> = BTreeMap::new();
        for (id, n) in f.nodes() {
            if let Some(why) = host_reason(self.module, f, n) {
                reasons.insert(id, why);
            }
        }
        // A cluster that lowering refuses goes to the host, and the rest is cut anew.
        loop {
            let parts = partition(f, &|n| reasons.contains_key(&n));
            match self.steps(f, &parts)? {
                Ok(body) => {
                    host.extend(reasons.into_iter().map(|(id, why)| {
                        let n = f.node(id);
                        let node = if n.loc.node.is_empty() { id.0.to_string() } else { n.loc.node.to_string() };
                        HostNode { node, op: n.op.name().into(), why }
                    }));
                    return Ok(body);
                }
                // A C function runs in compiled code only.
                Err(refused) => match refused.iter().find(|r| f.node(r.0).op.is::<Custom>().is_some()) {
                    Some((id, why)) => bail!("node `{}` ({}): {why}", f.node(*id).loc.node, f.node(*id).loc.tf_op),
                    None => reasons.extend(refused),
                },
            }
        }
    }

    /// The steps of parts; or the nodes that cannot be compiled after all, with the reason.
    #[allow(clippy::type_complexity)] // an error, a refusal, or a body
    fn steps(&self, f: &Function, parts: &[Part]) -> Result<Result<Body, Vec<(NodeId, String)>>> {
        let mut part_of = vec![usize::MAX; f.node_count()];
        for (i, p) in parts.iter().enumerate() {
            match p {
                Part::Segment(nodes) => nodes.iter().for_each(|n| part_of[n.0 as usize] = i),
                Part::Host(n) => part_of[n.0 as usize] = i,
            }
        }
        // The last part that uses each value; a result is used behind all of them.
        let mut last = vec![None; f.value_count()];
        let mut outside = vec![false; f.value_count()];
        for (id, n) in f.nodes() {
            let user = part_of[id.0 as usize];
            for &v in n.inputs.iter().filter(|_| user != usize::MAX) {
                let l = &mut last[v.0 as usize];
                *l = Some(l.map_or(user, |x: usize| x.max(user)));
                if let Def::Node(d, _) = f.def(v) {
                    outside[v.0 as usize] |= part_of[d.0 as usize] != user;
                }
            }
        }
        for r in &f.results {
            last[r.value.0 as usize] = Some(usize::MAX);
            outside[r.value.0 as usize] = true;
        }
        let mut body = Body { steps: vec![], dead: vec![vec![]; parts.len()] };
        for (v, l) in last.iter().enumerate() {
            if let Some(dead) = l.and_then(|l| body.dead.get_mut(l)) {
                dead.push(Value(v as u32));
            }
        }
        for p in parts {
            body.steps.push(match p {
                Part::Host(n) => Step::Host(*n),
                Part::Segment(nodes) => match self.segment(f, nodes, &|v| outside[v.0 as usize])? {
                    Ok(step) => step,
                    Err(refused) => return Ok(Err(refused)),
                },
            });
        }
        Ok(Ok(body))
    }

    #[allow(clippy::type_complexity)] // as `steps`
    fn segment(
        &self,
        f: &Function,
        nodes: &[NodeId],
        outside: &dyn Fn(Value) -> bool,
    ) -> Result<Result<Step, Vec<(NodeId, String)>>> {
        let segment = cut(f, nodes, outside)?;
        let resolve = Some(crate::jit::custom::resolve as fn(&str) -> Option<u64>);
        let options = plan::Options { prefix: PREFIX.into(), free_symbols: true, resolve, ..Default::default() };
        let start = Instant::now();
        let planned = plan::plan(self.module, &segment.func, &self.target, &options);
        let planning = start.elapsed();
        let planned = match planned {
            Ok(planned) => planned,
            Err(e) => {
                let Some(CannotCompile { nodes, .. }) = e.downcast_ref::<CannotCompile>() else { return Err(e) };
                let why = e.root_cause().to_string();
                let refused: Vec<(NodeId, String)> =
                    nodes.iter().map(|n| (segment.nodes[n.0 as usize], why.clone())).collect();
                return if refused.is_empty() { Err(e) } else { Ok(Err(refused)) };
            }
        };
        let start = Instant::now();
        let code = self.backend.jit(&planned.program, &self.target, self.threads)?;
        let coding = start.elapsed();
        let start = Instant::now();
        let code = Box::new(Executable::new(planned, code, self.pool.clone())?);
        let (plans, codes) = self.spent.get();
        self.spent.set((plans + planning + start.elapsed(), codes + coding));
        Ok(Ok(Step::Compiled { code, inputs: segment.inputs, outputs: segment.outputs }))
    }
}

/// A run under way.
struct Run<'a> {
    module: &'a Module,
    bodies: &'a mut Vec<Option<Body>>,
}

impl Run<'_> {
    fn call(&mut self, func: usize, inputs: &[Tensor], outer: &BTreeMap<Symbol, i64>) -> Result<Vec<Tensor>> {
        let module = self.module;
        let f = module.funcs.get(func).ok_or_else(|| anyhow!("the module has no function {func}"))?;
        let mut bound = outer.clone();
        interp::bind_params(module, f, inputs, &mut bound).with_context(|| format!("inputs of @{}", f.name))?;
        // The verifier refuses functions that call themselves, so a body is never wanted while it runs.
        let taken = self.bodies.get_mut(func).and_then(Option::take);
        let mut body = taken.ok_or_else(|| anyhow!("@{} calls itself", f.name))?;
        let result = self.steps(f, &mut body, inputs, &mut bound);
        self.bodies[func] = Some(body);
        result
    }

    fn steps(
        &mut self,
        f: &Function,
        body: &mut Body,
        inputs: &[Tensor],
        bound: &mut BTreeMap<Symbol, i64>,
    ) -> Result<Vec<Tensor>> {
        let module = self.module;
        let mut values: Vec<Option<Tensor>> = vec![None; f.value_count()];
        for (p, t) in f.params.iter().zip(inputs) {
            values[p.value.0 as usize] = Some(t.clone());
        }
        for (step, dead) in body.steps.iter_mut().zip(&body.dead) {
            match step {
                Step::Compiled { code, inputs, outputs } => {
                    let given = inputs.iter().map(|&v| get(f, &values, v)).collect::<Result<Vec<Tensor>>>()?;
                    let mut call = code.call_within(&given, &|s| bound.get(s).copied())?;
                    call.run()?;
                    for (&v, t) in outputs.iter().zip(call.outputs()) {
                        interp::bind_type(module, f.ty(v), &t, bound)?;
                        values[v.0 as usize] = Some(t);
                    }
                }
                Step::Host(id) => {
                    let n = f.node(*id);
                    let given = n.inputs.iter().map(|&v| get(f, &values, v)).collect::<Result<Vec<Tensor>>>()?;
                    let given: Vec<&Tensor> = given.iter().collect();
                    let mut control =
                        |op: &dyn Op, given: &[&Tensor], bound: &BTreeMap<Symbol, i64>| self.control(op, given, bound);
                    let results = interp::eval_op(module, f, n, &given, bound, &mut control)
                        .with_context(|| interp::origin(f, *id, n))?;
                    for (&v, t) in n.outputs.iter().zip(results) {
                        values[v.0 as usize] = Some(t);
                    }
                }
            }
            for v in dead {
                values[v.0 as usize] = None;
            }
        }
        f.results
            .iter()
            .map(|r| get(f, &values, r.value).with_context(|| format!("result `{}` of @{}", r.name, f.name)))
            .collect()
    }

    /// The results of a conditional or a loop.
    fn control(&mut self, op: &dyn Op, operands: &[&Tensor], bound: &BTreeMap<Symbol, i64>) -> Result<Vec<Tensor>> {
        let owned = |ts: &[&Tensor]| ts.iter().map(|&t| t.clone()).collect::<Vec<_>>();
        if let Some(case) = op.is::<Case>() {
            let [selector, args @ ..] = operands else { bail!("a `case` without a selector") };
            return self.call(case.branches[case.select(selector)?], &owned(args), bound);
        }
        let Some(w) = op.is::<While>() else { bail!("control op `{}` is unknown to the executor", op.name()) };
        let mut carried = owned(operands);
        while interp::goes_on(&self.call(w.cond, &carried, bound)?)? {
            carried = self.call(w.body, &carried, bound)?;
        }
        Ok(carried)
    }
}

/// A value that was computed, or a constant.
fn get(f: &Function, values: &[Option<Tensor>], v: Value) -> Result<Tensor> {
    if let Some(t) = values.get(v.0 as usize).and_then(Option::as_ref) {
        return Ok(t.clone());
    }
    match f.def_node(v).and_then(|n| n.op.is::<Const>()) {
        Some(c) => Ok(c.value.clone()),
        None => bail!("{v} is used before it is computed"),
    }
}
