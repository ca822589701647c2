//! Attributes of ops as data: what the text form prints and parses, and what CSE compares.

use std::borrow::Cow;
use std::fmt;

use crate::{DType, Dim, Tensor, TensorType};

/// The value of an attribute.
#[derive(Clone, Debug)]
pub enum Attr {
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float; printed so that it reads back bit for bit.
    Float(f64),
    /// A bare word of a closed vocabulary: `max`, `reflect`.
    Word(String),
    /// A quoted string.
    Str(String),
    /// An element type.
    DType(DType),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A list of symbolic integers.
    Dims(Vec<Dim>),
    /// A tensor's elements: `dense<...>`.
    Tensor(Tensor),
    /// A function of the module, by index.
    Func(usize),
    /// Functions of the module.
    Funcs(Vec<usize>),
    /// Types of values.
    Types(Vec<TensorType>),
}

/// Attributes in printing order; names are borrowed but where a parser read them.
#[derive(Clone, Debug, Default)]
pub struct Attrs(pub Vec<(Cow<'static, str>, Attr)>);

impl Attrs {
    /// No attributes.
    pub fn none() -> Attrs {
        Attrs::default()
    }

    /// Appends an attribute.
    pub fn with(mut self, name: &'static str, value: Attr) -> Attrs {
        self.0.push((name.into(), value));
        self
    }

    /// The attribute with this name.
    pub fn get(&self, name: &str) -> Result<&Attr, String> {
        self.0.iter().find(|a| a.0 == name).map(|a| &a.1).ok_or_else(|| format!("attribute `{name}` is missing"))
    }
}

macro_rules! getters {
    ($($(#[$meta:meta])* $get:ident: $variant:ident => $t:ty, $what:literal;)*) => {
        impl Attrs { $(
            $(#[$meta])*
            pub fn $get(&self, name: &str) -> Result<$t, String> {
                match self.get(name)? {
                    Attr::$variant(v) => Ok(v.clone()),
                    other => Err(format!(concat!("attribute `{}` is {}, not ", $what), name, other.kind())),
                }
            }
        )* }
    };
}
getters! {
    /// A boolean attribute.
    bool: Bool => bool, "a boolean";
    /// An integer attribute.
    int: Int => i64, "an integer";
    /// A float attribute.
    float: Float => f64, "a float";
    /// A word attribute.
    word: Word => String, "a word";
    /// A string attribute.
    str: Str => String, "a string";
    /// An element-type attribute.
    dtype: DType => DType, "an element type";
    /// A tensor attribute.
    tensor: Tensor => Tensor, "a tensor";
    /// A function attribute.
    func: Func => usize, "a function";
    /// A list of functions.
    funcs: Funcs => Vec<usize>, "a list of functions";
    /// A list of types.
    types: Types => Vec<TensorType>, "a list of types";
}

impl Attrs {
    /// A list of integers.
    pub fn ints(&self, name: &str) -> Result<Vec<i64>, String> {
        match self.get(name)? {
            Attr::Ints(v) => Ok(v.clone()),
            Attr::Dims(d) => d
                .iter()
                .map(|d| d.as_const().ok_or_else(|| format!("attribute `{name}` holds `{d}`, not an integer")))
                .collect(),
            other => Err(format!("attribute `{name}` is {}, not a list of integers", other.kind())),
        }
    }

    /// A list of symbolic integers.
    pub fn dims(&self, name: &str) -> Result<Vec<Dim>, String> {
        match self.get(name)? {
            Attr::Dims(v) => Ok(v.clone()),
            Attr::Ints(v) => Ok(v.iter().map(|&n| Dim::from(n)).collect()),
            other => Err(format!("attribute `{name}` is {}, not a list of dimensions", other.kind())),
        }
    }

    /// A list of axes: non-negative integers.
    pub fn axes(&self, name: &str) -> Result<Vec<usize>, String> {
        self.ints(name)?
            .into_iter()
            .map(|n| usize::try_from(n).map_err(|_| format!("attribute `{name}` holds the negative axis {n}")))
            .collect()
    }
}

impl Attr {
    fn kind(&self) -> &'static str {
        match self {
            Attr::Bool(_) => "a boolean",
            Attr::Int(_) => "an integer",
            Attr::Float(_) => "a float",
            Attr::Word(_) => "a word",
            Attr::Str(_) => "a string",
            Attr::DType(_) => "an element type",
            Attr::Ints(_) => "a list of integers",
            Attr::Dims(_) => "a list of dimensions",
            Attr::Tensor(_) => "a tensor",
            Attr::Func(_) => "a function",
            Attr::Funcs(_) => "a list of functions",
            Attr::Types(_) => "a list of types",
        }
    }

    /// Calls `f` with every dimension that the attribute holds.
    pub fn for_each_dim(&self, f: &mut dyn FnMut(&Dim)) {
        match self {
            Attr::Dims(dims) => dims.iter().for_each(f),
            Attr::Types(types) => types.iter().flat_map(|t| &t.shape).for_each(f),
            _ => {}
        }
    }

    /// Replaces every dimension that the attribute holds.
    pub fn map_dims(&mut self, f: &dyn Fn(&Dim) -> Dim) {
        match self {
            Attr::Dims(dims) => dims.iter_mut().for_each(|d| *d = f(d)),
            Attr::Types(types) => types.iter_mut().flat_map(|t| &mut t.shape).for_each(|d| *d = f(d)),
            _ => {}
        }
    }

    /// A list of axes as an attribute.
    pub fn axes(axes: &[usize]) -> Attr {
        Attr::Ints(axes.iter().map(|&a| a as i64).collect())
    }

    /// Equality bit for bit: NaN equals itself, 0.0 differs from -0.0.
    pub fn same(&self, o: &Attr) -> bool {
        match (self, o) {
            (Attr::Bool(a), Attr::Bool(b)) => a == b,
            (Attr::Int(a), Attr::Int(b)) => a == b,
            (Attr::Float(a), Attr::Float(b)) => a.to_bits() == b.to_bits(),
            (Attr::Word(a), Attr::Word(b)) | (Attr::Str(a), Attr::Str(b)) => a == b,
            (Attr::DType(a), Attr::DType(b)) => a == b,
            (Attr::Ints(a), Attr::Ints(b)) => a == b,
            (Attr::Dims(a), Attr::Dims(b)) => a == b,
            (Attr::Tensor(a), Attr::Tensor(b)) => a.same_bits(b),
            (Attr::Func(a), Attr::Func(b)) => a == b,
            (Attr::Funcs(a), Attr::Funcs(b)) => a == b,
            (Attr::Types(a), Attr::Types(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, a)) in self.0.iter().enumerate() {
            write!(f, "{}{name}=", if i > 0 { ", " } else { "" })?;
            crate::text::print::attr(f, a)?;
        }
        Ok(())
    }
}
