#!/usr/bin/env python3
"""Whole networks, Binesh against its peers, engines taking turns in one run.

    python bench/networks/run.py [--nets resnet50 ...] [--engines ort torch ...] [--batch 1] [--threads 2] [--gradient]
    python bench/networks/run.py --matrix

Needs Python 3.11, pip, cargo. Networks have random weights and 1000 logits; they are made and exported once and kept in
`${BINESH_CACHE:-~/.cache/binesh}/bench/networks` (2 GB). Twelve are those of the list in nets.py.

- Binesh and TensorFlow (`tf.function`) open the `.keras` file.
- ONNX Runtime, tract and rten open the same network, exported by tf2onnx, input channels-first; ONNX Runtime and tract
  are told the batch, so that no size is left open.
- PyTorch runs torchvision's network of that name, channels last, eager in `inference_mode` or by `torch.compile` with
  frozen weights. The architecture is the same but not each detail (paddings of strided convolutions), so the table says
  how many multiply-adds it has for each of ours.

Weights are random: no package of PyPI holds those of ImageNet for all. Kernels are He normal, biases and batch
normalization's scales vary, its statistics are those of a random batch, so that activations keep their size through all
layers. Time does not depend on the values, as long as none is subnormal. **No time is printed before outputs for the same
pictures have been compared**: Binesh's, ONNX Runtime's and Keras's with each other, those of TensorFlow, tract and rten
with Keras's, those of `torch.compile` with eager PyTorch's.

Each figure is the median, over `--rounds` processes of each engine, of the median of its runs, after a warm-up that is the
same for all. Engines change their order from round to round and rest for a second between, as threads go on spinning
after a run. *Others* is the largest share of the machine that other programs took during an engine's process. Where it
was more than `--others` the process does not count; if that leaves an engine none, its times are of no worth, since a busy
core slows engines differently (PyTorch most), and the line has no ratios. `--rounds 0` compares outputs and times nothing.

With `--gradient` a run is forwards and back to the gradient of each picture's largest logit with respect to the input, by
those engines that can; Binesh's forward pass alone takes a turn too. `--sides` runs networks at other sizes of picture.

`--matrix` runs every network at `--batches` and `--threads`, forwards and with gradient. Every finished cell is a JSON
line of `--results`; a cell that this very program has finished undisturbed is skipped unless `--again`, so that the
matrix can be interrupted. `--under CMD` starts each cell with a command that waits for the machine, as `flock` does.
"""

import argparse
import hashlib
import importlib
import json
import pathlib
import shlex
import subprocess
import sys
import time

import engines
import nets
import tables

ROLES = {"make": "make", "check": "check", "ort": "peers", "torch": "peers", "compiled": "peers", "tensorflow": "peers"}
TURNS = ("binesh", "ort", "torch")


def cells(args):
    """The cells that the command line asks for: network, side, batch, threads, gradient."""
    matrix = args.matrix
    batches, threads = (args.batches, [2, 1]) if matrix else ([args.batch], [args.threads])
    directions = [False, True] if matrix else [args.gradient]
    for gradient in directions:
        for count in threads:
            for batch in batches:
                # What a heatmap or a saliency map costs: few pictures, all threads.
                if matrix and gradient and (batch > 8 or count == 1):
                    continue
                for net in args.nets:
                    for side in args.sides or [nets.NETS[net].side]:
                        yield {"net": net, "side": side, "batch": batch, "threads": count, "gradient": gradient}


def run(cell, args):
    """Compares outputs, times the engines in turns; gives the cell with its figures, None where it cannot be run."""
    net, side = cell["net"], cell["side"]
    args.batch, args.threads, args.gradient = cell["batch"], cell["threads"], cell["gradient"]
    outputs = engines.prepare(net, side, args)
    if not outputs:
        return None
    print(json.dumps({"net": net, "outputs": outputs}), file=sys.stderr, flush=True)
    able = [e for e in args.engines if not args.gradient or e in engines.DIFFERENTIABLE]
    if args.gradient and "binesh" in able:
        able.insert(0, "forward")
    figures = {engine: [] for engine in able}
    for turn in range(args.rounds):
        for engine in able[turn % len(able) :] + able[: turn % len(able)]:
            if figures[engine] is None:
                continue
            time.sleep(args.pause)
            one = engines.one(engine, net, side, args)
            print(json.dumps({"net": net, "engine": engine, **(one or {})}), file=sys.stderr, flush=True)
            figures[engine] = [*figures[engine], one] if one else None
    own = nets.NETS[net].side
    return {**cell, "own_side": own, "program": program(args), "outputs": outputs, "engines": figures}


def program(args):
    """Which build of Binesh was timed."""
    return hashlib.sha256(pathlib.Path(args.binesh).read_bytes()).hexdigest()[:12]


def read(args):
    """The last of each cell among the results of this program."""
    known = {}
    if args.results.exists():
        for line in args.results.read_text().splitlines():
            cell = json.loads(line)
            if cell["program"] == program(args):
                known[key(cell)] = cell
    return known


def key(cell):
    return tuple(cell[name] for name in ("net", "side", "batch", "threads", "gradient"))


def finished(cell, args):
    able = {e for e in args.engines if not cell["gradient"] or e in engines.DIFFERENTIABLE}
    return able <= cell["engines"].keys() and not tables.disturbed(cell, args.others)


def matrix(args):
    """Each cell in a process of its own, so that one that fails does not end the others."""
    for cell in cells(args):
        known = read(args).get(key(cell))
        if known and finished(known, args) and not args.again:
            continue
        command = [*shlex.split(args.under), sys.executable, __file__, "--nets", cell["net"], "--sides", cell["side"]]
        command += ["--batch", cell["batch"], "--threads", cell["threads"], *(["--gradient"] if cell["gradient"] else [])]
        command += ["--engines", *args.engines, "--rounds", args.rounds, "--seconds", args.seconds, "--pause", args.pause]
        command += ["--others", args.others, "--results", args.results, "--binesh", args.binesh, "--quiet"]
        command += ["--keras-python", args.keras_python, "--torch-python", args.torch_python]
        command += ["--peers", args.peers] if args.peers else []
        began = time.perf_counter()
        ran = subprocess.run([str(word) for word in command], stderr=subprocess.PIPE, text=True)
        outcome = "done" if ran.returncode == 0 else f"failed: {ran.stderr.strip().splitlines()[-1:]}"
        print(f"{key(cell)}: {outcome}, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    wanted = {key(cell) for cell in cells(args)}
    print(tables.tables([cell for name, cell in read(args).items() if name in wanted], args.others))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="*", choices=nets.NETS, default=list(nets.NETS))
    choices = [engine for engine in engines.ENGINES if engine != "forward"]
    parser.add_argument("--engines", nargs="*", choices=choices, default=list(TURNS))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", type=int, nargs="*", help="pixels along a side of the pictures, instead of each network's own")
    parser.add_argument("--gradient", action="store_true", help="forwards and the gradient of the input")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a process times runs")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between processes, for spinning threads to rest")
    parser.add_argument("--others", type=float, default=0.05, help="share of the machine that others may take in a process that counts")
    parser.add_argument("--matrix", action="store_true", help="all networks, batches, threads and directions")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8, 32], help="of the matrix, at most 32")
    parser.add_argument("--again", action="store_true", help="run finished cells of the matrix too")
    parser.add_argument("--under", default="", help="a command that each cell of the matrix is started with")
    parser.add_argument("--results", type=pathlib.Path, default=nets.CACHE / "networks.jsonl")
    parser.add_argument("--quiet", action="store_true", help="no tables")
    parser.add_argument("--binesh", help="the program, instead of building it")
    parser.add_argument("--peers", help="the program of bench/peers, instead of building it")
    for name, packages in engines.REQUIREMENTS.items():
        parser.add_argument(f"--{name}-python", help=f"an interpreter with {' '.join(packages)}, instead of a venv")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        [args.net] = args.nets
        return getattr(importlib.import_module(ROLES[args.role]), args.role)(args)

    nets.FOLDER.mkdir(parents=True, exist_ok=True)
    engines.find(args)
    if args.matrix:
        return matrix(args)
    done = []
    for cell in cells(args):
        result = run(cell, args)
        if result:
            done.append(result)
            with args.results.open("a") as file:
                file.write(json.dumps(result) + "\n")
    if not args.quiet:
        print(tables.tables(done, args.others))


if __name__ == "__main__":
    main()
