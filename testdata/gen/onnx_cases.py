"""The conformance cases of the `onnx` package in a form that the test reads: `python onnx_cases.py OUTDIR` (onnx 1.23.2).

Makes `OUTDIR/index.json`, and for each case a folder `KIND/NAME` with

  model.onnx      the case's model. Operands of a node case that are lists of integers (shapes, axes, ...) are initializers,
                  as every exporter writes them; in the package they are inputs, so that a case can be a single node
  constant.onnx   the same with every input but the first an initializer (the first too, where it is a shape)
  io.npz          input/<set>/<i>, output/<set>/<i>, in the order of the model's inputs and outputs

Nothing of it is committed. The test is `crates/binesh/tests/onnx_conformance.rs`.
"""

import glob
import json
import os
import pathlib
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import DATA_DIR

OUT = pathlib.Path(sys.argv[1])


def array(value):
    """A value of a case as NumPy; none for sequences, texts and the like."""
    if isinstance(value, onnx.TensorProto):
        if value.data_type == onnx.TensorProto.STRING:
            return None
        value = numpy_helper.to_array(value)
    if not isinstance(value, (np.ndarray, np.generic, int, float)):
        return None
    value = np.asarray(value)
    if value.dtype.kind not in "fiub" and value.dtype.name != "bfloat16":
        return None
    return value


def with_constants(model, values, constant):
    """A copy of the model whose inputs `constant` are initializers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = [copy.graph.input[i].name for i in constant]
    for i, name in zip(constant, names):
        copy.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values[i]), name))
    left = [info for info in copy.graph.input if info.name not in names]
    del copy.graph.input[:]
    copy.graph.input.extend(left)
    return copy


def save(kind, name, model, data_sets, rtol, atol):
    # Inputs that have initializers too are not given.
    given = {t.name for t in model.graph.initializer}
    left = [info for info in model.graph.input if info.name not in given]
    del model.graph.input[:]
    model.graph.input.extend(left)
    sets = [([array(v) for v in ins], [array(v) for v in outs]) for ins, outs in data_sets]
    types = [info.type.WhichOneof("value") for info in [*model.graph.input, *model.graph.output]]
    elements = sorted(
        {
            onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type)
            for info in [*model.graph.input, *model.graph.output]
            if info.type.WhichOneof("value") == "tensor_type"
        }
    )
    nodes = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    folder = OUT / kind / name
    folder.mkdir(parents=True, exist_ok=True)
    entry = {
        "kind": kind,
        "name": name,
        "operators": sorted({f"{n.domain}::{n.op_type}" if n.domain else n.op_type for n in nodes}),
        "opset": next((s.version for s in model.opset_import if s.domain == ""), 0),
        "types": sorted(set(types)),
        "elements": elements,
        "ranks": [len(info.type.tensor_type.shape.dim) for info in [*model.graph.input, *model.graph.output]],
        "rtol": rtol,
        "atol": atol,
        "sets": 0,
    }
    readable = set(types) == {"tensor_type"} and all(v is not None for ins, outs in sets for v in [*ins, *outs])
    readable &= all(len(ins) == len(model.graph.input) for ins, _ in sets)
    # Values of half the width and less, or none at all, are not what NumPy files are read for.
    if readable and sets:
        first = sets[0][0]
        count = range(len(model.graph.input))
        lists = [i for i in count if i > 0 and first[i].dtype.kind in "iub"]
        # An operand that is a shape or a bound, never a picture.
        made = {"ConstantOfShape", "Range"} & {n.op_type for n in nodes}
        rest = [i for i in count if i > 0 or made]
        for file, constant in [("model", lists if kind == "node" else []), ("constant", rest)]:
            (folder / f"{file}.onnx").write_bytes(with_constants(model, first, constant).SerializeToString())
            entry[file] = [i for i in count if i not in constant]
        arrays = {}
        for s, (ins, outs) in enumerate(sets):
            arrays |= {f"input/{s}/{i}": v.astype("float32") for i, v in enumerate(ins)}
            arrays |= {f"output/{s}/{i}": v.astype("float32") for i, v in enumerate(outs)}
        np.savez(folder / "io.npz", **arrays)
        entry["sets"] = len(sets)
    return entry


def on_disk(kind):
    for folder in sorted(glob.glob(os.path.join(DATA_DIR, kind, "test_*"))):
        model = onnx.load(os.path.join(folder, "model.onnx"))
        tolerance = {"rtol": 1e-3, "atol": 1e-7}
        if os.path.exists(os.path.join(folder, "data.json")):
            with open(os.path.join(folder, "data.json")) as file:
                tolerance |= {k: v for k, v in json.load(file).items() if k in tolerance}
        sets = []
        for data in sorted(glob.glob(os.path.join(folder, "test_data_set_*"))):
            read = lambda what: [
                load(os.path.join(data, f"{what}_{i}.pb")) for i in range(len(glob.glob(os.path.join(data, f"{what}_*.pb"))))
            ]
            sets.append((read("input"), read("output")))
        yield save(kind, os.path.basename(folder), model, sets, **tolerance)


def load(path):
    tensor = onnx.TensorProto()
    with open(path, "rb") as file:
        try:
            tensor.ParseFromString(file.read())
        except Exception:
            return None
    return tensor if tensor.data_type else None


def light():
    """As `onnx/backend/test/runner` feeds them: rising values."""
    for file in sorted(glob.glob(os.path.join(DATA_DIR, "light", "light_*.onnx"))):
        model = onnx.load(file)
        given = {t.name for t in model.graph.initializer}
        [info] = [info for info in model.graph.input if info.name not in given]
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        n = int(np.prod(shape))
        x = (np.arange(n).reshape(shape) / n).astype("float32")
        output = load(file.replace(".onnx", "_output_0.pb"))
        yield save("light", os.path.basename(file)[:-5], model, [([x], [output])], rtol=1e-3, atol=1e-7)


def main():
    assert onnx.__version__ == "1.23.2", onnx.__version__
    cases = [save("node", t.name, t.model, t.data_sets, t.rtol, t.atol) for t in collect_testcases(None)]
    for kind in ("pytorch-converted", "pytorch-operator", "simple"):
        cases += on_disk(kind)
    cases += light()
    (OUT / "index.json").write_text(json.dumps(cases, indent=1))
    print(len(cases), "cases")


main()
