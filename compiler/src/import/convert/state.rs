//! Variables: reads, assignments and updates as values threaded through the program in the order of its control edges.
//!
//! A variable that nothing assigns is a constant. One that is assigned has a present value in the function under
//! construction; conditionals and loops take it as an operand and give it back as a result.

use anyhow::{Result, anyhow, bail};
use kiln_ir::scalar::BinaryOp;
use kiln_ir::{DType, Loc, Tensor, Value};

use super::super::graph::{Body, Node};
use super::{Converter, Item, to_tensor};

/// The ops of this file.
pub(super) const OPS: &[&str] = &[
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
    "ResourceScatterUpdate",
    "ResourceScatterAdd",
    "ResourceScatterSub",
    "ResourceScatterMax",
    "ResourceScatterMin",
    "ScatterUpdate",
    "ScatterAdd",
    "ScatterSub",
    "ScatterMax",
    "ScatterMin",
];

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
            // Whoever asks wants to know whether to run the initializer; what it would assign is there.
            "VarIsInitializedOp" | "IsVariableInitialized" => {
                vec![Item::Value(self.frame.b.constant(Tensor::of_bools(&[], &[true]))?)]
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

    /// `x` with the slices that `at` names along the first axis joined with `by`.
    fn scatter(&mut self, op: &str, x: Value, at: Value, by: Value) -> Result<Value> {
        use kiln_ir::ops::gather::{Scatter, ScatterMode};
        let mode = match op.trim_start_matches("Resource") {
            "ScatterUpdate" => None,
            "ScatterAdd" => Some(BinaryOp::Add),
            "ScatterSub" => Some(BinaryOp::Sub),
            "ScatterMax" => Some(BinaryOp::Max),
            "ScatterMin" => Some(BinaryOp::Min),
            _ => bail!("the op is not supported yet"),
        };
        let b = &mut self.frame.b;
        let mut column = b.ty(at).shape.clone();
        let mut slices = column.clone();
        slices.extend(b.ty(x).shape.iter().skip(1).cloned());
        column.push(1.into());
        let at = b.reshape(at, &column)?;
        let by = b.broadcast(by, &slices)?;
        b.push(Scatter { mode: ScatterMode(mode) }, &[x, at, by])
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
