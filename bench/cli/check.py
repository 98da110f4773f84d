"""bench check"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from bench.cli.options import workflow_option
from bench.errors import BenchError, Problem, SpecError


@click.command(short_help="Validate every YAML file of tasks, methods, backbones and studies.")
@workflow_option
def check(workflow: Path | None) -> None:
    """Validate every YAML file: each task, method, backbone, and every cell of each study.

    All problems of all files are listed, each with its line.
    """
    from bench.config.catalog import read_catalog, read_study, unread_files
    from bench.config.folders import FOLDERS, SCHEMAS, outdated_schemas, workflow_folders, yaml_files
    from bench.config.peft_fields import peft_problems
    from bench.config.resolve import resolve
    from bench.config.unknown_names import unknown_names
    from bench.config.yaml_source import place_of, read_yaml
    from bench.estimate.model_fit import fit_problems
    from bench.evaluation.evaluate_modules import locate_modules
    from bench.inputs.locate.located import locate

    catalog, problems = read_catalog(workflow_folders(workflow))
    for folder in catalog.folders:
        problems += unread_files(folder)
    problems += peft_problems(catalog.methods.values())
    for entry in catalog.tasks.values():
        try:
            locate_modules([entry.item])
        except BenchError as error:
            problems.append(Problem(entry.file, str(error), *place_of(entry.places, ("metrics",))))
        try:
            if entry.item.data.files is not None:
                locate(entry.item, mirror=None)
        except BenchError as error:
            problems.append(Problem(entry.file, str(error), *place_of(entry.places, ("data", "files"))))
    counts: dict[str, str] = {}
    for name in catalog.study_names():
        try:
            study = read_study(catalog, name)
        except SpecError as error:
            problems.extend(error.problems)
            with suppress(SpecError):  # a study with another fault may name what does not exist, too
                file = catalog.study_file(name)
                problems.extend(unknown_names(catalog, *read_yaml(file), file))
            continue
        try:
            resolved = resolve(catalog, study)
            trials = sum(map(len, resolved.trials.values()))
            counts[name] = f"{len(resolved.cells)} cells" + (f", {trials} trials" if trials else "")
            problems += fit_problems(catalog, study, resolved)
        except SpecError as error:
            problems.extend(error.problems)
    if problems:
        raise SpecError(dict.fromkeys(problems))  # studies that share a task or a method share its faults
    print(f"{len(catalog.tasks)} tasks, {len(catalog.methods)} methods, {len(catalog.backbones)} backbones: valid")
    for folder in catalog.folders[:-1]:  # the last one is the package's
        of_kind = ", ".join(f"{len(yaml_files(folder / kind))} {kind}" for kind in FOLDERS)
        print(f"of these in {folder}/: {of_kind}")
        if outdated_schemas(folder):
            print(f"{folder / SCHEMAS}: of another version of the package; `bench schema` renews it")
    for name, count in counts.items():
        print(f"study {name}: {count}")
