//! A matrix-product tile built by hand at the machine level: right results, and, as ignored benchmarks
//! (`cargo test -p kiln-codegen --features llvm --test llvm_gemm -- --ignored --nocapture`), its share of the FMA peak.

use std::convert::Infallible;
use std::time::Instant;

use crate::llvm_common::*;
use kiln_codegen::llvm::{Emit, Options, compile_object, host_target};
use kiln_codegen::program::{JitCode, Program};
use kiln_codegen::target::Target;
use kiln_ir::DType;
use kiln_ir::loops::{Access, Inst, Kernel, KernelBuilder, LoopKind, Ty, V};

/// How a tile kernel addresses its operands and orders its loads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// Offset of A's row r: `k + r * K`, with constants.
    ConstRows,
    /// A's row starts are values (as for convolutions): `start[r] + k`.
    ValueRows,
    /// Row starts as values, and the broadcast of each row next to its FMAs with B's vectors loaded first.
    BroadcastLate,
    /// A packed too: `k * rows + r`.
    PackedA,
    /// The induction variable steps by 1 and offsets multiply it: `iv * nr`; else B's offset is carried.
    CarriedB,
}

const ALL: [Shape; 5] = [Shape::ConstRows, Shape::ValueRows, Shape::BroadcastLate, Shape::PackedA, Shape::CarriedB];

/// C[mr x nr] = A[mr x k] B[k x nr], `repeat` times (the loop over tiles of a real product): B in one packed panel.
fn tile(mr: i64, vectors: i64, lanes: u16, k: i64, unroll: u16, shape: Shape, repeat: bool) -> Kernel {
    let nr = vectors * i64::from(lanes);
    let mut b = kernel("tile");
    let a_buf = b.buffer(global("a", DType::F32, dim(mr * k), Access::Read, 64));
    let b_buf = b.buffer(global("b", DType::F32, dim(k * nr), Access::Read, 64));
    let c_buf = b.buffer(global("c", DType::F32, dim(mr * nr), Access::Write, 64));
    let by_value = matches!(shape, Shape::ValueRows | Shape::BroadcastLate);
    let starts_buf = by_value.then(|| b.buffer(global("starts", DType::I64, dim(mr), Access::Read, 8)));
    let vec = Ty::vector(DType::F32, lanes);
    let body = |b: &mut KernelBuilder| -> Result<(), Infallible> {
        let (zero, kk) = (b.index(0), b.index(k));
        let z = b.push(vec, Inst::ConstFloat(0.0));
        let mut carried = vec![(z, None); (mr * vectors) as usize];
        if shape == Shape::CarriedB {
            carried.push((zero, None));
        }
        let row_starts: Vec<V> = match starts_buf {
            None => vec![],
            Some(buf) => (0..mr)
                .map(|r| {
                    let at = b.index(r);
                    b.load(buf, vec![at])
                })
                .collect(),
        };
        let acc =
            b.for_loop(LoopKind::Serial, zero, kk, 1, unroll, &carried, |b, iv, acc| -> Result<_, Infallible> {
                let base = if shape == Shape::CarriedB {
                    acc[(mr * vectors) as usize]
                } else {
                    let nr_v = b.index(nr);
                    b.mul(iv, nr_v)
                };
                let mut bs = Vec::new();
                for j in 0..vectors {
                    let d = b.index(j * i64::from(lanes));
                    let o = b.add(base, d);
                    bs.push(b.push(vec, Inst::Load { buf: b_buf, index: vec![o] }));
                }
                let a_offset = |b: &mut KernelBuilder, r: i64| match shape {
                    Shape::ConstRows | Shape::CarriedB => {
                        let d = b.index(r * k);
                        b.add(iv, d)
                    }
                    Shape::ValueRows | Shape::BroadcastLate => b.add(row_starts[r as usize], iv),
                    Shape::PackedA => {
                        let m = b.index(mr);
                        let p = b.mul(iv, m);
                        let d = b.index(r);
                        b.add(p, d)
                    }
                };
                let broadcast = |b: &mut KernelBuilder, r: i64| {
                    let o = a_offset(b, r);
                    let s = b.load(a_buf, vec![o]);
                    b.push(vec, Inst::Splat(s))
                };
                let mut next = Vec::new();
                if shape == Shape::BroadcastLate {
                    for r in 0..mr {
                        let x = broadcast(b, r);
                        for j in 0..vectors {
                            next.push(b.fma(x, bs[j as usize], acc[(r * vectors + j) as usize]));
                        }
                    }
                } else {
                    let xs: Vec<V> = (0..mr).map(|r| broadcast(b, r)).collect();
                    for r in 0..mr {
                        for j in 0..vectors {
                            next.push(b.fma(xs[r as usize], bs[j as usize], acc[(r * vectors + j) as usize]));
                        }
                    }
                }
                if shape == Shape::CarriedB {
                    let nr_v = b.index(nr);
                    next.push(b.add(base, nr_v));
                }
                Ok(next)
            })?;
        for r in 0..mr {
            for j in 0..vectors {
                let o = b.index(r * nr + j * i64::from(lanes));
                b.store(c_buf, vec![o], acc[(r * vectors + j) as usize]);
            }
        }
        Ok(())
    };
    if repeat {
        let n = kiln_ir::Symbol::new("n");
        let mut k = b.finish();
        k.symbols.push(n);
        b = KernelBuilder::new(k);
        let (zero, n) = (b.index(0), b.push(Ty::INDEX, Inst::Sym(0)));
        let _ = b.for_loop(LoopKind::Serial, zero, n, 1, 1, &[], |b, _, _| {
            body(b)?;
            Ok::<_, Infallible>(vec![])
        });
    } else {
        let _ = body(&mut b);
    }
    b.finish()
}

fn reference(a: &[f32], b: &[f32], mr: usize, nr: usize, k: usize) -> Vec<f64> {
    let mut c = vec![0.0; mr * nr];
    for r in 0..mr {
        for p in 0..k {
            for j in 0..nr {
                c[r * nr + j] += f64::from(a[r * k + p]) * f64::from(b[p * nr + j]);
            }
        }
    }
    c
}

fn check(mr: usize, vectors: usize, lanes: u16, k: usize, shape: Shape) {
    let nr = vectors * usize::from(lanes);
    let (a, b) = (noise(mr * k, 1), noise(k * nr, 2));
    let packed: Vec<f32> = if shape == Shape::PackedA {
        (0..k).flat_map(|p| (0..mr).map(move |r| (p, r))).map(|(p, r)| a[r * k + p]).collect()
    } else {
        a.clone()
    };
    let (ma, mb, mc) = (Memory::of_f32(&packed), Memory::of_f32(&b), Memory::new(4 * mr * nr));
    let code = compile(&single(tile(mr as i64, vectors as i64, lanes, k as i64, 4, shape, false)));
    let starts = starts(mr as i64, k as i64);
    assert_eq!(run(&*code, &arguments(shape, [&ma, &mb, &mc], &starts)), 0);
    for (i, (got, want)) in mc.f32s().iter().zip(reference(&a, &b, mr, nr, k)).enumerate() {
        assert!((f64::from(*got) - want).abs() < 1e-4, "{shape:?} {mr}x{nr}: element {i} is {got}, not {want}");
    }
}

/// Offsets of A's rows.
fn starts(mr: i64, k: i64) -> Memory {
    Memory::of(&(0..mr).flat_map(|r| (r * k).to_le_bytes()).collect::<Vec<_>>())
}

/// The pointers of A, B, perhaps the row starts, and C.
fn arguments(shape: Shape, [a, b, c]: [&Memory; 3], starts: &Memory) -> Vec<u64> {
    let mut v = vec![a.address(), b.address()];
    if matches!(shape, Shape::ValueRows | Shape::BroadcastLate) {
        v.push(starts.address());
    }
    v.push(c.address());
    v
}

#[test]
fn tiles_are_right_in_every_shape() {
    let lanes = host_target().lanes(DType::F32);
    for shape in ALL {
        check(6, 2, lanes, 256, shape);
        check(8, 3, lanes, 64, shape);
        check(1, 1, lanes, 4, shape);
    }
}

/// A machine with other vectors than the running one, to look at its code.
fn x86(cpu: &str, vector_bytes: u32) -> Target {
    Target {
        cpu: cpu.into(),
        features: String::new(),
        vector_bytes,
        triple: "x86_64-unknown-linux-gnu".into(),
        ..host_target()
    }
}

/// What the schedules count on: a tile that leaves a register free keeps every accumulator in one, and each product is
/// one instruction.
#[test]
fn tiles_that_fit_the_registers_do_not_spill() {
    for (cpu, bytes, tiles) in [
        ("haswell", 32, &[(6, 2), (4, 2), (3, 3), (2, 4)][..]),
        ("sapphirerapids", 64, &[(8, 3), (6, 4), (4, 4), (10, 2), (1, 4)][..]),
    ] {
        let target = x86(cpu, bytes);
        for &(mr, vectors) in tiles {
            for shape in ALL {
                let program = single(tile(mr, vectors, (bytes / 4) as u16, 256, 4, shape, true));
                let text = asm(&program, &target);
                let (all, fmas, stack, folded) = inner_loop(&text);
                if std::env::var_os("KILN_SHOW").is_some() {
                    println!(
                        "{cpu} {mr}x{vectors} {shape:?}: {all} instructions, {fmas} FMAs, {stack} stack, {folded} folded"
                    );
                }
                assert_eq!(fmas as i64, 4 * mr * vectors, "{cpu} {mr}x{vectors} {shape:?}");
                assert_eq!(stack, 0, "{cpu} {mr}x{vectors} {shape:?}\n{text}");
                assert_eq!(bytes == 64, text.contains("zmm"), "{cpu}");
            }
        }
    }
}

/// Seconds per call, the best of several.
fn time(code: &dyn JitCode, args: &[u64], rounds: u64) -> f64 {
    let mut all = vec![rounds];
    all.extend(args);
    assert_eq!(run(code, &all), 0);
    (0..15)
        .map(|_| {
            let start = Instant::now();
            run(code, &all);
            start.elapsed().as_secs_f64() / rounds as f64
        })
        .fold(f64::INFINITY, f64::min)
}

/// FMA chains in registers: the machine's peak. Returns GFLOP/s.
fn peak(lanes: u16) -> f64 {
    let chains = 12;
    let mut b = kernel("peak");
    let x_buf = b.buffer(global("x", DType::F32, dim(64), Access::Read, 64));
    let y_buf = b.buffer(global("y", DType::F32, dim(64 * 16), Access::Write, 64));
    let vec = Ty::vector(DType::F32, lanes);
    let (zero, n) = (b.index(0), b.push(Ty::INDEX, Inst::Sym(0)));
    let x = b.push(vec, Inst::Load { buf: x_buf, index: vec![zero] });
    let init: Vec<_> = (0..chains).map(|_| (x, None)).collect();
    let inner = b.index(1024);
    let r = b
        .for_loop(LoopKind::Serial, zero, n, 1, 1, &init, |b, _, acc| {
            let init: Vec<_> = acc.iter().map(|&v| (v, None)).collect();
            b.for_loop(LoopKind::Serial, zero, inner, 1, 4, &init, |b, _, acc| {
                Ok::<_, Infallible>(acc.iter().map(|&v| b.fma(x, v, v)).collect())
            })
        })
        .unwrap_or_default();
    for (i, v) in r.into_iter().enumerate() {
        let o = b.index(i as i64 * i64::from(lanes));
        b.store(y_buf, vec![o], v);
    }
    let mut k = b.finish();
    k.symbols.push(kiln_ir::Symbol::new("n"));
    let code = compile(&single(k));
    let (x, y) = (Memory::of_f32(&[1e-9; 64]), Memory::new(4 * 64 * 16));
    let t = time(&*code, &[x.address(), y.address()], 200);
    2.0 * 1024.0 * chains as f64 * f64::from(lanes) / t / 1e9
}

fn asm(program: &Program, target: &Target) -> String {
    let options = Options { emit: Emit::Asm, ..Options::default() };
    String::from_utf8(compile_object(program, target, &options).expect("compiles")).expect("text")
}

/// Instructions of the innermost loop: (all, FMAs, stack accesses, loads folded into FMAs).
fn inner_loop(asm: &str) -> (usize, usize, usize, usize) {
    let lines: Vec<&str> = asm.lines().map(str::trim).collect();
    let mut best = (0, 0, 0, 0);
    for (i, l) in lines.iter().enumerate() {
        let Some(label) = l.split_whitespace().last().filter(|t| l.starts_with('j') && t.starts_with(".L")) else {
            continue;
        };
        if let Some(start) = lines[..i].iter().rposition(|x| x.starts_with(&format!("{label}:"))) {
            let body: Vec<&&str> =
                lines[start + 1..=i].iter().filter(|x| !x.starts_with('.') && !x.starts_with('#')).collect();
            let count = |f: &dyn Fn(&str) -> bool| body.iter().filter(|x| f(x)).count();
            let fmas = count(&|x| x.starts_with("vfma"));
            if fmas > best.1 && body.len() < 400 {
                best = (
                    body.len(),
                    fmas,
                    count(&|x| x.contains("(%rsp") || x.contains("(%rbp")),
                    count(&|x| x.starts_with("vfma") && x.contains('(')),
                );
            }
        }
    }
    best
}

#[test]
#[ignore = "a benchmark"]
fn share_of_the_peak() {
    let target = host_target();
    let lanes = target.lanes(DType::F32);
    let tiles: &[(i64, i64)] =
        if lanes == 16 { &[(8, 3), (6, 4), (12, 2), (14, 2), (28, 1)] } else { &[(6, 2), (4, 3), (12, 1)] };
    let peak = peak(lanes);
    println!("{} ({} lanes), peak {peak:.1} GFLOP/s", target.cpu, lanes);
    println!("tile    K    unroll shape          GFLOP/s  share  loop: instrs fmas stack folded");
    let unrolls: &[u16] = &[1, 2, 4, 8];
    for &(mr, vectors) in tiles {
        for k in [256i64, 1024] {
            for shape in ALL {
                for &unroll in unrolls {
                    if unroll != 4 && (shape != Shape::ConstRows || k != 256) {
                        continue;
                    }
                    let nr = vectors * i64::from(lanes);
                    let program = single(tile(mr, vectors, lanes, k, unroll, shape, true));
                    let code = compile(&program);
                    let (a, b, c) = (
                        Memory::of_f32(&noise((mr * k) as usize, 3)),
                        Memory::of_f32(&noise((nr * k) as usize, 4)),
                        Memory::new((4 * mr * nr) as usize),
                    );
                    let t = time(&*code, &arguments(shape, [&a, &b, &c], &starts(mr, k)), 500);
                    let gflops = 2.0 * (mr * nr * k) as f64 / t / 1e9;
                    let (all, fmas, stack, folded) = inner_loop(&asm(&program, &target));
                    println!(
                        "{mr:2}x{nr:<3} {k:5}  {unroll}     {:14} {gflops:7.1}  {:4.0} %  {all:4} {fmas:4} {stack:4} {folded:4}",
                        format!("{shape:?}"),
                        100.0 * gflops / peak
                    );
                }
            }
        }
    }
}

/// Sixty kernels like those of a convolutional network: four tile nests each (interior, two edges, tail).
fn many_kernels() -> Program {
    let target = host_target();
    let lanes = target.lanes(DType::F32);
    let (mr, v) = if lanes == 16 { (8, 3) } else { (6, 2) };
    let mut program = single(tile(mr, v, lanes, 256, 4, Shape::ConstRows, false));
    program.steps.clear();
    program.kernels = (0..60)
        .flat_map(|i| {
            [(mr, v), (mr, 1), (1, v), (mr / 2, v)].map(|(m, v)| {
                let mut k = tile(m, v, lanes, 64 + 4 * i, 4, Shape::ValueRows, true);
                k.name = format!("k{i}_{m}x{v}");
                k
            })
        })
        .collect();
    program
}

#[test]
#[ignore = "a benchmark"]
fn compile_time() {
    let program = many_kernels();
    for opt_level in [1, 2, 3] {
        let start = Instant::now();
        let options = Options { opt_level, ..Options::default() };
        let object = compile_object(&program, &host_target(), &options).expect("compiles");
        println!("object, opt {opt_level}: {:?}, {} bytes", start.elapsed(), object.len());
        for threads in [1, 2] {
            let start = Instant::now();
            let code =
                kiln_codegen::llvm::jit(&program, &host_target(), &Options { threads, ..options }).expect("compiles");
            println!(
                "jit, opt {opt_level}, {threads} threads: {:?}, {} bytes of code",
                start.elapsed(),
                code.code_bytes()
            );
        }
    }
    let status = |key: &str| {
        let s = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        s.lines().find(|l| l.starts_with(key)).unwrap_or_default().to_string()
    };
    let mut heavy = single(tile(1, 1, 4, 4, 1, Shape::ConstRows, false));
    heavy.weights = kiln_codegen::program::Weights::Embedded(std::sync::Arc::new(vec![7; 100 << 20]));
    println!("before 100 MiB of weights: {} {}", status("VmHWM"), status("VmRSS"));
    let start = Instant::now();
    let object = compile_object(&heavy, &host_target(), &Options::default()).expect("compiles");
    println!(
        "100 MiB of weights: {:?}, {} bytes, {} (held before: the weights)",
        start.elapsed(),
        object.len(),
        status("VmHWM")
    );
}
