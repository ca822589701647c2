//! Walks a kernel and prints it: module and entry headers, and each instruction's value.
//!
//! Invariants: every SSA value owns its registers, one for each lane; the only registers written twice are a loop's
//! induction variable and carried values, at the loop's end, and the results of a conditional, once on each side.
//! Tables of reusable registers (addresses, rounded operands) hold only what dominates the point of use: they are cut
//! back when a block ends.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::hash::Hash;

use anyhow::{Context, Result, anyhow, bail, ensure};
use kiln_ir::DType;
use kiln_ir::loops::{Block, BufId, Inst, Kernel, Level, Space, Stmt, ThreadAxis, Ty, V};

use super::known::Known;
use super::regs::{Reg, RegClass, Registers, float_literal, is_half};

/// Static shared memory that every kernel may use without asking the driver for more.
const STATIC_SHARED_BYTES: i64 = 48 * 1024;

/// Name of the entry that a kernel is printed as. The prefix keeps names apart from PTX's reserved words.
pub fn entry_name(kernel: &Kernel) -> String {
    format!("kiln_{}", kernel.name)
}

/// Prints machine-level kernels as one PTX module for a GPU such as `sm_90` (the oldest that has every instruction
/// used: conversions between bf16 and integers are of that generation). Kernel names must differ.
///
/// # Errors
/// A kernel that is not at the machine level, an instruction or type without a PTX form, more than 48 KiB of shared
/// memory, a block of more than 1,024 threads. The error names the kernel, the value and the instruction.
pub fn print_module(kernels: &[&Kernel], cpu: &str) -> Result<String> {
    let generation = cpu.strip_prefix("sm_").map(|s| s.trim_end_matches(|c: char| c.is_ascii_alphabetic()));
    ensure!(
        generation.and_then(|g| g.parse::<u32>().ok()).is_some_and(|g| g >= 90),
        "`{cpu}` is no GPU that PTX is printed for: name sm_90 or later"
    );
    let mut text = format!(".version 8.0\n.target {cpu}\n.address_size 64\n");
    let mut names = HashSet::new();
    for kernel in kernels {
        ensure!(names.insert(&kernel.name), "two kernels are named `{}`", kernel.name);
        text.push('\n');
        text += &print_entry(kernel).with_context(|| format!("kernel `{}`: printing PTX", kernel.name))?;
    }
    Ok(text)
}

/// One entry.
fn print_entry(kernel: &Kernel) -> Result<String> {
    ensure!(kernel.level == Level::Machine, "the kernel is not at the machine level: lower it first");
    ensure!((1..=1024).contains(&kernel.threads), "a block has 1 to 1,024 threads, not {}", kernel.threads);
    let mut p = Printer::new(kernel);
    let mut head = format!(".visible .entry {}(\n", entry_name(kernel));
    let mut arrays = String::new();
    let mut shared_bytes = 0;
    for (i, b) in kernel.buffers.iter().enumerate() {
        let align = b.align.max(b.dtype.size() as u32).max(1);
        ensure!(align.is_power_of_two(), "buffer `{}`: alignment {align} is no power of two", b.name);
        let space = match b.space {
            Space::Global => {
                writeln!(head, "    .param .u64 .ptr .global .align {align} buf{i}, // {}: {}", b.name, b.dtype)?;
                p.line(format!("// {}", b.name));
                let generic = p.op(RegClass::B64, "ld.param.u64", &[&format!("[buf{i}]")]);
                let base = p.op(RegClass::B64, "cvta.to.global.u64", &[&generic]);
                p.bases.push(base);
                continue;
            }
            Space::Shared => "shared",
            Space::Private => "local",
        };
        let elements = b.layout.size.as_const();
        let bytes = elements.and_then(|n| n.checked_mul(b.dtype.size() as i64)).filter(|n| *n >= 0);
        let bytes = bytes
            .filter(|n| *n < 1 << 31)
            .ok_or_else(|| anyhow!("buffer `{}`: a {space} buffer needs a constant size under 2 GiB", b.name))?;
        let name = format!("{space}{i}");
        writeln!(arrays, "    .{space} .align {align} .b8 {name}[{}]; // {}", bytes.max(1), b.name)?;
        let base = match b.space {
            Space::Shared => {
                let align = i64::from(align);
                shared_bytes = (shared_bytes + align - 1) / align * align + bytes;
                p.op(RegClass::B32, "mov.u32", &[&name])
            }
            _ => p.op(RegClass::B64, "mov.u64", &[&name]),
        };
        p.bases.push(base);
    }
    ensure!(
        shared_bytes <= STATIC_SHARED_BYTES,
        "{shared_bytes} bytes of shared memory exceed the {STATIC_SHARED_BYTES} of a static allocation: choose a smaller tile or fewer stages"
    );
    for (i, s) in kernel.symbols.iter().enumerate() {
        writeln!(head, "    .param .s64 sym{i}, // {s}")?;
        let v = p.op(RegClass::B64, "ld.param.s64", &[&format!("[sym{i}]")]);
        p.symbols.push(v);
    }
    writeln!(head, "    .param .u64 .ptr .global .align 4 status\n)\n.reqntid {}, 1, 1\n{{", kernel.threads)?;
    p.block(&kernel.body)?;
    p.line("ret;");
    Ok(format!("{head}{}{arrays}{}}}\n", p.regs.declare(), p.text))
}

/// A value's registers.
#[derive(Clone)]
pub(super) struct Value {
    /// One for each lane.
    pub lanes: Vec<Reg>,
    /// 16-bit floats in pairs, as memory and matrix fragments hold them: empty where not at hand.
    pub pairs: Vec<Reg>,
    /// Facts, for an i64 scalar.
    pub known: Known,
}

impl Value {
    pub fn of(lanes: Vec<Reg>) -> Value {
        Value { lanes, pairs: vec![], known: Known::NOTHING }
    }
}

/// A map whose latest entries can be taken back.
pub(super) struct Scoped<K> {
    map: HashMap<K, Reg>,
    log: Vec<K>,
}

impl<K: Copy + Eq + Hash> Scoped<K> {
    fn new() -> Scoped<K> {
        Scoped { map: HashMap::new(), log: vec![] }
    }

    pub fn get(&self, key: K) -> Option<Reg> {
        self.map.get(&key).copied()
    }

    /// Adds an entry that was absent.
    pub fn insert(&mut self, key: K, reg: Reg) {
        self.map.insert(key, reg);
        self.log.push(key);
    }

    fn cut(&mut self, mark: usize) {
        for key in self.log.drain(mark..) {
            self.map.remove(&key);
        }
    }
}

/// The state of printing one kernel.
pub(super) struct Printer<'k> {
    pub kernel: &'k Kernel,
    text: String,
    regs: Registers,
    values: Vec<Option<Value>>,
    /// Base address of each buffer: 64 bits, 32 for shared memory.
    pub bases: Vec<Reg>,
    symbols: Vec<Reg>,
    labels: u32,
    /// Address of an element: buffer and offset register.
    pub addresses: Scoped<(BufId, Reg)>,
    /// f32 registers rounded to TF32.
    pub rounded: Scoped<Reg>,
}

impl<'k> Printer<'k> {
    fn new(kernel: &'k Kernel) -> Printer<'k> {
        Printer {
            kernel,
            text: String::new(),
            regs: Registers::default(),
            values: vec![None; kernel.types.len()],
            bases: vec![],
            symbols: vec![],
            labels: 0,
            addresses: Scoped::new(),
            rounded: Scoped::new(),
        }
    }

    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str("    ");
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    pub(super) fn fresh(&mut self, class: RegClass) -> Reg {
        self.regs.fresh(class)
    }

    pub(super) fn label(&mut self) -> String {
        self.labels += 1;
        format!("$L{}", self.labels)
    }

    pub(super) fn place(&mut self, label: &str) {
        let _ = writeln!(self.text, "{label}:");
    }

    pub(super) fn ty(&self, v: V) -> Result<Ty> {
        self.kernel.types.get(v.0 as usize).copied().ok_or_else(|| anyhow!("{v:?} has no type"))
    }

    pub(super) fn value(&self, v: V) -> Result<&Value> {
        let value = self.values.get(v.0 as usize).and_then(|o| o.as_ref());
        value.ok_or_else(|| anyhow!("{v:?} is read before it is defined"))
    }

    /// The register of a scalar.
    pub(super) fn scalar(&self, v: V) -> Result<Reg> {
        match self.value(v)?.lanes[..] {
            [r] => Ok(r),
            _ => bail!("{v:?}: a scalar is needed here, not a {}", self.ty(v)?),
        }
    }

    pub(super) fn define(&mut self, v: V, value: Value) -> Result<()> {
        let ty = self.ty(v)?;
        ensure!(ty.rows == 1, "{v:?}: a {ty} has rows: lower the kernel to the machine level");
        ensure!(value.lanes.len() == usize::from(ty.lanes), "{v:?}: {} lanes given for a {ty}", value.lanes.len());
        let slot = self.values.get_mut(v.0 as usize).ok_or_else(|| anyhow!("{v:?} has no slot"))?;
        *slot = Some(value);
        Ok(())
    }

    /// Statements in order; facts that hold only inside are forgotten after `end_block`.
    pub(super) fn block(&mut self, b: &Block) -> Result<()> {
        for s in &b.stmts {
            self.stmt(s).with_context(|| match s.results.first() {
                Some(v) => format!("at {v:?}"),
                None => "at a statement without results".to_string(),
            })?;
        }
        Ok(())
    }

    pub(super) fn begin_scope(&self) -> (usize, usize) {
        (self.addresses.log.len(), self.rounded.log.len())
    }

    pub(super) fn end_scope(&mut self, mark: (usize, usize)) {
        self.addresses.cut(mark.0);
        self.rounded.cut(mark.1);
    }

    fn stmt(&mut self, s: &Stmt) -> Result<()> {
        match (&s.inst, &s.results[..]) {
            (Inst::For(l), results) => self.for_loop(l, results),
            (Inst::If(c, yes, no), results) => self.if_else(*c, yes, no, results),
            (Inst::Mma(id, operands), results) => self.mma(*id, operands, results),
            (inst, []) => self.effect(inst),
            (inst, &[result]) => {
                let value = self.inst(inst, self.ty(result)?)?;
                self.define(result, value)
            }
            _ => bail!("the instruction has one result, not {}", s.results.len()),
        }
    }

    /// Instructions without results.
    fn effect(&mut self, inst: &Inst) -> Result<()> {
        match inst {
            Inst::Store { buf, index, value } => self.store(*buf, index, *value)?,
            Inst::Scatter { buf, offsets, value } => self.scatter(*buf, *offsets, *value)?,
            Inst::Prefetch { buf, offset } => self.prefetch(*buf, *offset)?,
            Inst::AsyncCopy { dst, dst_offset, src, src_offset, bytes } => {
                self.async_copy(*dst, *dst_offset, *src, *src_offset, *bytes)?;
            }
            Inst::AsyncCommit => self.line("cp.async.commit_group;"),
            Inst::AsyncWait(n) => self.line(format!("cp.async.wait_group {n};")),
            Inst::Barrier => self.line("bar.sync 0;"),
            Inst::Check { ok, status } => {
                // The largest status wins, whichever thread comes first.
                let (ok, done) = (self.scalar(*ok)?, self.label());
                self.line(format!("@{ok} bra {done};"));
                let generic = self.op(RegClass::B64, "ld.param.u64", &[&"[status]"]);
                let cell = self.op(RegClass::B64, "cvta.to.global.u64", &[&generic]);
                self.line(format!("red.global.max.u32 [{cell}], {};", *status as u32));
                self.line("exit;");
                self.place(&done);
            }
            Inst::ReduceInto { .. } => bail!("`ReduceInto` belongs to the nest level: lower the kernel"),
            Inst::CallTile(_) => bail!("`CallTile` calls a CPU micro-kernel: schedule the contraction for the GPU"),
            _ => bail!("the instruction needs a result"),
        }
        Ok(())
    }

    /// Instructions with one result of type `ty`.
    fn inst(&mut self, inst: &Inst, ty: Ty) -> Result<Value> {
        let lanes = usize::from(ty.lanes);
        Ok(match inst {
            Inst::ConstFloat(_) | Inst::ConstInt(_) => self.const_value(inst, ty)?,
            Inst::Sym(slot) => {
                let r = self.symbols.get(*slot as usize).copied();
                Value::of(vec![r.ok_or_else(|| anyhow!("symbol {slot} is not among the kernel's"))?; lanes])
            }
            Inst::Dim(d) => match d.as_const() {
                Some(n) => self.const_value(&Inst::ConstInt(n), ty)?,
                None => bail!("a symbolic dimension must be arithmetic on symbols at the machine level"),
            },
            Inst::Task => Value::of(vec![self.special("%ctaid.x")]),
            Inst::Thread(axis) => Value::of(vec![match axis {
                ThreadAxis::Thread => self.special("%tid.x"),
                ThreadAxis::Lane => self.special("%laneid"),
                // `%warpid` may change while a kernel runs.
                ThreadAxis::Warp => {
                    let t = self.special("%tid.x");
                    self.op(RegClass::B64, "shr.u64", &[&t, &5])
                }
            }]),
            Inst::IotaLanes => {
                let one = |p: &mut Self, i: usize| p.constant(ty.elem, &i.to_string());
                Value::of((0..lanes).map(|i| one(self, i)).collect::<Result<_>>()?)
            }
            Inst::Unary(op, x) => {
                let elem = self.ty(*x)?.elem;
                self.each_lane(&[*x], |p, r| p.unary(*op, elem, r[0]))?
            }
            Inst::Binary(op, x, y) => {
                let divisor = self.value(*y)?.known.value;
                let mut value = self.each_lane(&[*x, *y], |p, r| p.binary(*op, ty.elem, r[0], r[1], divisor))?;
                if ty == Ty::INDEX {
                    let (a, b) = (self.value(*x)?, self.value(*y)?);
                    value.known = Known::binary(*op, &a.known, a.lanes[0], &b.known, b.lanes[0]);
                }
                value
            }
            Inst::Compare(op, x, y) => {
                let elem = self.ty(*x)?.elem;
                self.each_lane(&[*x, *y], |p, r| p.compare(*op, elem, r[0], r[1]))?
            }
            Inst::Select(c, x, y) => {
                let mut value = self.each_lane(&[*c, *x, *y], |p, r| p.select(ty.elem, r[0], r[1], r[2]))?;
                value.known = Known::aligned(self.value(*x)?.known.zeros.min(self.value(*y)?.known.zeros));
                value
            }
            Inst::Fma(a, b, c) => self.each_lane(&[*a, *b, *c], |p, r| p.fma(ty.elem, r[0], r[1], r[2]))?,
            Inst::Cast(x) => {
                let from = self.ty(*x)?.elem;
                self.each_lane(&[*x], |p, r| p.cast(from, ty.elem, r[0]))?
            }
            Inst::Bitcast(x) => {
                let (from, regs) = (self.ty(*x)?.elem, self.value(*x)?.lanes.clone());
                Value::of(self.bitcast(from, ty.elem, &regs)?)
            }
            Inst::Splat(x) => Value::of(vec![self.scalar(*x)?; lanes]),
            Inst::Extract(x, lane) => Value::of(self.lanes_of(*x, *lane, 1)?),
            Inst::Insert(x, s, lane) => {
                let mut regs = self.value(*x)?.lanes.clone();
                let s = self.scalar(*s)?;
                *regs.get_mut(usize::from(*lane)).ok_or_else(|| anyhow!("lane {lane} is outside {x:?}"))? = s;
                Value::of(regs)
            }
            Inst::Slice(x, at) => {
                let mut value = Value::of(self.lanes_of(*x, *at, lanes)?);
                let pairs = &self.value(*x)?.pairs;
                if at % 2 == 0 && lanes % 2 == 0 && !pairs.is_empty() {
                    let first = usize::from(*at) / 2;
                    value.pairs = pairs.get(first..first + lanes / 2).unwrap_or_default().to_vec();
                }
                value
            }
            Inst::ReduceLanes(op, x) => {
                // The upper half onto the lower until one lane is left; of an odd count the middle lane waits.
                let mut regs = self.value(*x)?.lanes.clone();
                while regs.len() > 1 {
                    let keep = regs.len().div_ceil(2);
                    for i in keep..regs.len() {
                        regs[i - keep] = self.binary(op.combiner(), ty.elem, regs[i - keep], regs[i], None)?;
                    }
                    regs.truncate(keep);
                }
                Value::of(regs)
            }
            Inst::Load { buf, index } => self.load(*buf, index, ty)?,
            Inst::Gather { buf, offsets } => self.gather(*buf, *offsets, ty)?,
            Inst::WarpXor(x, mask) => self.each_lane(&[*x], |p, r| Ok(p.warp_xor(r[0], *mask)))?,
            Inst::IotaRows => bail!("rows do not exist at the machine level"),
            _ => bail!("the instruction has no result"),
        })
    }

    /// The registers of `n` lanes from `at` on.
    fn lanes_of(&self, v: V, at: u16, n: usize) -> Result<Vec<Reg>> {
        let at = usize::from(at);
        let lanes = self.value(v)?.lanes.get(at..at + n);
        lanes.map(<[Reg]>::to_vec).ok_or_else(|| anyhow!("lanes {at}..{} are outside {v:?}", at + n))
    }

    /// Applies `f` lane by lane.
    fn each_lane(&mut self, operands: &[V], mut f: impl FnMut(&mut Self, &[Reg]) -> Result<Reg>) -> Result<Value> {
        let regs: Vec<Vec<Reg>> = operands.iter().map(|&v| Ok(self.value(v)?.lanes.clone())).collect::<Result<_>>()?;
        let n = regs.first().map_or(0, Vec::len);
        ensure!(regs.iter().all(|r| r.len() == n), "operands {operands:?} differ in lanes: splat the scalars");
        let lane = |i: usize| -> Vec<Reg> { regs.iter().map(|r| r[i]).collect() };
        Ok(Value::of((0..n).map(|i| f(self, &lane(i))).collect::<Result<_>>()?))
    }

    /// A constant splat over the result's lanes.
    pub(super) fn const_value(&mut self, inst: &Inst, ty: Ty) -> Result<Value> {
        let literal = match *inst {
            Inst::ConstFloat(x) if ty.elem.is_float() => float_literal(ty.elem, x),
            Inst::ConstInt(n) if ty.elem.is_float() => float_literal(ty.elem, n as f64),
            Inst::ConstInt(n) => match ty.elem {
                DType::Bool => i64::from(n != 0).to_string(),
                DType::I8 => (n as i8).to_string(),
                DType::I16 => (n as i16).to_string(),
                DType::I32 => (n as i32).to_string(),
                DType::U8 => (n as u8).to_string(),
                DType::U16 => (n as u16).to_string(),
                DType::U32 => (n as u32).to_string(),
                // The smallest i64 has no decimal literal.
                _ => format!("0x{n:X}"),
            },
            _ => bail!("a floating-point constant of type {ty}"),
        };
        let r = self.constant(ty.elem, &literal)?;
        let mut value = Value::of(vec![r; usize::from(ty.lanes)]);
        if let (Inst::ConstInt(n), true) = (inst, ty == Ty::INDEX) {
            value.known = Known::constant(*n);
        }
        Ok(value)
    }

    /// A 32-bit special register as an index.
    fn special(&mut self, name: &str) -> Reg {
        let r = self.op(RegClass::B32, "mov.u32", &[&name]);
        self.op(RegClass::B64, "cvt.u64.u32", &[&r])
    }

    /// One register's value in the lane `lane ^ mask`.
    fn warp_xor(&mut self, x: Reg, mask: u32) -> Reg {
        let exchange = |p: &mut Self, class, x: Reg| {
            let d = p.fresh(class);
            p.line(format!("shfl.sync.bfly.b32 {d}, {x}, {mask}, 31, 0xFFFFFFFF;"));
            d
        };
        match x.class {
            RegClass::B32 | RegClass::F32 => exchange(self, x.class, x),
            RegClass::B16 => {
                let wide = self.op(RegClass::B32, "cvt.u32.u16", &[&x]);
                let other = exchange(self, RegClass::B32, wide);
                self.op(RegClass::B16, "cvt.u16.u32", &[&other])
            }
            RegClass::Pred => {
                let bit = self.op(RegClass::B32, "selp.b32", &[&1, &0, &x]);
                let other = exchange(self, RegClass::B32, bit);
                self.op(RegClass::Pred, "setp.ne.s32", &[&other, &0])
            }
            RegClass::B64 | RegClass::F64 => {
                let (lo, hi) = (self.fresh(RegClass::B32), self.fresh(RegClass::B32));
                self.line(format!("mov.b64 {{{lo}, {hi}}}, {x};"));
                let (lo, hi) = (exchange(self, RegClass::B32, lo), exchange(self, RegClass::B32, hi));
                let d = self.fresh(x.class);
                self.line(format!("mov.b64 {d}, {{{lo}, {hi}}};"));
                d
            }
        }
    }

    /// The registers of a value of 16-bit floats packed in pairs, the lower lane in the lower half.
    pub(super) fn pairs(&mut self, v: V) -> Result<Vec<Reg>> {
        let elem = self.ty(v)?.elem;
        let value = self.value(v)?.clone();
        ensure!(is_half(elem) && value.lanes.len() % 2 == 0, "{v:?}: pairs of 16-bit floats are needed here");
        if !value.pairs.is_empty() {
            return Ok(value.pairs);
        }
        let mut pairs = vec![];
        for pair in value.lanes.chunks_exact(2) {
            let d = self.fresh(RegClass::B32);
            self.line(format!("mov.b32 {d}, {{{}, {}}};", pair[0], pair[1]));
            pairs.push(d);
        }
        Ok(pairs)
    }
}
