//! Reference evaluation of windows: f64 accumulation, one rounding; integers wrap.

use super::{AvgPool, Conv, Pool, window_extent};
use crate::Dim;
use crate::lower::WindowDim;
use crate::op::OpError;
use crate::ops::contract::gemm::Packed;
use crate::ops::reduce::{combine_int, combine_real, start_int, start_real};
use crate::ops::shape::advance;
use crate::ops::wide::{Num, Wide, zeroed};
use crate::tensor::{Tensor, row_major_strides};

/// For one spatial axis, the operand position that each (result position, tap) sees; `None` in padding and holes.
struct Axis {
    taps: usize,
    extent: usize,
    seen: Vec<Option<usize>>,
}

impl Axis {
    fn new(op: &'static str, d: &WindowDim, extent: usize) -> Result<Axis, OpError> {
        let unbound =
            || OpError::new(op, "E1", format!("the paddings {} and {} hold unbound symbols", d.pad_low, d.pad_high));
        let low = d.pad_low.as_const().ok_or_else(unbound)?;
        let out = window_extent(d, &Dim::from(extent)).as_const().ok_or_else(unbound)?;
        // An empty operand spreads to nothing, and a window that does not fit has no result.
        let out = usize::try_from(out)
            .map_err(|_| OpError::new(op, "C7", format!("the window {d:?} does not fit an axis of {extent}")))?;
        let taps = d.size as usize;
        zeroed::<u8>(op, &[out, taps])?;
        let at = |o: usize, t: usize| {
            let spread = o as i64 * d.stride + t as i64 * d.dilation - low;
            let inside = spread >= 0 && spread % d.base_dilation == 0;
            inside.then_some((spread / d.base_dilation) as usize).filter(|&i| i < extent)
        };
        let seen = (0..out).flat_map(|o| (0..taps).map(move |t| (o, t))).map(|(o, t)| at(o, t)).collect();
        Ok(Axis { taps, extent: out, seen })
    }

    fn at(&self, o: usize, t: usize) -> Option<usize> {
        self.seen[o * self.taps + t]
    }
}

/// The geometry of a window over `[N, spatial.., C]`.
struct Geometry {
    axes: Vec<Axis>,
    /// Strides of the operand's spatial axes, in pixels.
    strides: Vec<usize>,
    batch: usize,
    channels: usize,
    /// Operand pixels of one image.
    pixels: usize,
}

impl Geometry {
    fn new(op: &'static str, dims: &[WindowDim], shape: &[usize]) -> Result<Geometry, OpError> {
        let (Some((&batch, rest)), Some(&channels)) = (shape.split_first(), shape.last()) else {
            return Err(OpError::new(op, "C3", format!("the operand has shape {shape:?}")));
        };
        let spatial = &rest[..dims.len()];
        let axes = dims.iter().zip(spatial).map(|(d, &n)| Axis::new(op, d, n)).collect::<Result<_, _>>()?;
        Ok(Geometry { axes, strides: row_major_strides(spatial), batch, channels, pixels: spatial.iter().product() })
    }

    fn result_shape(&self, last: usize) -> Vec<usize> {
        [self.batch].into_iter().chain(self.axes.iter().map(|a| a.extent)).chain([last]).collect()
    }

    /// Taps of one window.
    fn taps(&self) -> usize {
        self.axes.iter().map(|a| a.taps).product()
    }

    /// Calls `f(result pixel, tap, operand pixel)` for every tap of every window, result pixels and taps ascending;
    /// `None` for padding and holes. Pixels count over the batch.
    fn for_each(&self, mut f: impl FnMut(usize, usize, Option<usize>)) {
        let taps = self.taps();
        if taps == 0 || self.axes.iter().any(|a| a.extent == 0) {
            return;
        }
        let mut pixel = 0;
        for n in 0..self.batch {
            let mut o = vec![0; self.axes.len()];
            loop {
                let mut t = vec![0; self.axes.len()];
                for tap in 0..taps {
                    let seen = self.axes.iter().zip(&self.strides).enumerate();
                    let at = seen.map(|(i, (a, s))| a.at(o[i], t[i]).map(|p| p * s)).sum::<Option<usize>>();
                    f(pixel, tap, at.map(|p| n * self.pixels + p));
                    advance(&mut t, |axis| self.axes[axis].taps);
                }
                pixel += 1;
                if !advance(&mut o, |axis| self.axes[axis].extent) {
                    break;
                }
            }
        }
    }
}

/// Result pixels whose windows are gathered before they are multiplied: bounds the memory for it.
const GATHERED: usize = 256;

fn conv_elements<T: Num>(
    geometry: &Geometry,
    groups: usize,
    x: &[T],
    w: &[T],
    outputs: usize,
) -> Result<Vec<T>, OpError> {
    let (taps, channels) = (geometry.taps(), geometry.channels);
    let mut out = zeroed::<T>("conv", &geometry.result_shape(outputs))?;
    if out.is_empty() || channels == 0 {
        return Ok(out);
    }
    let (seen, made) = (channels / groups, outputs / groups);
    if seen == 1 {
        // Depthwise: one channel a group makes `made` outputs.
        geometry.for_each(|pixel, tap, at| {
            let Some(at) = at else { return };
            let (x, w) = (&x[at * channels..][..channels], &w[tap * outputs..][..outputs]);
            let out = &mut out[pixel * outputs..][..outputs];
            if made == 1 {
                out.iter_mut().zip(x).zip(w).for_each(|((o, &x), &w)| *o = o.add_mul(x, w));
            } else {
                out.iter_mut().zip(w).enumerate().for_each(|(i, (o, &w))| *o = o.add_mul(x[i / made], w));
            }
        });
        return Ok(out);
    }
    for g in 0..groups {
        let k = taps * seen;
        let packed = Packed::new(k, made, |i, j| w[i * outputs + g * made + j]);
        let mut windows: Vec<T> = Vec::with_capacity(GATHERED * k);
        let mut first = 0;
        let mut flush = |windows: &mut Vec<T>, first: &mut usize| {
            let m = windows.len() / k;
            packed.product(windows, m, |i, j, v| out[(*first + i) * outputs + g * made + j] = v);
            windows.clear();
            *first += m;
        };
        geometry.for_each(|_, _, at| {
            match at {
                Some(at) => windows.extend_from_slice(&x[at * channels + g * seen..][..seen]),
                None => windows.resize(windows.len() + seen, T::default()),
            }
            if windows.len() == GATHERED * k {
                flush(&mut windows, &mut first);
            }
        });
        flush(&mut windows, &mut first);
    }
    Ok(out)
}

pub(super) fn conv(op: &Conv, x: &Tensor, w: &Tensor) -> Result<Tensor, OpError> {
    let geometry = Geometry::new("conv", &op.dims, x.shape())?;
    let groups = usize::try_from(op.groups).unwrap_or(0);
    let outputs = w.shape().last().copied().unwrap_or(0);
    let window: Vec<usize> = geometry.axes.iter().map(|a| a.taps).collect();
    let fits = groups > 0 && geometry.channels % groups == 0 && outputs % groups == 0;
    if !fits || w.shape() != [&window[..], &[geometry.channels / groups.max(1), outputs]].concat() {
        let message =
            format!("{groups} groups of {:?} with a filter {:?} for windows of {window:?}", x.shape(), w.shape());
        return Err(OpError::new("conv", "C6", message));
    }
    let result = match (Wide::of("conv", x)?, Wide::of("conv", w)?) {
        (Wide::Real(x), Wide::Real(w)) => Wide::Real(conv_elements(&geometry, groups, &x, &w, outputs)?),
        (Wide::Int(x), Wide::Int(w)) => Wide::Int(conv_elements(&geometry, groups, &x, &w, outputs)?),
        _ => return Err(OpError::new("conv", "C2", format!("operands of {} and {}", x.dtype(), w.dtype()))),
    };
    result.into_tensor("conv", x.dtype(), &geometry.result_shape(outputs))
}

/// Combines the windows' elements channel by channel; also counts the elements of each window.
fn pool_elements<T: Copy + Default>(
    op: &'static str,
    geometry: &Geometry,
    x: &[T],
    start: T,
    f: impl Fn(T, T) -> T,
) -> Result<(Vec<T>, Vec<u32>), OpError> {
    let channels = geometry.channels;
    let mut out = zeroed::<T>(op, &geometry.result_shape(channels))?;
    out.fill(start);
    let mut counts = vec![0; out.len().checked_div(channels).unwrap_or(0)];
    if channels > 0 {
        geometry.for_each(|pixel, _, at| {
            let Some(at) = at else { return };
            counts[pixel] += 1;
            let (out, x) = (&mut out[pixel * channels..][..channels], &x[at * channels..][..channels]);
            out.iter_mut().zip(x).for_each(|(o, &v)| *o = f(*o, v));
        });
    }
    Ok((out, counts))
}

pub(super) fn pool(op: &Pool, x: &Tensor) -> Result<Tensor, OpError> {
    let geometry = Geometry::new("pool", &op.dims, x.shape())?;
    let dtype = x.dtype();
    let result = match Wide::of("pool", x)? {
        Wide::Real(v) => Wide::Real(pool_elements("pool", &geometry, &v, start_real(op.op), combine_real(op.op))?.0),
        Wide::Int(v) => {
            Wide::Int(pool_elements("pool", &geometry, &v, start_int(op.op, dtype), combine_int(op.op, dtype))?.0)
        }
        Wide::Complex(_) => return Err(OpError::new("pool", "C2", format!("does not take {dtype}"))),
    };
    result.into_tensor("pool", dtype, &geometry.result_shape(geometry.channels))
}

pub(super) fn avg_pool(op: &AvgPool, x: &Tensor) -> Result<Tensor, OpError> {
    let geometry = Geometry::new("avg_pool", &op.dims, x.shape())?;
    let Wide::Real(v) = Wide::of("avg_pool", x)? else {
        return Err(OpError::new("avg_pool", "C2", format!("does not take {}", x.dtype())));
    };
    let (mut sums, counts) = pool_elements("avg_pool", &geometry, &v, 0.0, |a, b| a + b)?;
    for (row, &count) in sums.chunks_exact_mut(geometry.channels.max(1)).zip(&counts) {
        row.iter_mut().for_each(|s| *s /= f64::from(count));
    }
    Wide::Real(sums).into_tensor("avg_pool", x.dtype(), &geometry.result_shape(geometry.channels))
}
