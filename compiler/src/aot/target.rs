//! The machine that an artifact is for: tfcompile's `--target_triple`, `--target_cpu` and `--target_features`.
//!
//! Without any of them it is the machine that compiles, with every instruction that it has. Schedules need to know
//! vectors and caches, so only CPUs of the table below have names; every other one is a level and features. An unknown
//! name is an error: code for a lesser machine in its place would be slow without a word.

use anyhow::{Result, bail};
use kiln_codegen::target::{Arch, Target};

use crate::jit::Backend;

/// Instruction sets that decide the shape of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// SSE2 to SSE4.2, or AVX alone: 16-byte vectors, no fused multiply-add.
    Sse,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// x86-64 CPUs by LLVM's names, a row a level.
const X86: &[(Level, &str)] = &[
    (Level::Sse, "x86-64 x86-64-v2 nehalem westmere sandybridge ivybridge btver2 bdver1 bdver2"),
    (
        Level::Avx2,
        "x86-64-v3 haswell broadwell skylake alderlake raptorlake meteorlake arrowlake arrowlake-s lunarlake gracemont \
         sierraforest znver1 znver2 znver3",
    ),
    (
        Level::Avx512,
        "x86-64-v4 skylake-avx512 cascadelake cooperlake icelake-client icelake-server tigerlake rocketlake sapphirerapids \
         emeraldrapids graniterapids graniterapids-d znver4 znver5",
    ),
];

/// AArch64 CPUs by LLVM's names. All have 16-byte vectors and fused multiply-add.
const ARM: &str = "generic cortex-a53 cortex-a55 cortex-a57 cortex-a72 cortex-a73 cortex-a75 cortex-a76 cortex-a77 cortex-a78 \
     cortex-a510 cortex-a710 cortex-a715 cortex-x1 cortex-x2 neoverse-n1 neoverse-n2 neoverse-v1 neoverse-v2 ampere1 \
     apple-m1 apple-m2 apple-m3";

/// The words of the command line.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// `x86_64-unknown-linux-gnu`, ...
    pub triple: Option<String>,
    /// LLVM's name of a CPU, or `native`.
    pub cpu: Option<String>,
    /// `+avx2,-fma`, ...
    pub features: Option<String>,
}

/// The target for the words, for code that stands alone.
///
/// # Errors
/// An architecture or CPU that the table does not know, a malformed feature, `native` for another architecture.
pub fn resolve(backend: Backend, words: &Words) -> Result<Target> {
    let host = Target { tiles: vec![], ..backend.host_target()? };
    let triple = words.triple.clone().unwrap_or_else(|| host.triple.clone());
    let arch = match triple.split('-').next().unwrap_or_default() {
        "x86_64" | "amd64" => Arch::X86_64,
        "aarch64" | "arm64" => Arch::Aarch64,
        other => bail!(
            "--target-triple `{triple}`: there is no code generator for `{other}`; Kiln compiles for x86_64 and aarch64"
        ),
    };
    let native = match words.cpu.as_deref() {
        None => words.triple.is_none() || triple == host.triple,
        Some(cpu) => cpu == "native" || cpu == host.cpu,
    };
    let mut target = if native {
        if arch != host.arch {
            bail!("--target-cpu native is for this machine, `{triple}` is another architecture: name the CPU");
        }
        Target { triple, ..host }
    } else {
        named(arch, triple, words.cpu.as_deref(), backend)?
    };
    if let Some(features) = &words.features {
        apply(&mut target, features)?;
    }
    if backend == Backend::Cranelift {
        // Its vectors end at 128 bits on x86-64.
        target.vector_bytes = 16;
        target.full_vectors_only = true;
    }
    Ok(target)
}

/// A machine by its CPU's name; without one the least that the backend can compile for.
fn named(arch: Arch, triple: String, cpu: Option<&str>, backend: Backend) -> Result<Target> {
    let least = match (arch, backend) {
        (Arch::Aarch64, _) => "generic",
        (_, Backend::Cranelift) => "x86-64-v2",
        _ => "x86-64",
    };
    let cpu = cpu.unwrap_or(least);
    let level = match arch {
        Arch::Aarch64 => ARM.split(' ').any(|c| c == cpu).then_some(Level::Sse),
        _ => X86.iter().find(|row| row.1.split(' ').any(|c| c == cpu)).map(|row| row.0),
    };
    let Some(level) = level else {
        let known: Vec<&str> = if arch == Arch::Aarch64 { vec![ARM] } else { X86.iter().map(|r| r.1).collect() };
        bail!(
            "--target-cpu `{cpu}` is not known for `{triple}`: name a level and --target-features, or one of {}",
            known.join(" ")
        );
    };
    let mut target = Target {
        arch,
        triple,
        cpu: cpu.to_string(),
        features: String::new(),
        vector_bytes: 16,
        full_vectors_only: false,
        vector_registers: if arch == Arch::Aarch64 { 32 } else { 16 },
        fma: arch == Arch::Aarch64,
        l1: 32 << 10,
        l2: 512 << 10,
        tiles: vec![],
    };
    set_level(&mut target, level);
    Ok(target)
}

fn set_level(target: &mut Target, level: Level) {
    if target.arch != Arch::X86_64 {
        return;
    }
    (target.vector_bytes, target.vector_registers, target.fma) = match level {
        Level::Sse => (16, 16, target.fma),
        Level::Avx2 => (32, 16, true),
        Level::Avx512 => (64, 32, true),
    };
}

/// Adds features, and what they change for schedules.
fn apply(target: &mut Target, features: &str) -> Result<()> {
    for f in features.split(',').map(str::trim).filter(|f| !f.is_empty()) {
        let (on, name) = match f.split_at_checked(1) {
            Some(("+", name)) if !name.is_empty() => (true, name),
            Some(("-", name)) if !name.is_empty() => (false, name),
            _ => bail!("--target-features: `{f}` must be a name with + or - before it"),
        };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
            bail!("--target-features: `{name}` is no name of a feature");
        }
        if !target.features.is_empty() {
            target.features.push(',');
        }
        target.features.push_str(f);
        if target.arch == Arch::X86_64 {
            match (name, on) {
                ("avx512vl" | "avx512bw" | "avx512dq" | "avx512f", false) if target.vector_bytes == 64 => {
                    (target.vector_bytes, target.vector_registers) = (32, 16);
                }
                ("avx2", true) => target.vector_bytes = target.vector_bytes.max(32),
                ("avx2" | "avx", false) => (target.vector_bytes, target.vector_registers) = (16, 16),
                ("fma", on) => target.fma = on,
                _ => {}
            }
        }
    }
    // All four make the registers and operations that schedules count on.
    let has = |f: &str| target.features.split(',').any(|x| x.strip_prefix('+') == Some(f));
    if target.arch == Arch::X86_64
        && ["avx512f", "avx512bw", "avx512dq", "avx512vl"].iter().all(|f| has(f))
        && target.fma
    {
        let lost = ["-avx512f", "-avx512bw", "-avx512dq", "-avx512vl", "-avx2", "-avx"];
        if !target.features.split(',').any(|f| lost.contains(&f)) {
            set_level(target, Level::Avx512);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(triple: &str, cpu: &str, features: &str) -> Words {
        let some = |s: &str| Some(s.to_string()).filter(|s| !s.is_empty());
        Words { triple: some(triple), cpu: some(cpu), features: some(features) }
    }

    const LINUX: &str = "x86_64-unknown-linux-gnu";

    #[test]
    fn names_and_features_set_vectors() -> Result<()> {
        for (cpu, features, bytes, fma) in [
            ("x86-64-v2", "", 16, false),
            ("x86-64-v3", "", 32, true),
            ("znver4", "", 64, true),
            ("znver4", "-avx512f", 32, true),
            ("x86-64-v3", "-fma", 32, false),
            ("x86-64-v2", "+avx2,+fma", 32, true),
            ("x86-64-v3", "+avx512f,+avx512bw,+avx512dq,+avx512vl", 64, true),
            ("x86-64-v3", "+avx512f", 32, true),
        ] {
            let mut t = named(Arch::X86_64, LINUX.into(), Some(cpu), Backend::Llvm)?;
            apply(&mut t, features)?;
            assert_eq!((t.vector_bytes, t.fma), (bytes, fma), "{cpu} {features}");
        }
        let arm = named(Arch::Aarch64, "aarch64-unknown-linux-gnu".into(), None, Backend::Llvm)?;
        assert_eq!((arm.vector_bytes, arm.fma, arm.vector_registers, arm.cpu.as_str()), (16, true, 32, "generic"));
        Ok(())
    }

    #[cfg(feature = "cranelift")]
    #[test]
    fn words_that_mean_nothing_are_refused() {
        for (w, part) in [
            (words("riscv64-unknown-linux-gnu", "", ""), "riscv64"),
            (words(LINUX, "i486dx", ""), "i486dx"),
            (words(LINUX, "x86-64-v3", "avx2"), "avx2"),
            (words(LINUX, "x86-64-v3", "+a\"b"), "a\"b"),
        ] {
            let e = resolve(Backend::Cranelift, &w).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(e.contains(part), "{w:?}: {e}");
        }
    }

    #[cfg(feature = "cranelift")]
    #[test]
    fn code_that_stands_alone_calls_no_micro_kernels() -> Result<()> {
        let t = resolve(Backend::Cranelift, &Words::default())?;
        assert!(t.tiles.is_empty() && t.full_vectors_only);
        Ok(())
    }
}
