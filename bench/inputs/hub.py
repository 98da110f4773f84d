"""Fetch the files of a model or data set from the Hugging Face hub. Nothing else in the project uses the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import TransientError


def fetch(
    repo_type: str, hub: str, revision: str | None, patterns: Sequence[str], otherwise: str = ""
) -> tuple[Path, str]:
    """Download the files of `hub` that match `patterns`; return their folder and the commit they are of.

    `repo_type` is 'model' or 'dataset'; without `revision` the newest commit is taken. Where no file matches the last
    pattern, the files that match `otherwise` are fetched too. Raises TransientError where the hub can't be reached.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    # HfHubHTTPError derives from the error of the HTTP library, which differs between versions of huggingface_hub. That
    # base class is what a connection that can't be made raises.
    connection_error: Any = HfHubHTTPError.__mro__[1]
    try:
        info = HfApi().model_info if repo_type == "model" else HfApi().dataset_info
        commit = str(revision or info(hub).sha)
        folder = Path(snapshot_download(hub, repo_type=repo_type, revision=commit, allow_patterns=[*patterns]))
        if otherwise and not any(folder.glob(patterns[-1])):
            snapshot_download(hub, repo_type=repo_type, revision=commit, allow_patterns=[otherwise])
    except (HfHubHTTPError, OSError, connection_error) as error:
        name = "backbone" if repo_type == "model" else "data set"
        raise TransientError(
            f"{name} {hub} can't be fetched ({type(error).__name__}); without a network give a folder in the hub's "
            f"layout with mirror=DIR: {error}"
        ) from error
    return folder, commit
