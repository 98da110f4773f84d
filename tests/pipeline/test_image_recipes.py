"""The two recipes of the image install the lock, and are one and the same recipe. No image is built here."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "container"
DOCKERFILE, APPTAINER = (FOLDER / "Dockerfile").read_text(), (FOLDER / "rankbench.def").read_text()
INSTALL = FOLDER / "install.sh"
SOURCES = "/opt/rankbench/"


def docker(instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} (.*)$", DOCKERFILE, re.MULTILINE)


def section(name: str) -> list[str]:
    """The lines of a section of the definition file."""
    found = re.search(rf"^%{name}\n((?: .*\n)+)", APPTAINER, re.MULTILINE)
    assert found is not None
    return [line.strip() for line in found[1].splitlines()]


def copied_by_docker() -> set[str]:
    return {word for line in docker("COPY") for word in line.split()[:-1]}


def copied_by_apptainer() -> set[str]:
    return {line.split()[0] for line in section("files")}


def test_both_start_from_the_same_version_of_python() -> None:
    (base,) = docker("ARG")
    assert section("arguments") == [base]
    assert re.fullmatch(r"BASE=python:3\.11\.\d+-slim-\w+", base)


def test_both_copy_the_same_files_and_the_ignore_file_lets_them_through() -> None:
    assert copied_by_docker() == copied_by_apptainer()
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text()
    assert copied_by_docker() == set(re.findall(r"^!(.*)$", ignored, re.MULTILINE))
    for name in copied_by_docker():
        assert (ROOT / name).exists(), name
    for line in section("files"):
        source, target = line.split()
        assert target == SOURCES + source


def test_what_the_wheel_is_made_of_is_copied() -> None:
    wheel = re.search(r"wheel\.force-include\]\n((?:\".*\n)+)", (ROOT / "pyproject.toml").read_text())
    assert wheel is not None
    assert set(re.findall(r'^"(.*?)" =', wheel[1], re.MULTILINE)) < copied_by_docker()


def test_both_run_the_same_steps_in_the_same_order() -> None:
    script = f"{SOURCES}container/install.sh"
    by_docker = [step for line in docker("RUN") for step in line.split(" && ") if step.startswith(script)]
    assert by_docker == section("post")
    steps = [step.removeprefix(f"{script} ") for step in by_docker]
    assert steps == ["system", "packages", "project", "check"]
    for step in steps:
        assert re.search(rf"^{step}\)", INSTALL.read_text(), re.MULTILINE), step


def test_both_set_the_same_variables() -> None:
    (line,) = docker("ENV")
    assert [f"export {word}" for word in line.split()] == section("environment")


def test_the_image_is_not_run_as_root() -> None:
    assert docker("USER") == ["1000"]
    assert "--uid 1000" in DOCKERFILE


def test_no_host_is_named() -> None:
    for file in FOLDER.iterdir():
        names = re.findall(r"[\w-]+://\S*", file.read_text())
        assert all(name.startswith("docker-daemon://") for name in names), file


def test_every_package_of_the_lock_has_a_version_and_a_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    for line in lock.splitlines():
        assert re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def wheel_in(folder: Path) -> str:
    """Write a wheel of the package `tiny` 1.0; returns its SHA-256."""
    folder.mkdir()
    file = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tiny.py", "WORKS = True\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def run(step: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(["sh", INSTALL, step], capture_output=True, text=True, env=environment, check=False)


def test_the_step_of_packages_takes_only_what_has_the_hash_of_the_lock(tmp_path: Path) -> None:
    digest = wheel_in(tmp_path / "wheels")
    prefix = tmp_path / "prefix"
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_CONFIG_FILE": os.devnull}
    variables = {**offline, "PREFIX": str(prefix), "SOURCE": str(tmp_path), "PYTHON": sys.executable}
    for locked in (digest[::-1], digest):
        (tmp_path / "requirements.lock").write_text(f"tiny==1.0 --hash=sha256:{locked}\n")
        done = run("packages", variables)
        assert (done.returncode == 0) == (locked == digest), done.stderr
        assert ("DO NOT MATCH THE HASHES" in done.stderr) == (locked != digest)
        assert len(list(prefix.glob("lib/*/site-packages/tiny.py"))) == (locked == digest)


def test_an_unknown_step_is_refused() -> None:
    done = run("pakages", {})
    assert done.returncode == 2
    assert "expected system, packages, project or check, found pakages" in done.stderr
