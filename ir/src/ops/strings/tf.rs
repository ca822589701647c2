//! TensorFlow's string ops.

use anyhow::{Result, bail};

use super::*;
use crate::graph::Value;
use crate::ops::host::{import, tf_ops};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};

fn map(cx: &mut TfCx<'_>, function: &str) -> Result<Vec<Value>> {
    import(cx, StringMap { function: function.into() })
}

/// Lower and upper case: of ASCII, or of all letters where the encoding is named.
fn case(cx: &mut TfCx<'_>, function: &str) -> Result<Vec<Value>> {
    let utf8 = match cx.str("encoding")?.as_str() {
        "" => "",
        "utf-8" => "_utf8",
        other => bail!("the encoding `{other}` is not supported"),
    };
    map(cx, &format!("{function}{utf8}"))
}

fn characters(cx: &TfCx<'_>) -> Result<bool> {
    Ok(cx.str("unit")? == "UTF8_CHAR")
}

fn reduce_join(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, rank) = (cx.input(0)?, cx.ty(0)?.rank());
    let axes = cx.normalize_axes(&cx.const_ints(1)?, rank)?.iter().map(|&a| a as i64).collect();
    let op = join::ReduceJoin { axes, keep_dims: cx.bool("keep_dims")?, separator: cx.str("separator")? };
    Ok(vec![cx.b.push(op, &[x])?])
}

fn segment_join(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, ids, segments) = (cx.input(0)?, cx.input(1)?, cx.dims_input(2)?);
    let [segments] = &segments[..] else { bail!("the number of segments is {segments:?}") };
    let op = join::SegmentJoin { segments: segments.clone(), separator: cx.str("separator")? };
    Ok(vec![cx.b.push(op, &[x, ids])?])
}

fn as_string(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let op = number::AsString {
        precision: cx.int("precision")?,
        scientific: cx.bool("scientific")?,
        shortest: cx.bool("shortest")?,
        width: cx.int("width")?,
        fill: cx.str("fill")?,
    };
    import(cx, op)
}

/// A string attribute as an operand.
fn text(cx: &mut TfCx<'_>, name: &str) -> Result<Value> {
    let s = cx.str(name)?.into_bytes();
    cx.b.constant(Tensor::of_strings(&[], vec![s]))
}

fn static_replace(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, pattern, rewrite) = (cx.input(0)?, text(cx, "pattern")?, text(cx, "rewrite")?);
    Ok(vec![cx.b.push(regex::RegexReplace { global: cx.bool("replace_global")? }, &[x, pattern, rewrite])?])
}

fn static_match(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, pattern) = (cx.input(0)?, text(cx, "pattern")?);
    Ok(vec![cx.b.push(regex::RegexFullMatch {}, &[x, pattern])?])
}

/// The seed of TensorFlow's Hash64.
const HASH64_SEED: i64 = 0x00DE_CAFC_AFFE;

fn bucket(cx: &mut TfCx<'_>, key: Vec<i64>) -> Result<Vec<Value>> {
    import(cx, hash::HashBucket { buckets: cx.int("num_buckets")?, key })
}

fn split(cx: &mut TfCx<'_>, v2: bool) -> Result<Vec<Value>> {
    let op = split::StringSplit {
        parts: cx.b.fresh_dim("parts"),
        maxsplit: if v2 { cx.int("maxsplit")? } else { -1 },
        any_byte: !v2,
        skip_empty: !v2 && cx.bool("skip_empty")?,
    };
    import(cx, op)
}

fn ngrams(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let op = split::StringNGrams {
        count: cx.b.fresh_dim("ngrams"),
        separator: cx.str("separator")?,
        widths: cx.ints("ngram_widths")?,
        left_pad: cx.str("left_pad")?,
        right_pad: cx.str("right_pad")?,
        pad_width: cx.int("pad_width")?,
        preserve_short: cx.bool("preserve_short_sequences")?,
    };
    import(cx, op)
}

fn format(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let op = join::StringFormat {
        template: cx.str("template")?,
        placeholder: cx.str("placeholder")?,
        summarize: cx.int("summarize")?,
    };
    import(cx, op)
}

fn decode_raw(cx: &mut TfCx<'_>, padded: bool) -> Result<Vec<Value>> {
    let (x, dtype) = (cx.input(0)?, cx.dtype("out_type")?);
    let width = match (padded, cx.b.as_const(x)) {
        (true, _) => {
            let bytes = cx.const_ints(1)?;
            let [n] = bytes[..] else { bail!("the length is {bytes:?}") };
            Dim::from(n / dtype.size().max(1) as i64)
        }
        (false, Some(t)) => Dim::from(strings(t).first().map_or(0, Vec::len) / dtype.size().max(1)),
        (false, None) => cx.b.fresh_dim("width"),
    };
    let op = raw::DecodeRaw { dtype, little_endian: cx.bool("little_endian")?, width, padded };
    Ok(vec![cx.b.push(op, &[x])?])
}

/// The shape of the result is not known from the node: the importer's shape inference must give it.
fn parse_tensor(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let (x, dtype) = (cx.input(0)?, cx.dtype("out_type")?);
    let Some(t) = cx.b.as_const(x).cloned() else {
        bail!("the rank of a tensor that is parsed at run time is not known")
    };
    let parsed = crate::Op::eval(&raw::ParseTensor { dtype, shape: vec![] }, &[&t])?.remove(0);
    Ok(vec![cx.b.constant(parsed)?])
}

fn decode_csv(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let op = csv::DecodeCsv {
        delimiter: cx.str("field_delim")?,
        quotes: cx.bool("use_quote_delim")?,
        missing: cx.str("na_value")?,
        select: cx.ints("select_cols")?,
    };
    import(cx, op)
}

fn unicode_decode(cx: &mut TfCx<'_>, offsets: bool) -> Result<Vec<Value>> {
    let op = unicode::UnicodeDecode {
        count: cx.b.fresh_dim("chars"),
        encoding: cx.str("input_encoding")?,
        errors: cx.str("errors")?,
        replacement: cx.int("replacement_char")?,
        control: cx.bool("replace_control_characters")?,
        splits: cx.dtype("Tsplits")?,
    };
    let mut out = import(cx, op)?;
    out.truncate(if offsets { 3 } else { 2 });
    Ok(out)
}

fn unicode_encode(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let op = unicode::UnicodeEncode {
        encoding: cx.str("output_encoding")?,
        errors: cx.str("errors")?,
        replacement: cx.int("replacement_char")?,
    };
    import(cx, op)
}

fn transcode(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let op = unicode::UnicodeTranscode {
        from: cx.str("input_encoding")?,
        to: cx.str("output_encoding")?,
        errors: cx.str("errors")?,
        replacement: cx.int("replacement_char")?,
        control: cx.bool("replace_control_characters")?,
    };
    import(cx, op)
}

/// Operands: data, the method's name.
fn fingerprint(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let method = cx.const_input(1)?;
    if strings(&method).first().is_none_or(|m| m != b"farmhash64") {
        bail!("the only method is farmhash64");
    }
    let x = cx.input(0)?;
    Ok(vec![cx.b.push(hash::Fingerprint {}, &[x])?])
}

/// Import rules of TensorFlow's string ops.
pub const TF: &[TfBinding] = tf_ops! {
    "StringLower" => |cx| case(cx, "lower"), "StringUpper" => |cx| case(cx, "upper"),
    "StringStrip" => |cx| map(cx, "strip"), "DecodeBase64" => |cx| map(cx, "unbase64"),
    "EncodeBase64" => |cx| { let f = if cx.bool("pad")? { "base64_padded" } else { "base64" }; map(cx, f) },
    "StringLength" => |cx| { let characters = characters(cx)?; import(cx, StringLength { characters }) },
    "Substr" => |cx| { let characters = characters(cx)?; import(cx, Substr { characters }) },
    "StringJoin" => |cx| { let separator = cx.str("separator")?; import(cx, join::StringJoin { separator }) },
    "ReduceJoin" => reduce_join, "UnsortedSegmentJoin" => segment_join, "StringFormat" => format,
    "StringToNumber" => |cx| { let dtype = cx.dtype("out_type")?; import(cx, number::StringToNumber { dtype }) },
    "AsString" => as_string,
    "RegexReplace" => |cx| { let global = cx.bool("replace_global")?; import(cx, regex::RegexReplace { global }) },
    "StaticRegexReplace" => static_replace, "RegexFullMatch" => |cx| import(cx, regex::RegexFullMatch {}),
    "StaticRegexFullMatch" => static_match, "StringToHashBucketFast" => |cx| bucket(cx, vec![]),
    "StringToHashBucket" => |cx| bucket(cx, vec![HASH64_SEED]),
    "StringToHashBucketStrong" => |cx| { let key = cx.ints("key")?; bucket(cx, key) }, "Fingerprint" => fingerprint,
    "StringSplit" => |cx| split(cx, false), "StringSplitV2" => |cx| split(cx, true), "StringNGrams" => ngrams,
    "DecodeRaw" => |cx| decode_raw(cx, false), "DecodePaddedRaw" => |cx| decode_raw(cx, true),
    "SerializeTensor" => |cx| import(cx, raw::SerializeTensor {}), "ParseTensor" => parse_tensor,
    "UnicodeDecode" => |cx| unicode_decode(cx, false), "UnicodeDecodeWithOffsets" => |cx| unicode_decode(cx, true),
    "DecodeCSV" => decode_csv, "UnicodeScript" => |cx| import(cx, script::UnicodeScript {}),
    "UnicodeEncode" => unicode_encode, "UnicodeTranscode" => transcode,
};
