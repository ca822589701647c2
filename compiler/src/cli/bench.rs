//! `kiln bench`: products and convolutions alone, as a share of the machine's peak.
//!
//! The peak is that of f32 multiply-adds in registers on one core ([`kiln_rt::peak`]), measured right before each row: the
//! clock moves with load and neighbours, so the share says more than the rate. The code is what a model would get: a
//! function of one op goes through passes, plan and backend. Without sharing cores, the share of `N` threads is that of
//! `N` peaks.

use anyhow::{Context, Result, ensure};
use kiln_ir::lower::WindowDim;
use kiln_ir::ops::contract::Contract;
use kiln_ir::ops::window::Conv;
use kiln_ir::{Builder, DType, Dim, Module, ParamKind, Tensor, TensorType, Value};
use kiln_rt::peak;

use super::model::CodeArgs;
use super::run::bench;
use crate::jit::Backend;
use crate::pipeline::{self, Times};

/// Arguments of `kiln bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Products of an M x K and a K x N matrix of f32
    Gemm {
        /// M, N and K of each product; without any, squares from 256 to 2048
        #[arg(value_name = "M N K")]
        sizes: Vec<i64>,
        #[command(flatten)]
        how: How,
    },
    /// Convolutions of f32, padded so that a stride of 1 keeps the size
    Conv {
        /// Batch, height, width, channels, kernel size, stride and output channels of each convolution; without any, some
        /// of ResNet-50's
        #[arg(value_name = "B H W C KERNEL STRIDE O")]
        sizes: Vec<i64>,
        #[command(flatten)]
        how: How,
    },
}

#[derive(clap::Args)]
struct How {
    #[command(flatten)]
    code: CodeArgs,
    /// The right operand (the filter): a constant, which is packed when it is compiled, or an input
    #[arg(long, value_enum, default_value = "constant")]
    b: RightOperand,
    /// A number of runs, or a time such as 2.5s, for each row; the median counts
    #[arg(long, value_name = "RUNS|TIME", default_value = "1s")]
    runs: String,
    /// Threads that run the kernels
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Where the right operand comes from.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum RightOperand {
    /// Known when it is compiled.
    Constant,
    /// An input of the function.
    Runtime,
}

/// A row of the table.
#[derive(serde::Serialize)]
struct Row {
    what: &'static str,
    size: String,
    backend: Backend,
    threads: usize,
    packed: bool,
    gflops: f64,
    peak_gflops: f64,
    peak_isa: &'static str,
    /// `gflops` / (`peak_gflops` * threads).
    share: f64,
    median_ms: f64,
    runs: usize,
    schedule: String,
}

/// Side lengths of the products that are measured without arguments.
const SQUARES: [i64; 6] = [256, 384, 512, 768, 1024, 2048];

/// Convolutions of ResNet-50: batch, height, width, channels, kernel, stride, output channels.
const CONVOLUTIONS: [[i64; 7]; 8] = [
    [1, 224, 224, 3, 7, 2, 64],
    [1, 56, 56, 64, 1, 1, 256],
    [1, 56, 56, 64, 3, 1, 64],
    [1, 28, 28, 128, 3, 1, 128],
    [1, 28, 28, 512, 1, 2, 1024],
    [1, 14, 14, 256, 3, 1, 256],
    [1, 7, 7, 512, 3, 1, 512],
    [1, 7, 7, 2048, 1, 1, 512],
];

/// The largest extent: operands stay far below the address space.
const MAX_EXTENT: i64 = 1 << 16;

pub fn main(args: &Args) -> Result<()> {
    let (how, cases) = match &args.what {
        What::Gemm { sizes, how } => (how, gemms(sizes, how.b)?),
        What::Conv { sizes, how } => (how, convolutions(sizes, how.b)?),
    };
    ensure!(how.threads > 0, "--threads takes at least 1");
    let mut rows = vec![];
    for case in cases {
        let row = measure(case, how)?;
        if !how.json {
            println!(
                "{} {}: {:.1} GFLOP/s, {:.1} % of {:.1} ({}), {:.3} ms median of {}; {}",
                row.what,
                row.size,
                row.gflops,
                row.share * 100.0,
                row.peak_gflops * row.threads as f64,
                row.peak_isa,
                row.median_ms,
                row.runs,
                row.schedule
            );
        }
        rows.push(row);
    }
    if how.json {
        println!("{}", serde_json::to_string(&rows).context("printing the rows")?);
    }
    Ok(())
}

/// A function of one op with arrays for its inputs.
struct Case {
    what: &'static str,
    size: String,
    packed: bool,
    module: Module,
    inputs: Vec<Tensor>,
}

fn gemms(sizes: &[i64], b: RightOperand) -> Result<Vec<Case>> {
    ensure!(sizes.len() % 3 == 0, "{} numbers are no list of M N K", sizes.len());
    let mut all: Vec<[i64; 3]> = sizes.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect();
    if all.is_empty() {
        all = SQUARES.map(|n| [n; 3]).to_vec();
    }
    all.into_iter().map(|[m, n, k]| case("gemm", &[m, n, k], &[m, k], &[k, n], b, product)).collect()
}

fn product(f: &mut Builder, x: Value, w: Value) -> Result<Value> {
    f.push(Contract { lhs: b"mk".to_vec(), rhs: b"kn".to_vec(), out: b"mn".to_vec() }, &[x, w])
}

fn convolutions(sizes: &[i64], b: RightOperand) -> Result<Vec<Case>> {
    ensure!(sizes.len() % 7 == 0, "{} numbers are no list of B H W C KERNEL STRIDE O", sizes.len());
    let mut all: Vec<[i64; 7]> = vec![];
    for c in sizes.chunks_exact(7) {
        all.push(c.try_into().context("seven numbers")?);
    }
    if all.is_empty() {
        all = CONVOLUTIONS.to_vec();
    }
    let one = |[n, h, w, c, kernel, stride, o]: [i64; 7]| {
        let (low, high) = ((kernel - 1) / 2, kernel / 2);
        let dim = WindowDim {
            size: kernel,
            stride,
            dilation: 1,
            base_dilation: 1,
            pad_low: Dim::from(low),
            pad_high: Dim::from(high),
        };
        let conv = Conv { groups: 1, dims: vec![dim.clone(), dim] };
        case("conv", &[n, h, w, c, kernel, stride, o], &[n, h, w, c], &[kernel, kernel, c, o], b, |f, x, w| {
            f.push(conv, &[x, w])
        })
    };
    all.into_iter().map(one).collect()
}

fn case(
    what: &'static str,
    size: &[i64],
    left: &[i64],
    right: &[i64],
    b: RightOperand,
    op: impl FnOnce(&mut Builder, Value, Value) -> Result<Value>,
) -> Result<Case> {
    ensure!(size.iter().all(|n| (1..=MAX_EXTENT).contains(n)), "{what} {size:?}: sizes are from 1 to {MAX_EXTENT}");
    let mut f = Builder::new("bench");
    let (x, w) = (values(left)?, values(right)?);
    let param = |f: &mut Builder, name: &str, t: &Tensor| {
        f.param(name, ParamKind::Input, TensorType::fixed(DType::F32, t.shape()))
    };
    let left = param(&mut f, "a", &x);
    let (right, inputs) = match b {
        RightOperand::Constant => (f.constant(w)?, vec![x]),
        RightOperand::Runtime => (param(&mut f, "b", &w), vec![x, w]),
    };
    let y = op(&mut f, left, right)?;
    f.func.add_result("y", ParamKind::Input, y);
    let module = Module { funcs: vec![f.func], entries: vec![0], ..Module::default() };
    let words: Vec<String> = size.iter().map(i64::to_string).collect();
    Ok(Case { what, size: words.join(" "), packed: b == RightOperand::Constant, module, inputs })
}

/// Values between -1 and 1 that do not repeat soon: no pattern that a machine could take a short cut through.
fn values(shape: &[i64]) -> Result<Tensor> {
    let shape: Vec<usize> = shape.iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>()?;
    let count =
        kiln_ir::tensor::element_count(&shape).filter(|n| *n < 1 << 32).context("the operands are too large")?;
    let mut x = 0x9e37_79b9u32;
    let elements: Vec<f32> = (0..count)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Ok(Tensor::of(&shape, &elements))
}

fn measure(case: Case, how: &How) -> Result<Row> {
    let backend = how.code.backend()?;
    let at = || format!("{} {}", case.what, case.size);
    let passes = how.code.passes();
    let mut executor =
        pipeline::build(case.module, backend, &passes, how.threads, &mut Times::default()).with_context(at)?;
    let calls = &executor.whole().context("the function is one segment")?.report().calls;
    // Sizes are numbers here; the kernel with the most operations is the one that the row is about.
    let flops: i64 = calls.iter().filter_map(|c| c.flops.as_const()).sum();
    let main = calls.iter().max_by_key(|c| c.flops.as_const()).context("the function has no kernel")?;
    let schedule = main.schedule.clone();
    let peak = peak::fma_f32_gflops();
    let times = executor.repeat(&case.inputs, |once| bench(&how.runs, once)).with_context(at)?;
    let gflops = flops as f64 / times.median_ms.max(1e-9) / 1e6;
    Ok(Row {
        what: case.what,
        size: case.size,
        backend,
        threads: how.threads,
        packed: case.packed,
        gflops,
        peak_gflops: peak.gflops,
        peak_isa: peak.isa.name(),
        share: gflops / (peak.gflops * how.threads as f64),
        median_ms: times.median_ms,
        runs: times.runs,
        schedule,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_made_of_whole_lists_of_sizes() {
        assert_eq!(gemms(&[], RightOperand::Constant).unwrap().len(), SQUARES.len());
        let one = gemms(&[3, 4, 5], RightOperand::Runtime).unwrap();
        assert_eq!((one.len(), one[0].inputs.len()), (1, 2));
        assert_eq!((one[0].inputs[0].shape(), one[0].inputs[1].shape()), (&[3usize, 5][..], &[5usize, 4][..]));
        assert!(gemms(&[3, 4], RightOperand::Constant).is_err());
        assert!(gemms(&[3, 0, 4], RightOperand::Constant).is_err());
        assert!(convolutions(&[1, 2, 3], RightOperand::Constant).is_err());
    }

    #[test]
    fn a_padded_convolution_of_stride_1_keeps_the_size() {
        for kernel in 1..5 {
            let c = convolutions(&[1, 9, 7, 2, kernel, 1, 4], RightOperand::Constant).unwrap();
            let f = &c[0].module.funcs[0];
            assert_eq!(f.ty(f.results[0].value).static_shape(), Some(vec![1, 9, 7, 4]));
        }
    }
}
