"""Data sets that an installed package holds, so that no download is needed: real rows, unlike those of a generator."""

from __future__ import annotations

import io

from bench.errors import BenchError, nearest
from bench.inputs.formats.rows import Rows

# The digits in the order of scikit-learn, which is that of their writers: the last are of others than the first.
DIGITS_SPLITS = {"train": slice(0, 1437), "validation": slice(1437, 1797)}


def installed_rows(name: str, split: str) -> Rows:
    """The rows of a split of that data set. Raises BenchError where it has no such split.

    digits: 1,797 handwritten digits of 8 x 8 pixels in 17 shades of gray, the test set of Alpaydin and Kaynak's
    Optical Recognition of Handwritten Digits (UCI, 1998), as scikit-learn (BSD license) carries it.
    """
    if split not in DIGITS_SPLITS:
        raise BenchError(f"data set {name}: no split {split!r}{nearest(split, DIGITS_SPLITS)}")
    from sklearn.datasets import load_digits

    digits, part = load_digits(), DIGITS_SPLITS[split]
    images = [[_png(image)] for image in digits.images[part]]
    return Rows(images, digits.target[part].tolist(), list(range(len(images))))


def _png(shades: object) -> bytes:
    """The file of an image whose shades go from 0 to 16."""
    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.rint(np.asarray(shades) * (255 / 16)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
