//! One warp that goes through the instructions that the larger kernels leave out: gathers and scatters, private memory,
//! lane shuffles of every width, bit casts, conditionals with results, partly unrolled loops and checks.

use kiln_ir::loops::{Access, Inst, Kernel, KernelBuilder, LoopKind, Space, ThreadAxis, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::{DType, Dim};

use super::{Values, add_const, below, buffer, empty, load, mul_const, splat, with_const};

/// Status that the kernel reports when a thread's number equals the symbol.
pub const STATUS: i32 = 7;

/// Results of each thread.
pub const COLUMNS: i64 = 12;

/// The kernel: buffers x[128] f32, out[32, COLUMNS] f64; symbol `bad`, the thread whose check fails.
pub fn mixed() -> Kernel {
    let mut k = empty("mixed".into(), &["bad"], Dim::from(1), 32);
    let b = &mut k;
    let x = buffer(b, "x", DType::F32, &[Dim::from(128)], Space::Global, Access::Read);
    let out = buffer(b, "out", DType::F64, &[Dim::from(32), Dim::from(COLUMNS)], Space::Global, Access::Write);
    let own = buffer(b, "own", DType::F32, &[Dim::from(4)], Space::Private, Access::ReadWrite);

    let thread = b.push(Ty::INDEX, Inst::Thread(ThreadAxis::Thread));
    let bad = b.push(Ty::INDEX, Inst::Sym(0));
    let ok = b.compare(CompareOp::Ne, thread, bad);
    let mut results: Vec<V> = vec![];

    // 0: x[4 t + 3] - x[4 t] through a gather of reversed lanes and a select by mask.
    let start = mul_const(b, thread, 4);
    let index4 = Ty::vector(DType::I64, 4);
    let four = splat(b, start, 4);
    let iota = b.push(index4, Inst::IotaLanes);
    let three = b.push(index4, Inst::ConstInt(3));
    let reversed = b.sub(three, iota);
    let offsets = b.add(four, reversed);
    let backward = b.push(Ty::vector(DType::F32, 4), Inst::Gather { buf: x, offsets });
    let forward = load(b, x, start, 4);
    let mask = b.compare(CompareOp::Lt, iota, reversed);
    let chosen = b.select(mask, backward, forward);
    let pair = b.push(Ty::vector(DType::F32, 2), Inst::Slice(forward, 2));
    let (first, last) = (
        b.push(Ty::scalar(DType::F32), Inst::Extract(chosen, 0)),
        b.push(Ty::scalar(DType::F32), Inst::Extract(forward, 0)),
    );
    let difference = b.sub(first, last);
    results.push(difference);
    // 1: x[4 t + 3] again, as lane 1 of the upper half.
    results.push(b.push(Ty::scalar(DType::F32), Inst::Extract(pair, 1)));
    // 2: a private array read at an index that only the run knows: backward[t % 4] = x[4 t + 3 - t % 4].
    let zero = b.index(0);
    b.store(own, vec![zero], backward);
    let slot = with_const(b, BinaryOp::BitAnd, thread, 3);
    results.push(load(b, own, slot, 1));
    // 3: the sum of x[0..12] in six trips of two, carried through a swap.
    let (lo, hi) = (b.index(0), b.index(12));
    let (p, q) = (b.float(DType::F32, 0.0), b.float(DType::F32, 0.0));
    let Ok(swapped) = b.for_loop(LoopKind::Serial, lo, hi, 1, 2, &[(p, None), (q, None)], |b, i, c| -> Values {
        let v = load(b, x, i, 1);
        let sum = b.add(c[0], v);
        Ok(vec![c[1], sum])
    });
    let total = b.add(swapped[0], swapped[1]);
    results.push(total);
    // 4: a conditional's result.
    let low = below(b, thread, 16);
    let open = b.open_if(low);
    let open = b.open_else(open, vec![first]);
    let squared = b.mul(first, first);
    let side = b.close_if(open, vec![squared]);
    results.push(side[0]);
    // 5..9: the neighbour's value in each width of register.
    for elem in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let v = b.cast(elem, first);
        results.push(other_lane(b, v, 1));
    }
    let wide = b.cast(DType::F64, thread);
    let small = b.cast(DType::I8, thread);
    let exchanged = [other_lane(b, thread, 16), other_lane(b, small, 16)].map(|v| b.cast(DType::F64, v));
    let both = b.add(exchanged[0], exchanged[1]);
    let flag = other_lane(b, low, 16);
    let one = b.select(flag, wide, both);
    // 9: thread where the partner is below 16, else twice the partner's number.
    results.push(one);
    // 10: -x through its bits.
    let bits = b.bitcast(DType::U32, first);
    let sign = b.push(Ty::scalar(DType::U32), Inst::ConstInt(0x8000_0000));
    let flipped = b.binary(BinaryOp::BitXor, bits, sign);
    results.push(b.bitcast(DType::F32, flipped));
    // 11: the upper and the lower half of an i64 exchanged twice is itself.
    let halves = b.push(Ty::vector(DType::I32, 2), Inst::Bitcast(thread));
    let again = b.push(Ty::scalar(DType::I64), Inst::Bitcast(halves));
    results.push(again);
    assert_eq!(results.len() as i64, COLUMNS);

    b.push_effect(Inst::Check { ok, status: STATUS });
    let row = mul_const(b, thread, COLUMNS);
    for (i, pair) in results.chunks_exact(2).enumerate() {
        let low = b.cast(DType::F64, pair[0]);
        let high = b.cast(DType::F64, pair[1]);
        let two = splat(b, low, 2);
        let value = b.push(Ty::vector(DType::F64, 2), Inst::Insert(two, high, 1));
        let at = add_const(b, row, 2 * i as i64);
        b.push_effect(Inst::Prefetch { buf: out, offset: at });
        let at2 = splat(b, at, 2);
        let step = b.push(Ty::vector(DType::I64, 2), Inst::IotaLanes);
        let offsets = b.add(at2, step);
        b.push_effect(Inst::Scatter { buf: out, offsets, value });
    }
    k.finish()
}

/// The value of lane `lane ^ mask`.
fn other_lane(b: &mut KernelBuilder, v: V, mask: u32) -> V {
    let t = b.ty(v);
    b.push(t, Inst::WarpXor(v, mask))
}

/// What the kernel writes for x.
pub fn expected(x: &[f32]) -> Vec<f64> {
    let mut out = vec![];
    let first = |t: usize| x[4 * t + 3];
    for t in 0..32 {
        let f = first(t);
        let near = first(t ^ 1);
        let far = (t ^ 16) as f64;
        let (mut p, mut q) = (0f32, 0f32);
        for v in &x[..12] {
            (p, q) = (q, p + v);
        }
        out.extend([
            f64::from(f - x[4 * t]),
            f64::from(f),
            f64::from(x[4 * t + 3 - t % 4]),
            f64::from(p + q),
            f64::from(if t < 16 { f } else { f * f }),
            f64::from(near),
            f64::from(near),
            half::f16::from_f32(near).to_f64(),
            half::bf16::from_f32(near).to_f64(),
            if (t ^ 16) < 16 { t as f64 } else { 2.0 * far },
            f64::from(-f),
            t as f64,
        ]);
    }
    out
}
