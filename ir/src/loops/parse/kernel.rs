//! Kernels in text: headers, buffers, blocks, loops and conditionals. [`super::inst`] has the plain instructions.

use std::collections::HashMap;
use std::str::FromStr;

use super::ParseError;
use super::cursor::Cursor;
use super::lexer::Token;
use crate::loops::inst::{Block, Carried, For, Inst, LoopKind, Stmt, Ty, V};
use crate::loops::layout::LayoutAxis;
use crate::loops::{Access, BufId, Buffer, Kernel, Layout, Level, Space};
use crate::scalar::ReduceOp;
use crate::{DType, Dim, Symbol};

/// A kernel with the places of its parts in the text; lines count from 1.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The kernel.
    pub kernel: Kernel,
    /// Line of its header.
    pub line: usize,
    /// Line of each buffer.
    pub buffer_lines: Vec<usize>,
    /// Line of each statement, in the order of the text (a loop before its body).
    pub stmt_lines: Vec<usize>,
}

/// The one kernel in a text.
pub fn parse(text: &str) -> Result<Kernel, ParseError> {
    parse_with_lines(text).map(|p| p.kernel)
}

/// The one kernel in a text, with its lines.
pub fn parse_with_lines(text: &str) -> Result<Parsed, ParseError> {
    let mut c = Cursor::new(text)?;
    let parsed = kernel(&mut c)?;
    if c.peek.token != Token::End {
        return Err(c.expected("the end of the text"));
    }
    Ok(parsed)
}

/// All kernels in a text.
pub fn parse_all(text: &str) -> Result<Vec<Parsed>, ParseError> {
    let mut c = Cursor::new(text)?;
    let mut kernels = vec![];
    while c.peek.token != Token::End {
        kernels.push(kernel(&mut c)?);
    }
    Ok(kernels)
}

pub(super) struct Parser<'c, 'a> {
    pub c: &'c mut Cursor<'a>,
    pub out: Parsed,
    /// Names of values, with the innermost visible definition.
    values: HashMap<String, V>,
    /// Names in the order of their definitions, to take them back at the end of a block.
    defined: Vec<String>,
    buffers: HashMap<String, BufId>,
}

/// How the types of an instruction's results are known.
pub(super) enum Results {
    /// One result, whose type is written after a colon; or none.
    Stated,
    /// From the instruction itself.
    Types(Vec<Ty>),
}

fn kernel(c: &mut Cursor<'_>) -> Result<Parsed, ParseError> {
    let line = c.peek.line;
    c.expect_word("kernel")?;
    let Token::Buffer(name) = c.peek.token.clone() else { return Err(c.expected("the kernel's `@name`")) };
    c.next()?;
    let level = word(c, &[Level::Nest, Level::Scheduled, Level::Machine], Level::name, "a level")?;
    let (mut symbols, mut tasks, mut threads) = (vec![], Dim::from(1i64), 1);
    while !c.eat('{')? {
        let unknown = c.expected("`symbols`, `tasks`, `threads` or `{`");
        let part = c.ident("`symbols`, `tasks`, `threads` or `{`")?;
        c.expect('(')?;
        match part.as_str() {
            "symbols" => {
                symbols = c.list(')', |c| Ok(Symbol::new(&c.ident("a symbol")?)))?;
                continue;
            }
            "tasks" => tasks = c.dim()?,
            "threads" => threads = c.small("the number of threads")?,
            _ => return Err(unknown),
        }
        c.expect(')')?;
    }
    let body = Block::default();
    let kernel = Kernel { name, level, buffers: vec![], symbols, tasks, threads, body, types: vec![] };
    let out = Parsed { kernel, line, buffer_lines: vec![], stmt_lines: vec![] };
    let mut p = Parser { c, out, values: HashMap::new(), defined: vec![], buffers: HashMap::new() };
    while p.c.is_word("buffer") {
        p.buffer()?;
    }
    p.out.kernel.body = p.block()?;
    Ok(p.out)
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    c: &mut Cursor<'_>,
    all: &[T],
    name: fn(T) -> &'static str,
    what: &str,
) -> Result<T, ParseError> {
    for &t in all {
        if c.eat_word(name(t))? {
            return Ok(t);
        }
    }
    let names: Vec<&str> = all.iter().map(|&t| name(t)).collect();
    Err(c.expected(&format!("{what} ({})", names.join(", "))))
}

/// The type that a word such as `f32`, `f32x8` or `f32x6x16` denotes.
fn type_of(text: &str) -> Option<Ty> {
    let mut parts = text.split('x');
    let elem = DType::from_str(parts.next()?).ok()?;
    let extents: Vec<u16> = parts.map(|p| p.parse().ok()).collect::<Option<_>>()?;
    match extents[..] {
        [] => Some(Ty::scalar(elem)),
        [lanes] => Some(Ty::vector(elem, lanes)),
        [rows, lanes] => Some(Ty::tile(elem, rows, lanes)),
        _ => None,
    }
}

impl Parser<'_, '_> {
    fn buffer(&mut self) -> Result<(), ParseError> {
        self.out.buffer_lines.push(self.c.peek.line);
        self.c.expect_word("buffer")?;
        let Token::Buffer(name) = self.c.peek.token.clone() else {
            return Err(self.c.expected("the buffer's `@name`"));
        };
        if self.buffers.contains_key(&name) {
            return Err(self.c.error(format!("`@{name}` is already declared")));
        }
        self.c.next()?;
        self.c.expect(':')?;
        let not_a_type = self.c.expected("an element type");
        let dtype = DType::from_str(&self.c.ident("an element type")?).map_err(|_| not_a_type)?;
        self.c.expect('[')?;
        let shape = self.c.list(']', Cursor::dim)?;
        let space = word(self.c, &[Space::Global, Space::Private, Space::Shared], Space::name, "a memory space")?;
        let access = word(self.c, &[Access::Read, Access::Write, Access::ReadWrite], Access::name, "an access mode")?;
        let align = match self.c.eat_word("align")? {
            true => self.c.small("an alignment")?,
            false => dtype.size().max(1) as u32,
        };
        let layout = match self.c.eat_word("layout")? {
            true => self.layout()?,
            false => Layout::row_major(&shape),
        };
        self.buffers.insert(name.clone(), BufId(self.out.kernel.buffers.len() as u32));
        self.out.kernel.buffers.push(Buffer { name, dtype, shape, layout, space, access, align });
        Ok(())
    }

    fn layout(&mut self) -> Result<Layout, ParseError> {
        self.c.expect('(')?;
        let (mut start, mut size) = (Dim::from(0i64), None);
        let mut axes = vec![];
        self.c.list(')', |c| {
            if c.eat_word("size")? {
                size = Some(c.dim()?);
                return Ok(());
            }
            if c.eat_word("start")? {
                start = c.dim()?;
                return Ok(());
            }
            let what = "`size`, `start` or an axis such as `d0`";
            let expected = c.expected(what);
            let axis = c.ident(what)?;
            let axis = axis.strip_prefix('d').and_then(|n| n.parse().ok()).ok_or(expected)?;
            let div = if c.eat_word("div")? { c.int("a divisor")? } else { 1 };
            let modulo = if c.eat_word("mod")? { c.int("a modulus")? } else { 0 };
            c.expect('*')?;
            axes.push(LayoutAxis { axis, div, modulo, stride: c.dim()? });
            Ok(())
        })?;
        let size = size.ok_or_else(|| self.c.error("the layout before this has no `size`"))?;
        Ok(Layout { start, axes, size })
    }

    /// Statements up to `}`, which is taken. What they define is not visible afterwards.
    fn block(&mut self) -> Result<Block, ParseError> {
        let outer = self.defined.len();
        let mut b = Block::default();
        while !self.c.eat('}')? {
            if self.c.eat_word("yield")? {
                b.yields = self.values_list()?;
                self.c.expect('}')?;
                break;
            }
            let stmt = self.stmt()?;
            b.stmts.push(stmt);
        }
        self.forget(outer);
        Ok(b)
    }

    fn nested_block(&mut self) -> Result<Block, ParseError> {
        self.c.expect('{')?;
        self.c.enter()?;
        let b = self.block()?;
        self.c.leave();
        Ok(b)
    }

    /// A fresh value.
    fn fresh(&mut self, ty: Ty) -> V {
        self.out.kernel.types.push(ty);
        V(self.out.kernel.types.len() as u32 - 1)
    }

    fn define(&mut self, name: String, v: V, at: ParseError) -> Result<(), ParseError> {
        if self.values.insert(name.clone(), v).is_some() {
            return Err(ParseError { message: format!("`%{name}` is already defined"), ..at });
        }
        self.defined.push(name);
        Ok(())
    }

    /// Takes back the definitions after the first `keep`.
    fn forget(&mut self, keep: usize) {
        for name in self.defined.drain(keep..) {
            self.values.remove(&name);
        }
    }

    pub fn value(&mut self) -> Result<V, ParseError> {
        let Token::Value(name) = &self.c.peek.token else { return Err(self.c.expected("a value")) };
        let v = self.values.get(name).copied();
        let v = v.ok_or_else(|| self.c.error(format!("`%{name}` is not defined here")))?;
        self.c.next()?;
        Ok(v)
    }

    pub fn values_list(&mut self) -> Result<Vec<V>, ParseError> {
        let mut vs = vec![self.value()?];
        while self.c.eat(',')? {
            vs.push(self.value()?);
        }
        Ok(vs)
    }

    pub fn buf(&mut self) -> Result<BufId, ParseError> {
        let Token::Buffer(name) = &self.c.peek.token else { return Err(self.c.expected("a buffer")) };
        let b = self.buffers.get(name).copied();
        let b = b.ok_or_else(|| self.c.error(format!("`@{name}` is not declared")))?;
        self.c.next()?;
        Ok(b)
    }

    fn stmt(&mut self) -> Result<Stmt, ParseError> {
        self.out.stmt_lines.push(self.c.peek.line);
        // Results are numbered before the instruction and become visible after it.
        let mut results = vec![];
        if let Token::Value(_) = self.c.peek.token {
            loop {
                let (at, name) = self.new_name("a result")?;
                results.push((name, self.fresh(Ty::INDEX), at));
                if !self.c.eat(',')? {
                    break;
                }
            }
            self.c.expect('=')?;
        }
        let at = self.c.error("");
        let (inst, types) = match () {
            _ if self.c.eat_word("for")? => self.for_loop()?,
            _ if self.c.eat_word("if")? => self.conditional()?,
            _ => self.inst()?,
        };
        let types = match types {
            Results::Types(t) => t,
            Results::Stated if results.is_empty() => vec![],
            Results::Stated => {
                self.c.expect(':')?;
                let expected = self.c.expected("a type such as f32, f32x8 or f32x6x16");
                vec![type_of(&self.c.ident("a type")?).ok_or(expected)?]
            }
        };
        if types.len() != results.len() {
            let message = format!("this instruction has {} results, {} are named", types.len(), results.len());
            return Err(ParseError { message, ..at });
        }
        let mut ids = vec![];
        for ((name, v, at), ty) in results.into_iter().zip(types) {
            self.out.kernel.types[v.0 as usize] = ty;
            self.define(name, v, at)?;
            ids.push(v);
        }
        Ok(Stmt { results: ids, inst })
    }

    /// `for reduce %i = %lo to %hi step 1 unroll 4 carried(%a: sum = %init, %b = %start) {`
    fn for_loop(&mut self) -> Result<(Inst, Results), ParseError> {
        let kinds = [LoopKind::Parallel, LoopKind::Reduce, LoopKind::Serial];
        let kind = word(self.c, &kinds, LoopKind::name, "a loop kind")?;
        let (iv_at, iv_name) = self.new_name("the induction variable")?;
        self.c.expect('=')?;
        let lo = self.value()?;
        self.c.expect_word("to")?;
        let hi = self.value()?;
        self.c.expect_word("step")?;
        let step = self.c.int("a step")?;
        let unroll = if self.c.eat_word("unroll")? { self.c.small("an unroll factor")? } else { 1 };
        let iv = self.fresh(Ty::INDEX);
        let (mut carried, mut names) = (vec![], vec![(iv_name, iv, iv_at)]);
        if self.c.eat_word("carried")? {
            self.c.expect('(')?;
            while !self.c.eat(')')? {
                let (at, name) = self.new_name("a carried value")?;
                let combine = match self.c.eat(':')? {
                    true => Some(word(self.c, ReduceOp::ALL, ReduceOp::name, "a combiner")?),
                    false => None,
                };
                self.c.expect('=')?;
                let init = self.value()?;
                let inner = self.fresh(self.out.kernel.ty(init));
                carried.push(Carried { inner, init, combine });
                names.push((name, inner, at));
                if !self.c.is(')') {
                    self.c.expect(',')?;
                }
            }
        }
        let outer = self.defined.len();
        for (name, v, at) in names {
            self.define(name, v, at)?;
        }
        let body = self.nested_block()?;
        self.forget(outer);
        let types = carried.iter().map(|c: &Carried| self.out.kernel.ty(c.inner)).collect();
        Ok((Inst::For(Box::new(For { kind, iv, lo, hi, step, carried, body, unroll })), Results::Types(types)))
    }

    /// A name to define, with its place.
    fn new_name(&mut self, what: &str) -> Result<(ParseError, String), ParseError> {
        let Token::Value(name) = self.c.peek.token.clone() else { return Err(self.c.expected(what)) };
        let at = self.c.error("");
        self.c.next()?;
        Ok((at, name))
    }

    fn conditional(&mut self) -> Result<(Inst, Results), ParseError> {
        let cond = self.value()?;
        let then = self.nested_block()?;
        let other = if self.c.eat_word("else")? { self.nested_block()? } else { Block::default() };
        let types = then.yields.iter().map(|&v| self.out.kernel.ty(v)).collect();
        Ok((Inst::If(cond, Box::new(then), Box::new(other)), Results::Types(types)))
    }
}
