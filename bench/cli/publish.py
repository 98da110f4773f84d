"""bench cards and bench publish"""

from __future__ import annotations

import click

from bench.cli.options import study_options
from bench.pipeline.run_options import RunOptions


@click.command(short_help="Write a model card beside each saved adapter.")
@study_options
def cards(options: RunOptions) -> None:
    """Write README.md beside every adapter of a study: the hub's metadata and a readable account.

    Cards are made from records, and a card that is there is replaced.
    """
    from bench.analysis.results import read_results
    from bench.publishing.cards.card import write_cards

    study = options.load_study()
    options.check_results()
    written = write_cards(read_results(study, options.results))
    print(f"{len(written)} cards below {options.paths.cells}")


@click.command(short_help="Upload a study's adapters, cards and page to the hub.")
@study_options
@click.option("--repo", "repository", required=True, metavar="OWNER/NAME", help="repository of the hub")
@click.option(
    "--cells",
    "patterns",
    multiple=True,
    metavar="ID",
    help="only these, such as cola/lora/small/seed-0 or 'cola/*'; may be repeated; one alone stands at the top",
)
@click.option("--private", is_flag=True, help="make the repository private, if it is made")
@click.option("--yes", is_flag=True, help="upload; without it, only list what would be uploaded")
def publish(options: RunOptions, repository: str, patterns: tuple[str, ...], private: bool, yes: bool) -> None:
    """Upload the adapters of a study with their cards, and its page, in one commit.

    Without --yes nothing is sent and no network is used.
    """
    from bench.analysis.results import read_results
    from bench.publishing.hub.upload import prepare_upload, upload

    study = options.load_study()
    folders = [options.cache_folder, *([options.mirror] if options.mirror else [])]
    what = prepare_upload(read_results(study, options.results), patterns, repository, folders)
    sizes = what.sizes()
    for name, size in sizes.items():
        click.echo(f"{size:>13,}  {name}")
    total = f"{len(sizes)} files, {sum(sizes.values()):,} bytes"
    if yes:
        click.echo(f"{total}: {upload(what, private=private)}")
    else:
        kind = "private" if private else "public"
        click.echo(f"{total}: would go to {repository} in one commit ({kind}, if it is made); add --yes to upload")
