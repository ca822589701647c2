//! Reads modules. See [`crate::text`] for the form.

use std::collections::HashMap;
use std::sync::Arc;

use super::dense::read_dense;
use super::lex::{Cursor, TextError};
use crate::attr::{Attr, Attrs};
use crate::graph::{Function, Loc, Module, ParamKind, SymbolBounds, Value};
use crate::op::Op;
use crate::{Dim, Symbol, ops};

/// The lines, from 1, on which a module's functions and nodes stand: diagnostics of a parsed text name them.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    /// The line of each function's `func`.
    pub funcs: Vec<usize>,
    /// For each function the line of each node.
    pub nodes: Vec<Vec<usize>>,
}

/// The module that a text holds. It is not verified: see [`crate::verify`].
///
/// # Errors
/// The first place that cannot be read, with line, column and the line itself.
pub fn parse(text: &str) -> Result<Module, TextError> {
    Ok(parse_with_lines(text)?.0)
}

/// The module that a text holds, and the lines of its functions and nodes.
///
/// # Errors
/// As [`parse`].
pub fn parse_with_lines(text: &str) -> Result<(Module, SourceMap), TextError> {
    let names = scan_names(text);
    let mut p = Parser { c: Cursor::new(text), text, names, counted: (0, 1) };
    let (mut m, mut lines) = (Module::default(), SourceMap::default());
    while !p.c.peek().is_empty() {
        if p.c.eat_word("symbol") {
            p.symbol(&mut m)?;
        } else if p.c.eat_word("entry") {
            let f = p.func_ref()?;
            m.entries.push(f);
        } else if p.c.peek_word() == "func" {
            lines.funcs.push(p.line());
            p.c.eat_word("func");
            let (f, nodes) = p.function(m.funcs.len())?;
            m.funcs.push(f);
            lines.nodes.push(nodes);
        } else {
            return Err(p.c.error("expected `symbol`, `entry` or `func`"));
        }
    }
    Ok((m, lines))
}

/// The functions' names in order: calls may stand before the functions that they call.
fn scan_names(text: &str) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    let heads = text.lines().filter(|l| l.trim_start().starts_with("func"));
    for (i, line) in heads.enumerate() {
        let mut c = Cursor::new(line);
        if c.eat_word("func")
            && let Ok(name) = read_name(&mut c)
        {
            names.entry(name).or_insert(i);
        }
    }
    names
}

/// `@name` or `@"any name"`.
fn read_name(c: &mut Cursor<'_>) -> Result<String, TextError> {
    c.expect("@")?;
    if c.peek().starts_with('"') { c.quoted_str() } else { Ok(c.word("a function's name")?.into()) }
}

struct Parser<'a> {
    c: Cursor<'a>,
    text: &'a str,
    names: HashMap<String, usize>,
    /// A position and its line: lines are counted on the way, each line end once.
    counted: (usize, usize),
}

impl<'a> Parser<'a> {
    /// The line of what stands next.
    fn line(&mut self) -> usize {
        let at = self.c.at();
        self.counted.1 += self.text[self.counted.0..at].bytes().filter(|&b| b == b'\n').count();
        self.counted.0 = at;
        self.counted.1
    }

    /// `b: 1..64`, `n: 0..`
    fn symbol(&mut self, m: &mut Module) -> Result<(), TextError> {
        let start = self.c.at();
        let name = self.c.word("a symbol")?;
        if name.contains('.') || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.c.error_at(start, format!("`{name}` is not a symbol: letters, digits and `_`")));
        }
        self.c.expect(":")?;
        let at = self.c.at();
        let range = self.c.number_word();
        let bounds = range.split_once("..").and_then(|(min, max)| {
            let max = if max.is_empty() { None } else { Some(max.parse().ok()?) };
            Some(SymbolBounds { min: min.parse().ok()?, max })
        });
        let bounds = bounds.ok_or_else(|| self.c.error_at(at, "expected bounds such as `1..64` or `0..`"))?;
        match m.symbols.insert(Symbol::new(name), bounds) {
            None => Ok(()),
            Some(_) => Err(self.c.error_at(start, format!("the symbol `{name}` is declared twice"))),
        }
    }

    /// A function by name, or `@#3` by index.
    fn func_ref(&mut self) -> Result<usize, TextError> {
        let start = self.c.at();
        if self.c.eat("@#") {
            let n = self.c.integer()?;
            return usize::try_from(n).map_err(|_| self.c.error_at(start, "the index is out of range"));
        }
        let name = read_name(&mut self.c)?;
        self.names.get(&name).copied().ok_or_else(|| self.c.error_at(start, format!("there is no function @{name}")))
    }

    fn function(&mut self, index: usize) -> Result<(Function, Vec<usize>), TextError> {
        let start = self.c.at();
        let name = read_name(&mut self.c)?;
        match self.names.get(&name) {
            Some(&i) if i == index => {}
            Some(_) => return Err(self.c.error_at(start, format!("a second function is named @{name}"))),
            None => return Err(self.c.error_at(start, "`func` must stand first on its line")),
        }
        let mut f = Function::new(&name);
        let mut values = HashMap::new();
        self.c.expect("(")?;
        if !self.c.eat(")") {
            loop {
                self.param(&mut f, &mut values)?;
                if self.c.eat(")") {
                    break;
                }
                self.c.expect(",")?;
            }
        }
        self.c.expect("{")?;
        let mut lines = vec![];
        while !self.c.eat_word("return") {
            if self.c.peek().starts_with('}') || self.c.peek().is_empty() {
                return Err(self.c.error("expected a node or `return`"));
            }
            lines.push(self.line());
            self.node(&mut f, &mut values)?;
        }
        while !self.c.eat("}") {
            if !f.results.is_empty() {
                self.c.expect(",")?;
            }
            let kind = self.kind("output")?;
            let name = self.c.quoted_str()?;
            let v = self.operand(&values)?;
            f.add_result(&name, kind, v);
        }
        Ok((f, lines))
    }

    fn kind(&mut self, input: &str) -> Result<ParamKind, TextError> {
        if self.c.eat_word(input) {
            Ok(ParamKind::Input)
        } else if self.c.eat_word("var") {
            Ok(ParamKind::Variable)
        } else {
            Err(self.c.error(format!("expected `{input}` or `var`")))
        }
    }

    fn param(&mut self, f: &mut Function, values: &mut HashMap<&'a str, Value>) -> Result<(), TextError> {
        let kind = self.kind("input")?;
        let name = self.c.quoted_str()?;
        let (at, value) = self.value_name()?;
        self.c.expect(":")?;
        let ty = self.c.tensor_type()?;
        let v = f.add_param(&name, kind, ty);
        self.define(values, at, value, v)
    }

    /// `%name`, with its position.
    fn value_name(&mut self) -> Result<(usize, &'a str), TextError> {
        let at = self.c.at();
        self.c.expect("%")?;
        Ok((at, self.c.word("a value's name")?))
    }

    fn define(
        &self,
        values: &mut HashMap<&'a str, Value>,
        at: usize,
        name: &'a str,
        v: Value,
    ) -> Result<(), TextError> {
        match values.insert(name, v) {
            None => Ok(()),
            Some(_) => Err(self.c.error_at(at, format!("%{name} is defined twice"))),
        }
    }

    fn operand(&mut self, values: &HashMap<&'a str, Value>) -> Result<Value, TextError> {
        let (at, name) = self.value_name()?;
        let v = values.get(name).copied();
        v.ok_or_else(|| self.c.error_at(at, format!("%{name} is not defined before this use")))
    }

    /// `%5, %6 = op attr=1, other=[2] %3, %4 : f32[b], i32[b] loc("name", "Op")`
    fn node(&mut self, f: &mut Function, values: &mut HashMap<&'a str, Value>) -> Result<(), TextError> {
        let mut results = vec![];
        while self.c.peek().starts_with('%') {
            results.push(self.value_name()?);
            if !self.c.eat(",") {
                break;
            }
        }
        if !results.is_empty() {
            self.c.expect("=")?;
        }
        let op = self.op()?;
        let mut inputs = vec![];
        if self.c.peek().starts_with('%') {
            loop {
                inputs.push(self.operand(values)?);
                if !self.c.eat(",") {
                    break;
                }
            }
        }
        let mut types = Vec::with_capacity(results.len());
        for i in 0..results.len() {
            self.c.expect(if i == 0 { ":" } else { "," })?;
            types.push(self.c.tensor_type()?);
        }
        let mut loc = Loc::default();
        if self.c.eat_word("loc") {
            self.c.expect("(")?;
            let node = self.c.quoted_str()?;
            self.c.expect(",")?;
            loc = Loc::new(&node, &self.c.quoted_str()?);
            self.c.expect(")")?;
        }
        let id = f.push(op, inputs, types, loc);
        for (i, (at, name)) in results.into_iter().enumerate() {
            self.define(values, at, name, f.node(id).outputs[i])?;
        }
        Ok(())
    }

    /// A mnemonic with its attributes.
    fn op(&mut self) -> Result<Arc<dyn Op>, TextError> {
        let start = self.c.at();
        let name = self.c.word("a mnemonic")?;
        let def = ops::by_name(name).ok_or_else(|| self.c.error_at(start, format!("there is no op `{name}`")))?;
        let mut attrs = Attrs::none();
        if !self.c.peek_word().is_empty() && self.c.peek_word() != "loc" {
            loop {
                let at = self.c.at();
                let attr = self.c.word("an attribute's name")?;
                if attrs.get(attr).is_ok() {
                    return Err(self.c.error_at(at, format!("attribute `{attr}` is given twice")));
                }
                self.c.expect("=")?;
                let value = self.attr()?;
                attrs.0.push((attr.to_owned().into(), value));
                if !self.c.eat(",") {
                    break;
                }
            }
        }
        let op = (def.parse)(&attrs).map_err(|e| self.c.error_at(start, format!("{name}: {e}")))?;
        let known = op.attrs();
        match attrs.0.iter().find(|a| known.get(&a.0).is_err()) {
            Some(a) => Err(self.c.error_at(start, format!("{name}: there is no attribute `{}`", a.0))),
            None => Ok(op),
        }
    }

    fn attr(&mut self) -> Result<Attr, TextError> {
        let start = self.c.at();
        let rest = self.c.peek();
        match rest.as_bytes().first() {
            Some(b'[') => {
                let dims = self.c.shape()?;
                let ints: Option<Vec<i64>> = dims.iter().map(Dim::as_const).collect();
                Ok(ints.map_or(Attr::Dims(dims), Attr::Ints))
            }
            Some(b'"') => Ok(Attr::Str(self.c.quoted_str()?)),
            Some(b'@') => Ok(Attr::Func(self.func_ref()?)),
            Some(b'-' | b'+' | b'0'..=b'9') => {
                let at = self.c.at();
                let word = self.c.number_word();
                if let Ok(n) = word.parse() {
                    return Ok(Attr::Int(n));
                }
                let float = word.parse().map(Attr::Float);
                float.map_err(|_| self.c.error_at(at, format!("`{word}` is not a number")))
            }
            _ => match self.c.word("an attribute's value")? {
                "dense" => Ok(Attr::Tensor(read_dense(&mut self.c)?)),
                "dense_elided" => Err(self.c.error_at(
                    start,
                    "the tensor's elements were left out of this dump; print the module in full to read it back",
                )),
                "funcs" => Ok(Attr::Funcs(self.parenthesized(Self::func_ref)?)),
                "types" => Ok(Attr::Types(self.parenthesized(|p| p.c.tensor_type())?)),
                "true" => Ok(Attr::Bool(true)),
                "false" => Ok(Attr::Bool(false)),
                "inf" => Ok(Attr::Float(f64::INFINITY)),
                "nan" => self.nan(),
                word => Ok(word.parse().map_or_else(|_| Attr::Word(word.into()), Attr::DType)),
            },
        }
    }

    /// `(item, ..)`, perhaps empty.
    fn parenthesized<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, TextError>,
    ) -> Result<Vec<T>, TextError> {
        self.c.expect("(")?;
        let mut items = vec![];
        while !self.c.eat(")") {
            if !items.is_empty() {
                self.c.expect(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// After `nan`: perhaps its bits.
    fn nan(&mut self) -> Result<Attr, TextError> {
        if !self.c.eat("(") {
            return Ok(Attr::Float(f64::NAN));
        }
        let at = self.c.at();
        let x = f64::from_bits(self.c.hex()?);
        self.c.expect(")")?;
        if x.is_nan() { Ok(Attr::Float(x)) } else { Err(self.c.error_at(at, "these are not the bits of a NaN")) }
    }
}
