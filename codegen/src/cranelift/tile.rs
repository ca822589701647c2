//! Register tiles: calls of the runtime's micro-kernels, and the kernels whose loops keep a tile in registers.

use anyhow::{Result, anyhow, ensure};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value, types};
use kiln_ir::DType;
use kiln_ir::loops::inst::CallTile;
use kiln_ir::loops::{Block, Inst, Kernel, V};

use super::kernel::Printer;
use super::value::register_count;

/// Fields of `kiln_rt::ukernel::GemmTile`, 8 bytes each.
const TILE_FIELDS: usize = 14;

/// Whether an innermost loop needs more vector registers than there are once all its loads stand first, as Cranelift's
/// optimizer places them; see [`super::OptLevel::Auto`].
pub(super) fn is_register_tile(kernel: &Kernel, registers: usize) -> bool {
    // Registers of a value that vector registers hold: floats, and any vector.
    let weight = |v: &V| match kernel.types.get(v.0 as usize) {
        Some(t) if t.lanes > 1 || t.elem.is_float() => register_count(t.lanes as usize, t.elem.size()),
        _ => 0,
    };
    fn walk(block: &Block, registers: usize, weight: &impl Fn(&V) -> usize) -> bool {
        block.stmts.iter().any(|s| match &s.inst {
            Inst::If(_, a, b) => walk(a, registers, weight) || walk(b, registers, weight),
            Inst::For(l) => {
                let carried: usize = l.carried.iter().map(|c| weight(&c.inner)).sum();
                let loads = l.body.stmts.iter().filter(|s| matches!(s.inst, Inst::Load { .. }));
                let loaded: usize = loads.flat_map(|s| &s.results).map(weight).sum();
                (carried > 0 && carried + loaded * usize::from(l.unroll) > registers)
                    || walk(&l.body, registers, weight)
            }
            _ => false,
        })
    }
    walk(&kernel.body, registers, &weight)
}

impl Printer<'_, '_> {
    /// A call of a micro-kernel with the runtime's argument structure, `kiln_rt::ukernel::GemmTile<f32>`.
    pub fn call_tile(&mut self, c: &CallTile) -> Result<()> {
        let symbol = self.tiles.iter().find(|t| t.rows == c.rows && t.lanes == c.lanes);
        let symbol = symbol.ok_or_else(|| {
            anyhow!("no micro-kernel for a tile of {} x {}: only code for this process can call one; lower the contraction to loops", c.rows, c.lanes)
        })?;
        let [a, rows, taps, b, out] = [c.a, c.a_offsets, c.tap_offsets, c.b, c.out].map(|id| self.memory(id));
        let (a, rows, taps, b, out) = (a?, rows?, taps?, b?, out?);
        ensure!([a.elem, b.elem, out.elem].iter().all(|&t| t == DType::F32), "micro-kernels are for f32");
        ensure!(rows.elem == DType::I64 && taps.elem == DType::I64, "offsets must be i64");
        let (count, depth) = (self.scalar(c.taps, DType::I64)?, self.scalar(c.depth, DType::I64)?);
        let (b_offset, valid) = (self.scalar(c.b_offset, DType::I64)?, self.scalar(c.valid_rows, DType::I64)?);
        let e = &mut self.e;
        let two = e.int(types::I32, 2);
        let b_bytes = e.ins().ishl(b_offset, two);
        let b_address = e.ins().iadd(b.base, b_bytes);
        let (lanes, zero, one) = (e.int(types::I64, i64::from(c.lanes)), e.int(types::I64, 0), e.int(types::I64, 1));
        let tap_stride = e.ins().imul(depth, lanes);
        let accumulate = if c.accumulate { one } else { zero };
        // In the order of the structure: a, row_off, tap_off, b, c, k, taps, rows, row_off_tap_stride, a_k_stride,
        // b_k_stride, b_tap_stride, c_row_stride, accumulate.
        let fields: [Value; TILE_FIELDS] = [
            a.base, rows.base, taps.base, b_address, out.base, depth, count, valid, zero, one, lanes, tap_stride,
            lanes, accumulate,
        ];
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, (8 * TILE_FIELDS) as u32, 3);
        let slot = e.b.create_sized_stack_slot(slot);
        let address = e.ins().stack_addr(types::I64, slot, 0);
        for (i, v) in fields.into_iter().enumerate() {
            e.ins().store(MemFlagsData::trusted(), v, address, (8 * i) as i32);
        }
        let f = e.external(&symbol.name, &[types::I64], None);
        e.ins().call(f, &[address]);
        Ok(())
    }
}
