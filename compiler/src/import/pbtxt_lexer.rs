//! Tokens of the text form of protocol buffers.
//!
//! The lexer works on bytes and never fails on foreign ones: comments and strings may hold anything. Lines
//! and columns are counted only when an error is made.

use super::error::{ImportError, Result};
use std::fmt;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A name, an enumeration's value, `true`, `inf`.
    Word(String),
    /// A number without its sign, as it stands.
    Number(String),
    /// A string in quotes, with its escapes resolved.
    Text(Vec<u8>),
    /// A punctuation mark.
    Symbol(u8),
    /// The end of the text.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(s) | Self::Number(s) => write!(f, "`{s}`"),
            Self::Text(_) => write!(f, "a string"),
            Self::Symbol(c) => write!(f, "`{}`", c.escape_ascii()),
            Self::End => write!(f, "the end of the text"),
        }
    }
}

/// A reader of tokens.
pub struct Lexer<'a> {
    text: &'a [u8],
    /// The next byte to read.
    at: usize,
    /// Where the token that was read last begins, for errors.
    token: usize,
}

impl<'a> Lexer<'a> {
    /// A reader at the begin of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, token: 0 }
    }

    /// An error at the token that was read last.
    pub fn fail<T>(&self, what: impl Into<String>) -> Result<T> {
        let before = &self.text[..self.token.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|&&b| b != b'\n').count();
        Err(ImportError::Text { line, column, what: what.into() })
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at.checked_add(ahead)?).copied()
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) {
        while let Some(b) = self.byte(0) {
            match b {
                b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => self.at += 1,
                b'#' => {
                    while self.byte(0).is_some_and(|b| b != b'\n') {
                        self.at += 1;
                    }
                }
                _ => break,
            }
        }
    }

    /// Whether the next token is this symbol; nothing is read.
    pub fn at_symbol(&mut self, symbol: u8) -> Result<bool> {
        self.skip_blank();
        Ok(self.byte(0) == Some(symbol))
    }

    /// Whether the next token is a word; nothing is read.
    pub fn at_word(&mut self) -> Result<bool> {
        self.skip_blank();
        Ok(self.byte(0).is_some_and(|b| b.is_ascii_alphabetic() || b == b'_'))
    }

    /// Reads the symbol if it is next.
    pub fn peek_symbol(&mut self, symbol: u8) -> Result<bool> {
        let found = self.at_symbol(symbol)?;
        if found {
            self.token = self.at;
            self.at += 1;
        }
        Ok(found)
    }

    /// Reads one `,` or `;` if it is next: fields may be separated by them.
    pub fn skip_separator(&mut self) -> Result<()> {
        if !self.peek_symbol(b',')? {
            self.peek_symbol(b';')?;
        }
        Ok(())
    }

    /// Reads the strings that follow a string: adjacent ones are one.
    pub fn more_text(&mut self, mut text: Vec<u8>) -> Result<Vec<u8>> {
        while self.at_symbol(b'"')? || self.at_symbol(b'\'')? {
            if let Token::Text(more) = self.next()? {
                text.extend(more);
            }
        }
        Ok(text)
    }

    fn take_while(&mut self, accept: impl Fn(u8, u8) -> bool) -> String {
        let start = self.at;
        let mut last = 0;
        while let Some(b) = self.byte(0).filter(|&b| accept(last, b)) {
            last = b;
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[start..self.at]).into_owned()
    }

    /// Reads a token.
    #[allow(clippy::should_implement_trait, reason = "reading may fail, and never ends")]
    pub fn next(&mut self) -> Result<Token> {
        self.skip_blank();
        self.token = self.at;
        let Some(b) = self.byte(0) else {
            return Ok(Token::End);
        };
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                Ok(Token::Word(self.take_while(|_, b| b.is_ascii_alphanumeric() || b == b'_')))
            }
            b'0'..=b'9' => Ok(Token::Number(self.number())),
            b'.' if self.byte(1).is_some_and(|b| b.is_ascii_digit()) => Ok(Token::Number(self.number())),
            b'"' | b'\'' => self.string(b).map(Token::Text),
            _ => {
                self.at += 1;
                Ok(Token::Symbol(b))
            }
        }
    }

    /// Digits, letters (hexadecimal, exponent, suffix), points, and the sign of an exponent.
    fn number(&mut self) -> String {
        let hex = self.byte(0) == Some(b'0') && self.byte(1).is_some_and(|b| b | 0x20 == b'x');
        self.take_while(|last, b| {
            b.is_ascii_alphanumeric() || b == b'.' || (!hex && last | 0x20 == b'e' && (b == b'-' || b == b'+'))
        })
    }

    fn string(&mut self, quote: u8) -> Result<Vec<u8>> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let Some(b) = self.byte(0) else {
                return self.fail("a string is not closed");
            };
            self.at += 1;
            match b {
                _ if b == quote => return Ok(out),
                b'\n' => return self.fail("a string is not closed on its line"),
                b'\\' => self.escape(&mut out)?,
                _ => out.push(b),
            }
        }
    }

    /// Reads up to `most` digits; `None` if there is none.
    fn digits(&mut self, radix: u32, most: usize) -> Option<u32> {
        let mut value = None;
        for _ in 0..most {
            let Some(digit) = self.byte(0).and_then(|b| char::from(b).to_digit(radix)) else {
                break;
            };
            self.at += 1;
            value = Some(value.unwrap_or(0u32).wrapping_mul(radix).wrapping_add(digit));
        }
        value
    }

    /// What follows a backslash.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Some(b) = self.byte(0) else {
            return self.fail("a string is not closed");
        };
        if (b'0'..=b'7').contains(&b) {
            match self.digits(8, 3).and_then(|v| u8::try_from(v).ok()) {
                Some(value) => out.push(value),
                None => return self.fail("an octal escape is larger than a byte"),
            }
            return Ok(());
        }
        self.at += 1;
        out.push(match b {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'\\' | b'\'' | b'"' | b'?' => b,
            b'x' | b'X' => match self.digits(16, 2).and_then(|v| u8::try_from(v).ok()) {
                Some(value) => value,
                None => return self.fail("`\\x` needs a hexadecimal digit"),
            },
            b'u' | b'U' => {
                let code = self.code_point(b)?;
                out.extend_from_slice(code.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.fail(format!("`\\{}` is not an escape", b.escape_ascii())),
        });
        Ok(())
    }

    /// `\uXXXX` (pairs of surrogates too) or `\UXXXXXXXX`, after the letter.
    fn code_point(&mut self, letter: u8) -> Result<char> {
        let width = if letter == b'u' { 4 } else { 8 };
        let unit = |lexer: &mut Self| {
            let start = lexer.at;
            lexer.digits(16, width).filter(|_| lexer.at - start == width)
        };
        let mut value = unit(self);
        if let Some(high @ 0xd800..=0xdbff) = value
            && self.byte(0) == Some(b'\\')
            && self.byte(1) == Some(b'u')
        {
            self.at += 2;
            value = unit(self)
                .filter(|low| (0xdc00..=0xdfff).contains(low))
                .map(|low| 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
        }
        match value.and_then(char::from_u32) {
            Some(code) => Ok(code),
            None => {
                self.fail(format!("`\\{}` needs the {width} hexadecimal digits of a character", char::from(letter)))
            }
        }
    }
}
