//! The expansions of transcendental operations, compiled with Cranelift in vectors, against f64 references: the largest
//! error in units of the last place is asserted per operation, and printed (`--nocapture`).
#![cfg(feature = "cranelift")]

mod cranelift_support;

use cranelift_support::*;
use kiln_codegen::machine::{self, Lanes};
use kiln_codegen::math::{self, Caps};
use kiln_ir::loops::{Access, Inst, Kernel, KernelBuilder, Level, Space, Ty, V};
use kiln_ir::scalar::{BinaryOp, UnaryOp};
use kiln_ir::scalar_eval::Scalar;
use kiln_ir::{DType, loops::LoopKind};

/// A scheduled kernel `y[i] = f(x0[i], ..)`, a vector at a time, lowered to the machine level.
fn map(inputs: &[DType], out: DType, n: usize, f: impl FnOnce(&mut KernelBuilder, &[V]) -> V) -> Kernel {
    let widest = inputs.iter().map(|d| d.size()).max().unwrap_or(8);
    let lanes = (16 / widest) as u16;
    let mut buffers: Vec<_> =
        inputs.iter().enumerate().map(|(i, &t)| buffer(&format!("x{i}"), t, n, Space::Global, Access::Read)).collect();
    buffers.push(buffer("y", out, n, Space::Global, Access::Write));
    let mut b = kernel("k", buffers, &[]);
    let (lo, hi) = (b.index(0), b.index(n as i64));
    let mut open = b.open_loop(LoopKind::Serial, lo, hi, i64::from(lanes), 1, &[]);
    let iota = b.push(Ty::vector(DType::I64, lanes), Inst::IotaLanes);
    let i = b.add(open.iv, iota);
    let xs: Vec<V> = (0..inputs.len()).map(|k| b.load(kiln_ir::loops::BufId(k as u32), vec![i])).collect();
    let y = f(&mut b, &xs);
    b.store(kiln_ir::loops::BufId(inputs.len() as u32), vec![i], y);
    open.yields = vec![];
    b.close_loop(open);
    let k = Kernel { level: Level::Scheduled, ..b.finish() };
    machine::lower(&k, &Lanes { vector_bytes: 16, full_only: true }).expect("the expansion lowers")
}

/// Runs one kernel over inputs given as bytes.
fn run_kernel(k: Kernel, inputs: &[Vec<u8>]) -> Vec<u8> {
    let p = program_of(vec![k]);
    let code = compile(&p, &options());
    let (status, mut out) = run(&p, &*code, &[], inputs, std::ptr::null());
    assert_eq!(status, 0);
    out.remove(0)
}

fn caps() -> Caps {
    Caps { fma: kiln_codegen::cranelift::host_target().expect("a supported machine").fma }
}

fn apply1(op: UnaryOp, d: DType, x: Vec<u8>, caps: Caps) -> Vec<u8> {
    let n = x.len() / d.size();
    let k = map(&[d], op.result(d), n, |b, v| math::unary(b, op, v[0], caps).expect("expands"));
    run_kernel(k, &[x])
}

fn apply2(op: BinaryOp, d: DType, x: Vec<u8>, y: Vec<u8>, caps: Caps) -> Vec<u8> {
    let n = x.len() / d.size();
    let k = map(&[d, d], d, n, |b, v| math::binary(b, op, v[0], v[1], caps).expect("expands"));
    run_kernel(k, &[x, y])
}

/// Distance in representable numbers; 0 for two NaN, huge where only one is or the signs of zeros differ.
fn distance32(x: f32, y: f32) -> u64 {
    if x.is_nan() || y.is_nan() {
        return if x.is_nan() && y.is_nan() { 0 } else { u64::MAX };
    }
    if x == 0.0 && y == 0.0 && x.is_sign_negative() != y.is_sign_negative() {
        return u64::MAX;
    }
    let o = |x: f32| if x.is_sign_negative() { -i64::from(x.to_bits() & 0x7fff_ffff) } else { i64::from(x.to_bits()) };
    o(x).abs_diff(o(y))
}

fn distance64(x: f64, y: f64) -> u64 {
    if x.is_nan() || y.is_nan() {
        return if x.is_nan() && y.is_nan() { 0 } else { u64::MAX };
    }
    if x == 0.0 && y == 0.0 && x.is_sign_negative() != y.is_sign_negative() {
        return u64::MAX;
    }
    let o = |x: f64| {
        if x.is_sign_negative() { -i128::from(x.to_bits() & (u64::MAX >> 1)) } else { i128::from(x.to_bits()) }
    };
    o(x).abs_diff(o(y)) as u64
}

/// Numbers at which something changes.
const SPECIAL: [f64; 64] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    -3.0,
    0.25,
    0.75,
    1.5,
    -1.5,
    10.0,
    -10.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    1e-45,
    -1e-45,
    1.1754944e-38,
    -1.1754944e-38,
    1.1754942e-38,
    5e-39,
    -5e-39,
    3.4028235e38,
    -3.4028235e38,
    88.0,
    88.72283,
    88.72284,
    89.0,
    -87.33654,
    -88.0,
    -103.0,
    -103.97,
    -103.98,
    -104.0,
    -150.0,
    9.0,
    9.1,
    -9.0,
    0.99999994,
    1.0000001,
    -0.99999994,
    0.707,
    0.708,
    1.414,
    1.415,
    3.9,
    3.95,
    4.0,
    9.9,
    10.1,
    1e-8,
    -1e-8,
    1e-4,
    16777216.0,
    16777217.0,
    8388608.0,
    8388607.5,
    -8388607.5,
    1e20,
    -1e20,
];

/// All bit patterns at a stride, and the special ones; a multiple of 8.
fn inputs32(count: u64) -> Vec<f32> {
    let stride = (1u64 << 32) / count;
    let mut v: Vec<f32> = SPECIAL.iter().map(|&x| x as f32).collect();
    v.extend((0..count).map(|i| f32::from_bits((i * stride + i * 7919 % stride) as u32)));
    v
}

/// Largest distances in ULP that the numeric contract allows.
const UNARY: &[(UnaryOp, u64)] = &[
    (UnaryOp::Exp, 1),
    (UnaryOp::Expm1, 1),
    (UnaryOp::Log, 1),
    (UnaryOp::Log1p, 1),
    (UnaryOp::Rsqrt, 1),
    (UnaryOp::Reciprocal, 0),
    (UnaryOp::Square, 0),
    (UnaryOp::Sign, 0),
    (UnaryOp::Sigmoid, 2),
    (UnaryOp::Tanh, 2),
    (UnaryOp::Erf, 2),
    (UnaryOp::Erfc, 4),
];

fn sweep32(count: u64) {
    let xs = inputs32(count);
    for &(op, limit) in UNARY {
        for fma in [true, false] {
            let caps = Caps { fma: fma && caps().fma };
            let ys = f32_of(&apply1(op, DType::F32, f32_bytes(&xs), caps));
            let mut worst = (0, 0f32, 0f32, 0f32);
            let mut exact_worst = 0f64;
            for (&x, &y) in xs.iter().zip(&ys) {
                let Ok(Scalar::F64(r)) = Scalar::unary(op, Scalar::F64(f64::from(x))) else {
                    panic!("{op} has no reference")
                };
                let d = distance32(y, r as f32);
                if d > worst.0 {
                    worst = (d, x, y, r as f32);
                }
                if r.is_finite() && (r as f32).is_finite() && r.abs() > 1.2e-38 {
                    let ulp = 2f64.powi(r.abs().log2().floor() as i32 - 23);
                    exact_worst = exact_worst.max((f64::from(y) - r).abs() / ulp);
                }
            }
            println!(
                "{op:>12} f32 fma={:5}: {} ULP ({exact_worst:.3}) at {:e}: {:e}, not {:e}",
                caps.fma, worst.0, worst.1, worst.2, worst.3
            );
            if std::env::var("SOFT").is_err() {
                assert!(worst.0 <= limit, "{op} at {:e} is {:e}, not {:e}: {} ULP", worst.1, worst.2, worst.3, worst.0);
            }
        }
    }
}

#[test]
fn unary_f32() {
    sweep32(1 << 18);
}

#[test]
#[ignore = "takes a minute: 2^24 inputs for each operation"]
fn unary_f32_long() {
    sweep32(1 << 24);
}
