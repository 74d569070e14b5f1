#!/usr/bin/env python3
"""Transfer learning as PyTorch's tutorial writes it (beginner/transfer_learning_tutorial), one JSON line per stage.

ImageFolder and DataLoader with two workers; parameters of the base do not require gradients, so that none are computed;
cross-entropy; the last block joins in the second stage. As its performance guide says: channels_last. As Keras's peer:
Adam, dropout before the last layer, batch normalization in evaluation mode. The networks are torchvision's, made equal to
Keras's where these differ (`same_as_keras`), and the peer refuses to start if their outputs differ.
"""

import argparse
import json
import os
import resource
import statistics
import time

import recipe

START = time.perf_counter()
ARGS = recipe.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
ARGS.add_argument("--workers", type=int, default=2)
ARGS = ARGS.parse_args()
os.environ["OMP_NUM_THREADS"] = str(ARGS.threads)

import numpy as np  # noqa: E402  (after the number of threads)
import torch  # noqa: E402
import torchvision  # noqa: E402
from torch import nn  # noqa: E402
from torchvision import datasets, transforms  # noqa: E402

torch.set_num_threads(ARGS.threads)
torch.manual_seed(ARGS.seed)
NET = recipe.NETS[ARGS.net]


def say(stage, **figures):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peer": "torch", "net": ARGS.net, "stage": stage, **figures, "peak_rss_mb": round(peak, 1)}), flush=True)


class Transfer(nn.Module):
    """A base, then global average pooling, dropout and a dense layer."""

    def __init__(self, base, channels, classes):
        super().__init__()
        self.base = base
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(recipe.DROPOUT), nn.Linear(channels, classes))

    def forward(self, x):
        return self.head(self.base(x))


def vgg16():
    base = torchvision.models.vgg16().features
    convolutions = [m for m in base if isinstance(m, nn.Conv2d)]
    names = [f"block{b}_conv{c}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, n + 1)]
    return base, 512, list(zip(names, convolutions)), list(base[24:].parameters())


def resnet50():
    net = torchvision.models.resnet50()
    base = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4)
    pairs = [("conv1_conv", net.conv1), ("conv1_bn", net.bn1)]
    for stage, layer in enumerate((net.layer1, net.layer2, net.layer3, net.layer4), 2):
        for i, block in enumerate(layer, 1):
            # Keras's first version strides in the 1x1 convolution, torchvision in the 3x3.
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
            parts = {"1": (block.conv1, block.bn1), "2": (block.conv2, block.bn2), "3": (block.conv3, block.bn3)}
            if block.downsample is not None:
                parts["0"] = (block.downsample[0], block.downsample[1])
            for part, (conv, bn) in parts.items():
                pairs += [(f"conv{stage}_block{i}_{part}_conv", conv), (f"conv{stage}_block{i}_{part}_bn", bn)]
    return base, 2048, pairs, list(net.layer4.parameters())


class PadsAsKeras(nn.Module):
    """A strided convolution whose even input is padded at the right and the bottom only."""

    def __init__(self, conv):
        super().__init__()
        conv.padding = (0, 0)
        self.conv = conv

    def forward(self, x):
        return self.conv(nn.functional.pad(x, (0, 1, 0, 1)))


def mobilenetv2():
    base = torchvision.models.mobilenet_v2().features
    pairs = [("Conv1", base[0][0]), ("bn_Conv1", base[0][1])]
    for i, block in enumerate(list(base)[1:18]):
        keras_name = f"block_{i}" if i else "expanded_conv"
        layers = [m for m in block.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
        parts = ("expand", "depthwise", "project") if i else ("depthwise", "project")
        for k, part in enumerate(parts):
            pairs += [(f"{keras_name}_{part}", layers[2 * k]), (f"{keras_name}_{part}_BN", layers[2 * k + 1])]
    pairs += [("Conv_1", base[18][0]), ("Conv_1_bn", base[18][1])]
    for module in list(base.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d) and child.stride == (2, 2):
                setattr(module, name, PadsAsKeras(child))
    return base, 1280, pairs, list(base[15:].parameters())


def same_as_keras(base, pairs):
    """Takes over Keras's weights and proves by an input of its own that the networks are one."""
    arrays = np.load(os.path.join(ARGS.weights, f"{ARGS.net}.npz"))
    with torch.no_grad():
        for (name, module), after in zip(pairs, [*pairs[1:], (None, None)]):
            w = [torch.from_numpy(arrays[f"{name}/{i}"]) for i in range(4) if f"{name}/{i}" in arrays]
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1.001e-5 if ARGS.net == "resnet50" else 1e-3
                module.weight.copy_(w[0])
                module.bias.copy_(w[1])
                module.running_mean.copy_(w[2])
                module.running_var.copy_(w[3])
                continue
            depthwise = module.groups > 1
            module.weight.copy_(w[0].permute(2, 3, 0, 1) if depthwise else w[0].permute(3, 2, 0, 1))
            if module.bias is not None:
                module.bias.copy_(w[1])
            elif len(w) > 1 and w[1].abs().max() > 0:
                raise SystemExit(f"{name} has a bias, {after[0]} follows: torchvision has nowhere to put it")
        base.eval()
        x = torch.from_numpy(arrays["probe/input"]).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        got = base(x).permute(0, 2, 3, 1).numpy()
    expected = arrays["probe/output"]
    off = float(np.abs(got - expected).max() / np.abs(expected).max())
    if off > 1e-3:
        raise SystemExit(f"{ARGS.net}: not the same network as Keras's, off by {off:.2e} of the largest value")
    return off


def network(classes):
    base, channels, pairs, last = {"vgg16": vgg16, "resnet50": resnet50, "mobilenetv2": mobilenetv2}[ARGS.net]()
    off = same_as_keras(base, pairs)
    for parameter in base.parameters():
        parameter.requires_grad_(False)
    return Transfer(base, channels, classes).to(memory_format=torch.channels_last), last, off


class Scale:
    """What `keras.applications` does to pixels (here 0 to 1, RGB)."""

    def __init__(self, mode):
        self.mode, self.mean = mode, torch.tensor(recipe.CAFFE_MEAN_BGR).view(3, 1, 1)

    def __call__(self, x):
        return x * 2 - 1 if self.mode == "tf" else x.flip(0) * 255 - self.mean


def loaders():
    side = (NET["input"], NET["input"])
    flip = [transforms.RandomHorizontalFlip()] if ARGS.augment == "flip" else []
    common = [transforms.ToTensor(), Scale(NET["mode"])]
    steps = {"train": [transforms.Resize(side), *flip, *common], "val": [transforms.Resize(side), *common]}
    out = {}
    for part in ("train", "val"):
        data = datasets.ImageFolder(os.path.join(ARGS.tree, part), transforms.Compose(steps[part]))
        out[part] = torch.utils.data.DataLoader(
            data,
            batch_size=ARGS.batch,
            shuffle=part == "train",
            num_workers=ARGS.workers,
            persistent_workers=ARGS.workers > 0,
        )
    return out


def training_mode(model):
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def step(model, optimizer, criterion, x, y):
    optimizer.zero_grad()
    loss = criterion(model(x.to(memory_format=torch.channels_last)), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def validate(model, loader, criterion):
    model.eval()
    loss = right = count = 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x.to(memory_format=torch.channels_last))
            loss += criterion(logits, y).item() * len(y)
            right += (logits.argmax(1) == y).sum().item()
            count += len(y)
    return loss / count, right / count


def stage(name, model, loader, rate, epochs):
    began = time.perf_counter()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    steps, validation_seconds, losses, val_losses, accuracies = [], 0.0, [], [], []
    for _ in range(epochs):
        training_mode(model)
        total = count = 0
        ready = time.perf_counter()
        for x, y in loader["train"]:
            loss = step(model, optimizer, criterion, x, y)
            now = time.perf_counter()
            # A step's time includes waiting for its batch; whole batches only.
            if len(y) == ARGS.batch:
                steps.append(now - ready)
            ready = now
            total, count = total + loss * len(y), count + len(y)
        losses.append(total / count)
        validation_began = time.perf_counter()
        loss, accuracy = validate(model, loader["val"], criterion)
        validation_seconds += time.perf_counter() - validation_began
        val_losses.append(loss)
        accuracies.append(accuracy)
    settled = steps[1:]
    say(
        name,
        seconds=round(time.perf_counter() - began, 3),
        validation_seconds=round(validation_seconds, 3),
        first_step_seconds=round(steps[0], 3) if steps else None,
        step_seconds=round(statistics.median(settled), 4) if settled else None,
        images_per_second=round(ARGS.batch / statistics.median(settled), 2) if settled else None,
        loss=[round(v, 4) for v in losses],
        val_loss=[round(v, 4) for v in val_losses],
        val_accuracy=[round(v, 4) for v in accuracies],
    )


def main():
    say("import", seconds=round(time.perf_counter() - START, 3), torch=torch.__version__, torchvision=torchvision.__version__)
    began = time.perf_counter()
    loader = loaders()
    classes = loader["train"].dataset.classes
    model, last, off = network(len(classes))
    sizes = {part: len(loader[part].dataset) for part in loader}
    say("start", seconds=round(time.perf_counter() - began, 3), **sizes, off_keras=float(f"{off:.1e}"))
    if ARGS.steps:
        for parameter in model.parameters() if ARGS.everything else last:
            parameter.requires_grad_(True)
        training_mode(model)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=recipe.FINE_RATE)
        x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (ARGS.batch, 3, NET["input"], NET["input"])).astype("float32"))
        y = torch.arange(ARGS.batch) % len(classes)
        times = []
        for _ in range(ARGS.steps + 2):
            began = time.perf_counter()
            step(model, optimizer, nn.CrossEntropyLoss(), x, y)
            times.append(time.perf_counter() - began)
        say("step", step_seconds=round(statistics.median(times[2:]), 4), best=round(min(times[2:]), 4), batch=ARGS.batch)
        return
    stage("frozen", model, loader, recipe.HEAD_RATE, ARGS.epochs[0])
    for parameter in last:
        parameter.requires_grad_(True)
    stage("unfrozen", model, loader, recipe.FINE_RATE, ARGS.epochs[1])
    say("total", seconds=round(time.perf_counter() - START, 3))


if __name__ == "__main__":
    main()
