//! One-instruction kernels over every pair of sample values: each scalar operation, comparison and cast that the machine
//! level has, in each type.

use kiln_ir::loops::{Access, Inst, Kernel, Space, ThreadAxis, Ty};
use kiln_ir::scalar::{BinaryOp, CompareOp, UnaryOp};
use kiln_ir::{DType, Dim};

use super::num::{self, Num, TYPES};
use super::{buffer, empty, load, mul_const, when};

const THREADS: u32 = 128;

/// What a sweep computes.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// A unary operation.
    Unary(UnaryOp),
    /// A binary operation.
    Binary(BinaryOp),
    /// A comparison.
    Compare(CompareOp),
    /// A cast to a type.
    Cast(DType),
    /// a * b + a with one rounding.
    Fma,
}

/// A sweep: the kernel with buffers x[n], y[n], out[n] and symbol n.
pub struct Sweep {
    /// What it computes.
    pub what: What,
    /// Operand type.
    pub elem: DType,
    /// Result type.
    pub result: DType,
    /// The kernel.
    pub kernel: Kernel,
}

/// Unary operations with a PTX form.
const UNARY: [UnaryOp; 17] = [
    UnaryOp::Neg,
    UnaryOp::Abs,
    UnaryOp::Sign,
    UnaryOp::BitNot,
    UnaryOp::Not,
    UnaryOp::PopCount,
    UnaryOp::Floor,
    UnaryOp::Ceil,
    UnaryOp::Rint,
    UnaryOp::Trunc,
    UnaryOp::Sqrt,
    UnaryOp::Reciprocal,
    UnaryOp::Square,
    UnaryOp::IsNan,
    UnaryOp::IsInf,
    UnaryOp::IsFinite,
    UnaryOp::Rsqrt,
];

/// Binary operations with a PTX form.
const BINARY: [BinaryOp; 21] = [
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::FloorDiv,
    BinaryOp::FloorMod,
    BinaryOp::TruncMod,
    BinaryOp::DivNoNan,
    BinaryOp::MulNoNan,
    BinaryOp::Max,
    BinaryOp::Min,
    BinaryOp::SquaredDifference,
    BinaryOp::Xdivy,
    BinaryOp::BitAnd,
    BinaryOp::BitOr,
    BinaryOp::BitXor,
    BinaryOp::Shl,
    BinaryOp::Shr,
    BinaryOp::And,
    BinaryOp::Or,
    BinaryOp::Xor,
];

/// Whether the oracle knows the operation in this type: what the machine level has, the oracle must know.
fn known(what: What, elem: DType) -> bool {
    let values = num::samples(elem);
    let one = values.iter().find(|v| !matches!(v, Num::I(0) | Num::F(0.0))).copied();
    one.is_some_and(|x| expected(what, elem, x, x).is_some())
}

/// The oracle's answer.
pub fn expected(what: What, elem: DType, x: Num, y: Num) -> Option<Num> {
    match what {
        What::Unary(op) => num::unary(op, elem, x),
        What::Binary(op) => num::binary(op, elem, x, y),
        What::Compare(op) => Some(num::compare(op, x, y)),
        What::Cast(to) => Some(num::cast(elem, to, x)),
        What::Fma => match (x, y) {
            (Num::F(a), Num::F(b)) => Some(Num::F(num::fma(elem, a, b, a))),
            _ => None,
        },
    }
}

/// All sweeps.
pub fn all() -> Vec<Sweep> {
    let mut list = vec![];
    for elem in TYPES.into_iter().chain([DType::Bool]) {
        let mut add = |what: What, result: DType| {
            if known(what, elem) {
                list.push(Sweep { what, elem, result, kernel: kernel(what, elem, result) });
            }
        };
        for op in UNARY.into_iter().filter(|op| op.accepts(elem)) {
            add(What::Unary(op), op.result(elem));
        }
        for op in BINARY.into_iter().filter(|op| op.accepts(elem)) {
            add(What::Binary(op), elem);
        }
        for op in CompareOp::ALL.iter().filter(|op| op.accepts(elem)) {
            add(What::Compare(*op), DType::Bool);
        }
        for to in TYPES.into_iter().chain([DType::Bool]) {
            add(What::Cast(to), to);
        }
        if elem.is_float() {
            add(What::Fma, elem);
        }
    }
    list
}

fn kernel(what: What, elem: DType, result: DType) -> Kernel {
    let what_name = match what {
        What::Unary(op) => op.name().to_string(),
        What::Binary(op) => op.name().to_string(),
        What::Compare(op) => op.name().to_string(),
        What::Cast(to) => format!("cast_{to}"),
        What::Fma => "fma".to_string(),
    };
    let shape = [Dim::sym("n")];
    let mut k = empty(format!("sweep_{elem}_{what_name}"), &["n"], shape[0].ceil_div(i64::from(THREADS)), THREADS);
    let b = &mut k;
    let x = buffer(b, "x", elem, &shape, Space::Global, Access::Read);
    let y = buffer(b, "y", elem, &shape, Space::Global, Access::Read);
    let out = buffer(b, "out", result, &shape, Space::Global, Access::Write);
    let n = b.push(Ty::INDEX, Inst::Sym(0));
    let task = b.push(Ty::INDEX, Inst::Task);
    let thread = b.push(Ty::INDEX, Inst::Thread(ThreadAxis::Thread));
    let first = mul_const(b, task, i64::from(THREADS));
    let at = b.add(first, thread);
    let inside = b.compare(CompareOp::Lt, at, n);
    when(
        b,
        inside,
        |b| {
            let (x, y) = (load(b, x, at, 1), load(b, y, at, 1));
            let r = match what {
                What::Unary(op) => b.unary(op, x),
                What::Binary(op) => b.binary(op, x, y),
                What::Compare(op) => b.compare(op, x, y),
                What::Cast(to) => b.cast(to, x),
                What::Fma => b.fma(x, y, x),
            };
            b.store(out, vec![at], r);
        },
        |_| {},
    );
    k.finish()
}
