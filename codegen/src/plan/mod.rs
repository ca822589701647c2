//! From an optimized function to a [`Program`]: clusters lowered and scheduled, weights laid out, memory planned.

mod in_place;
mod placement;
mod weights;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use kiln_ir::graph::Def;
use kiln_ir::loops::{Kernel, Layout};
use kiln_ir::lower::{Lower, View};
use kiln_ir::ops::constant::Const;
use kiln_ir::{Dim, Function, Module, NodeId, ParamKind, Symbol, SymbolBounds, Value};
use kiln_passes::fusion::{self, Cluster, family};
use kiln_passes::memplan::{self, Request};

use crate::lower::{Layouts, Nest, border, lower};
use crate::machine::{self, Lanes};
use crate::math::Caps;
use crate::program::{Place, Port, Program, Step, Weights};
use crate::schedule::{Schedule, choose, tile};
use crate::target::Target;
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
    let mut p = Planner::new(f, target, options);
    p.ports(module)?;
    let clusters = fusion::fuse(f);
    p.placement = placement::place(f, &clusters, &|v| p.fetched.contains_key(&v));
    p.last_use = p.last_uses(&clusters);
    for (i, cluster) in clusters.iter().enumerate() {
        p.cluster(i, cluster)
            .with_context(|| CannotCompile { nodes: cluster.nodes.clone(), place: p.describe(cluster) })?;
    }
    p.results()?;
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

/// The symbols in a function's types and attributes.
fn mentioned(f: &Function) -> std::collections::BTreeSet<Symbol> {
    let mut found = std::collections::BTreeSet::new();
    let mut note = |d: &Dim| {
        d.for_each_symbol(&mut |s| {
            found.insert(s.clone());
        });
    };
    (0..f.value_count()).for_each(|v| f.ty(Value(v as u32)).shape.iter().for_each(&mut note));
    f.nodes().flat_map(|(_, n)| n.op.attrs().0).for_each(|(_, a)| a.for_each_dim(&mut note));
    found
}

fn lanes(target: &Target) -> Lanes {
    Lanes { vector_bytes: target.vector_bytes, full_only: target.full_vectors_only }
}

struct Planner<'a> {
    f: &'a Function,
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
    calls: Vec<Call>,
    reports: Vec<CallReport>,
    weights: Image,
    placement: Placement,
    /// The last cluster that touches a buffer, by the value that it belongs to.
    last_use: HashMap<Value, usize>,
    /// Kernel calls that write their result over an operand.
    in_place: usize,
    /// The output that holds a value.
    fetched: HashMap<Value, usize>,
}

/// A kernel call before memory is planned.
struct Call {
    kernel: usize,
    buffers: Vec<Operand>,
    symbols: Vec<Dim>,
    tasks: Dim,
}

#[derive(Clone)]
enum Operand {
    Value(Value),
    Weights(u64),
    Output(usize),
}

impl<'a> Planner<'a> {
    fn new(f: &'a Function, target: &'a Target, options: &'a Options) -> Planner<'a> {
        Planner {
            f,
            target,
            options,
            symbols: vec![],
            inputs: vec![],
            outputs: vec![],
            kernels: vec![],
            levels: vec![],
            known: HashMap::new(),
            calls: vec![],
            reports: vec![],
            weights: Image::default(),
            placement: Placement::default(),
            last_use: HashMap::new(),
            in_place: 0,
            fetched: HashMap::new(),
        }
    }

    /// Inputs, outputs, and the symbols that the inputs bind.
    fn ports(&mut self, module: &Module) -> Result<()> {
        for p in &self.f.params {
            if p.kind == ParamKind::Variable {
                bail!("variable `{}` is still a parameter: freeze it, or compile a stateful entry", p.name);
            }
            let ty = self.f.ty(p.value);
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
            for s in mentioned(self.f) {
                if !self.symbols.iter().any(|k| k.0 == s) {
                    let bounds = module.symbols.get(&s).copied().unwrap_or(SymbolBounds { min: 0, max: None });
                    self.symbols.push((s, bounds));
                }
            }
        }
        for (i, r) in self.f.results.iter().enumerate() {
            let ty = self.f.ty(r.value);
            self.outputs.push(Port { name: r.name.clone(), dtype: ty.dtype, shape: ty.shape.clone() });
            if matches!(self.f.def(r.value), Def::Node(..)) {
                self.fetched.entry(r.value).or_insert(i);
            }
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

    fn describe(&self, c: &Cluster) -> String {
        let node = c.nodes.last().map(|&n| self.f.node(n));
        node.map_or(String::new(), |n| format!("compiling node `{}` ({})", n.loc.node, n.loc.tf_op))
    }

    fn cluster(&mut self, i: usize, c: &Cluster) -> Result<()> {
        if self.placement.done[i] {
            return Ok(());
        }
        let out = match self.fetched.get(&c.output) {
            Some(&i) => Operand::Output(i),
            None => Operand::Value(c.output),
        };
        if self.placement.border_only[i] {
            return self.border(c, out);
        }
        self.call(Some(i), c, out)
    }

    /// The border of a padding whose operand is in place.
    fn border(&mut self, c: &Cluster, out: Operand) -> Result<()> {
        let f = self.f;
        let [n] = c.nodes[..] else { bail!("a padding is one node") };
        let node = f.node(n);
        let Lower::View(View::Pad { low, high }) = family(f, n) else { bail!("the node is no padding") };
        let Some(fill) = f.def_node(node.inputs[1]).and_then(|d| d.op.is::<Const>()) else {
            bail!("the fill of a padding in place is a constant")
        };
        let layout =
            self.placement.layouts.get(&c.output).cloned().unwrap_or_else(|| Layout::row_major(&f.ty(c.output).shape));
        let name = format!("k{}", self.kernels.len());
        let nest = border(f, n, c.output, &fill.value, &low, &high, &layout, &name)?;
        let schedule = choose::border_schedule(&nest, self.target);
        let kernel = self.kernel(&nest, &schedule)?;
        self.push_call(c, kernel, vec![out], &nest, &schedule);
        Ok(())
    }

    /// The kernel call of a cluster; `at` is its number, none for a copy at the end.
    fn call(&mut self, at: Option<usize>, c: &Cluster, out: Operand) -> Result<()> {
        let f = self.f;
        let choice = choose::choose(f, c, self.target);
        let mut layouts: Layouts = choice.packed.iter().cloned().collect();
        for v in c.inputs.iter().chain([&c.output]) {
            if let Some(l) = self.placement.layouts.get(v) {
                layouts.insert(*v, l.clone());
            }
        }
        let name = format!("k{}", self.kernels.len());
        let mut nest = lower(f, c, &choice.walk, &layouts, &name)?;
        let schedule = choose::schedule(&choice, &nest, self.target);
        if let (Some(at), Operand::Value(_)) = (at, &out)
            && let Some(operand) = self.overwritten(at, c, &nest, &schedule)
        {
            let root = self.root(nest.inputs[operand]);
            let last = self.last_use.get(&c.output).copied().unwrap_or(at);
            self.last_use.insert(root, last);
            self.placement.parent.insert(c.output, root);
            self.in_place += 1;
            nest = in_place::overwrite(nest, operand);
        }
        let kernel = self.kernel(&nest, &schedule)?;
        let mut buffers = vec![];
        for &v in &nest.inputs {
            buffers.push(match f.def_node(v).and_then(|n| n.op.is::<Const>()) {
                Some(constant) => Operand::Weights(self.weights.place(v, &constant.value, layouts.get(&v))?),
                None => Operand::Value(v),
            });
        }
        buffers.push(out);
        self.push_call(c, kernel, buffers, &nest, &schedule);
        Ok(())
    }

    /// The last cluster that touches the buffer of each value that has one.
    fn last_uses(&self, clusters: &[Cluster]) -> HashMap<Value, usize> {
        let mut last = HashMap::new();
        for (i, c) in clusters.iter().enumerate().filter(|p| !self.placement.done[p.0]) {
            for &v in c.inputs.iter().chain([&c.output]) {
                last.insert(self.root(v), i);
            }
        }
        last
    }

    /// The input of a nest that its result may be written over: a value of the workspace that dies in this call and fills
    /// its buffer, and that no other input shares memory with.
    fn overwritten(&self, at: usize, c: &Cluster, nest: &Nest, schedule: &Schedule) -> Option<usize> {
        let f = self.f;
        let own_buffer =
            |v: Value| !self.placement.layouts.contains_key(&v) && !self.fetched.contains_key(&self.root(v));
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
                && self.last_use.get(&root) == Some(&at)
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
        let f = self.f;
        self.reports.push(CallReport {
            kernel: k.name.clone(),
            node: c.nodes.last().map_or(String::new(), |&n| f.node(n).loc.node.to_string()),
            ops: c.nodes.iter().map(|&n| f.node(n).op.name()).collect(),
            schedule: schedule.to_string(),
            flops: product_flops(f, c),
        });
        let symbols = nest.kernel.symbols.iter().map(|s| Dim::sym(&s.0)).collect();
        self.calls.push(Call { kernel, buffers, symbols, tasks: k.tasks.clone() });
    }

    /// Results that no kernel wrote: parameters, constants, and values fetched twice are copied.
    fn results(&mut self) -> Result<()> {
        for (i, r) in self.f.results.iter().enumerate() {
            let is_constant = self.f.def_node(r.value).is_some_and(|n| n.op.is::<Const>().is_some());
            if self.fetched.get(&r.value) == Some(&i) && !is_constant {
                continue;
            }
            let inputs = if fusion::is_immediate(self.f, r.value) { vec![] } else { vec![r.value] };
            let copy = Cluster { nodes: vec![], output: r.value, inputs };
            self.call(None, &copy, Operand::Output(i)).with_context(|| format!("copying the output `{}`", r.name))?;
        }
        Ok(())
    }

    fn root(&self, mut v: Value) -> Value {
        while let Some(&a) = self.placement.parent.get(&v) {
            v = a;
        }
        v
    }

    fn finish(self) -> Result<Planned> {
        // Lifetimes of the values that live in the workspace.
        let mut spans: Vec<(Value, usize, usize)> = vec![];
        let mut span_of: HashMap<Value, usize> = HashMap::new();
        for (step, call) in self.calls.iter().enumerate() {
            for b in &call.buffers {
                if let Operand::Value(v) = b {
                    let v = self.root(*v);
                    if matches!(self.f.def(v), Def::Param(_)) || self.fetched.contains_key(&v) {
                        continue;
                    }
                    let i = *span_of.entry(v).or_insert_with(|| {
                        spans.push((v, step, step));
                        spans.len() - 1
                    });
                    spans[i].2 = step;
                }
            }
        }
        let requests: Vec<Request> = spans
            .iter()
            .map(|&(v, first, last)| {
                let ty = self.f.ty(v);
                Request { size: ty.elements() * Dim::from(ty.dtype.size()), first, last }
            })
            .collect();
        let memory = memplan::plan(&requests);
        let place = |o: &Operand| match o {
            Operand::Weights(at) => Place::Weights(*at),
            Operand::Output(i) => Place::Output(*i),
            Operand::Value(v) => {
                let v = self.root(*v);
                match (self.f.def(v), self.fetched.get(&v)) {
                    (Def::Param(p), _) => Place::Input(p as usize),
                    (_, Some(&i)) => Place::Output(i),
                    _ => Place::Workspace(memory.offsets[span_of[&v]].clone()),
                }
            }
        };
        let steps = self
            .calls
            .iter()
            .map(|c| Step::Launch {
                kernel: c.kernel,
                buffers: c.buffers.iter().map(place).collect(),
                symbols: c.symbols.clone(),
                tasks: c.tasks.clone(),
            })
            .collect();
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
