#!/usr/bin/env python3
"""What comes before the first answer: one photo from the start of a process, and the loading of a large file.

    python bench/networks/start.py [--rounds 5]

- *Start*: seconds from the start of a process to its end, with the class of one photo printed: `binesh predict`, and
  Python with ONNX Runtime or with PyTorch (weights from a file), which read and scale the photo by Pillow. MobileNetV2.
- *Loading*: seconds until VGG16's 550 MB are ready to run, first run included: Binesh its `.keras` file, ONNX Runtime its
  `.onnx`, PyTorch its state dictionary, and `cat` that reads the `.keras` file, as the least that a disk allows.

Each once with the files in memory and, for who may empty the system's cache (root on Linux), once more from disk.
Medians over rounds. Files are those that run.py makes; run it first with `--rounds 0 --nets mobilenetv2 vgg16`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import engines
import nets
from tables import row, rule, show

PHOTO = engines.ROOT / "examples" / "data" / "pictures" / "fruit" / "pineapple.jpg"
DROP = pathlib.Path("/proc/sys/vm/drop_caches")

READ = """
import sys
import numpy as np
from PIL import Image
picture = Image.open(sys.argv[2]).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
x = np.asarray(picture, "float32").transpose(2, 0, 1)[None].copy()
"""
ORT = """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(session.run(None, {"input": x})[0].argmax())
"""
TORCH = """
import torch, torchvision
net = getattr(torchvision.models, sys.argv[3])(**({"init_weights": False} if sys.argv[3].startswith("vgg") else {}))
net.load_state_dict(torch.load(sys.argv[1], weights_only=True))
with torch.inference_mode():
    print(net.eval()(torch.from_numpy(x) / 127.5 - 1).argmax())
"""
SAVE = """
import sys, torch, torchvision
torch.save(getattr(torchvision.models, sys.argv[2])().state_dict(), sys.argv[1])
"""
# Seconds of loading and of the first run, without what is imported.
TIMED = """
import json, time
began = time.perf_counter()
"""
TIMED_END = """
print(json.dumps(time.perf_counter() - began))
"""


def state(net, args):
    """PyTorch's weights in a file."""
    path = nets.FOLDER / f"{net}.pt"
    if not path.exists():
        save = [args.torch_python, "-c", SAVE]
        nets.whole(path, lambda part: subprocess.run([*save, part, nets.NETS[net].torch], check=True), ".part")
    return path


def starts(net, args):
    """Commands whose whole process is timed."""
    file, python = nets.FOLDER / net, args.torch_python
    return {
        "Binesh": [args.binesh, "predict", "-m", f"{file}.keras", PHOTO],
        "ONNX Runtime": [python, "-c", READ + ORT, f"{file}.onnx", PHOTO],
        "PyTorch": [python, "-c", READ + TORCH, state(net, args), PHOTO, nets.NETS[net].torch],
    }


def loads(net, args):
    """Commands that say themselves how long loading and the first run took; None for the time of the whole."""
    file, python = nets.FOLDER / net, args.torch_python
    ort = READ + "import onnxruntime" + TIMED + ORT + TIMED_END
    torch = READ + "import torch, torchvision" + TIMED + TORCH + TIMED_END
    return {
        "cat": (["cat", f"{file}.keras"], None),
        "Binesh": ([args.binesh, "bench", f"{file}.keras", "--seconds", "0", "--json"], binesh_seconds),
        "ONNX Runtime": ([python, "-c", ort, f"{file}.onnx", PHOTO], last_line),
        "PyTorch": ([python, "-c", torch, state(net, args), PHOTO, nets.NETS[net].torch], last_line),
    }


def binesh_seconds(text):
    figures = json.loads(text)
    return (figures["load_ms"] + figures["plan_ms"] + figures["median_ms"]) / 1e3


def last_line(text):
    return float(text.splitlines()[-1])


def once(command, read, cold):
    """Seconds, and the share of the machine that other programs took."""
    if cold:
        os.sync()
        DROP.write_text("3")
    out = subprocess.PIPE if read else subprocess.DEVNULL
    ran, wall, others = engines.watched(command, check=True, stdout=out, stderr=subprocess.PIPE, text=True)
    return read(ran.stdout) if read else wall, others


def table(title, commands, args):
    columns = [False, *([True] if os.access(DROP, os.W_OK) else [])]
    out = [row(title, *("from disk, s" if cold else "from memory, s" for cold in columns)), rule(1 + len(columns))]
    times = {(name, cold): [] for name in commands for cold in columns}
    for command, read in commands.values():
        once(command, read, False)
    for cold in columns:
        for _ in range(args.rounds):
            for name, (command, read) in commands.items():
                time.sleep(1)
                took, others = once(command, read, cold)
                line = {"what": title, "engine": name, "cold": cold, "s": took, "others": others}
                print(json.dumps(line), file=sys.stderr, flush=True)
                times[name, cold] += [took] if others is None or others <= args.others else []

    def cell(name, cold):
        return show(statistics.median(times[name, cold])) if times[name, cold] else "disturbed"

    out += [row(name, *(cell(name, cold) for cold in columns)) for name in commands]
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=["start", "load"], nargs="*", default=["start", "load"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--others", type=float, default=0.05, help="share of the machine that others may take in a process that counts")
    parser.add_argument("--binesh", help="the program, instead of building it")
    for name, packages in engines.REQUIREMENTS.items():
        parser.add_argument(f"--{name}-python", help=f"an interpreter with {' '.join(packages)}, instead of a venv")
    args = parser.parse_args()
    args.engines = ["binesh"]
    engines.find(args)
    if "start" in args.what:
        commands = {name: (command, None) for name, command in starts("mobilenetv2", args).items()}
        print(table("MobileNetV2, one photo", commands, args) + "\n")
    if "load" in args.what:
        print(table("VGG16, ready to run", loads("vgg16", args), args))


if __name__ == "__main__":
    main()
