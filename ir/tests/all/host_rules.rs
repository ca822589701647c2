//! The numbered constraints of the ops on images, selections, segments and counts, and errors that show at evaluation.

use std::sync::Arc;

use kiln_ir::op::Op;
use kiln_ir::ops::count::{Bincount, UnravelIndex};
use kiln_ir::ops::image::boxes::NonMaxSuppression;
use kiln_ir::ops::image::resize::{ResizePlaces, ResizeWeights};
use kiln_ir::ops::numbers::{BitcastWidth, CheckNumerics, Complex};
use kiln_ir::ops::quantize::StraightThrough;
use kiln_ir::ops::segment::Segment;
use kiln_ir::ops::select::{DynamicPartition, ListDiff, Unique, Where};
use kiln_ir::{DType, Dim, Tensor, TensorType, interp};

fn ty(dtype: DType, shape: &[usize]) -> TensorType {
    TensorType::fixed(dtype, shape)
}

/// The constraint that operands violate.
fn code(op: impl Op, given: &[TensorType]) -> Option<&'static str> {
    op.infer(&given.iter().collect::<Vec<_>>()).err().map(|e| e.code)
}

#[test]
fn constraints_have_their_numbers() {
    use DType::*;
    let n = || Dim::sym("n");
    assert_eq!(code(Where { count: n() }, &[]), Some("C1"));
    assert_eq!(code(Where { count: n() }, &[ty(String, &[2])]), Some("C2"));
    let unique = |axis, index| Unique { axis, count: n(), index };
    assert_eq!(code(unique(1, I32), &[ty(F32, &[2])]), Some("C4"));
    assert_eq!(code(unique(0, F32), &[ty(F32, &[2])]), Some("C4"));
    assert_eq!(code(ListDiff { count: n(), index: I32 }, &[ty(F32, &[2]), ty(I32, &[2])]), Some("C3"));
    assert_eq!(code(DynamicPartition { counts: vec![n()] }, &[ty(F32, &[2]), ty(I32, &[3])]), Some("C3"));
    let segment = |combine: &str| Segment { combine: combine.into(), rows: n(), sorted: true, counted: true };
    assert_eq!(code(segment("sum"), &[ty(F32, &[2]), ty(I32, &[3])]), Some("C3"));
    assert_eq!(code(segment("median"), &[ty(F32, &[2]), ty(I32, &[2])]), Some("C4"));
    assert_eq!(code(segment("max"), &[ty(C64, &[2]), ty(I32, &[2])]), Some("C2"));
    let count = |by_rows| Bincount { size: n(), dtype: I32, binary: false, by_rows };
    assert_eq!(code(count(false), &[ty(I32, &[2]), ty(F32, &[2])]), Some("C2"));
    assert_eq!(code(count(true), &[ty(I32, &[2, 2, 2]), ty(I32, &[0])]), Some("C3"));
    assert_eq!(code(UnravelIndex {}, &[ty(I32, &[2, 2]), ty(I32, &[2])]), Some("C3"));
    assert_eq!(code(BitcastWidth { to: I32 }, &[ty(U8, &[3])]), Some("C3"));
    assert_eq!(code(CheckNumerics { message: "m".into() }, &[ty(I32, &[3])]), Some("C2"));
    assert_eq!(code(Complex {}, &[ty(F32, &[3]), ty(F32, &[2])]), Some("C3"));
    assert_eq!(code(StraightThrough, &[ty(F32, &[3]), ty(F64, &[3])]), Some("C2"));
    let weights = |method: &str, sizes: usize| ResizeWeights {
        sizes: vec![n(); sizes],
        method: method.into(),
        align_corners: false,
        half_pixel: false,
    };
    assert_eq!(code(weights("linear", 1), &[]), Some("C4"));
    assert_eq!(code(weights("lanczos", 2), &[]), Some("C4"));
    let places = ResizePlaces { sizes: vec![n(), n()], nearest: true, align_corners: false, half_pixel: false };
    assert_eq!(code(places, &[ty(F32, &[])]), Some("C1"));
    let nms = NonMaxSuppression { count: n(), pad: false, overlaps: false };
    let scalars = [ty(I32, &[]), ty(F32, &[]), ty(F32, &[]), ty(F32, &[])];
    let given = [vec![ty(F32, &[4]), ty(F32, &[4])], scalars.to_vec()].concat();
    assert_eq!(code(nms, &given), Some("C3"));
}

#[test]
fn unbound_sizes_are_errors_and_not_panics() {
    let n = Dim::sym("n");
    let segment = Segment { combine: "sum".into(), rows: n.clone(), sorted: false, counted: false };
    let (x, ids) = (Tensor::of(&[1], &[1f32]), Tensor::of(&[1], &[0i32]));
    assert_eq!(segment.eval(&[&x, &ids]).expect_err("unbound").code, "E1");
    let count = Bincount { size: n, dtype: DType::F32, binary: false, by_rows: false };
    assert_eq!(count.eval(&[&ids, &Tensor::zeros(DType::F32, &[0])]).expect_err("unbound").code, "E1");
}

/// A NaN is distinct from itself and zeros have one sign, as in TensorFlow's tables.
#[test]
fn floats_are_distinct_as_tensorflow_compares_them() {
    let op: Arc<dyn Op> = Arc::new(Unique { axis: 0, count: Dim::sym("n"), index: DType::I32 });
    let op = interp::with_attrs(&op, &op.attrs()).expect("read back");
    let x = Tensor::of(&[4], &[f32::NAN, 0.0, -0.0, f32::NAN]);
    let got = op.eval(&[&x]).expect("unique");
    assert_eq!(got[1].as_slice::<i32>(), Some(&[0, 1, 1, 2][..]));
    let op = ListDiff { count: Dim::sym("n"), index: DType::I32 };
    let got = op.eval(&[&x, &Tensor::of(&[2], &[f32::NAN, 0.0])]).expect("list_diff");
    assert_eq!(got[1].as_slice::<i32>(), Some(&[0, 3][..]));
}
