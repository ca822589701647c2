//! L2 to L3: tiles become vectors that the target has, indices become element offsets.
//!
//! Each tile value turns into `rows x parts` machine values, a part being a run of lanes of a length that the target's
//! registers take. Integer indices are kept as linear forms ([`affine`]) until an access needs them; its offset is split
//! into a scalar computed in the outermost loop where it can be, and a constant displacement for each row and part.

pub mod affine;

use std::collections::HashMap;

use anyhow::{Result, bail};
use kiln_ir::loops::inst::CallTile;
use kiln_ir::loops::{Block, BufId, For, Inst, Kernel, KernelBuilder, Level, LoopKind, Stmt, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp, ReduceOp};
use kiln_ir::{DType, Dim};

use affine::{Affine, Atom, Facts};

/// The lanes that the target's vectors have.
#[derive(Clone, Debug)]
pub struct Lanes {
    /// Bytes of the widest vector.
    pub vector_bytes: u32,
    /// Whether only full vectors and scalars exist (Cranelift), or every power of two below.
    pub full_only: bool,
}

/// Lowers a scheduled kernel to the machine level.
///
/// # Errors
/// If the kernel uses a form that the machine level cannot express; the message names it.
pub fn lower(k: &Kernel, lanes: &Lanes) -> Result<Kernel> {
    let shell = Kernel { level: Level::Machine, body: Block::default(), types: vec![], ..k.clone() };
    let mut m = Machine {
        k,
        cap: part_cap(k, lanes),
        full_only: lanes.full_only,
        b: KernelBuilder::new(shell),
        vals: vec![None; k.types.len()],
        multiples: HashMap::new(),
        memo: vec![Memo::default()],
        extents: (1, 1),
    };
    m.block(&k.body)?;
    Ok(m.b.finish())
}

/// The longest part: what a register holds of the widest element that the kernel's tiles compute with. Masks follow their
/// operands, and indices mostly stay scalar, so neither counts.
fn part_cap(k: &Kernel, lanes: &Lanes) -> u16 {
    let mut sizes: Vec<u32> = vec![];
    fn walk(k: &Kernel, b: &Block, sizes: &mut Vec<u32>) {
        for s in &b.stmts {
            match &s.inst {
                Inst::For(l) => walk(k, &l.body, sizes),
                Inst::If(_, a, b) => {
                    walk(k, a, sizes);
                    walk(k, b, sizes);
                }
                _ => {}
            }
            for &r in &s.results {
                let t = k.ty(r);
                // An i64 tile counts only where it is data, not an index: where it is loaded or stored.
                let data = !matches!(t.elem, DType::I64) || matches!(s.inst, Inst::Load { .. });
                if t.lanes > 1 && t.elem != DType::Bool && data {
                    sizes.push(t.elem.size() as u32);
                }
            }
            if let Inst::Store { value, .. } = &s.inst {
                let t = k.ty(*value);
                if t.lanes > 1 {
                    sizes.push(t.elem.size() as u32);
                }
            }
        }
    }
    walk(k, &k.body, &mut sizes);
    let (widest, narrowest) = (sizes.iter().max().copied().unwrap_or(4), sizes.iter().min().copied().unwrap_or(4));
    if lanes.full_only && widest != narrowest {
        return 1;
    }
    (lanes.vector_bytes / widest.max(1)).max(1) as u16
}

/// A tile in machine values: row-major, `parts` per row.
#[derive(Clone, Debug)]
struct Tile {
    rows: u16,
    lanes: u16,
    values: Vec<V>,
}

#[derive(Clone, Debug)]
enum Val {
    Tile(Tile),
    Index(Affine),
}

#[derive(Default)]
struct Memo {
    sums: HashMap<Affine, V>,
    pure: HashMap<(Ty, PureKey), V>,
}

/// Pure instructions that are shared.
#[derive(Clone, PartialEq, Eq, Hash)]
enum PureKey {
    Int(i64),
    Float(u64),
    Splat(V),
    Binary(BinaryOp, V, V),
    Sym(u32),
    Task,
    Iota,
}

struct Machine<'a> {
    k: &'a Kernel,
    cap: u16,
    full_only: bool,
    b: KernelBuilder,
    vals: Vec<Option<Val>>,
    /// Known divisors of scalars.
    multiples: HashMap<V, i64>,
    /// Shared values, one map for each open block.
    memo: Vec<Memo>,
    /// Rows and lanes of the tile at hand, for index simplification.
    extents: (i64, i64),
}

impl Facts for Machine<'_> {
    fn multiple(&self, v: V) -> i64 {
        self.multiples.get(&v).copied().unwrap_or(1)
    }
    fn extents(&self) -> (i64, i64) {
        self.extents
    }
}

impl Machine<'_> {
    /// The parts of a row of `lanes` lanes: start and length.
    fn parts(&self, lanes: u16) -> Vec<(u16, u16)> {
        let (mut at, mut out, mut n) = (0, vec![], self.cap);
        while at < lanes {
            while n > lanes - at {
                n = if self.full_only { 1 } else { n / 2 };
            }
            out.push((at, n));
            at += n;
        }
        out
    }

    fn val(&self, v: V) -> Result<Val> {
        match &self.vals[v.0 as usize] {
            Some(x) => Ok(x.clone()),
            None => bail!("value {v:?} is used before it is defined"),
        }
    }

    fn set(&mut self, v: V, x: Val) {
        self.vals[v.0 as usize] = Some(x);
    }

    // ---- shared pure instructions ----

    fn pure(&mut self, ty: Ty, key: PureKey, inst: Inst) -> V {
        let full = (ty, key);
        if let Some(&v) = self.memo.iter().rev().find_map(|m| m.pure.get(&full)) {
            return v;
        }
        let v = self.b.push_hoisted(ty, inst);
        let depth = self.b.depth_of(v);
        self.memo[depth - 1].pure.insert(full, v);
        v
    }

    fn int(&mut self, n: i64) -> V {
        self.pure(Ty::INDEX, PureKey::Int(n), Inst::ConstInt(n))
    }

    fn binary(&mut self, op: BinaryOp, x: V, y: V) -> V {
        self.pure(Ty::INDEX, PureKey::Binary(op, x, y), Inst::Binary(op, x, y))
    }

    fn splat(&mut self, v: V, lanes: u16) -> V {
        let t = self.b.ty(v);
        if t.lanes == lanes {
            return v;
        }
        self.pure(Ty { lanes, ..t }, PureKey::Splat(v), Inst::Splat(v))
    }

    /// The value of a symbolic integer, computed at the kernel's top where its divisors are numbers.
    fn dim(&mut self, d: &Dim) -> Result<V> {
        if let Some(n) = d.as_const() {
            return Ok(self.int(n));
        }
        let mut sum: Option<V> = None;
        for (atoms, c) in d.terms() {
            let mut product: Option<V> = None;
            for a in atoms {
                let v = match a {
                    kiln_ir::Atom::Sym(s) => {
                        let Some(slot) = self.k.symbols.iter().position(|k| *k == s) else {
                            bail!("symbol `{s}` is not among the kernel's")
                        };
                        self.pure(Ty::INDEX, PureKey::Sym(slot as u32), Inst::Sym(slot as u32))
                    }
                    kiln_ir::Atom::FloorDiv(x, y) => {
                        let (x, y) = (self.dim(&x)?, self.dim(&y)?);
                        self.floor_div(x, y)
                    }
                    kiln_ir::Atom::Min(x, y) => {
                        let (x, y) = (self.dim(&x)?, self.dim(&y)?);
                        self.binary(BinaryOp::Min, x, y)
                    }
                    kiln_ir::Atom::Max(x, y) => {
                        let (x, y) = (self.dim(&x)?, self.dim(&y)?);
                        self.binary(BinaryOp::Max, x, y)
                    }
                };
                product = Some(match product {
                    Some(p) => self.binary(BinaryOp::Mul, p, v),
                    None => v,
                });
            }
            let term = match product {
                None => self.int(c),
                Some(p) if c == 1 => p,
                Some(p) => {
                    let c = self.int(c);
                    self.binary(BinaryOp::Mul, p, c)
                }
            };
            sum = Some(match sum {
                Some(s) => self.binary(BinaryOp::Add, s, term),
                None => term,
            });
        }
        Ok(match sum {
            Some(s) => s,
            None => self.int(0),
        })
    }

    /// Floor division of i64 by a positive number: truncation, one less where the remainder is negative.
    fn floor_div(&mut self, x: V, y: V) -> V {
        let q = self.b.push(Ty::INDEX, Inst::Binary(BinaryOp::Div, x, y));
        let r = self.b.push(Ty::INDEX, Inst::Binary(BinaryOp::TruncMod, x, y));
        let (zero, minus) = (self.int(0), self.int(-1));
        let neg = self.b.push(Ty::scalar(DType::Bool), Inst::Compare(CompareOp::Lt, r, zero));
        let fix = self.b.push(Ty::INDEX, Inst::Select(neg, minus, zero));
        self.b.push(Ty::INDEX, Inst::Binary(BinaryOp::Add, q, fix))
    }

    /// The value of a form without rows and lanes. Terms are added outermost-defined first, so that the invariant part
    /// is computed outside the loops.
    fn scalar(&mut self, a: &Affine) -> Result<V> {
        if let Some(&v) = self.memo.iter().rev().find_map(|m| m.sums.get(a)) {
            return Ok(v);
        }
        let mut parts: Vec<(usize, V)> = vec![];
        for (atom, c) in &a.terms {
            let v = match atom {
                Atom::V(v) => *v,
                Atom::Digit(inner, div, modulo) => {
                    let mut v = self.scalar(inner)?;
                    // Not hoisted: a symbolic divisor may be 0 where the loop does not run.
                    if !div.is(1) {
                        let d = self.dim(div)?;
                        v = self.divide(BinaryOp::Div, v, d, div);
                    }
                    if let Some(m) = modulo {
                        let d = self.dim(m)?;
                        v = self.divide(BinaryOp::TruncMod, v, d, m);
                    }
                    v
                }
                Atom::Row | Atom::Lane | Atom::Tile(_) => bail!("a scalar index holds {atom:?}"),
            };
            let term = if c.is(1) {
                v
            } else {
                let c = self.dim(c)?;
                self.binary(BinaryOp::Mul, v, c)
            };
            parts.push((self.b.depth_of(term), term));
        }
        if !a.constant.is(0) || parts.is_empty() {
            let c = self.dim(&a.constant)?;
            // A number goes last, where it becomes the access's displacement; a symbolic one is invariant.
            let depth = if a.constant.as_const().is_some() { usize::MAX } else { self.b.depth_of(c) };
            parts.push((depth, c));
        }
        parts.sort_by_key(|p| p.0);
        let mut sum = parts[0].1;
        for &(_, v) in &parts[1..] {
            sum = self.binary(BinaryOp::Add, sum, v);
        }
        let depth = self.b.depth_of(sum);
        self.memo[depth - 1].sums.insert(a.clone(), sum);
        Ok(sum)
    }

    fn divide(&mut self, op: BinaryOp, x: V, y: V, divisor: &Dim) -> V {
        if divisor.as_const().is_some_and(|d| d > 0) {
            self.binary(op, x, y)
        } else {
            self.b.push(Ty::INDEX, Inst::Binary(op, x, y))
        }
    }

    // ---- indices ----

    /// A value as a linear form; a tile of data becomes an atom.
    fn index(&mut self, v: V) -> Result<Affine> {
        Ok(match self.val(v)? {
            Val::Index(a) => a,
            Val::Tile(t) if t.rows == 1 && t.lanes == 1 => Affine::atom(Atom::V(t.values[0])),
            Val::Tile(_) => Affine::atom(Atom::Tile(v)),
        })
    }

    /// The scalar form at one row and lane.
    fn at(&mut self, a: &Affine, row: u16, lane: u16) -> Result<Affine> {
        let a = a.substitute(&Atom::Row, i64::from(row), self).substitute(&Atom::Lane, i64::from(lane), self);
        if !a.mentions_data() {
            return Ok(a);
        }
        let mut out = Affine::constant(a.constant.clone());
        for (atom, c) in &a.terms {
            let part = match atom {
                Atom::Tile(v) => {
                    let Val::Tile(t) = self.val(*v)? else { bail!("an index tile has no values") };
                    Affine::atom(Atom::V(self.element(&t, row, lane)))
                }
                Atom::Digit(inner, div, modulo) => {
                    let mut d = self.at(inner, row, lane)?.div(div, self);
                    if let Some(m) = modulo {
                        d = d.modulo(m, self);
                    }
                    d
                }
                other => Affine::atom(other.clone()),
            };
            out = out.add(&part.scale(c));
        }
        Ok(out)
    }

    /// One element of a tile as a scalar.
    fn element(&mut self, t: &Tile, row: u16, lane: u16) -> V {
        let row = if t.rows == 1 { 0 } else { row };
        let lane = if t.lanes == 1 { 0 } else { lane };
        let parts = self.parts(t.lanes);
        let p = parts.iter().position(|&(at, n)| lane >= at && lane < at + n).unwrap_or(0);
        let v = t.values[usize::from(row) * parts.len() + p];
        let (at, n) = parts[p];
        if n == 1 { v } else { self.b.push(Ty::scalar(self.b.ty(v).elem), Inst::Extract(v, lane - at)) }
    }

    /// The machine values of a value.
    fn tile(&mut self, v: V) -> Result<Tile> {
        let a = match self.val(v)? {
            Val::Tile(t) => return Ok(t),
            Val::Index(a) => a.recombine(),
        };
        let ty = self.k.ty(v);
        self.extents = (i64::from(ty.rows), i64::from(ty.lanes));
        let mut values = vec![];
        for r in 0..ty.rows {
            for (at, n) in self.parts(ty.lanes) {
                let row = a.substitute(&Atom::Row, i64::from(r), self);
                let step = row.coefficient(&Atom::Lane);
                let mut first = row.clone();
                first.terms.retain(|t| t.0 != Atom::Lane);
                values.push(if n == 1 {
                    let s = self.at(&row, 0, at)?;
                    self.scalar(&s)?
                } else if !first.mentions(&Atom::Lane) {
                    // base + step * (0, 1, ..)
                    let base = first.add(&Affine::constant(step.clone() * Dim::from(i64::from(at))));
                    let base = self.scalar(&base)?;
                    let base = self.splat(base, n);
                    let ramp = self.pure(Ty::vector(DType::I64, n), PureKey::Iota, Inst::IotaLanes);
                    let step = self.dim(&step)?;
                    let step = self.splat(step, n);
                    let ty = Ty::vector(DType::I64, n);
                    let scaled = self.pure(
                        ty,
                        PureKey::Binary(BinaryOp::Mul, ramp, step),
                        Inst::Binary(BinaryOp::Mul, ramp, step),
                    );
                    self.pure(
                        ty,
                        PureKey::Binary(BinaryOp::Add, base, scaled),
                        Inst::Binary(BinaryOp::Add, base, scaled),
                    )
                } else {
                    let mut vector = None;
                    for lane in 0..n {
                        let s = self.at(&row, 0, at + lane)?;
                        let s = self.scalar(&s)?;
                        let ty = Ty::vector(DType::I64, n);
                        vector = Some(match vector {
                            None => self.b.push(ty, Inst::Splat(s)),
                            Some(vec) => self.b.push(ty, Inst::Insert(vec, s, lane)),
                        });
                    }
                    vector.unwrap_or_else(|| self.int(0))
                });
            }
        }
        // The value stays a linear form: later accesses need it, and the memo shares the machine values.
        Ok(Tile { rows: ty.rows, lanes: ty.lanes, values })
    }

    /// A part of a tile broadcast to `rows x lanes`.
    fn part(&mut self, t: &Tile, row: u16, p: usize, lanes: u16, n: u16) -> V {
        let row = usize::from(if t.rows == 1 { 0 } else { row });
        if t.lanes == lanes {
            let parts = self.parts(lanes).len();
            t.values[row * parts + p]
        } else {
            let v = t.values[row];
            self.splat(v, n)
        }
    }

    // ---- statements ----

    fn block(&mut self, block: &Block) -> Result<()> {
        for s in &block.stmts {
            match &s.inst {
                Inst::For(l) => self.for_loop(l, &s.results)?,
                Inst::If(c, a, b) => self.if_else(*c, a, b, &s.results)?,
                _ => self.stmt(s)?,
            }
        }
        Ok(())
    }

    fn stmt(&mut self, s: &Stmt) -> Result<()> {
        let ty = s.results.first().map(|&r| self.k.ty(r));
        self.extents = ty.map_or((1, 1), |t| (i64::from(t.rows), i64::from(t.lanes)));
        match &s.inst {
            Inst::Store { buf, index, value } => return self.store(*buf, index, *value),
            Inst::Check { ok, status } => return self.check(*ok, *status),
            Inst::CallTile(call) => return self.call_tile(call),
            _ => {}
        }
        let (Some(&r), Some(ty)) = (s.results.first(), ty) else {
            bail!("{:?} has no machine form", s.inst);
        };
        let x = match &s.inst {
            Inst::ConstInt(n) if ty.elem == DType::I64 => Val::Index(Affine::constant(Dim::from(*n))),
            Inst::ConstInt(n) => Val::Tile(self.constant(ty, PureKey::Int(*n), s.inst.clone())),
            Inst::ConstFloat(x) => Val::Tile(self.constant(ty, PureKey::Float(x.to_bits()), s.inst.clone())),
            Inst::Dim(d) => Val::Index(Affine::constant(d.clone())),
            Inst::Task => {
                let v = self.pure(Ty::INDEX, PureKey::Task, Inst::Task);
                Val::Index(Affine::atom(Atom::V(v)))
            }
            Inst::IotaRows => Val::Index(Affine::atom(Atom::Row)),
            Inst::IotaLanes => Val::Index(Affine::atom(Atom::Lane)),
            Inst::Binary(op, x, y) if ty.elem == DType::I64 => match self.index_op(*op, *x, *y)? {
                Some(a) => Val::Index(a),
                None => Val::Tile(self.elementwise(&s.inst, ty)?),
            },
            Inst::Splat(x) => self.broadcast(*x, ty)?,
            Inst::ReduceLanes(op, x) => Val::Tile(self.reduce_lanes(*op, *x, ty)?),
            Inst::Load { buf, index } => Val::Tile(self.load(*buf, index, ty)?),
            Inst::Unary(..) | Inst::Binary(..) | Inst::Compare(..) | Inst::Select(..) => {
                Val::Tile(self.elementwise(&s.inst, ty)?)
            }
            Inst::Fma(..) | Inst::Cast(_) | Inst::Bitcast(_) => Val::Tile(self.elementwise(&s.inst, ty)?),
            other => bail!("{other:?} has no machine form"),
        };
        self.set(r, x);
        Ok(())
    }

    fn constant(&mut self, ty: Ty, key: PureKey, inst: Inst) -> Tile {
        let v = self.pure(Ty::scalar(ty.elem), key, inst);
        let t = Tile { rows: 1, lanes: 1, values: vec![v] };
        self.spread(&t, ty)
    }

    fn spread(&mut self, t: &Tile, ty: Ty) -> Tile {
        let parts = self.parts(ty.lanes);
        let mut values = vec![];
        for r in 0..ty.rows {
            for (p, &(_, n)) in parts.iter().enumerate() {
                values.push(self.part(t, r, p, ty.lanes, n));
            }
        }
        Tile { rows: ty.rows, lanes: ty.lanes, values }
    }

    fn broadcast(&mut self, x: V, ty: Ty) -> Result<Val> {
        let t = self.tile(x)?;
        Ok(Val::Tile(self.spread(&t, ty)))
    }

    /// Integer arithmetic that stays a linear form.
    fn index_op(&mut self, op: BinaryOp, x: V, y: V) -> Result<Option<Affine>> {
        // Tiles of data are computed as vectors.
        let is_data = |m: &Self, v: V| matches!(&m.vals[v.0 as usize], Some(Val::Tile(t)) if t.lanes > 1 || t.rows > 1);
        if is_data(self, x) || is_data(self, y) {
            return Ok(None);
        }
        let (a, b) = (self.index(x)?, self.index(y)?);
        Ok(match op {
            BinaryOp::Add => Some(a.add(&b)),
            BinaryOp::Sub => Some(a.add(&b.scale(&Dim::from(-1)))),
            BinaryOp::Mul => match (a.as_dim(), b.as_dim()) {
                (_, Some(d)) => Some(a.scale(d)),
                (Some(d), _) => Some(b.scale(d)),
                _ => None,
            },
            // Lowering divides indices only where they are not negative.
            BinaryOp::Div => b.as_dim().map(|d| a.div(d, self)),
            BinaryOp::TruncMod => b.as_dim().map(|d| a.modulo(d, self)),
            BinaryOp::Min | BinaryOp::Max => match (a.as_dim(), b.as_dim()) {
                (Some(p), Some(q)) => {
                    Some(Affine::constant(if op == BinaryOp::Min { p.smaller(q) } else { p.larger(q) }))
                }
                _ => None,
            },
            _ => None,
        })
    }

    fn elementwise(&mut self, inst: &Inst, ty: Ty) -> Result<Tile> {
        let mut operands = vec![];
        let mut err = None;
        inst.for_each_operand(|v| match self.tile(v) {
            Ok(t) => operands.push(t),
            Err(e) => err = Some(e),
        });
        if let Some(e) = err {
            return Err(e);
        }
        let parts = self.parts(ty.lanes);
        let mut values = Vec::with_capacity(usize::from(ty.rows) * parts.len());
        for r in 0..ty.rows {
            for (p, &(_, n)) in parts.iter().enumerate() {
                let args: Vec<V> = operands.iter().map(|t| self.part(t, r, p, ty.lanes, n)).collect();
                let mut i = inst.clone();
                let mut next = args.into_iter();
                i.map_operands(|v| next.next().unwrap_or(v));
                values.push(self.b.push(Ty::vector(ty.elem, n), i));
            }
        }
        Ok(Tile { rows: ty.rows, lanes: ty.lanes, values })
    }

    /// Halves are combined until a part is left, then the part's own lanes.
    fn reduce_lanes(&mut self, op: ReduceOp, x: V, ty: Ty) -> Result<Tile> {
        let t = self.tile(x)?;
        let parts = self.parts(t.lanes);
        let even = parts.iter().all(|p| p.1 == parts[0].1) && parts.len().is_power_of_two();
        if !even {
            bail!("lanes of extent {} have no balanced tree", t.lanes);
        }
        let mut values = vec![];
        for r in 0..usize::from(t.rows) {
            let mut row = t.values[r * parts.len()..(r + 1) * parts.len()].to_vec();
            while row.len() > 1 {
                let (low, high) = row.split_at(row.len() / 2);
                row = low
                    .iter()
                    .zip(high)
                    .map(|(&a, &b)| {
                        let t = self.b.ty(a);
                        self.b.push(t, Inst::Binary(op.combiner(), a, b))
                    })
                    .collect();
            }
            let v = row[0];
            values.push(if parts[0].1 == 1 { v } else { self.b.push(Ty::scalar(ty.elem), Inst::ReduceLanes(op, v)) });
        }
        Ok(Tile { rows: t.rows, lanes: 1, values })
    }

    // ---- memory ----

    /// The element offset of an access as a linear form.
    fn offset(&mut self, buf: BufId, index: &[V]) -> Result<Affine> {
        let layout = self.k.buffer(buf).layout.clone();
        let index: Vec<Affine> = index.iter().map(|&i| self.index(i)).collect::<Result<_>>()?;
        match affine::access(&layout, &index, self) {
            Some(form) => Ok(form),
            None => bail!("an access of buffer {buf:?} lacks an index"),
        }
    }

    /// The distance of neighbouring lanes in an offset, if it is the same number for all of them.
    fn lane_stride(offset: &Affine) -> Option<i64> {
        let mut others = offset.clone();
        others.terms.retain(|t| t.0 != Atom::Lane);
        if others.mentions(&Atom::Lane) || others.mentions_data() {
            return None;
        }
        offset.coefficient(&Atom::Lane).as_const()
    }

    fn load(&mut self, buf: BufId, index: &[V], ty: Ty) -> Result<Tile> {
        let offset = self.offset(buf, index)?;
        let stride = if ty.lanes == 1 { Some(0) } else { Self::lane_stride(&offset) };
        let elem = ty.elem;
        let mut values = vec![];
        let parts = self.parts(ty.lanes);
        for r in 0..ty.rows {
            for &(at, n) in &parts {
                let first = self.at(&offset, r, at)?;
                values.push(match stride {
                    _ if n == 1 => self.load_scalar(buf, &first, elem)?,
                    Some(1) => {
                        let o = self.scalar(&first)?;
                        self.b.push(Ty::vector(elem, n), Inst::Load { buf, index: vec![o] })
                    }
                    Some(0) => {
                        let v = self.load_scalar(buf, &first, elem)?;
                        self.b.push(Ty::vector(elem, n), Inst::Splat(v))
                    }
                    _ => {
                        let mut vector = None;
                        for lane in 0..n {
                            let o = self.at(&offset, r, at + lane)?;
                            let v = self.load_scalar(buf, &o, elem)?;
                            let ty = Ty::vector(elem, n);
                            vector = Some(match vector {
                                None => self.b.push(ty, Inst::Splat(v)),
                                Some(vec) => self.b.push(ty, Inst::Insert(vec, v, lane)),
                            });
                        }
                        match vector {
                            Some(v) => v,
                            None => bail!("a part without lanes"),
                        }
                    }
                });
            }
        }
        Ok(Tile { rows: ty.rows, lanes: ty.lanes, values })
    }

    fn load_scalar(&mut self, buf: BufId, offset: &Affine, elem: DType) -> Result<V> {
        let o = self.scalar(offset)?;
        Ok(self.b.push(Ty::scalar(elem), Inst::Load { buf, index: vec![o] }))
    }

    fn store(&mut self, buf: BufId, index: &[V], value: V) -> Result<()> {
        let (mut rows, mut lanes) = (1, 1);
        for &v in index.iter().chain([&value]) {
            let t = self.k.ty(v);
            rows = rows.max(t.rows);
            lanes = lanes.max(t.lanes);
        }
        self.extents = (i64::from(rows), i64::from(lanes));
        let t = self.tile(value)?;
        self.extents = (i64::from(rows), i64::from(lanes));
        let offset = self.offset(buf, index)?;
        let contiguous = Self::lane_stride(&offset) == Some(1);
        let parts = self.parts(lanes);
        for r in 0..rows {
            for (p, &(at, n)) in parts.iter().enumerate() {
                let v = self.part(&t, r, p, lanes, n);
                if n == 1 || contiguous {
                    let first = self.at(&offset, r, at)?;
                    let o = self.scalar(&first)?;
                    self.b.push_effect(Inst::Store { buf, index: vec![o], value: v });
                    continue;
                }
                for lane in 0..n {
                    let o = self.at(&offset, r, at + lane)?;
                    let o = self.scalar(&o)?;
                    let elem = self.b.ty(v).elem;
                    let x = self.b.push(Ty::scalar(elem), Inst::Extract(v, lane));
                    self.b.push_effect(Inst::Store { buf, index: vec![o], value: x });
                }
            }
        }
        Ok(())
    }

    fn check(&mut self, ok: V, status: i32) -> Result<()> {
        let t = self.tile(ok)?;
        let mut all: Option<V> = None;
        let bool_ = Ty::scalar(DType::Bool);
        for &v in &t.values {
            let s = if self.b.ty(v).lanes == 1 { v } else { self.b.push(bool_, Inst::ReduceLanes(ReduceOp::All, v)) };
            all = Some(match all {
                Some(a) => self.b.push(bool_, Inst::Binary(BinaryOp::And, a, s)),
                None => s,
            });
        }
        if let Some(ok) = all {
            self.b.push_effect(Inst::Check { ok, status });
        }
        Ok(())
    }

    /// A call of a micro-kernel: its buffers stay, its numbers become scalars.
    fn call_tile(&mut self, call: &CallTile) -> Result<()> {
        let mut call = call.clone();
        for v in [&mut call.taps, &mut call.depth, &mut call.b_offset, &mut call.valid_rows] {
            let form = self.index(*v)?;
            *v = self.scalar(&form)?;
        }
        self.b.push_effect(Inst::CallTile(Box::new(call)));
        Ok(())
    }

    // ---- control ----

    fn for_loop(&mut self, l: &For, results: &[V]) -> Result<()> {
        let (lo_form, hi_form) = (self.index(l.lo)?, self.index(l.hi)?);
        let lo_multiple = lo_form.multiple(self);
        let (lo, hi) = (self.scalar(&lo_form)?, self.scalar(&hi_form)?);
        let mut shapes = vec![];
        let mut carried = vec![];
        for c in &l.carried {
            let t = self.tile(c.init)?;
            carried.extend(t.values.iter().map(|&v| (v, c.combine)));
            shapes.push((t.rows, t.lanes, t.values.len()));
        }
        let kind = if l.kind == LoopKind::Parallel { LoopKind::Parallel } else { LoopKind::Serial };
        let carried: Vec<_> =
            carried.into_iter().map(|(v, c)| (v, if kind == LoopKind::Serial { None } else { c })).collect();
        let mut open = self.b.open_loop(kind, lo, hi, l.step, l.unroll, &carried);
        self.memo.push(Memo::default());
        self.multiples.insert(open.iv, gcd(lo_multiple, l.step));
        self.set(l.iv, Val::Index(Affine::atom(Atom::V(open.iv))));
        self.bind(&l.carried.iter().map(|c| c.inner).collect::<Vec<_>>(), &shapes, &open.inner());
        self.block(&l.body)?;
        let mut yields = vec![];
        for &y in &l.body.yields {
            yields.extend(self.tile(y)?.values);
        }
        open.yields = yields;
        self.memo.pop();
        let out = self.b.close_loop(open);
        self.bind(results, &shapes, &out);
        Ok(())
    }

    /// Binds values to consecutive machine values of known tile shapes.
    fn bind(&mut self, to: &[V], shapes: &[(u16, u16, usize)], from: &[V]) {
        let mut at = 0;
        for (&v, &(rows, lanes, n)) in to.iter().zip(shapes) {
            self.set(v, Val::Tile(Tile { rows, lanes, values: from[at..at + n].to_vec() }));
            at += n;
        }
    }

    fn if_else(&mut self, c: V, a: &Block, b: &Block, results: &[V]) -> Result<()> {
        let cond = self.tile(c)?;
        if cond.rows != 1 || cond.lanes != 1 {
            bail!("a condition must be a scalar");
        }
        let open = self.b.open_if(cond.values[0]);
        let (then, shapes) = self.side(a)?;
        let open = self.b.open_else(open, then);
        let (other, _) = self.side(b)?;
        let out = self.b.close_if(open, other);
        self.bind(results, &shapes, &out);
        Ok(())
    }

    /// One side of a conditional: its yields as machine values, with their tile shapes.
    #[allow(clippy::type_complexity)] // a pair of lists
    fn side(&mut self, block: &Block) -> Result<(Vec<V>, Vec<(u16, u16, usize)>)> {
        self.memo.push(Memo::default());
        self.block(block)?;
        let (mut yields, mut shapes) = (vec![], vec![]);
        for &y in &block.yields {
            let t = self.tile(y)?;
            shapes.push((t.rows, t.lanes, t.values.len()));
            yields.extend(t.values);
        }
        self.memo.pop();
        Ok((yields, shapes))
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}
