//! Blocks: definitions and uses, loops and conditionals.

use super::{Place, Verifier, reduction, types};
use crate::loops::LoopKind;
use crate::loops::inst::{Block, For, Inst, Stmt, Ty, V};
use crate::{DType, loops};

pub(super) fn check(v: &mut Verifier<'_>) {
    let uses = reduction::Uses::of(v.kernel);
    let mut w = Walk {
        defined: vec![false; v.kernel.types.len()],
        visible: vec![false; v.kernel.types.len()],
        next: 0,
        uses,
        v,
    };
    let body = &w.v.kernel.body;
    w.block(body);
    if !body.yields.is_empty() {
        w.v.place = Place::Kernel;
        w.v.fail("K34", "the kernel's body yields values".into());
    }
}

struct Walk<'v, 'a> {
    v: &'v mut Verifier<'a>,
    uses: reduction::Uses<'a>,
    /// Values that some statement has defined.
    defined: Vec<bool>,
    /// Those that may be used here.
    visible: Vec<bool>,
    /// Number of the next statement.
    next: usize,
}

impl<'a> Walk<'_, 'a> {
    fn define(&mut self, v: V, scope: &mut Vec<V>) {
        match self.defined.get_mut(v.0 as usize) {
            None => self.v.fail("K09", format!("value {} has no type", v.0)),
            Some(true) => self.v.fail("K09", format!("value {} is defined a second time", v.0)),
            Some(d) => {
                *d = true;
                self.visible[v.0 as usize] = true;
                scope.push(v);
                self.v.level_type(self.v.kernel.ty(v));
            }
        }
    }

    /// The type of a used value; `None`, reported, where it is not visible.
    fn used(&mut self, v: V) -> Option<Ty> {
        if self.visible.get(v.0 as usize) == Some(&true) {
            return Some(self.v.kernel.ty(v));
        }
        let what = if self.uses.is_defined(v) { "is not visible here" } else { "is not defined" };
        self.v.fail("K10", format!("operand {} {what}", v.0));
        None
    }

    fn leave(&mut self, scope: Vec<V>) {
        for v in scope {
            self.visible[v.0 as usize] = false;
        }
    }

    fn block(&mut self, b: &'a Block) {
        let mut scope = vec![];
        for s in &b.stmts {
            let nth = self.next;
            self.next += 1;
            self.v.place = Place::Stmt(nth);
            let before = self.v.found.len();
            s.inst.for_each_operand(|o| {
                self.used(o);
            });
            let sound = self.v.found.len() == before;
            match &s.inst {
                Inst::For(l) => self.for_loop(s, l, nth, sound),
                Inst::If(c, then, other) => self.conditional(s, *c, [then, other], nth, sound),
                _ if sound => {
                    let known = s.results.iter().all(|r| (r.0 as usize) < self.v.kernel.types.len());
                    if known {
                        types::check(self.v, s);
                    }
                }
                _ => {}
            }
            self.v.place = Place::Stmt(nth);
            for &r in &s.results {
                self.define(r, &mut scope);
            }
        }
        // The yielded values are visible at the end of the block; their users check the types.
        for &y in &b.yields {
            self.used(y);
        }
        self.leave(scope);
    }

    fn for_loop(&mut self, s: &'a Stmt, l: &'a For, nth: usize, sound: bool) {
        let k = self.v.kernel;
        let known = |v: V| k.types.get(v.0 as usize).copied();
        let v = &mut *self.v;
        for (what, value) in [("lower bound", l.lo), ("upper bound", l.hi), ("induction variable", l.iv)] {
            if let Some(ty) = known(value) {
                v.require(ty == Ty::INDEX, "K21", || format!("the {what} has type {ty}, not i64"));
            }
        }
        v.require(l.step > 0, "K22", || format!("the step is {}", l.step));
        v.require(l.unroll >= 1, "K22", || "the unroll factor is 0".into());
        let n = l.carried.len();
        v.require(l.kind != LoopKind::Parallel || n == 0, "K24", || format!("a parallel loop carries {n} values"));
        v.require(l.body.yields.len() == n && s.results.len() == n, "K23", || {
            format!("{n} carried values, {} yielded, {} results", l.body.yields.len(), s.results.len())
        });
        for (i, c) in l.carried.iter().enumerate() {
            let init = known(c.init);
            let others = [
                ("inner", Some(c.inner)),
                ("yielded", l.body.yields.get(i).copied()),
                ("final", s.results.get(i).copied()),
            ];
            for (what, other) in others {
                if let (Some(a), Some(b)) = (init, other.and_then(known)) {
                    v.require(a == b, "K23", || format!("carried value {i} starts as {a}, its {what} value is {b}"));
                }
            }
            if l.kind == LoopKind::Reduce {
                let takes = |op: crate::scalar::ReduceOp| init.is_none_or(|t| op.accepts(t.elem));
                let ok = c.combine.is_some_and(takes);
                v.require(ok, "K24", || match c.combine {
                    Some(op) => {
                        format!("carried value {i}: {op} does not take {}", init.map_or(DType::Bool, |t| t.elem))
                    }
                    None => format!("carried value {i} has no combiner"),
                });
            }
        }
        if l.kind == LoopKind::Reduce && sound {
            reduction::check(v, &self.uses, l);
        }
        let mut scope = vec![];
        self.define(l.iv, &mut scope);
        for c in &l.carried {
            self.define(c.inner, &mut scope);
        }
        self.block(&l.body);
        self.v.place = Place::Stmt(nth);
        self.leave(scope);
    }

    fn conditional(&mut self, s: &'a Stmt, c: V, sides: [&'a Block; 2], nth: usize, sound: bool) {
        if sound {
            let ty = self.v.kernel.ty(c);
            self.v.require(ty == Ty::scalar(DType::Bool), "K26", || format!("the condition has type {ty}, not bool"));
        }
        for (side, name) in sides.into_iter().zip(["true", "false"]) {
            self.block(side);
            self.v.place = Place::Stmt(nth);
            let k: &loops::Kernel = self.v.kernel;
            let known = |v: &V| k.types.get(v.0 as usize).copied();
            let (n, results) = (side.yields.len(), s.results.len());
            self.v.require(n == results, "K26", || format!("the {name} side yields {n} values for {results} results"));
            for (i, (y, r)) in side.yields.iter().zip(&s.results).enumerate() {
                if let (Some(a), Some(b)) = (known(y), known(r)) {
                    self.v.require(a == b, "K26", || format!("the {name} side yields {a} for result {i} of type {b}"));
                }
            }
        }
    }
}
