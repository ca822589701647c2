//! Runs the kernels of this folder on a GPU and compares them with oracles on the CPU: bit for bit where the semantics
//! fix the bits, else against f64 within the bound of the numeric contract. Each case also runs twice and must give the
//! same bits.

use anyhow::{Context, Result, ensure};
use half::bf16;
use kiln_codegen::ptx::cuda::{Device, DeviceBuffer, LoadedKernel};
use kiln_codegen::ptx::print_module;
use kiln_ir::loops::inst::INTRINSICS;
use kiln_ir::loops::{IntrinsicId, Kernel};
use kiln_ir::scalar::UnaryOp;
use kiln_ir::{Class, DType};

use super::matmul::{Tile, matmul};
use super::mixed;
use super::num::{self, Num};
use super::pointwise::pointwise;
use super::reduce::row_reduce;
use super::sweep::{self, What};

/// The GPU that kernels are printed for.
const CPU: &str = "sm_90";

/// What came of one case.
pub struct Outcome {
    /// Kernel and size.
    pub name: String,
    /// What was compared and how it came out.
    pub detail: String,
    /// Whether every comparison held.
    pub pass: bool,
    /// Rate, where it was measured.
    pub rate: String,
}

/// Numbers that look random and are the same in every run: a linear congruential generator's upper bits, in (-1, 1).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

fn bytes_of(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

/// Prints and loads one kernel.
fn load(d: &Device, k: &Kernel) -> Result<LoadedKernel> {
    let mut loaded = d.load(&print_module(&[k], CPU)?, &[k])?;
    loaded.pop().context("one kernel was loaded")
}

/// Runs twice into buffers filled with different garbage; the outputs, and whether the runs agree bit for bit.
fn run_twice(
    d: &mut Device,
    k: &LoadedKernel,
    inputs: &[&DeviceBuffer],
    outputs: &[usize],
    symbols: &[i64],
) -> Result<(Vec<Vec<u8>>, bool)> {
    let mut runs = vec![];
    for garbage in [0xFFu8, 0x5A] {
        let out: Vec<DeviceBuffer> = outputs.iter().map(|n| d.upload(&vec![garbage; *n])).collect::<Result<_>>()?;
        let all: Vec<&DeviceBuffer> = inputs.iter().copied().chain(&out).collect();
        d.launch(k, &all, symbols)?;
        let status = d.finish()?;
        ensure!(status == 0, "the kernel reports status {status}");
        runs.push(out.iter().map(|b| d.download(b)).collect::<Result<Vec<_>>>()?);
    }
    let equal = runs[0] == runs[1];
    Ok((runs.swap_remove(0), equal))
}

/// The pointwise chain in one type.
fn check_pointwise(d: &mut Device, elem: DType, fused: bool, sizes: &[usize]) -> Result<Vec<Outcome>> {
    let size = elem.size();
    let k = load(d, &pointwise(elem, (16 / size) as u16, fused))?;
    let (a, b) = (num::round_to(elem, 1.7), num::round_to(elem, -0.3));
    let scalar = |d: &Device, x: f64| d.upload(&num::encode(elem, Num::F(x)));
    let (pa, pb) = (scalar(d, a)?, scalar(d, b)?);
    let round = |x: f64| num::round_to(elem, x);
    let oracle = |x: f64| {
        let t = if fused { num::fma(elem, a, x, b) } else { round(round(a * x) + b) };
        let positive = if t.is_nan() || t > 0.0 { t } else { 0.0 };
        round(positive * x)
    };
    let special: Vec<f64> =
        num::samples(elem).into_iter().filter_map(|v| if let Num::F(x) = v { Some(x) } else { None }).collect();
    let mut outcomes = vec![];
    for &n in sizes {
        let mut noise = Noise::new(n as u64);
        let x: Vec<f64> = (0..n)
            .map(|i| if i % 7 == 3 { special[i / 7 % special.len()] } else { round(4.0 * f64::from(noise.next())) })
            .collect();
        let raw: Vec<u8> = x.iter().flat_map(|v| num::encode(elem, Num::F(*v))).collect();
        let px = d.upload(&raw)?;
        let (out, equal) = run_twice(d, &k, &[&pa, &pb, &px], &[n * size], &[n as i64])?;
        let wrong = out[0]
            .chunks_exact(size)
            .zip(&x)
            .filter(|(y, x)| !num::same(num::decode(elem, y), Num::F(oracle(**x))))
            .count();
        let mut rate = String::new();
        if n >= 1 << 24 {
            let y = d.alloc(n * size)?;
            let args = [&pa, &pb, &px, &y];
            let ms = d.time(20, || d.launch(&k, &args, &[n as i64]))?;
            rate = format!("{:.3} ms, {:.0} GB/s", ms, 2.0 * (n * size) as f64 / ms / 1e6);
        }
        outcomes.push(Outcome {
            name: format!("pointwise {elem}{} n={n}", if fused { " fma" } else { "" }),
            detail: format!("{wrong} of {n} differ from the oracle's bits; twice the same bits: {equal}"),
            pass: wrong == 0 && equal,
            rate,
        });
    }
    Ok(outcomes)
}

/// Rows of noise; some with NaN, infinities, zeros of both signs.
fn check_reduce(d: &mut Device, rows: usize, cols: usize, known: bool) -> Result<Outcome> {
    let k = load(d, &row_reduce(known.then_some(cols as i64)))?;
    let mut noise = Noise::new((rows * 31 + cols) as u64);
    let mut x: Vec<f32> = (0..rows * cols).map(|_| noise.next()).collect();
    if cols > 0 {
        for (r, row) in x.chunks_exact_mut(cols).enumerate() {
            let at = noise.below(cols);
            match r % 6 {
                1 => row[at] = f32::NAN,
                2 => row[at] = f32::INFINITY,
                3 => row[at] = f32::NEG_INFINITY,
                4 => row.fill(-0.0),
                5 => row.fill(f32::NEG_INFINITY),
                _ => {}
            }
        }
    }
    let px = d.upload(&bytes_of(&x))?;
    let symbols: Vec<i64> = if known { vec![rows as i64] } else { vec![rows as i64, cols as i64] };
    let (out, equal) = run_twice(d, &k, &[&px], &[4 * rows, 4 * rows], &symbols)?;
    let (max, sum) = (floats(&out[0]), floats(&out[1]));
    let (mut wrong, mut worst) = (0, 0f64);
    for r in 0..rows {
        let row = &x[r * cols..(r + 1) * cols];
        let nan = row.iter().any(|v| v.is_nan());
        let want = if nan { f32::NAN } else { row.iter().copied().fold(f32::NEG_INFINITY, f32::max) };
        wrong += usize::from(!(max[r] == want || (max[r].is_nan() && nan)));
        let exact: f64 = row.iter().map(|v| f64::from(*v)).sum();
        let scale: f64 = row.iter().map(|v| f64::from(v.abs())).sum();
        if !exact.is_finite() {
            wrong += usize::from(!(f64::from(sum[r]) == exact || (sum[r].is_nan() && exact.is_nan())));
        } else if scale > 0.0 {
            worst = worst.max((f64::from(sum[r]) - exact).abs() / (scale * f64::from(f32::EPSILON)));
        } else {
            wrong += usize::from(sum[r] != 0.0);
        }
    }
    // The contract: 2 eps (log2 n + 8) times the sum of magnitudes.
    let bound = 2.0 * ((cols.max(1) as f64).log2() + 8.0);
    let mut rate = String::new();
    if rows * cols >= 1 << 24 {
        let outs = [d.alloc(4 * rows)?, d.alloc(4 * rows)?];
        let ms = d.time(20, || d.launch(&k, &[&px, &outs[0], &outs[1]], &symbols))?;
        rate = format!("{:.3} ms, {:.0} GB/s", ms, (4 * rows * cols) as f64 / ms / 1e6);
    }
    Ok(Outcome {
        name: format!("row max+sum f32 {rows}x{cols}{}", if known { "" } else { " symbolic" }),
        detail: format!(
            "{wrong} wrong maxima or special sums; worst sum error {worst:.2} eps of {bound:.0} allowed; twice the same bits: {equal}"
        ),
        pass: wrong == 0 && worst <= bound && equal,
        rate,
    })
}

/// One matrix product. `positive`: operands in (0, 1), where truncation inside the unit would show as a bias.
fn check_matmul(d: &mut Device, id: IntrinsicId, (m, n, k): (usize, usize, usize), positive: bool) -> Result<Outcome> {
    let intrinsic = id.row().context("the intrinsic exists")?;
    let kernel = load(d, &matmul(id, n as i64, k as i64, Tile::of(intrinsic.ab)))?;
    let mut noise = Noise::new((m * 7 + n * 5 + k) as u64);
    let mut operand = |len: usize| -> Vec<f32> {
        let value = |noise: &mut Noise| if positive { noise.next().abs() } else { noise.next() };
        (0..len).map(|_| value(&mut noise)).collect()
    };
    let (mut a, mut b) = (operand(m * k), operand(k * n));
    let bf = intrinsic.ab == DType::BF16;
    let encode = |x: &[f32]| -> Vec<u8> {
        if bf { x.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect() } else { bytes_of(x) }
    };
    let (pa, pb) = (d.upload(&encode(&a))?, d.upload(&encode(&b))?);
    let (out, equal) = run_twice(d, &kernel, &[&pa, &pb], &[4 * m * n], &[m as i64])?;
    let c = floats(&out[0]);
    // The oracle multiplies what the unit multiplies: operands after rounding.
    for v in a.iter_mut().chain(b.iter_mut()) {
        *v = if bf { bf16::from_f32(*v).to_f32() } else { num::round_tf32(*v) };
    }
    let every = m * n * k <= 1 << 26;
    let samples = if every { m * n } else { 4096 };
    let mut worst = 0f64;
    for s in 0..samples {
        let at = if every { s } else { noise.below(m * n) };
        let (i, j) = (at / n, at % n);
        let (mut exact, mut scale) = (0f64, 0f64);
        for t in 0..k {
            let p = f64::from(a[i * k + t]) * f64::from(b[t * n + j]);
            exact += p;
            scale += p.abs();
        }
        let error = (f64::from(c[at]) - exact).abs() / (scale * f64::from(f32::EPSILON)).max(f64::MIN_POSITIVE);
        worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
    }
    // The sum runs over k / depth steps, and the unit truncates: at most one eps a step, beyond the contract's bound where k
    // is large and all products have one sign.
    let steps = (k as f64 / f64::from(intrinsic.k)).ceil();
    let contract = 2.0 * ((k.max(2) as f64).log2() + 8.0);
    let bound = if positive { contract.max(steps + 8.0) } else { contract };
    let mut rate = String::new();
    if m * n * k >= 1 << 30 {
        let pc = d.alloc(4 * m * n)?;
        let ms = d.time(20, || d.launch(&kernel, &[&pa, &pb, &pc], &[m as i64]))?;
        rate = format!("{:.3} ms, {:.0} GFLOP/s", ms, 2.0 * (m * n * k) as f64 / ms / 1e6);
    }
    let checked = if every { "all".to_string() } else { format!("{samples}") };
    Ok(Outcome {
        name: format!("{} {m}x{n}x{k}{}", intrinsic.name, if positive { " positive" } else { "" }),
        detail: format!(
            "worst error {worst:.2} eps of {bound:.0} allowed ({checked} elements, contract {contract:.0}); twice the same bits: {equal}"
        ),
        pass: worst <= bound && equal,
        rate,
    })
}

/// The remaining instructions, and the status of a failed check.
fn check_mixed(d: &mut Device) -> Result<Vec<Outcome>> {
    let k = load(d, &mixed::mixed())?;
    let mut noise = Noise::new(5);
    let x: Vec<f32> = (0..128).map(|_| noise.next()).collect();
    let px = d.upload(&bytes_of(&x))?;
    let want = mixed::expected(&x);
    let (out, equal) = run_twice(d, &k, &[&px], &[8 * want.len()], &[-1])?;
    let got = out[0].chunks_exact(8).map(|c| num::decode(DType::F64, c));
    let differing: Vec<i64> =
        got.zip(&want).enumerate().filter(|(_, (g, w))| !num::same(*g, Num::F(**w))).map(|(i, _)| i as i64).collect();
    let columns: Vec<i64> = differing.iter().map(|i| i % mixed::COLUMNS).collect();
    let target = d.alloc(8 * want.len())?;
    d.launch(&k, &[&px, &target], &[31])?;
    let status = d.finish()?;
    let after = d.finish()?;
    Ok(vec![
        Outcome {
            name: "mixed: gather, scatter, private, shuffles, ..".into(),
            detail: format!(
                "{} of {} differ (columns {columns:?}); twice the same bits: {equal}",
                differing.len(),
                want.len()
            ),
            pass: differing.is_empty() && equal,
            rate: String::new(),
        },
        Outcome {
            name: "mixed: a check that fails in one thread".into(),
            detail: format!("status {status}, then {after}; wanted {}, then 0", mixed::STATUS),
            pass: status == mixed::STATUS && after == 0,
            rate: String::new(),
        },
    ])
}

/// Every one-instruction kernel over all pairs of samples, one line for each type.
fn check_sweeps(d: &mut Device) -> Result<Vec<Outcome>> {
    let sweeps = sweep::all();
    let mut outcomes = vec![];
    for elem in num::TYPES.into_iter().chain([DType::Bool]) {
        let own: Vec<_> = sweeps.iter().filter(|s| s.elem == elem).collect();
        let kernels: Vec<&Kernel> = own.iter().map(|s| &s.kernel).collect();
        let loaded = d.load(&print_module(&kernels, CPU)?, &kernels)?;
        let values = num::samples(elem);
        let mut wrong = vec![];
        let mut compared = 0;
        let mut stable = true;
        for (s, k) in own.iter().zip(&loaded) {
            let pairs: Vec<(Num, Num)> = values.iter().flat_map(|x| values.iter().map(move |y| (*x, *y))).collect();
            let pairs: Vec<_> =
                pairs.into_iter().filter(|(x, y)| sweep::expected(s.what, elem, *x, *y).is_some()).collect();
            let column =
                |f: fn(&(Num, Num)) -> Num| -> Vec<u8> { pairs.iter().flat_map(|p| num::encode(elem, f(p))).collect() };
            let (x, y) = (d.upload(&column(|p| p.0))?, d.upload(&column(|p| p.1))?);
            let size = s.result.size();
            let (out, equal) = run_twice(d, k, &[&x, &y], &[size * pairs.len()], &[pairs.len() as i64])?;
            stable &= equal;
            for (bytes, (x, y)) in out[0].chunks_exact(size).zip(&pairs) {
                let got = num::decode(s.result, bytes);
                let Some(want) = sweep::expected(s.what, elem, *x, *y) else { continue };
                let loose = matches!(s.what, What::Unary(UnaryOp::Rsqrt)) && num::within_one_ulp(elem, want, got);
                compared += 1;
                if !num::same(got, want) && !loose {
                    wrong.push(format!("{:?}({x:?}, {y:?}) = {got:?}, not {want:?}", s.what));
                }
            }
        }
        for w in wrong.iter().take(12) {
            println!("    {elem}: {w}");
        }
        outcomes.push(Outcome {
            name: format!("{} operations and casts on {elem}", own.len()),
            detail: format!(
                "{} of {compared} results differ from the oracle's bits; twice the same bits: {stable}",
                wrong.len()
            ),
            pass: wrong.is_empty() && stable && elem.class() != Class::Other,
            rate: String::new(),
        });
    }
    Ok(outcomes)
}

/// All cases. `quick` leaves the large, timed ones out. A case that cannot run is a failed outcome with the reason.
pub fn all(d: &mut Device, quick: bool, mut report: impl FnMut(&Outcome)) -> bool {
    let mut pass = true;
    let mut take = |name: &str, result: Result<Vec<Outcome>>| {
        let list = result.unwrap_or_else(|e| {
            vec![Outcome { name: name.into(), detail: format!("{e:#}"), pass: false, rate: String::new() }]
        });
        for o in list {
            pass &= o.pass;
            report(&o);
        }
    };
    take("arithmetic sweep", check_sweeps(d));
    take("mixed instructions", check_mixed(d));
    let mut sizes = vec![1, 2, 3, 4, 5, 1023, 1024, 1025, 1_000_003];
    for (elem, fused) in [
        (DType::F16, false),
        (DType::F16, true),
        (DType::BF16, false),
        (DType::BF16, true),
        (DType::F64, false),
        (DType::F32, true),
    ] {
        take("pointwise", check_pointwise(d, elem, fused, &sizes));
    }
    if !quick {
        sizes.push(1 << 26);
    }
    take("pointwise", check_pointwise(d, DType::F32, false, &sizes));
    for (rows, cols, known) in [
        (1, 1, false),
        (7, 0, false),
        (13, 31, false),
        (12, 257, false),
        (64, 1000, true),
        (33, 1001, true),
        (100, 4096, true),
        (5, 100_003, false),
    ] {
        take("row reduction", check_reduce(d, rows, cols, known).map(|o| vec![o]));
    }
    if !quick {
        for known in [true, false] {
            take("row reduction", check_reduce(d, 16384, 8192, known).map(|o| vec![o]));
        }
    }
    let shapes = [
        (1, 1, 1),
        (16, 8, 8),
        (16, 8, 16),
        (17, 9, 5),
        (128, 128, 32),
        (127, 129, 67),
        (64, 250, 6),
        (300, 20, 4),
        (200, 130, 1000),
        (257, 384, 256),
    ];
    for i in 0..INTRINSICS.len() {
        let id = IntrinsicId(i as u8);
        if id.row().is_none_or(|r| r.threads != 32) {
            continue;
        }
        for shape in shapes {
            take("matrix product", check_matmul(d, id, shape, false).map(|o| vec![o]));
        }
        take("matrix product", check_matmul(d, id, (64, 64, 4096), true).map(|o| vec![o]));
        if !quick {
            for shape in [(1024, 1024, 1024), (4096, 4096, 4096), (4095, 4097, 4099)] {
                take("matrix product", check_matmul(d, id, shape, false).map(|o| vec![o]));
            }
        }
    }
    pass
}
