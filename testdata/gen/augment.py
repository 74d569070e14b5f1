"""Random views: what Keras 2.0.8, Keras 3 and torchvision do with given numbers.

    python -m venv K && K/bin/pip install keras==2.0.8 --no-deps     # only its image module is used, with today's SciPy
    python augment.py keras208 K/lib/python3.*/site-packages/keras/preprocessing/image.py
    python augment.py keras3          (requirements-keras3.txt)
    python augment.py torch           (requirements-torch.txt)

Each writes testdata/golden/augment/<name>.npz. The picture is noise, made smooth enough that a value between two pixels
means something.

  keras208.npz, keras3.npz
      picture/<h>x<w>          float 0..=255, whole numbers
      view/<case>/<h>x<w>      the result
      draw/<case>              rotation (degrees), shift of rows, shift of columns (shares), shear (as that version takes
                               it), zoom of rows, zoom of columns, horizontal flip, vertical flip
      case = <what>/<fill>, or <what>/<fill>/<order> in keras3.npz; constant fills with 64
  torch.npz
      picture/<h>x<w>          float 0..=255
      color/<adjust>/<factor>/<h>x<w>   float 0..=255; <adjust> may be a list joined by +, <factor> likewise
      crop/<i>                 height, width, area from, to, aspect from, to, then top, left, height, width
      uniform/<i>              the random numbers in [0, 1) behind it
"""

import importlib.util
import pathlib
import sys
import types
import zlib

import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "augment"
SIZES = [(9, 9), (7, 11)]
FILL = 64.0

# rotation, shift of rows, of columns, shear, zoom of rows, of columns, horizontal, vertical flip
NONE = (0, 0, 0, 0, 1, 1, 0, 0)
DRAWS = {
    "none": NONE,
    "rotation": (33.7, 0, 0, 0, 1, 1, 0, 0),
    "shift": (0, 0.137, -0.183, 0, 1, 1, 0, 0),
    "shear": (0, 0, 0, 0.171, 1, 1, 0, 0),
    "zoom": (0, 0, 0, 0, 1.171, 0.837, 0, 0),
    "horizontal": (0, 0, 0, 0, 1, 1, 1, 0),
    "vertical": (0, 0, 0, 0, 1, 1, 0, 1),
    "together": (-28.3, -0.171, 0.093, -0.131, 0.847, 1.133, 1, 0),
    "far": (151.9, 0.61, -0.77, 0.19, 2.71, 2.33, 1, 1),
}
# The tests read arrays as f32.
DRAWS = {what: tuple(float(np.float32(v)) for v in draw) for what, draw in DRAWS.items()}


def picture(h, w):
    """Whole numbers 0..=255, neighbors alike."""
    r = np.random.default_rng(zlib.crc32(f"{h}x{w}".encode()))
    coarse = r.uniform(0, 255, (h + 2, w + 2, 3))
    smooth = sum(coarse[i : i + h, j : j + w] for i in range(3) for j in range(3)) / 9
    return np.round((smooth - smooth.min()) / np.ptp(smooth) * 255).astype("float32")


def save(name, arrays):
    OUT.mkdir(exist_ok=True)
    np.savez_compressed(OUT / f"{name}.npz", **arrays)


def keras208(module):
    """The module itself, imported without the rest of its package."""
    package = types.ModuleType("keras")
    package.__path__ = []
    preprocessing = types.ModuleType("keras.preprocessing")
    preprocessing.__path__ = []
    backend = types.ModuleType("keras.backend")
    backend.image_data_format = lambda: "channels_last"
    backend.floatx = lambda: "float32"
    package.backend = backend
    sys.modules |= {"keras": package, "keras.preprocessing": preprocessing, "keras.backend": backend}
    # SciPy 1.8 moved what the module calls `ndi.interpolation`.
    import scipy.ndimage

    if not hasattr(scipy.ndimage, "interpolation"):
        scipy.ndimage.interpolation = scipy.ndimage
    spec = importlib.util.spec_from_file_location("keras.preprocessing.image", module)
    image = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(image)

    arrays = {}
    for h, w in SIZES:
        arrays[f"picture/{h}x{w}"] = picture(h, w)
    for what, draw in DRAWS.items():
        for fill in ["nearest", "reflect", "constant"] if what in ("together", "far") else ["nearest"]:
            arrays[f"draw/{what}/{fill}"] = np.array(draw, "float32")
            for h, w in SIZES:
                x = random_transform_208(image, picture(h, w), draw, fill)
                arrays[f"view/{what}/{fill}/{h}x{w}"] = x.astype("float32")
    save("keras208", arrays)


def random_transform_208(image, x, draw, fill):
    """`ImageDataGenerator.random_transform` with its random numbers given: they are taken from a list instead."""
    rotation, rows, columns, shear, zoom_rows, zoom_columns, horizontal, vertical = draw
    generator = image.ImageDataGenerator(
        rotation_range=180 if rotation else 0,
        height_shift_range=1 if rows else 0,
        width_shift_range=1 if columns else 0,
        shear_range=1 if shear else 0,
        zoom_range=[0.1, 9] if (zoom_rows, zoom_columns) != (1, 1) else 0,
        horizontal_flip=True,
        vertical_flip=True,
        fill_mode=fill,
        cval=FILL,
    )
    numbers = [v for v in (rotation, rows, columns, shear) if v]

    def uniform(low, high, size=None):
        return (zoom_rows, zoom_columns) if size == 2 else numbers.pop(0)

    flips = [0.9 - 0.8 * flip for flip in (horizontal, vertical)]
    real = np.random.uniform, np.random.random
    np.random.uniform, np.random.random = uniform, lambda: flips.pop(0)
    try:
        x = generator.random_transform(x.copy())
    finally:
        np.random.uniform, np.random.random = real
    assert not numbers and not flips
    return x


def keras3():
    import os

    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    arrays = {f"picture/{h}x{w}": picture(h, w) for h, w in SIZES}
    for what, draw in DRAWS.items():
        rotation, rows, columns, shear, zoom_rows, zoom_columns, horizontal, vertical = draw
        shear = float(np.float32(shear * 60))  # degrees
        hard = what in ("together", "far")
        for fill in ["nearest", "reflect", "constant"] if hard else ["nearest"]:
            for order in (0, 1) if hard else (1,):
                case = f"{what}/{fill}/{order}"
                arrays[f"draw/{case}"] = np.array((*draw[:3], shear, *draw[4:]), "float32")
                generator = ImageDataGenerator(fill_mode=fill, cval=FILL, interpolation_order=order)
                for h, w in SIZES:
                    parameters = {
                        "theta": rotation,
                        "tx": rows * h,
                        "ty": columns * w,
                        "shear": shear,
                        "zx": zoom_rows,
                        "zy": zoom_columns,
                        "flip_horizontal": bool(horizontal),
                        "flip_vertical": bool(vertical),
                    }
                    x = generator.apply_transform(picture(h, w), parameters)
                    arrays[f"view/{case}/{h}x{w}"] = x.astype("float32")
    save("keras3", arrays)


def torch():
    arrays = {}
    colors(arrays)
    windows(arrays)
    save("torch", arrays)


def colors(arrays):
    import torch
    from torchvision.transforms import functional as F

    h, w = SIZES[1]
    x = picture(h, w)
    # Grays, and two equal largest or smallest channels: the corners of the color circle.
    x[0, :8] = [[0, 0, 0], [255, 255, 255], [9, 9, 9], [200, 200, 50], [50, 200, 200], [200, 50, 200], [255, 0, 0], [7, 7, 8]]
    arrays[f"picture/{h}x{w}"] = x
    steps = [("brightness", f) for f in (0.0, 0.63, 1.7)]
    steps += [("contrast", f) for f in (0.0, 0.63, 1.7)]
    steps += [("saturation", f) for f in (0.0, 0.63, 1.7)]
    steps += [("hue", f) for f in (-0.5, -0.17, 0.03, 0.25, 0.5)]
    chains = [[step] for step in steps]
    chains += [[("brightness", 1.3), ("contrast", 0.8), ("saturation", 1.4), ("hue", 0.07)]]
    chains += [[("hue", -0.11), ("saturation", 1.9), ("contrast", 1.6), ("brightness", 0.7)]]
    adjust = {name: getattr(F, f"adjust_{name}") for name in ("brightness", "contrast", "saturation", "hue")}
    for chain in chains:
        y = torch.from_numpy(x.transpose(2, 0, 1) / 255)
        for name, factor in chain:
            y = adjust[name](y, factor)
        names, factors = "+".join(n for n, _ in chain), "+".join(str(f) for _, f in chain)
        arrays[f"color/{names}/{factors}/{h}x{w}"] = y.numpy().transpose(1, 2, 0) * 255


def windows(arrays):
    import torch
    from torchvision.transforms import RandomResizedCrop

    cases = [
        ((75, 113), (0.08, 1.0), (3 / 4, 4 / 3)),
        ((300, 451), (0.6, 1.0), (0.8, 1.25)),
        ((224, 224), (0.9, 1.0), (0.5, 2.0)),
        # Never fits: too wide, too narrow, and inside the range but larger than the picture.
        ((20, 400), (0.9, 1.0), (3 / 4, 4 / 3)),
        ((400, 20), (0.9, 1.0), (3 / 4, 4 / 3)),
        ((60, 100), (1.0, 1.0), (1.0, 3.0)),
    ]
    real = torch.Tensor.uniform_, torch.randint
    i = 0
    for size, scale, ratio in cases:
        for seed in range(4):
            torch.manual_seed(seed)
            numbers = []

            def uniform_(self, low, high):
                result = real[0](self, low, high)
                low, high, value = float(low), float(high), result.item()
                numbers.append((value - low) / (high - low) if high > low else 0.5)
                return result

            def randint(low, high, size):
                result = real[1](low, high, size=size)
                numbers.append((result.item() - low + 0.5) / (high - low))
                return result

            torch.Tensor.uniform_, torch.randint = uniform_, randint
            try:
                window = RandomResizedCrop.get_params(torch.zeros(3, *size), list(scale), list(ratio))
            finally:
                torch.Tensor.uniform_, torch.randint = real
            arrays[f"crop/{i:02}"] = np.array([*size, *scale, *ratio, *window], "float32")
            arrays[f"uniform/{i:02}"] = np.array(numbers, "float32")
            i += 1


if __name__ == "__main__":
    {"keras208": keras208, "keras3": keras3, "torch": torch}[sys.argv[1]](*sys.argv[2:])
