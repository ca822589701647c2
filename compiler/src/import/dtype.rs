//! TensorFlow's element types.

use std::fmt;

/// An element type of TensorFlow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
#[allow(missing_docs, reason = "the variants are TensorFlow's type names")]
pub enum TfDType {
    Float = 1,
    Double = 2,
    Int32 = 3,
    Uint8 = 4,
    Int16 = 5,
    Int8 = 6,
    String = 7,
    Complex64 = 8,
    Int64 = 9,
    Bool = 10,
    Qint8 = 11,
    Quint8 = 12,
    Qint32 = 13,
    Bfloat16 = 14,
    Qint16 = 15,
    Quint16 = 16,
    Uint16 = 17,
    Complex128 = 18,
    Half = 19,
    Resource = 20,
    Variant = 21,
    Uint32 = 22,
    Uint64 = 23,
    Float8E5m2 = 24,
    Float8E4m3fn = 25,
    Float8E4m3fnuz = 26,
    Float8E4m3b11fnuz = 27,
    Float8E5m2fnuz = 28,
    Int4 = 29,
    Uint4 = 30,
    Int2 = 31,
    Uint2 = 32,
    Float4E2m1fn = 33,
}

/// TensorFlow marks a reference to a type by this offset.
const REFERENCE: i32 = 100;

/// Type, TensorFlow's name, bytes an element takes in a tensor's buffer (0: no fixed size).
const TYPES: &[(TfDType, &str, usize)] = &[
    (TfDType::Float, "float", 4),
    (TfDType::Double, "double", 8),
    (TfDType::Int32, "int32", 4),
    (TfDType::Uint8, "uint8", 1),
    (TfDType::Int16, "int16", 2),
    (TfDType::Int8, "int8", 1),
    (TfDType::String, "string", 0),
    (TfDType::Complex64, "complex64", 8),
    (TfDType::Int64, "int64", 8),
    (TfDType::Bool, "bool", 1),
    (TfDType::Qint8, "qint8", 1),
    (TfDType::Quint8, "quint8", 1),
    (TfDType::Qint32, "qint32", 4),
    (TfDType::Bfloat16, "bfloat16", 2),
    (TfDType::Qint16, "qint16", 2),
    (TfDType::Quint16, "quint16", 2),
    (TfDType::Uint16, "uint16", 2),
    (TfDType::Complex128, "complex128", 16),
    (TfDType::Half, "half", 2),
    (TfDType::Resource, "resource", 0),
    (TfDType::Variant, "variant", 0),
    (TfDType::Uint32, "uint32", 4),
    (TfDType::Uint64, "uint64", 8),
    (TfDType::Float8E5m2, "float8_e5m2", 1),
    (TfDType::Float8E4m3fn, "float8_e4m3fn", 1),
    (TfDType::Float8E4m3fnuz, "float8_e4m3fnuz", 1),
    (TfDType::Float8E4m3b11fnuz, "float8_e4m3b11fnuz", 1),
    (TfDType::Float8E5m2fnuz, "float8_e5m2fnuz", 1),
    (TfDType::Int4, "int4", 1),
    (TfDType::Uint4, "uint4", 1),
    (TfDType::Int2, "int2", 1),
    (TfDType::Uint2, "uint2", 1),
    (TfDType::Float4E2m1fn, "float4_e2m1fn", 1),
];

impl TfDType {
    /// The type of a DataType's number; a reference gives the type that it refers to.
    pub fn from_number(number: i32) -> Option<Self> {
        let number = if number > REFERENCE { number - REFERENCE } else { number };
        TYPES.iter().map(|t| t.0).find(|t| *t as i32 == number)
    }

    /// The type of a name as in op definitions (`float`, `int32`).
    pub fn from_name(name: &str) -> Option<Self> {
        TYPES.iter().find(|t| t.1 == name).map(|t| t.0)
    }

    /// The number in TensorFlow's DataType.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// TensorFlow's name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes an element takes; the 2- and 4-bit types take a whole byte. `None` for string, resource, variant.
    pub fn size(self) -> Option<usize> {
        Some(self.row().2).filter(|&size| size > 0)
    }

    fn row(self) -> &'static (TfDType, &'static str, usize) {
        // The table is in the order of the numbers, which begin at 1; a test holds it to that.
        let last = TYPES.len() - 1;
        &TYPES[(self as usize).wrapping_sub(1).min(last)]
    }
}

impl fmt::Display for TfDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        for (i, (dtype, name, size)) in TYPES.iter().enumerate() {
            assert_eq!(*dtype as usize, i + 1);
            assert_eq!((dtype.name(), dtype.size().unwrap_or(0)), (*name, *size));
            assert_eq!(TfDType::from_number(i as i32 + 101), Some(*dtype));
        }
        assert_eq!(TfDType::from_number(0), None);
        assert_eq!(TfDType::from_number(100), None);
    }
}
