//! The type rule of every instruction without blocks.

use super::Verifier;
use crate::DType;
use crate::loops::inst::{Inst, Stmt, Ty, V};
use crate::loops::{Access, BufId, Buffer, Level, Space};

/// What an instruction defines.
enum Gives {
    /// Nothing.
    Nothing,
    /// A value of a type that follows from the operands.
    Value(Ty),
    /// A value whose stated type has been checked.
    Stated,
    /// As many values as listed.
    Values(Vec<Ty>),
    /// Operands that do not fit, reported: nothing more can be said.
    Unknown,
}

/// Checks a statement whose operands are all visible and whose results have types.
pub(super) fn check(v: &mut Verifier<'_>, s: &Stmt) {
    let level = v.kernel.level;
    if !exists_at(&s.inst, level) {
        return v.fail("K16", format!("the instruction does not exist at the {} level", level.name()));
    }
    let stated = s.results.first().map(|&r| v.kernel.ty(r));
    let results = |v: &mut Verifier<'_>, n: usize| {
        v.require(s.results.len() == n, "K11", || format!("{} results, {n} expected", s.results.len()));
        s.results.len() == n
    };
    match &s.inst {
        // Instructions whose result type is stated need one before they can be checked.
        Inst::ConstFloat(_)
        | Inst::ConstInt(_)
        | Inst::IotaLanes
        | Inst::IotaRows
        | Inst::Cast(_)
        | Inst::Bitcast(_)
        | Inst::Splat(_)
        | Inst::Slice(..)
        | Inst::Load { .. }
        | Inst::Gather { .. }
            if stated.is_none() =>
        {
            results(v, 1);
            return;
        }
        _ => {}
    }
    let gives = Rules { v: &mut *v, stated: stated.unwrap_or(Ty::INDEX) }.inst(&s.inst);
    match gives {
        Gives::Nothing => {
            results(v, 0);
        }
        Gives::Stated => {
            results(v, 1);
        }
        Gives::Value(ty) => {
            if results(v, 1) && stated != Some(ty) {
                v.fail(
                    "K15",
                    format!("the result is {ty}, stated {}", stated.map_or("nothing".into(), |t| t.to_string())),
                );
            }
        }
        Gives::Values(types) => {
            if results(v, types.len()) {
                for (&r, ty) in s.results.iter().zip(types) {
                    let is = v.kernel.ty(r);
                    v.require(is == ty, "K15", || format!("a result is {ty}, stated {is}"));
                }
            }
        }
        Gives::Unknown => {}
    }
}

/// Which levels have an instruction.
fn exists_at(inst: &Inst, level: Level) -> bool {
    use Inst::*;
    let scheduled_or_machine = level != Level::Nest;
    match inst {
        Sym(_) | Gather { .. } | Scatter { .. } | Prefetch { .. } => level == Level::Machine,
        Dim(_) => level != Level::Machine,
        IotaRows => level == Level::Scheduled,
        ReduceInto { .. } => level == Level::Nest,
        Thread(_) | IotaLanes | Splat(_) | Extract(..) | Insert(..) | Slice(..) | ReduceLanes(..) => {
            scheduled_or_machine
        }
        Mma(..) | WarpXor(..) | AsyncCopy { .. } | AsyncCommit | AsyncWait(_) | Barrier => scheduled_or_machine,
        CallTile(_) => scheduled_or_machine,
        ConstFloat(_) | ConstInt(_) | Task | Unary(..) | Binary(..) | Compare(..) | Select(..) | Fma(..) => true,
        Cast(_) | Bitcast(_) | Load { .. } | Store { .. } | For(_) | If(..) | Check { .. } => true,
    }
}

struct Rules<'r, 'a> {
    v: &'r mut Verifier<'a>,
    /// The stated type of the result.
    stated: Ty,
}

impl<'a> Rules<'_, 'a> {
    fn ty(&self, v: V) -> Ty {
        self.v.kernel.ty(v)
    }

    fn require(&mut self, ok: bool, code: &'static str, message: impl FnOnce() -> String) {
        self.v.require(ok, code, message);
    }

    /// The extents that operands combine to: rows, lanes.
    fn extents(&mut self, operands: &[Ty]) -> Option<(u16, u16)> {
        let rows = operands.iter().map(|t| t.rows).max()?;
        let lanes = operands.iter().map(|t| t.lanes).max()?;
        let broadcasts = self.v.kernel.level == Level::Scheduled;
        let fits = |n: u16, of: u16| n == of || (broadcasts && n == 1);
        let ok = operands.iter().all(|t| fits(t.rows, rows) && fits(t.lanes, lanes));
        self.require(ok, "K14", || format!("extents of {operands:?} do not fit"));
        ok.then_some((rows, lanes))
    }

    /// Operands of one element type, combined.
    fn combined(&mut self, operands: &[Ty]) -> Option<Ty> {
        let elem = operands.first()?.elem;
        let same = operands.iter().all(|t| t.elem == elem);
        self.require(same, "K13", || format!("{operands:?} have different element types"));
        let (rows, lanes) = self.extents(operands)?;
        same.then_some(Ty { elem, rows, lanes })
    }

    fn accepts(&mut self, ok: bool, op: impl std::fmt::Display, elem: DType) {
        self.require(ok, "K12", || format!("{op} does not take {elem}"));
    }

    fn inst(&mut self, inst: &Inst) -> Gives {
        self.rule(inst).unwrap_or(Gives::Unknown)
    }

    fn rule(&mut self, inst: &Inst) -> Option<Gives> {
        use Inst::*;
        let stated = self.stated;
        Some(match inst {
            ConstFloat(_) => {
                self.require(stated.elem.is_float(), "K27", || format!("a float constant of type {stated}"));
                Gives::Stated
            }
            ConstInt(_) => {
                let ok = stated.elem.is_int() || stated.elem == DType::Bool;
                self.require(ok, "K27", || format!("an integer constant of type {stated}"));
                Gives::Stated
            }
            Sym(slot) => {
                let n = self.v.kernel.symbols.len();
                self.require((*slot as usize) < n, "K08", || format!("slot {slot} of {n} symbols"));
                Gives::Value(Ty::INDEX)
            }
            Dim(d) => {
                self.v.symbols(d);
                Gives::Value(Ty::INDEX)
            }
            Task => Gives::Value(Ty::INDEX),
            Thread(_) => {
                self.threads();
                Gives::Value(Ty::INDEX)
            }
            IotaLanes | IotaRows => {
                let other = if *inst == IotaLanes { stated.rows } else { stated.lanes };
                let ok = matches!(stated.elem, DType::I32 | DType::I64) && other == 1;
                self.require(ok, "K15", || format!("an iota of type {stated}"));
                Gives::Stated
            }
            Unary(op, x) => {
                let t = self.ty(*x);
                self.accepts(op.accepts(t.elem), op, t.elem);
                Gives::Value(t.with_elem(op.result(t.elem)))
            }
            Binary(op, x, y) => {
                let t = self.combined(&[self.ty(*x), self.ty(*y)])?;
                self.accepts(op.accepts(t.elem), op, t.elem);
                Gives::Value(t)
            }
            Compare(op, x, y) => {
                let t = self.combined(&[self.ty(*x), self.ty(*y)])?;
                self.accepts(op.accepts(t.elem), op, t.elem);
                Gives::Value(t.with_elem(DType::Bool))
            }
            Select(c, x, y) => {
                let (c, t) = (self.ty(*c), self.combined(&[self.ty(*x), self.ty(*y)])?);
                self.accepts(c.elem == DType::Bool, "the condition of select", c.elem);
                // One bool chooses between whole vectors at every level.
                let (rows, lanes) = if c.is_scalar() { (t.rows, t.lanes) } else { self.extents(&[c, t])? };
                Gives::Value(Ty { rows, lanes, ..t })
            }
            Fma(a, b, c) => {
                let t = self.combined(&[self.ty(*a), self.ty(*b), self.ty(*c)])?;
                self.accepts(t.elem.is_float(), "fma", t.elem);
                Gives::Value(t)
            }
            Cast(x) => Gives::Value(self.ty(*x).with_elem(stated.elem)),
            Bitcast(x) => {
                let t = self.ty(*x);
                let same = t.elem.size() == stated.elem.size();
                self.require(same, "K28", || format!("{t} and {stated} differ in width"));
                Gives::Value(t.with_elem(stated.elem))
            }
            Splat(x) => {
                let t = self.ty(*x);
                let scheduled = self.v.kernel.level == Level::Scheduled;
                let fits = |n: u16, of: u16| n == 1 || (scheduled && n == of);
                let ok = fits(t.rows, stated.rows) && fits(t.lanes, stated.lanes);
                self.require(ok, "K14", || format!("{t} does not fill {stated}"));
                Gives::Value(stated.with_elem(t.elem))
            }
            Extract(x, lane) => Gives::Value(Ty::scalar(self.lane(*x, *lane, 1)?.elem)),
            Insert(x, y, lane) => {
                let (t, y) = (self.lane(*x, *lane, 1)?, self.ty(*y));
                self.require(y == Ty::scalar(t.elem), "K13", || format!("{y} is inserted into {t}"));
                Gives::Value(t)
            }
            Slice(x, at) => {
                let t = self.lane(*x, *at, stated.lanes)?;
                Gives::Value(Ty::vector(t.elem, stated.lanes))
            }
            ReduceLanes(op, x) => {
                let t = self.ty(*x);
                self.accepts(op.accepts(t.elem), op, t.elem);
                self.require(t.lanes.is_power_of_two(), "K29", || format!("{t} has no balanced tree of lanes"));
                Gives::Value(Ty { lanes: 1, ..t })
            }
            Load { buf, index } => {
                let b = self.buffer(*buf)?;
                let at = self.index(b, index)?;
                self.element(b, stated);
                if self.v.kernel.level == Level::Machine { Gives::Stated } else { Gives::Value(at.with_elem(b.dtype)) }
            }
            Store { buf, index, value } => {
                let b = self.written(*buf)?;
                let (at, t) = (self.index(b, index)?, self.ty(*value));
                self.element(b, t);
                if self.v.kernel.level != Level::Machine {
                    let fits = self.extents(&[at, t])? == (at.rows, at.lanes);
                    self.require(fits, "K14", || format!("{t} does not fit an access of {}x{}", at.rows, at.lanes));
                }
                Gives::Nothing
            }
            Gather { buf, offsets } => {
                let (b, at) = (self.buffer(*buf)?, self.ty(*offsets));
                self.element(b, stated);
                self.require(at.elem == DType::I64, "K21", || format!("offsets of type {at}"));
                Gives::Value(at.with_elem(b.dtype))
            }
            Scatter { buf, offsets, value } => {
                let (b, at, t) = (self.written(*buf)?, self.ty(*offsets), self.ty(*value));
                self.element(b, t);
                self.require(at.elem == DType::I64, "K21", || format!("offsets of type {at}"));
                self.extents(&[at, t])?;
                Gives::Nothing
            }
            ReduceInto { op, buf, index, value } => {
                let b = self.written(*buf)?;
                self.index(b, index)?;
                let t = self.ty(*value);
                self.element(b, t);
                self.accepts(op.accepts(t.elem), op, t.elem);
                Gives::Nothing
            }
            Prefetch { buf, offset } => {
                self.buffer(*buf)?;
                self.scalar_index(*offset);
                Gives::Nothing
            }
            Mma(id, vs) => return self.intrinsic(*id, vs),
            WarpXor(x, mask) => {
                self.threads();
                self.require((1..32).contains(mask), "K31", || format!("lane mask {mask}"));
                Gives::Value(self.ty(*x))
            }
            AsyncCopy { dst, dst_offset, src, src_offset, bytes } => {
                self.threads();
                let (d, s) = (self.written(*dst)?, self.buffer(*src)?);
                let spaces = d.space == Space::Shared && s.space == Space::Global;
                let sizes = matches!(bytes, 4 | 8 | 16) && usize::from(*bytes) >= s.dtype.size() && d.dtype == s.dtype;
                self.require(spaces && sizes, "K32", || {
                    format!("{bytes} bytes from {} {} to {} {}", s.space.name(), s.dtype, d.space.name(), d.dtype)
                });
                self.scalar_index(*dst_offset);
                self.scalar_index(*src_offset);
                Gives::Nothing
            }
            AsyncCommit | AsyncWait(_) | Barrier => {
                self.threads();
                Gives::Nothing
            }
            CallTile(c) => {
                for v in [c.taps, c.depth, c.b_offset, c.valid_rows] {
                    self.scalar_index(v);
                }
                let tile = i64::from(c.rows) * i64::from(c.lanes);
                let wants = [
                    (c.a, DType::F32, None),
                    (c.b, DType::F32, None),
                    (self.written(c.out).map(|_| c.out)?, DType::F32, Some(tile)),
                    (c.a_offsets, DType::I64, Some(i64::from(c.rows))),
                    (c.tap_offsets, DType::I64, Some(0)),
                ];
                for (buf, dtype, private) in wants {
                    let b = self.buffer(buf)?;
                    // A private operand holds at least this many elements.
                    let holds = |n| b.space == Space::Private && b.layout.size.as_const().is_some_and(|s| s >= n);
                    let ok = b.dtype == dtype && private.is_none_or(holds);
                    self.require(ok, "K33", || {
                        format!("@{} is {} {} of {}", b.name, b.space.name(), b.dtype, b.layout.size)
                    });
                }
                self.require(tile > 0, "K33", || "the tile is empty".into());
                Gives::Nothing
            }
            Check { ok, .. } => {
                let t = self.ty(*ok);
                // A scheduled check may be a tile of conditions, all of which must hold.
                let tile = self.v.kernel.level == Level::Scheduled && t.elem == DType::Bool;
                let ok = tile || t == Ty::scalar(DType::Bool);
                self.require(ok, "K26", || format!("the condition has type {t}, not bool"));
                Gives::Nothing
            }
            // Loops and conditionals have rules of their own.
            For(_) | If(..) => Gives::Unknown,
        })
    }

    fn threads(&mut self) {
        self.require(self.v.kernel.threads > 1, "K31", || "the kernel has one thread".into());
    }

    fn buffer(&mut self, b: BufId) -> Option<&'a Buffer> {
        let kernel = self.v.kernel;
        let found = kernel.buffers.get(b.0 as usize);
        self.require(found.is_some(), "K18", || format!("buffer {} of {}", b.0, kernel.buffers.len()));
        found
    }

    fn written(&mut self, b: BufId) -> Option<&'a Buffer> {
        let b = self.buffer(b)?;
        self.require(b.access != Access::Read, "K19", || format!("@{} is only read", b.name));
        Some(b)
    }

    fn element(&mut self, b: &Buffer, t: Ty) {
        self.require(b.dtype == t.elem, "K13", || format!("@{} has elements of {}, the value is {t}", b.name, b.dtype));
    }

    fn scalar_index(&mut self, v: V) {
        let t = self.ty(v);
        self.require(t == Ty::INDEX, "K21", || format!("{t} where an i64 scalar is needed"));
    }

    /// The extents of an access, as the type of an index.
    fn index(&mut self, b: &Buffer, index: &[V]) -> Option<Ty> {
        let want = if self.v.kernel.level == Level::Machine { 1 } else { b.shape.len() };
        let ok = index.len() == want;
        self.require(ok, "K20", || format!("{} indices of @{}, {want} expected", index.len(), b.name));
        let types: Vec<Ty> = index.iter().map(|&i| self.ty(i)).collect();
        for t in &types {
            let machine = self.v.kernel.level == Level::Machine;
            self.require(t.elem == DType::I64 && !(machine && t.lanes > 1), "K21", || format!("an index of type {t}"));
        }
        let (rows, lanes) = if types.is_empty() { (1, 1) } else { self.extents(&types)? };
        ok.then_some(Ty::tile(DType::I64, rows, lanes))
    }

    /// A vector whose lanes `[lane, lane + n)` exist.
    fn lane(&mut self, x: V, lane: u16, n: u16) -> Option<Ty> {
        let t = self.ty(x);
        let ok = t.rows == 1 && u32::from(lane) + u32::from(n) <= u32::from(t.lanes);
        self.require(ok, "K29", || format!("lanes {lane} to {} of {t}", u32::from(lane) + u32::from(n)));
        ok.then_some(t)
    }

    fn intrinsic(&mut self, id: crate::loops::IntrinsicId, vs: &[V]) -> Option<Gives> {
        let row = id.row();
        self.require(row.is_some(), "K30", || format!("no intrinsic has number {}", id.0));
        let row = row?;
        let want: Vec<Ty> = row.fragments.iter().flat_map(|&(n, t)| std::iter::repeat_n(t, n.into())).collect();
        let have: Vec<Ty> = vs.iter().map(|&v| self.ty(v)).collect();
        self.require(have == want, "K30", || format!("{} takes {want:?}, not {have:?}", row.name));
        let whole = self.v.kernel.threads.is_multiple_of(u32::from(row.threads));
        self.require(whole, "K30", || format!("{} needs whole groups of {} threads", row.name, row.threads));
        let (n, t) = row.fragments[0];
        Some(Gives::Values(vec![t; n.into()]))
    }
}
