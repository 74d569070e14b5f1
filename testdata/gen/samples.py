#!/usr/bin/env python3
"""Makes the sample pictures, examples/data/pictures/<class>/*.jpg, from Debian's `openclipart-png` (public domain).

    python samples.py [--deb FILE] [--out DIR]

`samples.txt` names the chosen files with their SHA-256; they were picked by eye: one clear object, no text, no second
drawing of the same thing. Each is put on white, cut to what is drawn with a margin of 5 %, brought to 256 pixels along
its longer side and written as JPEG. Pillow 13.0.0 made the committed ones (another version may differ in some bytes).
Needs apt-get and dpkg, or the .deb.
"""

import argparse
import hashlib
import io
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = "openclipart-png"
VERSION = "1:0.18+dfsg-19"
SHA256 = "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02"
SIDE = 256
MARGIN = 0.05
QUALITY = 85


def package(folder):
    """The .deb, downloaded into `folder`."""
    subprocess.run(["apt-get", "download", f"{PACKAGE}={VERSION}"], check=True, cwd=folder)
    [deb] = folder.glob("*.deb")
    return deb


def sample(data):
    """The picture as it is kept."""
    drawn = Image.open(io.BytesIO(data)).convert("RGBA")
    page = Image.new("RGBA", drawn.size, "white")
    page.alpha_composite(drawn)
    page = page.convert("RGB")
    rows, columns = np.nonzero((np.asarray(page) < 247).any(2))
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    margin = round(MARGIN * max(right - left, bottom - top))
    cut = Image.new("RGB", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin), "white")
    cut.paste(page.crop((left, top, right, bottom)), (margin, margin))
    scale = SIDE / max(cut.size)
    size = tuple(max(1, round(side * scale)) for side in cut.size)
    return cut.resize(size, Image.Resampling.LANCZOS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deb", type=pathlib.Path, help=f"{PACKAGE}_{VERSION}_all.deb, instead of downloading it")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parents[1] / "examples/data/pictures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        deb = args.deb or package(folder)
        if hashlib.sha256(deb.read_bytes()).hexdigest() != SHA256:
            sys.exit(f"{deb} is not version {VERSION}: its SHA-256 is another")
        subprocess.run(["dpkg", "-x", str(deb), str(folder / "tree")], check=True)
        drawings = folder / "tree/usr/share/openclipart/png"
        total = 0
        for line in (HERE / "samples.txt").read_text().splitlines():
            expected, label, name = line.split("  ")
            data = (drawings / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != expected:
                sys.exit(f"{name}: not the file that was chosen")
            stem = re.sub(r"[^a-z0-9]+", "_", pathlib.Path(name).stem.lower()).strip("_")
            target = args.out / label / f"{stem}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            sample(data).save(target, quality=QUALITY, optimize=True)
            total += target.stat().st_size
        print(f"{args.out}: {total:,} bytes")


if __name__ == "__main__":
    main()
