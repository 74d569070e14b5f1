"""What ONNX Runtime says of the fetched ONNX networks (`requirements-torch.txt`): `python real_onnx.py`, after `fetch.py`.

Makes `golden/real_onnx`: for each network the values before its softmax and after, for an input that is a formula, in the
range of its own preprocessing: `((7919 * i) % 1009) / 1009`, scaled, for the i-th value of a batch of two pictures with
channels last.
"""

import json
import os
import pathlib

import numpy as np
import onnx
import onnxruntime

CACHE = pathlib.Path(os.environ.get("BINESH_CACHE") or pathlib.Path.home() / ".cache" / "binesh")
ROOT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "real_onnx"

# file: (height, width, channels first, scale, offset)
NETWORKS = {
    "tumor_vgg16": (240, 240, False, 255.0, -115.0),
    "open-nsfw": (224, 224, False, 255.0, -110.0),
    "rapidocr_cls": (48, 192, True, 2.0, -1.0),
}


def main():
    arrays = {}
    for name, (h, w, first, scale, offset) in NETWORKS.items():
        n = 2 * h * w * 3
        x = (7919 * np.arange(n) % 1009).astype("float32") / np.float32(1009) * np.float32(scale) + np.float32(offset)
        x = x.reshape(2, h, w, 3)
        model = onnx.load(CACHE / f"{name}.onnx")
        softmax = next(node for node in reversed(model.graph.node) if node.op_type == "Softmax")
        model.graph.output.append(onnx.helper.make_tensor_value_info(softmax.input[0], onnx.TensorProto.FLOAT, None))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        given = x.transpose(0, 3, 1, 2) if first else x
        output, logits = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(given)})
        arrays |= {f"{name}/output": output, f"{name}/logits": logits}
        print(name, output, logits)
    ROOT.mkdir(parents=True, exist_ok=True)
    np.savez(ROOT / "io.npz", **arrays)
    versions = {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}
    (ROOT / "io.json").write_text(json.dumps({"versions": versions}, indent=1) + "\n")


main()
