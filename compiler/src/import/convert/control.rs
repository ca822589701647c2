//! Conditionals and loops: their functions become functions of the module, called by `case` and `while`.
//!
//! A value from outside enters a function as a parameter, but for what is known when it is built: constants and sizes are
//! built again inside, so that shapes stay static there; handles of variables and arrays are no values at all. The
//! variables that are assigned so far, or inside, are threaded through behind the arguments.
//!
//! The types of a loop's values are found by building the body until they hold: a dimension that the body changes becomes
//! a symbol, and a list whose elements' shape only the body knows gets its buffer in front of the loop.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, anyhow, bail};
use kiln_ir::ops::constant::Dims;
use kiln_ir::ops::control::{Case, While};
use kiln_ir::scalar::CompareOp;
use kiln_ir::{Builder, DType, Dim, DimTensor, Effect, ParamKind, Tensor, TensorType, Value};

use super::super::Function as TfFunction;
use super::super::graph::{ARG_OP, Node};
use super::lists::{List, ListData};
use super::{Converter, Frame, Item};

/// The ops of this file.
pub(super) const OPS: &[&str] =
    &["If", "StatelessIf", "XlaIf", "Case", "StatelessCase", "While", "StatelessWhile", "XlaWhile"];

/// How often a loop's body is built to find the types of its values: each time a dimension or a list is settled.
const MAX_ROUNDS: usize = 12;

/// How a value from outside enters a function.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// As a parameter.
    Param(TensorType),
    /// A list as a parameter that holds its buffer.
    List(TensorType),
    /// A list that has no buffer yet.
    Reserved(List),
    /// Known when the function is built.
    Const(Tensor),
    /// Sizes, known as symbols.
    Dims(DimTensor, DType),
    /// A variable's or array's handle.
    Handle(Item),
}

impl Entry {
    fn ty(&self) -> Option<&TensorType> {
        match self {
            Entry::Param(ty) | Entry::List(ty) => Some(ty),
            _ => None,
        }
    }
}

/// A function that was built and is not in the module yet.
pub(super) struct Sub {
    pub(super) frame: Frame,
    /// Its results, then the present values of the variables that are threaded through.
    pub(super) items: Vec<Item>,
}

impl Sub {
    fn ty(&self, v: Value) -> &TensorType {
        self.frame.b.ty(v)
    }

    /// Variables that are assigned inside and are not threaded through.
    pub(super) fn escaping(&self) -> Vec<String> {
        self.frame.newly_assigned.iter().cloned().collect()
    }

    /// Whether a dimension has a meaning outside of the function.
    fn is_local(&self, d: &Dim) -> bool {
        let mut local = false;
        d.for_each_symbol(&mut |s| local |= self.frame.b.symbols.iter().any(|k| k.0 == *s));
        local
    }

    fn effect(&self) -> bool {
        self.frame.b.func.nodes().any(|(_, n)| n.op.effect() == Effect::Effect)
    }
}

impl Converter<'_> {
    pub(super) fn control(&mut self, node: &Node, inputs: Vec<Item>, depth: usize) -> Result<Vec<Item>> {
        let func = |attr: &str| {
            node.func(attr).map(|f| f.name.clone()).with_context(|| format!("attribute `{attr}` names no function"))
        };
        match &*node.op {
            "While" | "StatelessWhile" | "XlaWhile" => self.while_loop(&func("cond")?, &func("body")?, inputs, depth),
            op => {
                let mut inputs = inputs.into_iter();
                let selector = inputs.next().ok_or_else(|| anyhow!("it has no operand to select by"))?;
                let selector = self.tensor(selector)?;
                let (branches, selector) = if op.ends_with("If") {
                    (vec![func("else_branch")?, func("then_branch")?], self.truth(selector)?)
                } else {
                    let list = node.list("branches").context("attribute `branches` names no functions")?;
                    (list.func.iter().map(|f| f.name.clone()).collect(), selector)
                };
                self.case(&branches, selector, inputs.collect(), depth)
            }
        }
    }

    /// A condition as a bool: numbers are true where they are not 0.
    fn truth(&mut self, v: Value) -> Result<Value> {
        let ty = self.frame.b.ty(v).clone();
        match ty.dtype {
            DType::Bool => Ok(v),
            d if d.is_int() || d.is_float() => {
                let zero = self.frame.b.scalar(d, 0.0)?;
                self.frame.b.compare(CompareOp::Ne, v, zero)
            }
            d => bail!("a condition of {d} is not supported"),
        }
    }

    /// How an item of the function under construction enters another one. `fixed`: it has the same value wherever the
    /// function runs.
    fn entry(&self, item: &Item, fixed: bool) -> Entry {
        let b = &self.frame.b;
        match item {
            Item::Value(v) if fixed => match (b.as_const(*v), b.as_dims(*v)) {
                (Some(t), _) => Entry::Const(t.clone()),
                (None, Some(d)) if d.shape.len() <= 1 && !d.elems.is_empty() => Entry::Dims(d.clone(), b.ty(*v).dtype),
                _ => Entry::Param(b.ty(*v).clone()),
            },
            Item::Value(v) => Entry::Param(b.ty(*v).clone()),
            Item::List(List { data: ListData::Buffer(v), .. }) => Entry::List(b.ty(*v).clone()),
            Item::List(l) => Entry::Reserved(l.clone()),
            handle => Entry::Handle(handle.clone()),
        }
    }

    /// Builds a function on entries; the last `threaded.len()` of them are variables.
    pub(super) fn build(&mut self, name: &str, entries: &[Entry], threaded: &[String], depth: usize) -> Result<Sub> {
        let inner = Frame::new(self.frame.b.sibling(name));
        let outer = std::mem::replace(&mut self.frame, inner);
        let built = self.build_inside(name, entries, threaded, depth);
        let frame = std::mem::replace(&mut self.frame, outer);
        built.map(|items| Sub { frame, items })
    }

    fn build_inside(&mut self, name: &str, entries: &[Entry], threaded: &[String], depth: usize) -> Result<Vec<Item>> {
        let mut items = vec![];
        for (i, e) in entries.iter().enumerate() {
            let b = &mut self.frame.b;
            let mut param = |ty: &TensorType| b.param(&format!("a{i}"), ParamKind::Input, ty.clone());
            items.push(match e {
                Entry::Param(ty) => Item::Value(param(ty)),
                Entry::List(ty) => Item::List(List { dtype: ty.dtype, data: ListData::Buffer(param(ty)) }),
                Entry::Reserved(l) => Item::List(l.clone()),
                Entry::Const(t) => Item::Value(b.constant(t.clone())?),
                Entry::Dims(d, dtype) => {
                    let op = Dims { dims: d.elems.clone(), scalar: d.shape.is_empty(), dtype: *dtype };
                    Item::Value(b.push(op, &[])?)
                }
                Entry::Handle(item) => item.clone(),
            });
        }
        for (key, item) in threaded.iter().zip(items.split_off(entries.len() - threaded.len())) {
            let Item::Value(v) = item else { bail!("variable `{key}` is no value") };
            self.frame.assigned.insert(key.clone(), v);
        }
        let mut results = self.call(name, &items, depth)?;
        // A variable that is returned as a tensor is read where the function ends.
        results.extend(threaded.iter().map(|key| Item::Value(self.frame.assigned[key])));
        Ok(results)
    }

    /// Runs `f` with the function of `sub` under construction.
    pub(super) fn inside<T>(&mut self, sub: &mut Sub, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        std::mem::swap(&mut self.frame, &mut sub.frame);
        let result = f(self);
        std::mem::swap(&mut self.frame, &mut sub.frame);
        result
    }

    /// A `while` over values that keep their types: as long as `cond` gives true on them, they become what `body` gives.
    pub(super) fn while_values(
        &mut self,
        name: &str,
        carried: &[Value],
        cond: impl FnOnce(&mut Builder, &[Value]) -> Result<Value>,
        body: impl FnOnce(&mut Builder, &[Value]) -> Result<Vec<Value>>,
    ) -> Result<Vec<Value>> {
        let types: Vec<TensorType> = carried.iter().map(|&v| self.frame.b.ty(v).clone()).collect();
        let function = |part: &str, b: &Builder| {
            let mut inner = Frame::new(b.sibling(&format!("{name}.{part}")));
            inner.b.loc = b.loc.clone();
            let params = types.iter().enumerate();
            let params = params.map(|(i, ty)| inner.b.param(&format!("a{i}"), ParamKind::Input, ty.clone())).collect();
            (Sub { frame: inner, items: vec![] }, params)
        };
        let (mut test, params): (Sub, Vec<Value>) = function("cond", &self.frame.b);
        let goes_on = cond(&mut test.frame.b, &params)?;
        let (mut step, params): (Sub, Vec<Value>) = function("body", &self.frame.b);
        let results = body(&mut step.frame.b, &params)?;
        let effect = test.effect() || step.effect();
        let (cond, body) = (self.finish(test, &[goes_on]), self.finish(step, &results));
        self.frame.b.push_all(While { cond, body, results: types, effect }, carried)
    }

    /// Puts a function into the module; returns its index.
    fn finish(&mut self, mut sub: Sub, results: &[Value]) -> usize {
        for (i, &v) in results.iter().enumerate() {
            sub.frame.b.func.add_result(&format!("r{i}"), ParamKind::Input, v);
        }
        let index = self.funcs.len();
        sub.frame.b.func.name = format!("{}.{index}", sub.frame.b.func.name);
        self.frame.b.symbols.append(&mut sub.frame.b.symbols);
        self.funcs.push(sub.frame.b.func);
        index
    }

    /// The items with the present values of variables behind them.
    fn with_variables(&mut self, inputs: &[Item], keys: &[String]) -> Result<Vec<Item>> {
        let mut items = inputs.to_vec();
        for key in keys {
            items.push(Item::Value(self.read_variable(key)?));
        }
        Ok(items)
    }

    fn set_variables(&mut self, keys: &[String], items: Vec<Item>) {
        for (key, item) in keys.iter().zip(items) {
            if let Item::Value(v) = item
                && self.frame.assigned.insert(key.clone(), v).is_none()
            {
                self.frame.newly_assigned.insert(key.clone());
            }
        }
    }

    /// Refuses stacks that a function gives elements of a shape that has no meaning outside of it.
    fn check_stacks(&self, sub: &Sub) -> Result<()> {
        for key in sub.escaping() {
            if let Some(ty) = self.stacks.get(&key)
                && ty.shape.iter().any(|d| sub.is_local(d))
            {
                bail!("{key}: the shape of its elements, {ty}, depends on the iteration or branch");
            }
        }
        Ok(())
    }

    fn case(&mut self, names: &[String], selector: Value, inputs: Vec<Item>, depth: usize) -> Result<Vec<Item>> {
        if names.is_empty() {
            bail!("it has no branches");
        }
        let mut keys: BTreeSet<String> = self.frame.assigned.keys().cloned().collect();
        if let Some(known) = self.frame.b.as_const(selector) {
            let case = Case { branches: (0..names.len()).collect(), results: vec![], effect: false };
            let taken = case.select(known)?;
            return self.call(&names[taken], &inputs, depth);
        }
        loop {
            let threaded: Vec<String> = keys.iter().cloned().collect();
            let items = self.with_variables(&inputs, &threaded)?;
            let entries: Vec<Entry> = items.iter().map(|i| self.entry(i, true)).collect();
            // Variables change, so they are parameters whatever is known of them.
            let entries: Vec<Entry> = entries
                .into_iter()
                .enumerate()
                .map(|(i, e)| if i < inputs.len() { e } else { self.entry(&items[i], false) })
                .collect();
            let mark = self.funcs.len();
            let mut subs = vec![];
            for name in names {
                subs.push(self.build(name, &entries, &threaded, depth)?);
            }
            let escaping: Vec<String> = subs.iter().flat_map(Sub::escaping).collect();
            if !escaping.is_empty() {
                subs.iter().try_for_each(|s| self.check_stacks(s))?;
                keys.extend(escaping);
                self.funcs.truncate(mark);
                continue;
            }
            return self.join(selector, subs, &entries, &items, &threaded);
        }
    }

    /// The `case` of branches that are built.
    fn join(
        &mut self,
        selector: Value,
        mut subs: Vec<Sub>,
        entries: &[Entry],
        items: &[Item],
        threaded: &[String],
    ) -> Result<Vec<Item>> {
        let count = subs[0].items.len();
        if subs.iter().any(|s| s.items.len() != count) {
            bail!("its branches have different numbers of results");
        }
        let mut results: Vec<Vec<Value>> = vec![vec![]; subs.len()];
        let mut types = vec![];
        // Each item of the result: known already, or the next value of the `case`; for a list, of these elements.
        let mut outputs: Vec<(Option<Item>, Option<DType>)> = vec![];
        for i in 0..count {
            let of: Vec<Item> = subs.iter().map(|s| s.items[i].clone()).collect();
            if let Some(same) = same_handle(&of) {
                outputs.push((Some(same), None));
                continue;
            }
            let is_list = matches!(of[0], Item::List(_));
            let elem = subs.iter().zip(&of).find_map(|(s, item)| match item {
                Item::List(List { data: ListData::Buffer(v), .. }) => Some(s.ty(*v).shape[1..].to_vec()),
                _ => None,
            });
            let mut values = vec![];
            for (sub, item) in subs.iter_mut().zip(of) {
                values.push(self.inside(sub, |c| match (item, &elem) {
                    (Item::List(l), Some(elem)) if is_list => c.contents_of(l, elem),
                    (item, _) if !is_list => c.tensor(item),
                    _ => bail!("result {i} is a list in one branch and none in another"),
                })?);
            }
            let given: Vec<&TensorType> = subs.iter().zip(&values).map(|(s, &v)| s.ty(v)).collect();
            let first = given[0].clone();
            if given.iter().any(|t| t.dtype != first.dtype || t.rank() != first.rank()) {
                bail!("result {i} has types {given:?} in its branches");
            }
            let mut shape = vec![];
            for axis in 0..first.rank() {
                let d = first.shape[axis].clone();
                let same = given.iter().all(|t| t.shape[axis] == d) && !subs[0].is_local(&d);
                shape.push(if same { d } else { self.frame.b.fresh_dim("branch") });
            }
            types.push(TensorType::new(first.dtype, shape));
            outputs.push((None, is_list.then_some(first.dtype)));
            results.iter_mut().zip(values).for_each(|(r, v)| r.push(v));
        }
        let effect = subs.iter().any(Sub::effect);
        let branches = subs.into_iter().zip(&results).map(|(s, r)| self.finish(s, r)).collect();
        let mut operands = vec![selector];
        for (item, _) in items.iter().zip(entries).filter(|(_, e)| e.ty().is_some()) {
            operands.push(self.value_of(item.clone())?);
        }
        let values = self.frame.b.push_all(Case { branches, results: types, effect }, &operands)?;
        Ok(self.deliver(outputs, values, threaded))
    }

    /// Items of known ones and values, in order; the variables among them are set.
    fn deliver(
        &mut self,
        outputs: Vec<(Option<Item>, Option<DType>)>,
        values: Vec<Value>,
        threaded: &[String],
    ) -> Vec<Item> {
        let mut values = values.into_iter();
        let mut items: Vec<Item> = outputs
            .into_iter()
            .filter_map(|(known, list)| match (known, list) {
                (Some(item), _) => Some(item),
                (None, Some(dtype)) => values.next().map(|v| Item::List(List { dtype, data: ListData::Buffer(v) })),
                (None, None) => values.next().map(Item::Value),
            })
            .collect();
        let variables = items.split_off(items.len() - threaded.len());
        self.set_variables(threaded, variables);
        items
    }

    /// The value of an item that enters a function as a parameter.
    fn value_of(&mut self, item: Item) -> Result<Value> {
        match item {
            Item::List(List { data: ListData::Buffer(v), .. }) => Ok(v),
            item => self.tensor(item),
        }
    }

    fn while_loop(&mut self, cond: &str, body: &str, inputs: Vec<Item>, depth: usize) -> Result<Vec<Item>> {
        let mut keys: BTreeSet<String> = self.frame.assigned.keys().cloned().collect();
        let unchanged = passed_through(self.function(body)?);
        'threading: loop {
            let threaded: Vec<String> = keys.iter().cloned().collect();
            let items = self.with_variables(&inputs, &threaded)?;
            let fixed = |i: usize| unchanged.get(i).copied().unwrap_or(false);
            let mut entries: Vec<Entry> =
                items.iter().enumerate().map(|(i, item)| self.entry(item, fixed(i))).collect();
            let mut symbols = HashMap::new();
            let mark = self.funcs.len();
            for _ in 0..MAX_ROUNDS {
                let sub = self.build(body, &entries, &threaded, depth)?;
                if !sub.escaping().is_empty() {
                    self.check_stacks(&sub)?;
                    keys.extend(sub.escaping());
                    self.funcs.truncate(mark);
                    continue 'threading;
                }
                if self.widen(&mut entries, &sub, &mut symbols)? {
                    self.funcs.truncate(mark);
                    continue;
                }
                return self.close(cond, sub, &entries, &items, &threaded, &symbols, depth);
            }
            bail!("the types of the loop's values do not settle: {entries:?}");
        }
    }

    /// Makes the entries of a loop general enough for what its body gives; tells whether one changed.
    fn widen(&mut self, entries: &mut [Entry], sub: &Sub, symbols: &mut HashMap<(usize, usize), Dim>) -> Result<bool> {
        if sub.items.len() != entries.len() {
            bail!("the loop carries {} values, its body gives {}", entries.len(), sub.items.len());
        }
        let mut changed = false;
        for (i, (e, item)) in entries.iter_mut().zip(&sub.items).enumerate() {
            let settled = match (&mut *e, item) {
                (Entry::Const(_) | Entry::Dims(..), _) => None,
                (Entry::Handle(a), b) if same_handle(&[a.clone(), b.clone()]).is_some() => None,
                (Entry::Param(ty), Item::Value(v)) => Some((ty, sub.ty(*v))),
                (Entry::List(ty), Item::List(List { data: ListData::Buffer(v), .. })) => Some((ty, sub.ty(*v))),
                (Entry::Reserved(_), Item::List(List { data: ListData::Reserved(..), .. })) => None,
                (Entry::Reserved(l), Item::List(List { data: ListData::Buffer(v), .. })) => {
                    let mut ty = sub.ty(*v).clone();
                    if ty.shape[1..].iter().any(|d| sub.is_local(d)) {
                        bail!("the elements of list {i} have a shape that depends on the iteration");
                    }
                    ty.shape[0] = self.length(l);
                    *e = Entry::List(ty);
                    changed = true;
                    None
                }
                // A sum of arrays that starts with a scalar zero.
                (Entry::Param(scalar), Item::List(List { data: ListData::Buffer(v), .. })) if scalar.rank() == 0 => {
                    let ty = sub.ty(*v).clone();
                    if ty.shape.iter().any(|d| sub.is_local(d)) {
                        bail!("list {i} of the loop has a shape that depends on the iteration: {ty}");
                    }
                    *e = Entry::List(ty);
                    changed = true;
                    None
                }
                _ => bail!("value {i} of the loop is of another kind behind its body: {item:?}"),
            };
            let Some((ty, given)) = settled else { continue };
            if ty.dtype != given.dtype || ty.rank() != given.rank() {
                bail!("value {i} of the loop is {ty}, its body gives {given}");
            }
            for (axis, (d, g)) in ty.shape.iter_mut().zip(&given.shape).enumerate() {
                if d != g && !symbols.contains_key(&(i, axis)) {
                    *d = self.frame.b.fresh_dim("loop");
                    symbols.insert((i, axis), d.clone());
                    changed = true;
                }
            }
        }
        Ok(changed)
    }

    /// The `while` of a body whose types hold.
    #[allow(clippy::too_many_arguments)] // the parts of one loop
    fn close(
        &mut self,
        cond: &str,
        body: Sub,
        entries: &[Entry],
        items: &[Item],
        threaded: &[String],
        symbols: &HashMap<(usize, usize), Dim>,
        depth: usize,
    ) -> Result<Vec<Item>> {
        let mut test = self.build(cond, entries, threaded, depth)?;
        if !test.escaping().is_empty() {
            bail!("the condition of a loop assigns variables {:?}", test.escaping());
        }
        let Some(Item::Value(goes_on)) = test.items.first().cloned() else {
            bail!("the loop's condition gives no value")
        };
        let goes_on = self.inside(&mut test, |c| {
            let v = c.truth(goes_on)?;
            c.frame.b.reshape(v, &[])
        })?;
        let effect = test.effect() || body.effect();
        let mut operands = vec![];
        let (mut types, mut results, mut outputs) = (vec![], vec![], vec![]);
        for (i, (e, item)) in entries.iter().zip(items).enumerate() {
            let Some(ty) = e.ty() else {
                outputs.push((Some(item.clone()), None));
                continue;
            };
            operands.push(match item {
                Item::List(l @ List { data: ListData::Reserved(..), .. }) => {
                    self.contents_of(l.clone(), &ty.shape[1..])?
                }
                Item::Value(_) if matches!(e, Entry::List(_)) => self.zeros(ty)?,
                item => self.value_of(item.clone())?,
            });
            results.push(match &body.items[i] {
                Item::Value(v) | Item::List(List { data: ListData::Buffer(v), .. }) => *v,
                item => bail!("value {i} of the loop is no tensor behind its body: {item:?}"),
            });
            let fresh = |b: &mut kiln_ir::Builder, axis: usize, d: &Dim| {
                if symbols.contains_key(&(i, axis)) { b.fresh_dim("after") } else { d.clone() }
            };
            let shape = ty.shape.iter().enumerate().map(|(axis, d)| fresh(&mut self.frame.b, axis, d)).collect();
            types.push(TensorType::new(ty.dtype, shape));
            outputs.push((None, matches!(e, Entry::List(_)).then_some(ty.dtype)));
        }
        let cond = self.finish(test, &[goes_on]);
        let body = self.finish(body, &results);
        let values = self.frame.b.push_all(While { cond, body, results: types, effect }, &operands)?;
        Ok(self.deliver(outputs, values, threaded))
    }
}

/// The handle that all items are, if they are one and the same.
fn same_handle(items: &[Item]) -> Option<Item> {
    let same = |a: &Item, b: &Item| match (a, b) {
        (Item::Variable(a), Item::Variable(b)) => a == b,
        (Item::Array(a), Item::Array(b)) => a == b,
        (Item::Table(a), Item::Table(b)) => a == b,
        (Item::Stack(a), Item::Stack(b)) => a == b,
        (Item::List(a), Item::List(b)) => match (&a.data, &b.data) {
            (ListData::Reserved(n, _), ListData::Reserved(m, _)) => n == m,
            _ => false,
        },
        _ => false,
    };
    let first = items.first()?;
    items.iter().all(|i| same(first, i)).then(|| first.clone())
}

/// For each argument of a loop's body, whether the body returns it as it is.
fn passed_through(f: &TfFunction) -> Vec<bool> {
    let source = |mut id| {
        // Identities are skipped; a chain of them ends, since they make no cycle.
        while let Some(n) = f.body.node(id).filter(|n| matches!(&*n.op, "Identity") && !n.inputs.is_empty()) {
            id = n.inputs[0].node;
        }
        id
    };
    let args = f.body.iter().filter(|(_, n)| &*n.op == ARG_OP).map(|(id, _)| id);
    args.zip(&f.rets).map(|(arg, ret)| source(ret.edge.node) == arg).collect()
}
