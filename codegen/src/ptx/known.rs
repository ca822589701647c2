//! What the printer knows of an index while it prints: its value, its trailing zero bits, and a constant part that an
//! address can carry as an immediate.
//!
//! Invariant: facts only choose between encodings of one access (vector or scalar, immediate or register); a fact that
//! is lost costs speed, never correctness.

use kiln_ir::scalar::BinaryOp;

use super::regs::Reg;

/// Facts about an i64 scalar. Every other value has [`Known::NOTHING`].
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// Its value.
    pub value: Option<i64>,
    /// Low bits that are zero; 63 for the constant 0.
    pub zeros: u32,
    /// The value is this register plus this constant.
    pub split: Option<(Reg, i64)>,
}

impl Known {
    pub const NOTHING: Known = Known { value: None, zeros: 0, split: None };

    /// A constant.
    pub fn constant(n: i64) -> Known {
        Known { value: Some(n), zeros: n.trailing_zeros().min(63), split: None }
    }

    /// A register with this many zero bits at its end.
    pub fn aligned(zeros: u32) -> Known {
        Known { zeros, ..Known::NOTHING }
    }

    /// Alignment in bytes, at most 16, of an element of `size` bytes at this offset from an address aligned to `align`.
    pub fn alignment(&self, size: usize, align: u32) -> u32 {
        let offset = self.zeros.saturating_add(size.max(1).trailing_zeros()).min(4);
        1 << align.max(1).trailing_zeros().min(offset)
    }

    /// The result of a binary operation on i64 values held in `rx` and `ry`.
    pub fn binary(op: BinaryOp, x: &Known, rx: Reg, y: &Known, ry: Reg) -> Known {
        use BinaryOp::*;
        let low = x.zeros.min(y.zeros);
        if let (Some(a), Some(b)) = (x.value, y.value)
            && let Some(n) = fold(op, a, b)
        {
            return Known::constant(n);
        }
        let shift = |k: &Known| k.value.map(|n| n.clamp(0, 63) as u32);
        // log2 of a positive power of two.
        let power = y.value.filter(|n| *n > 0 && n.count_ones() == 1).map(|n| n.trailing_zeros());
        let zeros = match op {
            Add | Sub | Min | Max | BitOr | BitXor | FloorMod | TruncMod => low,
            Mul => (x.zeros + y.zeros).min(63),
            BitAnd => x.zeros.max(y.zeros),
            Shl => shift(y).map_or(x.zeros, |s| (x.zeros + s).min(63)),
            Shr => shift(y).map_or(0, |s| x.zeros.saturating_sub(s)),
            Div | FloorDiv => power.map_or(0, |p| x.zeros.saturating_sub(p)),
            _ => 0,
        };
        let split = match (op, x.value, y.value) {
            (Add, _, Some(c)) => x.plus(rx, c),
            (Add, Some(c), _) => y.plus(ry, c),
            (Sub, _, Some(c)) => c.checked_neg().and_then(|c| x.plus(rx, c)),
            _ => None,
        };
        Known { value: None, zeros, split }
    }

    fn plus(&self, reg: Reg, c: i64) -> Option<(Reg, i64)> {
        let (base, before) = self.split.unwrap_or((reg, 0));
        Some((base, before.checked_add(c)?))
    }
}

/// Integer arithmetic on constants, where it neither overflows nor fails.
fn fold(op: BinaryOp, a: i64, b: i64) -> Option<i64> {
    match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        BinaryOp::Min => Some(a.min(b)),
        BinaryOp::Max => Some(a.max(b)),
        BinaryOp::BitAnd => Some(a & b),
        _ => None,
    }
}
