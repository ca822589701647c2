//! Control flow, memory accesses, micro-kernel calls and checks of printed kernels; a register-tile product.

use std::time::Instant;

use crate::cranelift_support::*;
use kiln_codegen::cranelift::{OptLevel, Options, host_target, host_tiles, jit};
use kiln_codegen::program::{Place, Step};
use kiln_ir::loops::inst::CallTile;
use kiln_ir::loops::{Access, BufId, Inst, Kernel, KernelBuilder, Level, Space, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::scalar_eval::Scalar;
use kiln_ir::{DType, Dim};

const LEVELS: [OptLevel; 3] = [OptLevel::None, OptLevel::Speed, OptLevel::Auto];

fn i64_bytes(xs: &[i64]) -> Vec<u8> {
    xs.iter().flat_map(|x| x.to_ne_bytes()).collect()
}

fn i64_of(bytes: &[u8]) -> Vec<i64> {
    scalars_of(DType::I64, bytes).into_iter().map(|s| if let Scalar::I64(x) = s { x } else { panic!("i64") }).collect()
}

/// Runs a kernel whose read buffers are `inputs` at both levels of optimization; the outputs must agree.
fn run_one(k: Kernel, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let p = program_of(vec![k]);
    let mut results = vec![];
    for opt in LEVELS {
        let code = compile(&p, &Options { opt, ..options() });
        assert!(code.code_bytes() > 0);
        let (status, out) = run(&p, &*code, &[], inputs, std::ptr::null());
        assert_eq!(status, 0);
        results.push(out);
    }
    assert!(results.iter().all(|r| *r == results[0]), "optimized and plain code differ");
    results.remove(0)
}

fn global(name: &str, dtype: DType, n: usize, access: Access) -> kiln_ir::loops::Buffer {
    buffer(name, dtype, n, Space::Global, access)
}

#[test]
fn loops_carry_values_and_unroll() {
    for unroll in [1u16, 2, 3, 6] {
        // Fibonacci in two carried values, a scaled copy through offsets that depend on the induction variable.
        let mut b = kernel(
            "loops",
            vec![global("x", DType::I64, 64, Access::Read), global("y", DType::I64, 64, Access::Write)],
            &[],
        );
        let (zero, one) = (b.index(0), b.index(1));
        let last = for_loop(&mut b, 3, 39, 3, unroll, &[zero, one], |b, i, c| {
            let next = b.add(c[0], c[1]);
            // x[2 i - 5] to y[i]
            let two = b.index(2);
            let five = b.index(5);
            let at = b.mul(i, two);
            let at = b.sub(at, five);
            let limit = b.index(64);
            let in_range = b.compare(CompareOp::Lt, at, limit);
            let v = if_else(b, in_range, |b| vec![load(b, 0, at, 1)], |b| vec![b.index(-1)]);
            store(b, 1, i, v[0]);
            vec![c[1], next]
        });
        let at = b.index(63);
        store(&mut b, 1, at, last[0]);
        let x: Vec<i64> = (0..64).map(|i| 1000 + i).collect();
        let y = i64_of(&run_one(b.finish(), &[i64_bytes(&x)])[0]);
        let mut want = vec![0; 64];
        let (mut f, mut g) = (0, 1);
        for i in (3..39).step_by(3) {
            want[i] = x.get(2 * i - 5).copied().unwrap_or(-1);
            (f, g) = (g, f + g);
        }
        want[63] = f;
        assert_eq!(y, want, "unroll {unroll}");
    }
}

#[test]
fn empty_loops_give_the_initial_values() {
    for (lo, hi) in [(5, 5), (7, 3), (i64::MIN / 2, i64::MIN / 2), (0, 0)] {
        let mut b = kernel(
            "empty",
            vec![global("bounds", DType::I64, 2, Access::Read), global("y", DType::I64, 2, Access::Write)],
            &[],
        );
        let (zero, one) = (b.index(0), b.index(1));
        let (l, h) = (load(&mut b, 0, zero, 1), load(&mut b, 0, one, 1));
        let seed = b.index(42);
        let r = loop_between(&mut b, l, h, 1, 1, &[seed], |b, _, _| vec![b.index(-1)]);
        store(&mut b, 1, zero, r[0]);
        // The same with bounds that are known when the kernel is printed.
        let r = for_loop(&mut b, lo, hi, 1, 1, &[seed], |b, _, _| vec![b.index(-1)]);
        store(&mut b, 1, one, r[0]);
        assert_eq!(i64_of(&run_one(b.finish(), &[i64_bytes(&[lo, hi])])[0]), [42, 42]);
    }
}

#[test]
fn vectors_and_masks_cross_blocks() {
    // Running maximum of f32x8 (two registers) with the mask of lanes that ever changed, chosen by a scalar condition.
    let (rows, lanes) = (6usize, 8u16);
    let n = rows * usize::from(lanes);
    let buffers = vec![
        global("x", DType::F32, n, Access::Read),
        global("max", DType::F32, 8, Access::Write),
        global("moved", DType::Bool, 8, Access::Write),
    ];
    let mut b = kernel("masks", buffers, &[]);
    let ty = Ty::vector(DType::F32, lanes);
    let low = b.push(ty, Inst::ConstFloat(0.25));
    let none = b.push(ty.with_elem(DType::Bool), Inst::ConstInt(0));
    let r = for_loop(&mut b, 0, n as i64, 8, 2, &[low, none], |b, i, c| {
        let v = load(b, 0, i, lanes);
        let above = b.compare(CompareOp::Gt, v, c[0]);
        let max = b.select(above, v, c[0]);
        let moved = b.binary(BinaryOp::Or, c[1], above);
        // Odd rows are dropped.
        let (one, zero, shift) = (b.index(1), b.index(0), b.index(3));
        let row = b.binary(BinaryOp::Shr, i, shift);
        let odd = b.binary(BinaryOp::BitAnd, row, one);
        let even = b.compare(CompareOp::Eq, odd, zero);
        if_else(b, even, |_| vec![max, moved], |_| vec![c[0], c[1]])
    });
    let zero = b.index(0);
    store(&mut b, 1, zero, r[0]);
    store(&mut b, 2, zero, r[1]);
    let mut random = Random(3);
    let x: Vec<f32> = (0..n).map(|_| random.float()).collect();
    let out = run_one(b.finish(), &[f32_bytes(&x)]);
    let mut want = [0.25f32; 8];
    for row in x.chunks(8).step_by(2) {
        want.iter_mut().zip(row).for_each(|(w, &v)| *w = w.max(v));
    }
    assert_eq!(f32_of(&out[0]), want);
    assert_eq!(out[1], want.map(|w| u8::from(w != 0.25)));
}

#[test]
fn offsets_fold_into_displacements_at_any_distance() {
    // y[i] = x[i + 7] + x[i - 3] + x[(i + 1) * 5 - 2 i - 3 i], with the constants on either side.
    let n = 256usize;
    let mut b = kernel(
        "offsets",
        vec![global("x", DType::I64, n, Access::Read), global("y", DType::I64, n, Access::Write)],
        &[],
    );
    for_loop(&mut b, 8, 104, 4, 4, &[], |b, i, _| {
        let [one, two, three, five, seven] = [1, 2, 3, 5, 7].map(|c| b.index(c));
        let p = b.add(seven, i);
        let q = b.sub(i, three);
        let r = b.add(i, one);
        let r = b.mul(five, r);
        let (i2, i3) = (b.mul(i, two), b.mul(three, i));
        let r = b.sub(r, i2);
        let r = b.sub(r, i3);
        let (u, v, w) = (load(b, 0, p, 1), load(b, 0, q, 1), load(b, 0, r, 1));
        let s = b.add(u, v);
        let s = b.add(s, w);
        store(b, 1, i, s);
        // Far beyond a 32-bit displacement and back: the sum is what counts.
        let far = b.index(1 << 40);
        let at = b.add(i, far);
        let back = b.sub(at, far);
        let back = b.add(back, one);
        let w = load(b, 0, back, 1);
        let at = b.add(i, two);
        store(b, 1, at, w);
        vec![]
    });
    let x: Vec<i64> = (0..n as i64).map(|i| i * i).collect();
    let y = i64_of(&run_one(b.finish(), &[i64_bytes(&x)])[0]);
    let mut want = vec![0; n];
    for i in (8..104).step_by(4) {
        want[i] = x[i + 7] + x[i - 3] + x[5];
        want[i + 2] = x[i + 1];
    }
    assert_eq!(y, want);
}

#[test]
fn gather_and_scatter_reach_single_elements() {
    for (elem, lanes) in [
        (DType::F32, 4u16),
        (DType::F64, 2),
        (DType::I32, 8),
        (DType::I8, 16),
        (DType::F16, 8),
        (DType::Bool, 4),
        (DType::I64, 1),
    ] {
        let n = 64usize;
        let buffers = vec![
            global("x", elem, n, Access::Read),
            global("at", DType::I64, n, Access::Read),
            global("g", elem, n, Access::Write),
            global("s", elem, n, Access::Write),
        ];
        let mut b = kernel("gather", buffers, &[]);
        for_loop(&mut b, 0, n as i64, i64::from(lanes), 1, &[], |b, i, _| {
            let at = load(b, 1, i, lanes);
            let g = b.push(Ty::vector(elem, lanes), Inst::Gather { buf: BufId(0), offsets: at });
            store(b, 2, i, g);
            let v = load(b, 0, i, lanes);
            b.push_effect(Inst::Scatter { buf: BufId(3), offsets: at, value: v });
            vec![]
        });
        let at: Vec<i64> = (0..n as i64).map(|i| (i * 37 + 5) % n as i64).collect();
        let x: Vec<Scalar> =
            (0..n as i64).map(|i| Scalar::I64(i * 3 % 7 * (i % 2)).cast(elem).expect("plain")).collect();
        let out = run_one(b.finish(), &[bytes_of(&x), i64_bytes(&at)]);
        let want: Vec<Scalar> = at.iter().map(|&i| x[i as usize]).collect();
        assert_eq!(scalars_of(elem, &out[0]), want, "gather of {elem}");
        let mut want = x.clone();
        at.iter().zip(&x).for_each(|(&i, &v)| want[i as usize] = v);
        assert_eq!(scalars_of(elem, &out[1]), want, "scatter of {elem}");
    }
}

#[test]
fn private_buffers_are_aligned_stack_slots() {
    // A transposition through two private buffers; larger than a page, so that the frame is probed.
    let n = 64usize;
    let mut buffers = vec![global("x", DType::F32, n * n, Access::Read), global("y", DType::F32, n * n, Access::Write)];
    buffers.push(buffer("odd", DType::I8, 3, Space::Private, Access::ReadWrite));
    buffers.push(buffer("tile", DType::F32, n * n, Space::Private, Access::ReadWrite));
    let mut b = kernel("private", buffers, &[]);
    let zero = b.index(0);
    let seven = b.push(Ty::scalar(DType::I8), Inst::ConstInt(7));
    store(&mut b, 2, zero, seven);
    for_loop(&mut b, 0, (n * n) as i64, 4, 4, &[], |b, i, _| {
        let v = load(b, 0, i, 4);
        store(b, 3, i, v);
        vec![]
    });
    for_loop(&mut b, 0, (n * n) as i64, 1, 1, &[], |b, i, _| {
        let side = b.index(n as i64);
        let (r, c) = (b.binary(BinaryOp::FloorDiv, i, side), b.binary(BinaryOp::FloorMod, i, side));
        let at = b.mul(c, side);
        let at = b.add(at, r);
        let v = load(b, 3, at, 1);
        store(b, 1, i, v);
        vec![]
    });
    let x: Vec<f32> = (0..n * n).map(|i| i as f32).collect();
    let y = f32_of(&run_one(b.finish(), &[f32_bytes(&x)])[0]);
    assert!((0..n * n).all(|i| y[i] == x[i % n * n + i / n]));
}

#[test]
fn a_failed_check_leaves_the_kernel_and_the_largest_status_is_reported() {
    // Task t checks x[t] != 0 (status 7) and x[t] < 100 (status 6), then writes.
    let n = 8usize;
    let mut b = kernel(
        "checked",
        vec![global("x", DType::I64, n, Access::Read), global("y", DType::I64, n, Access::Write)],
        &[],
    );
    let t = b.push(Ty::INDEX, Inst::Task);
    let v = load(&mut b, 0, t, 1);
    let (zero, hundred) = (b.index(0), b.index(100));
    let some = b.compare(CompareOp::Ne, v, zero);
    b.push_effect(Inst::Check { ok: some, status: 7 });
    let small = b.compare(CompareOp::Lt, v, hundred);
    b.push_effect(Inst::Check { ok: small, status: 6 });
    let q = b.binary(BinaryOp::Div, hundred, v);
    store(&mut b, 1, t, q);
    let mut p = program_of(vec![b.finish()]);
    let Step::Launch { tasks, .. } = &mut p.steps[0] else { panic!("a launch") };
    *tasks = Dim::from(n);
    for opt in LEVELS {
        let code = compile(&p, &Options { opt, ..options() });
        let go = |x: &[i64]| run(&p, &*code, &[], &[i64_bytes(x)], std::ptr::null());
        let (status, y) = go(&[1, 2, 3, 4, 5, -6, 50, 99]);
        assert_eq!((status, i64_of(&y[0])), (0, vec![100, 50, 33, 25, 20, -16, 2, 1]));
        let (status, y) = go(&[1, 200, 3, 4, 5, 6, 7, 8]);
        assert_eq!((status, i64_of(&y[0])[1..3].to_vec()), (6, vec![0, 33]));
        assert_eq!(go(&[1, 200, 0, 4, 5, 6, 7, 8]).0, 7);
        assert_eq!(go(&[1, 0, 200, 4, 5, 6, 7, 8]).0, 7);
    }
}

/// C[4 x 8] = A[4 x k] B[k x 8], B packed, as two f32x4 a row.
fn gemm_4x8(k: usize, unroll: u16) -> Kernel {
    let buffers = vec![
        global("a", DType::F32, 4 * k, Access::Read),
        global("b", DType::F32, 8 * k, Access::Read),
        global("c", DType::F32, 32, Access::Write),
    ];
    let mut b = kernel("gemm", buffers, &[]);
    let ty = Ty::vector(DType::F32, 4);
    let zeros: Vec<V> = (0..8).map(|_| b.push(ty, Inst::ConstFloat(0.0))).collect();
    let acc = for_loop(&mut b, 0, k as i64, 1, unroll, &zeros, |b, p, acc| {
        let (eight, four) = (b.index(8), b.index(4));
        let at = b.mul(p, eight);
        let next = b.add(at, four);
        let (b0, b1) = (load(b, 1, at, 4), load(b, 1, next, 4));
        let mut out = vec![];
        for r in 0..4 {
            let row = b.index((r * k) as i64);
            let at = b.add(p, row);
            let s = load(b, 0, at, 1);
            let s = b.push(ty, Inst::Splat(s));
            out.push(b.push(ty, Inst::Fma(s, b0, acc[2 * r])));
            out.push(b.push(ty, Inst::Fma(s, b1, acc[2 * r + 1])));
        }
        out
    });
    for (i, v) in acc.into_iter().enumerate() {
        let at = b.index(4 * i as i64);
        store(&mut b, 2, at, v);
    }
    b.finish()
}

#[test]
fn a_register_tile_product() {
    let k = 256;
    let mut random = Random(9);
    let (a, b): (Vec<f32>, Vec<f32>) =
        ((0..4 * k).map(|_| random.float()).collect(), (0..8 * k).map(|_| random.float()).collect());
    let got = f32_of(&run_one(gemm_4x8(k, 4), &[f32_bytes(&a), f32_bytes(&b)])[0]);
    let fma = host_target().expect("a supported machine").fma;
    for r in 0..4 {
        for j in 0..8 {
            let want = (0..k).fold(0f32, |s, p| {
                if fma { a[r * k + p].mul_add(b[p * 8 + j], s) } else { s + a[r * k + p] * b[p * 8 + j] }
            });
            assert_eq!(got[r * 8 + j], want, "row {r}, column {j}");
        }
    }
}

/// y = a polynomial of degree 10 of x clamped to [-1, 1], `lanes` at a time.
fn polynomial(n: usize, unroll: u16) -> Kernel {
    let buffers = vec![global("x", DType::F32, n, Access::Read), global("y", DType::F32, n, Access::Write)];
    let mut b = kernel("polynomial", buffers, &[]);
    let ty = Ty::vector(DType::F32, 4);
    for_loop(&mut b, 0, n as i64, 4, unroll, &[], |b, i, _| {
        let x = load(b, 0, i, 4);
        let (low, high) = (b.push(ty, Inst::ConstFloat(-1.0)), b.push(ty, Inst::ConstFloat(1.0)));
        let x = b.binary(BinaryOp::Max, x, low);
        let x = b.binary(BinaryOp::Min, x, high);
        let mut p = b.push(ty, Inst::ConstFloat(0.5));
        for d in 1..=10 {
            let c = b.push(ty, Inst::ConstFloat(1.0 / f64::from(d)));
            p = b.push(ty, Inst::Fma(p, x, c));
        }
        store(b, 1, i, p);
        vec![]
    });
    b.finish()
}

/// y = x transposed from [49, 64] through divisions by 49 and 7, an element at a time.
fn divisions(n: usize) -> Kernel {
    let buffers = vec![global("x", DType::F32, n, Access::Read), global("y", DType::F32, n, Access::Write)];
    let mut b = kernel("divisions", buffers, &[]);
    for_loop(&mut b, 0, n as i64, 1, 1, &[], |b, i, _| {
        let [seven, area, channels] = [7, 49, 64].map(|c| b.index(c));
        let (c, p) = (b.binary(BinaryOp::FloorDiv, i, area), b.binary(BinaryOp::FloorMod, i, area));
        let (h, w) = (b.binary(BinaryOp::FloorDiv, p, seven), b.binary(BinaryOp::FloorMod, p, seven));
        let at = b.mul(w, seven);
        let at = b.add(at, h);
        let at = b.mul(at, channels);
        let at = b.add(at, c);
        let v = load(b, 0, at, 1);
        store(b, 1, i, v);
        vec![]
    });
    b.finish()
}

/// `cargo test -- --ignored --nocapture` prints the speed of printed code; the profile of the test does not matter.
#[test]
#[ignore = "a measurement"]
fn speed_of_printed_code() {
    // Runs of a fraction of a millisecond, and the fastest of many: other work on the machine does not show.
    let time = |k: Kernel, tasks: usize, opt: OptLevel| {
        let mut p = program_of(vec![k]);
        let Step::Launch { tasks: n, .. } = &mut p.steps[0] else { panic!("a launch") };
        *n = Dim::from(tasks);
        let code = compile(&p, &Options { opt, ..options() });
        let inputs: Vec<Vec<u8>> =
            p.inputs.iter().map(|i| f32_bytes(&vec![1.0; i.bytes().as_const().unwrap_or(0) as usize / 4])).collect();
        let best = (0..400).map(|_| {
            let start = Instant::now();
            assert_eq!(run(&p, &*code, &[], &inputs, std::ptr::null()).0, 0);
            start.elapsed().as_secs_f64()
        });
        best.fold(f64::INFINITY, f64::min)
    };
    for opt in LEVELS {
        for unroll in [1, 2, 4] {
            let (k, tasks) = (256, 100);
            println!(
                "4x8 tile, unroll {unroll}, {opt:?}: {:.1} GFLOP/s",
                (64 * k * tasks) as f64 / time(gemm_4x8(k, unroll), tasks, opt) / 1e9
            );
            let (n, tasks) = (4096, 20);
            println!(
                "polynomial, unroll {unroll}, {opt:?}: {:.2} ns for 4 lanes",
                time(polynomial(n, unroll), tasks, opt) / (n * tasks / 4) as f64 * 1e9
            );
        }
        let (n, tasks) = (49 * 64, 5);
        println!("divisions, {opt:?}: {:.2} ns an element", time(divisions(n), tasks, opt) / (n * tasks) as f64 * 1e9);
    }
}

#[test]
fn micro_kernels_compute_tiles() {
    for symbol in host_tiles() {
        let (rows, lanes) = (usize::from(symbol.rows), usize::from(symbol.lanes));
        let (taps, depth, valid) = (3usize, 5usize, rows - 1);
        let (image, panel) = (rows * 7 + taps * 11 + depth, taps * depth * lanes);
        let mut buffers = vec![
            global("a", DType::F32, image, Access::Read),
            global("b", DType::F32, panel + 4, Access::Read),
            global("c", DType::F32, rows * lanes, Access::Write),
        ];
        buffers.push(buffer("rows", DType::I64, rows, Space::Private, Access::ReadWrite));
        buffers.push(buffer("taps", DType::I64, taps, Space::Private, Access::ReadWrite));
        buffers.push(buffer("tile", DType::F32, rows * lanes, Space::Private, Access::ReadWrite));
        let mut b = kernel("tile", buffers, &[]);
        for (buf, n, distance) in [(3, rows, 7), (4, taps, 11)] {
            for i in 0..n as i64 {
                let (at, v) = (b.index(i), b.index(i * distance));
                store(&mut b, buf, at, v);
            }
        }
        for i in 0..(rows * lanes) as i64 {
            let (at, one) = (b.index(i), b.float(DType::F32, 1.0));
            store(&mut b, 5, at, one);
        }
        let [taps_v, depth_v, b_offset, valid_v] = [taps as i64, depth as i64, 4, valid as i64].map(|n| b.index(n));
        let [a, c, r, t, out] = [0, 1, 3, 4, 5].map(BufId);
        b.push_effect(Inst::CallTile(Box::new(CallTile {
            rows: symbol.rows,
            lanes: symbol.lanes,
            a,
            a_offsets: r,
            tap_offsets: t,
            taps: taps_v,
            depth: depth_v,
            b: c,
            b_offset,
            out,
            accumulate: true,
            valid_rows: valid_v,
        })));
        for_loop(&mut b, 0, (rows * lanes) as i64, 1, 1, &[], |b, i, _| {
            let v = load(b, 5, i, 1);
            store(b, 2, i, v);
            vec![]
        });
        // Small integers: sums are exact in any order.
        let a: Vec<f32> = (0..image).map(|i| (i % 7) as f32).collect();
        let panel: Vec<f32> = (0..panel + 4).map(|i| (i % 5) as f32 - 2.0).collect();
        let got = f32_of(&run_one(b.finish(), &[f32_bytes(&a), f32_bytes(&panel)])[0]);
        for r in 0..rows {
            for l in 0..lanes {
                let sum: f32 = (0..taps)
                    .flat_map(|t| (0..depth).map(move |k| (t, k)))
                    .map(|(t, k)| a[r * 7 + t * 11 + k] * panel[4 + (t * depth + k) * lanes + l])
                    .sum();
                let want = if r < valid { 1.0 + sum } else { 1.0 };
                assert_eq!(got[r * lanes + l], want, "{} row {r}, lane {l}", symbol.name);
            }
        }
    }
}

fn refusal(k: Kernel) -> String {
    let mut p = program("t");
    p.inputs = vec![port("x", DType::F32, 4)];
    let places = k.params().map(|_| Place::Input(0)).collect();
    p.steps.push(Step::Launch { kernel: 0, buffers: places, symbols: vec![], tasks: Dim::from(1i64) });
    p.kernels.push(k);
    let target = host_target().expect("a supported machine");
    format!("{:#}", jit(&p, &target, &Options::default()).err().expect("refused"))
}

#[test]
fn malformed_kernels_are_errors_that_name_the_kernel() {
    type Build = fn(&mut KernelBuilder);
    let cases: [(&str, Build); 9] = [
        ("needs a GPU", |b| b.push_effect(Inst::Barrier)),
        ("used before its definition", |b| {
            let v = b.fresh(Ty::INDEX);
            b.add(v, v);
        }),
        ("above the machine level", |b| {
            b.push(Ty::INDEX, Inst::Dim(Dim::sym("n")));
        }),
        ("has rows", |b| {
            b.push(Ty::tile(DType::F32, 2, 4), Inst::ConstFloat(0.0));
        }),
        ("power of two", |b| {
            b.push(Ty::vector(DType::F32, 3), Inst::ConstFloat(0.0));
        }),
        ("symbol slot 0", |b| {
            b.push(Ty::INDEX, Inst::Sym(0));
        }),
        ("is declared", |b| {
            let x = b.push(Ty::vector(DType::F32, 4), Inst::ConstFloat(0.0));
            b.push(Ty::vector(DType::F32, 8), Inst::Cast(x));
        }),
        ("no micro-kernel", |b| {
            let n = b.index(1);
            let buf = BufId(0);
            b.push_effect(Inst::CallTile(Box::new(CallTile {
                rows: 6,
                lanes: 16,
                a: buf,
                a_offsets: buf,
                tap_offsets: buf,
                taps: n,
                depth: n,
                b: buf,
                b_offset: n,
                out: buf,
                accumulate: false,
                valid_rows: n,
            })));
        }),
        ("buffer 9", |b| {
            let n = b.index(0);
            b.push(Ty::scalar(DType::F32), Inst::Load { buf: BufId(9), index: vec![n] });
        }),
    ];
    for (part, build) in cases {
        let mut b = kernel("broken", vec![global("x", DType::F32, 4, Access::Read)], &[]);
        build(&mut b);
        let e = refusal(b.finish());
        assert!(e.contains(part) && e.contains("`broken`"), "expected `{part}` in: {e}");
    }
    let mut k = kernel("high", vec![], &[]).finish();
    k.level = Level::Scheduled;
    assert!(refusal(k).contains("not at the machine level"));
    let big = buffer("big", DType::F64, 1 << 20, Space::Private, Access::ReadWrite);
    assert!(refusal(kernel("deep", vec![big], &[]).finish()).contains("bytes of stack"));
}
