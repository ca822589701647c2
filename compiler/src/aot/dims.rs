//! Sizes as expressions of C, C++ and Rust.
//!
//! C gets operators, so that sizes with constant arguments are constant expressions and can size arrays. C++ and Rust get
//! calls of saturating functions (`add`, `mul`, `floor_div`, `smaller`, `larger`): there they check lengths, and a size
//! that wraps around would pass for another.

use kiln_ir::{Atom, Dim, Symbol};

/// A size as an operand in C. `name` gives the expression of a symbol, of type `int64_t`.
pub fn c(d: &Dim, name: &dyn Fn(&Symbol) -> String) -> String {
    let term = |(atoms, factor): (Vec<Atom>, i64)| {
        let mut parts: Vec<String> = atoms.iter().map(|a| c_atom(a, name)).collect();
        if factor != 1 || parts.is_empty() {
            parts.insert(0, literal(factor));
        }
        parts.join(" * ")
    };
    let terms: Vec<String> = d.terms().into_iter().map(term).collect();
    match &terms[..] {
        [] => "0".into(),
        [one] if !one.contains(' ') => one.clone(),
        _ => format!("({})", terms.join(" + ")),
    }
}

fn literal(n: i64) -> String {
    match n {
        // C has no negative literals: the minimum's magnitude would not fit.
        i64::MIN => "(-9223372036854775807 - 1)".into(),
        n if n < 0 => format!("({n})"),
        n => n.to_string(),
    }
}

fn c_atom(a: &Atom, name: &dyn Fn(&Symbol) -> String) -> String {
    let pick = |x: &Dim, op: &str, y: &Dim| {
        let (x, y) = (c(x, name), c(y, name));
        format!("({x} {op} {y} ? {x} : {y})")
    };
    match a {
        Atom::Sym(s) => name(s),
        // C rounds to zero.
        Atom::FloorDiv(x, d) => {
            let (x, d) = (c(x, name), c(d, name));
            format!("(({x} - ({x} < 0 ? {d} - 1 : 0)) / {d})")
        }
        Atom::Min(x, y) => pick(x, "<", y),
        Atom::Max(x, y) => pick(x, ">", y),
    }
}

/// A size as calls; `path` stands before the functions' names, `name` gives the expression of a symbol.
pub fn calls(d: &Dim, path: &str, name: &dyn Fn(&Symbol) -> String) -> String {
    let fold = |op: &str, parts: Vec<String>| {
        let mut parts = parts.into_iter();
        let first = parts.next();
        first.map(|f| parts.fold(f, |a, b| format!("{path}{op}({a}, {b})")))
    };
    let atom = |a: &Atom| {
        let (op, x, y) = match a {
            Atom::Sym(s) => return name(s),
            Atom::FloorDiv(x, y) => ("floor_div", x, y),
            Atom::Min(x, y) => ("smaller", x, y),
            Atom::Max(x, y) => ("larger", x, y),
        };
        format!("{path}{op}({}, {})", calls(x, path, name), calls(y, path, name))
    };
    let term = |(atoms, factor): (Vec<Atom>, i64)| {
        let mut parts: Vec<String> = atoms.iter().map(atom).collect();
        if factor != 1 || parts.is_empty() {
            parts.insert(0, literal(factor));
        }
        fold("mul", parts).unwrap_or_default()
    };
    fold("add", d.terms().into_iter().map(term).collect()).unwrap_or_else(|| "0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_divisions_and_extrema_are_written_out() {
        let b = Dim::sym("b");
        let name = |s: &Symbol| s.0.to_string();
        let half = (b.clone() + Dim::from(3)).floor_div(&Dim::from(2));
        let d = half.clone() * Dim::from(10);
        assert_eq!(c(&Dim::from(0), &name), "0");
        assert_eq!(c(&b, &name), "b");
        assert!(c(&d, &name).contains("/ 2"), "{}", c(&d, &name));
        assert_eq!(calls(&(b.clone() * b.clone() * Dim::from(4)), "k::", &name), "k::mul(k::mul(4, b), b)");
        let most = b.larger(&Dim::from(8));
        assert_eq!(c(&most, &name).matches('?').count(), 1);
        assert!(calls(&most, "", &name).starts_with("larger("));
    }
}
