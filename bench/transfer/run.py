#!/usr/bin/env python3
"""The whole recipe of transfer learning, Binesh against Keras and PyTorch, taking turns in one run.

    python bench/transfer/run.py [--nets vgg16 ...] [--per-class 10] [--epochs 20 10] [--rounds 1] [--threads 2]

Needs Python 3.11, pip, cargo. Same pictures and split, same base weights (weights.py), same epochs, batch, optimizer and
rates, no augmentation unless `--augment flip`; each peer runs as its own guide says (keras_peer.py, torch_peer.py say
which). The default, 50 of the sample pictures, takes about a quarter of an hour, nearly all of it the peers' VGG16;
`--per-class 48` takes all of them. Every figure is printed as a JSON line and kept in the cache; the tables are Markdown.

Time of a recipe: from the start of the stage to its end, with its validations; importing and loading are listed apart.
Memory: the largest sum, over the processes of an engine, of what each holds (PSS: shared pages are counted once); then
the part of it that is not pages of files, as the libraries of PyPI's PyTorch, made for graphics cards, are most of its
memory on small networks.
Step: forward, backward and update of one batch in memory, last block and head training, nothing cached.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import threading
import time

import recipe

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = pathlib.Path(os.environ.get("BINESH_CACHE") or pathlib.Path.home() / ".cache" / "binesh") / "bench"
ENGINES = ("binesh", "keras", "torch")


def venv(name):
    """The interpreter of a peer's own environment, made once."""
    folder = CACHE / f"venv-{name}"
    wanted = (HERE / f"requirements-{name}.txt").read_text()
    done = folder / "done"
    if not (done.exists() and done.read_text() == wanted):
        print(f"making {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "-q", "-r", HERE / f"requirements-{name}.txt"], check=True)
        done.write_text(wanted)
    return folder / "bin/python"


def split(pictures, per_class):
    """train/ and val/ of the first pictures of each class: every fifth is for validation."""
    tree = CACHE / "trees" / f"{pathlib.Path(pictures).resolve().name}-{per_class}"
    shutil.rmtree(tree, ignore_errors=True)
    for folder in sorted(p for p in pathlib.Path(pictures).iterdir() if p.is_dir()):
        files = sorted(p for p in folder.iterdir() if p.is_file())
        # Spread over the class, since neighbours in the alphabet are often by one hand.
        files = [files[i * len(files) // per_class] for i in range(min(per_class, len(files)))]
        for i, path in enumerate(files):
            target = tree / ("val" if i % 5 == 4 else "train") / folder.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.name)
    return tree


def processes(pid):
    """A process and its descendants."""
    found, queue = [], [pid]
    while queue:
        pid = queue.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                queue += map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except OSError:
            pass
    return found


def held(pid):
    """Megabytes that the processes hold together, and how many of them are no file's pages."""
    total = data = 0
    for process in processes(pid):
        try:
            lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            data += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
        except OSError:
            pass
    return total / 1024, data / 1024


def run(command, env):
    """Standard output, and the figures that are taken from outside: seconds from start to exit, largest memory in MB."""
    began = time.perf_counter()
    child = subprocess.Popen([str(c) for c in command], env=dict(os.environ, **env), stdout=subprocess.PIPE, text=True)
    peaks = [0.0, 0.0]
    stop = threading.Event()

    def watch():
        while not stop.wait(0.3):
            peaks[:] = map(max, peaks, held(child.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out = child.communicate()[0]
    wall = time.perf_counter() - began
    stop.set()
    watcher.join()
    if child.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with {child.returncode}")
    return out, {"wall": wall, "memory": peaks[0], "memory_data": peaks[1]}


def peer(name, python, args, net, tree, steps):
    command = [python, HERE / f"{name}_peer.py", tree, "--net", net, "--weights", args.weights, "--threads", args.threads]
    command += ["--batch", args.batch, "--epochs", *args.epochs, "--augment", args.augment, "--steps", steps]
    if steps and args.everything:
        command.append("--everything")
    if name == "keras":
        command += ["--jit", args.jit]
    out, outside = run(command, {})
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    stages = {line["stage"]: line for line in lines}
    if steps:
        figures = {"step": stages["step"]["step_seconds"], "step_best": stages["step"]["best"]}
        return {**figures, "memory": outside["memory"], "lines": lines}
    return {
        "import": stages["import"]["seconds"],
        "start": stages["start"]["seconds"],
        "frozen": stages["frozen"]["seconds"],
        "unfrozen": stages["unfrozen"]["seconds"],
        "recipe": stages["frozen"]["seconds"] + stages["unfrozen"]["seconds"],
        **outside,
        "accuracy": stages["unfrozen"]["val_accuracy"][-1],
        "loss": stages["unfrozen"]["val_loss"][-1],
        "lines": lines,
    }


def build_binesh():
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "binesh-cli"], check=True, cwd=ROOT)
    example = ["cargo", "build", "--release", "-q", "-p", "binesh", "--example", "transfer_step"]
    subprocess.run(example, check=True, cwd=ROOT)


def binesh(args, net, tree, steps):
    """Our side. A recipe's time is that of the parts that the peers' `fit` has: photos read, the frozen part, both stages
    with their validations; scanning, judging, report and saved model are in the time from start to exit."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release"
    weights, last = args.weights / f"{net}.h5", recipe.NETS[net]["last"]
    if steps:
        begin = recipe.NETS[net]["first"] if args.everything else last
        out, outside = run([target / "examples/transfer_step", weights, begin, args.batch, args.threads, steps], {})
        return {**json.loads(out), "memory": outside["memory"]}
    run_folder = CACHE / "runs" / net
    shutil.rmtree(run_folder, ignore_errors=True)
    command = [target / "binesh", "train", tree, "-m", weights, "--out", run_folder, "--json", "--threads", args.threads]
    command += ["--head-epochs", args.epochs[0], "--epochs", args.epochs[1], "--batch", args.batch, "--force"]
    command += ["--lr", recipe.HEAD_RATE, "--fine-tune-lr", recipe.FINE_RATE, "--rate-decay", 1, "--schedule", "constant"]
    command += ["--label-smoothing", 0, "--dropout", recipe.DROPOUT, "--unfreeze", last, "--optimizer", "adam"]
    command += ["--views", 0]
    if args.augment != "none":
        sys.exit("Binesh's side of --augment flip is not written")
    out, outside = run(command, {})
    document = json.loads(out)
    parts = {part["name"]: part["seconds"] for part in document["parts"]}
    last_epoch = (run_folder / "history.csv").read_text().splitlines()[-1].split(",")
    frozen = parts["frozen part, once for each view"] + parts["head"]
    return {
        "frozen": frozen,
        "unfrozen": parts["fine-tuning"],
        "recipe": frozen + parts["fine-tuning"],
        **outside,
        "accuracy": float(last_epoch[5]),
        "loss": float(last_epoch[4]),
        "lines": [document],
    }


def median(runs, key):
    values = [r[key] for r in runs if r.get(key) is not None]
    return statistics.median(values) if values else None


def show(value, form="{:.1f}"):
    return "" if value is None else form.format(value)


def tables(results, steps, args):
    engines = [e for e in ENGINES if e in args.engines]
    out = [
        f"{args.per_class} pictures a class (every fifth for validation), {args.epochs[0]} epochs frozen and "
        f"{args.epochs[1]} unfrozen, batch {args.batch}, {args.threads} threads, augmentation {args.augment}, "
        f"median of {args.rounds}.",
        "",
        "| network | engine | frozen, s | unfrozen, s | recipe, s | import and load, s | memory, MB | without files | validation accuracy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for net in args.nets:
        for engine in engines:
            keys = ("frozen", "unfrozen", "recipe", "memory", "memory_data", "accuracy", "wall")
            r = {k: median(results[net, engine], k) for k in keys}
            load = None if r["wall"] is None or r["recipe"] is None else r["wall"] - r["recipe"]
            cells = [show(r["frozen"]), show(r["unfrozen"]), show(r["recipe"]), show(load), show(r["memory"], "{:.0f}")]
            cells.append(show(r["memory_data"], "{:.0f}"))
            out.append(f"| {net} | {engine} | {' | '.join(cells)} | {show(r['accuracy'], '{:.3f}')} |")
    out += ["", "| network | step of Binesh, s | of Keras | of PyTorch | its memory, MB | | |", "|---|---|---|---|---|---|---|"]
    for net in args.nets:
        cells = [show(median(steps.get((net, e), []), "step"), "{:.3f}") for e in ENGINES]
        cells += [show(median(steps.get((net, e), []), "memory"), "{:.0f}") for e in ENGINES]
        out.append(f"| {net} | {' | '.join(cells)} |")
    if "binesh" in engines and len(engines) > 1:
        out += ["", "Faster peer divided by Binesh:", "", "| network | recipe | start to exit | step | memory | without files |", "|---|---|---|---|---|---|"]
        for net in args.nets:

            def ratio(table, key):
                ours = median(table.get((net, "binesh"), []), key)
                theirs = [median(table.get((net, e), []), key) for e in engines if e != "binesh"]
                theirs = [t for t in theirs if t is not None]
                return "" if ours is None or not theirs else f"**{min(theirs) / ours:.2f}**"

            cells = [ratio(results, "recipe"), ratio(results, "wall"), ratio(steps, "step"), ratio(results, "memory")]
            cells.append(ratio(results, "memory_data"))
            out.append(f"| {net} | {' | '.join(cells)} |")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", default=ROOT / "examples/data/pictures")
    parser.add_argument("--per-class", type=int, default=10)
    parser.add_argument("--nets", nargs="*", choices=recipe.NETS, default=list(recipe.NETS))
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--epochs", type=int, nargs=2, default=(20, 10), metavar=("FROZEN", "UNFROZEN"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5, help="steps to time without any cache; 0 for none")
    parser.add_argument("--steps-only", action="store_true", help="no recipes")
    parser.add_argument("--everything", action="store_true", help="every layer learns in these steps (not Keras)")
    parser.add_argument("--augment", choices=["none", "flip"], default="none")
    parser.add_argument("--jit", choices=["auto", "off"], default="auto", help="Keras: XLA as it decides, or never")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between engines, for spinning threads to rest")
    for name in ("keras", "torch"):
        parser.add_argument(f"--{name}-python", help=f"an interpreter that has requirements-{name}.txt, instead of a venv")
    args = parser.parse_args()
    if args.everything and "keras" in args.engines:
        sys.exit("Keras's side of --everything is not written: --engines binesh torch")
    args.weights = CACHE / "weights"
    python = {e: getattr(args, f"{e}_python") or venv(e) for e in ("keras", "torch") if e in args.engines or e == "keras"}
    missing = [n for n in args.nets if not (args.weights / f"{n}.npz").exists()]
    if missing:
        subprocess.run([python["keras"], HERE / "weights.py", args.weights, "--pictures", args.pictures, "--nets", *missing], check=True)
    if "binesh" in args.engines:
        build_binesh()
    tree = split(args.pictures, args.per_class)
    results = {(n, e): [] for n in args.nets for e in args.engines}
    steps = {(n, e): [] for n in args.nets for e in args.engines}
    with (CACHE / f"transfer-{time.strftime('%Y%m%d-%H%M%S')}.jsonl").open("w") as log:

        def one(kind, table, net, engine, count):
            time.sleep(args.pause)
            if engine == "binesh":
                figures = binesh(args, net, tree, count)
            else:
                figures = peer(engine, python[engine], args, net, tree, count)
            table[net, engine].append(figures)
            line = json.dumps({"kind": kind, "net": net, "engine": engine, **figures})
            print(json.dumps({k: v for k, v in json.loads(line).items() if k != "lines"}), file=sys.stderr, flush=True)
            log.write(line + "\n")
            log.flush()

        for net in args.nets:
            for _ in range(args.rounds):
                for engine in [] if args.steps_only else args.engines:
                    one("recipe", results, net, engine, 0)
                for engine in args.engines if args.steps else []:
                    one("step", steps, net, engine, args.steps)
    print(tables(results, steps, args))


if __name__ == "__main__":
    main()
