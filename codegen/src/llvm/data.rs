//! Read-only data of an object: metadata tables with the addresses of one another, and the weights' place.

use std::collections::HashSet;

use anyhow::{Context as _, Result, bail, ensure};

use super::kernel::{escape, is_identifier};
use super::text::ModuleText;
use crate::program::{DataSymbol, Program, Weights};

/// Prints the data symbols of a program.
pub(super) fn print_data(module: &mut ModuleText, program: &Program) -> Result<()> {
    let prefix = &program.prefix;
    let mut known: HashSet<String> = program.data.iter().map(|d| d.name.clone()).collect();
    ensure!(known.len() == program.data.len(), "two data symbols have one name");
    known.extend([format!("{prefix}_run"), format!("{prefix}_workspace_size")]);
    if matches!(program.weights, Weights::Embedded(_)) {
        known.insert(format!("{prefix}_weights"));
    }
    for d in &program.data {
        print_symbol(module, d, &known).with_context(|| format!("data symbol `{}`", d.name))?;
    }
    Ok(())
}

fn print_symbol(module: &mut ModuleText, d: &DataSymbol, known: &HashSet<String>) -> Result<()> {
    ensure!(is_identifier(&d.name), "its name is not a C identifier");
    ensure!(d.align.is_power_of_two(), "its alignment {} is not a power of two", d.align);
    let mut pointers = d.pointers.clone();
    pointers.sort();
    let (mut types, mut values) = (Vec::new(), Vec::new());
    let mut at = 0usize;
    let mut bytes = |from: usize, to: usize, types: &mut Vec<String>| -> Result<()> {
        let part = d.bytes.get(from..to).with_context(|| format!("bytes {from}..{to} of {}", d.bytes.len()))?;
        if !part.is_empty() {
            let ty = format!("[{} x i8]", part.len());
            values.push(format!("{ty} c\"{}\"", escape(part)));
            types.push(ty);
        }
        Ok(())
    };
    let mut fields: Vec<(usize, String)> = Vec::new();
    for (offset, target, addend) in &pointers {
        let offset = usize::try_from(*offset)?;
        ensure!(offset >= at, "two pointers overlap at byte {offset}");
        if !known.contains(target) {
            bail!("points to `{target}`, which the object does not define");
        }
        bytes(at, offset, &mut types)?;
        fields.push((types.len(), format!("ptr getelementptr (i8, ptr @{target}, i64 {addend})")));
        types.push("ptr".into());
        at = offset.checked_add(8).filter(|&end| end <= d.bytes.len()).context("a pointer reaches beyond the end")?;
    }
    bytes(at, d.bytes.len(), &mut types)?;
    // Each pointer goes where its type stands among the pieces of bytes.
    for (i, field) in fields {
        values.insert(i, field);
    }
    let linkage = if d.exported { "" } else { "internal " };
    let body = format!("<{{ {} }}> <{{ {} }}>", types.join(", "), values.join(", "));
    let body = if types.is_empty() { "[0 x i8] zeroinitializer".into() } else { body };
    module.out += &format!("@{} = {linkage}constant {body}, align {}\n\n", d.name, d.align);
    Ok(())
}

/// The section that holds the weights.
pub(super) fn weights_section(prefix: &str) -> String {
    format!(".rodata.{prefix}_weights")
}

/// Prints a small placeholder in the weights' section; [`super::elf::fill_section`] puts the contents there. LLVM would
/// hold a hundred megabytes of constant three more times.
pub(super) fn print_weights_placeholder(module: &mut ModuleText, prefix: &str, exported: bool) {
    let linkage = if exported { "" } else { "internal " };
    module.out += &format!(
        "@{prefix}_weights = {linkage}constant [64 x i8] zeroinitializer, section \"{}\", align 64\n\n",
        weights_section(prefix)
    );
}
