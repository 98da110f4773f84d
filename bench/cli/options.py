"""Options that several commands share: each means the same everywhere, and is gathered into one RunOptions.

Each option that says where things are, or what is laid over a study, takes its default from an environment variable.
The Snakefile sets these variables from `--config`, so that its rules need not repeat the options.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from bench.paths import RESULTS
from bench.pipeline.folders import named_folder
from bench.pipeline.run_options import SEPARATOR, RunOptions

Command = Callable[..., Any]


class Folder(click.Path):
    """A folder, which may be missing. ~ is expanded, as the shell does not do it behind an equals sign."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        option = param.opts[0] if param else "folder"
        return super().convert(named_folder(option, os.fspath(value)), param, ctx)


FOLDER = Folder()


class Override(click.ParamType[str]):
    """KEY=VALUE; in the environment variable several of them, separated by semicolons."""

    name = "KEY=VALUE"
    envvar_list_splitter = SEPARATOR

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        return str(value).strip()


results_option = click.option(
    "--results",
    type=FOLDER,
    default=RESULTS,
    envvar="BENCH_RESULTS",
    show_envvar=True,
    metavar="DIR",
    help="where results are written; default: results",
)
cache_option = click.option(
    "--cache",
    type=FOLDER,
    envvar="BENCH_CACHE",
    show_envvar=True,
    metavar="DIR",
    help="prepared data and models; default: RESULTS/cache",
)
mirror_option = click.option(
    "--mirror",
    type=FOLDER,
    envvar="BENCH_MIRROR",
    show_envvar=True,
    metavar="DIR",
    help="read data sets and models here, not from the hub",
)
rung_option = click.option(
    "--rung",
    type=click.IntRange(min=1),
    metavar="N",
    help="train trials under successive halving to this rung, counted from 1",
)
workflow_option = click.option(
    "--workflow",
    type=FOLDER,
    envvar="BENCH_WORKFLOW",
    show_envvar=True,
    metavar="DIR",
    help="read the YAML files of this folder alone; default: those of the package, and of workflow/ here",
)
overrides_option = click.option(
    "--set",
    "overrides",
    type=Override(),
    multiple=True,
    envvar="BENCH_SET",
    show_envvar=True,
    help="override a key of the study: recipe.epochs=1; may be repeated",
)
_shared = (results_option, cache_option, mirror_option, overrides_option, workflow_option)


def study_options(command: Command) -> Command:
    """For a command on a study: adds the argument STUDY and the options for folders and overrides.

    The command is called with all of them as one RunOptions, its first argument.
    """
    study = click.argument("study", metavar="STUDY")
    return _gathered(command, study, *_shared)


def training_options(command: Command) -> Command:
    """For a command that trains: adds --study, the same options, --offline, --attempt and --attempts."""
    return _gathered(
        command,
        click.option("--study", required=True, metavar="S", help="name of a file in workflow/studies/"),
        click.option("--offline", is_flag=True, help="prepare nothing and use no network"),
        click.option("--attempt", type=click.IntRange(min=1), default=1, metavar="N", help="which attempt this is"),
        click.option(
            "--attempts", type=click.IntRange(min=1), default=1, metavar="N", help="how many attempts there will be"
        ),
        *_shared,
    )


def _gathered(command: Command, *declarations: Callable[[Command], Command]) -> Command:
    """`command`, called with one RunOptions in place of the options that `declarations` add to it."""
    names = {field.name for field in fields(RunOptions)}

    @wraps(command)
    def call(**values: Any) -> Any:
        shared = {name: values.pop(name) for name in names & values.keys()}
        return command(RunOptions(**shared), **values)

    declared: Command = call
    for declare in reversed(declarations):  # click lists first what was added last
        declared = declare(declared)
    return declared
