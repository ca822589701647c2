//! Which nodes become one kernel.
//!
//! A cluster has one result; its nodes are computed element by element on demand of that result, so a node is fused into
//! its consumers where that computes nothing more than once, or only what is cheaper than a trip through memory:
//! * elementwise ops, views and gathers into the elementwise ops and reductions that use them;
//! * a contraction, window or reduction into the elementwise ops that use each of its elements once (epilogues);
//! * a reduction into elementwise ops that broadcast its result over trailing axes (softmax, layer norm): its loop then
//!   runs once for each row.
//!
//! Operands of contractions and windows are read many times and stay in memory. Concatenations and paddings stay apart:
//! the plan lets their operands be written in place.

use kiln_ir::graph::Def;
use kiln_ir::lower::{Lower, View};
use kiln_ir::{Dim, Function, NodeId, TensorType, Value};

/// Nodes computed by one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// The nodes in the function's order; the last one defines the result.
    pub nodes: Vec<NodeId>,
    /// The result.
    pub output: Value,
    /// Values read from memory, in order of first use. Constants whose elements are all equal become immediates and are
    /// not among them.
    pub inputs: Vec<Value>,
}

/// Lowering walks a cluster by recursion: this bounds its depth.
const MAX_NODES: usize = 64;

/// A reduction is repeated by every task that needs it, so its result must serve at least this many elements' worth of
/// parallel rows, or be as large as the result itself.
const MAX_ROW_EXTENT: i64 = 1 << 16;

/// Where an axis of a value inside a cluster takes its index from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Always 0: the axis has extent 1.
    Zero,
    /// An axis of the cluster's result.
    Axis(usize),
    /// Anything else.
    Mixed,
}

/// The sources of a value's axes that hold for two of its uses: the numerator of a softmax is read at its own column by the
/// division and at every column by the sum, and at the same row by both.
pub fn merge_sources(a: &[Source], b: &[Source]) -> Vec<Source> {
    a.iter().zip(b).map(|(a, b)| if a == b { *a } else { Source::Mixed }).collect()
}

/// The sources of an operand's axes, given those of the result of the op that reads it; `None` for families that index
/// their operands in another way.
pub fn operand_sources(family: &Lower, from: &[Dim], to: &[Dim], at: &[Source]) -> Option<Vec<Source>> {
    match family {
        Lower::Pointwise(_) | Lower::View(View::Broadcast(_)) => {
            let skip = to.len() - from.len();
            Some((0..from.len()).map(|i| if from[i].is(1) { Source::Zero } else { at[i + skip] }).collect())
        }
        Lower::View(View::Transpose(perm)) => {
            let mut s = vec![Source::Mixed; from.len()];
            perm.iter().enumerate().for_each(|(j, &p)| s[p] = at[j]);
            Some(s)
        }
        Lower::View(View::Reshape(_)) => {
            let mut s = vec![Source::Zero; from.len()];
            for (t, g) in reshape_groups(to, from) {
                for &axis in &g {
                    s[axis] = if let ([a], [_]) = (&t[..], &g[..]) { at[*a] } else { Source::Mixed };
                }
            }
            Some(s)
        }
        // The reduced axes run in the reduction's own loop.
        Lower::Reduce { axes, keep_dims, .. } => {
            let mut kept = 0;
            let mut source = |i: usize| {
                let reduced = axes.contains(&i);
                let s = if reduced { Source::Mixed } else { at[if *keep_dims { i } else { kept }] };
                kept += usize::from(!reduced);
                s
            };
            Some((0..from.len()).map(&mut source).collect())
        }
        _ => None,
    }
}

/// Groups of axes (of `to`, of `from`; those of extent 1 left out) that hold the same elements in the same order.
pub fn reshape_groups(to: &[Dim], from: &[Dim]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let axes = |s: &[Dim]| (0..s.len()).filter(|&i| !s[i].is(1)).collect::<Vec<_>>();
    let (ta, fa) = (axes(to), axes(from));
    let (mut groups, mut i, mut j) = (vec![], 0, 0);
    while i < ta.len() || j < fa.len() {
        let (mut t, mut s) = (vec![], vec![]);
        let (mut pt, mut ps) = (Dim::from(1), Dim::from(1));
        loop {
            // Grow the side that is behind; where sizes are symbolic and incomparable, take turns.
            let behind = match (pt.as_const(), ps.as_const()) {
                (Some(a), Some(b)) => a <= b,
                _ => t.len() <= s.len(),
            };
            if i < ta.len() && (behind || j == fa.len()) {
                pt = pt * to[ta[i]].clone();
                t.push(ta[i]);
                i += 1;
            } else if j < fa.len() {
                ps = ps * from[fa[j]].clone();
                s.push(fa[j]);
                j += 1;
            } else {
                break;
            }
            if pt == ps && !t.is_empty() && !s.is_empty() {
                break;
            }
        }
        groups.push((t, s));
    }
    groups
}

/// The family of a node.
pub fn family(f: &Function, n: NodeId) -> Lower {
    let node = f.node(n);
    let operands: Vec<&TensorType> = node.inputs.iter().map(|&v| f.ty(v)).collect();
    node.op.lower(&operands)
}

/// A cluster under construction.
struct Growing {
    root: NodeId,
    nodes: Vec<NodeId>,
    /// Whether it holds a contraction or a window, and whether it holds a reduction.
    heavy: bool,
    reduces: bool,
}

struct Fuser<'a> {
    f: &'a Function,
    clusters: Vec<Growing>,
    /// The cluster of each node; sources (index ramps, dims) are in several.
    of: Vec<Option<usize>>,
    /// Sources of the axes of each node's result in terms of its cluster's result.
    at: Vec<Option<Vec<Source>>>,
    users: Vec<Vec<NodeId>>,
    fetched: Vec<bool>,
}

/// Partitions the live nodes of a function into clusters, in an order in which they can run. Constants and nodes of the
/// control and host families are in none of them.
pub fn fuse(f: &Function) -> Vec<Cluster> {
    let mut users = vec![vec![]; f.node_count()];
    for (id, n) in f.nodes() {
        for &v in &n.inputs {
            if let Def::Node(d, _) = f.def(v) {
                let u: &mut Vec<NodeId> = &mut users[d.0 as usize];
                if u.last() != Some(&id) {
                    u.push(id);
                }
            }
        }
    }
    let mut fetched = vec![false; f.node_count()];
    for r in &f.results {
        if let Def::Node(d, _) = f.def(r.value) {
            fetched[d.0 as usize] = true;
        }
    }
    let n = f.node_count();
    let mut fuser = Fuser { f, clusters: vec![], of: vec![None; n], at: vec![None; n], users, fetched };
    for i in (0..n).rev() {
        fuser.place(NodeId(i as u32));
    }
    fuser.finish()
}

impl Fuser<'_> {
    fn place(&mut self, n: NodeId) {
        let i = n.0 as usize;
        let family = family(self.f, n);
        let live =
            self.fetched[i] || self.users[i].iter().any(|u| self.of[u.0 as usize].is_some() || self.is_apart(*u));
        if !live || matches!(family, Lower::Control | Lower::Host | Lower::Expand(_)) {
            return;
        }
        match family {
            Lower::Constant if !self.fetched[i] => return,
            // Index ramps and dims cost nothing: they are computed wherever they are used.
            Lower::Iota { .. } | Lower::Dims(_)
                if !self.fetched[i] && !self.users[i].iter().any(|u| self.is_apart(*u)) =>
            {
                let homes: Vec<usize> = self.users[i].iter().filter_map(|u| self.of[u.0 as usize]).collect();
                for h in homes {
                    if self.clusters[h].nodes.last() != Some(&n) {
                        self.clusters[h].nodes.push(n);
                    }
                }
                return;
            }
            _ => {}
        }
        if let Some((home, at)) = self.home(n, &family) {
            let c = &mut self.clusters[home];
            c.nodes.push(n);
            c.heavy |= matches!(family, Lower::Contract(_) | Lower::Window { .. });
            c.reduces |= matches!(family, Lower::Reduce { .. } | Lower::ArgReduce { .. });
            self.of[i] = Some(home);
            self.at[i] = at;
        } else {
            self.of[i] = Some(self.clusters.len());
            let rank = self.f.node(n).outputs.first().map_or(0, |&v| self.f.ty(v).rank());
            self.at[i] = Some((0..rank).map(Source::Axis).collect());
            let heavy = matches!(family, Lower::Contract(_) | Lower::Window { .. });
            let reduces = matches!(family, Lower::Reduce { .. } | Lower::ArgReduce { .. });
            self.clusters.push(Growing { root: n, nodes: vec![n], heavy, reduces });
        }
    }

    fn is_apart(&self, n: NodeId) -> bool {
        matches!(family(self.f, n), Lower::Control | Lower::Host)
    }

    /// The cluster that a node joins, with the sources of its axes there.
    fn home(&self, n: NodeId, family: &Lower) -> Option<(usize, Option<Vec<Source>>)> {
        let f = self.f;
        let i = n.0 as usize;
        let out = *f.node(n).outputs.first()?;
        if self.fetched[i]
            || f.node(n).outputs.len() != 1
            || matches!(family, Lower::View(View::Concat { .. } | View::Pad { .. }))
        {
            return None;
        }
        let mut home = None;
        let mut at: Option<Option<Vec<Source>>> = None;
        for &u in &self.users[i] {
            let c = self.of[u.0 as usize]?;
            if home.is_some_and(|h| h != c) {
                return None;
            }
            home = Some(c);
            let consumer = self::family(f, u);
            if !reads_once(f, u, &consumer, out) {
                return None;
            }
            let to = f.ty(*f.node(u).outputs.first()?);
            let here =
                self.at[u.0 as usize].as_ref().and_then(|s| operand_sources(&consumer, &f.ty(out).shape, &to.shape, s));
            at = Some(match at {
                None => here,
                Some(before) => before.zip(here).map(|(a, b)| merge_sources(&a, &b)),
            });
        }
        let home = home?;
        let at = at?;
        let c = &self.clusters[home];
        if c.nodes.len() >= MAX_NODES {
            return None;
        }
        let root = f.ty(*f.node(c.root).outputs.first()?);
        let ok = match family {
            Lower::Pointwise(_) | Lower::View(_) | Lower::Gather { .. } => true,
            Lower::Contract(_) | Lower::Window { .. } => {
                !c.heavy && !c.reduces && is_identity(&at, &f.ty(out).shape, &root.shape)
            }
            Lower::Reduce { .. } => {
                !c.heavy && (is_identity(&at, &f.ty(out).shape, &root.shape) || self.is_per_row(&at, root))
            }
            Lower::ArgReduce { .. } => !c.heavy && is_identity(&at, &f.ty(out).shape, &root.shape),
            _ => false,
        };
        ok.then_some((home, at))
    }

    /// Whether a reduction's result depends on leading axes of the cluster's result only, at least one of them, so that
    /// it is computed once for each row; rows are short enough to be read again from cache.
    fn is_per_row(&self, at: &Option<Vec<Source>>, root: &TensorType) -> bool {
        let Some(at) = at else { return false };
        let used: Vec<usize> =
            at.iter().filter_map(|s| if let Source::Axis(a) = s { Some(*a) } else { None }).collect();
        if at.contains(&Source::Mixed) || used.is_empty() {
            return false;
        }
        let prefix = used.iter().max().map_or(0, |m| m + 1);
        let leading = (0..prefix).all(|a| used.contains(&a) || root.shape[a].is(1));
        let row = Dim::product(&root.shape[prefix..]);
        leading && row.as_const().is_none_or(|n| n <= MAX_ROW_EXTENT)
    }

    fn finish(self) -> Vec<Cluster> {
        let f = self.f;
        let mut clusters: Vec<Cluster> = self
            .clusters
            .into_iter()
            .map(|mut c| {
                c.nodes.sort();
                c.nodes.dedup();
                let mut inputs = vec![];
                for &n in &c.nodes {
                    let own = f.node(n).outputs.iter().filter(|_| matches!(family(f, n), Lower::Constant));
                    for &v in f.node(n).inputs.iter().chain(own) {
                        let inside = matches!(f.def(v), Def::Node(d, _) if c.nodes.contains(&d) && !matches!(family(f, d), Lower::Constant));
                        if !inside && !inputs.contains(&v) && !is_immediate(f, v) {
                            inputs.push(v);
                        }
                    }
                }
                Cluster { output: f.node(c.root).outputs[0], nodes: c.nodes, inputs }
            })
            .collect();
        // The root is a cluster's last node, so the order of roots is an order in which clusters can run.
        clusters.sort_by_key(|c| c.nodes.last().copied());
        clusters
    }
}

/// Whether a consumer reads each element of `v` once, or so seldom that computing it again is cheaper than memory.
fn reads_once(f: &Function, n: NodeId, consumer: &Lower, v: Value) -> bool {
    match consumer {
        Lower::Pointwise(_) | Lower::Reduce { .. } | Lower::ArgReduce { .. } => true,
        // Their operands are written in place, by kernels of their own.
        Lower::View(View::Concat { .. } | View::Pad { .. }) => false,
        // A broadcast of many elements would compute each again for every copy.
        Lower::View(View::Broadcast(shape)) => Dim::product(shape) == f.ty(v).elements() || f.ty(v).elements().is(1),
        Lower::View(View::Tile) => f.ty(v).elements().is(1),
        Lower::View(_) => true,
        // The table of a gather stays in memory; its indices are read once for each row taken.
        Lower::Gather { .. } => f.node(n).inputs.get(1) == Some(&v),
        _ => false,
    }
}

fn is_identity(at: &Option<Vec<Source>>, shape: &[Dim], root: &[Dim]) -> bool {
    let Some(at) = at else { return false };
    shape == root && at.iter().enumerate().all(|(i, s)| *s == Source::Axis(i) || (shape[i].is(1) && *s == Source::Zero))
}

/// Whether a value is a constant of equal elements, which kernels hold as an immediate.
pub fn is_immediate(f: &Function, v: Value) -> bool {
    f.def_node(v).and_then(|n| n.op.is::<kiln_ir::ops::constant::Const>()).is_some_and(|c| {
        let size = c.value.dtype().size();
        size > 0 && !c.value.is_empty() && c.value.bytes().chunks_exact(size).all(|e| e == &c.value.bytes()[..size])
    })
}
