"""What a run with errors says of `bench prepare`, and with which exit code it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import EXIT_BAD_INPUT
from bench.pipeline.failures import report_failures
from bench.pipeline.run_options import RunOptions
from bench.pipeline.study import Pipeline


def refused(results: Path, message: str) -> Pipeline:
    """The demo, none of whose inputs could be prepared, for this reason."""
    pipeline = Pipeline.of(RunOptions(study="demo", results=results))
    for manifest in pipeline.manifests:
        log = pipeline.paths.prepare_log(Path(manifest).parent.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"fetching\nerror: {message}\n")
    return pipeline


def test_bad_input_ends_with_2_and_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        report_failures(refused(tmp_path, "no column 'label'"))
    assert ended.value.code == EXIT_BAD_INPUT
    assert capsys.readouterr().err == "error: no column 'label'\n"


def test_a_full_disk_is_no_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_failures(refused(tmp_path, "disk full at /x: 10 bytes needed, 3 free"))
    assert capsys.readouterr().err == "error: disk full at /x: 10 bytes needed, 3 free\n"
