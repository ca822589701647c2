//! Random crops that keep enough of an object: SampleDistortedBoundingBox in its versions.

use anyhow::{Result, bail};

use crate::graph::{TensorType, Value};
use crate::op::OpError;
use crate::ops::host::{host_op, int_tensor, ints, require, tf_ops, typed};
use crate::ops::random::philox::{Words, unit_f32};
use crate::ops::random::stream::RandomStream;
use crate::ops::random::{RandomKey, check_key, generator};
use crate::tensor::Tensor;
use crate::tf::{TfAttr, TfBinding, TfCx};
use crate::{DType, Dim};

const OP: &str = "distorted_box";

host_op! {
    /// `distorted_box key, counter, image_size, boxes, share`: the first place (row, column, 0), the size (height, width,
    /// -1) and the box (top, left, bottom, right in shares of the image, `[1, 1, 4]`) of a crop that holds at least
    /// `share` of one of the boxes; the whole image where no attempt does.
    DistortedBox = "distorted_box" {
        /// The least and the largest width by height.
        aspect: Vec<f64>,
        /// The least and the largest share of the image's area.
        area: Vec<f64>,
        /// How many crops are tried.
        attempts: i64,
        /// Whether the image stands for the box where there is none.
        whole: bool,
    }
    infer |op, given| {
        let share: &[DType] = &[DType::F32];
        let [key, counter, size, boxes, least] = typed(OP, given, [&[DType::U64], &[DType::U64], &[], share, share])?;
        check_key(OP, key, counter)?;
        require(OP, "C2", size.dtype.is_int() && size.rank() == 1, || format!("the image's size {size}"))?;
        require(OP, "C3", boxes.rank() == 3 && least.rank() == 0, || format!("boxes {boxes} and a share {least}"))?;
        let four = boxes.shape[2].as_const().is_none_or(|n| n == 4);
        require(OP, "C3", four, || format!("boxes {boxes} are not four numbers each"))?;
        let pair = |v: &[f64]| v.len() == 2 && v.iter().all(|&v| v > 0.0);
        let sane = pair(&op.aspect) && pair(&op.area) && op.area.iter().all(|&v| v <= 1.0) && op.attempts > 0;
        require(OP, "C4", sane, || format!("aspects {:?}, areas {:?}, {} attempts", op.aspect, op.area, op.attempts))?;
        let three = TensorType::fixed(size.dtype, &[3]);
        Ok(vec![three.clone(), three, TensorType::fixed(DType::F32, &[1, 1, 4])])
    },
    eval |op, x| {
        let size = ints(x[2]);
        let extent = |i: usize| size.get(i).copied().filter(|n| (0..i64::from(i32::MAX)).contains(n));
        let (Some(height), Some(width), 3) = (extent(0), extent(1), size.len()) else {
            return Err(OpError::new(OP, "E1", format!("the image's size {size:?} is not height, width, channels")));
        };
        let coordinates: &[f32] = x[3].as_slice().unwrap_or(&[]);
        let least = x[4].as_slice::<f32>().and_then(|s| s.first().copied()).unwrap_or(0.0);
        require(OP, "E1", least >= 0.0, || format!("the share {least} is negative"))?;
        let mut boxes = vec![];
        for c in coordinates.chunks_exact(4) {
            let inside = c.iter().all(|v| (0.0..=1.0).contains(v));
            require(OP, "E1", inside, || format!("the box {c:?} is not in [0, 1]"))?;
            let place = |v: f32, n: i64| (v * n as f32) as i64;
            boxes.push([place(c[0], height), place(c[1], width), place(c[2], height), place(c[3], width)]);
        }
        let image = [0, 0, height, width];
        if boxes.is_empty() {
            require(OP, "E1", op.whole, || "there is no box; set use_image_if_no_bounding_boxes to do without".into())?;
            boxes.push(image);
        }
        let mut words = Words::new(generator(OP, x[0], x[1])?);
        let crop = op.sample(&mut words, [height, width], &boxes, least).unwrap_or(image);
        let [top, left, bottom, right] = crop;
        let dtype = x[2].dtype();
        let share = [(top, height), (left, width), (bottom, height), (right, width)].map(|(v, n)| v as f32 / n as f32);
        Ok(vec![
            int_tensor(OP, dtype, &[3], &[top, left, 0])?,
            int_tensor(OP, dtype, &[3], &[bottom - top, right - left, -1])?,
            Tensor::of(&[1, 1, 4], &share),
        ])
    },
}

/// Top, left, bottom and right in pixels.
type Box4 = [i64; 4];

impl DistortedBox {
    /// The first crop that holds enough of a box.
    fn sample(&self, words: &mut Words, size: [i64; 2], boxes: &[Box4], least: f32) -> Option<Box4> {
        let (from, to) = (self.aspect[0] as f32, self.aspect[1] as f32);
        for _ in 0..self.attempts {
            let aspect = unit_f32(words.word()) * (to - from) + from;
            if let Some(crop) = self.crop(words, size, aspect)
                && holds(crop, boxes, least)
            {
                return Some(crop);
            }
        }
        None
    }

    /// A crop of an aspect: of any height that the areas leave, anywhere. Arithmetic is that of TensorFlow's kernel, in
    /// f32, as every comparison decides which words are drawn.
    fn crop(&self, words: &mut Words, [height, width]: [i64; 2], aspect: f32) -> Option<Box4> {
        if height <= 0 || width <= 0 || aspect <= 0.0 || self.area[0] > self.area[1] {
            return None;
        }
        let area = |share: f64| share as f32 * width as f32 * height as f32;
        let (least, most) = (area(self.area[0]), area(self.area[1]));
        let round = |v: f32| v.round_ties_even() as i64;
        let across = |h: i64| round(h as f32 * aspect);
        let (mut h, mut highest) = (round((least / aspect).sqrt()), round((most / aspect).sqrt()));
        if across(highest) > width {
            highest = ((width as f64 + 0.5 - f64::from(0.000_000_1f32)) / f64::from(aspect)) as i64;
            if across(highest) > width {
                highest -= 1;
            }
        }
        highest = highest.min(height);
        h = h.min(highest);
        if h < highest {
            h += below(words, highest - h + 1);
        }
        let mut w = across(h);
        if ((w * h) as f32) < least {
            h += 1;
            w = across(h);
        }
        if (w * h) as f32 > most {
            h -= 1;
            w = across(h);
        }
        let size = (w * h) as f32;
        if size < least || size > most || w > width || h > height || w <= 0 || h <= 0 {
            return None;
        }
        let top = if h < height { below(words, height - h) } else { 0 };
        let left = if w < width { below(words, width - w) } else { 0 };
        Some([top, left, top + h, left + w])
    }
}

/// A whole number below `n`, as TensorFlow's SimplePhilox draws it.
fn below(words: &mut Words, n: i64) -> i64 {
    let Some(n) = u32::try_from(n).ok().filter(|&n| n > 0) else { return 0 };
    if n.is_power_of_two() {
        return i64::from(words.word() & (n - 1));
    }
    let excess = u32::MAX % n + 1;
    loop {
        let word = words.word();
        if word >= excess {
            return i64::from(word % n);
        }
    }
}

fn area([top, left, bottom, right]: Box4) -> f32 {
    ((right - left) * (bottom - top)) as f32
}

/// Whether a crop holds that share of one of the boxes.
fn holds(crop: Box4, boxes: &[Box4], least: f32) -> bool {
    let shared = |b: &Box4| {
        let both = [crop[0].max(b[0]), crop[1].max(b[1]), crop[2].min(b[2]), crop[3].min(b[3])];
        if both[0] > both[2] || both[1] > both[3] { 0.0 } else { area(both) }
    };
    area(crop) >= 1.0 && boxes.iter().any(|b| area(*b) >= 1.0 && shared(b) / area(*b) >= least)
}

fn pair(cx: &TfCx<'_>, name: &str) -> Result<Vec<f64>> {
    let float = |a: &TfAttr| match a {
        TfAttr::Float(v) => Ok(f64::from(*v)),
        other => bail!("attribute `{name}` holds {other:?}, not floats"),
    };
    match cx.node.attrs.get(name) {
        Some(TfAttr::List(l)) => l.iter().map(float).collect(),
        _ => bail!("attribute `{name}` is not a list"),
    }
}

/// Operands: the image's size, boxes, and unless it is an attribute the share; a seed in the stateless version.
fn sample(cx: &mut TfCx<'_>, share: Option<usize>, seed: Option<usize>) -> Result<Vec<Value>> {
    let attempts = cx.int("max_attempts")?;
    let op = DistortedBox {
        aspect: pair(cx, "aspect_ratio_range")?,
        area: pair(cx, "area_range")?,
        attempts,
        whole: cx.bool("use_image_if_no_bounding_boxes")?,
    };
    let mut inputs = match seed {
        Some(i) => {
            let seed = cx.input(i)?;
            cx.b.push_all(RandomKey {}, &[seed])?
        }
        None => {
            let seeds = [cx.int("seed")?, cx.int("seed2")?];
            cx.b.push_all(RandomStream::new(seeds, Dim::from(attempts)), &[])?
        }
    };
    let share = match share {
        Some(i) => cx.input(i)?,
        None => {
            let share = cx.float("min_object_covered")?;
            cx.b.constant(Tensor::scalar(share))?
        }
    };
    inputs.extend([cx.input(0)?, cx.input(1)?, share]);
    cx.b.push_all(op, &inputs)
}

/// Import rules of TensorFlow's random crops.
pub const TF: &[TfBinding] = tf_ops! {
    "SampleDistortedBoundingBox" => |cx| sample(cx, None, None),
    "SampleDistortedBoundingBoxV2" => |cx| sample(cx, Some(2), None),
    "StatelessSampleDistortedBoundingBox" => |cx| sample(cx, Some(2), Some(3)),
};
