//! The ABI of custom ops: C functions of the user's that compiled models call.
//!
//! The C side of the same is [`C_CUSTOM_BLOCK`], which the header of a model with custom ops holds.

use std::ffi::{c_char, c_void};

/// A tensor as a custom function sees it; C's `kiln_custom_tensor`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CustomTensor {
    /// The elements, row by row. Those of an input must not be written.
    pub data: *mut c_void,
    /// `rank` extents.
    pub dims: *const i64,
    /// Number of axes.
    pub rank: i32,
    /// Element type: the number of TensorFlow's `DataType`.
    pub dtype: i32,
}

/// A custom function: reads the inputs, fills the outputs, whose memory it is given, and returns 0, or any other number to end
/// the run with [`crate::Status::CustomOp`].
///
/// `attributes` is the TensorFlow node's attributes as a JSON object, in UTF-8, ending in a zero byte. The function depends on its
/// inputs and attributes only, does not unwind, and may be called from several threads at once.
pub type CustomFn = unsafe extern "C" fn(
    inputs: *const CustomTensor,
    input_count: i64,
    outputs: *const CustomTensor,
    output_count: i64,
    attributes: *const c_char,
) -> i32;

/// The C declarations of the above, for headers; they need stdint.h.
pub const C_CUSTOM_BLOCK: &str = "#ifndef KILN_CUSTOM_DEFINED
#define KILN_CUSTOM_DEFINED
/* A tensor as a custom op's function sees it. */
typedef struct kiln_custom_tensor {
    void *data;          /* the elements, row by row; those of an input must not be written */
    const int64_t *dims; /* rank of them */
    int32_t rank;
    int32_t dtype;       /* as TensorFlow's DataType: 1 float, 2 double, 3 int32, 9 int64, ... */
} kiln_custom_tensor;
#endif /* KILN_CUSTOM_DEFINED */
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_code_and_rust_agree_on_the_layout() {
        use std::mem::{offset_of, size_of};
        assert_eq!(size_of::<CustomTensor>(), 24);
        assert_eq!((offset_of!(CustomTensor, data), offset_of!(CustomTensor, dims)), (0, 8));
        assert_eq!((offset_of!(CustomTensor, rank), offset_of!(CustomTensor, dtype)), (16, 20));
    }
}
