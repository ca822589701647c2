//! Variables: reads, assignments and updates as values threaded through the program in the order of its control edges.
//!
//! A variable that nothing assigns is a constant. One that is assigned has a present value in the function under
//! construction; conditionals and loops take it as an operand and give it back as a result.

use anyhow::{Result, anyhow, bail};
use kiln_ir::ops::effect::Assert;
use kiln_ir::ops::gather::{Gather, Scatter, ScatterMode};
use kiln_ir::ops::shape::join::Concat;
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::{DType, Loc, Tensor, Value};

use super::super::graph::{Body, Node};
use super::{Converter, Item, to_tensor};

/// The ops of this file, but for those that scatter.
const OPS: &[&str] = &[
    "VarHandleOp",
    "VariableV2",
    "Variable",
    "ReadVariableOp",
    "Assign",
    "AssignAdd",
    "AssignSub",
    "AssignVariableOp",
    "AssignAddVariableOp",
    "AssignSubVariableOp",
    "VarIsInitializedOp",
    "IsVariableInitialized",
    "DestroyResourceOp",
    "DisableCopyOnRead",
    "TemporaryVariable",
    "DestroyTemporaryVariable",
    "CountUpTo",
    "ResourceCountUpTo",
    "StridedSliceAssign",
    "ResourceStridedSliceAssign",
    "ResourceGatherNd",
    "RefIdentity",
    "RefSelect",
];

/// How an op scatters into a variable: whether its indices hold a place along several axes, and how updates are joined.
fn scattering(op: &str) -> Option<(bool, ScatterMode)> {
    let plain = op.strip_prefix("Resource").unwrap_or(op).strip_prefix("Scatter")?;
    let (how, nd) = plain.strip_prefix("Nd").map_or((plain, false), |how| (how, true));
    let mode = match how {
        "Update" => None,
        "Add" => Some(BinaryOp::Add),
        "Sub" => Some(BinaryOp::Sub),
        "Max" => Some(BinaryOp::Max),
        "Min" => Some(BinaryOp::Min),
        "Mul" if !nd => Some(BinaryOp::Mul),
        "Div" if !nd => Some(BinaryOp::Div),
        _ => return None,
    };
    Some((nd, ScatterMode(mode)))
}

/// Whether an op is one of this file.
pub(super) fn is_state(op: &str) -> bool {
    OPS.contains(&op) || scattering(op).is_some()
}

impl Converter<'_> {
    /// Runs the model's initializers, which set variables that no file holds a value for.
    pub(super) fn initialize(&mut self, main: &Body) -> Result<()> {
        let targets = self.model.init_ops.clone();
        if targets.is_empty() {
            return Ok(());
        }
        self.body(main, &[], &[], &targets, 0).map(drop)
    }

    pub(super) fn state_op(&mut self, node: &Node, inputs: Vec<Item>, depth: usize) -> Result<Vec<Item>> {
        let input = |i: usize| inputs.get(i).cloned().ok_or_else(|| anyhow!("operand {i} is missing"));
        let variable = || match inputs.first() {
            Some(Item::Variable(key)) => Ok(key.clone()),
            _ => bail!("its first operand is not a variable"),
        };
        let op = &*node.op;
        Ok(match op {
            "VarHandleOp" | "VariableV2" | "Variable" => vec![Item::Variable(self.variable_key(node, depth)?)],
            "ReadVariableOp" => vec![Item::Value(self.tensor(input(0)?)?)],
            "VarIsInitializedOp" | "IsVariableInitialized" => {
                let key = variable()?;
                let stored = self.model.variables.variables().get(&key).is_some_and(|v| v.location.is_some());
                let has_value = stored || self.frame.assigned.contains_key(&key);
                vec![Item::Value(self.frame.b.constant(Tensor::of_bools(&[], &[has_value]))?)]
            }
            "TemporaryVariable" => vec![Item::Variable(self.variable_key(node, depth)?)],
            "RefIdentity" => vec![input(0)?],
            "RefSelect" => vec![self.select_reference(inputs)?],
            "DestroyTemporaryVariable" => {
                let key = variable()?;
                vec![Item::Value(self.read_variable(&key)?)]
            }
            "CountUpTo" | "ResourceCountUpTo" => {
                let key = variable()?;
                let limit = node.int("limit").ok_or_else(|| anyhow!("attribute `limit` is missing"))?;
                vec![Item::Value(self.count_up(&key, limit)?)]
            }
            "StridedSliceAssign" | "ResourceStridedSliceAssign" => {
                let key = variable()?;
                let operands = inputs.iter().cloned().map(|i| self.tensor(i)).collect::<Result<Vec<_>>>()?;
                match self.rule(node, "TensorStridedSliceUpdate", &operands)?.pop() {
                    Some(Item::Value(new)) => self.assign(&key, new)?,
                    _ => bail!("a slice that is assigned is no value"),
                }
                vec![Item::Variable(key)]
            }
            "ResourceGatherNd" => {
                let (table, at) = (self.tensor(input(0)?)?, self.tensor(input(1)?)?);
                self.rule(node, "GatherNd", &[table, at])?
            }
            "DestroyResourceOp" | "DisableCopyOnRead" => vec![],
            "Assign" | "AssignVariableOp" => {
                let key = variable()?;
                let v = self.tensor(input(1)?)?;
                self.assign(&key, v)?;
                vec![Item::Variable(key)]
            }
            "AssignAdd" | "AssignSub" | "AssignAddVariableOp" | "AssignSubVariableOp" => {
                let key = variable()?;
                let (old, by) = (self.read_variable(&key)?, self.tensor(input(1)?)?);
                let how = if op.starts_with("AssignAdd") { BinaryOp::Add } else { BinaryOp::Sub };
                let new = self.frame.b.binary(how, old, by)?;
                self.assign(&key, new)?;
                vec![Item::Variable(key)]
            }
            _ => {
                let key = variable()?;
                let (old, at, by) = (self.read_variable(&key)?, self.tensor(input(1)?)?, self.tensor(input(2)?)?);
                let new = self.scatter(op, old, at, by)?;
                self.assign(&key, new)?;
                vec![Item::Variable(key)]
            }
        })
    }

    /// `x` with `by` joined: with the slices that `at` names along the first axis, to which a scalar `by` is broadcast, or
    /// at the places that its last axis holds.
    fn scatter(&mut self, op: &str, x: Value, at: Value, by: Value) -> Result<Value> {
        let (nd, mode) = scattering(op).ok_or_else(|| anyhow!("the op is not supported yet"))?;
        let b = &mut self.frame.b;
        let at = if b.ty(at).dtype == DType::I16 { b.cast(DType::I32, at)? } else { at };
        if nd {
            return b.push(Scatter { mode }, &[x, at, by]);
        }
        let mut column = b.ty(at).shape.clone();
        let mut slices = column.clone();
        slices.extend(b.ty(x).shape.iter().skip(1).cloned());
        column.push(1.into());
        let at = b.reshape(at, &column)?;
        let by = if b.ty(by).rank() == 0 { b.broadcast(by, &slices)? } else { by };
        b.push(Scatter { mode }, &[x, at, by])
    }

    /// The value of a counter, which then is one larger; at its limit there is no further value.
    fn count_up(&mut self, key: &str, limit: i64) -> Result<Value> {
        let old = self.read_variable(key)?;
        let b = &mut self.frame.b;
        let last = b.constant(
            Tensor::from_i64s(b.ty(old).dtype, &[], &[limit]).ok_or_else(|| anyhow!("the variable is no counter"))?,
        )?;
        let below = b.compare(CompareOp::Lt, old, last)?;
        if b.checks {
            let message =
                b.constant(Tensor::of_strings(&[], vec![format!("Reached limit of {limit}").into_bytes()]))?;
            b.push_all(Assert { summarize: 1 }, &[below, message])?;
        }
        let next = b.binary_scalar(BinaryOp::Add, old, 1.0)?;
        // Where nothing stops the program, a counter stays at its limit.
        let next = b.select(below, next, old)?;
        self.assign(key, next)?;
        Ok(old)
    }

    /// One of several references: itself where the index is known, else its value.
    fn select_reference(&mut self, inputs: Vec<Item>) -> Result<Item> {
        let mut inputs = inputs.into_iter();
        let index = inputs.next().ok_or_else(|| anyhow!("it has no operand to select by"))?;
        let index = self.tensor(index)?;
        if let Some(known) = self.frame.b.as_const(index).and_then(Tensor::to_i64s) {
            let at = known.first().and_then(|&i| usize::try_from(i).ok());
            return at.and_then(|i| inputs.nth(i)).ok_or_else(|| anyhow!("the index {known:?} is out of range"));
        }
        let mut rows = vec![];
        for item in inputs {
            let v = self.tensor(item)?;
            let shape: Vec<_> = [1.into()].into_iter().chain(self.frame.b.ty(v).shape.iter().cloned()).collect();
            rows.push(self.frame.b.reshape(v, &shape)?);
        }
        let all = self.frame.b.push(Concat { axis: 0 }, &rows)?;
        Ok(Item::Value(self.frame.b.push(Gather { axis: 0, batch_dims: 0 }, &[all, index])?))
    }

    /// Gives a variable a value.
    pub(super) fn assign(&mut self, key: &str, v: Value) -> Result<()> {
        if let Some(declared) = self.model.variables.variables().get(key).and_then(|k| k.dtype)
            && DType::from_tf(declared.number()) != Some(self.frame.b.ty(v).dtype)
        {
            bail!("variable `{key}` is of type {declared}, the value is {}", self.frame.b.ty(v));
        }
        if self.frame.assigned.insert(key.to_string(), v).is_none() {
            self.frame.newly_assigned.insert(key.to_string());
        }
        Ok(())
    }

    /// The present value of a variable.
    pub(super) fn read_variable(&mut self, name: &str) -> Result<Value> {
        if let Some(&v) = self.frame.assigned.get(name).or_else(|| self.frame.read.get(name)) {
            return Ok(v);
        }
        if let Some(ty) = self.stacks.get(name).cloned() {
            return self.zeros(&ty);
        }
        let t = to_tensor(&self.model.variables.read(name)?)?;
        let b = &mut self.frame.b;
        let loc = std::mem::replace(&mut b.loc, Loc::new(name, "VarHandleOp"));
        let v = b.constant(t)?;
        b.loc = loc;
        self.frame.read.insert(name.to_string(), v);
        Ok(v)
    }

    /// A variable's key: the node's name, or `function/node`; only main graphs make variables that a checkpoint holds.
    fn variable_key(&self, node: &Node, depth: usize) -> Result<String> {
        let variables = self.model.variables.variables();
        if depth == 0 && variables.contains_key(&*node.name) {
            return Ok(node.name.to_string());
        }
        let suffix = format!("/{}", node.name);
        let mut found = variables.keys().filter(|k| k.ends_with(&suffix));
        match (found.next(), found.next()) {
            (Some(k), None) => Ok(k.clone()),
            _ => bail!("the variable is not among those that the model's files hold"),
        }
    }
}
