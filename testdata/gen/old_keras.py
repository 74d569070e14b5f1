"""Real files of Keras 2.0.8 and 1.2.2: `python old_keras.py` (Python 3.6, requirements-keras208.txt or -keras122.txt).

KERAS_BACKEND is tensorflow or theano; Keras 1 also takes the dimension ordering as an argument (`tf` or `th`).
Same layout of a golden as `golden.py`; the arrays are in the model's own ordering.
"""

import json
import os
import sys
import zlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("THEANO_FLAGS", "floatX=float32")

import keras
import numpy as np
from keras import backend as K
from keras import layers as L
from keras.models import Model, Sequential

VERSION = keras.__version__
KERAS1 = VERSION.startswith("1.")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")


def randomise(model, r):
    def value(name, shape):
        if "variance" in name or "running_std" in name:
            return r.uniform(0.5, 2.0, shape)
        if "gamma" in name:
            return r.uniform(0.6, 1.4, shape)
        if len(shape) < 2:
            return r.normal(0, 0.2, shape)
        fan_in = np.prod(shape[1:]) if KERAS1 and ORDER == "th" and len(shape) == 4 else np.prod(shape[:-1])
        return r.normal(0, (1.6 / fan_in) ** 0.5, shape)

    for layer in model.layers:
        if isinstance(layer, Model):
            randomise(layer, r)
        else:
            layer.set_weights([value(w.name, w0.shape) for w, w0 in zip(layer.weights, layer.get_weights())])


def evaluate(tensors, inputs, values):
    return K.function(inputs + [K.learning_phase()], tensors)(values + [0])


def layer_values(model, values, prefix=""):
    """(path, class, output) of every call of every layer; a nested model is run on the value that it receives."""
    return (chain_values if isinstance(model, Sequential) else graph_values)(model, values, prefix)


def graph_values(model, values, prefix):
    found = []
    for layer in model.layers:
        calls = [n for i, n in enumerate(layer.inbound_nodes) if is_call(model, layer, i)]
        for i, node in enumerate([] if type(layer).__name__ == "InputLayer" else calls):
            path = prefix + layer.name + ("#%d" % i if i else "")
            got = evaluate(node.output_tensors + node.input_tensors, model.inputs, values)
            if isinstance(layer, Model):
                found += layer_values(layer, got[1:], path + "/")
            found.append((path, type(layer).__name__, got[0]))
    return found


def is_call(model, layer, node_index):
    """Whether this call of the layer is one that the model makes."""
    return "%s_ib-%d" % (layer.name, node_index) in model.container_nodes


def chain_values(model, values, prefix):
    """A Sequential; Keras of that time melts a nested first model into it when building, but not in the file."""
    found = []
    for layer in model.layers:
        if type(layer).__name__ == "Merge":
            starts = [0]
            for branch in layer.layers:
                starts.append(starts[-1] + len(branch.inputs))
            parts = [values[a:b] for a, b in zip(starts, starts[1:])]
            for branch, part in zip(layer.layers, parts):
                found += layer_values(branch, part, prefix + branch.name + "/")
            values = [evaluate([b.output], b.inputs, p)[0] for b, p in zip(layer.layers, parts)]
        node = layer.inbound_nodes[0]
        if isinstance(layer, Model):
            found += layer_values(layer, values, prefix + layer.name + "/")
            inputs, output = layer.inputs, layer.output
        else:
            inputs, output = node.input_tensors, node.output_tensors[0]
        values = evaluate([output], inputs, values)
        found.append((prefix + layer.name, type(layer).__name__, values[0]))
    return found


def golden(name, model, shapes, notes=""):
    name = "keras%s_%s" % ("".join(VERSION.split(".")), name)
    r = np.random.RandomState(zlib.crc32(name.encode()))
    randomise(model, r)
    folder = os.path.join(ROOT, name)
    os.makedirs(folder, exist_ok=True)
    model.save(os.path.join(folder, "model.h5"))
    if name.endswith("functional"):
        model.save_weights(os.path.join(folder, "legacy_weights.h5"))
        with open(os.path.join(folder, "model.json"), "w") as f:
            f.write(model.to_json())

    values = [r.normal(size=s).astype("float32") for s in shapes]
    outputs = evaluate(model.outputs, model.inputs, values)
    seed = r.normal(size=outputs[0].shape).astype("float32")
    loss = K.sum(model.outputs[0] * K.variable(seed))
    path, kernel = first_kernel(model)
    grads = evaluate(K.gradients(loss, model.inputs + [kernel]), model.inputs, values)
    found = layer_values(model, values)

    arrays = {"input/%d" % i: v for i, v in enumerate(values)}
    arrays.update({"layer/" + path: v for path, _, v in found})
    arrays.update({"output/%d" % i: v for i, v in enumerate(outputs)})
    arrays.update({"grad/input/%d" % i: g for i, g in enumerate(grads[:-1])})
    arrays["grad/param/%s/kernel" % path] = grads[-1]
    arrays["seed"] = seed
    arrays = {k: np.asarray(v, "float32") for k, v in arrays.items()}
    assert all(np.isfinite(v).all() for v in arrays.values())
    np.savez_compressed(os.path.join(folder, "io.npz"), **arrays)
    backend = K.backend()
    about = {
        "keras": VERSION,
        backend: __import__(backend).__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
        "backend": backend,
        "ordering": ORDER,
        "files": sorted(f for f in os.listdir(folder) if not f.startswith("io.")),
        "parameters": int(model.count_params()),
        "inputs": [{"name": t.name.split(":")[0], "shape": list(s)} for t, s in zip(model.inputs, shapes)],
        "outputs": [list(o.shape) for o in outputs],
        "layers": [{"path": p, "class": c, "shape": list(v.shape)} for p, c, v in found],
        "notes": notes,
    }
    with open(os.path.join(folder, "io.json"), "w") as f:
        json.dump(about, f, indent=1)
    print(name, [p for p, _, _ in found])


def first_kernel(model, prefix=""):
    for layer in model.layers:
        if isinstance(layer, Model):
            found = first_kernel(layer, prefix + layer.name + "/")
            if found:
                return found
        elif layer.trainable_weights and len(K.get_value(layer.trainable_weights[0]).shape) > 1:
            return prefix + layer.name, layer.trainable_weights[0]
    return None


def conv(n, k, **options):
    """A convolution in the words of either version."""
    if not KERAS1:
        return L.Conv2D(n, k, **options)
    for new, old in (("padding", "border_mode"), ("strides", "subsample"), ("use_bias", "bias")):
        if new in options:
            options[old] = options.pop(new)
    return L.Convolution2D(n, k, k, **options)


def image(h, w, c):
    return (c, h, w) if ORDER == "th" else (h, w, c)


CHANNELS = {"tf": -1, "th": 1}


def sequential():
    pool = dict(border_mode="same") if KERAS1 else dict(padding="same")
    net = Sequential(
        [
            conv(4, 3, activation="relu", input_shape=image(9, 11, 3), name="conv1"),
            L.MaxPooling2D((2, 2), name="pool1"),
            conv(5, 3, padding="same", strides=(2, 2), use_bias=False, name="conv2"),
            L.BatchNormalization(axis=CHANNELS[ORDER], name="bn"),
            L.Activation("relu", name="relu"),
            L.AveragePooling2D((3, 3), strides=(1, 1), name="pool2", **pool),
            L.Dropout(0.5, name="dropout"),
            L.Flatten(name="flatten"),
            L.Dense(7, activation="tanh", name="dense1"),
            L.Dense(1, activation="sigmoid", name="dense2"),
        ]
    )
    net.compile(loss="binary_crossentropy", optimizer="rmsprop")
    notes = ""
    if K.backend() == "theano":
        notes = (
            "Theano convolves (kernels are turned by 180 degrees against TensorFlow's), pads `same` with k // 2 on both "
            "sides whatever the stride, and its `same` average pooling differs too: conv1 and pool1 equal TensorFlow's "
            "after the turn, conv2 and pool2 do not"
        )
    golden("sequential" + SUFFIX, net, [(2,) + image(9, 11, 3)], notes)


def functional():
    x = L.Input(image(6, 7, 3), name="x")
    v = L.Input((4,), name="v")
    shared = conv(4, 3, padding="same", activation="relu", name="shared")
    first = conv(3, 3, padding="same", name="first")(x)
    a, b = shared(first), shared(x)
    if KERAS1:
        from keras.layers import merge

        y = merge([a, b], mode="sum", name="add")
        y = merge([y, a], mode="concat", concat_axis=CHANNELS[ORDER], name="concat")
    else:
        y = L.add([a, b], name="add")
        y = L.concatenate([y, a], axis=CHANNELS[ORDER], name="concat")
    y = L.ZeroPadding2D((1, 2), name="pad")(y)
    y = L.LeakyReLU(0.2, name="leaky")(y)
    y = L.GlobalAveragePooling2D(name="gap")(y)
    w = L.Dense(8, name="embed")(v)
    if KERAS1:
        y = merge([y, w], mode="mul", name="multiply")
    else:
        y = L.multiply([y, w], name="multiply")
    main = L.Dense(3, activation="softmax", name="main")(y)
    side = L.Dense(1, name="side")(w)
    options = dict(input=[x, v], output=[main, side]) if KERAS1 else dict(inputs=[x, v], outputs=[main, side])
    net = Model(name="two_by_two", **options)
    golden("functional" + SUFFIX, net, [(2,) + image(6, 7, 3), (2, 4)])


def nested():
    """The chapter's shape: a convolutional base (a functional model) as the first layer of a Sequential."""
    x = L.Input(image(8, 10, 3), name="input_1")
    y = x
    for block, n in ((1, 4), (2, 6)):
        y = conv(n, 3, padding="same", activation="relu", name="block%d_conv1" % block)(y)
        y = conv(n, 3, padding="same", activation="relu", name="block%d_conv2" % block)(y)
        y = L.MaxPooling2D((2, 2), strides=(2, 2), name="block%d_pool" % block)(y)
    base = Model(x, y, name="vgg")
    net = Sequential()
    net.add(base)
    net.add(L.Flatten(name="flatten_1"))
    net.add(L.Dense(6, activation="relu", name="dense_1"))
    net.add(L.Dense(1, activation="sigmoid", name="dense_2"))
    base.trainable = False
    net.compile(loss="binary_crossentropy", optimizer="rmsprop")
    golden("nested" + SUFFIX, net, [(2,) + image(8, 10, 3)], "the base is not trainable")


def merge_layer():
    """Keras 1 only: two Sequential branches joined by a `Merge` layer."""
    branches = []
    for i in (1, 2):
        branch = Sequential(name="branch%d" % i)
        branch.add(conv(3, 3, input_shape=image(6, 7, 2), activation="relu", name="branch%d_conv" % i))
        branch.add(L.Flatten(name="branch%d_flatten" % i))
        branches.append(branch)
    net = Sequential()
    net.add(L.Merge(branches, mode="concat", name="merge"))
    net.add(L.Dense(2, activation="softmax", name="dense"))
    golden("merge_layer" + SUFFIX, net, [(2,) + image(6, 7, 2)] * 2)


if __name__ == "__main__":
    ORDER = sys.argv[1] if len(sys.argv) > 1 else "tf"
    SUFFIX = "" if K.backend() == "tensorflow" and ORDER == "tf" else "_%s_%s" % (K.backend(), ORDER)
    if KERAS1:
        K.set_image_dim_ordering(ORDER)
    nets = [sequential, functional, nested] + ([merge_layer] if KERAS1 and ORDER == "tf" else [])
    for net in [n for n in nets if n.__name__ in sys.argv[2:] or not sys.argv[2:]]:
        net()
