"""What Keras computes in a step of training: `python training.py` writes `golden/keras3_training`.

A small network with two batch norms that use their batch's statistics and a dropout whose mask is given, so that both
sides drop the same. `training.npz` holds input/0, seed, mask, output, layer/<batch norm>, grad/input/0,
grad/param/<path>, and moving/<path>: the moving statistics after one forward pass.
"""

import json

from golden import ROOT, keras, np, randomise, rng, tf, versions, weight_name

L = keras.layers
NAME = "keras3_training"
RATE = 0.4


def main():
    x = L.Input((7, 6, 3), name="photo")
    y = L.Conv2D(5, 3, padding="same", use_bias=False, name="conv")(x)
    y = L.BatchNormalization(momentum=0.9, epsilon=1e-3, name="norm")(y)
    y = L.ReLU(name="relu")(y)
    y = L.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name="depthwise")(y)
    y = L.BatchNormalization(momentum=0.75, epsilon=1e-5, scale=False, name="norm_without_scale")(y)
    y = L.ReLU(6.0, name="relu6")(y)
    y = L.GlobalAveragePooling2D(name="pool")(y)
    y = L.Dropout(RATE, name="dropout")(y)
    model = keras.Model(x, L.Dense(4, name="scores")(y), name=NAME)

    r = rng(NAME)
    randomise(model, r)
    folder = ROOT / NAME
    folder.mkdir(parents=True, exist_ok=True)
    model.save(str(folder / "model.keras"))

    photo = tf.constant(r.normal(0, 1, (4, 7, 6, 3)).astype("float32"))
    mask = (r.random((4, 5)) >= RATE).astype("float32") / (1 - RATE)
    seed = r.normal(size=(4, 4)).astype("float32")
    arrays = {"input/0": photo, "mask": mask, "seed": seed}
    with tf.GradientTape() as tape:
        tape.watch(photo)
        y = photo
        for layer in model.layers[1:]:
            if isinstance(layer, L.Dropout):
                y = y * mask
            else:
                y = layer(y, training=True)
            if layer.name.startswith("norm"):
                arrays[f"layer/{layer.name}"] = y
        loss = tf.reduce_sum(y * seed)
    arrays["output"] = y
    weights = [(f"{layer.name}/{weight_name(v)}", v) for layer in model.layers for v in layer.trainable_weights]
    grads = tape.gradient(loss, [photo] + [v.value for _, v in weights])
    arrays["grad/input/0"] = grads[0]
    arrays |= {f"grad/param/{path}": g for (path, _), g in zip(weights, grads[1:])}
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            arrays[f"moving/{layer.name}/moving_mean"] = layer.moving_mean
            arrays[f"moving/{layer.name}/moving_variance"] = layer.moving_variance
    arrays = {k: np.asarray(v).astype("float32") for k, v in arrays.items()}
    np.savez_compressed(folder / "training.npz", **arrays)
    (folder / "io.json").write_text(json.dumps({"name": NAME, "versions": versions()}, indent=1) + "\n")
    for k, v in arrays.items():
        print(k, v.shape, float(np.abs(v).max()))


main()
