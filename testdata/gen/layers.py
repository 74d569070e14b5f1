"""One small model per family of layers, every variant a branch of it: `python layers.py [NAME...]`.

The branches are joined at the end, so that the gradients of a golden go through all of them.
"""

import sys

from golden import KERAS, golden, images, keras

L = keras.layers
PREFIX = f"keras{KERAS}_"
# The other forms of a file are the business of `topologies.py`.
FILES = ("model.h5",) if KERAS == 2 else ("model.keras",)
NETS = {}


def net(function):
    NETS[function.__name__] = function
    return function


def check(name, model, inputs, notes=""):
    golden(PREFIX + name, model, inputs, FILES, notes)


def fan(name, x, layers, join="flatten"):
    """A model that applies each layer to `x` and joins the results into one output."""
    outs = [layer(x) for layer in layers]
    if join == "flatten":
        outs = [o if len(o.shape) == 2 else L.Flatten(name=f"flat_{i}")(o) for i, o in enumerate(outs)]
    return keras.Model(x, L.Concatenate(name="join")(outs), name=name)


@net
def conv2d():
    x = L.Input((7, 9, 4), name="x")
    convs = [
        L.Conv2D(3, 3, name="valid"),
        L.Conv2D(3, (3, 2), padding="same", activation="relu", name="same_relu"),
        L.Conv2D(5, 3, strides=2, padding="same", name="same_stride2"),
        L.Conv2D(2, 3, strides=(2, 3), name="valid_stride23", activation="tanh"),
        L.Conv2D(3, 3, dilation_rate=2, padding="same", name="same_dilation2"),
        L.Conv2D(3, (3, 2), dilation_rate=(2, 3), name="valid_dilation23"),
        L.Conv2D(6, 3, groups=2, padding="same", name="groups2", activation="sigmoid"),
        L.Conv2D(3, 1, use_bias=False, name="pointwise_no_bias"),
        L.Conv2D(3, 5, strides=4, padding="same", name="same_k5_stride4"),
        L.Conv2D(3, 4, padding="same", name="same_even_kernel"),
        L.Conv2D(3, 1, strides=2, padding="same", name="same_k1_stride2"),
    ]
    check( "conv2d", fan("conv2d", x, convs), [images("conv2d", 2, 7, 9, 4)])


@net
def depthwise_conv2d():
    x = L.Input((7, 9, 3), name="x")
    convs = [
        L.DepthwiseConv2D(3, name="valid"),
        L.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu", name="same_mult2"),
        L.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name="same_stride2"),
        L.DepthwiseConv2D(3, strides=2, depth_multiplier=2, name="valid_stride2_mult2"),
        L.DepthwiseConv2D((5, 3), padding="same", name="same_5x3"),
        L.DepthwiseConv2D(3, padding="same", dilation_rate=2, name="same_dilation2"),
    ]
    check( "depthwise_conv2d", fan("depthwise", x, convs), [images("depthwise", 2, 7, 9, 3)])


@net
def separable_conv2d():
    x = L.Input((7, 9, 3), name="x")
    convs = [
        L.SeparableConv2D(4, 3, name="valid"),
        L.SeparableConv2D(4, 3, padding="same", depth_multiplier=2, activation="relu", name="same_mult2"),
        L.SeparableConv2D(2, 3, strides=2, padding="same", use_bias=False, name="same_stride2"),
        L.SeparableConv2D(2, 3, padding="same", dilation_rate=2, name="same_dilation2"),
    ]
    check( "separable_conv2d", fan("separable", x, convs), [images("separable", 2, 7, 9, 3)])


@net
def conv2d_transpose():
    x = L.Input((4, 5, 3), name="x")
    convs = [
        L.Conv2DTranspose(2, 3, name="valid"),
        L.Conv2DTranspose(2, 3, padding="same", name="same"),
        L.Conv2DTranspose(2, 3, strides=2, name="valid_stride2", activation="relu"),
        L.Conv2DTranspose(2, 3, strides=2, padding="same", name="same_stride2", use_bias=False),
        L.Conv2DTranspose(2, 2, strides=2, padding="same", name="same_k2_stride2"),
        L.Conv2DTranspose(2, 4, strides=2, padding="same", name="same_k4_stride2"),
        L.Conv2DTranspose(2, (3, 4), strides=(2, 3), padding="same", name="same_stride23"),
        L.Conv2DTranspose(2, 2, strides=3, padding="valid", name="valid_stride_over_kernel"),
        L.Conv2DTranspose(2, 3, strides=2, padding="same", output_padding=0, name="same_output_padding0"),
        L.Conv2DTranspose(2, 3, strides=2, padding="same", output_padding=1, name="same_output_padding1"),
        L.Conv2DTranspose(2, 3, strides=2, padding="valid", output_padding=1, name="valid_output_padding1"),
    ]
    check( "conv2d_transpose", fan("transpose", x, convs), [images("transpose", 2, 4, 5, 3)])


@net
def dense():
    x = L.Input((3, 4, 5), name="x")
    flat = L.Flatten(name="flatten")(x)
    on_4d = L.Dense(3, name="on_4d", activation="relu")(x)
    on_3d = L.Dense(2, name="on_3d", use_bias=False)(L.Reshape((6, 10), name="rows")(x))
    on_2d = L.Dense(4, name="on_2d", activation="softmax")(flat)
    outs = [L.Flatten(name="flat_4d")(on_4d), L.Flatten(name="flat_3d")(on_3d), on_2d]
    model = keras.Model(x, L.Concatenate(name="join")(outs), name="dense")
    check( "dense", model, [images("dense", 2, 3, 4, 5)])


@net
def normalization():
    x = L.Input((3, 5, 4), name="x")
    layers = [
        L.BatchNormalization(name="bn"),
        L.BatchNormalization(name="bn_no_scale", scale=False, epsilon=1e-5),
        L.BatchNormalization(name="bn_no_center", center=False),
        L.BatchNormalization(name="bn_neither", scale=False, center=False),
        L.BatchNormalization(name="bn_frozen", trainable=False),
        L.LayerNormalization(name="ln"),
        L.LayerNormalization(name="ln_no_scale", scale=False, epsilon=1e-6),
        L.LayerNormalization(name="ln_no_center", center=False),
        L.LayerNormalization(name="ln_hwc", axis=[1, 2, 3]),
    ]
    flat = L.BatchNormalization(name="bn_2d")(L.Flatten(name="flatten")(x))
    outs = [L.Flatten(name=f"flat_{i}")(layer(x)) for i, layer in enumerate(layers)] + [flat]
    model = keras.Model(x, L.Concatenate(name="join")(outs), name="normalization")
    check( "normalization", model, [images("normalization", 2, 3, 5, 4)])


@net
def pooling():
    x = L.Input((7, 9, 3), name="x")
    layers = []
    for kind, cls in (("max", L.MaxPooling2D), ("avg", L.AveragePooling2D)):
        layers += [
            cls(2, name=f"{kind}_default"),
            cls(3, strides=2, padding="same", name=f"{kind}_3s2_same"),
            cls(3, strides=2, name=f"{kind}_3s2_valid"),
            cls((2, 3), strides=1, padding="same", name=f"{kind}_23s1_same"),
            cls(2, strides=3, padding="same", name=f"{kind}_2s3_same"),
            cls(4, strides=(3, 2), name=f"{kind}_4s32_valid"),
        ]
    layers += [
        L.GlobalAveragePooling2D(name="gap"),
        L.GlobalAveragePooling2D(name="gap_keepdims", keepdims=True),
        L.GlobalMaxPooling2D(name="gmp"),
        L.GlobalMaxPooling2D(name="gmp_keepdims", keepdims=True),
    ]
    check( "pooling", fan("pooling", x, layers), [images("pooling", 2, 7, 9, 3)])


@net
def merging():
    a, b, c = (L.Input((3, 5, 4), name=n) for n in "abc")
    v = L.Input((1, 1, 4), name="v")
    layers = [
        L.Add(name="add")([a, b, c]),
        L.Subtract(name="subtract")([a, b]),
        L.Multiply(name="multiply")([a, b, c]),
        L.Average(name="average")([a, b, c]),
        L.Maximum(name="maximum")([a, b, c]),
        L.Minimum(name="minimum")([a, b, c]),
        L.Multiply(name="multiply_broadcast")([a, v]),
        L.Add(name="add_broadcast")([v, b]),
        L.Concatenate(name="concat_default")([a, b]),
        L.Concatenate(axis=1, name="concat_rows")([a, b, c]),
        L.Concatenate(axis=2, name="concat_columns")([a, b]),
        L.Concatenate(axis=3, name="concat_channels")([b, a]),
        L.Concatenate(axis=-2, name="concat_minus2")([c, a]),
    ]
    outs = [L.Flatten(name=f"flat_{i}")(o) for i, o in enumerate(layers)]
    model = keras.Model([a, b, c, v], L.Concatenate(name="join")(outs), name="merging")
    xs = [images("merging" + n, 2, 3, 5, 4) for n in "abc"] + [images("mergingv", 2, 1, 1, 4)]
    check( "merging", model, xs)


@net
def merging_ranks():
    """Inputs of lower rank get axes after the batch, not before it."""
    a, v = L.Input((3, 5, 4), name="a"), L.Input((4,), name="v")
    s = L.Reshape((1, 1, 4), name="s")(v)
    layers = [
        L.Multiply(name="multiply")([a, v]),
        L.Multiply(name="multiply_small")([s, v]),
        L.Add(name="add")([v, a]),
        L.Subtract(name="subtract")([v, a]),
        L.Average(name="average")([a, v]),
        L.Maximum(name="maximum")([a, v]),
        L.Minimum(name="minimum")([v, a]),
    ]
    outs = [L.Flatten(name=f"flat_{i}")(o) for i, o in enumerate(layers)]
    model = keras.Model([a, v], L.Concatenate(name="join")(outs), name="merging_ranks")
    check("merging_ranks", model, [images("merging_ranks", 2, 3, 5, 4), images("merging_ranks_v", 2, 4)])


@net
def shaping():
    x = L.Input((4, 6, 3), name="x")
    layers = [
        L.Flatten(name="flatten"),
        L.Reshape((6, 4, 3), name="reshape"),
        L.Reshape((-1, 9), name="reshape_minus1"),
        L.Reshape((2, -1, 6), name="reshape_middle"),
        L.Permute((2, 1, 3), name="permute_hw"),
        L.Permute((3, 1, 2), name="permute_chw"),
        L.ZeroPadding2D(name="pad_default"),
        L.ZeroPadding2D((1, 2), name="pad_1_2"),
        L.ZeroPadding2D(((0, 1), (2, 0)), name="pad_asymmetric"),
        L.Cropping2D(1, name="crop_1"),
        L.Cropping2D(((1, 0), (2, 1)), name="crop_asymmetric"),
        L.UpSampling2D(name="up_nearest"),
        L.UpSampling2D((3, 2), interpolation="nearest", name="up_nearest_32"),
        L.UpSampling2D(2, interpolation="bilinear", name="up_bilinear"),
        L.UpSampling2D((2, 3), interpolation="bilinear", name="up_bilinear_23"),
    ]
    check( "shaping", fan("shaping", x, layers), [images("shaping", 2, 4, 6, 3)])


@net
def preprocessing():
    x = L.Input((6, 8, 3), name="x")
    layers = [
        L.Rescaling(1 / 127.5, offset=-1, name="rescaling"),
        L.Rescaling([0.1, 0.2, 0.3], offset=[1.0, 2.0, -3.0], name="rescaling_channels"),
        L.Rescaling(1 / 255, name="rescaling_no_offset"),
        L.Normalization(name="normalization", axis=-1),
        L.Normalization(mean=[10.0, 20.0, 30.0], variance=[4.0, 9.0, 16.0], name="normalization_given"),
        L.Normalization(mean=100.0, variance=50.0, axis=None, name="normalization_scalar"),
        L.CenterCrop(3, 4, name="center_crop"),
        L.Resizing(3, 5, name="resizing"),
        L.Resizing(9, 11, interpolation="nearest", name="resizing_nearest"),
    ]
    model = fan("preprocessing", x, layers)
    check( "preprocessing", model, [images("preprocessing", 2, 6, 8, 3, low=0, high=255)])


@net
def identity_when_inferring():
    x = L.Input((6, 8, 3), name="x")
    y = x
    for layer in (
        L.RandomFlip("horizontal", name="random_flip"),
        L.RandomRotation(0.1, name="random_rotation"),
        L.RandomZoom(0.2, name="random_zoom"),
        L.RandomTranslation(0.1, 0.1, name="random_translation"),
        L.RandomContrast(0.2, name="random_contrast"),
        L.RandomBrightness(0.2, name="random_brightness"),
        L.Conv2D(4, 3, name="conv"),
        L.Dropout(0.5, name="dropout"),
        L.SpatialDropout2D(0.3, name="spatial_dropout"),
        L.GaussianNoise(0.1, name="gaussian_noise"),
        L.GaussianDropout(0.1, name="gaussian_dropout"),
        L.AlphaDropout(0.1, name="alpha_dropout"),
        L.ActivityRegularization(l2=0.01, name="activity_regularization"),
        L.Activation("linear", name="linear"),
    ):
        y = layer(y)
    model = keras.Model(x, y, name="identity")
    check(
        "identity_when_inferring",
        model,
        [images("identity", 2, 6, 8, 3, low=0, high=255)],
        notes="Keras 3 keeps the state of a random number generator (not float) in some of these layers",
    )


STRINGS = (
    "relu relu6 elu selu gelu silu swish hard_sigmoid hard_silu hard_swish sigmoid tanh softplus softsign exponential "
    "linear mish softmax leaky_relu log_softmax"
).split()


def has_activation(name):
    try:
        keras.activations.get(name)
        return True
    except ValueError:
        return False


@net
def activations():
    x = L.Input((3, 5, 4), name="x")
    layers = [L.Activation(s, name=f"act_{s}") for s in STRINGS if has_activation(s)]
    layers += [L.Dense(3, activation=s, name=f"dense_{s}") for s in ("gelu", "hard_sigmoid", "softmax")]
    model = fan("activations", x, layers, join="channels")
    check( "activations", model, [3 * images("activations", 2, 3, 5, 4)])


@net
def activation_layers():
    x = L.Input((3, 5, 4), name="x")
    slope = "negative_slope" if KERAS == 3 else "alpha"
    layers = [
        L.ReLU(name="relu"),
        L.ReLU(max_value=2.5, name="relu_max"),
        L.ReLU(negative_slope=0.2, name="relu_slope"),
        L.ReLU(threshold=0.7, name="relu_threshold"),
        L.ReLU(max_value=3.0, negative_slope=0.1, threshold=0.5, name="relu_all"),
        L.LeakyReLU(name="leaky_default"),
        L.LeakyReLU(**{slope: 0.1}, name="leaky_01"),
        L.PReLU(name="prelu"),
        L.PReLU(shared_axes=[1, 2], name="prelu_shared"),
        L.PReLU(shared_axes=[1], name="prelu_shared_rows"),
        L.ELU(name="elu"),
        L.ELU(alpha=0.5, name="elu_half"),
        L.Softmax(name="softmax"),
        L.Softmax(axis=1, name="softmax_rows"),
    ]
    if KERAS == 2:
        layers.append(L.ThresholdedReLU(theta=0.8, name="thresholded_relu"))
    model = fan("activation_layers", x, layers, join="channels")
    check( "activation_layers", model, [3 * images("activation_layers", 2, 3, 5, 4)])


if __name__ == "__main__":
    for name in sys.argv[1:] or NETS:
        keras.backend.clear_session()
        NETS[name]()
