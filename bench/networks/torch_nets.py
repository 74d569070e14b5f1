"""The networks in PyTorch, of 1000 logits: torchvision's, or made of its parts. Weights are random."""

import nets
import torch
import torchvision
from torch import nn
from torchvision import models


def network(net, side):
    """In evaluation mode, without gradients of weights, channels last."""
    name = nets.NETS[net].torch
    model = (globals().get(name) or getattr(models, name))()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        # Activations that shrink from layer to layer become subnormal numbers, which are slow.
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            model.train()(torch.rand(2, 3, side, side) * 2 - 1)
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def count_macs(model, x):
    """Multiply-adds of convolutions and dense layers for this input."""
    macs = 0

    def count(module, inputs, output):
        nonlocal macs
        macs += output.numel() * module.weight[0].numel()

    products = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    hooks = [module.register_forward_hook(count) for module in products]
    with torch.inference_mode():
        model(x)
    for hook in hooks:
        hook.remove()
    return macs


def resnet50():
    """Keras's first version strides in the 1x1 convolution, torchvision in the 3x3."""
    model = models.resnet50()
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in layer:
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    return model


def inception_v3():
    return models.inception_v3(aux_logits=False, init_weights=False)


def efficientnet_lite0():
    """EfficientNet-B0 without squeeze and excitation, with ReLU6 in place of SiLU."""

    def lighten(module):
        for name, child in module.named_children():
            if isinstance(child, torchvision.ops.SqueezeExcitation):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.SiLU):
                setattr(module, name, nn.ReLU6(inplace=True))
            else:
                lighten(child)

    model = models.efficientnet_b0()
    lighten(model)
    return model


def xception():
    """Figure 5 of the Xception paper (arXiv 1610.02357), with the paddings of keras.applications."""

    def separable(given, filters):
        depthwise = nn.Conv2d(given, given, 3, padding=1, groups=given, bias=False)
        return [depthwise, nn.Conv2d(given, filters, 1, bias=False), nn.BatchNorm2d(filters)]

    class Block(nn.Module):
        def __init__(self, given, widths, stride=2, relu_first=True):
            super().__init__()
            layers = []
            for i, width in enumerate(widths):
                # What comes in is added too, so it may not be overwritten.
                layers += [nn.ReLU(inplace=i > 0)] if i or relu_first else []
                layers += separable(widths[i - 1] if i else given, width)
            self.body = nn.Sequential(*layers, *([nn.MaxPool2d(3, stride, padding=1)] if stride > 1 else []))
            shortcut = [nn.Conv2d(given, widths[-1], 1, stride, bias=False), nn.BatchNorm2d(widths[-1])]
            self.shortcut = nn.Sequential(*(shortcut if stride > 1 else []))

        def forward(self, x):
            return self.body(x) + self.shortcut(x)

    def plain(given, filters, stride):
        return [nn.Conv2d(given, filters, 3, stride, bias=False), nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]

    relu = nn.ReLU(inplace=True)
    return nn.Sequential(
        *plain(3, 32, 2),
        *plain(32, 64, 1),
        Block(64, [128, 128], relu_first=False),
        Block(128, [256, 256]),
        Block(256, [728, 728]),
        *[Block(728, [728] * 3, stride=1) for _ in range(8)],
        Block(728, [728, 1024]),
        *[*separable(1024, 1536), relu, *separable(1536, 2048), relu],
        *[nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)],
    )
