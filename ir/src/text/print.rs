//! Prints modules, functions and attributes. See [`crate::text`] for the form.

use std::fmt::{self, Write};

use super::dense;
use crate::attr::Attr;
use crate::graph::{FuncResult, Function, Module, Node, ParamKind, Value};

/// How much of a tensor is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    /// Every element: the text can be parsed.
    Full,
    /// Tensors of more than [`ELIDED_ABOVE`] elements show only their type, as `dense_elided<f32[5, 5]>`, which the
    /// parser refuses.
    Elided,
}

/// The number of elements up to which [`Dump::Elided`] prints a tensor in full.
pub const ELIDED_ABOVE: usize = 16;

/// A module as text.
pub fn print(module: &Module, dump: Dump) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_module(&mut out, module, dump);
    out
}

/// One function of a module as text.
pub fn print_function(module: &Module, f: &Function, dump: Dump) -> String {
    let mut out = String::new();
    let _ = write_function(&mut out, module, f, dump);
    out
}

/// One attribute outside of a module: functions show as their index, `@#3`.
pub fn attr(f: &mut fmt::Formatter<'_>, a: &Attr) -> fmt::Result {
    write_attr(f, None, a, Dump::Elided)
}

fn write_module(out: &mut String, m: &Module, dump: Dump) -> fmt::Result {
    for (symbol, bounds) in &m.symbols {
        write!(out, "symbol {symbol}: {}..", bounds.min)?;
        if let Some(max) = bounds.max {
            write!(out, "{max}")?;
        }
        out.push('\n');
    }
    for &e in &m.entries {
        out.push_str("entry ");
        write_func_ref(out, Some(m), e)?;
        out.push('\n');
    }
    for (i, f) in m.funcs.iter().enumerate() {
        if i > 0 || !m.symbols.is_empty() || !m.entries.is_empty() {
            out.push('\n');
        }
        write_function(out, m, f, dump)?;
    }
    Ok(())
}

/// The numbers under which a function's values are printed: in order of definition, parameters first. They are the
/// values' own ids but in functions whose parameters were added after nodes.
fn numbers(f: &Function) -> Vec<u32> {
    let mut of = vec![u32::MAX; f.value_count()];
    let defined = f.params.iter().map(|p| &p.value).chain(f.nodes().flat_map(|(_, n)| &n.outputs));
    for (i, v) in defined.enumerate() {
        if let Some(slot) = of.get_mut(v.0 as usize) {
            *slot = i as u32;
        }
    }
    of
}

fn write_function(out: &mut String, m: &Module, f: &Function, dump: Dump) -> fmt::Result {
    let numbers = numbers(f);
    out.push_str("func ");
    write_name(out, &f.name)?;
    out.push('(');
    let wrap = f.params.len() > 3;
    for (i, p) in f.params.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(if wrap {
            "\n    "
        } else if i > 0 {
            " "
        } else {
            ""
        });
        let kind = if p.kind == ParamKind::Input { "input" } else { "var" };
        write!(out, "{kind} ")?;
        dense::write_quoted(out, p.name.as_bytes())?;
        out.push(' ');
        write_value(out, &numbers, p.value)?;
        if (p.value.0 as usize) < f.value_count() {
            write!(out, ": {}", f.ty(p.value))?;
        }
    }
    out.push_str(if wrap { "\n) {\n" } else { ") {\n" });
    for (_, n) in f.nodes() {
        out.push_str("  ");
        write_node(out, m, f, &numbers, n, dump)?;
        out.push('\n');
    }
    write_results(out, &numbers, &f.results)?;
    out.push_str("}\n");
    Ok(())
}

fn write_results(out: &mut String, numbers: &[u32], results: &[FuncResult]) -> fmt::Result {
    out.push_str("  return");
    let wrap = results.len() > 3;
    for (i, r) in results.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(if wrap { "\n    " } else { " " });
        out.push_str(if r.kind == ParamKind::Input { "output " } else { "var " });
        dense::write_quoted(out, r.name.as_bytes())?;
        out.push(' ');
        write_value(out, numbers, r.value)?;
    }
    out.push('\n');
    Ok(())
}

fn write_node(out: &mut String, m: &Module, f: &Function, numbers: &[u32], n: &Node, dump: Dump) -> fmt::Result {
    write_list(out, &n.outputs, |out, &v| write_value(out, numbers, v))?;
    if !n.outputs.is_empty() {
        out.push_str(" = ");
    }
    out.push_str(n.op.name());
    for (i, (name, a)) in n.op.attrs().0.iter().enumerate() {
        write!(out, "{}{name}=", if i > 0 { ", " } else { " " })?;
        write_attr(out, Some(m), a, dump)?;
    }
    if !n.inputs.is_empty() {
        out.push(' ');
    }
    write_list(out, &n.inputs, |out, &v| write_value(out, numbers, v))?;
    if !n.outputs.is_empty() {
        out.push_str(" : ");
    }
    write_list(out, &n.outputs, |out, &v| write!(out, "{}", f.ty(v)))?;
    if !n.loc.node.is_empty() || !n.loc.tf_op.is_empty() {
        out.push_str(" loc(");
        dense::write_quoted(out, n.loc.node.as_bytes())?;
        out.push_str(", ");
        dense::write_quoted(out, n.loc.tf_op.as_bytes())?;
        out.push(')');
    }
    Ok(())
}

fn write_list<T>(out: &mut String, items: &[T], mut one: impl FnMut(&mut String, &T) -> fmt::Result) -> fmt::Result {
    for (i, x) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        one(out, x)?;
    }
    Ok(())
}

/// A value by its number; one that nothing defines, which the verifier reports, as `%undefined`.
fn write_value(out: &mut String, numbers: &[u32], v: Value) -> fmt::Result {
    match numbers.get(v.0 as usize) {
        Some(&n) if n != u32::MAX => write!(out, "%{n}"),
        _ => out.write_str("%undefined"),
    }
}

/// `@name`, or `@"any name"` where it is not a plain word.
fn write_name(out: &mut impl Write, name: &str) -> fmt::Result {
    out.write_char('@')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if !name.is_empty() && name.chars().all(plain) {
        out.write_str(name)
    } else {
        dense::write_quoted(out, name.as_bytes())
    }
}

fn write_func_ref(out: &mut impl Write, m: Option<&Module>, index: usize) -> fmt::Result {
    match m.and_then(|m| m.funcs.get(index)) {
        Some(f) => write_name(out, &f.name),
        None => write!(out, "@#{index}"),
    }
}

fn write_attr(out: &mut impl Write, m: Option<&Module>, a: &Attr, dump: Dump) -> fmt::Result {
    match a {
        Attr::Bool(x) => write!(out, "{x}"),
        Attr::Int(x) => write!(out, "{x}"),
        Attr::Float(x) => dense::write_f64(out, *x),
        Attr::Word(w) => out.write_str(w),
        Attr::Str(s) => dense::write_quoted(out, s.as_bytes()),
        Attr::DType(d) => write!(out, "{d}"),
        Attr::Ints(v) => write_bracketed(out, v),
        Attr::Dims(v) => write_bracketed(out, v),
        Attr::Tensor(t) => dense::write_dense(out, t, dump == Dump::Elided && t.len() > ELIDED_ABOVE),
        Attr::Func(i) => write_func_ref(out, m, *i),
        Attr::Funcs(list) => {
            out.write_str("funcs(")?;
            for (i, &f) in list.iter().enumerate() {
                out.write_str(if i > 0 { ", " } else { "" })?;
                write_func_ref(out, m, f)?;
            }
            out.write_char(')')
        }
        Attr::Types(types) => {
            out.write_str("types(")?;
            for (i, t) in types.iter().enumerate() {
                write!(out, "{}{t}", if i > 0 { ", " } else { "" })?;
            }
            out.write_char(')')
        }
    }
}

fn write_bracketed<T: fmt::Display>(out: &mut impl Write, items: &[T]) -> fmt::Result {
    out.write_char('[')?;
    for (i, x) in items.iter().enumerate() {
        write!(out, "{}{x}", if i > 0 { ", " } else { "" })?;
    }
    out.write_char(']')
}
