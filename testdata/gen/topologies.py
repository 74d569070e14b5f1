"""How layers are put together: `python topologies.py [NAME...]`, under either Keras."""

import json
import sys

from golden import KERAS, ROOT, golden, images, keras, save_files, tf, write
import numpy as np

L = keras.layers
PREFIX = f"keras{KERAS}_"
EVERY_FORM = ("model.h5", "model.keras", "model.weights.h5", "model.json") + (
    ("legacy_weights.h5",) if KERAS == 2 else ()
)
BOTH = ("model.h5", "model.keras")
USUAL = BOTH[:1] if KERAS == 2 else BOTH[1:]
NETS = {}


def net(function):
    NETS[function.__name__] = function
    return function


def check(name, model, inputs, files=USUAL, notes=""):
    golden(PREFIX + name, model, inputs, files, notes)


@net
def sequential():
    """Every form of file, compiled, several layers of one class (a Keras 2.15 `.keras` is matched by class and order)."""
    layers = [
        L.InputLayer((9, 8, 3), name="x"),
        L.Conv2D(4, 3, name="first"),
        L.BatchNormalization(name="bn_a"),
        L.ReLU(name="relu"),
        L.DepthwiseConv2D(3, padding="same", name="depthwise"),
        L.Conv2D(5, 1, activation="swish", name="a_second"),
        L.SeparableConv2D(4, 3, strides=2, name="separable"),
        L.LayerNormalization(name="ln"),
        L.PReLU(shared_axes=[1, 2], name="prelu"),
        L.Conv2DTranspose(3, 2, strides=2, name="transpose"),
        L.BatchNormalization(name="bn_b", scale=False),
        L.MaxPooling2D(2, name="pool"),
        L.Flatten(name="flatten"),
        L.Dense(6, activation="relu", name="dense_10"),
        L.Dropout(0.5, name="dropout"),
        L.Dense(3, activation="softmax", name="dense_9"),
    ]
    model = keras.Sequential(layers, name="sequential")
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    x = images("sequential", 2, 9, 8, 3)
    model.fit(x, np.eye(3, dtype="float32")[:2], verbose=0)
    check("sequential", model, [x], EVERY_FORM, "one step was trained, so that the files hold an optimizer's state")


@net
def sequential_no_input_layer():
    """Built by its first call: no shape in the configuration but the build shape."""
    model = keras.Sequential(
        [L.Conv2D(3, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(2)], name="no_input_layer"
    )
    x = images("no_input_layer", 2, 6, 7, 2)
    model(x)
    check("sequential_no_input_layer", model, [x])


@net
def sequential_input_shape():
    model = keras.Sequential(
        [L.Conv2D(3, 3, activation="relu", input_shape=(6, 7, 2)), L.AveragePooling2D(2), L.Flatten(), L.Dense(2)]
    )
    check("sequential_input_shape", model, [images("input_shape", 2, 6, 7, 2)])


@net
def functional():
    """Two inputs of two ranks, two outputs, a branch and a residual, names out of order."""
    picture = L.Input((8, 7, 3), name="picture")
    numbers = L.Input((4,), name="numbers")
    z = L.Conv2D(4, 3, padding="same", name="z_conv")(picture)
    a = L.Conv2D(4, 3, padding="same", activation="relu", name="a_conv")(z)
    y = L.Add(name="residual")([z, a])
    y = L.GlobalAveragePooling2D(name="gap")(y)
    w = L.Dense(4, activation="tanh", name="embed")(numbers)
    y = L.Concatenate(name="concat")([w, y])
    main = L.Dense(3, activation="softmax", name="main")(y)
    side = L.Dense(1, activation="sigmoid", name="side")(w)
    mask = L.Conv2D(2, 1, name="mask")(a)
    model = keras.Model([numbers, picture], [mask, main, side], name="two_in_three_out")
    xs = [images("functional_numbers", 2, 4), images("functional_picture", 2, 8, 7, 3)]
    check("functional", model, xs, EVERY_FORM)


@net
def shared():
    """Layers called two and three times, one of them on its own output."""
    a, b = L.Input((6, 6, 3), name="a"), L.Input((6, 6, 3), name="b")
    conv = L.Conv2D(3, 3, padding="same", activation="relu", name="conv")
    bn = L.BatchNormalization(name="bn")
    left, right = bn(conv(a)), bn(conv(conv(b)))
    y = L.Subtract(name="difference")([left, right])
    y = L.Dense(2, name="head")(L.Flatten(name="flatten")(y))
    model = keras.Model([a, b], y, name="siamese")
    check("shared", model, [images("shared_a", 2, 6, 6, 3), images("shared_b", 2, 6, 6, 3)], EVERY_FORM)


@net
def nested():
    """Sequential in Functional in Sequential. Keras 2 cannot write one name twice in a nested model's group of the .h5."""
    conv = "conv" if KERAS == 3 else "block_conv"
    inner = keras.Sequential(
        [L.InputLayer((5, 6, 4)), L.Conv2D(4, 3, padding="same", name=conv), L.BatchNormalization(name="bn"), L.ReLU()],
        name="block",
    )
    x = L.Input((10, 12, 3), name="middle_input")
    y = L.Conv2D(4, 3, strides=2, padding="same", name="conv")(x)
    y = L.Add(name="add")([y, inner(y)])
    middle = keras.Model(x, y, name="base")
    head = [L.GlobalAveragePooling2D(name="gap"), L.Dense(3, activation="softmax", name="dense")]
    model = keras.Sequential([L.InputLayer((10, 12, 3)), middle, *head], name="classifier")
    check("nested", model, [images("nested", 2, 10, 12, 3)], EVERY_FORM, "in Keras 3 two layers are called `conv`")


@net
def nested_first():
    """The chapter's model: `Sequential()`, `add(conv_base)`, with no input layer before it; the base is frozen."""
    x = L.Input((8, 10, 3), name="input_1")
    y = x
    for block, n in ((1, 4), (2, 6)):
        y = L.Conv2D(n, 3, padding="same", activation="relu", name=f"block{block}_conv1")(y)
        y = L.Conv2D(n, 3, padding="same", activation="relu", name=f"block{block}_conv2")(y)
        y = L.MaxPooling2D(2, strides=2, name=f"block{block}_pool")(y)
    base = keras.Model(x, y, name="vgg")
    model = keras.Sequential(name="sequential_1")
    model.add(base)
    model.add(L.Flatten(name="flatten_1"))
    model.add(L.Dense(6, activation="relu", name="dense_1"))
    model.add(L.Dense(1, activation="sigmoid", name="dense_2"))
    data = images("nested_first", 2, 8, 10, 3)
    model(data)
    base.trainable = False
    model.compile("rmsprop", "binary_crossentropy")
    check("nested_first", model, [data], USUAL, "the base is not trainable, which the order of weights in .h5 may show")


@net
def nested_shared():
    """A model called twice, as a siamese net has it; and one with several inputs and outputs."""
    x = L.Input((6, 6, 2), name="tower_input")
    tower = keras.Model(x, L.GlobalMaxPooling2D(name="pool")(L.Conv2D(3, 3, name="conv")(x)), name="tower")
    p, q = L.Input((3,), name="p"), L.Input((3,), name="q")
    mix = keras.Model([p, q], [L.Add(name="sum")([p, q]), L.Multiply(name="product")([p, q])], name="mix")
    a, b = L.Input((6, 6, 2), name="a"), L.Input((6, 6, 2), name="b")
    total, product = mix([tower(a), tower(b)])
    y = L.Dense(2, name="head")(L.Concatenate(name="concat")([total, product]))
    model = keras.Model([a, b], y, name="twins")
    check("nested_shared", model, [images("twins_a", 2, 6, 6, 2), images("twins_b", 2, 6, 6, 2)])


@net
def nested_output():
    """A model called three times, once on its own output; the first call and the last are outputs, as is a layer after the second."""
    x = L.Input((4, 5, 3), name="inner_input")
    inner = keras.Model(x, L.Conv2D(3, 1, activation="tanh", name="conv")(x), name="inner")
    i = L.Input((4, 5, 3), name="x")
    first = inner(i)
    second = inner(first)
    third = inner(second)
    model = keras.Model(i, [first, third, L.Conv2D(2, 2, name="head")(second)], name="echo")
    check("nested_output", model, [images("echo", 2, 4, 5, 3)], BOTH)


@net
def frozen():
    """Some layers not trainable: Keras 2 writes a model's trainable weights first, also in nested models."""
    x = L.Input((6, 7, 3), name="inner_input")
    y = L.Conv2D(4, 3, name="conv_a", trainable=False)(x)
    y = L.BatchNormalization(name="bn_a")(y)
    y = L.Conv2D(4, 3, name="conv_b")(y)
    y = L.BatchNormalization(name="bn_b", trainable=False)(y)
    inner = keras.Model(x, y, name="inner")
    z = L.Input((6, 7, 3), name="x")
    model = keras.Model(z, L.Dense(2, name="head")(L.GlobalAveragePooling2D(name="gap")(inner(z))), name="frozen")
    check("frozen", model, [images("frozen", 2, 6, 7, 3)], EVERY_FORM)


@net
def operations():
    """Arithmetic in the graph: `TFOpLambda` and `SlicingOpLambda` in Keras 2, `Operation` nodes in Keras 3."""
    x = L.Input((6, 7, 3), name="x")
    y = x / 127.5 - 1.0
    y = L.Conv2D(4, 3, padding="same", name="conv")(y)
    ops = tf.nn if KERAS == 2 else keras.ops
    if KERAS == 2:
        relu, sigmoid = tf.nn.relu(y), tf.sigmoid(y)
        mean, top = tf.reduce_mean(y, axis=[1, 2], keepdims=True), tf.reduce_max(y, axis=-1, keepdims=True)
        both, clipped = tf.concat([y, relu], axis=-1), tf.minimum(tf.nn.relu6(y + 3.0) * (1.0 / 6.0), 0.5)
        gelu, shaped = tf.nn.gelu(y, approximate=True), tf.reshape(y, [-1, 6, 28])
    else:
        relu, sigmoid = ops.relu(y), ops.sigmoid(y)
        mean, top = ops.mean(y, axis=[1, 2], keepdims=True), ops.max(y, axis=-1, keepdims=True)
        both, clipped = ops.concatenate([y, relu], axis=-1), ops.minimum(ops.relu6(y + 3.0) * (1.0 / 6.0), 0.5)
        gelu, shaped = ops.gelu(y, approximate=True), ops.reshape(y, (-1, 6, 28))
    parts = [
        relu + sigmoid,
        y * mean,
        y - top,
        2.0 - y,
        both,
        clipped,
        gelu,
        shaped,
        y[:, 1:, :, :],
        y[:, ::2, 1:-1, :2],
        y / (sigmoid + 1.0),
        -y,
        3.0 * y,
    ]
    outs = [L.Flatten(name=f"flat_{i}")(p) for i, p in enumerate(parts)]
    model = keras.Model(x, L.Concatenate(name="join")(outs), name="operations")
    check("operations", model, [images("operations", 2, 6, 7, 3, low=0, high=255)])


@net
def rescaled():
    """The one expression that nearly every such file has, alone."""
    x = L.Input((6, 7, 3), name="x")
    y = L.Conv2D(4, 3, activation="relu", name="conv")(x / 127.5 - 1)
    model = keras.Model(x, L.Dense(2, activation="softmax", name="head")(L.Flatten(name="flatten")(y)), name="rescaled")
    check("rescaled", model, [images("rescaled", 2, 6, 7, 3, low=0, high=255)], BOTH, "Keras 3 writes this .h5 but cannot read it")


@net
def variable_size():
    """Height and width not given."""
    x = L.Input((None, None, 3), name="x")
    y = L.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv")(x)
    y = L.MaxPooling2D(3, strides=2, padding="same", name="pool")(y)
    y = L.Dense(3, activation="softmax", name="dense")(L.GlobalAveragePooling2D(name="gap")(y))
    check("variable_size", keras.Model(x, y, name="variable_size"), [images("variable_size", 2, 11, 14, 3)])


@net
def policy():
    """dtype as an object: a mixed_float16 policy. Keras computes in f16, so values agree to three digits at best."""
    x = L.Input((6, 7, 3), name="x")
    y = L.Conv2D(4, 3, activation="relu", name="conv", dtype="mixed_float16")(x)
    y = L.BatchNormalization(name="bn", dtype="mixed_float16")(y)
    y = L.GlobalAveragePooling2D(name="gap", dtype="mixed_float16")(y)
    y = L.Dense(2, name="head", dtype="float32")(y)
    model = keras.Model(x, y, name="policy")
    check("policy", model, [images("policy", 2, 6, 7, 3)], USUAL, "computed in float16: tolerance 1e-2")


@net
def channels_first():
    """Saved, and computed by hand: TensorFlow has no such convolution on a CPU. Values are those of the same net
    with channels last, turned to [N, C, H, W]."""
    layers = lambda order: [
        L.Conv2D(4, 3, activation="relu", name="conv", data_format=order),
        L.BatchNormalization(axis=1 if order == "channels_first" else -1, name="bn"),
        L.MaxPooling2D(2, name="pool", data_format=order),
        L.Flatten(name="flatten", data_format=order),
        L.Dense(2, activation="softmax", name="head"),
    ]
    last = keras.Sequential([L.InputLayer((9, 8, 3)), *layers("channels_last")], name="channels")
    first = keras.Sequential([L.InputLayer((3, 9, 8)), *layers("channels_first")], name="channels")
    x = images("channels_first", 2, 9, 8, 3)
    arrays = golden(PREFIX + "channels_first", last, [x], ())
    first.set_weights(last.get_weights())
    folder = ROOT / (PREFIX + "channels_first")
    save_files(first, folder, USUAL)
    turned = {k: v.transpose(0, 3, 1, 2) if v.ndim == 4 else v for k, v in arrays.items() if "grad" not in k}
    about = json.loads((folder / "io.json").read_text())
    about |= {"files": list(USUAL), "notes": "arrays are [N, C, H, W], as the model's; shapes above are not; no gradients"}
    write(folder, turned, about)


if __name__ == "__main__":
    for name in sys.argv[1:] or NETS:
        keras.backend.clear_session()
        NETS[name]()
