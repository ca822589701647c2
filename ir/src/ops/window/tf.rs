//! TensorFlow's convolutions and pools, and the ops of their gradients.

use std::slice::from_ref;

use anyhow::{Result, bail};

use super::{AvgPool, Conv, Pool, gradients, spread};
use crate::graph::{TensorType, Value};
use crate::lower::WindowDim;
use crate::ops::reduce::Reduce;
use crate::ops::shape::may_equal;
use crate::scalar::ReduceOp;
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, Dim};

/// How a window's border is padded.
pub(crate) enum Padding {
    /// Not at all.
    Valid,
    /// So that the result has ceil(extent / stride) positions, the odd element after.
    Same,
    /// Before and after each spatial axis.
    Explicit(Vec<(i64, i64)>),
}

impl Padding {
    /// The window over spatial axis `i` of the extent.
    pub(crate) fn window(&self, i: usize, size: i64, stride: i64, dilation: i64, extent: &Dim) -> WindowDim {
        let (pad_low, pad_high) = match self {
            Padding::Valid => (Dim::from(0), Dim::from(0)),
            Padding::Explicit(pads) => pads.get(i).map_or((Dim::from(0), Dim::from(0)), |p| (p.0.into(), p.1.into())),
            Padding::Same => {
                let reach = spread(&Dim::from(size), dilation);
                let needed =
                    spread(&extent.ceil_div(stride.max(1)), stride) - Dim::from(1) + reach.clone() - extent.clone();
                // With extent <= out * stride the padding is at least reach - stride, so it needs no maximum then.
                let total = match reach.as_const() {
                    Some(1) => Dim::from(0),
                    Some(r) if r >= stride && extent.as_const().is_none() => needed,
                    _ => needed.larger(&Dim::from(0)),
                };
                let low = total.floor_div(&Dim::from(2));
                (low.clone(), total - low)
            }
        };
        WindowDim { size, stride, dilation, base_dilation: 1, pad_low, pad_high }
    }
}

fn move_axis(b: &mut Builder, x: Value, from: usize, to: usize) -> Result<Value> {
    let mut perm: Vec<usize> = (0..b.ty(x).rank()).collect();
    if from < perm.len() && to < perm.len() {
        let axis = perm.remove(from);
        perm.insert(to, axis);
    }
    b.transpose(x, &perm)
}

/// `[N, C, spatial..]` as `[N, spatial.., C]`.
fn to_channels_last(b: &mut Builder, x: Value) -> Result<Value> {
    let last = b.ty(x).rank().saturating_sub(1);
    move_axis(b, x, 1, last)
}

/// `[N, spatial.., C]` as `[N, C, spatial..]`.
fn to_channels_first(b: &mut Builder, x: Value) -> Result<Value> {
    let last = b.ty(x).rank().saturating_sub(1);
    move_axis(b, x, last, 1)
}

/// Where the channels stand.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Layout {
    /// NHWC, NDHWC.
    Last,
    /// NCHW, NCDHW.
    First,
}

impl Layout {
    /// The attribute `data_format`.
    pub(crate) fn of(cx: &TfCx<'_>) -> Result<Layout> {
        let format = cx.str("data_format")?;
        match &format[..] {
            "NHWC" | "NDHWC" | "NWC" => Ok(Layout::Last),
            "NCHW" | "NCDHW" | "NCW" => Ok(Layout::First),
            _ => bail!("the data format {format} is not supported"),
        }
    }

    /// The value with channels last.
    pub(crate) fn enter(self, b: &mut Builder, x: Value) -> Result<Value> {
        if self == Layout::First { to_channels_last(b, x) } else { Ok(x) }
    }

    /// A value with channels last in this layout.
    pub(crate) fn leave(self, b: &mut Builder, x: Value) -> Result<Value> {
        if self == Layout::First { to_channels_first(b, x) } else { Ok(x) }
    }

    /// One entry an axis in this layout, as with channels last.
    fn reorder<T: Clone>(self, v: &[T]) -> Vec<T> {
        match (self, v) {
            (Layout::First, [n, c, spatial @ ..]) => [from_ref(n), spatial, from_ref(c)].concat(),
            _ => v.to_vec(),
        }
    }
}

/// What the attributes say of a window over `n` spatial axes.
struct Spec {
    layout: Layout,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    padding: Padding,
}

/// The spatial entries of a list with one entry an axis; those of batch and channels must be 1.
fn spatial(layout: Layout, list: &[i64], n: usize, what: &str) -> Result<Vec<i64>> {
    let list = layout.reorder(list);
    if list.len() != n + 2 || list[0] != 1 || list[n + 1] != 1 {
        bail!("{what} {list:?} must have {} entries, 1 for batch and channels", n + 2);
    }
    Ok(list[1..=n].to_vec())
}

impl Spec {
    fn read(cx: &TfCx<'_>, n: usize, strides: &[i64]) -> Result<Spec> {
        Spec::read_in(cx, Layout::of(cx)?, n, strides)
    }

    fn read_in(cx: &TfCx<'_>, layout: Layout, n: usize, strides: &[i64]) -> Result<Spec> {
        let dilations = match cx.node.attrs.contains_key("dilations") {
            true => match cx.ints("dilations")? {
                none if none.is_empty() => vec![1; n],
                list => spatial(layout, &list, n, "dilations")?,
            },
            false => vec![1; n],
        };
        let strides = spatial(layout, strides, n, "strides")?;
        if strides.iter().chain(&dilations).any(|&s| s < 1) {
            bail!("strides {strides:?} and dilations {dilations:?} must be positive");
        }
        let padding = match &cx.str("padding")?[..] {
            "VALID" => Padding::Valid,
            "SAME" => Padding::Same,
            "EXPLICIT" => {
                let pads = cx.ints("explicit_paddings")?;
                let pairs: Vec<(i64, i64)> = pads.chunks_exact(2).map(|p| (p[0], p[1])).collect();
                let pairs = layout.reorder(&pairs);
                let sane = pairs.iter().all(|p| p.0 >= 0 && p.1 >= 0);
                if pads.len() != 2 * (n + 2) || pairs[0] != (0, 0) || pairs[n + 1] != (0, 0) || !sane {
                    bail!("explicit paddings {pads:?} must pad {n} spatial axes by at least 0");
                }
                Padding::Explicit(pairs[1..=n].to_vec())
            }
            other => bail!("the padding {other} is not supported"),
        };
        Ok(Spec { layout, strides, dilations, padding })
    }

    /// The window dims over an operand `[N, spatial.., C]`.
    fn dims(&self, size: &[i64], shape: &[Dim]) -> Result<Vec<WindowDim>> {
        if shape.len() != size.len() + 2 {
            bail!("the operand has {} axes, not {}", shape.len(), size.len() + 2);
        }
        let sane = |list: &[i64]| list.iter().all(|n| (1..=super::LARGEST).contains(n));
        if !sane(size) || !sane(&self.strides) || !sane(&self.dilations) {
            bail!("windows of {size:?} with strides {:?} and dilations {:?}", self.strides, self.dilations);
        }
        let window = |i: usize| self.padding.window(i, size[i], self.strides[i], self.dilations[i], &shape[i + 1]);
        Ok((0..size.len()).map(window).collect())
    }
}

/// The sizes of the leading `n` axes of a filter.
fn filter_sizes(shape: &[Dim], n: usize) -> Result<Vec<i64>> {
    let sizes: Option<Vec<i64>> = shape.iter().take(n).map(Dim::as_const).collect();
    match sizes {
        Some(s) if shape.len() == n + 2 && s.iter().all(|&k| k > 0) => Ok(s),
        _ => bail!("a filter of shape {shape:?} has no {n} fixed spatial sizes"),
    }
}

/// The convolution of an operand `[N, spatial.., C]` with a filter `[spatial.., C / groups, O]`.
fn conv_of(spec: &Spec, n: usize, x: &[Dim], filter: &[Dim]) -> Result<Conv> {
    let dims = spec.dims(&filter_sizes(filter, n)?, x)?;
    let groups = match (x[n + 1].as_const(), filter[n].as_const()) {
        (Some(c), Some(seen)) if seen > 0 && c % seen == 0 => c / seen,
        (Some(_), Some(_)) => bail!("a filter of shape {filter:?} does not fit an operand of shape {x:?}"),
        _ => 1,
    };
    Ok(Conv { groups, dims })
}

fn strides_attr(cx: &TfCx<'_>) -> Result<Vec<i64>> {
    cx.ints("strides")
}

fn conv(cx: &mut TfCx<'_>, n: usize) -> Result<Vec<Value>> {
    let spec = Spec::read(cx, n, &strides_attr(cx)?)?;
    let w = cx.input(1)?;
    let x = cx.input(0)?;
    let x = spec.layout.enter(cx.b, x)?;
    let op = conv_of(&spec, n, &cx.b.ty(x).shape, &cx.b.ty(w).shape)?;
    let y = cx.b.push(op, &[x, w])?;
    Ok(vec![spec.layout.leave(cx.b, y)?])
}

/// Conv: two or three spatial axes by the filter's rank, several batch axes.
fn conv_of_any_rank(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (w, wt, ty) = (cx.input(1)?, cx.ty(1)?, cx.ty(0)?);
    let Some(n) = wt.rank().checked_sub(2).filter(|n| (2..=3).contains(n)) else {
        bail!("a filter {wt} has no two or three spatial axes")
    };
    let batch = usize::try_from(cx.int("batch_dims")?).unwrap_or(0);
    if ty.rank() != batch + n + 1 || batch == 0 {
        bail!("{ty} with {batch} batch axes does not fit the filter {wt}");
    }
    let layout = match &cx.str("data_format")?[..] {
        "CHANNELS_LAST" => Layout::Last,
        "CHANNELS_FIRST" => Layout::First,
        other => bail!("the data format {other} is not supported"),
    };
    let spec = Spec::read_in(cx, layout, n, &strides_attr(cx)?)?;
    let groups = cx.int("groups")?;
    let x = cx.input(0)?;
    let flat = [&[Dim::product(&ty.shape[..batch])], &ty.shape[batch..]].concat();
    let x = cx.b.reshape(x, &flat)?;
    let x = layout.enter(cx.b, x)?;
    let op = conv_of(&spec, n, &cx.b.ty(x).shape, &cx.b.ty(w).shape)?;
    if op.groups != groups {
        bail!("{groups} groups do not fit {ty} and the filter {wt}");
    }
    let y = cx.b.push(op, &[x, w])?;
    let y = layout.leave(cx.b, y)?;
    let shape = [&ty.shape[..batch], &cx.b.ty(y).shape[1..]].concat();
    Ok(vec![cx.b.reshape(y, &shape)?])
}

/// The depthwise filter `[h, w, C, M]` as `[h, w, 1, C * M]`.
fn depthwise_shape(shape: &[Dim]) -> Result<Vec<Dim>> {
    match shape {
        [h, w, c, m] => Ok(vec![h.clone(), w.clone(), Dim::from(1), c.clone() * m.clone()]),
        _ => bail!("a depthwise filter has four axes, not shape {shape:?}"),
    }
}

fn depthwise(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let spec = Spec::read(cx, 2, &strides_attr(cx)?)?;
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let shape = depthwise_shape(&cx.b.ty(w).shape)?;
    let w = cx.b.reshape(w, &shape)?;
    let x = spec.layout.enter(cx.b, x)?;
    let op = conv_of(&spec, 2, &cx.b.ty(x).shape, &shape)?;
    let y = cx.b.push(op, &[x, w])?;
    Ok(vec![spec.layout.leave(cx.b, y)?])
}

/// Refuses a cotangent whose spatial extents are not those of the convolution.
fn check_cotangent(op: &Conv, x: &[Dim], g: &[Dim]) -> Result<()> {
    let fits = |(i, d): (usize, &WindowDim)| may_equal(&super::window_extent(d, &x[i + 1]), &g[i + 1]);
    if g.len() != x.len() || !op.dims.iter().enumerate().all(fits) {
        bail!("a cotangent of shape {g:?} does not belong to an operand of shape {x:?} under {:?}", op.dims);
    }
    Ok(())
}

/// Operands: sizes of the operand, filter, cotangent of the result. Also the transposed convolution.
fn conv_backprop_input(cx: &mut TfCx<'_>, n: usize, depthwise: bool) -> Result<Vec<Value>> {
    let spec = Spec::read(cx, n, &strides_attr(cx)?)?;
    let (sizes, mut w, g) = (cx.dims_input(0)?, cx.input(1)?, cx.input(2)?);
    let g = spec.layout.enter(cx.b, g)?;
    if depthwise {
        let shape = depthwise_shape(&cx.b.ty(w).shape)?;
        w = cx.b.reshape(w, &shape)?;
    }
    let filter = cx.b.ty(w).shape.clone();
    let mut shape = spec.layout.reorder(&sizes);
    if let (true, Some(batch)) = (shape.len() == n, cx.b.ty(g).shape.first()) {
        // Sizes may leave out batch and channels.
        shape.insert(0, batch.clone());
        shape.push(filter.get(n).cloned().unwrap_or(Dim::from(1)));
    }
    let op = conv_of(&spec, n, &shape_of_rank(shape.clone(), n + 2)?, &filter)?;
    check_cotangent(&op, &shape, &cx.b.ty(g).shape)?;
    let x = gradients::conv_input(cx.b, &op, g, w, &shape)?;
    Ok(vec![spec.layout.leave(cx.b, x)?])
}

fn shape_of_rank(shape: Vec<Dim>, rank: usize) -> Result<Vec<Dim>> {
    if shape.len() == rank { Ok(shape) } else { bail!("{} sizes are given for {rank} axes", shape.len()) }
}

/// Operands: operand, sizes of the filter, cotangent of the result.
fn conv_backprop_filter(cx: &mut TfCx<'_>, n: usize, depthwise: bool) -> Result<Vec<Value>> {
    let spec = Spec::read(cx, n, &strides_attr(cx)?)?;
    let (x, sizes, g) = (cx.input(0)?, cx.dims_input(1)?, cx.input(2)?);
    let (x, g) = (spec.layout.enter(cx.b, x)?, spec.layout.enter(cx.b, g)?);
    let filter = if depthwise { depthwise_shape(&sizes)? } else { sizes.clone() };
    let shape = cx.b.ty(x).shape.clone();
    let op = conv_of(&spec, n, &shape, &filter)?;
    check_cotangent(&op, &shape, &cx.b.ty(g).shape)?;
    let w = gradients::conv_filter(cx.b, &op, g, x)?;
    Ok(vec![cx.b.reshape(w, &sizes)?])
}

/// Windows of a pool: attributes `ksize` and `strides`, or operands 1 and 2.
fn pool_lists(cx: &TfCx<'_>, operands: Option<usize>) -> Result<(Vec<i64>, Vec<i64>)> {
    match operands {
        Some(i) => Ok((cx.const_ints(i)?, cx.const_ints(i + 1)?)),
        None => Ok((cx.ints("ksize")?, cx.ints("strides")?)),
    }
}

/// TensorFlow pools volumes with a routine that lets SAME padding be negative where the stride is longer than the window:
/// half of what is left over, rounded toward zero, is skipped before the first window.
fn pad_as_volume_patches(spec: &Spec, dims: &mut [WindowDim], shape: &[Dim]) {
    if dims.len() != 3 || !matches!(spec.padding, Padding::Same) {
        return;
    }
    for (d, extent) in dims.iter_mut().zip(&shape[1..]) {
        let Some(n) = extent.as_const().filter(|&n| n > 0 && d.stride > d.size) else { continue };
        let total = (n - 1) / d.stride * d.stride + d.size - n;
        if total < 0 {
            (d.pad_low, d.pad_high) = (Dim::from(total / 2), Dim::from(total - total / 2));
        }
    }
}

fn max_pool(cx: &mut TfCx<'_>, n: usize, operands: Option<usize>) -> Result<Vec<Value>> {
    let (size, strides) = pool_lists(cx, operands)?;
    let layout = Layout::of(cx)?;
    if layout == Layout::Last && size.len() == n + 2 && size[n + 1] > 1 {
        return Ok(vec![max_over_channels(cx, &size, &strides)?]);
    }
    let spec = Spec::read(cx, n, &strides)?;
    let x = cx.input(0)?;
    let x = layout.enter(cx.b, x)?;
    let shape = cx.b.ty(x).shape.clone();
    let mut dims = spec.dims(&spatial(layout, &size, n, "ksize")?, &shape)?;
    pad_as_volume_patches(&spec, &mut dims, &shape);
    let y = cx.b.push(Pool { op: ReduceOp::Max, dims }, &[x])?;
    Ok(vec![layout.leave(cx.b, y)?])
}

/// The maximum over runs of channels, which TensorFlow allows where nothing else is pooled.
fn max_over_channels(cx: &mut TfCx<'_>, size: &[i64], strides: &[i64]) -> Result<Value> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let Some(((last, &run), channels)) = size.split_last().map(|(r, s)| (s, r)).zip(ty.shape.last()) else {
        bail!("a scalar cannot be pooled")
    };
    let whole = channels.as_const().is_some_and(|c| c % run == 0);
    if last.iter().any(|&s| s != 1) || strides != size || !whole {
        bail!("windows of {size:?} with strides {strides:?} over {ty} pool channels and more");
    }
    let rank = ty.rank();
    let mut split = ty.shape[..rank - 1].to_vec();
    split.extend([channels.floor_div(&Dim::from(run)), Dim::from(run)]);
    let x = cx.b.reshape(x, &split)?;
    cx.b.push(Reduce { op: ReduceOp::Max, axes: vec![rank], keep_dims: false }, &[x])
}

fn avg_pool(cx: &mut TfCx<'_>, n: usize) -> Result<Vec<Value>> {
    let (size, strides) = pool_lists(cx, None)?;
    let spec = Spec::read(cx, n, &strides)?;
    let x = cx.input(0)?;
    let x = spec.layout.enter(cx.b, x)?;
    let shape = cx.b.ty(x).shape.clone();
    let mut dims = spec.dims(&spatial(spec.layout, &size, n, "ksize")?, &shape)?;
    pad_as_volume_patches(&spec, &mut dims, &shape);
    let y = cx.b.push(AvgPool { dims }, &[x])?;
    Ok(vec![spec.layout.leave(cx.b, y)?])
}

/// Operands: operand and result of the pool, cotangent of the result.
fn max_pool_grad(cx: &mut TfCx<'_>, n: usize, operands: Option<usize>) -> Result<Vec<Value>> {
    let (size, strides) = pool_lists(cx, operands)?;
    let spec = Spec::read(cx, n, &strides)?;
    let layout = spec.layout;
    let (x, y, g) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (x, y, g) = (layout.enter(cx.b, x)?, layout.enter(cx.b, y)?, layout.enter(cx.b, g)?);
    let dims = spec.dims(&spatial(layout, &size, n, "ksize")?, &cx.b.ty(x).shape)?;
    for v in [y, g] {
        if cx.b.ty(v).rank() != n + 2 {
            bail!("result and cotangent have types {} and {}", cx.b.ty(y), cx.b.ty(g));
        }
    }
    let dx = gradients::extreme_pool_input(cx.b, &Pool { op: ReduceOp::Max, dims }, x, y, g)?;
    Ok(vec![layout.leave(cx.b, dx)?])
}

/// Operands: operand and result of the pool, and what takes the operand's place in the gradient.
fn max_pool_grad_grad(cx: &mut TfCx<'_>, n: usize, operands: Option<usize>) -> Result<Vec<Value>> {
    let (size, strides) = pool_lists(cx, operands)?;
    let spec = Spec::read(cx, n, &strides)?;
    let layout = spec.layout;
    let (x, y, g) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (x, y, g) = (layout.enter(cx.b, x)?, layout.enter(cx.b, y)?, layout.enter(cx.b, g)?);
    let dims = spec.dims(&spatial(layout, &size, n, "ksize")?, &cx.b.ty(x).shape)?;
    let gg = super::second::at_maximum(cx.b, &dims, x, y, g)?;
    Ok(vec![layout.leave(cx.b, gg)?])
}

/// Operands: shape of the operand, cotangent of the result.
fn avg_pool_grad(cx: &mut TfCx<'_>, n: usize) -> Result<Vec<Value>> {
    let (size, strides) = pool_lists(cx, None)?;
    let spec = Spec::read(cx, n, &strides)?;
    let (shape, g) = (spec.layout.reorder(&cx.dims_input(0)?), cx.input(1)?);
    let g = spec.layout.enter(cx.b, g)?;
    let dims = spec.dims(&spatial(spec.layout, &size, n, "ksize")?, &shape)?;
    let ty = TensorType::new(cx.b.ty(g).dtype, shape);
    let dx = gradients::avg_pool_input(cx.b, &dims, g, &ty)?;
    Ok(vec![spec.layout.leave(cx.b, dx)?])
}

/// Bindings of `conv`.
pub(super) const CONV: &[TfBinding] = &[
    TfBinding { op: "Conv2D", read: |cx| conv(cx, 2) },
    TfBinding { op: "Conv3D", read: |cx| conv(cx, 3) },
    TfBinding { op: "Conv", read: conv_of_any_rank },
    TfBinding { op: "DepthwiseConv2dNative", read: depthwise },
    TfBinding { op: "Conv2DBackpropInput", read: |cx| conv_backprop_input(cx, 2, false) },
    TfBinding { op: "Conv3DBackpropInputV2", read: |cx| conv_backprop_input(cx, 3, false) },
    TfBinding { op: "DepthwiseConv2dNativeBackpropInput", read: |cx| conv_backprop_input(cx, 2, true) },
    TfBinding { op: "Conv2DBackpropFilter", read: |cx| conv_backprop_filter(cx, 2, false) },
    TfBinding { op: "Conv3DBackpropFilterV2", read: |cx| conv_backprop_filter(cx, 3, false) },
    TfBinding { op: "DepthwiseConv2dNativeBackpropFilter", read: |cx| conv_backprop_filter(cx, 2, true) },
];

/// Bindings of `pool`.
pub(super) const POOL: &[TfBinding] = &[
    TfBinding { op: "MaxPool", read: |cx| max_pool(cx, 2, None) },
    TfBinding { op: "MaxPoolV2", read: |cx| max_pool(cx, 2, Some(1)) },
    TfBinding { op: "MaxPool3D", read: |cx| max_pool(cx, 3, None) },
    TfBinding { op: "MaxPoolGrad", read: |cx| max_pool_grad(cx, 2, None) },
    TfBinding { op: "MaxPoolGradV2", read: |cx| max_pool_grad(cx, 2, Some(3)) },
    TfBinding { op: "MaxPool3DGrad", read: |cx| max_pool_grad(cx, 3, None) },
    TfBinding { op: "MaxPoolGradGrad", read: |cx| max_pool_grad_grad(cx, 2, None) },
    TfBinding { op: "MaxPoolGradGradV2", read: |cx| max_pool_grad_grad(cx, 2, Some(3)) },
    TfBinding { op: "MaxPool3DGradGrad", read: |cx| max_pool_grad_grad(cx, 3, None) },
];

/// Bindings of `avg_pool`.
pub(super) const AVG_POOL: &[TfBinding] = &[
    TfBinding { op: "AvgPool", read: |cx| avg_pool(cx, 2) },
    TfBinding { op: "AvgPool3D", read: |cx| avg_pool(cx, 3) },
    TfBinding { op: "AvgPoolGrad", read: |cx| avg_pool_grad(cx, 2) },
    TfBinding { op: "AvgPool3DGrad", read: |cx| avg_pool_grad(cx, 3) },
];
