//! Prints the host program: `PREFIX_run`, which checks its arguments and launches the kernels in order, and
//! `PREFIX_workspace_size`.
//!
//! Argument checks, in this order, all before the first kernel, each with its status of the runtime's table
//! ([`kiln_rt::status`]); the LLVM printer makes the same ones:
//! 1. there are arguments and `args` is null: null pointer;
//! 2. a symbol is outside its bounds, or the size of an input, an output or the workspace leaves i64: bad dimension;
//! 3. the pointer of an input or output that is not empty is null: null pointer;
//! 4. weights that the caller passes are null: weights missing; not 64-byte aligned: bad argument;
//! 5. a workspace of a size other than 0 is null: null pointer; it is not 64-byte aligned: misaligned.
//!
//! `PREFIX_workspace_size(const uint64_t *args)` is the size in bytes, a `size_t`. If it depends on the arguments, it is
//! 0 where check 1 or 2 fails.
//!
//! A launch of one task is a direct call with task 0. Any other goes through one local function: through
//! `par->parallel_for` if there is one and there is more than one task, else a loop. After a launch of a kernel that
//! contains a `Check`, a status cell that is not 0 ends the run with its value; all tasks of that launch have run then.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Block as Label, ExtFuncData, ExternalName, FuncRef, Function, GlobalValueData, InstBuilder, MemFlagsData,
    Signature, StackSlotData, StackSlotKind, Type, UserExternalName, UserFuncName, Value, types,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use kiln_ir::loops::{Block, Inst, Kernel};
use kiln_ir::{Atom, DType, Dim, Symbol};
use kiln_rt::Status;

use super::kernel::Printed;
use super::value::{Emit, Facts};
use crate::program::{External, Place, Placed, Program, Step, Weights};

/// Alignment of the workspace and of the weights.
const ALIGN: i64 = 64;

/// Where embedded weights are.
#[derive(Clone, Copy, Debug)]
pub(super) enum WeightsAt {
    /// In a data object of the module, by number.
    Data(u32),
    /// At an address of this process.
    Address(i64),
    /// In the last slot of the arguments.
    Argument,
}

/// Numbers of the module's functions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// The first kernel; the others follow in order.
    pub first_kernel: u32,
    /// The local function that runs tasks.
    pub parallel: u32,
    pub run: u32,
    pub workspace_size: u32,
    /// Whether functions and data of the module are within reach of relative addresses.
    pub near: bool,
}

/// Whether a block contains a `Check`, nested ones included.
pub(super) fn has_check(block: &Block) -> bool {
    block.stmts.iter().any(|s| match &s.inst {
        Inst::Check { .. } => true,
        Inst::For(l) => has_check(&l.body),
        Inst::If(_, a, b) => has_check(a) || has_check(b),
        _ => false,
    })
}

/// Signature of `PREFIX_run`.
pub(super) fn run_signature(facts: Facts) -> Signature {
    signature(facts, 3, Some(types::I32))
}

/// Signature of `PREFIX_workspace_size`.
pub(super) fn size_signature(facts: Facts) -> Signature {
    signature(facts, 1, Some(types::I64))
}

/// Signature of the function that runs tasks: `par`, number, kernel, slots.
pub(super) fn parallel_signature(facts: Facts) -> Signature {
    signature(facts, 4, None)
}

fn signature(facts: Facts, params: usize, result: Option<Type>) -> Signature {
    let mut s = Signature::new(facts.frontend.default_call_conv);
    s.params = vec![AbiParam::new(types::I64); params];
    s.returns = result.map(AbiParam::new).into_iter().collect();
    s
}

/// Prints a function whose body `body` builds from the entry block's parameters; `body` ends its last block.
fn print(
    index: u32,
    signature: Signature,
    facts: Facts,
    scratch: &mut FunctionBuilderContext,
    body: impl FnOnce(&mut Emit<'_>, &[Value]) -> Result<()>,
) -> Result<Printed> {
    let mut function = Function::with_name_signature(UserFuncName::user(0, index), signature);
    let mut e = Emit::new(FunctionBuilder::new(&mut function, scratch), facts);
    let entry = e.b.create_block();
    e.b.append_block_params_for_function_params(entry);
    e.b.switch_to_block(entry);
    let params = e.b.block_params(entry).to_vec();
    body(&mut e, &params)?;
    let Emit { mut b, externals, .. } = e;
    b.seal_all_blocks();
    b.finalize(facts.frontend);
    Ok(Printed { function, externals: externals.into_iter().map(|e| e.0).collect() })
}

/// Prints the local function `(par, n, kernel, slots)` that runs the tasks `0..n`.
pub(super) fn print_parallel(numbers: Numbers, facts: Facts, scratch: &mut FunctionBuilderContext) -> Result<Printed> {
    print(numbers.parallel, parallel_signature(facts), facts, scratch, |e, params| {
        let [par, n, kernel, slots] = params[..] else { bail!("four parameters") };
        let flags = MemFlagsData::trusted();
        let [check, spread, serial, task, done] = std::array::from_fn(|_| e.b.create_block());
        let (zero, one) = (e.int(types::I64, 0), e.int(types::I64, 1));
        let some = e.icmp(IntCC::NotEqual, par, zero);
        let several = e.icmp(IntCC::SignedGreaterThan, n, one);
        let ask = e.ins().band(some, several);
        e.ins().brif(ask, check, &[], serial, &[]);

        e.b.switch_to_block(check);
        let this = e.ins().load(types::I64, flags, par, 0);
        let parallel_for = e.ins().load(types::I64, flags, par, 8);
        let present = e.icmp(IntCC::NotEqual, parallel_for, zero);
        e.ins().brif(present, spread, &[], serial, &[]);

        e.b.switch_to_block(spread);
        let sig = e.b.import_signature(signature(e.facts, 4, None));
        e.ins().call_indirect(sig, parallel_for, &[this, n, kernel, slots]);
        e.ins().jump(done, &[]);

        e.b.switch_to_block(serial);
        let any = e.icmp(IntCC::SignedGreaterThan, n, zero);
        e.ins().brif(any, task, &[zero.into()], done, &[]);

        let i = e.b.append_block_param(task, types::I64);
        e.b.switch_to_block(task);
        let sig = e.b.import_signature(signature(e.facts, 2, None));
        e.ins().call_indirect(sig, kernel, &[slots, i]);
        let next = e.ins().iadd(i, one);
        let again = e.icmp(IntCC::SignedLessThan, next, n);
        e.ins().brif(again, task, &[next.into()], done, &[]);

        e.b.switch_to_block(done);
        e.ins().return_(&[]);
        Ok(())
    })
}

/// Prints `PREFIX_workspace_size`.
pub(super) fn print_workspace_size(
    program: &Program,
    numbers: Numbers,
    facts: Facts,
    scratch: &mut FunctionBuilderContext,
) -> Result<Printed> {
    print(numbers.workspace_size, size_signature(facts), facts, scratch, |e, params| {
        let [args] = params[..] else { bail!("one parameter") };
        let mut h = Host::new(e, program, args);
        if program.workspace.as_const().is_none() {
            let refuse = h.exit_with(types::I64, 0);
            h.refuse_null(args, refuse);
            h.symbols(refuse)?;
        }
        let size = h.dim(&program.workspace).context("the workspace's size")?;
        h.e.ins().return_(&[size]);
        h.finish_exits();
        Ok(())
    })
}

/// Prints `PREFIX_run`.
pub(super) fn print_run(
    program: &Program,
    weights: WeightsAt,
    numbers: Numbers,
    facts: Facts,
    scratch: &mut FunctionBuilderContext,
) -> Result<Printed> {
    print(numbers.run, run_signature(facts), facts, scratch, |e, params| {
        let [args, workspace, par] = params[..] else { bail!("three parameters") };
        let mut h = Host::new(e, program, args);
        h.check_arguments(workspace)?;
        let weights = match weights {
            WeightsAt::Data(number) => {
                let name = h.e.b.func.declare_imported_user_function(UserExternalName::new(1, number));
                let symbol = GlobalValueData::Symbol {
                    name: ExternalName::user(name),
                    offset: 0.into(),
                    colocated: numbers.near,
                    tls: false,
                };
                let symbol = h.e.b.create_global_value(symbol);
                h.e.ins().symbol_value(types::I64, symbol)
            }
            WeightsAt::Address(address) => h.e.int(types::I64, address),
            WeightsAt::Argument => h.pointer(h.weights_slot()),
        };
        let mut l = Launches { h, weights, workspace, par, numbers, kernels: HashMap::new(), slots: None };
        l.print(program)?;
        let ok = l.h.e.int(types::I32, 0);
        l.h.e.ins().return_(&[ok]);
        l.h.finish_exits();
        Ok(())
    })
}

/// Argument access, dimensions and early exits of one host function.
struct Host<'a, 'e, 'f> {
    e: &'e mut Emit<'f>,
    program: &'a Program,
    args: Value,
    symbols: HashMap<Symbol, Value>,
    /// Dimensions computed so far. Blocks other than exits follow one another, so each dominates what follows; what a
    /// branch or a loop computes is forgotten behind it.
    dims: HashMap<Dim, Value>,
    /// While sizes are computed: whether one has left i64.
    overflow: Option<Value>,
    checked: bool,
    /// Blocks that return a constant, printed at the end.
    exits: Vec<(Label, Type, i64)>,
}

impl<'a, 'e, 'f> Host<'a, 'e, 'f> {
    fn new(e: &'e mut Emit<'f>, program: &'a Program, args: Value) -> Self {
        Host {
            e,
            program,
            args,
            symbols: HashMap::new(),
            dims: HashMap::new(),
            overflow: None,
            checked: false,
            exits: Vec::new(),
        }
    }

    /// A block that returns this constant.
    fn exit_with(&mut self, ty: Type, value: i64) -> Label {
        if let Some(e) = self.exits.iter().find(|e| e.1 == ty && e.2 == value) {
            return e.0;
        }
        let label = self.e.b.create_block();
        self.e.b.set_cold_block(label);
        self.exits.push((label, ty, value));
        label
    }

    fn exit_with_status(&mut self, status: Status) -> Label {
        self.exit_with(types::I32, i64::from(status.code()))
    }

    fn finish_exits(&mut self) {
        for (label, ty, value) in std::mem::take(&mut self.exits) {
            self.e.b.switch_to_block(label);
            let v = self.e.int(ty, value);
            self.e.ins().return_(&[v]);
        }
    }

    /// Goes on where `bad` is 0.
    fn refuse(&mut self, bad: Value, exit: Label) {
        let go_on = self.e.b.create_block();
        self.e.ins().brif(bad, exit, &[], go_on, &[]);
        self.e.b.switch_to_block(go_on);
    }

    fn refuse_null(&mut self, pointer: Value, exit: Label) {
        let null = self.is_zero(pointer);
        self.refuse(null, exit);
    }

    /// Refuses a null pointer to `bytes` bytes, unless they are none.
    fn refuse_null_to(&mut self, pointer: Value, bytes: &Dim, exit: Label) -> Result<()> {
        match bytes.as_const() {
            Some(0) => return Ok(()),
            Some(_) => self.refuse_null(pointer, exit),
            None => {
                let size = self.dim(bytes)?;
                let (null, empty) = (self.is_zero(pointer), self.is_zero(size));
                let bad = self.e.ins().band_not(null, empty);
                self.refuse(bad, exit);
            }
        }
        Ok(())
    }

    fn refuse_misaligned(&mut self, pointer: Value, exit: Label) {
        let mask = self.e.int(types::I64, ALIGN - 1);
        let low = self.e.ins().band(pointer, mask);
        self.refuse(low, exit);
    }

    fn is_zero(&mut self, v: Value) -> Value {
        let zero = self.e.int(types::I64, 0);
        self.e.icmp(IntCC::Equal, v, zero)
    }

    /// The value of an argument slot.
    fn pointer(&mut self, slot: usize) -> Value {
        let args = self.args;
        self.e.ins().load(types::I64, MemFlagsData::trusted().with_readonly(), args, (8 * slot) as i32)
    }

    fn input_slot(&self, i: usize) -> usize {
        self.program.symbols.len() + i
    }

    fn output_slot(&self, i: usize) -> usize {
        self.input_slot(self.program.inputs.len()) + i
    }

    fn weights_slot(&self) -> usize {
        self.output_slot(self.program.outputs.len())
    }

    /// Loads the symbols; refuses values outside their bounds and sizes outside i64.
    fn symbols(&mut self, exit: Label) -> Result<()> {
        let program = self.program;
        for (i, (symbol, bounds)) in program.symbols.iter().enumerate() {
            let v = self.pointer(i);
            let min = self.e.int(types::I64, bounds.min);
            let low = self.e.icmp(IntCC::SignedLessThan, v, min);
            self.refuse(low, exit);
            if let Some(max) = bounds.max {
                let max = self.e.int(types::I64, max);
                let high = self.e.icmp(IntCC::SignedGreaterThan, v, max);
                self.refuse(high, exit);
            }
            ensure!(self.symbols.insert(symbol.clone(), v).is_none(), "symbol `{symbol}` stands twice");
        }
        self.checked = true;
        for port in program.inputs.iter().chain(&program.outputs) {
            self.dim(&port.bytes()).with_context(|| format!("size of `{}`", port.name))?;
        }
        self.dim(&program.workspace).context("size of the workspace")?;
        self.checked = false;
        if let Some(overflow) = self.overflow.take() {
            self.refuse(overflow, exit);
        }
        Ok(())
    }

    fn check_arguments(&mut self, workspace: Value) -> Result<()> {
        let program = self.program;
        let null = self.exit_with_status(Status::NullPointer);
        let by_argument = matches!(program.weights, Weights::Argument);
        if self.weights_slot() + usize::from(by_argument) > 0 {
            self.refuse_null(self.args, null);
        }
        let bad_dim = self.exit_with_status(Status::BadDim);
        self.symbols(bad_dim)?;
        for (i, port) in program.inputs.iter().chain(&program.outputs).enumerate() {
            let p = self.pointer(self.input_slot(i));
            self.refuse_null_to(p, &port.bytes(), null).with_context(|| format!("size of `{}`", port.name))?;
        }
        if by_argument {
            let (missing, misaligned) =
                (self.exit_with_status(Status::WeightsMissing), self.exit_with_status(Status::BadArgument));
            let p = self.pointer(self.weights_slot());
            self.refuse_null(p, missing);
            self.refuse_misaligned(p, misaligned);
        }
        if !program.workspace.is(0) {
            self.refuse_null_to(workspace, &program.workspace, null).context("size of the workspace")?;
            let misaligned = self.exit_with_status(Status::WorkspaceMisaligned);
            self.refuse_misaligned(workspace, misaligned);
        }
        Ok(())
    }

    /// The value of a dimension; sizes of buffers have been tested for overflow before anything else is computed.
    fn dim(&mut self, d: &Dim) -> Result<Value> {
        if let Some(&v) = self.dims.get(d) {
            return Ok(v);
        }
        let mut sum: Option<Value> = None;
        for (atoms, c) in d.terms() {
            let mut product: Option<Value> = None;
            for atom in &atoms {
                let v = self.atom(atom)?;
                product = Some(match product {
                    None => v,
                    Some(p) => self.times(p, v),
                });
            }
            let term = match product {
                None => self.e.int(types::I64, c),
                Some(p) if c == 1 => p,
                Some(p) => {
                    let c = self.e.int(types::I64, c);
                    self.times(p, c)
                }
            };
            sum = Some(match sum {
                None => term,
                Some(s) => self.plus(s, term),
            });
        }
        let v = match sum {
            Some(v) => v,
            None => self.e.int(types::I64, 0),
        };
        self.dims.insert(d.clone(), v);
        Ok(v)
    }

    fn times(&mut self, a: Value, b: Value) -> Value {
        if !self.checked {
            return self.e.ins().imul(a, b);
        }
        let (r, overflow) = self.e.ins().smul_overflow(a, b);
        self.note(overflow);
        r
    }

    fn plus(&mut self, a: Value, b: Value) -> Value {
        if !self.checked {
            return self.e.ins().iadd(a, b);
        }
        let (r, overflow) = self.e.ins().sadd_overflow(a, b);
        self.note(overflow);
        r
    }

    fn note(&mut self, overflow: Value) {
        self.overflow = Some(match self.overflow {
            None => overflow,
            Some(o) => self.e.ins().bor(o, overflow),
        });
    }

    fn atom(&mut self, atom: &Atom) -> Result<Value> {
        match atom {
            Atom::Sym(s) => {
                self.symbols.get(s).copied().with_context(|| format!("symbol `{s}` is not one of the program's"))
            }
            Atom::FloorDiv(x, d) => {
                let (a, b) = (self.dim(x)?, self.dim(d)?);
                // Positive by definition; 1 instead of anything else, so that nothing traps.
                let one = self.e.int(types::I64, 1);
                let b = if d.as_const().is_some_and(|n| n > 0) { b } else { self.e.ins().smax(b, one) };
                let q = self.e.ins().sdiv(a, b);
                let p = self.e.ins().imul(q, b);
                let below = self.e.icmp(IntCC::SignedGreaterThan, p, a);
                let below = self.e.ins().uextend(types::I64, below);
                Ok(self.e.ins().isub(q, below))
            }
            Atom::Min(x, y) => {
                let (a, b) = (self.dim(x)?, self.dim(y)?);
                Ok(self.e.ins().smin(a, b))
            }
            Atom::Max(x, y) => {
                let (a, b) = (self.dim(x)?, self.dim(y)?);
                Ok(self.e.ins().smax(a, b))
            }
        }
    }
}

/// The launches of `PREFIX_run`.
struct Launches<'a, 'e, 'f> {
    h: Host<'a, 'e, 'f>,
    weights: Value,
    workspace: Value,
    par: Value,
    numbers: Numbers,
    kernels: HashMap<u32, FuncRef>,
    /// Address of the slot array, which all launches use in turn, and of the status cell.
    slots: Option<(Value, Value)>,
}

impl Launches<'_, '_, '_> {
    fn print(&mut self, program: &Program) -> Result<()> {
        let most = program.kernels.iter().map(|k| k.params().count() + k.symbols.len() + 1).max().unwrap_or(0);
        let bytes = u32::try_from(8 * most).context("slots")?;
        let e = &mut *self.h.e;
        let slots = e.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes.max(8), 3));
        let cell = e.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3));
        let (slots, cell) = (e.ins().stack_addr(types::I64, slots, 0), e.ins().stack_addr(types::I64, cell, 0));
        let zero = e.int(types::I32, 0);
        e.ins().store(MemFlagsData::trusted(), zero, cell, 0);
        self.slots = Some((slots, cell));
        self.steps(program, &program.steps)
    }

    fn steps(&mut self, program: &Program, steps: &[Step]) -> Result<()> {
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Launch { kernel, buffers, symbols, tasks } => {
                    let k = program
                        .kernels
                        .get(*kernel)
                        .with_context(|| format!("step {number}: kernel {kernel} does not exist"))?;
                    self.launch(*kernel as u32, k, buffers, symbols, tasks)
                        .with_context(|| format!("step {number}, kernel `{}`", k.name))?;
                }
                Step::Case { selector, dtype, branches } => self.case(program, selector, *dtype, branches)?,
                Step::Loop { test, goes_on, body } => self.repeat(program, test, goes_on, body)?,
                Step::Extern { function, inputs, outputs, attributes } => {
                    self.external(function, inputs, outputs, attributes).with_context(|| format!("step {number}"))?;
                }
            }
        }
        Ok(())
    }

    /// The integer at a place, as an i32.
    fn read(&mut self, place: &Place, dtype: DType) -> Result<Value> {
        let at = self.place(place)?;
        let flags = MemFlagsData::trusted();
        Ok(match dtype {
            DType::Bool => self.h.e.ins().uload8(types::I32, flags, at, 0),
            _ => self.h.e.ins().load(types::I32, flags, at, 0),
        })
    }

    fn case(&mut self, program: &Program, selector: &Place, dtype: DType, branches: &[Vec<Step>]) -> Result<()> {
        let s = self.read(selector, dtype)?;
        let (last, others) = branches.split_last().context("a case has branches")?;
        let done = self.h.e.b.create_block();
        let known = self.h.dims.clone();
        for (i, steps) in others.iter().enumerate() {
            let (taken, next) = (self.h.e.b.create_block(), self.h.e.b.create_block());
            let i = self.h.e.int(types::I32, i64::try_from(i)?);
            let hit = self.h.e.icmp(IntCC::Equal, s, i);
            self.h.e.ins().brif(hit, taken, &[], next, &[]);
            self.h.e.b.switch_to_block(taken);
            self.steps(program, steps)?;
            self.h.dims = known.clone();
            self.h.e.ins().jump(done, &[]);
            self.h.e.b.switch_to_block(next);
        }
        self.steps(program, last)?;
        self.h.dims = known;
        self.h.e.ins().jump(done, &[]);
        self.h.e.b.switch_to_block(done);
        Ok(())
    }

    fn repeat(&mut self, program: &Program, test: &[Step], goes_on: &Place, body: &[Step]) -> Result<()> {
        let (head, inside, done) = (self.h.e.b.create_block(), self.h.e.b.create_block(), self.h.e.b.create_block());
        self.h.e.ins().jump(head, &[]);
        self.h.e.b.switch_to_block(head);
        let known = self.h.dims.clone();
        self.steps(program, test)?;
        let more = self.read(goes_on, DType::Bool)?;
        self.h.e.ins().brif(more, inside, &[], done, &[]);
        self.h.e.b.switch_to_block(inside);
        self.steps(program, body)?;
        self.h.dims = known;
        self.h.e.ins().jump(head, &[]);
        self.h.e.b.switch_to_block(done);
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
        let flags = MemFlagsData::trusted();
        let mut arguments = vec![];
        for tensors in [inputs, outputs] {
            let dims: usize = tensors.iter().map(|t| t.shape.len()).sum();
            let bytes = u32::try_from(8 * (3 * tensors.len() + dims)).context("a custom op's tensors")?;
            let e = &mut *self.h.e;
            let slot = e.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes.max(8), 3));
            let table = e.ins().stack_addr(types::I64, slot, 0);
            // The tensors come first, then the extents of all of them.
            let mut free = 24 * i32::try_from(tensors.len())?;
            for (at, t) in (0..).step_by(24).zip(tensors) {
                let data = self.place(&t.place)?;
                let dims = self.h.e.ins().iadd_imm_s(table, i64::from(free));
                let tail = self.h.e.int(types::I64, t.rank_and_dtype());
                for (word, v) in [data, dims, tail].into_iter().enumerate() {
                    self.h.e.ins().store(flags, v, table, at + 8 * word as i32);
                }
                for d in &t.shape {
                    let extent = self.h.dim(d)?;
                    self.h.e.ins().store(flags, extent, table, free);
                    free += 8;
                }
            }
            let count = self.h.e.int(types::I64, i64::try_from(tensors.len())?);
            arguments.extend([table, count]);
        }
        arguments.push(self.place(attributes)?);
        let e = &mut *self.h.e;
        let call = match function {
            External::Symbol(name) => {
                let f = e.external(name, &[types::I64; 5], Some(types::I32));
                e.ins().call(f, &arguments)
            }
            External::Address(a) => {
                let sig = e.b.import_signature(signature(e.facts, 5, Some(types::I32)));
                let f = e.int(types::I64, a.cast_signed());
                e.ins().call_indirect(sig, f, &arguments)
            }
        };
        let status = e.b.inst_results(call)[0];
        let failed = self.h.exit_with_status(Status::CustomOp);
        self.h.refuse(status, failed);
        Ok(())
    }

    fn launch(&mut self, index: u32, kernel: &Kernel, buffers: &[Place], symbols: &[Dim], tasks: &Dim) -> Result<()> {
        let (params, flags) = (kernel.params().count(), MemFlagsData::trusted());
        ensure!(params == buffers.len(), "{} places for {params} buffers", buffers.len());
        ensure!(kernel.symbols.len() == symbols.len(), "{} values for {} symbols", symbols.len(), kernel.symbols.len());
        if tasks.as_const().is_some_and(|n| n <= 0) {
            return Ok(());
        }
        let (slots, cell) = self.slots.context("no slots")?;
        let mut at = 0;
        let mut put = |e: &mut Emit<'_>, v: Value| {
            e.ins().store(flags, v, slots, at);
            at += 8;
        };
        for place in buffers {
            let p = self.place(place)?;
            put(self.h.e, p);
        }
        for d in symbols {
            let v = self.h.dim(d)?;
            put(self.h.e, v);
        }
        put(self.h.e, cell);

        let body = self.function(self.numbers.first_kernel + index, |facts| signature(facts, 2, None));
        if tasks.is(1) {
            let task = self.h.e.int(types::I64, 0);
            self.h.e.ins().call(body, &[slots, task]);
        } else {
            let n = self.h.dim(tasks)?;
            let parallel = self.function(self.numbers.parallel, parallel_signature);
            let (e, par) = (&mut *self.h.e, self.par);
            let address = e.ins().func_addr(types::I64, body);
            e.ins().call(parallel, &[par, n, address, slots]);
        }
        if has_check(&kernel.body) {
            let e = &mut *self.h.e;
            let code = e.ins().load(types::I32, flags, cell, 0);
            let (failed, go_on) = (e.b.create_block(), e.b.create_block());
            e.b.set_cold_block(failed);
            e.ins().brif(code, failed, &[], go_on, &[]);
            e.b.switch_to_block(failed);
            e.ins().return_(&[code]);
            e.b.switch_to_block(go_on);
        }
        Ok(())
    }

    fn place(&mut self, place: &Place) -> Result<Value> {
        let program = self.h.program;
        let (base, offset) = match place {
            Place::Input(i) => {
                ensure!(*i < program.inputs.len(), "input {i} does not exist");
                return Ok(self.h.pointer(self.h.input_slot(*i)));
            }
            Place::Output(i) => {
                ensure!(*i < program.outputs.len(), "output {i} does not exist");
                return Ok(self.h.pointer(self.h.output_slot(*i)));
            }
            Place::Workspace(d) if d.is(0) => return Ok(self.workspace),
            Place::Workspace(d) => (self.workspace, self.h.dim(d)?),
            Place::Weights(0) => return Ok(self.weights),
            Place::Weights(bytes) => {
                let offset = i64::try_from(*bytes).context("offset into the weights")?;
                (self.weights, self.h.e.int(types::I64, offset))
            }
        };
        Ok(self.h.e.ins().iadd(base, offset))
    }

    /// A reference to a function of the module.
    fn function(&mut self, number: u32, signature: impl Fn(Facts) -> Signature) -> FuncRef {
        if let Some(&f) = self.kernels.get(&number) {
            return f;
        }
        let e = &mut *self.h.e;
        let name = e.b.func.declare_imported_user_function(UserExternalName::new(0, number));
        let signature = e.b.import_signature(signature(e.facts));
        let data =
            ExtFuncData { name: ExternalName::user(name), signature, colocated: self.numbers.near, patchable: false };
        let f = e.b.import_function(data);
        self.kernels.insert(number, f);
        f
    }
}
