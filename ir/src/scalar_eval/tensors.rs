//! The operations over host tensors, with NumPy broadcasting: the graph interpreter's pointwise and reduction kernels.
//!
//! Errors say which operation, element types and shapes do not fit; the caller adds the node.

use super::num::{Mid, Num, UnaryResult, unary_result, with_num};
use super::{Fault, Scalar};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::tensor::{Bytes, element_count};
use crate::{DType, Tensor};

fn fault(op: &'static str, dtype: DType) -> impl Fn(Fault) -> String {
    move |fault| format!("{op} of {dtype}: {fault}")
}

/// A tensor over freshly computed elements.
fn build<S: bytemuck::Pod>(op: &'static str, dtype: DType, shape: &[usize], elements: &[S]) -> Result<Tensor, String> {
    Tensor::from_bytes(dtype, shape, Bytes::copy_of(bytemuck::cast_slice(elements))).map_err(|_| shapes(op, shape, &[]))
}

fn shapes(op: &'static str, left: &[usize], right: &[usize]) -> String {
    format!("{op}: shapes {left:?} and {right:?} do not fit")
}

fn types(op: &'static str, left: DType, right: DType) -> String {
    format!("{op}: element types {left} and {right} do not fit")
}

fn view<T: Num>(t: &Tensor) -> &[T::Store] {
    bytemuck::cast_slice(t.bytes())
}

/// The shape that two shapes broadcast to; `None` where they do not.
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// How an operand is walked under a broadcast shape: its strides, 0 along broadcast axes.
struct Walk {
    shape: Vec<usize>,
    strides: Vec<Vec<usize>>,
}

impl Walk {
    /// Aligns operands with the shape that they broadcast to.
    fn new(op: &'static str, operands: &[&Tensor]) -> Result<Walk, String> {
        let mut shape: Vec<usize> = vec![];
        for o in operands {
            shape = broadcast_shape(&shape, o.shape()).ok_or_else(|| shapes(op, &shape, o.shape()))?;
        }
        element_count(&shape).ok_or_else(|| shapes(op, &shape, &[]))?;
        let strides = operands.iter().map(|o| {
            let lead = shape.len() - o.shape().len();
            let mut strides = vec![0; shape.len()];
            let mut stride = 1;
            for (i, &d) in o.shape().iter().enumerate().rev() {
                strides[lead + i] = if d == 1 { 0 } else { stride };
                stride *= d;
            }
            strides
        });
        let strides = strides.collect();
        Ok(Walk { shape, strides })
    }

    /// Elements of a row, and the operands' strides along it.
    fn row<const N: usize>(&self) -> (usize, [usize; N]) {
        let step = std::array::from_fn(|k| self.strides[k].last().copied().unwrap_or(0));
        (self.shape.last().copied().unwrap_or(1), step)
    }

    /// Calls `f` with the operands' offsets at each position, in row-major order; stops at the first error.
    fn for_each<const N: usize, E>(&self, mut f: impl FnMut([usize; N]) -> Result<(), E>) -> Result<(), E> {
        let (inner, step) = self.row::<N>();
        self.for_each_row(|mut at: [usize; N]| {
            for _ in 0..inner {
                f(at)?;
                at.iter_mut().zip(step).for_each(|(a, s)| *a += s);
            }
            Ok(())
        })
    }

    /// Calls `f` with the operands' offsets at the start of each row, in row-major order; stops at the first error.
    fn for_each_row<const N: usize, E>(&self, mut f: impl FnMut([usize; N]) -> Result<(), E>) -> Result<(), E> {
        if self.shape.contains(&0) {
            return Ok(());
        }
        let rank = self.shape.len();
        let (mut index, mut base) = (vec![0; rank], [0; N]);
        loop {
            f(base)?;
            // The next row: carry through the outer axes.
            let mut axis = rank.saturating_sub(1);
            loop {
                if axis == 0 {
                    return Ok(());
                }
                axis -= 1;
                index[axis] += 1;
                base.iter_mut().zip(&self.strides).for_each(|(b, s)| *b += s[axis]);
                if index[axis] < self.shape[axis] {
                    break;
                }
                base.iter_mut().zip(&self.strides).for_each(|(b, s)| *b -= s[axis] * self.shape[axis]);
                index[axis] = 0;
            }
        }
    }
}

/// A unary operation on every element.
pub fn unary_tensor(op: UnaryOp, x: &Tensor) -> Result<Tensor, String> {
    fn of<T: Num>(op: UnaryOp, x: &Tensor) -> Result<Tensor, String> {
        let fail = fault(op.name(), x.dtype());
        let elements = view::<T>(x).iter().map(|&s| T::load(s));
        let (name, dtype, shape) = (op.name(), op.result(x.dtype()), x.shape());
        match unary_result(op, x.dtype()) {
            UnaryResult::Same => {
                let out = elements.map(|e| T::unary(op, e).map(T::store)).collect::<Result<Vec<_>, _>>();
                build(name, dtype, shape, &out.map_err(fail)?)
            }
            UnaryResult::Part => {
                let out = elements.map(|e| T::part(op, e).map(Num::store)).collect::<Result<Vec<_>, _>>();
                build(name, dtype, shape, &out.map_err(fail)?)
            }
            UnaryResult::Test => {
                let out = elements.map(|e| T::test(op, e).map(u8::from)).collect::<Result<Vec<_>, _>>();
                build(name, dtype, shape, &out.map_err(fail)?)
            }
            UnaryResult::Count => {
                let out = elements.map(T::popcount).collect::<Result<Vec<_>, _>>();
                build(name, dtype, shape, &out.map_err(fail)?)
            }
        }
    }
    let unsupported = fault(op.name(), x.dtype())(Fault::Unsupported);
    if !op.accepts(x.dtype()) {
        return Err(unsupported);
    }
    with_num!(x.dtype(), T => of::<T>(op, x), else Err(unsupported))
}

fn same_types(op: &'static str, x: &Tensor, y: &Tensor) -> Result<(), String> {
    if x.dtype() == y.dtype() {
        return Ok(());
    }
    Err(types(op, x.dtype(), y.dtype()))
}

/// A binary operation on broadcast operands of one type.
pub fn binary_tensor(op: BinaryOp, x: &Tensor, y: &Tensor) -> Result<Tensor, String> {
    fn of<T: Num>(op: BinaryOp, x: &Tensor, y: &Tensor) -> Result<Tensor, String> {
        let walk = Walk::new(op.name(), &[x, y])?;
        let (a, b) = (view::<T>(x), view::<T>(y));
        let n = element_count(&walk.shape).unwrap_or(0);
        let mut bytes = Bytes::zeroed(n * size_of::<T::Store>());
        let (inner, step) = walk.row::<2>();
        let mut rows = bytemuck::cast_slice_mut::<u8, T::Store>(bytes.make_mut()).chunks_exact_mut(inner.max(1));
        // Constant folding does this to whole weights: the operation is chosen once, not for every element, and loops over
        // neighbours are plain ones.
        macro_rules! each {
            ($op:expr) => {
                walk.for_each_row(|[i, j]| {
                    let Some(row) = rows.next() else { return Ok(()) };
                    match step {
                        [1, 1] => {
                            for ((z, &x), &y) in row.iter_mut().zip(&a[i..]).zip(&b[j..]) {
                                *z = T::binary($op, T::load(x), T::load(y))?.store();
                            }
                        }
                        [p, q] => {
                            for (k, z) in row.iter_mut().enumerate() {
                                *z = T::binary($op, T::load(a[i + k * p]), T::load(b[j + k * q]))?.store();
                            }
                        }
                    }
                    Ok(())
                })
            };
        }
        match op {
            BinaryOp::Add => each!(BinaryOp::Add),
            BinaryOp::Sub => each!(BinaryOp::Sub),
            BinaryOp::Mul => each!(BinaryOp::Mul),
            BinaryOp::Div => each!(BinaryOp::Div),
            op => each!(op),
        }
        .map_err(fault(op.name(), x.dtype()))?;
        Tensor::from_bytes(x.dtype(), &walk.shape, bytes)
    }
    same_types(op.name(), x, y)?;
    let unsupported = fault(op.name(), x.dtype())(Fault::Unsupported);
    if !op.accepts(x.dtype()) {
        return Err(unsupported);
    }
    with_num!(x.dtype(), T => of::<T>(op, x, y), else Err(unsupported))
}

/// A comparison of broadcast operands of one type; strings compare by equality only.
pub fn compare_tensor(op: CompareOp, x: &Tensor, y: &Tensor) -> Result<Tensor, String> {
    fn of<T: Num>(op: CompareOp, x: &Tensor, y: &Tensor) -> Result<Tensor, String> {
        let walk = Walk::new(op.name(), &[x, y])?;
        let (a, b) = (view::<T>(x), view::<T>(y));
        let mut out = Vec::with_capacity(element_count(&walk.shape).unwrap_or(0));
        walk.for_each(|[i, j]| {
            out.push(u8::from(T::compare(op, T::load(a[i]), T::load(b[j]))?));
            Ok(())
        })
        .map_err(fault(op.name(), x.dtype()))?;
        build(op.name(), DType::Bool, &walk.shape, &out)
    }
    same_types(op.name(), x, y)?;
    let unsupported = fault(op.name(), x.dtype())(Fault::Unsupported);
    if !op.accepts(x.dtype()) {
        return Err(unsupported);
    }
    if let (Some(a), Some(b)) = (x.strings(), y.strings()) {
        let walk = Walk::new(op.name(), &[x, y])?;
        let mut out = vec![];
        walk.for_each(|[i, j]| {
            out.push(u8::from((a[i] == b[j]) == (op == CompareOp::Eq)));
            Ok::<(), String>(())
        })?;
        return build(op.name(), DType::Bool, &walk.shape, &out);
    }
    with_num!(x.dtype(), T => of::<T>(op, x, y), else Err(unsupported))
}

/// `c ? x : y`, all three broadcast; strings too.
pub fn select_tensor(c: &Tensor, x: &Tensor, y: &Tensor) -> Result<Tensor, String> {
    const OP: &str = "select";
    same_types(OP, x, y)?;
    if c.dtype() != DType::Bool {
        return Err(types(OP, c.dtype(), DType::Bool));
    }
    let walk = Walk::new(OP, &[c, x, y])?;
    let cond = c.bytes();
    if let (Some(a), Some(b)) = (x.strings(), y.strings()) {
        let mut out = vec![];
        walk.for_each(|[k, i, j]| {
            out.push(if cond[k] != 0 { a[i].clone() } else { b[j].clone() });
            Ok::<(), String>(())
        })?;
        return Ok(Tensor::of_strings(&walk.shape, out));
    }
    fn of<T: Num>(walk: &Walk, cond: &[u8], x: &Tensor, y: &Tensor) -> Result<Tensor, String> {
        let (a, b) = (view::<T>(x), view::<T>(y));
        let mut out = Vec::with_capacity(element_count(&walk.shape).unwrap_or(0));
        walk.for_each(|[k, i, j]| {
            out.push(if cond[k] != 0 { a[i] } else { b[j] });
            Ok::<(), String>(())
        })?;
        build(OP, x.dtype(), &walk.shape, &out)
    }
    with_num!(x.dtype(), T => of::<T>(&walk, cond, x, y), else Err(fault(OP, x.dtype())(Fault::Unsupported)))
}

/// `a * b + c` rounded once, all three broadcast; floats only.
pub fn fma_tensor(a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor, String> {
    fn of<T: Num>(a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor, String> {
        let walk = Walk::new("fma", &[a, b, c])?;
        let (x, y, z) = (view::<T>(a), view::<T>(b), view::<T>(c));
        let mut out = Vec::with_capacity(element_count(&walk.shape).unwrap_or(0));
        walk.for_each(|[i, j, k]| {
            out.push(T::fma(T::load(x[i]), T::load(y[j]), T::load(z[k]))?.store());
            Ok(())
        })
        .map_err(fault("fma", a.dtype()))?;
        build("fma", a.dtype(), &walk.shape, &out)
    }
    same_types("fma", a, b)?;
    same_types("fma", a, c)?;
    with_num!(a.dtype(), T => of::<T>(a, b, c), else Err(fault("fma", a.dtype())(Fault::Unsupported)))
}

/// Conversion of every element; see [`Scalar::cast`].
pub fn cast_tensor(to: DType, x: &Tensor) -> Result<Tensor, String> {
    fn mids<T: Num>(x: &Tensor) -> impl Iterator<Item = Mid> {
        view::<T>(x).iter().map(|&s| T::load(s).mid())
    }
    fn of<F: Num, T: Num>(to: DType, x: &Tensor) -> Result<Tensor, String> {
        let out: Vec<T::Store> = mids::<F>(x).map(|m| T::from_mid(m).store()).collect();
        build("cast", to, x.shape(), &out)
    }
    fn from<F: Num>(to: DType, x: &Tensor) -> Result<Tensor, String> {
        with_num!(to, T => of::<F, T>(to, x), else Err(fault("cast", to)(Fault::Unsupported)))
    }
    if x.dtype() == to {
        return Ok(x.clone());
    }
    with_num!(x.dtype(), F => from::<F>(to, x), else Err(fault("cast", x.dtype())(Fault::Unsupported)))
}

/// The same bits as elements of another type of the same width.
pub fn bitcast_tensor(to: DType, x: &Tensor) -> Result<Tensor, String> {
    if to.size() != x.dtype().size() || !to.is_plain() {
        return Err(types("bitcast", x.dtype(), to));
    }
    if to == DType::Bool {
        // Any byte but 0 reads as true; memory keeps the canonical 1.
        let bits: Vec<u8> = x.bytes().iter().map(|&b| u8::from(b != 0)).collect();
        return build("bitcast", to, x.shape(), &bits);
    }
    build("bitcast", to, x.shape(), x.bytes())
}

/// A reduction over `axes` (distinct; the result drops them). Empty reductions give the neutral element.
///
/// Floating sums and products are accumulated in f64 and rounded once, so that the result is a reference for any
/// order of summation; integers wrap.
pub fn reduce_tensor(op: ReduceOp, x: &Tensor, axes: &[usize]) -> Result<Tensor, String> {
    let name = op.name();
    let neutral = Scalar::neutral(op, x.dtype()).ok_or_else(|| fault(name, x.dtype())(Fault::Unsupported))?;
    if axes.iter().any(|&a| a >= x.shape().len()) {
        return Err(shapes(name, x.shape(), axes));
    }
    let kept: Vec<usize> = (0..x.shape().len()).filter(|a| !axes.contains(a)).collect();
    let shape: Vec<usize> = kept.iter().map(|&a| x.shape()[a]).collect();
    let count = element_count(&shape).ok_or_else(|| shapes(name, &shape, &[]))?;
    // Strides of the result along the operand's axes, so that one walk over the operand finds the accumulator.
    let mut strides = vec![0; x.shape().len()];
    let mut stride = 1;
    for &a in kept.iter().rev() {
        strides[a] = stride;
        stride *= x.shape()[a];
    }
    let walk = Walk { shape: x.shape().to_vec(), strides: vec![crate::tensor::row_major_strides(x.shape()), strides] };

    let wide = match x.dtype() {
        DType::F16 | DType::BF16 | DType::F32 if matches!(op, ReduceOp::Sum | ReduceOp::Prod) => DType::F64,
        DType::C64 => DType::C128,
        same => same,
    };
    fn of<F: Num, A: Num>(op: ReduceOp, x: &Tensor, walk: &Walk, acc: &mut [A]) -> Result<(), Fault> {
        let elements = view::<F>(x);
        walk.for_each(|[i, o]| {
            acc[o] = A::binary(op.combiner(), acc[o], A::from_mid(F::load(elements[i]).mid()))?;
            Ok(())
        })
    }
    fn widened<F: Num, A: Num>(
        op: ReduceOp,
        x: &Tensor,
        walk: &Walk,
        neutral: Scalar,
        shape: &[usize],
        wide: DType,
        count: usize,
    ) -> Result<Tensor, String> {
        let fail = fault(op.name(), x.dtype());
        let start = neutral.cast(wide).and_then(|s| s.get::<A>()).map_err(&fail)?;
        let mut acc = vec![start; count];
        of::<F, A>(op, x, walk, &mut acc).map_err(&fail)?;
        let out: Vec<F::Store> = acc.iter().map(|a| F::from_mid(a.mid()).store()).collect();
        build(op.name(), x.dtype(), shape, &out)
    }
    let unsupported = || Err(fault(name, x.dtype())(Fault::Unsupported));
    with_num!(x.dtype(), F => match wide {
        w if w == x.dtype() => widened::<F, F>(op, x, &walk, neutral, &shape, wide, count),
        DType::F64 => widened::<F, f64>(op, x, &walk, neutral, &shape, wide, count),
        DType::C128 => widened::<F, num_complex::Complex<f64>>(op, x, &walk, neutral, &shape, wide, count),
        _ => unsupported(),
    }, else unsupported())
}
