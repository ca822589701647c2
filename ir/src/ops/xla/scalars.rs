//! Functions on scalars that ops of XLA take: reducers, comparators, updates.
//!
//! A function is known as its body on scalar parameters. It is applied to whole tensors, which builds its nodes again on
//! them: a body of pointwise ops means the same on each element.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail};

use crate::graph::{Def, Function, TensorType, Value};
use crate::lower::Lower;
use crate::ops::pointwise::{Binary, Compare, broadcast_shapes};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp};
use crate::{Builder, Dim};

/// A function whose parameters and results are scalars.
#[derive(Debug, Clone)]
pub struct Scalars {
    name: String,
    body: Function,
}

impl Scalars {
    /// The function `body`, which is called `name` in the graph.
    ///
    /// # Errors
    /// If a value of it is no scalar, or an op of it does not compute element by element.
    pub fn new(name: &str, body: Function) -> Result<Scalars> {
        for (_, node) in body.nodes() {
            let types: Vec<&TensorType> = node.inputs.iter().map(|&v| body.ty(v)).collect();
            let scalar = types.iter().copied().chain(node.outputs.iter().map(|&v| body.ty(v))).all(|t| t.rank() == 0);
            let pointwise = matches!(node.op.lower(&types), Lower::Pointwise(_) | Lower::Constant | Lower::Expand(_));
            if !scalar || !pointwise {
                bail!(
                    "function `{name}` is applied element by element, and its node `{}` ({}) does not compute so: build it \
                     from operations on scalars",
                    node.loc.node,
                    node.loc.tf_op
                );
            }
        }
        if let Some(p) = body.params.iter().find(|p| body.ty(p.value).rank() > 0) {
            bail!("function `{name}` takes `{}` of type {}, not a scalar", p.name, body.ty(p.value));
        }
        Ok(Scalars { name: name.into(), body })
    }

    /// The name in the graph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The numbers of parameters and of results.
    pub fn arity(&self) -> (usize, usize) {
        (self.body.params.len(), self.body.results.len())
    }

    fn param(&self, v: Value) -> Option<usize> {
        match self.body.def(v) {
            Def::Param(i) => Some(i as usize),
            Def::Node(..) => None,
        }
    }

    /// The parameter that the function returns as it is, where it returns one.
    pub fn returns(&self) -> Option<usize> {
        match &self.body.results[..] {
            [r] => self.param(r.value),
            _ => None,
        }
    }

    /// The op that the function of two parameters is.
    pub fn binary(&self) -> Option<BinaryOp> {
        let [result] = &self.body.results[..] else { return None };
        let node = self.body.def_node(result.value)?;
        let op = node.op.is::<Binary>()?.op;
        let order = (self.param(node.inputs[0])?, self.param(node.inputs[1])?);
        (self.body.params.len() == 2 && (order == (0, 1) || (order == (1, 0) && op.is_commutative()))).then_some(op)
    }

    /// The reduction that the function of two parameters combines for.
    pub fn reduction(&self) -> Option<ReduceOp> {
        let op = self.binary()?;
        ReduceOp::ALL.iter().copied().find(|r| r.combiner() == op)
    }

    /// The comparison that the function is, with the parameters that it compares.
    pub fn comparison(&self) -> Option<(CompareOp, usize, usize)> {
        let [result] = &self.body.results[..] else { return None };
        let node = self.body.def_node(result.value)?;
        let op = node.op.is::<Compare>()?.op;
        Some((op, self.param(node.inputs[0])?, self.param(node.inputs[1])?))
    }

    /// The function on each element of tensors, which broadcast against each other.
    ///
    /// # Errors
    /// If the arguments are not as many as the parameters, of their types, or do not broadcast.
    pub fn apply(&self, b: &mut Builder, args: &[Value]) -> Result<Vec<Value>> {
        let wanted: Vec<_> = self.body.params.iter().map(|p| self.body.ty(p.value).dtype).collect();
        let given: Vec<_> = args.iter().map(|&v| b.ty(v).dtype).collect();
        if wanted != given {
            bail!("function `{}` takes {wanted:?}, and is given {given:?}", self.name);
        }
        let mut shape: Vec<Dim> = vec![];
        for &v in args {
            shape = broadcast_shapes(&shape, &b.ty(v).shape)
                .ok_or_else(|| anyhow!("shapes {shape:?} and {} do not broadcast", b.ty(v)))?;
        }
        let mut map: HashMap<Value, Value> =
            self.body.params.iter().map(|p| p.value).zip(args.iter().copied()).collect();
        for (_, node) in self.body.nodes() {
            let inputs: Vec<Value> = node.inputs.iter().filter_map(|v| map.get(v).copied()).collect();
            let outputs =
                b.push_arc(node.op.clone(), &inputs).with_context(|| format!("in function `{}`", self.name))?;
            map.extend(node.outputs.iter().copied().zip(outputs));
        }
        let results = self.body.results.iter().filter_map(|r| map.get(&r.value).copied()).collect::<Vec<_>>();
        results.into_iter().map(|v| b.broadcast(v, &shape)).collect()
    }
}
