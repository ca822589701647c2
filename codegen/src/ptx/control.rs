//! Control flow: loops and conditionals as labels and branches.
//!
//! Invariants: carried values and results of conditionals have registers of their own, written by copies that behave as
//! if all happened at once; a loop unrolled over its whole trip is straight-line code without any.

use std::collections::HashSet;

use anyhow::{Result, anyhow, ensure};
use kiln_ir::loops::{Block, For, Inst, Ty, V};
use kiln_ir::scalar::BinaryOp;

use super::known::Known;
use super::print::{Printer, Value};
use super::regs::{Reg, RegClass, repr};

impl Printer<'_> {
    /// Registers for a value that is assigned in more than one place.
    fn fresh_lanes(&mut self, ty: Ty) -> Result<Vec<Reg>> {
        let class = repr(ty.elem)?.class;
        Ok((0..ty.lanes).map(|_| self.fresh(class)).collect())
    }

    /// Copies as if all at once: a source that another copy overwrites is saved first.
    fn copy_all(&mut self, copies: &[(Reg, Reg)]) {
        let targets: HashSet<Reg> = copies.iter().map(|c| c.0).collect();
        let moves: Vec<(Reg, Reg)> = copies.iter().copied().filter(|c| c.0 != c.1).collect();
        let mut ready = Vec::with_capacity(moves.len());
        for (d, s) in moves {
            let s = if targets.contains(&s) { self.op(s.class, &format!("mov.{}", s.class.ptx()), &[&s]) } else { s };
            ready.push((d, s));
        }
        for (d, s) in ready {
            self.line(format!("mov.{} {d}, {s};", d.class.ptx()));
        }
    }

    fn yields(&self, b: &Block) -> Result<Vec<Value>> {
        b.yields.iter().map(|&v| self.value(v).cloned()).collect()
    }

    /// A loop. One whose whole trip is unrolled is straight-line code; any other tests its bound once at the top, if it
    /// may be empty, and at the bottom.
    pub(super) fn for_loop(&mut self, l: &For, results: &[V]) -> Result<()> {
        ensure!(l.step > 0, "a loop's step is positive, not {}", l.step);
        ensure!(
            l.body.yields.len() == l.carried.len() && results.len() == l.carried.len(),
            "a loop yields each carried value once"
        );
        let unroll = i64::from(l.unroll.max(1));
        let (lo, hi) = (self.value(l.lo)?.clone(), self.value(l.hi)?.clone());
        let mut current: Vec<Value> = l.carried.iter().map(|c| self.value(c.init).cloned()).collect::<Result<_>>()?;
        let trip = match (lo.known.value, hi.known.value) {
            (Some(a), Some(b)) => {
                let distance = i128::from(b) - i128::from(a);
                Some((distance.max(0) + i128::from(l.step) - 1) / i128::from(l.step))
            }
            _ => None,
        };
        if let Some(n) = trip {
            ensure!(n % i128::from(unroll) == 0, "{n} iterations are no multiple of the unroll count {unroll}");
        }
        if trip == Some(0) {
            for (&r, v) in results.iter().zip(current) {
                self.define(r, v)?;
            }
            return Ok(());
        }
        let first = lo.known.value.unwrap_or(0);
        if trip == Some(i128::from(unroll)) {
            let mark = self.begin_scope();
            for j in 0..unroll {
                let iv = self.const_value(&Inst::ConstInt(first + j * l.step), Ty::INDEX)?;
                current = self.iteration(l, iv, current)?;
            }
            self.end_scope(mark);
            for (&r, v) in results.iter().zip(current) {
                self.define(r, v)?;
            }
            return Ok(());
        }
        let stride = l.step.checked_mul(unroll).ok_or_else(|| anyhow!("the unrolled step overflows"))?;
        let (lo_reg, hi_reg) = (self.scalar(l.lo)?, self.scalar(l.hi)?);
        let iv = self.op(RegClass::B64, "mov.b64", &[&lo_reg]);
        let mut carried = vec![];
        for (c, init) in l.carried.iter().zip(&current) {
            let regs = self.fresh_lanes(self.ty(c.inner)?)?;
            ensure!(regs.len() == init.lanes.len(), "{:?} and {:?} differ in lanes", c.inner, c.init);
            for (d, s) in regs.iter().zip(&init.lanes) {
                self.line(format!("mov.{} {d}, {s};", d.class.ptx()));
            }
            carried.push(regs);
        }
        let (top, end) = (self.label(), self.label());
        if trip.is_none() {
            let empty = self.op(RegClass::Pred, "setp.ge.s64", &[&iv, &hi_reg]);
            self.line(format!("@{empty} bra {end};"));
        }
        self.place(&top);
        let mark = self.begin_scope();
        let base = Known::aligned(lo.known.zeros.min(stride.trailing_zeros()));
        let mut now: Vec<Value> = carried.iter().cloned().map(Value::of).collect();
        for j in 0..unroll {
            let mut value = Value { known: base, ..Value::of(vec![iv]) };
            if j > 0 {
                let add = Known::constant(j * l.step);
                value.lanes = vec![self.op(RegClass::B64, "add.s64", &[&iv, &(j * l.step)])];
                value.known = Known::binary(BinaryOp::Add, &base, iv, &add, iv);
            }
            now = self.iteration(l, value, now)?;
        }
        self.end_scope(mark);
        let mut copies = vec![];
        for (regs, next) in carried.iter().zip(&now) {
            copies.extend(regs.iter().copied().zip(next.lanes.iter().copied()));
        }
        self.copy_all(&copies);
        self.line(format!("add.s64 {iv}, {iv}, {stride};"));
        let again = self.op(RegClass::Pred, "setp.lt.s64", &[&iv, &hi_reg]);
        self.line(format!("@{again} bra {top};"));
        self.place(&end);
        for (&r, regs) in results.iter().zip(carried) {
            self.define(r, Value::of(regs))?;
        }
        Ok(())
    }

    /// One copy of a loop's body; gives the next carried values.
    fn iteration(&mut self, l: &For, iv: Value, carried: Vec<Value>) -> Result<Vec<Value>> {
        self.define(l.iv, iv)?;
        for (c, v) in l.carried.iter().zip(carried) {
            self.define(c.inner, v)?;
        }
        self.block(&l.body)?;
        self.yields(&l.body)
    }

    /// A conditional; its results are assigned at the end of each side.
    pub(super) fn if_else(&mut self, c: V, yes: &Block, no: &Block, results: &[V]) -> Result<()> {
        ensure!(
            yes.yields.len() == results.len() && no.yields.len() == results.len(),
            "both sides yield each result once"
        );
        let cond = self.scalar(c)?;
        let mut regs = vec![];
        for &r in results {
            regs.push(self.fresh_lanes(self.ty(r)?)?);
        }
        let (other, end) = (self.label(), self.label());
        let has_else = !no.stmts.is_empty() || !results.is_empty();
        self.line(format!("@!{cond} bra {};", if has_else { &other } else { &end }));
        for (side, block) in [yes, no].into_iter().enumerate() {
            if side == 1 {
                if !has_else {
                    break;
                }
                self.line(format!("bra {end};"));
                self.place(&other);
            }
            let mark = self.begin_scope();
            self.block(block)?;
            self.end_scope(mark);
            for (d, v) in regs.iter().zip(self.yields(block)?) {
                ensure!(d.len() == v.lanes.len(), "the sides of a conditional differ in lanes");
                let copies: Vec<(Reg, Reg)> = d.iter().copied().zip(v.lanes).collect();
                self.copy_all(&copies);
            }
        }
        self.place(&end);
        for (&r, lanes) in results.iter().zip(regs) {
            self.define(r, Value::of(lanes))?;
        }
        Ok(())
    }
}
