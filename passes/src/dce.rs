//! Dead code: pure nodes whose results nothing needs are dropped, and the symbols that nothing mentions.

use anyhow::Result;
use kiln_ir::{Attr, Effect, Function, Module, Value};
use std::collections::BTreeSet;

use crate::manager::{Cx, Pass, each_function};

/// Dead code elimination.
pub struct Dce;

impl Pass for Dce {
    fn name(&self) -> &'static str {
        "dce"
    }
    fn doc(&self) -> &'static str {
        "drops nodes whose results nothing needs, and unused symbols"
    }
    fn run(&self, m: &mut Module, cx: &mut Cx) -> Result<bool> {
        let changed = each_function(m, |f| Ok(drop_dead(f, cx)))?;
        Ok(changed | drop_symbols(m))
    }
}

fn drop_dead(f: &mut Function, cx: &mut Cx) -> bool {
    let mut needed = vec![false; f.value_count()];
    f.results.iter().for_each(|r| needed[r.value.0 as usize] = true);
    // Users stand behind definitions, so one sweep from the end decides every node.
    let mut keep = vec![true; f.node_count()];
    let mut dropped = false;
    for (id, n) in f.nodes().rev() {
        let live = n.op.effect() == Effect::Effect || n.outputs.iter().any(|v| needed[v.0 as usize]);
        if live || !cx.allow() {
            n.inputs.iter().for_each(|v| needed[v.0 as usize] = true);
        } else {
            keep[id.0 as usize] = false;
            dropped = true;
        }
    }
    if !dropped {
        return false;
    }
    let mut out = Function::new(&f.name);
    let mut map = vec![Value(u32::MAX); f.value_count()];
    for p in &f.params {
        map[p.value.0 as usize] = out.add_param(&p.name, p.kind.clone(), f.ty(p.value).clone());
    }
    for (id, n) in f.nodes().filter(|(id, _)| keep[id.0 as usize]) {
        let inputs = n.inputs.iter().map(|v| map[v.0 as usize]).collect();
        let types = n.outputs.iter().map(|&v| f.ty(v).clone()).collect();
        let new = out.push(n.op.clone(), inputs, types, n.loc.clone());
        for (old, &new) in f.node(id).outputs.iter().zip(&out.node(new).outputs) {
            map[old.0 as usize] = new;
        }
    }
    for r in &f.results {
        out.add_result(&r.name, r.kind.clone(), map[r.value.0 as usize]);
    }
    *f = out;
    true
}

fn drop_symbols(m: &mut Module) -> bool {
    let mut used = BTreeSet::new();
    let mut note = |d: &kiln_ir::Dim| {
        if d.as_const().is_none() {
            d.for_each_symbol(&mut |s| {
                used.insert(s.clone());
            });
        }
    };
    for f in &m.funcs {
        (0..f.value_count()).for_each(|v| f.ty(Value(v as u32)).shape.iter().for_each(&mut note));
        for (_, a) in f.nodes().flat_map(|(_, n)| n.op.attrs().0) {
            if let Attr::Dims(dims) = a {
                dims.iter().for_each(&mut note);
            }
        }
    }
    let before = m.symbols.len();
    m.symbols.retain(|s, _| used.contains(s));
    m.symbols.len() != before
}
