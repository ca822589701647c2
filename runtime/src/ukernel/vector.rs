//! The few vector operations that the kernels are written in, so that one loop nest serves every
//! instruction set and element type.
//!
//! The methods of an implementation may use instructions that the build's baseline lacks. They are
//! `inline(always)` and only ever instantiated inside functions with the matching `target_feature`,
//! into which they vanish.

/// A vector register of [`Vector::LANES`] elements.
pub(crate) trait Vector: Copy {
    /// The element type.
    type Elem: Copy;
    /// Elements of a vector.
    const LANES: usize;

    /// All lanes zero.
    ///
    /// # Safety
    /// The CPU has the vector's instructions; so for all methods.
    unsafe fn zero() -> Self;

    /// Reads `LANES` elements, at any alignment.
    ///
    /// # Safety
    /// They are readable.
    unsafe fn load(from: *const Self::Elem) -> Self;

    /// Writes `LANES` elements, at any alignment.
    ///
    /// # Safety
    /// They are writable.
    unsafe fn store(self, to: *mut Self::Elem);

    /// One element in all lanes.
    ///
    /// # Safety
    /// It is readable.
    unsafe fn splat(from: *const Self::Elem) -> Self;

    /// `self * b + c`, rounded once if the instruction set can.
    ///
    /// # Safety
    /// As for all methods.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;

    /// `self + b`.
    ///
    /// # Safety
    /// As for all methods.
    unsafe fn add(self, b: Self) -> Self;
}

/// Implements [`Vector`] from an architecture's intrinsics.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! vector {
    ($vector:ty, $elem:ty, $lanes:literal, zero: $zero:expr, load: $load:path, store: $store:path,
     splat: $splat:path, mul_add: ($a:ident, $b:ident, $c:ident) => $mul_add:expr, add: $add:path) => {
        impl $crate::ukernel::Vector for $vector {
            type Elem = $elem;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: the caller has the instructions.
                unsafe { $zero }
            }

            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: the caller has the instructions, and the elements are readable.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: the caller has the instructions, and the elements are writable.
                unsafe { $store(to, self) }
            }

            #[inline(always)]
            unsafe fn splat(from: *const $elem) -> Self {
                // SAFETY: the caller has the instructions, and the element is readable.
                unsafe { $splat(*from) }
            }

            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                let ($a, $b, $c) = (self, b, c);
                // SAFETY: the caller has the instructions.
                unsafe { $mul_add }
            }

            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                // SAFETY: the caller has the instructions.
                unsafe { $add(self, b) }
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use vector;
