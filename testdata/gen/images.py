"""Pictures: what PIL, TensorFlow, Keras, matplotlib and OpenCV make of them.

Run with the packages of requirements-keras3.txt. Writes testdata/golden/images/: small picture files, and

  decode.npz      rgb/<file> as PIL convert('RGB'), white/<file> over white, upright/<file> with EXIF applied
  resize.npz      pil/<filter>/<source>/<h>x<w>   tf/<method>/<source>/<h>x<w>   and the fits
  preprocess.npz  keras.applications.imagenet_utils.preprocess_input, all modes
  render.npz      colormaps, the chapter's grid of channels, matshow, the chapter's heatmap overlay

The photo is `chelsea` of scikit-image (CC0), reduced.
"""

import os
import pathlib
import tempfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import cv2
import keras
import matplotlib
import numpy as np
import skimage
import tensorflow as tf
from PIL import Image, ImageOps

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "images"
PIL_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
TF_METHODS = {
    "tf_nearest": dict(method="nearest"),
    "tf_bilinear": dict(method="bilinear"),
    "tf_bilinear_antialias": dict(method="bilinear", antialias=True),
    "tf_bicubic": dict(method="bicubic"),
    "tf_bicubic_antialias": dict(method="bicubic", antialias=True),
}
SIZES = {
    # both down, both up, one each way, only one changes
    "photo": [(24, 33), (7, 5)],
    "eye": [(9, 7), (41, 50), (40, 11), (23, 17)],
}


def photo():
    full = Image.open(pathlib.Path(skimage.__file__).parent / "data" / "chelsea.png").convert("RGB")
    reduced = full.resize((113, 75), Image.Resampling.LANCZOS)
    return Image.fromarray(np.asarray(reduced))  # without the color profile


def save(name, arrays):
    np.savez_compressed(OUT / name, **arrays)


def pictures(x):
    """Every kind of file the decoder should take, small."""
    eye = x.crop((40, 20, 40 + 31, 20 + 23))
    eye.save(OUT / "eye.png", optimize=True)
    x.save(OUT / "photo.png", optimize=True)
    x.save(OUT / "photo.jpg", quality=90)
    x.save(OUT / "photo_444.jpg", quality=90, subsampling=0)
    x.save(OUT / "photo_422.jpg", quality=90, subsampling=1)
    x.save(OUT / "photo_progressive.jpg", quality=90, progressive=True)
    x.convert("L").save(OUT / "photo_gray.jpg", quality=90)
    x.convert("CMYK").save(OUT / "photo_cmyk.jpg", quality=90)
    eye.save(OUT / "eye.webp", lossless=True)
    eye.save(OUT / "eye_lossy.webp", quality=90)
    eye.save(OUT / "eye_animated.webp", save_all=True, append_images=[ImageOps.invert(eye)], lossless=True)
    eye.quantize(32).save(OUT / "eye_animated.gif", save_all=True, append_images=[ImageOps.invert(eye).quantize(32)])
    eye.save(OUT / "eye.bmp")
    eye.save(OUT / "eye.tif")
    eye.save(OUT / "eye_lzw.tif", compression="tiff_lzw")
    eye.convert("L").save(OUT / "eye_gray.png")
    eye.convert("1").save(OUT / "eye_1bit.png")
    eye.quantize(13).save(OUT / "eye_palette.png")
    eye.quantize(13).save(OUT / "eye_palette_transparent.png", transparency=2)
    alpha = Image.fromarray(np.add.outer(np.arange(23) * 7, np.arange(31) * 3).astype(np.uint8))
    with_alpha = eye.copy()
    with_alpha.putalpha(alpha)
    with_alpha.save(OUT / "eye_alpha.png")
    with_alpha.save(OUT / "eye_alpha.webp", lossless=True, exact=True)
    gray_alpha = eye.convert("L")
    gray_alpha.putalpha(alpha)
    gray_alpha.save(OUT / "eye_gray_alpha.png")
    deep = np.asarray(eye).astype(np.uint16) * 257 - np.arange(31, dtype=np.uint16)[None, :, None] * 3
    cv2.imwrite(str(OUT / "eye_16bit.png"), deep[:, :, ::-1])
    cv2.imwrite(str(OUT / "eye_gray_16bit.png"), deep[:, :, 1])
    # Four colored quarters, so that each of the eight orientations is a different picture.
    quarters = np.zeros((16, 32, 3), np.uint8)
    quarters[:8, :16], quarters[:8, 16:], quarters[8:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(quarters).save(OUT / f"exif_{orientation}.jpg", quality=95, subsampling=0, exif=exif)

    arrays = {}
    for file in sorted(OUT.iterdir()):
        if file.suffix == ".npz":
            continue
        image = Image.open(file)
        key = file.name
        if key == "eye_gray_16bit.png":
            # PIL clips 16-bit gray at 255; the high byte is what its 16-bit RGB gets, and what we take.
            arrays[f"rgb/{key}"] = np.repeat((deep[:, :, 1] >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
            continue
        arrays[f"rgb/{key}"] = np.asarray(image.convert("RGB"))
        if image.mode in ("RGBA", "LA") or "transparency" in image.info:
            rgba = np.asarray(image.convert("RGBA")).astype(np.float64)
            a = rgba[:, :, 3:] / 255
            arrays[f"white/{key}"] = np.floor(rgba[:, :, :3] * a + 255 * (1 - a) + 0.5).astype(np.uint8)
        if key.startswith("exif_"):
            arrays[f"upright/{key}"] = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    arrays["gray/photo.png"] = np.asarray(x.convert("L"))
    save("decode.npz", arrays)


def resizing(x):
    arrays = {}
    sources = {"photo": x, "eye": Image.open(OUT / "eye.png")}
    for source, image in sources.items():
        values = np.asarray(image).astype(np.float32)
        for h, w in SIZES[source]:
            for name, resample in PIL_FILTERS.items():
                arrays[f"pil/{name}/{source}/{h}x{w}"] = np.asarray(image.resize((w, h), resample))
            for name, arguments in TF_METHODS.items():
                arrays[f"tf/{name}/{source}/{h}x{w}"] = tf.image.resize(values, (h, w), **arguments).numpy()
    gray = x.convert("L")
    arrays["pil_gray/bicubic/photo/24x33"] = np.asarray(gray.resize((33, 24), Image.Resampling.BICUBIC))
    for h, w in [(24, 24), (30, 20), (16, 50)]:
        path = str(OUT / "photo.png")
        for name in ("nearest", "bilinear", "bicubic"):
            loaded = keras.utils.load_img(path, target_size=(h, w), interpolation=name, keep_aspect_ratio=True)
            arrays[f"keep_aspect_ratio/{name}/{h}x{w}"] = np.asarray(loaded)
        smart = keras.preprocessing.image.smart_resize(np.asarray(x).astype(np.float32), (h, w))
        arrays[f"smart_resize/{h}x{w}"] = np.asarray(smart)
        arrays[f"center_crop/0.875/{h}x{w}"] = center_crop(x, h, w, 0.875)
    arrays["center_crop/0.95/30x30"] = center_crop(x, 30, 30, 0.95)
    arrays["crop_then_resize/0.875/28x28"] = crop_then_resize(x, 28, 0.875)
    save("resize.npz", arrays)


def center_crop(image, h, w, ratio):
    """torchvision Resize(floor(size / ratio)) and CenterCrop(size), as timm builds them; bicubic."""
    box_h, box_w = int(h / ratio), int(w / ratio)
    width, height = image.size
    if width * box_h >= height * box_w:
        cover = (box_h, max(int(box_h * width / height), box_w))
    else:
        cover = (max(int(box_w * height / width), box_h), box_w)
    resized = image.resize((cover[1], cover[0]), Image.Resampling.BICUBIC)
    top, left = int(round((cover[0] - h) / 2.0)), int(round((cover[1] - w) / 2.0))
    return np.asarray(resized.crop((left, top, left + w, top + h)))


def crop_then_resize(image, size, ratio):
    """TensorFlow's EfficientNet preprocessing: a centered square of the shorter side, then tf.image.resize."""
    width, height = image.size
    side = int(ratio * min(height, width))
    top, left = ((height - side) + 1) // 2, ((width - side) + 1) // 2
    cut = tf.image.crop_to_bounding_box(np.asarray(image), top, left, side, side)
    return tf.image.resize(tf.cast(cut, tf.float32), (size, size), "bicubic").numpy()


def preprocessing():
    x = np.array([[[255, 128, 0], [0, 0, 0]], [[255, 255, 255], [17, 200, 93]]], np.float32)[None]
    arrays = {"x": x[0]}
    for mode in ("caffe", "tf", "torch"):
        arrays[mode] = keras.applications.imagenet_utils.preprocess_input(x.copy(), mode=mode)[0]
    save("preprocess.npz", arrays)


def activations():
    """Shapes as a convnet's, some channels dead, one constant, one with an outlier."""
    r = np.random.default_rng(5)
    cases = {}
    for name, (size, channels) in {"wide": (6, 40), "exact": (7, 32), "narrow": (9, 5)}.items():
        a = np.maximum(r.normal(0, 1, (size, size + 1, channels)), 0).astype(np.float32)
        a[:, :, 3] = 0
        a[0, 0, 1] = 40
        if channels > 10:
            a[:, :, 10] = 0.7
            a[:, :, 11] *= 1e-4
        cases[name] = a
    return cases


def listing_grid(layer_activation, images_per_row):
    """The chapter's listing (5.4), with a last row for what does not fill one, and rows of the height of the map."""
    h, w, n = layer_activation.shape
    images_per_row = min(images_per_row, n)
    n_rows = -(-n // images_per_row)
    grid = np.zeros((h * n_rows, images_per_row * w), np.uint8)
    for i in range(n):
        channel_image = layer_activation[:, :, i].copy()
        channel_image -= channel_image.mean()
        if channel_image.std() == 0:
            continue
        channel_image /= channel_image.std()
        channel_image *= 64
        channel_image += 128
        channel_image = np.clip(channel_image, 0, 255).astype("uint8")
        row, col = divmod(i, images_per_row)
        grid[row * h : (row + 1) * h, col * w : (col + 1) * w] = channel_image
    return grid


def rendering(x):
    arrays = {"viridis": matplotlib.colormaps["viridis"](np.arange(256), bytes=True)[:, :3]}
    jet = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_JET)
    arrays["jet"] = jet[:, 0, ::-1]
    for name, a in activations().items():
        arrays[f"activation/{name}"] = a
        arrays[f"grid/{name}"] = listing_grid(a, 16)
    channel = activations()["exact"][:, :, 5]
    norm = matplotlib.colors.Normalize(channel.min(), channel.max())
    arrays["matshow/exact/5"] = matplotlib.colormaps["viridis"](norm(channel), bytes=True)[:, :, :3]

    r = np.random.default_rng(9)
    heatmap = np.maximum(r.normal(0.2, 0.5, (7, 7)), 0).astype(np.float32)
    heatmap /= heatmap.max()
    arrays["heatmap"] = heatmap
    img = np.asarray(x)[:, :, ::-1]
    resized = cv2.resize(heatmap, (img.shape[1], img.shape[0]))
    arrays["heatmap/resized"] = resized
    colored = cv2.applyColorMap(np.uint8(255 * resized), cv2.COLORMAP_JET)
    superimposed = colored * 0.4 + img
    with tempfile.TemporaryDirectory() as folder:
        file = str(pathlib.Path(folder) / "cam.png")
        cv2.imwrite(file, superimposed)
        arrays["overlay/book"] = cv2.imread(file)[:, :, ::-1]
    save("render.npz", arrays)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    x = photo()
    pictures(x)
    resizing(x)
    preprocessing()
    rendering(x)
