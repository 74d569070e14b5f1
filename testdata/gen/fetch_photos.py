#!/usr/bin/env python3
"""Builds the photo set that docs/benchmarks.md reports on: 285 photos in 4 classes, at OUT/<class>/*.png.

    python fetch_photos.py OUT [--deb FILE]

The photos are those of Debian's `tuxpaint-stamps-default` (GPL-2: never commit them): objects cut out, background
transparent. Drawings and models are left out (paths with cartoon, mirror, toys or plastic). Files are copied as they
are, alpha included; whoever reads them decides what is behind (Binesh: white). Needs apt-get and dpkg, or the .deb.
"""

import argparse
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile

PACKAGE = "tuxpaint-stamps-default"
VERSION = "2022.06.04-1"
SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
# class: (folders of the package, how many photos they hold)
CLASSES = {
    "animals": (["animals"], 127),
    "food": (["food"], 50),
    "plants": (["plants"], 38),
    "things": (["vehicles", "household", "hobbies", "sports"], 70),
}
LEFT_OUT = ("cartoon", "mirror", "toys", "plastic")


def package(folder):
    """The .deb, downloaded into `folder`."""
    subprocess.run(["apt-get", "download", f"{PACKAGE}={VERSION}"], check=True, cwd=folder)
    [deb] = folder.glob("*.deb")
    return deb


def photos(stamps, folders):
    """(name to give, file), in order. The name keeps the folders, since base names repeat."""
    for folder in folders:
        for path in sorted((stamps / folder).rglob("*.png")):
            name = path.relative_to(stamps).as_posix()
            if not any(word in name.lower() for word in LEFT_OUT):
                yield name.replace("/", "_"), path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--deb", type=pathlib.Path, help=f"{PACKAGE}_{VERSION}_all.deb, instead of downloading it")
    args = parser.parse_args()
    if args.out.exists() and any(args.out.iterdir()):
        sys.exit(f"{args.out} is not empty")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        deb = args.deb or package(folder)
        got = hashlib.sha256(deb.read_bytes()).hexdigest()
        if got != SHA256:
            sys.exit(f"{deb} has SHA-256 {got}, expected {SHA256}")
        subprocess.run(["dpkg", "-x", str(deb), str(folder / "tree")], check=True)
        stamps = folder / "tree/usr/share/tuxpaint/stamps"
        for name, (folders, expected) in CLASSES.items():
            found = list(photos(stamps, folders))
            if len(found) != expected:
                sys.exit(f"{name}: {len(found)} photos, expected {expected}")
            (args.out / name).mkdir(parents=True)
            for target, path in found:
                shutil.copyfile(path, args.out / name / target)
            print(f"{args.out / name}: {len(found)} photos")


if __name__ == "__main__":
    main()
