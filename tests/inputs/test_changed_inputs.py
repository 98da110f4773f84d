"""Files that change in a mirror after they were prepared are noticed; files that are merely touched are not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.small_models import save_small_model

from bench.config.backbone import Backbone
from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.backbones import prepare_backbone
from bench.inputs.datasets import open_data, prepare_task, read_manifest
from bench.inputs.origin import change_of_data, change_of_model, check_unchanged, read_origin, states_of

HUB = DataChoice(source="hub")
TASK = Task.model_validate(
    {
        "name": "c",
        "kind": "classification",
        "data": {"hub": "a/c", "columns": {"text": ["text"], "target": "label"}},
        "labels": ["no", "yes"],
        "metrics": ["accuracy"],
        "recipe": {"max_length": 16},
    }
)
BACKBONE = Backbone(name="b", hub="a/b", kinds=["classification"], matrices=["query"])


def write_rows(file: Path, labels: list[int]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": [f"the cat {n} sleeps" for n in range(len(labels))], "label": labels}), file)


@dataclass(frozen=True)
class Prepared:
    """A mirror with one task and one model, and what was prepared from it."""

    mirror: Path
    cache: Path

    @property
    def rows(self) -> Path:
        return self.mirror / "datasets/a/c/train-00000-of-00001.parquet"

    @property
    def model(self) -> Path:
        return self.mirror / "models/a/b"

    def prepare(self) -> tuple[Path, Path]:
        """The folders of the model and of the rows."""
        places: dict[str, Any] = {"mirror": self.mirror, "cache": self.cache}
        return prepare_backbone(BACKBONE, **places), prepare_task(TASK, BACKBONE, HUB, **places)

    def changes(self, model: Path, data: Path) -> list[str]:
        found = change_of_model(model, BACKBONE, self.mirror), change_of_data(data, TASK, HUB, self.mirror)
        return [change for change in found if change is not None]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    for split in ("train", "validation"):
        write_rows(folder / f"mirror/datasets/a/c/{split}-00000-of-00001.parquet", [0, 1, 1, 0])
    save_small_model(folder / "mirror/models/a/b", "classification")
    Prepared(folder / "mirror", folder / "cache").prepare()
    return folder


@pytest.fixture
def prepared(original: Path, tmp_path: Path) -> Prepared:
    shutil.copytree(original / "mirror", tmp_path / "mirror")
    return Prepared(tmp_path / "mirror", tmp_path / "cache")


def flip_labels(prepared: Prepared) -> None:
    write_rows(prepared.rows, [1, 0, 0, 1])


def flip_labels_unseen(prepared: Prepared) -> None:
    """A file of the same size and time of modification."""
    before = prepared.rows.stat()
    flip_labels(prepared)
    assert prepared.rows.stat().st_size == before.st_size
    os.utime(prepared.rows, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap_link(prepared: Prepared) -> None:
    other = prepared.rows.with_name("other.bin")
    write_rows(other, [1, 1, 0, 0])
    prepared.rows.unlink()
    prepared.rows.symlink_to(other)


def add_shard(prepared: Prepared) -> None:
    prepared.rows.rename(prepared.rows.with_name("train-00000-of-00002.parquet"))
    write_rows(prepared.rows.with_name("train-00001-of-00002.parquet"), [1, 1])


def drop_split(prepared: Prepared) -> None:
    prepared.rows.unlink()


def replace_weights(prepared: Prepared) -> None:
    file = prepared.model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def replace_tokenizer(prepared: Prepared) -> None:
    file = prepared.model / "tokenizer.json"
    file.write_text(file.read_text().replace('"the"', '"teh"'))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (flip_labels, r"train-00000-of-00001\.parquet changed"),
        (flip_labels_unseen, r"train-00000-of-00001\.parquet changed"),
        (swap_link, r"train-00000-of-00001\.parquet changed"),
        (add_shard, r"train-00000-of-00002\.parquet is new"),
        (drop_split, r"no file of split 'train'"),
        (replace_weights, r"model\.safetensors changed"),
        (replace_tokenizer, r"tokenizer\.json changed"),
    ],
)
def test_what_changed_is_told_and_prepared_again(
    prepared: Prepared, change: Callable[[Prepared], None], says: str
) -> None:
    model, data = prepared.prepare()
    assert prepared.changes(model, data) == []
    before = read_manifest(data)["fingerprint"], (model / "manifest.json").read_bytes()
    change(prepared)
    (told,) = prepared.changes(model, data)
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(told)
    if change is drop_split:
        with pytest.raises(BenchError, match=says):
            prepared.prepare()
        return
    assert prepared.prepare() == (model, data)
    assert prepared.changes(model, data) == []
    after = read_manifest(data)["fingerprint"], (model / "manifest.json").read_bytes()
    assert (before[0] == after[0]) == (change is replace_weights)
    assert (before[1] == after[1]) == (change not in (replace_weights, replace_tokenizer))
    if change is flip_labels:
        assert list(open_data(data).train.targets) == [1, 0, 0, 1]


def test_touched_and_copied_files_are_the_same_and_hashed_once(prepared: Prepared) -> None:
    model, data = prepared.prepare()
    manifests = [(folder / "manifest.json").stat().st_mtime_ns for folder in (model, data)]
    content = prepared.rows.read_bytes()
    prepared.rows.unlink()
    prepared.rows.write_bytes(content)
    for file in (prepared.rows, prepared.model / "model.safetensors"):
        os.utime(file, (1, 1))
    assert prepared.changes(model, data) == []
    assert prepared.prepare() == (model, data)
    assert [(folder / "manifest.json").stat().st_mtime_ns for folder in (model, data)] == manifests


def test_files_that_settled_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.inputs import origin

    file = tmp_path / "rows"
    file.write_text("a")
    monkeypatch.setattr(origin, "SETTLED", 0)
    states = states_of({"rows": file}, {})
    origin.write_origin(tmp_path, states)
    read = []
    monkeypatch.setattr(origin, "digest", lambda path: read.append(path) or "x")
    assert states_of({"rows": file}, read_origin(tmp_path)) == states
    assert read == []
    file.write_text("b")
    with pytest.raises(BenchError, match="rows was changed while it was read"):
        check_unchanged({"rows": file}, states)


def test_a_mirror_that_is_not_here_changes_nothing(prepared: Prepared) -> None:
    """A compute node need not have it."""
    model, data = prepared.prepare()
    prepared.mirror.rename(prepared.mirror.with_name("elsewhere"))
    assert prepared.changes(model, data) == []
