"""Image files. JPEG samples may differ by `tol` units: TensorFlow takes the fast integer transform."""
import io, struct
from PIL import Image


def contents(m):
    return ("data", np.array(m, object))


def png_of(mode, a, **kw):
    out = io.BytesIO()
    image = Image.fromarray(a) if mode is None else Image.frombytes(mode, (a.shape[1], a.shape[0]), a.tobytes())
    image.save(out, "PNG", **kw)
    return out.getvalue()


rng = np.random.default_rng(7)
rgb = rng.integers(0, 256, (3, 5, 3)).astype("uint8")
rgb[0, 0] = 77
deep = rng.integers(0, 65536, (3, 4, 3)).astype("uint16")
palette = Image.fromarray(rgb).quantize(8)
files = {"rgb": tf.io.encode_png(rgb).numpy(), "grey": tf.io.encode_png(rgb[..., :1]).numpy(), "grey_alpha": tf.io.encode_png(rgb[..., :2]).numpy(),
         "rgba": tf.io.encode_png(rng.integers(0, 256, (2, 3, 4)).astype("uint8")).numpy(), "rgb16": tf.io.encode_png(deep).numpy(),
         "grey16": tf.io.encode_png(deep[..., :1]).numpy()}
for name, kw in [("palette", {}), ("palette_clear", {"transparency": 2})]:
    out = io.BytesIO()
    palette.save(out, "PNG", **kw)
    files[name] = out.getvalue()
out = io.BytesIO()
Image.fromarray(rgb).save(out, "PNG", transparency=(77, 77, 77))
files["rgb_clear"] = out.getvalue()
out = io.BytesIO()
Image.fromarray(rgb[..., 0] > 99).save(out, "PNG")
files["one_bit"] = out.getvalue()
for f, m in files.items():
    for ch in [0, 1, 3, 4]:
        case(f"png_{f}_{ch}", "DecodePng", [contents(m)], channels=ch, dtype=tf.uint8)
    case(f"png_{f}_u16", "DecodePng", [contents(m)], channels=0, dtype=tf.uint16)
    case(f"png_{f}_u16_grey", "DecodePng", [contents(m)], channels=1, dtype=tf.uint16)
    case(f"png_{f}_f32", "DecodeImage", [contents(m)], channels=0, dtype=tf.float32, expand_animations=True)
for i, bad in enumerate([b"", b"abc", files["rgb"][:40], files["rgb"][:60], b"\x89PNG\r\n\x1a\n"]):
    case(f"png_bad_{i}", "DecodePng", [contents(bad)], error=" ", channels=0, dtype=tf.uint8)


def gif_of(frames, w, h, colours, clear=None):
    """Frames are (x, y, width, height, indices) of four colours."""
    m = b"GIF89a" + struct.pack("<HHBBB", w, h, 0x81, 0, 0) + bytes(sum(colours, []))
    for x0, y0, fw, fh, px in frames:
        if clear is not None:
            m += b"\x21\xf9\x04" + bytes([5, 0, 0, clear, 0])
        m += b"," + struct.pack("<HHHHB", x0, y0, fw, fh, 0) + b"\x02"
        # Codes of 3 bits: clear (4) before each index keeps them so short; 5 ends.
        value, bits, packed = 0, 0, bytearray()
        for code in [q for p in px for q in (4, p)] + [5]:
            value |= code << bits
            bits += 3
            while bits >= 8:
                packed.append(value & 255)
                value, bits = value >> 8, bits - 8
        if bits:
            packed.append(value)
        m += bytes([len(packed)]) + bytes(packed) + b"\0"
    return m + b";"


colours = [[10, 20, 30], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
still = gif_of([(0, 0, 3, 2, [0, 1, 2, 3, 2, 1])], 3, 2, colours)
moving = gif_of([(1, 0, 2, 2, [0, 1, 2, 3]), (0, 1, 1, 1, [3])], 3, 2, colours)
clear = gif_of([(0, 0, 3, 2, [0, 1, 2, 3, 2, 1]), (0, 0, 3, 2, [1, 1, 1, 0, 0, 0])], 3, 2, colours, clear=1)
for name, m in [("still", still), ("moving", moving), ("clear", clear)]:
    case(f"gif_{name}", "DecodeGif", [contents(m)])
    for t in ["uint8", "uint16", "float32"]:
        case(f"gif_{name}_first_{t}", "DecodeImage", [contents(m)], channels=3, dtype=tf.as_dtype(t), expand_animations=False)
    case(f"gif_{name}_expanded", "DecodeImage", [("const", np.array(m, object))], channels=0, dtype=tf.uint8, expand_animations=True)
case("gif_by_png", "DecodePng", [contents(still)], channels=0, dtype=tf.uint8)
case("gif_by_png_moving", "DecodePng", [contents(moving)], error=" ", channels=0, dtype=tf.uint8)
case("gif_grey", "DecodeImage", [contents(still)], error=" ", channels=1, dtype=tf.uint8, expand_animations=False)
case("png_by_gif", "DecodeGif", [contents(files["rgb"])])
case("gif_cut", "DecodeGif", [contents(moving[:20])], error=" ")


def bmp_of(a, up=True):
    h, w, ch = a.shape
    pad = -(w * ch) % 4
    px = b"".join(a[i].tobytes() + b"\0" * pad for i in (range(h - 1, -1, -1) if up else range(h)))
    return b"BM" + struct.pack("<IHHI", 54 + len(px), 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, w, h if up else -h, 1, ch * 8, 0, len(px), 0, 0, 0, 0) + px


square = rng.integers(0, 256, (2, 3, 4)).astype("uint8")
for n in [1, 3, 4]:
    for ch in [0, 3, 4]:
        case(f"bmp_{n}_{ch}", "DecodeBmp", [contents(bmp_of(square[..., :n]))], channels=ch)
case("bmp_down", "DecodeBmp", [contents(bmp_of(square, False))], channels=0)
case("bmp_grey", "DecodeBmp", [contents(bmp_of(square))], error=" ", channels=1)
case("bmp_short", "DecodeBmp", [contents(bmp_of(square)[:-3])], error=" ", channels=0)
case("bmp_two", "DecodeBmp", [contents(bmp_of(square[..., :2]))], error=" ", channels=0)
case("bmp_by_png", "DecodePng", [contents(bmp_of(square))], error=" ", channels=0, dtype=tf.uint8)
case("png_by_bmp", "DecodeBmp", [contents(files["rgb"])], error=" ", channels=0)
for t in ["uint16", "float32"]:
    case(f"bmp_{t}", "DecodeImage", [contents(bmp_of(square))], channels=3, dtype=tf.as_dtype(t), expand_animations=True)

# Smooth images, as photographs are; their samples differ by less than those of noise.
yy, xx = np.mgrid[0:19, 0:21]
smooth = np.stack([127 + 100 * np.sin(xx / 9) * np.cos(yy / 7), xx * 9, 255 - yy * 6], -1).clip(0, 255).astype("uint8")
J = dict(channels=0, ratio=1, fancy_upscaling=True, try_recover_truncated=False, acceptable_fraction=1.0, dct_method="")
E = dict(quality=90, optimize_size=False, density_unit="in", x_density=300, y_density=300, xmp_metadata="")
for form in ["rgb", "grayscale"]:
    for down in [False, True]:
        for progressive in [False, True]:
            m = tf.raw_ops.EncodeJpeg(image=smooth if form == "rgb" else smooth[..., :1], format=form, chroma_downsampling=down, progressive=progressive, **E).numpy()
            name = f"{form}_{'down' if down else 'full'}_{'progressive' if progressive else 'plain'}"
            case(f"jpeg_{name}", "DecodeJpeg", [contents(m)], tol=6, **J)
            if not progressive:
                case(f"jpeg_{name}_accurate", "DecodeJpeg", [contents(m)], tol=4, **dict(J, dct_method="INTEGER_ACCURATE"))
jpeg = tf.io.encode_jpeg(smooth, quality=90, xmp_metadata="x" * 30).numpy()
for ch in [1, 3]:
    case(f"jpeg_channels_{ch}", "DecodeJpeg", [contents(jpeg)], tol=6, **dict(J, channels=ch))
case("jpeg_grey_as_colour", "DecodeJpeg", [contents(tf.io.encode_jpeg(smooth[..., :1]).numpy())], tol=6, **dict(J, channels=3))
case("jpeg_channels_4", "DecodeJpeg", [contents(jpeg)], error=" ", **dict(J, channels=4))
case("jpeg_cut", "DecodeJpeg", [contents(jpeg[:300])], error=" ", **J)
case("jpeg_by_png", "DecodePng", [contents(jpeg)], tol=6, channels=0, dtype=tf.uint8)
case("jpeg_f32", "DecodeImage", [contents(jpeg)], tol=6 / 255, channels=0, dtype=tf.float32, expand_animations=True)
case("jpeg_crop", "DecodeAndCropJpeg", [contents(jpeg), d([3, 5, 10, 9], "int32")], tol=6, **J)
case("jpeg_crop_constant", "DecodeAndCropJpeg", [contents(jpeg), c([0, 0, 19, 21])], tol=6, **J)
case("jpeg_crop_outside", "DecodeAndCropJpeg", [contents(jpeg), d([3, 5, 17, 9], "int32")], error=" ", **J)
for t in ["int32", "int64"]:
    case(f"jpeg_shape_{t}", "ExtractJpegShape", [contents(jpeg)], output_type=tf.as_dtype(t))
case("jpeg_shape_bad", "ExtractJpegShape", [contents(files["rgb"])], error=" ", output_type=tf.int32)
