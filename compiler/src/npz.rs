//! NumPy's .npz files: how inputs, outputs and golden values reach the command line.
//!
//! Members are `NAME.npy`, stored or deflated, format versions 1 to 3, C or Fortran order, either byte order. Strings are
//! fixed-width bytes (`|S`). bf16 has no NumPy type: it is written as two-byte records (`<V2`), and read from them.

use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use kiln_ir::tensor::{Bytes, element_count};
use kiln_ir::{DType, Tensor};

/// Arrays by name, in the file's order.
pub type Arrays = Vec<(String, Tensor)>;

/// A member may not be larger than this: a guard against archives that unpack to more than a machine holds.
const MAX_MEMBER_BYTES: u64 = 16 << 30;

/// Reads every array of a file.
///
/// # Errors
/// If the file cannot be read, is no .npz file, or holds a type that Kiln has not; the message names the member.
pub fn read(path: &Path) -> Result<Arrays> {
    let file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    read_from(std::io::BufReader::new(file)).with_context(|| format!("reading {}", path.display()))
}

/// Reads every array of an archive.
///
/// # Errors
/// As [`read`].
pub fn read_from(source: impl Read + Seek) -> Result<Arrays> {
    let mut zip = zip::ZipArchive::new(source).context("the file is no .npz archive")?;
    let mut out = vec![];
    for i in 0..zip.len() {
        let mut member = zip.by_index(i)?;
        let name = member.name().strip_suffix(".npy").unwrap_or(member.name()).to_string();
        if member.size() > MAX_MEMBER_BYTES {
            bail!("`{name}` holds {} bytes, more than Kiln reads", member.size());
        }
        let mut bytes = vec![];
        member.read_to_end(&mut bytes).with_context(|| format!("unpacking `{name}`"))?;
        out.push((name.clone(), npy(&bytes).with_context(|| format!("array `{name}`"))?));
    }
    Ok(out)
}

/// Parses one .npy file.
///
/// # Errors
/// If it is damaged or of an unsupported type.
pub fn npy(bytes: &[u8]) -> Result<Tensor> {
    let short = || anyhow!("the array is cut short");
    if bytes.get(..6) != Some(b"\x93NUMPY") {
        bail!("not in NumPy's format");
    }
    let major = *bytes.get(6).ok_or_else(short)?;
    let (len, at) = match major {
        1 => (u16::from_le_bytes(bytes.get(8..10).ok_or_else(short)?.try_into()?) as usize, 10usize),
        2 | 3 => (u32::from_le_bytes(bytes.get(8..12).ok_or_else(short)?.try_into()?) as usize, 12),
        v => bail!("format version {v} is not known"),
    };
    let end = at.checked_add(len).ok_or_else(short)?;
    let header = std::str::from_utf8(bytes.get(at..end).ok_or_else(short)?).context("the header is not text")?;
    let descr = field(header, "descr")?.trim_matches(|c| c == '\'' || c == '"').to_string();
    let fortran = field(header, "fortran_order")? == "True";
    let shape: Vec<usize> = field(header, "shape")?
        .trim_matches(|c| c == '(' || c == ')')
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| s.trim_end_matches('L').parse().with_context(|| format!("`{s}` in the shape")))
        .collect::<Result<_>>()?;
    let data = bytes.get(end..).unwrap_or_default();
    let count = element_count(&shape).ok_or_else(|| anyhow!("shape {shape:?} is too large"))?;
    let (order, kind) = descr.split_at_checked(1).ok_or_else(|| anyhow!("an empty type"))?;
    if let Some(width) = kind.strip_prefix('S') {
        let width: usize = width.parse().with_context(|| format!("the type `{descr}`"))?;
        return strings(data, &shape, count, width).ok_or_else(short);
    }
    let dtype = DType::ALL
        .into_iter()
        .find(|d| d.is_plain() && d.npy_descr()[1..] == *kind)
        .ok_or_else(|| anyhow!("arrays of type `{descr}` are not supported"))?;
    let size = dtype.size();
    let need = count.checked_mul(size).ok_or_else(short)?;
    let mut b = Bytes::copy_of(data.get(..need).ok_or_else(short)?);
    if order == ">" {
        // Complex numbers are two floats, each swapped by itself.
        let part = if dtype.is_complex() { size / 2 } else { size };
        b.make_mut().chunks_exact_mut(part).for_each(<[u8]>::reverse);
    }
    let t = Tensor::from_bytes(dtype, &shape, b).map_err(|e| anyhow!(e))?;
    Ok(if fortran && shape.len() > 1 { from_fortran(&t) } else { t })
}

/// The text of a field of the header's dictionary.
fn field<'a>(header: &'a str, name: &str) -> Result<&'a str> {
    let missing = || anyhow!("the header has no `{name}`");
    let at = header.find(&format!("'{name}'")).ok_or_else(missing)?;
    let rest = header[at + name.len() + 2..].trim_start().strip_prefix(':').ok_or_else(missing)?.trim_start();
    let end = if rest.starts_with('(') {
        rest.find(')').map(|i| i + 1)
    } else if let Some(quote) = rest.chars().next().filter(|c| *c == '\'' || *c == '"') {
        rest[1..].find(quote).map(|i| i + 2)
    } else {
        rest.find([',', '}'])
    };
    end.and_then(|e| rest.get(..e)).map(str::trim).ok_or_else(missing)
}

fn strings(data: &[u8], shape: &[usize], count: usize, width: usize) -> Option<Tensor> {
    let data = data.get(..count.checked_mul(width)?)?;
    let trimmed = |s: &[u8]| s[..s.iter().rposition(|&c| c != 0).map_or(0, |i| i + 1)].to_vec();
    let items = if width == 0 { vec![vec![]; count] } else { data.chunks_exact(width).map(trimmed).collect() };
    Some(Tensor::of_strings(shape, items))
}

fn from_fortran(t: &Tensor) -> Tensor {
    let shape = t.shape().to_vec();
    let size = t.dtype().size();
    let mut out = Tensor::zeros(t.dtype(), &shape);
    let mut index = vec![0usize; shape.len()];
    for row in 0..t.len() {
        let mut column = 0;
        let mut stride = 1;
        for (i, d) in index.iter().zip(&shape) {
            column += i * stride;
            stride *= d;
        }
        let from = t.bytes()[column * size..(column + 1) * size].to_vec();
        out.bytes_mut()[row * size..(row + 1) * size].copy_from_slice(&from);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

/// Writes arrays to a file: aside first, then renamed, so that nothing half-written is left.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, arrays: &[(String, Tensor)]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writing = || format!("writing {}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(writing)?;
    let mut zip = zip::ZipWriter::new(std::io::BufWriter::new(file.as_file_mut()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, t) in arrays {
        zip.start_file(format!("{name}.npy"), options.large_file(t.bytes().len() > u32::MAX as usize / 2))?;
        zip.write_all(&to_npy(t)).with_context(writing)?;
    }
    zip.finish().map_err(anyhow::Error::from).and_then(|mut w| Ok(w.flush()?)).with_context(writing)?;
    file.persist(path).with_context(writing)?;
    Ok(())
}

fn to_npy(t: &Tensor) -> Vec<u8> {
    let (descr, data) = match t.strings() {
        Some(s) => {
            let width = s.iter().map(Vec::len).max().unwrap_or(0).max(1);
            let mut data = vec![0; width * s.len()];
            data.chunks_exact_mut(width).zip(s).for_each(|(d, s)| d[..s.len()].copy_from_slice(s));
            (format!("|S{width}"), data)
        }
        None => (t.dtype().npy_descr().to_string(), t.bytes().to_vec()),
    };
    let mut shape = t.shape().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    if t.shape().len() == 1 {
        shape.push(',');
    }
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The data start at a multiple of 64.
    let total = (10 + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', total - 10 - header.len() - 1));
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

/// A tensor as one of another element type.
///
/// # Errors
/// If an element would change.
pub fn as_dtype(t: Tensor, dtype: DType) -> Result<Tensor> {
    if t.dtype() == dtype {
        return Ok(t);
    }
    let cast = |d, t: &Tensor| kiln_ir::scalar_eval::cast_tensor(d, t).ok();
    match cast(dtype, &t) {
        Some(c) if cast(t.dtype(), &c).is_some_and(|back| back.same_bits(&t)) => Ok(c),
        _ => bail!("it is of type {dtype}; the array of {} does not convert without a loss", t.dtype()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_round_trip() {
        let arrays = vec![
            ("a".to_string(), Tensor::of(&[2, 3], &[1f32, -0.0, f32::NAN, 4.0, 5.0, 6.0])),
            ("scalar".to_string(), Tensor::scalar(7i64)),
            ("flags".to_string(), Tensor::of_bools(&[2], &[true, false])),
            ("text".to_string(), Tensor::of_strings(&[2], vec![b"ab".to_vec(), b"".to_vec()])),
            ("empty".to_string(), Tensor::zeros(DType::F64, &[0, 3])),
        ];
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("x.npz");
        write(&path, &arrays).expect("written");
        let back = read(&path).expect("read");
        assert_eq!(back.len(), arrays.len());
        for ((n, t), (m, u)) in arrays.iter().zip(&back) {
            assert_eq!(n, m);
            assert!(t.same_bits(u), "{n}");
        }
    }

    #[test]
    fn fortran_order_and_big_endian_are_turned() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        for x in [1i16, 4, 2, 5, 3, 6] {
            file.extend(x.to_be_bytes());
        }
        assert_eq!(npy(&file).expect("read").as_slice::<i16>(), Some(&[1i16, 2, 3, 4, 5, 6][..]));
    }

    #[test]
    fn damaged_arrays_are_errors() {
        let good = to_npy(&Tensor::of(&[4], &[1f32, 2.0, 3.0, 4.0]));
        for cut in 0..good.len() {
            assert!(npy(&good[..cut]).is_err(), "cut at {cut}");
        }
    }
}
