#!/usr/bin/env python3
"""Asks real Keras about `.keras` files that Binesh wrote: does it load them, and does it predict the same?

`BINESH_WRITTEN=DIR cargo test -p binesh --test keras_written` writes the files with inputs and outputs,
`python check_written.py DIR [NAME...]` (requirements-keras3.txt) loads each without custom objects and in safe mode.
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402

# Relative to the largest magnitude of an output.
TOLERANCE = 1e-5


def arrays(folder, what):
    found = {}
    for path in folder.glob(f"{what}.*.f32"):
        _, i, shape, _ = path.name.split(".")
        found[int(i)] = np.fromfile(path, "<f4").reshape([int(d) for d in shape.split("x")])
    return [found[i] for i in sorted(found)]


def difference(want, got):
    if want.shape != got.shape:
        raise ValueError(f"shape {got.shape}, expected {want.shape}")
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)) or not np.array_equal(want[~finite], got[~finite], equal_nan=True):
        raise ValueError("other values are not finite")
    scale = max(np.abs(want[finite]).max(initial=0.0), np.finfo(np.float32).tiny)
    return float(np.abs(want[finite].astype("f8") - got[finite]).max(initial=0.0) / scale)


def check(folder):
    keras.backend.clear_session()
    model = keras.saving.load_model(folder / "model.keras")
    inputs, outputs = arrays(folder, "input"), arrays(folder, "output")
    got = model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
    got = got if isinstance(got, (list, tuple)) else [got]
    if len(got) != len(outputs):
        raise ValueError(f"{len(got)} outputs, expected {len(outputs)}")
    return max(difference(want, np.asarray(have)) for want, have in zip(outputs, got))


def main():
    root, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    folders = sorted(path.parent for path in root.glob("*/model.keras"))
    folders = [folder for folder in folders if not names or any(name in folder.name for name in names)]
    worst, failures = 0.0, []
    for folder in folders:
        try:
            d = check(folder)
            if not d <= TOLERANCE:
                raise ValueError(f"differs by {d:.1e}")
            worst = max(worst, d)
            print(f"{folder.name}: {d:.1e}", flush=True)
        except Exception as e:
            failures.append(folder.name)
            print(f"{folder.name}: FAILED: {type(e).__name__}: {str(e)[:600]}", flush=True)
    print(f"Keras {keras.__version__}: {len(folders) - len(failures)} of {len(folders)} the same, worst {worst:.1e}")
    sys.exit(bool(failures) or not folders)


if __name__ == "__main__":
    main()
