"""The thirteen small networks that Keras 3 loads seven and none of: `python keras215.py [OUTDIR]` (`requirements-keras2.txt`).

Each is compiled as Keras 2.15 does by default and saved as `.h5` and `.keras`, like the goldens of `golden.py`. Without a
folder it makes `golden/keras215_*`; the two networks of `keras.applications` are too large for that and small ones built
alike stand for them. With a folder it makes those two there, for `BINESH_GOLDENS`. The network with a `Lambda` is one that
Binesh refuses: its files are in `bad`. `check_keras215.py DIR...` says what Keras 3 makes of all of them.
"""

import pathlib
import sys

from golden import ROOT, golden, images, keras

L = keras.layers
BAD = ROOT.parent / "bad"
SIDE = 8
NETS, LARGE = {}, {}


def net(function):
    NETS[function.__name__] = function
    return function


def large(function):
    LARGE[function.__name__] = function
    return function


def chain(name, *layers, head=True):
    end = [L.Flatten(name="flatten"), L.Dense(3, activation="softmax", name="head")] if head else []
    return keras.Sequential([L.InputLayer((SIDE, SIDE, 3), name="x"), *layers, *end], name=name)


def graph(name, function):
    x = L.Input((SIDE, SIDE, 3), name="x")
    y = L.GlobalAveragePooling2D(name="gap")(function(x))
    return keras.Model(x, L.Dense(3, activation="softmax", name="head")(y), name=name)


@net
def sequential():
    return chain("sequential", L.Conv2D(4, 3, activation="relu", name="conv"), L.MaxPooling2D(2, name="pool"))


@net
def batch_norm():
    return chain("batch_norm", L.Conv2D(4, 3, use_bias=False, name="conv"), L.BatchNormalization(name="bn"), L.ReLU(name="relu"))


@net
def leaky_relu():
    return chain("leaky_relu", L.Conv2D(4, 3, name="conv"), L.LeakyReLU(0.2, name="leaky"))


@net
def augmented():
    augmentation = [L.RandomFlip("horizontal", name="flip"), L.RandomRotation(0.1, name="rotation"), L.RandomZoom(0.2, name="zoom")]
    return chain("augmented", *augmentation, L.Rescaling(1 / 127.5, offset=-1, name="rescaling"), L.Conv2D(4, 3, name="conv"))


@net
def up_sampling():
    return chain("up_sampling", L.ZeroPadding2D(1, name="pad"), L.Conv2D(3, 3, strides=2, name="conv"), L.UpSampling2D(2, name="up"))


@net
def shared_layer():
    conv = L.Conv2D(3, 3, padding="same", name="conv")
    return graph("shared_layer", lambda x: L.Add(name="add")([conv(x), conv(conv(x))]))


@net
def depthwise():
    return chain("depthwise", L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"), L.ReLU(6.0, name="relu6"))


@net
def transposed():
    return chain("transposed", L.Conv2DTranspose(4, 3, strides=2, padding="same", name="transposed"))


@net
def separable():
    return chain("separable", L.SeparableConv2D(4, 3, activation="relu", name="separable"))


@net
def graph_arithmetic():
    return graph("graph_arithmetic", lambda x: L.Conv2D(4, 3, name="conv")(x / 127.5 - 1))


def inverted_residual(x, name):
    y = L.Conv2D(6, 1, use_bias=False, padding="same", name=f"{name}_expand")(x)
    y = L.ReLU(6.0, name=f"{name}_expand_relu")(L.BatchNormalization(epsilon=1e-3, momentum=0.999, name=f"{name}_expand_BN")(y))
    y = L.DepthwiseConv2D(3, use_bias=False, padding="same", name=f"{name}_depthwise")(y)
    y = L.ReLU(6.0, name=f"{name}_depthwise_relu")(L.BatchNormalization(epsilon=1e-3, momentum=0.999, name=f"{name}_depthwise_BN")(y))
    y = L.Conv2D(x.shape[-1], 1, use_bias=False, padding="same", name=f"{name}_project")(y)
    y = L.BatchNormalization(epsilon=1e-3, momentum=0.999, name=f"{name}_project_BN")(y)
    return L.Add(name=f"{name}_add")([x, y])


@net
def mobilenet_in_sequential():
    x = L.Input((SIDE, SIDE, 3), name="base_input")
    base = keras.Model(x, inverted_residual(L.Conv2D(4, 3, strides=2, name="Conv1")(x), "block_1"), name="mobilenet_like")
    return keras.Sequential([base, L.GlobalAveragePooling2D(name="gap"), L.Dense(3, name="head")], name="mobilenet_in_sequential")


@net
def efficientnet_like():
    def body(x):
        x = L.Normalization(axis=-1, mean=[0.5, 0.4, 0.3], variance=[0.2, 0.3, 0.4], name="normalization")(L.Rescaling(1 / 255, name="rescaling")(x))
        x = L.Activation("swish", name="stem_activation")(L.BatchNormalization(axis=3, name="stem_bn")(L.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(x)))
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="block1a_dwconv")(x)
        y = L.Activation("swish", name="block1a_activation")(L.BatchNormalization(axis=3, name="block1a_bn")(y))
        s = L.Reshape((1, 1, 4), name="block1a_se_reshape")(L.GlobalAveragePooling2D(name="block1a_se_squeeze")(y))
        s = L.Conv2D(2, 1, activation="swish", name="block1a_se_reduce")(s)
        s = L.Conv2D(4, 1, activation="sigmoid", name="block1a_se_expand")(s)
        y = L.Multiply(name="block1a_se_excite")([y, s])
        return L.Dropout(0.2, noise_shape=(None, 1, 1, 1), name="block1a_drop")(L.Conv2D(4, 1, use_bias=False, name="block1a_project_conv")(y))

    return graph("efficientnet_like", body)


@net
def stored_code():
    return chain("stored_code", L.Lambda(lambda x: x / 127.5 - 1, name="scale"), L.Conv2D(4, 3, name="conv"))


@large
def mobilenetv2():
    base = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None)
    return keras.Sequential([base, L.GlobalAveragePooling2D(), L.Dense(3)], name="mobilenetv2_in_sequential")


@large
def efficientnetb0():
    return keras.applications.EfficientNetB0(input_shape=(32, 32, 3), weights=None, classes=3)


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
    for name, build in (LARGE if folder else NETS).items():
        keras.backend.clear_session()
        model = build()
        model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
        if name == "stored_code":
            for ending in ("h5", "keras"):
                model.save(BAD / f"lambda_215.{ending}")
            continue
        side = model.input_shape[1]
        pixels = {"low": 0, "high": 255} if name in ("augmented", "graph_arithmetic", "efficientnet_like", "efficientnetb0") else {}
        golden(f"keras215_{name}", model, [images(name, 2, side, side, 3, **pixels)], root=folder or ROOT)


main()
