//! Tokens of the text form.

use super::ParseError;

/// A token. Names of values and buffers come without their sigil.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Letters, digits, `_` and `.`, starting with a letter or `_`.
    Ident(String),
    /// `%name`
    Value(String),
    /// `@name`
    Buffer(String),
    /// Digits, or `0x` and hexadecimal digits; the sign is a token of its own.
    Int(u64),
    /// Digits with a fraction or an exponent.
    Float(f64),
    /// One of `( ) [ ] { } , : = + - *`.
    Punct(char),
    /// The end of the text.
    End,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Ident(s) => write!(f, "`{s}`"),
            Token::Value(s) => write!(f, "`%{s}`"),
            Token::Buffer(s) => write!(f, "`@{s}`"),
            Token::Int(n) => write!(f, "`{n}`"),
            Token::Float(x) => write!(f, "`{x:?}`"),
            Token::Punct(c) => write!(f, "`{c}`"),
            Token::End => f.write_str("the end of the text"),
        }
    }
}

/// A token and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Spanned {
    pub token: Token,
    pub line: usize,
    pub column: usize,
    /// Byte offset of its first character.
    at: usize,
}

/// A cursor over text. Comments run from `//` to the end of the line.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    column: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0, line: 1, column: 1 }
    }

    /// A lexer that stands before a token.
    pub fn back_to(&self, token: &Spanned) -> Lexer<'a> {
        Lexer { text: self.text, at: token.at, line: token.line, column: token.column }
    }

    /// Goes on by some bytes (to the next character, if they end within one).
    pub fn skip(&mut self, bytes: usize) {
        let to = self.at.saturating_add(bytes).min(self.text.len());
        while self.at < to {
            self.bump();
        }
    }

    /// An error at the place where the lexer stands.
    pub fn error(&self, message: String) -> ParseError {
        ParseError { line: self.line, column: self.column, message }
    }

    /// The text from here on.
    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) {
        let Some(c) = self.peek() else { return };
        self.at += c.len_utf8();
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
    }

    fn take_while(&mut self, mut f: impl FnMut(char) -> bool) -> &'a str {
        let start = self.rest();
        let from = self.at;
        while self.peek().is_some_and(&mut f) {
            self.bump();
        }
        start.get(..self.at - from).unwrap_or_default()
    }

    /// The next token.
    pub fn next(&mut self) -> Result<Spanned, ParseError> {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest().starts_with("//") {
                break;
            }
            self.take_while(|c| c != '\n');
        }
        let (line, column, at) = (self.line, self.column, self.at);
        let error = |message: String| ParseError { line, column, message };
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let token = match self.peek() {
            None => Token::End,
            Some(c) if c.is_ascii_digit() => self.number().map_err(error)?,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                Token::Ident(self.take_while(|c| name(c) || c == '.').to_string())
            }
            Some(sigil @ ('%' | '@')) => {
                self.bump();
                match self.take_while(name) {
                    "" => return Err(error(format!("expected a name after `{sigil}`"))),
                    s if sigil == '%' => Token::Value(s.to_string()),
                    s => Token::Buffer(s.to_string()),
                }
            }
            Some(c) if "()[]{},:=+-*".contains(c) => {
                self.bump();
                Token::Punct(c)
            }
            Some(c) => return Err(error(format!("unexpected character {c:?}"))),
        };
        Ok(Spanned { token, line, column, at })
    }

    fn number(&mut self) -> Result<Token, String> {
        let start = self.rest();
        let from = self.at;
        let digit = |c: char| c.is_ascii_digit();
        let digits = self.take_while(digit);
        if digits == "0" && self.peek() == Some('x') && self.rest()[1..].starts_with(|c: char| c.is_ascii_hexdigit()) {
            self.bump();
            let hex = self.take_while(|c| c.is_ascii_hexdigit());
            return u64::from_str_radix(hex, 16).map(Token::Int).map_err(|_| format!("`0x{hex}` does not fit 64 bits"));
        }
        let fraction = self.rest().strip_prefix('.').is_some_and(|r| r.starts_with(digit));
        if fraction {
            self.bump();
            self.take_while(digit);
        }
        let exponent = self.rest().strip_prefix(['e', 'E']);
        let exponent = exponent.is_some_and(|r| r.strip_prefix(['+', '-']).unwrap_or(r).starts_with(digit));
        if exponent {
            self.bump();
            self.take_while(|c| c == '+' || c == '-');
            self.take_while(digit);
        }
        let text = start.get(..self.at - from).unwrap_or_default();
        if fraction || exponent {
            return text.parse().map(Token::Float).map_err(|_| format!("`{text}` is not a number"));
        }
        text.parse().map(Token::Int).map_err(|_| format!("`{text}` does not fit 64 bits"))
    }
}
