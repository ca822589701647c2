//! The machine that this process runs on, as a target.

use inkwell::targets::TargetMachine;

use super::machine::initialize;
use crate::target::{Arch, Target};

/// The running machine: LLVM's name of the CPU, its features, its vector width and caches.
pub fn host_target() -> Target {
    initialize();
    let triple = TargetMachine::get_default_triple().as_str().to_string_lossy().into_owned();
    let cpu = TargetMachine::get_host_cpu_name().to_string();
    let features = TargetMachine::get_host_cpu_features().to_string();
    let has = |f: &str| features.split(',').any(|x| x.strip_prefix('+') == Some(f));
    let arm = cfg!(target_arch = "aarch64");
    let avx512 = ["avx512f", "avx512bw", "avx512dq", "avx512vl"].iter().all(|f| has(f));
    let vector_bytes = match (avx512, has("avx2")) {
        (true, _) => 64,
        (false, true) => 32,
        _ => 16,
    };
    Target {
        arch: if arm { Arch::Aarch64 } else { Arch::X86_64 },
        triple,
        cpu,
        vector_bytes,
        vector_registers: if avx512 || arm { 32 } else { 16 },
        fma: arm || has("fma"),
        l1: cache_bytes(1).unwrap_or(32 << 10),
        l2: cache_bytes(2).unwrap_or(512 << 10),
        tiles: vec![],
        full_vectors_only: false,
        features,
    }
}

/// Size of the data or unified cache of a level, as Linux tells it.
fn cache_bytes(level: u32) -> Option<u64> {
    let folder = std::path::Path::new("/sys/devices/system/cpu/cpu0/cache");
    let read = |i: u32, what: &str| std::fs::read_to_string(folder.join(format!("index{i}")).join(what)).ok();
    (0..8).find_map(|i| {
        let fits = read(i, "level")?.trim().parse() == Ok(level) && read(i, "type")?.trim() != "Instruction";
        let size = read(i, "size")?;
        let kib = size.trim().strip_suffix('K')?.parse::<u64>().ok()?;
        fits.then_some(kib << 10)
    })
}
