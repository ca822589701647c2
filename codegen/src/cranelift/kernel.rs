//! Prints a machine-level kernel as a Cranelift function `void kernel(const uint64_t *slots, size_t task)`.
//!
//! Loops are blocks with parameters, tested at the bottom; `unroll` copies of the body stand between two tests. The
//! preheader is a block of its own, reached only if the loop runs, so that what Cranelift hoists is executed only then.
//! A failed `Check` raises the status cell to its status (atomic maximum: which task fails first does not show) and
//! leaves the kernel. `Prefetch` is a hint that Cranelift cannot express: nothing is printed.

use anyhow::{Context as _, Result, bail, ensure};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, AtomicRmwOp, Block as Label, BlockArg, Function, InstBuilder, MemFlagsData, Signature, Type,
    UserFuncName, Value, types,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use kiln_ir::DType;
use kiln_ir::loops::{Block, BufId, For, Inst, Kernel, Level, Space, Stmt, Ty, V};
use kiln_ir::scalar::BinaryOp;

use super::TileSymbol;
use super::arith::Known;
use super::host::has_check;
use super::memory::{Frame, Linear, Memory};
use super::value::{Emit, External, Facts, Val, carried_types, check_type, scalar_type};

/// A printed function, before compilation.
pub(super) struct Printed {
    pub function: Function,
    /// Functions outside the module, in the order of their name indices.
    pub externals: Vec<External>,
}

/// Prints one kernel. `index` is its number among the module's functions.
pub(super) fn print(
    kernel: &Kernel,
    index: u32,
    facts: Facts,
    tiles: &[TileSymbol],
    scratch: &mut FunctionBuilderContext,
) -> Result<Printed> {
    print_kernel(kernel, index, facts, tiles, scratch).with_context(|| format!("kernel `{}`", kernel.name))
}

/// Signature of kernels: slots, task.
pub(super) fn signature(facts: Facts) -> Signature {
    let mut s = Signature::new(facts.frontend.default_call_conv);
    s.params = vec![AbiParam::new(types::I64); 2];
    s
}

fn print_kernel(
    kernel: &Kernel,
    index: u32,
    facts: Facts,
    tiles: &[TileSymbol],
    scratch: &mut FunctionBuilderContext,
) -> Result<Printed> {
    ensure!(kernel.level == Level::Machine, "is not at the machine level");
    ensure!(kernel.threads == 1, "is for a GPU: {} threads in a task", kernel.threads);
    let mut function = Function::with_name_signature(UserFuncName::user(0, index), signature(facts));
    let b = FunctionBuilder::new(&mut function, scratch);
    let mut p = Printer::enter(Emit::new(b, facts), kernel, tiles)?;
    p.block(&kernel.body)?;
    let exit = p.exit;
    p.e.ins().jump(exit, &[]);
    p.e.b.switch_to_block(exit);
    p.e.ins().return_(&[]);
    let Printer { e: Emit { mut b, externals, .. }, .. } = p;
    b.seal_all_blocks();
    b.finalize(facts.frontend);
    Ok(Printed { function, externals: externals.into_iter().map(|e| e.0).collect() })
}

/// What is known of a value of the kernel.
#[derive(Clone, Debug)]
struct Def {
    val: Val,
    /// An i64 scalar as a sum.
    linear: Option<Linear>,
    known: Option<Known>,
}

pub(super) struct Printer<'a, 'f> {
    pub e: Emit<'f>,
    kernel: &'a Kernel,
    pub tiles: &'a [TileSymbol],
    defs: Vec<Option<Def>>,
    buffers: Vec<Memory>,
    symbols: Vec<Value>,
    task: Value,
    status: Option<Value>,
    exit: Label,
}

impl<'a, 'f> Printer<'a, 'f> {
    /// The entry block: slots loaded, private buffers allocated.
    fn enter(mut e: Emit<'f>, kernel: &'a Kernel, tiles: &'a [TileSymbol]) -> Result<Self> {
        let entry = e.b.create_block();
        e.b.append_block_params_for_function_params(entry);
        e.b.switch_to_block(entry);
        let params = e.b.block_params(entry).to_vec();
        let [slots, task] = params[..] else { bail!("a kernel has two parameters") };
        let mut next = 0;
        let mut slot = |e: &mut Emit<'f>| {
            next += 8;
            e.ins().load(types::I64, MemFlagsData::trusted().with_readonly(), slots, next - 8)
        };
        let mut buffers = Vec::with_capacity(kernel.buffers.len());
        let mut frame = Frame::default();
        let mut seen_private = false;
        for buffer in &kernel.buffers {
            scalar_type(buffer.dtype).with_context(|| format!("buffer `{}`", buffer.name))?;
            buffers.push(match buffer.space {
                Space::Global => {
                    ensure!(!seen_private, "global buffer `{}` stands after a private one", buffer.name);
                    let base = slot(&mut e);
                    e.global(buffer, base)
                }
                Space::Private => {
                    seen_private = true;
                    e.private(buffer, &mut frame)?
                }
                Space::Shared => bail!("buffer `{}` is in a GPU's shared memory", buffer.name),
            });
        }
        let symbols = kernel.symbols.iter().map(|_| slot(&mut e)).collect();
        // Kernels without a check need no cell.
        let status = has_check(&kernel.body).then(|| slot(&mut e));
        let exit = e.b.create_block();
        Ok(Printer { e, kernel, tiles, defs: vec![None; kernel.types.len()], buffers, symbols, task, status, exit })
    }

    // ---- values ----

    fn def(&self, v: V) -> Result<&Def> {
        self.defs
            .get(v.0 as usize)
            .and_then(Option::as_ref)
            .with_context(|| format!("{v:?} is used before its definition"))
    }

    fn val(&self, v: V) -> Result<Val> {
        Ok(self.def(v)?.val.clone())
    }

    /// A scalar of a type.
    pub fn scalar(&self, v: V, elem: DType) -> Result<Value> {
        let d = &self.def(v)?.val;
        ensure!(d.elem == elem && d.lanes == 1, "{v:?} is {}x{}, not a scalar of {elem}", d.elem, d.lanes);
        Ok(d.regs[0])
    }

    fn known(&self, v: V) -> Option<Known> {
        self.def(v).ok()?.known
    }

    /// An element offset: the sum if one is known, the scalar otherwise.
    fn offset(&self, v: V) -> Result<Linear> {
        let root = self.scalar(v, DType::I64)?;
        Ok(self.def(v)?.linear.unwrap_or(Linear { root: Some(root), add: 0 }))
    }

    pub fn memory(&self, b: BufId) -> Result<Memory> {
        self.buffers.get(b.0 as usize).copied().with_context(|| format!("buffer {} does not exist", b.0))
    }

    fn ty(&self, v: V) -> Result<Ty> {
        let ty = self.kernel.types.get(v.0 as usize).copied().with_context(|| format!("{v:?} has no type"))?;
        check_type(ty)?;
        Ok(ty)
    }

    fn set(&mut self, v: V, def: Def) -> Result<()> {
        let ty = self.ty(v)?;
        let lanes = ty.lanes as usize;
        ensure!(
            def.val.elem == ty.elem && def.val.lanes == lanes,
            "{v:?} is declared {ty} but computed as {}x{}",
            def.val.elem,
            def.val.lanes
        );
        self.defs[v.0 as usize] = Some(def);
        Ok(())
    }

    // ---- statements ----

    fn block(&mut self, block: &Block) -> Result<()> {
        block.stmts.iter().try_for_each(|s| self.stmt(s).with_context(|| at_statement(s)))
    }

    fn stmt(&mut self, s: &Stmt) -> Result<()> {
        match &s.inst {
            Inst::Dim(_) | Inst::IotaRows | Inst::ReduceInto { .. } => {
                bail!("belongs to a level above the machine level")
            }
            Inst::Thread(_) | Inst::WarpXor(..) | Inst::Mma(..) => bail!("needs a GPU"),
            Inst::AsyncCopy { .. } | Inst::AsyncCommit | Inst::AsyncWait(_) | Inst::Barrier => bail!("needs a GPU"),
            Inst::For(l) => return self.for_loop(l, &s.results),
            Inst::If(c, then, other) => return self.conditional(*c, then, other, &s.results),
            Inst::Store { buf, index, value } => {
                let (memory, at, value) = (self.memory(*buf)?, self.offset(single(index)?)?, self.val(*value)?);
                self.e.store(&memory, at, &value)?;
            }
            Inst::Scatter { buf, offsets, value } => {
                let (memory, offsets, value) = (self.memory(*buf)?, self.val(*offsets)?, self.val(*value)?);
                self.e.scatter(&memory, &offsets, &value)?;
            }
            Inst::Prefetch { buf, offset } => {
                // A hint without a Cranelift instruction; its operands are still checked.
                self.memory(*buf)?;
                self.offset(*offset)?;
            }
            Inst::CallTile(c) => self.call_tile(c)?,
            Inst::Check { ok, status } => self.check(*ok, *status)?,
            _ => {
                let [v] = s.results[..] else { bail!("has {} results, not one", s.results.len()) };
                let def = self.value(&s.inst, self.ty(v)?)?;
                return self.set(v, def);
            }
        }
        ensure!(s.results.is_empty(), "has results");
        Ok(())
    }

    /// An instruction with one result of type `ty`.
    fn value(&mut self, inst: &Inst, ty: Ty) -> Result<Def> {
        let lanes = ty.lanes as usize;
        let (mut linear, mut known) = (None, None);
        let val = match inst {
            Inst::ConstInt(n) => {
                known = Some(Known::Int(*n));
                linear = (ty == Ty::INDEX).then_some(Linear { root: None, add: *n });
                self.const_int(*n, ty)?
            }
            Inst::ConstFloat(x) => {
                known = Some(Known::Float(*x));
                self.const_float(*x, ty)?
            }
            Inst::Sym(i) => {
                let v = self.symbols.get(*i as usize).with_context(|| format!("symbol slot {i} does not exist"))?;
                Val::scalar(DType::I64, *v)
            }
            Inst::Task => Val::scalar(DType::I64, self.task),
            Inst::IotaLanes => self.e.iota(ty.elem, lanes)?,
            Inst::Unary(op, x) => {
                let x = self.val(*x)?;
                self.e.unary(*op, &x)?
            }
            Inst::Binary(op, x, y) => {
                if ty == Ty::INDEX
                    && let Some(sum) = self.linear(*op, *x, *y)?
                {
                    linear = Some(sum);
                }
                match linear {
                    Some(sum) => self.materialize(sum),
                    None => {
                        let hints = [self.known(*x), self.known(*y)];
                        let (x, y) = (self.val(*x)?, self.val(*y)?);
                        self.e.binary(*op, &x, &y, hints)?
                    }
                }
            }
            Inst::Compare(op, x, y) => {
                let (x, y) = (self.val(*x)?, self.val(*y)?);
                self.e.compare(*op, &x, &y)?
            }
            Inst::Select(c, t, f) => {
                let (c, t, f) = (self.val(*c)?, self.val(*t)?, self.val(*f)?);
                self.e.select(&c, &t, &f)?
            }
            Inst::Fma(a, b, c) => {
                let (a, b, c) = (self.val(*a)?, self.val(*b)?, self.val(*c)?);
                self.e.fma(&a, &b, &c)?
            }
            Inst::Cast(x) => {
                let x = self.val(*x)?;
                self.e.cast(&x, ty.elem)?
            }
            Inst::Bitcast(x) => {
                let x = self.val(*x)?;
                self.e.bitcast(&x, ty.elem)?
            }
            Inst::Splat(x) => {
                let v = self.val(*x)?;
                ensure!(v.lanes == 1, "splat of a vector");
                known = self.known(*x).or(Some(Known::Splat(v.regs[0])));
                self.e.splat(&v, lanes)?
            }
            Inst::Extract(x, lane) => {
                let x = self.val(*x)?;
                let v = self.e.extract(&x, *lane as usize)?;
                Val::scalar(x.elem, v)
            }
            Inst::Insert(x, v, lane) => {
                let x = self.val(*x)?;
                let v = self.scalar(*v, x.elem)?;
                self.e.insert(&x, v, *lane as usize)?
            }
            Inst::Slice(x, at) => {
                let x = self.val(*x)?;
                self.e.slice(&x, *at as usize, lanes)?
            }
            Inst::ReduceLanes(op, x) => {
                let x = self.val(*x)?;
                self.e.reduce_lanes(*op, &x)?
            }
            Inst::Load { buf, index } => {
                let (memory, at) = (self.memory(*buf)?, self.offset(single(index)?)?);
                self.e.load(&memory, at, lanes)?
            }
            Inst::Gather { buf, offsets } => {
                let (memory, offsets) = (self.memory(*buf)?, self.val(*offsets)?);
                self.e.gather(&memory, &offsets)?
            }
            other => bail!("{other:?} has no value"),
        };
        Ok(Def { val, linear, known })
    }

    fn const_int(&mut self, n: i64, ty: Ty) -> Result<Val> {
        ensure!(!ty.elem.is_float(), "an integer constant of type {}", ty.elem);
        let v = self.e.int(scalar_type(ty.elem)?, if ty.elem == DType::Bool { i64::from(n != 0) } else { n });
        self.splat_constant(Val::scalar(ty.elem, v), ty, |e, t| e.int(t, n))
    }

    fn const_float(&mut self, x: f64, ty: Ty) -> Result<Val> {
        match ty.elem {
            DType::F16 | DType::BF16 => {
                let bits = if ty.elem == DType::F16 {
                    half::f16::from_f64(x).to_bits()
                } else {
                    half::bf16::from_f64(x).to_bits()
                };
                let v = self.e.int(types::I16, i64::from(bits));
                self.splat_constant(Val::scalar(ty.elem, v), ty, |e, t| e.int(t, i64::from(bits)))
            }
            DType::F32 | DType::F64 => {
                let v = self.e.float(scalar_type(ty.elem)?, x);
                self.splat_constant(Val::scalar(ty.elem, v), ty, |e, t| e.float(t, x))
            }
            other => bail!("a float constant of type {other}"),
        }
    }

    /// A constant in every lane: a constant register, without a splat at run time. bool has no constant register.
    fn splat_constant(&mut self, scalar: Val, ty: Ty, register: impl Fn(&mut Emit<'f>, Type) -> Value) -> Result<Val> {
        let lanes = ty.lanes as usize;
        if lanes == 1 || ty.elem == DType::Bool {
            return self.e.splat(&scalar, lanes);
        }
        let types = carried_types(ty)?;
        let reg = register(&mut self.e, types[0]);
        Ok(Val { elem: ty.elem, lanes, width: ty.elem.size(), regs: vec![reg; types.len()] })
    }

    // ---- index sums ----

    /// A sum, difference or multiple of index scalars as root and constant, if a constant part comes out of it.
    fn linear(&mut self, op: BinaryOp, x: V, y: V) -> Result<Option<Linear>> {
        let (a, b) = (self.offset(x)?, self.offset(y)?);
        if a.add == 0 && b.add == 0 && a.root.is_some() && b.root.is_some() {
            return Ok(None);
        }
        let e = &mut self.e;
        Ok(match op {
            BinaryOp::Add => {
                let root = match (a.root, b.root) {
                    (Some(p), Some(q)) => Some(e.ins().iadd(p, q)),
                    (p, q) => p.or(q),
                };
                Some(Linear { root, add: a.add.wrapping_add(b.add) })
            }
            BinaryOp::Sub => {
                let root = match (a.root, b.root) {
                    (Some(p), Some(q)) => Some(e.ins().isub(p, q)),
                    (None, Some(q)) => Some(e.ins().ineg(q)),
                    (p, None) => p,
                };
                Some(Linear { root, add: a.add.wrapping_sub(b.add) })
            }
            BinaryOp::Mul => {
                let (sum, factor) = match (a.root, b.root) {
                    (_, None) => (a, b.add),
                    (None, _) => (b, a.add),
                    _ => return Ok(None),
                };
                let root = sum.root.map(|r| {
                    // A shift where it can be: it may become part of an address, and not all code is optimized.
                    if factor > 0 && factor & (factor - 1) == 0 {
                        let by = e.int(types::I32, i64::from(factor.trailing_zeros()));
                        return e.ins().ishl(r, by);
                    }
                    let f = e.int(types::I64, factor);
                    e.ins().imul(r, f)
                });
                Some(Linear { root, add: sum.add.wrapping_mul(factor) })
            }
            _ => None,
        })
    }

    fn materialize(&mut self, sum: Linear) -> Val {
        let e = &mut self.e;
        let v = match sum.root {
            None => e.int(types::I64, sum.add),
            Some(r) if sum.add == 0 => r,
            Some(r) => {
                let add = e.int(types::I64, sum.add);
                e.ins().iadd(r, add)
            }
        };
        Val::scalar(DType::I64, v)
    }

    fn set_index(&mut self, v: V, sum: Linear) -> Result<()> {
        let val = self.materialize(sum);
        self.set(v, Def { val, linear: Some(sum), known: None })
    }

    // ---- control ----

    /// Fresh block parameters for values of these types; returns their ranges' lengths.
    fn params(&mut self, label: Label, vs: &[V]) -> Result<()> {
        for &v in vs {
            for t in carried_types(self.ty(v)?)? {
                self.e.b.append_block_param(label, t);
            }
        }
        Ok(())
    }

    /// Binds values to the block parameters from `first` on.
    fn bind_params(&mut self, label: Label, first: usize, vs: &[V]) -> Result<()> {
        let params = self.e.b.block_params(label).to_vec();
        let mut at = first;
        for &v in vs {
            let ty = self.ty(v)?;
            let n = carried_types(ty)?.len();
            let val = self.e.carried(ty, params.get(at..at + n).context("too few block parameters")?);
            at += n;
            self.set(v, Def { val, linear: None, known: None })?;
        }
        Ok(())
    }

    /// Block arguments for values that must have the types of `like`.
    fn args(&mut self, vs: &[V], like: &[V], out: &mut Vec<BlockArg>) -> Result<()> {
        ensure!(vs.len() == like.len(), "{} values for {} results", vs.len(), like.len());
        for (&v, &l) in vs.iter().zip(like) {
            ensure!(self.ty(v)? == self.ty(l)?, "{v:?} and {l:?} differ in type");
            let val = self.val(v)?;
            out.extend(self.e.carry(&val).into_iter().map(BlockArg::from));
        }
        Ok(())
    }

    fn for_loop(&mut self, l: &For, results: &[V]) -> Result<()> {
        ensure!(l.step > 0 && l.unroll > 0, "step {} and unroll {} must be positive", l.step, l.unroll);
        let inner: Vec<V> = l.carried.iter().map(|c| c.inner).collect();
        let init: Vec<V> = l.carried.iter().map(|c| c.init).collect();
        ensure!(inner.len() == results.len(), "{} carried values, {} results", inner.len(), results.len());
        let (lo, hi) = (self.scalar(l.lo, DType::I64)?, self.scalar(l.hi, DType::I64)?);
        let (pre, body, done) = (self.e.b.create_block(), self.e.b.create_block(), self.e.b.create_block());
        self.e.b.append_block_param(body, types::I64);
        self.params(body, &inner)?;
        self.params(done, results)?;

        // Enter, unless the bounds say that the loop is empty.
        let mut initial = Vec::new();
        self.args(&init, &inner, &mut initial)?;
        match (self.known(l.lo), self.known(l.hi)) {
            (Some(Known::Int(a)), Some(Known::Int(b))) if a < b => {
                self.e.ins().jump(pre, &[]);
            }
            _ => {
                let runs = self.e.icmp(IntCC::SignedLessThan, lo, hi);
                self.e.ins().brif(runs, pre, &[], done, &initial);
            }
        }
        self.e.b.switch_to_block(pre);
        let entry: Vec<BlockArg> = std::iter::once(BlockArg::from(lo)).chain(initial).collect();
        self.e.ins().jump(body, &entry);

        self.e.b.switch_to_block(body);
        let iv = self.e.b.block_params(body).first().copied().context("the induction variable")?;
        self.bind_params(body, 1, &inner)?;
        for copy in 0..i64::from(l.unroll) {
            if copy > 0 {
                // The previous copy's values become this one's.
                let next = l.body.yields.iter().map(|&y| self.def(y).cloned()).collect::<Result<Vec<_>>>()?;
                inner.iter().zip(next).try_for_each(|(&v, def)| self.set(v, def))?;
            }
            let add = copy.checked_mul(l.step).context("unrolled steps")?;
            self.set_index(l.iv, Linear { root: Some(iv), add })?;
            self.block(&l.body)?;
        }
        let stride = l.step.checked_mul(i64::from(l.unroll)).context("unrolled steps")?;
        let stride = self.e.int(types::I64, stride);
        let next = self.e.ins().iadd(iv, stride);
        let again = self.e.icmp(IntCC::SignedLessThan, next, hi);
        let mut values = Vec::new();
        self.args(&l.body.yields, &inner, &mut values)?;
        let back: Vec<BlockArg> = std::iter::once(BlockArg::from(next)).chain(values.iter().copied()).collect();
        self.e.ins().brif(again, body, &back, done, &values);

        self.e.b.switch_to_block(done);
        self.bind_params(done, 0, results)
    }

    fn conditional(&mut self, c: V, then: &Block, other: &Block, results: &[V]) -> Result<()> {
        let c = self.scalar(c, DType::Bool)?;
        let labels = [self.e.b.create_block(), self.e.b.create_block()];
        let done = self.e.b.create_block();
        self.params(done, results)?;
        self.e.ins().brif(c, labels[0], &[], labels[1], &[]);
        for (label, block) in labels.into_iter().zip([then, other]) {
            self.e.b.switch_to_block(label);
            self.block(block)?;
            let mut values = Vec::new();
            self.args(&block.yields, results, &mut values)?;
            self.e.ins().jump(done, &values);
        }
        self.e.b.switch_to_block(done);
        self.bind_params(done, 0, results)
    }

    fn check(&mut self, ok: V, status: i32) -> Result<()> {
        ensure!(status > 0, "status {status} is not an error");
        let ok = self.scalar(ok, DType::Bool)?;
        let (go_on, fail) = (self.e.b.create_block(), self.e.b.create_block());
        self.e.b.set_cold_block(fail);
        self.e.ins().brif(ok, go_on, &[], fail, &[]);
        self.e.b.switch_to_block(fail);
        let code = self.e.int(types::I32, i64::from(status));
        let cell = self.status.context("no status cell")?;
        self.e.ins().atomic_rmw(types::I32, MemFlagsData::trusted(), AtomicRmwOp::Umax, cell, code);
        let exit = self.exit;
        self.e.ins().jump(exit, &[]);
        self.e.b.switch_to_block(go_on);
        Ok(())
    }
}

/// The one index of an access at the machine level.
fn single(index: &[V]) -> Result<V> {
    match index {
        [v] => Ok(*v),
        _ => bail!("has {} indices: an access of the machine level has one element offset", index.len()),
    }
}

/// The statement that an error belongs to: its results, or its kind where it has none.
fn at_statement(s: &Stmt) -> String {
    match &s.inst {
        Inst::For(l) => format!("in the loop over {:?}", l.iv),
        Inst::If(c, ..) => format!("in the conditional on {c:?}"),
        other => format!("at {:?} = {other:?}", s.results),
    }
}
