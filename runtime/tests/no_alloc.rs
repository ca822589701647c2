//! What runs between kernels does not allocate: counted by the global allocator. One test only, so
//! that no other test's allocations are counted.

use kiln_rt::Pool;
use kiln_rt::ukernel::{self, GemmTile};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn loops_and_micro_kernels_do_not_allocate() {
    let pool = Pool::new(4).unwrap();
    let sum = AtomicU64::new(0);
    let add = |i: usize| {
        sum.fetch_add(i as u64, Ordering::Relaxed);
    };
    // Workers start up, and every thread has slept and woken once.
    for _ in 0..20 {
        pool.parallel_for(8, add);
        std::thread::sleep(Duration::from_millis(1));
    }
    let kernel = ukernel::select().gemm_f32_for(16).unwrap();
    let (mr, nr) = (kernel.shape.mr, kernel.shape.nr);
    let (a, b, mut c) = (vec![1f32; mr * 300], vec![2f32; 300 * nr], vec![0f32; mr * nr]);
    let row_off: Vec<i64> = (0..mr).map(|r| (r * 300) as i64).collect();
    let tile = GemmTile {
        a: a.as_ptr(),
        row_off: row_off.as_ptr(),
        tap_off: std::ptr::null(),
        b: b.as_ptr(),
        c: c.as_mut_ptr(),
        k: 300,
        taps: 1,
        rows: mr,
        row_off_tap_stride: 0,
        a_k_stride: 1,
        b_k_stride: nr,
        b_tap_stride: 0,
        c_row_stride: nr,
        accumulate: 0,
    };

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let start = Instant::now();
    for _ in 0..2_000 {
        pool.parallel_for(8, add);
    }
    let hot = start.elapsed();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(1));
        pool.parallel_for(8, |i| pool.parallel_for(2, |j| add(i + j)));
    }
    // SAFETY: the buffers hold `mr` rows of 300, 300 rows of `nr`, and the tile.
    unsafe { (kernel.run)(&tile) };
    let after = ALLOCATIONS.load(Ordering::Relaxed);

    assert_eq!(after - before, 0);
    assert_eq!(sum.into_inner(), (20 + 2_000) * 28 + 20 * (2 * 28 + 8));
    assert!(c.iter().all(|v| *v == 600.0));
    println!("{:.2} us for an empty loop on {} threads", hot.as_secs_f64() * 1e6 / 2e3, pool.threads());
}
