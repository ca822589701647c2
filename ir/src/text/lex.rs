//! The cursor with which the text form is read, and errors that point at a place.

use std::fmt;

use crate::graph::TensorType;
use crate::{DType, Dim};

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TextError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The line itself.
    pub source_line: String,
}

/// How many characters of a line an error shows on each side of its place.
const SHOWN: usize = 80;

impl fmt::Display for TextError {
    /// The message, and the line with a caret under the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.column.saturating_sub(1);
        let from = at.saturating_sub(SHOWN);
        let shown: String = self.source_line.chars().skip(from).take(2 * SHOWN).collect();
        write!(f, "{}:{}: {}\n  | {shown}\n  | {}^", self.line, self.column, self.message, " ".repeat(at - from))
    }
}

/// A position in a text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    /// Bytes that are left.
    pub(super) fn remaining(&self) -> usize {
        self.text.len() - self.at
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips blanks, line ends and comments; then the position.
    pub(super) fn at(&mut self) -> usize {
        loop {
            let rest = self.rest();
            let next = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            self.at += rest.len() - next.len();
            if !next.starts_with("//") {
                return self.at;
            }
            self.at += next.find('\n').unwrap_or(next.len());
        }
    }

    /// The text after blanks and comments.
    pub(super) fn peek(&mut self) -> &'a str {
        self.at();
        self.rest()
    }

    /// An error here.
    pub(super) fn error(&mut self, message: impl Into<String>) -> TextError {
        let at = self.at();
        self.error_at(at, message)
    }

    /// An error at a byte position. Linear in the text before it: an error ends the parse.
    pub(super) fn error_at(&self, at: usize, message: impl Into<String>) -> TextError {
        let before = &self.text[..at];
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let end = self.text[at..].find('\n').map_or(self.text.len(), |i| at + i);
        TextError {
            line: before.matches('\n').count() + 1,
            column: self.text[start..at].chars().count() + 1,
            message: message.into(),
            source_line: self.text[start..end].trim_end_matches('\r').into(),
        }
    }

    /// Skips `token` if it stands next.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        let found = self.peek().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Skips the whole word `word` if it stands next.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.peek_word() == word;
        if found {
            self.at += word.len();
        }
        found
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<(), TextError> {
        if self.eat(token) { Ok(()) } else { Err(self.error(format!("expected `{token}`"))) }
    }

    fn take(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        let rest = self.peek();
        let word = &rest[..rest.find(|c| !is(c)).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// The word that stands next; empty if none does.
    pub(super) fn peek_word(&mut self) -> &'a str {
        let rest = self.peek();
        &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]
    }

    /// A word: letters, digits, `_`, `.`.
    pub(super) fn word(&mut self, what: &str) -> Result<&'a str, TextError> {
        match self.take(is_word) {
            "" => Err(self.error(format!("expected {what}"))),
            w => Ok(w),
        }
    }

    /// The characters of a number, of `inf` or of `nan`; empty if none stands next.
    pub(super) fn number_word(&mut self) -> &'a str {
        // A sign belongs to a number at its start and after the exponent's `e`.
        let rest = self.peek();
        let mut previous = ' ';
        let mut end = rest.len();
        for (i, c) in rest.char_indices() {
            let sign = (c == '-' || c == '+') && (i == 0 || matches!(previous, 'e' | 'E'));
            if !(sign || is_word(c)) {
                end = i;
                break;
            }
            previous = c;
        }
        self.at += end;
        &rest[..end]
    }

    /// An integer of any type.
    pub(super) fn integer(&mut self) -> Result<i128, TextError> {
        let start = self.at();
        let word = self.number_word();
        word.parse().map_err(|_| self.error_at(start, format!("expected an integer, not `{word}`")))
    }

    /// Bits as `0x..`.
    pub(super) fn hex(&mut self) -> Result<u64, TextError> {
        let start = self.at();
        let word = self.take(is_word);
        let bits = word.strip_prefix("0x").and_then(|h| u64::from_str_radix(h, 16).ok());
        bits.ok_or_else(|| self.error_at(start, "expected bits such as 0x7fc00001"))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self) -> Result<bool, TextError> {
        match self.peek_word() {
            "true" => Ok(self.eat_word("true")),
            "false" => Ok(!self.eat_word("false")),
            _ => Err(self.error("expected `true` or `false`")),
        }
    }

    /// A quoted byte string.
    pub(super) fn quoted(&mut self) -> Result<Vec<u8>, TextError> {
        self.expect("\"")?;
        let (start, bytes) = (self.at - 1, self.text.as_bytes());
        let mut out = vec![];
        loop {
            let c = bytes.get(self.at).copied();
            self.at += 1;
            match c {
                Some(b'"') => return Ok(out),
                Some(b'\\') => match bytes.get(self.at).copied() {
                    Some(e @ (b'"' | b'\\')) => {
                        out.push(e);
                        self.at += 1;
                    }
                    Some(b'x') => {
                        let hex = self
                            .text
                            .get(self.at + 1..self.at + 3)
                            .filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
                        let byte = hex.and_then(|h| u8::from_str_radix(h, 16).ok());
                        out.push(byte.ok_or_else(|| self.error_at(start, "`\\x` needs two hexadecimal digits"))?);
                        self.at += 3;
                    }
                    _ => return Err(self.error_at(start, "a backslash needs `\\`, `\"` or `xNN` after it")),
                },
                Some(b'\n') | None => return Err(self.error_at(start, "the string is not closed on its line")),
                Some(b) => out.push(b),
            }
        }
    }

    /// A quoted string that is UTF-8.
    pub(super) fn quoted_str(&mut self) -> Result<String, TextError> {
        let start = self.at();
        let bytes = self.quoted()?;
        String::from_utf8(bytes).map_err(|_| self.error_at(start, "the name is not UTF-8"))
    }

    pub(super) fn dtype(&mut self) -> Result<DType, TextError> {
        let start = self.at();
        self.word("an element type")?.parse().map_err(|e: String| self.error_at(start, e))
    }

    pub(super) fn dim(&mut self) -> Result<Dim, TextError> {
        let start = self.at();
        match Dim::parse_prefix(self.rest()) {
            Ok((dim, len)) => {
                self.at += len;
                Ok(dim)
            }
            Err(e) => Err(self.error_at(start + e.at, e.message)),
        }
    }

    /// `[b, 28]`
    pub(super) fn shape(&mut self) -> Result<Vec<Dim>, TextError> {
        self.expect("[")?;
        let mut dims = vec![];
        if self.eat("]") {
            return Ok(dims);
        }
        loop {
            dims.push(self.dim()?);
            if self.eat("]") {
                return Ok(dims);
            }
            self.expect(",")?;
        }
    }

    /// `f32[b, 28]`
    pub(super) fn tensor_type(&mut self) -> Result<TensorType, TextError> {
        Ok(TensorType::new(self.dtype()?, self.shape()?))
    }
}
