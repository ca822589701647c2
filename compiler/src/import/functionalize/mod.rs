//! The control flow of TensorFlow 1 in functional form: Switch, Merge, Enter, Exit, NextIteration and LoopCond become
//! `If` and `While` nodes with functions for their branches, conditions and bodies.
//!
//! Whatever comes later knows only functional control flow. The way of a body through the modules:
//!
//! ```text
//! flow          the body in its working form
//! order         dependency order; cycles that are no loops
//! frames        which loop each node is in
//! loops         each frame into a While, the innermost first
//! switch_n      Switches of many outputs into ones of two
//! contexts      under which decisions each node runs
//! conds         the Merges of each decision into an If, the innermost first
//! outline       the nodes of a function as its body
//! ```
//!
//! A node runs if and only if it ran before, but that a branch that several `If`s need is computed in each. Only what
//! the results need is kept, with what has effects in a function's body. All of it is linear in the size of the graph
//! but for the depth of nesting, and works off queues.

mod conds;
mod contexts;
#[cfg(test)]
mod evaluate;
mod flow;
mod frames;
mod loops;
mod order;
mod outline;
mod switch_n;
#[cfg(test)]
mod tests;

use super::error::Result;
use super::graph::{Body, Edge, Function, NodeId, TfGraph};
use flow::{Flow, Kind, is_stateful};
use outline::Made;

/// What is asked of the main graph; [`functionalize`] moves it along.
#[derive(Debug, Default)]
pub struct Asked {
    /// The inputs' nodes; they stay whether or not something needs them.
    pub inputs: Vec<NodeId>,
    /// Tensors.
    pub fetches: Vec<Edge>,
    /// Nodes that must run; as many or fewer afterwards.
    pub targets: Vec<NodeId>,
}

/// Rewrites the main graph and all functions that hold control flow of TensorFlow 1; the others are left as they are.
///
/// Errors: control flow that is not that of conditionals and loops; the node where that shows is named.
pub fn functionalize(graph: &mut TfGraph, asked: &mut Asked) -> Result<()> {
    let has_old = |body: &Body| body.nodes().iter().any(|n| Kind::of(&n.op) != Kind::Plain);
    if !has_old(&graph.main) && !graph.functions().iter().any(|f| has_old(&f.body)) {
        return Ok(());
    }
    let (main, functions) = graph.take_parts();
    let mut made = Made::new(functions.iter().map(|f| f.name.clone()));
    let mut kept = Vec::with_capacity(functions.len());
    for function in functions {
        kept.push(if has_old(&function.body) { library_function(function, &mut made)? } else { function });
    }
    let main = if has_old(&main) {
        let flow = Flow::new("".into(), main.into_nodes());
        let flow = Flow {
            args: asked.inputs.clone(),
            fetches: asked.fetches.clone(),
            controls: asked.targets.clone(),
            ..flow
        };
        let flow = rewrite(flow, &mut made)?;
        *asked = Asked { inputs: flow.args, fetches: flow.fetches, targets: join(flow.controls, flow.effects) };
        Body::new(flow.nodes)
    } else {
        main
    };
    kept.append(&mut made.functions);
    graph.put_parts(main, kept);
    Ok(())
}

fn join(mut a: Vec<NodeId>, b: Vec<NodeId>) -> Vec<NodeId> {
    a.extend(b);
    a.sort_unstable();
    a.dedup();
    a
}

/// A function of the file's own: what has state in it runs even if no result needs it.
fn library_function(mut function: Function, made: &mut Made) -> Result<Function> {
    let flow = working_form(&mut function);
    let effects = flow.ids().filter(|&id| is_stateful(flow.node(id))).collect();
    let flow = rewrite(Flow { effects, ..flow }, made)?;
    Ok(put_back(function, flow))
}

/// Loops, then conditionals: those of the body and those of the loops' functions.
fn rewrite(flow: Flow, made: &mut Made) -> Result<Flow> {
    let mut flow = flow;
    if loops::has_loops(&flow) {
        let before = made.functions.len();
        flow = loops::rewrite(flow, made)?;
        for mut function in made.functions.split_off(before) {
            let inner = working_form(&mut function);
            let inner = if conds::has_conds(&inner) { conds::rewrite(inner, made)? } else { inner };
            made.functions.push(put_back(function, inner));
        }
    }
    if conds::has_conds(&flow) { conds::rewrite(flow, made) } else { Ok(flow) }
}

fn working_form(function: &mut Function) -> Flow {
    let body = std::mem::take(&mut function.body);
    Flow {
        args: function.args.iter().map(|a| a.node).collect(),
        fetches: function.rets.iter().map(|r| r.edge).collect(),
        controls: function.control_rets.clone(),
        ..Flow::new(function.name.clone(), body.into_nodes())
    }
}

fn put_back(function: Function, flow: Flow) -> Function {
    let mut function = function;
    for (arg, node) in function.args.iter_mut().zip(flow.args) {
        arg.node = node;
    }
    for (ret, edge) in function.rets.iter_mut().zip(flow.fetches) {
        ret.edge = edge;
    }
    function.control_rets = join(flow.controls, flow.effects);
    function.body = Body::new(flow.nodes);
    function
}
