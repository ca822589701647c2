//! The kernels of `gpu_kernels` on a GPU, where there is one; `cargo test -p kiln-codegen --features cuda --test all gpu`.

use crate::gpu_kernels::check;
use kiln_codegen::ptx::cuda::Device;

#[test]
fn kernels_agree_with_the_oracles() {
    let mut device = match Device::open(0) {
        Ok(d) => d,
        Err(e) => {
            println!("skipped: {e:#}");
            return;
        }
    };
    let mut failed = vec![];
    check::all(&mut device, true, |o| {
        if !o.pass {
            failed.push(format!("{}: {}", o.name, o.detail));
        }
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
