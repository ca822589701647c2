//! Which loop each node of a body runs in.

use super::super::error::Result;
use super::super::graph::NodeId;
use super::flow::{Flow, Kind};
use std::collections::HashMap;

/// A loop of a body; number 0 stands for the outside of all loops.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The frame around it.
    pub parent: u32,
    /// How many frames it is in.
    pub depth: u32,
    /// The name that its Enters give.
    pub name: String,
}

/// The frames of a body.
#[derive(Debug)]
pub(super) struct Frames {
    /// All frames, each after its parent.
    pub all: Vec<Frame>,
    /// The frame in which a node's outputs are: of an Enter the inner one, of an Exit the outer one.
    pub of: Vec<u32>,
}

/// Loops nest at most this deep, as calls do.
const MAX_DEPTH: u32 = 64;

impl Frames {
    /// Finds the frames. `order` has the nodes in dependency order.
    ///
    /// A node that takes tensors of several frames, one in another, is in the innermost: it reads the outer ones as
    /// values that do not change.
    ///
    /// Errors: frames that are not in one another, ends of loops outside of any loop, loops that nest too deep.
    pub fn new(flow: &Flow, order: &[NodeId]) -> Result<Self> {
        let root = Frame { parent: 0, depth: 0, name: String::new() };
        let mut frames = Self { all: vec![root], of: vec![0; flow.nodes.len()] };
        let mut children: HashMap<(u32, String), u32> = HashMap::new();
        for &id in order {
            let inside = frames.join(flow, id)?;
            frames.of[id.index()] = match flow.kind(id) {
                Kind::Enter => {
                    let name = flow.node(id).text("frame_name").unwrap_or_default().to_string();
                    let depth = frames.depth(inside) + 1;
                    if depth > MAX_DEPTH {
                        return Err(flow.fail(id, format!("loops nest deeper than {MAX_DEPTH}")));
                    }
                    let next = frames.all.len() as u32;
                    let frame = *children.entry((inside, name.clone())).or_insert(next);
                    if frame == next {
                        frames.all.push(Frame { parent: inside, depth, name });
                    }
                    frame
                }
                Kind::Exit | Kind::NextIteration | Kind::LoopCond if inside == 0 => {
                    return Err(flow.fail(id, "it is outside of any loop: no Enter leads to it"));
                }
                Kind::Exit => frames.all[inside as usize].parent,
                _ => inside,
            };
        }
        // The way back, which the order leaves out.
        for id in flow.ids().filter(|&id| flow.kind(id) == Kind::Merge) {
            for from in flow.node(id).inputs.iter().map(|e| e.node) {
                if flow.kind(from) == Kind::NextIteration && frames.of(from) != frames.of(id) {
                    return Err(flow.fail(id, format!("its input `{}` is of another loop", flow.node(from).name)));
                }
            }
        }
        Ok(frames)
    }

    /// Divides each frame into the parts that no edge inside of it connects. A graph that was imported twice into
    /// another has equal names for frames that have nothing to do with one another.
    pub fn divide(&mut self, flow: &Flow) {
        let exit_from = |id: NodeId| flow.node(id).inputs.first().map_or(0, |e| self.of(e.node));
        // The innermost frame that a node belongs to: an Exit's is the one that it leaves.
        let inner: Vec<u32> =
            flow.ids().map(|id| if flow.kind(id) == Kind::Exit { exit_from(id) } else { self.of(id) }).collect();
        let deepest = self.all.iter().map(|f| f.depth).max().unwrap_or(0);
        let mut divided = Self { all: vec![self.all[0].clone()], of: vec![0; flow.nodes.len()] };
        // The new frame of each node, of the depth that has been reached.
        let mut outer = vec![0u32; flow.nodes.len()];
        for depth in 1..=deepest {
            let mut parts: Vec<u32> = (0..flow.nodes.len() as u32).collect();
            for id in flow.ids().filter(|id| self.depth(inner[id.index()]) >= depth) {
                let node = flow.node(id);
                // What an Enter takes is outside of its frame, and what an Exit gives.
                if flow.kind(id) == Kind::Enter && self.depth(self.of(id)) == depth {
                    continue;
                }
                for from in node.inputs.iter().map(|e| e.node).chain(node.control.iter().copied()) {
                    if self.depth(self.of(from)) >= depth {
                        let (a, b) = (root(&mut parts, from.0), root(&mut parts, id.0));
                        parts[a as usize] = b;
                    }
                }
            }
            let mut known: HashMap<(u32, u32), u32> = HashMap::new();
            for id in flow.ids().filter(|id| self.depth(inner[id.index()]) >= depth) {
                let i = id.index();
                let part = root(&mut parts, id.0);
                let mut old = inner[i];
                while self.depth(old) > depth {
                    old = self.all[old as usize].parent;
                }
                let next = divided.all.len() as u32;
                let frame = *known.entry((outer[i], part)).or_insert(next);
                if frame == next {
                    let name = self.all[old as usize].name.clone();
                    divided.all.push(Frame { parent: outer[i], depth, name });
                }
                outer[i] = frame;
                if self.depth(self.of(id)) >= depth {
                    divided.of[i] = frame;
                }
            }
        }
        *self = divided;
    }

    /// The frame of a node's outputs.
    pub fn of(&self, id: NodeId) -> u32 {
        self.of[id.index()]
    }

    /// How many frames a frame is in.
    pub fn depth(&self, frame: u32) -> u32 {
        self.all[frame as usize].depth
    }

    /// Whether `outer` is `inner` or around it.
    pub fn encloses(&self, outer: u32, inner: u32) -> bool {
        let mut at = inner;
        while self.depth(at) > self.depth(outer) {
            at = self.all[at as usize].parent;
        }
        at == outer
    }

    /// The innermost frame of what a node takes.
    fn join(&self, flow: &Flow, id: NodeId) -> Result<u32> {
        let node = flow.node(id);
        let back = |from: NodeId| flow.kind(id) == Kind::Merge && flow.kind(from) == Kind::NextIteration;
        let mut inside = 0;
        for from in node.inputs.iter().map(|e| e.node).chain(node.control.iter().copied()).filter(|&from| !back(from)) {
            let frame = self.of(from);
            if self.encloses(inside, frame) {
                inside = frame;
            } else if !self.encloses(frame, inside) {
                return Err(flow.fail(
                    id,
                    format!(
                        "it takes `{}` of the loop `{}` and another of a loop beside it",
                        flow.node(from).name,
                        self.all[frame as usize].name
                    ),
                ));
            }
        }
        Ok(inside)
    }
}

/// The node that stands for the part that a node is in.
fn root(parts: &mut [u32], of: u32) -> u32 {
    let mut at = of;
    while parts[at as usize] != at {
        parts[at as usize] = parts[parts[at as usize] as usize];
        at = parts[at as usize];
    }
    at
}
