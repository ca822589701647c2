//! Complex numbers. c64 is computed in c128 and rounded once per part.

use num_complex::Complex;

use super::Fault;
use super::num::{Mid, Num, Scalar};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};

type C = Complex<f64>;

fn unary(op: UnaryOp, z: C) -> Result<C, Fault> {
    use UnaryOp::*;
    let one = C::new(1.0, 0.0);
    Ok(match op {
        Neg => -z,
        Sign if z == C::new(0.0, 0.0) => z,
        Sign => z / z.re.hypot(z.im),
        Square => z * z,
        Sqrt => z.sqrt(),
        Rsqrt => one / z.sqrt(),
        Reciprocal => one / z,
        Exp => z.exp(),
        Expm1 => expm1(z),
        Log => z.ln(),
        Log1p => log1p(z),
        Sigmoid => one / (one + (-z).exp()),
        Tanh => tanh(z),
        Sin => z.sin(),
        Cos => z.cos(),
        // tan z = -i tanh(i z)
        Tan => {
            let t = tanh(C::new(-z.im, z.re));
            C::new(t.im, -t.re)
        }
        Asin => z.asin(),
        Acos => z.acos(),
        Atan => z.atan(),
        Sinh => z.sinh(),
        Cosh => z.cosh(),
        Asinh => z.asinh(),
        Acosh => z.acosh(),
        Atanh => z.atanh(),
        Conj => z.conj(),
        _ => return Err(Fault::Unsupported),
    })
}

/// e^z - 1: the real part is expm1(x) cos y - 2 sin^2(y / 2), which does not cancel.
fn expm1(z: C) -> C {
    let half = (z.im / 2.0).sin();
    C::new(z.re.exp_m1() * z.im.cos() - 2.0 * half * half, z.re.exp() * z.im.sin())
}

/// log(1 + z): |1 + z|^2 - 1 = x (2 + x) + y^2.
fn log1p(z: C) -> C {
    if z.re.hypot(z.im) > 0.5 {
        return (C::new(1.0, 0.0) + z).ln();
    }
    C::new(0.5 * (z.re * (2.0 + z.re) + z.im * z.im).ln_1p(), z.im.atan2(1.0 + z.re))
}

/// tanh by the formula whose terms stay finite: beyond |x| = 20, cosh^2 x swamps everything else.
fn tanh(z: C) -> C {
    if z.re.abs() > 20.0 {
        let tail = 4.0 * (-2.0 * z.re.abs()).exp();
        return C::new(1f64.copysign(z.re), tail * z.im.sin() * z.im.cos());
    }
    z.tanh()
}

fn part(op: UnaryOp, z: C) -> Result<f64, Fault> {
    Ok(match op {
        UnaryOp::Abs => z.re.hypot(z.im),
        UnaryOp::Real => z.re,
        UnaryOp::Imag => z.im,
        UnaryOp::Angle => z.im.atan2(z.re),
        _ => return Err(Fault::Unsupported),
    })
}

fn binary(op: BinaryOp, x: C, y: C) -> Result<C, Fault> {
    use BinaryOp::*;
    let zero = C::new(0.0, 0.0);
    Ok(match op {
        Add => x + y,
        Sub => x - y,
        Mul => x * y,
        Div => x / y,
        DivNoNan | MulNoNan if y == zero => zero,
        DivNoNan => x / y,
        MulNoNan => x * y,
        Xlogy | Xlog1py | Xdivy if x == zero => zero,
        Xlogy => x * y.ln(),
        Xlog1py => x * log1p(y),
        Xdivy => x / y,
        Pow if y == zero => C::new(1.0, 0.0),
        // num-complex takes the logarithm of the base, which 0 does not have.
        Pow if x == zero && y.re > 0.0 => zero,
        Pow => x.powc(y),
        // TensorFlow's kernel: conj(x - y) * (x - y).
        SquaredDifference => (x - y).conj() * (x - y),
        _ => return Err(Fault::Unsupported),
    })
}

macro_rules! complexes {
    ($($part:ident $variant:ident),*) => { $(
        impl Num for Complex<$part> {
            type Store = Complex<$part>;
            type Part = $part;

            fn load(s: Self) -> Self {
                s
            }
            fn store(self) -> Self {
                self
            }
            fn scalar(self) -> Scalar {
                Scalar::$variant(self)
            }

            fn unary(op: UnaryOp, x: Self) -> Result<Self, Fault> {
                unary(op, widen(x)).map(narrow)
            }
            fn part(op: UnaryOp, x: Self) -> Result<$part, Fault> {
                part(op, widen(x)).map(|y| y as $part)
            }
            fn binary(op: BinaryOp, x: Self, y: Self) -> Result<Self, Fault> {
                binary(op, widen(x), widen(y)).map(narrow)
            }
            fn compare(op: CompareOp, x: Self, y: Self) -> Result<bool, Fault> {
                match op {
                    CompareOp::Eq => Ok(x == y),
                    CompareOp::Ne => Ok(x != y),
                    _ => Err(Fault::Unsupported),
                }
            }

            #[allow(clippy::unnecessary_cast)]
            fn mid(self) -> Mid {
                Mid::Complex(self.re as f64, self.im as f64)
            }
            fn from_mid(m: Mid) -> Self {
                match m {
                    Mid::Complex(re, im) => Complex::new(re as $part, im as $part),
                    real => Complex::new($part::from_mid(real), 0.0),
                }
            }
        }
    )* };
}

trait Parts: Copy {
    fn wide(self) -> f64;
    fn of(x: f64) -> Self;
}
impl Parts for f32 {
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn of(x: f64) -> f32 {
        x as f32
    }
}
impl Parts for f64 {
    fn wide(self) -> f64 {
        self
    }
    fn of(x: f64) -> f64 {
        x
    }
}

fn widen<P: Parts>(z: Complex<P>) -> C {
    C::new(z.re.wide(), z.im.wide())
}

fn narrow<P: Parts>(z: C) -> Complex<P> {
    Complex::new(P::of(z.re), P::of(z.im))
}

complexes!(f32 C64, f64 C128);
