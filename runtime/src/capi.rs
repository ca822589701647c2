//! The C ABI of `include/kiln.h`.
//!
//! Every entry checks its pointers, catches panics and returns a status; on failure the out-parameter
//! is NULL. `destroy`, `unmap` and `free` accept NULL.

use crate::abi::Parallel;
use crate::arena::{ALIGNMENT, Arena, ArenaError};
use crate::pool::{Pool, PoolError};
use crate::status::Status;
use crate::weights::Weights;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::ptr::{null, null_mut};

/// Runs an entry; a panic, which would be a bug, becomes [`Status::Internal`].
fn guarded(entry: impl FnOnce() -> Result<(), Status>) -> Status {
    match catch_unwind(AssertUnwindSafe(entry)) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(status)) => status,
        Err(payload) => {
            // Its destructor could panic again, and nothing above can catch that.
            std::mem::forget(payload);
            Status::Internal
        }
    }
}

/// Stores NULL in an out-parameter, then the boxed result of `make`.
///
/// # Safety
/// `out` is NULL or writable.
unsafe fn create<T>(out: *mut *mut T, make: impl FnOnce() -> Result<T, Status>) -> Status {
    if out.is_null() {
        return Status::NullPointer;
    }
    // SAFETY: writable by contract.
    unsafe { *out = null_mut() };
    guarded(|| {
        let value = Box::into_raw(Box::new(make()?));
        // SAFETY: writable by contract.
        unsafe { *out = value };
        Ok(())
    })
}

/// Frees what [`create`] made.
///
/// # Safety
/// `value` is NULL or came from `create` and is not used any more.
unsafe fn destroy<T>(value: *mut T) {
    if !value.is_null() {
        let _ = guarded(|| {
            // SAFETY: a live box by contract.
            drop(unsafe { Box::from_raw(value) });
            Ok(())
        });
    }
}

/// Version of this library as `major * 10000 + minor * 100 + patch`.
#[unsafe(no_mangle)]
pub extern "C" fn kiln_rt_version() -> u32 {
    const fn number(text: &str) -> u32 {
        let mut value = 0;
        let mut rest = text.as_bytes();
        while let [digit, tail @ ..] = rest {
            value = value * 10 + (*digit - b'0') as u32;
            rest = tail;
        }
        value
    }
    const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
        + number(env!("CARGO_PKG_VERSION_MINOR")) * 100
        + number(env!("CARGO_PKG_VERSION_PATCH"));
    VERSION
}

/// One line of text for a status code, known or not; never NULL. For languages that cannot use the
/// inline function of the C header.
#[unsafe(no_mangle)]
pub extern "C" fn kiln_status_string(status: i32) -> *const c_char {
    Status::from_code(status).map_or(c"unknown status", Status::c_text).as_ptr()
}

/// Creates a thread pool of `threads` threads, the caller included; 0 means one for each processor.
///
/// # Safety
/// `out_pool` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_pool_create(threads: u32, out_pool: *mut *mut Pool) -> Status {
    let make = || {
        Pool::new(threads as usize).map_err(|error| match error {
            PoolError::TooManyThreads(_) => Status::BadArgument,
            PoolError::Spawn { .. } => Status::OutOfMemory,
        })
    };
    // SAFETY: the caller's promise about `out_pool`.
    unsafe { create(out_pool, make) }
}

/// The pool as a model's `run` takes it; NULL for NULL. Valid until the pool is destroyed.
///
/// # Safety
/// `pool` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_pool_parallel(pool: *const Pool) -> *const Parallel {
    // SAFETY: NULL or live by contract.
    unsafe { pool.as_ref() }.map_or(null(), |pool| std::ptr::from_ref(pool.parallel()))
}

/// Threads of a pool, the caller included; 0 for NULL.
///
/// # Safety
/// `pool` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_pool_threads(pool: *const Pool) -> u32 {
    // SAFETY: NULL or live by contract. At most MAX_THREADS, so it fits.
    unsafe { pool.as_ref() }.map_or(0, |pool| pool.threads() as u32)
}

/// Stops and joins the workers and frees the pool.
///
/// # Safety
/// `pool` is NULL or came from [`kiln_pool_create`]; no loop runs on it, and it is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_pool_destroy(pool: *mut Pool) {
    // SAFETY: the caller's promise.
    unsafe { destroy(pool) }
}

/// Maps a weights file read-only and checks its header and length.
///
/// # Safety
/// `path` is NULL or a NUL-terminated string; `out_weights` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_weights_map(path: *const c_char, out_weights: *mut *mut Weights) -> Status {
    let make = || {
        if path.is_null() {
            return Err(Status::NullPointer);
        }
        // SAFETY: a NUL-terminated string by contract.
        let path = native_path(unsafe { CStr::from_ptr(path) })?;
        Weights::map(&path).map_err(|error| error.status())
    };
    // SAFETY: the caller's promise about `out_weights`.
    unsafe { create(out_weights, make) }
}

/// A path as the system writes it: any bytes on Unix.
#[cfg(unix)]
fn native_path(path: &CStr) -> Result<PathBuf, Status> {
    use std::os::unix::ffi::OsStrExt;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

/// A path in UTF-8.
#[cfg(not(unix))]
fn native_path(path: &CStr) -> Result<PathBuf, Status> {
    path.to_str().map(PathBuf::from).map_err(|_| Status::BadArgument)
}

/// Reads all of a mapped file and compares its checksum.
///
/// # Safety
/// `weights` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_weights_verify(weights: *const Weights) -> Status {
    guarded(|| {
        // SAFETY: NULL or live by contract.
        let weights = unsafe { weights.as_ref() }.ok_or(Status::NullPointer)?;
        weights.verify().map_err(|error| error.status())
    })
}

/// The first payload byte, aligned to 64; NULL for NULL.
///
/// # Safety
/// `weights` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_weights_data(weights: *const Weights) -> *const c_void {
    // SAFETY: NULL or live by contract.
    unsafe { weights.as_ref() }.map_or(null(), |weights| weights.payload().as_ptr().cast())
}

/// Payload bytes; 0 for NULL.
///
/// # Safety
/// `weights` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_weights_size(weights: *const Weights) -> usize {
    // SAFETY: NULL or live by contract.
    unsafe { weights.as_ref() }.map_or(0, |weights| weights.payload().len())
}

/// The compiler's layout id, which a model compares with its own; 0 for NULL.
///
/// # Safety
/// `weights` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_weights_layout_id(weights: *const Weights) -> u64 {
    // SAFETY: NULL or live by contract.
    unsafe { weights.as_ref() }.map_or(0, |weights| weights.header().layout_id)
}

/// Removes the mapping.
///
/// # Safety
/// `weights` is NULL or came from [`kiln_weights_map`]; nothing uses its data any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_weights_unmap(weights: *mut Weights) {
    // SAFETY: the caller's promise.
    unsafe { destroy(weights) }
}

/// Allocates a zeroed workspace, aligned to 64 bytes. 0 bytes gives a valid pointer too.
///
/// The block's first 64 bytes hold the pointer to its [`Arena`]; the caller sees what comes after.
///
/// # Safety
/// `out_workspace` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_workspace_alloc(bytes: usize, out_workspace: *mut *mut c_void) -> Status {
    if out_workspace.is_null() {
        return Status::NullPointer;
    }
    // SAFETY: writable by contract.
    unsafe { *out_workspace = null_mut() };
    guarded(|| {
        let whole = bytes.checked_add(ALIGNMENT).ok_or(Status::OutOfMemory)?;
        let mut arena = Box::new(Arena::new(whole).map_err(|error| match error {
            ArenaError::TooLarge { .. } | ArenaError::OutOfMemory { .. } => Status::OutOfMemory,
        })?);
        let base = arena.as_mut_ptr();
        // SAFETY: the block has at least ALIGNMENT bytes and is aligned for a pointer; `out_workspace`
        // is writable by contract.
        unsafe {
            base.cast::<*mut Arena>().write(Box::into_raw(arena));
            *out_workspace = base.add(ALIGNMENT).cast();
        }
        Ok(())
    })
}

/// Frees a workspace.
///
/// # Safety
/// `workspace` is NULL or came from [`kiln_workspace_alloc`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_workspace_free(workspace: *mut c_void) {
    if !workspace.is_null() {
        // SAFETY: `kiln_workspace_alloc` wrote the arena's pointer ALIGNMENT bytes before.
        unsafe { destroy(workspace.cast::<u8>().sub(ALIGNMENT).cast::<*mut Arena>().read()) }
    }
}
