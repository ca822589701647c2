//! Generators of random numbers whose state is a variable: `Stateful*`, `RngSkip` and `RngReadAndSkip`.
//!
//! The state of Philox is an i64 vector: the counter's low and high half, then the key. An op draws from the place where
//! the state is, as the stateless ops do from a key and a counter, and sets 256 blocks aside for each sample, or for each
//! step that it skips.

use anyhow::{Context, Result, bail};
use kiln_ir::ops::constant::Dims;
use kiln_ir::ops::random::binomial::Binomial;
use kiln_ir::ops::random::parameters;
use kiln_ir::ops::random::sample::RandomSample;
use kiln_ir::ops::shape::Slice;
use kiln_ir::ops::shape::join::Concat;
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::tf::{TfCx, TfNode};
use kiln_ir::{DType, Dim, Tensor, Value};

use super::super::graph::Node;
use super::{Converter, Item};

/// The ops of this file with their distributions.
const OPS: &[(&str, &str)] = &[
    ("StatefulUniform", "uniform"),
    ("StatefulUniformInt", "int"),
    ("StatefulUniformFullInt", "bits"),
    ("StatefulStandardNormalV2", "normal"),
    ("StatefulTruncatedNormal", "truncated_normal"),
    ("StatefulRandomBinomial", "binomial"),
    ("RngSkip", ""),
    ("RngReadAndSkip", ""),
];

/// Whether an op is one of this file.
pub(super) fn is_generator(op: &str) -> bool {
    OPS.iter().any(|o| o.0 == op)
}

impl Converter<'_> {
    pub(super) fn generate(&mut self, node: &Node, inputs: Vec<Item>) -> Result<Vec<Item>> {
        let Some(Item::Variable(key)) = inputs.first().cloned() else { bail!("its first operand is not a variable") };
        let values = inputs[1..].iter().cloned().map(|i| self.tensor(i)).collect::<Result<Vec<_>>>()?;
        let state = self.read_variable(&key)?;
        let ty = self.frame.b.ty(state).clone();
        let length = ty.shape.first().and_then(Dim::as_const);
        if ty.dtype != DType::I64 || ty.rank() != 1 || length.is_some_and(|n| n < 3) {
            bail!("a generator's state is {ty}; that of Philox is three i64");
        }
        let algorithm = *values.first().context("it has no algorithm")?;
        let known = self.frame.b.as_const(algorithm).and_then(Tensor::to_i64s);
        match known.context("the algorithm must be known when the model is compiled")?[..] {
            // Philox, or the device's choice, which is Philox on CPUs.
            [1] | [3] => {}
            _ => bail!("TensorFlow's CPU kernels have no random algorithm but Philox"),
        }
        let mut part = |from: usize, n: usize| {
            let b = &mut self.frame.b;
            let v = b.push(Slice::along(&ty.shape, 0, Dim::from(from), Dim::from(n)), &[state])?;
            b.cast(DType::U64, v)
        };
        let (counter, seed) = (part(0, 2)?, part(2, 1)?);
        if OPS.iter().any(|o| o.0 == &*node.op && o.1.is_empty()) {
            let steps = *values.get(1).context("it has no number of steps")?;
            let steps = self.frame.b.cast(DType::U64, steps)?;
            self.advance(&key, state, counter, steps)?;
            return if &*node.op == "RngSkip" { Ok(vec![]) } else { Ok(vec![Item::Value(self.padded(state)?)]) };
        }
        let shape = self.frame.b.sizes(2, *values.get(1).context("it has no shape")?)?;
        let dtype = node.dtype("dtype").and_then(|t| DType::from_tf(t.number())).context("attribute `dtype`")?;
        if &*node.op == "StatefulRandomBinomial" {
            let tf = TfNode { name: node.name.clone(), op: node.op.clone(), attrs: Default::default() };
            let mut cx = TfCx { b: &mut self.frame.b, node: &tf, inputs: &values };
            let (mut operands, rank) = parameters(&mut cx, &shape, 2, 2)?;
            let (outer, batches) = shape.split_at(shape.len() - rank);
            // Places for 100 tries of two numbers each.
            let steps = Dim::product(batches) * Dim::from(200) * (Dim::product(outer) + Dim::from(3));
            let steps = self.number(steps.floor_div(&Dim::from(4)))?;
            self.advance(&key, state, counter, steps)?;
            operands.extend([seed, counter]);
            return Ok(vec![Item::Value(self.frame.b.push(Binomial { shape, dtype }, &operands)?)]);
        }
        let samples = self.number(Dim::product(&shape))?;
        self.advance(&key, state, counter, samples)?;
        let distribution = OPS.iter().find(|o| o.0 == &*node.op).map_or("", |o| o.1).to_string();
        let bounds = &values[2.min(values.len())..];
        let operands = [&[seed, counter], bounds].concat();
        Ok(vec![Item::Value(self.frame.b.push(RandomSample { distribution, dtype, shape }, &operands)?)])
    }

    /// A size as a u64 scalar.
    fn number(&mut self, n: Dim) -> Result<Value> {
        let n = self.frame.b.push(Dims { dims: vec![n], scalar: true, dtype: DType::I64 }, &[])?;
        self.frame.b.cast(DType::U64, n)
    }

    /// Moves the counter on by 256 blocks for each step; its halves are one number of 128 bits.
    fn advance(&mut self, key: &str, state: Value, counter: Value, steps: Value) -> Result<()> {
        let b = &mut self.frame.b;
        let shape = b.ty(state).shape.clone();
        let pair = [Dim::from(2)];
        let blocks = b.binary_scalar(BinaryOp::Mul, steps, 256.0)?;
        let one = [Dim::from(1)];
        let blocks = b.reshape(blocks, &one)?;
        let low = b.push(Slice::along(&pair, 0, Dim::from(0), Dim::from(1)), &[counter])?;
        let high = b.push(Slice::along(&pair, 0, Dim::from(1), Dim::from(1)), &[counter])?;
        let new = b.binary(BinaryOp::Add, low, blocks)?;
        let carry = b.compare(CompareOp::Lt, new, low)?;
        let carry = b.cast(DType::U64, carry)?;
        let high = b.binary(BinaryOp::Add, high, carry)?;
        let (low, high) = (b.cast(DType::I64, new)?, b.cast(DType::I64, high)?);
        let behind = shape[0].clone() - Dim::from(2);
        let rest = b.push(Slice::along(&shape, 0, Dim::from(2), behind), &[state])?;
        let new = b.push(Concat { axis: 0 }, &[low, high, rest])?;
        self.assign(key, new)
    }

    /// The first three elements of a state, which is what the widest algorithm has.
    fn padded(&mut self, state: Value) -> Result<Value> {
        let b = &mut self.frame.b;
        let shape = b.ty(state).shape.clone();
        b.push(Slice::along(&shape, 0, Dim::from(0), Dim::from(3)), &[state])
    }
}
