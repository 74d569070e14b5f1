"""From a Keras model to the ONNX file that suits the runtimes best: the one PyTorch's exporter would write of the same
network. Channels first, paddings inside the convolutions, whole operators (HardSwish, Gelu, LayerNormalization) where
tf2onnx leaves formulas that no runtime puts together again; and VGG16, for which tf2onnx takes 19 GB and fails."""

import dataclasses
import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 20


@dataclasses.dataclass(frozen=True)
class Value:
    """A value of the ONNX graph, which stands for one of Keras's of `shape` (without pictures: `[H, W, C]` or `[C]`)."""

    name: str
    shape: tuple
    last: bool = False  # whether a map is channels-last in the graph too
    pads: tuple = (0, 0, 0, 0)  # rows above, columns left, rows below, columns right: not written yet
    affine: tuple = ()  # scales and shifts of the channels: not written yet
    flattened: tuple = ()  # shape of the map whose values, channels first, these are


class Exporter:
    def __init__(self):
        self.nodes, self.weights, self.transposed = [], [], {}

    def add(self, kind, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, array, dtype="float32"):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype), name))
        return name

    def plain(self, x, last=False):
        """The same with nothing left to write, a map in the wanted order of axes."""
        assert not any(x.pads) and not x.flattened
        if x.affine:
            scale, shift = x.affine
            ones, zeros = np.ones_like(scale), np.zeros_like(scale)
            given = (self.constant(array) for array in (scale, shift, zeros, ones))
            x = Value(self.add("BatchNormalization", x.name, *given, epsilon=0.0), x.shape)
        if len(x.shape) == 3 and x.last != last:
            key = (x.name, last)
            if key not in self.transposed:
                perm = [0, 2, 3, 1] if last else [0, 3, 1, 2]
                self.transposed[key] = self.add("Transpose", x.name, perm=perm)
            x = dataclasses.replace(x, name=self.transposed[key], last=last)
        return x

    def run(self, model, inputs):
        """All operations of a model, in order."""
        import keras

        graph = model._functional if isinstance(model, keras.Sequential) else model
        return graph._run_through_graph(inputs, operation_fn=lambda op: lambda *args, **_: self.operation(op, *args))

    def operation(self, op, x, *more):
        if hasattr(op, "layers"):
            return self.run(op, x)
        kind = type(op).__name__
        if not hasattr(self, kind):
            raise NotImplementedError(f"{kind}: {op.name}")
        return getattr(self, kind)(op, x, *more)

    def new(self, x, kind, *inputs, shape=None, **attributes):
        return Value(self.add(kind, x.name, *inputs, **attributes), shape or x.shape, x.last)

    # Layers with weights.

    def window(self, x, size, strides, padding):
        """Pads and the output's rows and columns. `same` as TensorFlow has it: the odd row or column is below or right."""
        pads = list(x.pads)
        rows = [x.shape[axis] + pads[axis] + pads[axis + 2] for axis in (0, 1)]
        if padding == "same":
            for axis in (0, 1):
                missing = max(0, (math.ceil(rows[axis] / strides[axis]) - 1) * strides[axis] + size[axis] - rows[axis])
                pads[axis] += missing // 2
                pads[axis + 2] += missing - missing // 2
                rows[axis] += missing
        return pads, [(rows[axis] - size[axis]) // strides[axis] + 1 for axis in (0, 1)]

    def convolution(self, x, kernel, bias, strides, padding, groups=1):
        """`kernel` is `[Kh, Kw, C / groups, filters]`."""
        x = dataclasses.replace(self.plain(dataclasses.replace(x, pads=(0, 0, 0, 0))), pads=x.pads)
        pads, rows = self.window(x, kernel.shape[:2], strides, padding)
        given = [self.constant(kernel.transpose(3, 2, 0, 1)), *([self.constant(bias)] if bias is not None else [])]
        shape = (*rows, kernel.shape[3])
        return self.new(x, "Conv", *given, shape=shape, kernel_shape=kernel.shape[:2], strides=strides, pads=pads, group=groups)

    def Conv2D(self, op, x):
        assert op.dilation_rate in (1, (1, 1))
        x = self.convolution(x, array(op.kernel), array(op.bias), op.strides, op.padding, op.groups)
        return self.activate(op.activation, x)

    def DepthwiseConv2D(self, op, x):
        return self.activate(op.activation, self.depthwise(op, op.kernel, array(op.bias), x))

    def depthwise(self, op, kernel, bias, x):
        kernel = array(kernel)
        assert kernel.shape[3] == 1
        return self.convolution(x, kernel.transpose(0, 1, 3, 2), bias, op.strides, op.padding, kernel.shape[2])

    def SeparableConv2D(self, op, x):
        x = self.depthwise(op, op.depthwise_kernel, None, x)
        x = self.convolution(x, array(op.pointwise_kernel), array(op.bias), (1, 1), "valid")
        return self.activate(op.activation, x)

    def Dense(self, op, x):
        kernel, bias = array(op.kernel), array(op.bias)
        shape = (*x.shape[:-1], kernel.shape[1])
        if len(x.shape) == 3:
            x = self.new(self.plain(x, last=True), "MatMul", self.constant(kernel), shape=shape)
            return self.activate(op.activation, self.new(x, "Add", self.constant(bias)))
        if x.flattened:
            kernel = kernel.reshape(*x.flattened, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        x = self.new(x, "Gemm", self.constant(kernel.T), self.constant(bias), shape=shape, transB=1)
        return self.activate(op.activation, x)

    def BatchNormalization(self, op, x):
        mean, variance = array(op.moving_mean), array(op.moving_variance)
        scale = array(op.gamma) if op.scale else np.ones_like(mean)
        shift = array(op.beta) if op.center else np.zeros_like(mean)
        given = (self.constant(values) for values in (scale, shift, mean, variance))
        return self.new(self.plain(x), "BatchNormalization", *given, epsilon=op.epsilon)

    def LayerNormalization(self, op, x):
        x = self.plain(x, last=True)
        return self.new(x, "LayerNormalization", self.constant(array(op.gamma)), self.constant(array(op.beta)), axis=-1, epsilon=op.epsilon)

    def LayerScale(self, op, x):
        return self.new(self.plain(x, last=True), "Mul", self.constant(array(op.gamma)))

    # Layers without.

    def Rescaling(self, op, x):
        return self.scaled(x, op.scale, op.offset)

    def Normalization(self, op, x):
        deviation = np.maximum(np.sqrt(array(op.variance).ravel()), 1e-7)
        return self.scaled(x, 1 / deviation, -array(op.mean).ravel() / deviation)

    def scaled(self, x, scale, shift):
        """One pass for all that come one after the other."""
        before, offset = x.affine or (np.ones(x.shape[-1]), np.zeros(x.shape[-1]))
        return dataclasses.replace(x, affine=(before * scale, offset * scale + shift))

    def ZeroPadding2D(self, op, x):
        (above, below), (left, right) = op.padding
        x = self.plain(x)
        return dataclasses.replace(x, pads=(above, left, below, right))

    def pool(self, kind, op, x, **attributes):
        pads, rows = self.window(x, op.pool_size, op.strides, op.padding)
        x = self.plain(dataclasses.replace(x, pads=(0, 0, 0, 0)))
        shape = (*rows, x.shape[-1])
        return self.new(x, kind, shape=shape, kernel_shape=op.pool_size, strides=op.strides, pads=pads, **attributes)

    def MaxPooling2D(self, op, x):
        # Zeros around it are the same as nothing around it, as it comes behind a ReLU.
        return self.pool("MaxPool", op, x)

    def AveragePooling2D(self, op, x):
        assert not any(x.pads)
        return self.pool("AveragePool", op, x)

    def GlobalAveragePooling2D(self, op, x):
        x = self.new(self.plain(x), "GlobalAveragePool", shape=(1, 1, x.shape[-1]))
        return x if op.keepdims else self.new(x, "Flatten", shape=x.shape[-1:])

    def Flatten(self, op, x):
        map = x.shape
        x = self.new(self.plain(x), "Flatten", shape=(math.prod(map),))
        return x if map[:2] == (1, 1) else dataclasses.replace(x, flattened=map)

    def Reshape(self, op, x):
        assert len(x.shape) == 1 and tuple(op.target_shape) == (1, 1, *x.shape)
        return self.new(x, "Reshape", self.constant([0, *x.shape, 1, 1], "int64"), shape=(1, 1, *x.shape))

    def Dropout(self, op, x):
        return x

    StochasticDepth = Dropout

    def Concatenate(self, op, values):
        values = [self.plain(x) for x in values]
        shape = (*values[0].shape[:-1], sum(x.shape[-1] for x in values))
        return Value(self.add("Concat", *(x.name for x in values), axis=1), shape)

    def elementwise(self, kind, x, more):
        """Of a list of values, or of a value and a number."""
        x, *others = map(self.plain, x) if isinstance(x, list) else (self.plain(x), *more)
        for other in others:
            # Of a map and a value for each channel, the map has the shape.
            shape = max(x.shape, other.shape) if isinstance(other, Value) else x.shape
            name = self.plain(other).name if isinstance(other, Value) else self.constant(other)
            x = self.new(x, kind, name, shape=shape)
        return x

    def Add(self, op, x, *more):
        return self.elementwise("Add", x, more)

    def Multiply(self, op, x, *more):
        return self.elementwise("Mul", x, more)

    def ReLU(self, op, x):
        assert not op.negative_slope and not op.threshold
        x = self.plain(x, x.last)
        if op.max_value is None:
            return self.new(x, "Relu")
        return self.new(x, "Clip", self.constant(0.0), self.constant(op.max_value))

    def Activation(self, op, x):
        return self.activate(op.activation, x)

    def activate(self, function, x):
        x, name = self.plain(x, x.last), function.__name__
        kinds = {"relu": "Relu", "sigmoid": "Sigmoid", "hard_swish": "HardSwish", "hard_silu": "HardSwish", "gelu": "Gelu"}
        if name == "linear":
            return x
        if name in ("silu", "swish"):
            return self.new(x, "Mul", self.new(x, "Sigmoid").name)
        return self.new(x, kinds[name])


def array(variable):
    return None if variable is None else np.asarray(variable, "float32")


def export(model, path):
    """Writes the file; its input is `[batch, C, H, W]`, `batch` left open."""
    exporter = Exporter()
    side, classes = model.inputs[0].shape[1], model.outputs[0].shape[-1]
    output = exporter.run(model, [Value("input", (side, side, 3))])
    output = output[0] if isinstance(output, list) else output
    exporter.nodes.append(helper.make_node("Identity", [exporter.plain(output).name], ["logits"]))
    given = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", 3, side, side])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", classes])
    graph = helper.make_graph(exporter.nodes, model.name, [given], [logits], exporter.weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))
