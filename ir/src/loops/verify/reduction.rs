//! The only pattern in which a reduce loop may use what it carries (constraint K25).
//!
//! From the yielded value back to the carried one leads a chain of combinations: the declared combiner, a fused
//! multiply-add for sums, a select or conditional whose sides are both links of the chain, a nested loop that carries
//! the value on with the same combiner, a matrix intrinsic's accumulator. No link may be used outside the chain: then
//! the iterations may run in any order, or combine in a tree.

use std::collections::HashMap;

use super::Verifier;
use crate::loops::Kernel;
use crate::loops::inst::{Block, For, Inst, Stmt, V};
use crate::scalar::ReduceOp;

/// Definitions and numbers of uses of a kernel's values.
pub(super) struct Uses<'a> {
    count: Vec<u32>,
    definition: Vec<Option<(&'a Stmt, usize)>>,
    /// Defined as an induction variable or a carried value.
    parameter: Vec<bool>,
}

impl<'a> Uses<'a> {
    pub fn of(k: &'a Kernel) -> Uses<'a> {
        let n = k.types.len();
        let mut u = Uses { count: vec![0; n], definition: vec![None; n], parameter: vec![false; n] };
        u.block(&k.body);
        u
    }

    pub fn is_defined(&self, v: V) -> bool {
        let i = v.0 as usize;
        self.parameter.get(i) == Some(&true) || self.definition.get(i).is_some_and(Option::is_some)
    }

    fn count(&mut self, v: V) {
        if let Some(c) = self.count.get_mut(v.0 as usize) {
            *c += 1;
        }
    }

    fn block(&mut self, b: &'a Block) {
        for s in &b.stmts {
            s.inst.for_each_operand(|v| self.count(v));
            for (i, r) in s.results.iter().enumerate() {
                if let Some(d) = self.definition.get_mut(r.0 as usize) {
                    *d = Some((s, i));
                }
            }
            match &s.inst {
                Inst::For(l) => {
                    for v in l.carried.iter().map(|c| c.inner).chain([l.iv]) {
                        if let Some(p) = self.parameter.get_mut(v.0 as usize) {
                            *p = true;
                        }
                    }
                    self.block(&l.body);
                }
                Inst::If(_, x, y) => {
                    self.block(x);
                    self.block(y);
                }
                _ => {}
            }
        }
        b.yields.iter().for_each(|&v| self.count(v));
    }
}

pub(super) fn check(v: &mut Verifier<'_>, uses: &Uses<'_>, l: &For) {
    for (i, (c, &y)) in l.carried.iter().zip(&l.body.yields).enumerate() {
        let Some(op) = c.combine else { continue };
        let mut chain = Chain { uses, op, inner: c.inner, edges: HashMap::new() };
        if !chain.reaches(y, 0) {
            v.fail("K25", format!("carried value {i}: the yielded value is not its combination by {op}"));
            continue;
        }
        chain.follow(y);
        let outside = chain.edges.iter().any(|(v, &n)| uses.count.get(v.0 as usize) != Some(&n));
        v.require(!outside, "K25", || format!("carried value {i}: it, or a partial result of it, is used elsewhere"));
    }
}

struct Chain<'u, 'a> {
    uses: &'u Uses<'a>,
    op: ReduceOp,
    inner: V,
    /// The links, with the number of uses found along the chain.
    edges: HashMap<V, u32>,
}

/// Chains longer than this are not followed: unrolled bodies are far shorter, and the search is recursive.
const MAX_LENGTH: usize = 4096;

impl Chain<'_, '_> {
    /// The operands through which a value continues the chain: all must (`select`), or exactly one (`combiner`).
    fn links(&self, v: V) -> Option<Links> {
        let (s, i) = self.uses.definition.get(v.0 as usize).copied().flatten()?;
        Some(match &s.inst {
            Inst::Binary(b, x, y) if *b == self.op.combiner() => Links::One(*x, *y),
            Inst::Fma(_, _, c) if self.op == ReduceOp::Sum => Links::All(vec![*c]),
            Inst::Select(_, x, y) => Links::All(vec![*x, *y]),
            Inst::For(l) if l.carried.get(i)?.combine == Some(self.op) => Links::All(vec![l.carried.get(i)?.init]),
            Inst::If(_, x, y) => Links::All(vec![*x.yields.get(i)?, *y.yields.get(i)?]),
            Inst::Mma(_, vs) if self.op == ReduceOp::Sum => Links::All(vec![*vs.get(i)?]),
            _ => return None,
        })
    }

    fn reaches(&self, v: V, depth: usize) -> bool {
        if v == self.inner {
            return true;
        }
        if depth == MAX_LENGTH {
            return false;
        }
        match self.links(v) {
            None => false,
            Some(Links::One(x, y)) => self.reaches(x, depth + 1) != self.reaches(y, depth + 1),
            Some(Links::All(vs)) => vs.iter().all(|&x| self.reaches(x, depth + 1)),
        }
    }

    /// Counts the uses along the chain.
    fn follow(&mut self, v: V) {
        let seen = self.edges.entry(v).or_insert(0);
        *seen += 1;
        if *seen > 1 || v == self.inner {
            return;
        }
        match self.links(v) {
            None => {}
            Some(Links::One(x, y)) => {
                let next = if self.reaches(x, 0) { x } else { y };
                self.follow(next);
            }
            Some(Links::All(vs)) => vs.into_iter().for_each(|x| self.follow(x)),
        }
    }
}

enum Links {
    One(V, V),
    All(Vec<V>),
}
