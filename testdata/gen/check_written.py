#!/usr/bin/env python3
"""Asks real Keras and ONNX Runtime about files that Binesh wrote: do they load them, and do they compute the same?

`BINESH_WRITTEN=DIR cargo test -p binesh --test written` writes the files with inputs and outputs.
`python check_written.py DIR ENDING [NAME...]` then loads each `model.ENDING`:

    keras   Keras 3 (requirements-keras3.txt), without custom objects and in safe mode
    h5      Keras 3 or Keras 2.15 (requirements-keras2.txt), with `compile=False`
    onnx    onnx.checker and ONNX Runtime (requirements-torch.txt, onnx 1.23.2, onnxruntime 1.32)

With Keras 2 a file that holds operations or classes of Keras 3 is left out and counted, for Binesh says so when it writes one.
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

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


def of_keras(path, inputs):
    import keras

    keras.backend.clear_session()
    model = keras.models.load_model(path, compile=False)
    # One batch: what mixes pictures must see all of them.
    got = model.predict(inputs if len(inputs) > 1 else inputs[0], batch_size=len(inputs[0]), verbose=0)
    return got if isinstance(got, (list, tuple)) else [got]


def of_onnx(path, inputs):
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def is_of_keras3_alone(path):
    import h5py

    with h5py.File(path) as file:
        return '"module":' in file.attrs["model_config"]


def main():
    root, ending, names = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    folders = sorted(path.parent for path in root.glob(f"*/model.{ending}"))
    folders = [folder for folder in folders if not names or any(name in folder.name for name in names)]
    if ending == "onnx":
        import onnxruntime

        run, who = of_onnx, f"ONNX Runtime {onnxruntime.__version__}"
    else:
        import keras

        run, who = of_keras, f"Keras {keras.__version__}"
    worst, failures, left_out = 0.0, [], 0
    for folder in folders:
        path = folder / f"model.{ending}"
        if who.startswith("Keras 2") and is_of_keras3_alone(path):
            left_out += 1
            continue
        try:
            got, outputs = run(path, arrays(folder, "input")), arrays(folder, "output")
            if len(got) != len(outputs):
                raise ValueError(f"{len(got)} outputs, expected {len(outputs)}")
            d = max(difference(want, np.asarray(have)) for want, have in zip(outputs, got, strict=True))
            if not d <= TOLERANCE:
                raise ValueError(f"differs by {d:.1e}")
            worst = max(worst, d)
            if names:
                print(f"{folder.name}: {d:.1e}", flush=True)
        except Exception as e:
            failures.append(folder.name)
            print(f"{folder.name}: FAILED: {type(e).__name__}: {str(e)[:600]}", flush=True)
    asked = len(folders) - left_out
    print(f"{who}, .{ending}: {asked - len(failures)} of {asked} the same, worst {worst:.1e}; {left_out} left out")
    sys.exit(bool(failures) or not folders)


if __name__ == "__main__":
    main()
