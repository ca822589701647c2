//! What this machine's processor is, as data: for choosing schedules and for `kiln doctor`.
//!
//! Nothing here fails: what the system does not tell is `None`, or marked as assumed.

use std::fs;
use std::path::Path;

/// What is known about the processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuInfo {
    /// Architecture as Rust names it: `x86_64`, `aarch64`, ...
    pub arch: &'static str,
    /// Marketing name, if the system tells it.
    pub model: Option<String>,
    /// Instruction-set features that Kiln may use and that this CPU and system support, by the names
    /// that compilers use (`avx2`, `avx512f`, `amx-bf16`, `dotprod`, ...).
    pub features: Vec<&'static str>,
    /// Processors that this process may use (affinity and container limits respected); at least 1.
    pub logical_cpus: usize,
    /// Cores, if the system tells it: fewer than processors where cores run two threads.
    pub cores: Option<usize>,
    /// Caches of one core, L1 first. Never empty.
    pub caches: Vec<Cache>,
    /// Where `caches` comes from.
    pub cache_source: CacheSource,
}

/// One level of cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// 1 is nearest to the core.
    pub level: u8,
    /// What it holds.
    pub kind: CacheKind,
    /// Size in bytes of the whole cache.
    pub bytes: usize,
    /// Line size in bytes.
    pub line: usize,
    /// Logical processors that share it, if known.
    pub shared_by: Option<usize>,
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// Data only.
    Data,
    /// Instructions only.
    Instruction,
    /// Both.
    Unified,
}

/// Where cache sizes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSource {
    /// Linux's `/sys/devices/system/cpu`.
    Sysfs,
    /// The CPUID instruction.
    Cpuid,
    /// Nobody told: sizes that every current server and laptop core has at least.
    Assumed,
}

const ASSUMED: [Cache; 2] = [
    Cache { level: 1, kind: CacheKind::Data, bytes: 32 << 10, line: 64, shared_by: None },
    Cache { level: 2, kind: CacheKind::Unified, bytes: 256 << 10, line: 64, shared_by: None },
];

impl CpuInfo {
    /// Asks the processor and the system; takes well under a millisecond.
    pub fn detect() -> CpuInfo {
        let cpus = Path::new("/sys/devices/system/cpu");
        let told = |caches: &[Cache]| caches.iter().any(|c| c.kind != CacheKind::Instruction);
        let from = |source, caches: Vec<Cache>| Some((source, caches)).filter(|(_, c)| told(c));
        let (cache_source, mut caches) = from(CacheSource::Sysfs, sysfs_caches(cpus))
            .or_else(|| from(CacheSource::Cpuid, cpuid_caches()))
            .unwrap_or((CacheSource::Assumed, ASSUMED.to_vec()));
        caches.sort_by_key(|c| (c.level, c.kind == CacheKind::Instruction));
        CpuInfo {
            arch: std::env::consts::ARCH,
            model: model(),
            features: features(),
            logical_cpus: std::thread::available_parallelism().map_or(1, |n| n.get()),
            cores: cores(cpus),
            caches,
            cache_source,
        }
    }

    /// The cache of a level that holds data.
    pub fn data_cache(&self, level: u8) -> Option<Cache> {
        self.caches.iter().copied().find(|c| c.level == level && c.kind != CacheKind::Instruction)
    }

    /// True if the CPU has a feature, by its name in [`CpuInfo::features`].
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(&feature)
    }
}

/// A small system file's text without the line end; `None` if it is not there.
fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// The caches of processor 0. All zero-sized or unreadable entries are left out.
fn sysfs_caches(cpus: &Path) -> Vec<Cache> {
    let read = |index: usize| {
        let dir = cpus.join(format!("cpu0/cache/index{index}"));
        let kind = match text(&dir.join("type"))?.as_str() {
            "Data" => CacheKind::Data,
            "Instruction" => CacheKind::Instruction,
            "Unified" => CacheKind::Unified,
            _ => return None,
        };
        let bytes = parse_size(&text(&dir.join("size"))?)?;
        let line = text(&dir.join("coherency_line_size")).and_then(|t| t.parse().ok()).unwrap_or(64);
        let shared_by = text(&dir.join("shared_cpu_list")).and_then(|t| count_list(&t));
        Some(Cache { level: text(&dir.join("level"))?.parse().ok()?, kind, bytes, line, shared_by })
    };
    // No machine has more than a handful; gaps do not occur but do not hurt.
    (0..16).filter_map(read).filter(|c| c.bytes > 0).collect()
}

/// `48K`, `2M` or plain bytes.
fn parse_size(text: &str) -> Option<usize> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// Members of a kernel list such as `0-3,8,10-11`.
fn count_list(text: &str) -> Option<usize> {
    text.split(',').try_fold(0usize, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let span = last.trim().parse::<usize>().ok()?.checked_sub(first.trim().parse().ok()?)?;
        sum.checked_add(span)?.checked_add(1)
    })
}

/// Cores of all online processors: distinct sets of sibling threads.
fn cores(cpus: &Path) -> Option<usize> {
    let mut sets = std::collections::BTreeSet::new();
    for entry in fs::read_dir(cpus).ok()?.flatten() {
        let siblings = text(&entry.path().join("topology/thread_siblings_list"));
        sets.extend(siblings);
    }
    (!sets.is_empty()).then_some(sets.len())
}

/// Peak resident memory of this process in bytes, if the system tells it (Linux does).
pub fn peak_rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use super::{Cache, CacheKind};
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    pub(super) fn features() -> Vec<&'static str> {
        macro_rules! detected {
            ($($name:tt)*) => { [$(($name, is_x86_feature_detected!($name))),*] };
        }
        let known = detected!("sse4.2" "avx" "f16c" "fma" "avx2" "bmi2" "avxvnni" "avx512f" "avx512bw" "avx512dq"
            "avx512vl" "avx512cd" "avx512vnni" "avx512bf16" "avx512fp16" "avx512vbmi");
        known.into_iter().chain(amx()).filter_map(|(name, has)| has.then_some(name)).collect()
    }

    /// AMX: the CPU's word (leaf 7) and the system's (tile state enabled in XCR0). A process on Linux
    /// must still ask for permission (`arch_prctl(ARCH_REQ_XCOMP_PERM)`) before its first tile.
    fn amx() -> [(&'static str, bool); 3] {
        const OSXSAVE: u32 = 1 << 27;
        const TILE_STATE: u64 = 0b11 << 17;
        let leaf7 = if __cpuid(0).eax >= 7 { __cpuid_count(7, 0).edx } else { 0 };
        let enabled = __cpuid(1).ecx & OSXSAVE != 0 && {
            let (low, high): (u32, u32);
            // SAFETY: OSXSAVE says that the instruction exists for user code; register 0 always does.
            unsafe { std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) }
            (u64::from(high) << 32 | u64::from(low)) & TILE_STATE == TILE_STATE
        };
        [("amx-bf16", 22), ("amx-tile", 24), ("amx-int8", 25)]
            .map(|(name, bit)| (name, enabled && leaf7 & (1 << bit) != 0))
    }

    /// Deterministic cache parameters: leaf 4 (Intel) or 0x8000001D (AMD), which have one format.
    pub(super) fn caches() -> Vec<Cache> {
        let has_amd = __cpuid(0x8000_0000).eax >= 0x8000_001D && __cpuid(0x8000_0001).ecx & (1 << 22) != 0;
        let leaf = match __cpuid(0).eax {
            _ if has_amd => 0x8000_001D,
            4.. => 4,
            _ => return Vec::new(),
        };
        let read = |index| {
            let r = __cpuid_count(leaf, index);
            let kind = match r.eax & 0x1F {
                1 => CacheKind::Data,
                2 => CacheKind::Instruction,
                3 => CacheKind::Unified,
                _ => return None,
            };
            let field = |shift: u32, bits: u32| (r.ebx >> shift & ((1 << bits) - 1)) as usize + 1;
            let (line, partitions, ways, sets) = (field(0, 12), field(12, 10), field(22, 10), r.ecx as usize + 1);
            let bytes = line.checked_mul(partitions)?.checked_mul(ways)?.checked_mul(sets)?;
            let shared_by = Some((r.eax >> 14 & 0xFFF) as usize + 1);
            Some(Cache { level: (r.eax >> 5 & 7) as u8, kind, bytes, line, shared_by })
        };
        (0..16).map_while(read).collect()
    }

    /// The brand string, leaves 0x80000002 to 4: 48 bytes, padded with NUL and blanks.
    pub(super) fn model() -> Option<String> {
        if __cpuid(0x8000_0000).eax < 0x8000_0004 {
            return None;
        }
        let leaves = (0x8000_0002..=0x8000_0004).map(__cpuid);
        let bytes: Vec<u8> = leaves
            .flat_map(|r| [r.eax, r.ebx, r.ecx, r.edx])
            .flat_map(u32::to_le_bytes)
            .take_while(|b| *b != 0)
            .collect();
        let name = String::from_utf8_lossy(&bytes).trim().to_owned();
        (!name.is_empty()).then_some(name)
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use super::Cache;

    pub(super) fn features() -> Vec<&'static str> {
        macro_rules! detected {
            ($($name:tt)*) => { [$(($name, std::arch::is_aarch64_feature_detected!($name))),*] };
        }
        let known = detected!("neon" "fp16" "dotprod" "bf16" "i8mm" "sve" "sve2");
        known.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
    }

    /// User code cannot read the cache registers.
    pub(super) fn caches() -> Vec<Cache> {
        Vec::new()
    }

    pub(super) fn model() -> Option<String> {
        None
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod arch {
    use super::Cache;

    pub(super) fn features() -> Vec<&'static str> {
        Vec::new()
    }

    pub(super) fn caches() -> Vec<Cache> {
        Vec::new()
    }

    pub(super) fn model() -> Option<String> {
        None
    }
}

use arch::{caches as cpuid_caches, features, model};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let info = CpuInfo::detect();
        assert!(info.logical_cpus >= 1);
        let l1 = info.data_cache(1).expect("every CPU has a first level");
        assert!((4 << 10..=1 << 20).contains(&l1.bytes) && l1.line.is_power_of_two(), "{l1:?}");
        for pair in info.caches.windows(2) {
            assert!(pair[0].level <= pair[1].level);
        }
        #[cfg(target_arch = "x86_64")]
        assert_eq!(info.has("avx2"), is_x86_feature_detected!("avx2"));
    }

    #[test]
    fn sysfs_and_cpuid_agree_on_the_first_level() {
        let by = |caches: Vec<Cache>| caches.into_iter().find(|c| c.level == 1 && c.kind == CacheKind::Data);
        if let (Some(a), Some(b)) = (by(sysfs_caches(Path::new("/sys/devices/system/cpu"))), by(cpuid_caches())) {
            assert_eq!((a.bytes, a.line), (b.bytes, b.line));
        } else {
            println!("only one source on this machine: nothing to compare");
        }
    }

    #[test]
    fn kernel_formats_are_read() {
        assert_eq!(parse_size("48K"), Some(48 << 10));
        assert_eq!(parse_size("2M"), Some(2 << 20));
        assert_eq!(parse_size("512"), Some(512));
        assert_eq!(parse_size("K"), None);
        assert_eq!(parse_size(""), None);
        assert_eq!(count_list("0-3,8,10-11"), Some(7));
        assert_eq!(count_list("5"), Some(1));
        assert_eq!(count_list("3-1"), None);
        assert_eq!(count_list("x"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn peak_memory_grows_with_use() {
        let before = peak_rss_bytes().expect("Linux tells it");
        let block = vec![1u8; 64 << 20];
        let after = peak_rss_bytes().expect("Linux tells it");
        assert!(std::hint::black_box(&block).len() == 64 << 20 && after >= before.max(64 << 20));
    }
}
