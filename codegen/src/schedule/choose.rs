//! Chooses how a cluster is walked and scheduled, from the target's numbers. Deterministic; a scored table, no search.

use kiln_ir::loops::{Block, Inst, Layout, V};
use kiln_ir::lower::{ContractSpec, Lower, WindowKind};
use kiln_ir::ops::constant::Const;
use kiln_ir::{DType, Dim, Function, Value};
use kiln_passes::fusion::{Cluster, family};

use super::{Schedule, TaskAxis, TileAxis, call};
use crate::lower::{LoopRole, Nest, NestLoop, Walk, collapse};
use crate::target::Target;

/// What kind of kernel a cluster is, with the facts that its schedule needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Class {
    /// A matrix product or a convolution: register tiles of rows x lanes.
    Product {
        /// The group of the result's axes along which rows run; none if every row axis is a batch axis of both operands.
        rows: Option<usize>,
        /// The group along which lanes run.
        lanes: usize,
        /// Rows and lanes of the tile.
        tile: (u16, u16),
        /// The runtime's micro-kernel that may compute it, by the extents of its tile.
        call: Option<(u16, u16)>,
        /// Bytes of the rows' operand that one row reads: what one row costs in cache.
        row_bytes: u64,
    },
    /// A window over channels: pooling, depthwise convolution.
    Window,
    /// Reductions along contiguous rows.
    Rows,
    /// Everything else: one pass over the elements.
    Elements,
}

/// How a cluster is to be lowered.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Its class.
    pub class: Class,
    /// The order of its loops.
    pub walk: Walk,
    /// Constants that are packed for it, with their layouts.
    pub packed: Vec<(Value, Layout)>,
}

/// Tasks should be worth this many multiply-adds or element operations, so that handing them out costs little.
const TASK_WORK: i64 = 1 << 16;

/// Row tiles that a task computes at least with a panel that it packs itself: packing costs about one of them.
const PACKED_TILES: i64 = 16;

/// Chooses class, walk and packing.
pub fn choose(f: &Function, cluster: &Cluster, target: &Target) -> Choice {
    let groups = collapse(f, cluster);
    if let Some(choice) = product(f, cluster, &groups, target) {
        return choice;
    }
    let order = (0..groups.len()).collect();
    let mut class = Class::Elements;
    for &n in &cluster.nodes {
        let node = f.node(n);
        match family(f, n) {
            Lower::Window { .. } => class = Class::Window,
            Lower::Reduce { axes, .. } => {
                let rank = f.ty(node.inputs[0]).rank();
                let inner = (0..rank).rev().find(|&a| !f.ty(node.inputs[0]).shape[a].is(1));
                if inner.is_some_and(|a| axes.contains(&a)) {
                    class = Class::Rows;
                }
            }
            _ => {}
        }
    }
    Choice { class, walk: Walk { groups, order }, packed: vec![] }
}

/// The operands of a product: the one whose elements run along lanes, and the other one.
struct Sides {
    lane_operand: Value,
    /// The lane operand's axis that runs along lanes.
    lane_axis: usize,
    /// The lane operand's axes that are summed over.
    summed: Vec<usize>,
    /// The result's axes that only the other operand has.
    row_axes: Vec<usize>,
    /// Whether both factors and the sum are f32.
    single: bool,
    /// Elements summed per result element.
    depth: Dim,
}

fn sides(f: &Function, cluster: &Cluster) -> Option<Sides> {
    let n = *cluster.nodes.iter().find(|&&n| matches!(family(f, n), Lower::Contract(_) | Lower::Window { .. }))?;
    let node = f.node(n);
    let single = node.inputs.iter().chain(&node.outputs).all(|&v| f.ty(v).dtype == DType::F32);
    match family(f, n) {
        Lower::Contract(spec) => contract_sides(f, &spec, &node.inputs, single),
        Lower::Window { kind: WindowKind::Conv { groups: 1 }, dims } => {
            let w = node.inputs[1];
            let rank = dims.len();
            let depth = Dim::product(&f.ty(w).shape[..rank + 1]);
            let axes: Vec<usize> = (0..rank + 1).collect();
            Some(Sides { lane_operand: w, lane_axis: rank + 1, summed: axes.clone(), row_axes: axes, single, depth })
        }
        _ => None,
    }
}

fn contract_sides(f: &Function, spec: &ContractSpec, inputs: &[Value], single: bool) -> Option<Sides> {
    let last = *spec.out.last()?;
    let depth = spec
        .lhs
        .iter()
        .zip(&f.ty(inputs[0]).shape)
        .filter(|(l, _)| !spec.out.contains(l))
        .fold(Dim::from(1), |p, (_, d)| p * d.clone());
    let (lane, lane_labels, row_labels) = match (spec.lhs.contains(&last), spec.rhs.contains(&last)) {
        (false, true) => (inputs[1], &spec.rhs, &spec.lhs),
        (true, false) => (inputs[0], &spec.lhs, &spec.rhs),
        _ => return None,
    };
    let lane_axis = lane_labels.iter().position(|l| *l == last)?;
    let only_rows = |l: &u8| row_labels.contains(l) && !lane_labels.contains(l);
    let row_axes = (0..spec.out.len()).filter(|&i| only_rows(&spec.out[i])).collect();
    let summed = (0..lane_labels.len()).filter(|&a| !spec.out.contains(&lane_labels[a])).collect();
    Some(Sides { lane_operand: lane, lane_axis, summed, row_axes, single, depth })
}

fn product(f: &Function, cluster: &Cluster, groups: &[std::ops::Range<usize>], target: &Target) -> Option<Choice> {
    let s = sides(f, cluster)?;
    let out = f.ty(cluster.output);
    let lanes = groups.len().checked_sub(1)?;
    let row_group =
        s.row_axes.iter().rev().find_map(|a| groups.iter().position(|g| g.contains(a))).filter(|&g| g != lanes);
    let n = Dim::product(&out.shape[groups[lanes].clone()]);
    let m = row_group.map_or(Dim::from(1), |g| Dim::product(&out.shape[groups[g].clone()]));
    let call = n.as_const().filter(|_| s.single).and_then(|n| call::kernel(&target.tiles, n));
    // If the call turns out impossible, loops read the panels that were packed for it.
    let panel = call.map(|c| c.1);
    let row_bytes = s.depth.as_const().unwrap_or(256).max(1) as u64 * out.dtype.size() as u64;
    let tile = register_tile(target, out.dtype, m.as_const(), n.as_const(), panel, row_bytes);
    // Batch axes outermost, then lanes, then rows: a panel of the lane operand stays in cache while rows sweep by.
    let mut order: Vec<usize> = (0..groups.len()).filter(|&g| g != lanes && Some(g) != row_group).collect();
    order.push(lanes);
    order.extend(row_group);
    let packed = pack(f, &s, panel.unwrap_or(tile.1)).into_iter().collect();
    let class = Class::Product { rows: row_group, lanes, tile, call, row_bytes };
    Some(Choice { class, walk: Walk { groups: groups.to_vec(), order }, packed })
}

/// The packed layout of a constant lane operand: `[kept axes][n / NR][summed axes][NR]`, padded to whole panels: what one
/// tile reads is contiguous.
fn pack(f: &Function, s: &Sides, panel: u16) -> Option<(Value, Layout)> {
    f.def_node(s.lane_operand)?.op.is::<Const>()?;
    let shape = &f.ty(s.lane_operand).shape;
    let nr = i64::from(panel);
    let panels = shape[s.lane_axis].ceil_div(nr);
    let kept = (0..shape.len()).filter(|a| *a != s.lane_axis && !s.summed.contains(a));
    let whole = |a: usize| (a, 1, 0, shape[a].clone());
    let mut dims: Vec<_> = kept.map(whole).collect();
    dims.push((s.lane_axis, nr, 0, panels));
    dims.extend(s.summed.iter().map(|&a| whole(a)));
    dims.push((s.lane_axis, 1, nr, Dim::from(nr)));
    Some((s.lane_operand, Layout::packed(&dims)))
}

/// Rows and lanes of the accumulator tile. Accumulators, one panel row and a broadcast leave a register free (with none free
/// the compiler may spill, see docs/performance.md); among the
/// fitting tiles the one with the lowest estimated time over the whole extents wins. With a `panel` its lanes divide it.
/// Rows that lie a multiple of 4096 bytes apart fall into one set of an L1 cache of 8 to 12 ways, so there are 8 at most.
pub fn register_tile(
    target: &Target,
    elem: DType,
    m: Option<i64>,
    n: Option<i64>,
    panel: Option<u16>,
    row_bytes: u64,
) -> (u16, u16) {
    let most_rows = if row_bytes.is_multiple_of(4096) { 8 } else { 14 };
    let v = i64::from(target.lanes(elem));
    let registers = i64::from(target.vector_registers);
    let (m, n) = (m.unwrap_or(1 << 12), n.unwrap_or(1 << 12));
    let mut best = (f64::INFINITY, (1, v));
    for vectors in 1..=4i64 {
        if vectors > 1 && (vectors - 1) * v >= n {
            break;
        }
        if panel.is_some_and(|p| i64::from(p) % (vectors * v) != 0) {
            continue;
        }
        for rows in 1..=most_rows {
            if rows * vectors + vectors + 1 >= registers {
                continue;
            }
            let time = cover(m, rows, |r| cover(n, vectors * v, |l| tile_time(r, (l as f64 / v as f64).ceil())));
            if time < best.0 * 0.999 {
                best = (time, (rows, vectors * v));
            }
        }
    }
    (best.1.0 as u16, best.1.1 as u16)
}

/// The time of an extent cut into tiles and a rest.
fn cover(extent: i64, tile: i64, time: impl Fn(i64) -> f64) -> f64 {
    let (whole, rest) = (extent / tile, extent % tile);
    whole as f64 * if whole > 0 { time(tile) } else { 0.0 } + if rest > 0 { time(rest) } else { 0.0 }
}

/// Estimated cycles of a tile for each step of the sum: two FMAs a cycle with a latency of four, two loads a cycle (one
/// vector for each panel vector, one broadcast for each row), and a little for the loop.
fn tile_time(rows: i64, vectors: f64) -> f64 {
    let fma = (rows as f64 * vectors / 2.0).max(4.0);
    let loads = (rows as f64 + vectors) / 2.0;
    fma.max(loads) + 0.35
}

/// The schedule of a nest that was lowered as chosen.
pub fn schedule(choice: &Choice, nest: &Nest, target: &Target) -> Schedule {
    match &choice.class {
        Class::Product { .. } => product_schedule(choice, nest, target),
        Class::Window => window_schedule(nest, target),
        Class::Rows => rows_schedule(nest, target),
        Class::Elements => elements_schedule(nest, target),
    }
}

fn out_loops(nest: &Nest) -> Vec<&NestLoop> {
    nest.loops.iter().filter(|l| matches!(l.role, LoopRole::Out(_))).collect()
}

fn reduce_loops(nest: &Nest) -> Vec<&NestLoop> {
    nest.loops.iter().filter(|l| matches!(l.role, LoopRole::Reduce(_))).collect()
}

/// The schedule of a border: lanes along the innermost axis of each side.
pub fn border_schedule(nest: &Nest, target: &Target) -> Schedule {
    let v = target.lanes(compute_type(nest));
    let rank = nest.kernel.buffers.first().map_or(0, |b| b.shape.len());
    let inner = nest.loops.iter().filter(|l| matches!(l.role, LoopRole::Side(_, a) if a + 1 == rank));
    let lanes = inner.map(|l| {
        let wide = v * (size(&l.extent) / i64::from(v)).clamp(1, 4) as u16;
        TileAxis { iv: l.iv, sizes: lane_sizes(nest, wide, target) }
    });
    Schedule { lanes: lanes.collect(), ..Schedule::default() }
}

/// The schedule of a scatter: lanes along the innermost axis of a row.
pub fn scatter_schedule(nest: &Nest, target: &Target) -> Schedule {
    let v = target.lanes(compute_type(nest));
    let inner = nest.loops.last().filter(|l| matches!(l.role, LoopRole::Side(..)));
    let lanes = inner.map(|l| {
        let wide = v * (size(&l.extent) / i64::from(v)).clamp(1, 4) as u16;
        TileAxis { iv: l.iv, sizes: lane_sizes(nest, wide, target) }
    });
    Schedule { lanes: lanes.into_iter().collect(), ..Schedule::default() }
}

/// The extent of a loop, or a middling guess for a symbolic one.
fn size(d: &Dim) -> i64 {
    d.as_const().unwrap_or(32).max(1)
}

fn product_schedule(choice: &Choice, nest: &Nest, target: &Target) -> Schedule {
    let Class::Product { rows, lanes, tile, call, row_bytes } = choice.class else { return Schedule::default() };
    let group = |g: usize| &choice.walk.groups[g];
    let find = |g: usize| out_loops(nest).into_iter().find(|l| l.role == LoopRole::Out(group(g).clone())).cloned();
    let (row_loop, lane_loop) = (rows.and_then(find), find(lanes));
    let call = call.zip(lane_loop.as_ref()).and_then(|(tile, lanes)| call::find(nest, row_loop.as_ref(), lanes, tile));
    let tile = call.as_ref().map_or(tile, |c| c.tile);
    let mut s = Schedule { call, ..Schedule::default() };
    let reductions: i64 = reduce_loops(nest).iter().map(|l| size(&l.extent)).product();
    // Batch loops: one task an element, as many loops as there are.
    for l in out_loops(nest) {
        if Some(l) != row_loop.as_ref() && Some(l) != lane_loop.as_ref() {
            s.tasks.push(TaskAxis { iv: l.iv, chunk: 1 });
        }
    }
    let (m, n) = (row_loop.as_ref().map_or(1, |l| size(&l.extent)), lane_loop.as_ref().map_or(1, |l| size(&l.extent)));
    let (tr, tl) = (i64::from(tile.0), i64::from(tile.1));
    // Rows of one task: their operand stays in half of L2.
    let fit = (target.l2 / 2 / row_bytes.max(1)) as i64;
    // A panel packed at run time is packed by every task: it must serve many tiles.
    let packs = s.call.as_ref().is_some_and(|c| matches!(c.panel, call::Panel::Private { .. }));
    let least = if packs { PACKED_TILES } else { 1 };
    let row_chunk = (fit / tr).max(least).min((m + tr - 1) / tr) * tr;
    // Lanes of one task: enough work, and whole panels.
    let panels = (TASK_WORK / (reductions * row_chunk.min(m)).max(1) / tl).clamp(1, (n + tl - 1) / tl);
    if let Some(l) = &row_loop {
        s.tasks.push(TaskAxis { iv: l.iv, chunk: row_chunk });
        if s.call.is_none() {
            s.rows = Some(TileAxis { iv: l.iv, sizes: falling(tile.0) });
        }
    }
    if let Some(l) = &lane_loop {
        s.tasks.push(TaskAxis { iv: l.iv, chunk: panels * tl });
        s.lanes.push(TileAxis { iv: l.iv, sizes: lane_sizes(nest, tile.1, target) });
    }
    if let (Some(l), None) = (reduce_loops(nest).last(), &s.call) {
        s.unroll.push((l.iv, 4));
    }
    s
}

/// A tile extent with the smaller ones that finish a loop of unknown length.
fn falling(n: u16) -> Vec<u16> {
    let mut sizes = vec![n];
    while let Some(&last) = sizes.last()
        && last > 1
    {
        sizes.push(last / 2);
    }
    sizes
}

fn lane_sizes(nest: &Nest, first: u16, target: &Target) -> Vec<u16> {
    let v = target.lanes(compute_type(nest));
    let mut sizes = vec![first];
    if v < first {
        sizes.push(v);
    }
    if sizes.last() != Some(&1) {
        sizes.push(1);
    }
    sizes
}

/// The widest element that the kernel reads or writes: it decides how many lanes a register holds.
fn compute_type(nest: &Nest) -> DType {
    let plain = nest.kernel.buffers.iter().map(|b| b.dtype);
    plain.max_by_key(|d| d.size()).unwrap_or(DType::F32)
}

fn window_schedule(nest: &Nest, target: &Target) -> Schedule {
    let outs = out_loops(nest);
    let mut s = Schedule::default();
    let v = target.lanes(compute_type(nest));
    let Some((channel, spatial)) = outs.split_last() else { return s };
    let vectors = (size(&channel.extent) / i64::from(v)).clamp(1, 2) as u16;
    s.lanes.push(TileAxis { iv: channel.iv, sizes: lane_sizes(nest, v * vectors, target) });
    if let Some((row, batch)) = spatial.split_last() {
        // Accumulators of 4 positions share each tap's weights.
        s.rows = Some(TileAxis { iv: row.iv, sizes: falling(4.min(size(&row.extent) as u16)) });
        s.tasks = tasks(nest, batch, &[]);
    }
    for l in reduce_loops(nest).iter().rev().take(2) {
        if let Some(n) = l.extent.as_const().filter(|&n| (2..=8).contains(&n)) {
            s.unroll.push((l.iv, n as u16));
            break;
        }
    }
    s
}

/// Tasks over the outermost loops, until each is small but worth handing out. `inner` are further loops whose chunks may
/// be dealt out, with the chunk's unit.
fn tasks(nest: &Nest, loops: &[&NestLoop], inner: &[(&NestLoop, i64)]) -> Vec<TaskAxis> {
    let real = nest.loops.iter().filter(|l| l.role != LoopRole::Guard);
    let all: i64 = real.map(|l| size(&l.extent)).fold(1, i64::saturating_mul);
    let mut left = all;
    let mut out = vec![];
    for l in loops {
        let extent = size(&l.extent);
        left /= extent;
        // Iterations of this loop that make a task worth it.
        let chunk = (TASK_WORK / left.max(1)).clamp(1, extent);
        out.push(TaskAxis { iv: l.iv, chunk });
        if chunk > 1 {
            return out;
        }
    }
    for (l, unit) in inner {
        let per = left / size(&l.extent);
        let chunk = (TASK_WORK / per.max(1) / unit).max(1) * unit;
        out.push(TaskAxis { iv: l.iv, chunk });
    }
    out
}

fn rows_schedule(nest: &Nest, target: &Target) -> Schedule {
    let mut s = Schedule::default();
    let v = target.lanes(compute_type(nest));
    let wide = |extent: i64| v * (extent / i64::from(v)).clamp(1, 4) as u16;
    let pow2 = |n: u16| if n.is_power_of_two() { n } else { n.next_power_of_two() / 2 };
    // The innermost loop of each reduction runs over contiguous elements.
    let reductions = reduce_loops(nest);
    for (i, l) in reductions.iter().enumerate() {
        let same_node = reductions.get(i + 1).is_some_and(|next| next.role == l.role);
        if !same_node && nest_kind(nest, l) == kiln_ir::loops::LoopKind::Reduce && size(&l.extent) >= i64::from(v) {
            s.lanes.push(TileAxis { iv: l.iv, sizes: vec![pow2(wide(size(&l.extent))), 1] });
        }
    }
    let outs = out_loops(nest);
    // Loops opened after a reduction run along the row.
    let position = |l: &NestLoop| nest.loops.iter().position(|x| x.iv == l.iv);
    let first_reduction = reductions.first().and_then(|l| position(l)).unwrap_or(usize::MAX);
    let (rows, along): (Vec<_>, Vec<_>) =
        outs.into_iter().partition(|l| position(l).is_some_and(|p| p < first_reduction));
    if let Some(l) = along.last() {
        s.lanes.push(TileAxis { iv: l.iv, sizes: lane_sizes(nest, wide(size(&l.extent)), target) });
    }
    keep_apart(nest, &mut s.lanes);
    s.tasks = tasks(nest, &rows, &[]);
    s
}

/// Leaves out axes whose loops hold the loop of another one: lanes do not nest, and the inner loop does most of the work.
fn keep_apart(nest: &Nest, lanes: &mut Vec<TileAxis>) {
    fn visit(b: &Block, lanes: &[TileAxis], above: &mut Vec<V>, outer: &mut Vec<V>) {
        for s in &b.stmts {
            let Inst::For(l) = &s.inst else { continue };
            let chosen = lanes.iter().any(|a| a.iv == l.iv);
            if chosen {
                outer.extend(above.iter().copied());
                above.push(l.iv);
            }
            visit(&l.body, lanes, above, outer);
            if chosen {
                above.pop();
            }
        }
    }
    let mut outer = vec![];
    visit(&nest.kernel.body, lanes, &mut vec![], &mut outer);
    lanes.retain(|a| !outer.contains(&a.iv));
}

fn nest_kind(nest: &Nest, l: &NestLoop) -> kiln_ir::loops::LoopKind {
    fn find(b: &kiln_ir::loops::Block, iv: kiln_ir::loops::V) -> Option<kiln_ir::loops::LoopKind> {
        b.stmts.iter().find_map(|s| match &s.inst {
            Inst::For(f) if f.iv == iv => Some(f.kind),
            Inst::For(f) => find(&f.body, iv),
            _ => None,
        })
    }
    find(&nest.kernel.body, l.iv).unwrap_or(kiln_ir::loops::LoopKind::Serial)
}

fn elements_schedule(nest: &Nest, target: &Target) -> Schedule {
    let mut s = Schedule::default();
    let v = target.lanes(compute_type(nest));
    let outs = out_loops(nest);
    let Some((inner, outer)) = outs.split_last() else { return s };
    let wide = v * (size(&inner.extent) / i64::from(v)).clamp(1, 4) as u16;
    s.lanes.push(TileAxis { iv: inner.iv, sizes: lane_sizes(nest, wide, target) });
    s.tasks = tasks(nest, outer, &[(inner, i64::from(wide))]);
    s
}
