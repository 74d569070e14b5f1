"""Larger networks, made on demand and never committed: `python applications.py OUTDIR [NAME...]`.

keras.applications with random weights, ten classes and small pictures, the four-block convnet of the chapter and its
VGG16 base with a head. Keras 3 writes `.keras`, Keras 2.15 writes `.h5`; goldens are as in `golden.py`, batch 1.

The arrays are those of the same model in float64, so that a comparison measures one engine's rounding and not two.
A gradient jumps where rounding moves a value across the kink of a ReLU or to another maximum; of thousands of such
values in a deep network some always are that near. `noise` in `io.json` is how far the float64 gradients move when the
input changes in the fifth digit, which moves deep layers about as much as float32 does.
"""

import json
import pathlib
import sys
import time

import numpy as np

from golden import KERAS, children, golden, images, is_model, keras, randomise, rng, run, write

A = keras.applications
L = keras.layers

# name: (function, side of the picture, range of its values)
UNIT, PIXELS = (-1, 1), (0, 255)
APPLICATIONS = {
    "vgg16": (A.VGG16, 64, UNIT),
    "resnet50": (A.ResNet50, 64, UNIT),
    "resnet50v2": (A.ResNet50V2, 64, UNIT),
    "mobilenet": (A.MobileNet, 64, UNIT),
    "mobilenetv2": (A.MobileNetV2, 96, UNIT),
    "efficientnetb0": (A.EfficientNetB0, 64, PIXELS),
    "efficientnetv2b0": (A.EfficientNetV2B0, 64, PIXELS),
    "densenet121": (A.DenseNet121, 64, UNIT),
    "inceptionv3": (A.InceptionV3, 75, UNIT),
    "xception": (A.Xception, 71, UNIT),
    "mobilenetv3small": (A.MobileNetV3Small, 64, PIXELS),
    "mobilenetv3large": (A.MobileNetV3Large, 96, PIXELS),
    "convnexttiny": (A.ConvNeXtTiny, 64, PIXELS),
    "nasnetmobile": (A.NASNetMobile, 64, UNIT),
    "inceptionresnetv2": (A.InceptionResNetV2, 75, UNIT),
}


def calibrate(model, x, r):
    """Sets each batch norm's moving statistics near those of `x`, so that no depth makes values vanish or explode."""

    def wrap(layer):
        if is_model(layer):
            for inner in children(layer):
                wrap(inner)
        elif isinstance(layer, L.BatchNormalization):
            original = layer.call

            def call(inputs, **kwargs):
                values = np.asarray(inputs).reshape(-1, inputs.shape[-1])
                mean, variance = values.mean(0), values.var(0)
                variance = variance + 0.1 * variance.mean() + 1e-3
                layer.moving_mean.assign(mean + 0.2 * variance**0.5 * r.normal(size=mean.shape))
                layer.moving_variance.assign(variance * r.uniform(0.7, 1.4, mean.shape))
                return original(inputs, **kwargs)

            object.__setattr__(layer, "call", call)
            restore.append((layer, original))

    restore = []
    for layer in children(model):
        wrap(layer)
    model(x, training=False)
    for layer, original in restore:
        object.__setattr__(layer, "call", original)


def convnet():
    """Listing 5.5 and on: 3,453,121 parameters; the first activation of a 150x150 picture is (1, 148, 148, 32)."""
    blocks = [L.InputLayer((150, 150, 3))]
    for i, channels in enumerate((32, 64, 128, 128), 1):
        blocks += [
            L.Conv2D(channels, (3, 3), activation="relu", name=f"conv2d_{i}"),
            L.MaxPooling2D((2, 2), name=f"max_pooling2d_{i}"),
        ]
    head = [L.Flatten(name="flatten_1"), L.Dense(512, activation="relu", name="dense_1")]
    head += [L.Dense(1, activation="sigmoid", name="dense_2")]
    return keras.Sequential(blocks + head, name="convnet")


def vgg16_head():
    """Listing 5.20: the convolutional base as the first layer of a Sequential; 16,812,353 parameters."""
    base = A.VGG16(weights=None, include_top=False, input_shape=(150, 150, 3))
    head = [L.Flatten(name="flatten_1"), L.Dense(256, activation="relu", name="dense_1")]
    head += [L.Dense(1, activation="sigmoid", name="dense_2")]
    return keras.Sequential([L.InputLayer((150, 150, 3)), base, *head], name="vgg16_head")


def application(name):
    function, side, _ = APPLICATIONS[name]
    return function(weights=None, input_shape=(side, side, 3), classes=10)


def in_float64(model):
    """The same model with float64 weights and arithmetic. Sets Keras's default type, which `make` sets back."""
    keras.backend.set_floatx("float64")
    custom = {c: getattr(A.convnext, c, None) for c in ("LayerScale", "StochasticDepth")}
    if KERAS == 2:
        from keras.src.applications import convnext, inception_resnet_v2

        custom = {c: getattr(convnext, c) for c in custom}
        custom["CustomScaleLayer"] = inception_resnet_v2.CustomScaleLayer
    twin = keras.models.model_from_json(model.to_json().replace("float32", "float64"), custom_objects=custom)
    twin.set_weights(model.get_weights())
    for layer in twin.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return twin


def gradients(model, x, name):
    arrays, _ = run(model, [x], rng(name))
    return {k: v.astype("float64") for k, v in arrays.items() if k.startswith("grad/")}


def noise(twin, x, name, runs=4):
    """Per gradient: its largest change when the input changes in the fifth digit, relative to its magnitude."""
    r = rng(name + "/noise")
    exact, worst = gradients(twin, x.astype("float64"), name), {}
    for _ in range(runs):
        for k, v in gradients(twin, x * (1 + 1e-5 * r.normal(size=x.shape)), name).items():
            worst[k] = max(worst.get(k, 0), float(np.abs(v - exact[k]).max() / np.abs(exact[k]).max()))
    return worst


def make(root, name):
    start = time.time()
    keras.backend.clear_session()
    if name in APPLICATIONS:
        model, (_, side, (low, high)) = application(name), APPLICATIONS[name]
    else:
        model, side, low, high = {"convnet": convnet, "vgg16_head": vgg16_head}[name](), 150, 0, 1
    r = rng(name)
    randomise(model, r)
    calibrate(model, images(name + "/calibrate", 8, side, side, 3, low=low, high=high), r)
    files = ("model.h5",) if KERAS == 2 else ("model.keras",)
    x = images(name, 1, side, side, 3, low=low, high=high)
    full = f"keras{KERAS}_{name}"
    golden(full, model, [x], files, root=root, random=False)
    twin = in_float64(model)
    arrays, _ = run(twin, [x.astype("float64")], rng(full))
    about = json.loads((root / full / "io.json").read_text())
    write(root / full, arrays, about | {"noise": noise(twin, x, full)})
    keras.backend.set_floatx("float32")
    sizes = [float(np.abs(v).max()) for k, v in arrays.items() if k.startswith("layer/")]
    print(f"  layers {len(sizes)}, largest {max(sizes):.3g}, smallest {min(sizes):.3g}, "
          f"output {arrays['output/0'].ravel()[:4]}, {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:] or ["convnet", "vgg16_head", *APPLICATIONS]:
        make(out, name)
