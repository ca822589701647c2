//! The mode `run`: random inputs, the reference interpreter, and every way to compile the function.
//!
//! | directive | meaning |
//! |---|---|
//! | `// run: seed=1 tol=1e-5` | the seed of the inputs, the tolerance; `tol=0` asks for equal bits (any NaN for a NaN) |
//! | `// run: .. special` | a quarter of floating elements are NaN, infinities, zeros of both signs, subnormals, extremes |
//! | `// dims: b=1,3,7` | the values of symbols; every combination runs |
//! | `// inputs: int=0..9, x=-2..2` | ranges of the elements of an input by name, or of a class: `int`, `float` |
//!
//! A floating element `a` agrees with the reference's `b` if `|a - b| <= tol * max(1, |b|)`; others are equal.
//!
//! What runs: for every backend of the build, and for a machine with 512-bit vectors that need not be there, the program's
//! levels L1, L2 and L3 on the loop interpreter; then each backend's code on 1 and 2 threads, whose bits must be equal.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use kiln::jit::{Backend, Executable, PREFIX};
use kiln::pipeline;
use kiln_codegen::plan::{self, Levels, Planned};
use kiln_codegen::simulate;
use kiln_codegen::target::{Arch, Target};
use kiln_ir::loops::Kernel;
use kiln_ir::tensor::element_count;
use kiln_ir::{DType, Dim, Module, Symbol, Tensor, interp, text};
use kiln_passes::manager;

/// How a `run` test runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Seed of the inputs.
    pub seed: u64,
    /// Tolerance of floating results.
    pub tol: f64,
    /// Whether NaN, infinities, -0, subnormals are among the inputs.
    pub special: bool,
    /// Values of each symbol.
    pub dims: Vec<(String, Vec<i64>)>,
    /// Ranges of elements, by the name of an input or of a class.
    pub ranges: Vec<(String, f64, f64)>,
}

impl Run {
    /// The words after `// run:`.
    ///
    /// # Errors
    /// An unknown word, or a missing seed or tolerance.
    pub fn parse(words: &str) -> Result<Run> {
        let mut run = Run { tol: -1.0, ..Run::default() };
        for word in words.split_whitespace() {
            match word.split_once('=') {
                Some(("seed", n)) => run.seed = n.parse().with_context(|| format!("`{word}`"))?,
                Some(("tol", n)) => run.tol = n.parse().with_context(|| format!("`{word}`"))?,
                None if word == "special" => run.special = true,
                _ => bail!("`{word}` in `// run:`: there are seed=N, tol=X and special"),
            }
        }
        ensure!(run.tol >= 0.0, "`// run:` needs a tolerance: tol=0 for equal bits");
        Ok(run)
    }

    /// The words after `// dims:`, as `b=1,3,7 c=2`.
    ///
    /// # Errors
    /// A malformed word.
    pub fn dims(&mut self, words: &str) -> Result<()> {
        for word in words.split_whitespace() {
            let (name, values) = word.split_once('=').with_context(|| format!("`{word}`: write NAME=N,N"))?;
            let values = values.split(',').map(|n| n.parse::<i64>().with_context(|| format!("`{word}`")));
            self.dims.push((name.to_string(), values.collect::<Result<_>>()?));
        }
        Ok(())
    }

    /// The words after `// inputs:`, as `int=0..9, x=-2..2`.
    ///
    /// # Errors
    /// A malformed word.
    pub fn inputs(&mut self, words: &str) -> Result<()> {
        for word in words.split(',') {
            let parts = word.trim().split_once('=').and_then(|(n, r)| r.split_once("..").map(|(a, b)| (n, a, b)));
            let (name, lo, hi) = parts.with_context(|| format!("`{word}`: write NAME=LOW..HIGH"))?;
            let number = |s: &str| s.trim().parse::<f64>().with_context(|| format!("`{word}`"));
            self.ranges.push((name.to_string(), number(lo)?, number(hi)?));
        }
        Ok(())
    }

    /// Runs the test.
    ///
    /// # Errors
    /// What differs first: the values of the symbols, the level or backend, the element.
    pub fn check(&self, source: &str) -> Result<()> {
        let module = text::parse(source)?;
        let [entry] = entries(&module)[..] else { bail!("a run test has one function, or one entry") };
        let mut optimized = module.clone();
        optimized.entries = vec![entry];
        pipeline::optimize(&mut optimized, &manager::Options::default())?;
        let mut ways = ways(&optimized)?;
        for sizes in self.sizes() {
            let at = || match sizes.iter().map(|(s, n)| format!("{s}={n}")).collect::<Vec<_>>() {
                fixed if fixed.is_empty() => "sizes as they stand".to_string(),
                open => open.join(" "),
            };
            let inputs = self.tensors(&module, entry, &sizes).with_context(at)?;
            self.case(&module, entry, &mut ways, &inputs).with_context(at)?;
        }
        Ok(())
    }

    /// One set of inputs, in every way.
    fn case(&self, module: &Module, entry: usize, ways: &mut [Way], inputs: &[Tensor]) -> Result<()> {
        let want = interp::eval_function(module, entry, inputs, &mut |_, _| {}).context("the reference interpreter")?;
        let names: Vec<&str> = module.funcs[entry].results.iter().map(|r| r.name.as_str()).collect();
        let symbols = interp::bind_inputs(module, &module.funcs[entry], inputs)?;
        for way in ways {
            match &mut way.how {
                How::Levels(planned, weights) => {
                    for (level, pick) in LEVELS {
                        let kernels: Vec<&Kernel> = planned.levels.iter().map(pick).collect();
                        let got = simulate::run(&planned.program, &kernels, weights, inputs, &symbols);
                        let got = got.with_context(|| format!("{level} for {}", way.name))?;
                        self.compare(&names, &got, &want).with_context(|| format!("{level} for {}", way.name))?;
                    }
                }
                How::Code(executables) => {
                    let mut results: Vec<Vec<Tensor>> = vec![];
                    for (threads, executable) in (1..).zip(executables) {
                        let at = || format!("{} on {threads} thread(s)", way.name);
                        let mut call = executable.call(inputs).with_context(at)?;
                        call.run().with_context(at)?;
                        let got = call.outputs();
                        self.compare(&names, &got, &want).with_context(at)?;
                        results.push(got);
                    }
                    let [one, two] = &results[..] else { bail!("two thread counts are compared") };
                    if let Some(i) = (0..one.len()).find(|&i| !one[i].same_bits(&two[i])) {
                        bail!("{}: the bits of `{}` depend on the number of threads", way.name, names[i]);
                    }
                }
            }
        }
        Ok(())
    }

    /// Every combination of the symbols' values.
    fn sizes(&self) -> Vec<BTreeMap<Symbol, i64>> {
        let mut all = vec![BTreeMap::new()];
        for (name, values) in &self.dims {
            let with = |m: &BTreeMap<Symbol, i64>, n: i64| {
                let mut m = m.clone();
                m.insert(Symbol::new(name), n);
                m
            };
            all = all.iter().flat_map(|m| values.iter().map(move |&n| with(m, n))).collect();
        }
        all
    }

    /// Random tensors for the parameters.
    fn tensors(&self, module: &Module, entry: usize, sizes: &BTreeMap<Symbol, i64>) -> Result<Vec<Tensor>> {
        let f = &module.funcs[entry];
        let mut random = Random(self.seed);
        let mut made = vec![];
        for p in &f.params {
            let ty = f.ty(p.value);
            let extent = |d: &Dim| d.eval(&|s| sizes.get(s).copied()).and_then(|n| usize::try_from(n).ok());
            let shape: Option<Vec<usize>> = ty.shape.iter().map(extent).collect();
            let shape = shape.with_context(|| format!("`// dims:` leaves a size of `{}`: {ty} open", p.name))?;
            let class = if ty.dtype.is_float() { "float" } else { "int" };
            let named = |n: &str| self.ranges.iter().find(|r| r.0 == n).map(|r| (r.1, r.2));
            let range = named(&p.name).or_else(|| named(class));
            made.push(self.tensor(ty.dtype, &shape, range, &mut random)?);
        }
        Ok(made)
    }

    fn tensor(&self, dtype: DType, shape: &[usize], range: Option<(f64, f64)>, random: &mut Random) -> Result<Tensor> {
        let n = element_count(shape).context("a size")?;
        if dtype.is_float() {
            let (lo, hi) = range.unwrap_or((-2.0, 2.0));
            let specials = specials(dtype);
            let values: Vec<f64> = (0..n)
                .map(|_| match random.below(4) {
                    0 if self.special => specials[random.below(specials.len() as u64) as usize],
                    _ => lo + (hi - lo) * random.unit(),
                })
                .collect();
            return Ok(floats(dtype, shape, &values));
        }
        let (lo, hi) = range.unwrap_or(match (dtype, dtype.is_signed()) {
            (DType::Bool, _) => (0.0, 1.0),
            (_, true) => (-9.0, 9.0),
            (_, false) => (0.0, 9.0),
        });
        let (lo, hi) = (lo as i64, hi as i64);
        let values: Vec<i64> = (0..n).map(|_| lo + random.below((hi - lo + 1).max(1) as u64) as i64).collect();
        Tensor::from_i64s(dtype, shape, &values).with_context(|| format!("there are no random tensors of {dtype}"))
    }

    /// Compares results with the reference's; the error names the first element that differs.
    fn compare(&self, names: &[&str], got: &[Tensor], want: &[Tensor]) -> Result<()> {
        ensure!(got.len() == want.len(), "{} results instead of {}", got.len(), want.len());
        for ((name, a), b) in names.iter().zip(got).zip(want) {
            ensure!(
                a.dtype() == b.dtype() && a.shape() == b.shape(),
                "`{name}` is {} {:?} instead of {} {:?}",
                a.dtype(),
                a.shape(),
                b.dtype(),
                b.shape()
            );
            let different = match (a.to_f64s(), b.to_f64s(), a.to_i64s(), b.to_i64s()) {
                (Some(x), Some(y), ..) => first(&x, &y, |x, y| self.agree(x, y)),
                (_, _, Some(x), Some(y)) => first(&x, &y, |x, y| x == y),
                _ => bail!("`{name}`: elements of {} cannot be compared", a.dtype()),
            };
            if let Some((i, x, y)) = different {
                bail!("element {:?} of `{name}` is {x} instead of {y}", digits(i, a.shape()));
            }
        }
        Ok(())
    }

    fn agree(&self, x: f64, y: f64) -> bool {
        if x.is_nan() || y.is_nan() {
            return x.is_nan() && y.is_nan();
        }
        if self.tol == 0.0 {
            return x.to_bits() == y.to_bits();
        }
        x == y || (x.is_finite() && y.is_finite() && (x - y).abs() <= self.tol * y.abs().max(1.0))
    }
}

/// The functions to run: the entries, or the only function.
fn entries(module: &Module) -> Vec<usize> {
    if module.entries.is_empty() { (0..module.funcs.len()).collect() } else { module.entries.clone() }
}

/// The first pair that does not agree, with its number.
fn first<T: Copy + ToString>(x: &[T], y: &[T], agree: impl Fn(T, T) -> bool) -> Option<(usize, String, String)> {
    let i = x.iter().zip(y).position(|(&a, &b)| !agree(a, b))?;
    Some((i, x[i].to_string(), y[i].to_string()))
}

/// The index of an element by its row-major number.
fn digits(mut number: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &d) in index.iter_mut().zip(shape).rev() {
        *i = number % d.max(1);
        number /= d.max(1);
    }
    index
}

/// A way to run a function.
struct Way {
    name: String,
    how: How,
}

enum How {
    /// The levels of its kernels on the loop interpreter, with the weights.
    Levels(Box<Planned>, Vec<u8>),
    /// Compiled for 1 and for 2 threads.
    Code(Vec<Executable>),
}

/// The levels of a kernel by name.
const LEVELS: [(&str, fn(&Levels) -> &Kernel); 3] = [
    ("the L1 nests", |l| &l.nest),
    ("the L2 scheduled kernels", |l| &l.scheduled),
    ("the L3 machine kernels", |l| &l.machine),
];

/// Every way that this build has.
fn ways(optimized: &Module) -> Result<Vec<Way>> {
    let mut ways = vec![];
    let options = plan::Options { prefix: PREFIX.into(), keep_levels: true, ..Default::default() };
    let mut levels = |name: &str, target: &Target| -> Result<()> {
        let mut planned =
            pipeline::plan(optimized, target, &options).with_context(|| format!("the plan for {name}"))?;
        let weights = std::mem::take(&mut planned.weights).bytes()?;
        ways.push(Way { name: name.into(), how: How::Levels(Box::new(planned), weights) });
        Ok(())
    };
    let backends: &[Backend] = &[
        #[cfg(feature = "llvm")]
        Backend::Llvm,
        #[cfg(feature = "cranelift")]
        Backend::Cranelift,
    ];
    levels("512-bit vectors", &wide_target())?;
    for &backend in backends {
        levels(&format!("{backend:?}"), &backend.host_target()?)?;
    }
    for &backend in backends {
        let target = backend.host_target()?;
        let mut executables = vec![];
        for threads in [1, 2] {
            let options = plan::Options { prefix: PREFIX.into(), ..Default::default() };
            let planned = pipeline::plan(optimized, &target, &options)?;
            let code = backend.jit(&planned.program, &target, 1).with_context(|| format!("{backend:?}"))?;
            executables.push(Executable::new(planned, code, kiln::jit::pool(threads)?)?);
        }
        ways.push(Way { name: format!("{backend:?}"), how: How::Code(executables) });
    }
    Ok(ways)
}

/// A machine with 512-bit vectors, and caches so small that small tensors are cut into several tasks.
fn wide_target() -> Target {
    Target {
        arch: Arch::X86_64,
        triple: "x86_64-unknown-linux-gnu".into(),
        cpu: "x86-64-v4".into(),
        features: String::new(),
        vector_bytes: 64,
        full_vectors_only: false,
        vector_registers: 32,
        fma: true,
        l1: 1 << 10,
        l2: 4 << 10,
        tiles: vec![],
    }
}

/// Values at the edges of a floating type.
fn specials(dtype: DType) -> Vec<f64> {
    let (tiny, small, large) = match dtype {
        DType::F16 => (2f64.powi(-24), 2f64.powi(-14), 65504.0),
        DType::BF16 => (2f64.powi(-133), 2f64.powi(-126), 3.3895313892515355e38),
        DType::F32 => (2f64.powi(-149), 2f64.powi(-126), f64::from(f32::MAX)),
        _ => (f64::from_bits(1), f64::MIN_POSITIVE, f64::MAX),
    };
    let positive = [f64::NAN, f64::INFINITY, 0.0, 1.0, tiny, small / 2.0, small, large];
    positive.iter().flat_map(|&x| [x, -x]).collect()
}

/// A tensor of a floating type, each value rounded to it.
fn floats(dtype: DType, shape: &[usize], values: &[f64]) -> Tensor {
    match dtype {
        DType::F16 => Tensor::of(shape, &values.iter().map(|&x| half::f16::from_f64(x)).collect::<Vec<_>>()),
        DType::BF16 => Tensor::of(shape, &values.iter().map(|&x| half::bf16::from_f64(x)).collect::<Vec<_>>()),
        DType::F32 => Tensor::of(shape, &values.iter().map(|&x| x as f32).collect::<Vec<_>>()),
        _ => Tensor::of(shape, values),
    }
}

/// SplitMix64, a generator of 64-bit numbers by Steele, Lea and Flood (2014): the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `n - 1`.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// A number from 0 up to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * 2f64.powi(-53)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_refused() {
        let mut r = Run::parse("seed=3 tol=1e-5 special").unwrap();
        r.dims("b=1,3 c=2").unwrap();
        r.inputs("int=0..9, x=-2..2.5").unwrap();
        assert_eq!((r.seed, r.tol, r.special), (3, 1e-5, true));
        assert_eq!(r.dims, [("b".to_string(), vec![1, 3]), ("c".to_string(), vec![2])]);
        assert_eq!(r.ranges, [("int".to_string(), 0.0, 9.0), ("x".to_string(), -2.0, 2.5)]);
        assert_eq!(r.sizes().len(), 2);
        assert!(Run::parse("seed=1").is_err());
        assert!(Run::parse("tol=0 sed=1").is_err());
        assert!(r.dims("b").is_err() && r.inputs("x=1").is_err());
    }

    #[test]
    fn agreement_is_by_bits_only_without_a_tolerance() {
        let exact = Run { tol: 0.0, ..Run::default() };
        assert!(exact.agree(f64::NAN, -f64::NAN) && !exact.agree(0.0, -0.0) && !exact.agree(1.0, 1.0 + f64::EPSILON));
        let near = Run { tol: 1e-3, ..Run::default() };
        assert!(near.agree(0.0, -0.0) && near.agree(1000.5, 1000.0) && near.agree(0.0005, 0.0));
        assert!(!near.agree(f64::MAX, f64::INFINITY) && !near.agree(f64::NAN, 0.0) && !near.agree(1.002, 1.0));
    }

    #[test]
    fn a_difference_is_named_by_its_index() {
        let run = Run { tol: 0.0, ..Run::default() };
        let (a, b) = (Tensor::of(&[2, 2], &[1f32, 2.0, 3.0, 4.0]), Tensor::of(&[2, 2], &[1f32, 2.0, 5.0, 4.0]));
        let said = run.compare(&["y"], &[a], &[b]).unwrap_err().to_string();
        assert_eq!(said, "element [1, 0] of `y` is 3 instead of 5");
    }
}
