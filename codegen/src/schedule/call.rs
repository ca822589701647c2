//! Products whose reduction a call of a runtime micro-kernel computes, a whole register tile at a time.
//!
//! A code generator whose vectors are narrower than the machine's leaves the hot loop to the runtime's kernels
//! ([`kiln_ir::loops::inst::CallTile`]); the epilogue stays in loops. [`find`] reads off a nest whether its reduction has
//! the kernels' form: one factor varies along rows and is contiguous along the innermost reduction loops, the other one
//! varies along lanes. Where the latter is a constant packed in panels of the kernel's width, the kernel reads it as it
//! lies; otherwise each panel is copied into private memory before the rows sweep over it.

use std::collections::HashMap;

use kiln_ir::loops::{Block, BufId, For, Inst, LoopKind, Stmt, V};
use kiln_ir::scalar::{BinaryOp, ReduceOp};
use kiln_ir::{DType, Dim};

use crate::lower::{LoopRole, Nest, NestLoop};
use crate::machine::affine::{Affine, Atom, Facts, access};

/// Most taps of a call: each has an entry in a table that every task fills.
const MAX_TAPS: i64 = 128;

/// Most bytes of a panel that is packed into private memory: half of what a kernel may have on its stack.
const MAX_PANEL: i64 = 512 << 10;

/// Rows that a panel packed at run time must serve, in tiles: packing costs about as much as one tile's products.
const MIN_TILES: i64 = 4;

/// A reduction computed by a micro-kernel. Offsets are linear forms over the nest's induction variables.
#[derive(Clone, Debug, PartialEq)]
pub struct TileCall {
    /// The reduction's outermost loop.
    pub reduction: V,
    /// The loop whose iterations are the kernel's rows; without one the tile has a single row.
    pub rows: Option<V>,
    /// The loop whose iterations are the kernel's lanes.
    pub lanes: V,
    /// Extents of the kernel's tile.
    pub tile: (u16, u16),
    /// The factor that varies along rows.
    pub a: BufId,
    /// Its offset at the first reduction step.
    pub a_offset: Affine,
    /// What each tap adds to it.
    pub taps: Vec<Dim>,
    /// Contiguous steps of a tap.
    pub depth: i64,
    /// The factor that varies along lanes.
    pub b: BufId,
    /// How it comes to the kernel.
    pub panel: Panel,
}

/// How a panel, the lanes' factor for one tile, comes to the kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Panel {
    /// It lies in memory, at this offset for the tile's first lane.
    Packed(Affine),
    /// It is packed into private memory: the loops of the reduction, outermost first, with their extents; the index of
    /// the factor's element.
    Private {
        /// Induction variables and trip counts.
        loops: Vec<(V, i64)>,
        /// One form for each axis; [`Atom::Lane`] is the lane.
        index: Vec<Affine>,
    },
}

impl TileCall {
    /// Steps of the reduction.
    pub fn steps(&self) -> i64 {
        self.taps.len() as i64 * self.depth
    }
}

impl std::fmt::Display for TileCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rows, lanes) = self.tile;
        write!(f, "call {rows}x{lanes} for {:?}: {} taps of {}", self.reduction, self.taps.len(), self.depth)?;
        if matches!(self.panel, Panel::Private { .. }) {
            write!(f, ", packing panels")?;
        }
        Ok(())
    }
}

/// The first lane of a tile is a multiple of the kernel's width; all else is unknown.
struct Panels {
    lanes: V,
    width: i64,
}

impl Facts for Panels {
    fn multiple(&self, v: V) -> i64 {
        if v == self.lanes { self.width } else { 1 }
    }
    fn extents(&self) -> (i64, i64) {
        (1, self.width)
    }
}

/// Definitions of a nest: integers as forms over induction variables, everything else as it stands.
struct Defs<'a> {
    forms: HashMap<V, Affine>,
    stmts: HashMap<V, &'a Stmt>,
    loops: HashMap<V, (&'a For, &'a [V])>,
    facts: Panels,
}

impl<'a> Defs<'a> {
    fn block(&mut self, b: &'a Block) {
        for s in &b.stmts {
            if let Inst::For(l) = &s.inst {
                let mut form = Affine::atom(Atom::V(l.iv));
                if l.iv == self.facts.lanes {
                    form = form.add(&Affine::atom(Atom::Lane));
                }
                self.forms.insert(l.iv, form);
                self.loops.insert(l.iv, (l, &s.results));
                self.block(&l.body);
            }
            let &[r] = &s.results[..] else { continue };
            match self.form(&s.inst) {
                Some(form) => drop(self.forms.insert(r, form)),
                None => drop(self.stmts.insert(r, s)),
            }
        }
    }

    fn form(&self, inst: &Inst) -> Option<Affine> {
        match inst {
            Inst::ConstInt(n) => Some(Affine::constant(Dim::from(*n))),
            Inst::Dim(d) => Some(Affine::constant(d.clone())),
            Inst::Binary(op, x, y) => {
                let (x, y) = (self.forms.get(x)?, self.forms.get(y)?);
                match op {
                    BinaryOp::Add => Some(x.add(y)),
                    BinaryOp::Sub => Some(x.add(&y.scale(&Dim::from(-1)))),
                    BinaryOp::Mul => match (x.as_dim(), y.as_dim()) {
                        (_, Some(d)) => Some(x.scale(d)),
                        (Some(d), _) => Some(y.scale(d)),
                        _ => None,
                    },
                    // Lowering divides indices only where they are not negative.
                    BinaryOp::Div => Some(x.div(y.as_dim()?, &self.facts)),
                    BinaryOp::TruncMod => Some(x.modulo(y.as_dim()?, &self.facts)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn index(&self, index: &[V]) -> Option<Vec<Affine>> {
        index.iter().map(|i| self.forms.get(i).cloned()).collect()
    }

    /// The load behind a value.
    fn load(&self, v: V) -> Option<(BufId, Vec<Affine>)> {
        match &self.stmts.get(&v)?.inst {
            Inst::Load { buf, index } => Some((*buf, self.index(index)?)),
            _ => None,
        }
    }
}

/// The micro-kernel of a list for a product of `n` columns: the one that computes the fewest padding columns, the wider
/// one of equals.
pub fn kernel(kernels: &[(u16, u16)], n: i64) -> Option<(u16, u16)> {
    let columns = |k: &&(u16, u16)| (n as u64).div_ceil(u64::from(k.1)) * u64::from(k.1);
    kernels.iter().min_by_key(|k| (columns(k), std::cmp::Reverse(k.1))).copied()
}

/// The call that computes the reduction of a nest whose rows and lanes run along these loops, if a kernel of this tile can.
pub fn find(nest: &Nest, rows: Option<&NestLoop>, lanes: &NestLoop, tile: (u16, u16)) -> Option<TileCall> {
    let reductions: Vec<&NestLoop> = nest.loops.iter().filter(|l| matches!(l.role, LoopRole::Reduce(_))).collect();
    let first = *reductions.first()?;
    if reductions.iter().any(|l| l.role != first.role) {
        return None;
    }
    let extents: Vec<i64> = reductions.iter().map(|l| l.extent.as_const()).collect::<Option<_>>()?;
    let width = i64::from(tile.1);
    let facts = Panels { lanes: lanes.iv, width };
    let mut defs = Defs { forms: HashMap::new(), stmts: HashMap::new(), loops: HashMap::new(), facts };
    defs.block(&nest.kernel.body);
    let (x, y) = factors(&defs, nest, &reductions)?;
    let varies = |forms: &[Affine], iv: V| {
        forms.iter().any(|f| f.mentions(&Atom::V(iv)) || (iv == lanes.iv && f.mentions(&Atom::Lane)))
    };
    let fits = |a: &(BufId, Vec<Affine>), b: &(BufId, Vec<Affine>)| {
        !varies(&a.1, lanes.iv) && varies(&b.1, lanes.iv) && rows.is_none_or(|r| !varies(&b.1, r.iv))
    };
    let (a, b) = if fits(&x, &y) {
        (x, y)
    } else if fits(&y, &x) {
        (y, x)
    } else {
        return None;
    };
    let ivs: Vec<V> = reductions.iter().map(|l| l.iv).collect();

    let a_form = access(&nest.kernel.buffer(a.0).layout, &a.1, &defs.facts)?;
    let (a_offset, steps) = linear_steps(&a_form, &ivs, &extents)?;
    let (taps, depth) = taps(&steps, &extents)?;
    let b_form = access(&nest.kernel.buffer(b.0).layout, &b.1, &defs.facts)?;
    let panel = match packed(&b_form, &ivs, &extents, width) {
        Some(offset) => Panel::Packed(offset),
        None => {
            let total = extents.iter().product::<i64>();
            let served = size_or(&rows?.extent, 256);
            if total * width * 4 > MAX_PANEL
                || served < MIN_TILES * i64::from(tile.0)
                || lanes.extent.as_const().is_none()
            {
                return None;
            }
            Panel::Private { loops: ivs.iter().copied().zip(extents).collect(), index: b.1 }
        }
    };
    Some(TileCall {
        reduction: first.iv,
        rows: rows.map(|r| r.iv),
        lanes: lanes.iv,
        tile,
        a: a.0,
        a_offset,
        taps,
        depth,
        b: b.0,
        panel,
    })
}

fn size_or(d: &Dim, guess: i64) -> i64 {
    d.as_const().unwrap_or(guess)
}

/// The two loads whose products a perfect nest of reduction loops sums up from zero, all in f32.
#[allow(clippy::type_complexity)] // a pair of loads
fn factors(defs: &Defs, nest: &Nest, reductions: &[&NestLoop]) -> Option<((BufId, Vec<Affine>), (BufId, Vec<Affine>))> {
    let mut outer: Option<(&For, V)> = None;
    for r in reductions {
        let (l, results) = defs.loops.get(&r.iv)?;
        let ([c], [y], &[result]) = (&l.carried[..], &l.body.yields[..], *results) else { return None };
        if l.kind != LoopKind::Reduce || c.combine != Some(ReduceOp::Sum) {
            return None;
        }
        match outer {
            None => {
                let zero = matches!(defs.stmts.get(&c.init)?.inst, Inst::ConstFloat(x) if x.to_bits() == 0);
                if !zero || nest.kernel.ty(c.inner).elem != DType::F32 {
                    return None;
                }
            }
            // The loop around it does nothing but run this one.
            Some((o, yielded)) if c.init == o.carried[0].inner && yielded == result => {}
            Some(_) => return None,
        }
        outer = Some((l, *y));
    }
    let (inner, sum) = outer?;
    let Inst::Fma(x, y, acc) = defs.stmts.get(&sum)?.inst else { return None };
    let (x, y) = (defs.load(x)?, defs.load(y)?);
    let f32s = [x.0, y.0].iter().all(|&b| nest.kernel.buffer(b).dtype == DType::F32);
    (f32s && acc == inner.carried[0].inner).then_some((x, y))
}

/// A form split into what it is at the first step and what each loop adds in a step; `None` if that is not linear.
fn linear_steps(form: &Affine, ivs: &[V], extents: &[i64]) -> Option<(Affine, Vec<Dim>)> {
    let mut rest = form.clone();
    let mut steps = vec![];
    for (&iv, &n) in ivs.iter().zip(extents) {
        let atom = Atom::V(iv);
        steps.push(if n == 1 { Dim::from(0) } else { form.coefficient(&atom) });
        rest.terms.retain(|t| t.0 != atom);
    }
    (!ivs.iter().any(|&iv| rest.mentions(&Atom::V(iv)))).then_some((rest, steps))
}

/// The innermost loops that together run over contiguous elements are the depth, those around them the taps.
fn taps(steps: &[Dim], extents: &[i64]) -> Option<(Vec<Dim>, i64)> {
    let mut depth = 1;
    let mut outer = steps.len();
    while outer > 0 && (extents[outer - 1] == 1 || steps[outer - 1].is(depth)) {
        depth *= extents[outer - 1];
        outer -= 1;
    }
    let count = extents[..outer].iter().try_fold(1i64, |p, &n| p.checked_mul(n))?;
    // A depth of one element is a strided sum: loops do as well.
    if count > MAX_TAPS || (depth == 1 && count > 1) {
        return None;
    }
    let mut taps = vec![Dim::from(0)];
    for (step, &n) in steps.iter().zip(extents).take(outer) {
        taps = taps.iter().flat_map(|t| (0..n).map(move |i| t.clone() + step.clone() * Dim::from(i))).collect();
    }
    Some((taps, depth))
}

/// The offset of a panel in memory, if it has the kernel's form: lanes are contiguous, and each reduction step is one
/// panel row further.
fn packed(form: &Affine, ivs: &[V], extents: &[i64], width: i64) -> Option<Affine> {
    let (mut offset, steps) = linear_steps(form, ivs, extents)?;
    let mut row = width;
    for (step, &n) in steps.iter().zip(extents).rev() {
        if n != 1 && !step.is(row) {
            return None;
        }
        row *= n;
    }
    if !offset.coefficient(&Atom::Lane).is(1) {
        return None;
    }
    offset.terms.retain(|t| t.0 != Atom::Lane);
    (!offset.mentions(&Atom::Lane)).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(n: i64) -> Dim {
        Dim::from(n)
    }

    #[test]
    fn contiguous_loops_join_into_the_depth() {
        // A 3 x 3 window over 8 channels of rows of 56 pixels: the window's rows are contiguous.
        let (t, depth) = taps(&[d(56 * 8), d(8), d(1)], &[3, 3, 8]).unwrap_or_default();
        assert_eq!((t, depth), (vec![d(0), d(448), d(896)], 24));
        // With a dilation they are not.
        let (t, depth) = taps(&[d(16), d(1)], &[2, 8]).unwrap_or_default();
        assert_eq!((t, depth), (vec![d(0), d(16)], 8));
        // A column of a row-major matrix has no depth.
        assert_eq!(taps(&[d(64)], &[100]), None);
    }

    #[test]
    fn a_panel_is_packed_only_with_the_kernels_width() {
        let (k, o) = (V(1), V(2));
        let facts = Panels { lanes: o, width: 16 };
        let lane = Affine::atom(Atom::V(o)).add(&Affine::atom(Atom::Lane));
        let form = |nr: i64| {
            let panel = lane.div(&d(nr), &facts).scale(&d(32 * nr));
            panel.add(&Affine::atom(Atom::V(k)).scale(&d(nr))).add(&lane.modulo(&d(nr), &facts))
        };
        assert!(packed(&form(16), &[k], &[32], 16).is_some());
        assert_eq!(packed(&form(8), &[k], &[32], 16), None);
        // Row-major.
        assert_eq!(packed(&Affine::atom(Atom::V(k)).scale(&d(64)).add(&lane), &[k], &[32], 16), None);
    }

    #[test]
    fn the_kernel_with_the_least_padding_is_chosen() {
        let kernels = [(6, 16), (8, 8)];
        assert_eq!(kernel(&kernels, 64), Some((6, 16)));
        assert_eq!(kernel(&kernels, 24), Some((8, 8)));
        assert_eq!(kernel(&kernels, 10), Some((6, 16)));
        assert_eq!(kernel(&[], 10), None);
    }
}
