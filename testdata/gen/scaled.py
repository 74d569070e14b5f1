"""`golden/scaled`: JPEGs of many kinds, and PIL's pixels of them when they are scaled while decoding (`draft`).

libjpeg's reduced transforms also use higher frequencies; the plain definition, an inverse transform of the lowest
ones, is computed from the full picture for files without subsampled or rotated color.

Needs Pillow, SciPy and `chelsea.png` (CC0) of scikit-image 0.26.0: `scaled.py chelsea.png`.
"""

import pathlib
import sys

import numpy as np
import PIL
from PIL import Image
from scipy.fft import dctn, idctn

OUT = pathlib.Path(__file__).parents[1] / "golden/scaled"


def save(name, picture, **options):
    picture.save(OUT / name, quality=85, **options)


def lowest_frequencies(pixels, part):
    """Each 8 x 8 block's lowest frequencies as a block of 8 / part."""
    side = 8 // part
    h, w, c = pixels.shape
    blocks = pixels.reshape(h // 8, 8, w // 8, 8, c).astype(np.float64)
    low = dctn(blocks, axes=(1, 3), norm="ortho")[:, :side, :, :side] / part
    return idctn(low, axes=(1, 3), norm="ortho").reshape(h // part, w // part, c)


def main(chelsea):
    OUT.mkdir(exist_ok=True)
    photo = Image.open(chelsea).convert("RGB")
    even = photo.crop((0, 0, 448, 288))
    save("even_420.jpg", even)
    save("even_444.jpg", even, subsampling=0)
    save("even_progressive.jpg", even, progressive=True)
    save("even_gray.jpg", even.convert("L"))
    # Stored as red, green, blue (Adobe's marker says so), and as inverted CMYK.
    save("even_rgb.jpg", even, subsampling=0, keep_rgb=True)
    save("even_cmyk.jpg", even.convert("CMYK"))
    exif = Image.Exif()
    exif[0x0112] = 6
    save("turned.jpg", even, exif=exif)
    # 451 = 8 * 56 + 3: an eighth would end five pixels outside.
    save("odd.jpg", photo)

    arrays = {}
    for name in ["even_420", "even_444", "even_progressive", "even_gray", "even_rgb"]:
        for part in [2, 4, 8]:
            picture = Image.open(OUT / f"{name}.jpg")
            size = (448 // part, 288 // part)
            picture.draft(None, size)
            assert picture.size == size, (name, picture.size)
            # Part of it says enough: every third row.
            arrays[f"rgb/{name}.jpg/{part}"] = np.asarray(picture.convert("RGB"))[::3]
            if name in ("even_gray", "even_rgb"):
                full = np.asarray(Image.open(OUT / f"{name}.jpg").convert("RGB"))
                low = lowest_frequencies(full, part).round().clip(0, 255).astype(np.uint8)
                arrays[f"low/{name}.jpg/{part}"] = low[::3]
    arrays["pillow"] = np.array([int(n) for n in PIL.__version__.split(".")], np.int64)
    np.savez_compressed(OUT / "draft.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
