"""The book's gradient ascent (listing 5.38, `generate_pattern`) on a small network, in Keras 3: `filters/book.npz`.

`start` is the first picture, `conv2/2` and `conv3/5` the pictures after 40 steps for those channels, each followed by
`.uint8`, what `deprocess_image` makes of it. All in float64: for channel 5 of conv3 Keras in
float32 ends 5e-3 of the largest value away from it, where a rectifier takes the other side; of nine other channels none does. The network is `filters/model.keras`; its kernels are also in `weights.npz`, for
`filters_lucid.py`.
"""

import json
import os
import platform

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import numpy as np
import tensorflow as tf

from golden import ROOT, randomise, rng

L = keras.layers
FOLDER = ROOT / "filters"
STEPS = 40
SILENT = 7


def network():
    x = L.Input((24, 24, 3), name="x")
    y = L.Conv2D(6, 3, activation="relu", name="conv1")(x)
    y = L.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(y)
    y = L.MaxPooling2D(2, name="pool")(y)
    y = L.Conv2D(10, 3, activation="relu6", name="conv3")(y)
    y = L.GlobalAveragePooling2D(name="mean")(y)
    y = L.Dense(4, activation="softmax", name="classes")(y)
    model = keras.Model(x, y, name="filters")
    randomise(model, rng("filters"))
    # Inputs are around 128; what follows should not be.
    kernel = model.get_layer("conv1").kernel
    kernel.assign(kernel / 100)
    # Silent for the start, and not for every picture: what redirected gradients are for.
    bias = model.get_layer("conv3").bias
    bias.assign(keras.ops.convert_to_tensor(np.where(np.arange(10) == SILENT, -3.8, bias.numpy())))
    return model


def deprocess_image(x):
    x = x - x.mean()
    x /= x.std() + 1e-5
    x *= 0.1
    x += 0.5
    x = np.clip(x, 0, 1)
    x *= 255
    return np.clip(x, 0, 255).astype("uint8")


def pattern(model, layer, channel, start):
    probe = keras.Model(model.inputs, model.get_layer(layer).output)
    x = tf.constant(start)
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_mean(probe(x, training=False)[:, :, :, channel])
        grads = tape.gradient(loss, x)
        grads /= tf.sqrt(tf.reduce_mean(tf.square(grads))) + 1e-5
        x += grads * 1.0
    return x.numpy()[0], float(loss)


def main():
    FOLDER.mkdir(exist_ok=True)
    model = network()
    model.save(FOLDER / "model.keras")
    for layer in ("conv2", "conv3"):
        probe = keras.Model(model.inputs, model.get_layer(layer).output)
        print(layer, probe(np.full((1, 24, 24, 3), 138, "float32")).numpy().mean((0, 1, 2)))
    start = (rng("filters start").random((1, 24, 24, 3)) * 20 + 128.0).astype("float32")
    arrays = {"start": start[0]}
    weights = [w.astype("float64") for w in model.get_weights()]
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
    exact = network()
    exact.set_weights(weights)
    for layer, channel in (("conv2", 2), ("conv3", 5)):
        picture, loss = pattern(exact, layer, channel, start.astype("float64"))
        arrays[f"{layer}/{channel}"] = picture.astype("float32")
        arrays[f"{layer}/{channel}.uint8"] = deprocess_image(picture.copy()).astype("float32")
        print(layer, channel, loss, np.abs(picture - start[0]).max())
    np.savez_compressed(FOLDER / "book.npz", **arrays)
    np.savez_compressed(FOLDER / "weights.npz", **{w.path: w.numpy() for w in model.weights})
    about = {"keras": keras.__version__, "tensorflow": tf.__version__, "numpy": np.__version__,
             "python": platform.python_version(), "notes": __doc__.strip()}
    (FOLDER / "io.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
