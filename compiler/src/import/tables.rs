//! Look-up tables: their contents, from the checkpoint or from what the initializers fill them with, and the ops that
//! read them.
//!
//! A table is a node of the main graph; functions get its handle as an argument. Contents are found by walking what the
//! initializers run, calls included. Keys and values may be computed: constants, files of the model's assets, and ops
//! of constants are evaluated here.

use std::collections::HashSet;

use anyhow::{Context, Result, anyhow, bail};
use kiln_ir::ops::table::TableFind;
use kiln_ir::tf::{TfCx, TfNode};
use kiln_ir::{Builder, DType, Module, ParamKind, Tensor, Value, interp};

use super::TfModel;
use super::convert::{attributes, to_tensor};
use super::graph::{ARG_OP, Body, Edge, Node, NodeId};
use super::tensor::HostTensor;

/// Calls may nest this deep.
const MAX_CALL_DEPTH: usize = 64;

/// Whether an op makes the handle of a table.
pub fn makes_table(op: &str) -> bool {
    super::restore::makes_table(op)
}

/// Whether an op reads a table's contents: [`lookup`] imports it.
pub fn reads_table(op: &str) -> bool {
    let base = op.strip_suffix("V2").unwrap_or(op);
    matches!(base, "LookupTableFind" | "LookupTableSize" | "LookupTableExport")
}

/// Keys (a vector) and values (a row for each key) of a table.
pub type Contents = (Tensor, Tensor);

/// The contents of the table that a node of the main graph makes.
///
/// # Errors
/// If neither the checkpoint nor an initializer fills it, or what it is filled with cannot be evaluated.
pub fn contents(model: &TfModel, table: NodeId) -> Result<Contents> {
    let node = model.graph.main.node(table).ok_or_else(|| anyhow!("the table is no node of the main graph"))?;
    let place = || format!("table `{}` ({})", node.name, node.op);
    if model.variables.tables().contains_key(&*node.name) {
        let (keys, values) = model.variables.read_table(&node.name).with_context(place)?;
        return Ok((to_tensor(&keys)?, to_tensor(&values)?));
    }
    let mut walk = Walk { model, table, found: None };
    let main = Scope { body: &model.graph.main, args: vec![], outer: None };
    walk.run(&main, &model.init_ops, 0).with_context(place)?;
    match walk.found {
        Some(c) => Ok(c),
        None => bail!("no initializer fills the {}", place()),
    }
}

/// Builds what an op that [`reads_table`] computes; `inputs` are its operands without the handle.
///
/// # Errors
/// If the operands do not have the table's types.
pub fn lookup(b: &mut Builder, op: &str, contents: &Contents, inputs: &[Value]) -> Result<Vec<Value>> {
    let (keys, values) = contents;
    match op.strip_suffix("V2").unwrap_or(op) {
        "LookupTableFind" => b.push_all(TableFind::new(keys.clone(), values.clone()), inputs),
        "LookupTableSize" => {
            let different = match keys.strings() {
                Some(s) => s.iter().collect::<HashSet<_>>().len(),
                None => keys.to_i64s().unwrap_or_default().iter().collect::<HashSet<_>>().len(),
            };
            Ok(vec![b.constant(Tensor::scalar(different as i64))?])
        }
        "LookupTableExport" => Ok(vec![b.constant(keys.clone())?, b.constant(values.clone())?]),
        other => bail!("`{other}` does not read a table"),
    }
}

/// A body with what it was called with: each argument is a tensor of the caller's.
struct Scope<'a> {
    body: &'a Body,
    args: Vec<Edge>,
    outer: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    fn node(&self, id: NodeId) -> Result<&'a Node> {
        self.body.node(id).ok_or_else(|| anyhow!("an edge leads out of the graph"))
    }

    /// The tensor without the nodes that only pass it on, in the scope that computes it.
    fn origin<'s>(&'s self, e: Edge) -> Result<(&'s Scope<'a>, Edge)> {
        let (mut scope, mut e) = (self, e);
        loop {
            let node = scope.node(e.node)?;
            match (&*node.op, node.inputs.get(e.output as usize), scope.outer) {
                ("Identity" | "IdentityN" | "StopGradient", Some(&from), _) => e = from,
                (ARG_OP, _, Some(outer)) => {
                    // Arguments come first in a body, in their order.
                    let from = scope.args.get(e.node.index()).copied();
                    e = from.with_context(|| format!("argument `{}` is not given", node.name))?;
                    scope = outer;
                }
                _ => return Ok((scope, e)),
            }
        }
    }
}

struct Walk<'a> {
    model: &'a TfModel,
    table: NodeId,
    found: Option<Contents>,
}

impl Walk<'_> {
    /// Visits everything that some nodes need, until the table has been filled.
    fn run(&mut self, scope: &Scope<'_>, roots: &[NodeId], depth: usize) -> Result<()> {
        if depth > MAX_CALL_DEPTH {
            bail!("calls nest deeper than {MAX_CALL_DEPTH}");
        }
        let (mut seen, mut queue) = (HashSet::new(), roots.to_vec());
        while let Some(id) = queue.pop() {
            if self.found.is_some() {
                return Ok(());
            }
            if !seen.insert(id) {
                continue;
            }
            let node = scope.node(id)?;
            queue.extend(node.inputs.iter().map(|e| e.node).chain(node.control.iter().copied()));
            self.visit(scope, node, depth).with_context(|| format!("node `{}` ({})", node.name, node.op))?;
        }
        Ok(())
    }

    fn visit(&mut self, scope: &Scope<'_>, node: &Node, depth: usize) -> Result<()> {
        let called = node.func("f").map_or(&*node.op, |f| f.name.as_str());
        if let Some(f) = self.model.graph.find_function(called).and_then(|f| self.model.graph.function(f)) {
            let inner = Scope { body: &f.body, args: node.inputs.clone(), outer: Some(scope) };
            let roots: Vec<NodeId> = f.rets.iter().map(|r| r.edge.node).chain(f.control_rets.iter().copied()).collect();
            return self.run(&inner, &roots, depth + 1);
        }
        let op = node.op.strip_suffix("V2").unwrap_or(&node.op);
        if !matches!(op, "InitializeTable" | "InitializeTableFromTextFile" | "LookupTableImport" | "LookupTableInsert")
        {
            return Ok(());
        }
        let input = |i: usize| node.inputs.get(i).copied().with_context(|| format!("operand {i} is missing"));
        let (owner, handle) = scope.origin(input(0)?)?;
        if owner.outer.is_some() || handle.node != self.table {
            return Ok(());
        }
        self.found = Some(if op == "InitializeTableFromTextFile" {
            let file = self.value(scope, input(1)?, depth)?;
            let types = self.model.graph.main.node(self.table).map(|t| (t.dtype("key_dtype"), t.dtype("value_dtype")));
            let dtype = |d: Option<super::TfDType>| d.and_then(|d| DType::from_tf(d.number()));
            let (key, value) = types.map(|(k, v)| (dtype(k), dtype(v))).unwrap_or((None, None));
            let (key, value) = (key.context("the type of the keys")?, value.context("the type of the values")?);
            read_file(node, &self.path(&file)?, key, value)?
        } else {
            (self.value(scope, input(1)?, depth)?, self.value(scope, input(2)?, depth)?)
        });
        Ok(())
    }

    /// The file that a path names: an asset of the model, wherever the model lies now.
    fn path(&self, path: &Tensor) -> Result<std::path::PathBuf> {
        let path = path.strings().and_then(|s| s.first()).context("the path is no string")?;
        let path = std::path::PathBuf::from(std::str::from_utf8(path).context("the path is not UTF-8")?);
        let moved = self.model.assets.iter().find(|a| a.path.file_name() == path.file_name()).map(|a| a.path.clone());
        Ok(if path.exists() { path } else { moved.unwrap_or(path) })
    }

    /// The value of a tensor that depends on constants and files only.
    fn value(&self, scope: &Scope<'_>, e: Edge, depth: usize) -> Result<Tensor> {
        if depth > MAX_CALL_DEPTH {
            bail!("values depend on each other {MAX_CALL_DEPTH} deep");
        }
        let (scope, e) = scope.origin(e)?;
        let node = scope.node(e.node)?;
        if scope.outer.is_none()
            && let Some(asset) = self.model.assets.iter().find(|a| a.edge == Some(e))
        {
            return Ok(Tensor::of_strings(&[], vec![asset.path.to_string_lossy().into_owned().into_bytes()]));
        }
        let place = || format!("node `{}` ({})", node.name, node.op);
        match &*node.op {
            "Const" => {
                let proto = node.tensor("value").with_context(place)?;
                to_tensor(&HostTensor::from_proto(proto, &node.name)?)
            }
            "ReadVariableOp" => self.variable(scope, node, depth).with_context(place),
            _ => self.computed(scope, node, e.output as usize, depth).with_context(place),
        }
    }

    /// A variable's value: the checkpoint's, or what an initializer assigns to it.
    fn variable(&self, scope: &Scope<'_>, read: &Node, depth: usize) -> Result<Tensor> {
        let handle = *read.inputs.first().context("the handle is missing")?;
        let (owner, handle) = scope.origin(handle)?;
        let name = &owner.node(handle.node)?.name;
        if let Ok(value) = self.model.variables.read(name) {
            return to_tensor(&value);
        }
        let main = Scope { body: &self.model.graph.main, args: vec![], outer: None };
        for node in main.body.nodes().iter().filter(|n| &*n.op == "AssignVariableOp") {
            if let [to, from] = node.inputs[..]
                && main.origin(to)?.1 == handle
            {
                return self.value(&main, from, depth + 1);
            }
        }
        bail!("the variable `{name}` has no value")
    }

    /// The result of an op on values, by its import rule and the interpreter.
    fn computed(&self, scope: &Scope<'_>, node: &Node, output: usize, depth: usize) -> Result<Tensor> {
        let binding = kiln_ir::ops::by_tf(&node.op).context("the value is not known when the model is compiled")?;
        let mut b = Builder::new("table");
        let inputs = node.inputs.iter().map(|&e| b.constant(self.value(scope, e, depth + 1)?));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let tf = TfNode { name: node.name.clone(), op: node.op.clone(), attrs: attributes(node)? };
        let values = (binding.read)(&mut TfCx { b: &mut b, node: &tf, inputs: &inputs })?;
        let value = *values.get(output).context("the op has no such result")?;
        b.func.add_result("value", ParamKind::Input, value);
        let mut module = Module::default();
        module.funcs.push(b.func);
        interp::eval_function(&module, 0, &[], &mut |_, _| {})?.pop().context("the op has no result")
    }
}

/// A table in a text file: a line for each entry; key and value are columns, the whole line (-2) or its number (-1).
fn read_file(node: &Node, path: &std::path::Path, key: DType, value: DType) -> Result<Contents> {
    let place = || format!("table file {}", path.display());
    let text = std::fs::read(path).with_context(place)?;
    let delimiter = node.bytes("delimiter").and_then(|d| d.first().copied()).unwrap_or(b'\t');
    let limit = node.int("vocab_size").and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let skip = node.int("offset").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let mut lines: Vec<&[u8]> = text.split(|&b| b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l)).collect();
    // What follows the last line's end is no line.
    if lines.last().is_some_and(|l| l.is_empty()) {
        lines.pop();
    }
    let lines: Vec<&[u8]> = lines.into_iter().skip(skip).take(limit).collect();
    if limit != usize::MAX && lines.len() < limit {
        bail!("{} has {} lines, not {limit}", place(), lines.len());
    }
    let column = |index: i64, dtype: DType| {
        let field = |(i, line): (usize, &&[u8])| match index {
            -1 => Ok(i.to_string().into_bytes()),
            -2 => Ok(line.to_vec()),
            column => {
                let field = usize::try_from(column).ok().and_then(|c| line.split(|&b| b == delimiter).nth(c));
                field
                    .map(<[u8]>::to_vec)
                    .with_context(|| format!("{} has no column {column} in line {}", place(), i + skip + 1))
            }
        };
        let fields: Vec<Vec<u8>> = lines.iter().enumerate().map(field).collect::<Result<_>>()?;
        parse(fields, dtype).with_context(place)
    };
    let (k, v) = (node.int("key_index").unwrap_or(-2), node.int("value_index").unwrap_or(-1));
    Ok((column(k, key)?, column(v, value)?))
}

/// Fields as a vector of a type.
fn parse(fields: Vec<Vec<u8>>, dtype: DType) -> Result<Tensor> {
    let n = [fields.len()];
    let text = |f: &Vec<u8>| String::from_utf8_lossy(f).trim().to_string();
    macro_rules! numbers {
        ($t:ty) => {{
            let each = |f: &Vec<u8>| text(f).parse::<$t>().with_context(|| format!("`{}` is no {dtype}", text(f)));
            Ok(Tensor::of(&n, &fields.iter().map(each).collect::<Result<Vec<$t>>>()?))
        }};
    }
    match dtype {
        DType::String => Ok(Tensor::of_strings(&n, fields)),
        DType::I32 => numbers!(i32),
        DType::I64 => numbers!(i64),
        DType::F32 => numbers!(f32),
        DType::F64 => numbers!(f64),
        other => bail!("a file holds no keys or values of type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_found_through_initializers_and_assets() {
        let open = |name: &str, signature: &str| {
            let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/import").join(name);
            let options = super::super::OpenOptions { signature: Some(signature.into()), ..Default::default() };
            super::super::open(&dir, &options).unwrap()
        };
        for (name, signature, want) in
            [("module", "lookup", &["red", "green", "blue"][..]), ("v1", "ids", &["yes", "no"])]
        {
            let model = open(name, signature);
            let tables: Vec<NodeId> =
                model.graph.main.iter().filter(|(_, n)| makes_table(&n.op)).map(|t| t.0).collect();
            assert_eq!(tables.len(), 1, "{name}");
            let (keys, values) = contents(&model, tables[0]).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            let want: Vec<Vec<u8>> = want.iter().map(|s| s.as_bytes().to_vec()).collect();
            assert_eq!(keys.strings(), Some(&want[..]), "{name}");
            assert_eq!(values.to_i64s(), Some((0..want.len() as i64).collect()), "{name}");
            let mut b = Builder::new("t");
            let x = b.constant(Tensor::of_strings(&[1], vec![want[1].clone()])).unwrap();
            let d = b.constant(Tensor::scalar(-1i64)).unwrap();
            let y = lookup(&mut b, "LookupTableFindV2", &(keys, values), &[x, d]).unwrap();
            assert_eq!(b.as_const(y[0]).and_then(Tensor::to_i64s), Some(vec![1]), "{name}");
        }
    }
}
