//! Every machine operation on every element type, as scalars and as vectors of several widths, against the reference
//! semantics of the scalar vocabulary; conversions of f16 and bf16 on all inputs against the `half` crate.

use crate::ELEMS;
use crate::cranelift_support::*;
use kiln_codegen::cranelift::{OptLevel, Options, legal_lanes};
use kiln_ir::DType;
use kiln_ir::loops::{Inst, Kernel, KernelBuilder, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use kiln_ir::scalar_eval::Scalar;

/// Values per kernel: a multiple of the most lanes tested.
const N: usize = 256;

/// Lane counts: a scalar, part of a register, a full one, two and four.
fn lane_counts(elem: DType) -> Vec<u16> {
    let full = legal_lanes(elem).expect("plain");
    let mut all = vec![1, 2, 4, full, 2 * full, 4 * full];
    all.sort();
    all.dedup();
    all.retain(|&l| l <= 64);
    all
}

/// Edge values first, then random bits; for floats also random values of ordinary size.
fn values(elem: DType, seed: u64) -> Vec<Scalar> {
    let edge: Vec<f64> = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        3.0,
        7.0,
        -7.0,
        127.0,
        128.0,
        -128.0,
        -129.0,
        255.0,
        256.0,
        32767.0,
        32768.0,
        -32769.0,
        65504.0,
        65520.0,
        65536.0,
        2147483647.0,
        2147483648.0,
        -2147483649.0,
        4294967296.0,
        9.3e18,
        -9.3e18,
        1.9e19,
        1e-8,
        -6e-8,
        1e-40,
        3.4e38,
        -3.5e38,
        1e300,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let mut r = Random(seed);
    (0..N)
        .map(|i| {
            let bits = r.next();
            if elem == DType::Bool {
                return Scalar::Bool(bits >> 40 & 1 == 1);
            }
            if elem.is_float() {
                let x = match (edge.get(i), i % 3) {
                    (Some(&x), _) => x,
                    (None, 0) => return Scalar::load(elem, &bits.to_ne_bytes()).expect("8 bytes"),
                    (None, _) => f64::from(r.float()) * 100.0,
                };
                return Scalar::F64(x).cast(elem).expect("a float");
            }
            let edge = [
                0,
                1,
                -1,
                2,
                -2,
                3,
                7,
                -7,
                i64::MAX,
                i64::MIN,
                127,
                128,
                -128,
                255,
                32767,
                -32768,
                65535,
                2147483647,
                -2147483648,
                4294967295,
            ];
            let x = match (edge.get(i), i % 3) {
                (Some(&x), _) => x,
                (None, 0) => (bits >> 58) as i64 - 32,
                (None, _) => bits as i64,
            };
            Scalar::I64(x).cast(elem).expect("an integer")
        })
        .collect()
}

/// The same values in another order, so that operations of two meet all kinds of pairs.
fn shuffled(mut xs: Vec<Scalar>, seed: u64) -> Vec<Scalar> {
    let mut r = Random(seed);
    for i in (1..xs.len()).rev() {
        xs.swap(i, (r.next() % (i as u64 + 1)) as usize);
    }
    xs
}

fn bits(x: Scalar) -> u64 {
    let mut b = [0; 8];
    assert!(x.store(&mut b));
    u64::from_ne_bytes(b)
}

fn is_nan(x: Scalar) -> bool {
    x.dtype().is_float() && Scalar::unary(UnaryOp::IsNan, x) == Ok(Scalar::Bool(true))
}

/// Equal bits, or both NaN; `ulps` apart at most for inexact operations.
fn same(got: Scalar, want: Scalar, ulps: u64) -> bool {
    (is_nan(got) && is_nan(want)) || bits(got).abs_diff(bits(want)) <= ulps
}

/// A kernel with its inputs and what it must give.
struct Case {
    kernel: Kernel,
    inputs: Vec<Vec<Scalar>>,
    want: Vec<Scalar>,
    out: DType,
    ulps: u64,
}

fn check(cases: Vec<Case>, opt: OptLevel) {
    assert!(!cases.is_empty());
    // Some hundred kernels a program: one compilation, one run.
    let mut cases = cases.into_iter().peekable();
    while cases.peek().is_some() {
        let part: Vec<Case> = cases.by_ref().take(400).collect();
        let p = program_of(part.iter().map(|c| c.kernel.clone()).collect());
        let code = compile(&p, &Options { opt, ..options() });
        let inputs: Vec<Vec<u8>> = part.iter().flat_map(|c| c.inputs.iter().map(|x| bytes_of(x))).collect();
        let (status, outputs) = run(&p, &*code, &[], &inputs, std::ptr::null());
        assert_eq!(status, 0);
        for (c, out) in part.iter().zip(&outputs) {
            let got = scalars_of(c.out, out);
            assert_eq!(got.len(), c.want.len());
            for (i, (&g, &w)) in got.iter().zip(&c.want).enumerate() {
                let args: Vec<Scalar> = c.inputs.iter().filter_map(|x| x.get(i).copied()).collect();
                assert!(
                    same(g, w, c.ulps),
                    "{} at {i}: {args:?} gives {g:?} {:#x}, not {w:?} {:#x}",
                    c.kernel.name,
                    bits(g),
                    bits(w)
                );
            }
        }
    }
}

/// Operations that the machine level has; the others are expanded before it.
const UNARY: [UnaryOp; 20] = [
    UnaryOp::Neg,
    UnaryOp::Abs,
    UnaryOp::Sign,
    UnaryOp::BitNot,
    UnaryOp::Not,
    UnaryOp::PopCount,
    UnaryOp::Floor,
    UnaryOp::Ceil,
    UnaryOp::Rint,
    UnaryOp::Trunc,
    UnaryOp::Sqrt,
    UnaryOp::Rsqrt,
    UnaryOp::Reciprocal,
    UnaryOp::Square,
    UnaryOp::IsNan,
    UnaryOp::IsInf,
    UnaryOp::IsFinite,
    UnaryOp::Real,
    UnaryOp::Imag,
    UnaryOp::Conj,
];

const BINARY: [BinaryOp; 22] = [
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::FloorDiv,
    BinaryOp::FloorMod,
    BinaryOp::TruncMod,
    BinaryOp::DivNoNan,
    BinaryOp::MulNoNan,
    BinaryOp::Max,
    BinaryOp::Min,
    BinaryOp::SquaredDifference,
    BinaryOp::Xdivy,
    BinaryOp::BitAnd,
    BinaryOp::BitOr,
    BinaryOp::BitXor,
    BinaryOp::Shl,
    BinaryOp::Shr,
    BinaryOp::And,
    BinaryOp::Or,
    BinaryOp::Xor,
    BinaryOp::Max,
];

fn divides(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::FloorMod | BinaryOp::TruncMod)
}

fn unary_cases() -> Vec<Case> {
    let mut cases = vec![];
    for elem in ELEMS {
        for op in UNARY.into_iter().filter(|op| op.accepts(elem)) {
            let x = values(elem, 1);
            let want: Vec<Scalar> = x.iter().map(|&x| Scalar::unary(op, x).expect("accepted")).collect();
            let out = op.result(elem);
            for lanes in lane_counts(elem) {
                let name = format!("{}_{elem}_{lanes}", op.name());
                let kernel = map_kernel(&name, &[elem], out, N, lanes, |b, v| b.unary(op, v[0]));
                let ulps = u64::from(op == UnaryOp::Rsqrt);
                cases.push(Case { kernel, inputs: vec![x.clone()], want: want.clone(), out, ulps });
            }
        }
    }
    cases
}

fn binary_cases() -> Vec<Case> {
    let mut cases = vec![];
    for elem in ELEMS {
        for op in BINARY[..21].iter().copied().filter(|op| op.accepts(elem)) {
            let (x, mut y) = (values(elem, 2), shuffled(values(elem, 3), 4));
            if divides(op) && elem.is_int() {
                let three = Scalar::I64(3).cast(elem).expect("an integer");
                y.iter_mut().filter(|y| bits(**y) == 0).for_each(|y| *y = three);
            }
            let want: Vec<Scalar> =
                x.iter().zip(&y).map(|(&x, &y)| Scalar::binary(op, x, y).expect("accepted")).collect();
            for lanes in lane_counts(elem) {
                let name = format!("{}_{elem}_{lanes}", op.name());
                let kernel = map_kernel(&name, &[elem, elem], elem, N, lanes, |b, v| b.binary(op, v[0], v[1]));
                cases.push(Case { kernel, inputs: vec![x.clone(), y.clone()], want: want.clone(), out: elem, ulps: 0 });
            }
        }
    }
    cases
}

#[test]
fn unary_operations() {
    check(unary_cases(), OptLevel::Speed);
}

#[test]
fn binary_operations() {
    check(binary_cases(), OptLevel::Speed);
}

#[test]
fn operations_without_optimization() {
    check(unary_cases(), OptLevel::None);
    check(binary_cases(), OptLevel::None);
}

/// The constant as the printer sees it: for vectors a constant of the vector's type, and a splat scalar.
fn constant(b: &mut KernelBuilder, elem: DType, lanes: u16, c: f64, splat: bool) -> V {
    let inst = if elem.is_float() { Inst::ConstFloat(c) } else { Inst::ConstInt(c as i64) };
    if splat && lanes > 1 {
        let s = b.push(Ty::scalar(elem), inst);
        return b.push(Ty::vector(elem, lanes), Inst::Splat(s));
    }
    b.push(Ty::vector(elem, lanes), inst)
}

#[test]
fn constant_operands() {
    let mut cases = vec![];
    for elem in ELEMS.into_iter().filter(|&e| e != DType::Bool) {
        let (ops, constants): (&[BinaryOp], &[f64]) = if elem.is_float() {
            (&[BinaryOp::Max, BinaryOp::Min], &[0.0, -0.0, 6.0, -1.5, f64::NAN, f64::INFINITY])
        } else {
            (
                &[
                    BinaryOp::Div,
                    BinaryOp::FloorDiv,
                    BinaryOp::FloorMod,
                    BinaryOp::TruncMod,
                    BinaryOp::Shl,
                    BinaryOp::Shr,
                    BinaryOp::Max,
                ],
                &[1.0, -1.0, 2.0, 3.0, 8.0, 10.0, 64.0, 100.0, -3.0, -4.0],
            )
        };
        for &op in ops {
            for &c in constants {
                let scalar = if elem.is_float() { Scalar::F64(c).cast(elem) } else { Scalar::I64(c as i64).cast(elem) }
                    .expect("a constant");
                if divides(op) && bits(scalar) == 0 {
                    continue;
                }
                for lanes in [1, legal_lanes(elem).expect("plain")] {
                    for (splat, left) in [(false, false), (true, false), (true, true)] {
                        if left && !op.is_commutative() {
                            continue;
                        }
                        let x = values(elem, 5);
                        let want = x.iter().map(|&x| Scalar::binary(op, x, scalar).expect("accepted")).collect();
                        let name = format!("{}_{elem}_{lanes}_{c:?}_{splat}_{left}", op.name());
                        let kernel = map_kernel(&name, &[elem], elem, N, lanes, |b, v| {
                            let c = constant(b, elem, lanes, c, splat);
                            if left { b.binary(op, c, v[0]) } else { b.binary(op, v[0], c) }
                        });
                        cases.push(Case { kernel, inputs: vec![x], want, out: elem, ulps: 0 });
                    }
                }
            }
        }
    }
    check(cases, OptLevel::Speed);
}

#[test]
fn a_shift_by_one_scalar_for_all_lanes() {
    let mut cases = vec![];
    for elem in ELEMS.into_iter().filter(|e| e.is_int()) {
        for op in [BinaryOp::Shl, BinaryOp::Shr] {
            let (x, lanes) = (values(elem, 6), legal_lanes(elem).expect("plain"));
            let by = Scalar::I64(5).cast(elem).expect("an integer");
            let want = x.iter().map(|&x| Scalar::binary(op, x, by).expect("accepted")).collect();
            let kernel = map_kernel(&format!("{}_{elem}", op.name()), &[elem, elem], elem, N, lanes, |b, v| {
                let s = b.push(Ty::scalar(elem), Inst::Extract(v[1], 0));
                let s = b.push(Ty::vector(elem, lanes), Inst::Splat(s));
                b.binary(op, v[0], s)
            });
            cases.push(Case { kernel, inputs: vec![x, vec![by; N]], want, out: elem, ulps: 0 });
        }
    }
    check(cases, OptLevel::Speed);
}

#[test]
fn comparisons_and_selections() {
    let mut cases = vec![];
    for elem in ELEMS {
        let (x, y) = (values(elem, 7), shuffled(values(elem, 8), 9));
        for &op in CompareOp::ALL.iter().filter(|op| op.accepts(elem)) {
            let hit: Vec<bool> =
                x.iter().zip(&y).map(|(&x, &y)| Scalar::compare(op, x, y).expect("accepted")).collect();
            for lanes in lane_counts(elem) {
                let kernel = map_kernel(
                    &format!("{}_{elem}_{lanes}", op.name()),
                    &[elem, elem],
                    DType::Bool,
                    N,
                    lanes,
                    |b, v| b.compare(op, v[0], v[1]),
                );
                let want = hit.iter().map(|&h| Scalar::Bool(h)).collect();
                cases.push(Case { kernel, inputs: vec![x.clone(), y.clone()], want, out: DType::Bool, ulps: 0 });
                // The mask chooses among elements of another width.
                for data in [DType::F32, DType::I64, DType::U8, DType::F16, DType::Bool] {
                    if usize::from(lanes) * data.size() > 256 {
                        continue;
                    }
                    let (s, t) = (values(data, 10), values(data, 11));
                    let want = hit.iter().zip(s.iter().zip(&t)).map(|(&h, (&s, &t))| if h { s } else { t }).collect();
                    let kernel = map_kernel(
                        &format!("select_{}_{elem}_{data}_{lanes}", op.name()),
                        &[elem, elem, data, data],
                        data,
                        N,
                        lanes,
                        |b, v| {
                            let c = b.compare(op, v[0], v[1]);
                            b.select(c, v[2], v[3])
                        },
                    );
                    cases.push(Case { kernel, inputs: vec![x.clone(), y.clone(), s, t], want, out: data, ulps: 0 });
                }
            }
        }
    }
    check(cases, OptLevel::Speed);
}

#[test]
fn casts_between_all_types() {
    let mut cases = vec![];
    for from in ELEMS {
        for to in ELEMS.into_iter().filter(|&t| t != from) {
            for lanes in [1, 2, 4, 8, 16] {
                let x = values(from, 12);
                let want = x.iter().map(|&x| x.cast(to).expect("plain")).collect();
                let kernel =
                    map_kernel(&format!("cast_{from}_{to}_{lanes}"), &[from], to, N, lanes, |b, v| b.cast(to, v[0]));
                cases.push(Case { kernel, inputs: vec![x], want, out: to, ulps: 0 });
            }
        }
    }
    check(cases, OptLevel::Speed);
}

#[test]
fn casts_to_bf16_and_f16_round_once() {
    // Halfway cases whose tie is broken only by a bit that an f32 or f64 in between would lose.
    let cases = [
        (Scalar::I64((1 << 60) + (1 << 52) + 1), DType::BF16, ((1u64 << 60) + (1 << 53)) as f64),
        (Scalar::I64(-(1 << 60) - (1 << 52) - 1), DType::BF16, -(((1u64 << 60) + (1 << 53)) as f64)),
        (Scalar::I64((1 << 60) + (1 << 52)), DType::BF16, (1u64 << 60) as f64),
        (Scalar::U64((1 << 63) + (1 << 55) + 1), DType::BF16, ((1u64 << 63) + (1 << 56)) as f64),
        (Scalar::I32((1 << 30) + (1 << 22) + 1), DType::BF16, ((1u64 << 30) + (1 << 23)) as f64),
        (Scalar::F64(1.0 + 2f64.powi(-8) + 2f64.powi(-40)), DType::BF16, 1.0 + 2f64.powi(-7)),
        (Scalar::F64(1.0 + 2f64.powi(-11) + 2f64.powi(-40)), DType::F16, 1.0 + 2f64.powi(-10)),
        (Scalar::F64(-(1.0 + 2f64.powi(-11))), DType::F16, -1.0),
        (Scalar::F64(2f64.powi(-25) + 2f64.powi(-70)), DType::F16, 2f64.powi(-24)),
        (Scalar::F64(65520.0 - 2f64.powi(-30)), DType::F16, 65504.0),
    ];
    let cases = cases.into_iter().enumerate().map(|(i, (x, to, want))| {
        let want = Scalar::F64(want).cast(to).expect("a float");
        let kernel = map_kernel(&format!("round_once_{i}"), &[x.dtype()], to, 4, 4, |b, v| b.cast(to, v[0]));
        Case { kernel, inputs: vec![vec![x; 4]], want: vec![want; 4], out: to, ulps: 0 }
    });
    check(cases.collect(), OptLevel::Speed);
}

#[test]
fn all_halves_against_the_half_crate() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let input: Vec<u8> = all.iter().flat_map(|b| b.to_ne_bytes()).collect();
    for (elem, widen) in [
        (DType::F16, (|b| half::f16::from_bits(b).to_f32()) as fn(u16) -> f32),
        (DType::BF16, |b| half::bf16::from_bits(b).to_f32()),
    ] {
        for lanes in [1, 4, 8] {
            // Up: equal bits, except that NaN may have any payload.
            let up = map_kernel("up", &[elem], DType::F32, all.len(), lanes, |b, v| b.cast(DType::F32, v[0]));
            let p = program_of(vec![up]);
            let (status, out) = run(&p, &*compile(&p, &options()), &[], std::slice::from_ref(&input), std::ptr::null());
            assert_eq!(status, 0);
            for (&b, got) in all.iter().zip(f32_of(&out[0])) {
                let want = widen(b);
                assert!(
                    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                    "{elem} {b:#06x}: {got} not {want}"
                );
            }
            // And down again: every half comes back.
            let down = map_kernel("down", &[DType::F32], elem, all.len(), lanes, |b, v| b.cast(elem, v[0]));
            let p = program_of(vec![down]);
            let code = compile(&p, &options());
            let (status, back) = run(&p, &*code, &[], &[out[0].clone()], std::ptr::null());
            assert_eq!(status, 0);
            for (&b, c) in all.iter().zip(back[0].chunks_exact(2)) {
                let got = u16::from_ne_bytes([c[0], c[1]]);
                assert!(
                    got == b || (widen(b).is_nan() && widen(got).is_nan()),
                    "{elem} {b:#06x} comes back as {got:#06x}"
                );
            }
            // Between neighbours: the midpoint, and one f32 below and above it, in both signs.
            let mut between = vec![];
            for b in 0..0x7fffu16 {
                let (x, y) = (widen(b), widen(b + 1));
                if x.is_finite() && y.is_finite() {
                    let mid = ((f64::from(x) + f64::from(y)) / 2.0) as f32;
                    between.extend([mid, f32::from_bits(mid.to_bits() - 1), f32::from_bits(mid.to_bits() + 1), -mid]);
                }
            }
            between.resize(between.len().next_multiple_of(8), f32::INFINITY);
            let down = map_kernel("down", &[DType::F32], elem, between.len(), lanes, |b, v| b.cast(elem, v[0]));
            let p = program_of(vec![down]);
            let (status, out) = run(&p, &*compile(&p, &options()), &[], &[f32_bytes(&between)], std::ptr::null());
            assert_eq!(status, 0);
            for (&x, c) in between.iter().zip(out[0].chunks_exact(2)) {
                let got = u16::from_ne_bytes([c[0], c[1]]);
                let want = if elem == DType::F16 {
                    half::f16::from_f32(x).to_bits()
                } else {
                    half::bf16::from_f32(x).to_bits()
                };
                assert_eq!(got, want, "{elem} of {x:e}");
            }
        }
    }
}

#[test]
fn lane_reductions_combine_halves() {
    let mut cases = vec![];
    for elem in ELEMS {
        for &op in ReduceOp::ALL.iter().filter(|op| op.accepts(elem)) {
            for lanes in lane_counts(elem) {
                let x = values(elem, 13);
                // One result for each group, in every lane of it.
                let mut want = vec![];
                for group in x.chunks(lanes.into()) {
                    let mut g = group.to_vec();
                    while g.len() > 1 {
                        let (a, b) = g.split_at(g.len() / 2);
                        g = a
                            .iter()
                            .zip(b)
                            .map(|(&a, &b)| Scalar::binary(op.combiner(), a, b).expect("accepted"))
                            .collect();
                    }
                    want.extend(vec![g[0]; group.len()]);
                }
                let kernel =
                    map_kernel(&format!("reduce_{}_{elem}_{lanes}", op.name()), &[elem], elem, N, lanes, |b, v| {
                        let r = b.reduce_lanes(op, v[0]);
                        if lanes > 1 { b.push(Ty::vector(elem, lanes), Inst::Splat(r)) } else { r }
                    });
                cases.push(Case { kernel, inputs: vec![x], want, out: elem, ulps: 0 });
            }
        }
    }
    check(cases, OptLevel::Speed);
}

#[test]
fn lanes_move_as_told() {
    let mut cases = vec![];
    for elem in ELEMS {
        for lanes in lane_counts(elem).into_iter().filter(|&l| l >= 4) {
            let x = values(elem, 14);
            let ty = Ty::vector(elem, lanes);
            // The second quarter to the third lane on: insert, extract, slices at odd places.
            let last = lanes - 1;
            let want: Vec<Scalar> = x
                .chunks(lanes.into())
                .flat_map(|g| {
                    let mut g = g.to_vec();
                    g[1] = g[usize::from(last)];
                    g
                })
                .collect();
            let kernel = map_kernel(&format!("insert_{elem}_{lanes}"), &[elem], elem, N, lanes, |b, v| {
                let s = b.push(Ty::scalar(elem), Inst::Extract(v[0], last));
                b.push(ty, Inst::Insert(v[0], s, 1))
            });
            cases.push(Case { kernel, inputs: vec![x.clone()], want, out: elem, ulps: 0 });
            for at in [1, lanes / 2, lanes / 2 + 1] {
                let half = lanes / 2;
                if at + half > lanes || half < 2 {
                    continue;
                }
                let (from, n) = (usize::from(at), usize::from(half));
                let want: Vec<Scalar> = x
                    .chunks(lanes.into())
                    .flat_map(|g| {
                        let mut h = g[from..from + n].to_vec();
                        h[0] = g[0];
                        [h.clone(), h].concat()
                    })
                    .collect();
                // Each half is stored for itself: the loop is over the first half of every group.
                let buffers = vec![
                    buffer("x", elem, N, kiln_ir::loops::Space::Global, kiln_ir::loops::Access::Read),
                    buffer("y", elem, N, kiln_ir::loops::Space::Global, kiln_ir::loops::Access::Write),
                ];
                let mut b = crate::cranelift_support::kernel(&format!("slice_{elem}_{lanes}_{at}"), buffers, &[]);
                for_loop(&mut b, 0, N as i64, i64::from(lanes), 1, &[], |b, i, _| {
                    let v = load(b, 0, i, lanes);
                    let s = b.push(Ty::vector(elem, half), Inst::Slice(v, at));
                    let first = b.push(Ty::scalar(elem), Inst::Extract(v, 0));
                    let s = b.push(Ty::vector(elem, half), Inst::Insert(s, first, 0));
                    store(b, 1, i, s);
                    let h = b.index(i64::from(half));
                    let j = b.add(i, h);
                    store(b, 1, j, s);
                    vec![]
                });
                cases.push(Case { kernel: b.finish(), inputs: vec![x.clone()], want, out: elem, ulps: 0 });
            }
        }
    }
    check(cases, OptLevel::Speed);
}

#[test]
fn constants_iota_and_bitcasts() {
    let mut cases = vec![];
    for elem in ELEMS {
        for lanes in lane_counts(elem) {
            let n = usize::from(lanes);
            let x = values(elem, 15);
            if elem.is_int() {
                let want = (0..N).map(|i| Scalar::I64((i % n) as i64).cast(elem).expect("an integer")).collect();
                let kernel = map_kernel(&format!("iota_{elem}_{lanes}"), &[elem], elem, N, lanes, |b, _| {
                    b.push(Ty::vector(elem, lanes), Inst::IotaLanes)
                });
                cases.push(Case { kernel, inputs: vec![x.clone()], want, out: elem, ulps: 0 });
            }
            let (inst, want) = match elem {
                DType::Bool => (Inst::ConstInt(1), Scalar::Bool(true)),
                e if e.is_float() => (Inst::ConstFloat(-2.625), Scalar::F64(-2.625).cast(e).expect("a float")),
                e => (Inst::ConstInt(-3), Scalar::I64(-3).cast(e).expect("an integer")),
            };
            let kernel = map_kernel(&format!("const_{elem}_{lanes}"), &[elem], elem, N, lanes, |b, _| {
                b.push(Ty::vector(elem, lanes), inst)
            });
            cases.push(Case { kernel, inputs: vec![x.clone()], want: vec![want; N], out: elem, ulps: 0 });
            for to in ELEMS
                .into_iter()
                .filter(|t| t.size() == elem.size() && *t != elem && *t != DType::Bool && elem != DType::Bool)
            {
                let want = scalars_of(to, &bytes_of(&x));
                let kernel = map_kernel(&format!("bitcast_{elem}_{to}_{lanes}"), &[elem], to, N, lanes, |b, v| {
                    b.bitcast(to, v[0])
                });
                cases.push(Case { kernel, inputs: vec![x.clone()], want, out: to, ulps: 0 });
            }
        }
    }
    check(cases, OptLevel::Speed);
}

#[test]
fn fused_multiply_add_rounds_once() {
    if !kiln_codegen::cranelift::host_target().expect("a supported machine").fma {
        eprintln!("skipped: this machine has no fused multiply-add");
        return;
    }
    let mut cases = vec![];
    for elem in [DType::F32, DType::F64] {
        for lanes in lane_counts(elem) {
            let (x, y, z) = (values(elem, 16), shuffled(values(elem, 17), 18), shuffled(values(elem, 19), 20));
            let want = (0..N).map(|i| Scalar::fma(x[i], y[i], z[i]).expect("floats")).collect();
            let kernel =
                map_kernel(&format!("fma_{elem}_{lanes}"), &[elem; 3], elem, N, lanes, |b, v| b.fma(v[0], v[1], v[2]));
            cases.push(Case { kernel, inputs: vec![x, y, z], want, out: elem, ulps: 0 });
        }
    }
    check(cases, OptLevel::Speed);
}

#[test]
fn operations_that_must_be_expanded_are_refused() {
    for op in [UnaryOp::Exp, UnaryOp::Tanh, UnaryOp::Erf] {
        let k = map_kernel("transcendental", &[DType::F32], DType::F32, 4, 4, |b, v| b.unary(op, v[0]));
        let e = kiln_codegen::cranelift::jit(
            &program_of(vec![k]),
            &kiln_codegen::cranelift::host_target().expect("a supported machine"),
            &options(),
        );
        let e = format!("{:#}", e.err().expect("refused"));
        assert!(
            e.contains(op.name()) && e.contains("expanded before the machine level") && e.contains("transcendental"),
            "{e}"
        );
    }
}
