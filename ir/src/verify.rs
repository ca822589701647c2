//! Checks a module against the invariants of the graph IR. Every violation is found in one run, up to a limit, and names
//! its function, node, TensorFlow op and, in a pipeline, the pass that has just run.
//!
//! | code | constraint |
//! |---|---|
//! | G01 | an operand is defined before its use, by a parameter or an earlier node |
//! | G02 | a node's result types are what its op infers |
//! | G03 | a node's operands satisfy its op's constraints (the op's own code follows) |
//! | G04 | a node has as many results as its op infers |
//! | G05 | every symbol in a type or attribute is declared in the module |
//! | G06 | functions have unique names, not empty |
//! | G07 | parameters have unique names within their function; so have outputs, and so have written variables |
//! | G08 | the new value of a variable has the name and type of a variable parameter |
//! | G09 | a result is a value of its function |
//! | G10 | an entry is a function of the module, listed once |
//! | G11 | a function attribute names a function of the module |
//! | G12 | a size in a type is not a negative number |
//! | G13 | a symbol's bounds are 0 <= min <= max |
//! | G14 | a value's definition and its parameter or node agree |
//! | G15 | a control op's operands and results agree with its functions' parameters and results in number, dtype and rank |
//! | G16 | functions do not call themselves, not by way of others either |

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::attr::Attr;
use crate::graph::{Def, Function, Loc, Module, Node, NodeId, ParamKind, TensorType, Value};
use crate::ops::control::{While, callees};

/// How many violations are collected before the verifier stops.
const MAX_VIOLATIONS: usize = 50;

/// A violated constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The constraint's number, `G01`.
    pub code: &'static str,
    /// What is wrong, with the types or values at hand.
    pub message: String,
    /// The function's index and name, if it lies in one.
    pub func: Option<(usize, String)>,
    /// The node, if it lies in one.
    pub node: Option<NodeId>,
    /// The mnemonic of the node's op; empty without a node.
    pub op: String,
    /// The node's origin.
    pub loc: Loc,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let Some((_, name)) = &self.func {
            write!(f, "\n    in @{name}")?;
        }
        if let Some(n) = self.node {
            write!(f, ", node {} ({})", n.0, self.op)?;
        }
        if !self.loc.node.is_empty() {
            write!(f, ", from `{}` ({})", self.loc.node, self.loc.tf_op)?;
        }
        Ok(())
    }
}

/// The violations of a module; not empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Violations {
    /// In the order of the module's text.
    pub list: Vec<Violation>,
    /// The pass after which they were found, if any.
    pub pass: Option<String>,
}

impl Violations {
    /// The same violations, found after a pass.
    pub fn after(self, pass: &str) -> Violations {
        Violations { pass: Some(pass.into()), ..self }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.list.len();
        write!(f, "the module is not valid")?;
        if let Some(pass) = &self.pass {
            write!(f, " after pass `{pass}`")?;
        }
        write!(f, ": {n} violation{}", if n == 1 { "" } else { "s" })?;
        if n >= MAX_VIOLATIONS {
            f.write_str(" (more are not shown)")?;
        }
        self.list.iter().try_for_each(|v| write!(f, "\n  {v}"))
    }
}

/// Checks a module; linear in its size.
///
/// # Errors
/// Every violated constraint, up to 50.
pub fn verify(m: &Module) -> Result<(), Violations> {
    let mut v = Verifier { m, list: vec![], at: None };
    v.module();
    for (i, f) in m.funcs.iter().enumerate() {
        v.function(i, f);
    }
    if v.list.is_empty() { Ok(()) } else { Err(Violations { list: v.list, pass: None }) }
}

struct Verifier<'a> {
    m: &'a Module,
    list: Vec<Violation>,
    /// The function, and the node in it, that is being checked.
    at: Option<(usize, &'a Function, Option<NodeId>)>,
}

impl<'a> Verifier<'a> {
    fn fail(&mut self, code: &'static str, message: impl Into<String>) {
        if self.list.len() >= MAX_VIOLATIONS {
            return;
        }
        let node = self.at.and_then(|(_, f, n)| Some((n?, f.node(n?))));
        self.list.push(Violation {
            code,
            message: message.into(),
            func: self.at.map(|(i, f, _)| (i, f.name.clone())),
            node: node.map(|n| n.0),
            op: node.map_or(String::new(), |n| n.1.op.name().into()),
            loc: node.map_or(Loc::default(), |n| n.1.loc.clone()),
        });
    }

    fn module(&mut self) {
        for (s, b) in &self.m.symbols {
            if b.min < 0 || b.max.is_some_and(|max| max < b.min) {
                self.fail("G13", format!("the bounds of symbol `{s}` are {b:?}"));
            }
        }
        let mut names = HashSet::new();
        for f in &self.m.funcs {
            if f.name.is_empty() || !names.insert(&f.name) {
                self.fail("G06", format!("the function name `{}` is empty or occurs twice", f.name));
            }
        }
        if let Err(cycle) = petgraph::algo::toposort(&call_graph(self.m), None) {
            let name = self.m.funcs.get(cycle.node_id().index()).map_or("", |f| &f.name);
            self.fail("G16", format!("@{name} calls itself"));
        }
        let mut entries = HashSet::new();
        for &e in &self.m.entries {
            if e >= self.m.funcs.len() || !entries.insert(e) {
                self.fail("G10", format!("entry {e} is out of range or listed twice"));
            }
        }
    }

    fn function(&mut self, index: usize, f: &'a Function) {
        self.at = Some((index, f, None));
        let mut names = HashSet::new();
        for (i, p) in f.params.iter().enumerate() {
            if !names.insert(&p.name) {
                self.fail("G07", format!("two parameters are named `{}`", p.name));
            }
            if !exists(f, p.value) || f.def(p.value) != Def::Param(i as u32) {
                self.fail("G14", format!("parameter `{}` does not define {}", p.name, p.value));
            } else {
                self.ty(f.ty(p.value));
            }
        }
        for (id, n) in f.nodes() {
            self.at = Some((index, f, Some(id)));
            self.node(f, id, n);
        }
        self.at = Some((index, f, None));
        self.results(f);
    }

    fn results(&mut self, f: &Function) {
        let mut names = HashSet::new();
        let variables = f.params.iter().filter(|p| p.kind == ParamKind::Variable && exists(f, p.value));
        let variables: HashMap<&str, &TensorType> = variables.map(|p| (&p.name[..], f.ty(p.value))).collect();
        for r in &f.results {
            if !names.insert((&r.name, r.kind == ParamKind::Variable)) {
                self.fail("G07", format!("two results are named `{}`", r.name));
            }
            if !exists(f, r.value) {
                self.fail("G09", format!("result `{}` is {}, which is not a value of the function", r.name, r.value));
                continue;
            }
            if r.kind == ParamKind::Variable {
                match variables.get(&r.name[..]) {
                    None => self.fail("G08", format!("there is no variable parameter `{}` to write", r.name)),
                    Some(&ty) if ty != f.ty(r.value) => {
                        let message = format!("variable `{}` is {ty}, its new value {}", r.name, f.ty(r.value));
                        self.fail("G08", message);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn node(&mut self, f: &Function, id: NodeId, n: &Node) {
        let before = |v: Value| match f.def(v) {
            Def::Param(_) => true,
            Def::Node(d, _) => d < id,
        };
        let undefined: Vec<Value> = n.inputs.iter().copied().filter(|&v| !exists(f, v) || !before(v)).collect();
        for &v in &undefined {
            self.fail("G01", format!("operand {v} is not defined before this node"));
        }
        for (i, &v) in n.outputs.iter().enumerate() {
            if !exists(f, v) || f.def(v) != Def::Node(id, i as u32) {
                self.fail("G14", format!("result {i} does not define {v}"));
                return;
            }
            self.ty(f.ty(v));
        }
        self.attrs(n);
        if undefined.is_empty() {
            self.types(f, n);
            self.calls(f, n);
        }
    }

    fn types(&mut self, f: &Function, n: &Node) {
        let operands: Vec<&TensorType> = n.inputs.iter().map(|&v| f.ty(v)).collect();
        let inferred = match n.op.infer(&operands) {
            Ok(t) => t,
            Err(e) => return self.fail("G03", e.to_string()),
        };
        if inferred.len() != n.outputs.len() {
            return self.fail("G04", format!("the op has {} results, the node {}", inferred.len(), n.outputs.len()));
        }
        for (i, (want, &v)) in inferred.iter().zip(&n.outputs).enumerate() {
            if want != f.ty(v) {
                self.fail("G02", format!("result {i} is {}, but the op infers {want}", f.ty(v)));
            }
        }
    }

    /// The functions of a control op take its operands and give its results.
    fn calls(&mut self, f: &Function, n: &Node) {
        let (callees, skip) = callees(&*n.op);
        let condition = |i: usize| n.op.is::<While>().is_some() && i == 0;
        let alike = |a: &TensorType, b: &TensorType| a.dtype == b.dtype && a.rank() == b.rank();
        for (i, index) in callees.into_iter().enumerate() {
            let Some(g) = self.m.funcs.get(index) else { continue };
            let given: Vec<&TensorType> = n.inputs.iter().skip(skip).map(|&v| f.ty(v)).collect();
            let takes: Vec<&TensorType> = g.params.iter().map(|p| g.ty(p.value)).collect();
            if given.len() != takes.len() || !given.iter().zip(&takes).all(|(a, b)| alike(a, b)) {
                self.fail("G15", format!("@{} takes {takes:?}, the node gives {given:?}", g.name));
            }
            let gives: Vec<&TensorType> =
                g.results.iter().filter(|r| exists(g, r.value)).map(|r| g.ty(r.value)).collect();
            if condition(i) {
                if !matches!(gives[..], [t] if t.dtype == crate::DType::Bool && t.rank() == 0) {
                    self.fail("G15", format!("the condition @{} gives {gives:?}, not one bool", g.name));
                }
                continue;
            }
            let wanted: Vec<&TensorType> = n.outputs.iter().map(|&v| f.ty(v)).collect();
            if gives.len() != wanted.len() || !gives.iter().zip(&wanted).all(|(a, b)| alike(a, b)) {
                self.fail("G15", format!("@{} gives {gives:?}, the node has {wanted:?}", g.name));
            }
        }
    }

    fn attrs(&mut self, n: &Node) {
        for (name, a) in n.op.attrs().0 {
            match a {
                Attr::Func(i) if i >= self.m.funcs.len() => {
                    self.fail("G11", format!("attribute `{name}` names function {i} of {}", self.m.funcs.len()));
                }
                Attr::Funcs(list) => {
                    for i in list.into_iter().filter(|&i| i >= self.m.funcs.len()) {
                        self.fail("G11", format!("attribute `{name}` names function {i} of {}", self.m.funcs.len()));
                    }
                }
                a => a.for_each_dim(&mut |d| self.symbols(d)),
            }
        }
    }

    fn ty(&mut self, ty: &TensorType) {
        for d in &ty.shape {
            match d.as_const() {
                Some(n) if n < 0 => self.fail("G12", format!("the type {ty} has a negative size")),
                Some(_) => {}
                None => self.symbols(d),
            }
        }
    }

    fn symbols(&mut self, d: &crate::Dim) {
        let m = self.m;
        let mut unknown = vec![];
        d.for_each_symbol(&mut |s| {
            if !m.symbols.contains_key(s) {
                unknown.push(s.clone());
            }
        });
        for s in unknown {
            self.fail("G05", format!("symbol `{s}` of `{d}` is not declared"));
        }
    }
}

/// Which function calls which; nodes are numbered as the functions are.
fn call_graph(m: &Module) -> petgraph::Graph<(), ()> {
    let mut g = petgraph::Graph::new();
    for _ in &m.funcs {
        g.add_node(());
    }
    for (i, f) in m.funcs.iter().enumerate() {
        for callee in f.nodes().flat_map(|(_, n)| callees(&*n.op).0).filter(|&c| c < m.funcs.len()) {
            g.add_edge((i as u32).into(), (callee as u32).into(), ());
        }
    }
    g
}

/// Whether a function has a value; every other access to values panics where it has not.
fn exists(f: &Function, v: Value) -> bool {
    (v.0 as usize) < f.value_count()
}

#[cfg(test)]
mod tests;
