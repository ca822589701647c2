//! Windows bitmaps of 8 bits of grey and 24 or 32 bits of colour, without compression.

use super::Pixels;

fn word(m: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(m.get(at..at + 4)?.try_into().ok()?))
}

/// The pixels of a bitmap.
pub(super) fn decode(m: &[u8]) -> Result<Pixels, String> {
    let short = || "the bitmap's header is cut off".to_string();
    let (start, width, height) = (word(m, 10), word(m, 18), word(m, 22));
    let (start, width, height) = (start.ok_or_else(short)?, width.ok_or_else(short)?, height.ok_or_else(short)?);
    let bits = m.get(28..30).ok_or_else(short)?;
    let channels = match u16::from_le_bytes([bits[0], bits[1]]) {
        8 => 1,
        24 => 3,
        32 => 4,
        other => return Err(format!("a bitmap of {other} bits for each pixel")),
    };
    if width <= 0 || height == 0 || height == i32::MIN || start < 0 {
        return Err(format!("a bitmap of {width} by {height} pixels"));
    }
    let (width, rows) = (width as usize, height.unsigned_abs() as usize);
    super::check_size(width, rows, channels)?;
    // Rows end at multiples of four bytes, and come from the bottom up unless the height is negative.
    let row = (width * channels).next_multiple_of(4);
    let pixels = m.get(start as usize..).unwrap_or(&[]);
    if pixels.len() != row * rows {
        return Err(format!("{} bytes of pixels in place of {}", pixels.len(), row * rows));
    }
    let mut out = Vec::with_capacity(width * rows * channels);
    for y in 0..rows {
        let line = &pixels[if height > 0 { rows - 1 - y } else { y } * row..][..width * channels];
        for p in line.chunks_exact(channels) {
            match *p {
                [b, g, r] => out.extend([r, g, b]),
                [b, g, r, a] => out.extend([r, g, b, a]),
                _ => out.extend_from_slice(p),
            }
        }
    }
    Ok(Pixels {
        width,
        height: rows,
        channels,
        frames: 1,
        samples: out.into_iter().map(u16::from).collect(),
        deep: false,
    })
}
