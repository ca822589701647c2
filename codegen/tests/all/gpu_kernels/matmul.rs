//! C = A B through a matrix intrinsic: tiles of A and B in shared memory, filled by asynchronous copies one step ahead;
//! each warp multiplies fragments. Which element a thread reads or writes follows from the intrinsic's fragment maps:
//! nothing here knows a particular instruction.

use kiln_ir::loops::inst::Intrinsic;
use kiln_ir::loops::{Access, BufId, Inst, IntrinsicId, Kernel, KernelBuilder, LoopKind, Space, ThreadAxis, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::{DType, Dim};

use super::{Values, add_const, below, buffer, empty, load, mul_const, splat, when, with_const};

/// Block tile and its division among warps.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// Rows of C for each block.
    pub bm: i64,
    /// Columns of C for each block.
    pub bn: i64,
    /// Depth of a stage.
    pub bk: i64,
    /// Warps along the rows.
    pub warps_m: i64,
    /// Warps along the columns.
    pub warps_n: i64,
}

impl Tile {
    /// The tile for an element type of A and B: two stages fit 48 KiB.
    pub fn of(ab: DType) -> Tile {
        Tile { bm: 128, bn: 128, bk: 64 / ab.size() as i64, warps_m: 2, warps_n: 4 }
    }

    fn threads(&self) -> i64 {
        32 * self.warps_m * self.warps_n
    }
}

/// Offset of each fragment element as a function of the thread: a sum over the bits of its lane, plus a constant.
struct LaneMap {
    /// What each bit of the lane adds.
    bits: Vec<i64>,
    /// Offset of each element in lane 0.
    elements: Vec<i64>,
}

impl LaneMap {
    /// Derives the sum from a fragment map with an offset for each (row, column). Panics if the map is not such a sum.
    fn new(
        intrinsic: &Intrinsic,
        count: u16,
        map: fn(u16, u16) -> (u16, u16),
        offset: impl Fn(i64, i64) -> i64,
    ) -> LaneMap {
        let at = |t: u16, e: u16| {
            let (r, c) = map(t, e);
            offset(i64::from(r), i64::from(c))
        };
        let width = intrinsic.threads.trailing_zeros();
        let bits: Vec<i64> = (0..width).map(|i| at(1 << i, 0) - at(0, 0)).collect();
        let elements: Vec<i64> = (0..count).map(|e| at(0, e)).collect();
        for t in 0..intrinsic.threads {
            for e in 0..count {
                let sum: i64 = bits.iter().enumerate().map(|(i, w)| i64::from(t >> i & 1) * w).sum();
                assert_eq!(at(t, e), elements[usize::from(e)] + sum, "{}: thread {t}, element {e}", intrinsic.name);
            }
        }
        LaneMap { bits, elements }
    }

    /// The lane's part. Neighbouring bits whose weights double are one field of the lane.
    fn index(&self, b: &mut KernelBuilder, lane: V) -> V {
        let mut sum = b.index(0);
        let mut i = 0;
        while i < self.bits.len() {
            let mut j = i + 1;
            while j < self.bits.len() && self.bits[j] == self.bits[i] << (j - i) {
                j += 1;
            }
            if self.bits[i] != 0 {
                let shifted = with_const(b, BinaryOp::Shr, lane, i as i64);
                let field = with_const(b, BinaryOp::BitAnd, shifted, (1 << (j - i)) - 1);
                let term = mul_const(b, field, self.bits[i]);
                sum = b.add(sum, term);
            }
            i = j;
        }
        sum
    }
}

/// One operand on its way from global to shared memory: a tile of `rows` x `cols` per stage.
struct Operand {
    global: BufId,
    shared: BufId,
    rows: i64,
    cols: i64,
    /// Row stride in global memory.
    global_stride: i64,
    /// Row stride in shared memory.
    shared_stride: i64,
    /// Elements of one copy.
    chunk: i64,
    elem: DType,
}

impl Operand {
    fn stage_elements(&self) -> i64 {
        self.rows * self.shared_stride
    }

    /// Copies the tile at (`row0`, `col0`) into the stage at `stage`. Rows from `row_limit` on and columns from
    /// `col_limit` on become zeros; `None` where no tile reaches over the edge.
    #[allow(clippy::too_many_arguments)] // a copy has two ends and two limits
    fn copy(
        &self,
        b: &mut KernelBuilder,
        thread: V,
        threads: i64,
        row0: V,
        col0: V,
        stage: V,
        row_limit: Option<V>,
        col_limit: Option<i64>,
    ) {
        let per_row = self.cols / self.chunk;
        let step = threads / per_row;
        assert!(threads % per_row == 0 && self.rows % step == 0, "threads divide the tile evenly");
        let own_row = with_const(b, BinaryOp::Shr, thread, i64::from(per_row.trailing_zeros()));
        let own_chunk = with_const(b, BinaryOp::BitAnd, thread, per_row - 1);
        let own_col = mul_const(b, own_chunk, self.chunk);
        let (row, col) = (b.add(row0, own_row), b.add(col0, own_col));
        let row_start = mul_const(b, row, self.global_stride);
        let src = b.add(row_start, col);
        let shared_row = mul_const(b, own_row, self.shared_stride);
        let shared_at = b.add(shared_row, own_col);
        let dst = b.add(shared_at, stage);
        let col_ok = col_limit.map(|n| below(b, col, n));
        for i in 0..self.rows / step {
            let src = add_const(b, src, i * step * self.global_stride);
            let dst = add_const(b, dst, i * step * self.shared_stride);
            let row = add_const(b, row, i * step);
            let row_ok = row_limit.map(|n| b.compare(CompareOp::Lt, row, n));
            let inside = match (row_ok, col_ok) {
                (Some(r), Some(c)) => Some(b.binary(BinaryOp::And, r, c)),
                (one, other) => one.or(other),
            };
            match inside {
                None => self.copy_chunk(b, src, dst),
                Some(inside) => when(
                    b,
                    inside,
                    |b| self.copy_chunk(b, src, dst),
                    |b| {
                        let zero = b.push(Ty::vector(self.elem, self.chunk as u16), Inst::ConstFloat(0.0));
                        b.store(self.shared, vec![dst], zero);
                    },
                ),
            }
        }
    }

    /// Asynchronously from 4 bytes on; odd rows of 16-bit elements allow only 2.
    fn copy_chunk(&self, b: &mut KernelBuilder, src: V, dst: V) {
        let bytes = self.chunk * self.elem.size() as i64;
        if bytes >= 4 {
            let (d, s) = (self.shared, self.global);
            b.push_effect(Inst::AsyncCopy { dst: d, dst_offset: dst, src: s, src_offset: src, bytes: bytes as u8 });
        } else {
            let v = load(b, self.global, src, self.chunk as u16);
            b.store(self.shared, vec![dst], v);
        }
    }
}

/// Elements of the widest copy that every row's start allows: a power of two, at most 16 bytes.
fn chunk(row: i64, elem: DType) -> i64 {
    let size = elem.size() as i64;
    (1i64 << (row * size).trailing_zeros().min(4)).min(16).max(size) / size
}

/// The values of one fragment: `per` elements each, read from `buf` at `base` plus the map's constants.
fn fragment(b: &mut KernelBuilder, buf: BufId, base: V, map: &LaneMap, (count, ty): (u16, Ty)) -> Vec<V> {
    let per = usize::from(ty.lanes);
    (0..usize::from(count))
        .map(|v| {
            let at = &map.elements[v * per..(v + 1) * per];
            if at.windows(2).all(|w| w[1] == w[0] + 1) {
                let offset = add_const(b, base, at[0]);
                return load(b, buf, offset, ty.lanes);
            }
            let mut scalars = at.iter().map(|&o| {
                let offset = add_const(b, base, o);
                load(b, buf, offset, 1)
            });
            let scalars: Vec<V> = scalars.by_ref().collect();
            let mut vector = splat(b, scalars[0], ty.lanes);
            for (lane, s) in scalars.iter().enumerate().skip(1) {
                vector = b.push(ty, Inst::Insert(vector, *s, lane as u16));
            }
            vector
        })
        .collect()
}

/// The kernel: buffers A[m, k], B[k, n] in the intrinsic's operand type, C[m, n] in its result type; symbol m.
pub fn matmul(id: IntrinsicId, n: i64, k: i64, t: Tile) -> Kernel {
    let intrinsic = id.row().expect("the intrinsic exists");
    let (im, inn, ik) = (i64::from(intrinsic.m), i64::from(intrinsic.n), i64::from(intrinsic.k));
    let short = intrinsic.name.rsplit('.').next().unwrap_or_default();
    let threads = t.threads();
    let grid_n = (n + t.bn - 1) / t.bn;
    let m_dim = Dim::sym("m");
    let tasks = m_dim.ceil_div(t.bm) * Dim::from(grid_n);
    let mut builder = empty(format!("matmul_{short}_{n}x{k}"), &["m"], tasks, threads as u32);
    let b = &mut builder;
    let ab = intrinsic.ab;
    let size = ab.size() as i64;
    let a = buffer(b, "a", ab, &[m_dim.clone(), Dim::from(k)], Space::Global, Access::Read);
    let bb = buffer(b, "b", ab, &[Dim::from(k), Dim::from(n)], Space::Global, Access::Read);
    let c = buffer(b, "c", intrinsic.c, &[m_dim, Dim::from(n)], Space::Global, Access::Write);
    // Rows are padded so that the lanes of a fragment load fall into different banks.
    let (stride_a, stride_b) = (t.bk + 16 / size, t.bn + 8);
    let a_tile = buffer(b, "a_tile", ab, &[2, t.bm, stride_a].map(Dim::from), Space::Shared, Access::ReadWrite);
    let b_tile = buffer(b, "b_tile", ab, &[2, t.bk, stride_b].map(Dim::from), Space::Shared, Access::ReadWrite);
    let left = Operand {
        global: a,
        shared: a_tile,
        rows: t.bm,
        cols: t.bk,
        global_stride: k,
        shared_stride: stride_a,
        chunk: chunk(k, ab).min(t.bk),
        elem: ab,
    };
    let right = Operand {
        global: bb,
        shared: b_tile,
        rows: t.bk,
        cols: t.bn,
        global_stride: n,
        shared_stride: stride_b,
        chunk: chunk(n, ab),
        elem: ab,
    };

    let m = b.push(Ty::INDEX, Inst::Sym(0));
    let task = b.push(Ty::INDEX, Inst::Task);
    let thread = b.push(Ty::INDEX, Inst::Thread(ThreadAxis::Thread));
    let lane = b.push(Ty::INDEX, Inst::Thread(ThreadAxis::Lane));
    let warp = b.push(Ty::INDEX, Inst::Thread(ThreadAxis::Warp));
    let block_m = with_const(b, BinaryOp::Div, task, grid_n);
    let block_n = with_const(b, BinaryOp::TruncMod, task, grid_n);
    let (m0, n0) = (mul_const(b, block_m, t.bm), mul_const(b, block_n, t.bn));
    let warp_m = with_const(b, BinaryOp::Div, warp, t.warps_n);
    let warp_n = with_const(b, BinaryOp::TruncMod, warp, t.warps_n);
    let (wm, wn) = (t.bm / t.warps_m, t.bn / t.warps_n);
    let (tiles_m, tiles_n) = (wm / im, wn / inn);
    let (row_w, col_w) = (mul_const(b, warp_m, wm), mul_const(b, warp_n, wn));

    let [frag_c, frag_a, frag_b] = intrinsic.fragments;
    let elements = |f: (u16, Ty)| f.0 * f.1.lanes;
    let map_a = LaneMap::new(intrinsic, elements(frag_a), intrinsic.a_map, |r, c| r * stride_a + c);
    let map_b = LaneMap::new(intrinsic, elements(frag_b), intrinsic.b_map, |r, c| r * stride_b + c);
    let (lane_a, lane_b) = (map_a.index(b, lane), map_b.index(b, lane));
    let warp_a = mul_const(b, row_w, stride_a);
    let (base_a, base_b) = (b.add(warp_a, lane_a), b.add(col_w, lane_b));

    // Copies the tiles of step `step` into its stage: even steps into the first, odd ones into the second.
    let fill = |b: &mut KernelBuilder, step: V| {
        let parity = with_const(b, BinaryOp::BitAnd, step, 1);
        let k0 = mul_const(b, step, t.bk);
        let edge_k = (k % t.bk != 0).then_some(k);
        let stage = mul_const(b, parity, left.stage_elements());
        left.copy(b, thread, threads, m0, k0, stage, Some(m), edge_k);
        let stage = mul_const(b, parity, right.stage_elements());
        let depth = edge_k.map(|k| b.index(k));
        right.copy(b, thread, threads, k0, n0, stage, depth, (n % t.bn != 0).then_some(n));
    };
    let steps = (k + t.bk - 1) / t.bk;
    let zero = b.index(0);
    fill(b, zero);
    b.push_effect(Inst::AsyncCommit);
    let init: Vec<_> =
        (0..tiles_m * tiles_n * i64::from(frag_c.0)).map(|_| (b.push(frag_c.1, Inst::ConstFloat(0.0)), None)).collect();
    let last = b.index(steps);
    let Ok(sums) = b.for_loop(LoopKind::Serial, zero, last, 1, 1, &init, |b, step, sums| -> Values {
        let next = add_const(b, step, 1);
        let more = b.compare(CompareOp::Lt, next, last);
        when(b, more, |b| fill(b, next), |_| {});
        b.push_effect(Inst::AsyncCommit);
        // All groups but the newest have landed: this step's tiles, in every thread once they meet.
        b.push_effect(Inst::AsyncWait(1));
        b.push_effect(Inst::Barrier);
        let parity = with_const(b, BinaryOp::BitAnd, step, 1);
        let stage_a = mul_const(b, parity, left.stage_elements());
        let stage_b = mul_const(b, parity, right.stage_elements());
        let (from_a, from_b) = (b.add(base_a, stage_a), b.add(base_b, stage_b));
        let carried: Vec<_> = sums.iter().map(|&s| (s, None)).collect();
        let (lo, hi) = (b.index(0), b.index(t.bk));
        let out = b.for_loop(LoopKind::Serial, lo, hi, ik, (t.bk / ik) as u16, &carried, |b, kk, sums| -> Values {
            let mut sums = sums.to_vec();
            let at_a = b.add(from_a, kk);
            let k_row = mul_const(b, kk, stride_b);
            let at_b = b.add(from_b, k_row);
            let fragments_of =
                |b: &mut KernelBuilder, tiles: i64, buf, at, step: i64, map: &LaneMap, frag| -> Vec<Vec<V>> {
                    (0..tiles)
                        .map(|i| {
                            let base = add_const(b, at, i * step);
                            fragment(b, buf, base, map, frag)
                        })
                        .collect()
                };
            let fa = fragments_of(b, tiles_m, a_tile, at_a, im * stride_a, &map_a, frag_a);
            let fb = fragments_of(b, tiles_n, b_tile, at_b, inn, &map_b, frag_b);
            let per = usize::from(frag_c.0);
            for (tile, acc) in sums.chunks_exact_mut(per).enumerate() {
                let (i, j) = (tile / tiles_n as usize, tile % tiles_n as usize);
                let operands = acc.iter().chain(&fa[i]).chain(&fb[j]).copied().collect();
                let results: Vec<V> = (0..per).map(|_| b.fresh(frag_c.1)).collect();
                b.push_stmt(kiln_ir::loops::Stmt { results: results.clone(), inst: Inst::Mma(id, operands) });
                acc.copy_from_slice(&results);
            }
            Ok(sums)
        });
        // Nobody refills a stage that another thread still reads.
        b.push_effect(Inst::Barrier);
        out
    });

    let map_row = LaneMap::new(intrinsic, elements(frag_c), intrinsic.c_map, |r, _| r);
    let map_col = LaneMap::new(intrinsic, elements(frag_c), intrinsic.c_map, |_, c| c);
    let (lane_row, lane_col) = (map_row.index(b, lane), map_col.index(b, lane));
    let (block_row, block_col) = (b.add(m0, row_w), b.add(n0, col_w));
    let (row, col) = (b.add(block_row, lane_row), b.add(block_col, lane_col));
    let row_start = mul_const(b, row, n);
    let origin = b.add(row_start, col);
    let per = usize::from(frag_c.0);
    for (tile, acc) in sums.chunks_exact(per).enumerate() {
        let (i, j) = ((tile as i64 / tiles_n) * im, (tile as i64 % tiles_n) * inn);
        let mut e = 0;
        while e < per {
            let (r, c0) = (i + map_row.elements[e], j + map_col.elements[e]);
            // Neighbours in a row go together where rows start at even elements.
            let pair = n % 2 == 0
                && e + 1 < per
                && map_row.elements[e + 1] == map_row.elements[e]
                && map_col.elements[e + 1] == map_col.elements[e] + 1;
            let value = if pair {
                let two = splat(b, acc[e], 2);
                b.push(Ty::vector(intrinsic.c, 2), Inst::Insert(two, acc[e + 1], 1))
            } else {
                acc[e]
            };
            let at = add_const(b, origin, r * n + c0);
            let own_row = add_const(b, row, r);
            let mut inside = b.compare(CompareOp::Lt, own_row, m);
            if n % t.bn != 0 {
                let own_col = add_const(b, col, c0);
                let col_ok = below(b, own_col, n);
                inside = b.binary(BinaryOp::And, inside, col_ok);
            }
            when(b, inside, |b| b.store(c, vec![at], value), |_| {});
            e += if pair { 2 } else { 1 };
        }
    }
    builder.finish()
}
