//! TensorLists and TensorArrays as ordinary buffers: a list of n tensors is one tensor with a first axis of n.
//!
//! Elements that were never set are zero, as TensorFlow reads them. A list that was reserved before the shape of its
//! elements is known stays without a buffer until its first element is set. A TensorArray's contents travel as its flow,
//! so its handle is known at compile time.

use anyhow::{Context, Result, anyhow, bail};
use kiln_ir::ops::shape::join::Concat;
use kiln_ir::ops::shape::{DynamicSlice, DynamicUpdateSlice, Slice};
use kiln_ir::scalar::BinaryOp;
use kiln_ir::{DType, Dim, Tensor, TensorType, Value};

use super::super::graph::Node;
use super::{Converter, Item};

/// The ops of this file.
pub(super) const OPS: &[&str] = &[
    "EmptyTensorList",
    "TensorListReserve",
    "TensorListFromTensor",
    "TensorListStack",
    "TensorListGetItem",
    "TensorListSetItem",
    "TensorListPushBack",
    "TensorListPopBack",
    "TensorListLength",
    "TensorListElementShape",
    "TensorListResize",
    "TensorListGather",
    "TensorListScatter",
    "TensorListScatterV2",
    "TensorListScatterIntoExistingList",
    "TensorListConcatV2",
    "TensorListConcat",
    "TensorListSplit",
    "TensorListConcatLists",
    "TensorArrayV3",
    "TensorArrayWriteV3",
    "TensorArrayReadV3",
    "TensorArrayGatherV3",
    "TensorArrayScatterV3",
    "TensorArraySizeV3",
    "TensorArrayConcatV3",
    "TensorArraySplitV3",
    "TensorArrayCloseV3",
    "TensorArrayGradV3",
];

/// A list of tensors of one type.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub dtype: DType,
    pub data: ListData,
}

#[derive(Clone, Debug)]
pub(super) enum ListData {
    /// The elements along the first axis.
    Buffer(Value),
    /// Nothing was set yet: the length, and what is known of the elements' shape.
    Reserved(Dim, Option<Vec<Option<i64>>>),
}

/// The handle of a TensorArray.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub dtype: DType,
    /// Whether a write behind the end makes it longer.
    pub grows: bool,
    /// Whether it holds the gradients of another array's elements. Its flow is that array's where elements are written,
    /// which says nothing of its contents: each write makes an array of zeros but for what it writes, and the flows of
    /// several writes are added (`sum_of_lists`). Where elements are read, its contents are in its flow.
    pub grads: bool,
}

/// Operands and results of a list op, by what they are.
struct Operands {
    node: String,
    items: Vec<Item>,
}

impl Operands {
    fn get(&self, i: usize) -> Result<Item> {
        self.items.get(i).cloned().ok_or_else(|| anyhow!("operand {i} is missing"))
    }

    fn list(&self, i: usize) -> Result<List> {
        match self.get(i)? {
            Item::List(l) => Ok(l),
            _ => bail!("operand {i} of `{}` is not a list that this graph makes", self.node),
        }
    }

    fn array(&self, i: usize) -> Result<Array> {
        match self.get(i)? {
            Item::Array(a) => Ok(a),
            _ => bail!("operand {i} of `{}` is not a TensorArray that this graph makes", self.node),
        }
    }
}

fn buffer(dtype: DType, v: Value) -> Item {
    Item::List(List { dtype, data: ListData::Buffer(v) })
}

impl Converter<'_> {
    pub(super) fn list_op(&mut self, node: &Node, items: Vec<Item>) -> Result<Vec<Item>> {
        let x = Operands { node: node.name.to_string(), items };
        let value = |c: &mut Self, i: usize| x.get(i).and_then(|item| c.tensor(item));
        let dtype = |attr: &str| {
            let ty = node.dtype(attr).and_then(|t| DType::from_tf(t.number()));
            ty.filter(|t| *t != DType::Variant).context("lists of lists are not supported")
        };
        Ok(match &*node.op {
            "EmptyTensorList" | "TensorListReserve" => {
                let shape = value(self, 0)?;
                let elem = self.partial_shape(shape);
                let n = match &*node.op {
                    "EmptyTensorList" => Dim::from(0),
                    _ => {
                        let n = value(self, 1)?;
                        self.size(1, n)?
                    }
                };
                vec![self.reserve(dtype("element_dtype")?, n, elem)?]
            }
            "TensorListFromTensor" => {
                let v = value(self, 0)?;
                vec![buffer(self.frame.b.ty(v).dtype, v)]
            }
            "TensorListStack" => {
                let (list, shape) = (x.list(0)?, value(self, 1)?);
                let shape = self.partial_shape(shape);
                vec![Item::Value(self.contents(list, shape)?)]
            }
            "TensorListGetItem" => {
                let (list, at, shape) = (x.list(0)?, value(self, 1)?, value(self, 2)?);
                let shape = self.partial_shape(shape);
                vec![Item::Value(self.get_item(list, at, shape)?)]
            }
            "TensorListSetItem" => {
                let (list, at, v) = (x.list(0)?, value(self, 1)?, value(self, 2)?);
                let grows = node.bool("resize_if_index_out_of_bounds").unwrap_or(false);
                vec![self.set_item(list, at, v, grows)?]
            }
            "TensorListPushBack" => {
                let (list, v) = (x.list(0)?, value(self, 1)?);
                let one = self.as_row(v)?;
                vec![self.append(list, one)?]
            }
            "TensorListPopBack" => {
                let list = x.list(0)?;
                let (dtype, v) = (list.dtype, self.contents(list, None)?);
                let shape = self.frame.b.ty(v).shape.clone();
                let n = shape[0].clone() - Dim::from(1);
                let b = &mut self.frame.b;
                let rest = b.push(Slice::along(&shape, 0, Dim::from(0), n.clone()), &[v])?;
                let last = b.push(Slice::along(&shape, 0, n, Dim::from(1)), &[v])?;
                let last = b.reshape(last, &shape[1..])?;
                vec![buffer(dtype, rest), Item::Value(last)]
            }
            "TensorListLength" => {
                let n = self.length(&x.list(0)?);
                vec![self.size_value(n)?]
            }
            "TensorArraySizeV3" => {
                let n = self.length(&x.list(1)?);
                vec![self.size_value(n)?]
            }
            "TensorListElementShape" => {
                let list = x.list(0)?;
                let elem = match &list.data {
                    ListData::Buffer(v) => self.frame.b.ty(*v).shape[1..].to_vec(),
                    ListData::Reserved(_, Some(e)) => e.iter().map(|d| Dim::from(d.unwrap_or(-1))).collect(),
                    ListData::Reserved(_, None) => bail!("the shape of the list's elements is not known yet"),
                };
                let dtype = dtype("shape_type")?;
                vec![Item::Value(
                    self.frame.b.push(kiln_ir::ops::constant::Dims { dims: elem, scalar: false, dtype }, &[])?,
                )]
            }
            "TensorListResize" => {
                let (list, n) = (x.list(0)?, value(self, 1)?);
                let n = self.size(1, n)?;
                vec![self.resize(list, n)?]
            }
            "TensorListGather" => {
                let (list, at, shape) = (x.list(0)?, value(self, 1)?, value(self, 2)?);
                let shape = self.partial_shape(shape);
                vec![Item::Value(self.gather(list, at, shape)?)]
            }
            "TensorArrayGatherV3" => {
                let (at, list) = (value(self, 1)?, x.list(2)?);
                vec![Item::Value(self.gather(list, at, declared_shape(node, "element_shape"))?)]
            }
            "TensorListScatter" | "TensorListScatterV2" => {
                let (v, at) = (value(self, 0)?, value(self, 1)?);
                let n = match &*node.op {
                    "TensorListScatterV2" => {
                        let n = value(self, 3)?;
                        self.size(3, n).ok().filter(|n| !n.is(-1))
                    }
                    _ => None,
                };
                let shape = self.frame.b.ty(v).shape.clone();
                // Without a length the list is as long as its indices demand: as many as there are, if they are distinct.
                let n = n.unwrap_or_else(|| shape[0].clone());
                let list = List {
                    dtype: self.frame.b.ty(v).dtype,
                    data: ListData::Reserved(n, shape[1..].iter().map(Dim::as_const).map(Some).collect()),
                };
                vec![self.scatter_rows(list, at, v)?]
            }
            "TensorListScatterIntoExistingList" => {
                let (list, v, at) = (x.list(0)?, value(self, 1)?, value(self, 2)?);
                vec![self.scatter_rows(list, at, v)?]
            }
            "TensorArrayScatterV3" => {
                let (at, v, list) = (value(self, 1)?, value(self, 2)?, x.list(3)?);
                let list = if x.array(0)?.grads { self.emptied(list) } else { list };
                let n = self.frame.b.ty(v).shape[0].clone();
                let list = match (x.array(0)?.grows, &list.data) {
                    (true, ListData::Reserved(have, _)) if have.is(0) => {
                        List { data: ListData::Reserved(n, None), ..list }
                    }
                    _ => list,
                };
                vec![self.scatter_rows(list, at, v)?]
            }
            "TensorListConcatV2" | "TensorListConcat" | "TensorArrayConcatV3" => {
                let list = x.list(if node.op.starts_with("TensorList") { 0 } else { 1 })?;
                let v = self.contents(list, None)?;
                let shape = self.frame.b.ty(v).shape.clone();
                let [n, each, rest @ ..] = &shape[..] else { bail!("scalars cannot be joined along an axis") };
                let joined: Vec<Dim> = [n.clone() * each.clone()].into_iter().chain(rest.iter().cloned()).collect();
                let b = &mut self.frame.b;
                let joined = b.reshape(v, &joined)?;
                let one = kiln_ir::ops::constant::Dims { dims: vec![each.clone()], scalar: true, dtype: DType::I64 };
                let one = b.push(one, &[])?;
                vec![Item::Value(joined), Item::Value(b.broadcast(one, std::slice::from_ref(n))?)]
            }
            "TensorListSplit" | "TensorArraySplitV3" => {
                let of_list = node.op.starts_with("TensorList");
                let (v, lengths) =
                    if of_list { (value(self, 0)?, value(self, 2)?) } else { (value(self, 1)?, value(self, 2)?) };
                let sizes = self.frame.b.sizes(2, lengths)?;
                let Some(first) = sizes.first().filter(|f| sizes.iter().all(|s| s == *f)) else {
                    bail!("parts of different lengths {sizes:?} do not fit one list")
                };
                let ty = self.frame.b.ty(v).clone();
                let mut shape = vec![Dim::from(sizes.len()), first.clone()];
                shape.extend(ty.shape.iter().skip(1).cloned());
                vec![buffer(ty.dtype, self.frame.b.reshape(v, &shape)?)]
            }
            "TensorListConcatLists" => {
                let (a, b) = (x.list(0)?, x.list(1)?);
                let b = self.contents(b, None)?;
                vec![self.append(a, b)?]
            }
            "TensorArrayV3" => {
                let (dtype, n) = (dtype("dtype")?, value(self, 0)?);
                let n = self.size(0, n)?;
                let array = Array { dtype, grows: node.bool("dynamic_size").unwrap_or(false), grads: false };
                vec![Item::Array(array), self.reserve(dtype, n, declared_shape(node, "element_shape"))?]
            }
            "TensorArrayGradV3" => vec![Item::Array(Array { grads: true, grows: false, ..x.array(0)? }), x.get(1)?],
            "TensorArrayWriteV3" => {
                let (array, at, v, list) = (x.array(0)?, value(self, 1)?, value(self, 2)?, x.list(3)?);
                let list = if array.grads { self.emptied(list) } else { list };
                vec![self.set_item(list, at, v, array.grows)?]
            }
            "TensorArrayReadV3" => {
                let (at, list) = (value(self, 1)?, x.list(2)?);
                vec![Item::Value(self.get_item(list, at, None)?)]
            }
            "TensorArrayCloseV3" => vec![],
            op => bail!("{op} is not supported yet"),
        })
    }

    /// A list of the same length and type of which nothing is set.
    fn emptied(&self, list: List) -> List {
        let n = self.length(&list);
        let elem = match &list.data {
            ListData::Buffer(v) => self.frame.b.ty(*v).shape[1..].iter().map(Dim::as_const).map(Some).collect(),
            ListData::Reserved(_, elem) => elem.clone(),
        };
        List { data: ListData::Reserved(n, elem), ..list }
    }

    /// The sum of lists, element by element; a scalar stands for a list of zeros.
    pub(super) fn sum_of_lists(&mut self, items: Vec<Item>) -> Result<Item> {
        let mut sum: Option<(DType, Value)> = None;
        let mut empty = None;
        for item in items {
            match item {
                Item::List(List { dtype, data: ListData::Buffer(v) }) => {
                    let all = match sum {
                        Some((_, before)) => self.frame.b.binary(BinaryOp::Add, before, v)?,
                        None => v,
                    };
                    sum = Some((dtype, all));
                }
                Item::List(l) => empty = Some(l),
                Item::Value(v) if self.frame.b.ty(v).rank() == 0 => {}
                _ => bail!("a list is added to what is none"),
            }
        }
        match (sum, empty) {
            (Some((dtype, v)), _) => Ok(buffer(dtype, v)),
            (None, Some(l)) => Ok(Item::List(l)),
            (None, None) => bail!("there is no list to add"),
        }
    }

    /// A list without elements set.
    fn reserve(&mut self, dtype: DType, n: Dim, elem: Option<Vec<Option<i64>>>) -> Result<Item> {
        let list = List { dtype, data: ListData::Reserved(n, elem) };
        Ok(Item::List(match &list.data {
            ListData::Reserved(_, Some(e)) if e.iter().all(Option::is_some) => {
                let v = self.contents(list, None)?;
                List { dtype, data: ListData::Buffer(v) }
            }
            _ => list,
        }))
    }

    pub(super) fn length(&self, list: &List) -> Dim {
        match &list.data {
            ListData::Buffer(v) => self.frame.b.ty(*v).shape.first().cloned().unwrap_or_else(|| Dim::from(0)),
            ListData::Reserved(n, _) => n.clone(),
        }
    }

    /// Zeros for a list's elements.
    pub(super) fn zeros(&mut self, ty: &TensorType) -> Result<Value> {
        let zero = if ty.dtype == DType::String {
            self.frame.b.constant(Tensor::zeros(DType::String, &[]))?
        } else {
            self.frame.b.scalar(ty.dtype, 0.0)?
        };
        self.frame.b.broadcast(zero, &ty.shape)
    }

    /// The buffer of a list; one that was only reserved is made of zeros, if its elements' shape is known by now.
    fn contents(&mut self, list: List, elem: Option<Vec<Option<i64>>>) -> Result<Value> {
        match list.data {
            ListData::Buffer(v) => Ok(v),
            ListData::Reserved(n, known) => {
                let full = |e: Option<Vec<Option<i64>>>| e.and_then(|e| e.into_iter().collect::<Option<Vec<i64>>>());
                let elem =
                    full(known).or(full(elem)).context("no element of the list is set: their shape is unknown")?;
                let shape = [n].into_iter().chain(elem.into_iter().map(Dim::from)).collect();
                self.zeros(&TensorType::new(list.dtype, shape))
            }
        }
    }

    /// The buffer of a list whose elements have the shape of `v`'s rows.
    pub(super) fn contents_of(&mut self, list: List, elem: &[Dim]) -> Result<Value> {
        match list.data {
            ListData::Buffer(v) => Ok(v),
            ListData::Reserved(n, _) => {
                let shape = [n].into_iter().chain(elem.iter().cloned()).collect();
                self.zeros(&TensorType::new(list.dtype, shape))
            }
        }
    }

    /// An element as a buffer of one.
    fn as_row(&mut self, v: Value) -> Result<Value> {
        let shape: Vec<Dim> = [Dim::from(1)].into_iter().chain(self.frame.b.ty(v).shape.iter().cloned()).collect();
        self.frame.b.reshape(v, &shape)
    }

    fn append(&mut self, list: List, rows: Value) -> Result<Item> {
        let elem = self.frame.b.ty(rows).shape[1..].to_vec();
        let (dtype, empty) = (list.dtype, self.length(&list).is(0));
        let v = if empty {
            rows
        } else {
            let v = self.contents_of(list, &elem)?;
            self.frame.b.push(Concat { axis: 0 }, &[v, rows])?
        };
        Ok(buffer(dtype, v))
    }

    /// The start of a box that is one element of a buffer.
    pub(super) fn start(&mut self, at: Value, rank: usize) -> Result<Value> {
        let b = &mut self.frame.b;
        let at = b.cast(DType::I64, at)?;
        let at = b.reshape(at, &[Dim::from(1)])?;
        if rank == 1 {
            return Ok(at);
        }
        let zeros = b.constant(Tensor::of(&[rank - 1], &vec![0i64; rank - 1]))?;
        b.push(Concat { axis: 0 }, &[at, zeros])
    }

    fn get_item(&mut self, list: List, at: Value, elem: Option<Vec<Option<i64>>>) -> Result<Value> {
        let v = self.contents(list, elem)?;
        let mut size = self.frame.b.ty(v).shape.clone();
        let start = self.start(at, size.len())?;
        size[0] = Dim::from(1);
        let row = self.frame.b.push(DynamicSlice { size: size.clone() }, &[v, start])?;
        self.frame.b.reshape(row, &size[1..])
    }

    fn set_item(&mut self, list: List, at: Value, v: Value, grows: bool) -> Result<Item> {
        let elem = self.frame.b.ty(v).shape.clone();
        let dtype = list.dtype;
        let list = if grows { self.grow(list, at, &elem)? } else { list };
        let all = self.contents_of(list, &elem)?;
        let row = self.as_row(v)?;
        let start = self.start(at, elem.len() + 1)?;
        Ok(buffer(dtype, self.frame.b.push(DynamicUpdateSlice, &[all, row, start])?))
    }

    /// A list that has an element at `at`.
    fn grow(&mut self, list: List, at: Value, elem: &[Dim]) -> Result<List> {
        let n = self.length(&list);
        let known = self.frame.b.as_const(at).and_then(|t| t.to_i64s()).and_then(|v| v.first().copied());
        let wanted = match known {
            Some(i) => n.larger(&Dim::from(i + 1)),
            None => {
                let b = &mut self.frame.b;
                let at = b.cast(DType::I64, at)?;
                let behind = b.binary_scalar(BinaryOp::Add, at, 1.0)?;
                let have = kiln_ir::ops::constant::Dims { dims: vec![n.clone()], scalar: true, dtype: DType::I64 };
                let have = b.push(have, &[])?;
                let wanted = b.binary(BinaryOp::Max, behind, have)?;
                self.size(0, wanted)?
            }
        };
        if wanted == n {
            return Ok(list);
        }
        let List { dtype, data } = list;
        Ok(match data {
            ListData::Reserved(_, e) => List { dtype, data: ListData::Reserved(wanted, e) },
            ListData::Buffer(v) => {
                let more = [wanted - n].into_iter().chain(elem.iter().cloned()).collect();
                let zeros = self.zeros(&TensorType::new(dtype, more))?;
                List { dtype, data: ListData::Buffer(self.frame.b.push(Concat { axis: 0 }, &[v, zeros])?) }
            }
        })
    }

    fn resize(&mut self, list: List, n: Dim) -> Result<Item> {
        let have = self.length(&list);
        let List { dtype, data } = list;
        Ok(Item::List(match data {
            ListData::Reserved(_, e) => List { dtype, data: ListData::Reserved(n, e) },
            ListData::Buffer(v) => {
                let shape = self.frame.b.ty(v).shape.clone();
                let v = match (n.clone() - have.clone()).as_const() {
                    Some(0) => v,
                    Some(more) if more > 0 => {
                        let more = [Dim::from(more)].into_iter().chain(shape[1..].iter().cloned()).collect();
                        let zeros = self.zeros(&TensorType::new(dtype, more))?;
                        self.frame.b.push(Concat { axis: 0 }, &[v, zeros])?
                    }
                    Some(_) => self.frame.b.push(Slice::along(&shape, 0, Dim::from(0), n), &[v])?,
                    None => bail!("a list of {have} elements is resized to {n}: one of them must be known"),
                };
                List { dtype, data: ListData::Buffer(v) }
            }
        }))
    }

    fn gather(&mut self, list: List, at: Value, elem: Option<Vec<Option<i64>>>) -> Result<Value> {
        let v = self.contents(list, elem)?;
        self.frame.b.push(kiln_ir::ops::gather::Gather { axis: 0, batch_dims: 0 }, &[v, at])
    }

    fn scatter_rows(&mut self, list: List, at: Value, rows: Value) -> Result<Item> {
        use kiln_ir::ops::gather::{Scatter, ScatterMode};
        let dtype = list.dtype;
        let elem = self.frame.b.ty(rows).shape[1..].to_vec();
        // Known indices behind the end make the list longer, as TensorFlow's kernel does; others must be inside.
        let behind = self.frame.b.as_const(at).and_then(Tensor::to_i64s).and_then(|i| i.into_iter().max());
        let list = match (behind, self.length(&list).as_const()) {
            (Some(last), Some(n)) if last >= n => match self.resize(list, Dim::from(last + 1))? {
                Item::List(l) => l,
                _ => bail!("a resized list is a list"),
            },
            _ => list,
        };
        let all = self.contents_of(list, &elem)?;
        let mut column = self.frame.b.ty(at).shape.clone();
        column.push(Dim::from(1));
        let at = self.frame.b.reshape(at, &column)?;
        Ok(buffer(dtype, self.frame.b.push(Scatter { mode: ScatterMode::UPDATE }, &[all, at, rows])?))
    }

    /// A size that an operand gives.
    fn size(&mut self, operand: usize, v: Value) -> Result<Dim> {
        match &self.frame.b.sizes(operand, v)?[..] {
            [n] => Ok(n.clone()),
            sizes => bail!("operand {operand} holds {} sizes, not one", sizes.len()),
        }
    }

    fn size_value(&mut self, n: Dim) -> Result<Item> {
        let dims = kiln_ir::ops::constant::Dims { dims: vec![n], scalar: true, dtype: DType::I32 };
        Ok(Item::Value(self.frame.b.push(dims, &[])?))
    }

    /// What an operand says of the elements' shape: a vector with -1 for what is open, or a scalar -1 for nothing.
    fn partial_shape(&self, v: Value) -> Option<Vec<Option<i64>>> {
        let ty = self.frame.b.ty(v);
        if ty.rank() != 1 {
            return None;
        }
        let open = |n: i64| Some(n).filter(|n| *n >= 0);
        match (self.frame.b.as_dims(v), self.frame.b.as_const(v).and_then(Tensor::to_i64s)) {
            (Some(d), _) => Some(d.elems.iter().map(|d| d.as_const().and_then(open)).collect()),
            (None, Some(ints)) => Some(ints.into_iter().map(open).collect()),
            (None, None) => None,
        }
    }
}

/// The shape that an attribute gives; `None` for an unknown rank.
fn declared_shape(node: &Node, attr: &str) -> Option<Vec<Option<i64>>> {
    super::super::feeds::partial_shape(node.shape(attr)?)
}
