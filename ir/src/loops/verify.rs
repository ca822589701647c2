//! Checks kernels against the numbered constraints ([`CONSTRAINTS`]) of their level.
//!
//! All violations are reported at once, each with its code and the statement in the text form. A kernel that passes
//! can be interpreted and printed: every value, buffer and symbol that it names exists, and the types of operands fit.

mod body;
mod reduction;
mod types;

use std::fmt;

use super::inst::Ty;
use super::{Buffer, Kernel, Space, print};
use crate::{DType, Dim, Symbol};

/// A constraint's code and text; `docs/loop-ir.md` lists the same.
pub const CONSTRAINTS: &[(&str, &str)] = &[
    ("K01", "names of kernels and buffers are C identifiers; names of buffers differ"),
    ("K02", "global buffers come before private and shared ones"),
    ("K03", "elements of buffers and values are plain and not complex"),
    ("K04", "physical axes of a layout name logical axes, with divisors from 1 and moduli from 0"),
    ("K05", "alignments are powers of two and at least the element's size"),
    ("K06", "private and shared buffers have constant sizes; shared ones need more than one thread"),
    ("K07", "a block has 1 to 1024 threads"),
    ("K08", "symbols differ, and only the kernel's symbols are mentioned"),
    ("K09", "every value is defined once"),
    ("K10", "a value is used after its definition, in the same block or in one nested in it"),
    ("K11", "an instruction has as many results as it defines"),
    ("K12", "an operation takes its operand's element type"),
    ("K13", "operands that combine have one element type"),
    ("K14", "extents of operands are equal, or, at the scheduled level, 1"),
    ("K15", "the result has the type that the instruction gives"),
    ("K16", "the instruction exists at the kernel's level"),
    ("K17", "values of a nest are scalars; machine values have one row and lanes that the target has"),
    ("K18", "the buffer exists"),
    ("K19", "a read buffer is not written"),
    ("K20", "a nest or scheduled access has an index for each axis, a machine access one offset"),
    ("K21", "indices, offsets and bounds are i64; where a scalar is needed, scalars"),
    ("K22", "steps are positive and unroll factors at least 1"),
    ("K23", "initial, inner, yielded and final values of a loop agree in number and type"),
    ("K24", "a parallel loop carries nothing; what a reduce loop carries has a combiner that takes its type"),
    ("K25", "a reduce loop uses a carried value only to combine it with something by its combiner"),
    ("K26", "conditions are bool scalars; both sides of a conditional yield the types of its results"),
    ("K27", "a float constant has a floating type, an integer constant an integer type or bool"),
    ("K28", "a bitcast keeps the width"),
    ("K29", "lane numbers are within the vector; reduced lanes are a power of two"),
    ("K30", "an intrinsic exists and gets fragments of the counts and types of its row, in whole warps"),
    ("K31", "thread instructions need more than one thread; lane masks are 1 to 31"),
    ("K32", "an asynchronous copy moves 4, 8 or 16 bytes of one element type from a global to a shared buffer"),
    ("K33", "a tile call has f32 operands, a private result of its extents and private i64 offsets"),
    ("K34", "only loops and conditionals have blocks that yield"),
];

/// What the target of a machine-level kernel can hold in a register.
#[derive(Clone, Copy, Debug)]
pub struct MachineLimits {
    /// Lane counts of vectors of an element type, besides 1. Bool stands for masks.
    pub lanes: fn(DType) -> &'static [u16],
}

/// Where a constraint is violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The kernel's header.
    Kernel,
    /// The buffer with this index.
    Buffer(usize),
    /// The statement with this number in the order of the text (a loop before its body).
    Stmt(usize),
}

/// A violated constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// Code of the constraint, such as `K07`.
    pub code: &'static str,
    /// Where.
    pub place: Place,
    /// What is wrong, with the values and types at fault.
    pub message: String,
    /// The statement or declaration in the text form.
    pub text: String,
}

/// All violations of a kernel, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct VerifyErrors {
    /// Name of the kernel.
    pub kernel: String,
    /// The violations; at least one.
    pub errors: Vec<VerifyError>,
}

impl fmt::Display for VerifyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel @{} is not valid:", self.kernel)?;
        for e in &self.errors {
            write!(f, "\n  {}: {}\n      | {}", e.code, e.message, e.text)?;
        }
        Ok(())
    }
}

/// Checks a kernel. `limits` are those of its target at the machine level; without them any number of lanes is legal.
pub fn verify(kernel: &Kernel, limits: Option<&MachineLimits>) -> Result<(), VerifyErrors> {
    let mut v = Verifier { kernel, limits, found: vec![], place: Place::Kernel };
    v.header();
    for (i, b) in kernel.buffers.iter().enumerate() {
        v.place = Place::Buffer(i);
        v.buffer(i, b);
    }
    body::check(&mut v);
    if v.found.is_empty() {
        return Ok(());
    }
    let printed = print::print(kernel);
    let errors = v.found.into_iter().map(|(code, place, message)| {
        let line = match place {
            Place::Kernel => Some(&1),
            Place::Buffer(i) => printed.buffer_lines.get(i),
            Place::Stmt(i) => printed.stmt_lines.get(i),
        };
        VerifyError { code, place, message, text: line.map_or("", |&l| printed.line(l)).to_string() }
    });
    Err(VerifyErrors { kernel: kernel.name.clone(), errors: errors.collect() })
}

struct Verifier<'a> {
    kernel: &'a Kernel,
    limits: Option<&'a MachineLimits>,
    found: Vec<(&'static str, Place, String)>,
    /// What is being checked.
    place: Place,
}

fn is_identifier(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Verifier<'_> {
    fn fail(&mut self, code: &'static str, message: String) {
        debug_assert!(CONSTRAINTS.iter().any(|c| c.0 == code), "{code} is in the list");
        self.found.push((code, self.place, message));
    }

    /// Reports unless the condition holds.
    fn require(&mut self, ok: bool, code: &'static str, message: impl FnOnce() -> String) {
        if !ok {
            self.fail(code, message());
        }
    }

    fn header(&mut self) {
        let k = self.kernel;
        self.require(is_identifier(&k.name), "K01", || format!("`{}` is not an identifier", k.name));
        self.require((1..=1024).contains(&k.threads), "K07", || format!("{} threads", k.threads));
        for (i, s) in k.symbols.iter().enumerate() {
            self.require(!k.symbols[..i].contains(s), "K08", || format!("symbol `{s}` is listed twice"));
        }
        self.symbols(&k.tasks);
        for ty in &k.types {
            let ok = ty.elem.is_plain() && !ty.elem.is_complex() && ty.rows > 0 && ty.lanes > 0;
            self.require(ok, "K03", || format!("no value can have type {ty}"));
        }
    }

    /// Every symbol in a dimension is the kernel's.
    fn symbols(&mut self, d: &Dim) {
        let mut unknown: Option<Symbol> = None;
        d.for_each_symbol(&mut |s| {
            if !self.kernel.symbols.contains(s) {
                unknown = Some(s.clone());
            }
        });
        if let Some(s) = unknown {
            self.fail("K08", format!("`{s}` in `{d}` is not a symbol of this kernel"));
        }
    }

    fn buffer(&mut self, i: usize, b: &Buffer) {
        let earlier = &self.kernel.buffers[..i];
        self.require(is_identifier(&b.name), "K01", || format!("`{}` is not an identifier", b.name));
        let twice = earlier.iter().any(|e| e.name == b.name);
        self.require(!twice, "K01", || format!("`{}` is declared twice", b.name));
        let late = b.space == Space::Global && earlier.iter().any(|e| e.space != Space::Global);
        self.require(!late, "K02", || "a global buffer after a private or shared one".into());
        let plain = b.dtype.is_plain() && !b.dtype.is_complex();
        self.require(plain, "K03", || format!("elements of type {}", b.dtype));
        for a in &b.layout.axes {
            let ok = a.axis < b.shape.len() && a.div >= 1 && a.modulo >= 0;
            self.require(ok, "K04", || format!("d{} div {} mod {} of {} axes", a.axis, a.div, a.modulo, b.shape.len()));
        }
        let aligned = b.align.is_power_of_two() && b.align as usize >= b.dtype.size();
        self.require(aligned, "K05", || format!("alignment {} of {} elements", b.align, b.dtype));
        if b.space != Space::Global {
            let constant = b.layout.size.as_const().is_some_and(|n| n >= 0);
            self.require(constant, "K06", || format!("the size {} is not a number", b.layout.size));
        }
        if b.space == Space::Shared {
            self.require(self.kernel.threads > 1, "K06", || "shared memory in a kernel of one thread".into());
        }
        for d in b.shape.iter().chain(b.layout.dims()) {
            self.symbols(d);
        }
    }

    /// K17 for one value.
    fn level_type(&mut self, ty: Ty) {
        match self.kernel.level {
            super::Level::Nest => self.require(ty.is_scalar(), "K17", || format!("{ty} in a nest")),
            super::Level::Scheduled => {}
            super::Level::Machine => {
                self.require(ty.rows == 1, "K17", || format!("{ty} has rows"));
                let legal = |l: &MachineLimits| ty.lanes == 1 || (l.lanes)(ty.elem).contains(&ty.lanes);
                let ok = self.limits.is_none_or(legal);
                self.require(ok, "K17", || format!("the target has no registers for {ty}"));
            }
        }
    }
}
