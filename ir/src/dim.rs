//! Dimensions: integers, or polynomials over symbols with floor division, minimum and maximum.
//!
//! A [`Dim`] is kept in a canonical form (terms sorted, like terms joined, constants folded, exact divisions done), so
//! that structural equality is equality of the polynomial. Symbols are bound at run time: from an input's shape (batch,
//! sequence length) or by an op whose result size depends on data.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

/// A named run-time size. Bounds live in the module's symbol table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(pub Arc<str>);

impl Symbol {
    /// The symbol with this name: letters, digits and `_`, not starting with a digit.
    pub fn new(name: &str) -> Symbol {
        Symbol(name.into())
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A factor of a term that is not a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    /// A symbol.
    Sym(Symbol),
    /// floor(a / b), with b > 0.
    FloorDiv(Dim, Dim),
    /// The smaller of two.
    Min(Dim, Dim),
    /// The larger of two.
    Max(Dim, Dim),
}

/// A dimension or any integer computed from dimensions.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Const(i64),
    /// Sum of coefficient * product of atoms; the empty product is 1. Never a lone constant.
    Poly(Arc<[(Vec<Atom>, i64)]>),
}

impl Dim {
    /// The dimension that is a single symbol.
    pub fn sym(name: &str) -> Dim {
        Dim::atom(Atom::Sym(Symbol::new(name)))
    }

    fn atom(a: Atom) -> Dim {
        Dim(Repr::Poly([(vec![a], 1)].into()))
    }

    fn from_terms(terms: BTreeMap<Vec<Atom>, i64>) -> Dim {
        let terms: Vec<_> = terms.into_iter().filter(|t| t.1 != 0).collect();
        match &terms[..] {
            [] => Dim::from(0),
            [(atoms, c)] if atoms.is_empty() => Dim::from(*c),
            _ => Dim(Repr::Poly(terms.into())),
        }
    }

    /// The terms: products of atoms with their coefficients, in canonical order.
    pub fn terms(&self) -> Vec<(Vec<Atom>, i64)> {
        match &self.0 {
            Repr::Const(0) => vec![],
            Repr::Const(c) => vec![(vec![], *c)],
            Repr::Poly(t) => t.to_vec(),
        }
    }

    /// The number, where no symbol is left.
    pub fn as_const(&self) -> Option<i64> {
        match &self.0 {
            Repr::Const(c) => Some(*c),
            Repr::Poly(_) => None,
        }
    }

    /// The symbol, where the dimension is a single one.
    pub fn as_symbol(&self) -> Option<&Symbol> {
        match &self.0 {
            Repr::Poly(terms) => match &terms[..] {
                [(atoms, 1)] => match &atoms[..] {
                    [Atom::Sym(s)] => Some(s),
                    _ => None,
                },
                _ => None,
            },
            Repr::Const(_) => None,
        }
    }

    /// Whether this is the number `n`.
    pub fn is(&self, n: i64) -> bool {
        self.as_const() == Some(n)
    }

    /// floor(self / d). Exact parts are divided out: (4 b + 3) / 2 is 2 b + 1.
    /// Division by the constant 0 gives 0, which shape rules refuse before they divide.
    pub fn floor_div(&self, d: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), d.as_const()) {
            return Dim::from(if b == 0 { 0 } else { a.div_euclid(b) - i64::from(b < 0 && a.rem_euclid(b) != 0) });
        }
        if d.is(1) {
            return self.clone();
        }
        // Split the terms that a single-term divisor divides exactly from the rest.
        if let [(datoms, dc)] = &d.terms()[..]
            && *dc > 0
        {
            let (mut exact, mut rest) = (BTreeMap::new(), BTreeMap::new());
            for (atoms, c) in self.terms() {
                match remove_all(&atoms, datoms) {
                    Some(left) if c % dc == 0 => {
                        exact.insert(left, c / dc);
                    }
                    Some(left) if datoms.is_empty() && left.is_empty() => {
                        exact.insert(vec![], c.div_euclid(*dc));
                        rest.insert(vec![], c.rem_euclid(*dc));
                    }
                    _ => {
                        rest.insert(atoms, c);
                    }
                }
            }
            let (exact, rest) = (Dim::from_terms(exact), Dim::from_terms(rest));
            if let Some(r) = rest.as_const()
                && (r == 0 || (r > 0 && r < *dc && datoms.is_empty()))
            {
                return exact;
            }
            return exact + Dim::atom(Atom::FloorDiv(rest, d.clone()));
        }
        if self == d {
            return Dim::from(1);
        }
        Dim::atom(Atom::FloorDiv(self.clone(), d.clone()))
    }

    /// ceil(self / d).
    pub fn ceil_div(&self, d: i64) -> Dim {
        (self.clone() + Dim::from(d - 1)).floor_div(&Dim::from(d))
    }

    /// self - d * floor(self / d).
    pub fn floor_mod(&self, d: &Dim) -> Dim {
        self.clone() - d.clone() * self.floor_div(d)
    }

    /// The smaller of the two.
    pub fn smaller(&self, o: &Dim) -> Dim {
        match (self.clone() - o.clone()).as_const() {
            Some(diff) => {
                if diff <= 0 {
                    self.clone()
                } else {
                    o.clone()
                }
            }
            None => Dim::atom(Atom::Min(self.clone().min_of(o), self.clone().max_of(o))),
        }
    }

    /// The larger of the two.
    pub fn larger(&self, o: &Dim) -> Dim {
        match (self.clone() - o.clone()).as_const() {
            Some(diff) => {
                if diff >= 0 {
                    self.clone()
                } else {
                    o.clone()
                }
            }
            None => Dim::atom(Atom::Max(self.clone().min_of(o), self.clone().max_of(o))),
        }
    }

    // Canonical operand order for the commutative atoms.
    fn min_of(self, o: &Dim) -> Dim {
        std::cmp::min(self, o.clone())
    }
    fn max_of(self, o: &Dim) -> Dim {
        std::cmp::max(self, o.clone())
    }

    /// The value under a binding of symbols; `None` where a symbol is not bound or the value leaves i64.
    pub fn eval(&self, bind: &dyn Fn(&Symbol) -> Option<i64>) -> Option<i64> {
        let terms = match &self.0 {
            Repr::Const(c) => return Some(*c),
            Repr::Poly(t) => t,
        };
        let mut sum = 0i64;
        for (atoms, c) in terms.iter() {
            let mut product = *c;
            for a in atoms {
                let v = match a {
                    Atom::Sym(s) => bind(s)?,
                    Atom::FloorDiv(x, d) => {
                        let (x, d) = (x.eval(bind)?, d.eval(bind)?);
                        if d <= 0 {
                            return None;
                        }
                        x.div_euclid(d)
                    }
                    Atom::Min(x, y) => x.eval(bind)?.min(y.eval(bind)?),
                    Atom::Max(x, y) => x.eval(bind)?.max(y.eval(bind)?),
                };
                product = product.checked_mul(v)?;
            }
            sum = sum.checked_add(product)?;
        }
        Some(sum)
    }

    /// The dimension with symbols replaced where `with` gives a replacement.
    pub fn substitute(&self, with: &dyn Fn(&Symbol) -> Option<Dim>) -> Dim {
        let terms = match &self.0 {
            Repr::Const(_) => return self.clone(),
            Repr::Poly(t) => t,
        };
        let mut sum = Dim::from(0);
        for (atoms, c) in terms.iter() {
            let mut product = Dim::from(*c);
            for a in atoms {
                product = product
                    * match a {
                        Atom::Sym(s) => with(s).unwrap_or_else(|| Dim::atom(a.clone())),
                        Atom::FloorDiv(x, d) => x.substitute(with).floor_div(&d.substitute(with)),
                        Atom::Min(x, y) => x.substitute(with).smaller(&y.substitute(with)),
                        Atom::Max(x, y) => x.substitute(with).larger(&y.substitute(with)),
                    };
            }
            sum = sum + product;
        }
        sum
    }

    /// Calls `f` with every symbol that occurs.
    pub fn for_each_symbol(&self, f: &mut dyn FnMut(&Symbol)) {
        if let Repr::Poly(terms) = &self.0 {
            for a in terms.iter().flat_map(|t| &t.0) {
                match a {
                    Atom::Sym(s) => f(s),
                    Atom::FloorDiv(x, y) | Atom::Min(x, y) | Atom::Max(x, y) => {
                        x.for_each_symbol(f);
                        y.for_each_symbol(f);
                    }
                }
            }
        }
    }

    /// A number that divides every value: the greatest common divisor of the coefficients; 0 for the number 0.
    pub fn known_multiple(&self) -> i64 {
        fn gcd(a: i64, b: i64) -> i64 {
            if b == 0 { a.abs() } else { gcd(b, a % b) }
        }
        self.terms().iter().fold(0, |g, t| gcd(g, t.1))
    }

    /// The product of dimensions; 1 for none.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
        dims.into_iter().fold(Dim::from(1), |p, d| p * d.clone())
    }
}

/// `atoms` without one occurrence of each of `gone`; `None` if one is missing.
fn remove_all(atoms: &[Atom], gone: &[Atom]) -> Option<Vec<Atom>> {
    let mut left = atoms.to_vec();
    for g in gone {
        let at = left.iter().position(|a| a == g)?;
        left.remove(at);
    }
    Some(left)
}

impl From<i32> for Dim {
    fn from(n: i32) -> Dim {
        Dim(Repr::Const(n as i64))
    }
}

impl From<i64> for Dim {
    fn from(n: i64) -> Dim {
        Dim(Repr::Const(n))
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        // Sizes of memory fit i64 on every target that Rust supports.
        Dim::from(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl Add for Dim {
    type Output = Dim;
    fn add(self, o: Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), o.as_const()) {
            return Dim::from(a.saturating_add(b));
        }
        let mut terms: BTreeMap<Vec<Atom>, i64> = self.terms().into_iter().collect();
        for (atoms, c) in o.terms() {
            let t = terms.entry(atoms).or_insert(0);
            *t = t.saturating_add(c);
        }
        Dim::from_terms(terms)
    }
}

impl Sub for Dim {
    type Output = Dim;
    fn sub(self, o: Dim) -> Dim {
        self + o * Dim::from(-1)
    }
}

impl Mul for Dim {
    type Output = Dim;
    fn mul(self, o: Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_const(), o.as_const()) {
            return Dim::from(a.saturating_mul(b));
        }
        let mut terms: BTreeMap<Vec<Atom>, i64> = BTreeMap::new();
        for (a, ca) in self.terms() {
            for (b, cb) in o.terms() {
                let mut atoms: Vec<Atom> = a.iter().chain(&b).cloned().collect();
                atoms.sort();
                let t = terms.entry(atoms).or_insert(0);
                *t = t.saturating_add(ca.saturating_mul(cb));
            }
        }
        Dim::from_terms(terms)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = self.terms();
        if terms.is_empty() {
            return f.write_str("0");
        }
        // The constant reads better at the end: `2*b + 1`.
        let (consts, others): (Vec<_>, Vec<_>) = terms.into_iter().partition(|t| t.0.is_empty());
        for (i, (atoms, c)) in others.iter().chain(&consts).enumerate() {
            match (i, *c < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let magnitude = c.unsigned_abs();
            if magnitude != 1 || atoms.is_empty() {
                write!(f, "{magnitude}")?;
            }
            for (j, a) in atoms.iter().enumerate() {
                if j > 0 || magnitude != 1 {
                    f.write_str("*")?;
                }
                match a {
                    Atom::Sym(s) => write!(f, "{s}")?,
                    Atom::FloorDiv(x, d) => write!(f, "floordiv({x}, {d})")?,
                    Atom::Min(x, y) => write!(f, "min({x}, {y})")?,
                    Atom::Max(x, y) => write!(f, "max({x}, {y})")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b() -> Dim {
        Dim::sym("b")
    }

    #[test]
    fn canonical_forms_compare_equal() {
        assert_eq!(b() * Dim::from(2) + b(), b() * Dim::from(3));
        assert_eq!((b() + Dim::from(1)) * (b() - Dim::from(1)), b() * b() - Dim::from(1));
        assert_eq!(b() - b(), Dim::from(0));
    }

    #[test]
    fn division_takes_out_exact_parts() {
        assert_eq!((b() * Dim::from(4) + Dim::from(3)).floor_div(&Dim::from(2)), b() * Dim::from(2) + Dim::from(1));
        assert_eq!((b() * Dim::from(49)).floor_div(&b()), Dim::from(49));
        let half = (b() + Dim::from(1)).floor_div(&Dim::from(2));
        assert_eq!(half.to_string(), "floordiv(b + 1, 2)");
        for n in 0..9 {
            assert_eq!(half.eval(&|_| Some(n)), Some((n + 1) / 2));
        }
    }

    #[test]
    fn prints_with_the_constant_last() {
        assert_eq!((Dim::from(1) + b() * Dim::from(2)).to_string(), "2*b + 1");
        assert_eq!((Dim::from(3) - b()).to_string(), "-b + 3");
    }
}
