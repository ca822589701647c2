//! WAV files of 16-bit samples.
//!
//! Evaluation: E1 for a file that is none, or has too few channels.

use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{STRING, host_op, ints, require, strings, typed};
use crate::ops::shape::always_negative;
use crate::tensor::Tensor;
use crate::{DType, Dim};

host_op! {
    /// `decode_wav x`: samples by channels, in [-1, 1], and the sample rate.
    DecodeWav = "decode_wav" {
        /// How many samples: more are cut off, missing ones are zeros.
        samples: Dim,
        /// How many channels.
        channels: Dim,
    }
    infer |op, given| {
        let [x] = typed("decode_wav", given, [STRING])?;
        require("decode_wav", "C3", x.rank() == 0, || format!("{x} is no scalar"))?;
        let negative = always_negative(&op.samples) || always_negative(&op.channels);
        require("decode_wav", "C4", !negative, || format!("{} samples of {} channels", op.samples, op.channels))?;
        let shape = vec![op.samples.clone(), op.channels.clone()];
        Ok(vec![TensorType::new(DType::F32, shape), TensorType::fixed(DType::I32, &[])])
    },
    eval |op, x| {
        let broken = || OpError::new("decode_wav", "E1", "the string is no WAV file of 16-bit samples");
        let (rate, channels, data) = read(&strings(x[0])[0]).ok_or_else(broken)?;
        let frames = data.len() / (2 * channels);
        let size = |d: &Dim, own: usize| d.as_const().and_then(|n| usize::try_from(n).ok()).unwrap_or(own);
        let (n, wanted) = (size(&op.samples, frames), size(&op.channels, channels));
        require("decode_wav", "E1", wanted <= channels, || format!("the file has {channels} channels, not {wanted}"))?;
        let value = |i: usize| {
            let at = 2 * (i / wanted * channels + i % wanted);
            if i / wanted < frames { f32::from(i16::from_le_bytes([data[at], data[at + 1]])) / 32768.0 } else { 0.0 }
        };
        let out: Vec<f32> = (0..n * wanted).map(value).collect();
        Ok(vec![Tensor::of(&[n, wanted], &out), Tensor::scalar(rate as i32)])
    },
}

/// Sample rate, number of channels, and the samples' bytes.
fn read(file: &[u8]) -> Option<(u32, usize, &[u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    if file.get(..4)? != b"RIFF" || file.get(8..12)? != b"WAVE" {
        return None;
    }
    let (mut at, mut format) = (12, None);
    loop {
        let (tag, size) = (file.get(at..at + 4)?, word(at + 4)? as usize);
        let body = at + 8;
        match tag {
            b"fmt " => {
                let half = |k: usize| Some(u16::from_le_bytes(file.get(body + k..body + k + 2)?.try_into().ok()?));
                let channels = usize::from(half(2)?);
                if half(0)? != 1 || half(14)? != 16 || channels == 0 {
                    return None;
                }
                format = Some((word(body + 4)?, channels));
            }
            b"data" => {
                let (rate, channels) = format?;
                return Some((rate, channels, file.get(body..body.checked_add(size)?)?));
            }
            _ => {}
        }
        at = body.checked_add(size)?.checked_add(size & 1)?;
    }
}

host_op! {
    /// `encode_wav x, rate`: a file of 16-bit samples; what is outside of [-1, 1] is clamped.
    EncodeWav = "encode_wav" {}
    infer |_, given| {
        let [x, rate] = typed("encode_wav", given, [&[DType::F32], &[DType::I32]])?;
        require("encode_wav", "C3", x.rank() == 2 && rate.rank() == 0, || format!("{x} and {rate} are no sound"))?;
        Ok(vec![TensorType::fixed(DType::String, &[])])
    },
    eval |_, x| {
        let (channels, rate) = (x[0].shape()[1], ints(x[1])[0]);
        let ok = (1..=1024).contains(&channels) && (1..1 << 31).contains(&rate) && x[0].len() < 1 << 30;
        require("encode_wav", "E1", ok, || format!("{channels} channels at {rate} Hz"))?;
        let samples = x[0].as_slice::<f32>().unwrap_or(&[]);
        let bytes = 2 * samples.len() as u32;
        let mut out = Vec::with_capacity(44 + bytes as usize);
        let (rate, step) = (rate as u32, 2 * channels as u32);
        out.extend(b"RIFF");
        out.extend((36 + bytes).to_le_bytes());
        out.extend(b"WAVEfmt ");
        out.extend(16u32.to_le_bytes());
        out.extend([1u16, channels as u16].iter().flat_map(|v| v.to_le_bytes()));
        out.extend([rate, rate.saturating_mul(step)].iter().flat_map(|v| v.to_le_bytes()));
        out.extend([step as u16, 16].iter().flat_map(|v| v.to_le_bytes()));
        out.extend(b"data");
        out.extend(bytes.to_le_bytes());
        // To the nearest, within the type.
        out.extend(samples.iter().flat_map(|v| ((v * 32768.0).round().clamp(-32768.0, 32767.0) as i16).to_le_bytes()));
        Ok(vec![Tensor::of_strings(&[], vec![out])])
    },
}
