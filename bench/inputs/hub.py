"""Fetch the files of a model or data set from the Hugging Face hub. Nothing else in the project uses the network."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import TransientError


def fetch_model(hub: str, revision: str | None, patterns: Sequence[str], otherwise: str = "") -> tuple[Path, str]:
    """Download the files of `hub` that match `patterns`; return their folder and the commit they are of.

    Without `revision` the newest commit is taken. Where no file matches the last pattern, the files that match
    `otherwise` are fetched too. Raises TransientError where the hub can't be reached.
    """
    from huggingface_hub import HfApi, snapshot_download

    with _reached("backbone", hub):
        commit = str(revision or HfApi().model_info(hub).sha)
        folder = Path(snapshot_download(hub, repo_type="model", revision=commit, allow_patterns=[*patterns]))
        if otherwise and not any(folder.glob(patterns[-1])):
            snapshot_download(hub, repo_type="model", revision=commit, allow_patterns=[otherwise])
    return folder, commit


def list_dataset(hub: str, revision: str | None) -> tuple[str, list[str]]:
    """A commit of the data set `hub`, the newest without `revision`, and the paths of all its files.

    Raises TransientError where the hub can't be reached.
    """
    from huggingface_hub import HfApi

    with _reached("data set", hub):
        info = HfApi().dataset_info(hub, revision=revision)
        names = sorted(file.rfilename for file in info.siblings or [])
    return str(info.sha), [name for name in names if not any(part.startswith(".") for part in name.split("/"))]


def download_dataset(hub: str, commit: str, names: Sequence[str]) -> Path:
    """Download the files `names` of the data set `hub`; return the folder in which each has its path.

    Raises TransientError where the hub can't be reached.
    """
    from huggingface_hub import snapshot_download

    with _reached("data set", hub):
        patterns = [glob.escape(name) for name in names]
        return Path(snapshot_download(hub, repo_type="dataset", revision=commit, allow_patterns=patterns))


@contextmanager
def _reached(what: str, hub: str) -> Iterator[None]:
    """Raises TransientError where the hub can't be reached, or has no `hub` for this user."""
    from huggingface_hub.errors import HfHubHTTPError

    # HfHubHTTPError derives from the error of the HTTP library, which differs between versions of huggingface_hub. That
    # base class is what a connection that can't be made raises.
    connection_error: Any = HfHubHTTPError.__mro__[1]
    try:
        yield
    except (HfHubHTTPError, OSError, connection_error) as error:
        raise TransientError(
            f"{what} {hub} can't be fetched ({type(error).__name__}); without a network give a folder in the hub's "
            f"layout with mirror=DIR: {error}"
        ) from error
