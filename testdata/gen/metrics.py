"""What scikit-learn, SciPy and NumPy say about scores, and how far representations moved: ../golden/metrics.

    python metrics.py    # numpy 2.4.6, scikit-learn 1.9.1, scipy 1.17.1
"""

import json
import pathlib
import warnings

import numpy as np
import scipy
import sklearn
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

OUT = pathlib.Path(__file__).parent.parent / "golden" / "metrics"
warnings.simplefilter("ignore")


def shortest(array):
    """Float32 values in as few digits as say which."""
    return [float(str(np.float32(v))) for v in np.ravel(array)]


def calibration(p, y, bins=15):
    """Guo et al. 2017, equation 3, over bins (low, high]."""
    predicted, confidence = p.argmax(1), p.max(1).astype(np.float64)
    edges = np.arange(1, bins + 1) / bins
    index = np.searchsorted(edges, confidence, side="left")
    ece, table = 0.0, []
    for b in range(bins):
        inside = index == b
        if not inside.any():
            table.append([0, None, None])
            continue
        accuracy, mean = (predicted == y)[inside].mean(), confidence[inside].mean()
        ece += inside.sum() / len(y) * abs(accuracy - mean)
        table.append([int(inside.sum()), float(mean), float(accuracy)])
    return {"ece": float(ece), "confidence": float(confidence.mean()), "bins": table}


def mistakes(p, y):
    predicted, confidence = p.argmax(1), p.max(1)
    wrong = np.flatnonzero(predicted != y)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return [[int(i), int(y[i]), int(predicted[i]), float(confidence[i]), float(p[i, y[i]])] for i in order[:5]]


def averages(y, predicted, labels, kind):
    p, r, f, _ = precision_recall_fscore_support(y, predicted, labels=labels, average=kind, zero_division=0)
    return [float(p), float(r), float(f)]


def case(name, p, y, sigmoid=None):
    """`p`: float32 [N, K]; `sigmoid`: float32 [N] when the model has one unit."""
    labels, predicted = np.arange(p.shape[1]), p.argmax(1)
    each = precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0)
    undefined = precision_recall_fscore_support(y, predicted, labels=labels, zero_division=np.nan)
    interval = binomtest(int((predicted == y).sum()), len(y)).proportion_ci(0.95, "wilson")
    return {
        "name": name,
        "probabilities": shortest(p if sigmoid is None else sigmoid),
        "binary": sigmoid is not None,
        "labels": y.tolist(),
        "classes": p.shape[1],
        "accuracy": float(accuracy_score(y, predicted)),
        "interval": [float(interval.low), float(interval.high)],
        "loss": float(log_loss(y, p, labels=labels)),
        "per_class": [[float(each[i][k]) for i in range(3)] + [int(each[3][k])] for k in labels],
        "undefined": [[bool(np.isnan(undefined[i][k])) for i in range(3)] for k in labels],
        "macro": averages(y, predicted, labels, "macro"),
        "weighted": averages(y, predicted, labels, "weighted"),
        "confusion": confusion_matrix(y, predicted, labels=labels).tolist(),
        "calibration": calibration(p, y),
        "mistakes": mistakes(p, y),
    }


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).astype(np.float32)


def scores():
    r = np.random.default_rng(7)
    y = r.integers(0, 4, 60)
    z = r.normal(size=(60, 4))
    z[np.arange(60), y] += 1.6
    yield case("four classes", softmax(2 * z), y)

    # Class 1 is never predicted, class 2 never true, class 3 neither.
    y = np.array([0, 0, 1, 1, 4, 4, 0, 1])
    z = r.normal(size=(8, 5))
    z[:, 1] -= 9
    z[:, 3] -= 9
    z[2:4, 2] += 6
    yield case("undefined figures", softmax(z), y)

    # Certain and wrong, certain and right, ties, bin edges.
    p = np.array([[1, 0], [0, 1], [1, 0], [0.5, 0.5], [0.4, 0.6], [0.8, 0.2], [0.25, 0.75]], np.float32)
    yield case("extremes", p, np.array([0, 0, 1, 1, 1, 0, 0]))

    y = r.integers(0, 2, 40)
    s = (1 / (1 + np.exp(-(r.normal(size=40) + 2 * y - 1)))).astype(np.float32)
    s[:3] = [0.5, 1, 0]
    yield case("one sigmoid unit", np.stack([1 - s, s], 1), y, s)

    y = r.integers(0, 3, 12)
    yield case("all right", softmax(8 * np.eye(3)[y] + r.normal(size=(12, 3))), y)


def linear_cka(x, y):
    """Kornblith et al. 2019, section 3 with linear kernels: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    h = np.eye(len(x)) - 1 / len(x)
    k, l = h @ (x @ x.T) @ h, h @ (y @ y.T) @ h
    return float((k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum()))


def moved():
    r = np.random.default_rng(11)
    for name, n, p, q, noise in [
        ("more pictures than features", 40, 6, 6, 0.3),
        ("more features than pictures", 9, 50, 50, 1.0),
        ("unequal widths", 24, 30, 5, 0.5),
        ("far from the origin", 30, 4, 4, 0.2),
    ]:
        x = r.normal(size=(n, p)) + (1000 if name.startswith("far") else 0)
        y = x[:, :q] @ r.normal(size=(q, q)) + noise * r.normal(size=(n, q))
        x, y = x.astype(np.float32), y.astype(np.float32)
        yield {
            "name": name,
            "n": n,
            "x": shortest(x),
            "y": shortest(y),
            "cka": linear_cka(x, y),
            # The weights of a layer: a matrix and a vector.
            "before": shortest(x[:4]),
            "after": shortest(x[1:5]),
            "change": float(
                np.linalg.norm((x[1:5] - x[:4].astype(np.float64)).ravel())
                / np.linalg.norm(x[:4].astype(np.float64).ravel())
            ),
        }


def wilson():
    for correct, n in [(0, 10), (10, 10), (1, 3), (54, 58), (262, 285), (4999, 5000)]:
        low, high = binomtest(correct, n).proportion_ci(0.95, "wilson")
        yield [correct, n, float(low), float(high)]


def write(name, cases):
    made_by = f"numpy {np.__version__}, scikit-learn {sklearn.__version__}, scipy {scipy.__version__}"
    lines = ",\n".join(json.dumps(c) for c in cases)
    (OUT / name).write_text(f'{{"made_by": "{made_by}", "cases": [\n{lines}]}}\n')


OUT.mkdir(parents=True, exist_ok=True)
write("scores.json", scores())
write("moved.json", moved())
write("wilson.json", wilson())
