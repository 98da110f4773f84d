"""The tiny ViT: what it is trained on, and that it reads digits better than a model with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from transformers import AutoImageProcessor, AutoModel, ViTModel

from bench.config.backbone import Backbone
from bench.config.catalog import load_catalog
from bench.inputs.backbones import prepare_backbone
from bench.inputs.tiny_vision import LETTERS, draw_letter


def test_letters_are_drawn_whole_and_by_seed() -> None:
    for letter in LETTERS:
        first, again = (np.asarray(draw_letter(letter, np.random.default_rng(3))) for _ in range(2))
        assert first.shape == (8, 8, 3)
        np.testing.assert_array_equal(first, again)
        assert first.max() > 250
        rows, columns = np.nonzero(first[:, :, 0] > 64)
        assert np.ptp(rows) >= 3, letter  # no letter lies outside of its image
        assert 2 <= rows.mean() <= 5
        assert 1.5 <= columns.mean() <= 5.5


def test_its_features_tell_digits_apart(tmp_path: Path) -> None:
    """A smaller one of the same training: a linear classifier of its features beats one of random ones."""
    shipped = load_catalog().backbones["tiny-vit"].item
    small = {**shipped.config, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32}
    backbone = Backbone.model_validate({**shipped.model_dump(), "config": small})
    folder = prepare_backbone(backbone, mirror=None, cache=tmp_path)
    processor, trained = AutoImageProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder)
    assert isinstance(trained, ViTModel)
    known = load_digits()
    shades = np.repeat((known.images * 255 / 16).astype(np.uint8)[..., None], 3, axis=-1)
    pixels = processor(list(shades), return_tensors="pt").pixel_values
    torch.manual_seed(0)
    learned, random = (_accuracy(model, pixels, known.target) for model in (trained, ViTModel(trained.config)))
    assert learned > random + 0.1


def _accuracy(model: ViTModel, pixels: torch.Tensor, classes: np.ndarray) -> float:
    """On the last 360 digits, of a classifier of the first token's features that learned the first 200."""
    with torch.inference_mode():
        features = model.eval()(pixels).last_hidden_state[:, 0].numpy()
    classifier = LogisticRegression(max_iter=1000).fit(features[:200], classes[:200])
    return float(classifier.score(features[-360:], classes[-360:]))
