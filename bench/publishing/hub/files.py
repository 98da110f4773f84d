"""The files of a repository with a study's adapters: each cell's own, a card for all of them, and the page."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.analysis.results import Results
from bench.config.backbone import Backbone
from bench.errors import BenchError, nearest
from bench.files import canonical_json
from bench.paths import ADAPTER_CONFIG, CARD
from bench.publishing.cards.card import card
from bench.publishing.cards.loading import Place
from bench.publishing.cards.study_card import study_card
from bench.publishing.cards.subjects import Subject, check_saved, subjects_of
from bench.publishing.hub.private import private_words, refuse_private

TEXTS = (".md", ".json", ".html", ".txt", ".jinja")
LISTED = 8  # so many cells are named at most where a name is wrong
Files = dict[str, Path | bytes]


def files_to_upload(results: Results, patterns: Sequence[str], repository: str, folders: Sequence[Path]) -> Files:
    """The content of each file by its path in the repository. Raises BenchError as `prepare_upload` does."""
    subjects = _chosen(subjects_of(results), results, patterns)
    for subject in subjects:
        check_saved(results.paths.cell(subject.cell.id).folder, subject.record)
    files: Files = {}
    if len(subjects) == 1:
        files |= _files_of(subjects[0], Place(repository))
    else:
        files[CARD] = study_card(results, subjects, repository).encode()
        for subject in subjects:
            files |= _files_of(subject, Place(repository, subject.cell.id))
    if results.paths.page.is_file():
        files[results.paths.page.name] = results.paths.page
    _check_private(files, repository, [results.paths.results, *folders])
    return files


def _chosen(subjects: Sequence[Subject], results: Results, patterns: Sequence[str]) -> list[Subject]:
    """The subjects whose cells' ids match one of `patterns`. Raises BenchError for a pattern that matches none."""
    saved = [subject.cell.id for subject in subjects]
    if not saved:
        where = results.paths.cells
        raise BenchError(
            f"study {results.study.name!r}: no recorded cell below {where} has an adapter: train some first"
        )
    for pattern in patterns:
        if not fnmatch.filter(saved, pattern):
            known = fnmatch.filter([cell.id for cell in results.cells], pattern)
            why = f"{known[0]} has no adapter" if known else f"study {results.study.name!r} has no such cell"
            raise BenchError(f"--cells {pattern}: {why}{nearest(pattern, saved[:LISTED])}")
    return [one for one in subjects if not patterns or any(fnmatch.fnmatchcase(one.cell.id, p) for p in patterns)]


def _files_of(subject: Subject, place: Place) -> Files:
    """What was saved, and its card. Hidden files are left out."""
    prefix = f"{place.subfolder}/" if place.subfolder else ""
    files: Files = {f"{prefix}{CARD}": card(subject, place).encode()}
    for file in sorted(subject.folder.iterdir()):
        if file.name == ADAPTER_CONFIG:
            files[f"{prefix}{file.name}"] = _config(file, subject.cell.backbone)
        elif file.is_file() and file.name != CARD and not file.name.startswith("."):
            files[f"{prefix}{file.name}"] = file
    return files


def _config(file: Path, backbone: Backbone) -> bytes:
    """The adapter's config, in which the base has the name that the hub knows it by."""
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BenchError(f"{file}: no readable adapter config: {error}") from error
    if not isinstance(config, dict):
        raise BenchError(f"{file}: expected a JSON object, found {type(config).__name__}")
    return canonical_json({**config, "base_model_name_or_path": backbone.hub_name or backbone.name})


def _check_private(files: Mapping[str, Path | bytes], repository: str, folders: Sequence[Path]) -> None:
    words = private_words(folders)
    for name, file in files.items():
        if name.endswith(TEXTS):
            text = (file if isinstance(file, bytes) else file.read_bytes()).decode("utf-8", "replace")
            # The owner of the repository may have the user's name.
            refuse_private(name, text.replace(repository, ""), words)
