//! From GraphDef to [`TfGraph`]: names to edges, defaults into attributes, only what is reached.
//!
//! Everything is linear in the size of the graph and works off queues: neither a graph of a million nodes nor a
//! chain or nesting of any length needs a deep stack.

use super::error::{ImportError, Result};
use super::graph::{ARG_OP, Body, Edge, Function, FunctionArg, FunctionRet, Node, NodeId, TensorName, TfGraph};
use super::op_defs::{ArgTypes, OpInterface, builtin};
use super::proto::{AttrValue, FunctionDef, FunctionDefLibrary, GraphDef, NodeDef, OpDef, attr_value::Value};
use super::prune::{Roots, prune};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A GraphDef with its main graph resolved; functions are resolved when something reaches them.
#[derive(Debug, Default)]
pub struct Library {
    functions: HashMap<Arc<str>, FunctionDef>,
    signatures: HashMap<Arc<str>, Arc<OpInterface>>,
    own_ops: HashMap<Arc<str>, Arc<OpInterface>>,
    gradients: BTreeMap<String, String>,
    producer: i32,
    min_consumer: i32,
}

/// Splits a GraphDef into the resolved main graph and the library of functions.
///
/// `own_ops` are definitions that come with the model, for ops that Kiln's table does not have.
/// Errors: two nodes or functions of one name, an input that does not exist, a node that contradicts its op.
pub fn build(graph: GraphDef, own_ops: &[OpDef]) -> Result<(Body, Library)> {
    let versions = graph.versions.unwrap_or_default();
    let mut library = Library {
        producer: if versions.producer != 0 { versions.producer } else { graph.version },
        min_consumer: versions.min_consumer,
        ..Library::default()
    };
    for op in own_ops {
        if let Some(interface) = OpInterface::from_proto(op) {
            library.own_ops.insert(op.name.as_str().into(), Arc::new(interface));
        }
    }
    let FunctionDefLibrary { function, gradient, .. } = graph.library.unwrap_or_default();
    library.gradients = gradient.into_iter().map(|g| (g.function_name, g.gradient_func)).collect();
    for function in function {
        let signature = function
            .signature
            .as_ref()
            .ok_or_else(|| ImportError::malformed("library", "a function has no signature"))?;
        let name: Arc<str> = signature.name.as_str().into();
        let interface = OpInterface::from_proto(signature)
            .ok_or_else(|| ImportError::malformed(format!("function `{name}`"), "an argument has no known type"))?;
        library.signatures.insert(name.clone(), Arc::new(interface));
        if library.functions.insert(name.clone(), function).is_some() {
            return Err(ImportError::malformed(format!("function `{name}`"), "it is defined twice"));
        }
    }
    let main = library.body(graph.node, Vec::new(), "")?;
    Ok((main, library))
}

impl Library {
    /// The interface of an op or function.
    pub fn interface(&self, op: &str) -> Option<&Arc<OpInterface>> {
        self.signatures.get(op).or_else(|| builtin(op)).or_else(|| self.own_ops.get(op))
    }

    /// Whether there is a function of this name.
    pub fn has_function(&self, name: &str) -> bool {
        self.functions.contains_key(name)
    }

    /// The names of all functions, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.functions.keys().map(|n| n.to_string()).collect();
        names.sort();
        names
    }

    /// Resolves one function.
    pub fn function(&self, name: &str) -> Result<Function> {
        let def = self.functions.get(name).ok_or_else(|| ImportError::missing("function", name, self.names()))?;
        self.resolve(def).map(|f| f.0)
    }

    /// Checks that the nodes agree with their ops, fills in defaults, and adds the functions that they reach.
    pub fn finish(&self, main: Body) -> Result<TfGraph> {
        let main = self.complete(main, "")?;
        let mut queue: Vec<Arc<str>> = Vec::new();
        let mut seen: HashSet<Arc<str>> = HashSet::new();
        let mut functions = Vec::new();
        self.called(&main, &mut queue, &mut seen);
        let mut next = 0;
        while let Some(name) = queue.get(next).cloned() {
            next += 1;
            let Some(def) = self.functions.get(&name) else {
                continue;
            };
            let (mut function, stateful) = self.resolve(def)?;
            let targets: Vec<NodeId> = function.control_rets.iter().copied().chain(stateful).collect();
            let kept: Vec<NodeId> = function.args.iter().map(|a| a.node).collect();
            let fetches: Vec<Edge> = function.rets.iter().map(|r| r.edge).collect();
            let pruned = prune(function.body, &Roots { fetches: &fetches, targets: &[targets, kept].concat() });
            for ret in &mut function.rets {
                ret.edge = pruned.edge(ret.edge).unwrap_or(ret.edge);
            }
            for node in function.control_rets.iter_mut().chain(function.args.iter_mut().map(|a| &mut a.node)) {
                *node = pruned.node(*node).unwrap_or(*node);
            }
            function.body = self.complete(pruned.body, &name)?;
            self.called(&function.body, &mut queue, &mut seen);
            functions.push(function);
        }
        let mut graph = TfGraph::new(main, functions);
        graph.gradients = self.gradients.clone();
        graph.producer = self.producer;
        graph.min_consumer = self.min_consumer;
        Ok(graph)
    }

    /// Queues the functions that a body calls or passes on.
    fn called(&self, body: &Body, queue: &mut Vec<Arc<str>>, seen: &mut HashSet<Arc<str>>) {
        let mut add = |name: &str| {
            if let Some((name, _)) = self.functions.get_key_value(name)
                && seen.insert(name.clone())
            {
                queue.push(name.clone());
                if let Some((gradient, _)) =
                    self.gradients.get(&**name).and_then(|g| self.functions.get_key_value(g.as_str()))
                    && seen.insert(gradient.clone())
                {
                    queue.push(gradient.clone());
                }
            }
        };
        for node in body.nodes() {
            add(&node.op);
            for value in node.attrs.values().filter_map(|a| a.value.as_ref()) {
                functions_of(value, &mut add);
            }
        }
    }

    /// Resolves the names in a list of nodes. `args` are the nodes of a function's arguments, which come first.
    fn body(&self, defs: Vec<NodeDef>, args: Vec<Node>, function: &str) -> Result<Body> {
        let place = |name: &str| {
            if function.is_empty() { name.to_string() } else { format!("{function}/{name}") }
        };
        let first = args.len();
        let mut nodes = args;
        nodes.reserve_exact(defs.len());
        let mut ops: HashMap<String, Arc<str>> = HashMap::new();
        let mut inputs = Vec::with_capacity(defs.len());
        for def in defs {
            let NodeDef { name, op, input, device, attr } = def;
            if name.is_empty() {
                return Err(ImportError::node(place(""), op, "a node has no name"));
            }
            let interface = self.interface(&op).cloned();
            // One allocation for each op's name, not for each node's.
            let op = match ops.get(&op) {
                Some(shared) => shared.clone(),
                None => {
                    let shared: Arc<str> = op.as_str().into();
                    ops.insert(op, shared.clone());
                    shared
                }
            };
            inputs.push(input);
            nodes.push(Node {
                name: name.into(),
                op,
                device,
                inputs: Vec::new(),
                control: Vec::new(),
                attrs: attr,
                interface,
            });
        }
        let mut body = Body::new(nodes);
        let mut resolved = Vec::with_capacity(inputs.len());
        for (i, (id, node)) in body.iter().enumerate() {
            if body.find(&node.name) != Some(id) {
                return Err(ImportError::node(place(&node.name), &*node.op, "there are two nodes of this name"));
            }
            let Some(input) = i.checked_sub(first).and_then(|i| inputs.get(i)) else {
                continue;
            };
            let mut edges = (Vec::with_capacity(input.len()), Vec::new());
            for text in input {
                let fail =
                    |what: String| ImportError::node(place(&node.name), &*node.op, format!("input `{text}`: {what}"));
                match text.strip_prefix('^') {
                    Some(name) => edges.1.push(body.find(name).ok_or_else(|| fail("there is no such node".into()))?),
                    None if !edges.1.is_empty() => {
                        return Err(fail("a data input follows a control input".into()));
                    }
                    None if function.is_empty() => edges.0.push(self.main_edge(&body, text).map_err(fail)?),
                    None => edges.0.push(self.function_edge(&body, text).map_err(fail)?),
                }
            }
            resolved.push(edges);
        }
        let mut nodes = std::mem::take(&mut body).into_nodes();
        for (node, (data, control)) in nodes.iter_mut().skip(first).zip(resolved) {
            node.inputs = data;
            node.control = control;
        }
        Ok(Body::new(nodes))
    }

    /// `node` or `node:output` of a main graph.
    fn main_edge(&self, body: &Body, text: &str) -> Result<Edge, String> {
        let name = TensorName::parse(text).ok_or("not a tensor's name")?;
        let node = body.find(&name.node).ok_or("there is no such node")?;
        Ok(Edge { node, output: name.output })
    }

    /// `argument`, `argument:0`, `node:output argument:index` (or `node:output argument`) of a function's body.
    fn function_edge(&self, body: &Body, text: &str) -> Result<Edge, String> {
        let mut parts = text.splitn(3, ':');
        let name = parts.next().unwrap_or_default();
        let (second, third) = (parts.next(), parts.next());
        let node = body.find(name).ok_or("there is no such node or argument")?;
        let source = body.node(node).ok_or("there is no such node")?;
        let number = |text: Option<&str>| {
            text.map_or(Ok(0usize), |t| t.parse().map_err(|_| "the index is not a number".to_string()))
        };
        if &*source.op == ARG_OP {
            return match (number(second)?, third) {
                (0, None) => Ok(Edge { node, output: 0 }),
                _ => Err("an argument is one tensor".into()),
            };
        }
        let arg = second.ok_or("the output of the node is not named")?;
        let interface = source.interface.as_ref().ok_or_else(|| {
            format!("op `{}` is unknown, so that its output `{arg}` cannot be numbered; save the model with its op definitions", source.op)
        })?;
        let attr = |name: &str| attr_or_default(source, interface, name);
        let output = interface.output_position(arg, number(third)?, &attr)?;
        Ok(Edge { node, output: u32::try_from(output).map_err(|_| "too many outputs")? })
    }

    /// Resolves a function; also returns the nodes of its body with state, which must stay.
    fn resolve(&self, def: &FunctionDef) -> Result<(Function, Vec<NodeId>)> {
        let signature = def.signature.clone().unwrap_or_default();
        let name: Arc<str> = signature.name.as_str().into();
        let place = format!("function `{name}`");
        let interface =
            self.signatures.get(&name).ok_or_else(|| ImportError::missing("function", &*name, Vec::new()))?;
        let mut args = Vec::new();
        let mut nodes = Vec::new();
        for (i, arg) in interface.inputs.iter().enumerate() {
            if !matches!(arg.types, ArgTypes::One(_)) {
                let what = format!(
                    "argument `{}` is a list; save the model from TensorFlow 2, which writes single ones",
                    arg.name
                );
                return Err(ImportError::unsupported(place, what));
            }
            let attrs =
                u32::try_from(i).ok().and_then(|i| def.arg_attr.get(&i)).map(|a| a.attr.clone()).unwrap_or_default();
            let dtype = arg.dtype(0, &|name| def.attr.get(name));
            let mut node_attrs = attrs.clone();
            let number = |v| AttrValue { value: Some(v) };
            node_attrs.insert("index".into(), number(Value::I(i as i64)));
            if let Some(dtype) = dtype {
                node_attrs.insert("T".into(), number(Value::Type(dtype.number())));
            }
            nodes.push(Node {
                name: arg.name.as_str().into(),
                op: ARG_OP.into(),
                device: String::new(),
                inputs: Vec::new(),
                control: Vec::new(),
                attrs: node_attrs,
                interface: builtin(ARG_OP).cloned(),
            });
            args.push(FunctionArg { name: arg.name.clone(), dtype, attrs, node: NodeId(i as u32) });
        }
        let body = self.body(def.node_def.clone(), nodes, &name)?;
        let mut rets = Vec::new();
        for arg in &interface.outputs {
            let fail = |what: String| ImportError::malformed(&*place, format!("result `{}`: {what}", arg.name));
            let text = def.ret.get(&arg.name).ok_or_else(|| fail("it is not bound to a tensor".into()))?;
            let edge = self.function_edge(&body, text).map_err(fail)?;
            rets.push(FunctionRet { name: arg.name.clone(), dtype: arg.dtype(0, &|name| def.attr.get(name)), edge });
        }
        let control = |text: &String| {
            let found = body.find(text.strip_prefix('^').unwrap_or(text));
            found.ok_or_else(|| {
                ImportError::malformed(&*place, format!("control result `{text}`: there is no such node"))
            })
        };
        let control_rets = def.control_ret.values().map(control).collect::<Result<Vec<_>>>()?;
        let has_state = |node: &Node| &*node.op != ARG_OP && node.interface.as_ref().is_none_or(|i| i.stateful);
        let stateful = body.iter().filter(|(_, node)| has_state(node)).map(|(id, _)| id).collect();
        Ok((Function { name, args, rets, control_rets, attrs: def.attr.clone(), body }, stateful))
    }

    /// Fills in defaults; checks the number of inputs and that each input is an output of its node.
    fn complete(&self, body: Body, function: &str) -> Result<Body> {
        let mut nodes = body.into_nodes();
        for node in &mut nodes {
            if let Some(interface) = &node.interface {
                for attr in &interface.attrs {
                    if let Some(default) = &attr.default
                        && !node.attrs.contains_key(&attr.name)
                    {
                        node.attrs.insert(attr.name.clone(), default.clone());
                    }
                }
            }
        }
        let counts: Vec<Option<usize>> = nodes.iter().map(outputs).collect();
        for node in &nodes {
            let fail = |what: String| {
                let name =
                    if function.is_empty() { node.name.to_string() } else { format!("{function}/{}", node.name) };
                Err(ImportError::node(name, &*node.op, what))
            };
            for edge in &node.inputs {
                let source = nodes.get(edge.node.index()).map_or("", |n| &n.name);
                if let Some(Some(count)) = counts.get(edge.node.index())
                    && edge.output as usize >= *count
                {
                    return fail(format!("input `{source}:{}`: that node has {count} outputs", edge.output));
                }
            }
            let Some(interface) = &node.interface else {
                continue;
            };
            match OpInterface::tensors(&interface.inputs, &|name| node.attrs.get(name)) {
                Ok(count) if count == node.inputs.len() => {}
                Ok(count) => {
                    return fail(format!("the op takes {count} inputs, the node has {}", node.inputs.len()));
                }
                // Inside a function that is generic in a list's length, the caller's attribute says it.
                Err(_) if !function.is_empty() => {}
                Err(what) => return fail(what),
            }
        }
        Ok(Body::new(nodes))
    }
}

/// How many outputs a node has, where its op says.
pub(crate) fn outputs(node: &Node) -> Option<usize> {
    let interface = node.interface.as_ref()?;
    OpInterface::tensors(&interface.outputs, &|name| attr_or_default(node, interface, name)).ok()
}

/// An attribute of a node, or what its op's definition gives where the node does not.
pub(crate) fn attr_or_default<'a>(node: &'a Node, interface: &'a OpInterface, name: &str) -> Option<&'a AttrValue> {
    node.attrs.get(name).or_else(|| interface.attrs.iter().find(|a| a.name == name)?.default.as_ref())
}

/// Calls `add` with every function that an attribute's value names, also in the attributes of those functions. The
/// depth is bounded by that of the file.
fn functions_of(value: &Value, add: &mut impl FnMut(&str)) {
    let mut queue = vec![value];
    while let Some(value) = queue.pop() {
        let funcs = match value {
            Value::Func(func) => std::slice::from_ref(&**func),
            Value::List(list) => &list.func,
            _ => continue,
        };
        for func in funcs {
            add(&func.name);
            queue.extend(func.attr.values().filter_map(|a| a.value.as_ref()));
        }
    }
}
