"""Upload a study's adapters, their cards and its page to one repository of the hub, in one commit.

The hub shows the card at the top of a repository. So one cell alone stands at the top, where
`PeftModel.from_pretrained(base, "owner/name")` finds it; several stand in a folder each, and the card at the top lists
them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis.results import Results
from bench.errors import BenchError
from bench.publishing.hub.files import files_to_upload

MESSAGE = "Adapters and page of study {study}"


@dataclass(frozen=True)
class Upload:
    """What would be uploaded: to `repository`, the content of each file by its path there."""

    repository: str
    study: str
    files: Mapping[str, Path | bytes]

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by its path."""
        return {
            name: len(file) if isinstance(file, bytes) else file.stat().st_size for name, file in self.files.items()
        }


def prepare_upload(results: Results, patterns: Sequence[str], repository: str, folders: Sequence[Path]) -> Upload:
    """What `bench publish` uploads of a study; nothing is sent.

    `patterns` choose cells by their ids, with * for anything (none: all). `folders` must not be named in any file.
    Raises BenchError if the repository's name is no owner/name, if no cell is chosen or one has no adapter, if what was
    saved is not what was recorded, or if a file names this machine.
    """
    _check_name(repository)
    return Upload(repository, results.study.name, files_to_upload(results, patterns, repository, folders))


def upload(what: Upload, *, private: bool) -> str:
    """Send it in one commit, to a repository that is made if it is missing; return the address of the commit.

    `private` holds for one that is made. Raises BenchError without a token, with one that the hub refuses or that may
    not write there, and without a network.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    token = get_token()
    if token is None:
        raise BenchError(f"no token to upload to {what.repository} with: set HF_TOKEN, or run `hf auth login`")
    api = HfApi(token=token)
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in what.files.items()]
    with _told(what.repository, api.endpoint):
        api.whoami()  # a wrong token is told apart from a repository of somebody else
        api.create_repo(what.repository, private=private, exist_ok=True)
        commit: Any = api.create_commit(what.repository, operations, commit_message=MESSAGE.format(study=what.study))
    return str(commit.commit_url)


def _check_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise BenchError(f"--repo: {str(error).splitlines()[0]}") from error
    if repository.count("/") != 1:
        raise BenchError(f"--repo: expected OWNER/NAME, found {repository!r}")


@contextmanager
def _told(repository: str, endpoint: str) -> Iterator[None]:
    """Raises BenchError with one sentence where the hub refuses something or can't be reached."""
    from huggingface_hub.errors import HfHubHTTPError

    connection_error: Any = HfHubHTTPError.__mro__[1]  # that of the HTTP library, which differs between versions
    try:
        yield
    except HfHubHTTPError as error:
        raise BenchError(_refusal(repository, error)) from error
    except (connection_error, OSError) as error:
        offline = ", since HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise BenchError(
            f"{repository}: nothing was published: {endpoint} can't be reached{offline} ({_first_line(error)})"
        ) from error
    except (RuntimeError, ValueError) as error:  # a file that did not arrive, an answer that is not understood
        raise BenchError(f"{repository}: nothing was published: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip() or 'no reason is given'}".splitlines()[0]


def _refusal(repository: str, error: Any) -> str:
    status = error.response.status_code
    why = {
        401: "the hub does not know the token (HF_TOKEN, or that of `hf auth login`)",
        403: f"the token may not write to {repository}",
        404: f"the hub has no {repository} that the token may write to",
    }.get(status, f"the hub refused it: {error.server_message or _first_line(error)}")
    return f"{repository}: nothing was published: {why} (HTTP {status})"
