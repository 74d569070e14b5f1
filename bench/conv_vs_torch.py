"""Convolution layers of binesh-kernels against PyTorch, engines taking turns in one run.

    python bench/conv_vs_torch.py [--threads 2] [--rounds 5] [--only forward|d_input|d_kernel] [--below 0.5] [--markdown]

Needs PyTorch (CPU) and cargo. PyTorch runs channels_last, without autograd for the forward pass; the gradients are its
own `convolution_backward` for one operand at a time. Both add the bias; ours also applies ReLU, PyTorch's rate is
taken without it. Each figure is the best of all rounds. On a busy machine take one thread and short layers: a layer
of a few milliseconds has runs that nothing disturbed, and no engine waits for another's thread.
"""

import argparse
import os
import subprocess
import time

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--repeats", type=int, default=10)
parser.add_argument("--only", choices=["forward", "d_input", "d_kernel"])
parser.add_argument("--below", type=float, default=1e9, help="only layers of less than this many GFLOP")
parser.add_argument("--markdown", action="store_true")
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch  # noqa: E402  (after the thread count)

torch.set_num_threads(args.threads)

# batch, height = width, channels in and out, kernel, stride
CASES = [
    (1, 224, 64, 64, 3, 1),
    (1, 112, 128, 128, 3, 1),
    (1, 56, 256, 256, 3, 1),
    (1, 28, 512, 512, 3, 1),
    (1, 14, 512, 512, 3, 1),
    (1, 56, 64, 64, 3, 1),
    (1, 28, 128, 128, 3, 1),
    (1, 14, 256, 256, 3, 1),
    (1, 7, 512, 512, 3, 1),
    (8, 28, 128, 128, 3, 1),
    (8, 14, 256, 256, 3, 1),
    (1, 28, 256, 256, 3, 2),
    (1, 224, 3, 64, 3, 1),
    (1, 224, 3, 64, 7, 2),
    (1, 56, 64, 256, 1, 1),
    (1, 14, 1024, 256, 1, 1),
    (8, 28, 512, 128, 1, 1),
]


def ours():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    build = ["cargo", "bench", "-q", "-p", "binesh-kernels", "--bench", "turns"]
    subprocess.run(build + ["--no-run"], check=True, cwd=root)
    env = dict(os.environ, BINESH_THREADS=str(args.threads))
    return subprocess.Popen(build, cwd=root, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def torch_once(direction, n, hw, cin, cout, k, stride):
    layout = torch.channels_last
    x = torch.rand(n, cin, hw, hw).to(memory_format=layout)
    w = torch.rand(cout, cin, k, k).to(memory_format=layout)
    b = torch.rand(cout)
    if direction == "forward":
        return lambda: torch.nn.functional.conv2d(x, w, b, stride=stride, padding=k // 2)
    dy = torch.rand_like(torch.nn.functional.conv2d(x, w, b, stride=stride, padding=k // 2))
    mask = [direction == "d_input", direction == "d_kernel", False]
    return lambda: torch.ops.aten.convolution_backward(
        dy, x, w, None, [stride] * 2, [k // 2] * 2, [1, 1], False, [0, 0], 1, mask
    )


def best(once):
    once()
    times = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return min(times)


engine = ours()
print(f"PyTorch {torch.__version__}, {args.threads} threads, best of {args.rounds} x {args.repeats}", flush=True)
heads = ["direction", "layer", "ours us", "torch us", "ours GFLOP/s", "torch GFLOP/s", "torch / ours"]
if args.markdown:
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
with torch.no_grad():
    for direction in [args.only] if args.only else ["forward", "d_input", "d_kernel"]:
        for n, hw, cin, cout, k, stride in CASES:
            out = -(-hw // stride)
            flops = 2 * n * out * out * cin * cout * k * k
            if flops >= args.below * 1e9:
                continue
            theirs, mine = [], []
            once = torch_once(direction, n, hw, cin, cout, k, stride)
            for _ in range(args.rounds):
                theirs.append(best(once))
                time.sleep(0.02)  # its workers spin on for a while
                engine.stdin.write(f"{direction} {n} {hw} {cin} {cout} {k} {stride} {args.repeats}\n")
                engine.stdin.flush()
                mine.append(float(engine.stdout.readline()) * 1e-6)
            a, b = min(mine), min(theirs)
            layer = f"{k}x{k}/{stride} {cin}->{cout} at {hw} px, batch {n}"
            row = [direction, layer, f"{a * 1e6:.0f}", f"{b * 1e6:.0f}", f"{flops / a / 1e9:.0f}"]
            row += [f"{flops / b / 1e9:.0f}", f"{b / a:.2f}"]
            print("| " + " | ".join(row) + " |" if args.markdown else "  ".join(row), flush=True)
engine.stdin.close()
engine.wait()
