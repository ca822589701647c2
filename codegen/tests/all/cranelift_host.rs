//! The printed host program: argument checks, symbols, workspace, weights, tasks on several threads; objects linked by
//! cc into a C program; equal bytes for equal input; compile time.

use std::ffi::c_void;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::cranelift_support::*;
use kiln_codegen::cranelift::{OptLevel, Options, compile_object, host_target, jit};
use kiln_codegen::program::{DataSymbol, Place, Port, Program, Step, Weights};
use kiln_ir::loops::{Access, Inst, Kernel, Space, Ty};
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::{DType, Dim};
use kiln_rt::abi::{Body, ParallelFor};
use kiln_rt::{Parallel, Pool, Status};

/// Columns of a row.
const COLUMNS: i64 = 16;

fn global(name: &str, dtype: DType, n: Dim, access: Access) -> kiln_ir::loops::Buffer {
    let mut b = buffer(name, dtype, 0, Space::Global, access);
    b.layout.size = n.clone();
    b.shape = vec![n];
    b
}

/// Task t: `y[t][..] = x[t][..] * w[..]`.
fn scale_rows() -> Kernel {
    let all = Dim::sym("n") * Dim::from(COLUMNS);
    let buffers = vec![
        global("x", DType::F32, all.clone(), Access::Read),
        global("w", DType::F32, Dim::from(COLUMNS), Access::Read),
        global("y", DType::F32, all, Access::Write),
    ];
    let mut b = kernel("scale_rows", buffers, &["n"]);
    let t = b.push(Ty::INDEX, Inst::Task);
    for_loop(&mut b, 0, COLUMNS, 4, 2, &[], |b, j, _| {
        let columns = b.index(COLUMNS);
        let row = b.mul(t, columns);
        let at = b.add(row, j);
        let (x, w) = (load(b, 0, at, 4), load(b, 1, j, 4));
        let v = b.mul(x, w);
        store(b, 2, at, v);
        vec![]
    });
    b.finish()
}

/// One task: `y[j] = sum over rows < n of x[row][j]`, refusing a negative x[0][0].
fn sum_rows() -> Kernel {
    let buffers = vec![
        global("x", DType::F32, Dim::sym("n") * Dim::from(COLUMNS), Access::Read),
        global("y", DType::F32, Dim::from(COLUMNS), Access::Write),
    ];
    let mut b = kernel("sum_rows", buffers, &["n"]);
    let (zero, n) = (b.index(0), b.push(Ty::INDEX, Inst::Sym(0)));
    let first = load(&mut b, 0, zero, 1);
    let f0 = b.float(DType::F32, 0.0);
    let ok = b.compare(CompareOp::Ge, first, f0);
    b.push_effect(Inst::Check { ok, status: Status::IndexOutOfRange.code() });
    let columns = b.index(COLUMNS);
    for_loop(&mut b, 0, COLUMNS, 4, 1, &[], |b, j, _| {
        let init = b.push(Ty::vector(DType::F32, 4), Inst::ConstFloat(0.0));
        let s = loop_between(b, zero, n, 1, 1, &[init], |b, r, c| {
            let row = b.mul(r, columns);
            let at = b.add(row, j);
            let v = load(b, 0, at, 4);
            vec![b.add(c[0], v)]
        });
        store(b, 1, j, s[0]);
        vec![]
    });
    b.finish()
}

/// x: f32[b, 16] -> rows scaled by the weights, summed. The kernels' symbol n is floordiv(2 b, 2), so b; the
/// intermediate stands 64 bytes into the workspace.
fn two_kernels(weights: Weights) -> Program {
    let mut p = program("net");
    let b = Dim::sym("b");
    p.symbols = vec![symbol("b", 1, 64)];
    p.inputs = vec![Port { name: "x".into(), dtype: DType::F32, shape: vec![b.clone(), Dim::from(COLUMNS)] }];
    p.outputs = vec![port("y", DType::F32, COLUMNS as usize), port("nothing", DType::F32, 0)];
    p.workspace = b.clone() * Dim::from(64i64) + Dim::from(64i64);
    p.weights = weights;
    p.kernels = vec![scale_rows(), sum_rows()];
    let n = (b.clone() * Dim::from(7i64) + Dim::from(1i64)).floor_div(&Dim::from(7i64));
    let n = n.smaller(&(b.clone() + b.clone()));
    p.steps = vec![
        Step::Launch {
            kernel: 0,
            buffers: vec![Place::Input(0), Place::Weights(64), Place::Workspace(Dim::from(64i64))],
            symbols: vec![n.clone()],
            tasks: b.clone(),
        },
        Step::Launch {
            kernel: 1,
            buffers: vec![Place::Workspace(Dim::from(64i64)), Place::Output(0)],
            symbols: vec![n],
            tasks: Dim::from(1i64),
        },
    ];
    p
}

fn weights_bytes() -> Vec<u8> {
    let mut w = vec![0xff; 64];
    w.extend(f32_bytes(&(0..COLUMNS).map(|j| j as f32).collect::<Vec<_>>()));
    w
}

fn embedded() -> Weights {
    Weights::Embedded(Arc::new(weights_bytes()))
}

fn rows(n: usize) -> Vec<f32> {
    (0..n * COLUMNS as usize).map(|i| (i % 23) as f32).collect()
}

fn expected(x: &[f32]) -> Vec<f32> {
    (0..COLUMNS as usize).map(|j| x.chunks(COLUMNS as usize).map(|r| r[j] * j as f32).sum()).collect()
}

/// Runs every task on a thread of its own and counts them.
unsafe extern "C" fn thread_each(this: *mut c_void, n: usize, body: Body, arg: *mut c_void) {
    // SAFETY: `this` is the counter that the test passed.
    let count = unsafe { &*(this as *const AtomicUsize) };
    let arg = arg as usize;
    std::thread::scope(|s| {
        for i in (0..n).rev() {
            s.spawn(move || {
                count.fetch_add(1, Ordering::Relaxed);
                // SAFETY: the contract of `parallel_for`.
                unsafe { body(arg as *mut c_void, i) }
            });
        }
    });
}

#[test]
fn two_kernels_share_a_workspace_for_any_batch() {
    let p = two_kernels(embedded());
    for opt in [OptLevel::None, OptLevel::Speed, OptLevel::Auto] {
        let code = compile(&p, &Options { opt, ..options() });
        for n in [1usize, 2, 7, 64] {
            let x = rows(n);
            let (status, y) = run(&p, &*code, &[n as i64], &[f32_bytes(&x)], std::ptr::null());
            assert_eq!((status, f32_of(&y[0])), (0, expected(&x)), "batch {n}");
        }
    }
}

#[test]
fn tasks_go_through_parallel_for() {
    let p = two_kernels(embedded());
    let code = compile(&p, &options());
    let count = AtomicUsize::new(0);
    let mut par =
        Parallel { this: (&raw const count).cast_mut().cast(), parallel_for: Some(thread_each as ParallelFor) };
    let go = |n: usize, par: &Parallel| {
        let x = rows(n);
        let (status, y) = run(&p, &*code, &[n as i64], &[f32_bytes(&x)], std::ptr::from_ref(par).cast());
        assert_eq!((status, f32_of(&y[0])), (0, expected(&x)), "batch {n}");
    };
    go(9, &par);
    assert_eq!(count.load(Ordering::Relaxed), 9, "each task once; the single task of the second kernel directly");
    go(1, &par);
    assert_eq!(count.load(Ordering::Relaxed), 9, "one task needs no threads");
    par.parallel_for = None;
    go(5, &par);
    let pool = Pool::new(2).expect("a pool");
    go(64, pool.parallel());
}

#[test]
fn arguments_are_checked_and_reported() {
    let p = two_kernels(Weights::Argument);
    let code = compile(&p, &options());
    let (x, weights) = (Aligned::of(&f32_bytes(&rows(2))), Aligned::of(&weights_bytes()));
    let mut y = Aligned::zeroed(64);
    let mut workspace = Aligned::zeroed(64 * 3);
    let good = [2, x.bytes().as_ptr() as u64, y.bytes_mut().as_mut_ptr() as u64, 0, weights.bytes().as_ptr() as u64];
    let at = workspace.bytes_mut().as_mut_ptr();
    let call = |args: &[u64; 5], workspace: *mut u8| {
        // SAFETY: every pointer is valid or one that the program refuses.
        unsafe { code.run_fn()(args.as_ptr(), workspace, std::ptr::null()) }
    };
    assert_eq!(call(&good, at), 0);
    let with = |i: usize, v: u64| {
        let mut a = good;
        a[i] = v;
        a
    };
    // SAFETY: the program refuses a null pointer.
    assert_eq!(unsafe { code.run_fn()(std::ptr::null(), at, std::ptr::null()) }, Status::NullPointer.code());
    for (args, workspace, want) in [
        (with(0, 0), at, Status::BadDim),
        (with(0, 65), at, Status::BadDim),
        (with(0, -1i64 as u64), at, Status::BadDim),
        (with(1, 0), at, Status::NullPointer),
        (with(2, 0), at, Status::NullPointer),
        (with(4, 0), at, Status::WeightsMissing),
        (with(4, good[4] + 4), at, Status::BadArgument),
        (good, std::ptr::null_mut(), Status::NullPointer),
        (good, at.wrapping_add(16), Status::WorkspaceMisaligned),
    ] {
        assert_eq!(call(&args, workspace), want.code(), "{want:?}");
    }
    let negative = Aligned::of(&f32_bytes(&[-1.0; 32]));
    let weights = Aligned::of(&f32_bytes(&[1.0; 32]));
    let args = [2, negative.bytes().as_ptr() as u64, good[2], 0, weights.bytes().as_ptr() as u64];
    assert_eq!(call(&args, at), Status::IndexOutOfRange.code(), "the kernel's own check");
}

#[test]
fn sizes_that_leave_i64_are_bad_dimensions() {
    let mut p = two_kernels(embedded());
    p.symbols[0].1.max = None;
    let code = compile(&p, &options());
    // 64 b bytes of input, 64 b + 64 of workspace: 2^63 is one too many.
    for (b, want) in [
        (1i64 << 56, Status::NullPointer),
        (1 << 57, Status::BadDim),
        (1 << 60, Status::BadDim),
        (i64::MAX, Status::BadDim),
    ] {
        let args = [b as u64, 0, 0, 0];
        // SAFETY: the program refuses the arguments before it follows a pointer.
        let status = unsafe { code.run_fn()(args.as_ptr(), std::ptr::null_mut(), std::ptr::null()) };
        assert_eq!(status, want.code(), "{b}");
    }
}

#[test]
fn empty_tensors_need_no_pointer() {
    let mut p = two_kernels(embedded());
    p.symbols[0].1.min = 0;
    p.workspace = Dim::sym("b") * Dim::from(64i64);
    p.steps.clear();
    let code = compile(&p, &options());
    let mut y = Aligned::zeroed(64);
    let y = y.bytes_mut().as_mut_ptr() as u64;
    for (args, want) in [([0, 0, y, 0], 0), ([0, 0, 0, 0], 1), ([1, 0, y, 0], 1), ([1, y, y, 0], 1)] {
        // SAFETY: nothing is launched.
        let status = unsafe { code.run_fn()(args.as_ptr(), std::ptr::null_mut(), std::ptr::null()) };
        assert_eq!(status, want, "{args:?}");
    }
}

#[test]
fn inconsistent_programs_are_refused() {
    let target = host_target().expect("a supported machine");
    let refuse = |change: fn(&mut Program)| {
        let mut p = two_kernels(embedded());
        change(&mut p);
        format!("{:#}", jit(&p, &target, &options()).err().expect("refused"))
    };
    for (part, change) in [
        (
            "kernel 5 does not exist",
            (|p| p.steps.push(Step::Launch { kernel: 5, buffers: vec![], symbols: vec![], tasks: Dim::from(1i64) }))
                as fn(&mut Program),
        ),
        ("0 places for 3 buffers", |p| {
            p.steps.push(Step::Launch {
                kernel: 0,
                buffers: vec![],
                symbols: vec![Dim::from(1i64)],
                tasks: Dim::from(1i64),
            })
        }),
        ("0 values for 1 symbols", |p| {
            let Step::Launch { symbols, .. } = &mut p.steps[0] else { panic!("a launch") };
            symbols.clear();
        }),
        ("symbol `q` is not one of the program's", |p| {
            let Step::Launch { tasks, .. } = &mut p.steps[0] else { panic!("a launch") };
            *tasks = Dim::sym("q");
        }),
        ("input 3 does not exist", |p| {
            let Step::Launch { buffers, .. } = &mut p.steps[0] else { panic!("a launch") };
            buffers[0] = Place::Input(3);
        }),
        ("two functions are called `scale_rows`", |p| p.kernels[1].name = "scale_rows".into()),
    ] {
        let e = refuse(change);
        assert!(e.contains(part), "expected `{part}` in: {e}");
    }
}

fn temporary(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cranelift_{name}_{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    dir
}

fn with_metadata(mut p: Program) -> Program {
    let name = DataSymbol {
        name: "net_name".into(),
        bytes: b"net\0scale and sum\0".to_vec(),
        align: 1,
        pointers: vec![],
        exported: false,
    };
    let table = DataSymbol {
        name: "net_metadata".into(),
        bytes: vec![0; 16],
        align: 8,
        pointers: vec![(0, "net_name".into(), 0), (8, "net_name".into(), 4)],
        exported: true,
    };
    p.data = vec![table, name];
    p
}

#[test]
fn an_object_links_into_a_c_program() {
    const MAIN: &str = r#"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct { int64_t b; const float *x; float *y; float *nothing; } args_t;
extern int32_t net_run(const args_t *args, void *workspace, const void *par);
extern size_t net_workspace_size(const args_t *args);
extern const char *const net_metadata[2];
int main(void) {
    static float x[48], y[16];
    for (int i = 0; i < 48; i++) x[i] = (float)(i % 23);
    args_t a = { 3, x, y, 0 };
    if (net_workspace_size(0) != 0) return 2;
    a.b = 65;
    if (net_workspace_size(&a) != 0) return 3;
    a.b = 3;
    size_t n = net_workspace_size(&a);
    if (n != 256) return 4;
    void *ws = aligned_alloc(64, n);
    if (net_run(&a, ws, 0) != 0) return 5;
    for (int j = 0; j < 16; j++) {
        float want = 0;
        for (int r = 0; r < 3; r++) want += x[16 * r + j] * (float)j;
        if (y[j] != want) return 6;
    }
    if (strcmp(net_metadata[0], "net") || strcmp(net_metadata[1], "scale and sum")) return 7;
    if (net_run(0, ws, 0) != 1) return 8;
    puts("ok");
    return 0;
}
"#;
    if Command::new("cc").arg("--version").output().is_err() {
        eprintln!("skipped: no cc");
        return;
    }
    let dir = temporary("link");
    let object = compile_object(
        &with_metadata(two_kernels(embedded())),
        &host_target().expect("a supported machine"),
        &Options::default(),
    )
    .expect("an object");
    let (o, c, exe) = (dir.join("net.o"), dir.join("main.c"), dir.join("main"));
    std::fs::write(&o, object).expect("written");
    std::fs::write(&c, MAIN).expect("written");
    // As a position-independent executable, which refuses absolute relocations in code.
    let cc = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", "-pie", "-fPIE", "-o"])
        .args([&exe, &c, &o])
        .output()
        .expect("cc");
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    let out = Command::new(&exe).output().expect("runs");
    assert_eq!((out.status.code(), &*out.stdout), (Some(0), &b"ok\n"[..]));

    // Symbols: only the prefix is visible, nothing is undefined.
    if let Ok(nm) = Command::new("nm").arg(&o).output() {
        let text = String::from_utf8_lossy(&nm.stdout).into_owned();
        let mut visible = vec![];
        for line in text.lines() {
            let mut words = line.split_whitespace().rev();
            let (name, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            assert_ne!(kind, "U", "undefined: {name}");
            if kind.chars().all(|c| c.is_ascii_uppercase()) {
                visible.push(name.to_owned());
            }
        }
        visible.sort();
        assert_eq!(visible, ["net_metadata", "net_run", "net_workspace_size"]);
    }
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn a_remainder_of_floats_needs_libm_only() {
    let k = map_kernel("remainder", &[DType::F32, DType::F32], DType::F32, 8, 4, |b, v| {
        b.binary(BinaryOp::FloorMod, v[0], v[1])
    });
    let object =
        compile_object(&program_of(vec![k]), &host_target().expect("a supported machine"), &Options::default())
            .expect("an object");
    let dir = temporary("libm");
    let o = dir.join("m.o");
    std::fs::write(&o, object).expect("written");
    if let Ok(nm) = Command::new("nm").arg("-u").arg(&o).output() {
        assert_eq!(String::from_utf8_lossy(&nm.stdout).trim(), "U fmodf");
    }
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn equal_programs_give_equal_objects() {
    let p = with_metadata(two_kernels(embedded()));
    let target = host_target().expect("a supported machine");
    let object = |threads| compile_object(&p, &target, &Options { threads, ..Options::default() }).expect("an object");
    let first = object(1);
    for threads in [1, 2, 8] {
        assert!(object(threads) == first, "{threads} threads");
    }
}

#[test]
fn objects_for_other_machines() {
    let p = two_kernels(embedded());
    let mut target = host_target().expect("a supported machine");
    (target.arch, target.triple, target.cpu) =
        (kiln_codegen::target::Arch::Aarch64, "aarch64-unknown-linux-gnu".into(), "generic".into());
    let arm = compile_object(&p, &target, &Options::default()).expect("an object");
    // ELF, 64 bits, little endian, machine 183.
    assert_eq!((&arm[..6], arm[18]), (&b"\x7fELF\x02\x01"[..], 183));
    (target.arch, target.triple, target.cpu) =
        (kiln_codegen::target::Arch::X86_64, "x86_64-unknown-linux-gnu".into(), "x86-64-v2".into());
    let x86 = compile_object(&p, &target, &Options::default()).expect("an object");
    assert_eq!((&x86[..6], x86[18]), (&b"\x7fELF\x02\x01"[..], 62));
    target.cpu = "x86-64".into();
    assert!(format!("{:#}", compile_object(&p, &target, &Options::default()).expect_err("too old")).contains("SSE4.1"));
}

#[test]
fn code_is_freed() {
    // Each round maps some pages; without unmapping them the address space would show it.
    let p = two_kernels(embedded());
    let anonymous = || {
        std::fs::read_to_string("/proc/self/maps")
            .map_or(0, |m| m.lines().filter(|l| l.contains("r-xp") && !l.contains('/') && !l.contains('[')).count())
    };
    let before = anonymous();
    for _ in 0..20 {
        drop(compile(&p, &options()));
    }
    assert!(anonymous() < before + 20, "{} executable mappings before, {} after", before, anonymous());
}

/// A kernel of the size that fused clusters have: a register tile of `rows` x 2 vectors over a reduction, with an
/// epilogue, in a loop over columns.
fn typical(name: &str, rows: i64, k: i64) -> Kernel {
    let buffers = vec![
        buffer("a", DType::F32, (rows * k) as usize, Space::Global, Access::Read),
        buffer("b", DType::F32, (64 * k) as usize, Space::Global, Access::Read),
        buffer("bias", DType::F32, 64, Space::Global, Access::Read),
        buffer("c", DType::F32, (rows * 64) as usize, Space::Global, Access::Write),
    ];
    let mut b = kernel(name, buffers, &[]);
    let ty = Ty::vector(DType::F32, 4);
    for_loop(&mut b, 0, 64, 8, 1, &[], |b, j, _| {
        let zeros: Vec<_> = (0..2 * rows).map(|_| b.push(ty, Inst::ConstFloat(0.0))).collect();
        let acc = for_loop(b, 0, k, 1, 2, &zeros, |b, p, acc| {
            let (width, four) = (b.index(64), b.index(4));
            let at = b.mul(p, width);
            let at = b.add(at, j);
            let next = b.add(at, four);
            let (b0, b1) = (load(b, 1, at, 4), load(b, 1, next, 4));
            let mut out = vec![];
            for r in 0..rows {
                let row = b.index(r * k);
                let at = b.add(p, row);
                let s = load(b, 0, at, 1);
                let s = b.push(ty, Inst::Splat(s));
                out.push(b.push(ty, Inst::Fma(s, b0, acc[2 * r as usize])));
                out.push(b.push(ty, Inst::Fma(s, b1, acc[2 * r as usize + 1])));
            }
            out
        });
        for (i, v) in acc.into_iter().enumerate() {
            let (lane, row) = (b.index(4 * (i as i64 % 2)), b.index(64 * (i as i64 / 2)));
            let at = b.add(j, lane);
            let bias = load(b, 2, at, 4);
            let v = b.add(v, bias);
            let zero = b.push(ty, Inst::ConstFloat(0.0));
            let v = b.binary(BinaryOp::Max, v, zero);
            let at = b.add(at, row);
            store(b, 3, at, v);
        }
        vec![]
    });
    b.finish()
}

/// `cargo test --release -- --ignored --nocapture` prints compile times.
#[test]
#[ignore = "a measurement"]
fn compile_time_of_sixty_kernels() {
    let p = program_of((0..60).map(|i| typical(&format!("k{i}"), 4 + i % 3, 64 + i)).collect());
    let target = host_target().expect("a supported machine");
    let inputs: Vec<Vec<u8>> = p.inputs.iter().map(|i| vec![0; i.bytes().as_const().unwrap_or(0) as usize]).collect();
    for opt in [OptLevel::None, OptLevel::Speed, OptLevel::Auto] {
        for threads in [1, 2] {
            let (mut best, mut object, mut exec, mut bytes) = (f64::INFINITY, f64::INFINITY, f64::INFINITY, 0);
            for _ in 0..5 {
                let options = Options { opt, threads, ..options() };
                let start = Instant::now();
                let code = jit(&p, &target, &options).expect("compiles");
                best = best.min(start.elapsed().as_secs_f64());
                bytes = code.code_bytes();
                let start = Instant::now();
                compile_object(&p, &target, &options).expect("compiles");
                object = object.min(start.elapsed().as_secs_f64());
                for _ in 0..5 {
                    let start = Instant::now();
                    assert_eq!(run(&p, &*code, &[], &inputs, std::ptr::null()).0, 0);
                    exec = exec.min(start.elapsed().as_secs_f64());
                }
            }
            println!(
                "60 kernels, {opt:?}, {threads} threads: JIT {:.1} ms, object {:.1} ms, {} KB of code, run {:.3} ms",
                best * 1e3,
                object * 1e3,
                bytes / 1024,
                exec * 1e3
            );
        }
    }
}
