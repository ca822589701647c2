//! Element types, shared by the graph IR, the loop IR, the importer and the runtime's metadata.

use std::fmt;
use std::str::FromStr;

/// The element type of a tensor or of a loop-IR value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the documentation
pub enum DType {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    BF16,
    F32,
    F64,
    /// Pair of f32: real, imaginary.
    C64,
    /// Pair of f64: real, imaginary.
    C128,
    /// A byte string of any length; lives on the host only.
    String,
    /// A handle of a variable, table, queue or iterator; never reaches a kernel.
    Resource,
    /// A TensorList or another opaque value; never reaches a kernel.
    Variant,
}

/// What kind of number a [`DType`] is; rules are written per class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Class {
    Bool,
    Signed,
    Unsigned,
    Float,
    Complex,
    Other,
}

/// One row per type: type, text name, bytes per element, class, TensorFlow's `DataType` number, NumPy's descriptor.
const TABLE: [(DType, &str, usize, Class, i32, &str); 18] = [
    (DType::Bool, "bool", 1, Class::Bool, 10, "|b1"),
    (DType::I8, "i8", 1, Class::Signed, 6, "|i1"),
    (DType::I16, "i16", 2, Class::Signed, 5, "<i2"),
    (DType::I32, "i32", 4, Class::Signed, 3, "<i4"),
    (DType::I64, "i64", 8, Class::Signed, 9, "<i8"),
    (DType::U8, "u8", 1, Class::Unsigned, 4, "|u1"),
    (DType::U16, "u16", 2, Class::Unsigned, 17, "<u2"),
    (DType::U32, "u32", 4, Class::Unsigned, 22, "<u4"),
    (DType::U64, "u64", 8, Class::Unsigned, 23, "<u8"),
    (DType::F16, "f16", 2, Class::Float, 19, "<f2"),
    (DType::BF16, "bf16", 2, Class::Float, 14, "<V2"),
    (DType::F32, "f32", 4, Class::Float, 1, "<f4"),
    (DType::F64, "f64", 8, Class::Float, 2, "<f8"),
    (DType::C64, "c64", 8, Class::Complex, 8, "<c8"),
    (DType::C128, "c128", 16, Class::Complex, 18, "<c16"),
    (DType::String, "string", 0, Class::Other, 7, "|O"),
    (DType::Resource, "resource", 0, Class::Other, 20, "|O"),
    (DType::Variant, "variant", 0, Class::Other, 21, "|O"),
];

impl DType {
    /// Every type, in the order of the enum.
    pub const ALL: [DType; 18] = {
        let mut all = [DType::Bool; 18];
        let mut i = 0;
        while i < 18 {
            all[i] = TABLE[i].0;
            i += 1;
        }
        all
    };

    fn row(self) -> &'static (DType, &'static str, usize, Class, i32, &'static str) {
        &TABLE[self as usize]
    }

    /// The name in both text forms, such as `f32`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes per element; 0 for strings, resources and variants, which have no fixed size.
    pub fn size(self) -> usize {
        self.row().2
    }

    /// The class of number.
    pub fn class(self) -> Class {
        self.row().3
    }

    /// The number of this type in TensorFlow's `DataType` enum (types.proto).
    pub fn tf_number(self) -> i32 {
        self.row().4
    }

    /// The type with a number of TensorFlow's `DataType` enum; a reference type (number + 100) gives its base type, and a
    /// quantized type (qint8, quint8, qint32, qint16, quint16) the integers of its width.
    pub fn from_tf(number: i32) -> Option<DType> {
        let base = match if number > 100 { number - 100 } else { number } {
            11 => DType::I8.tf_number(),
            12 => DType::U8.tf_number(),
            13 => DType::I32.tf_number(),
            15 => DType::I16.tf_number(),
            16 => DType::U16.tf_number(),
            other => other,
        };
        TABLE.iter().find(|r| r.4 == base).map(|r| r.0)
    }

    /// NumPy's descriptor as it stands in a .npy header; bf16 travels as raw two-byte records.
    pub fn npy_descr(self) -> &'static str {
        self.row().5
    }

    /// f16, bf16, f32, f64.
    pub fn is_float(self) -> bool {
        self.class() == Class::Float
    }

    /// Signed or unsigned integers, not bool.
    pub fn is_int(self) -> bool {
        matches!(self.class(), Class::Signed | Class::Unsigned)
    }

    /// Signed integers.
    pub fn is_signed(self) -> bool {
        self.class() == Class::Signed
    }

    /// c64, c128.
    pub fn is_complex(self) -> bool {
        self.class() == Class::Complex
    }

    /// Whether elements have a fixed size in memory, so that kernels can touch them.
    pub fn is_plain(self) -> bool {
        self.size() > 0
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = String;
    fn from_str(s: &str) -> Result<DType, String> {
        TABLE.iter().find(|r| r.1 == s).map(|r| r.0).ok_or_else(|| format!("unknown element type `{s}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_the_enum_s_order_and_names_round_trip() {
        for (i, d) in DType::ALL.iter().enumerate() {
            assert_eq!(*d as usize, i);
            assert_eq!(d.name().parse::<DType>(), Ok(*d));
            assert_eq!(DType::from_tf(d.tf_number()), Some(*d));
            assert_eq!(DType::from_tf(d.tf_number() + 100), Some(*d));
        }
    }
}
