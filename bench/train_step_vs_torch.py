"""Steps of training of the last part of a network, from cached boundary values: binesh-core against PyTorch.

    python bench/train_step_vs_torch.py [--threads 2] [--rounds 3] [--steps 5] [CASE...]

Needs PyTorch (CPU) and cargo. Engines take turns; each figure is the best of the rounds' medians. PyTorch runs
channels_last; batch norm is frozen on both sides (eval mode, no gradient for its weights), every kernel and bias
learns, and plain gradient descent is part of the step.
"""

import argparse
import os
import statistics
import subprocess
import time

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("cases", nargs="*")
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch  # noqa: E402  (after the thread count)
from torch import nn  # noqa: E402

torch.set_num_threads(args.threads)


class Pad(nn.Module):
    """TensorFlow's `same` padding of a 3x3 window with stride 2."""

    def forward(self, x):
        return nn.functional.pad(x, (0, 1, 0, 1))


def conv(cin, cout, k, stride=1, groups=1, bias=False):
    pad = k // 2 if stride == 1 else 0
    layer = nn.Conv2d(cin, cout, k, stride, pad, groups=groups, bias=bias)
    return [Pad(), layer] if stride == 2 and k == 3 else [layer]


def norm(c):
    return nn.BatchNorm2d(c, eps=1e-3)


def head(k):
    return [nn.Linear(k, 256), nn.ReLU(), nn.Linear(256, 5)]


class Sum(nn.Module):
    def __init__(self, body, shortcut, last):
        super().__init__()
        self.body, self.shortcut, self.last = body, shortcut, last

    def forward(self, x):
        return self.last(self.shortcut(x) + self.body(x))


def vgg16_block5():
    layers = []
    for _ in range(3):
        layers += [*conv(512, 512, 3, bias=True), nn.ReLU()]
    return (16, 512, 14, 14), nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), *head(25088))


def vgg16_block5_first():
    shape, net = vgg16_block5()
    for layer in [net[2], net[4]]:
        layer.requires_grad_(False)
    return shape, net


def resnet50_conv5():
    blocks = []
    for block in range(3):
        cin, stride = (1024, 2) if block == 0 else (2048, 1)
        shortcut = nn.Sequential(nn.Conv2d(cin, 2048, 1, stride, bias=False), norm(2048)) if block == 0 else nn.Identity()
        body = [nn.Conv2d(cin, 512, 1, stride, bias=False), norm(512), nn.ReLU()]
        body += [*conv(512, 512, 3), norm(512), nn.ReLU(), *conv(512, 2048, 1), norm(2048)]
        blocks.append(Sum(nn.Sequential(*body), shortcut, nn.ReLU()))
    return (16, 1024, 14, 14), nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 5))


def mobilenet_v2_end():
    blocks, cin = [], 96
    for stride, cout in [(2, 160), (1, 160), (1, 160), (1, 320)]:
        wide = cin * 6
        body = [*conv(cin, wide, 1), norm(wide), nn.ReLU6(), *conv(wide, wide, 3, stride, groups=wide), norm(wide)]
        body = nn.Sequential(*body, nn.ReLU6(), *conv(wide, cout, 1), norm(cout))
        blocks.append(Sum(body, nn.Identity(), nn.Identity()) if stride == 1 and cin == cout else body)
        cin = cout
    blocks += [*conv(320, 1280, 1), norm(1280), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 5)]
    return (16, 96, 14, 14), nn.Sequential(*blocks)


def dense_head():
    return (32, 1280), nn.Sequential(*head(1280))


CASES = [vgg16_block5, vgg16_block5_first, resnet50_conv5, mobilenet_v2_end, dense_head]


class Theirs:
    def __init__(self, make):
        shape, self.net = make()
        self.net.eval()
        for layer in self.net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.requires_grad_(False)
        self.x = torch.rand(shape)
        if len(shape) == 4:
            self.net.to(memory_format=torch.channels_last)
            self.x = self.x.to(memory_format=torch.channels_last)
        self.seed = torch.rand(shape[0], 5) * 0.01
        self.weights = [p for p in self.net.parameters() if p.requires_grad]
        self.medians(1)

    def medians(self, steps):
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            y = self.net(self.x)
            forward = time.perf_counter()
            y.backward(self.seed)
            both = time.perf_counter()
            with torch.no_grad():
                for p in self.weights:
                    p.add_(p.grad, alpha=-1e-6)
                    p.grad = None
            times.append((forward - start, both - forward, time.perf_counter() - start))
        return [statistics.median(t) for t in zip(*times)]


root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
run = ["cargo", "run", "-q", "--release", "-p", "binesh-core", "--example", "train_step", str(args.threads)]
subprocess.run(["cargo", "build", "-q", "--release", "-p", "binesh-core", "--example", "train_step"], check=True, cwd=root)
engine = subprocess.Popen(run, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(f"PyTorch {torch.__version__}, {args.threads} threads, best of {args.rounds} medians of {args.steps} steps, ms")
print("| case | forward | torch | backward | torch | step | torch | torch / ours |\n" + "|---" * 8 + "|", flush=True)
for make in CASES:
    if args.cases and make.__name__ not in args.cases:
        continue
    theirs, mine, both = Theirs(make), [], []
    for _ in range(args.rounds):
        both.append(theirs.medians(args.steps))
        time.sleep(0.05)  # its workers spin on for a while
        engine.stdin.write(f"{make.__name__} {args.steps}\n")
        engine.stdin.flush()
        mine.append([float(us) * 1e-6 for us in engine.stdout.readline().split()])
    cells = []
    for ours, torchs in zip(map(min, zip(*mine)), map(min, zip(*both))):
        cells += [f"{ours * 1e3:.2f}", f"{torchs * 1e3:.2f}"]
    cells.append(f"{float(cells[5]) / float(cells[4]):.2f}")
    print(f"| {make.__name__} | " + " | ".join(cells) + " |", flush=True)
engine.stdin.close()
engine.wait()
