"""What training computes, number by number: optimizers, clipping, losses, schedules, callbacks.

Two parts into `golden/train_maths`: run with Keras 3 (requirements-keras3.txt) and with torch
(requirements-torch.txt, and timm 1.0.31 unpacked where Python finds it); each makes its own files.

  cases.json       optimizers as this project writes them, with rates, clipping and what is excluded from decay
  optimizers.npz   weights/a weights/b, gradients/a gradients/b [20, ...]; per case CASE/a CASE/b [20, ...] after each
                   step and CASE/slot/<parameter>/<slot> after the last
  losses.npz       per case logits targets [weights]; value, gradient, and accuracy of Keras's metrics
  schedules.npz    factors per step
  callbacks.json   scripted figures per epoch, and what the callbacks did
  averages.npz     moving averages of the weights of the case `adam` after each step
  beta.npz         quantiles of max(x, 1 - x) for x from Beta(alpha, alpha): alpha, levels, ALPHA
  torch.npz        RMSprop with epsilon beside the root, OneCycleLR, timm's moving average with warm-up
"""

import json
import os
import pathlib
import warnings

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np

warnings.filterwarnings("ignore", category=DeprecationWarning)

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "train_maths"
STEPS = 20

CASES = {
    "rmsprop": dict(optimizer=dict(name="rmsprop"), rate=0.01),
    "rmsprop_momentum": dict(optimizer=dict(name="rmsprop", rho=0.8, momentum=0.7, epsilon=1e-5), rate=0.01),
    "rmsprop_centered": dict(optimizer=dict(name="rmsprop", centered=True, weight_decay=0.1), rate=0.01),
    "rmsprop_centered_momentum": dict(optimizer=dict(name="rmsprop", centered=True, momentum=0.5), rate=0.01),
    "sgd": dict(optimizer=dict(name="sgd"), rate=0.1),
    "sgd_momentum": dict(optimizer=dict(name="sgd", momentum=0.9), rate=0.1),
    "sgd_nesterov": dict(optimizer=dict(name="sgd", momentum=0.9, nesterov=True, weight_decay=0.05), rate=0.1),
    "adam": dict(optimizer=dict(name="adam"), rate=0.01),
    "adam_amsgrad": dict(optimizer=dict(name="adam", amsgrad=True, beta_1=0.8, beta_2=0.95, epsilon=1e-4), rate=0.01),
    "adam_weight_decay": dict(optimizer=dict(name="adam", weight_decay=0.3), rate=0.01),
    "adamw": dict(optimizer=dict(name="adamw"), rate=0.1),
    "adamw_no_decay_b": dict(optimizer=dict(name="adamw", weight_decay=0.3), rate=0.01, no_decay=["b"]),
    "adam_rates": dict(optimizer=dict(name="adam"), rate=0.01, schedule=True),
    "sgd_momentum_rates": dict(optimizer=dict(name="sgd", momentum=0.9), rate=0.1, schedule=True),
    "adam_discriminative": dict(optimizer=dict(name="adam"), rate=0.01, rate_b=0.1),
    "sgd_clip_value": dict(optimizer=dict(name="sgd", momentum=0.9), rate=0.1, clip=dict(value=0.5)),
    "sgd_clip_norm": dict(optimizer=dict(name="sgd"), rate=0.1, clip=dict(norm=2.0)),
    "sgd_clip_global_norm": dict(optimizer=dict(name="sgd"), rate=0.1, clip=dict(global_norm=3.0)),
    "adam_clip_global_norm": dict(optimizer=dict(name="adam"), rate=0.01, clip=dict(global_norm=3.0)),
}
CLIP = {"value": "clipvalue", "norm": "clipnorm", "global_norm": "global_clipnorm"}


def problem():
    """Weights and gradients whose sizes differ by parameter, by element and, a thousandfold, by step."""
    r = np.random.default_rng(20)
    arrays = {}
    for name, shape, size in [("a", (3, 4), 1.0), ("b", (5,), 0.3)]:
        arrays[f"weights/{name}"] = r.normal(0, 1, shape).astype("float32")
        steps = 10 ** r.uniform(-2, 1, (STEPS,) + (1,) * len(shape))
        arrays[f"gradients/{name}"] = (r.normal(0.3, 1, (STEPS, *shape)) * size * steps).astype("float32")
    # An element that never has a gradient, as a unit behind a dead ReLU.
    arrays["gradients/a"][:, 1, 2] = 0
    return arrays


def rates(case):
    steps = np.arange(STEPS)
    return case["rate"] * (1 - 0.9 * steps / STEPS if case.get("schedule") else np.ones(STEPS))


def keras_optimizer(keras, case):
    classes = dict(rmsprop=keras.optimizers.RMSprop, sgd=keras.optimizers.SGD, adam=keras.optimizers.Adam,
                   adamw=keras.optimizers.AdamW)
    config = dict(case["optimizer"])
    cls = classes[config.pop("name")]
    clip = {CLIP[kind]: value for kind, value in case.get("clip", {}).items()}
    optimizer = cls(learning_rate=case["rate"], **config, **clip)
    if case.get("no_decay"):
        optimizer.exclude_from_weight_decay(var_names=case["no_decay"])
    return optimizer


def optimizers(keras):
    arrays = problem()
    for name, case in CASES.items():
        variables = [keras.Variable(arrays[f"weights/{p}"], name=p) for p in "ab"]
        grads = [arrays[f"gradients/{p}"] for p in "ab"]
        if "rate_b" in case:
            # One optimizer per parameter is how Keras does discriminative rates.
            own = [keras_optimizer(keras, case), keras_optimizer(keras, {**case, "rate": case["rate_b"]})]
            groups = [(own[0], [0]), (own[1], [1])]
        else:
            groups = [(keras_optimizer(keras, case), [0, 1])]
        after = {p: [] for p in "ab"}
        for step, rate in enumerate(rates(case)):
            for optimizer, members in groups:
                if case.get("schedule"):
                    optimizer.learning_rate = rate
                optimizer.apply([keras.ops.convert_to_tensor(grads[i][step]) for i in members],
                                [variables[i] for i in members])
            for p, variable in zip("ab", variables):
                after[p].append(np.array(variable))
        for p in "ab":
            arrays[f"{name}/{p}"] = np.stack(after[p])
        for optimizer, _ in groups:
            for variable in optimizer.variables:
                parts = variable.path.split("/")[-1].split("_", 1)
                if parts[0] in "ab":
                    arrays[f"{name}/slot/{parts[0]}/{parts[1]}"] = np.array(variable)
    np.savez_compressed(OUT / "optimizers.npz", **arrays)
    (OUT / "cases.json").write_text(json.dumps(CASES, indent=1) + "\n")


def losses(keras):
    import tensorflow as tf

    r = np.random.default_rng(3)
    n, k = 6, 4
    hard = np.eye(k, dtype="float32")[[0, 3, 1, 1, 2, 0]]
    mixed = 0.7 * hard + 0.3 * hard[::-1]
    one = np.array([[1], [0], [0], [1], [1], [0]], "float32")
    weights = r.uniform(0.2, 3, n).astype("float32")
    logits = r.normal(0, 3, (n, k)).astype("float32")
    single = r.normal(0, 3, (n, 1)).astype("float32")
    huge, huge1 = logits * 60, np.array([[200], [-200], [90], [-90], [1e-6], [0]], "float32")
    cases = {
        "categorical": (logits, hard, 0, None),
        "categorical_mixed": (logits, mixed, 0, None),
        "categorical_smooth": (logits, hard, 0.1, None),
        "categorical_weights": (logits, hard, 0, weights),
        "categorical_all": (logits, mixed, 0.2, weights),
        "categorical_huge": (huge, hard, 0, None),
        "binary": (single, one, 0, None),
        "binary_mixed": (single, 0.7 * one + 0.3 * one[::-1], 0, None),
        "binary_smooth": (single, one, 0.1, None),
        "binary_weights": (single, one, 0, weights),
        "binary_all": (single, 0.6 * one + 0.4 * one[::-1], 0.2, weights),
        "binary_huge": (huge1, one, 0, None),
    }
    arrays = {}
    for name, (x, y, smoothing, w) in cases.items():
        binary = name.startswith("binary")
        cls = keras.losses.BinaryCrossentropy if binary else keras.losses.CategoricalCrossentropy
        loss = cls(from_logits=True, label_smoothing=smoothing)
        variable = tf.Variable(x)
        with tf.GradientTape() as tape:
            value = loss(y, variable, sample_weight=w)
        metric = keras.metrics.BinaryAccuracy(threshold=0.0) if binary else keras.metrics.CategoricalAccuracy()
        # For targets that are mixed Keras's binary accuracy is always 0: the larger part is the class.
        metric.update_state(np.round(y) if binary else y, x)
        case = dict(logits=x, targets=y, smoothing=np.float32(smoothing), value=np.array(value),
                    gradient=np.array(tape.gradient(value, variable)), accuracy=np.array(metric.result()))
        if w is not None:
            case["weights"] = w
        arrays.update({f"{name}/{key}": np.asarray(v, "float32") for key, v in case.items()})
    np.savez_compressed(OUT / "losses.npz", **arrays)


def schedules(keras):
    cosine = keras.optimizers.schedules.CosineDecay
    ours = {
        "cosine": (cosine(1.0, 12), 12),
        "cosine_floor": (cosine(1.0, 12, alpha=0.1), 12),
        "cosine_warmup": (cosine(0.1, 9, alpha=0.05, warmup_target=1.0, warmup_steps=3), 12),
    }
    arrays = {name: np.array([float(s(step)) for step in range(steps)]) for name, (s, steps) in ours.items()}
    # Drops by epochs: Keras has it as a schedule of steps.
    step = keras.optimizers.schedules.ExponentialDecay(1.0, decay_steps=8, decay_rate=0.3, staircase=True)
    arrays["step"] = np.array([float(step(i)) for i in range(24)])
    arrays = {name: values.astype("float32") for name, values in arrays.items()}
    np.savez_compressed(OUT / "schedules.npz", **arrays)


def callbacks(keras):
    """Real callbacks, driven by hand; `figures` are what they are told epoch by epoch."""
    r = np.random.default_rng(8)
    noisy = (1 / (1 + 0.3 * np.arange(25)) + r.normal(0, 0.05, 25)).round(4).tolist()
    rising = (1 - np.array(noisy) / 2).round(4).tolist()
    flat = [1.0, 0.9, 0.8995, 0.8994, 0.8993, 0.8992, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    up = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    early = [
        dict(figures=noisy, monitor="val_loss"),
        dict(figures=noisy, monitor="val_loss", patience=3),
        dict(figures=noisy, monitor="loss", patience=2, min_delta=0.05),
        dict(figures=noisy, monitor="val_loss", patience=1, start_from_epoch=10),
        dict(figures=rising, monitor="val_accuracy", patience=4, min_delta=0.01),
        dict(figures=up, monitor="val_loss", patience=2),
        dict(figures=up, monitor="accuracy", patience=2),
        dict(figures=flat, monitor="val_loss", patience=3, min_delta=0.001),
    ]
    plateau = [
        dict(figures=noisy, monitor="val_loss", patience=2, factor=0.5),
        dict(figures=rising, monitor="val_accuracy", patience=2, factor=0.5, min_delta=0.02, cooldown=2),
        dict(figures=up, monitor="val_loss", patience=1, factor=0.1, min_rate=0.0002),
        dict(figures=up * 2, monitor="loss", patience=2, factor=0.3, cooldown=3),
        dict(figures=flat * 2, monitor="val_loss", patience=4, factor=0.2, min_delta=0.001, cooldown=1),
        dict(figures=flat * 2, monitor="val_loss"),
        dict(figures=up, monitor="val_accuracy", patience=0, factor=0.5),
        dict(figures=up, monitor="val_loss", patience=0, factor=0.5, cooldown=1),
    ]

    def model():
        own = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        own.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
        return own

    def settings(case, **renamed):
        own = {renamed.get(key, key): value for key, value in case.items() if key != "figures"}
        return dict(mode="max" if "accuracy" in case["monitor"] else "min", **own)

    for case in early:
        callback, own = keras.callbacks.EarlyStopping(restore_best_weights=True, **settings(case)), model()
        callback.set_model(own)
        own.stop_training = False
        callback.on_train_begin()
        case["best"], case["stopped"] = [], None
        for epoch, figure in enumerate(case["figures"]):
            callback.on_epoch_end(epoch, {case["monitor"]: figure})
            case["best"].append(callback.best_epoch)
            if own.stop_training:
                case["stopped"] = epoch
                break
    for case in plateau:
        callback, own = keras.callbacks.ReduceLROnPlateau(**settings(case, min_rate="min_lr")), model()
        callback.set_model(own)
        callback.on_train_begin()
        case["rates"] = []
        for epoch, figure in enumerate(case["figures"]):
            callback.on_epoch_end(epoch, {case["monitor"]: figure})
            case["rates"].append(float(f"{float(own.optimizer.learning_rate):.7g}"))
    text = json.dumps(dict(early_stopping=early, plateau=plateau))
    (OUT / "callbacks.json").write_text(text.replace('{"figures"', '\n{"figures"') + "\n")


def averages(keras):
    arrays, source = {}, problem()
    for name, momentum in [("default", 0.99), ("half", 0.5)]:
        variables = [keras.Variable(source[f"weights/{p}"], name=p) for p in "ab"]
        optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=momentum)
        after = {p: [] for p in "ab"}
        for step in range(STEPS):
            optimizer.apply([keras.ops.convert_to_tensor(source[f"gradients/{p}"][step]) for p in "ab"], variables)
            for p, average in zip("ab", optimizer._model_variables_moving_average):
                after[p].append(np.array(average))
        arrays.update({f"{name}/{p}": np.stack(after[p]) for p in "ab"})
    np.savez_compressed(OUT / "averages.npz", **arrays)


def beta():
    from scipy.stats import beta as distribution

    levels = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])
    arrays = {"levels": levels.astype("float32")}
    for alpha in (0.05, 0.2, 0.4, 1.0, 2.5):
        # By symmetry max(x, 1 - x) <= q has the probability 2 F(q) - 1.
        arrays[str(alpha)] = distribution.ppf((1 + levels) / 2, alpha, alpha).astype("float32")
    np.savez_compressed(OUT / "beta.npz", **arrays)


def timm_average(torch, source):
    """`timm/utils/model_ema.py` alone: the rest of timm needs more packages."""
    import importlib.util

    folder = pathlib.Path(importlib.util.find_spec("timm").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("model_ema", folder / "utils" / "model_ema.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = torch.nn.Module()
    model.a = torch.nn.Parameter(torch.tensor(source["weights/a"]))
    average = module.ModelEmaV3(model, decay=0.8, use_warmup=True)
    after = []
    # Weights that wander by the gradients: any sequence would do.
    for step in range(STEPS):
        with torch.no_grad():
            model.a.sub_(0.01 * torch.tensor(source["gradients/a"][step]))
        average.update(model, step=step + 1)
        after.append(average.module.a.detach().numpy().copy())
    return np.stack(after)


def torch_part(torch):
    arrays, source = {}, problem()
    arrays["average/a"] = timm_average(torch, source)
    for name, options in {"keras_2_0": {}, "keras_2_0_momentum_centered": dict(momentum=0.6, centered=True)}.items():
        parameters = [torch.nn.Parameter(torch.tensor(source[f"weights/{p}"])) for p in "ab"]
        optimizer = torch.optim.RMSprop(parameters, lr=0.01, alpha=0.9, eps=1e-8, **options)
        after = {p: [] for p in "ab"}
        for step in range(STEPS):
            for p, parameter in zip("ab", parameters):
                parameter.grad = torch.tensor(source[f"gradients/{p}"][step])
            optimizer.step()
            for p, parameter in zip("ab", parameters):
                after[p].append(parameter.detach().numpy().copy())
        arrays.update({f"{name}/{p}": np.stack(after[p]) for p in "ab"})
    cycles = {
        "one_cycle": dict(total_steps=40),
        "one_cycle_settings": dict(total_steps=23, pct_start=0.25, div_factor=5.0, final_div_factor=1e5),
        "one_cycle_short": dict(total_steps=3),
        "one_cycle_single": dict(total_steps=1),
    }
    for name, options in cycles.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, cycle_momentum=False, **options)
        factors = []
        for step in range(options["total_steps"]):
            factors.append(schedule.get_last_lr()[0])
            optimizer.step()
            if step + 1 < options["total_steps"]:
                schedule.step()
        arrays[name] = np.array(factors, "float32")
    np.savez_compressed(OUT / "torch.npz", **arrays)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        import keras
    except ImportError:
        import torch

        torch_part(torch)
        return
    optimizers(keras)
    losses(keras)
    schedules(keras)
    callbacks(keras)
    averages(keras)
    beta()


if __name__ == "__main__":
    main()
