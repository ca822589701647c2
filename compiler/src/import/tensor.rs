//! Tensor values: from TensorFlow's TensorProto to bytes.
//!
//! Invariant: in a [`HostTensor`] the data hold exactly the product of the dimensions' elements.

use super::dtype::TfDType;
use super::error::{ImportError, Result};
use super::limits::{MAX_FILLED_BYTES, MAX_RANK};
use super::proto::{TensorProto, TensorShapeProto};
use super::wire::varint;
use prost::bytes::Bytes;

/// A tensor's value in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Element type.
    pub dtype: TfDType,
    /// Dimensions, all at least 0.
    pub shape: Vec<i64>,
    /// The elements in row-major order.
    pub data: TensorData,
}

/// The elements of a [`HostTensor`].
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// Little-endian elements of [`TfDType::size`] bytes; booleans are 0 or 1, complex numbers real part first. The bytes
    /// may be part of a file's buffer: their address need not be a multiple of the element's size.
    Raw(Bytes),
    /// Strings, of type `string` only.
    Strings(Vec<Vec<u8>>),
}

impl HostTensor {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        match &self.data {
            TensorData::Raw(bytes) => bytes.len() / self.dtype.size().unwrap_or(1),
            TensorData::Strings(strings) => strings.len(),
        }
    }

    /// The bytes of the elements; `None` for strings.
    pub fn raw(&self) -> Option<&[u8]> {
        match &self.data {
            TensorData::Raw(bytes) => Some(bytes),
            TensorData::Strings(_) => None,
        }
    }

    /// The strings; `None` for other types.
    pub fn strings(&self) -> Option<&[Vec<u8>]> {
        match &self.data {
            TensorData::Raw(_) => None,
            TensorData::Strings(strings) => Some(strings),
        }
    }

    /// The value of a TensorProto. `place` names it in errors (the node and attribute).
    ///
    /// Where the proto lists fewer values than the shape has elements, the last one is repeated; where it
    /// lists none, the elements are zero (empty strings). Surplus values are ignored. All as TensorFlow does.
    /// Errors: unknown type, unknown or negative dimensions, a size that overflows or exceeds the limit, a content
    /// of the wrong length, and constants of type resource and variant, which have no value outside of a session.
    pub fn from_proto(proto: &TensorProto, place: &str) -> Result<Self> {
        let dtype = TfDType::from_number(proto.dtype)
            .ok_or_else(|| ImportError::malformed(place, format!("unknown element type {}", proto.dtype)))?;
        let shape = match &proto.tensor_shape {
            Some(shape) => static_shape(shape, place)?,
            None => Vec::new(),
        };
        let count = element_count(&shape, place)?;
        let data = match dtype {
            TfDType::String => TensorData::Strings(strings(proto, count, place)?),
            TfDType::Resource | TfDType::Variant => {
                return Err(ImportError::unsupported(
                    place,
                    format!("a constant of type {dtype} has no value outside of TensorFlow"),
                ));
            }
            _ => TensorData::Raw(raw(proto, dtype, count, place)?),
        };
        Ok(Self { dtype, shape, data })
    }
}

/// The product of the dimensions; an error if one is negative or the product overflows.
pub fn element_count(shape: &[i64], place: &str) -> Result<usize> {
    let bad = || ImportError::malformed(place, format!("the shape {shape:?} has too many elements or a negative size"));
    // A zero makes the tensor empty, whatever the others are; they must be sizes all the same.
    if shape.iter().any(|&d| d < 0) {
        return Err(bad());
    }
    if shape.contains(&0) {
        return Ok(0);
    }
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?)).ok_or_else(bad)
}

/// The dimensions of a shape in which all must be known.
pub fn static_shape(shape: &TensorShapeProto, place: &str) -> Result<Vec<i64>> {
    if shape.unknown_rank {
        return Err(ImportError::malformed(place, "a value needs a shape of known rank"));
    }
    if shape.dim.len() > MAX_RANK {
        return Err(ImportError::Limit {
            place: place.into(),
            what: format!("{} dimensions", shape.dim.len()),
            limit: MAX_RANK as u64,
        });
    }
    Ok(shape.dim.iter().map(|d| d.size).collect())
}

fn no_memory(place: &str, bytes: usize) -> ImportError {
    ImportError::Limit {
        place: place.into(),
        what: format!("a constant of {bytes} bytes"),
        limit: MAX_FILLED_BYTES as u64,
    }
}

fn raw(proto: &TensorProto, dtype: TfDType, count: usize, place: &str) -> Result<Bytes> {
    let size = dtype.size().unwrap_or(1);
    let total = count.checked_mul(size).ok_or_else(|| no_memory(place, usize::MAX))?;
    if !proto.tensor_content.is_empty() {
        let len = proto.tensor_content.len();
        if len != total {
            let what = format!("the content has {len} bytes, the shape needs {total}");
            return Err(ImportError::malformed(place, what));
        }
        return Ok(booleans(dtype, proto.tensor_content.clone()));
    }
    if total > MAX_FILLED_BYTES {
        return Err(no_memory(place, total));
    }
    let mut out = Vec::new();
    out.try_reserve_exact(total).map_err(|_| no_memory(place, total))?;
    list(proto, dtype, count, &mut out);
    if out.is_empty() {
        out.resize(total, 0);
    }
    // Repeat the last value by doubling what is already a run of it.
    let run = out.len().saturating_sub(size);
    while out.len() < total {
        let end = out.len().min(run + (total - out.len()));
        out.extend_from_within(run..end);
    }
    Ok(booleans(dtype, out.into()))
}

/// Booleans as 0 and 1: other bytes would be undefined in compiled code.
pub(crate) fn booleans(dtype: TfDType, bytes: Bytes) -> Bytes {
    if dtype != TfDType::Bool || bytes.iter().all(|&b| b <= 1) {
        return bytes;
    }
    bytes.iter().map(|&b| u8::from(b != 0)).collect::<Vec<u8>>().into()
}

/// Appends at most `count` of the values that are listed in the field of the type.
fn list(p: &TensorProto, dtype: TfDType, count: usize, out: &mut Vec<u8>) {
    fn put<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], count: usize, bytes: impl Fn(T) -> [u8; N]) {
        for &value in values.iter().take(count) {
            out.extend_from_slice(&bytes(value));
        }
    }
    use TfDType as D;
    match dtype {
        D::Float => put(out, &p.float_val, count, f32::to_le_bytes),
        D::Double => put(out, &p.double_val, count, f64::to_le_bytes),
        // A value is a pair; a last half without its partner counts for nothing.
        D::Complex64 => {
            put(out, &p.scomplex_val[..p.scomplex_val.len() & !1], count.saturating_mul(2), f32::to_le_bytes)
        }
        D::Complex128 => {
            put(out, &p.dcomplex_val[..p.dcomplex_val.len() & !1], count.saturating_mul(2), f64::to_le_bytes)
        }
        D::Int64 => put(out, &p.int64_val, count, i64::to_le_bytes),
        D::Uint64 => put(out, &p.uint64_val, count, u64::to_le_bytes),
        D::Uint32 => put(out, &p.uint32_val, count, u32::to_le_bytes),
        D::Bool => put(out, &p.bool_val, count, |v| [u8::from(v)]),
        D::Half | D::Bfloat16 => put(out, &p.half_val, count, |v| (v as u16).to_le_bytes()),
        D::Int32 | D::Qint32 => put(out, &p.int_val, count, i32::to_le_bytes),
        D::Int16 | D::Uint16 | D::Qint16 | D::Quint16 => put(out, &p.int_val, count, |v| (v as u16).to_le_bytes()),
        D::Int8 | D::Uint8 | D::Qint8 | D::Quint8 | D::Int4 | D::Uint4 | D::Int2 | D::Uint2 => {
            put(out, &p.int_val, count, |v| [v as u8])
        }
        D::Float8E5m2
        | D::Float8E4m3fn
        | D::Float8E4m3fnuz
        | D::Float8E4m3b11fnuz
        | D::Float8E5m2fnuz
        | D::Float4E2m1fn => {
            put(out, &p.float8_val, count, |v| [v]);
        }
        D::String | D::Resource | D::Variant => {}
    }
}

fn strings(proto: &TensorProto, count: usize, place: &str) -> Result<Vec<Vec<u8>>> {
    if !proto.tensor_content.is_empty() {
        return packed_strings(&proto.tensor_content, count, place);
    }
    let last = proto.string_val.last().map_or(0, |s| s.len());
    let per_element = size_of::<Vec<u8>>() + last;
    if count.checked_mul(per_element).is_none_or(|bytes| bytes > MAX_FILLED_BYTES) {
        return Err(no_memory(place, count.saturating_mul(per_element)));
    }
    let mut out: Vec<Vec<u8>> = proto.string_val.iter().take(count).map(|s| s.to_vec()).collect();
    out.resize(count, proto.string_val.last().map_or_else(Vec::new, |s| s.to_vec()));
    Ok(out)
}

/// Strings as one content: all lengths as varints, then all bytes.
fn packed_strings(content: &[u8], count: usize, place: &str) -> Result<Vec<Vec<u8>>> {
    let bad = || ImportError::malformed(place, "the lengths of the strings do not agree with the content");
    if count > content.len() {
        return Err(bad());
    }
    let mut at = 0;
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        let length = varint(content, &mut at, content.len()).ok_or_else(bad)?;
        lengths.push(usize::try_from(length).map_err(|_| bad())?);
    }
    let mut rest = content.get(at..).ok_or_else(bad)?;
    let mut out = Vec::with_capacity(count);
    for length in lengths {
        let (head, tail) = rest.split_at_checked(length).ok_or_else(bad)?;
        out.push(head.to_vec());
        rest = tail;
    }
    if rest.is_empty() { Ok(out) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::proto::tensor_shape_proto::Dim;

    fn proto(dtype: TfDType, dims: &[i64]) -> TensorProto {
        let dim = dims.iter().map(|&size| Dim { size, name: String::new() }).collect();
        TensorProto {
            dtype: dtype.number(),
            tensor_shape: Some(TensorShapeProto { dim, unknown_rank: false }),
            ..Default::default()
        }
    }

    fn bytes(p: &TensorProto) -> Vec<u8> {
        HostTensor::from_proto(p, "t").unwrap().raw().unwrap().to_vec()
    }

    #[test]
    fn the_last_value_fills_the_rest() {
        let mut p = proto(TfDType::Int16, &[2, 3]);
        assert_eq!(bytes(&p), [0; 12]);
        p.int_val = vec![-1, 513];
        assert_eq!(bytes(&p), [255, 255, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2]);
        p.int_val = vec![7; 9];
        assert_eq!(bytes(&p).len(), 12);
        let mut p = proto(TfDType::Complex64, &[3]);
        p.scomplex_val = vec![1.0, 2.0, 3.0, 4.0];
        let want: Vec<u8> = [1f32, 2.0, 3.0, 4.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(bytes(&p), want);
        let mut p = proto(TfDType::String, &[3]);
        p.string_val = vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")];
        assert_eq!(
            HostTensor::from_proto(&p, "t").unwrap().strings().unwrap(),
            [b"a".to_vec(), b"bc".to_vec(), b"bc".to_vec()]
        );
    }

    #[test]
    fn sizes_that_overflow_are_errors() {
        for dims in [&[i64::MAX, i64::MAX][..], &[-1], &[1 << 40], &[0, -5]] {
            let mut p = proto(TfDType::Float, dims);
            p.float_val = vec![1.0];
            assert!(HostTensor::from_proto(&p, "t").is_err(), "{dims:?}");
        }
        assert_eq!(bytes(&proto(TfDType::Float, &[i64::MAX, 0, i64::MAX])), [0u8; 0]);
        let mut p = proto(TfDType::Float, &[3]);
        p.tensor_content = Bytes::from_static(&[0; 11]);
        let error = HostTensor::from_proto(&p, "node `c`, attr `value`").unwrap_err().to_string();
        assert_eq!(error, "node `c`, attr `value`: the content has 11 bytes, the shape needs 12");
    }
}
