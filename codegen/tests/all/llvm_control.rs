//! Loops, conditionals, memory and checks of the machine level, run by the LLVM JIT.

use std::convert::Infallible;

use crate::llvm_common::*;
use kiln_codegen::llvm::{Options, TileSymbols, compile_object, host_target, jit};
use kiln_ir::loops::inst::CallTile;
use kiln_ir::loops::{Access, Inst, KernelBuilder, LoopKind, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::{DType, Symbol};

fn i64s(m: &Memory) -> Vec<i64> {
    m.bytes().chunks_exact(8).map(|c| i64::from_le_bytes(c.try_into().expect("8 bytes"))).collect()
}

fn symbols(b: KernelBuilder, names: &[&str]) -> KernelBuilder {
    let mut k = b.finish();
    k.symbols = names.iter().map(|n| Symbol::new(n)).collect();
    KernelBuilder::new(k)
}

/// sum of i and product-like recurrence over `lo, lo + step .. hi`, both carried, `unroll` copies.
#[test]
fn loops_carry_values_for_any_trip_count() {
    for (step, unroll) in [(1, 1), (3, 1), (1, 4), (2, 2)] {
        let mut b = symbols(kernel("loop"), &["lo", "hi"]);
        let out = b.buffer(global("out", DType::I64, dim(2), Access::Write, 8));
        let (lo, hi) = (b.push(Ty::INDEX, Inst::Sym(0)), b.push(Ty::INDEX, Inst::Sym(1)));
        let (zero, one) = (b.index(0), b.index(1));
        let r = b
            .for_loop(LoopKind::Serial, lo, hi, step, unroll, &[(zero, None), (one, None)], |b, iv, c| {
                let sum = b.add(c[0], iv);
                let three = b.index(3);
                let t = b.mul(c[1], three);
                let h = b.add(t, iv);
                Ok::<_, Infallible>(vec![sum, h])
            })
            .expect("builds");
        b.store(out, vec![zero], r[0]);
        b.store(out, vec![one], r[1]);
        let code = compile(&single(b.finish()));
        for trips in [0i64, 1, 2, 5] {
            let (lo, hi) = (2, 2 + trips * step * i64::from(unroll));
            let m = Memory::new(16);
            assert_eq!(run(&*code, &[lo as u64, hi as u64, m.address()]), 0);
            let want = (lo..hi)
                .step_by(step as usize)
                .fold((0i64, 1i64), |(s, h), i| (s + i, h.wrapping_mul(3).wrapping_add(i)));
            assert_eq!(i64s(&m), [want.0, want.1], "step {step} unroll {unroll} trips {trips}");
        }
    }
}

/// Constant bounds take other ways through the printer: no trip, one round as straight code, many.
#[test]
fn loops_with_constant_bounds() {
    for trips in [0i64, 1, 2, 8] {
        let mut b = kernel("loop");
        let out = b.buffer(global("out", DType::I64, dim(1), Access::Write, 8));
        let (zero, hi) = (b.index(0), b.index(trips));
        let seven = b.index(7);
        let unroll = if trips % 2 == 0 { 2 } else { 1 };
        let r = b
            .for_loop(LoopKind::Serial, zero, hi, 1, unroll, &[(seven, None)], |b, outer, c| {
                // An inner loop whose bound is the outer variable, with a conditional inside.
                let r = b.for_loop(LoopKind::Serial, zero, outer, 1, 1, &[(c[0], None)], |b, iv, c| {
                    let two = b.index(2);
                    let odd = b.binary(BinaryOp::TruncMod, iv, two);
                    let is_odd = b.compare(CompareOp::Ne, odd, zero);
                    let branch = b.open_if(is_odd);
                    let sum = b.add(c[0], iv);
                    let branch = b.open_else(branch, vec![sum]);
                    let five = b.index(5);
                    let product = b.mul(c[0], five);
                    Ok::<_, Infallible>(b.close_if(branch, vec![product]))
                })?;
                Ok::<_, Infallible>(r)
            })
            .expect("builds");
        b.store(out, vec![zero], r[0]);
        let m = Memory::new(8);
        assert_eq!(run(&*compile(&single(b.finish())), &[m.address()]), 0);
        let mut want = 7i64;
        for outer in 0..trips {
            for i in 0..outer {
                want = if i % 2 != 0 { want.wrapping_add(i) } else { want.wrapping_mul(5) };
            }
        }
        assert_eq!(i64s(&m), [want], "{trips} trips");
    }
}

#[test]
fn gather_scatter_private_memory_and_lane_surgery() {
    for target in targets() {
        for dtype in [DType::F32, DType::I8, DType::I64, DType::BF16] {
            let mut b = kernel("memory");
            let x = b.buffer(global("x", dtype, dim(64), Access::Read, 1));
            let idx = b.buffer(global("idx", DType::I64, dim(8), Access::Read, 8));
            let out = b.buffer(global("out", dtype, dim(64), Access::Write, 1));
            let tmp = b.buffer(private("tmp", dtype, 8));
            let (zero, one) = (b.index(0), b.index(1));
            let offsets = b.push(Ty::vector(DType::I64, 8), Inst::Load { buf: idx, index: vec![zero] });
            let vec = Ty::vector(dtype, 8);
            let g = b.push(vec, Inst::Gather { buf: x, offsets });
            // Through private memory, one element later comes back: lane 0 replaced by lane 7, a slice stored twice.
            b.store(tmp, vec![zero], g);
            b.push_effect(Inst::Prefetch { buf: x, offset: one });
            let g = b.push(vec, Inst::Load { buf: tmp, index: vec![zero] });
            let last = b.push(Ty::scalar(dtype), Inst::Extract(g, 7));
            let g = b.push(vec, Inst::Insert(g, last, 0));
            b.push_effect(Inst::Scatter { buf: out, offsets, value: g });
            let part = b.push(Ty::vector(dtype, 4), Inst::Slice(g, 2));
            let at = b.index(40);
            b.store(out, vec![at], part);
            let iota = b.push(Ty::vector(DType::I64, 8), Inst::IotaLanes);
            let fifty = b.index(50);
            let splat = b.push(Ty::vector(DType::I64, 8), Inst::Splat(fifty));
            let places = b.add(iota, splat);
            b.push_effect(Inst::Scatter { buf: out, offsets: places, value: g });
            let size = dtype.size();
            let contents: Vec<u8> = (0..64 * size).map(|i| (i * 37 + 11) as u8).collect();
            let index = [3u64, 0, 31, 7, 8, 30, 12, 5];
            let mx = Memory::of(&contents);
            let mi = Memory::of(&index.iter().flat_map(|i| i.to_le_bytes()).collect::<Vec<_>>());
            let mo = Memory::new(64 * size);
            let code = compile_for(&single(b.finish()), &target);
            assert_eq!(run(&*code, &[mx.address(), mi.address(), mo.address()]), 0);
            let element = |i: u64| &contents[i as usize * size..(i as usize + 1) * size];
            let mut lanes: Vec<&[u8]> = index.iter().map(|&i| element(i)).collect();
            lanes[0] = lanes[7];
            let mut want = vec![0u8; 64 * size];
            for (l, v) in lanes.iter().enumerate() {
                want[index[l] as usize * size..][..size].copy_from_slice(v);
                want[(50 + l) * size..][..size].copy_from_slice(v);
            }
            for l in 0..4 {
                want[(40 + l) * size..][..size].copy_from_slice(lanes[2 + l]);
            }
            assert_eq!(mo.bytes(), want, "{dtype} {}", target.cpu);
        }
    }
}

#[test]
fn bool_is_a_byte_in_memory_and_a_mask_in_registers() {
    let mut b = kernel("mask");
    let x = b.buffer(global("x", DType::Bool, dim(8), Access::Read, 1));
    let out = b.buffer(global("out", DType::Bool, dim(8), Access::Write, 1));
    let zero = b.index(0);
    let v = b.push(Ty::vector(DType::Bool, 8), Inst::Load { buf: x, index: vec![zero] });
    let n = b.unary(kiln_ir::scalar::UnaryOp::Not, v);
    let bytes = b.bitcast(DType::U8, n);
    let back = b.bitcast(DType::Bool, bytes);
    b.store(out, vec![zero], back);
    let (mx, mo) = (Memory::of(&[0, 1, 1, 0, 255, 0, 2, 1]), Memory::new(8));
    assert_eq!(run(&*compile(&single(b.finish())), &[mx.address(), mo.address()]), 0);
    assert_eq!(mo.bytes(), [1, 0, 0, 1, 0, 1, 0, 0]);
}

#[test]
fn a_failed_check_ends_the_task_before_what_follows() {
    let mut b = symbols(kernel("check"), &["d"]);
    let out = b.buffer(global("out", DType::I64, dim(1), Access::Write, 8));
    let d = b.push(Ty::INDEX, Inst::Sym(0));
    let (zero, hundred) = (b.index(0), b.index(100));
    let ok = b.compare(CompareOp::Ne, d, zero);
    b.push_effect(Inst::Check { ok, status: 7 });
    let q = b.binary(BinaryOp::Div, hundred, d);
    b.store(out, vec![zero], q);
    let code = compile(&single(b.finish()));
    let m = Memory::new(8);
    assert_eq!(run(&*code, &[0, m.address()]), 7);
    assert_eq!(i64s(&m), [0]);
    assert_eq!(run(&*code, &[9, m.address()]), 0);
    assert_eq!(i64s(&m), [11]);
}

/// The runtime's `GemmTile`, by its documented layout: fourteen 8-byte fields.
#[repr(C)]
struct Tile {
    a: *const f32,
    row_off: *const i64,
    tap_off: *const i64,
    b: *const f32,
    c: *mut f32,
    k: usize,
    taps: usize,
    rows: usize,
    row_off_tap_stride: usize,
    a_k_stride: i64,
    b_k_stride: usize,
    b_tap_stride: usize,
    c_row_stride: usize,
    accumulate: u64,
}

unsafe extern "C" fn tile_2x4(t: *const Tile) {
    // SAFETY: the generated code passes a block that describes live memory.
    unsafe {
        let t = &*t;
        assert_eq!(t.row_off_tap_stride, 0);
        for r in 0..t.rows {
            for l in 0..4 {
                let c = t.c.add(r * t.c_row_stride + l);
                let mut sum = if t.accumulate != 0 { *c } else { 0.0 };
                for tap in 0..t.taps {
                    for p in 0..t.k {
                        let a =
                            t.a.offset((*t.row_off.add(r) + *t.tap_off.add(tap) + p as i64 * t.a_k_stride) as isize);
                        sum += *a * *t.b.add(tap * t.b_tap_stride + p * t.b_k_stride + l);
                    }
                }
                *c = sum;
            }
        }
    }
}

struct Tiles;

impl TileSymbols for Tiles {
    fn address(&self, rows: u16, lanes: u16) -> Option<usize> {
        (rows == 2 && lanes == 4).then_some(tile_2x4 as *const () as usize)
    }
}

#[test]
fn micro_kernels_are_called_with_the_runtime_s_argument_block() {
    let mut b = kernel("tiled");
    let a = b.buffer(global("a", DType::F32, dim(16), Access::Read, 4));
    let w = b.buffer(global("w", DType::F32, dim(4 + 24), Access::Read, 4));
    let out = b.buffer(global("out", DType::F32, dim(8), Access::Write, 4));
    let (rows, taps) = (b.buffer(private("rows", DType::I64, 2)), b.buffer(private("taps", DType::I64, 2)));
    let tile = b.buffer(private("tile", DType::F32, 8));
    let at = |b: &mut KernelBuilder, n: i64| -> V { b.index(n) };
    for (buf, values) in [(rows, [1, 5]), (taps, [0, 7])] {
        for (i, v) in values.into_iter().enumerate() {
            let (i, v) = (at(&mut b, i as i64), at(&mut b, v));
            b.store(buf, vec![i], v);
        }
    }
    let (two, three, four) = (b.index(2), b.index(3), b.index(4));
    for accumulate in [false, true] {
        b.push_effect(Inst::CallTile(Box::new(CallTile {
            rows: 2,
            lanes: 4,
            a,
            a_offsets: rows,
            tap_offsets: taps,
            taps: two,
            depth: three,
            b: w,
            b_offset: four,
            out: tile,
            accumulate,
            valid_rows: two,
        })));
    }
    let zero = b.index(0);
    let v = b.push(Ty::vector(DType::F32, 8), Inst::Load { buf: tile, index: vec![zero] });
    b.store(out, vec![zero], v);
    let program = single(b.finish());
    let (fa, fw) = (noise(16, 5), noise(28, 6));
    let (ma, mw, mo) = (Memory::of_f32(&fa), Memory::of_f32(&fw), Memory::new(32));
    let options = Options { tiles: Some(&Tiles), ..Options::default() };
    let code = jit(&program, &host_target(), &options).expect("compiles");
    assert_eq!(run(&*code, &[ma.address(), mw.address(), mo.address()]), 0);
    for r in 0..2 {
        for l in 0..4 {
            let mut want = 0.0;
            for t in 0..2 {
                for p in 0..3 {
                    want += 2.0 * fa[[1, 5][r] + [0, 7][t] + p] * fw[4 + (t * 3 + p) * 4 + l];
                }
            }
            assert!((mo.f32s()[r * 4 + l] - want).abs() < 1e-5);
        }
    }
    // An object cannot hold this process's addresses.
    let e = compile_object(&program, &host_target(), &Options::default()).expect_err("refused");
    assert!(format!("{e:#}").contains("kernel `tiled`"), "{e:#}");
}

#[test]
fn what_a_cpu_lacks_is_refused_with_the_kernel_s_name() {
    for (inst, word) in [(Inst::Barrier, "barrier"), (Inst::AsyncCommit, "asynchronous")] {
        let mut b = kernel("gpu_only");
        b.push_effect(inst);
        let e = compile_object(&single(b.finish()), &host_target(), &Options::default()).expect_err("refused");
        let text = format!("{e:#}");
        assert!(text.contains("gpu_only"), "{word}: {text}");
    }
}
