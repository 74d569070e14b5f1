"""Shared by every script here: random weights, and the record of what real Keras computes.

Works under Keras 2.15 and Keras 3 alike (TensorFlow backend). A golden is a folder:

  model.h5, model.keras, model.weights.h5, legacy_weights.h5, model.json   whichever of them the case is about
  io.npz    input/<i>  output/<i>  layer/<path>  seed  grad/input/<i>  grad/param/<path>/<weight>
  io.json   versions, layers with class and shape, outputs, notes

`layer/<path>` is the output of one call of one layer. A layer inside a nested model has the path `outer/inner`; the
second call of a shared layer is `name#1`, and inside a model that is called twice `outer#1/inner`. Gradients are
those of sum(output/0 * seed).
"""

import json
import os
import pathlib
import platform
import re
import zlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf

KERAS = 3 if keras.__version__.startswith("3") else 2
ROOT = pathlib.Path(__file__).resolve().parent.parent / "golden"

# Layers that only join the branches of a test model: their values would be kept twice.
JOINTS = ("flat_", "join")


def rng(name):
    """A generator that depends on the name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def weight_name(variable):
    return re.sub(r":\d+$", "", variable.name).split("/")[-1]


def random_value(r, layer, variable):
    """A value that leaves nothing trivially 0 or 1 and keeps activations near unit size."""
    name, shape = weight_name(variable), tuple(variable.shape)
    if name.endswith("kernel"):
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) or "depthwise" in name
        fan_in = int(np.prod(shape[:2] if depthwise else shape[:-1]))
        return r.normal(0, (1.6 / fan_in) ** 0.5, shape)
    if name in ("variance", "moving_variance"):
        return r.uniform(0.5, 2.0, shape)
    if name == "gamma":
        return r.uniform(0.6, 1.4, shape)
    if name == "alpha":
        return r.uniform(0.05, 0.5, shape)
    return r.normal(0, 0.2, shape)


def randomise(model, r):
    """New values for all weights, layer by layer; the states of random number generators stay."""
    done = set()
    for layer in model._flatten_layers():
        for variable in [] if is_model(layer) else layer.weights:
            if "float" in str(variable.dtype) and id(variable) not in done:
                done.add(id(variable))
                variable.assign(random_value(r, layer, variable).astype("float32"))
        # `Normalization` computes with copies of its weights, which loading a file renews.
        getattr(layer, "finalize_state", lambda: None)()


def is_model(layer):
    return isinstance(layer, keras.Model)


def children(model):
    """The layers (and Keras 3 operations) that a model calls, inputs left out."""
    inner = getattr(model, "_functional", None) or model
    found = list(getattr(inner, "_operations", None) or inner.layers)
    return [x for x in found if not isinstance(x, keras.layers.InputLayer)]


class Recorder:
    """Wraps `call` of every layer of a model, so that one eager run leaves every output, in order."""

    def __init__(self, model):
        self.values, self.classes, self.stack = {}, {}, [{"prefix": "", "calls": {}}]
        self._wrapped = set()
        for layer in children(model):
            self._wrap(layer)

    def _wrap(self, layer):
        if id(layer) in self._wrapped:
            return
        self._wrapped.add(id(layer))
        if is_model(layer):
            for inner in children(layer):
                self._wrap(inner)
        original = layer.call

        def call(*args, **kwargs):
            frame = self.stack[-1]
            n = frame["calls"].get(layer.name, 0)
            frame["calls"][layer.name] = n + 1
            path = frame["prefix"] + layer.name + (f"#{n}" if n else "")
            self.stack.append({"prefix": path + "/", "calls": {}})
            out = original(*args, **kwargs)
            self.stack.pop()
            self.classes[path] = type(layer).__name__
            many = isinstance(out, (list, tuple))
            for i, value in enumerate(out if many else [out]):
                self.values[f"{path}:{i}" if many else path] = value
            return out

        object.__setattr__(layer, "call", call)


def as_list(x):
    return list(x.values()) if isinstance(x, dict) else list(x) if isinstance(x, (list, tuple)) else [x]


def first_kernel(model):
    """The first kernel of the model as (path of its layer, weight name, variable)."""

    def walk(m, prefix):
        for layer in children(m):
            if is_model(layer):
                yield from walk(layer, prefix + layer.name + "/")
                continue
            for v in getattr(layer, "trainable_weights", []):
                if weight_name(v).endswith("kernel"):
                    yield prefix + layer.name, weight_name(v), v

    return next(walk(model, ""), None)


def run(model, inputs, seed_rng):
    """Every layer's output and the gradients: (arrays for io.npz, layers for io.json)."""
    recorder = Recorder(model)
    xs = [tf.constant(x) for x in inputs]
    kernel = first_kernel(model)
    with tf.GradientTape() as tape:
        for x in xs:
            tape.watch(x)
        outputs = as_list(model(xs if len(xs) > 1 else xs[0], training=False))
        seed = seed_rng.normal(size=outputs[0].shape).astype("float32")
        loss = tf.reduce_sum(tf.cast(outputs[0], "float32") * seed)
    variable = [] if kernel is None else [kernel[2] if KERAS == 2 else kernel[2].value]
    grads = tape.gradient(loss, xs + variable)
    arrays = {f"input/{i}": x for i, x in enumerate(inputs)}
    arrays |= {f"layer/{path}": v for path, v in recorder.values.items() if not path.startswith(JOINTS)}
    arrays |= {f"output/{i}": v for i, v in enumerate(outputs)}
    arrays["seed"] = seed
    for i, x in enumerate(xs):
        if grads[i] is not None:
            arrays[f"grad/input/{i}"] = grads[i]
    if kernel is not None and grads[len(xs)] is not None:
        arrays[f"grad/param/{kernel[0]}/{kernel[1]}"] = grads[len(xs)]
    arrays = {k: np.asarray(v).astype("float32") for k, v in arrays.items()}
    for k, v in arrays.items():
        assert np.isfinite(v).all(), f"{k} is not finite"
    layers = [
        {"path": p, "class": recorder.classes.get(p.split(":")[0]), "shape": list(v.shape)}
        for p, v in ((k[6:], a) for k, a in arrays.items() if k.startswith("layer/"))
    ]
    return arrays, layers


def versions():
    return {
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "backend": "tensorflow",
    }


def write(folder, arrays, about):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "io.npz", **arrays)
    (folder / "io.json").write_text(json.dumps(about, indent=1) + "\n")


def save_files(model, folder, files):
    for file in files:
        path = str(folder / file)
        if file in ("model.h5", "model.keras"):
            model.save(path)
        elif file == "model.json":
            (folder / file).write_text(model.to_json())
        else:  # model.weights.h5 is the layout of the day, legacy_weights.h5 that of Keras 2
            model.save_weights(path)


def golden(name, model, inputs, files=("model.h5", "model.keras"), notes="", root=ROOT, random=True):
    """Randomises `model`, saves it in each form, runs it and writes the golden `root/name`."""
    r = rng(name)
    if random:
        randomise(model, r)
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    save_files(model, folder, files)
    arrays, layers = run(model, inputs, r)
    about = versions() | {
        "files": list(files),
        "parameters": int(model.count_params()),
        "inputs": [{"name": input_name(t), "shape": list(x.shape)} for t, x in zip(model.inputs, inputs)],
        "outputs": [list(arrays[f"output/{i}"].shape) for i in range(len(model.outputs))],
        "layers": layers,
        "notes": notes,
    }
    write(folder, arrays, about)
    print(f"{name}: {sum(f.stat().st_size for f in folder.iterdir()) / 1024:.0f} KB")
    return arrays


def input_name(tensor):
    return tensor.name.split(":")[0]


def images(name, *shape, low=None, high=None):
    """A random batch: normal by default, uniform (as pixels are) between `low` and `high`."""
    r = rng(name + "/input")
    x = r.normal(size=shape) if low is None else r.uniform(low, high, shape)
    return x.astype("float32")
