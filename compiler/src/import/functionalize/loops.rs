//! Loops: each frame becomes one `While` with two functions, the innermost frames first.
//!
//! A loop's variables are its Merges with a NextIteration; the other input is an Enter, whose tensor is the first
//! value. What else comes in (a constant Enter, or a tensor of a frame around) does not change: it becomes a further
//! variable that is passed on, or a copy in the functions if it is a constant. Three regions of a frame are walked
//! against the edges, each ending at the variables: from the LoopCond (the condition), from the NextIterations (the
//! body), and from the Exits. What stands between a variable and an Exit runs once, after the loop.
//! Conditionals are left as they are, with the control edges that tell their branches.

use super::super::error::Result;
use super::super::graph::{Edge, NodeId};
use super::flow::{Flow, Kind, function, op, types};
use super::frames::Frames;
use super::order::order;
use super::outline::{Made, Outline, Source, constant};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Whether a body has loops, or parts of them.
pub(super) fn has_loops(flow: &Flow) -> bool {
    flow.kinds.iter().any(|k| matches!(k, Kind::Enter | Kind::Exit | Kind::NextIteration | Kind::LoopCond))
}

/// Rewrites all loops. Their functions are added to `made`; these may hold conditionals.
pub(super) fn rewrite(flow: Flow, made: &mut Made) -> Result<Flow> {
    let order = order(&flow)?;
    let mut frames = Frames::new(&flow, &order)?;
    let mut ends = HashSet::new();
    if !flow.ids().filter(|&id| flow.kind(id) == Kind::LoopCond).all(|id| ends.insert(frames.of(id))) {
        frames.divide(&flow);
    }
    let mut loops = Loops::new(flow, frames, &order)?;
    loops.find_needed()?;
    let mut by_depth: Vec<u32> = (1..loops.frames.all.len() as u32).collect();
    by_depth.sort_by_key(|&f| std::cmp::Reverse(loops.frames.depth(f)));
    for frame in by_depth {
        if !loops.exits[frame as usize].is_empty() || !loops.sinks[frame as usize].is_empty() {
            loops.rewrite_frame(frame, made)?;
        }
    }
    loops.finish()
}

/// A part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Region {
    Condition = 1,
    Body = 2,
    Exit = 4,
}

/// What a tensor of a frame is, seen from a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// A variable, by its Merge.
    Variable(NodeId),
    /// A tensor of a frame around.
    Outside(Edge),
    /// A node of the region.
    Inside(Edge),
}

/// A Switch and such may follow one another at most this often.
const MAX_STEPS: usize = 256;

struct Loops {
    flow: Flow,
    frames: Frames,
    /// LoopConds, and what only passes one on.
    is_loop_cond: Vec<bool>,
    /// Merges with a NextIteration.
    is_variable: Vec<bool>,
    /// Nodes from which control edges matter: effects, and whatever a conditional decides.
    keep_control: Vec<bool>,
    /// Nodes that run in the turns that go on, not in the last.
    in_body: Vec<bool>,
    needed: Vec<bool>,
    /// The needed Exits of each frame.
    exits: Vec<Vec<NodeId>>,
    /// Nodes of each frame that must run although no tensor needs them.
    sinks: Vec<Vec<NodeId>>,
    loop_conds: Vec<Vec<NodeId>>,
    /// What an Exit has become.
    exit_values: HashMap<NodeId, Edge>,
    /// The regions that a node is in.
    regions: Vec<u8>,
}

/// A frame that is being rewritten.
struct Loop {
    frame: u32,
    cond: NodeId,
    variables: Vec<NodeId>,
    variable_index: HashMap<NodeId, usize>,
    /// Tensors of frames around that are passed through.
    outside: Vec<Edge>,
    outside_index: HashMap<Edge, usize>,
    /// The nodes of each region (condition, body, exits), constants from outside included.
    chosen: [Vec<NodeId>; 3],
    constants: [BTreeSet<NodeId>; 3],
    /// Nodes outside that must run before the loop.
    controls: Vec<NodeId>,
    /// Nodes that must run in each turn, by region.
    sinks: [Vec<NodeId>; 2],
}

impl Region {
    fn slot(self) -> usize {
        (self as usize).ilog2() as usize
    }
}

impl Loops {
    fn new(flow: Flow, frames: Frames, order: &[NodeId]) -> Result<Self> {
        let count = flow.nodes.len();
        let mut is_loop_cond = vec![false; count];
        let mut is_variable = vec![false; count];
        let mut in_body = vec![false; count];
        let mut loop_conds = vec![Vec::new(); frames.all.len()];
        for &id in order {
            let (kind, node, i) = (flow.kind(id), flow.node(id), id.index());
            let next = |e: &Edge| flow.kind(e.node) == Kind::NextIteration;
            is_loop_cond[i] = kind == Kind::LoopCond
                || &*node.op == "Identity" && node.inputs.first().is_some_and(|e| is_loop_cond[e.node.index()]);
            is_variable[i] = kind == Kind::Merge && node.inputs.iter().any(next);
            if kind == Kind::LoopCond {
                loop_conds[frames.of(id) as usize].push(id);
            }
            let loop_switch = |id: NodeId| {
                let pred = flow.node(id).inputs.get(1);
                flow.kind(id) == Kind::Switch && pred.is_some_and(|p| is_loop_cond[p.node.index()])
            };
            // Through an Enter or Exit it is the outer frame's turn that counts.
            let mut from = node.inputs.iter().map(|e| e.node).chain(node.control.iter().copied());
            in_body[i] = !is_variable[i] && from.any(|f| in_body[f.index()] || loop_switch(f));
        }
        let is_cond_switch = |id: NodeId| match flow.kind(id) {
            Kind::Switch => flow.node(id).inputs.get(1).is_none_or(|p| !is_loop_cond[p.node.index()]),
            kind => kind == Kind::SwitchN,
        };
        let decided = flow.downstream(is_cond_switch);
        let keep_control = flow.effects().into_iter().zip(decided).map(|(a, b)| a || b).collect();
        let lists = vec![Vec::new(); frames.all.len()];
        Ok(Self {
            is_loop_cond,
            is_variable,
            keep_control,
            in_body,
            needed: Vec::new(),
            exits: lists.clone(),
            sinks: lists,
            loop_conds,
            exit_values: HashMap::new(),
            regions: vec![0; count],
            flow,
            frames,
        })
    }

    fn is_loop_switch(&self, id: NodeId) -> bool {
        let pred = self.flow.node(id).inputs.get(1);
        self.flow.kind(id) == Kind::Switch && pred.is_some_and(|p| self.is_loop_cond[p.node.index()])
    }

    /// Marks what the fetches need, then what further nodes with effects do, and sorts Exits and those by frame.
    fn find_needed(&mut self) -> Result<()> {
        for edge in &self.flow.fetches {
            if self.frames.of(edge.node) != 0 {
                return Err(self.flow.fail(edge.node, "it is asked for and is inside of a loop; ask for an Exit"));
            }
        }
        self.needed = vec![false; self.flow.nodes.len()];
        let mut roots: Vec<NodeId> = self.flow.fetches.iter().map(|e| e.node).collect();
        let (outer, inner): (Vec<NodeId>, Vec<NodeId>) =
            std::mem::take(&mut self.flow.controls).into_iter().partition(|&id| self.frames.of(id) == 0);
        roots.extend(outer.iter().chain(&self.flow.args));
        self.flow.controls = outer;
        self.mark(roots);
        let effects = std::mem::take(&mut self.flow.effects);
        for id in inner.into_iter().chain(effects) {
            if self.needed[id.index()] {
                continue;
            }
            match self.frames.of(id) {
                0 => self.flow.effects.push(id),
                frame => self.sinks[frame as usize].push(id),
            }
            self.mark(vec![id]);
        }
        for id in self.flow.ids().filter(|id| self.needed[id.index()]) {
            if self.flow.kind(id) == Kind::Exit {
                let frame = self.frames.of(self.flow.input(id, 0)?.node);
                self.exits[frame as usize].push(id);
            }
        }
        Ok(())
    }

    fn mark(&mut self, mut queue: Vec<NodeId>) {
        while let Some(id) = queue.pop() {
            if std::mem::replace(&mut self.needed[id.index()], true) {
                continue;
            }
            let node = self.flow.node(id);
            queue.extend(node.inputs.iter().map(|e| e.node));
            queue.extend(node.control.iter().filter(|c| self.keep_control[c.index()]));
        }
    }

    /// What a tensor is for a region of a frame.
    fn see(&self, frame: u32, region: Region, edge: Edge) -> Result<Seen> {
        let flow = &self.flow;
        let mut edge = edge;
        for _ in 0..MAX_STEPS {
            let id = edge.node;
            if let Some(value) = self.exit_values.get(&id) {
                edge = *value;
                continue;
            }
            if self.frames.of(id) != frame {
                return match self.frames.encloses(self.frames.of(id), frame) {
                    true => Ok(Seen::Outside(constant(flow, edge).unwrap_or(edge))),
                    false => Err(flow.fail(id, "it is needed outside of its loop, and no Exit leads there")),
                };
            }
            match flow.kind(id) {
                _ if frame == 0 => return Ok(Seen::Inside(edge)),
                Kind::Enter if flow.node(id).bool("is_constant") != Some(true) => {
                    return Err(flow.fail(id, "its is_constant is false, so that a Merge must take it, and none does"));
                }
                Kind::Enter => return self.see_outer(frame, flow.input(id, 0)?),
                Kind::Merge if self.is_variable[id.index()] && edge.output != 0 => {
                    return Err(
                        flow.fail(id, "its value_index is asked for, which is not supported for a loop's Merge")
                    );
                }
                Kind::Merge if self.is_variable[id.index()] => return Ok(Seen::Variable(id)),
                Kind::Switch if self.is_loop_switch(id) => {
                    let wanted = match region {
                        Region::Exit => 0,
                        Region::Body => 1,
                        Region::Condition => return Err(flow.fail(id, "the loop's condition depends on it")),
                    };
                    if edge.output != wanted {
                        let what =
                            ["the last turn, is needed in the others", "all turns but the last, is needed after it"];
                        let output = edge.output;
                        return Err(flow.fail(id, format!("its output {output}, of {}", what[output.min(1) as usize])));
                    }
                    edge = flow.input(id, 0)?;
                }
                Kind::LoopCond => edge = flow.input(id, 0)?,
                Kind::NextIteration => return Err(flow.fail(id, "a node other than a Merge takes it")),
                _ => return Ok(Seen::Inside(edge)),
            }
        }
        Err(flow.fail(edge.node, format!("more than {MAX_STEPS} Switches of a loop follow one another")))
    }

    /// What comes through a constant Enter.
    fn see_outer(&self, frame: u32, edge: Edge) -> Result<Seen> {
        let edge = self.exit_values.get(&edge.node).copied().unwrap_or(edge);
        match self.frames.of(edge.node) != frame && self.frames.encloses(self.frames.of(edge.node), frame) {
            true => Ok(Seen::Outside(constant(&self.flow, edge).unwrap_or(edge))),
            false => Err(self.flow.fail(edge.node, "an Enter takes it that is not in a frame around")),
        }
    }

    /// The node that stands for the source of a control edge in a region; `None` if the edge says nothing there.
    fn see_control(&self, frame: u32, region: Region, id: NodeId) -> Result<Option<NodeId>> {
        if let Some(value) = self.exit_values.get(&id) {
            return Ok(Some(value.node));
        }
        let own = self.frames.of(id) == frame;
        Ok(match self.flow.kind(id) {
            Kind::Enter | Kind::LoopCond | Kind::NextIteration if own && frame != 0 => None,
            Kind::Merge if own && self.is_variable[id.index()] => None,
            Kind::Switch if own && frame != 0 && self.is_loop_switch(id) => {
                match self.see(frame, region, self.flow.input(id, 0)?)? {
                    Seen::Inside(edge) => Some(edge.node),
                    _ => None,
                }
            }
            _ => Some(id),
        })
    }

    /// Adds what `roots` need to a region of a loop.
    fn walk(&mut self, l: &mut Loop, region: Region, roots: Vec<Edge>, controls: Vec<NodeId>) -> Result<()> {
        let bit = region as u8;
        let mut queue: Vec<NodeId> = Vec::new();
        let mut edges = roots;
        let mut waits = controls;
        loop {
            for edge in edges.drain(..) {
                match self.see(l.frame, region, edge)? {
                    Seen::Variable(id) => l.variable(id),
                    Seen::Inside(edge) => queue.push(edge.node),
                    // After the loop, what is outside is at hand.
                    Seen::Outside(_) if region == Region::Exit => {}
                    Seen::Outside(edge) if constant(&self.flow, edge).is_some() => {
                        if l.constants[region.slot()].insert(edge.node) {
                            let before = &self.flow.node(edge.node).control;
                            l.controls.extend(before.iter().filter(|c| self.keep_control[c.index()]));
                        }
                    }
                    Seen::Outside(edge) => {
                        let next = l.outside.len();
                        if *l.outside_index.entry(edge).or_insert(next) == next {
                            l.outside.push(edge);
                        }
                    }
                }
            }
            for id in waits.drain(..).filter(|c| self.keep_control[c.index()]) {
                if let Some(id) = self.see_control(l.frame, region, id)? {
                    match self.frames.of(id) == l.frame {
                        true => queue.push(id),
                        false => l.controls.push(id),
                    }
                }
            }
            let Some(id) = queue.pop() else {
                return Ok(());
            };
            let regions = &mut self.regions[id.index()];
            if *regions & bit == 0 {
                *regions |= bit;
                l.chosen[region.slot()].push(id);
                edges.extend(&self.flow.node(id).inputs);
                waits.extend(&self.flow.node(id).control);
            }
        }
    }

    fn rewrite_frame(&mut self, frame: u32, made: &mut Made) -> Result<()> {
        let exits = std::mem::take(&mut self.exits[frame as usize]);
        let sinks = std::mem::take(&mut self.sinks[frame as usize]);
        let named = exits.first().or(sinks.first()).copied().unwrap_or(NodeId(0));
        let cond = match self.loop_conds[frame as usize].as_slice() {
            [cond] => *cond,
            [] => return Err(self.flow.fail(named, "its loop has no LoopCond")),
            [_, second, ..] => return Err(self.flow.fail(*second, "its loop has another LoopCond")),
        };
        let mut l = Loop {
            frame,
            cond,
            variables: Vec::new(),
            variable_index: HashMap::new(),
            outside: Vec::new(),
            outside_index: HashMap::new(),
            chosen: Default::default(),
            constants: Default::default(),
            controls: Vec::new(),
            sinks: Default::default(),
        };
        let pred = self.flow.input(cond, 0)?;
        self.walk(&mut l, Region::Condition, vec![pred], self.flow.node(cond).control.clone())?;
        for &exit in &exits {
            let value = self.flow.input(exit, 0)?;
            self.walk(&mut l, Region::Exit, vec![value], self.flow.node(exit).control.clone())?;
        }
        for sink in sinks {
            let region = if self.in_body[sink.index()] { Region::Body } else { Region::Condition };
            l.sinks[region.slot()].push(sink);
            // A sink is walked to whether or not others wait for it.
            self.keep_control[sink.index()] = true;
            self.walk(&mut l, region, Vec::new(), vec![sink])?;
        }
        let mut starts = Vec::new();
        let mut next = 0;
        while let Some(&merge) = l.variables.get(next) {
            next += 1;
            let (enter, back) = self.ends(merge)?;
            let (first, last) = (self.flow.input(enter, 0)?, self.flow.input(back, 0)?);
            starts.push(self.exit_values.get(&first.node).copied().unwrap_or(first));
            l.controls.extend(self.flow.node(enter).control.iter().filter(|c| self.keep_control[c.index()]));
            let waits = self.flow.node(back).control.clone();
            l.sinks[Region::Body.slot()].extend(waits.iter().filter(|c| self.keep_control[c.index()]));
            self.walk(&mut l, Region::Body, vec![last], waits)?;
        }
        self.build(&l, starts, &exits, made)
    }

    /// The Enter and the NextIteration of a variable.
    fn ends(&self, merge: NodeId) -> Result<(NodeId, NodeId)> {
        let flow = &self.flow;
        let inputs: Vec<NodeId> = flow.node(merge).inputs.iter().map(|e| e.node).collect();
        let (enter, back) = match inputs.as_slice() {
            [a, b] if flow.kind(*b) == Kind::NextIteration => (*a, *b),
            [a, b] => (*b, *a),
            _ => return Err(flow.fail(merge, format!("a loop's Merge takes two tensors, it takes {}", inputs.len()))),
        };
        match flow.kind(enter) {
            Kind::Enter => Ok((enter, back)),
            _ => Err(flow.fail(merge, format!("a loop's Merge takes an Enter, it takes `{}`", flow.node(enter).name))),
        }
    }

    /// Makes the functions and the `While` of a loop.
    fn build(&mut self, l: &Loop, starts: Vec<Edge>, exits: &[NodeId], made: &mut Made) -> Result<()> {
        let inputs: Vec<Edge> = starts.into_iter().chain(l.outside.iter().copied()).collect();
        let mut dtypes = Vec::with_capacity(inputs.len());
        for &merge in &l.variables {
            dtypes.push(self.flow.dtype(Edge { node: merge, output: 0 })?);
        }
        for &edge in &l.outside {
            dtypes.push(self.flow.dtype(edge)?);
        }
        let base = self.frames.all[l.frame as usize].name.clone();
        let mut stateful = false;
        let mut names = Vec::new();
        for (region, part) in [(Region::Condition, "cond"), (Region::Body, "body")] {
            let slot = region.slot();
            let chosen: Vec<NodeId> = l.chosen[slot].iter().chain(&l.constants[slot]).copied().collect();
            let outline = Outline::new(&self.flow, dtypes.clone(), &[], chosen, |id| {
                // A constant from outside stands alone.
                if l.constants[slot].contains(&id) {
                    return Ok(Default::default());
                }
                let sources = self.flow.node(id).inputs.iter().map(|e| self.source(l, region, *e));
                Ok((sources.collect::<Result<_>>()?, self.waits(l, region, id)?))
            })?;
            stateful |= outline.is_stateful();
            let mut rets = Vec::new();
            if region == Region::Condition {
                let pred = self.flow.input(l.cond, 0)?;
                rets.push((self.source(l, region, pred)?, self.flow.dtype(pred)?));
            } else {
                for (&merge, &dtype) in l.variables.iter().zip(&dtypes) {
                    let last = self.flow.input(self.ends(merge)?.1, 0)?;
                    rets.push((self.source(l, region, last)?, dtype));
                }
                rets.extend((l.variables.len()..dtypes.len()).map(|i| (Source::Arg(i), dtypes[i])));
            }
            let name = made.name(&format!("{base}_{part}"));
            let mut sinks = Vec::new();
            for &id in &l.sinks[slot] {
                sinks.extend(self.see_control(l.frame, region, id)?);
            }
            made.functions.push(outline.into_function(&self.flow, name.clone(), &rets, &sinks)?);
            names.push(name);
        }
        let attrs = [("T", types(&dtypes)), ("cond", function(&names[0])), ("body", function(&names[1]))];
        let kind = if stateful { "While" } else { "StatelessWhile" };
        let mut node = op(self.flow.node(l.cond).name.clone(), kind, inputs, attrs);
        let parent = self.frames.all[l.frame as usize].parent;
        for &id in &l.controls {
            let outer = self.exit_values.get(&id).map_or(id, |e| e.node);
            node.control.push(outer);
        }
        node.control.sort_unstable();
        node.control.dedup();
        let has_sinks = l.sinks.iter().any(|s| !s.is_empty());
        let before: Vec<NodeId> = node.inputs.iter().map(|e| e.node).chain(node.control.iter().copied()).collect();
        let in_body = before
            .iter()
            .any(|&id| self.frames.of(id) == parent && (self.in_body[id.index()] || self.is_loop_switch(id)));
        let id = self.add(node, l.cond, parent, in_body);
        if has_sinks {
            match parent {
                0 => self.flow.effects.push(id),
                _ => self.sinks[parent as usize].push(id),
            }
        }
        let mut moved: HashMap<NodeId, NodeId> = HashMap::new();
        for &old in &l.chosen[Region::Exit.slot()] {
            let new = self.add(self.flow.node(old).clone(), old, parent, in_body);
            moved.insert(old, new);
        }
        let after = |this: &Self, edge: Edge| -> Result<Edge> {
            Ok(match this.see(l.frame, Region::Exit, edge)? {
                Seen::Variable(merge) => Edge { node: id, output: l.variable_index[&merge] as u32 },
                Seen::Outside(edge) => edge,
                Seen::Inside(edge) => Edge { node: moved.get(&edge.node).copied().unwrap_or(edge.node), ..edge },
            })
        };
        for (&old, &new) in &moved {
            let inputs = self.flow.node(old).inputs.iter().map(|e| after(self, *e)).collect::<Result<Vec<_>>>()?;
            let waits = self.waits(l, Region::Exit, old)?;
            let node = &mut self.flow.nodes[new.index()];
            node.inputs = inputs;
            node.control = waits.iter().filter_map(|c| moved.get(c)).copied().collect();
        }
        let values = exits.iter().map(|&exit| Ok((exit, after(self, self.flow.input(exit, 0)?)?)));
        let values = values.collect::<Result<Vec<_>>>()?;
        self.exit_values.extend(values);
        Ok(())
    }

    /// Adds a node to a frame.
    fn add(&mut self, node: super::super::graph::Node, near: NodeId, frame: u32, in_body: bool) -> NodeId {
        let id = self.flow.push(node, near);
        self.frames.of.push(frame);
        self.is_loop_cond.push(false);
        self.is_variable.push(false);
        self.keep_control.push(true);
        self.in_body.push(in_body);
        self.regions.push(0);
        id
    }

    /// Where a function of a loop has a tensor.
    fn source(&self, l: &Loop, region: Region, edge: Edge) -> Result<Source> {
        let lost = || self.flow.fail(edge.node, "its loop takes it and does not have it");
        Ok(match self.see(l.frame, region, edge)? {
            Seen::Variable(merge) => Source::Arg(*l.variable_index.get(&merge).ok_or_else(lost)?),
            Seen::Inside(edge) => Source::Node(edge),
            Seen::Outside(edge) if constant(&self.flow, edge).is_some() => Source::Node(edge),
            Seen::Outside(edge) => Source::Arg(l.variables.len() + l.outside_index.get(&edge).ok_or_else(lost)?),
        })
    }

    /// The nodes that a node waits for, in a region.
    fn waits(&self, l: &Loop, region: Region, id: NodeId) -> Result<Vec<NodeId>> {
        let kept = self.flow.node(id).control.iter().filter(|c| self.keep_control[c.index()]);
        let seen = kept.map(|&c| self.see_control(l.frame, region, c));
        Ok(seen.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// What is left: the outermost frame, with the loops as nodes.
    fn finish(self) -> Result<Flow> {
        let flow = &self.flow;
        let outer = |edge: Edge| match self.see(0, Region::Exit, edge)? {
            Seen::Inside(edge) | Seen::Outside(edge) => Ok(edge),
            Seen::Variable(id) => Err(flow.fail(id, "it is outside of any loop")),
        };
        let mut chosen: Vec<NodeId> = Vec::new();
        let mut seen: HashSet<NodeId> = HashSet::new();
        let mut queue: Vec<NodeId> = flow.args.clone();
        for &edge in &flow.fetches {
            queue.push(outer(edge)?.node);
        }
        for &id in flow.controls.iter().chain(&flow.effects) {
            queue.extend(self.see_control(0, Region::Exit, id)?);
        }
        let wires = |id: NodeId| -> Result<(Vec<Edge>, Vec<NodeId>)> {
            let node = flow.node(id);
            let inputs = node.inputs.iter().map(|e| outer(*e)).collect::<Result<Vec<_>>>()?;
            let mut waits = Vec::new();
            for &c in node.control.iter().filter(|c| self.keep_control[c.index()]) {
                waits.extend(self.see_control(0, Region::Exit, c)?.filter(|&c| self.frames.of(c) == 0));
            }
            Ok((inputs, waits))
        };
        while let Some(id) = queue.pop() {
            if seen.insert(id) {
                chosen.push(id);
                let (inputs, waits) = wires(id)?;
                queue.extend(inputs.iter().map(|e| e.node).chain(waits));
            }
        }
        let outline = Outline::new(flow, Vec::new(), &flow.args, chosen, |id| {
            let (inputs, waits) = wires(id)?;
            Ok((inputs.into_iter().map(Source::Node).collect(), waits))
        })?;
        let lost = |id: NodeId| flow.fail(id, "it is asked for and was lost");
        let mut fetches = Vec::new();
        for &edge in &flow.fetches {
            fetches.push(outline.edge(Source::Node(outer(edge)?)).ok_or_else(|| lost(edge.node))?);
        }
        let nodes = |ids: &[NodeId]| -> Result<Vec<NodeId>> {
            let mut seen = Vec::new();
            for &id in ids {
                seen.extend(self.see_control(0, Region::Exit, id)?);
            }
            Ok(outline.controls(&seen))
        };
        let (controls, effects) = (nodes(&flow.controls)?, nodes(&flow.effects)?);
        let args = (0..flow.args.len() as u32).map(NodeId).collect();
        Ok(Flow { args, fetches, controls, effects, ..Flow::new(flow.function.clone(), outline.nodes) })
    }
}

impl Loop {
    fn variable(&mut self, merge: NodeId) {
        let next = self.variables.len();
        if *self.variable_index.entry(merge).or_insert(next) == next {
            self.variables.push(merge);
        }
    }
}
