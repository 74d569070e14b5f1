"""PyTorch networks exported to ONNX by both exporters, and what PyTorch computes: `python onnx_torch.py [OUTDIR NAME...]`
(`requirements-torch.txt`, with onnx 1.23.2 and onnxscript 0.7.2).

Without arguments it makes the small goldens `golden/onnx_*`: each shows one thing that a reader can get wrong, mostly in the
layout. With a folder and names it makes whole networks of torchvision, or of timm as `timm/NAME`, with random weights, which are never committed, their biases
moved a little, so that no value is near a kink of a rectifier (`kinks.py`):
`BINESH_ONNX_GOLDEN=OUTDIR cargo test --release -p binesh --test onnx_goldens`.

  script.onnx, dynamo.onnx   the two exporters' files
  io.npz                     input/0  output/0  seed  grad/input/0, all in PyTorch's layout
  io.json                    versions; `noise`: how far a change of the input's fifth digit moves the gradient
"""

import json
import pathlib
import sys
import warnings
import zlib

import numpy as np
import onnx
import torch
import torchvision
from torch import nn

from kinks import margins, straighten
from onnx_strip import strip

warnings.filterwarnings("ignore")
ROOT = pathlib.Path(__file__).resolve().parent.parent / "golden"


class Lambda(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


class Shuffle(nn.Module):
    """ShuffleNet's: channels in groups, one of each group in turn; then half of them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.dw = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.fc = nn.Linear(12, 4)

    def forward(self, x):
        x = self.conv(x)
        n, c, h, w = x.shape
        x = x.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
        a, b = x.chunk(2, dim=1)
        return self.fc(torch.cat([a, self.dw(b)], 1).mean([2, 3]))


class Flatten(nn.Module):
    """A map flattened in PyTorch's order before a linear layer."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.Flatten(),
            nn.Dropout(0.3), nn.Linear(6 * 4 * 5, 7), nn.LeakyReLU(0.2), nn.Linear(7, 3), nn.Softmax(1),
        )

    def forward(self, x):
        return self.net(x)


class Excite(nn.Module):
    """Squeeze and excitation, hard and soft; a residual."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.mix = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = nn.functional.hardswish(self.bn(self.conv(x)))
        s = nn.functional.adaptive_avg_pool2d(x, 1)
        s = nn.functional.hardsigmoid(self.up(nn.functional.silu(self.down(s))))
        x = x + self.mix(x * s)
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Next(nn.Module):
    """ConvNeXt's block: a norm along the channels between two transposes, a scale of each channel."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 2, 2)
        self.dw = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm, self.a, self.b = nn.LayerNorm(6), nn.Linear(6, 12), nn.Linear(12, 6)
        self.scale = nn.Parameter(torch.rand(6, 1, 1))
        self.head = nn.LayerNorm(6)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        y = self.b(nn.functional.gelu(self.a(y))).permute(0, 3, 1, 2)
        x = x + self.scale * y
        return self.head(x.mean([-2, -1]))


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.group, self.instance = nn.GroupNorm(2, 6), nn.InstanceNorm2d(6, affine=True)
        self.slope = nn.PReLU(6)

    def forward(self, x):
        x = self.slope(self.group(self.conv(x)))
        return self.instance(x).square().sum(1).add(0.1).sqrt().flatten(1)


class Resized(nn.Module):
    """Maps that grow: transposed convolutions, pixels out of channels, interpolation; a border that repeats."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 8, 3, stride=2, padding=1, output_padding=1, groups=1)
        self.grouped = nn.ConvTranspose2d(2, 4, 2, stride=2, groups=2)
        self.last = nn.Conv2d(4, 2, 3)

    def forward(self, x):
        x = nn.functional.pixel_shuffle(self.up(x), 2)
        x = nn.functional.pad(self.grouped(x), (1, 2, 2, 1), mode="reflect")
        x = nn.functional.interpolate(x, size=(13, 11), mode="bilinear", align_corners=True)
        x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
        return nn.functional.avg_pool2d(self.last(x), 3, 2, 1, ceil_mode=True, count_include_pad=True)


class Attention(nn.Module):
    """Every position of a map looks at every other."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)
        self.qkv, self.fc = nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x):
        x = self.conv(x).flatten(2).transpose(1, 2)
        n, l, c = x.shape
        q, k, v = self.qkv(x).reshape(n, l, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        a = (q @ k.transpose(-2, -1) / (c // 2) ** 0.5).softmax(-1)
        return self.fc((a @ v).transpose(1, 2).reshape(n, l, c).mean(1))


SMALL = {
    "shuffle": (Shuffle, (3, 9, 8)),
    "flatten": (Flatten, (3, 9, 11)),
    "excite": (Excite, (3, 7, 6)),
    "next": (Next, (3, 8, 6)),
    "norms": (Norms, (3, 6, 7)),
    "resized": (Resized, (3, 4, 3)),
    "attention": (Attention, (3, 8, 12)),
}


def randomise(model, seed):
    """Statistics and biases that are not 0 and 1."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.2, 0.2)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)


def make(folder, model, shape, n=2, double=False, keep=False):
    folder.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(folder.name.encode())
    randomise(model, seed)
    model.eval()
    x = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (n, *shape)).astype("float32"))
    about = ""
    if double:
        moved = straighten(model.double(), x.double())
        about = f"biases moved by {moved[0]:.1e} ({moved[1]} have none), " + "kinks at {:.1e}, maxima at {:.1e}".format(*margins(model, x.double()))
        model.float()
    axes = {"x": {0: "batch"}}
    if not (keep and (folder / "dynamo.onnx").exists()):
        torch.onnx.export(model, (x,), folder / "script.onnx", dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes | {"y": {0: "batch"}})
        batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
        torch.onnx.export(model, (x,), folder / "dynamo.onnx", dynamo=True, external_data=False, verbose=False, **batch)
        for name in ("script", "dynamo"):
            strip(folder / f"{name}.onnx")
    # Gradients behind rectifiers are compared with those of twice the digits.
    reference, given = (model.double(), x.double()) if double else (model, x)
    seed_array = np.random.default_rng(seed + 1).normal(0, 1, tuple(reference(given[:1]).shape[1:])).astype("float32")
    seed_array = np.broadcast_to(seed_array, (n, *seed_array.shape)).copy()

    def gradient(x):
        x = x.clone().requires_grad_(True)
        y = reference(x)
        (y * torch.from_numpy(seed_array)).sum().backward()
        return y.detach(), x.grad

    y, grad = gradient(given)
    # How far a change of the input's fifth digit moves the gradient: values cross the kinks of rectifiers.
    noise = 0.0
    for trial in range(3):
        change = np.random.default_rng(trial).uniform(-1e-5, 1e-5, tuple(given.shape))
        moved = gradient(given * (1 + torch.from_numpy(change).to(given.dtype)))[1]
        noise = max(noise, float((moved - grad).abs().max() / grad.abs().max()))
    arrays = {"input/0": x, "output/0": y, "seed": seed_array, "grad/input/0": grad}
    arrays = {k: np.asarray(v.detach() if torch.is_tensor(v) else v).astype("float32") for k, v in arrays.items()}
    np.savez_compressed(folder / "io.npz", **arrays)
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "onnx": onnx.__version__}
    (folder / "io.json").write_text(json.dumps({"versions": versions, "noise": noise}, indent=1) + "\n")
    print(folder.name, about, f"noise {noise:.1e}", flush=True)


def main():
    if len(sys.argv) == 1:
        for name, (build, shape) in SMALL.items():
            torch.manual_seed(zlib.crc32(name.encode()))
            make(ROOT / f"onnx_{name}", build(), shape)
        return
    for name in sys.argv[2:]:
        torch.manual_seed(zlib.crc32(name.encode()))
        side = 299 if name.endswith("inception_v3") else 224
        if name.startswith("timm/"):
            import timm

            model = timm.create_model(name[5:])
        else:
            kwargs = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
            model = getattr(torchvision.models, name)(weights=None, **kwargs)
        make(pathlib.Path(sys.argv[1]) / name.replace("/", "."), model, (3, side, side), double=True, keep=True)


main()
