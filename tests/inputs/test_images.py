"""Images: real rows as a model's own processor reads them, trainings with a plan's counts, and what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.small_cells import Lab, record_of
from helpers.small_models import save_small_vit
from PIL import Image
from pydantic import ValidationError
from sklearn.datasets import load_digits
from transformers import ViTImageProcessorPil

from bench.config.backbone import Backbone
from bench.config.budget import Budget
from bench.config.catalog import load_catalog
from bench.config.cell import Cell, DataChoice
from bench.config.recipe import Recipe
from bench.config.task import Task
from bench.errors import BenchError
from bench.estimate.memory import declared_batch, predict_peak
from bench.estimate.parameters import predict_parameters
from bench.inputs.backbones import prepare_backbone
from bench.inputs.collate import Collator
from bench.inputs.datasets import open_data, prepare_task
from bench.inputs.reader import load_image_processor

RECIPE = Recipe(learning_rate=5e-3, epochs=2, batch_size=16, evaluation_batch_size=16)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    save_small_vit(folder)
    return folder


def digits(**changes: Any) -> Task:
    return Task.model_validate({**load_catalog().tasks["digits"].item.model_dump(), **changes})


def backbone(folder: Path) -> Backbone:
    config = json.loads((folder / "config.json").read_text())
    known = {"kinds": ["image-classification"], "matrices": ["q_proj", "v_proj", "fc1"], "head": ["classifier"]}
    return Backbone(name="vit", path=str(folder), config=config, **known)


def cell_of(folder: Path, method: str) -> Cell:
    about = digits().model_copy(update={"recipe": RECIPE})
    return Cell(
        study="test",
        task=about,
        backbone=backbone(folder),
        method=load_catalog().methods[method].item,
        budget_name="b",
        budget=Budget(rank=2),
        seed=0,
        recipe=RECIPE,
        data=DataChoice(source="hub", train_rows=32, evaluation_rows=16),
    )


def test_batches_hold_what_the_models_processor_makes(vit: Path, tmp_path: Path) -> None:
    prepared = prepare_backbone(backbone(vit), mirror=None, cache=tmp_path)
    choice = DataChoice(source="embedded", train_rows=24)
    data = open_data(prepare_task(digits(), backbone(vit), choice, mirror=None, cache=tmp_path))
    assert (len(data.train), len(data.evaluation["validation"])) == (24, 360)
    assert data.manifest["synthetic"] is False
    split = data.evaluation["validation"]
    processor = load_image_processor(prepared)
    rows = [3, 0, 200]
    batch = Collator(split, "image-classification", processor, torch.device("cpu"))(rows)
    known, first = load_digits(), 1437  # rows are counted within a split, whose first is this one of scikit-learn
    shades = [np.rint(known.images[first + split.rows[i]] * 255 / 16).astype(np.uint8) for i in rows]
    expected = processor([Image.fromarray(image).convert("RGB") for image in shades], return_tensors="pt")
    torch.testing.assert_close(batch.inputs["pixel_values"], expected["pixel_values"])
    assert batch.targets.tolist() == [known.target[first + split.rows[i]] for i in rows]
    assert first + max(split.rows) == len(known.images) - 1


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_a_training_has_the_counts_of_its_plan(vit: Path, tmp_path: Path, method: str) -> None:
    lab = Lab(tmp_path / "cache", vit, "image-classification")
    cell = lab.prepare(cell_of(vit, method))
    predicted = predict_parameters(cell)
    assert predict_peak(cell, predicted, declared_batch(cell), "cpu").activations > 0
    assert lab.train(cell, tmp_path / "out") == 0, (tmp_path / "log.txt").read_text()
    record = record_of(tmp_path / "out")
    assert record.status == "ok"
    assert record.parameters is not None
    assert record.parameters.head == sum(predicted.head.values()) == 32 * 10 + 10
    assert record.parameters.base == predicted.total - record.parameters.head
    assert record.parameters.adapter_start == predicted.adapter_start
    least, most = predicted.adapter_end
    assert least <= record.parameters.adapter_end <= most
    if method == "lora":  # rank 2, two layers: query and value from 32 to 32, the first of the feed-forward to 64
        assert record.parameters.adapter_end == 2 * 2 * (64 + 64 + 96)


def a_file(tmp_path: Path, images: list[Any], kind: pa.DataType) -> Task:
    for split in ("train", "validation"):
        columns = {"image": pa.array(images, kind), "digit": [0] * len(images)}
        pq.write_table(pa.table(columns), tmp_path / f"{split}.parquet")
    files = {split: str(tmp_path / f"{split}.parquet") for split in ("train", "validation")}
    return digits(data={"files": files, "columns": {"image": "image", "target": "digit"}})


def png(size: tuple[int, int] = (9, 7)) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", size, (200, 10, 30, 255)).save(file, "PNG")
    return file.getvalue()


STORED = pa.struct({"bytes": pa.binary(), "path": pa.string()})  # as the library datasets stores images


@pytest.mark.parametrize("stored", [False, True])
def test_images_of_files_may_have_any_size_and_mode(vit: Path, tmp_path: Path, stored: bool) -> None:
    images = [png(), png((30, 30))]
    given, kind = ([{"bytes": image, "path": None} for image in images], STORED) if stored else (images, pa.binary())
    about = a_file(tmp_path, given, kind)
    prepare_backbone(backbone(vit), mirror=None, cache=tmp_path)
    data = open_data(prepare_task(about, backbone(vit), DataChoice(source="hub"), mirror=None, cache=tmp_path))
    assert [list(shape) for shape in data.train.more["shape"]] == [[3, 16, 16]] * 2
    assert data.train.more["pixels"][0].reshape(3, -1)[:, 0].tolist() == [200, 10, 30]


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (png()[:40], pa.binary(), r"row 1: column 'image' holds an image that can't be read"),
        ({"bytes": None, "path": "a.png"}, STORED, r"row 1: column 'image' should hold an image.*its bytes are needed"),
        ("a.png", pa.string(), r"row 0: column 'image' should hold an image, found"),
    ],
)
def test_what_is_no_image_is_refused_with_its_row(
    vit: Path, tmp_path: Path, image: Any, kind: pa.DataType, message: str
) -> None:
    first = {"bytes": png(), "path": None} if kind == STORED else png() if kind == pa.binary() else "b.png"
    about = a_file(tmp_path, [first, image], kind)
    prepare_backbone(backbone(vit), mirror=None, cache=tmp_path)
    with pytest.raises(BenchError, match=message):
        prepare_task(about, backbone(vit), DataChoice(source="hub"), mirror=None, cache=tmp_path)


def test_a_processor_must_be_there_and_fit_the_model(vit: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in vit.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    ViTImageProcessorPil(size={"height": 20, "width": 20}).save_pretrained(copy)
    prepare_backbone(backbone(copy), mirror=None, cache=tmp_path)
    choice = DataChoice(source="hub", train_rows=4)
    with pytest.raises(BenchError, match=r"makes images of 20 x 20 pixels, but its model reads 16 x 16"):
        prepare_task(digits(), backbone(copy), choice, mirror=None, cache=tmp_path)
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(BenchError, match=r"no preprocessor_config\.json among its files"):
        prepare_backbone(backbone(copy), mirror=None, cache=tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "classification"}, "data.columns.image: a classification task reads texts"),
        ({"prefix": "digit: "}, "prefix: a image-classification task reads no texts"),
        ({"data": {"installed": "digits", "columns": {"target": "digit"}}}, "give either `text`.* or `image`"),
        (
            {"data": {"installed": "digits", "hub": "a/b", "columns": {"image": "i", "target": "t"}}},
            "give one of `hub`",
        ),
    ],
)
def test_texts_and_images_are_not_mixed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        digits(**changes)


def test_a_backbone_reads_one_of_them(vit: Path) -> None:
    with pytest.raises(ValidationError, match="mix texts and images"):
        Backbone(name="b", path=str(vit), kinds=["classification", "image-classification"], matrices=["q_proj"])
