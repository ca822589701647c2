//! Layouts: the map from a buffer's logical indices to element offsets.

use crate::Dim;

/// One physical axis of a [`Layout`]: `((index[axis] / div) % modulo) * stride`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LayoutAxis {
    /// Logical axis.
    pub axis: usize,
    /// Divisor, at least 1.
    pub div: i64,
    /// Modulus; 0 for none (the outermost part of an axis).
    pub modulo: i64,
    /// Distance in elements between neighbours along this physical axis.
    pub stride: Dim,
}

/// Offset = `start` + the sum over the physical axes. A strided view has one physical axis for each logical one; a
/// packed operand splits an axis in two: `[O/NR][KH][KW][C][O%NR]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Offset of index 0 in elements: a view into a larger buffer (halo, concatenation slice) starts inside it.
    pub start: Dim,
    /// Physical axes in any order; axes of extent 1 may be left out.
    pub axes: Vec<LayoutAxis>,
    /// Elements that the buffer occupies from its base pointer, views and padding included.
    pub size: Dim,
}

impl Layout {
    /// Row-major over `shape`.
    pub fn row_major(shape: &[Dim]) -> Layout {
        let mut stride = Dim::from(1);
        let mut axes = Vec::with_capacity(shape.len());
        for (axis, d) in shape.iter().enumerate().rev() {
            axes.push(LayoutAxis { axis, div: 1, modulo: 0, stride: stride.clone() });
            stride = stride * d.clone();
        }
        axes.reverse();
        Layout { start: Dim::from(0), axes, size: stride }
    }

    /// A strided view: one stride for each logical axis.
    pub fn strided(start: Dim, strides: &[Dim], size: Dim) -> Layout {
        let axes =
            strides.iter().enumerate().map(|(axis, s)| LayoutAxis { axis, div: 1, modulo: 0, stride: s.clone() });
        Layout { start, axes: axes.collect(), size }
    }

    /// Packed: physical dims outermost first, each `(axis, div, modulo, extent)`; the last is contiguous.
    /// `[(3, 16, 0, O/16), (0, 1, 0, KH), (1, 1, 0, KW), (2, 1, 0, C), (3, 1, 16, 16)]` is `[O/16][KH][KW][C][16]`.
    pub fn packed(dims: &[(usize, i64, i64, Dim)]) -> Layout {
        let mut stride = Dim::from(1);
        let mut axes = Vec::with_capacity(dims.len());
        for (axis, div, modulo, extent) in dims.iter().rev() {
            axes.push(LayoutAxis { axis: *axis, div: *div, modulo: *modulo, stride: stride.clone() });
            stride = stride * extent.clone();
        }
        axes.reverse();
        Layout { start: Dim::from(0), axes, size: stride }
    }

    /// Every symbolic number of the layout.
    pub fn dims(&self) -> impl Iterator<Item = &Dim> {
        self.axes.iter().map(|a| &a.stride).chain([&self.start, &self.size])
    }

    /// The strides of the logical axes, where no axis is split; absent axes have stride 0.
    pub fn strides(&self, rank: usize) -> Option<Vec<Dim>> {
        let mut strides = vec![Dim::from(0); rank];
        for a in &self.axes {
            if a.div != 1 || a.modulo != 0 || a.axis >= rank {
                return None;
            }
            strides[a.axis] = a.stride.clone();
        }
        Some(strides)
    }

    /// Whether this is row-major over `shape` from offset 0, without gaps.
    pub fn is_row_major(&self, shape: &[Dim]) -> bool {
        self.start.is(0)
            && self.strides(shape.len()).is_some_and(|s| {
                let want = Layout::row_major(shape);
                let want = want.strides(shape.len()).unwrap_or_default();
                s.iter().zip(&want).zip(shape).all(|((a, b), d)| d.is(1) || a == b)
            })
    }

    /// The element offset of a logical index, with every symbol bound; `None` if one is not.
    pub fn offset(&self, index: &[i64], bind: &dyn Fn(&crate::Symbol) -> Option<i64>) -> Option<i64> {
        let mut offset = self.start.eval(bind)?;
        for a in &self.axes {
            let mut i = index.get(a.axis)?.div_euclid(a.div);
            if a.modulo != 0 {
                i = i.rem_euclid(a.modulo);
            }
            offset += i * a.stride.eval(bind)?;
        }
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_layout_splits_an_axis() {
        let d = |n: i64| Dim::from(n);
        // HWIO filter 1x1x2x5 packed in panels of 4 outputs.
        let l = Layout::packed(&[(3, 4, 0, d(2)), (0, 1, 0, d(1)), (1, 1, 0, d(1)), (2, 1, 0, d(2)), (3, 1, 4, d(4))]);
        assert_eq!(l.size, d(16));
        assert_eq!(l.offset(&[0, 0, 1, 4], &|_| None), Some(8 + 4));
        assert_eq!(l.offset(&[0, 0, 0, 3], &|_| None), Some(3));
    }

    #[test]
    fn row_major_ignores_strides_of_unit_axes() {
        let shape = [Dim::sym("b"), Dim::from(1), Dim::from(3)];
        let mut l = Layout::row_major(&shape);
        assert!(l.is_row_major(&shape));
        l.axes[1].stride = Dim::from(7);
        assert!(l.is_row_major(&shape));
        l.axes[0].stride = Dim::from(7);
        assert!(!l.is_row_major(&shape));
    }
}
