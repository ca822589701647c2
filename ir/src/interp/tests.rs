use super::*;
use crate::text;

fn module(text: &str) -> Module {
    let m = text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    crate::verify::verify(&m).unwrap_or_else(|e| panic!("{e}"));
    m
}

const SUM: &str = r#"symbol b: 1..4
func @f(input "x" %0: f32[b, 2], input "y" %1: f32[2*b]) {
  %2 = reshape shape=[2*b] %0 : f32[2*b]
  %3 = binary op=add %2, %1 : f32[2*b] loc("sum", "AddV2")
  %4 = dims dims=[b, 2*b], scalar=false, dtype=i32 : i32[2]
  return output "s" %3, output "d" %4, output "x" %0
}
"#;

#[test]
fn symbols_come_from_the_inputs() {
    let m = module(SUM);
    let x = Tensor::of(&[3, 2], &[1f32, 2., 3., 4., 5., 6.]);
    let y = Tensor::of(&[6], &[10f32, 20., 30., 40., 50., 60.]);
    let mut seen = vec![];
    let out = eval_function(&m, 0, &[x.clone(), y], &mut |id, t| seen.push((id.0, t[0].len()))).expect("it runs");
    assert_eq!(out[0].as_slice::<f32>(), Some(&[11f32, 22., 33., 44., 55., 66.][..]));
    assert_eq!(out[1].as_slice::<i32>(), Some(&[3, 6][..]));
    assert!(out[2].same_bits(&x));
    assert_eq!(seen, [(0, 6), (1, 6), (2, 2)]);
}

#[test]
fn wrong_inputs_are_refused() {
    let m = module(SUM);
    let t = |shape: &[usize]| Tensor::zeros(crate::DType::F32, shape);
    let fail = |inputs: &[Tensor]| format!("{:#}", eval_function(&m, 0, inputs, &mut |_, _| {}).expect_err("refused"));
    assert!(fail(&[t(&[3, 2])]).contains("1 tensors are given for 2 parameters"));
    assert!(fail(&[t(&[3, 2]), t(&[5])]).contains("`2*b` is 6"), "{}", fail(&[t(&[3, 2]), t(&[5])]));
    assert!(fail(&[t(&[5, 2]), t(&[10])]).contains("the size 5 of `b` is outside of 1..4"));
    assert!(fail(&[t(&[3, 3]), t(&[6])]).contains("input `x`"));
    assert!(fail(&[Tensor::zeros(crate::DType::I32, &[3, 2]), t(&[6])]).contains("is not a f32[b, 2]"));
}

#[test]
fn sizes_that_only_a_run_refutes_name_the_node() {
    let m = module(
        "symbol a: 0..\nsymbol b: 0..\nfunc @f(input \"x\" %0: f32[a], input \"y\" %1: f32[b]) {\n\
         %2 = binary op=add %0, %1 : f32[b] loc(\"sum\", \"AddV2\")\n return output \"z\" %2 }",
    );
    let (x, y) = (Tensor::of(&[2], &[1f32, 2.]), Tensor::of(&[3], &[1f32, 2., 3.]));
    let e = eval_function(&m, 0, &[x, y], &mut |_, _| {}).expect_err("2 and 3 do not broadcast");
    let e = format!("{e:#}");
    assert!(e.contains("from `sum` (AddV2)") && e.contains("C4"), "{e}");
}

#[test]
fn specializing_replaces_symbols_everywhere() {
    let m = module(SUM);
    let f = specialize(&m.funcs[0], &|s| (&*s.0 == "b").then(|| Dim::from(3i64))).expect("3 is fine");
    let m = Module { funcs: vec![f], ..Module::default() };
    crate::verify::verify(&m).expect("no symbol is left");
    let text = text::print(&m, text::Dump::Full);
    assert!(text.contains("reshape shape=[6] %0 : f32[6]"), "{text}");
    assert!(text.contains("dims dims=[3, 6]"), "{text}");
    assert!(text.contains("loc(\"sum\", \"AddV2\")"), "{text}");
}

#[test]
fn affine_sizes_are_solved() {
    let b = Dim::sym("b");
    let d = b.clone() * Dim::from(3i64) + Dim::from(2i64);
    assert_eq!(solve(&d, 11), Some((Symbol::new("b"), 3)));
    assert_eq!(solve(&d, 12), None);
    assert_eq!(solve(&(b.clone() * b), 9), None);
}
