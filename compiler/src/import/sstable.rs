//! Sorted string tables in LevelDB's format, the index of a tensor bundle.
//!
//! Layout: data blocks, a meta-index block, an index block (last key of each data block to its place), a
//! footer of 48 bytes that ends in a magic number. A block is a run of entries (bytes shared with the key
//! before, bytes not shared, length of the value, as varints; then those bytes), the restart points, their
//! count; behind it a byte for the compression and a masked CRC-32C of block and byte.
//! Keys are checked to be in ascending order.

use super::error::{ImportError, Result};
use super::limits::MAX_BLOCK_BYTES;
use super::wire::varint;
use prost::bytes::Bytes;

const FOOTER_BYTES: usize = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Compression byte and checksum behind each block.
const TRAILER_BYTES: usize = 5;
const MASK_DELTA: u32 = 0xa282_ead8;

/// The stored form of a checksum: rotated and shifted, so that a checksum of data that hold checksums stays good.
pub fn mask_crc(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(MASK_DELTA)
}

/// Where a block lies in the file.
struct Handle {
    offset: usize,
    size: usize,
}

fn handle(data: &[u8], at: &mut usize) -> Option<Handle> {
    let offset = usize::try_from(varint(data, at, data.len())?).ok()?;
    let size = usize::try_from(varint(data, at, data.len())?).ok()?;
    Some(Handle { offset, size })
}

/// Calls `each` with every key and value of a table, in order.
///
/// Errors: anything that breaks the format, a wrong checksum, and what `each` returns.
pub fn read(file: &Bytes, mut each: impl FnMut(&[u8], Bytes) -> Result<()>) -> Result<()> {
    let bad = |what: &str| ImportError::malformed("table", what);
    let footer_at = file.len().checked_sub(FOOTER_BYTES).ok_or_else(|| bad("the file is too short for a footer"))?;
    let footer = &file[footer_at..];
    let magic = footer.last_chunk::<8>().map(|b| u64::from_le_bytes(*b));
    if magic != Some(MAGIC) {
        return Err(bad("the magic number at the end is wrong: not a checkpoint's index, or cut off"));
    }
    let mut at = 0;
    let handles = handle(footer, &mut at).and_then(|_meta| handle(footer, &mut at));
    let index = handles.ok_or_else(|| bad("the footer does not say where the index lies"))?;
    let mut last_key: Vec<u8> = Vec::new();
    let mut first = true;
    entries(&block(file, &index, footer_at)?, |separator, value| {
        let place = handle(&value, &mut 0).ok_or_else(|| bad("an entry of the index is not the place of a block"))?;
        entries(&block(file, &place, footer_at)?, |key, value| {
            if !first && key <= last_key.as_slice() || key > separator {
                return Err(bad("the keys are not in ascending order"));
            }
            first = false;
            last_key.clear();
            last_key.extend_from_slice(key);
            each(key, value)
        })
    })
}

/// Reads, checks and decompresses a block, which must end before `end`.
fn block(file: &Bytes, handle: &Handle, end: usize) -> Result<Bytes> {
    let place = || format!("block at byte {}", handle.offset);
    let bad = |what: &str| ImportError::malformed(place(), what);
    let stop = handle.offset.checked_add(handle.size).ok_or_else(|| bad("its size overflows"))?;
    if stop.checked_add(TRAILER_BYTES).is_none_or(|trailer| trailer > end) {
        return Err(bad("it runs past the end of the file"));
    }
    let crc =
        file.get(stop + 1..stop + TRAILER_BYTES).and_then(|b| b.first_chunk::<4>()).map(|b| u32::from_le_bytes(*b));
    if crc != Some(mask_crc(crc32c::crc32c(&file[handle.offset..=stop]))) {
        return Err(bad("the checksum is wrong: the file is damaged"));
    }
    match file[stop] {
        0 => Ok(file.slice(handle.offset..stop)),
        1 => {
            let packed = &file[handle.offset..stop];
            let length = snap::raw::decompress_len(packed).map_err(|e| bad(&format!("Snappy: {e}")))?;
            if length > MAX_BLOCK_BYTES {
                return Err(ImportError::Limit {
                    place: place(),
                    what: format!("{length} bytes"),
                    limit: MAX_BLOCK_BYTES as u64,
                });
            }
            let data = snap::raw::Decoder::new().decompress_vec(packed).map_err(|e| bad(&format!("Snappy: {e}")))?;
            Ok(data.into())
        }
        kind => Err(ImportError::unsupported(place(), format!("compression {kind}; only none and Snappy are known"))),
    }
}

/// Calls `each` with the keys and values of a block.
fn entries(block: &Bytes, mut each: impl FnMut(&[u8], Bytes) -> Result<()>) -> Result<()> {
    let bad = |what: &str| ImportError::malformed("block", what);
    let restarts = block.last_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize);
    let tail = restarts.and_then(|n| n.checked_add(1)?.checked_mul(4));
    let end =
        tail.and_then(|tail| block.len().checked_sub(tail)).ok_or_else(|| bad("the restart points do not fit"))?;
    let mut key: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < end {
        let mut length = || usize::try_from(varint(block, &mut at, end)?).ok();
        let (Some(shared), Some(unshared), Some(size)) = (length(), length(), length()) else {
            return Err(bad("an entry's lengths are cut off"));
        };
        let Some(tail) = at.checked_add(unshared).and_then(|stop| block.get(at..stop)) else {
            return Err(bad("a key runs past the end"));
        };
        if shared > key.len() {
            return Err(bad("a key shares more bytes than the one before has"));
        }
        key.truncate(shared);
        key.extend_from_slice(tail);
        let start = at + unshared;
        let Some(stop) = start.checked_add(size).filter(|&stop| stop <= end) else {
            return Err(bad("a value runs past the end"));
        };
        each(&key, block.slice(start..stop))?;
        at = stop;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::import::wire::put_varint;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A writer for tests: `per_block` entries a block, `restart` entries between restart points.
    pub(crate) fn write(
        entries: &BTreeMap<Vec<u8>, Vec<u8>>,
        per_block: usize,
        restart: usize,
        snappy: bool,
    ) -> Vec<u8> {
        fn add(file: &mut Vec<u8>, items: &[(Vec<u8>, Vec<u8>)], restart: usize, snappy: bool) -> Vec<u8> {
            let (mut block, mut points, mut last) = (Vec::new(), Vec::new(), Vec::new());
            for (i, (key, value)) in items.iter().enumerate() {
                let mut shared = 0;
                if i % restart == 0 {
                    points.push(block.len() as u32);
                } else {
                    shared = key.iter().zip(&last).take_while(|(a, b)| a == b).count();
                }
                for n in [shared, key.len() - shared, value.len()] {
                    put_varint(&mut block, n as u64);
                }
                block.extend(&key[shared..]);
                block.extend(value);
                last = key.clone();
            }
            if points.is_empty() {
                points.push(0);
            }
            let count = points.len() as u32;
            points.push(count);
            block.extend(points.iter().flat_map(|p| p.to_le_bytes()));
            if snappy {
                block = snap::raw::Encoder::new().compress_vec(&block).unwrap();
            }
            let mut place = Vec::new();
            put_varint(&mut place, file.len() as u64);
            put_varint(&mut place, block.len() as u64);
            block.push(u8::from(snappy));
            let crc = mask_crc(crc32c::crc32c(&block));
            file.extend(block);
            file.extend(crc.to_le_bytes());
            place
        }
        let items: Vec<_> = entries.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut file = Vec::new();
        let mut index = Vec::new();
        for chunk in items.chunks(per_block) {
            let place = add(&mut file, chunk, restart, snappy);
            index.push((chunk[chunk.len() - 1].0.clone(), place));
        }
        let mut footer = add(&mut file, &[], 1, snappy);
        footer.extend(add(&mut file, &index, 1, snappy));
        footer.resize(FOOTER_BYTES - 8, 0);
        footer.extend(MAGIC.to_le_bytes());
        file.extend(footer);
        file
    }

    fn read_all(file: Vec<u8>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut out = BTreeMap::new();
        read(&file.into(), |k, v| {
            out.insert(k.to_vec(), v.to_vec());
            Ok(())
        })?;
        Ok(out)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            table in proptest::collection::btree_map(proptest::collection::vec(0u8..3, 0..8), proptest::collection::vec(any::<u8>(), 0..20), 0..60),
            per_block in 1usize..20, restart in 1usize..17, snappy: bool,
        ) {
            prop_assert_eq!(read_all(write(&table, per_block, restart, snappy)).unwrap(), table);
        }

        #[test]
        fn damage_is_an_error_or_harmless(
            table in proptest::collection::btree_map(proptest::collection::vec(0u8..3, 0..8), proptest::collection::vec(any::<u8>(), 0..20), 0..30),
            snappy: bool, at: proptest::sample::Index, flip in 1u8..=255,
        ) {
            let mut file = write(&table, 4, 3, snappy);
            let i = at.index(file.len());
            file[i] ^= flip;
            // Bytes that nothing depends on: the padding of the footer and the meta-index block.
            if let Ok(read) = read_all(file) {
                prop_assert_eq!(read, table);
            }
        }

        #[test]
        fn noise_does_not_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), with_magic: bool) {
            let mut file = noise;
            if with_magic {
                file.extend(MAGIC.to_le_bytes());
            }
            let _ = read_all(file.clone());
            // The entries of a block alone, without a checksum in the way.
            let _ = entries(&file.into(), |_, _| Ok(()));
        }
    }

    #[test]
    fn keys_out_of_order_are_refused() {
        let table: BTreeMap<_, _> = [(b"a".to_vec(), vec![]), (b"b".to_vec(), vec![])].into();
        let mut file = write(&table, 2, 1, false);
        // Swap the two keys in the only block: offsets 3 and 7.
        file[3] = b'b';
        file[7] = b'a';
        let size = 8 + 12;
        let crc = mask_crc(crc32c::crc32c(&file[..size + 1]));
        file[size + 1..size + 5].copy_from_slice(&crc.to_le_bytes());
        assert!(read_all(file).unwrap_err().to_string().contains("ascending"));
    }
}
