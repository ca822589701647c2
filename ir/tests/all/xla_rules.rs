//! XLA's ops beside their table: numbered constraints, what is refused and with which reason, and functions of scalars.

use std::collections::BTreeMap;

use kiln_ir::op::Op;
use kiln_ir::ops::reduce::Reduce;
use kiln_ir::ops::xla::sort::ArgSort;
use kiln_ir::ops::xla::{Scalars, fold, index, window};
use kiln_ir::scalar::{BinaryOp, ReduceOp};
use kiln_ir::tf::{TfAttr, TfCx, TfNode};
use kiln_ir::{Attrs, Builder, DType, ParamKind, Tensor, TensorType, Value, ops};

use crate::common::run;

fn ty(dtype: DType, shape: &[usize]) -> TensorType {
    TensorType::fixed(dtype, shape)
}

#[test]
fn constraints_have_their_numbers() {
    let sort = |given: TensorType| ArgSort { descending: false, total: true }.infer(&[&given]).err().map(|e| e.code);
    assert_eq!(sort(ty(DType::C64, &[2])), Some("C2"));
    assert_eq!(sort(ty(DType::F32, &[])), Some("C3"));
    let bits = |algorithm: i64, dtype: &str, state: TensorType| {
        let def = ops::by_name("rng_bits").expect("listed");
        let text = format!("algorithm={algorithm} dtype={dtype}");
        let attrs = Attrs::none()
            .with("algorithm", kiln_ir::attr::Attr::Int(algorithm))
            .with("dtype", kiln_ir::attr::Attr::DType(dtype.parse().expect("a type")))
            .with("shape", kiln_ir::attr::Attr::Dims(vec![3.into()]));
        let op = (def.parse)(&attrs).unwrap_or_else(|e| panic!("{text}: {e}"));
        op.infer(&[&state]).err().map(|e| e.code)
    };
    assert_eq!(bits(1, "u32", ty(DType::U64, &[3])), None);
    assert_eq!(bits(1, "u32", ty(DType::I64, &[3])), Some("C2"));
    assert_eq!(bits(2, "u32", ty(DType::U64, &[3])), Some("C3"));
    assert_eq!(bits(3, "u32", ty(DType::U64, &[2])), Some("C4"));
    assert_eq!(bits(1, "u16", ty(DType::U64, &[2])), Some("C4"));
}

/// What importing a node says; operands are parameters, or constants where they hold integers.
fn refusal(op: &str, attrs: &[(&str, TfAttr)], operands: &[TensorType]) -> String {
    let mut b = Builder::new("f");
    let inputs: Vec<Value> = operands
        .iter()
        .enumerate()
        .map(|(i, t)| match (t.dtype, t.static_shape()) {
            (DType::I32, Some(shape)) => b.constant(Tensor::zeros(DType::I32, &shape)).expect("a constant"),
            _ => b.param(&format!("x{i}"), ParamKind::Input, t.clone()),
        })
        .collect();
    let attrs: BTreeMap<String, TfAttr> = attrs.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    let node = TfNode { name: "n".into(), op: op.into(), attrs };
    let read = ops::by_tf(op).unwrap_or_else(|| panic!("{op} has no rule")).read;
    let result = read(&mut TfCx { b: &mut b, node: &node, inputs: &inputs });
    format!("{:#}", result.err().unwrap_or_else(|| panic!("{op} is not refused")))
}

#[test]
fn what_only_xla_can_run_is_refused_with_the_reason() {
    let text = |s: &str| TfAttr::Str(s.into());
    let x = || ty(DType::F32, &[2, 3]);
    assert!(refusal("XlaCallModule", &[], &[x()]).contains("native_serialization=False"));
    assert!(refusal("XlaCustomCall", &[("target_name", text("fft"))], &[x()]).contains("`fft`"));
    assert!(refusal("XlaCustomCallV2", &[("call_target_name", text("fft"))], &[x()]).contains("`fft`"));
    assert!(refusal("XlaSend", &[("tensor_name", text("t"))], &[x()]).contains("`t`"));
    assert!(refusal("XlaRecv", &[("tensor_name", text("t"))], &[]).contains("`t`"));
    assert!(refusal("XlaAllReduce", &[], &[x(), ty(DType::I32, &[1, 2])]).contains("several devices"));
    assert!(refusal("XlaReduceScatter", &[], &[x(), ty(DType::I32, &[1, 4])]).contains("several devices"));
    let full = TfAttr::Shape(Some(vec![Some(4), Some(3)]));
    assert!(refusal("XlaSpmdShardToFullShape", &[("full_shape", full)], &[x()]).contains("one device"));
    assert!(refusal("SymbolicGradient", &[("f", TfAttr::Func("g".into()))], &[x()]).contains("`g`"));
    let shape = TfAttr::Shape(None);
    let fake = [("dtype", TfAttr::Type(DType::F32)), ("shape", shape)];
    assert!(refusal("FakeParam", &fake, &[]).contains("unknown rank"));
}

#[test]
fn messages_that_do_not_fit_are_errors() {
    let numbers = |bytes: &[u8]| [("dimension_numbers", TfAttr::Str(bytes.to_vec()))];
    let (x, y) = (ty(DType::F32, &[2, 3]), ty(DType::F32, &[3, 2]));
    let dot = |bytes: &[u8]| refusal("XlaDot", &numbers(bytes), &[x.clone(), y.clone()]);
    assert!(dot(&[0xff]).contains("dimension_numbers"));
    // Contracting axis 7; axes of different sizes; batch axes of one side only.
    assert!(dot(&[0x0a, 1, 7, 0x12, 1, 0]).contains("contracting axes"));
    assert!(dot(&[0x0a, 1, 0, 0x12, 1, 0]).contains("does not fit"));
    assert!(dot(&[0x1a, 1, 0]).contains("different numbers"));
    let gather = refusal("XlaGather", &numbers(&[0x20, 9]), &[x, ty(DType::I32, &[2]), ty(DType::I32, &[2])]);
    assert!(gather.contains("axis 9"), "{gather}");
}

/// A function of scalars.
fn scalars(params: usize, body: impl FnOnce(&mut Builder, &[Value]) -> Value) -> Scalars {
    let mut b = Builder::new("f");
    let args: Vec<Value> =
        (0..params).map(|i| b.param(&format!("a{i}"), ParamKind::Input, ty(DType::F32, &[]))).collect();
    let result = body(&mut b, &args);
    b.func.add_result("r", ParamKind::Input, result);
    Scalars::new("f", b.func).expect("a function of scalars")
}

#[test]
fn functions_are_recognized_by_what_they_compute() {
    let op = |op, i: usize, j: usize| scalars(2, |b, a| b.binary(op, a[i], a[j]).expect("binary"));
    assert_eq!(op(BinaryOp::Add, 1, 0).reduction(), Some(ReduceOp::Sum));
    assert_eq!(op(BinaryOp::Max, 0, 1).reduction(), Some(ReduceOp::Max));
    assert_eq!(op(BinaryOp::Sub, 0, 1).binary(), Some(BinaryOp::Sub));
    assert_eq!(op(BinaryOp::Sub, 1, 0).binary(), None);
    assert_eq!(op(BinaryOp::Add, 0, 0).binary(), None);
    assert_eq!(scalars(2, |_, a| a[1]).returns(), Some(1));
}

#[test]
fn functions_that_are_not_elementwise_are_refused() {
    let mut b = Builder::new("f");
    let x = b.param("x", ParamKind::Input, ty(DType::F32, &[2]));
    let y = b.push(Reduce { op: ReduceOp::Sum, axes: vec![0], keep_dims: false }, &[x]).expect("reduce");
    b.func.add_result("r", ParamKind::Input, y);
    assert!(format!("{:#}", Scalars::new("f", b.func).expect_err("refused")).contains("operations on scalars"));
}

/// Neighbours are combined first, in order: affine maps (a, b) compose associatively, and do not commute.
#[test]
fn reductions_keep_the_order_of_elements() {
    for n in [1usize, 2, 3, 5, 8, 13] {
        let mut inner = Builder::new("compose");
        let p: Vec<Value> =
            (0..4).map(|i| inner.param(&format!("a{i}"), ParamKind::Input, ty(DType::F64, &[]))).collect();
        let slope = inner.binary(BinaryOp::Mul, p[2], p[0]).expect("slope");
        let moved = inner.binary(BinaryOp::Mul, p[2], p[1]).expect("moved");
        let offset = inner.binary(BinaryOp::Add, moved, p[3]).expect("offset");
        for (i, v) in [slope, offset].into_iter().enumerate() {
            inner.func.add_result(&format!("r{i}"), ParamKind::Input, v);
        }
        let f = Scalars::new("compose", inner.func).expect("scalars");
        let mut b = Builder::new("g");
        let x: Vec<Value> = (0..2).map(|i| b.param(&format!("x{i}"), ParamKind::Input, ty(DType::F64, &[n]))).collect();
        let start = [b.scalar(DType::F64, 1.0).expect("one"), b.scalar(DType::F64, 0.0).expect("zero")];
        let y = fold::reduce(&mut b, &x, &start, &[0], &f).expect("reduce");
        let slopes: Vec<f64> = (0..n).map(|i| 1.0 + (i % 3) as f64).collect();
        let offsets: Vec<f64> = (0..n).map(|i| i as f64 - 2.0).collect();
        let params = [Tensor::of(&[n], &slopes), Tensor::of(&[n], &offsets)];
        let values = run(&b, &params, &BTreeMap::new()).expect("run");
        let want = slopes.iter().zip(&offsets).fold((1.0, 0.0), |(a, c), (&s, &o)| (s * a, s * c + o));
        assert_eq!((values[&y[0]].to_f64s(), values[&y[1]].to_f64s()), (Some(vec![want.0]), Some(vec![want.1])), "{n}");
    }
}

#[test]
fn functions_without_a_path_are_refused_with_their_name() {
    let product = scalars(2, |b, a| b.binary(BinaryOp::Mul, a[0], a[1]).expect("product"));
    let mut b = Builder::new("g");
    let x = b.param("x", ParamKind::Input, ty(DType::F32, &[4]));
    let at = b.param("at", ParamKind::Input, ty(DType::I32, &[2, 1]));
    let updates = b.param("u", ParamKind::Input, ty(DType::F32, &[2]));
    let attrs = BTreeMap::from([("dimension_numbers".to_string(), TfAttr::Str(vec![]))]);
    let node = TfNode { name: "n".into(), op: "XlaScatter".into(), attrs };
    let inputs = [x, at, updates];
    let e = index::scatter(&mut TfCx { b: &mut b, node: &node, inputs: &inputs }, &product).expect_err("refused");
    assert!(format!("{e:#}").contains("function `f` is none of"), "{e:#}");
    let e = window::dims(&[2], &[0], &[1], &[1], &[0, 0]).expect_err("refused");
    assert!(format!("{e:#}").contains("strides [0]"), "{e:#}");
}
