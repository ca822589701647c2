//! Elementwise ops with NumPy broadcasting: unary, binary, comparison, select, cast, bitcast.
//!
//! Constraints: C1 number of operands; C2 operands have one dtype; C3 the dtype is accepted; C4 shapes broadcast.

use std::any::Any;
use std::sync::Arc;

use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::{Lower, ScalarFn};
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim, scalar_eval};

mod gradients;

/// `unary.OP x`: the operation on each element.
#[derive(Debug, Clone, PartialEq)]
pub struct Unary {
    /// The operation.
    pub op: UnaryOp,
}

/// `binary.OP x, y` with broadcasting.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operation.
    pub op: BinaryOp,
}

/// `compare.OP x, y` with broadcasting; bool result.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// The operation.
    pub op: CompareOp,
}

/// `select c, x, y` with broadcasting: x where c, else y.
#[derive(Debug, Clone, PartialEq)]
pub struct Select;

/// `cast x`: TensorFlow's Cast without truncation.
#[derive(Debug, Clone, PartialEq)]
pub struct Cast {
    /// The result's element type.
    pub to: DType,
}

/// `bitcast x`: the same bits as another type of the same width.
#[derive(Debug, Clone, PartialEq)]
pub struct Bitcast {
    /// The result's element type.
    pub to: DType,
}

/// The shape to which two shapes broadcast (NumPy's rule). A symbolic dim meets 1, itself, or a dim that it must equal
/// at run time; then the number, if one is a number, stands.
pub fn broadcast_shapes(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let rank = a.len().max(b.len());
    let at = |s: &[Dim], i: usize| (i + s.len()).checked_sub(rank).map(|j| s[j].clone()).unwrap_or(Dim::from(1));
    (0..rank)
        .map(|i| {
            let (x, y) = (at(a, i), at(b, i));
            match (x.as_const(), y.as_const()) {
                _ if x == y => Some(x),
                (Some(1), _) => Some(y),
                (_, Some(1)) => Some(x),
                (Some(_), Some(_)) => None,
                (Some(_), None) => Some(x),
                (None, _) => Some(y),
            }
        })
        .collect()
}

fn operands<'a, const N: usize>(op: &'static str, given: &[&'a TensorType]) -> Result<[&'a TensorType; N], OpError> {
    given.try_into().map_err(|_| OpError::new(op, "C1", format!("takes {N} operands, not {}", given.len())))
}

fn accept(op: &'static str, ok: bool, what: &dyn std::fmt::Display, dtype: DType) -> Result<(), OpError> {
    if ok { Ok(()) } else { Err(OpError::new(op, "C3", format!("{what} does not take {dtype}"))) }
}

fn same_dtype(op: &'static str, x: &TensorType, y: &TensorType) -> Result<(), OpError> {
    if x.dtype == y.dtype { Ok(()) } else { Err(OpError::new(op, "C2", format!("operands have types {x} and {y}"))) }
}

fn broadcast(op: &'static str, x: &[Dim], y: &[Dim]) -> Result<Vec<Dim>, OpError> {
    broadcast_shapes(x, y).ok_or_else(|| OpError::new(op, "C4", format!("shapes {x:?} and {y:?} do not broadcast")))
}

fn eval_error(op: &'static str, message: String) -> OpError {
    OpError::new(op, "E1", message)
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        "unary"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none().with("op", Attr::Word(self.op.name().into()))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = operands("unary", given)?;
        accept("unary", self.op.accepts(x.dtype), &self.op, x.dtype)?;
        Ok(vec![TensorType::new(self.op.result(x.dtype), x.shape.clone())])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![scalar_eval::unary_tensor(self.op, x[0]).map_err(|e| eval_error("unary", e))?])
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        let neg = |d: &DimTensor| DimTensor {
            shape: d.shape.clone(),
            elems: d.elems.iter().map(|e| Dim::from(0) - e.clone()).collect(),
        };
        vec![if self.op == UnaryOp::Neg { x[0].1.map(neg) } else { None }]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        gradients::unary(self.op, b, args)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Pointwise(ScalarFn::Unary(self.op))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Op for Binary {
    fn name(&self) -> &'static str {
        "binary"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none().with("op", Attr::Word(self.op.name().into()))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, y] = operands("binary", given)?;
        same_dtype("binary", x, y)?;
        accept("binary", self.op.accepts(x.dtype), &self.op, x.dtype)?;
        Ok(vec![TensorType::new(x.dtype, broadcast("binary", &x.shape, &y.shape)?)])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![scalar_eval::binary_tensor(self.op, x[0], x[1]).map_err(|e| eval_error("binary", e))?])
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![binary_dims(self.op, x[0].1, x[1].1)]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        gradients::binary(self.op, b, args)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Pointwise(ScalarFn::Binary(self.op))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Shape arithmetic on vectors or scalars of dims; scalars broadcast.
fn binary_dims(op: BinaryOp, x: Option<&DimTensor>, y: Option<&DimTensor>) -> Option<DimTensor> {
    let (x, y) = (x?, y?);
    // A lone element broadcasts, to none as well.
    let (nx, ny) = (x.elems.len(), y.elems.len());
    let n = if nx == 1 { ny } else { nx };
    let at = |t: &DimTensor, i: usize| t.elems.get(if t.elems.len() == 1 { 0 } else { i }).cloned();
    let elems = (0..n)
        .map(|i| {
            let (a, b) = (at(x, i)?, at(y, i)?);
            Some(match op {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a * b,
                BinaryOp::Max => a.larger(&b),
                BinaryOp::Min => a.smaller(&b),
                // Dims are not negative where shapes are divided, so truncation is flooring there.
                BinaryOp::FloorDiv | BinaryOp::Div if b.as_const().is_some_and(|d| d > 0) => a.floor_div(&b),
                BinaryOp::FloorMod if b.as_const().is_some_and(|d| d > 0) => a.floor_mod(&b),
                _ => return None,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let shape = if x.shape.len() >= y.shape.len() { x.shape.clone() } else { y.shape.clone() };
    let shape = if shape.is_empty() { shape } else { vec![n] };
    Some(DimTensor { shape, elems })
}

impl Op for Compare {
    fn name(&self) -> &'static str {
        "compare"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none().with("op", Attr::Word(self.op.name().into()))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, y] = operands("compare", given)?;
        same_dtype("compare", x, y)?;
        accept("compare", self.op.accepts(x.dtype), &self.op, x.dtype)?;
        Ok(vec![TensorType::new(DType::Bool, broadcast("compare", &x.shape, &y.shape)?)])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![scalar_eval::compare_tensor(self.op, x[0], x[1]).map_err(|e| eval_error("compare", e))?])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Err(NoGradient::NotDifferentiable)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Pointwise(ScalarFn::Compare(self.op))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Op for Select {
    fn name(&self) -> &'static str {
        "select"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [c, x, y] = operands("select", given)?;
        same_dtype("select", x, y)?;
        accept("select", c.dtype == DType::Bool, &"the condition", c.dtype)?;
        let shape = broadcast("select", &broadcast("select", &c.shape, &x.shape)?, &y.shape)?;
        Ok(vec![TensorType::new(x.dtype, shape)])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![scalar_eval::select_tensor(x[0], x[1], x[2]).map_err(|e| eval_error("select", e))?])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        gradients::select(b, args)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Pointwise(ScalarFn::Select)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none().with("to", Attr::DType(self.to))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = operands("cast", given)?;
        accept("cast", x.dtype.is_plain(), &"cast", x.dtype)?;
        accept("cast", self.to.is_plain(), &"cast's result", self.to)?;
        Ok(vec![TensorType::new(self.to, x.shape.clone())])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![scalar_eval::cast_tensor(self.to, x[0]).map_err(|e| eval_error("cast", e))?])
    }
    fn eval_dims(&self, x: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        // Sizes fit every integer type that a graph casts shapes to; a narrower type would lose bits of a size.
        vec![x[0].1.filter(|_| matches!(self.to, DType::I32 | DType::I64)).cloned()]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        gradients::cast(b, args)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Pointwise(ScalarFn::Cast(self.to))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Op for Bitcast {
    fn name(&self) -> &'static str {
        "bitcast"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none().with("to", Attr::DType(self.to))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = operands("bitcast", given)?;
        accept("bitcast", x.dtype.is_plain() && x.dtype.size() == self.to.size(), &self.to, x.dtype)?;
        Ok(vec![TensorType::new(self.to, x.shape.clone())])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let bytes = crate::tensor::Bytes::copy_of(x[0].bytes());
        Ok(vec![Tensor::from_bytes(self.to, x[0].shape(), bytes).map_err(|e| eval_error("bitcast", e))?])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Err(NoGradient::NotDifferentiable)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Pointwise(ScalarFn::Bitcast(self.to))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn word<T>(a: &Attrs, read: fn(&str) -> Option<T>) -> Result<T, String> {
    let w = a.word("op")?;
    read(&w).ok_or_else(|| format!("unknown operation `{w}`"))
}

/// A TensorFlow op that is one unary operation of the same operand.
macro_rules! tf_unary {
    ($($tf:literal => $op:ident),* $(,)?) => {
        &[$(TfBinding { op: $tf, read: |cx| { let x = cx.input(0)?; Ok(vec![cx.b.unary(UnaryOp::$op, x)?]) } }),*]
    };
}

fn tf_binary(cx: &mut TfCx<'_>, op: BinaryOp) -> anyhow::Result<Vec<Value>> {
    let (x, y) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![cx.b.binary(op, x, y)?])
}

macro_rules! tf_binary {
    ($($tf:literal => $op:ident),* $(,)?) => {
        &[$(TfBinding { op: $tf, read: |cx| tf_binary(cx, BinaryOp::$op) }),*]
    };
}

macro_rules! tf_compare {
    ($($tf:literal => $op:ident),* $(,)?) => {
        &[$(TfBinding { op: $tf, read: |cx| {
            let (x, y) = (cx.input(0)?, cx.input(1)?);
            Ok(vec![cx.b.compare(CompareOp::$op, x, y)?])
        } }),*]
    };
}

/// TensorFlow ops that are no operation of their own for some types.
pub const TF: &[TfBinding] = &[TfBinding {
    // Integers are round already.
    op: "Round",
    read: |cx| {
        let x = cx.input(0)?;
        Ok(vec![if cx.ty(0)?.dtype.is_int() { x } else { cx.b.unary(UnaryOp::Rint, x)? }])
    },
}];

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "unary",
        parse: |a| Ok(Arc::new(Unary { op: word(a, UnaryOp::from_name)? })),
        tf: tf_unary! {
            "Neg" => Neg, "Abs" => Abs, "ComplexAbs" => Abs, "Sign" => Sign, "Invert" => BitNot, "LogicalNot" => Not,
            "PopulationCount" => PopCount, "Floor" => Floor, "Ceil" => Ceil, "Rint" => Rint, "Sqrt" => Sqrt,
            "Rsqrt" => Rsqrt, "Reciprocal" => Reciprocal, "Inv" => Reciprocal, "Square" => Square, "Exp" => Exp,
            "Expm1" => Expm1, "Log" => Log, "Log1p" => Log1p, "Sigmoid" => Sigmoid, "Tanh" => Tanh, "Sin" => Sin,
            "Cos" => Cos, "Tan" => Tan, "Asin" => Asin, "Acos" => Acos, "Atan" => Atan, "Sinh" => Sinh,
            "Cosh" => Cosh, "Asinh" => Asinh, "Acosh" => Acosh, "Atanh" => Atanh, "Erf" => Erf, "Erfc" => Erfc,
            "Erfinv" => Erfinv, "Ndtri" => Ndtri, "Lgamma" => Lgamma, "Digamma" => Digamma, "IsNan" => IsNan,
            "IsInf" => IsInf, "IsFinite" => IsFinite, "Real" => Real, "Imag" => Imag, "Conj" => Conj, "Angle" => Angle,
        },
    },
    OpDef {
        name: "binary",
        parse: |a| Ok(Arc::new(Binary { op: word(a, BinaryOp::from_name)? })),
        tf: tf_binary! {
            "Add" => Add, "AddV2" => Add, "Sub" => Sub, "Mul" => Mul, "Div" => Div, "RealDiv" => Div,
            "TruncateDiv" => Div, "FloorDiv" => FloorDiv, "FloorMod" => FloorMod, "Mod" => TruncMod,
            "TruncateMod" => TruncMod, "DivNoNan" => DivNoNan, "MulNoNan" => MulNoNan, "Maximum" => Max,
            "Minimum" => Min, "Pow" => Pow, "Atan2" => Atan2, "SquaredDifference" => SquaredDifference,
            "Xlogy" => Xlogy, "Xlog1py" => Xlog1py, "Xdivy" => Xdivy, "NextAfter" => NextAfter, "BitwiseAnd" => BitAnd,
            "BitwiseOr" => BitOr, "BitwiseXor" => BitXor, "LeftShift" => Shl, "RightShift" => Shr, "LogicalAnd" => And,
            "LogicalOr" => Or, "Igamma" => Igamma, "Igammac" => Igammac, "Polygamma" => Polygamma, "Zeta" => Zeta,
        },
    },
    OpDef {
        name: "compare",
        parse: |a| Ok(Arc::new(Compare { op: word(a, CompareOp::from_name)? })),
        tf: tf_compare! {
            "Equal" => Eq, "NotEqual" => Ne, "Less" => Lt, "LessEqual" => Le, "Greater" => Gt, "GreaterEqual" => Ge,
        },
    },
    OpDef {
        name: "select",
        parse: |_| Ok(Arc::new(Select)),
        tf: &[
            TfBinding {
                op: "SelectV2",
                read: |cx| {
                    let (c, x, y) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
                    Ok(vec![cx.b.select(c, x, y)?])
                },
            },
            // Select (v1) also takes a vector condition over whole rows: the condition's axis is the first one.
            TfBinding {
                op: "Select",
                read: |cx| {
                    let (mut c, x, y) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
                    let (ct, xt) = (cx.ty(0)?, cx.ty(1)?);
                    if ct.rank() == 1 && xt.rank() > 1 {
                        let mut shape = vec![Dim::from(1); xt.rank()];
                        shape[0] = ct.shape[0].clone();
                        c = cx.b.reshape(c, &shape)?;
                    }
                    Ok(vec![cx.b.select(c, x, y)?])
                },
            },
        ],
    },
    OpDef {
        name: "cast",
        parse: |a| Ok(Arc::new(Cast { to: a.dtype("to")? })),
        tf: &[TfBinding {
            op: "Cast",
            read: |cx| {
                let (to, x) = (cx.dtype("DstT")?, cx.input(0)?);
                Ok(vec![cx.b.cast(to, x)?])
            },
        }],
    },
    OpDef { name: "bitcast", parse: |a| Ok(Arc::new(Bitcast { to: a.dtype("to")? })), tf: &[] },
];
