//! The text form of kernels: one statement a line, values numbered in the order of their definitions.
//!
//! [`crate::loops::parse`] reads it back: for a kernel that the verifier accepts, `parse(print(k)) == renumber(k)`, and
//! printing again gives the same text. `docs/loop-ir.md` describes the form. Kernels that are not valid print too
//! (undefined values as `%?N`), since error messages show them.

use std::fmt::{self, Write};

use super::inst::{Block, CallTile, For, Inst, LoopKind, Stmt, ThreadAxis, Ty, V};
use super::{Access, BufId, Buffer, Kernel, Layout, Level, Space};

impl Level {
    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Level::Nest => "nest",
            Level::Scheduled => "scheduled",
            Level::Machine => "machine",
        }
    }
}

impl Space {
    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Space::Global => "global",
            Space::Private => "private",
            Space::Shared => "shared",
        }
    }
}

impl Access {
    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::ReadWrite => "readwrite",
        }
    }
}

impl LoopKind {
    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            LoopKind::Parallel => "parallel",
            LoopKind::Reduce => "reduce",
            LoopKind::Serial => "serial",
        }
    }
}

impl ThreadAxis {
    /// The opcode in the text form.
    pub fn name(self) -> &'static str {
        match self {
            ThreadAxis::Thread => "thread",
            ThreadAxis::Lane => "thread.lane",
            ThreadAxis::Warp => "thread.warp",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self).text)
    }
}

/// A printed kernel with the places of its parts; lines count from 1.
#[derive(Clone, Debug)]
pub struct Printed {
    /// The text, ending in a newline.
    pub text: String,
    /// Line of each buffer's declaration.
    pub buffer_lines: Vec<usize>,
    /// Line of each statement, numbered in the order of the text (a loop before its body).
    pub stmt_lines: Vec<usize>,
}

impl Printed {
    /// The text of a line, without indentation.
    pub fn line(&self, line: usize) -> &str {
        self.text.lines().nth(line.wrapping_sub(1)).unwrap_or_default().trim()
    }
}

/// Prints a kernel.
pub fn print(kernel: &Kernel) -> Printed {
    let out = Printed { text: String::new(), buffer_lines: vec![], stmt_lines: vec![] };
    let mut p = Printer { kernel, out, names: Numbering::new(kernel), indent: 1, line: 1 };
    p.kernel();
    p.out
}

/// The same kernel with values numbered in the order of their definitions in the text, and without the types of values
/// that nothing defines.
pub fn renumber(kernel: &Kernel) -> Kernel {
    let mut k = kernel.clone();
    let mut n = Numbering::new(kernel);
    let mut body = std::mem::take(&mut k.body);
    renumber_block(&mut body, &mut n);
    k.body = body;
    let mut types = vec![Ty::INDEX; n.next as usize];
    for (old, new) in n.new_of_old.iter().enumerate() {
        if let Some(new) = new {
            types[*new as usize] = kernel.types[old];
        }
    }
    k.types = types;
    k
}

fn renumber_block(b: &mut Block, n: &mut Numbering) {
    for s in &mut b.stmts {
        s.inst.map_operands(|v| n.used(v));
        s.results.iter_mut().for_each(|r| *r = n.defined(*r));
        match &mut s.inst {
            Inst::For(l) => {
                l.iv = n.defined(l.iv);
                l.carried.iter_mut().for_each(|c| c.inner = n.defined(c.inner));
                renumber_block(&mut l.body, n);
            }
            Inst::If(_, a, b) => {
                renumber_block(a, n);
                renumber_block(b, n);
            }
            _ => {}
        }
    }
    b.yields.iter_mut().for_each(|v| *v = n.used(*v));
}

/// Canonical numbers of values.
struct Numbering {
    new_of_old: Vec<Option<u32>>,
    next: u32,
}

impl Numbering {
    fn new(k: &Kernel) -> Numbering {
        Numbering { new_of_old: vec![None; k.types.len()], next: 0 }
    }

    fn defined(&mut self, v: V) -> V {
        let Some(slot) = self.new_of_old.get_mut(v.0 as usize) else { return v };
        let n = *slot.get_or_insert_with(|| {
            self.next += 1;
            self.next - 1
        });
        V(n)
    }

    fn used(&self, v: V) -> V {
        self.new_of_old.get(v.0 as usize).copied().flatten().map_or(v, V)
    }
}

struct Printer<'a> {
    kernel: &'a Kernel,
    out: Printed,
    names: Numbering,
    indent: usize,
    line: usize,
}

/// Items joined by commas.
fn list(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    items.join(", ")
}

impl Printer<'_> {
    fn put(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.out.text, "{:width$}{line}", "", width = 2 * self.indent);
        self.line += 1;
    }

    fn kernel(&mut self) {
        let k = self.kernel;
        self.indent = 0;
        let mut head = format!("kernel @{} {}", k.name, k.level.name());
        if !k.symbols.is_empty() {
            head += &format!(" symbols({})", list(&k.symbols));
        }
        head += &format!(" tasks({})", k.tasks);
        if k.threads != 1 {
            head += &format!(" threads({})", k.threads);
        }
        self.put(format_args!("{head} {{"));
        self.indent = 1;
        for b in &k.buffers {
            self.out.buffer_lines.push(self.line);
            self.put(format_args!("{}", buffer(b)));
        }
        self.block(&k.body);
        self.indent = 0;
        self.put(format_args!("}}"));
    }

    fn block(&mut self, b: &Block) {
        for s in &b.stmts {
            self.out.stmt_lines.push(self.line);
            self.stmt(s);
        }
        if !b.yields.is_empty() {
            let yields = self.values(&b.yields);
            self.put(format_args!("yield {yields}"));
        }
    }

    fn value(&self, v: V) -> String {
        match self.names.new_of_old.get(v.0 as usize) {
            Some(Some(n)) => format!("%{n}"),
            _ => format!("%?{}", v.0),
        }
    }

    fn values(&self, vs: &[V]) -> String {
        list(vs.iter().map(|&v| self.value(v)))
    }

    fn buf(&self, b: BufId) -> String {
        match self.kernel.buffers.get(b.0 as usize) {
            Some(b) => format!("@{}", b.name),
            None => format!("@?{}", b.0),
        }
    }

    fn stmt(&mut self, s: &Stmt) {
        // Operands are printed before the results get their numbers: a use of an own result shows as undefined.
        let text = match &s.inst {
            Inst::For(l) => self.for_head(l),
            Inst::If(c, ..) => format!("if {} {{", self.value(*c)),
            inst => self.inst(inst, s.results.first().copied()),
        };
        let results: Vec<V> = s.results.iter().map(|&r| self.names.defined(r)).collect();
        let head = match &results[..] {
            [] => String::new(),
            _ => format!("{} = ", list(s.results.iter().map(|&r| self.value(r)))),
        };
        match &s.inst {
            Inst::For(l) => {
                let text = self.for_params(l, text);
                self.put(format_args!("{head}{text}"));
                self.nested(&l.body);
                self.put(format_args!("}}"));
            }
            Inst::If(_, a, b) => {
                self.put(format_args!("{head}{text}"));
                self.nested(a);
                if !b.stmts.is_empty() || !b.yields.is_empty() {
                    self.put(format_args!("}} else {{"));
                    self.nested(b);
                }
                self.put(format_args!("}}"));
            }
            _ => self.put(format_args!("{head}{text}")),
        }
    }

    fn nested(&mut self, b: &Block) {
        self.indent += 1;
        self.block(b);
        self.indent -= 1;
    }

    /// The parts of a loop's head that mention outer values, with a gap for what the loop defines.
    fn for_head(&self, l: &For) -> String {
        let mut inits = l.carried.iter().map(|c| match c.combine {
            Some(op) => format!(": {op} = {}", self.value(c.init)),
            None => format!(" = {}", self.value(c.init)),
        });
        let range = format!(" = {} to {} step {}", self.value(l.lo), self.value(l.hi), l.step);
        // A separator that no text contains stands for the names still to come.
        std::iter::once(range).chain(&mut inits).collect::<Vec<_>>().join("\u{0}")
    }

    fn for_params(&mut self, l: &For, head: String) -> String {
        let mut parts = head.split('\u{0}');
        self.names.defined(l.iv);
        let mut text = format!("for {} {}{}", l.kind.name(), self.value(l.iv), parts.next().unwrap_or_default());
        if l.unroll != 1 {
            text += &format!(" unroll {}", l.unroll);
        }
        if !l.carried.is_empty() {
            let carried = l.carried.iter().zip(parts).map(|(c, init)| {
                self.names.defined(c.inner);
                format!("{}{init}", self.value(c.inner))
            });
            text += &format!(" carried({})", list(carried.collect::<Vec<_>>()));
        }
        text + " {"
    }

    /// An instruction without blocks.
    fn inst(&self, inst: &Inst, result: Option<V>) -> String {
        use Inst::*;
        let v = |x: &V| self.value(*x);
        let at = |b: &BufId, index: &[V]| format!("{}[{}]", self.buf(*b), self.values(index));
        let text = match inst {
            ConstFloat(x) => format!("const {}", float(*x)),
            ConstInt(n) => format!("const {n}"),
            Sym(slot) => match self.kernel.symbols.get(*slot as usize) {
                Some(s) => format!("sym {s}"),
                None => format!("sym {slot}"),
            },
            Dim(d) => format!("dim {d}"),
            Task => "task".into(),
            Thread(axis) => axis.name().into(),
            IotaLanes => "iota.lanes".into(),
            IotaRows => "iota.rows".into(),
            Unary(op, x) => format!("{op} {}", v(x)),
            Binary(op, x, y) => format!("{op} {}, {}", v(x), v(y)),
            Compare(op, x, y) => format!("cmp.{op} {}, {}", v(x), v(y)),
            Select(c, x, y) => format!("select {}, {}, {}", v(c), v(x), v(y)),
            Fma(a, b, c) => format!("fma {}, {}, {}", v(a), v(b), v(c)),
            Cast(x) => format!("cast {}", v(x)),
            Bitcast(x) => format!("bitcast {}", v(x)),
            Splat(x) => format!("splat {}", v(x)),
            Extract(x, lane) => format!("extract {}, {lane}", v(x)),
            Insert(x, y, lane) => format!("insert {}, {}, {lane}", v(x), v(y)),
            Slice(x, lane) => format!("slice {}, {lane}", v(x)),
            ReduceLanes(op, x) => format!("reduce.{op} {}", v(x)),
            Load { buf, index } => format!("load {}", at(buf, index)),
            Store { buf, index, value } => format!("store {}, {}", at(buf, index), v(value)),
            Gather { buf, offsets } => format!("gather {}", at(buf, &[*offsets])),
            Scatter { buf, offsets, value } => format!("scatter {}, {}", at(buf, &[*offsets]), v(value)),
            ReduceInto { op, buf, index, value } => format!("reduce_into.{op} {}, {}", at(buf, index), v(value)),
            Prefetch { buf, offset } => format!("prefetch {}", at(buf, &[*offset])),
            For(_) | If(..) => String::new(),
            Mma(id, vs) => match id.row() {
                Some(row) => format!("{} {}", row.name, self.values(vs)),
                None => format!("intrinsic.{} {}", id.0, self.values(vs)),
            },
            WarpXor(x, mask) => format!("warp_xor {}, {mask}", v(x)),
            AsyncCopy { dst, dst_offset, src, src_offset, bytes } => {
                format!("async_copy {}, {}, {bytes}", at(dst, &[*dst_offset]), at(src, &[*src_offset]))
            }
            AsyncCommit => "async_commit".into(),
            AsyncWait(n) => format!("async_wait {n}"),
            Barrier => "barrier".into(),
            CallTile(c) => self.call_tile(c),
            Check { ok, status } => format!("check {}, {status}", v(ok)),
        };
        match result.and_then(|r| self.kernel.types.get(r.0 as usize)) {
            // A matrix intrinsic's results have the types that its row gives.
            Some(ty) if !matches!(inst, Mma(..)) => format!("{text} : {ty}"),
            _ => text,
        }
    }

    fn call_tile(&self, c: &CallTile) -> String {
        format!(
            "call_tile {} by {} {}{} rows {}, {}[{} + {} of {}] depth {}, {}[{}]",
            c.rows,
            c.lanes,
            if c.accumulate { "accumulate " } else { "" },
            self.buf(c.out),
            self.value(c.valid_rows),
            self.buf(c.a),
            self.buf(c.a_offsets),
            self.buf(c.tap_offsets),
            self.value(c.taps),
            self.value(c.depth),
            self.buf(c.b),
            self.value(c.b_offset),
        )
    }
}

/// A float that reads back with the same bits and is never taken for an integer.
fn float(x: f64) -> String {
    if x.is_nan() {
        return if x.to_bits() == f64::NAN.to_bits() { "nan".into() } else { format!("nan({:#x})", x.to_bits()) };
    }
    format!("{x:?}")
}

fn buffer(b: &Buffer) -> String {
    let mut text = format!(
        "buffer @{}: {}[{}] {} {} align {}",
        b.name,
        b.dtype,
        list(&b.shape),
        b.space.name(),
        b.access.name(),
        b.align
    );
    if b.layout != Layout::row_major(&b.shape) {
        text += &format!(" {}", layout(&b.layout));
    }
    text
}

fn layout(l: &Layout) -> String {
    let mut parts = vec![format!("size {}", l.size)];
    if !l.start.is(0) {
        parts.push(format!("start {}", l.start));
    }
    for a in &l.axes {
        let mut part = format!("d{}", a.axis);
        if a.div != 1 {
            part += &format!(" div {}", a.div);
        }
        if a.modulo != 0 {
            part += &format!(" mod {}", a.modulo);
        }
        parts.push(format!("{part} * {}", a.stride));
    }
    format!("layout({})", parts.join(", "))
}
