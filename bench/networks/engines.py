"""What the driver runs: environments, programs, and one process of an engine. Nothing but Python's own library."""

import json
import os
import pathlib
import subprocess
import sys
import time

import nets

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

REQUIREMENTS = {
    "keras": ["h5py==3.14.0", "keras==3.15.1", "numpy==2.4.6", "onnx==1.23.2", "tensorflow_cpu==2.21.0", "tf2onnx==1.17.0"],
    "torch": ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0", "torch==2.15.0", "torchvision==0.29.2"],
}
# Our name: what tables say, and where the engine lives. `forward` joins the gradients, for the ratio of the two.
ENGINES = {
    "forward": ("Binesh forwards", "binesh"),
    "binesh": ("Binesh", "binesh"),
    "ort": ("ONNX Runtime", "torch"),
    "torch": ("PyTorch", "torch"),
    "compiled": ("torch.compile", "torch"),
    "tensorflow": ("TensorFlow", "keras"),
    "tract": ("tract", "rust"),
    "rten": ("rten", "rust"),
}
# With the gradient of the input.
DIFFERENTIABLE = ("binesh", "torch", "tensorflow")


def venv(name):
    """The interpreter of an environment, made once."""
    folder = nets.CACHE / f"venv-networks-{name}"
    wanted, done = "\n".join(REQUIREMENTS[name]), folder / "done"
    if not (done.exists() and done.read_text() == wanted):
        print(f"making {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "-q", *REQUIREMENTS[name]], check=True)
        done.write_text(wanted)
    return folder / "bin/python"


def build(folder, program, *options):
    """Builds a program of a workspace; gives its path."""
    subprocess.run(["cargo", "build", "--release", "--locked", "-q", *options], check=True, cwd=folder)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or folder / "target") / "release" / program


def find(args):
    """Fills in the programs and interpreters that the command line does not name."""
    args.binesh = args.binesh or build(ROOT, "binesh", "-p", "binesh-cli")
    homes = {ENGINES[engine][1] for engine in args.engines}
    args.keras_python = args.keras_python or venv("keras")
    args.torch_python = args.torch_python or venv("torch")
    if "rust" in homes:
        args.peers = args.peers or build(ROOT / "bench" / "peers", "peers")


def role(what, net, side, args):
    """The command of a role of run.py."""
    keras = what == "make" or ENGINES.get(what, ("", ""))[1] == "keras"
    command = [args.keras_python if keras else args.torch_python, HERE / "run.py", "--role", what, "--nets", net]
    command += ["--side", side, "--batch", args.batch, "--threads", args.threads, "--seconds", args.seconds]
    command += ["--binesh", args.binesh, *(["--gradient"] if args.gradient else [])]
    return [str(word) for word in command]


def prepare(net, side, args):
    """Makes what is missing and compares outputs. Gives how far they are apart; None for a network that one of Binesh
    and ONNX Runtime cannot open."""
    stem = nets.stem(net, side)
    if not all(pathlib.Path(f"{stem}{ending}").exists() for ending in (".keras", ".onnx", "-x.npy", "-y.npy")):
        print(f"making {stem}", file=sys.stderr, flush=True)
        made = subprocess.run(role("make", net, side, args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if made.returncode != 0:
            sys.exit(f"{made.stdout}\n{net}: Keras cannot make or export it")
    checked = subprocess.run(role("check", net, side, args), capture_output=True, text=True)
    if checked.returncode != 0:
        print(f"{net}: left out, not compared: {checked.stderr.strip().splitlines()[-1]}", file=sys.stderr, flush=True)
        return None
    off = json.loads(checked.stdout)
    wrong = [pair for pair in ("binesh_ort", "binesh_keras", "ort_keras") if not off[pair] <= nets.TOLERANCE]
    if wrong:
        sys.exit(f"{net}: the outputs differ by more than {nets.TOLERANCE} of the largest: {off}")
    return off


def busy():
    """Seconds that all processors together have worked; None where the system does not say."""
    try:
        words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, words)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def command(engine, net, side, args):
    if ENGINES[engine][1] == "binesh":
        back = args.gradient and engine == "binesh"
        words = [args.binesh, "bench", f"{nets.stem(net, side)}.keras", "--batch", args.batch, "--threads", args.threads]
        return [*words, "--seconds", args.seconds, "--json", *(["--gradient"] if back else [])]
    if ENGINES[engine][1] == "rust":
        words = [args.peers, engine, nets.stem(net, side), "--batch", args.batch, "--threads", args.threads]
        return [*words, "--seconds", args.seconds]
    return role(engine, net, side, args)


def watched(words, **options):
    """Runs a command. Gives how it ended, its seconds, and the share of the machine that other programs took meanwhile;
    None where the system does not say."""
    before, began, own = busy(), time.perf_counter(), os.times()
    ran = subprocess.run([str(word) for word in words], **options)
    after, wall, now = busy(), time.perf_counter() - began, os.times()
    own = sum(now[:4]) - sum(own[:4])
    # Processors' time is counted in ticks, of which a short process is hardly more than one.
    tick = (os.cpu_count() or 1) / os.sysconf("SC_CLK_TCK")
    others = None if before is None else max(0.0, (after - before - own - tick) / (wall * (os.cpu_count() or 1)))
    return ran, wall, others


def one(engine, net, side, args):
    """One process of an engine: its own figures, and `others`. None where the engine cannot run the network."""
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    ran, _, others = watched(command(engine, net, side, args), capture_output=True, text=True, env=env)
    if ran.returncode != 0:
        last = (ran.stderr.strip().splitlines() or [f"ended with {ran.returncode}"])[-1]
        print(f"{net}: {ENGINES[engine][0]} left out: {last}", file=sys.stderr, flush=True)
        return None
    return {**json.loads(ran.stdout), "others": others}
