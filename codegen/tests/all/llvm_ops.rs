//! Every machine operation on every plain element type, vector and scalar, for the running machine and for the oldest
//! x86-64 (which takes every fallback), against expectations computed here.

use crate::ELEMS;
use crate::llvm_common::*;
use half::{bf16, f16};
use kiln_ir::loops::{Access, Inst, Kernel, LoopKind, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use kiln_ir::{Class, DType};

/// A value of some element type: integers and bool exactly, floats as f64 (which holds all of them).
#[derive(Clone, Copy, Debug)]
enum Num {
    Int(i128),
    Float(f64),
}
use Num::{Float, Int};

/// An integer wrapped into a type.
fn wrap(d: DType, v: i128) -> i128 {
    let bits = 8 * d.size() as u32;
    let m = v & ((1i128 << bits) - 1);
    if d.is_signed() && m >> (bits - 1) == 1 { m - (1i128 << bits) } else { m }
}

/// The nearest f16 or bf16, ties to even, found among the neighbours by distance.
fn to_half(d: DType, x: f64) -> u16 {
    let value = |b: u16| {
        let v = if d == DType::F16 { f16::from_bits(b).to_f64() } else { bf16::from_bits(b).to_f64() };
        // The number that infinity stands for in rounding.
        if v.is_infinite() { v.signum() * if d == DType::F16 { 65536.0 } else { 2f64.powi(128) } } else { v }
    };
    if x.is_nan() {
        return 0x7fff;
    }
    let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
    let (mut lo, mut hi) = (0u16, if d == DType::F16 { 0x7c00 } else { 0x7f80 });
    let a = x.abs();
    while hi - lo > 1 {
        let mid = lo + (hi - lo) / 2;
        if value(mid) <= a { lo = mid } else { hi = mid }
    }
    let (down, up) = (a - value(lo), value(hi) - a);
    let nearest = if down < up || (down == up && lo % 2 == 0) { lo } else { hi };
    sign | if a.is_infinite() { hi } else { nearest }
}

fn encode(d: DType, v: Num) -> Vec<u8> {
    match (v, d) {
        (Int(i), _) if d == DType::Bool => vec![i as u8],
        (Int(i), _) => i.to_le_bytes()[..d.size()].to_vec(),
        (Float(x), DType::F32) => (x as f32).to_le_bytes().to_vec(),
        (Float(x), DType::F64) => x.to_le_bytes().to_vec(),
        (Float(x), _) => to_half(d, x).to_le_bytes().to_vec(),
    }
}

fn decode(d: DType, b: &[u8]) -> Num {
    let mut le = [0u8; 16];
    le[..b.len()].copy_from_slice(b);
    let bits = i128::from_le_bytes(le);
    match d {
        DType::Bool => Int(bits),
        DType::F16 => Float(f16::from_bits(bits as u16).to_f64()),
        DType::BF16 => Float(bf16::from_bits(bits as u16).to_f64()),
        DType::F32 => Float(f64::from(f32::from_bits(bits as u32))),
        DType::F64 => Float(f64::from_bits(bits as u64)),
        _ => Int(wrap(d, bits)),
    }
}

fn same(d: DType, got: &[u8], want: Num) -> bool {
    match (decode(d, got), want) {
        (Float(g), Float(w)) if g.is_nan() && w.is_nan() => true,
        _ => got == encode(d, want),
    }
}

fn interesting(d: DType) -> Vec<Num> {
    let bits = 8 * d.size() as u32;
    match d.class() {
        Class::Bool => vec![Int(0), Int(1)],
        Class::Signed | Class::Unsigned => {
            let (lo, hi) = if d.is_signed() {
                (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
            } else {
                (0, (1i128 << bits) - 1)
            };
            let mut v = vec![
                0,
                1,
                -1,
                2,
                3,
                -3,
                5,
                7,
                -7,
                8,
                31,
                32,
                63,
                64,
                100,
                -100,
                lo,
                lo + 1,
                hi,
                hi - 1,
                hi / 3,
                0x5a5a_5a5a_5a5a_5a5a,
            ];
            if d.size() == 8 {
                // Ties of bf16 beyond 2^53, with and without a sticky bit.
                v.extend([
                    (0x81i128 << 54) + (1 << 53),
                    (0x81i128 << 54) + (1 << 53) + 1,
                    (1i128 << 60) + (1 << 52) + 1,
                    0x1010001,
                ]);
            }
            v.into_iter().map(|x| Int(wrap(d, x))).collect()
        }
        _ => {
            let v = [
                0.0,
                -0.0,
                1.0,
                -1.0,
                0.5,
                -0.5,
                1.5,
                2.5,
                -2.5,
                3.5,
                7.0,
                -7.0,
                3.0,
                -3.0,
                0.1,
                1e-3,
                1e4,
                65504.0,
                65520.0,
                127.6,
                -128.5,
                255.9,
                3e9,
                -3e9,
                1e19,
                2e20,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                2f64.powi(-24),
                -(2f64.powi(-26)),
                2f64.powi(-133),
                2f64.powi(-149),
                1e-300,
                f64::MAX,
                f64::from(f32::MAX),
                // A tie of f16 that an f64 just misses: one rounding gives another result than two.
                1.0 + 2f64.powi(-11) + 2f64.powi(-40),
                1.0 + 2f64.powi(-8) + 2f64.powi(-45),
                1.0 + 2f64.powi(-11),
            ];
            v.iter().map(|&x| decode(d, &encode(d, Float(x)))).collect()
        }
    }
}

/// The floats' arithmetic at the precision in which `d` computes: f64 for itself, f32 for the rest.
macro_rules! at_precision {
    ($d:expr, |$($x:ident),*| $e:expr) => {
        if $d == DType::F64 { $e } else { $(let $x = $x as f32;)* f64::from($e) }
    };
}

fn unary(op: UnaryOp, d: DType, x: Num) -> Option<Num> {
    use UnaryOp::*;
    Some(match x {
        Int(i) if d == DType::Bool => match op {
            Not => Int(1 - i),
            _ => return None,
        },
        Int(i) => Int(match op {
            Neg => wrap(d, -i),
            Abs => wrap(d, i.abs()),
            Sign => i.signum(),
            BitNot => wrap(d, !i),
            PopCount => i128::from((i as u128 & ((1u128 << (8 * d.size())) - 1)).count_ones()),
            Square => wrap(d, i.wrapping_mul(i)),
            _ => return None,
        }),
        Float(x) => match op {
            IsNan => Int(x.is_nan().into()),
            IsInf => Int(x.is_infinite().into()),
            IsFinite => Int(x.is_finite().into()),
            Neg => Float(-x),
            Abs => Float(x.abs()),
            Sign => Float(if x.is_nan() {
                x
            } else if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                0.0
            }),
            Floor => Float(x.floor()),
            Ceil => Float(x.ceil()),
            Rint => Float(x.round_ties_even()),
            Trunc => Float(x.trunc()),
            Sqrt => Float(at_precision!(d, |x| x.sqrt())),
            Rsqrt => Float(at_precision!(d, |x| 1.0 / x.sqrt())),
            Reciprocal => Float(at_precision!(d, |x| 1.0 / x)),
            Square => Float(at_precision!(d, |x| x * x)),
            _ => return None,
        },
    })
}

fn binary(op: BinaryOp, d: DType, x: Num, y: Num) -> Option<Num> {
    use BinaryOp::*;
    Some(match (x, y) {
        (Int(x), Int(y)) if d == DType::Bool => Int(match op {
            And => x & y,
            Or => x | y,
            Xor => x ^ y,
            _ => return None,
        }),
        (Int(x), Int(y)) => {
            let shift = y.clamp(0, 8 * d.size() as i128 - 1);
            Int(wrap(
                d,
                match op {
                    Add => x + y,
                    Sub => x - y,
                    Mul => x.wrapping_mul(y),
                    Max => x.max(y),
                    Min => x.min(y),
                    SquaredDifference => (x - y).wrapping_mul(x - y),
                    BitAnd => x & y,
                    BitOr => x | y,
                    BitXor => x ^ y,
                    Shl => x << shift,
                    Shr => x >> shift,
                    Div | FloorDiv | FloorMod | TruncMod if y == 0 => return None, // a Check comes before
                    Div => x / y,
                    FloorDiv => (x / y) - i128::from(x % y != 0 && (x < 0) != (y < 0)),
                    FloorMod => x - y * ((x / y) - i128::from(x % y != 0 && (x < 0) != (y < 0))),
                    TruncMod => x % y,
                    _ => return None,
                },
            ))
        }
        (Float(x), Float(y)) => Float(match op {
            Add => at_precision!(d, |x, y| x + y),
            Sub => at_precision!(d, |x, y| x - y),
            Mul => at_precision!(d, |x, y| x * y),
            Div => at_precision!(d, |x, y| x / y),
            Max | Min if x.is_nan() || y.is_nan() => f64::NAN,
            // +0 is above -0.
            Max if x == y => f64::from_bits(x.to_bits() & y.to_bits()),
            Min if x == y => f64::from_bits(x.to_bits() | y.to_bits()),
            Max => {
                if y > x {
                    y
                } else {
                    x
                }
            }
            Min => {
                if y < x {
                    y
                } else {
                    x
                }
            }
            SquaredDifference => at_precision!(d, |x, y| (x - y) * (x - y)),
            FloorDiv => at_precision!(d, |x, y| (x / y).floor()),
            TruncMod => at_precision!(d, |x, y| x % y),
            FloorMod => at_precision!(d, |x, y| {
                let r = x % y;
                if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
            }),
            DivNoNan => {
                if y == 0.0 {
                    0.0
                } else {
                    at_precision!(d, |x, y| x / y)
                }
            }
            MulNoNan => {
                if y == 0.0 {
                    0.0
                } else {
                    at_precision!(d, |x, y| x * y)
                }
            }
            Xdivy => {
                if x == 0.0 {
                    0.0
                } else {
                    at_precision!(d, |x, y| x / y)
                }
            }
            NextAfter => next_after(d, x, y),
            _ => return None,
        }),
        _ => return None,
    })
}

/// By the order of all values of the type, from the bits of each.
fn next_after(d: DType, x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() {
        return f64::NAN;
    }
    if x == y {
        return y;
    }
    let bytes = encode(d, Float(x));
    let mut le = [0u8; 8];
    le[..bytes.len()].copy_from_slice(&bytes);
    let bits = u64::from_le_bytes(le);
    let top = 8 * d.size() as u32 - 1;
    // Sign and magnitude to an integer that is ordered as the values are.
    let magnitude = (bits & ((1u64 << top) - 1)) as i128;
    let ordered = if bits >> top == 1 { -magnitude } else { magnitude };
    let next = if y > x { ordered + 1 } else { ordered - 1 };
    // The neighbour of the smallest subnormal keeps its sign when it becomes zero.
    let negative = next < 0 || (next == 0 && ordered < 0);
    let bits = next.unsigned_abs() as u64 | u64::from(negative) << top;
    match decode(d, &bits.to_le_bytes()[..d.size()]) {
        Float(v) => v,
        Int(_) => f64::NAN,
    }
}

fn compare(op: CompareOp, x: Num, y: Num) -> bool {
    let order = match (x, y) {
        (Int(x), Int(y)) => Some(x.cmp(&y)),
        (Float(x), Float(y)) => x.partial_cmp(&y),
        _ => None,
    };
    match (op, order) {
        (CompareOp::Ne, o) => o != Some(std::cmp::Ordering::Equal),
        (_, None) => false,
        (CompareOp::Eq, Some(o)) => o.is_eq(),
        (CompareOp::Lt, Some(o)) => o.is_lt(),
        (CompareOp::Le, Some(o)) => o.is_le(),
        (CompareOp::Gt, Some(o)) => o.is_gt(),
        (CompareOp::Ge, Some(o)) => o.is_ge(),
    }
}

fn cast(from: DType, to: DType, x: Num) -> Num {
    match (x, to.class()) {
        (Int(i), Class::Bool) => Int((i != 0).into()),
        (Float(x), Class::Bool) => Int((x != 0.0).into()),
        (Int(i), Class::Signed | Class::Unsigned) => Int(wrap(to, i)),
        (Float(x), Class::Signed | Class::Unsigned) => {
            let bits = 8 * to.size() as u32;
            let (lo, hi) = if to.is_signed() {
                (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
            } else {
                (0, (1i128 << bits) - 1)
            };
            Int((x as i128).clamp(lo, hi))
        }
        (Int(i), _) => Float(match to {
            DType::F32 => f64::from(i as f32),
            DType::F64 => i as f64,
            // 54 significant bits with a sticky last one round as the number itself.
            _ => {
                let m = i.unsigned_abs();
                let drop = (128 - m.leading_zeros()).saturating_sub(52);
                let sticky = u128::from(m & ((1 << drop) - 1) != 0);
                (((m >> drop) | sticky) as f64) * 2f64.powi(drop as i32) * if i < 0 { -1.0 } else { 1.0 }
            }
        }),
        (Float(x), _) => {
            let _ = from;
            Float(x)
        }
    }
}

/// Inputs x and y of type `d`, one output for each function of them; a loop of vectors of `lanes` over `n` elements.
struct Case {
    outputs: Vec<(String, DType, Vec<Option<Num>>)>,
}

fn run_case(
    d: DType,
    x: &[Num],
    y: &[Num],
    lanes: u16,
    case: &Case,
    emit: impl Fn(&mut kiln_ir::loops::KernelBuilder, usize, V, V) -> V,
) {
    let n = x.len();
    assert_eq!(n % usize::from(lanes), 0);
    let build = || -> Kernel {
        let mut b = kernel("ops");
        let xb = b.buffer(global("x", d, dim(n as i64), Access::Read, d.size() as u32));
        let yb = b.buffer(global("y", d, dim(n as i64), Access::Read, d.size() as u32));
        let outs: Vec<_> = case
            .outputs
            .iter()
            .enumerate()
            .map(|(i, o)| b.buffer(global(&format!("o{i}"), o.1, dim(n as i64), Access::Write, o.1.size() as u32)))
            .collect();
        let (lo, hi) = (b.index(0), b.index(n as i64));
        let done = b.for_loop(LoopKind::Parallel, lo, hi, lanes.into(), 1, &[], |b, iv, _| {
            let ty = Ty::vector(d, lanes);
            let vx = b.push(ty, Inst::Load { buf: xb, index: vec![iv] });
            let vy = b.push(ty, Inst::Load { buf: yb, index: vec![iv] });
            for (i, out) in outs.iter().enumerate() {
                let v = emit(b, i, vx, vy);
                b.store(*out, vec![iv], v);
            }
            Ok::<_, std::convert::Infallible>(vec![])
        });
        assert!(done.is_ok());
        b.finish()
    };
    let memory = |v: &[Num]| Memory::of(&v.iter().flat_map(|&v| encode(d, v)).collect::<Vec<_>>());
    let (mx, my) = (memory(x), memory(y));
    for target in targets() {
        let outs: Vec<Memory> = case.outputs.iter().map(|o| Memory::new(n * o.1.size())).collect();
        let mut args = vec![mx.address(), my.address()];
        args.extend(outs.iter().map(Memory::address));
        assert_eq!(run(&*compile_for(&single(build()), &target), &args), 0);
        for ((name, dtype, want), got) in case.outputs.iter().zip(&outs) {
            for i in 0..n {
                let got = &got.bytes()[i * dtype.size()..(i + 1) * dtype.size()];
                if let Some(want) = want[i] {
                    assert!(
                        same(*dtype, got, want),
                        "{name} on {d} ({} lanes, {}): x = {:?}, y = {:?}: {:?} instead of {want:?}",
                        lanes,
                        target.cpu,
                        x[i],
                        y[i],
                        decode(*dtype, got)
                    );
                }
            }
        }
    }
}

/// All pairs of interesting values, padded to a multiple of 8.
fn pairs(d: DType) -> (Vec<Num>, Vec<Num>) {
    let v = interesting(d);
    let mut p: Vec<(Num, Num)> = v.iter().flat_map(|&x| v.iter().map(move |&y| (x, y))).collect();
    while !p.len().is_multiple_of(8) {
        p.push(p[0]);
    }
    p.into_iter().unzip()
}

fn each_pair(x: &[Num], y: &[Num], f: impl Fn(Num, Num) -> Option<Num>) -> Vec<Option<Num>> {
    x.iter().zip(y).map(|(&x, &y)| f(x, y)).collect()
}

#[test]
fn unary_operations() {
    for d in ELEMS {
        let (x, y) = pairs(d);
        let ops: Vec<UnaryOp> =
            UnaryOp::ALL.iter().copied().filter(|&op| op.accepts(d) && unary(op, d, x[0]).is_some()).collect();
        let outputs =
            ops.iter().map(|&op| (op.name().into(), op.result(d), each_pair(&x, &y, |x, _| unary(op, d, x)))).collect();
        for lanes in [1, 8] {
            run_case(d, &x, &y, lanes, &Case { outputs: Vec::clone(&outputs) }, |b, i, x, _| b.unary(ops[i], x));
        }
        assert!(ops.len() >= if d == DType::Bool { 1 } else { 6 }, "{d} has {} operations", ops.len());
    }
}

#[test]
fn binary_operations() {
    for d in ELEMS {
        let (x, y) = pairs(d);
        let probe = if d.is_float() { Float(1.0) } else { Int(1) };
        let ops: Vec<BinaryOp> = BinaryOp::ALL
            .iter()
            .copied()
            .filter(|&op| op.accepts(d) && binary(op, d, probe, probe).is_some())
            .collect();
        let outputs: Vec<_> =
            ops.iter().map(|&op| (op.name().to_string(), d, each_pair(&x, &y, |x, y| binary(op, d, x, y)))).collect();
        for lanes in [1, 8] {
            run_case(d, &x, &y, lanes, &Case { outputs: outputs.clone() }, |b, i, x, y| b.binary(ops[i], x, y));
        }
        assert!(ops.len() >= if d == DType::Bool { 3 } else { 14 }, "{d} has {} operations", ops.len());
    }
}

#[test]
fn comparisons_and_selection() {
    for d in ELEMS {
        let (x, y) = pairs(d);
        let ops: Vec<CompareOp> = CompareOp::ALL.iter().copied().filter(|op| op.accepts(d)).collect();
        let mut outputs: Vec<_> = ops
            .iter()
            .map(|&op| {
                (op.name().to_string(), DType::Bool, each_pair(&x, &y, |x, y| Some(Int(compare(op, x, y).into()))))
            })
            .collect();
        outputs.push((
            "select".into(),
            d,
            each_pair(&x, &y, |x, y| Some(if compare(CompareOp::Ne, x, y) { x } else { y })),
        ));
        for lanes in [1, 8] {
            run_case(d, &x, &y, lanes, &Case { outputs: outputs.clone() }, |b, i, x, y| match ops.get(i) {
                Some(&op) => b.compare(op, x, y),
                None => {
                    let c = b.compare(CompareOp::Ne, x, y);
                    b.select(c, x, y)
                }
            });
        }
    }
}

#[test]
fn casts_between_all_types() {
    for d in ELEMS {
        let (x, y) = pairs(d);
        let outputs: Vec<_> = ELEMS
            .iter()
            .map(|&to| (format!("cast to {to}"), to, each_pair(&x, &y, |x, _| Some(cast(d, to, x)))))
            .collect();
        for lanes in [1, 8] {
            run_case(d, &x, &y, lanes, &Case { outputs: outputs.clone() }, |b, i, x, _| b.cast(ELEMS[i], x));
        }
    }
}

#[test]
fn halves_convert_all_values_exactly_and_round_once() {
    for d in [DType::F16, DType::BF16] {
        let all: Vec<Num> = (0..=u16::MAX).map(|b| decode(d, &b.to_le_bytes())).collect();
        let outputs = vec![
            ("to f32".to_string(), DType::F32, all.iter().map(|&v| Some(v)).collect()),
            ("to f64".to_string(), DType::F64, all.iter().map(|&v| Some(v)).collect()),
        ];
        run_case(d, &all, &all, 8, &Case { outputs }, |b, i, x, _| b.cast([DType::F32, DType::F64][i], x));
    }
    // Bit patterns of f32 and f64 from a generator: all exponents, ties among them.
    let mut state = 9u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state ^ state >> 29
    };
    let f32s: Vec<Num> = (0..1 << 16)
        .map(|i| Float(f64::from(f32::from_bits(next() as u32 & if i % 2 == 0 { u32::MAX } else { 0xffff_f000 }))))
        .collect();
    let f64s: Vec<Num> = (0..1 << 16)
        .map(|i| {
            let scale = 2f64.powi((next() % 300) as i32 - 150);
            let odd = if i % 3 == 0 { 2f64.powi(-45) } else { 0.0 };
            Float((1.0 + (next() % 4096) as f64 / 4096.0 + odd) * scale)
        })
        .collect();
    for (d, values) in [(DType::F32, f32s), (DType::F64, f64s)] {
        let outputs =
            [DType::F16, DType::BF16].map(|to| (format!("to {to}"), to, values.iter().map(|&v| Some(v)).collect()));
        run_case(d, &values, &values, 8, &Case { outputs: outputs.into() }, |b, i, x, _| {
            b.cast([DType::F16, DType::BF16][i], x)
        });
    }
}

#[test]
fn lanes_are_reduced_by_halves() {
    // The tree's order shows in the sum: in order from the left it would be 0.
    let x: Vec<f32> = vec![1e8, 1.0, 2.0, 4.0, -1e8, 8.0, 16.0, 32.0];
    let tree = {
        let mut v = x.clone();
        while v.len() > 1 {
            let (a, b) = v.split_at(v.len() / 2);
            v = a.iter().zip(b).map(|(a, b)| a + b).collect();
        }
        v[0]
    };
    let mut b = kernel("reduce");
    let xb = b.buffer(global("x", DType::F32, dim(8), Access::Read, 4));
    let ob = b.buffer(global("o", DType::F32, dim(4), Access::Write, 4));
    let zero = b.index(0);
    let v = b.push(Ty::vector(DType::F32, 8), Inst::Load { buf: xb, index: vec![zero] });
    for (i, op) in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min].into_iter().enumerate() {
        let r = b.reduce_lanes(op, v);
        let at = b.index(i as i64);
        b.store(ob, vec![at], r);
    }
    let k = b.finish();
    for target in targets() {
        let (mx, mo) = (Memory::of_f32(&x), Memory::new(16));
        assert_eq!(run(&*compile_for(&single(k.clone()), &target), &[mx.address(), mo.address()]), 0);
        let product = ((1e8f32 * -1e8) * (2.0 * 16.0)) * ((1.0 * 8.0) * (4.0 * 32.0));
        assert_eq!(mo.f32s(), [tree, product, 1e8, -1e8]);
    }
    assert_eq!(tree, 63.0);
}

#[test]
fn fma_rounds_once() {
    // The product's last bits survive only without a rounding in between.
    let x: Vec<Num> = [1.0 + 2f64.powi(-12), 3.0, f64::INFINITY, 0.1].map(|v| Float(f64::from(v as f32))).repeat(2);
    let y: Vec<Num> = [1.0 + 2f64.powi(-12), -1.0 / 3.0, 0.0, 0.1].map(|v| Float(f64::from(v as f32))).repeat(2);
    let exact = each_pair(&x, &y, |x, y| match (x, y) {
        (Float(x), Float(y)) => Some(Float(f64::from((x as f32).mul_add(y as f32, -1.0)))),
        _ => None,
    });
    let outputs = vec![("fma".to_string(), DType::F32, exact)];
    for lanes in [1, 8] {
        run_case(DType::F32, &x, &y, lanes, &Case { outputs: outputs.clone() }, |b, _, x, y| {
            let ty = b.ty(x);
            let c = b.push(ty, Inst::ConstFloat(-1.0));
            b.fma(x, y, c)
        });
    }
}

#[test]
fn an_operation_without_an_instruction_is_an_error_that_names_kernel_and_operation() {
    for op in [UnaryOp::Exp, UnaryOp::Tanh, UnaryOp::Lgamma] {
        let mut b = kernel("k1");
        let xb = b.buffer(global("x", DType::F32, dim(1), Access::ReadWrite, 4));
        let zero = b.index(0);
        let x = b.load(xb, vec![zero]);
        let y = b.unary(op, x);
        b.store(xb, vec![zero], y);
        let options = kiln_codegen::llvm::Options::default();
        let e = kiln_codegen::llvm::compile_object(&single(b.finish()), &kiln_codegen::llvm::host_target(), &options);
        let text = format!("{:#}", e.expect_err("refused"));
        assert!(text.contains("kernel `k1`") && text.contains(&format!("`{op}`")), "{text}");
    }
}

/// Extrema against constants take other ways than those of two values.
#[test]
fn extrema_with_constants() {
    let x: Vec<Num> = [0.0, -0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 6.0].map(Float).to_vec();
    for op in [BinaryOp::Max, BinaryOp::Min] {
        let constants = [0.0, -0.0, 6.0, -1.0, f64::INFINITY, f64::NAN];
        let outputs: Vec<_> = constants
            .iter()
            .map(|&c| {
                (format!("{op} with {c:?}"), DType::F32, each_pair(&x, &x, |x, _| binary(op, DType::F32, x, Float(c))))
            })
            .collect();
        for swapped in [false, true] {
            run_case(DType::F32, &x, &x, 8, &Case { outputs: outputs.clone() }, |b, i, x, _| {
                let ty = b.ty(x);
                let c = b.push(ty, Inst::ConstFloat(constants[i]));
                if swapped { b.binary(op, c, x) } else { b.binary(op, x, c) }
            });
        }
    }
}

/// LLVM must not undo the printed forms: max(x, 0), max(x, y), min(x, y) on AVX2.
#[test]
#[cfg(target_arch = "x86_64")]
fn extrema_are_short() {
    use kiln_codegen::llvm::{Emit, Options, compile_object};
    // (operation, against 0, fast) and the instructions: extrema, comparisons, additions, blends
    let cases = [
        (BinaryOp::Max, true, false, [1, 0, 1, 0]),
        (BinaryOp::Max, true, true, [1, 0, 0, 0]),
        (BinaryOp::Min, true, false, [1, 0, 0, 0]),
        (BinaryOp::Max, false, false, [2, 1, 0, 0]),
        (BinaryOp::Min, false, false, [2, 0, 0, 0]),
        (BinaryOp::Max, false, true, [1, 1, 0, 1]),
    ];
    for (op, zero_operand, math_fast, want) in cases {
        let mut b = kernel("extremum");
        let x = b.buffer(global("x", DType::F32, dim(8), Access::Read, 32));
        let y = b.buffer(global("y", DType::F32, dim(8), Access::Read, 32));
        let out = b.buffer(global("o", DType::F32, dim(8), Access::Write, 32));
        let zero = b.index(0);
        let ty = Ty::vector(DType::F32, 8);
        let vx = b.push(ty, Inst::Load { buf: x, index: vec![zero] });
        let other = if zero_operand { Inst::ConstFloat(0.0) } else { Inst::Load { buf: y, index: vec![zero] } };
        let vy = b.push(ty, other);
        let r = b.binary(op, vx, vy);
        b.store(out, vec![zero], r);
        let target = kiln_codegen::target::Target {
            cpu: "haswell".into(),
            features: String::new(),
            vector_bytes: 32,
            ..kiln_codegen::llvm::host_target()
        };
        let options = Options { emit: Emit::Asm, math_fast, ..Options::default() };
        let text =
            String::from_utf8(compile_object(&single(b.finish()), &target, &options).expect("compiles")).expect("text");
        let count = |prefix: &str| text.lines().filter(|l| l.trim_start().starts_with(prefix)).count();
        let got = [count("vmax") + count("vmin"), count("vcmp"), count("vadd"), count("vblend")];
        assert_eq!(got, want, "{op}, zero {zero_operand}, fast {math_fast}\n{text}");
    }
}
