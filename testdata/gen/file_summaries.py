"""What Keras prints of the goldens' own files: golden/summaries/files/<golden>[_expanded].txt.

  python file_summaries.py GOLDEN...

with the Keras that wrote them (keras208_* under Keras 2.0.8, keras3_* under Keras 3; NO_COLOR=1, 80 columns). `_expanded` is
`summary(expand_nested=True, show_trainable=True)`, which Keras 2.0.8 does not have.
"""

import contextlib
import io
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from keras.models import load_model

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
KERAS3 = keras.__version__.startswith("3.")


def write(name, model, **options):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        model.summary(**options)
    folder = os.path.join(ROOT, "summaries", "files")
    os.makedirs(folder, exist_ok=True)
    with io.open(os.path.join(folder, name + ".txt"), "w", encoding="utf-8", newline="\n") as f:
        f.write(text.getvalue())


for name in sys.argv[1:]:
    folder = os.path.join(ROOT, name)
    model = load_model(os.path.join(folder, "model.keras" if KERAS3 else "model.h5"))
    write(name, model)
    if KERAS3:
        write(name + "_expanded", model, expand_nested=True, show_trainable=True)
