#!/usr/bin/env python3
"""How far Binesh is from float64, network by network: the table of docs/numerics.md.

    python bench/networks/exactness.py --binesh target/release/binesh [--pictures 2] [--nets resnet50 ...]

Needs Keras with TensorFlow (`--python` of venv-networks-keras) and the networks that `run.py` has made. Keras computes each
in float64 from the same weights and pictures, and in float32; Binesh computes it as it does by default and with `--exact`.
Errors are the largest difference of a logit from float64 as a share of the largest logit.
"""

import argparse
import json
import os
import subprocess
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import nets  # noqa: E402


def in_double(model):
    """The same network with weights and arithmetic of 64 bits."""
    config = json.loads(json.dumps(model.get_config()).replace('"float32"', '"float64"'))
    keras.config.set_floatx("float64")
    double = type(model).from_config(config)
    keras.config.set_floatx("float32")
    double.set_weights([w.astype("float64") for w in model.get_weights()])
    return double


def binesh(program, file, x, *options):
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/x.npy", f"{folder}/y.npz"
        np.save(source, x)
        command = [program, "run", "-m", file, "--input", source, "--output", target, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with np.load(target) as values:
            return values[values.files[0]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binesh", required=True)
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--nets", nargs="*", default=list(nets.NETS))
    args = parser.parse_args()
    print("| network | Binesh | `--exact` | Keras in float32 |\n|---|---|---|---|")
    for net in args.nets:
        file = nets.FOLDER / f"{net}.keras"
        x = np.load(nets.FOLDER / f"{net}-x.npy")[: args.pictures]
        model = keras.models.load_model(file, compile=False)
        exact = in_double(model)(x.astype("float64"), training=False).numpy()
        assert exact.dtype == np.float64
        single = model(x, training=False).numpy()
        ours = [binesh(args.binesh, file, x), binesh(args.binesh, file, x, "--exact")]
        off = [np.abs(y - exact).max() / np.abs(exact).max() for y in (*ours, single)]
        print(f"| {net} | " + " | ".join(f"{e:.1e}" for e in off) + " |", flush=True)


if __name__ == "__main__":
    main()
