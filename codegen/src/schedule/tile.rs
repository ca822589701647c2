//! Applies a schedule: L1 to L2.
//!
//! The nest is walked once for each tile extent of a mapped loop; inside, the induction variable is the tile's base plus
//! `iota` along rows or lanes, and everything computed from it becomes a tile by broadcasting. Loops of known length are
//! cut into full tiles and one rest; others run through a list of extents down to 1. Transcendental operations are
//! expanded here, once for all backends.

mod call;

use std::collections::HashMap;

use anyhow::{Result, bail};
use kiln_ir::Dim;
use kiln_ir::loops::{Block, For, Inst, Kernel, KernelBuilder, Level, LoopKind, Stmt, Ty, V};
use kiln_ir::scalar::{BinaryOp, ReduceOp};

use super::{Schedule, TileAxis};
use crate::lower::{Nest, neutral};
use crate::math::{self, Caps};

/// Which tile dimensions a value varies along.
const ROWS: u8 = 1;
const LANES: u8 = 2;

/// Applies a schedule to a nest.
///
/// # Errors
/// If the schedule names loops that it cannot map (the message says which and why), or an operation has no expansion.
pub fn apply(nest: &Nest, schedule: &Schedule, caps: Caps) -> Result<Kernel> {
    let k = &nest.kernel;
    let deps = dependences(k, schedule);
    let mut tasks = Dim::from(1);
    for t in &schedule.tasks {
        tasks = tasks * extent(nest, t.iv)?.ceil_div(t.chunk);
    }
    let shell = Kernel { level: Level::Scheduled, body: Block::default(), types: vec![], tasks, ..k.clone() };
    let mut t = Tiler {
        nest,
        schedule,
        caps,
        deps,
        b: KernelBuilder::new(shell),
        map: vec![None; k.types.len()],
        chunks: HashMap::new(),
        rows: 1,
        lanes: 1,
        first_lane: None,
        scratch: None,
        tile_row: None,
    };
    t.task_chunks()?;
    if let Some(c) = &schedule.call {
        t.prepare_call(c);
    }
    t.block(&k.body)?;
    Ok(t.b.finish())
}

fn extent(nest: &Nest, iv: V) -> Result<Dim> {
    match nest.loops.iter().find(|l| l.iv == iv) {
        Some(l) => Ok(l.extent.clone()),
        None => bail!("the schedule names loop {iv:?}, which the nest does not have"),
    }
}

/// For each value of the nest, the tile dimensions along which it varies.
fn dependences(k: &Kernel, s: &Schedule) -> Vec<u8> {
    let mut deps = vec![0u8; k.types.len()];
    while spread(&k.body, s, &mut deps) {}
    deps
}

/// One round of [`dependences`]; whether anything changed.
fn spread(b: &Block, s: &Schedule, deps: &mut [u8]) -> bool {
    fn raise(deps: &mut [u8], v: V, d: u8) -> bool {
        let slot = &mut deps[v.0 as usize];
        let changed = *slot | d != *slot;
        *slot |= d;
        changed
    }
    let mut changed = false;
    for stmt in &b.stmts {
        match &stmt.inst {
            Inst::For(l) => {
                let rows = s.rows.iter().any(|a| a.iv == l.iv);
                let lanes = s.lanes.iter().any(|a| a.iv == l.iv);
                changed |= raise(deps, l.iv, if rows { ROWS } else { 0 } | if lanes { LANES } else { 0 });
                let lanes_combined = lanes && l.kind == LoopKind::Reduce;
                for (c, &r) in l.carried.iter().zip(&stmt.results) {
                    let init = deps[c.init.0 as usize];
                    changed |= raise(deps, c.inner, init);
                    let inner = deps[c.inner.0 as usize];
                    changed |= raise(deps, r, if lanes_combined { inner & !LANES | init } else { inner });
                }
                changed |= spread(&l.body, s, deps);
                for (c, &y) in l.carried.iter().zip(&l.body.yields) {
                    let d = deps[y.0 as usize];
                    changed |= raise(deps, c.inner, d);
                }
            }
            Inst::If(_, a, b) => {
                changed |= spread(a, s, deps) | spread(b, s, deps);
                for (i, &r) in stmt.results.iter().enumerate() {
                    let d = deps[a.yields[i].0 as usize] | deps[b.yields[i].0 as usize];
                    changed |= raise(deps, r, d);
                }
            }
            inst => {
                let mut d = 0;
                inst.for_each_operand(|v| d |= deps[v.0 as usize]);
                for &r in &stmt.results {
                    changed |= raise(deps, r, d);
                }
            }
        }
    }
    changed
}

/// The iterations of a loop that run here.
#[derive(Clone)]
struct Range {
    lo: V,
    hi: V,
    /// Number of iterations, if it is the same for every task.
    trip: Option<i64>,
    /// All iterations of the loop, over all tasks.
    extent: Dim,
}

struct Tiler<'a> {
    nest: &'a Nest,
    schedule: &'a Schedule,
    caps: Caps,
    deps: Vec<u8>,
    b: KernelBuilder,
    map: Vec<Option<V>>,
    /// The range of each loop that is dealt out to tasks.
    chunks: HashMap<V, Range>,
    /// Extents of the tiles at the current place.
    rows: u16,
    lanes: u16,
    /// The first lane of the current tile.
    first_lane: Option<V>,
    /// Private memory of calls, and the row of the called tile whose epilogue is emitted.
    scratch: Option<call::Scratch>,
    tile_row: Option<V>,
}

impl Tiler<'_> {
    fn task_chunks(&mut self) -> Result<()> {
        let mut left = None;
        for (i, axis) in self.schedule.tasks.iter().enumerate().rev() {
            let extent = extent(self.nest, axis.iv)?;
            let count = extent.ceil_div(axis.chunk);
            let task = match left {
                Some(v) => v,
                None => self.b.push(Ty::INDEX, Inst::Task),
            };
            let mut at = task;
            if i > 0 && !count.is(1) {
                let n = self.b.dim(&count);
                at = self.b.binary(BinaryOp::TruncMod, task, n);
                left = Some(self.b.binary(BinaryOp::Div, task, n));
            } else {
                left = Some(task);
                if i > 0 {
                    at = self.b.index(0);
                }
            }
            let chunk = self.b.index(axis.chunk);
            let lo = self.b.mul(at, chunk);
            let end = self.b.add(lo, chunk);
            let even = extent.as_const().is_some_and(|e| e % axis.chunk == 0);
            let (hi, trip) = match (even, count.is(1)) {
                (true, _) => (end, Some(axis.chunk)),
                (false, true) => (self.b.dim(&extent), extent.as_const()),
                (false, false) => {
                    let all = self.b.dim(&extent);
                    (self.b.binary(BinaryOp::Min, end, all), None)
                }
            };
            self.chunks.insert(axis.iv, Range { lo, hi, trip, extent });
        }
        Ok(())
    }

    fn get(&self, v: V) -> Result<V> {
        match self.map[v.0 as usize] {
            Some(m) => Ok(m),
            None => bail!("value {v:?} of the nest is used before it is defined"),
        }
    }

    fn set(&mut self, v: V, to: V) {
        self.map[v.0 as usize] = Some(to);
    }

    fn block(&mut self, block: &Block) -> Result<()> {
        for stmt in &block.stmts {
            match &stmt.inst {
                Inst::For(l) => self.nest_loop(l, &stmt.results)?,
                Inst::If(..) => bail!("a nest holds selects, not conditionals"),
                _ => self.stmt(stmt)?,
            }
        }
        Ok(())
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<()> {
        let mut inst = stmt.inst.clone();
        let mut missing = None;
        inst.map_operands(|v| {
            self.map[v.0 as usize].unwrap_or_else(|| {
                missing = Some(v);
                v
            })
        });
        if let Some(v) = missing {
            bail!("value {v:?} of the nest is used before it is defined");
        }
        let Some(&r) = stmt.results.first() else {
            self.b.push_effect(inst);
            return Ok(());
        };
        let elem = self.nest.kernel.ty(r).elem;
        let v = match inst {
            Inst::Unary(op, x) => math::unary(&mut self.b, op, x, self.caps)?,
            Inst::Binary(op, x, y) => math::binary(&mut self.b, op, x, y, self.caps)?,
            // Without fused multiply-add in hardware the product is rounded too: the target's own arithmetic.
            Inst::Fma(a, b, c) if !self.caps.fma => {
                let p = self.b.mul(a, b);
                self.b.add(p, c)
            }
            inst => {
                let (mut rows, mut lanes) = (1, 1);
                inst.for_each_operand(|v| {
                    let t = self.b.ty(v);
                    rows = rows.max(t.rows);
                    lanes = lanes.max(t.lanes);
                });
                self.b.push(Ty { elem, rows, lanes }, inst)
            }
        };
        self.set(r, v);
        Ok(())
    }

    fn nest_loop(&mut self, l: &For, results: &[V]) -> Result<()> {
        let range = match self.chunks.get(&l.iv) {
            Some(r) => r.clone(),
            None => {
                let extent = extent(self.nest, l.iv)?;
                Range { lo: self.get(l.lo)?, hi: self.get(l.hi)?, trip: extent.as_const(), extent }
            }
        };
        if let Some(c) = &self.schedule.call {
            if c.rows == Some(l.iv) {
                return self.call_rows(l, &range, c);
            }
            if let (true, &[r]) = (c.reduction == l.iv, results) {
                let v = self.call_result(c)?;
                self.set(r, v);
                return Ok(());
            }
        }
        if let Some(axis) = self.schedule.rows.clone().filter(|a| a.iv == l.iv) {
            return self.segments(l, &range, &axis, ROWS);
        }
        if let Some(axis) = self.schedule.lanes.iter().find(|a| a.iv == l.iv).cloned() {
            if l.kind == LoopKind::Parallel {
                return self.segments(l, &range, &axis, LANES);
            }
            return self.reduce_lanes(l, &range, &axis, results);
        }
        let init: Vec<V> = l.carried.iter().map(|c| self.carried_init(c.inner, c.init)).collect::<Result<_>>()?;
        let out = self.plain_loop(l, &range, init)?;
        for (&r, v) in results.iter().zip(out) {
            self.set(r, v);
        }
        Ok(())
    }

    /// The initial value of a carried value, widened to the tile that the loop makes of it.
    fn carried_init(&mut self, inner: V, init: V) -> Result<V> {
        let d = self.deps[inner.0 as usize];
        let init = self.get(init)?;
        Ok(self.widen(init, d))
    }

    fn widen(&mut self, v: V, d: u8) -> V {
        let t = self.b.ty(v);
        let rows = if d & ROWS != 0 { self.rows } else { t.rows };
        let lanes = if d & LANES != 0 { self.lanes } else { t.lanes };
        let want = Ty { rows, lanes, ..t };
        if want == t { v } else { self.b.push(want, Inst::Splat(v)) }
    }

    /// A loop that stays one, unrolled where the schedule says so: a main part and the rest.
    fn plain_loop(&mut self, l: &For, range: &Range, init: Vec<V>) -> Result<Vec<V>> {
        let wanted = self.schedule.unroll.iter().find(|u| u.0 == l.iv).map_or(1, |u| i64::from(u.1));
        let Some(trip) = range.trip else {
            if wanted == 1 {
                return self.emit_loop(l, range.lo, range.hi, 1, init);
            }
            let mid = self.whole_part(range.lo, range.hi, wanted);
            let main = self.emit_loop(l, range.lo, mid, wanted as u16, init)?;
            return self.emit_loop(l, mid, range.hi, 1, main);
        };
        let unroll = wanted.min(trip.max(1));
        let rest = trip % unroll;
        if rest == 0 {
            return self.emit_loop(l, range.lo, range.hi, unroll as u16, init);
        }
        let whole = self.b.index(trip - rest);
        let mid = self.b.add(range.lo, whole);
        let main = self.emit_loop(l, range.lo, mid, unroll as u16, init)?;
        self.emit_loop(l, mid, range.hi, if rest <= unroll { rest as u16 } else { 1 }, main)
    }

    /// lo plus the largest multiple of `n` that fits below hi.
    fn whole_part(&mut self, lo: V, hi: V, n: i64) -> V {
        let (left, by) = (self.b.sub(hi, lo), self.b.index(n));
        let times = self.b.binary(BinaryOp::Div, left, by);
        let whole = self.b.mul(times, by);
        self.b.add(lo, whole)
    }

    fn emit_loop(&mut self, l: &For, lo: V, hi: V, unroll: u16, init: Vec<V>) -> Result<Vec<V>> {
        let carried: Vec<_> = init.into_iter().zip(&l.carried).map(|(v, c)| (v, c.combine)).collect();
        let mut open = self.b.open_loop(l.kind, lo, hi, 1, unroll, &carried);
        self.set(l.iv, open.iv);
        for (c, inner) in l.carried.iter().zip(open.inner()) {
            self.set(c.inner, inner);
        }
        self.block(&l.body)?;
        let mut yields = vec![];
        for (c, &y) in l.carried.iter().zip(&l.body.yields) {
            let d = self.deps[c.inner.0 as usize];
            let y = self.get(y)?;
            yields.push(self.widen(y, d));
        }
        open.yields = yields;
        Ok(self.b.close_loop(open))
    }

    /// Cuts a parallel loop into tiles.
    fn segments(&mut self, l: &For, range: &Range, axis: &TileAxis, dim: u8) -> Result<()> {
        let first = i64::from(*axis.sizes.first().unwrap_or(&1));
        if let Some(trip) = range.trip {
            let whole = trip / first * first;
            let end = self.b.index(whole);
            let end = self.b.add(range.lo, end);
            self.tiles(l, range.lo, end, Some(whole), first, dim)?;
            return self.tiles(l, end, range.hi, Some(trip - whole), trip - whole, dim);
        }
        let sizes: Vec<i64> = match range.extent.as_const() {
            // Only the last task is ragged, and its rest is known.
            Some(extent) => [first, extent % first].into_iter().filter(|&s| s > 0).collect(),
            None => axis.sizes.iter().map(|&s| i64::from(s)).collect(),
        };
        if range.extent.as_const().is_none() && sizes.last() != Some(&1) {
            bail!("the tile extents of a loop of unknown length must end in 1, not {sizes:?}");
        }
        let mut lo = range.lo;
        for size in sizes {
            let end = if size == 1 { range.hi } else { self.whole_part(lo, range.hi, size) };
            self.tiles(l, lo, end, None, size, dim)?;
            lo = end;
        }
        Ok(())
    }

    /// Tiles of one extent over `[lo, hi)`, a multiple of it; `length` of the range if it is known.
    fn tiles(&mut self, l: &For, lo: V, hi: V, length: Option<i64>, size: i64, dim: u8) -> Result<()> {
        if size == 0 || length == Some(0) {
            return Ok(());
        }
        let Ok(extent) = u16::try_from(size) else { bail!("a tile extent of {size} is too large") };
        let saved = (self.rows, self.lanes);
        if dim == ROWS {
            self.rows = extent
        } else {
            self.lanes = extent
        }
        if length == Some(size) {
            self.tile_body(l, lo, extent, dim)?;
        } else {
            // Tiles of a call share private memory.
            let kind = if self.schedule.call.is_some() { LoopKind::Serial } else { LoopKind::Parallel };
            let open = self.b.open_loop(kind, lo, hi, size, 1, &[]);
            self.tile_body(l, open.iv, extent, dim)?;
            self.b.close_loop(open);
        }
        (self.rows, self.lanes) = saved;
        Ok(())
    }

    fn tile_body(&mut self, l: &For, base: V, extent: u16, dim: u8) -> Result<()> {
        let iv = self.tile_index(base, extent, dim);
        self.set(l.iv, iv);
        if dim == LANES {
            self.first_lane = Some(base);
        }
        self.block(&l.body)
    }

    fn tile_index(&mut self, base: V, extent: u16, dim: u8) -> V {
        if extent == 1 {
            return base;
        }
        let (ty, inst) = match dim {
            ROWS => (Ty::tile(kiln_ir::DType::I64, extent, 1), Inst::IotaRows),
            _ => (Ty::vector(kiln_ir::DType::I64, extent), Inst::IotaLanes),
        };
        let iota = self.b.push(ty, inst);
        self.b.add(base, iota)
    }

    /// A reduction across lanes: every lane accumulates its own part from the neutral element, the lanes are combined by a
    /// fixed tree, and the rest is added element by element.
    fn reduce_lanes(&mut self, l: &For, range: &Range, axis: &TileAxis, results: &[V]) -> Result<()> {
        let mut acc: Vec<V> = l.carried.iter().map(|c| self.get(c.init)).collect::<Result<_>>()?;
        let ops: Vec<ReduceOp> = match l.carried.iter().map(|c| c.combine).collect::<Option<_>>() {
            Some(ops) => ops,
            None => bail!("loop {:?} has no combiner, so its lanes cannot be combined", l.iv),
        };
        let size = i64::from(*axis.sizes.first().unwrap_or(&1));
        let mut lo = range.lo;
        let whole = range.trip.map(|t| t / size * size);
        if whole != Some(0) && size > 1 {
            let end = self.whole_part(lo, range.hi, size);
            let lanes = std::mem::replace(&mut self.lanes, size as u16);
            let mut init = vec![];
            for (c, &op) in l.carried.iter().zip(&ops) {
                let elem = self.nest.kernel.ty(c.inner).elem;
                let n = neutral(&mut self.b, op, elem);
                let d = self.deps[c.inner.0 as usize] | LANES;
                init.push(self.widen(n, d));
            }
            let carried: Vec<_> = init.into_iter().zip(&ops).map(|(v, &op)| (v, Some(op))).collect();
            let mut open = self.b.open_loop(LoopKind::Reduce, lo, end, size, 1, &carried);
            let iv = self.tile_index(open.iv, size as u16, LANES);
            self.set(l.iv, iv);
            for (c, inner) in l.carried.iter().zip(open.inner()) {
                self.set(c.inner, inner);
            }
            self.block(&l.body)?;
            open.yields =
                l.body.yields.iter().map(|&y| self.get(y).map(|y| self.widen(y, LANES))).collect::<Result<_>>()?;
            let wide = self.b.close_loop(open);
            self.lanes = lanes;
            for ((acc, w), &op) in acc.iter_mut().zip(wide).zip(&ops) {
                let one = self.b.reduce_lanes(op, w);
                *acc = self.b.binary(op.combiner(), *acc, one);
            }
            lo = end;
        }
        if range.trip.is_none() || whole != range.trip {
            let saved = std::mem::replace(&mut self.lanes, 1);
            let init: Vec<V> =
                acc.iter().zip(&l.carried).map(|(&a, c)| self.widen(a, self.deps[c.inner.0 as usize] & ROWS)).collect();
            acc = self.emit_scalar_rest(l, lo, range.hi, init)?;
            self.lanes = saved;
        }
        for (&r, v) in results.iter().zip(acc) {
            self.set(r, v);
        }
        Ok(())
    }

    fn emit_scalar_rest(&mut self, l: &For, lo: V, hi: V, init: Vec<V>) -> Result<Vec<V>> {
        let carried: Vec<_> = init.into_iter().zip(&l.carried).map(|(v, c)| (v, c.combine)).collect();
        let mut open = self.b.open_loop(l.kind, lo, hi, 1, 1, &carried);
        self.set(l.iv, open.iv);
        for (c, inner) in l.carried.iter().zip(open.inner()) {
            self.set(c.inner, inner);
        }
        self.block(&l.body)?;
        open.yields = l.body.yields.iter().map(|&y| self.get(y)).collect::<Result<_>>()?;
        Ok(self.b.close_loop(open))
    }
}
