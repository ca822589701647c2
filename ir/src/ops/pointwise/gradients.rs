//! Gradients of the elementwise ops: the formulas of TensorFlow's math_grad.py, on cotangents.
//!
//! For complex numbers a cotangent is multiplied by the conjugate of the derivative, as in TensorFlow. Where an operand
//! was broadcast, its cotangent is summed over the axes that broadcasting stretched.

use std::f64::consts::PI;

use anyhow::{Result, anyhow};
use num_complex::Complex;

use crate::graph::Value;
use crate::op::{NoGradient, VjpArgs};
use crate::ops::shape::{cotangent, unbroadcast};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tensor::Tensor;
use crate::{Builder, DType};

type Vjp = Result<Vec<Option<Value>>, NoGradient>;

/// Short names for building formulas; every method appends nodes.
struct Formula<'a> {
    b: &'a mut Builder,
}

impl Formula<'_> {
    fn u(&mut self, op: UnaryOp, x: Value) -> Result<Value> {
        self.b.unary(op, x)
    }
    fn o(&mut self, op: BinaryOp, x: Value, y: Value) -> Result<Value> {
        self.b.binary(op, x, y)
    }
    fn mul(&mut self, x: Value, y: Value) -> Result<Value> {
        self.o(BinaryOp::Mul, x, y)
    }
    fn neg(&mut self, x: Value) -> Result<Value> {
        self.u(UnaryOp::Neg, x)
    }
    fn square(&mut self, x: Value) -> Result<Value> {
        self.u(UnaryOp::Square, x)
    }
    /// A number of the type of `x`.
    fn number(&mut self, x: Value, n: f64) -> Result<Value> {
        let dtype = self.b.ty(x).dtype;
        self.b.scalar(dtype, n)
    }
    /// n * x.
    fn times(&mut self, x: Value, n: f64) -> Result<Value> {
        let n = self.number(x, n)?;
        self.mul(x, n)
    }
    /// n + x.
    fn plus(&mut self, x: Value, n: f64) -> Result<Value> {
        let n = self.number(x, n)?;
        self.o(BinaryOp::Add, x, n)
    }
    /// n - x.
    fn minus_from(&mut self, n: f64, x: Value) -> Result<Value> {
        let n = self.number(x, n)?;
        self.o(BinaryOp::Sub, n, x)
    }
    /// The conjugate of a complex value, a real value itself.
    fn conj(&mut self, x: Value) -> Result<Value> {
        if self.b.ty(x).dtype.is_complex() { self.u(UnaryOp::Conj, x) } else { Ok(x) }
    }
    /// re + i im of a complex type, from real values.
    fn complex(&mut self, dtype: DType, re: Option<Value>, im: Option<Value>) -> Result<Value> {
        let re = re.map(|re| self.b.cast(dtype, re)).transpose()?;
        let im = match im {
            Some(im) => {
                let unit = if dtype == DType::C64 {
                    Tensor::scalar(Complex::<f32>::i())
                } else {
                    Tensor::scalar(Complex::<f64>::i())
                };
                let (im, unit) = (self.b.cast(dtype, im)?, self.b.constant(unit)?);
                Some(self.mul(im, unit)?)
            }
            None => None,
        };
        match (re, im) {
            (Some(re), Some(im)) => self.o(BinaryOp::Add, re, im),
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => self.b.scalar(dtype, 0.0),
        }
    }
}

fn differentiable(dtype: DType) -> Result<(), NoGradient> {
    if dtype.is_float() || dtype.is_complex() { Ok(()) } else { Err(NoGradient::NotDifferentiable) }
}

/// The cotangent of a unary operation's operand.
pub(super) fn unary(op: UnaryOp, b: &mut Builder, args: VjpArgs<'_>) -> Vjp {
    use UnaryOp::*;
    differentiable(b.ty(args.inputs[0]).dtype)?;
    if matches!(op, Sign | BitNot | Not | PopCount | Floor | Ceil | Rint | Trunc | IsNan | IsInf | IsFinite) {
        return Err(NoGradient::NotDifferentiable);
    }
    let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
    Ok(vec![Some(unary_formula(op, &mut Formula { b }, args.inputs[0], args.outputs[0], g)?)])
}

/// `x`: operand; `y`: result; `g`: the result's cotangent.
fn unary_formula(op: UnaryOp, f: &mut Formula<'_>, x: Value, y: Value, g: Value) -> Result<Value> {
    use UnaryOp::*;
    let dtype = f.b.ty(x).dtype;
    // Ops between real and complex numbers do not multiply by a derivative.
    match op {
        Abs if dtype.is_complex() => {
            let (g, y) = (f.complex(dtype, Some(g), None)?, f.complex(dtype, Some(y), None)?);
            let ratio = f.o(BinaryOp::DivNoNan, g, y)?;
            return f.mul(ratio, x);
        }
        Real if dtype.is_complex() => return f.complex(dtype, Some(g), None),
        Imag if dtype.is_complex() => return f.complex(dtype, None, Some(g)),
        Angle if dtype.is_complex() => {
            let (re, im) = (f.u(Real, x)?, f.u(Imag, x)?);
            let turned = f.complex(dtype, Some(im), Some(re))?;
            let g = f.complex(dtype, Some(g), None)?;
            let ratio = f.o(BinaryOp::Div, g, turned)?;
            return f.neg(ratio);
        }
        Real => return Ok(g),
        // A real number has no imaginary part, and its angle is 0 or pi.
        Imag | Angle => return f.times(g, 0.0),
        Conj => return f.conj(g),
        Neg => return f.neg(g),
        _ => {}
    }
    let (x, y) = (f.conj(x)?, f.conj(y)?);
    let derivative = match op {
        Abs => f.u(Sign, x)?,
        Square => f.times(x, 2.0)?,
        Sqrt => {
            let half = f.times(g, 0.5)?;
            return f.o(BinaryOp::Div, half, y);
        }
        Rsqrt => {
            let (gy, yy) = (f.mul(g, y)?, f.square(y)?);
            let yy = f.times(yy, -0.5)?;
            return f.mul(gy, yy);
        }
        Reciprocal => {
            let yy = f.square(y)?;
            f.neg(yy)?
        }
        Exp => y,
        Expm1 => f.u(Exp, x)?,
        Log => f.u(Reciprocal, x)?,
        Log1p => {
            let x1 = f.plus(x, 1.0)?;
            f.u(Reciprocal, x1)?
        }
        Sigmoid => {
            let rest = f.minus_from(1.0, y)?;
            f.mul(y, rest)?
        }
        Tanh => {
            let yy = f.square(y)?;
            f.minus_from(1.0, yy)?
        }
        Sin => f.u(Cos, x)?,
        Cos => {
            let s = f.u(Sin, x)?;
            f.neg(s)?
        }
        Tan => {
            let c = f.u(Cos, x)?;
            let c = f.u(Reciprocal, c)?;
            f.square(c)?
        }
        Asin | Acos => {
            let xx = f.square(x)?;
            let rest = f.minus_from(1.0, xx)?;
            let root = f.u(Sqrt, rest)?;
            let d = f.u(Reciprocal, root)?;
            if op == Acos { f.neg(d)? } else { d }
        }
        Atan | Atanh => {
            let xx = f.square(x)?;
            let rest = if op == Atan { f.plus(xx, 1.0)? } else { f.minus_from(1.0, xx)? };
            f.u(Reciprocal, rest)?
        }
        Sinh => f.u(Cosh, x)?,
        Cosh => f.u(Sinh, x)?,
        Asinh | Acosh => {
            let d = f.u(if op == Asinh { Cosh } else { Sinh }, y)?;
            return f.o(BinaryOp::Div, g, d);
        }
        Erf | Erfc => {
            let xx = f.square(x)?;
            let e = f.neg(xx)?;
            let e = f.u(Exp, e)?;
            f.times(e, if op == Erf { 2.0 } else { -2.0 } / PI.sqrt())?
        }
        Erfinv => {
            let yy = f.square(y)?;
            let e = f.u(Exp, yy)?;
            f.times(e, PI.sqrt() / 2.0)?
        }
        Ndtri => {
            let yy = f.square(y)?;
            let e = f.times(yy, 0.5)?;
            let e = f.u(Exp, e)?;
            f.times(e, (2.0 * PI).sqrt())?
        }
        Lgamma => f.u(Digamma, x)?,
        Digamma => {
            let one = f.number(x, 1.0)?;
            f.o(BinaryOp::Polygamma, one, x)?
        }
        Neg | Real | Imag | Conj | Angle | Sign | BitNot | Not | PopCount | Floor | Ceil | Rint | Trunc | IsNan
        | IsInf | IsFinite => return Err(anyhow!("`{op}` has no derivative of this form")),
    };
    f.mul(g, derivative)
}

/// The cotangents of a binary operation's operands.
pub(super) fn binary(op: BinaryOp, b: &mut Builder, args: VjpArgs<'_>) -> Vjp {
    use BinaryOp::*;
    let &[x, y] = args.inputs else { return Err(anyhow!("`{op}` takes two operands").into()) };
    differentiable(b.ty(x).dtype)?;
    if matches!(op, FloorDiv | BitAnd | BitOr | BitXor | Shl | Shr | And | Or | Xor) {
        return Err(NoGradient::NotDifferentiable);
    }
    let Some(g) = cotangent(&args) else { return Ok(vec![None, None]) };
    let order = matches!(op, Polygamma | Zeta);
    if order && b.as_const(x).is_none() && b.as_dims(x).is_none() {
        // Without the derivative by the order, a zero would be silently wrong; a constant order needs none.
        return Err(anyhow!("`{op}` has a gradient only where its first operand is a constant").into());
    }
    let (dx, dy) = binary_formula(op, &mut Formula { b }, x, y, args.outputs[0], g)?;
    let mut sum = |d: Option<Value>, of: Value| -> Result<Option<Value>> {
        let shape = b.ty(of).shape.clone();
        d.map(|d| unbroadcast(b, d, &shape)).transpose()
    };
    let dx = sum(dx, x)?;
    Ok(vec![dx, sum(dy, y)?])
}

/// `x`, `y`: operands; `z`: result; `g`: its cotangent. The cotangents have the result's shape.
fn binary_formula(
    op: BinaryOp,
    f: &mut Formula<'_>,
    x: Value,
    y: Value,
    z: Value,
    g: Value,
) -> Result<(Option<Value>, Option<Value>)> {
    use BinaryOp::*;
    // TensorFlow does not conjugate in these: its complex squared difference is |x - y|^2, and its gradients of the
    // others are written for real numbers.
    let plain = matches!(op, MulNoNan | SquaredDifference | Xlogy | Xlog1py | Xdivy);
    let (x, y) = if plain { (x, y) } else { (f.conj(x)?, f.conj(y)?) };
    let (dx, dy) = match op {
        Add => (g, g),
        Sub => (g, f.neg(g)?),
        Mul => (f.mul(g, y)?, f.mul(x, g)?),
        // d(x/y)/dy = -(x/y)/y, which does not overflow where y * y would.
        Div | DivNoNan => {
            let minus = f.neg(x)?;
            let q = f.o(op, minus, y)?;
            let q = f.o(op, q, y)?;
            (f.o(op, g, y)?, f.mul(g, q)?)
        }
        MulNoNan => (f.o(MulNoNan, g, y)?, f.o(MulNoNan, x, g)?),
        FloorMod | TruncMod => {
            let q = if op == FloorMod {
                f.o(FloorDiv, x, y)?
            } else {
                let q = f.o(Div, x, y)?;
                f.u(UnaryOp::Trunc, q)?
            };
            let q = f.neg(q)?;
            (g, f.mul(g, q)?)
        }
        // A tie gives everything to x.
        Max | Min => {
            let first = f.b.compare(if op == Max { CompareOp::Ge } else { CompareOp::Le }, x, y)?;
            let zero = f.number(g, 0.0)?;
            (f.b.select(first, g, zero)?, f.b.select(first, zero, g)?)
        }
        Pow => pow(f, x, y, z, g)?,
        // The point is (y, x) = (operand 1, operand 0): angle's derivative is (-o0, o1) / |p|^2 in these.
        Atan2 => {
            let (xx, yy) = (f.square(x)?, f.square(y)?);
            let norm = f.o(Add, xx, yy)?;
            let scaled = f.o(Div, g, norm)?;
            let minus = f.neg(x)?;
            (f.mul(y, scaled)?, f.mul(minus, scaled)?)
        }
        SquaredDifference => {
            let diff = f.o(Sub, x, y)?;
            let twice = f.times(g, 2.0)?;
            let dx = f.mul(twice, diff)?;
            (dx, f.neg(dx)?)
        }
        Xlogy | Xlog1py | Xdivy => {
            // The derivative by x is 0 where x = 0, whatever y is.
            let zero = f.number(x, 0.0)?;
            let not_zero = f.b.compare(CompareOp::Ne, x, zero)?;
            let dtype = f.b.ty(x).dtype;
            let not_zero = f.b.cast(dtype, not_zero)?;
            let by_x = f.o(op, not_zero, y)?;
            let by_y = match op {
                Xlogy => f.o(Xdivy, x, y)?,
                Xlog1py => {
                    let y1 = f.plus(y, 1.0)?;
                    f.o(Xdivy, x, y1)?
                }
                _ => {
                    let (minus, yy) = (f.neg(x)?, f.square(y)?);
                    f.o(Xdivy, minus, yy)?
                }
            };
            (f.mul(by_x, g)?, f.mul(by_y, g)?)
        }
        NextAfter => return Ok((Some(g), None)),
        // d P(a, x) / dx = x^(a-1) e^-x / gamma(a), by logarithms.
        Igamma | Igammac => {
            let (a1, log, gamma) = (f.plus(x, -1.0)?, f.u(UnaryOp::Log, y)?, f.u(UnaryOp::Lgamma, x)?);
            let power = f.mul(a1, log)?;
            let e = f.o(Sub, power, y)?;
            let e = f.o(Sub, e, gamma)?;
            let density = f.u(UnaryOp::Exp, e)?;
            let density = if op == Igammac { f.neg(density)? } else { density };
            // The other side falls by what this one gains.
            let by_order = crate::ops::special::special(f.b, "igamma_grad_a", &[x, y])?;
            let by_order = if op == Igammac { f.neg(by_order)? } else { by_order };
            return Ok((Some(f.mul(by_order, g)?), Some(f.mul(density, g)?)));
        }
        Polygamma => {
            let n1 = f.plus(x, 1.0)?;
            let d = f.o(Polygamma, n1, y)?;
            return Ok((None, Some(f.mul(d, g)?)));
        }
        Zeta => {
            let x1 = f.plus(x, 1.0)?;
            let (minus, z) = (f.neg(x)?, f.o(Zeta, x1, y)?);
            let d = f.mul(minus, z)?;
            return Ok((None, Some(f.mul(d, g)?)));
        }
        FloorDiv | BitAnd | BitOr | BitXor | Shl | Shr | And | Or | Xor => return Ok((None, None)),
    };
    Ok((Some(dx), Some(dy)))
}

/// x^y: y x^(y-1), and x^y log x, with log x taken as 0 where x is not positive (for complex numbers: where it is 0).
fn pow(f: &mut Formula<'_>, x: Value, y: Value, z: Value, g: Value) -> Result<(Value, Value)> {
    let y1 = f.plus(y, -1.0)?;
    let power = f.o(BinaryOp::Pow, x, y1)?;
    let gy = f.mul(g, y)?;
    let dx = f.mul(gy, power)?;
    let (zero, one) = (f.number(x, 0.0)?, f.number(x, 1.0)?);
    let order = if f.b.ty(x).dtype.is_complex() { CompareOp::Ne } else { CompareOp::Gt };
    let usable = f.b.compare(order, x, zero)?;
    let safe = f.b.select(usable, x, one)?;
    let log = f.u(UnaryOp::Log, safe)?;
    let log = f.b.select(usable, log, zero)?;
    let z = f.conj(z)?;
    let gz = f.mul(g, z)?;
    Ok((dx, f.mul(gz, log)?))
}

/// The cotangents of select's operands: the condition has none.
pub(super) fn select(b: &mut Builder, args: VjpArgs<'_>) -> Vjp {
    let &[c, x, y] = args.inputs else { return Err(anyhow!("select takes three operands").into()) };
    differentiable(b.ty(x).dtype)?;
    let Some(g) = cotangent(&args) else { return Ok(vec![None; 3]) };
    let (shape_x, shape_y) = (b.ty(x).shape.clone(), b.ty(y).shape.clone());
    let zero = b.scalar(b.ty(g).dtype, 0.0)?;
    let dx = b.select(c, g, zero)?;
    let dy = b.select(c, zero, g)?;
    Ok(vec![None, Some(unbroadcast(b, dx, &shape_x)?), Some(unbroadcast(b, dy, &shape_y)?)])
}

/// The cotangent of cast's operand: converted back, between types that have derivatives.
pub(super) fn cast(b: &mut Builder, args: VjpArgs<'_>) -> Vjp {
    let (from, to) = (b.ty(args.inputs[0]).dtype, b.ty(args.outputs[0]).dtype);
    differentiable(from)?;
    differentiable(to)?;
    let Some(g) = cotangent(&args) else { return Ok(vec![None]) };
    Ok(vec![Some(b.cast(from, g)?)])
}
