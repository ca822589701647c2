//! The functions of custom ops in this process: registered by a program, or found in shared libraries.
//!
//! They are known by their names as the linker would know them, so the table is one for the process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use kiln_rt::custom::CustomFn;
use libloading::Library;

static KNOWN: Mutex<Known> = Mutex::new(Known { functions: BTreeMap::new(), libraries: vec![] });

struct Known {
    functions: BTreeMap<String, CustomFn>,
    /// Never unloaded: code in memory may call into them.
    libraries: Vec<Library>,
}

/// Makes a function known under a name; a later one of the same name replaces it for models that are compiled from then on.
///
/// # Safety
/// The function must keep to the contract of [`CustomFn`] for every op that `--custom-op`, or
/// [`crate::import::convert::Settings::custom`], binds to the name.
pub unsafe fn register(name: &str, function: CustomFn) {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).functions.insert(name.to_string(), function);
}

/// Loads a shared library whose symbols are functions of custom ops. Whoever names it answers for what its code does: it is as
/// trusted as the program itself.
///
/// # Errors
/// If the system's loader refuses it.
pub fn load(path: &Path) -> Result<()> {
    // SAFETY: loading runs the library's initializers. The user chose the library to be part of this process.
    let library = unsafe { Library::new(path) };
    let library = library.with_context(|| format!("loading the library {} of custom ops", path.display()))?;
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).libraries.push(library);
    Ok(())
}

/// The address of a function, if it is registered or a library has it.
pub fn resolve(name: &str) -> Option<u64> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(f) = known.functions.get(name) {
        return Some(*f as usize as u64);
    }
    known.libraries.iter().find_map(|library| {
        // SAFETY: only the address is taken here. It is called as a `CustomFn` because the user bound an op to it.
        let f = unsafe { library.get::<CustomFn>(name.as_bytes()) }.ok()?;
        Some(*f as usize as u64)
    })
}
