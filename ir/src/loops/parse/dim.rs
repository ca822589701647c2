//! Dimensions in text: `2*b + 1`, `floordiv(b + 3, 2)`, `min(b, 8)`, `max(n - 1, 0)`, parentheses.
//!
//! What [`Dim`]'s `Display` prints reads back as an equal dimension. The graph's text form can share the grammar through
//! [`parse_dim_prefix`].

use super::lexer::{Lexer, Spanned, Token};
use super::{MAX_DEPTH, ParseError};
use crate::Dim;

/// The most terms that a polynomial in text may expand to: `(a + b)*(a + b)*..` grows exponentially.
pub const MAX_TERMS: usize = 1024;

/// The dimension at the start of a text, and how many bytes of the text it takes. What follows it must start with a
/// token of the text forms (a comma, a bracket, a word).
pub fn parse_dim_prefix(text: &str) -> Result<(Dim, usize), ParseError> {
    let mut c = Cursor::new(text)?;
    let d = c.dim()?;
    Ok((d, c.taken))
}

/// A lexer with one token of lookahead: the common base of the dimension and the kernel parser.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    lexer: Lexer<'a>,
    /// The token in front.
    pub peek: Spanned,
    /// Byte offset after the last token that was taken.
    taken: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Result<Cursor<'a>, ParseError> {
        let mut lexer = Lexer::new(text);
        let peek = lexer.next()?;
        Ok(Cursor { lexer, peek, taken: 0, depth: 0 })
    }

    /// Takes the token in front.
    pub fn next(&mut self) -> Result<Token, ParseError> {
        let next = self.lexer.next()?;
        self.taken = self.peek.end;
        Ok(std::mem::replace(&mut self.peek, next).token)
    }

    /// An error at the token in front.
    pub fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.peek.line, column: self.peek.column, message: message.into() }
    }

    /// An error that names the token in front and what should stand there.
    pub fn expected(&self, what: &str) -> ParseError {
        self.error(format!("expected {what}, found {}", self.peek.token))
    }

    pub fn is(&self, c: char) -> bool {
        self.peek.token == Token::Punct(c)
    }

    /// Takes a punctuation mark if it stands in front.
    pub fn eat(&mut self, c: char) -> Result<bool, ParseError> {
        let found = self.is(c);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    pub fn expect(&mut self, c: char) -> Result<(), ParseError> {
        if self.eat(c)? { Ok(()) } else { Err(self.expected(&format!("`{c}`"))) }
    }

    pub fn is_word(&self, word: &str) -> bool {
        matches!(&self.peek.token, Token::Ident(s) if s == word)
    }

    /// Takes a word if it stands in front.
    pub fn eat_word(&mut self, word: &str) -> Result<bool, ParseError> {
        let found = self.is_word(word);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    pub fn expect_word(&mut self, word: &str) -> Result<(), ParseError> {
        if self.eat_word(word)? { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    pub fn ident(&mut self, what: &str) -> Result<String, ParseError> {
        let Token::Ident(s) = self.peek.token.clone() else { return Err(self.expected(what)) };
        self.next()?;
        Ok(s)
    }

    /// A number with an optional minus sign.
    pub fn int(&mut self, what: &str) -> Result<i64, ParseError> {
        let negative = self.eat('-')?;
        let Token::Int(n) = self.peek.token else { return Err(self.expected(what)) };
        let value = if negative { 0i64.checked_sub_unsigned(n) } else { i64::try_from(n).ok() };
        let value = value.ok_or_else(|| self.error(format!("`{n}` does not fit i64")))?;
        self.next()?;
        Ok(value)
    }

    /// A number of a narrower type.
    pub fn small<T: TryFrom<i64>>(&mut self, what: &str) -> Result<T, ParseError> {
        let out_of_range = self.error(format!("expected {what}, this number is out of its range"));
        T::try_from(self.int(what)?).map_err(|_| out_of_range)
    }

    /// Goes one level deeper; [`Cursor::leave`] comes back.
    pub fn enter(&mut self) -> Result<(), ParseError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        Ok(())
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Items separated by commas up to a closing mark, which is taken.
    pub fn list<T>(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let mut items = vec![];
        if self.eat(close)? {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(close)? {
                return Ok(items);
            }
            if !self.eat(',')? {
                return Err(self.expected(&format!("`,` or `{close}`")));
            }
        }
    }

    /// A sum of products.
    pub fn dim(&mut self) -> Result<Dim, ParseError> {
        self.enter()?;
        let negative = self.eat('-')?;
        let mut sum = self.product(negative)?;
        while self.is('-') || self.is('+') {
            let at = self.error("");
            let negative = self.is('-');
            self.next()?;
            let product = self.product(negative)?;
            let numbers = |a: i64, b: i64| a.checked_add(b);
            sum = combine(sum, product, numbers, |a, b| a + b, usize::saturating_add, at)?;
        }
        self.leave();
        Ok(sum)
    }

    fn product(&mut self, negative: bool) -> Result<Dim, ParseError> {
        let mut product = match self.peek.token {
            // The smallest i64 has no positive counterpart: the sign belongs to the number.
            Token::Int(n) if negative => {
                let n = 0i64.checked_sub_unsigned(n).ok_or_else(|| self.error(format!("`{n}` does not fit i64")))?;
                self.next()?;
                Dim::from(n)
            }
            _ if negative => Dim::from(0i64) - self.factor()?,
            _ => self.factor()?,
        };
        while self.is('*') {
            let at = self.error("");
            self.next()?;
            let factor = self.factor()?;
            let numbers = |a: i64, b: i64| a.checked_mul(b);
            product = combine(product, factor, numbers, |a, b| a * b, usize::saturating_mul, at)?;
        }
        Ok(product)
    }

    fn factor(&mut self) -> Result<Dim, ParseError> {
        let at = self.error("");
        match self.peek.token.clone() {
            Token::Int(_) => Ok(Dim::from(self.int("a number")?)),
            Token::Punct('(') => {
                self.next()?;
                let d = self.dim()?;
                self.expect(')')?;
                Ok(d)
            }
            Token::Ident(name) if !name.contains('.') => {
                self.next()?;
                if !self.eat('(')? {
                    return Ok(Dim::sym(&name));
                }
                let a = self.dim()?;
                self.expect(',')?;
                let divisor_at = self.error("the divisor must be positive");
                let b = self.dim()?;
                self.expect(')')?;
                match name.as_str() {
                    "floordiv" if b.as_const().is_some_and(|n| n <= 0) => Err(divisor_at),
                    "floordiv" => Ok(a.floor_div(&b)),
                    "min" => Ok(a.smaller(&b)),
                    "max" => Ok(a.larger(&b)),
                    _ => {
                        Err(ParseError { message: format!("expected floordiv, min or max, found `{name}`"), ..at })
                    }
                }
            }
            _ => Err(self.expected("a number, a symbol or `(`")),
        }
    }
}

/// Combines two dimensions if numbers stay in i64 and the polynomial stays small; `at` is the place for an error.
fn combine(
    a: Dim,
    b: Dim,
    numbers: fn(i64, i64) -> Option<i64>,
    op: fn(Dim, Dim) -> Dim,
    terms: fn(usize, usize) -> usize,
    at: ParseError,
) -> Result<Dim, ParseError> {
    if let (Some(x), Some(y)) = (a.as_const(), b.as_const()) {
        let message = "this dimension does not fit i64".into();
        return numbers(x, y).map(Dim::from).ok_or(ParseError { message, ..at });
    }
    if terms(a.terms().len(), b.terms().len()) > MAX_TERMS {
        return Err(ParseError { message: format!("this dimension has more than {MAX_TERMS} terms"), ..at });
    }
    Ok(op(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dimension that a whole text denotes.
    fn parse(text: &str) -> Result<Dim, ParseError> {
        let mut c = Cursor::new(text)?;
        let d = c.dim()?;
        if c.peek.token == Token::End { Ok(d) } else { Err(c.expected("the end of the dimension")) }
    }

    #[test]
    fn printed_dimensions_read_back() {
        for text in [
            "0",
            "-9223372036854775808",
            "2*b + 1",
            "-b + 3",
            "b*n - 2*b + 7",
            "floordiv(b + 1, 2)",
            "3*b*floordiv(b + 1, 2)",
            "min(b, n)",
            "max(b - 1, 0) + min(4, n)",
        ] {
            let d = parse(text).unwrap();
            assert_eq!(parse(&d.to_string()).unwrap(), d, "{text}");
        }
        assert_eq!(parse("2*b + 1").unwrap().to_string(), "2*b + 1");
        assert_eq!(parse("(b + 1)*(b - 1)").unwrap(), Dim::sym("b") * Dim::sym("b") - Dim::from(1i64));
    }

    #[test]
    fn a_prefix_says_where_it_ends() {
        let (d, used) = parse_dim_prefix("2*b , 3]").unwrap();
        assert_eq!((d.to_string().as_str(), used), ("2*b", 3));
    }

    #[test]
    fn bad_dimensions_are_errors() {
        for (text, message) in [
            ("", "1:1: expected a number, a symbol or `(`, found the end of the text"),
            ("2*", "1:3: expected a number, a symbol or `(`, found the end of the text"),
            ("b b", "1:3: expected the end of the dimension, found `b`"),
            ("floordiv(b, 0)", "1:13: the divisor must be positive"),
            ("log(b, 2)", "1:1: expected floordiv, min or max, found `log`"),
            ("9223372036854775807*2", "1:20: this dimension does not fit i64"),
            ("9223372036854775808", "1:1: `9223372036854775808` does not fit i64"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
        assert!(parse(&"(".repeat(100_000)).unwrap_err().message.contains("nested deeper"));
        let wide = format!("({})", ["a", "b", "c", "d", "e", "f"].join(" + "));
        assert!(parse(&[wide.as_str(); 12].join("*")).unwrap_err().message.contains("terms"));
    }
}
