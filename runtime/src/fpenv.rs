//! The floating-point control state (rounding, flush-to-zero) as a value that travels with a job.
//!
//! Threads start with the default state, but the thread that runs a model may have changed its own:
//! audio hosts flush subnormals, interval libraries change the rounding. Without this module the bits
//! of a result would then depend on which thread computed them.

/// The control part of MXCSR (x86-64) or FPCR (AArch64); empty elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FpEnv(u64);

/// DAZ, exception masks, rounding control and FTZ: MXCSR without its sticky flags (bits 0 to 5).
#[cfg(target_arch = "x86_64")]
const CONTROL: u64 = 0xFFC0;

impl FpEnv {
    /// The calling thread's state.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn current() -> FpEnv {
        let mut mxcsr = 0u32;
        // SAFETY: SSE is part of x86-64; the instruction only writes the four bytes of `mxcsr`.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags)) }
        FpEnv(u64::from(mxcsr) & CONTROL)
    }

    /// Makes this the calling thread's state.
    ///
    /// # Safety
    /// Until the default is restored the thread must only run code that accepts this state: the
    /// same code that its owner already runs under it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) unsafe fn install(self) {
        let mxcsr = self.0 as u32;
        // SAFETY: the value came from `current`, so no reserved bit is set and the load cannot fault.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack, preserves_flags)) }
    }

    /// The calling thread's state.
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn current() -> FpEnv {
        let fpcr: u64;
        // SAFETY: FPCR can be read at any privilege level; nothing else is touched.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) }
        FpEnv(fpcr)
    }

    /// Makes this the calling thread's state.
    ///
    /// # Safety
    /// Until the default is restored the thread must only run code that accepts this state: the
    /// same code that its owner already runs under it.
    #[cfg(target_arch = "aarch64")]
    pub(crate) unsafe fn install(self) {
        // SAFETY: the value came from `current`.
        unsafe { std::arch::asm!("msr fpcr, {}", in(reg) self.0, options(nomem, nostack, preserves_flags)) }
    }

    /// There is no portable access on this architecture: threads keep the default state.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) fn current() -> FpEnv {
        FpEnv(0)
    }

    /// Does nothing on this architecture.
    ///
    /// # Safety
    /// None needed here; the signature is the other architectures'.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) unsafe fn install(self) {}
}
