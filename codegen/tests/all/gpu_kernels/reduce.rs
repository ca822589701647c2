//! Maximum and sum of each row: a block for each row; threads stride over the columns, then lanes, then warps combine.

use kiln_ir::loops::{Access, Inst, Kernel, KernelBuilder, LoopKind, Space, ThreadAxis, Ty, V};
use kiln_ir::scalar::ReduceOp;
use kiln_ir::{DType, Dim};

use super::{Values, buffer, empty, load, mul_const, when, with_const};

const THREADS: u32 = 256;
const WARPS: i64 = THREADS as i64 / 32;

/// The reductions, with their neutral elements.
const OPS: [(ReduceOp, f64); 2] = [(ReduceOp::Max, f64::NEG_INFINITY), (ReduceOp::Sum, 0.0)];

/// The kernel: buffers x[rows, cols], max[rows], sum[rows], all f32; symbol rows, and cols unless it is given. A known
/// number of columns that 4 divides is read in vectors.
pub fn row_reduce(cols: Option<i64>) -> Kernel {
    let lanes: u16 = if cols.is_some_and(|c| c % 4 == 0) { 4 } else { 1 };
    let name = format!("row_reduce_{}", cols.map_or("any".into(), |c| c.to_string()));
    let (rows, width) = (Dim::sym("rows"), cols.map_or(Dim::sym("cols"), Dim::from));
    let symbols: &[&str] = if cols.is_some() { &["rows"] } else { &["rows", "cols"] };
    let mut k = empty(name, symbols, rows.clone(), THREADS);
    let b = &mut k;
    let x = buffer(b, "x", DType::F32, &[rows.clone(), width], Space::Global, Access::Read);
    let outs =
        ["max", "sum"].map(|n| buffer(b, n, DType::F32, std::slice::from_ref(&rows), Space::Global, Access::Write));
    let partial = ["warp_max", "warp_sum"]
        .map(|n| buffer(b, n, DType::F32, &[Dim::from(WARPS)], Space::Shared, Access::ReadWrite));

    let row = b.push(Ty::INDEX, Inst::Task);
    let thread = b.push(Ty::INDEX, Inst::Thread(ThreadAxis::Thread));
    let lane = b.push(Ty::INDEX, Inst::Thread(ThreadAxis::Lane));
    let warp = b.push(Ty::INDEX, Inst::Thread(ThreadAxis::Warp));
    let n = match cols {
        Some(c) => b.index(c),
        None => b.push(Ty::INDEX, Inst::Sym(1)),
    };
    let base = b.mul(row, n);
    let start = mul_const(b, thread, i64::from(lanes));
    let init = OPS.map(|(op, neutral)| (b.push(Ty::vector(DType::F32, lanes), Inst::ConstFloat(neutral)), Some(op)));
    let stride = i64::from(THREADS) * i64::from(lanes);
    let Ok(sums) = b.for_loop(LoopKind::Reduce, start, n, stride, 1, &init, |b, at, carried| -> Values {
        let offset = b.add(base, at);
        let v = load(b, x, offset, lanes);
        Ok(OPS.iter().zip(carried).map(|((op, _), &c)| b.binary(op.combiner(), c, v)).collect())
    });
    let leader = super::below(b, lane, 1);
    let mut warp_values = vec![];
    for ((op, _), v) in OPS.iter().zip(sums) {
        let v = if lanes == 1 { v } else { b.reduce_lanes(*op, v) };
        warp_values.push(butterfly(b, *op, v, 32));
    }
    when(
        b,
        leader,
        |b| {
            for (buf, v) in partial.into_iter().zip(&warp_values) {
                b.store(buf, vec![warp], *v);
            }
        },
        |_| {},
    );
    b.push_effect(Inst::Barrier);
    // Every warp combines the partial results, so that no thread waits for another; one thread writes.
    let slot = with_const(b, kiln_ir::scalar::BinaryOp::BitAnd, lane, WARPS - 1);
    let mut totals = vec![];
    for ((op, _), buf) in OPS.iter().zip(partial) {
        let v = load(b, buf, slot, 1);
        totals.push(butterfly(b, *op, v, WARPS as u32));
    }
    let first = super::below(b, thread, 1);
    when(
        b,
        first,
        |b| {
            for (buf, v) in outs.into_iter().zip(&totals) {
                b.store(buf, vec![row], *v);
            }
        },
        |_| {},
    );
    k.finish()
}

/// The combination over `width` neighbouring lanes, in each of them: distances width / 2, .., 1.
fn butterfly(b: &mut KernelBuilder, op: ReduceOp, mut v: V, width: u32) -> V {
    let mut distance = width / 2;
    while distance > 0 {
        let t = b.ty(v);
        let other = b.push(t, Inst::WarpXor(v, distance));
        v = b.binary(op.combiner(), v, other);
        distance /= 2;
    }
    v
}
