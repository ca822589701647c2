use half::{bf16, f16};
use num_complex::Complex;
use proptest::prelude::*;

use super::*;
use crate::tensor::{Element, Tensor};
use crate::{Builder, DType, Dim, Loc, Module, ParamKind, Symbol, SymbolBounds, TensorType};

const SAMPLE: &str = r#"symbol b: 1..64
symbol n: 0..
entry @serve
entry @"odd name"

func @serve(input "x" %0: f32[b, 3], var "w" %1: f32[3]) {
  %2 = const value=dense<f32[]: 1.0> : f32[]
  %3 = binary op=add %0, %2 : f32[b, 3] loc("dense/add", "AddV2")
  %4 = transpose perm=[1, 0] %3 : f32[3, b]
  %5 = reshape shape=[3*b] %4 : f32[3*b]
  %6 = dims dims=[floordiv(b + 1, 2)], scalar=true, dtype=i64 : i64[]
  return output "y" %5, var "w" %1
}

func @"odd name"(
    input "a" %0: bool[],
    input "\"q\"\x0a" %1: i32[min(b, n)],
    input "c" %2: string[2],
    input "d" %3: c64[]
) {
  return
}
"#;

#[test]
fn text_round_trips() {
    let m = parse(SAMPLE).expect("the sample parses");
    assert_eq!(print(&m, Dump::Full), SAMPLE);
}

fn module_of(t: Tensor) -> Module {
    let mut b = Builder::new("f");
    let v = b.constant(t).expect("a constant");
    b.func.add_result("y", ParamKind::Input, v);
    Module { funcs: vec![b.func], entries: vec![0], ..Module::default() }
}

fn back(t: &Tensor) -> Tensor {
    let text = print(&module_of(t.clone()), Dump::Full);
    let m = parse(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(print(&m, Dump::Full), text);
    let node = m.funcs[0].node(crate::NodeId(0));
    node.op.is::<crate::ops::constant::Const>().expect("a constant").value.clone()
}

fn same(t: Tensor) {
    assert!(back(&t).same_bits(&t), "{}", print(&module_of(t), Dump::Full));
}

#[test]
fn tensors_read_back_bit_for_bit() {
    same(Tensor::of(&[5], &[0.1f32, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE / 4.0]));
    same(Tensor::of(&[3], &[f32::NAN, f32::from_bits(0x7fc0_0001), f32::from_bits(0xff80_0001)]));
    same(Tensor::of(&[3], &[f64::NAN, -f64::NAN, 1e300]));
    same(Tensor::of(&[2], &[i64::MIN, i64::MAX]));
    same(Tensor::of(&[2, 1], &[u64::MAX, 0]));
    same(Tensor::of(&[2], &[Complex { re: 1.5f32, im: -0.0 }, Complex { re: f32::NAN, im: 2.0 }]));
    same(Tensor::of_bools(&[3], &[true, false, true]));
    same(Tensor::of_bools(&[3], &[true, true, true]));
    same(Tensor::of_strings(&[2], vec![b"a\"\\\n\xff".to_vec(), vec![]]));
    same(Tensor::of(&[0, 4], &[0i32; 0]));
    same(Tensor::of(&[1000], &[7i8; 1000]));
}

#[test]
fn every_16_bit_float_reads_back() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = all.iter().flat_map(|x| x.to_ne_bytes()).collect();
    same(dense::raw(DType::F16, &[1 << 16], &bytes));
    same(dense::raw(DType::BF16, &[1 << 16], &bytes));
    assert_eq!((f16::DTYPE, bf16::DTYPE), (DType::F16, DType::BF16));
}

proptest! {
    #[test]
    fn any_f32_and_f64_reads_back(x in proptest::collection::vec(any::<u32>(), 1..8), y in any::<u64>()) {
        let x: Vec<f32> = x.into_iter().map(f32::from_bits).collect();
        prop_assert!(back(&Tensor::of(&[x.len()], &x)).same_bits(&Tensor::of(&[x.len()], &x)));
        let y = Tensor::scalar(f64::from_bits(y));
        prop_assert!(back(&y).same_bits(&y));
    }

    #[test]
    fn damaged_text_never_panics(at in 0..SAMPLE.len(), len in 0usize..12, with in "[ -~\n\u{e9}]{0,6}") {
        let end = (at + len).min(SAMPLE.len());
        let text = format!("{}{with}{}", &SAMPLE[..at], &SAMPLE[end..]);
        if let Ok(m) = parse(&text) {
            let printed = print(&m, Dump::Full);
            let again = parse(&printed).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(print(&again, Dump::Full), printed);
        }
    }
}

fn error(text: &str) -> TextError {
    parse(text).expect_err("the text is wrong")
}

#[test]
fn errors_point_at_the_place() {
    let e = error("func @f() {\n  %0 = binary op=ad : f32[]\n  return\n}");
    assert_eq!((e.line, e.column), (2, 8));
    assert_eq!(e.message, "binary: unknown operation `ad`");
    assert_eq!(e.to_string(), "2:8: binary: unknown operation `ad`\n  |   %0 = binary op=ad : f32[]\n  |        ^");
    let e = error("func @f() {\n  %0 = unary op=neg %7 : f32[]\n  return\n}");
    assert_eq!((e.line, e.column, &e.message[..]), (2, 21, "%7 is not defined before this use"));
    assert!(error("func @f(").message.contains("expected `input` or `var`"));
    assert!(error("func @f() {\n  %0 = select x=1 : f32[]\n").message.contains("no attribute `x`"));
    assert!(error("func @f() {}\nfunc @f() {}").message.contains("expected a node"));
    assert!(error("func @f() { return }\nfunc @f() { return }").message.contains("second function"));
    let elided = "func @f() {\n  %0 = const value=dense_elided<f32[9]> : f32[9]\n  return\n}";
    assert!(error(elided).message.contains("print the module in full"));
}

#[test]
fn sizes_in_the_text_do_not_allocate_what_it_does_not_hold() {
    let c = |d: &str| format!("func @f() {{\n  %0 = const value=dense<{d}> : f32[]\n  return\n}}");
    assert!(error(&c("f32[99999999999]: 1")).message.contains("more than are written"));
    assert!(error(&c("f32[99999999999]: splat 1")).message.contains("too large"));
    assert!(error(&c("f32[9999999999, 9999999999, 9999999999]: splat 1")).message.contains("too large"));
    assert!(error(&c("string[99999999]: splat \"a\"")).message.contains("too large"));
    assert!(error(&c("f32[-1]: 1")).message.contains("not negative"));
    assert!(error(&c("i8[1]: 128")).message.contains("does not fit i8"));
}

#[test]
fn dumps_leave_large_tensors_out() {
    let m = module_of(Tensor::of(&[5, 5], &[1i32; 25]));
    assert!(print(&m, Dump::Elided).contains("const value=dense_elided<i32[5, 5]> : i32[5, 5]"));
    assert!(print(&m, Dump::Full).contains("dense<i32[5, 5]: splat 1>"));
}

#[test]
fn parameters_added_after_nodes_are_numbered_first() {
    let mut b = Builder::new("f");
    let c = b.constant(Tensor::scalar(1i32)).expect("a constant");
    let x = b.param("x", ParamKind::Input, TensorType::fixed(DType::I32, &[]));
    b.loc = Loc::new("n", "Add");
    let y = b.binary(crate::scalar::BinaryOp::Add, c, x).expect("a sum");
    b.func.add_result("y", ParamKind::Input, y);
    let mut m = Module { funcs: vec![b.func], ..Module::default() };
    m.symbols.insert(Symbol::new("unused"), SymbolBounds { min: 0, max: None });
    let text = print(&m, Dump::Full);
    assert!(text.contains("%2 = binary op=add %1, %0 : i32[] loc(\"n\", \"Add\")"), "{text}");
    assert_eq!(print(&parse(&text).expect("it parses"), Dump::Full), text);
}

/// A chain of `n` nodes: print, parse and drop neither recurse nor take more than linear time.
#[test]
fn long_chains_are_linear() {
    let time = |n: usize| {
        let mut b = Builder::new("f");
        let mut v = b.param("x", ParamKind::Input, TensorType::new(DType::F32, vec![Dim::sym("b")]));
        for _ in 0..n {
            v = b.unary(crate::scalar::UnaryOp::Neg, v).expect("a negation");
        }
        b.func.add_result("y", ParamKind::Input, v);
        let m = Module { funcs: vec![b.func], ..Module::default() };
        let text = print(&m, Dump::Full);
        let start = std::time::Instant::now();
        let (back, lines) = parse_with_lines(&text).expect("it parses");
        let took = start.elapsed();
        assert_eq!(lines.nodes[0][n - 1], n + 1);
        assert_eq!(print(&back, Dump::Full), text);
        took
    };
    let (small, large) = (time(20_000), time(100_000));
    // Five times the nodes; quadratic time would be twenty-five times.
    assert!(large < small * 15, "{small:?} for 20,000 nodes, {large:?} for 100,000");
}
