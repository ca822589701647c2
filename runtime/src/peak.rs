//! The multiply-add peak of one core, measured: what a kernel's GFLOP/s are a share of.
//!
//! The measurement is a register-only loop of independent multiply-adds in the widest vectors that
//! this CPU has. Clock speed moves with load and neighbours, so compare only numbers taken in the same
//! run, close together.

use crate::ukernel::{self, Isa};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A measured peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// 10^9 floating-point operations a second; a multiply-add counts as two.
    pub gflops: f64,
    /// The instructions used.
    pub isa: Isa,
}

/// Each sample runs at least this long, so that the clock's resolution does not matter.
const SAMPLE: Duration = Duration::from_millis(1);
/// Samples taken; the fastest counts, the others were disturbed.
const SAMPLES: usize = 24;
/// Rounds of the loop for the first try at [`SAMPLE`].
const FIRST_STEPS: usize = 10_000;

/// The f32 multiply-add peak of the core that this thread runs on; takes about 50 ms.
pub fn fma_f32_gflops() -> Peak {
    let isa = ukernel::select().isa;
    // Factor and term of every chain: converges to 2, so no overflow and no subnormals.
    let x = black_box(std::array::from_fn::<f32, 32, _>(|i| if i < LANES_F32[isa as usize] { 0.5 } else { 1.0 }));
    let mut out = [0f32; 32];
    let gflops = best(|steps| {
        let (x, out) = (x.as_ptr(), out.as_mut_ptr());
        // SAFETY: `select` returned this instruction set, so the CPU has it; the arrays hold two
        // vectors of the widest.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => ukernel::avx512_peak_f32(steps, x, out),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => ukernel::avx2_peak_f32(steps, x, out),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => ukernel::neon_peak_f32(steps, x, out),
                _ => ukernel::portable_peak_f32(steps, x, out),
            }
        }
    });
    black_box(out);
    Peak { gflops, isa }
}

/// The f64 multiply-add peak of the core that this thread runs on; takes about 50 ms.
pub fn fma_f64_gflops() -> Peak {
    let isa = ukernel::select().isa;
    let x = black_box(std::array::from_fn::<f64, 16, _>(|i| if i < LANES_F32[isa as usize] / 2 { 0.5 } else { 1.0 }));
    let mut out = [0f64; 16];
    let gflops = best(|steps| {
        let (x, out) = (x.as_ptr(), out.as_mut_ptr());
        // SAFETY: as in `fma_f32_gflops`.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => ukernel::avx512_peak_f64(steps, x, out),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => ukernel::avx2_peak_f64(steps, x, out),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => ukernel::neon_peak_f64(steps, x, out),
                _ => ukernel::portable_peak_f64(steps, x, out),
            }
        }
    });
    black_box(out);
    Peak { gflops, isa }
}

/// f32 lanes by [`Isa`]: portable, NEON, AVX2, AVX-512.
const LANES_F32: [usize; 4] = [4, 4, 8, 16];

/// The best rate over [`SAMPLES`] runs; `run(steps)` returns the operations it did.
fn best(mut run: impl FnMut(usize) -> f64) -> f64 {
    let mut timed = |steps| {
        let start = Instant::now();
        let operations = run(steps);
        (operations, start.elapsed())
    };
    let mut steps = FIRST_STEPS;
    while timed(steps).1 < SAMPLE {
        steps *= 2;
    }
    let rate = |(operations, time): (f64, Duration)| operations / time.as_secs_f64() / 1e9;
    (0..SAMPLES).map(|_| rate(timed(steps))).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_peak_is_a_plausible_rate() {
        for peak in [super::fma_f32_gflops(), super::fma_f64_gflops()] {
            // From an emulated scalar core to twice the widest one at 6 GHz.
            assert!((0.01..1000.0).contains(&peak.gflops), "{peak:?}");
        }
    }
}
