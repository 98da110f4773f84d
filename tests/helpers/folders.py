"""Folders into which a command writes, though they can't be replaced by others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class EmptyFolders:
    """Two empty folders: `here` is the one that the test works in, `link` leads to `target`."""

    here: Path
    target: Path
    link: Path


def empty_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> EmptyFolders:
    """Make them below `folder`, and work in `here`."""
    found = EmptyFolders(folder / "here", folder / "target", folder / "link")
    found.here.mkdir()
    found.target.mkdir()
    found.link.symlink_to("target")
    monkeypatch.chdir(found.here)
    return found
