//! The expansions of transcendental operations, compiled with Cranelift in vectors, against f64 references: the largest
//! error in units of the last place is asserted per operation, and printed (`--nocapture`).

use crate::cranelift_support::*;
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

/// Largest distances in ULP that the numeric contract allows. lgamma and digamma have 50 eps, relative to 1 where the
/// result is smaller, since terms cancel at their zeros.
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
    (UnaryOp::Sin, 2),
    (UnaryOp::Cos, 2),
    (UnaryOp::Tan, 4),
    (UnaryOp::Asin, 4),
    (UnaryOp::Acos, 4),
    (UnaryOp::Atan, 4),
    (UnaryOp::Sinh, 4),
    (UnaryOp::Cosh, 4),
    (UnaryOp::Asinh, 4),
    (UnaryOp::Acosh, 4),
    (UnaryOp::Atanh, 4),
    (UnaryOp::Erfinv, 4),
    (UnaryOp::Ndtri, 4),
    (UnaryOp::Lgamma, 50),
    (UnaryOp::Digamma, 50),
    (UnaryOp::Angle, 0),
    (UnaryOp::Imag, 0),
    (UnaryOp::Conj, 0),
];

const BINARY: &[(BinaryOp, u64)] = &[
    (BinaryOp::Pow, 1),
    (BinaryOp::Atan2, 2),
    (BinaryOp::Xlogy, 1),
    (BinaryOp::Xlog1py, 1),
    (BinaryOp::Xdivy, 0),
    (BinaryOp::DivNoNan, 0),
    (BinaryOp::MulNoNan, 0),
    (BinaryOp::SquaredDifference, 0),
    (BinaryOp::FloorDiv, 0),
    (BinaryOp::FloorMod, 0),
    (BinaryOp::TruncMod, 0),
    (BinaryOp::NextAfter, 0),
];

/// With and without a fused multiply-add.
fn both_caps() -> Vec<Caps> {
    let mut all = vec![Caps { fma: false }];
    all.extend(caps().fma.then_some(Caps { fma: true }));
    all
}

fn f64_bytes(xs: &[f64]) -> Vec<u8> {
    xs.iter().flat_map(|x| x.to_ne_bytes()).collect()
}

fn f64_of(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(8).map(|c| f64::from_ne_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]])).collect()
}

/// The largest distance found, and where.
struct Worst {
    what: String,
    ulp: u64,
    at: String,
}

impl Worst {
    fn new(what: String) -> Worst {
        Worst { what, ulp: 0, at: "everywhere".into() }
    }
    fn see(&mut self, ulp: u64, at: impl FnOnce() -> String) {
        if ulp > self.ulp {
            (self.ulp, self.at) = (ulp, at());
        }
    }
    fn check(&self, limit: u64) {
        println!("{}: {} ULP, {}", self.what, self.ulp, self.at);
        assert!(self.ulp <= limit, "{}: {} ULP, more than {limit}: {}", self.what, self.ulp, self.at);
    }
}

fn reference1(op: UnaryOp, x: f64) -> f64 {
    match Scalar::unary(op, Scalar::F64(x)) {
        Ok(Scalar::F64(r)) => r,
        other => panic!("{op} has no reference: {other:?}"),
    }
}

fn sweep32(count: u64) {
    let xs = inputs32(count);
    let bytes = f32_bytes(&xs);
    for &(op, limit) in UNARY {
        let wanted: Vec<f32> = xs.iter().map(|&x| reference1(op, f64::from(x)) as f32).collect();
        for caps in both_caps() {
            let ys = f32_of(&apply1(op, DType::F32, bytes.clone(), caps));
            let mut worst = Worst::new(format!("{op} f32, fma {}", caps.fma));
            for ((&x, &y), &r) in xs.iter().zip(&ys).zip(&wanted) {
                let mut d = distance32(y, r);
                if matches!(op, UnaryOp::Lgamma | UnaryOp::Digamma) && r.abs() < 1.0 && y.is_finite() {
                    d = ((f64::from(y) - f64::from(r)).abs() / f64::from(f32::EPSILON)) as u64;
                }
                worst.see(d, || format!("at {x:e} {y:e}, not {r:e}"));
            }
            worst.check(limit);
        }
    }
}

#[test]
fn unary_f32() {
    sweep32(1 << 17);
}

#[test]
#[ignore = "takes minutes: 2^24 inputs for each operation"]
fn unary_f32_long() {
    sweep32(1 << 24);
}

/// Ordinary sizes, every exponent, and the special numbers.
fn inputs64(count: usize) -> Vec<f64> {
    let mut r = Random(7);
    let mut v: Vec<f64> = SPECIAL.to_vec();
    v.extend([
        709.7,
        709.79,
        -708.4,
        -745.1,
        -745.2,
        710.4,
        710.5,
        5e-324,
        -5e-324,
        2.2250738585072014e-308,
        f64::MAX,
        f64::MIN,
        1e300,
        -1e300,
        1e-300,
        0.3,
    ]);
    v.extend((0..count).map(|i| {
        let bits = r.next();
        let unit = (bits as i64) as f64 / 2f64.powi(63);
        match i % 5 {
            0 => f64::from_bits(bits),
            1 => unit,
            2 => unit * 10.0,
            3 => unit * 745.0,
            _ => unit * 2f64.powi((i / 5 % 60) as i32 - 55),
        }
    }));
    v
}

/// The reference is the f64 library, itself up to 1 ULP off; its error functions and the inverse hyperbolic ones 2.
#[test]
fn unary_f64() {
    let xs = inputs64(60_000);
    for &(op, limit) in UNARY {
        let slack = if limit == 0 { 0 } else { 2 };
        for caps in both_caps() {
            let ys = f64_of(&apply1(op, DType::F64, f64_bytes(&xs), caps));
            let mut worst = Worst::new(format!("{op} f64, fma {}", caps.fma));
            for (&x, &y) in xs.iter().zip(&ys) {
                // The reference of ndtri loses digits of subnormal probabilities.
                if op == UnaryOp::Ndtri && x.is_subnormal() {
                    continue;
                }
                let r = reference1(op, x);
                let mut d = distance64(y, r);
                if matches!(op, UnaryOp::Lgamma | UnaryOp::Digamma) && y.is_finite() && r.is_finite() {
                    // Reflection subtracts terms as large as x itself.
                    let size = if x < 0.0 { r.abs().max(x.abs()).max(1.0) * 4.0 } else { r.abs().max(1.0) };
                    d = ((y - r).abs() / size / f64::EPSILON) as u64;
                }
                worst.see(d, || format!("at {x:e} {y:e}, not {r:e}"));
            }
            worst.check(limit + slack);
        }
    }
}

/// Every input of the 16-bit types, against the reference rounded once.
#[test]
fn unary_halves() {
    let bits: Vec<u8> = (0..=u16::MAX).flat_map(|b| b.to_ne_bytes()).collect();
    for d in [DType::F16, DType::BF16] {
        let xs = scalars_of(d, &bits);
        for &(op, _) in UNARY {
            let ys = scalars_of(d, &apply1(op, d, bits.clone(), caps()));
            let mut worst = Worst::new(format!("{op} {d}"));
            for (x, y) in xs.iter().zip(&ys) {
                let r = Scalar::unary(op, *x).expect("has a reference");
                worst.see(distance16(*y, r), || format!("at {x:?} {y:?}, not {r:?}"));
            }
            worst.check(1);
        }
    }
}

fn distance16(x: Scalar, y: Scalar) -> u64 {
    let bits = |s: Scalar| match s {
        Scalar::F16(h) => (h.to_bits(), h.is_nan()),
        Scalar::BF16(h) => (h.to_bits(), h.is_nan()),
        other => panic!("{other:?} is no half"),
    };
    let ((x, x_nan), (y, y_nan)) = (bits(x), bits(y));
    if x_nan || y_nan {
        return if x_nan && y_nan { 0 } else { u64::MAX };
    }
    if (x | y) & 0x7fff == 0 && x != y {
        return u64::MAX;
    }
    let o = |b: u16| if b & 0x8000 != 0 { -i64::from(b & 0x7fff) } else { i64::from(b) };
    o(x).abs_diff(o(y))
}

/// Pairs of special numbers, then random ones.
fn pairs(count: usize) -> (Vec<f64>, Vec<f64>) {
    let mut r = Random(99);
    let (mut xs, mut ys) = (vec![], vec![]);
    for &x in &SPECIAL {
        for &y in &SPECIAL {
            xs.push(x);
            ys.push(y);
        }
    }
    for i in 0..count {
        let unit = |b: u64| (b as i64) as f64 / 2f64.powi(63);
        let (a, b) = (unit(r.next()), unit(r.next()));
        let e = (r.next() % 80) as i32 - 40;
        xs.push(if i % 2 == 0 { a.abs() * 2f64.powi(e) } else { a * 100.0 });
        ys.push(if i % 3 == 0 { (b * 20.0).round() } else { b * 30.0 });
    }
    (xs, ys)
}

#[test]
fn binary_f32() {
    let (xs, ys) = pairs(40_000);
    let (xs, ys): (Vec<f32>, Vec<f32>) =
        (xs.iter().map(|&x| x as f32).collect(), ys.iter().map(|&y| y as f32).collect());
    for &(op, limit) in BINARY {
        for caps in both_caps() {
            let zs = f32_of(&apply2(op, DType::F32, f32_bytes(&xs), f32_bytes(&ys), caps));
            let mut worst = Worst::new(format!("{op} f32, fma {}", caps.fma));
            for ((&x, &y), &z) in xs.iter().zip(&ys).zip(&zs) {
                let Ok(Scalar::F32(r)) = Scalar::binary(op, Scalar::F32(x), Scalar::F32(y)) else {
                    panic!("{op} has no reference")
                };
                // A product with a logarithm of 1 ULP.
                let limit_scale = if matches!(op, BinaryOp::Xlogy | BinaryOp::Xlog1py) { 3 } else { 1 };
                worst.see(distance32(z, r) / limit_scale, || format!("at {x:e}, {y:e} {z:e}, not {r:e}"));
            }
            worst.check(limit);
        }
    }
}

#[test]
fn binary_f64() {
    let (xs, ys) = pairs(40_000);
    for &(op, limit) in BINARY {
        for caps in both_caps() {
            let zs = f64_of(&apply2(op, DType::F64, f64_bytes(&xs), f64_bytes(&ys), caps));
            let mut worst = Worst::new(format!("{op} f64, fma {}", caps.fma));
            for ((&x, &y), &z) in xs.iter().zip(&ys).zip(&zs) {
                let Ok(Scalar::F64(r)) = Scalar::binary(op, Scalar::F64(x), Scalar::F64(y)) else {
                    panic!("{op} has no reference")
                };
                worst.see(distance64(z, r), || format!("at {x:e}, {y:e} {z:e}, not {r:e}"));
            }
            worst.check(if limit == 0 { 0 } else { limit + 2 });
        }
    }
}

/// TensorFlow rounds the quotient of a half FloorDiv and the difference of a half SquaredDifference.
#[test]
fn halves_round_between_steps() {
    let mut r = Random(5);
    let raw: Vec<u16> = (0..4096).map(|_| r.next() as u16).collect();
    let (a, b) = raw.split_at(2048);
    let bytes = |v: &[u16]| v.iter().flat_map(|b| b.to_ne_bytes()).collect::<Vec<u8>>();
    for d in [DType::F16, DType::BF16] {
        let (xs, ys) = (scalars_of(d, &bytes(a)), scalars_of(d, &bytes(b)));
        for (op, first) in [(BinaryOp::FloorDiv, BinaryOp::Div), (BinaryOp::SquaredDifference, BinaryOp::Sub)] {
            let zs = scalars_of(d, &apply2(op, d, bytes(a), bytes(b), caps()));
            for ((x, y), z) in xs.iter().zip(&ys).zip(&zs) {
                let step = Scalar::binary(first, *x, *y).expect("defined");
                let then = if first == BinaryOp::Div { UnaryOp::Floor } else { UnaryOp::Square };
                let want = Scalar::unary(then, step).expect("defined");
                assert_eq!(distance16(*z, want), 0, "{op} of {x:?}, {y:?}: {z:?}, not {want:?}");
            }
        }
    }
}

#[test]
fn integer_powers_wrap() {
    let mut r = Random(3);
    let raw: Vec<u64> = (0..512).map(|_| r.next()).collect();
    for d in [DType::I8, DType::U8, DType::I16, DType::I32, DType::U32, DType::I64, DType::U64] {
        let make = |n: i64| Scalar::I64(n).cast(d).expect("an integer");
        let xs: Vec<Scalar> = raw.iter().map(|&b| make((b as i64) >> (b % 60))).collect();
        // Exponents without a sign bit of their type.
        let ys: Vec<Scalar> = raw.iter().map(|&b| make((b >> 7 & 0x7f) as i64)).collect();
        let zs = scalars_of(d, &apply2(BinaryOp::Pow, d, bytes_of(&xs), bytes_of(&ys), caps()));
        for ((x, y), z) in xs.iter().zip(&ys).zip(&zs) {
            let want = Scalar::binary(BinaryOp::Pow, *x, *y).expect("a power");
            assert_eq!(format!("{z:?}"), format!("{want:?}"), "{x:?} to the {y:?}");
        }
    }
}

/// An operation without an expansion is refused with its name.
#[test]
fn unknown_expansions_name_the_operation() {
    for op in [BinaryOp::Igamma, BinaryOp::Igammac, BinaryOp::Polygamma, BinaryOp::Zeta] {
        let mut b = kernel("k", vec![], &[]);
        let x = b.float(DType::F32, 1.0);
        let e = math::binary(&mut b, op, x, x, caps()).expect_err("no expansion");
        assert!(e.to_string().contains(op.name()), "{e}");
    }
}

/// What is an instruction stays one; index arithmetic relies on that.
#[test]
fn machine_operations_stay_single() {
    for op in [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::TruncMod,
        BinaryOp::FloorDiv,
        BinaryOp::FloorMod,
        BinaryOp::Min,
        BinaryOp::Max,
    ] {
        let mut b = kernel("k", vec![], &[]);
        let (x, y) = (b.index(7), b.index(2));
        let r = math::binary(&mut b, op, x, y, caps()).expect("an instruction");
        let k = b.finish();
        assert_eq!(k.body.stmts.len(), 3);
        assert!(matches!(k.body.stmts.last(), Some(s) if s.results == [r] && s.inst == Inst::Binary(op, x, y)));
        assert!(math::is_machine_op(math::ScalarOp::Binary(op), DType::I64));
    }
}
