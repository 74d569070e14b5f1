"""A file of TensorFlow 2.3 (Keras 2.4), whose arithmetic between layers is nodes of a TensorFlow graph.

    python3.6 -m venv VENV && VENV/bin/pip install -r requirements-tensorflow23.txt && VENV/bin/python tensorflow23.py

What the golden holds is said in `golden.py`.
"""

import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

L = tf.keras.layers
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "golden" / "keras240_graph_operations"


def build():
    i = tf.keras.Input((8, 6, 3), name="x")
    x = i / 127.5 - 1.0
    x = L.Conv2D(4, 3, name="conv", activation="relu")(x)
    hard_swish = x * (tf.nn.relu6(x + 3.0) * (1.0 / 6))
    w = hard_swish + (2.0 - x)
    outs = [
        w[:, 1:-1, ::2],
        w[:, 0],
        w[..., 1:2],
        tf.transpose(w, (0, 2, 1, 3)),
        tf.reshape(w, (-1, 8, 12)),
        tf.concat([w, x], axis=-1),
        tf.squeeze(tf.reduce_mean(w, axis=[1, 2], keepdims=True), axis=[1, 2]),
        tf.expand_dims(w, 1),
        tf.pad(w, [[0, 0], [1, 2], [0, 1], [0, 0]]),
        tf.reduce_sum(w, axis=1),
        tf.reduce_max(w, axis=3),
        tf.maximum(-w, 0.1),
        tf.minimum(w, x),
        tf.sqrt(tf.abs(w) + 0.5),
        tf.exp(-tf.square(w)),
        tf.nn.softmax(w),
        tf.nn.leaky_relu(w - 1.0, alpha=0.1),
        tf.nn.sigmoid(w) / (tf.nn.softplus(w) + 1.0),
        w ** 3.0,
    ]
    flat = [L.Flatten(name="flat_%d" % n)(o) for n, o in enumerate(outs)]
    return tf.keras.Model(i, L.Concatenate(name="join")(flat), name="graph_operations")


def main():
    model, r = build(), np.random.RandomState(7)
    for v in model.weights:
        v.assign(r.normal(0, 0.4, v.shape))
    x = r.uniform(0, 255, (2, 8, 6, 3)).astype("float32")
    layers = [l for l in model.layers if not l.name.startswith(("flat_", "join", "x"))]
    every = tf.keras.Model(model.inputs, [model.output] + [l.output for l in layers])
    kernel = model.get_layer("conv").kernel
    given = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(given)
        output, *values = every(given)
        seed = r.normal(size=output.shape).astype("float32")
        loss = tf.reduce_sum(output * seed)
    gradients = tape.gradient(loss, [given, kernel])
    arrays = {"input/0": x, "output/0": output, "seed": seed}
    arrays.update({"layer/" + l.name: v for l, v in zip(layers, values)})
    arrays.update({"grad/input/0": gradients[0], "grad/param/conv/kernel": gradients[1]})
    FOLDER.mkdir(parents=True, exist_ok=True)
    model.save(str(FOLDER / "model.h5"))
    np.savez_compressed(str(FOLDER / "io.npz"), **{k: np.asarray(v, "float32") for k, v in arrays.items()})
    about = {
        "keras": tf.keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "files": ["model.h5"],
        "parameters": model.count_params(),
        "layers": [{"path": l.name, "class": type(l).__name__, "shape": list(v.shape)} for l, v in zip(layers, values)],
        "notes": "",
    }
    (FOLDER / "io.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
