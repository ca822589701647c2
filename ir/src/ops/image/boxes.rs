//! Boxes: suppression of those that overlap better ones, and drawing. Sequential algorithms, run on the host.
//!
//! Boxes are (y1, x1, y2, x2); either corner may come first where overlaps are computed.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use anyhow::{Result, bail};

use crate::graph::{TensorType, Value};
use crate::op::{OpDef, OpError};
use crate::ops::host::{extents, host_op, int_tensor, real_tensor, reals, require, typed};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};
use crate::{DType, Dim};

const FLOATS: &[DType] = &[DType::F16, DType::BF16, DType::F32, DType::F64];
const I32: &[DType] = &[DType::I32];

host_op! {
    /// `non_max_suppression boxes, scores, most, overlap, score, sigma`: up to `most` boxes in the order of their scores, without those
    /// that overlap a chosen one by more than `overlap` or score at most `score`; `sigma` above 0 lowers scores of overlapping
    /// boxes instead. Results: indices (i32), scores, and how many there are (i32 scalar).
    NonMaxSuppression = "non_max_suppression" {
        /// The length of indices and scores.
        count: Dim,
        /// Whether the results are filled up with zeros to `count`.
        pad: bool,
        /// Whether operand 0 holds the overlaps of boxes by pairs in place of boxes.
        overlaps: bool,
    }
    infer |op, given| {
        let [boxes, scores, ..] = typed("non_max_suppression", given, [FLOATS, FLOATS, I32, FLOATS, FLOATS, FLOATS])?;
        let shapes = boxes.rank() == 2 && scores.rank() == 1 && given[2..].iter().all(|t| t.rank() == 0);
        require("non_max_suppression", "C3", shapes, || format!("boxes {boxes}, scores {scores}"))?;
        let list = |dtype| TensorType::new(dtype, vec![op.count.clone()]);
        Ok(vec![list(DType::I32), list(scores.dtype), TensorType::new(DType::I32, vec![])])
    },
    eval |op, x| {
        let name = "non_max_suppression";
        let n = x[1].len();
        let columns = if op.overlaps { n } else { 4 };
        require(name, "E1", x[0].shape() == [n, columns], || format!("{:?} for {n} scores", x[0].shape()))?;
        let table = narrow(x[0]);
        let scores = narrow(x[1]);
        let most = x[2].to_i64s().and_then(|v| v.first().copied()).unwrap_or(0);
        let most = usize::try_from(most).map_err(|_| OpError::new(name, "E1", format!("{most} boxes")))?;
        let [overlap, least, sigma] = [3, 4, 5].map(|i| narrow(x[i]).first().copied().unwrap_or(0.0));
        if !op.overlaps {
            require(name, "E1", (0.0..=1.0).contains(&overlap), || format!("the overlap {overlap} is not in [0, 1]"))?;
        }
        let similarity = |i: usize, j: usize| {
            if op.overlaps { table[i * n + j] } else { overlap_of(&table[4 * i..4 * i + 4], &table[4 * j..4 * j + 4]) }
        };
        let (mut index, mut kept) = suppress(&scores, most, overlap, least, sigma, similarity);
        let valid = index.len();
        if op.pad {
            let size = extents(name, std::slice::from_ref(&op.count))?[0];
            index.resize(size, 0);
            kept.resize(size, 0.0);
        }
        Ok(vec![
            int_tensor(name, DType::I32, &[index.len()], &index.iter().map(|&i| i as i64).collect::<Vec<_>>())?,
            real_tensor(name, x[1].dtype(), &[kept.len()], kept.iter().map(|&s| f64::from(s)).collect())?,
            Tensor::scalar(valid as i32),
        ])
    }
}

/// The elements as f32, in which TensorFlow compares.
fn narrow(t: &Tensor) -> Vec<f32> {
    reals(t).into_iter().map(|x| x as f32).collect()
}

/// Intersection over union.
fn overlap_of(a: &[f32], b: &[f32]) -> f32 {
    let corners = |r: &[f32]| [r[0].min(r[2]), r[1].min(r[3]), r[0].max(r[2]), r[1].max(r[3])];
    let (a, b) = (corners(a), corners(b));
    let area = |r: [f32; 4]| (r[2] - r[0]) * (r[3] - r[1]);
    let (s, t) = (area(a), area(b));
    if s <= 0.0 || t <= 0.0 {
        return 0.0;
    }
    let height = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let width = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let common = height * width;
    common / (s + t - common)
}

/// A box that may be chosen.
struct Candidate {
    score: f32,
    index: usize,
    /// Chosen boxes before this one have lowered the score already.
    seen: usize,
}

impl PartialEq for Candidate {
    fn eq(&self, o: &Candidate) -> bool {
        self.cmp(o) == Ordering::Equal
    }
}
impl Eq for Candidate {}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, o: &Candidate) -> Option<Ordering> {
        Some(self.cmp(o))
    }
}
/// The higher score first, then the lower index.
impl Ord for Candidate {
    fn cmp(&self, o: &Candidate) -> Ordering {
        self.score.total_cmp(&o.score).then(o.index.cmp(&self.index))
    }
}

/// The chosen boxes and their scores.
fn suppress(
    scores: &[f32],
    most: usize,
    overlap: f32,
    least: f32,
    sigma: f32,
    similarity: impl Fn(usize, usize) -> f32,
) -> (Vec<usize>, Vec<f32>) {
    let candidates = scores.iter().enumerate().filter(|s| *s.1 > least);
    let mut queue: BinaryHeap<_> = candidates.map(|(index, &score)| Candidate { score, index, seen: 0 }).collect();
    let soft = sigma > 0.0;
    let scale = if soft { -0.5 / sigma } else { 0.0 };
    let (mut chosen, mut kept) = (vec![], vec![]);
    while chosen.len() < most
        && let Some(mut next) = queue.pop()
    {
        let before = next.score;
        let mut hard = false;
        for &other in chosen[next.seen..].iter().rev() {
            let s = similarity(next.index, other);
            next.score *= if s <= overlap { (scale * s * s).exp() } else { 0.0 };
            if !soft && s > overlap {
                hard = true;
                break;
            }
            if next.score <= least {
                break;
            }
        }
        next.seen = chosen.len();
        if hard {
            continue;
        }
        if next.score == before {
            chosen.push(next.index);
            kept.push(next.score);
        } else if next.score > least {
            queue.push(next);
        }
    }
    (chosen, kept)
}

/// How a version of NonMaxSuppression gives its parameters.
struct Version {
    overlaps: bool,
    /// Results that the node has: indices; scores; how many.
    results: &'static [usize],
}

fn non_max_suppression(cx: &mut TfCx<'_>, version: &Version) -> Result<Vec<Value>> {
    let (boxes, scores, most) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let dtype = cx.ty(1)?.dtype;
    let pad = cx.node.attrs.contains_key("pad_to_max_output_size") && cx.bool("pad_to_max_output_size")?;
    let scalar = |cx: &mut TfCx<'_>, i: usize, default: f64| match cx.inputs.get(i) {
        Some(&v) => Ok(v),
        None => cx.b.scalar(dtype, default),
    };
    let overlap = match cx.node.attrs.contains_key("iou_threshold") {
        true => {
            let t = f64::from(cx.float("iou_threshold")?);
            cx.b.scalar(DType::F32, t)?
        }
        false => cx.input(3)?,
    };
    let score = scalar(cx, 4, f64::from(f32::MIN))?;
    let sigma = scalar(cx, 5, 0.0)?;
    let count = match pad {
        true => cx.dims_input(2)?.pop().ok_or_else(|| anyhow::anyhow!("operand 2 is one number"))?,
        false => cx.b.fresh_dim("selected"),
    };
    let op = NonMaxSuppression { count, pad, overlaps: version.overlaps };
    let results = cx.b.push_all(op, &[boxes, scores, most, overlap, score, sigma])?;
    Ok(version.results.iter().map(|&i| results[i]).collect())
}

host_op! {
    /// `combined_non_max_suppression boxes, scores, most, total, overlap, score`: suppression by class, then the best of all classes
    /// of each image. Results: boxes, scores, classes (f32) and how many there are of each image (i32).
    CombinedNonMaxSuppression = "combined_non_max_suppression" {
        /// Boxes that the result holds for an image.
        count: Dim,
        /// Whether boxes are clipped to [0, 1].
        clip: bool,
    }
    infer |op, given| {
        let name = "combined_non_max_suppression";
        let f32s: &[DType] = &[DType::F32];
        let [boxes, scores, ..] = typed(name, given, [f32s, f32s, I32, I32, f32s, f32s])?;
        let shapes = boxes.rank() == 4 && scores.rank() == 3;
        require(name, "C3", shapes, || format!("boxes {boxes}, scores {scores}"))?;
        let n = &boxes.shape[0];
        let f = |shape: Vec<Dim>| TensorType::new(DType::F32, shape);
        let list = vec![n.clone(), op.count.clone()];
        let four = vec![n.clone(), op.count.clone(), Dim::from(4)];
        Ok(vec![f(four), f(list.clone()), f(list), TensorType::new(DType::I32, vec![n.clone()])])
    },
    eval |op, x| combined(op, x)
}

fn combined(op: &CombinedNonMaxSuppression, x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
    let name = "combined_non_max_suppression";
    let (&[images, n, kinds, four], &[_, scored, classes]) = (x[0].shape(), x[1].shape()) else {
        return Err(OpError::new(name, "C3", "boxes of four axes and scores of three are taken"));
    };
    let fits = four == 4 && scored == n && (kinds == 1 || kinds == classes) && x[1].shape()[0] == images;
    require(name, "E1", fits, || format!("boxes {:?} with scores {:?}", x[0].shape(), x[1].shape()))?;
    let (boxes, scores) = (narrow(x[0]), narrow(x[1]));
    let most = x[2].to_i64s().and_then(|v| v.first().copied()).unwrap_or(0);
    require(name, "E1", most > 0, || format!("{most} boxes a class"))?;
    let [overlap, least] = [4, 5].map(|i| narrow(x[i]).first().copied().unwrap_or(0.0));
    let count = extents(name, std::slice::from_ref(&op.count))?[0];
    let mut out = (vec![0f32; images * count * 4], vec![0f32; images * count], vec![0f32; images * count]);
    let mut valid = vec![];
    for image in 0..images {
        let of = |i: usize, class: usize| {
            let at = ((image * n + i) * kinds + if kinds == 1 { 0 } else { class }) * 4;
            &boxes[at..at + 4]
        };
        let mut found = vec![];
        for class in 0..classes {
            let column: Vec<f32> = (0..n).map(|i| scores[(image * n + i) * classes + class]).collect();
            let near = |i: usize, j: usize| overlap_of(of(i, class), of(j, class));
            let (index, kept) = suppress(&column, most as usize, overlap, least, 0.0, near);
            found.extend(index.into_iter().zip(kept).map(|(i, s)| (s, class, i)));
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.truncate(count);
        valid.push(found.len() as i32);
        for (k, (score, class, i)) in found.into_iter().enumerate() {
            let slot = image * count + k;
            for (to, from) in out.0[slot * 4..slot * 4 + 4].iter_mut().zip(of(i, class)) {
                *to = if op.clip { from.clamp(0.0, 1.0) } else { *from };
            }
            (out.1[slot], out.2[slot]) = (score, class as f32);
        }
    }
    Ok(vec![
        Tensor::of(&[images, count, 4], &out.0),
        Tensor::of(&[images, count], &out.1),
        Tensor::of(&[images, count], &out.2),
        Tensor::of(&[images], &valid),
    ])
}

fn tf_combined(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let one = |cx: &mut TfCx<'_>, i: usize| match &cx.dims_input(i)?[..] {
        [d] => Ok(d.clone()),
        other => bail!("operand {i} is one number, not {other:?}"),
    };
    let mut count = one(cx, 3)?;
    if cx.bool("pad_per_class")? {
        let Some(classes) = cx.ty(1)?.shape.get(2).cloned() else { bail!("scores are {}", cx.ty(1)?) };
        count = count.smaller(&(one(cx, 2)? * classes));
    }
    let op = CombinedNonMaxSuppression { count, clip: cx.bool("clip_boxes")? };
    crate::ops::host::import(cx, op)
}

host_op! {
    /// `draw_boxes images, boxes, colours`: the images with the boxes' outlines, one pixel wide, in colours taken in turn.
    DrawBoxes = "draw_boxes" {}
    infer |_, given| {
        let [images, boxes, colours] = typed("draw_boxes", given, [&[DType::F16, DType::F32], FLOATS, FLOATS])?;
        let shapes = images.rank() == 4 && boxes.rank() == 3 && colours.rank() == 2;
        require("draw_boxes", "C3", shapes, || format!("images {images}, boxes {boxes}, colours {colours}"))?;
        Ok(vec![images.clone()])
    },
    eval |_, x| draw(x)
}

/// The colours of DrawBoundingBoxes, which takes none: yellow, blue, red, lime, purple, olive, maroon, navy, aqua, fuchsia.
const COLOURS: [[f32; 4]; 10] = [
    [1.0, 1.0, 0.0, 1.0],
    [0.0, 0.0, 1.0, 1.0],
    [1.0, 0.0, 0.0, 1.0],
    [0.0, 1.0, 0.0, 1.0],
    [0.5, 0.0, 0.5, 1.0],
    [0.5, 0.5, 0.0, 1.0],
    [0.5, 0.0, 0.0, 1.0],
    [0.0, 0.0, 0.5, 1.0],
    [0.0, 1.0, 1.0, 1.0],
    [1.0, 0.0, 1.0, 1.0],
];

fn draw(x: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
    let (&[images, height, width, depth], &[_, count, _]) = (x[0].shape(), x[1].shape()) else {
        return Err(OpError::new("draw_boxes", "C3", "images of four axes and boxes of three are taken"));
    };
    let fits = x[1].shape() == [images, count, 4] && matches!(depth, 1 | 3 | 4);
    require("draw_boxes", "E1", fits, || format!("boxes {:?} on images {:?}", x[1].shape(), x[0].shape()))?;
    let (mut out, boxes, given) = (reals(x[0]), narrow(x[1]), narrow(x[2]));
    let columns = x[2].shape()[1];
    let mut palette: Vec<Vec<f32>> = given.chunks(columns.max(1)).map(<[f32]>::to_vec).collect();
    if palette.is_empty() {
        palette = COLOURS.iter().map(|c| c.to_vec()).collect();
    }
    // Gray images are drawn on in white.
    if depth == 1 {
        palette.iter_mut().for_each(|c| c[0] = 1.0);
    }
    require("draw_boxes", "E1", palette.iter().all(|c| c.len() >= depth), || {
        format!("colours of {columns} channels on images of {depth}")
    })?;
    let (h, w) = (height as i64, width as i64);
    for image in 0..images {
        for k in 0..count {
            let r = &boxes[(image * count + k) * 4..][..4];
            let colour = &palette[k % palette.len()];
            let place = |v: f32, n: i64| (v * (n - 1) as f32) as i64;
            let (top, bottom) = (place(r[0], h), place(r[2], h));
            let (left, right) = (place(r[1], w), place(r[3], w));
            let clip = |v: i64, n: i64| v.clamp(0, n - 1);
            if top > bottom || left > right || top >= h || bottom < 0 || left >= w || right < 0 {
                continue;
            }
            let (y0, y1) = (clip(top, h), clip(bottom, h));
            let (x0, x1) = (clip(left, w), clip(right, w));
            let mut dot = |y: i64, x: i64| {
                let at = ((image * height + y as usize) * width + x as usize) * depth;
                (0..depth).for_each(|c| out[at + c] = f64::from(colour[c]));
            };
            for x in x0..=x1 {
                if top >= 0 {
                    dot(top, x);
                }
                if bottom < h {
                    dot(bottom, x);
                }
            }
            for y in y0..=y1 {
                if left >= 0 {
                    dot(y, left);
                }
                if right < w {
                    dot(y, right);
                }
            }
        }
    }
    Ok(vec![real_tensor("draw_boxes", x[0].dtype(), x[0].shape(), out)?])
}

fn tf_draw(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let mut operands = vec![cx.input(0)?, cx.input(1)?];
    operands.push(match cx.inputs.get(2) {
        Some(&v) => v,
        None => cx.b.constant(Tensor::zeros(DType::F32, &[0, 4]))?,
    });
    cx.b.push_all(DrawBoxes {}, &operands)
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    NonMaxSuppression::def(&[
        TfBinding {
            op: "NonMaxSuppression",
            read: |cx| non_max_suppression(cx, &Version { overlaps: false, results: &[0] }),
        },
        TfBinding {
            op: "NonMaxSuppressionV2",
            read: |cx| non_max_suppression(cx, &Version { overlaps: false, results: &[0] }),
        },
        TfBinding {
            op: "NonMaxSuppressionV3",
            read: |cx| non_max_suppression(cx, &Version { overlaps: false, results: &[0] }),
        },
        TfBinding {
            op: "NonMaxSuppressionV4",
            read: |cx| non_max_suppression(cx, &Version { overlaps: false, results: &[0, 2] }),
        },
        TfBinding {
            op: "NonMaxSuppressionV5",
            read: |cx| non_max_suppression(cx, &Version { overlaps: false, results: &[0, 1, 2] }),
        },
        TfBinding {
            op: "NonMaxSuppressionWithOverlaps",
            read: |cx| non_max_suppression(cx, &Version { overlaps: true, results: &[0] }),
        },
    ]),
    CombinedNonMaxSuppression::def(&[TfBinding { op: "CombinedNonMaxSuppression", read: tf_combined }]),
    DrawBoxes::def(&[
        TfBinding { op: "DrawBoundingBoxes", read: tf_draw },
        TfBinding { op: "DrawBoundingBoxesV2", read: tf_draw },
    ]),
];
