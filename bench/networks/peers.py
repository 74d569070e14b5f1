"""Roles of the peers of Python: each loads a network, proves its outputs where it can, and times it."""

import os
import time

import nets
from measure import measure, off


def onnx_session(args, optimized=None):
    """ONNX Runtime's session and the name of its input, with no size left open."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    options.add_free_dimension_override_by_name("batch", args.batch)
    if optimized:
        options.optimized_model_filepath = optimized
        options.log_severity_level = 3  # no warning that such a file is for this machine only
    path = f"{nets.stem(args.net, args.side)}.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    return session, given.name


def pictures(args):
    """What all networks but PyTorch's are judged on, and Keras's logits for it."""
    import numpy as np

    stem = nets.stem(args.net, args.side)
    return np.load(f"{stem}-x.npy")[: args.batch], np.load(f"{stem}-y.npy")[: args.batch]


def ort(args):
    import numpy as np
    import onnxruntime

    began = time.perf_counter()
    session, name = onnx_session(args)
    load = time.perf_counter() - began
    x = np.random.default_rng(0).uniform(-1, 1, (args.batch, 3, args.side, args.side)).astype("float32")
    measure(args, lambda: session.run(None, {name: x}), load, version=onnxruntime.__version__)


def torch(args):
    """Eager. Its weights are its own, so its outputs are not compared."""
    import torch
    import torch_nets

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    began = time.perf_counter()
    model = torch_nets.network(args.net, args.side)
    load = time.perf_counter() - began
    x = (torch.rand(args.batch, 3, args.side, args.side) * 2 - 1).to(memory_format=torch.channels_last)
    macs = torch_nets.count_macs(model, x)

    def forward():
        with torch.inference_mode():
            model(x)

    def gradient():
        given = x.detach().requires_grad_(True)
        torch.autograd.grad(model(given).max(dim=1).values.sum(), given)

    measure(args, gradient if args.gradient else forward, load, version=torch.__version__, macs=macs)


def compiled(args):
    """`torch.compile` with weights frozen, proved against eager PyTorch. What was compiled is kept in the cache."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(nets.CACHE / "inductor"))
    import torch
    import torch._inductor.config
    import torch_nets

    torch._inductor.config.freezing = True
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = torch_nets.network(args.net, args.side)
    x = (torch.rand(args.batch, 3, args.side, args.side) * 2 - 1).to(memory_format=torch.channels_last)
    with torch.no_grad():
        eager = model(x)
        began = time.perf_counter()
        fast = torch.compile(model)
        differ = off(fast(x).numpy(), eager.numpy())
        load = time.perf_counter() - began
        assert differ <= nets.TOLERANCE, f"torch.compile differs from eager PyTorch by {differ}"
        measure(args, lambda: fast(x), load, version=torch.__version__, differ=differ)


def tensorflow(args):
    """The Keras file under `tf.function`, proved against Keras."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    began = time.perf_counter()
    model = keras.models.load_model(f"{nets.stem(args.net, args.side)}.keras", compile=False)
    load = time.perf_counter() - began
    pixels, logits = pictures(args)
    x = tf.constant(pixels)

    @tf.function
    def forward(x):
        return model(x, training=False)

    @tf.function
    def gradient(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            largest = tf.reduce_sum(tf.reduce_max(model(x, training=False), axis=1))
        return tape.gradient(largest, x)

    differ = off(forward(x).numpy(), logits)
    assert differ <= nets.TOLERANCE, f"TensorFlow differs from Keras by {differ}"
    run = gradient if args.gradient else forward
    measure(args, lambda: run(x).numpy(), load, version=tf.__version__, differ=differ)
