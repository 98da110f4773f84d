from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.fixtures import shared_lab, shared_questions, shared_summaries, undisturbed
from helpers.saved_models import World

__all__ = ["shared_lab", "shared_questions", "shared_summaries", "undisturbed"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def copy(world: World, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies the checkpoint or the adapter, with other values in its config (None removes one)."""

    def copied(name: str, **config: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(world.folder / name, folder)
        file = folder / ("config.json" if name == "checkpoint" else "adapter_config.json")
        changed = {**json.loads(file.read_text()), **config}
        file.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))
        return folder

    return copied
