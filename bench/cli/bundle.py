"""bench bundle"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from bench.cli.options import study_options
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError
from bench.pipeline.folders import check_writable
from bench.pipeline.run_options import RunOptions

ZIP = ".zip"


@click.command(short_help="Put everything that a study found into one file that can be cited.")
@study_options
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE.zip")
@click.option("--adapters", is_flag=True, help="also what the cells trained; it takes most of the bytes")
@click.option("--partial", is_flag=True, help="allow that records are missing; the bundle says which")
@click.option("--title", metavar="TEXT", help="what it is called; default: Records of the study STUDY")
@click.option(
    "--author",
    "authors",
    multiple=True,
    metavar="'FAMILY, GIVEN'",
    help="may be repeated; an ORCID iD may follow in <>; default: those of the project's CITATION.cff",
)
@click.option("--license", metavar="SPDX", help="license of the records, such as CC-BY-4.0; default: none is stated")
@click.option("--date", metavar="DAY", help="such as 2026-01-31; default: that of the newest record")
def bundle(
    options: RunOptions,
    out: Path,
    adapters: bool,
    partial: bool,
    title: str | None,
    authors: tuple[str, ...],
    license: str | None,
    date: str | None,
) -> None:
    """Put records, curves, predictions, tables, figures, page, YAML files and versions of STUDY into FILE.zip, the same
    bytes whenever it is made again. Nothing in it tells on which machine the records were made.

    Tables, figures and page are made anew from the records as they stand in the bundle.
    """
    if out.suffix != ZIP:
        raise BenchError(f"--out {out}: expected a name that ends in {ZIP}")
    if title is not None and not (title.strip() and title.isprintable()):
        raise BenchError(f"--title {title!r}: expected one line of text")
    check_writable("--out", out.parent)
    study = options.load_study()

    from bench.publishing.bundles.bundle import Wanted, bundle
    from bench.publishing.bundles.citation import author, day, spdx

    wanted = Wanted(
        overrides=_overrides(options, study),
        adapters=adapters,
        partial=partial,
        title=title,
        authors=[author(name) for name in authors],
        date=None if date is None else day(date),
        license=None if license is None else spdx(license),
    )
    made = bundle(study, options.results, out, wanted)
    print(f"{out}: {made.manifest.told}")
    print(f"authors: {made.credits.names} ({made.credits.authors_from})")


def _overrides(options: RunOptions, study: ResolvedStudy) -> tuple[str, ...]:
    """All that was laid over the study's file: a mirror makes a study of generated rows read real ones."""
    if options.mirror is None or study.study.data == replace(options, mirror=None).load_study().study.data:
        return options.overrides
    return (*options.overrides, f"data={study.study.data}")
