//! `contract`: generalized matrix products, written as einsum labels.
//!
//! Constraints: C1 two operands; C2 of one dtype, integer, float or complex; C3 one label for each axis; C4 labels are
//! distinct within each operand and within the result, and the result's occur in an operand; C5 axes of one label have
//! one extent.
//!
//! Reference evaluation accumulates floats in f64 and rounds once; integers wrap.

use std::any::Any;
use std::sync::Arc;

use super::shape::{arity, cotangent, known, may_equal};
use super::wide::{Num, Wide, zeroed};
use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::{ContractSpec, Lower};
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::scalar::UnaryOp;
use crate::tensor::{Tensor, row_major_strides};
use crate::{Builder, Dim};

pub(crate) mod gemm;
mod tf;

pub(crate) use tf::einsum;

/// `contract lhs, rhs`: the sum over the labels that the result lacks of the products of elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    /// Label of each axis of the left operand: an ASCII letter.
    pub lhs: Vec<u8>,
    /// Label of each axis of the right operand.
    pub rhs: Vec<u8>,
    /// Label of each axis of the result.
    pub out: Vec<u8>,
}

impl Contract {
    /// The contraction with these labels, such as `("mk", "kn", "mn")`.
    pub fn new(lhs: &str, rhs: &str, out: &str) -> Contract {
        Contract { lhs: lhs.into(), rhs: rhs.into(), out: out.into() }
    }

    /// The labels of a kind, in a fixed order: from `of`, where `keep` says so.
    fn labels(of: &[u8], keep: impl Fn(&u8) -> bool) -> Vec<u8> {
        of.iter().copied().filter(|l| keep(l)).collect()
    }
}

fn text(labels: &[u8]) -> String {
    String::from_utf8_lossy(labels).into_owned()
}

fn distinct(labels: &[u8]) -> bool {
    labels.iter().enumerate().all(|(i, l)| l.is_ascii_alphabetic() && !labels[..i].contains(l))
}

/// A row-major copy of `x` with axes as in `order`; a label that `x` lacks has extent 1, one that `order` lacks is
/// summed over.
fn gather<T: Num>(x: &[T], labels: &[u8], shape: &[usize], order: &[u8]) -> Vec<T> {
    let strides = row_major_strides(shape);
    let place = |l: &u8| labels.iter().position(|m| m == l);
    let axes: Vec<usize> = order.iter().filter_map(place).collect();
    let summed: Vec<usize> = (0..labels.len()).filter(|i| !axes.contains(i)).collect();
    let mut out = Vec::with_capacity(axes.iter().map(|&a| shape[a]).product());
    if shape.contains(&0) {
        out.resize(out.capacity(), T::default());
        return out;
    }
    let mut index = vec![0usize; axes.len()];
    loop {
        let base: usize = index.iter().zip(&axes).map(|(i, &a)| i * strides[a]).sum();
        let mut inner = vec![0usize; summed.len()];
        let mut sum = T::default();
        loop {
            let at: usize = inner.iter().zip(&summed).map(|(i, &a)| i * strides[a]).sum();
            sum = sum.plus(x[base + at]);
            if !super::shape::advance(&mut inner, |axis| shape[summed[axis]]) {
                break;
            }
        }
        out.push(sum);
        if !super::shape::advance(&mut index, |axis| shape[axes[axis]]) {
            return out;
        }
    }
}

impl Contract {
    fn extent(&self, l: u8, a: &[usize], b: &[usize]) -> usize {
        let of = |labels: &[u8], shape: &[usize]| labels.iter().position(|&m| m == l).map(|i| shape[i]);
        of(&self.lhs, a).or(of(&self.rhs, b)).unwrap_or(1)
    }

    /// The product through matrices: batch labels outside, then rows, columns and the summed labels.
    fn product<T: Num>(&self, a: (&[T], &[usize]), b: (&[T], &[usize])) -> Result<(Vec<T>, Vec<usize>), OpError> {
        let in_rhs = |l: &u8| self.rhs.contains(l);
        let in_out = |l: &u8| self.out.contains(l);
        let batch = Self::labels(&self.out, |l| self.lhs.contains(l) && in_rhs(l));
        let rows = Self::labels(&self.out, |l| !in_rhs(l));
        let cols = Self::labels(&self.out, |l| !self.lhs.contains(l));
        let inner = Self::labels(&self.lhs, |l| in_rhs(l) && !in_out(l));
        let size = |labels: &[u8]| labels.iter().map(|&l| self.extent(l, a.1, b.1)).product::<usize>();
        let (nb, m, n, k) = (size(&batch), size(&rows), size(&cols), size(&inner));
        let left = gather(a.0, &self.lhs, a.1, &[&batch[..], &rows, &inner].concat());
        let right = gather(b.0, &self.rhs, b.1, &[&batch[..], &inner, &cols].concat());

        // Where the result's axes stand in it: (batch, rows, columns) to elements.
        let shape: Vec<usize> = self.out.iter().map(|&l| self.extent(l, a.1, b.1)).collect();
        let strides = row_major_strides(&shape);
        let places = |labels: &[u8]| -> Vec<usize> {
            let mut at = vec![0];
            for l in labels {
                let axis = self.out.iter().position(|m| m == l).unwrap_or(0);
                at = at
                    .iter()
                    .flat_map(|&base| (0..shape[axis]).map(move |i| (base, i)))
                    .map(|(base, i)| base + i * strides[axis])
                    .collect();
            }
            at
        };
        let (batch_at, row_at, col_at) = (places(&batch), places(&rows), places(&cols));
        let mut out = zeroed::<T>("contract", &shape)?;
        if out.is_empty() {
            return Ok((out, shape));
        }
        for i in 0..nb {
            let (left, right) = (&left[i * m * k..][..m * k], &right[i * k * n..][..k * n]);
            let packed = gemm::Packed::new(k, n, |p, j| right[p * n + j]);
            packed.product(left, m, |r, c, v| out[batch_at[i] + row_at[r] + col_at[c]] = v);
        }
        Ok((out, shape))
    }
}

impl Op for Contract {
    fn name(&self) -> &'static str {
        "contract"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("lhs", Attr::Str(text(&self.lhs)))
            .with("rhs", Attr::Str(text(&self.rhs)))
            .with("out", Attr::Str(text(&self.out)))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let fail = |code, message| Err(OpError::new("contract", code, message));
        let [x, y] = arity("contract", given)?;
        if x.dtype != y.dtype || !(x.dtype.is_int() || x.dtype.is_float() || x.dtype.is_complex()) {
            return fail("C2", format!("operands have types {x} and {y}"));
        }
        if x.rank() != self.lhs.len() || y.rank() != self.rhs.len() {
            return fail("C3", format!("labels {} and {} of {x} and {y}", text(&self.lhs), text(&self.rhs)));
        }
        let from_operands = self.out.iter().all(|l| self.lhs.contains(l) || self.rhs.contains(l));
        if ![&self.lhs, &self.rhs, &self.out].iter().all(|l| distinct(l)) || !from_operands {
            return fail("C4", format!("labels {}, {} -> {}", text(&self.lhs), text(&self.rhs), text(&self.out)));
        }
        let dim = |l: u8| {
            let i = self.lhs.iter().position(|&m| m == l).map(|i| &x.shape[i]);
            let j = self.rhs.iter().position(|&m| m == l).map(|j| &y.shape[j]);
            (i, j)
        };
        for &l in &self.lhs {
            if let (Some(a), Some(b)) = dim(l)
                && !may_equal(a, b)
            {
                return fail("C5", format!("axis `{}` is {a} in {x} and {b} in {y}", l as char));
            }
        }
        let shape: Vec<Dim> = self
            .out
            .iter()
            .filter_map(|&l| match dim(l) {
                (Some(a), Some(b)) => Some(known(a, b)),
                (a, b) => a.or(b).cloned(),
            })
            .collect();
        Ok(vec![TensorType::new(x.dtype, shape)])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (x[0].shape(), x[1].shape());
        let (wide, shape) = match (Wide::of("contract", x[0])?, Wide::of("contract", x[1])?) {
            (Wide::Int(v), Wide::Int(w)) => self.product((&v, a), (&w, b)).map(|(r, s)| (Wide::Int(r), s))?,
            (Wide::Real(v), Wide::Real(w)) => self.product((&v, a), (&w, b)).map(|(r, s)| (Wide::Real(r), s))?,
            (Wide::Complex(v), Wide::Complex(w)) => {
                self.product((&v, a), (&w, b)).map(|(r, s)| (Wide::Complex(r), s))?
            }
            _ => return Err(OpError::new("contract", "C2", "operands of two classes")),
        };
        Ok(vec![wide.into_tensor("contract", x[0].dtype(), &shape)?])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, b: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        let dtype = b.ty(args.inputs[0]).dtype;
        if dtype.is_int() {
            return Err(NoGradient::NotDifferentiable);
        }
        let Some(g) = cotangent(&args) else { return Ok(vec![None, None]) };
        let (x, y) = (args.inputs[0], args.inputs[1]);
        let dx = self.gradient(b, g, y, &self.rhs, x, &self.lhs)?;
        let dy = self.gradient(b, g, x, &self.lhs, y, &self.rhs)?;
        Ok(vec![Some(dx), Some(dy)])
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Contract(ContractSpec { lhs: self.lhs.clone(), rhs: self.rhs.clone(), out: self.out.clone() })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Contract {
    /// The cotangent of the operand `to`: the result's cotangent contracted with the other operand, and repeated along
    /// the labels that stand in `to` alone, over which the product summed.
    fn gradient(
        &self,
        b: &mut Builder,
        g: Value,
        other: Value,
        other_labels: &[u8],
        to: Value,
        labels: &[u8],
    ) -> anyhow::Result<Value> {
        let other = if b.ty(other).dtype.is_complex() { b.unary(UnaryOp::Conj, other)? } else { other };
        let alone = |l: &u8| !self.out.contains(l) && !other_labels.contains(l);
        let out = Self::labels(labels, |l| !alone(l));
        let spec = Contract { lhs: self.out.clone(), rhs: other_labels.to_vec(), out };
        let d = b.push(spec, &[g, other])?;
        let shape = b.ty(to).shape.clone();
        let with_ones: Vec<Dim> =
            labels.iter().zip(&shape).map(|(l, d)| if alone(l) { Dim::from(1) } else { d.clone() }).collect();
        let d = b.reshape(d, &with_ones)?;
        b.broadcast(d, &shape)
    }
}

fn labels_attr(a: &Attrs, name: &str) -> Result<Vec<u8>, String> {
    Ok(a.str(name)?.into_bytes())
}

/// The ops of this family.
pub const OPS: &[OpDef] = &[OpDef {
    name: "contract",
    parse: |a| {
        Ok(Arc::new(Contract { lhs: labels_attr(a, "lhs")?, rhs: labels_attr(a, "rhs")?, out: labels_attr(a, "out")? }))
    },
    tf: tf::CONTRACT,
}];
