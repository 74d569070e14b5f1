"""What both peers and the driver must agree on. Imports nothing, so that a peer's import time is its framework's."""

# input: pixels along a side; mode: how `keras.applications` scales pixels for it; last: the first layer that is
# trained in the second stage (Keras's name), which is the first of a whole block; first: the first layer with weights.
NETS = {
    "vgg16": {"input": 224, "mode": "caffe", "last": "block5_conv1", "first": "block1_conv1"},
    "resnet50": {"input": 224, "mode": "caffe", "last": "conv5_block1_1_conv", "first": "conv1_conv"},
    "mobilenetv2": {"input": 160, "mode": "tf", "last": "block_14_expand", "first": "Conv1"},
}
HEAD_RATE = 1e-3  # Adam's default, as Keras's guide leaves it
FINE_RATE = 1e-5
DROPOUT = 0.2
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def arguments(parser):
    """The arguments of a peer. `tree` holds train/CLASS/* and val/CLASS/*."""
    parser.add_argument("tree")
    parser.add_argument("--net", choices=NETS, required=True)
    parser.add_argument("--weights", required=True, help="the folder that weights.py filled")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--epochs", type=int, nargs=2, default=(20, 10), metavar=("FROZEN", "UNFROZEN"))
    parser.add_argument("--augment", choices=["none", "flip"], default="none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=0, help="instead of the recipe: time this many steps of the last stage")
    parser.add_argument("--everything", action="store_true", help="with --steps: every layer learns")
    return parser
