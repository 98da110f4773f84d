"""The tiny model that reads images: trained here to tell printed letters apart.

The letters are drawn in the fonts that matplotlib carries, as white on black and as coarse as the digits of
scikit-learn, and no digit is among them. So a handwritten digit is new to the model, and its strokes are not.
"""

from __future__ import annotations

import string
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.config.backbone import Backbone
from bench.inputs.tiny_training import train_tiny_model

if TYPE_CHECKING:
    from torch import Tensor

SEED = 7
LETTERS = string.ascii_uppercase
FONTS = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf", "cm[rst]*10.ttf")
NO_LETTERS = "Display"  # fonts of a few large signs
DRAWN, COARSE = 64, 8  # pixels per side: of a letter as it is drawn, and of what is left of it
IMAGES, STEPS, BATCH, LEARNING_RATE = 4096, 600, 64, 1e-3


def build_image_model(backbone: Backbone, folder: Path) -> None:
    """Train a ViT of the sizes of `backbone.config` on letters, and save it with its image processor to `folder`.

    The classifier of letters is left out, so that a task puts its own on the model. Training is seeded, so it gives the
    same bits twice on one machine.
    """
    import torch
    from torch.nn import functional
    from transformers import AutoConfig, ViTForImageClassification, ViTImageProcessorPil

    torch.manual_seed(SEED)
    generator = np.random.default_rng(SEED)
    options = {key: value for key, value in backbone.config.items() if key != "model_type"}
    config = AutoConfig.for_model(backbone.config["model_type"], **options, num_labels=len(LETTERS))
    size = {"height": config.image_size, "width": config.image_size}
    processor = ViTImageProcessorPil(size=size)
    classes = torch.from_numpy(generator.integers(len(LETTERS), size=IMAGES))
    images = [draw_letter(LETTERS[i], generator) for i in classes.tolist()]
    pixels = processor(images, return_tensors="pt").pixel_values
    model = ViTForImageClassification(config).train()

    def loss() -> Tensor:
        rows = torch.randint(IMAGES, (BATCH,))
        return functional.cross_entropy(model(pixels[rows]).logits, classes[rows])

    train_tiny_model(model, loss, steps=STEPS, learning_rate=LEARNING_RATE, falling_steps=STEPS // 2)
    model.vit.eval().save_pretrained(folder)
    processor.save_pretrained(folder)


def draw_letter(letter: str, generator: np.random.Generator) -> Any:
    """A PIL image in color, of `COARSE` pixels per side: `letter` in a font, size, place and slant drawn at random."""
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    font = ImageFont.truetype(str(generator.choice(_fonts())), int(generator.integers(56, 80)))
    image = Image.new("L", (DRAWN, DRAWN))
    left, top, right, bottom = font.getbbox(letter)  # fonts differ in where they put a letter on its line
    x, y = DRAWN / 2 + generator.uniform(-5, 5, size=2) - ((left + right) / 2, (top + bottom) / 2)
    ImageDraw.Draw(image).text((x, y), letter, fill=255, font=font)
    slant = generator.uniform(-0.3, 0.3)  # x is shifted by so much per y, about the middle
    image = image.transform(image.size, Image.Transform.AFFINE, (1, slant, -slant * DRAWN / 2, 0, 1, 0))
    image = image.rotate(generator.uniform(-15, 15), Image.Resampling.BILINEAR)
    coarse = image.resize((COARSE, COARSE), Image.Resampling.BOX)
    return ImageOps.autocontrast(coarse).convert("RGB")  # a thin stroke would be gray, where a pen's is white


@lru_cache(maxsize=1)
def _fonts() -> tuple[str, ...]:
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    files = {file for pattern in FONTS for file in folder.glob(pattern) if NO_LETTERS not in file.name}
    return tuple(str(file) for file in sorted(files))
