#!/usr/bin/env python3
"""Whole networks, Binesh against ONNX Runtime and PyTorch, engines taking turns in one run.

    python bench/networks.py [--nets resnet50 ...] [--batch 1] [--threads 2] [--rounds 5] [--seconds 3] [--gradient]

Needs Python 3.11, pip, cargo. Networks are those of keras.applications with 1000 logits, made and exported once and kept in
`${BINESH_CACHE:-~/.cache/binesh}/bench/networks`:

- Binesh opens the `.keras` file that Keras saved.
- ONNX Runtime runs the same network, exported by tf2onnx (what Keras's own `export(format="onnx")` calls) for exactly this
  batch and with its input in channels-first order, so that no size is left open and no transposition of the input is timed.
- PyTorch runs torchvision's network of that name, eager, channels_last, `inference_mode`. The architecture is the same but
  not each detail (padding of strided convolutions; ResNet50 is made to stride where Keras's does; Xception is not in
  torchvision), so the table says how many multiply-adds it has for each of ours.

A network that one of the first two cannot open is left out with a message: tf2onnx 1.17 leaves an `Erfc` in ConvNeXt that
ONNX has not.

Weights are random: no package of PyPI holds those of ImageNet for all. Kernels are He normal, biases and batch
normalization's scales vary, its statistics are those of a random batch, so that activations keep their size through all
layers. Time does not depend on the values, as long as none is subnormal. **No time is printed before the outputs of Binesh
(`binesh run`) and ONNX Runtime for the same input have been compared**, with each other and with Keras's.

Each figure is the median, over `--rounds` processes of each engine, of the median of its runs, after a warm-up that is the
same for all. Engines change their order from round to round and rest for a second between, as threads go on spinning
after a run. *Others* is the largest share of the machine that other programs took during an engine's process. Where it
was more than `--others` the process does not count; if that leaves an engine none, its times are of no worth, since a busy
core slows engines differently (PyTorch most), and the line has no ratios. `--rounds 0` compares outputs and times nothing.
With `--gradient` a run is forwards and back to the gradient of each picture's largest logit with respect to the input,
which ONNX Runtime has not. Every figure is kept in the cache as a JSON line.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve()
ROOT = HERE.parents[1]
CACHE = pathlib.Path(os.environ.get("BINESH_CACHE") or pathlib.Path.home() / ".cache" / "binesh") / "bench"
FOLDER = CACHE / "networks"

# Our name: Keras's, torchvision's, pixels along a side.
NETS = {
    "vgg16": ("VGG16", "vgg16", 224),
    "resnet50": ("ResNet50", "resnet50", 224),
    "mobilenetv2": ("MobileNetV2", "mobilenet_v2", 224),
    "densenet121": ("DenseNet121", "densenet121", 224),
    "inceptionv3": ("InceptionV3", "inception_v3", 299),
    "xception": ("Xception", None, 299),
    "efficientnetb0": ("EfficientNetB0", "efficientnet_b0", 224),
    "convnexttiny": ("ConvNeXtTiny", "convnext_tiny", 224),
}
ENGINES = {"binesh": "Binesh", "ort": "ONNX Runtime", "torch": "PyTorch"}
REQUIREMENTS = {
    "keras": ["h5py==3.14.0", "keras==3.15.1", "numpy==2.4.6", "onnx==1.23.2", "tensorflow_cpu==2.21.0", "tf2onnx==1.17.0"],
    "torch": ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0", "torch==2.15.0", "torchvision==0.29.2"],
}
# Largest difference of two engines' logits, of the largest logit.
TOLERANCE = 1e-4


# What `make` does, with Keras.


def make(args):
    """NET.keras, and for this batch NET-bN.onnx, an input and Keras's output for it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import numpy as np
    import tensorflow as tf
    import tf2onnx

    constructor, _, side = NETS[args.net]
    saved = FOLDER / f"{args.net}.keras"
    if saved.exists():
        model = keras.models.load_model(saved, compile=False)
    else:
        keras.utils.set_random_seed(1)
        make_model = getattr(keras.applications, constructor)
        model = make_model(weights=None, input_shape=(side, side, 3), classifier_activation=None)
        fill(model, np)
        calibrate(model, pixels(np, 8, side, seed=1))
        whole(saved, model.save, ".part.keras")

    # Pixels, 0 to 255, since some of the networks scale them.
    x = pixels(np, args.batch, side, seed=0)
    y = model(x, training=False).numpy()
    stem = f"{args.net}-b{args.batch}"
    np.save(FOLDER / f"{stem}-x.npy", x)
    np.save(FOLDER / f"{stem}-y.npy", y)

    # Tensors that are no variables would become inputs of the graph.
    for layer in (layer for layer in layers(model) if isinstance(layer, keras.layers.Normalization)):
        layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    signature = [tf.TensorSpec(x.shape, tf.float32, name="input")]
    compiled = tf.function
    # Keras compiles grouped convolutions with XLA, and the exporter does not look into what is compiled.
    tf.function = lambda *given, jit_compile=None, **options: compiled(*given, **options)
    function = compiled(lambda input: model(input, training=False), input_signature=signature)

    def export(path):
        tf2onnx.convert.from_function(
            function, input_signature=signature, opset=17, inputs_as_nchw=["input:0", "input"], output_path=str(path)
        )

    whole(FOLDER / f"{stem}.onnx", export, ".part.onnx")


def layers(model):
    """All layers, with those of models inside."""
    for layer in model.layers:
        yield layer
        yield from layers(layer) if hasattr(layer, "layers") else ()


def whole(path, write, ending):
    """A file that exists is complete."""
    partial = path.with_name(path.name + ending)
    write(partial)
    partial.rename(path)


def pixels(np, batch, side, seed):
    return np.random.default_rng(seed).uniform(0, 255, (batch, side, side, 3)).astype("float32")


def fill(model, np):
    """Weights under which every layer matters to the output."""
    random = np.random.default_rng(2)
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.path.rsplit("/", 1)[-1]
        if name in ("kernel", "depthwise_kernel", "pointwise_kernel"):
            depthwise = len(shape) == 4 and shape[-1] == 1
            products = math.prod(shape[:2] if depthwise else shape[:-1])
            variable.assign(random.normal(0, math.sqrt(2 / products), shape))
        elif name in ("bias", "beta"):
            variable.assign(random.normal(0, 0.1, shape))
        elif name == "gamma":
            variable.assign(random.uniform(0.5, 1.5, shape))
        elif "layer_scale" in variable.path:
            variable.assign(random.uniform(0.1, 0.3, shape))


def calibrate(model, batch):
    """Statistics of batch normalization as the batch has them."""
    import keras

    norms = [layer for layer in layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    if norms:
        model(batch, training=True)
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum


# What the peers do, in an environment with ONNX Runtime and PyTorch.


def check(args):
    """How far the three engines' logits for one input are apart, of the largest logit; and what ONNX Runtime runs."""
    import collections
    import tempfile

    import numpy as np
    import onnx

    stem = f"{args.net}-b{args.batch}"
    x, keras = np.load(FOLDER / f"{stem}-x.npy"), np.load(FOLDER / f"{stem}-y.npy")
    binesh = np.load(FOLDER / f"{stem}-binesh.npz")
    [binesh] = [binesh[key] for key in binesh.files]
    with tempfile.TemporaryDirectory() as folder:
        optimized = os.path.join(folder, "optimized.onnx")
        session, name, channels_first = onnx_session(args, optimized)
        nodes = onnx.load(optimized).graph.node
    ort = session.run(None, {name: np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if channels_first else x})[0]
    for logits in (binesh, ort):
        assert logits.shape == keras.shape and np.isfinite(logits).all()

    def off(a, b):
        return float(np.abs(a - b).max() / np.abs(keras).max())

    figures = {"binesh_ort": off(binesh, ort), "binesh_keras": off(binesh, keras), "ort_keras": off(ort, keras)}
    # Logits that are all alike would be close to anything.
    figures["spread"] = float(np.std(keras) / np.abs(keras).max())
    # A transposition or a batch normalization left here would be the exporter's fault, and its time ours to explain.
    figures["ort_nodes"] = dict(collections.Counter(node.op_type for node in nodes).most_common())
    print(json.dumps(figures))


def onnx_session(args, optimized=None):
    """ONNX Runtime's session, its input's name, and whether that is channels-first."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    if optimized:
        options.optimized_model_filepath = optimized
        options.log_severity_level = 3  # no warning that such a file is for this machine only
    path = FOLDER / f"{args.net}-b{args.batch}.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    return session, given.name, given.shape[1] == 3


def ort(args):
    import numpy as np
    import onnxruntime

    began = time.perf_counter()
    session, name, channels_first = onnx_session(args)
    load = time.perf_counter() - began
    side = NETS[args.net][2]
    shape = (args.batch, 3, side, side) if channels_first else (args.batch, side, side, 3)
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    measure(args, lambda: session.run(None, {name: x}), load, version=onnxruntime.__version__)


def torch(args):
    import torch
    import torchvision
    from torch import nn

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    _, name, side = NETS[args.net]
    began = time.perf_counter()
    options = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    net = getattr(torchvision.models, name)(**options)
    if name == "resnet50":
        for block in (b for layer in (net.layer1, net.layer2, net.layer3, net.layer4) for b in layer):
            # Keras's first version strides in the 1x1 convolution, torchvision in the 3x3.
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    load = time.perf_counter() - began
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        # Activations that shrink from layer to layer become subnormal numbers, which are slow.
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            net.train()(torch.rand(2, 3, side, side) * 2 - 1)
    net.eval().requires_grad_(False)
    macs = 0

    def count(module, inputs, output):
        nonlocal macs
        macs += output.numel() * module.weight[0].numel()

    products = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [m.register_forward_hook(count) for m in products]
    net = net.to(memory_format=torch.channels_last)
    x = (torch.rand(args.batch, 3, side, side) * 2 - 1).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        net(x)
    for hook in hooks:
        hook.remove()

    def forward():
        with torch.inference_mode():
            net(x)

    def gradient():
        given = x.detach().requires_grad_(True)
        torch.autograd.grad(net(given).max(dim=1).values.sum(), given)

    measure(args, gradient if args.gradient else forward, load, version=torch.__version__, macs=macs)


def measure(args, run, load, **known):
    """As `binesh bench` does: one run, a warm-up, then runs for a while; one JSON line."""

    def timed():
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    def repeat(seconds, least):
        began, times = time.perf_counter(), []
        while len(times) < least or time.perf_counter() - began < seconds:
            times.append(timed())
        return times

    first = timed()
    repeat(min(0.2, args.seconds), 2)
    times = sorted(repeat(args.seconds, 5))
    median = statistics.median(times)
    status = pathlib.Path("/proc/self/status")
    peak = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:")] if status.exists() else []
    figures = {
        "median_ms": 1e3 * median,
        "p90_ms": 1e3 * times[math.ceil(0.9 * len(times)) - 1],
        "mean_ms": 1e3 * statistics.mean(times),
        "runs": len(times),
        "load_ms": 1e3 * load,
        "plan_ms": max(0.0, 1e3 * (first - median)),
        "peak_bytes": 1024 * int(peak[0]) if peak else None,
        "threads": args.threads,
        "batch": args.batch,
    }
    print(json.dumps({**figures, **known}))


# What the driver does; nothing but Python's own library.


def venv(name):
    """The interpreter of an environment, made once."""
    folder = CACHE / f"venv-networks-{name}"
    wanted, done = "\n".join(REQUIREMENTS[name]), folder / "done"
    if not (done.exists() and done.read_text() == wanted):
        print(f"making {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "-q", *REQUIREMENTS[name]], check=True)
        done.write_text(wanted)
    return folder / "bin/python"


def build_binesh():
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "binesh-cli"], check=True, cwd=ROOT)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "binesh"


def role(python, what, net, args, *more):
    command = [python, HERE, "--role", what, "--nets", net, "--batch", args.batch, "--threads", args.threads]
    command += ["--seconds", args.seconds, *(["--gradient"] if args.gradient else []), *more]
    return [str(word) for word in command]


def prepare(net, args):
    """Makes what is missing and compares outputs. Gives how far they are apart; None for a network that one
    engine cannot open."""
    stem = f"{net}-b{args.batch}"
    keras_file, output = FOLDER / f"{net}.keras", FOLDER / f"{stem}-binesh.npz"
    # Exported last.
    if not (keras_file.exists() and (FOLDER / f"{stem}.onnx").exists()):
        print(f"making {FOLDER / stem}", file=sys.stderr, flush=True)
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        made = subprocess.run(role(args.keras_python, "make", net, args), **quiet)
        if made.returncode != 0:
            sys.exit(f"{made.stdout}\n{net}: Keras cannot make or export it")
    command = [args.binesh, "run", "-m", keras_file, "--input", FOLDER / f"{stem}-x.npy", "--output", output]
    ran = subprocess.run([*command, "--threads", str(args.threads)], stderr=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        print(f"{net}: left out: {ran.stderr.strip()}", file=sys.stderr, flush=True)
        return None
    checked = subprocess.run(role(args.torch_python, "check", net, args), capture_output=True, text=True)
    output.unlink()
    if checked.returncode != 0:
        print(f"{net}: left out, not compared: {checked.stderr.strip().splitlines()[-1]}", file=sys.stderr, flush=True)
        return None
    off = json.loads(checked.stdout)
    wrong = [pair for pair in ("binesh_ort", "binesh_keras", "ort_keras") if not off[pair] <= TOLERANCE]
    if wrong:
        sys.exit(f"{net}: the outputs differ by more than {TOLERANCE} of the largest: {off}")
    return off


def busy():
    """Seconds that all processors together have worked; None where the system does not say."""
    try:
        words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, words)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def one(engine, net, args):
    """One process of an engine: its own figures, and the share of the machine that others took meanwhile."""
    python = args.torch_python
    if engine == "binesh":
        command = [args.binesh, "bench", FOLDER / f"{net}.keras", "--batch", args.batch, "--threads", args.threads]
        command += ["--seconds", args.seconds, "--json", *(["--gradient"] if args.gradient else [])]
        command = [str(word) for word in command]
    else:
        command = role(python, engine, net, args)
    before, began, own = busy(), time.perf_counter(), os.times()
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout
    after, wall, now = busy(), time.perf_counter() - began, os.times()
    own = sum(now[:4]) - sum(own[:4])
    others = None if before is None else max(0.0, (after - before - own) / (wall * (os.cpu_count() or 1)))
    return {**json.loads(out), "others": others}


def median(results, net, engine, *keys):
    values = [sum(r[key] for key in keys) for r in results.get((net, engine), []) if r.get(keys[0]) is not None]
    return statistics.median(values) if values else None


def show(value, form="{:.2f}"):
    return "" if value is None else form.format(value)


def ratio(theirs, ours, form="**{:.2f}**"):
    return show(None if theirs is None or not ours else theirs / ours, form)


def row(*cells):
    return f"| {' | '.join(cells)} |"


def tables(results, off, args):
    nets = [net for net in args.nets if off.get(net)]

    def known(engine, key):
        return next((r[key] for (_, e), rs in results.items() for r in rs if e == engine), "not run")

    what = "forwards and gradient of the input" if args.gradient else "forwards"
    out = [
        f"{processor()}, {args.threads} threads, batch {args.batch}, {what}; Binesh on {known('binesh', 'isa')}, ONNX Runtime "
        f"{known('ort', 'version')}, PyTorch {known('torch', 'version')}; {args.rounds} rounds of {args.seconds:g} s.",
        "",
        row("network", "Binesh, ms", "ONNX Runtime, ms", "PyTorch, ms", "ONNX Runtime / Binesh", "PyTorch / Binesh",
            "PyTorch's multiply-adds / ours", "outputs differ by", "others"),
        "|" + "---|" * 9,
    ]  # fmt: skip
    for net in nets:
        ours, ort, torch = (median(results, net, engine, "median_ms") for engine in ENGINES)
        macs = ratio(median(results, net, "torch", "macs"), median(results, net, "binesh", "macs"), "{:.2f}")
        others = [r["others"] for e in ENGINES for r in results.get((net, e), []) if r["others"] is not None]
        disturbed = max(others, default=0.0) > args.others
        ratios = ["disturbed"] * 2 if disturbed else [ratio(ort, ours), ratio(torch, ours)]
        others = show(100 * max(others) if others else None, "{:.0f} %")
        differ = f"{off[net]['binesh_ort']:.0e}"
        out.append(row(net, show(ours), show(ort), show(torch), *ratios, macs, differ, others))
    out += [
        "",
        row("network", "load and plan: Binesh, ms", "ONNX Runtime, ms", "largest memory: Binesh, MB", "ONNX Runtime, MB", "PyTorch, MB"),
        "|" + "---|" * 6,
    ]
    for net in nets:
        start = [show(median(results, net, engine, "load_ms", "plan_ms"), "{:.0f}") for engine in ("binesh", "ort")]
        peaks = [median(results, net, engine, "peak_bytes") for engine in ENGINES]
        out.append(row(net, *start, *(show(p and p / 1e6, "{:.0f}") for p in peaks)))
    return "\n".join(out)


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="*", choices=NETS, default=list(NETS))
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a process times runs")
    parser.add_argument("--gradient", action="store_true", help="forwards and the gradient of the input")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between processes, for spinning threads to rest")
    parser.add_argument("--others", type=float, default=0.05, help="share of the machine that others may take in a process that counts")
    parser.add_argument("--binesh", help="the program, instead of building it")
    for name in REQUIREMENTS:
        parser.add_argument(f"--{name}-python", help=f"an interpreter with {' '.join(REQUIREMENTS[name])}, instead of a venv")
    parser.add_argument("--role", choices=["make", "check", "ort", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        [args.net] = args.nets
        return {"make": make, "check": check, "ort": ort, "torch": torch}[args.role](args)

    FOLDER.mkdir(parents=True, exist_ok=True)
    args.binesh = args.binesh or build_binesh()
    args.keras_python, args.torch_python = args.keras_python or venv("keras"), args.torch_python or venv("torch")
    engines = [e for e in args.engines if not (e == "ort" and args.gradient)]
    off = {net: prepare(net, args) for net in args.nets}
    for net in args.nets:
        print(json.dumps({"net": net, "outputs": off[net]}), file=sys.stderr, flush=True)
    results, counted = {}, {}
    with (CACHE / f"networks-{time.strftime('%Y%m%d-%H%M%S')}.jsonl").open("w") as log:
        for net in (net for net in args.nets if off[net]):
            able = [e for e in engines if e != "torch" or NETS[net][1]]
            for turn in range(args.rounds):
                for engine in able[turn % len(able) :] + able[: turn % len(able)]:
                    time.sleep(args.pause)
                    figures = one(engine, net, args)
                    results.setdefault((net, engine), []).append(figures)
                    line = json.dumps({"net": net, "engine": engine, **figures})
                    print(line, file=sys.stderr, flush=True)
                    log.write(line + "\n")
                    log.flush()
    for key, figures in results.items():
        quiet = [r for r in figures if r["others"] is None or r["others"] <= args.others]
        counted[key] = quiet or figures
        if len(quiet) < len(figures):
            print(f"{key}: {len(quiet)} of {len(figures)} processes were undisturbed", file=sys.stderr)
    print(tables(counted, off, args))


if __name__ == "__main__":
    main()
