//! Host tensors: constants of the graph, inputs and outputs of the interpreters.
//!
//! Plain data is stored row-major in 8-byte aligned, shared memory: cloning a tensor is cheap, and every element type
//! can be viewed without unsafe code.

use std::sync::Arc;

use half::{bf16, f16};
use num_complex::Complex;

use crate::DType;

/// Shared, immutable, 8-byte aligned bytes.
#[derive(Clone)]
pub struct Bytes {
    words: Arc<Vec<u64>>,
    len: usize,
}

impl Bytes {
    /// Zeroed bytes.
    pub fn zeroed(len: usize) -> Bytes {
        Bytes { words: Arc::new(vec![0; len.div_ceil(8)]), len }
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Bytes {
        let mut b = Bytes::zeroed(bytes.len());
        b.make_mut().copy_from_slice(bytes);
        b
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// The bytes, to write; copies them first if they are shared.
    pub fn make_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(Arc::make_mut(&mut self.words).as_mut_slice())[..self.len]
    }
}

/// The elements of a tensor.
#[derive(Clone)]
pub enum Data {
    /// Elements of a plain type, row-major, native endian; bool is one byte, 0 or 1.
    Plain(Bytes),
    /// Byte strings, row-major.
    Strings(Arc<Vec<Vec<u8>>>),
}

/// A tensor in host memory. Invariant: the data holds exactly the shape's number of elements.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

/// A Rust type that is the element of a plain [`DType`].
pub trait Element: bytemuck::Pod + PartialEq + std::fmt::Debug {
    /// The dtype of this element.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($t:ty => $d:ident),* $(,)?) => { $(impl Element for $t { const DTYPE: DType = DType::$d; })* };
}
elements!(i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64,
          f16 => F16, bf16 => BF16, f32 => F32, f64 => F64, Complex<f32> => C64, Complex<f64> => C128);

/// The number of elements of a shape; `None` if it leaves the address space.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

impl Tensor {
    /// A tensor over `bytes`, which must hold exactly the elements of `shape` in `dtype`.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: Bytes) -> Result<Tensor, String> {
        let want = element_count(shape).and_then(|n| n.checked_mul(dtype.size()));
        if !dtype.is_plain() || want != Some(bytes.len) {
            return Err(format!("{} bytes cannot be a tensor of {dtype} with shape {shape:?}", bytes.len));
        }
        Ok(Tensor { dtype, shape: shape.to_vec(), data: Data::Plain(bytes) })
    }

    /// A tensor of zeros (false for bool, empty for strings).
    ///
    /// # Panics
    /// If the size leaves the address space: callers bound shapes first (see [`element_count`]).
    pub fn zeros(dtype: DType, shape: &[usize]) -> Tensor {
        let n = element_count(shape).expect("shape within the address space");
        let data = if dtype.is_plain() {
            Data::Plain(Bytes::zeroed(n.checked_mul(dtype.size()).expect("size within the address space")))
        } else {
            Data::Strings(Arc::new(vec![vec![]; n]))
        };
        Tensor { dtype, shape: shape.to_vec(), data }
    }

    /// A tensor of elements in row-major order.
    ///
    /// # Panics
    /// If the number of elements is not the shape's.
    pub fn of<T: Element>(shape: &[usize], elements: &[T]) -> Tensor {
        assert_eq!(Some(elements.len()), element_count(shape), "elements for shape {shape:?}");
        let bytes = Bytes::copy_of(bytemuck::cast_slice(elements));
        Tensor { dtype: T::DTYPE, shape: shape.to_vec(), data: Data::Plain(bytes) }
    }

    /// A tensor of booleans in row-major order.
    ///
    /// # Panics
    /// If the number of elements is not the shape's.
    pub fn of_bools(shape: &[usize], elements: &[bool]) -> Tensor {
        let bytes: Vec<u8> = elements.iter().map(|&b| u8::from(b)).collect();
        Tensor { dtype: DType::Bool, ..Tensor::of(shape, &bytes) }
    }

    /// A tensor of byte strings in row-major order.
    ///
    /// # Panics
    /// If the number of elements is not the shape's.
    pub fn of_strings(shape: &[usize], elements: Vec<Vec<u8>>) -> Tensor {
        assert_eq!(Some(elements.len()), element_count(shape), "elements for shape {shape:?}");
        Tensor { dtype: DType::String, shape: shape.to_vec(), data: Data::Strings(Arc::new(elements)) }
    }

    /// A scalar (rank 0).
    pub fn scalar<T: Element>(x: T) -> Tensor {
        Tensor::of(&[], &[x])
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a plain tensor; empty for strings.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Plain(b) => b.as_slice(),
            Data::Strings(_) => &[],
        }
    }

    /// The bytes of a plain tensor, to write; empty for strings.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.data {
            Data::Plain(b) => b.make_mut(),
            Data::Strings(_) => &mut [],
        }
    }

    /// The elements, if they are of type `T`.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        (T::DTYPE == self.dtype).then(|| bytemuck::cast_slice(self.bytes()))
    }

    /// The elements to write, if they are of type `T`.
    pub fn as_mut_slice<T: Element>(&mut self) -> Option<&mut [T]> {
        if T::DTYPE == self.dtype { Some(bytemuck::cast_slice_mut(self.bytes_mut())) } else { None }
    }

    /// The strings of a string tensor.
    pub fn strings(&self) -> Option<&[Vec<u8>]> {
        match &self.data {
            Data::Strings(s) => Some(s),
            Data::Plain(_) => None,
        }
    }

    /// The same elements under another shape of equal size.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Tensor, String> {
        if element_count(shape) != Some(self.len()) {
            return Err(format!("cannot view shape {:?} as {shape:?}", self.shape));
        }
        Ok(Tensor { shape: shape.to_vec(), ..self.clone() })
    }

    /// The elements of an integer (or bool) tensor, widened to i64; u64 above `i64::MAX` wraps.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        let b = self.bytes();
        Some(match self.dtype {
            DType::Bool | DType::U8 => b.iter().map(|&x| i64::from(x)).collect(),
            DType::I8 => self.as_slice::<i8>()?.iter().map(|&x| i64::from(x)).collect(),
            DType::I16 => self.as_slice::<i16>()?.iter().map(|&x| i64::from(x)).collect(),
            DType::U16 => self.as_slice::<u16>()?.iter().map(|&x| i64::from(x)).collect(),
            DType::I32 => self.as_slice::<i32>()?.iter().map(|&x| i64::from(x)).collect(),
            DType::U32 => self.as_slice::<u32>()?.iter().map(|&x| i64::from(x)).collect(),
            DType::I64 => self.as_slice::<i64>()?.to_vec(),
            DType::U64 => self.as_slice::<u64>()?.iter().map(|&x| x as i64).collect(),
            _ => return None,
        })
    }

    /// The elements of a real floating tensor as f64, exactly.
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        Some(match self.dtype {
            DType::F16 => self.as_slice::<f16>()?.iter().map(|x| x.to_f64()).collect(),
            DType::BF16 => self.as_slice::<bf16>()?.iter().map(|x| x.to_f64()).collect(),
            DType::F32 => self.as_slice::<f32>()?.iter().map(|&x| f64::from(x)).collect(),
            DType::F64 => self.as_slice::<f64>()?.to_vec(),
            _ => return None,
        })
    }

    /// A tensor of an integer dtype (or bool) from i64 values, wrapped to the width.
    pub fn from_i64s(dtype: DType, shape: &[usize], values: &[i64]) -> Option<Tensor> {
        macro_rules! wrap {
            ($t:ty) => {
                Tensor::of(shape, &values.iter().map(|&v| v as $t).collect::<Vec<$t>>())
            };
        }
        Some(match dtype {
            DType::Bool => Tensor::of_bools(shape, &values.iter().map(|&v| v != 0).collect::<Vec<_>>()),
            DType::I8 => wrap!(i8),
            DType::I16 => wrap!(i16),
            DType::I32 => wrap!(i32),
            DType::I64 => wrap!(i64),
            DType::U8 => wrap!(u8),
            DType::U16 => wrap!(u16),
            DType::U32 => wrap!(u32),
            DType::U64 => wrap!(u64),
            _ => return None,
        })
    }

    /// Whether two tensors have the same type, shape and bits (strings: bytes).
    pub fn same_bits(&self, o: &Tensor) -> bool {
        self.dtype == o.dtype && self.shape == o.shape && self.bytes() == o.bytes() && self.strings() == o.strings()
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tensor<{:?} x {}>", self.shape, self.dtype)
    }
}

/// Row-major strides in elements.
pub fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * shape[i + 1];
    }
    strides
}
