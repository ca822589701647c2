//! Memory accesses of a kernel: buffers, addresses, loads and stores of scalars, vectors and masks.
//!
//! Element offsets are kept as a sum of a Cranelift value and a constant ([`Linear`]); the constant becomes the
//! displacement of the access, so the copies of an unrolled body share one address. bool is one byte, 0 or 1, in
//! memory; any other byte read is true.
//!
//! No access is marked as movable: a load under a condition may be one that must not happen otherwise.

use anyhow::{Context as _, Result, bail, ensure};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Type, Value, types};
use kiln_ir::DType;
use kiln_ir::loops::{Access, Buffer, Space};

use super::value::{Emit, REGISTER, Val, int_register, register_count, register_type, scalar_type};

/// Most bytes of private buffers in one kernel: worker threads have small stacks.
const MAX_PRIVATE_BYTES: u64 = 1 << 20;

/// `root + add`; no root is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    pub root: Option<Value>,
    pub add: i64,
}

/// A buffer as the printed kernel sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Address of the first element.
    pub base: Value,
    pub elem: DType,
    flags: MemFlagsData,
}

/// Sum of the bytes of a kernel's private buffers so far.
#[derive(Debug, Default)]
pub(super) struct Frame(u64);

impl Emit<'_> {
    /// A global buffer whose address is `base`.
    pub fn global(&mut self, buffer: &Buffer, base: Value) -> Memory {
        let flags = MemFlagsData::new().with_notrap();
        let flags = if buffer.access == Access::Read { flags.with_readonly() } else { flags };
        Memory { base, elem: buffer.dtype, flags }
    }

    /// A private buffer: a stack slot. Its alignment is the buffer's, at least that of a register.
    pub fn private(&mut self, buffer: &Buffer, frame: &mut Frame) -> Result<Memory> {
        ensure!(buffer.space == Space::Private, "buffer `{}` is not private", buffer.name);
        let elements = buffer
            .layout
            .size
            .as_const()
            .with_context(|| format!("private buffer `{}` has a symbolic size", buffer.name))?;
        let align = u64::from(buffer.align).max(REGISTER as u64);
        ensure!(align.is_power_of_two() && align <= 4096, "private buffer `{}` has alignment {align}", buffer.name);
        let bytes = u64::try_from(elements).ok().and_then(|n| n.checked_mul(buffer.dtype.size() as u64));
        let padding = align.saturating_sub(REGISTER as u64);
        let total =
            bytes.and_then(|b| b.checked_add(padding)).filter(|b| frame.0.saturating_add(*b) <= MAX_PRIVATE_BYTES);
        let total = total
            .with_context(|| format!("private buffer `{}`: over {MAX_PRIVATE_BYTES} bytes of stack", buffer.name))?;
        frame.0 += total;
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, total as u32, REGISTER.trailing_zeros() as u8);
        let slot = self.b.create_sized_stack_slot(slot);
        let mut base = self.ins().stack_addr(types::I64, slot, 0);
        if padding > 0 {
            // Frames are aligned to 16 bytes only.
            let (up, mask) = (self.int(types::I64, padding as i64), self.int(types::I64, -(align as i64)));
            base = self.ins().iadd(base, up);
            base = self.ins().band(base, mask);
        }
        Ok(Memory { base, elem: buffer.dtype, flags: MemFlagsData::new().with_notrap() })
    }

    /// The address and displacement of an element; `bytes` are accessed there.
    fn address(&mut self, memory: &Memory, at: Linear, bytes: usize) -> (Value, i32) {
        let shift = memory.elem.size().trailing_zeros();
        let address = match at.root {
            None => memory.base,
            Some(root) => {
                let amount = self.int(types::I32, i64::from(shift));
                let scaled = if shift == 0 { root } else { self.ins().ishl(root, amount) };
                self.ins().iadd(memory.base, scaled)
            }
        };
        let displacement = at.add.wrapping_shl(shift);
        let room = i64::from(i32::MAX) - bytes as i64;
        match i32::try_from(displacement).ok().filter(|&d| (i64::from(d)).abs() < room) {
            Some(d) => (address, d),
            None => {
                let far = self.int(types::I64, displacement);
                (self.ins().iadd(address, far), 0)
            }
        }
    }

    /// `lanes` elements from `at`.
    pub fn load(&mut self, memory: &Memory, at: Linear, lanes: usize) -> Result<Val> {
        let elem = memory.elem;
        let (address, d) = self.address(memory, at, lanes * elem.size());
        if lanes == 1 {
            let v = self.b.ins().load(scalar_type(elem)?, memory.flags, address, d);
            if elem != DType::Bool {
                return Ok(Val::scalar(elem, v));
            }
            return self.cast(&Val::scalar(DType::U8, v), DType::Bool);
        }
        let plain = if elem == DType::Bool { DType::U8 } else { elem };
        let width = elem.size();
        let ty = register_type(plain, width);
        let regs = if lanes * width >= REGISTER {
            (0..register_count(lanes, width))
                .map(|i| self.ins().load(ty, memory.flags, address, d + (i * REGISTER) as i32))
                .collect()
        } else {
            // Part of a register: an integer of that size, moved to the bottom.
            let part = part_type(lanes * width)?;
            let v = self.ins().load(part, memory.flags, address, d);
            let v = if part.bits() < 32 { self.ins().uextend(types::I32, v) } else { v };
            let wide = int_register(self.ty(v).bytes() as usize);
            let v = self.ins().scalar_to_vector(wide, v);
            vec![self.bits(ty, v)]
        };
        let v = Val { elem: plain, lanes, width, regs };
        if elem == DType::Bool { self.bytes_to_mask(&v) } else { Ok(v) }
    }

    /// The value's lanes to `at` and the elements after it.
    pub fn store(&mut self, memory: &Memory, at: Linear, value: &Val) -> Result<()> {
        ensure!(value.elem == memory.elem, "a value of {} for a buffer of {}", value.elem, memory.elem);
        let value = if value.is_mask() { self.mask_to_bytes(value) } else { value.clone() };
        let bytes = value.lanes * value.width;
        let (address, d) = self.address(memory, at, bytes);
        if value.lanes > 1 && bytes < REGISTER {
            let part = part_type(bytes)?;
            let v = self.bits(int_register(bytes), value.regs[0]);
            let v = self.ins().extractlane(v, 0u8);
            debug_assert_eq!(self.ty(v), part);
            self.ins().store(memory.flags, v, address, d);
            return Ok(());
        }
        for (i, &r) in value.regs.iter().enumerate() {
            self.ins().store(memory.flags, r, address, d + (i * REGISTER) as i32);
        }
        Ok(())
    }

    /// Elements at independent offsets (i64 lanes).
    pub fn gather(&mut self, memory: &Memory, offsets: &Val) -> Result<Val> {
        ensure!(offsets.elem == DType::I64, "offsets of type {}", offsets.elem);
        let mut lanes = Vec::with_capacity(offsets.lanes);
        for lane in 0..offsets.lanes {
            let root = self.extract(offsets, lane)?;
            let v = self.load(memory, Linear { root: Some(root), add: 0 }, 1)?;
            lanes.push(v.regs[0]);
        }
        self.join_lanes(memory.elem, &lanes)
    }

    /// Lanes to independent offsets (i64 lanes), in lane order.
    pub fn scatter(&mut self, memory: &Memory, offsets: &Val, value: &Val) -> Result<()> {
        ensure!(
            offsets.elem == DType::I64 && offsets.lanes == value.lanes,
            "{} offsets of {} for {} lanes",
            offsets.lanes,
            offsets.elem,
            value.lanes
        );
        for lane in 0..offsets.lanes {
            let (root, v) = (self.extract(offsets, lane)?, self.extract(value, lane)?);
            self.store(memory, Linear { root: Some(root), add: 0 }, &Val::scalar(value.elem, v))?;
        }
        Ok(())
    }
}

/// The integer that holds the lanes of a vector narrower than a register.
fn part_type(bytes: usize) -> Result<Type> {
    Ok(match bytes {
        2 => types::I16,
        4 => types::I32,
        8 => types::I64,
        _ => bail!("a vector of {bytes} bytes"),
    })
}
