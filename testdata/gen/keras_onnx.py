"""Keras networks exported to ONNX by Keras 3 itself and by tf2onnx, and what Keras computes: `python keras_onnx.py [OUTDIR NAME...]`
(`requirements-keras3.txt`, with tf2onnx 1.17.0 and onnx 1.23.2).

Without arguments it makes the small goldens `golden/onnx_keras_*`. With a folder and names it makes networks of
`keras.applications` with random weights, which are never committed, for `BINESH_ONNX_GOLDEN`.

  keras.onnx                       `model.export(format="onnx")`
  tf2onnx.onnx, tf2onnx_nchw.onnx  tf2onnx; with `--inputs-as-nchw`
  io.npz                           input/0  output/0  seed  grad/input/0, all in Keras's layout
  io.json                          versions; `noise`: how far a change of the input's fifth digit moves the gradient
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from golden import ROOT, images, keras, randomise, rng, tf  # noqa: E402

import numpy as np
import onnx
import tf2onnx

from onnx_strip import strip

L = keras.layers


def mobile():
    """What MobileNet and EfficientNet are made of: `same` with strides, depthwise, relu6, squeeze and excitation, residuals."""
    x = L.Input((9, 10, 3), name="x")
    y = L.Rescaling(1 / 127.5, offset=-1, name="rescaling")(x)
    y = L.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="stem")(y)
    a = y = L.ReLU(6.0, name="relu6")(L.BatchNormalization(name="bn")(y))
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(y)
    y = L.Activation("swish", name="swish")(L.BatchNormalization(name="bn2")(y))
    s = L.Reshape((1, 1, 6), name="squeeze")(L.GlobalAveragePooling2D(name="gap")(y))
    s = L.Conv2D(6, 1, activation="sigmoid", name="expand")(L.Conv2D(2, 1, activation="swish", name="reduce")(s))
    y = L.Add(name="add")([a, L.Multiply(name="excite")([y, s])])
    y = L.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(y)
    y = L.DepthwiseConv2D(3, strides=2, name="down")(y)
    return keras.Model(x, L.Dense(4, activation="softmax", name="head")(L.GlobalAveragePooling2D(name="gap2")(y)), name="mobile")


def branches():
    """Pools of every padding, branches joined, a nested model, a flattened map."""
    x = L.Input((9, 8, 3), name="x")
    y = L.Conv2D(5, (3, 1), dilation_rate=(2, 1), padding="same", activation="relu", name="conv")(x)
    a = L.MaxPooling2D(3, strides=2, padding="same", name="max")(y)
    b = L.AveragePooling2D(3, strides=2, padding="same", name="average")(y)
    c = L.SeparableConv2D(4, 3, strides=2, padding="same", name="separable")(y)
    y = L.Concatenate(name="join")([a, b, c])
    z = L.Input((5, 4, 14), name="z")
    inner = keras.Model(z, L.LeakyReLU(negative_slope=0.1, name="leaky")(L.Conv2DTranspose(3, 3, strides=2, padding="same", name="grow")(z)), name="inner")
    y = L.UpSampling2D(2, interpolation="bilinear", name="up")(inner(y))
    y = L.Cropping2D(((1, 2), (0, 1)), name="crop")(y)
    return keras.Model(x, L.Dense(4, name="head")(L.Flatten(name="flatten")(y)), name="branches")


def norms():
    """ConvNeXt's block, and functions between layers. (For Keras's exact `gelu` and its grouped convolution tf2onnx 1.17 writes
    TensorFlow's own operators, which no runtime of ONNX has.)"""
    x = L.Input((8, 8, 3), name="x")
    y = L.LayerNormalization(epsilon=1e-6, name="ln")(L.Conv2D(6, 2, strides=2, name="patch")(x / 127.5 - 1))
    z = L.LayerNormalization(epsilon=1e-6, name="ln2")(L.DepthwiseConv2D(3, padding="same", name="depthwise")(y))
    z = L.Dense(6, name="down")(keras.ops.gelu(L.Dense(12, name="up")(z), approximate=True))
    y = L.Add(name="add")([y, z])
    y = L.PReLU(shared_axes=[1, 2], name="prelu")(L.GroupNormalization(2, name="gn")(y))
    y = L.Activation("hard_sigmoid", name="hard")(y) * L.Activation("tanh", name="tanh")(y)
    return keras.Model(x, L.Dense(3, name="head")(keras.ops.mean(y, axis=(1, 2))), name="norms")


SMALL = {"mobile": (mobile, (0, 255)), "branches": (branches, (-1, 1)), "norms": (norms, (0, 255))}
A = keras.applications
WHOLE = {
    "mobilenetv2": (A.MobileNetV2, 96, (-1, 1)),
    "resnet50": (A.ResNet50, 64, (-1, 1)),
    "efficientnetb0": (A.EfficientNetB0, 64, (0, 255)),
    "xception": (A.Xception, 71, (-1, 1)),
}


def make(folder, model, pixels):
    folder.mkdir(parents=True, exist_ok=True)
    shape = model.input_shape[1:]
    x = images(folder.name, 2, *shape, low=pixels[0], high=pixels[1])
    model(x)
    failed = {}

    def export(name, run):
        try:
            run(str(folder / f"{name}.onnx"))
            strip(folder / f"{name}.onnx")
        except Exception as e:
            failed[name] = f"{type(e).__name__}: {' '.join(str(e).split())[:200]}"

    function = tf.function(lambda x: model(x, training=False))
    given = [tf.TensorSpec((None, *shape), tf.float32, name="x")]
    export("keras", lambda path: model.export(path, format="onnx", verbose=False))
    export("tf2onnx", lambda path: tf2onnx.convert.from_function(function, given, opset=17, output_path=path))
    export("tf2onnx_nchw", lambda path: tf2onnx.convert.from_function(function, given, opset=17, inputs_as_nchw=["x"], output_path=path))

    seed = rng(folder.name + "/seed").normal(size=(1, *model.output_shape[1:])).astype("float32")
    seed = np.broadcast_to(seed, (2, *seed.shape[1:])).copy()

    def gradient(x):
        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x, training=False)
            loss = tf.reduce_sum(y * seed)
        return y.numpy(), tape.gradient(loss, x).numpy()

    y, grad = gradient(x)
    noise = 0.0
    for trial in range(3):
        change = np.random.default_rng(trial).uniform(-1e-5, 1e-5, x.shape).astype("float32")
        noise = max(noise, float(np.abs(gradient(x * (1 + change))[1] - grad).max() / np.abs(grad).max()))
    np.savez_compressed(folder / "io.npz", **{"input/0": x, "output/0": y, "seed": seed, "grad/input/0": grad})
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__, "onnx": onnx.__version__, "tf2onnx": tf2onnx.__version__}
    (folder / "io.json").write_text(json.dumps({"versions": versions, "noise": noise, "not exported": failed}, indent=1) + "\n")
    print(folder.name, f"noise {noise:.1e}", failed, flush=True)


def main():
    if len(sys.argv) == 1:
        for name, (build, pixels) in SMALL.items():
            model = build()
            randomise(model, rng(name))
            make(ROOT / f"onnx_keras_{name}", model, pixels)
        return
    for name in sys.argv[2:]:
        keras.backend.clear_session()
        build, side, pixels = WHOLE[name]
        model = build(weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None)
        make(pathlib.Path(sys.argv[1]) / f"keras_{name}", model, pixels)


main()
