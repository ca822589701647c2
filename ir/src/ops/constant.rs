//! Ops without operands: constants, index ramps, and the values of symbolic dims.
//!
//! Constraints: C1 number of operands; C2 the axis is within the rank; C3 the dtype holds integers.

use std::any::Any;
use std::sync::Arc;

use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::tensor::Tensor;
use crate::tf::TfBinding;
use crate::{Builder, DType, Dim};

/// `const dense<..>`: a tensor known at compile time.
#[derive(Debug, Clone)]
pub struct Const {
    /// The tensor.
    pub value: Tensor,
}

/// `dims [..]`: symbolic integers as a vector (or, with one dim and `scalar`, a scalar). TensorFlow's Shape becomes this.
#[derive(Debug, Clone, PartialEq)]
pub struct Dims {
    /// The integers.
    pub dims: Vec<Dim>,
    /// Whether the result has rank 0; then there is one dim.
    pub scalar: bool,
    /// i32 or i64.
    pub dtype: DType,
}

/// `iota`: each element is its own index along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Iota {
    /// The result's shape.
    pub shape: Vec<Dim>,
    /// The axis.
    pub axis: usize,
    /// An integer type.
    pub dtype: DType,
}

fn no_operands(op: &'static str, given: &[&TensorType]) -> Result<(), OpError> {
    if given.is_empty() {
        Ok(())
    } else {
        Err(OpError::new(op, "C1", format!("takes no operands, not {}", given.len())))
    }
}

impl Op for Const {
    fn name(&self) -> &'static str {
        "const"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none().with("value", Attr::Tensor(self.value.clone()))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        no_operands("const", given)?;
        Ok(vec![TensorType::fixed(self.value.dtype(), self.value.shape())])
    }
    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![self.value.clone()])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        let t = &self.value;
        let small = t.dtype().is_int() && t.shape().len() <= 1 && t.len() <= 64;
        let elems = if small { t.to_i64s() } else { None };
        vec![elems.map(|e| DimTensor { shape: t.shape().to_vec(), elems: e.into_iter().map(Dim::from).collect() })]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Ok(vec![])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Constant
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Op for Dims {
    fn name(&self) -> &'static str {
        "dims"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("dims", Attr::Dims(self.dims.clone()))
            .with("scalar", Attr::Bool(self.scalar))
            .with("dtype", Attr::DType(self.dtype))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        no_operands("dims", given)?;
        if !matches!(self.dtype, DType::I32 | DType::I64) {
            return Err(OpError::new("dims", "C3", format!("the result cannot be {}", self.dtype)));
        }
        if self.scalar && self.dims.len() != 1 {
            return Err(OpError::new("dims", "C2", format!("a scalar holds one dim, not {}", self.dims.len())));
        }
        let shape = if self.scalar { vec![] } else { vec![self.dims.len()] };
        Ok(vec![TensorType::fixed(self.dtype, &shape)])
    }
    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let values: Option<Vec<i64>> = self.dims.iter().map(Dim::as_const).collect();
        let shape = if self.scalar { vec![] } else { vec![self.dims.len()] };
        values
            .and_then(|v| Tensor::from_i64s(self.dtype, &shape, &v))
            .map(|t| vec![t])
            .ok_or_else(|| OpError::new("dims", "E1", "the dims hold unbound symbols"))
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        let shape = if self.scalar { vec![] } else { vec![self.dims.len()] };
        vec![Some(DimTensor { shape, elems: self.dims.clone() })]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Ok(vec![])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Dims(self.dims.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Op for Iota {
    fn name(&self) -> &'static str {
        "iota"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("shape", Attr::Dims(self.shape.clone()))
            .with("axis", Attr::Int(self.axis as i64))
            .with("dtype", Attr::DType(self.dtype))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        no_operands("iota", given)?;
        if self.axis >= self.shape.len() {
            return Err(OpError::new("iota", "C2", format!("axis {} of rank {}", self.axis, self.shape.len())));
        }
        if !self.dtype.is_int() {
            return Err(OpError::new("iota", "C3", format!("the result cannot be {}", self.dtype)));
        }
        Ok(vec![TensorType::new(self.dtype, self.shape.clone())])
    }
    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let ty = TensorType::new(self.dtype, self.shape.clone());
        let shape = ty.static_shape().ok_or_else(|| OpError::new("iota", "E1", "the shape holds unbound symbols"))?;
        let inner: usize = shape[self.axis + 1..].iter().product();
        let n: usize = shape.iter().product();
        let values: Vec<i64> = (0..n).map(|i| (i / inner.max(1) % shape[self.axis].max(1)) as i64).collect();
        Tensor::from_i64s(self.dtype, &shape, &values)
            .map(|t| vec![t])
            .ok_or_else(|| OpError::new("iota", "C3", format!("the result cannot be {}", self.dtype)))
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        let n = match &self.shape[..] {
            [d] => d.as_const().filter(|&n| (0..=64).contains(&n)),
            _ => None,
        };
        vec![n.map(|n| DimTensor { shape: vec![n as usize], elems: (0..n).map(Dim::from).collect() })]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Ok(vec![])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Iota { axis: self.axis }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn shape_of(cx: &crate::tf::TfCx<'_>, i: usize) -> anyhow::Result<Vec<Dim>> {
    Ok(cx.ty(i)?.shape)
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "const",
        parse: |a| Ok(Arc::new(Const { value: a.tensor("value")? })),
        tf: &[TfBinding {
            op: "Const",
            read: |cx| {
                let value = cx.tensor("value")?;
                Ok(vec![cx.b.constant(value)?])
            },
        }],
    },
    OpDef {
        name: "dims",
        parse: |a| Ok(Arc::new(Dims { dims: a.dims("dims")?, scalar: a.bool("scalar")?, dtype: a.dtype("dtype")? })),
        tf: &[
            TfBinding {
                op: "Shape",
                read: |cx| {
                    let dims = Dims { dims: shape_of(cx, 0)?, scalar: false, dtype: cx.dtype("out_type")? };
                    Ok(vec![cx.b.push(dims, &[])?])
                },
            },
            TfBinding {
                op: "ShapeN",
                read: |cx| {
                    let dtype = cx.dtype("out_type")?;
                    (0..cx.inputs.len())
                        .map(|i| {
                            let dims = shape_of(cx, i)?;
                            cx.b.push(Dims { dims, scalar: false, dtype }, &[])
                        })
                        .collect()
                },
            },
            TfBinding {
                op: "Size",
                read: |cx| {
                    let dims = vec![Dim::product(&shape_of(cx, 0)?)];
                    let dtype = cx.dtype("out_type")?;
                    Ok(vec![cx.b.push(Dims { dims, scalar: true, dtype }, &[])?])
                },
            },
            TfBinding {
                op: "Rank",
                read: |cx| {
                    let rank = shape_of(cx, 0)?.len();
                    Ok(vec![cx.b.constant(Tensor::scalar(rank as i32))?])
                },
            },
        ],
    },
    OpDef {
        name: "iota",
        parse: |a| {
            let axis = usize::try_from(a.int("axis")?).map_err(|_| "the axis is negative".to_string())?;
            Ok(Arc::new(Iota { shape: a.dims("shape")?, axis, dtype: a.dtype("dtype")? }))
        },
        tf: &[],
    },
];
