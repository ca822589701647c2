//! y = max(a * x + b, 0) * x over n elements: each thread takes one vector, the last ones a scalar tail.

use kiln_ir::loops::{Access, Inst, Kernel, KernelBuilder, LoopKind, Space, ThreadAxis, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::{DType, Dim};

use super::{Values, add_const, buffer, empty, load, mul_const, splat, when};

const THREADS: u32 = 256;

/// The kernel: buffers a[1], b[1], x[n], y[n]; symbol n. `fused`: a * x + b with one rounding.
pub fn pointwise(elem: DType, lanes: u16, fused: bool) -> Kernel {
    let name = format!("pointwise_{elem}x{lanes}{}", if fused { "_fma" } else { "" });
    let per_task = i64::from(THREADS) * i64::from(lanes);
    let n = Dim::sym("n");
    let mut k = empty(name, &["n"], n.ceil_div(per_task), THREADS);
    let b = &mut k;
    let one = [Dim::from(1)];
    let (pa, pb) = (
        buffer(b, "a", elem, &one, Space::Global, Access::Read),
        buffer(b, "b", elem, &one, Space::Global, Access::Read),
    );
    let shape = [n];
    let x = buffer(b, "x", elem, &shape, Space::Global, Access::Read);
    let y = buffer(b, "y", elem, &shape, Space::Global, Access::Write);

    let n = b.push(Ty::INDEX, Inst::Sym(0));
    let task = b.push(Ty::INDEX, Inst::Task);
    let thread = b.push(Ty::INDEX, Inst::Thread(ThreadAxis::Thread));
    let zero = b.index(0);
    let (a, c) = (load(b, pa, zero, 1), load(b, pb, zero, 1));
    let chain = |b: &mut KernelBuilder, at: V, lanes: u16| {
        let v = load(b, x, at, lanes);
        let (a, c) = (splat(b, a, lanes), splat(b, c, lanes));
        let sum = if fused {
            b.fma(a, v, c)
        } else {
            let product = b.mul(a, v);
            b.add(product, c)
        };
        let zero = b.push(Ty::vector(elem, lanes), Inst::ConstFloat(0.0));
        let positive = b.binary(BinaryOp::Max, sum, zero);
        let result = b.mul(positive, v);
        b.store(y, vec![at], result);
    };
    let first = mul_const(b, task, per_task);
    let own = mul_const(b, thread, i64::from(lanes));
    let start = b.add(first, own);
    let end = add_const(b, start, i64::from(lanes));
    let whole = b.compare(CompareOp::Le, end, n);
    when(
        b,
        whole,
        |b| chain(b, start, lanes),
        |b| {
            let Ok(_) = b.for_loop(LoopKind::Parallel, start, n, 1, 1, &[], |b, at, _| -> Values {
                chain(b, at, 1);
                Ok(vec![])
            });
        },
    );
    k.finish()
}
