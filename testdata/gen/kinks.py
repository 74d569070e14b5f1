"""Networks without a value near a kink: there two correct implementations agree on the gradient.

A rectifier's gradient jumps where its input is 0. Of the millions of values of a large network some always lie within
rounding of that, and what f32 makes of their sign is chance. `straighten` moves biases by little, so that with these
pictures no rectifier's input is near its kink; `margins` measures how near the nearest one is.
"""

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

# How far a bias may move, as a share of its channel's standard deviation, and how far from the kink is far enough.
REACH, ENOUGH = 0.05, 1e-3


def kinks(name, args):
    """Where the operator's gradient jumps."""
    name = name.removesuffix("_")
    if name == "hardtanh":
        return tuple(args[1:3]) or (-1.0, 1.0)
    return {"relu": (0.0,), "leaky_relu": (0.0,), "relu6": (0.0, 6.0), "hardswish": (-3.0, 3.0), "hardsigmoid": (-3.0, 3.0)}.get(name)


class Watch(TorchDispatchMode):
    """Tells of each rectifier's input, and which bias was added to it last."""

    def __init__(self, seen, pooled=None):
        super().__init__()
        self.seen, self.pooled, self.biases = seen, pooled, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        at = kinks(name, args)
        if at:
            self.seen(args[0], at, self.biases.get(args[0].data_ptr()))
        if self.pooled and "max_pool2d" in name:
            self.pooled(*args)
        bias = None
        if name == "convolution" or "batch_norm" in name:
            bias = args[2]
        elif name == "addmm":
            bias = args[0]
        elif name in ("add", "add_"):
            found = (self.biases.get(x.data_ptr()) for x in args[:2] if torch.is_tensor(x))
            bias = next((b for b in found if b is not None), None)
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, (tuple, list)) else out
        if torch.is_tensor(first) and not func.is_view:
            if bias is None:
                self.biases.pop(first.data_ptr(), None)
            else:
                self.biases[first.data_ptr()] = bias
        return out


def channels(x):
    """The values of each channel, `[C, values]`."""
    return (x.movedim(1, 0) if x.ndim > 1 else x[None]).reshape(x.shape[1] if x.ndim > 1 else 1, -1)


def move(values, at, bias):
    """How far to move a channel's bias: to the middle of the widest gap near its kinks, in what f32 can hold."""
    spread = values.std() + 1e-12
    places = np.sort(np.concatenate([k - values for k in at]))
    nearest = np.abs(places).min()
    if nearest >= ENOUGH * spread:
        return 0.0
    reach = REACH * spread
    places = places[np.abs(places) <= reach]
    edges = np.concatenate([[-reach], places, [reach]])
    widths = np.diff(edges)
    widest = int(np.argmax(widths))
    by = (edges[widest] + edges[widest + 1]) / 2
    return float(np.float64(np.float32(bias + by)) - bias)


def straighten(model, x):
    """Moves biases of a model in f64, whose weights f32 can hold; the largest move, as a share of its channel's deviation."""
    moved, unknown = [0.0], [0]

    def seen(pre, at, bias):
        if bias is None or bias.ndim != 1:
            unknown[0] += 1
            return
        rows = channels(pre).numpy()
        by = [move(row, at, float(b)) for row, b in zip(rows, bias)]
        moved.append(max(abs(b) / (row.std() + 1e-12) for b, row in zip(by, rows)))
        by = torch.tensor(by, dtype=pre.dtype)
        bias.add_(by)
        pre.add_(by.reshape(1, -1, *[1] * (pre.ndim - 2)))

    with torch.no_grad(), Watch(seen):
        model(x)
    return max(moved), unknown[0]


def margins(model, x):
    """How near the nearest value is to a kink of a rectifier, and to the larger neighbour of a maximum, as shares of the
    layer's largest value."""
    rectified, pooled = [np.inf], [np.inf]

    def seen(pre, at, _):
        rectified.append(min(float((pre - k).abs().min()) for k in at) / float(pre.abs().max()))

    def pool(x, size, stride=(), padding=0, dilation=1, ceil=False):
        pair = lambda v: list(v) * (2 // len(v)) if isinstance(v, (list, tuple)) else [v, v]
        p = pair(padding or 0)
        x = torch.nn.functional.pad(x, (p[1], p[1] + ceil, p[0], p[0] + ceil), value=-np.inf)
        windows = torch.nn.functional.unfold(x.reshape(-1, 1, *x.shape[2:]).nan_to_num(neginf=-1e300), pair(size), pair(dilation), 0, pair(stride or size))
        first, second = windows.topk(2, dim=1).values.unbind(1)
        # All zeros behind a rectifier have no gradient, whichever is taken.
        counts = (first != 0) & (second > -1e299)
        pooled.append(float(((first - second)[counts]).min() / first.abs().max()))

    with torch.no_grad(), Watch(seen, pool):
        model(x)
    return min(rectified), min(pooled)
