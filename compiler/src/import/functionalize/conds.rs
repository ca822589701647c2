//! Conditionals: the Merges of one decision become one `If` with two functions, the innermost first.
//!
//! Nodes are taken in dependency order, Merges last: only when nothing else can be taken are all Merges of one decision
//! that can be, of those in the deepest context, made into an `If` together. None of these can depend on another, so
//! that they may share the branches; two Merges of one predicate that do depend on one another become two.
//! A branch's function holds what the Merges need of its context; what lies outside is handed to it, constants
//! are copied. A node that two `If`s need is in both.

use super::super::error::Result;
use super::super::graph::{Edge, NodeId};
use super::super::op_defs::builtin;
use super::super::proto::attr_value::Value;
use super::contexts::{Contexts, DEAD, INDEX_TYPE, Index, Join, ROOT, Side, origin, origins};
use super::flow::{Flow, Kind, Successors, attr, function, int_const, op, types};
use super::order::order;
use super::outline::{Made, Outline, Source, constant};
use super::switch_n;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

/// Whether a body has conditionals, or parts of them.
pub(super) fn has_conds(flow: &Flow) -> bool {
    flow.kinds.iter().any(|k| matches!(k, Kind::Switch | Kind::SwitchN | Kind::Merge | Kind::Trigger))
}

/// Rewrites all conditionals of a body without loops. Their functions are added to `made`, finished.
pub(super) fn rewrite(mut flow: Flow, made: &mut Made) -> Result<Flow> {
    let mut sorted = order(&flow)?;
    let mut copies = origins(&flow, &sorted);
    if flow.kinds.contains(&Kind::SwitchN) {
        let kinds = flow.kinds.clone();
        switch_n::expand(&mut flow, |edge| origin(&copies, &kinds, edge))?;
        sorted = order(&flow)?;
        copies = origins(&flow, &sorted);
    }
    let contexts = Contexts::new(&mut flow, &sorted, &copies)?;
    let mut conds = Conds::new(flow, contexts);
    conds.find_needed()?;
    conds.run(made)?;
    conds.finish()
}

/// What a node has become, if it is no longer itself.
#[derive(Debug, Clone, Copy)]
enum Stand {
    /// A Switch, or a Merge with one input: what comes to it.
    Same(Edge),
    /// An end of a conditional: its value, and its number if that is needed.
    Joined(Option<Edge>, Option<Edge>),
}

/// A decision: a predicate in a context.
type Decision = (u32, Edge);

/// Nodes that functions may hold more than the body has, as a multiple of that.
const MAX_COPIES: usize = 8;

struct Conds {
    flow: Flow,
    contexts: Contexts,
    /// Whether control edges from a node order effects.
    effects: Vec<bool>,
    /// The decision that each Merge of two branches ends.
    decisions: HashMap<NodeId, Decision>,
    /// Effects that no Merge needs, by the decision over them: what runs in the false branch, in the true one.
    sinks: HashMap<NodeId, [Vec<NodeId>; 2]>,
    needed: Vec<bool>,
    /// Merges whose `value_index` is used.
    index_used: HashSet<NodeId>,
    stands: Vec<Option<Stand>>,
    /// Which region each node was last put into.
    stamps: Vec<u32>,
    stamp: u32,
    budget: usize,
}

/// A branch of an `If` that is being made.
#[derive(Default)]
struct Branch {
    chosen: Vec<NodeId>,
    constants: HashSet<NodeId>,
    rets: Vec<Edge>,
    sinks: Vec<NodeId>,
}

/// What an `If` takes from around it.
#[derive(Default)]
struct Taken {
    edges: Vec<Edge>,
    index: HashMap<Edge, usize>,
    controls: Vec<NodeId>,
}

impl Conds {
    fn new(mut flow: Flow, contexts: Contexts) -> Self {
        let count = flow.nodes.len();
        let mut decisions = HashMap::new();
        for (&id, join) in &contexts.joins {
            if let Join::Branches([side, _]) = join {
                let around = contexts.of[id.index()];
                // A side is in a context just below, the one of the decision.
                let mut inside = contexts.of_edge(side.value);
                while contexts.depth(inside) > contexts.depth(around) + 1 {
                    inside = contexts.all[inside as usize].parent;
                }
                decisions.insert(id, (around, contexts.all[inside as usize].pred));
            }
        }
        let mut index_used: HashSet<NodeId> = HashSet::new();
        for edge in flow.nodes.iter().flat_map(|n| &n.inputs).chain(&flow.fetches) {
            if edge.output == 1 && flow.kind(edge.node) == Kind::Merge {
                index_used.insert(edge.node);
            }
        }
        // The outer of two Merges that belong together asks the inner one for its number.
        let mut queue: Vec<NodeId> = index_used.iter().copied().collect();
        while let Some(id) = queue.pop() {
            if let Some(Join::Branches(sides)) = contexts.joins.get(&id) {
                for side in sides {
                    if let Index::Of(inner) = side.index
                        && index_used.insert(inner)
                    {
                        queue.push(inner);
                    }
                }
            }
        }
        // What makes a trigger special is settled by its context.
        for node in flow.nodes.iter_mut().filter(|n| Kind::of(&n.op) == Kind::Trigger) {
            (node.op, node.interface) = ("NoOp".into(), builtin("NoOp").cloned());
        }
        Self {
            effects: flow.effects(),
            decisions,
            sinks: HashMap::new(),
            needed: vec![false; count],
            index_used,
            stands: vec![None; count],
            stamps: vec![0; count],
            stamp: 0,
            budget: count.saturating_mul(MAX_COPIES).saturating_add(10_000),
            flow,
            contexts,
        }
    }

    /// The nodes that a node needs: through data edges, and control edges that order effects.
    fn dependencies(&self, id: NodeId, add: &mut dyn FnMut(NodeId)) {
        let node = self.flow.node(id);
        match self.contexts.joins.get(&id) {
            Some(Join::Dead) => {}
            Some(Join::Only(edge, _)) => add(edge.node),
            Some(Join::Branches(sides)) => {
                sides.iter().for_each(|side| add(side.value.node));
                if let Some((_, pred)) = self.decisions.get(&id) {
                    add(pred.node);
                }
            }
            None => match (self.flow.kind(id), node.inputs.first()) {
                (Kind::Switch, Some(data)) => add(data.node),
                _ => node.inputs.iter().for_each(|e| add(e.node)),
            },
        }
        if let Some(sinks) = self.sinks.get(&id) {
            sinks.iter().flatten().for_each(|&s| add(s));
            if let Some((_, pred)) = self.decisions.get(&id) {
                add(pred.node);
            }
        }
        node.control.iter().filter(|c| self.effects[c.index()]).for_each(|&c| add(c));
    }

    fn mark(&mut self, mut queue: Vec<NodeId>) {
        while let Some(id) = queue.pop() {
            if !std::mem::replace(&mut self.needed[id.index()], true) {
                self.dependencies(id, &mut |from| queue.push(from));
            }
        }
    }

    /// Marks what is asked for. Nodes with effects in a branch from which nothing leads out get a Merge of their own.
    fn find_needed(&mut self) -> Result<()> {
        for &edge in &self.flow.fetches {
            self.check_outside(edge)?;
        }
        let controls = std::mem::take(&mut self.flow.controls);
        let (outer, inner): (Vec<NodeId>, Vec<NodeId>) =
            controls.into_iter().partition(|id| self.contexts.of[id.index()] == ROOT);
        let fetched = self.flow.fetches.iter().map(|e| e.node);
        let roots = fetched.chain(outer.iter().chain(&self.flow.args).copied()).collect();
        self.flow.controls = outer;
        self.mark(roots);
        let effects = std::mem::take(&mut self.flow.effects);
        let mut sinks: BTreeMap<(Reverse<u32>, u32, bool), Vec<NodeId>> = BTreeMap::new();
        let mut add = |c: &Contexts, id: NodeId, context: u32| {
            let last = c.all[context as usize];
            sinks.entry((Reverse(last.depth), context, last.taken)).or_default().push(id);
        };
        for id in inner.into_iter().chain(effects) {
            let context = self.contexts.of[id.index()];
            if self.needed[id.index()] || context == DEAD {
                continue;
            }
            self.mark(vec![id]);
            match context {
                ROOT => self.flow.effects.push(id),
                context => add(&self.contexts, id, context),
            }
        }
        // From the deepest on: each decision's own node is an effect in the context around.
        let mut ends: HashMap<Decision, NodeId> = HashMap::new();
        while let Some(((_, context, taken), ids)) = sinks.pop_first() {
            let last = self.contexts.all[context as usize];
            let decision = (last.parent, last.pred);
            let end = match ends.get(&decision) {
                Some(&end) => end,
                None => {
                    let near = ids[0];
                    let name = format!("{}/branch", self.flow.node(near).name).into();
                    let end = self.add(op(name, "NoOp", Vec::new(), []), near, last.parent);
                    ends.insert(decision, end);
                    self.decisions.insert(end, decision);
                    self.sinks.insert(end, Default::default());
                    match last.parent {
                        ROOT => self.flow.effects.push(end),
                        around => {
                            let outer = self.contexts.all[around as usize];
                            sinks.entry((Reverse(outer.depth), around, outer.taken)).or_default().push(end);
                        }
                    }
                    end
                }
            };
            if let Some(sides) = self.sinks.get_mut(&end) {
                sides[usize::from(taken)].extend(ids);
            }
        }
        let mut ends: Vec<NodeId> = ends.into_values().collect();
        ends.sort_unstable();
        self.mark(ends);
        Ok(())
    }

    /// Adds a node in a context.
    fn add(&mut self, node: super::super::graph::Node, near: NodeId, context: u32) -> NodeId {
        let id = self.flow.push(node, near);
        self.contexts.of.push(context);
        self.effects.push(true);
        self.needed.push(false);
        self.stands.push(None);
        self.stamps.push(0);
        id
    }

    /// Errors if a tensor that is asked for is there only sometimes.
    fn check_outside(&self, edge: Edge) -> Result<()> {
        let context = self.contexts.of_edge(edge);
        let when = match context {
            ROOT => return Ok(()),
            DEAD => "never".to_string(),
            context => {
                let last = self.contexts.all[context as usize];
                format!("only if `{}` is {}", self.flow.node(last.pred.node).name, last.taken)
            }
        };
        let output = edge.output;
        Err(self.flow.fail(edge.node, format!("its output {output} is asked for and is there {when}; ask for a Merge")))
    }

    /// Takes all needed nodes in order.
    fn run(&mut self, made: &mut Made) -> Result<()> {
        let count = self.flow.nodes.len();
        let successors = Successors::with(count, |id, add| {
            if self.needed[id.index()] {
                self.dependencies(id, add);
            }
        });
        let mut missing = vec![0u32; count];
        let mut plain = Vec::new();
        let mut waiting: HashMap<Decision, Vec<NodeId>> = HashMap::new();
        let mut heap: BinaryHeap<(u32, Reverse<NodeId>, Decision)> = BinaryHeap::new();
        for id in (0..count as u32).map(NodeId).filter(|id| self.needed[id.index()]) {
            self.dependencies(id, &mut |_| missing[id.index()] += 1);
            if missing[id.index()] == 0 {
                plain.push(id);
            }
        }
        let settle = |id: NodeId, missing: &mut Vec<u32>, ready: &mut Vec<NodeId>| {
            for &to in successors.of(id) {
                missing[to.index()] -= 1;
                if missing[to.index()] == 0 {
                    ready.push(to);
                }
            }
        };
        loop {
            while let Some(id) = plain.pop() {
                if let Some(&decision) = self.decisions.get(&id) {
                    let group = waiting.entry(decision).or_default();
                    if group.is_empty() {
                        heap.push((self.contexts.depth(decision.0), Reverse(id), decision));
                    }
                    group.push(id);
                    continue;
                }
                self.take(id)?;
                settle(id, &mut missing, &mut plain);
            }
            let Some((_, _, decision)) = heap.pop() else {
                break;
            };
            let mut merges = waiting.remove(&decision).unwrap_or_default();
            merges.sort_unstable_by_key(|id| (self.flow.position[id.index()], id.0));
            self.build(decision, &merges, made)?;
            merges.into_iter().for_each(|id| settle(id, &mut missing, &mut plain));
        }
        match (0..count as u32).map(NodeId).find(|id| missing[id.index()] > 0) {
            Some(id) => Err(self.flow.fail(id, "it is on a cycle of the graph that is not a loop's")),
            None => Ok(()),
        }
    }

    /// Settles what a Switch, or a Merge with one input, stands for.
    fn take(&mut self, id: NodeId) -> Result<()> {
        let (data, index) = match (self.flow.kind(id), self.contexts.joins.get(&id)) {
            (Kind::Switch, _) => (self.flow.input(id, 0)?, None),
            (_, Some(Join::Only(edge, index))) => (*edge, Some(*index)),
            _ => return Ok(()),
        };
        let mut value = self.resolve(data)?;
        let context = self.contexts.of[id.index()];
        if self.flow.node(id).control.iter().any(|c| self.effects[c.index()]) {
            // The effect must come first: a node is left to wait for it.
            let dtype = self.flow.dtype(Edge { node: id, output: 0 })?;
            let name = self.flow.node(id).name.clone();
            let mut node = op(name, "Identity", vec![data], [("T", attr(Value::Type(dtype)))]);
            node.control = self.flow.node(id).control.clone();
            value = Edge { node: self.add(node, id, context), output: 0 };
        }
        self.stands[id.index()] = Some(match index {
            Some(index) if self.index_used.contains(&id) => {
                let number = self.number(id, index, context);
                Stand::Joined(Some(value), Some(number))
            }
            Some(_) => Stand::Joined(Some(value), None),
            None => Stand::Same(value),
        });
        Ok(())
    }

    /// A constant for a `value_index`.
    fn number(&mut self, merge: NodeId, index: usize, context: u32) -> Edge {
        let name = format!("{}/value_index_{index}", self.flow.node(merge).name);
        Edge { node: self.add(int_const(name.into(), index as i32), merge, context), output: 0 }
    }

    /// The tensor that an edge has become.
    fn resolve(&self, edge: Edge) -> Result<Edge> {
        let found = match self.stands[edge.node.index()] {
            None => Some(edge),
            Some(Stand::Same(edge)) => Some(edge),
            Some(Stand::Joined(value, index)) => [value, index][edge.output.min(1) as usize],
        };
        found.ok_or_else(|| self.flow.fail(edge.node, format!("its output {} is needed and unknown", edge.output)))
    }

    /// The node that stands for the source of a control edge.
    fn resolve_control(&self, id: NodeId) -> NodeId {
        match self.stands[id.index()] {
            Some(Stand::Same(edge) | Stand::Joined(Some(edge), _) | Stand::Joined(None, Some(edge))) => edge.node,
            _ => id,
        }
    }

    /// The nodes that a node waits for.
    fn waits(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let control = self.flow.node(id).control.iter();
        control.filter(|c| self.effects[c.index()]).map(|&c| self.resolve_control(c))
    }

    /// Makes one `If` of Merges of a decision.
    fn build(&mut self, decision: Decision, merges: &[NodeId], made: &mut Made) -> Result<()> {
        let (around, pred) = decision;
        let named = merges[0];
        let mut branches: [Branch; 2] = Default::default();
        let mut dtypes = Vec::new();
        // The outputs of each Merge: its value, its number.
        let mut outputs: Vec<(NodeId, Option<u32>, Option<u32>)> = Vec::new();
        let mut taken = Taken::default();
        for &id in merges {
            taken.controls.extend(
                self.waits(id)
                    .filter(|&c| self.contexts.depth(self.contexts.of[c.index()]) <= self.contexts.depth(around)),
            );
            if let Some(Join::Branches(sides)) = self.contexts.joins.get(&id).cloned() {
                let value = dtypes.len() as u32;
                dtypes.push(self.flow.dtype(Edge { node: id, output: 0 })?);
                for (branch, side) in branches.iter_mut().zip(&sides) {
                    branch.rets.push(self.resolve(side.value)?);
                }
                let mut index = None;
                if self.index_used.contains(&id) {
                    index = Some(dtypes.len() as u32);
                    dtypes.push(INDEX_TYPE);
                    for (i, Side { index, .. }) in sides.into_iter().enumerate() {
                        let inside = self.contexts.child(around, pred, i == 1).unwrap_or(around);
                        let number = match index {
                            Index::Input(n) => self.number(id, n, inside),
                            Index::Of(inner) => self.resolve(Edge { node: inner, output: 1 })?,
                        };
                        branches[i].rets.push(number);
                    }
                }
                outputs.push((id, Some(value), index));
            } else {
                outputs.push((id, None, None));
            }
            if let Some(sinks) = self.sinks.get(&id) {
                for (branch, sinks) in branches.iter_mut().zip(sinks) {
                    branch.sinks.extend(sinks.iter().map(|&s| self.resolve_control(s)));
                }
            }
        }
        for (i, branch) in branches.iter_mut().enumerate() {
            let inside = self.contexts.child(around, pred, i == 1);
            self.walk(around, inside, branch, &mut taken, named)?;
        }
        let inputs: Vec<i32> = taken.edges.iter().map(|&e| self.flow.dtype(e)).collect::<Result<_>>()?;
        let mut names = Vec::new();
        let mut stateful = false;
        for (branch, part) in branches.iter().zip(["else", "then"]) {
            let chosen = branch.chosen.iter().chain(&branch.constants).copied().collect();
            let outline = Outline::new(&self.flow, inputs.clone(), &[], chosen, |id| {
                if branch.constants.contains(&id) {
                    return Ok(Default::default());
                }
                let sources = self.flow.node(id).inputs.iter().map(|e| self.source(branch, &taken, *e));
                Ok((sources.collect::<Result<_>>()?, self.waits(id).collect()))
            })?;
            stateful |= outline.is_stateful();
            let rets = branch.rets.iter().zip(&dtypes).map(|(e, &t)| Ok((self.source(branch, &taken, *e)?, t)));
            let rets = rets.collect::<Result<Vec<_>>>()?;
            let name = made.name(&format!("{}_{part}", self.flow.node(named).name));
            made.functions.push(outline.into_function(&self.flow, name.clone(), &rets, &branch.sinks)?);
            names.push(name);
        }
        let mut operands = vec![self.resolve(pred)?];
        let tcond = self.flow.dtype(operands[0])?;
        operands.extend(&taken.edges);
        let attrs = [
            ("Tcond", attr(Value::Type(tcond))),
            ("Tin", types(&inputs)),
            ("Tout", types(&dtypes)),
            ("then_branch", function(&names[1])),
            ("else_branch", function(&names[0])),
        ];
        let kind = if stateful { "If" } else { "StatelessIf" };
        let mut node = op(self.flow.node(named).name.clone(), kind, operands, attrs);
        taken.controls.sort_unstable();
        taken.controls.dedup();
        node.control = taken.controls;
        let id = self.add(node, named, around);
        for (merge, value, index) in outputs {
            let edge = |output: Option<u32>| output.map(|output| Edge { node: id, output });
            // What only has effects is waited for through the node itself.
            let value = edge(value).or(Some(Edge { node: id, output: 0 }));
            self.stands[merge.index()] = Some(Stand::Joined(value, edge(index)));
        }
        Ok(())
    }

    /// Collects what a branch needs.
    fn walk(
        &mut self,
        around: u32,
        inside: Option<u32>,
        branch: &mut Branch,
        taken: &mut Taken,
        named: NodeId,
    ) -> Result<()> {
        self.stamp += 1;
        let outer = self.contexts.depth(around);
        let mut edges = branch.rets.clone();
        let mut waits = branch.sinks.clone();
        let mut queue: Vec<NodeId> = Vec::new();
        loop {
            for edge in edges.drain(..) {
                let edge = self.resolve(edge)?;
                let context = self.contexts.of[edge.node.index()];
                if Some(context) == inside {
                    queue.push(edge.node);
                } else if context == DEAD || self.contexts.depth(context) > outer {
                    return Err(self.flow.fail(
                        edge.node,
                        format!(
                            "the branch that ends at `{}` needs it and may not have it",
                            self.flow.node(named).name
                        ),
                    ));
                } else if let Some(constant) = constant(&self.flow, edge) {
                    branch.constants.insert(constant.node);
                } else {
                    let next = taken.edges.len();
                    if *taken.index.entry(edge).or_insert(next) == next {
                        taken.edges.push(edge);
                    }
                }
            }
            for id in waits.drain(..) {
                let context = self.contexts.of[id.index()];
                if Some(context) == inside {
                    queue.push(id);
                } else if context != DEAD && self.contexts.depth(context) <= outer {
                    taken.controls.push(id);
                }
            }
            let Some(id) = queue.pop() else {
                return Ok(());
            };
            if self.stamps[id.index()] != self.stamp {
                self.stamps[id.index()] = self.stamp;
                self.budget = self
                    .budget
                    .checked_sub(1)
                    .ok_or_else(|| self.flow.fail(named, "too many conditionals share what their branches compute"))?;
                branch.chosen.push(id);
                edges.extend(&self.flow.node(id).inputs);
                waits.extend(self.waits(id));
            }
        }
    }

    /// Where a branch's function has a tensor.
    fn source(&self, branch: &Branch, taken: &Taken, edge: Edge) -> Result<Source> {
        let edge = self.resolve(edge)?;
        if let Some(&i) = taken.index.get(&edge) {
            return Ok(Source::Arg(i));
        }
        let copy = constant(&self.flow, edge).filter(|c| branch.constants.contains(&c.node));
        // A constant of the branch itself may have come in as one from outside would.
        Ok(Source::Node(copy.unwrap_or(edge)))
    }

    /// What is left: the nodes outside of all branches.
    fn finish(self) -> Result<Flow> {
        let flow = &self.flow;
        let mut chosen = Vec::new();
        let mut seen: HashSet<NodeId> = HashSet::new();
        let mut queue: Vec<NodeId> = flow.args.clone();
        for &edge in &flow.fetches {
            queue.push(self.resolve(edge)?.node);
        }
        queue.extend(flow.controls.iter().chain(&flow.effects).map(|&id| self.resolve_control(id)));
        while let Some(id) = queue.pop() {
            if seen.insert(id) {
                chosen.push(id);
                for &edge in &flow.node(id).inputs {
                    let edge = self.resolve(edge)?;
                    self.check_outside(edge)?;
                    queue.push(edge.node);
                }
                queue.extend(self.waits(id).filter(|c| self.contexts.of[c.index()] == ROOT));
            }
        }
        let outline = Outline::new(flow, Vec::new(), &flow.args, chosen, |id| {
            let inputs = flow.node(id).inputs.iter().map(|e| Ok(Source::Node(self.resolve(*e)?)));
            Ok((inputs.collect::<Result<_>>()?, self.waits(id).collect()))
        })?;
        let mut fetches = Vec::new();
        for &edge in &flow.fetches {
            let source = Source::Node(self.resolve(edge)?);
            fetches.push(outline.edge(source).ok_or_else(|| flow.fail(edge.node, "it is asked for and was lost"))?);
        }
        let nodes =
            |ids: &[NodeId]| outline.controls(&ids.iter().map(|&id| self.resolve_control(id)).collect::<Vec<_>>());
        let (controls, effects) = (nodes(&flow.controls), nodes(&flow.effects));
        let args = (0..flow.args.len() as u32).map(NodeId).collect();
        let nodes = outline.nodes;
        Ok(Flow { args, fetches, controls, effects, ..Flow::new(flow.function.clone(), nodes) })
    }
}
