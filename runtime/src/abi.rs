//! The calling convention between compiled code and its surroundings, in Rust and in C.
//!
//! A compiled kernel is `void kernel(const uint64_t *ctx, size_t task)`: `ctx` points to 8-byte
//! slots (buffer pointers, then `int64_t` symbols). That is the same machine-level signature as the
//! body of [`Parallel::parallel_for`], so a kernel is handed to it without a trampoline. `Parallel`
//! is the only thread interface that compiled code knows.

use std::ffi::c_void;

/// One task of a parallel loop: `arg` is what the caller passed, `index` is in `0..n`.
///
/// It must not unwind (a C++ exception or a Rust panic that leaves it ends the process).
pub type Body = unsafe extern "C" fn(arg: *mut c_void, index: usize);

/// `kiln_parallel::parallel_for`: see [`Parallel`].
pub type ParallelFor = unsafe extern "C" fn(this: *mut c_void, n: usize, body: Body, arg: *mut c_void);

/// C's `kiln_parallel`: how compiled code runs a loop whose iterations are independent.
///
/// Contract of `parallel_for(this, n, body, arg)`: it calls `body(arg, i)` exactly once for each `i`
/// in `0..n`, on any threads and in any order, and returns when all calls have returned and their
/// writes are visible to the caller. It may be called from several threads at once and from inside
/// a body; it may always choose to run the calls one after another on the calling thread. Results
/// never depend on that choice.
///
/// The structure is two pointers and stays so: a hint such as a thread count would invite plans, and
/// with them result bits, that depend on the machine. A later extension is a new type.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Parallel {
    /// Handed back as the first argument; Kiln never looks inside.
    pub this: *mut c_void,
    /// The loop; compiled code runs single-threaded if it is NULL.
    pub parallel_for: Option<ParallelFor>,
}

/// The C block that defines `kiln_parallel`, for `kiln.h` and every generated header. It needs
/// `<stddef.h>` and is guarded by `KILN_PARALLEL_DEFINED`.
pub const C_PARALLEL_BLOCK: &str = "\
#ifndef KILN_PARALLEL_DEFINED
#define KILN_PARALLEL_DEFINED
/* How a model runs a loop whose iterations are independent; NULL where one is expected means one thread.
   parallel_for calls body(arg, i) exactly once for each i < n, on any threads and in any order, and returns
   when all calls are done and their writes visible. It may be called from several threads at once and from
   inside a body, and may always run everything on the calling thread. body does not throw. */
typedef struct kiln_parallel {
    void *self;
    void (*parallel_for)(void *self, size_t n, void (*body)(void *arg, size_t i), void *arg);
} kiln_parallel;
#endif /* KILN_PARALLEL_DEFINED */
";

/// Runs `body(arg, i)` for `i` in `0..n` through `par`, or one after another if `par` is null or has
/// no function. This is what compiled code does, for callers in Rust.
///
/// # Safety
/// `par` is null or points to a valid [`Parallel`] that honours its contract; `body` may be called
/// with `arg` for each index, from several threads at once.
pub unsafe fn parallel_for(par: *const Parallel, n: usize, body: Body, arg: *mut c_void) {
    // SAFETY: null or valid by this function's contract.
    let par = unsafe { par.as_ref() };
    match par.and_then(|p| p.parallel_for.map(|run| (p.this, run))) {
        // SAFETY: a valid `Parallel`, and `body` accepts all indices.
        Some((this, run)) => unsafe { run(this, n, body, arg) },
        None => {
            for index in 0..n {
                // SAFETY: `body` accepts `arg` and each index below `n`.
                unsafe { body(arg, index) }
            }
        }
    }
}
