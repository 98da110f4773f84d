"""bench selfcheck"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import click

from bench.cli.options import results_option
from bench.errors import BenchError, nearest
from bench.paths import SELFCHECK, SELFCHECK_LOG, SLURM_PROFILE
from bench.pipeline.folders import check_writable

FAILED = 1


@click.command(short_help="Check on this machine that everything holds; needs no data and no network.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="what to check; default: a GPU if there is one")
@click.option("--deep", is_flag=True, help="also check larger shapes and every method; takes three times as long")
@click.option("--slurm", is_flag=True, help="run it as a Slurm job with one GPU")
@click.option("--only", multiple=True, metavar="NAME", help="run this check alone; may be repeated")
@results_option
def selfcheck(
    device: Literal["cpu", "cuda"] | None, deep: bool, slurm: bool, only: tuple[str, ...], results: Path
) -> int:
    """Check on this machine that everything holds: the GPU and its driver, every storage, bits that repeat, PEFT's
    ranks, predicted memory, speed, texts, interrupted cells, several cells in one job.

    Models have random weights and real shapes, so nothing is downloaded. The findings with all numbers stand in
    RESULTS/selfcheck.json, for a bug report. The exit code is 0 if all checks pass, 1 if one fails.
    """
    from bench.nvml import visible_gpus
    from bench.selfcheck.check import Place
    from bench.selfcheck.checks import CHECKS
    from bench.selfcheck.report import line_of, summary_of, write_report
    from bench.selfcheck.runner import run_checks
    from bench.selfcheck.slurm import run_in_slurm

    names = [check.name for check in CHECKS]
    for name in only:
        if name not in names:
            raise BenchError(f"--only {name}: no such check{nearest(name, names)}")
    check_writable("results", results)
    if slurm:
        words = [*(["--deep"] if deep else []), *(word for name in only for word in ("--only", name))]
        words += ["--device", device or "cuda", "--results", str(results)]
        return run_in_slurm(words, SLURM_PROFILE, deep=deep)
    results.mkdir(parents=True, exist_ok=True)
    report, log = results / SELFCHECK, results / SELFCHECK_LOG
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-selfcheck-") as folder:
        place = Place(Path(folder), device or ("cuda" if visible_gpus() else "cpu"), deep)
        chosen = [check for check in CHECKS if not only or check.name in only]
        outcomes = run_checks(chosen, place, log.resolve(), lambda outcome: print(line_of(outcome), flush=True))
        write_report(outcomes, place, report, log)
    print(f"{summary_of(outcomes)}; all numbers: {report}, what was printed: {log}")
    return FAILED if any(outcome.failed for outcome in outcomes) else 0
