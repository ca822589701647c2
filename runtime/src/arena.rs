//! Workspaces: one block of zeroed, 64-byte aligned memory, freed when dropped.
//!
//! Large blocks are mapped at a 2 MiB boundary and marked for huge pages: a workspace is walked end to
//! end in each run, and with 4 KiB pages a large one misses the TLB all the way.

use memmap2::MmapMut;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Alignment of every workspace, constant and packed buffer, in bytes: a cache line and the widest
/// vector.
pub const ALIGNMENT: usize = 64;

/// Blocks of at least this many bytes are mapped rather than taken from the heap.
const MAP_FROM: usize = 4 << 20;

/// Size of a huge page on x86-64 and on AArch64 with 4 KiB base pages.
const HUGE_PAGE: usize = 2 << 20;

/// Why there is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArenaError {
    /// The size, rounded up, exceeds the address space.
    #[error("a workspace of {bytes} bytes exceeds the address space")]
    TooLarge {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The operating system has no more memory.
    #[error("no memory for a workspace of {bytes} bytes; lower the batch size or raise the memory limit")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}

enum Backing {
    /// No bytes; the address is a well-aligned dangling one.
    Empty,
    Heap(Layout),
    /// Keeps the mapping alive; `base` lies inside it.
    Mapped {
        _map: MmapMut,
    },
}

/// A block of zeroed memory, aligned to [`ALIGNMENT`].
pub struct Arena {
    base: NonNull<u8>,
    len: usize,
    backing: Backing,
}

// SAFETY: the block belongs to this value alone, like a `Vec<u8>`.
unsafe impl Send for Arena {}
// SAFETY: shared access only reads.
unsafe impl Sync for Arena {}

impl Arena {
    /// A block of at least `bytes` bytes; its length is `bytes` rounded up to [`ALIGNMENT`].
    ///
    /// # Errors
    /// [`ArenaError`] if the size overflows or the memory is not there.
    pub fn new(bytes: usize) -> Result<Arena, ArenaError> {
        let too_large = ArenaError::TooLarge { bytes };
        let len = bytes.checked_next_multiple_of(ALIGNMENT).ok_or(too_large)?;
        if len == 0 {
            return Ok(Arena { base: dangling(), len, backing: Backing::Empty });
        }
        // Checks that `len` fits an object (`isize::MAX`).
        let layout = Layout::from_size_align(len, ALIGNMENT).map_err(|_| too_large)?;
        if len >= MAP_FROM {
            return Arena::mapped(bytes, len);
        }
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(ArenaError::OutOfMemory { bytes })?;
        Ok(Arena { base, len, backing: Backing::Heap(layout) })
    }

    fn mapped(bytes: usize, len: usize) -> Result<Arena, ArenaError> {
        // Room to move the start up to a huge-page boundary; untouched pages cost nothing.
        let padded = len.checked_add(HUGE_PAGE).ok_or(ArenaError::TooLarge { bytes })?;
        let mut map = MmapMut::map_anon(padded).map_err(|_| ArenaError::OutOfMemory { bytes })?;
        // Advice: a kernel without transparent huge pages refuses it, and nothing is lost.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let start = map.as_mut_ptr();
        let skip = start.align_offset(HUGE_PAGE);
        // `align_offset` may answer "cannot tell"; the mapping is page-aligned in any case.
        let skip = if skip <= HUGE_PAGE { skip } else { 0 };
        // SAFETY: `skip + len <= padded`, the length of the mapping.
        let base = unsafe { NonNull::new_unchecked(start.add(skip)) };
        Ok(Arena { base, len, backing: Backing::Mapped { _map: map } })
    }

    /// Length in bytes, a multiple of [`ALIGNMENT`].
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a block of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first byte, aligned to [`ALIGNMENT`]; never null. Writing through it needs that no slice of
    /// [`Arena::as_slice`] is alive.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` initialized bytes that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// The bytes, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

fn dangling() -> NonNull<u8> {
    #[repr(align(64))]
    struct Aligned;
    const { assert!(align_of::<Aligned>() == ALIGNMENT) };
    NonNull::<Aligned>::dangling().cast()
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Backing::Heap(layout) = self.backing {
            // SAFETY: allocated with this layout and not freed before.
            unsafe { dealloc(self.base.as_ptr(), layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_zeroed_and_writable() {
        for bytes in [0, 1, 63, 64, 65, 4096, MAP_FROM - 64, MAP_FROM, MAP_FROM + 1, 3 * HUGE_PAGE + 7] {
            let mut arena = Arena::new(bytes).unwrap();
            assert_eq!(arena.len(), bytes.next_multiple_of(ALIGNMENT));
            let boundary = if bytes >= MAP_FROM { HUGE_PAGE } else { ALIGNMENT };
            assert_eq!(arena.as_mut_ptr().addr() % boundary, 0, "{bytes}");
            assert!(arena.as_slice().iter().all(|b| *b == 0));
            arena.as_mut_slice().fill(0xA5);
            assert!(arena.as_slice().iter().all(|b| *b == 0xA5));
        }
    }

    #[test]
    fn absurd_sizes_are_errors() {
        assert_eq!(Arena::new(usize::MAX).err(), Some(ArenaError::TooLarge { bytes: usize::MAX }));
        let half = isize::MAX as usize;
        assert_eq!(Arena::new(half).err(), Some(ArenaError::TooLarge { bytes: half }));
        // Beyond the 47 or 57 bits of address space that a process has.
        let huge = 1usize << 60;
        assert_eq!(Arena::new(huge).err(), Some(ArenaError::OutOfMemory { bytes: huge }));
    }
}
