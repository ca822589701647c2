//! Runs machine-level kernels that the PTX printer printed on the first GPU and compares them with oracles on the CPU.
//!
//! `gpu_check [--quick]`: without the large, timed cases.
//! Exit status 0 when every case passes, 1 when one fails, 2 when there is no GPU.

#[path = "../tests/all/gpu_kernels/mod.rs"]
mod gpu_kernels;

use std::process::ExitCode;
use std::time::Instant;

use gpu_kernels::check::{self, Outcome};
use kiln_codegen::ptx::cuda::Device;

fn main() -> ExitCode {
    let quick = std::env::args().any(|a| a == "--quick");
    let mut device = match Device::open(0) {
        Ok(d) => d,
        Err(e) => {
            eprintln!("gpu_check: {e:#}");
            return ExitCode::from(2);
        }
    };
    match (device.description(), device.driver_version()) {
        (Ok((name, (major, minor))), Ok(v)) => {
            println!(
                "GPU 0: {name}, compute capability {major}.{minor}; the driver speaks CUDA {}.{}",
                v / 1000,
                v % 1000 / 10
            );
        }
        (Err(e), _) | (_, Err(e)) => println!("GPU 0 does not describe itself: {e:#}"),
    }
    let start = Instant::now();
    let (mut cases, mut failed) = (0, 0);
    let pass = check::all(&mut device, quick, |o: &Outcome| {
        cases += 1;
        failed += u32::from(!o.pass);
        let verdict = if o.pass { "PASS" } else { "FAIL" };
        println!("{verdict} {:<44} {:<26} {}", o.name, o.rate, o.detail);
    });
    println!(
        "{}: {failed} of {cases} cases failed, {:.1} s",
        if pass { "PASS" } else { "FAIL" },
        start.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(!pass))
}
