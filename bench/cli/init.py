"""bench init"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from bench.cli.options import FOLDER
from bench.pipeline.folders import check_writable


@click.command(short_help="Write a folder for studies of your own, which the installed package runs.")
@click.argument("folder", type=FOLDER, metavar="FOLDER")
def init(folder: Path) -> None:
    """Write FOLDER, which must be empty or not exist yet: a Snakefile, an example study that is called like the folder,
    an example task and method, the Slurm profile and a README.

    In this folder `bench` and `snakemake` read its YAML files beside those of the package.
    """
    from bench.pipeline.own_folder import write_own_folder

    check_writable("FOLDER", folder)
    study = write_own_folder(folder)
    print(f"{folder}: its example is the study {study}. To run it:")
    print(f"cd {shlex.quote(str(folder))} && snakemake --cores all")
