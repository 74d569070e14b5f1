"""Grad-CAM of a small VGG-like net, in both modes: the golden `keras3_grad_cam` (Keras 3).

For each class: `paper/<class>` takes the logit and the sum over channels, `book/<class>` the softmax output and the
mean (listings 5.41 to 5.43); both after the ReLU, before normalisation. The layer is `block2_conv2`.
"""

import json

from golden import ROOT, golden, images, keras, np, tf, write

L = keras.layers
LAYER = "block2_conv2"


def main():
    x = L.Input((17, 15, 3), name="x")
    y = x
    for block, n in ((1, 4), (2, 6)):
        y = L.Conv2D(n, 3, padding="same", activation="relu", name=f"block{block}_conv1")(y)
        y = L.Conv2D(n, 3, padding="same", activation="relu", name=f"block{block}_conv2")(y)
        y = L.MaxPooling2D(2, name=f"block{block}_pool")(y)
    y = L.Dense(8, activation="relu", name="fc1")(L.Flatten(name="flatten")(y))
    model = keras.Model(x, L.Dense(4, activation="softmax", name="predictions")(y), name="small_vgg")
    data = images("grad_cam", 2, 17, 15, 3)
    arrays = golden("keras3_grad_cam", model, [data], ("model.h5",))

    head = model.get_layer("predictions")
    probe = keras.Model(x, [model.get_layer(LAYER).output, model.output, model.get_layer("fc1").output])
    with tf.GradientTape(persistent=True) as tape:
        features, probabilities, hidden = probe(tf.constant(data), training=False)
        logits = hidden @ head.kernel.value + head.bias.value
        scores = {(m, c): tf.reduce_sum(s[:, c]) for m, s in (("paper", logits), ("book", probabilities)) for c in range(4)}
    for (mode, c), score in scores.items():
        weights = tape.gradient(score, features).numpy().mean((1, 2), keepdims=True)
        weighted = features.numpy() * weights
        arrays[f"{mode}/{c}"] = np.maximum(weighted.sum(-1) if mode == "paper" else weighted.mean(-1), 0)
    folder = ROOT / "keras3_grad_cam"
    about = json.loads((folder / "io.json").read_text()) | {"notes": __doc__.strip()}
    write(folder, arrays, about)
    print({k: float(v.max()) for k, v in arrays.items() if k[:4] in ("pape", "book")})


if __name__ == "__main__":
    main()
