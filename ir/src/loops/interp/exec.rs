//! Executes resolved kernels: each operation for all active threads before the next.

use std::collections::VecDeque;

use super::compile::{Address, Code, Extents, ForOp, MemRef, Move, Op, Operand, Program, Reg, TileOp};
use super::memory::{Context, Memory, TASKS, THREADS};
use super::{BufferData, ErrorKind, RunOptions};
use crate::loops::inst::{Intrinsic, ThreadAxis};
use crate::loops::{Kernel, Space};
use crate::scalar_eval::{Fault, word};

/// Threads of a warp.
const WARP: u32 = 32;

/// An error with its place.
pub(super) struct Failure {
    pub stmt: Option<u32>,
    pub task: i64,
    pub thread: u32,
    pub kind: Box<ErrorKind>,
}

/// Why execution leaves the kernel.
enum Stop {
    Error { stmt: Option<u32>, thread: u32, kind: Box<ErrorKind> },
    Status(i32),
}

/// An error at a thread.
fn at(thread: u32) -> impl Fn(ErrorKind) -> Stop {
    move |kind| Stop::Error { stmt: None, thread, kind: Box::new(kind) }
}

fn fault(thread: u32) -> impl Fn(Fault) -> Stop {
    move |f| at(thread)(ErrorKind::Fault(f))
}

/// An asynchronous copy under way: the destination and the words that will arrive there.
struct Copy {
    mem: usize,
    offset: i64,
    words: Vec<u64>,
}

/// A thread's asynchronous copies.
#[derive(Default)]
struct Copies {
    open: Vec<Copy>,
    groups: VecDeque<Vec<Copy>>,
}

pub(super) struct Machine<'k> {
    kernel: &'k Kernel,
    program: &'k Program,
    /// Registers of all threads, one thread after the other.
    regs: Vec<u64>,
    words: usize,
    threads: u32,
    memories: Vec<Memory>,
    ctx: Context,
    copies: Vec<Copies>,
    task: i64,
    fuel: u64,
    /// Buffers for values in flight, kept to save allocations.
    scratch: Vec<u64>,
    indices: Vec<i64>,
}

impl<'k> Machine<'k> {
    pub fn new(kernel: &'k Kernel, program: &'k Program, data: &[BufferData], options: &RunOptions) -> Machine<'k> {
        let threads = kernel.threads;
        let mut memories = vec![];
        let mut data = data.iter();
        for (b, plan) in kernel.buffers.iter().zip(&program.buffers) {
            let copies = if b.space == Space::Private { threads } else { 1 };
            for _ in 0..copies {
                memories.push(Memory::new(b, plan.size, options));
            }
            if b.space == Space::Global
                && let (Some(m), Some(d)) = (memories.last_mut(), data.next())
            {
                m.fill(d, b.access);
            }
        }
        let words = program.registers.len();
        let mut regs = Vec::with_capacity(words * threads as usize);
        for t in 0..threads {
            let base = regs.len();
            regs.extend_from_slice(&program.registers);
            for &(r, axis) in &program.thread {
                regs[base + r] = u64::from(match axis {
                    ThreadAxis::Thread => t,
                    ThreadAxis::Lane => t % WARP,
                    ThreadAxis::Warp => t / WARP,
                });
            }
        }
        Machine {
            kernel,
            program,
            regs,
            words,
            threads,
            memories,
            ctx: Context::new(threads),
            copies: (0..threads).map(|_| Copies::default()).collect(),
            task: 0,
            fuel: options.fuel,
            scratch: vec![],
            indices: vec![],
        }
    }

    /// Hands the contents of the global buffers back.
    pub fn give_back(&self, data: &mut [BufferData]) {
        for ((id, _), d) in self.kernel.params().zip(data) {
            self.memories[self.program.buffers[id.0 as usize].mem.base].give_back(d);
        }
    }

    pub fn run(&mut self) -> Result<i32, Failure> {
        let all: Vec<u32> = (0..self.threads).collect();
        for task in 0..self.program.tasks {
            self.begin_task(task);
            match self.burn().and_then(|()| self.block(&self.program.code, &all)) {
                Ok(()) => {}
                Err(Stop::Status(s)) => return Ok(s),
                Err(Stop::Error { stmt, thread, kind }) => return Err(Failure { stmt, task, thread, kind }),
            }
        }
        Ok(0)
    }

    fn begin_task(&mut self, task: i64) {
        self.task = task;
        self.ctx.levels[TASKS].current = task as u64;
        self.new_epoch();
        for t in 0..self.threads as usize {
            for &r in &self.program.task {
                self.regs[t * self.words + r] = task as u64;
            }
            self.copies[t] = Copies::default();
        }
        for (b, plan) in self.kernel.buffers.iter().zip(&self.program.buffers) {
            if b.space != Space::Global {
                let n = if plan.mem.per_thread == 1 { self.threads as usize } else { 1 };
                self.memories[plan.mem.base..plan.mem.base + n].iter_mut().for_each(Memory::reset);
            }
        }
    }

    /// Threads that have met at a barrier no longer race with what they did before.
    fn new_epoch(&mut self) {
        let level = &mut self.ctx.levels[THREADS];
        level.base = level.next;
        level.current = level.base;
        level.next += u64::from(self.threads);
    }

    /// Says which thread accesses memory next, and returns its memory and its registers' place.
    fn enter(&mut self, t: u32, mem: MemRef) -> (usize, usize) {
        let level = &mut self.ctx.levels[THREADS];
        level.current = level.base + u64::from(t);
        (mem.base + mem.per_thread * t as usize, t as usize * self.words)
    }

    /// Pays for a statement, an iteration or a task.
    fn burn(&mut self) -> Result<(), Stop> {
        self.fuel = self.fuel.checked_sub(1).ok_or_else(|| at(0)(ErrorKind::OutOfFuel))?;
        Ok(())
    }

    fn block(&mut self, code: &Code, active: &[u32]) -> Result<(), Stop> {
        for (nth, op) in &code.ops {
            self.burn().and_then(|()| self.op(op, active)).map_err(|stop| match stop {
                Stop::Error { stmt: None, thread, kind } => Stop::Error { stmt: Some(*nth), thread, kind },
                other => other,
            })?;
        }
        Ok(())
    }

    /// Calls `f` with the position of the result and of each operand, for all elements.
    #[inline]
    fn each<const N: usize>(
        size: Extents,
        operands: [Operand; N],
        mut f: impl FnMut(usize, [usize; N]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if size.rows == 1 && size.lanes == 1 {
            return f(0, operands.map(|o| o.at));
        }
        for r in 0..size.rows {
            for l in 0..size.lanes {
                f(r * size.lanes + l, operands.map(|o| o.at + r * o.row + l * o.lane))?;
            }
        }
        Ok(())
    }

    fn op(&mut self, op: &Op, active: &[u32]) -> Result<(), Stop> {
        let words = self.words;
        match op {
            Op::Load { mem, at: address, dst, size } => {
                for &t in active {
                    self.load(t, *mem, address, *dst, *size)?;
                }
            }
            Op::Store { mem, at: address, value, size } => {
                for &t in active {
                    self.store(t, *mem, address, *value, *size)?;
                }
            }
            Op::Binary { f, op, dst, size, a, b } => {
                for &t in active {
                    let r = &mut self.regs[t as usize * words..][..words];
                    Self::each(*size, [*a, *b], |i, [a, b]| {
                        r[dst + i] = f(*op, r[a], r[b]).map_err(fault(t))?;
                        Ok(())
                    })?;
                }
            }
            Op::Fma { f, dst, size, a, b, c } => {
                for &t in active {
                    let r = &mut self.regs[t as usize * words..][..words];
                    Self::each(*size, [*a, *b, *c], |i, [a, b, c]| {
                        r[dst + i] = f(r[a], r[b], r[c]).map_err(fault(t))?;
                        Ok(())
                    })?;
                }
            }
            Op::Unary { f, op, dst, src, n } => {
                for &t in active {
                    let r = &mut self.regs[t as usize * words..][..words];
                    for i in 0..*n {
                        r[dst + i] = f(*op, r[src + i]).map_err(fault(t))?;
                    }
                }
            }
            Op::Cast { f, dst, src, n } => {
                for &t in active {
                    let r = &mut self.regs[t as usize * words..][..words];
                    for i in 0..*n {
                        r[dst + i] = f(r[src + i]);
                    }
                }
            }
            Op::Compare { f, op, dst, size, a, b } => {
                for &t in active {
                    let r = &mut self.regs[t as usize * words..][..words];
                    Self::each(*size, [*a, *b], |i, [a, b]| {
                        r[dst + i] = f(*op, r[a], r[b]).map_err(fault(t))?.into();
                        Ok(())
                    })?;
                }
            }
            Op::Select { dst, size, c, a, b } => {
                for &t in active {
                    let r = &mut self.regs[t as usize * words..][..words];
                    Self::each(*size, [*c, *a, *b], |i, [c, a, b]| {
                        r[dst + i] = if r[c] != 0 { r[a] } else { r[b] };
                        Ok(())
                    })?;
                }
            }
            Op::Copy { dst, size, src } => {
                for &t in active {
                    let r = &mut self.regs[t as usize * words..][..words];
                    Self::each(*size, [*src], |i, [s]| {
                        r[dst + i] = r[s];
                        Ok(())
                    })?;
                }
            }
            Op::Insert { dst, src, n, value, lane } => {
                for &t in active {
                    let r = &mut self.regs[t as usize * words..][..words];
                    r.copy_within(*src..src + n, *dst);
                    r[dst + lane] = r[*value];
                }
            }
            Op::ReduceLanes { f, op, dst, src, size } => {
                for &t in active {
                    let r = &mut self.regs[t as usize * words..][..words];
                    for row in 0..size.rows {
                        let from = src + row * size.lanes;
                        self.scratch.clear();
                        self.scratch.extend_from_slice(&r[from..from + size.lanes]);
                        // A balanced tree: the upper half is combined into the lower one until one lane is left.
                        let mut n = size.lanes;
                        while n > 1 {
                            n /= 2;
                            for i in 0..n {
                                self.scratch[i] = f(*op, self.scratch[i], self.scratch[i + n]).map_err(fault(t))?;
                            }
                        }
                        r[dst + row] = self.scratch[0];
                    }
                }
            }
            Op::ReduceInto { f, op, mem, at: address, value } => {
                for &t in active {
                    let (m, base) = self.enter(t, *mem);
                    let offset = self.offset(t, *mem, address, 0, 0).map_err(at(t))?;
                    let old = self.memories[m].load(offset, &self.ctx).map_err(at(t))?;
                    let new = f(*op, old, self.regs[base + value]).map_err(fault(t))?;
                    self.memories[m].store(offset, new, &self.ctx).map_err(at(t))?;
                }
            }
            Op::Touch { mem, at: reg } => {
                for &t in active {
                    let (m, base) = self.enter(t, *mem);
                    self.memories[m].at(self.regs[base + reg] as i64).map_err(at(t))?;
                }
            }
            Op::For(l) => return self.for_loop(l, active),
            Op::If { cond, sides } => {
                let taken = |t: &u32| self.regs[*t as usize * words + cond] != 0;
                let (yes, no): (Vec<u32>, Vec<u32>) = active.iter().copied().partition(taken);
                for ((code, moves), part) in sides.iter().zip([yes, no]) {
                    if !part.is_empty() {
                        self.block(code, &part)?;
                        self.moves(moves, &part);
                    }
                }
            }
            Op::Mma { row, operands, results } => return self.mma(row, operands, results, active),
            Op::WarpXor { dst, src, n, mask } => return self.warp_xor(*dst, *src, *n, *mask, active),
            Op::AsyncCopy { dst, dst_offset, src, src_offset, elements, bytes } => {
                for &t in active {
                    let (from, base) = self.enter(t, *src);
                    let (to, _) = self.enter(t, *dst);
                    let (d, s) = (self.regs[base + dst_offset] as i64, self.regs[base + src_offset] as i64);
                    if d % elements != 0 || s % elements != 0 {
                        return Err(at(t)(ErrorKind::Misaligned { bytes: *bytes, dst: d, src: s }));
                    }
                    let mut words = vec![];
                    for i in 0..*elements {
                        // A wrapped offset is out of bounds like any other.
                        words.push(self.memories[from].load(s.wrapping_add(i), &self.ctx).map_err(at(t))?);
                        self.memories[to].invalidate(d.wrapping_add(i)).map_err(at(t))?;
                    }
                    self.copies[t as usize].open.push(Copy { mem: to, offset: d, words });
                }
            }
            Op::AsyncCommit => {
                for &t in active {
                    let c = &mut self.copies[t as usize];
                    let group = std::mem::take(&mut c.open);
                    c.groups.push_back(group);
                }
            }
            Op::AsyncWait(n) => {
                for &t in active {
                    self.enter(t, MemRef { base: 0, per_thread: 0 });
                    while self.copies[t as usize].groups.len() > *n {
                        for c in self.copies[t as usize].groups.pop_front().unwrap_or_default() {
                            for (i, w) in c.words.into_iter().enumerate() {
                                self.memories[c.mem].store(c.offset + i as i64, w, &self.ctx).map_err(at(t))?;
                            }
                        }
                    }
                }
            }
            Op::Barrier => {
                if active.len() != self.threads as usize {
                    let first = active.first().copied().unwrap_or(0);
                    return Err(at(first)(ErrorKind::Divergent("block")));
                }
                self.new_epoch();
            }
            Op::CallTile(c) => {
                for &t in active {
                    self.call_tile(c, t).map_err(at(t))?;
                }
            }
            Op::Check { ok, elements, status } => {
                let fails = |&t: &u32| self.regs[t as usize * words + ok..][..*elements].contains(&0);
                if active.iter().any(fails) {
                    return Err(Stop::Status(*status));
                }
            }
        }
        Ok(())
    }

    /// The element offset of one element of an access.
    #[inline]
    fn offset(&mut self, t: u32, mem: MemRef, address: &Address, row: usize, lane: usize) -> Result<i64, ErrorKind> {
        let base = t as usize * self.words;
        let Address::Logical { index, shape, limit, start, axes } = address else {
            return Ok(match address {
                Address::Contiguous(r) => (self.regs[base + r] as i64).wrapping_add(lane as i64),
                Address::Lanes(r) => self.regs[base + r + lane] as i64,
                Address::Logical { .. } => 0,
            });
        };
        self.indices.clear();
        for (axis, (o, &limit)) in index.iter().zip(limit).enumerate() {
            let i = self.regs[base + o.at + row * o.row + lane * o.lane] as i64;
            self.indices.push(i);
            if i < 0 || i >= limit {
                for o in &index[axis + 1..] {
                    self.indices.push(self.regs[base + o.at + row * o.row + lane * o.lane] as i64);
                }
                let buffer = self.buffer_name(mem);
                return Err(ErrorKind::OutOfShape { buffer, index: self.indices.clone(), shape: shape.clone(), axis });
            }
        }
        let mut offset = *start;
        for a in axes {
            let mut i = self.indices[a.axis];
            if a.div != 1 {
                i /= a.div;
            }
            if a.modulo != 0 {
                i %= a.modulo;
            }
            offset = offset.wrapping_add(i.wrapping_mul(a.stride));
        }
        Ok(offset)
    }

    fn buffer_name(&self, mem: MemRef) -> String {
        let plan = self.program.buffers.iter().position(|p| p.mem.base == mem.base);
        plan.map_or(String::new(), |i| self.kernel.buffers[i].name.clone())
    }

    #[inline]
    fn load(&mut self, t: u32, mem: MemRef, address: &Address, dst: Reg, size: Extents) -> Result<(), Stop> {
        let (m, base) = self.enter(t, mem);
        for row in 0..size.rows {
            for lane in 0..size.lanes {
                let offset = self.offset(t, mem, address, row, lane).map_err(at(t))?;
                let w = self.memories[m].load(offset, &self.ctx).map_err(at(t))?;
                self.regs[base + dst + row * size.lanes + lane] = w;
            }
        }
        Ok(())
    }

    #[inline]
    fn store(&mut self, t: u32, mem: MemRef, address: &Address, value: Operand, size: Extents) -> Result<(), Stop> {
        let (m, base) = self.enter(t, mem);
        if let Address::Lanes(r) = address {
            let offsets = &self.regs[base + r..base + r + size.lanes];
            if let Some(twice) = offsets.iter().enumerate().find(|(i, o)| offsets[..*i].contains(o)) {
                let offset = *twice.1 as i64;
                return Err(at(t)(ErrorKind::SameLane { buffer: self.buffer_name(mem), offset }));
            }
        }
        for row in 0..size.rows {
            for lane in 0..size.lanes {
                let offset = self.offset(t, mem, address, row, lane).map_err(at(t))?;
                let w = self.regs[base + value.at + row * value.row + lane * value.lane];
                self.memories[m].store(offset, w, &self.ctx).map_err(at(t))?;
            }
        }
        Ok(())
    }

    /// Copies registers in parallel: all are read before the first is written.
    fn moves(&mut self, moves: &[Move], active: &[u32]) {
        for &t in active {
            let r = &mut self.regs[t as usize * self.words..][..self.words];
            if let [m] = moves {
                r.copy_within(m.from..m.from + m.n, m.to);
                continue;
            }
            self.scratch.clear();
            for m in moves {
                self.scratch.extend_from_slice(&r[m.from..m.from + m.n]);
            }
            let mut at = 0;
            for m in moves {
                r[m.to..m.to + m.n].copy_from_slice(&self.scratch[at..at + m.n]);
                at += m.n;
            }
        }
    }

    fn for_loop(&mut self, l: &ForOp, active: &[u32]) -> Result<(), Stop> {
        let reg = |t: u32, r: Reg| t as usize * self.words + r;
        for &t in active {
            let trips = trip_count(self.regs[reg(t, l.lo)] as i64, self.regs[reg(t, l.hi)] as i64, l.step);
            if !trips.is_multiple_of(u64::from(l.unroll)) {
                return Err(at(t)(ErrorKind::Unroll { trips, unroll: l.unroll }));
            }
        }
        self.moves(&l.start, active);
        for &t in active {
            let (iv, lo) = (t as usize * self.words + l.iv, t as usize * self.words + l.lo);
            self.regs[iv] = self.regs[lo];
        }
        // Each parallel loop is a level of concurrency; its parties are numbered anew every time it runs.
        let level = self.ctx.levels.len();
        if l.parallel {
            self.ctx.open();
        }
        let outcome = self.iterations(l, active, level);
        if l.parallel {
            self.ctx.close();
        }
        outcome?;
        self.moves(&l.end, active);
        Ok(())
    }

    fn iterations(&mut self, l: &ForOp, active: &[u32], level: usize) -> Result<(), Stop> {
        let words = self.words;
        let mut part: Vec<u32> = vec![];
        loop {
            let goes_on = |t: &u32| {
                let base = *t as usize * words;
                (self.regs[base + l.iv] as i64) < self.regs[base + l.hi] as i64
            };
            let all = active.iter().all(goes_on);
            if !all {
                part.clear();
                part.extend(active.iter().copied().filter(goes_on));
                if part.is_empty() {
                    return Ok(());
                }
            }
            let now = if all { active } else { &part };
            if now.is_empty() {
                return Ok(());
            }
            self.burn()?;
            self.block(&l.body, now)?;
            self.moves(&l.next, now);
            for &t in now {
                let iv = t as usize * words + l.iv;
                // A step past the largest i64 is past every bound.
                self.regs[iv] = (self.regs[iv] as i64).saturating_add(l.step) as u64;
            }
            if l.parallel {
                let c = &mut self.ctx.levels[level];
                c.current += 1;
                c.next = c.current + 1;
            }
        }
    }

    fn warp_xor(&mut self, dst: Reg, src: Reg, n: usize, mask: u32, active: &[u32]) -> Result<(), Stop> {
        let mut values = Vec::with_capacity(active.len() * n);
        for &t in active {
            let other = t ^ mask;
            if active.binary_search(&other).is_err() {
                return Err(at(t)(ErrorKind::Divergent("warp")));
            }
            let from = other as usize * self.words + src;
            values.extend_from_slice(&self.regs[from..from + n]);
        }
        for (i, &t) in active.iter().enumerate() {
            let to = t as usize * self.words + dst;
            self.regs[to..to + n].copy_from_slice(&values[i * n..(i + 1) * n]);
        }
        Ok(())
    }

    /// A matrix intrinsic: the plain product under the fragment maps. Each element is accumulated in f64 in the order
    /// of k and rounded once.
    fn mma(&mut self, row: &Intrinsic, operands: &[Reg], results: &[Reg], active: &[u32]) -> Result<(), Stop> {
        let group = usize::from(row.threads);
        let (m, n, k) = (usize::from(row.m), usize::from(row.n), usize::from(row.k));
        let unsupported = || at(0)(ErrorKind::Fault(Fault::Unsupported));
        let counts = row.fragments.map(|f| usize::from(f.0));
        for threads in active.chunks(group) {
            let first = threads[0];
            let together = threads.len() == group && threads.iter().enumerate().all(|(i, &t)| t == first + i as u32);
            if !together || !(first as usize).is_multiple_of(group) {
                return Err(at(first)(ErrorKind::Divergent("warp")));
            }
            let mut matrices = [vec![0.0; m * n], vec![0.0; m * k], vec![0.0; k * n]];
            let maps = [(row.c_map, n), (row.a_map, k), (row.b_map, n)];
            let mut at_operand = 0;
            for (f, ((_, ty), (map, columns))) in row.fragments.iter().zip(maps).enumerate() {
                let lanes = usize::from(ty.lanes);
                for (ti, &t) in threads.iter().enumerate() {
                    for e in 0..counts[f] * lanes {
                        let reg = t as usize * self.words + operands[at_operand + e / lanes] + e % lanes;
                        let (r, c) = map(ti as u16, e as u16);
                        let x = word::to_f64(ty.elem, self.regs[reg]).ok_or_else(unsupported)?;
                        matrices[f][usize::from(r) * columns + usize::from(c)] = x;
                    }
                }
                at_operand += counts[f];
            }
            let [mut c, a, b] = matrices;
            for i in 0..m {
                for j in 0..n {
                    for x in 0..k {
                        c[i * n + j] += a[i * k + x] * b[x * n + j];
                    }
                }
            }
            let lanes = usize::from(row.fragments[0].1.lanes);
            for (ti, &t) in threads.iter().enumerate() {
                for e in 0..counts[0] * lanes {
                    let (i, j) = (row.c_map)(ti as u16, e as u16);
                    let x = c[usize::from(i) * n + usize::from(j)];
                    let reg = t as usize * self.words + results[e / lanes] + e % lanes;
                    self.regs[reg] = word::from_f64(row.c, x).ok_or_else(unsupported)?;
                }
            }
        }
        Ok(())
    }

    /// A register tile by its formula, in f32 with fused multiply-adds, taps outermost.
    fn call_tile(&mut self, c: &TileOp, t: u32) -> Result<(), ErrorKind> {
        let (a, base) = self.enter(t, c.a);
        let [b, out, a_offsets, tap_offsets] = [c.b, c.out, c.a_offsets, c.tap_offsets].map(|m| self.enter(t, m).0);
        let reg = |r: Reg| self.regs[base + r] as i64;
        let (taps, depth, b_offset, valid) = (reg(c.taps), reg(c.depth), reg(c.b_offset), reg(c.valid_rows));
        if !(0..=i64::from(c.call.rows)).contains(&valid) {
            return Err(ErrorKind::ValidRows { valid, rows: c.call.rows });
        }
        let (mem, ctx, lanes) = (&mut self.memories, &self.ctx, i64::from(c.call.lanes));
        for r in 0..valid {
            let row = mem[a_offsets].load(r, ctx)? as i64;
            for l in 0..lanes {
                let at = r * lanes + l;
                let mut sum = if c.call.accumulate { f32::from_bits(mem[out].load(at, ctx)? as u32) } else { 0.0 };
                for tap in 0..taps {
                    let from = row.wrapping_add(mem[tap_offsets].load(tap, ctx)? as i64);
                    for k in 0..depth {
                        let x = f32::from_bits(mem[a].load(from.wrapping_add(k), ctx)? as u32);
                        let at_b = b_offset.wrapping_add((tap.wrapping_mul(depth).wrapping_add(k)).wrapping_mul(lanes));
                        let y = f32::from_bits(mem[b].load(at_b.wrapping_add(l), ctx)? as u32);
                        sum = x.mul_add(y, sum);
                    }
                }
                mem[out].store(at, u64::from(sum.to_bits()), ctx)?;
            }
        }
        Ok(())
    }
}

/// The iterations of `for lo, lo + step, .. < hi`; the step is positive.
fn trip_count(lo: i64, hi: i64, step: i64) -> u64 {
    if lo >= hi { 0 } else { hi.abs_diff(lo).div_ceil(step as u64) }
}
