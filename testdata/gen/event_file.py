"""The event file that TensorFlow writes for the history of `train/tensorboard.rs`'s tests.

    python event_file.py          # tensorflow 2.21.0: writes ../golden/metrics/events.tfevents
    python event_file.py FOLDER   # tensorboard 2.21.0: prints what TensorBoard reads from a run's folder
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
OUT = pathlib.Path(__file__).parent.parent / "golden" / "metrics" / "events.tfevents"
STARTED = 1_790_000_000.25


def write():
    import tensorflow as tf
    from tensorflow.core.framework.summary_pb2 import Summary
    from tensorflow.core.util.event_pb2 import Event

    def event(i, epoch, **scalars):
        values = [Summary.Value(tag=f"epoch_{tag}", simple_value=value) for tag, value in scalars.items()]
        return Event(wall_time=STARTED + 2.5 * (i + 1), step=epoch - 1, summary=Summary(value=values))

    epochs = [1, 2, 300]
    events = [Event(wall_time=STARTED, file_version="brain.Event:2")]
    events += [
        event(i, e, loss=1.5 / e, accuracy=1 - 1 / e, learning_rate=0.001) for i, e in enumerate(epochs)
    ]
    judged = [(0.75, 0.5), (0.25, 0.0), (float("nan"), 1.0)]
    events += [event(i, e, loss=l, accuracy=a) for i, (e, (l, a)) in enumerate(zip(epochs, judged))]
    with tf.io.TFRecordWriter(str(OUT)) as writer:
        for e in events:
            writer.write(e.SerializeToString(deterministic=True))


def read(folder):
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    runs = EventMultiplexer().AddRunsFromDirectory(folder).Reload()
    for run, tags in sorted(runs.Runs().items()):
        for tag in sorted(tags["scalars"]):
            print(run, tag, [(e.step, round(e.wall_time, 2), e.value) for e in runs.Scalars(run, tag)])


write() if len(sys.argv) == 1 else read(sys.argv[1])
