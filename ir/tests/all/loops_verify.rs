//! Violations that the text form cannot express, and how errors read.

use kiln_ir::loops::inst::{Block, For, Inst, LoopKind, Stmt, Ty, V};
use kiln_ir::loops::verify::{Place, verify};
use kiln_ir::loops::{BufId, Kernel, Level, parse};
use kiln_ir::scalar::BinaryOp;
use kiln_ir::{DType, Dim};

fn kernel(types: Vec<Ty>, stmts: Vec<Stmt>) -> Kernel {
    Kernel {
        name: "k".into(),
        level: Level::Nest,
        buffers: vec![],
        symbols: vec![],
        tasks: Dim::from(1i64),
        threads: 1,
        body: Block { stmts, yields: vec![] },
        types,
    }
}

fn stmt(result: u32, inst: Inst) -> Stmt {
    Stmt { results: vec![V(result)], inst }
}

fn codes(k: &Kernel) -> Vec<(&'static str, Place)> {
    match verify(k, None) {
        Ok(()) => vec![],
        Err(e) => e.errors.into_iter().map(|e| (e.code, e.place)).collect(),
    }
}

#[test]
fn a_value_is_defined_once() {
    let one = || Inst::ConstInt(1);
    let k = kernel(vec![Ty::INDEX], vec![stmt(0, one()), stmt(0, one()), stmt(5, one())]);
    assert_eq!(codes(&k), [("K09", Place::Stmt(1)), ("K09", Place::Stmt(2))]);
}

#[test]
fn a_value_is_used_where_it_is_visible() {
    let add = |x, y| Inst::Binary(BinaryOp::Add, V(x), V(y));
    // Before its definition, undefined, out of range.
    let k = kernel(
        vec![Ty::INDEX; 5],
        vec![stmt(0, add(1, 1)), stmt(1, Inst::ConstInt(1)), stmt(2, add(3, 1)), stmt(4, add(9, 1))],
    );
    let at = |i| ("K10", Place::Stmt(i));
    assert_eq!(codes(&k), [at(0), at(0), at(2), at(3)]);

    // Outside of the loop that defines it.
    let body = Block { stmts: vec![stmt(3, Inst::ConstInt(1))], yields: vec![] };
    let l = For { kind: LoopKind::Serial, iv: V(2), lo: V(0), hi: V(1), step: 1, carried: vec![], body, unroll: 1 };
    let loop_stmt = Stmt { results: vec![], inst: Inst::For(Box::new(l)) };
    let consts = [stmt(0, Inst::ConstInt(0)), stmt(1, Inst::ConstInt(4))];
    let k =
        kernel(vec![Ty::INDEX; 6], [consts.to_vec(), vec![loop_stmt, stmt(4, add(3, 0)), stmt(5, add(2, 0))]].concat());
    assert_eq!(codes(&k), [at(4), at(5)]);
}

#[test]
fn a_buffer_exists() {
    let k = kernel(vec![Ty::scalar(DType::F32)], vec![stmt(0, Inst::Load { buf: BufId(3), index: vec![] })]);
    assert_eq!(codes(&k), [("K18", Place::Stmt(0))]);
    assert!(verify(&k, None).unwrap_err().to_string().contains("%0 = load @?3[] : f32"));
}

#[test]
fn the_body_yields_nothing() {
    let mut k = kernel(vec![Ty::INDEX], vec![stmt(0, Inst::ConstInt(1))]);
    k.body.yields = vec![V(0)];
    assert!(codes(&k).contains(&("K34", Place::Kernel)));
}

#[test]
fn errors_name_the_kernel_and_show_the_statements() {
    let k = parse::parse(
        "kernel @wrong nest tasks(1) {
           %a = const 1.0 : f32
           %b = exp %a : f64
           %c = not %a : f32
         }",
    )
    .unwrap();
    assert_eq!(
        verify(&k, None).unwrap_err().to_string(),
        "kernel @wrong is not valid:
  K15: the result is f32, stated f64
      | %1 = exp %0 : f64
  K12: not does not take f32
      | %2 = not %0 : f32"
    );
}

#[test]
fn parse_errors_say_where_and_what() {
    for (text, message) in [
        ("", "1:1: expected `kernel`, found the end of the text"),
        ("kernel k", "1:8: expected the kernel's `@name`, found `k`"),
        ("kernel @k low {", "1:11: expected a level (nest, scheduled, machine), found `low`"),
        ("kernel @k nest {\n  %a = frob %b\n}", "2:8: unknown instruction `frob`"),
        ("kernel @k nest {\n  %a = exp %b : f32\n}", "2:12: `%b` is not defined here"),
        (
            "kernel @k nest {\n  %a = const 1 : f32x\n}",
            "2:18: expected a type such as f32, f32x8 or f32x6x16, found `f32x`",
        ),
        ("kernel @k nest {\n  %a = const 1 : i64\n  %a = const 1 : i64\n}", "3:3: `%a` is already defined"),
        ("kernel @k nest {\n  %x = load @y[] : f32\n}", "2:13: `@y` is not declared"),
        ("kernel @k nest {\n  barrier", "2:10: expected an instruction, found the end of the text"),
        ("kernel @k nest {\n  %a, %b = const 1 : i64\n}", "2:12: this instruction has 1 results, 2 are named"),
        ("kernel @k nest {\n  %a = dim 2*b + : i64\n}", "2:17: expected a dimension"),
        ("kernel @k nest tasks(floordiv(b, 0)) {\n}", "1:36: the divisor 0 is not positive"),
        ("kernel @k nest {\n  #\n}", "2:3: unexpected character '#'"),
        (
            "kernel @k nest {\n  %a = const 99999999999999999999 : i64\n}",
            "2:14: `99999999999999999999` does not fit 64 bits",
        ),
        (
            "kernel @k nest {\n  buffer @x: f32[2] global read layout(d0 * 1)\n}",
            "3:1: the layout before this has no `size`",
        ),
    ] {
        assert_eq!(parse::parse(text).unwrap_err().to_string(), message);
    }
    let deep = format!("kernel @k nest {{\n%c = const 1 : bool\n{}", "if %c {\n".repeat(100_000));
    assert!(parse::parse(&deep).unwrap_err().message.contains("nested deeper"));
}
