//! GFLOP/s of every micro-kernel that this CPU runs, as a share of the multiply-add peak measured in
//! the same run: `cargo run --release -p kiln-runtime --example ukernel_peak`.
//!
//! Each kernel multiplies `rows x k` by `k x columns`, with A and one panel of B in L1 and all of B in
//! L2, writing to a scratch tile, as compiled code does.

use kiln_rt::peak;
use kiln_rt::ukernel::{self, GemmKernel, GemmTile};
use std::time::Instant;

/// Best GFLOP/s of one kernel over several rounds, each of `tiles` row tiles by `panels` panels.
fn measure<T: Copy + From<f32>>(kernel: &GemmKernel<T>, k: usize, panels: usize) -> f64 {
    let (mr, nr) = (kernel.shape.mr, kernel.shape.nr);
    let tiles = 16;
    let value = |i: usize| T::from((i % 17) as f32 * 0.125 - 1.0);
    let a: Vec<T> = (0..tiles * mr * k).map(value).collect();
    let b: Vec<T> = (0..panels * k * nr).map(value).collect();
    let mut scratch = vec![T::from(0.0); mr * nr];
    let row_off: Vec<i64> = (0..mr).map(|r| (r * k) as i64).collect();
    let mut round = || {
        for panel in 0..panels {
            for tile in 0..tiles {
                let args = GemmTile {
                    a: a[tile * mr * k..].as_ptr(),
                    row_off: row_off.as_ptr(),
                    tap_off: std::ptr::null(),
                    b: b[panel * k * nr..].as_ptr(),
                    c: scratch.as_mut_ptr(),
                    k,
                    taps: 1,
                    rows: mr,
                    row_off_tap_stride: 0,
                    a_k_stride: 1,
                    b_k_stride: nr,
                    b_tap_stride: 0,
                    c_row_stride: nr,
                    accumulate: 0,
                };
                // SAFETY: the slices hold every element of the tile, and the table is this CPU's.
                unsafe { (kernel.run)(&args) };
            }
        }
    };
    let operations = 2.0 * (tiles * mr * panels * nr * k) as f64;
    let rounds = (2e7 / operations).ceil() as usize;
    (0..40)
        .map(|_| {
            let start = Instant::now();
            (0..rounds).for_each(|_| round());
            operations * rounds as f64 / start.elapsed().as_secs_f64() / 1e9
        })
        .fold(0.0, f64::max)
}

fn table<T: Copy + From<f32>>(kernels: &[GemmKernel<T>], name: &str, measured: impl Fn() -> f64) {
    for kernel in kernels {
        for (k, panels) in [(16, 4), (64, 4), (256, 1), (256, 4), (576, 4), (1024, 2)] {
            // The peak is taken before and after: the clock may move in between.
            let before = measured();
            let rate = measure(kernel, k, panels);
            let peak = before.max(measured());
            let share = 100.0 * rate / peak;
            println!("{name} {:>14}  k {k:>5}  {rate:7.1} GFLOP/s of {peak:6.1}  {share:5.1} %", kernel.shape.name);
        }
    }
}

fn main() {
    for kernels in ukernel::available() {
        table(kernels.gemm_f32(), "f32", || peak::fma_f32_gflops().gflops);
        table(kernels.gemm_f64(), "f64", || peak::fma_f64_gflops().gflops);
    }
}
