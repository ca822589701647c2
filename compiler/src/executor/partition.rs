//! Cuts a function into parts: segments that are compiled, and nodes that run on the host between them.
//!
//! Every node has a level: compiled nodes have even ones, host nodes odd ones, and a node's level is the smallest of its
//! kind that is not below those of what it needs (operands, symbols, earlier effects). The nodes of an even level are one
//! segment, so there are no more segments than alternations on the longest path.

use std::collections::HashMap;

use anyhow::{Context, Result};
use kiln_ir::graph::Def;
use kiln_ir::lower::Lower;
use kiln_ir::ops::constant::Const;
use kiln_ir::ops::control::callees;
use kiln_ir::{Dim, Effect, Function, Module, Node, NodeId, ParamKind, Symbol, TensorType, Value};

/// A part of a function, in the order in which parts run.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Nodes that are compiled together, in the function's order.
    Segment(Vec<NodeId>),
    /// A node that the host runs.
    Host(NodeId),
}

/// Why a node cannot be in a segment; `None` if it can. A conditional or a loop can if all that its functions hold can.
pub fn host_reason(module: &Module, f: &Function, n: &Node) -> Option<String> {
    let types: Vec<&TensorType> = n.inputs.iter().map(|&v| f.ty(v)).collect();
    let all = types.iter().copied().chain(n.outputs.iter().map(|&v| f.ty(v)));
    if let Some(t) = all.clone().find(|t| !t.dtype.is_plain() || t.dtype.is_complex()) {
        return Some(format!("kernels hold no {}", t.dtype));
    }
    match n.op.lower(&types) {
        _ if n.op.is::<Const>().is_some() => None,
        _ if n.op.effect() == Effect::Effect => Some("it has effects".into()),
        Lower::Control => {
            let inside = callees(&*n.op).0.into_iter().filter_map(|c| module.funcs.get(c)).find_map(|g| {
                g.nodes().find_map(|(_, m)| host_reason(module, g, m).map(|why| format!("op `{}`: {why}", m.op.name())))
            });
            inside.map(|why| format!("it calls what the host runs: {why}"))
        }
        Lower::Host => Some("no kernel computes it".into()),
        _ if n.outputs.len() != 1 => Some("kernels have one result".into()),
        _ => None,
    }
}

/// The parts of a function; `on_host` says of each node where it runs.
pub fn partition(f: &Function, on_host: &dyn Fn(NodeId) -> bool) -> Vec<Part> {
    let mut level = vec![0usize; f.node_count()];
    let mut bound_at: HashMap<Symbol, usize> = HashMap::new();
    let mut effects = 0;
    let mut parts: Vec<(usize, NodeId)> = vec![];
    for (id, n) in f.nodes() {
        if n.op.is::<Const>().is_some() {
            continue;
        }
        let host = on_host(id);
        let mut least = 0;
        for &v in &n.inputs {
            if let Def::Node(d, _) = f.def(v) {
                least = least.max(level[d.0 as usize]);
            }
        }
        let mut mentions = |d: &Dim| {
            d.for_each_symbol(&mut |s| least = least.max(bound_at.get(s).copied().unwrap_or(0)));
        };
        n.op.attrs().0.iter().for_each(|(_, a)| a.for_each_dim(&mut mentions));
        n.inputs.iter().chain(&n.outputs).for_each(|&v| f.ty(v).shape.iter().for_each(&mut mentions));
        if n.op.effect() == Effect::Effect {
            least = least.max(effects);
        }
        let at = if least % 2 == usize::from(host) { least } else { least + 1 };
        level[id.0 as usize] = at;
        if n.op.effect() == Effect::Effect {
            effects = at;
        }
        for s in n.outputs.iter().flat_map(|&v| &f.ty(v).shape).filter_map(Dim::as_symbol) {
            // A symbol that a parameter binds is there from the start; noting a later mention does no harm to it only
            // if the node is the first to hold it, which for those bound inside it is.
            if host {
                bound_at.entry(s.clone()).or_insert(at);
            }
        }
        parts.push((at, id));
    }
    // Stable: nodes of a level keep the function's order.
    parts.sort_by_key(|p| p.0);
    let mut out: Vec<(usize, Part)> = vec![];
    for (at, id) in parts {
        match out.last_mut() {
            _ if at % 2 == 1 => out.push((at, Part::Host(id))),
            Some((last, Part::Segment(nodes))) if *last == at => nodes.push(id),
            _ => out.push((at, Part::Segment(vec![id]))),
        }
    }
    out.into_iter().map(|p| p.1).collect()
}

/// A segment as a function of its own.
pub struct Segment {
    /// The function; its parameters and results are named by position.
    pub func: Function,
    /// What the whole function's values its parameters are.
    pub inputs: Vec<Value>,
    /// What values its results are.
    pub outputs: Vec<Value>,
    /// The whole function's node for each of its nodes; constants are copies.
    pub nodes: Vec<NodeId>,
}

/// Cuts the nodes of a segment out of a function. `needed_outside` says of a value whether anything else uses it.
///
/// # Errors
/// If the nodes use a value that is defined behind them.
pub fn cut(f: &Function, nodes: &[NodeId], needed_outside: &dyn Fn(Value) -> bool) -> Result<Segment> {
    let mut s = Segment { func: Function::new(&f.name), inputs: vec![], outputs: vec![], nodes: vec![] };
    let mut map: HashMap<Value, Value> = HashMap::new();
    let inside: std::collections::HashSet<NodeId> = nodes.iter().copied().collect();
    for &v in nodes.iter().flat_map(|&n| &f.node(n).inputs) {
        let outside = match f.def(v) {
            Def::Param(_) => true,
            Def::Node(d, _) => !inside.contains(&d) && f.node(d).op.is::<Const>().is_none(),
        };
        if outside && !map.contains_key(&v) {
            let p = s.func.add_param(&format!("i{}", s.inputs.len()), ParamKind::Input, f.ty(v).clone());
            map.insert(v, p);
            s.inputs.push(v);
        }
    }
    for &id in nodes {
        let n = f.node(id);
        for &v in &n.inputs {
            if !map.contains_key(&v)
                && let Def::Node(d, _) = f.def(v)
                && f.node(d).op.is::<Const>().is_some()
            {
                let c = f.node(d);
                let new = s.func.push(c.op.clone(), vec![], vec![f.ty(v).clone()], c.loc.clone());
                map.insert(v, s.func.node(new).outputs[0]);
                s.nodes.push(d);
            }
        }
        let inputs = n.inputs.iter().map(|v| map.get(v).copied().context("a segment uses a value that follows it"));
        let types = n.outputs.iter().map(|&v| f.ty(v).clone()).collect();
        let new = s.func.push(n.op.clone(), inputs.collect::<Result<_>>()?, types, n.loc.clone());
        s.nodes.push(id);
        for (old, &new) in n.outputs.iter().zip(&s.func.node(new).outputs) {
            map.insert(*old, new);
        }
    }
    for &v in nodes.iter().flat_map(|&n| &f.node(n).outputs) {
        if needed_outside(v) {
            s.func.add_result(&format!("o{}", s.outputs.len()), ParamKind::Input, map[&v]);
            s.outputs.push(v);
        }
    }
    Ok(s)
}
