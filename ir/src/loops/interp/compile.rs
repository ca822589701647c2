//! Resolves a verified kernel for execution: values become register numbers, buffers memories, operations functions.

use crate::loops::inst::{Block, CallTile, For, Inst, Intrinsic, LoopKind, Stmt, ThreadAxis, Ty, V};
use crate::loops::{BufId, Kernel, Level, Space};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::scalar_eval::word::{self, BinaryWord, CastWord, CompareWord, FmaWord, UnaryWord};
use crate::{DType, Dim};

/// The most register words of all threads together (2 GiB).
const MAX_WORDS: usize = 1 << 28;

/// Where a value's elements are in a thread's registers: row-major, one word each.
pub(super) type Reg = usize;

/// A value under the extents of the operation that reads it: strides are 0 along broadcast extents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub at: Reg,
    pub row: usize,
    pub lane: usize,
}

/// The memory of a buffer: `base`, or for a private one `base + thread`.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemRef {
    pub base: usize,
    pub per_thread: usize,
}

/// The shape of an operation: rows, lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    pub rows: usize,
    pub lanes: usize,
}

/// Which elements an access touches.
#[derive(Debug)]
pub(super) enum Address {
    /// One index an axis, through the layout.
    Logical { index: Vec<Operand>, shape: Vec<i64>, limit: Vec<i64>, start: i64, axes: Vec<Axis> },
    /// Consecutive elements from an offset.
    Contiguous(Reg),
    /// An offset for each lane.
    Lanes(Reg),
}

/// A physical axis with its stride as a number.
#[derive(Debug)]
pub(super) struct Axis {
    pub axis: usize,
    pub div: i64,
    pub modulo: i64,
    pub stride: i64,
}

#[derive(Debug)]
pub(super) enum Op {
    Unary {
        f: UnaryWord,
        op: UnaryOp,
        dst: Reg,
        src: Reg,
        n: usize,
    },
    Cast {
        f: CastWord,
        dst: Reg,
        src: Reg,
        n: usize,
    },
    Binary {
        f: BinaryWord,
        op: BinaryOp,
        dst: Reg,
        size: Extents,
        a: Operand,
        b: Operand,
    },
    Compare {
        f: CompareWord,
        op: CompareOp,
        dst: Reg,
        size: Extents,
        a: Operand,
        b: Operand,
    },
    Select {
        dst: Reg,
        size: Extents,
        c: Operand,
        a: Operand,
        b: Operand,
    },
    Fma {
        f: FmaWord,
        dst: Reg,
        size: Extents,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// Splat, slice, extract, bitcast.
    Copy {
        dst: Reg,
        size: Extents,
        src: Operand,
    },
    Insert {
        dst: Reg,
        src: Reg,
        n: usize,
        value: Reg,
        lane: usize,
    },
    ReduceLanes {
        f: BinaryWord,
        op: BinaryOp,
        dst: Reg,
        src: Reg,
        size: Extents,
    },
    Load {
        mem: MemRef,
        at: Address,
        dst: Reg,
        size: Extents,
    },
    Store {
        mem: MemRef,
        at: Address,
        value: Operand,
        size: Extents,
    },
    ReduceInto {
        f: BinaryWord,
        op: BinaryOp,
        mem: MemRef,
        at: Address,
        value: Reg,
    },
    /// A prefetch: only checked for its bounds.
    Touch {
        mem: MemRef,
        at: Reg,
    },
    For(Box<ForOp>),
    If {
        cond: Reg,
        sides: Box<[(Code, Vec<Move>); 2]>,
    },
    Mma {
        row: &'static Intrinsic,
        operands: Vec<Reg>,
        results: Vec<Reg>,
    },
    WarpXor {
        dst: Reg,
        src: Reg,
        n: usize,
        mask: u32,
    },
    AsyncCopy {
        dst: MemRef,
        dst_offset: Reg,
        src: MemRef,
        src_offset: Reg,
        elements: i64,
        bytes: u8,
    },
    AsyncCommit,
    AsyncWait(usize),
    Barrier,
    CallTile(Box<TileOp>),
    Check {
        ok: Reg,
        /// Conditions in the tile.
        elements: usize,
        status: i32,
    },
}

#[derive(Debug)]
pub(super) struct TileOp {
    pub call: CallTile,
    pub a: MemRef,
    pub a_offsets: MemRef,
    pub tap_offsets: MemRef,
    pub b: MemRef,
    pub out: MemRef,
    pub taps: Reg,
    pub depth: Reg,
    pub b_offset: Reg,
    pub valid_rows: Reg,
}

/// Registers `[from, from + n)` to `[to, to + n)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub from: Reg,
    pub to: Reg,
    pub n: usize,
}

#[derive(Debug)]
pub(super) struct ForOp {
    pub parallel: bool,
    pub iv: Reg,
    pub lo: Reg,
    pub hi: Reg,
    pub step: i64,
    pub unroll: u16,
    /// Initial to inner values, yielded to inner, inner to final.
    pub start: Vec<Move>,
    pub next: Vec<Move>,
    pub end: Vec<Move>,
    pub body: Code,
}

/// Statements with their numbers in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub ops: Vec<(u32, Op)>,
}

/// A buffer with its size as a number.
#[derive(Debug)]
pub(super) struct BufferPlan {
    pub mem: MemRef,
    pub size: usize,
}

/// A resolved kernel.
#[derive(Debug)]
pub(super) struct Program {
    pub tasks: i64,
    pub code: Code,
    /// What a thread's registers hold before the first task: constants, symbols, dimensions, iotas.
    pub registers: Vec<u64>,
    /// Registers that hold the task number.
    pub task: Vec<Reg>,
    /// Registers that hold a thread's coordinates.
    pub thread: Vec<(Reg, ThreadAxis)>,
    pub buffers: Vec<BufferPlan>,
    pub memories: usize,
}

pub(super) fn compile(kernel: &Kernel, symbols: &[i64]) -> Result<Program, String> {
    if symbols.len() != kernel.symbols.len() {
        return Err(format!("{} symbols are given for {}", symbols.len(), kernel.symbols.len()));
    }
    let mut words = 0usize;
    let mut regs = Vec::with_capacity(kernel.types.len());
    for t in &kernel.types {
        regs.push(words);
        words = words.saturating_add(usize::from(t.rows) * usize::from(t.lanes));
    }
    if words.saturating_mul(kernel.threads as usize) > MAX_WORDS {
        return Err(format!("the kernel's values take {words} words a thread, too many to interpret"));
    }
    let program = Program {
        tasks: 0,
        code: Code::default(),
        registers: vec![0; words],
        task: vec![],
        thread: vec![],
        buffers: vec![],
        memories: 0,
    };
    let mut c = Compiler { kernel, symbols, regs, program, next: 0 };
    c.program.tasks = c.dim(&kernel.tasks)?;
    for b in &kernel.buffers {
        let size = c.dim(&b.layout.size)?;
        let size = usize::try_from(size).map_err(|_| format!("@{} has size {size}", b.name))?;
        let private = b.space == Space::Private;
        let mem = MemRef { base: c.program.memories, per_thread: usize::from(private) };
        c.program.memories += if private { kernel.threads as usize } else { 1 };
        c.program.buffers.push(BufferPlan { mem, size });
    }
    let code = c.block(&kernel.body)?;
    c.program.code = code;
    Ok(c.program)
}

struct Compiler<'a> {
    kernel: &'a Kernel,
    symbols: &'a [i64],
    regs: Vec<Reg>,
    program: Program,
    /// Number of the next statement.
    next: u32,
}

/// The verifier has accepted the operation for the type, so that the table has it.
fn table<T>(entry: Option<T>) -> Result<T, String> {
    entry.ok_or_else(|| "an operation has no function for its element type".into())
}

impl Compiler<'_> {
    fn dim(&self, d: &Dim) -> Result<i64, String> {
        let bind = |s: &crate::Symbol| Some(self.symbols[self.kernel.symbols.iter().position(|k| k == s)?]);
        d.eval(&bind).ok_or_else(|| format!("`{d}` has no value under symbols {:?}", self.symbols))
    }

    fn reg(&self, v: V) -> Reg {
        self.regs[v.0 as usize]
    }

    fn words(&self, v: V) -> usize {
        let t = self.kernel.ty(v);
        usize::from(t.rows) * usize::from(t.lanes)
    }

    fn operand(&self, v: V) -> Operand {
        let t = self.kernel.ty(v);
        let row = if t.rows == 1 { 0 } else { t.lanes.into() };
        Operand { at: self.reg(v), row, lane: usize::from(t.lanes != 1) }
    }

    fn moves(&self, from: &[V], to: &[V]) -> Vec<Move> {
        let pair = |(&f, &t)| Move { from: self.reg(f), to: self.reg(t), n: self.words(f) };
        from.iter().zip(to).map(pair).collect()
    }

    fn mem(&self, b: BufId) -> MemRef {
        self.program.buffers[b.0 as usize].mem
    }

    fn block(&mut self, b: &Block) -> Result<Code, String> {
        let mut code = Code::default();
        for s in &b.stmts {
            let nth = self.next;
            self.next += 1;
            if let Some(op) = self.stmt(s)? {
                code.ops.push((nth, op));
            }
        }
        Ok(code)
    }

    /// Puts a value that never changes into the initial registers.
    fn preset(&mut self, v: V, word: impl Fn(usize, usize) -> u64) {
        let (t, at) = (self.kernel.ty(v), self.reg(v));
        let lanes = usize::from(t.lanes);
        for i in 0..self.words(v) {
            self.program.registers[at + i] = word(i / lanes, i % lanes);
        }
    }

    fn address(&self, buf: BufId, index: &[V]) -> Result<Address, String> {
        if self.kernel.level == Level::Machine {
            return Ok(Address::Contiguous(self.reg(index[0])));
        }
        let b = self.kernel.buffer(buf);
        let shape: Vec<i64> = b.shape.iter().map(|d| self.dim(d)).collect::<Result<_, _>>()?;
        let mut axes = vec![];
        // The elements that pad a split axis to whole parts are there to be read and written by whole tiles.
        let mut limit = shape.clone();
        for a in &b.layout.axes {
            if a.modulo == 0 && a.div > 1 && self.kernel.level == Level::Scheduled {
                let parts = limit[a.axis].checked_add(a.div - 1).ok_or("an extent leaves i64")?.div_euclid(a.div);
                limit[a.axis] = parts.checked_mul(a.div).ok_or("an extent leaves i64")?;
            }
            axes.push(Axis { axis: a.axis, div: a.div, modulo: a.modulo, stride: self.dim(&a.stride)? });
        }
        let index = index.iter().map(|&v| self.operand(v)).collect();
        Ok(Address::Logical { index, shape, limit, start: self.dim(&b.layout.start)?, axes })
    }

    fn stmt(&mut self, s: &Stmt) -> Result<Option<Op>, String> {
        let result = s.results.first().copied();
        let ty = result.map_or(Ty::INDEX, |r| self.kernel.ty(r));
        let dst = result.map_or(0, |r| self.reg(r));
        let size = Extents { rows: ty.rows.into(), lanes: ty.lanes.into() };
        let n = size.rows * size.lanes;
        let elem = |v: V| self.kernel.ty(v).elem;
        Ok(Some(match &s.inst {
            Inst::ConstFloat(x) => {
                let w = table(word::from_f64(ty.elem, *x))?;
                result.into_iter().for_each(|r| self.preset(r, |_, _| w));
                return Ok(None);
            }
            Inst::ConstInt(x) => {
                let w = table(word::from_i64(ty.elem, *x))?;
                result.into_iter().for_each(|r| self.preset(r, |_, _| w));
                return Ok(None);
            }
            Inst::Sym(slot) => {
                let w = self.symbols[*slot as usize] as u64;
                result.into_iter().for_each(|r| self.preset(r, |_, _| w));
                return Ok(None);
            }
            Inst::Dim(d) => {
                let w = self.dim(d)? as u64;
                result.into_iter().for_each(|r| self.preset(r, |_, _| w));
                return Ok(None);
            }
            Inst::IotaLanes => {
                result.into_iter().for_each(|r| self.preset(r, |_, lane| lane as u64));
                return Ok(None);
            }
            Inst::IotaRows => {
                result.into_iter().for_each(|r| self.preset(r, |row, _| row as u64));
                return Ok(None);
            }
            Inst::Task => {
                self.program.task.push(dst);
                return Ok(None);
            }
            Inst::Thread(axis) => {
                self.program.thread.push((dst, *axis));
                return Ok(None);
            }
            Inst::Unary(op, x) => Op::Unary { f: table(word::unary(elem(*x)))?, op: *op, dst, src: self.reg(*x), n },
            Inst::Cast(x) => Op::Cast { f: table(word::cast(elem(*x), ty.elem))?, dst, src: self.reg(*x), n },
            // Any byte but 0 reads as true; registers keep the canonical 1.
            Inst::Bitcast(x) if ty.elem == DType::Bool => {
                Op::Cast { f: table(word::cast(elem(*x), ty.elem))?, dst, src: self.reg(*x), n }
            }
            Inst::Bitcast(x) | Inst::Splat(x) => Op::Copy { dst, size, src: self.operand(*x) },
            Inst::Extract(x, lane) | Inst::Slice(x, lane) => {
                let at = self.reg(*x) + usize::from(*lane);
                Op::Copy { dst, size, src: Operand { at, row: 0, lane: 1 } }
            }
            Inst::Insert(x, y, lane) => {
                Op::Insert { dst, src: self.reg(*x), n, value: self.reg(*y), lane: (*lane).into() }
            }
            Inst::Binary(op, x, y) => {
                let f = table(word::binary(elem(*x)))?;
                Op::Binary { f, op: *op, dst, size, a: self.operand(*x), b: self.operand(*y) }
            }
            Inst::Compare(op, x, y) => {
                let f = table(word::compare(elem(*x)))?;
                Op::Compare { f, op: *op, dst, size, a: self.operand(*x), b: self.operand(*y) }
            }
            Inst::Select(c, x, y) => {
                Op::Select { dst, size, c: self.operand(*c), a: self.operand(*x), b: self.operand(*y) }
            }
            Inst::Fma(a, b, c) => {
                let f = table(word::fma(elem(*a)))?;
                Op::Fma { f, dst, size, a: self.operand(*a), b: self.operand(*b), c: self.operand(*c) }
            }
            Inst::ReduceLanes(op, x) => {
                let t = self.kernel.ty(*x);
                let size = Extents { rows: t.rows.into(), lanes: t.lanes.into() };
                Op::ReduceLanes { f: table(word::binary(t.elem))?, op: op.combiner(), dst, src: self.reg(*x), size }
            }
            Inst::Load { buf, index } => Op::Load { mem: self.mem(*buf), at: self.address(*buf, index)?, dst, size },
            Inst::Store { buf, index, value } => {
                let mut t = self.kernel.ty(*value);
                if self.kernel.level != Level::Machine {
                    for i in index.iter().map(|&i| self.kernel.ty(i)) {
                        (t.rows, t.lanes) = (t.rows.max(i.rows), t.lanes.max(i.lanes));
                    }
                }
                let size = Extents { rows: t.rows.into(), lanes: t.lanes.into() };
                Op::Store { mem: self.mem(*buf), at: self.address(*buf, index)?, value: self.operand(*value), size }
            }
            Inst::Gather { buf, offsets } => {
                Op::Load { mem: self.mem(*buf), at: Address::Lanes(self.reg(*offsets)), dst, size }
            }
            Inst::Scatter { buf, offsets, value } => {
                let size = Extents { rows: 1, lanes: self.words(*value) };
                let at = Address::Lanes(self.reg(*offsets));
                Op::Store { mem: self.mem(*buf), at, value: self.operand(*value), size }
            }
            Inst::ReduceInto { op, buf, index, value } => Op::ReduceInto {
                f: table(word::binary(elem(*value)))?,
                op: op.combiner(),
                mem: self.mem(*buf),
                at: self.address(*buf, index)?,
                value: self.reg(*value),
            },
            Inst::Prefetch { buf, offset } => Op::Touch { mem: self.mem(*buf), at: self.reg(*offset) },
            Inst::For(l) => Op::For(Box::new(self.for_loop(l, &s.results)?)),
            Inst::If(c, then, other) => {
                let then_code = self.block(then)?;
                let other_code = self.block(other)?;
                let sides = [
                    (then_code, self.moves(&then.yields, &s.results)),
                    (other_code, self.moves(&other.yields, &s.results)),
                ];
                Op::If { cond: self.reg(*c), sides: Box::new(sides) }
            }
            Inst::Mma(id, vs) => Op::Mma {
                row: table(id.row())?,
                operands: vs.iter().map(|&v| self.reg(v)).collect(),
                results: s.results.iter().map(|&v| self.reg(v)).collect(),
            },
            Inst::WarpXor(x, mask) => Op::WarpXor { dst, src: self.reg(*x), n, mask: *mask },
            Inst::AsyncCopy { dst, dst_offset, src, src_offset, bytes } => Op::AsyncCopy {
                dst: self.mem(*dst),
                dst_offset: self.reg(*dst_offset),
                src: self.mem(*src),
                src_offset: self.reg(*src_offset),
                elements: i64::from(*bytes) / self.kernel.buffer(*src).dtype.size() as i64,
                bytes: *bytes,
            },
            Inst::AsyncCommit => Op::AsyncCommit,
            Inst::AsyncWait(n) => Op::AsyncWait((*n).into()),
            Inst::Barrier => Op::Barrier,
            Inst::CallTile(c) => Op::CallTile(Box::new(TileOp {
                a: self.mem(c.a),
                a_offsets: self.mem(c.a_offsets),
                tap_offsets: self.mem(c.tap_offsets),
                b: self.mem(c.b),
                out: self.mem(c.out),
                taps: self.reg(c.taps),
                depth: self.reg(c.depth),
                b_offset: self.reg(c.b_offset),
                valid_rows: self.reg(c.valid_rows),
                call: (**c).clone(),
            })),
            Inst::Check { ok, status } => {
                let t = self.kernel.ty(*ok);
                Op::Check { ok: self.reg(*ok), elements: usize::from(t.rows) * usize::from(t.lanes), status: *status }
            }
        }))
    }

    fn for_loop(&mut self, l: &For, results: &[V]) -> Result<ForOp, String> {
        let inner: Vec<V> = l.carried.iter().map(|c| c.inner).collect();
        let init: Vec<V> = l.carried.iter().map(|c| c.init).collect();
        Ok(ForOp {
            parallel: l.kind == LoopKind::Parallel,
            iv: self.reg(l.iv),
            lo: self.reg(l.lo),
            hi: self.reg(l.hi),
            step: l.step,
            unroll: l.unroll,
            start: self.moves(&init, &inner),
            next: self.moves(&l.body.yields, &inner),
            end: self.moves(&inner, results),
            body: self.block(&l.body)?,
        })
    }
}
