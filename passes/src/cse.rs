//! Common subexpressions: a pure node with the op, attributes (bit for bit) and operands of an earlier one is that one.
//! Operands of commutative operations compare in either order.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;
use kiln_ir::ops::pointwise::Binary;
use kiln_ir::{Attr, Attrs, Effect, Function, Module, Node, NodeId, Op, Tensor, Value};

use crate::manager::{Cx, Pass, each_function};
use crate::rewrite::rebuild;

/// Common subexpression elimination.
pub struct Cse;

impl Pass for Cse {
    fn name(&self) -> &'static str {
        "cse"
    }
    fn doc(&self) -> &'static str {
        "computes equal expressions once"
    }
    fn run(&self, m: &mut Module, cx: &mut Cx) -> Result<bool> {
        each_function(m, |f| {
            // Nodes of the new function by hash; rarely more than one each.
            let mut seen: HashMap<u64, Vec<NodeId>> = HashMap::new();
            rebuild(f, |r, _, node, inputs| {
                if node.op.effect() != Effect::Pure {
                    return Ok(None);
                }
                let (attrs, operands) = (node.op.attrs(), canonical(&*node.op, inputs));
                let same_types = |f: &Function, e: &Node| {
                    let types = e.outputs.iter().map(|&v| f.ty(v));
                    types.eq(node.outputs.iter().map(|&v| r.old.ty(v)))
                };
                let bucket = seen.entry(hash(node.op.name(), &attrs, &operands)).or_default();
                let equal = bucket.iter().map(|&id| r.b.func.node(id)).find(|e| {
                    e.op.name() == node.op.name()
                        && canonical(&*e.op, &e.inputs) == operands
                        && same(&e.op.attrs(), &attrs)
                        && same_types(&r.b.func, e)
                });
                if let Some(e) = equal {
                    let outputs = e.outputs.clone();
                    return Ok(cx.allow().then_some(outputs));
                }
                bucket.push(NodeId(r.b.func.node_count() as u32));
                Ok(None)
            })
        })
    }
}

/// The operands in an order that does not matter to the op.
fn canonical(op: &dyn Op, inputs: &[Value]) -> Vec<Value> {
    let mut inputs = inputs.to_vec();
    if op.is::<Binary>().is_some_and(|b| b.op.is_commutative()) {
        inputs.sort();
    }
    inputs
}

fn same(a: &Attrs, b: &Attrs) -> bool {
    a.0.len() == b.0.len() && a.0.iter().zip(&b.0).all(|(x, y)| x.0 == y.0 && x.1.same(&y.1))
}

fn hash(name: &str, attrs: &Attrs, operands: &[Value]) -> u64 {
    let mut h = DefaultHasher::new();
    name.hash(&mut h);
    operands.hash(&mut h);
    for (name, a) in &attrs.0 {
        name.hash(&mut h);
        match a {
            Attr::Bool(x) => x.hash(&mut h),
            Attr::Int(x) => x.hash(&mut h),
            Attr::Float(x) => x.to_bits().hash(&mut h),
            Attr::Word(x) | Attr::Str(x) => x.hash(&mut h),
            Attr::DType(x) => x.hash(&mut h),
            Attr::Ints(x) => x.hash(&mut h),
            Attr::Dims(x) => x.hash(&mut h),
            Attr::Tensor(t) => hash_tensor(t, &mut h),
            Attr::Func(x) => x.hash(&mut h),
            Attr::Funcs(x) => x.hash(&mut h),
            Attr::Types(x) => x.hash(&mut h),
        }
    }
    h.finish()
}

/// All of a small tensor, and samples of a large one: equality decides in the end.
fn hash_tensor(t: &Tensor, h: &mut DefaultHasher) {
    (t.dtype(), t.shape(), t.strings()).hash(h);
    let bytes = t.bytes();
    let stride = (bytes.len() / 4096).max(1);
    bytes.chunks(64).step_by(stride).for_each(|c| c.hash(h));
}
