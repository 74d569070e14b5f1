"""What torchvision's and timm's networks compute from weights that a formula gives (`requirements-torch.txt`).

`python zoo.py [NAME...]` writes `golden/zoo/NAME.npz`. Weights are not stored: element `i` of tensor `name` is
`offset + scale * noise(name, i)` in f32, with one offset and one scale for each tensor, so that networks of full size fit
in a few kilobytes. Batch norms get the mean and variance that their input really has, so that no signal dies away.
`python zoo.py --files DIR [NAME...]` writes them as `torch.save` does, with outputs and all of the gradient, outside git; their
biases are moved a little, so that no value is near a kink of a rectifier (`kinks.py`). With `--kinks` they are not.

Outputs and gradients are computed in f64. Arrays: `names` (bytes of the tensors' names, one a line), `shapes` (rank and extents, one tensor after another), `offsets`,
`scales`, `input` (rows, columns, and the number behind `input` in the name of the pixels' noise), `output` [N, classes], `gradient` (of sum(output * noise("seed", i)) by the input
[N, H, W, C], each `step`th value), `gradient_peak` (its largest absolute value), `shaken` (how
far it moves, as a share of that, when the pixels' last digits do).
"""

import json
import pathlib
import sys

import numpy as np
import timm
import torch
import torchvision

from kinks import margins, straighten

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "zoo"
CLASSES = 10
# Pixels that are tried, and times that each are moved by their rounding to see whether the gradient stays.
ATTEMPTS, SHAKES = 8, 3
tv, N = torchvision.models, torch.nn


def noise(name, shape):
    """Uniform in [-1, 1), exact in f32: FNV-1a of the name, then SplitMix64 (Steele et al. 2014)."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)).reshape(shape)


def value(name, shape, offset, scale):
    return torch.from_numpy(np.float32(offset) + np.float32(scale) * noise(name, shape))


def plain(module, key, tensor):
    """Offset and scale of a tensor before anything is known of its input."""
    if isinstance(module, (N.BatchNorm2d, N.LayerNorm)) or key in ("gamma", "layer_scale"):
        return {"weight": (1, 0.3), "gamma": (0.5, 0.2), "layer_scale": (0.5, 0.2)}.get(key, (0, 0.3))
    if key == "bias":
        return 0, 0.1
    fan_in = tensor[0].numel()
    return 0, float(np.sqrt(6 / fan_in))


def fill(model, x):
    """Gives the model its weights; returns offset and scale of each tensor, in order."""
    parts = {}
    owners = dict(model.named_modules())
    for name, tensor in model.state_dict().items():
        module, _, key = name.rpartition(".")
        if key == "num_batches_tracked":
            parts[name] = (0, 0)
        elif key not in ("running_mean", "running_var"):
            parts[name] = plain(owners[module], key, tensor)
            tensor.copy_(value(name, tensor.shape, *parts[name]))

    def measure(name):
        def hook(module, inputs):
            a = inputs[0].detach()
            mean, deviation = float(a.mean()), float(a.var(dim=(0, 2, 3)).mean().sqrt()) + 1e-3
            for key, part in (("running_mean", (mean, 0.3 * deviation)), ("running_var", (deviation**2, 0.3 * deviation**2))):
                full = f"{name}.{key}"
                parts[full] = tuple(float(np.float32(p)) for p in part)
                getattr(module, key).copy_(value(full, getattr(module, key).shape, *parts[full]))

        return hook

    hooks = [m.register_forward_pre_hook(measure(n)) for n, m in model.named_modules() if isinstance(m, N.BatchNorm2d)]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    # What is not run (auxiliary classifiers) has no statistics yet.
    for name, tensor in model.state_dict().items():
        if name not in parts:
            parts[name] = (1, 0.3) if name.endswith("var") else (0, 0.3)
            tensor.copy_(value(name, tensor.shape, *parts[name]))
    return [parts[name] for name in model.state_dict()]


def thin_vgg(name):
    """torchvision's layout with a 32nd of the channels: its pictures are large, and every value is a kink of relu."""

    def make():
        model = getattr(tv, name)(num_classes=CLASSES)
        wide = lambda n: n if n in (3, CLASSES) else n // 32
        for i, m in enumerate(model.features):
            if isinstance(m, N.Conv2d):
                model.features[i] = N.Conv2d(wide(m.in_channels), wide(m.out_channels), 3, padding=1)
            elif isinstance(m, N.BatchNorm2d):
                model.features[i] = N.BatchNorm2d(wide(m.num_features))
        sizes = [16 * 49, 96, 96, CLASSES]
        for place, a, b in zip((0, 3, 6), sizes, sizes[1:]):
            model.classifier[place] = N.Linear(a, b)
        return model

    return make


def thin_timm_vgg():
    from timm.models.vgg import VGG, ConvMlp, cfgs

    cfg = [c if c == "M" else c // 32 for c in cfgs["vgg13"]]
    model = VGG(cfg, num_classes=CLASSES, norm_layer=N.BatchNorm2d)
    model.pre_logits = ConvMlp(16, 96, 7)
    model.head.fc = N.Linear(96, CLASSES)
    return model


def timm_model(name):
    return lambda: timm.create_model(name, num_classes=CLASSES)


def tv_model(name, **fixed):
    return lambda: getattr(tv, name)(num_classes=CLASSES, **fixed)


def lite_package(name):
    def make():
        from efficientnet_lite_pytorch import EfficientNet

        return EfficientNet.from_name(name, num_classes=CLASSES)

    return make


# name: (maker, input rows and columns)
MODELS = {
    **{n: (thin_vgg(n), 224) for n in ("vgg11", "vgg11_bn", "vgg13", "vgg16_bn", "vgg19")},
    **{n: (tv_model(n), 64) for n in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")},
    **{n: (tv_model(n), 64) for n in ("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d")},
    **{n: (tv_model(n), 64) for n in ("wide_resnet50_2", "wide_resnet101_2")},
    **{n: (tv_model(n), 97) for n in ("squeezenet1_0", "squeezenet1_1")},
    **{n: (tv_model(n), 64) for n in ("densenet121", "densenet161", "densenet169", "densenet201")},
    "googlenet": (tv_model("googlenet", aux_logits=True, init_weights=False), 96),
    "inception_v3": (tv_model("inception_v3", aux_logits=True, init_weights=False), 107),
    "mobilenet_v2": (tv_model("mobilenet_v2"), 64),
    **{n: (tv_model(n), 64) for n in ("mobilenet_v3_small", "mobilenet_v3_large")},
    **{n: (tv_model(n), 64) for n in ("mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3")},
    **{n: (tv_model(n), 64) for n in ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0")},
    **{f"efficientnet_b{i}": (tv_model(f"efficientnet_b{i}"), 64) for i in range(8)},
    **{n: (tv_model(n), 64) for n in ("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l")},
    # The package pads as for the size that a network was published with.
    **{n: (lite_package(n), side) for n, side in (("efficientnet-lite0", 64), ("efficientnet-lite1", 240), ("efficientnet-lite2", 260))},
    **{f"regnet_y_{s}": (tv_model(f"regnet_y_{s}"), 64) for s in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")},
    **{f"regnet_x_{s}": (tv_model(f"regnet_x_{s}"), 64) for s in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")},
    **{n: (tv_model(n), 64) for n in ("convnext_tiny", "convnext_small", "convnext_base", "convnext_large")},
    "timm/vgg13_bn": (thin_timm_vgg, 224),
    "timm/resnet50": (timm_model("resnet50"), 64),
    "timm/densenet121": (timm_model("densenet121"), 64),
    "timm/inception_v3": (timm_model("inception_v3"), 107),
    **{
        f"timm/{n}": (timm_model(n), 64)
        for n in (
            "convnext_tiny convnext_small convnext_base convnext_large efficientnet_b0 efficientnet_b1 efficientnet_b2 "
            "efficientnet_b3 efficientnet_b4 efficientnet_b5 tf_efficientnet_b0 tf_efficientnet_b1 tf_efficientnet_b2 "
            "tf_efficientnet_b3 tf_efficientnet_b4 tf_efficientnet_b5 tf_efficientnet_b6 tf_efficientnet_b7 "
            "efficientnet_lite0 tf_efficientnet_lite0 tf_efficientnet_lite1 tf_efficientnet_lite2 tf_efficientnet_lite3 "
            "tf_efficientnet_lite4 efficientnetv2_s tf_efficientnetv2_s mobilenetv3_small_100 mobilenetv3_large_100 "
            "tf_mobilenetv3_small_100 tf_mobilenetv3_large_100 mobilenetv2_100 mnasnet_100"
        ).split()
    },
}

# Committed: one or more of each family and of each scheme of names.
COMMITTED = (
    "vgg11 vgg16_bn resnet18 resnet50 resnext50_32x4d squeezenet1_0 squeezenet1_1 densenet121 googlenet inception_v3 mobilenet_v2 "
    "mobilenet_v3_small mobilenet_v3_large mnasnet0_5 shufflenet_v2_x0_5 efficientnet_b0 efficientnet_v2_s efficientnet-lite0 "
    "regnet_y_400mf convnext_tiny timm/vgg13_bn timm/convnext_tiny timm/efficientnet_b0 timm/tf_efficientnet_b0 "
    "timm/tf_efficientnet_lite0 timm/efficientnetv2_s timm/mobilenetv3_small_100 timm/tf_mobilenetv3_large_100 "
    "timm/mobilenetv2_100 timm/mnasnet_100"
).split()


def run(model, x):
    """Output and gradient of sum(output * noise) by the input, channels last."""
    x = x.clone().requires_grad_(True)
    output = model(x)
    seed = torch.from_numpy(noise("seed", tuple(output.shape))).to(x.dtype)
    (output * seed).sum().backward()
    return output.detach().numpy(), x.grad.permute(0, 2, 3, 1).contiguous().numpy().ravel()


def golden(name, files, straight):
    maker, side = MODELS[name]
    torch.manual_seed(0)
    model = maker()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.eval()
    # Where a value lies within rounding of a kink of relu or of a maximum, f32 has no one gradient: take other pixels.
    best = None
    for attempt in range(ATTEMPTS):
        pixels = noise(f"input {attempt}", (2, side, side, 3))
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        parts = fill(model.float(), x)
        model.double()
        moved = straighten(model, x.double()) if straight else (0.0, 0)
        state = {k: v.clone() if v.dtype == torch.int64 else v.float() for k, v in model.state_dict().items()}
        out, gradient = run(model, x.double())
        shaken = 0
        for i in range(SHAKES):
            shake = torch.from_numpy(noise(f"shake {i}", tuple(x.shape))).double() * 5e-7
            _, other = run(model, x.double() + shake)
            shaken = max(shaken, np.abs(other - gradient).max() / np.abs(gradient).max())
        if best is None or shaken < best[0]:
            best = shaken, attempt, parts, state, out, gradient
            about = f"biases moved by {moved[0]:.1e} ({moved[1]} have none), kinks at {{0[0]:.1e}}, maxima at {{0[1]:.1e}}".format(margins(model, x.double()))
        if shaken < 5e-5:
            break
    shaken, attempt, parts, state, out, gradient = best
    peak = np.abs(gradient).max()
    assert np.isfinite(out).all() and np.isfinite(gradient).all(), name
    assert np.abs(out).max() > 1e-3 and out.std(axis=0).max() > 1e-4 * np.abs(out).max(), (name, out)
    step = 1 if files else 53 if side < 128 else 659
    shapes = [n for tensor in state.values() for n in (tensor.ndim, *tensor.shape)]
    arrays = {
        "names": np.frombuffer("\n".join(state).encode(), np.uint8),
        "shapes": np.array(shapes, np.int32),
        "offsets": np.array([o for o, _ in parts], np.float32),
        "scales": np.array([s for _, s in parts], np.float32),
        "input": np.array([side, side, attempt], np.int32),
        "output": out.astype(np.float32),
        "step": np.array(step, np.int32),
        "gradient": gradient[::step].astype(np.float32),
        "gradient_peak": np.float32(peak),
        "shaken": np.float32(shaken),
    }
    path = (files or GOLDEN) / f"{name.replace('/', '.')}.npz"
    np.savez_compressed(path, **arrays)
    if files:
        torch.save(state, path.with_suffix(".pth"))
    print(f"{name}: output up to {np.abs(out).max():.3g}, gradient up to {peak:.3g}, pixels {attempt}, shaken {shaken:.1e}, {path.stat().st_size / 1024:.1f} kB; {about}", flush=True)


def main(arguments):
    files, straight = None, False
    if arguments[:1] == ["--files"]:
        files, straight = pathlib.Path(arguments[1]), True
        arguments = arguments[2:]
    if arguments[:1] == ["--kinks"]:
        straight = False
        arguments = arguments[1:]
    folder = files or GOLDEN
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments or (MODELS if files else COMMITTED):
        golden(name, files, straight)
    about = {m.__name__: m.__version__ for m in (torch, torchvision, timm, np)}
    (folder / "io.json").write_text(json.dumps(about, indent=1) + "\n")


main(sys.argv[1:])
