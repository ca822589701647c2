//! Builds functions: infers types, keeps what is known of small integer tensors, folds small constants on the way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};

use crate::graph::{Def, Function, Loc, ParamKind, SymbolBounds, TensorType, Value};
use crate::op::{DimTensor, Effect, Op};
use crate::ops::constant::Const;
use crate::ops::pointwise::{Binary, Cast, Compare, Select, Unary};
use crate::ops::shape::from_data::DimsFromData;
use crate::ops::shape::join::Concat;
use crate::ops::shape::{Broadcast, Reshape, Transpose};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};
use crate::tensor::Tensor;
use crate::{DType, Dim, Symbol};

/// Integer tensors of at most this many elements are tracked as symbolic dims, and constants of at most this many
/// elements are folded while building; larger ones are left to the fold pass.
const TRACKED_ELEMENTS: usize = 4096;

/// Appends nodes to a function.
#[derive(Debug, Default)]
pub struct Builder {
    /// The function under construction.
    pub func: Function,
    /// Origin given to the nodes that are built.
    pub loc: Loc,
    /// Whether a size that is computed at run time becomes a symbol ([`Builder::bind_dims`]). Without it an import rule
    /// that needs such a size reports [`crate::tf::NeedsConstant`].
    pub sizes_from_data: bool,
    /// Whether assertions and prints are built. Code that is compiled ahead of time has no host to run them on.
    pub checks: bool,
    /// Symbols made by [`Builder::fresh_dim`]; whoever puts the function into a module declares them there.
    pub symbols: Vec<(Symbol, SymbolBounds)>,
    /// Numbers fresh symbols; builders of one module share it.
    fresh: Arc<AtomicUsize>,
    dims: HashMap<Value, DimTensor>,
    consts: HashMap<Value, Tensor>,
}

impl Builder {
    /// A builder of a new function.
    pub fn new(name: &str) -> Builder {
        Builder { func: Function::new(name), ..Builder::default() }
    }

    /// A builder of another function of the same module: its fresh symbols differ from those of this one.
    pub fn sibling(&self, name: &str) -> Builder {
        let fresh = self.fresh.clone();
        Builder { sizes_from_data: self.sizes_from_data, checks: self.checks, fresh, ..Builder::new(name) }
    }

    /// A new symbol for a size that is known only at run time, as the result size of an op that depends on data. It is
    /// bound by the first value whose type holds it alone as a dimension.
    pub fn fresh_dim(&mut self, hint: &str) -> Dim {
        let name = format!("{hint}_{}", self.fresh.fetch_add(1, Ordering::Relaxed));
        self.symbols.push((Symbol::new(&name), SymbolBounds { min: 0, max: None }));
        Dim::sym(&name)
    }

    /// The elements of a scalar or vector of integers as symbolic integers. Those that depend on data are bound to fresh
    /// symbols where the program computes them; they must not be negative.
    ///
    /// # Errors
    /// If the value is no such scalar or vector, or its length is not known.
    pub fn bind_dims(&mut self, v: Value) -> Result<Vec<Dim>> {
        if let Some(d) = self.dims.get(&v) {
            return Ok(d.elems.clone());
        }
        if let Some(ints) = self.consts.get(&v).and_then(Tensor::to_i64s) {
            return Ok(ints.into_iter().map(Dim::from).collect());
        }
        let ty = self.func.ty(v).clone();
        let len = ty.static_shape().filter(|s| s.len() <= 1).map(|s| s.iter().product::<usize>());
        let len = len.ok_or_else(|| anyhow!("{ty} is computed at run time and holds no vector of sizes"))?;
        // Parts that are known stay known: a shape is often packed from constants and one computed size.
        if let Some(node) = self.func.def_node(v) {
            if node.op.is::<Concat>().is_some() {
                let parts = node.inputs.clone();
                return Ok(parts.into_iter().map(|p| self.bind_dims(p)).collect::<Result<Vec<_>>>()?.concat());
            }
            if node.op.is::<Reshape>().is_some() && self.func.ty(node.inputs[0]).rank() <= 1 {
                let x = node.inputs[0];
                return self.bind_dims(x);
            }
        }
        let dims: Vec<Dim> = (0..len).map(|_| self.fresh_dim("n")).collect();
        self.push(DimsFromData { dims: dims.clone() }, &[v])?;
        self.dims.insert(v, DimTensor { shape: vec![len; ty.rank()], elems: dims.clone() });
        Ok(dims)
    }

    /// The elements of an operand that decides a size, as symbolic integers: what is known of them, or with
    /// [`Builder::sizes_from_data`] what [`Builder::bind_dims`] makes of them.
    ///
    /// # Errors
    /// [`crate::tf::NeedsConstant`] if they depend on data and sizes may not.
    pub fn sizes(&mut self, operand: usize, v: Value) -> Result<Vec<Dim>> {
        if self.sizes_from_data {
            return self.bind_dims(v);
        }
        if let Some(d) = self.dims.get(&v) {
            return Ok(d.elems.clone());
        }
        if let Some(ints) = self.consts.get(&v).and_then(Tensor::to_i64s) {
            return Ok(ints.into_iter().map(Dim::from).collect());
        }
        Err(crate::tf::NeedsConstant { operand, params: self.params_behind(v) }.into())
    }

    /// The parameters that a value is computed from.
    pub fn params_behind(&self, v: Value) -> Vec<String> {
        let (mut seen, mut queue, mut found) = (std::collections::HashSet::new(), vec![v], vec![]);
        while let Some(v) = queue.pop() {
            if !seen.insert(v) {
                continue;
            }
            match self.func.def(v) {
                Def::Param(i) => found.extend(self.func.params.get(i as usize).map(|p| p.name.clone())),
                Def::Node(n, _) => queue.extend(&self.func.node(n).inputs),
            }
        }
        found
    }

    /// Adds a parameter.
    pub fn param(&mut self, name: &str, kind: ParamKind, ty: TensorType) -> Value {
        self.func.add_param(name, kind, ty)
    }

    /// Appends a node; returns its results.
    ///
    /// # Errors
    /// The violated constraint of the op, with the node's name and TensorFlow op.
    pub fn push_all(&mut self, op: impl Op, inputs: &[Value]) -> Result<Vec<Value>> {
        self.push_arc(Arc::new(op), inputs)
    }

    /// Appends a node of one result.
    ///
    /// # Errors
    /// As [`Builder::push_all`].
    pub fn push(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value> {
        let outputs = self.push_all(op, inputs)?;
        outputs.first().copied().ok_or_else(|| anyhow!("the op has no result"))
    }

    /// Appends a node of a shared op.
    ///
    /// # Errors
    /// As [`Builder::push_all`].
    pub fn push_arc(&mut self, op: Arc<dyn Op>, inputs: &[Value]) -> Result<Vec<Value>> {
        let types: Vec<TensorType> = {
            let operands: Vec<&TensorType> = inputs.iter().map(|&v| self.func.ty(v)).collect();
            op.infer(&operands).with_context(|| self.origin())?
        };
        if let Some(folded) = self.fold(&*op, inputs, &types) {
            return folded.into_iter().map(|t| self.constant(t)).collect();
        }
        let known: Vec<Option<DimTensor>> = {
            let operands: Vec<_> = inputs.iter().map(|v| (self.func.ty(*v), self.dims.get(v))).collect();
            op.eval_dims(&operands)
        };
        let constant = op.is::<Const>().map(|c| c.value.clone());
        let id = self.func.push(op, inputs.to_vec(), types, self.loc.clone());
        let outputs = self.func.node(id).outputs.clone();
        for (&v, k) in outputs.iter().zip(known) {
            if let Some(k) = k.filter(|k| k.elems.len() <= TRACKED_ELEMENTS) {
                self.dims.insert(v, k);
            }
        }
        if let (Some(t), Some(&v)) = (constant, outputs.first()) {
            self.consts.insert(v, t);
        }
        Ok(outputs)
    }

    /// The results as constants, where every operand is one and all are small.
    fn fold(&self, op: &dyn Op, inputs: &[Value], types: &[TensorType]) -> Option<Vec<Tensor>> {
        if inputs.is_empty() || op.effect() != Effect::Pure {
            return None;
        }
        let operands: Vec<&Tensor> = inputs.iter().map(|v| self.consts.get(v)).collect::<Option<_>>()?;
        let small = |n: Option<usize>| n.is_some_and(|n| n <= TRACKED_ELEMENTS);
        let results = types.iter().map(|t| t.static_shape().map(|s| s.iter().product()));
        if !operands.iter().map(|t| Some(t.len())).chain(results).all(small) {
            return None;
        }
        // An error at evaluation (a division by zero, say) must surface at run time only if the node runs.
        op.eval(&operands).ok()
    }

    fn origin(&self) -> String {
        if self.loc.node.is_empty() {
            "building the graph".into()
        } else {
            format!("node `{}` ({})", self.loc.node, self.loc.tf_op)
        }
    }

    /// The type of a value.
    pub fn ty(&self, v: Value) -> &TensorType {
        self.func.ty(v)
    }

    /// The constant that a value is, if it is one.
    pub fn as_const(&self, v: Value) -> Option<&Tensor> {
        self.consts.get(&v)
    }

    /// The elements of an integer value as symbolic integers, where they are known.
    pub fn as_dims(&self, v: Value) -> Option<&DimTensor> {
        self.dims.get(&v)
    }

    /// A constant.
    ///
    /// # Errors
    /// Never for a well-formed tensor.
    pub fn constant(&mut self, value: Tensor) -> Result<Value> {
        self.push(Const { value }, &[])
    }

    /// A scalar constant of an element type: exact for integers below 2^53, rounded once for floats.
    ///
    /// # Errors
    /// If the type holds no numbers.
    pub fn scalar(&mut self, dtype: DType, x: f64) -> Result<Value> {
        let t = crate::scalar_eval::cast_tensor(dtype, &Tensor::scalar(x)).map_err(|e| anyhow!(e))?;
        self.constant(t)
    }

    /// A unary operation.
    ///
    /// # Errors
    /// If the operand's type is not accepted.
    pub fn unary(&mut self, op: UnaryOp, x: Value) -> Result<Value> {
        self.push(Unary { op }, &[x])
    }

    /// A binary operation with broadcasting.
    ///
    /// # Errors
    /// If the operands' types differ, are not accepted, or do not broadcast.
    pub fn binary(&mut self, op: BinaryOp, x: Value, y: Value) -> Result<Value> {
        self.push(Binary { op }, &[x, y])
    }

    /// A binary operation with a scalar constant on the right, of the left operand's type.
    ///
    /// # Errors
    /// As [`Builder::binary`].
    pub fn binary_scalar(&mut self, op: BinaryOp, x: Value, y: f64) -> Result<Value> {
        let y = self.scalar(self.ty(x).dtype, y)?;
        self.binary(op, x, y)
    }

    /// A comparison with broadcasting.
    ///
    /// # Errors
    /// As [`Builder::binary`].
    pub fn compare(&mut self, op: CompareOp, x: Value, y: Value) -> Result<Value> {
        self.push(Compare { op }, &[x, y])
    }

    /// c ? x : y with broadcasting.
    ///
    /// # Errors
    /// As [`Builder::binary`].
    pub fn select(&mut self, c: Value, x: Value, y: Value) -> Result<Value> {
        self.push(Select, &[c, x, y])
    }

    /// Conversion to an element type; the value itself if it has that type.
    ///
    /// # Errors
    /// If there is no such conversion.
    pub fn cast(&mut self, to: DType, x: Value) -> Result<Value> {
        if self.ty(x).dtype == to { Ok(x) } else { self.push(Cast { to }, &[x]) }
    }

    /// Row-major reinterpretation; the value itself if it has that shape.
    ///
    /// # Errors
    /// If the numbers of elements cannot be equal.
    pub fn reshape(&mut self, x: Value, shape: &[Dim]) -> Result<Value> {
        if self.ty(x).shape == shape { Ok(x) } else { self.push(Reshape { shape: shape.to_vec() }, &[x]) }
    }

    /// Permuted axes: result axis `j` is operand axis `perm[j]`; the value itself for the identity.
    ///
    /// # Errors
    /// If `perm` is not a permutation of the axes.
    pub fn transpose(&mut self, x: Value, perm: &[usize]) -> Result<Value> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) && perm.len() == self.ty(x).rank() {
            return Ok(x);
        }
        self.push(Transpose { perm: perm.to_vec() }, &[x])
    }

    /// Broadcast to a shape; the value itself if it has it.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn broadcast(&mut self, x: Value, shape: &[Dim]) -> Result<Value> {
        if self.ty(x).shape == shape { Ok(x) } else { self.push(Broadcast { shape: shape.to_vec() }, &[x]) }
    }
}
