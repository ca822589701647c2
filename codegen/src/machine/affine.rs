//! Indices as linear forms: what makes an access contiguous, uniform or scattered is read off their coefficients.

use std::rc::Rc;

use kiln_ir::Dim;
use kiln_ir::loops::{Layout, V};

/// A factor of an [`Affine`] term.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    /// A scalar of the machine kernel.
    V(V),
    /// The row of the tile: 0, 1, ..
    Row,
    /// The lane of the tile: 0, 1, ..
    Lane,
    /// `(inner / div) % modulo` of a non-negative form; no modulus if `None`.
    Digit(Rc<Affine>, Dim, Option<Dim>),
    /// A tile of data used as an index (by its value in the scheduled kernel).
    Tile(V),
}

/// `constant + sum of coefficient * atom`, terms sorted by atom, coefficients not zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Affine {
    /// The part without atoms; may hold symbols.
    pub constant: Dim,
    /// The terms.
    pub terms: Vec<(Atom, Dim)>,
}

/// Facts about atoms that simplification needs: a number that divides a scalar's value.
pub trait Facts {
    /// The largest known divisor of a scalar; 1 if nothing is known, 0 if it is zero.
    fn multiple(&self, v: V) -> i64;
    /// Rows and lanes of the tile at hand.
    fn extents(&self) -> (i64, i64);
}

impl Affine {
    /// A constant form.
    pub fn constant(d: Dim) -> Affine {
        Affine { constant: d, terms: vec![] }
    }

    /// A single atom.
    pub fn atom(a: Atom) -> Affine {
        Affine { constant: Dim::from(0), terms: vec![(a, Dim::from(1))] }
    }

    /// The form as a dim, if it has no atoms.
    pub fn as_dim(&self) -> Option<&Dim> {
        self.terms.is_empty().then_some(&self.constant)
    }

    /// self + o.
    pub fn add(&self, o: &Affine) -> Affine {
        let mut terms: Vec<(Atom, Dim)> = Vec::with_capacity(self.terms.len() + o.terms.len());
        let (mut a, mut b) = (self.terms.iter().peekable(), o.terms.iter().peekable());
        loop {
            let next = match (a.peek(), b.peek()) {
                (Some(x), Some(y)) => match x.0.cmp(&y.0) {
                    std::cmp::Ordering::Less => a.next().cloned(),
                    std::cmp::Ordering::Greater => b.next().cloned(),
                    std::cmp::Ordering::Equal => {
                        let sum = (x.0.clone(), x.1.clone() + y.1.clone());
                        a.next();
                        b.next();
                        Some(sum)
                    }
                },
                (Some(_), None) => a.next().cloned(),
                (None, _) => b.next().cloned(),
            };
            match next {
                Some(t) if t.1.is(0) => {}
                Some(t) => terms.push(t),
                None => break,
            }
        }
        Affine { constant: self.constant.clone() + o.constant.clone(), terms }
    }

    /// self * d.
    pub fn scale(&self, d: &Dim) -> Affine {
        if d.is(0) {
            return Affine::constant(Dim::from(0));
        }
        Affine {
            constant: self.constant.clone() * d.clone(),
            terms: self.terms.iter().map(|(a, c)| (a.clone(), c.clone() * d.clone())).collect(),
        }
    }

    /// The coefficient of an atom; 0 if it does not occur as a term of its own.
    pub fn coefficient(&self, atom: &Atom) -> Dim {
        self.terms.iter().find(|t| t.0 == *atom).map_or(Dim::from(0), |t| t.1.clone())
    }

    /// Whether an atom occurs anywhere, inside digits too.
    pub fn mentions(&self, atom: &Atom) -> bool {
        self.terms.iter().any(|(a, _)| match a {
            Atom::Digit(inner, ..) => inner.mentions(atom),
            a => a == atom,
        })
    }

    /// Whether a tile of data occurs anywhere.
    pub fn mentions_data(&self) -> bool {
        self.terms.iter().any(|(a, _)| match a {
            Atom::Digit(inner, ..) => inner.mentions_data(),
            Atom::Tile(_) => true,
            _ => false,
        })
    }

    /// The form with an atom replaced by a number.
    pub fn substitute(&self, atom: &Atom, n: i64, facts: &dyn Facts) -> Affine {
        if !self.mentions(atom) {
            return self.clone();
        }
        let mut sum = Affine::constant(self.constant.clone());
        for (a, c) in &self.terms {
            let part = match a {
                a if a == atom => Affine::constant(Dim::from(n)),
                Atom::Digit(inner, div, modulo) => {
                    let mut d = inner.substitute(atom, n, facts).div(div, facts);
                    if let Some(m) = modulo {
                        d = d.modulo(m, facts);
                    }
                    d
                }
                a => Affine::atom(a.clone()),
            };
            sum = sum.add(&part.scale(c));
        }
        sum
    }

    /// The terms whose atoms are bounded small offsets within a tile (rows and lanes), with the largest value they reach,
    /// and the rest with a divisor of it. `None` if the form does not split that way.
    fn split_small(&self, facts: &dyn Facts) -> Option<(Affine, i64, Affine, i64)> {
        let (rows, lanes) = facts.extents();
        let (mut small, mut span) = (Affine::constant(Dim::from(0)), 0i64);
        let mut big = Affine::constant(Dim::from(0));
        for (a, c) in &self.terms {
            let extent = match a {
                Atom::Row => rows,
                Atom::Lane => lanes,
                _ => {
                    big.terms.push((a.clone(), c.clone()));
                    continue;
                }
            };
            let c = c.as_const().filter(|&c| c >= 0)?;
            span += c * (extent - 1);
            small.terms.push((a.clone(), Dim::from(c)));
        }
        let multiple = big.multiple(facts);
        // The constant goes with the big part as far as that keeps its divisor.
        let constant = self.constant.as_const()?;
        let keep = if multiple > 0 { constant - constant.rem_euclid(multiple) } else { 0 };
        big.constant = Dim::from(keep);
        small.constant = Dim::from(constant - keep);
        span += constant - keep;
        Some((big, multiple, small, span))
    }

    /// A number that divides every value of a form without rows and lanes; 0 if it is zero.
    pub fn multiple(&self, facts: &dyn Facts) -> i64 {
        fn gcd(a: i64, b: i64) -> i64 {
            if b == 0 { a.abs() } else { gcd(b, a % b) }
        }
        let mut g = self.constant.known_multiple();
        for (a, c) in &self.terms {
            let m = match a {
                Atom::V(v) => facts.multiple(*v),
                _ => 1,
            };
            g = gcd(g, c.known_multiple().saturating_mul(m));
        }
        g
    }

    /// self / d for a non-negative form.
    pub fn div(&self, d: &Dim, facts: &dyn Facts) -> Affine {
        if d.is(1) {
            return self.clone();
        }
        if self.terms.is_empty() {
            return Affine::constant(self.constant.floor_div(d));
        }
        if let Some((big, multiple, small, span)) = self.split_small(facts)
            && let Some(n) = d.as_const().filter(|&n| n > 0)
        {
            // (g k + x) / n with x < g, and n a multiple of g or g of n, does not depend on x.
            let aligned = multiple == 0 || n % multiple == 0 || multiple % n == 0;
            if span > 0
                && aligned
                && (if multiple == 0 {
                    span < n
                } else {
                    span < multiple.min(n) || (n % multiple == 0 && span < multiple)
                })
            {
                return big.div(d, facts);
            }
            if span == 0 && multiple % n == 0 {
                return exact_div(&big.add(&small), n);
            }
        }
        match &self.terms[..] {
            // (x / a) / b = x / (a b)
            [(Atom::Digit(inner, a, None), c)] if c.is(1) && self.constant.is(0) => {
                Affine::atom(Atom::Digit(inner.clone(), a.clone() * d.clone(), None))
            }
            _ => Affine::atom(Atom::Digit(Rc::new(self.clone()), d.clone(), None)),
        }
    }

    /// self % d for a non-negative form.
    pub fn modulo(&self, d: &Dim, facts: &dyn Facts) -> Affine {
        if d.is(1) {
            return Affine::constant(Dim::from(0));
        }
        if let (Some(c), Some(n)) = (self.as_dim().and_then(Dim::as_const), d.as_const())
            && n > 0
        {
            return Affine::constant(Dim::from(c.rem_euclid(n)));
        }
        if let Some((big, multiple, small, span)) = self.split_small(facts)
            && let Some(n) = d.as_const().filter(|&n| n > 0)
        {
            if multiple % n == 0 && span < n {
                return small;
            }
            if n % multiple.max(1) == 0 && span < multiple && span > 0 {
                return big.modulo(d, facts).add(&small);
            }
        }
        match &self.terms[..] {
            [(Atom::Digit(inner, a, None), c)] if c.is(1) && self.constant.is(0) => {
                Affine::atom(Atom::Digit(inner.clone(), a.clone(), Some(d.clone())))
            }
            _ => Affine::atom(Atom::Digit(Rc::new(self.clone()), Dim::from(1), Some(d.clone()))),
        }
    }

    /// Joins digits of one number back together: c a ((x / a) % m) + c (x % a) = c (x % (a m)), and likewise without the
    /// outer modulus. Row-major offsets of an index that was split into axes become linear again.
    pub fn recombine(&self) -> Affine {
        let mut form = self.clone();
        'again: loop {
            for i in 0..form.terms.len() {
                let (Atom::Digit(x, low_div, Some(low_mod)), c) = &form.terms[i] else { continue };
                let next_div = low_div.clone() * low_mod.clone();
                let high = form.terms.iter().position(|(a, hc)| match a {
                    Atom::Digit(hx, div, _) => hx == x && *div == next_div && *hc == c.clone() * low_mod.clone(),
                    _ => false,
                });
                // The whole number itself may stand where the outermost digit would: only digits are joined here.
                let Some(h) = high else { continue };
                let Atom::Digit(_, _, high_mod) = &form.terms[h].0 else { continue };
                let modulo = high_mod.as_ref().map(|m| m.clone() * low_mod.clone());
                let joined = match (&modulo, low_div.is(1)) {
                    (None, true) => (**x).clone(),
                    _ => Affine::atom(Atom::Digit(x.clone(), low_div.clone(), modulo)),
                }
                .scale(c);
                let mut rest = form.clone();
                rest.terms =
                    form.terms.iter().enumerate().filter(|(k, _)| *k != i && *k != h).map(|t| t.1.clone()).collect();
                form = rest.add(&joined);
                continue 'again;
            }
            return form;
        }
    }
}

/// The element offset of an access as a linear form; `None` if it lacks an index of the layout.
pub fn access(layout: &Layout, index: &[Affine], facts: &dyn Facts) -> Option<Affine> {
    let mut sum = Affine::constant(layout.start.clone());
    for axis in &layout.axes {
        let mut part = index.get(axis.axis)?.div(&Dim::from(axis.div), facts);
        if axis.modulo != 0 {
            part = part.modulo(&Dim::from(axis.modulo), facts);
        }
        sum = sum.add(&part.scale(&axis.stride));
    }
    Some(sum.recombine())
}

/// self / n where n divides every term.
fn exact_div(a: &Affine, n: i64) -> Affine {
    let mut out = Affine::constant(a.constant.floor_div(&Dim::from(n)));
    for (atom, c) in &a.terms {
        if c.known_multiple() % n == 0 {
            out = out.add(&Affine::atom(atom.clone()).scale(&c.floor_div(&Dim::from(n))));
        } else {
            // The divisor is spread over coefficient and atom: keep the division around this atom alone.
            let single = Affine::atom(atom.clone()).scale(c);
            out = out.add(&Affine::atom(Atom::Digit(Rc::new(single), Dim::from(n), None)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct F;
    impl Facts for F {
        fn multiple(&self, v: V) -> i64 {
            if v.0 == 0 { 14 } else { 1 }
        }
        fn extents(&self) -> (i64, i64) {
            (14, 16)
        }
    }

    fn d(n: i64) -> Dim {
        Dim::from(n)
    }

    #[test]
    fn digits_of_a_split_index_join_again() {
        // m -> (m / 56, m % 56) -> offset (m / 56) * 56 * 64 + (m % 56) * 64 = 64 m
        let m = Affine::atom(Atom::V(V(1)));
        let h = m.div(&d(56), &F).scale(&d(56 * 64));
        let w = m.modulo(&d(56), &F).scale(&d(64));
        assert_eq!(h.add(&w).recombine(), m.scale(&d(64)));
    }

    #[test]
    fn three_digits_join() {
        let m = Affine::atom(Atom::V(V(1)));
        let n = m.div(&d(12), &F).scale(&d(120));
        let h = m.div(&d(4), &F).modulo(&d(3), &F).scale(&d(40));
        let w = m.modulo(&d(4), &F).scale(&d(10));
        assert_eq!(n.add(&h).add(&w).recombine(), m.scale(&d(10)));
    }

    #[test]
    fn rows_inside_one_digit_stay_linear() {
        // Rows 0..13 of a base that is a multiple of 14: one division for the tile.
        let m = Affine::atom(Atom::V(V(0))).add(&Affine::atom(Atom::Row));
        assert_eq!(m.div(&d(28), &F), Affine::atom(Atom::Digit(Rc::new(Affine::atom(Atom::V(V(0)))), d(28), None)));
        let w = m.modulo(&d(28), &F);
        assert_eq!(w.coefficient(&Atom::Row), d(1));
    }

    #[test]
    fn lanes_of_a_panel_need_no_division() {
        // (16 j + lane) / 16 = j, % 16 = lane
        let o = Affine::atom(Atom::V(V(1))).scale(&d(16)).add(&Affine::atom(Atom::Lane));
        assert_eq!(o.div(&d(16), &F), Affine::atom(Atom::V(V(1))));
        assert_eq!(o.modulo(&d(16), &F), Affine::atom(Atom::Lane));
    }
}
