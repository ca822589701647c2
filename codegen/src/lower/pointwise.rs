//! Elementwise operations: the scalar operation on the operands' elements at the broadcast index.

use anyhow::Result;
use kiln_ir::Value;
use kiln_ir::loops::V;
use kiln_ir::lower::ScalarFn;

use super::Emit;

impl Emit<'_> {
    pub(super) fn pointwise(&mut self, scalar: &ScalarFn, inputs: &[Value], v: Value, index: &[V]) -> Result<V> {
        let args: Vec<V> = inputs
            .iter()
            .map(|&x| {
                let at = self.broadcast_index(x, v, index);
                self.eval(x, &at)
            })
            .collect::<Result<_>>()?;
        Ok(match (scalar, &args[..]) {
            (ScalarFn::Unary(op), &[x]) => self.b.unary(*op, x),
            (ScalarFn::Binary(op), &[x, y]) => self.b.binary(*op, x, y),
            (ScalarFn::Compare(op), &[x, y]) => self.b.compare(*op, x, y),
            (ScalarFn::Select, &[c, x, y]) => self.b.select(c, x, y),
            (ScalarFn::Cast(to), &[x]) => self.b.cast(*to, x),
            (ScalarFn::Bitcast(to), &[x]) => self.b.bitcast(*to, x),
            _ => anyhow::bail!("{scalar:?} does not take {} operands", args.len()),
        })
    }

    /// The index into operand `x` that belongs to `index` into the result `v`: aligned at the last axis, 0 where the
    /// operand's extent is 1 and the result's is not.
    pub(super) fn broadcast_index(&mut self, x: Value, v: Value, index: &[V]) -> Vec<V> {
        let (from, to) = (&self.f.ty(x).shape, &self.f.ty(v).shape);
        let skip = to.len() - from.len();
        (0..from.len())
            .map(|i| if from[i].is(1) && !to[i + skip].is(1) { self.zero() } else { index[i + skip] })
            .collect()
    }
}
