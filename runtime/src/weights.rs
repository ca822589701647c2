//! Weights files: a model's packed constants as one block of bytes, mapped and never copied.
//!
//! Layout, integers little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic, [`MAGIC`] |
//! | 8 | 4 | version, [`VERSION`] |
//! | 12 | 4 | offset of the payload, [`HEADER_LEN`] |
//! | 16 | 8 | length of the payload in bytes |
//! | 24 | 8 | XXH64 (seed 0) of the payload |
//! | 32 | 8 | layout id: what the compiler says about order, shapes and packing; 0 if it says nothing |
//! | 40 | 16 | reserved, zero |
//! | 56 | 8 | XXH64 (seed 0) of bytes 0 to 55 |
//! | 64 | | payload, and nothing after it |
//!
//! Two numbers because they answer two questions: the checksum says that the bytes are undamaged, the
//! layout id that they fit the compiled code, so that retrained weights can replace the old ones.
//! Payload bytes are in the target's own byte order, as the code that reads them expects.
//!
//! [`Weights::map`] checks header and length in constant time; [`Weights::verify`] reads everything.
//! A file is written aside and renamed: a reader sees the old file or the new one, whole.

use crate::arena::ALIGNMENT;
use crate::hash::{Xxh64, xxh64};
use crate::status::Status;
use memmap2::Mmap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The first bytes of a weights file. The high bit and the line ends show a transfer in text mode.
pub const MAGIC: [u8; 8] = *b"\x8AKilnW\r\n";
/// The version that is written and the only one that is read.
pub const VERSION: u32 = 1;
/// Length of the header, so also the offset of the payload, in bytes.
pub const HEADER_LEN: usize = 64;

/// Why a weights file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The system's refusal.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The file is not a weights file that this version reads.
    #[error("{}: {problem}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with the bytes of a weights file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Shorter than the header, or another magic.
    #[error("not a Kiln weights file")]
    NotWeights,
    /// A version that this library does not read.
    #[error("weights file version {found}; this library reads version {VERSION}: compile the model again")]
    Version {
        /// The file's version.
        found: u32,
    },
    /// The header's own checksum or a fixed field is wrong.
    #[error("the header is damaged")]
    Header,
    /// The length differs from what the header says.
    #[error("the file has {found} bytes, its header says {expected}: it is truncated or was appended to")]
    Length {
        /// Header and payload, in bytes.
        expected: u64,
        /// The file's size in bytes.
        found: u64,
    },
    /// The payload's checksum differs.
    #[error("the payload is damaged: checksum {found:016x}, expected {expected:016x}")]
    Checksum {
        /// The header's.
        expected: u64,
        /// The payload's.
        found: u64,
    },
}

impl WeightsError {
    /// The C ABI's code for this error.
    pub fn status(&self) -> Status {
        match self {
            WeightsError::Io { source, .. } if source.kind() == io::ErrorKind::OutOfMemory => Status::OutOfMemory,
            WeightsError::Io { .. } => Status::Io,
            WeightsError::Corrupt { .. } => Status::CorruptFile,
        }
    }
}

/// The header's fields that vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload bytes.
    pub payload_len: u64,
    /// XXH64 of the payload.
    pub checksum: u64,
    /// The compiler's layout id.
    pub layout_id: u64,
}

impl Header {
    /// The header as it stands in the file.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(HEADER_LEN as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.layout_id.to_le_bytes());
        let own = xxh64(&bytes[..56], 0);
        bytes[56..64].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// Reads and checks the header of a file that begins with `file`; its length is not checked.
    ///
    /// # Errors
    /// The [`Problem`] with it.
    pub fn decode(file: &[u8]) -> Result<Header, Problem> {
        let bytes: &[u8; HEADER_LEN] = file.first_chunk().ok_or(Problem::NotWeights)?;
        if bytes[..8] != MAGIC {
            return Err(Problem::NotWeights);
        }
        // Constant offsets below the array's constant length: the compiler proves these in range.
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        // The version first: a later one may have changed everything behind it.
        if half(8) != VERSION {
            return Err(Problem::Version { found: half(8) });
        }
        let header = Header { payload_len: word(16), checksum: word(24), layout_id: word(32) };
        if *bytes != header.encode() {
            return Err(Problem::Header);
        }
        Ok(header)
    }

    /// Bytes of the whole file; `None` if they exceed 64 bits.
    fn file_len(&self) -> Option<u64> {
        self.payload_len.checked_add(HEADER_LEN as u64)
    }
}

/// A weights file in memory, read-only, with a checked header.
///
/// The file must not be truncated while it is mapped: the system would end the process at the next
/// access. Replacing it by renaming another over it, as [`WeightsWriter`] does, is safe.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl Weights {
    /// Maps a file and checks its header and length.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file.
    pub fn map(path: &Path) -> Result<Weights, WeightsError> {
        let io = |action| move |source| WeightsError::Io { path: path.to_owned(), action, source };
        let corrupt = |problem| WeightsError::Corrupt { path: path.to_owned(), problem };
        let file = File::open(path).map_err(io("open"))?;
        let metadata = file.metadata().map_err(io("read the size"))?;
        if !metadata.is_file() || metadata.len() < HEADER_LEN as u64 {
            return Err(corrupt(Problem::NotWeights));
        }
        // SAFETY: a private read-only mapping of a regular file; the type's comment states what a
        // user must not do to the file.
        let map = unsafe { Mmap::map(&file) }.map_err(io("map"))?;
        let header = Header::decode(&map).map_err(corrupt)?;
        let found = map.len() as u64;
        if header.file_len() != Some(found) {
            let expected = header.file_len().unwrap_or(u64::MAX);
            return Err(corrupt(Problem::Length { expected, found }));
        }
        Ok(Weights { path: path.to_owned(), map, header })
    }

    /// Reads the whole payload and compares its checksum.
    ///
    /// # Errors
    /// [`Problem::Checksum`] within [`WeightsError::Corrupt`].
    pub fn verify(&self) -> Result<(), WeightsError> {
        let (expected, found) = (self.header.checksum, xxh64(self.payload(), 0));
        if expected == found {
            return Ok(());
        }
        Err(WeightsError::Corrupt { path: self.path.clone(), problem: Problem::Checksum { expected, found } })
    }

    /// The payload; its first byte is aligned to 64 bytes.
    pub fn payload(&self) -> &[u8] {
        self.map.get(HEADER_LEN..).unwrap_or_default()
    }

    /// The header.
    pub fn header(&self) -> Header {
        self.header
    }
}

/// Writes a weights file in pieces; nothing appears under its name before [`WeightsWriter::finish`],
/// and nothing is left if that is never reached.
#[derive(Debug)]
pub struct WeightsWriter {
    target: PathBuf,
    aside: PathBuf,
    /// `None` after `finish`.
    file: Option<BufWriter<File>>,
    hash: Xxh64,
    len: u64,
    layout_id: u64,
}

impl WeightsWriter {
    /// Starts a file that will be named `path`. The bytes go to a new file beside it.
    ///
    /// # Errors
    /// [`WeightsError::Io`].
    pub fn create(path: &Path, layout_id: u64) -> Result<WeightsWriter, WeightsError> {
        let (file, aside) = create_aside(path).map_err(|source| WeightsError::Io {
            path: path.to_owned(),
            action: "create a file beside it",
            source,
        })?;
        let mut writer = WeightsWriter {
            target: path.to_owned(),
            aside,
            file: Some(BufWriter::with_capacity(1 << 20, file)),
            hash: Xxh64::new(0),
            len: 0,
            layout_id,
        };
        // Room for the header, which is known last.
        writer.put(&[0; HEADER_LEN])?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WeightsError> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.write_all(bytes).map_err(|source| self.io("write", source))
    }

    fn io(&self, action: &'static str, source: io::Error) -> WeightsError {
        WeightsError::Io { path: self.target.clone(), action, source }
    }

    /// Appends payload bytes and returns the offset in the payload at which they start.
    ///
    /// # Errors
    /// [`WeightsError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<u64, WeightsError> {
        let start = self.len;
        self.put(bytes)?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(start)
    }

    /// Appends zeros up to the next multiple of 64 bytes, then `bytes`; returns their offset.
    ///
    /// # Errors
    /// [`WeightsError::Io`].
    pub fn write_aligned(&mut self, bytes: &[u8]) -> Result<u64, WeightsError> {
        let padding = (self.len.wrapping_neg() % ALIGNMENT as u64) as usize;
        self.write(&[0; ALIGNMENT][..padding])?;
        self.write(bytes)
    }

    /// Writes the header, flushes everything to the disk and gives the file its name.
    ///
    /// # Errors
    /// [`WeightsError::Io`]; the file aside is then removed.
    pub fn finish(mut self) -> Result<Header, WeightsError> {
        let header = Header { payload_len: self.len, checksum: self.hash.digest(), layout_id: self.layout_id };
        self.put_header(&header).map_err(|source| self.io("write", source))?;
        std::fs::rename(&self.aside, &self.target).map_err(|source| self.io("rename", source))?;
        self.file = None;
        Ok(header)
    }

    fn put_header(&mut self, header: &Header) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header.encode())?;
        file.flush()?;
        file.get_ref().sync_all()
    }
}

impl Drop for WeightsWriter {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // Not finished: the buffered rest is not worth writing, and a failure to remove the file
            // has nobody to be told to.
            drop(file.into_parts());
            let _ = std::fs::remove_file(&self.aside);
        }
    }
}

/// A new file in the directory of `path`, so that a rename stays on one file system.
fn create_aside(path: &Path) -> io::Result<(File, PathBuf)> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    loop {
        let mut aside = std::ffi::OsString::from(".");
        aside.push(name);
        aside.push(format!(".{}-{}.tmp", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
        let aside = path.with_file_name(aside);
        match OpenOptions::new().write(true).create_new(true).open(&aside) {
            Ok(file) => return Ok((file, aside)),
            // Left by a killed process that had this one's id: take the next number.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(e),
        }
    }
}
