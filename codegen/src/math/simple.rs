//! Operations that need no approximation but are not one instruction everywhere.

use anyhow::{Result, bail};
use kiln_ir::DType;
use kiln_ir::loops::{Inst, KernelBuilder, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp};

use super::emit::Emit;

/// 0 with x's extents: the imaginary part of a real number.
pub(super) fn zero_like(e: &mut Emit, x: V) -> V {
    let t = e.b.ty(x);
    e.b.push(t, Inst::ConstFloat(0.0))
}

/// The phase of a real number: pi below 0, 0 from either zero on, NaN.
pub(super) fn angle(e: &mut Emit, x: V) -> V {
    let zero = e.c(0.0);
    let nan = e.b.compare(CompareOp::Ne, x, x);
    let r = e.sel(nan, x, zero);
    let negative = e.lt(x, zero);
    e.sel_c(negative, std::f64::consts::PI, r)
}

/// The neighbour of x toward y, by one step of the bits, whose order is that of the magnitudes.
pub(super) fn next_after(b: &mut KernelBuilder, x: V, y: V) -> Result<V> {
    let d = b.ty(x).elem;
    let (int, top, nan, infinity) = match d {
        DType::F16 => (DType::I16, i64::from(i16::MIN), 0x7e00, 0x7c00),
        DType::BF16 => (DType::I16, i64::from(i16::MIN), 0x7fc0, 0x7f80),
        DType::F32 => (DType::I32, i64::from(i32::MIN), 0x7fc0_0000, 0x7f80_0000),
        DType::F64 => (DType::I64, i64::MIN, 0x7ff8_0000_0000_0000, 0x7ff0_0000_0000_0000),
        _ => bail!("`next_after` does not take elements of type {d}"),
    };
    // All by integers, so that no operation flushes a subnormal.
    let mut k = |n: i64| b.push_hoisted(Ty::scalar(int), Inst::ConstInt(n));
    let (zero, one, top, nan, infinity) = (k(0), k(1), k(top), k(nan), k(infinity));
    let (ix, iy) = (b.bitcast(int, x), b.bitcast(int, y));
    let magnitude = |b: &mut KernelBuilder, i: V| {
        let low = b.unary(kiln_ir::scalar::UnaryOp::BitNot, top);
        b.binary(BinaryOp::BitAnd, i, low)
    };
    let (ax, ay) = (magnitude(b, ix), magnitude(b, iy));
    // In two's complement order: top - i for negative ones; both zeros become 0.
    let ordered = |b: &mut KernelBuilder, i: V, a: V| {
        let negative = b.compare(CompareOp::Lt, i, zero);
        let n = b.sub(zero, a);
        b.select(negative, n, a)
    };
    let (ox, oy) = (ordered(b, ix, ax), ordered(b, iy, ay));
    let up = b.compare(CompareOp::Lt, ox, oy);
    let minus = b.sub(zero, one);
    let step = b.select(up, one, minus);
    let next = b.add(ox, step);
    // Back to sign and magnitude; a step down to 0 keeps x's sign.
    let below = b.compare(CompareOp::Lt, next, zero);
    let negated = b.sub(zero, next);
    let m = b.select(below, negated, next);
    let from_x = b.binary(BinaryOp::BitAnd, ix, top);
    let vanished = b.compare(CompareOp::Eq, next, zero);
    let sign = b.select(below, top, zero);
    let sign = b.select(vanished, from_x, sign);
    let r = b.binary(BinaryOp::BitOr, m, sign);
    let same = b.compare(CompareOp::Eq, ox, oy);
    let r = b.select(same, iy, r);
    let nan_x = b.compare(CompareOp::Gt, ax, infinity);
    let nan_y = b.compare(CompareOp::Gt, ay, infinity);
    let either = b.binary(BinaryOp::Or, nan_x, nan_y);
    let r = b.select(either, nan, r);
    Ok(b.bitcast(d, r))
}
