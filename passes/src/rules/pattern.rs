//! What rules are made of: patterns, replacements, conditions.

use anyhow::Result;
use kiln_ir::ops::pointwise::{Binary, Cast, Compare, Select, Unary};
use kiln_ir::ops::shape::{Broadcast, Pad, Reshape, Slice, Transpose};
use kiln_ir::scalar::{BinaryOp, CompareOp, UnaryOp};
use kiln_ir::{Builder, Op, TensorType, Value};

/// How much a rule may change a result.
#[allow(non_camel_case_types)] // as they are written in the rules
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// Not at all, but for which NaN it is.
    exact,
    /// The same real number, within the bound of the numeric contract.
    rounding,
    /// Reassociation; only with `--math fast`.
    fast,
}

/// The op at the head of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the ops'
pub enum Head {
    Unary(UnaryOp),
    Binary(BinaryOp),
    Compare(CompareOp),
    Select,
    Cast,
    Reshape,
    Broadcast,
    Transpose,
    Pad,
    Slice,
}

impl Head {
    /// The head that an op is an instance of, if rules know it.
    pub fn of(op: &dyn Op) -> Option<Head> {
        let table: [fn(&dyn Op) -> Option<Head>; 10] = [
            |op| op.is::<Binary>().map(|b| Head::Binary(b.op)),
            |op| op.is::<Unary>().map(|u| Head::Unary(u.op)),
            |op| op.is::<Compare>().map(|c| Head::Compare(c.op)),
            |op| op.is::<Select>().map(|_| Head::Select),
            |op| op.is::<Cast>().map(|_| Head::Cast),
            |op| op.is::<Reshape>().map(|_| Head::Reshape),
            |op| op.is::<Broadcast>().map(|_| Head::Broadcast),
            |op| op.is::<Transpose>().map(|_| Head::Transpose),
            |op| op.is::<Pad>().map(|_| Head::Pad),
            |op| op.is::<Slice>().map(|_| Head::Slice),
        ];
        table.iter().find_map(|read| read(op))
    }

    /// Whether the operands may be exchanged.
    pub fn commutes(self) -> bool {
        match self {
            Head::Binary(op) => op.is_commutative(),
            Head::Compare(op) => op.swapped() == op,
            _ => false,
        }
    }
}

/// A pattern, or a replacement made of ops.
#[derive(Clone, Debug)]
pub enum Pat {
    /// Any value; equal numbers stand for the same value.
    Var(usize),
    /// A constant.
    Const(usize),
    /// A constant, or a broadcast of one, all of whose elements are this number.
    Number(f64),
    /// An op.
    Op(Head, Vec<Pat>),
}

impl From<&Pat> for Pat {
    fn from(p: &Pat) -> Pat {
        p.clone()
    }
}
impl From<f64> for Pat {
    fn from(x: f64) -> Pat {
        Pat::Number(x)
    }
}
impl From<i32> for Pat {
    fn from(x: i32) -> Pat {
        Pat::Number(f64::from(x))
    }
}

/// How many variables a rule has.
pub const VARS: usize = 5;

/// Where a pattern has matched: the node, not yet built, and what the variables stand for.
pub struct Site<'a> {
    /// Builds the replacement.
    pub b: &'a mut Builder,
    /// The op at the root of the pattern.
    pub op: &'a dyn Op,
    /// Its operands.
    pub inputs: &'a [Value],
    /// Its result's type.
    pub ty: &'a TensorType,
    /// The values of the variables.
    pub vars: [Option<Value>; VARS],
}

impl Site<'_> {
    /// The value of a variable.
    pub fn var(&self, p: &Pat) -> Option<Value> {
        match p {
            Pat::Var(i) | Pat::Const(i) => self.vars[*i],
            _ => None,
        }
    }

    /// The type of a variable's value.
    pub fn var_ty(&self, p: &Pat) -> Option<&TensorType> {
        self.var(p).map(|v| self.b.ty(v))
    }

    /// The op that defines the root's first operand: the next op of a chain.
    pub fn inner<T: Op>(&self) -> Option<&T> {
        self.b.func.def_node(*self.inputs.first()?)?.op.is::<T>()
    }
}

/// What a match becomes.
pub enum Rhs {
    /// Ops over the variables.
    Ops(Pat),
    /// Whatever a function builds; `None` if the rule does not apply after all.
    Build(fn(&mut Site<'_>) -> Result<Option<Value>>),
}

impl<T: Into<Pat>> From<T> for Rhs {
    fn from(p: T) -> Rhs {
        Rhs::Ops(p.into())
    }
}

/// A replacement that a function builds.
pub struct Build(pub fn(&mut Site<'_>) -> Result<Option<Value>>);

impl From<Build> for Rhs {
    fn from(b: Build) -> Rhs {
        Rhs::Build(b.0)
    }
}

/// When a match counts.
pub type Cond = Box<dyn Fn(&Site<'_>) -> bool + Send + Sync>;

/// A rewrite rule.
pub struct Rule {
    /// Its name, unique among all rules.
    pub name: &'static str,
    /// How much it may change a result.
    pub tag: Tag,
    /// The line as it is written.
    pub text: &'static str,
    /// What it matches.
    pub lhs: Pat,
    /// What a match becomes.
    pub rhs: Rhs,
    /// When a match counts.
    pub cond: Option<Cond>,
}

impl Rule {
    /// A rule without a condition.
    pub fn new(name: &'static str, tag: Tag, text: &'static str, lhs: Pat, rhs: Rhs) -> Rule {
        Rule { name, tag, text, lhs, rhs, cond: None }
    }

    /// The rule under a condition.
    pub fn only_if(self, cond: impl Fn(&Site<'_>) -> bool + Send + Sync + 'static) -> Rule {
        Rule { cond: Some(Box::new(cond)), ..self }
    }
}

macro_rules! heads {
    ($($name:ident($($arg:ident),*) => $head:expr;)*) => { $(
        #[doc = concat!("The pattern `", stringify!($name), "`.")]
        pub fn $name($($arg: impl Into<Pat>),*) -> Pat {
            Pat::Op($head, vec![$($arg.into()),*])
        }
    )* };
}
heads! {
    neg(x) => Head::Unary(UnaryOp::Neg);
    abs(x) => Head::Unary(UnaryOp::Abs);
    sign(x) => Head::Unary(UnaryOp::Sign);
    square(x) => Head::Unary(UnaryOp::Square);
    sqrt(x) => Head::Unary(UnaryOp::Sqrt);
    rsqrt(x) => Head::Unary(UnaryOp::Rsqrt);
    reciprocal(x) => Head::Unary(UnaryOp::Reciprocal);
    floor(x) => Head::Unary(UnaryOp::Floor);
    ceil(x) => Head::Unary(UnaryOp::Ceil);
    rint(x) => Head::Unary(UnaryOp::Rint);
    trunc(x) => Head::Unary(UnaryOp::Trunc);
    conj(x) => Head::Unary(UnaryOp::Conj);
    real(x) => Head::Unary(UnaryOp::Real);
    not(x) => Head::Unary(UnaryOp::Not);
    bit_not(x) => Head::Unary(UnaryOp::BitNot);
    add(x, y) => Head::Binary(BinaryOp::Add);
    sub(x, y) => Head::Binary(BinaryOp::Sub);
    mul(x, y) => Head::Binary(BinaryOp::Mul);
    div(x, y) => Head::Binary(BinaryOp::Div);
    floor_div(x, y) => Head::Binary(BinaryOp::FloorDiv);
    pow(x, y) => Head::Binary(BinaryOp::Pow);
    max(x, y) => Head::Binary(BinaryOp::Max);
    min(x, y) => Head::Binary(BinaryOp::Min);
    squared_difference(x, y) => Head::Binary(BinaryOp::SquaredDifference);
    bit_and(x, y) => Head::Binary(BinaryOp::BitAnd);
    bit_or(x, y) => Head::Binary(BinaryOp::BitOr);
    bit_xor(x, y) => Head::Binary(BinaryOp::BitXor);
    and(x, y) => Head::Binary(BinaryOp::And);
    or(x, y) => Head::Binary(BinaryOp::Or);
    xor(x, y) => Head::Binary(BinaryOp::Xor);
    eq(x, y) => Head::Compare(CompareOp::Eq);
    ne(x, y) => Head::Compare(CompareOp::Ne);
    lt(x, y) => Head::Compare(CompareOp::Lt);
    le(x, y) => Head::Compare(CompareOp::Le);
    gt(x, y) => Head::Compare(CompareOp::Gt);
    ge(x, y) => Head::Compare(CompareOp::Ge);
    select(c, x, y) => Head::Select;
    cast(x) => Head::Cast;
    reshape(x) => Head::Reshape;
    broadcast(x) => Head::Broadcast;
    transpose(x) => Head::Transpose;
    pad(x, y) => Head::Pad;
    slice(x) => Head::Slice;
}

/// The condition that a variable holds integers.
pub fn int(x: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    is(x, |t| t.dtype.is_int())
}

/// The condition that a variable holds real floats.
pub fn float(x: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    is(x, |t| t.dtype.is_float())
}

/// The condition that a variable holds real numbers.
pub fn not_complex(x: &Pat) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    is(x, |t| !t.dtype.is_complex())
}

/// A condition on a variable's type.
pub fn is(x: &Pat, what: fn(&TensorType) -> bool) -> impl Fn(&Site<'_>) -> bool + Send + Sync + 'static {
    let x = x.clone();
    move |s| s.var_ty(&x).is_some_and(what)
}
