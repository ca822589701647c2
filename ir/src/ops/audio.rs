//! Sound and speech: spectrograms and cepstra, as compositions; WAV files; connectionist temporal classification.

pub mod beam;
pub mod ctc;
pub mod wav;

use std::f64::consts::PI;

use anyhow::{Context, Result, bail};

use crate::graph::Value;
use crate::op::OpDef;
use crate::ops::constant::Iota;
use crate::ops::contract::Contract;
use crate::ops::fft::Rfft;
use crate::ops::gather::Gather;
use crate::ops::host::{import, tf_ops};
use crate::ops::shape::slice::zero_pad;
use crate::scalar::{BinaryOp, UnaryOp};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};
use crate::{DType, Dim};

/// The ops of these files.
pub const OPS: &[OpDef] = &[
    wav::DecodeWav::def(&[]),
    wav::EncodeWav::def(&[]),
    ctc::GreedyDecoder::def(&[]),
    ctc::CtcLoss::def(&[]),
    beam::BeamSearch::def(&[]),
];

/// Operand: samples and channels. Frames of the window's length, a stride apart, weighted by Hann's window, with zeros
/// up to a power of two, transformed.
fn spectrogram(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let (window, stride) = (cx.int("window_size")?, cx.int("stride")?);
    let [samples, channels] = &ty.shape[..] else { bail!("{ty} is not samples by channels") };
    if window < 2 || stride < 1 {
        bail!("a window of {window} samples, {stride} apart");
    }
    let b = &mut *cx.b;
    let frames = (samples.clone() - Dim::from(window)).floor_div(&Dim::from(stride)) + Dim::from(1);
    let frames = crate::ops::shape::at_least_zero(&frames);
    let start = b.push(Iota { shape: vec![frames.clone(), Dim::from(1)], axis: 0, dtype: DType::I32 }, &[])?;
    let start = b.binary_scalar(BinaryOp::Mul, start, stride as f64)?;
    let offset = b.push(Iota { shape: vec![Dim::from(1), Dim::from(window)], axis: 1, dtype: DType::I32 }, &[])?;
    let at = b.binary(BinaryOp::Add, start, offset)?;
    let rows = b.transpose(x, &[1, 0])?;
    let cut = b.push(Gather { axis: 1, batch_dims: 0 }, &[rows, at])?;
    let hann = |i: i64| (0.5 - 0.5 * (2.0 * PI * i as f64 / window as f64).cos()) as f32;
    let weights = b.constant(Tensor::of(&[window as usize], &(0..window).map(hann).collect::<Vec<_>>()))?;
    let weighted = b.binary(BinaryOp::Mul, cut, weights)?;
    let length = i64::try_from((window as u64).next_power_of_two())?;
    let mut high = vec![Dim::from(0); 3];
    high[2] = Dim::from(length - window);
    let padded = zero_pad(b, weighted, vec![Dim::from(0); 3], high)?;
    let padded = b.reshape(padded, &[channels.clone(), frames, Dim::from(length)])?;
    let spectrum = b.push(Rfft { lengths: vec![Dim::from(length)] }, &[padded])?;
    let (re, im) = (b.unary(UnaryOp::Real, spectrum)?, b.unary(UnaryOp::Imag, spectrum)?);
    let (re, im) = (b.unary(UnaryOp::Square, re)?, b.unary(UnaryOp::Square, im)?);
    let power = b.binary(BinaryOp::Add, re, im)?;
    Ok(vec![if cx.bool("magnitude_squared")? { power } else { cx.b.unary(UnaryOp::Sqrt, power)? }])
}

/// The triangular filters, evenly spaced in mel, as a matrix of bins by channels.
fn mel_filters(bins: usize, rate: f64, low: f64, high: f64, channels: usize) -> Vec<f64> {
    let mel = |hz: f64| 1127.0 * (hz / 700.0).ln_1p();
    let spacing = (mel(high) - mel(low)) / (channels as f64 + 1.0);
    let centre = |i: usize| mel(low) + spacing * (i as f64 + 1.0);
    let width = 0.5 * rate / (bins as f64 - 1.0);
    // The constant part is left out.
    let (first, last) = ((1.5 + low / width) as usize, (high / width) as usize);
    let mut m = vec![0.0; bins * channels];
    let mut channel = 0;
    for i in first..=last.min(bins - 1) {
        let at = mel(i as f64 * width);
        while channel < channels && centre(channel) < at {
            channel += 1;
        }
        // Between the centres `channel - 1` and `channel`: the share of the lower one.
        let share = match channel {
            0 => (centre(0) - at) / (centre(0) - mel(low)),
            c => (centre(c) - at) / (centre(c) - centre(c - 1)),
        };
        if channel > 0 {
            m[i * channels + channel - 1] = share;
        }
        if channel < channels {
            m[i * channels + channel] = 1.0 - share;
        }
    }
    m
}

/// Operands: squared magnitudes by channel and frame, sample rate. The cosine transform of the logarithms of mel bands.
fn mfcc(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?);
    let rate = *cx.const_ints(1)?.first().context("the sample rate is empty")? as f64;
    let (high, low) = (f64::from(cx.float("upper_frequency_limit")?), f64::from(cx.float("lower_frequency_limit")?));
    let channels = usize::try_from(cx.int("filterbank_channel_count")?)?;
    let coefficients = usize::try_from(cx.int("dct_coefficient_count")?)?;
    let bins = match &ty.shape[..] {
        [_, _, bins] => bins.as_const().and_then(|n| usize::try_from(n).ok()),
        _ => bail!("{ty} is not channels by frames by bins"),
    };
    let bins = bins.filter(|&n| n >= 2).with_context(|| format!("the number of bins of {ty}"))?;
    if !(low >= 0.0 && high > low && rate > 0.0) || channels < 1 || coefficients > channels {
        bail!("{coefficients} coefficients of {channels} bands from {low} to {high} Hz at {rate} Hz");
    }
    if (high / (0.5 * rate / (bins as f64 - 1.0))) as usize >= bins {
        bail!("the upper limit {high} Hz is above half the sample rate {rate}");
    }
    let b = &mut *cx.b;
    // TensorFlow computes in f64 as well.
    let wide = b.cast(DType::F64, x)?;
    let magnitude = b.unary(UnaryOp::Sqrt, wide)?;
    let filters = b.constant(Tensor::of(&[bins, channels], &mel_filters(bins, rate, low, high, channels)))?;
    let bands = b.push(Contract::new("abk", "kn", "abn"), &[magnitude, filters])?;
    let floored = b.binary_scalar(BinaryOp::Max, bands, 1e-12)?;
    let logs = b.unary(UnaryOp::Log, floored)?;
    let n = channels as f64;
    let cosine =
        |k: usize| (2.0 / n).sqrt() * ((k % coefficients) as f64 * PI / n * ((k / coefficients) as f64 + 0.5)).cos();
    let table: Vec<f64> = (0..channels * coefficients).map(cosine).collect();
    let cosines = b.constant(Tensor::of(&[channels, coefficients], &table))?;
    let y = b.push(Contract::new("abk", "kn", "abn"), &[logs, cosines])?;
    Ok(vec![b.cast(DType::F32, y)?])
}

fn decode_wav(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let mut size = |name: &str, hint: &str| {
        let n = cx.int(name)?;
        Ok::<_, anyhow::Error>(if n < 0 { cx.b.fresh_dim(hint) } else { Dim::from(n) })
    };
    let (samples, channels) = (size("desired_samples", "samples")?, size("desired_channels", "channels")?);
    import(cx, wav::DecodeWav { samples, channels })
}

fn greedy(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let op = ctc::GreedyDecoder {
        merge_repeated: cx.bool("merge_repeated")?,
        blank: cx.int("blank_index")?,
        count: cx.b.fresh_dim("decoded"),
    };
    import(cx, op)
}

fn beam_search(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let paths = usize::try_from(cx.int("top_paths")?)?;
    let op = beam::BeamSearch {
        width: cx.int("beam_width")?,
        merge_repeated: cx.bool("merge_repeated")?,
        counts: (0..paths).map(|_| cx.b.fresh_dim("decoded")).collect(),
    };
    import(cx, op)
}

fn ctc_loss(cx: &mut TfCx<'_>, blank_first: bool) -> Result<Vec<Value>> {
    let op = ctc::CtcLoss {
        collapse_labels: cx.bool("preprocess_collapse_repeated")?,
        merge_repeated: cx.bool("ctc_merge_repeated")?,
        ignore_longer: cx.bool("ignore_longer_outputs_than_inputs")?,
        blank_first,
    };
    import(cx, op)
}

/// Import rules of TensorFlow's audio ops and of CTC.
pub const TF: &[TfBinding] = tf_ops! {
    "AudioSpectrogram" => spectrogram, "Mfcc" => mfcc, "DecodeWav" => decode_wav,
    "EncodeWav" => |cx| import(cx, wav::EncodeWav {}), "CTCGreedyDecoder" => greedy,
    "CTCBeamSearchDecoder" => beam_search,
    "CTCLoss" => |cx| ctc_loss(cx, false), "CTCLossV2" => |cx| ctc_loss(cx, true),
};
