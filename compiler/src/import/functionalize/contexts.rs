//! Under which decisions each node of a loop-free body runs, and what each Merge brings together.
//!
//! A context is a path of decisions (predicate, branch), each inside of the one before. A Switch opens two below its
//! own; a node is in the innermost context of what it takes; a Merge closes the two branches of a decision.

use super::super::error::Result;
use super::super::graph::{Edge, NodeId};
use super::super::proto::attr_value::Value;
use super::flow::{Flow, INT32, Kind, attr, op};
use std::collections::HashMap;

/// No decision.
pub(super) const ROOT: u32 = 0;
/// The context of what never runs: it would need both branches of one decision.
pub(super) const DEAD: u32 = u32::MAX;
/// Conditionals nest at most this deep.
const MAX_DEPTH: u32 = 1000;

/// A path of decisions, by its last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    /// The path without its last decision.
    pub parent: u32,
    /// The number of decisions.
    pub depth: u32,
    /// What decides: the tensor of which the Switches' predicates are copies.
    pub pred: Edge,
    /// Which way.
    pub taken: bool,
}

/// What a Merge is.
#[derive(Debug, Clone)]
pub(super) enum Join {
    /// Nothing comes to it.
    Dead,
    /// All but one of its inputs are dead: that one, and its number.
    Only(Edge, usize),
    /// The end of a conditional: what comes from its two branches, the false one first.
    Branches([Side; 2]),
}

/// What a Merge takes from a branch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub value: Edge,
    pub index: Index,
}

/// The `value_index` that a Merge gives for a branch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Index {
    /// The number of its input.
    Input(usize),
    /// That of another Merge.
    Of(NodeId),
}

/// The contexts of a body.
#[derive(Debug)]
pub(super) struct Contexts {
    /// All contexts, each after its parent.
    pub all: Vec<Context>,
    /// The context that each node runs in; a Switch's is that of its inputs.
    pub of: Vec<u32>,
    /// The contexts of a Switch's outputs.
    outputs: HashMap<NodeId, [u32; 2]>,
    /// The Merges.
    pub joins: HashMap<NodeId, Join>,
    /// The context of a decision.
    children: HashMap<(u32, Edge, bool), u32>,
}

/// For each node, the tensor of which its first output is a copy: through Identities and Switches.
pub(super) fn origins(flow: &Flow, order: &[NodeId]) -> Vec<Edge> {
    let mut out: Vec<Edge> = flow.ids().map(|node| Edge { node, output: 0 }).collect();
    for &id in order {
        let node = flow.node(id);
        let copies = matches!(flow.kind(id), Kind::Switch | Kind::SwitchN) || &*node.op == "Identity";
        if let (true, Some(edge)) = (copies, node.inputs.first()) {
            out[id.index()] = origin(&out, &flow.kinds, *edge);
        }
    }
    out
}

/// The tensor of which another is a copy, from the result of [`origins`].
pub(super) fn origin(origins: &[Edge], kinds: &[Kind], edge: Edge) -> Edge {
    let is_switch = matches!(kinds.get(edge.node.index()), Some(Kind::Switch | Kind::SwitchN));
    match origins.get(edge.node.index()) {
        Some(found) if is_switch || edge.output == 0 => *found,
        _ => edge,
    }
}

impl Contexts {
    /// Finds the contexts. A Merge of more than two branches gets further Merges for the inner decisions.
    ///
    /// Errors: nodes that take tensors of unrelated branches, Merges that do not end a conditional.
    pub fn new(flow: &mut Flow, order: &[NodeId], origins: &[Edge]) -> Result<Self> {
        let start = Edge { node: NodeId(0), output: 0 };
        let root = Context { parent: ROOT, depth: 0, pred: start, taken: false };
        let mut c = Self {
            all: vec![root],
            of: vec![ROOT; flow.nodes.len()],
            outputs: HashMap::new(),
            joins: HashMap::new(),
            children: HashMap::new(),
        };
        for &id in order {
            c.of[id.index()] = match flow.kind(id) {
                Kind::Merge => c.merge(flow, id)?,
                Kind::Trigger => c.trigger(flow, id),
                _ => c.innermost(flow, id)?,
            };
            if flow.kind(id) == Kind::Switch {
                let pred = origin(origins, &flow.kinds, flow.input(id, 1)?);
                let inside = c.of[id.index()];
                let both = [c.branch(flow, id, inside, pred, false)?, c.branch(flow, id, inside, pred, true)?];
                c.outputs.insert(id, both);
            }
        }
        Ok(c)
    }

    /// The context in which a tensor is there.
    pub fn of_edge(&self, edge: Edge) -> u32 {
        match self.outputs.get(&edge.node) {
            Some(both) => both[edge.output.min(1) as usize],
            None => self.of[edge.node.index()],
        }
    }

    pub fn depth(&self, context: u32) -> u32 {
        self.all.get(context as usize).map_or(0, |c| c.depth)
    }

    /// The context of a decision that a Switch or Merge of this body makes.
    pub fn child(&self, context: u32, pred: Edge, taken: bool) -> Option<u32> {
        self.children.get(&(context, pred, taken)).copied()
    }

    /// `inner` cut down to `depth` decisions.
    fn cut(&self, inner: u32, depth: u32) -> u32 {
        let mut at = inner;
        while self.depth(at) > depth {
            at = self.all[at as usize].parent;
        }
        at
    }

    /// What two contexts have in common.
    fn common(&self, a: u32, b: u32) -> u32 {
        let depth = self.depth(a).min(self.depth(b));
        let (mut a, mut b) = (self.cut(a, depth), self.cut(b, depth));
        while a != b {
            (a, b) = (self.all[a as usize].parent, self.all[b as usize].parent);
        }
        a
    }

    /// The context of one branch of a Switch on `pred`: one that is decided already is not decided again.
    fn branch(&mut self, flow: &Flow, id: NodeId, inside: u32, pred: Edge, taken: bool) -> Result<u32> {
        if inside == DEAD {
            return Ok(DEAD);
        }
        if let Some(&found) = self.children.get(&(inside, pred, taken)) {
            return Ok(found);
        }
        let mut at = inside;
        while at != ROOT {
            let context = self.all[at as usize];
            if context.pred == pred {
                return Ok(if context.taken == taken { inside } else { DEAD });
            }
            at = context.parent;
        }
        let depth = self.depth(inside) + 1;
        if depth > MAX_DEPTH {
            return Err(flow.fail(id, format!("conditionals nest deeper than {MAX_DEPTH}")));
        }
        let next = self.all.len() as u32;
        self.all.push(Context { parent: inside, depth, pred, taken });
        self.children.insert((inside, pred, taken), next);
        Ok(next)
    }

    /// The innermost context of what a node takes.
    fn innermost(&self, flow: &Flow, id: NodeId) -> Result<u32> {
        let node = flow.node(id);
        let data = node.inputs.iter().map(|e| (e.node, self.of_edge(*e)));
        let mut inside = ROOT;
        for (from, context) in data.chain(node.control.iter().map(|&c| (c, self.of[c.index()]))) {
            if context == inside {
                continue;
            }
            if context == DEAD || inside == DEAD {
                inside = DEAD;
                continue;
            }
            let common = self.common(inside, context);
            if common == inside {
                inside = context;
            } else if common != context {
                let below = |c: u32| self.all[self.cut(c, self.depth(common) + 1) as usize];
                let (a, b) = (below(inside), below(context));
                if a.pred != b.pred {
                    let [a, b] = [a, b].map(|c| &flow.node(c.pred.node).name);
                    return Err(flow.fail(
                        id,
                        format!("it takes `{}` of a branch on `{b}` and another of a branch on `{a}`, neither inside of the other", flow.node(from).name),
                    ));
                }
                inside = DEAD;
            }
        }
        Ok(inside)
    }

    /// A ControlTrigger runs however its inputs were decided.
    fn trigger(&self, flow: &Flow, id: NodeId) -> u32 {
        let contexts = flow.node(id).control.iter().map(|c| self.of[c.index()]).filter(|&c| c != DEAD);
        contexts.reduce(|a, b| self.common(a, b)).unwrap_or(ROOT)
    }

    /// Sorts the inputs of a Merge into the branches of a decision; gives the context around it.
    fn merge(&mut self, flow: &mut Flow, id: NodeId) -> Result<u32> {
        let inputs = flow.node(id).inputs.iter().map(|&e| (e, self.of_edge(e))).enumerate();
        let live: Vec<(usize, Edge, u32)> =
            inputs.filter(|(_, (_, c))| *c != DEAD).map(|(i, (edge, c))| (i, edge, c)).collect();
        match live.as_slice() {
            [] => {
                self.joins.insert(id, Join::Dead);
                Ok(DEAD)
            }
            [(i, edge, context)] => {
                self.joins.insert(id, Join::Only(*edge, *i));
                Ok(*context)
            }
            _ => self.split(flow, id, live),
        }
    }

    /// Divides the inputs of a Merge by the decision above all of them, and those of each branch again.
    fn split(&mut self, flow: &mut Flow, id: NodeId, live: Vec<(usize, Edge, u32)>) -> Result<u32> {
        // A set of inputs, the Merge that takes them, and the context that it is to be in.
        let mut queue = vec![(live, id, None)];
        let mut outer = ROOT;
        while let Some((set, merge, expected)) = queue.pop() {
            let around = set.iter().map(|s| s.2).reduce(|a, b| self.common(a, b)).unwrap_or(ROOT);
            if expected.is_some_and(|e| e != around) {
                return Err(self.partial(flow, id, around));
            }
            let depth = self.depth(around) + 1;
            let mut halves: [Vec<(usize, Edge, u32)>; 2] = Default::default();
            let mut pred = None;
            for (i, edge, context) in set {
                if context == around {
                    let from = &flow.node(edge.node).name;
                    return Err(flow.fail(
                        id,
                        format!("its input `{from}` is of no branch of a Switch that the others are not of"),
                    ));
                }
                let decision = self.all[self.cut(context, depth) as usize];
                if *pred.get_or_insert(decision.pred) != decision.pred {
                    let [a, b] = [pred.unwrap_or(decision.pred), decision.pred].map(|p| &flow.node(p.node).name);
                    return Err(flow.fail(id, format!("it takes a branch on `{a}` and one on `{b}`")));
                }
                halves[usize::from(decision.taken)].push((i, edge, context));
            }
            let mut sides = Vec::with_capacity(2);
            for half in halves {
                let inside = half.first().map(|h| self.cut(h.2, depth));
                match (half.as_slice(), inside) {
                    ([(i, edge, context)], Some(inside)) => {
                        if *context != inside {
                            return Err(self.partial(flow, id, *context));
                        }
                        sides.push(Side { value: *edge, index: Index::Input(*i) });
                    }
                    ([_, _, ..], Some(inside)) => {
                        let new = self.inner_merge(flow, id, &half, inside)?;
                        sides.push(Side { value: Edge { node: new, output: 0 }, index: Index::Of(new) });
                        queue.push((half, new, Some(inside)));
                    }
                    _ => return Err(flow.fail(id, "its inputs are all of one branch")),
                }
            }
            if let Ok(sides) = <[Side; 2]>::try_from(sides) {
                self.joins.insert(merge, Join::Branches(sides));
            }
            if merge == id {
                outer = around;
            }
        }
        Ok(outer)
    }

    fn inner_merge(&mut self, flow: &mut Flow, id: NodeId, half: &[(usize, Edge, u32)], inside: u32) -> Result<NodeId> {
        let dtype = flow.dtype(Edge { node: id, output: 0 })?;
        let name = format!("{}/of_{}", flow.node(id).name, half[0].0).into();
        let inputs: Vec<Edge> = half.iter().map(|h| h.1).collect();
        let attrs = [("T", attr(Value::Type(dtype))), ("N", attr(Value::I(inputs.len() as i64)))];
        let new = flow.push(op(name, "Merge", inputs, attrs), id);
        self.of.push(inside);
        Ok(new)
    }

    /// A branch gives its value only if a further decision falls its way.
    fn partial(&self, flow: &Flow, id: NodeId, context: u32) -> super::super::ImportError {
        let last = self.all[context as usize];
        let pred = &flow.node(last.pred.node).name;
        flow.fail(id, format!("a value comes to it only if `{pred}` is {}, and none otherwise", last.taken))
    }
}

/// The type of a Merge's second output.
pub(super) const INDEX_TYPE: i32 = INT32;
