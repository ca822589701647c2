//! What the op tests share: an evaluator that walks a function node by node, reverse-mode gradients through `vjp`, and
//! the tables of TensorFlow's results under `testdata/ops`.
#![allow(dead_code)] // each test file uses its part

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use kiln_ir::graph::Def;
use kiln_ir::lower::Lower;
use kiln_ir::op::{NoGradient, Op, VjpArgs};
use kiln_ir::scalar::BinaryOp;
use kiln_ir::tf::{TfAttr, TfCx, TfNode};
use kiln_ir::{Attrs, Builder, DType, Dim, ParamKind, Symbol, Tensor, TensorType, Value, ops};
use serde_json::Value as Json;

/// Values of symbols.
pub type Sizes = BTreeMap<String, i64>;

/// The op with symbols replaced by numbers: its attributes are read back after substitution.
pub fn bind(op: &Arc<dyn Op>, sizes: &Sizes) -> Result<Arc<dyn Op>> {
    let with = |s: &Symbol| sizes.get(&*s.0).map(|&n| Dim::from(n));
    let attrs = op.attrs().0.into_iter().map(|(name, mut a)| {
        a.map_dims(&|d| d.substitute(&with));
        (name, a)
    });
    let def = ops::by_name(op.name()).with_context(|| format!("op `{}` is not listed", op.name()))?;
    (def.parse)(&Attrs(attrs.collect())).map_err(|e| anyhow!("{}: {e}", op.name()))
}

/// Every value of the builder's function that the parameters' values determine.
pub fn run(b: &Builder, params: &[Tensor], sizes: &Sizes) -> Result<HashMap<Value, Tensor>> {
    let mut values: HashMap<Value, Tensor> = HashMap::new();
    for (p, t) in b.func.params.iter().zip(params) {
        values.insert(p.value, t.clone());
    }
    for (_, node) in b.func.nodes() {
        let inputs: Vec<&Tensor> = node.inputs.iter().map(|v| &values[v]).collect();
        let op = bind(&node.op, sizes)?;
        let results = op.eval(&inputs)?;
        for (&v, t) in node.outputs.iter().zip(results) {
            let ty = b.ty(v);
            let shape: Option<Vec<i64>> = ty.shape.iter().map(|d| d.eval(&|s| sizes.get(&*s.0).copied())).collect();
            let found: Vec<i64> = t.shape().iter().map(|&d| d as i64).collect();
            if shape.as_ref() != Some(&found) || t.dtype() != ty.dtype {
                bail!("{:?} gave {t:?} where {ty} ({shape:?}) was inferred", node.op);
            }
            if let Some(dims) = b.as_dims(v) {
                let known: Option<Vec<i64>> =
                    dims.elems.iter().map(|d| d.eval(&|s| sizes.get(&*s.0).copied())).collect();
                assert_eq!(known, t.to_i64s(), "{:?} is tracked as {:?}", node.op, dims.elems);
            }
            values.insert(v, t);
        }
    }
    Ok(values)
}

/// Appends the gradient of the sum of `seeds` (value, cotangent) with respect to `wanted`.
pub fn gradient(b: &mut Builder, seeds: &[(Value, Value)], wanted: &[Value]) -> Result<Vec<Option<Value>>> {
    let mut cotangents: HashMap<Value, Value> = HashMap::new();
    let add = |b: &mut Builder, cotangents: &mut HashMap<Value, Value>, v: Value, g: Value| -> Result<()> {
        assert_eq!(b.ty(v), b.ty(g), "a cotangent has its value's type");
        let sum = match cotangents.get(&v) {
            Some(&have) => b.binary(BinaryOp::Add, have, g)?,
            None => g,
        };
        cotangents.insert(v, sum);
        Ok(())
    };
    for &(v, g) in seeds {
        add(b, &mut cotangents, v, g)?;
    }
    let nodes: Vec<_> = b.func.nodes().map(|(_, n)| n.clone()).collect();
    for node in nodes.iter().rev() {
        let of: Vec<Option<Value>> = node.outputs.iter().map(|v| cotangents.get(v).copied()).collect();
        if of.iter().all(Option::is_none) {
            continue;
        }
        let args = VjpArgs { inputs: &node.inputs, outputs: &node.outputs, cotangents: &of };
        match node.op.vjp(b, args) {
            Ok(gs) => {
                assert_eq!(gs.len(), node.inputs.len(), "{:?} has one cotangent an operand", node.op);
                for (&x, g) in node.inputs.iter().zip(gs) {
                    if let Some(g) = g {
                        add(b, &mut cotangents, x, g)?;
                    }
                }
            }
            Err(NoGradient::NotDifferentiable) => {}
            Err(NoGradient::Failed(e)) => return Err(e.context(format!("{:?}", node.op))),
        }
    }
    Ok(wanted.iter().map(|v| cotangents.get(v).copied()).collect())
}

/// The function with every op that is an expansion replaced by it: what lowering would see.
pub fn expand(b: &Builder) -> Result<(Builder, HashMap<Value, Value>)> {
    let mut out = Builder::new("expanded");
    let mut map = HashMap::new();
    for p in &b.func.params {
        let v = out.param(&p.name, p.kind.clone(), b.ty(p.value).clone());
        map.insert(p.value, v);
    }
    for (_, node) in b.func.nodes() {
        let inputs: Vec<Value> = node.inputs.iter().map(|v| map[v]).collect();
        let types: Vec<TensorType> = inputs.iter().map(|&v| out.ty(v).clone()).collect();
        let results = match node.op.lower(&types.iter().collect::<Vec<_>>()) {
            Lower::Expand(build) => build(&mut out, &*node.op, &inputs)?,
            _ => out.push_arc(node.op.clone(), &inputs)?,
        };
        for (&v, &r) in node.outputs.iter().zip(&results) {
            assert_eq!(out.ty(r).dtype, b.ty(v).dtype, "{:?}", node.op);
            map.insert(v, r);
        }
    }
    Ok((out, map))
}

/// A case of a table.
pub struct Case {
    pub name: String,
    pub node: TfNode,
    pub inputs: Vec<(Tensor, bool)>,
    pub outputs: Vec<Tensor>,
    pub grads: Option<Vec<Option<Tensor>>>,
    pub symbolic: Vec<(usize, usize)>,
    pub error: Option<String>,
    /// How much floats may differ, where the table says so.
    pub tol: Option<f64>,
}

/// The cases of a table of `testdata/ops`.
pub fn table(file: &str) -> Vec<Case> {
    let path = format!("{}/../testdata/ops/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let json: Json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    json.as_array().expect("a list of cases").iter().map(read_case).collect()
}

fn list(j: &Json) -> &[Json] {
    j.as_array().map_or(&[], |v| v)
}

fn read_case(j: &Json) -> Case {
    let op = j["op"].as_str().expect("op");
    let name = j["name"].as_str().expect("name");
    let attrs = j["attrs"].as_object().expect("attrs").iter().map(|(k, v)| (k.clone(), read_attr(v))).collect();
    let size = |v: &Json| v.as_u64().expect("a size") as usize;
    Case {
        name: name.into(),
        node: TfNode { name: name.into(), op: op.into(), attrs },
        inputs: list(&j["inputs"]).iter().map(|i| (read_tensor(i), i["const"] == true)).collect(),
        outputs: list(&j["outputs"]).iter().map(read_tensor).collect(),
        grads: j["grads"].as_array().map(|g| g.iter().map(|t| (!t.is_null()).then(|| read_tensor(t))).collect()),
        symbolic: list(&j["symbolic"]).iter().map(|p| (size(&p[0]), size(&p[1]))).collect(),
        error: j["error"].as_str().map(String::from),
        tol: j["tol"].as_f64(),
    }
}

fn read_attr(j: &Json) -> TfAttr {
    let (kind, v) = j.as_object().and_then(|o| o.iter().next()).expect("an attribute");
    match kind.as_str() {
        "i" => TfAttr::Int(v.as_i64().expect("an integer")),
        "f" => TfAttr::Float(v.as_f64().expect("a float") as f32),
        "b" => TfAttr::Bool(v.as_bool().expect("a boolean")),
        "s" => TfAttr::Str(v.as_str().expect("a string").into()),
        "type" => TfAttr::Type(v.as_str().and_then(|s| s.parse().ok()).expect("a type")),
        "list" => {
            let item = |i: &Json| i.as_i64().map_or_else(|| read_attr(i), TfAttr::Int);
            TfAttr::List(list(v).iter().map(item).collect())
        }
        "shape" => TfAttr::Shape(v.as_array().map(|s| s.iter().map(|d| d.as_i64().filter(|&d| d >= 0)).collect())),
        other => panic!("attribute kind {other}"),
    }
}

/// A tensor of a table; complex elements are pairs.
pub fn read_tensor(j: &Json) -> Tensor {
    let bytes = j["dtype"] == "bytes";
    let dtype: DType = j["dtype"].as_str().map(|s| if bytes { "string" } else { s }.parse().unwrap()).expect("a dtype");
    let shape: Vec<usize> = list(&j["shape"]).iter().map(|d| d.as_u64().expect("a size") as usize).collect();
    let data = list(&j["data"]);
    let float = |x: &Json| x.as_f64().or_else(|| x.as_str()?.parse().ok()).expect("a number");
    let floats = || data.iter().map(float).collect::<Vec<f64>>();
    match dtype {
        DType::String if bytes => {
            let latin = |s: &Json| s.as_str().expect("a string").chars().map(|c| c as u8).collect();
            Tensor::of_strings(&shape, data.iter().map(latin).collect())
        }
        DType::String => {
            Tensor::of_strings(&shape, data.iter().map(|s| s.as_str().expect("a string").as_bytes().to_vec()).collect())
        }
        DType::Bool => {
            Tensor::of_bools(&shape, &data.iter().map(|b| b.as_bool().expect("a boolean")).collect::<Vec<_>>())
        }
        DType::F32 => Tensor::of(&shape, &floats().iter().map(|&x| x as f32).collect::<Vec<_>>()),
        DType::F64 => Tensor::of(&shape, &floats()),
        DType::F16 => Tensor::of(&shape, &floats().iter().map(|&x| half::f16::from_f64(x)).collect::<Vec<_>>()),
        DType::BF16 => Tensor::of(&shape, &floats().iter().map(|&x| half::bf16::from_f64(x)).collect::<Vec<_>>()),
        DType::C64 | DType::C128 => {
            let part =
                |x: f64| if dtype == DType::C64 { (x as f32).to_ne_bytes().to_vec() } else { x.to_ne_bytes().to_vec() };
            let mut t = Tensor::zeros(dtype, &shape);
            t.bytes_mut().copy_from_slice(&floats().into_iter().flat_map(part).collect::<Vec<u8>>());
            t
        }
        _ => {
            let ints: Vec<i64> =
                data.iter().map(|x| x.as_i64().or(x.as_u64().map(|u| u as i64)).expect("an integer")).collect();
            Tensor::from_i64s(dtype, &shape, &ints).expect("an integer type")
        }
    }
}

/// The case imported: constants as such, other inputs as parameters, with the case's symbols if `symbolic`.
pub struct Imported {
    pub b: Builder,
    pub inputs: Vec<Value>,
    pub params: Vec<Tensor>,
    pub outputs: Vec<Value>,
    pub sizes: Sizes,
}

impl Case {
    pub fn import(&self, symbolic: bool) -> Result<Imported> {
        let mut b = Builder::new(&self.name);
        // As a session imports: sizes that are computed at run time become symbols.
        b.sizes_from_data = true;
        let (mut inputs, mut params, mut sizes) = (vec![], vec![], Sizes::new());
        for (i, (t, constant)) in self.inputs.iter().enumerate() {
            if *constant {
                inputs.push(b.constant(t.clone())?);
                continue;
            }
            let mut ty = TensorType::fixed(t.dtype(), t.shape());
            for &(_, axis) in self.symbolic.iter().filter(|s| symbolic && s.0 == i) {
                // Equal extents are one symbol, as a batch is across a model's inputs.
                let name = format!("n{}", t.shape()[axis]);
                sizes.insert(name.clone(), t.shape()[axis] as i64);
                ty.shape[axis] = Dim::sym(&name);
            }
            inputs.push(b.param(&format!("x{i}"), ParamKind::Input, ty));
            params.push(t.clone());
        }
        let binding = ops::by_tf(&self.node.op).with_context(|| format!("`{}` has no import rule", self.node.op))?;
        let outputs = (binding.read)(&mut TfCx { b: &mut b, node: &self.node, inputs: &inputs })?;
        Ok(Imported { b, inputs, params, outputs, sizes })
    }
}

/// Whether a function's value is fixed by its parameters alone: false for parameters.
pub fn is_param(b: &Builder, v: Value) -> bool {
    matches!(b.func.def(v), Def::Param(_))
}

/// The weights that the tables' gradients were computed with: cotangents of an output.
pub fn weights(dtype: DType, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let w: Vec<f64> = (0..n).map(|i| ((i * 5 % 11) as f64 - 5.0) / 4.0).collect();
    match dtype {
        DType::F32 => Tensor::of(shape, &w.iter().map(|&x| x as f32).collect::<Vec<_>>()),
        DType::C128 => {
            let mut t = Tensor::zeros(dtype, shape);
            t.bytes_mut().copy_from_slice(
                &w.iter().flat_map(|x| [x.to_ne_bytes(), 0f64.to_ne_bytes()].concat()).collect::<Vec<u8>>(),
            );
            t
        }
        _ => Tensor::of(shape, &w),
    }
}

/// The first difference of two tensors, in words: floats may differ by `tol` relative to the larger of 1 and the value,
/// integers by `tol` units; the rest not at all.
pub fn difference(got: &Tensor, want: &Tensor, tol: f64) -> Option<String> {
    if (got.dtype(), got.shape()) != (want.dtype(), want.shape()) {
        return Some(format!("{got:?} in place of {want:?}"));
    }
    let reals = |t: &Tensor| match t.dtype() {
        DType::C64 => {
            let part = |b: &[u8]| f64::from(f32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
            Some(t.bytes().chunks_exact(4).map(part).collect())
        }
        DType::C128 => {
            Some(t.bytes().chunks_exact(8).filter_map(|b| Some(f64::from_ne_bytes(b.try_into().ok()?))).collect())
        }
        _ => t.to_f64s(),
    };
    let (g, w): (Vec<f64>, Vec<f64>) = match (reals(got), reals(want)) {
        (Some(g), Some(w)) => (g, w),
        _ if got.same_bits(want) => return None,
        _ if tol > 0.0 && got.dtype().is_int() => {
            let (g, w) = (got.to_i64s().unwrap_or_default(), want.to_i64s().unwrap_or_default());
            let at = g.iter().zip(&w).position(|(g, w)| (g - w).abs() as f64 > tol)?;
            return Some(format!("element {at} is {}, not {}", g[at], w[at]));
        }
        _ => {
            return Some(format!(
                "{:?} {:?} in place of {:?} {:?}",
                got.bytes(),
                got.strings(),
                want.bytes(),
                want.strings()
            ));
        }
    };
    let near = |g: f64, w: f64| (g - w).abs() <= tol * w.abs().max(1.0) || (g.is_nan() && w.is_nan()) || g == w;
    let at = g.iter().zip(&w).position(|(&g, &w)| !near(g, w))?;
    Some(format!("element {at} is {}, not {}", g[at], w[at]))
}

/// Asserts that [`difference`] finds none.
pub fn assert_close(what: &str, got: &Tensor, want: &Tensor, tol: f64) {
    if let Some(d) = difference(got, want, tol) {
        panic!("{what}: {d}");
    }
}
