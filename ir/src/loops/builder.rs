//! Builds kernels: fresh values, nested blocks, constants shared within a block.

use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use crate::{DType, Dim};

use super::inst::{Block, Carried, For, Inst, LoopKind, Stmt, Ty, V};
use super::{BufId, Buffer, Kernel};

/// A loop whose body is being filled; see [`KernelBuilder::open_loop`].
#[derive(Debug)]
pub struct OpenLoop {
    /// Induction variable.
    pub iv: V,
    /// Carried values of the next iteration, to be set before closing.
    pub yields: Vec<V>,
    kind: LoopKind,
    lo: V,
    hi: V,
    step: i64,
    unroll: u16,
    carried: Vec<Carried>,
}

/// A conditional whose sides are being filled; see [`KernelBuilder::open_if`].
#[derive(Debug)]
pub struct OpenIf {
    cond: V,
    then: Option<Block>,
}

impl OpenLoop {
    /// The carried values as the body sees them.
    pub fn inner(&self) -> Vec<V> {
        self.carried.iter().map(|c| c.inner).collect()
    }
}

/// Appends instructions at the end of the innermost open block.
#[derive(Debug)]
pub struct KernelBuilder {
    kernel: Kernel,
    /// Open blocks, outermost first.
    open: Vec<Block>,
    /// For each value the number of open blocks where it is visible: 1 for the body's own.
    depths: Vec<usize>,
}

impl KernelBuilder {
    /// Continues a kernel whose body is still empty.
    pub fn new(kernel: Kernel) -> KernelBuilder {
        let depths = vec![1; kernel.types.len()];
        KernelBuilder { kernel, open: vec![Block::default()], depths }
    }

    /// The kernel so far, without the open blocks.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Closes the body.
    pub fn finish(mut self) -> Kernel {
        debug_assert_eq!(self.open.len(), 1, "every loop is closed");
        self.kernel.body = self.open.pop().unwrap_or_default();
        self.kernel
    }

    /// Adds a buffer.
    pub fn buffer(&mut self, buffer: Buffer) -> BufId {
        self.kernel.buffers.push(buffer);
        BufId(self.kernel.buffers.len() as u32 - 1)
    }

    /// A fresh value of a type, for block parameters.
    pub fn fresh(&mut self, ty: Ty) -> V {
        self.kernel.types.push(ty);
        self.depths.push(self.open.len());
        V(self.kernel.types.len() as u32 - 1)
    }

    /// How many blocks were open where a value is defined.
    pub fn depth_of(&self, v: V) -> usize {
        self.depths[v.0 as usize]
    }

    /// Appends a pure instruction to the outermost open block in which its operands are visible: loop-invariant code
    /// never enters the loop. Not for instructions that can trap or that read memory.
    pub fn push_hoisted(&mut self, ty: Ty, inst: Inst) -> V {
        let mut depth = 1;
        inst.for_each_operand(|v| depth = depth.max(self.depths[v.0 as usize]));
        let v = self.fresh(ty);
        self.depths[v.0 as usize] = depth;
        self.open[depth - 1].stmts.push(Stmt { results: vec![v], inst });
        v
    }

    /// The type of a value.
    pub fn ty(&self, v: V) -> Ty {
        self.kernel.ty(v)
    }

    /// How many blocks are open: the depth at which a value defined now is visible.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Appends an instruction with one result.
    pub fn push(&mut self, ty: Ty, inst: Inst) -> V {
        let v = self.fresh(ty);
        self.push_stmt(Stmt { results: vec![v], inst });
        v
    }

    /// Appends an instruction without results.
    pub fn push_effect(&mut self, inst: Inst) {
        self.push_stmt(Stmt { results: vec![], inst });
    }

    /// Appends a statement whose results are already fresh values.
    pub fn push_stmt(&mut self, stmt: Stmt) {
        if let Some(b) = self.open.last_mut() {
            b.stmts.push(stmt);
        }
    }

    /// An i64 constant.
    pub fn index(&mut self, n: i64) -> V {
        self.push(Ty::INDEX, Inst::ConstInt(n))
    }

    /// The value of a symbolic integer.
    pub fn dim(&mut self, d: &Dim) -> V {
        match d.as_const() {
            Some(n) => self.index(n),
            None => self.push(Ty::INDEX, Inst::Dim(d.clone())),
        }
    }

    /// A float constant of an element type, as a scalar.
    pub fn float(&mut self, elem: DType, x: f64) -> V {
        self.push(Ty::scalar(elem), Inst::ConstFloat(x))
    }

    /// The extents of an operation's result: each the larger of the operands' (one of them may be 1).
    fn broadcast(&self, a: V, b: V) -> Ty {
        let (a, b) = (self.ty(a), self.ty(b));
        Ty { elem: a.elem, rows: a.rows.max(b.rows), lanes: a.lanes.max(b.lanes) }
    }

    /// A unary operation.
    pub fn unary(&mut self, op: UnaryOp, x: V) -> V {
        let t = self.ty(x);
        self.push(t.with_elem(op.result(t.elem)), Inst::Unary(op, x))
    }

    /// A binary operation.
    pub fn binary(&mut self, op: BinaryOp, x: V, y: V) -> V {
        let t = self.broadcast(x, y);
        self.push(t, Inst::Binary(op, x, y))
    }

    /// x + y.
    pub fn add(&mut self, x: V, y: V) -> V {
        self.binary(BinaryOp::Add, x, y)
    }

    /// x - y.
    pub fn sub(&mut self, x: V, y: V) -> V {
        self.binary(BinaryOp::Sub, x, y)
    }

    /// x * y.
    pub fn mul(&mut self, x: V, y: V) -> V {
        self.binary(BinaryOp::Mul, x, y)
    }

    /// A comparison.
    pub fn compare(&mut self, op: CompareOp, x: V, y: V) -> V {
        let t = self.broadcast(x, y).with_elem(DType::Bool);
        self.push(t, Inst::Compare(op, x, y))
    }

    /// c ? x : y.
    pub fn select(&mut self, c: V, x: V, y: V) -> V {
        let (t, ct) = (self.broadcast(x, y), self.ty(c));
        let t = Ty { rows: t.rows.max(ct.rows), lanes: t.lanes.max(ct.lanes), ..t };
        self.push(t, Inst::Select(c, x, y))
    }

    /// a * b + c with one rounding.
    pub fn fma(&mut self, a: V, b: V, c: V) -> V {
        let (t, ct) = (self.broadcast(a, b), self.ty(c));
        let t = Ty { rows: t.rows.max(ct.rows), lanes: t.lanes.max(ct.lanes), ..t };
        self.push(t, Inst::Fma(a, b, c))
    }

    /// Conversion to an element type; the value itself if it has that type.
    pub fn cast(&mut self, to: DType, x: V) -> V {
        let t = self.ty(x);
        if t.elem == to { x } else { self.push(t.with_elem(to), Inst::Cast(x)) }
    }

    /// Reinterpretation as an element type of equal width.
    pub fn bitcast(&mut self, to: DType, x: V) -> V {
        let t = self.ty(x);
        if t.elem == to { x } else { self.push(t.with_elem(to), Inst::Bitcast(x)) }
    }

    /// A load at L1 or L2: extents follow from the indices.
    pub fn load(&mut self, buf: BufId, index: Vec<V>) -> V {
        let elem = self.kernel.buffer(buf).dtype;
        let mut t = Ty::scalar(elem);
        for &i in &index {
            let it = self.ty(i);
            t.rows = t.rows.max(it.rows);
            t.lanes = t.lanes.max(it.lanes);
        }
        self.push(t, Inst::Load { buf, index })
    }

    /// A store.
    pub fn store(&mut self, buf: BufId, index: Vec<V>, value: V) {
        self.push_effect(Inst::Store { buf, index, value });
    }

    /// A combination of the lanes.
    pub fn reduce_lanes(&mut self, op: ReduceOp, x: V) -> V {
        let t = self.ty(x);
        self.push(Ty { lanes: 1, ..t }, Inst::ReduceLanes(op, x))
    }

    /// Opens a loop; what follows goes into its body until [`KernelBuilder::close_loop`]. For callers whose body needs
    /// more than the builder; [`KernelBuilder::for_loop`] is simpler where it does.
    pub fn open_loop(
        &mut self,
        kind: LoopKind,
        lo: V,
        hi: V,
        step: i64,
        unroll: u16,
        carried: &[(V, Option<ReduceOp>)],
    ) -> OpenLoop {
        self.open.push(Block::default());
        let iv = self.fresh(Ty::INDEX);
        let carried: Vec<Carried> = carried
            .iter()
            .map(|&(init, combine)| Carried { inner: self.fresh(self.ty(init)), init, combine })
            .collect();
        OpenLoop { kind, iv, lo, hi, step, unroll, carried, yields: vec![] }
    }

    /// Closes the innermost loop; returns the carried values after it.
    pub fn close_loop(&mut self, open: OpenLoop) -> Vec<V> {
        let OpenLoop { kind, iv, lo, hi, step, unroll, carried, yields } = open;
        let mut body = self.open.pop().unwrap_or_default();
        body.yields = yields;
        let results: Vec<V> = carried.iter().map(|c| self.fresh(self.ty(c.inner))).collect();
        let inst = Inst::For(Box::new(For { kind, iv, lo, hi, step, carried, body, unroll }));
        self.push_stmt(Stmt { results: results.clone(), inst });
        results
    }

    /// A loop. `body` gets the builder, the induction variable and the carried values, and returns the next ones.
    /// `carried`: initial values with their combiners. Returns the carried values after the loop.
    ///
    /// # Errors
    /// What `body` returns.
    #[allow(clippy::too_many_arguments)] // a loop has that many parts
    pub fn for_loop<E>(
        &mut self,
        kind: LoopKind,
        lo: V,
        hi: V,
        step: i64,
        unroll: u16,
        carried: &[(V, Option<ReduceOp>)],
        body: impl FnOnce(&mut KernelBuilder, V, &[V]) -> Result<Vec<V>, E>,
    ) -> Result<Vec<V>, E> {
        let mut open = self.open_loop(kind, lo, hi, step, unroll, carried);
        let (iv, inner) = (open.iv, open.inner());
        let yields = body(self, iv, &inner);
        match yields {
            Ok(y) => open.yields = y,
            Err(e) => {
                self.close_loop(open);
                return Err(e);
            }
        }
        Ok(self.close_loop(open))
    }

    /// Opens a conditional; what follows goes into the side taken when `cond` holds.
    pub fn open_if(&mut self, cond: V) -> OpenIf {
        self.open.push(Block::default());
        OpenIf { cond, then: None }
    }

    /// Closes the first side with its results and opens the other.
    pub fn open_else(&mut self, open: OpenIf, yields: Vec<V>) -> OpenIf {
        let mut then = self.open.pop().unwrap_or_default();
        then.yields = yields;
        self.open.push(Block::default());
        OpenIf { then: Some(then), ..open }
    }

    /// Closes the conditional. Both sides yield values of equal types; returns its results.
    pub fn close_if(&mut self, open: OpenIf, yields: Vec<V>) -> Vec<V> {
        let mut other = self.open.pop().unwrap_or_default();
        other.yields = yields;
        let then = open.then.unwrap_or_default();
        let types: Vec<Ty> = then.yields.iter().map(|&v| self.kernel.ty(v)).collect();
        let results: Vec<V> = types.into_iter().map(|t| self.fresh(t)).collect();
        let inst = Inst::If(open.cond, Box::new(then), Box::new(other));
        self.push_stmt(Stmt { results: results.clone(), inst });
        results
    }
}
