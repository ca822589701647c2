//! The variables that a model reaches, and where their values lie. Values are read when they are asked for.
//!
//! A variable's value is looked for under these keys, and the first that the checkpoint has is taken:
//! - the one that the saver's graph assigns to it;
//! - the variable's shared name, then its node's name (a TensorFlow 1 checkpoint);
//! - the key that the checkpoint's objects give for one of these names, if only one of them has it;
//! - the key of the object that is bound to the variable's place among a function's inputs.

use super::checkpoint::Checkpoint;
use super::dtype::TfDType;
use super::error::{ImportError, Result};
use super::feeds::{PartialShape, partial_shape};
use super::graph::{Body, Node, TfGraph};
use super::proto::{SavedObjectGraph, TrackableObjectGraph};
use super::restore::{Location, Restores, TableLocation, makes_variable};
use super::tensor::HostTensor;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// The variables of a model with their values' places.
#[derive(Debug, Clone, Default)]
pub struct VariableSource {
    checkpoint: Option<Arc<Checkpoint>>,
    variables: BTreeMap<String, Variable>,
    tables: BTreeMap<String, TableLocation>,
}

/// A variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// The op that makes it: `VarHandleOp`, or a reference variable's.
    pub op: String,
    /// The name under which TensorFlow shares it; often empty.
    pub shared_name: String,
    /// Its type.
    pub dtype: Option<TfDType>,
    /// Its shape, as far as the graph knows it.
    pub shape: PartialShape,
    /// Where its value lies; `None` if no checkpoint has it (an initializer may).
    pub location: Option<Location>,
}

impl VariableSource {
    /// The variables, by their nodes' names; those that a function's body makes as `function/node`.
    pub fn variables(&self) -> &BTreeMap<String, Variable> {
        &self.variables
    }

    /// The tables whose contents lie in the checkpoint, by their nodes' names.
    pub fn tables(&self) -> &BTreeMap<String, TableLocation> {
        &self.tables
    }

    /// The checkpoint, if there is one.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_deref()
    }

    /// Reads the value of a variable.
    ///
    /// Errors: no such variable, none in the checkpoint, a damaged file, a value of another type or shape.
    pub fn read(&self, name: &str) -> Result<HostTensor> {
        let names = || self.variables.keys().cloned().collect();
        let variable = self.variables.get(name).ok_or_else(|| ImportError::missing("variable", name, names()))?;
        let fail = |what: String| ImportError::node(name, &*variable.op, what);
        let Some(checkpoint) = &self.checkpoint else {
            return Err(fail(
                "its value is asked for and there is no checkpoint; give one with --checkpoint_path".into(),
            ));
        };
        let Some(location) = &variable.location else {
            return Err(fail(format!("the checkpoint {} has no value for it", checkpoint.prefix().display())));
        };
        let value = checkpoint.read_slice(&location.key, &location.slice)?;
        if let Some(dtype) = variable.dtype
            && dtype != value.dtype
        {
            return Err(fail(format!("it is of type {dtype}, its value `{}` of type {}", location.key, value.dtype)));
        }
        if let Some(shape) = &variable.shape {
            let fits = shape.len() == value.shape.len()
                && shape.iter().zip(&value.shape).all(|(a, b)| a.is_none_or(|a| a == *b));
            if !fits {
                return Err(fail(format!(
                    "its shape does not admit its value `{}` of shape {:?}",
                    location.key, value.shape
                )));
            }
        }
        Ok(value)
    }

    /// Reads keys and values of a table.
    pub fn read_table(&self, name: &str) -> Result<(HostTensor, HostTensor)> {
        let names = || self.tables.keys().cloned().collect();
        let table = self.tables.get(name).ok_or_else(|| ImportError::missing("table", name, names()))?;
        let checkpoint =
            self.checkpoint.as_ref().ok_or_else(|| ImportError::missing("checkpoint for table", name, Vec::new()))?;
        let read = |l: &Location| checkpoint.read_slice(&l.key, &l.slice);
        Ok((read(&table.keys)?, read(&table.values)?))
    }

    /// Finds the variables of a graph and their places.
    pub(crate) fn new(graph: &TfGraph, finder: Finder) -> Self {
        let main = graph.main.nodes().iter().map(|n| (n.name.to_string(), n));
        let inner = graph
            .functions()
            .iter()
            .flat_map(|f| f.body.nodes().iter().map(move |n| (format!("{}/{}", f.name, n.name), n)));
        let mut variables = BTreeMap::new();
        for (name, node) in main.chain(inner).filter(|(_, n)| makes_variable(&n.op)) {
            let variable = Variable {
                op: node.op.to_string(),
                shared_name: node.text("shared_name").unwrap_or_default().into(),
                dtype: node.dtype("dtype"),
                shape: declared_shape(node),
                location: finder.find(&name, node),
            };
            variables.insert(name, variable);
        }
        let reached = |name: &String| graph.main.find(name).is_some();
        let tables = finder.restores.tables.into_iter().filter(|(name, _)| reached(name)).collect();
        Self { checkpoint: finder.checkpoint.map(Arc::new), variables, tables }
    }
}

/// All that tells where variables' values lie.
pub(crate) struct Finder {
    checkpoint: Option<Checkpoint>,
    restores: Restores,
    names: Names,
    /// Keys by the main graph's nodes, from the objects.
    bound: HashMap<String, String>,
}

impl Finder {
    /// `main` is the whole main graph.
    pub fn new(
        main: &Body,
        checkpoint: Option<Checkpoint>,
        restores: Restores,
        objects: Option<&SavedObjectGraph>,
    ) -> Result<Self> {
        let tracked = checkpoint.as_ref().map_or(Ok(None), Checkpoint::object_graph)?;
        let names = tracked.as_ref().map(Names::new).unwrap_or_default();
        let bound = match (objects, &tracked) {
            (Some(objects), Some(tracked)) => bound_keys(main, objects, tracked),
            _ => HashMap::new(),
        };
        Ok(Self { checkpoint, restores, names, bound })
    }

    /// The place of the value of the variable that a node makes; `name` is the node's, with its function's before it.
    pub fn find(&self, name: &str, node: &Node) -> Option<Location> {
        let checkpoint = self.checkpoint.as_ref()?;
        let whole = |key: &str| Location { key: key.into(), slice: String::new() };
        let by_name = [node.text("shared_name").unwrap_or_default(), &node.name].into_iter().filter(|n| !n.is_empty());
        let traced = self.restores.variables.get(name).cloned();
        let mut candidates = traced
            .into_iter()
            .chain(by_name.clone().map(whole))
            .chain(by_name.filter_map(|n| self.names.key(n)).map(whole))
            .chain(self.bound.get(name).map(|key| whole(key)));
        candidates.find(|l| checkpoint.tensor(&l.key).is_some())
    }
}

fn declared_shape(node: &Node) -> PartialShape {
    let shape = partial_shape(node.shape("shape")?);
    // Old reference variables of unknown shape say `[]`, and are not checked.
    if &*node.op == "Variable" && shape.as_ref().is_some_and(Vec::is_empty) { None } else { shape }
}

/// Keys by the names that variables had in a graph.
#[derive(Default)]
struct Names {
    /// `None` for a name that two values have.
    keys: HashMap<String, Option<String>>,
}

impl Names {
    fn new(tracked: &TrackableObjectGraph) -> Self {
        let mut keys: HashMap<String, Option<String>> = HashMap::new();
        for value in tracked.nodes.iter().flat_map(|n| &n.attributes).filter(|v| !v.full_name.is_empty()) {
            let key = Some(value.checkpoint_key.clone());
            // A second value of the name makes it useless.
            keys.entry(value.full_name.clone()).and_modify(|k| *k = None).or_insert(key);
        }
        Self { keys }
    }

    fn key(&self, name: &str) -> Option<&str> {
        self.keys.get(name)?.as_deref()
    }
}

/// The name of a variable's value among the attributes of its object.
const VARIABLE_VALUE: &str = "VARIABLE_VALUE";

/// Keys by the main graph's handle nodes, found through the objects: the last inputs of a call of a traced function are
/// the objects that it is bound to, and an object of the SavedModel is the checkpoint's object of the same path.
fn bound_keys(main: &Body, objects: &SavedObjectGraph, tracked: &TrackableObjectGraph) -> HashMap<String, String> {
    let keys = object_keys(objects, tracked);
    let mut out = HashMap::new();
    for node in main.nodes() {
        let Some(function) = node.func("f").and_then(|f| objects.concrete_functions.get(&f.name)) else {
            continue;
        };
        let Some(first) = node.inputs.len().checked_sub(function.bound_inputs.len()) else {
            continue;
        };
        for (edge, object) in node.inputs.iter().skip(first).zip(&function.bound_inputs) {
            if let (Some(handle), Some(key)) = (main.node(edge.node), keys.get(object)) {
                out.insert(handle.name.to_string(), key.clone());
            }
        }
    }
    out
}

/// Walks both graphs of objects from their roots by the names of children.
fn object_keys(objects: &SavedObjectGraph, tracked: &TrackableObjectGraph) -> HashMap<i32, String> {
    let mut keys = HashMap::new();
    let mut seen = HashSet::from([0]);
    let mut queue = VecDeque::from([(0i32, 0i32)]);
    while let Some((saved, stored)) = queue.pop_front() {
        let at = |i: i32| usize::try_from(i).ok();
        let (Some(a), Some(b)) =
            (at(saved).and_then(|i| objects.nodes.get(i)), at(stored).and_then(|i| tracked.nodes.get(i)))
        else {
            continue;
        };
        if let Some(value) = b.attributes.iter().find(|v| v.name == VARIABLE_VALUE) {
            keys.insert(saved, value.checkpoint_key.clone());
        }
        let children: HashMap<&str, i32> = b.children.iter().map(|c| (c.local_name.as_str(), c.node_id)).collect();
        for child in &a.children {
            if let Some(partner) = children.get(child.local_name.as_str())
                && seen.insert(child.node_id)
            {
                queue.push_back((child.node_id, *partner));
            }
        }
    }
    keys
}
