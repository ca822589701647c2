//! The status codes of every Kiln entry point, written once.
//!
//! The table below is the only source: the Rust enum, [`STATUS_TABLE`], the C block of `kiln.h` and
//! of every generated model header ([`c_status_block`]) come from it. Codes are part of the ABI: a
//! code is never renumbered or reused, new ones are appended.

/// One row of the status table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusEntry {
    /// The ABI value.
    pub code: i32,
    /// The C enumerator, `KILN_...`.
    pub name: &'static str,
    /// What happened and, where it helps, what to do. One line, no trailing period.
    pub text: &'static str,
}

macro_rules! status_table {
    ($($variant:ident = $code:literal, $name:literal, $text:literal;)*) => {
        /// The result of an entry point; `Ok` is 0. Layout and values equal C's `kiln_status`.
        #[repr(i32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[must_use]
        pub enum Status {
            $(#[doc = $text] $variant = $code,)*
        }

        /// All codes in ascending order, starting with 0, without gaps.
        pub const STATUS_TABLE: &[StatusEntry] =
            &[$(StatusEntry { code: $code, name: $name, text: $text },)*];

        impl Status {
            /// The status with this ABI value; `None` for a value that this version does not know.
            pub fn from_code(code: i32) -> Option<Status> {
                match code {
                    $($code => Some(Status::$variant),)*
                    _ => None,
                }
            }

            /// The text of the table.
            pub const fn text(self) -> &'static str {
                match self { $(Status::$variant => $text,)* }
            }

            /// The C enumerator's name.
            pub const fn name(self) -> &'static str {
                match self { $(Status::$variant => $name,)* }
            }

            /// [`Status::text`] as a NUL-terminated string that lives as long as the program.
            pub const fn c_text(self) -> &'static std::ffi::CStr {
                match self {
                    $(Status::$variant => {
                        const BYTES: &[u8] = concat!($text, "\0").as_bytes();
                        match std::ffi::CStr::from_bytes_with_nul(BYTES) {
                            Ok(text) => text,
                            Err(_) => c"unknown status",
                        }
                    })*
                }
            }
        }
    };
}

status_table! {
    Ok = 0, "KILN_OK", "ok";
    NullPointer = 1, "KILN_NULL_POINTER", "a required pointer is NULL";
    BadDim = 2, "KILN_BAD_DIM", "a batch size or dimension is outside the range that the model was compiled for";
    WorkspaceMisaligned = 3, "KILN_WORKSPACE_MISALIGNED", "the workspace is not aligned to 64 bytes";
    WeightsMissing = 4, "KILN_WEIGHTS_MISSING", "the model was compiled without embedded weights and none were given";
    WeightsMismatched = 5, "KILN_WEIGHTS_MISMATCHED", "the weights belong to another model or to another compilation of it";
    IndexOutOfRange = 6, "KILN_INDEX_OUT_OF_RANGE", "an index in the input is outside the dimension that it selects from";
    DivideByZero = 7, "KILN_DIVIDE_BY_ZERO", "integer division or remainder by zero";
    Uninitialized = 8, "KILN_UNINITIALIZED", "a variable was read before it was initialized";
    Internal = 9, "KILN_INTERNAL", "internal error; please report it with the model";
    Io = 10, "KILN_IO", "the operating system could not open, read or write the file";
    BadArgument = 11, "KILN_BAD_ARGUMENT", "an argument is outside its documented range";
    Unsupported = 12, "KILN_UNSUPPORTED", "this processor or build does not support the request";
    OutOfMemory = 13, "KILN_OUT_OF_MEMORY", "not enough memory";
    CorruptFile = 14, "KILN_CORRUPT_FILE", "the file is truncated, damaged or not a Kiln file of a known version";
    NegativeExponent = 15, "KILN_NEGATIVE_EXPONENT", "integer power with a negative exponent";
    AssertFailed = 16, "KILN_ASSERT_FAILED", "an assertion in the graph failed";
    CustomOp = 17, "KILN_CUSTOM_OP", "a custom op's function returned an error";
}

impl Status {
    /// The ABI value.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// `Ok(())` for [`Status::Ok`], the status itself as the error otherwise.
    pub fn ok(self) -> Result<(), Status> {
        if self == Status::Ok { Ok(()) } else { Err(self) }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Status {}

/// The C99/C++ block that defines `kiln_status`, its enumerators and `kiln_status_string`.
///
/// It is guarded by `KILN_STATUS_DEFINED`, so `kiln.h` and any number of generated headers, which
/// all hold it, can be included together in any order. It needs `<stdint.h>`. The type is `int32_t`
/// and not the enum itself because C lets a compiler choose an enum's size (`-fshort-enums`).
pub fn c_status_block() -> String {
    let mut enumerators = String::new();
    let mut cases = String::new();
    for entry in STATUS_TABLE {
        enumerators.push_str(&format!("    {} = {},\n", entry.name, entry.code));
        cases.push_str(&format!("    case {}: return \"{}\";\n", entry.name, entry.text));
    }
    // C90 and C++98 compilers reject a trailing comma in an enum; C99 does not, but nothing needs it.
    let enumerators = enumerators.trim_end_matches(",\n");
    format!(
        "#ifndef KILN_STATUS_DEFINED\n\
         #define KILN_STATUS_DEFINED\n\
         /* The result of every entry point; 0 is success. Codes are only ever appended. */\n\
         typedef int32_t kiln_status;\n\
         enum {{\n{enumerators}\n}};\n\
         /* One line of text for a status; never NULL. */\n\
         static inline const char *kiln_status_string(kiln_status status)\n\
         {{\n    switch (status) {{\n{cases}    default: return \"unknown status\";\n    }}\n}}\n\
         #endif /* KILN_STATUS_DEFINED */\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dense_and_round_trip() {
        for (position, entry) in STATUS_TABLE.iter().enumerate() {
            assert_eq!(entry.code as usize, position);
            let status = Status::from_code(entry.code).expect("in the table");
            assert_eq!((status.code(), status.name(), status.text()), (entry.code, entry.name, entry.text));
            assert_eq!(status.c_text().to_str(), Ok(entry.text));
            assert!(!entry.text.contains(['"', '\\', '\n']), "{} must be a plain C string", entry.name);
        }
        assert_eq!(Status::from_code(-1), None);
        assert_eq!(Status::from_code(STATUS_TABLE.len() as i32), None);
    }

    #[test]
    fn the_header_holds_the_generated_blocks() {
        assert!(
            crate::KILN_H.contains(&c_status_block()),
            "include/kiln.h must contain this block verbatim:\n{}",
            c_status_block()
        );
        assert!(crate::KILN_H.contains(crate::abi::C_PARALLEL_BLOCK));
    }
}
