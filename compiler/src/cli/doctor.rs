//! `kiln doctor`: what this machine and this build have, and what is missing.
//!
//! Nothing here fails because something is missing: that is what the command tells.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kiln_rt::cpu::{CacheKind, CpuInfo};

use crate::jit::Backend;

/// Arguments of `kiln doctor`.
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Facts {
    version: &'static str,
    cpu: CpuFacts,
    backends: Vec<BackendFacts>,
    cuda: Found,
    tools: Vec<Tool>,
    caches: Vec<Folder>,
    /// What to do about what is missing; empty if nothing is.
    advice: Vec<String>,
}

#[derive(serde::Serialize)]
struct CpuFacts {
    arch: &'static str,
    model: Option<String>,
    features: Vec<&'static str>,
    logical_cpus: usize,
    cores: Option<usize>,
    caches: Vec<CacheFacts>,
}

#[derive(serde::Serialize)]
struct CacheFacts {
    level: u8,
    kind: &'static str,
    bytes: usize,
}

#[derive(serde::Serialize)]
struct BackendFacts {
    name: &'static str,
    built_in: bool,
    version: Option<String>,
    /// Whether it is the one that commands take by default.
    default: bool,
    vector_bytes: Option<u32>,
}

#[derive(serde::Serialize)]
struct Found {
    /// Whether this build can use it at all.
    built_in: bool,
    available: bool,
    detail: String,
}

#[derive(serde::Serialize)]
struct Tool {
    name: &'static str,
    purpose: &'static str,
    path: Option<PathBuf>,
}

#[derive(serde::Serialize)]
struct Folder {
    name: &'static str,
    path: Option<PathBuf>,
    exists: bool,
}

pub fn main(args: &Args) -> Result<()> {
    let facts = gather();
    if args.json {
        println!("{}", serde_json::to_string(&facts).context("printing the facts")?);
    } else {
        print(&facts);
    }
    Ok(())
}

fn gather() -> Facts {
    let info = CpuInfo::detect();
    let kind = |k| match k {
        CacheKind::Data => "data",
        CacheKind::Instruction => "instructions",
        CacheKind::Unified => "unified",
    };
    let cpu = CpuFacts {
        arch: info.arch,
        caches: info.caches.iter().map(|c| CacheFacts { level: c.level, kind: kind(c.kind), bytes: c.bytes }).collect(),
        model: info.model,
        features: info.features,
        logical_cpus: info.logical_cpus,
        cores: info.cores,
    };
    let backends = vec![
        backend("llvm", Backend::Llvm, cfg!(feature = "llvm"), llvm_version()),
        backend("cranelift", Backend::Cranelift, cfg!(feature = "cranelift"), None),
    ];
    let tools = vec![
        Tool { name: "cc", purpose: "links compiled models into C programs", path: find("cc") },
        Tool { name: "c++", purpose: "the C++ wrapper", path: find("c++") },
        Tool { name: "rustc", purpose: "the Rust wrapper", path: find("rustc") },
        Tool { name: "ld", purpose: "the linker behind them", path: find("ld").or_else(|| find("ld.lld")) },
    ];
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| home.map(|h| h.join(".cache")));
    let folder = cache.map(|c| c.join("kiln"));
    let caches = vec![Folder { name: "cache", exists: folder.as_deref().is_some_and(Path::is_dir), path: folder }];
    let cuda = cuda();
    let advice = advice(&backends, &tools, &cuda);
    Facts { version: env!("CARGO_PKG_VERSION"), cpu, backends, cuda, tools, caches, advice }
}

fn backend(name: &'static str, backend: Backend, built_in: bool, version: Option<String>) -> BackendFacts {
    let vector_bytes = backend.host_target().ok().map(|t| t.vector_bytes);
    let default = Backend::best().is_ok_and(|b| b == backend);
    BackendFacts { name, built_in, version, default, vector_bytes }
}

fn llvm_version() -> Option<String> {
    #[cfg(feature = "llvm")]
    return Some(kiln_codegen::llvm::version());
    #[cfg(not(feature = "llvm"))]
    None
}

/// Asks CUDA's driver library, in a build that can use it.
#[cfg(feature = "cuda")]
fn cuda() -> Found {
    let device = kiln_codegen::ptx::cuda::Device::open(0).and_then(|d| Ok((d.description()?, d.driver_version()?)));
    match device {
        Ok(((name, (major, minor)), driver)) => {
            let detail = format!(
                "{name}, compute capability {major}.{minor}, driver API {}.{}",
                driver / 1000,
                driver % 1000 / 10
            );
            Found { built_in: true, available: true, detail }
        }
        Err(e) => Found { built_in: true, available: false, detail: format!("{e:#}") },
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Found {
    Found { built_in: false, available: false, detail: "not looked for: this build has no GPU code".into() }
}

fn advice(backends: &[BackendFacts], tools: &[Tool], cuda: &Found) -> Vec<String> {
    let mut advice = vec![];
    if let Some(llvm) = backends.iter().find(|b| b.name == "llvm")
        && !llvm.built_in
    {
        advice.push("for the fastest code install LLVM 22 (Debian: llvm-22-dev libpolly-22-dev zlib1g-dev libzstd-dev libxml2-dev) and build with `--features llvm`".into());
    }
    if !backends.iter().any(|b| b.built_in) {
        advice.push("no code generator: build with the feature `cranelift` (needs nothing else) or `llvm`".into());
    }
    if tools.iter().any(|t| t.name == "cc" && t.path.is_none()) {
        advice.push("no C compiler: install one (Debian: gcc) to link compiled models".into());
    }
    if cuda.built_in && !cuda.available {
        advice.push("the GPU cannot be used: install NVIDIA's driver (libcuda.so.1)".into());
    }
    advice
}

/// A program on the search path.
fn find(name: &str) -> Option<PathBuf> {
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&std::env::var_os("PATH")?).map(|p| p.join(&name)).find(|p| p.is_file())
}

fn print(f: &Facts) {
    println!("kiln {}", f.version);
    let c = &f.cpu;
    let cores = c.cores.map_or(String::new(), |n| format!(", {n} cores"));
    println!("cpu        {} {}, {} logical{cores}", c.arch, c.model.as_deref().unwrap_or("(unnamed)"), c.logical_cpus);
    println!("           {}", c.features.join(" "));
    let caches: Vec<String> =
        c.caches.iter().map(|c| format!("L{} {} {} KiB", c.level, c.kind, c.bytes / 1024)).collect();
    println!("           {}", caches.join(", "));
    for b in &f.backends {
        let state = match (b.built_in, &b.version) {
            (false, _) => "not in this build".into(),
            (true, Some(v)) => format!("version {v}"),
            (true, None) => "built in".into(),
        };
        let vectors = b.vector_bytes.map_or(String::new(), |n| format!(", {}-bit vectors", 8 * n));
        println!("{:<10} {state}{vectors}{}", b.name, if b.default { ", the default" } else { "" });
    }
    println!("cuda       {}", f.cuda.detail);
    for t in &f.tools {
        let path = t.path.as_ref().map_or("not found".into(), |p| p.display().to_string());
        println!("{:<10} {path} ({})", t.name, t.purpose);
    }
    for c in &f.caches {
        let path = c.path.as_ref().map_or("no home folder".into(), |p| p.display().to_string());
        println!("{:<10} {path}{}", c.name, if c.exists { "" } else { " (nothing there)" });
    }
    for a in &f.advice {
        println!("advice: {a}");
    }
}
