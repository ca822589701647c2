//! The host program as native code: `PREFIX_run` checks its arguments and launches the kernels in order;
//! `PREFIX_workspace_size` evaluates the workspace's size. [`crate::program`] describes the machine ABI.
//!
//! Every check comes before the first kernel, and none of them writes: a run that is refused has had no effect.
//! Sizes are computed with overflow tests, so that symbols near the edge of i64 are refused and not wrapped.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use kiln_ir::loops::Space;
use kiln_ir::{Atom, DType, Dim, Symbol};

use super::Env;
use super::kernel::{I64, has_check};
use super::text::{Body, Elem, LTy, MD_LIKELY, ModuleText, Op, int};
use crate::program::{External, Place, Placed, Program, Step, Weights};
use kiln_rt::Status;

const BOOL: LTy = LTy { elem: Elem::I(1), lanes: 1 };

/// Where embedded weights are: a symbol of the module, or an address in this process.
#[derive(Clone, Debug)]
pub(super) enum WeightsBase {
    /// An LLVM constant expression of type i64.
    Constant(String),
    /// The last slot of the arguments.
    Argument,
}

/// Prints both functions.
pub(super) fn print_host(
    module: &mut ModuleText,
    program: &Program,
    env: &Env<'_>,
    weights: &WeightsBase,
) -> Result<()> {
    let attributes = env.attributes();
    let prefix = &program.prefix;
    let run = Printer::new(program, weights).run().context("host program")?;
    for name in program.externals() {
        module.out += &format!("declare i32 @{name}(ptr, i64, ptr, i64, ptr)\n");
    }
    let size = Printer::new(program, weights).workspace_size().context("workspace size")?;
    let mut launches = false;
    Step::for_each_leaf(&program.steps, &mut |s| launches |= matches!(s, Step::Launch { tasks, .. } if !tasks.is(1)));
    if launches {
        module.out += &launch_helper(&attributes, &env.section("kiln.launch"));
    }
    for (name, result, params, body) in [
        ("run", "i32", "ptr readonly %args, ptr %workspace, ptr readonly %par", run),
        ("workspace_size", "i64", "ptr readonly %args", size),
    ] {
        let section = env.section(&format!("{prefix}_{name}"));
        module.out += &format!(
            "define {result} @{prefix}_{name}({params}) {attributes}{section} {{\nentry:\n{}{}}}\n\n",
            body.allocas, body.out
        );
    }
    Ok(())
}

/// One function for all launches of many tasks: in order here, or through the caller's `parallel_for`.
fn launch_helper(attributes: &str, section: &str) -> String {
    format!(
        "define internal void @kiln.launch(ptr %kernel, ptr %slots, i64 %n, ptr readonly %par) noinline {attributes}{section} {{
entry:
  %alone = icmp eq ptr %par, null
  %few = icmp slt i64 %n, 2
  %here = or i1 %alone, %few
  br i1 %here, label %serial, label %parallel
parallel:
  %self = load ptr, ptr %par, align 8
  %slot = getelementptr inbounds i64, ptr %par, i64 1
  %for = load ptr, ptr %slot, align 8
  %none = icmp eq ptr %for, null
  br i1 %none, label %serial, label %call
call:
  call void %for(ptr %self, i64 %n, ptr %kernel, ptr %slots)
  ret void
serial:
  %any = icmp sgt i64 %n, 0
  br i1 %any, label %loop, label %done
loop:
  %i = phi i64 [ 0, %serial ], [ %next, %loop ]
  call void %kernel(ptr %slots, i64 %i)
  %next = add nsw i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}

"
    )
}

/// Addresses as i64.
#[derive(Default)]
struct Bases {
    inputs: Vec<Op>,
    outputs: Vec<Op>,
    workspace: Option<Op>,
    weights: Option<Op>,
}

struct Printer<'a> {
    program: &'a Program,
    weights: &'a WeightsBase,
    body: Body,
    /// Values of symbolic integers computed so far. Blocks other than exits follow one another, so each dominates the
    /// rest; what a branch or a loop computes is forgotten behind it.
    dims: HashMap<Dim, Op>,
    /// Addresses of inputs, outputs, workspace and weights, once they are checked.
    bases: Bases,
    /// For each kernel, whether it may fail.
    checks: Vec<bool>,
    symbols: HashMap<Symbol, Op>,
    /// While sizes are computed: whether one has left i64.
    overflow: Option<Op>,
    checked: bool,
}

impl<'a> Printer<'a> {
    fn new(program: &'a Program, weights: &'a WeightsBase) -> Printer<'a> {
        Printer {
            program,
            weights,
            body: Body::new(""),
            dims: HashMap::new(),
            bases: Bases::default(),
            checks: program.kernels.iter().map(|k| has_check(&k.body)).collect(),
            symbols: HashMap::new(),
            overflow: None,
            checked: false,
        }
    }

    /// Leaves with a result unless `ok` holds.
    fn require(&mut self, ok: &Op, otherwise: &str) {
        let n = self.body.number();
        self.body.line(format_args!("br {ok}, label %ok{n}, label %fail{n}, !prof !{MD_LIKELY}"));
        self.body.label(&format!("fail{n}"));
        self.body.line(format_args!("ret {otherwise}"));
        self.body.label(&format!("ok{n}"));
    }

    fn require_status(&mut self, ok: &Op, status: Status) {
        self.require(ok, &format!("i32 {}", status.code()));
    }

    /// A slot of the arguments, as the 64 bits that it holds.
    fn argument(&mut self, slot: usize) -> Op {
        let p = self.body.name();
        self.body.line(format_args!("{p} = getelementptr inbounds i64, ptr %args, i64 {slot}"));
        self.body.inst(I64, format_args!("load i64, ptr {p}, align 8"))
    }

    fn not_null(&mut self, pointer: &str) -> Op {
        self.body.inst(BOOL, format_args!("icmp ne ptr {pointer}, null"))
    }

    /// Reads the symbols and tests their bounds and every size that depends on them; `otherwise` returns the refusal.
    fn symbols(&mut self, otherwise: &str) -> Result<()> {
        for (i, (symbol, bounds)) in self.program.symbols.iter().enumerate() {
            let value = self.argument(i);
            let ok = self.body.icmp("sge", &value, &int(I64, bounds.min));
            self.require(&ok, otherwise);
            if let Some(max) = bounds.max {
                let ok = self.body.icmp("sle", &value, &int(I64, max));
                self.require(&ok, otherwise);
            }
            self.symbols.insert(symbol.clone(), value);
        }
        self.checked = true;
        for port in self.program.inputs.iter().chain(&self.program.outputs) {
            self.dim(&port.bytes()).with_context(|| format!("size of `{}`", port.name))?;
        }
        self.dim(&self.program.workspace).context("size of the workspace")?;
        self.checked = false;
        if let Some(overflow) = self.overflow.take() {
            let ok = self.body.bin("xor", &overflow, &int(BOOL, 1));
            self.require(&ok, otherwise);
        }
        Ok(())
    }

    fn workspace_size(mut self) -> Result<Body> {
        if let Some(n) = self.program.workspace.as_const() {
            self.body.line(format_args!("ret i64 {n}"));
            return Ok(self.body);
        }
        let ok = self.not_null("%args");
        self.require(&ok, "i64 0");
        self.symbols("i64 0")?;
        let size = self.dim(&self.program.workspace)?;
        self.body.line(format_args!("ret {size}"));
        Ok(self.body)
    }

    fn run(mut self) -> Result<Body> {
        let p = self.program;
        let slots =
            p.symbols.len() + p.inputs.len() + p.outputs.len() + usize::from(matches!(p.weights, Weights::Argument));
        if slots > 0 {
            let ok = self.not_null("%args");
            self.require_status(&ok, Status::NullPointer);
        }
        self.symbols(&format!("i32 {}", Status::BadDim.code()))?;

        let mut ports = Vec::new();
        for (i, port) in p.inputs.iter().chain(&p.outputs).enumerate() {
            let pointer = self.argument(p.symbols.len() + i);
            let bytes = self.dim(&port.bytes())?;
            let given = self.body.icmp("ne", &pointer, &int(I64, 0));
            let empty = self.body.icmp("eq", &bytes, &int(I64, 0));
            let ok = self.body.bin("or", &given, &empty);
            if !port.bytes().is(0) {
                self.require_status(&ok, Status::NullPointer);
            }
            ports.push(pointer);
        }
        let outputs = ports.split_off(p.inputs.len());

        let weights = match self.weights {
            WeightsBase::Constant(c) => Op { ty: I64, text: c.clone() },
            WeightsBase::Argument => {
                let pointer = self.argument(slots - 1);
                let ok = self.body.icmp("ne", &pointer, &int(I64, 0));
                self.require_status(&ok, Status::WeightsMissing);
                self.require_aligned(&pointer, Status::BadArgument);
                pointer
            }
        };

        let workspace = Op { ty: I64, text: "%ws".into() };
        self.body.line(format_args!("%ws = ptrtoint ptr %workspace to i64"));
        if !p.workspace.is(0) {
            let size = self.dim(&p.workspace)?;
            let given = self.body.icmp("ne", &workspace, &int(I64, 0));
            let unused = self.body.icmp("eq", &size, &int(I64, 0));
            let ok = self.body.bin("or", &given, &unused);
            self.require_status(&ok, Status::NullPointer);
            self.require_aligned(&workspace, Status::WorkspaceMisaligned);
        }

        self.bases = Bases { inputs: ports, outputs, workspace: Some(workspace), weights: Some(weights) };
        self.scratch();
        self.steps(&p.steps)?;
        self.body.line(format_args!("ret i32 0"));
        Ok(self.body)
    }

    fn require_aligned(&mut self, pointer: &Op, status: Status) {
        let low = self.body.bin("and", pointer, &int(I64, 63));
        let ok = self.body.icmp("eq", &low, &int(I64, 0));
        self.require_status(&ok, status);
    }

    /// Stack memory of the launches: `parallel_for` returns when all tasks are done, so that all share one slot array.
    fn scratch(&mut self) {
        let mut most = 0;
        Step::for_each_leaf(&self.program.steps, &mut |s| {
            if let Step::Launch { buffers, symbols, .. } = s {
                most = most.max(buffers.len() + symbols.len() + 1);
            }
        });
        self.body.allocas += &format!("  %slots = alloca [{most} x i64], align 16\n");
        if self.checks.contains(&true) {
            self.body.allocas += "  %status = alloca i32, align 4\n";
            self.body.line(format_args!("store i32 0, ptr %status, align 4"));
        }
    }

    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        for (i, step) in steps.iter().enumerate() {
            match step {
                Step::Launch { kernel, buffers, symbols, tasks } => {
                    self.launch(*kernel, buffers, symbols, tasks).with_context(|| format!("step {i}"))?;
                }
                Step::Case { selector, dtype, branches } => self.case(selector, *dtype, branches)?,
                Step::Loop { test, goes_on, body } => self.repeat(test, goes_on, body)?,
                Step::Extern { function, inputs, outputs, attributes } => {
                    self.external(function, inputs, outputs, attributes).with_context(|| format!("step {i}"))?;
                }
            }
        }
        Ok(())
    }

    /// Steps in a block of their own, which ends in a jump to `next`.
    fn block(&mut self, label: &str, steps: &[Step], next: &str) -> Result<()> {
        self.body.label(label);
        let known = self.dims.clone();
        self.steps(steps)?;
        self.dims = known;
        self.body.line(format_args!("br label %{next}"));
        Ok(())
    }

    /// What lies at a place.
    fn read(&mut self, place: &Place, ty: LTy) -> Result<Op> {
        let at = self.place(place)?;
        let p = self.body.name();
        self.body.line(format_args!("{p} = inttoptr {at} to ptr"));
        let bits = ty.elem;
        let Elem::I(bits) = bits else { anyhow::bail!("selectors are integers") };
        Ok(self.body.inst(ty, format_args!("load i{bits}, ptr {p}, align {}", bits / 8)))
    }

    fn case(&mut self, selector: &Place, dtype: DType, branches: &[Vec<Step>]) -> Result<()> {
        let bits = if dtype == DType::Bool { 8 } else { 32 };
        let ty = LTy { elem: Elem::I(bits), lanes: 1 };
        let s = self.read(selector, ty)?;
        let n = self.body.number();
        let last = branches.len().checked_sub(1).context("a case has branches")?;
        let arms: String = (0..last).map(|i| format!(" i{bits} {i}, label %case{n}.{i}")).collect();
        self.body.line(format_args!("switch {s}, label %case{n}.{last} [{arms} ]"));
        for (i, steps) in branches.iter().enumerate() {
            self.block(&format!("case{n}.{i}"), steps, &format!("esac{n}"))?;
        }
        self.body.label(&format!("esac{n}"));
        Ok(())
    }

    fn repeat(&mut self, test: &[Step], goes_on: &Place, body: &[Step]) -> Result<()> {
        let n = self.body.number();
        self.body.line(format_args!("br label %test{n}"));
        self.body.label(&format!("test{n}"));
        let known = self.dims.clone();
        self.steps(test)?;
        let byte = LTy { elem: Elem::I(8), lanes: 1 };
        let more = self.read(goes_on, byte)?;
        let more = self.body.icmp("ne", &more, &int(byte, 0));
        self.body.line(format_args!("br {more}, label %body{n}, label %done{n}"));
        self.block(&format!("body{n}"), body, &format!("test{n}"))?;
        self.dims = known;
        self.body.label(&format!("done{n}"));
        Ok(())
    }

    /// The address of a place.
    fn place(&mut self, place: &Place) -> Result<Op> {
        let workspace = || self.bases.workspace.clone().context("the workspace has no address yet");
        Ok(match place {
            Place::Input(n) => self.bases.inputs.get(*n).cloned().with_context(|| format!("there is no input {n}"))?,
            Place::Output(n) => {
                self.bases.outputs.get(*n).cloned().with_context(|| format!("there is no output {n}"))?
            }
            Place::Workspace(offset) => {
                let base = workspace()?;
                let offset = self.dim(offset)?;
                self.plus(&base, &offset)
            }
            Place::Weights(offset) => {
                let base = self.bases.weights.clone().context("the weights have no address yet")?;
                let offset = i64::try_from(*offset).with_context(|| format!("offset {offset} into the weights"))?;
                self.plus(&base, &int(I64, offset))
            }
        })
    }

    fn launch(&mut self, kernel: usize, buffers: &[Place], symbols: &[Dim], tasks: &Dim) -> Result<()> {
        let p = self.program;
        let k = p.kernels.get(kernel).with_context(|| format!("it launches kernel {kernel} of {}", p.kernels.len()))?;
        let globals = k.buffers.iter().filter(|b| b.space == Space::Global).count();
        ensure!(
            buffers.len() == globals && symbols.len() == k.symbols.len(),
            "kernel `{}` is given {} buffers and {} symbols; it has {globals} and {}",
            k.name,
            buffers.len(),
            symbols.len(),
            k.symbols.len()
        );
        let mut values = Vec::with_capacity(buffers.len() + symbols.len());
        for place in buffers {
            values.push(self.place(place)?);
        }
        for s in symbols {
            values.push(self.dim(s)?);
        }
        for (slot, v) in values.iter().enumerate() {
            let at = self.slot(slot);
            self.body.line(format_args!("store {v}, ptr {at}, align 8"));
        }
        let may_fail = self.checks[kernel];
        if may_fail {
            let at = self.slot(values.len());
            self.body.line(format_args!("store ptr %status, ptr {at}, align 8"));
        }
        match tasks.as_const() {
            Some(n) if n <= 0 => return Ok(()),
            Some(1) => self.body.line(format_args!("call void @{}(ptr %slots, i64 0)", k.name)),
            _ => {
                let n = self.dim(tasks)?;
                self.body.line(format_args!("call void @kiln.launch(ptr @{}, ptr %slots, {n}, ptr %par)", k.name));
            }
        }
        if may_fail {
            let i32s = LTy { elem: Elem::I(32), lanes: 1 };
            let status = self.body.inst(i32s, format_args!("load atomic i32, ptr %status monotonic, align 4"));
            let ok = self.body.icmp("eq", &status, &int(i32s, 0));
            self.require(&ok, &status.to_string());
        }
        Ok(())
    }

    /// The call of a custom op's function; its tensors are described on the stack.
    fn external(
        &mut self,
        function: &External,
        inputs: &[Placed],
        outputs: &[Placed],
        attributes: &Place,
    ) -> Result<()> {
        let n = self.body.number();
        for (what, tensors) in [("in", inputs), ("out", outputs)] {
            let dims: usize = tensors.iter().map(|t| t.shape.len()).sum();
            let (words, dims) = (3 * tensors.len().max(1), dims.max(1));
            self.body.allocas += &format!(
                "  %{what}{n} = alloca [{words} x i64], align 8\n  %{what}{n}.dims = alloca [{dims} x i64], align 8\n"
            );
            let mut at = 0;
            for (i, t) in tensors.iter().enumerate() {
                let data = self.place(&t.place)?;
                let dims = self.body.name();
                self.body.line(format_args!("{dims} = getelementptr inbounds i64, ptr %{what}{n}.dims, i64 {at}"));
                let first = self.body.inst(I64, format_args!("ptrtoint ptr {dims} to i64"));
                for d in &t.shape {
                    let extent = self.dim(d)?;
                    self.store(&extent, &format!("%{what}{n}.dims"), at);
                    at += 1;
                }
                for (k, word) in [data, first, int(I64, t.rank_and_dtype())].iter().enumerate() {
                    self.store(word, &format!("%{what}{n}"), 3 * i + k);
                }
            }
        }
        let attributes = self.place(attributes)?;
        let text = self.body.name();
        self.body.line(format_args!("{text} = inttoptr {attributes} to ptr"));
        let callee = match function {
            External::Symbol(name) => format!("@{name}"),
            External::Address(a) => format!("inttoptr (i64 {a} to ptr)"),
        };
        let i32s = LTy { elem: Elem::I(32), lanes: 1 };
        let status = self.body.inst(
            i32s,
            format_args!(
                "call i32 {callee}(ptr %in{n}, i64 {}, ptr %out{n}, i64 {}, ptr {text})",
                inputs.len(),
                outputs.len()
            ),
        );
        let ok = self.body.icmp("eq", &status, &int(i32s, 0));
        self.require_status(&ok, Status::CustomOp);
        Ok(())
    }

    /// Stores a word into an array of words.
    fn store(&mut self, word: &Op, array: &str, at: usize) {
        let name = self.body.name();
        self.body.line(format_args!("{name} = getelementptr inbounds i64, ptr {array}, i64 {at}"));
        self.body.line(format_args!("store {word}, ptr {name}, align 8"));
    }

    fn slot(&mut self, i: usize) -> String {
        let name = self.body.name();
        self.body.line(format_args!("{name} = getelementptr inbounds i64, ptr %slots, i64 {i}"));
        name
    }

    fn plus(&mut self, base: &Op, offset: &Op) -> Op {
        if offset.text == "0" { base.clone() } else { self.body.bin("add", base, offset) }
    }

    // ---- symbolic integers ----

    fn dim(&mut self, d: &Dim) -> Result<Op> {
        if let Some(n) = d.as_const() {
            return Ok(int(I64, n));
        }
        if let Some(known) = self.dims.get(d) {
            return Ok(known.clone());
        }
        let mut sum: Option<Op> = None;
        for (atoms, coefficient) in d.terms() {
            let mut product: Option<Op> = None;
            for a in &atoms {
                let v = self.atom(a)?;
                product = Some(match product {
                    None => v,
                    Some(p) => self.arithmetic("mul", &p, &v),
                });
            }
            let coefficient = int(I64, coefficient);
            let term = match product {
                None => coefficient,
                Some(p) if coefficient.text == "1" => p,
                Some(p) => self.arithmetic("mul", &p, &coefficient),
            };
            sum = Some(match sum {
                None => term,
                Some(s) => self.arithmetic("add", &s, &term),
            });
        }
        let result = sum.unwrap_or_else(|| int(I64, 0));
        self.dims.insert(d.clone(), result.clone());
        Ok(result)
    }

    fn arithmetic(&mut self, op: &str, a: &Op, b: &Op) -> Op {
        if !self.checked {
            return self.body.bin(op, a, b);
        }
        let pair = self.body.name();
        self.body.line(format_args!("{pair} = call {{i64, i1}} @llvm.s{op}.with.overflow.i64({a}, {b})"));
        let flag = self.body.inst(BOOL, format_args!("extractvalue {{i64, i1}} {pair}, 1"));
        self.overflow = Some(match self.overflow.take() {
            None => flag,
            Some(o) => self.body.bin("or", &o, &flag),
        });
        self.body.inst(I64, format_args!("extractvalue {{i64, i1}} {pair}, 0"))
    }

    fn atom(&mut self, a: &Atom) -> Result<Op> {
        Ok(match a {
            Atom::Sym(s) => {
                self.symbols.get(s).cloned().with_context(|| format!("`{s}` is not a symbol of the program"))?
            }
            Atom::FloorDiv(x, d) => {
                let (x, d) = (self.dim(x)?, self.dim(d)?);
                // The divisor is positive by the contract of Dim; a zero that comes from an empty dimension must not trap.
                let d = self.body.intrinsic("smax", &[&d, &int(I64, 1)]);
                let q = self.body.bin("sdiv", &x, &d);
                let r = self.body.bin("srem", &x, &d);
                let below = self.body.icmp("slt", &r, &int(I64, 0));
                let below = self.body.convert("sext", &below, I64);
                self.body.bin("add", &q, &below)
            }
            Atom::Min(x, y) | Atom::Max(x, y) => {
                let (x, y) = (self.dim(x)?, self.dim(y)?);
                self.body.intrinsic(if matches!(a, Atom::Min(..)) { "smin" } else { "smax" }, &[&x, &y])
            }
        })
    }
}
