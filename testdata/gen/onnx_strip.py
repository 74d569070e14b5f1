"""Shared by the scripts that export."""

import onnx


def strip(path):
    """Leaves out what the exporter says of itself and the code."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.graph.value_info[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for info in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        del info.metadata_props[:]
    onnx.save(model, path)
