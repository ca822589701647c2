//! Constants in the layout that their kernel wants.

use anyhow::{Result, bail};
use kiln_ir::loops::Layout;
use kiln_ir::{Symbol, Tensor};

/// Appends a constant in a packed layout; elements that the layout adds are zero.
pub fn pack(t: &Tensor, layout: &Layout, out: &mut Vec<u8>) -> Result<()> {
    let size = t.dtype().size();
    let Some(total) = layout.size.as_const().and_then(|n| usize::try_from(n).ok()) else {
        bail!("a packed constant has a symbolic size");
    };
    let base = out.len();
    out.resize(base + total * size, 0);
    let shape = t.shape();
    let bytes = t.bytes();
    let Some((&inner, outer)) = shape.split_last() else { bail!("a packed constant has no axes") };
    let rows: usize = outer.iter().product();
    let mut index = vec![0i64; shape.len()];
    let last = shape.len() - 1;
    // Offsets along the last axis are the same for every row: computed once.
    let none = |_: &Symbol| None;
    let mut along = Vec::with_capacity(inner);
    for i in 0..inner {
        index[last] = i as i64;
        along.push(layout.offset(&index, &none).unwrap_or(0));
    }
    index[last] = 0;
    let origin = along.first().copied().unwrap_or(0);
    for row in 0..rows {
        let Some(at) = layout.offset(&index, &none) else { bail!("a packed constant's layout is symbolic") };
        for (i, &o) in along.iter().enumerate() {
            let to = base + (at - origin + o) as usize * size;
            let from = (row * inner + i) * size;
            out[to..to + size].copy_from_slice(&bytes[from..from + size]);
        }
        for axis in (0..last).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] as i64 {
                break;
            }
            index[axis] = 0;
        }
    }
    Ok(())
}
