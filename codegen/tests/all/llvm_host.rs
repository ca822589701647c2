//! The host program: argument checks, launches on the caller's threads, sizes over symbols, tables and weights, linked
//! into C programs by the system's compiler.

use std::convert::Infallible;
use std::ffi::c_void;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use crate::llvm_common::*;
use kiln_codegen::llvm::{Emit, Options, compile_object, host_target, jit};
use kiln_codegen::program::{DataSymbol, JitCode, Place, Port, Program, Step, Weights};
use kiln_ir::loops::{Access, Inst, Kernel, KernelBuilder, LoopKind, Ty};
use kiln_ir::scalar::CompareOp;
use kiln_ir::{DType, Dim, Symbol, SymbolBounds};

fn b() -> Dim {
    Dim::sym("b")
}

/// Row `task` of out (4 wide) = row `task` of x + the 4 weights; the row's first element must not be negative.
fn add_rows(name: &str) -> Kernel {
    let mut k = kernel(name);
    let x = k.buffer(global("x", DType::F32, b() * dim(4), Access::Read, 4));
    let w = k.buffer(global("w", DType::F32, dim(4), Access::Read, 16));
    let out = k.buffer(global("out", DType::F32, b() * dim(4), Access::Write, 4));
    let (zero, four, task) = (k.index(0), k.index(4), k.push(Ty::INDEX, Inst::Task));
    let row = k.mul(task, four);
    let vec = Ty::vector(DType::F32, 4);
    let v = k.push(vec, Inst::Load { buf: x, index: vec![row] });
    let first = k.push(Ty::scalar(DType::F32), Inst::Extract(v, 0));
    let least = k.float(DType::F32, 0.0);
    let ok = k.compare(CompareOp::Ge, first, least);
    k.push_effect(Inst::Check { ok, status: 6 });
    let wv = k.push(vec, Inst::Load { buf: w, index: vec![zero] });
    let sum = k.add(v, wv);
    k.store(out, vec![row], sum);
    let mut k = k.finish();
    k.tasks = b();
    k
}

/// out[0] = sum over i < n of x[i], in order.
fn sum_all(name: &str) -> Kernel {
    let mut k = kernel(name).finish();
    k.symbols = vec![Symbol::new("n")];
    let mut k = KernelBuilder::new(k);
    let x = k.buffer(global("x", DType::F32, Dim::sym("n"), Access::Read, 4));
    let out = k.buffer(global("out", DType::F32, dim(1), Access::Write, 4));
    let (zero, n, f) = (k.index(0), k.push(Ty::INDEX, Inst::Sym(0)), k.float(DType::F32, 0.0));
    let r = k
        .for_loop(LoopKind::Serial, zero, n, 1, 1, &[(f, None)], |k, iv, c| {
            let v = k.load(x, vec![iv]);
            Ok::<_, Infallible>(vec![k.add(c[0], v)])
        })
        .expect("builds");
    k.store(out, vec![zero], r[0]);
    k.finish()
}

/// x[b, 4] -> workspace -> workspace's second part -> their sum. The weights are 10 20 30 40 at byte 64.
fn program(weights: Weights) -> Program {
    // An odd size: half of (b + 1) rows, so that floor division is evaluated.
    let second = (b() * dim(16) + dim(63)).floor_div(&dim(64)) * dim(64);
    let launch = |kernel, buffers, symbols, tasks| Step::Launch { kernel, buffers, symbols, tasks };
    Program {
        prefix: "m".into(),
        kernels: vec![add_rows("add_rows"), sum_all("sum_all")],
        symbols: vec![(Symbol::new("b"), SymbolBounds { min: 0, max: Some(1 << 40) })],
        inputs: vec![Port { name: "x".into(), dtype: DType::F32, shape: vec![b(), dim(4)] }],
        outputs: vec![Port { name: "y".into(), dtype: DType::F32, shape: vec![dim(1)] }],
        workspace: second.clone() * dim(2),
        weights,
        steps: vec![
            launch(0, vec![Place::Input(0), Place::Weights(64), Place::Workspace(dim(0))], vec![], b()),
            launch(
                0,
                vec![Place::Workspace(dim(0)), Place::Weights(64), Place::Workspace(second.clone())],
                vec![],
                b(),
            ),
            launch(1, vec![Place::Workspace(second), Place::Output(0)], vec![b() * dim(4)], dim(1)),
        ],
        data: vec![],
    }
}

fn weights() -> Vec<u8> {
    let mut w = vec![0; 64];
    w.extend([10f32, 20.0, 30.0, 40.0].iter().flat_map(|v| v.to_le_bytes()));
    w
}

#[repr(C)]
struct Parallel {
    owner: *mut c_void,
    parallel_for: unsafe extern "C" fn(*mut c_void, usize, unsafe extern "C" fn(*mut c_void, usize), *mut c_void),
}

/// Runs the tasks last to first and adds up their number.
unsafe extern "C" fn backwards(
    owner: *mut c_void,
    n: usize,
    body: unsafe extern "C" fn(*mut c_void, usize),
    arg: *mut c_void,
) {
    // SAFETY: `owner` is the counter that the test passed; the body is the kernel.
    unsafe {
        *owner.cast::<usize>() += n;
        (0..n).rev().for_each(|i| body(arg, i));
    }
}

fn call(code: &dyn JitCode, args: &[u64], workspace: u64, par: Option<&Parallel>) -> i32 {
    let par = par.map_or(std::ptr::null(), |p| std::ptr::from_ref(p).cast());
    // SAFETY: the pointers are live memory of the sizes that the program asks for, or null where it must notice.
    unsafe { code.run_fn()(args.as_ptr(), workspace as *mut u8, par) }
}

#[test]
fn runs_in_order_or_through_the_callers_threads() {
    let p = program(Weights::Embedded(Arc::new(weights())));
    for threads in [1, 2] {
        let code = jit(&p, &host_target(), &Options { threads, ..Options::default() }).expect("compiles");
        assert!(code.code_bytes() > 100);
        for rows in [0usize, 1, 3, 17] {
            let x: Vec<f32> = (0..4 * rows).map(|i| i as f32).collect();
            let (mx, my, ws) = (Memory::of_f32(&x), Memory::new(4), Memory::new(2 * (rows * 16).next_multiple_of(64)));
            let want = x.iter().sum::<f32>() + rows as f32 * 200.0;
            let args = [rows as u64, mx.address(), my.address()];
            assert_eq!(call(&*code, &args, ws.address(), None), 0);
            assert_eq!(my.f32s(), [want]);
            let mut count = 0usize;
            let par = Parallel { owner: (&raw mut count).cast(), parallel_for: backwards };
            assert_eq!(call(&*code, &args, ws.address(), Some(&par)), 0);
            assert_eq!(my.f32s(), [want]);
            assert_eq!(count, if rows >= 2 { 2 * rows } else { 0 });
        }
    }
}

#[test]
fn refuses_bad_arguments_with_a_status() {
    let code = jit(&program(Weights::Argument), &host_target(), &Options::default()).expect("compiles");
    let (x, y, ws, w) = (Memory::of_f32(&[1.0; 8]), Memory::new(4), Memory::new(128), Memory::of(&weights()));
    let good = [2, x.address(), y.address(), w.address()];
    let with = |i: usize, v: u64| {
        let mut a = good;
        a[i] = v;
        a
    };
    assert_eq!(call(&*code, &good, ws.address(), None), 0);
    assert_eq!(y.f32s(), [8.0 + 400.0]);
    // SAFETY: null arguments are refused before anything is read.
    assert_eq!(unsafe { code.run_fn()(std::ptr::null(), std::ptr::null_mut(), std::ptr::null()) }, 1);
    assert_eq!(call(&*code, &with(1, 0), ws.address(), None), 1, "input");
    assert_eq!(call(&*code, &with(2, 0), ws.address(), None), 1, "output");
    assert_eq!(call(&*code, &good, 0, None), 1, "workspace");
    assert_eq!(call(&*code, &good, ws.address() + 32, None), 3, "workspace");
    assert_eq!(call(&*code, &with(3, 0), ws.address(), None), 4, "weights");
    assert_eq!(call(&*code, &with(3, w.address() + 16), ws.address(), None), 11, "weights");
    assert_eq!(call(&*code, &with(0, -1i64 as u64), ws.address(), None), 2, "symbol below");
    assert_eq!(call(&*code, &with(0, (1 << 40) + 1), ws.address(), None), 2, "symbol above");
    // No rows: neither the input nor the workspace is needed.
    assert_eq!(call(&*code, &[0, 0, y.address(), w.address()], 0, None), 0);
    assert_eq!(y.f32s(), [0.0]);
    // A kernel's check stops the run.
    let bad = Memory::of_f32(&[1.0, 1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 1.0]);
    assert_eq!(call(&*code, &with(1, bad.address()), ws.address(), None), 6);
}

#[test]
fn sizes_that_leave_i64_are_refused() {
    let mut p = program(Weights::Argument);
    p.symbols[0].1.max = None;
    let code = jit(&p, &host_target(), &Options::default()).expect("compiles");
    let y = Memory::new(4);
    assert_eq!(call(&*code, &[1 << 60, y.address(), y.address(), NO_WEIGHTS.0.as_ptr() as u64], y.address(), None), 2);
}

#[test]
fn the_same_input_gives_the_same_object_and_weights_lie_inside_once() {
    let big: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2654435761) >> 24) as u8).collect();
    let p = program(Weights::Embedded(Arc::new(big.clone())));
    let a = compile_object(&p, &host_target(), &Options::default()).expect("compiles");
    let b = compile_object(&p.clone(), &host_target(), &Options::default()).expect("compiles");
    assert!(a == b);
    assert!(a.len() < big.len() + 20_000, "{} bytes", a.len());
    assert!(a.windows(64).any(|w| w == &big[1_000_000..1_000_064]));
}

fn folder(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("a folder for the test");
    dir
}

fn shell(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        out.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

const MAIN: &str = r#"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct { int64_t b; const float *x; float *y; } m_args;
extern int32_t m_run(const m_args *, void *, const void *);
extern size_t m_workspace_size(const m_args *);
struct entry { const char *name; int32_t (*run)(const m_args *, void *, const void *); const struct entry *next; int64_t n; };
extern const struct entry m_table[2];
int main(void) {
    float x[12], y = 0;
    for (int i = 0; i < 12; i++) x[i] = (float)i;
    m_args a = { 3, x, &y };
    if (m_workspace_size(&a) != 128) return 10;
    if (m_workspace_size(NULL) != 0) return 11;
    void *ws = aligned_alloc(64, 128);
    int32_t s = m_table[1].run(&a, ws, NULL);
    if (strcmp(m_table[0].name, "first") || strcmp(m_table[1].name, "econd")) return 12;
    if (m_table[0].next != &m_table[1] || m_table[1].n != 77) return 13;
    printf("%d %g\n", (int)s, (double)y);
    return 0;
}
"#;

#[test]
fn an_object_links_into_c_programs_and_shared_libraries() {
    let mut p = program(Weights::Embedded(Arc::new(weights())));
    let text = |name: &str, s: &str| DataSymbol {
        name: name.into(),
        bytes: [s.as_bytes(), &[0]].concat(),
        align: 1,
        pointers: vec![],
        exported: false,
    };
    let mut bytes = vec![0; 64];
    bytes[56] = 77;
    let pointers = vec![
        (40, "m_run".to_string(), 0),
        (0, "m_name0".to_string(), 0),
        (16, "m_table".to_string(), 32),
        (32, "m_name1".to_string(), 1),
        (8, "m_weights".to_string(), 64),
    ];
    p.data = vec![
        DataSymbol { name: "m_table".into(), bytes, align: 16, pointers, exported: true },
        text("m_name0", "first"),
        text("m_name1", "second"),
    ];
    let dir = folder("llvm_host_link");
    let object = compile_object(&p, &host_target(), &Options::default()).expect("compiles");
    std::fs::write(dir.join("m.o"), object).expect("writes");
    std::fs::write(dir.join("main.c"), MAIN).expect("writes");
    for (name, flags) in [("pie", ["-fPIE", "-pie"]), ("static", ["-static", "-O1"])] {
        shell(Command::new("cc").current_dir(&dir).args(flags).args(["-Wall", "-Werror", "main.c", "m.o", "-o", name]));
        assert_eq!(shell(&mut Command::new(dir.join(name))), format!("0 {}\n", 66 + 600));
    }
    shell(Command::new("cc").current_dir(&dir).args(["-shared", "-Wl,-z,text,-z,defs", "m.o", "-o", "libm_model.so"]));

    let symbols = shell(Command::new("nm").current_dir(&dir).arg("m.o"));
    for line in symbols.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (kind, name) = (fields[fields.len() - 2], fields[fields.len() - 1]);
        if kind == "U" {
            assert!(["memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_"].contains(&name), "undefined: {line}");
        } else if kind.chars().all(char::is_uppercase) {
            assert!(name.starts_with("m_"), "exported: {line}");
        }
    }
    assert!(symbols.lines().any(|l| l.ends_with(" r m_weights")), "{symbols}");
    let headers = shell(Command::new("readelf").current_dir(&dir).args(["-SW", "m.o"]));
    assert!(!headers.contains(".eh_frame"), "{headers}");
}

#[test]
fn text_outputs() {
    let p = program(Weights::Embedded(Arc::new(weights())));
    let text = |emit| {
        let bytes = compile_object(&p, &host_target(), &Options { emit, ..Options::default() }).expect("compiles");
        String::from_utf8(bytes).expect("text")
    };
    assert!(text(Emit::Ir).contains("define internal void @add_rows(ptr"));
    assert!(text(Emit::Asm).contains("m_run:"));
}

#[test]
fn inconsistent_programs_are_refused() {
    let refuse = |change: &dyn Fn(&mut Program), what: &str| {
        let mut p = program(Weights::Argument);
        change(&mut p);
        let e = compile_object(&p, &host_target(), &Options::default()).expect_err(what);
        let text = format!("{e:#}");
        assert!(text.contains(what), "{text}");
    };
    refuse(&|p| p.prefix = "1x".into(), "C identifier");
    refuse(
        &|p| p.steps.push(Step::Launch { kernel: 9, buffers: vec![], symbols: vec![], tasks: dim(1) }),
        "launches kernel 9",
    );
    refuse(&|p| p.steps.push(Step::Launch { kernel: 1, buffers: vec![], symbols: vec![], tasks: dim(1) }), "sum_all");
    refuse(&|p| p.workspace = Dim::sym("q"), "`q`");
    refuse(
        &|p| {
            p.data = vec![DataSymbol {
                name: "m_t".into(),
                bytes: vec![0; 8],
                align: 8,
                pointers: vec![(0, "nowhere".into(), 0)],
                exported: true,
            }]
        },
        "nowhere",
    );
}
