//! A lexer with one token of lookahead, and the small things that every part of a kernel's text is made of.

use super::lexer::{Lexer, Spanned, Token};
use super::{MAX_DEPTH, ParseError};
use crate::Dim;

/// A lexer with one token of lookahead.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    lexer: Lexer<'a>,
    /// The token in front.
    pub peek: Spanned,
    depth: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Result<Cursor<'a>, ParseError> {
        let mut lexer = Lexer::new(text);
        let peek = lexer.next()?;
        Ok(Cursor { lexer, peek, depth: 0 })
    }

    /// Takes the token in front.
    pub fn next(&mut self) -> Result<Token, ParseError> {
        let next = self.lexer.next()?;
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

    /// A dimension, by the grammar of [`Dim::parse`].
    pub fn dim(&mut self) -> Result<Dim, ParseError> {
        let mut lexer = self.lexer.back_to(&self.peek);
        match Dim::parse_prefix(lexer.rest()) {
            Ok((d, used)) => {
                lexer.skip(used);
                self.lexer = lexer;
                self.peek = self.lexer.next()?;
                Ok(d)
            }
            Err(e) => {
                lexer.skip(e.at);
                Err(lexer.error(e.message))
            }
        }
    }
}
