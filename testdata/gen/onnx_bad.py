"""ONNX files that must be refused, each with a message that names the fault: `python onnx_bad.py` (onnx 1.23.2).

`messages.json` holds the messages; `crates/binesh-formats/tests/hostile.rs` compares them with what loading says.
"""

import pathlib

import numpy as np
from onnx import TensorProto, helper, numpy_helper

BAD = pathlib.Path(__file__).resolve().parent.parent / "bad"


def info(name, *shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name, *shape, value=0.5):
    return numpy_helper.from_array(np.full(shape, value, "float32"), name)


def model(nodes, weights=(), shape=("batch", 3, 4, 4), opset=17, output="y", kind=TensorProto.FLOAT, **more):
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "bad", [info("x", *shape, kind=kind)], [value], list(weights))
    sets = [helper.make_opsetid("", opset)] if opset else []
    return helper.make_model(graph, opset_imports=[*sets, *more.pop("sets", [])], ir_version=8, **more)


def save(name, made):
    bytes_ = made if isinstance(made, bytes) else made.SerializeToString()
    (BAD / f"{name}.onnx").write_bytes(bytes_)


def conv(**attributes):
    return helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **attributes)


def node(op, *inputs, output="y", **more):
    return helper.make_node(op, list(inputs), [output], name=op.lower(), **more)


good = model([conv()], [weight("w", 2, 3, 3, 3)])
save("onnx_cut_short", good.SerializeToString()[:-20])
no_graph = model([conv()])
no_graph.ClearField("graph")
save("onnx_no_graph", no_graph)
save("onnx_opset_5", model([conv()], [weight("w", 2, 3, 3, 3)], opset=5))
save("onnx_no_opset", model([conv()], [weight("w", 2, 3, 3, 3)], opset=None))
save("onnx_operator", model([node("Relu", "x", output="r"), node("GridSample", "r", "r")]))
save("onnx_domain", model([node("FusedConv", "x", domain="com.microsoft")], sets=[helper.make_opsetid("com.microsoft", 1)]))
save("onnx_attribute", model([conv(auto_pad="SAME_SIDEWAYS")], [weight("w", 2, 3, 3, 3)]))
save("onnx_new_attribute", model([conv(sparsity=0.5)], [weight("w", 2, 3, 3, 3)]))
save("onnx_attribute_type", model([conv(group=1.0)], [weight("w", 2, 3, 3, 3)]))
save("onnx_kernel_shape", model([conv(kernel_shape=[5, 5])], [weight("w", 2, 3, 3, 3)]))
save("onnx_channels", model([conv()], [weight("w", 2, 4, 3, 3)]))
save("onnx_three_axes", model([conv()], [weight("w", 2, 3, 3, 3, 3)], shape=("batch", 3, 4, 4, 4)))
save("onnx_dangling", model([node("Add", "x", "nobody")]))
save("onnx_order", model([node("Relu", "r"), node("Neg", "x", output="r")]))
save("onnx_twice", model([node("Relu", "x"), node("Neg", "x")]))
save("onnx_no_output", model([node("Relu", "x", output="z")]))
save("onnx_further_output", model([helper.make_node("MaxPool", ["x"], ["m", "y"], name="pool", kernel_shape=[2, 2])]))
save("onnx_training", model([helper.make_node("BatchNormalization", ["x", *"gbmv"], ["y"], name="bn", training_mode=1)], [weight(n, 3) for n in "gbmv"]))
save("onnx_integers", model([node("Add", "x", "x")], kind=TensorProto.INT32))
save("onnx_reshape", model([node("Reshape", "x", "s")], [numpy_helper.from_array(np.array([0, 5, -1]), "s")]))
save("onnx_computed_shape", model([node("Cast", "x", output="s", to=TensorProto.INT64), node("Reshape", "x", "s")]))
short = weight("w", 2, 3, 3, 3)
short.raw_data = short.raw_data[:-4]
save("onnx_short_weight", model([conv()], [short]))
negative = weight("w", 2, 3, 3, 3)
negative.dims[0] = -2
save("onnx_negative_weight", model([conv()], [negative]))
kind = weight("w", 2, 3, 3, 3)
kind.data_type = TensorProto.COMPLEX64
save("onnx_complex", model([conv()], [kind]))
beside = weight("w", 2, 3, 3, 3)
beside.ClearField("raw_data")
beside.data_location = TensorProto.EXTERNAL
for key, value in [("location", "../../etc/passwd"), ("offset", "0"), ("length", "216")]:
    beside.external_data.add(key=key, value=value)
save("onnx_external", model([conv()], [beside]))
huge = numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "s")
save("onnx_huge_constant", model([node("ConstantOfShape", "s", output="c"), node("MatMul", "x", "c")], [huge]))
call = helper.make_node("Again", ["x"], ["y"], domain="own")
function = helper.make_function("own", "Again", ["x"], ["y"], [call], [helper.make_opsetid("own", 1)])
save("onnx_recursion", model([call], sets=[helper.make_opsetid("own", 1)], functions=[function]))
