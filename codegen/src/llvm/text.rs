//! Builders for LLVM assembly text: a module, the body of a function, operands with their types.
//!
//! Kernels reach LLVM as text and not through the builder API. A scalar and a vector are then one case (the API has a
//! class for each), what is printed is what `--emit ir` shows, and a piece of a program can go to another thread with
//! a context of its own, because text belongs to no context. Names count up from 0 in the order of the program, so the
//! text, and with it the object file, is the same for the same input.

use std::fmt::Write as _;

use kiln_ir::{Class, DType};

/// Element type of a register. bool is `I(1)`; f16 and bf16 travel as their bits, `I(16)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Elem {
    /// Integer of this many bits.
    I(u32),
    F32,
    F64,
}

/// Type of a register: a scalar or a vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LTy {
    pub elem: Elem,
    pub lanes: u16,
}

impl LTy {
    /// The register type of `lanes` elements of a plain dtype.
    pub fn register(dtype: DType, lanes: u16) -> LTy {
        let elem = match dtype.class() {
            Class::Bool => Elem::I(1),
            Class::Float if dtype == DType::F32 => Elem::F32,
            Class::Float if dtype == DType::F64 => Elem::F64,
            _ => Elem::I(8 * dtype.size() as u32),
        };
        LTy { elem, lanes }
    }

    pub fn with(self, elem: Elem) -> LTy {
        LTy { elem, ..self }
    }

    pub fn is_float(self) -> bool {
        !matches!(self.elem, Elem::I(_))
    }

    /// Bits of an element.
    pub fn bits(self) -> u32 {
        match self.elem {
            Elem::I(n) => n,
            Elem::F32 => 32,
            Elem::F64 => 64,
        }
    }

    /// The suffix of an overloaded intrinsic: `v8f32`.
    pub fn suffix(self) -> String {
        let elem = match self.elem {
            Elem::I(n) => format!("i{n}"),
            Elem::F32 => "f32".into(),
            Elem::F64 => "f64".into(),
        };
        if self.lanes == 1 { elem } else { format!("v{}{elem}", self.lanes) }
    }
}

impl std::fmt::Display for LTy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let elem = match self.elem {
            Elem::I(n) => format!("i{n}"),
            Elem::F32 => "float".into(),
            Elem::F64 => "double".into(),
        };
        if self.lanes == 1 { f.write_str(&elem) } else { write!(f, "<{} x {elem}>", self.lanes) }
    }
}

/// An operand: a register or a constant, with its type.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub ty: LTy,
    pub text: String,
}

impl Op {
    /// The value of a float constant.
    pub fn as_float(&self) -> Option<f64> {
        let hex = self.text.split("0x").nth(1).filter(|_| self.ty.is_float())?;
        u64::from_str_radix(hex.trim_end_matches(')'), 16).ok().map(f64::from_bits)
    }
}

impl std::fmt::Display for Op {
    /// With the type, as most instructions want their first operand.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.ty, self.text)
    }
}

/// An integer constant in every lane; bits beyond the type's width are cut off.
pub(super) fn int(ty: LTy, n: i64) -> Op {
    let bits = ty.bits();
    let n = if bits >= 64 { n } else { (n << (64 - bits)) >> (64 - bits) };
    let scalar = LTy { lanes: 1, ..ty };
    let text = match (ty.elem, n) {
        (Elem::I(1), 0) => "false".into(),
        (Elem::I(1), _) => "true".into(),
        _ => n.to_string(),
    };
    Op { ty, text: splat_text(scalar, ty.lanes, text) }
}

/// A float constant in every lane, rounded to the type.
pub(super) fn float(ty: LTy, x: f64) -> Op {
    // LLVM writes every binary float type as the bits of the f64 of equal value. A conversion between f32 and f64 may
    // set the quiet bit of a NaN, which IEEE arithmetic would do as well.
    let x = if ty.elem == Elem::F32 { f64::from(x as f32) } else { x };
    let scalar = LTy { lanes: 1, ..ty };
    Op { ty, text: splat_text(scalar, ty.lanes, format!("0x{:016X}", x.to_bits())) }
}

fn splat_text(scalar: LTy, lanes: u16, text: String) -> String {
    if lanes == 1 { text } else { format!("splat ({scalar} {text})") }
}

/// The body of a function under construction.
#[derive(Default)]
pub(super) struct Body {
    /// Instructions so far.
    pub out: String,
    /// Stack slots, which must open the entry block to be static.
    pub allocas: String,
    next: u32,
    /// Label of the block under construction.
    pub block: String,
    /// Flags for float arithmetic, with a trailing space, such as `contract `.
    pub fp_flags: &'static str,
}

impl Body {
    /// A body whose current block is `entry`.
    pub fn new(fp_flags: &'static str) -> Body {
        Body { block: "entry".into(), fp_flags, ..Body::default() }
    }

    /// A fresh number for names of registers and labels.
    pub fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// A fresh register name.
    pub fn name(&mut self) -> String {
        format!("%v{}", self.number())
    }

    /// Prints a line.
    pub fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "  {text}");
    }

    /// Starts a block.
    pub fn label(&mut self, name: &str) {
        let _ = writeln!(self.out, "{name}:");
        self.block = name.into();
    }

    /// An instruction with a result.
    pub fn inst(&mut self, ty: LTy, text: std::fmt::Arguments<'_>) -> Op {
        let name = self.name();
        self.line(format_args!("{name} = {text}"));
        Op { ty, text: name }
    }

    /// An integer instruction of two operands.
    pub fn bin(&mut self, op: &str, a: &Op, b: &Op) -> Op {
        self.inst(a.ty, format_args!("{op} {a}, {}", b.text))
    }

    /// A float instruction of two operands.
    pub fn fbin(&mut self, op: &str, a: &Op, b: &Op) -> Op {
        let flags = self.fp_flags;
        self.inst(a.ty, format_args!("{op} {flags}{a}, {}", b.text))
    }

    /// An integer comparison.
    pub fn icmp(&mut self, pred: &str, a: &Op, b: &Op) -> Op {
        self.inst(a.ty.with(Elem::I(1)), format_args!("icmp {pred} {a}, {}", b.text))
    }

    /// A float comparison.
    pub fn fcmp(&mut self, pred: &str, a: &Op, b: &Op) -> Op {
        self.inst(a.ty.with(Elem::I(1)), format_args!("fcmp {pred} {a}, {}", b.text))
    }

    /// `c ? a : b`.
    pub fn select(&mut self, c: &Op, a: &Op, b: &Op) -> Op {
        self.inst(a.ty, format_args!("select {c}, {a}, {b}"))
    }

    /// A conversion instruction.
    pub fn convert(&mut self, op: &str, a: &Op, to: LTy) -> Op {
        self.inst(to, format_args!("{op} {a} to {to}"))
    }

    /// A call of an intrinsic that is overloaded on the type of its first operand and returns that type.
    pub fn intrinsic(&mut self, name: &str, args: &[&Op]) -> Op {
        let Some(first) = args.first() else { return int(LTy { elem: Elem::I(1), lanes: 1 }, 0) };
        let list: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        self.inst(first.ty, format_args!("call {} @llvm.{name}.{}({})", first.ty, first.ty.suffix(), list.join(", ")))
    }
}

/// A module under construction.
pub(super) struct ModuleText {
    /// Globals and functions.
    pub out: String,
    metadata: Vec<String>,
}

/// Metadata node of an empty list, for flags such as `!invariant.load`.
pub(super) const MD_EMPTY: usize = 0;
/// Metadata node: the first target of a branch is almost always taken.
pub(super) const MD_LIKELY: usize = 1;

impl ModuleText {
    pub fn new() -> ModuleText {
        let metadata = vec!["!{}".into(), "!{!\"branch_weights\", i32 1048575, i32 1}".into()];
        ModuleText { out: String::new(), metadata }
    }

    /// The number that the next node gets.
    pub fn next_metadata(&self) -> usize {
        self.metadata.len()
    }

    /// Adds a node.
    pub fn metadata(&mut self, node: String) -> usize {
        self.metadata.push(node);
        self.metadata.len() - 1
    }

    /// The whole text.
    pub fn finish(&self, triple: &str, layout: &str) -> String {
        let mut s = format!("target datalayout = \"{layout}\"\ntarget triple = \"{triple}\"\n\n{}", self.out);
        let _ = writeln!(s, "\n!llvm.module.flags = !{{!{}}}", self.metadata.len());
        for (i, m) in self.metadata.iter().enumerate() {
            let _ = writeln!(s, "!{i} = {m}");
        }
        // Position-independent, so that one object serves executables and shared libraries.
        let _ = writeln!(s, "!{} = !{{i32 8, !\"PIC Level\", i32 2}}", self.metadata.len());
        s
    }
}
