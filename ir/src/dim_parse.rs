//! Reads dimensions as [`Dim`]'s `Display` writes them: `2*b + 1`, `floordiv(b + 1, 2)`, `-min(b, 8)*c`.
//!
//! `parse(d.to_string()) == d` for every canonical `d`. Text is not trusted: nesting, the size of products and divisors
//! are bounded, so that no input overflows the stack, blows up a polynomial or divides by zero.

use crate::Dim;

/// How deep calls and parentheses may nest.
const MAX_DEPTH: usize = 64;

/// How many terms a product may have before like terms are joined.
const MAX_TERMS: usize = 4096;

/// Why a text is not a dimension.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DimError {
    /// Byte offset of the offending character within the text given.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

impl Dim {
    /// The dimension that a whole text denotes; blanks around it are skipped.
    ///
    /// # Errors
    /// If it denotes none; the message quotes the text.
    pub fn parse(text: &str) -> Result<Dim, String> {
        let (dim, end) = Dim::parse_prefix(text).map_err(|e| format!("`{text}`: {e}"))?;
        match text.get(end..).map(str::trim) {
            Some("") => Ok(dim),
            rest => Err(format!("`{text}`: unexpected `{}` after the dimension", rest.unwrap_or_default())),
        }
    }

    /// The dimension at the start of a text, and the byte offset just past it.
    ///
    /// # Errors
    /// If no dimension stands there, with the offset of the offending character.
    pub fn parse_prefix(text: &str) -> Result<(Dim, usize), DimError> {
        let mut p = Parser { text, at: 0, depth: 0 };
        let dim = p.sum()?;
        Ok((dim, p.at))
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn error<T>(&self, message: impl Into<String>) -> Result<T, DimError> {
        Err(DimError { at: self.at, message: message.into() })
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips blanks and `c`, if `c` stands next.
    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest();
        let next = rest.trim_start_matches([' ', '\t']);
        let found = next.starts_with(c);
        if found {
            self.at += rest.len() - next.len() + c.len_utf8();
        }
        found
    }

    fn expect(&mut self, c: char) -> Result<(), DimError> {
        if self.eat(c) { Ok(()) } else { self.error(format!("expected `{c}` in a dimension")) }
    }

    /// The longest run of characters that satisfy `is`, after blanks.
    fn run(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let next = rest.trim_start_matches([' ', '\t']);
        let word = &next[..next.find(|c| !is(c)).unwrap_or(next.len())];
        if !word.is_empty() {
            self.at += rest.len() - next.len() + word.len();
        }
        word
    }

    fn sum(&mut self) -> Result<Dim, DimError> {
        let negative = self.eat('-');
        let mut sum = self.product(negative)?;
        loop {
            if self.eat('+') {
                sum = sum + self.product(false)?;
            } else if self.eat('-') {
                sum = sum + self.product(true)?;
            } else {
                return Ok(sum);
            }
        }
    }

    fn product(&mut self, negative: bool) -> Result<Dim, DimError> {
        let mut product = self.factor(negative)?;
        while self.eat('*') {
            let f = self.factor(false)?;
            if product.terms().len().saturating_mul(f.terms().len()) > MAX_TERMS {
                return self.error("the dimension has too many terms");
            }
            product = product * f;
        }
        Ok(product)
    }

    fn factor(&mut self, negative: bool) -> Result<Dim, DimError> {
        let start = self.at;
        let digits = self.run(|c| c.is_ascii_digit());
        if !digits.is_empty() {
            // The sign belongs to the number: -9223372036854775808 has no positive counterpart.
            let n = digits.parse::<i128>().ok().map(|n| if negative { -n } else { n });
            return match n.and_then(|n| i64::try_from(n).ok()) {
                Some(n) => Ok(Dim::from(n)),
                None => Err(DimError { at: start, message: format!("the number {digits} leaves 64 bits") }),
            };
        }
        let magnitude = if self.eat('(') { self.nested(|p| p.sum())? } else { self.named()? };
        Ok(if negative { magnitude * Dim::from(-1i64) } else { magnitude })
    }

    fn named(&mut self) -> Result<Dim, DimError> {
        let name = self.run(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() {
            return self.error("expected a dimension");
        }
        let call: fn(&Dim, &Dim) -> Dim = match name {
            "floordiv" => Dim::floor_div,
            "min" => Dim::smaller,
            "max" => Dim::larger,
            _ => return Ok(Dim::sym(name)),
        };
        if !self.eat('(') {
            return Ok(Dim::sym(name));
        }
        let (x, y) = self.nested(|p| {
            let x = p.sum()?;
            p.expect(',')?;
            Ok((x, p.sum()?))
        })?;
        if name == "floordiv" && y.as_const().is_some_and(|d| d <= 0) {
            return self.error(format!("the divisor {y} is not positive"));
        }
        Ok(call(&x, &y))
    }

    /// The inside of parentheses, and the closing one.
    fn nested<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T, DimError>) -> Result<T, DimError> {
        if self.depth == MAX_DEPTH {
            return self.error(format!("the dimension nests deeper than {MAX_DEPTH}"));
        }
        self.depth += 1;
        let x = inside(self)?;
        self.depth -= 1;
        self.expect(')')?;
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dims() -> impl Strategy<Value = Dim> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Dim::from),
            (-9i64..9).prop_map(Dim::from),
            "[a-c]".prop_map(|s| Dim::sym(&s))
        ];
        leaf.prop_recursive(4, 24, 2, |d| {
            prop_oneof![
                (d.clone(), d.clone()).prop_map(|(x, y)| x + y),
                (d.clone(), d.clone()).prop_map(|(x, y)| x * y),
                (d.clone(), 1i64..9).prop_map(|(x, y)| x.floor_div(&Dim::from(y))),
                (d.clone(), d.clone()).prop_map(|(x, y)| Dim::smaller(&x, &y)),
                (d.clone(), d).prop_map(|(x, y)| Dim::larger(&x, &y)),
            ]
        })
    }

    proptest! {
        #[test]
        fn printing_and_parsing_round_trips(d in dims()) {
            let text = d.to_string();
            let back = Dim::parse(&text).map_err(TestCaseError::fail)?;
            prop_assert_eq!(back.to_string(), text);
        }

        #[test]
        fn no_text_panics(text in "[-+*(),a-c0-9 mindivflor]{0,60}") {
            let _ = Dim::parse(&text);
        }
    }

    #[test]
    fn errors_are_bounded_and_say_where() {
        let deep = "(".repeat(100_000);
        assert!(Dim::parse(&deep).is_err_and(|e| e.contains("nests deeper")));
        let wide = format!("({})", ["a", "b", "c", "d", "e"].join(" + "));
        let power = [wide.as_str(); 40].join("*");
        assert!(Dim::parse(&power).is_err_and(|e| e.contains("too many terms")));
        assert_eq!(Dim::parse_prefix("2*b + ]").map_err(|e| e.at), Err(5));
        assert!(Dim::parse("floordiv(b, 0)").is_err_and(|e| e.contains("not positive")));
        assert!(Dim::parse("99999999999999999999").is_err_and(|e| e.contains("64 bits")));
        assert_eq!(Dim::parse("-9223372036854775808"), Ok(Dim::from(i64::MIN)));
        assert_eq!(Dim::parse_prefix("b, 3]"), Ok((Dim::sym("b"), 1)));
    }
}
