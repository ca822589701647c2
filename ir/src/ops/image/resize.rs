//! Resizing images: nearest, bilinear, bicubic and area, and the gradients of the first two.
//!
//! Nearest and bilinear gather rows and columns; the other two, and the gradients, are products with a small matrix an axis,
//! since resizing is linear and separable. Where extents are numbers the places and weights are constants; otherwise
//! `resize_places` and `resize_weights` compute them when the extents are known.
//!
//! Evaluation: E1 an extent is not bound, or 0.

use anyhow::{Result, bail};

use crate::graph::{TensorType, Value};

use crate::op::{Op, OpDef, OpError};
use crate::ops::contract::Contract;
use crate::ops::gather::Gather;
use crate::ops::host::{extents, host_op, require};
use crate::ops::shape::arity;
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType, Dim};

host_op! {
    /// `resize_places`: for each of `sizes[1]` result positions the two neighbours among `sizes[0]` operand positions (i32)
    /// and the weight of the second (f32). For `nearest` both are the nearest, with weight 0.
    ResizePlaces = "resize_places" {
        /// Operand and result extent.
        sizes: Vec<Dim>,
        /// Whether the nearest position is taken; otherwise both neighbours.
        nearest: bool,
        /// Whether the corners' centres coincide.
        align_corners: bool,
        /// Whether positions are of the pixels' centres.
        half_pixel: bool,
    }
    infer |op, given| {
        let [] = arity("resize_places", given)?;
        check_sizes("resize_places", &op.sizes)?;
        let vector = |dtype| TensorType::new(dtype, vec![op.sizes[1].clone()]);
        Ok(vec![vector(DType::I32), vector(DType::I32), vector(DType::F32)])
    },
    eval |op, _| {
        let sizes = known_sizes("resize_places", &op.sizes)?;
        let (from, to) = (sizes[0], sizes[1]);
        let scaler = Scaler::new(from, to, op.align_corners, op.half_pixel);
        let places: Vec<(i32, i32, f32)> = (0..to)
            .map(|i| if op.nearest { let p = scaler.nearest(i); (p, p, 0.0) } else { scaler.neighbours(i) })
            .collect();
        Ok(vec![
            Tensor::of(&[to], &places.iter().map(|p| p.0).collect::<Vec<_>>()),
            Tensor::of(&[to], &places.iter().map(|p| p.1).collect::<Vec<_>>()),
            Tensor::of(&[to], &places.iter().map(|p| p.2).collect::<Vec<_>>()),
        ])
    }
}

host_op! {
    /// `resize_weights`: the matrix f32 `[sizes[1], sizes[0]]` that resizes an axis: result = matrix * operand.
    ResizeWeights = "resize_weights" {
        /// Operand and result extent.
        sizes: Vec<Dim>,
        /// `nearest`, `linear`, `cubic` or `area`.
        method: String,
        /// Whether the corners' centres coincide.
        align_corners: bool,
        /// Whether positions are of the pixels' centres.
        half_pixel: bool,
    }
    infer |op, given| {
        let [] = arity("resize_weights", given)?;
        check_sizes("resize_weights", &op.sizes)?;
        require("resize_weights", "C4", METHODS.contains(&&op.method[..]), || format!("the method `{}`", op.method))?;
        Ok(vec![TensorType::new(DType::F32, vec![op.sizes[1].clone(), op.sizes[0].clone()])])
    },
    eval |op, _| {
        let sizes = known_sizes("resize_weights", &op.sizes)?;
        let (from, to) = (sizes[0], sizes[1]);
        let scaler = Scaler::new(from, to, op.align_corners, op.half_pixel);
        let mut m = crate::ops::wide::zeroed::<f32>("resize_weights", &[to, from])?;
        for i in 0..to {
            let row = &mut m[i * from..(i + 1) * from];
            match &op.method[..] {
                "nearest" => row[scaler.nearest(i) as usize] += 1.0,
                "linear" => {
                    let (low, high, t) = scaler.neighbours(i);
                    row[low as usize] += 1.0 - t;
                    row[high as usize] += t;
                }
                "cubic" => scaler.cubic(i, row),
                _ => scaler.area(i, row),
            }
        }
        Ok(vec![Tensor::of(&[to, from], &m)])
    }
}

const METHODS: [&str; 4] = ["nearest", "linear", "cubic", "area"];

fn check_sizes(op: &'static str, sizes: &[Dim]) -> Result<(), OpError> {
    require(op, "C4", sizes.len() == 2, || format!("takes two sizes, not {sizes:?}"))
}

fn known_sizes(op: &'static str, sizes: &[Dim]) -> Result<Vec<usize>, OpError> {
    let n = extents(op, sizes)?;
    require(op, "E1", n[0] > 0 && n.iter().all(|&n| n <= i32::MAX as usize), || {
        format!("an axis of {} elements", n[0])
    })?;
    Ok(n)
}

/// Maps result positions of an axis to operand positions, in f32 as TensorFlow's kernels do.
struct Scaler {
    scale: f32,
    from: usize,
    align_corners: bool,
    half_pixel: bool,
}

impl Scaler {
    fn new(from: usize, to: usize, align_corners: bool, half_pixel: bool) -> Scaler {
        let scale = if align_corners && to > 1 { (from - 1) as f32 / (to - 1) as f32 } else { from as f32 / to as f32 };
        Scaler { scale, from, align_corners, half_pixel }
    }

    /// The position that a result's position stands for.
    fn position(&self, i: usize) -> f32 {
        if self.half_pixel { (i as f32 + 0.5) * self.scale - 0.5 } else { i as f32 * self.scale }
    }

    fn nearest(&self, i: usize) -> i32 {
        let at = if self.half_pixel { (i as f32 + 0.5) * self.scale } else { i as f32 * self.scale };
        let at = if self.align_corners { at.round() } else { at.floor() };
        (at as i32).clamp(0, self.from as i32 - 1)
    }

    fn neighbours(&self, i: usize) -> (i32, i32, f32) {
        let at = self.position(i);
        let low = at.floor();
        ((low as i32).max(0), (at.ceil() as i32).min(self.from as i32 - 1), at - low)
    }

    /// Four taps of Keys' kernel, whose weights TensorFlow reads from a table of 1024 steps. Under half-pixel centres its
    /// parameter is -1/2 and taps outside the image are left out; otherwise -3/4 and they repeat the border.
    fn cubic(&self, i: usize, row: &mut [f32]) {
        const STEPS: f32 = 1024.0;
        let a = if self.half_pixel { -0.5 } else { -0.75 };
        let near = |x: f32| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
        let far = |x: f32| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
        let at = self.position(i);
        let low = at.floor();
        let step = ((at - low) * STEPS).round_ties_even();
        let t = step / STEPS;
        let u = (STEPS - step) / STEPS;
        let taps = [far(t + 1.0), near(t), near(u), far(u + 1.0)];
        let last = self.from as i64 - 1;
        let places: Vec<i64> = (-1..=2).map(|k| low as i64 + k).collect();
        let inside = |p: i64| (0..=last).contains(&p);
        // What is left out is made up for, unless next to nothing is left.
        let sum: f32 = places.iter().zip(taps).filter(|p| !self.half_pixel || inside(*p.0)).map(|p| p.1).sum();
        let scale = if self.half_pixel && sum.abs() >= 1000.0 * f32::MIN_POSITIVE { 1.0 / sum } else { 1.0 };
        for (&p, w) in places.iter().zip(taps) {
            if !self.half_pixel || inside(p) {
                row[p.clamp(0, last) as usize] += w * scale;
            }
        }
    }

    /// Means over the stretch of the operand that a result position covers.
    fn area(&self, i: usize, row: &mut [f32]) {
        let (start, end) = (i as f32 * self.scale, (i + 1) as f32 * self.scale);
        for p in start.floor() as i64..end.ceil() as i64 {
            let (low, high) = (p as f32, (p + 1) as f32);
            let covered = if low < start {
                if high > end { self.scale } else { high - start }
            } else if high > end {
                end - low
            } else {
                1.0
            };
            row[p.clamp(0, self.from as i64 - 1) as usize] += covered / self.scale;
        }
    }
}

/// The node's results, as constants where its sizes are numbers.
fn computed(b: &mut Builder, op: impl Op, sizes: &[Dim]) -> Result<Vec<Value>> {
    if sizes.iter().all(|d| d.as_const().is_some()) {
        let tensors = op.eval(&[])?;
        return tensors.into_iter().map(|t| b.constant(t)).collect();
    }
    b.push_all(op, &[])
}

/// How a node resizes.
struct Attributes {
    align_corners: bool,
    half_pixel: bool,
}

impl Attributes {
    fn read(cx: &TfCx<'_>) -> Result<Attributes> {
        let half_pixel = cx.node.attrs.contains_key("half_pixel_centers") && cx.bool("half_pixel_centers")?;
        let align_corners = cx.bool("align_corners")?;
        if half_pixel && align_corners {
            bail!("`align_corners` and `half_pixel_centers` exclude each other");
        }
        Ok(Attributes { align_corners, half_pixel })
    }
}

/// The images and the height and width that operand 1 asks for.
fn operands(cx: &mut TfCx<'_>) -> Result<(Value, TensorType, Dim, Dim)> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let sizes = cx.dims_input(1)?;
    let ([_, _, _, _], [height, width]) = (&ty.shape[..], &sizes[..]) else {
        bail!("images of four axes are resized to two sizes, not {ty} to {sizes:?}")
    };
    let positive = |d: &Dim| d.as_const().is_none_or(|n| n > 0);
    if ![height, width, &ty.shape[1], &ty.shape[2]].into_iter().all(positive) {
        bail!("{ty} cannot be resized to {height} x {width}: sizes must be positive");
    }
    Ok((x, ty, height.clone(), width.clone()))
}

fn nearest(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let Attributes { align_corners, half_pixel } = Attributes::read(cx)?;
    let (mut x, ty, height, width) = operands(cx)?;
    for (axis, to) in [(1, height), (2, width)] {
        let sizes = vec![ty.shape[axis].clone(), to];
        let op = ResizePlaces { sizes: sizes.clone(), nearest: true, align_corners, half_pixel };
        let places = computed(cx.b, op, &sizes)?[0];
        x = cx.b.push(Gather { axis, batch_dims: 0 }, &[x, places])?;
    }
    Ok(vec![x])
}

fn bilinear(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let Attributes { align_corners, half_pixel } = Attributes::read(cx)?;
    let (x, ty, height, width) = operands(cx)?;
    let b = &mut *cx.b;
    let mut x = b.cast(DType::F32, x)?;
    // Columns first, as TensorFlow's kernel interpolates.
    for (axis, to) in [(2, width), (1, height)] {
        let sizes = vec![ty.shape[axis].clone(), to.clone()];
        let op = ResizePlaces { sizes: sizes.clone(), nearest: false, align_corners, half_pixel };
        let found = computed(b, op, &sizes)?;
        let low = b.push(Gather { axis, batch_dims: 0 }, &[x, found[0]])?;
        let high = b.push(Gather { axis, batch_dims: 0 }, &[x, found[1]])?;
        let along: Vec<Dim> = [to].into_iter().chain(vec![Dim::from(1); 3 - axis]).collect();
        let weight = b.reshape(found[2], &along)?;
        x = super::lerp(b, low, high, weight)?;
    }
    Ok(vec![x])
}

/// Both axes through their matrices: `weights[axis]` is `[result, operand]`, or the other way round with `transposed`.
fn through(b: &mut Builder, x: Value, weights: [Value; 2], transposed: bool) -> Result<Value> {
    let mut x = x;
    for (axis, out, w) in [(b'h', b"nxwc", weights[0]), (b'w', b"nhxc", weights[1])] {
        let lhs = if transposed { vec![axis, b'x'] } else { vec![b'x', axis] };
        let out = out.to_vec();
        x = b.push(Contract { lhs, rhs: b"nhwc".to_vec(), out }, &[w, x])?;
    }
    Ok(x)
}

fn by_matrix(cx: &mut TfCx<'_>, method: &str) -> Result<Vec<Value>> {
    let Attributes { align_corners, half_pixel } = Attributes::read(cx)?;
    let (x, ty, height, width) = operands(cx)?;
    let b = &mut *cx.b;
    let x = b.cast(DType::F32, x)?;
    let mut matrix = |from: &Dim, to: &Dim| {
        let sizes = vec![from.clone(), to.clone()];
        let op = ResizeWeights { sizes: sizes.clone(), method: method.into(), align_corners, half_pixel };
        Ok::<_, anyhow::Error>(computed(b, op, &sizes)?[0])
    };
    let weights = [matrix(&ty.shape[1], &height)?, matrix(&ty.shape[2], &width)?];
    Ok(vec![through(cx.b, x, weights, false)?])
}

/// Operands: the cotangent of the resized images, and the images' extents or (`of_image`) the images.
fn gradient(cx: &mut TfCx<'_>, method: &str, of_image: bool) -> Result<Vec<Value>> {
    let Attributes { align_corners, half_pixel } = Attributes::read(cx)?;
    let (g, ty) = (cx.input(0)?, cx.ty(0)?);
    let (sizes, dtype) = if of_image {
        let image = cx.ty(1)?;
        (image.shape.get(1..3).map(<[Dim]>::to_vec).unwrap_or_default(), image.dtype)
    } else {
        (cx.dims_input(1)?, ty.dtype)
    };
    let ([_, height, width, _], [from_height, from_width]) = (&ty.shape[..], &sizes[..]) else {
        bail!("{ty} is no cotangent of resized images of extents {sizes:?}")
    };
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let b = &mut *cx.b;
    let mut matrix = |from: &Dim, to: &Dim| -> Result<Value> {
        let sizes = vec![from.clone(), to.clone()];
        let op = ResizeWeights { sizes: sizes.clone(), method: method.into(), align_corners, half_pixel };
        let m = computed(b, op, &sizes)?[0];
        b.cast(wide, m)
    };
    let weights = [matrix(from_height, height)?, matrix(from_width, width)?];
    let g = cx.b.cast(wide, g)?;
    let dx = through(cx.b, g, weights, true)?;
    Ok(vec![cx.b.cast(dtype, dx)?])
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    ResizePlaces::def(&[
        TfBinding { op: "ResizeNearestNeighbor", read: nearest },
        TfBinding { op: "ResizeBilinear", read: bilinear },
    ]),
    ResizeWeights::def(&[
        TfBinding { op: "ResizeBicubic", read: |cx| by_matrix(cx, "cubic") },
        TfBinding { op: "ResizeArea", read: |cx| by_matrix(cx, "area") },
        TfBinding { op: "ResizeNearestNeighborGrad", read: |cx| gradient(cx, "nearest", false) },
        TfBinding { op: "ResizeBilinearGrad", read: |cx| gradient(cx, "linear", true) },
        TfBinding { op: "ResizeBicubicGrad", read: |cx| gradient(cx, "cubic", true) },
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_a_position_add_up_to_one() {
        for method in METHODS {
            for (from, to) in [(1, 3), (4, 7), (7, 4), (5, 5), (9, 2)] {
                for half_pixel in [false, true] {
                    let op = ResizeWeights {
                        sizes: vec![Dim::from(from), Dim::from(to)],
                        method: method.into(),
                        align_corners: false,
                        half_pixel,
                    };
                    let m = op.eval(&[]).expect("weights").remove(0);
                    for row in m.as_slice::<f32>().expect("f32").chunks(from as usize) {
                        let sum: f32 = row.iter().sum();
                        assert!((sum - 1.0).abs() < 1e-5, "{method} {from} to {to}: {row:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_axis_without_elements_is_an_error() {
        let op = ResizePlaces {
            sizes: vec![Dim::from(0), Dim::from(2)],
            nearest: true,
            align_corners: false,
            half_pixel: false,
        };
        assert_eq!(op.eval(&[]).expect_err("no pixel").code, "E1");
    }
}
