"""Maps resized in every way that ONNX has, as ONNX Runtime computes them: `python onnx_resizes.py` (`requirements-torch.txt`, with
onnx 1.23.2 and onnxruntime 1.32.0). Where PyTorch has the same rule, its values are compared too.

One file, `golden/onnx_resizes/resizes.onnx`, with one `Resize` and one output for each way; `io.npz` has `input/0` and `output/NAME`.
"""

import itertools
import pathlib

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "golden" / "onnx_resizes"
H, W = 5, 6


def main():
    nodes, weights, outputs, torch_too = [], [], [], {}
    x = np.random.default_rng(1).normal(size=(2, 2, H, W)).astype("float32")
    changes = {
        "up": ("scales", [1, 1, 2.7, 1.75]),
        "down": ("scales", [1, 1, 0.62, 0.55]),
        "sizes": ("sizes", [2, 2, 8, 3]),
        "double": ("scales", [1, 1, 2, 2]),
    }
    coordinates = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
    ways = [(m, c, "round_prefer_floor", k) for m, c, k in itertools.product(["nearest", "linear", "cubic"], coordinates, changes)]
    ways += [("nearest", "asymmetric", n, k) for n in ("floor", "ceil", "round_prefer_ceil") for k in changes]
    ways += [("nearest", "half_pixel", n, k) for n in ("floor", "ceil", "round_prefer_ceil") for k in changes]
    for mode, coordinate, nearest, change in ways:
        name = f"{mode}_{coordinate}_{change}" + ("" if nearest == "round_prefer_floor" else f"_{nearest}")
        kind, values = changes[change]
        weights.append(numpy_helper.from_array(np.array(values, "float32" if kind == "scales" else "int64"), f"{name}_by"))
        inputs = ["x", "", f"{name}_by"] if kind == "scales" else ["x", "", "", f"{name}_by"]
        nodes.append(helper.make_node("Resize", inputs, [name], name=name, mode=mode, coordinate_transformation_mode=coordinate, nearest_mode=nearest))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        if mode != "nearest" and coordinate in ("pytorch_half_pixel", "align_corners"):
            size = values[2:] if kind == "sizes" else [int(np.floor(n * f)) for n, f in zip((H, W), values[2:])]
            how = {"linear": "bilinear", "cubic": "bicubic"}[mode]
            # PyTorch has no factor beside the size where corners are aligned.
            if coordinate == "align_corners" or kind == "sizes" or change == "double":
                torch_too[name] = torch.nn.functional.interpolate(torch.from_numpy(x), size=size, mode=how, align_corners=coordinate == "align_corners").numpy()
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2, H, W])
    graph = helper.make_graph(nodes, "resizes", [given], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    FOLDER.mkdir(exist_ok=True)
    onnx.save(model, FOLDER / "resizes.onnx")
    session = onnxruntime.InferenceSession(FOLDER / "resizes.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in outputs]
    values = dict(zip(names, session.run(names, {"x": x})))
    for name, want in torch_too.items():
        worst = np.abs(values[name] - want).max() if values[name].shape == want.shape else np.inf
        print(f"{name}: ONNX Runtime and PyTorch differ by {worst:.1e}")
    np.savez_compressed(FOLDER / "io.npz", **{"input/0": x}, **{f"output/{name}": v for name, v in values.items()})
    print(len(names), "ways")


main()
