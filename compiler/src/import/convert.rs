//! From an imported TensorFlow graph to Kiln's graph IR.
//!
//! Calls are inlined, variables that nothing assigns become constants, and each node goes through its op's import rule
//! (`kiln_ir::ops`). Nodes are visited in dependency order without recursion; only calls nest, to a fixed depth.
//! Control edges order side effects; the ops that reach a kernel have none, so their edges are not kept.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, Result, anyhow, bail};
use kiln_ir::tensor::Bytes;
use kiln_ir::tf::{TfAttr, TfCx, TfNode};
use kiln_ir::{Builder, DType, Dim, Loc, Module, ParamKind, Symbol, SymbolBounds, Tensor, TensorType, Value};

use super::graph::{ARG_OP, Body, Edge, Node, NodeId};
use super::proto::{AttrValue, attr_value};
use super::tensor::{HostTensor, TensorData};
use super::{ModelPort, TfModel};

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

/// Converts a model into a module with one entry.
///
/// # Errors
/// Unsupported nodes (all of them are listed), a rule's own refusal with the node's name and op, inputs of unknown rank
/// that `shapes` says nothing about.
pub fn convert(model: &TfModel, shapes: &Shapes) -> Result<Module> {
    let missing = unsupported(model);
    if !missing.is_empty() {
        bail!("the model holds ops that Kiln does not support yet:\n{}", list(&missing));
    }
    let mut module = Module::default();
    let mut c = Converter { model, b: Builder::new("main"), fed: HashMap::new(), read: HashMap::new() };
    for port in &model.inputs {
        let ty = input_type(port, shapes, &mut module)?;
        let v = c.b.param(&port.key, ParamKind::Input, ty);
        c.fed.insert(port.edge.node, v);
    }
    let wanted: Vec<Edge> = model.outputs.iter().map(|p| p.edge).collect();
    let values = c.body(&model.graph.main, &[], &wanted, 0)?;
    for (port, item) in model.outputs.iter().zip(values) {
        let v = c.tensor(item).with_context(|| format!("output `{}`", port.key))?;
        c.b.func.add_result(&port.key, ParamKind::Input, v);
    }
    module.funcs.push(c.b.func);
    module.entries.push(0);
    Ok(module)
}

/// An op that cannot be imported: its name, how often it occurs, and nodes that hold it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Unsupported {
    /// The TensorFlow op.
    pub op: String,
    /// How many nodes hold it.
    pub count: usize,
    /// Names of the first few of them.
    pub nodes: Vec<String>,
}

/// The ops on the way to the outputs that have no import rule.
pub fn unsupported(model: &TfModel) -> Vec<Unsupported> {
    let mut found: BTreeMap<String, Unsupported> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut bodies = vec![(&model.graph.main, model.outputs.iter().map(|p| p.edge.node).collect::<Vec<_>>())];
    while let Some((body, roots)) = bodies.pop() {
        for id in order(body, &roots) {
            let Some(node) = body.node(id) else { continue };
            if let Some(name) = callee(node) {
                if let Some(f) = model.graph.find_function(name).and_then(|f| model.graph.function(f))
                    && seen.insert(name.to_string())
                {
                    bodies.push((&f.body, f.rets.iter().map(|r| r.edge.node).collect()));
                }
                continue;
            }
            if known_here(&node.op)
                || kiln_ir::ops::by_tf(&node.op).is_some()
                || model.graph.find_function(&node.op).is_some()
            {
                continue;
            }
            let entry = found.entry(node.op.to_string()).or_insert_with(|| Unsupported {
                op: node.op.to_string(),
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

fn list(missing: &[Unsupported]) -> String {
    let line = |u: &Unsupported| {
        format!(
            "  {} ({}x): {}{}",
            u.op,
            u.count,
            u.nodes.join(", "),
            if u.count > u.nodes.len() { ", .." } else { "" }
        )
    };
    missing.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Ops that the converter itself handles.
fn known_here(op: &str) -> bool {
    const OPS: [&str; 12] = [
        "Placeholder",
        "PlaceholderWithDefault",
        ARG_OP,
        "NoOp",
        "VarHandleOp",
        "ReadVariableOp",
        "VariableV2",
        "Variable",
        "PartitionedCall",
        "StatefulPartitionedCall",
        "ResourceGather",
        "VariableShape",
    ];
    OPS.contains(&op)
}

/// The function that a node calls through an attribute.
fn callee(node: &Node) -> Option<&str> {
    matches!(&*node.op, "PartitionedCall" | "StatefulPartitionedCall")
        .then(|| node.func("f").map(|f| f.name.as_str()))
        .flatten()
}

/// The nodes that `roots` need through data edges, dependencies first.
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
            stack.extend(n.inputs.iter().rev().filter(|e| !done[e.node.index()]).map(|e| (e.node, false)));
        }
    }
    out
}

/// What a tensor of the TensorFlow graph is here.
#[derive(Clone, Debug)]
enum Item {
    /// A value.
    Value(Value),
    /// A variable, by its key in the variable source.
    Variable(String),
}

struct Converter<'a> {
    model: &'a TfModel,
    b: Builder,
    /// The parameter of each fed placeholder of the main graph.
    fed: HashMap<NodeId, Value>,
    /// Variables already read.
    read: HashMap<String, Value>,
}

impl Converter<'_> {
    /// Builds what `wanted` needs of a body; `args` are the values of its arguments.
    fn body(&mut self, body: &Body, args: &[Item], wanted: &[Edge], depth: usize) -> Result<Vec<Item>> {
        if depth > MAX_CALL_DEPTH {
            bail!("calls nest deeper than {MAX_CALL_DEPTH}; recursive functions are not supported");
        }
        let mut outputs: Vec<Option<Vec<Item>>> = vec![None; body.nodes().len()];
        let mut next_arg = HashMap::new();
        for (i, (id, _)) in body.iter().filter(|(_, n)| &*n.op == ARG_OP).enumerate() {
            next_arg.insert(id, i);
        }
        let roots: Vec<NodeId> = wanted.iter().map(|e| e.node).collect();
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
        let first = || inputs.first().cloned().ok_or_else(|| anyhow!("it has no operand"));
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
            "VarHandleOp" | "VariableV2" | "Variable" => vec![Item::Variable(self.variable_key(node, depth)?)],
            "ReadVariableOp" => vec![Item::Value(self.tensor(first()?)?)],
            "VariableShape" => {
                let v = self.tensor(first()?)?;
                self.rule(node, "Shape", &[v])?
            }
            "ResourceGather" => {
                let table = self.tensor(first()?)?;
                let indices = self.tensor(inputs.get(1).cloned().ok_or_else(|| anyhow!("it has no indices"))?)?;
                if node.int("batch_dims").unwrap_or(0) != 0 {
                    bail!("batch_dims is not 0");
                }
                let axis = self.b.constant(Tensor::scalar(0i32))?;
                self.rule(node, "GatherV2", &[table, indices, axis])?
            }
            // A variable handle passes through identities.
            "Identity"
                if matches!(inputs.first(), Some(Item::Variable(_)))
                    && node.dtype("T").is_some_and(|t| t.number() == 20) =>
            {
                vec![first()?]
            }
            op => {
                let function = callee(node)
                    .map(str::to_owned)
                    .or_else(|| self.model.graph.find_function(op).map(|_| op.to_owned()));
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

    /// A variable's key: the node's name, or `function/node`; only main graphs make variables that a checkpoint holds.
    fn variable_key(&self, node: &Node, depth: usize) -> Result<String> {
        let variables = self.model.variables.variables();
        if depth == 0 && variables.contains_key(&*node.name) {
            return Ok(node.name.to_string());
        }
        let suffix = format!("/{}", node.name);
        let mut found = variables.keys().filter(|k| k.ends_with(&suffix));
        match (found.next(), found.next()) {
            (Some(k), None) => Ok(k.clone()),
            _ => bail!("the variable is not among those that the model's files hold"),
        }
    }

    fn call(&mut self, name: &str, inputs: &[Item], depth: usize) -> Result<Vec<Item>> {
        let graph = &self.model.graph;
        let f = graph
            .find_function(name)
            .and_then(|f| graph.function(f))
            .ok_or_else(|| anyhow!("function `{name}` is not in the graph's library"))?;
        let wanted: Vec<Edge> = f.rets.iter().map(|r| r.edge).collect();
        self.body(&f.body, inputs, &wanted, depth + 1).with_context(|| format!("in function `{name}`"))
    }

    /// Applies the import rule of a TensorFlow op.
    fn rule(&mut self, node: &Node, op: &str, inputs: &[Value]) -> Result<Vec<Item>> {
        let binding = kiln_ir::ops::by_tf(op).ok_or_else(|| anyhow!("the op is not supported yet"))?;
        let tf = TfNode { name: node.name.clone(), op: node.op.clone(), attrs: attributes(node)? };
        self.b.loc = Loc::new(&node.name, &node.op);
        let values = (binding.read)(&mut TfCx { b: &mut self.b, node: &tf, inputs })?;
        Ok(values.into_iter().map(Item::Value).collect())
    }

    /// The value of an item; a variable is read, once.
    fn tensor(&mut self, item: Item) -> Result<Value> {
        let name = match item {
            Item::Value(v) => return Ok(v),
            Item::Variable(name) => name,
        };
        if let Some(&v) = self.read.get(&name) {
            return Ok(v);
        }
        let t = to_tensor(&self.model.variables.read(&name)?)?;
        self.b.loc = Loc::new(&name, "VarHandleOp");
        let v = self.b.constant(t)?;
        self.read.insert(name, v);
        Ok(v)
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

fn attributes(node: &Node) -> Result<BTreeMap<String, TfAttr>> {
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
