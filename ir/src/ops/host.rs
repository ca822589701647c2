//! What ops that run on the host share: strings, sequential algorithms, results whose sizes depend on data.
//!
//! Such an op is its attributes, a type rule and an evaluation, which is both the reference and the implementation. The
//! macro `host_op!` writes the rest of the [`crate::Op`] contract from that.
//!
//! Code shared by these ops: `C1` is the number of operands, `C2` their element types, `C3` their shapes, `C4` the
//! attributes; `E1` a value that the op refuses; `E2` a result too large to hold.

use num_complex::Complex;

use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::op::{NoGradient, OpError, VjpArgs};
use crate::tensor::{Tensor, element_count};
use crate::{Builder, DType, Dim};

/// A Rust type that an attribute's value is read from and printed as.
pub(crate) trait AttrField: Sized {
    /// As the text form prints it.
    fn attr(&self) -> Attr;
    /// As the text form gives it.
    fn read(a: &Attrs, name: &str) -> Result<Self, String>;
}

macro_rules! fields {
    ($($t:ty: $get:ident, $variant:ident;)*) => { $(impl AttrField for $t {
        fn attr(&self) -> Attr {
            Attr::$variant(self.clone())
        }
        fn read(a: &Attrs, name: &str) -> Result<Self, String> {
            a.$get(name)
        }
    })* };
}
fields! {
    bool: bool, Bool;
    i64: int, Int;
    f64: float, Float;
    String: str, Str;
    DType: dtype, DType;
    Vec<i64>: ints, Ints;
    Vec<Dim>: dims, Dims;
    Tensor: tensor, Tensor;
    Vec<TensorType>: types, Types;
}

impl AttrField for Dim {
    fn attr(&self) -> Attr {
        Attr::Dims(vec![self.clone()])
    }
    fn read(a: &Attrs, name: &str) -> Result<Self, String> {
        a.dims(name)?.pop().ok_or_else(|| format!("attribute `{name}` is empty"))
    }
}

/// Floats travel as a tensor, which keeps every bit.
impl AttrField for Vec<f64> {
    fn attr(&self) -> Attr {
        Attr::Tensor(Tensor::of(&[self.len()], self))
    }
    fn read(a: &Attrs, name: &str) -> Result<Self, String> {
        a.tensor(name)?.to_f64s().ok_or_else(|| format!("attribute `{name}` holds no floats"))
    }
}

/// Types travel as one string: `f32 i64`.
impl AttrField for Vec<DType> {
    fn attr(&self) -> Attr {
        Attr::Str(self.iter().map(|d| d.name()).collect::<Vec<_>>().join(" "))
    }
    fn read(a: &Attrs, name: &str) -> Result<Self, String> {
        a.str(name)?.split_whitespace().map(str::parse).collect()
    }
}

/// Writes an op that runs on the host: `Name = "mnemonic" { attributes } infer rule, eval function`, then `vjp function`
/// where it has a gradient. The rules are functions or closures of the op and its operands.
macro_rules! host_op {
    ($(#[$doc:meta])* $name:ident = $mnemonic:literal { $($(#[$fdoc:meta])* $field:ident: $t:ty),* $(,)? }
     infer $infer:expr, eval $eval:expr $(,)?) => {
        crate::ops::host::host_op! {
            $(#[$doc])* $name = $mnemonic { $($(#[$fdoc])* $field: $t),* }
            infer $infer, eval $eval, vjp |_, _, _| Err(crate::op::NoGradient::NotDifferentiable)
        }
    };
    ($(#[$doc:meta])* $name:ident = $mnemonic:literal { $($(#[$fdoc:meta])* $field:ident: $t:ty),* $(,)? }
     infer $infer:expr, eval $eval:expr, vjp $vjp:expr $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $t,)*
        }
        impl $name {
            /// The op's entry in the list, with the TensorFlow ops that it imports.
            pub const fn def(tf: &'static [crate::tf::TfBinding]) -> crate::op::OpDef {
                crate::op::OpDef { name: $mnemonic, parse: Self::parse, tf }
            }
            #[allow(unused_variables)]
            fn parse(a: &crate::attr::Attrs) -> Result<std::sync::Arc<dyn crate::op::Op>, String> {
                Ok(std::sync::Arc::new($name {
                    $($field: crate::ops::host::AttrField::read(a, stringify!($field))?,)*
                }))
            }
        }
        impl crate::op::Op for $name {
            crate::ops::shape::pure_op!($mnemonic);
            fn attrs(&self) -> crate::attr::Attrs {
                crate::attr::Attrs::none()
                    $(.with(stringify!($field), crate::ops::host::AttrField::attr(&self.$field)))*
            }
            fn infer(
                &self,
                given: &[&crate::graph::TensorType],
            ) -> Result<Vec<crate::graph::TensorType>, crate::op::OpError> {
                let rule: crate::ops::host::Infer<Self> = $infer;
                rule(self, given)
            }
            fn eval(&self, x: &[&crate::tensor::Tensor]) -> Result<Vec<crate::tensor::Tensor>, crate::op::OpError> {
                let function: crate::ops::host::Eval<Self> = $eval;
                function(self, x)
            }
            fn eval_dims(
                &self,
                x: &[(&crate::graph::TensorType, Option<&crate::op::DimTensor>)],
            ) -> Vec<Option<crate::op::DimTensor>> {
                let types: Vec<_> = x.iter().map(|o| o.0).collect();
                self.infer(&types).map_or(vec![], |t| vec![None; t.len()])
            }
            fn vjp(
                &self,
                b: &mut crate::Builder,
                args: crate::op::VjpArgs<'_>,
            ) -> Result<Vec<Option<crate::graph::Value>>, crate::op::NoGradient> {
                let rule: crate::ops::host::Vjp<Self> = $vjp;
                rule(self, b, args)
            }
            fn lower(&self, _: &[&crate::graph::TensorType]) -> crate::lower::Lower {
                crate::lower::Lower::Host
            }
        }
    };
}
pub(crate) use host_op;

/// A type rule.
pub(crate) type Infer<T> = fn(&T, &[&TensorType]) -> Result<Vec<TensorType>, OpError>;
/// An evaluation.
pub(crate) type Eval<T> = fn(&T, &[&Tensor]) -> Result<Vec<Tensor>, OpError>;
/// A gradient.
pub(crate) type Vjp<T> = fn(&T, &mut Builder, VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient>;

/// A TensorFlow op whose import rule is a function.
macro_rules! tf_ops {
    ($($tf:literal => $read:expr),* $(,)?) => { &[$(crate::tf::TfBinding { op: $tf, read: $read }),*] };
}
pub(crate) use tf_ops;

/// Refuses with a numbered constraint unless it holds.
pub(crate) fn require(
    op: &'static str,
    code: &'static str,
    holds: bool,
    message: impl FnOnce() -> String,
) -> Result<(), OpError> {
    if holds { Ok(()) } else { Err(OpError::new(op, code, message())) }
}

/// The operands, if there are `N` and each has one of the types that stand for it; an empty list takes any.
pub(crate) fn typed<'a, const N: usize>(
    op: &'static str,
    given: &[&'a TensorType],
    types: [&[DType]; N],
) -> Result<[&'a TensorType; N], OpError> {
    let given = crate::ops::shape::arity::<N>(op, given)?;
    for (i, (ty, allowed)) in given.iter().zip(types).enumerate() {
        require(op, "C2", allowed.is_empty() || allowed.contains(&ty.dtype), || {
            format!("operand {i} is {ty}, of element type none of {allowed:?}")
        })?;
    }
    Ok(given)
}

/// The only accepted element type of a string operand.
pub(crate) const STRING: &[DType] = &[DType::String];
/// i32 and i64.
pub(crate) const INDEX: &[DType] = &[DType::I32, DType::I64];
/// f32 and f64.
pub(crate) const F32_F64: &[DType] = &[DType::F32, DType::F64];
/// Any element type.
pub(crate) const ANY: &[DType] = &[];

/// The strings of an operand that `infer` has found to hold them.
pub(crate) fn strings(t: &Tensor) -> &[Vec<u8>] {
    t.strings().unwrap_or(&[])
}

/// The integers of an operand that `infer` has found to hold them.
pub(crate) fn ints(t: &Tensor) -> Vec<i64> {
    t.to_i64s().unwrap_or_default()
}

/// The floats of an operand that `infer` has found to hold them.
pub(crate) fn reals(t: &Tensor) -> Vec<f64> {
    t.to_f64s().unwrap_or_default()
}

/// The elements of a floating or complex operand as complex numbers.
pub(crate) fn complexes(t: &Tensor) -> Vec<Complex<f64>> {
    if let Some(v) = t.as_slice::<Complex<f32>>() {
        return v.iter().map(|z| Complex::new(f64::from(z.re), f64::from(z.im))).collect();
    }
    if let Some(v) = t.as_slice::<Complex<f64>>() {
        return v.to_vec();
    }
    reals(t).into_iter().map(|x| Complex::new(x, 0.0)).collect()
}

/// A tensor of an integer or bool type.
pub(crate) fn int_tensor(op: &'static str, dtype: DType, shape: &[usize], v: &[i64]) -> Result<Tensor, OpError> {
    check_count(op, shape, v.len())?;
    Tensor::from_i64s(dtype, shape, v).ok_or_else(|| OpError::new(op, "C2", format!("{dtype} holds no integers")))
}

/// A tensor of a floating type, each element rounded once.
pub(crate) fn real_tensor(op: &'static str, dtype: DType, shape: &[usize], v: Vec<f64>) -> Result<Tensor, OpError> {
    crate::ops::wide::Wide::Real(v).into_tensor(op, dtype, shape)
}

/// A tensor of a floating or complex type; a floating one takes the real parts.
pub(crate) fn complex_tensor(
    op: &'static str,
    dtype: DType,
    shape: &[usize],
    v: Vec<Complex<f64>>,
) -> Result<Tensor, OpError> {
    use crate::ops::wide::Wide;
    let wide = if dtype.is_complex() { Wide::Complex(v) } else { Wide::Real(v.into_iter().map(|z| z.re).collect()) };
    wide.into_tensor(op, dtype, shape)
}

/// A tensor of strings.
pub(crate) fn string_tensor(op: &'static str, shape: &[usize], v: Vec<Vec<u8>>) -> Result<Tensor, OpError> {
    check_count(op, shape, v.len())?;
    Ok(Tensor::of_strings(shape, v))
}

fn check_count(op: &'static str, shape: &[usize], n: usize) -> Result<(), OpError> {
    require(op, "E2", element_count(shape) == Some(n), || format!("{n} elements cannot have shape {shape:?}"))
}

/// The elements of any tensor at the given places, under a shape: rows of `row` elements.
pub(crate) fn take_rows(
    op: &'static str,
    x: &Tensor,
    row: usize,
    rows: &[usize],
    shape: &[usize],
) -> Result<Tensor, OpError> {
    crate::ops::shape::assemble(op, shape, &[x], |emit| rows.iter().for_each(|&r| emit(0, r * row, row)))
}

/// The extents of dims that hold no symbols.
pub(crate) fn extents(op: &'static str, dims: &[Dim]) -> Result<Vec<usize>, OpError> {
    let known = dims.iter().map(|d| d.as_const().and_then(|n| usize::try_from(n).ok())).collect::<Option<Vec<_>>>();
    let shape = known.ok_or_else(|| OpError::new(op, "E1", format!("the size {dims:?} is negative or not bound")))?;
    require(op, "E2", element_count(&shape).is_some_and(|n| n < isize::MAX as usize / 16), || {
        format!("a result of shape {shape:?} is too large")
    })?;
    Ok(shape)
}

/// Imports a node whose op takes all of the node's operands.
pub(crate) fn import(cx: &mut crate::tf::TfCx<'_>, op: impl crate::op::Op) -> anyhow::Result<Vec<Value>> {
    let inputs = cx.inputs.to_vec();
    cx.b.push_all(op, &inputs)
}
