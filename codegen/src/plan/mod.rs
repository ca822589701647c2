//! From an optimized function to a [`Program`]: clusters lowered and scheduled, weights laid out, memory planned.

mod control;
mod in_place;
mod placement;
mod weights;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use kiln_ir::graph::Def;
use kiln_ir::loops::{Kernel, Layout};
use kiln_ir::lower::{Lower, View};
use kiln_ir::ops::constant::Const;
use kiln_ir::scalar::BinaryOp;
use kiln_ir::{DType, Dim, Function, Module, Node, NodeId, ParamKind, Symbol, SymbolBounds, TensorType, Value};
use kiln_passes::fusion::{self, Cluster, family};
use kiln_passes::memplan;

use crate::lower::{Layouts, Nest, border, lower, scatter};
use crate::machine::{self, Lanes};
use crate::math::Caps;
use crate::program::{External, Place, Port, Program, Weights};
use crate::schedule::{Schedule, choose, tile};
use crate::target::Target;
use control::{lifetimes, steps};
use placement::Placement;
pub use weights::Image;

/// What was planned, for reports: one entry a kernel call, and the memory figures.
#[derive(Clone, Debug)]
pub struct Report {
    /// Kernel calls in order.
    pub calls: Vec<CallReport>,
    /// Bytes of the arena.
    pub workspace: Dim,
    /// Bytes of the arena if nothing shared memory.
    pub naive: Dim,
    /// Bytes of the largest set of buffers that are alive together, which no arena undercuts.
    pub bound: Dim,
    /// Kernel calls that write their result over an operand.
    pub in_place: usize,
    /// Bytes of the weights.
    pub weights: u64,
}

/// One kernel call.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// The kernel's name.
    pub kernel: String,
    /// The graph node whose result it computes.
    pub node: String,
    /// The ops fused into it.
    pub ops: Vec<&'static str>,
    /// The schedule in words.
    pub schedule: String,
    /// Multiply-adds over the symbols, counted as two operations each; 0 for kernels without products.
    pub flops: Dim,
}

/// Settings of the plan.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Prefix of exported symbols.
    pub prefix: String,
    /// Whether the weights go into the object.
    pub embed_weights: bool,
    /// Whether the caller gives the values of symbols that no input's shape binds; otherwise they are an error.
    pub free_symbols: bool,
    /// Whether the plan keeps every level of its kernels, verified, for the loop interpreter.
    pub keep_levels: bool,
    /// Finds the functions of custom ops in this process; without it the linker finds them.
    pub resolve: Option<fn(&str) -> Option<u64>>,
}

/// A cluster cannot be compiled; the error's source says why.
#[derive(Debug, Clone, PartialEq)]
pub struct CannotCompile {
    /// The cluster's nodes.
    pub nodes: Vec<NodeId>,
    place: String,
}

impl std::fmt::Display for CannotCompile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place)
    }
}

/// A program with its weights and its report.
pub struct Planned {
    /// The program.
    pub program: Program,
    /// The weights, for those who pass them as an argument; none if the program embeds them.
    pub weights: Image,
    /// What was planned.
    pub report: Report,
    /// The levels of each of the program's kernels, if [`Options::keep_levels`] asks for them.
    pub levels: Vec<Levels>,
}

/// The levels of one kernel call, for dumps and tests.
#[derive(Clone, Debug)]
pub struct Levels {
    /// L1.
    pub nest: Kernel,
    /// L2.
    pub scheduled: Kernel,
    /// L3.
    pub machine: Kernel,
}

/// Plans a function. Its composite ops must be expanded and its constants folded.
///
/// # Errors
/// If a node cannot be lowered (the message names it), or a symbol is bound by no input.
pub fn plan(module: &Module, f: &Function, target: &Target, options: &Options) -> Result<Planned> {
    let mut p = Planner::new(module, f, target, options);
    p.ports()?;
    p.function()?;
    p.finish()
}

/// The three levels of a cluster's kernel under the target's schedule.
///
/// # Errors
/// If a node cannot be lowered.
pub fn levels(f: &Function, cluster: &Cluster, target: &Target, layouts: &Layouts, name: &str) -> Result<Levels> {
    let choice = choose::choose(f, cluster, target);
    let mut layouts = layouts.clone();
    layouts.extend(choice.packed.iter().cloned());
    let nest = lower(f, cluster, &choice.walk, &layouts, name)?;
    let schedule = choose::schedule(&choice, &nest, target);
    let scheduled = tile::apply(&nest, &schedule, Caps { fma: target.fma })?;
    let machine = machine::lower(&scheduled, &lanes(target))?;
    Ok(Levels { nest: nest.kernel, scheduled, machine })
}

fn lanes(target: &Target) -> Lanes {
    Lanes { vector_bytes: target.vector_bytes, full_only: target.full_vectors_only }
}

struct Planner<'a> {
    module: &'a Module,
    target: &'a Target,
    options: &'a Options,
    symbols: Vec<(Symbol, SymbolBounds)>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    kernels: Vec<Kernel>,
    /// What `kernels` were made from, if it is kept.
    levels: Vec<Levels>,
    /// Kernels by what they were made from.
    known: HashMap<String, usize>,
    reports: Vec<CallReport>,
    weights: Image,
    /// Kernel calls that write their result over an operand.
    in_place: usize,
    /// Bytes of each buffer of the workspace.
    sizes: HashMap<Buffer, Dim>,
    /// Functions planned so far, and buffers that belong to none of their values.
    scopes: u32,
    scope: Scope<'a>,
}

/// The function that is being planned: the entry, or one that a conditional or a loop calls.
struct Scope<'a> {
    id: u32,
    f: &'a Function,
    placement: Placement,
    /// The last cluster that touches a buffer, by the value that it belongs to.
    last_use: HashMap<Value, usize>,
    /// The result that holds a value.
    fetched: HashMap<Value, usize>,
    /// What the parameters are.
    params: Vec<Operand>,
    /// Where the results go; `None` for one that is where it belongs.
    results: Vec<Option<Operand>>,
    steps: Vec<Planning>,
}

/// A buffer of the workspace: a value of a scope.
type Buffer = (u32, Value);

/// A step before memory is planned.
enum Planning {
    Call(Call),
    Case { selector: Operand, dtype: DType, branches: Vec<Vec<Planning>> },
    Loop { test: Vec<Planning>, goes_on: Operand, body: Vec<Planning> },
    Extern { function: External, inputs: Vec<Argument>, outputs: Vec<Argument>, attributes: Operand },
}

/// An argument of a custom op's function before memory is planned.
type Argument = (Operand, TensorType);

/// A kernel call before memory is planned.
struct Call {
    kernel: usize,
    buffers: Vec<Operand>,
    symbols: Vec<Dim>,
    tasks: Dim,
}

#[derive(Clone, Debug)]
enum Operand {
    Buffer(Buffer),
    Weights(u64),
    Input(usize),
    Output(usize),
}

impl<'a> Planner<'a> {
    fn new(module: &'a Module, f: &'a Function, target: &'a Target, options: &'a Options) -> Planner<'a> {
        let params = (0..f.params.len()).map(Operand::Input).collect();
        let results = (0..f.results.len()).map(|i| Some(Operand::Output(i))).collect();
        Planner {
            module,
            target,
            options,
            symbols: vec![],
            inputs: vec![],
            outputs: vec![],
            kernels: vec![],
            levels: vec![],
            known: HashMap::new(),
            reports: vec![],
            weights: Image::default(),
            in_place: 0,
            sizes: HashMap::new(),
            scopes: 1,
            scope: Scope::new(0, f, params, results),
        }
    }

    /// Inputs, outputs, and the symbols that the inputs bind.
    fn ports(&mut self) -> Result<()> {
        let (module, f) = (self.module, self.scope.f);
        for p in &f.params {
            if p.kind == ParamKind::Variable {
                bail!("variable `{}` is still a parameter: freeze it, or compile a stateful entry", p.name);
            }
            let ty = f.ty(p.value);
            for d in &ty.shape {
                if let Some(s) = d.as_symbol()
                    && !self.symbols.iter().any(|k| k.0 == *s)
                {
                    let bounds = module.symbols.get(s).copied().unwrap_or(SymbolBounds { min: 0, max: None });
                    self.symbols.push((s.clone(), bounds));
                }
            }
            self.inputs.push(Port { name: p.name.clone(), dtype: ty.dtype, shape: ty.shape.clone() });
        }
        if self.options.free_symbols {
            for s in f.symbols() {
                if !self.symbols.iter().any(|k| k.0 == s) {
                    let bounds = module.symbols.get(&s).copied().unwrap_or(SymbolBounds { min: 0, max: None });
                    self.symbols.push((s, bounds));
                }
            }
        }
        for r in &f.results {
            let ty = f.ty(r.value);
            self.outputs.push(Port { name: r.name.clone(), dtype: ty.dtype, shape: ty.shape.clone() });
        }
        for port in self.inputs.iter().chain(&self.outputs) {
            if !port.dtype.is_plain() {
                bail!("`{}` is a tensor of {}, which compiled code cannot hold", port.name, port.dtype);
            }
            for d in &port.shape {
                let mut unbound = None;
                d.for_each_symbol(&mut |s| {
                    if !self.symbols.iter().any(|k| k.0 == *s) {
                        unbound = Some(s.clone());
                    }
                });
                if let Some(s) = unbound {
                    bail!("the size `{s}` of `{}` is bound by no input's shape", port.name);
                }
            }
        }
        Ok(())
    }

    /// The steps of the function in scope.
    fn function(&mut self) -> Result<()> {
        let f = self.scope.f;
        let mut clusters = fusion::fuse(f);
        let mut control = vec![];
        for (id, n) in f.nodes() {
            match family(f, id) {
                Lower::Control => control.push(id),
                family @ Lower::Host => {
                    let place = describe(n);
                    let why = format!("op `{}` is of the {family:?} family: only a host can run it", n.op.name());
                    return Err(anyhow!(why).context(CannotCompile { nodes: vec![id], place }));
                }
                _ => {}
            }
        }
        if !control.is_empty() {
            // Whatever a cluster reads is defined before its result is.
            clusters.sort_by_key(|c| defined_at(f, c.output));
        }
        // A value that a function is called with lies in a buffer of its own.
        let mut given: std::collections::HashSet<Value> =
            control.iter().flat_map(|&n| f.node(n).inputs.iter().copied()).collect();
        // So does what a scatter reads and writes.
        for (_, n) in f.nodes().filter(|(id, _)| matches!(family(f, *id), Lower::Scatter { .. })) {
            given.extend(n.inputs.iter().chain(&n.outputs));
        }
        let fetched = |v: Value| self.scope.fetched.contains_key(&v) || given.contains(&v);
        self.scope.placement = placement::place(f, &clusters, &fetched);
        self.scope.last_use = self.last_uses(&clusters, &control);
        let mut control = control.into_iter().peekable();
        for (i, cluster) in clusters.iter().enumerate() {
            while let Some(id) = control.next_if(|&id| Some(id) < defined_at(f, cluster.output)) {
                self.control(id).with_context(|| CannotCompile { nodes: vec![id], place: describe(f.node(id)) })?;
            }
            let place = || cluster.nodes.last().map_or(String::new(), |&n| describe(f.node(n)));
            self.cluster(i, cluster).with_context(|| CannotCompile { nodes: cluster.nodes.clone(), place: place() })?;
        }
        for id in control {
            self.control(id).with_context(|| CannotCompile { nodes: vec![id], place: describe(f.node(id)) })?;
        }
        self.results()?;
        let mut steps = std::mem::take(&mut self.scope.steps);
        steps.iter_mut().for_each(|s| s.map_operands(&mut |o| self.resolve(o)));
        self.scope.steps = steps;
        Ok(())
    }

    /// Where a value of the function in scope is written.
    fn destination(&self, v: Value) -> Operand {
        let result = self.scope.fetched.get(&v).and_then(|&i| self.scope.results[i].clone());
        result.unwrap_or(Operand::Buffer((self.scope.id, v)))
    }

    fn cluster(&mut self, i: usize, c: &Cluster) -> Result<()> {
        if self.scope.placement.done[i] {
            return Ok(());
        }
        let out = self.destination(c.output);
        if self.scope.placement.border_only[i] {
            return self.border(c, out);
        }
        if let [n] = c.nodes[..]
            && let Lower::Scatter { combine } = family(self.scope.f, n)
        {
            return self.scatter(c, n, combine, out);
        }
        self.call(Some(i), c, out)
    }

    /// The border of a padding whose operand is in place.
    fn border(&mut self, c: &Cluster, out: Operand) -> Result<()> {
        let f = self.scope.f;
        let [n] = c.nodes[..] else { bail!("a padding is one node") };
        let node = f.node(n);
        let Lower::View(View::Pad { low, high }) = family(f, n) else { bail!("the node is no padding") };
        let Some(fill) = f.def_node(node.inputs[1]).and_then(|d| d.op.is::<Const>()) else {
            bail!("the fill of a padding in place is a constant")
        };
        let layout = self
            .scope
            .placement
            .layouts
            .get(&c.output)
            .cloned()
            .unwrap_or_else(|| Layout::row_major(&f.ty(c.output).shape));
        let name = format!("k{}", self.kernels.len());
        let nest = border(f, n, c.output, &fill.value, &low, &high, &layout, &name)?;
        let schedule = choose::border_schedule(&nest, self.target);
        let kernel = self.kernel(&nest, &schedule)?;
        self.push_call(c, kernel, vec![out], &nest, &schedule);
        Ok(())
    }

    /// A scatter: its operand is copied to the result, and the updates are joined into that.
    fn scatter(&mut self, c: &Cluster, n: NodeId, combine: Option<BinaryOp>, out: Operand) -> Result<()> {
        let f = self.scope.f;
        self.copy(f.node(n).inputs[0], out.clone())?;
        let name = format!("k{}", self.kernels.len());
        let nest = scatter(f, n, combine, &Layouts::new(), &name)?;
        let schedule = choose::scatter_schedule(&nest, self.target);
        let kernel = self.kernel(&nest, &schedule)?;
        let mut buffers = vec![];
        for &v in &nest.inputs {
            buffers.push(self.read(v)?);
        }
        buffers.push(out);
        self.push_call(c, kernel, buffers, &nest, &schedule);
        Ok(())
    }

    /// The kernel call of a cluster; `at` is its number, none for a copy at the end.
    fn call(&mut self, at: Option<usize>, c: &Cluster, out: Operand) -> Result<()> {
        let f = self.scope.f;
        let choice = choose::choose(f, c, self.target);
        let mut layouts: Layouts = choice.packed.iter().cloned().collect();
        for v in c.inputs.iter().chain([&c.output]) {
            if let Some(l) = self.scope.placement.layouts.get(v) {
                layouts.insert(*v, l.clone());
            }
        }
        let name = format!("k{}", self.kernels.len());
        let mut nest = lower(f, c, &choice.walk, &layouts, &name)?;
        let mut schedule = choose::schedule(&choice, &nest, self.target);
        if let (Some(at), Operand::Buffer(_)) = (at, &out)
            && let Some(operand) = self.overwritten(at, c, &nest, &schedule)
        {
            let root = self.root(nest.inputs[operand]);
            let last = self.scope.last_use.get(&c.output).copied().unwrap_or(at);
            self.scope.last_use.insert(root, last);
            self.scope.placement.parent.insert(c.output, root);
            self.in_place += 1;
            (nest, schedule) = in_place::overwrite(nest, schedule, operand);
        }
        let kernel = self.kernel(&nest, &schedule)?;
        let mut buffers = vec![];
        for &v in &nest.inputs {
            buffers.push(match f.def_node(v).and_then(|n| n.op.is::<Const>()) {
                Some(constant) => {
                    Operand::Weights(self.weights.place((self.scope.id, v), &constant.value, layouts.get(&v))?)
                }
                None => Operand::Buffer((self.scope.id, v)),
            });
        }
        buffers.push(out);
        self.push_call(c, kernel, buffers, &nest, &schedule);
        Ok(())
    }

    /// The last cluster that touches the buffer of each value that has one.
    /// What conditionals and loops touch is never written over.
    fn last_uses(&self, clusters: &[Cluster], control: &[NodeId]) -> HashMap<Value, usize> {
        let mut last = HashMap::new();
        for (i, c) in clusters.iter().enumerate().filter(|p| !self.scope.placement.done[p.0]) {
            for &v in c.inputs.iter().chain([&c.output]) {
                last.insert(self.root(v), i);
            }
        }
        for n in control.iter().map(|&id| self.scope.f.node(id)) {
            for &v in n.inputs.iter().chain(&n.outputs) {
                last.insert(self.root(v), usize::MAX);
            }
        }
        last
    }

    /// The input of a nest that its result may be written over: a value of the workspace that dies in this call and fills
    /// its buffer, and that no other input shares memory with.
    fn overwritten(&self, at: usize, c: &Cluster, nest: &Nest, schedule: &Schedule) -> Option<usize> {
        let f = self.scope.f;
        let own_buffer = |v: Value| {
            !self.scope.placement.layouts.contains_key(&v) && !self.scope.fetched.contains_key(&self.root(v))
        };
        if self.root(c.output) != c.output || !own_buffer(c.output) {
            return None;
        }
        (0..nest.inputs.len()).find(|&i| {
            let v = nest.inputs[i];
            let root = self.root(v);
            let computed = f.def_node(root).is_some_and(|n| n.op.is::<Const>().is_none());
            computed
                && own_buffer(v)
                && f.ty(root).elements() == f.ty(v).elements()
                && self.scope.last_use.get(&root) == Some(&at)
                && nest.inputs.iter().filter(|&&w| self.root(w) == root).count() == 1
                && in_place::may_overwrite(nest, i, schedule)
        })
    }

    /// The kernel of a nest under a schedule; equal ones are shared.
    fn kernel(&mut self, nest: &Nest, schedule: &Schedule) -> Result<usize> {
        let mut anonymous = nest.kernel.clone();
        anonymous.name = String::new();
        let key = format!("{anonymous:?} {schedule:?}");
        if let Some(&k) = self.known.get(&key) {
            return Ok(k);
        }
        let scheduled = tile::apply(nest, schedule, Caps { fma: self.target.fma })?;
        let machine = machine::lower(&scheduled, &lanes(self.target))?;
        // Each level checks the one above; a violation is a bug of the compiler, so release builds save the time.
        if cfg!(debug_assertions) || self.options.keep_levels {
            for k in [&nest.kernel, &scheduled, &machine] {
                kiln_ir::loops::verify::verify(k, None)
                    .with_context(|| format!("the {:?} level under `{schedule}`", k.level))?;
            }
        }
        if self.options.keep_levels {
            let machine = machine.clone();
            self.levels.push(Levels { nest: nest.kernel.clone(), scheduled, machine });
        }
        self.kernels.push(machine);
        self.known.insert(key, self.kernels.len() - 1);
        Ok(self.kernels.len() - 1)
    }

    fn push_call(&mut self, c: &Cluster, kernel: usize, buffers: Vec<Operand>, nest: &Nest, schedule: &Schedule) {
        let k = &self.kernels[kernel];
        let f = self.scope.f;
        self.reports.push(CallReport {
            kernel: k.name.clone(),
            node: c.nodes.last().map_or(String::new(), |&n| f.node(n).loc.node.to_string()),
            ops: c.nodes.iter().map(|&n| f.node(n).op.name()).collect(),
            schedule: schedule.to_string(),
            flops: product_flops(f, c),
        });
        let symbols = nest.kernel.symbols.iter().map(|s| Dim::sym(&s.0)).collect();
        let tasks = k.tasks.clone();
        self.scope.steps.push(Planning::Call(Call { kernel, buffers, symbols, tasks }));
    }

    /// Results that no kernel wrote: parameters, constants, and values fetched twice are copied.
    fn results(&mut self) -> Result<()> {
        let f = self.scope.f;
        for (i, r) in f.results.iter().enumerate() {
            let is_constant = f.def_node(r.value).is_some_and(|n| n.op.is::<Const>().is_some());
            let Some(to) = self.scope.results[i].clone() else { continue };
            if self.scope.fetched.get(&r.value) == Some(&i) && !is_constant {
                continue;
            }
            self.copy(r.value, to).with_context(|| format!("copying the output `{}`", r.name))?;
        }
        Ok(())
    }

    fn root(&self, mut v: Value) -> Value {
        while let Some(&a) = self.scope.placement.parent.get(&v) {
            v = a;
        }
        v
    }

    fn finish(self) -> Result<Planned> {
        let (requests, index) = lifetimes(&self.scope.steps, &self.sizes)?;
        let memory = memplan::plan(&requests);
        let place = |o: &Operand| match o {
            Operand::Weights(at) => Place::Weights(*at),
            Operand::Input(i) => Place::Input(*i),
            Operand::Output(i) => Place::Output(*i),
            Operand::Buffer(b) => Place::Workspace(memory.offsets[index[b]].clone()),
        };
        let steps = steps(self.scope.steps, &place);
        let report = Report {
            calls: self.reports,
            workspace: memory.total.clone(),
            naive: memory.naive,
            bound: memory.bound,
            in_place: self.in_place,
            weights: self.weights.used() as u64,
        };
        let (embedded, weights) = if self.options.embed_weights {
            (Weights::Embedded(Arc::new(self.weights.bytes()?)), Image::default())
        } else {
            (Weights::Argument, self.weights)
        };
        let program = Program {
            prefix: self.options.prefix.clone(),
            kernels: self.kernels,
            symbols: self.symbols,
            inputs: self.inputs,
            outputs: self.outputs,
            workspace: memory.total,
            weights: embedded,
            steps,
            data: vec![],
        };
        Ok(Planned { program, weights, report, levels: self.levels })
    }
}

/// The place of a node in messages.
fn describe(n: &Node) -> String {
    format!("compiling node `{}` ({})", n.loc.node, n.loc.tf_op)
}

/// The node that defines a value.
fn defined_at(f: &Function, v: Value) -> Option<NodeId> {
    match f.def(v) {
        Def::Node(n, _) => Some(n),
        Def::Param(_) => None,
    }
}

/// Two operations for each multiply-add of the cluster's product.
fn product_flops(f: &Function, c: &Cluster) -> Dim {
    for &n in &c.nodes {
        let node = f.node(n);
        let out = f.ty(node.outputs[0]).elements();
        match family(f, n) {
            Lower::Contract(spec) => {
                let summed = spec.lhs.iter().zip(&f.ty(node.inputs[0]).shape).filter(|(l, _)| !spec.out.contains(l));
                return summed.fold(out * Dim::from(2), |p, (_, d)| p * d.clone());
            }
            Lower::Window { kind: kiln_ir::lower::WindowKind::Conv { .. }, dims } => {
                let w = &f.ty(node.inputs[1]).shape;
                return out * Dim::from(2) * Dim::product(&w[..dims.len() + 1]);
            }
            _ => {}
        }
    }
    Dim::from(0)
}
