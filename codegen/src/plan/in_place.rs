//! Results that are written over an operand.
//!
//! A kernel may write its result over an operand of the same type and layout if no iteration reads an element that another
//! iteration writes, and each reads before it writes. On a nest that is a matter of comparing indices. Take a load of the
//! operand and the store of the result, and the loops around both of them:
//!
//! * The load's index agrees with the store's on every axis that these loops run over. Then all that one iteration of them
//!   reads is written by the same iteration. Where they are all the loops of the result, the load reads the very element
//!   that is stored; where they are some (the row of a softmax, whose reductions read all of it), the load reads the part
//!   of the result that this iteration writes.
//! * The load comes first. Within the iteration nothing is written before it is read: the store is the last statement.
//! * The loops dealt out to tasks are among them, so that no task reads what another one writes.
//!
//! A schedule keeps this true: it cuts, unrolls and widens loops, so that several iterations run as one whose loads still
//! come before its stores, and tiles at ragged ends do not overlap. The kernel then has one buffer, read and written, in
//! the operand's place, so that code generators order its accesses, and the loop interpreter checks them for races.

use kiln_ir::loops::{Access, Block, BufId, Inst, Stmt, V};

use crate::lower::{LoopRole, Nest};
use crate::schedule::Schedule;

/// Whether the result of a nest may be written over its operand with this number.
pub fn may_overwrite(nest: &Nest, operand: usize, schedule: &Schedule) -> bool {
    let k = &nest.kernel;
    let Some(out) = k.buffers.len().checked_sub(1) else { return false };
    let (Some(a), b) = (k.buffers.get(operand).filter(|_| operand < out), &k.buffers[out]) else { return false };
    if a.dtype != b.dtype || a.shape != b.shape || a.layout != b.layout || !a.layout.is_row_major(&a.shape) {
        return false;
    }
    let mut accesses = Accesses {
        operand: BufId(operand as u32),
        out: BufId(out as u32),
        loads: vec![],
        stores: vec![],
        other: false,
        loops: vec![],
        order: 0,
    };
    accesses.block(&k.body);
    // One store, after every load.
    let [store] = &accesses.stores[..] else { return false };
    !accesses.other && accesses.loads.iter().all(|load| load.order < store.order && own(nest, load, store, schedule))
}

/// Whether a load reads only what the iteration of the loops that it shares with the store writes.
fn own(nest: &Nest, load: &At, store: &At, schedule: &Schedule) -> bool {
    let shared: Vec<V> = load.loops.iter().zip(&store.loops).take_while(|(a, b)| a == b).map(|(a, _)| *a).collect();
    let shape = &nest.kernel.buffers[nest.kernel.buffers.len() - 1].shape;
    let all = shared.len() == store.loops.len();
    let same = |axis: usize| shape[axis].is(1) || load.index.get(axis) == store.index.get(axis);
    let axes_agree = shared.iter().all(|iv| match nest.loops.iter().find(|l| l.iv == *iv).map(|l| &l.role) {
        Some(LoopRole::Out(axes)) => axes.clone().all(same),
        _ => false,
    });
    let tasks_agree = all || schedule.tasks.iter().all(|t| shared.contains(&t.iv));
    axes_agree && tasks_agree && (!all || (0..shape.len()).all(same))
}

/// The nest with the operand's buffer gone: its loads read the result's buffer.
pub fn overwrite(mut nest: Nest, operand: usize) -> Nest {
    let last = nest.kernel.buffers.len() - 1;
    let to = |b: BufId| match (b.0 as usize).cmp(&operand) {
        std::cmp::Ordering::Less => b,
        std::cmp::Ordering::Equal => BufId(last as u32 - 1),
        std::cmp::Ordering::Greater => BufId(b.0 - 1),
    };
    rename(&mut nest.kernel.body, &to);
    nest.kernel.buffers[last].access = Access::ReadWrite;
    nest.kernel.buffers.remove(operand);
    for (i, b) in nest.kernel.buffers.iter_mut().enumerate().take(last - 1) {
        b.name = format!("in{i}");
    }
    nest.inputs.remove(operand);
    nest
}

/// Renames the buffers of loads and stores: a nest has no other accesses of the result or an operand.
fn rename(block: &mut Block, to: &dyn Fn(BufId) -> BufId) {
    for Stmt { inst, .. } in &mut block.stmts {
        match inst {
            Inst::Load { buf, .. } | Inst::Store { buf, .. } | Inst::ReduceInto { buf, .. } => *buf = to(*buf),
            Inst::For(l) => rename(&mut l.body, to),
            Inst::If(_, a, b) => {
                rename(a, to);
                rename(b, to);
            }
            _ => {}
        }
    }
}

/// An access: the loops around it, outermost first, its index, and its place in the text.
struct At {
    loops: Vec<V>,
    index: Vec<V>,
    order: usize,
}

/// The loads of an operand and the stores of the result.
struct Accesses {
    operand: BufId,
    out: BufId,
    loads: Vec<At>,
    stores: Vec<At>,
    /// Whether there is an access of another kind, of which nothing is known.
    other: bool,
    loops: Vec<V>,
    order: usize,
}

impl Accesses {
    fn block(&mut self, block: &Block) {
        for stmt in &block.stmts {
            self.order += 1;
            match &stmt.inst {
                Inst::Load { buf, index } if *buf == self.operand => self.loads.push(self.at(index)),
                Inst::Load { buf, .. } => self.other |= *buf == self.out,
                Inst::Store { buf, index, .. } if *buf == self.out => self.stores.push(self.at(index)),
                Inst::For(l) => {
                    self.loops.push(l.iv);
                    self.block(&l.body);
                    self.loops.pop();
                }
                inst => self.other |= !is_scalar(inst),
            }
        }
    }

    fn at(&self, index: &[V]) -> At {
        At { loops: self.loops.clone(), index: index.to_vec(), order: self.order }
    }
}

/// Whether an instruction touches no memory.
fn is_scalar(inst: &Inst) -> bool {
    matches!(
        inst,
        Inst::ConstFloat(_)
            | Inst::ConstInt(_)
            | Inst::Dim(_)
            | Inst::Unary(..)
            | Inst::Binary(..)
            | Inst::Compare(..)
            | Inst::Select(..)
            | Inst::Fma(..)
            | Inst::Cast(_)
            | Inst::Bitcast(_)
            | Inst::Check { .. }
    )
}
