"""Role `check`: how far the logits of Binesh, ONNX Runtime and Keras for the same pictures are apart, and what ONNX
Runtime runs. One JSON line."""

import collections
import json
import os
import subprocess
import sys
import tempfile

import nets
from measure import off


def check(args):
    import numpy as np
    import onnx
    from peers import onnx_session, pictures

    x, keras = pictures(args)
    with tempfile.TemporaryDirectory() as folder:
        given, output, optimized = (os.path.join(folder, name) for name in ("x.npy", "y.npz", "optimized.onnx"))
        np.save(given, x)
        command = [args.binesh, "run", "-m", f"{nets.stem(args.net, args.side)}.keras", "--input", given]
        command += ["--output", output, "--threads", str(args.threads)]
        ran = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if ran.returncode != 0:
            sys.exit(f"Binesh: {ran.stderr.strip()}")
        [binesh] = np.load(output).values()
        session, name = onnx_session(args, optimized)
        nodes = onnx.load(optimized, load_external_data=False).graph.node
    ort = session.run(None, {name: np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0]
    assert np.isfinite(keras).all()
    figures = {"binesh_ort": off(binesh, ort), "binesh_keras": off(binesh, keras), "ort_keras": off(ort, keras)}
    # Logits that are all alike would be close to anything.
    figures["spread"] = float(np.std(keras) / np.abs(keras).max())
    # A transposition or a batch normalization left here would be the exporter's fault, and its time ours to explain.
    figures["ort_nodes"] = dict(collections.Counter(node.op_type for node in nodes).most_common())
    print(json.dumps(figures))
