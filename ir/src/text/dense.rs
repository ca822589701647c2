//! Tensor literals: `dense<f32[2, 2]: 1.0, -0.0, inf, nan(0x7fc00001)>`, `dense<i32[1000]: splat 0>`.
//!
//! Elements stand in row-major order. Floats are the shortest decimal that reads back to the same bits.

use std::fmt::{self, Write};

use half::{bf16, f16};
use num_complex::Complex;

use super::lex::{Cursor, TextError};
use crate::graph::TensorType;
use crate::tensor::{Tensor, element_count};
use crate::{DType, Dim};

/// A `splat` stands for at most this many bytes: a short text must not fill the memory.
const MAX_SPLAT_BYTES: usize = 1 << 28;

/// A quoted byte string: printable ASCII as it is, the rest as `\xNN`.
pub(super) fn write_quoted(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    out.write_char('"')?;
    for &b in bytes {
        match b {
            b'"' | b'\\' => write!(out, "\\{}", b as char)?,
            b' '..=b'~' => out.write_char(b as char)?,
            _ => write!(out, "\\x{b:02x}")?,
        }
    }
    out.write_char('"')
}

pub(super) fn write_f64(out: &mut impl Write, x: f64) -> fmt::Result {
    write_float(out, format_args!("{x:?}"), x, x.to_bits(), f64::NAN.to_bits())
}

/// A float whose shortest decimal is `decimal` and whose bits are `bits`.
fn write_float(out: &mut impl Write, decimal: fmt::Arguments<'_>, x: f64, bits: u64, nan: u64) -> fmt::Result {
    if !x.is_nan() {
        out.write_fmt(decimal)
    } else if bits == nan {
        out.write_str("nan")
    } else {
        write!(out, "nan({bits:#x})")
    }
}

/// A type whose elements have a literal.
trait Literal: Copy {
    fn write(self, out: &mut impl Write) -> fmt::Result;
    fn read(c: &mut Cursor<'_>) -> Result<Self, TextError>;
}

macro_rules! int_literals {
    ($($t:ty),*) => { $(impl Literal for $t {
        fn write(self, out: &mut impl Write) -> fmt::Result {
            write!(out, "{self}")
        }
        fn read(c: &mut Cursor<'_>) -> Result<Self, TextError> {
            let start = c.at();
            let n = c.integer()?;
            <$t>::try_from(n).map_err(|_| c.error_at(start, format!("{n} does not fit {}", stringify!($t))))
        }
    })* };
}
int_literals!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! float_literals {
    ($($t:ty, $bits:ty, |$x:ident| $text:expr, $parse:expr;)*) => { $(impl Literal for $t {
        fn write(self, out: &mut impl Write) -> fmt::Result {
            let $x = self;
            write_float(out, format_args!("{:?}", $text), f64::from(self), u64::from(self.to_bits()), u64::from(<$t>::NAN.to_bits()))
        }
        fn read(c: &mut Cursor<'_>) -> Result<Self, TextError> {
            let start = c.at();
            let word = c.number_word();
            let parse: fn(&str) -> Option<$t> = $parse;
            match word {
                "" => Err(c.error_at(start, "expected a number")),
                "nan" if c.eat("(") => {
                    let start = c.at();
                    let bits = c.hex()?;
                    c.expect(")")?;
                    let x = <$bits>::try_from(bits).ok().map(<$t>::from_bits).filter(|x| x.is_nan());
                    x.ok_or_else(|| c.error_at(start, format!("{bits:#x} are not the bits of a NaN of this type")))
                }
                "nan" => Ok(<$t>::NAN),
                _ => parse(word).ok_or_else(|| c.error_at(start, format!("`{word}` is not a number"))),
            }
        }
    })* };
}
// Every f16 and bf16 is an f32, and the shortest decimal of that f32 reads back to it; rounding it again changes nothing.
float_literals! {
    f64, u64, |x| x, |s| s.parse().ok();
    f32, u32, |x| x, |s| s.parse().ok();
    f16, u16, |x| x.to_f32(), |s| s.parse().ok().map(f16::from_f32);
    bf16, u16, |x| x.to_f32(), |s| s.parse().ok().map(bf16::from_f32);
}

impl<T: Literal> Literal for Complex<T> {
    fn write(self, out: &mut impl Write) -> fmt::Result {
        out.write_char('(')?;
        self.re.write(out)?;
        out.write_str(", ")?;
        self.im.write(out)?;
        out.write_char(')')
    }
    fn read(c: &mut Cursor<'_>) -> Result<Self, TextError> {
        c.expect("(")?;
        let re = T::read(c)?;
        c.expect(",")?;
        let im = T::read(c)?;
        c.expect(")")?;
        Ok(Complex { re, im })
    }
}

/// Calls a macro with the Rust type of a plain dtype's elements; `$other` for bool and for types that are not plain.
macro_rules! by_element {
    ($dtype:expr, $f:ident, $other:expr) => {
        match $dtype {
            DType::I8 => $f!(i8),
            DType::I16 => $f!(i16),
            DType::I32 => $f!(i32),
            DType::I64 => $f!(i64),
            DType::U8 => $f!(u8),
            DType::U16 => $f!(u16),
            DType::U32 => $f!(u32),
            DType::U64 => $f!(u64),
            DType::F16 => $f!(f16),
            DType::BF16 => $f!(bf16),
            DType::F32 => $f!(f32),
            DType::F64 => $f!(f64),
            DType::C64 => $f!(Complex<f32>),
            DType::C128 => $f!(Complex<f64>),
            _ => $other,
        }
    };
}

/// Prints a tensor, or its type alone.
pub(super) fn write_dense(out: &mut impl Write, t: &Tensor, elide: bool) -> fmt::Result {
    let ty = TensorType::fixed(t.dtype(), t.shape());
    if elide {
        return write!(out, "dense_elided<{ty}>");
    }
    write!(out, "dense<{ty}:")?;
    if is_splat(t) {
        out.write_str(" splat ")?;
        write_element(out, t, 0)?;
    } else {
        for i in 0..t.len() {
            out.write_str(if i > 0 { ", " } else { " " })?;
            write_element(out, t, i)?;
        }
    }
    out.write_char('>')
}

/// Whether a tensor is written as one repeated element.
fn is_splat(t: &Tensor) -> bool {
    let (n, size) = (t.len(), t.dtype().size());
    let same = |b: &[u8]| b.len() > size && b.len() <= MAX_SPLAT_BYTES && b[..b.len() - size] == b[size..];
    n > 1 && size > 0 && same(t.bytes())
}

fn write_element(out: &mut impl Write, t: &Tensor, i: usize) -> fmt::Result {
    macro_rules! element {
        ($t:ty) => {
            match t.as_slice::<$t>().and_then(|s| s.get(i)) {
                Some(x) => x.write(out),
                None => Ok(()),
            }
        };
    }
    by_element!(t.dtype(), element, {
        match t.strings() {
            Some(s) => s.get(i).map_or(Ok(()), |s| write_quoted(out, s)),
            None => out.write_str(if t.bytes().get(i).is_some_and(|&b| b != 0) { "true" } else { "false" }),
        }
    })
}

/// Reads a tensor; the cursor stands after `dense`.
pub(super) fn read_dense(c: &mut Cursor<'_>) -> Result<Tensor, TextError> {
    c.expect("<")?;
    let start = c.at();
    let dtype = c.dtype()?;
    let dims = c.shape()?;
    let shape =
        dims.iter().map(|d: &Dim| d.as_const().and_then(|n| usize::try_from(n).ok())).collect::<Option<Vec<_>>>();
    let shape = shape.ok_or_else(|| c.error_at(start, "a tensor's sizes must be numbers, not negative"))?;
    let too_large = |c: &Cursor<'_>| c.error_at(start, "the tensor is too large");
    let n = element_count(&shape).ok_or_else(|| too_large(c))?;
    c.expect(":")?;
    let splat = c.eat_word("splat");
    let written = if splat { 1 } else { n };
    if splat && n.checked_mul(dtype.size().max(16)).is_none_or(|b| b > MAX_SPLAT_BYTES.saturating_mul(2)) {
        return Err(too_large(c));
    }
    // The text's length bounds the number of elements that it can hold.
    if written > c.remaining() {
        return Err(c.error_at(start, format!("shape {shape:?} has {n} elements, more than are written")));
    }
    macro_rules! elements {
        ($t:ty) => {{
            let e = read_elements(c, written, |c| <$t>::read(c))?;
            Ok(if splat { Tensor::of(&shape, &vec![e[0]; n]) } else { Tensor::of(&shape, &e) })
        }};
    }
    let tensor = by_element!(
        dtype,
        elements,
        match dtype {
            DType::Bool => {
                let e = read_elements(c, written, |c| c.boolean())?;
                Ok(if splat { Tensor::of_bools(&shape, &vec![e[0]; n]) } else { Tensor::of_bools(&shape, &e) })
            }
            DType::String => {
                let e = read_elements(c, written, |c| c.quoted())?;
                Ok(Tensor::of_strings(&shape, if splat { vec![e[0].clone(); n] } else { e }))
            }
            _ => Err(c.error_at(start, format!("{dtype} has no literals"))),
        }
    )?;
    c.expect(">")?;
    Ok(tensor)
}

fn read_elements<T>(
    c: &mut Cursor<'_>,
    n: usize,
    mut one: impl FnMut(&mut Cursor<'_>) -> Result<T, TextError>,
) -> Result<Vec<T>, TextError> {
    let mut out = Vec::with_capacity(n);
    for i in 0..n {
        if i > 0 {
            c.expect(",")?;
        }
        out.push(one(c)?);
    }
    Ok(out)
}

/// A tensor of `bytes`, for tests of bit patterns.
#[cfg(test)]
pub(super) fn raw(dtype: DType, shape: &[usize], bytes: &[u8]) -> Tensor {
    Tensor::from_bytes(dtype, shape, crate::tensor::Bytes::copy_of(bytes)).expect("bytes of the shape")
}
