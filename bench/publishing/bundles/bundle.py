"""One file of everything that a study found, for an archive or a colleague: the same bytes however often it is made."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.analysis.build import make_figures, make_page, make_tables
from bench.analysis.published import read_published
from bench.analysis.results import read_results
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError
from bench.files import digest
from bench.paths import MANIFEST, RESULTS, StudyPaths, index_file
from bench.publishing.bundles.archive import PACKED, Content, is_sealed, write_archive
from bench.publishing.bundles.citation import Credits, citation, project_authors
from bench.publishing.bundles.crate import crate
from bench.publishing.bundles.gather import Gathered, Laid, gather, lay_out, write_choices
from bench.publishing.bundles.lock import lock_of
from bench.publishing.bundles.manifest import CITATION, CRATE, LOCKED, README, Manifest, Member
from bench.publishing.bundles.readme import readme
from bench.publishing.bundles.scrub import RULES, Scrubber
from bench.publishing.bundles.specs import spec_files, study_in
from bench.publishing.bundles.verify import verify
from bench.records.environment import commit_day, harness_version


@dataclass(frozen=True)
class Wanted:
    """What a bundle should hold and say.

    Attributes:
        overrides: those that the study was read with, as `--set` takes them.
        adapters: whether it holds what the cells trained.
        partial: whether records may be missing.
        title, authors, date, license: see `Credits`; what is None or empty is found out.
    """

    overrides: Sequence[str] = ()
    adapters: bool = False
    partial: bool = False
    title: str | None = None
    authors: Sequence[dict[str, str]] = ()
    date: str | None = None
    license: str | None = None


@dataclass(frozen=True)
class Made:
    """What a bundle says of itself, and how it is cited."""

    manifest: Manifest
    credits: Credits


def bundle(study: ResolvedStudy, results: Path, out: Path, wanted: Wanted) -> Made:
    """Write the bundle of `study`, whose records stand in the folder `results`, to `out`, in place of one there.

    Tables, figures and page are made anew, from the records as the bundle has them. Raises BenchError, before anything
    is written, where records are missing or damaged, where a path of this machine would be in it, or where `out` is
    something else than a bundle.
    """
    if out.exists() and not is_sealed(out):
        raise BenchError(f"{out}: is a file that is no bundle: name another one")
    found = read_results(study, results)
    gathered = gather(study, found, partial=wanted.partial)
    labeled = {number.method for number in read_published(found).numbers}
    specs = spec_files(study, wanted.overrides, labeled)
    credits = _credits(study, gathered, wanted)
    _refuse_places({str(file): file for file in specs.values()}, results)
    scrubber = Scrubber(source.whole_record() for source in gathered.sources)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=out.parent) as place:
        stage = Path(place) / "stage"
        for name, file in specs.items():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, stage / name)
        paths = StudyPaths(stage / RESULTS, study.name)
        laid = lay_out(gathered, paths, scrubber, adapters=wanted.adapters)
        _make_views(stage, study.name, wanted.overrides)
        members = _members(stage, paths, laid)
        _refuse_places(members, results)
        originals = {_inside(paths, name): sha256 for name, sha256 in laid.originals.items()}
        manifest = _manifest(study, gathered, wanted, credits, scrubber, _hashes(members, originals))
        members |= _described(manifest, credits, study, gathered, members)
        manifest = manifest.model_copy(update={"files": {**manifest.files, **_hashes(members, {}, manifest.files)}})
        made = Path(place) / "made.zip"
        write_archive(made, {**members, MANIFEST: manifest.to_bytes()}, first=MANIFEST)
        verify(made)  # what is handed on holds what it should
        made.replace(out)
    return Made(manifest, credits)


def _manifest(
    study: ResolvedStudy,
    gathered: Gathered,
    wanted: Wanted,
    credits: Credits,
    scrubber: Scrubber,
    files: dict[str, Member],
) -> Manifest:
    return Manifest(
        rankbench=harness_version(),
        study=study.name,
        overrides=tuple(wanted.overrides),
        date=credits.date,
        versions=Counter(record.environment.get("rankbench") or "0.1" for record in gathered.records),
        cells=gathered.cells,
        trials=gathered.trials,
        missing_cells=gathered.missing_cells,
        missing_trials=gathered.missing_trials,
        adapters=wanted.adapters,
        replaced={name: tuple(sorted(rules)) for name, rules in scrubber.replaced.items()},
        rules=RULES,
        files=files,
    )


def _credits(study: ResolvedStudy, gathered: Gathered, wanted: Wanted) -> Credits:
    """Raises BenchError where neither the records nor git know a date."""
    if wanted.authors:
        authors, named = list(wanted.authors), "named by --author"
    elif of_project := project_authors(study.catalog.folders[0].parent):
        authors, named = of_project, f"of the project's {CITATION}; name others with --author"
    else:
        authors, named = [{"name": f"The authors of the study {study.name}"}], "nobody is named: add --author"
    return Credits(
        title=wanted.title or f"Records of the study {study.name}",
        authors=authors,
        authors_from=named,
        date=wanted.date or _newest_day(gathered),
        license=wanted.license,
    )


def _newest_day(gathered: Gathered) -> str:
    environments = [record.environment for record in gathered.records]
    days = [environment["date"] for environment in environments if environment.get("date")]
    if not days:  # records of 0.1
        commits = {str(environment["commit"]) for environment in environments if environment.get("commit")}
        days = [day for commit in commits if (day := commit_day(commit))]
    if not days:
        raise BenchError("no record of the study says when it was made: name the day with --date, such as 2026-01-31")
    return str(max(days))


def _make_views(stage: Path, name: str, overrides: Sequence[str]) -> None:
    """Tables, figures, page and choices, from the records in `stage`."""
    study, results = study_in(stage, name, overrides), stage / RESULTS
    paths = StudyPaths(results, name)
    write_choices(study, paths)
    for make in (make_tables, make_figures, make_page):
        make(study, results)
    for file in (paths.summary, index_file(results)):  # of all studies of a folder, by the times of its files
        file.unlink()


def _members(stage: Path, paths: StudyPaths, laid: Laid) -> dict[str, Content]:
    files = {file.relative_to(stage).as_posix(): file for file in sorted(stage.rglob("*")) if file.is_file()}
    return {**files, **{_inside(paths, name): file for name, file in laid.elsewhere.items()}}


def _inside(paths: StudyPaths, name: str) -> str:
    """The name in the bundle of a file of the study's folder."""
    return f"{RESULTS.as_posix()}/{paths.study}/{name}"


def _described(
    manifest: Manifest, credits: Credits, study: ResolvedStudy, gathered: Gathered, members: Mapping[str, Content]
) -> dict[str, Content]:
    """The files that say what the bundle is. The crate is made last, since it lists the others."""
    version, description = harness_version(), study.study.description or f"The study {study.name} of rankbench."
    made: dict[str, Content] = {
        README: readme(manifest, credits, description, gathered.records),
        CITATION: citation(credits, version),
        LOCKED: lock_of(gathered.records),
    }
    sizes = {name: _size(content) for name, content in {**members, **made}.items()}
    return {**made, CRATE: crate(credits, description, sizes, version)}


def _hashes(
    members: Mapping[str, Content], originals: Mapping[str, str], known: Mapping[str, Member] | None = None
) -> dict[str, Member]:
    """Hash and size of those members that are not `known`."""
    return {
        name: Member(sha256=digest(content), bytes=_size(content), original_sha256=originals.get(name))
        for name, content in sorted(members.items())
        if name not in (known or {})
    }


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _refuse_places(members: Mapping[str, Content], results: Path) -> None:
    """Raises BenchError where a file has the path of a folder of this machine, as a comment in a YAML file may."""
    folders = (Path("~").expanduser(), Path.cwd(), results.resolve())
    places = {str(folder) for folder in folders if folder.is_absolute() and folder.parent != folder}
    either = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w./\-])(?:{either})(?![\w\-])".encode())
    for name, content in members.items():
        if name.endswith(PACKED):
            continue
        data = content if isinstance(content, bytes) else content.read_bytes()
        if found := pattern.search(data):
            line = data.count(b"\n", 0, found.start()) + 1
            raise BenchError(
                f"{name}, line {line}: holds {found[0].decode()}, a path of this machine: "
                "take it out, since no bundle may hold one"
            )
