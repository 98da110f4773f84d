"""Files of a model or data set from the hub. The only use of the network here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import TransientError


def fetch(what: str, hub: str, revision: str | None, wanted: Sequence[str], otherwise: str = "") -> tuple[Path, str]:
    """The folder with the `wanted` files of `hub` at its revision, and that revision; `what` is 'model' or 'dataset'.
    `otherwise` is taken too where the last of `wanted` matches nothing. Raises TransientError: what to do without."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    unreachable: Any = HfHubHTTPError.__mro__[1]  # the base of the HTTP library's errors, whichever library it is
    try:
        ask = HfApi().model_info if what == "model" else HfApi().dataset_info
        at = str(revision or ask(hub).sha)
        folder = Path(snapshot_download(hub, repo_type=what, revision=at, allow_patterns=[*wanted]))
        if otherwise and not any(folder.glob(wanted[-1])):
            snapshot_download(hub, repo_type=what, revision=at, allow_patterns=[otherwise])
    except (HfHubHTTPError, OSError, unreachable) as error:
        name = "backbone" if what == "model" else "data set"
        raise TransientError(
            f"{name} {hub} can't be fetched ({type(error).__name__}); without a network give a folder in the hub's "
            f"layout with mirror=DIR: {error}"
        ) from error
    return folder, at
