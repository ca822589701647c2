"""Strings."""
def s(v):
    return ("data", np.array(v, object))
def cs(v):
    return ("const", np.array(v, object))
words = s([[b"Hello World", b"", b"  \t pad\n "], ["Stra\u00dfe \u03a3".encode(), b"a\xff\xfeb", b"ABC"]])
text = s([[b"Hello World", b"", b"  \t pad\n "], ["Stra\u00dfe \u00c9".encode(), "\u4e16\u754c".encode(), b"ABC"]])
for op in ["Lower", "Upper"]:
    case(f"string_{op.lower()}", f"String{op}", [words], [(0, 0)], encoding="")
    case(f"string_{op.lower()}_utf8", f"String{op}", [text], encoding="utf-8")
case("string_strip", "StringStrip", [words])
for unit in ["BYTE", "UTF8_CHAR"]:
    case(f"string_length_{unit}", "StringLength", [text], unit=unit)
    case(f"substr_{unit}", "Substr", [s([b"Hello", "w\u00f6rld".encode()]), d(1, "int32"), d(3, "int32")], unit=unit)
    case(f"substr_negative_{unit}", "Substr", [s([b"Hello", "w\u00f6rld".encode()]), d([-3, -5], "int64"), d([2, 9], "int64")], unit=unit)
case("substr_broadcast", "Substr", [s([[b"abc"], [b"defg"]]), d([0, 1, 2], "int32"), d([1, 2, 3], "int32")], unit="BYTE")
case("substr_outside", "Substr", [s([b"ab"]), d(3, "int32"), d(1, "int32")], error="out of range", unit="BYTE")
case("string_join", "StringJoin", [s([b"a", b"b"]), s(b"-x"), s([b"c", b""])], separator="+")
case("string_join_scalars", "StringJoin", [s(b"a"), s(b"b")], separator="")
m6 = s([[b"a", b"b", b"c"], [b"d", b"e", b"f"]])
for axes in [[0], [1], [0, 1], [1, 0], [-1], []]:
    for keep in [False, True]:
        case(f"reduce_join_{axes}_{keep}", "ReduceJoin", [m6, c(axes)], keep_dims=keep, separator=".")
case("segment_join", "UnsortedSegmentJoin", [m6, d([1, 1], "int32"), c(3)], separator=":")
case("segment_join_all", "UnsortedSegmentJoin", [m6, d([[1, 0, 1], [1, 2, 0]], "int64"), c(4)], separator=":")
case("segment_join_negative", "UnsortedSegmentJoin", [s([b"a"]), d([-1], "int32"), c(4)], error=" ", separator=":")
case("segment_join_outside", "UnsortedSegmentJoin", [s([b"a"]), d([4], "int32"), c(4)], error=" ", separator=":")
case("string_format", "StringFormat", [x(2, 3), d([1, 2, 3, 4, 5, 6, 7, 8, 9], "int64"), s([b"q"])], template="a {} b {} c {}.", placeholder="{}", summarize=3)
case("string_format_deep", "StringFormat", [x(2, 2, 2), d(1.5, "float64")], template="%t|%t", placeholder="%t", summarize=3)
num = [b"1", b" -2.5 ", b"3e2", b"inf", b"-Infinity", b"+4.", b".5"]
case("to_f32", "StringToNumber", [s(num)], out_type=tf.float32)
case("to_f64", "StringToNumber", [s(num)], out_type=tf.float64)
case("to_i32", "StringToNumber", [s([b"12", b" -7 ", b"2147483647"])], out_type=tf.int32)
case("to_i64", "StringToNumber", [s([b"12", b"-9223372036854775808"])], out_type=tf.int64)
for i, bad in enumerate([b"", b"1x", b"2147483648", b"1.0", b"--1"]):
    case(f"to_i32_bad_{i}", "StringToNumber", [s([bad])], error=" ", out_type=tf.int32)
case("to_f32_bad", "StringToNumber", [s([b"1.0 2"])], error=" ", out_type=tf.float32)
A = dict(precision=-1, scientific=False, shortest=False, width=-1, fill="")
F = ("data", np.array([0.0, -0.0, 1.0, -2.5, 1 / 3, 123456789.0, 1e-7, 1e20, np.nan, np.inf, -np.inf], "float64"))
I = d([0, -5, 123456], "int64")
for i, a in enumerate([{}, dict(precision=2), dict(scientific=True), dict(shortest=True), dict(shortest=True, precision=3), dict(width=12),
                       dict(width=12, fill="0"), dict(width=12, fill="-"), dict(fill="+"), dict(width=9, fill=" ", precision=0), dict(scientific=True, precision=0)]):
    case(f"as_string_f64_{i}", "AsString", [F], **dict(A, **a))
    if "precision" not in a and "scientific" not in a and "shortest" not in a:
        case(f"as_string_i64_{i}", "AsString", [I], **dict(A, **a))
case("as_string_f32", "AsString", [("data", np.array([0.1, 16777216.0], "float32"))], **A)
case("as_string_bool", "AsString", [d([True, False], "bool")], **A)
case("as_string_u64", "AsString", [d([2**64 - 1], "uint64")], **A)
case("as_string_c64", "AsString", [d([1 - 2j], "complex64")], **dict(A, precision=1))
re = [(r"a+", "<\\0>"), (r"(\w+) (\w+)", r"\2 \1"), (r"^\s*", ""), (r"x*", "-"), (r"[^\W\d_]+", "L"), (r"[[a&&b]", "#"), (r"\Qa.b\E", "Q"),
      (r"(?i)HELLO", "bye"), (r"[]a]", "_"), (r"\bfoo\b", "bar"), (r"[[:alpha:]]+", "A"), (r"\d{2,3}?", "n"), (r"(a)|(b)", r"[\1\2]"), (r"\\", "/")]
inp = s([b"aaa hello world", b"  foo a.b 12345 x[&]", "\u00e9t\u00e9 \u0663".encode(), b"", b"back\\slash ab"])
for i, (p, r) in enumerate(re):
    case(f"static_regex_replace_{i}", "StaticRegexReplace", [inp], pattern=p, rewrite=r, replace_global=True)
    case(f"regex_full_match_{i}", "RegexFullMatch", [inp, s(p.encode())])
case("regex_replace_first", "RegexReplace", [inp, s(b"a"), s(b"o")], replace_global=False)
case("static_full_match", "StaticRegexFullMatch", [s([b"ab", b"abc", b"xab"])], pattern="a.|ab")
case("regex_bad", "RegexReplace", [inp, s(b"("), s(b"o")], error=" ", replace_global=False)
case("regex_bad_rewrite", "RegexReplace", [inp, s(b"a"), s(b"\\1")], replace_global=True)
long = [b"", b"a", b"abc", b"abcd", b"abcdefgh", b"0123456789abcdef", b"0123456789abcdefX", b"x" * 32, b"y" * 33, b"zq" * 32, b"ab" * 33, b"\xff" * 200]
case("hash_fast", "StringToHashBucketFast", [s(long)], num_buckets=1000003)
case("hash_strong", "StringToHashBucketStrong", [s(long)], num_buckets=1000003, key=[12345, -6])
case("fingerprint", "Fingerprint", [x(3, 4), cs(b"farmhash64")])
case("fingerprint_strings", "Fingerprint", [s([[b"a", b"bc"], [b"", b"d"]]), cs(b"farmhash64")])
case("fingerprint_string", "Fingerprint", [s([b"a", b"bc"]), cs(b"farmhash64")])
lines = s([b"a b  c", b"", b"  lead trail  ", b"one"])
for ms in [-1, 1, 2]:
    case(f"split_v2_space_{ms}", "StringSplitV2", [lines, s(b"")], maxsplit=ms)
    case(f"split_v2_{ms}", "StringSplitV2", [s([b"a,,b,,c,", b",,x", b""]), s(b",,")], maxsplit=ms)
for skip in [False, True]:
    case(f"split_v1_{skip}", "StringSplit", [s([b"a,b;;c", b""]), s(b",;")], skip_empty=skip)
    case(f"split_v1_chars_{skip}", "StringSplit", [s([b"abc", b""]), s(b"")], skip_empty=skip)
for i, a in enumerate([dict(ngram_widths=[2], pad_width=0), dict(ngram_widths=[1, 3], pad_width=-1), dict(ngram_widths=[3], pad_width=1), dict(ngram_widths=[4], pad_width=0, preserve_short_sequences=True),
                       dict(ngram_widths=[9], pad_width=1, preserve_short_sequences=True)]):
    case(f"ngrams_{i}", "StringNGrams", [s([b"a", b"b", b"c", b"d", b"e"]), d([0, 3, 3, 5], "int64")],
         **dict(dict(separator="|", left_pad="L", right_pad="R", preserve_short_sequences=False), **a))
case("base64", "EncodeBase64", [s(long)], pad=False)
case("base64_padded", "EncodeBase64", [s(long)], pad=True)
case("unbase64", "DecodeBase64", [s([b"", b"YQ", b"YQ==", b"YWI", b"YWJj", b"-_8="])])
case("unbase64_bad", "DecodeBase64", [s([b"Y+"])], error=" ")
case("unbase64_short", "DecodeBase64", [s([b"YWJjZ"])], error=" ")
for t in ["uint8", "int16", "float32", "complex64"]:
    case(f"decode_raw_{t}", "DecodeRaw", [s([b"\x01\x02\x03\x04\x05\x06\x07\x08", b"abcdefgh"])], out_type=tf.as_dtype(t), little_endian=True)
case("decode_raw_big", "DecodeRaw", [s(b"\x01\x02\x03\x04")], out_type=tf.int32, little_endian=False)
case("decode_raw_bad", "DecodeRaw", [s([b"\x01\x02\x03"])], error=" ", out_type=tf.int32, little_endian=True)
case("decode_padded_raw", "DecodePaddedRaw", [s([b"\x01\x02\x03", b"abcdefgh"]), c(4)], out_type=tf.int16, little_endian=True)
case("serialize", "SerializeTensor", [x(2, 3)])
case("serialize_scalar", "SerializeTensor", [d(7, "int64")])
case("serialize_strings", "SerializeTensor", [s([b"a", b"", b"bc"])])
case("serialize_empty", "SerializeTensor", [x(0, 3)])
case("parse_tensor", "ParseTensor", [cs(tf.io.serialize_tensor(tf.constant([[1.5, 2.0]])).numpy())], out_type=tf.float32)
case("parse_tensor_proto", "ParseTensor", [cs(tf.make_tensor_proto([3, -4, 5]).SerializeToString())], out_type=tf.int32)
U = dict(errors="replace", replacement_char=65533, replace_control_characters=False)
uni = s(["h\u00e9\u4e16\U0001f600".encode(), b"", b"a\xffb\xe4\xb8", b"x\ty"])
for enc in ["UTF-8", "US-ASCII"]:
    case(f"unicode_decode_{enc}", "UnicodeDecode", [uni], input_encoding=enc, **U)
case("unicode_decode_offsets", "UnicodeDecodeWithOffsets", [uni], input_encoding="UTF-8", **dict(U, replace_control_characters=True))
case("unicode_decode_ignore", "UnicodeDecodeWithOffsets", [uni], input_encoding="UTF-8", **dict(U, errors="ignore"))
case("unicode_decode_strict", "UnicodeDecode", [uni], input_encoding="UTF-8", error=" ", **dict(U, errors="strict"))
case("unicode_decode_16", "UnicodeDecode", [s(["h\u00e9\U0001f600".encode("utf-16-be")])], input_encoding="UTF-16-BE", **U)
for enc in ["UTF-8", "UTF-16-BE", "UTF-32-BE"]:
    case(f"unicode_encode_{enc}", "UnicodeEncode", [d([104, 233, 0x1f600, 0x4e16], "int32"), d([0, 2, 2, 4], "int64")], output_encoding=enc, errors="replace", replacement_char=65533)
    case(f"transcode_{enc}", "UnicodeTranscode", [uni], input_encoding="UTF-8", output_encoding=enc, **U)
case("unicode_encode_bad", "UnicodeEncode", [d([104, 0xd800], "int32"), d([0, 2], "int64")], output_encoding="UTF-8", errors="replace", replacement_char=65533)
# What strings share with numbers.
case("equal_strings", "Equal", [s([b"a", b"b"]), s(b"b")])
case("not_equal_strings", "NotEqual", [s([b"a", b"b"]), s([[b"b"], [b"a"]])])
case("select_strings", "SelectV2", [d([True, False], "bool"), s([b"a", b"b"]), s(b"z")])
