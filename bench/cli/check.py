"""Validate every YAML file: each task, method, backbone, and every cell of each study."""

from __future__ import annotations

import argparse

from bench.cli.options import add_workflow
from bench.errors import Problem, SpecError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workflow(parser)


def run(args: argparse.Namespace) -> None:
    """Print what was checked. Raises SpecError with every problem of every file."""
    from bench.config.catalog import load_catalog, read_study
    from bench.config.peft_fields import peft_problems
    from bench.config.resolve import resolve

    catalog = load_catalog(args.workflow)
    problems: list[Problem] = peft_problems(catalog.methods.values())
    cells: dict[str, int] = {}
    for name in catalog.study_names():
        try:
            cells[name] = len(resolve(catalog, read_study(catalog, name)).cells)
        except SpecError as error:
            problems.extend(error.problems)
    if problems:
        raise SpecError(problems)
    print(f"{len(catalog.tasks)} tasks, {len(catalog.methods)} methods, {len(catalog.backbones)} backbones: valid")
    for name, count in cells.items():
        print(f"study {name}: {count} cells")
