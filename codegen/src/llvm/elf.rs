//! What is done to a finished ELF64 little-endian object: the weights are put in place, and the object's promises
//! (no symbol from outside but libc's and libm's) are checked.
//!
//! Objects come from LLVM, so their structure is sound; every access is checked all the same, and a surprise is an
//! error.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};

/// Functions that an object may import: libc's memory functions and libm.
const IMPORTS: &[&str] = &[
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "ceil",
    "ceilf",
    "fabs",
    "fabsf",
    "floor",
    "floorf",
    "fma",
    "fmaf",
    "fmod",
    "fmodf",
    "nearbyint",
    "nearbyintf",
    "rint",
    "rintf",
    "sqrt",
    "sqrtf",
    "trunc",
    "truncf",
];

const SHT_SYMTAB: u32 = 2;
const SHF_EXECINSTR: u64 = 4;
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;

fn u16_at(b: &[u8], at: usize) -> Result<u16> {
    let s = b.get(at..at + 2).context("object file ends early")?;
    Ok(u16::from_le_bytes([s[0], s[1]]))
}

fn u32_at(b: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from(u16_at(b, at)?) | u32::from(u16_at(b, at + 2)?) << 16)
}

fn u64_at(b: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from(u32_at(b, at)?) | u64::from(u32_at(b, at + 4)?) << 32)
}

fn size_at(b: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(u64_at(b, at)?)?)
}

fn put(b: &mut [u8], at: usize, v: u64) -> Result<()> {
    b.get_mut(at..at + 8).context("object file ends early")?.copy_from_slice(&v.to_le_bytes());
    Ok(())
}

/// Offsets of the section headers.
fn sections(b: &[u8]) -> Result<Vec<usize>> {
    ensure!(b.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF object");
    let table = size_at(b, 0x28)?;
    let mut n = usize::from(u16_at(b, 0x3c)?);
    if n == 0 {
        n = size_at(b, table + 0x20)?; // too many for 16 bits: the first header has the count
    }
    Ok((0..n).map(|i| table + i * SECTION_HEADER).collect())
}

/// A symbol of the table: its place in the file, name, section index.
struct Symbol<'a> {
    at: usize,
    name: &'a str,
    section: u16,
}

fn symbols(b: &[u8]) -> Result<Vec<Symbol<'_>>> {
    let headers = sections(b)?;
    let mut found = Vec::new();
    for &h in &headers {
        if u32_at(b, h + 4)? != SHT_SYMTAB {
            continue;
        }
        let (offset, size, link) = (size_at(b, h + 0x18)?, size_at(b, h + 0x20)?, u32_at(b, h + 0x28)? as usize);
        let strings = size_at(b, headers.get(link).context("a symbol table has no strings")? + 0x18)?;
        for at in (offset..offset + size).step_by(SYMBOL).skip(1) {
            let name = b.get(strings + u32_at(b, at)? as usize..).context("object file ends early")?;
            let name = name.split(|&c| c == 0).next().unwrap_or_default();
            found.push(Symbol { at, name: std::str::from_utf8(name)?, section: u16_at(b, at + 6)? });
        }
    }
    Ok(found)
}

/// Fails if the object needs a symbol that neither libc nor libm has, and that is not one of `own`, which its user defines.
pub(super) fn check_imports(object: &[u8], own: &BTreeSet<&str>) -> Result<()> {
    let bad: Vec<&str> = symbols(object)?
        .iter()
        .filter(|s| {
            let known = IMPORTS.contains(&s.name) || own.contains(s.name) || s.name == "_GLOBAL_OFFSET_TABLE_";
            s.section == 0 && !s.name.is_empty() && !known
        })
        .map(|s| s.name)
        .collect();
    if !bad.is_empty() {
        bail!(
            "the object would need {}, which are not in libc or libm; this is a bug of the code generator",
            bad.join(", ")
        );
    }
    Ok(())
}

/// Bytes of machine code.
pub(super) fn code_bytes(object: &[u8]) -> Result<usize> {
    let mut sum = 0;
    for h in sections(object)? {
        if u64_at(object, h + 8)? & SHF_EXECINSTR != 0 {
            sum += size_at(object, h + 0x20)?;
        }
    }
    Ok(sum)
}

/// Gives the section of a symbol that stands alone in it new contents, aligned to 64 bytes; the symbol's size follows.
/// The contents go behind what is there: no offset but the section's own changes.
pub(super) fn fill_section(mut object: Vec<u8>, symbol: &str, contents: &[u8]) -> Result<Vec<u8>> {
    let s = symbols(&object)?
        .into_iter()
        .find(|s| s.name == symbol)
        .with_context(|| format!("the object has no `{symbol}`"))?;
    let (at, section) = (s.at, usize::from(s.section));
    let header = *sections(&object)?.get(section).with_context(|| format!("`{symbol}` has no section"))?;
    let offset = object.len().next_multiple_of(64);
    object.reserve_exact(offset - object.len() + contents.len());
    object.resize(offset, 0);
    object.extend_from_slice(contents);
    put(&mut object, header + 0x18, offset as u64)?;
    put(&mut object, header + 0x20, contents.len() as u64)?;
    put(&mut object, at + 0x10, contents.len() as u64)?;
    Ok(object)
}
