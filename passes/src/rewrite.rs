//! Rewriting by rebuilding: a function's nodes are visited in order and copied or replaced.
//!
//! Because definitions precede uses, a visitor sees operands that are already rewritten, one sweep suffices, and it takes
//! time linear in the function. Types never change: a replacement has exactly the types of what it replaces, so the copied
//! nodes keep theirs. What becomes unused stays for the dead-code pass.

use anyhow::{Context, Result, bail};
use kiln_ir::ops::constant::Const;
use kiln_ir::{Builder, Function, Node, NodeId, Tensor, Value};

/// The place of a node, for messages.
pub fn origin(f: &Function, id: NodeId) -> String {
    let n = f.node(id);
    match &n.loc.node[..] {
        "" => format!("node {} ({})", id.0, n.op.name()),
        name => format!("node `{name}` ({}, {})", n.loc.tf_op, n.op.name()),
    }
}

/// The constant that a value is, if a `const` defines it.
pub fn constant(f: &Function, v: Value) -> Option<&Tensor> {
    f.def_node(v).and_then(|n| n.op.is::<Const>()).map(|c| &c.value)
}

/// A function on its way from old to new.
pub struct Rewriter<'a> {
    /// The function as it was.
    pub old: &'a Function,
    /// Builds the new one. Its location is that of the visited node.
    pub b: Builder,
    map: Vec<Option<Value>>,
}

impl Rewriter<'_> {
    /// The new value for an old one that has been visited.
    ///
    /// # Errors
    /// If it has not been: the old function uses a value before its definition.
    pub fn new_value(&self, old: Value) -> Result<Value> {
        match self.map.get(old.0 as usize).copied().flatten() {
            Some(v) => Ok(v),
            None => bail!("{old} is used before it is defined"),
        }
    }

    /// The node as it is, with new operands.
    pub fn copy(&mut self, node: &Node, inputs: Vec<Value>) -> Vec<Value> {
        let types = node.outputs.iter().map(|&v| self.old.ty(v).clone()).collect();
        let id = self.b.func.push(node.op.clone(), inputs, types, node.loc.clone());
        self.b.func.node(id).outputs.clone()
    }
}

/// Visits the nodes of a function in order. `visit` gets the node, as it was, and its operands in the new function; it
/// returns the values that replace the node's results, or `None` to keep the node. Tells whether one was replaced; if
/// none was, the function is left alone.
///
/// # Errors
/// If `visit` fails, or its replacement has other types than the node; the message names the node.
pub fn rebuild(
    f: &mut Function,
    mut visit: impl FnMut(&mut Rewriter<'_>, NodeId, &Node, &[Value]) -> Result<Option<Vec<Value>>>,
) -> Result<bool> {
    let old = &*f;
    let mut r = Rewriter { old, b: Builder::new(&old.name), map: vec![None; old.value_count()] };
    for p in &old.params {
        r.map[p.value.0 as usize] = Some(r.b.param(&p.name, p.kind.clone(), old.ty(p.value).clone()));
    }
    let mut changed = false;
    for (id, node) in old.nodes() {
        let mut step = || -> Result<()> {
            let inputs = node.inputs.iter().map(|&v| r.new_value(v)).collect::<Result<Vec<_>>>()?;
            r.b.loc = node.loc.clone();
            let outputs = match visit(&mut r, id, node, &inputs)? {
                None => r.copy(node, inputs),
                Some(new) => {
                    changed = true;
                    check_types(&r, node, &new)?;
                    new
                }
            };
            for (old, new) in node.outputs.iter().zip(outputs) {
                r.map[old.0 as usize] = Some(new);
            }
            Ok(())
        };
        step().with_context(|| origin(old, id))?;
    }
    if !changed {
        return Ok(false);
    }
    for res in &old.results {
        let v = r.new_value(res.value)?;
        r.b.func.add_result(&res.name, res.kind.clone(), v);
    }
    *f = r.b.func;
    Ok(true)
}

fn check_types(r: &Rewriter<'_>, node: &Node, new: &[Value]) -> Result<()> {
    if new.len() != node.outputs.len() {
        bail!("{} values replace {} results", new.len(), node.outputs.len());
    }
    for (&old, &new) in node.outputs.iter().zip(new) {
        if r.old.ty(old) != r.b.ty(new) {
            bail!("a value of {} replaces one of {}", r.b.ty(new), r.old.ty(old));
        }
    }
    Ok(())
}
