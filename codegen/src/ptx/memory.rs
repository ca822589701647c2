//! Memory: addresses, loads, stores, asynchronous copies.
//!
//! Invariants: an access is as wide as its alignment is provable (the buffer's, the offset's trailing zeros), at most 16
//! bytes; shared addresses have 32 bits, others 64; read-only global buffers, which nothing may alias, are read through
//! the non-coherent path.

use anyhow::{Result, anyhow, bail, ensure};
use kiln_ir::DType;
use kiln_ir::loops::{Access, BufId, Buffer, Space, Ty, V};

use super::known::Known;
use super::print::{Printer, Value};
use super::regs::{Reg, RegClass, is_half, repr};

/// A run of memory words that one instruction moves.
struct Chunk {
    /// First word.
    at: usize,
    /// Words: 1, 2 or 4.
    words: usize,
}

/// Splits `n` words of `size` bytes at an address aligned to `align` into the widest legal accesses.
fn chunks(n: usize, size: usize, align: u32) -> Vec<Chunk> {
    let mut list = vec![];
    let mut at = 0;
    while at < n {
        let aligned = |w: usize| (at * size).is_multiple_of(w * size) && w * size <= align as usize;
        let words = [4, 2].into_iter().find(|&w| at + w <= n && w * size <= 16 && aligned(w)).unwrap_or(1);
        list.push(Chunk { at, words });
        at += words;
    }
    list
}

/// `%a`, or `{%a, %b}` with the vector suffix that goes with it.
fn tuple(regs: &[Reg]) -> (String, String) {
    let list: Vec<String> = regs.iter().map(Reg::to_string).collect();
    match regs.len() {
        1 => (String::new(), list.concat()),
        n => (format!(".v{n}"), format!("{{{}}}", list.join(", "))),
    }
}

/// How an element travels: class of its registers in loads and stores, type suffix, bytes.
fn word(elem: DType) -> Result<(RegClass, &'static str, usize)> {
    let r = repr(elem)?;
    let class = if r.class == RegClass::Pred { RegClass::B32 } else { r.class };
    Ok((class, r.memory, elem.size()))
}

impl Printer<'_> {
    fn buffer(&self, b: BufId) -> Result<&Buffer> {
        self.kernel.buffers.get(b.0 as usize).ok_or_else(|| anyhow!("buffer {} does not exist", b.0))
    }

    /// Address register and immediate of an element offset.
    fn address(&mut self, buf: BufId, offset: Reg, known: &Known) -> Result<(Reg, i64)> {
        let b = self.buffer(buf)?;
        let (size, space) = (b.dtype.size() as i64, b.space);
        let base = *self.bases.get(buf.0 as usize).ok_or_else(|| anyhow!("buffer {} has no address", buf.0))?;
        // Immediates have 32 bits; larger constants stay in the register.
        let immediate = |c: i64| c.checked_mul(size).filter(|n| i32::try_from(*n).is_ok());
        if let Some(n) = known.value.and_then(immediate) {
            return Ok((base, n));
        }
        let (reg, plus) = match known.split.and_then(|(r, c)| Some((r, immediate(c)?))) {
            Some(split) => split,
            None => (offset, 0),
        };
        if let Some(a) = self.addresses.get((buf, reg)) {
            return Ok((a, plus));
        }
        let a = match space {
            Space::Shared => {
                let low = self.op(RegClass::B32, "cvt.u32.u64", &[&reg]);
                self.op(RegClass::B32, "mad.lo.s32", &[&low, &size, &base])
            }
            _ => self.op(RegClass::B64, "mad.lo.s64", &[&reg, &size, &base]),
        };
        self.addresses.insert((buf, reg), a);
        Ok((a, plus))
    }

    /// Offset register, facts, and the alignment in bytes that follows for the access.
    fn access(&self, buf: BufId, index: &[V]) -> Result<(Reg, Known, u32)> {
        let &[offset] = index else {
            bail!("a machine-level access has one element offset, not {}", index.len());
        };
        let b = self.buffer(buf)?;
        let known = self.value(offset)?.known;
        let align = b.align.max(b.dtype.size() as u32);
        Ok((self.scalar(offset)?, known, known.alignment(b.dtype.size(), align)))
    }

    fn load_instruction(&self, buf: BufId) -> Result<&'static str> {
        let b = self.buffer(buf)?;
        Ok(match (b.space, b.access) {
            (Space::Global, Access::Read) => "ld.global.nc",
            (Space::Global, _) => "ld.global",
            (Space::Shared, _) => "ld.shared",
            (Space::Private, _) => "ld.local",
        })
    }

    fn store_instruction(&self, buf: BufId) -> Result<&'static str> {
        let b = self.buffer(buf)?;
        ensure!(b.space != Space::Global || b.access != Access::Read, "`{}` is only read, yet it is stored to", b.name);
        Ok(match b.space {
            Space::Global => "st.global",
            Space::Shared => "st.shared",
            Space::Private => "st.local",
        })
    }

    fn expect_elem(&self, buf: BufId, elem: DType) -> Result<()> {
        let b = self.buffer(buf)?;
        ensure!(b.dtype == elem, "`{}` holds {}, the value is {elem}: cast it", b.name, b.dtype);
        Ok(())
    }

    /// Contiguous lanes.
    pub(super) fn load(&mut self, buf: BufId, index: &[V], ty: Ty) -> Result<Value> {
        self.expect_elem(buf, ty.elem)?;
        let (offset, known, align) = self.access(buf, index)?;
        let n = usize::from(ty.lanes);
        if is_half(ty.elem) && n.is_multiple_of(2) && align >= 4 {
            let pairs = self.load_words(buf, offset, &known, (RegClass::B32, "b32", 4), n / 2, align)?;
            let mut lanes = vec![];
            for &p in &pairs {
                let (lo, hi) = (self.fresh(RegClass::B16), self.fresh(RegClass::B16));
                self.line(format!("mov.b32 {{{lo}, {hi}}}, {p};"));
                lanes.extend([lo, hi]);
            }
            return Ok(Value { pairs, ..Value::of(lanes) });
        }
        let regs = self.load_words(buf, offset, &known, word(ty.elem)?, n, align)?;
        Ok(Value::of(self.loaded(ty.elem, regs)))
    }

    /// Words as they came from memory, as values: a bool is a byte that is not zero.
    fn loaded(&mut self, elem: DType, regs: Vec<Reg>) -> Vec<Reg> {
        match elem {
            DType::Bool => regs.iter().map(|r| self.op(RegClass::Pred, "setp.ne.s32", &[r, &0])).collect(),
            _ => regs,
        }
    }

    /// Values as words for memory.
    fn storable(&mut self, elem: DType, regs: Vec<Reg>) -> Vec<Reg> {
        match elem {
            DType::Bool => regs.iter().map(|r| self.op(RegClass::B32, "selp.b32", &[&1, &0, r])).collect(),
            _ => regs,
        }
    }

    fn load_words(
        &mut self,
        buf: BufId,
        offset: Reg,
        known: &Known,
        (class, suffix, size): (RegClass, &str, usize),
        n: usize,
        align: u32,
    ) -> Result<Vec<Reg>> {
        let (a, plus) = self.address(buf, offset, known)?;
        let ld = self.load_instruction(buf)?;
        let mut all = vec![];
        for c in chunks(n, size, align) {
            let regs: Vec<Reg> = (0..c.words).map(|_| self.fresh(class)).collect();
            let (v, list) = tuple(&regs);
            self.line(format!("{ld}{v}.{suffix} {list}, [{a}+{}];", plus + (c.at * size) as i64));
            all.extend(regs);
        }
        Ok(all)
    }

    /// The reverse of a load.
    pub(super) fn store(&mut self, buf: BufId, index: &[V], value: V) -> Result<()> {
        let ty = self.ty(value)?;
        self.expect_elem(buf, ty.elem)?;
        let (offset, known, align) = self.access(buf, index)?;
        let (a, plus) = self.address(buf, offset, &known)?;
        let st = self.store_instruction(buf)?;
        let n = usize::from(ty.lanes);
        let (regs, suffix, size) = if is_half(ty.elem) && n.is_multiple_of(2) && align >= 4 {
            (self.pairs(value)?, "b32", 4)
        } else {
            let lanes = self.value(value)?.lanes.clone();
            let (_, suffix, size) = word(ty.elem)?;
            (self.storable(ty.elem, lanes), suffix, size)
        };
        for c in chunks(regs.len(), size, align) {
            let (v, list) = tuple(&regs[c.at..c.at + c.words]);
            self.line(format!("{st}{v}.{suffix} [{a}+{}], {list};", plus + (c.at * size) as i64));
        }
        Ok(())
    }

    /// Lanes from independent offsets.
    pub(super) fn gather(&mut self, buf: BufId, offsets: V, ty: Ty) -> Result<Value> {
        self.expect_elem(buf, ty.elem)?;
        let ld = self.load_instruction(buf)?;
        let (class, suffix, _) = word(ty.elem)?;
        let mut regs = vec![];
        for r in self.value(offsets)?.lanes.clone() {
            let (a, plus) = self.address(buf, r, &Known::NOTHING)?;
            regs.push(self.op(class, &format!("{ld}.{suffix}"), &[&format!("[{a}+{plus}]")]));
        }
        Ok(Value::of(self.loaded(ty.elem, regs)))
    }

    /// Lanes to independent offsets.
    pub(super) fn scatter(&mut self, buf: BufId, offsets: V, value: V) -> Result<()> {
        let ty = self.ty(value)?;
        self.expect_elem(buf, ty.elem)?;
        let st = self.store_instruction(buf)?;
        let (_, suffix, _) = word(ty.elem)?;
        let (to, lanes) = (self.value(offsets)?.lanes.clone(), self.value(value)?.lanes.clone());
        ensure!(to.len() == lanes.len(), "a scatter has an offset for each lane");
        let words = self.storable(ty.elem, lanes);
        for (r, w) in to.into_iter().zip(words) {
            let (a, plus) = self.address(buf, r, &Known::NOTHING)?;
            self.line(format!("{st}.{suffix} [{a}+{plus}], {w};"));
        }
        Ok(())
    }

    /// A hint; only global memory has a cache to bring it into.
    pub(super) fn prefetch(&mut self, buf: BufId, offset: V) -> Result<()> {
        if self.buffer(buf)?.space != Space::Global {
            return Ok(());
        }
        let (r, known, _) = self.access(buf, &[offset])?;
        let (a, plus) = self.address(buf, r, &known)?;
        self.line(format!("prefetch.global.L1 [{a}+{plus}];"));
        Ok(())
    }

    /// Global to shared without waiting; both addresses must be provably aligned to the width.
    pub(super) fn async_copy(&mut self, dst: BufId, dst_offset: V, src: BufId, src_offset: V, bytes: u8) -> Result<()> {
        ensure!(matches!(bytes, 4 | 8 | 16), "an asynchronous copy moves 4, 8 or 16 bytes, not {bytes}");
        for (buf, space, offset) in [(dst, Space::Shared, dst_offset), (src, Space::Global, src_offset)] {
            let b = self.buffer(buf)?;
            ensure!(
                b.space == space,
                "an asynchronous copy goes from global to shared memory; `{}` is neither end",
                b.name
            );
            let (_, _, align) = self.access(buf, &[offset])?;
            ensure!(
                align >= u32::from(bytes),
                "`{}`: {bytes} bytes are copied at once, but only {align}-byte alignment is certain",
                b.name
            );
        }
        let (rd, kd, _) = self.access(dst, &[dst_offset])?;
        let (d, dp) = self.address(dst, rd, &kd)?;
        let (rs, ks, _) = self.access(src, &[src_offset])?;
        let (s, sp) = self.address(src, rs, &ks)?;
        // 16 bytes may bypass the first-level cache: shared memory is the copy that will be read.
        let cache = if bytes == 16 { "cg" } else { "ca" };
        self.line(format!("cp.async.{cache}.shared.global [{d}+{dp}], [{s}+{sp}], {bytes};"));
        Ok(())
    }
}
