//! Formulas over values, written with operators. The first node that cannot be built makes the rest of the formula
//! idle, and [`Formula::end`] tells why.

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

use anyhow::Result;
use kiln_ir::scalar::{BinaryOp, CompareOp, UnaryOp};
use kiln_ir::{Builder, DType, Dim, Value};

/// Where the terms of a formula are built.
pub(super) struct Formula<'b> {
    b: RefCell<&'b mut Builder>,
    failed: RefCell<Option<anyhow::Error>>,
}

/// A value in a formula.
#[derive(Clone, Copy)]
pub(super) struct Term<'f, 'b> {
    f: &'f Formula<'b>,
    /// The value; after a failure, one that has no meaning.
    pub v: Value,
}

impl<'b> Formula<'b> {
    pub fn new(b: &'b mut Builder) -> Formula<'b> {
        Formula { b: RefCell::new(b), failed: RefCell::new(None) }
    }

    pub fn term(&self, v: Value) -> Term<'_, 'b> {
        Term { f: self, v }
    }

    /// Builds a value, unless something failed before; `instead` stands for it then.
    pub fn build(&self, instead: Value, make: impl FnOnce(&mut Builder) -> Result<Value>) -> Term<'_, 'b> {
        if self.failed.borrow().is_some() {
            return self.term(instead);
        }
        let made = make(&mut self.b.borrow_mut());
        match made {
            Ok(v) => self.term(v),
            Err(e) => {
                self.failed.borrow_mut().get_or_insert(e);
                self.term(instead)
            }
        }
    }

    /// The first failure, if there was one.
    pub fn end(self) -> Result<()> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }
}

impl<'f, 'b> Term<'f, 'b> {
    fn unary(self, op: UnaryOp) -> Self {
        self.f.build(self.v, |b| b.unary(op, self.v))
    }

    fn binary(self, op: BinaryOp, y: Self) -> Self {
        self.f.build(self.v, |b| b.binary(op, self.v, y.v))
    }

    fn compare(self, op: CompareOp, y: Self) -> Self {
        self.f.build(self.v, |b| b.compare(op, self.v, y.v))
    }

    /// A number of this term's element type.
    pub fn number(self, x: f64) -> Self {
        self.f.build(self.v, |b| b.scalar(b.ty(self.v).dtype, x))
    }

    /// Converted to an element type.
    pub fn cast(self, to: DType) -> Self {
        self.f.build(self.v, |b| b.cast(to, self.v))
    }

    /// Converted to the element type of another term.
    pub fn cast_as(self, like: Self) -> Self {
        self.f.build(self.v, |b| b.cast(b.ty(like.v).dtype, self.v))
    }

    /// Broadcast to a shape.
    pub fn broadcast(self, shape: &[Dim]) -> Self {
        self.f.build(self.v, |b| b.broadcast(self.v, shape))
    }

    pub fn sqrt(self) -> Self {
        self.unary(UnaryOp::Sqrt)
    }
    pub fn rsqrt(self) -> Self {
        self.unary(UnaryOp::Rsqrt)
    }
    pub fn square(self) -> Self {
        self.unary(UnaryOp::Square)
    }
    pub fn abs(self) -> Self {
        self.unary(UnaryOp::Abs)
    }
    pub fn sign(self) -> Self {
        self.unary(UnaryOp::Sign)
    }
    pub fn exp(self) -> Self {
        self.unary(UnaryOp::Exp)
    }
    pub fn pow(self, y: Self) -> Self {
        self.binary(BinaryOp::Pow, y)
    }
    pub fn max(self, y: Self) -> Self {
        self.binary(BinaryOp::Max, y)
    }
    pub fn min(self, y: Self) -> Self {
        self.binary(BinaryOp::Min, y)
    }
    pub fn greater(self, y: Self) -> Self {
        self.compare(CompareOp::Gt, y)
    }
    pub fn equal(self, y: Self) -> Self {
        self.compare(CompareOp::Eq, y)
    }

    /// One of two terms; where this condition is known, only the one that is taken is built.
    pub fn choose(self, yes: impl FnOnce() -> Self, no: impl FnOnce() -> Self) -> Self {
        let known = self.f.b.borrow().as_const(self.v).filter(|t| t.len() == 1).and_then(|t| t.to_i64s());
        match known.as_deref() {
            Some([0]) => no(),
            Some(_) => yes(),
            None => {
                let (yes, no) = (yes(), no());
                self.f.build(self.v, |b| b.select(self.v, yes.v, no.v))
            }
        }
    }
}

macro_rules! operators {
    ($($name:ident $method:ident;)*) => { $(
        impl<'f, 'b> $name for Term<'f, 'b> {
            type Output = Self;
            fn $method(self, y: Self) -> Self {
                self.binary(BinaryOp::$name, y)
            }
        }
        impl<'f, 'b> $name<f64> for Term<'f, 'b> {
            type Output = Self;
            fn $method(self, y: f64) -> Self {
                self.binary(BinaryOp::$name, self.number(y))
            }
        }
        impl<'f, 'b> $name<Term<'f, 'b>> for f64 {
            type Output = Term<'f, 'b>;
            fn $method(self, y: Term<'f, 'b>) -> Term<'f, 'b> {
                y.number(self).binary(BinaryOp::$name, y)
            }
        }
    )* };
}
operators! {
    Add add;
    Sub sub;
    Mul mul;
    Div div;
}

impl Neg for Term<'_, '_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.unary(UnaryOp::Neg)
    }
}
