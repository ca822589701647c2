//! Ops that move elements without computing on them, and what their files share.
//!
//! Each such op says once where its result's elements come from (`Movement::runs`); the reference evaluation on bytes
//! and on strings and the evaluation on symbolic dims all follow from that one statement, so they cannot disagree.
//!
//! Code shared by the files: `C1` is the number of operands; `E1` an evaluation with unbound symbols; `E2` a result too
//! large to hold.

pub mod band;
pub mod blocks;
pub mod dynamic;
pub mod fill;
pub mod from_data;
pub mod join;
pub mod pad;
pub mod repeat;
pub mod roll;
pub mod slice;
pub mod strided;
pub mod view;

pub use dynamic::{DynamicSlice, DynamicUpdateSlice};
pub use join::Concat;
pub use pad::{MirrorPad, Pad};
pub use repeat::{Reverse, Tile};
pub use roll::Roll;
pub use slice::Slice;
pub use view::{Broadcast, Reshape, StopGradient, Transpose};

use anyhow::Result;

use crate::graph::{TensorType, Value};
use crate::op::{DimTensor, Op, OpError, VjpArgs};
use crate::ops::constant::Dims;
use crate::ops::reduce::Reduce;
use crate::scalar::ReduceOp;
use crate::tensor::{Bytes, Tensor, element_count};
use crate::{Atom, Builder, DType, Dim};

/// The parts of [`Op`] that are alike for every op without effects: mnemonic, effect, downcast.
macro_rules! pure_op {
    ($name:literal) => {
        fn name(&self) -> &'static str {
            $name
        }
        fn effect(&self) -> crate::op::Effect {
            crate::op::Effect::Pure
        }
        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    };
}
pub(crate) use pure_op;

/// Receives a run of result elements: operand, its first element, number of consecutive elements.
pub(crate) type Emit<'a> = &'a mut dyn FnMut(usize, usize, usize);

/// An op whose result consists of elements of its operands.
pub(crate) trait Movement: Op {
    /// Emits the result's elements in row-major order as runs of operand elements. The shapes satisfy [`Op::infer`].
    fn runs(&self, operands: &[&[usize]], result: &[usize], emit: Emit<'_>);
}

/// The operands, if there are `N`.
pub(crate) fn arity<'a, const N: usize>(
    op: &'static str,
    given: &[&'a TensorType],
) -> Result<[&'a TensorType; N], OpError> {
    given.try_into().map_err(|_| OpError::new(op, "C1", format!("takes {N} operands, not {}", given.len())))
}

/// Refuses sizes that are negative numbers.
pub(crate) fn check_sizes(op: &'static str, code: &'static str, sizes: &[Dim]) -> Result<(), OpError> {
    match sizes.iter().find(|d| d.as_const().is_some_and(|n| n < 0)) {
        Some(d) => Err(OpError::new(op, code, format!("the size {d} is negative"))),
        None => Ok(()),
    }
}

/// Refuses an operand that does not hold i32 or i64.
pub(crate) fn check_index(op: &'static str, code: &'static str, ty: &TensorType) -> Result<(), OpError> {
    if matches!(ty.dtype, DType::I32 | DType::I64) {
        return Ok(());
    }
    Err(OpError::new(op, code, format!("indices have type {ty}, not i32 or i64")))
}

/// Whether two sizes may be equal at run time: they are, or their difference depends on symbols.
pub(crate) fn may_equal(a: &Dim, b: &Dim) -> bool {
    (a.clone() - b.clone()).as_const().is_none_or(|d| d == 0)
}

/// Of two sizes that are equal at run time, the one that says more.
pub(crate) fn known(a: &Dim, b: &Dim) -> Dim {
    if a.as_const().is_some() { a.clone() } else { b.clone() }
}

/// Whether a dim is at least 0 whatever its symbols are; symbols themselves are sizes and so at least 0.
pub(crate) fn never_negative(d: &Dim) -> bool {
    let atom = |a: &Atom| match a {
        Atom::Sym(_) => true,
        Atom::FloorDiv(x, _) => never_negative(x),
        Atom::Min(x, y) => never_negative(x) && never_negative(y),
        Atom::Max(x, y) => never_negative(x) || never_negative(y),
    };
    d.terms().iter().all(|(atoms, c)| *c >= 0 && atoms.iter().all(atom))
}

/// Whether a dim is below 0 whatever its symbols are.
pub(crate) fn always_negative(d: &Dim) -> bool {
    never_negative(&(Dim::from(-1) - d.clone()))
}

/// max(d, 0), without the maximum where it is not needed.
pub(crate) fn at_least_zero(d: &Dim) -> Dim {
    if never_negative(d) { d.clone() } else { d.larger(&Dim::from(0)) }
}

/// The result's shape on tensors, by the op's own inference.
pub(crate) fn result_shape(op: &dyn Op, operands: &[&Tensor]) -> Result<Vec<usize>, OpError> {
    let types: Vec<TensorType> = operands.iter().map(|t| TensorType::fixed(t.dtype(), t.shape())).collect();
    let result = op.infer(&types.iter().collect::<Vec<_>>())?;
    let shape = result.first().and_then(TensorType::static_shape);
    shape.ok_or_else(|| OpError::new(op.name(), "E1", format!("the result {result:?} holds unbound symbols")))
}

/// A tensor put together from runs of the sources' elements; the sources have one dtype, and the runs fill the shape.
pub(crate) fn assemble(
    op: &'static str,
    shape: &[usize],
    sources: &[&Tensor],
    runs: impl FnOnce(Emit<'_>),
) -> Result<Tensor, OpError> {
    let too_large = || OpError::new(op, "E2", format!("a result of shape {shape:?} is too large"));
    let n = element_count(shape).ok_or_else(too_large)?;
    let dtype = sources.first().map_or(DType::Bool, |t| t.dtype());
    if dtype == DType::String {
        let mut out: Vec<Vec<u8>> = Vec::with_capacity(n);
        runs(&mut |k, at, len| out.extend_from_slice(&sources[k].strings().unwrap_or(&[])[at..at + len]));
        return Ok(Tensor::of_strings(shape, out));
    }
    let size = dtype.size();
    let mut bytes = Bytes::zeroed(n.checked_mul(size).ok_or_else(too_large)?);
    let out = bytes.make_mut();
    let mut end = 0;
    runs(&mut |k, at, len| {
        out[end..end + len * size].copy_from_slice(&sources[k].bytes()[at * size..(at + len) * size]);
        end += len * size;
    });
    Tensor::from_bytes(dtype, shape, bytes).map_err(|e| OpError::new(op, "E2", e))
}

/// [`Op::eval`] of a movement.
pub(crate) fn eval_moved(op: &impl Movement, operands: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
    let shape = result_shape(op, operands)?;
    let shapes: Vec<&[usize]> = operands.iter().map(|t| t.shape()).collect();
    Ok(vec![assemble(op.name(), &shape, operands, |emit| op.runs(&shapes, &shape, emit))?])
}

/// [`Op::eval_dims`] of a movement.
pub(crate) fn dims_moved(op: &impl Movement, operands: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
    vec![dims_moved_one(op, operands)]
}

fn dims_moved_one(op: &impl Movement, operands: &[(&TensorType, Option<&DimTensor>)]) -> Option<DimTensor> {
    let known: Vec<&DimTensor> = operands.iter().map(|o| o.1).collect::<Option<_>>()?;
    let types: Vec<&TensorType> = operands.iter().map(|o| o.0).collect();
    let shape = op.infer(&types).ok()?.first()?.static_shape()?;
    // Shape arithmetic is on short vectors; a long result is data.
    let n = element_count(&shape).filter(|&n| n <= 4096)?;
    let shapes: Vec<&[usize]> = known.iter().map(|d| &d.shape[..]).collect();
    let mut elems = Vec::with_capacity(n);
    op.runs(&shapes, &shape, &mut |k, at, len| elems.extend_from_slice(&known[k].elems[at..at + len]));
    Some(DimTensor { shape, elems })
}

/// Emits operand 0's elements at the sums of one offset an axis: `tables[axis][index]`. An axis entry of `None` makes
/// every element under it operand 1's only element.
pub(crate) fn emit_separable(tables: &[Vec<Option<usize>>], emit: Emit<'_>) {
    if tables.iter().any(Vec::is_empty) {
        return;
    }
    let Some((inner, outer)) = tables.split_last() else { return emit(0, 0, 1) };
    // Consecutive offsets of the innermost axis are one run for every setting of the outer indices.
    let mut pieces: Vec<(Option<usize>, usize)> = Vec::new();
    for &at in inner {
        match (pieces.last_mut(), at) {
            (Some((Some(start), len)), Some(at)) if *start + *len == at => *len += 1,
            (Some((None, len)), None) => *len += 1,
            _ => pieces.push((at, 1)),
        }
    }
    let row: usize = inner.len();
    let mut index = vec![0usize; outer.len()];
    loop {
        let base = index.iter().zip(outer).try_fold(0usize, |sum, (&i, table)| Some(sum + table[i]?));
        match base {
            Some(base) => {
                for &(at, len) in &pieces {
                    match at {
                        Some(at) => emit(0, base + at, len),
                        None => (0..len).for_each(|_| emit(1, 0, 1)),
                    }
                }
            }
            None => (0..row).for_each(|_| emit(1, 0, 1)),
        }
        if !advance(&mut index, |axis| outer[axis].len()) {
            return;
        }
    }
}

/// The next index in row-major order; false after the last.
pub(crate) fn advance(index: &mut [usize], extent: impl Fn(usize) -> usize) -> bool {
    for axis in (0..index.len()).rev() {
        index[axis] += 1;
        if index[axis] < extent(axis) {
            return true;
        }
        index[axis] = 0;
    }
    false
}

/// The cotangent of an op's only result.
pub(crate) fn cotangent(args: &VjpArgs<'_>) -> Option<Value> {
    args.cotangents.first().copied().flatten()
}

/// A tensor of one repeated number.
pub(crate) fn splat(b: &mut Builder, dtype: DType, x: f64, shape: &[Dim]) -> Result<Value> {
    let x = b.scalar(dtype, x)?;
    b.broadcast(x, shape)
}

/// A dim as a scalar of an integer type: a constant where it is a number.
pub(crate) fn dim_value(b: &mut Builder, d: &Dim, dtype: DType) -> Result<Value> {
    if let Some(n) = d.as_const() {
        let t = Tensor::from_i64s(dtype, &[], &[n]).ok_or_else(|| anyhow::anyhow!("{dtype} holds no integers"))?;
        return b.constant(t);
    }
    let wide = if dtype == DType::I32 { DType::I32 } else { DType::I64 };
    let v = b.push(Dims { dims: vec![d.clone()], scalar: true, dtype: wide }, &[])?;
    b.cast(dtype, v)
}

/// Dims as a vector of i32 or i64.
pub(crate) fn dims_value(b: &mut Builder, dims: &[Dim], dtype: DType) -> Result<Value> {
    b.push(Dims { dims: dims.to_vec(), scalar: false, dtype }, &[])
}

/// The cotangent of an operand of shape `shape` that was broadcast to the shape of `g`: summed over the axes that
/// broadcasting added or stretched. Axes of unlike symbols are equal at run time (see `broadcast_shapes`).
pub(crate) fn unbroadcast(b: &mut Builder, g: Value, shape: &[Dim]) -> Result<Value> {
    let from = b.ty(g).shape.clone();
    let added = from.len().saturating_sub(shape.len());
    let stretched = |i: usize| i < added || (shape[i - added].is(1) && !from[i].is(1));
    let axes: Vec<usize> = (0..from.len()).filter(|&i| stretched(i)).collect();
    let g = if axes.is_empty() { g } else { b.push(Reduce { op: ReduceOp::Sum, axes, keep_dims: false }, &[g])? };
    b.reshape(g, shape)
}

/// Row-major strides.
pub(crate) use crate::tensor::row_major_strides as strides;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_decided_only_where_no_symbol_can_change_them() {
        let b = Dim::sym("b");
        assert!(never_negative(&b) && !always_negative(&b));
        assert!(always_negative(&(Dim::from(-1) - b.clone())));
        let below = b.clone() - Dim::from(1);
        assert!(!never_negative(&below) && !always_negative(&below));
        assert!(never_negative(&at_least_zero(&below)));
        assert_eq!(at_least_zero(&(b.clone() + Dim::from(2))), b + Dim::from(2));
    }

    #[test]
    fn separable_runs_join_neighbours_and_fill_holes() {
        let mut got = vec![];
        let tables = [vec![Some(0), Some(4)], vec![None, Some(1), Some(2)]];
        emit_separable(&tables, &mut |k, at, len| got.push((k, at, len)));
        assert_eq!(got, [(1, 0, 1), (0, 1, 2), (1, 0, 1), (0, 5, 2)]);
    }
}
