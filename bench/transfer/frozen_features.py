#!/usr/bin/env python3
"""What frozen features are worth, by other tools: 5-fold accuracy of EfficientNet-Lite0 (PyTorch) and scikit-learn.

    python frozen_features.py PHOTOS [--fit stretch|crop] [--behind white|black] [--side 224] [--seeds 5]

PHOTOS holds a folder per class: examples/data/pictures, or what testdata/gen/fetch_photos.py made. The pooled features of
the last convolution go to a logistic regression; folds are stratified and shuffled by the seed. Needs
testdata/gen/requirements-torch.txt, scikit-learn 1.9.1 and the weights of testdata/gen/fetch.py. It is the bar that
feature extraction has to reach and fine-tuning to pass; no test asserts it.
"""

import argparse
import os
import pathlib

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

CACHE = pathlib.Path(os.environ.get("BINESH_CACHE") or pathlib.Path.home() / ".cache" / "binesh")


def picture(path, args):
    drawn = Image.open(path).convert("RGBA")
    page = Image.new("RGBA", drawn.size, args.behind)
    page.alpha_composite(drawn)
    page = page.convert("RGB")
    if args.fit == "crop":
        side = min(page.size)
        left, top = (page.width - side) // 2, (page.height - side) // 2
        page = page.crop((left, top, left + side, top + side))
    return np.asarray(page.resize((args.side, args.side), Image.Resampling.BICUBIC), np.float32) / 127.5 - 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("--fit", choices=["stretch", "crop"], default="stretch")
    parser.add_argument("--behind", choices=["white", "black"], default="white")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(CACHE / "efficientnet-lite0.pth", map_location="cpu"))
    model.eval()
    classes = sorted(p.name for p in args.photos.iterdir() if p.is_dir())
    files = [(path, i) for i, name in enumerate(classes) for path in sorted((args.photos / name).iterdir())]
    labels = np.array([label for _, label in files])
    features = []
    with torch.no_grad():
        for path, _ in files:
            x = torch.from_numpy(picture(path, args).transpose(2, 0, 1)[None].copy())
            features.append(model.extract_features(x).mean((2, 3))[0].numpy())
    features = np.array(features)
    print(f"{len(files)} pictures, {dict(zip(classes, np.bincount(labels).tolist()))}")
    for c in (0.1, 1, 10):
        right = []
        for seed in range(args.seeds):
            folds = StratifiedKFold(5, shuffle=True, random_state=seed)
            hits = 0
            for train, test in folds.split(features, labels):
                fitted = LogisticRegression(C=c, max_iter=3000).fit(features[train], labels[train])
                hits += (fitted.predict(features[test]) == labels[test]).sum()
            right.append(hits / len(labels))
        print(f"C {c}: {np.mean(right):.4f} ({', '.join(f'{r:.3f}' for r in right)})", flush=True)


if __name__ == "__main__":
    main()
