//! What an op's file sees of a TensorFlow node: attributes, operands, constants, with errors that name the node.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};

use crate::graph::{TensorType, Value};
use crate::tensor::Tensor;
use crate::{Builder, DType, Dim};

/// An attribute of a TensorFlow node.
#[derive(Clone, Debug)]
pub enum TfAttr {
    /// `i`
    Int(i64),
    /// `f`
    Float(f32),
    /// `b`
    Bool(bool),
    /// `s`
    Str(Vec<u8>),
    /// `type`
    Type(DType),
    /// `shape`: `None` for an unknown rank; a dimension is `None` where unknown.
    Shape(Option<Vec<Option<i64>>>),
    /// `tensor`
    Tensor(Tensor),
    /// `func`: the function's name.
    Func(String),
    /// `list`
    List(Vec<TfAttr>),
}

/// A TensorFlow node without its edges. Attributes that the file leaves out hold their op's defaults.
#[derive(Clone, Debug)]
pub struct TfNode {
    /// Name.
    pub name: Arc<str>,
    /// Op.
    pub op: Arc<str>,
    /// Attributes by name.
    pub attrs: BTreeMap<String, TfAttr>,
}

/// Imports one TensorFlow op.
pub struct TfBinding {
    /// The TensorFlow op's name.
    pub op: &'static str,
    /// Builds the node; returns one value for each of its outputs.
    pub read: fn(&mut TfCx<'_>) -> Result<Vec<Value>>,
}

/// The node being imported, and where it is built into.
pub struct TfCx<'a> {
    /// Builds the function; its location is already set to the node.
    pub b: &'a mut Builder,
    /// The node.
    pub node: &'a TfNode,
    /// Its data operands.
    pub inputs: &'a [Value],
}

/// An operand decides the type of a result and is computed at run time.
///
/// Where the inputs that it is computed from are at hand (a JIT), the model can be compiled for their values.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("operand {operand} must be known when the model is compiled; it is computed at run time{}", from(.params))]
pub struct NeedsConstant {
    /// Which operand.
    pub operand: usize,
    /// The parameters of the function from which it is computed.
    pub params: Vec<String>,
}

fn from(params: &[String]) -> String {
    if params.is_empty() { String::new() } else { format!(", from `{}`", params.join("`, `")) }
}

macro_rules! attr_getters {
    ($($(#[$meta:meta])* $get:ident: $variant:ident => $t:ty, $what:literal;)*) => {
        impl TfCx<'_> { $(
            $(#[$meta])*
            ///
            /// # Errors
            /// If the attribute is missing or of another kind.
            pub fn $get(&self, name: &str) -> Result<$t> {
                match self.attr(name)? {
                    TfAttr::$variant(v) => Ok(v.clone()),
                    _ => bail!(concat!("attribute `{}` is not ", $what), name),
                }
            }
        )* }
    };
}
attr_getters! {
    /// An integer attribute.
    int: Int => i64, "an integer";
    /// A float attribute.
    float: Float => f32, "a float";
    /// A boolean attribute.
    bool: Bool => bool, "a boolean";
    /// A type attribute.
    dtype: Type => DType, "a type";
    /// A tensor attribute.
    tensor: Tensor => Tensor, "a tensor";
    /// A shape attribute; `None` for an unknown rank.
    shape: Shape => Option<Vec<Option<i64>>>, "a shape";
    /// A function attribute.
    func: Func => String, "a function";
}

impl TfCx<'_> {
    fn attr(&self, name: &str) -> Result<&TfAttr> {
        self.node.attrs.get(name).ok_or_else(|| anyhow!("attribute `{name}` is missing"))
    }

    /// A string attribute as text.
    ///
    /// # Errors
    /// If the attribute is missing, of another kind, or not UTF-8.
    pub fn str(&self, name: &str) -> Result<String> {
        match self.attr(name)? {
            TfAttr::Str(s) => String::from_utf8(s.clone()).map_err(|_| anyhow!("attribute `{name}` is not UTF-8")),
            _ => bail!("attribute `{name}` is not a string"),
        }
    }

    /// A string attribute as bytes, such as a serialized message.
    ///
    /// # Errors
    /// If the attribute is missing or of another kind.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        match self.attr(name)? {
            TfAttr::Str(s) => Ok(s.clone()),
            _ => bail!("attribute `{name}` is not a string"),
        }
    }

    /// The items of a list attribute.
    fn items<T>(&self, name: &str, what: &str, one: impl Fn(&TfAttr) -> Option<T>) -> Result<Vec<T>> {
        let TfAttr::List(l) = self.attr(name)? else { bail!("attribute `{name}` is not a list") };
        let item = |a| one(a).ok_or_else(|| anyhow!("attribute `{name}` is not a list of {what}"));
        l.iter().map(item).collect()
    }

    /// A list of integers.
    ///
    /// # Errors
    /// If the attribute is missing or of another kind.
    pub fn ints(&self, name: &str) -> Result<Vec<i64>> {
        self.items(name, "integers", |a| if let TfAttr::Int(i) = a { Some(*i) } else { None })
    }

    /// A list of floats.
    ///
    /// # Errors
    /// If the attribute is missing or of another kind.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        self.items(name, "floats", |a| if let TfAttr::Float(x) = a { Some(*x) } else { None })
    }

    /// A list of types.
    ///
    /// # Errors
    /// If the attribute is missing or of another kind.
    pub fn dtypes(&self, name: &str) -> Result<Vec<DType>> {
        self.items(name, "types", |a| if let TfAttr::Type(d) = a { Some(*d) } else { None })
    }

    /// A list of byte strings.
    ///
    /// # Errors
    /// If the attribute is missing or of another kind.
    pub fn byte_strings(&self, name: &str) -> Result<Vec<Vec<u8>>> {
        self.items(name, "strings", |a| if let TfAttr::Str(s) = a { Some(s.clone()) } else { None })
    }

    /// A list of shapes, each as [`TfCx::shape`] gives it.
    ///
    /// # Errors
    /// If the attribute is missing or of another kind.
    pub fn shapes(&self, name: &str) -> Result<Vec<Option<Vec<Option<i64>>>>> {
        self.items(name, "shapes", |a| if let TfAttr::Shape(s) = a { Some(s.clone()) } else { None })
    }

    /// The operand with an index.
    ///
    /// # Errors
    /// If the node has fewer operands.
    pub fn input(&self, i: usize) -> Result<Value> {
        self.inputs.get(i).copied().ok_or_else(|| anyhow!("operand {i} is missing: the node has {}", self.inputs.len()))
    }

    /// The type of an operand.
    ///
    /// # Errors
    /// If the node has fewer operands.
    pub fn ty(&self, i: usize) -> Result<TensorType> {
        Ok(self.b.ty(self.input(i)?).clone())
    }

    /// The value of an operand that must be a constant.
    ///
    /// # Errors
    /// [`NeedsConstant`] if it is not one.
    pub fn const_input(&self, i: usize) -> Result<Tensor> {
        let v = self.input(i)?;
        self.b.as_const(v).cloned().ok_or_else(|| self.needs_constant(i, v))
    }

    /// The integers of an operand that must be a constant (axes, paddings).
    ///
    /// # Errors
    /// If it is not a constant of integers.
    pub fn const_ints(&self, i: usize) -> Result<Vec<i64>> {
        if let Some(d) = self.b.as_dims(self.input(i)?)
            && let Some(ints) = d.elems.iter().map(Dim::as_const).collect()
        {
            return Ok(ints);
        }
        self.const_input(i)?.to_i64s().ok_or_else(|| anyhow!("operand {i} must hold integers"))
    }

    /// The elements of an operand that holds a shape or part of one, symbolic where a size is; also where it is computed
    /// at run time, if the builder takes sizes from data.
    ///
    /// # Errors
    /// [`NeedsConstant`] if the elements depend on data and the builder does not.
    pub fn dims_input(&mut self, i: usize) -> Result<Vec<Dim>> {
        let v = self.input(i)?;
        self.b.sizes(i, v)
    }

    /// A size that a rule has computed from an operand's elements.
    ///
    /// # Errors
    /// As [`TfCx::dims_input`].
    pub(crate) fn computed_size(&mut self, operand: usize, size: Value) -> Result<Dim> {
        let sizes = self.b.sizes(operand, size)?;
        match &sizes[..] {
            [n] => Ok(n.clone()),
            _ => bail!("operand {operand} gives {} sizes, not one", sizes.len()),
        }
    }

    fn needs_constant(&self, operand: usize, v: Value) -> anyhow::Error {
        NeedsConstant { operand, params: self.b.params_behind(v) }.into()
    }

    /// Axes from an operand or attribute: negative ones count from the end; duplicates are refused.
    ///
    /// # Errors
    /// If one is outside the rank or occurs twice.
    pub fn normalize_axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut out = Vec::with_capacity(axes.len());
        for &a in axes {
            let axis = normalize_axis(a, rank)?;
            if out.contains(&axis) {
                bail!("axis {a} occurs twice");
            }
            out.push(axis);
        }
        Ok(out)
    }
}

/// An axis in `[-rank, rank)` as a non-negative number.
///
/// # Errors
/// If it is outside.
pub fn normalize_axis(axis: i64, rank: usize) -> Result<usize> {
    let r = rank as i64;
    let a = if axis < 0 { axis + r } else { axis };
    if (0..r).contains(&a) { Ok(a as usize) } else { bail!("axis {axis} is outside [-{r}, {r})") }
}
