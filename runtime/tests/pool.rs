//! The pool under stress: every task exactly once, nested and concurrent loops, more threads than
//! processors, panics, and results that do not depend on the thread count.

use kiln_rt::abi;
use kiln_rt::pool::{MAX_THREADS, Pool, PoolError};
use std::collections::HashSet;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

fn counters(n: usize) -> Vec<AtomicU32> {
    (0..n).map(|_| AtomicU32::new(0)).collect()
}

fn all_equal(counts: &[AtomicU32], want: u32) -> bool {
    counts.iter().all(|c| c.load(Ordering::Relaxed) == want)
}

#[test]
fn every_task_runs_once_for_every_size_and_thread_count() {
    for threads in 1..=8 {
        let pool = Pool::new(threads).unwrap();
        assert_eq!(pool.threads(), threads);
        for n in (0..=20).chain([63, 64, 65, 1000]) {
            let counts = counters(n);
            pool.parallel_for(n, |i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(all_equal(&counts, 1), "threads {threads}, n {n}");
        }
    }
}

#[test]
fn many_short_loops_oversubscribed() {
    for threads in [2, 3, 8, 33] {
        let pool = Pool::new(threads).unwrap();
        let sum = AtomicUsize::new(0);
        for _ in 0..5_000 {
            pool.parallel_for(threads, |i| {
                sum.fetch_add(i + 1, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.into_inner(), 5_000 * threads * (threads + 1) / 2);
    }
}

#[test]
fn writes_are_visible_after_the_loop() {
    // Plain, non-atomic writes: only the pool's own ordering makes them visible.
    let pool = Pool::new(4).unwrap();
    let mut data = vec![0u64; 4096];
    for round in 1..=500u64 {
        let base = data.as_mut_ptr() as usize;
        pool.parallel_for(64, |task| {
            for i in task * 64..(task + 1) * 64 {
                // SAFETY: `data` has 4096 elements and tasks write disjoint ranges of it.
                unsafe { *(base as *mut u64).add(i) += round };
            }
        });
        assert!(data.iter().all(|v| *v == round * (round + 1) / 2));
    }
}

#[test]
fn nested_loops_run_inline() {
    let pool = Pool::new(4).unwrap();
    let counts = counters(16 * 16);
    pool.parallel_for(16, |i| {
        let outer = std::thread::current().id();
        pool.parallel_for(16, |j| {
            assert_eq!(std::thread::current().id(), outer);
            counts[i * 16 + j].fetch_add(1, Ordering::Relaxed);
        });
    });
    assert!(all_equal(&counts, 1));
}

#[test]
fn concurrent_callers_do_not_deadlock() {
    let pool = Pool::new(4).unwrap();
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for n in 0..2_000 {
                    pool.parallel_for(n % 40, |_| {
                        total.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(total.into_inner(), 6 * (0..2_000).map(|n| n % 40).sum::<usize>());
}

#[test]
fn the_partition_is_static() {
    let pool = Pool::new(3).unwrap();
    let owners = |n: usize| {
        let owner = Mutex::new(vec![None; n]);
        pool.parallel_for(n, |i| owner.lock().unwrap()[i] = Some(std::thread::current().id()));
        owner.into_inner().unwrap()
    };
    let first = owners(10);
    for _ in 0..100 {
        assert_eq!(owners(10), first);
    }
    // Ranges 0..3, 3..6, 6..10, each on one thread, the first on this one.
    assert!(first[..3].iter().all(|o| *o == Some(std::thread::current().id())));
    assert!(first[3..6].iter().all(|o| *o == first[3]));
    assert!(first[6..].iter().all(|o| *o == first[6]));
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 3);
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_survives() {
    let pool = Pool::new(4).unwrap();
    for _ in 0..50 {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.parallel_for(8, |i| {
                if i % 2 == 1 {
                    std::panic::resume_unwind(Box::new(i));
                }
            });
        }));
        assert_eq!(caught.unwrap_err().downcast_ref::<usize>().unwrap() % 2, 1);
        let counts = counters(8);
        pool.parallel_for(8, |i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        assert!(all_equal(&counts, 1));
    }
}

#[test]
fn sleeping_workers_wake_up() {
    let pool = Pool::new(6).unwrap();
    for _ in 0..5 {
        // Well past the spin: the workers sleep, and so does the caller behind the slow task.
        std::thread::sleep(std::time::Duration::from_millis(3));
        let counts = counters(6);
        pool.parallel_for(6, |i| {
            if i == 5 {
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        assert!(all_equal(&counts, 1));
    }
}

#[test]
fn too_many_threads_is_an_error() {
    assert!(matches!(Pool::new(MAX_THREADS + 1), Err(PoolError::TooManyThreads(_))));
    assert!(Pool::new(0).unwrap().threads() >= 1);
}

unsafe extern "C" fn count_slot(arg: *mut c_void, index: usize) {
    // SAFETY: the test passes an array of `AtomicU32` longer than the loop.
    unsafe { (*arg.cast::<AtomicU32>().add(index)).fetch_add(1, Ordering::Relaxed) };
}

#[test]
fn the_c_interface_runs_with_a_pool_and_without() {
    let pool = Pool::new(3).unwrap();
    let no_function = abi::Parallel { this: std::ptr::null_mut(), parallel_for: None };
    let ways: [*const abi::Parallel; 3] = [pool.parallel(), std::ptr::null(), &no_function];
    for par in ways {
        let counts = counters(100);
        // SAFETY: `par` is null or valid, `counts` has an element for each index.
        unsafe { abi::parallel_for(par, 100, count_slot, counts.as_ptr().cast_mut().cast()) };
        assert!(all_equal(&counts, 1));
    }
}

/// Subnormal arithmetic on the workers must follow the caller's flush-to-zero bit.
#[cfg(target_arch = "x86_64")]
#[test]
fn workers_use_the_callers_floating_point_state() {
    fn set_mxcsr(value: u32) {
        // SAFETY: only defined bits are set; the test restores the state before anything else.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack)) }
    }
    /// `a * b` that the compiler can neither fold nor assume a rounding or flush mode for.
    fn multiply(a: f32, b: f32) -> f32 {
        let mut out = a;
        // SAFETY: one SSE multiplication in registers.
        unsafe { std::arch::asm!("mulss {}, {}", inout(xmm_reg) out, in(xmm_reg) b, options(nomem, nostack)) }
        out
    }
    let pool = Pool::new(4).unwrap();
    let products = || {
        let out: Vec<AtomicU32> = counters(4);
        pool.parallel_for(4, |i| out[i].store(multiply(1e-30, 1e-10).to_bits(), Ordering::Relaxed));
        out.iter().map(|v| v.load(Ordering::Relaxed)).collect::<Vec<_>>()
    };
    let subnormal = 1e-40f32.to_bits();
    assert_eq!(products(), [subnormal; 4]);
    set_mxcsr(0x9F80); // default masks, round to nearest, flush to zero
    let flushed = products();
    set_mxcsr(0x1F80);
    assert_eq!(flushed, [0; 4]);
    assert_eq!(products(), [subnormal; 4], "the workers' own state is restored");
}
