//! Random kernels: what the printer writes, the parser reads; no text makes the parser panic, and no parsed kernel the
//! verifier or the interpreter.

use kiln_ir::dim::Symbol;
use kiln_ir::loops::inst::{Inst, LoopKind, Ty, V};
use kiln_ir::loops::interp::{BufferData, RunOptions, run_kernel};
use kiln_ir::loops::verify::verify;
use kiln_ir::loops::{Access, Block, BufId, Buffer, Kernel, KernelBuilder, Layout, Level, Space, parse, print};
use kiln_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use kiln_ir::{DType, Dim};
use proptest::prelude::*;

/// A source of choices: the bytes that proptest shrinks.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % n.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn done(&self) -> bool {
        self.0.len() == 0
    }
}

fn dim(c: &mut Choices<'_>, depth: usize) -> Dim {
    let leaf = if c.below(2) == 0 { Dim::sym(c.pick(&["b", "n"])) } else { Dim::from(c.below(9) as i64) };
    if depth == 0 {
        return leaf;
    }
    match c.below(7) {
        0 => dim(c, depth - 1) + leaf,
        1 => dim(c, depth - 1) * leaf,
        2 => dim(c, depth - 1) - leaf,
        3 => dim(c, depth - 1).floor_div(&Dim::from(c.below(5) as i64 + 1)),
        4 => dim(c, depth - 1).smaller(&leaf),
        5 => dim(c, depth - 1).larger(&leaf),
        _ => leaf,
    }
}

fn buffer(c: &mut Choices<'_>, i: usize) -> Buffer {
    let shape: Vec<Dim> = (0..c.below(3)).map(|_| dim(c, 2)).collect();
    let layout = match c.below(3) {
        0 if !shape.is_empty() => {
            Layout::packed(&[(0, 4, 0, dim(c, 1)), (shape.len() - 1, 1, 0, dim(c, 1)), (0, 1, 4, Dim::from(4i64))])
        }
        1 => Layout::strided(dim(c, 1), &shape.iter().map(|_| dim(c, 1)).collect::<Vec<_>>(), dim(c, 2)),
        _ => Layout::row_major(&shape),
    };
    let dtype = c.pick(&[DType::F32, DType::I64, DType::BF16, DType::Bool]);
    let access = c.pick(&[Access::Read, Access::Write, Access::ReadWrite]);
    Buffer { name: format!("x{i}"), dtype, shape, layout, space: Space::Global, access, align: 1 << (3 + c.below(4)) }
}

/// A nest of well-typed scalar code, loops, conditionals and accesses; values in scope are operands.
fn block(b: &mut KernelBuilder, c: &mut Choices<'_>, scope: &mut Vec<V>, depth: usize) {
    let outer = scope.len();
    for _ in 0..c.below(6) + 1 {
        if c.done() {
            break;
        }
        let v = value(b, c, scope, depth);
        scope.extend(v);
    }
    // Definitions of this block end with it.
    if depth > 0 {
        scope.truncate(outer);
    }
}

fn of_type(b: &mut KernelBuilder, c: &mut Choices<'_>, scope: &[V], ty: Ty) -> V {
    let fitting: Vec<V> = scope.iter().copied().filter(|&v| b.ty(v) == ty).collect();
    if !fitting.is_empty() && c.below(4) > 0 {
        return c.pick(&fitting);
    }
    match ty.elem {
        DType::F32 => b.push(ty, Inst::ConstFloat(c.pick(&[0.0, -0.0, 1.5, -1e300, 1e-7, f64::INFINITY, 123456789.0]))),
        DType::Bool => b.push(ty, Inst::ConstInt(c.below(2) as i64)),
        _ => b.push(ty, Inst::ConstInt(c.pick(&[0, 1, -1, i64::MIN, i64::MAX, 7]))),
    }
}

fn value(b: &mut KernelBuilder, c: &mut Choices<'_>, scope: &mut Vec<V>, depth: usize) -> Option<V> {
    let (f32, index, bool) = (Ty::scalar(DType::F32), Ty::INDEX, Ty::scalar(DType::Bool));
    Some(match c.below(14) {
        0 => b.push(index, Inst::Task),
        1 => {
            let d = dim(c, 2);
            b.push(index, Inst::Dim(d))
        }
        2 => {
            let x = of_type(b, c, scope, f32);
            b.unary(c.pick(&[UnaryOp::Exp, UnaryOp::Neg, UnaryOp::IsNan, UnaryOp::Rint]), x)
        }
        3 => {
            let (x, y) = (of_type(b, c, scope, f32), of_type(b, c, scope, f32));
            b.binary(c.pick(&[BinaryOp::Add, BinaryOp::Max, BinaryOp::SquaredDifference]), x, y)
        }
        4 => {
            let (x, y) = (of_type(b, c, scope, index), of_type(b, c, scope, index));
            b.binary(c.pick(&[BinaryOp::Mul, BinaryOp::FloorDiv, BinaryOp::Shl]), x, y)
        }
        5 => {
            let (x, y) = (of_type(b, c, scope, index), of_type(b, c, scope, index));
            b.compare(c.pick(CompareOp::ALL), x, y)
        }
        6 => {
            let (t, x, y) = (of_type(b, c, scope, bool), of_type(b, c, scope, f32), of_type(b, c, scope, f32));
            b.select(t, x, y)
        }
        7 => {
            let x = of_type(b, c, scope, f32);
            b.fma(x, x, x)
        }
        8 => {
            let x = of_type(b, c, scope, f32);
            b.cast(c.pick(&[DType::I64, DType::F16, DType::Bool]), x)
        }
        9 | 10 if b.kernel().buffers.is_empty() => of_type(b, c, scope, bool),
        choice @ (9 | 10) => {
            let id = BufId(c.below(b.kernel().buffers.len()) as u32);
            let (rank, elem) = (b.kernel().buffer(id).shape.len(), b.kernel().buffer(id).dtype);
            let at: Vec<V> = (0..rank).map(|_| of_type(b, c, scope, index)).collect();
            if choice == 9 || elem == DType::BF16 || b.kernel().buffer(id).access == Access::Read {
                return Some(b.load(id, at));
            }
            let x = of_type(b, c, scope, Ty::scalar(elem));
            b.store(id, at, x);
            return None;
        }
        11 if depth < 4 => {
            let (lo, hi, init) = (of_type(b, c, scope, index), of_type(b, c, scope, index), of_type(b, c, scope, f32));
            let (step, unroll) = (c.below(3) as i64 + 1, c.below(3) as u16 + 1);
            let op = c.pick(&[ReduceOp::Sum, ReduceOp::Max]);
            let results = b.for_loop(LoopKind::Reduce, lo, hi, step, unroll, &[(init, Some(op))], |b, iv, inner| {
                scope.push(iv);
                block(b, c, scope, depth + 1);
                scope.pop();
                let x = of_type(b, c, scope, f32);
                Ok::<_, ()>(vec![b.binary(op.combiner(), inner[0], x)])
            });
            results.ok()?[0]
        }
        12 if depth < 4 => {
            let (lo, hi) = (of_type(b, c, scope, index), of_type(b, c, scope, index));
            let kind = c.pick(&[LoopKind::Parallel, LoopKind::Serial]);
            b.for_loop(kind, lo, hi, 1, 1, &[], |b, iv, _| {
                scope.push(iv);
                block(b, c, scope, depth + 1);
                scope.pop();
                Ok::<_, ()>(vec![])
            })
            .ok()?;
            return None;
        }
        13 if depth < 4 => {
            let cond = of_type(b, c, scope, bool);
            let mut side = |b: &mut KernelBuilder| {
                block(b, c, scope, depth + 1);
                vec![of_type(b, c, scope, f32)]
            };
            let open = b.open_if(cond);
            let then = side(b);
            let open = b.open_else(open, then);
            let other = side(b);
            b.close_if(open, other)[0]
        }
        _ => of_type(b, c, scope, index),
    })
}

fn kernel(bytes: &[u8]) -> Kernel {
    let mut c = Choices(bytes.iter());
    let buffers = (0..c.below(3)).map(|i| buffer(&mut c, i)).collect();
    let k = Kernel {
        name: "random".into(),
        level: Level::Nest,
        buffers,
        symbols: vec![Symbol::new("b"), Symbol::new("n")],
        tasks: dim(&mut c, 1),
        threads: 1,
        body: Block::default(),
        types: vec![],
    };
    let mut b = KernelBuilder::new(k);
    let mut scope = vec![];
    while !c.done() {
        block(&mut b, &mut c, &mut scope, 0);
    }
    b.finish()
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn kernels_survive_the_text_form(bytes in choices()) {
        let k = kernel(&bytes);
        prop_assert!(verify(&k, None).is_ok(), "{}\n{k}", verify(&k, None).unwrap_err());
        let text = k.to_string();
        let back = parse::parse(&text);
        prop_assert!(back.is_ok(), "{}\n{text}", back.unwrap_err());
        let back = back.unwrap();
        prop_assert_eq!(&back, &print::renumber(&k));
        prop_assert_eq!(back.to_string(), text);
    }

    #[test]
    fn no_kernel_makes_the_interpreter_panic(bytes in choices(), b in -1i64..5, n in 0i64..5) {
        let k = kernel(&bytes);
        let mut data: Vec<BufferData> = k.params().map(|(_, x)| BufferData::from_bytes(vec![1; 64 * x.dtype.size()])).collect();
        let options = RunOptions { fuel: 2000, ..RunOptions::default() };
        // Most random kernels are out of bounds or out of fuel; that is an error, not a panic.
        let _ = run_kernel(&k, &mut data, &[b, n], &options);
    }

    #[test]
    fn damaged_text_is_an_error_or_a_kernel(bytes in choices(), at in any::<prop::sample::Index>(), with in "[ -~\n]{0,6}", cut in 0usize..8) {
        let mut text = kernel(&bytes).to_string();
        let from = at.index(text.len());
        let to = (from + cut).min(text.len());
        text.replace_range(from..to, &with);
        match parse::parse_all(&text) {
            Ok(kernels) => for k in kernels {
                let _ = verify(&k.kernel, None);
                prop_assert!(parse::parse(&k.kernel.to_string()).is_ok() || verify(&k.kernel, None).is_err());
            },
            Err(e) => prop_assert!(e.line >= 1 && e.column >= 1 && !e.message.is_empty()),
        }
    }

    #[test]
    fn dimensions_survive_the_text_form(bytes in choices()) {
        let d = dim(&mut Choices(bytes.iter()), 5);
        prop_assert_eq!(Dim::parse(&d.to_string()).unwrap(), d);
    }
}
