//! A persistent thread pool with one operation: a parallel loop with a static partition.
//!
//! Invariants:
//! - `parallel_for(n, body)` splits `0..n` into `p = min(n, threads)` contiguous ranges; range `t` is
//!   `t*n/p .. (t+1)*n/p`, run in ascending order by one thread. Which thread that is never changes
//!   what a task computes.
//! - A call does not allocate and takes a lock only to sleep or to wake a sleeper.
//! - One loop owns the workers at a time. A call that finds them busy, be it nested in a body or made
//!   by another thread, runs its whole loop on its own thread. Nothing ever queues for the workers,
//!   so nothing can deadlock, and nested loops need no thread-local state.
//! - Waiting is a bounded spin and then sleep; with more threads than processors there is no spin.
//!
//! Hand-over: each worker has a mailbox on its own cache line. The caller fills the job slot and
//! posts to the first four mailboxes, each worker to the four below it in the tree, so
//! waking 64 sleepers costs three steps and not 63 system calls on one thread. Only workers that
//! take part are posted to, and each reads the job slot only between its mail and its decrement of
//! `pending`; the caller writes the slot only while `pending` is zero.

use crate::abi::{Body, Parallel};
use crate::fpenv::FpEnv;
use std::any::Any;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// The most threads a pool may have, its caller included.
pub const MAX_THREADS: usize = 1024;

/// How many workers one thread wakes.
const FAN_OUT: usize = 4;

/// How long a thread spins before it sleeps: longer than the gap between two kernels of one model and
/// a few times a futex wake-up, short enough not to be seen as load between two runs.
const SPIN: Duration = Duration::from_micros(40);

/// Spin iterations between two looks at the clock.
const SPINS_PER_LOOK: u32 = 32;

/// Bit of [`Shared::pending`] that says that the caller sleeps; the bits below count running workers.
const CALLER_SLEEPS: u32 = 1 << 31;

/// Mailbox states.
const IDLE: u32 = 0;
const ASLEEP: u32 = 1;
const WORK: u32 = 2;
const EXIT: u32 = 3;

/// A value alone on its cache lines: 128 bytes, since x86 prefetches lines in pairs and some AArch64
/// cores have 128-byte lines.
#[repr(align(128))]
struct Padded<T>(T);

struct Mailbox {
    state: AtomicU32,
    /// Set by the worker before it can be [`ASLEEP`] for the first time.
    thread: OnceLock<Thread>,
}

/// One parallel loop.
#[derive(Clone, Copy)]
struct Job {
    body: Body,
    arg: *mut c_void,
    n: usize,
    participants: usize,
    env: FpEnv,
}

impl Job {
    /// Runs range `participant` of the static partition.
    fn run_range(&self, participant: usize) {
        for index in share(self.n, self.participants, participant) {
            // SAFETY: the caller of `dispatch` promised that `body` accepts `arg` and every index
            // below `n`, on any thread; `dispatch` returns only after this call has.
            unsafe { (self.body)(self.arg, index) }
        }
    }
}

/// The tasks of participant `t` of `p`: contiguous, sizes differ by at most one.
fn share(n: usize, p: usize, t: usize) -> Range<usize> {
    // t*n may exceed usize for absurd n; t <= p <= 1024, so 128 bits always hold it.
    let cut = |t: usize| (t as u128 * n as u128 / p as u128) as usize;
    cut(t)..cut(t + 1)
}

unsafe extern "C" fn no_body(_arg: *mut c_void, _index: usize) {}

struct Shared {
    /// Set while a loop owns the workers.
    busy: Padded<AtomicBool>,
    /// Workers that have not finished the current job, and [`CALLER_SLEEPS`].
    pending: Padded<AtomicU32>,
    job: Padded<UnsafeCell<Job>>,
    mailboxes: Box<[Padded<Mailbox>]>,
    spin: Duration,
    sleep: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is the only field that is not `Sync`; the hand-over in the module's comment orders
// every access to it. The raw pointers in it are only passed on to `body`, whose provider vouched for
// use from several threads.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to one thread.
unsafe impl Send for Shared {}

impl Shared {
    /// Runs a loop on the workers, or here if they are busy or not needed.
    ///
    /// # Safety
    /// `body` may be called with `arg` and each index below `n`, from several threads at once.
    unsafe fn dispatch(&self, n: usize, body: Body, arg: *mut c_void) {
        let participants = n.min(self.mailboxes.len() + 1);
        let owned =
            participants > 1 && self.busy.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        let job = Job { body, arg, n, participants: if owned { participants } else { 1 }, env: FpEnv::current() };
        if !owned {
            job.run_range(0);
            return;
        }
        // SAFETY: this thread owns `busy` and no worker has mail, so nobody reads the slot.
        unsafe { *self.job.0.get() = job };
        self.pending.0.store(participants as u32 - 1, Ordering::Relaxed);
        self.post_below(0, participants);
        job.run_range(0);
        self.wait_for_workers();
        self.busy.0.store(false, Ordering::Release);
    }

    /// Posts to the workers that participant `t` is to wake. Participant 0 is the caller, `t > 0` is
    /// worker `t - 1`.
    fn post_below(&self, t: usize, participants: usize) {
        let first = t * FAN_OUT + 1;
        for child in first..(first + FAN_OUT).min(participants) {
            self.post(child - 1, WORK);
        }
    }

    fn post(&self, worker: usize, mail: u32) {
        let Some(Padded(mailbox)) = self.mailboxes.get(worker) else {
            return;
        };
        if mailbox.state.swap(mail, Ordering::AcqRel) == ASLEEP
            && let Some(thread) = mailbox.thread.get()
        {
            thread.unpark();
        }
    }

    fn wait_for_workers(&self) {
        let pending = &self.pending.0;
        if self.spin_until(|| pending.load(Ordering::Acquire) == 0) {
            return;
        }
        if pending.fetch_or(CALLER_SLEEPS, Ordering::AcqRel) == 0 {
            return;
        }
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        while pending.load(Ordering::Acquire) & !CALLER_SLEEPS != 0 {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker's last act for a job. The caller may return, and another loop start, right after the
    /// decrement: a wake-up that then reaches that other loop's caller is spurious and harmless.
    fn finish(&self) {
        if self.pending.0.fetch_sub(1, Ordering::AcqRel) == CALLER_SLEEPS | 1 {
            // Taking the lock orders this wake-up after the caller's check and before its wait.
            drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_one();
        }
    }

    /// True as soon as `done` is; false after [`Shared::spin`].
    fn spin_until(&self, done: impl Fn() -> bool) -> bool {
        if done() {
            return true;
        }
        if self.spin.is_zero() {
            return false;
        }
        let start = Instant::now();
        loop {
            for _ in 0..SPINS_PER_LOOK {
                if done() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() >= self.spin {
                return done();
            }
        }
    }

    /// A worker's life.
    fn work(&self, worker: usize) {
        let Some(Padded(mailbox)) = self.mailboxes.get(worker) else {
            return;
        };
        // The only setter: it cannot have a value yet.
        let _ = mailbox.thread.set(std::thread::current());
        let own_env = FpEnv::current();
        loop {
            let has_mail = |s: u32| s >= WORK;
            if !self.spin_until(|| has_mail(mailbox.state.load(Ordering::Acquire)))
                && mailbox.state.compare_exchange(IDLE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
            {
                while !has_mail(mailbox.state.load(Ordering::Acquire)) {
                    std::thread::park();
                }
            }
            if mailbox.state.load(Ordering::Acquire) == EXIT {
                return;
            }
            // Before the decrement of `pending`: the next mail may come right after it.
            mailbox.state.store(IDLE, Ordering::Relaxed);
            // SAFETY: this worker has mail for the job and has not finished it, so the caller does
            // not write the slot; the mail's release (through its sender) made the job visible.
            let job = unsafe { *self.job.0.get() };
            self.post_below(worker + 1, job.participants);
            if job.env == own_env {
                job.run_range(worker + 1);
            } else {
                // SAFETY: only the job's bodies run under the caller's state, as they do there.
                unsafe { job.env.install() };
                job.run_range(worker + 1);
                // SAFETY: the state that this thread started with.
                unsafe { own_env.install() };
            }
            self.finish();
        }
    }
}

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// More threads than [`MAX_THREADS`].
    #[error("a pool of {0} threads was asked for; the most is {MAX_THREADS}")]
    TooManyThreads(usize),
    /// The operating system refused a thread.
    #[error("cannot start worker thread {worker}: {source}; ask for fewer threads")]
    Spawn {
        /// Number of the worker, from 0.
        worker: usize,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A persistent thread pool; see the module's comment for what it guarantees.
///
/// Dropping it stops and joins the workers. It must not be dropped from inside one of its bodies, and
/// does not survive `fork` (a child process has no workers and must make its own pool).
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    parallel: Parallel,
}

// SAFETY: `parallel.this` points into `shared`, which is `Sync` and lives as long as the pool.
unsafe impl Send for Pool {}
// SAFETY: as above; every method takes `&self` and is thread-safe.
unsafe impl Sync for Pool {}

impl Pool {
    /// A pool in which `threads` threads take part in a loop, the calling one included: it starts
    /// `threads - 1` workers. 0 means one for each processor this process may use.
    ///
    /// # Errors
    /// See [`PoolError`]; no thread is left behind.
    pub fn new(threads: usize) -> Result<Pool, PoolError> {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = if threads == 0 { processors.min(MAX_THREADS) } else { threads };
        if threads > MAX_THREADS {
            return Err(PoolError::TooManyThreads(threads));
        }
        let mailbox = |_| Padded(Mailbox { state: AtomicU32::new(IDLE), thread: OnceLock::new() });
        let idle = Job { body: no_body, arg: std::ptr::null_mut(), n: 0, participants: 1, env: FpEnv::current() };
        let shared = Arc::new(Shared {
            busy: Padded(AtomicBool::new(false)),
            pending: Padded(AtomicU32::new(0)),
            job: Padded(UnsafeCell::new(idle)),
            mailboxes: (1..threads).map(mailbox).collect(),
            // A spinning thread without a processor of its own delays the one it waits for.
            spin: if threads > processors { Duration::ZERO } else { SPIN },
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let parallel =
            Parallel { this: Arc::as_ptr(&shared).cast_mut().cast::<c_void>(), parallel_for: Some(pool_parallel_for) };
        let mut pool = Pool { shared, workers: Vec::with_capacity(threads - 1), parallel };
        for worker in 0..threads - 1 {
            let shared = Arc::clone(&pool.shared);
            let started =
                std::thread::Builder::new().name(format!("kiln-worker-{worker}")).spawn(move || shared.work(worker));
            match started {
                Ok(handle) => pool.workers.push(handle),
                // Dropping `pool` stops those that did start.
                Err(source) => return Err(PoolError::Spawn { worker, source }),
            }
        }
        Ok(pool)
    }

    /// Threads that take part in a loop, the caller included; at least 1.
    pub fn threads(&self) -> usize {
        self.shared.mailboxes.len() + 1
    }

    /// The pool as compiled code takes it. The pointers in it are valid while the pool lives.
    pub fn parallel(&self) -> &Parallel {
        &self.parallel
    }

    /// Runs `body(i)` for each `i` in `0..n`; returns when all are done.
    ///
    /// # Panics
    /// If a body panics, the tasks not yet started are skipped and the first panic is raised again
    /// here, once no body runs any more. The pool stays usable.
    pub fn parallel_for<F: Fn(usize) + Sync>(&self, n: usize, body: F) {
        let call = RustCall { body: &body, panicked: AtomicBool::new(false), payload: Mutex::new(None) };
        let arg = (&raw const call).cast_mut().cast::<c_void>();
        // SAFETY: `rust_body::<F>` reads `arg` as this `RustCall<F>`, which outlives the call and may
        // be shared since `F: Sync`.
        unsafe { self.shared.dispatch(n, rust_body::<F>, arg) };
        if let Some(payload) = call.payload.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for worker in 0..self.workers.len() {
            self.shared.post(worker, EXIT);
        }
        for handle in self.workers.drain(..) {
            // A worker runs nothing that can panic; if it did, there is nobody left to tell.
            let _ = handle.join();
        }
    }
}

/// [`Parallel::parallel_for`] of a pool; `this` is its `Shared`.
unsafe extern "C" fn pool_parallel_for(this: *mut c_void, n: usize, body: Body, arg: *mut c_void) {
    // SAFETY: the contract of `Parallel`: `this` is the pointer from `Pool::new`, whose pool lives;
    // `body` may be called with `arg` from several threads.
    unsafe { (*this.cast_const().cast::<Shared>()).dispatch(n, body, arg) }
}

struct RustCall<'a, F> {
    body: &'a F,
    panicked: AtomicBool,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Calls a Rust closure; a panic is kept for the caller of [`Pool::parallel_for`].
unsafe extern "C" fn rust_body<F: Fn(usize) + Sync>(arg: *mut c_void, index: usize) {
    // SAFETY: `Pool::parallel_for` passed a `RustCall<F>` that outlives the loop.
    let call = unsafe { &*arg.cast_const().cast::<RustCall<'_, F>>() };
    if call.panicked.load(Ordering::Relaxed) {
        return;
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (call.body)(index))) {
        call.panicked.store(true, Ordering::Relaxed);
        let mut first = call.payload.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *first {
            None => *first = Some(payload),
            // Dropping a second payload could panic in its turn, here, across the C ABI.
            Some(_) => std::mem::forget(payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_cover_every_task_once(n in 0usize..100_000, p in 1usize..64) {
            let mut next = 0;
            for t in 0..p {
                let range = share(n, p, t);
                prop_assert_eq!(range.start, next);
                prop_assert!((n / p..=n.div_ceil(p)).contains(&range.len()));
                next = range.end;
            }
            prop_assert_eq!(next, n);
        }
    }

    #[test]
    fn shares_of_the_largest_loop_do_not_overflow() {
        assert_eq!(share(usize::MAX, 1024, 1023).end, usize::MAX);
    }
}
