//! The tile loop, once for all vectors, and the macro that makes a kernel of it.
//!
//! `R x NV` accumulators stay in registers; each step of `p` loads `NV` vectors of B and multiplies
//! them with one broadcast element of each row of A. A full tile of `mr x (nr / lanes)` accumulators is
//! chosen so that they, the B vectors and one broadcast fit the registers, and so that there are at
//! least latency times throughput independent chains (8 to 10 on today's cores).

use super::{CHAIN, GemmTile, Vector};

/// Steps of `p` in one turn of the inner loop. Only with a constant stride: otherwise LLVM computes all
/// the turn's addresses up front, and the accumulators go to the stack.
const fn unroll(unit: bool) -> usize {
    if unit { 4 } else { 1 }
}

/// Computes a tile of exactly `R` rows and `NV` vectors. `UNIT` says that `a_k_stride` is 1.
///
/// # Safety
/// As for [`super::GemmFn`], with `R <= tile.rows`; the caller has the vector's instructions.
#[inline(always)]
pub(super) unsafe fn tile<V: Vector, const R: usize, const NV: usize, const UNIT: bool>(tile: &GemmTile<V::Elem>) {
    // SAFETY: `a`, `b`, `c` and the offsets are valid for every element addressed below, by contract.
    // A's address is computed on integers, because a row may lie in another buffer (zeros) than `a`.
    unsafe {
        let size = size_of::<V::Elem>() as i64;
        let step = if UNIT { 1 } else { tile.a_k_stride as isize };
        let unroll = const { unroll(UNIT) };
        let mut acc = [[V::zero(); NV]; R];
        let mut chain = 0;
        let mut add_to_c = tile.accumulate != 0;
        for tap in 0..tile.taps {
            let tap_off = if tile.tap_off.is_null() { 0 } else { *tile.tap_off.add(tap) };
            let row_off = tile.row_off.add(tap * tile.row_off_tap_stride);
            let mut rows = [tile.a; R];
            for (r, row) in rows.iter_mut().enumerate() {
                let bytes = (*row_off.add(r)).wrapping_add(tap_off).wrapping_mul(size);
                let address = tile.a.expose_provenance().wrapping_add_signed(bytes as isize);
                *row = std::ptr::with_exposed_provenance(address);
            }
            let mut b = tile.b.add(tap * tile.b_tap_stride);
            let mut left = tile.k;
            while left > 0 {
                let steps = left.min(CHAIN - chain);
                left -= steps;
                chain += steps;
                for _ in 0..steps / unroll {
                    for u in 0..unroll {
                        multiply::<V, R, NV>(&mut acc, &rows, u as isize * step, b.add(u * tile.b_k_stride));
                    }
                    for row in &mut rows {
                        *row = row.wrapping_offset(unroll as isize * step);
                    }
                    b = b.wrapping_add(unroll * tile.b_k_stride);
                }
                for _ in 0..steps % unroll {
                    multiply::<V, R, NV>(&mut acc, &rows, 0, b);
                    for row in &mut rows {
                        *row = row.wrapping_offset(step);
                    }
                    b = b.wrapping_add(tile.b_k_stride);
                }
                if chain == CHAIN {
                    flush(&mut acc, tile.c, tile.c_row_stride, add_to_c);
                    add_to_c = true;
                    chain = 0;
                }
            }
        }
        // Adding a chain of no products could only change -0 to +0; it is needed if C was never set.
        if chain > 0 || !add_to_c {
            flush(&mut acc, tile.c, tile.c_row_stride, add_to_c);
        }
    }
}

/// One step of `p`: `acc[r][v] += rows[r][at] * b[v]`.
#[inline(always)]
unsafe fn multiply<V: Vector, const R: usize, const NV: usize>(
    acc: &mut [[V; NV]; R],
    rows: &[*const V::Elem; R],
    at: isize,
    b: *const V::Elem,
) {
    // SAFETY: the caller's contract covers these elements of A and B.
    unsafe {
        let mut columns = [V::zero(); NV];
        for (v, column) in columns.iter_mut().enumerate() {
            *column = V::load(b.add(v * V::LANES));
        }
        for r in 0..R {
            let a = V::splat(rows[r].offset(at));
            for v in 0..NV {
                acc[r][v] = a.mul_add(columns[v], acc[r][v]);
            }
        }
    }
}

/// Writes the accumulators to C, or adds them, and clears them.
#[inline(always)]
unsafe fn flush<V: Vector, const R: usize, const NV: usize>(
    acc: &mut [[V; NV]; R],
    c: *mut V::Elem,
    c_row_stride: usize,
    add_to_c: bool,
) {
    // SAFETY: the caller's contract covers `R` rows of `NV * LANES` elements of C.
    unsafe {
        for (r, row) in acc.iter_mut().enumerate() {
            for (v, chain) in row.iter_mut().enumerate() {
                let to = c.add(r * c_row_stride + v * V::LANES);
                let sum = if add_to_c { V::load(to).add(*chain) } else { *chain };
                sum.store(to);
                *chain = V::zero();
            }
        }
    }
}

/// The multiply-add rate of `N` independent chains: `steps` rounds, `steps * N * LANES` multiply-adds.
/// The result is written to `out` so that nothing is removed.
///
/// # Safety
/// `x` and `out` hold at least `2 * LANES` elements; the caller has the vector's instructions.
#[inline(always)]
pub(super) unsafe fn chains<V: Vector, const N: usize>(steps: usize, x: *const V::Elem, out: *mut V::Elem) {
    // SAFETY: by contract.
    unsafe {
        let (factor, term) = (V::load(x), V::load(x.add(V::LANES)));
        let mut acc = [V::zero(); N];
        for _ in 0..steps {
            for chain in &mut acc {
                *chain = chain.mul_add(factor, term);
            }
        }
        let mut sum = V::zero();
        for chain in acc {
            sum = sum.add(chain);
        }
        sum.store(out);
    }
}

/// Defines `$name`, an exported kernel of `$mr` rows and `$nv` vectors, and `$entry`, its table row.
///
/// Each row count has an instance of its own, so a tile at a matrix's edge costs what its rows cost.
macro_rules! gemm_kernel {
    ($entry:ident, $name:ident, $shape:literal, $vector:ty, $mr:literal x $nv:literal, rows: [$($rows:literal)+] $(, $features:literal)?) => {
        /// A micro-kernel; see `GemmTile` for its arguments.
        ///
        /// # Safety
        /// As for `GemmFn`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(tile: *const $crate::ukernel::GemmTile<<$vector as $crate::ukernel::Vector>::Elem>) {
            type Elem = <$vector as $crate::ukernel::Vector>::Elem;
            type Instance = unsafe fn(&$crate::ukernel::GemmTile<Elem>);

            $(#[target_feature(enable = $features)])?
            unsafe fn instance<const R: usize, const UNIT: bool>(tile: &$crate::ukernel::GemmTile<Elem>) {
                // SAFETY: the contract of the exported function; `R` is at most `tile.rows`.
                unsafe { $crate::ukernel::kernel::tile::<$vector, R, $nv, UNIT>(tile) }
            }
            const INSTANCES: [[Instance; 2]; $mr] = [$([instance::<$rows, false>, instance::<$rows, true>]),+];

            // SAFETY: valid by contract.
            let tile = unsafe { &*tile };
            let Some(row) = tile.rows.min($mr).checked_sub(1) else { return };
            let [strided, unit] = INSTANCES[row];
            let run = if tile.a_k_stride == 1 { unit } else { strided };
            // SAFETY: the contract of this function, and an instance with no more rows than the tile.
            unsafe { run(tile) }
        }

        const $entry: $crate::ukernel::GemmKernel<<$vector as $crate::ukernel::Vector>::Elem> = $crate::ukernel::GemmKernel {
            shape: $crate::ukernel::TileShape {
                mr: $mr,
                nr: $nv * <$vector as $crate::ukernel::Vector>::LANES,
                name: $shape,
            },
            symbol: stringify!($name),
            run: $name,
        };
    };
}
pub(super) use gemm_kernel;

/// Defines `$name`, the peak loop of a vector type, see `chains`.
macro_rules! peak_loop {
    ($name:ident, $vector:ty, $chains:literal $(, $features:literal)?) => {
        /// Runs `steps` rounds of independent multiply-adds and returns how many floating-point
        /// operations (two for each) those were.
        ///
        /// # Safety
        /// The CPU has the vector's instructions; `x` and `out` hold at least two vectors each.
        $(#[target_feature(enable = $features)])?
        pub(crate) unsafe fn $name(
            steps: usize,
            x: *const <$vector as $crate::ukernel::Vector>::Elem,
            out: *mut <$vector as $crate::ukernel::Vector>::Elem,
        ) -> f64 {
            // SAFETY: this function's contract.
            unsafe { $crate::ukernel::kernel::chains::<$vector, $chains>(steps, x, out) };
            2.0 * (steps * $chains * <$vector as $crate::ukernel::Vector>::LANES) as f64
        }
    };
}
pub(super) use peak_loop;
