//! TensorFlow's image files.

use anyhow::{Result, bail};

use super::encode::fresh;
use super::{DecodeImage, EncodeJpeg, EncodePng, JpegShape};
use crate::graph::Value;
use crate::ops::host::{import, strings, tf_ops};
use crate::tf::{TfBinding, TfCx};
use crate::{DType, Dim};

/// TensorFlow's ops decode each other's formats, but for bitmaps.
const STILL: &str = "gif jpeg png";

/// The op of a decoder that takes `formats`; with `several` the frames are an axis.
fn decode(
    cx: &mut TfCx<'_>,
    formats: &str,
    dtype: DType,
    channels: i64,
    several: bool,
    still: bool,
) -> Result<Vec<Value>> {
    let frames = if several { fresh(cx.b, &["frames"]) } else { vec![] };
    let mut size = fresh(cx.b, &["height", "width"]);
    size.push(match (several, channels) {
        (true, _) => Dim::from(3),
        (_, 0) => cx.b.fresh_dim("channels"),
        (_, n) => Dim::from(n),
    });
    import(cx, DecodeImage { dtype, formats: formats.into(), channels, frames, still, size })
}

/// JPEG's attributes change how it is decoded only where they ask for less than the whole.
fn check_jpeg(cx: &TfCx<'_>) -> Result<()> {
    match cx.int("ratio")? {
        1 => Ok(()),
        ratio => bail!("a JPEG scaled down by {ratio} while it is decoded; decode it whole and resize it"),
    }
}

fn jpeg(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    check_jpeg(cx)?;
    let channels = cx.int("channels")?;
    decode(cx, STILL, DType::U8, channels, false, true)
}

fn cropped(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    check_jpeg(cx)?;
    let channels = cx.int("channels")?;
    decode(cx, "jpeg", DType::U8, channels, false, true)
}

fn png(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (dtype, channels) = (cx.dtype("dtype")?, cx.int("channels")?);
    decode(cx, STILL, dtype, channels, false, true)
}

fn bmp(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let channels = cx.int("channels")?;
    decode(cx, "bmp", DType::U8, channels, false, true)
}

/// Animations that are to be expanded have another rank than all else: a file that is known decides it; one that is read
/// at run time must not be a GIF, which the op then says.
fn image(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (dtype, channels) = (cx.dtype("dtype")?, cx.int("channels")?);
    let x = cx.input(0)?;
    let known = cx.b.as_const(x).and_then(|t| strings(t).first()).and_then(|m| super::format(m));
    match (cx.bool("expand_animations")?, known) {
        (false, _) => decode(cx, "bmp gif jpeg png", dtype, channels, false, false),
        (true, Some("gif")) => decode(cx, "gif", dtype, channels, true, false),
        (true, _) => decode(cx, "bmp jpeg png", dtype, channels, false, true),
    }
}

fn encode_jpeg(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let channels = match cx.str("format")?.as_str() {
        "" => 0,
        "grayscale" => 1,
        "rgb" => 3,
        other => bail!("no format `{other}` of JPEG"),
    };
    let centimetres = i64::from(cx.str("density_unit")? == "cm");
    let op = EncodeJpeg {
        quality: cx.int("quality")?,
        channels,
        progressive: cx.bool("progressive")?,
        optimize: cx.bool("optimize_size")?,
        downsample: cx.bool("chroma_downsampling")?,
        density: vec![cx.int("x_density")?, cx.int("y_density")?, centimetres],
        xmp: cx.str("xmp_metadata")?,
    };
    import(cx, op)
}

/// Operands: the image, the quality; all else as EncodeJpeg has it by default.
fn variable_quality(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let density = vec![300, 300, 0];
    let (progressive, optimize, xmp) = (false, false, String::new());
    import(cx, EncodeJpeg { quality: 95, channels: 0, progressive, optimize, downsample: true, density, xmp })
}

/// Import rules of TensorFlow's image files.
pub const TF: &[TfBinding] = tf_ops! {
    "DecodeJpeg" => jpeg, "DecodeAndCropJpeg" => cropped, "DecodePng" => png, "DecodeBmp" => bmp,
    "DecodeGif" => |cx| decode(cx, STILL, DType::U8, 0, true, false), "DecodeImage" => image,
    "ExtractJpegShape" => |cx| { let dtype = cx.dtype("output_type")?; import(cx, JpegShape { dtype }) },
    "EncodePng" => |cx| { let compression = cx.int("compression")?; import(cx, EncodePng { compression }) },
    "EncodeJpeg" => encode_jpeg, "EncodeJpegVariableQuality" => variable_quality,
};
