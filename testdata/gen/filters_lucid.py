"""The pieces of Lucid's recipe, and 24 steps of it, in PyTorch: `filters/lucid.npz`. Needs `torch-lucent` 0.1.8.

The spectrum and the colors are Lucent's own functions (`fft_image`, `to_valid_rgb`); what is done to the picture is written
here with PyTorch's: cut out as Lucid shifts (Lucent moves zeros in), `interpolate` and `grid_sample` with aligned corners;
the rectifiers follow Lucid's `redirected_relu_grad.py`. The network is that of `filters_book.py`, pictures go in as 0 to 255.

  spectrum picture/rgb/d_rgb/d_spectrum   one picture of 20 x 18: Lucent's layout [1, 3, H, W // 2 + 1, 2]; d_spectrum is
                                          the gradient of sum(d_rgb * rgb)
  warp/<name>/{x,y,dy,dx}                 single transformations, [H, W, 3]
  chain/{x,y,dy,dx}                       all of them, with DRAWS[0], from 20 x 18 to 24 x 24
  run/{spectrum,draws,<channel>}          24 steps for channels of conv3; draws: first y, x, scale, angle, second y, x
  adam/{x,d,y}                            five steps of torch.optim.Adam
  diversity/{x,value,d}                   Lucent's objective of three examples [3, 4, 5, 6] (H, W, C last) and its gradient
"""

import importlib.util
import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "golden" / "filters"
MARGIN, JITTER, STEPS = 12, (8, 4), 24
# The second is silent at the start.
CHANNELS = (5, 7)


def lucent(module):
    """A module of Lucent's, without what the package needs to show pictures."""
    folder = pathlib.Path(importlib.util.find_spec("lucent").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location(module.replace("/", "_"), folder / f"{module}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


spatial, color = lucent("optvis/param/spatial"), lucent("optvis/param/color")


def image(spectrum, h, w):
    """Lucent's picture [1, 3, H, W] of a given spectrum, which is what is differentiated by."""
    params, picture = spatial.fft_image([1, 3, h, w])
    params[0].data = torch.tensor(spectrum)
    return params[0], color.to_valid_rgb(picture, decorrelate=True)


def rotate(x, degrees):
    """kornia's `warp_affine` with `get_rotation_matrix2d` about the center: against the clock."""
    _, _, h, w = x.shape
    sin, cos = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    cx, cy = (w - 1) / 2, (h - 1) / 2
    m = np.array([[cos, sin, (1 - cos) * cx - sin * cy], [-sin, cos, sin * cx + (1 - cos) * cy], [0, 0, 1]])
    back = np.linalg.inv(m)
    ys, xs = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    source = back @ np.stack([xs, ys, np.ones_like(xs)]).reshape(3, -1).astype(float)
    gx, gy = source[0].reshape(h, w) / cx - 1, source[1].reshape(h, w) / cy - 1
    grid = torch.tensor(np.stack([gx, gy], -1)[None], dtype=x.dtype)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def resize(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def pad(x):
    return F.pad(x, [MARGIN] * 4, mode="constant", value=0.5)


def crop(x, d, at):
    h, w = x.shape[2] - d, x.shape[3] - d
    return x[:, :, at[0]:at[0] + h, at[1]:at[1] + w]


def transformed(x, draw, size):
    y1, x1, scale, angle, y2, x2 = draw
    x = crop(pad(x), JITTER[0], (int(y1), int(x1)))
    x = resize(x, [int(np.ceil(scale * d)) for d in x.shape[2:]])
    return resize(crop(rotate(x, angle), JITTER[1], (int(y2), int(x2))), size)


class Rectifier(torch.autograd.Function):
    """Lucid's `redirected_relu_grad`, `redirected_relu6_grad`."""

    redirect = True

    @staticmethod
    def forward(ctx, x, most):
        ctx.save_for_backward(x)
        ctx.most = most
        return x.clamp(0, most)

    @staticmethod
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        zero = torch.zeros_like(grad)
        plain = torch.where((x < 0) | (x > ctx.most), zero, grad)
        outward = ((x < 0) & (grad > 0)) | ((x > ctx.most) & (grad < 0))
        redirected = torch.where(outward, zero, grad)
        size = plain.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        return (torch.where(size > 0, plain, redirected) if Rectifier.redirect else plain), None


class Network:
    def __init__(self):
        arrays = dict(np.load(FOLDER / "weights.npz"))
        self.w = {k: torch.tensor(v.transpose(3, 2, 0, 1) if v.ndim == 4 else v) for k, v in arrays.items()}

    def conv3(self, x):
        def conv(name, x, padding, most):
            y = F.conv2d(x, self.w[f"{name}/kernel"], self.w[f"{name}/bias"], padding=padding)
            return Rectifier.apply(y, most)
        x = conv("conv2", conv("conv1", x, 0, float("inf")), 1, float("inf"))
        return conv("conv3", F.max_pool2d(x, 2), 0, 6.0)


def last(x):
    return x.detach().numpy()[0].transpose(1, 2, 0).astype("float32")


def first(x):
    return torch.tensor(x.transpose(2, 0, 1)[None])


def main():
    random = np.random.default_rng(20261125)
    arrays = {}

    spectrum = (random.normal(size=(1, 3, 20, 10, 2)) * 0.3).astype("float32")
    param, picture = image(spectrum, 20, 18)
    rgb = picture()
    d_rgb = random.normal(size=(20, 18, 3)).astype("float32")
    (rgb * first(d_rgb)).sum().backward()
    arrays |= {"spectrum": spectrum, "rgb": last(rgb), "d_rgb": d_rgb, "d_spectrum": param.grad.numpy()}
    odd = (random.normal(size=(1, 3, 7, 5, 2)) * 0.3).astype("float32")
    param, picture = image(odd, 7, 8)
    arrays |= {"odd/spectrum": odd, "odd/rgb": last(picture())}

    def keep(name, x, f, **others):
        x = torch.tensor(x, requires_grad=True)
        y = f(x.permute(2, 0, 1)[None])
        dy = random.normal(size=last(y).shape).astype("float32")
        (y * first(dy)).sum().backward()
        arrays.update({f"{name}/x": x.detach().numpy(), f"{name}/y": last(y), f"{name}/dy": dy, f"{name}/dx": x.grad.numpy()})

    some = lambda h, w: random.random((h, w, 3)).astype("float32")
    keep("warp/resize", some(9, 7), lambda x: resize(x, [11, 6]))
    keep("warp/turn", some(9, 8), lambda x: rotate(x, 7.0))
    draws = [[random.integers(0, 9), random.integers(0, 9), 1 + (random.integers(0, 11) - 5) / 50,
              random.integers(-10, 11), random.integers(0, 5), random.integers(0, 5)] for _ in range(STEPS)]
    draws = np.array(draws, dtype="float32")
    arrays["run/draws"] = draws
    keep("chain", some(20, 18), lambda x: transformed(x, draws[0].astype(float), [24, 24]))

    network = Network()
    start = (random.normal(size=(1, 3, 20, 10, 2)) * 0.01).astype("float32")
    arrays["run/spectrum"] = start
    for channel in CHANNELS:
        param, picture = image(start, 20, 18)
        optimizer = torch.optim.Adam([param], lr=0.05)
        losses = []
        for step, draw in enumerate(draws):
            Rectifier.redirect = step < 16
            optimizer.zero_grad()
            loss = -network.conv3(255 * transformed(picture(), draw.astype(float), [24, 24]))[:, channel].mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(channel, losses[0], losses[8], losses[-1])
        arrays[f"run/{channel}"] = last(picture())

    x = torch.tensor(random.normal(size=(12,)).astype("float32"))
    d = random.normal(size=(5, 12)).astype("float32")
    arrays |= {"adam/x": x.numpy().copy(), "adam/d": d}
    optimizer = torch.optim.Adam([x], lr=0.05)
    for step in d:
        x.grad = torch.tensor(step)
        optimizer.step()
    arrays["adam/y"] = x.numpy()

    a = torch.tensor(random.normal(size=(3, 4, 5, 6)).astype("float32"), requires_grad=True)
    flat = a.permute(0, 3, 1, 2).flatten(2)
    grams = F.normalize(flat @ flat.transpose(1, 2), p=2, dim=(1, 2))
    value = sum(sum((grams[i] * grams[j]).sum() for j in range(3) if j != i) for i in range(3)) / 3
    value.backward()
    arrays |= {"diversity/x": a.detach().numpy(), "diversity/value": np.array([value.item()], "float32"), "diversity/d": a.grad.numpy()}

    np.savez_compressed(FOLDER / "lucid.npz", **arrays)
    about = json.loads((FOLDER / "io.json").read_text())
    (FOLDER / "io.json").write_text(json.dumps(about | {"torch": torch.__version__, "torch-lucent": "0.1.8"}, indent=1) + "\n")


if __name__ == "__main__":
    main()
