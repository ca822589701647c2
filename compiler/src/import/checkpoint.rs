//! TensorFlow's V2 checkpoints: an index `PREFIX.index` and shards `PREFIX.data-00000-of-00001`.
//!
//! The index is read and checked when the checkpoint is opened; a tensor is read from its shard, and its
//! checksum verified, only when it is asked for.

use super::dtype::TfDType;
use super::error::{ImportError, Result};
use super::limits::{MAX_GRAPH_BYTES, MAX_INDEX_BYTES};
use super::proto::{BundleEntryProto, BundleHeaderProto, CheckpointState, TrackableObjectGraph, schema};
use super::slice::{Region, TensorSlice, for_each_run};
use super::sstable::{self, mask_crc};
use super::tensor::{HostTensor, TensorData, booleans, element_count, static_shape};
use super::wire::varint;
use super::{files, pbtxt, wire};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The key of the graph of objects in a TensorFlow 2 checkpoint.
pub const OBJECT_GRAPH_KEY: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// The most shards a header may claim; their names have five digits.
const MAX_SHARDS: i32 = 99_999;

/// An open checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    prefix: PathBuf,
    big_endian: bool,
    entries: BTreeMap<Vec<u8>, Entry>,
    shards: Vec<OnceLock<Shard>>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// A tensor, or a slice of one, in the index.
#[derive(Debug)]
struct Entry {
    dtype: TfDType,
    shape: Vec<i64>,
    shard: usize,
    offset: u64,
    size: u64,
    crc: u32,
    slices: Vec<TensorSlice>,
}

/// Type and shape of a tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointTensor {
    /// Element type.
    pub dtype: TfDType,
    /// Dimensions.
    pub shape: Vec<i64>,
    /// In how many slices it is stored; 0 if it is stored whole.
    pub slices: usize,
}

impl Checkpoint {
    /// Finds the checkpoint that `path` means: a prefix, its `.index` file, a folder with a file `checkpoint`
    /// (the latest of training) or with `variables/variables.index` (a SavedModel).
    pub fn resolve(path: &Path) -> Result<PathBuf> {
        if path.is_dir() {
            let state = path.join("checkpoint");
            if state.is_file() {
                let text = files::read(&state, MAX_GRAPH_BYTES)?;
                let state: CheckpointState =
                    pbtxt::decode(&schema::CHECKPOINT_STATE, &text).map_err(|e| e.in_file(&state))?;
                return Ok(path.join(state.model_checkpoint_path));
            }
            for prefix in ["variables/variables", "variables"] {
                if path.join(format!("{prefix}.index")).is_file() {
                    return Ok(path.join(prefix));
                }
            }
            let error = ImportError::missing("file", "checkpoint", Vec::new());
            return Err(error.in_file(path));
        }
        match path.to_str().and_then(|p| p.strip_suffix(".index")) {
            Some(prefix) if path.is_file() => Ok(PathBuf::from(prefix)),
            _ => Ok(path.to_path_buf()),
        }
    }

    /// Opens the checkpoint of a prefix (or anything else that [`Checkpoint::resolve`] takes).
    ///
    /// Errors: no index file, an index that is damaged or of an unknown version.
    pub fn open(path: &Path) -> Result<Self> {
        let prefix = Self::resolve(path)?;
        let index = with_suffix(&prefix, ".index");
        let data = files::read(&index, MAX_INDEX_BYTES)?;
        Self::read_index(prefix, &data).map_err(|e| e.in_file(&index))
    }

    fn read_index(prefix: PathBuf, data: &prost::bytes::Bytes) -> Result<Self> {
        let mut header: Option<BundleHeaderProto> = None;
        let mut entries = BTreeMap::new();
        sstable::read(data, |key, value| {
            let place = || key_name(key);
            if key.is_empty() {
                header = Some(wire::decode(&schema::BUNDLE_HEADER, value)?);
                return Ok(());
            }
            let proto: BundleEntryProto = wire::decode(&schema::BUNDLE_ENTRY, value)
                .map_err(|e| ImportError::malformed(place(), e.to_string()))?;
            entries.insert(key.to_vec(), Entry::from_proto(&proto, &place())?);
            Ok(())
        })?;
        let header = header.ok_or_else(|| ImportError::malformed("header", "there is none: not a V2 checkpoint"))?;
        if !(0..=MAX_SHARDS).contains(&header.num_shards) {
            return Err(ImportError::malformed("header", format!("{} shards", header.num_shards)));
        }
        if let Some(version) = &header.version
            && version.min_consumer > BUNDLE_VERSION
        {
            let what =
                format!("the format needs a reader of version {}, this one is {BUNDLE_VERSION}", version.min_consumer);
            return Err(ImportError::unsupported("header", what));
        }
        let big_endian = match header.endianness {
            0 => false,
            1 => true,
            other => {
                return Err(ImportError::malformed("header", format!("unknown byte order {other}")));
            }
        };
        let shards: Vec<_> = (0..header.num_shards).map(|_| OnceLock::new()).collect();
        let sliced = |e: &Entry| !e.slices.is_empty();
        if let Some((key, entry)) = entries.iter().find(|(_, e)| !sliced(e) && e.shard >= shards.len()) {
            return Err(ImportError::malformed(key_name(key), format!("shard {} of {}", entry.shard, shards.len())));
        }
        Ok(Self { prefix, big_endian, entries, shards })
    }

    /// The prefix of the checkpoint's files.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The keys of all tensors, in order; slices and the graph of objects are not among them.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        // The key of a slice begins with a zero byte.
        let text = self.entries.keys().filter(|k| k.first() != Some(&0)).filter_map(|k| std::str::from_utf8(k).ok());
        text.filter(|k| *k != OBJECT_GRAPH_KEY)
    }

    /// Type and shape of the tensor of a key.
    pub fn tensor(&self, key: &str) -> Option<CheckpointTensor> {
        let entry = self.entries.get(key.as_bytes())?;
        Some(CheckpointTensor { dtype: entry.dtype, shape: entry.shape.clone(), slices: entry.slices.len() })
    }

    /// Reads a tensor; slices are put together.
    ///
    /// Errors: no such key, a shard that is missing or too short, a wrong checksum.
    pub fn read(&self, key: &str) -> Result<HostTensor> {
        let entry = self.entry(key)?;
        self.read_region(key, entry, Region::whole(&entry.shape))
    }

    /// Reads a part of a tensor, given as in the `shape_and_slices` of RestoreV2; an empty text is all of it.
    ///
    /// Errors: those of [`Checkpoint::read`], a text of another form, a shape that is not the tensor's.
    pub fn read_slice(&self, key: &str, spec: &str) -> Result<HostTensor> {
        let Some((shape, slice)) = TensorSlice::parse_spec(spec)? else {
            return self.read(key);
        };
        let entry = self.entry(key)?;
        if entry.shape != shape {
            let what = format!("its shape is {:?}, a slice of {shape:?} was asked for", entry.shape);
            return Err(ImportError::malformed(format!("tensor `{key}`"), what).in_file(&self.prefix));
        }
        let region = slice.region(&shape, key).map_err(|e| e.in_file(&self.prefix))?;
        self.read_region(key, entry, region)
    }

    /// The graph of objects of a TensorFlow 2 checkpoint; `None` in other checkpoints.
    pub fn object_graph(&self) -> Result<Option<TrackableObjectGraph>> {
        if !self.entries.contains_key(OBJECT_GRAPH_KEY.as_bytes()) {
            return Ok(None);
        }
        let tensor = self.read(OBJECT_GRAPH_KEY)?;
        let Some([bytes]) = tensor.strings() else {
            return Err(ImportError::malformed(OBJECT_GRAPH_KEY, "not one string").in_file(&self.prefix));
        };
        wire::decode(&schema::TRACKABLE_GRAPH, bytes.clone().into()).map(Some).map_err(|e| e.in_file(&self.prefix))
    }

    fn entry(&self, key: &str) -> Result<&Entry> {
        self.entries.get(key.as_bytes()).ok_or_else(|| {
            let keys = self.keys().map(String::from).collect();
            ImportError::missing("tensor", key, keys).in_file(&with_suffix(&self.prefix, ".index"))
        })
    }

    fn read_region(&self, key: &str, entry: &Entry, wanted: Region) -> Result<HostTensor> {
        let place = format!("tensor `{key}`");
        self.region(&place, key, entry, wanted).map_err(|e| e.in_file(&with_suffix(&self.prefix, ".index")))
    }

    fn region(&self, place: &str, key: &str, entry: &Entry, wanted: Region) -> Result<HostTensor> {
        if entry.slices.is_empty() {
            let tensor = self.stored(place, entry)?;
            if wanted == Region::whole(&entry.shape) {
                return Ok(tensor);
            }
            let mut out = Assembly::new(place, entry.dtype, wanted)?;
            out.add(&tensor, &Region::whole(&entry.shape))?;
            return out.finish();
        }
        // An index alone must not be able to ask for more memory than the shards' bytes can fill.
        let stored = (0..self.shards.len()).try_fold(0u64, |sum, i| Ok(sum.saturating_add(self.shard(i)?.bytes)))?;
        let needed = element_count(&wanted.size, place)?.saturating_mul(entry.dtype.size().unwrap_or(1));
        if needed as u64 > stored {
            return Err(ImportError::malformed(place, "the stored slices do not cover it"));
        }
        let mut out = Assembly::new(place, entry.dtype, wanted)?;
        for slice in &entry.slices {
            let region = slice.region(&entry.shape, place)?;
            if region.intersect(&out.region).is_none() {
                continue;
            }
            let stored = self.entries.get(&slice.key(key)).ok_or_else(|| {
                ImportError::malformed(place, format!("the slice {:?} is listed and not in the index", slice.0))
            })?;
            if stored.dtype != entry.dtype || stored.shape != region.size || !stored.slices.is_empty() {
                return Err(ImportError::malformed(place, "a slice has another type or shape than the index lists"));
            }
            out.add(&self.stored(place, stored)?, &region)?;
        }
        out.finish()
    }

    fn shard(&self, number: usize) -> Result<&Shard> {
        let Some(cell) = self.shards.get(number) else {
            return Err(ImportError::malformed("entry", format!("shard {number} of {}", self.shards.len())));
        };
        if let Some(shard) = cell.get() {
            return Ok(shard);
        }
        let path = with_suffix(&self.prefix, &format!(".data-{number:05}-of-{:05}", self.shards.len()));
        let file = File::open(&path).map_err(|e| ImportError::io(&path, e))?;
        let bytes = file.metadata().map_err(|e| ImportError::io(&path, e))?.len();
        Ok(cell.get_or_init(|| Shard { path, file, bytes }))
    }

    /// Reads what one entry stores.
    fn stored(&self, place: &str, entry: &Entry) -> Result<HostTensor> {
        let shard = self.shard(entry.shard)?;
        let count = element_count(&entry.shape, place)?;
        if entry.offset.checked_add(entry.size).is_none_or(|end| end > shard.bytes) {
            let what = format!("it ends behind the end of {}; is the file cut off?", shard.path.display());
            return Err(ImportError::malformed(place, what));
        }
        if let Some(size) = entry.dtype.size()
            && count.checked_mul(size).map(|n| n as u64) != Some(entry.size)
        {
            let what = format!("{} bytes are stored for {} of shape {:?}", entry.size, entry.dtype, entry.shape);
            return Err(ImportError::malformed(place, what));
        }
        let size =
            usize::try_from(entry.size).map_err(|_| ImportError::malformed(place, "too large for this machine"))?;
        let mut bytes = vec![0; size];
        shard.file.read_exact_at(&mut bytes, entry.offset).map_err(|e| ImportError::io(&shard.path, e))?;
        let damaged =
            || ImportError::malformed(place, format!("the checksum is wrong: {} is damaged", shard.path.display()));
        let data = if entry.dtype == TfDType::String {
            if self.big_endian {
                return Err(ImportError::unsupported(place, "strings in a checkpoint of a big-endian machine"));
            }
            let (strings, crc) = strings(&bytes, count, place)?;
            if mask_crc(crc) != entry.crc {
                return Err(damaged());
            }
            TensorData::Strings(strings)
        } else if entry.dtype.size().is_some() {
            if mask_crc(crc32c::crc32c(&bytes)) != entry.crc {
                return Err(damaged());
            }
            if self.big_endian {
                let part = scalar_size(entry.dtype);
                bytes.chunks_exact_mut(part).for_each(<[u8]>::reverse);
            }
            TensorData::Raw(booleans(entry.dtype, bytes.into()))
        } else {
            return Err(ImportError::unsupported(place, format!("a value of type {}", entry.dtype)));
        };
        Ok(HostTensor { dtype: entry.dtype, shape: entry.shape.clone(), data })
    }
}

/// The version of the bundle format that this reader knows.
const BUNDLE_VERSION: i32 = 1;

/// Bytes of the numbers in an element: a complex one has two.
fn scalar_size(dtype: TfDType) -> usize {
    let size = dtype.size().unwrap_or(1);
    if matches!(dtype, TfDType::Complex64 | TfDType::Complex128) { size / 2 } else { size }
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

fn key_name(key: &[u8]) -> String {
    format!("entry `{}`", key.escape_ascii())
}

impl Entry {
    fn from_proto(proto: &BundleEntryProto, place: &str) -> Result<Self> {
        let bad = |what: String| ImportError::malformed(place, what);
        let dtype =
            TfDType::from_number(proto.dtype).ok_or_else(|| bad(format!("unknown element type {}", proto.dtype)))?;
        let shape = match &proto.shape {
            Some(shape) => static_shape(shape, place)?,
            None => Vec::new(),
        };
        element_count(&shape, place)?;
        let unsigned = |value: i64, name: &str| u64::try_from(value).map_err(|_| bad(format!("{name} {value}")));
        Ok(Self {
            dtype,
            shape,
            shard: usize::try_from(proto.shard_id).map_err(|_| bad(format!("shard {}", proto.shard_id)))?,
            offset: unsigned(proto.offset, "offset")?,
            size: unsigned(proto.size, "size")?,
            crc: proto.crc32c,
            slices: proto.slices.iter().map(TensorSlice::from_proto).collect(),
        })
    }
}

/// Strings of a shard: their lengths as varints, a checksum of the lengths, their bytes. Returns the checksum of
/// all, in which a length counts as four bytes (eight if it needs them) and not as its varint.
fn strings(bytes: &[u8], count: usize, place: &str) -> Result<(Vec<Vec<u8>>, u32)> {
    let bad = |what: &str| ImportError::malformed(place, what);
    if count > bytes.len() {
        return Err(bad("fewer bytes than strings"));
    }
    let (mut at, mut crc) = (0, 0);
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        let length = varint(bytes, &mut at, bytes.len()).ok_or_else(|| bad("the strings' lengths are cut off"))?;
        crc = match u32::try_from(length) {
            Ok(short) => crc32c::crc32c_append(crc, &short.to_le_bytes()),
            Err(_) => crc32c::crc32c_append(crc, &length.to_le_bytes()),
        };
        lengths.push(usize::try_from(length).map_err(|_| bad("a string's length overflows"))?);
    }
    let mut rest = bytes.get(at..).unwrap_or_default();
    let Some((stored, tail)) = rest.split_first_chunk::<4>() else {
        return Err(bad("the checksum of the strings' lengths is cut off"));
    };
    if u32::from_le_bytes(*stored) != mask_crc(crc) {
        return Err(bad("the checksum of the strings' lengths is wrong: the file is damaged"));
    }
    crc = crc32c::crc32c_append(crc, stored);
    rest = tail;
    let mut out = Vec::with_capacity(count);
    for length in lengths {
        let (head, tail) = rest.split_at_checked(length).ok_or_else(|| bad("a string is cut off"))?;
        crc = crc32c::crc32c_append(crc, head);
        out.push(head.to_vec());
        rest = tail;
    }
    if rest.is_empty() { Ok((out, crc)) } else { Err(bad("bytes are left after the last string")) }
}

/// A region that is being put together from stored slices.
struct Assembly<'a> {
    place: &'a str,
    dtype: TfDType,
    region: Region,
    data: TensorDataMut,
    filled: Vec<bool>,
}

enum TensorDataMut {
    Raw(Vec<u8>, usize),
    Strings(Vec<Vec<u8>>),
}

impl<'a> Assembly<'a> {
    fn new(place: &'a str, dtype: TfDType, region: Region) -> Result<Self> {
        let count = element_count(&region.size, place)?;
        let too_large = |_| ImportError::malformed(place, format!("no memory for {count} elements"));
        let data = match dtype.size() {
            Some(size) => {
                let total =
                    count.checked_mul(size).ok_or_else(|| ImportError::malformed(place, "its size overflows"))?;
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(total).map_err(too_large)?;
                bytes.resize(total, 0);
                TensorDataMut::Raw(bytes, size)
            }
            None => {
                let mut strings = Vec::new();
                strings.try_reserve_exact(count).map_err(too_large)?;
                strings.resize(count, Vec::new());
                TensorDataMut::Strings(strings)
            }
        };
        let mut filled = Vec::new();
        filled.try_reserve_exact(count).map_err(too_large)?;
        filled.resize(count, false);
        Ok(Self { place, dtype, region, data, filled })
    }

    /// Copies the part of `tensor`, which is the box `at`, that lies in this region.
    fn add(&mut self, tensor: &HostTensor, at: &Region) -> Result<()> {
        let Some(common) = at.intersect(&self.region) else {
            return Ok(());
        };
        let mut fits = true;
        for_each_run(&common, at, &self.region, |from, to, n| {
            let copied = match (&mut self.data, &tensor.data) {
                (TensorDataMut::Raw(out, size), TensorData::Raw(bytes)) => {
                    let size = *size;
                    match (out.get_mut(to * size..(to + n) * size), bytes.get(from * size..(from + n) * size)) {
                        (Some(out), Some(bytes)) => {
                            out.copy_from_slice(bytes);
                            true
                        }
                        _ => false,
                    }
                }
                (TensorDataMut::Strings(out), TensorData::Strings(strings)) => {
                    match (out.get_mut(to..to + n), strings.get(from..from + n)) {
                        (Some(out), Some(strings)) => {
                            out.clone_from_slice(strings);
                            true
                        }
                        _ => false,
                    }
                }
                _ => false,
            };
            fits &= copied;
            if let Some(filled) = self.filled.get_mut(to..to + n) {
                filled.fill(true);
            }
        });
        if fits { Ok(()) } else { Err(ImportError::malformed(self.place, "a slice does not fit its tensor")) }
    }

    fn finish(self) -> Result<HostTensor> {
        if self.filled.contains(&false) {
            return Err(ImportError::malformed(self.place, "the stored slices do not cover it"));
        }
        let data = match self.data {
            TensorDataMut::Raw(bytes, _) => TensorData::Raw(bytes.into()),
            TensorDataMut::Strings(strings) => TensorData::Strings(strings),
        };
        Ok(HostTensor { dtype: self.dtype, shape: self.region.size, data })
    }
}
