//! What reductions, contractions, windows and softmax refuse, how they treat NaN and infinities, and their shapes over
//! symbols.

use half::{bf16, f16};
use kiln_ir::lower::WindowDim;
use kiln_ir::ops::contract::Contract;
use kiln_ir::ops::nn::{LogSoftmax, Softmax};
use kiln_ir::ops::reduce::{ArgReduce, Cumulative, Reduce, TopK};
use kiln_ir::ops::window::{AvgPool, Conv, Pool, window_dim};
use kiln_ir::scalar::ReduceOp;
use kiln_ir::{DType, Dim, Op, Tensor, TensorType};

const F32: DType = DType::F32;

fn ty(dtype: DType, shape: &[i64]) -> TensorType {
    TensorType::new(dtype, shape.iter().map(|&d| Dim::from(d)).collect())
}

fn refused(code: &str, op: &dyn Op, operands: &[TensorType]) {
    let e = op.infer(&operands.iter().collect::<Vec<_>>()).expect_err(code);
    assert_eq!(e.code, code, "{e}");
}

fn result(op: &dyn Op, operands: &[TensorType]) -> TensorType {
    op.infer(&operands.iter().collect::<Vec<_>>()).expect("a result")[0].clone()
}

fn eval(op: &dyn Op, operands: &[Tensor]) -> Vec<Tensor> {
    op.eval(&operands.iter().collect::<Vec<_>>()).expect("a result")
}

fn reduce(op: ReduceOp, axes: &[usize]) -> Reduce {
    Reduce { op, axes: axes.to_vec(), keep_dims: false }
}

#[test]
fn reduce_constraints() {
    let x = ty(F32, &[2, 3]);
    refused("C1", &reduce(ReduceOp::Sum, &[0]), &[]);
    refused("C2", &reduce(ReduceOp::Sum, &[2]), std::slice::from_ref(&x));
    refused("C2", &reduce(ReduceOp::Sum, &[1, 0]), std::slice::from_ref(&x));
    refused("C2", &reduce(ReduceOp::Sum, &[0, 0]), std::slice::from_ref(&x));
    refused("C3", &reduce(ReduceOp::All, &[0]), std::slice::from_ref(&x));
    let arg = |op, axis, dtype| ArgReduce { op, axis, dtype };
    refused("C2", &arg(ReduceOp::Max, 2, DType::I32), std::slice::from_ref(&x));
    refused("C3", &arg(ReduceOp::Sum, 0, DType::I32), std::slice::from_ref(&x));
    refused("C4", &arg(ReduceOp::Max, 0, F32), std::slice::from_ref(&x));
    refused("C5", &arg(ReduceOp::Max, 1, DType::I32), &[ty(F32, &[2, 0])]);
    let scan = |op, axis| Cumulative { op, axis, exclusive: false, reverse: false };
    refused("C2", &scan(ReduceOp::Sum, 2), std::slice::from_ref(&x));
    refused("C3", &scan(ReduceOp::Max, 0), std::slice::from_ref(&x));
    refused("C2", &TopK { k: Dim::from(1) }, &[ty(F32, &[])]);
    refused("C3", &TopK { k: Dim::from(1) }, &[ty(DType::Bool, &[2])]);
    refused("C4", &TopK { k: Dim::from(4) }, std::slice::from_ref(&x));
    refused("C4", &TopK { k: Dim::from(-1) }, &[x]);
}

#[test]
fn contract_and_softmax_constraints() {
    let op = Contract::new("mk", "kn", "mn");
    let (x, y) = (ty(F32, &[2, 3]), ty(F32, &[3, 4]));
    refused("C1", &op, std::slice::from_ref(&x));
    refused("C2", &op, &[x.clone(), ty(DType::F64, &[3, 4])]);
    refused("C2", &op, &[ty(DType::Bool, &[2, 3]), ty(DType::Bool, &[3, 4])]);
    refused("C3", &op, &[x.clone(), ty(F32, &[3])]);
    refused("C4", &Contract::new("mm", "mn", "mn"), &[x.clone(), y.clone()]);
    refused("C4", &Contract::new("mk", "kn", "mz"), &[x.clone(), y.clone()]);
    refused("C5", &op, &[x.clone(), ty(F32, &[4, 4])]);
    refused("C2", &Softmax { axis: 2 }, std::slice::from_ref(&x));
    refused("C3", &LogSoftmax { axis: 0 }, &[ty(DType::I32, &[2])]);
    let symbolic = TensorType::new(F32, vec![Dim::sym("b"), Dim::sym("k")]);
    assert_eq!(result(&op, &[symbolic, y]).to_string(), "f32[b, 4]");
}

#[test]
fn window_constraints() {
    let dims = vec![window_dim(3, 1), window_dim(3, 1)];
    let conv = |groups| Conv { groups, dims: dims.clone() };
    let (x, w) = (ty(F32, &[1, 8, 8, 4]), ty(F32, &[3, 3, 4, 6]));
    refused("C1", &conv(1), std::slice::from_ref(&x));
    refused("C2", &conv(1), &[x.clone(), ty(DType::F64, &[3, 3, 4, 6])]);
    refused("C3", &conv(1), &[ty(F32, &[8, 8, 4]), w.clone()]);
    refused("C4", &Conv { groups: 1, dims: vec![window_dim(3, 0), window_dim(3, 1)] }, &[x.clone(), w.clone()]);
    refused("C5", &conv(1), &[x.clone(), ty(F32, &[3, 2, 4, 6])]);
    refused("C6", &conv(2), &[x.clone(), w.clone()]);
    refused("C6", &conv(0), &[x.clone(), w.clone()]);
    refused("C6", &conv(4), &[x.clone(), ty(F32, &[3, 3, 1, 6])]);
    refused("C7", &conv(1), &[ty(F32, &[1, 1, 8, 4]), w]);
    refused("C2", &Pool { op: ReduceOp::All, dims: dims.clone() }, std::slice::from_ref(&x));
    refused("C2", &AvgPool { dims: dims.clone() }, &[ty(DType::I32, &[1, 8, 8, 4])]);
    assert_eq!(result(&conv(1), &[x, ty(F32, &[3, 3, 4, 6])]).to_string(), "f32[1, 6, 6, 6]");
}

#[test]
fn attributes_read_back() {
    let padded = WindowDim { pad_low: Dim::sym("p"), dilation: 2, base_dilation: 3, ..window_dim(3, 2) };
    let ops: Vec<Box<dyn Op>> = vec![
        Box::new(Reduce { op: ReduceOp::Prod, axes: vec![0, 2], keep_dims: true }),
        Box::new(ArgReduce { op: ReduceOp::Min, axis: 1, dtype: DType::I64 }),
        Box::new(Cumulative { op: ReduceOp::Sum, axis: 1, exclusive: true, reverse: false }),
        Box::new(TopK { k: Dim::sym("k") }),
        Box::new(Contract::new("amk", "akn", "amn")),
        Box::new(Conv { groups: 2, dims: vec![padded.clone()] }),
        Box::new(Pool { op: ReduceOp::Max, dims: vec![padded.clone()] }),
        Box::new(AvgPool { dims: vec![padded] }),
        Box::new(Softmax { axis: 3 }),
        Box::new(LogSoftmax { axis: 1 }),
    ];
    for op in ops {
        let def = kiln_ir::ops::by_name(op.name()).expect("a listed op");
        let back = (def.parse)(&op.attrs()).expect("attributes");
        assert_eq!(format!("{back:?}"), format!("{op:?}"));
    }
}

/// Expected values: TensorFlow 2.21 on CPU.
#[test]
fn nan_and_infinity() {
    let (n, i) = (f32::NAN, f32::INFINITY);
    let row = |v: &[f32]| Tensor::of(&[v.len()], v);
    let arg = |op, v: &[f32]| {
        let r = eval(&ArgReduce { op, axis: 0, dtype: DType::I64 }, &[row(v)]);
        r[0].to_i64s().expect("integers")[0]
    };
    for (v, max, min) in
        [([n, 1., 3.], 2, 1), ([1., n, 3.], 2, 0), ([n, n, n], 0, 0), ([3., n, 1.], 0, 2), ([-i, -i, -i], 0, 0)]
    {
        assert_eq!((arg(ReduceOp::Max, &v), arg(ReduceOp::Min, &v)), (max, min), "{v:?}");
    }
    for op in [ReduceOp::Max, ReduceOp::Min] {
        for v in [[n, 1.0], [1.0, n]] {
            assert!(eval(&reduce(op, &[0]), &[row(&v)])[0].to_f64s().expect("floats")[0].is_nan());
        }
    }
    let lowest = eval(&reduce(ReduceOp::Max, &[0]), &[Tensor::of::<i32>(&[0], &[])]);
    assert_eq!(lowest[0].as_slice::<i32>(), Some(&[i32::MIN][..]));
    let none = eval(&reduce(ReduceOp::Max, &[0]), &[row(&[])]);
    assert_eq!(none[0].as_slice::<f32>(), Some(&[-i][..]));
    for v in [[i, 1.0], [n, 1.0], [-i, -i]] {
        for op in [&Softmax { axis: 0 } as &dyn Op, &LogSoftmax { axis: 0 }] {
            assert!(eval(op, &[row(&v)])[0].to_f64s().expect("floats").iter().all(|x| x.is_nan()), "{op:?} of {v:?}");
        }
    }
    assert_eq!(eval(&Softmax { axis: 0 }, &[row(&[-i, 1.0])])[0].as_slice::<f32>(), Some(&[0.0, 1.0][..]));
    assert_eq!(eval(&LogSoftmax { axis: 0 }, &[row(&[-i, 1.0])])[0].as_slice::<f32>(), Some(&[-i, 0.0][..]));
    let top = eval(&TopK { k: Dim::from(4) }, &[row(&[3.0, n, 1.0, 2.0])]);
    assert_eq!(top[1].as_slice::<i32>(), Some(&[0, 3, 2, 1][..]));
}

#[test]
fn narrow_types_round_once_and_unsigned_compare_unsigned() {
    let small: Vec<f16> = [1.0].into_iter().chain([(-12f64).exp2(); 8]).map(f16::from_f64).collect();
    let sum = eval(&reduce(ReduceOp::Sum, &[0]), &[Tensor::of(&[9], &small)]);
    assert_eq!(sum[0].as_slice::<f16>(), Some(&[f16::from_f64(1.0 + (-9f64).exp2())][..]));
    let many = vec![bf16::from_f32(1.0); 1000];
    let sum = eval(&reduce(ReduceOp::Sum, &[0]), &[Tensor::of(&[1000], &many)]);
    assert_eq!(sum[0].as_slice::<bf16>(), Some(&[bf16::from_f32(1000.0)][..]));
    let large = Tensor::of(&[3], &[1u64, u64::MAX, 7]);
    assert_eq!(
        eval(&reduce(ReduceOp::Max, &[0]), std::slice::from_ref(&large))[0].as_slice::<u64>(),
        Some(&[u64::MAX][..])
    );
    assert_eq!(
        eval(&reduce(ReduceOp::Min, &[0]), std::slice::from_ref(&large))[0].as_slice::<u64>(),
        Some(&[1u64][..])
    );
    assert_eq!(eval(&TopK { k: Dim::from(2) }, &[large])[1].as_slice::<i32>(), Some(&[1, 2][..]));
}

#[test]
fn shapes_are_reduced_as_dims() {
    let dims = kiln_ir::DimTensor { shape: vec![3], elems: vec![Dim::sym("b"), Dim::from(7), Dim::sym("b")] };
    let ty = TensorType::fixed(DType::I32, &[3]);
    let product = reduce(ReduceOp::Prod, &[0]).eval_dims(&[(&ty, Some(&dims))]);
    let product = product[0].as_ref().expect("known");
    assert_eq!((product.shape.len(), product.elems[0].to_string()), (0, "7*b*b".to_string()));
    let scan = Cumulative { op: ReduceOp::Sum, axis: 0, exclusive: true, reverse: true };
    let sums = scan.eval_dims(&[(&ty, Some(&dims))]);
    let text: Vec<String> = sums[0].as_ref().expect("known").elems.iter().map(Dim::to_string).collect();
    assert_eq!(text, ["b + 7", "b", "0"]);
}

/// A convolution over empty extents has an empty or zero result, not a crash.
#[test]
fn empty_operands() {
    let pool = Pool {
        op: ReduceOp::Sum,
        dims: vec![WindowDim { pad_low: Dim::from(1), pad_high: Dim::from(1), ..window_dim(2, 1) }],
    };
    let empty = Tensor::zeros(F32, &[1, 0, 2]);
    assert_eq!(eval(&pool, &[empty])[0].as_slice::<f32>(), Some(&[0.0f32; 2][..]));
    let conv = Conv { groups: 1, dims: vec![window_dim(1, 1)] };
    let zeros = eval(&conv, &[Tensor::zeros(F32, &[2, 2, 0]), Tensor::zeros(F32, &[1, 0, 1])]);
    assert_eq!((zeros[0].shape(), zeros[0].as_slice::<f32>()), (&[2, 2, 1][..], Some(&[0.0f32; 4][..])));
}
