//! The text form of protocol buffers: `.pbtxt` graphs, `tf2xla.Config`, the file `checkpoint`.
//!
//! A text is translated to the binary form with the schema's tables, and then decoded like any binary file:
//! there is one way from bytes to structs. Fields that the tables do not have are errors, as misspelled
//! names in a hand-written configuration must not pass. The nesting lives on an explicit stack with a limit.

use super::error::{ImportError, Result};
use super::limits::MAX_DEPTH;
use super::pbtxt_lexer::{Lexer, Token};
use super::proto::schema::{Field, Kind, Message};
use super::wire::{put_varint, wire_type_of};

/// Parses `text` as a message of type `schema`.
///
/// Errors: [`ImportError::Text`] with line and column.
pub fn decode<M: prost::Message + Default>(schema: &'static Message, text: &[u8]) -> Result<M> {
    super::wire::decode(schema, to_binary(schema, text)?.into())
}

/// An open message.
struct Frame {
    /// `None` inside of a field that the importer ignores: names and values are then only read past.
    message: Option<&'static Message>,
    /// The field of the message around it.
    field: Option<&'static Field>,
    /// `}`, `>`, or the end of the text.
    close: Token,
    /// Whether the message is an element of a list `[{..}, {..}]`.
    in_list: bool,
    /// The binary form of what has been read.
    out: Vec<u8>,
    /// One bit for each singular field that has been set.
    set: u64,
}

/// Translates a text into the binary form of `schema`.
pub fn to_binary(schema: &'static Message, text: &[u8]) -> Result<Vec<u8>> {
    let mut lexer = Lexer::new(text);
    let mut stack =
        vec![Frame { message: Some(schema), field: None, close: Token::End, in_list: false, out: Vec::new(), set: 0 }];
    loop {
        let Some(top) = stack.last_mut() else {
            return Err(ImportError::malformed(schema.name, "unbalanced text"));
        };
        let token = lexer.next()?;
        if token == top.close {
            let done = top_of(&mut stack, schema)?;
            let Some(parent) = stack.last_mut() else {
                return Ok(done.out);
            };
            if let Some(field) = done.field {
                put_key(&mut parent.out, field);
                put_varint(&mut parent.out, done.out.len() as u64);
                parent.out.extend_from_slice(&done.out);
            }
            let more = done.in_list && list_continues(&mut lexer)?;
            if more {
                let close = open(&mut lexer)?;
                push(&mut stack, &lexer, Frame { out: Vec::new(), set: 0, close, ..done })?;
            } else {
                lexer.skip_separator()?;
            }
            continue;
        }
        let name = match token {
            Token::Word(name) => name,
            Token::Symbol(b'[') if top.message.is_none() => extension_name(&mut lexer)?,
            Token::End => return lexer.fail("the text ends inside of a message"),
            other => return lexer.fail(format!("expected a field's name, found {other}")),
        };
        let field = match top.message {
            None => None,
            Some(message) => {
                let Some((index, field)) = message.field_named(&name) else {
                    return lexer.fail(format!("{} has no field `{name}`", message.name));
                };
                let bit = 1u64 << (index & 63);
                if !field.repeated && !matches!(field.kind, Kind::Ignored) {
                    if top.set & bit != 0 {
                        return lexer.fail(format!("field `{name}` of {} is given twice", message.name));
                    }
                    top.set |= bit;
                }
                Some(field)
            }
        };
        let kind = field.map_or(Kind::Ignored, |f| f.kind);
        let colon = lexer.peek_symbol(b':')?;
        let in_list = lexer.peek_symbol(b'[')?;
        if in_list && field.is_some_and(|f| !f.repeated && !matches!(f.kind, Kind::Ignored)) {
            return lexer.fail(format!("field `{name}` holds one value, not a list"));
        }
        if in_list && lexer.peek_symbol(b']')? {
            lexer.skip_separator()?;
            continue;
        }
        let opens = lexer.at_symbol(b'{')? || lexer.at_symbol(b'<')?;
        match kind {
            Kind::Message(_) | Kind::Ignored if opens => {
                let close = open(&mut lexer)?;
                let message = if let Kind::Message(message) = kind { Some(message) } else { None };
                let field = field.filter(|_| message.is_some());
                push(&mut stack, &lexer, Frame { message, field, close, in_list, out: Vec::new(), set: 0 })?;
                continue;
            }
            Kind::Message(message) => {
                return lexer.fail(format!("expected `{{` and the fields of {}", message.name));
            }
            _ if !colon => return lexer.fail(format!("expected `:` and a value after `{name}`")),
            _ => {}
        }
        loop {
            let scratch = &mut top.out;
            match field {
                Some(field) if !matches!(kind, Kind::Ignored) => {
                    put_key(scratch, field);
                    put_value(scratch, &mut lexer, field)?;
                }
                _ => skip_value(&mut lexer)?,
            }
            if !(in_list && list_continues(&mut lexer)?) {
                break;
            }
        }
        lexer.skip_separator()?;
    }
}

fn top_of(stack: &mut Vec<Frame>, schema: &Message) -> Result<Frame> {
    stack.pop().ok_or_else(|| ImportError::malformed(schema.name, "unbalanced text"))
}

fn push(stack: &mut Vec<Frame>, lexer: &Lexer, frame: Frame) -> Result<()> {
    if stack.len() >= MAX_DEPTH {
        return lexer.fail(format!("messages are nested deeper than {MAX_DEPTH}"));
    }
    stack.push(frame);
    Ok(())
}

/// Reads `{` or `<`; returns what closes it.
fn open(lexer: &mut Lexer) -> Result<Token> {
    match lexer.next()? {
        Token::Symbol(b'{') => Ok(Token::Symbol(b'}')),
        Token::Symbol(b'<') => Ok(Token::Symbol(b'>')),
        other => lexer.fail(format!("expected `{{`, found {other}")),
    }
}

/// After an element of a list: reads `,` (true) or `]` (false).
fn list_continues(lexer: &mut Lexer) -> Result<bool> {
    match lexer.next()? {
        Token::Symbol(b',') => Ok(true),
        Token::Symbol(b']') => Ok(false),
        other => lexer.fail(format!("expected `,` or `]` in a list, found {other}")),
    }
}

/// Reads the rest of `[package.extension]` or `[type.url/Name]` inside of an ignored message.
fn extension_name(lexer: &mut Lexer) -> Result<String> {
    let mut name = String::new();
    loop {
        match lexer.next()? {
            Token::Word(part) => name.push_str(&part),
            Token::Symbol(b']') => return Ok(name),
            Token::Symbol(c @ (b'.' | b'/')) => name.push(char::from(c)),
            other => return lexer.fail(format!("expected an extension's name, found {other}")),
        }
    }
}

fn put_key(out: &mut Vec<u8>, field: &Field) {
    let wire = wire_type_of(field.kind).unwrap_or(super::wire::wire_type::LENGTH);
    put_varint(out, u64::from(field.number) << 3 | wire);
}

/// Reads past one scalar of any kind.
fn skip_value(lexer: &mut Lexer) -> Result<()> {
    match lexer.next()? {
        Token::Symbol(b'-') => match lexer.next()? {
            Token::Number(_) | Token::Word(_) => Ok(()),
            other => lexer.fail(format!("expected a number after `-`, found {other}")),
        },
        Token::Number(_) | Token::Word(_) => Ok(()),
        Token::Text(_) => lexer.more_text(Vec::new()).map(|_| ()),
        other => lexer.fail(format!("expected a value, found {other}")),
    }
}

/// Reads one value of the field's kind and appends its binary form.
fn put_value(out: &mut Vec<u8>, lexer: &mut Lexer, field: &Field) -> Result<()> {
    match field.kind {
        Kind::String | Kind::Bytes => {
            let Token::Text(first) = lexer.next()? else {
                return lexer.fail(format!("field `{}` needs a string in quotes", field.name));
            };
            let text = lexer.more_text(first)?;
            if matches!(field.kind, Kind::String) && std::str::from_utf8(&text).is_err() {
                return lexer.fail(format!("field `{}` is not UTF-8", field.name));
            }
            put_varint(out, text.len() as u64);
            out.extend_from_slice(&text);
        }
        Kind::Float => out.extend_from_slice(&float(lexer, field)?.single.to_le_bytes()),
        Kind::Double => out.extend_from_slice(&float(lexer, field)?.double.to_le_bytes()),
        Kind::Bool => {
            let token = lexer.next()?;
            let value = match &token {
                Token::Word(w) => match w.as_str() {
                    "true" | "True" | "t" => Some(1),
                    "false" | "False" | "f" => Some(0),
                    _ => None,
                },
                Token::Number(n) => integer(n).filter(|&v| v <= 1).map(|v| v as u8),
                _ => None,
            };
            match value {
                Some(value) => out.push(value),
                None => {
                    return lexer.fail(format!("field `{}` needs true or false, found {token}", field.name));
                }
            }
        }
        Kind::Enum(values) => {
            if lexer.at_word()? {
                let Token::Word(word) = lexer.next()? else {
                    return lexer.fail("expected a name");
                };
                match values.iter().find(|(name, _)| *name == word) {
                    Some(&(_, value)) => put_varint(out, i64::from(value) as u64),
                    None => {
                        return lexer.fail(format!("`{word}` is not a value of field `{}`", field.name));
                    }
                }
            } else {
                put_varint(out, signed(lexer, field, 32)? as u64);
            }
        }
        Kind::Int { bits } => put_varint(out, signed(lexer, field, bits)? as u64),
        Kind::Uint { bits } => put_varint(out, unsigned(lexer, field, bits)?),
        Kind::Fixed32 => out.extend_from_slice(&(unsigned(lexer, field, 32)? as u32).to_le_bytes()),
        Kind::Message(_) | Kind::Ignored => {
            return lexer.fail(format!("field `{}` is not a scalar", field.name));
        }
    }
    Ok(())
}

/// A decimal, hexadecimal or octal integer.
fn integer(text: &str) -> Option<u64> {
    let (digits, radix) = if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        (hex, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

fn signed(lexer: &mut Lexer, field: &Field, bits: u32) -> Result<i64> {
    let negative = lexer.peek_symbol(b'-')?;
    let token = lexer.next()?;
    let value = match &token {
        Token::Number(text) => integer(text).map(i128::from).map(|v| if negative { -v } else { v }),
        _ => None,
    };
    let range = i128::from(1u64 << (bits - 1));
    match value.filter(|v| (-range..range).contains(v)) {
        Some(value) => Ok(value as i64),
        None => lexer.fail(format!("field `{}` needs an integer of {bits} bits, found {token}", field.name)),
    }
}

fn unsigned(lexer: &mut Lexer, field: &Field, bits: u32) -> Result<u64> {
    let token = lexer.next()?;
    let value = match &token {
        Token::Number(text) => integer(text).filter(|&v| bits == 64 || v < 1 << bits),
        _ => None,
    };
    match value {
        Some(value) => Ok(value),
        None => {
            lexer.fail(format!("field `{}` needs a non-negative integer of {bits} bits, found {token}", field.name))
        }
    }
}

/// A number rounded once to each width: a double rounded again to single may differ in the last bit.
struct Float {
    single: f32,
    double: f64,
}

fn float(lexer: &mut Lexer, field: &Field) -> Result<Float> {
    let negative = lexer.peek_symbol(b'-')?;
    let token = lexer.next()?;
    let value = match &token {
        Token::Number(text) => match integer(text) {
            Some(value) => Some(Float { single: value as f32, double: value as f64 }),
            // A leading zero is no octal number here (`00.5`), and C's suffix is allowed.
            None => {
                let text = text.strip_suffix(['f', 'F']).unwrap_or(text);
                match (text.parse(), text.parse()) {
                    (Ok(single), Ok(double)) => Some(Float { single, double }),
                    _ => None,
                }
            }
        },
        Token::Word(word) => match word.to_ascii_lowercase().as_str() {
            "inf" | "infinity" => Some(Float { single: f32::INFINITY, double: f64::INFINITY }),
            "nan" => Some(Float { single: f32::NAN, double: f64::NAN }),
            _ => None,
        },
        _ => None,
    };
    match value {
        Some(Float { single, double }) if negative => Ok(Float { single: -single, double: -double }),
        Some(value) => Ok(value),
        None => lexer.fail(format!("field `{}` needs a number, found {token}", field.name)),
    }
}
