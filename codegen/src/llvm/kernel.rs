//! A machine-level kernel as an LLVM function.
//!
//! `void name(ptr slots, i64 task)`: the entry block loads the buffers' pointers and the symbols from the slots, then
//! the body follows statement by statement; nothing is decided here but the spelling. What LLVM could not know from
//! the text is said as metadata: no two buffers of a kernel overlap where one is written (a scope for each buffer),
//! and what is only read does not change (`invariant.load`), so loads may leave loops and pass stores.

use anyhow::{Context as _, Result, bail, ensure};
use kiln_ir::loops::inst::CallTile;
use kiln_ir::loops::{Access, Block, BufId, For, Inst, Kernel, Level, Space, V};
use kiln_ir::scalar::ReduceOp;
use kiln_ir::{Class, DType};

use super::Env;
use super::convert::{half_bits, is_half};
use super::text::{Body, Elem, LTy, MD_EMPTY, MD_LIKELY, ModuleText, Op, float, int};

/// An i64 scalar.
pub(super) const I64: LTy = LTy { elem: Elem::I(64), lanes: 1 };

/// Prints a kernel into a module. `linkage` is `internal`, or `hidden` where another object calls it.
pub(super) fn print_kernel(module: &mut ModuleText, kernel: &Kernel, env: &Env<'_>, linkage: &str) -> Result<()> {
    let mut p = Printer::new(module, kernel, env);
    p.function().with_context(|| format!("kernel `{}`", kernel.name))?;
    let body = p.body;
    let attributes = env.attributes();
    let section = env.section(&kernel.name);
    module.out += &format!(
        "define {linkage} void @{}(ptr noalias readonly captures(none) %slots, i64 %task) {attributes}{section} align 64 {{\nentry:\n{}{}}}\n\n",
        kernel.name, body.allocas, body.out
    );
    Ok(())
}

/// Whether a kernel can report a status through its cell.
pub(super) fn has_check(block: &Block) -> bool {
    block.stmts.iter().any(|s| match &s.inst {
        Inst::Check { .. } => true,
        Inst::For(f) => has_check(&f.body),
        Inst::If(_, a, b) => has_check(a) || has_check(b),
        _ => false,
    })
}

/// What is known of a value.
#[derive(Clone)]
struct Value {
    op: Op,
    /// Integers: a number that divides the value (0 divides only 0).
    multiple: i64,
    /// Integers: the value, where constant.
    constant: Option<i64>,
}

struct Printer<'a> {
    kernel: &'a Kernel,
    env: &'a Env<'a>,
    body: Body,
    values: Vec<Option<Value>>,
    /// Suffix of each buffer's accesses: scopes, and invariance where it is only read.
    notes: Vec<(String, &'static str)>,
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or(1)
}

impl<'a> Printer<'a> {
    fn new(module: &mut ModuleText, kernel: &'a Kernel, env: &'a Env<'a>) -> Printer<'a> {
        let domain = module.next_metadata();
        module.metadata(format!("distinct !{{!{domain}, !\"{}\"}}", kernel.name));
        let scopes: Vec<usize> = kernel
            .buffers
            .iter()
            .map(|b| {
                let id = module.next_metadata();
                module.metadata(format!("distinct !{{!{id}, !{domain}, !\"{}\"}}", escape(b.name.as_bytes())))
            })
            .collect();
        let notes = kernel
            .buffers
            .iter()
            .enumerate()
            .map(|(i, buffer)| {
                let others: Vec<String> =
                    scopes.iter().enumerate().filter(|s| s.0 != i).map(|s| format!("!{}", s.1)).collect();
                let own = module.metadata(format!("!{{!{}}}", scopes[i]));
                let others = module.metadata(format!("!{{{}}}", others.join(", ")));
                let read_only = buffer.space == Space::Global && buffer.access == Access::Read;
                let invariant = if read_only { ", !invariant.load !0" } else { "" };
                (format!(", !alias.scope !{own}, !noalias !{others}"), invariant)
            })
            .collect();
        Printer { kernel, env, body: Body::new(env.fp_flags()), values: vec![None; kernel.types.len()], notes }
    }

    fn function(&mut self) -> Result<()> {
        let k = self.kernel;
        ensure!(k.level == Level::Machine, "is not at the machine level");
        ensure!(is_identifier(&k.name), "its name is not a C identifier");
        self.entry()?;
        self.block(&k.body)?;
        self.body.line(format_args!("ret void"));
        Ok(())
    }

    /// Loads of the slots, stack slots of private buffers.
    fn entry(&mut self) -> Result<()> {
        let k = self.kernel;
        let mut slot = 0;
        for (i, buffer) in k.buffers.iter().enumerate() {
            match buffer.space {
                Space::Global => {
                    self.body.line(format_args!("%b{i}.slot = getelementptr inbounds i64, ptr %slots, i64 {slot}"));
                    self.body.line(format_args!(
                        "%b{i} = load ptr, ptr %b{i}.slot, align 8, !invariant.load !{MD_EMPTY}, !noundef !{MD_EMPTY}"
                    ));
                    slot += 1;
                }
                Space::Private => {
                    let n = buffer.layout.size.as_const().filter(|&n| n >= 0).with_context(|| {
                        format!(
                            "private buffer `{}` has {} elements: the number must be a constant",
                            buffer.name, buffer.layout.size
                        )
                    })?;
                    let elem = memory_type(buffer.dtype, 1);
                    self.body.allocas += &format!("  %b{i} = alloca [{n} x {elem}], align {}\n", buffer.align.max(64));
                }
                Space::Shared => {
                    bail!("buffer `{}` is shared by threads of a GPU block, which a CPU has not", buffer.name)
                }
            }
        }
        for i in 0..k.symbols.len() {
            self.body.line(format_args!("%s{i}.slot = getelementptr inbounds i64, ptr %slots, i64 {}", slot + i));
            self.body.line(format_args!(
                "%s{i} = load i64, ptr %s{i}.slot, align 8, !invariant.load !{MD_EMPTY}, !noundef !{MD_EMPTY}"
            ));
        }
        if has_check(&k.body) {
            let at = slot + k.symbols.len();
            self.body.line(format_args!("%status.slot = getelementptr inbounds i64, ptr %slots, i64 {at}"));
            self.body.line(format_args!("%status = load ptr, ptr %status.slot, align 8, !invariant.load !{MD_EMPTY}"));
        }
        Ok(())
    }

    fn value(&self, v: V) -> Result<&Value> {
        self.values
            .get(v.0 as usize)
            .and_then(Option::as_ref)
            .with_context(|| format!("{v:?} is used before it is defined"))
    }

    fn op(&self, v: V) -> Result<Op> {
        Ok(self.value(v)?.op.clone())
    }

    fn dtype(&self, v: V) -> Result<DType> {
        Ok(self.kernel.types.get(v.0 as usize).with_context(|| format!("{v:?} has no type"))?.elem)
    }

    /// The register type of a value.
    fn register(&self, v: V) -> Result<LTy> {
        let t = *self.kernel.types.get(v.0 as usize).with_context(|| format!("{v:?} has no type"))?;
        ensure!(t.rows == 1, "{v:?} is a tile of {} rows; the machine level has none", t.rows);
        ensure!(
            t.elem.is_plain() && !t.elem.is_complex() && t.lanes > 0,
            "{v:?} has the type {t}, which no register holds"
        );
        Ok(LTy::register(t.elem, t.lanes))
    }

    fn define(&mut self, v: V, op: Op, multiple: i64, constant: Option<i64>) {
        if let Some(slot) = self.values.get_mut(v.0 as usize) {
            *slot = Some(Value { op, multiple, constant });
        }
    }

    fn block(&mut self, block: &Block) -> Result<()> {
        for stmt in &block.stmts {
            match &stmt.inst {
                Inst::For(f) => self.for_loop(f, &stmt.results)?,
                Inst::If(c, a, b) => self.if_else(*c, a, b, &stmt.results)?,
                Inst::Store { .. }
                | Inst::Scatter { .. }
                | Inst::Prefetch { .. }
                | Inst::Check { .. }
                | Inst::CallTile(_) => {
                    self.effect(&stmt.inst)?;
                }
                inst => {
                    let &[result] = &stmt.results[..] else {
                        bail!("an instruction has {} results instead of one: {inst:?}", stmt.results.len())
                    };
                    self.pure(inst, result)?;
                }
            }
        }
        Ok(())
    }

    fn pure(&mut self, inst: &Inst, result: V) -> Result<()> {
        let ty = self.register(result)?;
        let ops = self.env.ops;
        let (multiple, constant) = self.integer_facts(inst);
        let op = match inst {
            Inst::ConstInt(n) => int(ty, *n),
            Inst::ConstFloat(x) => match self.dtype(result)? {
                d if is_half(d) => int(ty, i64::from(half_bits(d, *x))),
                _ => float(ty, *x),
            },
            Inst::Sym(i) => {
                ensure!((*i as usize) < self.kernel.symbols.len(), "there is no symbol {i}");
                Op { ty, text: format!("%s{i}") }
            }
            Inst::Task => Op { ty, text: "%task".into() },
            Inst::IotaLanes => {
                let elem = LTy { lanes: 1, ..ty };
                let lanes: Vec<String> = (0..ty.lanes).map(|i| format!("{elem} {i}")).collect();
                let text = if ty.lanes == 1 { "0".into() } else { format!("<{}>", lanes.join(", ")) };
                Op { ty, text }
            }
            Inst::Unary(op, x) => {
                let (d, x) = (self.dtype(*x)?, self.op(*x)?);
                ops.unary(&mut self.body, *op, d, &x).with_context(|| format!("{result:?}"))?
            }
            Inst::Binary(op, x, y) => {
                let (d, x, y) = (self.dtype(*x)?, self.op(*x)?, self.op(*y)?);
                ops.binary(&mut self.body, *op, d, &x, &y).with_context(|| format!("{result:?}"))?
            }
            Inst::Compare(op, x, y) => {
                let (d, x, y) = (self.dtype(*x)?, self.op(*x)?, self.op(*y)?);
                ops.compare(&mut self.body, *op, d, &x, &y)?
            }
            Inst::Select(c, x, y) => {
                let (c, x, y) = (self.op(*c)?, self.op(*x)?, self.op(*y)?);
                self.body.select(&c, &x, &y)
            }
            Inst::Fma(x, y, z) => {
                let (d, x, y, z) = (self.dtype(*x)?, self.op(*x)?, self.op(*y)?, self.op(*z)?);
                ops.fma(&mut self.body, d, &x, &y, &z)?
            }
            Inst::Cast(x) => {
                let (from, to, x) = (self.dtype(*x)?, self.dtype(result)?, self.op(*x)?);
                ops.halves.cast(&mut self.body, from, to, &x)?
            }
            Inst::Bitcast(x) => self.bitcast(*x, ty)?,
            Inst::Splat(x) => {
                let x = self.op(*x)?;
                splat(&mut self.body, &x, ty)
            }
            Inst::Extract(x, lane) => {
                let x = self.op(*x)?;
                ensure!(*lane < x.ty.lanes, "{result:?} extracts lane {lane} of {}", x.ty.lanes);
                if x.ty.lanes == 1 { x } else { self.body.inst(ty, format_args!("extractelement {x}, i32 {lane}")) }
            }
            Inst::Insert(x, s, lane) => {
                let (x, s) = (self.op(*x)?, self.op(*s)?);
                ensure!(*lane < x.ty.lanes, "{result:?} inserts lane {lane} of {}", x.ty.lanes);
                if ty.lanes == 1 { s } else { self.body.inst(ty, format_args!("insertelement {x}, {s}, i32 {lane}")) }
            }
            Inst::Slice(x, at) => {
                let x = self.op(*x)?;
                ensure!(
                    at.checked_add(ty.lanes).is_some_and(|end| end <= x.ty.lanes),
                    "{result:?} slices beyond {} lanes",
                    x.ty.lanes
                );
                slice(&mut self.body, &x, *at, ty)
            }
            Inst::ReduceLanes(op, x) => self.reduce_lanes(*op, *x)?,
            Inst::Load { buf, index } => self.load(*buf, self.offset(index)?, ty)?,
            Inst::Gather { buf, offsets } => self.gather(*buf, *offsets, ty)?,
            Inst::Dim(d) => bail!("the symbolic integer `{d}` must be expanded before the machine level"),
            other => bail!("{} has no meaning on a CPU", gpu_name(other)),
        };
        ensure!(op.ty == ty, "{result:?} is declared {ty} but computed as {}", op.ty);
        self.define(result, op, multiple, constant);
        Ok(())
    }

    /// A divisor and the value of an integer result, for alignments and trip counts.
    fn integer_facts(&self, inst: &Inst) -> (i64, Option<i64>) {
        use kiln_ir::scalar::BinaryOp::{Add, Mul, Shl, Sub};
        let facts = |v: &V| self.value(*v).map(|x| (x.multiple, x.constant)).unwrap_or((1, None));
        match inst {
            Inst::ConstInt(n) => (n.checked_abs().unwrap_or(1), Some(*n)),
            Inst::Splat(x) => facts(x),
            Inst::Binary(op, x, y) => {
                let ((mx, cx), (my, cy)) = (facts(x), facts(y));
                let both = |f: fn(i64, i64) -> Option<i64>| cx.zip(cy).and_then(|(a, b)| f(a, b));
                match op {
                    Add => (gcd(mx, my), both(i64::checked_add)),
                    Sub => (gcd(mx, my), both(i64::checked_sub)),
                    Mul => (mx.checked_mul(my).unwrap_or(1), both(i64::checked_mul)),
                    Shl => match cy {
                        Some(s @ 0..=31) => (mx.checked_mul(1 << s).unwrap_or(1), None),
                        _ => (1, None),
                    },
                    _ => (1, None),
                }
            }
            _ => (1, None),
        }
    }

    fn bitcast(&mut self, x: V, ty: LTy) -> Result<Op> {
        let x = self.op(x)?;
        Ok(match (x.ty.elem, ty.elem) {
            (a, b) if a == b && x.ty.lanes == ty.lanes => x,
            // A bool is a byte in memory and a bit in a register.
            (Elem::I(1), Elem::I(8)) => self.body.convert("zext", &x, ty),
            (Elem::I(8), Elem::I(1)) => self.body.icmp("ne", &x, &int(x.ty, 0)),
            _ => {
                let bits = |t: LTy| t.bits() * u32::from(t.lanes);
                ensure!(bits(x.ty) == bits(ty), "bitcast from {} to {ty} changes the width", x.ty);
                self.body.convert("bitcast", &x, ty)
            }
        })
    }

    /// Halves are combined until one lane is left; the tree is part of the result's definition.
    fn reduce_lanes(&mut self, op: ReduceOp, x: V) -> Result<Op> {
        let dtype = self.dtype(x)?;
        let mut x = self.op(x)?;
        ensure!(x.ty.lanes.is_power_of_two(), "reduces {} lanes: not a power of two", x.ty.lanes);
        while x.ty.lanes > 1 {
            let half = LTy { lanes: x.ty.lanes / 2, ..x.ty };
            let low = slice(&mut self.body, &x, 0, half);
            let high = slice(&mut self.body, &x, half.lanes, half);
            x = self.env.ops.binary(&mut self.body, op.combiner(), dtype, &low, &high)?;
        }
        Ok(x)
    }

    // ---- memory ----

    fn offset(&self, index: &[V]) -> Result<Value> {
        match index {
            &[v] => {
                let value = self.value(v)?.clone();
                ensure!(value.op.ty == I64, "{v:?} is an element offset and must be an i64 scalar");
                Ok(value)
            }
            _ => bail!("an access has {} indices; the machine level has one offset", index.len()),
        }
    }

    fn buffer(&self, buf: BufId) -> Result<&'a kiln_ir::loops::Buffer> {
        self.kernel.buffers.get(buf.0 as usize).with_context(|| format!("there is no buffer {}", buf.0))
    }

    fn address(&mut self, buf: BufId, offset: &Op) -> Result<String> {
        let dtype = self.buffer(buf)?.dtype;
        let base = format!("%b{}", buf.0);
        if offset.text == "0" {
            return Ok(base);
        }
        let name = self.body.name();
        self.body.line(format_args!("{name} = getelementptr inbounds {}, ptr {base}, {offset}", memory_type(dtype, 1)));
        Ok(name)
    }

    /// Alignment of the element at an offset, in bytes: of the base and of the offset's known divisor.
    fn align(&self, buf: BufId, multiple: i64) -> Result<u64> {
        let b = self.buffer(buf)?;
        let base = if b.space == Space::Private { b.align.max(64) } else { b.align };
        let base = u64::from(base.max(b.dtype.size() as u32));
        let bytes = multiple.unsigned_abs().saturating_mul(b.dtype.size() as u64);
        let zeros = base.trailing_zeros().min(if bytes == 0 { 63 } else { bytes.trailing_zeros() });
        Ok(1 << zeros)
    }

    fn load(&mut self, buf: BufId, offset: Value, ty: LTy) -> Result<Op> {
        let dtype = self.buffer(buf)?.dtype;
        let address = self.address(buf, &offset.op)?;
        let align = self.align(buf, offset.multiple)?;
        let (scopes, invariant) = self.notes[buf.0 as usize].clone();
        let memory = memory_type(dtype, ty.lanes);
        let x = self.body.inst(memory, format_args!("load {memory}, ptr {address}, align {align}{scopes}{invariant}"));
        Ok(self.loaded(dtype, x))
    }

    fn loaded(&mut self, dtype: DType, x: Op) -> Op {
        if dtype.class() == Class::Bool { self.body.icmp("ne", &x, &int(x.ty, 0)) } else { x }
    }

    fn stored(&mut self, dtype: DType, x: Op) -> Op {
        if dtype.class() == Class::Bool { self.body.convert("zext", &x, x.ty.with(Elem::I(8))) } else { x }
    }

    /// The hardware's gather where it pays; otherwise a scalar load for each lane.
    fn gather(&mut self, buf: BufId, offsets: V, ty: LTy) -> Result<Op> {
        let dtype = self.buffer(buf)?.dtype;
        let offsets = self.op(offsets)?;
        ensure!(offsets.ty.lanes == ty.lanes, "gathers {} lanes from {} offsets", ty.lanes, offsets.ty.lanes);
        let (scopes, invariant) = self.notes[buf.0 as usize].clone();
        let memory = memory_type(dtype, ty.lanes);
        let elem = memory_type(dtype, 1);
        if self.env.gather && ty.lanes > 1 && dtype.size() >= 4 {
            let pointers = self.body.name();
            let n = ty.lanes;
            self.body.line(format_args!("{pointers} = getelementptr inbounds {elem}, ptr %b{}, {offsets}", buf.0));
            return Ok(self.body.inst(
                memory,
                format_args!(
                    "call {memory} @llvm.masked.gather.{}.v{n}p0(<{n} x ptr> align {} {pointers}, <{n} x i1> splat (i1 true), {memory} poison){scopes}",
                    memory.suffix(), dtype.size()
                ),
            ));
        }
        let mut result = Op { ty: memory, text: "poison".into() };
        for lane in 0..ty.lanes {
            let offset = self.lane(&offsets, lane);
            let address = self.address(buf, &offset)?;
            let x = self
                .body
                .inst(elem, format_args!("load {elem}, ptr {address}, align {}{scopes}{invariant}", dtype.size()));
            result = if ty.lanes == 1 {
                x
            } else {
                self.body.inst(memory, format_args!("insertelement {result}, {x}, i32 {lane}"))
            };
        }
        Ok(self.loaded(dtype, result))
    }

    fn lane(&mut self, x: &Op, lane: u16) -> Op {
        if x.ty.lanes == 1 {
            return x.clone();
        }
        self.body.inst(LTy { lanes: 1, ..x.ty }, format_args!("extractelement {x}, i32 {lane}"))
    }

    fn effect(&mut self, inst: &Inst) -> Result<()> {
        match inst {
            Inst::Store { buf, index, value } => {
                let (offset, value) = (self.offset(index)?, self.op(*value)?);
                let dtype = self.buffer(*buf)?.dtype;
                let value = self.stored(dtype, value);
                let address = self.address(*buf, &offset.op)?;
                let align = self.align(*buf, offset.multiple)?;
                let scopes = &self.notes[buf.0 as usize].0;
                self.body.line(format_args!("store {value}, ptr {address}, align {align}{scopes}"));
            }
            Inst::Scatter { buf, offsets, value } => {
                let (offsets, value) = (self.op(*offsets)?, self.op(*value)?);
                ensure!(
                    offsets.ty.lanes == value.ty.lanes,
                    "scatters {} lanes to {} offsets",
                    value.ty.lanes,
                    offsets.ty.lanes
                );
                let dtype = self.buffer(*buf)?.dtype;
                let value = self.stored(dtype, value);
                for lane in 0..value.ty.lanes {
                    let offset = self.lane(&offsets, lane);
                    let x = self.lane(&value, lane);
                    let address = self.address(*buf, &offset)?;
                    let scopes = &self.notes[buf.0 as usize].0;
                    self.body.line(format_args!("store {x}, ptr {address}, align {}{scopes}", dtype.size()));
                }
            }
            Inst::Prefetch { buf, offset } => {
                let offset = self.op(*offset)?;
                let address = self.address(*buf, &offset)?;
                self.body.line(format_args!("call void @llvm.prefetch.p0(ptr {address}, i32 0, i32 3, i32 1)"));
            }
            Inst::Check { ok, status } => {
                let ok = self.op(*ok)?;
                let n = self.body.number();
                self.body.line(format_args!("br {ok}, label %ok{n}, label %fail{n}, !prof !{MD_LIKELY}"));
                self.body.label(&format!("fail{n}"));
                // Tasks may fail at the same time; the largest of their statuses stays, whatever their order.
                self.body.line(format_args!("%old{n} = atomicrmw umax ptr %status, i32 {status} monotonic, align 4"));
                self.body.line(format_args!("ret void"));
                self.body.label(&format!("ok{n}"));
            }
            Inst::CallTile(call) => self.call_tile(call)?,
            other => bail!("{} has no meaning on a CPU", gpu_name(other)),
        }
        Ok(())
    }

    /// Fills the micro-kernel's argument block, fourteen 8-byte fields in the order of the runtime's `GemmTile`.
    fn call_tile(&mut self, c: &CallTile) -> Result<()> {
        let Some(tiles) = self.env.tiles else {
            bail!(
                "calls a runtime micro-kernel, which only code in this process can do; schedule it for a target without micro-kernels"
            )
        };
        let address = tiles
            .address(c.rows, c.lanes)
            .with_context(|| format!("this machine has no micro-kernel of {} rows and {} lanes", c.rows, c.lanes))?;
        for buf in [c.a, c.a_offsets, c.tap_offsets, c.b, c.out] {
            self.buffer(buf)?;
        }
        let (taps, depth, rows) = (self.op(c.taps)?, self.op(c.depth)?, self.op(c.valid_rows)?);
        let b_offset = self.op(c.b_offset)?;
        let b = self.address(c.b, &b_offset)?;
        let tap_stride = self.body.bin("mul", &depth, &int(I64, i64::from(c.lanes)));
        let lanes = c.lanes.to_string();
        let n = self.body.number();
        self.body.allocas += &format!("  %tile{n} = alloca [14 x i64], align 8\n");
        let fields: [(&str, String); 14] = [
            ("ptr", format!("%b{}", c.a.0)),
            ("ptr", format!("%b{}", c.a_offsets.0)),
            ("ptr", format!("%b{}", c.tap_offsets.0)),
            ("ptr", b),
            ("ptr", format!("%b{}", c.out.0)),
            ("i64", depth.text),
            ("i64", taps.text),
            ("i64", rows.text),
            ("i64", "0".into()),
            ("i64", "1".into()),
            ("i64", lanes.clone()),
            ("i64", tap_stride.text),
            ("i64", lanes),
            ("i64", i64::from(c.accumulate).to_string()),
        ];
        for (i, (ty, value)) in fields.iter().enumerate() {
            self.body.line(format_args!("%tile{n}.{i} = getelementptr inbounds i64, ptr %tile{n}, i64 {i}"));
            self.body.line(format_args!("store {ty} {value}, ptr %tile{n}.{i}, align 8"));
        }
        self.body.line(format_args!("call void inttoptr (i64 {address} to ptr)(ptr %tile{n})"));
        Ok(())
    }

    // ---- control ----

    fn for_loop(&mut self, f: &For, results: &[V]) -> Result<()> {
        ensure!(
            f.step > 0 && f.unroll > 0,
            "a loop has step {} and unroll {}: both must be positive",
            f.step,
            f.unroll
        );
        ensure!(
            f.carried.len() == results.len() && f.carried.len() == f.body.yields.len(),
            "a loop carries {} values, yields {} and defines {}",
            f.carried.len(),
            f.body.yields.len(),
            results.len()
        );
        let (lo, hi) = (self.value(f.lo)?.clone(), self.value(f.hi)?.clone());
        let inits = f.carried.iter().map(|c| self.value(c.init).cloned()).collect::<Result<Vec<_>>>()?;
        let stride = f.step.checked_mul(i64::from(f.unroll)).context("a loop's step times its unrolling overflows")?;
        let known = lo.constant.zip(hi.constant);
        if known.is_some_and(|(l, h)| l >= h) {
            for (r, init) in results.iter().zip(inits) {
                self.define(*r, init.op, 1, None);
            }
            return Ok(());
        }
        // One round: straight-line code.
        if let Some((l, h)) = known
            && l.checked_add(stride).is_none_or(|next| next >= h)
        {
            for (c, init) in f.carried.iter().zip(&inits) {
                self.define(c.inner, init.op.clone(), 1, None);
            }
            let last = self.rounds(f, &lo.op, &lo)?;
            for (r, v) in results.iter().zip(last) {
                self.define(*r, v, 1, None);
            }
            return Ok(());
        }

        let n = self.body.number();
        let before = self.body.block.clone();
        let (head, exit) = (format!("loop{n}"), format!("done{n}"));
        if known.is_some() {
            self.body.line(format_args!("br label %{head}"));
        } else {
            let enter = self.body.icmp("slt", &lo.op, &hi.op);
            self.body.line(format_args!("br {enter}, label %{head}, label %{exit}"));
        }
        // The body goes to a text of its own: the phis before it name what it yields.
        let outer = std::mem::take(&mut self.body.out);
        self.body.block = head.clone();
        let iv = Op { ty: I64, text: format!("%iv{n}") };
        for (i, (c, init)) in f.carried.iter().zip(&inits).enumerate() {
            let op = Op { ty: init.op.ty, text: format!("%c{n}.{i}") };
            self.define(c.inner, op, 1, None);
        }
        let next = self.rounds(f, &iv, &lo)?;
        let latch = self.body.block.clone();
        self.body.line(format_args!("%iv{n}.next = add nsw i64 %iv{n}, {stride}"));
        self.body.line(format_args!("%more{n} = icmp slt i64 %iv{n}.next, {}", hi.op.text));
        self.body.line(format_args!("br i1 %more{n}, label %{head}, label %{exit}"));

        let body = std::mem::replace(&mut self.body.out, outer);
        self.body.label(&head);
        self.body.line(format_args!("%iv{n} = phi i64 [ {}, %{before} ], [ %iv{n}.next, %{latch} ]", lo.op.text));
        for (i, (init, next)) in inits.iter().zip(&next).enumerate() {
            ensure!(init.op.ty == next.ty, "a loop carries {} but yields {}", init.op.ty, next.ty);
            self.body.line(format_args!(
                "%c{n}.{i} = phi {} [ {}, %{before} ], [ {}, %{latch} ]",
                init.op.ty, init.op.text, next.text
            ));
        }
        self.body.out += &body;
        self.body.label(&exit);
        for (r, (init, next)) in results.iter().zip(inits.iter().zip(next)) {
            let op = if known.is_some() {
                next
            } else {
                let ty = init.op.ty;
                self.body
                    .inst(ty, format_args!("phi {ty} [ {}, %{before} ], [ {}, %{latch} ]", init.op.text, next.text))
            };
            self.define(*r, op, 1, None);
        }
        Ok(())
    }

    /// `unroll` copies of the body; returns what the last one yields.
    fn rounds(&mut self, f: &For, iv: &Op, lo: &Value) -> Result<Vec<Op>> {
        let multiple = gcd(lo.multiple, f.step);
        let mut yields = Vec::new();
        for copy in 0..f.unroll {
            let at = if copy == 0 {
                iv.clone()
            } else {
                for (c, v) in f.carried.iter().zip(yields) {
                    self.define(c.inner, v, 1, None);
                }
                self.body.inst(I64, format_args!("add nsw {iv}, {}", i64::from(copy) * f.step))
            };
            self.define(f.iv, at, multiple, None);
            self.block(&f.body)?;
            yields = f.body.yields.iter().map(|&v| self.op(v)).collect::<Result<_>>()?;
        }
        Ok(yields)
    }

    fn if_else(&mut self, cond: V, then: &Block, other: &Block, results: &[V]) -> Result<()> {
        ensure!(
            then.yields.len() == results.len() && other.yields.len() == results.len(),
            "the sides of a conditional yield {} and {} values for {} results",
            then.yields.len(),
            other.yields.len(),
            results.len()
        );
        let cond = self.op(cond)?;
        let n = self.body.number();
        self.body.line(format_args!("br {cond}, label %then{n}, label %else{n}"));
        let mut sides = Vec::with_capacity(2);
        for (name, block) in [("then", then), ("else", other)] {
            self.body.label(&format!("{name}{n}"));
            self.block(block)?;
            let yields = block.yields.iter().map(|&v| self.op(v)).collect::<Result<Vec<_>>>()?;
            sides.push((self.body.block.clone(), yields));
            self.body.line(format_args!("br label %join{n}"));
        }
        self.body.label(&format!("join{n}"));
        for (i, r) in results.iter().enumerate() {
            let (a, b) = (&sides[0].1[i], &sides[1].1[i]);
            let ty = a.ty;
            ensure!(ty == b.ty, "the sides of a conditional yield {ty} and {}", b.ty);
            let op = self
                .body
                .inst(ty, format_args!("phi {ty} [ {}, %{} ], [ {}, %{} ]", a.text, sides[0].0, b.text, sides[1].0));
            self.define(*r, op, 1, None);
        }
        Ok(())
    }
}

/// A scalar in every lane.
fn splat(b: &mut Body, x: &Op, ty: LTy) -> Op {
    if ty.lanes == 1 {
        return x.clone();
    }
    if !x.text.starts_with('%') {
        return Op { ty, text: format!("splat ({x})") };
    }
    let one = b.inst(ty, format_args!("insertelement {ty} poison, {x}, i32 0"));
    b.inst(ty, format_args!("shufflevector {one}, {ty} poison, <{} x i32> zeroinitializer", ty.lanes))
}

/// Lanes `[at, at + ty.lanes)`.
fn slice(b: &mut Body, x: &Op, at: u16, ty: LTy) -> Op {
    if ty.lanes == x.ty.lanes {
        return x.clone();
    }
    if ty.lanes == 1 {
        return b.inst(ty, format_args!("extractelement {x}, i32 {at}"));
    }
    let lanes: Vec<String> = (at..at + ty.lanes).map(|i| format!("i32 {i}")).collect();
    b.inst(ty, format_args!("shufflevector {x}, {} poison, <{} x i32> <{}>", x.ty, ty.lanes, lanes.join(", ")))
}

/// The type of elements in memory: bool is a byte.
fn memory_type(dtype: DType, lanes: u16) -> LTy {
    let t = LTy::register(dtype, lanes);
    if dtype.class() == Class::Bool { t.with(Elem::I(8)) } else { t }
}

/// Bytes as they stand in an LLVM string.
pub(super) fn escape(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut s = String::with_capacity(bytes.len());
    for &c in bytes {
        if (b' '..=b'~').contains(&c) && c != b'"' && c != b'\\' {
            s.push(c as char);
        } else {
            let _ = write!(s, "\\{c:02X}");
        }
    }
    s
}

/// A C identifier.
pub(super) fn is_identifier(s: &str) -> bool {
    !s.is_empty()
        && !s.starts_with(|c: char| c.is_ascii_digit())
        && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What an instruction that a CPU cannot run is called.
fn gpu_name(inst: &Inst) -> &'static str {
    match inst {
        Inst::Thread(_) => "a GPU thread's coordinate",
        Inst::IotaRows => "a row index (a tile, not a machine value)",
        Inst::Mma(..) => "a GPU matrix intrinsic",
        Inst::WarpXor(..) => "a warp exchange",
        Inst::AsyncCopy { .. } | Inst::AsyncCommit | Inst::AsyncWait(_) => "an asynchronous copy",
        Inst::Barrier => "a block barrier",
        Inst::ReduceInto { .. } => "a reduction into a buffer (it belongs to the nest level)",
        _ => "this instruction",
    }
}
