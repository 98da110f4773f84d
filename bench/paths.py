"""The place of every file below results/ and cache/. No other module spells out one of these names.

    results/<study>/
        cells/<task>/<method>/<budget>/seed-<k>/
            record.json  curve.jsonl  predictions.parquet  and adapter/ or model/
        trials/<task>/<method>/<budget>/<point>/seed-<k>/
            record.json  curve.jsonl  predictions.parquet  and rung-<n>.json with successive halving
        trials/<task>/<method>/<budget>/recorded  and reached-<n>   markers: of all its trials
        tuned.yaml              the chosen point of every task x method x budget
        logs/                   <cell>.log, <trial>.rung-<n>.log, <task>/<group>.log, prepare/<folder>.log, ...
        tables/  figures/  report.html  summary.json  tracker/<tracker>/
        prepared  views         markers: all inputs are checked, all views are up to date
    results/index.html          all studies, from their summaries
    results/evaluations/        records of `bench evaluate`; selfcheck.json, selfcheck.log: of `bench selfcheck`
    results/reproductions/<study>/<cell>/run-<n>/   a cell's files, reproduction.json, training.log
    cache/
        data/<task>-<key>/      tokenized rows; bench/inputs/cache_keys.py makes the keys
        models/<backbone>-<key>/
        checkpoints/<identity>-<key>/   of cells in training
        points/                 of tunings, once they are drawn
        peaks.json              predicted memory of cells that share a GPU, bench/estimate/declared_peaks.py

The module takes names, not cells. Snakemake imports it at each parse, so it imports nothing that is slow.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from bench.files import digest

RESULTS = Path("results")  # the default, relative to the working folder
SELFCHECK, SELFCHECK_LOG = "selfcheck.json", "selfcheck.log"
CACHE, EVALUATIONS, REFERENCE, REPRODUCTIONS = OTHER_RESULTS = ("cache", "evaluations", "reference", "reproductions")

RECORD, CURVE, PREDICTIONS = "record.json", "curve.jsonl", "predictions.parquet"
ADAPTER_FOLDER, MODEL_FOLDER = "adapter", "model"
CARD = "README.md"  # in either of them, written with the views
ADAPTER_WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"  # the names that PEFT gives them
MODEL_WEIGHTS, MODEL_CONFIG = "model.safetensors", "config.json"  # the names that transformers gives them

REPRODUCTION, TRAINING_LOG = "reproduction.json", "training.log"  # beside a record that `bench reproduce` made
SLURM_PROFILE = Path("slurm/config.yaml")  # in the working folder, as `snakemake --profile slurm` has it
PEAKS = "peaks.json"  # in the cache
MANIFEST = "manifest.json"  # written last into a folder of the cache: a folder that has it is complete
ORIGIN = "origin.json"  # beside it: the files that the folder was prepared from, as they were
WITHDRAWN = "withdrawn.json"  # in place of the manifest once these files changed, until it is prepared again


def cell_id(task: str, method: str, budget: str, seed: int | str) -> str:
    """The name of a cell, which is its folder below cells/ as well: 'cola/lora/small/seed-0'."""
    return f"{task}/{method}/{budget}/seed-{seed}"


def trial_id(task: str, method: str, budget: str, point: str, seed: int | str) -> str:
    """The name of a trial, which is its folder below trials/ as well: 'cola/lora/small/1f0c22ab/seed-100'."""
    return f"{task}/{method}/{budget}/{point}/seed-{seed}"


@dataclass(frozen=True)
class CellPaths:
    """The files of one trained or evaluated cell, in `folder`."""

    folder: Path

    @property
    def record(self) -> Path:
        return self.folder / RECORD

    @property
    def curve(self) -> Path:
        """One JSON line per optimizer step."""
        return self.folder / CURVE

    @property
    def predictions(self) -> Path:
        return self.folder / PREDICTIONS

    def rung(self, number: int | str) -> Path:
        """What a trial scored at a rung of successive halving; the rungs are counted from 1."""
        return self.folder / f"rung-{number}.json"

    @property
    def adapter(self) -> Path:
        """The trained adapter, as PEFT saves it; absent where the whole model was trained."""
        return self.folder / ADAPTER_FOLDER

    @property
    def model(self) -> Path:
        """The whole trained model, as transformers saves it; absent where an adapter was trained."""
        return self.folder / MODEL_FOLDER

    def free_set_aside(self, status: str) -> Path:
        """Where the record of a failure is moved before a rerun: record.<status>-<n>.json, the first n that is free."""
        names = (self.record.with_suffix(f".{status}-{number}.json") for number in itertools.count(1))
        return next(name for name in names if not name.exists())

    def set_aside(self) -> list[Path]:
        """The records of failures that were moved away."""
        return sorted(self.folder.glob("record.*-*.json"))


@dataclass(frozen=True)
class StudyPaths:
    """The files of one study, in results/<study>."""

    results: Path
    study: str

    @property
    def folder(self) -> Path:
        return self.results / self.study

    @property
    def cells(self) -> Path:
        return self.folder / "cells"

    @property
    def trials(self) -> Path:
        return self.folder / "trials"

    @property
    def tuned(self) -> Path:
        """The chosen point of every group, for readers and for studies that take it over."""
        return self.folder / "tuned.yaml"

    def gathered(self, group: str, rung: int | str | None = None) -> Path:
        """Marker: all trials of a group ('cola/lora/small') are recorded, or have reached that rung of halving."""
        return self.trials / group / ("recorded" if rung is None else f"reached-{rung}")

    def cell(self, cell_id: str) -> CellPaths:
        """The files of a cell or of a trial, whose name has a part more."""
        is_trial = cell_id.count("/") == trial_id("", "", "", "", "").count("/")
        return CellPaths((self.trials if is_trial else self.cells) / cell_id)

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def log(self, cell_id: str) -> Path:
        """What the latest attempt at a cell printed."""
        return self.logs / f"{cell_id}.log"

    def rung_log(self, trial_id: str, number: int | str) -> Path:
        """What the latest attempt at bringing a trial to a rung of successive halving printed."""
        return self.log(f"{trial_id}.rung-{number}")

    def group_log(self, task: str, group: str) -> Path:
        """What a job that trains several cells of `task` printed."""
        return self.logs / task / f"{group}.log"

    def prepare_log(self, name: str) -> Path:
        """What the preparation of the cache folder `name` printed."""
        return self.logs / "prepare" / f"{name}.log"

    def view_log(self, view: str) -> Path:
        """What the making of `view` (tables, figures, page, views) printed."""
        return self.logs / f"{view}.log"

    @property
    def prepared(self) -> Path:
        """Marker: every data set and model of the study is prepared and valid, so cells may start."""
        return self.folder / "prepared"

    @property
    def views(self) -> Path:
        """Marker: tables, figures and page were made from the records of all cells."""
        return self.folder / "views"

    @property
    def tables(self) -> Path:
        return self.folder / "tables"

    @property
    def tidy(self) -> Path:
        """All results as one data frame: one row per cell and metric."""
        return self.tables / "tidy.parquet"

    @property
    def tidy_trials(self) -> Path:
        """The same of the trials of a study that tunes: one row per trial and metric."""
        return self.tables / "trials.parquet"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def page(self) -> Path:
        return self.folder / "report.html"

    @property
    def summary(self) -> Path:
        """What the index of all studies shows of this one."""
        return self.folder / "summary.json"

    @property
    def trackers(self) -> Path:
        return self.folder / "tracker"

    def tracker(self, tracker: str) -> Path:
        """The files that `tracker` (trackio, wandb, ...) keeps."""
        return self.trackers / tracker

    def tracker_log(self, cell_id: str) -> Path:
        """What the tracker's process printed while the cell was trained."""
        return self.trackers / "logs" / f"{cell_id.replace('/', '-')}.log"


@dataclass(frozen=True)
class CachePaths:
    """What is computed once and shared by studies: inputs, and the checkpoints of cells in training."""

    cache: Path

    @property
    def all_data(self) -> Path:
        return self.cache / "data"

    @property
    def all_models(self) -> Path:
        return self.cache / "models"

    def data(self, name: str) -> Path:
        return self.all_data / name

    def model(self, name: str) -> Path:
        return self.all_models / name

    def data_manifest(self, name: str) -> Path:
        return self.data(name) / MANIFEST

    def model_manifest(self, name: str) -> Path:
        return self.model(name) / MANIFEST

    def preparing(self, name: str) -> Path:
        """The lease of whoever prepares the folder called `name`, and the rows that are tokenized already."""
        return self.all_preparing / name

    @property
    def points(self) -> Path:
        """The points of tunings, once they are drawn."""
        return self.cache / "points"

    def checkpoints(self, identity: str, out: Path) -> Path:
        """The checkpoints of the cell with that identity, until it is recorded in the folder `out`.

        `out` is part of the name because two studies can hold the same cell and train it at the same time.
        """
        return self.all_checkpoints / f"{identity}-{self.place_key(out)}"

    @property
    def all_checkpoints(self) -> Path:
        return self.cache / "checkpoints"

    @staticmethod
    def place_key(out: Path) -> str:
        """The end of the name of the checkpoints of whatever is recorded in the folder `out`."""
        return digest(os.path.abspath(out).encode())[:8]

    @property
    def all_preparing(self) -> Path:
        return self.cache / "preparing"


def default_cache(results: Path) -> Path:
    """The cache folder where none is named."""
    return results / CACHE


def index_file(results: Path) -> Path:
    """The page over all studies."""
    return results / "index.html"


def evaluation_folder(results: Path, name: str) -> Path:
    """Where `bench evaluate` leaves its record: `name` is a study and a cell, or a task and a folder's name."""
    return results / EVALUATIONS / name


def reproduction_folder(results: Path, name: str, number: int) -> Path:
    """Where `bench reproduce` trains a cell again for the `number`-th time; `name` is a study and a cell."""
    return results / REPRODUCTIONS / name / f"run-{number}"


def reference_folder(root: Path) -> Path:
    """The folder of published numbers in the project folder `root`."""
    return root / RESULTS / REFERENCE


@dataclass(frozen=True)
class SnakemakePaths:
    """Snakemake's own folder in the working folder, and the file in which we note who holds its lock."""

    locks: Path = Path(".snakemake/locks")
    holder: Path = Path(".snakemake/holder.json")
