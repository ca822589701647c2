//! Every rule against the interpreter: the pattern itself says which graph to build. Leaves are parameters or constants
//! with the awkward values of each type; shapes are scalars, size 1, empty and plain. A rule must fire somewhere, and
//! where it fires, the replaced value must equal the original one.

use std::collections::HashMap;

use kiln_ir::graph::ParamKind;
use kiln_ir::ops::constant::Const;
use kiln_ir::ops::pointwise::{Binary, Cast, Compare, Select, Unary};
use kiln_ir::ops::shape::{Broadcast, Pad, Reshape, Slice, Transpose};
use kiln_ir::scalar_eval::{Scalar, cast_tensor};
use kiln_ir::{Builder, DType, Dim, Module, Tensor, TensorType, Value, interp};

use super::pattern::{Head, Pat, Rule, Tag};
use super::{Rules, simplify_node};
use crate::manager::{Cx, Math};

/// xorshift64*: tests must not differ from run to run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// The values that rules get wrong; for `fast` rules those for which reassociation keeps its bound.
fn specials(dtype: DType, tag: Tag) -> Vec<f64> {
    let whole: &[f64] = &[0.0, 1.0, 2.0, 3.0, 4.0, 7.0, 100.0];
    let signed: &[f64] = &[-1.0, -2.0, -3.0, -128.0];
    let float: &[f64] = &[-0.0, 0.5, -0.75, 0.1, 1e-3, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    // Overflow, underflow and subnormals of f32 and f16.
    let extreme: &[f64] = &[3e38, -3e38, 1e-40, 65504.0, 6e-8, 1e308, 5e-324];
    let mut v = whole.to_vec();
    if dtype.is_signed() || dtype.is_float() || dtype.is_complex() {
        v.extend(signed);
    }
    if dtype.is_float() || dtype.is_complex() {
        v.extend(float);
        if tag != Tag::fast {
            v.extend(extreme);
        }
    }
    v
}

struct Gen<'a> {
    b: Builder,
    rng: &'a mut Rng,
    tag: Tag,
    dtype: DType,
    base: Vec<usize>,
    /// What the variables stand for, with the type they were made for.
    vars: HashMap<usize, Value>,
    inputs: Vec<Tensor>,
}

const TYPES: [DType; 12] = [
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I8,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U32,
    DType::Bool,
    DType::C64,
    DType::U64,
];
const SHAPES: [&[usize]; 7] = [&[], &[1], &[0], &[3], &[2, 3], &[1, 3], &[2, 0, 1]];

impl Gen<'_> {
    fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Option<Tensor> {
        let n = shape.iter().product::<usize>();
        let pool = specials(dtype, self.tag);
        // Constants of one number are what many rules look for.
        let one = self.rng.below(3) == 0;
        let first = self.rng.pick(&pool);
        let v: Vec<f64> = (0..n).map(|_| if one { first } else { self.rng.pick(&pool) }).collect();
        cast_tensor(dtype, &Tensor::of(shape, &v)).ok()
    }

    /// A leaf's shape: the base shape, or one that broadcasts to it.
    fn leaf_shape(&mut self) -> Vec<usize> {
        let mut s = self.base.clone();
        match self.rng.below(6) {
            0 => s.clear(),
            1 => s.iter_mut().for_each(|d| *d = 1),
            2 if !s.is_empty() => {
                s.remove(0);
            }
            _ => {}
        }
        s
    }

    fn leaf(&mut self, i: usize, constant: bool, dtype: DType) -> Option<Value> {
        if let Some(&v) = self.vars.get(&i) {
            return (self.b.ty(v).dtype == dtype).then_some(v);
        }
        let shape = self.leaf_shape();
        let t = self.tensor(dtype, &shape)?;
        let v = if constant {
            self.b.constant(t).ok()?
        } else {
            let v = self.b.param(&format!("x{i}"), ParamKind::Input, TensorType::fixed(dtype, &shape));
            self.inputs.push(t);
            v
        };
        self.vars.insert(i, v);
        Some(v)
    }

    /// The graph of a pattern whose result has a type; `None` where the types do not fit.
    fn build(&mut self, p: &Pat, dtype: DType) -> Option<Value> {
        let (head, args) = match p {
            Pat::Var(i) => return self.leaf(*i, false, dtype),
            Pat::Const(i) => return self.leaf(*i, true, dtype),
            Pat::Number(x) => {
                let shape = self.leaf_shape();
                let t = cast_tensor(dtype, &Tensor::of(&shape, &vec![*x; shape.iter().product()])).ok()?;
                return self.b.constant(t).ok();
            }
            Pat::Op(h, a) => (*h, a),
        };
        // The operands' types that give the result's: tests and comparisons take any.
        let any = self.rng.pick(&TYPES);
        let operand = match head {
            Head::Compare(_) if dtype != DType::Bool => return None,
            Head::Compare(_) | Head::Cast => any,
            Head::Unary(op) if op.result(dtype) != dtype => return None,
            _ => dtype,
        };
        let mut v = vec![];
        for (i, a) in args.iter().enumerate() {
            let pad_value = head == Head::Pad && i == 1;
            let base = if pad_value { std::mem::take(&mut self.base) } else { self.base.clone() };
            let made = self.build(a, if head == Head::Select && i == 0 { DType::Bool } else { operand });
            self.base = base;
            v.push(made?);
        }
        let shape = self.b.ty(v[0]).static_shape()?;
        let b = &mut self.b;
        let made = match head {
            Head::Unary(op) => b.push(Unary { op }, &v),
            Head::Binary(op) => b.push(Binary { op }, &v),
            Head::Compare(op) => b.push(Compare { op }, &v),
            Head::Select => b.push(Select, &v),
            Head::Cast => b.push(Cast { to: dtype }, &v),
            Head::Reshape => {
                let n: usize = shape.iter().product();
                let to = self.rng.pick(&[shape, vec![n], vec![1, n], vec![n, 1, 1]]);
                b.push(Reshape { shape: to.into_iter().map(Dim::from).collect() }, &v)
            }
            Head::Broadcast => {
                let to = self.rng.pick(&[vec![], vec![2], vec![4, 1]]).into_iter().chain(shape.iter().copied());
                b.push(Broadcast { shape: to.map(Dim::from).collect() }, &v)
            }
            Head::Transpose => {
                let mut perm: Vec<usize> = (0..shape.len()).collect();
                let by = self.rng.below(perm.len().max(1));
                perm.rotate_left(by);
                b.push(Transpose { perm }, &v)
            }
            Head::Pad => {
                let low: Vec<Dim> = shape.iter().map(|_| Dim::from(self.rng.below(2))).collect();
                b.push(Pad { high: low.iter().rev().cloned().collect(), low }, &v)
            }
            Head::Slice => return None,
        };
        made.ok()
    }
}

/// Builds the pattern once and applies the rule; whether it fired.
fn try_rule(rule: &Rule, rules: &Rules, rng: &mut Rng) -> Result<bool, String> {
    let (dtype, base) = (rng.pick(&TYPES), rng.pick(&SHAPES).to_vec());
    let b = Builder::new("f");
    let mut g = Gen { b, rng, tag: rule.tag, dtype, base, vars: HashMap::new(), inputs: vec![] };
    let Some(v) = g.build(&rule.lhs, g.dtype) else { return Ok(false) };
    let (mut b, inputs) = (g.b, g.inputs);
    // The builder folds a pattern that happens to hold constants only.
    let Some(node) = b.func.def_node(v).filter(|n| n.op.is::<Const>().is_none()).cloned() else { return Ok(false) };
    let ty = b.ty(v).clone();
    let mut cx = Cx::new(Math::Fast);
    let new = simplify_node(rules, &mut b, &*node.op, &node.inputs, &ty, &mut cx)
        .map_err(|e| format!("{}: {e:#}", rule.name))?;
    let Some(new) = new else { return Ok(false) };
    assert_eq!(b.ty(new), &ty, "{}", rule.name);
    b.func.add_result("old", ParamKind::Input, v);
    b.func.add_result("new", ParamKind::Input, new);
    let m = Module { funcs: vec![b.func], ..Module::default() };
    let Ok(out) = interp::eval_function(&m, 0, &inputs, &mut |_, _| {}) else {
        // An integer division by zero, say: then the old graph fails, too.
        return Ok(false);
    };
    if let Err(e) = close(&out[0], &out[1], rule.tag) {
        let text = kiln_ir::text::print(&m, kiln_ir::text::Dump::Full);
        let inputs: Vec<Vec<Scalar>> = inputs.iter().map(elements).collect();
        return Err(format!("{} ({}): {e}\n{text}on {inputs:?}", rule.name, rule.text));
    }
    Ok(true)
}

fn elements(t: &Tensor) -> Vec<Scalar> {
    let size = t.dtype().size();
    t.bytes().chunks(size).filter_map(|c| Scalar::load(t.dtype(), c)).collect()
}

fn parts(s: Scalar) -> Vec<f64> {
    match s {
        Scalar::C64(z) => vec![f64::from(z.re), f64::from(z.im)],
        Scalar::C128(z) => vec![z.re, z.im],
        other => match other.cast(DType::F64) {
            Ok(Scalar::F64(x)) => vec![x],
            _ => vec![],
        },
    }
}

fn close(a: &Tensor, b: &Tensor, tag: Tag) -> Result<(), String> {
    if (a.dtype(), a.shape()) != (b.dtype(), b.shape()) {
        return Err(format!("{a:?} became {b:?}"));
    }
    let ulp = match a.dtype() {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        DType::F32 => 2f64.powi(-23),
        _ => 2f64.powi(-52),
    };
    for (x, y) in elements(a).into_iter().zip(elements(b)) {
        if x == y && !a.dtype().is_float() && !a.dtype().is_complex() {
            continue;
        }
        for (p, q) in parts(x).into_iter().zip(parts(y)) {
            let same = p.to_bits() == q.to_bits() || (p.is_nan() && q.is_nan());
            // Bounds of the contract for one and for two roundings; subnormal results have an absolute one.
            let near =
                |n: f64| (p - q).abs() <= n * ulp * p.abs().max(q.abs()) + if n > 2.0 { 1e-3 * ulp } else { 1e-44 };
            let ok = match tag {
                Tag::exact => same,
                Tag::rounding => same || near(2.0),
                // Cancellation: the error is relative to the largest intermediate, at most a hundred here.
                Tag::fast => same || near(4.0) || (p - q).abs() <= 400.0 * ulp,
            };
            if !ok {
                return Err(format!("{x:?} became {y:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn every_rule_keeps_its_promise() {
    let files: [fn() -> Vec<Rule>; 3] = [super::arith::rules, super::shape::rules, super::logic::rules];
    let (mut idle, mut wrong) = (vec![], vec![]);
    for file in files {
        for i in 0..file().len() {
            let rule = file().swap_remove(i);
            let alone = Rules::of([file().swap_remove(i)]);
            let mut rng = Rng(0x5eed_0001 + i as u64);
            let mut fired = 0;
            for _ in 0..4000 {
                match try_rule(&rule, &alone, &mut rng) {
                    Ok(yes) => fired += usize::from(yes),
                    Err(e) => {
                        wrong.push(e);
                        fired = 99;
                        break;
                    }
                }
            }
            if fired < 5 && !matches!(rule.lhs, Pat::Op(Head::Slice, _)) {
                idle.push((rule.name, fired));
            }
        }
    }
    assert!(wrong.is_empty(), "{} rules are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(idle.is_empty(), "rules that did not fire: {idle:?}");
}

#[test]
fn names_are_unique() {
    let all = [super::arith::rules(), super::shape::rules(), super::logic::rules()];
    let mut names: Vec<&str> = all.iter().flatten().map(|r| r.name).collect();
    let n = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), n);
}

#[test]
fn a_full_slice_is_its_operand() {
    let mut b = Builder::new("f");
    let x = b.param("x", ParamKind::Input, TensorType::new(DType::F32, vec![Dim::sym("b")]));
    let op = Slice { start: vec![Dim::from(0i64)], size: vec![Dim::sym("b")], step: vec![1] };
    let ty = b.ty(x).clone();
    let rules = Rules::new(Math::Strict);
    let new = simplify_node(&rules, &mut b, &op, &[x], &ty, &mut Cx::default()).expect("no rule fails");
    assert_eq!(new, Some(x));
}

#[test]
fn elementwise_ops_broadcast_by_themselves() {
    let mut b = Builder::new("f");
    let x = b.param("x", ParamKind::Input, TensorType::fixed(DType::F32, &[2, 3]));
    let y = b.param("y", ParamKind::Input, TensorType::fixed(DType::F32, &[3]));
    let wide = b.broadcast(y, &[Dim::from(2i64), Dim::from(3i64)]).expect("it broadcasts");
    let op = Binary { op: kiln_ir::scalar::BinaryOp::Add };
    let ty = b.ty(x).clone();
    let rules = Rules::new(Math::Strict);
    let new = simplify_node(&rules, &mut b, &op, &[x, wide], &ty, &mut Cx::default())
        .expect("no rule fails")
        .expect("one applies");
    assert_eq!(b.func.def_node(new).map(|n| n.inputs.clone()), Some(vec![x, y]));
    // One of two must stay: it gives the result its shape.
    let new = simplify_node(&rules, &mut b, &op, &[wide, wide], &ty, &mut Cx::default())
        .expect("no rule fails")
        .expect("one");
    assert_eq!(b.func.def_node(new).map(|n| n.inputs.clone()), Some(vec![y, wide]));
}
