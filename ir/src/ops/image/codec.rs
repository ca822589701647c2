//! Images as files: PNG, JPEG, GIF and BMP, as TensorFlow decodes and encodes them.
//!
//! PNG, GIF and BMP decode to TensorFlow's numbers. JPEG leaves the inverse transform to the decoder: TensorFlow takes
//! libjpeg's fast integer one, here it is an accurate one, so samples differ by a few units (`testdata/ops/codecs.json`
//! holds by how much). `E1` for bytes that are no such image, `E2` for images of more than 2^29 samples.

mod bmp;
mod encode;
mod jpeg;
mod tf;

pub use encode::{EncodeJpeg, EncodePng};
pub use tf::TF;

use crate::graph::TensorType;
use crate::op::{OpDef, OpError};
use crate::ops::host::{host_op, int_tensor, ints, require, strings};
use crate::tensor::Tensor;
use crate::{DType, Dim};

const OP: &str = "decode_image";

/// The ops of these files.
pub const OPS: &[OpDef] = &[DecodeImage::def(&[]), JpegShape::def(&[]), EncodePng::def(&[]), EncodeJpeg::def(&[])];

host_op! {
    /// `decode_image contents` or `decode_image contents, window`: rows by columns by channels, with the frames as first
    /// axis where `frames` is named. A window is the first row, the first column, the height and the width of what is
    /// kept.
    DecodeImage = "decode_image" {
        /// u8, u16 or f32, which is between 0 and 1.
        dtype: DType,
        /// The names of the formats that are taken: `bmp gif jpeg png`.
        formats: String,
        /// How many: 1 grey, 3 colours, 4 with opacity; 0 as in the file.
        channels: i64,
        /// The number of frames, of several; without it only the first is taken.
        frames: Vec<Dim>,
        /// Whether files of several frames are refused where only the first is taken.
        still: bool,
        /// Height, width and channels.
        size: Vec<Dim>,
    }
    infer |op, given| {
        require(OP, "C1", matches!(given.len(), 1 | 2), || format!("{} operands", given.len()))?;
        let file = given[0].dtype == DType::String && given[0].rank() == 0;
        require(OP, "C2", file, || format!("{} is not one string", given[0]))?;
        if let Some(window) = given.get(1) {
            require(OP, "C2", window.dtype == DType::I32 && window.rank() == 1, || format!("the window {window}"))?;
        }
        let known = matches!(op.dtype, DType::U8 | DType::U16 | DType::F32) && op.size.len() == 3 && op.frames.len() <= 1;
        require(OP, "C4", known, || format!("images of {} with sizes {:?}", op.dtype, op.size))?;
        require(OP, "C4", matches!(op.channels, 0 | 1 | 3 | 4), || format!("{} channels are not 0, 1, 3 or 4", op.channels))?;
        Ok(vec![TensorType::new(op.dtype, [&op.frames[..], &op.size].concat())])
    },
    eval |op, x| {
        let fail = |e: String| OpError::new(OP, "E1", e);
        let mut p = op.decode(&strings(x[0])[0]).map_err(fail)?;
        if let Some(window) = x.get(1) {
            p = p.crop(&ints(window)).map_err(fail)?;
        }
        let shape = [p.frames, p.height, p.width, p.channels];
        let shape = &shape[1 - op.frames.len()..];
        Ok(vec![p.tensor(op.dtype, shape)])
    },
}

host_op! {
    /// `jpeg_shape contents`: height, width and channels, from the header.
    JpegShape = "jpeg_shape" {
        /// i32 or i64.
        dtype: DType,
    }
    infer |op, given| {
        let [x] = crate::ops::host::typed("jpeg_shape", given, [&[DType::String]])?;
        require("jpeg_shape", "C3", x.rank() == 0, || format!("{x} is not one string"))?;
        Ok(vec![TensorType::fixed(op.dtype, &[3])])
    },
    eval |op, x| {
        let size = jpeg::header(&strings(x[0])[0]).map_err(|e| OpError::new("jpeg_shape", "E1", e))?;
        Ok(vec![int_tensor("jpeg_shape", op.dtype, &[3], &size.map(|n| n as i64))?])
    },
}

/// An image of samples of 8 or, where `deep`, 16 bits; frame by frame, row by row.
struct Pixels {
    width: usize,
    height: usize,
    channels: usize,
    frames: usize,
    samples: Vec<u16>,
    deep: bool,
}

/// Refuses images that no model is fed with: a header of few bytes must not allocate at will.
fn check_size(width: usize, height: usize, channels: usize) -> Result<(), String> {
    let n = width.checked_mul(height).and_then(|n| n.checked_mul(channels.max(1)));
    match n {
        Some(n) if n <= 1 << 29 => Ok(()),
        _ => Err(format!("an image of {width} by {height} pixels is too large")),
    }
}

/// The name of a file's format, by its first bytes.
pub(super) fn format(m: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 4] =
        [(b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif"), (b"BM", "bmp")];
    known.into_iter().find(|k| m.starts_with(k.0)).map(|k| k.1)
}

impl DecodeImage {
    fn decode(&self, m: &[u8]) -> Result<Pixels, String> {
        let format = format(m).ok_or("the file is none of JPEG, PNG, GIF and BMP")?;
        if !self.formats.split_whitespace().any(|f| f == format) {
            return Err(format!("a {format} file, where only {} is decoded", self.formats));
        }
        let (asked, several) = (self.channels as usize, !self.frames.is_empty());
        let refuse = |what: &str| Err(format!("{asked} channels of a {format} file, which {what}"));
        match (format, asked) {
            ("jpeg", 4) => refuse("has 1 or 3"),
            ("gif", 1 | 4) => refuse("has 3"),
            ("bmp", 1) => refuse("decodes to 3, 4 or those it has"),
            // Frames always have colours.
            ("jpeg", asked) => Ok(jpeg::decode(m, if several { 3 } else { asked })?),
            ("png", asked) => {
                let p = png(m, if several { 3 } else { asked })?;
                Ok(if self.dtype == DType::U8 { p } else { p.widened() })
            }
            ("bmp", asked) => Ok(bmp::decode(m)?.with_channels(asked, 255)),
            _ => {
                let mut p = gif(m)?;
                if !several {
                    if self.still && p.frames > 1 {
                        return Err(format!(
                            "{} frames; decode them by DecodeGif, or by DecodeImage without expand_animations for the first",
                            p.frames
                        ));
                    }
                    p.frames = 1;
                    p.samples.truncate(p.height * p.width * p.channels);
                }
                Ok(p)
            }
        }
    }
}

impl Pixels {
    /// With 1, 2, 3 or 4 channels; 0 keeps those that there are. New channels of opacity are `opaque`. Grey is 0.299 red,
    /// 0.587 green and 0.114 blue in units of 2^-15, as libpng weighs them for TensorFlow: rounded of 16 bits, cut of 8.
    fn with_channels(self, to: usize, opaque: u16) -> Pixels {
        let from = self.channels;
        if to == 0 || to == from {
            return self;
        }
        let mut out = Vec::with_capacity(self.samples.len() / from * to);
        for p in self.samples.chunks_exact(from) {
            let (colour, alpha) = match *p {
                [v] => ([v; 3], opaque),
                [v, a] => ([v; 3], a),
                [r, g, b] => ([r, g, b], opaque),
                [r, g, b, a] => ([r, g, b], a),
                _ => continue,
            };
            if to < 3 {
                let [r, g, b] = colour.map(u64::from);
                let round = if self.deep { 16384 } else { 0 };
                let grey = if r == g && g == b { r } else { (9797 * r + 19234 * g + 3737 * b + round) >> 15 };
                out.push(grey as u16);
            } else {
                out.extend(colour);
            }
            if to.is_multiple_of(2) {
                out.push(alpha);
            }
        }
        Pixels { channels: to, samples: out, ..self }
    }

    /// Samples of 16 bits, each the same share of the largest number.
    fn widened(mut self) -> Pixels {
        if !self.deep {
            self.samples.iter_mut().for_each(|v| *v *= 257);
            self.deep = true;
        }
        self
    }

    /// The part from a row and a column on, of a height and a width.
    fn crop(self, window: &[i64]) -> Result<Pixels, String> {
        let sizes = window.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<usize>>>();
        let Some([top, left, height, width]) = sizes.as_deref().and_then(|s| s.first_chunk::<4>()).copied() else {
            return Err(format!("the window {window:?} is not a place and a size"));
        };
        let inside = |from: usize, n: usize, of: usize| n > 0 && from.checked_add(n).is_some_and(|end| end <= of);
        if window.len() != 4 || !inside(top, height, self.height) || !inside(left, width, self.width) {
            return Err(format!("the window {window:?} is not in {} by {} pixels", self.height, self.width));
        }
        let (row, c) = (self.width * self.channels, self.channels);
        let lines = self.samples.chunks_exact(row).skip(top).take(height);
        let samples = lines.flat_map(|l| l[left * c..(left + width) * c].iter().copied()).collect();
        Ok(Pixels { width, height, samples, ..self })
    }

    /// Samples of 8 bits become 16 as TensorFlow makes them: times 256, except in PNG, which is then `deep` already.
    fn tensor(self, dtype: DType, shape: &[usize]) -> Tensor {
        let v = self.samples;
        match (dtype, self.deep) {
            (DType::U8, deep) => {
                Tensor::of(shape, &v.into_iter().map(|x| if deep { x >> 8 } else { x } as u8).collect::<Vec<_>>())
            }
            (DType::U16, deep) => {
                Tensor::of(shape, &v.into_iter().map(|x| if deep { x } else { x << 8 }).collect::<Vec<_>>())
            }
            (_, deep) => {
                let scale = 1.0 / if deep { 65535f32 } else { 255f32 };
                Tensor::of(shape, &v.into_iter().map(|x| f32::from(x) * scale).collect::<Vec<_>>())
            }
        }
    }
}

/// A PNG with some channels, 0 for those that it has.
fn png(m: &[u8], channels: usize) -> Result<Pixels, String> {
    let broken = |e: png::DecodingError| format!("the PNG cannot be decoded: {e}");
    let mut decoder = png::Decoder::new_with_limits(std::io::Cursor::new(m), png::Limits { bytes: 1 << 31 });
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(broken)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let (own, bits) = (reader.info().color_type, reader.info().bit_depth as u32);
    let (colour, depth) = reader.output_color_type();
    check_size(width, height, colour.samples())?;
    let size = reader.output_buffer_size().ok_or("the PNG is too large")?;
    let mut bytes = vec![0; size];
    reader.next_frame(&mut bytes).map_err(broken)?;
    let deep = depth == png::BitDepth::Sixteen;
    let samples = match deep {
        true => bytes.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect(),
        false => bytes.into_iter().map(u16::from).collect(),
    };
    let p = Pixels { width, height, channels: colour.samples(), frames: 1, samples, deep };
    // A colour that stands for nothing makes a palette's colours four, but not what has no palette.
    let channels = match (channels, own) {
        (0, png::ColorType::Grayscale) => 1,
        (0, png::ColorType::Rgb) => 3,
        (n, _) => n,
    };
    // TensorFlow's opaque is the largest number of the file's own bits, even where samples are expanded to more.
    Ok(p.with_channels(channels, ((1u32 << bits) - 1) as u16))
}

/// All frames, each drawn over the one before it; what no frame has drawn is black. As in TensorFlow the picture is as
/// high and wide as the highest and widest frame, wherever that stands.
fn gif(m: &[u8]) -> Result<Pixels, String> {
    let broken = |e: gif::DecodingError| format!("the GIF cannot be decoded: {e}");
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::Indexed);
    let mut decoder = options.read_info(m).map_err(broken)?;
    check_size(usize::from(decoder.width()), usize::from(decoder.height()), 3)?;
    let global: Vec<u8> = decoder.global_palette().unwrap_or(&[]).to_vec();
    let (mut all, mut indices) = (vec![], 0);
    while let Some(frame) = decoder.read_next_frame().map_err(broken)? {
        indices += frame.buffer.len();
        check_size(indices, 1, 3)?;
        all.push(frame.clone());
    }
    let width = all.iter().map(|f| usize::from(f.width)).max().unwrap_or(0);
    let height = all.iter().map(|f| usize::from(f.height)).max().unwrap_or(0);
    if all.is_empty() {
        return Err("the GIF has no frame".into());
    }
    check_size(width, height, 3 * all.len())?;
    let mut canvas = vec![0u16; width * height * 3];
    let mut samples = Vec::with_capacity(canvas.len() * all.len());
    for frame in &all {
        let palette = frame.palette.as_deref().unwrap_or(&global);
        let row = usize::from(frame.width).max(1);
        for (i, &index) in frame.buffer.iter().enumerate() {
            let (y, x) = (usize::from(frame.top) + i / row, usize::from(frame.left) + i % row);
            let colour = palette.get(usize::from(index) * 3..usize::from(index) * 3 + 3);
            if let Some(c) = colour
                && frame.transparent != Some(index)
                && x < width
                && y < height
            {
                for k in 0..3 {
                    canvas[(y * width + x) * 3 + k] = u16::from(c[k]);
                }
            }
        }
        samples.extend_from_slice(&canvas);
    }
    Ok(Pixels { width, height, channels: 3, frames: all.len(), samples, deep: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Op;

    fn decode(m: &Tensor, dtype: DType) -> Tensor {
        let size = ["h", "w", "c"].map(Dim::sym).to_vec();
        let op = DecodeImage { dtype, formats: "png jpeg".into(), channels: 0, frames: vec![], still: true, size };
        op.eval(&[m]).unwrap().remove(0)
    }

    #[test]
    fn png_files_hold_what_they_were_made_of() {
        for channels in 1..=4usize {
            for compression in [-1, 0, 3, 9] {
                let bytes: Vec<u8> = (0..5 * 7 * channels).map(|i| (i * 37 % 251) as u8).collect();
                let x = Tensor::of(&[5, 7, channels], &bytes);
                let file = EncodePng { compression }.eval(&[&x]).unwrap().remove(0);
                assert!(decode(&file, DType::U8).same_bits(&x));
                let words: Vec<u16> = bytes.iter().map(|&b| u16::from(b) * 259).collect();
                let x = Tensor::of(&[5, 7, channels], &words);
                let file = EncodePng { compression }.eval(&[&x]).unwrap().remove(0);
                assert!(decode(&file, DType::U16).same_bits(&x));
            }
        }
        let batch = Tensor::of(&[2, 3, 2, 2, 1], &[9u8; 24]);
        assert_eq!(EncodePng { compression: -1 }.eval(&[&batch]).unwrap()[0].shape(), [2, 3]);
    }

    #[test]
    fn jpeg_files_hold_nearly_what_they_were_made_of() {
        for channels in [1, 3usize] {
            for (progressive, downsample) in [(false, false), (false, true), (true, false), (true, true)] {
                let value = |i: usize| (i / channels % 24 * 5 + i / channels / 24 * 4 + i % channels * 30) as u8;
                let x = Tensor::of(&[20, 24, channels], &(0..20 * 24 * channels).map(value).collect::<Vec<_>>());
                let op = EncodeJpeg {
                    quality: 95,
                    channels: 0,
                    progressive,
                    optimize: progressive,
                    downsample,
                    density: vec![300, 300, 0],
                    xmp: "<x/>".into(),
                };
                let file = op.eval(&[&x]).unwrap().remove(0);
                assert_eq!(jpeg::header(&strings(&file)[0]), Ok([20, 24, channels]));
                let y = decode(&file, DType::U8);
                assert_eq!(y.shape(), x.shape());
                let far = y.bytes().iter().zip(x.bytes()).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(far <= Some(8), "{far:?}");
            }
        }
    }

    #[test]
    fn headers_of_huge_images_allocate_nothing() {
        let mut bmp = b"BM".to_vec();
        bmp.resize(54, 0);
        bmp[18..26].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
        bmp[28] = 24;
        assert!(super::bmp::decode(&bmp).is_err());
        assert!(gif(b"GIF89a\xff\xff\xff\xff\x00\x00\x00").is_err());
        assert!(jpeg::decode(b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03", 0).is_err());
    }
}
