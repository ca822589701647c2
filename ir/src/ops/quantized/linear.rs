//! The grid of numbers that a range of reals is cut into, as TensorFlow's quantization_utils.h defines it.

use anyhow::Result;

use crate::graph::Value;
use crate::ops::quantize::round_away;
use crate::scalar::{BinaryOp, CompareOp};
use crate::{Builder, DType};

/// The integers of a type.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub dtype: DType,
    pub lowest: i64,
    pub highest: i64,
}

/// A grid over the reals from `low` to `high`, which are f32.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub grid: Grid,
    pub low: Value,
    pub high: Value,
}

use BinaryOp::{Add, Div, Max, Min, Mul, Sub};

impl Grid {
    /// How many steps there are, less one.
    pub fn last_step(self) -> f64 {
        (self.highest - self.lowest) as f64
    }

    /// Numbers, rounded already, as elements: no less than the lowest and no more than the highest.
    pub fn clamp(self, b: &mut Builder, x: Value) -> Result<Value> {
        let x = b.binary_scalar(Max, x, self.lowest as f64)?;
        // The largest f32 that is an i32 is not the largest i32.
        let highest = match b.ty(x).dtype == DType::F32 && self.dtype == DType::I32 {
            true => 2_147_483_520.0,
            false => self.highest as f64,
        };
        let x = b.binary_scalar(Min, x, highest)?;
        b.cast(self.dtype, x)
    }
}

impl Range {
    /// high - low in f32.
    pub fn span(self, b: &mut Builder) -> Result<Value> {
        b.binary(Sub, self.high, self.low)
    }

    /// `x` where the range holds one number only, else `y`.
    fn if_single(self, b: &mut Builder, x: Value, y: Value) -> Result<Value> {
        let single = b.compare(CompareOp::Eq, self.low, self.high)?;
        b.select(single, x, y)
    }

    /// The real that one step is, in f32: FloatForOneQuantizedLevel.
    pub fn level(self, b: &mut Builder) -> Result<Value> {
        let span = self.span(b)?;
        b.binary_scalar(Div, span, self.grid.last_step())
    }

    /// Steps for each unit in f64, as FloatToQuantizedUnclamped has it.
    fn steps_per_unit(self, b: &mut Builder) -> Result<Value> {
        let steps = self.grid.last_step() + 1.0;
        let span = self.span(b)?;
        let span = b.cast(DType::F64, span)?;
        let adjusted = b.binary_scalar(Mul, span, steps / (steps - 1.0))?;
        let steps = b.scalar(DType::F64, steps)?;
        b.binary(Div, steps, adjusted)
    }

    /// FloatToQuantizedUnclamped of f32, as an f64 that is whole.
    pub fn place(self, b: &mut Builder, x: Value) -> Result<Value> {
        let scale = self.steps_per_unit(b)?;
        let scaled = |b: &mut Builder, v: Value| {
            let v = b.cast(DType::F64, v)?;
            let v = b.binary(Mul, v, scale)?;
            round_away(b, v)
        };
        let (at, from) = (scaled(b, x)?, scaled(b, self.low)?);
        let above = b.binary(Sub, at, from)?;
        let place = b.binary_scalar(Add, above, self.grid.lowest as f64)?;
        let lowest = b.scalar(DType::F64, self.grid.lowest as f64)?;
        self.if_single(b, lowest, place)
    }

    /// The place of the real zero, not clamped, as an i32: what products take off.
    pub fn zero(self, b: &mut Builder) -> Result<Value> {
        let zero = b.scalar(DType::F32, 0.0)?;
        let place = self.place(b, zero)?;
        b.cast(DType::I32, place)
    }

    /// FloatToQuantized of f32: an element of the grid.
    pub fn number(self, b: &mut Builder, x: Value) -> Result<Value> {
        let place = self.place(b, x)?;
        self.grid.clamp(b, place)
    }

    /// QuantizedToFloat: the real in f32 that a number stands for, computed in f64.
    pub fn real(self, b: &mut Builder, x: Value) -> Result<Value> {
        let steps = self.grid.last_step() + 1.0;
        let span = self.span(b)?;
        let span = b.cast(DType::F64, span)?;
        let adjusted = b.binary_scalar(Mul, span, steps / (steps - 1.0))?;
        let step = b.binary_scalar(Div, adjusted, steps)?;
        // The low end is moved to a multiple of the step in f32.
        let step32 = b.cast(DType::F32, step)?;
        let first = b.binary(Div, self.low, step32)?;
        let first = round_away(b, first)?;
        let first = b.binary(Mul, first, step32)?;
        let first = b.cast(DType::F64, first)?;
        let x = b.cast(DType::F64, x)?;
        let above = b.binary_scalar(Sub, x, self.grid.lowest as f64)?;
        let above = b.binary(Mul, above, step)?;
        let real = b.binary(Add, first, above)?;
        let real = b.cast(DType::F32, real)?;
        self.if_single(b, self.low, real)
    }

    /// A real of each number with f32 throughout, as DEQUANTIZE_WITH_EIGEN computes it.
    pub fn reals(self, b: &mut Builder, x: Value) -> Result<Value> {
        let span = self.span(b)?;
        let wide = b.cast(DType::F64, span)?;
        let step = b.binary_scalar(Div, wide, self.grid.last_step())?;
        let step = b.cast(DType::F32, step)?;
        let first = b.binary(Div, self.low, step)?;
        let first = round_away(b, first)?;
        let first = b.binary(Mul, first, step)?;
        let first = self.if_single(b, self.low, first)?;
        let below = b.binary_scalar(Mul, step, self.grid.lowest as f64)?;
        let offset = b.binary(Sub, first, below)?;
        let x = b.cast(DType::F32, x)?;
        let scaled = b.binary(Mul, x, step)?;
        b.binary(Add, offset, scaled)
    }

    /// A number of each f32 with f32 throughout, as QUANTIZE_WITH_EIGEN computes it.
    pub fn numbers(self, b: &mut Builder, x: Value) -> Result<Value> {
        let span = self.span(b)?;
        let wide = b.cast(DType::F64, span)?;
        let last = b.scalar(DType::F64, self.grid.last_step())?;
        let scale = b.binary(Div, last, wide)?;
        let scale = b.cast(DType::F32, scale)?;
        let zero = b.scalar(DType::F32, 0.0)?;
        let scale = self.if_single(b, zero, scale)?;
        let first = b.binary(Mul, self.low, scale)?;
        let first = round_away(b, first)?;
        let first = b.binary_scalar(Sub, first, self.grid.lowest as f64)?;
        let scaled = b.binary(Mul, x, scale)?;
        let whole = round_away(b, scaled)?;
        let place = b.binary(Sub, whole, first)?;
        self.grid.clamp(b, place)
    }
}
