//! Dead code: pure nodes whose results nothing needs are dropped, and the symbols that nothing mentions.
//!
//! A node whose result binds a symbol (a size that depends on data) is needed by whatever mentions the symbol.

use anyhow::Result;
use kiln_ir::ops::control::callees;
use kiln_ir::{Dim, Effect, Function, Module, Node, Symbol, Value};
use std::collections::{BTreeSet, HashMap};

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
        // What a function mentions its callers bind.
        let mentioned: Vec<BTreeSet<Symbol>> = m.funcs.iter().map(Function::symbols).collect();
        let changed = each_function(m, |f| Ok(drop_dead(f, &mentioned, cx)))?;
        Ok(changed | drop_symbols(m))
    }
}

/// For each symbol that a node of the function binds, the first value whose shape holds it alone.
fn binders(f: &Function) -> HashMap<Symbol, Value> {
    let mut found = HashMap::new();
    let mut of_params = BTreeSet::new();
    for p in &f.params {
        f.ty(p.value).shape.iter().for_each(|d| {
            d.for_each_symbol(&mut |s| {
                of_params.insert(s.clone());
            })
        });
    }
    for v in f.nodes().flat_map(|(_, n)| &n.outputs) {
        for s in f.ty(*v).shape.iter().filter_map(Dim::as_symbol) {
            if !of_params.contains(s) {
                found.entry(s.clone()).or_insert(*v);
            }
        }
    }
    found
}

fn drop_dead(f: &mut Function, mentioned: &[BTreeSet<Symbol>], cx: &mut Cx) -> bool {
    let mut needed = vec![false; f.value_count()];
    f.results.iter().for_each(|r| needed[r.value.0 as usize] = true);
    let binders = binders(f);
    let need_symbols = |needed: &mut Vec<bool>, f: &Function, n: &Node| {
        if binders.is_empty() {
            return;
        }
        let mut need = |s: &Symbol| {
            if let Some(v) = binders.get(s) {
                needed[v.0 as usize] = true;
            }
        };
        let types = n.inputs.iter().chain(&n.outputs).flat_map(|&v| &f.ty(v).shape);
        types.for_each(|d| d.for_each_symbol(&mut need));
        n.op.attrs().0.iter().for_each(|(_, a)| a.for_each_dim(&mut |d| d.for_each_symbol(&mut need)));
        callees(&*n.op).0.iter().filter_map(|&c| mentioned.get(c)).flatten().for_each(need);
    };
    f.results.iter().for_each(|r| {
        f.ty(r.value).shape.iter().for_each(|d| {
            d.for_each_symbol(&mut |s| {
                if let Some(v) = binders.get(s) {
                    needed[v.0 as usize] = true;
                }
            })
        });
    });
    // Users stand behind definitions, so one sweep from the end decides every node.
    let mut keep = vec![true; f.node_count()];
    let mut dropped = false;
    for (id, n) in f.nodes().rev() {
        let live = n.op.effect() == Effect::Effect || n.outputs.iter().any(|v| needed[v.0 as usize]);
        if live || !cx.allow() {
            n.inputs.iter().for_each(|v| needed[v.0 as usize] = true);
            need_symbols(&mut needed, f, n);
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
    let used: BTreeSet<Symbol> = m.funcs.iter().flat_map(Function::symbols).collect();
    let before = m.symbols.len();
    m.symbols.retain(|s, _| used.contains(s));
    m.symbols.len() != before
}
