//! Instructions without blocks, in text.

use super::ParseError;
use super::kernel::{Parser, Results};
use super::lexer::Token;
use crate::loops::BufId;
use crate::loops::inst::{CallTile, Inst, IntrinsicId, ThreadAxis, V};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};

impl Parser<'_, '_> {
    /// `@buf[%i, %j]`
    fn element(&mut self) -> Result<(BufId, Vec<V>), ParseError> {
        let buf = self.buf()?;
        self.c.expect('[')?;
        let mut index = vec![];
        if !self.c.eat(']')? {
            index = self.values_list()?;
            self.c.expect(']')?;
        }
        Ok((buf, index))
    }

    /// `@buf[%offset]`
    fn offset(&mut self) -> Result<(BufId, V), ParseError> {
        let buf = self.buf()?;
        self.c.expect('[')?;
        let v = self.value()?;
        self.c.expect(']')?;
        Ok((buf, v))
    }

    fn comma_value(&mut self) -> Result<V, ParseError> {
        self.c.expect(',')?;
        self.value()
    }

    fn comma_number<T: TryFrom<i64>>(&mut self, what: &str) -> Result<T, ParseError> {
        self.c.expect(',')?;
        self.c.small(what)
    }

    /// An instruction from its opcode on.
    pub fn inst(&mut self) -> Result<(Inst, Results), ParseError> {
        let at = self.c.error("");
        let opcode = self.c.ident("an instruction")?;
        let effect = |inst| Ok((inst, Results::Types(vec![])));
        let inst = match opcode.as_str() {
            "const" => self.constant()?,
            "sym" => self.symbol()?,
            "dim" => Inst::Dim(self.c.dim()?),
            "task" => Inst::Task,
            "thread" => Inst::Thread(ThreadAxis::Thread),
            "thread.lane" => Inst::Thread(ThreadAxis::Lane),
            "thread.warp" => Inst::Thread(ThreadAxis::Warp),
            "iota.lanes" => Inst::IotaLanes,
            "iota.rows" => Inst::IotaRows,
            "select" => Inst::Select(self.value()?, self.comma_value()?, self.comma_value()?),
            "fma" => Inst::Fma(self.value()?, self.comma_value()?, self.comma_value()?),
            "cast" => Inst::Cast(self.value()?),
            "bitcast" => Inst::Bitcast(self.value()?),
            "splat" => Inst::Splat(self.value()?),
            "extract" => Inst::Extract(self.value()?, self.comma_number("a lane")?),
            "insert" => Inst::Insert(self.value()?, self.comma_value()?, self.comma_number("a lane")?),
            "slice" => Inst::Slice(self.value()?, self.comma_number("a lane")?),
            "warp_xor" => Inst::WarpXor(self.value()?, self.comma_number("a lane mask")?),
            "load" => {
                let (buf, index) = self.element()?;
                Inst::Load { buf, index }
            }
            "gather" => {
                let (buf, offsets) = self.offset()?;
                Inst::Gather { buf, offsets }
            }
            "store" => {
                let (buf, index) = self.element()?;
                return effect(Inst::Store { buf, index, value: self.comma_value()? });
            }
            "scatter" => {
                let (buf, offsets) = self.offset()?;
                return effect(Inst::Scatter { buf, offsets, value: self.comma_value()? });
            }
            "prefetch" => {
                let (buf, offset) = self.offset()?;
                return effect(Inst::Prefetch { buf, offset });
            }
            "async_copy" => {
                let (dst, dst_offset) = self.offset()?;
                self.c.expect(',')?;
                let (src, src_offset) = self.offset()?;
                let bytes = self.comma_number("4, 8 or 16 bytes")?;
                return effect(Inst::AsyncCopy { dst, dst_offset, src, src_offset, bytes });
            }
            "async_commit" => return effect(Inst::AsyncCommit),
            "async_wait" => return effect(Inst::AsyncWait(self.c.small("a number of groups")?)),
            "barrier" => return effect(Inst::Barrier),
            "call_tile" => return effect(self.call_tile()?),
            "check" => return effect(Inst::Check { ok: self.value()?, status: self.comma_number("a status")? }),
            other => return self.vocabulary(other, at),
        };
        Ok((inst, Results::Stated))
    }

    /// Instructions whose opcodes come from the tables of scalar operations and intrinsics.
    fn vocabulary(&mut self, opcode: &str, at: ParseError) -> Result<(Inst, Results), ParseError> {
        if let Some(op) = UnaryOp::from_name(opcode) {
            return Ok((Inst::Unary(op, self.value()?), Results::Stated));
        }
        if let Some(op) = BinaryOp::from_name(opcode) {
            return Ok((Inst::Binary(op, self.value()?, self.comma_value()?), Results::Stated));
        }
        if let Some(op) = opcode.strip_prefix("cmp.").and_then(CompareOp::from_name) {
            return Ok((Inst::Compare(op, self.value()?, self.comma_value()?), Results::Stated));
        }
        if let Some(op) = opcode.strip_prefix("reduce.").and_then(ReduceOp::from_name) {
            return Ok((Inst::ReduceLanes(op, self.value()?), Results::Stated));
        }
        if let Some(op) = opcode.strip_prefix("reduce_into.").and_then(ReduceOp::from_name) {
            let (buf, index) = self.element()?;
            let value = self.comma_value()?;
            return Ok((Inst::ReduceInto { op, buf, index, value }, Results::Types(vec![])));
        }
        if let Some((id, row)) = IntrinsicId::from_name(opcode).and_then(|id| Some((id, id.row()?))) {
            let (count, ty) = row.fragments[0];
            return Ok((Inst::Mma(id, self.values_list()?), Results::Types(vec![ty; count.into()])));
        }
        Err(ParseError { message: format!("unknown instruction `{opcode}`"), ..at })
    }

    fn constant(&mut self) -> Result<Inst, ParseError> {
        let negative = self.c.eat('-')?;
        let sign = if negative { -1.0 } else { 1.0 };
        let inst = match &self.c.peek.token {
            Token::Int(n) => {
                let value = if negative { 0i64.checked_sub_unsigned(*n) } else { i64::try_from(*n).ok() };
                Inst::ConstInt(value.ok_or_else(|| self.c.error(format!("`{n}` does not fit i64")))?)
            }
            Token::Float(x) => Inst::ConstFloat(sign * x),
            Token::Ident(s) if s == "inf" => Inst::ConstFloat(sign * f64::INFINITY),
            Token::Ident(s) if s == "nan" && !negative => {
                self.c.next()?;
                return self.nan();
            }
            _ => return Err(self.c.expected("a number")),
        };
        self.c.next()?;
        Ok(inst)
    }

    /// The rest of `nan` or `nan(0x7ff8000000000001)`.
    fn nan(&mut self) -> Result<Inst, ParseError> {
        if !self.c.eat('(')? {
            return Ok(Inst::ConstFloat(f64::NAN));
        }
        match self.c.peek.token {
            Token::Int(bits) if f64::from_bits(bits).is_nan() => {
                self.c.next()?;
                self.c.expect(')')?;
                Ok(Inst::ConstFloat(f64::from_bits(bits)))
            }
            _ => Err(self.c.expected("the bits of a NaN")),
        }
    }

    fn symbol(&mut self) -> Result<Inst, ParseError> {
        if let Token::Int(_) = self.c.peek.token {
            return Ok(Inst::Sym(self.c.small("a slot")?));
        }
        let at = self.c.error("");
        let name = self.c.ident("a symbol")?;
        match self.out.kernel.symbols.iter().position(|s| *s.0 == *name) {
            Some(slot) => Ok(Inst::Sym(slot as u32)),
            None => Err(ParseError { message: format!("`{name}` is not a symbol of this kernel"), ..at }),
        }
    }

    /// `call_tile 6 by 16 accumulate @out rows %r, @a[@row_offsets + @tap_offsets of %taps] depth %d, @b[%offset]`
    fn call_tile(&mut self) -> Result<Inst, ParseError> {
        let rows = self.c.small("rows")?;
        self.c.expect_word("by")?;
        let lanes = self.c.small("lanes")?;
        let accumulate = self.c.eat_word("accumulate")?;
        let out = self.buf()?;
        self.c.expect_word("rows")?;
        let valid_rows = self.value()?;
        self.c.expect(',')?;
        let a = self.buf()?;
        self.c.expect('[')?;
        let a_offsets = self.buf()?;
        self.c.expect('+')?;
        let tap_offsets = self.buf()?;
        self.c.expect_word("of")?;
        let taps = self.value()?;
        self.c.expect(']')?;
        self.c.expect_word("depth")?;
        let depth = self.value()?;
        self.c.expect(',')?;
        let (b, b_offset) = self.offset()?;
        let call =
            CallTile { rows, lanes, a, a_offsets, tap_offsets, taps, depth, b, b_offset, out, accumulate, valid_rows };
        Ok(Inst::CallTile(Box::new(call)))
    }
}
