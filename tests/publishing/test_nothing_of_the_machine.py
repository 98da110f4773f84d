"""A bundle tells nothing of the machine that made its records, and its records are valid all the same."""

from __future__ import annotations

import getpass
import io
import json
import platform
import re
import shutil
import zipfile
from pathlib import Path

import pyarrow.parquet
import pytest
from helpers.leaky_study import GPU, HOME, HOST, LOG, SECRETS, USER, LeakyStudy, add_files, environment
from helpers.projects import ROOT
from helpers.records import make_record, write_cell

from bench.config.backbone import Backbone
from bench.errors import BenchError
from bench.publishing.bundles.scrub import Scrubber
from bench.records.io import parse_record, read_record
from bench.records.schema import Record


def members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def in_words(content: bytes) -> bytes:
    """What a parquet file holds, its columns decompressed, as a person who looks would find it."""
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    return f"{table.schema} {table.schema.metadata} {table.to_pylist()}".encode()


def test_no_member_has_a_name_or_a_folder_of_the_machine(bundled: Path, leaky: LeakyStudy) -> None:
    here = {
        str(leaky.results),
        str(leaky.results.parent.name),
        str(Path.home() / "x").removesuffix("x"),
        str(Path.cwd()),
    }
    for name, content in members(bundled).items():
        shown = content + (in_words(content) if name.endswith(".parquet") else b"")
        for secret in (*SECRETS, *here):
            assert secret.encode() not in shown, f"{name}: {secret}"
            assert json.dumps(secret)[1:-1].encode() not in shown, f"{name}: {secret}"


def test_the_file_itself_has_none_in_its_structure(bundled: Path) -> None:
    for secret in (*SECRETS, str(bundled.parent)):
        assert secret.encode() not in bundled.read_bytes()


def test_its_records_are_valid_and_say_the_same_otherwise(bundled: Path, leaky: LeakyStudy) -> None:
    files = members(bundled)
    for cell in leaky.study.cells:
        before = read_record(leaky.folder(cell) / "record.json")
        after = parse_record(files[f"results/demo/cells/{cell.id}/record.json"], Path("record.json"))
        assert after.environment["machine"] == "machine-1"
        names = {"job": "job-1", "node": "machine-1", "partition": "partition-1", "gpus": "gpu-1"}
        assert after.environment["slurm"] == {**names, "resources": "cpu=1,mem=4G"}
        changed = {"environment", "notes", "message", "log_tail", "checksums"}
        assert after.model_dump(exclude=changed) == before.model_dump(exclude=changed)


def test_a_log_stays_readable(bundled: Path, leaky: LeakyStudy) -> None:
    failed = leaky.study.cells[-1]
    record = parse_record(members(bundled)[f"results/demo/cells/{failed.id}/record.json"], Path("record.json"))
    assert record.log_tail == (
        LOG[0].replace(HOST, "machine-1").replace(USER, "user"),
        '  File "…/loop.py", line 10, in run',
        "OSError: …/cola: disk full on machine-1, see https://example.org/a/b",
    )
    page = members(bundled)["results/demo/report.html"].decode()
    assert "disk full on machine-1" in page


def test_the_manifest_says_what_was_replaced(bundled: Path) -> None:
    manifest = json.loads(members(bundled)["manifest.json"])
    assert manifest["replaced"]["environment.machine"] == ["machine"]
    assert manifest["replaced"]["environment.slurm.gpus"] == ["gpu"]
    assert manifest["replaced"]["log_tail"] == ["machine", "path", "user"]
    assert {rule for rules in manifest["replaced"].values() for rule in rules} == manifest["rules"].keys()


def scrubbed(leaky: LeakyStudy, *texts: str) -> tuple[str, ...]:
    record = make_record(leaky.study.cells[0], {"validation": {"mcc": 0.5, "accuracy": 0.7}}, notes=texts)
    record = record.model_copy(update={"environment": environment()})
    return Scrubber([record]).scrubbed(record).notes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HOME}: no such folder", "…/user: no such folder"),
        (f"at {HOME}/my thesis/a b/record.json: broken", "at …/record.json: broken"),
        (f"copied '{HOME}/x' to \"/scratch/y/z\"", "copied '…/x' to \"…/z\""),
        (f"PATH={HOME}/bin:/opt/{USER}/bin", "PATH=…/bin:…/bin"),
        ("file:///scratch/x/y", "file://…/y"),
        (f"['gcc', '-I{HOME}/thesis/include', '-lcuda']", "['gcc', '-I…/include', '-lcuda']"),
        ("no //fileserver/ada/share here", "no …/share here"),
        ("see https://example.org/a/b, 3/4 of cola/lora/small", "see https://example.org/a/b, 3/4 of cola/lora/small"),
        (f"{GPU} of gauss-7f3a and of {HOST}.", "gpu-1 of machine-1 and of machine-1."),
        ("gauss-7f3ab is another one", "gauss-7f3ab is another one"),
    ],
)
def test_texts(text: str, expected: str, leaky: LeakyStudy) -> None:
    assert scrubbed(leaky, text, f"of {HOME}/x")[0] == expected
    assert scrubbed(leaky, expected)[0] == expected  # once more changes nothing


def test_hosts_are_told_apart_and_are_the_same_in_each_record(leaky: LeakyStudy) -> None:
    records: list[Record] = [
        make_record(leaky.study.cells[0], {}, status="failed", environment=environment(machine=host, slurm=None))
        for host in ("b.example", "a", "b")
    ]
    scrubber = Scrubber(records)
    assert [scrubber.scrubbed(record).environment["machine"] for record in records] == [
        "machine-1", "machine-2", "machine-1"
    ]  # fmt: skip


def test_a_path_in_a_spec_is_refused_since_it_is_hashed(leaky: LeakyStudy) -> None:
    cell = leaky.study.cells[0]
    local = Backbone(**{**cell.backbone.model_dump(), "package": None, "same_as": None, "path": "/scratch/models/x"})
    record = make_record(cell.model_copy(update={"backbone": local}), {}, status="failed")
    with pytest.raises(BenchError, match=r"cola/lora/small/seed-0: its spec names the absolute path /scratch/models/x"):
        Scrubber([record]).scrubbed(record)


def test_a_path_in_a_comment_is_refused_with_its_line(
    leaky: LeakyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = tmp_path / "workflow"
    shutil.copytree(ROOT / "workflow", workflow)
    file = workflow / "tasks" / "cola.yaml"
    file.write_text(f"# compare with {Path.home()}/notes\n{file.read_text()}")
    cell = leaky.study.cells[0]
    write_cell(tmp_path / "results" / "demo", cell, 0.8, rows=20, environment=environment())
    add_files(tmp_path / "results" / "demo" / "cells" / cell.id)
    arguments = ("--partial", "--workflow", str(workflow))
    assert leaky.bundle(tmp_path / "x.zip", *arguments, results=tmp_path / "results") == 2
    assert f"{file}, line 1: holds {Path.home()}" in capsys.readouterr().err
    assert not (tmp_path / "x.zip").exists()


def test_this_machine_is_not_in_a_bundle_of_records_made_here(leaky: LeakyStudy) -> None:
    """Words of texts alone can be the names of this host and user: others may be those of a setting by chance."""
    record = make_record(leaky.study.cells[0], {}, status="failed")
    text = f"{getpass.getuser()} on {platform.node()}"
    record = record.model_copy(
        update={"environment": {**record.environment, "machine": platform.node()}, "notes": (text,)}
    )
    after = Scrubber([record]).scrubbed(record)
    assert not re.search(rf"\b({re.escape(getpass.getuser())}|{re.escape(platform.node())})\b", after.notes[0])
