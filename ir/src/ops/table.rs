//! `table_find`: a look-up in a table whose contents are known when the model is compiled.
//!
//! Constraints: C1 operands keys, default; C2 keys and default have the table's types; C3 the default has the shape of
//! one value; C4 as many keys as values, keys of integers or strings.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::ops::host::{ints, require};
use crate::ops::shape::{arity, assemble};
use crate::tensor::Tensor;
use crate::{Builder, DType, Dim};

/// The places of values by key, built at the first look-up. Strings and integers are told apart by the key's type.
#[derive(Debug)]
enum Index {
    Integers(HashMap<i64, usize>),
    Strings(HashMap<Vec<u8>, usize>),
}

/// `table_find keys, default`: the value of each key, or the default.
#[derive(Debug, Clone)]
pub struct TableFind {
    keys: Tensor,
    values: Tensor,
    index: Arc<OnceLock<Index>>,
}

impl TableFind {
    /// A table of a vector of keys and as many rows of values; of equal keys the last counts.
    pub fn new(keys: Tensor, values: Tensor) -> TableFind {
        TableFind { keys, values, index: Arc::default() }
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| match self.keys.strings() {
            Some(s) => Index::Strings(s.iter().cloned().enumerate().map(|(i, k)| (k, i)).collect()),
            None => Index::Integers(ints(&self.keys).into_iter().enumerate().map(|(i, k)| (k, i)).collect()),
        })
    }
}

impl Op for TableFind {
    fn name(&self) -> &'static str {
        "table_find"
    }
    fn attrs(&self) -> Attrs {
        Attrs::none().with("keys", Attr::Tensor(self.keys.clone())).with("values", Attr::Tensor(self.values.clone()))
    }
    fn effect(&self) -> Effect {
        Effect::Pure
    }
    fn infer(&self, given: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x, default] = arity("table_find", given)?;
        let key = self.keys.dtype();
        require("table_find", "C4", key.is_int() || key == DType::String, || format!("keys of type {key}"))?;
        let rows = self.keys.shape().len() == 1 && self.values.shape().first() == self.keys.shape().first();
        require("table_find", "C4", rows, || format!("values {:?} for keys {:?}", self.values, self.keys))?;
        let types = x.dtype == key && default.dtype == self.values.dtype();
        require("table_find", "C2", types, || {
            format!("{x} and {default} in a table of {key} to {}", self.values.dtype())
        })?;
        let value: Vec<Dim> = self.values.shape()[1..].iter().map(|&n| Dim::from(n)).collect();
        // TensorFlow takes a vector of one for a scalar.
        let fits = default.shape == value || (value.is_empty() && default.rank() == 1);
        require("table_find", "C3", fits, || format!("{default} stands for values of shape {value:?}"))?;
        Ok(vec![TensorType::new(self.values.dtype(), [&x.shape[..], &value].concat())])
    }
    fn eval(&self, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let places: Vec<Option<usize>> = match (self.index(), x[0].strings()) {
            (Index::Strings(index), Some(keys)) => keys.iter().map(|k| index.get(k).copied()).collect(),
            (Index::Integers(index), _) => ints(x[0]).iter().map(|k| index.get(k).copied()).collect(),
            _ => return Err(OpError::new("table_find", "C2", format!("{:?} holds no keys of the table", x[0]))),
        };
        let value = &self.values.shape()[1..];
        let row: usize = value.iter().product();
        require("table_find", "E1", x[1].len() == row, || format!("the default {:?} is no value", x[1]))?;
        let shape = [x[0].shape(), value].concat();
        let found = assemble("table_find", &shape, &[&self.values, x[1]], |emit| {
            for p in places {
                match p {
                    Some(i) => emit(0, i * row, row),
                    None => emit(1, 0, row),
                }
            }
        })?;
        Ok(vec![found])
    }
    fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
        vec![None]
    }
    fn vjp(&self, _: &mut Builder, _: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
        Err(NoGradient::NotDifferentiable)
    }
    fn lower(&self, _: &[&TensorType]) -> Lower {
        Lower::Host
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The op of this file.
pub const OPS: &[OpDef] = &[OpDef {
    name: "table_find",
    parse: |a| Ok(Arc::new(TableFind::new(a.tensor("keys")?, a.tensor("values")?))),
    tf: &[],
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_and_others_give_the_default() {
        let keys = Tensor::of_strings(&[3], vec![b"a".to_vec(), b"b".to_vec(), b"a".to_vec()]);
        let op = TableFind::new(keys, Tensor::of(&[3], &[1i64, 2, 3]));
        let x = Tensor::of_strings(&[2, 2], [b"b", b"a", b"c", b"b"].map(|k| k.to_vec()).to_vec());
        let y = op.eval(&[&x, &Tensor::scalar(-1i64)]).unwrap().remove(0);
        assert_eq!((y.shape(), y.to_i64s()), (&[2, 2][..], Some(vec![2, 3, -1, 2])));
        let rows = TableFind::new(Tensor::of(&[2], &[7i32, 9]), Tensor::of(&[2, 2], &[1f32, 2.0, 3.0, 4.0]));
        let y = rows.eval(&[&Tensor::of(&[2], &[9i32, 0]), &Tensor::of(&[2], &[0f32, 5.0])]).unwrap().remove(0);
        assert_eq!(y.as_slice::<f32>(), Some(&[3.0, 4.0, 0.0, 5.0][..]));
    }

    #[test]
    fn wrong_types_are_refused() {
        let op = TableFind::new(Tensor::of(&[1], &[7i64]), Tensor::of(&[1], &[1f32]));
        let code = |x: DType, d: TensorType| op.infer(&[&TensorType::fixed(x, &[3]), &d]).unwrap_err().code;
        assert_eq!(code(DType::I32, TensorType::fixed(DType::F32, &[])), "C2");
        assert_eq!(code(DType::I64, TensorType::fixed(DType::F32, &[2, 2])), "C3");
    }
}
