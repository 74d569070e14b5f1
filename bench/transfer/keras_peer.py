#!/usr/bin/env python3
"""Transfer learning as Keras's guide writes it (keras.io/guides/transfer_learning, fchollet), one JSON line per stage.

The base is called with training=False and frozen; global average pooling, dropout, dense; Adam at its default rate;
then the last block is unfrozen, compiled again with Adam(1e-5) and fitted on. Pictures are decoded and resized once and
cached, prefetched in the background, and scaled inside the model: all of it the guide's. `binesh` aside, the guide's
other way (features computed once) is not compared here: it cannot be followed by fine-tuning without the first.
"""

import argparse
import json
import os
import resource
import statistics
import time

import recipe

START = time.perf_counter()
ARGS = recipe.arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
ARGS.add_argument("--jit", choices=["auto", "off"], default="auto", help="XLA: as Keras decides, or never")
ARGS = ARGS.parse_args()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.update(OMP_NUM_THREADS=str(ARGS.threads), KERAS_BACKEND="tensorflow")

import keras  # noqa: E402  (after the number of threads)
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(ARGS.threads)
tf.config.threading.set_inter_op_parallelism_threads(ARGS.threads)
keras.utils.set_random_seed(ARGS.seed)
NET = recipe.NETS[ARGS.net]


def say(stage, **figures):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peer": "keras", "net": ARGS.net, "stage": stage, **figures, "peak_rss_mb": round(peak, 1)}), flush=True)


class Clock(keras.callbacks.Callback):
    """Seconds of each training step and of each validation."""

    def __init__(self):
        super().__init__()
        self.steps, self.validations = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.step_began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(time.perf_counter() - self.step_began)

    def on_test_begin(self, logs=None):
        self.validation_began = time.perf_counter()

    def on_test_end(self, logs=None):
        self.validations.append(time.perf_counter() - self.validation_began)


def datasets():
    side = (NET["input"], NET["input"])

    def read(part):
        folder = os.path.join(ARGS.tree, part)
        return keras.utils.image_dataset_from_directory(folder, image_size=side, batch_size=None, shuffle=False)

    train, val = read("train"), read("val")
    classes, counts = train.class_names, (train.cardinality().numpy(), val.cardinality().numpy())
    train = train.cache().shuffle(int(counts[0]), seed=ARGS.seed).batch(ARGS.batch).prefetch(tf.data.AUTOTUNE)
    val = val.cache().batch(ARGS.batch).prefetch(tf.data.AUTOTUNE)
    return train, val, len(classes), counts


def network(classes):
    base = keras.models.load_model(os.path.join(ARGS.weights, f"{ARGS.net}.h5"), compile=False)
    base.trainable = False
    inputs = keras.Input((NET["input"], NET["input"], 3))
    x = keras.layers.RandomFlip("horizontal")(inputs) if ARGS.augment == "flip" else inputs
    if NET["mode"] == "tf":
        x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    else:
        x = keras.applications.vgg16.preprocess_input(x)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(recipe.DROPOUT)(x)
    return base, keras.Model(inputs, keras.layers.Dense(classes)(x))


def compile_model(model, rate):
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile="auto" if ARGS.jit == "auto" else False,
    )


def unfreeze(base):
    base.trainable = True
    for layer in base.layers[: [layer.name for layer in base.layers].index(NET["last"])]:
        layer.trainable = False


def stage(name, model, train, val, epochs, images):
    clock, began = Clock(), time.perf_counter()
    history = model.fit(train, validation_data=val, epochs=epochs, verbose=0, callbacks=[clock]).history
    seconds = time.perf_counter() - began
    # Steps after the first of the stage, which builds the graph; whole batches only.
    full = images // ARGS.batch
    per_epoch = -(-images // ARGS.batch)
    steps = [s for i, s in enumerate(clock.steps) if i > 0 and i % per_epoch < full]
    say(
        name,
        seconds=round(seconds, 3),
        validation_seconds=round(sum(clock.validations), 3),
        first_step_seconds=round(clock.steps[0], 3),
        step_seconds=round(statistics.median(steps), 4) if steps else None,
        images_per_second=round(ARGS.batch / statistics.median(steps), 2) if steps else None,
        loss=[round(v, 4) for v in history["loss"]],
        val_loss=[round(v, 4) for v in history["val_loss"]],
        val_accuracy=[round(v, 4) for v in history["val_accuracy"]],
    )


def main():
    say("import", seconds=round(time.perf_counter() - START, 3), keras=keras.__version__, tensorflow=tf.__version__)
    began = time.perf_counter()
    train, val, classes, counts = datasets()
    base, model = network(classes)
    say("start", seconds=round(time.perf_counter() - began, 3), train=int(counts[0]), val=int(counts[1]))
    if ARGS.steps:
        unfreeze(base)
        compile_model(model, recipe.FINE_RATE)
        x = np.random.default_rng(0).uniform(0, 255, (ARGS.batch, NET["input"], NET["input"], 3)).astype("float32")
        x, y = tf.constant(x), tf.constant(np.arange(ARGS.batch) % classes)
        times = []
        for _ in range(ARGS.steps + 2):
            began = time.perf_counter()
            model.train_on_batch(x, y)
            times.append(time.perf_counter() - began)
        say("step", step_seconds=round(statistics.median(times[2:]), 4), best=round(min(times[2:]), 4), batch=ARGS.batch)
        return
    compile_model(model, recipe.HEAD_RATE)
    stage("frozen", model, train, val, ARGS.epochs[0], int(counts[0]))
    unfreeze(base)
    compile_model(model, recipe.FINE_RATE)
    stage("unfrozen", model, train, val, ARGS.epochs[1], int(counts[0]))
    say("total", seconds=round(time.perf_counter() - START, 3))


if __name__ == "__main__":
    main()
