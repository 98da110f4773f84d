"""What one run was asked to do, as one typed object.

It is made from the command line, from the BENCH_* environment variables, or from Snakemake's `--config`; everything
below those reads its fields and knows nothing of a parser.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.config.resolve import ResolvedStudy, load_study
from bench.errors import BenchError
from bench.paths import PEAKS, RESULTS, CachePaths, StudyPaths, default_cache
from bench.pipeline.folders import check_writable

SEPARATOR = ";"  # between overrides, in BENCH_SET and in `--config set=`


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options that all commands on a study share. Paths are as given, relative to the working folder.

    workflow: the folder of YAML files that alone is read; None: the package's, and workflow/ in the working folder.
    overrides: 'recipe.epochs=1' and the like, laid over the study.
    offline: prepare nothing and use no network; a missing input is an error.
    attempt, attempts: which attempt at a cell this is, counted from 1, and how many there will be. A fault that may
    not come back is recorded as a failure only in the last attempt.
    """

    study: str
    results: Path = RESULTS
    cache: Path | None = None  # None: RESULTS/cache
    mirror: Path | None = None
    workflow: Path | None = None
    overrides: tuple[str, ...] = ()
    offline: bool = False
    attempt: int = 1
    attempts: int = 1

    @property
    def cache_folder(self) -> Path:
        return self.cache if self.cache is not None else default_cache(self.results)

    @property
    def peaks_file(self) -> Path:
        """The predicted peaks of cells that share a GPU."""
        return self.cache_folder / PEAKS

    @property
    def paths(self) -> StudyPaths:
        return StudyPaths(self.results, self.study)

    def check_mirror(self) -> None:
        """Raises BenchError if the mirror is no folder. Only commands that read it call this; a job may do without."""
        if self.mirror is not None and not self.mirror.is_dir():
            raise BenchError(f"--mirror {self.mirror}: no such folder")

    def check_results(self) -> None:
        """Raises BenchError if the study's folder in the results cannot be written, or made where it is missing."""
        check_writable("results", self.results)
        check_writable("results", self.paths.folder)

    def check_writable(self) -> None:
        """Raises BenchError if the folder of results or of the cache cannot be written, or made where it is missing."""
        self.check_results()
        check_writable("cache", self.cache_folder)

    def load_study(self, *, needs_rows: bool = False) -> ResolvedStudy:
        """The study with its overrides. A mirror makes a study of generated rows read real ones.

        Raises BenchError if a file or an override is not valid, or if rows are needed, not records alone, and the study
        reads them from a mirror that is not named.
        """
        points = CachePaths(self.cache_folder).points
        study = load_study(self.study, self.overrides, self.workflow, points)
        if needs_rows and self.mirror is None and study.study.data == "mirror":
            raise BenchError(
                f"study {study.name!r} reads a mirror folder: add --mirror DIR (for Snakemake: --config mirror=DIR)"
            )
        if self.mirror is not None and study.study.data == "embedded":
            return load_study(self.study, (*self.overrides, "data=hub"), self.workflow, points)
        return study

    def environment(self) -> dict[str, str]:
        """The variables that give another `bench` process the same options. An empty variable counts as unset.

        No option reads BENCH_STUDY: a command names its study.
        """
        return {
            "BENCH_STUDY": self.study,
            "BENCH_RESULTS": str(self.results),
            "BENCH_CACHE": str(self.cache_folder),
            "BENCH_MIRROR": str(self.mirror or ""),
            "BENCH_WORKFLOW": str(self.workflow or ""),
            "BENCH_SET": SEPARATOR.join(self.overrides),
        }
