#!/usr/bin/env python3
"""Export well-known architectures with TensorFlow and compare Kiln's outputs with TensorFlow's.

    model_zoo.py DIR [NAME...]                         export, with TensorFlow's outputs, what DIR does not hold yet
    model_zoo.py DIR --kiln BINARY [NAME...]           the same, then `kiln verify` on every backend of that build
    model_zoo.py --list                                the names

Needs tensorflow-cpu 2.21 (which brings Keras 3) and nothing else. Weights are random: seeded, and perturbed where a
fresh network's zeros and ones would hide a mistake. Each DIR/NAME/ holds `saved_model` and `ref_bN.npz` (arrays `in:NAME`
and `out:NAME` for a batch of N). The models are full ones, a few hundred MB in all: they are not for a repository.
testdata/models has their small relatives.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

from golden.keras_nets import perturb

L, A = keras.layers, keras.applications


class Case:
    """A model and how to feed it: `build() -> keras.Model`, `feeds(rng, batch) -> {input: array}`."""

    def __init__(self, build, feeds, batches=(1, 3)):
        self.build, self.feeds, self.batches = build, feeds, batches


def normal(**shapes):
    return lambda rng, b: {k: rng.standard_normal((b, *s)).astype("float32") for k, s in shapes.items()}


def application(make, side):
    """One of keras.applications at a small size; a preprocessing layer inside a model expects 0..255."""

    def build():
        return make(weights=None, input_tensor=keras.Input((side, side, 3), name="image"), classes=100)

    return Case(build, lambda rng, b: {"image": rng.uniform(0, 255, (b, side, side, 3)).astype("float32")}, (1, 2))


def recurrent(layer):
    def build():
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        x = layer(L.Embedding(500, 48, mask_zero=True)(tokens))
        return keras.Model(tokens, {"probs": L.Dense(20, activation="softmax")(x)})

    def feeds(rng, b):
        tokens = rng.integers(1, 500, (b, 12))
        tokens[-1, 9:] = 0  # a shorter sequence: what the mask is for
        return {"tokens": tokens.astype("int32")}

    return Case(build, feeds)


def transformer_encoder():
    def build():
        x = i = keras.Input((None, 64), name="states")
        for _ in range(3):
            x = L.LayerNormalization()(x + L.MultiHeadAttention(4, 16)(x, x))
            x = L.LayerNormalization()(x + L.Dense(64)(L.Dense(128, activation="gelu")(x)))
        return keras.Model(i, {"encoded": x})

    return Case(build, normal(states=(10, 64)))


def seq2seq_attention():
    """Encoder and teacher-forced decoder with additive attention over the encoder's states."""

    def build():
        source = keras.Input((None,), dtype="int32", name="source")
        target = keras.Input((None,), dtype="int32", name="target")
        states, h, c = L.LSTM(64, return_sequences=True, return_state=True)(L.Embedding(300, 32)(source))
        decoded = L.LSTM(64, return_sequences=True)(L.Embedding(200, 32)(target), initial_state=[h, c])
        context = L.AdditiveAttention()([decoded, states])
        x = L.Dense(64, activation="tanh")(L.Concatenate()([decoded, context]))
        return keras.Model([source, target], {"probs": L.Dense(200, activation="softmax")(x)})

    return Case(
        build,
        lambda rng, b: {
            "source": rng.integers(0, 300, (b, 11)).astype("int32"),
            "target": rng.integers(0, 200, (b, 7)).astype("int32"),
        },
    )


def wavenet_stack():
    """Two cycles of dilated causal convolutions with gates, residual and skip connections."""

    def build():
        i = keras.Input((None, 1), name="samples")
        x, skips = L.Conv1D(24, 2, padding="causal")(i), []
        for d in [1, 2, 4, 8, 16, 32] * 2:
            gate = L.Multiply()([
                L.Conv1D(24, 2, dilation_rate=d, padding="causal", activation="tanh")(x),
                L.Conv1D(24, 2, dilation_rate=d, padding="causal", activation="sigmoid")(x),
            ])
            skips.append(L.Conv1D(32, 1)(gate))
            x = L.Add()([x, L.Conv1D(24, 1)(gate)])
        y = L.Conv1D(64, 1, activation="relu")(L.ReLU()(L.Add()(skips)))
        return keras.Model(i, {"probs": L.Conv1D(256, 1, activation="softmax")(y)})

    return Case(build, normal(samples=(200, 1)))


def video_qa():
    """A question about a video: an InceptionV3 on each frame and an LSTM, a word LSTM, one dense answer."""

    def build():
        video, question = keras.Input((4, 96, 96, 3), name="video"), keras.Input((15,), dtype="int32", name="question")
        cnn = A.InceptionV3(weights=None, include_top=False, pooling="avg", input_shape=(96, 96, 3))
        seen = L.LSTM(256)(L.TimeDistributed(cnn)(video))
        asked = L.LSTM(128)(L.Embedding(10000, 256)(question))
        x = L.Dense(1000, activation="softmax")(L.Concatenate()([seen, asked]))
        return keras.Model([video, question], {"answer": x})

    return Case(
        build,
        lambda rng, b: {
            "video": rng.uniform(-1, 1, (b, 4, 96, 96, 3)).astype("float32"),
            "question": rng.integers(0, 10000, (b, 15)).astype("int32"),
        },
        (1, 2),
    )


def wide_deep_hashed():
    """Strings hashed into buckets and crossed with a number for the wide part; embeddings and numbers for the deep one."""

    def build():
        city = keras.Input((1,), dtype="string", name="city")
        job = keras.Input((1,), dtype="string", name="job")
        hour = keras.Input((1,), dtype="int64", name="hour")
        numbers = keras.Input((6,), name="numbers")
        crossed = L.HashedCrossing(num_bins=64, output_mode="one_hot")((city, hour))
        wide = L.Concatenate()([crossed, L.CategoryEncoding(24, output_mode="one_hot")(hour)])
        ids = [L.Flatten()(L.Embedding(40, 8)(L.Hashing(num_bins=40)(s))) for s in (city, job)]
        deep = L.Concatenate()([*ids, numbers])
        for n in (64, 32):
            deep = L.Dense(n, activation="relu")(deep)
        score = L.Dense(1, activation="sigmoid")(L.Concatenate()([wide, deep]))
        return keras.Model([city, job, hour, numbers], {"score": score})

    def feeds(rng, b):
        words = lambda n: np.array([[f"w{rng.integers(n)}"] for _ in range(b)], dtype=object)
        return {
            "city": words(9),
            "job": words(30),
            "hour": rng.integers(0, 24, (b, 1)),
            "numbers": rng.standard_normal((b, 6)).astype("float32"),
        }

    return Case(build, feeds, (1, 5))


def dcgan_generator():
    def build():
        i = keras.Input((100,), name="noise")
        x = L.Reshape((4, 4, 128))(L.Dense(4 * 4 * 128, use_bias=False)(i))
        for n in (64, 32, 16):
            x = L.LeakyReLU(0.2)(L.BatchNormalization()(x))
            x = L.Conv2DTranspose(n, 5, strides=2, padding="same", use_bias=False)(x)
        x = L.Conv2DTranspose(3, 5, strides=2, padding="same", activation="tanh")(L.LeakyReLU(0.2)(x))
        return keras.Model(i, {"image": x})

    return Case(build, normal(noise=(100,)))


def unet():
    def build():
        def twice(x, n):
            for _ in range(2):
                x = L.ReLU()(L.BatchNormalization()(L.Conv2D(n, 3, padding="same", use_bias=False)(x)))
            return x

        x = i = keras.Input((None, None, 3), name="image")
        kept = []
        for n in (16, 32, 64):
            x = twice(x, n)
            kept.append(x)
            x = L.MaxPooling2D()(x)
        x = twice(x, 128)
        for n, skip in zip((64, 32, 16), reversed(kept)):
            x = L.Conv2DTranspose(n, 2, strides=2, padding="same")(x)
            x = twice(L.Concatenate()([x, skip]), n)
        return keras.Model(i, {"mask": L.Conv2D(1, 1, activation="sigmoid")(x)})

    return Case(build, normal(image=(64, 48, 3)))


CASES = {
    # One of each family of keras.applications.
    "xception": application(A.Xception, 96),
    "vgg16": application(A.VGG16, 32),
    "resnet50": application(A.ResNet50, 64),
    "resnet50v2": application(A.ResNet50V2, 64),
    "inceptionv3": application(A.InceptionV3, 96),
    "inceptionresnetv2": application(A.InceptionResNetV2, 96),
    "mobilenet": application(A.MobileNet, 64),
    "mobilenetv2": application(A.MobileNetV2, 64),
    "mobilenetv3small": application(A.MobileNetV3Small, 64),
    "densenet121": application(A.DenseNet121, 64),
    "nasnetmobile": application(A.NASNetMobile, 64),
    "efficientnetb0": application(A.EfficientNetB0, 64),
    "efficientnetv2b0": application(A.EfficientNetV2B0, 64),
    "convnexttiny": application(A.ConvNeXtTiny, 64),
    "lstm": recurrent(L.LSTM(64)),
    "gru": recurrent(L.GRU(64)),
    "bidirectional": recurrent(L.Bidirectional(L.LSTM(48))),
    "transformer_encoder": transformer_encoder(),
    "seq2seq_attention": seq2seq_attention(),
    "wavenet_stack": wavenet_stack(),
    "video_qa": video_qa(),
    "wide_deep_hashed": wide_deep_hashed(),
    "dcgan_generator": dcgan_generator(),
    "unet": unet(),
}


def export(name, case, folder):
    """Writes a model and TensorFlow's outputs of its exported graph, with random inputs."""
    keras.utils.set_random_seed(7)
    keras.backend.clear_session()
    rng = np.random.default_rng(1)
    model = case.build()
    perturb(model, rng)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    path = str(partial / "saved_model")
    model.export(path, verbose=False)
    signature = tf.saved_model.load(path).signatures["serving_default"]
    for b in case.batches:
        feeds = case.feeds(rng, b)
        outputs = {k: v.numpy() for k, v in signature(**{k: tf.constant(v) for k, v in feeds.items()}).items()}
        for k, v in outputs.items():
            assert np.isfinite(v).all() and (v.size == 1 or v.std() > 0), f"{name}: output {k} says nothing: {v.ravel()[:4]}"
        arrays = {f"in:{k}": v.astype("S") if v.dtype == object else v for k, v in feeds.items()}
        np.savez(partial / f"ref_b{b}.npz", **arrays, **{f"out:{k}": v for k, v in outputs.items()})
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


# TensorFlow's own convolutions, Eigen's and oneDNN's, differ by 9e-6 on the DenseNet: random weights amplify rounding.
TOLERANCE = "2e-5"


def verify(kiln, backend, folder):
    """`kiln verify` of every reference; the largest relative error, or what it said."""
    worst = 0.0
    for ref in sorted(folder.glob("ref_b*.npz")):
        command = [kiln, "verify", str(folder / "saved_model"), "--inputs", str(ref), "--backend", backend]
        command += ["--tol", TOLERANCE, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return None, f"{ref.name}: {(done.stderr or done.stdout).strip().splitlines()[-1]}"
        facts = json.loads(done.stdout)
        worst = max(worst, *(o["relative_error"] for o in facts["outputs"]))
    return worst, ""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dir", nargs="?", type=pathlib.Path)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--kiln", help="the binary to check")
    arguments.add_argument("--backends", default="llvm,cranelift", help="of that build, separated by commas")
    arguments.add_argument("--list", action="store_true")
    args = arguments.parse_intermixed_args()
    if args.list or not args.dir:
        print(" ".join(CASES))
        return 0 if args.list else 2
    unknown = set(args.names) - set(CASES)
    if unknown:
        arguments.error(f"no model is called {', '.join(sorted(unknown))}; --list names them")
    bad = 0
    for name in args.names or CASES:
        folder = args.dir / name
        if not any(folder.glob("ref_b*.npz")):
            export(name, CASES[name], folder)
        if not args.kiln:
            print(f"{name}: exported", flush=True)
            continue
        for backend in args.backends.split(","):
            error, problem = verify(args.kiln, backend, folder)
            bad += error is None
            print(f"{name:20s} {backend:10s} " + (problem if error is None else f"relative error {error:.1e}"), flush=True)
    if args.kiln:
        print(f"{bad} of {len(args.names or CASES) * len(args.backends.split(','))} checks failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
