//! From Kiln's description of a target to a Cranelift instruction set.
//!
//! Feature names are LLVM's, as users write them (`+avx2,-fma`); a name that Cranelift has no setting for is refused
//! only if it is switched on and Cranelift would need it, so that one target description serves both backends.

use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::Triple;

use super::OptLevel;
use super::value::Facts;
use crate::target::{Arch, Target};

/// LLVM's feature names and Cranelift's settings, x86-64. Features that are missing here change no code that Cranelift
/// makes.
const X86_FEATURES: &[(&str, &str)] = &[
    ("sse3", "has_sse3"),
    ("ssse3", "has_ssse3"),
    ("sse4.1", "has_sse41"),
    ("sse4.2", "has_sse42"),
    ("popcnt", "has_popcnt"),
    ("avx", "has_avx"),
    ("avx2", "has_avx2"),
    ("fma", "has_fma"),
    ("bmi", "has_bmi1"),
    ("bmi2", "has_bmi2"),
    ("lzcnt", "has_lzcnt"),
    ("cx16", "has_cmpxchg16b"),
    ("avxvnni", "has_avx_vnni"),
    ("avx512f", "has_avx512f"),
    ("avx512dq", "has_avx512dq"),
    ("avx512vl", "has_avx512vl"),
    ("avx512vbmi", "has_avx512vbmi"),
    ("avx512bitalg", "has_avx512bitalg"),
    ("avx512vnni", "has_avx512vnni"),
];

/// The same for AArch64.
const ARM_FEATURES: &[(&str, &str)] =
    &[("lse", "has_lse"), ("fullfp16", "has_fp16"), ("dotprod", "has_dotprod"), ("i8mm", "has_i8mm")];

/// What a feature contains, from LLVM's definitions: `+avx2` alone switches on what it stands on.
const X86_IMPLIED: &[(&str, &[&str])] = &[
    ("avx512f", &["avx2", "fma"]),
    ("avx2", &["avx"]),
    ("fma", &["avx"]),
    ("avx", &["sse4.2"]),
    ("sse4.2", &["sse4.1"]),
    ("sse4.1", &["ssse3"]),
    ("ssse3", &["sse3"]),
];

/// The CPU name that means this machine.
const NATIVE: &str = "native";

/// The instruction set for a target. `pic` is for objects; code in this process is linked to absolute addresses.
pub(super) fn instruction_set(target: &Target, opt: OptLevel, pic: bool) -> Result<OwnedTargetIsa> {
    let triple = Triple::from_str(&target.triple).map_err(|e| anyhow!("target triple `{}`: {e}", target.triple))?;
    let mut builder = isa::lookup(triple.clone())
        .map_err(|e| anyhow!("target `{}`: {e}; Cranelift prints x86-64 and AArch64", target.triple))?;
    let features = match target.arch {
        Arch::X86_64 => X86_FEATURES,
        Arch::Aarch64 => ARM_FEATURES,
        Arch::Ptx => bail!("Cranelift cannot print PTX"),
    };
    if target.cpu == NATIVE {
        ensure!(
            triple.architecture == Triple::host().architecture,
            "cpu `{NATIVE}` is for this machine, `{}` is another architecture: name the CPU",
            target.triple
        );
        cranelift_native::infer_native_flags(&mut builder).map_err(|e| anyhow!("this machine: {e}"))?;
    } else if !matches!(target.cpu.as_str(), "" | "generic") {
        // AArch64 has no presets: its feature list alone says what there is.
        let known = builder.enable(&target.cpu);
        if target.arch == Arch::X86_64 {
            known.map_err(|_| anyhow!("Cranelift does not know the CPU `{}`: use `x86-64-v2`, `x86-64-v3` or a CPU of that class, and features", target.cpu))?;
        }
    }
    for feature in target.features.split(',').filter(|f| !f.is_empty()) {
        let (on, name) = match feature.split_at_checked(1) {
            Some(("+", name)) => (true, name),
            Some(("-", name)) => (false, name),
            _ => bail!("target feature `{feature}` must start with + or -"),
        };
        for name in with_implied(name, on) {
            if let Some((_, setting)) = features.iter().find(|f| f.0 == name) {
                builder
                    .set(setting, if on { "true" } else { "false" })
                    .map_err(|e| anyhow!("target feature `{name}`: {e}"))?;
            }
        }
    }

    let mut flags = settings::builder();
    let mut set =
        |name: &str, value: &str| flags.set(name, value).map_err(|e| anyhow!("Cranelift setting {name}={value}: {e}"));
    set(
        "opt_level",
        match opt {
            OptLevel::None => "none",
            OptLevel::Speed | OptLevel::Auto => "speed",
        },
    )?;
    set("is_pic", if pic { "true" } else { "false" })?;
    // The verifier is for the developers of this printer.
    set("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" })?;
    // Frames larger than a page touch each page in order, without a call of a probe function.
    set("enable_probestack", "true")?;
    set("probestack_strategy", "inline")?;
    let isa = builder.finish(settings::Flags::new(flags)).map_err(|e| anyhow!("target `{}`: {e}", target.triple))?;

    let has = |name: &str| isa.isa_flags().iter().any(|f| f.name == name && f.as_bool() == Some(true));
    if target.arch == Arch::X86_64 && !(has("has_ssse3") && has("has_sse41")) {
        bail!(
            "the Cranelift backend needs SSE4.1 (any x86-64 since 2008): name a CPU such as `x86-64-v2`, or use the LLVM backend"
        );
    }
    ensure!(isa.pointer_bytes() == 8, "target `{}` does not have 64-bit pointers", target.triple);
    Ok(isa)
}

/// The feature and, where it is switched on, everything that it contains.
fn with_implied(name: &str, on: bool) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    let mut next = 0;
    while on && next < all.len() {
        if let Some((_, more)) = X86_IMPLIED.iter().find(|i| i.0 == all[next]) {
            all.extend(more.iter().map(|m| (*m).to_owned()));
        }
        next += 1;
    }
    all
}

/// What the printer needs to know of an instruction set.
pub(super) fn facts(isa: &OwnedTargetIsa, target: &Target) -> Facts {
    let has = |name: &str| isa.isa_flags().iter().any(|f| f.name == name && f.as_bool() == Some(true));
    let fma = match target.arch {
        // The encodings that Cranelift uses are VEX ones.
        Arch::X86_64 => has("has_fma") && has("has_avx"),
        _ => true,
    };
    Facts { fma, frontend: isa.frontend_config() }
}

/// This machine as the instant JIT tier sees it: 128-bit vectors, micro-kernels for hot contractions.
///
/// # Errors
/// If Cranelift has no backend for this machine's architecture.
pub fn host_target() -> Result<Target> {
    let triple = Triple::host();
    let arch = match triple.architecture {
        target_lexicon::Architecture::X86_64 => Arch::X86_64,
        target_lexicon::Architecture::Aarch64(_) => Arch::Aarch64,
        other => bail!("Cranelift has no backend for {other}"),
    };
    let mut target = Target {
        arch,
        triple: triple.to_string(),
        cpu: NATIVE.to_owned(),
        features: String::new(),
        vector_bytes: super::value::REGISTER as u32,
        full_vectors_only: true,
        vector_registers: if arch == Arch::X86_64 { 16 } else { 32 },
        fma: false,
        l1: cache_bytes(1).unwrap_or(32 << 10),
        l2: cache_bytes(2).unwrap_or(1 << 20),
        tiles: super::host_tiles().iter().map(|t| (t.rows, t.lanes)).collect(),
    };
    let isa = instruction_set(&target, OptLevel::None, false).context("this machine")?;
    target.fma = facts(&isa, &target).fma;
    Ok(target)
}

/// Size of this machine's data cache of a level, where the system tells it.
fn cache_bytes(level: u32) -> Option<u64> {
    let read = |index: u32, file: &str| {
        std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}")).ok()
    };
    (0..8).find_map(|i| {
        let (l, kind) = (read(i, "level")?, read(i, "type")?);
        if l.trim() != level.to_string() || kind.trim() == "Instruction" {
            return None;
        }
        let size = read(i, "size")?;
        let size = size.trim();
        let (digits, unit) = match size.strip_suffix('K') {
            Some(d) => (d, 1 << 10),
            None => (size.strip_suffix('M').unwrap_or(size), if size.ends_with('M') { 1 << 20 } else { 1 }),
        };
        digits.parse::<u64>().ok()?.checked_mul(unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(cpu: &str, features: &str) -> Target {
        Target {
            arch: Arch::X86_64,
            triple: "x86_64-unknown-linux-gnu".to_owned(),
            cpu: cpu.to_owned(),
            features: features.to_owned(),
            vector_bytes: 16,
            full_vectors_only: true,
            vector_registers: 16,
            fma: true,
            l1: 32 << 10,
            l2: 1 << 20,
            tiles: vec![],
        }
    }

    #[test]
    fn features_bring_what_they_stand_on() -> Result<()> {
        let target = generic("x86-64", "+avx2,+fma");
        let isa = instruction_set(&target, OptLevel::Speed, true)?;
        assert!(facts(&isa, &target).fma);
        let without = generic("x86-64-v3", "-fma");
        let isa = instruction_set(&without, OptLevel::Speed, true)?;
        assert!(!facts(&isa, &without).fma);
        Ok(())
    }

    #[test]
    fn old_unknown_and_malformed_targets_are_refused() {
        for (cpu, features, part) in [("x86-64", "", "SSE4.1"), ("i486dx", "", "i486dx"), ("x86-64-v2", "avx2", "avx2")]
        {
            let e = instruction_set(&generic(cpu, features), OptLevel::None, true)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(e.contains(part), "{cpu} {features}: {e}");
        }
    }
}
