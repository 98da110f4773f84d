"""bench tuned"""

from __future__ import annotations

import click

from bench.cli.options import study_options
from bench.pipeline.run_options import RunOptions


@click.command(short_help="Choose each group's point from its trials, and write them to tuned.yaml.")
@study_options
def tuned(options: RunOptions) -> None:
    """Show the point that is chosen for each task x method x budget, and write all of them to tuned.yaml.

    The choice is made from the records of trials alone. A group whose trials are not all recorded is named and left
    out. Another study takes the values over with `recipe_from`.
    """
    from bench.config.tuned_file import tuned_text
    from bench.files import write_atomic
    from bench.tuning.tuned import group_choices, line_of, tuned_file

    study = options.load_study()
    options.check_results()
    groups = group_choices(study, options.results)
    for group in groups:
        print(line_of(group))
    text = tuned_text(tuned_file(study, groups)).encode()
    file = options.paths.tuned
    if not file.is_file() or file.read_bytes() != text:
        write_atomic(file, text)
    print(file)
