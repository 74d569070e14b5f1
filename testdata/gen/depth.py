"""What the figures of `binesh depth` are held against, by scikit-learn, SciPy and NumPy: `depth/figures.npz`.

  x, targets, labels, fold   40 photos: 30 features, 6 targets, 3 classes, 5 folds
  predicted, r2              `Ridge` with an intercept for each fold; the penalty, a share of the mean squared length of the
                             centred features, is that with the least squared error on the next fold, from a fit without both
  accuracy                   the same of the classes' indicators, features of unit variance; share of photos whose largest
                             indicator is that of their class
  wide, cka                  40 x 50 other features, and their linear CKA with x
  values, covariance, rank   300 samples of 12 channels, their covariance, exp of the entropy of the singular values' shares
  map, entropy               an activation [5, 4, 12]; `scipy.stats.entropy` of the channels' mean magnitudes over ln(12)
  pooled                     torch's adaptive mean of the same to [3, 2, 12]
  a, b, spearman             `scipy.stats.spearmanr`, with ties
"""

import json
import pathlib
import platform

import numpy as np
import scipy
import scipy.stats
import sklearn
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import StandardScaler

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "golden" / "depth"
PENALTIES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0]
FOLDS = 5


def fit(x, y, share):
    centred = x - x.mean(0)
    return Ridge(alpha=share * (centred ** 2).sum(1).mean(), solver="svd").fit(x, y)


def held_out(x, y, fold):
    x, y = x.astype("float64"), y.astype("float64")
    predicted = np.zeros_like(y)
    for left_out in range(FOLDS):
        judge = fold == (left_out + 1) % FOLDS
        test = fold == left_out
        fitted = ~test & ~judge
        errors = [((fit(x[fitted], y[fitted], p).predict(x[judge]) - y[judge]) ** 2).sum() for p in PENALTIES]
        best = PENALTIES[int(np.argmin(errors))]
        print("fold", left_out, "penalty", best)
        predicted[test] = fit(x[~test], y[~test], best).predict(x[test])
    return predicted


def adaptive(x, h, w):
    """torch.nn.AdaptiveAvgPool2d, channels last."""
    rows = [(i * x.shape[0] // h, -(-(i + 1) * x.shape[0] // h)) for i in range(h)]
    columns = [(i * x.shape[1] // w, -(-(i + 1) * x.shape[1] // w)) for i in range(w)]
    return np.stack([np.stack([x[a:b, c:d].mean((0, 1)) for c, d in columns]) for a, b in rows])


def main():
    random = np.random.default_rng(20261125)
    x = (random.normal(size=(40, 30)) * random.uniform(0.1, 3, 30) + 2).astype("float32")
    targets = (x @ random.normal(size=(30, 6)) * 0.3 + random.normal(size=(40, 6))).astype("float32")
    labels = np.argmax(targets[:, :3] + random.normal(size=(40, 3)) * 2, axis=1)
    fold = random.permutation(40) % FOLDS
    predicted = held_out(x, targets, fold)
    indicators = np.eye(3)[labels]
    scores = held_out(StandardScaler().fit_transform(x.astype("float64")), indicators, fold)
    arrays = {"x": x, "targets": targets, "labels": labels, "fold": fold, "predicted": predicted,
              "r2": [r2_score(targets, predicted, multioutput="variance_weighted")],
              "accuracy": [accuracy_score(labels, scores.argmax(1))]}

    wide = (x[:, :5] @ random.normal(size=(5, 50)) + random.normal(size=(40, 50))).astype("float32")
    a, b = (v.astype("float64") - v.mean(0, dtype="float64") for v in (x, wide))
    arrays |= {"wide": wide, "cka": [np.linalg.norm(b.T @ a) ** 2 / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)]}

    values = (random.normal(size=(300, 5)) @ random.normal(size=(5, 12)) + 0.1 * random.normal(size=(300, 12))).astype("float32")
    covariance = np.cov(values.astype("float64"), rowvar=False, bias=True)
    singular = np.linalg.svd(values.astype("float64") - values.mean(0, dtype="float64"), compute_uv=False)
    arrays |= {"values": values, "covariance": covariance, "rank": [np.exp(scipy.stats.entropy(singular / singular.sum()))]}

    activation = np.maximum(random.normal(size=(5, 4, 12)), 0).astype("float32")
    activation[:, :, 3] = 0
    shares = np.abs(activation).mean((0, 1), dtype="float64")
    arrays |= {"map": activation, "entropy": [scipy.stats.entropy(shares) / np.log(12)], "pooled": adaptive(activation.astype("float64"), 3, 2)}

    a, b = np.array([1, 2, 2, 3, 5, 4, 7.0]), np.array([0.3, 0.1, 0.5, 0.5, 0.9, 0.5, 0.8])
    arrays |= {"a": a, "b": b, "spearman": [scipy.stats.spearmanr(a, b).statistic]}
    print({k: v for k, v in arrays.items() if k in ("r2", "accuracy", "cka", "rank", "entropy", "spearman")})
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(FOLDER / "figures.npz", **{k: np.asarray(v, "float32") for k, v in arrays.items()})
    about = {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__,
             "python": platform.python_version(), "notes": __doc__.strip()}
    (FOLDER / "io.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
