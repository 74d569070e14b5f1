"""Twenty steps of training by Keras 3 (requirements-keras3.txt), to be repeated step by step by the tests.

`python train_steps.py` writes the small networks into `golden/train_steps_*`: VGG16 with a sixteenth of its channels
at 48 x 48 and a cut-down MobileNetV2 of Keras's own blocks at 32 x 32. `python train_steps.py OUTDIR` writes the real
VGG16 and MobileNetV2 at 64 x 64 there instead; they are too large to commit.

The base is called with `training=False` and its batch norms are frozen. VGG16 has the head Flatten, Dense(4),
MobileNetV2 GlobalAveragePooling2D, Dense(4), both without activation; the loss is formed from logits. Pictures and
labels are fixed: batch n is made of pictures 8n to 8n + 7, and after the third the first comes again.

  model.keras   before the first step
  steps.npz     pictures (bytes; the network sees x / 127.5 - 1), labels
                per case OPTIMIZER_PART: CASE/losses, CASE/weight/PATH after the last step
  steps.json    versions; per case optimizer, rate, the weights that train, and `noise`: how far Keras in float32 ends
                from these, relative to the largest magnitude of each array; `noise_of_movement`: the same relative to
                its largest movement; `conditioned`: whether ends can be compared

Losses and weights are those of Keras in float64 on these float32 weights and pictures: float32's own ends depend on the
order in which a machine adds.

A value that rounding moves across the kink of a ReLU changes its channel's gradient by percents. In twenty steps of
tens of thousands of values that happens easily, to Keras in float32 as to anybody, and then the ends say
nothing about formulas. So the small problems are the first ones in which Keras in float32 and in float64 end alike. The
large ones are as they come: with one value at a kink, the last block's ends say nothing, which `conditioned` tells.
"""

import json
import pathlib
import sys

import numpy as np

from applications import calibrate
from golden import ROOT, children, is_model, keras, randomise, rng, tf, versions, weight_name

A, L = keras.applications, keras.layers
STEPS, BATCH, PICTURES, CLASSES = 20, 8, 24, 4

# Rates at which 20 steps move weights by a few percent: enough to see, not enough to make chance decide.
OPTIMIZERS = {"rmsprop": 2e-4, "adam": 5e-4}
# What guides say for the last block of a real network; at the rates above its loss falls to nothing in twenty steps.
FINE_RATE = 1e-5


def small_vgg16(side):
    """`keras/src/applications/vgg16.py` with a sixteenth of the channels."""
    x = inputs = L.Input((side, side, 3))
    for block, (channels, convolutions) in enumerate([(4, 2), (8, 2), (16, 3), (32, 3), (32, 3)], 1):
        for i in range(1, convolutions + 1):
            x = L.Conv2D(channels, 3, padding="same", activation="relu", name=f"block{block}_conv{i}")(x)
        x = L.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return keras.Model(inputs, x, name="vgg16")


def small_mobilenet_v2(side):
    """Five of MobileNetV2's blocks, by the function that makes them there."""
    from keras.src.applications.mobilenet_v2 import _inverted_res_block as block

    inputs = L.Input((side, side, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="Conv1")(inputs)
    x = L.BatchNormalization(epsilon=1e-3, momentum=0.999, name="bn_Conv1")(x)
    x = L.ReLU(6.0, name="Conv1_relu")(x)
    x = block(x, expansion=1, stride=1, alpha=1, filters=8, block_id=0)
    x = block(x, expansion=6, stride=2, alpha=1, filters=16, block_id=1)
    x = block(x, expansion=6, stride=1, alpha=1, filters=16, block_id=2)
    x = block(x, expansion=6, stride=2, alpha=1, filters=24, block_id=3)
    x = block(x, expansion=6, stride=1, alpha=1, filters=24, block_id=4)
    x = L.Conv2D(64, 1, use_bias=False, name="Conv_1")(x)
    x = L.BatchNormalization(epsilon=1e-3, momentum=0.999, name="Conv_1_bn")(x)
    return keras.Model(inputs, L.ReLU(6.0, name="out_relu")(x), name="mobilenetv2")


def full(function):
    return lambda side: function(weights=None, include_top=False, input_shape=(side, side, 3))


# name: (base, side, first layer of the last block)
SMALL = {
    "vgg16": (small_vgg16, 48, "block5_conv1"),
    "mobilenetv2": (small_mobilenet_v2, 32, "block_4_expand"),
}
FULL = {
    "vgg16_full": (full(A.VGG16), 64, "block5_conv1"),
    "mobilenetv2_full": (full(A.MobileNetV2), 64, "block_16_expand"),
}


def with_head(base, side):
    x = inputs = keras.Input((side, side, 3))
    x = base(x, training=False)
    x = L.Flatten(name="flatten")(x) if base.name == "vgg16" else L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, L.Dense(CLASSES, name="logits")(x))


def photos(name, side):
    """Bytes: a coarse pattern that the class tints, and some grain."""
    r = rng(name + "/pictures")
    labels = np.arange(PICTURES) % CLASSES
    coarse = r.uniform(0, 1, (PICTURES, 6, 6, 3)) * 0.7 + 0.3 * r.uniform(0, 1, (CLASSES, 1, 1, 3))[labels]
    smooth = np.asarray(tf.image.resize(coarse, (side, side), "bilinear"))
    return np.clip(smooth * 255 + r.normal(0, 4, smooth.shape), 0, 255).astype("uint8"), labels


def freeze(base, first):
    """All of the base, or all before the layer `first`; batch norms in any case. `first` None is the head only."""
    base.trainable = True
    trains = False
    for layer in base.layers:
        trains = trains or layer.name == first
        layer.trainable = trains and not isinstance(layer, L.BatchNormalization)


def paths(model):
    """Every weight by its path, `mobilenetv2/Conv_1/kernel`."""
    found = {}

    def walk(m, prefix):
        for layer in children(m):
            if is_model(layer):
                walk(layer, prefix + layer.name + "/")
            else:
                found.update({f"{prefix}{layer.name}/{weight_name(v)}": v for v in layer.weights})

    walk(model, "")
    return found


def train(model, kind, rate, x, y):
    """Weights that train, and losses, by a loop that hides nothing; frozen weights stay as they are."""
    variables = paths(model)
    frozen = {path: np.array(v) for path, v in variables.items() if not v.trainable}
    optimizer = {"rmsprop": keras.optimizers.RMSprop, "adam": keras.optimizers.Adam}[kind](learning_rate=rate)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    trainable, losses = model.trainable_variables, []
    for step in range(STEPS):
        rows = slice(step * BATCH % PICTURES, step * BATCH % PICTURES + BATCH)
        with tf.GradientTape() as tape:
            value = loss(y[rows], model(x[rows], training=True))
        optimizer.apply(tape.gradient(value, trainable), trainable)
        losses.append(float(value))
    for path, before in frozen.items():
        assert (np.array(variables[path]) == before).all(), f"{path} was frozen"
    return {path: np.array(v) for path, v in variables.items() if v.trainable}, losses


def in_float64(weights, make_base, side, first, kind, rate, x, y):
    """The same training with float64 weights and arithmetic: the weights it ends with, and losses."""
    keras.backend.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    model = with_head(make_base(side), side)
    model.set_weights([w.astype("float64") for w in weights])
    freeze(model.layers[1], first)
    ends, losses = train(model, kind, rate, x.astype("float64"), y.astype("float64"))
    keras.backend.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    assert all(w.dtype == "float64" for w in ends.values())
    return ends, losses


def relative(a, b, size):
    return float(np.abs(a - b).max() / np.abs(size).max())


# Where float32 and float64 part, chance has decided.
CONDITIONED = 1e-4


def attempt(name, spec, number):
    """One random problem, trained in every case: (model before, arrays, cases)."""
    keras.backend.clear_session()
    make_base, side, first = spec
    r = rng(f"train_steps/{name}/{number}")
    base = make_base(side)
    model = with_head(base, side)
    randomise(model, r)
    pictures, labels = photos(f"{name}/{number}", side)
    x = (pictures.astype("float32") / np.float32(127.5) - 1).astype("float32")
    calibrate(base, x[:BATCH], r)
    y = np.eye(CLASSES, dtype="float32")[labels]
    start = model.get_weights()
    begin = {path: np.array(v) for path, v in paths(model).items()}
    arrays, cases = {"pictures": pictures, "labels": labels.astype("uint8")}, {}
    for part, layer in {"head": None, "last_block": first}.items():
        for kind, rate in OPTIMIZERS.items():
            rate = FINE_RATE if name in FULL and layer else rate
            case = f"{kind}_{part}"
            model.set_weights(start)
            freeze(base, layer)
            weights, _ = train(model, kind, rate, x, y)
            exact, losses = in_float64(start, make_base, side, layer, kind, rate, x, y)
            arrays[f"{case}/losses"] = np.array(losses, "float32")
            arrays.update({f"{case}/weight/{path}": value.astype("float32") for path, value in exact.items()})
            ends = [(value, exact[path], begin[path]) for path, value in weights.items()]
            noise = max(relative(a, b, a) for a, b, _ in ends)
            of_movement = max(relative(a, b, a - c) for a, b, c in ends)
            cases[case] = dict(optimizer=kind, rate=rate, trainable=sorted(weights), noise=noise,
                               noise_of_movement=of_movement, conditioned=name in SMALL or layer is None)
            moved = max(relative(a, c, a) for a, _, c in ends)
            print(f"{name}/{number} {case}: loss {losses[0]:.3f} to {losses[-1]:.3f}, moved {moved:.1e}; "
                  f"float32 is {noise:.1e} from float64, {of_movement:.1e} of the movement", flush=True)
            if name in SMALL and of_movement > CONDITIONED:
                return None
    model.set_weights(start)
    return model, arrays, cases


def make(name, spec, root):
    found = next(found for number in range(100) if (found := attempt(name, spec, number)))
    model, arrays, cases = found
    folder = root / f"train_steps_{name}"
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    np.savez_compressed(folder / "steps.npz", **arrays)
    about = versions() | dict(steps=STEPS, batch=BATCH, cases=cases)
    (folder / "steps.json").write_text(json.dumps(about, indent=1) + "\n")
    print(f"{name}: {sum(f.stat().st_size for f in folder.iterdir()) / 1024:.0f} KB")


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if len(sys.argv) > 1:
        for name in sys.argv[2:] or FULL:
            make(name, FULL[name], pathlib.Path(sys.argv[1]))
    else:
        for name, spec in SMALL.items():
            make(name, spec, ROOT)
