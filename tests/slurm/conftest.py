"""One cluster for all tests of this folder, one cache, and the undisturbed local run they are compared with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.clusters import CELLS, ROOT, STUDY, Cluster, Run, why_no_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_no_cluster():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the workflow files, and the cache that every run shares."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    (folder / "workflow" / "studies" / "quarter.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="session")
def local(cluster: Cluster, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:  # noqa: ARG001
    """The undisturbed local run (made only where there is a cluster to compare it with)."""
    run = Run(tmp_path_factory.mktemp("local") / "run", shared / "cache")
    run.finish(run.start(profile=False))
    assert set(run.bits()) == set(CELLS)
    return run


@pytest.fixture
def study(shared: Path, tmp_path: Path) -> Callable[..., Run]:
    """A new run of the study, with nothing trained yet."""

    def make(*config: str) -> Run:
        return Run(tmp_path / "run", shared / "cache", config)

    return make
