"""Networks that keras.applications has not, in Keras code: the layers of torchvision's ResNet18 and SqueezeNet 1.1, and of
timm's `efficientnet_lite0`, paddings included. Logits of 1000 classes."""

from keras import Input, Model, layers

CLASSES = 1000


def convolution(x, filters, size, stride=1, padding=None, bias=False):
    """`padding` rows and columns of zeros on each side; by default as many as keep the size at stride 1."""
    padding = size // 2 if padding is None else padding
    if stride == 1 and padding == size // 2:
        return layers.Conv2D(filters, size, padding="same", use_bias=bias)(x)
    if padding:
        x = layers.ZeroPadding2D(padding)(x)
    return layers.Conv2D(filters, size, stride, use_bias=bias)(x)


def norm(x, relu=True, epsilon=1e-5):
    x = layers.BatchNormalization(epsilon=epsilon)(x)
    return layers.ReLU()(x) if relu else x


def resnet18(side):
    def block(x, filters, stride):
        shortcut = x
        if stride != 1 or x.shape[-1] != filters:
            shortcut = norm(convolution(x, filters, 1, stride, 0), relu=False)
        x = norm(convolution(x, filters, 3, stride))
        x = norm(convolution(x, filters, 3), relu=False)
        return layers.ReLU()(layers.Add()([x, shortcut]))

    pictures = Input((side, side, 3))
    x = norm(convolution(pictures, 64, 7, 2))
    # Behind a ReLU zeros pad as well as minus infinity.
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for filters, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
        x = block(block(x, filters, stride), filters, 1)
    x = layers.GlobalAveragePooling2D()(x)
    return Model(pictures, layers.Dense(CLASSES)(x), name="resnet18")


def squeezenet1_1(side):
    def fire(x, squeezed, expanded):
        x = layers.ReLU()(convolution(x, squeezed, 1, bias=True))
        one = layers.ReLU()(convolution(x, expanded, 1, bias=True))
        three = layers.ReLU()(convolution(x, expanded, 3, bias=True))
        return layers.Concatenate()([one, three])

    def pool(x):
        # torchvision's `ceil_mode`: a last window that the map does not fill; all values are at least zero.
        rest = (x.shape[1] - 3) % 2
        return layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(((0, rest), (0, rest)))(x) if rest else x)

    pictures = Input((side, side, 3))
    x = pool(layers.ReLU()(convolution(pictures, 64, 3, 2, 0, bias=True)))
    x = pool(fire(fire(x, 16, 64), 16, 64))
    x = pool(fire(fire(x, 32, 128), 32, 128))
    for squeezed, expanded in [(48, 192), (48, 192), (64, 256), (64, 256)]:
        x = fire(x, squeezed, expanded)
    x = layers.ReLU()(convolution(x, CLASSES, 1, bias=True))
    return Model(pictures, layers.GlobalAveragePooling2D()(x), name="squeezenet1_1")


def efficientnet_lite0(side):
    def norm6(x):
        return layers.ReLU(6.0)(norm(x, relu=False))

    def depthwise(x, size, stride):
        if stride == 1:
            x = layers.DepthwiseConv2D(size, padding="same", use_bias=False)(x)
        else:
            x = layers.ZeroPadding2D(size // 2)(x)
            x = layers.DepthwiseConv2D(size, stride, use_bias=False)(x)
        return norm6(x)

    def inverted_residual(x, filters, expansion, size, stride):
        given = x
        if expansion > 1:
            x = norm6(convolution(x, expansion * x.shape[-1], 1))
        x = depthwise(x, size, stride)
        x = norm(convolution(x, filters, 1), relu=False)
        return layers.Add()([x, given]) if stride == 1 and given.shape[-1] == filters else x

    pictures = Input((side, side, 3))
    x = norm6(convolution(pictures, 32, 3, 2))
    # Filters, expansion, kernel size, stride of the first, repetitions: table 1 of the EfficientNet paper (arXiv 1905.11946).
    stages = [(16, 1, 3, 1, 1), (24, 6, 3, 2, 2), (40, 6, 5, 2, 2), (80, 6, 3, 2, 3), (112, 6, 5, 1, 3), (192, 6, 5, 2, 4), (320, 6, 3, 1, 1)]
    for filters, expansion, size, stride, repetitions in stages:
        for repetition in range(repetitions):
            x = inverted_residual(x, filters, expansion, size, stride if repetition == 0 else 1)
    x = norm6(convolution(x, 1280, 1))
    x = layers.GlobalAveragePooling2D()(x)
    return Model(pictures, layers.Dense(CLASSES)(x), name="efficientnet_lite0")
