//! Laws of the array ops on random shapes, shape rules with symbols, and what `array.json` cannot hold: TensorFlow's CPU
//! has no kernel for NCHW blocks and no op like dynamic_update_slice.

use std::collections::BTreeMap;

use crate::common::{assert_close, gradient, run, weights};
use kiln_ir::op::{Op, OpError};
use kiln_ir::ops::gather::{Gather, Scatter, ScatterMode};
use kiln_ir::ops::pointwise::Select;
use kiln_ir::ops::shape::*;
use kiln_ir::tf::{NeedsConstant, TfAttr, TfCx, TfNode};
use kiln_ir::{Builder, DType, Dim, Module, ParamKind, Tensor, TensorType, Value, ops};
use proptest::prelude::*;

/// 0, 1, 2, .. of a shape.
fn ramp(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::of(shape, &(0..n).map(|i| i as f64).collect::<Vec<_>>())
}

fn eval(op: impl Op, x: &[&Tensor]) -> Tensor {
    op.eval(x).unwrap_or_else(|e| panic!("{op:?}: {e}")).remove(0)
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&d| Dim::from(d)).collect()
}

fn sym(name: &str) -> Dim {
    Dim::sym(name)
}

fn same(a: &Tensor, b: &Tensor) -> Result<(), TestCaseError> {
    if a.same_bits(b) {
        Ok(())
    } else {
        Err(TestCaseError::fail(format!("{a:?} {:?} is not {b:?} {:?}", a.to_f64s(), b.to_f64s())))
    }
}

/// A shape of rank 1 to 4 with extents 0 to 4.
fn shapes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..5, 1..5)
}

proptest! {
    #[test]
    fn transposing_there_and_back_is_the_identity(shape in shapes(), seed in 0usize..24) {
        let mut perm: Vec<usize> = (0..shape.len()).collect();
        perm.rotate_left(seed % shape.len());
        if shape.len() > 1 { perm.swap(0, seed / 4 % shape.len()); }
        let back: Vec<usize> = (0..perm.len()).map(|a| perm.iter().position(|&p| p == a).unwrap()).collect();
        let x = ramp(&shape);
        let y = eval(Transpose { perm: perm.clone() }, &[&x]);
        same(&eval(Transpose { perm: back }, &[&y]), &x)?;
        // Element by element: the result at a permuted place is the operand's.
        let (xs, ys) = (x.to_f64s().unwrap(), y.to_f64s().unwrap());
        let strides = kiln_ir::tensor::row_major_strides(&shape);
        let moved: Vec<usize> = perm.iter().map(|&a| shape[a]).collect();
        let to = kiln_ir::tensor::row_major_strides(&moved);
        for (i, v) in xs.iter().enumerate() {
            let place: Vec<usize> = (0..shape.len()).map(|a| i / strides[a] % shape[a]).collect();
            let j: usize = perm.iter().zip(&to).map(|(&a, s)| place[a] * s).sum();
            prop_assert_eq!(ys[j], *v);
        }
    }

    #[test]
    fn slicing_undoes_padding(shape in shapes(), low in 0i64..3, high in 0i64..3) {
        let x = ramp(&shape);
        let border = vec![Dim::from(low); shape.len()];
        let pad = Pad { low: border.clone(), high: vec![Dim::from(high); shape.len()] };
        let y = eval(pad, &[&x, &Tensor::scalar(-1.0f64)]);
        let ones = y.to_f64s().unwrap().iter().filter(|&&v| v == -1.0).count();
        prop_assert_eq!(ones, y.len() - x.len());
        same(&eval(Slice::dense(border, dims(&shape)), &[&y]), &x)?;
    }

    #[test]
    fn concatenating_the_parts_gives_the_whole(shape in shapes(), axis in 0usize..4, cut in 0usize..5) {
        let (axis, x) = (axis % shape.len(), ramp(&shape));
        let cut = cut.min(shape[axis]);
        let whole = dims(&shape);
        let head = eval(Slice::along(&whole, axis, Dim::from(0), Dim::from(cut)), &[&x]);
        let tail = eval(Slice::along(&whole, axis, Dim::from(cut), Dim::from(shape[axis] - cut)), &[&x]);
        same(&eval(Concat { axis }, &[&head, &tail]), &x)?;
    }

    #[test]
    fn reversing_twice_rolling_back_and_reshaping_back_are_identities(
        shape in shapes(), axis in 0usize..4, shift in -9i64..9,
    ) {
        let (axis, x) = (axis % shape.len(), ramp(&shape));
        let reversed = eval(Reverse { axes: vec![axis] }, &[&x]);
        same(&eval(Reverse { axes: vec![axis] }, &[&reversed]), &x)?;
        let mut backwards = Slice::along(&dims(&shape), axis, Dim::from(shape[axis]) - Dim::from(1), Dim::from(shape[axis]));
        backwards.step[axis] = -1;
        same(&eval(backwards, &[&x]), &reversed)?;
        let rolled = eval(Roll { shifts: vec![shift], axes: vec![axis] }, &[&x]);
        same(&eval(Roll { shifts: vec![-shift], axes: vec![axis] }, &[&rolled]), &x)?;
        let flat = eval(Reshape { shape: vec![Dim::from(x.len())] }, &[&x]);
        same(&eval(Reshape { shape: dims(&shape) }, &[&flat]), &x)?;
    }

    #[test]
    fn tiling_is_joining_copies(shape in shapes(), axis in 0usize..4, times in 1usize..4) {
        let (axis, x) = (axis % shape.len(), ramp(&shape));
        let multiples = (0..shape.len()).map(|i| Dim::from(if i == axis { times } else { 1 })).collect();
        let copies = vec![&x; times];
        same(&eval(Tile { multiples }, &[&x]), &eval(Concat { axis }, &copies))?;
    }

    #[test]
    fn gathering_a_range_is_slicing(shape in shapes(), axis in 0usize..4, start in 0usize..4, size in 0usize..4) {
        let (axis, x) = (axis % shape.len(), ramp(&shape));
        let start = start.min(shape[axis]);
        let size = size.min(shape[axis] - start);
        let indices = Tensor::of(&[size], &(start..start + size).map(|i| i as i64).collect::<Vec<_>>());
        let sliced = eval(Slice::along(&dims(&shape), axis, Dim::from(start), Dim::from(size)), &[&x]);
        same(&eval(Gather { axis, batch_dims: 0 }, &[&x, &indices]), &sliced)?;
    }

    #[test]
    fn updating_a_box_changes_only_the_box(
        shape in shapes(), at in prop::collection::vec(0usize..4, 4), size in prop::collection::vec(0usize..4, 4),
    ) {
        let at: Vec<usize> = shape.iter().zip(&at).map(|(&d, &a)| a.min(d)).collect();
        let size: Vec<usize> = (0..shape.len()).map(|i| size[i].min(shape[i] - at[i])).collect();
        let (x, n) = (ramp(&shape), size.iter().product::<usize>());
        let update = Tensor::of(&size, &vec![-1.0f64; n]);
        let start = Tensor::of(&[shape.len()], &at.iter().map(|&a| a as i32).collect::<Vec<_>>());
        let y = eval(DynamicUpdateSlice, &[&x, &update, &start]);
        let read = eval(DynamicSlice { size: dims(&size) }, &[&y, &start]);
        same(&read, &update)?;
        let changed = x.to_f64s().unwrap().iter().zip(&y.to_f64s().unwrap()).filter(|(a, b)| a != b).count();
        prop_assert_eq!(changed, n);
        let same_place = Slice::dense(dims(&at), dims(&size));
        same(&eval(same_place, &[&y]), &update)?;
    }
}

/// The gradient of sum(w * y) with respect to each float parameter against central differences.
fn check_gradient(build: impl Fn(&mut Builder, &[Value]) -> Value, params: &[Tensor]) {
    let mut b = Builder::new("f");
    let inputs: Vec<Value> =
        params.iter().map(|t| b.param("x", ParamKind::Input, TensorType::fixed(t.dtype(), t.shape()))).collect();
    let y = build(&mut b, &inputs);
    let sizes = BTreeMap::new();
    let out = run(&b, params, &sizes).expect("evaluates")[&y].clone();
    let w = weights(DType::F64, out.shape());
    let loss = |params: &[Tensor]| -> f64 {
        let y = run(&b, params, &sizes).expect("evaluates")[&y].to_f64s().expect("f64");
        y.iter().zip(w.to_f64s().expect("f64")).map(|(y, w)| y * w).sum()
    };
    let mut with_grad = build_again(&build, params);
    let seed = with_grad.0.constant(w.clone()).expect("a constant");
    let (y, inputs) = (with_grad.2, with_grad.1.clone());
    let grads = gradient(&mut with_grad.0, &[(y, seed)], &inputs).expect("differentiates");
    let values = run(&with_grad.0, params, &sizes).expect("evaluates");
    for (k, t) in params.iter().enumerate().filter(|p| p.1.dtype() == DType::F64) {
        let got = grads[k].map(|g| values[&g].to_f64s().expect("f64"));
        for i in 0..t.len() {
            let at = |d: f64| {
                let mut p = params.to_vec();
                p[k].as_mut_slice::<f64>().expect("f64")[i] += d;
                loss(&p)
            };
            let want = (at(1e-6) - at(-1e-6)) / 2e-6;
            let got = got.as_ref().map_or(0.0, |g| g[i]);
            assert!((got - want).abs() < 1e-7 * want.abs().max(1.0), "parameter {k}, element {i}: {got}, not {want}");
        }
    }
}

fn build_again(build: &impl Fn(&mut Builder, &[Value]) -> Value, params: &[Tensor]) -> (Builder, Vec<Value>, Value) {
    let mut b = Builder::new("f");
    let inputs: Vec<Value> =
        params.iter().map(|t| b.param("x", ParamKind::Input, TensorType::fixed(t.dtype(), t.shape()))).collect();
    let y = build(&mut b, &inputs);
    (b, inputs, y)
}

#[test]
fn dynamic_slices_have_the_gradients_of_slices() {
    let start = Tensor::of(&[2], &[1i32, 2]);
    let slice = |b: &mut Builder, x: &[Value]| b.push(DynamicSlice { size: dims(&[2, 3]) }, x).expect("builds");
    check_gradient(slice, &[ramp(&[4, 6]), start.clone()]);
    let update = |b: &mut Builder, x: &[Value]| b.push(DynamicUpdateSlice, x).expect("builds");
    check_gradient(update, &[ramp(&[4, 6]), ramp(&[2, 3]), start]);
}

#[test]
fn pads_roll_and_scatters_have_their_gradients() {
    let pad =
        |b: &mut Builder, x: &[Value]| b.push(Pad { low: dims(&[1, 0]), high: dims(&[2, 3]) }, x).expect("builds");
    check_gradient(pad, &[ramp(&[2, 3]), Tensor::scalar(0.5f64)]);
    let roll =
        |b: &mut Builder, x: &[Value]| b.push(Roll { shifts: vec![2, -1], axes: vec![1, 0] }, x).expect("builds");
    check_gradient(roll, &[ramp(&[3, 5])]);
    let places = Tensor::of(&[3, 1], &[2i64, 0, 2]);
    for mode in [ScatterMode::UPDATE, ScatterMode::ADD] {
        let scatter = |b: &mut Builder, x: &[Value]| b.push(Scatter { mode }, x).expect("builds");
        // One update a place when the last one wins, as in TensorFlow's rule.
        let places = if mode == ScatterMode::ADD { places.clone() } else { Tensor::of(&[3, 1], &[2i64, 0, 1]) };
        check_gradient(scatter, &[ramp(&[4, 2]), places, ramp(&[3, 2])]);
    }
    let condition = Tensor::of_bools(&[2, 1], &[true, false]);
    check_gradient(|b, x| b.push(Select, x).expect("builds"), &[condition, ramp(&[3]), ramp(&[2, 3])]);
}

fn import(b: &mut Builder, op: &str, attrs: &[(&str, TfAttr)], inputs: &[Value]) -> anyhow::Result<Vec<Value>> {
    let attrs = attrs.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    let node = TfNode { name: "n".into(), op: op.into(), attrs };
    (ops::by_tf(op).expect("bound").read)(&mut TfCx { b, node: &node, inputs })
}

#[test]
fn channels_first_blocks_are_channels_last_blocks_transposed() {
    for (op, shape) in [("SpaceToDepth", [2, 3, 4, 6]), ("DepthToSpace", [2, 12, 2, 3])] {
        let x = ramp(&shape);
        let run_as = |format: &str, x: &Tensor| {
            let mut b = Builder::new("f");
            let v = b.param("x", ParamKind::Input, TensorType::fixed(x.dtype(), x.shape()));
            let attrs = [("block_size", TfAttr::Int(2)), ("data_format", TfAttr::Str(format.into()))];
            let y = import(&mut b, op, &attrs, &[v]).expect("imports")[0];
            run(&b, std::slice::from_ref(x), &BTreeMap::new()).expect("evaluates")[&y].clone()
        };
        let last = eval(Transpose { perm: vec![0, 2, 3, 1] }, &[&x]);
        let want = eval(Transpose { perm: vec![0, 3, 1, 2] }, &[&run_as("NHWC", &last)]);
        assert_close(op, &run_as("NCHW", &x), &want, 0.0);
    }
}

/// The violated constraint's number.
fn code(op: impl Op, types: &[TensorType]) -> Result<Vec<TensorType>, &'static str> {
    op.infer(&types.iter().collect::<Vec<_>>()).map_err(|e: OpError| e.code)
}

fn f32s(shape: impl Into<Vec<Dim>>) -> TensorType {
    TensorType::new(DType::F32, shape.into())
}

#[test]
fn shape_rules_hold_up_to_symbols() {
    let (b, four) = (sym("b"), Dim::from(4));
    let image = f32s([b.clone(), Dim::from(7), Dim::from(7), Dim::from(64)]);
    let flat = [b.clone(), Dim::from(3136)];
    assert_eq!(code(Reshape { shape: flat.to_vec() }, &[image]), Ok(vec![f32s(&flat)]));
    assert_eq!(code(Reshape { shape: vec![Dim::from(3)] }, &[f32s([b.clone(), four.clone()])]), Err("C2"));
    assert_eq!(code(Reshape { shape: vec![Dim::from(-1)] }, &[f32s(vec![])]), Err("C3"));
    assert_eq!(code(Transpose { perm: vec![1, 1] }, &[f32s(&flat)]), Err("C2"));
    assert_eq!(code(Broadcast { shape: vec![b.clone(), four.clone()] }, &[f32s([Dim::from(3)])]), Err("C2"));
    let double = Concat { axis: 0 };
    assert_eq!(
        code(double.clone(), &[f32s(&flat), f32s(&flat)]),
        Ok(vec![f32s([b.clone() + b.clone(), flat[1].clone()])])
    );
    assert_eq!(code(double.clone(), &[f32s(&flat), f32s([b.clone(), four.clone()])]), Err("C4"));
    assert_eq!(code(double.clone(), &[]), Err("C1"));
    assert_eq!(code(double, &[f32s(&flat), TensorType::new(DType::I32, flat.to_vec())]), Err("C2"));
    let tail = Slice::dense(vec![Dim::from(1)], vec![b.clone() - Dim::from(1)]);
    assert_eq!(code(tail, &[f32s([b.clone()])]), Ok(vec![f32s([b.clone() - Dim::from(1)])]));
    let beyond = |start: i64, size: i64| Slice::dense(vec![Dim::from(start)], vec![Dim::from(size)]);
    assert_eq!(code(beyond(2, 3), &[f32s([four.clone()])]), Err("C4"));
    assert_eq!(code(beyond(-1, 1), &[f32s([b.clone()])]), Err("C4"));
    assert_eq!(code(Slice { step: vec![0], ..beyond(0, 1) }, &[f32s([b.clone()])]), Err("C3"));
    let pad = Pad { low: vec![b.clone()], high: vec![Dim::from(1)] };
    assert_eq!(code(pad.clone(), &[f32s([four.clone()]), f32s(vec![])]), Ok(vec![f32s([b.clone() + Dim::from(5)])]));
    assert_eq!(code(pad, &[f32s([four.clone()]), f32s([four.clone()])]), Err("C4"));
    let mirror = MirrorPad { low: vec![four.clone()], high: vec![Dim::from(0)], reflect: true };
    assert_eq!(code(mirror.clone(), &[f32s([four.clone()])]), Err("C5"));
    assert_eq!(code(mirror, &[f32s([b.clone()])]), Ok(vec![f32s([b.clone() + four.clone()])]));
    assert_eq!(
        code(Tile { multiples: vec![b.clone()] }, &[f32s([four.clone()])]),
        Ok(vec![f32s([b.clone() * four.clone()])])
    );
    assert_eq!(code(Reverse { axes: vec![1] }, &[f32s([four.clone()])]), Err("C2"));
    assert_eq!(code(Roll { shifts: vec![1], axes: vec![] }, &[f32s([four.clone()])]), Err("C2"));
    let ids = TensorType::new(DType::I32, vec![b.clone(), Dim::from(5)]);
    let table = f32s([Dim::from(1000), Dim::from(16)]);
    let gather = Gather { axis: 0, batch_dims: 0 };
    assert_eq!(
        code(gather.clone(), &[table.clone(), ids.clone()]),
        Ok(vec![f32s([b.clone(), Dim::from(5), Dim::from(16)])])
    );
    assert_eq!(code(gather, &[table.clone(), table.clone()]), Err("C2"));
    assert_eq!(code(Gather { axis: 2, batch_dims: 0 }, &[table.clone(), ids.clone()]), Err("C3"));
    assert_eq!(
        code(Gather { axis: 1, batch_dims: 1 }, &[f32s([four, Dim::from(3)]), TensorType::fixed(DType::I32, &[5])]),
        Err("C4")
    );
    assert_eq!(code(Scatter { mode: ScatterMode::ADD }, &[table.clone(), ids, table]), Err("C3"));
}

#[test]
fn shape_arithmetic_stays_symbolic_through_a_graph() {
    // reshape(x, [shape(x)[0], prod of the rest]) as Keras writes it, then a broadcast by a tiled shape.
    let mut b = Builder::new("f");
    let batch = sym("b");
    let x = b.param("x", ParamKind::Input, f32s([batch.clone(), Dim::from(4), Dim::from(6)]));
    let i32s = |b: &mut Builder, v: &[i32]| b.constant(Tensor::of(&[v.len()], v)).expect("a constant");
    let shape = import(&mut b, "Shape", &[("out_type", TfAttr::Type(DType::I32))], &[x]).expect("imports")[0];
    let (zero, one) = (i32s(&mut b, &[0]), i32s(&mut b, &[1]));
    let mask = |shrink: i64| {
        let names = ["begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"];
        names.map(|n| (n, TfAttr::Int(if n == "shrink_axis_mask" { shrink } else { 0 })))
    };
    let rows = import(&mut b, "StridedSlice", &mask(1), &[shape, zero, one, one]).expect("imports")[0];
    assert_eq!(b.as_dims(rows).map(|d| (d.shape.clone(), d.elems.clone())), Some((vec![], vec![batch.clone()])));
    let free = b.constant(Tensor::scalar(-1i32)).expect("a constant");
    let want = import(&mut b, "Pack", &[("axis", TfAttr::Int(0))], &[rows, free]).expect("imports")[0];
    let flat = import(&mut b, "Reshape", &[], &[x, want]).expect("imports")[0];
    assert_eq!(b.ty(flat).shape, [batch.clone(), Dim::from(24)]);
    let picked = i32s(&mut b, &[2, 0]);
    let axis = b.constant(Tensor::scalar(0i32)).expect("a constant");
    let swapped =
        import(&mut b, "GatherV2", &[("batch_dims", TfAttr::Int(0))], &[shape, picked, axis]).expect("imports")[0];
    let twice = i32s(&mut b, &[2]);
    let tiled = import(&mut b, "Tile", &[], &[swapped, twice]).expect("imports")[0];
    let value = b.scalar(DType::F32, 1.0).expect("a constant");
    let filled = import(&mut b, "Fill", &[], &[tiled, value]).expect("imports")[0];
    let six = Dim::from(6);
    assert_eq!(b.ty(filled).shape, [six.clone(), batch.clone(), six, batch.clone()]);
    let steps = {
        let (start, delta) =
            (b.scalar(DType::I32, 0.0).expect("a constant"), b.scalar(DType::I32, 2.0).expect("a constant"));
        import(&mut b, "Range", &[], &[start, rows, delta]).expect("imports")[0]
    };
    assert_eq!(b.ty(steps).shape, [(batch + Dim::from(1)).floor_div(&Dim::from(2))]);
}

#[test]
fn a_shape_that_depends_on_data_is_refused_with_the_operand() {
    let mut b = Builder::new("f");
    let x = b.param("x", ParamKind::Input, f32s([Dim::from(4)]));
    let shape = b.param("shape", ParamKind::Input, TensorType::fixed(DType::I32, &[2]));
    let e = import(&mut b, "Reshape", &[], &[x, shape]).expect_err("depends on data");
    let needs = e.downcast_ref::<NeedsConstant>().expect("a typed error");
    assert_eq!(*needs, NeedsConstant { operand: 1, params: vec!["shape".into()] });
}

#[test]
fn a_size_from_data_is_a_symbol_that_the_program_binds() {
    let mut b = Builder::new("f");
    b.sizes_from_data = true;
    let value = b.scalar(DType::F32, 2.0).expect("a constant");
    let n = b.param("n", ParamKind::Input, TensorType::fixed(DType::I32, &[]));
    let (one, three) = (b.reshape(n, &[Dim::from(1)]).expect("a vector"), b.constant(Tensor::of(&[1], &[3i32])));
    let shape = b.push(Concat { axis: 0 }, &[one, three.expect("a constant")]).expect("a shape");
    let y = import(&mut b, "Fill", &[], &[shape, value]).expect("imports")[0];
    // The part that is known stays known; the other is bound where it is computed.
    assert_eq!(b.ty(y).shape[1], Dim::from(3));
    assert_eq!(b.bind_dims(shape).expect("bound already"), b.ty(y).shape);
    let mut m = Module::default();
    m.symbols.extend(b.symbols);
    b.func.add_result("y", ParamKind::Input, y);
    m.funcs.push(b.func);
    kiln_ir::verify::verify(&m).expect("valid");
    let run = |n: i32| kiln_ir::interp::eval_function(&m, 0, &[Tensor::scalar(n)], &mut |_, _| {});
    assert_eq!(run(5).expect("runs")[0].shape(), [5, 3]);
    assert!(format!("{:#}", run(-1).expect_err("a negative size")).contains("negative"));
}
