//! Each pass on graphs in text form: what it makes of them, and that the interpreter computes the same.

use kiln_ir::{Module, Tensor, interp, text, verify};
use kiln_passes::manager::{self, Math, Options, Pass};
use kiln_passes::pipeline;

fn module(t: &str) -> Module {
    let m = text::parse(t).unwrap_or_else(|e| panic!("{e}"));
    verify::verify(&m).unwrap_or_else(|e| panic!("{e}"));
    m
}

/// The module after passes, by name.
fn after(m: &Module, passes: &[&str]) -> Module {
    let passes: Vec<Box<dyn Pass>> = passes.iter().map(|p| pipeline::by_name(p).expect("a pass")).collect();
    let mut m = m.clone();
    manager::run(&passes, &mut m, &Options::default(), &mut |_, _, _| {}).unwrap_or_else(|e| panic!("{e:#}"));
    m
}

fn show(m: &Module) -> String {
    text::print(m, text::Dump::Full)
}

/// Reproducible numbers in [-2, 2).
fn noise(shape: &[usize], seed: u64) -> Tensor {
    let n = shape.iter().product();
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        (s >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    Tensor::of(shape, &(0..n).map(|_| next()).collect::<Vec<f32>>())
}

/// The largest difference between two modules' results on noise, relative to the largest element.
fn difference(a: &Module, b: &Module, batch: usize) -> f64 {
    let f = &a.funcs[0];
    let shape = |p: &kiln_ir::Param| -> Vec<usize> {
        f.ty(p.value).shape.iter().map(|d| d.eval(&|_| Some(batch as i64)).expect("bound") as usize).collect()
    };
    let inputs: Vec<Tensor> = f.params.iter().enumerate().map(|(i, p)| noise(&shape(p), i as u64 + 1)).collect();
    let run = |m: &Module| interp::eval_function(m, 0, &inputs, &mut |_, _| {}).unwrap_or_else(|e| panic!("{e:#}"));
    let (x, y) = (run(a), run(b));
    let mut worst = 0f64;
    for (x, y) in x.iter().zip(&y) {
        assert_eq!((x.shape(), x.dtype()), (y.shape(), y.dtype()));
        let (x, y) = (x.to_f64s().expect("floats"), y.to_f64s().expect("floats"));
        let scale = x.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
        x.iter().zip(&y).for_each(|(x, y)| worst = worst.max((x - y).abs() / scale));
    }
    worst
}

fn dense(shape: &[usize], seed: u64) -> String {
    let list = |shape: &[usize]| shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let t = noise(shape, seed);
    let elements: Vec<String> = t.as_slice::<f32>().expect("f32").iter().map(|x| format!("{x:?}")).collect();
    format!("const value=dense<f32[{0}]: {1}> : f32[{0}]", list(shape), elements.join(", "))
}

fn conv_then(nodes: &str) -> Module {
    module(&format!(
        "symbol b: 1..8\nfunc @f(input \"x\" %x: f32[b, 6, 6, 3]) {{\n\
         %w = {}\n%c = {}\n%d = {}\n%s = {}\n\
         %p = conv groups=1, size=[3, 3], stride=[1, 1], dilation=[1, 1], base_dilation=[1, 1], \
         pad_low=[1, 1], pad_high=[1, 1] %x, %w : f32[b, 6, 6, 4]\n{nodes}\n}}\n",
        dense(&[3, 3, 3, 4], 11),
        dense(&[4], 12),
        dense(&[1, 1, 1, 4], 13),
        dense(&[4], 14),
    ))
}

#[test]
fn batch_norm_leaves_one_addition() {
    // (conv + bias - mean) * scale + offset, as Keras exports it.
    let m = conv_then(
        "%1 = binary op=add %p, %c : f32[b, 6, 6, 4]\n%2 = binary op=sub %1, %d : f32[b, 6, 6, 4]\n\
         %3 = binary op=mul %2, %s : f32[b, 6, 6, 4]\n%4 = binary op=add %3, %c : f32[b, 6, 6, 4]\n\
         return output \"y\" %4",
    );
    let new = after(&m, &["batch-norm", "dce"]);
    let ops: Vec<&str> = new.funcs[0].nodes().map(|(_, n)| n.op.name()).collect();
    assert_eq!(ops.iter().filter(|o| **o != "const").collect::<Vec<_>>(), [&"conv", &"binary"], "{}", show(&new));
    let d = difference(&m, &new, 2);
    assert!(d < 2e-6, "{d}");
}

#[test]
fn batch_norm_leaves_products_with_other_uses_alone() {
    let m = conv_then("%1 = binary op=mul %p, %s : f32[b, 6, 6, 4]\nreturn output \"y\" %1, output \"z\" %p");
    assert_eq!(show(&after(&m, &["batch-norm"])), show(&m));
}

#[test]
fn batch_norm_does_not_scale_other_axes() {
    let m = module(&format!(
        "func @f(input \"x\" %x: f32[4, 3]) {{\n%w = {}\n%s = {}\n%p = contract lhs=\"mk\", rhs=\"kn\", out=\"mn\" %x, %w : f32[4, 4]\n\
         %1 = binary op=mul %p, %s : f32[4, 4]\nreturn output \"y\" %1\n}}",
        dense(&[3, 4], 1),
        dense(&[4, 1], 2)
    ));
    assert_eq!(show(&after(&m, &["batch-norm"])), show(&m));
}

#[test]
fn contractions_take_scales_and_transpositions() {
    let m = module(&format!(
        "symbol b: 1..8\nfunc @f(input \"x\" %x: f32[3, 1, b]) {{\n%w = {}\n%s = {}\n\
         %0 = reshape shape=[3, b] %x : f32[3, b]\n%1 = transpose perm=[1, 0] %0 : f32[b, 3]\n\
         %p = contract lhs=\"mk\", rhs=\"kn\", out=\"mn\" %1, %w : f32[b, 4]\n\
         %2 = binary op=div %p, %s : f32[b, 4]\n%3 = transpose perm=[1, 0] %2 : f32[4, b]\nreturn output \"y\" %3\n}}",
        dense(&[3, 4], 1),
        dense(&[4], 2)
    ));
    let new = after(&m, &["batch-norm", "transpose-into-contract", "dce"]);
    let text = show(&new);
    assert!(!text.contains("transpose") && !text.contains("reshape") && !text.contains("binary"), "{text}");
    assert!(difference(&m, &new, 5) < 1e-6);
}

#[test]
fn paddings_merge_into_windows() {
    let pad = |value: &str, window: &str| {
        module(&format!(
            "symbol b: 1..8\nfunc @f(input \"x\" %x: f32[b, 5, 5, 3]) {{\n%w = {}\n\
             %z = const value=dense<f32[]: {value}> : f32[]\n\
             %1 = pad low=[0, 1, 0, 0], high=[0, 1, 2, 0] %x, %z : f32[b, 7, 7, 3]\n%2 = {window}, size=[3, 3], \
             stride=[2, 2], dilation=[1, 1], base_dilation=[1, 1], pad_low=[0, 0], pad_high=[0, 0] %1{} : f32[b, 3, 3, {}]\n\
             return output \"y\" %2\n}}",
            dense(&[3, 3, 3, 2], 3),
            if window.starts_with("conv") { ", %w" } else { "" },
            if window.starts_with("conv") { 2 } else { 3 },
        ))
    };
    for (m, merges) in [
        (pad("0.0", "conv groups=1"), true),
        (pad("1.0", "conv groups=1"), false),
        (pad("-inf", "pool op=max"), true),
        (pad("0.0", "pool op=max"), false),
    ] {
        let new = after(&m, &["canonicalize-pad", "dce"]);
        assert_eq!(!show(&new).contains(" = pad "), merges, "{}", show(&new));
        assert_eq!(difference(&m, &new, 2), 0.0);
    }
}

#[test]
fn folding_does_not_grow_constants() {
    let m = module(
        "func @f() {\n%c = const value=dense<f32[]: 1.5> : f32[]\n%b = broadcast shape=[100000] %c : f32[100000]\n\
         %n = unary op=neg %c : f32[]\n%i = const value=dense<i32[]: 1> : i32[]\n%z = const value=dense<i32[]: 0> : i32[]\n\
         %q = binary op=div %i, %z : i32[]\nreturn output \"b\" %b, output \"n\" %n, output \"q\" %q\n}",
    );
    let text = show(&after(&m, &["fold", "dce"]));
    assert!(text.contains("broadcast shape=[100000]"), "{text}");
    assert!(text.contains("dense<f32[]: -1.5>") && !text.contains("unary"), "{text}");
    assert!(text.contains("op=div"), "the error belongs to the run: {text}");
}

#[test]
fn equal_expressions_merge_bit_for_bit() {
    let m = module(
        "func @f(input \"x\" %x: f32[2], input \"y\" %y: f32[2]) {\n%1 = binary op=add %x, %y : f32[2]\n\
         %2 = binary op=add %y, %x : f32[2]\n%3 = binary op=sub %x, %y : f32[2]\n%4 = binary op=sub %y, %x : f32[2]\n\
         %5 = const value=dense<f32[]: 0.0> : f32[]\n%6 = const value=dense<f32[]: -0.0> : f32[]\n\
         %7 = const value=dense<f32[]: nan> : f32[]\n%8 = const value=dense<f32[]: nan> : f32[]\n\
         return output \"1\" %1, output \"2\" %2, output \"3\" %3, output \"4\" %4, output \"5\" %5, output \"6\" %6, \
         output \"7\" %7, output \"8\" %8\n}",
    );
    let new = after(&m, &["cse"]);
    assert_eq!(new.funcs[0].node_count(), 6, "{}", show(&new));
}

#[test]
fn bisecting_counts_every_rewrite() {
    let m = module(
        "func @f(input \"x\" %x: f32[2]) {\n%1 = unary op=neg %x : f32[2]\n%2 = unary op=neg %1 : f32[2]\n\
         %3 = unary op=abs %2 : f32[2]\n%4 = unary op=abs %3 : f32[2]\nreturn output \"y\" %4\n}",
    );
    let count = |limit| {
        let mut m = m.clone();
        let options = Options { bisect_limit: limit, ..Options::default() };
        let report = pipeline::run(&mut m, &options, &mut |_, _, _| {}).expect("the pipeline runs");
        (report.passes.last().expect("passes").rewrites.end, m.funcs[0].node_count())
    };
    let (all, nodes) = count(None);
    assert_eq!(nodes, 1);
    assert_eq!(count(Some(0)), (0, 4));
    for limit in 0..all {
        assert_eq!(count(Some(limit)).0, limit);
    }
}

#[test]
fn passes_are_disabled_dumped_and_stopped_by_name() {
    let m = module("func @f(input \"x\" %x: f32[2]) {\n%1 = unary op=neg %x : f32[2]\nreturn output \"y\" %x\n}");
    let names = |l: &[&str]| l.iter().map(|s| s.to_string()).collect();
    let mut dumps = vec![];
    let options = Options {
        disabled: names(&["dce"]),
        dump_after: names(&["cse"]),
        stop_after: Some("batch-norm".into()),
        ..Options::default()
    };
    let mut new = m.clone();
    let report =
        pipeline::run(&mut new, &options, &mut |i, name, _| dumps.push((i, name.to_string()))).expect("it runs");
    assert_eq!(new.funcs[0].node_count(), 1, "dce is disabled");
    assert_eq!(dumps.len(), 1);
    assert_eq!(report.passes.last().map(|p| p.name), Some("batch-norm"));
    assert!(report.to_string().contains("batch-norm"));
    let wrong = Options { disabled: names(&["dcee"]), ..Options::default() };
    let e = pipeline::run(&mut m.clone(), &wrong, &mut |_, _, _| {}).expect_err("no such pass").to_string();
    assert!(e.contains("there is no pass `dcee`") && e.contains("dce"), "{e}");
}

/// Every pass over a chain: no recursion, and time about proportional to the length.
#[test]
fn the_pipeline_is_linear() {
    let time = |n: usize| {
        let mut b = kiln_ir::Builder::new("f");
        let ty = kiln_ir::TensorType::new(kiln_ir::DType::F32, vec![kiln_ir::Dim::sym("b")]);
        let x = b.param("x", kiln_ir::ParamKind::Input, ty);
        let mut v = x;
        for _ in 0..n {
            v = b.binary(kiln_ir::scalar::BinaryOp::Add, v, x).expect("a sum");
        }
        b.func.add_result("y", kiln_ir::ParamKind::Input, v);
        let mut m = Module { funcs: vec![b.func], ..Module::default() };
        let bounds = kiln_ir::SymbolBounds { min: 0, max: None };
        m.symbols.insert(kiln_ir::Symbol::new("b"), bounds);
        let start = std::time::Instant::now();
        pipeline::run(&mut m, &Options { math: Math::Fast, ..Options::default() }, &mut |_, _, _| {}).expect("it runs");
        assert_eq!(m.funcs[0].node_count(), n);
        start.elapsed()
    };
    let (small, large) = (time(10_000), time(100_000));
    assert!(large < small * 30, "{small:?} for 10,000 nodes, {large:?} for 100,000");
}
