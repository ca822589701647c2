//! The border of a padded value whose middle is written in place: one nest for each side of each padded axis.

use anyhow::{Result, bail};
use kiln_ir::loops::{Access, Buffer, Kernel, KernelBuilder, Layout, Level, LoopKind, Space};
use kiln_ir::{Dim, Function, NodeId, Tensor, Value};

use super::{LoopRole, Nest, NestLoop, immediate};

/// A kernel that fills the border of `out`: elements whose index along some axis is below `low` or within `high` of the
/// end. Sides of later axes leave out what earlier ones filled.
///
/// # Errors
/// If the fill is no constant.
#[allow(clippy::too_many_arguments)] // what a border is
pub fn border(
    f: &Function,
    node: NodeId,
    out: Value,
    fill: &Tensor,
    low: &[Dim],
    high: &[Dim],
    layout: &Layout,
    name: &str,
) -> Result<Nest> {
    let ty = f.ty(out);
    if fill.len() != 1 {
        bail!("the fill of a padding is one element");
    }
    let mut symbols = std::collections::BTreeSet::new();
    for d in ty.shape.iter().chain(low).chain(high).chain(layout.dims()) {
        d.for_each_symbol(&mut |s| {
            symbols.insert(s.clone());
        });
    }
    let mut b = KernelBuilder::new(Kernel {
        name: name.into(),
        level: Level::Nest,
        buffers: vec![],
        symbols: symbols.into_iter().collect(),
        tasks: Dim::from(1),
        threads: 1,
        body: Default::default(),
        types: vec![],
    });
    let buf = b.buffer(Buffer {
        name: "out".into(),
        dtype: ty.dtype,
        shape: ty.shape.clone(),
        layout: layout.clone(),
        space: Space::Global,
        access: Access::Write,
        align: ty.dtype.size() as u32,
    });
    let mut loops = vec![];
    for axis in 0..ty.rank() {
        let last = ty.shape[axis].clone() - high[axis].clone();
        for (first, extent) in [(Dim::from(0), &low[axis]), (last, &high[axis])] {
            if extent.is(0) {
                continue;
            }
            // First index and extent along each axis: the whole axis, but for this side and for what is already filled.
            let ranges: Vec<(Dim, Dim)> = (0..ty.rank())
                .map(|a| match a.cmp(&axis) {
                    std::cmp::Ordering::Less => {
                        (low[a].clone(), ty.shape[a].clone() - low[a].clone() - high[a].clone())
                    }
                    std::cmp::Ordering::Equal => (first.clone(), extent.clone()),
                    std::cmp::Ordering::Greater => (Dim::from(0), ty.shape[a].clone()),
                })
                .collect();
            let value = immediate(&mut b, fill)?;
            let (mut open, mut index) = (vec![], vec![]);
            for (a, (start, n)) in ranges.iter().enumerate() {
                let (zero, hi) = (b.index(0), b.dim(n));
                let l = b.open_loop(LoopKind::Parallel, zero, hi, 1, 1, &[]);
                loops.push(NestLoop { iv: l.iv, extent: n.clone(), role: LoopRole::Side(node, a) });
                index.push(if start.is(0) {
                    l.iv
                } else {
                    let s = b.dim(start);
                    b.add(l.iv, s)
                });
                open.push(l);
            }
            b.store(buf, index, value);
            while let Some(l) = open.pop() {
                b.close_loop(l);
            }
        }
    }
    Ok(Nest { kernel: b.finish(), inputs: vec![], loops })
}
