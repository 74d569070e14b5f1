"""What Keras 3 makes of the files of Keras 2.15: `python check_keras215.py DIR...` (`requirements-keras3.txt`).

For each `keras215_*` of the folders, and the `Lambda` in `bad`, whether `load_model` opens it, as it is and with
`compile=False` (and `safe_mode=False` for the `Lambda`), and how far the output is from Keras 2.15's, as a share of its
largest value.
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np


def attempt(path, x, want, **options):
    try:
        model = keras.models.load_model(path, **options)
        got = np.asarray(model(x, training=False))
    except Exception as e:
        return f"no: {type(e).__name__} {' '.join(str(e).split())[:70]}"
    return "yes" if want is None else f"{np.abs(got - want).max() / np.abs(want).max():.1e}"


def main():
    print("keras", keras.__version__)
    cases = []
    for root in map(pathlib.Path, sys.argv[1:]):
        for folder in sorted(root.glob("keras215_*")):
            io = np.load(folder / "io.npz")
            cases.append((folder.name[9:], folder / "model", io["input/0"], io["output/0"], {}))
    bad = pathlib.Path(__file__).resolve().parent.parent / "bad" / "lambda_215"
    cases.append(("stored_code", bad, np.zeros((1, 8, 8, 3), "float32"), None, {"safe_mode": False}))
    for name, stem, x, want, more in cases:
        h5, archive = f"{stem}.h5", f"{stem}.keras"
        print(name, "| h5:", attempt(h5, x, want), "| h5, not compiled:", attempt(h5, x, want, compile=False, **more), "| keras:", attempt(archive, x, want, compile=False, **more), flush=True)


main()
