//! Ops of XLA that take functions of scalars, or variables. What they compute is built by `kiln_ir::ops::xla`; here their
//! functions are found in the graph's library and built on scalar parameters.

use anyhow::{Context, Result, anyhow, bail};
use kiln_ir::ops::xla::{Scalars, blocks, fold, index, sort, window};
use kiln_ir::tf::{TfCx, TfNode};
use kiln_ir::{DType, ParamKind, TensorType, Value};

use super::super::graph::Node;
use super::control::Entry;
use super::{Converter, Item, attributes};

/// The ops of this file.
pub(super) const OPS: &[&str] = &[
    "XlaReduce",
    "XlaVariadicReduce",
    "XlaVariadicReduceV2",
    "XlaReduceWindow",
    "XlaSelectAndScatter",
    "XlaScatter",
    "XlaVariadicSort",
    "ReadVariableXlaSplitND",
    "AssignVariableXlaConcatND",
];

/// The integers of a list attribute.
fn ints(node: &Node, attr: &str) -> Result<Vec<i64>> {
    node.list(attr).map(|l| l.i.clone()).ok_or_else(|| anyhow!("attribute `{attr}` is no list of integers"))
}

impl Converter<'_> {
    pub(super) fn xla_op(&mut self, node: &Node, inputs: Vec<Item>, depth: usize) -> Result<Vec<Item>> {
        let op = &*node.op;
        if op.ends_with("ND") {
            return self.xla_variable(node, inputs);
        }
        let values = inputs.into_iter().map(|i| self.tensor(i)).collect::<Result<Vec<_>>>()?;
        let types = |c: &Self, of: &[Value]| of.iter().map(|&v| c.frame.b.ty(v).dtype).collect::<Vec<_>>();
        let two = |v: &[Value]| v.first().map(|&v| vec![v; 2]).ok_or_else(|| anyhow!("it has no operand"));
        let pairs = |v: &[Value]| v.iter().flat_map(|&v| [v; 2]).collect::<Vec<_>>();
        let results = match op {
            "XlaReduce" | "XlaVariadicReduce" | "XlaVariadicReduceV2" => {
                let (xs, inits) = values.split_at(values.len() / 2);
                // Two of each operand: all that are there, then all that are combined with them.
                let f = self.scalars(node, "reducer", &types(self, &[xs, xs].concat()), depth)?;
                let over = ints(node, "dimensions_to_reduce")?;
                fold::reduce(&mut self.frame.b, xs, inits, &over, &f)?
            }
            "XlaReduceWindow" => {
                let f = self.scalars(node, "computation", &types(self, &two(&values)?), depth)?;
                let dims = self.with_cx(node, &values, |cx| window::reduce_window_dims(cx))?;
                vec![window::reduce_window(&mut self.frame.b, values[0], values[1], &dims, &f)?]
            }
            "XlaSelectAndScatter" => {
                let of = types(self, &two(&values)?);
                let (select, scatter) =
                    (self.scalars(node, "select", &of, depth)?, self.scalars(node, "scatter", &of, depth)?);
                let lists = |cx: &mut TfCx<'_>| Ok((cx.const_ints(1)?, cx.const_ints(2)?, cx.const_ints(3)?));
                let (size, stride, padding) = self.with_cx(node, &values, lists)?;
                let dims = window::dims(&size, &stride, &vec![1; size.len()], &vec![1; size.len()], &padding)?;
                let &[operand, .., source, init] = &values[..] else { bail!("it has {} operands", values.len()) };
                let s = window::SelectAndScatter { operand, source, init, select: &select, scatter: &scatter };
                vec![window::select_and_scatter(&mut self.frame.b, &s, &dims)?]
            }
            "XlaScatter" => {
                let f = self.scalars(node, "update_computation", &types(self, &two(&values)?), depth)?;
                vec![self.with_cx(node, &values, |cx| index::scatter(cx, &f))?]
            }
            _ => {
                let Some((_, xs)) = values.split_last() else { bail!("it has no operand") };
                let f = self.scalars(node, "comparator", &types(self, &pairs(xs)), depth)?;
                let axis = self.with_cx(node, &values, |cx| cx.const_ints(xs.len()))?;
                let &[axis] = &axis[..] else { bail!("it sorts along {axis:?}, not one axis") };
                sort::sort(&mut self.frame.b, xs, axis, &f)?
            }
        };
        Ok(results.into_iter().map(Item::Value).collect())
    }

    /// Blocks of a variable: read, or assigned.
    fn xla_variable(&mut self, node: &Node, inputs: Vec<Item>) -> Result<Vec<Item>> {
        let mut inputs = inputs.into_iter();
        let Some(Item::Variable(key)) = inputs.next() else { bail!("its first operand is not a variable") };
        let paddings = ints(node, "paddings")?;
        if &*node.op == "ReadVariableXlaSplitND" {
            let (x, parts) = (self.read_variable(&key)?, ints(node, "num_splits")?);
            let count = node.int("N").context("attribute `N` is missing")?;
            let values = blocks::split(&mut self.frame.b, x, count, &parts, &paddings)?;
            return Ok(values.into_iter().map(Item::Value).collect());
        }
        let values = inputs.map(|i| self.tensor(i)).collect::<Result<Vec<_>>>()?;
        let whole = blocks::join(&mut self.frame.b, &values, &ints(node, "num_concats")?, &paddings)?;
        self.assign(&key, whole)?;
        Ok(vec![])
    }

    /// The function that an attribute names, on scalars of these types.
    fn scalars(&mut self, node: &Node, attr: &str, of: &[DType], depth: usize) -> Result<Scalars> {
        let name = node.func(attr).map(|f| f.name.clone());
        let name = name.with_context(|| format!("attribute `{attr}` names no function"))?;
        let entries: Vec<Entry> = of.iter().map(|&d| Entry::Param(TensorType::new(d, vec![]))).collect();
        let mut sub = self.build(&name, &entries, &[], depth)?;
        if !sub.escaping().is_empty() {
            bail!("function `{name}` assigns variables {:?}", sub.escaping());
        }
        let items = std::mem::take(&mut sub.items);
        let results = self.inside(&mut sub, |c| items.into_iter().map(|i| c.tensor(i)).collect::<Result<Vec<_>>>())?;
        for (i, v) in results.into_iter().enumerate() {
            sub.frame.b.func.add_result(&format!("r{i}"), ParamKind::Input, v);
        }
        Scalars::new(&name, sub.frame.b.func)
    }

    /// Runs `f` on the node as import rules see it.
    fn with_cx<T>(&mut self, node: &Node, inputs: &[Value], f: impl FnOnce(&mut TfCx<'_>) -> Result<T>) -> Result<T> {
        let tf = TfNode { name: node.name.clone(), op: node.op.clone(), attrs: attributes(node)? };
        f(&mut TfCx { b: &mut self.frame.b, node: &tf, inputs })
    }
}
