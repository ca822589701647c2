//! Stacks as ordinary buffers, which are threaded through the program as variables are.
//!
//! A stack of at most n elements is a buffer of n and the number of elements in it; one without a bound is a buffer as
//! long as it has elements. What its elements are is known when the first one is pushed: a function that holds the stack
//! before that starts from an empty buffer of that type.

use anyhow::{Context, Result, bail};
use kiln_ir::ops::effect::Assert;
use kiln_ir::ops::shape::join::Concat;
use kiln_ir::ops::shape::{DynamicSlice, DynamicUpdateSlice, Slice};
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::{DType, Dim, Tensor, TensorType, Value};

use super::super::graph::Node;
use super::{Converter, Item};

/// The ops of this file.
pub(super) const OPS: &[&str] =
    &["Stack", "StackV2", "StackPush", "StackPushV2", "StackPop", "StackPopV2", "StackClose", "StackCloseV2"];

/// Stacks of more elements grow as they are filled: their buffers are not made in advance.
const MAX_BOUND: i64 = 1 << 16;

/// The handle of a stack.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stack {
    /// Names the stack among the threaded values.
    name: String,
    dtype: DType,
    /// How many elements it takes.
    bound: Option<i64>,
}

impl Stack {
    /// The key of the buffer.
    fn elements(&self) -> String {
        format!("stack {}", self.name)
    }

    /// The key of the number of elements, where the buffer does not tell it.
    fn depth(&self) -> String {
        format!("depth of stack {}", self.name)
    }
}

impl Converter<'_> {
    pub(super) fn stack_op(&mut self, node: &Node, inputs: Vec<Item>, depth: usize) -> Result<Vec<Item>> {
        let handle = || match inputs.first() {
            Some(Item::Stack(s)) => Ok(s.clone()),
            _ => bail!("its first operand is not a stack that this graph makes"),
        };
        Ok(match &*node.op {
            "Stack" | "StackV2" => vec![Item::Stack(self.new_stack(node, inputs.first().cloned(), depth)?)],
            "StackPush" | "StackPushV2" => {
                let (stack, item) = (handle()?, inputs.get(1).cloned().context("it has no element to push")?);
                // An array's flow is pushed for its order only: whoever pops it waits for it, and reads no contents.
                let flow = matches!(item, Item::List(_)) && stack.dtype == DType::F32;
                let v = if flow { self.frame.b.scalar(DType::F32, 0.0)? } else { self.tensor(item.clone())? };
                self.push_element(&stack, v)?;
                vec![if flow { item } else { Item::Value(v) }]
            }
            "StackPop" | "StackPopV2" => vec![Item::Value(self.pop_element(&handle()?)?)],
            _ => vec![],
        })
    }

    fn new_stack(&mut self, node: &Node, bound: Option<Item>, depth: usize) -> Result<Stack> {
        let dtype = node.dtype("elem_type").and_then(|t| DType::from_tf(t.number()));
        let dtype = dtype.context("attribute `elem_type` is not a type that Kiln has")?;
        let bound = match bound {
            Some(item) => {
                let v = self.tensor(item)?;
                self.frame.b.as_const(v).and_then(Tensor::to_i64s).and_then(|n| n.first().copied())
            }
            None => None,
        };
        let bound = bound.filter(|n| (0..=MAX_BOUND).contains(n));
        // A call makes its stacks anew: those of calls before it are out of reach.
        let stack = Stack { name: format!("{}@{depth}", node.name), dtype, bound };
        for key in [stack.elements(), stack.depth()] {
            if let (true, Some(ty)) = (self.frame.assigned.contains_key(&key), self.stacks.get(&key).cloned()) {
                let empty = self.zeros(&ty)?;
                self.frame.assigned.insert(key, empty);
            }
        }
        Ok(stack)
    }

    /// Makes the state of a stack known, whose elements are like `v`.
    fn declare(&mut self, stack: &Stack, v: Value) -> Result<()> {
        let ty = self.frame.b.ty(v).clone();
        if ty.dtype != stack.dtype {
            bail!("{ty} is pushed onto a stack of {}", stack.dtype);
        }
        let known = self.stacks.get(&stack.elements()).is_some_and(|t| t.shape[1..] == ty.shape[..]);
        if !known {
            // A stack that takes nothing may still stand in code that never runs.
            let n = Dim::from(stack.bound.map_or(0, |n| n.max(1)));
            let shape = [n].into_iter().chain(ty.shape.iter().cloned()).collect();
            self.stacks.insert(stack.elements(), TensorType::new(ty.dtype, shape));
            self.stacks.insert(stack.depth(), TensorType::fixed(DType::I64, &[]));
        }
        Ok(())
    }

    fn push_element(&mut self, stack: &Stack, v: Value) -> Result<()> {
        self.declare(stack, v)?;
        let buffer = self.read_variable(&stack.elements())?;
        let row: Vec<Dim> = [Dim::from(1)].into_iter().chain(self.frame.b.ty(v).shape.iter().cloned()).collect();
        let row = self.frame.b.reshape(v, &row)?;
        let Some(bound) = stack.bound else {
            let longer = if self.frame.b.ty(buffer).shape[0].is(0) {
                row
            } else {
                self.frame.b.push(Concat { axis: 0 }, &[buffer, row])?
            };
            return self.assign(&stack.elements(), longer);
        };
        let at = self.read_variable(&stack.depth())?;
        let end = self.frame.b.scalar(DType::I64, bound as f64)?;
        let fits = self.frame.b.compare(CompareOp::Lt, at, end)?;
        self.stack_check(fits, &format!("Stack[{}] overflowed its max_size ({bound})", stack.name))?;
        let start = self.start(at, self.frame.b.ty(buffer).rank())?;
        let buffer = self.frame.b.push(DynamicUpdateSlice, &[buffer, row, start])?;
        let next = self.frame.b.binary_scalar(BinaryOp::Add, at, 1.0)?;
        self.assign(&stack.elements(), buffer)?;
        self.assign(&stack.depth(), next)
    }

    fn pop_element(&mut self, stack: &Stack) -> Result<Value> {
        if !self.stacks.contains_key(&stack.elements()) {
            bail!("Stack[{}] is empty when calling Pop()", stack.name);
        }
        let buffer = self.read_variable(&stack.elements())?;
        let shape = self.frame.b.ty(buffer).shape.clone();
        if stack.bound.is_none() {
            if shape[0].is(0) {
                bail!("Stack[{}] is empty when calling Pop()", stack.name);
            }
            let n = shape[0].clone() - Dim::from(1);
            let b = &mut self.frame.b;
            let last = b.push(Slice::along(&shape, 0, n.clone(), Dim::from(1)), &[buffer])?;
            let last = b.reshape(last, &shape[1..])?;
            let rest = b.push(Slice::along(&shape, 0, Dim::from(0), n), &[buffer])?;
            self.assign(&stack.elements(), rest)?;
            return Ok(last);
        }
        let depth = self.read_variable(&stack.depth())?;
        let none = self.frame.b.scalar(DType::I64, 0.0)?;
        let some = self.frame.b.compare(CompareOp::Gt, depth, none)?;
        self.stack_check(some, &format!("Stack[{}] is empty when calling Pop()", stack.name))?;
        let at = self.frame.b.binary_scalar(BinaryOp::Sub, depth, 1.0)?;
        let start = self.start(at, shape.len())?;
        let size: Vec<Dim> = [Dim::from(1)].into_iter().chain(shape[1..].iter().cloned()).collect();
        let last = self.frame.b.push(DynamicSlice { size }, &[buffer, start])?;
        self.assign(&stack.depth(), at)?;
        self.frame.b.reshape(last, &shape[1..])
    }

    /// Stops the program with a message of its own where checks are built; the access itself is checked in any case.
    fn stack_check(&mut self, holds: Value, message: &str) -> Result<()> {
        let b = &mut self.frame.b;
        if b.checks && b.as_const(holds).is_none_or(|t| t.to_i64s() != Some(vec![1])) {
            let message = b.constant(Tensor::of_strings(&[], vec![message.as_bytes().to_vec()]))?;
            b.push_all(Assert { summarize: 1 }, &[holds, message])?;
        }
        Ok(())
    }
}
