//! Virtual registers: their classes, how element types map to them, and their declarations.
//!
//! Invariants: a register has one class for the whole kernel; integers of 8 and 16 bits live in 32-bit registers, kept
//! sign- or zero-extended to 32 bits by whoever writes them, so that comparison, division and shifts need no care.

use std::fmt::{self, Write};

use anyhow::{Result, bail};
use kiln_ir::{Class, DType};

/// A register class: what PTX declares with one `.reg` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RegClass {
    /// Predicate: bool.
    Pred,
    /// f16, bf16.
    B16,
    /// Integers of up to 32 bits; packed pairs of 16-bit floats.
    B32,
    /// 64-bit integers, addresses.
    B64,
    /// f32.
    F32,
    /// f64.
    F64,
}

/// Class, PTX type in the declaration and in `mov`, register prefix.
const CLASSES: [(RegClass, &str, &str); 6] = [
    (RegClass::Pred, "pred", "p"),
    (RegClass::B16, "b16", "h"),
    (RegClass::B32, "b32", "r"),
    (RegClass::B64, "b64", "d"),
    (RegClass::F32, "f32", "f"),
    (RegClass::F64, "f64", "g"),
];

impl RegClass {
    /// The PTX type of a plain move.
    pub fn ptx(self) -> &'static str {
        CLASSES[self as usize].1
    }
}

/// A virtual register.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Reg {
    pub class: RegClass,
    pub number: u32,
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}{}", CLASSES[self.class as usize].2, self.number)
    }
}

/// Hands out registers and declares them.
#[derive(Default)]
pub(super) struct Registers {
    used: [u32; CLASSES.len()],
}

impl Registers {
    /// A register that nothing else uses.
    pub fn fresh(&mut self, class: RegClass) -> Reg {
        let n = &mut self.used[class as usize];
        *n += 1;
        Reg { class, number: *n - 1 }
    }

    /// The `.reg` lines.
    pub fn declare(&self) -> String {
        let mut text = String::new();
        for ((_, ptx, prefix), &n) in CLASSES.iter().zip(&self.used) {
            if n > 0 {
                let _ = writeln!(text, "    .reg .{ptx} %{prefix}<{n}>;");
            }
        }
        text
    }
}

/// How an element type appears in instructions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repr {
    /// Class of its registers.
    pub class: RegClass,
    /// Suffix of arithmetic instructions on those registers; f16 and bf16 compute as f32.
    pub arith: &'static str,
    /// Suffix of loads and stores: the type in memory.
    pub memory: &'static str,
    /// Suffix as operand of `cvt`.
    pub cvt: &'static str,
}

/// The representation of an element type; complex numbers, strings and handles have none.
pub(super) fn repr(elem: DType) -> Result<Repr> {
    use RegClass::*;
    let (class, arith, memory, cvt) = match elem {
        DType::Bool => (Pred, "pred", "u8", "pred"),
        DType::I8 => (B32, "s32", "s8", "s8"),
        DType::I16 => (B32, "s32", "s16", "s16"),
        DType::I32 => (B32, "s32", "s32", "s32"),
        DType::I64 => (B64, "s64", "s64", "s64"),
        DType::U8 => (B32, "u32", "u8", "u8"),
        DType::U16 => (B32, "u32", "u16", "u16"),
        DType::U32 => (B32, "u32", "u32", "u32"),
        DType::U64 => (B64, "u64", "u64", "u64"),
        DType::F16 => (B16, "f32", "b16", "f16"),
        DType::BF16 => (B16, "f32", "b16", "bf16"),
        DType::F32 => (F32, "f32", "f32", "f32"),
        DType::F64 => (F64, "f64", "f64", "f64"),
        _ => bail!("element type {elem} has no GPU registers: lower it to plain numbers first"),
    };
    Ok(Repr { class, arith, memory, cvt })
}

/// Bits of an element's value.
pub(super) fn bits(elem: DType) -> u32 {
    8 * elem.size() as u32
}

/// Whether the type is one of the 16-bit floats, which compute through f32.
pub(super) fn is_half(elem: DType) -> bool {
    matches!(elem, DType::F16 | DType::BF16)
}

/// Whether an integer type is narrower than its register, so that results must be brought back into range.
pub(super) fn is_narrow_int(elem: DType) -> bool {
    matches!(elem.class(), Class::Signed | Class::Unsigned) && elem.size() < 4
}

/// A floating-point literal: `x` rounded to the element type as the interpreter rounds it. 0 for types without floats.
pub(super) fn float_literal(elem: DType, x: f64) -> String {
    let bits = kiln_ir::scalar_eval::word::from_f64(elem, x).unwrap_or(0);
    match elem.size() {
        2 => format!("0x{bits:04X}"),
        4 => format!("0f{bits:08X}"),
        _ => format!("0d{bits:016X}"),
    }
}
