//! Which checkpoint key belongs to which variable: read off the graph that restores them.
//!
//! A saver's restore op leads, through control edges and function calls, to assignments of RestoreV2's outputs
//! to variables. The tensors in between are followed: function arguments to the caller's tensors, constants to
//! their values. This holds for TensorFlow 1 and 2, and does not depend on any naming.

use super::build::Library;
use super::error::Result;
use super::graph::{ARG_OP, Body, Edge, Function, Node, NodeId, TensorName};
use super::tensor::HostTensor;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// A tensor of a checkpoint, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The checkpoint's key.
    pub key: String,
    /// Shape and slice as RestoreV2 takes them; empty for the whole tensor.
    pub slice: String,
}

/// The contents of a table that the checkpoint holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLocation {
    /// The keys of the table.
    pub keys: Location,
    /// The values of the table.
    pub values: Location,
}

/// What a saver restores, by the node of the main graph that makes the variable or table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restores {
    /// Variables.
    pub variables: BTreeMap<String, Location>,
    /// Tables.
    pub tables: BTreeMap<String, TableLocation>,
}

/// Calls entered at most; more than any saver has, and a stop for functions that call one another in a circle.
const MAX_CALLS: usize = 10_000;
/// Calls inside of calls at most.
const MAX_CALL_DEPTH: usize = 64;
/// Identities and such between an assignment and what it assigns, at most.
const MAX_STEPS: usize = 1_000;

/// What is known of a tensor.
#[derive(Debug, Clone)]
enum Value {
    /// A variable or table, by its node in the main graph.
    Handle(Rc<str>),
    /// A tensor of the checkpoint.
    Restored(Location),
    /// A constant that consists of strings.
    Strings(Rc<Vec<String>>),
    Unknown,
}

/// A body that is being looked at: the main graph, or a function in one call.
struct Frame<'a> {
    body: &'a Body,
    args: Vec<Value>,
    depth: usize,
    /// The keys that each RestoreV2 reads; one may restore thousands of variables.
    restored: HashMap<NodeId, Rc<Vec<Location>>>,
}

struct Tracer<'a> {
    library: &'a Library,
    functions: HashMap<String, Option<Rc<Function>>>,
    calls: usize,
    /// How deep the search for a value is: the arguments of a call may come from another call, and so on.
    nesting: usize,
    out: Restores,
}

/// Follows the restore op of a saver.
///
/// What cannot be followed is left out: the variable is then looked for by its name. Errors: a function that cannot be
/// resolved.
pub fn trace(main: &Body, library: &Library, restore_op: &str) -> Result<Restores> {
    let mut tracer = Tracer { library, functions: HashMap::new(), calls: 0, nesting: 0, out: Restores::default() };
    let name = TensorName::parse(restore_op).map_or(restore_op.to_string(), |t| t.node);
    let Some(root) = main.find(name.trim_start_matches('^')) else {
        return Ok(tracer.out);
    };
    let mut frame = Frame { body: main, args: Vec::new(), depth: 0, restored: HashMap::new() };
    let mut seen = vec![false; main.nodes().len()];
    let mut queue = vec![root];
    while let Some(id) = queue.pop() {
        let (Some(node), Some(seen)) = (main.node(id), seen.get_mut(id.index())) else {
            continue;
        };
        if std::mem::replace(seen, true) {
            continue;
        }
        tracer.visit(&mut frame, node)?;
        queue.extend(node.inputs.iter().map(|e| e.node).chain(node.control.iter().copied()));
    }
    Ok(tracer.out)
}

impl Tracer<'_> {
    /// Looks at one node: an assignment is noted, a call entered.
    fn visit(&mut self, frame: &mut Frame, node: &Node) -> Result<()> {
        match (&*node.op, node.inputs.as_slice()) {
            ("AssignVariableOp" | "Assign", [target, value, ..]) => {
                if let (Value::Handle(target), Value::Restored(location)) =
                    (self.value(frame, *target)?, self.value(frame, *value)?)
                {
                    self.out.variables.insert(target.to_string(), location);
                }
            }
            ("LookupTableImportV2" | "LookupTableImport", [target, keys, values]) => {
                let target = self.value(frame, *target)?;
                let pair = (self.value(frame, *keys)?, self.value(frame, *values)?);
                if let (Value::Handle(target), (Value::Restored(keys), Value::Restored(values))) = (target, pair) {
                    self.out.tables.insert(target.to_string(), TableLocation { keys, values });
                }
            }
            _ => {
                if let Some(function) = self.callee(node)? {
                    self.call(frame, node, &function)?;
                }
            }
        }
        Ok(())
    }

    /// The function that a node calls.
    fn callee(&mut self, node: &Node) -> Result<Option<Rc<Function>>> {
        let name = match &*node.op {
            "PartitionedCall" | "StatefulPartitionedCall" => node.func("f").map_or("", |f| &f.name),
            op => op,
        };
        if let Some(known) = self.functions.get(name) {
            return Ok(known.clone());
        }
        let function = if self.library.has_function(name) { Some(Rc::new(self.library.function(name)?)) } else { None };
        self.functions.insert(name.to_string(), function.clone());
        Ok(function)
    }

    fn enter<'f>(&mut self, frame: &mut Frame, node: &Node, function: &'f Function) -> Result<Option<Frame<'f>>> {
        self.calls += 1;
        if self.calls > MAX_CALLS || frame.depth >= MAX_CALL_DEPTH {
            return Ok(None);
        }
        let args = node.inputs.iter().map(|edge| self.value(frame, *edge)).collect::<Result<Vec<_>>>()?;
        Ok(Some(Frame { body: &function.body, args, depth: frame.depth + 1, restored: HashMap::new() }))
    }

    fn call(&mut self, frame: &mut Frame, node: &Node, function: &Function) -> Result<()> {
        if let Some(mut inner) = self.enter(frame, node, function)? {
            for node in function.body.nodes() {
                self.visit(&mut inner, node)?;
            }
        }
        Ok(())
    }

    /// What is known of a tensor.
    fn value(&mut self, frame: &mut Frame, edge: Edge) -> Result<Value> {
        if self.nesting >= MAX_CALL_DEPTH {
            return Ok(Value::Unknown);
        }
        self.nesting += 1;
        let value = self.follow(frame, edge);
        self.nesting -= 1;
        value
    }

    fn follow(&mut self, frame: &mut Frame, edge: Edge) -> Result<Value> {
        let mut edge = edge;
        for _ in 0..MAX_STEPS {
            let Some(node) = frame.body.node(edge.node) else {
                break;
            };
            let first = node.inputs.first().copied();
            match (&*node.op, first) {
                ("Identity" | "EnsureShape" | "StopGradient" | "Reshape" | "ReadVariableOp", Some(input)) => {
                    edge = input
                }
                ("IdentityN", _) => match node.inputs.get(edge.output as usize) {
                    Some(input) => edge = *input,
                    None => break,
                },
                (ARG_OP, _) => {
                    let index = node.int("index").and_then(|i| usize::try_from(i).ok());
                    return Ok(index.and_then(|i| frame.args.get(i)).cloned().unwrap_or(Value::Unknown));
                }
                ("Const", _) => return Ok(strings(node)),
                ("RestoreV2", _) => return self.restored(frame, edge, node),
                (op, _) if makes_handle(op) => {
                    // A handle that a function makes is known only inside of it.
                    return Ok(if frame.depth == 0 {
                        Value::Handle(node.name.as_ref().into())
                    } else {
                        Value::Unknown
                    });
                }
                _ => {
                    let Some(function) = self.callee(node)? else {
                        break;
                    };
                    let Some(ret) = function.rets.get(edge.output as usize) else {
                        break;
                    };
                    return match self.enter(frame, node, &function)? {
                        Some(mut inner) => self.value(&mut inner, ret.edge),
                        None => Ok(Value::Unknown),
                    };
                }
            }
        }
        Ok(Value::Unknown)
    }

    fn restored(&mut self, frame: &mut Frame, edge: Edge, node: &Node) -> Result<Value> {
        if !frame.restored.contains_key(&edge.node) {
            let mut locations = Vec::new();
            if let [_, names, slices] = node.inputs.as_slice()
                && let (Value::Strings(names), Value::Strings(slices)) =
                    (self.value(frame, *names)?, self.value(frame, *slices)?)
            {
                let pairs = names.iter().zip(slices.iter());
                locations.extend(pairs.map(|(key, slice)| Location { key: key.clone(), slice: slice.clone() }));
            }
            frame.restored.insert(edge.node, Rc::new(locations));
        }
        let location = frame.restored.get(&edge.node).and_then(|l| l.get(edge.output as usize));
        Ok(location.cloned().map_or(Value::Unknown, Value::Restored))
    }
}

/// The ops that make a variable.
pub(crate) fn makes_variable(op: &str) -> bool {
    matches!(op, "VarHandleOp" | "VariableV2" | "Variable" | "_XlaAotOnlyVarHandleOp" | "TemporaryVariable")
}

/// The ops that make a table.
pub(crate) fn makes_table(op: &str) -> bool {
    op.contains("HashTable") || op == "_LookupTableHandle"
}

fn makes_handle(op: &str) -> bool {
    makes_variable(op) || makes_table(op)
}

fn strings(node: &Node) -> Value {
    let tensor = node.tensor("value").and_then(|t| HostTensor::from_proto(t, &node.name).ok());
    let texts = |s: &[Vec<u8>]| s.iter().map(|s| String::from_utf8(s.clone()).ok()).collect::<Option<Vec<_>>>();
    match tensor.as_ref().and_then(HostTensor::strings).and_then(texts) {
        Some(texts) => Value::Strings(Rc::new(texts)),
        None => Value::Unknown,
    }
}
