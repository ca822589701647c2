"""Networks in Keras 3, exported by `model.export` with a free batch: one small one of each family that
keras.applications and common practice use, with tiny widths.

Weights keep Keras's seeded initial values except biases and normalisation, which are drawn here: a
fresh network's zeros and ones would hide a forgotten bias or a mean and variance that changed places.
"""
import keras
import tensorflow as tf

from .common import eighths, shape_list, tidy_saved_model

L = keras.layers


def perturb(model, rng):
    for v in model.variables:
        if v.name in ("moving_mean", "beta", "bias"):
            v.assign(rng.standard_normal(v.shape) * 0.2)
        elif v.name in ("moving_variance", "gamma"):
            v.assign(rng.uniform(0.5, 1.5, v.shape))
        elif v.name == "embeddings":
            v.assign(rng.standard_normal(v.shape))


def exported(build, feeds, batches=(1, 3), keep_shapes=False, **extra):
    """A builder for `build() -> keras.Model`; `feeds(rng, batch)` makes the inputs of one case."""

    def write(folder, rng):
        model = build()
        perturb(model, rng)
        path = str(folder / "saved_model")
        model.export(path, verbose=False)
        tidy_saved_model(path, keep_restore=False, keep_shapes=keep_shapes)
        signature = tf.saved_model.load(path).signatures["serving_default"]
        describe = lambda specs: {k: {"dtype": s.dtype.name, "shape": shape_list(s.shape)} for k, s in specs.items()}
        return {
            "model": "saved_model",
            "signature": "serving_default",
            "tags": ["serve"],
            "inputs": describe(signature.structured_input_signature[1]),
            "outputs": describe(signature.structured_outputs),
            "cases": {f"b{b}": feeds(rng, b) for b in batches},
            **extra,
        }

    return write


def image(rng, batch):
    return {"image": eighths(rng, (batch, 32, 32, 3))}


def classifier(body):
    """body(x) -> features [batch, n]; adds the head and names the output."""

    def build():
        i = keras.Input((32, 32, 3), name="image")
        probs = L.Dense(10, activation="softmax", name="head")(body(i))
        return keras.Model(i, {"probs": probs})

    return build


def conv_bn(x, filters, size, strides=1, act="relu", **k):
    x = L.BatchNormalization()(L.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, **k)(x))
    return L.Activation(act)(x) if act else x


def resnet(x):
    """Padded stem, one identity block, one projecting bottleneck block with stride 2."""
    x = L.ZeroPadding2D(3)(x)
    x = L.BatchNormalization(epsilon=1.001e-5)(L.Conv2D(8, 7, strides=2)(x))
    x = L.MaxPooling2D(3, strides=2)(L.ZeroPadding2D(1)(L.ReLU()(x)))
    y = conv_bn(conv_bn(x, 8, 3), 8, 3, act=None)
    x = L.ReLU()(L.Add()([x, y]))
    y = conv_bn(conv_bn(conv_bn(x, 4, 1), 4, 3, strides=2), 16, 1, act=None)
    x = L.ReLU()(L.Add()([conv_bn(x, 16, 1, strides=2, act=None), y]))
    return L.GlobalAveragePooling2D()(x)


def mobilenet(x):
    """Inverted residuals: asymmetric padding before stride 2, depthwise, relu6, linear bottleneck."""
    relu6 = lambda: L.ReLU(6.0)
    x = relu6()(conv_bn(x, 8, 3, strides=2, act=None))
    for filters, strides in ((8, 1), (12, 2)):
        y = relu6()(conv_bn(x, 24, 1, act=None)) if strides == 2 else x
        if strides == 2:
            y = L.ZeroPadding2D(((0, 1), (0, 1)))(y)
        y = L.DepthwiseConv2D(3, strides=strides, padding="same" if strides == 1 else "valid", use_bias=False)(y)
        y = conv_bn(relu6()(L.BatchNormalization()(y)), filters, 1, act=None)
        x = L.Add()([x, y]) if x.shape[-1] == filters and strides == 1 else y
    return L.GlobalAveragePooling2D()(relu6()(conv_bn(x, 32, 1, act=None)))


def inception(x):
    """Concatenated branches with 1x1, 5x5, 1x7 + 7x1 and average pooling whose SAME border is not counted."""
    x = conv_bn(x, 8, 3, strides=2, data_format="channels_last")
    a = conv_bn(x, 4, 1)
    b = conv_bn(conv_bn(x, 4, 1), 6, 5)
    c = conv_bn(conv_bn(x, 4, (1, 7)), 6, (7, 1))
    d = conv_bn(L.AveragePooling2D(3, strides=1, padding="same")(x), 4, 1)
    x = L.Concatenate()([a, b, c, d])
    x = L.Concatenate()([L.Conv2D(8, 3, strides=2, activation="relu")(x), L.MaxPooling2D(3, strides=2)(x)])
    return L.GlobalMaxPooling2D()(x)


def efficientnet(x):
    """Rescaling and input normalisation, swish, squeeze-and-excite with its broadcast product."""
    x = L.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 0.6, 0.7])(L.Rescaling(0.5, offset=0.25)(x))
    x = conv_bn(x, 8, 3, strides=2, act="swish")
    y = conv_bn(x, 16, 1, act="swish")
    y = L.BatchNormalization()(L.DepthwiseConv2D(5, padding="same", use_bias=False)(y))
    y = L.Activation("swish")(y)
    s = L.Reshape((1, 1, 16))(L.GlobalAveragePooling2D()(y))
    s = L.Conv2D(16, 1, activation="sigmoid")(L.Conv2D(2, 1, activation="swish")(s))
    y = conv_bn(L.multiply([y, s]), 8, 1, act=None)
    x = L.Add()([L.Dropout(0.2, noise_shape=(None, 1, 1, 1))(y), x])
    return L.Dropout(0.2)(L.GlobalAveragePooling2D()(x))


def densenet(x):
    """Pre-activation blocks whose outputs are appended again and again; halving transitions."""
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    for block in range(2):
        for _ in range(2):
            y = L.ReLU()(L.BatchNormalization()(x))
            y = L.ReLU()(L.Conv2D(8, 1)(y))
            x = L.Concatenate()([x, L.Conv2D(4, 3, padding="same", use_bias=False)(y)])
        if block == 0:
            x = L.ReLU()(L.BatchNormalization()(x))
            x = L.AveragePooling2D(2, strides=2)(L.Conv2D(10, 1, use_bias=False)(x))
    return L.GlobalAveragePooling2D()(L.ReLU()(L.BatchNormalization()(x)))


class Scale(L.Layer):
    """ConvNeXt's layer scale: one factor a channel."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")

    def call(self, x):
        return x * self.gamma


def convnext(x):
    """Patchify stem, depthwise 7x7, layer norm over channels, gelu by Erfc, layer scale."""
    x = L.LayerNormalization(epsilon=1e-6)(L.Conv2D(12, 4, strides=4)(x))
    for _ in range(2):
        y = L.DepthwiseConv2D(7, padding="same")(x)
        y = L.Dense(24)(L.LayerNormalization(epsilon=1e-6)(y))
        y = Scale()(L.Dense(12)(L.Activation(lambda t: keras.activations.gelu(t, approximate=False))(y)))
        x = L.Add()([x, y])
    return L.LayerNormalization(epsilon=1e-6)(L.GlobalAveragePooling2D()(x))


def mlp():
    i = keras.Input((20,), name="x")
    x = L.Dense(24, activation="relu")(i)
    x = L.Dense(24, activation="tanh")(x)
    return keras.Model(i, {"probs": L.Dense(5, activation="softmax")(x), "hidden": x})


def transformer():
    """One pre-norm encoder block with learned positions, and a pooled head."""
    i = keras.Input((6, 16), name="tokens")
    x = L.LayerNormalization()(i)
    x = L.Add()([i, L.MultiHeadAttention(4, 4)(x, x)])
    y = L.Dense(32, activation=lambda t: keras.activations.gelu(t, approximate=True))(L.LayerNormalization()(x))
    x = L.Add()([x, L.Dense(16)(y)])
    return keras.Model(i, {"encoded": x, "score": L.Dense(1, activation="sigmoid")(L.GlobalAveragePooling1D()(x))})


def masked_attention():
    """Embedded ids with id 0 as padding: the mask goes through attention and pooling. Sequence length free."""
    i = keras.Input((None,), dtype="int32", name="ids")
    e = L.Embedding(11, 12, mask_zero=True)
    x = e(i)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(3, 4)(x, x, attention_mask=keras.ops.expand_dims(e.compute_mask(i), 1)))
    return keras.Model(i, {"pooled": L.GlobalAveragePooling1D()(x, mask=e.compute_mask(i))})


def wide_deep():
    wide, numeric = keras.Input((12,), name="wide"), keras.Input((5,), name="numeric")
    ids = keras.Input((4,), dtype="int32", name="ids")
    x = L.Concatenate()([L.Flatten()(L.Embedding(50, 6)(ids)), numeric])
    x = L.Dense(8, activation="relu")(L.Dense(16, activation="relu")(x))
    return keras.Model([wide, ids, numeric], {"score": L.Dense(1, activation="sigmoid")(L.Concatenate()([x, wide]))})


def lstm():
    i = keras.Input((8,), dtype="int32", name="ids")
    x = L.LSTM(8)(L.Embedding(20, 6)(i))
    return keras.Model(i, {"probs": L.Dense(5, activation="softmax")(x)})


def ids(rng, *shape, top):
    return rng.integers(0, top, shape).astype("int32")


def padded_ids(rng, batch, length):
    x = rng.integers(1, 11, (batch, length)).astype("int32")
    x[:, length - 2 :] = 0
    return x


MODELS = {
    "mini_resnet": exported(classifier(resnet), image),
    "mini_mobilenet": exported(classifier(mobilenet), image),
    "mini_inception": exported(classifier(inception), image),
    "mini_efficientnet": exported(classifier(efficientnet), image),
    "mini_densenet": exported(classifier(densenet), image),
    "mini_convnext": exported(classifier(convnext), image),
    "mlp": exported(mlp, lambda r, b: {"x": eighths(r, (b, 20))}, (1, 3, 16), keep_shapes=True),
    "transformer": exported(transformer, lambda r, b: {"tokens": eighths(r, (b, 6, 16))}, (1, 3), keep_shapes=True),
    "masked_attention": exported(masked_attention, lambda r, b: {"ids": padded_ids(r, b, 4 + b)}, (1, 3)),
    "wide_deep": exported(
        wide_deep,
        lambda r, b: {"wide": eighths(r, (b, 12)), "numeric": eighths(r, (b, 5)), "ids": ids(r, b, 4, top=50)},
        (1, 3, 16),
    ),
    "lstm": exported(lstm, lambda r, b: {"ids": ids(r, b, 8, top=20)}, needs=["control-flow"],
                     notes="While over a tensor list, as keras.layers.LSTM exports it on CPU"),
}
