//! The optimizers' updates of variables: `ResourceApply*`, `ResourceSparseApply*` and the forms on reference variables.
//!
//! Each is a formula over the variable, its slots and the gradient (TensorFlow's `training_ops.cc`, operation by
//! operation), which is built of pointwise ops. A sparse update applies the same formula to the rows that its indices
//! name. An index that occurs again sees what the update before it has left: rows are updated in rounds, each of which
//! takes the first of the updates that are left for a row. Where all indices differ, one round is all.
//!
//! Shapes: the slots and a dense gradient have the variable's shape, a sparse gradient has one row for each index, and
//! all other operands are scalars. `use_locking` means nothing here: updates happen in the order of the graph.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use kiln_ir::ops::constant::Iota;
use kiln_ir::ops::gather::{Gather, Scatter, ScatterMode};
use kiln_ir::ops::reduce::Reduce;
use kiln_ir::scalar::{BinaryOp, CompareOp, ReduceOp};
use kiln_ir::{Builder, DType, Dim, Tensor, Value};

use super::super::dtype::TfDType;
use super::super::graph::Node;
use super::super::op_defs::{ArgType, ArgTypes};
use super::formula::{Formula, Term};
use super::{Converter, Item};

/// The new values of variables, by the names of the operands.
type Updates<'f, 'b> = Vec<(&'static str, Term<'f, 'b>)>;

type Rule = for<'f, 'b> fn(&Step<'f, 'b>) -> Updates<'f, 'b>;

/// The updates by the op's name without `Resource` and `Sparse`.
const RULES: &[(&str, Rule)] = &[
    ("ApplyGradientDescent", |s| vec![("var", s.of("var") - s.grad() * s.of("alpha"))]),
    ("ApplyMomentum", momentum),
    ("ApplyKerasMomentum", keras_momentum),
    ("ApplyAdagrad", adagrad),
    ("ApplyAdagradV2", adagrad_v2),
    ("ApplyAdagradDA", adagrad_da),
    ("ApplyAdadelta", adadelta),
    ("ApplyAdam", adam),
    ("ApplyAdamWithAmsgrad", amsgrad),
    ("ApplyAdaMax", ada_max),
    ("ApplyAddSign", add_sign),
    ("ApplyPowerSign", power_sign),
    ("ApplyRMSProp", rms_prop),
    ("ApplyCenteredRMSProp", centered_rms_prop),
    ("ApplyFtrl", ftrl),
    ("ApplyFtrlV2", ftrl),
    ("ApplyProximalAdagrad", proximal_adagrad),
    ("ApplyProximalGradientDescent", proximal_gradient_descent),
];

/// The rule of an op, and whether it is a sparse one.
fn rule(op: &str) -> Option<(Rule, bool)> {
    let plain = op.strip_prefix("Resource").unwrap_or(op);
    let (name, sparse) = plain.strip_prefix("Sparse").map_or((plain, false), |name| (name, true));
    RULES.iter().find(|r| r.0 == name).map(|r| (r.1, sparse))
}

/// Whether an op is one of this file.
pub(super) fn is_update(op: &str) -> bool {
    rule(op).is_some()
}

/// The operands of one update.
struct Step<'f, 'b> {
    f: &'f Formula<'b>,
    node: &'f Node,
    first: Value,
    sparse: bool,
    operands: Vec<(&'f str, Term<'f, 'b>)>,
}

impl<'f, 'b> Step<'f, 'b> {
    /// An operand.
    fn of(&self, name: &str) -> Term<'f, 'b> {
        let named = self.operands.iter().find(|o| o.0 == name).map(|o| o.1);
        named.unwrap_or_else(|| self.f.build(self.first, |_| bail!("the op has no operand `{name}`")))
    }

    fn has(&self, name: &str) -> bool {
        self.operands.iter().any(|o| o.0 == name)
    }

    /// The gradient, whatever its name.
    fn grad(&self) -> Term<'f, 'b> {
        self.of(if self.has("delta") { "delta" } else { "grad" })
    }

    fn flag(&self, name: &str) -> bool {
        self.node.bool(name).unwrap_or(false)
    }
}

fn momentum<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let (var, grad, lr, momentum) = (s.of("var"), s.grad(), s.of("lr"), s.of("momentum"));
    let accum = s.of("accum") * momentum + grad;
    let step = if s.flag("use_nesterov") { grad * lr + accum * momentum * lr } else { accum * lr };
    vec![("var", var - step), ("accum", accum)]
}

fn keras_momentum<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let (var, grad, lr, momentum) = (s.of("var"), s.grad(), s.of("lr"), s.of("momentum"));
    let accum = s.of("accum") * momentum - grad * lr;
    let step = if s.flag("use_nesterov") { accum * momentum - grad * lr } else { accum };
    vec![("var", var + step), ("accum", accum)]
}

/// The sum of squares, which the attribute may tell to leave alone.
fn squares<'f, 'b>(s: &Step<'f, 'b>) -> Term<'f, 'b> {
    let accum = s.of("accum");
    if s.flag("update_slots") { accum + s.grad().square() } else { accum }
}

fn adagrad<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let accum = squares(s);
    vec![("var", s.of("var") - s.grad() * s.of("lr") * accum.rsqrt()), ("accum", accum)]
}

fn adagrad_v2<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let accum = squares(s);
    vec![("var", s.of("var") - s.grad() * s.of("lr") / (accum.sqrt() + s.of("epsilon"))), ("accum", accum)]
}

/// Dual averaging: the variable is what the sums of gradients make of it, whatever it was.
fn adagrad_da<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let (grad, lr, l1, l2) = (s.grad(), s.of("lr"), s.of("l1"), s.of("l2"));
    let sum = s.of("gradient_accumulator") + grad;
    let squares = s.of("gradient_squared_accumulator") + grad.square();
    let steps = s.of("global_step").cast(DType::F32).cast_as(lr);
    let below = l2 * (steps * lr) + squares.sqrt();
    let shrunk = || lr * -1.0 * sum.sign() * (sum.abs() - steps * l1).max(lr.number(0.0)) / below;
    let var = l1.greater(l1.number(0.0)).choose(shrunk, || lr * sum * -1.0 / below);
    vec![("var", var), ("gradient_accumulator", sum), ("gradient_squared_accumulator", squares)]
}

fn adadelta<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let (grad, rho, epsilon) = (s.grad(), s.of("rho"), s.of("epsilon"));
    let accum = s.of("accum") * rho + grad.square() * (1.0 - rho);
    let update = (s.of("accum_update") + epsilon).sqrt() * (accum + epsilon).rsqrt() * grad;
    let accum_update = s.of("accum_update") * rho + update.square() * (1.0 - rho);
    vec![("var", s.of("var") - update * s.of("lr")), ("accum", accum), ("accum_update", accum_update)]
}

/// Adam's moments and its step size.
fn moments<'f, 'b>(s: &Step<'f, 'b>) -> [Term<'f, 'b>; 3] {
    let (m, v, grad) = (s.of("m"), s.of("v"), s.grad());
    let alpha = s.of("lr") * (1.0 - s.of("beta2_power")).sqrt() / (1.0 - s.of("beta1_power"));
    let m = m + (grad - m) * (1.0 - s.of("beta1"));
    let v = v + (grad.square() - v) * (1.0 - s.of("beta2"));
    [m, v, alpha]
}

fn adam<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let [m, v, alpha] = moments(s);
    let ahead = || s.grad() * (1.0 - s.of("beta1")) + s.of("beta1") * m;
    let step = if s.flag("use_nesterov") { ahead() } else { m };
    vec![("var", s.of("var") - step * alpha / (v.sqrt() + s.of("epsilon"))), ("m", m), ("v", v)]
}

fn amsgrad<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let [m, v, alpha] = moments(s);
    let vhat = s.of("vhat").max(v);
    vec![("var", s.of("var") - m * alpha / (vhat.sqrt() + s.of("epsilon"))), ("m", m), ("v", v), ("vhat", vhat)]
}

fn ada_max<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let (m, grad) = (s.of("m"), s.grad());
    let m = m + (grad - m) * (1.0 - s.of("beta1"));
    let v = (s.of("beta2") * s.of("v")).max(grad.abs());
    let step = s.of("lr") / (1.0 - s.of("beta1_power")) * (m / (v + s.of("epsilon")));
    vec![("var", s.of("var") - step), ("m", m), ("v", v)]
}

fn add_sign<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let (grad, beta) = (s.grad(), s.of("beta"));
    let m = s.of("m") * beta + grad * (1.0 - beta);
    let agree = grad.sign() * m.sign();
    let step = s.of("lr") * (s.of("alpha") + s.of("sign_decay") * agree) * grad;
    vec![("var", s.of("var") - step), ("m", m)]
}

fn power_sign<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let (grad, beta) = (s.grad(), s.of("beta"));
    let m = s.of("m") * beta + grad * (1.0 - beta);
    let agree = grad.sign() * m.sign();
    let scale = (s.of("logbase") * s.of("sign_decay") * agree).exp();
    vec![("var", s.of("var") - s.of("lr") * scale * grad), ("m", m)]
}

/// A decaying mean: TensorFlow's dense and sparse kernels round it differently.
fn decay<'f, 'b>(s: &Step<'f, 'b>, old: Term<'f, 'b>, new: Term<'f, 'b>) -> Term<'f, 'b> {
    let rho = s.of("rho");
    if s.sparse { old * rho + new * (1.0 - rho) } else { old + (new - old) * (1.0 - rho) }
}

fn rms_prop<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let (grad, lr) = (s.grad(), s.of("lr"));
    let ms = decay(s, s.of("ms"), grad.square());
    let below = ms + s.of("epsilon");
    let step = if s.sparse { below.rsqrt() * lr * grad } else { grad * lr / below.sqrt() };
    let mom = s.of("mom") * s.of("momentum") + step;
    vec![("var", s.of("var") - mom), ("ms", ms), ("mom", mom)]
}

fn centered_rms_prop<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let (grad, lr, epsilon) = (s.grad(), s.of("lr"), s.of("epsilon"));
    let ms = decay(s, s.of("ms"), grad.square());
    let mg = decay(s, s.of("mg"), grad);
    let step = if s.sparse {
        (ms + epsilon - mg.square()).rsqrt() * lr * grad
    } else {
        grad * lr / (ms - mg.square() + epsilon).sqrt()
    };
    let mom = s.of("mom") * s.of("momentum") + step;
    vec![("var", s.of("var") - mom), ("mg", mg), ("ms", ms), ("mom", mom)]
}

/// Follow the regularized leader. Version 2 adds shrinkage of the variable to the gradient.
fn ftrl<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let (var, accum, grad, lr) = (s.of("var"), s.of("accum"), s.grad(), s.of("lr"));
    let by_lr = s.flag("multiply_linear_by_lr");
    let shrunk = if s.has("l2_shrinkage") { grad + 2.0 * s.of("l2_shrinkage") * var } else { grad };
    let new_accum = accum + grad.square();
    let power = s.of("lr_power");
    let root = |x: Term<'f, 'b>| power.equal(power.number(-0.5)).choose(|| x.sqrt(), || x.pow(-power));
    let sigma = root(new_accum) - root(accum);
    let linear = s.of("linear") + if by_lr { shrunk * lr - sigma * var } else { shrunk - sigma / lr * var };
    let l1 = if by_lr { s.of("l1") * lr } else { s.of("l1") };
    let l2 = if by_lr { 2.0 * s.of("l2") * lr } else { 2.0 * s.of("l2") };
    let below = if by_lr { root(new_accum) } else { root(new_accum) / lr } + l2;
    let var = if s.sparse {
        (linear.min(l1).max(-l1) - linear) / below
    } else {
        let moved = (l1 * linear.sign() - linear) / below;
        linear.abs().greater(l1).choose(|| moved, || moved.number(0.0))
    };
    vec![("var", var), ("accum", new_accum), ("linear", linear)]
}

/// Soft thresholding of what a step of size `lr` has given, then shrinking.
fn proximal<'f, 'b>(s: &Step<'f, 'b>, lr: Term<'f, 'b>) -> Term<'f, 'b> {
    let (l1, l2) = (s.of("l1"), s.of("l2"));
    let moved = s.of("var") - s.grad() * lr;
    let below = 1.0 + l2 * lr;
    let shrunk = || moved.sign() * (moved.abs() - lr * l1).max(lr.number(0.0)) / below;
    l1.greater(l1.number(0.0)).choose(shrunk, || moved / below)
}

fn proximal_adagrad<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    let accum = s.of("accum") + s.grad().square();
    vec![("var", proximal(s, s.of("lr") * accum.rsqrt())), ("accum", accum)]
}

fn proximal_gradient_descent<'f, 'b>(s: &Step<'f, 'b>) -> Updates<'f, 'b> {
    vec![("var", proximal(s, s.of("alpha")))]
}

/// The operands of an update, named as the op's definition does.
struct Operands {
    names: Vec<String>,
    /// For each of the first operands, the variable that it is.
    keys: Vec<String>,
    values: Vec<Value>,
}

impl Operands {
    fn at(&self, name: &str) -> Result<usize> {
        self.names.iter().position(|n| n == name).with_context(|| format!("the op has no operand `{name}`"))
    }
}

impl Converter<'_> {
    /// An optimizer's update; gives the variable back.
    pub(super) fn update(&mut self, node: &Node, inputs: Vec<Item>) -> Result<Vec<Item>> {
        let (rule, sparse) = rule(&node.op).context("the op is not supported yet")?;
        let interface = node.interface.as_ref().context("the op is not in the table of ops")?;
        let names: Vec<String> = interface.inputs.iter().map(|a| a.name.clone()).collect();
        if names.len() != inputs.len() {
            bail!("the op takes {} operands, the node has {}", names.len(), inputs.len());
        }
        let mut x = Operands { names, keys: vec![], values: vec![] };
        for (i, item) in inputs.into_iter().enumerate() {
            // Variables come first; one that stands for another operand is read.
            let arg = &interface.inputs[i];
            let updated = arg.is_ref || arg.types == ArgTypes::One(ArgType::Fixed(TfDType::Resource));
            match &item {
                Item::Variable(key) if updated => x.keys.push(key.clone()),
                _ if updated => bail!("operand `{}` is not a variable", x.names[i]),
                _ => {}
            }
            x.values.push(self.tensor(item)?);
        }
        self.check(&x, sparse)?;
        let updated = if sparse {
            self.sparse(node, rule, &x)?
        } else {
            apply(&mut self.frame.b, node, rule, false, &x.names, &x.values)?
        };
        for (name, v) in updated {
            let key = x.keys.get(x.at(name)?).with_context(|| format!("operand `{name}` is not a variable"))?.clone();
            self.assign(&key, v)?;
        }
        Ok(x.keys.into_iter().take(1).map(Item::Variable).collect())
    }

    /// Refuses shapes that TensorFlow refuses: what is broadcast there is broadcast by mistake.
    fn check(&self, x: &Operands, sparse: bool) -> Result<()> {
        let shape = |i: usize| self.frame.b.ty(x.values[i]).shape.clone();
        let var = shape(0);
        if sparse && var.is_empty() {
            bail!("a sparse update of a scalar variable");
        }
        // One update for each index.
        let updates =
            if sparse { vec![shape(x.at("indices")?).first().cloned().unwrap_or(Dim::from(1))] } else { vec![] };
        for (i, name) in x.names.iter().enumerate() {
            let want = match &**name {
                _ if i < x.keys.len() => var.clone(),
                "grad" if sparse => updates.iter().chain(&var[1..]).cloned().collect(),
                "grad" | "delta" => var.clone(),
                "indices" => updates.clone(),
                _ => vec![],
            };
            let have = shape(i);
            let unlike = |(a, b): (&Dim, &Dim)| matches!((a.as_const(), b.as_const()), (Some(a), Some(b)) if a != b);
            if have.len() != want.len() || have.iter().zip(&want).any(unlike) {
                bail!("operand `{name}` has shape {have:?}, not {want:?}");
            }
        }
        Ok(())
    }

    /// The new values of variables whose rows are updated.
    fn sparse(&mut self, node: &Node, rule: Rule, x: &Operands) -> Result<Vec<(&'static str, Value)>> {
        let indices = x.values[x.at("indices")?];
        let count = self.frame.b.ty(indices).shape[0].clone();
        let distinct = |t: &Tensor| {
            t.to_i64s().is_some_and(|v| {
                let mut seen = HashSet::new();
                v.into_iter().all(|i| seen.insert(i))
            })
        };
        if self.frame.b.as_const(indices).is_some_and(distinct) || count.is(1) {
            return rows(&mut self.frame.b, node, rule, x, &x.values);
        }
        // Which updates are left, and the operands.
        let all = self.frame.b.scalar(DType::Bool, 1.0)?;
        let all = self.frame.b.broadcast(all, std::slice::from_ref(&count))?;
        let carried: Vec<Value> = [all].into_iter().chain(x.values.iter().copied()).collect();
        let mut order: Vec<&'static str> = vec![];
        let results = self.while_values(
            "updates",
            &carried,
            |b, v| b.push(Reduce { op: ReduceOp::Any, axes: vec![0], keep_dims: false }, &[v[0]]),
            |b, v| {
                let (left, operands) = round(b, x, v)?;
                let updated = rows(b, node, rule, x, &operands)?;
                let mut next = v.to_vec();
                next[0] = left;
                for (name, value) in updated {
                    next[1 + x.at(name)?] = value;
                    order.push(name);
                }
                Ok(next)
            },
        )?;
        order.into_iter().map(|name| Ok((name, results[1 + x.at(name)?]))).collect()
    }
}

/// One round: the updates that are left after it, and the operands with the indices and gradients of its updates. An
/// update that is not of this round is replaced by one that is: doing an update twice from the same rows is harmless.
fn round(b: &mut Builder, x: &Operands, carried: &[Value]) -> Result<(Value, Vec<Value>)> {
    let (left, mut operands) = (carried[0], carried[1..].to_vec());
    let (grad, indices) = (x.at("grad")?, x.at("indices")?);
    let count = b.ty(left).shape[0].clone();
    let none = kiln_ir::ops::constant::Dims { dims: vec![count.clone()], scalar: true, dtype: DType::I64 };
    let none = b.push(none, &[])?;
    let place = b.push(Iota { shape: vec![count.clone()], axis: 0, dtype: DType::I64 }, &[])?;
    // For each row the first update that is left.
    let pending = b.select(left, place, none)?;
    let height = b.ty(operands[0]).shape[..1].to_vec();
    let first = b.broadcast(none, &height)?;
    let column = b.reshape(operands[indices], &[count, Dim::from(1)])?;
    let first = b.push(Scatter { mode: ScatterMode(Some(BinaryOp::Min)) }, &[first, column, pending])?;
    let first = b.push(Gather { axis: 0, batch_dims: 0 }, &[first, operands[indices]])?;
    let active = b.compare(CompareOp::Eq, first, place)?;
    let later = b.compare(CompareOp::Ne, first, place)?;
    let left = b.binary(BinaryOp::And, left, later)?;
    let any = b.select(active, place, none)?;
    let any = b.push(Reduce { op: ReduceOp::Min, axes: vec![0], keep_dims: false }, &[any])?;
    let source = b.select(active, place, any)?;
    for i in [grad, indices] {
        operands[i] = b.push(Gather { axis: 0, batch_dims: 0 }, &[operands[i], source])?;
    }
    Ok((left, operands))
}

/// The variables with the rows updated that the indices name; these differ, or their updates are the same.
fn rows(
    b: &mut Builder,
    node: &Node,
    rule: Rule,
    x: &Operands,
    operands: &[Value],
) -> Result<Vec<(&'static str, Value)>> {
    let indices = operands[x.at("indices")?];
    let mut taken = operands.to_vec();
    for v in &mut taken[..x.keys.len()] {
        *v = b.push(Gather { axis: 0, batch_dims: 0 }, &[*v, indices])?;
    }
    let count = b.ty(indices).shape[0].clone();
    let column = b.reshape(indices, &[count, Dim::from(1)])?;
    let mut out = vec![];
    for (name, new) in apply(b, node, rule, true, &x.names, &taken)? {
        let whole = operands[x.at(name)?];
        out.push((name, b.push(Scatter { mode: ScatterMode::UPDATE }, &[whole, column, new])?));
    }
    Ok(out)
}

/// The values that a rule gives variables, each of its variable's type.
fn apply(
    b: &mut Builder,
    node: &Node,
    rule: Rule,
    sparse: bool,
    names: &[String],
    values: &[Value],
) -> Result<Vec<(&'static str, Value)>> {
    let first = values.first().copied().context("it has no operand")?;
    let shape = b.ty(first).shape.clone();
    let f = Formula::new(b);
    let operands = names.iter().zip(values).map(|(n, &v)| (n.as_str(), f.term(v))).collect();
    let updates = rule(&Step { f: &f, node, first, sparse, operands });
    let updated = updates.into_iter().map(|(name, t)| (name, t.broadcast(&shape).v)).collect();
    f.end()?;
    Ok(updated)
}
