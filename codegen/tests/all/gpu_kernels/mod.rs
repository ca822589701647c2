//! Machine-level kernels as a GPU schedule will write them, built by hand: a pointwise chain, a row reduction and a
//! tensor-core matrix product; plus one-instruction kernels that sweep the arithmetic. Tests print and assemble them;
//! the example `gpu_check` runs them on a GPU against oracles on the CPU.
#![allow(dead_code)] // each user takes a part

#[cfg(feature = "cuda")]
pub mod check;
pub mod matmul;
pub mod mixed;
pub mod num;
pub mod pointwise;
pub mod reduce;
pub mod sweep;

use std::convert::Infallible;

use kiln_ir::loops::{Access, Block, BufId, Buffer, Inst, Kernel, KernelBuilder, Layout, Level, Space, Ty, V};
use kiln_ir::scalar::{BinaryOp, CompareOp};
use kiln_ir::{DType, Dim, Symbol};

/// What a loop's or a conditional's body returns here: building cannot fail.
pub type Values = Result<Vec<V>, Infallible>;

/// A GPU kernel without a body.
pub fn empty(name: String, symbols: &[&str], tasks: Dim, threads: u32) -> KernelBuilder {
    KernelBuilder::new(Kernel {
        name,
        level: Level::Machine,
        buffers: vec![],
        symbols: symbols.iter().map(|s| Symbol::new(s)).collect(),
        tasks,
        threads,
        body: Block::default(),
        types: vec![],
    })
}

/// A row-major buffer, aligned to 16 bytes.
pub fn buffer(b: &mut KernelBuilder, name: &str, dtype: DType, shape: &[Dim], space: Space, access: Access) -> BufId {
    let layout = Layout::row_major(shape);
    b.buffer(Buffer { name: name.into(), dtype, shape: shape.to_vec(), layout, space, access, align: 16 })
}

/// A load at a scalar offset.
pub fn load(b: &mut KernelBuilder, buf: BufId, offset: V, lanes: u16) -> V {
    let elem = b.kernel().buffer(buf).dtype;
    b.push(Ty::vector(elem, lanes), Inst::Load { buf, index: vec![offset] })
}

/// x + n.
pub fn add_const(b: &mut KernelBuilder, x: V, n: i64) -> V {
    if n == 0 {
        return x;
    }
    let n = b.index(n);
    b.add(x, n)
}

/// x * n.
pub fn mul_const(b: &mut KernelBuilder, x: V, n: i64) -> V {
    if n == 1 {
        return x;
    }
    let n = b.index(n);
    b.mul(x, n)
}

/// An operation of an index with a constant.
pub fn with_const(b: &mut KernelBuilder, op: BinaryOp, x: V, n: i64) -> V {
    let n = b.index(n);
    b.binary(op, x, n)
}

/// x < n.
pub fn below(b: &mut KernelBuilder, x: V, n: i64) -> V {
    let n = b.index(n);
    b.compare(CompareOp::Lt, x, n)
}

/// A scalar in every lane.
pub fn splat(b: &mut KernelBuilder, x: V, lanes: u16) -> V {
    let t = b.ty(x);
    if lanes == 1 { x } else { b.push(Ty::vector(t.elem, lanes), Inst::Splat(x)) }
}

/// A conditional without results.
pub fn when(
    b: &mut KernelBuilder,
    cond: V,
    then: impl FnOnce(&mut KernelBuilder),
    other: impl FnOnce(&mut KernelBuilder),
) {
    let open = b.open_if(cond);
    then(b);
    let open = b.open_else(open, vec![]);
    other(b);
    b.close_if(open, vec![]);
}
