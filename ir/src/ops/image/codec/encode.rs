//! Files from images. What is decoded again is the same as of TensorFlow's files; their bytes differ.

use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{host_op, ints, require, string_tensor};
use crate::tensor::Tensor;
use crate::{DType, Dim};

host_op! {
    /// `encode_png x`: a file for each image of `[batch.., height, width, channels]`, of 1 to 4 channels of u8 or u16.
    EncodePng = "encode_png" {
        /// zlib's level from 0 to 9; -1 for its default.
        compression: i64,
    }
    infer |op, given| {
        require("encode_png", "C4", (-1..=9).contains(&op.compression), || format!("the compression {}", op.compression))?;
        images("encode_png", given, &[DType::U8, DType::U16], 4)
    },
    eval |op, x| {
        let broken = |e: png::EncodingError| OpError::new("encode_png", "E1", e.to_string());
        each("encode_png", x[0], |bytes, [height, width, channels]| {
            let mut out = vec![];
            let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
            encoder.set_color(match channels {
                1 => png::ColorType::Grayscale,
                2 => png::ColorType::GrayscaleAlpha,
                3 => png::ColorType::Rgb,
                _ => png::ColorType::Rgba,
            });
            encoder.set_compression(match op.compression {
                0 => png::Compression::NoCompression,
                1..=3 => png::Compression::Fast,
                7..=9 => png::Compression::High,
                _ => png::Compression::Balanced,
            });
            let deep = x[0].dtype() == DType::U16;
            encoder.set_depth(if deep { png::BitDepth::Sixteen } else { png::BitDepth::Eight });
            let mut writer = encoder.write_header().map_err(broken)?;
            if deep {
                let samples = bytes.chunks_exact(2).flat_map(|b| u16::from_ne_bytes([b[0], b[1]]).to_be_bytes());
                writer.write_image_data(&samples.collect::<Vec<u8>>()).map_err(broken)?;
            } else {
                writer.write_image_data(bytes).map_err(broken)?;
            }
            writer.finish().map_err(broken)?;
            Ok(out)
        })
    },
}

host_op! {
    /// `encode_jpeg x` or `encode_jpeg x, quality`: a file of `[height, width, channels]`, of 1 or 3 channels.
    EncodeJpeg = "encode_jpeg" {
        /// From 0 to 100, unless it is an operand.
        quality: i64,
        /// The channels that the image must have; 0 for either.
        channels: i64,
        /// In several scans, coarse to fine.
        progressive: bool,
        /// Huffman codes of the image's own.
        optimize: bool,
        /// Half of the colours' resolution along both axes.
        downsample: bool,
        /// Pixels along a unit of length, across and down, and whether the unit is a centimetre, not an inch.
        density: Vec<i64>,
        /// XMP metadata, none if empty.
        xmp: String,
    }
    infer |op, given| {
        let (image, rest) = given.split_first().ok_or_else(|| OpError::new("encode_jpeg", "C1", "no image"))?;
        let quality = rest.len() <= 1 && rest.iter().all(|q| q.dtype == DType::I32 && q.rank() == 0);
        require("encode_jpeg", "C2", quality, || format!("the quality is {rest:?}"))?;
        let known = (0..=100).contains(&op.quality) && op.density.len() == 3 && matches!(op.channels, 0 | 1 | 3);
        require("encode_jpeg", "C4", known, || format!("quality {}, channels {}", op.quality, op.channels))?;
        require("encode_jpeg", "C3", image.rank() == 3, || format!("{image} is not height by width by channels"))?;
        images("encode_jpeg", &[image], &[DType::U8], 3)
    },
    eval |op, x| {
        let broken = |e: jpeg_encoder::EncodingError| OpError::new("encode_jpeg", "E1", e.to_string());
        let quality = x.get(1).and_then(|q| ints(q).first().copied()).unwrap_or(op.quality);
        require("encode_jpeg", "E1", (0..=100).contains(&quality), || format!("the quality {quality} is not in [0, 100]"))?;
        each("encode_jpeg", x[0], |bytes, [height, width, channels]| {
            let fits = matches!(channels, 1 | 3) && (op.channels == 0 || op.channels == channels as i64);
            require("encode_jpeg", "E1", fits, || format!("{channels} channels, where 1 or 3 must be as the format says"))?;
            let [height, width] = [height, width].map(|n| u16::try_from(n).ok().filter(|&n| n > 0));
            let (Some(height), Some(width)) = (height, width) else {
                return Err(OpError::new("encode_jpeg", "E1", format!("an image of shape {:?}", x[0].shape())));
            };
            let mut out = vec![];
            let mut encoder = jpeg_encoder::Encoder::new(&mut out, quality.max(1) as u8);
            encoder.set_progressive(op.progressive);
            encoder.set_optimized_huffman_tables(op.optimize);
            let (full, half) = (jpeg_encoder::SamplingFactor::R_4_4_4, jpeg_encoder::SamplingFactor::R_4_2_0);
            encoder.set_sampling_factor(if op.downsample && channels == 3 { half } else { full });
            let along = |i: usize| op.density.get(i).and_then(|&n| u16::try_from(n).ok()).unwrap_or(1);
            let centimetres = op.density.get(2) == Some(&1);
            encoder.set_density(jpeg_encoder::PixelDensity {
                density: (along(0), along(1)),
                unit: if centimetres { jpeg_encoder::PixelDensityUnit::Centimeters } else { jpeg_encoder::PixelDensityUnit::Inches },
            });
            if !op.xmp.is_empty() {
                let segment = [&b"http://ns.adobe.com/xap/1.0/\0"[..], op.xmp.as_bytes()].concat();
                encoder.add_app_segment(1, segment).map_err(broken)?;
            }
            let colour = if channels == 1 { jpeg_encoder::ColorType::Luma } else { jpeg_encoder::ColorType::Rgb };
            encoder.encode(bytes, width, height, colour).map_err(broken)?;
            Ok(out)
        })
    },
}

/// Refuses what are no images; the strings' type.
fn images(op: &'static str, given: &[&TensorType], types: &[DType], most: i64) -> Result<Vec<TensorType>, OpError> {
    let [x] = crate::ops::host::typed(op, given, [types])?;
    require(op, "C3", x.rank() >= 3, || format!("{x} is not height by width by channels"))?;
    let (batch, image) = x.shape.split_at(x.rank() - 3);
    let channels = image[2].as_const().is_none_or(|n| (1..=most).contains(&n));
    require(op, "C3", channels, || format!("{x} has not 1 to {most} channels"))?;
    Ok(vec![TensorType::new(DType::String, batch.to_vec())])
}

/// A string for each image.
fn each(
    op: &'static str,
    x: &Tensor,
    f: impl Fn(&[u8], [usize; 3]) -> Result<Vec<u8>, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    let (batch, image) = x.shape().split_at(x.shape().len() - 3);
    let [height, width, channels] = [image[0], image[1], image[2]];
    let size = height * width * channels * x.dtype().size();
    let n: usize = batch.iter().product();
    require(op, "E1", n == 0 || size > 0, || format!("images of shape {image:?} have no pixels"))?;
    let many = |i: usize| f(&x.bytes()[i * size..(i + 1) * size], [height, width, channels]);
    let files = (0..n).map(many).collect::<Result<_, _>>()?;
    Ok(vec![string_tensor(op, batch, files)?])
}

/// The symbols of an image's extents, by the hints `names`.
pub(super) fn fresh(b: &mut crate::Builder, names: &[&str]) -> Vec<Dim> {
    names.iter().map(|n| b.fresh_dim(n)).collect()
}
