"""Files that must be refused, each with a message that names the fault: `python bad.py` (Keras 3).

`messages.json` holds the messages; `crates/binesh-formats/tests/hostile.rs` compares them with what loading says.
"""

import io
import json
import os
import pathlib
import struct
import zipfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras
import numpy as np

L = keras.layers
BAD = pathlib.Path(__file__).resolve().parent.parent / "bad"


def small(*extra):
    return keras.Sequential(
        [L.Input((4, 4, 2), name="x"), L.Conv2D(3, 3, name="conv"), *extra, L.Flatten(name="flat"), L.Dense(2, name="head")],
        name="small",
    )


def edited(name, edit):
    """A good `.h5` file, damaged."""
    small().save(BAD / name)
    with h5py.File(BAD / name, "r+") as file:
        edit(file)


def rename_class(name, layer, new, **attributes):
    def edit(file):
        config = json.loads(file.attrs["model_config"])
        for entry in config["config"]["layers"]:
            if entry["config"]["name"] == layer:
                entry["class_name"] = new
                entry["config"].update(attributes)
        file.attrs["model_config"] = json.dumps(config)

    edited(name, edit)


def drop_bias(file):
    group = file["model_weights/conv"]
    group.attrs["weight_names"] = group.attrs["weight_names"][:1]


def one_more(file):
    group = file["model_weights/conv"]
    names = list(group.attrs["weight_names"])
    group[names[0] + "_again"] = np.zeros((3, 3, 2, 3), "float32")
    group.attrs["weight_names"] = [*names, names[0] + "_again"]


def wrong_kernel(file):
    group = file["model_weights/head"]
    path = group.attrs["weight_names"][0]
    del group[path]
    group[path] = np.zeros((13, 2), "float32")


def forget_layer(file):
    group = file["model_weights"]
    group.attrs["layer_names"] = [n for n in group.attrs["layer_names"] if n != "head"]


def point_nowhere(file):
    group = file["model_weights/conv"]
    group.attrs["weight_names"] = ["conv/kernel", "conv/lost"]


def as_text(file):
    group = file["model_weights/conv"]
    path = group.attrs["weight_names"][0]
    del group[path]
    group[path] = np.array([b"not", b"numbers"])


def archive(name, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(BAD / name, "w") as file:
        for entry, content in entries.items():
            file.writestr(zipfile.ZipInfo(entry), content, compression)


def functional(layers, inputs=("x",), outputs=("y",)):
    """An architecture written by hand, in the dialect of Keras 2."""
    x = {"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_input_shape": [None, 4, 4, 2]}, "inbound_nodes": []}
    config = {
        "name": "bad",
        "layers": [x, *layers],
        "input_layers": [[n, 0, 0] for n in inputs],
        "output_layers": [[n, 0, 0] for n in outputs],
    }
    return json.dumps({"class_name": "Functional", "config": config, "keras_version": "2.15.0"})


def entry(name, class_name, calls, **config):
    return {"class_name": class_name, "name": name, "config": {"name": name} | config, "inbound_nodes": calls}


def main():
    BAD.mkdir(exist_ok=True)
    (BAD / "empty.h5").write_bytes(b"")
    (BAD / "text.h5").write_text("this is not a model\n")
    small().save(BAD / "truncated.h5")
    whole = (BAD / "truncated.h5").read_bytes()
    (BAD / "truncated.h5").write_bytes(whole[: len(whole) // 2])
    small(L.Lambda(lambda x: x * 2, name="double")).save(BAD / "lambda.h5")
    small(L.Lambda(lambda x: x * 2, name="double")).save(BAD / "lambda.keras")
    rename_class("unknown_class.h5", "conv", "KerasLayer", handle="https://tfhub.dev/nothing")
    rename_class("attribute.h5", "conv", "Conv2D", padding="causal")
    rename_class("new_attribute.h5", "conv", "Conv2D", gating="softmax")
    edited("missing_weight.h5", drop_bias)
    edited("wrong_shape.h5", wrong_kernel)
    edited("extra_weight.h5", one_more)
    edited("missing_layer.h5", forget_layer)
    edited("lost_dataset.h5", point_nowhere)
    edited("text_dataset.h5", as_text)
    with h5py.File(BAD / "not_keras.h5", "w") as file:
        file["data"] = np.zeros(3)
    archive("not_keras.keras", {"readme.txt": "nothing"})
    archive("no_weights.keras", {"config.json": "{}", "metadata.json": "{}"})
    archive("bomb.keras", {"config.json": b" " * (65 << 20), "model.weights.h5": b""}, compression=zipfile.ZIP_DEFLATED)
    archive("broken_json.keras", {"config.json": '{"class_name": ', "metadata.json": "{}", "model.weights.h5": b""})
    (BAD / "deep.json").write_text('{"class_name": ' + "[" * 200 + "]" * 200 + "}")
    (BAD / "no_class.json").write_text("{}")
    conv = {"filters": 3, "kernel_size": [3, 3]}
    files = {
        "circle.json": functional([entry("y", "Add", [[["x", 0, 0, {}], ["z", 0, 0, {}]]]), entry("z", "ReLU", [[["y", 0, 0, {}]]])]),
        "dangling.json": functional([entry("y", "ReLU", [[["nobody", 0, 0, {}]]])]),
        "unconnected.json": functional([entry("y", "ReLU", [])]),
        "twice.json": functional([entry("y", "ReLU", [[["x", 0, 0, {}]]]), entry("y", "ReLU", [[["x", 0, 0, {}]]])]),
        "no_filters.json": functional([entry("y", "Conv2D", [[["x", 0, 0, {}]]], kernel_size=[3, 3])]),
        "window.json": functional([entry("y", "Conv2D", [[["x", 0, 0, {}]]], filters=3, kernel_size=[9, 9])]),
        "huge.json": functional([entry("y", "Conv2D", [[["x", 0, 0, {}]]], filters=1 << 40, kernel_size=[3, 3])]),
        "negative.json": functional([entry("y", "Conv2D", [[["x", 0, 0, {}]]], filters=-3, kernel_size=[3, 3])]),
        "activation.json": functional([entry("y", "Conv2D", [[["x", 0, 0, {}]]], **conv, activation="my_function")]),
        "tf_function.json": functional([entry("y", "TFOpLambda", [["x", 0, 0, {"y": 2}]], function="linalg.inv")]),
        "python_layer.json": functional([entry("y", "my_package>MyLayer", [[["x", 0, 0, {}]]], depth=3)]),
        "input_twice.json": functional([entry("w", "InputLayer", [], batch_input_shape=[None, 4]), entry("y", "ReLU", [[["x", 0, 0, {}]]])], inputs=("x", "x")),
        "one_input_twice.json": functional([entry("y", "ReLU", [[["x", 0, 0, {}]]])], inputs=("x", "x")),
        "layer_as_input.json": functional([entry("y", "ReLU", [[["x", 0, 0, {}]]])], inputs=("y",)),
        "no_such_output.json": functional([entry("y", "ReLU", [[["x", 0, 0, {}]]])], outputs=("z",)),
        "two_inputs.json": functional([entry("y", "ReLU", [[["x", 0, 0, {}], ["x", 0, 0, {}]]])]),
    }
    for name, text in files.items():
        (BAD / name).write_text(text)


if __name__ == "__main__":
    main()
