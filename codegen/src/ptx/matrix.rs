//! Matrix products of a warp: the rows of the intrinsic table as `mma.sync`.
//!
//! Invariant: operands are passed in the table's order (accumulators, A, B) and their number and types are the table's.
//! f32 operands of a TF32 product are rounded here, to nearest with ties away from zero, once for each register in a
//! block: passed as they are, the hardware would cut their low 13 bits off.

use anyhow::{Result, anyhow, ensure};
use kiln_ir::loops::inst::Intrinsic;
use kiln_ir::loops::{IntrinsicId, Ty, V};

use super::print::{Printer, Value};
use super::regs::{Reg, RegClass, is_half, repr};

/// Name in the intrinsic table, PTX instruction, conversion that f32 operands of A and B need.
const PRODUCTS: &[(&str, &str, Option<&str>)] = &[
    ("mma.m16n8k8.tf32", "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", Some("cvt.rna.tf32.f32")),
    ("mma.m16n8k16.bf16", "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", None),
];

impl Printer<'_> {
    /// New accumulators from accumulators and the fragments of A and B.
    pub(super) fn mma(&mut self, id: IntrinsicId, operands: &[V], results: &[V]) -> Result<()> {
        let row: &Intrinsic = id.row().ok_or_else(|| anyhow!("intrinsic {} is not in the table", id.0))?;
        let product = PRODUCTS.iter().find(|p| p.0 == row.name);
        let &(name, instruction, round) =
            product.ok_or_else(|| anyhow!("`{}` is no instruction of this GPU", row.name))?;
        let counts = row.fragments.map(|f| usize::from(f.0));
        let total: usize = counts.iter().sum();
        ensure!(operands.len() == total, "`{name}` takes {total} operands, not {}", operands.len());
        ensure!(results.len() == counts[0], "`{name}` has {} results, not {}", counts[0], results.len());
        let (c, ab) = operands.split_at(counts[0]);
        let (a, b) = ab.split_at(counts[1]);
        let a = self.fragment(a, row.fragments[1].1, round)?;
        let b = self.fragment(b, row.fragments[2].1, round)?;
        let c = self.fragment(c, row.fragments[0].1, None)?;
        let class = repr(row.c)?.class;
        let d: Vec<Reg> = results.iter().map(|_| self.fresh(class)).collect();
        let list = |regs: &[Reg]| regs.iter().map(Reg::to_string).collect::<Vec<_>>().join(", ");
        self.line(format!("{instruction} {{{}}}, {{{}}}, {{{}}}, {{{}}};", list(&d), list(&a), list(&b), list(&c)));
        for (&v, r) in results.iter().zip(d) {
            self.define(v, Value::of(vec![r]))?;
        }
        Ok(())
    }

    /// The registers of a fragment's values, each of type `ty`.
    fn fragment(&mut self, values: &[V], ty: Ty, round: Option<&str>) -> Result<Vec<Reg>> {
        let mut regs = vec![];
        for &v in values {
            let got = self.ty(v)?;
            ensure!(got == ty, "{v:?}: the fragment holds {ty}, not {got}");
            if is_half(ty.elem) {
                regs.extend(self.pairs(v)?);
                continue;
            }
            let r = self.scalar(v)?;
            regs.push(match (round, self.rounded.get(r)) {
                (None, _) => r,
                (Some(_), Some(done)) => done,
                (Some(instruction), None) => {
                    let done = self.op(RegClass::B32, instruction, &[&r]);
                    self.rounded.insert(r, done);
                    done
                }
            });
        }
        Ok(regs)
    }
}
