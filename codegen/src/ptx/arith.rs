//! Arithmetic: the table from scalar operations and element types to PTX, and the few operations that take more than
//! one instruction.
//!
//! Invariants: f32 and f64 instructions carry `.rn`; f16 and bf16 go through f32 (see the parent module); 8- and 16-bit
//! integers are computed in 32 bits and brought back into range; integer division by zero is the business of a `Check`
//! before it, so here it only must not trap, while `MIN / -1` wraps.

use anyhow::{Result, bail};
use kiln_ir::DType;
use kiln_ir::scalar::{BinaryOp, CompareOp, UnaryOp};

use super::print::Printer;
use super::regs::{Reg, RegClass, bits, float_literal, is_half, is_narrow_int, repr};

/// Sign, largest and smallest value of an integer element, as literals.
fn int_suffix(elem: DType) -> Result<&'static str> {
    Ok(repr(elem)?.arith)
}

impl Printer<'_> {
    /// A new register of `elem`'s class that receives `op` applied to `operands`.
    pub(super) fn op(&mut self, class: RegClass, op: &str, operands: &[&dyn std::fmt::Display]) -> Reg {
        let d = self.fresh(class);
        let list: Vec<String> = operands.iter().map(|o| o.to_string()).collect();
        self.line(format!("{op} {d}, {};", list.join(", ")));
        d
    }

    /// A constant of an arithmetic type.
    pub(super) fn constant(&mut self, elem: DType, literal: &str) -> Result<Reg> {
        let r = repr(elem)?;
        if r.class == RegClass::Pred {
            // Predicates have no immediate moves: compare two literals.
            let one = if literal == "0" { "0" } else { "1" };
            let t = self.op(RegClass::B32, "mov.b32", &[&one]);
            return Ok(self.op(RegClass::Pred, "setp.ne.s32", &[&t, &"0"]));
        }
        Ok(self.op(r.class, &format!("mov.{}", r.class.ptx()), &[&literal]))
    }

    /// The f32 value of a 16-bit float.
    pub(super) fn widen(&mut self, elem: DType, x: Reg) -> Reg {
        self.op(RegClass::F32, &format!("cvt.f32.{elem}"), &[&x])
    }

    /// An f32 value rounded to a 16-bit float.
    pub(super) fn narrow(&mut self, elem: DType, x: Reg) -> Reg {
        self.op(RegClass::B16, &format!("cvt.rn.{elem}.f32"), &[&x])
    }

    /// Brings the low bits of a 32-bit result back into the range of an 8- or 16-bit integer.
    pub(super) fn wrap(&mut self, elem: DType, x: Reg) -> Reg {
        match elem {
            DType::I8 => self.op(RegClass::B32, "cvt.s32.s8", &[&x]),
            DType::I16 => self.op(RegClass::B32, "cvt.s32.s16", &[&x]),
            DType::U8 => self.op(RegClass::B32, "and.b32", &[&x, &"0xFF"]),
            DType::U16 => self.op(RegClass::B32, "and.b32", &[&x, &"0xFFFF"]),
            _ => x,
        }
    }

    /// One lane of a unary operation.
    pub(super) fn unary(&mut self, op: UnaryOp, elem: DType, x: Reg) -> Result<Reg> {
        use UnaryOp::*;
        if is_half(elem) {
            let wide = self.widen(elem, x);
            let r = self.unary(op, DType::F32, wide)?;
            return Ok(if r.class == RegClass::F32 { self.narrow(elem, r) } else { r });
        }
        if elem == DType::Bool {
            return match op {
                Not => Ok(self.op(RegClass::Pred, "not.pred", &[&x])),
                _ => bail!("`{op}` is not defined on bool"),
            };
        }
        let r = repr(elem)?;
        let (t, class) = (r.arith, r.class);
        if elem.is_float() {
            let zero = float_literal(elem, 0.0);
            let one = float_literal(elem, 1.0);
            let inf = float_literal(elem, f64::INFINITY);
            // Rounding to an integral value is a conversion of a type to itself.
            let integral = match op {
                Floor => Some("rmi"),
                Ceil => Some("rpi"),
                Rint => Some("rni"),
                Trunc => Some("rzi"),
                _ => None,
            };
            if let Some(mode) = integral {
                return Ok(self.op(class, &format!("cvt.{mode}.{t}.{t}"), &[&x]));
            }
            return Ok(match op {
                Neg => self.op(class, &format!("neg.{t}"), &[&x]),
                Abs => self.op(class, &format!("abs.{t}"), &[&x]),
                Sign => {
                    // NaN fails all three comparisons and stays itself; -0 becomes 0.
                    let minus = float_literal(elem, -1.0);
                    let zeroed = self.choose_if(class, &format!("eq.{t}"), x, &zero, &zero, &x.to_string());
                    let below = self.choose_if(class, &format!("lt.{t}"), x, &zero, &minus, &zeroed.to_string());
                    self.choose_if(class, &format!("gt.{t}"), x, &zero, &one, &below.to_string())
                }
                Sqrt => self.op(class, &format!("sqrt.rn.{t}"), &[&x]),
                Reciprocal => self.op(class, &format!("rcp.rn.{t}"), &[&x]),
                Rsqrt => {
                    // Two roundings: at most 1 ULP; the approximate instruction is off by up to 2.
                    let s = self.op(class, &format!("sqrt.rn.{t}"), &[&x]);
                    self.op(class, &format!("rcp.rn.{t}"), &[&s])
                }
                Square => self.op(class, &format!("mul.rn.{t}"), &[&x, &x]),
                IsNan => self.op(RegClass::Pred, &format!("setp.nan.{t}"), &[&x, &x]),
                IsInf | IsFinite => {
                    let a = self.op(class, &format!("abs.{t}"), &[&x]);
                    let cmp = if op == IsInf { "eq" } else { "lt" };
                    self.op(RegClass::Pred, &format!("setp.{cmp}.{t}"), &[&a, &inf])
                }
                Real | Conj => x,
                _ => bail!("`{op}` on {elem} has no PTX instruction: expand it with codegen/math before printing"),
            });
        }
        let n = bits(elem).max(32);
        let result = match op {
            Neg => self.op(class, &format!("neg.s{n}"), &[&x]),
            Abs if elem.is_signed() => {
                // max(x, -x) keeps the smallest value, as wrapping arithmetic does; `abs` leaves it open.
                let minus = self.op(class, &format!("neg.s{n}"), &[&x]);
                self.op(class, &format!("max.s{n}"), &[&x, &minus])
            }
            Sign if elem.is_signed() => {
                let low = self.op(class, &format!("max.s{n}"), &[&x, &"-1"]);
                self.op(class, &format!("min.s{n}"), &[&low, &"1"])
            }
            Sign => self.op(class, &format!("min.u{n}"), &[&x, &"1"]),
            Abs | Real | Conj => x,
            Square => self.op(class, &format!("mul.lo.s{n}"), &[&x, &x]),
            BitNot => self.op(class, &format!("not.b{n}"), &[&x]),
            PopCount => {
                let own = match bits(elem) {
                    w @ (8 | 16) => self.op(class, "and.b32", &[&x, &format!("0x{:X}", (1u32 << w) - 1)]),
                    _ => x,
                };
                return Ok(self.op(RegClass::B32, &format!("popc.b{n}"), &[&own]));
            }
            _ => bail!("`{op}` on {elem} has no PTX instruction: expand it before printing"),
        };
        Ok(self.wrap(elem, result))
    }

    /// `setp.COND x, with`, then `yes` where it holds and `no` elsewhere.
    fn choose_if(&mut self, class: RegClass, cond: &str, x: Reg, with: &str, yes: &str, no: &str) -> Reg {
        let p = self.op(RegClass::Pred, &format!("setp.{cond}"), &[&x, &with]);
        self.op(class, &format!("selp.{}", class.ptx()), &[&yes, &no, &p])
    }

    /// One lane of a binary operation. `divisor`: the second operand's value where it is a known integer.
    pub(super) fn binary(&mut self, op: BinaryOp, elem: DType, x: Reg, y: Reg, divisor: Option<i64>) -> Result<Reg> {
        if is_half(elem) {
            let (a, b) = (self.widen(elem, x), self.widen(elem, y));
            // (x - y)^2, x / y floored: each scalar step of a composite rounds to the element type.
            let r = match op {
                BinaryOp::SquaredDifference => {
                    let d = self.binary(BinaryOp::Sub, elem, x, y, None)?;
                    return self.binary(BinaryOp::Mul, elem, d, d, None);
                }
                BinaryOp::FloorDiv => {
                    let q = self.binary(BinaryOp::Div, elem, x, y, None)?;
                    return self.unary(UnaryOp::Floor, elem, q);
                }
                _ => self.binary_float(op, DType::F32, a, b)?,
            };
            return Ok(self.narrow(elem, r));
        }
        if elem == DType::Bool {
            let name = match op {
                BinaryOp::And => "and.pred",
                BinaryOp::Or => "or.pred",
                BinaryOp::Xor => "xor.pred",
                _ => bail!("`{op}` is not defined on bool"),
            };
            return Ok(self.op(RegClass::Pred, name, &[&x, &y]));
        }
        if elem.is_float() {
            return self.binary_float(op, elem, x, y);
        }
        let r = self.binary_int(op, elem, x, y, divisor)?;
        Ok(if is_narrow_int(elem) { self.wrap(elem, r) } else { r })
    }

    /// f32 and f64.
    fn binary_float(&mut self, op: BinaryOp, elem: DType, x: Reg, y: Reg) -> Result<Reg> {
        use BinaryOp::*;
        let r = repr(elem)?;
        let (t, class, zero) = (r.arith, r.class, float_literal(elem, 0.0));
        let simple = match op {
            Add => Some("add.rn"),
            Sub => Some("sub.rn"),
            Mul => Some("mul.rn"),
            Div => Some("div.rn"),
            Max if elem == DType::F32 => Some("max.NaN"),
            Min if elem == DType::F32 => Some("min.NaN"),
            _ => None,
        };
        if let Some(name) = simple {
            return Ok(self.op(class, &format!("{name}.{t}"), &[&x, &y]));
        }
        Ok(match op {
            Max | Min => {
                // f64 has no NaN-propagating form. The sum of two operands, one of them NaN, is NaN.
                let m = self.op(class, &format!("{op}.{t}"), &[&x, &y]);
                let nan = self.op(class, &format!("add.rn.{t}"), &[&x, &y]);
                let p = self.op(RegClass::Pred, &format!("setp.nan.{t}"), &[&x, &y]);
                self.op(class, &format!("selp.{t}"), &[&nan, &m, &p])
            }
            FloorDiv => {
                let q = self.op(class, &format!("div.rn.{t}"), &[&x, &y]);
                self.op(class, &format!("cvt.rmi.{t}.{t}"), &[&q])
            }
            SquaredDifference => {
                let d = self.op(class, &format!("sub.rn.{t}"), &[&x, &y]);
                self.op(class, &format!("mul.rn.{t}"), &[&d, &d])
            }
            DivNoNan | MulNoNan => {
                let name = if op == DivNoNan { "div" } else { "mul" };
                let q = self.op(class, &format!("{name}.rn.{t}"), &[&x, &y]);
                self.choose_if(class, &format!("eq.{t}"), y, &zero, &zero, &q.to_string())
            }
            Xdivy => {
                let q = self.op(class, &format!("div.rn.{t}"), &[&x, &y]);
                self.choose_if(class, &format!("eq.{t}"), x, &zero, &zero, &q.to_string())
            }
            _ => bail!("`{op}` on {elem} has no PTX instruction: expand it with codegen/math before printing"),
        })
    }

    /// Integers; narrow results are not yet brought back into range.
    fn binary_int(&mut self, op: BinaryOp, elem: DType, x: Reg, y: Reg, divisor: Option<i64>) -> Result<Reg> {
        use BinaryOp::*;
        let class = repr(elem)?.class;
        let (n, t) = (bits(elem).max(32), int_suffix(elem)?);
        let simple = match op {
            Add => Some(format!("add.s{n}")),
            Sub => Some(format!("sub.s{n}")),
            Mul => Some(format!("mul.lo.s{n}")),
            Max => Some(format!("max.{t}")),
            Min => Some(format!("min.{t}")),
            BitAnd => Some(format!("and.b{n}")),
            BitOr => Some(format!("or.b{n}")),
            BitXor => Some(format!("xor.b{n}")),
            _ => None,
        };
        if let Some(name) = simple {
            return Ok(self.op(class, &name, &[&x, &y]));
        }
        Ok(match op {
            Div | TruncMod => self.divide(op, elem, x, y, divisor)?,
            FloorDiv | FloorMod if !elem.is_signed() => {
                self.divide(if op == FloorDiv { Div } else { TruncMod }, elem, x, y, divisor)?
            }
            FloorDiv | FloorMod => {
                // Toward minus infinity: one less (or the divisor more) where a remainder is left and the signs differ.
                let q = self.divide(Div, elem, x, y, divisor)?;
                let back = self.op(class, &format!("mul.lo.s{n}"), &[&q, &y]);
                let rem = self.op(class, &format!("sub.s{n}"), &[&x, &back]);
                let left = self.op(RegClass::Pred, &format!("setp.ne.s{n}"), &[&rem, &"0"]);
                let signs = self.op(class, &format!("xor.b{n}"), &[&rem, &y]);
                let differ = self.op(RegClass::Pred, &format!("setp.lt.s{n}"), &[&signs, &"0"]);
                let adjust = self.op(RegClass::Pred, "and.pred", &[&left, &differ]);
                let other = match op {
                    FloorDiv => self.op(class, &format!("sub.s{n}"), &[&q, &"1"]),
                    _ => self.op(class, &format!("add.s{n}"), &[&rem, &y]),
                };
                let base = if op == FloorDiv { q } else { rem };
                self.op(class, &format!("selp.b{n}"), &[&other, &base, &adjust])
            }
            Shl | Shr => {
                let low = if elem.is_signed() { self.op(class, &format!("max.s{n}"), &[&y, &"0"]) } else { y };
                let amount = self.op(class, &format!("min.{t}"), &[&low, &(bits(elem) - 1)]);
                let amount = if n == 64 { self.op(RegClass::B32, "cvt.u32.u64", &[&amount]) } else { amount };
                match op {
                    Shl => self.op(class, &format!("shl.b{n}"), &[&x, &amount]),
                    _ => self.op(class, &format!("shr.{t}"), &[&x, &amount]),
                }
            }
            SquaredDifference => {
                let d = self.op(class, &format!("sub.s{n}"), &[&x, &y]);
                self.op(class, &format!("mul.lo.s{n}"), &[&d, &d])
            }
            _ => bail!("`{op}` on {elem} has no PTX instruction: expand it before printing"),
        })
    }

    /// Quotient or remainder toward zero. PTX leaves `MIN / -1` open, so -1 is handled apart unless the divisor is known.
    fn divide(&mut self, op: BinaryOp, elem: DType, x: Reg, y: Reg, divisor: Option<i64>) -> Result<Reg> {
        let class = repr(elem)?.class;
        let (n, t) = (bits(elem).max(32), int_suffix(elem)?);
        let name = if op == BinaryOp::Div { "div" } else { "rem" };
        let risky = elem.is_signed() && n == bits(elem) && divisor.is_none_or(|d| d == -1);
        if !risky {
            return Ok(self.op(class, &format!("{name}.{t}"), &[&x, &y]));
        }
        let minus_one = self.op(RegClass::Pred, &format!("setp.eq.s{n}"), &[&y, &"-1"]);
        let safe = self.op(class, &format!("selp.b{n}"), &[&"1", &y, &minus_one]);
        let q = self.op(class, &format!("{name}.{t}"), &[&x, &safe]);
        if op == BinaryOp::TruncMod {
            // x rem 1 = 0 is right for -1 too.
            return Ok(q);
        }
        let negated = self.op(class, &format!("neg.s{n}"), &[&x]);
        Ok(self.op(class, &format!("selp.b{n}"), &[&negated, &q, &minus_one]))
    }

    /// One lane of a comparison.
    pub(super) fn compare(&mut self, op: CompareOp, elem: DType, x: Reg, y: Reg) -> Result<Reg> {
        if elem == DType::Bool {
            let differ = self.op(RegClass::Pred, "xor.pred", &[&x, &y]);
            return match op {
                CompareOp::Ne => Ok(differ),
                CompareOp::Eq => Ok(self.op(RegClass::Pred, "not.pred", &[&differ])),
                _ => bail!("`{op}` is not defined on bool"),
            };
        }
        let (x, y) = if is_half(elem) { (self.widen(elem, x), self.widen(elem, y)) } else { (x, y) };
        let t = repr(elem)?.arith;
        // `neu` is true where an operand is NaN; the ordered forms are false there.
        let cond = if op == CompareOp::Ne && elem.is_float() { "neu" } else { op.name() };
        Ok(self.op(RegClass::Pred, &format!("setp.{cond}.{t}"), &[&x, &y]))
    }

    /// One lane of a choice.
    pub(super) fn select(&mut self, elem: DType, c: Reg, x: Reg, y: Reg) -> Result<Reg> {
        let class = repr(elem)?.class;
        if class != RegClass::Pred {
            return Ok(self.op(class, &format!("selp.{}", class.ptx()), &[&x, &y, &c]));
        }
        let yes = self.op(RegClass::Pred, "and.pred", &[&c, &x]);
        let not = self.op(RegClass::Pred, "not.pred", &[&c]);
        let no = self.op(RegClass::Pred, "and.pred", &[&not, &y]);
        Ok(self.op(RegClass::Pred, "or.pred", &[&yes, &no]))
    }

    /// One lane of a * b + c with one rounding.
    pub(super) fn fma(&mut self, elem: DType, a: Reg, b: Reg, c: Reg) -> Result<Reg> {
        if !elem.is_float() {
            let product = self.binary(BinaryOp::Mul, elem, a, b, None)?;
            return self.binary(BinaryOp::Add, elem, product, c, None);
        }
        let r = repr(elem)?;
        Ok(self.op(r.class, &format!("fma.rn.{}", r.cvt), &[&a, &b, &c]))
    }
}
