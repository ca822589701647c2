//! Reading of whole files with a limit.

use super::error::{ImportError, Result};
use prost::bytes::Bytes;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Bytes> {
    let io = |e| ImportError::io(path, e);
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let too_large = |bytes: u64| {
        let what = format!("the file has {bytes} bytes");
        ImportError::Limit { place: path.display().to_string(), what, limit }
    };
    if metadata.is_dir() {
        return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let mut data = Vec::new();
    let expected = usize::try_from(metadata.len()).unwrap_or(0);
    data.try_reserve_exact(expected).map_err(|_| too_large(metadata.len()))?;
    // What is not a regular file may hold more than it says.
    file.take(limit.saturating_add(1)).read_to_end(&mut data).map_err(io)?;
    if data.len() as u64 > limit {
        return Err(too_large(data.len() as u64));
    }
    Ok(data.into())
}
