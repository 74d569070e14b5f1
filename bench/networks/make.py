"""Role `make`, with Keras: the files of a network.

- NET.keras, what Binesh and TensorFlow open;
- NET.onnx, what ONNX Runtime, tract and rten open, by export.py;
- NET-x.npy, 32 pictures, and NET-y.npy, Keras's logits for them.
"""

import math
import os

import export
import nets


def make(args):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import numpy as np

    stem = nets.stem(args.net, args.side)
    saved = stem.with_name(f"{stem.name}.keras")
    if saved.exists():
        model = keras.models.load_model(saved, compile=False)
    else:
        keras.utils.set_random_seed(1)
        model = network(nets.NETS[args.net].keras, args.side)
        fill(model, np)
        calibrate(model, pixels(np, 8, args.side, seed=1))
        nets.whole(saved, model.save, ".part.keras")
    # Pixels, 0 to 255, since some of the networks scale them.
    x = pixels(np, nets.PICTURES, args.side, seed=0)
    y = np.concatenate([model(x[at : at + 8], training=False).numpy() for at in range(0, nets.PICTURES, 8)])
    np.save(f"{stem}-x.npy", x)
    np.save(f"{stem}-y.npy", y)
    nets.whole(stem.with_name(f"{stem.name}.onnx"), lambda path: export.export(model, path), ".part.onnx")


def network(name, side):
    import architectures
    import keras

    if hasattr(architectures, name):
        return getattr(architectures, name)(side)
    return getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classifier_activation=None)


def layers(model):
    """All layers, with those of models inside."""
    for layer in model.layers:
        yield layer
        yield from layers(layer) if hasattr(layer, "layers") else ()


def pixels(np, batch, side, seed):
    return np.random.default_rng(seed).uniform(0, 255, (batch, side, side, 3)).astype("float32")


def fill(model, np):
    """Weights under which every layer matters to the output: kernels He normal, biases and scales that vary."""
    random = np.random.default_rng(2)
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.path.rsplit("/", 1)[-1]
        if name in ("kernel", "depthwise_kernel", "pointwise_kernel"):
            depthwise = len(shape) == 4 and shape[-1] == 1
            products = math.prod(shape[:2] if depthwise else shape[:-1])
            variable.assign(random.normal(0, math.sqrt(2 / products), shape))
        elif name in ("bias", "beta"):
            variable.assign(random.normal(0, 0.1, shape))
        elif name == "gamma":
            variable.assign(random.uniform(0.5, 1.5, shape))
        elif "layer_scale" in variable.path:
            variable.assign(random.uniform(0.1, 0.3, shape))


def calibrate(model, batch):
    """Statistics of batch normalization as the batch has them."""
    import keras

    norms = [layer for layer in layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    if norms:
        model(batch, training=True)
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum
