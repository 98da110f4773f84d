"""Images: checked, decoded, and brought to the size that a model's own image processor gives them.

Prepared rows hold pixels of 8 bits, a quarter of what the model reads. What makes numbers of them, a factor, a mean and
a deviation per channel, is applied to each batch (`Scaling`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow

from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.formats.rows import Rows
from bench.inputs.portions import IDS
from bench.inputs.targets import BadValue, short

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import BaseImageProcessor

# Columns of prepared images: the pixels, [channels * height * width], and these three numbers.
PIXELS, SHAPE = "pixels", "shape"
CALL_IMAGES = 64  # images that are decoded at once


def check_image(value: Any) -> bytes:
    """The bytes of an image's file, alone or as `datasets` stores them. Raises BadValue where there is no image."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        hint = "; only the path of a file is there, and its bytes are needed" if isinstance(value, dict) else ""
        raise BadValue(f"should hold an image, found {short(value)}{hint}")
    _decoded(content)
    return content


def _decoded(content: bytes) -> Image:
    """The image in color, whatever its file holds. Raises BadValue where it is none."""
    from PIL import Image

    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except Exception as error:  # decoders of damaged files raise anything
        raise BadValue(f"holds an image that can't be read: {type(error).__name__}: {error}") from error


class ImageEncoder:
    """Turns rows of images into the columns pixels, shape, target, row, and those of tokens, which are empty."""

    empty = -1  # below the number of an image's tokens, which is 0

    def __init__(self, task: Task, processor: BaseImageProcessor) -> None:
        self.task, self._processor = task, processor

    def __call__(self, rows: Rows) -> pyarrow.RecordBatch:
        """The columns of a block of rows."""
        parts = [
            self._pixels([content for (content,) in rows.texts[start : start + CALL_IMAGES]])
            for start in range(0, len(rows.texts), CALL_IMAGES)
        ]
        images = [image for part in parts for image in part]
        ends = np.cumsum([0, *(image.size for image in images)], dtype=np.int32)
        pixels = np.concatenate([image.ravel() for image in images])
        none = pyarrow.array([[]] * len(images), IDS)
        return pyarrow.RecordBatch.from_pydict(
            {
                "input_ids": none,
                "target": pyarrow.array(rows.targets),
                "label_ids": none,
                "row": pyarrow.array(rows.numbers, pyarrow.int64()),
                PIXELS: pyarrow.ListArray.from_arrays(ends, pixels),
                SHAPE: pyarrow.array([image.shape for image in images], IDS),
            }
        )

    def _pixels(self, contents: list[bytes]) -> list[np.ndarray]:
        """uint8 arrays, [channels, height, width] each."""
        images = [_decoded(content) for content in contents]
        made = self._processor(images, do_rescale=False, do_normalize=False)["pixel_values"]
        return [np.asarray(image).astype(np.uint8) for image in made]


def check_image_size(task: Task, processor: BaseImageProcessor, config: dict[str, Any]) -> None:
    """Raises BenchError where `processor` makes images of another size than the model of that config reads."""
    from PIL import Image

    made = processor(Image.new("RGB", (50, 40)), do_rescale=False, do_normalize=False)["pixel_values"][0]
    size, expected = list(np.asarray(made).shape), config.get("image_size")
    if isinstance(expected, int) and size[1:] != [expected, expected]:
        raise BenchError(
            f"task {task.name!r}: the backbone's image processor makes images of {size[1]} x {size[2]} pixels, but its "
            f"model reads {expected} x {expected} (image_size in config.json)"
        )


@dataclass(frozen=True)
class Scaling:
    """How pixels become the numbers that a model reads: (pixel * factor - mean) / deviation, per channel."""

    factor: float
    mean: np.ndarray  # [channels, 1, 1]
    deviation: np.ndarray

    @classmethod
    def of(cls, processor: Any) -> Scaling:
        """That of an image processor."""
        mean, deviation = (
            (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
        )
        columns = (np.asarray(values, dtype=np.float32).reshape(-1, 1, 1) for values in (mean, deviation))
        return cls(float(processor.rescale_factor) if processor.do_rescale else 1.0, *columns)

    def __call__(self, pixels: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """The numbers of one image, float32 [channels, height, width]."""
        image = pixels.reshape(tuple(shape)).astype(np.float32) * np.float32(self.factor)
        scaled: np.ndarray = (image - self.mean) / self.deviation
        return scaled
