//! Reductions over axes: loops that carry accumulators.

use anyhow::Result;
use kiln_ir::loops::{LoopKind, V};
use kiln_ir::scalar::{CompareOp, ReduceOp};
use kiln_ir::{DType, Dim, NodeId, Value};

use super::{Emit, LoopRole, neutral};

impl Emit<'_> {
    /// `result[kept..] = combine over the axes of x[..]`. Floats narrower than f32 accumulate in f32.
    pub(super) fn reduce(
        &mut self,
        n: NodeId,
        op: ReduceOp,
        axes: &[usize],
        keep_dims: bool,
        x: Value,
        at: &[V],
    ) -> Result<V> {
        let shape = self.f.ty(x).shape.clone();
        let dtype = self.f.ty(x).dtype;
        let acc_type = accumulator(dtype);
        let mut index: Vec<Option<V>> = vec![None; shape.len()];
        let mut kept = 0;
        for (axis, slot) in index.iter_mut().enumerate() {
            if !axes.contains(&axis) {
                *slot = Some(at[if keep_dims { axis } else { kept }]);
                kept += 1;
            }
        }
        // Neighbouring reduced axes run as one loop: fewer loops, longer vectors.
        let mut groups: Vec<std::ops::Range<usize>> = vec![];
        for &a in axes {
            match groups.last_mut() {
                Some(g) if g.end == a => g.end = a + 1,
                _ => groups.push(a..a + 1),
            }
        }
        let init = neutral(&mut self.b, op, acc_type);
        let combiner = op.combiner();
        let sum = self.reduce_loops(n, op, &groups, &shape, &mut index, init, &mut |e, index, acc| {
            let element = e.eval(x, index)?;
            let element = e.b.cast(acc_type, element);
            Ok(e.b.binary(combiner, acc, element))
        })?;
        Ok(self.b.cast(dtype, sum))
    }

    /// Nested reduction loops, one for each group of axes, around `body(index, accumulator) -> accumulator`.
    #[allow(clippy::too_many_arguments, clippy::type_complexity)] // the loop state has that many parts
    pub(super) fn reduce_loops(
        &mut self,
        n: NodeId,
        op: ReduceOp,
        groups: &[std::ops::Range<usize>],
        shape: &[Dim],
        index: &mut Vec<Option<V>>,
        acc: V,
        body: &mut dyn FnMut(&mut Self, &[V], V) -> Result<V>,
    ) -> Result<V> {
        let Some((axes, rest)) = groups.split_first() else {
            let zero = self.zero();
            let full: Vec<V> = index.iter().map(|i| i.unwrap_or(zero)).collect();
            return body(self, &full, acc);
        };
        let extent = Dim::product(&shape[axes.clone()]);
        let (lo, hi) = (self.zero(), self.b.dim(&extent));
        let out = self.for_loop(
            LoopKind::Reduce,
            lo,
            hi,
            LoopRole::Reduce(n),
            extent,
            &[(acc, Some(op))],
            |e, iv, inner| {
                for (axis, v) in axes.clone().zip(e.split_index(iv, &shape[axes.clone()])) {
                    index[axis] = Some(v);
                }
                Ok(vec![e.reduce_loops(n, op, rest, shape, index, inner[0], body)?])
            },
        )?;
        Ok(out[0])
    }

    /// The index of the first largest (smallest) element along an axis. NaN never compares greater, so it is passed over,
    /// as TensorFlow's kernel does.
    pub(super) fn arg_reduce(
        &mut self,
        n: NodeId,
        op: ReduceOp,
        axis: usize,
        x: Value,
        v: Value,
        at: &[V],
    ) -> Result<V> {
        let extent = self.f.ty(x).shape[axis].clone();
        let dtype = self.f.ty(x).dtype;
        let best = neutral(&mut self.b, op, dtype);
        let (lo, hi) = (self.zero(), self.b.dim(&extent));
        let none = self.zero();
        let better = if op == ReduceOp::Max { CompareOp::Gt } else { CompareOp::Lt };
        let carried = [(best, None), (none, None)];
        let out = self.for_loop(LoopKind::Serial, lo, hi, LoopRole::Reduce(n), extent, &carried, |e, iv, inner| {
            let mut index = at.to_vec();
            index.insert(axis, iv);
            let element = e.eval(x, &index)?;
            let wins = e.b.compare(better, element, inner[0]);
            Ok(vec![e.b.select(wins, element, inner[0]), e.b.select(wins, iv, inner[1])])
        })?;
        Ok(self.b.cast(self.f.ty(v).dtype, out[1]))
    }
}

/// The type in which elements are accumulated: halves in f32, everything else in itself.
pub(super) fn accumulator(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        d => d,
    }
}
