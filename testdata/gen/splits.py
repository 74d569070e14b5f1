"""`golden/splits/keras.json`: how Keras lists and divides a folder, and how NumPy's legacy generator shuffles.

Run in the environment of `requirements-keras3.txt`.
"""

import json
import os
import pathlib
import tempfile

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import keras
import numpy as np

# Names that sort otherwise as text than as numbers, as folders than as paths, in bytes than by language.
FILES = [
    *(f"cat/cat.{i}.jpg" for i in range(13)),
    *(f"Zebra/{i}.png" for i in range(9, 15)),
    *(f"éléphant/é{i}.jpeg" for i in range(5)),
    "cat/sub/a.JPG",
    "cat/sub-x/b.gif",
    "cat/sub/deep/c.bmp",
    "cat/~.png",
    "éléphant/e.png",
]


def keras_splits(folder):
    relative = lambda paths: [os.path.relpath(path, folder) for path in paths]
    everything = keras.utils.image_dataset_from_directory(folder, shuffle=False)
    splits = []
    for validation, seed in [(0.2, 0), (0.25, 1337), (0.5, 42), (0.1, 2**32 - 1)]:
        _, held = keras.utils.image_dataset_from_directory(
            folder, validation_split=validation, subset="both", seed=seed
        )
        splits.append({"validation": validation, "seed": seed, "held": relative(held.file_paths)})
    return {"classes": everything.class_names, "listed": relative(everything.file_paths), "splits": splits}


def shuffles():
    for seed in [0, 1, 1337, 2**31, 2**32 - 1]:
        for length in [1, 2, 3, 10, 33, 64]:
            values = list(range(length))
            np.random.RandomState(seed).shuffle(values)
            yield {"seed": seed, "order": values}
    # Long enough to draw more than the generator's 624 words; only some of it, to stay small.
    values = list(range(5000))
    np.random.RandomState(7).shuffle(values)
    yield {"seed": 7, "length": 5000, "every_100th": values[::100]}


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"Keras lists names")
        golden = {"files": FILES, **keras_splits(folder), "shuffles": list(shuffles())}
    golden["versions"] = {"keras": keras.__version__, "numpy": np.__version__}
    out = pathlib.Path(__file__).parents[1] / "golden/splits"
    out.mkdir(exist_ok=True)
    (out / "keras.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
