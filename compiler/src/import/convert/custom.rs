//! Nodes of ops that the user binds to C functions (`--custom-op`).

use anyhow::{Context, Result, anyhow, bail};
use kiln_ir::ops::custom::{Custom, result_shape};
use kiln_ir::tf::TfAttr;
use kiln_ir::{DType, TensorType};

use super::{Converter, Item, Node, attributes};
use crate::import::op_defs::OpInterface;

/// The C function of an op, and what its results are like.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomOp {
    /// The function.
    pub symbol: String,
    /// The shape of each result, as [`result_shape`] reads it; empty: every result has the first operand's.
    pub shapes: Vec<String>,
}

/// The most results of a custom op: a number in a file is not trusted.
const MAX_RESULTS: usize = 256;

impl Converter<'_> {
    pub(super) fn custom_op(&mut self, node: &Node, op: &CustomOp, inputs: Vec<Item>) -> Result<Vec<Item>> {
        let inputs = inputs.into_iter().map(|i| self.tensor(i)).collect::<Result<Vec<_>>>()?;
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.frame.b.func.ty(v)).collect();
        let dtypes = result_dtypes(node, op, &types)?;
        let mut results = vec![];
        for (i, dtype) in dtypes.into_iter().enumerate() {
            let text = if op.shapes.is_empty() { "i0" } else { op.shapes[i].as_str() };
            let shape = result_shape(text, &types)
                .map_err(|e| anyhow!("the shape of result {i} of the custom op `{}`: {e}", node.op))?;
            results.push(TensorType::new(dtype, shape));
        }
        let custom = Custom { symbol: op.symbol.clone(), attributes: json(node)?, results };
        Ok(self.frame.b.push_all(custom, &inputs)?.into_iter().map(Item::Value).collect())
    }
}

/// The element types of the results: what the op's definition says, where the model brings one. Without one there are as many
/// results as shapes, of the first operand's type.
fn result_dtypes(node: &Node, op: &CustomOp, operands: &[&TensorType]) -> Result<Vec<DType>> {
    let dtypes = match &node.interface {
        Some(interface) => {
            let attr = |name: &str| node.attrs.get(name);
            let count = OpInterface::tensors(&interface.outputs, &attr).map_err(|e| anyhow!("its results: {e}"))?;
            if count > MAX_RESULTS {
                bail!("it has {count} results, more than the {MAX_RESULTS} that a custom op may have");
            }
            let types = (0..count).map(|i| DType::from_tf(interface.output_dtype(i, &attr)?.number()));
            types.collect::<Option<Vec<_>>>().context("it has a result of a type that kernels do not hold")?
        }
        None => {
            let first = operands.first().context("it has no operand whose type its results could have")?;
            vec![first.dtype; op.shapes.len().max(1)]
        }
    };
    if !op.shapes.is_empty() && op.shapes.len() != dtypes.len() {
        bail!("it has {} results; --custom-shape gives {} shapes", dtypes.len(), op.shapes.len());
    }
    Ok(dtypes)
}

/// A node's attributes as a JSON object: numbers, booleans, strings, lists; types by TensorFlow's number, shapes as lists with -1
/// for what is open and `null` for an unknown rank. Tensors and functions are left out.
fn json(node: &Node) -> Result<String> {
    fn value(a: &TfAttr) -> Option<serde_json::Value> {
        Some(match a {
            TfAttr::Int(i) => (*i).into(),
            TfAttr::Float(f) => f64::from(*f).into(),
            TfAttr::Bool(b) => (*b).into(),
            TfAttr::Str(s) => String::from_utf8_lossy(s).into_owned().into(),
            TfAttr::Type(t) => t.tf_number().into(),
            TfAttr::Shape(None) => serde_json::Value::Null,
            TfAttr::Shape(Some(s)) => s.iter().map(|d| d.unwrap_or(-1)).collect(),
            TfAttr::List(l) => l.iter().filter_map(value).collect(),
            TfAttr::Tensor(_) | TfAttr::Func(_) => return None,
        })
    }
    let attrs = attributes(node)?;
    let object: serde_json::Map<String, serde_json::Value> =
        attrs.iter().filter_map(|(k, v)| Some((k.clone(), value(v)?))).collect();
    Ok(serde_json::Value::Object(object).to_string())
}
