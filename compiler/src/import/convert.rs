//! From an imported TensorFlow graph to Kiln's graph IR.
//!
//! Calls are inlined, variables that nothing assigns become constants, conditionals and loops become `case` and `while`
//! over functions of their own (`control`), lists and arrays become buffers (`lists`), and each other node goes through its
//! op's import rule (`kiln_ir::ops`). Nodes are visited in dependency order, control edges included, without recursion;
//! only calls nest, to a fixed depth.

mod control;
mod custom;
mod formula;
mod generators;
mod lists;
mod optimizers;
mod stacks;
mod state;
mod xla;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{Context, Result, anyhow, bail};
use kiln_ir::tensor::Bytes;
use kiln_ir::tf::{TfAttr, TfCx, TfNode};
use kiln_ir::{Builder, DType, Dim, Function, Loc, Module, ParamKind, Symbol, SymbolBounds, Tensor, TensorType, Value};

pub use self::custom::CustomOp;
use self::lists::{Array, List};
use self::stacks::Stack;
use super::graph::{ARG_OP, Body, Edge, Node, NodeId};
use super::proto::{AttrValue, attr_value};
use super::tensor::{HostTensor, TensorData};
use super::{ModelPort, TfModel, tables};

/// Calls may nest this deep.
const MAX_CALL_DEPTH: usize = 64;

/// A range of sizes that an unknown dimension may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DimRange {
    /// Exactly this.
    Fixed(i64),
    /// Between these, inclusive; no upper bound if `None`.
    Range(i64, Option<i64>),
}

/// How unknown dimensions of the inputs are treated.
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    /// The shape of an input by its key: overrides the model's.
    pub inputs: BTreeMap<String, Vec<usize>>,
    /// The range of a dimension by its name: `batch` for the first axis of every input, `INPUT_AXIS` for others.
    pub dims: BTreeMap<String, DimRange>,
}

/// What a model is converted for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Shapes of the inputs.
    pub shapes: Shapes,
    /// Values of inputs for which the model is converted: they are constants of the result, which takes them all the same.
    pub values: BTreeMap<String, Tensor>,
    /// Whether sizes may be computed at run time; only a host that allocates results as it goes can run such a program.
    pub sizes_from_data: bool,
    /// Whether assertions and prints are kept; they need a host.
    pub checks: bool,
    /// Ops of the user's own, by name. They come before Kiln's own rules.
    pub custom: BTreeMap<String, CustomOp>,
}

/// Converts a model into a module with one entry.
///
/// # Errors
/// Unsupported nodes (all of them are listed), a rule's own refusal with the node's name and op, inputs of unknown rank
/// that the settings say nothing about. [`kiln_ir::tf::NeedsConstant`] is at the root of an error about an operand that
/// must be known.
pub fn convert(model: &TfModel, settings: &Settings) -> Result<Module> {
    let missing = unsupported(model, &settings.custom);
    if !missing.is_empty() {
        bail!(
            "the model holds ops that Kiln does not support yet; --custom-op binds one to a C function:\n{}",
            list(&missing)
        );
    }
    let mut module = Module::default();
    let mut b = Builder::new("main");
    (b.sizes_from_data, b.checks) = (settings.sizes_from_data, settings.checks);
    let (frame, custom) = (Frame::new(b), &settings.custom);
    let mut c = Converter { model, custom, frame, fed: HashMap::new(), funcs: vec![], stacks: HashMap::new() };
    for port in &model.inputs {
        let ty = input_type(port, &settings.shapes, &mut module)?;
        let v = c.frame.b.param(&port.key, ParamKind::Input, ty);
        let v = match settings.values.get(&port.key) {
            Some(t) => c.frame.b.constant(t.clone())?,
            None => v,
        };
        c.fed.insert(port.edge.node, v);
    }
    let main = &model.graph.main;
    c.initialize(main).context("running the model's initializers")?;
    let wanted: Vec<Edge> = model.outputs.iter().map(|p| p.edge).collect();
    let values = c.body(main, &[], &wanted, &[], 0)?;
    for (port, item) in model.outputs.iter().zip(values) {
        let v = c.tensor(item).with_context(|| format!("output `{}`", port.key))?;
        c.frame.b.func.add_result(&port.key, ParamKind::Input, v);
    }
    module.symbols.extend(c.frame.b.symbols);
    module.funcs = c.funcs;
    module.entries.push(module.funcs.len());
    module.funcs.push(c.frame.b.func);
    Ok(module)
}

/// An op that cannot be imported: its name, how often it occurs, and nodes that hold it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Unsupported {
    /// The TensorFlow op.
    pub op: String,
    /// The element type for which it is not supported; none if it is for no type.
    pub dtype: Option<String>,
    /// The supported op whose name is nearest, where one is near.
    pub nearest: Option<String>,
    /// How many nodes hold it.
    pub count: usize,
    /// Names of the first few of them.
    pub nodes: Vec<String>,
}

/// The ops on the way to the outputs that have no import rule and are not the user's own.
pub fn unsupported(model: &TfModel, custom: &BTreeMap<String, CustomOp>) -> Vec<Unsupported> {
    let mut found: BTreeMap<(String, Option<String>), Unsupported> = BTreeMap::new();
    let mut seen = HashSet::new();
    let roots = model.outputs.iter().map(|p| p.edge.node).chain(model.init_ops.iter().copied());
    let mut bodies = vec![(&model.graph.main, roots.collect::<Vec<_>>())];
    while let Some((body, roots)) = bodies.pop() {
        for id in order(body, &roots) {
            let Some(node) = body.node(id) else { continue };
            let called = callees(node);
            for name in &called {
                if let Some(f) = model.graph.find_function(name).and_then(|f| model.graph.function(f))
                    && seen.insert(name.to_string())
                {
                    bodies.push((&f.body, function_roots(f)));
                }
            }
            let known = custom.contains_key(&*node.op) || takes(&node.op);
            let dtype = if known { unknown_type(node) } else { None };
            if dtype.is_none() && (known || model.graph.find_function(&node.op).is_some()) {
                continue;
            }
            let entry = found.entry((node.op.to_string(), dtype.clone())).or_insert_with(|| Unsupported {
                op: node.op.to_string(),
                nearest: if dtype.is_none() { nearest(&node.op) } else { None },
                dtype,
                count: 0,
                nodes: vec![],
            });
            entry.count += 1;
            if entry.nodes.len() < 5 {
                entry.nodes.push(node.name.to_string());
            }
        }
    }
    found.into_values().collect()
}

/// An element type of a node that Kiln does not have.
fn unknown_type(node: &Node) -> Option<String> {
    let attrs = node.attrs.iter().filter(|(name, _)| !name.starts_with('_'));
    attrs.filter_map(|(_, a)| a.value.as_ref()).find_map(|v| match v {
        attr_value::Value::Type(t) if DType::from_tf(*t).is_none() => {
            Some(super::dtype::TfDType::from_number(*t).map_or_else(|| format!("type {t}"), |t| t.to_string()))
        }
        _ => None,
    })
}

/// The supported op with the nearest name: another version of the op, or one that few letters tell apart.
fn nearest(op: &str) -> Option<String> {
    let base = |op: &str| op.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('V').to_lowercase();
    let distance = |other: &str| {
        if base(op) == base(other) { 0 } else { strsim::levenshtein(&op.to_lowercase(), &other.to_lowercase()) }
    };
    let supported = super::op_defs::names().filter(|o| takes(o)).map(|o| (distance(o), o));
    supported.min().filter(|(d, _)| *d <= op.len() / 5).map(|(_, o)| o.to_string())
}

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.op)?;
        if let Some(t) = &self.dtype {
            write!(f, " of {t}")?;
        }
        write!(f, " ({}x): {}", self.count, self.nodes.join(", "))?;
        if self.count > self.nodes.len() {
            f.write_str(", ..")?;
        }
        match &self.nearest {
            Some(n) => write!(f, "; supported is {n}"),
            None => Ok(()),
        }
    }
}

fn list(missing: &[Unsupported]) -> String {
    missing.iter().map(|u| format!("  {u}")).collect::<Vec<_>>().join("\n")
}

/// Whether an op of TensorFlow's own can be imported.
pub fn takes(op: &str) -> bool {
    known_here(op) || kiln_ir::ops::by_tf(op).is_some()
}

/// Ops that the converter itself handles.
fn known_here(op: &str) -> bool {
    const OPS: [&str; 8] = [
        "Placeholder",
        "PlaceholderWithDefault",
        ARG_OP,
        "NoOp",
        "ResourceGather",
        "VariableShape",
        "PartitionedCall",
        "StatefulPartitionedCall",
    ];
    let table = tables::makes_table(op) || tables::reads_table(op) || fills_table(op);
    let own = [control::OPS, lists::OPS, stacks::OPS, xla::OPS].iter().any(|ops| ops.contains(&op));
    table
        || own
        || OPS.contains(&op)
        || state::is_state(op)
        || optimizers::is_update(op)
        || generators::is_generator(op)
}

/// Whether an op fills a table: contents are looked up where the table is read, so running it does nothing.
fn fills_table(op: &str) -> bool {
    op.starts_with("InitializeTable") || op.starts_with("LookupTableImport")
}

/// The functions that a node calls: those that its attributes name, or the one that its op is.
fn callees(node: &Node) -> Vec<&str> {
    let mut names: Vec<&str> = vec![&node.op];
    for (attr, value) in &node.attrs {
        match &value.value {
            _ if attr.starts_with('_') => {}
            Some(attr_value::Value::Func(f)) => names.push(&f.name),
            Some(attr_value::Value::List(l)) => names.extend(l.func.iter().map(|f| f.name.as_str())),
            _ => {}
        }
    }
    names
}

/// What a call runs: what the results need, and the nodes that run in any case.
fn function_roots(f: &super::Function) -> Vec<NodeId> {
    f.rets.iter().map(|r| r.edge.node).chain(f.control_rets.iter().copied()).collect()
}

/// The nodes that `roots` need through data and control edges, dependencies first.
fn order(body: &Body, roots: &[NodeId]) -> Vec<NodeId> {
    let mut done = vec![false; body.nodes().len()];
    let mut out = vec![];
    let mut stack: Vec<(NodeId, bool)> = roots.iter().rev().map(|&r| (r, false)).collect();
    while let Some((id, expanded)) = stack.pop() {
        if done.get(id.index()).copied().unwrap_or(true) {
            continue;
        }
        if expanded {
            done[id.index()] = true;
            out.push(id);
            continue;
        }
        stack.push((id, true));
        if let Some(n) = body.node(id) {
            let needs = n.inputs.iter().map(|e| e.node).chain(n.control.iter().copied());
            stack.extend(needs.rev().filter(|d| done.get(d.index()) == Some(&false)).map(|d| (d, false)));
        }
    }
    out
}

/// What a tensor of the TensorFlow graph is here. Values belong to the function under construction.
#[derive(Clone, Debug)]
enum Item {
    /// A value.
    Value(Value),
    /// A variable, by its key in the variable source.
    Variable(String),
    /// A TensorList, or the contents of a TensorArray, which travel as its flow.
    List(List),
    /// The handle of a TensorArray.
    Array(Array),
    /// The handle of a stack.
    Stack(Stack),
    /// The handle of a look-up table: the node of the main graph that makes it.
    Table(NodeId),
}

/// A function under construction.
struct Frame {
    b: Builder,
    /// Variables whose values are constants here.
    read: HashMap<String, Value>,
    /// The present values of variables that the model assigns.
    assigned: BTreeMap<String, Value>,
    /// Variables that were assigned in this function and not before it: its caller has to thread them through.
    newly_assigned: BTreeSet<String>,
}

impl Frame {
    fn new(b: Builder) -> Frame {
        Frame { b, read: HashMap::new(), assigned: BTreeMap::new(), newly_assigned: BTreeSet::new() }
    }
}

struct Converter<'a> {
    model: &'a TfModel,
    /// Ops of the user's own.
    custom: &'a BTreeMap<String, CustomOp>,
    frame: Frame,
    /// The value of each fed placeholder of the main graph.
    fed: HashMap<NodeId, Value>,
    /// Functions of conditionals and loops that are complete.
    funcs: Vec<Function>,
    /// The state of stacks while they are empty, by the keys under which it is threaded as variables are.
    stacks: HashMap<String, TensorType>,
}

impl Converter<'_> {
    /// Builds what `wanted` and `targets` need of a body; `args` are the values of its arguments.
    fn body(
        &mut self,
        body: &Body,
        args: &[Item],
        wanted: &[Edge],
        targets: &[NodeId],
        depth: usize,
    ) -> Result<Vec<Item>> {
        if depth > MAX_CALL_DEPTH {
            bail!("calls nest deeper than {MAX_CALL_DEPTH}; recursive functions are not supported");
        }
        let mut outputs: Vec<Option<Vec<Item>>> = vec![None; body.nodes().len()];
        let mut next_arg = HashMap::new();
        for (i, (id, _)) in body.iter().filter(|(_, n)| &*n.op == ARG_OP).enumerate() {
            next_arg.insert(id, i);
        }
        let roots: Vec<NodeId> = wanted.iter().map(|e| e.node).chain(targets.iter().copied()).collect();
        for id in order(body, &roots) {
            let Some(node) = body.node(id) else { continue };
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for e in &node.inputs {
                inputs.push(pick(&outputs, *e).with_context(|| place(node))?);
            }
            let arg = next_arg.get(&id).and_then(|&i| args.get(i)).cloned();
            outputs[id.index()] = Some(self.node(id, node, inputs, arg, depth).with_context(|| place(node))?);
        }
        wanted.iter().map(|e| pick(&outputs, *e)).collect()
    }

    fn node(
        &mut self,
        id: NodeId,
        node: &Node,
        inputs: Vec<Item>,
        arg: Option<Item>,
        depth: usize,
    ) -> Result<Vec<Item>> {
        self.frame.b.loc = Loc::new(&node.name, &node.op);
        let first = || inputs.first().cloned().ok_or_else(|| anyhow!("it has no operand"));
        if let Some(op) = self.custom.get(&*node.op) {
            return self.custom_op(node, op, inputs);
        }
        Ok(match &*node.op {
            ARG_OP => vec![arg.ok_or_else(|| anyhow!("the call gives this argument no value"))?],
            "Placeholder" if depth == 0 => match self.fed.get(&id) {
                Some(&v) => vec![Item::Value(v)],
                None => bail!("it is not among the inputs: feed it"),
            },
            "PlaceholderWithDefault" => match self.fed.get(&id) {
                Some(&v) if depth == 0 => vec![Item::Value(v)],
                _ => vec![first()?],
            },
            "NoOp" => vec![],
            // Handles and lists pass through as they are.
            "Identity" | "StopGradient" | "PreventGradient" if !matches!(inputs.first(), Some(Item::Value(_))) => {
                vec![first()?]
            }
            "IdentityN" | "_ArrayToList" | "_ListToArray" if inputs.iter().any(|i| !matches!(i, Item::Value(_))) => {
                inputs
            }
            "Add" | "AddV2" | "AddN" if inputs.iter().any(|i| matches!(i, Item::List(_))) => {
                vec![self.sum_of_lists(inputs)?]
            }
            "VariableShape" => {
                let v = self.tensor(first()?)?;
                self.rule(node, "Shape", &[v])?
            }
            "ResourceGather" => {
                let table = self.tensor(first()?)?;
                let indices = self.tensor(inputs.get(1).cloned().ok_or_else(|| anyhow!("it has no indices"))?)?;
                let axis = node.int("batch_dims").unwrap_or(0);
                let axis = self.frame.b.constant(Tensor::scalar(axis as i32))?;
                self.rule(node, "GatherV2", &[table, indices, axis])?
            }
            op if tables::makes_table(op) => {
                if depth > 0 {
                    bail!("a table that a function makes is not supported: make it in the main graph");
                }
                vec![Item::Table(id)]
            }
            op if fills_table(op) => vec![],
            op if tables::reads_table(op) => {
                let Item::Table(table) = first()? else { bail!("its first operand is not a table of this graph") };
                let rest = inputs[1..].iter().cloned().map(|i| self.tensor(i)).collect::<Result<Vec<_>>>()?;
                let contents = tables::contents(self.model, table)?;
                let values = tables::lookup(&mut self.frame.b, op, &contents, &rest)?;
                values.into_iter().map(Item::Value).collect()
            }
            op if control::OPS.contains(&op) => self.control(node, inputs, depth)?,
            op if lists::OPS.contains(&op) => self.list_op(node, inputs)?,
            op if stacks::OPS.contains(&op) => self.stack_op(node, inputs, depth)?,
            op if state::is_state(op) => self.state_op(node, inputs, depth)?,
            op if generators::is_generator(op) => self.generate(node, inputs)?,
            op if optimizers::is_update(op) => self.update(node, inputs)?,
            op if xla::OPS.contains(&op) => self.xla_op(node, inputs, depth)?,
            op => {
                let called = matches!(op, "PartitionedCall" | "StatefulPartitionedCall").then(|| node.func("f"));
                let function = match called {
                    Some(f) => Some(f.ok_or_else(|| anyhow!("it does not say which function it calls"))?.name.clone()),
                    None => self.model.graph.find_function(op).map(|_| op.to_owned()),
                };
                match function {
                    Some(name) => self.call(&name, &inputs, depth)?,
                    None => {
                        let values = inputs.into_iter().map(|i| self.tensor(i)).collect::<Result<Vec<_>>>()?;
                        self.rule(node, op, &values)?
                    }
                }
            }
        })
    }

    fn function(&self, name: &str) -> Result<&super::Function> {
        let graph = &self.model.graph;
        graph
            .find_function(name)
            .and_then(|f| graph.function(f))
            .ok_or_else(|| anyhow!("function `{name}` is not in the graph's library"))
    }

    /// A call, built into the function under construction.
    fn call(&mut self, name: &str, inputs: &[Item], depth: usize) -> Result<Vec<Item>> {
        let model = self.model;
        let f = model.graph.find_function(name).and_then(|f| model.graph.function(f));
        let f = f.ok_or_else(|| anyhow!("function `{name}` is not in the graph's library"))?;
        let wanted: Vec<Edge> = f.rets.iter().map(|r| r.edge).collect();
        self.body(&f.body, inputs, &wanted, &f.control_rets, depth + 1).with_context(|| format!("in function `{name}`"))
    }

    /// Applies the import rule of a TensorFlow op.
    fn rule(&mut self, node: &Node, op: &str, inputs: &[Value]) -> Result<Vec<Item>> {
        let binding = kiln_ir::ops::by_tf(op).ok_or_else(|| anyhow!("the op is not supported yet"))?;
        let mut attrs = attributes(node)?;
        if op != &*node.op && op == "GatherV2" {
            // A node of another op that reads as a gather.
            attrs.entry("batch_dims".into()).or_insert(TfAttr::Int(0));
        }
        let tf = TfNode { name: node.name.clone(), op: node.op.clone(), attrs };
        self.frame.b.loc = Loc::new(&node.name, &node.op);
        let values = (binding.read)(&mut TfCx { b: &mut self.frame.b, node: &tf, inputs })?;
        Ok(values.into_iter().map(Item::Value).collect())
    }

    /// The value of an item; a variable is read.
    fn tensor(&mut self, item: Item) -> Result<Value> {
        match item {
            Item::Value(v) => Ok(v),
            Item::Variable(name) => self.read_variable(&name),
            Item::List(_) => bail!("a list of tensors stands where a tensor is wanted"),
            Item::Array(_) => bail!("the handle of a TensorArray stands where a tensor is wanted"),
            Item::Stack(_) => bail!("the handle of a stack stands where a tensor is wanted"),
            Item::Table(_) => bail!("the handle of a table stands where a tensor is wanted"),
        }
    }
}

fn place(node: &Node) -> String {
    format!("node `{}` ({})", node.name, node.op)
}

fn pick(outputs: &[Option<Vec<Item>>], e: Edge) -> Result<Item> {
    let of = outputs.get(e.node.index()).and_then(Option::as_ref).ok_or_else(|| anyhow!("the graph has a cycle"))?;
    of.get(e.output as usize).cloned().ok_or_else(|| anyhow!("output {} of a node that has {}", e.output, of.len()))
}

/// The type of an input: the given shape, or the model's with symbols for what it leaves open.
fn input_type(port: &ModelPort, shapes: &Shapes, module: &mut Module) -> Result<TensorType> {
    let dtype = DType::from_tf(port.dtype.number())
        .ok_or_else(|| anyhow!("input `{}` has the element type {}, which is not supported", port.key, port.dtype))?;
    if let Some(shape) = shapes.inputs.get(&port.key) {
        let fits = port.shape.as_ref().is_none_or(|p| {
            p.len() == shape.len() && p.iter().zip(shape).all(|(d, &n)| d.is_none_or(|d| d == n as i64))
        });
        if !fits {
            bail!("input `{}` takes shape {:?}, not {shape:?}", port.key, port.shape);
        }
        return Ok(TensorType::fixed(dtype, shape));
    }
    let Some(dims) = &port.shape else {
        bail!("input `{}` has an unknown rank: give its shape", port.key);
    };
    let mut shape = vec![];
    for (axis, d) in dims.iter().enumerate() {
        let name = if axis == 0 { "batch".to_string() } else { format!("{}_{axis}", identifier(&port.key)) };
        shape.push(match (d, shapes.dims.get(&name)) {
            (Some(n), _) => Dim::from(*n),
            (None, Some(DimRange::Fixed(n))) => Dim::from(*n),
            (None, range) => {
                let bounds = match range {
                    Some(DimRange::Range(min, max)) => SymbolBounds { min: *min, max: *max },
                    _ => SymbolBounds { min: 1, max: None },
                };
                module.symbols.insert(Symbol::new(&name), bounds);
                Dim::sym(&name)
            }
        });
    }
    Ok(TensorType::new(dtype, shape))
}

/// A name as an identifier: letters, digits and `_`, not starting with a digit.
pub fn identifier(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// A value of the files as a tensor of the IR.
///
/// # Errors
/// If the IR has no such element type.
pub fn to_tensor(t: &HostTensor) -> Result<Tensor> {
    let dtype =
        DType::from_tf(t.dtype.number()).ok_or_else(|| anyhow!("the element type {} is not supported", t.dtype))?;
    let shape: Vec<usize> = t.shape.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>()?;
    match &t.data {
        TensorData::Raw(bytes) => Tensor::from_bytes(dtype, &shape, Bytes::copy_of(bytes)).map_err(|e| anyhow!(e)),
        TensorData::Strings(s) => Ok(Tensor::of_strings(&shape, s.clone())),
    }
}

pub(super) fn attributes(node: &Node) -> Result<BTreeMap<String, TfAttr>> {
    let mut out = BTreeMap::new();
    for (name, value) in &node.attrs {
        if name.starts_with('_') {
            continue;
        }
        if let Some(a) = attribute(value).with_context(|| format!("attribute `{name}`"))? {
            out.insert(name.clone(), a);
        }
    }
    Ok(out)
}

fn attribute(value: &AttrValue) -> Result<Option<TfAttr>> {
    use attr_value::Value as A;
    let dtype = |n: i32| DType::from_tf(n).map(TfAttr::Type);
    let shape = |s: &super::proto::TensorShapeProto| TfAttr::Shape(super::feeds::partial_shape(s));
    let tensor = |t: &super::proto::TensorProto| {
        HostTensor::from_proto(t, "value").map_err(anyhow::Error::from).and_then(|t| to_tensor(&t))
    };
    Ok(match &value.value {
        // A type that the IR lacks is an error only where a rule asks for it.
        Some(A::Type(t)) => dtype(*t),
        Some(A::I(i)) => Some(TfAttr::Int(*i)),
        Some(A::F(f)) => Some(TfAttr::Float(*f)),
        Some(A::B(b)) => Some(TfAttr::Bool(*b)),
        Some(A::S(s)) => Some(TfAttr::Str(s.to_vec())),
        Some(A::Shape(s)) => Some(shape(s)),
        Some(A::Tensor(t)) => Some(TfAttr::Tensor(tensor(t)?)),
        Some(A::Func(f)) => Some(TfAttr::Func(f.name.clone())),
        Some(A::List(l)) => {
            let mut items: Vec<TfAttr> = vec![];
            items.extend(l.s.iter().map(|s| TfAttr::Str(s.to_vec())));
            items.extend(l.i.iter().map(|i| TfAttr::Int(*i)));
            items.extend(l.f.iter().map(|f| TfAttr::Float(*f)));
            items.extend(l.b.iter().map(|b| TfAttr::Bool(*b)));
            items.extend(l.r#type.iter().filter_map(|t| dtype(*t)));
            items.extend(l.shape.iter().map(shape));
            for t in &l.tensor {
                items.push(TfAttr::Tensor(tensor(t)?));
            }
            items.extend(l.func.iter().map(|f| TfAttr::Func(f.name.clone())));
            Some(TfAttr::List(items))
        }
        Some(A::Placeholder(_)) | None => None,
    })
}
