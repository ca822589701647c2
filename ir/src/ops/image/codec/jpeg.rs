//! JPEG files.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Pixels;

/// Height, width and channels, from the frame's header.
pub(super) fn header(m: &[u8]) -> Result<[usize; 3], String> {
    let cut = || "the JPEG ends before its frame".to_string();
    let mut at = 2;
    if m.get(..2) != Some(b"\xff\xd8") {
        return Err("the file is no JPEG".into());
    }
    loop {
        let marker = *m.get(at + 1).ok_or_else(cut)?;
        if m[at] != 0xff {
            return Err("the JPEG has no marker where one must be".into());
        }
        match marker {
            // Fill bytes, and markers without a segment.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            // Frames of any coding; c4, c8 and cc are tables and an extension.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let f = m.get(at + 4..at + 10).ok_or_else(cut)?;
                let pair = |i: usize| usize::from(f[i]) << 8 | usize::from(f[i + 1]);
                return Ok([pair(1), pair(3), usize::from(f[5])]);
            }
            _ => {
                let n = m.get(at + 2..at + 4).ok_or_else(cut)?;
                at += 2 + (usize::from(n[0]) << 8 | usize::from(n[1]));
            }
        }
    }
}

/// The pixels in 1 or 3 channels; 0 as in the file, of which four become the three colours.
pub(super) fn decode(m: &[u8], channels: usize) -> Result<Pixels, String> {
    let [height, width, own] = header(m)?;
    super::check_size(width, height, own)?;
    let channels = match (channels, own) {
        (0, 1) => 1,
        (0, _) => 3,
        (n, _) => n,
    };
    let space = if channels == 1 { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(space)
        .set_max_width(1 << 16)
        .set_max_height(1 << 16)
        .set_strict_mode(true);
    let bytes = JpegDecoder::new_with_options(ZCursor::new(m), options).decode();
    let bytes = bytes.map_err(|e| format!("the JPEG cannot be decoded: {e}"))?;
    if bytes.len() != width * height * channels {
        return Err(format!("the JPEG decodes to {} samples of {width} by {height} pixels", bytes.len()));
    }
    let samples = bytes.into_iter().map(u16::from).collect();
    Ok(Pixels { width, height, channels, frames: 1, samples, deep: false })
}
