"""PyTorch's and safetensors' files of weights: what must be read, by value, and what must be refused.

`python torch_files.py` (requirements-torch.txt) writes `golden/torch_files`, and into `bad/` the files `torch_*` and
`safetensors_*`; `messages.json` there is what `crates/binesh-formats/tests/hostile.rs` compares with.
"""

import argparse
import collections
import io
import json
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import safetensors
import safetensors.torch
import torch

DATA = pathlib.Path(__file__).resolve().parent.parent
GOLDEN, BAD = DATA / "golden" / "torch_files", DATA / "bad"


def values(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(3, 2)]
    return torch.nn.Sequential(*layers)


def views():
    base = values(4, 6)
    flat = values(20, seed=1)
    return {
        "whole": base,
        "transposed": base.t(),
        "rows": base[1:3],
        "columns": base[:, 1:5:2],
        "turned": values(2, 3, 4, 5).permute(2, 0, 3, 1),
        "channels_last": values(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "first": flat[:8].view(2, 4),
        "second": flat[8:],
        "one": flat[3],
        "none": flat[:0],
    }


def types():
    x = torch.tensor([[1.5, -2.0], [0.0, 100.0]])
    kinds = [torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int8, torch.int16, torch.int32]
    found = {str(kind).removeprefix("torch."): x.abs().to(kind) if kind == torch.uint8 else x.to(kind) for kind in kinds}
    return found | {"int64": torch.tensor(12345), "bool": x > 0, "float32": x}


def checkpoint():
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model(values(4, 2, 3, 3)).sum().backward()
    optimizer.step()
    return {
        "epoch": 7,
        "args": argparse.Namespace(lr=0.1, names=["a", "b"]),
        "best": np.float64(0.75),
        "optimizer": optimizer.state_dict(),
        "model": model.state_dict(),
    }


def goldens():
    files = {
        "zip.pth": (network().state_dict(), {}),
        "legacy.pth": (network().state_dict(), {"_use_new_zipfile_serialization": False}),
        "protocol4.pth": (network().state_dict(), {"pickle_protocol": 4}),
        "parameters.pth": (collections.OrderedDict(network().named_parameters()), {}),
        "views.pth": (views(), {}),
        "views_legacy.pth": (views(), {"_use_new_zipfile_serialization": False}),
        "types.pth": (types(), {}),
        "checkpoint.pth": (checkpoint(), {}),
        "nested.pth": ({"encoder": {"w": values(3)}, "head": {"b": values(2, seed=2)}}, {}),
    }
    arrays = {}
    for name, (data, options) in files.items():
        torch.save(data, GOLDEN / name, **options)
        inner = data["model"] if name == "checkpoint.pth" else data
        if name == "nested.pth":
            inner = {f"{a}.{b}": v for a, d in data.items() for b, v in d.items()}
        arrays |= {f"{name}/{key}": value.detach().float().numpy() for key, value in inner.items()}
    safetensors.torch.save_file({k: v.contiguous() for k, v in types().items()}, GOLDEN / "types.safetensors")
    arrays |= {f"types.safetensors/{key}": value.float().numpy() for key, value in types().items()}
    np.savez_compressed(GOLDEN / "io.npz", **arrays)
    about = {"torch": torch.__version__, "safetensors": safetensors.__version__, "numpy": np.__version__}
    (GOLDEN / "io.json").write_text(json.dumps(about | {"files": [*files, "types.safetensors"]}, indent=1) + "\n")


def saved(data, **options):
    buffer = io.BytesIO()
    torch.save(data, buffer, **options)
    return buffer.getvalue()


def edited(name, data, edit):
    """A good archive, its entries changed."""
    with zipfile.ZipFile(io.BytesIO(saved(data))) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    edit(entries)
    with zipfile.ZipFile(BAD / name, "w") as archive:
        for entry, content in entries.items():
            archive.writestr(zipfile.ZipInfo(entry), content)


def replaced(old, new):
    """In the pickle; of the same length or not, since nothing in it counts bytes but strings their own."""

    def edit(entries):
        assert old in entries["archive/data.pkl"], old
        entries["archive/data.pkl"] = entries["archive/data.pkl"].replace(old, new)

    return edit


def dropped(key):
    return lambda entries: entries.pop(key)


class Called:
    def __reduce__(self):
        import os

        return os.system, ("true",)


def nested(depth):
    data = {"w": values(2)}
    for _ in range(depth):
        data = {"part": data}
    return data


def bad():
    w = {"w": values(3)}
    (BAD / "torch_module.pth").write_bytes(saved(network()))
    (BAD / "torch_code.pth").write_bytes(saved({"w": values(3), "x": Called()}))
    (BAD / "torch_code_legacy.pth").write_bytes(saved({"x": Called()}, _use_new_zipfile_serialization=False))
    (BAD / "torch_one_tensor.pth").write_bytes(saved(values(3)))
    (BAD / "torch_no_tensors.pth").write_bytes(saved({"epoch": 3, "loss": 0.5}))
    (BAD / "torch_empty.pth").write_bytes(saved({}))
    (BAD / "torch_sparse.pth").write_bytes(saved({"w": torch.eye(2).to_sparse()}))
    (BAD / "torch_complex.pth").write_bytes(saved({"w": torch.ones(2, dtype=torch.complex64)}))
    (BAD / "torch_negated.pth").write_bytes(saved({"w": torch.ones(2, dtype=torch.complex64).conj().imag.real}))
    (BAD / "torch_expanded.pth").write_bytes(saved({"w": torch.ones(1).expand(1000)}))
    (BAD / "torch_deep.pth").write_bytes(saved(nested(40)))
    many = torch.ones(64)
    (BAD / "torch_shared.pth").write_bytes(saved({f"w{i}": many.view(64) for i in range(20)}))
    traced = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), values(1, 2)), traced)
    (BAD / "torch_script.pt").write_bytes(traced.getvalue())
    edited("torch_no_storage.pth", w, dropped("archive/data/0"))
    edited("torch_short_storage.pth", w, lambda e: e.update({"archive/data/0": e["archive/data/0"][:8]}))
    edited("torch_big_endian.pth", w, lambda e: e.update({"archive/byteorder": b"big"}))
    edited("torch_outside.pth", w, replaced(b"K\x03\x85", b"K\x04\x85"))
    edited("torch_stride.pth", w, replaced(b"K\x01\x85", b"K\x02\x85"))
    edited("torch_offset.pth", w, replaced(b"QK\x00", b"QK\x01"))
    edited("torch_opcode.pth", w, replaced(b"\x80\x02", b"\x80\x02P"))
    edited("torch_cut.pth", w, lambda e: e.update({"archive/data.pkl": e["archive/data.pkl"][:40]}))
    legacy = saved(w, _use_new_zipfile_serialization=False)
    (BAD / "torch_legacy_short.pth").write_bytes(legacy[:-4])
    (BAD / "torch_legacy_version.pth").write_bytes(legacy.replace(b"M\xe9\x03.", b"M\xea\x03.", 1))
    (BAD / "torch_legacy_endian.pth").write_bytes(legacy.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89", 1))
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (BAD / "safetensors_type.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}).encode()
    (BAD / "safetensors_huge.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    # An ordinary pickle, of whatever.
    (BAD / "torch_plain_pickle.pkl").write_bytes(pickle.dumps({"w": [1.0, 2.0]}, 2))


GOLDEN.mkdir(parents=True, exist_ok=True)
goldens()
bad()
