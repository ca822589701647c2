//! Writes the files of an artifact: all of them or none.
//!
//! Everything is written into a new folder beside the target, then renamed into place. When something fails, the folder
//! goes, and what had already been renamed goes with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file to be written.
pub struct File {
    /// Name within the folder.
    pub name: String,
    /// Contents.
    pub body: Body,
}

/// Contents of a file.
pub enum Body {
    /// As they stand.
    Bytes(Vec<u8>),
    /// A weights file with this payload.
    Weights {
        /// Payload.
        bytes: Vec<u8>,
        /// See [`kiln_rt::weights`].
        layout_id: u64,
    },
}

impl File {
    /// Size in bytes.
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Bytes(b) => b.len(),
            Body::Weights { bytes, .. } => kiln_rt::weights::HEADER_LEN + bytes.len(),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn write(&self, path: &Path) -> Result<()> {
        match &self.body {
            Body::Bytes(b) => std::fs::write(path, b)?,
            Body::Weights { bytes, layout_id } => {
                let mut writer = kiln_rt::WeightsWriter::create(path, *layout_id)?;
                writer.write(bytes)?;
                writer.finish()?;
            }
        }
        Ok(())
    }
}

/// Writes files into a folder, which must exist. Returns their paths.
///
/// # Errors
/// If one cannot be written; the message names it, and no file is left that was not there before.
pub fn write(folder: &Path, files: &[File]) -> Result<Vec<PathBuf>> {
    let aside = tempfile::Builder::new()
        .prefix(".kiln-")
        .tempdir_in(folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    for f in files {
        f.write(&aside.path().join(&f.name)).with_context(|| format!("writing {}", folder.join(&f.name).display()))?;
    }
    let mut done: Vec<PathBuf> = vec![];
    for f in files {
        let to = folder.join(&f.name);
        if let Err(e) = std::fs::rename(aside.path().join(&f.name), &to) {
            for path in &done {
                // The first failure is what the user has to know.
                let _ = std::fs::remove_file(path);
            }
            return Err(e).with_context(|| format!("writing {}", to.display()));
        }
        done.push(to);
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_nothing() -> Result<()> {
        let folder = tempfile::tempdir()?;
        // A folder in the way of the second file: its rename fails.
        std::fs::create_dir_all(folder.path().join("b/inside"))?;
        let file = |name: &str| File { name: name.into(), body: Body::Bytes(vec![1, 2]) };
        assert!(write(folder.path(), &[file("a"), file("b")]).is_err());
        let left: Vec<_> = std::fs::read_dir(folder.path())?.flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["b"]);
        assert_eq!(write(folder.path(), &[file("a"), file("c")])?.len(), 2);
        assert_eq!(std::fs::read(folder.path().join("c"))?, [1, 2]);
        assert!(write(&folder.path().join("missing"), &[file("a")]).is_err());
        Ok(())
    }
}
