//! Shared by the Cranelift tests: kernels over plain buffers, programs around them, and running them.

#![allow(dead_code)] // each test binary uses its part

use std::sync::Arc;

use kiln_codegen::cranelift::{Options, host_target, host_tiles, jit};
use kiln_codegen::program::{JitCode, Place, Port, Program, Step, Weights};
use kiln_ir::loops::{
    Access, Block, BufId, Buffer, Inst, Kernel, KernelBuilder, Layout, Level, LoopKind, Space, Ty, V,
};
use kiln_ir::scalar_eval::Scalar;
use kiln_ir::{DType, Dim, Symbol, SymbolBounds};

/// A global or private buffer of `n` elements.
pub fn buffer(name: &str, dtype: DType, n: usize, space: Space, access: Access) -> Buffer {
    let shape = vec![Dim::from(n)];
    Buffer { name: name.into(), dtype, layout: Layout::row_major(&shape), shape, space, access, align: 64 }
}

/// An empty machine-level kernel over these buffers.
pub fn kernel(name: &str, buffers: Vec<Buffer>, symbols: &[&str]) -> KernelBuilder {
    KernelBuilder::new(Kernel {
        name: name.into(),
        level: Level::Machine,
        buffers,
        symbols: symbols.iter().map(|s| Symbol::new(s)).collect(),
        tasks: Dim::from(1i64),
        threads: 1,
        body: Block::default(),
        types: vec![],
    })
}

/// A loop whose body returns the next carried values.
pub fn for_loop(
    b: &mut KernelBuilder,
    lo: i64,
    hi: i64,
    step: i64,
    unroll: u16,
    init: &[V],
    body: impl FnOnce(&mut KernelBuilder, V, &[V]) -> Vec<V>,
) -> Vec<V> {
    let (lo, hi) = (b.index(lo), b.index(hi));
    loop_between(b, lo, hi, step, unroll, init, body)
}

/// The same between values.
pub fn loop_between(
    b: &mut KernelBuilder,
    lo: V,
    hi: V,
    step: i64,
    unroll: u16,
    init: &[V],
    body: impl FnOnce(&mut KernelBuilder, V, &[V]) -> Vec<V>,
) -> Vec<V> {
    let carried: Vec<_> = init.iter().map(|&v| (v, None)).collect();
    b.for_loop(LoopKind::Serial, lo, hi, step, unroll, &carried, |b, iv, c| {
        Ok::<_, std::convert::Infallible>(body(b, iv, c))
    })
    .unwrap_or_default()
}

/// A conditional with results.
pub fn if_else(
    b: &mut KernelBuilder,
    cond: V,
    then: impl FnOnce(&mut KernelBuilder) -> Vec<V>,
    other: impl FnOnce(&mut KernelBuilder) -> Vec<V>,
) -> Vec<V> {
    let open = b.open_if(cond);
    let yields = then(b);
    let open = b.open_else(open, yields);
    let yields = other(b);
    b.close_if(open, yields)
}

/// A machine-level load of `lanes` elements.
pub fn load(b: &mut KernelBuilder, buf: u32, at: V, lanes: u16) -> V {
    let elem = b.kernel().buffers[buf as usize].dtype;
    b.push(Ty::vector(elem, lanes), Inst::Load { buf: BufId(buf), index: vec![at] })
}

/// A store.
pub fn store(b: &mut KernelBuilder, buf: u32, at: V, value: V) {
    b.push_effect(Inst::Store { buf: BufId(buf), index: vec![at], value });
}

/// A kernel `out[i] = f(inputs[i]..)` over `n` elements, `lanes` at a time.
pub fn map_kernel(
    name: &str,
    inputs: &[DType],
    out: DType,
    n: usize,
    lanes: u16,
    f: impl FnOnce(&mut KernelBuilder, &[V]) -> V,
) -> Kernel {
    let mut buffers: Vec<Buffer> =
        inputs.iter().enumerate().map(|(i, &t)| buffer(&format!("x{i}"), t, n, Space::Global, Access::Read)).collect();
    buffers.push(buffer("y", out, n, Space::Global, Access::Write));
    let mut b = kernel(name, buffers, &[]);
    for_loop(&mut b, 0, n as i64, i64::from(lanes), 1, &[], |b, i, _| {
        let xs: Vec<V> = (0..inputs.len()).map(|k| load(b, k as u32, i, lanes)).collect();
        let y = f(b, &xs);
        store(b, inputs.len() as u32, i, y);
        vec![]
    });
    b.finish()
}

/// A port of constant extent.
pub fn port(name: &str, dtype: DType, n: usize) -> Port {
    Port { name: name.into(), dtype, shape: vec![Dim::from(n)] }
}

/// A program without steps.
pub fn program(prefix: &str) -> Program {
    Program {
        prefix: prefix.into(),
        kernels: vec![],
        symbols: vec![],
        inputs: vec![],
        outputs: vec![],
        workspace: Dim::from(0i64),
        weights: Weights::Embedded(Arc::new(vec![])),
        steps: vec![],
        data: vec![],
    }
}

/// A symbol with bounds.
pub fn symbol(name: &str, min: i64, max: i64) -> (Symbol, SymbolBounds) {
    (Symbol::new(name), SymbolBounds { min, max: Some(max) })
}

/// A program that launches each kernel once, with one task: its inputs are the kernels' read buffers, its outputs their
/// written ones, in order.
pub fn program_of(kernels: Vec<Kernel>) -> Program {
    let mut p = program("t");
    for k in kernels {
        let mut places = vec![];
        for (_, b) in k.params() {
            let port = port(&b.name, b.dtype, b.layout.size.as_const().unwrap_or(0) as usize);
            places.push(if b.access == Access::Read {
                p.inputs.push(port);
                Place::Input(p.inputs.len() - 1)
            } else {
                p.outputs.push(port);
                Place::Output(p.outputs.len() - 1)
            });
        }
        p.steps.push(Step::Launch {
            kernel: p.kernels.len(),
            buffers: places,
            symbols: vec![],
            tasks: Dim::from(1i64),
        });
        p.kernels.push(k);
    }
    p
}

/// Default options with this process's micro-kernels.
pub fn options() -> Options {
    Options { tiles: host_tiles(), ..Options::default() }
}

/// Compiles for this machine.
pub fn compile(p: &Program, options: &Options) -> Box<dyn JitCode> {
    let target = host_target().expect("a supported machine");
    jit(p, &target, options).unwrap_or_else(|e| panic!("{e:?}"))
}

/// Bytes that start at a 64-byte boundary.
#[derive(Clone)]
pub struct Aligned(Vec<[u8; 64]>, usize);

impl Aligned {
    pub fn zeroed(bytes: usize) -> Aligned {
        // One line more, so that a boundary lies inside.
        Aligned(vec![[0; 64]; bytes.div_ceil(64) + 1], bytes)
    }

    pub fn of(bytes: &[u8]) -> Aligned {
        let mut a = Aligned::zeroed(bytes.len());
        a.bytes_mut().copy_from_slice(bytes);
        a
    }

    fn start(&self) -> usize {
        (64 - self.0.as_ptr().addr() % 64) % 64
    }

    pub fn bytes(&self) -> &[u8] {
        let s = self.start();
        &self.0.as_flattened()[s..s + self.1]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (s, n) = (self.start(), self.1);
        &mut self.0.as_flattened_mut()[s..s + n]
    }
}

/// Runs with symbols, inputs and an optional weights pointer; returns the status and the outputs.
pub fn run(
    p: &Program,
    code: &dyn JitCode,
    symbols: &[i64],
    inputs: &[Vec<u8>],
    par: *const std::ffi::c_void,
) -> (i32, Vec<Vec<u8>>) {
    let bind = |s: &Symbol| p.symbols.iter().position(|x| &x.0 == s).and_then(|i| symbols.get(i).copied());
    let inputs: Vec<Aligned> = inputs.iter().map(|b| Aligned::of(b)).collect();
    let mut outputs: Vec<Aligned> =
        p.outputs.iter().map(|o| Aligned::zeroed(o.bytes().eval(&bind).unwrap_or(0).max(0) as usize)).collect();
    let mut workspace = Aligned::zeroed(p.workspace.eval(&bind).unwrap_or(0).max(0) as usize);
    let mut args: Vec<u64> = symbols.iter().map(|&s| s as u64).collect();
    args.extend(inputs.iter().map(|b| b.bytes().as_ptr() as u64));
    args.extend(outputs.iter_mut().map(|b| b.bytes_mut().as_mut_ptr() as u64));
    let f = code.run_fn();
    // SAFETY: the arguments are laid out as the program's ABI says and live through the call.
    let status = unsafe { f(args.as_ptr(), workspace.bytes_mut().as_mut_ptr(), par) };
    (status, outputs.into_iter().map(|o| o.bytes().to_vec()).collect())
}

/// The bytes of elements.
pub fn bytes_of(xs: &[Scalar]) -> Vec<u8> {
    let mut out = vec![];
    for x in xs {
        let at = out.len();
        out.resize(at + x.dtype().size(), 0);
        assert!(x.store(&mut out[at..]));
    }
    out
}

/// The elements in bytes.
pub fn scalars_of(dtype: DType, bytes: &[u8]) -> Vec<Scalar> {
    bytes.chunks_exact(dtype.size()).map(|c| Scalar::load(dtype, c).expect("a plain type")).collect()
}

/// f32 values as bytes.
pub fn f32_bytes(xs: &[f32]) -> Vec<u8> {
    xs.iter().flat_map(|x| x.to_ne_bytes()).collect()
}

/// Bytes as f32 values.
pub fn f32_of(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_ne_bytes([c[0], c[1], c[2], c[3]])).collect()
}

/// A small deterministic generator (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Uniform in [-1, 1).
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
