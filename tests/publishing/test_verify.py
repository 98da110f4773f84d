"""`bench verify`: a bundle holds, or the member at fault is named; its tables are made again elsewhere."""

from __future__ import annotations

import io
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.bundles import members, sealed

from bench.cli.app import main
from bench.errors import BenchError
from bench.files import canonical_json
from bench.paths import StudyPaths
from bench.publishing.bundles.archive import MODE, TIME, write_archive
from bench.publishing.bundles.verify import unpack, verify
from bench.records.io import as_data, parse_record, read_record

RECORD = "results/demo/cells/cola/lora/small/seed-0/record.json"


@pytest.fixture
def own(bundled: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that may be changed."""
    return Path(shutil.copy(bundled, tmp_path / "own.zip"))


def test_a_bundle_holds(bundled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundled)]) == 0
    assert "holds: study demo, 4 of 4 cells, " in capsys.readouterr().out


def test_it_is_unpacked_elsewhere_with_valid_records(bundled: Path, tmp_path: Path) -> None:
    results = unpack(bundled, tmp_path / "a" / "b")
    assert results == tmp_path / "a" / "b" / "results"
    record = read_record(StudyPaths(results, "demo").cell("cola/lora/small/seed-0").record)
    assert (record.status, record.environment["machine"]) == ("ok", "machine-1")
    assert {
        file.relative_to(tmp_path / "a" / "b").as_posix() for file in results.parent.rglob("*") if file.is_file()
    } == (members(bundled).keys())


def test_its_tables_are_made_again_from_it_alone(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["verify", str(own), "--tables", "tables"]) == 0
    assert "the same bytes as in the bundle" in capsys.readouterr().out
    made = {f"results/demo/tables/{file.name}": file.read_bytes() for file in Path("tables").iterdir()}
    assert made == {name: data for name, data in members(own).items() if "/tables/" in name}


def test_another_table_is_named(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "results/demo/tables/methods.csv"
    changed = sealed(own, **{name: members(own)[name].replace(b"CoLA", b"CoLa")})
    assert main(["verify", str(changed), "--tables", str(tmp_path / "tables")]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "methods.csv"


def test_a_byte_flipped_in_any_member_is_told_by_its_name(own: Path) -> None:
    data = bytearray(own.read_bytes())
    with zipfile.ZipFile(own) as archive:
        entries = archive.infolist()
    for entry in entries:
        start = entry.header_offset + 30 + len(entry.filename)
        at = start + entry.compress_size // 2
        data[at] ^= 1
        own.write_bytes(data)
        data[at] ^= 1
        with pytest.raises(BenchError) as told:
            verify(own)
        assert str(told.value).startswith(f"{own}: {entry.filename}: "), told.value


def test_a_byte_flipped_in_the_structure_is_noticed(own: Path) -> None:
    """Headers, directory and comment: also bits that no reader of zip files looks at."""
    data = bytearray(own.read_bytes())
    with zipfile.ZipFile(own) as archive:
        second = archive.infolist()[1]
        directory = archive.start_dir
    header = range(second.header_offset, second.header_offset + 30 + len(second.filename))
    entry = range(directory, directory + 46 + len("manifest.json"))
    end = range(len(data) - 22 - 71, len(data))
    for at in (*header, *entry, *end):
        bit = 1 << at % 8
        data[at] ^= bit
        own.write_bytes(data)
        data[at] ^= bit
        with pytest.raises(BenchError, match=r"own\.zip: "):
            verify(own)


@pytest.mark.parametrize("change", [lambda data: data + b"x", lambda data: b"x" + data, lambda data: data[:-1]])
def test_bytes_around_it_are_noticed(change: Callable[[bytes], bytes], own: Path) -> None:
    own.write_bytes(change(own.read_bytes()))
    with pytest.raises(BenchError, match=r"own\.zip: "):
        verify(own)


def edited(content: bytes) -> bytes:
    return content.replace(b'"seed": 0', b'"seed": 1')


def moved(content: bytes) -> bytes:
    record = parse_record(content, Path("record.json"))
    return canonical_json(as_data(record.model_copy(update={"cell": record.cell.model_copy(update={"id": "a/b/c/d"})})))


def other_files(content: bytes) -> bytes:
    record = parse_record(content, Path("record.json"))
    return canonical_json(as_data(record.model_copy(update={"files": {"curve.jsonl": "0" * 64}})))


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        (RECORD, edited, "field cell was changed after the record was written"),
        (RECORD, moved, "is the record of a/b/c/d"),
        (RECORD, other_files, "names another SHA-256 of curve.jsonl"),
        ("CITATION.cff", lambda _: b"title: x\n", "key cff-version is missing"),
        ("README.md", lambda _: b"\xff", "is no text in UTF-8"),
        ("ro-crate-metadata.json", lambda _: b"{}", "is no RO-Crate"),
        (
            "ro-crate-metadata.json",
            lambda data: data.replace(b"tidy.parquet", b"gone.parquet"),
            r"gone\.parquet is not in the bundle",
        ),
    ],
)
def test_a_member_with_the_right_hash_must_be_what_it_is(
    name: str, change: Callable[[bytes], bytes], what: str, own: Path
) -> None:
    changed = sealed(own, **{name: change(members(own)[name])})
    with pytest.raises(BenchError, match=rf"changed\.zip: {name}: .*{what}"):
        verify(changed)


def with_member(own: Path, entry: zipfile.ZipInfo, content: bytes) -> Path:
    with zipfile.ZipFile(own, "a") as archive:
        comment, archive.comment = archive.comment, b""
        archive.writestr(entry, content)
        archive.comment = comment
    return own


def plain(name: str, mode: int = MODE) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, TIME)
    entry.create_system, entry.external_attr = 3, mode << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (plain("../outside"), "is no plain relative path"),
        (plain("/etc/passwd"), "is no plain relative path"),
        (plain("a\\..\\b"), "is no plain relative path"),
        (plain("results/demo/link", stat.S_IFLNK | 0o777), "is a link"),
        (plain("results/demo/"), "is no plain relative path"),
        (plain("readme.MD"), "stands twice"),
        (plain("readme.md/x"), "stands below a file"),
        (plain("extra.txt"), "is not named in manifest.json"),
    ],
    ids=lambda value: value.filename if isinstance(value, zipfile.ZipInfo) else "",
)
def test_what_no_bundle_holds_is_refused(entry: zipfile.ZipInfo, what: str, own: Path, tmp_path: Path) -> None:
    changed = with_member(own, entry, b"x")
    with pytest.raises(BenchError, match=what) as told:
        unpack(changed, tmp_path / "unpacked")
    assert entry.filename.replace("\\", "\\\\") in str(told.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["own.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(own: Path) -> None:
    with pytest.raises(BenchError, match=r"README\.md: stands twice"):
        verify(with_member(own, plain("README.md"), b"x"))


def test_a_bomb_is_refused_before_it_is_unpacked(own: Path) -> None:
    entry = plain("results/demo/bomb")
    entry.compress_type = zipfile.ZIP_DEFLATED
    with pytest.raises(BenchError, match=r"results/demo/bomb'?: [\d,]+ bytes that would unpack to 50,000,000"):
        verify(with_member(own, entry, bytes(50_000_000)))


def test_a_member_that_lies_about_its_size_is_refused(own: Path) -> None:
    """More bytes than its entry says are never read."""
    data = own.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entry = archive.getinfo("README.md")
        at = data.index(b"README.md", archive.start_dir) - 46
    own.write_bytes(data[: at + 24] + struct.pack("<I", entry.file_size - 1) + data[at + 28 :])
    with pytest.raises(BenchError, match=r"README\.md: "):
        verify(own)


@pytest.mark.parametrize("name", ["README.md", "requirements.lock", "results/demo/tables/methods.md"])
def test_a_missing_member_is_named(name: str, own: Path) -> None:
    content = members(own)
    del content[name]
    write_archive(own, content, first="manifest.json")
    with pytest.raises(BenchError, match=f"{name}: is missing"):
        verify(own)


def test_a_newer_format_is_told(own: Path) -> None:
    content = members(own)
    content["manifest.json"] = content["manifest.json"].replace(b'"format": 1', b'"format": 2')
    write_archive(own, content, first="manifest.json")
    with pytest.raises(BenchError, match=r"manifest.json: format 2 is newer than this harness reads: update it"):
        verify(own)


def test_a_folder_that_holds_something_is_left_alone(bundled: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(BenchError, match="expected a folder that is empty or does not exist"):
        unpack(bundled, tmp_path)
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_bundle_is_refused(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    assert main(["verify", str(tmp_path / "x.zip")]) == 2
    assert f"error: {tmp_path / 'x.zip'}: is no" in capsys.readouterr().err
