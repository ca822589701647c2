//! Objects linked into this process by LLVM's ORC.
//!
//! The JIT takes the same objects that an ahead-of-time build writes, so both tiers run the same instructions. No LLVM
//! context outlives the compilation.

use std::ffi::{CStr, CString};
use std::ptr::null_mut;

use anyhow::{Result, anyhow, ensure};
use inkwell::llvm_sys::core::LLVMCreateMemoryBufferWithMemoryRangeCopy;
use inkwell::llvm_sys::error::{LLVMDisposeErrorMessage, LLVMErrorRef, LLVMGetErrorMessage};
use inkwell::llvm_sys::orc2::lljit::{
    LLVMOrcCreateLLJIT, LLVMOrcDisposeLLJIT, LLVMOrcLLJITAddObjectFile, LLVMOrcLLJITGetGlobalPrefix,
    LLVMOrcLLJITGetMainJITDylib, LLVMOrcLLJITLookup, LLVMOrcLLJITRef,
};
use inkwell::llvm_sys::orc2::{LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess, LLVMOrcJITDylibAddGenerator};

use super::machine::initialize;

/// Code linked into the process; dropping it frees the code.
pub(super) struct Linked {
    jit: LLVMOrcLLJITRef,
}

// SAFETY: the reference is used by `new`, by `lookup` (ORC's sessions lock themselves) and by `drop` alone, which has
// the only access.
unsafe impl Send for Linked {}
// SAFETY: as above.
unsafe impl Sync for Linked {}

fn check(error: LLVMErrorRef, what: &str) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null error is owned by the caller of the function that returned it; reading its message consumes
    // it, and the message is freed by its own function after it is copied.
    let message = unsafe {
        let text = LLVMGetErrorMessage(error);
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        LLVMDisposeErrorMessage(text);
        copy
    };
    Err(anyhow!("{what}: {message}"))
}

impl Linked {
    /// Links objects, which may refer to one another and to the process's symbols.
    pub fn new(objects: &[Vec<u8>]) -> Result<Linked> {
        initialize();
        let mut jit = null_mut();
        // SAFETY: a null builder asks for the defaults; the result is checked before use.
        check(unsafe { LLVMOrcCreateLLJIT(&mut jit, null_mut()) }, "cannot start the JIT")?;
        let linked = Linked { jit };
        // SAFETY: `jit` is a live LLJIT; its main library lives as long. The generator passes into the library.
        unsafe {
            let library = LLVMOrcLLJITGetMainJITDylib(jit);
            let mut generator = null_mut();
            let prefix = LLVMOrcLLJITGetGlobalPrefix(jit);
            check(
                LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&mut generator, prefix, None, null_mut()),
                "cannot search the process's symbols",
            )?;
            LLVMOrcJITDylibAddGenerator(library, generator);
            for object in objects {
                // The buffer is a copy, and adding it gives it to the JIT, also when that fails.
                let buffer =
                    LLVMCreateMemoryBufferWithMemoryRangeCopy(object.as_ptr().cast(), object.len(), c"kiln".as_ptr());
                check(LLVMOrcLLJITAddObjectFile(jit, library, buffer), "cannot link an object")?;
            }
        }
        Ok(linked)
    }

    /// The address of a symbol, valid while `self` lives.
    pub fn lookup(&self, name: &str) -> Result<usize> {
        let c_name = CString::new(name)?;
        let mut address = 0;
        // SAFETY: the JIT is live and the name ends with a NUL.
        check(unsafe { LLVMOrcLLJITLookup(self.jit, &mut address, c_name.as_ptr()) }, "cannot link the code")?;
        ensure!(address != 0, "`{name}` has no address");
        Ok(usize::try_from(address)?)
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        // SAFETY: `jit` was created by `new` and nothing uses it after this. An error on the way down only says that
        // something was freed already.
        let _ = check(unsafe { LLVMOrcDisposeLLJIT(self.jit) }, "cannot free the code");
    }
}
