"""`bench publish`: what arrives at a stand-in of the hub, and what never leaves this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from helpers.hub_server import READER, TOKEN, StandIn
from helpers.published import CHOICE, HOST
from helpers.records import sets_of
from huggingface_hub import ModelCard

from bench.analysis.results import Results
from bench.cli.app import main
from bench.publishing.cards.card import card
from bench.publishing.cards.loading import Place
from bench.publishing.cards.subjects import subjects_of

REPOSITORY = "owner/adapters"
USER = "somebody_unusual"
CELL = "cola/adalora/small/seed-1"
Arguments = list[str]


def arguments(results: Results, *more: str) -> Arguments:
    study = ["demo", "--results", str(results.paths.results), *sets_of(3, *CHOICE)]
    return ["publish", *study, "--repo", REPOSITORY, *more]


@pytest.fixture
def publish(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command in this process against the stand-in; returns its exit code."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)  # of HF_ENDPOINT, which is read once
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def run(results: Results, *more: str, token: str | None = TOKEN) -> int:
        if token is None:
            monkeypatch.delenv("HF_TOKEN")
            monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nowhere/token")
        else:
            monkeypatch.setenv("HF_TOKEN", token)
        return main(arguments(results, *more))

    return run


def test_a_study_is_uploaded_in_one_commit(trained: Results, hub: StandIn, tmp_path: Path) -> None:
    """In a process of its own, to which the hub is named as to a user's."""
    page = trained.paths.page
    page.write_text("<title>demo</title>")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "LOGNAME": USER}
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", *arguments(trained, "--yes")],
        env={**clean, **environment, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert hub.commits == ["Adapters and page of study demo"]
    files = hub.repositories[REPOSITORY]
    subjects = {subject.cell.id: subject for subject in subjects_of(trained)}
    names = ("README.md", "adapter_config.json", "adapter_model.safetensors")
    assert files.keys() == {f"{cell}/{name}" for cell in subjects for name in names} | {"README.md", "report.html"}
    for cell, subject in subjects.items():
        assert files[f"{cell}/adapter_model.safetensors"] == (subject.folder / "adapter_model.safetensors").read_bytes()
        assert files[f"{cell}/README.md"].decode() == card(subject, Place(REPOSITORY, cell))
        config = json.loads(files[f"{cell}/adapter_config.json"])
        assert config["base_model_name_or_path"] == (subject.cell.backbone.hub_name or subject.cell.backbone.name)
    top = ModelCard(files["README.md"].decode())
    assert top.data.base_model == ["sentence-transformers/all-MiniLM-L6-v2"]
    assert all(f"({cell})" in top.text for cell in subjects)
    for private in (HOST, USER, str(trained.paths.results), str(tmp_path), str(Path.home())):
        assert not [name for name, content in files.items() if private.encode() in content], private


def test_one_cell_stands_at_the_top(trained: Results, hub: StandIn, publish: Callable[..., int]) -> None:
    assert publish(trained, "--cells", CELL, "--private", "--yes") == 0
    files = hub.repositories[REPOSITORY]
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= files.keys()
    assert hub.private[REPOSITORY]
    assert 'PeftModel.from_pretrained(base, "owner/adapters")' in files["README.md"].decode()
    assert len(ModelCard(files["README.md"].decode()).data.eval_results) == 2
    assert publish(trained, "--cells", CELL, "--yes") == 0  # again, to a repository that is there
    assert len(hub.commits) == 2


def test_without_yes_nothing_is_sent(
    trained: Results, hub: StandIn, publish: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    assert publish(trained, "--cells", "cola/*", token=None) == 0
    said = capsys.readouterr().out
    size = (trained.paths.cell(CELL).adapter / "adapter_model.safetensors").stat().st_size
    assert f"{size:,}  {CELL}/adapter_model.safetensors" in said
    assert "cnn_dailymail" not in said
    assert "add --yes to upload" in said.splitlines()[-1]
    assert not hub.asked


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "no token to upload to owner/adapters with: set HF_TOKEN"),
        ("hf_unknown", r"the hub does not know the token .*HTTP 401"),
        (READER, r"the token may not write to owner/adapters \(HTTP 403\)"),
    ],
)
def test_a_token_that_does_not_do_is_named(
    trained: Results,
    hub: StandIn,
    publish: Callable[..., int],
    capsys: pytest.CaptureFixture,
    token: str | None,
    words: str,
) -> None:
    assert publish(trained, "--cells", CELL, "--yes", token=token) == 2
    assert_one_sentence(capsys, words)
    assert not hub.repositories


def test_a_hub_that_is_not_there_is_named(
    trained: Results,
    publish: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert publish(trained, "--cells", CELL, "--yes") == 2
    assert_one_sentence(capsys, r"nothing was published: http://127\.0\.0\.1:9 can't be reached")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--repo", "adapters"), r"--repo: expected OWNER/NAME, found 'adapters'"),
        (("--repo", "owner/a--b"), r"--repo: .*a--b"),
        (("--cells", "cola/lora/smal/*"), r"--cells cola/lora/smal/\*: study 'demo' has no such cell"),
    ],
)
def test_a_wrong_name_is_refused(
    trained: Results, publish: Callable[..., int], capsys: pytest.CaptureFixture, more: tuple[str, ...], words: str
) -> None:
    assert publish(trained, *more) == 2
    assert_one_sentence(capsys, words)


def test_what_is_not_what_was_recorded_is_refused(
    made: Callable[..., Results], publish: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    results = made(3, "tasks=[cola]")
    with (results.paths.cell(CELL).adapter / "adapter_model.safetensors").open("ab") as file:
        file.write(b"!")
    assert publish(results, "--set", "tasks=[cola]") == 2
    assert_one_sentence(capsys, rf"{CELL}/adapter/adapter_model\.safetensors: not what was recorded")


def test_a_page_that_names_this_machine_is_refused(
    made: Callable[..., Results],
    publish: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    results = made(3, "tasks=[cola]")
    monkeypatch.setenv("LOGNAME", USER)
    for private in (USER, str(results.paths.results)):
        results.paths.page.write_text(f"<p>made by {private}.</p>")
        assert publish(results, "--set", "tasks=[cola]") == 2
        assert_one_sentence(capsys, r"report\.html holds .*, which belongs to this machine")


def assert_one_sentence(capsys: pytest.CaptureFixture, words: str) -> None:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert re.search(words, line), line
