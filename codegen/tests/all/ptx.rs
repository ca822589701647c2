//! The PTX printer: text of small kernels, errors, and every kernel of `gpu_kernels` through NVIDIA's assembler where
//! `ptxas` is installed (`KILN_PTXAS` or the path names it).

use std::path::PathBuf;
use std::process::Command;

use crate::gpu_kernels::matmul::{Tile, matmul};
use crate::gpu_kernels::num::{self, Num};
use crate::gpu_kernels::sweep::What;
use crate::gpu_kernels::{buffer, empty, load, mixed, pointwise, reduce, sweep};
use kiln_codegen::ptx::print_module;
use kiln_ir::loops::inst::INTRINSICS;
use kiln_ir::loops::{Access, Inst, IntrinsicId, Kernel, LoopKind, Space, Ty};
use kiln_ir::scalar::{BinaryOp, ReduceOp, UnaryOp};
use kiln_ir::scalar_eval::Scalar;
use kiln_ir::{DType, Dim};

/// Assembles a module; `None` (and a note) without `ptxas`. Gives the assembler's report of registers and memory.
fn assemble(name: &str, ptx: &str) -> Option<String> {
    let tool = std::env::var_os("KILN_PTXAS").unwrap_or_else(|| "ptxas".into());
    if Command::new(&tool).arg("--version").output().is_err() {
        println!("{name}: not assembled, because ptxas is not installed (set KILN_PTXAS)");
        return None;
    }
    let dir = tempfile_dir(name);
    let source = dir.join("module.ptx");
    std::fs::write(&source, ptx).expect("writing the module");
    let out = Command::new(&tool).args(["-arch=sm_90", "-v", "-o"]).arg(dir.join("module.cubin")).arg(&source).output();
    let out = out.expect("running ptxas");
    let report = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{name}: {report}\n{}", numbered(ptx));
    let _ = std::fs::remove_dir_all(dir);
    Some(report)
}

fn tempfile_dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("kiln-ptx-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("making a temporary folder");
    dir
}

fn numbered(text: &str) -> String {
    text.lines().enumerate().map(|(i, l)| format!("{:5} {l}\n", i + 1)).collect()
}

fn print(kernels: &[&Kernel]) -> String {
    print_module(kernels, "sm_90").expect("the kernels print")
}

#[test]
fn pointwise_reads_vectors_and_never_contracts() {
    let k = pointwise::pointwise(DType::F32, 4, false);
    let text = print(&[&k]);
    assert!(text.contains("ld.global.nc.v4.f32"), "{text}");
    assert!(text.contains("st.global.v4.f32"), "{text}");
    assert!(text.contains("max.NaN.f32"), "{text}");
    assert!(!text.contains("fma") && !text.contains("add.f32") && !text.contains("mul.f32"), "{text}");
    assemble("pointwise", &text);
    for elem in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        for fused in [false, true] {
            let k = pointwise::pointwise(elem, 16 / elem.size() as u16, fused);
            let text = print(&[&k]);
            let wide = if elem == DType::F64 {
                ".v2.f64"
            } else if elem == DType::F32 {
                ".v4.f32"
            } else {
                ".v4.b32"
            };
            assert!(text.contains(&format!("ld.global.nc{wide}")), "{text}");
            assemble(&k.name, &text);
        }
    }
}

#[test]
fn row_reduction_assembles() {
    for cols in [None, Some(4096), Some(1001)] {
        let k = reduce::row_reduce(cols);
        let text = print(&[&k]);
        assert_eq!(text.matches("shfl.sync.bfly.b32").count(), 2 * (5 + 3), "{text}");
        assert_eq!(text.contains("ld.global.nc.v4.f32"), cols == Some(4096));
        assemble(&k.name, &text);
    }
}

#[test]
fn matrix_products_assemble() {
    for (i, row) in INTRINSICS.iter().enumerate().filter(|r| r.1.name.starts_with("mma.")) {
        for (n, k) in [(4096, 4096), (129, 67), (1, 1), (250, 6), (20, 4)] {
            let kernel = matmul(IntrinsicId(i as u8), n, k, Tile::of(row.ab));
            let text = print(&[&kernel]);
            assert!(text.contains("mma.sync.aligned"), "{text}");
            assert_eq!(row.ab == DType::F32, text.contains("cvt.rna.tf32.f32"));
            // Rows of 2-byte elements that start at odd elements are copied by loads and stores.
            assert_eq!(
                text.contains(".shared.global"),
                !(row.ab == DType::BF16 && n % 2 == 1 && k % 2 == 1),
                "{n}x{k}"
            );
            if let Some(report) = assemble(&kernel.name, &text) {
                // The assembler may spill a few bytes for occupancy where the depth is tiny.
                let whole = report.contains("0 bytes spill stores, 0 bytes spill loads");
                assert!(whole || k < Tile::of(row.ab).bk, "{report}");
                println!("{}: {}", kernel.name, report.lines().filter(|l| l.contains("registers")).collect::<String>());
            }
        }
    }
}

#[test]
fn every_operation_and_cast_assembles() {
    let sweeps = sweep::all();
    assert!(sweeps.len() > 400, "{}", sweeps.len());
    let kernels: Vec<&Kernel> = sweeps.iter().map(|s| &s.kernel).collect();
    assemble("sweeps", &print(&kernels));
}

#[test]
fn the_remaining_instructions_assemble() {
    let text = print(&[&mixed::mixed()]);
    for part in ["st.local.v4.f32", "ld.local.f32", "prefetch.global.L1", "red.global.max.u32", "mov.b64 {"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assemble("mixed", &text);
}

/// What the GPU is compared with says the same as the reference semantics, bit for bit: a kernel that passes on the GPU
/// agrees with the interpreter.
#[test]
fn the_oracle_agrees_with_the_reference_semantics() {
    let scalar = |elem: DType, x: Num| Scalar::load(elem, &num::encode(elem, x)).expect("a plain element");
    let mut compared = 0;
    for s in sweep::all() {
        for x in num::samples(s.elem) {
            for y in num::samples(s.elem) {
                let Some(want) = sweep::expected(s.what, s.elem, x, y) else { continue };
                let (a, b) = (scalar(s.elem, x), scalar(s.elem, y));
                let got = match s.what {
                    What::Unary(op) => Scalar::unary(op, a),
                    What::Binary(op) => Scalar::binary(op, a, b),
                    What::Compare(op) => Scalar::compare(op, a, b).map(Scalar::Bool),
                    What::Cast(to) => a.cast(to),
                    What::Fma => Scalar::fma(a, b, a),
                };
                let got = got.unwrap_or_else(|e| panic!("{:?} on {}: {e}", s.what, s.elem));
                let mut bytes = [0u8; 16];
                assert!(got.store(&mut bytes));
                let got = num::decode(s.result, &bytes);
                let loose = match s.what {
                    What::Unary(UnaryOp::Rsqrt) => num::within_one_ulp(s.elem, want, got),
                    // TensorFlow rounds the quotient and the difference to the 16-bit type first, as the printer and the
                    // oracle do; the reference rounds once at the end.
                    What::Binary(BinaryOp::FloorDiv | BinaryOp::SquaredDifference) => {
                        matches!(s.elem, DType::F16 | DType::BF16)
                    }
                    _ => false,
                };
                assert!(
                    num::same(got, want) || loose,
                    "{:?} on {}: {x:?}, {y:?}: {got:?}, not {want:?}",
                    s.what,
                    s.elem
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 500_000, "{compared}");
}

/// A one-thread kernel over f32 buffers x[64] and y[64].
fn small(name: &str, body: impl FnOnce(&mut kiln_ir::loops::KernelBuilder)) -> Kernel {
    let mut b = empty(name.into(), &[], Dim::from(1), 1);
    let shape = [Dim::from(64)];
    buffer(&mut b, "x", DType::F32, &shape, Space::Global, Access::Read);
    buffer(&mut b, "y", DType::F32, &shape, Space::Global, Access::Write);
    body(&mut b);
    b.finish()
}

#[test]
fn a_loop_unrolls_into_copies_and_swaps_carried_values_at_once() {
    use kiln_ir::loops::BufId;
    // (p, q) -> (q, p): a parallel copy at the loop's end.
    let k = small("swap", |b| {
        let zero = b.index(0);
        let p = load(b, BufId(0), zero, 1);
        let q = b.float(DType::F32, 2.0);
        let (lo, hi) = (b.index(0), b.index(12));
        let out: Result<_, std::convert::Infallible> =
            b.for_loop(LoopKind::Serial, lo, hi, 1, 3, &[(p, None), (q, None)], |b, iv, c| {
                let v = load(b, BufId(0), iv, 1);
                let sum = b.add(c[0], v);
                Ok(vec![c[1], sum])
            });
        let Ok(out) = out;
        b.store(BufId(1), vec![zero], out[0]);
    });
    let text = print(&[&k]);
    // Three copies of the body in one trip, two of them at immediate or added offsets; one backward branch.
    assert_eq!(text.matches("add.rn.f32").count(), 3, "{text}");
    assert_eq!(text.matches("setp.lt.s64").count(), 1, "{text}");
    // One address serves all copies: offsets 0, 4 and 8.
    for offset in ["+0]", "+4]", "+8]"] {
        assert!(text.contains(offset), "{text}");
    }
    assemble("swap", &text);
}

#[test]
fn lanes_reduce_as_a_tree() {
    use kiln_ir::loops::BufId;
    let k = small("tree", |b| {
        let zero = b.index(0);
        let v = load(b, BufId(0), zero, 4);
        let s = b.reduce_lanes(ReduceOp::Sum, v);
        b.store(BufId(1), vec![zero], s);
    });
    let text = print(&[&k]);
    for sum in ["%f4, %f0, %f2", "%f5, %f1, %f3", "%f6, %f4, %f5"] {
        assert!(text.contains(&format!("add.rn.f32 {sum};")), "{text}");
    }
    assemble("tree", &text);
}

#[test]
fn errors_name_the_kernel_the_value_and_what_to_do() {
    use kiln_ir::loops::BufId;
    let exp = small("with_exp", |b| {
        let zero = b.index(0);
        let v = load(b, BufId(0), zero, 1);
        let e = b.unary(UnaryOp::Exp, v);
        b.store(BufId(1), vec![zero], e);
    });
    let says = |k: &Kernel| format!("{:#}", print_module(&[k], "sm_90").expect_err("it cannot print"));
    let text = says(&exp);
    for part in ["with_exp", "%2", "`exp` on f32", "codegen/math"] {
        assert!(text.contains(part), "{text}");
    }
    let stores_to_input = small("bad_store", |b| {
        let zero = b.index(0);
        let v = b.float(DType::F32, 1.0);
        b.store(BufId(0), vec![zero], v);
    });
    assert!(says(&stores_to_input).contains("`x` is only read"));
    let symbolic = small("symbolic", |b| {
        b.push(Ty::INDEX, Inst::Dim(Dim::sym("n")));
    });
    assert!(says(&symbolic).contains("arithmetic on symbols"));
    let large = small("large", |b| {
        buffer(b, "tile", DType::F32, &[Dim::from(20_000)], Space::Shared, Access::ReadWrite);
    });
    assert!(says(&large).contains("80000 bytes of shared memory"));
    assert!(print_module(&[&exp], "sm_70").is_err() && print_module(&[&exp], "avx512").is_err());
    assert!(format!("{:#}", print_module(&[&large, &large], "sm_90").expect_err("twice")).contains("large"));
}
