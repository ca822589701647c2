//! Element types in C and in Rust, one row each.

use kiln_ir::DType;

/// An element type as the generated files write it.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    /// Kiln's type.
    pub dtype: DType,
    /// In C and C++. f16 and bf16 are their bits; bool is 0 or 1 in a byte.
    pub c: &'static str,
    /// In Rust.
    pub rust: &'static str,
    /// The enumerator of the generated headers; its value is TensorFlow's `DataType` number.
    pub enumerator: &'static str,
}

const fn row(dtype: DType, c: &'static str, rust: &'static str, enumerator: &'static str) -> Type {
    Type { dtype, c, rust, enumerator }
}

/// The types that a compiled model can take and give.
pub const TYPES: &[Type] = &[
    row(DType::F32, "float", "f32", "KILN_F32"),
    row(DType::F64, "double", "f64", "KILN_F64"),
    row(DType::I32, "int32_t", "i32", "KILN_I32"),
    row(DType::U8, "uint8_t", "u8", "KILN_U8"),
    row(DType::I16, "int16_t", "i16", "KILN_I16"),
    row(DType::I8, "int8_t", "i8", "KILN_I8"),
    row(DType::C64, "kiln_c64", "[f32; 2]", "KILN_C64"),
    row(DType::I64, "int64_t", "i64", "KILN_I64"),
    row(DType::Bool, "uint8_t", "bool", "KILN_BOOL"),
    row(DType::BF16, "uint16_t", "u16", "KILN_BF16"),
    row(DType::U16, "uint16_t", "u16", "KILN_U16"),
    row(DType::C128, "kiln_c128", "[f64; 2]", "KILN_C128"),
    row(DType::F16, "uint16_t", "u16", "KILN_F16"),
    row(DType::U32, "uint32_t", "u32", "KILN_U32"),
    row(DType::U64, "uint64_t", "u64", "KILN_U64"),
];

/// The row of a type; `None` for strings and handles.
pub fn of(dtype: DType) -> Option<&'static Type> {
    TYPES.iter().find(|t| t.dtype == dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plain_type_has_a_row_with_its_size() {
        for t in TYPES {
            let bytes = match t.rust {
                "bool" | "u8" | "i8" => 1,
                "u16" | "i16" => 2,
                "f32" | "u32" | "i32" => 4,
                "[f64; 2]" => 16,
                _ => 8,
            };
            assert_eq!(t.dtype.size(), bytes, "{t:?}");
        }
        for number in 0..64 {
            if let Some(d) = DType::from_tf(number) {
                assert_eq!(of(d).is_some(), d.is_plain(), "{d}");
            }
        }
    }
}
