"""The networks, where their files are kept, and how their outputs are judged. Nothing but Python's own library."""

import os
import pathlib
import typing

CACHE = pathlib.Path(os.environ.get("BINESH_CACHE") or pathlib.Path.home() / ".cache" / "binesh") / "bench"
FOLDER = CACHE / "networks"

# Largest difference of two engines' logits, of the largest logit.
TOLERANCE = 1e-4
# Pictures in the file of inputs: a batch is the first of them.
PICTURES = 32


class Net(typing.NamedTuple):
    """Where the engines find a network: `keras` is a name of keras.applications, or of architectures.py in lower case;
    `torch` a function of torch_nets.py or a name of torchvision.models."""

    keras: str
    torch: str
    side: int  # pixels along a side of the picture


NETS = {
    "vgg16": Net("VGG16", "vgg16", 224),
    "resnet18": Net("resnet18", "resnet18", 224),
    "resnet50": Net("ResNet50", "resnet50", 224),
    "mobilenetv2": Net("MobileNetV2", "mobilenet_v2", 224),
    "mobilenetv3": Net("MobileNetV3Large", "mobilenet_v3_large", 224),
    "efficientnetb0": Net("EfficientNetB0", "efficientnet_b0", 224),
    "efficientnetlite0": Net("efficientnet_lite0", "efficientnet_lite0", 224),
    "densenet121": Net("DenseNet121", "densenet121", 224),
    "inceptionv3": Net("InceptionV3", "inception_v3", 299),
    "xception": Net("Xception", "xception", 299),
    "convnexttiny": Net("ConvNeXtTiny", "convnext_tiny", 224),
    "squeezenet": Net("squeezenet1_1", "squeezenet1_1", 224),
}


def stem(net, side):
    """What the names of a network's files begin with, for pictures of `side` pixels."""
    return FOLDER / (net if side == NETS[net].side else f"{net}-{side}px")


def whole(path, write, ending):
    """Writes a file under another name first: one that exists is complete."""
    partial = path.with_name(path.name + ending)
    write(partial)
    partial.rename(path)
