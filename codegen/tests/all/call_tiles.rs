//! Products scheduled as calls of micro-kernels: every level computes what the graph means, checked by the loop
//! interpreter (bounds, races, uninitialised reads), for tiles that fit and tiles that do not.

use std::collections::HashMap;

use kiln_codegen::plan::{Levels, levels};
use kiln_codegen::target::{Arch, Target};
use kiln_ir::loops::interp::{BufferData, RunOptions, run_kernel};
use kiln_ir::loops::{Inst, Kernel, Layout, print};
use kiln_ir::ops::constant::Const;
use kiln_ir::{DType, Function, Symbol, Tensor, Value};
use kiln_passes::fusion::{Cluster, fuse};

/// A machine with 128-bit vectors whose runtime has these kernels.
fn target(tiles: &[(u16, u16)]) -> Target {
    Target {
        arch: Arch::X86_64,
        triple: "x86_64-unknown-linux-gnu".into(),
        cpu: "x86-64-v3".into(),
        features: String::new(),
        vector_bytes: 16,
        full_vectors_only: true,
        vector_registers: 16,
        fma: true,
        l1: 32 << 10,
        l2: 512 << 10,
        tiles: tiles.to_vec(),
    }
}

/// Small integers: sums of their products are exact in any order.
fn ramp(shape: &[usize], period: usize) -> Tensor {
    let n = shape.iter().product();
    Tensor::of(shape, &(0..n).map(|i| (i * 7 % period) as f32 - (period / 2) as f32).collect::<Vec<_>>())
}

/// A function of one input and one result: its only cluster with a product, lowered, and run at every level.
fn check(text: &str, weights: &[(&str, &[usize])], inputs: &[Tensor], n: i64, tiles: &[(u16, u16)]) -> Levels {
    let mut text = text.to_owned();
    for (name, shape) in weights {
        let t = ramp(shape, 5);
        let elements: Vec<String> = t.as_slice::<f32>().expect("f32").iter().map(|x| format!("{x:?}")).collect();
        let dims: Vec<String> = shape.iter().map(|d| d.to_string()).collect();
        text = text.replace(name, &format!("dense<f32[{}]: {}>", dims.join(", "), elements.join(", ")));
    }
    let module = kiln_ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    let entry = module.entries[0];
    let mut values: HashMap<Value, Tensor> = HashMap::new();
    let f = &module.funcs[entry];
    for (p, t) in f.params.iter().zip(inputs) {
        values.insert(p.value, t.clone());
    }
    let want = kiln_ir::interp::eval_function(&module, entry, inputs, &mut |id, results| {
        for (&v, t) in f.node(id).outputs.iter().zip(results) {
            values.insert(v, t.clone());
        }
    })
    .unwrap_or_else(|e| panic!("{e:#}"));
    let clusters = fuse(f);
    let cluster = clusters.last().expect("a cluster");
    let levels = levels(f, cluster, &target(tiles), &HashMap::new(), "k").unwrap_or_else(|e| panic!("{e:#}"));
    for kernel in [&levels.nest, &levels.scheduled, &levels.machine] {
        let got = run(f, cluster, kernel, &values, n, &want[0]);
        assert!(got.same_bits(&want[0]), "{:?} level:\n{}", kernel.level, print::print(kernel).text);
    }
    levels
}

fn run(f: &Function, c: &Cluster, k: &Kernel, values: &HashMap<Value, Tensor>, n: i64, want: &Tensor) -> Tensor {
    let symbols = vec![n; k.symbols.len()];
    let mut buffers: Vec<BufferData> = vec![];
    for (v, (_, b)) in c.inputs.iter().zip(k.params()) {
        buffers.push(match f.def_node(*v).and_then(|d| d.op.is::<Const>()) {
            Some(constant) => BufferData::from_bytes(packed(&constant.value, &b.layout)),
            None => BufferData::of(&values[v]),
        });
    }
    buffers.push(BufferData::uninitialized(DType::F32, want.len()));
    let options = RunOptions { write_once: true, ..RunOptions::default() };
    let status =
        run_kernel(k, &mut buffers, &symbols, &options).unwrap_or_else(|e| panic!("{e}\n{}", print::print(k).text));
    assert_eq!(status, 0);
    buffers.pop().expect("the result").to_tensor(DType::F32, want.shape()).unwrap_or_else(|e| panic!("{e}"))
}

/// A constant in its layout, by the layout's own definition.
fn packed(t: &Tensor, layout: &Layout) -> Vec<u8> {
    let none = |_: &Symbol| None;
    let mut out = vec![0; layout.size.eval(&none).expect("fixed") as usize * 4];
    for i in 0..t.len() {
        let mut rest = i;
        let mut index = vec![0i64; t.shape().len()];
        for (axis, &d) in t.shape().iter().enumerate().rev() {
            index[axis] = (rest % d) as i64;
            rest /= d;
        }
        let at = layout.offset(&index, &none).expect("fixed") as usize * 4;
        out[at..at + 4].copy_from_slice(&t.bytes()[i * 4..i * 4 + 4]);
    }
    out
}

fn calls(k: &Kernel) -> usize {
    fn count(b: &kiln_ir::loops::Block) -> usize {
        let of = |i: &Inst| match i {
            Inst::CallTile(_) => 1,
            Inst::For(l) => count(&l.body),
            Inst::If(_, a, b) => count(a) + count(b),
            _ => 0,
        };
        b.stmts.iter().map(|s| of(&s.inst)).sum()
    }
    count(&k.body)
}

const CONV: &str = r#"
entry @f

func @f(input "x" %x: f32[2, 7, 9, 3]) {
  %w = const value=WEIGHTS : f32[3, 3, 3, 10]
  %b = const value=BIAS : f32[10]
  %z = const value=dense<f32[]: 0.0> : f32[]
  %1 = conv groups=1, size=[3, 3], stride=[2, 1], dilation=[1, 2], base_dilation=[1, 1], pad_low=[0, 0], pad_high=[0, 0] %x, %w : f32[2, 3, 5, 10]
  %2 = binary op=add %1, %b : f32[2, 3, 5, 10]
  %3 = binary op=max %z, %2 : f32[2, 3, 5, 10]
  return output "y" %3
}
"#;

#[test]
fn a_convolution_is_one_call_for_each_tile() {
    let weights: [(&str, &[usize]); 2] = [("WEIGHTS", &[3, 3, 3, 10]), ("BIAS", &[10])];
    // 30 rows and 10 lanes: rests in both directions, none, and tiles larger than the result.
    for tile in [(4, 8), (6, 4), (5, 2), (12, 16), (64, 16)] {
        let levels = check(CONV, &weights, &[ramp(&[2, 7, 9, 3], 11)], 0, &[tile]);
        assert!(calls(&levels.scheduled) > 0, "{tile:?}");
    }
    // Without kernels there are no calls.
    assert_eq!(calls(&check(CONV, &weights, &[ramp(&[2, 7, 9, 3], 11)], 0, &[]).scheduled), 0);
}

#[test]
fn rows_may_be_symbolic() {
    let text = r#"
symbol n: 1..64

entry @f

func @f(input "x" %x: f32[n, 6]) {
  %w = const value=WEIGHTS : f32[6, 10]
  %1 = contract lhs="mk", rhs="kn", out="mn" %x, %w : f32[n, 10]
  return output "y" %1
}
"#;
    for n in [1, 4, 9] {
        let levels = check(text, &[("WEIGHTS", &[6, 10])], &[ramp(&[n as usize, 6], 11)], n, &[(4, 8)]);
        assert!(calls(&levels.scheduled) > 0);
    }
}

#[test]
fn one_row_needs_no_loop() {
    let text = r#"
entry @f

func @f(input "x" %x: f32[1, 6]) {
  %w = const value=WEIGHTS : f32[6, 20]
  %1 = contract lhs="mk", rhs="kn", out="mn" %x, %w : f32[1, 20]
  return output "y" %1
}
"#;
    let levels = check(text, &[("WEIGHTS", &[6, 20])], &[ramp(&[1, 6], 11)], 0, &[(4, 8)]);
    assert!(calls(&levels.scheduled) > 0);
}

#[test]
fn attention_packs_its_panels() {
    // Queries by keys: the keys' features are contiguous, lanes run over positions; then scores by values.
    let scores = r#"
entry @f

func @f(input "q" %q: f32[2, 18, 3, 4], input "k" %k: f32[2, 10, 3, 4]) {
  %1 = contract lhs="btnh", rhs="bsnh", out="bnts" %q, %k : f32[2, 3, 18, 10]
  return output "y" %1
}
"#;
    let inputs = [ramp(&[2, 18, 3, 4], 11), ramp(&[2, 10, 3, 4], 7)];
    assert!(calls(&check(scores, &[], &inputs, 0, &[(4, 8)]).scheduled) > 0);
    let mix = r#"
entry @f

func @f(input "p" %p: f32[2, 3, 18, 10], input "v" %v: f32[2, 10, 3, 6]) {
  %1 = contract lhs="bnts", rhs="bsnh", out="btnh" %p, %v : f32[2, 18, 3, 6]
  return output "y" %1
}
"#;
    let inputs = [ramp(&[2, 3, 18, 10], 11), ramp(&[2, 10, 3, 6], 7)];
    assert!(calls(&check(mix, &[], &inputs, 0, &[(4, 8)]).scheduled) > 0);
}

#[test]
fn what_a_kernel_cannot_read_stays_loops() {
    // The rows' factor is read along columns.
    let text = r#"
entry @f

func @f(input "x" %x: f32[6, 24]) {
  %w = const value=WEIGHTS : f32[6, 8]
  %1 = contract lhs="km", rhs="kn", out="mn" %x, %w : f32[24, 8]
  return output "y" %1
}
"#;
    let levels = check(text, &[("WEIGHTS", &[6, 8])], &[ramp(&[6, 24], 11)], 0, &[(4, 8)]);
    assert_eq!(calls(&levels.scheduled), 0);
}
