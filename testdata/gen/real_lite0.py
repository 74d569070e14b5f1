"""EfficientNet-Lite0 on real photos, by its PyTorch reference (requirements-torch.txt; run `fetch.py` first).

Which preprocessing gives the published .386 / .331 / .162 on chelsea is found here: see README.md.
"""

import hashlib
import json
import os
import pathlib

import numpy as np
import PIL
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

CACHE = pathlib.Path(os.environ.get("BINESH_CACHE") or pathlib.Path.home() / ".cache" / "binesh")
GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
SCALINGS = {"unit": lambda x: x / 127.5 - 1, "lite": lambda x: (x - 127) / 128}


def square(path, side):
    """Centre square (offsets rounded down), then PIL bicubic."""
    image = Image.open(path).convert("RGB")
    w, h = image.size
    s = min(w, h)
    left, top = (w - s) // 2, (h - s) // 2
    return np.asarray(image.crop((left, top, left + s, top + s)).resize((side, side), Image.Resampling.BICUBIC))


def grad_cam(a, g):
    """Selvaraju et al. 2017, equations 1 and 2; a, g: [C, H, W]. Not normalised."""
    return np.maximum((a * g.mean((1, 2), keepdims=True)).sum(0), 0)


def run(model, pixels, scaling):
    """Logits and, for the top class, the Grad-CAM maps of the last convolution: its own output and after bn + relu6."""
    kept = {}

    def keep(name):
        def hook(_module, _inputs, output):
            output.retain_grad()
            kept[name] = output

        return hook

    hooks = [
        model._conv_head.register_forward_hook(keep("conv_head")),
        model._bn1.register_forward_hook(keep("bn1")),
    ]
    x = SCALINGS[scaling](pixels.astype("float32")).transpose(2, 0, 1)[None]
    features = model.extract_features(torch.from_numpy(x).requires_grad_())
    features.retain_grad()
    kept["features"] = features
    logits = model._fc(model._avg_pooling(features).flatten(1))
    logits[0, logits[0].argmax()].backward()
    for hook in hooks:
        hook.remove()
    arrays = {f"{scaling}/logits": logits[0], f"{scaling}/probabilities": torch.softmax(logits, 1)[0]}
    arrays = {k: v.detach().numpy() for k, v in arrays.items()}
    for name in ("conv_head", "features"):
        a, g = kept[name].detach().numpy()[0], kept[name].grad.numpy()[0]
        arrays[f"{scaling}/grad_cam/{name}"] = grad_cam(a, g)
    arrays[f"{scaling}/pooled"] = features.detach().numpy()[0].mean((1, 2))
    return arrays


def golden(model, photo):
    pixels = square(CACHE / photo, 224)
    arrays = {"pixels/row_100": pixels[100]}
    top = {}
    for scaling in SCALINGS:
        arrays |= run(model, pixels, scaling)
        p = arrays[f"{scaling}/probabilities"]
        top[scaling] = [[int(i), round(float(p[i]), 5)] for i in p.argsort()[::-1][:5]]
    about = {
        "torch": torch.__version__,
        "pillow": PIL.__version__,
        "efficientnet-lite-pytorch": "0.1.0",
        "photo": photo,
        "preprocessing": "centre square with offsets (w-s)//2, (h-s)//2, PIL bicubic to 224, RGB",
        "pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "scaling": {"unit": "x / 127.5 - 1", "lite": "(x - 127) / 128"},
        "top5": top,
        "notes": "grad_cam: logit of the top class, paper mode, before normalisation. conv_head is the output of the "
        "convolution itself, features that after batch norm and relu6; pixels are uint8 [224, 224, 3]",
    }
    folder = GOLDEN / f"real_lite0_{photo.split('.')[0].lower()}"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "io.npz", **arrays)
    (folder / "io.json").write_text(json.dumps(about, indent=1) + "\n")
    print(photo, top)


if __name__ == "__main__":
    torch.manual_seed(0)
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(CACHE / "efficientnet-lite0.pth", weights_only=True))
    model.eval()
    for photo in ("chelsea.png", "NONFACE_11.jpg", "coffee.png"):
        golden(model, photo)
