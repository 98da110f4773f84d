"""bench checklist"""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import study_options
from bench.pipeline.folders import check_writable
from bench.pipeline.run_options import RunOptions

FORMATS = ("markdown", "latex")


@click.command(short_help="Answer a paper's reproducibility checklist from a study's records.")
@study_options
@click.option("--format", "form", type=click.Choice(FORMATS), default="markdown", help="default: markdown")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="write it there, not to the terminal"
)
def checklist(options: RunOptions, form: str, out: Path | None) -> None:
    """Write what a paper's reproducibility checklist asks of its experiments, from the records of a study.

    Seeds, error bars, hyper-parameters and how they were chosen, compute, energy, failures, data, models and software,
    each with the items of the NeurIPS and the ACL checklist that ask for it. What no record tells is "not recorded".
    """
    from bench.files import write_atomic
    from bench.publishing.checklists.checklist import make_checklist
    from bench.publishing.checklists.text import FORMATS as WRITERS

    if out is not None:
        check_writable("--out", out.parent)
    study = options.load_study()
    options.check_results()
    text = WRITERS[form](make_checklist(study, options.results))
    if out is None:
        print(text, end="")
        return
    write_atomic(out, text.encode())
    print(out)
